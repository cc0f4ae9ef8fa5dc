"""LeNet-5: digits on cheques, 1998.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE 86(11), 1998, section II.B. Convolution, subsampling, convolution,
subsampling, three full layers.

    LeNet5   the paper's: connection table, trainable subsampling, scaled tanh, distances to codes
    LeNet    as it is written today: full connections, max pooling, ReLU (or the slides' sigmoid)
"""

from __future__ import annotations

import random

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.core.blocks import Activation, ConvBlock, Pool, TableConv, make_activation
from cnnapps.core.nets.parts import Net, initialise, need_size

__all__ = ["C3_TABLE", "LeNet", "LeNet5", "ScaledTanh", "Subsampling"]

C3_TABLE: tuple[tuple[int, ...], ...] = (
    # three neighbouring maps of S2, round the circle
    *((0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5)),
    # four neighbouring maps
    *((0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5)),
    # two pairs that don't touch
    *((0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5)),
    (0, 1, 2, 3, 4, 5),
)
"""Which of the 6 maps of S2 each of the 16 maps of C3 sees (table I): 60 connections of 96.

It breaks the symmetry, so that maps learn different things, and saves weights:
60·5·5 + 16 = 1,516 parameters instead of 2,416.
"""


class ScaledTanh(nn.Module):
    """1.7159 tanh(2x/3), which maps ±1 to ±1 (the paper's appendix A). Any shape."""

    def forward(self, x: Tensor) -> Tensor:
        return 1.7159 * torch.tanh(x * (2 / 3))


class Subsampling(nn.Module):
    """Sum of each 2x2 window times a weight plus a bias, both a map's own, then scaled tanh.

    (N, C, H, W) -> (N, C, H/2, W/2). 2C parameters.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pool = Pool("mean", 2)
        self.weight = nn.Parameter(torch.full((channels,), 0.25))  # begins as the mean
        self.bias = nn.Parameter(torch.zeros(channels))
        self.activation = ScaledTanh()

    def forward(self, x: Tensor) -> Tensor:
        x = 4 * self.pool(x)  # (N, C, H/2, W/2)
        return self.activation(x * self.weight[:, None, None] + self.bias[:, None, None])


class Codes(nn.Module):
    """Minus the squared distance to each class's code of ±1: (N, F) -> (N, classes).

    The paper's Euclidean radial basis functions, eq. (7), with the sign turned so that the largest
    is the answer and a softmax over them gives the loss of eq. (9) for j → ∞. The codes are fixed,
    not learned. The paper drew them as 7x12 pictures of the characters; ours are random, the other
    choice that it names.
    """

    codes: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        draw = random.Random(1998)  # always the same, on any device
        codes = [[draw.choice((-1.0, 1.0)) for _ in range(features)] for _ in range(classes)]
        self.register_buffer("codes", torch.tensor(codes))  # (classes, F)

    def forward(self, x: Tensor) -> Tensor:
        difference = x[:, None, :] - self.codes  # (N, classes, F)
        return -difference.square().sum(2)  # (N, classes)


class LeNet5(Net):
    """The net of the paper: (N, 1, 32, 32) -> (N, 10), 60,000 parameters as section II.B counts.

    28-pixel pictures get 2 zeros on each side. ``output="linear"`` replaces the distances to
    codes by a linear layer (60,850).
    """

    def __init__(
        self, *, channels: int = 1, classes: int = 10, size: int = 32, output: str = "codes"
    ) -> None:
        need_size("lenet5", size, 14)
        if output not in ("codes", "linear"):
            raise ValueError(f"output {output!r} is neither codes nor linear")
        super().__init__()
        self.pad = (32 - size + 1) // 2 if size < 32 else 0
        side = (((size + 2 * self.pad - 4) // 2) - 4) // 2  # 5
        tanh = ScaledTanh
        self.c1 = ConvBlock(channels, 6, kernel=5, padding="narrow", activation=None)  # 156
        self.s2 = Subsampling(6)  # 12
        self.c3 = TableConv(6, C3_TABLE, kernel=5)  # 1,516
        self.s4 = Subsampling(16)  # 32
        self.c5 = ConvBlock(16, 120, kernel=side, padding="narrow", activation=None)  # 48,120
        self.f6 = nn.Linear(120, 84)  # 10,164
        self.squash = tanh()
        self.output = Codes(84, classes) if output == "codes" else nn.Linear(84, classes)
        initialise(self, relu=False)

    def maps(self, x: Tensor) -> Tensor:
        x = F.pad(x, (self.pad,) * 4)  # (N, 1, 32, 32)
        x = self.squash(self.c1(x))  # (N, 6, 28, 28)
        x = self.s2(x)  # (N, 6, 14, 14)
        x = self.squash(self.c3(x))  # (N, 16, 10, 10)
        return self.s4(x)  # (N, 16, 5, 5)

    def score(self, maps: Tensor) -> Tensor:
        x = self.squash(self.c5(maps)).flatten(1)  # (N, 120)
        x = self.squash(self.f6(x))  # (N, 84)
        return self.output(x)  # (N, classes)


class LeNet(Net):
    """LeNet with full connections: (N, channels, size, size) -> (N, classes).

    28 pixels, ``padding=2``: 61,706 parameters. The slides' version has sigmoids and no padding:
    44,426 parameters, 281,640 MACs.
    """

    def __init__(
        self,
        *,
        channels: int = 1,
        classes: int = 10,
        size: int = 28,
        activation: Activation = "relu",
        padding: int = 2,
    ) -> None:
        need_size("lenet", size, 16 - 2 * padding)
        super().__init__()
        side = ((size + 2 * padding - 4) // 2 - 4) // 2  # 5; 4 without padding
        self.conv1 = ConvBlock(channels, 6, kernel=5, padding=padding, activation=activation)
        self.conv2 = ConvBlock(6, 16, kernel=5, padding="narrow", activation=activation)
        self.pool = Pool("max", 2)
        self.fc1 = nn.Linear(16 * side * side, 120)
        self.fc2 = nn.Linear(120, 84)
        self.fc3 = nn.Linear(84, classes)
        self.activation = make_activation(activation)
        if activation == "relu":
            initialise(self, self.fc3)
        else:
            initialise(self, relu=False)

    def maps(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x))  # (N, 6, 14, 14); 12 without padding
        return self.pool(self.conv2(x))  # (N, 16, 5, 5); 4 without padding

    def score(self, maps: Tensor) -> Tensor:
        x = self.activation(self.fc1(maps.flatten(1)))  # (N, 120)
        x = self.activation(self.fc2(x))  # (N, 84)
        return self.fc3(x)  # (N, classes)
