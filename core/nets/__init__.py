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


COURSE = "Qiu, Neural Networks and Deep Learning, slides on convolutional networks"
LENET = "LeCun et al. 1998, Gradient-based learning applied to document recognition"
ALEXNET = "Krizhevsky et al. 2012, ImageNet classification with deep convolutional networks"
ONE_TOWER = "Krizhevsky 2014, One weird trick for parallelizing convolutional networks"
VGG = "Simonyan & Zisserman 2015, Very deep convolutional networks"
NIN = "Lin et al. 2014, Network in network"
GOOGLENET = "Szegedy et al. 2015, Going deeper with convolutions"
INCEPTION = "Szegedy et al. 2016, Rethinking the Inception architecture"
RESNET = "He et al. 2016, Deep residual learning for image recognition"
SQUEEZENET = "Iandola et al. 2016, SqueezeNet"
MOBILENET = "Sandler et al. 2018, MobileNetV2: Inverted residuals and linear bottlenecks"
LITE = "Tan & Le 2019, EfficientNet: Rethinking model scaling; Lite: Google 2020"

_COARSE = "first layer 7x7 at stride 2 below 128 pixels, 5x5 at stride 1 below 64"
_FINE = "below 64 pixels the first layer is 3x3 at stride 1 without pooling behind it"
_STRIDE = "below 64 pixels the first layer has stride 1"
_POOLS = "a pooling that would find less than 2x2 pixels is left out"

_DIGIT, _GREY, _PHOTO, _TINY = (1, 28, 28), (1, 224, 224), (3, 224, 224), (3, 32, 32)


def _spec(
    name: str,
    builder: str,
    shape: tuple[int, int, int],
    classes: int,
    paper: str,
    notes: str,
    *,
    small: str = "",
    least: int = 1,
    torchvision: str | None = None,
    **arguments: Any,
) -> NetSpec:
    module, _, cls = builder.partition(".")
    return NetSpec(
        name, module, cls, shape, classes, paper, notes, small, least, torchvision, arguments
    )


