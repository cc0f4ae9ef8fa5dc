"""What a net's filters look like: kernels, n-grams, activations for a photo. Numpy; no torch.

A graph is read whichever app made it: the first convolution that meets the input is found in the
graph, its weights in the safetensors (or in the ONNX file), and what the channels mean (colours,
planes, units of a text) in shapes and file names alone.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.inspect.onnxfile import Node, add_outputs
from cnnapps.apps.inspect.source import Opened
from cnnapps.core.errors import InputError, printable
from cnnapps.core.runtime import onnxruntime

__all__ = [
    "Ngram",
    "activations",
    "chosen_filters",
    "convolutions",
    "kernel_picture",
    "map_picture",
    "ngrams",
    "stored",
    "unit_table",
]

Pixels = NDArray[np.uint8]
LARGEST = 8192
"""Side in pixels of the largest picture that is made for a net."""


@dataclass(frozen=True, slots=True)
class Conv:
    """A convolution of a graph: its name, weight (O, I / groups, *kernel), and output value."""

    name: str
    weight: np.ndarray
    output: str


def stored(opened: Opened) -> dict[str, np.ndarray]:
    """Every tensor that the graph has, by the name it has there."""
    out: dict[str, np.ndarray] = {}
    graph = opened.model.graph
    for name, tensor in graph.stored.items():
        array = tensor.array()
        if array is not None:
            out[name] = array
        elif opened.weights is not None and tensor.location in opened.weights.files:
            data = opened.weights.files[tensor.location]
            dtype = np.dtype(tensor.dtype)
            count = math.prod(tensor.dims)
            if tensor.offset + count * dtype.itemsize <= len(data):
                flat = np.frombuffer(data, dtype, count, tensor.offset)
                out[name] = flat.reshape(tensor.dims)
    for node in graph.nodes:  # casts of weights
        if node.op in ("Cast", "Identity") and node.inputs and node.inputs[0] in out:
            out[node.outputs[0]] = out[node.inputs[0]].astype(np.float32)
    return out


def convolutions(opened: Opened) -> list[Conv]:
    """All convolutions whose weights are stored, in order."""
    from cnnapps.apps.inspect.shapes import labels

    tensors = stored(opened)
    graph = opened.model.graph
    out = []
    for node, name in zip(graph.nodes, labels(graph), strict=True):
        if node.op == "Conv" and len(node.inputs) > 1 and node.inputs[1] in tensors:
            weight = tensors[node.inputs[1]].astype(np.float64)
            out.append(Conv(name, weight, node.outputs[0]))
    return out


# ----------------------------------------------------------------------------------- pictures


def kernel_picture(weight: np.ndarray, *, cell: int = 0) -> Pixels:
    """Kernels (O, I, kh, kw) as tiles, (H, W, 3) uint8.

    Three input channels are colours, one is grey: a tile a filter, in rows. Any other number: a
    row of tiles a filter, a tile an input channel, orange for positive and blue for negative.
    Each filter is scaled by its own largest weight; grey or white is 0.
    """
    filters, inputs, high, wide = weight.shape
    top = np.abs(weight).max((1, 2, 3), keepdims=True)
    scaled = weight / np.where(top > 0, top, 1.0)  # -1 ... 1
    scale = cell or max(1, round((40 if inputs in (1, 3) else 24) / max(high, wide)))
    if inputs in (1, 3):
        grey = np.round(127.5 + 127.5 * scaled).astype(np.uint8).transpose(0, 2, 3, 1)
        coloured = np.repeat(grey, 3, 3) if inputs == 1 else grey  # (O, h, w, 3)
        columns = math.ceil(math.sqrt(filters * 1.6))
        return _tiles(coloured, columns, scale)
    tiles = diverging(scaled).reshape(filters * inputs, high, wide, 3)
    return _numbered(_tiles(tiles, inputs, scale), inputs, filters)


def _numbered(picture: Pixels, columns: int, rows: int) -> Pixels:
    """The picture with the numbers of its columns above and of its rows on the left."""
    from cnnapps.apps.inspect.canvas import Canvas

    left, top = 34, 20
    high, wide = picture.shape[:2]
    canvas = Canvas((wide + left + 1) // 2, (high + top + 1) // 2, "kernels")
    size = min(7.0, 0.36 * wide / columns)
    for x in range(columns):
        at = (left + (x + 0.5) * wide / columns) / 2
        canvas.text(at, 7.5, str(x), size=size, anchor="middle")
    for y in range(rows):
        at = (top + (y + 0.5) * high / rows) / 2
        canvas.text(left / 2 - 2, at + size / 3, str(y), size=size, anchor="end")
    out = canvas.pixels()
    out[top : top + high, left : left + wide] = picture
    return out


def diverging(values: np.ndarray) -> Pixels:
    """-1 blue, 0 white, 1 orange: (...) -> (..., 3) uint8."""
    v = np.clip(values, -1, 1)[..., None]
    orange, blue = np.array([213.0, 94, 0]), np.array([0.0, 114, 178])
    colour = np.where(v >= 0, orange, blue)
    return np.asarray(np.round(255 + np.abs(v) * (colour - 255)), np.uint8)


def _tiles(tiles: Pixels, columns: int, scale: int, gap: int = 2) -> Pixels:
    """(n, h, w, 3) in rows of ``columns``, each pixel ``scale`` wide."""
    tiles = tiles.repeat(scale, 1).repeat(scale, 2)
    n, high, wide, _ = tiles.shape
    rows = -(-n // columns)
    out = np.full((rows * (high + gap) + gap, columns * (wide + gap) + gap, 3), 255, np.uint8)
    out[:] = (225, 225, 225)
    for i, tile in enumerate(tiles):
        y, x = divmod(i, columns)
        top, left = gap + y * (high + gap), gap + x * (wide + gap)
        out[top : top + high, left : left + wide] = tile
    return out


def map_picture(maps: np.ndarray, *, most: int = 64, side: int = 96) -> Pixels:
    """Activations (C, h, w) as grey tiles, the strongest ``most`` channels in their order.

    One scale for all: white is the largest value of the layer, black the smallest.
    """
    channels = len(maps)
    strength = np.abs(maps).mean((1, 2))
    chosen = np.sort(np.argsort(-strength, kind="stable")[:most])
    picked = maps[chosen]
    low, high = float(picked.min()), float(np.quantile(picked, 0.999))
    grey = np.clip((picked - low) / (high - low if high > low else 1.0), 0, 1)
    tiles = np.repeat(np.round(grey * 255).astype(np.uint8)[..., None], 3, 3)
    scale = max(1, round(side / max(maps.shape[1:])))
    return _tiles(tiles, math.ceil(math.sqrt(min(channels, most))), scale)


# --------------------------------------------------------------------------------- activations


def layer_output(opened: Opened, layer: str) -> str:
    """The value that a layer makes, by its name in `inspect net`; InputError lists close ones."""
    from cnnapps.apps.inspect.shapes import labels

    graph = opened.model.graph
    names = labels(graph)
    table = {name: node.outputs[0] for node, name in zip(graph.nodes, names, strict=True)}
    if layer in table:
        return table[layer]
    import difflib

    near = difflib.get_close_matches(layer, table, n=3, cutoff=0.4)
    hint = f"; did you mean {' or '.join(near)}?" if near else " (inspect net lists them)"
    raise InputError(opened.name, f"has no layer {printable(layer, 60)!r}{hint}")


def prepared(opened: Opened, rgb: Pixels, *, mean: float | None, scale: float | None) -> Any:
    """(name of the input, (1, C, H, W) float32) of a photo, as the card says where it does."""
    from cnnapps.core.limits import DEFAULT
    from cnnapps.core.media._source import load_cv2

    graph = opened.model.graph
    pictures = [v for v in graph.inputs if v.name not in graph.stored
                and v.shape is not None and len(v.shape) == 4]  # fmt: skip
    if not pictures or pictures[0].dtype not in ("float32", "float16"):
        raise InputError(opened.name, "takes no pictures")
    info = pictures[0]
    assert info.shape is not None
    card: dict[str, Any] = dict(opened.weights.card.preparation) if opened.weights else {}
    channels = info.shape[1] if isinstance(info.shape[1], int) else int(card.get("channels", 3))
    if channels not in (1, 3):
        raise InputError(opened.name, f"takes {channels} channels, not a picture")
    size = card.get("size", 224)
    high, wide = (n if isinstance(n, int) else int(size) for n in info.shape[2:])
    if not (0 < high <= LARGEST and 0 < wide <= LARGEST):
        raise InputError(opened.name, f"takes pictures of {wide}x{high} pixels: too odd to make")
    cv2 = load_cv2("reading pictures", DEFAULT)
    ratio = wide / high
    h, w = rgb.shape[:2]
    crop_w, crop_h = (w, round(w / ratio)) if w / h < ratio else (round(h * ratio), h)
    crop_w, crop_h = max(1, crop_w), max(1, crop_h)
    y, x = (h - crop_h) // 2, (w - crop_w) // 2
    part = rgb[y : y + crop_h, x : x + crop_w]
    if channels == 1:
        part = cv2.cvtColor(part, cv2.COLOR_RGB2GRAY)[..., None]
    how = cv2.INTER_AREA if crop_h > high else cv2.INTER_CUBIC
    part = cv2.resize(part, (wide, high), interpolation=how).reshape(high, wide, channels)
    m = mean if mean is not None else float(card.get("mean", 127.5))
    s = scale if scale is not None else float(card.get("scale", 127.5))
    values = (part.astype(np.float32) - np.float32(m)) / np.float32(s)
    return info.name, np.ascontiguousarray(values.transpose(2, 0, 1)[None])


def activations(opened: Opened, inputs: dict[str, np.ndarray], value: str) -> np.ndarray:
    """What the graph computes for ``value``, by ONNX Runtime, with a further output appended."""
    ort = onnxruntime("activations")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    options.add_session_config_entry(
        "session.model_external_initializers_file_folder_path", "/dev/null/none"
    )
    data = opened.data
    if value not in {v.name for v in opened.model.graph.outputs}:
        data = add_outputs(data, [value])
    if opened.weights is not None:
        files = [(n, d) for n, d in opened.weights.files.items() if n.endswith(".safetensors")]
        options.add_external_initializers_from_files_in_memory(
            [n for n, _ in files], [d for _, d in files], [len(d) for _, d in files]
        )
    try:
        session = ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        return np.asarray(session.run([value], inputs)[0])
    except Exception as error:
        first = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(opened.name, f"can't be run ({printable(first, 120)})") from error


# ------------------------------------------------------------------------------------- n-grams


@dataclass(frozen=True, slots=True)
class Ngram:
    """The units that excite a filter most, and how much: its response without the bias."""

    filter: int
    units: tuple[str, ...]
    response: float


def unit_table(opened: Opened) -> tuple[np.ndarray, list[str]] | None:
    """The vectors (units, dimensions) of a text net, and the units' names; None if it has none."""
    if opened.weights is None or "units.txt" not in opened.weights.files:
        return None
    units = opened.weights["units.txt"].decode("utf-8", "replace").split("\n")
    if units and units[0].startswith("{"):  # a line of JSON says what the units are
        units = units[1:]
    while units and not units[-1]:
        units.pop()
    for name, codes in opened.weights.tensors().items():
        if codes.ndim != 2 or abs(len(codes) - len(units)) > 2:
            continue
        if name.endswith("codes"):
            scale = opened.weights.tensors()[name.removesuffix("codes") + "scale"]
            return codes.astype(np.float32) * scale.astype(np.float32), units
        if name.endswith("weight"):
            return codes.astype(np.float32), units
    return None


