"""The n-grams that excite a filter over words in context, found by reading a text. Numpy.

Where an encoder stands between the units and the filters, a filter's response to an n-gram depends
on the sentence around it, so there is no list of all n-grams to search (filters.ngrams). What can
be said exactly is which windows of a given text excite a filter most.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from cnnapps.apps.inspect.filters import chosen_filters, text_filters
from cnnapps.apps.inspect.source import Opened
from cnnapps.core.errors import InputError, WeightsError, printable
from cnnapps.core.progress import Progress
from cnnapps.core.runtime import Runtime, open_runtime
from cnnapps.core.weights import Weights

__all__ = ["Window", "WordPieces", "reads_in_context", "sample_texts", "window_lines", "windows"]

UNKNOWN, CLS, SEP = 1, 2, 3
"""Unit numbers; 0 is padding."""
PIECE = 256
"""Units of a text that the encoder sees at once; longer texts are cut."""
BATCH = 4096
"""Padded units a run: bounds its memory to some 100 MB."""
SAMPLE = 500
"""Texts of the package's sample that are read: a quarter of a minute."""
LONGEST = 100
"""Characters of a word beyond which it is unknown, as in BERT."""
_WORDS = re.compile(r"[^\W_]+|[^\w\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufeff]|_")


@dataclass(frozen=True, slots=True)
class Window:
    """Neighbouring units of a text, and a filter's response to them without the bias.

    ``ngram`` is the text of the window (words, where units are parts of words), ``before`` and
    ``after`` what stands around it.
    """

    response: float
    ngram: str
    before: str
    after: str


class WordPieces:
    """Text -> unit numbers by the greedy rule of WordPiece (Devlin et al. 2019, section 3).

    Lower case without accents; "##ing" continues a word.
    """

    def __init__(self, units: Sequence[str]) -> None:
        self._number = {unit: i for i, unit in enumerate(units)}

    def spans(self, text: str) -> tuple[list[int], list[tuple[int, int]]]:
        """Unit numbers and the (start, end) of each unit's word, without a frame."""
        numbers: list[int] = []
        places: list[tuple[int, int]] = []
        for match in _WORDS.finditer(text):
            found = self._pieces(_plain(match[0]))
            numbers += found
            places += [match.span()] * len(found)
        return numbers, places

    def _pieces(self, word: str) -> list[int]:
        if len(word) > LONGEST:
            return [UNKNOWN]
        out: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._number.get(("##" if start else "") + word[start:end])
                if number is not None:
                    out.append(number)
                    start = end
                    break
            else:
                return [UNKNOWN]
        return out


def _plain(word: str) -> str:
    word = word.lower()
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")


def reads_in_context(opened: Opened) -> bool:
    """Whether the net's filters read what an encoder made of the units, and the graph says that."""
    weights = opened.weights
    return (
        weights is not None
        and set(weights.card.inputs) == {"ids", "length"}
        and "context" in weights.card.outputs
        and any(name.startswith("encoder.") for name in weights.tensors())
    )


def sample_texts(opened: Opened) -> tuple[Path, list[str]]:
    """SAMPLE of the texts that the weights' app has inside the package (last column of a table)."""
    assert opened.weights is not None
    folder = Path(__file__).parent.parent / opened.weights.card.app.replace("-", "_") / "sample"
    for path in sorted(folder.glob("*.tsv")):
        rows = path.read_text(encoding="utf-8").splitlines()[1:]
        step = max(1, math.ceil(len(rows) / SAMPLE))
        return path, [row.rpartition("\t")[2] for row in rows[::step]]
    raise InputError(opened.name, "its filters read words in context: give texts with --text FILE")


def windows(
    opened: Opened,
    texts: Iterable[str],
    *,
    filters: Sequence[tuple[str, Sequence[int]]],
    top: int,
    progress: Progress | None = None,
) -> tuple[dict[tuple[str, int], list[Window]], int]:
    """({(layer, filter): its ``top`` strongest windows}, texts read); of equal n-grams the best.

    ``filters`` are (name of a 1-D convolution, filters of it). A window that reaches past the text
    holds the units inside, as the padding is zero. WeightsError if the folder isn't what it says.
    """
    weights = opened.weights
    assert weights is not None
    units = _units(weights)
    runtime = open_runtime(weights)
    tensors = weights.tensors()
    layers = []
    for name, chosen in filters:
        kernel = tensors[f"{name}.weight"][list(chosen)].astype(np.float32)  # (F, D, n)
        layers.append((name, list(chosen), kernel))
    best: dict[tuple[str, int], dict[str, Window]] = {
        (name, f): {} for name, chosen in filters for f in chosen
    }
    read = 0

    def counted() -> Iterator[str]:
        nonlocal read
        for text in texts:
            read += bool(text.strip())
            yield text

    for group in _batches(counted(), units):
        for text, places, context in _contexts(runtime, group):
            for name, chosen, kernel in layers:
                response = _responses(context, kernel)
                for column, f in enumerate(chosen):
                    _keep(best[name, f], response[:, column], places, text, kernel.shape[2], top)
        if progress is not None:
            progress.update(read)
    return {
        key: sorted(found.values(), key=lambda w: -w.response) for key, found in best.items()
    }, read


def _units(weights: Weights) -> WordPieces:
    """WeightsError where the units are no word pieces."""
    head, *names = weights["units.txt"].decode("utf-8", "replace").split("\n")
    try:
        said = json.loads(head)
    except ValueError:
        said = None
    if not isinstance(said, dict) or said.get("kind") != "wordpiece":
        raise WeightsError(weights.folder, "units.txt holds no word pieces")
    return WordPieces(names[: int(said.get("units", len(names)))])


