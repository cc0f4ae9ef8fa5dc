"""Lines of text as they arrive, in whatever encoding."""

from __future__ import annotations

import codecs
import io
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from typing import Any, BinaryIO, NamedTuple, cast

from cnnapps.core.charset import decode, known
from cnnapps.core.encoding import MARKS, marked, unmarked_utf16
from cnnapps.core.errors import InputError
from cnnapps.core.limits import DEFAULT, Limits, check
from cnnapps.core.media._packed import DAMAGED, PACKERS, unpacker
from cnnapps.core.media._source import BLOCK, Read, Source, open_source, reader, with_first
from cnnapps.core.progress import warn


class Line(NamedTuple):
    """One line of text without its end, numbered from 1; ``error`` where it was too long."""

    number: int
    text: str
    error: InputError | None = None


_NO_TEXT = (
    (b"\x89PNG\r\n", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"PK\x03\x04", "a zip archive (or an office document)"),
    (b"%PDF-", "a PDF document"),
    (b"\x7fELF", "a program"),
)


def text_blocks(
    source: Source | BinaryIO,
    *,
    encoding: str | None = None,
    limits: Limits = DEFAULT,
    name: object = None,
) -> Iterator[list[Line]]:
    """Lines in the lists in which they arrive: a pipe's line is there before the next is written.

    A line ends at LF or CRLF, never at a lone CR; a blank line counts, and so does a last line
    without an end. NUL is a character. A line longer than ``limits.line_bytes``
    (``--max-line-bytes``) is a Line with a LimitError; it is skipped without being kept.

    The encoding is ``encoding``, else what a byte order mark says, else UTF-16 where every other
    byte of a file's first block is 0, else UTF-8. If a line is not UTF-8, it is decided once what
    this source is: from the block of 64 KiB around that line (of a pipe, where blocks depend on
    chance, from that line alone).

    - UTF-8 with damage, if other lines are good UTF-8 with more than ASCII in them (a line whose
      odd bytes all stand alone came from elsewhere and is read as Windows-1252);
    - else what charset.py finds most probable: an encoding of East Asia then holds for all lines
      from there on (two Chinese characters can look like UTF-8), one with a byte a character for
      the lines that aren't UTF-8 (Latin-1 for Windows-1252 where that has no character).

    A line on stderr says what was decided, and one that carriage returns end no line, where there
    are more of them than of lines.

    Bytes that fit no character become U+FFFD: the number of lines never changes, and what was
    damaged can be seen. gzip, xz and bzip2 are unpacked; InputError for other files that are known
    to hold no text (pictures, archives, PDF).
    """
    if encoding is not None:
        encoding = known(encoding)
    if isinstance(source, str | os.PathLike | bytes | bytearray | memoryview):
        stream, called = open_source(source, name=name)
        return _closing(stream, _text_blocks(stream, encoding, limits, called))
    called = str(name if name is not None else getattr(source, "name", "stream"))
    return _text_blocks(source, encoding, limits, called)


def refuse_no_text(head: bytes, called: str) -> None:
    """InputError if a file that begins with ``head`` is known to hold no text."""
    for magic, what in _NO_TEXT:
        if head.startswith(magic):
            raise InputError(called, f"is {what}, not text")


def _closing(stream: BinaryIO, blocks: Iterator[list[Line]]) -> Iterator[list[Line]]:
    with stream:
        yield from blocks


def _text_blocks(
    stream: BinaryIO, encoding: str | None, limits: Limits, called: str
) -> Iterator[list[Line]]:
    read = reader(stream, called)
    first = _first(read)
    opener = unpacker(first)
    if opener is not None:
        read = _unpacked(with_first(first, read), opener, called)
        first = _first(read)
    refuse_no_text(first, called)
    codec, mark = marked(first, encoding or "")
    first, encoding = first[mark:], codec or None
    if encoding is None and _is_file(stream):  # a pipe's first block may be any part of a line
        encoding = unmarked_utf16(first)
    read = with_first(first, read)
    if encoding is not None and not _splits_at_lf(encoding):
        read, encoding = _as_utf8(read, encoding, called), "utf-8"
    decoder = _Decoder(encoding, _is_file(stream), called)
    number = 1
    for chunk in _chunks(read, limits):
        if isinstance(chunk, int):
            lines = [Line(number, "", _too_long(called, number, chunk, limits))]
        elif len(chunk) > limits.line_bytes:
            lines = _checked(decoder.texts(chunk), chunk, number, called, limits)
        else:
            texts = decoder.texts(chunk)
            fields = zip(itertools.count(number), texts, itertools.repeat(None))
            lines = list(map(Line._make, fields))
        number += len(lines)
        yield lines


