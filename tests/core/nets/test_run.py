"""Every net runs: forward, backward, both halves, channels_last, torch.compile, ONNX Runtime."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cnnapps.core.card import Card
from cnnapps.core.export import export
from cnnapps.core.nets import NETS, build, spec
from cnnapps.core.nets.alexnet import response_norm
from cnnapps.core.nets.lenet import LeNet5, ScaledTanh
from cnnapps.core.nets.parts import Net, WithAux, spread
from cnnapps.core.runtime import open_runtime
from cnnapps.core.weights import open_weights
from cnnapps.tests.core.folders import card
from cnnapps.tests.core.nets.common import FAMILIES, small, worst

torch.set_num_threads(1)

AUX = ("googlenet", "googlenet-torchvision", "googlenet-deck")


def loss_of(net: Net, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    out = net(x)
    if isinstance(out, WithAux):
        side = sum(F.cross_entropy(aux, y) for aux in out.aux)
        return F.cross_entropy(out.logits, y) + net.aux_weight * side
    return F.cross_entropy(out, y)


@pytest.mark.parametrize("name", NETS)
def test_forward_and_backward_are_finite_and_reach_every_weight(name: str) -> None:
    torch.manual_seed(0)
    net, x = small(name, **({"aux": True} if name in AUX else {}))
    loss = loss_of(net, x, torch.tensor([0, 2]))
    # the last layer starts small, so it knows nothing: ln 3 for each head
    heads = 1 + (2 * net.aux_weight if name in AUX else 0)
    assert torch.isfinite(loss)
    if not name.startswith("lenet"):
        assert abs(loss.item() / heads - math.log(3)) < 0.7
    loss.backward()
    for path, parameter in net.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path


@pytest.mark.parametrize("name", FAMILIES)
@torch.no_grad()
def test_maps_then_score_is_the_net_in_any_memory_format(name: str) -> None:
    torch.manual_seed(0)
    net, x = small(name)
    net.eval()
    want = net(x)
    maps = net.maps(x)
    assert maps.ndim == 4
    assert torch.equal(net.score(maps), want)
    net = net.to(memory_format=torch.channels_last)
    assert worst(net(x.contiguous(memory_format=torch.channels_last)), want) <= 1e-4
    # one by one as in a batch
    assert worst(torch.cat([net(x[:1]), net(x[1:])]), want) <= 1e-4


@pytest.mark.parametrize("name", [*AUX, "inception-v3"])
def test_side_heads_answer_in_training_only(name: str) -> None:
    sizes = [299] if name == "inception-v3" else [28, 31, 224]
    heads = 1 if name == "inception-v3" else 2
    for size in sizes:
        with torch.device("meta"):
            net = build(name, aux=True, classes=5, channels=3, size=size)
            x = torch.empty(2, 3, size, size)
            out = net(x)
            assert isinstance(out, WithAux)
            assert out.logits.shape == (2, 5)
            assert [a.shape for a in out.aux] == [(2, 5)] * heads
            assert net.eval()(x).shape == (2, 5)
            plain = build(name, channels=3, size=size)
            assert isinstance(plain(x), torch.Tensor)
    assert 0 < net.aux_weight < 1


COMPILED: dict[str, dict[str, Any]] = {
    "lenet5": {},
    "alexnet": {},
    "vgg11-lrn": {},
    "nin-deck": {},
    "googlenet": {"aux": True},
    "resnet20": {"depth": 8},
    "squeezenet": {},
}
"""The blocks' own tests compile the rest of what nets are made of."""


@pytest.mark.parametrize("name", COMPILED)
def test_it_compiles_without_a_graph_break(name: str) -> None:
    torch._dynamo.reset()
    torch.manual_seed(0)
    net, x = small(name, **COMPILED[name])
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    out = compiled(x)  # training mode: dropout and side heads
    assert isinstance(out, WithAux) == (name in AUX)
    net.eval()
    with torch.no_grad():
        assert worst(compiled(x), net(x)) <= 1e-5


LEARN: dict[str, tuple[float, dict[str, Any]]] = {
    "cnn": (0.2, {}),
    "lenet5": (0.2, {}),
    "lenet": (0.2, {}),
    "vgg11-deck-8": (0.5, {"dropout": 0.0}),
    "nin-cifar": (0.97, {"dropout": 0.0}),  # slow to start; with dead scores it stays at 1
    "squeezenet": (0.7, {"dropout": 0.0}),
    "resnet20": (0.4, {"depth": 8}),
}
"""The share of ln 3 that the loss must fall to."""


@pytest.mark.parametrize("name", LEARN)
def test_it_learns_three_patterns(name: str) -> None:
    """Start values that let signal and gradient through: noisy patterns told apart in 30 steps."""
    torch.manual_seed(0)
    share, arguments = LEARN[name]
    net, x = small(name, **arguments)
    patterns = torch.randn(3, *x.shape[1:])
    y = torch.arange(6) % 3
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(30):
        optimizer.zero_grad()
        loss = loss_of(net, patterns[y] + 0.5 * torch.randn(6, *x.shape[1:]), y)
        loss.backward()
        optimizer.step()
    assert loss.item() < share * math.log(3)


# ----------------------------------------------------------------------------------- single facts


