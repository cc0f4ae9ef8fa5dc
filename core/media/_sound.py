"""Sound in blocks: header checks, mono, resampling."""

from __future__ import annotations

import io
import os
import re
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import DependencyError, InputError, need
from cnnapps.core.limits import DEFAULT, Limits, check
from cnnapps.core.media._source import (
    Borrowed,
    Source,
    caught_stderr,
    named,
    open_source,
    read_bytes,
)


@dataclass(frozen=True, slots=True)
class Sound:
    """A recording: ``samples`` (N,) float32, mono, usually in -1 ... 1, ``rate`` a second.

    What the file held: ``source_rate``, ``channels`` (mixed by their mean), ``format``
    ("WAV PCM_16").
    """

    samples: NDArray[np.float32]
    rate: int
    source_rate: int
    channels: int
    format: str
    source: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate


_SOUND = re.compile(
    rb"(?:RIFF|RIFX|RF64)....WAVE|fLaC|OggS|ID3|\xff[\xe2\xe3\xf2-\xf7\xfa-\xff]"
    rb"|FORM....AIF[FC]|\.snd|dns\.|caff|NIST_1A",
    re.DOTALL,
)
_NO_SOUND = (
    (rb"....ftyp", "MP4 and M4A (AAC) aren't read (convert it to WAV or FLAC)"),
    (rb"\x1aE\xdf\xa3", "WebM and Matroska aren't read (convert it to WAV or FLAC)"),
    (rb"0&\xb2u|#!AMR", "WMA and AMR aren't read (convert it to WAV or FLAC)"),
)
_RATES = (2_000, 768_000)  # hertz; below there is no speech, above no recorder
_CHANNELS = 64
_LOUDEST = 2.0**31  # a float file in 32-bit integer scale; beyond, squares overflow
_SAMPLES = 1 << 20  # samples of all channels that are read at once


def read_sound(
    source: Source, *, rate: int | None = None, limits: Limits = DEFAULT, name: object = None
) -> Sound:
    """The whole recording, mono, resampled to ``rate`` (None: as it is). See sound_blocks."""
    blocks = sound_blocks(source, rate=rate, limits=limits, name=name)
    parts = list(blocks)
    samples = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return Sound(
        samples, blocks.rate, blocks.source_rate, blocks.channels, blocks.format, blocks.source
    )


def sound_blocks(
    source: Source,
    *,
    rate: int | None = None,
    limits: Limits = DEFAULT,
    name: object = None,
    seconds: float = 10.0,
) -> SoundBlocks:
    """A recording in blocks of about ``seconds``, so that hours cost no memory.

    WAV, RF64, FLAC, Ogg (Vorbis, Opus), MP3, AIFF, AU, CAF and NIST SPHERE, by content. The header
    is checked at once: rate 2,000 ... 768,000, at most 64 channels, length (``--max-seconds``), and
    that a WAV, AIFF or AU has all the samples that it claims ("truncated WAV"; one that was written
    to a pipe claims 2 or 4 GB and goes on to its end). A FLAC that is cut is noticed at its end.
    A sample that is no number, or beyond 2^31, is an InputError that tells its second. Another
    ``rate`` needs soxr.
    """
    return SoundBlocks(source, rate, limits, name, seconds)


