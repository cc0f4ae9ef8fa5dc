"""Train a policy net on games: recipe, loss, dev set, and the weights folder that comes out.

    cnnapps go-policy train games/ --net alphago-64 --minutes 60
    cnnapps go-policy train games.zip                     # tunes the shipped net
    torchrun --nproc-per-node 2 -m cnnapps go-policy train games/

The net learns to predict the move that was played: cross-entropy over the legal moves, as in
Silver et al. 2016 (Nature 529), Methods, "Policy network: classification". Positions come from the
whole collection in random order, each turned by one of the 8 symmetries, and none twice before all
have been seen.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.apps.go_policy.data import (
    AREA,
    SIZE,
    Batches,
    Games,
    Planes,
    draw,
    encode,
    last_positions,
    pack_games,
)
from cnnapps.apps.go_policy.kernels import NATURE_PLANES, V7_PLANES
from cnnapps.apps.go_policy.net import NETS, KataGoPolicy, from_katago, grown
from cnnapps.apps.go_policy.planes import V7_GLOBALS
from cnnapps.core import distributed
from cnnapps.core.card import Card, Metric, Source
from cnnapps.core.command import command_line
from cnnapps.core.device import choose, place
from cnnapps.core.errors import InputError
from cnnapps.core.export import check_export, export
from cnnapps.core.files import check_replaceable, write_bytes
from cnnapps.core.plot import curves_of, line_chart
from cnnapps.core.train import Recipe, train
from cnnapps.core.weights import as_weights, find, open_weights
from cnnapps.core.winograd import accelerate, restore

__all__ = [
    "CONFIGS",
    "SAMPLE",
    "GoRecipe",
    "Start",
    "begin",
    "build",
    "judge",
    "katago_arguments",
    "loss_of",
    "save",
    "taught_by",
    "train_on",
]

SAMPLE = Path(__file__).parent / "sample"
CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "alphago-64": ("alphago", {"width": 64}),
    "alphago-128": ("alphago", {"width": 128}),
    "alphago-192": ("alphago", {"width": 192}),
    "alphago-256": ("alphago", {"width": 256}),
    "alphago-384": ("alphago", {"width": 384}),
    "residual-64": ("katago", {"blocks": "oopo", "width": 64, "middle": 64, "regular": 48,
                               "pooled": 16, "head": 24}),
    "residual-96": ("katago", {}),
}  # fmt: skip
"""What ``--net`` builds from scratch: a net of ``NETS`` and its arguments."""
KATAGO_LICENCE = "MIT (KataGo, David J Wu and others)"
SIZES = (7, 19)
"""Boards that KataGo's g170 nets were trained on; below 7x7 they never saw one."""
HELD = 0.05
"""Share of the games that is kept for dev where no ``--valid`` is given."""
DEV_POSITIONS = 2000


@dataclass(frozen=True, slots=True)
class GoRecipe(Recipe):
    """How to train a policy net."""

    steps: int = 0
    """Optimiser steps; 0 means ``epochs`` passes over the positions."""
    epochs: float = 1.0
    batch: int = 128
    lr: float = 6e-4
    weight_decay: float = 1e-4
    warmup: float = 0.02
    clip: float = 1.0
    ema: float = 0.999
    evaluate_every: int = 500
    checkpoint_seconds: float = 120.0
    teacher: str = ""
    """Weights whose answers are learned from beside the moves: a tag or folder."""
    taught: float = 0.5
    """Share of the loss that the teacher's answers have, 0 to 1."""
    grow: str = ""
    """New blocks for the default's kind of net: "2o,5p" puts an ordinary one in front of block 2
    and one with global pooling in front of block 5. Answers begin unchanged."""
    winograd: bool = False
    """3x3 convolutions by Winograd's method: faster on a CPU without bfloat16."""

    def check(self) -> None:
        """As Recipe's; also the share of the teacher."""
        Recipe.check(self)  # super() without arguments fails in a class with slots
        if not 0 <= self.taught <= 1:
            raise InputError("taught", f"{self.taught!r} is not within 0 to 1")


