"""From a text to the units that the net sees: words, characters or sentence pieces.

The words follow the Penn Treebank: lower case, clitics apart ("does n't", "it 's"), one token per
punctuation mark. The usual benchmark sets write clitics in three ways ("doesn't", "does n't",
"does n 't") and brackets as "-lrb-": all come out alike here, so that vectors and weights learned
on one set serve the others. Every token knows its place in the text as it was given, which is what
explanations point to.

Unit 0 is padding and unit 1 the unknown unit, in every kind of ``Units``.
"""

from __future__ import annotations

import io
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple, Protocol

from cnnapps.core.errors import InputError, TrainingError, WeightsError, need

__all__ = [
    "PAD",
    "PAD_ID",
    "SMILEY",
    "TONES",
    "UNKNOWN",
    "UNKNOWN_ID",
    "CharacterUnits",
    "ListUnits",
    "SentencePieceUnits",
    "Token",
    "Units",
    "WordUnits",
    "back_off",
    "build_characters",
    "build_words",
    "characters",
    "guess_kind",
    "in_words",
    "read_units",
    "tokenize",
    "tokenize_spans",
    "train_sentencepiece",
]

PAD, UNKNOWN = "<pad>", "<unk>"
PAD_ID, UNKNOWN_ID = 0, 1

# Scripts written without spaces: Thai, Lao, Myanmar, Khmer, kana, Han. One character, one token.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
# Combining marks that `\w` leaves out; without them a Hindi or a decomposed French word breaks.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0900-\u0903\u093a-\u094f\u0951-\u0957\u0962-\u0963"
    "\u0980-\u0983\u09bc-\u09cd\u0a00-\u0a03\u0a3c-\u0a51\u0a80-\u0a83\u0abc-\u0acd\u0b3c-\u0b4d"
    "\u0b82\u0bbe-\u0bcd\u0c3e-\u0c4d\u0cbc-\u0ccd\u0d3e-\u0d4d"
)
TONES = "\U0001f3fb-\U0001f3ff"  # of a hand's skin
_INVISIBLE = f"\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff\x00-\x1f\x7f-\x9f{TONES}"

SMILEY = r"[:;=]['-]?[()\[\]dp/|](?!\w)|<3(?![\w.])"
"""":-)" and the like in lower case, and "<3"."""
_WORD = rf"[^\W{_UNSPACED}]+(?:[{_MARKS}]+[^\W{_UNSPACED}]*)*"
_TOKEN = re.compile(
    rf"""(?:https?://|www\.)\S+
    | -[lr][rsc]b-                                  # Treebank brackets
    | (?:[a-z]\.){{2,}}                             # u.s., j.r.r.
    | \d+(?:[.,:]\d+)+                              # 39.99, 12:30
    | {_WORD}(?:-{_WORD})*(?:'t(?!\w))?             # well-made, doesn't (split below)
    | '(?:s|re|ve|ll|d|m|t|em)(?!\w)
    | {SMILEY}
    | `` | '' | --+ | \.(?:[ ]?\.)+ | [!?]{{2,}}
    | [{_UNSPACED}][{_MARKS}]*
    | \\(?![/*]) | [^\s\w\\{_INVISIBLE}]
    """,
    re.VERBOSE,
)
_SMILEY = re.compile(SMILEY)
# Only texts with one of these need a second look at their tokens.
_SPECIAL = re.compile(r"['`\u2013\u2014\u2026]|-[lr][rsc]b-|\. ?\.|---|//|www")
_LINE_BREAK_TAG = re.compile(r"<(?:br|p|/p)\s*/?>")
_ONE_TO_ONE = {
    **dict.fromkeys(map(ord, "\u2018\u2019\u201b\u00b4\u02bc\uff07"), "'"),
    **dict.fromkeys(map(ord, "\u201c\u201d\u201e\u00ab\u00bb\u2033"), '"'),
    **{0xFF01 + i: chr(0x21 + i) for i in range(94) if 0xFF01 + i != 0xFF07},  # full width forms
    **{0xFF21 + i: chr(0x61 + i) for i in range(26)},  # and full width capitals, in lower case
    0x3000: " ",
    0x2010: "-",
    0x2011: "-",
}
_RENAMED = {
    "-lrb-": "(",
    "-rrb-": ")",
    "-lsb-": "[",
    "-rsb-": "]",
    "-lcb-": "{",
    "-rcb-": "}",
    "``": '"',
    "''": '"',
    "`": "'",
    "\u2013": "--",
    "\u2014": "--",
    "\u2026": "...",
}
# Treebank stems that are words of their own elsewhere ("ca" is also California).
_STEMS = {"ca": "can", "wo": "will", "sha": "shall"}
# What smileys say: no training set here has them, and their Unicode names tell faces, not feelings.
_MOUTHS = {")": "happy", "]": "happy", "d": "happy", "p": "happy", "3": "love", "(": "sad",
           "[": "sad", "/": "unsure", "|": "unsure"}  # fmt: skip
