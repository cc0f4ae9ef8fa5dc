"""Run a net from a weights folder: ONNX Runtime by default, torch by name.

This is the only module on a predict path that knows which library computes. Both read the same
bytes of model.safetensors: the graph holds no weights, it points into that file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, Protocol

import numpy as np

from cnnapps.core.card import Card
from cnnapps.core.errors import DependencyError, InputError, WeightsError, need
from cnnapps.core.weights import Weights

__all__ = ["Nets", "Runtime", "onnxruntime", "open_runtime"]

_EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"

MOST_THREADS = 256
"""More would be a slip, and each takes memory."""

Nets = Callable[[], Mapping[str, Callable[..., Any]]]
"""An app's table of nets, behind a function because looking at it imports torch."""


class Runtime(Protocol):
    """A loaded net: named arrays in, named arrays out, the names of the card."""

    card: Card

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]: ...


def open_runtime(
    weights: Weights,
    *,
    runtime: str = "onnx",
    device: str = "cpu",
    threads: int = 1,
    nets: Nets | None = None,
) -> Runtime:
    """The net of a verified weights folder, ready to run.

    ``runtime`` is "onnx" or "torch" (which needs ``nets``); ``device`` is "cpu", "cuda" or
    "cuda:1"; ``threads`` 1 to 256. InputError for another number, WeightsError when the folder's
    graph can't be loaded, DependencyError when the library or the device is missing.
    """
    if type(threads) is not int or not 1 <= threads <= MOST_THREADS:
        raise InputError("threads", f"{threads!r} is no number from 1 to {MOST_THREADS}")
    if runtime == "onnx":
        return _OnnxRuntime(weights, device=device, threads=threads)
    if runtime == "torch":
        if nets is None:
            raise DependencyError("this net has no torch runtime", "use --runtime onnx")
        return _TorchRuntime(weights, nets, device=device, threads=threads)
    raise ValueError(f"runtime {runtime!r} is neither onnx nor torch")


def onnxruntime(purpose: str) -> ModuleType:
    """ONNX Runtime, silent and private: every import of it goes through here.

    Since 1.29 its packages for Linux and macOS report each session (names of the model and its
    hash) to their maker, and keep an identifier of the device in the user's cache. The environment
    variable turns that off before anything is sent or written, the call only what comes later; a
    user's own value of it stands. DependencyError when it isn't installed.
    """
    if not os.environ.get("ORT_DISABLE_TELEMETRY"):
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    ort = need("onnxruntime", purpose)
    ort.disable_telemetry_events()
    ort.set_default_logger_severity(4)  # its errors become our exceptions, one line each
    return ort


class _OnnxRuntime:
    def __init__(self, weights: Weights, *, device: str, threads: int) -> None:
        ort = onnxruntime("prediction")
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # A tensor inside a branch of the graph could still name a file on disk, and ONNX Runtime
        # would read it from the current folder: point it where no file can be.
        nowhere = os.path.join(os.devnull, "none")
        options.add_session_config_entry(_EXTERNAL_FOLDER, nowhere)
        named = [(n, d) for n, d in weights.files.items() if n.endswith(".safetensors")]
        options.add_external_initializers_from_files_in_memory(
            [n for n, _ in named], [d for _, d in named], [len(d) for _, d in named]
        )
        providers = _providers(ort, device)
        try:
            self._session = ort.InferenceSession(
                weights["graph.onnx"],
                options,
                providers=providers,
                enable_fallback=0,  # it would print on stdout and try the same once more
            )
        except Exception as error:  # ORT raises bare RuntimeErrors of many kinds
            raise WeightsError(
                weights.folder, f"graph.onnx can't be loaded ({_first_line(error)})"
            ) from error
        inputs = [value.name for value in self._session.get_inputs()]
        self._outputs = [value.name for value in self._session.get_outputs()]
        if set(inputs) != set(weights.card.inputs) or self._outputs != list(weights.card.outputs):
            raise WeightsError(
                weights.folder, f"graph.onnx has {inputs} -> {self._outputs}, its card another"
            )
        self.card = weights.card
        self._weights = weights  # ORT reads the bytes lazily: they must outlive the session

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        try:
            values = self._session.run(self._outputs, arrays)
        except Exception as error:
            raise _failure(self._weights, "graph.onnx", error) from error
        return dict(zip(self._outputs, values, strict=True))


def _failure(weights: Weights, part: str, error: Exception) -> Exception:
    """What a library's exception in the middle of a run means."""
    text = str(error)
    full = isinstance(error, MemoryError) or isinstance(error.__cause__, MemoryError)
    if full or "llocate memory" in text or "bad_alloc" in text:
        return MemoryError(_first_line(error))
    return WeightsError(weights.folder, f"{part} fails to run ({_first_line(error)})")


def _providers(ort: Any, device: str) -> list[Any]:
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        raise DependencyError(
            "this ONNX Runtime sees no CUDA device", "pip install onnxruntime-gpu, or --device cpu"
        )
    index = int(device.partition(":")[2] or 0)
    return [("CUDAExecutionProvider", {"device_id": index}), "CPUExecutionProvider"]


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


class _TorchRuntime:
    def __init__(self, weights: Weights, nets: Nets, *, device: str, threads: int) -> None:
        torch = need("torch", "--runtime torch")
        card, table = weights.card, nets()
        if card.net not in table:
            raise WeightsError(weights.folder, f"card names the unknown net {card.net!r}")
        torch.set_num_threads(threads)
        try:
            net = table[card.net](**card.arguments)
            # float16 on disk, float32 in the net; a copy, since the bytes are read-only
            state = {n: torch.from_numpy(t.copy()) for n, t in weights.tensors().items()}
            net.load_state_dict(state)
        except Exception as error:  # what a wrong argument does to a constructor is anyone's guess
            raise WeightsError(
                weights.folder, f"does not fit the net {card.net} ({_first_line(error)})"
            ) from error
        self._torch, self._device = torch, torch.device(device)
        self._net = net.to(self._device).eval()
        self._weights = weights
        self.card = card

    def run(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        torch = self._torch
        # A net exports what its ``predict`` computes; for most nets that is ``forward``.
        call = getattr(self._net, "predict", self._net)
        try:
            with torch.inference_mode():
                inputs = [
                    torch.from_numpy(np.require(arrays[name], requirements=["C", "W"]))
                    for name in self.card.inputs
                ]
                outputs = call(*(x.to(self._device) for x in inputs))
            if not isinstance(outputs, tuple):
                outputs = (outputs,)
            return {n: o.cpu().numpy() for n, o in zip(self.card.outputs, outputs, strict=True)}
        except Exception as error:
            raise _failure(self._weights, self.card.net, error) from error
