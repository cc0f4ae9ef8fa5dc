"""The one training loop. Read it from top to bottom: what a step does is all in ``train``.

    one process     cnnapps textcls train data.csv
    two processes   torchrun --nproc-per-node 2 -m cnnapps textcls train data.csv
    go on           cnnapps textcls train data.csv --resume

An app brings a net, a function ``batch_at(index)``, a loss and an ``evaluate``; everything else is
here: rate schedule, accumulation, autocast, clipping, weight averaging, early stopping,
checkpoints, several processes.

**Everything that a step draws is a function of (seed, step).** ``batch_at`` computes its examples
from the index alone, and dropout draws from a generator that is seeded afresh at every step. So a
checkpoint needs no loader and no generator state, and a run that was killed and resumed ends with
the same bits as one that was not (on one thread, in step mode; by the clock no two runs are equal).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import signal
import sys
import threading
import time
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from cnnapps.core import distributed
from cnnapps.core.checkpoint import Checkpoints
from cnnapps.core.device import place
from cnnapps.core.errors import InputError, TrainingError
from cnnapps.core.progress import Progress

__all__ = ["Recipe", "Summary", "rate_at", "train"]

R = TypeVar("R", bound="Recipe")
Batch = Any
"""What ``batch_at`` returns: a tensor, or a tuple, list or dict of them."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How to train. Apps add their own fields; ``--set lr=3e-4`` changes any of them by name."""

    steps: int = 1000
    """Optimiser steps; with ``minutes`` only an upper bound."""
    batch: int = 64
    """Examples a batch, over all processes; a step takes ``accumulate`` of them."""
    lr: float = 1e-3
    """Peak learning rate."""
    optimizer: str = "adamw"
    """adamw | sgd (Nesterov momentum) | adadelta."""
    momentum: float = 0.9
    weight_decay: float = 0.0
    """Of matrices and kernels only: biases and norms are never decayed."""
    warmup: float = 0.05
    """Share of the run in which the rate rises linearly from 0."""
    schedule: str = "cosine"
    """cosine | linear (both to 0) | constant, after the warm-up."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 leaves it alone."""
    accumulate: int = 1
    """Batches whose gradients are summed before a step."""
    ema: float = 0.0
    """Decay of the averaged weights (Polyak and Juditsky 1992); 0 keeps none."""
    precision: str = "fp32"
    """fp32 | bf16 (autocast) | fp16 (autocast with loss scaling, CUDA only)."""
    seed: int = 1
    evaluate_every: int = 0
    """Steps between evaluations; 0 evaluates at the end only."""
    patience: int = 0
    """Evaluations without a new best before stopping; 0 never stops early."""
    checkpoint_seconds: float = 60.0
    """Seconds between checkpoints."""
    minutes: float = 0.0
    """Stop by the clock, the schedule spanning exactly this time over all resumed parts."""

    def updated(self: R, *settings: str) -> R:
        """The recipe with ``name=value`` settings; InputError names an unknown one."""
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in hints:
                raise InputError(
                    f"--set {setting}", f"expected NAME=VALUE, NAME one of {', '.join(hints)}"
                )
            changes[name] = _parse(text.strip(), hints[name], setting)
        return dataclasses.replace(self, **changes)


def _parse(text: str, kind: Any, setting: str) -> Any:
    try:
        if kind is bool:
            return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[
                text.lower()
            ]
        if kind in (int, float, str):
            value = kind(text)
            if kind is float and not math.isfinite(value):
                raise ValueError
            return value
        items = [item for item in text.split(",") if item]  # tuple[int, ...], tuple[str, ...]
        return tuple(typing.get_args(kind)[0](item) for item in items)
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise InputError(
            f"--set {setting}", f"{text!r} is no {getattr(kind, '__name__', kind)}"
        ) from error


# Fields that may differ between a run and its resumption: they don't change what a step does.
_FREE = {"steps", "minutes", "evaluate_every", "patience", "checkpoint_seconds"}


@dataclass(frozen=True, slots=True)
class Summary:
    """How a run ended."""

    steps: int
    seconds: float
    """Training time over all resumed parts, evaluation included."""
    best: dict[str, float]
    """The evaluation of the best net, empty without an evaluate function."""
    best_step: int
    reason: str
    """finished | time | early | stopped."""


