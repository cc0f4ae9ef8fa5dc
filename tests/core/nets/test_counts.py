"""Parameters, multiply-adds and shapes: the papers', torchvision's and the slides' numbers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from cnnapps.core.nets import NETS, build
from cnnapps.core.nets.googlenet import MODULES
from cnnapps.core.nets.lenet import C3_TABLE
from cnnapps.tests.core.nets.common import count

# The counts of torchvision's nets are those of torchvision's own modules; of the slides', those of
# the slides' code run as printed; lite's parameters and multiply-adds agree with the reference
# code's (4.652 ... 13.007 M and 0.385 ... 2.553 G).
TABLE = {
    "cnn": (28_938, 2_838_080),
    # 156 + 12 + 1,516 + 32 + 48,120 + 10,164: LeCun et al. 1998, II.B, "60,000 trainable"
    "lenet5": (60_000, 117_600 + 150_000 + 48_000 + 10_080),
    "lenet": (61_706, 416_520),
    "lenet-deck": (44_426, 281_640),
    "alexnet": (60_965_224, 724_406_816),
    "alexnet-torchvision": (61_100_840, 714_188_480),
    "alexnet-deck": (46_764_746, 938_146_176),
    "vgg11": (132_863_336, 7_609_090_048),
    "vgg11-lrn": (132_863_336, 7_609_090_048),
    "vgg13": (133_047_848, 11_308_466_176),
    "vgg16-c": (133_638_952, 11_770_888_192),
    "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464),
    "vgg11-deck": (128_806_154, 7_547_232_256),
    "vgg11-deck-8": (2_018_346, 121_091_072),
    "nin-deck": (1_992_166, 762_297_352),
    "nin-cifar": (966_986, 222_486_528),
    "googlenet": (6_998_552, 1_582_671_872),
    "googlenet-torchvision": (6_624_904, 1_498_376_192),
    "googlenet-deck": (5_977_530, 276_066_304),
    "inception-v3": (23_834_568, 5_713_216_096),
    "resnet18-deck": (11_178_378, 1_734_890_496),
    "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408),
    "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440),
    "resnet152": (60_192_808, 11_513_626_624),
    "resnet20": (269_722, 40_551_040),
    "resnet32": (464_154, 68_862_592),
    "resnet44": (658_586, 97_174_144),
    "resnet56": (853_018, 125_485_696),
    "resnet110": (1_727_962, 252_887_680),
    "squeezenet": (1_235_496, 349_151_936),
    "mobilenet-v2": (3_504_872, 300_774_272),
    "efficientnet-lite0": (4_652_008, 385_187_552),
    "efficientnet-lite1": (5_416_680, 600_185_232),
    "efficientnet-lite2": (6_092_072, 859_736_272),
    "efficientnet-lite3": (8_197_096, 1_383_321_872),
    "efficientnet-lite4": (13_006_568, 2_553_034_336),
}


def test_every_net_has_its_numbers_here() -> None:
    assert list(TABLE) == list(NETS)


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_multiply_adds(name: str) -> None:
    parameters, macs, shapes = count(name)
    assert (parameters, macs) == TABLE[name]
    assert shapes[""] == (NETS[name].classes,)


@pytest.mark.parametrize(
    ("name", "parameters"), [("googlenet-torchvision", 13_004_888), ("inception-v3", 27_161_264)]
)
def test_side_heads_cost_parameters_but_nothing_in_evaluation(name: str, parameters: int) -> None:
    assert count(name, aux=True)[:2] == (parameters, TABLE[name][1])


def parameters_of(name: str, **arguments: object) -> dict[str, int]:
    """Parameters of each direct part that has any."""
    with torch.device("meta"):
        net = build(name, **arguments)
    counts = {n: sum(p.numel() for p in part.parameters()) for n, part in net.named_children()}
    return {n: c for n, c in counts.items() if c}


def test_layers_of_the_first_net_and_of_lenet() -> None:
    assert parameters_of("cnn") == {"conv1": 416, "conv2": 12_832, "out": 15_690}
    slides = {"conv1": 156, "conv2": 2_416, "fc1": 30_840, "fc2": 10_164, "fc3": 850}
    assert parameters_of("lenet-deck") == slides
    paper = {"c1": 156, "s2": 12, "c3": 1_516, "s4": 32, "c5": 48_120, "f6": 10_164}
    assert parameters_of("lenet5") == paper
    assert sum(parameters_of("lenet5", output="linear").values()) == 60_850


def test_the_connection_table_row_by_row() -> None:
    """LeCun et al. 1998, table I, read the other way: which outputs each input feeds."""
    rows = (
        (0, 4, 5, 6, 9, 10, 11, 12, 14, 15),
        (0, 1, 5, 6, 7, 10, 11, 12, 13, 15),
        (0, 1, 2, 6, 7, 8, 11, 13, 14, 15),
        (1, 2, 3, 6, 7, 8, 9, 12, 14, 15),
        (2, 3, 4, 7, 8, 9, 10, 12, 13, 15),
        (3, 4, 5, 8, 9, 10, 11, 13, 14, 15),
    )
    for d, outputs in enumerate(rows):
        assert tuple(p for p in range(16) if d in C3_TABLE[p]) == outputs
    assert [len(row) for row in C3_TABLE] == [3] * 6 + [4] * 9 + [6]
    assert sum(map(len, C3_TABLE)) * 5 * 5 + 16 == 1_516


def shapes(name: str, *layers: str, **arguments: object) -> list[tuple[int, ...]]:
    seen = count(name, **arguments)[2]
    return [seen[layer] for layer in layers]


def test_shapes_of_lenet_and_alexnet() -> None:
    assert shapes("lenet5", "c1", "s2", "c3", "s4", "c5", "f6", "output") == [
        *((6, 28, 28), (6, 14, 14), (16, 10, 10), (16, 5, 5)),
        *((120, 1, 1), (84,), (10,)),
    ]
    convolutions = ("conv1", "conv2", "conv3", "conv4", "conv5")
    paper = [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)]
    assert shapes("alexnet", *convolutions) == paper
    slides = [(96, 54, 54), (256, 26, 26), (384, 12, 12), (384, 12, 12), (256, 12, 12)]
    assert shapes("alexnet-deck", *convolutions) == slides
    with torch.device("meta"):
        net = build("alexnet-deck")
        pooled = net.pool(torch.empty(1, 256, 12, 12))  # type: ignore[operator]
    assert pooled.shape == (1, 256, 5, 5)
    assert net.dense[0].in_features == 256 * 5 * 5  # type: ignore[index,union-attr]


def test_shapes_of_vgg_nin_and_the_deep_ones() -> None:
    stages = [f"stages.{i}" for i in range(5)]
    assert shapes("vgg11-deck", *stages, "dense") == [
        *((64, 224, 224), (128, 112, 112), (256, 56, 56), (512, 28, 28), (512, 14, 14)),
        (4096,),
    ]
    nin = ["block1", "block2", "block3", "dropout", "block4", "mean"]
    sizes = [(96, 54, 54), (256, 26, 26), (384, 12, 12), (384, 5, 5), (10, 5, 5), (10,)]
    assert shapes("nin-deck", *nin) == sizes
    residual = ["stem", "pool", "stage1", "stage2", "stage3", "stage4", "mean"]
    assert shapes("resnet50", *residual) == [
        *((64, 112, 112), (64, 56, 56), (256, 56, 56), (512, 28, 28), (1024, 14, 14)),
        *((2048, 7, 7), (2048,)),
    ]
    assert shapes("resnet56", "stage1", "stage2", "stage3") == [
        *((16, 32, 32), (32, 16, 16), (64, 8, 8))
    ]
    lite = ["stem", "blocks.0", "blocks.2", "blocks.4", "blocks.7", "blocks.10", "blocks", "head"]
    assert shapes("efficientnet-lite0", *lite) == [
        *((32, 112, 112), (16, 112, 112), (24, 56, 56), (40, 28, 28), (80, 14, 14)),
        *((112, 14, 14), (320, 7, 7), (1280, 7, 7)),
    ]


INCEPTIONS = {
    "3a": (163_696, 256),
    "3b": (388_736, 480),
    "4a": (376_176, 512),
    "4b": (449_160, 512),
    "4c": (510_104, 512),
    "4d": (605_376, 528),
    "4e": (868_352, 832),
    "5a": (1_043_456, 832),
    "5b": (1_444_080, 1024),
}


def test_modules_of_googlenet() -> None:
    assert list(INCEPTIONS) == list(MODULES)
    seen = parameters_of("googlenet")
    for name, (parameters, _) in INCEPTIONS.items():
        assert seen[f"inception{name}"] == parameters, name
    names = [f"inception{name}" for name in INCEPTIONS]
    grids = [28, 28, 14, 14, 14, 14, 14, 7, 7]
    wanted = [(c, g, g) for (_, c), g in zip(INCEPTIONS.values(), grids, strict=True)]
    assert shapes("googlenet", *names) == wanted
    assert shapes("googlenet-torchvision", *names) == wanted


def test_grids_of_inception_v3() -> None:
    """Szegedy et al. 2016, table 1: 299, 149, 147, 147, 73, (73), 71, 35, 17, 8."""
    stem = [shape[1] for shape in shapes("inception-v3", *(f"stem.{i}" for i in range(7)))]
    assert stem == [149, 147, 147, 73, 73, 71, 35]
    modules = ["mixed5b", "mixed5d", "mixed6a", "mixed6e", "mixed7a", "mixed7c"]
    assert shapes("inception-v3", *modules) == [
        *((256, 35, 35), (288, 35, 35), (768, 17, 17), (768, 17, 17), (1280, 8, 8), (2048, 8, 8))
    ]


def test_layers_with_weights_are_as_many_as_the_names_say() -> None:
    """ResNet-18 ... 152 and 20 ... 110, VGG-11 ... 19, GoogLeNet 22: shortcuts don't count."""
    for name in ("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"):
        assert depth(name) == int(name.removeprefix("resnet"))
    for name in ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110"):
        assert depth(name) == int(name.removeprefix("resnet"))
    for name in ("vgg11", "vgg13", "vgg16", "vgg19"):
        assert depth(name) == int(name.removeprefix("vgg"))


