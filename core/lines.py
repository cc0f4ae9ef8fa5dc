"""Lines of text from files and pipes, as they arrive, whatever their encoding and length."""

from __future__ import annotations

import codecs
import os
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cnnapps.core.errors import InputError
from cnnapps.core.limits import DEFAULT, Limits, check

__all__ = ["Line", "guess_encoding", "open_regular", "text_blocks"]

BLOCK = 1 << 16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


@dataclass(frozen=True, slots=True)
class Line:
    """A line without its end, counted from 1; ``error`` says why it could not be read."""

    number: int
    text: str
    error: InputError | None = None


def guess_encoding(head: bytes) -> tuple[str, int]:
    """(encoding, bytes of its mark) of a text that begins with ``head``.

    A byte order mark decides; else UTF-16 without one is told by its zero bytes; else UTF-8 where
    the bytes are valid (a character cut at the end of ``head`` is no fault); else GB18030 where
    they are valid and mostly Chinese characters; else Windows-1252.
    """
    for mark, name in _MARKS:
        if head.startswith(mark):
            return name, len(mark)
    pairs = len(head) // 2
    if pairs >= 4:
        if head[1::2].count(0) > 0.7 * pairs and head[0::2].count(0) < 0.1 * pairs:
            return "utf-16-le", 0
        if head[0::2].count(0) > 0.7 * pairs and head[1::2].count(0) < 0.1 * pairs:
            return "utf-16-be", 0
    if _decodes(head, "utf-8"):
        return "utf-8", 0
    if _decodes(head, "gb18030"):
        text = head.decode("gb18030", "ignore")
        foreign = [c for c in text if not c.isascii()]
        common = sum("\u4e00" <= c <= "\u9fff" or "\u3000" <= c <= "\u303f" for c in foreign)
        # accented Latin letters pair up into rare characters, never into mostly common ones alone
        wide = sum(byte >= 0x80 for byte in head)
        if common > 0.9 * len(foreign) and wide > 1.9 * len(foreign):
            return "gb18030", 0
    return "cp1252", 0


def _decodes(head: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def open_regular(path: str | os.PathLike[str]) -> Any:
    """A file opened for reading bytes; InputError for what is missing, a folder or a device.

    A named pipe is read like a stream; it is opened without waiting for its writer, and one that
    nobody writes to ends at once.
    """
    try:
        handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
    except OSError as error:
        raise InputError(path, (error.strerror or str(error)).lower()) from error
    except ValueError as error:
        raise InputError(path, str(error)) from error
    mode = os.fstat(handle).st_mode
    if stat.S_ISREG(mode) or stat.S_ISFIFO(mode):
        os.set_blocking(handle, True)
        return os.fdopen(handle, "rb", buffering=0)
    os.close(handle)
    raise InputError(path, "is a folder" if stat.S_ISDIR(mode) else "is not a regular file")


def text_blocks(
    source: str | os.PathLike[str], *, encoding: str | None = None, limits: Limits = DEFAULT
) -> Iterator[list[Line]]:
    """The lines of a file or of stdin ("-"), in lists as they arrive.

    A line ends at LF or CRLF; the last one may lack its end; a blank line counts. Without
    ``encoding`` a mark, then a guess over the first 64 kB decides. A line whose bytes don't fit a
    guessed encoding is read with replacement characters; with a given encoding it is an error of
    that line. A line longer than ``limits.line_bytes`` is an error of that line and isn't kept in
    memory. InputError when the source can't be read, or the encoding is unknown.
    """
    name = os.fspath(source)
    if encoding is not None:
        try:
            encoding = codecs.lookup(encoding).name
        except LookupError:
            raise InputError(name, f"unknown encoding {encoding!r}") from None
    stdin: Any = sys.stdin.buffer
    stream = stdin.raw if name == "-" else open_regular(source)
    try:
        yield from _Reader(stream, name, encoding, limits).blocks()
    finally:
        if name != "-":
            stream.close()


class _Reader:
    """Cuts a byte stream into lines with memory for one block and one unfinished line."""

    def __init__(self, stream: Any, name: str, encoding: str | None, limits: Limits) -> None:
        self.stream, self.name, self.limits = stream, name, limits
        self.encoding = encoding
        self.strict = encoding is not None
        self.number = 0

    def blocks(self) -> Iterator[list[Line]]:
        head = self._read()
        guessed, mark = guess_encoding(head)
        if self.encoding is None:
            self.encoding = guessed
        elif codecs.lookup(guessed).name != self.encoding:
            mark = 0
        if self.encoding.startswith(("utf-16", "utf-32")):
            yield from self._wide(head[mark:])
            return
        rest, skipped = b"", 0
        block = head[mark:]
        while block:
            lines = []
            *whole, tail = block.split(b"\n")
            for piece in whole:
                lines.append(self._line(rest + piece, skipped))
                rest, skipped = b"", 0
            rest += tail
            if skipped + len(rest) > self.limits.line_bytes:
                rest, skipped = b"", skipped + len(rest)
            if lines:
                yield lines
            block = self._read()
        if rest or skipped:
            yield [self._line(rest, skipped)]

    def _read(self) -> bytes:
        try:
            return self.stream.read(BLOCK) or b""
        except OSError as error:
            raise InputError(self.name, (error.strerror or str(error)).lower()) from error

    def _line(self, data: bytes, skipped: int) -> Line:
        self.number += 1
        try:
            check(f"{self.name}:{self.number}", "line_bytes", skipped + len(data), self.limits)
        except InputError as error:
            return Line(self.number, "", error)
        if data.endswith(b"\r"):
            data = data[:-1]
        assert self.encoding is not None
        try:
            return Line(self.number, data.decode(self.encoding))
        except UnicodeDecodeError as error:
            if self.strict:
                place = f"{self.name}:{self.number}"
                reason = f"is not {self.encoding} (byte {error.start + 1} of the line)"
                return Line(self.number, "", InputError(place, reason))
            return Line(self.number, data.decode(self.encoding, "replace"))

    def _wide(self, head: bytes) -> Iterator[list[Line]]:
        """UTF-16 and UTF-32, where a line end is not one byte."""
        assert self.encoding is not None
        errors = "strict" if self.strict else "replace"
        decoder = codecs.getincrementaldecoder(self.encoding)(errors)
        rest, block = "", head
        while True:
            try:
                text = rest + decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                raise InputError(self.name, f"is not {self.encoding} ({error.reason})") from error
            *whole, rest = text.split("\n")
            lines = [self._wide_line(line) for line in whole]
            if lines:
                yield lines
            check(self.name, "line_bytes", 2 * len(rest), self.limits)
            if not block:
                break
            block = self._read()
        if rest:
            yield [self._wide_line(rest)]

    def _wide_line(self, text: str) -> Line:
        self.number += 1
        return Line(self.number, text.removesuffix("\r"))
