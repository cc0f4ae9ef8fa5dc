"""Labelled texts in every form that people keep them in, and the ways that they break."""

from __future__ import annotations

import gzip
import json
import lzma
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.textcls.data import (
    Dataset,
    folds,
    normalise,
    overlap,
    phrases,
    read_dataset,
    read_set,
    report,
    stratified,
)
from cnnapps.core.errors import InputError, LimitError
from cnnapps.core.limits import Limits

SHARED = Path(__file__).parents[4] / "shared" / "data" / "text"
needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason="needs ../shared/data/text, the sets of the paper"
)
ROWS = [("good film", "pos"), ("bad, bad film", "neg"), ('he said "no"\nand left', "neg")]


def write(path: Path, data: str | bytes) -> Path:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def pairs(data: Dataset) -> list[tuple[str, str]]:
    return [(t, "|".join(x)) for t, x in zip(data.texts, data.labels, strict=True)]


CSV = 'text,label\ngood film,pos\n"bad, bad film",neg\n"he said ""no""\nand left",neg\n'


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("d.csv", CSV),
        ("d.csv", "\ufeff" + CSV),
        ("d.csv", CSV.replace("\n", "\r\n")),
        ("d.csv", CSV.replace(",", ";").replace("bad; bad", "bad, bad")),
        ("d.csv", CSV.split("\n", 1)[1]),
        ("d.csv", CSV.encode("utf-16")),
        ("d.csv.gz", gzip.compress(CSV.encode(), mtime=0)),
        ("d.csv.xz", lzma.compress(CSV.encode())),
        ("d.jsonl", "\n".join(json.dumps({"id": 1, "text": t, "label": y}) for t, y in ROWS)),
        ("d.json", json.dumps([{"label": y, "sentence": t} for t, y in ROWS])),
    ],
)
def test_the_same_rows_in_every_form(tmp_path: Path, name: str, data: str | bytes) -> None:
    assert pairs(read_dataset([write(tmp_path / name, data)])) == ROWS


def test_fasttext_and_several_labels(tmp_path: Path) -> None:
    path = write(
        tmp_path / "d.txt", "__label__a __label__b two labels\n__label__a one\nnone here\n"
    )
    data = read_dataset([path])
    assert data.several and data.labels == [("a", "b"), ("a",), ()]
    assert data.targets(("a", "b")).tolist() == [[1, 1], [1, 0], [0, 0]]
    table = write(tmp_path / "d.csv", "text,tags\nx y,a;b\nz,b\n")
    assert read_dataset([table], label_separator=";").labels == [("a", "b"), ("b",)]


def test_folder_of_classes(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label in ("no", "yes"):
            folder = tmp_path / "d" / split / label
            folder.mkdir(parents=True)
            write(folder / "1.txt", f"{split} {label}\n")
    data = read_dataset([tmp_path / "d"])
    assert pairs(data.where("test")) == [("test no", "no"), ("test yes", "yes")]


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("gb18030", "这部电影很好看，我喜欢"), ("cp1252", "très mauvais café"), ("utf-8", "好 très")],
)
def test_encodings_are_guessed(tmp_path: Path, encoding: str, text: str) -> None:
    path = write(tmp_path / "d.tsv", f"text\tlabel\n{text}\t1\n{text}!\t0\n".encode(encoding))
    data = read_dataset([path])
    assert data.texts[0] == text
    assert list(data.encodings.values()) == [encoding]


def test_tab_separated_quotes_are_text(tmp_path: Path) -> None:
    path = write(tmp_path / "d.tsv", 'label\ttext\n1\t"unbalanced quote\n0\tplain\n')
    assert read_dataset([path]).texts == ['"unbalanced quote', "plain"]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("d.csv", "", "is empty"),
        ("d.csv", "text,label\n", "no rows"),
        ("d.csv", "text,label,label\na,b,c\n", "occurs twice"),
        ("d.csv", "one\ntwo\n", "one column"),
        ("d.jsonl", '{"text": "a", "label": 1}\n{"text": \n', "d.jsonl:2: is not JSON"),
        ("d.jsonl", "[1, 2]", "is not an object"),
        ("d.jsonl", '{"text": 5, "label": 1}', "is not a string"),
        ("d.csv.gz", b"\x1f\x8b\x08\x00broken", "can't be unpacked"),
        ("d.csv.xz", lzma.compress(CSV.encode())[:-20], "can't be unpacked"),
        ("d.csv", "text,label\na,b\nc\n", "d.csv:3: has 1 columns"),
    ],
)
def test_what_is_broken_is_named(tmp_path: Path, name: str, data: str | bytes, reason: str) -> None:
    with pytest.raises(InputError) as error:
        read_dataset([write(tmp_path / name, data)])
    assert reason in str(error.value) and "\n" not in str(error.value)


def test_named_columns_and_missing_ones(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "a,b,c\nx,the long text here,1\ny,another long text,0\n")
    data = read_dataset([path], text_column="b", label_column="c")
    assert pairs(data) == [("the long text here", "1"), ("another long text", "0")]
    with pytest.raises(InputError, match="has no column 'd'; there are: a, b, c"):
        read_dataset([path], text_column="d", label_column="c")