def ngrams(
    weight: np.ndarray, table: np.ndarray, units: Sequence[str], *, filters: Sequence[int], top: int
) -> list[Ngram]:
    """The ``top`` strongest n-grams of each filter, of all |units|^n there are, exactly.

    weight (maps, dimensions, n), table (units, dimensions). A response is a sum over the places in
    the window, so the best n-grams are sums of the best units of each place: a best-first search
    over the places' rankings.
    """
    _, dimensions, width = weight.shape
    if table.shape[1] != dimensions:
        raise ValueError(f"vectors of {table.shape[1]}, filters of {dimensions}")
    count = min(top + 1, len(table))
    out = []
    for f in filters:
        scores = table @ weight[f].astype(np.float32)  # (units, n)
        best = np.argsort(-scores, axis=0, kind="stable")[:count]  # (count, n)
        ranked = np.take_along_axis(scores, best, 0)
        heap = [(-float(ranked[0].sum()), (0,) * width)]
        seen = {heap[0][1]}
        for _ in range(top):
            if not heap:
                break
            value, places = heapq.heappop(heap)
            words = tuple(
                printable(units[best[p, k]], 24) if best[p, k] < len(units) else "?"
                for k, p in enumerate(places)
            )
            out.append(Ngram(f, words, -value))
            for k in range(width):
                if places[k] + 1 < count:
                    step = (*places[:k], places[k] + 1, *places[k + 1 :])
                    if step not in seen:
                        seen.add(step)
                        change = float(ranked[places[k], k] - ranked[places[k] + 1, k])
                        heapq.heappush(heap, (value + change, step))
    return out


