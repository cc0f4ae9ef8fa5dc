"""The gradients of convolution and pooling by hand, in numpy, as the course derives them.

For Y = W ⊗ X (cross-correlation, no padding) and a scalar loss L with δ = dL/dY:

    dL/dW = δ ⊗ X          each weight meets the inputs it was multiplied with
    dL/dX = W * δ, wide    true convolution with δ in zeros: each input meets the outputs it fed
    dL/db = Σ δ
    mean pooling           up(δ): δ/|R| to each input of the region R
    max pooling            up(δ): δ to the input that won, 0 to the others

One channel here, so that each line is one of the formulas; a layer sums over channels. Qiu, Neural
Networks and Deep Learning, chapter 5; Goodfellow, Bengio & Courville 2016, section 9.5.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.inspect.convolution import convolve, correlate

__all__ = [
    "conv_bias",
    "conv_input",
    "conv_weight",
    "max_pool",
    "max_pool_input",
    "mean_pool",
    "mean_pool_input",
    "worked_example",
]

Array = NDArray[np.float64]


def conv_weight(x: Array, delta: Array) -> Array:
    """dL/dW: x (M, N), delta (M - U + 1, N - V + 1) -> (U, V)."""
    return correlate(x, delta)


def conv_input(weight: Array, delta: Array) -> Array:
    """dL/dX: weight (U, V), delta (M - U + 1, N - V + 1) -> (M, N)."""
    rows, columns = weight.shape
    padded = np.pad(delta, ((rows - 1, rows - 1), (columns - 1, columns - 1)))
    return convolve(padded, weight)


def conv_bias(delta: Array) -> float:
    """dL/db: each output has the bias added once."""
    return float(delta.sum())


def mean_pool(x: Array, k: int) -> Array:
    """(M, N) -> (M / k, N / k): the mean of each k x k region, regions side by side."""
    return _regions(x, k).mean((1, 3))


def mean_pool_input(delta: Array, k: int) -> Array:
    """Up-sampling: each input of a region gets its share, δ / k²."""
    return np.kron(delta, np.full((k, k), 1 / k**2))


def max_pool(x: Array, k: int) -> Array:
    """(M, N) -> (M / k, N / k): the largest of each k x k region."""
    return _regions(x, k).max((1, 3))


def max_pool_input(x: Array, delta: Array, k: int) -> Array:
    """Up-sampling: the input that won gets δ; of equal ones the first in reading order."""
    out = np.zeros_like(x)
    for i, j in np.ndindex(delta.shape):
        region = x[i * k : (i + 1) * k, j * k : (j + 1) * k]
        u, v = np.unravel_index(region.argmax(), region.shape)
        out[i * k + u, j * k + v] = delta[i, j]
    return out


def _regions(x: Array, k: int) -> Array:
    """(M, N) -> (M / k, k, N / k, k); ValueError unless k divides both."""
    rows, columns = x.shape
    if rows % k or columns % k:
        raise ValueError(f"regions of {k} don't fill {rows} x {columns}")
    return x.reshape(rows // k, k, columns // k, k)


def worked_example() -> str:
    """The course's 5x5 X and a 3x3 kernel, forward and back, every number shown."""
    x = np.array(
        [[1, 1, 1, 1, 1], [-1, 0, -3, 0, 1], [2, 1, 1, -1, 0], [0, -1, 1, 2, 1], [1, 2, 1, 1, 1]],
        float,
    )
    w = np.array([[-1, 0, 0], [0, 0, 0], [0, 0, 1]], float)
    y = correlate(x, w)
    delta = y  # L = ½ Σ y², so that dL/dY = Y
    dw, dx = conv_weight(x, delta), conv_input(w, delta)
    crop = x[:4, :4]
    back = np.array([[1.0, 2.0], [3.0, 4.0]])
    # one weight and one input by the definition, so that the formulas can be followed by hand
    terms = [(float(x[at]), float(delta[at])) for at in np.ndindex(delta.shape)]
    sum_ = " + ".join(f"{_n(a)}·{_n(d)}" for a, d in terms)
    eps = 1e-6
    bumped = w.copy()
    bumped[0, 0] += eps
    slope = (0.5 * (correlate(x, bumped) ** 2).sum() - 0.5 * (y**2).sum()) / eps
    parts = [
        "Forward: Y = W ⊗ X (cross-correlation), L = ½ Σ y², so δ = dL/dY = Y",
        beside([("X", x), ("W", w), ("Y = δ", y)]),
        "dL/dW = δ ⊗ X: slide δ over X",
        beside([("dL/dW", dw)]),
        f"  its first entry: Σ δ_ij x_ij = {sum_} = {_n(dw[0, 0])}",
        f"  by raising w_11 by 0.000001: the loss grows at the rate {slope:.4f}",
        "dL/dX = W * δ, the true convolution, δ in a frame of zeros",
        beside([("rot180(W)", np.rot90(w, 2)), ("dL/dX", dx)]),
        f"dL/db = Σ δ = {_n(conv_bias(delta))}",
        "",
        "Pooling 2x2 of the upper left 4x4 of X, with δ = 1 2; 3 4 from above:",
        beside([("X", crop), ("max", max_pool(crop, 2)),
                ("up(δ), max", max_pool_input(crop, back, 2)),
                ("mean", mean_pool(crop, 2)), ("up(δ), mean", mean_pool_input(back, 2))]),
    ]  # fmt: skip
    return "\n".join(parts)


def _n(value: float) -> str:
    text = f"{value:.4g}"
    return f"({text})" if text.startswith("-") else text


def beside(named: list[tuple[str, Array]]) -> str:
    """Matrices next to each other under their names."""
    blocks = []
    for name, matrix in named:
        cells = [[f"{v:.4g}" if v else "0" for v in row] for row in np.atleast_2d(matrix)]
        width = max(len(c) for row in cells for c in row)
        rows = [" ".join(f"{c:>{width}}" for c in row) for row in cells]
        wide = max(len(name), len(rows[0]))
        blocks.append([f"{name:<{wide}}"] + [f"{row:<{wide}}" for row in rows])
    height = max(map(len, blocks))
    lines = []
    for i in range(height):
        parts = [b[i] if i < len(b) else " " * len(b[0]) for b in blocks]
        lines.append("  " + "    ".join(parts).rstrip())
    return "\n".join([*lines, ""])