def _first(read: Read) -> bytes:
    """The first bytes; a mark that tells what they are may arrive in parts."""
    first = read()
    marks = [mark for mark, _ in (*MARKS, *PACKERS, *_NO_TEXT)]
    while first and any(mark.startswith(first) and mark != first for mark in marks):
        more = read()
        if not more:
            break
        first += more
    return first


class _Arriving(io.RawIOBase):
    """What ``read`` gives as a raw stream, for those who unpack it."""

    def __init__(self, read: Read) -> None:
        super().__init__()
        self._read, self._left = read, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self._left or self._read()
        count = min(len(data), len(buffer))
        buffer[:count], self._left = data[:count], data[count:]
        return count


def _unpacked(read: Read, opener: Callable[[BinaryIO], BinaryIO], called: str) -> Read:
    """The stream without its packing, a block at a time."""
    stream: Any = opener(cast(BinaryIO, io.BufferedReader(_Arriving(read))))

    def unpacked(size: int = BLOCK, /) -> bytes:
        try:
            return bytes(stream.read1(size))
        except DAMAGED as error:
            raise InputError(called, f"can't be unpacked ({error})") from error

    return unpacked


def _splits_at_lf(encoding: str) -> bool:
    """Whether a line end is the byte 0A and nothing else is: not so in UTF-16 or EBCDIC."""
    return "\n".encode(encoding) == b"\n" and not encoding.startswith(("utf-7", "iso2022", "hz"))


