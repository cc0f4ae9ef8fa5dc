"""What the first bytes of a text say of its encoding; where they say nothing charset.py guesses."""

from __future__ import annotations

import codecs

__all__ = ["MARKS", "unmarked_utf16"]

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def unmarked_utf16(head: bytes) -> str | None:
    """UTF-16 without a mark, told by the zero bytes of its Latin letters; None for the rest."""
    pairs = len(head) // 2
    low, high = head[0::2].count(0), head[1::2].count(0)
    if pairs >= 4 and high > 0.7 * pairs and low < 0.1 * pairs:
        return "utf-16-le"
    if pairs >= 4 and low > 0.7 * pairs and high < 0.1 * pairs:
        return "utf-16-be"
    return None
