"""``cnnapps classify train``: data report, parts, training, scores, weights folder, curve."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.classify.data import Dataset, Report, divide, inspect, read_folder
from cnnapps.apps.classify.evaluate import Scores, score
from cnnapps.apps.classify.net import new_head
from cnnapps.apps.classify.predict import Preparation, load, table
from cnnapps.apps.classify.train import DIGITS, ClassifyRecipe, Fitted, fit, logits_of, save
from cnnapps.core import distributed
from cnnapps.core.card import Card, Metric, Source
from cnnapps.core.command import command_line
from cnnapps.core.device import choose
from cnnapps.core.errors import InputError, TrainingError, counted
from cnnapps.core.export import check_export
from cnnapps.core.files import check_replaceable, write_bytes
from cnnapps.core.media import read_picture
from cnnapps.core.nets import spec
from cnnapps.core.nets.parts import Net
from cnnapps.core.plot import curves_of, line_chart
from cnnapps.core.weights import Weights, as_weights, find, open_weights

__all__ = ["SAMPLE", "pixels_of", "train_on"]

SAMPLE = Path(__file__).parent / "sample"
TUNED = ClassifyRecipe(epochs=12, lr=5e-4, batch=32, head_rate=8.0, zoom=0.25, ema=0.99)
"""For fine-tuning: a small rate below, a larger one in the fresh last layer."""
MEMORY = 1 << 30
"""Bytes of prepared pictures that are kept in memory; more go into a file of the run's folder."""

Pixels = NDArray[np.uint8]