class SoundBlocks:
    """Iterate once: float32 arrays (n,), mono at ``rate``. Made by sound_blocks.

    ``seconds`` is the length that the header tells, None where it tells none.
    """

    def __init__(
        self, source: Source, rate: int | None, limits: Limits, name: object, seconds: float
    ) -> None:
        self.source = named(source, name)
        self._limits = limits
        self._library = _soundfile()
        self._stream = _seekable(source, limits, self.source)
        try:
            self._file = self._open()
            self.source_rate, self.channels = int(self._file.samplerate), int(self._file.channels)
            self.format = f"{self._file.format} {self._file.subtype}"
            frames = int(self._file.frames)
            self._frames = frames if 0 <= frames < 1 << 62 else None
            self._check()
        except BaseException:
            self._stream.close()
            raise
        self.seconds = None if self._frames is None else self._frames / self.source_rate
        self.rate = rate or self.source_rate
        self._resample = self._resampler()
        self._size = max(1024, min(int(seconds * self.source_rate), _SAMPLES // self.channels))

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        done = 0
        with self._stream, self._file:
            while len(block := self._read()):
                samples = self._mono(block, done)
                done += len(samples)
                check(self.source, "seconds", done / self.source_rate, self._limits)
                if len(out := self._resample(samples, False)):
                    yield out
            if self._frames is not None and done < self._frames and "FLAC" in self.format:
                raise InputError(self.source, self._cut("FLAC"))
            if len(out := self._resample(np.zeros(0, np.float32), True)):
                yield out

    def _open(self) -> Any:
        head = self._stream.read(16)
        if not head:
            raise InputError(self.source, "empty file")
        if not _SOUND.match(head):
            other = (reason for magic, reason in _NO_SOUND if re.match(magic, head, re.DOTALL))
            known = "not a sound file (WAV, FLAC, Ogg, MP3, AIFF, AU, CAF or SPHERE)"
            raise InputError(self.source, next(other, known))
        self._refuse_cut(head)
        self._stream.seek(0)
        what: Any = self._stream
        if not isinstance(what, io.BytesIO):
            what = what.fileno()
            os.lseek(what, 0, os.SEEK_SET)  # libsndfile takes the descriptor where it stands
        try:
            with caught_stderr():
                return self._library.SoundFile(what, closefd=False)
        except (RuntimeError, TypeError, MemoryError) as error:
            raise InputError(self.source, _sound_reason(error)) from error

    def _refuse_cut(self, head: bytes) -> None:
        """InputError when the samples that a WAV, RF64, AIFF or AU announces are not all there."""
        size = self._stream.seek(0, os.SEEK_END)
        kind = {b"RIFF": "WAV", b"RIFX": "WAV", b"RF64": "RF64", b"FORM": "AIFF"}.get(head[:4], "")
        if head[:4] == b".snd":
            start, length = struct.unpack(">II", head[4:12])
            if start + length > size and length != 0xFFFFFFFF:
                raise InputError(self.source, self._cut("AU"))
        elif kind:
            order = "<" if head[:4] in (b"RIFF", b"RF64") else ">"
            start, length = self._data_chunk(order, size)
            if start + length > size and (length < 0x7FFF0000 or kind == "RF64"):
                raise InputError(self.source, self._cut(kind))
            if not length and start + 8 <= size and not self._at(start, 4).strip().isalnum():
                reason = f"a {kind} that was never closed: it claims no samples (convert it anew)"
                raise InputError(self.source, reason)

    def _data_chunk(self, order: str, size: int) -> tuple[int, int]:
        """Where the samples begin and how many bytes they are; (size, 0) if there are none."""
        at, long = 12, 0
        for _ in range(10_000):
            if at + 8 > size:
                break
            name, length = struct.unpack(order + "4sI", self._at(at, 8))
            if name == b"ds64" and at + 24 <= size:  # the lengths of an RF64
                long = struct.unpack("<Q", self._at(at + 16, 8))[0]
            if name in (b"data", b"SSND"):
                return at + 8, long if length == 0xFFFFFFFF and long else length
            at += 8 + length + (length & 1)
        return size, 0

    def _at(self, start: int, length: int) -> bytes:
        self._stream.seek(start)
        return self._stream.read(length)

    def _cut(self, kind: str) -> str:
        return f"truncated {kind} (ends at byte {self._stream.seek(0, os.SEEK_END)})"

    def _check(self) -> None:
        low, high = _RATES
        if not low <= self.source_rate <= high:
            reason = f"a sample rate of {self.source_rate:,} Hz isn't read ({low:,} to {high:,})"
            raise InputError(self.source, reason)
        if not 1 <= self.channels <= _CHANNELS:
            raise InputError(self.source, f"{self.channels:,} channels, at most {_CHANNELS}")
        if self._frames is not None:
            check(self.source, "seconds", self._frames / self.source_rate, self._limits)

    def _read(self) -> NDArray[np.float32]:
        """(n, channels); n = 0 at the end."""
        try:
            with caught_stderr():
                block: NDArray[np.float32] = self._file.read(
                    self._size, dtype="float32", always_2d=True
                )
        except (RuntimeError, MemoryError) as error:
            raise InputError(self.source, _sound_reason(error)) from error
        return block

    def _mono(self, block: NDArray[np.float32], done: int) -> NDArray[np.float32]:
        with np.errstate(invalid="ignore"):
            bad = ~(np.abs(block) <= _LOUDEST)  # also true for nan
        if bad.any():
            row, channel = (int(v) for v in np.argwhere(bad)[0])
            place = f"{(done + row) / self.source_rate:.3f} s"
            reason = f"the sample at {place} is {block[row, channel]:g}, not a sound"
            raise InputError(self.source, reason)
        return block[:, 0] if self.channels == 1 else block.mean(axis=1, dtype=np.float32)

    def _resampler(self) -> Callable[[NDArray[np.float32], bool], NDArray[np.float32]]:
        if self.rate == self.source_rate:
            return lambda samples, last: samples
        purpose = f"resampling from {self.source_rate:,} to {self.rate:,} Hz"
        soxr = need("soxr", purpose)
        stream = soxr.ResampleStream(self.source_rate, self.rate, 1, dtype="float32")
        return lambda samples, last: stream.resample_chunk(samples, last=last)


def _soundfile() -> Any:
    try:
        return need("soundfile", "reading sound")
    except OSError as error:  # the module is there, libsndfile is not
        remedy = "pip install soundfile, on Debian also apt-get install libsndfile1"
        raise DependencyError("reading sound needs libsndfile", remedy) from error


def _seekable(source: Source, limits: Limits, called: str) -> BinaryIO:
    """A file of its own, or the bytes of a stream: libsndfile seeks."""
    stream, _ = open_source(source, name=called)
    if isinstance(stream, io.BytesIO) or (
        not isinstance(stream, Borrowed) and stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    ):
        return stream
    stream.close()
    return io.BytesIO(read_bytes(source, limits=limits, name=called))


def _sound_reason(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "can't be decoded (out of memory)"
    reason = getattr(error, "error_string", "") or str(error)
    if "not a regular file" in reason:  # what libsndfile says of a few bytes of MP3
        reason = "too short"
    return f"damaged or truncated sound file ({reason.strip().rstrip('.').lower()})"
