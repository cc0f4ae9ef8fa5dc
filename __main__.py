"""The command ``cnnapps``: one lazy subcommand per app."""

from __future__ import annotations

import click

from cnnapps import __version__
from cnnapps.apps import APPS
from cnnapps.core.command import Main

COMMANDS = {name: f"{package}.cli:main" for name, package in APPS.items()}
COMMANDS["weights"] = "cnnapps.core.weights_cli:main"


def _completion(ctx: click.Context, param: click.Parameter, shell: str | None) -> None:
    if shell is None or ctx.resilient_parsing:
        return
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(main, {}, "cnnapps", "_CNNAPPS_COMPLETE").source())
    ctx.exit()


@click.command(cls=Main, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="cnnapps %(version)s")
@click.option(
    "--completion",
    type=click.Choice(["bash", "zsh", "fish"]),
    callback=_completion,
    expose_value=False,
    is_eager=True,
    help="Print the shell's completion script.",
)
def main() -> None:
    """Convolutional networks that work for you, offline.

    \b
    cnnapps textcls "what a wonderful film"
    cnnapps weights list
    """


if __name__ == "__main__":
    main()
