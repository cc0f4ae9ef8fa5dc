"""The course's first convolutional net: two convolutions, two poolings, one linear layer.

Qiu Xipeng, "Neural Networks and Deep Learning", the slides "CNN via PyTorch". What changes from a
dense net is the input, a picture instead of a vector, and that weights are shared over positions:
28,938 parameters, where one dense layer of 512 on 784 pixels has 401,920.
"""

from __future__ import annotations

from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, Pool
from cnnapps.core.nets.parts import Net, need_size

__all__ = ["SmallCNN"]


class SmallCNN(Net):
    """(N, channels, size, size) -> (N, classes). 28,938 parameters, 2,838,080 MACs at 28 pixels."""

    def __init__(self, *, channels: int = 1, classes: int = 10, size: int = 28) -> None:
        need_size("cnn", size, 4)
        super().__init__()
        self.conv1 = ConvBlock(channels, 16, kernel=5)  # (25 channels + 1) · 16 = 416 for one
        self.conv2 = ConvBlock(16, 32, kernel=5)  # (25 · 16 + 1) · 32 = 12,832
        self.pool = Pool("max", 2)
        self.out = nn.Linear(32 * (size // 4) ** 2, classes)  # (1,568 + 1) · 10 = 15,690

    def maps(self, x: Tensor) -> Tensor:
        x = self.pool(self.conv1(x))  # (N, 16, 14, 14)
        return self.pool(self.conv2(x))  # (N, 32, 7, 7)

    def score(self, maps: Tensor) -> Tensor:
        return self.out(maps.flatten(1))  # (N, classes)
