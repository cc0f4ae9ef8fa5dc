"""Muon: orthogonal updates, AdamW for the rest, and the gain it is there for."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from cnnapps.core.muon import RMS, Muon, orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (16, 144), (200, 30)])
def test_singular_values_are_levelled_and_directions_kept(shape: tuple[int, int]) -> None:
    torch.manual_seed(1)
    u, s, v = torch.linalg.svd(torch.randn(shape), full_matrices=False)
    matrix = u @ torch.diag(torch.logspace(0, -1.5, len(s))) @ v  # 30 to 1
    found = orthogonal(matrix)
    assert found.shape == shape
    core = u.T @ found @ v.T  # diagonal if the singular vectors stayed
    values = core.diagonal()
    assert (core - torch.diag(values)).abs().max() < 1e-3
    assert values.min() > 0.6 and values.max() < 1.3


def test_a_step_has_the_size_that_adamw_would_take() -> None:
    torch.manual_seed(1)
    weight = nn.Parameter(torch.zeros(32, 16, 3, 3))
    optimizer = Muon([weight], lr=0.1)
    weight.grad = torch.randn_like(weight) * 1e-6  # the scale of the gradient doesn't matter
    optimizer.step()
    rms = float(weight.detach().square().mean().sqrt())
    assert rms == pytest.approx(0.1 * RMS, rel=0.2)


def test_vectors_and_thin_matrices_are_adamws() -> None:
    torch.manual_seed(2)
    ours = [nn.Parameter(torch.randn(s)) for s in [(7,), (15, 40), (1, 64, 1, 1)]]
    theirs = [nn.Parameter(p.detach().clone()) for p in ours]
    a = Muon(ours, lr=1e-2, weight_decay=0.1)
    b = torch.optim.AdamW(theirs, lr=1e-2, betas=(0.9, 0.95), weight_decay=0.1)
    for _ in range(5):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        a.step()
        b.step()
    for p, q in zip(ours, theirs, strict=True):
        assert torch.allclose(p, q, atol=1e-6)


def test_a_parameter_without_a_gradient_stays() -> None:
    weight = nn.Parameter(torch.ones(20, 20))
    Muon([weight], lr=1.0, weight_decay=0.5).step()
    assert torch.equal(weight, torch.ones(20, 20))


def test_it_learns_an_ill_conditioned_map_where_plain_descent_crawls() -> None:
    # Inputs whose directions differ 100-fold in size: the quiet ones have small steady gradients.
    torch.manual_seed(3)
    scale = torch.logspace(0, -2, 32)
    x = torch.randn(512, 32) * scale
    target = x @ torch.randn(32, 32).T

    def loss_after(make: type[torch.optim.Optimizer], lr: float) -> float:
        weight = nn.Parameter(torch.zeros(32, 32))
        optimizer = make([weight], lr=lr)  # type: ignore[call-arg]
        for step in range(300):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / 300)
            loss = (x @ weight.T - target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return float(loss.detach())

    muon = min(loss_after(Muon, lr) for lr in (0.03, 0.1, 0.3))
    plain = min(loss_after(torch.optim.SGD, lr) for lr in (1.0, 3.0, 10.0, 30.0))
    assert muon < plain / 3