@dataclass(frozen=True, slots=True)
class Start:
    """The net to train, where it comes from, and what it sees."""

    net: nn.Module
    name: str
    arguments: dict[str, Any]
    sources: tuple[Source, ...] = ()
    licence: str = "the user's"
    sizes: tuple[int, int] = (SIZE, SIZE)

    @property
    def planes(self) -> Planes:
        return "v7" if isinstance(self.net, KataGoPolicy) else "nature"


# ------------------------------------------------------------------------------------ what to train
def begin(net: str | None, weights: str | None) -> Start:
    """A new net (``--net``), weights to go on from (``--from``), or else the shipped default."""
    if net is not None and weights is not None:
        raise InputError("--net", "can't be combined with --from, whose weights bring their net")
    if net is not None:
        if net not in CONFIGS:
            raise InputError("--net", f"no net {net!r}; there are: {', '.join(CONFIGS)}")
        name, arguments = CONFIGS[net]
        return Start(NETS[name](**arguments), name, dict(arguments))
    if weights is not None and weights.endswith(".bin.gz"):
        return _from_katago(weights)
    opened = open_weights(find(weights, "go-policy"), app="go-policy")
    card = opened.card
    state = {n: torch.from_numpy(t.astype(np.float32)) for n, t in opened.tensors().items()}
    module = build(card.net, card.arguments, state)
    source = Source(
        card.name, card.licence, card.files["model.safetensors"].sha256, what="trained further"
    )
    low, high = card.preparation["sizes"]
    return Start(
        module, card.net, dict(card.arguments), (*card.sources, source), card.licence, (low, high)
    )


def _from_katago(path: str) -> Start:
    import hashlib

    from cnnapps.apps.go_policy.katago import read_net

    module = from_katago(read_net(path))
    digest = hashlib.sha256(Path(path).read_bytes()).hexdigest()
    source = Source(Path(path).name, KATAGO_LICENCE, digest, what="the weights start as this net")
    return Start(module, "katago", dict(module.sizes), (source,), "MIT", SIZES)


def _grown(begun: Start, grow: str) -> Start:
    """With the new blocks that the recipe's ``grow`` asks for."""
    if not grow:
        return begun
    net = begun.net
    if not isinstance(net, KataGoPolicy):
        raise InputError("grow", "only nets of the default's kind can grow")
    extra = []
    for word in grow.split(","):
        found = re.fullmatch(r"\s*(\d{1,3})([op])\s*", word)
        if found is None or int(found[1]) > len(net.blocks):
            raise InputError("grow", f"{word!r} is no place of 0 to {len(net.blocks)} with o or p")
        extra.append((int(found[1]), found[2]))
    longer = grown(net, extra)
    return dataclasses.replace(begun, net=longer, arguments=dict(longer.sizes))


