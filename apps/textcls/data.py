"""Labelled texts from whatever people keep them in, a report on them, and splits.

    csv, tsv          columns guessed or named, header or none, quoted newlines
    jsonl, json       one object a line, or one list of objects
    fastText          "__label__pos __label__film what a film", several labels a line
    folder            a sub-folder a class, a file a text; train/, dev/, test/ above them if there

plain, .gz or .xz, in any encoding. What can't be read is an InputError that names file and line.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from cnnapps.core.card import CONTROL
from cnnapps.core.charset import ESCAPED, decode, known
from cnnapps.core.encoding import marked
from cnnapps.core.errors import InputError, counted, listed, printable
from cnnapps.core.limits import DEFAULT, Limits, check
from cnnapps.core.media import (
    DAMAGED,
    HEAD,
    open_source,
    refuse_no_text,
    unpacked_name,
    unpacker,
)

__all__ = [
    "SEPARATORS",
    "SETS",
    "Dataset",
    "Report",
    "folds",
    "normalise",
    "overlap",
    "phrases",
    "read_dataset",
    "read_set",
    "report",
    "separator_of",
    "stratified",
]

TEXT_NAMES = (
    "text", "sentence", "review", "comment", "content", "body", "message", "document", "question",
    "tweet", "title", "description", "phrase", "utterance", "review_text", "文本", "内容", "评论",
)  # fmt: skip
LABEL_NAMES = (
    "label", "labels", "class", "category", "sentiment", "target", "y", "polarity", "rating",
    "stars", "score", "intent", "topic", "tag", "tags", "标签", "类别",
)  # fmt: skip
SPLIT_NAMES = {
    "train": "train", "training": "train", "dev": "dev", "development": "dev", "valid": "dev",
    "validation": "dev", "val": "dev", "eval": "dev", "test": "test", "testing": "test",
}  # fmt: skip
"""What people call the three parts -> what we call them."""
_PREFIX = "__label__"
_BRACKET = re.compile(r"-[lr][rsc]b-")


@dataclass(frozen=True, slots=True)
class Dataset:
    """Texts with their labels. ``several``: a text may have none or more than one label."""

    texts: list[str]
    labels: list[tuple[str, ...]]
    splits: list[str | None]
    several: bool
    encodings: dict[str, str]
    """File -> the encoding that it was read in."""
    notes: tuple[str, ...] = ()
    """What was guessed, and rows that were left out."""
    hashes: dict[str, str] = field(default_factory=dict)
    """File -> sha256 of its bytes as they were read."""

    def __len__(self) -> int:
        return len(self.texts)

    def where(self, *splits: str) -> Dataset:
        """The rows of these splits."""
        kept = [i for i, s in enumerate(self.splits) if s in splits]
        return self.take(kept)

    def take(self, rows: Iterable[int]) -> Dataset:
        """The rows with these numbers, in this order."""
        rows = list(rows)
        return replace(
            self,
            texts=[self.texts[i] for i in rows],
            labels=[self.labels[i] for i in rows],
            splits=[self.splits[i] for i in rows],
        )

    def renamed(self, aliases: Mapping[str, str]) -> Dataset:
        """The same texts with other names for some labels."""
        return replace(self, labels=[tuple(aliases.get(x, x) for x in row) for row in self.labels])

    @property
    def sha256(self) -> str:
        """Of the one file that was read; of several, the hash of their hashes."""
        if len(self.hashes) == 1:
            return next(iter(self.hashes.values()))
        return hashlib.sha256("".join(self.hashes.values()).encode()).hexdigest()

    def classes(self) -> tuple[str, ...]:
        """All labels; numbers in their order, else by name."""
        names = {label for row in self.labels for label in row}
        if all(re.fullmatch(r"-?\d{1,15}", name) for name in names):
            return tuple(sorted(names, key=lambda n: (int(n), n)))
        return tuple(sorted(names))

    def targets(self, classes: Sequence[str]) -> np.ndarray:
        """(n,) class numbers, or (n, classes) 0/1 with several labels a text.

        InputError for a label that is not among ``classes``.
        """
        index = {name: i for i, name in enumerate(classes)}
        unknown = sorted({x for row in self.labels for x in row if x not in index})
        if unknown:
            names, there = listed(unknown), listed(classes)
            raise InputError(
                "labels", f"not among the classes of the weights: {names} (they know {there})"
            )
        if self.several:
            out = np.zeros((len(self), len(classes)), dtype=np.float32)
            for row, labels in zip(out, self.labels, strict=True):
                row[[index[x] for x in labels]] = 1
            return out
        return np.array([index[row[0]] for row in self.labels], dtype=np.int64)


# ---------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Row:
    text: str
    labels: tuple[str, ...]
    split: str | None = None


@dataclass(frozen=True, slots=True)
class _Columns:
    text: str | None
    label: str | None
    separator: str | None


def read_dataset(
    paths: Sequence[str | os.PathLike[str]],
    *,
    text_column: str | None = None,
    label_column: str | None = None,
    label_separator: str | None = None,
    encoding: str | None = None,
    limits: Limits = DEFAULT,
) -> Dataset:
    """Read labelled texts from files and folders.

    ``label_separator`` splits a cell into several labels. Rows without a label are counted in
    ``notes`` and left out (with several labels a text may have none).
    """
    if label_separator == "":
        raise InputError("--label-separator", "is empty: labels can't be split there")
    columns = _Columns(text_column, label_column, label_separator)
    rows: list[_Row] = []
    encodings: dict[str, str] = {}
    hashes: dict[str, str] = {}
    notes: list[str] = []
    several = bool(label_separator)

    def text_of(path: str | os.PathLike[str]) -> str:
        text, encodings[os.fspath(path)], hashes[os.fspath(path)] = _read_text(
            path, encoding, limits, notes
        )
        return text

    for path in paths:
        if os.path.isdir(path):
            rows += _read_folder(Path(path), text_of)
            continue
        text = text_of(path)
        found, many = _parse(os.fspath(path), text, columns, notes)
        several |= many
        rows += found
    kept = [r for r in rows if several or r.labels]
    if len(kept) < len(rows):
        notes.append(f"left out: {counted(len(rows) - len(kept), 'row')} without a label")
    if not kept:
        names = ", ".join(os.fspath(p) for p in paths)
        raise InputError(names, "holds no labelled texts")
    blank = sum(not r.text.strip() for r in kept)
    if blank:
        notes.append(
            f"{counted(blank, 'row')} with a label and no text (that counts as an empty text)"
        )
    return Dataset(
        [r.text for r in kept],
        [tuple(map(_one_line, r.labels)) for r in kept],
        [r.split for r in kept],
        several,
        encodings,
        tuple(notes),
        hashes,
    )


def _read_text(
    path: str | os.PathLike[str], encoding: str | None, limits: Limits, notes: list[str]
) -> tuple[str, str, str]:
    """The text of a file, line ends as LF; the encoding it was in; the sha256 of its bytes.

    Bytes that don't fit a guessed encoding become U+FFFD, with a note; InputError where they don't
    fit the given one.
    """
    name = os.fspath(path)
    stream, _ = open_source(path)
    with stream as file:
        raw: bytes = file.read(limits.bytes + 1)
    check(name, "bytes", len(raw), limits)
    data = _unpacked(name, raw, limits)
    refuse_no_text(data[:HEAD], name)
    if encoding is None:
        guess = decode(data, prose=True)
        text, encoding = guess.text, guess.encoding
        if bad := ESCAPED.search(text):
            line = text[: bad.start()].count("\n") + 1
            notes.append(f"{name}: bytes that are not {encoding}, the first in line {line}")
            text = ESCAPED.sub("\ufffd", text)
    else:
        codec, mark = marked(data, known(encoding))
        try:
            text = data[mark:].decode(codec)
        except UnicodeError as error:
            start = getattr(error, "start", 0)
            line = data[:start].count(b"\n") + 1
            reason = f"is not {encoding} (byte {start}); use --encoding"
            raise InputError(f"{name}:{line}", reason) from error
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    return plain, encoding, hashlib.sha256(raw).hexdigest()


def _unpacked(name: str, raw: bytes, limits: Limits) -> bytes:
    """The bytes of a plain, gzip, xz or bzip2 file, told apart by how they begin."""
    opener = unpacker(raw[:HEAD])
    if opener is None:
        return raw
    try:
        data: bytes = opener(io.BytesIO(raw)).read(limits.bytes + 1)
    except DAMAGED as error:
        raise InputError(name, f"can't be unpacked ({error})") from error
    check(name, "bytes", len(data), limits)
    return data


def _kind(name: str, text: str) -> str:
    lower = unpacked_name(name)
    if lower.endswith((".jsonl", ".ndjson", ".json")):
        return "json"
    first = text.lstrip().split("\n", 1)[0]
    head = [first, *text[:100_000].split("\n")[:50]]  # a text without labels may come first
    if any(w.startswith(_PREFIX) for w in first.split()) or any(
        h.startswith(_PREFIX) for h in head
    ):
        return "fasttext"
    if lower.endswith((".tsv", ".tab")):
        return "tsv"
    if not lower.endswith(".csv") and first.startswith(("{", "[{")):
        return "json"
    return "csv"


def _parse(name: str, text: str, columns: _Columns, notes: list[str]) -> tuple[list[_Row], bool]:
    if not text.strip():
        raise InputError(name, "is empty")
    kind = _kind(name, text)
    if kind == "fasttext":
        return _parse_fasttext(text)
    if kind == "json":
        return _parse_json(name, text, columns, notes)
    return _parse_table(name, text, kind, columns, notes)


def _parse_fasttext(text: str) -> tuple[list[_Row], bool]:
    rows = []
    for line in text.split("\n"):
        words = line.split()
        named = (w.removeprefix(_PREFIX) for w in words if w.startswith(_PREFIX))
        labels = tuple(label for label in named if label)
        rest = " ".join(w for w in words if not w.startswith(_PREFIX))
        if words:
            rows.append(_Row(rest, tuple(dict.fromkeys(labels))))
    return rows, any(len(r.labels) > 1 for r in rows)


def _parse_json(
    name: str, text: str, columns: _Columns, notes: list[str]
) -> tuple[list[_Row], bool]:
    objects: list[tuple[int, Any]] = []
    try:
        if text.lstrip().startswith("["):
            objects = [(i, o) for i, o in enumerate(_loads(text), 1)]
        else:
            number = 0
            for number, line in enumerate(text.split("\n"), 1):
                if line.strip():
                    objects.append((number, _loads(line)))
    except (ValueError, RecursionError) as error:
        place = f"{name}:{number}" if not text.lstrip().startswith("[") else name
        reason = f"is not JSON ({error})"
        with contextlib.suppress(ValueError, RecursionError):
            _loads(text)
            place, reason = name, "is one JSON value; a list, or an object a line, holds texts"
        raise InputError(place, reason) from error
    for number, item in objects:
        if not isinstance(item, dict):
            raise InputError(f"{name}:{number}", "is not an object with a text and a label")
    if len(objects) == 1:
        inside = [k for k, v in objects[0][1].items() if isinstance(v, list) and len(v) > 1]
        for key in inside:
            if all(isinstance(x, dict) for x in objects[0][1][key]):
                raise InputError(name, f"is one object: its list {key!r} alone would hold texts")
    header = list(dict.fromkeys(key for _, item in objects for key in item))
    at_text, at_label = _choose(name, header, columns, notes)
    at_split = next((key for key in header if key.strip().lower() == "split"), None)
    rows, several = [], False
    for number, item in objects:
        value, label = item.get(at_text), item.get(at_label)
        if value is not None and not isinstance(value, str):
            raise InputError(f"{name}:{number}", f"{at_text!r} is not a string")
        if isinstance(label, list):
            several = True
            cells = ["" if x is None else _json_label(x).strip() for x in label]
            labels = tuple(dict.fromkeys(cell for cell in cells if cell))
        else:
            labels = _split_labels("" if label is None else _json_label(label), columns.separator)
        split = item.get(at_split) if at_split is not None else None
        rows.append(_Row(value or "", labels, str(split).strip() if split is not None else None))
    return rows, several


def _loads(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            doubled = next(k for k, n in Counter(k for k, _ in pairs).items() if n > 1)
            raise ValueError(f"{doubled!r} occurs twice in an object")
        return found

    return json.loads(text, object_pairs_hook=once)


def _one_line(label: str) -> str:
    """A label as an answer can print it; a cell may have line breaks."""
    return CONTROL.sub(" ", label).strip() or "?" if CONTROL.search(label) else label


def _json_label(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _split_labels(cell: str, separator: str | None) -> tuple[str, ...]:
    if separator is None:
        return (cell.strip(),) if cell.strip() else ()
    return tuple(dict.fromkeys(x.strip() for x in cell.split(separator) if x.strip()))


def _parse_table(
    name: str, text: str, kind: str, columns: _Columns, notes: list[str]
) -> tuple[list[_Row], bool]:
    table = list(_cells(name, text, kind))
    if not table:
        raise InputError(name, "is empty")
    first = [cell.strip() for cell in table[0][1]]
    lower = [cell.lower() for cell in first]
    given = [c for c in (columns.text, columns.label) if c is not None]
    numbered = bool(given) and all(map(str.isdigit, given)) and not {*given} <= {*first}
    header = (bool(given) and not numbered) or _is_header([cells for _, cells in table])
    if numbered:  # columns of a file without names
        body = table[1:] if header else table
        t, y = _numbered(name, columns, [cells for _, cells in body])
        s = lower.index("split") if header and "split" in lower else None
    elif header:
        doubled = [c for c, n in Counter(first).items() if n > 1 and c]
        if doubled:
            raise InputError(f"{name}:1", f"the column {doubled[0]!r} occurs twice")
        body = table[1:]
        if not body:
            raise InputError(name, "has a header and no rows")
        at_text, at_label = _choose(name, first, columns, notes, [cells for _, cells in body])
        t, y = first.index(at_text), first.index(at_label)
        s = lower.index("split") if "split" in lower else None
    else:
        body = table
        t, y = _guess_columns(name, [cells for _, cells in body])
        s = None
        notes.append(f"{name}: no header; text in column {t + 1}, label in column {y + 1}")
    width = len(first) if header else Counter(len(cells) for _, cells in body).most_common(1)[0][0]
    rows = []
    for line, cells in body:
        if len(cells) <= max(t, y) or any(cell.strip() for cell in cells[width:]):
            hint = "; quote a text that holds the separator" if len(cells) > width else ""
            raise InputError(f"{name}:{line}", f"has {len(cells)} columns, expected {width}{hint}")
        split = cells[s].strip() if s is not None and s < len(cells) else None
        rows.append(_Row(cells[t], _split_labels(cells[y], columns.separator), split))
    return rows, columns.separator is not None


def _is_header(table: Sequence[Sequence[str]]) -> bool:
    """Whether the first row names the columns.

    It does if a usual name stands there and nowhere else in its column; or if its label occurs
    once, there are others (at least two, some again and again), and its "text" is far shorter than
    texts are here.
    """
    first, body = [cell.strip() for cell in table[0]], table[1:1001]
    if len(first) < 2 or not body:
        return all(c.lower() in (*TEXT_NAMES, *LABEL_NAMES) for c in first)
    for i, cell in enumerate(first):
        usual = re.sub(r"[\s-]+", "_", cell.lower()) in (*TEXT_NAMES, *LABEL_NAMES, "split")
        if usual and not any(row[i].strip() == cell for row in body if i < len(row)):
            return True
    width = min(len(first), *map(len, body))
    if width < 2:
        return False
    text, label = _guess_columns("", body)
    if max(text, label) >= width:
        return False
    others = [row[label].strip() for row in body]
    length = sum(len(row[text].split()) for row in body) / len(body)
    return (
        first[label] not in others
        and 1 < len(set(others)) < len(others)
        and 2 * len(first[text].split()) <= length
        and len(first[text]) < 40
    )


def _numbered(name: str, columns: _Columns, body: Sequence[Sequence[str]]) -> tuple[int, int]:
    """Columns by number, from 1; one that is not given is guessed."""
    width = min((len(cells) for cells in body), default=0)
    for number in (columns.text, columns.label):
        if number is not None and not 1 <= int(number) <= width:
            raise InputError(name, f"has no column {number}; there are {width}")
    text, label = _guess_columns(name, body)
    if columns.text is not None:
        text, other = int(columns.text) - 1, text
        label = other if label == text else label
    if columns.label is not None:
        label, other = int(columns.label) - 1, label
        text = other if text == label and columns.text is None else text
    if text == label:
        raise InputError(name, "text and label are the same column")
    return text, label


def _cells(name: str, text: str, kind: str) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) of each row. Tab-separated files without a broken row are read unquoted,
    unless all cells of a column stand in quotes (R writes such files).
    """
    lines = text.split("\n")
    if said := _SEP.fullmatch(lines[0].strip("\ufeff ")):  # a line that Excel reads and hides
        yield from _quoted_cells(name, ["", *lines[1:]], said[1])
        return
    filled = [line for line in lines[:1000] if line.strip()]
    if kind == "tsv" or (kind == "csv" and _tabs(filled)):
        rows = [(n, line.split("\t")) for n, line in enumerate(lines, 1) if line.strip()]
        one_width = len({len(cells) for _, cells in rows}) == 1
        if one_width and not any(map(_quoted, zip(*(cells for _, cells in rows), strict=True))):
            yield from rows
            return
        delimiter = "\t"
    else:
        delimiter = _delimiter(filled)
    yield from _quoted_cells(name, lines, delimiter)


