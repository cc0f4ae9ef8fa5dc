"""Convolution and cross-correlation as the course defines them, and the kernels that it shows.

    convolution        y_ij = Σ_u Σ_v w_uv x_(i-u+1, j-v+1)      (the kernel is turned by 180°)
    cross-correlation  y_ij = Σ_u Σ_v w_uv x_(i+u-1, j+v-1)      (what nets call convolution)

and W ⊗ X = rot180(W) * X. In one dimension y_t = Σ_k w_k x_(t-k+1). All in float64 numpy.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import InputError, printable
from cnnapps.core.sizes import output_length

__all__ = ["KERNELS", "KERNELS_1D", "convolve", "correlate", "kernel_of", "rot180"]

Array = NDArray[np.float64]

KERNELS: dict[str, list[list[float]]] = {
    "identity": [[0, 0, 0], [0, 1, 0], [0, 0, 0]],
    "gaussian": [[1 / 16, 2 / 16, 1 / 16], [2 / 16, 4 / 16, 2 / 16], [1 / 16, 2 / 16, 1 / 16]],
    "laplacian": [[0, 1, 0], [1, -4, 1], [0, 1, 0]],
    "emboss": [[0, 1, 1], [-1, 0, 1], [-1, -1, 0]],
    "edge": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
    "sharpen": [[0, -1, 0], [-1, 5, -1], [0, -1, 0]],
    "mean": [[1 / 9] * 3] * 3,
    "sobel-x": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "sobel-y": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
}
"""Kernels for pictures. gaussian: the slides print 1/16, 1/8, 1/4 of it."""

KERNELS_1D: dict[str, list[float]] = {
    "low-pass": [1 / 3, 1 / 3, 1 / 3],
    "high-pass": [1, -2, 1],
    "echo": [1, 1 / 2, 1 / 4],
}
"""Kernels for signals, w_1 first; an echo's taps stand --delay apart."""

SIDE = 255
"""Longest side of a kernel for pictures."""
TAPS = 1 << 20


def rot180(kernel: Array) -> Array:
    """The kernel turned by half a turn: reversed along every axis."""
    return kernel[tuple(slice(None, None, -1) for _ in range(kernel.ndim))]


def correlate(x: Array, kernel: Array, *, stride: int = 1, padding: int = 0) -> Array:
    """W ⊗ X with ``padding`` zeros around: (H, W) -> (H', W'), or (L,) -> (L').

    ValueError if nothing is left. One multiplication of the whole picture for each tap, so that
    any kernel is computed in memory for two pictures.
    """
    if padding:
        x = np.pad(x, padding)
    sizes = [output_length(n, k, stride=stride) for n, k in zip(x.shape, kernel.shape, strict=True)]
    if min(sizes) < 1:
        raise ValueError(f"a kernel of {kernel.shape} doesn't fit into {x.shape}")
    out = np.zeros(sizes)
    for tap in np.argwhere(kernel):
        part = tuple(
            slice(t, t + (n - 1) * stride + 1, stride) for t, n in zip(tap, sizes, strict=True)
        )
        out += kernel[tuple(tap)] * x[part]
    return out


def convolve(x: Array, kernel: Array, *, stride: int = 1, padding: int = 0) -> Array:
    """W * X, the true convolution: correlation with the kernel turned by 180°.

    Without padding this is the part where the sum needs no x outside the picture: the course's
    indices i >= U, j >= V.
    """
    return correlate(x, rot180(kernel), stride=stride, padding=padding)


def kernel_of(text: str, *, dims: int, delay: int = 1) -> Array:
    """A kernel by name, or its rows: "1 0 0; 0 0 0; 0 0 -1" (commas or spaces, 1/16 too).

    InputError if it isn't a rectangle of numbers, or has two dimensions where one is needed.
    """
    named = KERNELS if dims == 2 else KERNELS_1D
    if text in named:
        kernel = np.array(named[text], np.float64)
        if text == "echo" and delay > 1:
            spread = np.zeros(delay * (len(kernel) - 1) + 1)
            spread[::delay] = kernel
            return spread
        return kernel
    if text and not any(c.isdigit() for c in text):
        other = KERNELS_1D if dims == 2 else KERNELS
        kind = "pictures" if dims == 2 else "signals"
        if text in other:
            raise InputError("--kernel", f"{text} is no kernel for {kind}: {', '.join(named)}")
        raise InputError(
            "--kernel", f"no kernel {printable(text, 40)!r}; there are {', '.join(named)}"
        )
    rows = [row.replace(",", " ").split() for row in text.strip().strip(";").split(";")]
    if not rows or not all(rows):
        raise InputError("--kernel", "has an empty row")
    if len({len(row) for row in rows}) != 1:
        lengths = ", ".join(str(len(row)) for row in rows[:8])
        raise InputError("--kernel", f"isn't a rectangle: rows of {lengths} numbers")
    values = [[_number(cell) for cell in row] for row in rows]
    kernel = np.array(values, np.float64)
    if dims == 1:
        if min(kernel.shape) != 1:
            raise InputError("--kernel", f"a signal takes one row, this has {len(rows)}")
        kernel = kernel.ravel()
        if kernel.size > TAPS:
            raise InputError("--kernel", f"{kernel.size:,} taps, at most {TAPS:,}")
    elif max(kernel.shape) > SIDE:
        raise InputError("--kernel", f"{len(rows)} x {len(rows[0])}, at most {SIDE} on a side")
    return kernel


def _number(cell: str) -> float:
    top, slash, bottom = cell.partition("/")
    try:
        value = float(top) / float(bottom) if slash else float(top)
    except (ValueError, ZeroDivisionError):
        raise InputError("--kernel", f"{printable(cell, 30)!r} is no number") from None
    if not np.isfinite(value):
        raise InputError("--kernel", f"{printable(cell, 30)!r} is no finite number")
    return value
