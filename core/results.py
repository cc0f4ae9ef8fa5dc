"""Results as plain values: to_dict and from_dict for every result class, and JSON lines.

A result is a frozen, slotted dataclass of numbers, strings, arrays and other results. What a
command prints with ``--json`` is ``to_dict`` of it inside one envelope per input.
"""

from __future__ import annotations

import dataclasses
import json
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

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
    """The inverse of to_dict for dataclasses whose fields are annotated with plain types."""
    return typing.cast(T, _build(cls, data))


def _build(kind: Any, data: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        kinds = [k for k in args if k is not type(None)]
        return _build(kinds[0], data)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        values = {}
        for field in dataclasses.fields(kind):
            name = field.metadata.get("json", field.name)
            if name is not False and name in data:
                values[field.name] = _build(hints[field.name], data[name])
        return kind(**values)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_build(args[0], v) for v in data)
        return tuple(_build(k, v) for k, v in zip(args, data, strict=True))
    if origin is list:
        return [_build(args[0], v) for v in data]
    if origin in (dict, Mapping):
        return {k: _build(args[1], v) for k, v in data.items()}
    if kind is np.ndarray or origin is np.ndarray:
        return np.asarray(data)
    if kind is float:
        return math.nan if data is None else float(data)
    return data


def answer(source: str, weights: str, result: Any, **more: Any) -> dict[str, Any]:
    """The envelope of one answered input."""
    return {"input": source, **more, "weights": weights, "result": to_dict(result)}


def refusal(source: str, reason: str, **more: Any) -> dict[str, Any]:
    """The envelope of one input that was refused or failed."""
    return {"input": source, **more, "error": reason}


def dumps(value: Any) -> str:
    """One line of JSON. Lone surrogates (undecodable file names) are escaped, not an error."""
    text = json.dumps(to_dict(value), ensure_ascii=False, allow_nan=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = json.dumps(to_dict(value), ensure_ascii=True, allow_nan=False)
    return text
