"""From a text to a label: units, net, probabilities, and which n-grams decided.

prepare (ids of units) -> Runtime (logits, features) -> TextResult
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np

from cnnapps.apps.textcls.grams import read_grams
from cnnapps.apps.textcls.tokens import Token, read_units
from cnnapps.core.card import Card
from cnnapps.core.errors import InputError, WeightsError
from cnnapps.core.runtime import Nets, open_runtime
from cnnapps.core.weights import Weights, find, open_weights

__all__ = ["Contribution", "TextPredictor", "TextResult", "softmax"]

PIECE = 1024
"""Units of a text that the net sees at once; longer texts are cut into overlapping pieces."""
CONTEXT_PIECE, CONTEXT_OVERLAP, CONTEXT_UNITS = 256, 32, 4096
"""The same for nets with context, whose cost grows faster than the length, and their batch."""
_SIDES = np.array([-0.5, 0.5])  # what a margin adds to the logits of two labels
BATCH_UNITS = 16_384
"""Padded units a batch: bounds the memory of one run to about 60 MB."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one n-gram of the text adds to the logit of the label that is explained."""

    ngram: str
    start: int
    """First character of the n-gram in the text."""
    end: int
    """One past its last character."""
    value: float


@dataclass(frozen=True, slots=True)
class TextResult:
    """The answer for one text.

    ``label`` is None when no probability reaches ``min_confidence``. With weights for several
    labels a text, ``labels`` are all that reach their threshold and ``label`` is the likeliest of
    them. ``contributions`` (with explain) and ``bias`` add up to ``logit``, exactly.
    """

    label: str | None
    probability: float
    probabilities: dict[str, float]
    labels: tuple[str, ...] | None = None
    contributions: tuple[Contribution, ...] | None = None
    bias: float | None = None
    logit: float | None = None
    explained: str | None = None
    """The label whose score ``contributions``, ``bias`` and ``logit`` explain."""

    def to_dict(self) -> dict[str, Any]:
        """As in the contract: fields that were not asked for are left out."""
        from cnnapps.core.results import to_dict

        values: dict[str, Any] = to_dict(self)
        optional = ("labels", "contributions", "bias", "logit", "explained")
        return {k: v for k, v in values.items() if k not in optional or v is not None}

    def __str__(self) -> str:
        if self.labels is not None:
            found = [f"{x}\t{self.probabilities[x]:.4f}" for x in self.labels]
            return "\t".join(found) or f"none\t{self.probability:.4f}"
        return f"{self.label or 'none'}\t{self.probability:.4f}"


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis; float64."""
    shifted = logits.astype(np.float64)
    shifted -= shifted.max(-1, keepdims=True)
    e = np.exp(shifted)
    return e / e.sum(-1, keepdims=True)


class TextPredictor:
    """Classifies texts with one weights folder; safe to share between threads."""

    def __init__(
        self,
        weights: Weights,
        *,
        runtime: str = "onnx",
        device: str = "cpu",
        threads: int = 1,
        nets: Nets | None = None,
        min_confidence: float = 0.0,
        explain: bool = False,
    ) -> None:
        card = weights.card
        self.card: Card = card
        self.min_confidence = min_confidence
        self.explain = explain
        self._units = read_units(weights.files)
        self._contextual = card.net == "context-cnn"
        self._runtime = open_runtime(
            weights, runtime=runtime, device=device, threads=threads, nets=nets
        )
        preparation = card.preparation
        try:
            self.temperature = float(preparation.get("temperature", 1.0))
            self.several = bool(preparation.get("several_labels", False))
            thresholds = preparation.get("thresholds") or [0.5] * len(card.labels)
            self.thresholds = np.asarray(thresholds, dtype=np.float64)
            self.widths = tuple(int(h) for h in card.arguments["widths"])
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(weights.folder, f"card.json is malformed ({error})") from error
        if not (self.temperature > 0 and len(self.thresholds) == len(card.labels) > 0):
            raise WeightsError(weights.folder, "card.json: temperature, thresholds or labels")
        if not self.widths or min(self.widths) < 1 or max(self.widths) > 100:
            raise WeightsError(weights.folder, f"card.json: impossible widths {self.widths}")
        self._grams = read_grams(weights.files, len(card.labels))
        self._tensors = weights.tensors()  # views of the bytes that are in memory anyway
        outputs = self._tensors.get("output.bias")
        if outputs is None or len(outputs) != len(card.labels):
            raise WeightsError(weights.folder, "labels and outputs of the net differ in number")
        if card.arguments.get("units") != len(self._units):
            raise WeightsError(weights.folder, "units and word table differ in length")

    def __call__(self, text: str) -> TextResult:
        if not isinstance(text, str):
            raise TypeError(f"a text is a str, not a {type(text).__name__}; .batch takes several")
        return next(self.batch([text]))

    def batch(self, texts: Iterable[str], size: int = 1024) -> Iterator[TextResult]:
        """Answers in order, ``size`` texts read ahead; the same answers as one by one."""
        if isinstance(texts, str):
            raise TypeError("batch takes several texts; call the predictor with one")
        source = iter(texts)
        done = 0
        while chunk := list(islice(source, size)):
            for i, text in enumerate(chunk, done + 1):
                if not isinstance(text, str):
                    what = type(text).__name__
                    raise TypeError(f"a text is a str, not a {what} (text {i} of the batch)")
            done += len(chunk)
            for text, logits in zip(chunk, self.logits(chunk), strict=True):
                yield self._result(text, logits)

    def logits(self, texts: Sequence[str]) -> np.ndarray:
        """(len(texts), classes) float64, before the temperature."""
        ids = [self._units.ids(text) or [1] for text in texts]  # an empty text is one unknown word
        pieces = [(i, *piece) for i, units in enumerate(ids) for piece in self._pieces(units)]
        pieces.sort(key=lambda piece: len(piece[1]))  # equal lengths together: little padding
        features: dict[int, np.ndarray] = {}
        logits: dict[int, np.ndarray] = {}
        for group in _groups(pieces, CONTEXT_UNITS if self._contextual else BATCH_UNITS):
            out = self._run(group)
            for (i, _, first, last), z, f in zip(
                group, out["logits"], out["features"], strict=True
            ):
                if first and last:
                    logits[i] = z
                else:
                    features[i] = np.maximum(features.get(i, 0.0), f)
        for i, f in features.items():
            logits[i] = self._output(f)
        answers = np.stack([logits[i] for i in range(len(ids))]).astype(np.float64)
        if self._grams is not None:
            answers += self._grams.margins(texts)[:, None] * _SIDES
        return answers

    def _pieces(self, units: list[int]) -> Iterator[tuple[list[int], int, int]]:
        """(units, begins here, ends here) of each piece; neighbours share a window less one."""
        if self._contextual:
            yield from _context_pieces(units)
            return
        if len(units) <= PIECE:
            yield units, 1, 1
            return
        step = PIECE - (max(self.widths) - 1)
        for start in range(0, len(units), step):
            last = start + PIECE >= len(units)
            yield units[start : start + PIECE], int(start == 0), int(last)
            if last:
                return

    def _run(self, group: Sequence[tuple[int, list[int], int, int]]) -> dict[str, np.ndarray]:
        length = np.array([len(units) for _, units, _, _ in group], dtype=np.int64)
        ids = np.zeros((len(group), int(length.max())), dtype=np.int64)
        for row, (_, units, _, _) in zip(ids, group, strict=True):
            row[: len(units)] = units
        if self._contextual:
            return self._runtime.run(ids=ids, length=length)
        words, tokens = np.unique(ids, return_inverse=True)
        tokens = tokens.reshape(ids.shape)
        if words[0] != 0:  # word 0 must be the padding
            words, tokens = np.concatenate([[0], words]), tokens + 1
        return self._runtime.run(
            words=words.astype(np.int64),
            tokens=tokens.astype(np.int64),
            length=length,
            edges=np.array([[first, last] for _, _, first, last in group], dtype=np.int64),
        )

    def _output(self, features: np.ndarray) -> np.ndarray:
        weight, bias = self._tensors["output.weight"], self._tensors["output.bias"]
        return weight.astype(np.float32) @ features + bias.astype(np.float32)

    def probabilities(self, logits: np.ndarray) -> np.ndarray:
        """Calibrated: softmax (or a sigmoid each, with several labels) of logits / temperature."""
        scaled = logits / self.temperature
        if self.several:
            return 1.0 / (1.0 + np.exp(-np.clip(scaled, -60, 60)))
        return softmax(scaled)

    def _result(self, text: str, logits: np.ndarray) -> TextResult:
        p = self.probabilities(logits)
        best = int(p.argmax())
        labels = self.card.labels
        chosen: tuple[str, ...] | None = None
        label: str | None = labels[best]
        if self.several:
            floor = np.maximum(self.thresholds, self.min_confidence)
            order = np.argsort(-p)
            chosen = tuple(labels[i] for i in order if p[i] >= floor[i])
            label = chosen[0] if chosen else None
            best = labels.index(label) if label is not None else best
        elif p[best] < self.min_confidence:
            label = None
        result = TextResult(
            label=label,
            probability=round(float(p[best]), 6),
            probabilities={name: round(float(v), 6) for name, v in zip(labels, p, strict=True)},
            labels=chosen,
        )
        return self._explained(text, result, best) if self.explain else result

    def _explained(self, text: str, result: TextResult, label: int) -> TextResult:
        """Attribute the logit of ``label`` to the n-grams that won each filter's maximum, and to
        those of a linear model beside the filters (grams.py), where there is one.

        logit = bias + sum over filters of weight * max over windows of relu(response): each term
        belongs to one window, so the terms of a window are what that n-gram contributed. No
        approximation, no gradient.
        """
        ids, tokens = self._units.spans(text)
        if not ids:
            ids, tokens = [1], [Token("", 0, 0)]
        windows = self._windows(ids, label)
        found: dict[tuple[int, int], float] = {}
        for start, end, value in windows:
            first = tokens[start].start  # the frame of a piece of a long text has no width
            key = (first, max((t.end for t in tokens[start:end]), default=first))
            found[key] = found.get(key, 0.0) + value
        bias = float(self._tensors["output.bias"][label])
        if self._grams is not None:  # n-grams of characters add theirs
            more, parts = self._grams.parts(text)
            bias += more * float(_SIDES[label])
            for first, last, share in parts:
                found[first, last] = found.get((first, last), 0.0) + share * float(_SIDES[label])
        rows = [
            Contribution(text[start:end] or "(frame)", start, end, value)
            for (start, end), value in sorted(found.items(), key=lambda item: -abs(item[1]))
        ]
        return TextResult(
            label=result.label,
            probability=result.probability,
            probabilities=result.probabilities,
            labels=result.labels,
            contributions=tuple(rows),
            bias=bias,
            logit=math.fsum([bias, *(row.value for row in rows)]),
            explained=self.card.labels[label],
        )

    def _windows(self, ids: list[int], label: int) -> Iterator[tuple[int, int, float]]:
        """(first unit, one past the last, share of the logit) for every filter that answers."""
        t = self._tensors
        rows = list(self._inputs(ids))
        at = 0
        for k, h in enumerate(self.widths):
            weight = t[f"filters.{k}.conv.weight"].astype(np.float32)  # (maps, dimensions, h)
            bias = t[f"filters.{k}.conv.bias"].astype(np.float32)
            best = np.full(len(bias), -np.inf, dtype=np.float32)
            where = np.zeros((len(bias), 2), dtype=np.int64)
            for x, offset, low, high in rows:
                value, window = _strongest(x, weight, bias)
                # a window may reach past the text: its n-gram is the part inside
                span = np.stack([window - h + 1, window + 1], 1).clip(low, high)
                better = value > best
                best = np.where(better, value, best)
                where = np.where(better[:, None], span + offset, where)
            weights = t["output.weight"][label, at : at + len(bias)].astype(np.float64)
            share = weights * np.maximum(best, 0)
            at += len(bias)
            for f in np.nonzero(share)[0]:
                yield int(where[f, 0]), int(where[f, 1]), float(share[f])

    def _inputs(self, ids: list[int]) -> Iterator[tuple[np.ndarray, int, int, int]]:
        """What the filters see: (rows, dimensions) vectors, the unit's number of row 0, and which
        rows are units: first and one past the last (pieces of a long text are framed besides).
        """
        t = self._tensors
        if not self._contextual:
            scale = t["table.scale"][ids].astype(np.float32)
            yield t["table.codes"][ids].astype(np.float32) * scale, 0, 0, len(ids)
            return
        offset = 0
        for units, first, last in self._pieces(ids):
            context = self._run([(0, units, first, last)])["context"][0]
            yield context, offset, 1 - first, len(context) - 1 + last
            offset += CONTEXT_PIECE - 2 - CONTEXT_OVERLAP


def _strongest(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each filter's largest response over the windows of x (L, D), and that window's number.

    Window p covers units p - h + 1 ... p. In blocks, since a text may be a book.
    """
    maps, h = len(bias), weight.shape[2]
    best = np.full(maps, -np.inf, dtype=np.float32)
    where = np.zeros(maps, dtype=np.int64)
    windows = len(x) + h - 1
    for begin in range(0, windows, 4096):
        stop = min(begin + 4096, windows)
        block = np.zeros((stop - begin + h - 1, x.shape[1]), dtype=np.float32)
        low, high = max(0, begin - h + 1), min(len(x), stop)
        block[low - (begin - h + 1) : high - (begin - h + 1)] = x[low:high]
        c = np.tile(bias, (stop - begin, 1))  # (windows, maps)
        for j in range(h):
            c += block[j : j + stop - begin] @ weight[:, :, j].T
        peak = c.argmax(0)
        value = c[peak, np.arange(maps)]
        better = value > best
        best, where = np.where(better, value, best), np.where(better, begin + peak, where)
    return best, where


