"""A trained net -> a weights folder: model.safetensors, graph.onnx that points into it, card.json.

The weights are stored once, as float16 (whole numbers as they are). The graph has a Cast to float32
behind each of them, which ONNX Runtime folds when it loads: torch and ONNX Runtime compute in
float32 from the same bytes. What is exported is rounded first, so parity is checked on what ships.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import logging
import os
import platform
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cnnapps.core.card import Card, FileEntry
from cnnapps.core.card import Tensor as TensorCard
from cnnapps.core.errors import DependencyError, TrainingError, WeightsError, need
from cnnapps.core.files import check_replaceable, replace_folder, write_bytes
from cnnapps.core.progress import warn
from cnnapps.core.version import __version__
from cnnapps.core.weights import open_weights, tensor_spans

__all__ = ["check_export", "export", "graph_of", "parity", "round_to_half", "write_tensors"]

OPSET = 20
TOLERANCE = 1e-4
"""Largest difference between torch and ONNX Runtime that we ship, relative to max(1, |output|)."""

Arrays = Mapping[str, np.ndarray]


def export(
    net: nn.Module,
    folder: str | os.PathLike[str],
    card: Card,
    *,
    examples: Sequence[Arrays],
    axes: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
    files: Mapping[str, bytes] | None = None,
    shared: str | os.PathLike[str] | None = None,
    shared_tensors: Collection[str] = (),
    ranges: Mapping[str, tuple[int, int]] | None = None,
) -> Card:
    """Write ``folder`` whole or not at all; returns the card with files, shapes and versions.

    ``examples`` are named inputs of at least two shapes: the first is traced, all are compared
    between torch and ONNX Runtime (TrainingError above TOLERANCE). ``axes`` names the free axes of
    each input, ``{"words": {0: "n"}}``; ``ranges`` bounds them. ``files`` are further files of the
    folder. ``shared_tensors`` are not stored here but in ``shared``, a safetensors file in the
    app's shared folder; they must be in it already, equal after rounding.
    The net's ``predict`` method is exported if it has one, else its ``forward``.
    """
    if any(axes.values()) and len(examples) < 2:
        raise ValueError("free axes are only proved by examples of at least two shapes")
    target = Path(folder)
    check_replaceable(target)
    net = net.cpu().eval()
    round_to_half(net)
    state = {n: t.detach().numpy() for n, t in net.state_dict().items()}
    model = write_tensors({n: t for n, t in state.items() if n not in set(shared_tensors)})
    stores = {"model.safetensors": model}
    entries = {}
    if shared is not None:
        data = Path(shared).read_bytes()
        _check_shared(data, state, shared_tensors, shared)
        stores[Path(shared).name] = data
        entries[f"../shared/{Path(shared).name}"] = data
    graph = _graph(net, examples[0], axes, outputs, stores, ranges or {})
    written = {"model.safetensors": model, "graph.onnx": graph, **(files or {})}
    entries.update(written)
    card = dataclasses.replace(
        card,
        files={n: FileEntry(hashlib.sha256(d).hexdigest(), len(d)) for n, d in entries.items()},
        inputs={n: _describe(a, axes.get(n, {})) for n, a in examples[0].items()},
        outputs={n: TensorCard("float32", ()) for n in outputs},
        parameters=sum(p.numel() for p in net.parameters()),
        versions=_versions(),
    )
    # The folder stands beside the final one while it is checked: "../shared/x" must resolve.
    if (target / "card.json").exists():
        warn(f"{target}: replaces the weights that are there")
    with replace_folder(target) as draft:
        for name, data in written.items():
            write_bytes(draft / name, data)
        write_bytes(draft / "card.json", card.to_json().encode())
        worst, got = _compare(net, draft, examples)
        if not worst <= TOLERANCE:
            raise TrainingError(
                f"exported graph differs from the net by {worst:.2g} (at most {TOLERANCE:g})"
            )
        card = dataclasses.replace(
            card,
            outputs={
                n: TensorCard(str(got[0][n].dtype), _name_axes(n, got, examples, axes))
                for n in outputs
            },
        )
        write_bytes(draft / "card.json", card.to_json().encode())
        Card.from_json(card.to_json().encode(), draft)
    return card


def graph_of(
    net: nn.Module,
    example: Arrays,
    *,
    axes: Mapping[str, Mapping[int, str]] | None = None,
    outputs: Sequence[str],
) -> bytes:
    """ONNX bytes of the net as it is, its weights inside (at most 2 GB), in its own precision.

    Nothing is compared: this is for looking at a net, not for shipping one.
    """
    return _graph(net.cpu().eval(), example, axes or {}, outputs, {}, {})


def round_to_half(net: nn.Module) -> None:
    """Round every floating tensor of the net's state to float16, in place."""
    with torch.no_grad():
        for name, tensor in net.state_dict().items():
            if tensor.is_floating_point():
                half = tensor.half()
                if not bool(torch.isfinite(half).all()):
                    raise TrainingError(
                        f"{name} has values that float16 can't hold: the training diverged "
                        "(a smaller --set lr)"
                    )
                tensor.copy_(half)