def train_on(
    data: str | None,
    *,
    net: str,
    size: int | None,
    grey: bool,
    start: str | None,
    output: str,
    minutes: float | None,
    epochs: float | None,
    settings: Sequence[str],
    run: str | None,
    resume: bool,
    report_only: bool,
    seed: int,
    device: str,
    threads: int,
    tensorboard: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """The whole of the train command; returns the exit code."""
    import torch

    torch.set_num_threads(threads)
    device = choose(device, runtime="torch")
    folder, runs = Path(output), Path(run or f"{output.rstrip('/')}.run")
    check_replaceable(folder, runs, keeps=("train.npy",))
    check_export()
    spec(net)  # a wrong name is known before anything is read
    given = read_folder(data) if data is not None else read_folder(SAMPLE)
    with distributed.group(device) as world:

        def say(text: object) -> None:
            if world.first:
                click.echo(str(text))

        if data is None:
            say(f"No FOLDER: training on the {len(given)} digits inside the package.")
        report = inspect(given, quiet=quiet or not world.first)
        say(report)
        if report_only:
            return 1 if report.broken or report.conflicts or report.leaks else 0
        parts = divide(report, seed)
        say(f"training on {len(parts[0]):,}, choosing by {len(parts[1]):,}, "
            f"measured on {len(parts[2]):,}")  # fmt: skip
        if len(set(parts[0].targets)) < 2:
            raise TrainingError("one class only: nothing to learn")
        weights = open_weights(find(start, "classify"), app="classify") if start else None
        preparation = _preparation(report, net, size, grey, weights, sample=data is None)
        recipe = _recipe(weights, preparation, sample=data is None)
        recipe = dataclasses.replace(recipe, seed=seed)
        if minutes:
            recipe = dataclasses.replace(recipe, minutes=minutes, steps=999_999_999)
        if epochs:
            recipe = dataclasses.replace(recipe, epochs=epochs)
        recipe = recipe.updated(*settings)
        name, begin, arguments = _start(weights, net, given.labels, preparation)
        runs.mkdir(parents=True, exist_ok=True)
        pixels = [pixels_of(p, preparation, runs / f"{n}.npy")
                  for p, n in zip(parts, ("train", "val", "test"), strict=True)]  # fmt: skip
        targets = [np.array(p.targets, np.int64) for p in parts]
        fitted = fit(
            pixels[0], targets[0], given.labels, net=name, preparation=preparation, recipe=recipe,
            run=runs, held=(pixels[1], targets[1]), start=begin, arguments=arguments,
            resume=resume, device=device, quiet=quiet, data=given.sha256(), world=world,
            tensorboard=tensorboard,
        )  # fmt: skip
        if not world.first:
            return 0
        line = command_line(
            "classify train", [] if data is None else [data],
            {
                "--net": None if start else fitted.name, "--size": size, "--grey": grey,
                "--from": start, "--minutes": minutes, "--epochs": epochs, "--set": settings,
                "--seed": None if seed == 1 else seed, "-o": output,
            },
        )  # fmt: skip
        _finish(fitted, parts, pixels, data, folder, runs, weights, line, say)
    return 0


def _preparation(
    report: Report,
    net: str,
    size: int | None,
    grey: bool,
    weights: Weights | None,
    *,
    sample: bool,
) -> Preparation:
    if weights is not None:
        values = dict(weights.card.preparation)
        values.pop("head", None)
        base = Preparation(**values)
        return dataclasses.replace(base, size=size or base.size, whole=False)
    entry = spec(net)
    channels = 1 if sample or grey or report.grey else 3
    side = size or (28 if sample else min(entry.input[1], 224))
    if sample:
        return Preparation(size=side, channels=1, mean=0.0, scale=255.0)
    return Preparation(size=side, channels=channels)


def _recipe(weights: Weights | None, preparation: Preparation, *, sample: bool) -> ClassifyRecipe:
    if weights is not None:
        return TUNED
    return dataclasses.replace(DIGITS, epochs=40, batch=32) if sample else ClassifyRecipe()


def _start(
    weights: Weights | None, net: str, labels: tuple[str, ...], preparation: Preparation
) -> tuple[str, Net | None, dict[str, Any]]:
    """The net's name, the net to go on from with a fresh last layer, and further arguments."""
    if weights is None:
        return net, None, {}
    import torch

    card = weights.card
    nets = table()
    if card.net not in nets:
        raise InputError(card.name, f"names the unknown net {card.net!r}")
    arguments = {**card.arguments, "size": preparation.size}
    try:
        module: Net = nets[card.net](**arguments)
        state = {n: torch.from_numpy(t.copy()) for n, t in weights.tensors().items()}
        module.load_state_dict(state)
        if labels != card.labels:
            new_head(module, len(labels))
    except (RuntimeError, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(card.name, f"can't be fine-tuned at this size ({reason})") from error
    module.__dict__.pop("predict", None)  # it would be copied with the old net inside
    rest = {k: v for k, v in arguments.items() if k not in ("classes", "channels", "size")}
    return card.net, module, rest


def pixels_of(data: Dataset, preparation: Preparation, store: Path | None = None) -> Pixels:
    """All pictures as the net sees them, (n, size, size, channels) uint8; large sets in a file."""
    shape = (len(data), preparation.size, preparation.size, preparation.channels)
    out: Pixels
    if store is not None and int(np.prod(shape)) > MEMORY:
        out = np.lib.format.open_memmap(store, mode="w+", dtype=np.uint8, shape=shape)
    else:
        out = np.empty(shape, np.uint8)
    for i, path in enumerate(data.paths):
        out[i] = preparation.pixels(read_picture(path).rgb)
    return out


def _scores(fitted: Fitted, pixels: Pixels, data: Dataset) -> Scores:
    z = logits_of(fitted.net, pixels, fitted.preparation)
    return score(z, np.array(data.targets), fitted.labels)


def _finish(
    fitted: Fitted,
    parts: tuple[Dataset, Dataset, Dataset],
    pixels: list[Pixels],
    data: str | None,
    folder: Path,
    runs: Path,
    weights: Weights | None,
    line: str,
    say: Any,
) -> None:
    """Measure on the test part, write the weights folder and the curve."""
    name = Path(data).name if data is not None else "the packaged sample of digits"
    licence = "MIT" if data is None else "the user's"
    sha256 = parts[0].sha256()
    sources = [Source(name, licence, sha256, len(parts[0]), "training pictures")]
    if weights is not None:
        card = weights.card
        digest = card.files["model.safetensors"].sha256
        sources.append(Source(card.name, card.licence, digest, what="trained further"))
    metrics = []
    for split, part, own in (("val", parts[1], pixels[1]), ("test", parts[2], pixels[2])):
        if not len(part):
            continue
        scores = _scores(fitted, own, part)
        counts = np.bincount(part.targets)
        values = {"accuracy": scores.top1, "top5": scores.top5,
                  "majority": float(counts.max()) / len(part)}  # fmt: skip
        metrics += [Metric(k, round(v, 6), name, split, len(part)) for k, v in values.items()]
        if split == "test":
            n = counted(len(part), "picture")
            say(f"\ntest ({n}, majority class {values['majority']:.4f})\n{scores}")
    tag = re.sub(r"[^A-Za-z0-9._-]", "-", folder.name).strip(".-_")[:64] or "trained"
    card = Card(
        app="classify",
        tag=tag,
        net=fitted.name,
        what=f"{len(fitted.labels)} classes, trained on {name}"[:100],
        licence=licence,
        sources=tuple(sources),
        command=line,
        metrics=tuple(metrics),
        limits="Answers with one of its labels, whatever the picture shows.",
    )
    card = save(fitted, folder, card)
    load(folder)  # what was written can be used
    curve = line_chart(
        curves_of(runs / "metrics.jsonl", ("loss", "accuracy")),
        title=f"Training of {tag}",
        x="steps",
        y="loss (training), accuracy (val)",
    )
    write_bytes(runs / "curve.svg", curve.encode())
    say(
        f"\n{folder}: {card.size / 1e6:.2f} MB; "
        f"use it with --weights {as_weights(folder, 'classify')}"
        f"\n{runs / 'curve.svg'}: the training curve"
    )