def text_filters(opened: Opened) -> list[tuple[str, np.ndarray]]:
    """(name, weight (maps, dimensions, n)) of the 1-D convolutions over the unit vectors."""
    if opened.weights is None:
        return []
    return [
        (name.removesuffix(".weight"), weight.astype(np.float64))
        for name, weight in opened.weights.tensors().items()
        if weight.ndim == 3 and name.endswith("weight")
    ]


def ngram_lines(
    opened: Opened, *, per_width: int, top: int, chosen: Sequence[int] | None = None
) -> list[str]:
    """For each width the filters that matter most to the output, with their n-grams.

    InputError for a net whose filters don't read the unit vectors themselves (an encoder between).
    """
    found = unit_table(opened)
    filters = text_filters(opened)
    if found is None or not filters:
        raise InputError(opened.name, "has no filters over a table of units")
    table, units = found
    assert opened.weights is not None
    if any("encoder" in n for n in opened.weights.tensors()):
        raise InputError(
            opened.name,
            "its filters read what an encoder made of the units, and its graph doesn't give that "
            "as an output named context",
        )
    lines = []
    weights = dict(filters)
    for name, picked in chosen_filters(opened, per_width=per_width, chosen=chosen):
        weight, label_of = weights[name], dict(picked)
        maps, _, width = weight.shape
        lines.append(f"{name}: {maps} filters of width {width}")
        for f, group in itertools.groupby(
            ngrams(weight, table, units, filters=list(label_of), top=top), lambda n: n.filter
        ):
            lines.append(f"  filter {f}{f'  for {label_of[f]}' if label_of[f] else ''}")
            lines += [f"    {n.response:8.2f}  {' '.join(n.units)}" for n in group]
    return lines