@pytest.mark.parametrize(
    ("text", "classes"),
    [
        ("v1,v2\nham,hello there my friend\nspam,win money now\nham,see you then\n", "ham spam"),
        ("news,genre\nthe match was lost,sport\na law is made,law\nhe won,sport\n", "law sport"),
        ("a,b,label\nx y z,some more words,1\nx,other words,0\n", "0 1"),
        ("id,Satz,Klasse,split\n1,sehr gut gemacht,gut,train\n2,ganz mies,mies,test\n", "gut mies"),
        ("good,a fine thing\nbad,a sad thing\ngood,so fine a thing\n", "bad good"),
        ("odd,one thing here\ngood,two things\ngood,three things\n", "good odd"),
    ],
)  # fmt: skip
def test_the_first_line_is_a_header_or_not(tmp_path: Path, text: str, classes: str) -> None:
    data = read_dataset([write(tmp_path / "d.csv", text)])
    assert data.classes() == tuple(classes.split())
    assert len(data) == text.count("\n") - (text.split(",")[0] not in ("good", "odd"))


@pytest.mark.parametrize(
    ("given", "text"), [(("2", "3"), "good film"), (("1", "3"), "1"), ((None, "3"), "good film")]
)
def test_columns_without_names_have_numbers(
    tmp_path: Path, given: tuple[str | None, str], text: str
) -> None:
    path = write(tmp_path / "d.csv", "1,good film,x\n2,bad film,y\n3,fine film,x\n")
    data = read_dataset([path], text_column=given[0], label_column=given[1])
    assert (data.texts[0], data.classes()) == (text, ("x", "y"))
    with pytest.raises(InputError, match="has no column 4; there are 3"):
        read_dataset([path], label_column="4")


def test_limits_and_odd_files(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", CSV)
    with pytest.raises(LimitError, match="--max-bytes"):
        read_dataset([path], limits=Limits(bytes=10))
    with pytest.raises(InputError, match="no such file"):
        read_dataset([tmp_path / "none.csv"])
    bomb = write(tmp_path / "bomb.csv.xz", lzma.compress(bytes(50_000_000)))
    with pytest.raises(LimitError):
        read_dataset([bomb], limits=Limits(bytes=1_000_000))


def test_labels_keep_their_spelling(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text,label\na,007\nb,7\nc,två ord\n")
    assert read_dataset([path]).classes() == ("007", "7", "två ord")


@settings(deadline=None, max_examples=60)
@given(st.binary(max_size=400))
def test_any_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("raw") / "d.csv"
    path.write_bytes(raw)
    try:
        read_dataset([path])
    except InputError as error:
        assert "\n" not in str(error)


def test_report_counts_what_hurts(tmp_path: Path) -> None:
    text = "text,label,split\nGood film!,p,train\ngood film,p,train\ngood  film,n,test\nx,n,test\n"
    data = read_dataset([write(tmp_path / "d.csv", text)])
    found = report(data)
    assert (found.duplicates, found.contradictions, found.leaks) == (1, 1, 1)
    assert found.counts == {"p": 2, "n": 2} and found.majority == 0.5
    assert overlap(["GOOD FILM", "y"], data.texts) == [0]
    assert normalise("Ｇood, film!") == "goodfilm"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from("abc"), min_size=10, max_size=80), st.integers(2, 10))
def test_folds_are_even_for_every_class(labels: list[str], parts: int) -> None:
    numbers = folds(labels, parts, 1)
    for label in set(labels):
        own = numbers[[x == label for x in labels]]
        counts = np.bincount(own, minlength=parts)
        assert counts.max() - counts.min() <= 1
    assert np.array_equal(numbers, folds(labels, parts, 1))


def test_a_text_is_never_on_both_sides() -> None:
    texts = [f"text {i // 3}" for i in range(300)]
    labels = [(str(i % 2),) for i in range(300)]
    data = Dataset(texts, labels, [None] * 300, False, {})
    rest, part = stratified(data, 0.1, 1)
    assert not set(rest.texts) & set(part.texts)
    assert len(rest) + len(part) == 300 and 20 <= len(part) <= 40


@pytest.mark.parametrize("seed", range(20))
def test_a_rare_label_stays_where_it_can_be_learned(seed: int) -> None:
    labels = [("pos",), ("neg",)] * 50 + [("odd",), ("rare",), ("rare",)]
    data = Dataset([f"text {i}" for i in range(103)], labels, [None] * 103, False, {})
    rest, test = stratified(data, 0.1, seed)
    train, dev = stratified(rest, 1 / 9, seed + 1)
    assert {x for row in train.labels for x in row} == {"pos", "neg", "odd", "rare"}
    assert len(test) >= 8 and len(dev) >= 8


def test_a_bad_byte_is_named_and_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    rows = "".join(f"房间很干净{i},good\n质量太差{i},bad\n" for i in range(20))
    path.write_bytes(b"text,label\n" + rows.encode() + b"bad \xff,bad\n")
    data = read_dataset([path])
    assert data.texts[:2] == ["房间很干净0", "质量太差0"] and data.texts[-1] == "bad \ufffd"
    assert any("bytes that are not utf-8, the first in line 42" in note for note in data.notes)


def test_labels_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text('text,label\na film,"very\ngood"\nanother,می\u200cخواهم\n', encoding="utf-8")
    assert read_dataset([path]).labels == [("very good",), ("می\u200cخواهم",)]


@needs_shared
def test_phrase_counts_are_the_papers() -> None:
    found = phrases(SHARED / "sst.trees.train.txt.xz")
    assert len(found) == 156_817
    assert sum(label != 2 for _, label in found) == 76_961


@needs_shared
def test_the_sets_have_their_published_sizes() -> None:
    """Kim 2014, table 1 (TREC and SST with their dev and test parts)."""
    sizes = {"mr": 10_662, "sst1": 11_855, "sst2": 9_613, "subj": 10_000, "trec": 5_952,
             "cr": 3_775, "mpqa": 10_606}  # fmt: skip
    assert {name: len(read_set(name, SHARED)) for name in sizes} == sizes
