"""How shipped weights are made: a state dict, or a net file of KataGo -> a weights folder.

    python -m cnnapps.apps.go_policy.ship default --katago b6c96.bin.gz --state tuned.pt \\
        --trained "2.1 M positions of Tygem 9-dan games" --hours 7 \\
        --measure test-positions.tsv.xz -o weights/go-policy/default

Without ``--state`` the untuned net of KataGo is shipped. Not a command of the app: its users train
with ``cnnapps go-policy train``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import click
import torch
from torch import Tensor

from cnnapps.apps.go_policy.evaluate import evaluate, read_questions
from cnnapps.apps.go_policy.net import NETS, KataGoPolicy, from_katago
from cnnapps.apps.go_policy.predict import load
from cnnapps.apps.go_policy.train import KATAGO_LICENCE, SIZES, begin, build, katago_arguments, save
from cnnapps.core.card import Card, Metric, Source
from cnnapps.core.files import write_bytes

GAMES_LICENCE = "none stated (public collection yenw/computer-go-dataset); records not shipped"


def measure(folder: Path, path: Path, symmetries: int) -> list[Metric]:
    """Top-1, top-5 and cross-entropy of what was written, as metrics for its card."""
    predictor = load(str(folder), symmetries=symmetries)
    questions = read_questions([str(path)])
    scores = evaluate(predictor, questions.positions(), quiet=True)
    tag = folder.name
    command = f"cnnapps go-policy evaluate {path.name} --weights {tag} --symmetries {symmetries}"
    split = "one symmetry" if symmetries == 1 else "mean of 8 symmetries"
    return [
        Metric(name, round(value, 6), path.name, split, scores.n, questions.sha256, command)
        for name, value in (
            ("top1", scores.top1),
            ("top5", scores.top5),
            ("cross_entropy", scores.cross_entropy),
        )
    ]


def sources(katago: str | None, games: tuple[str, ...], rows: int) -> tuple[Source, ...]:
    """Where the weights come from: the net that they started as, and the games."""
    found = []
    if katago:
        digest = hashlib.sha256(Path(katago).read_bytes()).hexdigest()
        name = Path(katago).name
        what = "the weights start as KataGo's net g170 b6c96 (self-play; lightvector/KataGo)"
        found.append(Source(name, KATAGO_LICENCE, digest, what=what))
    for place in games:
        digest = hashlib.sha256(Path(place).read_bytes()).hexdigest()
        what = "Tygem 9-dan games, to tune on"
        found.append(Source(Path(place).name, GAMES_LICENCE, digest, rows, what))
    return tuple(found)


def taught_from(teacher: str | None) -> list[Source]:
    """The teacher, and the net that it started as itself."""
    if teacher is None:
        return []
    *origins, last = begin(None, teacher).sources
    what = "its answers were learned from"
    nets = [
        dataclasses.replace(s, what="its teacher started as this net")
        for s in origins
        if s.name.endswith(".bin.gz")
    ]
    return [*nets, dataclasses.replace(last, what=what)]


def state_of(path: str) -> dict[str, Tensor]:
    """The tensors of a torch file or a weights folder."""
    if Path(path).is_dir():
        return begin(None, path).net.state_dict()
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state


def mean_of(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """The mean of nets that were tuned from one start: a "soup".

    Wortsman et al. 2022 (arXiv 2203.05482): what each has fitted of its last positions differs and
    is averaged away, what all have learned stays.
    """
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in states[0]}


@click.command()
@click.argument("tag")
@click.option("--katago", metavar="FILE", help="The net of KataGo that the weights started as.")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="FILE",
    help="Tuned weights: a state dict (torch file) or a weights folder; the mean of several.",
)
@click.option(
    "--net", type=click.Choice(sorted(NETS)), default="katago", show_default=True, help="Its net."
)
@click.option("--arguments", default="{}", help="JSON: arguments of an alphago net.")
@click.option("--teacher", metavar="FOLDER", help="Weights whose answers it learned from.")
@click.option("--trained", default="", help="What it was tuned on, for the card.")
@click.option("--games", multiple=True, metavar="FILE", help="Tables of the games, for the card.")
@click.option("--recipe", default="{}", help="JSON: how it was trained, for the card.")
@click.option("--hours", type=float, default=0.0)
@click.option("--measure", "lists", multiple=True, metavar="FILE", help="Lists to measure on.")
@click.option("-o", "--output", required=True, metavar="FOLDER")
def main(
    tag: str,
    katago: str | None,
    states: tuple[str, ...],
    net: str,
    arguments: str,
    teacher: str | None,
    trained: str,
    games: tuple[str, ...],
    recipe: str,
    hours: float,
    lists: tuple[str, ...],
    output: str,
) -> None:
    """Write the weights folder OUTPUT for TAG and put measured figures on its card."""
    if states:
        tensors = mean_of([state_of(path) for path in states])
    elif katago is not None:
        from cnnapps.apps.go_policy.katago import read_net

        tensors = from_katago(read_net(katago)).state_dict()
    else:
        raise click.UsageError("--state or --katago")
    given = katago_arguments(tensors) if net == "katago" else json.loads(arguments)
    module = build(net, given, tensors)
    v7 = isinstance(module, KataGoPolicy)
    tuned = f"tuned on {trained}" if states and katago else f"trained on {trained}"
    if not states:
        tuned = "KataGo's g170 b6c96 as it is: it predicts good moves rather than human ones"
    if teacher is not None:
        tuned += ", with a teacher"
    limits = (
        "Tuned on 19x19 games without handicap; on 7x7 to 18x18 and with handicap it rests on "
        "KataGo's own training. Japanese rules. Knows moves only: no score, no winner."
        if v7
        else "19x19 only; knows moves only: no score, no winner, no pass."
    )
    card = Card(
        app="go-policy",
        tag=tag,
        net=net,
        arguments=given,
        what=f"the next move of strong players; {tuned}",
        licence="MIT",  # of the weights; what the games are under stands with the sources
        preparation={
            "planes": "v7" if v7 else "nature",
            "sizes": list(SIZES) if v7 else [19, 19],
            "tuned": 19,
        },
        sources=tuple(dict.fromkeys([*sources(katago, games, 0), *taught_from(teacher)])),
        recipe=json.loads(recipe),
        command=f"python -m cnnapps.apps.go_policy.ship {tag} ...",
        hours=hours,
        limits=limits,
    )
    folder = Path(output)
    card = save(module, folder, card)
    metrics = [m for path in lists for k in (1, 8) for m in measure(folder, Path(path), k)]
    card = dataclasses.replace(card, metrics=tuple(metrics))
    write_bytes(folder / "card.json", card.to_json().encode())
    for metric in metrics:
        click.echo(f"{metric.name} {metric.value:.4f} on {metric.data}, {metric.split}")
    click.echo(f"{folder}: {card.size / 1e6:.2f} MB, {card.parameters:,} parameters")


if __name__ == "__main__":
    main()