_FEELINGS = {
    "love": "\u2764\u2665\U0001f60d\U0001f618\U0001f63b\U0001f970\U0001f493\U0001f495\U0001f496"
    "\U0001f497\U0001f498\U0001f499\U0001f49a\U0001f49b\U0001f49c\U0001f49e\U0001f5a4\U0001f9e1",
    "happy": "\u263a\U0001f600\U0001f601\U0001f603\U0001f604\U0001f606\U0001f607\U0001f609"
    "\U0001f60a\U0001f60b\U0001f60e\U0001f642\U0001f917\U0001f929\U0001f973",
    "laughing": "\U0001f602\U0001f923\U0001f639",
    "good": "\U0001f44c\U0001f44d\U0001f44f\U0001f4af\U0001f64c",
    "bad": "\U0001f44e",
    "sad": "\u2639\U0001f494\U0001f614\U0001f61e\U0001f61f\U0001f622\U0001f625\U0001f62d\U0001f63f"
    "\U0001f641",
    "angry": "\U0001f620\U0001f621\U0001f624\U0001f92c",
    "annoyed": "\U0001f611\U0001f612\U0001f644",
    "unsure": "\U0001f615\U0001f914\U0001f928",
    "disgusting": "\U0001f922\U0001f92e",
    "boring": "\U0001f634\U0001f971",
    "crap": "\U0001f4a9",
}
_SAID = {picture: word for word, pictures in _FEELINGS.items() for picture in pictures}
_DULL = frozenset({"FACE", "WITH", "SIGN", "SYMBOL", "AND", "OF", "HEAVY", "BLACK", "WHITE"})
_AUXILIARIES = frozenset(
    {"do", "does", "did", "is", "are", "was", "were", "has", "have", "had", "ca", "could"}
    | {"would", "should", "wo", "must", "need", "might", "ai", "sha", "dare", "ought"}
)


class Token(NamedTuple):
    """A unit and the half-open range [start, end) of characters that it came from."""

    text: str
    start: int
    end: int


def tokenize(text: str) -> list[str]:
    """The words of ``text`` in lower case, clitics apart; ``tokenize("") == []``."""
    folded = _fold(text)
    if _SPECIAL.search(folded) is None:
        return _TOKEN.findall(folded)
    return [token.text for token in _repair(_spans(folded))]


def tokenize_spans(text: str) -> list[Token]:
    """The same words as ``tokenize`` gives, each with its place in ``text``."""
    return _repair(_spans(_fold(text)))


def _fold(text: str) -> str:
    """Lower case and plain quotes; never changes the number of characters."""
    folded = text.lower()
    if not folded.isascii():
        if len(folded) != len(text):  # one capital became two characters
            folded = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
        folded = folded.translate(_ONE_TO_ONE)
    if "<" in folded:
        folded = _LINE_BREAK_TAG.sub(lambda match: " " * len(match[0]), folded)
    return folded


def _spans(folded: str) -> list[Token]:
    return [Token(match[0], *match.span()) for match in _TOKEN.finditer(folded)]


def _repair(tokens: list[Token]) -> list[Token]:
    """Rename Treebank signs, bring every negation to the form stem + "n't"."""
    out: list[Token] = []
    for text, start, end in tokens:
        if text in _RENAMED:
            out.append(Token(_RENAMED[text], start, end))
        elif text.endswith("'t"):
            _add_negation(out, text, start, end)
        elif text.startswith(("http://", "https://", "www.")):
            out.append(Token("<url>", start, end))
        elif text.startswith(("..", ". .")):
            out.append(Token("...", start, end))
        elif text.startswith("---"):
            out.append(Token("--", start, end))
        else:
            out.append(Token(text, start, end))
    return out