def write_tensors(tensors: Mapping[str, np.ndarray]) -> bytes:
    """safetensors bytes; floating tensors become float16."""
    save = need("safetensors.numpy", "export").save
    out = {}
    for name, value in tensors.items():
        half = value.astype(np.float16) if np.issubdtype(value.dtype, np.floating) else value
        out[name] = np.require(half, requirements="C")  # ascontiguousarray makes () to (1,)
    return bytes(save(out))


def check_export() -> None:
    """DependencyError when a package that an export needs is missing: ask before a long run."""
    missing = [p for p in ("onnx", "onnxscript", "onnxruntime") if find_spec(p) is None]
    if missing:
        names = " ".join(missing)
        raise DependencyError(f"training needs {' and '.join(missing)}", f"pip install {names}")


def parity(
    net: nn.Module, folder: Path, examples: Sequence[Arrays]
) -> tuple[float, dict[str, np.ndarray]]:
    """Largest difference torch - ONNX Runtime over ``examples``, relative to max(1, |output|).

    Returns it with the outputs of the first example.
    """
    worst, got = _compare(net, folder, examples)
    return worst, got[0]


def _compare(
    net: nn.Module, folder: Path, examples: Sequence[Arrays]
) -> tuple[float, list[dict[str, np.ndarray]]]:
    """The largest difference, and what ONNX Runtime gives for each example."""
    from cnnapps.core.runtime import open_runtime

    runtime = open_runtime(open_weights(folder))
    call = getattr(net, "predict", net)
    worst = 0.0
    outputs = []
    for example in examples:
        try:
            got = runtime.run(**example)
        except WeightsError as error:
            shapes = ", ".join(f"{name} {array.shape}" for name, array in example.items())
            raise TrainingError(f"the graph doesn't run on {shapes} ({error.reason})") from error
        outputs.append(got)
        with torch.inference_mode():
            want = call(*map(_tensor, example.values()))
        want = want if isinstance(want, tuple) else (want,)
        for (name, value), reference in zip(got.items(), want, strict=True):
            expected = reference.numpy()
            if value.shape != expected.shape:
                raise TrainingError(f"{name}: graph gives {value.shape}, net {expected.shape}")
            scale = np.maximum(1.0, np.abs(expected))
            difference = np.abs(value.astype(np.float64) - expected) / scale
            worst = max(worst, float(difference.max(initial=0.0)))
            if np.isnan(difference).any():
                worst = float("inf")
    return worst, outputs


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