def katago_arguments(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The arguments of ``KataGoPolicy`` that fit a state dict, from its names and shapes."""
    numbers = {int(m[1]) for name in state if (m := re.match(r"blocks\.(\d+)\.", name))}
    pooled = [f"blocks.{i}.pool_to_bias.weight" in state for i in sorted(numbers)]
    arguments: dict[str, Any] = {
        "blocks": "".join("p" if pool else "o" for pool in pooled),
        "width": state["stem.conv.weight"].shape[0],
        "head": state["head_board.conv.weight"].shape[0],
        "planes": state["stem.conv.weight"].shape[1],
        "numbers": state["numbers.weight"].shape[1],
    }
    for i, pool in zip(sorted(numbers), pooled, strict=True):
        channels = state[f"blocks.{i}.conv1.conv.weight"].shape[0]
        arguments["regular" if pool else "middle"] = channels
        if pool:
            arguments["pooled"] = state[f"blocks.{i}.conv_pool.conv.weight"].shape[0]
    return arguments


def build(net: str, arguments: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """The net with these weights; InputError where they don't fit."""
    module = NETS[net](**arguments)
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        raise InputError("weights", str(error).splitlines()[-1].strip()) from error
    return module


# ----------------------------------------------------------------------------- loss and evaluation
def logits_of(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """(N, 361) or, for nets that know a pass, (N, 362) logits; those of illegal moves are -inf."""
    inputs = [batch["planes"], *([batch["numbers"]] if "numbers" in batch else [])]
    logits: Tensor = net(*inputs).float()
    legal = batch["legal"]  # (N, 361)
    if logits.shape[1] > AREA:
        legal = F.pad(legal, (0, logits.shape[1] - AREA), value=True)
    return logits.masked_fill(~legal, -torch.inf)


def loss_of(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
    """Cross-entropy of the move that was played, over the legal moves; nats."""
    return F.cross_entropy(logits_of(net, batch), batch["target"])


def taught_by(teacher: nn.Module, share: float) -> Callable[[nn.Module, Mapping[str, Any]], Tensor]:
    """A loss: (1 - share) of the played move's cross-entropy, ``share`` of the teacher's answers'.

    Distillation (Hinton et al. 2015, arXiv 1503.02531, section 2, at temperature 1). The teacher
    sees each position under another symmetry, drawn anew, than the net does. So the net learns the
    mean of the teacher's answers under all eight at the price of one: a net that is its own teacher
    comes closer to its ensemble, and to giving the same answer whichever way the board lies.
    """
    teacher = teacher.eval().requires_grad_(False)

    def loss(net: nn.Module, batch: Mapping[str, Any]) -> Tensor:
        logits = logits_of(net, batch)
        with torch.no_grad():
            told = logits_of(teacher, batch["teacher"]).softmax(1)
            wanted = torch.zeros_like(logits)
            wanted[:, :AREA] = told.gather(1, batch["teacher_points"])
            if min(told.shape[1], logits.shape[1]) > AREA:
                wanted[:, AREA] = told[:, AREA]  # the pass
            wanted = wanted / wanted.sum(1, keepdim=True).clamp_min(1e-6)
        known = logits.log_softmax(1)
        played = F.nll_loss(known, batch["target"])
        answers = -(wanted * known.masked_fill(wanted == 0, 0)).sum(1).mean()
        return (1 - share) * played + share * answers

    return loss


def judge(
    arrays: Mapping[str, np.ndarray], precision: str, size: int = 256
) -> Callable[[nn.Module], dict[str, float]]:
    """An evaluation on encoded positions: top-1, top-5, cross-entropy; one symmetry."""
    count = len(arrays["target"])

    @torch.no_grad()
    def evaluate(net: nn.Module) -> dict[str, float]:
        device = next(net.parameters()).device
        hits1 = hits5 = entropy = 0.0
        for start in range(0, count, size):
            part = slice(start, start + size)
            planes = torch.from_numpy(arrays["planes"][part]).float()
            batch = {
                "planes": planes.reshape(len(planes), -1, SIZE, SIZE).to(device),
                "legal": torch.from_numpy(arrays["legal"][part]).bool().to(device),
            }
            if "numbers" in arrays:
                batch["numbers"] = torch.from_numpy(arrays["numbers"][part]).to(device)
            target = torch.from_numpy(arrays["target"][part]).to(device)
            kind = device.type
            with torch.autocast(kind, dtype=torch.bfloat16, enabled=precision == "bf16"):
                logits = logits_of(net, batch)
            own = logits.gather(1, target[:, None])
            rank = (logits > own).sum(1)
            hits1 += float((rank < 1).sum())
            hits5 += float((rank < 5).sum())
            entropy += float(F.cross_entropy(logits, target, reduction="sum"))
        return {"top1": hits1 / count, "top5": hits5 / count, "cross_entropy": entropy / count}

    return evaluate


# ------------------------------------------------------------------------------- the weights folder
def examples(planes: str) -> list[dict[str, np.ndarray]]:
    """Inputs of the kind that the net gets: several batches and board sizes."""
    rng = np.random.default_rng(1)
    shapes = [(2, 19), (1, 19), (3, 13), (2, 9), (1, 7)] if planes == "v7" else [(2, 19), (1, 19)]
    out = []
    for n, size in shapes:
        channels = V7_PLANES if planes == "v7" else NATURE_PLANES
        example = {"planes": (rng.random((n, channels, size, size)) < 0.2).astype(np.float32)}
        if planes == "v7":
            example["numbers"] = np.zeros((n, V7_GLOBALS), np.float32)
            example["numbers"][:, 5] = 6.5 / 20
            example["numbers"][:, 9:11] = 1
        out.append(example)
    return out


def save(net: nn.Module, folder: Path, card: Card) -> Card:
    """Write the weights folder of a policy net; the card says its name, arguments and planes."""
    planes = card.preparation["planes"]
    axes: dict[str, dict[int, str]] = {"planes": {0: "n"}}
    ranges: dict[str, tuple[int, int]] = {}
    if planes == "v7":
        axes = {"planes": {0: "n", 2: "size", 3: "size"}, "numbers": {0: "n"}}
        ranges = {"size": (2, 32)}
    return export(
        net, folder, card, examples=examples(planes), axes=axes, outputs=["logits"], ranges=ranges
    )


# -------------------------------------------------------------------------------------- the command
def train_on(
    data: Sequence[str],
    *,
    net: str | None,
    start: str | None,
    valid: str | None,
    output: str,
    run: str | None,
    cache: str | None,
    minutes: float | None,
    settings: Sequence[str],
    resume: bool,
    seed: int,
    encoding: str | None,
    device: str,
    threads: int,
    tensorboard: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Report on the games, train, measure on dev, write the weights folder and the curve."""
    import click

    runs = Path(run or f"{output.rstrip('/')}.run")
    check_replaceable(output, runs)
    check_export()
    line = command_line(
        "go-policy train", data,
        {
            "--net": net, "--from": start, "--valid": valid, "--minutes": minutes,
            "--set": settings, "--seed": None if seed == 1 else seed, "--encoding": encoding,
            "-o": output,
        },
    )  # fmt: skip
    torch.set_num_threads(threads)
    device = choose(device, runtime="torch")
    files = list(data) or [str(SAMPLE)]
    recipe = GoRecipe(seed=seed, minutes=minutes or 0.0).updated(*settings)
    with distributed.group(device) as world:

        def say(text: str) -> None:
            if world.first:
                click.echo(text)

        if not data:
            say("no DATA given: training on the few games of the package")
        begun = _grown(begin(net, start), recipe.grow)
        teacher = begin(None, recipe.teacher) if recipe.teacher else None
        games = pack_games(files, cache=cache, encoding=encoding)
        say(str(games.report))
        if valid is not None:
            held = pack_games([valid], cache=cache, encoding=encoding)
        else:
            games, held = _split(games, seed)
        passes = begun.planes == "v7"  # these nets have an answer for a pass
        batches = Batches(
            games, planes=begun.planes, batch=recipe.batch, seed=recipe.seed, rank=world.rank,
            world=world.size, passes=passes, teacher=teacher.planes if teacher else None,
        )  # fmt: skip
        recipe = _with_steps(recipe, batches.epoch_positions)
        dev = _dev(held, begun.planes)
        say(
            f"training on {len(games):,} games, {batches.epoch_positions:,} positions; "
            f"dev: {len(dev['target']):,} positions of {len(held):,} other games"
        )
        learned = games.sha256
        loss: Callable[[nn.Module, Mapping[str, Any]], Tensor] = loss_of
        if teacher is not None:
            there = distributed.device_of(device, world)
            loss = taught_by(place(teacher.net, there), recipe.taught)
            learned += f"+{teacher.sources[-1].sha256}"  # a tag's weights may change under its name
        if recipe.winograd:
            accelerate(begun.net)
        summary = train(
            begun.net, batches.batch_at, loss, recipe, runs, judge(dev, recipe.precision),
            device=device, resume=resume, data=learned, metric="-cross_entropy", world=world,
            quiet=quiet, tensorboard=tensorboard,
        )  # fmt: skip
        if not world.first:
            return 0
        restore(begun.net)
        seen = summary.best_step * recipe.batch * recipe.accumulate
        folder = Path(output)
        card = _card(begun, teacher, folder, files, games, recipe, summary.seconds, seen, line)
        card = save(begun.net.cpu(), folder, card)
        name = Path(valid).name if valid is not None else f"{HELD:.0%} of the games"
        found = judge(dev, "fp32")(begun.net)
        metrics = tuple(
            Metric(k, round(v, 6), name, "dev, one symmetry", len(dev["target"]), held.sha256)
            for k, v in found.items()
        )
        card = dataclasses.replace(card, metrics=metrics)
        write_bytes(folder / "card.json", card.to_json().encode())
        curve = line_chart(
            curves_of(runs / "metrics.jsonl", ("loss", "cross_entropy", "top1")),
            title=f"Training of {card.tag}", x="steps", y="nats; top-1 on dev",
        )  # fmt: skip
        write_bytes(runs / "curve.svg", curve.encode())
        say(
            f"{seen:,} positions seen, {summary.seconds / 60:.1f} minutes ({summary.reason})\n"
            f"dev, one symmetry: top-1 {found['top1']:.1%}, top-5 {found['top5']:.1%}, "
            f"{found['cross_entropy']:.3f} nats\n"
            f"{folder}: {card.size / 1e6:.1f} MB; "
            f"use it with --weights {as_weights(folder, 'go-policy')}\n"
            f"{runs / 'curve.svg'}: the training curve"
        )
    return 0


def _split(games: Games, seed: int) -> tuple[Games, Games]:
    """Whole games for dev: one in twenty, at least one."""
    if len(games) < 2:
        raise InputError("data", "one game is too few: some are kept for dev (or give --valid)")
    order = np.random.default_rng(seed).permutation(len(games))
    count = max(1, round(HELD * len(games)))
    return games.take(np.sort(order[count:])), games.take(np.sort(order[:count]))


def _dev(held: Games, planes: Planes) -> dict[str, np.ndarray]:
    """The dev positions: what a table of positions asks for, else drawn from all moves."""
    if held.asks_last:
        positions = last_positions(held)
    else:
        positions = draw(held, min(DEV_POSITIONS, held.report.positions))
    return encode(held, positions, planes)


def _with_steps(recipe: GoRecipe, positions: int) -> GoRecipe:
    """Steps for the wanted passes; with ``minutes`` an upper bound that the clock comes before."""
    if recipe.steps:
        return recipe
    if recipe.minutes:
        return dataclasses.replace(recipe, steps=10**9 - 1)
    steps = max(1, round(recipe.epochs * positions / (recipe.batch * recipe.accumulate)))
    return dataclasses.replace(recipe, steps=steps)


def _card(
    begun: Start,
    teacher: Start | None,
    folder: Path,
    files: Sequence[str],
    games: Games,
    recipe: GoRecipe,
    seconds: float,
    seen: int,
    line: str,
) -> Card:
    name = ", ".join(Path(f).name for f in files)[:200]
    sample = [str(SAMPLE)] == list(files)
    licence = "MIT" if sample else "the user's"
    source = Source(name, licence, games.sha256, len(games), "games, to learn from")
    tuned = "tuned" if begun.sources else "trained"
    origins = [*begun.sources]
    if teacher is not None:
        *others, last = teacher.sources
        origins += [*others, dataclasses.replace(last, what="its answers were learned from")]
    v7 = begun.planes == "v7"
    return Card(
        app="go-policy",
        tag=re.sub(r"[^A-Za-z0-9._-]", "-", folder.name).strip(".-_")[:64] or "trained",
        net=begun.name,
        arguments=begun.arguments,
        what=f"the next move, {tuned} on {seen:,} positions of {name}"[:100],
        licence=begun.licence,
        preparation={
            "planes": begun.planes,
            "sizes": list(begun.sizes) if v7 else [SIZE, SIZE],
            "tuned": SIZE,
        },
        sources=(*dict.fromkeys(origins), source),
        recipe={k: v for k, v in dataclasses.asdict(recipe).items() if v or k == "seed"},
        command=line,
        hours=round(seconds / 3600, 3),
        limits="Trained on even 19x19 games. Knows moves only: no score, no winner."
        + ("" if v7 else " 19x19 only, no pass."),
    )
