"""Muon: momentum whose updates are orthogonalised, for the kernels of hidden layers.

Jordan et al. 2024 (kellerjordan.github.io/posts/muon), with the scale of Liu et al. 2025
(arXiv 2502.16982, section 2.2), under which Muon takes the learning rate and the weight decay of
AdamW. The momentum of a kernel, as a matrix of K rows (one an output channel) and C * k * k
columns, is replaced by the nearest matrix with orthogonal rows: directions in which the gradient is
small but steady are learned as fast as the loud ones. The rest (biases, norms, matrices with fewer
than ``LEAST`` rows or columns) is left to AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["Muon", "orthogonal"]

LEAST = 16
MOMENTUM = 0.95
RMS = 0.2
"""Root mean square of an update at rate 1: what AdamW's typically is."""


def orthogonal(matrix: Tensor, steps: int = 5) -> Tensor:
    """About U Vᵀ of matrix = U S Vᵀ (rows, columns), its singular values within 0.7 to 1.2.

    A quintic Newton-Schulz iteration: products of matrices only. The coefficients are Jordan's,
    chosen to lift small singular values fast rather than to converge to 1.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class Muon(torch.optim.Optimizer):
    """Muon for kernels and matrices, AdamW (betas 0.9 and 0.95) for the other parameters.

    Parameter groups may set ``lr`` and ``weight_decay``.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, momentum: float = MOMENTUM, weight_decay: float = 0
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One update; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                p.mul_(1 - group["lr"] * group["weight_decay"])
                flat = p.grad.reshape(len(p), -1) if p.ndim > 1 else p.grad
                if p.ndim > 1 and min(flat.shape) >= LEAST:
                    update = self._muon(p, flat, group["momentum"]).reshape(p.shape)
                else:
                    update = self._adam(p)
                p.add_(update, alpha=-group["lr"])
        return loss

    def _muon(self, p: Tensor, gradient: Tensor, momentum: float) -> Tensor:
        state = self.state[p]
        if not state:
            state["momentum"] = torch.zeros_like(gradient)
        average = state["momentum"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(average, momentum)  # Nesterov's
        return orthogonal(ahead) * (RMS * math.sqrt(max(gradient.shape)))

    def _adam(self, p: Tensor) -> Tensor:
        state = self.state[p]
        if not state:
            state["step"] = 0
            state["mean"] = torch.zeros_like(p)
            state["square"] = torch.zeros_like(p)
        state["step"] += 1
        gradient = p.grad
        assert gradient is not None
        mean = state["mean"].lerp_(gradient, 0.1)
        square = state["square"].lerp_(gradient.square(), 0.05)
        t = state["step"]
        return mean / (1 - 0.9**t) / ((square / (1 - 0.95**t)).sqrt() + 1e-8)
