"""Metrics against scikit-learn, and calibration against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.textcls.evaluate import (
    best_thresholds,
    calibration_error,
    confusion,
    fit_temperature,
    score,
    score_several,
)
from cnnapps.apps.textcls.predict import softmax
from cnnapps.apps.textcls.train import judge_of


def test_a_small_dev_part_without_a_mistake_makes_nobody_certain() -> None:
    """After n right answers the next one is right with (n + 1) / (n + 2)."""
    truth = np.array([0, 1] * 11)
    logits = np.where(np.arange(2) == truth[:, None], 0.3, -0.3)
    assert softmax(logits / fit_temperature(logits, truth)).max() == pytest.approx(23 / 24, 1e-3)
    one = np.array([[1], [0]] * 11)
    z = np.where(one, 0.3, -0.3)
    p = 1 / (1 + np.exp(-z / fit_temperature(z, one, several=True)))
    assert p.max() == pytest.approx(23 / 24, 1e-3)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 80))
def test_scores_equal_sklearn(seed: int, classes: int, n: int) -> None:
    from sklearn import metrics

    rng = np.random.default_rng(seed)
    p = softmax(rng.normal(size=(n, classes)))
    truth = rng.integers(0, classes, n)
    labels = tuple(f"c{i}" for i in range(classes))
    got = score(p, truth, labels)
    answer = p.argmax(1)
    assert got.accuracy == pytest.approx(metrics.accuracy_score(truth, answer))
    assert got.macro_f1 == pytest.approx(
        metrics.f1_score(truth, answer, average="macro", zero_division=0)
    )
    want = metrics.confusion_matrix(truth, answer, labels=range(classes))
    assert np.array_equal(confusion(truth, answer, classes), want)
    assert got.confusion["counts"] == want.tolist()


def test_several_labels_equal_sklearn() -> None:
    from sklearn import metrics

    rng = np.random.default_rng(1)
    p, truth = rng.random((60, 4)), rng.integers(0, 2, (60, 4))
    got = score_several(p, truth, ("a", "b", "c", "d"), np.full(4, 0.5))
    assert got.accuracy == pytest.approx(metrics.accuracy_score(truth, p >= 0.5))
    assert got.macro_f1 == pytest.approx(metrics.f1_score(truth, p >= 0.5, average="macro"))


def test_calibration_error_by_hand() -> None:
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    right = np.array([True, True, True, False, True, False])
    want = 4 / 6 * abs(0.95 - 0.75) + 2 / 6 * abs(0.55 - 0.5)
    assert calibration_error(confidence, right) == pytest.approx(want)
    assert calibration_error(np.array([]), np.array([])) == 0.0


@pytest.mark.parametrize("true_t", [0.5, 1.0, 3.0])
def test_temperature_is_recovered(true_t: float) -> None:
    """Labels drawn from softmax(z / T): the fitted temperature of z must be T."""
    rng = np.random.default_rng(0)
    z = rng.normal(scale=3, size=(20_000, 3))
    p = softmax(z / true_t)
    truth = (rng.random((len(p), 1)) > p.cumsum(1)).sum(1).clip(0, 2)
    assert fit_temperature(z, truth) == pytest.approx(true_t, rel=0.06)
    assert fit_temperature(np.empty((0, 2)), np.empty(0, dtype=int)) == 1.0


def test_thresholds_maximise_f1() -> None:
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, (200, 2))
    p = np.clip(truth * 0.3 + rng.random((200, 2)) * 0.5, 0, 1)
    found = best_thresholds(p, truth)

    def f1(t: float, i: int) -> float:
        answer = p[:, i] >= t
        return 2 * (answer & (truth[:, i] == 1)).sum() / (answer.sum() + truth[:, i].sum())

    for i in range(2):
        assert f1(found[i], i) >= max(f1(t, i) for t in np.linspace(0.01, 0.99, 99)) - 1e-9
    assert best_thresholds(p, np.zeros_like(truth)).tolist() == [0.5, 0.5]


def test_of_two_nets_that_tie_the_surer_one_is_better() -> None:
    targets = np.array([0, 1, 1])
    weak, strong = np.array([[0.1, 0], [0, 0.1], [0, 0.1]]), np.array([[4.0, 0], [0, 4], [0, 4]])
    wrong = np.array([[9.0, 0], [0, 9], [9, 0]])
    scores = [judge_of(z, targets)["score"] for z in (wrong, weak, strong)]
    assert scores == sorted(scores) and len(set(scores)) == 3


def test_columns_of_the_confusion_can_be_told_apart() -> None:
    labels = ("customer_account", "customer_billing")
    p = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    head = str(score(p, np.array([0, 1, 1]), labels)).split("truth, column = answer)\n")[1]
    assert head.split("\n")[0].split() == ["customer_a", "customer_b"]
