"""What a net is named by: a net of core/nets, an ONNX file, or a weights folder."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cnnapps.apps.inspect.onnxfile import Model, read_onnx
from cnnapps.apps.inspect.trace import NetReport, Shape
from cnnapps.core.errors import CnnappsError, InputError, need, printable
from cnnapps.core.limits import DEFAULT, Limits
from cnnapps.core.weights import Weights, find, installed, open_weights

__all__ = ["Opened", "input_shapes", "inspect_net", "open_graph", "parse_shape"]

AXIS = 32
"""Length of a free axis that nobody gives (words of a text, say)."""
SIDE = 224
"""Side of a picture whose size is free."""


@dataclass(frozen=True, slots=True)
class Opened:
    """A parsed graph with the bytes of the file, and the weights folder it came from, if any."""

    name: str
    model: Model
    data: bytes
    weights: Weights | None = None


def parse_shape(text: str) -> Shape:
    """3x224x224 or 3,224,224. ValueError otherwise."""
    parts = text.lower().replace("×", "x").replace(",", "x").split("x")
    shape = tuple(int(p) for p in parts if p.strip())
    if not shape or len(shape) != len(parts) or not all(0 < n < 1 << 31 for n in shape):
        raise ValueError(text)
    return shape


def is_weights(name: str) -> bool:
    """Whether ``name`` is an installed app/tag or a folder with a card."""
    return os.path.isfile(os.path.join(name, "card.json")) or any(
        name == tag for tag, _ in installed()
    )


def open_graph(name: str, *, limits: Limits = DEFAULT, external: bool = False) -> Opened:
    """The graph of MODEL.onnx (or - for stdin) or of a weights folder, verified."""
    if is_weights(name):
        app = name.partition("/")[0] if not os.path.isdir(name) else ""
        weights = open_weights(find(name, app))
        data = weights["graph.onnx"]
        model = read_onnx(data, weights.folder, files=frozenset(weights.files))
        return Opened(weights.card.name, model, data, weights)
    from cnnapps.core.media import read_bytes

    data = read_bytes(name, limits=limits)
    files = frozenset("*") if external else None
    return Opened(name, read_onnx(data, name, files=files), data)


def inspect_net(
    name: str,
    *,
    shape: Shape | None = None,
    batch: int = 1,
    axes: Mapping[str, int] | None = None,
    arguments: Mapping[str, Any] | None = None,
    limits: Limits = DEFAULT,
    external: bool = False,
) -> tuple[NetReport, str]:
    """(the table, where the net comes from). ``name``: a net, MODEL.onnx, app/tag, or a folder.

    ``shape`` is the input without its batch axis; ``axes`` gives free axes of a graph by name;
    ``arguments`` go to the net's constructor (channels, classes, size).
    InputError and WeightsError as for any file; a shape error is in the report.
    """
    from cnnapps.core.nets import NETS

    if name in NETS:
        return _by_name(name, shape, batch, arguments or {}), "cnnapps.core.nets"
    if arguments:
        raise InputError(name, "--set is for nets by name; this one is built already")
    if not is_weights(name) and name != "-" and not os.path.lexists(name):
        raise InputError(name, _unknown(name))
    opened = open_graph(name, limits=limits, external=external)
    from cnnapps.apps.inspect.shapes import trace_onnx

    given = input_shapes(opened, shape, batch, axes or {})
    report = trace_onnx(opened.model, given, name=opened.name)
    return report, opened.weights.card.name if opened.weights else name


def _unknown(name: str) -> str:
    from cnnapps.core.nets import NETS

    names = [*NETS, *(tag for tag, _ in installed())]
    near = difflib.get_close_matches(name.lower(), names, n=3, cutoff=0.5)
    if near and not name.endswith(".onnx"):
        return f"no such net or file; did you mean {' or '.join(near)}?"
    return "no such file" if "." in name else "no such net or file (inspect nets lists them)"


def _by_name(name: str, shape: Shape | None, batch: int, arguments: Mapping[str, Any]) -> NetReport:
    torch = need("torch", f"the net {name} by name")
    from cnnapps.apps.inspect.torchtrace import skeleton, trace_torch
    from cnnapps.core.nets import spec

    entry = spec(name)
    channels, height, width = entry.input
    channels = int(arguments.get("channels", channels))
    size = int(arguments.get("size", height))
    default = (channels, size, size if "size" in arguments else width)
    try:
        net = skeleton(lambda: entry(**arguments))
    except CnnappsError:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise InputError(name, f"can't be built so ({printable(error, 120)})") from error
    inputs = {"input": ((batch, *(shape or default)), torch.float32)}
    return trace_torch(net, inputs, name=name)


def input_shapes(
    opened: Opened, shape: Shape | None, batch: int, axes: Mapping[str, int]
) -> dict[str, Shape]:
    """A number for every axis of the graph's inputs. InputError where ``shape`` can't be one."""
    source = opened.name
    values = [v for v in opened.model.graph.inputs if v.name not in opened.model.graph.stored]
    pictures = [v for v in values if v.shape is not None and len(v.shape) >= 3]
    main = (pictures or values)[0].name if values else ""
    free = {
        str(axis)
        for value in values
        for axis in value.shape or ()
        if not isinstance(axis, int) and axis != "?"
    }
    for axis in axes:
        if axis not in free:
            names = ", ".join(sorted(free)) or "none"
            raise InputError(source, f"has no free axis {axis!r} (free: {names})")
    out = {}
    for value in values:
        declared: Sequence[int | str] | None = value.shape
        if declared is None:
            if shape is None:
                raise InputError(source, f"says no shape of {value.name}: give --input")
            declared = ("?", *shape)
        numbers = [
            _axis(axis, i, len(declared), batch, axes, opened) for i, axis in enumerate(declared)
        ]
        if shape is not None and value.name == main:
            if len(shape) != len(declared) - 1:
                want = "x".join(map(str, declared[1:]))
                raise InputError(source, f"--input must have {len(declared) - 1} axes ({want})")
            numbers[1:] = shape
        out[value.name] = tuple(numbers)
    return out


def _axis(
    axis: int | str, place: int, rank: int, batch: int, axes: Mapping[str, int], opened: Opened
) -> int:
    if isinstance(axis, int):
        return batch if place == 0 and axis == 1 and rank > 1 else axis
    if axis in axes:
        return axes[axis]
    card = opened.weights.card if opened.weights else None
    sizes = card.preparation.get("sizes") if card else None
    if place == 0 and axis not in ("words",):
        return batch
    if isinstance(sizes, list) and sizes and all(isinstance(n, int) for n in sizes):
        return max(sizes)  # the largest that the card says the net takes
    return SIDE if rank == 4 and place >= 2 else 3 if rank == 4 else AXIS
