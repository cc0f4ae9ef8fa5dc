"""SqueezeNet: AlexNet's accuracy with a fiftieth of its weights.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model
size", arXiv 1602.07360, 2016, section 3; version 1.1 of the authors' code, which needs 2.4 times
fewer multiplications. A fire module squeezes with 1x1 and expands with 1x1 and 3x3 side by side.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from cnnapps.core.blocks import Branches, ConvBlock, GlobalPool, Pool
from cnnapps.core.nets.parts import Net, Rules, initialise, need_size, small_input

__all__ = ["Fire", "SqueezeNet"]


class Fire(nn.Module):
    """1x1 to ``squeeze``, then 1x1 and 3x3 side by side: (N, in, H, W) -> (N, 2 expand, H, W)."""

    def __init__(self, inputs: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = ConvBlock(inputs, squeeze, kernel=1)
        self.expand = Branches(
            ConvBlock(squeeze, expand, kernel=1), ConvBlock(squeeze, expand, kernel=3)
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze(x)  # (N, squeeze, H, W)
        return self.expand(x)  # (N, 2 expand, H, W)


class SqueezeNet(Net):
    """(N, channels, size, size) -> (N, classes); 224 pixels: 1,235,496 parameters, 349 M MACs.

    Below 64 pixels the stem has stride 1 and the zeros that keep the size.
    """

    torchvision_names: ClassVar[Rules] = (
        (r"features\.0\.", "stem.conv."),
        *(
            rule
            for ours, theirs in enumerate((3, 4, 6, 7, 9, 10, 11, 12), start=2)
            for rule in (
                (rf"features\.{theirs}\.squeeze\.", f"fire{ours}.squeeze.conv."),
                (rf"features\.{theirs}\.expand1x1\.", f"fire{ours}.expand.branches.0.conv."),
                (rf"features\.{theirs}\.expand3x3\.", f"fire{ours}.expand.branches.1.conv."),
            )
        ),
        (r"classifier\.1\.", "conv10.conv."),
    )

    def __init__(
        self, *, channels: int = 3, classes: int = 1000, size: int = 224, dropout: float = 0.5
    ) -> None:
        need_size("squeezenet", size, 16)
        super().__init__()
        small = small_input(size)
        self.stem = ConvBlock(
            channels, 64, stride=1 if small else 2, padding="same" if small else "narrow"
        )
        self.pool = Pool("max", 3, stride=2, ceil=True)
        self.fire2 = Fire(64, 16, 64)
        self.fire3 = Fire(128, 16, 64)
        self.fire4 = Fire(128, 32, 128)
        self.fire5 = Fire(256, 32, 128)
        self.fire6 = Fire(256, 48, 192)
        self.fire7 = Fire(384, 48, 192)
        self.fire8 = Fire(384, 64, 256)
        self.fire9 = Fire(512, 64, 256)
        self.dropout = nn.Dropout(dropout)
        self.conv10 = ConvBlock(512, classes, kernel=1)
        self.mean = GlobalPool()
        initialise(self, self.conv10)

    def maps(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 64, 111, 111)
        x = self.fire3(self.fire2(self.pool(x)))  # (N, 128, 55, 55)
        x = self.fire5(self.fire4(self.pool(x)))  # (N, 256, 27, 27)
        x = self.fire7(self.fire6(self.pool(x)))  # (N, 384, 13, 13)
        return self.fire9(self.fire8(x))  # (N, 512, 13, 13)

    def score(self, maps: Tensor) -> Tensor:
        x = self.conv10(self.dropout(maps))  # (N, classes, 13, 13)
        return self.mean(x)  # (N, classes)
