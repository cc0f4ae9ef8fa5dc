"""What a training starts from: units and vectors, or a whole net to go on from."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from cnnapps.apps.textcls.context import ContextCNN
from cnnapps.apps.textcls.data import Dataset
from cnnapps.apps.textcls.net import KimCNN
from cnnapps.apps.textcls.run import sha256_of
from cnnapps.apps.textcls.tokens import (
    Units,
    build_characters,
    build_words,
    guess_kind,
    read_units,
    train_sentencepiece,
)
from cnnapps.apps.textcls.train import TextRecipe, random_vectors
from cnnapps.apps.textcls.vectors import (
    PACKAGES,
    channels,
    list_words,
    of_length,
    read_vectors,
)
from cnnapps.core.card import Card, Source
from cnnapps.core.errors import InputError, WeightsError, listed, printable
from cnnapps.core.weights import Weights, find, open_weights

__all__ = ["Start", "floats_of", "source_of", "start_of"]

COVERED = 0.5
"""Share of the training tokens that the shipped vectors must know to be the default start."""


@dataclasses.dataclass(frozen=True, slots=True)
class Start:
    """The first vectors of the words, and where they come from."""

    units: Units
    vectors: np.ndarray
    sources: tuple[Source, ...]
    net: KimCNN | ContextCNN | None = None
    classes: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    aliases: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """Other names of the classes, as the weights that it starts from know them."""


def start_of(
    train: Dataset,
    kind: str,
    vectors: Sequence[str],
    weights: Weights | None,
    recipe: TextRecipe,
    classes: tuple[str, ...],
) -> Start:
    """Units and first vectors: other weights', the user's files', the shipped net's, or random."""
    if weights is not None:
        return _from_weights(weights, train, classes, recipe)
    if kind == "auto":
        kind = guess_kind(train.texts)
    named = [v for v in vectors if v != "none"]
    if named and kind != "words":
        raise InputError("--vectors", f"are of words, the units are {kind} (--units words)")
    if kind == "sentencepiece":
        pieces = train_sentencepiece(train.texts, seed=recipe.seed)
        return Start(pieces, random_vectors(len(pieces), 128, recipe.seed), ())
    if kind == "characters":
        units: Units = build_characters(train.texts)
        return Start(units, random_vectors(len(units), 128, recipe.seed), ())
    if named:
        return _from_vectors(train, named, recipe)
    if not vectors and recipe.variant != "rand":
        shipped = _shipped(train, recipe)
        if shipped is not None:
            return shipped
    units = build_words(train.texts)
    return Start(units, random_vectors(len(units), 300, recipe.seed), ())


def _from_vectors(train: Dataset, named: Sequence[str], recipe: TextRecipe) -> Start:
    also: dict[str, None] = {}
    for source in named:
        if source in ("kumo", "wink", "spacy-md"):
            also |= dict.fromkeys(list_words(source, limit=60_000))
    units = build_words(train.texts, also=also)
    read = [read_vectors(source, units.names()[2:]) for source in named]
    stacked = channels(units.names(), read, length=recipe.vector_length, seed=recipe.seed)
    words, notes = units.names()[2:], []
    for source, vectors in zip(named, read, strict=True):
        known = sum(word in vectors for word in words)
        if not known:
            raise InputError(source, f"has a vector for none of the {len(words):,} words")
        notes.append(f"{source}: vectors of {known:,} of {len(words):,} words")
    sources = [
        Source(
            s, PACKAGES[s].licence if s in PACKAGES else "the user's",
            sha256_of([s]) if os.path.isfile(s) else "", what="word vectors",
        )
        for s in named
    ]  # fmt: skip
    return Start(units, stacked.matrix, tuple(sources), notes=tuple(notes))


def source_of(card: Card, what: str) -> Source:
    """Other weights, as the card of what is made from them names them."""
    return Source(card.name, card.licence, card.files["model.safetensors"].sha256, what=what)


def floats_of(tensors: Mapping[str, np.ndarray]) -> dict[str, Tensor]:
    """Exported tensors as a net is trained with: 8-bit codes times their scale are weights."""
    found = {name: torch.from_numpy(t.astype(np.float32)) for name, t in tensors.items()}
    out: dict[str, Tensor] = {}
    for name, tensor in found.items():
        base, _, part = name.rpartition(".")
        if part == "codes":
            out[f"{base}.weight"] = tensor * found[f"{base}.scale"]
        elif f"{base}.codes" not in found or part != "scale":
            out[name] = tensor
    return out


def _shipped(train: Dataset, recipe: TextRecipe) -> Start | None:
    """The vectors of the shipped English net, where they know most of the words."""
    try:
        weights = open_weights(find(None, "textcls"), app="textcls")
        table = floats_of(weights.tensors())["table.weight"].numpy()
        old = read_units(weights.files)
    except WeightsError:
        return None
    if old.kind != "words" or _unknown(train, old) > 1 - COVERED:
        return None
    units = build_words(train.texts, also=old.names()[2:])
    vectors = of_length(_moved(table, old, units, recipe.seed), recipe.vector_length)
    return Start(units, vectors, (source_of(weights.card, "first vectors of the words"),))


def _moved(table: np.ndarray, old: Units, new: Units, seed: int) -> np.ndarray:
    """Rows of ``table`` in the order of ``new``; a word it lacks gets a random row like them."""
    index = {name: i for i, name in enumerate(old.names())}
    spread = float(table[2:].std()) * 3**0.5
    out = random_vectors(len(new), table.shape[1], seed, spread=spread)
    for i, name in enumerate(new.names()):
        if name in index:
            out[i] = table[index[name]]
    return out


@torch.no_grad()
def _from_weights(
    weights: Weights, train: Dataset, classes: tuple[str, ...], recipe: TextRecipe
) -> Start:
    """A net to go on from. Labels that it lacks are added to its output layer; where it has none of
    the data's, theirs take the place of its own.
    """
    card = weights.card
    named = {card.aliases.get(c, c) for c in classes}
    old = card.labels if named & set(card.labels) else ()
    labels = (*old, *sorted(named - set(old)))
    arguments = {
        k: v for k, v in card.arguments.items() if k not in ("table", "int8", "classes")
    } | {"classes": len(labels), "dropout": recipe.dropout}
    torch.manual_seed(recipe.seed)
    net: KimCNN | ContextCNN
    tensors = floats_of(weights.tensors())
    try:
        if card.net == "context-cnn":
            net = ContextCNN(**arguments)
            net.encoder.table.requires_grad_(False)  # rows that a small training set hardly moves
        else:
            net = KimCNN(**arguments, word_dropout=recipe.word_dropout)
        for name, parameter in net.named_parameters():
            if not name.startswith("output."):
                parameter.copy_(tensors[name])
    except (KeyError, TypeError, RuntimeError) as error:
        raise WeightsError(card.name, f"are not those of a {card.net} ({error})") from error
    if old:
        net.output.weight[: len(old)] = tensors["output.weight"]
        net.output.weight[len(old) :] = 0.0
        net.output.bias[: len(old)] = tensors["output.bias"]
        # a new label knows nothing yet and is as likely as an undecided old one
        net.output.bias[len(old) :] = tensors["output.bias"].mean()
    units = read_units(weights.files)
    notes = [f"{card.name} knows your label {printable(c, 40)} as {card.aliases[c]}"
             for c in classes if card.aliases.get(c, c) != c]  # fmt: skip
    notes += _notes(card.name, old, named, _unknown(train, units))
    source = source_of(card, "trained further")
    nothing = np.empty((0, 0), dtype=np.float32)
    return Start(units, nothing, (source,), net, labels, tuple(notes), aliases=card.aliases)


def _notes(name: str, old: tuple[str, ...], named: set[str], unknown: float) -> list[str]:
    """What a user should know before a net goes on with other labels or other words."""
    notes = []
    if not old:
        notes.append(f"{name} has none of these labels: it learns them anew")
    elif kept := [x for x in old if x not in named]:
        notes.append(
            f"{name} keeps labels that no text has, and may answer with them: {listed(kept)}"
        )
    if unknown > 1 - COVERED:
        notes.append(f"warning: {name} does not know {unknown:.0%} of the words")
    return notes


def _unknown(train: Dataset, units: Units) -> float:
    """The share of unknown units in a sample of the texts."""
    sample = train.texts[:: max(1, len(train) // 2000)]
    ids = np.array([i for text in sample for i in units.ids(text)] or [1])
    return float((ids == 1).mean())
