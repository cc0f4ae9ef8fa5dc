"""Rank, world size and the few collectives that training needs; everything is a no-op alone.

    torchrun --nproc-per-node 2 -m cnnapps textcls train data.csv

starts two processes whose gradients DistributedDataParallel averages. Each takes its share of
every batch (``share``), so that the global batch is the same as in one process.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import nn

__all__ = ["World", "broadcast", "device_of", "group", "mean", "share", "wrap"]

T = TypeVar("T")
S = TypeVar("S", bound=Sequence[Any])


class World:
    """This process's place: ``rank`` of ``size``, and its number on this machine."""

    def __init__(self, rank: int = 0, size: int = 1, local_rank: int = 0) -> None:
        self.rank, self.size, self.local_rank = rank, size, local_rank

    @property
    def first(self) -> bool:
        return self.rank == 0


@contextlib.contextmanager
def group(device: str = "cpu") -> Iterator[World]:
    """The process group of torchrun, or a world of one when we were not started by it.

    nccl on CUDA, gloo on the CPU. Taken down at the end, so that a later group can be made.
    """
    if "RANK" not in os.environ or "WORLD_SIZE" not in os.environ:
        yield World()
        return
    local_rank = int(os.environ.get("LOCAL_RANK", 0))
    if dist.is_initialized():
        yield World(dist.get_rank(), dist.get_world_size(), local_rank)
        return
    if device.startswith("cuda"):
        torch.cuda.set_device(local_rank)  # nccl takes the current device
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    try:
        yield World(dist.get_rank(), dist.get_world_size(), local_rank)
    finally:
        # DistributedDataParallel leaves gloo's threads alive (torch 2.14). One that still wants the
        # interpreter, to drop the last tensor it sent, aborts a process that is ending: let it.
        time.sleep(0.2)
        dist.destroy_process_group()


def device_of(device: str, world: World) -> str:
    """Each process of a machine has a CUDA device of its own (untested here: no such machine)."""
    return f"cuda:{world.local_rank}" if device.startswith("cuda") and world.size > 1 else device


def share(batch: S, world: World) -> S:
    """This process's examples of a global batch: every size-th, from its rank on."""
    part: Any = batch[world.rank :: world.size]
    return part


def wrap(net: nn.Module, world: World, device: str) -> nn.Module:
    """DistributedDataParallel around the net when there are several processes.

    BatchNorm's statistics stay per process on the CPU (SyncBatchNorm is CUDA only): two processes
    and one agree to rounding for nets without it, only roughly for nets with it.
    """
    if world.size == 1:
        return net
    if device.startswith("cuda"):
        net = nn.SyncBatchNorm.convert_sync_batchnorm(net)  # type: ignore[no-untyped-call]
        return nn.parallel.DistributedDataParallel(net, device_ids=[torch.device(device).index])
    return nn.parallel.DistributedDataParallel(net)


def broadcast(value: T, world: World) -> T:
    """Rank 0's ``value`` on every rank."""
    if world.size == 1:
        return value
    box: list[Any] = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def mean(value: torch.Tensor, world: World) -> torch.Tensor:
    """The mean of a scalar over all ranks."""
    if world.size > 1:
        value = value.clone()
        dist.all_reduce(value)
        value /= world.size
    return value
