"""What train finds out before it trains: known test texts, separators, lengths of vectors."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from cnnapps.apps.textcls import learn
from cnnapps.apps.textcls.data import Dataset, read_dataset, separator_of
from cnnapps.apps.textcls.learn import SAMPLE, SEARCH, Options, Parts, _leaks, _parts
from cnnapps.apps.textcls.start import start_of
from cnnapps.apps.textcls.train import VECTOR_LENGTH, TextRecipe, paper
from cnnapps.core.card import Card, Source

OPTIONS = Options(
    data=(str(SAMPLE),), text_column=None, label_column=None, label_separator=None, encoding=None,
    max_bytes=None, output="w", dev=None, test=None, start=None, teacher=None, new_texts=None,
    vectors=(), units="auto", variant=None, class_weights="none", folds=None, autotune=False,
    minutes=None, settings=(), run=None, resume=False, seed=1, device="cpu", threads=1,
    tensorboard=False, quiet=True, debug=False,
)  # fmt: skip


@pytest.fixture(scope="module")
def sample() -> Dataset:
    """The sample of the package, without its parts."""
    data = read_dataset([str(SAMPLE)])
    return dataclasses.replace(data, splits=[None] * len(data))


def warnings(data: Dataset, command: str, **changes: object) -> list[str]:
    """What is said when weights made from the same data by ``command`` go on, or teach."""
    options = dataclasses.replace(OPTIONS, **changes)  # type: ignore[arg-type]
    card = Card(
        app="textcls", tag="w", net="kim-cnn", what="x", licence="x", limits="x", command=command,
        sources=(Source("reviews.tsv", "x", data.sha256, len(data)),),
    )  # fmt: skip
    parts: Parts = _parts(data, options)
    found = [w for w in _leaks(data, parts, {"--from": card}, options) if "trained on" in w]
    other = dataclasses.replace(card, sources=(Source("others.tsv", "x", "0" * 64, 5),))
    assert not [w for w in _leaks(data, parts, {"--from": other}, options) if "trained on" in w]
    return found


TRAIN = "cnnapps textcls train reviews.tsv"


@pytest.mark.parametrize(
    ("command", "changes", "known"),
    [
        (f"{TRAIN} -o w", {}, False),
        (f"{TRAIN} --seed 3 -o w", {"seed": 3}, False),
        (f"{TRAIN} -o w", {"seed": 3}, True),
        (f"{TRAIN} --seed 3 -o w", {}, True),
        (f"{TRAIN} --seed 0 -o w", {}, True),
        (f"{TRAIN} --test other.tsv -o w", {}, True),  # no part of these was held back
        ("python -m cnnapps.apps.textcls.ship quality", {}, True),
        (f"{TRAIN} -o w", {"folds": 5}, True),
        (f"{TRAIN} --seed 3 -o w", {"test": str(SAMPLE)}, False),  # another file is measured
    ],
)
def test_weights_that_may_know_the_test_part_are_told(
    sample: Dataset, command: str, changes: dict[str, object], known: bool
) -> None:
    assert bool(warnings(sample, command, **changes)) == known


def test_labels_that_differ_in_case_are_told(sample: Dataset) -> None:
    assert learn._hint(sample) is None
    odd = dataclasses.replace(sample, labels=[("Positive",), *sample.labels[1:]])
    assert "case alone are different classes: Positive, positive" in str(learn._hint(odd))


def test_a_card_names_every_option_that_was_given() -> None:
    line = dataclasses.replace(OPTIONS, seed=0, new_texts=0, teacher="w").line()
    assert "--seed 0" in line and "--new-texts 0" in line


def test_tuning_leaves_alone_what_was_set() -> None:
    settings = ("lr=1e-4", "word-dropout=0.3")
    named = dataclasses.replace(OPTIONS, settings=settings)
    assert named.search() == {k: v for k, v in SEARCH.items() if k not in ("lr", "word_dropout")}
    static = dataclasses.replace(OPTIONS, variant="static", settings=("maps=20",))
    assert set(static.search()) == {"dropout", "widths"}


def test_only_a_named_test_part_is_the_same_by_every_seed(sample: Dataset) -> None:
    n = len(sample)
    names = ["train"] * (n - 200) + ["dev"] * 100
    both = dataclasses.replace(sample, splits=[*names, *["dev"] * 100])
    assert warnings(both, f"{TRAIN} --seed 3 -o w")
    every = dataclasses.replace(sample, splits=[*names, *["testing"] * 100])
    assert not warnings(every, f"{TRAIN} --seed 3 -o w")


@pytest.mark.parametrize(
    ("labels", "sign"),
    [
        (["food;place", "food"], ";"),
        (["food;place;", "food; ;place", ""], ";"),
        (["food | place", "staff|food"], "|"),
        (["food, place"], ","),
        (["food", "place"], ";"),  # nothing to split: every sign is right
        (["a/b", "food"], ";"),  # a label as it is
        (["food;other"], None),
        (["food;place", "food|place"], None),
    ],
)
def test_separators_are_known_by_the_labels_they_leave(labels: list[str], sign: str | None) -> None:
    assert separator_of(labels, {"food", "place", "staff", "a/b"}) == sign


def test_the_papers_variants_start_from_short_vectors(sample: Dataset) -> None:
    def length(recipe: TextRecipe) -> float:
        start = start_of(sample, "auto", (), None, recipe, ("negative", "positive"))
        return float(np.linalg.norm(start.vectors, axis=1).mean())

    plain = length(TextRecipe())
    assert plain > 1.5 * VECTOR_LENGTH
    assert length(paper("static")) == pytest.approx(VECTOR_LENGTH, rel=1e-4)
    assert length(paper("static").updated("vector_length=0")) == pytest.approx(plain)
    assert length(TextRecipe().updated("vector_length=3")) == pytest.approx(3, rel=1e-4)
