"""Results as plain values: to_dict and from_dict for every result class, and JSON lines.

A result is a frozen, slotted dataclass of numbers, strings, arrays and other results. What a
command prints with ``--json`` is ``to_dict`` of it inside one envelope per input.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import math
import re
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from cnnapps.core.errors import printable

__all__ = ["answer", "dumps", "from_dict", "refusal", "to_dict"]

T = TypeVar("T")


def to_dict(value: Any) -> Any:
    """Dataclasses, tuples and arrays as the dicts, lists and numbers that JSON knows.

    Numbers that JSON can't hold (nan, inf) become None. A field whose metadata says ``json=False``
    is left out, one that says ``json="name"`` is renamed.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        out = {}
        for field in dataclasses.fields(value):
            name = field.metadata.get("json", field.name)
            if name is not False:
                out[name] = to_dict(getattr(value, field.name))
        return out
    if isinstance(value, Mapping):
        return {str(k): to_dict(v) for k, v in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [to_dict(v) for v in value]
    if isinstance(value, np.ndarray):
        return to_dict(value.tolist())
    if isinstance(value, np.generic):
        return to_dict(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def from_dict(cls: type[T], data: Any) -> T:
    """The inverse of to_dict for dataclasses whose fields are annotated with plain types.

    Strict, since the data may be a stranger's file: TypeError or ValueError when a value is not of
    its field's type.
    """
    return typing.cast(T, _build(cls, data))


def _build(kind: Any, data: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return data
    if origin in (types.UnionType, typing.Union):
        return _build_union(args, data)
    if origin is typing.Literal:
        return data if data in args else _reject(data, f"one of {args}")
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = _hints(kind)
        values = {}
        for field in dataclasses.fields(kind):
            name = field.metadata.get("json", field.name)
            if name is not False and name in _a(dict, data, kind.__name__):
                values[field.name] = _build(hints[field.name], data[name])
        return kind(**values)
    if origin is tuple and not (len(args) == 2 and args[1] is Ellipsis):
        return tuple(_build(k, v) for k, v in zip(args, _a(list, data), strict=True))
    if origin in (tuple, list):
        return origin(_build(args[0], v) for v in _a(list, data))
    if origin in (dict, Mapping):
        return {k: _build(args[1], v) for k, v in _a(dict, data).items()}
    if kind is np.ndarray or origin is np.ndarray:
        array = np.asarray(_a(list, data))
        return array.astype(np.float64) if array.dtype == object else array  # None was nan
    return _build_plain(kind, data)


def _build_union(kinds: tuple[Any, ...], data: Any) -> Any:
    for kind in kinds:
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            return _build(kind, data)
    return _reject(data, " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds))


def _build_plain(kind: Any, data: Any) -> Any:
    if kind is float:
        if data is None:
            return math.nan
        good = isinstance(data, int | float) and not isinstance(data, bool)
        return float(data) if good else _reject(data, "a number")
    if kind is int:
        return data if type(data) is int else _reject(data, "a whole number")
    if kind in (str, bool, types.NoneType):
        return _a(kind, data)
    return data


def _a(kind: type, data: Any, name: str = "") -> Any:
    return data if isinstance(data, kind) else _reject(data, name or kind.__name__)


def _reject(data: Any, expected: str) -> typing.NoReturn:
    raise TypeError(f"{printable(repr(data), 60)} is not {expected}")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def answer(source: str, weights: str, result: Any, **more: Any) -> dict[str, Any]:
    """The envelope of one answered input."""
    return {"input": source, **more, "weights": weights, "result": to_dict(result)}


def refusal(source: str, reason: str, **more: Any) -> dict[str, Any]:
    """The envelope of one input that was refused or failed."""
    return {"input": source, **more, "error": reason}


# What a terminal or a line reader may act on, though JSON allows it: C1 controls and DEL, marks
# that reorder text, U+2028 and U+2029 (str.splitlines ends a line there), lone surrogates.
_UNSAFE = re.compile("[\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]")


def dumps(value: Any) -> str:
    """One line of JSON in readable Unicode; what could act on a terminal is escaped."""
    text = json.dumps(to_dict(value), ensure_ascii=False, allow_nan=False)
    return _UNSAFE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
