"""GoogLeNet: kernels of several sizes side by side; 22 layers, 7 M weights to AlexNet's 61 M.

Szegedy et al., "Going deeper with convolutions", CVPR 2015, section 5 and table 1. Nine Inception
modules, each a 1x1, a 3x3, a 5x5 and a pooling path over the same input, joined along the
channels; the 1x1 layers before the wide kernels make that affordable. Two side heads feed
gradients into the middle while training. ILSVRC 2014: 6.67% top-5 error.

(The slides say 4 M weights; table 1's rows sum to 7.0 M, and so does this code.)
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, GlobalPool, InceptionV1, Norm, Pool, output_length
from cnnapps.core.nets.alexnet import response_norm
from cnnapps.core.nets.parts import Net, Rules, WithAux, initialise, need_size, small_input

__all__ = ["MODULES", "GoogLeNet", "SideHead"]

Kind = Literal["paper", "torchvision", "slides"]

MODULES: dict[str, tuple[int, int, tuple[int, int], tuple[int, int], int]] = {
    "3a": (192, 64, (96, 128), (16, 32), 32),
    "3b": (256, 128, (128, 192), (32, 96), 64),
    "4a": (480, 192, (96, 208), (16, 48), 64),
    "4b": (512, 160, (112, 224), (24, 64), 64),
    "4c": (512, 128, (128, 256), (24, 64), 64),
    "4d": (512, 112, (144, 288), (32, 64), 64),
    "4e": (528, 256, (160, 320), (32, 128), 128),
    "5a": (832, 256, (160, 320), (32, 128), 128),
    "5b": (832, 384, (192, 384), (48, 128), 128),
}
"""Table 1: inputs, 1x1, (3x3 reduce, 3x3), (5x5 reduce, 5x5), pool projection."""


def pooled(side: int) -> int:
    """What 3x3 pooling at stride 2 leaves, rounded up: ceil((M - 3) / 2) + 1."""
    return -((3 - side) // 2) + 1


class SideHead(nn.Module):
    """Mean to 4x4, 1x1 convolution, two full layers: (N, C, H, W) -> (N, classes). Section 5.

    The mean is 5x5 at stride 3 in the paper, which is 4x4 on 14x14 maps; ``adaptive`` makes it 4x4
    from any size, as torchvision does.
    """

    def __init__(
        self, inputs: int, classes: int, *, side: int, adaptive: bool, norm: Norm, eps: float
    ) -> None:
        super().__init__()
        self.adaptive = adaptive or side < 5
        self.pool = Pool("mean", 5, stride=3)
        self.conv = ConvBlock(inputs, 128, kernel=1, norm=norm, norm_eps=eps)
        left = 4 if self.adaptive else output_length(side, 5, stride=3)
        self.fc1 = nn.Linear(128 * left * left, 1024)
        self.activation = nn.ReLU()
        self.dropout = nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool2d(x, 4) if self.adaptive else self.pool(x)  # (N, C, 4, 4)
        x = self.conv(x)  # (N, 128, 4, 4)
        x = self.activation(self.fc1(x.flatten(1)))  # (N, 1024)
        return self.fc2(self.dropout(x))  # (N, classes)


class GoogLeNet(Net):
    """(N, channels, size, size) -> logits (N, classes), or WithAux with ``aux`` while training.

    ``kind`` is one of
    "paper"        biases, response norms, 5x5 kernels: 6,998,552 parameters, 1.58 G MACs at 224
    "torchvision"  batch norm, no response norm, and 3x3 where the paper has 5x5: 6,624,904
    "slides"       as "paper" without response norm and dropout; 1 channel, 10 classes, 96 pixels:
                   5,977,530 parameters, 276 M MACs
    Below 64 pixels the stem is 3x3 at stride 1 without the first pooling: 28 pixels end at 4x4.

    torchvision's published weights know pictures as (RGB / 255 - 0.5) / 0.5.
    """

    aux_weight: ClassVar[float] = 0.3
    torchvision_names: ClassVar[Rules] = (
        (r"conv1\.conv\.", "stem1.conv."),
        (r"conv1\.bn\.", "stem1.norm."),
        (r"conv2\.conv\.", "stem2.conv."),
        (r"conv2\.bn\.", "stem2.norm."),
        (r"conv3\.conv\.", "stem3.conv."),
        (r"conv3\.bn\.", "stem3.norm."),
        (r"inception(\d\w)\.branch1\.conv\.", r"inception\1.branches.0.conv."),
        (r"inception(\d\w)\.branch1\.bn\.", r"inception\1.branches.0.norm."),
        (r"inception(\d\w)\.branch2\.(\d)\.conv\.", r"inception\1.branches.1.\2.conv."),
        (r"inception(\d\w)\.branch2\.(\d)\.bn\.", r"inception\1.branches.1.\2.norm."),
        (r"inception(\d\w)\.branch3\.(\d)\.conv\.", r"inception\1.branches.2.\2.conv."),
        (r"inception(\d\w)\.branch3\.(\d)\.bn\.", r"inception\1.branches.2.\2.norm."),
        (r"inception(\d\w)\.branch4\.1\.conv\.", r"inception\1.branches.3.1.conv."),
        (r"inception(\d\w)\.branch4\.1\.bn\.", r"inception\1.branches.3.1.norm."),
        (r"aux(\d)\.conv\.conv\.", r"aux\1.conv.conv."),
        (r"aux(\d)\.conv\.bn\.", r"aux\1.conv.norm."),
    )

    def __init__(
        self,
        *,
        kind: Kind = "paper",
        channels: int = 3,
        classes: int = 1000,
        size: int = 224,
        aux: bool = False,
        dropout: float | None = None,
    ) -> None:
        if kind not in ("paper", "torchvision", "slides"):
            raise ValueError(f"kind {kind!r} is none of paper, torchvision, slides")
        need_size("googlenet", size, 8 if kind != "slides" else 1)
        super().__init__()
        if kind != "torchvision":
            self.torchvision_names = ()  # type: ignore[misc]
        norm: Norm = "batch" if kind == "torchvision" else None
        eps = 1e-3

        def conv(i: int, o: int, kernel: int, stride: int = 1) -> ConvBlock:
            return ConvBlock(i, o, kernel=kernel, stride=stride, norm=norm, norm_eps=eps)

        def pool(kernel: int = 3) -> Pool:
            # 112 -> 56: the paper's net ran in a framework that rounds up, the slides pad
            if kind == "slides":
                return Pool("max", 3, stride=2, padding=1)
            return Pool("max", kernel, stride=2, ceil=True)

        def inception(name: str) -> InceptionV1:
            branch3 = 3 if kind == "torchvision" else 5
            return InceptionV1(*MODULES[name], branch3=branch3, norm=norm, norm_eps=eps)

        small = small_input(size)
        self.stem1 = conv(channels, 64, 3) if small else conv(channels, 64, 7, 2)
        self.pool1 = nn.Identity() if small else pool()
        self.stem2 = conv(64, 64, 1)
        self.stem3 = conv(64, 192, 3)
        self.pool2 = pool()
        self.norm = response_norm() if kind == "paper" else nn.Identity()
        self.inception3a = inception("3a")
        self.inception3b = inception("3b")
        self.pool3 = pool()
        self.inception4a = inception("4a")
        self.inception4b = inception("4b")
        self.inception4c = inception("4c")
        self.inception4d = inception("4d")
        self.inception4e = inception("4e")
        self.pool4 = pool(2 if kind == "torchvision" else 3)
        self.inception5a = inception("5a")
        self.inception5b = inception("5b")
        self.mean = GlobalPool()
        wanted = {"paper": 0.4, "torchvision": 0.2, "slides": 0.0}[kind]
        self.dropout = nn.Dropout(wanted if dropout is None else dropout)
        self.fc = nn.Linear(1024, classes)

        side = size if small else pooled((size + 1) // 2)
        side = pooled(pooled(side))  # of the maps of stage 4
        self.aux1: SideHead | None = None
        self.aux2: SideHead | None = None
        if aux:
            adaptive = kind != "paper"
            self.aux1 = SideHead(512, classes, side=side, adaptive=adaptive, norm=norm, eps=eps)
            self.aux2 = SideHead(528, classes, side=side, adaptive=adaptive, norm=norm, eps=eps)
        heads = [head.fc2 for head in (self.aux1, self.aux2) if head is not None]
        initialise(self, self.fc, *heads)

    def stages(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The maps that the side heads and the last layer read."""
        x = self.norm(self.pool1(self.stem1(x)))  # (N, 64, 56, 56)
        x = self.stem3(self.stem2(x))  # (N, 192, 56, 56)
        x = self.pool2(self.norm(x))  # (N, 192, 28, 28)
        x = self.inception3a(x)  # (N, 256, 28, 28)
        x = self.inception3b(x)  # (N, 480, 28, 28)
        a = self.inception4a(self.pool3(x))  # (N, 512, 14, 14)
        x = self.inception4b(a)  # (N, 512, 14, 14)
        x = self.inception4c(x)  # (N, 512, 14, 14)
        d = self.inception4d(x)  # (N, 528, 14, 14)
        x = self.inception4e(d)  # (N, 832, 14, 14)
        x = self.inception5a(self.pool4(x))  # (N, 832, 7, 7)
        x = self.inception5b(x)  # (N, 1024, 7, 7)
        return a, d, x

    def maps(self, x: Tensor) -> Tensor:
        return self.stages(x)[2]  # (N, 1024, 7, 7)

    def score(self, maps: Tensor) -> Tensor:
        x = self.dropout(self.mean(maps))  # (N, 1024)
        return self.fc(x)  # (N, classes)

    def forward(self, x: Tensor) -> Tensor | WithAux:
        a, d, x = self.stages(x)
        logits = self.score(x)  # (N, classes)
        if self.training and self.aux1 is not None and self.aux2 is not None:
            return WithAux(logits, (self.aux1(a), self.aux2(d)))
        return logits
