"""What the nets share: their two halves, the start values, the answer with side heads, the stem.

Net          pictures -> maps -> scores; every net here is one
WithAux      what nets with side heads answer while they train
initialise   start values that keep the scale through many layers
spread       start values that fit the data, for nets without norms
small_input  when a stem made for 224 pixels is too coarse
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock
from cnnapps.core.errors import InputError

__all__ = [
    "Net",
    "Rules",
    "Stem",
    "WithAux",
    "coarse_stem",
    "hidden_layers",
    "initialise",
    "need_size",
    "small_input",
    "spread",
]

Rules = tuple[tuple[str, str | None], ...]
"""(regular expression, replacement) pairs that turn foreign parameter names into ours, tried in
order on the start of a name; None drops the tensor."""


class Net(nn.Module):
    """A classifier in two halves: ``maps`` is the last grid of features, ``score`` reads it.

    pictures (N, channels, H, W) -> logits (N, classes). The cut is where Grad-CAM and CAM look:
    ``net.score(net.maps(x))`` is ``net(x)`` in evaluation.
    """

    torchvision_names: ClassVar[Rules] = ()
    """How torchvision's state dict names the same tensors; empty where it has no such net."""
    aux_weight: ClassVar[float] = 0.0
    """What the loss of each side head counts (nets that answer WithAux)."""

    def maps(self, x: Tensor) -> Tensor:
        """(N, channels, H, W) -> (N, C, H', W')"""
        raise NotImplementedError

    def score(self, maps: Tensor) -> Tensor:
        """(N, C, H', W') -> logits (N, classes)"""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor | WithAux:
        x = self.maps(x)  # (N, C, H', W')
        return self.score(x)  # (N, classes)


class WithAux(NamedTuple):
    """Logits (N, classes) and those of each side head, in order from the input.

    Only in training mode: loss = f(logits) + net.aux_weight · Σ f(aux). In evaluation the same
    nets answer with plain logits.
    """

    logits: Tensor
    aux: tuple[Tensor, ...]


def initialise(net: nn.Module, *scores: nn.Module, relu: bool = True) -> None:
    """Start values for every convolution and linear layer; biases zero, norms as they are.

    ReLU layers: normal with variance 2/inputs (He et al. 2015, section 2.2), or each layer would
    halve the signal; others: uniform (Glorot & Bengio 2010, eq. 16).

    ``scores`` are the layers that end in scores. They start small, so that training begins at a
    loss of ln(classes). A ConvBlock there ends in a ReLU (NiN, SqueezeNet), so it gets a bias of
    1: a common shift changes no probability, but without it the first steps can push every
    score below zero, where no gradient brings it back.
    """
    for layer in net.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Linear):
            if relu:
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            else:
                nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    for score in scores:
        layer = score.conv if isinstance(score, ConvBlock) else score
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.normal_(layer.weight, std=0.1 / math.sqrt(layer.weight[0].numel()))
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                nn.init.ones_(layer.bias)


@torch.no_grad()
def spread(net: nn.Module, x: Tensor) -> bool:
    """Rescale a fresh net's layers so that each channel has mean 0 and variance 1 on the batch x.

    What batch norm does at the first step, written into weights and biases (Krähenbühl et al. 2016,
    "Data-dependent initializations of convolutional neural networks", section 3.1). He's start
    keeps the second moment, but ReLU makes all of it mean: after nine plain layers every picture
    has nearly the same maps, and a net like NiN stays at chance for its first hundred steps.

    Layers without bias and the last one, which ends in scores, stay as they are. False, and nothing
    is changed, for a net that has norms.
    """
    if any(isinstance(m, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm) for m in net.modules()):
        return False
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    was = net.training

    def rescale(layer: Any, _: Any, out: Tensor) -> Tensor:
        axes = [0, *range(2, out.dim())]
        mean, scale = out.mean(axes), out.std(axes, correction=0)
        scale = torch.where(scale > 1e-2, scale, 1.0)  # a channel that the batch doesn't move
        layer.weight.div_(scale.view(-1, *[1] * (layer.weight.dim() - 1)))
        layer.bias.sub_(mean).div_(scale)
        shape = (1, -1, *[1] * (out.dim() - 2))
        return (out - mean.view(shape)) / scale.view(shape)

    hooks = [m.register_forward_hook(rescale) for m in layers[:-1] if m.bias is not None]
    net.eval()  # no dropout
    net(x)
    for hook in hooks:
        hook.remove()
    net.train(was)
    return True


def hidden_layers(inputs: int, widths: tuple[int, ...], *, dropout: float) -> nn.Sequential:
    """Linear, ReLU, dropout for each width: (N, inputs) -> (N, widths[-1])."""
    layers: list[nn.Module] = []
    for width in widths:
        layers += [nn.Linear(inputs, width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers)


def small_input(size: int) -> bool:
    """Below 64 pixels a stem that divides the side by 4 leaves too little to look at."""
    return size < 64


class Stem(NamedTuple):
    """The first layer's kernel, stride and zeros on each side, in pixels."""

    kernel: int
    stride: int
    padding: int


def coarse_stem(size: int, *, padding: int = 0) -> Stem:
    """AlexNet's and NiN's: 11x11 at stride 4; smaller pictures get a finer one.

    Below 128 pixels 7x7 at stride 2, below 64 5x5 at stride 1, both with "same" padding.
    """
    if small_input(size):
        return Stem(5, 1, 2)
    return Stem(7, 2, 3) if size < 128 else Stem(11, 4, padding)


def need_size(net: str, size: int, least: int) -> None:
    """InputError if pictures of ``size`` pixels a side are too small for the net."""
    if size < least:
        raise InputError(net, f"needs pictures of at least {least} pixels a side, got {size}")
