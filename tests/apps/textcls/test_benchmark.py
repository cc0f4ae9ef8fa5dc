"""The benchmark's arithmetic, its leak check and its bookkeeping; no training here."""

from __future__ import annotations

import lzma
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cnnapps.apps.textcls.benchmark import (
    PAPER,
    Cell,
    Split,
    _teacher,
    cells_of,
    levers_text,
    paired,
    refuse_leaks,
    split_of,
    table,
    with_capitals,
)
from cnnapps.apps.textcls.data import normalise, read_set
from cnnapps.apps.textcls.distil import mixed
from cnnapps.apps.textcls.tokens import tokenize
from cnnapps.core.errors import InputError

DATA = Path(__file__).parents[4] / "shared" / "data" / "text"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the seven sets lie in ../shared")


def write(path: Path, rows: list[tuple[str, str, str]]) -> None:
    lines = ["label\tsplit\ttext", *("\t".join(r) for r in rows), ""]
    path.write_bytes(lzma.compress("\n".join(lines).encode()))


def cell(system: str, right: str, fold: int = 0, seed: int = 1) -> dict[str, Any]:
    hits = right.count("1")
    return {"set": "trec", "system": system, "fold": fold, "seed": seed, "n": len(right),
            "accuracy": hits / len(right), "repeated": 0, "right": right}  # fmt: skip


def test_folds_test_everything_once_and_never_train_on_it(tmp_path: Path) -> None:
    rows = [(str(i % 2), f"cv{i // 10}", f"text number {i} of the set") for i in range(100)]
    write(tmp_path / "cr.tsv.xz", rows)
    data = read_set("cr", tmp_path)
    seen: list[str] = []
    for fold in range(10):
        split = split_of(data, "cr", fold, tmp_path)
        parts = [set(p[0]) for p in (split.train, split.dev, split.test)]
        assert [len(p) for p in parts] == [80, 10, 10]
        assert not (parts[0] & parts[1] | parts[0] & parts[2] | parts[1] & parts[2])
        seen += split.test[0]
    assert sorted(seen) == sorted(t for _, _, t in rows)


def test_rand_sees_capitals_in_trec_and_the_labels_stay() -> None:
    questions = ["Who wrote Hamlet ?", "What is 1.5 plus two ?"]
    part = (questions, np.array([3, 5]))
    marked = with_capitals(Split(part, part, part, 6, 2))
    words = [tokenize(text) for text in marked.test[0]]
    assert words[0] == ["\u1d9cwho", "wrote", "\u1d9chamlet", "?"]
    assert words[1] == ["\u1d9cwhat", "is", "1.5", "plus", "two", "?"]
    assert marked.train[1].tolist() == [3, 5] and marked.sentences == 2


def test_a_sentence_of_a_related_set_is_refused(tmp_path: Path) -> None:
    film = "a long sentence about a film that both of the sets have"
    write(tmp_path / "mr.tsv.xz", [("0", "cv0", film), ("1", "cv1", "another one")])
    other = "a sentence of more than eight words that only the other set has"
    write(tmp_path / "subj.tsv.xz", [("0", "cv0", film), ("1", "cv1", other)])
    refuse_leaks("mr", [film, "something else"], tmp_path)
    with pytest.raises(InputError, match="trains on 1 sentences of subj"):
        refuse_leaks("mr", [film, other.upper() + " !"], tmp_path)


@needs_data
def test_the_treebank_may_train_on_its_own_phrases_and_on_no_test_sentence() -> None:
    """SST's phrases are MR's words too; its own must pass, and its test sentences stay out."""
    split = split_of(read_set("sst2", DATA), "sst2", 0, DATA)
    assert len(split.train[0]) == 6920 + 76961  # the counts of the paper's code
    refuse_leaks("sst2", split.train[0], DATA)
    known = {normalise(t) for t in split.train[0]}
    assert sum(normalise(t) in known for t in split.test[0] if len(t.split()) > 8) <= 2
    review = next(t for t in read_set("subj", DATA).texts if len(t.split()) > 30)
    with pytest.raises(InputError, match=r"trains on 1 sentences of (mr|subj)"):
        refuse_leaks("sst2", [review], DATA)


def test_cells_are_those_asked_for() -> None:
    cells = list(cells_of(["cr", "trec"], ["default", "rand", "fasttext"], "all", [1, 2, 3]))
    names = {c.name for c in cells}
    assert len(cells) == len(names) == 11 * (3 + 1 + 1)
    assert cells[0].set == "trec"  # the cheap ones first
    assert {c.fold for c in cells if c.set == "trec"} == {0}
    assert [c.name for c in cells_of(["cr"], ["rand"], "3", [1])] == ["cr-rand-3-1"]
    assert [c.fold for c in cells_of(["cr"], ["rand"], "7-9, 2,8", [1])] == [7, 8, 9, 2]
    levers = {c.set for c in cells_of(["trec", "sst2"], ["+phrases"], "all", [1])}
    assert levers == {"sst2"}