_SEP = re.compile(r"\"?sep=(.)\"?", re.IGNORECASE)


def _quoted(column: Sequence[str]) -> bool:
    return all(len(cell) > 1 and cell[0] == cell[-1] == '"' for cell in column)


def _quoted_cells(
    name: str, lines: Sequence[str], delimiter: str
) -> Iterator[tuple[int, list[str]]]:
    """(line, cells) by the rules of csv.

    A quote that nothing closes would swallow lines as one cell, up to the next quote or the end of
    the file: an error. In a row of one line anything goes.
    """
    csv.field_size_limit(100_000_000)
    reader = csv.reader((line + "\n" for line in lines), delimiter=delimiter)
    previous = 0
    try:
        for cells in reader:
            own = [line + "\n" for line in lines[previous : reader.line_num]]
            last = reader.line_num == len(lines)
            # a second stray quote closes the first: what stands between would be one long cell
            if (len(own) > 1 or last) and _torn(own, delimiter, last=last and len(own) == 1):
                raise InputError(f"{name}:{previous + 1}", "a quote is opened and not closed")
            if any(cell.strip() for cell in cells):
                yield previous + 1, cells
            previous = reader.line_num
    except csv.Error as error:
        raise InputError(f"{name}:{previous + 1}", f"can't be read as a table ({error})") from error


