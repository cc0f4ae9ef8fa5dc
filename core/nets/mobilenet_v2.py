"""MobileNetV2: inverted residuals, for phones.

Sandler, Howard, Zhu, Zhmoginov & Chen, "MobileNetV2: Inverted residuals and linear bottlenecks",
CVPR 2018, table 2. Shortcuts join the narrow ends; between them a wide, cheap depthwise layer; no
ReLU on the narrow ends, where it would lose what the block found.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, GlobalPool, InvertedResidual
from cnnapps.core.nets.parts import Net, Rules, initialise, small_input

__all__ = ["STAGES", "MobileNetV2"]

# expansion, outputs, repeats, stride of the first (table 2)
STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class MobileNetV2(Net):
    """(N, channels, size, size) -> (N, classes); 224 pixels: 3,504,872 parameters, 301 M MACs.

    Below 64 pixels the stem has stride 1.
    """

    torchvision_names: ClassVar[Rules] = (
        (r"features\.0\.0\.", "stem.conv."),
        (r"features\.0\.1\.", "stem.norm."),
        # the first block has no expansion
        (r"features\.1\.conv\.0\.0\.", "blocks.0.depthwise.conv."),
        (r"features\.1\.conv\.0\.1\.", "blocks.0.depthwise.norm."),
        (r"features\.1\.conv\.1\.", "blocks.0.project.conv."),
        (r"features\.1\.conv\.2\.", "blocks.0.project.norm."),
        *(
            rule
            for ours in range(1, 17)
            for rule in (
                (rf"features\.{ours + 1}\.conv\.0\.0\.", f"blocks.{ours}.expand.conv."),
                (rf"features\.{ours + 1}\.conv\.0\.1\.", f"blocks.{ours}.expand.norm."),
                (rf"features\.{ours + 1}\.conv\.1\.0\.", f"blocks.{ours}.depthwise.conv."),
                (rf"features\.{ours + 1}\.conv\.1\.1\.", f"blocks.{ours}.depthwise.norm."),
                (rf"features\.{ours + 1}\.conv\.2\.", f"blocks.{ours}.project.conv."),
                (rf"features\.{ours + 1}\.conv\.3\.", f"blocks.{ours}.project.norm."),
            )
        ),
        (r"features\.18\.0\.", "head.conv."),
        (r"features\.18\.1\.", "head.norm."),
        (r"classifier\.1\.", "fc."),
    )

    def __init__(
        self, *, channels: int = 3, classes: int = 1000, size: int = 224, dropout: float = 0.2
    ) -> None:
        super().__init__()
        stride = 1 if small_input(size) else 2
        self.stem = ConvBlock(channels, 32, stride=stride, norm="batch", activation="relu6")
        blocks = []
        inputs = 32
        for expand, outputs, repeats, first in STAGES:
            for i in range(repeats):
                step = first if i == 0 else 1
                blocks.append(InvertedResidual(inputs, outputs, expand=expand, stride=step))
                inputs = outputs
        self.blocks = nn.Sequential(*blocks)
        self.head = ConvBlock(inputs, 1280, kernel=1, norm="batch", activation="relu6")
        self.mean = GlobalPool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(1280, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, 32, 112, 112)
        x = self.blocks(x)  # (N, 320, 7, 7)
        return self.head(x)  # (N, 1280, 7, 7)

    def score(self, maps: Tensor) -> Tensor:
        x = self.dropout(self.mean(maps))  # (N, 1280)
        return self.fc(x)  # (N, classes)
