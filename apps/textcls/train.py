"""Train Kim's CNN on labelled texts: recipe, batches, loss, and the weights folder that comes out.

    fit(texts, targets, labels, units=..., vectors=..., recipe=..., run=...) -> Fitted
    save(fitted, folder, ...) -> Card

Section 3 of the paper gives the classic recipe (``paper("non-static")``); the default one differs
in what was measured to help: docs/textcls.md takes it apart, lever by lever.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.apps.textcls import evaluate as metrics
from cnnapps.apps.textcls.context import ContextCNN, quantise
from cnnapps.apps.textcls.grams import Grams
from cnnapps.apps.textcls.net import Int8Table, KimCNN, WordTable, max_norm
from cnnapps.apps.textcls.predict import softmax
from cnnapps.apps.textcls.tokens import Units
from cnnapps.core import distributed
from cnnapps.core.card import Card
from cnnapps.core.errors import InputError, TrainingError
from cnnapps.core.export import export
from cnnapps.core.train import Recipe, Summary, decayed, train

__all__ = [
    "Batches",
    "Fitted",
    "TextRecipe",
    "fingerprint",
    "fit",
    "fold_for_export",
    "logits_of",
    "paper",
    "random_vectors",
    "save",
]

VARIANTS = ("rand", "static", "non-static", "multichannel")
_RANGES: dict[str, tuple[float, float]] = {
    "epochs": (0.001, 1e6),
    "maps": (1, 10_000),
    "bottleneck": (0, 10_000),
    "dropout": (0, 0.99),
    "word_dropout": (0, 0.99),
    "max_norm": (0, math.inf),
    "smoothing": (0, 0.99),
    "table_rate": (0, 1e3),
    "vector_length": (0, 1e3),
    "unknown": (0, 1),
    "max_units": (1, 1_000_000),
    "soft": (0, 1),
    "layer_decay": (0, 1),
    "encoder_rate": (0, 1e3),
}
JUDGED_UNITS = 4096
"""Padded units of a batch that is only judged: bounds its memory."""
VECTOR_LENGTH = 2.0
"""Mean norm of given vectors in the paper's variants: near that of the paper's, whose unknown
words, drawn with the variance of the others, have 2.5 (300 dimensions within 0.25)."""
POOL = 50
"""Batches whose texts are sorted by length together: little padding, still a random order."""


@dataclass(frozen=True, slots=True)
class TextRecipe(Recipe):
    """How to train a sentence classifier."""

    steps: int = 0
    """Optimiser steps; 0 means ``epochs`` passes over the data."""
    epochs: float = 8.0
    batch: int = 50
    lr: float = 1e-3
    ema: float = 0.98
    precision: str = "fp32"
    variant: str = "non-static"
    """rand | static | non-static | multichannel (Kim 2014, section 3.1)."""
    widths: tuple[int, ...] = (3, 4, 5)
    maps: int = 100
    bottleneck: int = 0
    dropout: float = 0.5
    word_dropout: float = 0.1
    max_norm: float = 3.0
    """Largest L2 norm of a class row of the output layer; 0 leaves it free."""
    smoothing: float = 0.1
    """Label smoothing (Szegedy et al. 2016, section 7)."""
    table_rate: float = 1.0
    """Learning rate of the word vectors, relative to the rest."""
    vector_length: float = 0.0
    """Mean norm that given word vectors are scaled to; 0 leaves them as they are."""
    unknown: float = 0.1
    """Chance that a word seen once in training is shown as the unknown word."""
    max_units: int = 400
    """Units of a training text that are read; longer ones are cut at their end."""
    class_weights: str = "none"
    """none | balanced: a class weighs as much as n / (classes * its texts)."""
    soft: float = 0.7
    """Weight of a teacher's probabilities where there are any; the rest is the label's."""
    layer_decay: float = 0.9
    """A net with an encoder: each layer learns at this rate relative to the one above it."""
    encoder_rate: float = 0.1
    """A net with an encoder: learning rate of its last layer relative to the filters'."""

    def check(self) -> None:
        """As Recipe's; also what only this recipe has."""
        Recipe.check(self)  # super() without arguments fails in a class with slots
        for name, choices in (("variant", VARIANTS), ("class_weights", ("none", "balanced"))):
            if getattr(self, name) not in choices:
                raise InputError(name, f"{getattr(self, name)!r} is none of {', '.join(choices)}")
        for name, (low, high) in _RANGES.items():
            if not low <= getattr(self, name) <= high:
                raise InputError(name, f"{getattr(self, name)!r} is not within {low:g} to {high:g}")
        if not self.widths or not all(1 <= h <= 100 for h in self.widths):
            raise InputError("widths", f"{self.widths!r}: at least one, each from 1 to 100")