def _torn(lines: Sequence[str], delimiter: str, *, last: bool) -> bool:
    """Whether these lines, one row, break the rules of quotes; the ``last`` line of a file only by
    ending inside them.
    """
    try:
        list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error as error:
        return not last or "end of data" in str(error)
    return False


def _tabs(lines: Sequence[str]) -> bool:
    counts = {line.count("\t") for line in lines}
    return len(counts) == 1 and counts != {0}


def _delimiter(lines: Sequence[str]) -> str:
    """The sign that the first line has, and that most lines have as often or more."""
    best, most = ",", 0.0
    for sign in (",", ";", "\t", "|"):
        want = lines[0].count(sign)
        share = sum(line.count(sign) >= want for line in lines) / len(lines) if want else 0.0
        if share > most:
            best, most = sign, share
    return best


def _choose(
    name: str,
    header: Sequence[str],
    columns: _Columns,
    notes: list[str],
    body: Sequence[Sequence[str]] | None = None,
) -> tuple[str, str]:
    """Names of the text and the label column: as given, else by their usual names."""
    lower = {re.sub(r"[\s-]+", "_", column.lower()): column for column in header}
    beside = [i for i, c in enumerate(header) if c.lower() in ("split", "id", "index")]

    def pick(given: str | None, usual: Sequence[str], option: str, taken: str | None) -> str:
        if given is not None:
            if given in header:
                return given
            raise InputError(name, f"has no column {given!r}; there are: {', '.join(header)}")
        for candidate in usual:
            if candidate in lower and lower[candidate] != taken:
                return lower[candidate]
        rest = [c for c in header if c != taken and c.lower() not in ("split", "id", "index")]
        if len(rest) == 1:
            return rest[0]
        if body is not None and given is None:
            guess = _guess_columns(name, body, beside)
            column = header[guess[0] if option == "--text-column" else guess[1]]
            if column != taken:
                return column
        raise InputError(name, f"which column? name it with {option} ({', '.join(header)})")

    label = pick(columns.label, LABEL_NAMES, "--label-column", columns.text)
    text = pick(columns.text, TEXT_NAMES, "--text-column", label)
    if columns.text is None or columns.label is None:
        notes.append(f"{name}: text from {text!r}, label from {label!r}")
    return text, label


