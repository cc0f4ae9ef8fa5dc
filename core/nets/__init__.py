"""The course's nets by name: LeNet to EfficientNet, a file a paper, built from ``core.blocks``.

    from cnnapps.core.nets import NETS, build, spec
    net = build("resnet20", classes=10, channels=1, size=28)

Every net is a ``parts.Net``: ``net(x)`` gives logits (N, classes), ``net.maps(x)`` the last grid
of features, ``net.score(maps)`` the rest. All take square pictures of ``size`` pixels a side (the
paper's if not given) with ``channels``; ``NetSpec.small`` says what changes below that. Nothing
here imports torch until a net is built.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from cnnapps.core.errors import InputError, need

if TYPE_CHECKING:
    from cnnapps.core.nets.parts import Net

__all__ = ["NETS", "NetSpec", "build", "spec"]


@dataclass(frozen=True, slots=True)
class NetSpec:
    """A net that can be built. Calling it does: ``NETS["lenet"](classes=26)``.

    ``input`` is the paper's (channels, height, width) and ``classes`` the paper's; ``least`` the
    smallest side in pixels; ``arguments`` what the name fixes; ``torchvision`` the name of the
    same net there, whose state dict ``load.load_torchvision`` reads.
    """

    name: str
    module: str
    builder: str
    input: tuple[int, int, int]
    classes: int
    paper: str
    notes: str
    small: str = ""
    least: int = 1
    torchvision: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, **arguments: Any) -> Net:
        """Build it; ``channels``, ``classes``, ``size`` and the net's own arguments.

        InputError if ``size`` is too small; TypeError or ValueError for arguments that the net
        doesn't have.
        """
        need("torch", f"net {self.name}")
        defaults = {
            "channels": self.input[0],
            "classes": self.classes,
            "size": self.input[1],
            **self.arguments,
        }
        module = importlib.import_module(f"cnnapps.core.nets.{self.module}")
        return getattr(module, self.builder)(**{**defaults, **arguments})


def spec(name: str) -> NetSpec:
    """The entry of that name; InputError that names close ones if there is none."""
    if name not in NETS:
        close = get_close_matches(name.lower(), NETS, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(close)}?" if close else ""
        raise InputError(name, f"no net of that name{hint}")
    return NETS[name]


def build(name: str, **arguments: Any) -> Net:
    """``spec(name)(**arguments)``: an untrained net in training mode, on torch's default device."""
    return spec(name)(**arguments)


COURSE = "Qiu, Neural Networks and Deep Learning, chapter 5 slides"
LENET = (
    "LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition"
)
RESNET = "He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition"
LITE = "Tan & Le 2019, EfficientNet; Lite: Google 2020"

_FINE_STEM = "below 64 pixels: 3x3 stem at stride 1, no first pooling"


def _all() -> list[NetSpec]:
    digits, photo = (1, 28, 28), (3, 224, 224)
    nets = [
        NetSpec(
            "cnn",
            "cnn",
            "SmallCNN",
            digits,
            10,
            COURSE,
            "the first net of the slides: two convolutions and a linear layer",
            least=4,
        ),
        NetSpec(
            "lenet5",
            "lenet",
            "LeNet5",
            (1, 32, 32),
            10,
            LENET,
            "the paper's: connection table, trainable subsampling, distances to fixed codes",
            small="below 32 pixels: zeros around the picture up to 32",
            least=14,
        ),
        NetSpec(
            "lenet",
            "lenet",
            "LeNet",
            digits,
            10,
            LENET,
            "as written today: full connections, ReLU, max pooling",
            least=12,
        ),
        NetSpec(
            "lenet-deck",
            "lenet",
            "LeNet",
            digits,
            10,
            COURSE,
            "the slides' LeNet: sigmoid, no padding",
            least=16,
            arguments={"activation": "sigmoid", "padding": 0},
        ),
        NetSpec(
            "resnet18-deck",
            "resnet",
            "ResNet",
            (1, 224, 224),
            10,
            COURSE,
            "the slides' ResNet-18: convolutions with bias, no norm on the shortcut",
            small=_FINE_STEM,
            arguments={"depth": 18, "slides": True},
        ),
    ]
    nets += [
        NetSpec(
            f"resnet{depth}",
            "resnet",
            "ResNet",
            photo,
            1000,
            RESNET,
            "pairs of 3x3 layers" if depth < 50 else "bottlenecks, stride on the 3x3 layer",
            small=_FINE_STEM,
            torchvision=f"resnet{depth}",
            arguments={"depth": depth},
        )
        for depth in (18, 34, 50, 101, 152)
    ]
    nets += [
        NetSpec(
            f"resnet{depth}",
            "resnet",
            "ResNetCIFAR",
            (3, 32, 32),
            10,
            RESNET,
            "section 4.2, for small pictures: three stages, shortcuts without weights",
            arguments={"depth": depth},
        )
        for depth in (20, 32, 44, 56, 110)
    ]
    nets += [
        NetSpec(
            f"efficientnet-lite{variant}",
            "efficientnet_lite",
            "EfficientNetLite",
            (3, side, side),
            1000,
            LITE,
            "inverted residuals, ReLU6, TensorFlow's padding",
            small="below 64 pixels: stem at stride 1",
            arguments={"variant": variant},
        )
        for variant, side in enumerate((224, 240, 260, 280, 300))
    ]
    return nets


NETS: Mapping[str, NetSpec] = MappingProxyType({net.name: net for net in _all()})
"""Every net by name, in the order of the course."""
