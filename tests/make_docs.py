"""Write what the documentation takes from the program: tests fail when it is out of date.

    python tests/make_docs.py

docs/cli.md from --help; the README's console blocks by running their commands; tables between
``<!-- NAME -->`` and ``<!-- /NAME -->`` from the cards and from the benchmark's cells.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from cnnapps.__main__ import main
from cnnapps.core.card import Card
from cnnapps.core.weights import installed

ROOT = Path(__file__).parent.parent
HEAD = """# Commands

Generated from `--help` by `python tests/make_docs.py`; do not edit.
"""
CONSOLE = re.compile(r"```console\n(.*?)```", re.DOTALL)


def commands(command: click.Command, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    """Every command with its path, groups before their members."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from commands(member, [*path, name])


def cli_page() -> str:
    """docs/cli.md."""
    parts = [HEAD]
    for path, command in commands(main, ["cnnapps"]):
        parent = None
        for name in path[:-1]:
            parent = click.Context(click.Group(name), info_name=name, parent=parent)
        context = click.Context(command, info_name=path[-1], parent=parent, max_content_width=80)
        context.terminal_width = 80
        parts.append(f"## {' '.join(path)}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


def output_of(command: str) -> str:
    """What a command of the README prints."""
    words = shlex.split(command)
    assert words[0] == "cnnapps", command
    run = subprocess.run(
        [sys.executable, "-m", *words], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return run.stdout.rstrip("\n") + "\n"


def run_console(page: str) -> str:
    """The page with the output of every command in its console blocks made afresh."""

    def again(match: re.Match[str]) -> str:
        lines = [line for line in match[1].split("\n") if line.startswith("$ ")]
        return "```console\n" + "".join(f"{line}\n{output_of(line[2:])}" for line in lines) + "```"

    return CONSOLE.sub(again, page)


RATES = {"accuracy": "", "top1": "top-1 ", "top5": "top-5 "}
"""Metrics of a card that the tables show, in percent, and how they are called there."""


def cards(app: str) -> str:
    """A table of an app's shipped weights: size, net, what for, what was measured."""
    lines = ["| weights | what for | net | MB | measured (data, n) |", "|---|---|---|---|---|"]
    for name, folder in installed():
        if not name.startswith(f"{app}/"):
            continue
        card = Card.from_json((folder / "card.json").read_bytes(), folder)
        found: dict[str, list[str]] = {}
        for m in card.metrics:
            if m.name in RATES:
                words = f"{m.data.split('.')[0]} {m.split}, {m.n:,}".replace(" ,", ",")
                found.setdefault(words, []).append(f"{RATES[m.name]}{100 * m.value:.1f}")
        scores = "; ".join(f"{', '.join(values)} ({words})" for words, values in found.items())
        lines.append(
            f"| `{name}` | {card.what} | {card.net} | {card.size / 1e6:.1f} | {scores or '-'} |"
        )
    return "\n".join(lines)


def benchmark() -> str:
    """Table 2 from docs/benchmark/textcls.json (the cells of `cnnapps textcls benchmark`)."""
    import json

    from cnnapps.apps.textcls.benchmark import SETS, levers_text, table_text

    path = ROOT / "docs" / "benchmark" / "textcls.json"
    cells = json.loads(path.read_text(encoding="utf-8"))
    return (table_text(cells, SETS) + levers_text(cells, SETS)).rstrip("\n")


TABLES = {
    "cards textcls": lambda: cards("textcls"),
    "cards go-policy": lambda: cards("go-policy"),
    "benchmark textcls": benchmark,
}
PAGES = ("README.md", "docs/textcls.md", "docs/go-policy.md")
"""Pages with such tables."""


def fill(page: str) -> str:
    """The page with every marked table made afresh."""
    for name, make in TABLES.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start in page:
            before, rest = page.split(start, 1)
            _, after = rest.split(end, 1)
            page = f"{before}{start}\n{make()}\n{end}{after}"
    return page


def write() -> None:
    (ROOT / "docs" / "cli.md").write_text(cli_page(), encoding="utf-8")
    for name in PAGES:
        path = ROOT / name
        page = fill(path.read_text(encoding="utf-8"))
        path.write_text(run_console(page), encoding="utf-8")


if __name__ == "__main__":
    write()
