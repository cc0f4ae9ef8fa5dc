"""What a net does, step by step, whichever way it was read: counts, memory, receptive field.

A Tracer gets the steps in the order in which they run, from torch on the meta device
(torchtrace.py) or from an ONNX graph (shapes.py); ``report`` makes the table. Conventions:

    MACs        multiply-adds of convolution and linear layers, exact, zeros of the padding included
    FLOPs       2 x MACs
    bias        one addition for each output of a layer that has one
    norm        two operations an element (scale and shift, as at inference)
    activation  one an element
    pooling     one for each element that enters

Additions of residual connections and concatenations are rows without a count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

__all__ = [
    "Failure",
    "Layer",
    "NetReport",
    "Other",
    "Reach",
    "ShapeError",
    "Totals",
    "Tracer",
    "grouped",
    "shape_text",
]

Shape = tuple[int, ...]
ELEMENTS = 1 << 42
"""Most elements of one tensor: beyond, a file is lying."""


class ShapeError(ValueError):
    """A layer can't take what it is given: what it expected, and what it got."""

    def __init__(self, expected: str, got: str) -> None:
        super().__init__(f"expected {expected}, got {got}")
        self.expected, self.got = expected, got


@dataclass(frozen=True, slots=True)
class Other:
    """Operations besides the multiply-adds, by kind; see the module."""

    bias: int = 0
    norm: int = 0
    activation: int = 0
    pooling: int = 0

    def __add__(self, more: Other) -> Other:
        return Other(
            self.bias + more.bias,
            self.norm + more.norm,
            self.activation + more.activation,
            self.pooling + more.pooling,
        )

    @property
    def sum(self) -> int:
        return self.bias + self.norm + self.activation + self.pooling


@dataclass(frozen=True, slots=True)
class Layer:
    """One row. ``memory`` is the bytes of its output (0 for a view of its input).

    ``receptive_field``: how many inputs along each axis an output can see, not cut at the borders;
    ``stride``: how many inputs apart two neighbouring outputs look. None where that means nothing.
    """

    name: str
    kind: str
    output: Shape
    parameters: int
    macs: int
    flops: int
    other: Other
    memory: int
    receptive_field: tuple[int, ...] | None
    stride: tuple[int | float, ...] | None
    detail: str = field(default="", metadata={"json": False})
    inputs: tuple[int, ...] = field(default=(), metadata={"json": False})
    """Rows whose outputs it reads; -1 is the net's input."""
    module: bool = field(default=True, metadata={"json": False})
    """Whether a module of its own does it, or a function that its parent calls."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums of the rows, and what only the whole has.

    ``operations`` = MACs + bias + norm + activation + pooling. ``memory`` adds all outputs (what
    training keeps), ``peak_memory`` is what is alive at once at inference, the input included, the
    parameters not; both in bytes, as ``parameter_memory``. ``unused_parameters`` belong to the net
    but don't take part (auxiliary heads).
    """

    parameters: int
    macs: int
    flops: int
    other: Other
    operations: int
    memory: int
    peak_memory: int
    parameter_memory: int
    unused_parameters: int
    receptive_field: tuple[int, ...] | None
    stride: tuple[int | float, ...] | None


@dataclass(frozen=True, slots=True)
class Failure:
    """Where a net can't go on."""

    name: str
    kind: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.name} ({self.kind}) expected {self.expected}, got {self.got}"


@dataclass(frozen=True, slots=True)
class NetReport:
    """The table of a net; ``failure`` ends it early."""

    layers: tuple[Layer, ...]
    totals: Totals
    name: str = field(default="", metadata={"json": False})
    inputs: tuple[tuple[str, Shape], ...] = field(default=(), metadata={"json": False})
    failure: Failure | None = field(default=None, metadata={"json": False})
    notes: tuple[str, ...] = field(default=(), metadata={"json": False})

    def __str__(self) -> str:
        from cnnapps.apps.inspect.table import table

        return table(self)


# ------------------------------------------------------------------------------- receptive field


@dataclass(frozen=True, slots=True)
class Axis:
    """Output i sees the inputs low + i·jump ... high + i·jump."""

    low: Fraction
    high: Fraction
    jump: Fraction