def chosen_filters(
    opened: Opened, *, per_width: int, chosen: Sequence[int] | None = None
) -> list[tuple[str, list[tuple[int, str]]]]:
    """For each 1-D convolution: its name, and (filter, label that it speaks for most or "").

    Which: ``chosen``, else the ``per_width`` whose weights in the output differ most between the
    classes.
    """
    assert opened.weights is not None
    filters = text_filters(opened)
    output = _output_weight(opened, sum(len(w) for _, w in filters))
    labels = opened.weights.card.labels
    out = []
    before = 0
    for name, weight in filters:
        maps = len(weight)
        part = output[:, before : before + maps] if output is not None else None
        before += maps
        if chosen is not None:
            picked = [f for f in dict.fromkeys(chosen) if f < maps]
        elif part is not None:
            effect = np.abs(part - part.mean(0)).max(0)
            picked = [int(i) for i in np.argsort(-effect, kind="stable")[:per_width]]
        else:
            picked = list(range(min(per_width, maps)))
        speaks = {f: "" for f in picked}
        if part is not None and len(labels) == len(part):
            speaks = {f: printable(labels[int(part[:, f].argmax())], 20) for f in picked}
        out.append((name, list(speaks.items())))
    return out


def _output_weight(opened: Opened, features: int) -> np.ndarray | None:
    assert opened.weights is not None
    for name, tensor in opened.weights.tensors().items():
        if tensor.ndim == 2 and tensor.shape[1] == features and name.endswith("weight"):
            return tensor.astype(np.float64)
    return None


def producer(opened: Opened, value: str) -> Node | None:
    """The node that makes a value."""
    return next((n for n in opened.model.graph.nodes if value in n.outputs), None)
