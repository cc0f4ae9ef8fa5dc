"""The linear model over n-grams of characters: against scikit-learn, its parts, its file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnapps.apps.textcls.grams import FILE, Grams, fit_grams, hashes, read_grams
from cnnapps.apps.textcls.predict import load
from cnnapps.core.errors import WeightsError

TEXTS = [
    "房间很干净，服务也好", "早餐很好吃 下次还来", "性价比高，很满意", "送餐很快，味道好",
    "房间很脏，服务也差", "早餐难吃 不会再来", "又贵又差，很失望", "送餐太慢，味道差",
]  # fmt: skip
TARGETS = np.array([1, 1, 1, 1, 0, 0, 0, 0])
WEIGHTS = np.array([1, 1, 1, 1, 1, 1, 1, 0.3])


def model() -> Grams:
    pytest.importorskip("sklearn")
    return fit_grams(TEXTS, TARGETS, WEIGHTS, keep=10_000)


def test_it_is_the_svm_on_tf_idf_of_scikit_learn() -> None:
    extraction = pytest.importorskip("sklearn.feature_extraction.text")
    svm = pytest.importorskip("sklearn.svm")
    count = extraction.TfidfVectorizer(
        analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2
    )
    theirs = svm.LinearSVC(C=1.0, random_state=5)
    theirs.fit(count.fit_transform(TEXTS), TARGETS, WEIGHTS)
    new = ["味道很好， 很满意", "很脏  很脏 很脏", "ABC", ""]
    ours = model()
    assert len(ours.known) == len(count.vocabulary_)
    expected = theirs.decision_function(count.transform([*TEXTS, *new]))
    found = ours.margins([*TEXTS, *new])
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()  # 8 bits


def test_fewer_n_grams_are_kept_and_still_tell_the_texts_apart() -> None:
    pytest.importorskip("sklearn")
    small = fit_grams(TEXTS, TARGETS, WEIGHTS, keep=12)
    assert len(small.known) == 12
    assert ((small.margins(TEXTS) > 0) == TARGETS).mean() >= 7 / 8


@given(st.text(max_size=60))
def test_every_n_gram_has_its_place(text: str) -> None:
    found, first, last = hashes(text)
    assert len(found) == len(first) == len(last)
    length = len(" ".join(text.split()))  # neighbouring spaces are one, outer ones none
    assert len(found) == sum(max(0, length - n) for n in range(3))
    by_gram: dict[str, int] = {}
    for number, a, b in zip(found.tolist(), first.tolist(), last.tolist(), strict=True):
        assert 0 <= a < b <= len(text)
        gram = "".join(c.lower() if len(c.lower()) == 1 else c for c in text[a:b])
        gram = "".join(" " if c.isspace() else c for c in gram)
        while "  " in gram:
            gram = gram.replace("  ", " ")
        assert by_gram.setdefault(gram, number) == number


def test_the_parts_add_up_to_the_margin() -> None:
    grams = model()
    for text in ("味道很好，很满意很满意", "很脏  很脏", "", "no such thing"):
        bias, parts = grams.parts(text)
        total = bias + sum(value for _, _, value in parts)
        assert total == pytest.approx(grams.margins([text])[0], abs=1e-9)


def test_the_file_comes_back_and_a_broken_one_is_refused() -> None:
    grams = model()
    files = grams.files()
    again = read_grams(files, 2)
    assert again is not None and np.array_equal(again.margins(TEXTS), grams.margins(TEXTS))
    assert np.array_equal(again.known, grams.known)
    assert read_grams({}, 2) is None
    whole = files[FILE]
    head, _, body = whole.partition(b"\n")
    odd = json.loads(head) | {"ngrams": 10**30}
    for broken, labels in (
        (whole[:-1], 2), (whole, 3), (b"", 2), (b"[]\n" + body, 2), (whole[:20] + whole[21:], 2),
        (json.dumps(odd).encode() + b"\n" + body, 2), (head + b"\n" + body[::-1], 2),
        (head.replace(b"step", b"stop", 1) + b"\n" + body, 2),
        (head + b"\n" + b"\1" + body[1:], 2),
    ):  # fmt: skip
        with pytest.raises(WeightsError, match=FILE):
            read_grams({FILE: broken}, labels)


@pytest.mark.parametrize("text", ["房间很干净，服务也好", "又贵又差  很失望", "", "plain English"])
def test_an_explanation_of_the_shipped_net_adds_up_with_them(text: str) -> None:
    predictor = load("sentiment-zh", explain=True)
    result = predictor(text)
    assert result.contributions is not None and result.bias is not None
    best = predictor.card.labels.index(str(result.label))
    assert result.logit == pytest.approx(predictor.logits([text])[0, best], abs=2e-3)
    for part in result.contributions:
        assert 0 <= part.start <= part.end <= len(text)
