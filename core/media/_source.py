"""Opening what a user names: regular files, stdin, bytes; and catching what C libraries print."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, Protocol, cast

from cnnapps.core.errors import InputError, need
from cnnapps.core.limits import DEFAULT, Limits, check

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, ``"-"`` for stdin, or the bytes themselves."""

BLOCK = 65_536  # bytes that are asked for at once


def open_source(source: Source, *, name: object = None) -> tuple[BinaryIO, str]:
    """A binary stream over ``source`` and what error messages call it.

    Regular files, stdin, open descriptors (``/dev/stdin``, ``/dev/fd/3``: what a shell makes of
    ``<(command)``) and bytes. InputError for what isn't there, can't be opened or isn't a file.
    """
    called = named(source, name)
    if isinstance(source, bytes | bytearray | memoryview):
        return io.BytesIO(source), called
    path = os.fspath(source)
    if path == "-":
        stream = getattr(sys.stdin, "buffer", None)
        if stream is None or stream.closed:
            raise InputError(called, "stdin is closed")
        return cast(BinaryIO, Borrowed(stream)), called
    if not path:
        raise InputError("", "an empty file name")
    try:
        _refuse_special(os.stat(path), path, called)  # before opening: that alone moves some tapes
        flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
        if not _is_descriptor(path):
            flags |= getattr(os, "O_NONBLOCK", 0)  # it may have become a pipe since
        handle = os.open(path, flags)
        file = os.fdopen(handle, "rb")
        try:
            _refuse_special(os.fstat(handle), path, called)
        except BaseException:
            file.close()
            raise
        return file, called
    except OSError as error:
        raise InputError(called, because(error)) from error
    except ValueError as error:  # a NUL in the name
        raise InputError(called, "not a possible file name") from error


def read_bytes(source: Source, *, limits: Limits = DEFAULT, name: object = None) -> bytes:
    """All bytes of ``source``; LimitError beyond ``limits.bytes`` (``--max-bytes``)."""
    stream, called = open_source(source, name=name)
    with stream:
        try:
            size = os.fstat(stream.fileno()).st_size
        except (OSError, AttributeError, io.UnsupportedOperation):
            size = 0
        check(called, "bytes", size, limits)
        read, parts, total = reader(stream, called), [], 0
        while data := read(max(size + 1, BLOCK)):  # a file can grow, and /proc files say 0
            parts.append(data)
            total += len(data)
            check(called, "bytes", total, limits)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def named(source: Source, name: object) -> str:
    if name is not None:
        return str(name)
    return "bytes" if isinstance(source, bytes | bytearray | memoryview) else os.fspath(source)


class Borrowed(io.BufferedIOBase):
    """stdin, of which we close only our view."""

    def __init__(self, stream: Any) -> None:
        super().__init__()
        self._stream = stream

    @property
    def raw(self) -> Any:
        return getattr(self._stream, "raw", None)

    def fileno(self) -> int:
        return int(self._stream.fileno())

    def read(self, size: int | None = -1, /) -> Any:
        return self._stream.read(size)

    def read1(self, size: int = -1, /) -> Any:
        return self._stream.read1(size)


def _is_descriptor(path: str) -> bool:
    return path == "/dev/stdin" or path.startswith(("/dev/fd/", "/proc/self/fd/"))


def _refuse_special(info: os.stat_result, path: str, called: str) -> None:
    mode = info.st_mode
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise InputError(called, "is a folder")
    if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode):
        if _is_descriptor(path):
            return
        raise InputError(called, "is a named pipe or socket (redirect it to stdin and give -)")
    raise InputError(called, "is a device, not a file")


def because(error: OSError) -> str:
    known = {errno.ENOENT: "no such file", errno.ENOTDIR: "no such file"}
    text = known.get(error.errno or 0) or error.strerror or str(error)
    return text[:1].lower() + text[1:]


_STDERR = threading.Lock()


@contextlib.contextmanager
def caught_stderr() -> Iterator[bytearray]:
    """Catch what C libraries write to descriptor 2 meanwhile; the bytes are there at the end.

    libjpeg says nowhere else that the data ended too early. A pipe that doesn't block keeps the
    first 64 kB and drops the rest, so that a file with a million faults costs no memory. One
    decoder at a time: the descriptor belongs to the whole process.
    """
    noise = bytearray()
    with _STDERR:
        try:
            saved = os.dup(2)
        except OSError:  # closed: nobody can be disturbed, and nothing can be learned
            yield noise
            return
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stderr.flush()
        reader, writer = os.pipe()
        os.set_blocking(writer, False)
        os.set_blocking(reader, False)
        os.dup2(writer, 2)
        os.close(writer)
        try:
            yield noise
        finally:
            os.dup2(saved, 2)
            os.close(saved)
            with contextlib.suppress(BlockingIOError):
                noise += os.read(reader, BLOCK)
            os.close(reader)


def load_cv2(purpose: str, limits: Limits) -> Any:
    if "cv2" not in sys.modules:  # read by cv2 when it is loaded; a caller's own settings stay
        os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(max(limits.pixels, 1 << 30)))
        os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")
        os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    return need("cv2", purpose)


class Read(Protocol):
    """Waits for some bytes, at most ``size``, but not for so many; b"" at the end."""

    def __call__(self, size: int = BLOCK, /) -> bytes: ...


def reader(stream: BinaryIO, called: str) -> Read:
    """How to read ``stream`` as its bytes arrive. InputError when that fails."""
    one: Callable[[int], bytes | None] = getattr(stream, "read1", stream.read)
    raw = getattr(stream, "raw", None)

    def read(size: int = BLOCK, /) -> bytes:
        while True:
            try:
                data = one(size)
                if data == b"" and not _blocks(stream):  # read1 says so when it would block, too
                    data = raw.read(size) if raw is not None else data
            except BlockingIOError:
                data = None
            except OSError as error:
                raise InputError(called, because(error)) from error
            if data is not None:
                return data
            select.select([stream], [], [])  # somebody made this descriptor non-blocking

    return read


def _blocks(stream: BinaryIO) -> bool:
    try:
        return os.get_blocking(stream.fileno())
    except (OSError, AttributeError, ValueError):
        return True


def with_first(first: bytes, read: Read) -> Read:
    """The same stream with ``first`` put back before it."""
    held = [first] if first else []
    return lambda size=BLOCK, /: held.pop() if held else read(size)


def cv2_reason(error: Exception) -> str:
    if isinstance(error, MemoryError) or getattr(error, "code", 0) == -4:
        return "out of memory"
    return str(getattr(error, "err", "") or error).strip().splitlines()[0][:120]
