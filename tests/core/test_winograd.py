"""Winograd convolutions against PyTorch's, and against the identity that defines them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

pytest.importorskip("numba")

from cnnapps.core import winograd
from cnnapps.core.blocks import Bottleneck, Residual
from cnnapps.core.winograd import WinogradConv2d, accelerate, conv3x3, restore


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    return bool((found - expected).abs().max() <= 2e-5 * expected.abs().max() + 1e-6)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 5), c=st.integers(1, 9), k=st.integers(1, 9), h=st.integers(1, 21),
    w=st.integers(1, 21), seed=st.integers(0, 99), last=st.booleans(),
)  # fmt: skip
def test_it_is_the_convolution_and_so_are_its_gradients(
    n: int, c: int, k: int, h: int, w: int, seed: int, last: bool
) -> None:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, c, h, w, generator=generator, dtype=torch.float32)
    if last:
        x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(k, c, 3, 3, generator=generator)
    bias = torch.randn(k, generator=generator)
    up = torch.randn(n, k, h, w, generator=generator)
    ours = [t.clone().requires_grad_() for t in (x, weight, bias)]
    theirs = [t.double().requires_grad_() for t in (x, weight, bias)]
    y = conv3x3(*ours)
    expected = F.conv2d(*theirs, padding=1)
    assert y.shape == expected.shape
    assert close(y, expected)
    found = torch.autograd.grad(y, ours, up)
    for a, b in zip(found, torch.autograd.grad(expected, theirs, up.double()), strict=True):
        assert close(a, b)


def test_a_batch_of_many_chunks_and_threads_of_their_own_buffers() -> None:
    x, weight = torch.randn(70, 40, 19, 19), torch.randn(24, 40, 3, 3)
    assert winograd._plan(19, 19, 40, 24, 0).step < 70  # several chunks
    assert close(conv3x3(x, weight), F.conv2d(x, weight, padding=1))


def test_the_kernel_matrix_is_exact_on_the_points_it_interpolates() -> None:
    # F(4, 3) in one dimension: G g are the values of g(t) at 0, 1, -1, 2, -2 and infinity, scaled.
    g = np.array([5.0, -3.0, 2.0])
    values = np.array([np.polyval(g[::-1], t) for t in (0, 1, -1, 2, -2)])
    scale = np.array([1 / 4, -1 / 6, -1 / 6, 1 / 24, 1 / 24])
    assert np.allclose(winograd.G @ g, [*(values * scale), g[2]], rtol=1e-6)


def test_only_what_it_can_compute_is_swapped_and_all_comes_back() -> None:
    net = nn.Sequential(
        Residual(4, 4), Bottleneck(4, 2, 8), nn.Conv2d(8, 8, 3, stride=2, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=2), nn.Conv2d(8, 8, 3, padding=2, dilation=2),
        nn.Conv2d(8, 8, 3), nn.Conv2d(8, 8, 3, padding=1, padding_mode="reflect"),
        nn.Conv2d(8, 2, 5, padding=2), nn.Conv2d(2, 2, 3, padding=1),
    ).eval()  # fmt: skip
    x = torch.randn(2, 4, 12, 12)
    expected, names = net(x), [type(m).__name__ for m in net.modules()]
    before = copy.deepcopy(net.state_dict())
    assert accelerate(net) is net
    kinds = [type(m) is WinogradConv2d for m in net.modules() if isinstance(m, nn.Conv2d)]
    # both of Residual, the middle one of Bottleneck, and the very last; shortcuts are 1x1
    assert sum(kinds) == 4 and kinds[-1] and not any(kinds[-7:-1])
    assert close(net(x), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # leaves it to PyTorch
        assert net(x).dtype == torch.bfloat16
    assert close(net.double()(x.double()), expected.double())
    restore(net.float())
    assert [type(m).__name__ for m in net.modules()] == names
    assert all(
        torch.equal(a, b) for a, b in zip(before.values(), net.state_dict().values(), strict=True)
    )