def _context_pieces(units: list[int]) -> Iterator[tuple[list[int], int, int]]:
    """Pieces of a text for a net with context, each framed like a text of its own."""
    if len(units) <= CONTEXT_PIECE:
        yield units, 1, 1
        return
    begin, inner, end = units[:1], units[1:-1], units[-1:]
    size = CONTEXT_PIECE - 2
    for start in range(0, len(inner), size - CONTEXT_OVERLAP):
        last = start + size >= len(inner)
        yield [*begin, *inner[start : start + size], *end], int(start == 0), int(last)
        if last:
            return


def _groups(
    pieces: Sequence[tuple[int, list[int], int, int]], most: int
) -> Iterator[Sequence[tuple[int, list[int], int, int]]]:
    """Runs of the length-sorted pieces that hold at most ``most`` padded units."""
    start = 0
    for stop in range(1, len(pieces) + 1):
        full = stop == len(pieces) or (stop + 1 - start) * len(pieces[stop][1]) > most
        if full or stop - start == 256:
            yield pieces[start:stop]
            start = stop


def load(
    weights: str | os.PathLike[str] | None = None,
    *,
    runtime: str = "onnx",
    device: str = "cpu",
    threads: int = 1,
    min_confidence: float = 0.0,
    explain: bool = False,
) -> TextPredictor:
    """A predictor of sentences: ``load()("what a wonderful film").label == "positive"``.

    ``weights`` is a tag (``cnnapps weights list``) or a folder that ``textcls train`` wrote.
    """
    from cnnapps.core.device import choose

    if not 0.0 <= min_confidence <= 1.0:
        raise InputError("min_confidence", f"{min_confidence} is not between 0 and 1")
    return TextPredictor(
        open_weights(find(weights, "textcls"), app="textcls"),
        runtime=runtime,
        device=choose(device, runtime=runtime),
        threads=threads,
        nets=_nets,
        min_confidence=min_confidence,
        explain=explain,
    )


def _nets() -> Any:
    from cnnapps.apps.textcls.context import ContextCNN
    from cnnapps.apps.textcls.net import NETS

    return {**NETS, "context-cnn": ContextCNN}
