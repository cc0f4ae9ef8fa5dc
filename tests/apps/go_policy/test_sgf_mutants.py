"""Broken records: each is read, or refused in one line that names the place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnnapps.apps.go_policy.records import main_line, read
from cnnapps.apps.go_policy.sgf import (
    Collection,
    Limits,
    add_variation,
    comment,
    label,
    nodes_on,
    parse,
    unescape,
)
from cnnapps.core.errors import InputError
from cnnapps.tests.mutate import mutants

DATA = Path(__file__).parents[2] / "data/go"
FORMATS = {form: sorted(DATA.glob(f"*.{form}")) for form in ("sgf", "gib", "ngf", "ugi")}
MUTANTS = 200  # of each format, shared by its files
PLACE = re.compile(r"^f: .*(byte \d+|move \d+|line \d+|\d+ bytes)")
NO_LIMITS = Limits(max_bytes=2**30, max_nodes=10**8, max_depth=10**7)


def texts(collection: Collection) -> list[list[tuple[int, str, list[str]]]]:
    """Properties (save CA) with decoded values, node by node in the order of the file."""
    trees = []
    for tree in collection.trees:
        found, stack = [], [tree.root]
        while stack:
            node = stack.pop()
            stack.extend(reversed(node.children))
            for item in node.properties:
                if item.name != "CA":
                    values = [unescape(value) for value in item.values]
                    found.append((len(node.children), item.name, values))
        trees.append(found)
    return trees


def check(data: bytes) -> str:
    """Read, extract, write, annotate, write again; what became of ``data``."""
    try:
        collection = read(data, source="f")
    except InputError as error:
        assert PLACE.search(str(error)), error
        assert str(error).isprintable()
        return "refused"
    fate = "read"
    for tree in collection.trees[:20]:
        try:
            record = main_line(tree)
        except InputError as error:
            assert PLACE.search(str(error)), error
            fate = "no game"
            continue
        for move in record.moves:
            assert move.point is None or move.point < (record.columns, record.rows)
            assert 0 <= move.offset < len(data)
        assert all(warning.isprintable() for warning in record.warnings)
    survives(collection)
    node = nodes_on(collection.trees[0])[-1]
    label(node, {(3, 3): "A"})
    comment(node, "] \\ 注")
    add_variation(node, [("black", (0, 0)), ("white", None)], text="x")
    assert survives(collection).encoding == "utf-8"
    return fate


def survives(collection: Collection) -> Collection:
    """Write and read again: nothing is lost, save bytes that are no characters."""
    again = parse(collection.to_bytes(), limits=NO_LIMITS)
    if collection.text.isascii() or not re.search("[\ud800-\udfff]", collection.text):
        assert texts(again) == texts(collection)
    return again


@pytest.mark.parametrize("form", FORMATS)
def test_mutants(form: str) -> None:
    files = FORMATS[form]
    everything = [path.read_bytes() for paths in FORMATS.values() for path in paths]
    fates: dict[str, int] = {}
    each = -(-MUTANTS // len(files))
    for number, path in enumerate(files):
        other = everything[(7 * number + 3) % len(everything)]
        for mutant in mutants(path.read_bytes(), other, each, seed=number):
            fate = check(mutant)
            fates[fate] = fates.get(fate, 0) + 1
    assert sum(fates.values()) >= MUTANTS
    assert fates["read"] >= MUTANTS // 20, "the mutants are too broken to test anything"


def test_mutants_are_the_same_every_time() -> None:
    data, other = b"(;SZ[19];B[pd])", b"STO 0 2 1 3 3\n"
    first = list(mutants(data, other, 50, seed=1))
    assert first == list(mutants(data, other, 50, seed=1))
    assert first[:10] == list(mutants(data, other, 10, seed=1))
    assert first != list(mutants(data, other, 50, seed=2))
    assert len(set(first)) > 40
    assert list(mutants(b"", b"", 20, seed=1))  # empty files do no harm


@pytest.mark.parametrize(
    "data",
    [
        b"(;PW[x]WR(;B[aa])[11k])",  # a value without a name must not join another property
        b"(;B[aa]C[x](;B[aa])[19])",
        b"(;PW[te\x1b$Bst];W[dc])",  # no ISO-2022-JP: nothing shifts back
        b"CA[UTF8 CA[x](;CA[x]C[\xcb\x9c];B[\xcb\x9ca];B[aa)",  # CA of no game
        b"(;M[CA[Shift_JIS]1]]CA[UTF-8]C[\\\xff;\\\n[5];B[aa]",
        b"(;CA[\n\x1b[2J]PB[\x88\xe4\x8eR])",  # control characters in a warning
        b"(;C[" + bytes(range(128, 256)) * 40 + b"])",
        b"\xff\xfe(\x00",
        b"\xfe\xff",
        b"(;\x00B\x00[\x00a\x00a\x00]\x00)",
        b"(;B[aa]\\",
        b"(;C[x\\",
        b"(;C[x\\\\",
        b"((((;B[aa]))))",
        b"(;(;(;(;",
        b"(;B[aa]))))(;W[bb])",
        b"(;AB[aa:",
        b"(;SZ[19]SZ[9];B[ss])",
        b"(;KM[" + b"9" * 400 + b"])",
    ],
)
def test_small_files_that_once_went_wrong_or_might(data: bytes) -> None:
    check(data)
