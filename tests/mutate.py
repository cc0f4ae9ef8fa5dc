"""Broken files from good ones, the same every time: for tests of everything that reads files.

Each mutant is one good file after 1 to 16 accidents: flipped bits, random bytes, pieces lost,
doubled, blanked or taken from another file, the end cut off, a number replaced by a monstrous one,
the order of bytes swapped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["field_mutants", "mutants"]

_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
_MONSTERS = (b"0", b"-1", b"4294967296", b"1" + b"0" * 20, b"1e309", b"nan")
_FILLINGS = (b"\x00", b"\xff", b"\x7f", b"\x80")

Accident = Callable[[bytes, bytes, random.Random], bytes]


def mutants(data: bytes, other: bytes, n: int, seed: int) -> Iterator[bytes]:
    """``n`` mutants of ``data``, with pieces of ``other``; a function of its arguments alone."""
    for number in range(n):
        rng = random.Random(f"{seed}/{number}")
        mutant = data
        for _ in range(rng.randint(1, 16)):
            mutant = rng.choice(_ACCIDENTS)(mutant, other, rng)
        yield mutant


def field_mutants(model: bytes, n: int, seed: int) -> Iterator[bytes]:
    """``n`` well-formed ONNX files that say something else than ``model``. Needs onnx.

    1 to 3 accidents each: a number, a name, a shape, a type or an operator is changed, a node is
    lost, doubled or moved, a tensor loses bytes, an attribute is lost.
    """
    import onnx

    for number in range(n):
        rng = random.Random(f"{seed}/{number}")
        mutant = onnx.ModelProto()
        mutant.ParseFromString(model)
        for _ in range(rng.randint(1, 3)):
            rng.choice(_FIELDS)(mutant.graph, rng)
        yield mutant.SerializeToString()


_NUMBERS = (-1, 0, 1, 2, 3, 7, 28, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 63) - 1, -(1 << 63))
_OPERATORS = ("Conv", "Relu", "Gemm", "MatMul", "Add", "Concat", "Reshape", "Slice", "Split", "Pad",
              "MaxPool", "ConvTranspose", "Resize", "Gather", "Loop", "If", "Einsum", "", "Other",
              "Cast", "Shape", "Flatten", "Transpose", "Expand", "Tile", "ReduceMean")  # fmt: skip


def _node(graph: Any, rng: random.Random) -> Any:
    return rng.choice(graph.node) if graph.node else graph.node.add()


def _change_number(graph: Any, rng: random.Random) -> None:
    attributes = [a for node in graph.node for a in node.attribute]
    if attributes:
        a = rng.choice(attributes)
        if a.ints and rng.random() < 0.8:
            a.ints[rng.randrange(len(a.ints))] = rng.choice(_NUMBERS)
        elif rng.random() < 0.5:
            a.ints.append(rng.choice(_NUMBERS))
        else:
            a.i = rng.choice(_NUMBERS)


def _change_name(graph: Any, rng: random.Random) -> None:
    node = _node(graph, rng)
    names = [*(x for n in graph.node for x in (*n.input, *n.output)), "", "nothing"]
    side = node.input if rng.random() < 0.7 else node.output
    if side:
        side[rng.randrange(len(side))] = rng.choice(names)


def _change_shape(graph: Any, rng: random.Random) -> None:
    if graph.initializer and rng.random() < 0.6:
        tensor = rng.choice(graph.initializer)
        if tensor.dims and rng.random() < 0.8:
            tensor.dims[rng.randrange(len(tensor.dims))] = rng.choice(_NUMBERS)
        else:
            tensor.dims.append(rng.choice(_NUMBERS))
        return
    for value in graph.input:
        shape = value.type.tensor_type.shape
        if shape.dim:
            shape.dim[rng.randrange(len(shape.dim))].dim_value = rng.choice(_NUMBERS)


def _change_type(graph: Any, rng: random.Random) -> None:
    if graph.initializer:
        rng.choice(graph.initializer).data_type = rng.randrange(0, 30)
    for value in graph.input:
        if rng.random() < 0.3:
            value.type.tensor_type.elem_type = rng.randrange(0, 30)


def _change_operator(graph: Any, rng: random.Random) -> None:
    node = _node(graph, rng)
    node.op_type = rng.choice(_OPERATORS)
    if rng.random() < 0.1:
        node.domain = "com.example"


def _move_node(graph: Any, rng: random.Random) -> None:
    nodes = list(graph.node)
    if nodes:
        node = nodes.pop(rng.randrange(len(nodes)))
        kept = rng.randrange(3)  # lost, moved, doubled
        for _ in range(kept):
            nodes.insert(rng.randrange(len(nodes) + 1), node)
        copies = [type(n).FromString(n.SerializeToString()) for n in nodes]
        del graph.node[:]
        graph.node.extend(copies)


def _cut_tensor(graph: Any, rng: random.Random) -> None:
    if graph.initializer:
        tensor = rng.choice(graph.initializer)
        tensor.raw_data = tensor.raw_data[: rng.randrange(len(tensor.raw_data) + 1)]


def _lose_attribute(graph: Any, rng: random.Random) -> None:
    node = _node(graph, rng)
    if node.attribute:
        del node.attribute[rng.randrange(len(node.attribute))]


_FIELDS = (_change_number, _change_name, _change_shape, _change_type, _change_operator, _move_node,
           _cut_tensor, _lose_attribute)  # fmt: skip


def _piece(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Start and end of a piece; short ones are as likely as long ones."""
    start = rng.randrange(len(data) + 1)
    length = int(2 ** rng.uniform(0, max(len(data), 2).bit_length()))
    return start, min(start + length, len(data))


def _flip_bit(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _random_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, _ = _piece(data, rng)
    noise = rng.randbytes(rng.randint(1, 16))
    overwrite = rng.random() < 0.5
    return data[:start] + noise + data[start + len(noise) * overwrite :]


def _delete(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    return data[:start] + data[end:]


def _double(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    return data[:end] + data[start:end] + data[end:]


def _fill(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    return data[:start] + rng.choice(_FILLINGS) * (end - start) + data[end:]


def _truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    first, last = _piece(other, rng)
    return data[:start] + other[first:last] + data[end:]


def _replace_number(data: bytes, other: bytes, rng: random.Random) -> bytes:
    numbers = list(_NUMBER.finditer(data))
    if not numbers:
        return data
    chosen = rng.choice(numbers)
    return data[: chosen.start()] + rng.choice(_MONSTERS) + data[chosen.end() :]


def _swap_endianness(data: bytes, other: bytes, rng: random.Random) -> bytes:
    size = rng.choice((2, 4, 8))
    start, end = _piece(data, rng)
    end = start + (end - start) // size * size
    swapped = b"".join(data[at : at + size][::-1] for at in range(start, end, size))
    return data[:start] + swapped + data[end:]


_ACCIDENTS: tuple[Accident, ...] = (
    _flip_bit,
    _random_bytes,
    _delete,
    _double,
    _fill,
    _truncate,
    _splice,
    _replace_number,
    _swap_endianness,
)
