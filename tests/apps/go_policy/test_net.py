"""The nets: sizes of the paper, gradients, any board size."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from cnnapps.apps.go_policy.net import NETS, AlphaGoPolicy, KataGoPolicy  # noqa: E402

pytestmark = pytest.mark.torch


@pytest.mark.parametrize("width", [128, 192, 256, 384])
def test_alphago_has_the_parameters_of_the_paper(width: int) -> None:
    net = AlphaGoPolicy(width)
    count = sum(p.numel() for p in net.parameters())
    assert count == (25 * 48 * width + width) + 11 * (9 * width**2 + width) + width + 361
    assert width != 192 or count == 3_882_793


def test_alphago_answers_for_each_point_and_learns_everywhere() -> None:
    net = AlphaGoPolicy(16)
    logits = net(torch.rand(2, 48, 19, 19))
    assert logits.shape == (2, 361)
    torch.nn.functional.cross_entropy(logits, torch.tensor([0, 360])).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    assert all(p.grad.abs().sum() > 0 for p in net.parameters())


def test_signals_keep_their_scale_through_twelve_layers() -> None:
    torch.manual_seed(0)
    planes = (torch.rand(4, 48, 19, 19) < 0.2).float()
    assert 0.02 < AlphaGoPolicy(64)(planes).std().item() < 5


@pytest.mark.parametrize("size", [5, 9, 13, 19])
def test_katago_plays_on_any_size(size: int) -> None:
    net = KataGoPolicy("op", width=8, middle=8, regular=6, pooled=4, head=4)
    logits = net(torch.rand(3, 22, size, size), torch.rand(3, 19))
    assert logits.shape == (3, size * size + 1)
    logits.square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def test_katago_default_is_b6c96() -> None:
    count = sum(p.numel() for p in KataGoPolicy().parameters())
    assert count == 1_018_272
    assert set(NETS) == {"alphago", "katago"}


def test_positions_do_not_hear_of_their_neighbours_in_the_batch() -> None:
    net = KataGoPolicy("op", width=8, middle=8, regular=6, pooled=4, head=4).eval()
    for block in net.blocks:
        torch.nn.init.normal_(block.conv2.conv.weight)
    planes, numbers = torch.rand(3, 22, 9, 9), torch.rand(3, 19)
    alone = torch.cat([net(planes[i : i + 1], numbers[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(net(planes, numbers), alone, rtol=1e-4, atol=1e-4)
