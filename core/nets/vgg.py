"""VGG: nothing but 3x3 convolutions and 2x2 poolings, 11 to 19 layers deep.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR
2015, section 2 and table 1. Two 3x3 layers see 5x5 pixels, three see 7x7, for 27/49 of the weights
and with more ReLUs between. ILSVRC 2014: 7.3% top-5 error.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, Pool
from cnnapps.core.nets.alexnet import response_norm
from cnnapps.core.nets.parts import Net, Rules, hidden_layers, initialise, need_size

__all__ = ["KERNELS", "VGG"]

Configuration = Literal["A", "A-LRN", "B", "C", "D", "E"]

KERNELS: dict[str, tuple[tuple[int, ...], ...]] = {
    "A": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "A-LRN": ((3,), (3,), (3, 3), (3, 3), (3, 3)),
    "B": ((3, 3), (3, 3), (3, 3), (3, 3), (3, 3)),
    "C": ((3, 3), (3, 3), (3, 3, 1), (3, 3, 1), (3, 3, 1)),
    "D": ((3, 3), (3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3)),
    "E": ((3, 3), (3, 3), (3, 3, 3, 3), (3, 3, 3, 3), (3, 3, 3, 3)),
}
"""Table 1: the kernels of the layers of each of five stages, with 64 ... 512 maps."""

WIDTHS = (64, 128, 256, 512, 512)


def _torchvision(configuration: str) -> Rules:
    """features.N counts convolutions, ReLUs and poolings alike; ours are named by stage."""
    rules: list[tuple[str, str | None]] = []
    place = 0
    for stage, kernels in enumerate(KERNELS[configuration]):
        for i in range(len(kernels)):
            rules.append((rf"features\.{place}\.", f"stages.{stage}.{i}.conv."))
            place += 2
        place += 1
    return (
        *rules,
        (r"classifier\.0\.", "dense.0."),
        (r"classifier\.3\.", "dense.3."),
        (r"classifier\.6\.", "fc."),
    )


class VGG(Net):
    """(N, channels, size, size) -> (N, classes); D ("VGG-16"): 138,357,544 parameters, 15.5 G MACs.

    ``divide`` makes all widths that many times smaller (the course trains VGG-11 with 8:
    2,018,346 parameters). A pooling that would find less than 2x2 pixels is left out, so 28 pixels
    end at 1x1 instead of nothing. Where 224 pixels give 7x7 maps, the full layers read all of
    them; other sizes give (size / 32)².
    """

    torchvision_names: ClassVar[Rules] = ()  # depends on the configuration: see __init__

    def __init__(
        self,
        *,
        configuration: Configuration = "D",
        channels: int = 3,
        classes: int = 1000,
        size: int = 224,
        divide: int = 1,
        dense: int | None = None,
        dropout: float = 0.5,
    ) -> None:
        if configuration not in KERNELS:
            raise ValueError(f"configuration {configuration!r} is none of {', '.join(KERNELS)}")
        if divide < 1 or 64 % divide:
            raise ValueError(f"divide {divide} is not one of 1, 2, 4, ..., 64")
        need_size("vgg", size, 2)
        super().__init__()
        if configuration in ("A", "B", "D", "E"):
            self.torchvision_names = _torchvision(configuration)  # type: ignore[misc]
        stages: list[nn.Module] = []
        inputs = channels
        side = size
        self.poolings = 0  # how many of the five stages end with one
        for kernels, width in zip(KERNELS[configuration], WIDTHS, strict=True):
            layers: list[nn.Module] = []
            for kernel in kernels:
                layers.append(ConvBlock(inputs, width // divide, kernel=kernel))
                inputs = width // divide
            if configuration == "A-LRN" and not stages:
                layers.append(response_norm())
            if side >= 2:
                side //= 2
                self.poolings += 1
            stages.append(nn.Sequential(*layers))
        self.stages = nn.Sequential(*stages)
        self.pool = Pool("max", 2)
        hidden = 4096 // divide if dense is None else dense
        self.side = side
        self.dense = hidden_layers(inputs * side * side, (hidden, hidden), dropout=dropout)
        self.fc = nn.Linear(hidden, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        # (N, 64, 112, 112), (N, 128, 56, 56), (N, 256, 28, 28), (N, 512, 14, 14) behind each stage
        for i, stage in enumerate(self.stages):
            if i and i <= self.poolings:
                x = self.pool(x)
            x = stage(x)
        return x  # (N, 512, 14, 14)

    def score(self, maps: Tensor) -> Tensor:
        x = self.pool(maps) if self.poolings == len(self.stages) else maps  # (N, 512, 7, 7)
        x = self.dense(x.flatten(1))  # (N, 4096)
        return self.fc(x)  # (N, classes)