Field = tuple[Axis, ...]
WHOLE = "whole"
"""The field of a value each of whose elements sees every input."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a step's window moves over its input, one entry an axis."""

    kernel: Shape
    stride: Shape
    padding: Shape
    dilation: Shape
    transposed: bool = False

    def __call__(self, axes: Field) -> Field:
        out = []
        each = zip(axes, self.kernel, self.stride, self.padding, self.dilation, strict=True)
        for axis, k, s, p, d in each:
            reach = d * (k - 1)
            if self.transposed:
                # output o meets the inputs i with i·s - p + t·d = o, t = 0 ... k - 1
                jump = axis.jump / s
                first = math.ceil(Fraction(p - reach, s))
                most = reach // s  # inputs beyond the first, at best
                out.append(Axis(axis.low + first * axis.jump,
                                axis.high + (first + most) * axis.jump, jump))  # fmt: skip
            else:
                out.append(Axis(axis.low - p * axis.jump,
                                axis.high + (reach - p) * axis.jump, axis.jump * s))  # fmt: skip
        return tuple(out)


def _joined(fields: Sequence[Field | str | None]) -> Field | str | None:
    """What is seen through several inputs at once."""
    known = [f for f in fields if f is not None]
    if not known:
        return None
    axes = [f for f in known if not isinstance(f, str)]
    if len(axes) < len(known):
        return WHOLE
    if len({len(f) for f in axes}) > 1:
        return None
    return tuple(
        Axis(min(a.low for a in each), max(a.high for a in each), max(a.jump for a in each))
        for each in zip(*axes, strict=True)
    )


# --------------------------------------------------------------------------------------- tracing


@dataclass(slots=True)
class _Value:
    shape: Shape
    bytes: int
    row: int
    root: int
    field: Field | str | None


class Tracer:
    """Collects steps; values are numbers that ``input`` and ``step`` give out."""

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.layers: list[Layer] = []
        self.inputs: list[tuple[str, Shape]] = []
        self.parameter_memory = 0
        self.unused = 0
        self.notes: list[str] = []
        self._values: list[_Value] = []
        self._reads: list[tuple[int, ...]] = []
        self._makes: list[tuple[int, ...]] = []
        self._size: Shape = ()

    def input(self, name: str, shape: Shape, itemsize: int, *, seen: bool = True) -> int:
        """A net's input. ``seen``: receptive fields are measured on it (a picture, a signal)."""
        self.inputs.append((name, shape))
        axes: Field | None = None
        if seen and len(shape) >= 3 and not self._size:
            one = Fraction(1)
            axes = tuple(Axis(Fraction(0), Fraction(0), one) for _ in shape[2:])
            self._size = shape[2:]
        self._values.append(_Value(shape, itemsize * math.prod(shape), -1, len(self._values), axes))
        return len(self._values) - 1

    def step(
        self,
        name: str,
        kind: str,
        reads: Sequence[int],
        shapes: Sequence[Shape],
        *,
        itemsize: int = 4,
        detail: str = "",
        view: bool = False,
        reach: Reach | str | None = None,
        parameters: int = 0,
        macs: int = 0,
        other: Other | None = None,
        module: bool = True,
    ) -> list[int]:
        """Add a row. ``reach``: a Reach, "whole", "none" (fields end here), None: as the input."""
        for shape in shapes:
            if math.prod(shape) > ELEMENTS:
                raise ShapeError("a tensor that fits a machine", shape_text(shape))
        before = _joined([self._values[i].field for i in reads])
        size = sum(itemsize * math.prod(shape) for shape in shapes)
        after = self._after(before, reach, reads, shapes)
        row = len(self.layers)
        rows = tuple(dict.fromkeys(self._values[i].row for i in reads))
        ids = []
        for shape in shapes:
            root = self._values[reads[0]].root if view and reads else len(self._values)
            held = 0 if view else itemsize * math.prod(shape)
            self._values.append(_Value(shape, held, row, root, after))
            ids.append(len(self._values) - 1)
        self._reads.append(tuple(reads))
        self._makes.append(tuple(ids))
        self.layers.append(
            Layer(
                name,
                kind,
                shapes[0] if shapes else (),
                parameters,
                macs,
                2 * macs,
                other or Other(),
                0 if view else size,
                self._seen(after),
                self._jumps(after),
                detail,
                rows,
                module,
            )
        )
        return ids

    def shape(self, value: int) -> Shape:
        return self._values[value].shape

    def _after(
        self,
        before: Field | str | None,
        reach: Reach | str | None,
        reads: Sequence[int],
        shapes: Sequence[Shape],
    ) -> Field | str | None:
        if before is None or reach == "none":
            return None
        if reach == WHOLE or before == WHOLE:
            return WHOLE
        assert not isinstance(before, str)
        if isinstance(reach, Reach):
            return reach(before) if len(reach.kernel) == len(before) else None
        if not shapes or len(shapes[0]) - 2 != len(before):
            # a vector now: one that came from a 1x1 map has seen what the map has
            ones = reads and all(n == 1 for n in self._values[reads[0]].shape[2:])
            return WHOLE if not ones or self._covers(before) else before
        return before

    def _covers(self, axes: Field) -> bool:
        return all(a.high - a.low + 1 >= n for a, n in zip(axes, self._size, strict=True))

    def _seen(self, axes: Field | str | None) -> tuple[int, ...] | None:
        if axes == WHOLE:
            return self._size or None
        if axes is None or isinstance(axes, str):
            return None
        return tuple(math.floor(a.high - a.low) + 1 for a in axes)

    def _jumps(self, axes: Field | str | None) -> tuple[int | float, ...] | None:
        if axes is None or isinstance(axes, str):
            return None
        return tuple(int(a.jump) if a.jump.denominator == 1 else float(a.jump) for a in axes)

    def report(self, failure: Failure | None = None) -> NetReport:
        other = Other()
        for layer in self.layers:
            other += layer.other
        macs = sum(layer.macs for layer in self.layers)
        last = self.layers[-1] if self.layers else None
        strides = [layer for layer in self.layers if layer.stride is not None]
        totals = Totals(
            parameters=sum(layer.parameters for layer in self.layers),
            macs=macs,
            flops=2 * macs,
            other=other,
            operations=macs + other.sum,
            memory=sum(layer.memory for layer in self.layers),
            peak_memory=self._peak(),
            parameter_memory=self.parameter_memory,
            unused_parameters=self.unused,
            receptive_field=last.receptive_field if last else None,
            stride=strides[-1].stride if strides else None,
        )
        return NetReport(
            tuple(self.layers), totals, self.name, tuple(self.inputs), failure, tuple(self.notes)
        )

    def _peak(self) -> int:
        """The most bytes of values that are alive at once: inputs, and outputs until last read."""
        last: dict[int, int] = {}
        for at, (reads, makes) in enumerate(zip(self._reads, self._makes, strict=True)):
            for value in (*reads, *makes):
                last[self._values[value].root] = at
        if self._makes:
            for value in self._makes[-1]:
                last[self._values[value].root] = len(self._makes)
        ends: dict[int, list[int]] = {}
        for root, at in last.items():
            ends.setdefault(at, []).append(root)
        alive = sum(self._values[i].bytes for i in range(len(self.inputs)))
        peak = alive
        for at, makes in enumerate(self._makes):
            alive += sum(self._values[value].bytes for value in makes)
            peak = max(peak, alive)
            alive -= sum(self._values[root].bytes for root in ends.get(at, ()))
        return peak


