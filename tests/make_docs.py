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
from typing import Any

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
        context = click.Context(
            command, info_name=path[-1], parent=parent, max_content_width=80,
            **main.context_settings,
        )  # fmt: skip
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


RATES = {"accuracy": "", "top1": "top-1 ", "top5": "top-5 ",
         "top1_agreement_float16": "same first answer as in float32 "}  # fmt: skip
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
                data = re.sub(r"[.](tsv|csv|json|xz|txt).*", "", m.data)
                words = f"{data} {m.split}, {m.n:,}".replace(" ,", ",")
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


def measured() -> dict[str, Any]:
    """docs/benchmark/classify.json, as measure_photos.py and others write it."""
    import json

    path = ROOT / "docs" / "benchmark" / "classify.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def photo_rates() -> str:
    from cnnapps.apps.classify.evaluate import wilson

    lines = ["| photos | n | first answer | one of five | 95% |", "|---|---|---|---|---|"]
    for row in measured()["photos"]:
        n, (low, high) = row["n"], wilson(row["five"], row["n"])
        some = f"{n} of {row['of']}" if "of" in row else str(n)
        first, five = (f"{row[k]} ({100 * row[k] / n:.0f}%)" for k in ("first", "five"))
        lines.append(
            f"| {row['photos']} | {some} | {first} | {five} | {100 * low:.0f}-{100 * high:.0f}% |"
        )
    return "\n".join(lines)


def digit_rates() -> str:
    """The card's seeds and interval, and the confusion of the shipped one."""
    card = Card.from_json((ROOT / "weights/classify/digits/card.json").read_bytes(), "card.json")
    values = {m.name: m.value for m in card.metrics}
    n = next(m.n for m in card.metrics if m.name == "accuracy")
    seeds = [v for name, v in sorted(values.items()) if name.startswith("accuracy_seed")]
    each = ", ".join(f"{100 * v:.2f}%" for v in seeds)
    low, high = values["accuracy_low95"], values["accuracy_high95"]
    own = measured()["digits"]
    assert own["n"] == n and abs(own["right"] / n - values["accuracy"]) < 1e-9
    lines = [
        f"Seeds 1 to {len(seeds)}: {each}; mean **{100 * sum(seeds) / len(seeds):.2f}%** of {n} "
        f"digits. Seed 1 is shipped (95%: {100 * low:.2f} to {100 * high:.2f}%); its confusion:",
        "",
        "| truth \\ answer | " + " | ".join("0123456789") + " |",
        "|---" * 11 + "|",
    ]
    for digit, row in enumerate(own["confusion"]):
        lines.append(f"| {digit} | " + " | ".join(str(v) if v else "" for v in row) + " |")
    return "\n".join(lines)


def comparison() -> str:
    """docs/benchmark/compare.json, as `classify compare` wrote it, best first."""
    import json

    from cnnapps.apps.classify.compare import short

    path = ROOT / "docs" / "benchmark" / "compare.json"
    rows = json.loads(path.read_text(encoding="utf-8"))
    minutes = sum(row["seconds"] for row in rows) / 60
    lines = [
        f"{minutes:.0f} CPU minutes for {len(rows)} nets, measured on {rows[0]['n']} digits:",
        "",
        "| net | parameters | MACs | epochs | s an epoch | rate | accuracy (95%) |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in sorted(rows, key=lambda r: -r["accuracy"]):
        low, high = row["interval"]
        lines.append(
            f"| {row['net']} | {row['parameters']:,} | {short(row['macs'])} | "
            f"{row['epochs']:.1f} | {row['epoch_seconds']:.2f} | {row['rate']:g} | "
            f"{row['accuracy']:.3f} ({low:.3f}-{high:.3f}) |"
        )
    notes = "; ".join(f"{row['net']} {row['note']}" for row in rows if row["note"])
    return "\n".join([*lines, "", f"Changed for small pictures: {notes}."])


TABLES = {
    "cards textcls": lambda: cards("textcls"),
    "cards go-policy": lambda: cards("go-policy"),
    "cards classify": lambda: cards("classify"),
    "benchmark textcls": benchmark,
    "photos classify": photo_rates,
    "digits classify": digit_rates,
    "compare classify": comparison,
}
PAGES = ("README.md", "docs/textcls.md", "docs/go-policy.md", "docs/classify.md")
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
