"""``cnnapps go-policy``: the moves that a strong player would play; measure; play over GTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cnnapps.core.command import (
    AppGroup,
    FloatRange,
    evaluate_options,
    parse_shard,
    predict_options,
    train_options,
    weights_options,
    with_options,
)


@click.group(cls=AppGroup, no_args_is_help=True)
def main() -> None:
    """What would a strong player play? AlphaGo's policy network as a tool for Go players.

    INPUT is a game record (SGF, GIB, NGF, UGF), a folder of them, or - (stdin).

    \b
    cnnapps go-policy game.sgf
    cnnapps go-policy game.sgf --move 50 -o board.png
    cnnapps go-policy game.sgf --all-moves
    cnnapps go-policy --position "Q16 D4 Q3 D17"
    """


_SYMMETRIES = click.option(
    "--symmetries",
    type=click.Choice(["1", "8"]),
    default="8",
    show_default=True,
    help="Ask about the position once, or as its 8 mirror images (better, slower).",
)


@main.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option(
    "--position", "typed", multiple=True, metavar="TEXT", help="Moves, or rows of X, O and dots."
)
@click.option("--move", type=click.IntRange(0), help="The position after so many moves.")
@click.option("--variation", default="", metavar="PATH", help="Which branch: 2.1; else the main.")
@click.option("--game", type=click.IntRange(1), help="Which game of a file with several.")
@click.option(
    "--color",
    type=click.Choice(["b", "w", "black", "white"], case_sensitive=False),
    help="Who is to play, whatever the record says.",
)
@click.option("--top", type=click.IntRange(1, 361), help="How many moves (default: 10, JSON all).")
@_SYMMETRIES
@click.option(
    "--temperature",
    type=FloatRange(0.01, 100),
    default=1.0,
    show_default=True,
    help="Below 1 the favourite gains, above 1 the others.",
)
@click.option("--all-moves", is_flag=True, help="Compare every move of the game with the net.")
@click.option(
    "--size", type=click.IntRange(2, 25), default=19, show_default=True, help="For moves."
)
@click.option("--encoding", help="Encoding of the records (default: guessed).")
@click.option("--files-from", metavar="FILE", help="More inputs, one a line (- is stdin).")
@click.option("--shard", callback=parse_shard, metavar="I/N", help="Only every N-th file, from I.")
@click.option("--resume", is_flag=True, help="Go on with -o FILE of a run that was killed.")
@click.option("--max-bytes", type=click.IntRange(1), help="Largest record, in bytes.")
@click.option("--max-nodes", type=click.IntRange(1), help="Most nodes of a record.")
@click.option("--max-depth", type=click.IntRange(1), help="Deepest nested variation.")
@predict_options("text", "json", "sgf", "png")
def predict(inputs: tuple[str, ...], **options: Any) -> None:
    """The top moves with their probabilities, drawn on the board.

    \b
    cnnapps go-policy game.sgf --move 50
    cnnapps go-policy games/ --all-moves --json -o agreement.jsonl
    cnnapps go-policy game.sgf --all-moves -o annotated.sgf
    """
    from cnnapps.apps.go_policy.run import predict_inputs

    click.get_current_context().exit(predict_inputs(inputs, **options))


@main.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@_SYMMETRIES
@click.option("--positions", type=click.IntRange(1), help="Only so many, drawn at random.")
@click.option("--seed", type=int, default=0, show_default=True, help="Which ones are drawn.")
@click.option("--encoding", help="Encoding of the records (default: guessed).")
@evaluate_options
def evaluate(data: tuple[str, ...], **options: Any) -> None:
    """How often the net's favourite is the move that was played: top-1, top-5, cross-entropy.

    DATA are records, folders of them, or tables (.tsv, .gz, .xz) with the columns
    game date rank_black_white result moves, or game moves_played moves next_move.

    \b
    cnnapps go-policy evaluate games/ --symmetries 1
    cnnapps go-policy evaluate test-positions.tsv.xz --json
    """
    from cnnapps.apps.go_policy.run import evaluate_on

    click.get_current_context().exit(evaluate_on(data, **options))


@main.command()
@click.argument("data", nargs=-1, metavar="[DATA...]")
@click.option("--net", metavar="NAME", help="A new net: alphago-64, -128, -192, -256, -384, ...")
@click.option(
    "--from", "start", metavar="TAG|FOLDER|FILE", help="Go on from weights or a KataGo .bin.gz."
)
@click.option("--valid", metavar="DATA", help="Games that are only measured (default: a part).")
@click.option("--cache", metavar="FOLDER", help="Keep the games there, packed, for the next run.")
@click.option("--encoding", help="Encoding of the records (default: guessed).")
@train_options("go-weights")
def train(data: tuple[str, ...], **options: Any) -> None:
    """Train on DATA: records, folders and zips of them, tables; without DATA on a sample.

    Without --net it tunes the shipped weights; --net starts from nothing. Even games on 19x19.

    \b
    cnnapps go-policy train
    cnnapps go-policy train my-games/ --minutes 30 -o my-go
    cnnapps go-policy train games.tsv.xz --net alphago-64 --set steps=20000 --resume
    """
    from cnnapps.core.errors import need

    need("torch", "go-policy train")
    need("numba", "go-policy train")
    from cnnapps.apps.go_policy.train import train_on

    click.get_current_context().exit(train_on(data, **options))


_PLAYER = (
    _SYMMETRIES,
    click.option(
        "--temperature",
        type=FloatRange(0, 100),
        default=0.0,
        show_default=True,
        help="0 plays the favourite; above, moves are drawn from p^(1/T).",
    ),
    click.option(
        "--rules",
        type=click.Choice(["japanese", "chinese"]),
        default="japanese",
        show_default=True,
        help="How its own count counts: territory, or territory and stones.",
    ),
    click.option(
        "--resign",
        type=FloatRange(0),
        default=40.0,
        show_default=True,
        metavar="POINTS",
        help="Resign when so far behind in all of four games it plays on in its head; 0: never.",
    ),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the drawn moves."),
)


def _player_options(function: Callable[..., Any]) -> Callable[..., Any]:
    return with_options(_PLAYER, weights_options(function))


@main.command()
@_player_options
def gtp(**options: Any) -> None:
    """Play in Sabaki, GoGui, Lizzie or against another program: the Go Text Protocol.

    Enter this as the engine's command; it reads commands on stdin until "quit".

    \b
    cnnapps go-policy gtp
    cnnapps go-policy gtp --symmetries 1 --temperature 0.5
    """
    from cnnapps.apps.go_policy.run import play_gtp

    click.get_current_context().exit(play_gtp(**options))


@main.command()
@click.option("--opponent", required=True, metavar="COMMAND", help="A program that speaks GTP.")
@click.option("--games", type=click.IntRange(1, 9999), default=20, show_default=True)
@click.option("-o", "--output", required=True, metavar="FOLDER", help="Where the records go.")
@click.option("--size", type=click.IntRange(2, 25), default=19, show_default=True)
@click.option("--komi", type=FloatRange(-400, 400), default=6.5, show_default=True)
@click.option(
    "--varied",
    type=click.IntRange(0),
    default=24,
    show_default=True,
    help="In the first moves of a game ours are drawn, so that games differ.",
)
@click.option(
    "--heat",
    type=FloatRange(0.01, 10),
    default=0.5,
    show_default=True,
    help="The temperature at which they are.",
)
@click.option(
    "--timeout",
    type=FloatRange(0.1, 86400),
    default=600.0,
    show_default=True,
    help="Seconds to wait for an answer.",
)
@click.option("--shard", callback=parse_shard, metavar="I/N", help="Only every N-th game, from I.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@_player_options
def match(**options: Any) -> None:
    """Play games against another program and report the score.

    Colours alternate, the opponent counts, each game is an SGF file in FOLDER. Games that are
    there already are kept, so the same command goes on after a kill.

    \b
    cnnapps go-policy match --opponent "gnugo --mode gtp --level 10" --games 40 -o gnugo10
    """
    from cnnapps.apps.go_policy.run import play_match_against

    click.get_current_context().exit(play_match_against(**options))
