"""Train a net of core/nets on pictures: recipe, batches with augmentation, loss, weights folder.

fit(pixels, targets, classes, recipe=..., run=...) -> Fitted
save(fitted, folder, card) -> Card
"""

from __future__ import annotations

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from cnnapps.apps.classify.net import answering, last_linear, linear_head
from cnnapps.apps.classify.predict import Preparation
from cnnapps.core import distributed
from cnnapps.core.card import Card
from cnnapps.core.errors import InputError, TrainingError
from cnnapps.core.export import export
from cnnapps.core.nets import build
from cnnapps.core.nets.parts import Net, WithAux, spread
from cnnapps.core.train import Recipe, Summary, train

__all__ = ["DIGITS", "Batches", "ClassifyRecipe", "Fitted", "augment", "fit", "logits_of", "save"]

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class ClassifyRecipe(Recipe):
    """How to train a classifier of pictures."""

    steps: int = 0
    """Optimiser steps; 0 means ``epochs`` passes over the data."""
    epochs: float = 30.0
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    ema: float = 0.998
    smoothing: float = 0.05
    """Label smoothing (Szegedy et al. 2016, section 7)."""
    rotate: float = 8.0
    """Largest turn, in degrees."""
    zoom: float = 0.15
    """Largest change of each side's scale."""
    shear: float = 0.05
    shift: float = 0.08
    """Largest shift, as a share of the side."""
    flip: bool = True
    """Mirror half of the pictures; never for digits or letters."""
    elastic: float = 0.0
    """Typical displacement of an elastic distortion in pixels (Simard et al. 2003)."""
    contrast: float = 0.2
    """Largest relative change of contrast and brightness."""
    head_rate: float = 1.0
    """Fine-tuning: learning rate of the last layer relative to the others."""
    spread: bool = True
    """Fit the start values of a net without norms to the first batch (core.nets.parts.spread)."""


DIGITS = ClassifyRecipe(
    epochs=40, lr=3e-3, rotate=12, zoom=0.12, shear=0.15, shift=0.055, flip=False, elastic=1.0,
    contrast=0.0, spread=False,
)  # fmt: skip
"""For handwritten digits at 28 pixels."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained net and what it takes to use it."""

    net: Net
    name: str
    arguments: dict[str, Any]
    labels: tuple[str, ...]
    preparation: Preparation
    recipe: ClassifyRecipe
    summary: Summary


# ---------------------------------------------------------------------------------------- batches


class Batches:
    """Augmented batches as a pure function of their index: ``at(i)`` -> (pixels, targets).

    ``pixels`` (n, S, S, C) uint8 may be a memory map. An epoch is a permutation drawn from
    (seed, epoch); the few pictures left over wait for the next one.
    """

    def __init__(
        self,
        pixels: Pixels,
        targets: NDArray[np.int64],
        preparation: Preparation,
        recipe: ClassifyRecipe,
        world: distributed.World,
    ) -> None:
        if not len(pixels):
            raise TrainingError("there are no training pictures")
        self.pixels, self.targets = pixels, targets
        self.preparation, self.recipe, self.world = preparation, recipe, world
        self.batch = min(recipe.batch, len(pixels))
        self.per_epoch = len(pixels) // self.batch
        self._epoch, self._order = -1, np.empty(0, np.int64)

    def at(self, index: int) -> tuple[Tensor, Tensor]:
        """(N, C, size, size) float32 and (N,) class numbers: this process's share."""
        epoch, k = divmod(index, self.per_epoch)
        if epoch != self._epoch:
            rng = np.random.default_rng((self.recipe.seed, epoch))
            self._epoch, self._order = epoch, rng.permutation(len(self.pixels))
        chosen = self._order[k * self.batch : (k + 1) * self.batch]
        chosen = np.sort(chosen[self.world.rank :: self.world.size])  # a memory map reads in order
        draw = torch.Generator().manual_seed(
            (self.recipe.seed * 1_000_003 + index) * 64 + self.world.rank
        )
        x = to_input(self.pixels[chosen], self.preparation)
        x = augment(x, self.recipe, draw, paper=_paper(self.preparation))
        return x, torch.from_numpy(self.targets[chosen])


def to_input(pixels: Pixels, preparation: Preparation) -> Tensor:
    """(N, S, S, C) uint8 -> (N, C, S, S) float32 in the net's range."""
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))).float()
    return (x - preparation.mean) / preparation.scale


def _paper(preparation: Preparation) -> float | None:
    """What lies outside a picture: paper for digits; else None, the picture's own edge."""
    return (0 - preparation.mean) / preparation.scale if preparation.kind == "digit" else None


