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
import os
import signal
import threading
import time
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
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
from cnnapps.core.files import write_bytes
from cnnapps.core.muon import Muon
from cnnapps.core.progress import Progress, warn
from cnnapps.core.results import dumps

__all__ = ["Recipe", "Summary", "decayed", "rate_at", "train"]

# A step's big blocks, such as the gradient of a word table, go back to the kernel when they are
# freed and come anew, page by page, at the next step. torch asks Linux for pages of 2 MB if this is
# set before its first tensor: a step of Kim's CNN on 18,000 words x 900 took 94 ms, before 126.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")

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
    """adamw | muon | sgd (Nesterov momentum) | adadelta."""
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
    """Decay of the averaged weights (Polyak and Juditsky 1992); 0 keeps none. In the first steps it
    is less, (1 + n) / (10 + n), or a short run's average would hold its start values."""
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

    def check(self) -> None:
        """InputError for a value that makes no sense, before hours are spent on it."""
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InputError(name, f"{getattr(self, name)!r} is none of {', '.join(choices)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(name, f"{getattr(self, name)!r} is not within {low:g} to {high:g}")

    def updated(self: R, *settings: str) -> R:
        """The recipe with ``name=value`` settings; InputError names a wrong one."""
        hints = typing.get_type_hints(type(self))
        changes: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            name = name.strip().replace("-", "_")
            if not equals or name not in hints:
                raise InputError(
                    f"--set {setting}", f"expected NAME=VALUE, NAME one of {', '.join(hints)}"
                )
            try:
                changes[name] = _parse(text.strip(), hints[name])
            except (KeyError, ValueError) as error:
                kind = getattr(hints[name], "__name__", "")
                shown = kind if kind in ("int", "float", "bool") else hints[name]
                raise InputError(f"--set {setting}", f"{text!r} is no {shown}") from error
        recipe = dataclasses.replace(self, **changes)
        recipe.check()
        return recipe


_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_CHOICES = {
    "optimizer": ("adamw", "muon", "sgd", "adadelta"),
    "schedule": ("cosine", "linear", "constant"),
    "precision": ("fp32", "bf16", "fp16"),
}
_INF = math.inf
_RANGES: dict[str, tuple[float, float]] = {
    "steps": (0, 999_999_999),
    "batch": (1, _INF),
    "lr": (0, _INF),
    "momentum": (0, 1),
    "weight_decay": (0, _INF),
    "warmup": (0, 1),
    "clip": (0, _INF),
    "accumulate": (1, _INF),
    "ema": (0, 1),
    "evaluate_every": (0, _INF),
    "patience": (0, _INF),
    "checkpoint_seconds": (0, _INF),
    "minutes": (0, _INF),
}


def _parse(text: str, kind: Any) -> Any:
    """``text`` as a bool, int, float, str, a tuple of them ("3,4,5"), or one of these or None."""
    if kind is bool:
        return _WORDS[text.lower()]
    if kind in (int, str):
        return kind(text)
    if kind is float:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text)
        return value
    inner = typing.get_args(kind)[0]
    if typing.get_origin(kind) is tuple:
        return tuple(_parse(item, inner) for item in text.split(",") if item)
    return None if text.lower() in ("none", "") else _parse(text, inner)


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
    return recipe.lr


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
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Train ``net`` in place; it ends with the best weights by ``metric`` (the last without one).

    ``batch_at(i)`` gives this process's share of the i-th batch, a pure function of i.
    ``loss(net, batch)`` is a scalar, the mean over the batch. ``evaluate(net)`` returns named
    numbers; ``metric`` is the one that is maximised (``-name`` minimises). ``groups`` gives
    optimiser parameter groups, whose ``scale`` multiplies the rate. ``after_step`` may project the
    weights (Kim's max-norm). ``data`` is a hash of all that is learned from (examples, a teacher),
    which a resumed run must share. ``run`` receives checkpoints and ``metrics.jsonl``,
    whose last line says how the run ended; a stopped one that is begun again is told. ``clock`` is
    what ``minutes`` are counted by, in seconds; ``time.process_time`` makes a run independent of
    what else the machine does.

    A KeyboardInterrupt comes out when SIGINT or SIGTERM asked to stop; the checkpoint is written.
    InputError: the recipe makes no sense. TrainingError: the loss is not finite, the run in ``run``
    can't be resumed or is being written by another process, or the last checkpoint wasn't written.
    """
    world = world or distributed.World()
    recipe.check()
    if recipe.batch % world.size:
        raise InputError("batch", f"{recipe.batch} can't be shared by {world.size} processes")
    run = Path(run)
    checkpoints = Checkpoints(run)
    with checkpoints.claim() if world.first else contextlib.nullcontext():
        device = distributed.device_of(device, world)
        _autocast(recipe, device)  # a precision that the device lacks is known now
        net = place(net, device)
        optimizer = _optimizer(net, recipe, groups)
        average = _average(net, recipe)
        scaler = torch.amp.GradScaler("cuda", enabled=recipe.precision == "fp16")
        log = _Log(run, enabled=world.first, tensorboard=tensorboard)
        judge = _Judge(evaluate, metric, checkpoints, log, world)
        parts = _Parts(net, optimizer, scaler, average, judge)

        state = checkpoints.load() if resume else None
        if world.first and state is None:
            if resume and not quiet:
                warn(f"{run}: there is no run to go on with, so this one begins")
            if not resume and checkpoints.latest() and not log.complete():
                warn(f"{run}: of a run that was stopped, begun again (--resume goes on with it)")
        step, spent = (state["step"], state["seconds"]) if state is not None else (0, 0.0)
        if distributed.broadcast(step, world) != step:
            raise TrainingError(f"the processes see different checkpoints in {run}")
        if state is not None:
            _check_same(state, recipe, data, run)
            parts.load(state, run)
        if world.first:
            checkpoints.forget(after=step if state is not None else -1)
            log.forget(after=step if state is not None else -1)

        parallel = distributed.wrap(net, world, device)
        saved = time.monotonic()
        started = clock()
        finite = torch.ones((), dtype=torch.bool, device=device)

        def elapsed() -> float:
            return spent + clock() - started

        def share() -> float:
            if recipe.minutes:
                return elapsed() / (60 * recipe.minutes)
            return (step + 0.5) / recipe.steps

        def check_finite() -> None:
            """Before anything is kept: a gradient of nan shows in the loss one step later."""
            if not (bool(finite) and _all_finite(net)):
                last = step * recipe.accumulate - 1
                raise TrainingError(
                    f"loss or weights are not finite at step {step}, batch {last}; start again"
                    f" with --set lr={recipe.lr / 3:.2g} or --set clip=1;"
                    f" last good checkpoint: {checkpoints.latest() or 'none'}"
                )

        def save() -> None:
            check_finite()
            if world.first:
                more = {"step": step, "seconds": elapsed(), "data": data, "recipe": asdict(recipe)}
                checkpoints.save(step, parts.state() | more)

        reason = "finished"
        endless = recipe.steps == _RANGES["steps"][1]  # the minutes decide
        known = 0 if endless else recipe.steps
        progress = Progress(known, "training", quiet=quiet or not world.first, start=step)
        with _stop_signals() as stop, progress:
            while step < recipe.steps:
                if recipe.patience and judge.stale >= recipe.patience:
                    reason = "early"
                    break
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
                total = distributed.mean(total, world)
                finite = finite & torch.isfinite(total)

                # On CUDA looking at the loss waits for the device, so there only now and then.
                if device == "cpu" or step % 50 == 0 or step == recipe.steps:
                    if not bool(finite):
                        check_finite()
                    log.step(step, elapsed(), float(total), rate)
                    timed = done if recipe.minutes else None
                    progress.update(step, share=timed, loss=float(total))

                if recipe.evaluate_every and step % recipe.evaluate_every == 0:
                    check_finite()
                    judge(average.module if average is not None else net, step, elapsed())

            if reason != "stopped":
                check_finite()
                judge(average.module if average is not None else net, step, elapsed())
            save()
            stopped = distributed.broadcast(stop(), world)
        log.close(step, elapsed(), reason)
    if checkpoints.failed is not None:
        raise TrainingError(
            f"the last checkpoint could not be written ({checkpoints.failed.strerror});"
            f" make room and go on with --resume"
        )
    if stopped:
        raise KeyboardInterrupt
    if judge.best:
        net.load_state_dict(checkpoints.load_best(judge.best_step)["net"])
    elif average is not None:
        net.load_state_dict(average.module.state_dict())
    return Summary(step, elapsed(), judge.best, judge.best_step, reason)


@dataclass(slots=True)
class _Parts:
    """Everything that a step changes."""

    net: nn.Module
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    average: AveragedModel | None
    judge: _Judge

    def state(self) -> dict[str, Any]:
        return {
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
            "ema": self.average.state_dict() if self.average is not None else {},
            "judge": self.judge.state(),
        }

    def load(self, state: Mapping[str, Any], run: Path) -> None:
        try:
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average.load_state_dict(state["ema"])
            self.judge.load(state["judge"])
        except (RuntimeError, ValueError, KeyError) as error:
            reason = str(error).strip().splitlines()[0]
            raise TrainingError(f"{run} holds another net ({reason})") from error


def _all_finite(net: nn.Module) -> bool:
    state = [t for t in net.state_dict().values() if t.is_floating_point()]
    return all(bool(torch.isfinite(t).all()) for t in state)


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
            if self.name not in values:
                raise TrainingError(f"evaluation gives {', '.join(values)}, but no {self.name}")
            if not self._better(values[self.name]):
                self.stale += 1
            elif self.checkpoints.save_best(step, {"net": net.state_dict(), "step": step}):
                self.best, self.best_step, self.stale = values, step, 0
        self.load(distributed.broadcast(self.state(), self.world))

    def _better(self, value: float) -> bool:
        """Nothing is worse than nan, also when it came first."""
        best = self.best.get(self.name, math.nan)
        return math.isfinite(value) and not self.sign * (value - best) <= 0


def decayed(
    parameters: Iterable[nn.Parameter], weight_decay: float, *, scale: float = 1.0
) -> list[dict[str, Any]]:
    """Two parameter groups: matrices and kernels, which decay; biases and norms, which don't."""
    trained = [p for p in parameters if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "scale": scale,
         "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "scale": scale, "weight_decay": 0.0},
    ]  # fmt: skip


def _optimizer(
    net: nn.Module,
    recipe: Recipe,
    groups: Callable[[nn.Module], list[dict[str, Any]]] | None,
) -> torch.optim.Optimizer:
    if groups is not None:
        parameters = groups(net)
    else:
        parameters = decayed(net.parameters(), recipe.weight_decay)
    parameters = [g for g in parameters if g["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(
            parameters, lr=recipe.lr, weight_decay=recipe.weight_decay, fused=True
        )
    if recipe.optimizer == "muon":
        return Muon(parameters, lr=recipe.lr, weight_decay=recipe.weight_decay)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=recipe.lr,
            momentum=recipe.momentum,
            nesterov=recipe.momentum > 0,
            weight_decay=recipe.weight_decay,
        )
    return torch.optim.Adadelta(
        parameters, lr=recipe.lr, rho=0.95, eps=1e-6, weight_decay=recipe.weight_decay
    )


def _average(net: nn.Module, recipe: Recipe) -> AveragedModel | None:
    """Exponential moving average of weights and buffers, or None.

    Buffers of whole numbers (counters, 8-bit tables) are copied: torch's own average would round
    them towards zero a little at every step.
    """
    if not recipe.ema:
        return None

    def update(averaged: Any, current: Any, count: Any) -> None:
        if averaged[0].is_floating_point():
            n = int(count)
            decay = min(recipe.ema, (1 + n) / (10 + n))
            get_ema_multi_avg_fn(decay)(averaged, current, count)  # type: ignore[no-untyped-call]
            return
        for old, new in zip(averaged, current, strict=True):
            old.copy_(new)

    average = AveragedModel(net, multi_avg_fn=update, use_buffers=True)
    average.n_averaged = average.n_averaged.cpu()  # read at every step: no waiting for CUDA
    return average


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
        parts = [_to(v, device) for v in batch]
        return type(batch)(*parts) if hasattr(batch, "_fields") else type(batch)(parts)
    return batch


def _check_same(state: dict[str, Any], recipe: Recipe, data: str, run: Path) -> None:
    if state["data"] != data:
        seed = state["recipe"].get("seed")  # parts that are cut by another seed are other data
        why = "" if seed == recipe.seed else f" (its seed was {seed}, not {recipe.seed})"
        raise TrainingError(
            f"{run} learned from other data or another teacher{why}; start without --resume"
        )
    now = asdict(recipe)
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
        with contextlib.suppress(OSError):  # print() must not be entered twice, os.write may be
            os.write(2, b"cnnapps: stopping after this step (again to stop at once)\n")

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
        self._last: dict[str, float] = {}
        self._board: Any = None
        if enabled and tensorboard:
            from cnnapps.core.errors import need

            self._board = need("torch.utils.tensorboard", "--tensorboard").SummaryWriter(str(run))

    def forget(self, *, after: int) -> None:
        """Drop the lines that a killed run wrote after the checkpoint that we go on from."""
        if not self._path.is_file():
            return
        kept = []
        for line in self._path.read_bytes().splitlines(keepends=True):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                if json.loads(line)["step"] <= after and line.endswith(b"\n"):
                    kept.append(line)
        with contextlib.suppress(OSError):
            write_bytes(self._path, b"".join(kept))

    def complete(self) -> bool:
        """Whether the run that wrote it came to its end."""
        with contextlib.suppress(OSError, ValueError, AttributeError):
            last = self._path.read_bytes().splitlines()[-1:]
            return bool(last) and json.loads(last[0]).get("reason") not in (None, "stopped")
        return False

    def step(self, step: int, seconds: float, loss: float, rate: float) -> None:
        """Note the loss; the line that is written has the mean since the line before."""
        self._sum, self._count = self._sum + loss, self._count + 1
        self._last = {"step": step, "seconds": round(seconds, 2), "loss": loss, "lr": rate}
        if seconds >= self._next:
            self._next = seconds + max(1.0, seconds / 200)  # some hundred lines, however long
            self._flush()

    def evaluation(self, step: int, seconds: float, values: dict[str, float]) -> None:
        """Write what an evaluation gave, below the losses up to there."""
        if self._count:
            self._flush()
        self._write({"step": step, "seconds": round(seconds, 2), **values})

    def close(self, step: int, seconds: float, reason: str) -> None:
        """Write the last losses too, and how the run ended."""
        if self._count:
            self._flush()
        self._write({"step": step, "seconds": round(seconds, 2), "reason": reason})
        if self._board is not None:
            self._board.close()

    def _flush(self) -> None:
        mean, self._sum, self._count = self._sum / self._count, 0.0, 0
        self._write({**self._last, "loss": mean})

    def _write(self, line: dict[str, Any]) -> None:
        if not self._enabled:
            return
        # A full disk costs a line of the log, not the run.
        with contextlib.suppress(OSError), open(self._path, "a", encoding="utf-8") as file:
            file.write(dumps(line) + "\n")
        if self._board is not None:
            for name, value in line.items():
                if name not in ("step", "seconds", "reason"):
                    self._board.add_scalar(name, value, line["step"])
