"""The nets of ``classify``: those of core/nets, with the answer that explains itself.

``NETS[name](**arguments)`` builds a net whose ``predict`` gives the logits and, where one linear
layer stands behind a global mean, the maps in front of it: class activation maps (Zhou et al. 2016,
"Learning Deep Features for Discriminative Localization") need those two and no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from cnnapps.core import nets
from cnnapps.core.blocks import EndPad
from cnnapps.core.nets.parts import Net

__all__ = ["NETS", "answering", "fixed_padding", "linear_head", "new_head"]


def answering(net: Net) -> Net:
    """The net with a ``predict``: (N, C, H, W) -> logits (N, classes), and maps if they explain.

    Attached to this one object, so that names in its state dict stay those of core/nets.
    """
    explains = linear_head(net) is not None

    def predict(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        maps = net.maps(x)  # (N, K, H', W')
        logits = net.score(maps)  # (N, classes)
        return (logits, maps) if explains else logits

    net.__dict__["predict"] = predict
    return net


def fixed_padding(net: Net) -> None:
    """For sides that every stride divides: TensorFlow's padding as plain numbers, in place.

    There it doesn't depend on the size, and a graph for pictures of any such size can be traced.
    """
    for module in list(net.modules()):
        for name, child in module.named_children():
            if isinstance(child, EndPad):
                zeros = max(child.kernel - child.stride, 0)
                pair = (zeros // 2, zeros - zeros // 2)
                setattr(module, name, nn.ZeroPad2d((*pair, *pair)))


def linear_head(net: Net) -> str | None:
    """Name of the linear layer that alone reads the mean of the maps; None if there is no such one.

    Tried out, not looked up: ``score(maps)`` must be that layer of the mean.
    """
    last = last_linear(net)
    if last is None:
        return None
    name, layer = last
    training = net.training
    net.eval()
    try:
        draw = torch.Generator().manual_seed(1)
        maps = torch.rand(2, layer.in_features, 3, 3, generator=draw).to(layer.weight)
        with torch.inference_mode():
            same = torch.allclose(net.score(maps), layer(maps.mean((2, 3))), atol=1e-4)
    except (RuntimeError, ValueError):  # dense layers want maps of one size
        same = False
    finally:
        net.train(training)
    return name if same else None


def last_linear(net: nn.Module) -> tuple[str, nn.Linear] | None:
    """The last linear layer by name, and the layer."""
    found = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)]
    return found[-1] if found else None


def new_head(net: Net, classes: int) -> str:
    """Replace the last linear layer by a fresh one for ``classes``; its name.

    ValueError if the net ends in something else.
    """
    last = last_linear(net)
    if last is None:
        raise ValueError(f"{type(net).__name__} has no linear layer to replace")
    name, layer = last
    fresh = nn.Linear(layer.in_features, classes)
    nn.init.normal_(fresh.weight, std=0.01)
    nn.init.zeros_(fresh.bias)
    parent, _, child = name.rpartition(".")
    setattr(net.get_submodule(parent), child, fresh)
    return name


def _build(name: str, **arguments: Any) -> Net:
    return answering(nets.build(name, **arguments))


NETS: Mapping[str, Callable[..., Net]] = {name: partial(_build, name) for name in nets.NETS}
"""Every net of core/nets by name."""
