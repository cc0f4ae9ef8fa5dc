"""The table of nets: names, arguments, refusals, and no torch before a net is built."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from cnnapps.core.errors import InputError
from cnnapps.core.nets import NETS, build, spec
from cnnapps.core.nets.parts import Net
from cnnapps.tests.core.nets.common import FAMILIES, count


def test_the_table_is_read_without_torch() -> None:
    code = (
        "import sys; from cnnapps.core.nets import NETS, spec; spec('lenet'); "
        "assert len(NETS) > 30; assert 'torch' not in sys.modules and 'numpy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", NETS)
def test_an_entry_says_what_it_builds(name: str) -> None:
    entry = spec(name)
    assert entry.name == name
    assert entry.paper
    assert entry.notes
    assert entry.input[1] == entry.input[2] >= entry.least
    with torch.device("meta"):
        net = entry()
    assert isinstance(net, Net)
    assert net.training
    assert entry.torchvision is None or net.torchvision_names
    assert all(p.requires_grad for p in net.parameters())


def test_the_families_of_these_tests_have_every_class_and_least_side() -> None:
    def kinds(names: object) -> set[tuple[str, int, str]]:
        return {(e.builder, e.least, e.small) for e in NETS.values() if e.name in set(names)}  # type: ignore[call-overload]

    assert kinds(FAMILIES) == kinds(NETS)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_smallest_side_works_and_one_less_is_refused(name: str) -> None:
    entry = spec(name)
    for size in {entry.least, 33, 99} - set(range(entry.least)):
        parameters, _, shapes = count(name, size=size, channels=2, classes=7)
        assert parameters > 0
        assert shapes[""] == (7,), size
    if entry.least > 1:
        with pytest.raises(InputError, match=f"at least {entry.least} pixels a side, got"):
            build(name, size=entry.least - 1)


def test_an_unknown_name_is_one_line_with_the_close_ones() -> None:
    with pytest.raises(InputError, match="resnet19: no net of that name; did you mean resnet") as e:
        spec("resnet19")
    assert "\n" not in str(e.value)
    with pytest.raises(InputError, match="did you mean lenet"):
        build("LeNet")
    with pytest.raises(InputError, match=r"\\x1b\[2J: no net of that name$"):
        spec("\x1b[2J")


def test_arguments_that_a_net_does_not_have_are_refused() -> None:
    with pytest.raises(TypeError, match="widths"):
        build("lenet", widths=3)
    for name, arguments in (
        ("resnet18", {"depth": 19}),
        ("resnet20", {"depth": 21}),
        ("vgg11", {"configuration": "F"}),
        ("vgg11", {"divide": 3}),
        ("googlenet", {"kind": "v2"}),
        ("lenet5", {"output": "softmax"}),
        ("efficientnet-lite0", {"variant": 5}),
    ):
        with pytest.raises(ValueError, match=str(next(iter(arguments.values())))):
            build(name, **arguments)


def test_the_table_cannot_be_changed() -> None:
    with pytest.raises(TypeError):
        NETS["x"] = NETS["lenet"]  # type: ignore[index]


def test_names_work_as_the_table_of_a_weights_card() -> None:
    """open_runtime builds ``table[card.net](**card.arguments)``."""
    table = NETS
    assert isinstance(table["lenet"](classes=26), Net)
