"""A small training run, as a function and as a command: what the tests of the loop train.

    python training.py RUN [NAME=VALUE...] [--resume] [--sleep SECONDS] [--out FILE]

Two classes of noisy vectors, dropout, no batch norm. The command prints its summary as JSON and
leaves the net's weights in FILE; under torchrun each process takes its share of every batch.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cnnapps.core import distributed
from cnnapps.core.blocks import ConvBlock, GlobalPool
from cnnapps.core.train import Recipe, Summary, train

torch.set_num_threads(1)
WIDTH = 8
Batch = tuple[Tensor, Tensor]


def make_net(dropout: float = 0.5) -> nn.Module:
    """(N, 2, L) -> (N, 2); the same weights every time."""
    torch.manual_seed(7)
    return nn.Sequential(
        ConvBlock(2, WIDTH, dims=1),
        GlobalPool(),
        nn.Dropout(dropout),
        nn.Linear(WIDTH, 2),
    )


def batches(size: int, world: distributed.World | None = None) -> Callable[[int], Batch]:
    """Batches as a function of their index."""
    place = world or distributed.World()

    def at(index: int) -> Batch:
        generator = torch.Generator().manual_seed(index)
        x = torch.randn(size, 2, 10, generator=generator)
        y = (x[:, 0].mean(1) > 0).long()
        return distributed.share(x, place), distributed.share(y, place)

    return at


def loss(net: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(net(batch[0]), batch[1])


def evaluate(net: nn.Module) -> dict[str, float]:
    x, y = batches(200)(1_000_000)
    logits = net(x)
    return {
        "accuracy": float((logits.argmax(1) == y).float().mean()),
        "loss": float(nn.functional.cross_entropy(logits, y)),
    }


def run_training(
    run: Path,
    *settings: str,
    batch_at: Callable[[int], Any] | None = None,
    net: nn.Module | None = None,
    world: distributed.World | None = None,
    **options: Any,
) -> tuple[nn.Module, Summary]:
    """Train the small net into ``run``; returns it with the summary."""
    recipe = Recipe(steps=40, batch=16, lr=0.01, checkpoint_seconds=0.0).updated(*settings)
    options = {"evaluate": evaluate, "metric": "-loss", "quiet": True, **options}
    net = net or make_net()
    at = batch_at or batches(recipe.batch, world)
    summary = train(net, at, loss, recipe, run, world=world, **options)
    return net, summary


def main(arguments: list[str]) -> None:
    options = dict(a.split("=", 1) for a in arguments[1:] if a.startswith("--") and "=" in a)
    settings = [a for a in arguments[1:] if not a.startswith("--")]
    sleep = float(options.get("--sleep", 0))
    with distributed.group() as world:
        at = batches(Recipe(batch=16).updated(*settings).batch, world)

        def batch_at(index: int) -> Batch:
            time.sleep(sleep)
            return at(index)

        net, summary = run_training(
            Path(arguments[0]),
            *settings,
            batch_at=batch_at,
            world=world,
            net=make_net(dropout=float(options.get("--dropout", 0.5))),
            resume="--resume" in arguments,
        )
        if world.first:
            print(json.dumps({"steps": summary.steps, "best": summary.best}))
        if "--out" in options:
            torch.save(net.state_dict(), f"{options['--out']}.{world.rank}")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