def _guess_columns(
    name: str, body: Sequence[Sequence[str]], beside: Sequence[int] = ()
) -> tuple[int, int]:
    """(text, label): the column with the longest cells, the one with the fewest distinct ones;
    neither is one of ``beside``.
    """
    width = min((len(cells) for cells in body), default=0)
    if width < 2:
        raise InputError(name, "has one column; a table needs a text and a label")
    among = [i for i in range(width) if i not in beside]
    if len(among) < 2:
        among = list(range(width))
    sample = body[:2000]
    length = [sum(len(cells[i]) for cells in sample) for i in range(width)]
    text = max(among, key=length.__getitem__)
    distinct = [len({cells[i] for cells in sample}) for i in range(width)]
    label = min((i for i in among if i != text), key=distinct.__getitem__)
    return text, label


def _read_folder(folder: Path, text_of: Callable[[Path], str]) -> list[_Row]:
    children = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not children:
        raise InputError(folder, "has no sub-folder for each class")
    if all(p.name.lower() in SPLIT_NAMES for p in children):
        parts = [
            (p.name, c)
            for p in children
            for c in sorted(p.iterdir())
            if c.is_dir() and not c.name.startswith(".")
        ]
    else:
        parts = [("", p) for p in children]
    rows = []
    for split, child in parts:
        for path in sorted(child.iterdir()):
            if path.is_file() and not path.name.startswith("."):
                rows.append(_Row(text_of(path).strip(), (child.name,), split or None))
    return rows