def augment(
    x: Tensor, recipe: ClassifyRecipe, draw: torch.Generator, *, paper: float | None = None
) -> Tensor:
    """Turned, scaled, sheared, shifted, mirrored, bent pictures: (N, C, S, S) -> the same shape.

    One resampling for all of it. ``paper`` is the value outside; None repeats the edge.
    """
    n, _, side, _ = x.shape

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=draw) * 2 - 1

    angle = uniform(n) * math.radians(recipe.rotate)
    wide, high = 1 + uniform(n) * recipe.zoom, 1 + uniform(n) * recipe.zoom
    shear = uniform(n) * recipe.shear
    mirror = torch.where(uniform(n) < 0, -1.0, 1.0) if recipe.flip else torch.ones(n)
    cos, sin = angle.cos(), angle.sin()
    matrix = torch.stack(
        [cos * wide * mirror, shear - sin * high, sin * wide * mirror, cos * high], 1
    ).view(n, 1, 2, 2)
    grid = (matrix @ _grid(side).view(1, -1, 2, 1)).view(n, side, side, 2)
    grid = grid + uniform(n, 1, 1, 2) * (2 * recipe.shift)
    if recipe.elastic:
        grid = grid + _bend(n, side, draw) * (2 * recipe.elastic / side)
    if paper is None:
        x = F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)
    else:
        x = F.grid_sample(x - paper, grid, align_corners=False) + paper
    if recipe.contrast:
        gain = 1 + uniform(n, 1, 1, 1) * recipe.contrast
        x = x * gain + uniform(n, 1, 1, 1) * recipe.contrast
    return x


def _grid(side: int) -> Tensor:
    """Centres of the pixels in grid_sample's coordinates (-1 ... 1), x first: (side, side, 2)."""
    line = (torch.arange(side) + 0.5) * (2 / side) - 1
    ys, xs = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([xs, ys], 2)


