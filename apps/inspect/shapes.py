"""The steps of an ONNX graph from the shapes of its inputs: inference in plain numpy.

Every value has a shape; small whole-number tensors, of which exported graphs compute their sizes,
have their values as well and are computed as the graph says.
Weights are never read. The rules are those of the ONNX operator specification.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cnnapps.apps.inspect.onnxfile import SIZES, Graph, Model, Node, Stored
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
from cnnapps.core.errors import InputError, printable

__all__ = ["labels", "trace_onnx"]

SMALL = 1 << 14
"""Values of tensors up to this size are computed."""

ACTIVATIONS = {
    "Relu": "relu", "Clip": "clip", "Sigmoid": "sigmoid", "Tanh": "tanh", "Gelu": "gelu",
    "LeakyRelu": "leaky relu", "Elu": "elu", "Selu": "selu", "PRelu": "prelu",
    "Softmax": "softmax", "LogSoftmax": "log softmax", "HardSwish": "hard swish",
    "HardSigmoid": "hard sigmoid", "Softplus": "softplus", "Mish": "mish", "Erf": "erf",
    "ThresholdedRelu": "thresholded relu", "Celu": "celu", "Softsign": "softsign", "Swish": "silu",
}  # fmt: skip
SAME = frozenset(
    [
        "Identity",
        "Cast",
        "CastLike",
        "Dropout",
        "Neg",
        "Abs",
        "Exp",
        "Log",
        "Sqrt",
        "Reciprocal",
        "Floor",
        "Ceil",
        "Round",
        "Sign",
        "Not",
        "Sin",
        "Cos",
        "Erf",
        "IsNaN",
        "IsInf",
        "CumSum",
        "Trilu",
    ]
)
ELEMENTWISE = frozenset(
    [
        "Add",
        "Sub",
        "Mul",
        "Div",
        "Pow",
        "Mod",
        "Min",
        "Max",
        "Sum",
        "Mean",
        "Where",
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "And",
        "Or",
        "Xor",
        "BitShift",
    ]
)
BOOL = frozenset(
    [
        "Equal",
        "Less",
        "LessOrEqual",
        "Greater",
        "GreaterOrEqual",
        "And",
        "Or",
        "Xor",
        "Not",
        "IsNaN",
        "IsInf",
    ]
)
REDUCE = frozenset(
    [
        "ReduceMean",
        "ReduceMax",
        "ReduceSum",
        "ReduceMin",
        "ReduceProd",
        "ReduceL1",
        "ReduceL2",
        "ReduceLogSum",
        "ReduceLogSumExp",
        "ReduceSumSquare",
    ]
)
VIEWS = frozenset(["Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Dropout"])


@dataclass(slots=True)
class Value:
    """What is known of a value. ``step`` is None for what is stored, or computed of that alone."""

    shape: Shape
    dtype: str
    data: np.ndarray | None = None
    step: int | None = None
    source: str = ""
    """The stored tensor that this is, perhaps cast or transposed."""


def trace_onnx(model: Model, shapes: Mapping[str, Shape], *, name: str = "") -> NetReport:
    """The table of a graph for inputs of these shapes (all of the graph's inputs)."""
    return _Tracing(model, shapes, name).run()


class _Tracing:
    def __init__(self, model: Model, shapes: Mapping[str, Shape], name: str) -> None:
        self.model, self.graph = model, model.graph
        self.tracer = Tracer(name or model.source)
        self.values: dict[str, Value] = {}
        self.counted: set[str] = set()
        for key, stored in self.graph.stored.items():
            self.values[key] = Value(stored.dims, stored.dtype, _small(stored), None, key)
        for info in self.graph.inputs:
            if info.name in self.graph.stored:
                continue
            shape = shapes[info.name]
            seen = info.dtype.startswith("float")
            step = self.tracer.input(info.name, shape, SIZES.get(info.dtype, 4), seen=seen)
            self.values[info.name] = Value(shape, info.dtype, None, step)

    def run(self) -> NetReport:
        names = labels(self.graph)
        failure = None
        for node, name in zip(self.graph.nodes, names, strict=True):
            try:
                self._step(node, name)
            except ShapeError as error:
                failure = Failure(name, node.op.lower(), error.expected, error.got)
                break
            except (KeyError, IndexError, ValueError, TypeError, ArithmeticError) as error:
                got = ", ".join(shape_text(self.values[i].shape) for i in node.inputs
                                if i in self.values)  # fmt: skip
                failure = Failure(name, node.op.lower(), f"other inputs ({error})", got or "none")
                break
        return self.tracer.report(failure)

    # ------------------------------------------------------------------------------ one node

    def _step(self, node: Node, name: str) -> None:
        inputs = [self.values[i] if i else None for i in node.inputs]
        known = self._computed(node, inputs)
        if known is not None:
            for output, value in zip(node.outputs, known, strict=False):
                self.values[output] = value
            return
        rule = RULES.get(node.op)
        if rule is None:
            if any(v == "graph" for v in node.attributes.values()):
                raise InputError(
                    self.model.source, f"{node.op} (a branch or a loop) isn't followed"
                )
            raise InputError(
                self.model.source, f"the shape of the operator {printable(node.op, 40)} isn't known"
            )
        facts = rule(node, inputs)
        present = [i for i in inputs if i is not None]
        if node.op == "CastLike":
            present = present[:1]
        reads = [i.step for i in present if i.step is not None]
        if not reads:  # computed of stored tensors: it stands for its source
            sources = {i.source for i in present if i.source}
            source = sources.pop() if len(sources) == 1 else ""
            for output, shape in zip(node.outputs, facts.shapes, strict=False):
                self.values[output] = Value(shape, facts.dtype, None, None, source)
            return
        parameters = sum(self._count(node, i, v) for i, v in enumerate(inputs) if v is not None)
        ids = self.tracer.step(
            name,
            facts.kind or node.op.lower(),
            reads,
            facts.shapes,
            itemsize=SIZES.get(facts.dtype, 4),
            detail=facts.detail,
            view=node.op in VIEWS,
            reach=facts.reach,
            parameters=parameters,
            macs=facts.macs,
            other=facts.other,
        )
        for output, shape, step in zip(node.outputs, facts.shapes, ids, strict=False):
            data = None
            if facts.data is not None:
                data = facts.data
            self.values[output] = Value(shape, facts.dtype, data, step)

    def _count(self, node: Node, place: int, value: Value) -> int:
        """Parameters that a node brings in: stored floating tensors, statistics of a norm apart."""
        stored = self.graph.stored.get(value.source)
        if value.step is not None or stored is None or value.source in self.counted:
            return 0
        if node.op in PLAIN:
            return 0
        self.counted.add(value.source)
        count = math.prod(stored.dims)
        self.tracer.parameter_memory += count * SIZES.get(stored.dtype, 4)
        if node.op == "BatchNormalization" and place >= 3:
            return 0
        if not stored.dims and node.op in ELEMENTWISE:  # a scalar in a formula
            return 0
        return (
            count if stored.dtype.startswith(("float", "bfloat")) or stored.dtype == "int8" else 0
        )

    def _computed(self, node: Node, inputs: list[Value | None]) -> list[Value] | None:
        """The outputs, where they can be known as values (sizes) without a row."""
        if node.op == "Shape" and inputs[0] is not None:
            shape = inputs[0].shape
            start, end = node.attributes.get("start", 0), node.attributes.get("end")
            return [_constant(np.array(shape[start:end], np.int64))]
        if node.op == "Size" and inputs[0] is not None:
            return [_constant(np.array(math.prod(inputs[0].shape), np.int64))]
        if node.op == "Constant":
            return [_of_constant(node)]
        compute = COMPUTE.get(node.op)
        if compute is None or any(i is not None and i.data is None for i in inputs):
            return None
        arrays = [None if i is None else i.data for i in inputs]
        out = compute(node.attributes, *arrays)
        if out is None or out.size > SMALL:
            return None
        source = next((i.source for i in inputs if i is not None and i.source), "")
        value = _constant(out)
        value.source = source
        return [value]


PLAIN = frozenset(
    [
        "Reshape",
        "Slice",
        "Expand",
        "Tile",
        "Pad",
        "Unsqueeze",
        "Squeeze",
        "Range",
        "ConstantOfShape",
    ]
)
"""Nodes whose stored inputs are sizes, not weights."""


@dataclass(slots=True)
class Facts:
    """What a rule finds: the outputs' shapes and type, and what the step costs."""

    shapes: list[Shape]
    dtype: str = "float32"
    kind: str = ""
    detail: str = ""
    macs: int = 0
    other: Other | None = None
    reach: Reach | str | None = None
    data: np.ndarray | None = None


Inputs = Sequence[Value | None]
Rule = Callable[[Node, Inputs], Facts]
RULES: dict[str, Rule] = {}


def _rule(*ops: str) -> Callable[[Rule], Rule]:
    def register(function: Rule) -> Rule:
        for op in ops:
            RULES[op] = function
        return function

    return register


def _small(stored: Stored) -> np.ndarray | None:
    if math.prod(stored.dims) > SMALL:
        return None
    return stored.array()


def _constant(array: np.ndarray) -> Value:
    return Value(tuple(array.shape), str(array.dtype), array)


def _of_constant(node: Node) -> Value:
    given = node.attributes
    stored = given.get("value")
    if isinstance(stored, Stored):
        return Value(stored.dims, stored.dtype, _small(stored))
    for key, dtype in (("value_int", "int64"), ("value_ints", "int64"), ("value_float", "float32"),
                       ("value_floats", "float32")):  # fmt: skip
        if key in given:
            return _constant(np.array(given[key], dtype))
    return Value((), "str")


def labels(graph: Graph) -> list[str]:
    """A name for each node: that of its weight, of the node, or of its kind behind its neighbour's.

    Exporters call a step without weights ``node_relu_3``; after ``blocks.0.conv1`` that becomes
    ``blocks.0.relu``, so that rows can be joined by name.
    """
    casts: dict[str, str] = {}
    for node in graph.nodes:
        if node.op in CARRIERS and node.inputs:
            source = casts.get(node.inputs[0], node.inputs[0])
            if source in graph.stored:
                casts.update({o: source for o in node.outputs})
    seen: dict[str, int] = {}
    out = []
    parent = ""
    for node in graph.nodes:
        weights = [casts.get(i, i) for i in node.inputs]
        weights = [w for w in weights if w in graph.stored and len(graph.stored[w].dims) >= 1]
        text = ""
        if weights and node.op in WEIGHTED and "." in weights[0]:
            text = _owner(weights[0])
            parent = text.rpartition(".")[0]
        elif "/" in node.name:
            text = _path(node.name, node.op)
        elif parent or not node.name:
            text = f"{parent}.{node.op.lower()}".lstrip(".")
        text = printable(text or node.name.removeprefix("node_") or node.op, 60)
        seen[text] = seen.get(text, 0) + 1
        out.append(text if seen[text] == 1 else f"{text}#{seen[text]}")
    return out


CARRIERS = frozenset(
    "Cast CastLike Identity Transpose DequantizeLinear Unsqueeze Reshape".split()  # noqa: SIM905
)
WEIGHTED = frozenset(
    [
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "BatchNormalization",
        "InstanceNormalization",
        "GroupNormalization",
        "LayerNormalization",
        "PRelu",
        "Gather",
    ]
)


def _owner(weight: str) -> str:
    """layer1.0.conv1 of net.layer1.0.conv1.weight.half"""
    text = weight.removeprefix("net.").removesuffix(".half")
    head, dot, last = text.rpartition(".")
    return head if dot and last in ("weight", "bias", "codes", "scale", "gamma", "kernel") else text


def _path(name: str, op: str) -> str:
    """layer1.layer1.0.Relu of /layer1/layer1.0/relu/Relu; node_relu_3 as relu_3."""
    parts = [p for p in name.split("/") if p]
    if len(parts) > 1 and parts[-1].split("_")[0] == op:
        parts = parts[:-1]
    return parts[-1].removeprefix("node_") if len(parts) == 1 else ".".join(parts[-2:])


# ----------------------------------------------------------------------------- layers that count


def _need(inputs: Inputs, place: int) -> Value:
    value = inputs[place] if place < len(inputs) else None
    if value is None:
        raise ValueError(f"input {place + 1} is missing")
    return value


def _axes_at_least(value: Value, n: int) -> None:
    if len(value.shape) < n:
        raise ShapeError(f"at least {n} axes", shape_text(value.shape))


def _window(
    node: Node, size: Shape, kernel: Shape
) -> tuple[Shape, Shape, list[int], list[int], Shape]:
    """Stride, dilation, padding before and after, outputs of a window that moves over ``size``."""
    dims = len(size)
    given = node.attributes
    stride = tuple(given.get("strides") or [1] * dims)
    dilation = tuple(given.get("dilations") or [1] * dims)
    pads = list(given.get("pads") or [0] * (2 * dims))
    if not len(kernel) == len(stride) == len(dilation) == len(pads) // 2 == dims or 0 in stride:
        raise ShapeError(f"a picture of {len(kernel)} axes", shape_text(size))
    before, after = pads[:dims], pads[dims:]
    auto = given.get("auto_pad", "NOTSET")
    out = []
    for i, (n, k, s, d) in enumerate(zip(size, kernel, stride, dilation, strict=True)):
        reach = d * (k - 1) + 1
        if auto in ("SAME_UPPER", "SAME_LOWER"):
            whole = max(0, (-(-n // s) - 1) * s + reach - n)
            before[i] = whole // 2 if auto == "SAME_UPPER" else -(-whole // 2)
            after[i] = whole - before[i]
        padded = n + before[i] + after[i]
        if reach > padded:
            with_padding = f" with padding {before[i]}" if before[i] else ""
            raise ShapeError(
                f"at least {reach - before[i] - after[i]} along each axis for its kernel of "
                f"{k}{with_padding}",
                shape_text(size),
            )
        extra = s - 1 if given.get("ceil_mode") else 0
        length = (padded - reach + extra) // s + 1
        if extra and (length - 1) * s >= n + before[i]:  # a window that begins beyond the end
            length -= 1
        out.append(length)
    return stride, dilation, before, after, tuple(out)


@_rule("Conv")
def _conv(node: Node, inputs: Inputs) -> Facts:
    x, weight = _need(inputs, 0), _need(inputs, 1)
    _axes_at_least(x, 3)
    groups = int(node.attributes.get("group", 1))
    wanted = weight.shape[1] * groups
    if x.shape[1] != wanted:
        raise ShapeError(f"{wanted} channels", f"{x.shape[1]} ({shape_text(x.shape)})")
    kernel = weight.shape[2:]
    stride, dilation, before, _, size = _window(node, x.shape[2:], kernel)
    out = (x.shape[0], weight.shape[0], *size)
    bias = len(inputs) > 2 and inputs[2] is not None
    return Facts(
        [out],
        x.dtype,
        "conv",
        _detail(kernel, stride, dilation, groups, x.shape[1]),
        math.prod(weight.shape) * math.prod(size) * x.shape[0],
        Other(bias=math.prod(out) if bias else 0),
        Reach(kernel, stride, tuple(before), dilation),
    )


@_rule("ConvTranspose")
def _conv_transpose(node: Node, inputs: Inputs) -> Facts:
    x, weight = _need(inputs, 0), _need(inputs, 1)
    _axes_at_least(x, 3)
    if x.shape[1] != weight.shape[0]:
        raise ShapeError(f"{weight.shape[0]} channels", f"{x.shape[1]} ({shape_text(x.shape)})")
    given, dims = node.attributes, len(x.shape) - 2
    groups, kernel = int(given.get("group", 1)), weight.shape[2:]
    stride = tuple(given.get("strides") or [1] * dims)
    dilation = tuple(given.get("dilations") or [1] * dims)
    more = given.get("output_padding") or [0] * dims
    pads = given.get("pads") or [0] * (2 * dims)
    size = tuple(given.get("output_shape") or [])[-dims:]
    if not size:
        each = zip(x.shape[2:], kernel, stride, dilation, more, pads[:dims], pads[dims:],
                   strict=True)  # fmt: skip
        size = tuple((n - 1) * s + d * (k - 1) + 1 + o - a - b for n, k, s, d, o, a, b in each)
        if given.get("auto_pad") in ("SAME_UPPER", "SAME_LOWER"):
            size = tuple(n * s for n, s in zip(x.shape[2:], stride, strict=True))
    out = (x.shape[0], weight.shape[1] * groups, *size)
    bias = len(inputs) > 2 and inputs[2] is not None
    return Facts(
        [out],
        x.dtype,
        "transposed conv",
        _detail(kernel, stride, dilation, groups, x.shape[1]),
        math.prod(weight.shape) * math.prod(x.shape[2:]) * x.shape[0],
        Other(bias=math.prod(out) if bias else 0),
        Reach(kernel, stride, tuple(pads[:dims]), dilation, transposed=True),
    )


def _detail(kernel: Shape, stride: Shape, dilation: Shape, groups: int, channels: int) -> str:
    parts = [shape_text(kernel)]
    if any(s != 1 for s in stride):
        parts[0] += "/" + "x".join(map(str, dict.fromkeys(stride)))
    if any(d != 1 for d in dilation):
        parts.append("dilation " + "x".join(map(str, dict.fromkeys(dilation))))
    if groups > 1:
        parts.append("depthwise" if groups == channels else f"{groups} groups")
    return ", ".join(parts)


@_rule("Gemm")
def _gemm(node: Node, inputs: Inputs) -> Facts:
    a, b = _need(inputs, 0), _need(inputs, 1)
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise ShapeError("a matrix", shape_text(a.shape))
    rows, inner = a.shape[::-1] if node.attributes.get("transA") else a.shape
    wanted, columns = b.shape[::-1] if node.attributes.get("transB") else b.shape
    if inner != wanted:
        raise ShapeError(f"{wanted} features", f"{inner} ({shape_text(a.shape)})")
    bias = len(inputs) > 2 and inputs[2] is not None
    kind = "linear" if a.step is None or b.step is None else "matmul"
    return Facts(
        [(rows, columns)],
        a.dtype,
        kind,
        f"{inner} to {columns}",
        rows * inner * columns,
        Other(bias=rows * columns if bias else 0),
    )


@_rule("MatMul")
def _matmul(node: Node, inputs: Inputs) -> Facts:
    a, b = _need(inputs, 0), _need(inputs, 1)
    left = a.shape if len(a.shape) > 1 else (1, *a.shape)
    right = b.shape if len(b.shape) > 1 else (*b.shape, 1)
    if left[-1] != right[-2]:
        raise ShapeError(f"{right[-2]} features", f"{left[-1]} ({shape_text(a.shape)})")
    out = (*_broadcast(left[:-2], right[:-2]), left[-2], right[-1])
    macs = math.prod(out) * left[-1]
    kind = "linear" if a.step is None or b.step is None else "matmul"
    shape = (
        out[:-2] + (out[-2:-1] if len(a.shape) > 1 else ()) + (out[-1:] if len(b.shape) > 1 else ())
    )
    return Facts([shape], a.dtype, kind, f"{left[-1]} to {right[-1]}", macs)


@_rule("BatchNormalization", "InstanceNormalization", "GroupNormalization", "LayerNormalization",
       "RMSNormalization", "LRN", "MeanVarianceNormalization", "LpNormalization")  # fmt: skip
def _norm(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    if node.op in ("BatchNormalization", "InstanceNormalization"):
        scale = _need(inputs, 1)
        if len(x.shape) < 2 or x.shape[1] != scale.shape[0]:
            raise ShapeError(f"{scale.shape[0]} channels", shape_text(x.shape))
    kind = {"LRN": "lrn"}.get(node.op) or node.op.removesuffix("Normalization").lower() + " norm"
    shapes = [x.shape, *[(1,)] * (len([o for o in node.outputs if o]) - 1)]
    return Facts(shapes, x.dtype, kind, other=Other(norm=2 * math.prod(x.shape)))


def _activation(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    kind = ACTIVATIONS[node.op]
    return Facts([x.shape], x.dtype, kind, other=Other(activation=math.prod(x.shape)))


for _op in ACTIVATIONS:
    RULES[_op] = _activation


@_rule("MaxPool", "AveragePool", "LpPool")
def _pool(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    _axes_at_least(x, 3)
    kernel = tuple(node.attributes.get("kernel_shape") or ())
    stride, dilation, before, _, size = _window(node, x.shape[2:], kernel)
    out = (*x.shape[:2], *size)
    return Facts(
        [out] * max(1, len([o for o in node.outputs if o])),
        x.dtype,
        {"MaxPool": "max pool", "AveragePool": "mean pool"}.get(node.op, "pool"),
        _detail(kernel, stride, dilation, 1, 0),
        other=Other(pooling=math.prod(x.shape)),
        reach=Reach(kernel, stride, tuple(before), dilation),
    )


@_rule("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def _global_pool(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    _axes_at_least(x, 3)
    out = (*x.shape[:2], *(1 for _ in x.shape[2:]))
    kind = "global max pool" if node.op == "GlobalMaxPool" else "global mean pool"
    return Facts([out], x.dtype, kind, other=Other(pooling=math.prod(x.shape)), reach="whole")


# ---------------------------------------------------------------------------- shapes only


def _broadcast(*shapes: Shape) -> Shape:
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        texts = [shape_text(s) for s in shapes]
        raise ShapeError(f"shapes that fit {texts[0]}", " and ".join(texts[1:])) from None


@_rule(*SAME)
def _same(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    dtype = x.dtype
    if node.op == "Cast":
        from cnnapps.apps.inspect.onnxfile import DTYPES

        dtype = DTYPES.get(int(node.attributes.get("to", 1)), "float32")
    elif node.op == "CastLike":
        dtype = _need(inputs, 1).dtype
    elif node.op in BOOL:
        dtype = "bool"
    shapes = [x.shape] * max(1, len([o for o in node.outputs if o]))
    return Facts(shapes, dtype)


@_rule(*ELEMENTWISE)
def _elementwise(node: Node, inputs: Inputs) -> Facts:
    present = [i for i in inputs if i is not None]
    shape = _broadcast(*(i.shape for i in present))
    dtype = (
        "bool"
        if node.op in BOOL
        else present[-1].dtype
        if node.op == "Where"
        else (present[0].dtype)
    )
    kind, other = node.op.lower(), None
    weights = [i for i in present if i.step is None and i.dtype.startswith("float") and i.source]
    if (
        node.op == "Add"
        and len(present) == 2
        and len(weights) == 1
        and math.prod(weights[0].shape) > 1
    ):
        kind, other = "bias", Other(bias=math.prod(shape))
    return Facts([shape], dtype, kind, other=other)


@_rule(*REDUCE)
def _reduce(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    axes = node.attributes.get("axes")
    if axes is None and len(inputs) > 1 and inputs[1] is not None:
        axes = _known(inputs[1], "the axes to reduce").tolist()
    rank = len(x.shape)
    if not axes:
        axes = [] if node.attributes.get("noop_with_empty_axes") else range(rank)
    gone = {int(a) % rank for a in axes} if rank else set()
    keep = node.attributes.get("keepdims", 1)
    out = tuple(1 if i in gone else n for i, n in enumerate(x.shape) if keep or i not in gone)
    spatial = rank >= 3 and gone == set(range(2, rank))
    if spatial and node.op in ("ReduceMean", "ReduceMax"):
        kind = "global mean pool" if node.op == "ReduceMean" else "global max pool"
        other = Other(pooling=math.prod(x.shape))
        return Facts([out], x.dtype, kind, other=other, reach="whole")
    spent: Other | None = None
    if node.op in ("ReduceMean", "ReduceMax"):
        spent = Other(pooling=math.prod(x.shape))
    kind = node.op.removeprefix("Reduce").lower() + " over " + ",".join(map(str, sorted(gone)))
    return Facts([out], x.dtype, kind, other=spent, reach="whole" if gone - {0, 1} else None)


def _known(value: Value | None, what: str) -> np.ndarray:
    if value is None or value.data is None:
        raise ValueError(f"{what} depend on the input's values")
    return value.data


@_rule("Reshape")
def _reshape(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    if len(inputs) > 1:
        target = [int(n) for n in _known(inputs[1], "sizes").ravel()]
    else:
        target = [int(n) for n in node.attributes.get("shape", [])]
    allow = node.attributes.get("allowzero", 0)
    out = [x.shape[i] if n == 0 and not allow else n for i, n in enumerate(target)]
    total = math.prod(x.shape)
    if -1 in out:
        rest = math.prod(n for n in out if n != -1)
        if rest == 0 or total % rest:
            raise ShapeError(f"a multiple of {rest} values", f"{total} ({shape_text(x.shape)})")
        out[out.index(-1)] = total // rest
    if math.prod(out) != total or min(out, default=1) < 0:
        want = f"{math.prod(out)} values ({shape_text(out)})"
        raise ShapeError(want, f"{total} ({shape_text(x.shape)})")
    return Facts([tuple(out)], x.dtype, data=x.data)


@_rule("Flatten")
def _flatten(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    axis = int(node.attributes.get("axis", 1))
    axis += len(x.shape) if axis < 0 else 0
    return Facts([(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))], x.dtype)


@_rule("Transpose")
def _transpose(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    order = node.attributes.get("perm") or list(range(len(x.shape)))[::-1]
    moved = list(order)[:2] != [0, 1]
    return Facts([tuple(x.shape[i] for i in order)], x.dtype, reach="none" if moved else None)


def _axes_of(node: Node, inputs: Inputs, rank: int) -> list[int] | None:
    axes = node.attributes.get("axes")
    if axes is None and len(inputs) > 1 and inputs[1] is not None:
        axes = _known(inputs[1], "axes").ravel().tolist()
    return None if axes is None else [int(a) % rank for a in axes]


@_rule("Squeeze")
def _squeeze(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    axes = _axes_of(node, inputs, len(x.shape))
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else axes
    if any(x.shape[i] != 1 for i in gone):
        raise ShapeError("axes of length 1", shape_text(x.shape))
    return Facts([tuple(n for i, n in enumerate(x.shape) if i not in gone)], x.dtype)


@_rule("Unsqueeze")
def _unsqueeze(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    given = node.attributes.get("axes")
    if given is None:
        given = _known(inputs[1], "axes").ravel().tolist()
    rank = len(x.shape) + len(given)
    rest = iter(x.shape)
    places = {int(a) % rank for a in given}
    return Facts([tuple(1 if i in places else next(rest) for i in range(rank))], x.dtype)


@_rule("Concat")
def _concat(node: Node, inputs: Inputs) -> Facts:
    present = [i for i in inputs if i is not None]
    first = present[0].shape
    axis = int(node.attributes.get("axis", 1)) % len(first)
    for other in present[1:]:
        same = len(other.shape) == len(first) and all(
            a == b for i, (a, b) in enumerate(zip(first, other.shape, strict=True)) if i != axis
        )
        if not same:
            raise ShapeError(f"shapes like {shape_text(first)}", shape_text(other.shape))
    total = sum(i.shape[axis] for i in present)
    return Facts([(*first[:axis], total, *first[axis + 1 :])], present[0].dtype, "concat")


@_rule("Split")
def _split(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    parts = node.attributes.get("split")
    if parts is None and len(inputs) > 1 and inputs[1] is not None:
        parts = _known(inputs[1], "sizes").ravel().tolist()
    if parts is None:
        n = len(node.outputs)
        size = -(-x.shape[axis] // n)
        parts = [min(size, x.shape[axis] - size * i) for i in range(n)]
    shapes = [(*x.shape[:axis], int(p), *x.shape[axis + 1 :]) for p in parts]
    return Facts(shapes, x.dtype, "split")


@_rule("Slice")
def _slice(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    slices = _slices(node, inputs, len(x.shape))
    out = tuple(len(range(*s.indices(n))) for n, s in zip(x.shape, slices, strict=True))
    return Facts([out], x.dtype)


def _slices(node: Node, inputs: Inputs, rank: int) -> list[slice]:
    given = node.attributes
    if "starts" in given:
        starts, ends = given["starts"], given["ends"]
        axes, steps = given.get("axes") or list(range(len(starts))), [1] * len(starts)
    else:
        starts = _known(inputs[1], "starts").ravel().tolist()
        ends = _known(inputs[2], "ends").ravel().tolist()
        axes = list(range(len(starts)))
        steps = [1] * len(starts)
        if len(inputs) > 3 and inputs[3] is not None:
            axes = _known(inputs[3], "axes").ravel().tolist()
        if len(inputs) > 4 and inputs[4] is not None:
            steps = _known(inputs[4], "steps").ravel().tolist()
    out = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        stop = None if step < 0 and end < -(1 << 31) else int(end)
        out[int(axis) % rank] = slice(int(start), stop, int(step))
    return out


@_rule("Gather")
def _gather(node: Node, inputs: Inputs) -> Facts:
    x, index = _need(inputs, 0), _need(inputs, 1)
    axis = int(node.attributes.get("axis", 0)) % max(1, len(x.shape))
    out = (*x.shape[:axis], *index.shape, *x.shape[axis + 1 :])
    table = x.step is None and len(x.shape) == 2 and axis == 0
    return Facts([out], x.dtype, "embedding" if table else "gather", reach="none")


@_rule("GatherElements")
def _gather_elements(node: Node, inputs: Inputs) -> Facts:
    return Facts([_need(inputs, 1).shape], _need(inputs, 0).dtype, "gather", reach="none")


@_rule("Expand")
def _expand(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    target = tuple(int(n) for n in _known(_need(inputs, 1), "sizes").ravel())
    return Facts([_broadcast(x.shape, target)], x.dtype)


@_rule("Tile")
def _tile(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    repeats = _known(_need(inputs, 1), "repeats").ravel().tolist()
    return Facts([tuple(n * int(r) for n, r in zip(x.shape, repeats, strict=True))], x.dtype)


@_rule("Pad")
def _pad(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    rank = len(x.shape)
    pads = node.attributes.get("pads")
    if pads is None:
        pads = _known(_need(inputs, 1), "pads").ravel().tolist()
    axes = list(range(rank))
    if len(inputs) > 3 and inputs[3] is not None:
        axes = [int(a) % rank for a in _known(inputs[3], "axes").ravel()]
    out = list(x.shape)
    before = [0] * rank
    half = len(pads) // 2
    for axis, a, b in zip(axes, pads[:half], pads[half:], strict=True):
        out[axis] += int(a) + int(b)
        before[axis] = int(a)
    ones = (1,) * (rank - 2)
    reach = Reach(ones, ones, tuple(before[2:]), ones) if rank >= 3 else None
    return Facts([tuple(out)], x.dtype, reach=reach)


@_rule("Range")
def _range(node: Node, inputs: Inputs) -> Facts:
    start, end, step = (_known(i, "bounds").item() for i in inputs[:3])
    count = max(0, math.ceil((end - start) / step))
    return Facts([(count,)], _need(inputs, 0).dtype)


@_rule("ConstantOfShape")
def _constant_of_shape(node: Node, inputs: Inputs) -> Facts:
    shape = tuple(int(n) for n in _known(_need(inputs, 0), "sizes").ravel())
    if math.prod(shape) > 1 << 42:
        raise ShapeError("a tensor that fits a machine", shape_text(shape))
    value = node.attributes.get("value")
    return Facts([shape], value.dtype if isinstance(value, Stored) else "float32")


@_rule("Resize", "Upsample")
def _resize(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    sizes = inputs[3] if len(inputs) > 3 else None
    scales = inputs[2] if len(inputs) > 2 and node.op == "Resize" else None
    if node.op == "Upsample" and len(inputs) > 1:
        scales = inputs[1]
    axes = [int(a) % len(x.shape) for a in node.attributes.get("axes") or range(len(x.shape))]
    out = list(x.shape)
    if sizes is not None and 0 not in sizes.shape:
        for axis, n in zip(axes, _known(sizes, "sizes").ravel(), strict=True):
            out[axis] = int(n)
    else:
        factors = _known(scales, "scales").ravel()
        for axis, f in zip(axes, factors, strict=True):
            out[axis] = math.floor(x.shape[axis] * float(f))
    if math.prod(out) > 1 << 42 or min(out) < 0:
        raise ShapeError("a tensor that fits a machine", shape_text(out))
    a, b = x.shape[2:], out[2:]
    reach: Reach | str = "none"
    if a and not any(n % m for m, n in zip(a, b, strict=True)):
        f = tuple(n // m for m, n in zip(a, b, strict=True))
        reach = Reach(f, f, (0,) * len(f), (1,) * len(f), transposed=True)
    return Facts([tuple(out)], x.dtype, "resize", reach=reach)


@_rule("DepthToSpace", "SpaceToDepth")
def _depth_space(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    block = int(node.attributes.get("blocksize", 1))
    n, c, h, w = x.shape
    if node.op == "DepthToSpace":
        return Facts([(n, c // block**2, h * block, w * block)], x.dtype, reach="none")
    return Facts([(n, c * block**2, h // block, w // block)], x.dtype, reach="none")


@_rule("QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear")
def _quantize(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    if node.op == "DequantizeLinear":
        return Facts([x.shape], "float32")
    rest: list[Shape] = [(), ()] if node.op.startswith("Dyn") else []
    return Facts([x.shape, *rest], "uint8")


@_rule("ArgMax", "ArgMin")
def _arg(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    axis = int(node.attributes.get("axis", 0)) % len(x.shape)
    keep = node.attributes.get("keepdims", 1)
    out = tuple(1 if i == axis else n for i, n in enumerate(x.shape) if keep or i != axis)
    return Facts([out], "int64", reach="none")


@_rule("TopK")
def _topk(node: Node, inputs: Inputs) -> Facts:
    x = _need(inputs, 0)
    axis = int(node.attributes.get("axis", -1)) % len(x.shape)
    k = int(_known(_need(inputs, 1), "k").ravel()[0])
    out = (*x.shape[:axis], k, *x.shape[axis + 1 :])
    return Facts([out, out], x.dtype, reach="none")


# ----------------------------------------------------------------------- values of small tensors


def _np_slice(given: Mapping[str, Any], x: np.ndarray, *rest: Any) -> np.ndarray:
    node = Node("", "Slice", "", (), (), given)
    inputs = [None, *(None if r is None else _constant(r) for r in rest)]
    return x[tuple(_slices(node, inputs, x.ndim))]


def _np_cast(given: Mapping[str, Any], x: np.ndarray) -> np.ndarray | None:
    from cnnapps.apps.inspect.onnxfile import DTYPES

    dtype = DTYPES.get(int(given.get("to", 1)), "")
    return x.astype(dtype) if dtype in _CASTABLE else None


_CASTABLE = frozenset(
    ["float16", "float32", "float64", "int8", "int16", "int32", "int64", "uint8", "bool"]
)


def _np_div(given: Mapping[str, Any], a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if a.dtype.kind in "iu":  # ONNX cuts towards zero
        return (np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))).astype(a.dtype)
    return a / b


def _np_squeeze(given: Mapping[str, Any], x: np.ndarray, axes: Any = None) -> np.ndarray:
    picked = given.get("axes") if axes is None else axes.ravel().tolist()
    return x.squeeze() if picked is None else x.squeeze(tuple(int(a) for a in picked))


def _np_unsqueeze(given: Mapping[str, Any], x: np.ndarray, axes: Any = None) -> np.ndarray:
    picked = given.get("axes") if axes is None else axes.ravel().tolist()
    return np.expand_dims(x, tuple(int(a) for a in picked or ()))


def _np_reshape(given: Mapping[str, Any], x: np.ndarray, shape: Any) -> np.ndarray:
    out = [x.shape[i] if n == 0 else int(n) for i, n in enumerate(shape.ravel())]
    return x.reshape(out)


def _np_range(given: Mapping[str, Any], a: Any, b: Any, step: Any) -> np.ndarray | None:
    if (b.item() - a.item()) / step.item() > SMALL:
        return None
    return np.arange(a.item(), b.item(), step.item()).astype(a.dtype)


def _np_of_shape(given: Mapping[str, Any], shape: Any) -> np.ndarray | None:
    sizes = [int(n) for n in shape.ravel()]
    if min(sizes, default=1) < 0 or math.prod(sizes) > SMALL:
        return None
    value = given.get("value")
    fill = value.array() if isinstance(value, Stored) else np.zeros(1, np.float32)
    return None if fill is None else np.full(sizes, fill.ravel()[0], fill.dtype)


def _np_expand(given: Mapping[str, Any], x: np.ndarray, shape: Any) -> np.ndarray | None:
    sizes = tuple(int(n) for n in shape.ravel())
    out = np.broadcast_shapes(x.shape, sizes)
    return None if math.prod(out) > SMALL else np.broadcast_to(x, out).copy()


COMPUTE: dict[str, Callable[..., np.ndarray | None]] = {
    "Add": lambda g, a, b: a + b,
    "Sub": lambda g, a, b: a - b,
    "Mul": lambda g, a, b: a * b,
    "Div": _np_div,
    "Mod": lambda g, a, b: np.mod(a, b),
    "Min": lambda g, *a: np.minimum.reduce(a),
    "Max": lambda g, *a: np.maximum.reduce(a),
    "Neg": lambda g, a: -a,
    "Abs": lambda g, a: np.abs(a),
    "Floor": lambda g, a: np.floor(a),
    "Ceil": lambda g, a: np.ceil(a),
    "Sqrt": lambda g, a: np.sqrt(a),
    "Not": lambda g, a: ~a,
    "And": lambda g, a, b: a & b,
    "Or": lambda g, a, b: a | b,
    "Equal": lambda g, a, b: np.equal(a, b),
    "Less": lambda g, a, b: np.less(a, b),
    "Greater": lambda g, a, b: np.greater(a, b),
    "GreaterOrEqual": lambda g, a, b: np.greater_equal(a, b),
    "LessOrEqual": lambda g, a, b: np.less_equal(a, b),
    "Where": lambda g, c, a, b: np.asarray(np.where(c, a, b)),
    "Cast": _np_cast,
    "CastLike": lambda g, a, b: a.astype(b.dtype),
    "Identity": lambda g, a: a,
    "Concat": lambda g, *a: np.concatenate(a, int(g.get("axis", 0))),
    "Gather": lambda g, a, i: np.take(a, i.astype(np.int64), int(g.get("axis", 0))),
    "Slice": _np_slice,
    "Squeeze": _np_squeeze,
    "Unsqueeze": _np_unsqueeze,
    "Reshape": _np_reshape,
    "Range": _np_range,
    "ConstantOfShape": _np_of_shape,
    "Expand": _np_expand,
    "Transpose": lambda g, a: a.transpose(g.get("perm") or None),
    "ReduceProd": lambda g, a, *r: np.asarray(a.prod(), a.dtype) if not r else None,
}


def known_values(model: Model, shapes: Mapping[str, Shape]) -> dict[str, np.ndarray]:
    """The values that don't depend on the inputs' contents, only on their shapes."""
    tracing = _Tracing(model, shapes, "")
    tracing.run()
    return {
        name: value.data
        for name, value in tracing.values.items()
        if value.data is not None and value.step is None and name not in model.graph.stored
    }
