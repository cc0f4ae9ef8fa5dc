"""``cnnapps classify compare``: the course's nets on the same pictures, each for the same time.

Small inputs. The nets of 2012 to 2016 were made for 224 pixels; of 28 or 32 their first layers
would leave nothing. Rules, those of core/nets (``NetSpec.small``): a net that can't take the size
gets the picture enlarged to the least one that it takes, and stems are finer below 64 and 128
pixels. What was done stands below the table. Nothing else differs: the same pictures, batches,
augmentation and optimiser; the rate falls to zero within each net's share of the minutes. Nets
without norms start from weights fitted to a batch (``core.nets.parts.spread``), and the wide ones
among them learn at a quarter of the rate: Adam moves each weight alike, so a step changes a layer's
output by the more, the more values it reads, and no norm sets that right.

Minutes are CPU time over threads: what else the machine does favours no net.
"""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.classify.data import Dataset, divide, inspect, read_folder
from cnnapps.apps.classify.evaluate import Scores, score
from cnnapps.apps.classify.learn import SAMPLE, pixels_of
from cnnapps.apps.classify.predict import Preparation
from cnnapps.apps.classify.train import DIGITS, ClassifyRecipe, fit, logits_of
from cnnapps.core.errors import CnnappsError, InputError
from cnnapps.core.files import write_bytes
from cnnapps.core.nets import build, spec
from cnnapps.core.plot import curves_of, line_chart
from cnnapps.core.progress import warn
from cnnapps.core.results import dumps

__all__ = ["COURSE", "Row", "compare_on", "macs", "short", "table"]

COURSE = ("cnn", "lenet-deck", "lenet", "alexnet-deck", "vgg11-deck-8", "nin-deck",
          "googlenet-deck",
          "resnet18-deck", "resnet20")  # fmt: skip
"""The slides' nets, and a residual net of the size that such pictures deserve."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """One net's result. ``epoch_seconds``: CPU time a pass over the training pictures."""

    net: str
    size: int
    parameters: int
    macs: int
    epochs: float
    epoch_seconds: float
    seconds: float
    scores: Scores
    curve: list[tuple[float, float]]
    rate: float
    note: str

    def to_dict(self) -> dict[str, Any]:
        return {
            "net": self.net,
            "size": self.size,
            "parameters": self.parameters,
            "macs": self.macs,
            "epochs": round(self.epochs, 2),
            "epoch_seconds": round(self.epoch_seconds, 3),
            "seconds": round(self.seconds, 1),
            "accuracy": self.scores.top1,
            "interval": list(self.scores.interval),
            "n": self.scores.n,
            "rate": self.rate,
            "note": self.note,
        }