Text = tuple[str, list[int], list[tuple[int, int]]]
"""A text, its framed unit numbers, and the place of each in it (FRAME for the frame's)."""
FRAME = (-1, -1)


def _batches(texts: Iterable[str], units: WordPieces) -> Iterator[list[Text]]:
    """Texts, long ones in pieces, in runs of similar length and at most BATCH padded units."""
    source = iter(texts)
    while ahead := list(islice(source, 256)):
        pieces: list[Text] = []
        for text in ahead:
            numbers, places = units.spans(text)
            for start in range(0, len(numbers), PIECE - 2):
                part = [CLS, *numbers[start : start + PIECE - 2], SEP]
                spans = [FRAME, *places[start : start + PIECE - 2], FRAME]
                pieces.append((text, part, spans))
        pieces.sort(key=lambda piece: len(piece[1]))
        group: list[Text] = []
        for piece in pieces:
            if group and len(piece[1]) * (len(group) + 1) > BATCH:
                yield group
                group = []
            group.append(piece)
        if group:
            yield group


def _contexts(
    runtime: Runtime, group: Sequence[Text]
) -> Iterator[tuple[str, list[tuple[int, int]], np.ndarray]]:
    """Each text with its units' vectors in context, (L, D) float32."""
    length = np.array([len(numbers) for _, numbers, _ in group], np.int64)
    ids = np.zeros((len(group), int(length.max())), np.int64)
    for row, (_, numbers, _) in zip(ids, group, strict=True):
        row[: len(numbers)] = numbers
    context = runtime.run(ids=ids, length=length)["context"]
    for (text, numbers, places), vectors in zip(group, context, strict=True):
        yield text, places, vectors[: len(numbers)]


def _responses(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """(L, D) and (F, D, n) -> (L + n - 1, F): window p covers the units p - n + 1 ... p."""
    length, width = len(x), kernel.shape[2]
    out = np.zeros((length + width - 1, len(kernel)), np.float32)
    for j in range(width):
        out[width - 1 - j : width - 1 - j + length] += x @ kernel[:, :, j].T
    return out


def _keep(
    best: dict[str, Window],
    response: np.ndarray,
    places: Sequence[tuple[int, int]],
    text: str,
    width: int,
    top: int,
) -> None:
    """Put the windows of a text that belong among the ``top`` into ``best``, by their n-gram."""
    floor = min((w.response for w in best.values()), default=-np.inf)
    order = np.argsort(-response, kind="stable")
    for p in order[: top + len(best)]:
        value = float(response[p])
        if len(best) >= top and value <= floor:
            return
        inside = range(max(0, int(p) - width + 1), min(len(places), int(p) + 1))
        spans = [places[i] for i in inside if places[i][0] >= 0]
        marks = ["[CLS]"] if 0 in inside else []
        ends = ["[SEP]"] if len(places) - 1 in inside else []
        start, end = (spans[0][0], spans[-1][1]) if spans else (0, 0)
        if not spans and ends:
            start = end = len(text)
        ngram = " ".join([*marks, *([text[start:end]] if spans else []), *ends])
        old = best.get(ngram.lower())
        if old is not None and old.response >= value:
            continue
        best[ngram.lower()] = Window(value, ngram, text[:start], text[end:])
        if len(best) > top:
            del best[min(best, key=lambda k: best[k].response)]
        floor = min(w.response for w in best.values())


def window_lines(
    opened: Opened,
    texts: Iterable[str],
    *,
    source: str,
    per_width: int,
    top: int,
    chosen: Sequence[int] | None = None,
    progress: Progress | None = None,
) -> list[str]:
    """For each width the filters that matter most to the output, with their strongest windows.

    InputError where there is no text.
    """
    picked = chosen_filters(opened, per_width=per_width, chosen=chosen)
    found, read = windows(
        opened, texts, filters=[(name, [f for f, _ in fs]) for name, fs in picked], top=top,
        progress=progress,
    )  # fmt: skip
    if not read:
        raise InputError(source, "has no words")
    widths = {name: weight.shape for name, weight in text_filters(opened)}
    lines = [
        f"The filters read words in context, so an n-gram counts where it stands: the strongest of "
        f"{read:,} texts ({printable(source, 60)})."
    ]
    for name, filters in picked:
        maps, _, width = widths[name]
        lines.append(f"{name}: {maps} filters of width {width}")
        for f, label in filters:
            lines.append(f"  filter {f}{f'  for {label}' if label else ''}")
            lines += [
                f"    {w.response:8.2f}  {_ngram(w):<28}  {_place(w)}" for w in found[name, f]
            ]
    return lines


def _ngram(window: Window) -> str:
    return printable(" ".join(window.ngram.split()), 40)


def _place(window: Window, side: int = 28) -> str:
    """The n-gram within its neighbours, cut at words."""
    left, right = " ".join(window.before.split()), " ".join(window.after.split())
    if len(left) > side:
        left = "... " + left[-side:].partition(" ")[2]
    if len(right) > side:
        right = right[:side].rpartition(" ")[0] + " ..."
    middle = " ".join(window.ngram.removeprefix("[CLS]").removesuffix("[SEP]").split())
    before = " " if window.before[-1:].isspace() else ""
    after = " " if window.after[:1].isspace() else ""
    return printable(f"{left}{before}{middle}{after}{right}", 140)
