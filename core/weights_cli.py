"""``cnnapps weights``: what is installed, what a card says, whether the files are whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from cnnapps.core.command import LazyGroup, common_options

if TYPE_CHECKING:
    from cnnapps.core.weights import Weights


@click.group(cls=LazyGroup)
def main() -> None:
    """List, show and verify the trained weights.

    \b
    cnnapps weights list
    cnnapps weights show textcls/default
    cnnapps weights verify
    """


@main.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@common_options
def list_(as_json: bool, quiet: bool, debug: bool) -> None:
    """One line a tag: app/tag, size, licence, what for.

    \b
    cnnapps weights list
    """
    from cnnapps.core.command import warn
    from cnnapps.core.errors import WeightsError, printable
    from cnnapps.core.results import dumps
    from cnnapps.core.weights import installed, read_card

    failed = 0
    for name, folder in installed():
        try:
            card = read_card(folder)
        except WeightsError as error:
            warn(error)
            failed += 1
            continue
        if as_json:
            line = {"weights": name, "bytes": card.size, "licence": card.licence, "what": card.what}
            click.echo(dumps(line))
        else:
            row = f"{name:<28} {card.size / 1e6:5.1f} MB  {card.licence:<12} {card.what}"
            click.echo(printable(row, 1000))
    if failed:
        click.get_current_context().exit(1)


@main.command()
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="The whole card as JSON.")
@common_options
def show(name: str, as_json: bool, quiet: bool, debug: bool) -> None:
    """What NAME (app/tag or a folder) is, was trained from, and scores.

    \b
    cnnapps weights show textcls/default
    """
    from cnnapps.core.errors import printable
    from cnnapps.core.results import dumps

    card = _open(name).card
    if as_json:
        click.echo(dumps(card))
        return
    rows = [
        ("weights", card.name),
        ("what", card.what),
        ("net", f"{card.net} ({card.parameters:,} parameters)"),
        ("size", f"{card.size / 1e6:.1f} MB in {len(card.files)} files"),
        ("licence", card.licence),
        ("labels", ", ".join(card.labels[:12]) + (" ..." if len(card.labels) > 12 else "")),
        ("limits", card.limits),
        ("command", card.command),
        ("hours", f"{card.hours:.2f}" if card.hours else ""),
    ]
    rows += [("trained on", f"{s.name} ({s.licence}) {s.what}".strip()) for s in card.sources]
    for metric in card.metrics:
        n = f", n = {metric.n:,}" if metric.n else ""
        split = f" ({metric.split})" if metric.split else ""
        rows.append(("measured", f"{metric.name} {metric.value:.4g} on {metric.data}{split}{n}"))
    for title, value in rows:
        if value:
            click.echo(f"{title:<11} {printable(value, 2000)}")


@main.command()
@click.argument("names", nargs=-1)
@common_options
def verify(names: tuple[str, ...], quiet: bool, debug: bool) -> None:
    """Check every file of NAMES (default: all installed) against the hashes in its card.

    \b
    cnnapps weights verify
    """
    from cnnapps.core.command import warn
    from cnnapps.core.errors import CnnappsError, printable
    from cnnapps.core.weights import installed

    failed = 0
    for name in names or tuple(n for n, _ in installed()):
        try:
            card = _open(name).card
        except CnnappsError as error:
            warn(error)
            failed += 1
        else:
            files = f"{len(card.files)} files, {card.size:,} bytes"
            click.echo(f"{printable(name)}: {files}, all as in the card")
    if failed:
        click.get_current_context().exit(1)


def _open(name: str) -> Weights:
    """The weights that app/tag or a folder means; an installed tag wins, as with --weights."""
    from cnnapps.core.weights import find, installed, open_weights

    folder = dict(installed()).get(name)
    return open_weights(folder or find(name, ""))