# ----------------------------------------------------------------------------------------- report


_EMOJI = frozenset(
    c
    for c in map(chr, (*range(0x2600, 0x27C0), *range(0x1F000, 0x1FB00)))
    if unicodedata.category(c) == "So"
)


def normalise(text: str) -> str:
    """Letters, digits and emoji in lower case: what two texts must share to count as the same.

    The Treebank's "-lrb-" stands for a bracket and has no letters of its own.
    """
    folded = _BRACKET.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    # an emoji may be all that a text says
    return "".join(c for c in folded if c.isalnum() or c in _EMOJI) or folded.strip()


def _nearly(text: str) -> str:
    """``text`` without case, blanks and what ends and joins clauses: "C++" and ":(" stay."""
    folded = _BRACKET.sub(" ", unicodedata.normalize("NFKC", text).casefold())
    return _PUNCTUATION.sub("", folded) or folded.strip()


_PUNCTUATION = re.compile(r"[\s.,;:!?\"'`´‘’“”«»…、。，！？；：\u2010-\u2015-]+")


@dataclass(frozen=True, slots=True)
class Report:
    """What one should know of the data before training on it."""

    rows: int
    counts: dict[str, int]
    words: tuple[float, int]
    """Mean and largest number of words (characters for scripts without spaces)."""
    duplicates: int
    """Rows whose text (but for case and punctuation) and labels occurred before."""
    contradictions: int
    """Texts that occur with different labels."""
    leaks: int
    """Rows outside train whose text also occurs in train (``normalise``)."""
    encodings: dict[str, int]
    notes: tuple[str, ...]
    several: bool = False

    @property
    def majority(self) -> float:
        return max(self.counts.values(), default=0) / max(1, self.rows)

    def __str__(self) -> str:
        lines = [
            f"{counted(self.rows, 'text')}, "
            f"{self.words[0]:.1f} words on average, at most {self.words[1]}"
        ]
        shown = sorted(self.counts.items(), key=lambda item: -item[1])
        parts = [f"{printable(k, 30)} {v:,} ({v / self.rows:.1%})" for k, v in shown[:20]]
        more = f", {len(shown) - 20} more" if len(shown) > 20 else ""
        lines.append("classes: " + ", ".join(parts) + more)
        for count, one, what in (
            (self.duplicates, "row", "like an earlier one, but for punctuation"),
            (self.contradictions, "text", "with different labels, but for punctuation"),
            (self.leaks, "text", "of dev or test that the training part has as well"),
        ):
            if count:
                lines.append(f"{counted(count, one)} {what}")
        if set(self.encodings) - {"utf-8"}:
            used = ", ".join(f"{k} ({counted(n, 'file')})" for k, n in self.encodings.items())
            lines.append(f"encodings: {used}")
            lines.append("encodings are guessed: if letters look wrong, name --encoding")
        if self.several:
            lines.append("several labels a text: each label is a yes or no of its own")
        return "\n".join([*lines, *self.notes])


