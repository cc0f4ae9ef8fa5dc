"""Residual nets: layers learn what to add to their input.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016. A plain net of 56
layers fits even its training data worse than one of 20 (fig. 1); if each pair of layers computes
x + F(x), the identity is where learning starts, and 152 layers train well.

    ResNet       for ImageNet, section 4.1 and table 1: 18, 34 layers of pairs, 50, 101, 152 of
                 bottlenecks
    ResNetCIFAR  for 32 pixels, section 4.2: 6n + 2 layers, 20 ... 110, shortcuts without weights
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from cnnapps.core.blocks import (
    Bottleneck,
    ConvBlock,
    GlobalPool,
    Pool,
    Residual,
    ZeroShortcut,
)
from cnnapps.core.nets.parts import Net, Rules, initialise, small_input

__all__ = ["BLOCKS", "ResNet", "ResNetCIFAR"]

BLOCKS: dict[int, tuple[int, int, int, int]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
"""Table 1: blocks in each of the four stages, by the number of layers with weights."""


class ResNet(Net):
    """(N, channels, size, size) -> (N, classes); 18 layers: 11,689,512 parameters, 1.81 G MACs.

    ``depth`` 50 and more use bottlenecks, whose stride stands on the 3x3 layer as in torchvision
    (``stride_first=True``: on the first 1x1 layer, as in the paper). ``slides=True`` is the
    course's: every convolution has a bias and the shortcut's has no norm. Below 64 pixels the stem
    is 3x3 at stride 1 without pooling, so that 32 pixels end at 4x4 instead of 1x1.
    """

    torchvision_names: ClassVar[Rules] = (
        (r"conv1\.", "stem.conv."),
        (r"bn1\.", "stem.norm."),
        (r"layer(\d)\.(\d+)\.conv(\d)\.", r"stage\1.\2.conv\3.conv."),
        (r"layer(\d)\.(\d+)\.bn(\d)\.", r"stage\1.\2.conv\3.norm."),
        (r"layer(\d)\.(\d+)\.downsample\.0\.", r"stage\1.\2.shortcut.conv."),
        (r"layer(\d)\.(\d+)\.downsample\.1\.", r"stage\1.\2.shortcut.norm."),
    )

    def __init__(
        self,
        *,
        depth: int = 18,
        channels: int = 3,
        classes: int = 1000,
        size: int = 224,
        slides: bool = False,
        stride_first: bool = False,
    ) -> None:
        if depth not in BLOCKS:
            raise ValueError(f"depth {depth} is none of {', '.join(map(str, BLOCKS))}")
        super().__init__()
        bias = True if slides else None
        self.pool: nn.Module
        if small_input(size):
            self.stem = ConvBlock(channels, 64, kernel=3, norm="batch", bias=bias)
            self.pool = nn.Identity()
        else:
            self.stem = ConvBlock(channels, 64, kernel=7, stride=2, norm="batch", bias=bias)
            self.pool = Pool("max", 3, stride=2, padding=1)

        def stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for i in range(blocks):
                step = stride if i == 0 else 1
                if depth < 50:
                    layers.append(
                        Residual(inputs, width, stride=step, bias=bias, shortcut_norm=not slides)
                    )
                    inputs = width
                else:
                    layers.append(
                        Bottleneck(inputs, width, 4 * width, stride=step, stride_first=stride_first)
                    )
                    inputs = 4 * width
            return nn.Sequential(*layers)

        wide = 1 if depth < 50 else 4
        n1, n2, n3, n4 = BLOCKS[depth]
        self.stage1 = stage(64, 64, n1, 1)
        self.stage2 = stage(64 * wide, 128, n2, 2)
        self.stage3 = stage(128 * wide, 256, n3, 2)
        self.stage4 = stage(256 * wide, 512, n4, 2)
        self.mean = GlobalPool()
        self.fc = nn.Linear(512 * wide, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 64, 112, 112)
        x = self.pool(x)  # (N, 64, 56, 56)
        x = self.stage1(x)  # (N, 64w, 56, 56), w = 1, or 4 with bottlenecks
        x = self.stage2(x)  # (N, 128w, 28, 28)
        x = self.stage3(x)  # (N, 256w, 14, 14)
        return self.stage4(x)  # (N, 512w, 7, 7)

    def score(self, maps: Tensor) -> Tensor:
        return self.fc(self.mean(maps))  # (N, classes)


class ResNetCIFAR(Net):
    """(N, channels, size, size) -> (N, classes); 20 layers: 269,722 parameters, 40.55 M MACs.

    One 3x3 layer, then three stages of n blocks with 16, 32, 64 maps: depth = 6n + 2. Shortcuts
    between stages pad with zeros (option A). Any input from 8 pixels.
    """

    def __init__(
        self, *, depth: int = 20, channels: int = 3, classes: int = 10, size: int = 32
    ) -> None:
        if depth < 8 or depth % 6 != 2:
            raise ValueError(f"depth {depth} is not 6n + 2 (8, 14, 20, ...)")
        super().__init__()
        n = (depth - 2) // 6

        def stage(inputs: int, width: int, stride: int) -> nn.Sequential:
            first = Residual(
                inputs,
                width,
                stride=stride,
                shortcut=ZeroShortcut(inputs, width, stride=stride),
            )
            return nn.Sequential(first, *(Residual(width, width) for _ in range(n - 1)))

        self.stem = ConvBlock(channels, 16, kernel=3, norm="batch")
        self.stage1 = stage(16, 16, 1)
        self.stage2 = stage(16, 32, 2)
        self.stage3 = stage(32, 64, 2)
        self.mean = GlobalPool()
        self.fc = nn.Linear(64, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 16, 32, 32)
        x = self.stage1(x)  # (N, 16, 32, 32)
        x = self.stage2(x)  # (N, 32, 16, 16)
        return self.stage3(x)  # (N, 64, 8, 8)

    def score(self, maps: Tensor) -> Tensor:
        return self.fc(self.mean(maps))  # (N, classes)