def _add_negation(out: list[Token], text: str, start: int, end: int) -> None:
    """Append "doesn't", "n't" or, after "n" or "doesn", a lone "'t"."""
    stem = text[:-2]
    stem_end = end - 2
    if not stem and out and start - out[-1].end <= 1:
        last = out[-1]
        if last.text == "n" or (last.text[-1:] == "n" and last.text[:-1] in _AUXILIARIES):
            out.pop()
            stem, start, stem_end = last.text, last.start, last.end
    if not stem.endswith("n"):  # "'t was", or a word of another language
        out.append(Token(text, start, end))
        return
    cut = stem_end - 1
    if len(stem) > 1:
        out.append(Token(stem[:-1], start, cut))
    if out and out[-1].text in _STEMS:
        out[-1] = out[-1]._replace(text=_STEMS[out[-1].text])
    out.append(Token("n't", cut, end))


_DIGITS = re.compile(r"\d[\d.,:]*")
_REPEATS = re.compile(r"([^\W\d_])\1{2,}")
_JOINTS = re.compile(r"[-/_.&+']+")


def back_off(token: str, known: Collection[str]) -> list[str]:
    """Known words that stand for an unknown ``token``; [] when there are none.

    In this order: a smiley or emoji in words, drawn-out letters shortened ("soooo"), accents
    dropped, a number rounded to its first digit, a row of marks cut to one, a compound taken apart
    ("laugh-out-loud": only if at least one part is known).
    """
    if token in known:
        return [token]
    if said := [word for word in in_words(token) if word in known]:
        return said
    for form in _forms(token):
        if form in known:
            return [form]
    parts = [part for part in _JOINTS.split(token) if part]
    if len(parts) < 2:
        return []
    found = [back_off(part, known) for part in parts]
    return [word for words in found for word in words]


def in_words(token: str) -> list[str]:
    """What a smiley (":-(") or emoji says: a feeling, else its name in Unicode; [] for the rest."""
    if token in _SAID:
        return [_SAID[token]]
    if _SMILEY.fullmatch(token):
        return [_MOUTHS[token[-1]]]
    if "\U0001f300" <= token <= "\U0001faff" and len(token) == 1:
        names = unicodedata.name(token, "").replace("-", " ").split()
        return [name.lower() for name in names if name not in _DULL]
    return []


def _forms(token: str) -> Iterable[str]:
    if _REPEATS.search(token):
        yield _REPEATS.sub(r"\1\1", token)
        yield _REPEATS.sub(r"\1", token)
    if not token.isascii():
        plain = unicodedata.normalize("NFKD", token)
        yield "".join(c for c in plain if not unicodedata.combining(c))
    if _DIGITS.fullmatch(token):
        digits = re.sub(r"\D", "", token.split(".")[0])
        yield digits
        yield digits[:1] + "0" * (len(digits) - 1)
        yield "0"
    if token and not any(map(str.isalnum, token)):
        yield token[-1]


class Units(Protocol):
    """A fixed list of units and the way from a text to them. Ids count from 0 (padding)."""

    kind: str

    def __len__(self) -> int: ...

    def encode(self, text: str) -> list[str]:
        """The units of ``text`` as strings, the unknown one as "<unk>"."""
        ...

    def ids(self, text: str) -> list[int]:
        """The units of ``text`` as numbers below ``len(self)``; [] for a text without units."""
        ...

    def spans(self, text: str) -> tuple[list[int], list[Token]]:
        """``ids(text)`` and the place of each unit in ``text``."""
        ...

    def names(self) -> list[str]:
        """The string of every id."""
        ...

    def files(self) -> dict[str, bytes]:
        """What a weights folder stores; ``read_units`` gets the same units back."""
        ...


class ListUnits:
    """Units that are a list of strings: what words, characters and word pieces share."""

    kind = ""

    def __init__(self, units: Sequence[str]) -> None:
        if list(units[:2]) != [PAD, UNKNOWN]:
            raise WeightsError("units", f"the first two units must be {PAD} and {UNKNOWN}")
        self._names = list(units)
        self._index = {unit: number for number, unit in enumerate(self._names)}
        if len(self._index) != len(self._names):
            raise WeightsError("units", "a unit occurs twice")

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, unit: str) -> bool:
        return unit in self._index

    def names(self) -> list[str]:
        return list(self._names)

    def files(self) -> dict[str, bytes]:
        head = json.dumps({"kind": self.kind, "units": len(self._names)})
        return {"units.txt": "\n".join([head, *self._names, ""]).encode("utf-8")}