def _as_utf8(read: Read, encoding: str, called: str) -> Read:
    """The stream of another encoding as UTF-8; units that are no character become U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    ended = warned = False

    def recoded(size: int = BLOCK, /) -> bytes:
        nonlocal ended, warned
        while not ended:
            data = read(size)
            ended = not data
            text = decoder.decode(data, final=ended)
            if "\ufffd" in text and not warned:
                warned = True
                _warn_of_bytes(called, encoding)
            if text:
                return text.encode("utf-8", "replace")
        return b""

    return recoded


def _warn_of_bytes(called: str, encoding: str) -> None:
    name = encoding.upper() if encoding.startswith("utf") else encoding
    warn(f"{called}: some bytes are not {name}")


def _is_file(stream: BinaryIO) -> bool:
    if isinstance(stream, io.BytesIO):
        return True
    try:
        return stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, AttributeError, ValueError):
        return False


def _chunks(read: Read, limits: Limits) -> Iterator[bytes | int]:
    """Whole lines as bytes; the last one may lack its end. A number: a line of so many bytes.

    At most ``line_bytes`` and a block are held. A line that is longer than a whole file may be
    (``limits.bytes``) ends the reading: /dev/zero would never.
    """
    parts: list[bytes] = []
    held = skipped = 0
    while data := read():
        if skipped:
            end = data.find(b"\n")
            if end < 0:
                skipped += len(data)
                if skipped > limits.bytes:
                    break
                continue
            yield skipped + end
            data, skipped = data[end + 1 :], 0
        cut = data.rfind(b"\n") + 1
        if cut:
            yield b"".join([*parts, data[:cut]])
            parts, held, data = [], 0, data[cut:]
        if data:
            parts.append(data)
            held += len(data)
        if held > limits.line_bytes:
            parts, held, skipped = [], 0, held
    if skipped:
        yield skipped
    elif parts:
        yield b"".join(parts)


def _too_long(called: str, number: int, size: int, limits: Limits) -> InputError | None:
    try:
        check(f"{called}, line {number}", "line_bytes", size, limits)
    except InputError as error:
        return error
    return None


def _checked(
    texts: Sequence[str], chunk: bytes, number: int, called: str, limits: Limits
) -> list[Line]:
    """The lines of a chunk that is longer than a line may be: each is measured."""
    lines = []
    for i, (text, raw) in enumerate(zip(texts, _split(chunk), strict=True), start=number):
        error = _too_long(called, i, len(raw), limits)
        lines.append(Line(i, "" if error else text, error))
    return lines


def _split(chunk: bytes) -> list[bytes]:
    """The lines of a chunk without their ends."""
    lines = chunk.split(b"\n")
    last = lines.pop()
    lines = [line[:-1] if line.endswith(b"\r") else line for line in lines]
    return [*lines, last] if last else lines


class _Decoder:
    """Chunks of whole lines to texts; remembers what the source turned out to be."""

    def __init__(self, encoding: str | None, is_file: bool, called: str) -> None:
        self._called = called
        self._whole = encoding  # how every line is read, once that is known
        self._single = ""  # how a line is read that is not UTF-8
        self._is_file = is_file
        self._seen = False  # UTF-8 with more than ASCII in it
        self._told = False  # that carriage returns end no line
        self._warned = False  # that bytes are not what all lines are

    def texts(self, chunk: bytes) -> list[str]:
        if not self._told and chunk.count(b"\r") - chunk.count(b"\r\n") > chunk.count(b"\n"):
            self._told = True
            warn(f"{self._called}: carriage returns (old Mac's line ends) end no line here")
        text = self._all_at_once(chunk)
        if text is None:
            return [self._line(line) for line in _split(chunk)]
        self._seen = self._seen or not text.isascii()
        if "\r" in text:
            text = text.replace("\r\n", "\n")
        texts = text.split("\n")
        if not texts[-1]:
            texts.pop()
        return texts

    def _all_at_once(self, chunk: bytes) -> str | None:
        """The chunk as text if all its lines can be read alike: many times faster."""
        try:
            return chunk.decode(self._whole or "utf-8")
        except UnicodeDecodeError:
            pass
        if self._whole:
            return None
        if self._is_file and not self._single:
            self._decide(_split(chunk))
            return self._all_at_once(chunk)
        if self._single not in ("", "utf-8") and not _MAYBE_UTF8.search(chunk):
            return chunk.decode(self._single, "replace")
        return None

    def _line(self, line: bytes) -> str:
        if self._whole:
            return self._replaced(line)
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError:
            if not self._single:
                self._decide([line])
            if self._single == "utf-8" and not _DAMAGED_UTF8.search(line):
                return line.decode("cp1252", "replace")
            return line.decode(self._whole or self._single, "replace")
        self._seen = self._seen or not text.isascii()
        return text

    def _replaced(self, line: bytes) -> str:
        """The line as what all lines are: what is no character becomes U+FFFD."""
        assert self._whole is not None
        if not self._warned:
            try:
                return line.decode(self._whole)
            except UnicodeDecodeError:
                self._warned = True
                _warn_of_bytes(self._called, self._whole)
        return line.decode(self._whole, "replace")

    def _decide(self, lines: list[bytes]) -> None:
        bad = [line for line in lines if not _is_utf8(line)]
        good = sum(1 for line in lines if not line.isascii()) - len(bad)
        together = b"\n".join(bad)
        found = "utf-8"
        if not self._seen and good < len(bad):
            found = decode(together, prose=True).encoding
        if found.startswith("utf"):
            self._single = "utf-8"
            _warn_of_bytes(self._called, "utf-8")
            return
        if found == "cp1252" and _NOT_1252.search(together):
            found = "latin-1"
        if found in _EAST_ASIA:
            self._whole = found
        else:
            self._single = found
        warn(f"{self._called}: not UTF-8, read as {found} (--encoding NAME where that is wrong)")


_DAMAGED_UTF8 = re.compile(rb"[\x80-\xff]{2}|[\xc2-\xf4]\Z")  # two in a row, or cut at the end
_MAYBE_UTF8 = re.compile(rb"[\xc2-\xf4][\x80-\xbf]")
_NOT_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
_EAST_ASIA = ("gb18030", "cp932", "cp949", "cp950", "euc_jp")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