def report(data: Dataset) -> Report:
    """Counts, lengths, duplicates, contradictions, and leaks between the splits."""
    seen: dict[str, set[tuple[str, ...]]] = defaultdict(set)
    learned: set[str] = set()
    others: list[str] = []
    duplicates = 0
    for text, labels, split in zip(data.texts, data.labels, data.splits, strict=True):
        key = _nearly(text)
        duplicates += labels in seen[key]
        seen[key].add(labels)
        if split is None or split.startswith("train"):
            learned.add(normalise(text))
        else:
            others.append(normalise(text))
    lengths = [max(len(t.split()), sum("\u3040" <= c <= "\u9fff" for c in t)) for t in data.texts]
    return Report(
        rows=len(data),
        counts=dict(Counter(x for row in data.labels for x in row)),
        words=(float(np.mean(lengths)), int(max(lengths))),
        duplicates=duplicates,
        contradictions=sum(len(labels) > 1 for labels in seen.values()),
        leaks=sum(key in learned for key in others),
        encodings=dict(Counter(data.encodings.values())),
        notes=data.notes,
        several=data.several,
    )


SEPARATORS = (";", "|", ",", "/")


def separator_of(labels: Iterable[str], known: Collection[str]) -> str | None:
    """The first sign by which all ``labels`` fall into ``known`` ones, or None."""
    distinct = set(labels)
    for sign in SEPARATORS:
        if all(part in known for x in distinct for part in _split_labels(x, sign)):
            return sign
    return None


