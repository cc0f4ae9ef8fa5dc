"""gzip, xz and bzip2 streams, told apart by how they begin and not by their names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from typing import Any

DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error)
"""What reading a damaged stream raises."""
PACKED = (".gz", ".xz", ".bz2")
PACKERS: tuple[tuple[bytes, Callable[..., Any]], ...] = (
    (b"\x1f\x8b\x08", gzip.open),
    (b"\xfd7zXZ\0", lzma.open),
    *((b"BZh%d1AY&SY" % level, bz2.open) for level in range(1, 10)),
)
HEAD = max(len(magic) for magic, _ in PACKERS)
"""Bytes that tell."""


def unpacker(head: bytes) -> Callable[..., Any] | None:
    """What opens a stream that begins with ``head`` (``HEAD`` bytes); None for a plain one."""
    return next((opener for magic, opener in PACKERS if head.startswith(magic)), None)


def unpacked_name(name: str) -> str:
    """``name`` in lower case as the file inside is called: "Data.CSV.gz" -> "data.csv"."""
    name = name.lower()
    for suffix in PACKED:
        name = name.removesuffix(suffix)
    return name
