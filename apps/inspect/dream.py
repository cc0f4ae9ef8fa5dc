"""A picture that excites one channel: gradient ascent on the input (needs torch).

The graph itself is run in torch, node by node, so that any ONNX file or weights folder can be
differentiated without its Python class. What turns noise into a picture (Olah, Mordvintsev &
Schubert 2017, "Feature Visualization", doi 10.23915/distill.00007):

    the picture is a spectrum      steps are scaled by 1 / frequency, so large shapes move first
    colours are decorrelated       steps follow the colour directions of natural photos
    jitter, scale, rotation        what only works for one exact position is lost
    blur                           every second step a little, which the ascent has to win against
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from cnnapps.apps.inspect.filters import stored
from cnnapps.apps.inspect.onnxfile import DTYPES, Node
from cnnapps.apps.inspect.shapes import known_values
from cnnapps.apps.inspect.source import Opened
from cnnapps.core.errors import InputError

__all__ = ["GraphNet", "maximise"]

# Square root of the covariance of the colours (red, green, blue) of scikit-image's photos
# astronaut, chelsea and coffee, its longest column made 1: brightness, yellow against blue, green
# against magenta.
COLOURS = ((0.56, 0.30, 0.03), (0.60, -0.06, -0.08), (0.57, -0.23, 0.06))


class GraphNet:
    """An ONNX graph as a differentiable function of its picture: run(x) -> the value asked for."""

    def __init__(self, opened: Opened, shapes: Mapping[str, tuple[int, ...]], target: str) -> None:
        self.name = opened.name
        self.target = target
        self.stored = {n: _tensor(a) for n, a in stored(opened).items()}
        self.known = {n: _tensor(a) for n, a in known_values(opened.model, shapes).items()}
        self.nodes = _upstream(opened.model.graph.nodes, target, self.stored, self.known)
        for node in self.nodes:
            if node.op not in OPERATORS:
                raise InputError(opened.name, f"the operator {node.op} isn't differentiated here")

    def run(self, inputs: Mapping[str, Tensor]) -> Tensor:
        values: dict[str, Tensor] = {**self.stored, **self.known, **inputs}
        for node in self.nodes:
            given = [values[i] if i else None for i in node.inputs]
            values[node.outputs[0]] = OPERATORS[node.op](node.attributes, *given)
        return values[self.target]


def _tensor(array: np.ndarray) -> Tensor:
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    return torch.from_numpy(np.array(array))


def _upstream(
    nodes: list[Node], target: str, stored_: Mapping[str, Any], known: Mapping[str, Any]
) -> list[Node]:
    wanted, out = {target}, []
    for node in reversed(nodes):
        if wanted & set(node.outputs) and not set(node.outputs) & (known.keys() | stored_.keys()):
            out.append(node)
            wanted |= set(node.inputs)
    return out[::-1]


def _padded(x: Tensor, given: Mapping[str, Any], value: float = 0.0) -> Tensor:
    pads = list(given.get("pads") or [])
    if not any(pads):
        return x
    half = len(pads) // 2
    order = [p for i in reversed(range(half)) for p in (pads[i], pads[i + half])]
    return F.pad(x, order, value=value)


def _conv(g: Mapping[str, Any], x: Tensor, w: Tensor, b: Tensor | None = None) -> Tensor:
    call: Callable[..., Tensor] = F.conv2d if w.dim() == 4 else F.conv1d
    return call(
        _padded(x, g), w, b,
        stride=tuple(g.get("strides") or [1] * (w.dim() - 2)),
        dilation=tuple(g.get("dilations") or [1] * (w.dim() - 2)),
        groups=int(g.get("group", 1)),
    )  # fmt: skip


def _pool(kind: str) -> Callable[..., Tensor]:
    def run(g: Mapping[str, Any], x: Tensor) -> Tensor:
        kernel = tuple(g["kernel_shape"])
        stride = tuple(g.get("strides") or [1] * len(kernel))
        ceil = bool(g.get("ceil_mode"))
        if kind == "max":
            return F.max_pool2d(_padded(x, g, -math.inf), kernel, stride, ceil_mode=ceil)
        return F.avg_pool2d(_padded(x, g), kernel, stride, ceil_mode=ceil)

    return run


def _batch_norm(g: Mapping[str, Any], x: Tensor, s: Any, b: Any, m: Any, v: Any) -> Tensor:
    return F.batch_norm(x, m, v, s, b, eps=float(g.get("epsilon", 1e-5)))


def _gemm(g: Mapping[str, Any], a: Tensor, b: Tensor, c: Tensor | None = None) -> Tensor:
    a = a.T if g.get("transA") else a
    b = b.T if g.get("transB") else b
    out = a @ b
    return out if c is None else out + c


def _clip(g: Mapping[str, Any], x: Tensor, low: Any = None, high: Any = None) -> Tensor:
    low = g.get("min") if low is None else low
    high = g.get("max") if high is None else high
    return torch.clamp(x, low, high) if low is not None or high is not None else x


def _reduce(name: str) -> Callable[..., Tensor]:
    def run(g: Mapping[str, Any], x: Tensor, axes: Tensor | None = None) -> Tensor:
        given = g.get("axes") if axes is None else axes.flatten().tolist()
        dims = [int(a) for a in given or range(x.dim())]
        keep = bool(g.get("keepdims", 1))
        return x.mean(dims, keep) if name == "mean" else x.amax(dims, keep)

    return run


def _pad(g: Mapping[str, Any], x: Tensor, pads: Any = None, value: Any = None, *_: Any) -> Tensor:
    given = list(g["pads"]) if pads is None else pads.flatten().tolist()
    half = len(given) // 2
    order = [int(p) for i in reversed(range(half)) for p in (given[i], given[i + half])]
    return F.pad(x, order, value=float(value) if value is not None else 0.0)


def _cast(g: Mapping[str, Any], x: Tensor) -> Tensor:
    dtype = DTYPES.get(int(g.get("to", 1)), "float32")
    return x.to(getattr(torch, dtype)) if hasattr(torch, dtype) else x


def _axes(g: Mapping[str, Any], axes: Any) -> list[int]:
    return [int(a) for a in (g["axes"] if axes is None else axes.flatten().tolist())]


def _unsqueeze(g: Mapping[str, Any], x: Tensor, axes: Any = None) -> Tensor:
    for a in sorted(_axes(g, axes)):
        x = x.unsqueeze(a)
    return x


OPERATORS: dict[str, Callable[..., Tensor]] = {
    "Conv": _conv,
    "BatchNormalization": _batch_norm,
    "Relu": lambda g, x: x.relu(),
    "LeakyRelu": lambda g, x: F.leaky_relu(x, float(g.get("alpha", 0.01))),
    "Sigmoid": lambda g, x: x.sigmoid(),
    "Tanh": lambda g, x: x.tanh(),
    "Clip": _clip,
    "Softmax": lambda g, x: x.softmax(int(g.get("axis", -1))),
    "Add": lambda g, a, b: a + b,
    "Sub": lambda g, a, b: a - b,
    "Mul": lambda g, a, b: a * b,
    "Div": lambda g, a, b: a / b,
    "MaxPool": _pool("max"),
    "AveragePool": _pool("mean"),
    "GlobalAveragePool": lambda g, x: x.mean((2, 3), keepdim=True),
    "GlobalMaxPool": lambda g, x: x.amax((2, 3), keepdim=True),
    "ReduceMean": _reduce("mean"),
    "ReduceMax": _reduce("max"),
    "Gemm": _gemm,
    "MatMul": lambda g, a, b: a @ b,
    "Reshape": lambda g, x, s: x.reshape(
        [x.shape[i] if n == 0 else int(n) for i, n in enumerate(s.tolist())]
    ),
    "Flatten": lambda g, x: x.flatten(int(g.get("axis", 1))),
    "Concat": lambda g, *xs: torch.cat(xs, int(g.get("axis", 1))),
    "Transpose": lambda g, x: x.permute(*g.get("perm", range(x.dim())[::-1])),
    "Pad": _pad,
    "Cast": _cast,
    "CastLike": lambda g, x, y: x.to(y.dtype),
    "Identity": lambda g, x: x,
    "Dropout": lambda g, x, *_: x,
    "Unsqueeze": _unsqueeze,
    "Squeeze": lambda g, x, axes=None: x.squeeze(
        tuple(_axes(g, axes)) if axes is not None or "axes" in g else tuple(range(x.dim()))
    ),
    "LRN": lambda g, x: F.local_response_norm(
        x, int(g["size"]), float(g.get("alpha", 1e-4)), float(g.get("beta", 0.75)),
        float(g.get("bias", 1.0)),
    ),
}  # fmt: skip


def maximise(
    net: Callable[[Tensor], Tensor],
    channel: int,
    *,
    channels: int = 3,
    size: int = 224,
    mean: float = 127.5,
    scale: float = 127.5,
    steps: int = 256,
    seed: int = 0,
    progress: Callable[[int, float], None] | None = None,
) -> tuple[np.ndarray, list[float]]:
    """((size, size, channels) uint8, the channel's response at each step).

    ``net`` maps (1, channels, size, size), prepared by ``mean`` and ``scale``, to maps (1, C, h, w)
    or scores (1, C); the mean of ``channel`` is raised.
    """
    draw = torch.Generator().manual_seed(seed)
    rows, columns = torch.fft.fftfreq(size)[:, None], torch.fft.rfftfreq(size)[None, :]
    frequency = (rows**2 + columns**2).sqrt()
    # steeper than the 1/f of photos: nets with strided stems reward fine noise
    weight = frequency.clamp(min=1.0 / size) ** -1.3 * size**-0.3 * 2  # (size, size // 2 + 1)
    shape = (1, channels, size, size // 2 + 1)
    real = torch.randn(*shape, 2, generator=draw) * 0.01
    spectrum = real.requires_grad_()
    mix = torch.tensor(COLOURS) if channels == 3 else torch.eye(channels) * 0.5
    optimizer = torch.optim.AdamW([spectrum], lr=0.04, weight_decay=0.1)
    responses = []

    def picture() -> Tensor:
        flat = torch.fft.irfft2(torch.view_as_complex(spectrum) * weight, s=(size, size))
        flat = flat * (size / 4)
        colour = torch.einsum("oc,nchw->nohw", mix, flat)
        return torch.sigmoid(colour)  # 0 ... 1

    for step in range(steps):
        optimizer.zero_grad()
        x = _shaken(picture(), draw, size)
        if step % 2:
            x = _blurred(x, 0.8)
        out = net((x * 255 - mean) / scale)
        score = out[:, channel].mean()
        (-score).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        responses.append(float(score.detach()))
        if progress is not None:
            progress(step + 1, responses[-1])
    with torch.no_grad():
        final = picture()[0].permute(1, 2, 0).numpy()
    return np.round(final * 255).astype(np.uint8), responses


def _shaken(x: Tensor, draw: torch.Generator, size: int) -> Tensor:
    """Shifted by up to a 16th, turned by up to 8°, scaled by up to 8%; edges mirrored."""
    u = torch.rand(4, generator=draw) * 2 - 1
    angle, factor = float(u[0]) * math.radians(8), 1 + 0.08 * float(u[1])
    c, s = math.cos(angle) * factor, math.sin(angle) * factor
    shift = u[2:] / 8
    theta = torch.tensor([[[c, -s, float(shift[0])], [s, c, float(shift[1])]]])
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, padding_mode="reflection", align_corners=False)


def _blurred(x: Tensor, sigma: float) -> Tensor:
    taps = torch.exp(-(torch.arange(-2, 3) ** 2) / (2 * sigma**2))
    taps = taps / taps.sum()
    channels = x.shape[1]
    kernel = (taps[:, None] * taps[None, :]).expand(channels, 1, 5, 5)
    return F.conv2d(F.pad(x, (2, 2, 2, 2), mode="reflect"), kernel, groups=channels)
