"""Labelled data in every form people keep it in, splits that don't leak, the paper's sets."""

from __future__ import annotations

import bz2
import codecs
import gzip
import hashlib
import json
import lzma
import os
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.textcls.data import (
    SETS,
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
from cnnapps.core.errors import InputError
from cnnapps.core.limits import Limits

DATA = Path(__file__).parents[4] / "shared" / "data" / "text"
needs_sets = pytest.mark.skipif(not DATA.is_dir(), reason="the paper's data sets are not here")

TABLE = "text,label\ngood film,pos\nbad film,neg\n"
TWO = (["good film", "bad film"], [("pos",), ("neg",)])


def read(tmp_path: Path, name: str, data: bytes | str, **options: str) -> Dataset:
    path = tmp_path / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return read_dataset([path], **options)  # type: ignore[arg-type]


FORMS: dict[str, str | bytes] = {
    "a.csv": TABLE,
    "columns-swapped.csv": "label,text\npos,good film\nneg,bad film\n",
    "other-names.csv": "Sentiment,id,Review\npos,1,good film\nneg,2,bad film\n",
    "semicolons.csv": TABLE.replace(",", ";"),
    "bars.csv": TABLE.replace(",", "|"),
    "tabs.tsv": TABLE.replace(",", "\t"),
    "tabs-as.csv": TABLE.replace(",", "\t"),
    "no-header.csv": "pos,good film\nneg,bad film\n",
    "no-header.tsv": "good film\tpos\nbad film\tneg\n",
    "lines.jsonl": '{"text": "good film", "label": "pos"}\n\n{"label": "neg", "text": "bad film"}',
    "list.json": '[{"text": "good film", "label": "pos"}, {"text": "bad film", "label": "neg"}]',
    "fasttext.txt": "__label__pos good film\n__label__neg bad film\n",
    "fasttext-behind.txt": "good film __label__pos\nbad film __label__neg\n",
    "mark.csv": b"\xef\xbb\xbf" + TABLE.encode(),
    "utf-16.csv": TABLE.encode("utf-16"),
    "utf-16-be-without-mark.csv": TABLE.encode("utf-16-be"),
    "carriage-returns.csv": TABLE.replace("\n", "\r"),
    "dos.csv": TABLE.replace("\n", "\r\n"),
    "no-end.csv": TABLE.rstrip(),
    "blank-lines.csv": TABLE.replace("\n", "\n\n"),
    "packed.csv.gz": gzip.compress(TABLE.encode()),
    "packed.csv.xz": lzma.compress(TABLE.encode()),
    "packed.csv.bz2": bz2.compress(TABLE.encode()),
    "packed-without-suffix": gzip.compress(TABLE.encode()),
}


@pytest.mark.parametrize("name", FORMS)
def test_one_table_in_many_forms(name: str, tmp_path: Path) -> None:
    found = read(tmp_path, name, FORMS[name])
    assert (found.texts, found.labels) == TWO
    assert not found.several


def test_folder_for_each_class(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for label, text in (("pos", "good film\n"), ("neg", "bad film")):
            (tmp_path / split / label).mkdir(parents=True)
            (tmp_path / split / label / "1.txt").write_text(text)
            (tmp_path / split / label / ".hidden").write_text("x")
    found = read_dataset([tmp_path])
    assert sorted(zip(found.texts, found.labels, found.splits, strict=True)) == [
        ("bad film", ("neg",), "test"),
        ("bad film", ("neg",), "train"),
        ("good film", ("pos",), "test"),
        ("good film", ("pos",), "train"),
    ]
    assert read_dataset([tmp_path / "train"]).splits == [None, None]
    assert len(found.where("train")) == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no sub-folder"):
        read_dataset([tmp_path / "empty"])


@pytest.mark.parametrize(
    ("encoding", "rows"),
    [
        ("gbk", [("酒店环境很好，服务周到", "pos"), ("房间太小，价格太贵", "neg")]),
        ("latin-1", [("café très agréable", "pos"), ("ça ne va pas du tout", "neg")]),
        ("utf-8", [("naïve — très bon “film”", "pos"), ("好 bad", "neg")]),
        ("utf-16", [("酒店 👍", "pos"), ("差", "neg")]),
        ("utf-32", [("酒店 👍", "pos"), ("差", "neg")]),
    ],
)
def test_encodings_are_guessed(encoding: str, rows: list[tuple[str, str]], tmp_path: Path) -> None:
    table = "text\tlabel\n" + "".join(f"{t}\t{y}\n" for t, y in rows * 4)
    found = read(tmp_path, "t.tsv", table.encode(encoding))
    assert found.texts[:2] == [t for t, _ in rows]
    assert found.labels[:2] == [(y,) for _, y in rows]


def test_a_named_encoding_is_obeyed(tmp_path: Path) -> None:
    data = "text,label\nžluťoučký,a\nkůň,b\n".encode("cp1250")
    assert read(tmp_path, "t.csv", data, encoding="cp1250").texts == ["žluťoučký", "kůň"]
    with pytest.raises(InputError, match=r"t.csv:2: is not utf-8"):
        read(tmp_path, "t.csv", data, encoding="utf-8")
    with pytest.raises(InputError, match="unknown encoding"):
        read(tmp_path, "t.csv", data, encoding="utf-9")


def test_quotes_hold_separators_line_ends_and_quotes(tmp_path: Path) -> None:
    found = read(tmp_path, "t.csv", 'text,label\n"good, ""really""\nso",pos\n6" tall,neg\n')
    assert found.texts == ['good, "really"\nso', '6" tall']


cells = st.text(
    st.characters(exclude_categories=("Cs",), exclude_characters="\r\x00\x1a\ufeff"), max_size=20
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(cells.filter(str.strip), st.sampled_from(["a", "b ü", "0"])), min_size=1))
def test_what_the_csv_module_writes_comes_back(rows: list[tuple[str, str]]) -> None:
    import csv

    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"cnnapps-table-{os.getpid()}.csv"
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([("text", "label"), *rows])
        found = read_dataset([path], encoding="utf-8")
    finally:
        path.unlink(missing_ok=True)
    assert list(zip(found.texts, found.labels, strict=True)) == [(t, (y,)) for t, y in rows]


def test_labels_stay_strings(tmp_path: Path) -> None:
    found = read(tmp_path, "t.csv", "text,label\na,01\nb,1\nc,two words\nd,好\n")
    assert found.labels == [("01",), ("1",), ("two words",), ("好",)]
    numbers = read(tmp_path, "n.jsonl", '{"text":"a","label":10}\n{"text":"b","label":9}\n')
    assert numbers.classes() == ("9", "10")
    truth = read(tmp_path, "b.jsonl", '{"text":"a","label":true}\n{"text":"b","label":false}\n')
    assert truth.classes() == ("false", "true")


def test_several_labels(tmp_path: Path) -> None:
    by_sign = read(tmp_path, "t.csv", "text,label\na,x|y\nb,\nc,y\n", label_separator="|")
    lists = read(tmp_path, "t.jsonl", "\n".join(
        json.dumps({"text": t, "label": y}) for t, y in (("a", ["x", "y"]), ("b", []), ("c", ["y"]))
    ))  # fmt: skip
    fasttext = read(tmp_path, "t.txt", "__label__x __label__y a\n__label__y b\n")
    assert by_sign.several and lists.several and fasttext.several
    assert by_sign.labels == lists.labels == [("x", "y"), (), ("y",)]
    assert by_sign.targets(("x", "y")).tolist() == [[1, 1], [0, 0], [0, 1]]
    assert fasttext.labels == [("x", "y"), ("y",)]


def test_a_line_without_a_label_does_not_make_several_of_one(tmp_path: Path) -> None:
    data = read(tmp_path, "x.txt", "__label__a one\n__label__b two\nthree\n")
    assert not data.several and data.labels == [("a",), ("b",)]
    assert data.notes == ("left out: 1 row without a label",)
    assert "several labels" not in str(report(data))


def test_a_table_that_quotes_its_strings(tmp_path: Path) -> None:
    data = read(
        tmp_path, "x.tsv", '"text"\t"label"\t"n"\n"good ""film"""\t"pos"\t1\n"bad"\t"neg"\t2\n'
    )
    assert data.texts == ['good "film"', "bad"] and data.labels == [("pos",), ("neg",)]
    data = read(tmp_path, "y.tsv", 'text\tlabel\n"good" film\tpos\n"bad"\tneg\n')
    assert data.texts == ['"good" film', '"bad"']


def test_a_name_says_more_than_a_first_character(tmp_path: Path) -> None:
    data = read(tmp_path, "x.csv", "text,label\n{good} film,pos\nbad,neg\n")
    assert data.texts == ["{good} film", "bad"]
    data = read(tmp_path, "y.csv", "{good} film,pos\nbad film that is long,neg\nlong one too,neg\n")
    assert data.texts[0] == "{good} film"


def test_labels_in_json_lists_read_as_single_ones_do(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": [True, None, "", " y", "y"]}, {"text": "b", "label": [1]}]
    data = read(tmp_path, "x.json", json.dumps(rows))
    assert data.labels == [("true", "y"), ("1",)]
    with pytest.raises(InputError, match="is one JSON value"):
        read(tmp_path, "y.json", json.dumps(rows[0], indent=1))


def test_the_hash_is_of_the_bytes_that_were_read(tmp_path: Path) -> None:
    data = read(tmp_path, "x.csv.gz", gzip.compress(TABLE.encode()))
    assert data.sha256 == hashlib.sha256((tmp_path / "x.csv.gz").read_bytes()).hexdigest()
    assert data.take([0]).sha256 == data.sha256


def test_split_column_and_named_columns(tmp_path: Path) -> None:
    text = "a,b,split\ngood,pos,train\nbad,neg,dev\n"
    found = read(tmp_path, "t.csv", text, text_column="a", label_column="b")
    assert found.splits == ["train", "dev"]
    assert found.where("dev").texts == ["bad"]
    with pytest.raises(InputError, match="no column 'c'; there are: a, b, split"):
        read(tmp_path, "t.csv", text, text_column="c", label_column="b")


def test_rows_without_a_label_are_counted(tmp_path: Path) -> None:
    found = read(tmp_path, "t.csv", "text,label\na,pos\nb,\nc,neg\n")
    assert found.texts == ["a", "c"]
    assert any("1 row without a label" in note for note in found.notes)


BAD: dict[str, tuple[str | bytes, str]] = {
    "empty.csv": ("", "is empty"),
    "blank.csv": (" \n\n", "is empty"),
    "header-only.csv": ("text,label\n", "a header and no rows"),
    "one-column.csv": ("text\na\nb\n", "one column"),
    "doubled.csv": ("text,text,label\na,b,c\n", ":1: the column 'text' occurs twice"),
    "short-row.csv": ("text,label\na,pos\nb\n", ":3: has 1 columns, expected 2"),
    "unquoted.csv": ("text,label\na,pos\ngood, film,pos\n", ":3: has 3 columns, expected 2; quote"),
    "unquoted-no-header.csv": ("a,good film\nb,bad\na,bad, very\n", ":3: has 3 columns"),
    "open-quote.csv": ('text,label\na,pos\n"b,neg\nc,pos\n', ":3: a quote is opened"),
    "open-quote-at-end.csv": ('text,label\na,pos\nneg,"b', ":3: a quote is opened"),
    "broken.jsonl": ('{"text":"a","label":1}\n{oops\n', ":2: is not JSON"),
    "deep.json": ("[" * 100_000, "is not JSON"),
    "number.jsonl": ('{"text":5,"label":1}\n', ":1: 'text' is not a string"),
    "array.jsonl": ('{"text":"a","label":1}\n[1]\n', ":2: is not an object"),
    "noise.csv": (bytes(range(128, 256)) * 9, "one column"),
    "no-labels.csv": ("text,label\na,\nb,\n", "no labelled texts"),
    "cut.csv.gz": (gzip.compress(TABLE.encode() * 99)[:-9], "can't be unpacked"),
    "cut.csv.xz": (lzma.compress(TABLE.encode() * 99)[:-20], "can't be unpacked"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_with_file_and_line(name: str, tmp_path: Path) -> None:
    data, reason = BAD[name]
    with pytest.raises(InputError, match=reason) as caught:
        read(tmp_path, name, data)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bombs_and_things_that_are_no_files(tmp_path: Path) -> None:
    path = tmp_path / "bomb.csv.gz"
    path.write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(InputError, match="--max-bytes"):
        read_dataset([path], limits=Limits(bytes=1_000_000))
    with pytest.raises(InputError, match="no such file"):
        read_dataset([tmp_path / "absent.csv"])
    with pytest.raises(InputError, match=r"regular file|a device"):
        read_dataset(["/dev/zero"])


def test_odd_characters_are_kept(tmp_path: Path) -> None:
    found = read(tmp_path, "t.jsonl", '{"text":"a \\ud800","label":"x"}\n{"text":"","label":"y"}\n')
    assert found.texts == ["a \ud800", ""]
    assert report(found).rows == 2
    assert read(tmp_path, "n.csv", b"text,label\ngo\x00od,a\n\xf0\x9f\x91\x8d,b\n").texts == [
        "go\x00od", "👍",
    ]  # fmt: skip


def test_unknown_label_in_evaluation(tmp_path: Path) -> None:
    found = read(tmp_path, "t.csv", TABLE)
    with pytest.raises(InputError, match="not among the classes of the weights: pos"):
        found.targets(("neg", "neutral"))


# --- report and splits


def dataset(texts: list[str], labels: list[str], splits: list[str | None] | None = None) -> Dataset:
    return Dataset(texts, [(y,) for y in labels], splits or [None] * len(texts), False, {})


def test_report_counts_duplicates_contradictions_and_leaks() -> None:
    found = report(
        dataset(
            ["A film.", "a film", "a film!", "b", "b", "c"],
            ["x", "x", "y", "x", "x", "y"],
            ["train", "train", "train", "train", "test", "test"],
        )
    )
    assert (found.rows, found.duplicates, found.contradictions, found.leaks) == (6, 2, 1, 1)
    assert found.counts == {"x": 4, "y": 2}
    assert found.majority == pytest.approx(4 / 6)
    assert "1 text of dev or test that the training part has as well" in str(found)


def test_normalise() -> None:
    assert normalise("It's -lrb- GOOD -rrb-!") == normalise("its ( ｇｏｏｄ ) .") == "itsgood"
    assert normalise(" !? ") == "!?"
    assert overlap(["a b", "c", "D!"], ["ab", "d"]) == [0, 2]


@given(
    st.lists(st.sampled_from("abcd"), min_size=1, max_size=200),
    st.integers(2, 10),
    st.integers(0, 99),
)
def test_folds_are_even_in_every_class(labels: list[str], parts: int, seed: int) -> None:
    found = folds(labels, parts, seed)
    np.testing.assert_array_equal(found, folds(labels, parts, seed))
    for label, n in Counter(labels).items():
        counts = Counter(f for f, y in zip(found, labels, strict=True) if y == label)
        assert max(counts.values()) - min(counts.get(k, 0) for k in range(parts)) <= 1
        assert sum(counts.values()) == n
    sizes = np.bincount(found, minlength=parts)
    assert sizes.max() - sizes.min() <= 4  # at most one a class


def test_copies_of_a_text_stand_in_one_fold() -> None:
    texts = [f"text {i % 40}" + "!" * (i // 40) for i in range(80)]
    found = folds(["x", "y"] * 40, 10, 1, texts=texts)
    np.testing.assert_array_equal(found[:40], found[40:])
    assert np.bincount(found).tolist() == [8] * 10
    assert len(folds([], 3, 1, texts=[])) == 0


def test_the_parts_of_json_are_those_of_a_table(tmp_path: Path) -> None:
    table, objects = tmp_path / "d.csv", tmp_path / "d.jsonl"
    table.write_text("text,label,Split\na b,x,train\nc d,y, test \n")
    objects.write_text('{"text": "a b", "label": "x", "Split": "train"}\n'
                       '{"text": "c d", "label": "y", "Split": " test "}\n')  # fmt: skip
    assert read_dataset([table]).splits == read_dataset([objects]).splits == ["train", "test"]


def test_an_empty_label_of_fasttext_is_none(tmp_path: Path) -> None:
    path = tmp_path / "d.txt"
    path.write_text("__label__ lost words\n__label__x a b\n__label__y c d\n")
    data = read_dataset([path])
    assert data.labels == [("x",), ("y",)] and "1 row without a label" in data.notes[-1]


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16", "UTF16"])
def test_a_mark_is_no_part_of_the_first_column(tmp_path: Path, name: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(codecs.BOM_UTF16_LE + "text,label\nä b,x\nc d,y\n".encode("utf-16-le"))
    data = read_dataset([path], text_column="text", encoding=name)
    assert data.texts == ["ä b", "c d"]


@pytest.mark.parametrize("stray", [(3, 9), (3,), (3, 4), (11,)])
def test_stray_quotes_swallow_no_row(tmp_path: Path, stray: tuple[int, ...]) -> None:
    path = tmp_path / "d.csv"
    rows = ['"' * (i in stray) + f"text {i},{'xy'[i % 2]}" for i in range(12)]
    path.write_text("\n".join(["text,label", *rows, ""]))
    with pytest.raises(InputError, match=f"d.csv:{stray[0] + 2}: a quote is opened and not closed"):
        read_dataset([path])


def test_quotes_that_close_may_hold_lines_and_quotes(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('text,label\n"one\n""two"", three\n",x\nsays "so",y\n"so" says he,x\n')
    texts = read_dataset([path]).texts
    assert texts == ['one\n"two", three\n', 'says "so"', "so says he"]


@pytest.mark.parametrize("first", ["sep=;", '"sep=;"', "SEP=;"])
def test_a_line_that_names_the_separator_is_no_row(tmp_path: Path, first: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"{first}\ntext;label\na, b;x\nc, d;y\n")
    data = read_dataset([path])
    assert data.texts == ["a, b", "c, d"] and data.labels == [("x",), ("y",)]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.csv", "text,label\na b,x\n,y\nc d,y\n ,x\n"),
        ("d.jsonl", '{"text": "a", "label": "x"}\n{"text": null, "label": "y"}\n'
                    '{"other": "b", "label": "y"}\n{"text": "c", "label": "x"}\n'),
        ("d.txt", "__label__x a b\n__label__y\n__label__x\n__label__y c d\n"),
    ],
)  # fmt: skip
def test_rows_without_a_text_are_told(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    data = read_dataset([path], text_column=None if name == "d.txt" else "text")
    assert len(data) == 4 and "2 rows with a label and no text" in data.notes[-1]


def test_texts_that_differ_in_signs_are_no_copies() -> None:
    pairs = [
        "phone 😍",
        "phone 😡",
        "it :)",
        "it :(",
        "C++ is fine",
        "C# is fine",
        "is $5",
        "is 5%",
    ]
    found = report(dataset(pairs, ["x", "y"] * 4))
    assert (found.duplicates, found.contradictions) == (0, 0)
    assert normalise("phone 😍") != normalise("phone 😡!")


def test_leaks_are_counted_in_rows() -> None:
    data = dataset(["a", "a!", "A", "b"], ["x"] * 4, ["train", "test", "test", "test"])
    assert report(data).leaks == 2 == len(overlap(data.texts[1:], data.texts[:1]))


def test_a_text_without_labels_may_come_first(tmp_path: Path) -> None:
    path = tmp_path / "d.ft"
    path.write_text("no label here\n__label__x a b\n__label__y c d\n")
    data = read_dataset([path])
    assert data.texts == ["a b", "c d"] and "1 row without a label" in data.notes[0]


def test_archives_and_doubled_keys_are_refused(tmp_path: Path) -> None:
    packed, doubled = tmp_path / "d.zip", tmp_path / "d.jsonl"
    with zipfile.ZipFile(packed, "w") as file:
        file.writestr("d.csv", TABLE)
    with pytest.raises(InputError, match="is a zip archive"):
        read_dataset([packed])
    doubled.write_text('{"text": "a", "label": "x"}\n{"text": "b", "text": "c", "label": "y"}\n')
    with pytest.raises(InputError, match=r"d\.jsonl:2: .*'text' occurs twice"):
        read_dataset([doubled])


def test_a_list_inside_an_object_is_named(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text('{"data": [{"text": "a", "label": "x"}, {"text": "b", "label": "y"}]}')
    with pytest.raises(InputError, match="is one object: its list 'data' alone would hold texts"):
        read_dataset([path])


def test_parents_come_before_their_only_child(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("(3 (2 word))\n")
    assert phrases(path) == [("word", 3)]
    path.write_text("(12 word)\n")
    with pytest.raises(InputError, match="label 12 is not 0 to 4"):
        phrases(path)


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.sampled_from("xy")), min_size=2),
    st.integers(0, 9),
)
def test_stratified_parts_share_no_text(rows: list[tuple[str, str]], seed: int) -> None:
    data = dataset([t for t, _ in rows], [y for _, y in rows])
    rest, part = stratified(data, 0.2, seed)
    assert len(rest) + len(part) == len(data)
    assert not overlap(part.texts, rest.texts)


def test_stratified_share() -> None:
    data = dataset([f"t{i}" for i in range(1000)], ["x"] * 900 + ["y"] * 100)
    _, part = stratified(data, 0.1, 1)
    assert Counter(part.labels) == {("x",): 90, ("y",): 10}


# --- the paper's sets

SIZES = {"mr": 10_662, "sst1": 11_855, "sst2": 9_613, "subj": 10_000, "trec": 5_952,
         "cr": 3_775, "mpqa": 10_606}  # fmt: skip


@needs_sets
@pytest.mark.parametrize("name", SETS)
def test_sets_have_the_sizes_of_the_paper(name: str) -> None:
    found = read_set(name, DATA)
    assert len(found) == SIZES[name]
    assert all(found.splits)
    assert len(found.classes()) == {"sst1": 5, "trec": 6}.get(name, 2)


@needs_sets
def test_phrases_are_counted_as_in_the_papers_code() -> None:
    found = phrases(DATA / "sst.trees.train.txt.xz")
    assert len(found) == 156_817
    assert sum(label != 2 for _, label in found) == 76_961
    assert ("the rock", 2) in found[:10]


@needs_sets
def test_sst_and_subj_leak_into_mr() -> None:
    reviews = read_set("mr", DATA).texts
    sst = read_set("sst1", DATA)
    assert len(overlap(sst.where("train").texts, reviews)) >= 6_843
    assert len(overlap(sst.where("test").texts, reviews)) >= 1_780
    assert len(overlap(read_set("subj", DATA).texts, reviews)) >= 4_179
    assert len(overlap(read_set("ood_sentiment_dev", DATA).texts, reviews)) == 0


@pytest.mark.parametrize("tree", ["(2 (3 a) (1 b)", "(2 a))", "(7 a)", "a b", "(2 (x a))"])
def test_broken_trees_name_the_line(tree: str, tmp_path: Path) -> None:
    path = tmp_path / "trees.txt"
    path.write_text(f"(3 (2 good) (2 film))\n{tree}\n")
    with pytest.raises(InputError, match=r"trees.txt:2: "):
        phrases(path)


def test_a_tree_gives_every_phrase_once(tmp_path: Path) -> None:
    path = tmp_path / "trees.txt"
    path.write_text("(3 (2 A) (4 (3 good) (2 film)))\n(1 (4 good) (1 (2 bad) (2 film)))\n")
    assert phrases(path) == [
        ("a good film", 3), ("a", 2), ("good film", 4), ("good", 3), ("film", 2),
        ("good bad film", 1), ("bad film", 1), ("bad", 2),
    ]  # fmt: skip
