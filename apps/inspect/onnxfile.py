"""ONNX files without the onnx package: its protobuf messages, read with our own few lines.

The light install has no onnx (and no protobuf). What `inspect` needs of a file is its nodes, the
shapes of its tensors and the few small constants that shapes depend on; that is the wire format of
Protocol Buffers (varint, 64-bit, length-delimited, 32-bit) and the field numbers of onnx.proto.
Weights are never copied: a tensor is a view of the file's bytes. Nothing is executed, no other
file is opened.
"""

from __future__ import annotations

import math
import posixpath
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from cnnapps.core.errors import InputError, printable

__all__ = ["Graph", "Model", "Node", "Stored", "ValueInfo", "add_outputs", "read_onnx"]

NODES = 200_000
"""Most nodes of a graph, after functions are written out."""
DEPTH = 16
"""Deepest nesting of functions."""

# onnx.TensorProto.DataType -> numpy; bfloat16 and the 8-bit floats have no numpy type of their own
DTYPES = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64",
    8: "str", 9: "bool", 10: "float16", 11: "float64", 12: "uint32", 13: "uint64",
    14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8", 18: "float8", 19: "float8", 20: "float8", 21: "uint4", 22: "int4",
}  # fmt: skip
SIZES = {
    "float32": 4, "uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "int32": 4, "int64": 8, "str": 8,
    "bool": 1, "float16": 2, "float64": 8, "uint32": 4, "uint64": 8, "complex64": 8,
    "complex128": 16, "bfloat16": 2, "float8": 1, "uint4": 1, "int4": 1,
}  # fmt: skip
STANDARD = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the file: its shape, and its bytes unless they are in another file."""

    name: str
    dims: tuple[int, ...]
    dtype: str
    raw: memoryview | None
    numbers: tuple[Any, ...] = ()
    location: str = ""
    offset: int = 0
    length: int = 0

    def array(self) -> np.ndarray | None:
        """Its values; None when they are elsewhere, or of a type that numpy doesn't know."""
        if self.location or self.dtype not in _NUMPY:
            return None
        if self.raw is not None:
            flat = np.frombuffer(self.raw, np.dtype(self.dtype).newbyteorder("<"))
        elif self.dtype == "float16":  # stored as the bits in int32_data
            flat = np.array(self.numbers, np.uint16).view(np.float16)
        else:
            flat = np.array(self.numbers, self.dtype)
        if flat.size != math.prod(self.dims):
            return None
        return flat.reshape(self.dims)


_NUMPY = frozenset(
    [
        "float16",
        "float32",
        "float64",
        "int8",
        "int16",
        "int32",
        "int64",
        "uint8",
        "uint16",
        "uint32",
        "uint64",
        "bool",
    ]
)


@dataclass(frozen=True, slots=True)
class ValueInfo:
    """A graph's input or output; an axis is a number, a name, or "?"."""

    name: str
    dtype: str
    shape: tuple[int | str, ...] | None


@dataclass(frozen=True, slots=True)
class Node:
    name: str
    op: str
    domain: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]


@dataclass(slots=True)
class Graph:
    nodes: list[Node] = field(default_factory=list)
    stored: dict[str, Stored] = field(default_factory=dict)
    inputs: list[ValueInfo] = field(default_factory=list)
    outputs: list[ValueInfo] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Reference:
    """An attribute that takes the value of an attribute of the function's call."""

    name: str


@dataclass(slots=True)
class Function:
    name: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    defaults: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Model:
    graph: Graph
    opset: int
    producer: str
    source: str


class _Damaged(ValueError):
    pass


def read_onnx(data: bytes, source: object, *, files: frozenset[str] | None = None) -> Model:
    """Parse and check a model. ``files`` are the names that external data may have (None: none).

    InputError in one line for what isn't ONNX, is damaged, keeps its weights in other files or
    uses operators that ONNX doesn't define. Functions of the model are written out.
    """
    try:
        model = _model(memoryview(data), str(source))
    except (_Damaged, struct.error, UnicodeDecodeError, RecursionError) as error:
        reason = "damaged ONNX" if data[:1] == b"\x08" else "not an ONNX file"
        raise InputError(source, f"{reason} ({printable(error, 80)})") from error
    _check_external(model, source, files)
    return model


def _check_external(model: Model, source: object, files: frozenset[str] | None) -> None:
    for tensor in model.graph.stored.values():
        place = tensor.location
        if not place or (files is not None and place in files):
            continue
        plain = (
            place == posixpath.basename(place) and place not in (".", "..") and "\\" not in place
        )
        if not plain:
            reason = f"points to the file {printable(place, 60)!r} outside its folder"
            raise InputError(source, f"{reason}: refused")
        if files is None:
            remedy = "save it in one file, or --external to read the shapes without opening it"
            raise InputError(
                source, f"keeps weights in the file {printable(place, 60)!r} ({remedy})"
            )
        if files != frozenset("*"):
            raise InputError(
                source, f"points to the file {printable(place, 60)!r} (not in its card)"
            )


