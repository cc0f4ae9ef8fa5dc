"""Write docs/cli.md from the commands' own --help. A test fails when the file is out of date.

python tests/make_cli_docs.py
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from cnnapps.__main__ import main

HEAD = """# Commands

Generated from `--help` by `python tests/make_cli_docs.py`; do not edit.
"""


def commands(command: click.Command, path: list[str]) -> Iterator[tuple[list[str], click.Command]]:
    """Every command with its path, groups before their members."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path[-1])
        for name in command.list_commands(context):
            member = command.get_command(context, name)
            assert member is not None
            yield from commands(member, [*path, name])


def text() -> str:
    """The whole page."""
    parts = [HEAD]
    for path, command in commands(main, ["cnnapps"]):
        parent = None
        for name in path[:-1]:
            parent = click.Context(click.Group(name), info_name=name, parent=parent)
        context = click.Context(command, info_name=path[-1], parent=parent, max_content_width=80)
        context.terminal_width = 80
        parts.append(f"## {' '.join(path)}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    Path(__file__).parent.parent.joinpath("docs", "cli.md").write_text(text(), encoding="utf-8")