def overlap(texts: Iterable[str], others: Iterable[str]) -> list[int]:
    """Numbers of those ``texts`` that also occur in ``others``, by normalised text."""
    known = {normalise(text) for text in others}
    return [i for i, text in enumerate(texts) if normalise(text) in known]


# ----------------------------------------------------------------------------------------- splits


def folds(
    labels: Sequence[Any], parts: int, seed: int, *, texts: Sequence[str] | None = None
) -> np.ndarray:
    """(n,) fold numbers, every class spread evenly over the folds; with ``texts`` copies of one
    text stand in one fold.
    """
    if texts is not None:
        number: dict[str, int] = {}  # distinct texts, as they come
        place = np.array(
            [number.setdefault(normalise(text), len(number)) for text in texts], np.int64
        )
        heads = np.unique(place, return_index=True)[1]
        return folds([labels[i] for i in heads], parts, seed)[place]
    rng = np.random.default_rng((seed, parts))
    out = np.zeros(len(labels), dtype=np.int64)
    groups: dict[Any, list[int]] = defaultdict(list)
    for i, label in enumerate(labels):
        groups[label].append(i)
    start = 0
    for label in sorted(groups, key=str):
        rows = np.array(groups[label])
        rng.shuffle(rows)
        out[rows] = (start + np.arange(len(rows))) % parts
        start = (start + len(rows)) % parts  # small classes don't all land in fold 0
    return out