def compare_on(
    *,
    data: str | None,
    minutes: float,
    nets: str,
    size: int | None,
    output: str,
    seed: int,
    threads: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Train, measure, print, draw; returns the exit code."""
    import torch

    torch.set_num_threads(threads)
    names = _chosen(nets)
    given = read_folder(data) if data is not None else read_folder(SAMPLE)
    report = inspect(given, quiet=quiet)
    train, val, test = divide(report, seed, share=0.2)
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    if not as_json:
        what = f"the {len(given)} packaged digits" if data is None else data
        click.echo(f"{what}: {len(train):,} to train on, {len(test):,} to measure on")
    channels = 1 if report.grey else 3
    side = size or (28 if data is None else 32)
    rows: list[Row] = []
    failed = False
    for place, name in enumerate(names):
        share = (minutes - sum(r.seconds for r in rows) / 60) / (len(names) - place)
        try:
            row = _one(
                name, side, channels, (train, val, test), given.labels, minutes=max(share, 0.02),
                run=folder / name, seed=seed, digits=data is None, quiet=quiet,
            )  # fmt: skip
        except CnnappsError as error:
            warn(f"{name}: {getattr(error, 'reason', error)}")
            failed = True
            continue
        rows.append(row)
    if not rows:
        raise InputError("--nets", "no net could be trained")
    chart = line_chart(
        {r.net: r.curve for r in rows},
        title=f"Accuracy while training, {minutes:g} minutes for {len(rows)} nets",
        x="CPU seconds of training",
        y="accuracy (val)",
    )
    write_bytes(folder / "curves.svg", chart.encode())
    result = [r.to_dict() for r in rows]
    write_bytes(folder / "compare.json", (json.dumps(result, indent=1) + "\n").encode())
    if as_json:
        click.echo(dumps({"data": data, "minutes": minutes, "nets": result}))
    else:
        click.echo(table(rows))
        click.echo(f"\n{folder / 'curves.svg'}: the curves; {folder / 'compare.json'}: the numbers")
    return 1 if failed else 0


def _chosen(nets: str) -> list[str]:
    names = [name.strip() for name in nets.split(",") if name.strip()]
    for name in names:
        spec(name)
    if not names:
        from cnnapps.core.nets import NETS

        names = [name for name in COURSE if name in NETS]
    return list(dict.fromkeys(names))


def _fitting(name: str, side: int, channels: int, classes: int) -> tuple[int, str]:
    """The size that the net gets, and a note of what was changed for small pictures."""
    entry = spec(name)
    least = max(side, entry.least)
    note = [f"enlarged to {least}"] if least > side else []
    if entry.small and least < entry.input[1]:
        note.append(entry.small)
    build(name, channels=channels, classes=classes, size=least)  # says why if it can't be
    return least, "; ".join(note)


def _one(
    name: str,
    side: int,
    channels: int,
    parts: tuple[Dataset, Dataset, Dataset],
    labels: tuple[str, ...],
    *,
    minutes: float,
    run: Path,
    seed: int,
    digits: bool,
    quiet: bool,
) -> Row:
    import torch

    least, note = _fitting(name, side, channels, len(labels))
    preparation = Preparation(size=least, channels=channels)
    if digits:
        preparation = Preparation(size=least, channels=1, mean=0.0, scale=255.0)
    pixels = [pixels_of(part, preparation) for part in parts]
    targets = [np.array(part.targets, np.int64) for part in parts]
    recipe = DIGITS if digits else ClassifyRecipe()
    wide = _wide_and_plain(name, channels, len(labels), least)
    recipe = dataclasses.replace(
        recipe, lr=recipe.lr / 4 if wide else recipe.lr, minutes=minutes, steps=999_999_999,
        seed=seed, batch=min(32, len(parts[0])), ema=0.97, clip=1.0, spread=True,
        evaluate_every=_every(pixels[0], recipe.batch),
    )  # fmt: skip

    def clock() -> float:
        return time.process_time() / torch.get_num_threads()

    begun = clock()
    fitted = fit(
        pixels[0], targets[0], labels, net=name, preparation=preparation, recipe=recipe, run=run,
        held=(pixels[1], targets[1]), quiet=quiet, clock=clock,
    )  # fmt: skip
    spent = clock() - begun
    scores = score(logits_of(fitted.net, pixels[2], preparation), targets[2], labels)
    epochs = fitted.summary.steps * recipe.batch / len(parts[0])
    curve = [(at, value) for at, value in _timed(run / "metrics.jsonl")]
    return Row(
        name,
        least,
        sum(p.numel() for p in fitted.net.parameters()),
        macs(fitted.net, channels, least),
        epochs,
        spent / max(epochs, 1e-9),
        spent,
        scores,
        curve,
        recipe.lr,
        note,
    )


WIDE = 1000
"""Values that a unit of a hidden layer reads, beyond which a net without norms is wide."""


def _wide_and_plain(name: str, channels: int, classes: int, size: int) -> bool:
    import torch
    from torch import nn

    with torch.device("meta"):
        layers = list(build(name, channels=channels, classes=classes, size=size).modules())
    reads = [m.weight[0].numel() for m in layers if isinstance(m, nn.Conv2d | nn.Linear)]
    normed = any(isinstance(m, nn.BatchNorm2d) for m in layers)
    return not normed and max(reads[:-1], default=0) > WIDE


def _every(pixels: NDArray[np.uint8], batch: int) -> int:
    """Steps between two looks: about an epoch, at least ten steps."""
    return max(10, len(pixels) // max(1, min(32, batch)))


def _timed(metrics: Path) -> list[tuple[float, float]]:
    """(seconds, accuracy) of a run's evaluations."""
    seconds = dict(curves_of(metrics, ("seconds",)).get("seconds", []))
    accuracy = curves_of(metrics, ("accuracy",)).get("accuracy", [])
    return [(seconds[step], value) for step, value in accuracy if step in seconds]


def macs(net: Any, channels: int, size: int) -> int:
    """Multiply-adds of convolutions and linear layers for one picture, counted while it runs."""
    import torch
    from torch import nn

    total = 0

    def count(layer: Any, _: Any, out: Any) -> None:
        nonlocal total
        if isinstance(layer, nn.Linear):
            total += layer.weight.numel() * (out.numel() // out.shape[-1])
        else:
            total += layer.weight[0].numel() * out[0].numel()

    layers = [m for m in net.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    hooks = [layer.register_forward_hook(count) for layer in layers]
    net.eval()
    with torch.inference_mode():
        net(torch.zeros(1, channels, size, size))
    for hook in hooks:
        hook.remove()
    return total


def table(rows: list[Row]) -> str:
    """At most 80 columns, best first."""
    lines = [
        f"{'net':<15} {'px':>3} {'parameters':>11} {'MACs':>8} {'epochs':>6} {'s/ep.':>5} "
        f"{'rate':>5} {'accuracy (95%)':>20}"
    ]
    for r in sorted(rows, key=lambda r: -r.scores.top1):
        low, high = r.scores.interval
        lines.append(
            f"{r.net:<15} {r.size:>3} {r.parameters:>11,} {short(r.macs):>8} {r.epochs:>6.1f} "
            f"{r.epoch_seconds:>5.2f} {r.rate:>5g} {r.scores.top1:>6.3f} ({low:.3f}-{high:.3f})"
        )
    notes = [f"  {r.net}: {r.note}" for r in rows if r.note]
    return "\n".join([*lines, *(["changed for small pictures:", *notes] if notes else [])])


def short(n: int) -> str:
    """1.4 G, 280 k."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if n >= size:
            return f"{n / size:.3g} {unit}"
    return str(n)
