"""Where a net runs: ``auto`` is CUDA if torch sees one, else the CPU."""

from __future__ import annotations

import re
from typing import Any

from cnnapps.core.errors import DependencyError, InputError, need

__all__ = ["choose", "fast_bfloat16", "place"]

_NAME = re.compile(r"(auto|cpu|cuda(:[0-9]{1,3})?)\Z")


def choose(name: str = "auto", *, runtime: str = "onnx") -> str:
    """``auto | cpu | cuda[:i]`` -> the device to use; DependencyError when there is no such one.

    ONNX Runtime runs on the CPU unless CUDA is asked for by name: looking for a device through
    torch would cost its import.
    """
    if not isinstance(name, str) or not _NAME.match(name):
        raise InputError("", f"device {name!r} is none of auto, cpu, cuda, cuda:INDEX")
    if name == "cpu" or (name == "auto" and runtime == "onnx"):
        return "cpu"
    if runtime == "onnx":
        return name
    torch = need("torch", "--runtime torch" if name == "auto" else "a CUDA device")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        return "cuda" if count else "cpu"
    index = int(name.partition(":")[2] or 0)
    if index >= count:
        raise DependencyError(f"torch sees {count} CUDA device(s), not {name}", "use --device cpu")
    return name


def place(net: Any, device: str) -> Any:
    """The net on ``device``; channels_last on CUDA, where tensor cores want it (untested here).

    On the CPU channels_last gained nothing for float32, so it stays as it is.
    """
    import torch

    if device.startswith("cuda"):
        return net.to(device, memory_format=torch.channels_last)
    return net.to(device)


def fast_bfloat16(device: str) -> bool:
    """Whether ``device`` multiplies bfloat16 itself; a CPU that has to imitate it is slow."""
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported()
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # torch 2.9 can't say
    return any(name.endswith("bf16") and bool(value) for name, value in known.items())