class WordUnits(ListUnits):
    """Words of a fixed vocabulary; an unknown word backs off to known ones, else it is unit 1."""

    kind = "words"
    _MEMORY = 100_000

    def __init__(self, units: Sequence[str]) -> None:
        super().__init__(units)
        self._backed_off: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[str]:
        return [self._names[number] for number in self.ids(text)]

    def ids(self, text: str) -> list[int]:
        index = self._index
        tokens = tokenize(text)
        try:
            return [index[token] for token in tokens]
        except KeyError:
            return [number for token in tokens for number in self._lookup(token)]

    def spans(self, text: str) -> tuple[list[int], list[Token]]:
        numbers: list[int] = []
        places: list[Token] = []
        for token in tokenize_spans(text):
            found = self._lookup(token.text)
            numbers += found
            places += [token] * len(found)
        return numbers, places

    def _lookup(self, token: str) -> list[int]:
        number = self._index.get(token)
        if number is not None:
            return [number]
        found = self._backed_off.get(token)
        if found is None:
            found = [self._index[word] for word in back_off(token, self._index)] or [UNKNOWN_ID]
            if len(self._backed_off) < self._MEMORY:
                self._backed_off[token] = found
        return found


def characters(text: str) -> list[Token]:
    """The visible characters of ``text`` in lower case, full width forms made narrow."""
    folded = _fold(text)
    return [Token(c, i, i + 1) for i, c in enumerate(folded) if not c.isspace() and c.isprintable()]


class CharacterUnits(ListUnits):
    """Single characters: for Chinese, Japanese and Thai without a model of words."""

    kind = "characters"

    def encode(self, text: str) -> list[str]:
        return [self._names[number] for number in self.ids(text)]

    def ids(self, text: str) -> list[int]:
        index = self._index
        return [
            index.get(c, UNKNOWN_ID) for c in _fold(text) if not c.isspace() and c.isprintable()
        ]

    def spans(self, text: str) -> tuple[list[int], list[Token]]:
        places = characters(text)
        return [self._index.get(token.text, UNKNOWN_ID) for token in places], places


class SentencePieceUnits:
    """Sentence pieces (Kudo & Richardson 2018, arXiv:1808.06226); the model is ``units.model``."""

    kind = "sentencepiece"

    def __init__(self, model: bytes) -> None:
        sentencepiece = need("sentencepiece", "text in sentence pieces")
        if not model:  # the library takes it for "no model given", and complains on stderr
            raise WeightsError("units.model", "is no sentencepiece model")
        try:
            self._model = sentencepiece.SentencePieceProcessor(model_proto=model)
            size = self._model.get_piece_size()
        except RuntimeError as error:
            raise WeightsError("units.model", "is no sentencepiece model") from error
        if size < 3 or self._model.pad_id() != PAD_ID or self._model.unk_id() != UNKNOWN_ID:
            raise WeightsError("units.model", "padding must be piece 0 and unknown piece 1")
        self._bytes = model

    def __len__(self) -> int:
        return int(self._model.get_piece_size())

    def names(self) -> list[str]:
        return [self._model.id_to_piece(number) for number in range(len(self))]

    def encode(self, text: str) -> list[str]:
        return [self._model.id_to_piece(number) for number in self.ids(text)]

    def ids(self, text: str) -> list[int]:
        return list(self._model.encode(_without_surrogates(text)))

    def spans(self, text: str) -> tuple[list[int], list[Token]]:
        """Ids and places; a piece that stands for a blank before the text has start = end."""
        clean = _without_surrogates(text)
        if hasattr(self._model, "encode_as_offset_mapping"):  # 0.2.3; 0.2.0 has the other
            found = self._model.encode_as_offset_mapping(clean)
            pieces = list(zip(found["ids"], found["pieces"], found["offsets"], strict=True))
        else:
            proto = self._model.encode_as_immutable_proto(clean)
            pieces = [(p.id, p.piece, (p.begin, p.end)) for p in proto.pieces]
        numbers = [number for number, _, _ in pieces]
        return numbers, [Token(name, _inked(text, *ends), ends[1]) for _, name, ends in pieces]

    def files(self) -> dict[str, bytes]:
        return {"units.model": self._bytes}


def _inked(text: str, start: int, end: int) -> int:
    """``start`` moved past the blanks that a piece begins with."""
    while start < end - 1 and text[start].isspace():
        start += 1
    return start


def _without_surrogates(text: str) -> str:
    """UTF-8 has no lone surrogates: each becomes U+FFFD, so that places stay the same."""
    if text.isascii():
        return text
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)


