"""From a picture to classes: read, bring into the net's form, run, name; and where it looked.

read_picture -> prepare (size, crop, range: all from the card) -> Runtime (logits, maps) -> result
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.classify.explain import Explanation, explain
from cnnapps.core.card import Card
from cnnapps.core.errors import InputError, WeightsError, need
from cnnapps.core.media import Picture, read_picture
from cnnapps.core.runtime import Nets, open_runtime
from cnnapps.core.weights import Weights, find, open_weights

__all__ = ["ClassResult", "Classifier", "Guess", "Preparation", "load", "softmax"]

TOP = 5
STEP = 32
"""Pixels of the picture per place of the maps: sides of whole pictures are multiples of it."""
BATCH = 16
"""Pictures that a net sees at once: at 224 pixels about 90 MB of activations."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Guess:
    """One class: ``label``, its number among the labels of the weights, and its probability."""

    label: str
    class_id: int
    probability: float


@dataclass(frozen=True, slots=True)
class ClassResult:
    """The likeliest classes of one picture, first the best. ``explanation`` where asked for."""

    top: tuple[Guess, ...]
    explanation: Explanation | None = field(default=None, metadata={"json": "explanation"})

    def to_dict(self) -> dict[str, Any]:
        """As in the contract; ``explanation`` is left out if there is none."""
        from cnnapps.core.results import to_dict

        values: dict[str, Any] = to_dict(self)
        if self.explanation is None:
            del values["explanation"]
        return values

    def __str__(self) -> str:
        return "  ".join(f"{g.label} {g.probability:.3f}" for g in self.top)


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a picture becomes the net's input; the card's ``preparation``.

    The middle ``crop`` of the shorter side, resized to ``size`` pixels a side, as ``channels``
    (3 RGB, 1 grey), then (value - mean) / scale. With ``whole`` (nets without dense layers) the
    whole picture, up to twice as long as high or the other way round: its shorter side becomes
    ``size``, the longer one a multiple of STEP, and the net's mean is over more places.
    """

    size: int
    channels: int = 3
    crop: float = 1.0
    mean: float = 127.5
    scale: float = 127.5
    whole: bool = False
    kind: str = "picture"
    """picture | digit: ``digit`` is a tile that apps.classify.digits cuts out."""

    def __post_init__(self) -> None:
        if not (1 <= self.size <= 4096 and self.channels in (1, 3) and 0 < self.crop <= 1):
            raise ValueError("size, channels or crop is impossible")
        if not (self.scale > 0 and self.kind in ("picture", "digit")):
            raise ValueError("scale or kind is impossible")
        if self.whole and (self.size % STEP or self.crop != 1):
            raise ValueError(f"whole pictures need a size that {STEP} divides, and crop 1")

    def box(self, width: int, height: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of what the net sees of a picture, in its pixels."""
        side = max(1, round(self.crop * min(width, height)))
        wide, high = (min(n, 2 * side) if self.whole else side for n in (width, height))
        x, y = (width - wide) // 2, (height - high) // 2
        return x, y, x + wide, y + high

    def shape(self, width: int, height: int) -> tuple[int, int]:
        """(width, height) in the net of such a box."""
        if not self.whole:
            return self.size, self.size
        scale = self.size / min(width, height)
        wide, high = (max(self.size, round(n * scale / STEP) * STEP) for n in (width, height))
        return wide, high

    def pixels(self, rgb: Pixels) -> Pixels:
        """(H, W, 3) uint8 -> (size, size, channels) uint8; with ``whole`` (h, w, channels).

        Reduced by area averages, so that nothing finer than the new pixels remains; enlarged by
        cubic interpolation.
        """
        cv2 = need("cv2", "reading pictures")
        x0, y0, x1, y1 = self.box(rgb.shape[1], rgb.shape[0])
        part = rgb[y0:y1, x0:x1]
        if self.channels == 1:
            part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)
        shape = self.shape(x1 - x0, y1 - y0)
        how = cv2.INTER_AREA if min(x1 - x0, y1 - y0) > self.size else cv2.INTER_CUBIC
        part = cv2.resize(part, shape, interpolation=how)
        return part.reshape(shape[1], shape[0], self.channels)

    def input(self, pixels: Pixels) -> Floats:
        """(h, w, channels) uint8 -> (channels, h, w) float32."""
        values = (pixels.astype(np.float32) - np.float32(self.mean)) / np.float32(self.scale)
        return np.ascontiguousarray(values.transpose(2, 0, 1))


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Over the last axis."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    e = np.exp(shifted)
    return np.asarray(e / e.sum(-1, keepdims=True))


@dataclass(frozen=True, slots=True)
class Prepared:
    """A picture ready for the net; ``size`` (width, height) of the picture that it came from."""

    input: Floats
    size: tuple[int, int]


Item = Picture | Prepared | Pixels | str | os.PathLike[str]