def test_the_response_norm_is_the_formula_of_the_paper() -> None:
    """b_i = a_i / (2 + 1e-4 Σ_{|j - i| <= 2} a_j²)^0.75: the sum isn't divided by 5."""
    torch.manual_seed(0)
    a = torch.randn(1, 9, 2, 3, dtype=torch.float64) * 100
    want = torch.empty_like(a)
    for i in range(9):
        near = a[:, max(0, i - 2) : i + 3].square().sum(1)
        want[:, i] = a[:, i] / (2 + 1e-4 * near) ** 0.75
    assert torch.allclose(response_norm()(a), want, rtol=1e-9)


def test_the_scaled_tanh_keeps_plus_and_minus_one() -> None:
    """LeCun et al. 1998, appendix A: f(1) = 1, f(-1) = -1, and the limits are ±1.7159."""
    x = torch.tensor([-100.0, -1.0, 0.0, 1.0, 100.0])
    want = torch.tensor([-1.7159, -1.0, 0.0, 1.0, 1.7159])
    assert torch.allclose(ScaledTanh()(x), want, atol=1e-4)


def test_the_codes_of_lenet5_are_fixed_apart_and_never_trained() -> None:
    net = build("lenet5")
    assert isinstance(net, LeNet5)
    codes = net.output.codes
    assert isinstance(codes, torch.Tensor)
    assert codes.shape == (10, 84)
    assert set(codes.unique().tolist()) == {-1.0, 1.0}
    assert not codes.requires_grad
    differing = (codes[:, None] != codes[None]).sum(2)
    assert int(differing.fill_diagonal_(84).min()) >= 25
    again = build("lenet5")
    assert torch.equal(again.output.codes, codes)  # type: ignore[arg-type]
    # a code itself is answered by its class, at distance 0
    answers = net.output(codes)
    assert torch.equal(answers.argmax(1), torch.arange(10))
    assert torch.equal(answers.diagonal(), torch.zeros(10))


def test_towers_do_not_see_each_other_until_the_third_layer() -> None:
    """Krizhevsky et al. 2012, figure 2."""
    net = build("alexnet", dense=16, lrn=False).eval()
    x = torch.randn(1, 96, 27, 27, requires_grad=True)
    net.conv2(x)[:, :128].sum().backward()  # type: ignore[operator]
    assert x.grad is not None
    assert x.grad[:, :48].abs().sum() > 0 == x.grad[:, 48:].abs().sum()


# ---------------------------------------------------------------------------------------- export


@pytest.mark.parametrize("name", ["lenet5", "resnet20", "efficientnet-lite0"])
def test_it_exports_and_answers_the_same_in_onnx_runtime(name: str, tmp_path: Path) -> None:
    """core.export refuses a difference above 1e-4 itself."""
    torch.manual_seed(0)
    side = 64 if name.startswith("efficient") else NETS[name].input[1]
    arguments = {"classes": 5, "size": side}
    net = build(name, **arguments)
    channels = NETS[name].input[0]
    draw = np.random.default_rng(0)
    examples = [
        {"picture": draw.standard_normal((n, channels, side, side)).astype(np.float32)}
        for n in (2, 1, 3)
    ]
    made: Card = export(
        net,
        tmp_path / "demo" / name,
        card(name, name, arguments=arguments),
        examples=examples,
        axes={"picture": {0: "n"}},
        outputs=["logits"],
    )
    assert made.outputs["logits"].shape == ("n", 5)
    assert made.parameters == sum(p.numel() for p in net.parameters())
    # and the table builds the net that the card names
    weights = open_weights(tmp_path / "demo" / name)
    runtime = open_runtime(weights, runtime="torch", nets=lambda: NETS)
    with torch.no_grad():
        want = net(torch.from_numpy(examples[0]["picture"])).numpy()
    got = runtime.run(**examples[0])["logits"]
    assert np.abs(got - want).max() <= 1e-4


@pytest.mark.parametrize("name", ["nin-cifar", "alexnet-deck", "googlenet-deck", "lenet-deck"])
def test_spread_starts_each_plain_layer_at_mean_0_and_variance_1(name: str) -> None:
    torch.manual_seed(1)
    net, _ = small(name)
    x = torch.rand(16, 1, max(28, spec(name).least), max(28, spec(name).least))
    assert spread(net, x) and net.training
    seen = {}
    layers = [m for m in net.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    for layer in layers:
        layer.register_forward_hook(lambda m, _, out: seen.update({m: out.transpose(0, 1)}))
    with torch.no_grad():
        net.eval()(x)
    for layer in layers[:-1]:
        rows = seen[layer].flatten(1)
        mean, scale = rows.mean(1), rows.std(1, correction=0)
        moved = scale > 0.5  # a channel that the batch doesn't move stays as it was
        assert float(moved.float().mean()) > 0.9
        assert float(mean[moved].abs().max()) < 1e-3
        assert float((scale[moved] - 1).abs().max()) < 1e-2


def test_spread_leaves_nets_with_norms_alone() -> None:
    net, x = small("resnet20")
    before = {n: t.clone() for n, t in net.state_dict().items()}
    assert not spread(net, x)
    assert all(torch.equal(t, before[n]) for n, t in net.state_dict().items())
