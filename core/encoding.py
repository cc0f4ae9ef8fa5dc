"""What the first bytes of a text say of its encoding; where they say nothing charset.py guesses."""

from __future__ import annotations

import codecs

__all__ = ["MARKS", "marked", "unmarked_utf16"]

MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16: it begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def unmarked_utf16(data: bytes) -> str | None:
    """UTF-16 without a mark: a NUL in the first two characters and in many of the first hundred;
    None for the rest.
    """
    head = data[:200]
    for first, codec in ((1, "utf-16-le"), (0, "utf-16-be")):
        zeros = head[first::2]
        if len(zeros) >= 2 and not any(zeros[:2]) and zeros.count(0) >= 0.4 * len(zeros):
            letters = head[1 - first :: 2]
            return codec if all(letters[:2]) else None
    return None


def marked(data: bytes, codec: str) -> tuple[str, int]:
    """The codec that a mark at the beginning makes of ``codec``, and the mark's length.

    UTF-16 and UTF-32 without a mark have their low bytes first, as most systems store them.
    """
    for mark, name in MARKS:
        if data.startswith(mark) and name.startswith(codec):
            return name, len(mark)
    return (f"{codec}-le" if codec in ("utf-16", "utf-32") else codec), 0
