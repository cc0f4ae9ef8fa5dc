"""Network in network: 1x1 convolutions between, a mean at the end, no full layer.

Lin, Chen & Yan, "Network in network", ICLR 2014. A convolution followed by 1x1 convolutions is a
small MLP that slides over the picture (section 3.1); with one map a class, the mean of each map
is the class's score (section 3.2), where AlexNet has 58 M weights in full layers.

    NiN       the slides': AlexNet's plan with NiN blocks
    NiNCIFAR  the paper's for 32-pixel pictures (figure 2, section 4; widths of its published code)
"""

from __future__ import annotations

from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, GlobalPool, Pool
from cnnapps.core.blocks import NiN as NiNBlock
from cnnapps.core.nets.parts import Net, coarse_stem, initialise, need_size

__all__ = ["NiN", "NiNCIFAR"]


class NiN(Net):
    """(N, channels, size, size) -> (N, classes); 224 pixels, 1 channel, 10 classes: 1,992,166
    parameters, 762,297,352 MACs.

    Smaller pictures get the finer first layer of ``coarse_stem``.
    """

    def __init__(
        self, *, channels: int = 1, classes: int = 10, size: int = 224, dropout: float = 0.5
    ) -> None:
        need_size("nin", size, 15)
        super().__init__()
        kernel, stride, padding = coarse_stem(size)  # 11, 4, 0
        self.block1 = NiNBlock(channels, 96, kernel=kernel, stride=stride, padding=padding)
        self.block2 = NiNBlock(96, 256, kernel=5, padding="same")
        self.block3 = NiNBlock(256, 384, kernel=3, padding="same")
        self.block4 = NiNBlock(384, classes, kernel=3, padding="same")
        self.pool = Pool("max", 3, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.mean = GlobalPool()
        initialise(self, self.block4.mlp[-1])

    def maps(self, x: Tensor) -> Tensor:
        x = self.block1(x)  # (N, 96, 54, 54)
        x = self.block2(self.pool(x))  # (N, 256, 26, 26)
        x = self.block3(self.pool(x))  # (N, 384, 12, 12)
        x = self.dropout(self.pool(x))  # (N, 384, 5, 5)
        return self.block4(x)  # (N, classes, 5, 5)

    def score(self, maps: Tensor) -> Tensor:
        return self.mean(maps)  # (N, classes)


class NiNCIFAR(Net):
    """(N, channels, size, size) -> (N, classes); 32 pixels: 966,986 parameters."""

    def __init__(
        self, *, channels: int = 3, classes: int = 10, size: int = 32, dropout: float = 0.5
    ) -> None:
        need_size("nin-cifar", size, 8)
        super().__init__()

        def block(inputs: int, kernel: int, *widths: int) -> nn.Sequential:
            layers = []
            for width in widths:
                layers.append(ConvBlock(inputs, width, kernel=kernel))
                inputs, kernel = width, 1
            return nn.Sequential(*layers)

        self.block1 = block(channels, 5, 192, 160, 96)
        self.block2 = block(96, 5, 192, 192, 192)
        self.block3 = block(192, 3, 192, 192, classes)
        self.pool1 = Pool("max", 3, stride=2, padding=1)
        self.pool2 = Pool("mean", 3, stride=2, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.mean = GlobalPool()
        initialise(self, self.block3[-1])

    def maps(self, x: Tensor) -> Tensor:
        x = self.block1(x)  # (N, 96, 32, 32)
        x = self.block2(self.dropout(self.pool1(x)))  # (N, 192, 16, 16)
        x = self.block3(self.dropout(self.pool2(x)))  # (N, classes, 8, 8)
        return x

    def score(self, maps: Tensor) -> Tensor:
        return self.mean(maps)  # (N, classes)
