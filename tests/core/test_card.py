"""Cards: what they say survives the round trip, and no wrong type gets in."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.core.card import Card, FileEntry, Metric, Source, Tensor
from cnnapps.core.errors import WeightsError

HASH = "0123456789abcdef" * 4
FULL = Card(
    app="demo",
    tag="small-1.0",
    net="pixels",
    arguments={"width": 8, "kernels": [3, 5], "name": None},
    what="Finds 猫 in pictures",
    licence="MIT",
    files={
        "model.safetensors": FileEntry(HASH, 12),
        "../shared/vectors.safetensors": FileEntry(HASH[::-1], 2**40),
    },
    inputs={"x": Tensor("float32", ("n", 3, "h", "w"))},
    outputs={"y": Tensor("int64", ())},
    preparation={"mean": [0.5, 0.25], "nested": {"a": [1, {"b": None}]}},
    labels=("猫", "dog"),
    aliases={"0": "猫"},
    parameters=1234,
    sources=(Source("set", "CC-BY-4.0", HASH, 99, "pictures"), Source("other", "MIT")),
    recipe={"lr": 0.001, "steps": 10},
    command="cnnapps demo train",
    hours=0.25,
    metrics=(Metric("accuracy", 0.93, "set", "test", 99, HASH, "cnnapps demo evaluate"),),
    limits="Small pictures only",
    versions={"torch": "2.14"},
)


def test_a_card_survives_its_json() -> None:
    assert Card.from_json(FULL.to_json().encode(), "x") == FULL
    assert FULL.name == "demo/small-1.0"
    assert FULL.size == 12 + 2**40
    assert "猫" in FULL.to_json(), "readable, not escaped"
    raw = json.loads(FULL.to_json()) | {"of a later version": [1]}
    assert Card.from_json(json.dumps(raw).encode(), "x") == FULL


def refused(data: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        Card.from_json(data, "folder")
    line = str(caught.value)
    assert line.startswith("folder: card.json")
    assert line.isprintable()
    assert len(line) <= 1000
    return line


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[]",
        b"null",
        b'"card"',
        b"{",
        b'{"format": 1}',
        b'{"format": 2}',
        b'{"format": "1"}',
        b'{"format": true, "app": "\x1b[31m"}',
        b"[" * 100_000,
        b'{"format": 1, "hours": ' + b"9" * 5000 + b"}",
        FULL.to_json().encode()[:-3],
    ],
)
def test_what_is_no_card_is_refused_in_one_line(data: bytes) -> None:
    refused(data)


WRONG: list[Any] = [None, True, 0, -1, 1.5, 10**400, "", "x", "\x1b]0;x\x07", [], [1], {}, {"a": 1}]


def conforms(card: Card) -> bool:
    """Whether every field has the type that it is annotated with, all the way down."""
    strings = (card.app, card.tag, card.net, card.what, card.licence, card.command, card.limits)
    mappings = (card.arguments, card.preparation, card.aliases, card.recipe, card.versions)
    tensors = [*card.inputs.values(), *card.outputs.values()]
    return (
        all(type(s) is str for s in strings)
        and all(type(m) is dict for m in mappings)
        and all(type(v) is str for m in (card.aliases, card.versions) for v in m.values())
        and type(card.labels) is tuple
        and all(type(label) is str for label in card.labels)
        and type(card.parameters) is int
        and type(card.hours) is float
        and all(type(f.sha256) is str and type(f.bytes) is int for f in card.files.values())
        and all(type(t.dtype) is str and type(t.shape) is tuple for t in tensors)
        and all(type(n) in (int, str) for t in tensors for n in t.shape)
        and all(
            type(s.name) is str and type(s.licence) is str and type(s.rows) is int
            for s in card.sources
        )
        and all(
            type(m.name) is str and type(m.value) is float and type(m.n) is int
            for m in card.metrics
        )
    )


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The place of every value in nested JSON."""
    found = [path] if path else []
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            found += paths(inner, (*path, key))
    return found


RAW = json.loads(FULL.to_json())
FREE = ("arguments", "preparation", "recipe")  # the app's own, anything goes inside


def test_every_value_replaced_by_every_wrong_one() -> None:
    """Some 900 cards: each is refused in one line, or is a card in which every type is right."""
    taken = 0
    for path in paths(RAW):
        if path[0] in FREE and len(path) > 1:
            continue
        for wrong in WRONG:
            raw = json.loads(json.dumps(RAW))
            inner = raw
            for key in path[:-1]:
                inner = inner[key]
            inner[path[-1]] = wrong
            try:
                card = Card.from_json(json.dumps(raw).encode(), "folder")
            except WeightsError as error:
                assert str(error).isprintable()
            else:
                assert conforms(card), (path, wrong)
                taken += 1
    assert taken > 50, "free texts and counts take some of these"


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Card)])
@pytest.mark.parametrize("wrong", WRONG, ids=repr)
def test_a_field_of_the_wrong_kind_is_refused(field: str, wrong: Any) -> None:
    right = getattr(FULL, field)
    plain = RAW[field]
    if field in FREE and isinstance(wrong, dict):
        return
    if type(wrong) is type(plain) and not (isinstance(wrong, list | dict) and wrong):
        return  # a right type: other tests look at values
    if isinstance(right, float) and type(wrong) in (int, float) and abs(wrong) < 1e300:
        return
    if isinstance(right, float) and wrong is None:
        return  # JSON's null is how nan is written
    refused(json.dumps({**RAW, field: wrong}).encode())


@pytest.mark.parametrize(
    "change",
    [
        {"app": "../demo"},
        {"tag": "a/b"},
        {"net": "os:system"},
        {"net": "x" * 65},
        {"files": {}},
        {"files": {"model.safetensors": {"sha256": HASH[:-1], "bytes": 1}}},
        {"files": {"model.safetensors": {"sha256": HASH.upper(), "bytes": 1}}},
        {"files": {"model.safetensors": {"sha256": HASH, "bytes": -1}}},
        {"files": {"model.safetensors": {"sha256": HASH}}},
        {"files": {"../up": {"sha256": HASH, "bytes": 1}}},
        {"inputs": {"x": {"dtype": "object", "shape": []}}},
        {"inputs": {"x": {"dtype": "float32", "shape": [-1]}}},
        {"inputs": {"x": {"dtype": "float32"}}},
        {"labels": "abc"},
        {"labels": {"a": 1}},
    ],
)
def test_impossible_values_are_refused(change: dict[str, Any]) -> None:
    refused(json.dumps({**RAW, **change}).encode())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(sorted(RAW)), json_values, max_size=4))
def test_any_json_in_any_field(changes: dict[str, Any]) -> None:
    data = json.dumps({**RAW, **changes}).encode()
    try:
        card = Card.from_json(data, Path("folder"))
    except WeightsError as error:
        assert str(error).isprintable()
    else:
        assert conforms(card)
        card.to_json()