def _bend(n: int, side: int, draw: torch.Generator) -> Tensor:
    """Smooth random displacements (n, side, side, 2) of standard deviation 1.

    White noise, smoothed by a Gaussian of a seventh of the side (Simard et al. 2003, section 2).
    """
    sigma = side / 7
    reach = min(round(1.5 * sigma), side - 1)
    at = torch.arange(-reach, reach + 1).float()
    kernel = torch.exp(-(at**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    field = torch.randn(2 * n, 1, side, side, generator=draw)
    field = F.conv2d(field, kernel.view(1, 1, 1, -1), padding=(0, reach))
    field = F.conv2d(field, kernel.view(1, 1, -1, 1), padding=(reach, 0))
    field = field / (field.std() + 1e-6)
    return field.view(n, 2, side, side).permute(0, 2, 3, 1)


# --------------------------------------------------------------------------------------- training


def fit(
    pixels: Pixels,
    targets: NDArray[np.int64],
    labels: tuple[str, ...],
    *,
    net: str,
    preparation: Preparation,
    recipe: ClassifyRecipe,
    run: Path,
    held: tuple[Pixels, NDArray[np.int64]] | None = None,
    start: Net | None = None,
    arguments: Mapping[str, Any] | None = None,
    resume: bool = False,
    device: str = "cpu",
    quiet: bool = False,
    data: str = "",
    world: distributed.World | None = None,
    tensorboard: bool = False,
    clock: Callable[[], float] = time.monotonic,
) -> Fitted:
    """Train the net called ``net`` on (n, S, S, C) uint8 pixels and their class numbers.

    ``held`` pictures choose the best epoch; without them the last one stays. ``start`` is a net to
    go on from, whose last layer fits the labels. ``clock`` counts the recipe's minutes.
    """
    world = world or distributed.World()
    given = dict(arguments or {})
    given |= {"channels": preparation.channels, "classes": len(labels), "size": preparation.size}
    torch.manual_seed(recipe.seed)
    module = start if start is not None else _built(net, given)
    batches = Batches(pixels, targets, preparation, recipe, world)
    if start is None and recipe.spread and not resume:
        alone = dataclasses.replace(recipe, batch=min(32, recipe.batch))  # the same in each process
        spread(module, Batches(pixels, targets, preparation, alone, distributed.World()).at(0)[0])
    if recipe.batch != batches.batch:
        recipe = dataclasses.replace(recipe, batch=batches.batch)
    if not recipe.steps:
        steps = max(1, round(recipe.epochs * batches.per_epoch / recipe.accumulate))
        recipe = dataclasses.replace(recipe, steps=steps)
    # an average over more than four epochs would still hold much of the start values
    horizon = 4 * max(1, batches.per_epoch // recipe.accumulate)
    recipe = dataclasses.replace(recipe, ema=min(recipe.ema, 1 - 1 / horizon))
    if held is not None and not recipe.evaluate_every:
        every = max(1, batches.per_epoch // recipe.accumulate)
        if not recipe.minutes:  # at most thirty looks: on small data an epoch is a second
            every = max(every, recipe.steps // 30)
        recipe = dataclasses.replace(recipe, evaluate_every=every)

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        x, y = batch
        out = model(x)
        if not isinstance(out, WithAux):
            return F.cross_entropy(out, y, label_smoothing=recipe.smoothing)
        value = F.cross_entropy(out.logits, y, label_smoothing=recipe.smoothing)
        for side in out.aux:
            value = value + module.aux_weight * F.cross_entropy(side, y)
        return value

    judge = _judge(held, preparation, device) if held is not None else None
    summary = train(
        module, batches.at, loss, recipe, run, judge, device=device, resume=resume, data=data,
        metric="-loss_held", groups=_groups(recipe) if start is not None else None, world=world,
        quiet=quiet, tensorboard=tensorboard, clock=clock,
    )  # fmt: skip
    return Fitted(module.cpu().eval(), net, given, labels, preparation, recipe, summary)


def _built(name: str, arguments: Mapping[str, Any]) -> Net:
    try:
        return build(name, **arguments)
    except (TypeError, ValueError) as error:
        raise InputError(name, str(error)) from error


def _groups(recipe: ClassifyRecipe) -> Callable[[nn.Module], list[dict[str, Any]]] | None:
    """Fine-tuning: the fresh last layer learns faster than the layers below it."""
    if recipe.head_rate == 1.0:
        return None

    def groups(module: nn.Module) -> list[dict[str, Any]]:
        last = last_linear(module)
        head = {id(p) for p in last[1].parameters()} if last else set()
        parts: dict[tuple[bool, bool], list[nn.Parameter]] = {}
        for p in module.parameters():
            parts.setdefault((id(p) in head, p.ndim > 1), []).append(p)
        return [
            {
                "params": members,
                "scale": recipe.head_rate if is_head else 1.0,
                "weight_decay": recipe.weight_decay if is_matrix else 0.0,
            }
            for (is_head, is_matrix), members in parts.items()
        ]

    return groups


def _judge(
    held: tuple[Pixels, NDArray[np.int64]], preparation: Preparation, device: str
) -> Callable[[nn.Module], dict[str, float]]:
    pixels, targets = held

    def judge(module: nn.Module) -> dict[str, float]:
        z = logits_of(module, pixels, preparation, device)
        y = torch.from_numpy(targets)
        value = float(F.cross_entropy(torch.from_numpy(z), y))
        return {"accuracy": float((z.argmax(1) == targets).mean()), "loss_held": value}

    return judge


def logits_of(
    module: nn.Module, pixels: Pixels, preparation: Preparation, device: str = "cpu"
) -> NDArray[np.float32]:
    """Logits (n, classes) of pictures (n, S, S, C) uint8, as they are."""
    was = module.training
    module.eval()
    size = max(1, min(256, 4_000_000 // (preparation.size**2 * preparation.channels)))
    out = []
    with torch.inference_mode():
        for i in range(0, len(pixels), size):
            x = to_input(np.asarray(pixels[i : i + size]), preparation).to(device)
            out.append(module(x).float().cpu().numpy())
    module.train(was)
    return np.concatenate(out)


# ----------------------------------------------------------------------------------------- export


def save(fitted: Fitted, folder: str | Path, card: Card) -> Card:
    """Write the weights folder; ``card`` brings what only the caller knows (data, metrics)."""
    net = answering(copy.deepcopy(fitted.net).cpu().eval())
    p = fitted.preparation
    rng = np.random.default_rng(1)
    head = linear_head(net)
    card = dataclasses.replace(
        card,
        app="classify",
        net=fitted.name,
        arguments=fitted.arguments,
        labels=fitted.labels,
        preparation={**dataclasses.asdict(p), **({"head": head} if head else {})},
        recipe=card.recipe or dataclasses.asdict(fitted.recipe),
        hours=card.hours or round(fitted.summary.seconds / 3600, 4),
    )
    examples = [
        {"pixels": rng.uniform(-1, 1, (n, p.channels, p.size, p.size)).astype(np.float32)}
        for n in (2, 1, 5)
    ]
    outputs = ["logits", "maps"] if head else ["logits"]
    return export(net, folder, card, examples=examples, axes={"pixels": {0: "n"}}, outputs=outputs)