def test_the_table_weighs_folds_by_their_texts_and_says_what_is_missing() -> None:
    rows = [cell("rand", "1111"), cell("default", "1100"), cell("default", "1110", seed=2)]
    cr = [{**cell("rand", "1" * 9 + "0"), "set": "cr"}, {**cell("rand", "00", fold=1), "set": "cr"}]
    lines = {line[0]: line[1:] for line in table([*rows, *cr], ["trec", "cr"])}
    assert lines["rand"] == [f"100.0 [{PAPER['rand']['trec']}]", "75.0 (2/10 folds) [79.8]"]
    assert lines["default"] == ["62.5 ± 17.7", "-"]
    seeds = [
        *cr,
        {**cell("rand", "11", seed=2), "set": "cr"},
    ]  # has not got as far: not in the mean
    assert table(seeds, ["cr"])[0][1] == "75.0 (2/10 folds) [79.8]"


def test_paired_gains_match_the_counts_and_their_spread() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(2000) < 0.8
    b = np.where(rng.random(2000) < 0.1, True, a)
    text = ["".join("1" if x else "0" for x in v) for v in (a, b)]
    found = paired([cell("+labels", text[0])], [cell("+vectors", text[1])])
    assert found is not None
    gain, low, high = found
    assert gain == pytest.approx(100 * (b.mean() - a.mean()))
    error = 100 * (b.astype(int) - a.astype(int)).std() / 2000**0.5
    assert (high - low) == pytest.approx(2 * 1.96 * error, rel=0.1)
    assert low < gain < high
    assert paired([cell("+labels", "11")], [cell("+vectors", "11", fold=4)]) is None
    same = paired([cell("+labels", "10")], [cell("+vectors", "10")])
    assert same == (0.0, 0.0, 0.0)


def test_levers_are_compared_with_the_one_before() -> None:
    rows = [cell("+labels", "1100"), cell("+vectors", "1110"), cell("default", "1111")]
    text = levers_text(rows, ["trec"])
    assert [line.split("|")[2].strip() for line in text.splitlines()[4:]] == [
        "labels", "vectors", "text"]  # fmt: skip
    assert "| trec 0 | vectors | 75.0 | 1 | +25.0" in text
    assert levers_text([cell("default", "11")], ["trec"]) == ""


def test_what_lies_beyond_text_is_compared_with_it() -> None:
    rows = [
        cell("default", "1100"), cell("+ensemble", "1110"), cell("+more", "1101"),
        cell("+labels", "1000"),
    ]  # fmt: skip
    text = levers_text(rows, ["trec"])
    assert "| trec 0 | ensemble | 75.0 | 1 | +25.0" in text
    assert "| trec 0 | more | 75.0 | 1 | +25.0" in text
    sst = [{**r, "set": "sst2", "system": {"default": "+text", "+more": "default"}.get(
        r["system"], r["system"])} for r in rows]  # fmt: skip
    assert levers_text(sst, ["sst2"]) == text.replace("trec", "sst2")


def test_a_cell_learns_from_the_answers_of_its_lever(tmp_path: Path) -> None:
    part = (["a b"], np.array([0]))
    split = Split(part, part, part, 2, 1)
    for name, n in (("sst2-0-1", 1), ("sst2-0-1-160000", 2), ("trec-0-1", 3)):
        np.savez(tmp_path / f"{name}.npz", test=np.zeros((1, 2)), texts=np.array(["a b"] * n),
                 logits=np.zeros((n, 2)), own=1)  # fmt: skip
    for name, system, n in (("sst2", "default", 2), ("sst2", "quality", 2), ("sst2", "+text", 1),
                            ("sst2", "+ensemble", 1), ("trec", "default", 3)):  # fmt: skip
        taught = _teacher(Cell(name, system, 0, 1), split, 1, (), (), tmp_path / "run", tmp_path)
        assert len(taught.texts) == n


def test_a_lever_that_is_the_default_is_no_cell_of_its_own() -> None:
    cells = cells_of(["trec", "sst2"], ["+text", "+more", "default"], "all", [1])
    found = {(c.set, c.system) for c in cells}
    assert found == {("trec", "+more"), ("trec", "default"), ("sst2", "+text"),
                     ("sst2", "default")}  # fmt: skip


def test_mixed_texts_are_new_and_made_of_old_words() -> None:
    texts = ["a b c d e f g h", "i j k l m n", "o p"]
    made = mixed(texts, 200, np.random.default_rng(1))
    assert len(made) == 200 and len(set(made)) > 50 and all(made)
    assert {w for t in made for w in t.split()} <= {w for t in texts for w in t.split()}
    assert made == mixed(texts, 200, np.random.default_rng(1))
