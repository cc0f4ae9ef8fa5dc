"""Inception v3: every large kernel taken apart into small ones.

Szegedy, Vanhoucke, Ioffe, Shlens & Wojna, "Rethinking the Inception architecture for computer
vision", CVPR 2016. A 5x5 becomes two 3x3 (figure 5), nxn becomes 1xn then nx1 (figure 6, n = 7 on
the 17x17 grid), and on the coarsest grid 1x3 and 3x1 stand side by side (figure 7). Table 1 gives
the outline; widths as in the authors' code, which torchvision follows.
"""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn

from cnnapps.core.blocks import (
    ConvBlock,
    GlobalPool,
    InceptionV3A,
    InceptionV3B,
    InceptionV3C,
    InceptionV3D,
    InceptionV3E,
    Pool,
)
from cnnapps.core.nets.parts import Net, Rules, WithAux, initialise, need_size

__all__ = ["InceptionV3", "SideHead"]


def _branches(module: str, paths: dict[str, str]) -> list[tuple[str, str | None]]:
    """torchvision names the layers of a module by branch and place; ours stand in branches.i."""
    rules: list[tuple[str, str | None]] = []
    for theirs, ours in paths.items():
        for their_part, our_part in (("conv", "conv"), ("bn", "norm")):
            rules.append(
                (rf"{module}\.{theirs}\.{their_part}\.", rf"mixed\1.branches.{ours}.{our_part}.")
            )
    return rules


_A = {
    "branch1x1": "0",
    "branch5x5_1": "1.0",
    "branch5x5_2": "1.1",
    "branch3x3dbl_1": "2.0",
    "branch3x3dbl_2": "2.1",
    "branch3x3dbl_3": "2.2",
    "branch_pool": "3.1",
}
_B = {
    "branch3x3": "0",
    "branch3x3dbl_1": "1.0",
    "branch3x3dbl_2": "1.1",
    "branch3x3dbl_3": "1.2",
}
_C = {
    "branch1x1": "0",
    **{f"branch7x7_{i + 1}": f"1.{i}" for i in range(3)},
    **{f"branch7x7dbl_{i + 1}": f"2.{i}" for i in range(5)},
    "branch_pool": "3.1",
}
_D = {
    "branch3x3_1": "0.0",
    "branch3x3_2": "0.1",
    **{f"branch7x7x3_{i + 1}": f"1.{i}" for i in range(4)},
}
_E = {
    "branch1x1": "0",
    "branch3x3_1": "1.0",
    "branch3x3_2a": "1.1.branches.0",
    "branch3x3_2b": "1.1.branches.1",
    "branch3x3dbl_1": "2.0",
    "branch3x3dbl_2": "2.1",
    "branch3x3dbl_3a": "2.2.branches.0",
    "branch3x3dbl_3b": "2.2.branches.1",
    "branch_pool": "3.1",
}