def depth(name: str) -> int:
    with torch.device("meta"):
        net = build(name)
    kinds = (torch.nn.Conv2d, torch.nn.Linear)
    return sum(isinstance(m, kinds) for n, m in net.named_modules() if "shortcut" not in n)


def test_small_inputs_get_the_finer_stems_that_the_notes_name() -> None:
    # AlexNet and NiN: 5x5 at stride 1 below 64 pixels, 7x7 at stride 2 below 128
    for name, first in (("alexnet-deck", "conv1"), ("nin-deck", "block1")):
        for size, side in ((28, 28), (63, 63), (64, 32), (127, 64), (128, 30)):
            assert shapes(name, first, size=size) == [(96, side, side)], (name, size)
    # ResNet and GoogLeNet: no division by 4 in front
    assert shapes("resnet18", "stage4", size=32) == [(512, 4, 4)]
    assert shapes("resnet18", "stage4", size=64) == [(512, 2, 2)]
    assert shapes("googlenet-deck", "inception5b", size=28) == [(1024, 4, 4)]
    # VGG: five poolings fit into 32 pixels, four into 28
    assert shapes("vgg11-deck-8", "stages.4", size=32) == [(64, 2, 2)]
    assert shapes("vgg11-deck-8", "stages.4", size=28) == [(64, 1, 1)]
    assert shapes("lenet5", "c1", "s4", size=28) == [(6, 28, 28), (16, 5, 5)]
    for name in ("mobilenet-v2", "efficientnet-lite0"):
        assert shapes(name, "head", size=32) == [(1280, 2, 2)]
    assert shapes("squeezenet", "fire9", size=32) == [(512, 4, 4)]


def test_the_page_has_every_net_with_these_numbers() -> None:
    page = (Path(__file__).parents[3] / "docs" / "nets.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.+?)` \| (\S+) \| (\d+) \| (\S+) \| (\S+) \| (.+) \|$", page, re.M)
    wanted = []
    for name, entry in NETS.items():
        parameters, macs = TABLE[name]
        shape = "x".join(map(str, entry.input))
        row = (name, shape, str(entry.classes), f"{parameters:,}", f"{macs:,}", entry.notes)
        wanted.append(row)
    assert rows == wanted