def shape_text(shape: Sequence[int | str]) -> str:
    """64x112x112; a single number for a scalar's ()."""
    return "x".join(map(str, shape)) if shape else "a scalar"


# -------------------------------------------------------------------------------------- grouping


def grouped(report: NetReport, depth: int) -> NetReport:
    """Rows joined by the first ``depth`` parts of their names, in order of appearance."""
    rows: list[Layer] = []
    members: list[int] = []
    where: dict[int, int] = {-1: -1}
    for i, layer in enumerate(report.layers):
        name = ".".join(layer.name.split("#")[0].split(".")[:depth])
        inputs = tuple(dict.fromkeys(where.get(j, -1) for j in layer.inputs))
        if rows and rows[-1].name == name:
            old = rows[-1]
            outside = tuple(j for j in inputs if j != len(rows) - 1)
            rows[-1] = replace(
                layer,
                name=name,
                kind="group",
                parameters=old.parameters + layer.parameters,
                macs=old.macs + layer.macs,
                flops=old.flops + layer.flops,
                other=old.other + layer.other,
                memory=old.memory + layer.memory,
                detail="",
                inputs=tuple(dict.fromkeys((*old.inputs, *outside))),
            )
            members[-1] += 1
        else:
            rows.append(replace(layer, name=name, inputs=inputs))
            members.append(1)
        where[i] = len(rows) - 1
    named = [
        replace(row, kind=f"{n} steps") if n > 1 else row
        for row, n in zip(rows, members, strict=True)
    ]
    return replace(report, layers=tuple(named))
