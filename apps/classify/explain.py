"""Where a class was seen: class activation maps, without torch and without gradients.

With maps A (K, H, W), their mean over positions and one linear layer, the logit of class c is
Σ_k w_ck mean(A_k) + b_c = mean over positions of Σ_k w_ck A_k(y, x), plus b_c. So the number
M(y, x) = Σ_k w_ck A_k(y, x) says exactly what each position adds (Zhou et al. 2016, eq. 2).
Grad-CAM (Selvaraju et al. 2017) is ReLU(M) / (H·W) for such a head: the same picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import need

__all__ = ["Explanation", "activation_map", "explain", "overlay"]

Floats = NDArray[np.float32]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Explanation:
    """What each place of the picture adds to the logit of ``label``.

    ``map`` (H', W') float32 in row order; its mean plus ``bias`` is ``logit``. ``box``
    (x0, y0, x1, y1) is the part of the picture that the map covers, in pixels; ``focus`` the part
    in which half of what speaks for the class lies, None if nothing does. ``words`` says it in a
    sentence.
    """

    label: str
    logit: float
    bias: float
    words: str
    map: Floats
    box: tuple[int, int, int, int]
    focus: tuple[int, int, int, int] | None


def activation_map(maps: Floats, weight: Floats) -> Floats:
    """Σ_k w_k A_k: maps (K, H, W), weight (K,) -> (H, W)."""
    return np.tensordot(weight, maps, axes=1).astype(np.float32)


def explain(
    maps: Floats, weight: Floats, bias: float, label: str, box: tuple[int, int, int, int]
) -> Explanation:
    """The explanation of one class: maps (K, H, W), its row of the head and its bias."""
    values = activation_map(maps, weight)
    logit = float(values.mean()) + bias
    focus, words = _words(values, label, box)
    return Explanation(label, logit, bias, words, values, box, focus)


def _words(
    values: Floats, label: str, box: tuple[int, int, int, int]
) -> tuple[tuple[int, int, int, int] | None, str]:
    positive = np.maximum(values, 0)
    total = float(positive.sum())
    if total <= 0:
        why = f"no place speaks for {label!r}: it is first because the others have even less"
        return None, why
    rows, columns = _half(positive.sum(1)), _half(positive.sum(0))
    h, w = values.shape
    x0, y0, x1, y1 = box
    focus = (
        x0 + round(columns[0] * (x1 - x0) / w),
        y0 + round(rows[0] * (y1 - y0) / h),
        x0 + round(columns[1] * (x1 - x0) / w),
        y0 + round(rows[1] * (y1 - y0) / h),
    )
    middle_y = float((positive.sum(1) * (np.arange(h) + 0.5)).sum()) / total / h
    middle_x = float((positive.sum(0) * (np.arange(w) + 0.5)).sum()) / total / w
    name = _third(middle_y, "upper", "lower"), _third(middle_x, "left", "right")
    where = " ".join(part for part in name if part)
    where = f"{where} part" if where else "middle"
    share = float(positive[rows[0] : rows[1], columns[0] : columns[1]].sum()) / total
    left, top, right, bottom = focus
    return focus, (
        f"{label!r} is seen most in the {where}: "
        f"{share:.0%} of what speaks for it lies in x {left}-{right}, y {top}-{bottom}"
    )


def _half(profile: NDArray[np.float32]) -> tuple[int, int]:
    """The shortest stretch [begin, end) that holds at least 70% of a profile.

    70% of rows and of columns is about half of the whole.
    """
    cumulated = np.concatenate([[0.0], np.cumsum(profile, dtype=np.float64)])
    n = len(profile)
    for length in range(1, n + 1):
        inside = cumulated[length:] - cumulated[: n + 1 - length]
        best = int(np.argmax(inside))
        if inside[best] >= 0.7 * cumulated[-1]:
            return best, best + length
    return 0, n


def _third(at: float, low: str, high: str) -> str:
    return low if at < 0.42 else high if at > 0.58 else ""


def overlay(rgb: Pixels, said: Explanation, *, strength: float = 0.62) -> Pixels:
    """The picture with warm colour where the class was seen: (H, W, 3) uint8, same size.

    What lies outside the map's box, which the net never saw, is darkened and grey. The colour is
    a share of the strongest place, so a weak map and a strong one look alike: the words tell.
    """
    cv2 = need("cv2", "drawing")
    x0, y0, x1, y1 = said.box
    out = (rgb.mean(2, keepdims=True) * 0.45).repeat(3, 2)
    part = rgb[y0:y1, x0:x1].astype(np.float32)
    heat = np.maximum(said.map, 0)
    if heat.max() > 0:
        heat = heat / heat.max()
        heat = cv2.resize(heat, (x1 - x0, y1 - y0), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        grey = part.mean(2, keepdims=True).repeat(3, 2)
        part = 0.55 * grey + 0.45 * part  # less colour of its own, so that ours can be read
        alpha = strength * heat[:, :, None] ** 1.2
        part = (1 - alpha) * part + alpha * _warm(heat)
    out[y0:y1, x0:x1] = part
    return out.clip(0, 255).astype(np.uint8)


def _warm(heat: Floats) -> Floats:
    """Dark red, red, orange, yellow: lightness grows with heat, so it reads in grey too."""
    stops = np.array([0.0, 0.4, 0.75, 1.0])
    colours = np.array([[90, 0, 40], [205, 25, 35], [250, 120, 10], [255, 225, 40]], np.float32)
    return np.stack([np.interp(heat, stops, colours[:, c]) for c in range(3)], 2).astype(np.float32)
