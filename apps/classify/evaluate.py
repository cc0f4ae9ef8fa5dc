"""Scores of a classifier, in numpy: top-1, top-5, confusion, with intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import printable

__all__ = ["Scores", "confusion", "score", "wilson"]

TABLE = 20
"""Classes up to which the text has the whole confusion matrix."""


def wilson(hits: int, n: int, z: float = 1.96) -> tuple[float, float]:
    """95% interval of a rate (Wilson 1927); (0, 1) for n = 0."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    centre = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def confusion(truth: NDArray[Any], found: NDArray[Any], classes: int) -> NDArray[np.int64]:
    """Counts (classes, classes): row = truth, column = answer. Answers below 0 are left out."""
    out = np.zeros((classes, classes), np.int64)
    good = np.asarray(found) >= 0
    np.add.at(out, (np.asarray(truth)[good], np.asarray(found)[good]), 1)
    return out


@dataclass(frozen=True, slots=True)
class Scores:
    """How often the truth is the first answer, among the first five; and what was taken for what.

    ``interval`` is top1's (95%, Wilson); ``unanswered`` pictures count as wrong.
    """

    n: int
    top1: float
    top5: float
    interval: tuple[float, float]
    labels: tuple[str, ...]
    counts: NDArray[np.int64]
    unanswered: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As in the contract, with the interval."""
        return {
            "top1": self.top1,
            "top5": self.top5,
            "interval": list(self.interval),
            "confusion": {"labels": list(self.labels), "counts": self.counts.tolist()},
            **({"unanswered": self.unanswered} if self.unanswered else {}),
        }

    def __str__(self) -> str:
        low, high = self.interval
        lines = [
            f"top-1 {self.top1:.4f} (95%: {low:.4f} to {high:.4f}), top-5 {self.top5:.4f}, "
            f"n {self.n:,}"
        ]
        if self.unanswered:
            lines.append(f"{self.unanswered} without an answer, counted as wrong")
        lines += _matrix(self.labels, self.counts)
        return "\n".join(lines)


def _matrix(labels: tuple[str, ...], counts: NDArray[np.int64]) -> list[str]:
    """The confusion matrix of few classes, or the commonest confusions of many."""
    names = [printable(label, 14) for label in labels]
    wide = max(map(len, names), default=0)
    size = max(3, len(str(int(counts.max(initial=0)))))
    if len(labels) <= TABLE and wide + (size + 1) * len(labels) <= 80:
        head = " " * wide + "".join(f" {name[:size]:>{size}}" for name in names)
        rows = [
            f"{name:<{wide}}" + "".join(f" {v if v else '.':>{size}}" for v in row)
            for name, row in zip(names, counts.tolist(), strict=True)
        ]
        return ["", "rows are the truth, columns the answers", head, *rows]
    off = counts.copy()
    np.fill_diagonal(off, 0)
    order = np.argsort(-off, axis=None, kind="stable")[:10]
    pairs = [divmod(int(i), len(labels)) for i in order if off.flat[i]]
    return [f"  {int(off[a, b]):>4} x {names[a]} taken for {names[b]}" for a, b in pairs]


def score(
    p: NDArray[Any], truth: NDArray[Any], labels: tuple[str, ...], *, unanswered: int = 0
) -> Scores:
    """Scores of probabilities or logits p (n, classes); ``truth`` (n,).

    ``unanswered`` further pictures gave nothing. With fewer than five classes top-5 is 1 wherever
    there is an answer.
    """
    n = len(truth) + unanswered
    order = np.argsort(-p, axis=1, kind="stable")[:, :5] if len(truth) else np.zeros((0, 5), int)
    hits = order == np.asarray(truth)[:, None]
    top1, top5 = int(hits[:, :1].sum()), int(hits.sum())
    counts = confusion(np.asarray(truth), order[:, 0], len(labels))
    return Scores(
        n, top1 / max(n, 1), top5 / max(n, 1), wilson(top1, n), labels, counts, unanswered
    )
