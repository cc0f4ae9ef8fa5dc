"""Results as JSON and back, and lines that no terminal or line reader trips over."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.core.results import answer, dumps, from_dict, refusal, to_dict


@dataclass(frozen=True, slots=True)
class Word:
    text: str
    box: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Page:
    number: int
    kind: Literal["text", "picture"]
    words: tuple[Word, ...]
    note: str | None = None
    size: int | str = 0
    scores: dict[str, float] = field(default_factory=dict)
    mask: np.ndarray | None = None
    rows: list[list[int]] = field(default_factory=list)
    good: bool = True
    hidden: int = field(default=7, metadata={"json": False})
    klass: str = field(default="", metadata={"json": "class"})


words = st.builds(Word, st.text(), st.tuples(st.floats(allow_nan=False, allow_infinity=False),
                                             st.floats(0, 1)))  # fmt: skip
pages = st.builds(
    Page,
    number=st.integers(),
    kind=st.sampled_from(("text", "picture")),
    words=st.lists(words, max_size=3).map(tuple),
    note=st.none() | st.text(),
    size=st.integers() | st.text(),
    scores=st.dictionaries(st.text(), st.floats(0, 1)),
    rows=st.lists(st.lists(st.integers(), max_size=2), max_size=2),
    good=st.booleans(),
    klass=st.text(),
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(pages)
def test_a_result_survives_its_json(page: Page) -> None:
    line = dumps(page)
    assert from_dict(Page, json.loads(line)) == page
    assert line.splitlines() == [line]


def test_names_arrays_and_numbers_that_json_lacks() -> None:
    mask = np.array([[True, False]])
    page = Page(np.int64(3), "text", (), scores={"a": math.nan, "b": np.float32(0.5)}, mask=mask)  # type: ignore[arg-type]
    data = to_dict(page)
    assert data["number"] == 3
    assert "hidden" not in data
    assert data["class"] == ""
    assert data["scores"] == {"a": None, "b": 0.5}
    assert data["mask"] == [[True, False]]
    back = from_dict(Page, json.loads(dumps(page)))
    assert math.isnan(back.scores["a"])
    assert np.array_equal(back.mask, mask)  # type: ignore[arg-type]
    floats = from_dict(Page, {**data, "mask": [1.5, None]}).mask
    assert floats is not None
    assert floats.dtype == np.float64
    assert np.isnan(floats[1])
    assert to_dict({1: {2, 3}, "x": np.inf}) == {"1": [2, 3], "x": None}


@pytest.mark.parametrize(
    "change",
    [
        {"number": "3"},
        {"number": True},
        {"number": 3.0},
        {"number": None},
        {"kind": "sound"},
        {"words": "abc"},
        {"words": {"0": 1}},
        {"words": [{"text": "a"}]},
        {"words": [{"text": "a", "box": [1.0]}]},
        {"words": [{"text": "a", "box": [1.0, "2"]}]},
        {"words": ["a"]},
        {"note": 5},
        {"size": 1.5},
        {"scores": {"a": "high"}},
        {"scores": []},
        {"mask": "x"},
        {"good": 1},
        {"class": None},
    ],
)
def test_a_value_of_the_wrong_type_is_refused(change: dict[str, Any]) -> None:
    data = to_dict(Page(1, "text", ()))
    with pytest.raises((TypeError, ValueError)):
        from_dict(Page, {**data, **change})


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.text())
def test_any_text_is_one_harmless_line_with_the_same_meaning(text: str) -> None:
    line = dumps({"t": text})
    assert len(line.splitlines()) == 1
    assert not any(ord(c) < 32 or 0x7F <= ord(c) < 0xA0 for c in line)
    assert json.loads(line)["t"] == text


def test_escapes_reordering_marks_and_lone_surrogates() -> None:
    evil = "\x1b[31m \x9b31m \x7f \u2028 \u2029 \x85 \u202e \u2066 \ufeff \udcff"
    line = dumps({"t": evil})
    assert line.isascii()
    assert json.loads(line)["t"] == evil
    assert dumps("猫 é 😀 \u3000") == '"猫 é 😀 \u3000"', "text stays readable"


def test_envelopes() -> None:
    assert answer("a.png", "ocr/default", Word("x", (1.0, 2.0)), line=3) == {
        "input": "a.png",
        "line": 3,
        "weights": "ocr/default",
        "result": {"text": "x", "box": [1.0, 2.0]},
    }
    assert list(answer("a", "b", None)) == ["input", "weights", "result"]
    assert refusal("a.png", "truncated JPEG", line=2) == {
        "input": "a.png",
        "line": 2,
        "error": "truncated JPEG",
    }
    assert dataclasses.is_dataclass(Word)
