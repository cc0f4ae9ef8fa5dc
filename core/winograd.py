"""3x3 convolutions by Winograd's minimal filtering: the same sums with a quarter of the products.

Lavin and Gray 2016 (arXiv 1509.09308), section 4: F(4x4, 3x3). The input is cut into tiles of 6x6
that overlap by 2; with the constant matrices below, the 4x4 outputs of a tile are

    Y = Aᵀ [ (G g Gᵀ) ∘ (Bᵀ d B) ] A

for a kernel g and a tile d, so 36 products do what a direct convolution needs 16 * 9 = 144 for.
Summed over channels, ∘ is a matrix product at each of the 36 places: N boards of 19x19 are cut
into 25 N tiles, and (25 N, C) @ (C, K) runs at the full speed of the processor's GEMM. Gradients
are the transposed steps in reverse order.

PyTorch's CPU convolutions are direct. On a processor without bfloat16 instructions this is the
way to train a stack of 3x3 convolutions in float32, 1.5 times as fast; the rounding error stays
below 2e-5 of the largest output (tested), which training does not notice. ``accelerate(net)``
swaps it in; it needs numba (extra ``[train]``) for the transforms.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from cnnapps.core.errors import need

__all__ = ["WinogradConv2d", "accelerate", "conv3x3", "restore"]

G = np.array([
    [1 / 4, 0, 0],
    [-1 / 6, -1 / 6, -1 / 6],
    [-1 / 6, 1 / 6, -1 / 6],
    [1 / 24, 1 / 12, 1 / 6],
    [1 / 24, -1 / 12, 1 / 6],
    [0, 0, 1],
], np.float32)  # fmt: skip
OUT = 4  # outputs of a tile, a side
TILE = 6  # inputs of a tile, a side
WORKSPACE = 1 << 18
"""Floats of a transformed chunk of the batch: 1 MB, so that it stays in the cache."""


# ----------------------------------------------------------------------------------- the transforms
# All arrays are flat, and a function transforms n neighbouring columns at once: value k of a column
# stands at i + k * step. Slices first: with plain loops over them numba emits vector instructions.
def _in6(out: Any, o: int, far: int, x: Any, i: int, step: int, n: int) -> None:
    """Bᵀ d: 6 inputs to 6."""
    four, five, two = np.float32(4), np.float32(5), np.float32(2)
    x0, x1, x2 = x[i : i + n], x[i + step :][:n], x[i + 2 * step :][:n]
    x3, x4, x5 = x[i + 3 * step :][:n], x[i + 4 * step :][:n], x[i + 5 * step :][:n]
    o0, o1, o2 = out[o : o + n], out[o + far :][:n], out[o + 2 * far :][:n]
    o3, o4, o5 = out[o + 3 * far :][:n], out[o + 4 * far :][:n], out[o + 5 * far :][:n]
    for c in range(n):
        d0, d1, d2, d3, d4, d5 = x0[c], x1[c], x2[c], x3[c], x4[c], x5[c]
        even, odd = d4 - four * d2, d3 - four * d1
        even2, odd2 = d4 - d2, two * (d3 - d1)
        o0[c] = four * d0 - five * d2 + d4
        o1[c] = even + odd
        o2[c] = even - odd
        o3[c] = even2 + odd2
        o4[c] = even2 - odd2
        o5[c] = four * d1 - five * d3 + d5


def _out4(out: Any, o: int, far: int, x: Any, i: int, step: int, n: int) -> None:
    """Aᵀ m: 6 products to 4 outputs."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    x0, x1, x2 = x[i : i + n], x[i + step :][:n], x[i + 2 * step :][:n]
    x3, x4, x5 = x[i + 3 * step :][:n], x[i + 4 * step :][:n], x[i + 5 * step :][:n]
    o0, o1, o2 = out[o : o + n], out[o + far :][:n], out[o + 2 * far :][:n]
    o3 = out[o + 3 * far :][:n]
    for c in range(n):
        m0, m1, m2, m3, m4, m5 = x0[c], x1[c], x2[c], x3[c], x4[c], x5[c]
        even, odd, even2, odd2 = m1 + m2, m1 - m2, m3 + m4, m3 - m4
        o0[c] = m0 + even + even2
        o1[c] = odd + two * odd2
        o2[c] = even + four * even2
        o3[c] = odd + eight * odd2 + m5


