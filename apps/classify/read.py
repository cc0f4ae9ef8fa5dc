"""Digits of a picture, read: found, cut out, classified, put in order.

find_ink -> find_digits -> cut -> Runtime -> DigitsResult
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.classify.digits import (
    SIDE,
    Ink,
    Place,
    bridges,
    cut,
    find_digits,
    find_ink,
    split,
)
from cnnapps.apps.classify.digits import text_of as join
from cnnapps.apps.classify.predict import Classifier, softmax, table
from cnnapps.core.errors import InputError
from cnnapps.core.media import Picture, read_picture
from cnnapps.core.weights import Weights, find, open_weights

__all__ = ["Digit", "DigitReader", "DigitsResult", "Found", "load_digits"]

TAG = "digits"
MOST = 5_000
"""Digits of one picture; beyond it the picture is something else."""
WIDE, PAIR = 1.08, 1.7
"""Width over height from which a place may be several digits that touch; up to PAIR only if a
single stroke joins them and each part is read as surely as the whole."""

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Digit:
    """One digit 0 ... 9, its probability, and its ``box`` (x0, y0, x1, y1) in the picture."""

    digit: int
    probability: float
    box: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class DigitsResult:
    """The digits of a picture in reading order, and as ``text`` (a line a line, gaps as blanks)."""

    digits: tuple[Digit, ...]
    text: str
    light: bool = field(default=False, metadata={"json": False})

    def to_dict(self) -> dict[str, Any]:
        from cnnapps.core.results import to_dict

        values: dict[str, Any] = to_dict(self)
        return values

    def __str__(self) -> str:
        return self.text or "no digits"


@dataclass(frozen=True, slots=True)
class Found:
    """Digits that were found and not read yet: places in ``ink`` and their tiles (n, 28, 28)."""

    ink: Ink | None
    places: tuple[Place, ...]
    tiles: Floats


class DigitReader:
    """Reads the digits of pictures with one weights folder of kind ``digit``.

    Digits less probable than ``min_confidence`` are left out: what isn't a digit is often unsure.
    """

    def __init__(self, weights: Weights, *, min_confidence: float = 0.0, **options: Any) -> None:
        if not 0 <= min_confidence <= 1:
            raise InputError("min_confidence", f"{min_confidence} is not between 0 and 1")
        self._net = Classifier(weights, top=1, **options)
        self.card = self._net.card
        self.min_confidence = min_confidence
        if self._net.preparation.kind != "digit":
            raise InputError(self.card.name, "classifies whole pictures; leave out 'digits'")

    def __call__(self, item: Picture | Pixels | str | os.PathLike[str]) -> DigitsResult:
        """The digits of a picture: a file name, a Picture, or (H, W, 3) uint8 RGB."""
        return next(self.batch([item]))

    def batch(
        self, items: Iterable[Picture | Pixels | Found | str | os.PathLike[str]], size: int = 1
    ) -> Iterator[DigitsResult]:
        """Answers in order, as one by one."""
        for item in items:
            yield self._read(item if isinstance(item, Found) else self.find(item))

    def find(self, item: Picture | Pixels | str | os.PathLike[str]) -> Found:
        """Where digits stand; InputError if there are far too many for a picture of digits."""
        if isinstance(item, str | os.PathLike):
            item = read_picture(item)
        rgb = item.rgb if isinstance(item, Picture) else item
        if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
            raise InputError("picture", f"not (H, W, 3) uint8: {rgb.shape} {rgb.dtype}")
        ink = find_ink(rgb)
        places = find_digits(ink) if ink is not None else []
        if len(places) > MOST:
            source = item.source if isinstance(item, Picture) else "picture"
            raise InputError(source, f"{len(places):,} marks: not a picture of digits")
        tiles = [cut(ink, p) for p in places] if ink is not None else []
        return Found(ink, tuple(places), _stack(tiles))

    def probabilities(self, tiles: Floats) -> NDArray[np.float64]:
        """(n, 28, 28) tiles, 0 paper ... 1 ink -> (n, 10)."""
        prepared = self._net.preparation
        values = (255 * tiles - np.float32(prepared.mean)) / np.float32(prepared.scale)
        found = [
            self._net.run(values[i : i + 256, None].astype(np.float32))[0]
            for i in range(0, len(tiles), 256)
        ]
        return softmax(np.concatenate(found)) if found else np.zeros((0, 10))

    def _read(self, found: Found) -> DigitsResult:
        if found.ink is None:
            return DigitsResult((), "")
        places, p = self._parted(found.ink, list(found.places), self.probabilities(found.tiles))
        kept = [i for i in range(len(places)) if p[i].max() >= self.min_confidence]
        numbers = [int(p[i].argmax()) for i in kept]
        scale = found.ink.scale
        digits = tuple(
            Digit(n, float(p[i].max()), _scaled(places[i].box, scale))
            for n, i in zip(numbers, kept, strict=True)
        )
        return DigitsResult(digits, join([places[i] for i in kept], numbers), found.ink.light)

    def _parted(
        self, ink: Ink, places: list[Place], p: NDArray[np.float64]
    ) -> tuple[list[Place], NDArray[np.float64]]:
        """Wide places as two to four digits that touch, where their parts are read better."""
        out: list[Place] = []
        rows: list[NDArray[np.float64]] = []
        for place, row in zip(places, p, strict=True):
            best, answer = [place], row[None]
            ratio = place.width / max(place.height, 1)
            if ratio > WIDE:
                score = float(row.max()) - 0.35 * max(ratio - 0.9, 0)
                for parts in range(2, min(8, round(ratio / 0.55)) + 1):
                    pieces = split(place, parts)
                    if len(pieces) != parts:
                        continue
                    read = self.probabilities(_stack([cut(ink, q) for q in pieces]))
                    mean = float(read.max(1).mean())
                    odd = abs(ratio / parts - 0.65)
                    if ratio < PAIR and (
                        bridges(place, pieces) > 1 or read.max(1).min() < row.max() - 0.03
                    ):
                        continue  # a wide 0 or 5 is no pair
                    if mean - 0.35 * odd > score:
                        score, best, answer = mean - 0.35 * odd, pieces, read
            out += best
            rows += list(answer)
        return out, np.array(rows).reshape(-1, 10)


def _stack(tiles: Sequence[Floats]) -> Floats:
    return np.stack(tiles) if tiles else np.zeros((0, SIDE, SIDE), np.float32)


def _scaled(box: tuple[int, int, int, int], scale: float) -> tuple[int, int, int, int]:
    x0, y0, x1, y1 = (round(v * scale) for v in box)
    return x0, y0, max(x1, x0 + 1), max(y1, y0 + 1)


def largest(found: Found) -> Found:
    """Only the highest digit of a picture that should have one."""
    if not found.places:
        return found
    i = max(range(len(found.places)), key=lambda k: found.places[k].mask.size)
    return replace(found, places=(found.places[i],), tiles=found.tiles[i : i + 1])


def load_digits(
    weights: str | os.PathLike[str] | None = None,
    *,
    runtime: str = "onnx",
    device: str = "auto",
    threads: int = 1,
    min_confidence: float = 0.0,
) -> DigitReader:
    """A reader of digits: ``load_digits()("scan.png").text``."""
    from cnnapps.core.device import choose

    return DigitReader(
        open_weights(find(weights or TAG, "classify"), app="classify"),
        min_confidence=min_confidence,
        runtime=runtime,
        device=choose(device, runtime=runtime),
        threads=threads,
        nets=table,
    )