def paper(variant: str, **changes: Any) -> TextRecipe:
    """The paper's settings (section 3): Adadelta, batches of 50, dropout .5, max-norm 3.

    Given vectors get about the length that those of the paper have: several sources side by side
    are longer, and two channels, whose copies add up, twice that (docs/training.md).
    """
    if variant not in VARIANTS:
        raise TrainingError(f"variant {variant!r} is none of {', '.join(VARIANTS)}")
    recipe = TextRecipe(
        variant=variant,
        optimizer="adadelta",
        lr=1.0,
        schedule="constant",
        warmup=0.0,
        ema=0.0,
        epochs=25,
        word_dropout=0.0,
        smoothing=0.0,
        vector_length=VECTOR_LENGTH,
        unknown=0.0,
    )
    return dataclasses.replace(recipe, **changes)


def tuned(**changes: Any) -> TextRecipe:
    """For nets on top of an encoder: two epochs, the encoder at a tenth of the filters' rate."""
    recipe = TextRecipe(
        epochs=2, lr=1e-3, batch=32, precision="bf16", ema=0.99, warmup=0.1, schedule="linear",
        smoothing=0.05, weight_decay=0.01, clip=1.0, unknown=0.0, max_units=128, dropout=0.2,
        widths=(1, 2, 3),
    )  # fmt: skip
    return dataclasses.replace(recipe, **changes)


def student(**changes: Any) -> TextRecipe:
    """For Kim's CNN that learns from a teacher, on many texts with soft targets."""
    recipe = TextRecipe(
        epochs=4, batch=100, widths=(1, 2, 3, 4, 5), bottleneck=200, soft=0.8, ema=0.995,
        unknown=0.02,
    )  # fmt: skip
    return dataclasses.replace(recipe, **changes)


@dataclass(frozen=True, slots=True)
class Fitted:
    """A trained net and what it takes to use it."""

    net: KimCNN | ContextCNN
    units: Units
    labels: tuple[str, ...]
    several: bool
    recipe: TextRecipe
    summary: Summary
    temperature: float
    thresholds: tuple[float, ...]
    grams: Grams | None = None
    """A linear model whose margin joins the net's logits."""


