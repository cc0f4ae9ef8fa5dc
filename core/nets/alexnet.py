"""AlexNet: the net that won ILSVRC 2012 with 15.3% top-5 error, 11 points ahead of the second.

Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks",
NIPS 2012, section 3. LeNet's plan, a thousand times larger: five convolutions, three poolings,
three full layers; ReLU instead of sigmoid, dropout, two GPUs.

    AlexNet         the paper's: two towers that meet at the third convolution, normalised responses
    AlexNetOneTower Krizhevsky 2014, "One weird trick", arXiv 1404.5997, which torchvision has
"""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, Pool, output_length
from cnnapps.core.nets.parts import (
    Net,
    Rules,
    coarse_stem,
    hidden_layers,
    initialise,
    need_size,
    small_input,
)

__all__ = ["AlexNet", "AlexNetOneTower", "response_norm"]


def response_norm() -> nn.LocalResponseNorm:
    """b = a / (2 + 1e-4 Σ a²)^0.75 over 5 neighbouring channels (section 3.3). Any size.

    torch divides α by the number of channels, the paper doesn't: hence 5e-4.
    """
    return nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)


class AlexNet(Net):
    """(N, channels, size, size) -> (N, classes).

    227 pixels (the paper says 224, which its 11x11 layer at stride 4 does not divide), 1000
    classes: 60,965,224 parameters, 724,406,816 MACs. ``groups=2`` are the two towers: the second,
    fourth and fifth layer see only the half of the channels on their own GPU. The course's slides
    have one tower, no response norm, one channel and 224 pixels: 46,764,746 parameters.
    """

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 1000,
        size: int = 227,
        groups: int = 2,
        lrn: bool = True,
        dense: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        need_size("alexnet", size, 28)
        super().__init__()
        kernel, stride, padding = coarse_stem(size)  # 11, 4, 0
        self.conv1 = ConvBlock(channels, 96, kernel=kernel, stride=stride, padding=padding)
        self.conv2 = ConvBlock(96, 256, kernel=5, groups=groups)
        self.conv3 = ConvBlock(256, 384, kernel=3)
        self.conv4 = ConvBlock(384, 384, kernel=3, groups=groups)
        self.conv5 = ConvBlock(384, 256, kernel=3, groups=groups)
        self.norm = response_norm() if lrn else nn.Identity()
        self.pool = Pool("max", 3, stride=2)  # windows overlap (section 3.4)
        side = output_length(size, kernel, stride=stride, padding=padding)
        for _ in range(3):
            side = output_length(side, 3, stride=2)
        self.dense = hidden_layers(256 * side * side, (dense, dense), dropout=dropout)
        self.fc = nn.Linear(dense, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv1(x))  # (N, 96, 55, 55); 54 from 224 pixels
        x = self.pool(x)  # (N, 96, 27, 27)
        x = self.norm(self.conv2(x))  # (N, 256, 27, 27)
        x = self.pool(x)  # (N, 256, 13, 13)
        x = self.conv3(x)  # (N, 384, 13, 13)
        x = self.conv4(x)  # (N, 384, 13, 13)
        return self.conv5(x)  # (N, 256, 13, 13)

    def score(self, maps: Tensor) -> Tensor:
        x = self.pool(maps).flatten(1)  # (N, 256·6·6)
        x = self.dense(x)  # (N, 4096)
        return self.fc(x)  # (N, classes)


class AlexNetOneTower(Net):
    """(N, channels, size, size) -> (N, classes); 224 pixels: 61,100,840 parameters, 714 M MACs.

    No groups and no response norm, 64, 192, 384, 256 and 256 maps. Before the full layers the maps
    are averaged to 6x6, so that any input works; below 64 pixels to 2x2, with the finer stem of
    ``coarse_stem``.
    """

    torchvision_names: ClassVar[Rules] = (
        (r"features\.0\.", "conv1.conv."),
        (r"features\.3\.", "conv2.conv."),
        (r"features\.6\.", "conv3.conv."),
        (r"features\.8\.", "conv4.conv."),
        (r"features\.10\.", "conv5.conv."),
        (r"classifier\.1\.", "dense.0."),
        (r"classifier\.4\.", "dense.3."),
        (r"classifier\.6\.", "fc."),
    )

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 1000,
        size: int = 224,
        dense: int = 4096,
        dropout: float = 0.5,
    ) -> None:
        need_size("alexnet-torchvision", size, 28)
        super().__init__()
        kernel, stride, padding = coarse_stem(size, padding=2)  # 11, 4, 2
        self.conv1 = ConvBlock(channels, 64, kernel=kernel, stride=stride, padding=padding)
        self.conv2 = ConvBlock(64, 192, kernel=5)
        self.conv3 = ConvBlock(192, 384, kernel=3)
        self.conv4 = ConvBlock(384, 256, kernel=3)
        self.conv5 = ConvBlock(256, 256, kernel=3)
        self.pool = Pool("max", 3, stride=2)
        self.side = 2 if small_input(size) else 6
        self.first_dropout = nn.Dropout(dropout)
        self.dense = hidden_layers(256 * self.side**2, (dense, dense), dropout=dropout)
        # torchvision drops out before each hidden layer, not after: none behind the last
        self.dense[-1] = nn.Identity()
        self.fc = nn.Linear(dense, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x))  # (N, 64, 27, 27)
        x = self.pool(self.conv2(x))  # (N, 192, 13, 13)
        x = self.conv3(x)  # (N, 384, 13, 13)
        x = self.conv4(x)  # (N, 256, 13, 13)
        return self.conv5(x)  # (N, 256, 13, 13)

    def score(self, maps: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(self.pool(maps), self.side)  # (N, 256, 6, 6)
        x = self.dense(self.first_dropout(x.flatten(1)))  # (N, 4096)
        return self.fc(x)  # (N, classes)
