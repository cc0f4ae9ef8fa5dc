"""Trace a torch net on the meta device: shapes without numbers, a net of any size in no time.

Every operation that reaches torch's dispatcher is seen, functional ones (``F.relu``, ``+``,
``torch.cat``) as well as modules, once each; modules give the rows their names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from cnnapps.apps.inspect.trace import (
    Failure,
    NetReport,
    Other,
    Reach,
    Shape,
    ShapeError,
    Tracer,
    shape_text,
)

__all__ = ["skeleton", "trace_torch"]

ACTIVATIONS = {
    "relu": "relu", "relu_": "relu", "hardtanh": "relu6", "hardtanh_": "relu6", "clamp": "clip",
    "clamp_": "clip", "relu6": "relu6", "sigmoid": "sigmoid", "sigmoid_": "sigmoid",
    "tanh": "tanh", "tanh_": "tanh", "gelu": "gelu", "silu": "silu", "silu_": "silu",
    "leaky_relu": "leaky relu", "leaky_relu_": "leaky relu", "elu": "elu", "elu_": "elu",
    "_softmax": "softmax", "_log_softmax": "log softmax", "hardswish": "hard swish",
    "hardswish_": "hard swish", "hardsigmoid": "hard sigmoid", "clamp_min": "relu", "mish": "mish",
}  # fmt: skip
NORMS = {
    "native_batch_norm": "batch norm",
    "_native_batch_norm_legit_no_training": "batch norm",
    "_native_batch_norm_legit": "batch norm",
    "cudnn_batch_norm": "batch norm",
    "batch_norm": "batch norm",
    "native_group_norm": "group norm",
    "native_layer_norm": "layer norm",
}
VIEWS = frozenset(
    [
        "view",
        "_unsafe_view",
        "reshape",
        "permute",
        "transpose",
        "t",
        "unsqueeze",
        "squeeze",
        "expand",
        "slice",
        "select",
        "alias",
        "flatten",
        "unflatten",
        "as_strided",
        "detach",
        "split",
        "chunk",
        "split_with_sizes",
        "unbind",
        "narrow",
    ]
)
POOLS = {
    "max_pool2d_with_indices": "max pool",
    "max_pool2d": "max pool",
    "max_pool1d": "max pool",
    "max_pool3d_with_indices": "max pool",
    "avg_pool2d": "mean pool",
    "avg_pool1d": "mean pool",
    "avg_pool3d": "mean pool",
}
ADAPTIVE = {
    "_adaptive_avg_pool2d": "mean",
    "_adaptive_avg_pool3d": "mean",
    "adaptive_max_pool2d": "max",
    "adaptive_avg_pool1d": "mean",
    "mean": "mean",
    "amax": "max",
}


def skeleton(make: Callable[[], nn.Module]) -> nn.Module:
    """What ``make`` builds, on the meta device: no memory, no start values, no time."""
    with torch.device("meta"), _NoStart():
        return make()


class _NoStart(TorchFunctionMode):
    """Start values mean nothing on the meta device, and cost a second for a deep net."""

    names = frozenset(
        [
            "normal_",
            "uniform_",
            "fill_",
            "zero_",
            "trunc_normal_",
            "clamp_",
            "mul_",
            "add_",
            "erfinv_",
            "copy_",
        ]
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__module__", "") == "torch.nn.init":
            return args[0] if args else (kwargs or {})["tensor"]
        if getattr(func, "__name__", "") in self.names and args:
            return args[0]
        return func(*args, **(kwargs or {}))


def trace_torch(
    net: nn.Module,
    shapes: Mapping[str, tuple[Shape, torch.dtype]],
    *,
    name: str = "",
) -> NetReport:
    """The table of ``net`` (on any device; parameters aren't read) for inputs of these shapes."""
    tracer = Tracer(name)
    net = net.eval().to("meta")
    mode = _Mode(tracer, net)
    inputs = []
    for label, (shape, dtype) in shapes.items():
        x = torch.empty(shape, dtype=dtype, device="meta")
        mode.values[id(x)] = tracer.input(label, shape, x.itemsize, seen=dtype.is_floating_point)
        mode.keep.append(x)
        inputs.append(x)
    failure: Failure | None = None
    hooks = mode.watch(net)
    try:
        with torch.no_grad(), mode:
            net(*inputs)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        failure = mode.failure(error)
    finally:
        for hook in hooks:
            hook.remove()
    # A net that is cut short has not met its later layers: they aren't unused.
    if failure is None:
        tracer.unused = sum(p.numel() for p in net.parameters()) - sum(
            layer.parameters for layer in tracer.layers
        )
        if tracer.unused:
            tracer.notes.append(f"{tracer.unused:,} parameters take no part at inference")
    return tracer.report(failure)


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self, tracer: Tracer, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tracer = tracer
        self.values: dict[int, int] = {}
        """id of a tensor -> its value; ``keep`` holds them, so that no id is used twice."""
        self.keep: list[Any] = []
        self.stored: dict[int, tuple[Tensor, ...]] = {}
        """Parameters, buffers and what is computed of them alone, by id: what it is made of."""
        self.path: list[str] = []
        self.counted: set[int] = set()
        self.bias: set[int] = set()
        self.last: tuple[str, Any] | None = None
        for tensor in (*net.parameters(), *net.buffers()):
            self.stored[id(tensor)] = (tensor,)
        self.trained = {id(p) for p in net.parameters()}
        self.leaves = frozenset(n for n, m in net.named_modules() if not any(m.children()))

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # torch would import its compiler, 1.3 s, in order to keep it out

    def watch(self, net: nn.Module) -> list[Any]:
        hooks: list[Any] = []
        for name, module in net.named_modules():
            hooks.append(module.register_forward_pre_hook(self._enter(name)))
            hooks.append(module.register_forward_hook(self._leave))
        return hooks

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: Any) -> None:
            self.path.append(name)

        return hook

    def _leave(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.path.pop()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        flat = list(_tensors((args, kwargs or {})))
        reads = [self.values[id(t)] for t in flat if id(t) in self.values]
        self.last = (name, args)
        if reads:
            self._check(name, args)
        out = _shortcut(name, args) if reads else None
        if out is None:
            out = func(*args, **(kwargs or {}))
        made = list(_tensors(out))
        if not reads:
            self._stored(flat, made)
            return out
        self.keep += made
        self._row(name, args, kwargs or {}, flat, reads, made)
        return out

    def _stored(self, flat: list[Tensor], made: list[Tensor]) -> None:
        """A tensor that is computed of parameters alone stands for them."""
        known = tuple(part for t in flat for part in self.stored.get(id(t), ()))
        for tensor in made:
            self.keep.append(tensor)
            self.stored[id(tensor)] = known

    # --------------------------------------------------------------------------------- rows

    def _row(
        self,
        name: str,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        flat: list[Tensor],
        reads: list[int],
        made: list[Tensor],
    ) -> None:
        if not made:
            return
        shapes = [tuple(t.shape) for t in made]
        more: dict[str, Any] = {}
        kind = name.strip("_").replace("_", " ")
        first = tuple(args[0].shape) if args and isinstance(args[0], Tensor) else ()
        elements = math.prod(shapes[0])
        if name == "convolution":
            kind, more = self._conv(args, shapes[0])
        elif name in ("addmm", "mm", "bmm", "linear", "baddbmm", "matmul"):
            kind, more = self._linear(name, args, shapes[0])
        elif name in NORMS:
            kind = NORMS[name]
            made, shapes = made[:1], shapes[:1]
            more = {"other": Other(norm=2 * elements)}
        elif name in ACTIVATIONS and elements:
            kind = ACTIVATIONS[name]
            more = {"other": Other(activation=elements)}
        elif name in POOLS:
            made, shapes = made[:1], shapes[:1]
            kind = POOLS[name]
            more = self._pool(name, args)
        elif name in ADAPTIVE and len(first) >= 3:
            kind = "mean over" if name == "mean" else "max over"
            whole = math.prod(shapes[0][2:]) == 1
            kind = f"global {ADAPTIVE[name]} pool" if whole else f"adaptive {ADAPTIVE[name]} pool"
            made, shapes = made[:1], shapes[:1]
            more = {"other": Other(pooling=math.prod(first)), "reach": "whole"}
        elif name in ("add", "add_", "sub", "mul", "mul_", "cat", "div"):
            kind = {"cat": "concat"}.get(name, name.rstrip("_"))
            if any(id(t) in self.stored and id(t) not in self.values for t in flat):
                kind = "bias" if kind == "add" else kind
                more = {"other": Other(bias=elements)} if kind == "bias" else {}
        elif name == "embedding":
            kind, more = "embedding", {"reach": "none"}
        elif name.startswith("upsample"):
            kind = "upsample"
            scale = [b / a for a, b in zip(first[2:], shapes[0][2:], strict=True)]
            detail = "x".join(f"{s:g}" for s in dict.fromkeys(scale))
            more = {"detail": f"x{detail}", "reach": _enlarged(first[2:], shapes[0][2:])}
        elif name in VIEWS:
            more = {"view": True}
        parameters = 0
        for tensor in flat:
            if id(tensor) not in self.values:
                parameters += sum(map(self._count, self.stored.get(id(tensor), ())))
        label = ".".join(p for p in self.path[-1:] if p)
        own = self._is_leaf()
        label = label if own and label else f"{label}.{kind.replace(' ', '_')}".lstrip(".")
        ids = self.tracer.step(
            label,
            kind,
            reads,
            shapes,
            itemsize=made[0].itemsize,
            parameters=parameters,
            module=own,
            **more,
        )
        for tensor, value in zip(made, ids, strict=True):
            self.values[id(tensor)] = value

    def _is_leaf(self) -> bool:
        return bool(self.path) and self.path[-1] in self.leaves

    def _count(self, source: Tensor) -> int:
        if id(source) in self.counted:
            return 0
        self.counted.add(id(source))
        self.tracer.parameter_memory += source.numel() * source.itemsize
        return source.numel() if id(source) in self.trained else 0

    def _conv(self, args: Sequence[Any], out: Shape) -> tuple[str, dict[str, Any]]:
        x, weight, bias, stride, padding, dilation, transposed, _, groups = args
        kernel = tuple(weight.shape[2:])
        positions = math.prod(x.shape[2:] if transposed else out[2:])
        reach = Reach(kernel, tuple(stride), tuple(padding), tuple(dilation), transposed)
        other = Other(bias=math.prod(out) if bias is not None else 0)
        macs = weight.numel() * positions * x.shape[0]
        detail = conv_detail(kernel, stride, dilation, groups, x.shape[1])
        kind = "transposed conv" if transposed else "conv"
        return kind, {"macs": macs, "other": other, "reach": reach, "detail": detail}

    def _linear(self, name: str, args: Sequence[Any], out: Shape) -> tuple[str, dict[str, Any]]:
        left, right = args[1:3] if name in ("addmm", "baddbmm") else args[:2]
        bias = name in ("addmm", "baddbmm") or (name == "linear" and len(args) > 2)
        inner = left.shape[-1]
        weights = any(id(t) in self.stored and id(t) not in self.values for t in (left, right))
        kind = "linear" if weights else "matmul"
        elements = math.prod(out)
        other = Other(bias=elements if bias else 0)
        return kind, {"macs": elements * inner, "other": other, "detail": f"{inner} to {out[-1]}"}

    def _pool(self, name: str, args: Sequence[Any]) -> dict[str, Any]:
        x, kernel, stride, padding, dilation, _ = _pool_arguments(name, args)
        return {
            "other": Other(pooling=x.numel()),
            "reach": Reach(kernel, stride, padding, dilation),
            "detail": conv_detail(kernel, stride, dilation, 1, 0),
        }

    # ------------------------------------------------------------------------------- failures

    def _check(self, name: str, args: Sequence[Any]) -> None:
        """ShapeError in our words, before torch's."""
        if name == "convolution":
            x, weight, _, _, padding, dilation, transposed, _, groups = args
            wanted = weight.shape[0] if transposed else weight.shape[1] * groups
            dims = weight.dim() - 2
            if x.dim() != dims + 2:
                raise ShapeError(f"{dims + 2} axes (N, {wanted}, ...)", shape_text(x.shape))
            if x.shape[1] != wanted:
                got = f"{x.shape[1]} ({shape_text(x.shape)})"
                raise ShapeError(f"{wanted} channels", got)
            if not transposed:
                _check_fit(x.shape[2:], weight.shape[2:], padding, dilation)
        elif name in ("addmm", "mm"):
            left, right = args[1:3] if name == "addmm" else args[:2]
            if left.shape[-1] != right.shape[0]:
                raise ShapeError(
                    f"{right.shape[0]} features", f"{left.shape[-1]} ({shape_text(left.shape)})"
                )
        elif name in POOLS:
            dims = args[0].dim() - 2
            padding = _spread(args[3], dims) if len(args) > 3 else (0,) * dims
            _check_fit(args[0].shape[2:], _spread(args[1], dims), padding, (1,) * dims)

    def failure(self, error: Exception) -> Failure:
        name = self.path[-1] if self.path else ""
        op, args = self.last if self.last else ("", ())
        if isinstance(error, ShapeError):
            expected, got = error.expected, error.got
        else:
            got = ", ".join(shape_text(t.shape) for t in _tensors(args)) or "the input"
            text = str(error).strip().splitlines()
            expected = f"something else ({text[0] if text else type(error).__name__})"
        kind = op.strip("_").replace("_", " ")
        kind = {"convolution": "conv", "addmm": "linear", "mm": "linear", **POOLS}.get(
            kind if op not in POOLS else op, kind
        )
        return Failure(name or kind, kind, expected, got)


def _shortcut(name: str, args: Sequence[Any]) -> Any:
    """The outputs of the commonest operations: torch's own rules for them take ten times longer."""
    if name == "convolution":
        x, weight, _, stride, padding, dilation, transposed, _, _ = args
        if transposed:
            return None
        each = zip(x.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True)
        size = [(n - d * (k - 1) - 1 + 2 * p) // s + 1 for n, k, s, p, d in each]
        return x.new_empty((x.shape[0], weight.shape[0], *size))
    if name in ("relu", "hardtanh", "sigmoid", "silu"):
        return args[0].new_empty(args[0].shape)
    if name in NORMS and "batch" in name and name != "batch_norm":
        x, none = args[0], args[0].new_empty(0)
        return x.new_empty(x.shape), none, none
    if name in ("add", "sub", "mul", "div") and len(args) == 2:
        a, b = args
        if not isinstance(b, Tensor):
            return a.new_empty(a.shape) if a.is_floating_point() else None
        alike = isinstance(a, Tensor) and a.dtype == b.dtype and a.is_floating_point()
        return a.new_empty(np.broadcast_shapes(a.shape, b.shape)) if alike else None
    if name in ("mean", "amax") and len(args) > 1 and isinstance(args[1], list | tuple):
        x = args[0]
        gone = {int(d) % x.dim() for d in args[1]}
        keep = len(args) > 2 and args[2]
        shape = [1 if i in gone else n for i, n in enumerate(x.shape) if keep or i not in gone]
        return x.new_empty(shape) if gone else None
    if name in ("max_pool2d_with_indices", "avg_pool2d") and args[0].dim() == 4:
        x, kernel, stride, padding, dilation, ceil = _pool_arguments(name, args)
        size = [
            _pooled(n, d * (k - 1) + 1, s, p, ceil)
            for n, k, s, p, d in zip(x.shape[2:], kernel, stride, padding, dilation, strict=True)
        ]
        out = x.new_empty((*x.shape[:2], *size))
        return (out, x.new_empty(out.shape, dtype=torch.int64)) if name[0] == "m" else out
    if name == "_adaptive_avg_pool2d":
        return args[0].new_empty((*args[0].shape[:2], *args[1]))
    if name == "addmm" and args[0].dim() == 1:
        return args[1].new_empty((args[1].shape[0], args[2].shape[1]))
    return None


def _pool_arguments(name: str, args: Sequence[Any]) -> tuple[Any, Shape, Shape, Shape, Shape, bool]:
    """Tensor, kernel, stride, padding, dilation, ceil_mode; torch leaves out defaults."""
    x, dims = args[0], args[0].dim() - 2
    rest = [*args[2:], *[None] * 5]
    kernel = _spread(args[1], dims)
    stride = _spread(rest[0], dims) if rest[0] else kernel
    padding = _spread(rest[1] or 0, dims)
    maximum = name.startswith("max")  # mean pooling has no dilation
    dilation = _spread((rest[2] or 1) if maximum else 1, dims)
    return x, kernel, stride, padding, dilation, bool(rest[3] if maximum else rest[2])


def _pooled(n: int, reach: int, stride: int, padding: int, ceil: bool) -> int:
    length = (n + 2 * padding - reach + (stride - 1 if ceil else 0)) // stride + 1
    # a window that begins in the padding behind the end doesn't count
    return length - 1 if ceil and (length - 1) * stride >= n + padding else length


def _check_fit(size: Any, kernel: Any, padding: Any, dilation: Any) -> None:
    for n, k, p, d in zip(size, kernel, padding, dilation, strict=True):
        if d * (k - 1) + 1 > n + 2 * p:
            padded = f" with padding {p}" if p else ""
            raise ShapeError(
                f"at least {d * (k - 1) + 1 - 2 * p} along each axis for its kernel of {k}{padded}",
                shape_text(size),
            )


def conv_detail(
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    channels: int,
) -> str:
    """3x3/2, dilation 2, 32 groups (or depthwise)."""
    parts = [shape_text(tuple(kernel))]
    if any(s != 1 for s in stride):
        parts[0] += "/" + "x".join(map(str, dict.fromkeys(stride)))
    if any(d != 1 for d in dilation):
        parts.append("dilation " + "x".join(map(str, dict.fromkeys(dilation))))
    if groups > 1:
        parts.append("depthwise" if groups == channels else f"{groups} groups")
    return ", ".join(parts)


def _enlarged(before: Sequence[int], after: Sequence[int]) -> Reach | str:
    """Nearest or linear enlargement by whole factors looks like a transposed convolution."""
    if any(b % a for a, b in zip(before, after, strict=True)):
        return "none"
    factors = tuple(b // a for a, b in zip(before, after, strict=True))
    return Reach(factors, factors, (0,) * len(factors), (1,) * len(factors), transposed=True)


def _spread(value: Any, dims: int) -> Shape:
    values = [int(value)] if isinstance(value, int) else [int(v) for v in value]
    return tuple(values * dims if len(values) == 1 else values)


def _tensors(value: Any) -> Any:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for part in value:
            yield from _tensors(part)
    elif isinstance(value, dict):
        for part in value.values():
            yield from _tensors(part)