class _Exported(nn.Module):
    """The net's ``predict`` as a forward, because the exporter traces forwards."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.call: Callable[..., Any] = getattr(net, "predict", net.forward)

    def forward(self, *inputs: torch.Tensor) -> Any:
        return self.call(*inputs)


def _graph(
    net: nn.Module,
    example: Arrays,
    axes: Mapping[str, Mapping[int, str]],
    outputs: Sequence[str],
    stores: Mapping[str, bytes],
    ranges: Mapping[str, tuple[int, int]],
) -> bytes:
    """ONNX bytes whose weights are references into ``stores`` (file name -> safetensors bytes)."""
    onnx = need("onnx", "export")
    need("onnxscript", "export")
    dims: dict[str, Any] = {}
    for named in axes.values():
        for axis in named.values():
            low, high = ranges.get(axis, (1, 1 << 24))
            dims.setdefault(axis, torch.export.Dim(axis, min=low, max=high))
    shapes = [{i: dims[a] for i, a in axes.get(n, {}).items()} or None for n in example]
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            _Exported(net),
            tuple(map(_tensor, example.values())),
            dynamo=True,
            optimize=False,
            opset_version=OPSET,
            input_names=list(example),
            output_names=list(outputs),
            dynamic_shapes=(tuple(shapes),),
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    # The checker looks for external files on disk, so it sees the graph before it points anywhere;
    # the pointers are proved by loading and running what was written.
    onnx.checker.check_model(model.SerializeToString())
    _point_into(model, stores, onnx)
    _drop_zero_biases(model, onnx)
    _drop_dead_nodes(model)
    for node in model.graph.node:
        node.doc_string = ""
        del node.metadata_props[:]
    for function in model.functions:
        del function.metadata_props[:]
    del model.graph.value_info[:]
    return bytes(model.SerializeToString())


def _point_into(model: Any, stores: Mapping[str, bytes], onnx: Any) -> None:
    """Replace stored initialisers by references plus a Cast; small constants stay in the graph."""
    spans = {
        name: (store, *span)
        for store, data in stores.items()
        for name, span in tensor_spans(data, store).items()
    }
    types = {np.dtype("<f2"): 10, np.dtype("<f4"): 1, np.dtype("i1"): 3, np.dtype("u1"): 2}
    types |= {np.dtype("<i4"): 6, np.dtype("<i8"): 7, np.dtype("<i2"): 5, np.dtype("?"): 9}
    casts = []
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("net.")
        if name not in spans:
            continue
        store, dtype, shape, offset, length = spans[name]
        if tuple(tensor.dims) != shape:
            raise TrainingError(f"{name} is {tuple(tensor.dims)} in the graph, {shape} on disk")
        if dtype == np.dtype("<f2"):
            used = tensor.name
            tensor.name = f"{used}.half"
            casts.append(onnx.helper.make_node("Cast", [tensor.name], [used], to=1))
        tensor.ClearField("raw_data")
        tensor.data_type = types[dtype]
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        for key, value in (("location", store), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
    nodes = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*casts, *nodes])


_SHAPERS = ("Cast", "CastLike", "Expand", "Identity", "Reshape")
"""Operators that leave zeros zeros."""


def _drop_zero_biases(model: Any, onnx: Any) -> None:
    """The exporter gives Conv(bias=False) a computed zero bias, which stops Conv+BN fusion."""
    producers = {name: node for node in model.graph.node for name in node.output}
    constants = {t.name: t for t in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "ConvTranspose") and len(node.input) == 3:
            name = node.input[2]
            while name in producers and producers[name].op_type in _SHAPERS:
                name = producers[name].input[0]
            value = constants.get(name)
            if name in producers and producers[name].op_type == "Constant":
                value = next((a.t for a in producers[name].attribute if a.name == "value"), None)
            # a tensor that lives in another file is not known to be zero
            known = value is not None and not value.external_data
            if known and not onnx.numpy_helper.to_array(value).any():
                del node.input[2]


def _drop_dead_nodes(model: Any) -> None:
    graph = model.graph
    while True:
        used = {name for node in graph.node for name in node.input}
        used |= {output.name for output in graph.output}
        live = [node for node in graph.node if any(name in used for name in node.output)]
        if len(live) == len(graph.node):
            break
        del graph.node[:]
        graph.node.extend(live)
    kept = [t for t in graph.initializer if t.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _check_shared(
    data: bytes, state: Arrays, names: Collection[str], source: str | os.PathLike[str]
) -> None:
    spans = tensor_spans(data, source)
    for name in names:
        if name not in spans:
            raise TrainingError(f"{source} has no tensor {name}")
        dtype, shape, offset, length = spans[name]
        stored = np.frombuffer(data, dtype, length // dtype.itemsize, offset).reshape(shape)
        if not np.array_equal(stored.astype(state[name].dtype), state[name]):
            raise TrainingError(f"{name} differs from the one in {source}")


def _describe(array: np.ndarray, named: Mapping[int, str]) -> TensorCard:
    return TensorCard(
        str(array.dtype), tuple(named.get(i, int(n)) for i, n in enumerate(array.shape))
    )


def _name_axes(
    output: str,
    got: Sequence[Arrays],
    examples: Sequence[Arrays],
    axes: Mapping[str, Mapping[int, str]],
) -> tuple[int | str, ...]:
    """Name an output's axis after the free input axis that is as long in every example.

    An axis that varies in another way (half as long, say) is named after the output.
    """
    free: dict[str, list[int]] = {
        axis: [example[name].shape[i] for example in examples]
        for name, named in axes.items()
        for i, axis in named.items()
    }
    out: list[int | str] = []
    for i in range(got[0][output].ndim):
        sizes = [one[output].shape[i] for one in got]
        fit = [axis for axis, lengths in free.items() if lengths == sizes]
        varies = len(set(sizes)) > 1
        out.append((fit[0] if len(fit) == 1 else f"{output}_{i}") if varies else sizes[0])
    return tuple(out)


def _versions() -> dict[str, str]:
    out = {"cnnapps": __version__, "python": platform.python_version()}
    for package in ("torch", "onnx", "onnxscript", "onnxruntime", "numpy"):
        try:
            out[package] = version(package)
        except PackageNotFoundError:
            out[package] = "unknown"
    return out