def _all() -> list[NetSpec]:
    def photo(name: str, builder: str, *args: Any, **kwargs: Any) -> NetSpec:
        return _spec(name, builder, _PHOTO, 1000, *args, **kwargs)

    def vgg(name: str, letter: str, notes: str, torchvision: str | None) -> NetSpec:
        return photo(
            name,
            "vgg.VGG",
            VGG,
            notes,
            small=_POOLS,
            least=2,
            torchvision=torchvision,
            configuration=letter,
        )

    return [
        _spec(
            "cnn", "cnn.SmallCNN", _DIGIT, 10, COURSE, "two convolutions, one linear layer", least=4
        ),
        _spec(
            "lenet5",
            "lenet.LeNet5",
            (1, 32, 32),
            10,
            LENET,
            "the paper's: connection table, trainable subsampling, distances to fixed codes",
            small="below 32 pixels zeros around the picture make it 32",
            least=14,
        ),
        _spec(
            "lenet",
            "lenet.LeNet",
            _DIGIT,
            10,
            LENET,
            "as written today: full connections, ReLU, max pooling",
            least=12,
        ),
        _spec(
            "lenet-deck",
            "lenet.LeNet",
            _DIGIT,
            10,
            COURSE,
            "the slides': sigmoid, no padding",
            least=16,
            activation="sigmoid",
            padding=0,
        ),
        _spec(
            "alexnet",
            "alexnet.AlexNet",
            (3, 227, 227),
            1000,
            ALEXNET,
            "the paper's: two towers, normalised responses",
            small=_COARSE,
            least=28,
        ),
        photo(
            "alexnet-torchvision",
            "alexnet.AlexNetOneTower",
            ONE_TOWER,
            "one tower with 64, 192, 384, 256, 256 maps",
            small=_COARSE,
            least=28,
            torchvision="alexnet",
        ),
        _spec(
            "alexnet-deck",
            "alexnet.AlexNet",
            _GREY,
            10,
            COURSE,
            "the slides': one tower, no response norm",
            small=_COARSE,
            least=28,
            groups=1,
            lrn=False,
        ),
        vgg("vgg11", "A", "configuration A", "vgg11"),
        vgg("vgg11-lrn", "A-LRN", "configuration A-LRN: A and one response norm", None),
        vgg("vgg13", "B", "configuration B", "vgg13"),
        vgg("vgg16-c", "C", "configuration C: 1x1 as the third layer of stages 3 to 5", None),
        vgg("vgg16", "D", "configuration D", "vgg16"),
        vgg("vgg19", "E", "configuration E", "vgg19"),
        _spec(
            "vgg11-deck",
            "vgg.VGG",
            _GREY,
            10,
            COURSE,
            "the slides' VGG-11",
            small=_POOLS,
            least=2,
            configuration="A",
        ),
        _spec(
            "vgg11-deck-8",
            "vgg.VGG",
            _GREY,
            10,
            COURSE,
            "VGG-11 with an eighth of all widths, the one that the course trains",
            small=_POOLS,
            least=2,
            configuration="A",
            divide=8,
        ),
        _spec(
            "nin-deck",
            "nin.NiN",
            _GREY,
            10,
            COURSE,
            "the slides': AlexNet's plan in NiN blocks",
            small=_COARSE,
            least=15,
        ),
        _spec(
            "nin-cifar",
            "nin.NiNCIFAR",
            _TINY,
            10,
            NIN,
            "the paper's for small pictures: three blocks, mean of a map a class",
            least=8,
        ),
        photo(
            "googlenet",
            "googlenet.GoogLeNet",
            GOOGLENET,
            "the paper's, Inception v1: biases, response norms, 5x5; aux=True for side heads",
            small=_FINE,
            least=8,
        ),
        photo(
            "googlenet-torchvision",
            "googlenet.GoogLeNet",
            GOOGLENET,
            "batch norm, 3x3 where the paper has 5x5; aux=True for side heads",
            small=_FINE,
            least=8,
            torchvision="googlenet",
            kind="torchvision",
        ),
        _spec(
            "googlenet-deck",
            "googlenet.GoogLeNet",
            (1, 96, 96),
            10,
            COURSE,
            "the slides': Inception v1 without norms and side heads",
            small=_FINE,
            kind="slides",
        ),
        _spec(
            "inception-v3",
            "inception_v3.InceptionV3",
            (3, 299, 299),
            1000,
            INCEPTION,
            "nxn as 1xn and nx1; aux=True for the side head",
            least=75,
            torchvision="inception_v3",
        ),
        _spec(
            "resnet18-deck",
            "resnet.ResNet",
            _GREY,
            10,
            COURSE,
            "the slides': convolutions with bias, no norm on the shortcut",
            small=_FINE,
            depth=18,
            slides=True,
        ),
        *(
            photo(
                f"resnet{depth}",
                "resnet.ResNet",
                RESNET,
                "pairs of 3x3 layers" if depth < 50 else "bottlenecks, stride on the 3x3 layer",
                small=_FINE,
                torchvision=f"resnet{depth}",
                depth=depth,
            )
            for depth in (18, 34, 50, 101, 152)
        ),
        *(
            _spec(
                f"resnet{depth}",
                "resnet.ResNetCIFAR",
                _TINY,
                10,
                RESNET,
                "section 4.2, for small pictures: three stages, shortcuts without weights",
                depth=depth,
            )
            for depth in (20, 32, 44, 56, 110)
        ),
        photo(
            "squeezenet",
            "squeezenet.SqueezeNet",
            SQUEEZENET,
            "version 1.1: fire modules, no full layer",
            small=_STRIDE,
            least=16,
            torchvision="squeezenet1_1",
        ),
        photo(
            "mobilenet-v2",
            "mobilenet_v2.MobileNetV2",
            MOBILENET,
            "inverted residuals",
            small=_STRIDE,
            torchvision="mobilenet_v2",
        ),
        *(
            _spec(
                f"efficientnet-lite{variant}",
                "efficientnet_lite.EfficientNetLite",
                (3, side, side),
                1000,
                LITE,
                "inverted residuals, ReLU6, TensorFlow's padding",
                small=_STRIDE,
                variant=variant,
            )
            for variant, side in enumerate((224, 240, 260, 280, 300))
        ),
    ]


NETS: Mapping[str, NetSpec] = MappingProxyType({net.name: net for net in _all()})
"""Every net by name, in the order of the course."""
