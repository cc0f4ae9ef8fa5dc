"""How good a classifier is: accuracy, F1, confusion, calibration, coverage. numpy only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = [
    "Scores",
    "best_thresholds",
    "calibration_error",
    "confusion",
    "coverage",
    "f1",
    "fit_temperature",
    "score",
    "score_several",
]

BINS = 15


@dataclass(frozen=True, slots=True)
class Scores:
    """The result of ``evaluate``; rates are fractions of 1."""

    accuracy: float
    macro_f1: float
    per_class: dict[str, dict[str, float]]
    confusion: dict[str, Any]
    calibration_error: float
    coverage: tuple[dict[str, float], ...]

    def __str__(self) -> str:
        names = list(self.per_class)
        width = max(8, *(min(len(n), 20) for n in names))
        lines = [
            f"accuracy {self.accuracy:.4f}  macro-F1 {self.macro_f1:.4f}  "
            f"calibration error {self.calibration_error:.4f}",
            "",
            f"{'class':<{width}}  precision  recall      F1       n",
        ]
        for name, row in self.per_class.items():
            lines.append(
                f"{name[:20]:<{width}}  {row['precision']:9.4f}  {row['recall']:6.4f}  "
                f"{row['f1']:6.4f}  {row['n']:6.0f}"
            )
        counts = self.confusion["counts"]
        if counts and len(names) <= 12:
            lines += ["", "confusion (row = truth, column = answer)"]
            unlike = (k for k in range(6, 21) if len({n[:k] for n in names}) == len(names))
            cell = max(next(unlike, 20) + 1, len(str(max(map(max, counts)))) + 2)
            lines.append(" " * width + "".join(f"{n[: cell - 1]:>{cell}}" for n in names))
            for name, row in zip(names, counts, strict=True):
                lines.append(f"{name[:20]:<{width}}" + "".join(f"{v:>{cell}}" for v in row))
        if self.coverage:
            lines += ["", "confidence at least   answered  accuracy of those"]
            for row in self.coverage:
                lines.append(
                    f"{row['confidence']:19.2f}   {row['coverage']:8.4f}  {row['accuracy']:8.4f}"
                )
        return "\n".join(lines)


def confusion(truth: np.ndarray, answer: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) counts, row = truth, column = answer."""
    return np.bincount(truth * classes + answer, minlength=classes * classes).reshape(
        classes, classes
    )


