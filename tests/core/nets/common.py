"""What the tests of the nets share: a counter of its own, random weights, small arguments."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from cnnapps.core.blocks import TableConv
from cnnapps.core.nets import build, spec
from cnnapps.core.nets.parts import Net

FULL_LAYERS = ("alexnet", "vgg")
"""Names that begin so have wide full layers, which tests make narrow."""


FAMILIES = (
    *("cnn", "lenet5", "lenet", "lenet-deck", "alexnet", "alexnet-torchvision", "alexnet-deck"),
    *("vgg11-lrn", "vgg16-c", "vgg11-deck-8", "nin-deck", "nin-cifar"),
    *("googlenet", "googlenet-torchvision", "googlenet-deck", "inception-v3"),
    *("resnet18-deck", "resnet18", "resnet50", "resnet20", "squeezenet", "mobilenet-v2"),
    "efficientnet-lite0",
)
"""One of each kind: the others only repeat more of the same blocks."""


def small(name: str, **arguments: Any) -> tuple[Net, Tensor]:
    """The net for small grey pictures in three classes, and two such pictures."""
    side = max(28, spec(name).least)
    if name.startswith(FULL_LAYERS):
        arguments["dense"] = 32
    if name.startswith("vgg"):
        arguments["divide"] = 8
    net = build(name, **{"channels": 1, "classes": 3, "size": side, **arguments})
    return net, torch.randn(2, arguments.get("channels", 1), side, side)


def count(name: str, **arguments: Any) -> tuple[int, int, dict[str, tuple[int, ...]]]:
    """(parameters, multiply-adds, shape of each named layer's output) without computing any.

    A multiply-add is one of a convolution or linear layer; nothing else counts, not the bias.
    """
    with torch.device("meta"):
        net = build(name, **arguments).eval()
    macs = 0
    shapes: dict[str, tuple[int, ...]] = {}

    def hook(path: str) -> Any:
        def seen(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
            nonlocal macs
            shapes[path] = tuple(output.shape[1:])
            if isinstance(layer, nn.Linear):
                macs += output.numel() * layer.in_features
            elif isinstance(layer, nn.Conv2d):
                macs += output.numel() * layer.weight[0].numel()
            elif isinstance(layer, TableConv):
                macs += layer.weight.numel() * output[0, 0].numel()

        return seen

    for path, layer in net.named_modules():
        layer.register_forward_hook(hook(path))
    channels, side, _ = spec(name).input
    size = arguments.get("size", side)
    x = torch.empty(1, arguments.get("channels", channels), size, size, device="meta")
    net(x)
    return sum(p.numel() for p in net.parameters()), macs, shapes


@torch.no_grad()
def randomise(state: dict[str, Tensor]) -> None:
    """Values that keep the signal's scale, and batch statistics that are not 0 and 1."""
    for name, tensor in state.items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 2.0)
        elif name.endswith("running_mean") or name.endswith("bias"):
            tensor.normal_(0, 0.1)
        elif tensor.ndim == 1 and tensor.is_floating_point():
            tensor.uniform_(0.5, 1.5)
        elif tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5)
        else:
            tensor.zero_()


def worst(a: Tensor, b: Tensor) -> float:
    """Largest difference, relative to max(1, |b|)."""
    assert a.shape == b.shape
    return float(((a - b).abs() / b.abs().clamp(min=1)).max())
