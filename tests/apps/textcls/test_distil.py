"""Lessons of a teacher: which texts it labels, and what is learned from the answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from cnnapps.apps.textcls import distil, load
from cnnapps.apps.textcls.data import normalise
from cnnapps.apps.textcls.distil import TIMES, lesson
from cnnapps.apps.textcls.predict import TextPredictor
from cnnapps.core.errors import InputError
from cnnapps.core.weights import open_weights

LABELS = ("positive", "negative")  # in another order than the teacher's
TARGETS = np.array([0, 1] * 20)


def test_a_lesson_has_the_texts_and_new_ones(texts: list[str], weights: Path) -> None:
    teacher = load(str(weights))
    got = lesson(teacher, texts[:40], TARGETS, LABELS, seed=1)
    assert got.texts[:40] == texts[:40] and 400 < len(got.texts) <= (1 + TIMES) * 40
    assert len(got.texts) == len(got.targets) == len(got.teacher)
    assert (got.targets[:40] == TARGETS).all()
    np.testing.assert_allclose(got.teacher.sum(1), 1, atol=1e-5)
    assert (got.targets[40:] == got.teacher[40:].argmax(1)).all()
    for text, p in zip(got.texts[::50], got.teacher[::50], strict=True):
        answer = teacher(text).probabilities
        np.testing.assert_allclose(p, [answer[x] for x in LABELS], atol=1e-4)


def test_as_many_new_texts_as_are_asked_for(texts: list[str], weights: Path) -> None:
    teacher = load(str(weights))
    none = lesson(teacher, texts[:40], TARGETS, LABELS, new=0, seed=1)
    assert none.texts == texts[:40] and none.teacher.shape == (40, 2)
    more = lesson(teacher, texts[:40], TARGETS, LABELS, new=1500, seed=1)
    assert TIMES * 40 < len(more.texts) - 40 <= 1500


def test_new_texts_where_no_spaces_stand_between_words(weights: Path) -> None:
    reviews = [f"第{i}天收到，外观不错，就是太贵了。" for i in range(40)]
    got = lesson(load(str(weights)), reviews, TARGETS, LABELS, new=60, seed=1)
    new = got.texts[40:]
    assert len(new) > 20 and all(t and set(t) <= set("".join(reviews)) for t in new)
    assert any(len(t) < len(reviews[0]) for t in new)


def test_texts_that_judge_are_not_made(texts: list[str], weights: Path) -> None:
    teacher = load(str(weights))
    first = lesson(teacher, texts[:40], TARGETS, LABELS, seed=1).texts[40:]
    hidden = [first[0].upper(), first[5]]
    again = lesson(teacher, texts[:40], TARGETS, LABELS, unseen=hidden, seed=1).texts
    assert not {normalise(t) for t in hidden} & {normalise(t) for t in again[40:]}


def test_answers_are_kept_and_asked_again_for_other_texts(
    texts: list[str], weights: Path, tmp_path: Path
) -> None:
    keep = tmp_path / "run" / "teacher.npz"

    def learn(n: int) -> np.ndarray:
        return lesson(
            load(str(weights)), texts[:n], TARGETS[:n], LABELS, seed=1, keep=keep
        ).teacher  # fmt: skip

    whole = learn(40)
    kept = keep.read_bytes()
    assert (learn(40) == whole).all() and keep.read_bytes() == kept
    assert len(learn(20)) < len(whole) and keep.read_bytes() != kept
    for damaged in (kept[:500], b"", b"no archive"):
        keep.write_bytes(damaged)
        assert (learn(40) == whole).all() and keep.read_bytes() == kept


def test_answers_outlive_a_stop(
    texts: list[str], weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A teacher that is stopped at its third portion is asked for the rest only."""
    monkeypatch.setattr(distil, "KEEP_SECONDS", 0.0)
    monkeypatch.setattr(distil, "_CHUNK", 100)
    keep = tmp_path / "teacher.npz"
    whole = lesson(load(str(weights)), texts[:40], TARGETS, LABELS, seed=1).teacher
    asked: list[int] = []

    class Stopped(TextPredictor):
        def logits(self, texts: Sequence[str]) -> np.ndarray:
            asked.append(len(texts))
            if len(asked) == 3:
                raise KeyboardInterrupt
            return super().logits(texts)

    teacher = Stopped(open_weights(str(weights), app="textcls"))
    with pytest.raises(KeyboardInterrupt):
        lesson(teacher, texts[:40], TARGETS, LABELS, seed=1, keep=keep)
    got = lesson(teacher, texts[:40], TARGETS, LABELS, seed=1, keep=keep)
    np.testing.assert_allclose(got.teacher, whole, atol=1e-6)
    assert sum(asked) == len(whole) + 100  # the portion it was stopped in twice


def test_a_teacher_of_other_labels_is_refused(texts: list[str], weights: Path) -> None:
    teacher = load(str(weights))
    with pytest.raises(InputError, match="knows negative, positive, but not neutral"):
        lesson(teacher, texts[:40], TARGETS, ("neutral", "positive"))
    with pytest.raises(InputError, match="gives one label a text, the data have several labels"):
        lesson(teacher, texts[:40], np.ones((40, 2), dtype=np.int64), LABELS)
