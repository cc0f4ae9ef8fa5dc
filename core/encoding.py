"""Which encoding a whole text file is in, told from its bytes."""

from __future__ import annotations

import codecs

__all__ = ["MARKS", "guess_encoding", "unmarked_utf16"]

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


# Chinese punctuation and full width forms.
_SIGNS = frozenset(
    map(chr, (*range(0x3000, 0x3040), *range(0xFF00, 0xFFF0), 0x2014, 0x2026, 0x201C, 0x201D))
)


def guess_encoding(head: bytes) -> tuple[str, int]:
    """(encoding, bytes of its mark) of a text that begins with ``head``.

    A byte order mark decides; else UTF-16 without one is told by its zero bytes; else UTF-8 where
    the bytes are valid (a character cut at the end of ``head`` is no fault); else GB18030 where
    they are valid and mostly Chinese characters; else Windows-1252.
    """
    for mark, name in MARKS:
        if head.startswith(mark):
            return name, len(mark)
    if wide := unmarked_utf16(head):
        return wide, 0
    if _decodes(head, "utf-8"):
        return "utf-8", 0
    if _decodes(head, "gb18030"):
        text = head.decode("gb18030", "ignore")
        foreign = [c for c in text if not c.isascii()]
        common = sum("\u4e00" <= c <= "\u9fff" or c in _SIGNS for c in foreign)
        # accented Latin letters pair up into rare characters, never into mostly common ones alone
        high = sum(byte >= 0x80 for byte in head)
        if common > 0.9 * len(foreign) and high > 1.9 * len(foreign):
            return "gb18030", 0
    return "cp1252", 0


def unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark, told by the zero bytes of its Latin letters; None for the rest."""
    pairs = len(head) // 2
    low, high = head[0::2].count(0), head[1::2].count(0)
    if pairs >= 4 and high > 0.7 * pairs and low < 0.1 * pairs:
        return "utf-16-le"
    if pairs >= 4 and low > 0.7 * pairs and high < 0.1 * pairs:
        return "utf-16-be"
    return None


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True