def stratified(data: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(rest, part): ``share`` of each class in the part, rows with one text never on both sides.

    A label that only the part would have stays in the rest: it can be learned, if not measured.
    """
    keys = [normalise(text) for text in data.texts]
    fold = folds(data.labels, max(2, round(1 / share)), seed, texts=data.texts)
    chosen = {key for key, f in zip(keys, fold, strict=True) if f == 0}
    left = {x for i, key in enumerate(keys) if key not in chosen for x in data.labels[i]}
    for i, key in enumerate(keys):
        if key in chosen and not left.issuperset(data.labels[i]):
            chosen.remove(key)
            left.update(data.labels[i])
    inside = [i for i, key in enumerate(keys) if key in chosen]
    outside = [i for i, key in enumerate(keys) if key not in chosen]
    return data.take(outside), data.take(inside)


# --------------------------------------------------------------------------- the paper's data sets

SETS = ("mr", "sst1", "sst2", "subj", "trec", "cr", "mpqa")
"""Kim 2014, section 3; files NAME.tsv.xz with label, split, text."""


def read_set(name: str, folder: str | os.PathLike[str]) -> Dataset:
    """One of SETS, or another file of the same form, from ``folder``/NAME.tsv.xz."""
    path = Path(folder) / f"{name}.tsv.xz"
    return read_dataset([path], text_column="text", label_column="label")


def phrases(path: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """Distinct phrases of Stanford Sentiment Treebank trees with their labels 0..4.

    Every node of every tree, in lower case; the first label of a phrase counts. The training trees
    give 156,817 (Socher et al. 2013; the counts of Kim's own code).
    """
    text, _, _ = _read_text(path, "utf-8", DEFAULT, [])
    found: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            for phrase, label in _tree(line, f"{os.fspath(path)}:{number}"):
                found.setdefault(phrase.lower(), label)
    return list(found.items())


def _tree(line: str, place: str) -> Iterator[tuple[str, int]]:
    """(phrase, label) of every node, parents before their children."""
    nodes: list[tuple[int, int]] = []  # (place of the first word, label) of the open brackets
    spans: list[tuple[int, int, int]] = []  # a parent's bracket closes after its children's
    words: list[str] = []
    for token in re.findall(r"[()]|[^\s()]+", line):
        if token == "(":
            nodes.append((len(words), -1))
        elif token == ")":
            if not nodes:
                raise InputError(place, "unbalanced brackets")
            start, label = nodes.pop()
            spans.append((start, -len(words), label))
        elif nodes and nodes[-1][1] < 0:
            if token not in ("0", "1", "2", "3", "4"):
                raise InputError(place, f"label {printable(token, 20)} is not 0 to 4")
            nodes[-1] = (nodes[-1][0], int(token))
        else:
            words.append(token)
    if nodes or not spans:
        raise InputError(place, "unbalanced brackets")
    for start, end, label in sorted(reversed(spans), key=lambda s: s[:2]):
        yield " ".join(words[start:-end]), label