# ------------------------------------------------------------------------------------ wire format


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise _Damaged("a number is cut")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """(field number, value): int, or a memoryview of what is length-delimited or of fixed size."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise _Damaged(f"wire type {kind} at byte {at}")
        if number == 0 or at + size > len(data):
            raise _Damaged(f"a field of {size} bytes at byte {at} of {len(data)}")
        yield number, data[at : at + size]
        at += size


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _text(value: Any) -> str:
    if not isinstance(value, memoryview):
        raise _Damaged("a number where a text should be")
    return bytes(value).decode("utf-8")


def _part(value: Any) -> memoryview:
    if not isinstance(value, memoryview):
        raise _Damaged("a number where a message should be")
    return value


def _whole(value: Any) -> int:
    if not isinstance(value, int):
        raise _Damaged("a message where a number should be")
    return value


def _ints(value: Any) -> list[int]:
    """A repeated integer field, packed or not."""
    if isinstance(value, int):
        return [_signed(value)]
    out, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        out.append(_signed(number))
    return out


def _floats(value: Any, letter: str = "f") -> list[float]:
    size = struct.calcsize(letter)
    if isinstance(value, int) or len(value) % size:
        raise _Damaged("numbers of the wrong length")
    return list(struct.unpack(f"<{len(value) // size}{letter}", value))


# --------------------------------------------------------------------------------------- messages


def _model(data: memoryview, source: str) -> Model:
    graph: Graph | None = None
    opsets: dict[str, int] = {}
    functions: dict[tuple[str, str], Function] = {}
    producer = ""
    for number, value in _fields(data):
        if number == 7:
            graph = _graph(_part(value), graph)
        elif number == 8:
            domain, version = "", 0
            for n, v in _fields(_part(value)):
                domain = _text(v) if n == 1 else domain
                version = _whole(v) if n == 2 else version
            opsets[domain] = version
        elif number == 2:
            producer = _text(value)
        elif number == 25:
            function = _function(_part(value))
            functions[function.domain, function.name] = function
    if graph is None or not (graph.nodes or graph.outputs):
        raise _Damaged("it holds no graph")
    graph.nodes = _written_out(graph.nodes, functions, source)
    return Model(graph, opsets.get("", opsets.get("ai.onnx", 0)), printable(producer, 40), source)


def _graph(data: memoryview, graph: Graph | None) -> Graph:
    graph = graph or Graph()
    for number, value in _fields(data):
        if number == 1:
            graph.nodes.append(_node(_part(value)))
            if len(graph.nodes) > NODES:
                raise _Damaged(f"more than {NODES:,} nodes")
        elif number == 5:
            tensor = _tensor(_part(value))
            graph.stored[tensor.name] = tensor
        elif number == 11:
            graph.inputs.append(_value(_part(value)))
        elif number == 12:
            graph.outputs.append(_value(_part(value)))
        elif number == 15:
            raise _Damaged("sparse tensors aren't read")
    return graph


def _node(data: memoryview) -> Node:
    inputs, outputs = [], []
    name = op = domain = ""
    attributes: dict[str, Any] = {}
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 3:
            name = _text(value)
        elif number == 4:
            op = _text(value)
        elif number == 5:
            key, content = _attribute(_part(value))
            attributes[key] = content
        elif number == 7:
            domain = _text(value)
    return Node(name, op, domain, tuple(inputs), tuple(outputs), attributes)


def _attribute(data: memoryview) -> tuple[str, Any]:
    name, kind = "", 0
    found: dict[int, Any] = {}
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 20:
            kind = _whole(value)
        elif number == 21:
            return name, Reference(_text(value))
        elif number == 2:
            found[2] = _floats(value)[0]
        elif number == 3:
            found[3] = _signed(_whole(value))
        elif number == 4:
            found[4] = bytes(_part(value)).decode("utf-8", "replace")
        elif number == 5:
            found[5] = _tensor(_part(value))
        elif number == 6:
            found[6] = "graph"
        elif number == 7:
            found.setdefault(7, []).extend(_floats(value))
        elif number == 8:
            found.setdefault(8, []).extend(_ints(value))
        elif number == 9:
            found.setdefault(9, []).append(bytes(_part(value)).decode("utf-8", "replace"))
    # AttributeProto.AttributeType -> the field that holds it; a list may be empty
    place = {1: 2, 2: 3, 3: 4, 4: 5, 5: 6, 6: 7, 7: 8, 8: 9}.get(kind)
    if place is None:
        return name, next(iter(found.values()), None)
    return name, found.get(place, {2: 0.0, 3: 0, 4: "", 7: [], 8: [], 9: []}.get(place))


def _tensor(data: memoryview) -> Stored:
    dims: list[int] = []
    numbers: list[Any] = []
    name, dtype, raw, elsewhere = "", "float32", None, 0
    external: dict[str, str] = {}
    for number, value in _fields(data):
        if number == 1:
            dims += _ints(value)
        elif number == 2:
            dtype = DTYPES.get(_whole(value), "?")
        elif number == 4:
            numbers += _floats(value)
        elif number in (5, 7, 11):
            numbers += _ints(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = _part(value)
        elif number == 10:
            numbers += _floats(value, "d")
        elif number == 13:
            key = content = ""
            for n, v in _fields(_part(value)):
                key, content = (_text(v), content) if n == 1 else (key, _text(v))
            external[key] = content
        elif number == 14:
            elsewhere = _whole(value)
    if len(dims) > 32 or any(n < 0 for n in dims) or math.prod(dims) > 1 << 40:
        raise _Damaged(f"tensor {printable(name, 40)} has the shape {dims[:8]}")
    place = external.get("location", "?") if elsewhere or external else ""
    if not place:
        held = len(raw) if raw is not None else SIZES.get(dtype, 1) * len(numbers)
        if dtype in _NUMPY and held != SIZES[dtype] * math.prod(dims):
            raise _Damaged(f"tensor {printable(name, 40)} has not the {math.prod(dims)} values")
    digits = {k: int(v) for k, v in external.items() if v.isdecimal() and len(v) < 16}
    return Stored(
        name, tuple(dims), dtype, raw, tuple(numbers), place,
        digits.get("offset", 0), digits.get("length", 0),
    )  # fmt: skip


def _value(data: memoryview) -> ValueInfo:
    name, dtype = "", "?"
    shape: tuple[int | str, ...] | None = None
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2:
            for n, v in _fields(_part(value)):
                if n == 1:  # tensor_type
                    for m, w in _fields(_part(v)):
                        if m == 1:
                            dtype = DTYPES.get(_whole(w), "?")
                        elif m == 2:
                            shape = tuple(_axis(_part(d)) for k, d in _fields(_part(w)) if k == 1)
    return ValueInfo(name, dtype, shape)


def _axis(data: memoryview) -> int | str:
    axis: int | str = "?"
    for number, value in _fields(data):
        if number == 1:
            axis = _signed(_whole(value))
        elif number == 2:
            axis = printable(_text(value), 40) or "?"
    return axis if isinstance(axis, str) or axis >= 0 else "?"


def _function(data: memoryview) -> Function:
    out = Function()
    for number, value in _fields(data):
        if number == 1:
            out.name = _text(value)
        elif number == 4:
            out.inputs.append(_text(value))
        elif number == 5:
            out.outputs.append(_text(value))
        elif number == 7:
            out.nodes.append(_node(_part(value)))
        elif number == 10:
            out.domain = _text(value)
        elif number == 11:
            key, content = _attribute(_part(value))
            out.defaults[key] = content
    return out


def _written_out(
    nodes: list[Node],
    functions: Mapping[tuple[str, str], Function],
    source: str,
    depth: int = 0,
    total: list[int] | None = None,
) -> list[Node]:
    """The nodes with every call of a model's function replaced by the function's nodes."""
    total = [0] if total is None else total
    if depth > DEPTH:
        raise _Damaged("functions nested too deeply")
    out: list[Node] = []
    for i, node in enumerate(nodes):
        function = functions.get((node.domain, node.op))
        if function is None:
            if node.domain not in STANDARD:
                where = f"{printable(node.domain, 40)}.{printable(node.op, 40)}"
                raise InputError(source, f"uses the custom operator {where}, which isn't ONNX")
            total[0] += 1
            if total[0] > NODES:
                raise _Damaged(f"more than {NODES:,} nodes")
            out.append(node)
            continue
        prefix = f"{node.name or node.op}#{depth}.{i}/"
        names = dict(zip(function.inputs, node.inputs, strict=False))
        names |= {name: "" for name in function.inputs[len(node.inputs) :]}
        names |= dict(zip(function.outputs, node.outputs, strict=False))
        given = {**function.defaults, **node.attributes}
        inner = [
            replace(
                part,
                name=f"{node.name}/{part.name}" if part.name else node.name,
                inputs=tuple(names.get(n, prefix + n) if n else "" for n in part.inputs),
                outputs=tuple(names.get(n, prefix + n) if n else "" for n in part.outputs),
                attributes=_bound(part.attributes, given),
            )
            for part in function.nodes
        ]
        out += _written_out(inner, functions, source, depth + 1, total)
    return out


def _bound(attributes: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    out = {}
    for name, value in attributes.items():
        if not isinstance(value, Reference):
            out[name] = value
        elif value.name in given:
            out[name] = given[value.name]
    return out


# ---------------------------------------------------------------------------------------- writing


def _length_delimited(number: int, content: bytes) -> bytes:
    size, head = len(content), bytearray([number << 3 | 2])
    while size > 127:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + content


def add_outputs(data: bytes, names: list[str]) -> bytes:
    """The model with further graph outputs. Protobuf merges messages that are written twice, so
    appending a second graph that holds nothing but the outputs is all there is to do."""
    values = b"".join(
        _length_delimited(12, _length_delimited(1, name.encode("utf-8"))) for name in names
    )
    return data + _length_delimited(7, values)