class Batches:
    """Batches of padded ids as a pure function of their index: ``at(i)`` -> (ids, targets).

    An epoch is a permutation drawn from (seed, epoch), sorted by length within pools of batches,
    whose batches are then shuffled. All batches of an epoch are equally large; the few texts that
    are left over wait for the next epoch's permutation. Lengths are rounded up to a ``multiple``.
    """

    def __init__(
        self,
        ids: Sequence[np.ndarray],
        targets: np.ndarray,
        *,
        batch: int,
        seed: int,
        rare: np.ndarray | None = None,
        unknown: float = 0.0,
        multiple: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if not len(ids):
            raise TrainingError("there are no training texts")
        self.ids, self.targets = ids, torch.from_numpy(targets)
        self.lengths = np.array([len(x) for x in ids])
        self.batch = min(batch, len(ids))
        self.per_epoch = len(ids) // self.batch
        self.seed, self.rare, self.unknown = seed, rare, unknown
        self.multiple = multiple
        self.rank, self.world = rank, world
        self._epoch, self._order = -1, np.empty((0, 0), dtype=np.int64)

    def at(self, index: int) -> tuple[Tensor, Tensor]:
        """(N, L) ids, 0 = padding, and the targets of this process's share of batch ``index``."""
        epoch, k = divmod(index, self.per_epoch)
        if epoch != self._epoch:
            self._epoch, self._order = epoch, self._shuffled(epoch)
        chosen = self._order[k][self.rank :: self.world]
        length = -(-max(1, int(self.lengths[chosen].max())) // self.multiple) * self.multiple
        ids = np.zeros((len(chosen), length), dtype=np.int64)
        for row, i in zip(ids, chosen, strict=True):
            row[: self.lengths[i]] = self.ids[i]
        if self.unknown and self.rare is not None:
            draw = np.random.default_rng((self.seed, index, self.rank)).random(ids.shape)
            ids[self.rare[ids] & (draw < self.unknown)] = 1
        return torch.from_numpy(ids), self.targets[torch.from_numpy(chosen)]

    def _shuffled(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng((self.seed, epoch))
        order = rng.permutation(len(self.ids))[: self.per_epoch * self.batch]
        size = POOL * self.batch
        for start in range(0, len(order), size):
            pool = order[start : start + size]
            order[start : start + size] = pool[np.argsort(self.lengths[pool], kind="stable")]
        rows = order.reshape(self.per_epoch, self.batch)
        shuffled: np.ndarray = rows[rng.permutation(self.per_epoch)]
        return shuffled


def encode(units: Units, texts: Sequence[str], limit: int) -> list[np.ndarray]:
    """Ids of each text, at most ``limit``; a text without units is one unknown word."""
    framed = units.kind == "wordpiece"  # a text that is cut ends with [SEP] all the same

    def cut(ids: list[int]) -> list[int]:
        return [*ids[: limit - 1], ids[-1]] if framed and len(ids) > limit else ids[:limit]

    return [np.array(cut(units.ids(text)) or [1], dtype=np.int64) for text in texts]


def judged_units(net: nn.Module) -> int:
    """How many units of a text it is judged by: nearly all, or what an encoder reads at once."""
    return 256 if isinstance(net, ContextCNN) else 10_000


def random_vectors(units: int, dimensions: int, seed: int, *, spread: float = 0.25) -> np.ndarray:
    """Uniform in [-spread, spread], as the author's code starts words that have no vector."""
    rng = np.random.default_rng((seed, 77))
    return rng.uniform(-spread, spread, (units, dimensions)).astype(np.float32)


def fit(
    texts: Sequence[str],
    targets: np.ndarray,
    labels: tuple[str, ...],
    *,
    units: Units,
    vectors: np.ndarray | None = None,
    recipe: TextRecipe,
    run: Path,
    dev: tuple[Sequence[str], np.ndarray] | None = None,
    teacher: np.ndarray | None = None,
    start: KimCNN | ContextCNN | None = None,
    resume: bool = False,
    device: str = "cpu",
    quiet: bool = False,
    world: distributed.World | None = None,
    tensorboard: bool = False,
) -> Fitted:
    """Train on ``texts`` and their ``targets``: (n,) class numbers, or (n, classes) 0/1.

    ``vectors`` (len(units), dimensions) are the words' first vectors; row 0 is padding; without
    them the words start at random, in 300 dimensions. The words
    of the training texts should come first in ``units``: rows up to the last of them are tuned.
    ``dev`` picks the best epoch and the temperature. ``teacher`` (n, classes) probabilities are
    mixed with the labels. ``start`` is a net to go on from.
    """
    several = targets.ndim == 2
    if vectors is None:
        vectors = random_vectors(len(units), 300, recipe.seed)
    world = world or distributed.World()
    ids = encode(units, texts, recipe.max_units)
    counts = np.bincount(np.concatenate(ids), minlength=len(units))
    rare = counts == 1
    goal = _soft_targets(targets, len(labels), recipe, teacher)
    batches = Batches(
        ids,
        goal,
        batch=recipe.batch,
        seed=recipe.seed,
        rare=rare,
        unknown=recipe.unknown,
        # torch keeps code and memory for each shape that an encoder's matrices have met
        multiple=16 if isinstance(start, ContextCNN) else 1,
        rank=world.rank,
        world=world.size,
    )
    if not recipe.steps:
        recipe = dataclasses.replace(
            recipe,
            steps=max(1, round(recipe.epochs * batches.per_epoch / recipe.accumulate)),
        )
    if dev is not None and not recipe.evaluate_every:
        recipe = dataclasses.replace(
            recipe, evaluate_every=max(1, batches.per_epoch // recipe.accumulate)
        )
    torch.manual_seed(recipe.seed)
    net: KimCNN | ContextCNN
    if start is not None:
        net = start
    else:
        net = KimCNN(
            units=len(units),
            dimensions=vectors.shape[1],
            classes=len(labels),
            widths=recipe.widths,
            maps=recipe.maps,
            dropout=recipe.dropout,
            word_dropout=recipe.word_dropout,
            # as many dimensions as the vectors span, or more, would be no bottleneck
            bottleneck=recipe.bottleneck if recipe.bottleneck < min(vectors.shape) else 0,
            tuned=max(2, int(np.nonzero(counts)[0].max()) + 1),
            multichannel=recipe.variant == "multichannel",
        )
        _initialise(net, vectors)
    if recipe.variant == "static" and isinstance(net, KimCNN):
        net.table.requires_grad_(False)
    weight = _class_weights(targets, len(labels)) if recipe.class_weights == "balanced" else None

    def loss(wrapped: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        logits = wrapped(batch[0]).float()
        if several:
            return F.binary_cross_entropy_with_logits(logits, batch[1], pos_weight=weight)
        each = -(F.log_softmax(logits, 1) * batch[1])
        if weight is not None:
            each = each * weight
        return each.sum(1).mean()

    judge: Callable[[nn.Module], Mapping[str, float]] | None = None
    if dev is not None:
        dev_ids = encode(units, dev[0], judged_units(net))
        dev_targets = dev[1]

        def judge(judged: nn.Module) -> Mapping[str, float]:
            return judge_of(logits_of(judged, dev_ids, precision=recipe.precision), dev_targets)

    limited = recipe.max_norm > 0 and isinstance(net, KimCNN)
    summary = train(
        net,
        batches.at,
        loss,
        recipe,
        run,
        judge,
        metric="score",
        device=device,
        resume=resume,
        data=fingerprint(texts, targets, labels, teacher, dev),
        groups=lambda n: _groups(n, recipe),
        after_step=(lambda n: max_norm(n, recipe.max_norm)) if limited else None,
        world=world,
        quiet=quiet,
        tensorboard=tensorboard,
    )
    net.eval()
    temperature, thresholds = 1.0, [0.5] * len(labels)
    if dev is not None and len(dev[0]):
        z = logits_of(net, dev_ids)
        temperature = metrics.fit_temperature(z, dev_targets, several=several)
        if several:
            p = 1 / (1 + np.exp(-z / temperature))
            thresholds = [float(t) for t in metrics.best_thresholds(p, dev_targets)]
    return Fitted(net, units, labels, several, recipe, summary, temperature, tuple(thresholds))


def _initialise(net: KimCNN, vectors: np.ndarray) -> None:
    """The words' vectors, and a bottleneck that keeps their principal components."""
    table = net.table
    assert isinstance(table, WordTable)
    table.load(torch.from_numpy(vectors))
    if isinstance(net.bottleneck, nn.Linear):
        centred = torch.from_numpy(vectors - vectors.mean(0))
        _, _, axes = torch.linalg.svd(centred[:20_000], full_matrices=False)
        with torch.no_grad():
            net.bottleneck.weight.copy_(axes[: net.bottleneck.out_features])


def _soft_targets(
    targets: np.ndarray, classes: int, recipe: TextRecipe, teacher: np.ndarray | None
) -> np.ndarray:
    """(n, classes) float32 targets: smoothed labels, mixed with the teacher's probabilities."""
    if targets.ndim == 2:
        hard = targets.astype(np.float32)
    else:
        hard = np.full((len(targets), classes), recipe.smoothing / classes, dtype=np.float32)
        hard[np.arange(len(targets)), targets] += 1.0 - recipe.smoothing
    if teacher is None:
        return hard
    known = np.isfinite(teacher).all(1, keepdims=True)
    mixed = recipe.soft * np.nan_to_num(teacher) + (1.0 - recipe.soft) * hard
    return np.where(known, mixed, hard).astype(np.float32)


def _class_weights(targets: np.ndarray, classes: int) -> Tensor:
    """n / (classes * n_c) for one label a text; negatives over positives for several."""
    if targets.ndim == 2:
        positive = targets.sum(0)
        ratio = (len(targets) - positive) / np.maximum(positive, 1)
        return torch.from_numpy(ratio.astype(np.float32).clip(0.1, 100))
    counts = np.bincount(targets, minlength=classes)
    weights = len(targets) / (np.maximum(counts, 1) * max(1, int((counts > 0).sum())))
    return torch.from_numpy(weights.astype(np.float32))


def _groups(net: nn.Module, recipe: TextRecipe) -> list[dict[str, Any]]:
    if isinstance(net, ContextCNN):
        return _context_groups(net, recipe)
    table = [p for n, p in net.named_parameters() if n.startswith("table.")]
    rest = [p for n, p in net.named_parameters() if not n.startswith("table.")]
    return [*decayed(rest, recipe.weight_decay), *decayed(table, 0.0, scale=recipe.table_rate)]


def _context_groups(net: ContextCNN, recipe: TextRecipe) -> list[dict[str, Any]]:
    """Lower layers learn more slowly: what they know of language is worth keeping."""
    layers = net.encoder.layers
    groups: list[dict[str, Any]] = []

    def add(parameters: Any, scale: float) -> None:
        groups.extend(decayed(parameters, recipe.weight_decay, scale=scale))

    for i, layer in enumerate(layers):
        depth = len(layers) - 1 - i
        add(layer.parameters(), recipe.encoder_rate * recipe.layer_decay**depth)
    bottom = recipe.encoder_rate * recipe.layer_decay ** len(layers)
    add([net.encoder.positions, *net.encoder.norm.parameters()], bottom)
    add(net.encoder.table.parameters(), bottom * recipe.table_rate)
    add([*net.filters.parameters(), *net.output.parameters()], 1.0)
    return groups


def logits_of(
    net: nn.Module, ids: Sequence[np.ndarray], *, batch: int = 128, precision: str = "fp32"
) -> np.ndarray:
    """(n, classes) scores of encoded texts; batches of like lengths, of bounded size."""
    net.eval()
    lengths = np.array([len(x) for x in ids])
    order = np.argsort(lengths, kind="stable")
    out: list[np.ndarray] = []
    device = next(net.parameters()).device
    half = torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
    with torch.inference_mode(), half:
        start = 0
        while start < len(order):
            chosen = order[start : start + batch]
            inside = np.arange(1, len(chosen) + 1) * lengths[chosen] <= JUDGED_UNITS
            chosen = chosen[: max(1, int(inside.sum()))]  # lengths rise: what fits comes first
            start += len(chosen)
            padded = np.zeros((len(chosen), lengths[chosen[-1]]), dtype=np.int64)
            for row, i in zip(padded, chosen, strict=True):
                row[: len(ids[i])] = ids[i]
            out.append(net(torch.from_numpy(padded).to(device)).float().cpu().numpy())
    if not out:
        return np.empty((0, 0), dtype=np.float32)
    z = np.concatenate(out)
    unsorted = np.empty_like(z)
    unsorted[order] = z
    return unsorted


def judge_of(logits: np.ndarray, targets: np.ndarray) -> dict[str, float]:
    """Accuracy (micro-F1 with several labels a text) and what else; ``score`` chooses the epoch."""
    if targets.ndim == 2:
        answer = logits > 0
        hit = (answer & (targets > 0)).sum()
        micro = 2 * hit / max(1, answer.sum() + targets.sum())
        exact = float((answer == (targets > 0)).all(1).mean())
        return {"accuracy": float(micro), "exact": exact, "score": float(micro)}
    p = softmax(logits)
    right = p[np.arange(len(p)), targets]
    accuracy = float((p.argmax(1) == targets).mean())
    surprise = float(-np.log(np.maximum(right, 1e-12)).mean())
    # on few texts nets tie often: the one that is surer of the right answers wins
    score = accuracy - 1e-4 * min(surprise, 5.0)
    return {"accuracy": accuracy, "cross_entropy": surprise, "score": score}


def fingerprint(
    texts: Sequence[str],
    targets: np.ndarray,
    labels: Sequence[str],
    teacher: np.ndarray | None = None,
    dev: tuple[Sequence[str], np.ndarray] | None = None,
) -> str:
    """sha256 of all that is learned from or chosen by: a resumed run must have the same."""
    digest = hashlib.sha256()
    judges, answers = dev if dev is not None else ((), None)
    for text in (*labels, *texts, *judges):
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    for array in (targets, teacher, answers):
        if array is not None:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@torch.no_grad()
def fold_for_export(net: KimCNN) -> tuple[KimCNN, dict[str, Any]]:
    """The net with its bottleneck folded into an 8-bit table, and its constructor's arguments."""
    table = net.table
    assert isinstance(table, WordTable)
    rows = net.bottleneck(table.rows())
    arguments: dict[str, Any] = {
        "units": rows.shape[0],
        "dimensions": rows.shape[1],
        "classes": net.output.out_features,
        "widths": list(net.widths),
        "maps": net.output.in_features // len(net.widths),
        "table": "int8",
    }
    out = KimCNN(**arguments)
    assert isinstance(out.table, Int8Table)
    out.table.load(rows)
    out.filters.load_state_dict(net.filters.state_dict())
    out.output.load_state_dict(net.output.state_dict())
    return out.eval(), arguments


def _example(n: int, length: int, words: int, units: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng((n, length, words))
    return {
        "words": np.concatenate([[0], rng.integers(0, units, words - 1)]).astype(np.int64),
        "tokens": rng.integers(0, words, (n, length)).astype(np.int64),
        "length": rng.integers(1, length + 1, n).astype(np.int64),
        "edges": rng.integers(0, 2, (n, 2)).astype(np.int64),
    }


def _context_for_export(net: ContextCNN) -> tuple[ContextCNN, dict[str, Any]]:
    encoder = net.encoder
    arguments: dict[str, Any] = {
        "units": cast(nn.Embedding, encoder.table).num_embeddings,
        "classes": net.output.out_features,
        "layers": len(encoder.layers),
        "widths": list(net.widths),
        "maps": net.output.in_features // len(net.widths),
    }
    return quantise(net, arguments), {**arguments, "int8": True}


def _context_example(n: int, length: int, units: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng((n, length))
    return {
        "ids": rng.integers(1, units, (n, length)).astype(np.int64),
        "length": np.maximum(length - np.arange(n) * 2, 1).astype(np.int64),
    }


def save(fitted: Fitted, folder: str | Path, card: Card) -> Card:
    """Write the weights folder; ``card`` brings what only the caller knows (data, metrics)."""
    units = len(fitted.units)
    net: nn.Module
    if isinstance(fitted.net, ContextCNN):
        net, arguments = _context_for_export(fitted.net)
        interface: dict[str, Any] = {
            "examples": [_context_example(n, m, units) for n, m in ((3, 9), (1, 2), (4, 31))],
            "axes": {"ids": {0: "texts", 1: "units"}, "length": {0: "texts"}},
            "outputs": ["logits", "features", "context"],
            "ranges": {"units": (1, 512), "texts": (1, 1 << 20)},
        }
    else:
        net, arguments = fold_for_export(fitted.net)
        shapes = ((3, 9, 20), (1, 1, 2), (5, 31, 100))
        interface = {
            "examples": [_example(*shape, units) for shape in shapes],
            "axes": {
                "words": {0: "words"},
                "tokens": {0: "texts", 1: "units"},
                "length": {0: "texts"},
                "edges": {0: "texts"},
            },
            "outputs": ["logits", "features"],
            "ranges": {"units": (1, 1 << 20), "texts": (1, 1 << 20), "words": (1, 1 << 24)},
        }
    card = dataclasses.replace(
        card,
        app="textcls",
        net="context-cnn" if isinstance(fitted.net, ContextCNN) else "kim-cnn",
        arguments=arguments,
        labels=fitted.labels,
        preparation={
            "units": fitted.units.kind,
            "temperature": round(fitted.temperature, 6),
            "several_labels": fitted.several,
            "thresholds": [round(t, 6) for t in fitted.thresholds] if fitted.several else [],
        },
        recipe=dataclasses.asdict(fitted.recipe),
        hours=card.hours or round(fitted.summary.seconds / 3600, 4),
    )
    files = fitted.units.files()
    if fitted.grams is not None:
        files |= fitted.grams.files()
    return export(net, folder, card, files=files, **interface)
