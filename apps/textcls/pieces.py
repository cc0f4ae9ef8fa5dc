"""WordPiece, the units of BERT and MiniLM: words cut into the longest known pieces.

Devlin et al. 2019 (arXiv:1810.04805), section 3; the greedy rule is Wu et al. 2016
(arXiv:1609.08144). Every piece knows its place in the text as it was given.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from cnnapps.apps.textcls.tokens import (
    SMILEY,
    TONES,
    UNKNOWN_ID,
    ListUnits,
    Token,
    in_words,
)
from cnnapps.core.errors import WeightsError

__all__ = ["CLS", "SEP", "WordPieceUnits"]

CLS, SEP = "[CLS]", "[SEP]"
LONGEST = 100
"""Characters of a word beyond which it is unknown, as in BERT."""
# Invisible characters (controls, joiners) are dropped, as BERT's clean-up does.
_BASIC = re.compile(
    rf"[^\W_]+|(?i:{SMILEY})|[^\w\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u2060\ufe00-\ufe0f\ufeff{TONES}]|_"
)
_IDEOGRAPHS = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_CJK = re.compile(f"[{_IDEOGRAPHS}]|[^{_IDEOGRAPHS}]+")  # each of them is a word
_BRACKETS = {"lrb": "(", "rrb": ")", "lsb": "[", "rsb": "]", "lcb": "{", "rcb": "}"}
_MEMORY = 100_000


class WordPieceUnits(ListUnits):
    """Pieces of a fixed vocabulary; "##ing" continues a word. Ids: 0 padding, 1 unknown.

    ``ids`` frames a text by [CLS] and [SEP], which have no place in it (start = end).
    """

    kind = "wordpiece"

    def __init__(self, units: Sequence[str]) -> None:
        super().__init__(units)
        if list(units[2:4]) != [CLS, SEP]:
            raise WeightsError("units", f"the third and fourth must be {CLS} and {SEP}")
        self._known: dict[str, list[int]] = {}

    def encode(self, text: str) -> list[str]:
        return [self._names[number] for number in self.ids(text)]

    def ids(self, text: str) -> list[int]:
        return self.spans(text)[0]

    def spans(self, text: str) -> tuple[list[int], list[Token]]:
        """Ids with [CLS] and [SEP], and each piece's place in ``text``."""
        numbers, places = [2], [Token(CLS, 0, 0)]
        for word in _words(text):
            for number in self._cut(word.text):
                numbers.append(number)
                places.append(Token(self._names[number], word.start, word.end))
        numbers.append(3)
        places.append(Token(SEP, len(text), len(text)))
        return numbers, places

    def _cut(self, word: str) -> list[int]:
        """Ids of the longest known pieces from the left; unknown if one is missing."""
        found = self._known.get(word)
        if found is None:
            found = self._longest(word)
            if len(self._known) < _MEMORY:
                self._known[word] = found
        return found

    def _longest(self, word: str) -> list[int]:
        if len(word) > LONGEST:
            return [UNKNOWN_ID]
        out: list[int] = []
        start = 0
        while start < len(word):
            for end in range(len(word), start, -1):
                number = self._index.get(("##" if start else "") + word[start:end])
                if number is not None:
                    out.append(number)
                    start = end
                    break
            else:
                return [UNKNOWN_ID]
        return out


def _words(text: str) -> list[Token]:
    """BERT's basic words in lower case, Treebank signs undone ("does n't" -> "doesn", "'", "t")."""
    out: list[Token] = []
    for match in _BASIC.finditer(text):
        if said := in_words(match[0].lower()):  # a smiley or emoji; few are pieces
            out += [Token(word, match.start(), match.end()) for word in said]
            continue
        if match[0].isascii():
            out.append(Token(match[0].lower(), match.start(), match.end()))
            continue
        for part in _CJK.finditer(match[0]):
            if word := _plain(part[0]):
                start, end = part.span()
                out.append(Token(word, match.start() + start, match.start() + end))
    return _undo_treebank(out) if len(out) > 2 else out


def _plain(word: str) -> str:
    """Lower case without accents."""
    word = word.lower()
    if word.isascii():
        return word
    return "".join(c for c in unicodedata.normalize("NFD", word) if unicodedata.category(c) != "Mn")


def _undo_treebank(words: list[Token]) -> list[Token]:
    out: list[Token] = []
    for word in words:
        text = word.text
        if text == "-" and len(out) > 1 and out[-1].text in _BRACKETS and out[-2].text == "-":
            bracket = Token(_BRACKETS[out[-1].text], out[-2].start, word.end)
            out[-2:] = [bracket]
        elif text == "t" and len(out) > 2 and out[-1].text == "'" and out[-2].text == "n":
            stem = out[-3]
            if stem.text.isalpha():
                out[-3:-1] = [Token(stem.text + "n", stem.start, out[-2].end)]
            out.append(word)
        elif text in "`'" and out and out[-1].text == text and out[-1].end == word.start:
            out[-1] = Token('"', out[-1].start, word.end)
        elif text == "/" and out and out[-1].text == "\\":
            out[-1] = Token("/", out[-1].start, word.end)
        else:
            out.append(word)
    return out