def f1(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Precision, recall and F1 of each class from a confusion matrix; 0 where undefined."""
    hit = np.diag(counts).astype(np.float64)
    precision = hit / np.maximum(counts.sum(0), 1)
    recall = hit / np.maximum(counts.sum(1), 1)
    return precision, recall, 2 * hit / np.maximum(counts.sum(0) + counts.sum(1), 1)


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """Expected calibration error over equal-width bins (Guo et al. 2017, arXiv:1706.04599)."""
    if not len(confidence):
        return 0.0
    which = np.clip((confidence * bins).astype(int), 0, bins - 1)
    n = np.bincount(which, minlength=bins)
    gap = np.abs(
        np.bincount(which, weights=confidence, minlength=bins)
        - np.bincount(which, weights=right.astype(np.float64), minlength=bins)
    )
    return float(gap[n > 0].sum() / len(confidence))


def coverage(
    confidence: np.ndarray,
    right: np.ndarray,
    at: tuple[float, ...] = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
) -> tuple[dict[str, float], ...]:
    """Share of the texts that are answered when a confidence is asked for, and their accuracy."""
    rows = []
    for limit in at:
        kept = confidence >= limit
        accuracy = float(right[kept].mean()) if kept.any() else 0.0
        rows.append({"confidence": limit, "coverage": float(kept.mean()), "accuracy": accuracy})
    return tuple(rows)


def score(probabilities: np.ndarray, truth: np.ndarray, labels: tuple[str, ...]) -> Scores:
    """Scores of (n, classes) probabilities against the true classes (n,).

    macro-F1 is the mean over the classes that occur in the truth or the answers.
    """
    answer = probabilities.argmax(1)
    counts = confusion(truth, answer, len(labels))
    precision, recall, f = f1(counts)
    seen = (counts.sum(0) + counts.sum(1)) > 0
    confidence, right = probabilities.max(1), answer == truth
    return Scores(
        accuracy=float(right.mean()),
        macro_f1=float(f[seen].mean()),
        per_class=_per_class(labels, precision, recall, f, counts.sum(1)),
        confusion={"labels": list(labels), "counts": counts.tolist()},
        calibration_error=calibration_error(confidence, right),
        coverage=coverage(confidence, right),
    )


def score_several(
    probabilities: np.ndarray, truth: np.ndarray, labels: tuple[str, ...], thresholds: np.ndarray
) -> Scores:
    """Several labels a text: truth (n, classes) 0/1. Accuracy is that of the whole label set."""
    answer = probabilities >= thresholds
    hit = (answer & (truth > 0)).sum(0)
    said, there = answer.sum(0), (truth > 0).sum(0)
    precision = hit / np.maximum(said, 1)
    recall = hit / np.maximum(there, 1)
    f = 2 * hit / np.maximum(said + there, 1)
    right = (answer == (truth > 0)).all(1)
    return Scores(
        accuracy=float(right.mean()),
        macro_f1=float(f[(said + there) > 0].mean()) if (said + there).any() else 0.0,
        per_class=_per_class(labels, precision, recall, f, there),
        confusion={"labels": list(labels), "counts": []},
        calibration_error=calibration_error(probabilities.ravel(), (truth > 0).ravel()),
        coverage=(),
    )


def _per_class(
    labels: tuple[str, ...],
    precision: np.ndarray,
    recall: np.ndarray,
    f: np.ndarray,
    n: np.ndarray,
) -> dict[str, dict[str, float]]:
    return {
        name: {
            "precision": float(precision[i]),
            "recall": float(recall[i]),
            "f1": float(f[i]),
            "n": float(n[i]),
        }
        for i, name in enumerate(labels)
    }


def fit_temperature(logits: np.ndarray, truth: np.ndarray, *, several: bool = False) -> float:
    """The T > 0 that minimises the cross-entropy of logits / T (Guo et al. 2017, section 4.2).

    Of n texts that all come out right the next one is right with (n + 1) / (n + 2) (Laplace's rule
    of succession; Platt 1999, section 2.2, for the same reason): the truth counts as that sure, or
    a small dev part without a mistake would make T as small as can be.
    Golden-section search over log T in [-3, 3]; the loss is convex in 1/T. 1 without data.
    """
    n = len(logits)
    if not n:
        return 1.0
    if several:
        goal = truth * (n / (n + 2)) + 1 / (n + 2)
    else:
        classes = logits.shape[1]
        goal = np.full(logits.shape, 1 / (n + 2) / max(classes - 1, 1))
        goal[np.arange(n), truth] = (n + 1) / (n + 2)

    def loss(log_t: float) -> float:
        z = logits.astype(np.float64) / np.exp(log_t)
        if several:
            return float(np.mean(np.logaddexp(0, z) - z * goal))
        z = z - z.max(1, keepdims=True)
        return float(np.mean(np.log(np.exp(z).sum(1)) * goal.sum(1) - (z * goal).sum(1)))

    low, high = -3.0, 3.0
    golden = (5**0.5 - 1) / 2
    while high - low > 1e-4:
        a, b = high - golden * (high - low), low + golden * (high - low)
        if loss(a) < loss(b):
            high = b
        else:
            low = a
    return float(np.exp((low + high) / 2))


def best_thresholds(probabilities: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """For each label the threshold with the best F1 on dev data; 0.5 for one without examples."""
    out = np.full(probabilities.shape[1], 0.5)
    for i in range(probabilities.shape[1]):
        p, t = probabilities[:, i], truth[:, i] > 0
        if not t.any():
            continue
        order = np.argsort(-p, kind="stable")
        hits = np.cumsum(t[order])
        f = 2 * hits / (np.arange(1, len(p) + 1) + t.sum())
        best = int(f.argmax())
        after = p[order[best + 1]] if best + 1 < len(p) else 0.0
        out[i] = float(np.clip((p[order[best]] + after) / 2, 0.01, 0.99))
    return out
