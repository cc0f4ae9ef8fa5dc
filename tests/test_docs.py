"""What the documentation says is what the program does."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import click
import pytest

from cnnapps import __version__
from cnnapps.__main__ import main

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from make_docs import PAGES, cli_page, commands, fill, run_console  # noqa: E402

README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_readme_shows_true_output() -> None:
    assert run_console(README) == README, "run: python tests/make_docs.py"


@pytest.mark.parametrize("page", PAGES)
def test_tables_are_up_to_date(page: str) -> None:
    written = (ROOT / page).read_text(encoding="utf-8")
    assert fill(written) == written, "run: python tests/make_docs.py"


def test_cli_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    assert page == cli_page(), "run: python tests/make_docs.py"


@pytest.mark.parametrize(
    ("path", "command"), list(commands(main, ["cnnapps"])), ids=lambda x: str(x)[:40]
)
def test_every_command_has_help_and_an_example(path: list[str], command: click.Command) -> None:
    assert command.help, path
    assert f"cnnapps {' '.join(path[1:2])}".strip() in command.help, f"{path} has no example"
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help or parameter.show_default, (path, parameter.name)


def test_version_is_the_packages() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert project["project"]["version"] == __version__


def test_links_lead_somewhere() -> None:
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_apps_tag_is_in_the_notice() -> None:
    from cnnapps.core.card import Card
    from cnnapps.core.weights import installed

    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for name, folder in installed():
        card = Card.from_json((folder / "card.json").read_bytes(), folder)
        assert name in notice, f"{name} is not in NOTICE"
        for source in card.sources:
            assert source.licence, (name, source.name)


def test_weights_fit_their_limits() -> None:
    """Each file at most 25 MB, all at most 95; text: each English tag 12, quality 25, all 45."""
    files = [p for p in (ROOT / "weights").rglob("*") if p.is_file()]
    assert all(p.stat().st_size <= 25_000_000 for p in files)
    assert sum(p.stat().st_size for p in files) <= 95_000_000
    text_files = [p for p in files if p.parts[-3] == "textcls"]
    assert sum(p.stat().st_size for p in text_files) <= 45_000_000