class Classifier:
    """Classifies pictures with one weights folder.

    ``top`` classes each; ``explain`` adds where the first one was seen (InputError if this net
    can't: its head is more than one linear layer).
    """

    def __init__(
        self,
        weights: Weights,
        *,
        runtime: str = "onnx",
        device: str = "cpu",
        threads: int = 1,
        nets: Nets | None = None,
        top: int = TOP,
        explain: bool = False,
    ) -> None:
        card = weights.card
        self.card: Card = card
        self.labels = card.labels
        self.top = min(max(1, top), len(card.labels))
        self.explain = explain
        values = dict(card.preparation)
        head = values.pop("head", None)
        try:
            self.preparation = Preparation(**values)
        except (TypeError, ValueError) as error:
            raise WeightsError(weights.folder, f"card.json is malformed ({error})") from error
        self._head: tuple[Floats, Floats] | None = None
        if isinstance(head, str):
            self._head = _linear(weights, head, len(card.labels))
        if explain and self._head is None:
            raise InputError(
                card.name,
                f"can't explain: the {card.net} has more than one linear layer behind its maps",
            )
        if "logits" not in card.outputs or list(card.inputs) != ["pixels"] or not card.labels:
            raise WeightsError(weights.folder, "card.json: not the inputs and outputs of classify")
        self._runtime = open_runtime(
            weights, runtime=runtime, device=device, threads=threads, nets=nets
        )

    def prepare(self, item: Item) -> Prepared:
        """What the net sees of a picture, a file or an (H, W, 3) uint8 array."""
        if isinstance(item, Prepared):
            return item
        if isinstance(item, str | os.PathLike):
            item = read_picture(item)
        rgb = item.rgb if isinstance(item, Picture) else item
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise InputError("picture", f"not (H, W, 3) uint8: {rgb.shape} {rgb.dtype}")
        pixels = self.preparation.pixels(rgb)
        return Prepared(self.preparation.input(pixels), (rgb.shape[1], rgb.shape[0]))

    def __call__(self, item: Item) -> ClassResult:
        """The answer for a picture: a file name, a Picture, or (H, W, 3) uint8 RGB."""
        return next(self.batch([item]))

    def batch(self, items: Iterable[Item], size: int = BATCH) -> Iterator[ClassResult]:
        """Answers in order, ``size`` pictures at a time; the same answers as one by one."""
        source = iter(items)
        while chunk := [self.prepare(item) for item in islice(source, size)]:
            shapes: dict[tuple[int, ...], list[int]] = {}  # whole pictures differ in shape
            for i, prepared in enumerate(chunk):
                shapes.setdefault(prepared.input.shape, []).append(i)
            answers: dict[int, ClassResult] = {}
            for members in shapes.values():
                logits, maps = self.run(np.stack([chunk[i].input for i in members]))
                for k, i in enumerate(members):
                    own = maps[k] if maps is not None else None
                    answers[i] = self._result(logits[k], own, chunk[i])
            yield from (answers[i] for i in range(len(chunk)))

    def run(self, pixels: Floats) -> tuple[Floats, Floats | None]:
        """(N, C, S, S) -> logits (N, classes), and the maps (N, K, H', W') if there are any."""
        out = self._runtime.run(pixels=pixels)
        logits = out["logits"]
        if logits.shape != (len(pixels), len(self.labels)):
            raise WeightsError(self.card.name, f"logits of shape {logits.shape}")
        return logits, out.get("maps")

    def _result(self, logits: Floats, maps: Floats | None, prepared: Prepared) -> ClassResult:
        p = softmax(logits)
        order = np.argsort(-p, kind="stable")[: self.top]
        top = tuple(Guess(self.labels[i], int(i), float(p[i])) for i in order)
        if not self.explain or maps is None or self._head is None:
            return ClassResult(top)
        weight, bias = self._head
        best = int(order[0])
        box = self.preparation.box(*prepared.size)
        said = explain(maps, weight[best], float(bias[best]), self.labels[best], box)
        return ClassResult(top, said)


def _linear(weights: Weights, head: str, classes: int) -> tuple[Floats, Floats]:
    """Weight (classes, K) and bias (classes,) of the linear layer called ``head``."""
    tensors = weights.tensors()
    try:
        weight, bias = tensors[f"{head}.weight"], tensors[f"{head}.bias"]
    except KeyError as error:
        raise WeightsError(weights.folder, f"has no tensor {error}") from error
    if weight.ndim != 2 or weight.shape[0] != classes or bias.shape != (classes,):
        raise WeightsError(weights.folder, f"{head} is {weight.shape}, there are {classes} labels")
    return weight.astype(np.float32), bias.astype(np.float32)


def load(
    weights: str | os.PathLike[str] | None = None,
    *,
    runtime: str = "onnx",
    device: str = "auto",
    threads: int = 1,
    top: int = TOP,
    explain: bool = False,
) -> Classifier:
    """A classifier: ``load()("photo.jpg").top[0].label``.

    ``weights`` is a tag (default: the 1000 ImageNet classes) or a folder that ``classify train``
    wrote.
    """
    from cnnapps.core.device import choose

    return Classifier(
        open_weights(find(weights, "classify"), app="classify"),
        runtime=runtime,
        device=choose(device, runtime=runtime),
        threads=threads,
        nets=table,
        top=top,
        explain=explain,
    )


def table() -> Any:
    """The app's nets; importing them imports torch."""
    from cnnapps.apps.classify.net import NETS

    return NETS


def one_line(labels: Sequence[str]) -> str:
    """Labels for a message: the first few."""
    shown = ", ".join(labels[:6])
    return shown + (f", … ({len(labels)})" if len(labels) > 6 else "")