def rate_at(share: float, recipe: Recipe) -> float:
    """Learning rate after ``share`` (0..1) of the run: linear warm-up, then the schedule."""
    if share < recipe.warmup:
        return recipe.lr * share / recipe.warmup
    left = (1.0 - min(share, 1.0)) / max(1.0 - recipe.warmup, 1e-9)  # 1 -> 0
    if recipe.schedule == "cosine":
        return recipe.lr * 0.5 * (1.0 + math.cos(math.pi * (1.0 - left)))
    if recipe.schedule == "linear":
        return recipe.lr * left
    if recipe.schedule == "constant":
        return recipe.lr
    raise InputError("schedule", f"{recipe.schedule!r} is none of cosine, linear, constant")


def train(
    net: nn.Module,
    batch_at: Callable[[int], Batch],
    loss: Callable[[nn.Module, Batch], Tensor],
    recipe: Recipe,
    run: Path,
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None,
    *,
    device: str = "cpu",
    resume: bool = False,
    data: str = "",
    metric: str = "accuracy",
    groups: Callable[[nn.Module], list[dict[str, Any]]] | None = None,
    after_step: Callable[[nn.Module], None] | None = None,
    world: distributed.World | None = None,
    quiet: bool = False,
    tensorboard: bool = False,
) -> Summary:
    """Train ``net`` in place; it ends with the best weights by ``metric`` (the last without one).

    ``batch_at(i)`` gives this process's share of the i-th batch, a pure function of i.
    ``loss(net, batch)`` is a scalar, the mean over the batch. ``evaluate(net)`` returns named
    numbers; ``metric`` is the one that is maximised (``-name`` minimises). ``groups`` gives
    optimiser parameter groups, whose ``scale`` multiplies the rate. ``after_step`` may project the
    weights (Kim's max-norm). ``data`` is a hash of the data that a resumed run must share. ``run``
    receives checkpoints and ``metrics.jsonl``.

    TrainingError: the loss is not finite, or the run in ``run`` can't be resumed.
    """
    world = world or distributed.World()
    run = Path(run)
    checkpoints = Checkpoints(run)
    if world.first:
        run.mkdir(parents=True, exist_ok=True)
    net = place(net, device)
    optimizer = _optimizer(net, recipe, groups)
    average = _average(net, recipe)
    scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "fp16")
    log = _Log(run, enabled=world.first, tensorboard=tensorboard)
    judge = _Judge(evaluate, metric, checkpoints, log, world)
    step, spent = 0, 0.0

    state = checkpoints.load() if resume else None
    if state is not None:
        _check_same(state, recipe, data, run)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        scaler.load_state_dict(state["scaler"])
        if average is not None:
            average.load_state_dict(state["ema"])
        judge.load(state["judge"])
        step, spent = state["step"], state["seconds"]
    elif world.first:
        checkpoints.clear()

    parallel = distributed.wrap(net, world, device)
    started = saved = time.monotonic()
    finite = torch.ones((), dtype=torch.bool, device=device)

    def elapsed() -> float:
        return spent + time.monotonic() - started

    def share() -> float:
        if recipe.minutes:
            return elapsed() / (60 * recipe.minutes)
        return (step + 0.5) / recipe.steps

    def save() -> None:
        if not bool(finite):  # weights that saw a loss of nan are worth nothing
            return
        if world.first:
            checkpoints.save(
                step,
                {
                    "net": net.state_dict(),
                    "optimizer": optimizer.state_dict(),
                    "scaler": scaler.state_dict(),
                    "ema": average.state_dict() if average is not None else {},
                    "step": step,
                    "seconds": elapsed(),
                    "judge": judge.state(),
                    "recipe": dataclasses.asdict(recipe),
                    "data": data,
                },
            )

    reason = "finished"
    progress = Progress(recipe.steps, "training", quiet=quiet or not world.first, start=step)
    with _stop_signals() as stop, progress:
        while step < recipe.steps:
            # Clocks and signals differ between processes: rank 0 decides for all.
            due = time.monotonic() - saved > recipe.checkpoint_seconds
            done, stopped, due = distributed.broadcast((share(), stop(), due), world)
            if due:
                save()
                saved = time.monotonic()
            if stopped or done >= 1.0:
                reason = "stopped" if stopped else "time"
                break
            torch.manual_seed(hash((recipe.seed, step, world.rank)) & 0x7FFFFFFF)
            rate = rate_at(done, recipe)
            for group in optimizer.param_groups:
                group["lr"] = rate * group.get("scale", 1.0)

            net.train()
            total = torch.zeros((), device=device)
            for part in range(recipe.accumulate):
                batch = _to(batch_at(step * recipe.accumulate + part), device)
                last = part == recipe.accumulate - 1
                with _sync(parallel, last), _autocast(recipe, device):
                    value = loss(parallel, batch) / recipe.accumulate
                    # DDP reduces in backward, so backward stands inside its context
                    scaler.scale(value).backward()  # type: ignore[no-untyped-call]
                total += value.detach()
            if recipe.clip:
                scaler.unscale_(optimizer)
                nn.utils.clip_grad_norm_(net.parameters(), recipe.clip)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad(set_to_none=True)
            if after_step is not None:
                with torch.no_grad():
                    after_step(net)
            if average is not None:
                average.update_parameters(net)
            step += 1
            finite = finite & torch.isfinite(total)

            # On CUDA looking at the loss waits for the device, so there only now and then.
            if device == "cpu" or step % 50 == 0 or step == recipe.steps:
                if not bool(finite):
                    raise TrainingError(
                        f"the loss is not finite at step {step} (rate {rate:.3g});"
                        f" lower it with --set lr={recipe.lr / 3:.2g}, or --set clip=1;"
                        f" last good checkpoint: {checkpoints.latest() or 'none'}"
                    )
                mean = float(distributed.mean(total, world))
                log.step(step, elapsed(), mean, rate)
                progress.update(step, share=done, loss=mean)

            if recipe.evaluate_every and step % recipe.evaluate_every == 0:
                judge(average.module if average is not None else net, step, elapsed())
                if recipe.patience and judge.stale >= recipe.patience:
                    reason = "early"
                    break

        if reason != "stopped":
            judge(average.module if average is not None else net, step, elapsed())
        save()
    log.close()
    if checkpoints.failed is not None:
        raise TrainingError(f"the last checkpoint could not be written ({checkpoints.failed})")
    if reason == "stopped":
        raise KeyboardInterrupt
    winner = checkpoints.load_best() if evaluate is not None else None
    if winner is not None:
        net.load_state_dict(winner["net"])
    elif average is not None:
        net.load_state_dict(average.module.state_dict())
    return Summary(step, elapsed(), judge.best, judge.best_step, reason)