def _back6(out: Any, o: int, far: int, x: Any, i: int, step: int, n: int) -> None:
    """A y: the gradients of 4 outputs to those of 6 products."""
    two, four, eight = np.float32(2), np.float32(4), np.float32(8)
    x0, x1, x2 = x[i : i + n], x[i + step :][:n], x[i + 2 * step :][:n]
    x3 = x[i + 3 * step :][:n]
    o0, o1, o2 = out[o : o + n], out[o + far :][:n], out[o + 2 * far :][:n]
    o3, o4, o5 = out[o + 3 * far :][:n], out[o + 4 * far :][:n], out[o + 5 * far :][:n]
    for c in range(n):
        y0, y1, y2, y3 = x0[c], x1[c], x2[c], x3[c]
        even, odd = y0 + y2, y1 + y3
        even2, odd2 = y0 + four * y2, two * y1 + eight * y3
        o0[c] = y0
        o1[c] = even + odd
        o2[c] = even - odd
        o3[c] = even2 + odd2
        o4[c] = even2 - odd2
        o5[c] = y3


def _cutter(transform: Any, border: int) -> Any:
    """A function that applies ``transform`` to the rows and then the columns of every tile.

    x (N, H, W, C) -> out (36, N * tiles, C). ``border`` is 1 for inputs, whose tiles of 6 overlap
    and reach into a frame of zeros: Bᵀ d B. It is 0 for gradients of outputs, in tiles of 4 whose
    rows and columns past the end are zeros: A y Aᵀ.
    """

    def cut(x: Any, shape: Any, padded: Any, line: Any, out: Any) -> None:
        n, h, w, c = shape
        down, across = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT
        wide, far = (across * OUT + 2 * border) * c, n * down * across * c
        for b in range(n):
            for y in range(h):
                source, target = (b * h + y) * w * c, (y + border) * wide + border * c
                for i in range(w * c):
                    padded[target + i] = x[source + i]
            for v in range(down):
                transform(line, 0, wide, padded, v * OUT * wide, wide, wide)
                for i in range(TILE):
                    for u in range(across):
                        at = ((b * down + v) * across + u) * c
                        transform(out, i * TILE * far + at, far, line, i * wide + u * OUT * c, c, c)

    return cut


def _joiner(transform: Any) -> Any:
    """The way back, for products: a function m (36, N * tiles, C) -> out (N, H, W, C), Aᵀ m A."""

    def join(m: Any, shape: Any, padded: Any, line: Any, out: Any) -> None:
        n, h, w, c = shape
        down, across = (h + OUT - 1) // OUT, (w + OUT - 1) // OUT
        wide, far = across * OUT * c, n * down * across * c
        for b in range(n):
            for v in range(down):
                for i in range(TILE):
                    for u in range(across):
                        at = ((b * down + v) * across + u) * c
                        transform(line, i * wide + u * OUT * c, c, m, i * TILE * far + at, far, c)
                transform(padded, v * OUT * wide, wide, line, 0, wide, wide)
            for y in range(h):
                target, source = (b * h + y) * w * c, y * wide
                for i in range(w * c):
                    out[target + i] = padded[source + i]

    return join


@functools.cache
def _compiled() -> tuple[Any, Any, Any]:
    """Inputs, gradients of outputs, outputs: the three ways between boards and tiles."""
    numba = need("numba", "convolutions by Winograd's method")

    def fast(transform: Any) -> Any:
        return numba.njit(transform, fastmath={"contract", "nsz"})

    jit = numba.njit(nogil=True)
    return (
        jit(_cutter(fast(_in6), 1)),
        jit(_cutter(fast(_back6), 0)),
        jit(_joiner(fast(_out4))),
    )