def read_units(files: Mapping[str, bytes]) -> Units:
    """The units of a weights folder, from its ``units.model`` or ``units.txt``.

    Raises WeightsError when there is neither, or when it is damaged.
    """
    if "units.model" in files:
        return SentencePieceUnits(files["units.model"])
    if "units.txt" not in files:
        raise WeightsError("units", "the folder has neither units.txt nor units.model")
    try:
        head, *names = files["units.txt"].decode("utf-8").removesuffix("\n").split("\n")
        declared = json.loads(head)
        kind, count = declared["kind"], declared["units"]
    except (UnicodeDecodeError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError("units.txt", "has no readable first line") from error
    if count != len(names):
        raise WeightsError("units.txt", f"declares {count} units and holds {len(names)}")
    kinds: dict[str, Callable[[Sequence[str]], Units]] = {
        "words": WordUnits,
        "characters": CharacterUnits,
    }
    if kind == "wordpiece":
        from cnnapps.apps.textcls.pieces import WordPieceUnits

        return WordPieceUnits(names)
    if not isinstance(kind, str) or kind not in kinds:
        raise WeightsError("units.txt", f"unknown kind of units: {kind}")
    return kinds[kind](names)


def build_words(
    texts: Iterable[str],
    *,
    also: Iterable[str] = (),
    min_count: int = 1,
    limit: int = 1_000_000,
) -> WordUnits:
    """The vocabulary of ``texts``, most frequent first, then the words of ``also`` in their order.

    ``also`` is where the words of packaged vectors come in: words that no training text has, but
    that a text to be classified may have. ``limit`` counts all units.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(tokenize(text))
    frequent = [word for word, n in _by_frequency(counts) if n >= min_count]
    chosen = dict.fromkeys((*frequent, *also))
    return WordUnits(_with_reserved(chosen, limit))


def build_characters(
    texts: Iterable[str], *, min_count: int = 1, limit: int = 20_000
) -> CharacterUnits:
    """The characters of ``texts`` that occur at least ``min_count`` times, most frequent first."""
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(token.text for token in characters(text))
    frequent = [c for c, n in _by_frequency(counts) if n >= min_count]
    return CharacterUnits(_with_reserved(frequent, limit))


def _by_frequency(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _with_reserved(units: Iterable[str], limit: int) -> list[str]:
    """Reserved units first; what can't be stored (a lone surrogate, a line end) is left out."""
    usable = (u for u in units if u and u not in (PAD, UNKNOWN) and _storable(u))
    return [PAD, UNKNOWN, *islice(usable, max(limit - 2, 0))]


def _storable(unit: str) -> bool:
    return "\n" not in unit and not any("\ud800" <= c <= "\udfff" for c in unit)


def train_sentencepiece(
    texts: Sequence[str], *, size: int = 8_000, coverage: float = 0.9995, seed: int = 0
) -> SentencePieceUnits:
    """Learn a unigram model of ``size`` pieces (fewer when the texts don't hold that many).

    Compatibility forms and case are folded (rule nmt_nfkc_cf). Deterministic: one thread, and
    ``seed`` picks the sample when there are more than a million texts. Raises TrainingError when
    the texts are too few.
    """
    sentencepiece = need("sentencepiece", "training sentence pieces")
    if hasattr(sentencepiece, "set_random_generator_seed"):
        sentencepiece.set_random_generator_seed(seed)
    sentences = [" ".join(_without_surrogates(text).split()) for text in texts]
    sentences = [text.replace("\x00", "") for text in sentences if text]
    if not sentences:
        raise TrainingError("no text to learn sentence pieces from")
    model = io.BytesIO()
    options: dict[str, Any] = {
        "sentence_iterator": iter(sentences),
        "model_writer": model,
        "vocab_size": size,
        "hard_vocab_limit": False,
        "model_type": "unigram",
        "character_coverage": coverage,
        "normalization_rule_name": "nmt_nfkc_cf",
        "input_sentence_size": 1_000_000,
        "max_sentence_length": 16_384,
        "num_threads": 1,
        "pad_id": PAD_ID,
        "unk_id": UNKNOWN_ID,
        "bos_id": -1,
        "eos_id": -1,
        "minloglevel": 2,
    }
    try:
        sentencepiece.SentencePieceTrainer.train(**options)
    except (RuntimeError, OSError) as error:
        raise TrainingError(f"can't learn {size} sentence pieces: {error}") from error
    return SentencePieceUnits(model.getvalue())


def guess_kind(texts: Iterable[str], *, sample: int = 1_000) -> str:
    """ "sentencepiece" when most letters belong to scripts without spaces, else "words"."""
    unspaced = re.compile(f"[{_UNSPACED}]")
    letters = found = 0
    for text in islice(texts, sample):
        head = text[:1_000]
        letters += sum(map(str.isalpha, head))
        found += len(unspaced.findall(head))
    if letters == 0:
        raise InputError("texts", "no letters in the first texts; try --units characters")
    return "sentencepiece" if found > letters / 2 else "words"