class _Judge:
    """Evaluates the averaged net (or the net) on rank 0 and keeps the best so far."""

    def __init__(
        self,
        evaluate: Callable[[nn.Module], Mapping[str, float]] | None,
        metric: str,
        checkpoints: Checkpoints,
        log: _Log,
        world: distributed.World,
    ) -> None:
        self.evaluate, self.checkpoints, self.log, self.world = evaluate, checkpoints, log, world
        self.name = metric.removeprefix("-")
        self.sign = -1.0 if metric.startswith("-") else 1.0
        self.best: dict[str, float] = {}
        self.best_step = 0
        self.stale = 0
        """Evaluations since the best one."""
        self.last = -1
        """Step of the last evaluation."""

    def state(self) -> dict[str, Any]:
        return {k: getattr(self, k) for k in ("best", "best_step", "stale", "last")}

    def load(self, state: Mapping[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)

    def __call__(self, net: nn.Module, step: int, seconds: float) -> None:
        if self.evaluate is None or self.last == step:
            return
        self.last = step
        if self.world.first:
            net.eval()
            with torch.no_grad():
                values = {k: float(v) for k, v in self.evaluate(net).items()}
            self.log.evaluation(step, seconds, values)
            better = not self.best or self.sign * (values[self.name] - self.best[self.name]) > 0
            if better:
                self.checkpoints.save_best({"net": net.state_dict(), "step": step})
                self.best, self.best_step, self.stale = values, step, 0
            else:
                self.stale += 1
        self.load(distributed.broadcast(self.state(), self.world))


def _optimizer(
    net: nn.Module,
    recipe: Recipe,
    groups: Callable[[nn.Module], list[dict[str, Any]]] | None,
) -> torch.optim.Optimizer:
    if groups is not None:
        parameters = groups(net)
    else:
        trained = [p for p in net.parameters() if p.requires_grad]
        parameters = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
    parameters = [g for g in parameters if g["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
        )
    if recipe.optimizer == "adadelta":
        return torch.optim.Adadelta(
            parameters, lr=recipe.lr, rho=0.95, eps=1e-6, weight_decay=recipe.weight_decay
        )
    raise InputError("optimizer", f"{recipe.optimizer!r} is none of adamw, sgd, adadelta")


def _average(net: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Exponential moving average of weights and buffers, or None."""
    if not recipe.ema:
        return None
    return AveragedModel(
        net,
        multi_avg_fn=get_ema_multi_avg_fn(recipe.ema),  # type: ignore[no-untyped-call]
        use_buffers=True,
    )


def _autocast(recipe: Recipe, device: str) -> contextlib.AbstractContextManager[Any]:
    kind = "cuda" if device.startswith("cuda") else "cpu"
    if recipe.precision == "fp32":
        return contextlib.nullcontext()
    if recipe.precision == "bf16":
        return torch.autocast(kind, dtype=torch.bfloat16)
    if recipe.precision == "fp16" and kind == "cuda":
        return torch.autocast(kind, dtype=torch.float16)
    raise InputError(
        "precision", f"{recipe.precision!r} on {kind}: choose fp32, bf16 or (CUDA) fp16"
    )


def _sync(net: nn.Module, last: bool) -> contextlib.AbstractContextManager[Any]:
    """DDP exchanges gradients only with the last part of an accumulated step."""
    if isinstance(net, nn.parallel.DistributedDataParallel) and not last:
        return net.no_sync()
    return contextlib.nullcontext()


def _to(batch: Batch, device: str) -> Batch:
    if isinstance(batch, Tensor):
        if device.startswith("cuda"):
            if batch.ndim == 4:
                batch = batch.contiguous(memory_format=torch.channels_last)
            return batch.to(device, non_blocking=True)
        return batch
    if isinstance(batch, Mapping):
        return {k: _to(v, device) for k, v in batch.items()}
    if isinstance(batch, tuple | list):
        return type(batch)(_to(v, device) for v in batch)
    return batch


def _check_same(state: dict[str, Any], recipe: Recipe, data: str, run: Path) -> None:
    if state["data"] != data:
        raise TrainingError(f"{run} was trained on other data; start without --resume")
    now = dataclasses.asdict(recipe)
    changed = [
        f"{name} was {state['recipe'].get(name)!r}, is {value!r}"
        for name, value in now.items()
        if name not in _FREE and state["recipe"].get(name) != value
    ]
    if changed:
        raise TrainingError(f"{run} has another recipe ({'; '.join(changed)})")


@contextlib.contextmanager
def _stop_signals() -> Iterator[Callable[[], bool]]:
    """SIGINT and SIGTERM finish the step, save, and end the run; a second one ends it at once."""
    asked = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def ask(number: int, frame: FrameType | None) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True
        print("cnnapps: stopping after this step (again to stop at once)", file=sys.stderr)

    old = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


class _Log:
    """``metrics.jsonl``: one line every few seconds of training, one an evaluation."""

    def __init__(self, run: Path, *, enabled: bool, tensorboard: bool) -> None:
        self._path = run / "metrics.jsonl"
        self._enabled = enabled
        self._next = 0.0
        self._sum, self._count = 0.0, 0
        self._board: Any = None
        if enabled and tensorboard:
            from cnnapps.core.errors import need

            self._board = need("torch.utils.tensorboard", "--tensorboard").SummaryWriter(str(run))

    def step(self, step: int, seconds: float, loss: float, rate: float) -> None:
        self._sum, self._count = self._sum + loss, self._count + 1
        if seconds < self._next:
            return
        self._next = seconds + max(1.0, seconds / 200)  # some hundred lines, however long the run
        loss, self._sum, self._count = self._sum / self._count, 0.0, 0
        self._write({"step": step, "seconds": round(seconds, 2), "loss": loss, "lr": rate})

    def evaluation(self, step: int, seconds: float, values: dict[str, float]) -> None:
        self._write({"step": step, "seconds": round(seconds, 2), **values})

    def _write(self, line: dict[str, float]) -> None:
        if not self._enabled:
            return
        # A full disk costs a line of the log, not the run.
        with contextlib.suppress(OSError), open(self._path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._board is not None:
            for name, value in line.items():
                if name not in ("step", "seconds"):
                    self._board.add_scalar(name, value, line["step"])

    def close(self) -> None:
        if self._board is not None:
            self._board.close()