class SideHead(nn.Module):
    """Mean 5x5 at stride 3, 1x1, 5x5 on what is left, linear: (N, 768, 17, 17) -> (N, classes)."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.pool = Pool("mean", 5, stride=3)
        self.conv0 = ConvBlock(768, 128, kernel=1, norm="batch", norm_eps=1e-3)
        self.conv1 = ConvBlock(128, 768, kernel=5, padding="narrow", norm="batch", norm_eps=1e-3)
        self.mean = GlobalPool()
        self.fc = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv0(self.pool(x))  # (N, 128, 5, 5)
        x = self.conv1(x)  # (N, 768, 1, 1)
        return self.fc(self.mean(x))  # (N, classes)


class InceptionV3(Net):
    """(N, channels, size, size) -> logits (N, classes), or WithAux with ``aux`` while training.

    299 pixels, at least 75 (299 with ``aux``, whose 5x5 layer needs a 17x17 grid). 23,834,568
    parameters, 27,161,264 with the side head; 5,713,216,096 MACs.

    torchvision's published weights know pictures as (RGB / 255 - 0.5) / 0.5.
    """

    aux_weight: ClassVar[float] = 0.4  # as in the authors' code; section 4 names no number
    torchvision_names: ClassVar[Rules] = (
        (r"Conv2d_1a_3x3\.conv\.", "stem.0.conv."),
        (r"Conv2d_1a_3x3\.bn\.", "stem.0.norm."),
        (r"Conv2d_2a_3x3\.conv\.", "stem.1.conv."),
        (r"Conv2d_2a_3x3\.bn\.", "stem.1.norm."),
        (r"Conv2d_2b_3x3\.conv\.", "stem.2.conv."),
        (r"Conv2d_2b_3x3\.bn\.", "stem.2.norm."),
        (r"Conv2d_3b_1x1\.conv\.", "stem.4.conv."),
        (r"Conv2d_3b_1x1\.bn\.", "stem.4.norm."),
        (r"Conv2d_4a_3x3\.conv\.", "stem.5.conv."),
        (r"Conv2d_4a_3x3\.bn\.", "stem.5.norm."),
        *_branches(r"Mixed_(5[bcd])", _A),
        *_branches(r"Mixed_(6a)", _B),
        *_branches(r"Mixed_(6[bcde])", _C),
        *_branches(r"Mixed_(7a)", _D),
        *_branches(r"Mixed_(7[bc])", _E),
        (r"AuxLogits\.conv(\d)\.conv\.", r"aux.conv\1.conv."),
        (r"AuxLogits\.conv(\d)\.bn\.", r"aux.conv\1.norm."),
        (r"AuxLogits\.fc\.", "aux.fc."),
    )

    def __init__(
        self,
        *,
        channels: int = 3,
        classes: int = 1000,
        size: int = 299,
        aux: bool = False,
        dropout: float = 0.5,
    ) -> None:
        need_size("inception-v3", size, 299 if aux else 75)
        super().__init__()

        def conv(i: int, o: int, kernel: int, stride: int = 1, same: bool = False) -> ConvBlock:
            return ConvBlock(
                i,
                o,
                kernel=kernel,
                stride=stride,
                padding="same" if same else "narrow",
                norm="batch",
                norm_eps=1e-3,
            )

        self.stem = nn.Sequential(
            conv(channels, 32, 3, 2),  # (N, 32, 149, 149)
            conv(32, 32, 3),  # (N, 32, 147, 147)
            conv(32, 64, 3, same=True),  # (N, 64, 147, 147)
            Pool("max", 3, stride=2),  # (N, 64, 73, 73)
            conv(64, 80, 1),  # (N, 80, 73, 73)
            conv(80, 192, 3),  # (N, 192, 71, 71)
            Pool("max", 3, stride=2),  # (N, 192, 35, 35)
        )
        self.mixed5b = InceptionV3A(192, 32)
        self.mixed5c = InceptionV3A(256, 64)
        self.mixed5d = InceptionV3A(288, 64)
        self.mixed6a = InceptionV3B(288)
        self.mixed6b = InceptionV3C(768, 128)
        self.mixed6c = InceptionV3C(768, 160)
        self.mixed6d = InceptionV3C(768, 160)
        self.mixed6e = InceptionV3C(768, 192)
        self.mixed7a = InceptionV3D(768)
        self.mixed7b = InceptionV3E(1280)
        self.mixed7c = InceptionV3E(2048)
        self.mean = GlobalPool()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(2048, classes)
        self.aux = SideHead(classes) if aux else None
        initialise(self, self.fc, *([] if self.aux is None else [self.aux.fc]))

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The maps that the side head and the last layer read."""
        x = self.stem(x)  # (N, 192, 35, 35)
        x = self.mixed5b(x)  # (N, 256, 35, 35)
        x = self.mixed5c(x)  # (N, 288, 35, 35)
        x = self.mixed5d(x)  # (N, 288, 35, 35)
        x = self.mixed6a(x)  # (N, 768, 17, 17)
        x = self.mixed6b(x)  # (N, 768, 17, 17)
        x = self.mixed6c(x)  # (N, 768, 17, 17)
        x = self.mixed6d(x)  # (N, 768, 17, 17)
        side = self.mixed6e(x)  # (N, 768, 17, 17)
        x = self.mixed7a(side)  # (N, 1280, 8, 8)
        x = self.mixed7b(x)  # (N, 2048, 8, 8)
        x = self.mixed7c(x)  # (N, 2048, 8, 8)
        return side, x

    def maps(self, x: Tensor) -> Tensor:
        return self.stages(x)[1]  # (N, 2048, 8, 8)

    def score(self, maps: Tensor) -> Tensor:
        x = self.dropout(self.mean(maps))  # (N, 2048)
        return self.fc(x)  # (N, classes)

    def forward(self, x: Tensor) -> Tensor | WithAux:
        side, x = self.stages(x)
        logits = self.score(x)  # (N, classes)
        if self.training and self.aux is not None:
            return WithAux(logits, (self.aux(side),))
        return logits