class _Plan:
    """Chunks of a batch (N, H, W, channels), and the buffers that all calls of a shape share."""

    def __init__(self, h: int, w: int, c: int, k: int) -> None:
        self.down, self.across = -(-h // OUT), -(-w // OUT)
        self.tiles = self.down * self.across
        self.step = max(1, WORKSPACE // (TILE * TILE * self.tiles * max(c, k)))
        high, wide = self.down * OUT + 2, self.across * OUT + 2
        self.line = np.zeros(TILE * wide * max(c, k), np.float32)
        # Their borders stay zero: one buffer a transform.
        self.padded_x = np.zeros(high * wide * c, np.float32)
        self.padded_y = np.zeros(high * wide * k, np.float32)
        self.padded_out = np.zeros(high * wide * k, np.float32)
        self.v = np.empty(TILE * TILE * self.step * self.tiles * c, np.float32)
        self.m = np.empty(TILE * TILE * self.step * self.tiles * k, np.float32)

    def chunks(self, n: int) -> list[tuple[int, int]]:
        return [(a, min(a + self.step, n)) for a in range(0, n, self.step)]

    def products(self, buffer: np.ndarray, count: int, channels: int) -> Tensor:
        """(36, count * tiles, channels), a view of the buffer's beginning."""
        shape = (TILE * TILE, count * self.tiles, channels)
        return torch.from_numpy(buffer[: math.prod(shape)]).view(shape)


@functools.lru_cache(maxsize=16)
def _plan(h: int, w: int, c: int, k: int, thread: int) -> _Plan:
    return _Plan(h, w, c, k)


def _boards(x: Tensor) -> Tensor:
    """(N, C, H, W) -> (N, H, W, C), contiguous: channels side by side."""
    return x.detach().contiguous(memory_format=torch.channels_last).permute(0, 2, 3, 1)


def _kernels(weight: Tensor) -> Tensor:
    """(K, C, 3, 3) -> (36, C, K): G g Gᵀ."""
    g = torch.from_numpy(G)
    k, c = weight.shape[:2]
    return torch.einsum("ia,kcab,jb->ijck", g, weight, g).reshape(TILE * TILE, c, k).contiguous()


def _convolve(x: Tensor, weight: Tensor) -> Tensor:
    """x (N, H, W, C), weight (K, C, 3, 3) -> (N, H, W, K)."""
    inputs, _, outputs = _compiled()
    n, h, w, c = x.shape
    k = weight.shape[0]
    u = _kernels(weight)
    plan = _plan(h, w, c, k, threading.get_ident())
    y = torch.empty(n, h, w, k)
    flat_x, flat_y = x.numpy().reshape(-1), y.numpy().reshape(-1)
    for first, last in plan.chunks(n):
        count = last - first
        part = flat_x[first * h * w * c : last * h * w * c]
        inputs(part, (count, h, w, c), plan.padded_x, plan.line, plan.v)
        m = plan.products(plan.m, count, k)
        torch.bmm(plan.products(plan.v, count, c), u, out=m)
        part = flat_y[first * h * w * k : last * h * w * k]
        outputs(plan.m, (count, h, w, k), plan.padded_out, plan.line, part)
    return y


def _kernel_gradient(x: Tensor, dy: Tensor) -> Tensor:
    """x (N, H, W, C), dy (N, H, W, K) -> (K, C, 3, 3)."""
    inputs, gradients, _ = _compiled()
    n, h, w, c = x.shape
    k = dy.shape[3]
    plan = _plan(h, w, c, k, threading.get_ident())
    du = torch.zeros(TILE * TILE, c, k)
    flat_x, flat_y = x.numpy().reshape(-1), dy.numpy().reshape(-1)
    for first, last in plan.chunks(n):
        count = last - first
        part = flat_x[first * h * w * c : last * h * w * c]
        inputs(part, (count, h, w, c), plan.padded_x, plan.line, plan.v)
        part = flat_y[first * h * w * k : last * h * w * k]
        gradients(part, (count, h, w, k), plan.padded_y, plan.line, plan.m)
        v = plan.products(plan.v, count, c)
        du.baddbmm_(v.transpose(1, 2), plan.products(plan.m, count, k))
    g = torch.from_numpy(G)
    return torch.einsum("ia,ijck,jb->kcab", g, du.view(TILE, TILE, c, k), g)


class _Conv3x3(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _convolve(_boards(x), weight.detach()).permute(0, 3, 1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        dy = _boards(gradients[0])
        dx = dw = None
        if ctx.needs_input_grad[0]:  # the convolution of dy with the kernels turned by 180 degrees
            turned = weight.transpose(0, 1).flip(2, 3)
            dx = _convolve(dy, turned).permute(0, 3, 1, 2)
        if ctx.needs_input_grad[1]:
            dw = _kernel_gradient(_boards(x), dy)
        return dx, dw


def conv3x3(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.conv2d(x, weight, bias, padding=1)`` for 3x3 kernels, on the CPU in float32.

    x (N, C, H, W), weight (K, C, 3, 3), bias (K,) -> (N, K, H, W) in channels_last.
    """
    y: Tensor = _Conv3x3.apply(x, weight)
    return y if bias is None else y + bias[:, None, None]


class WinogradConv2d(nn.Conv2d):
    """A 3x3 ``nn.Conv2d`` that computes by ``conv3x3`` where it can: float32 on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type == "cpu" and x.dtype == torch.float32 and not _reduced():
            return conv3x3(x, self.weight, self.bias)
        return super().forward(x)


def _reduced() -> bool:
    return torch.is_autocast_enabled("cpu")


def accelerate(net: nn.Module) -> nn.Module:
    """Let every 3x3 convolution of stride 1, padding 1 and one group compute by Winograd's method.

    In place: the layers keep their names, parameters and state dict. DependencyError without numba.
    """
    need("numba", "convolutions by Winograd's method")
    for layer in net.modules():
        if (
            type(layer) is nn.Conv2d
            and layer.kernel_size == (3, 3)
            and layer.stride == layer.padding == layer.dilation == (1, 1)
            and layer.groups == 1
            and layer.padding_mode == "zeros"
        ):
            layer.__class__ = WinogradConv2d
    return net


def restore(net: nn.Module) -> nn.Module:
    """Undo ``accelerate``: before an export, which follows torch's own operators only."""
    for layer in net.modules():
        if type(layer) is WinogradConv2d:
            layer.__class__ = nn.Conv2d  # type: ignore[assignment]
    return net
