"""Frames of a video, by FFmpeg inside cv2."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import InputError
from cnnapps.core.limits import DEFAULT, Limits, check
from cnnapps.core.media._source import caught_stderr, cv2_reason, load_cv2, named, open_source


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a video: ``number`` from 0, time in ``seconds``, ``rgb`` (H, W, 3) uint8."""

    number: int
    seconds: float
    rgb: NDArray[np.uint8]


_VIDEO = re.compile(
    rb"....(?:ftyp|moov|mdat|wide|free|skip)|\x1aE\xdf\xa3|RIFF....AVI |FLV\x01|OggS"
    rb"|\0\0\x01[\xba\xb3]|G.{187}G|.{4}G.{191}G",
    re.DOTALL,
)


def video_frames(
    path: str | os.PathLike[str], *, limits: Limits = DEFAULT, name: object = None
) -> VideoFrames:
    """The frames of an MP4, MOV, Matroska, WebM, AVI, MPEG, FLV or Ogg video, upright.

    A file only. An MP4 or AVI that gives less than 90% of the frames that it lists is an InputError
    at the end. Playlists, which make FFmpeg open other files or addresses, are refused by content.
    """
    return VideoFrames(path, limits, name)


class VideoFrames:
    """Iterate once: Frame after Frame. Made by video_frames.

    ``fps`` is None where the file tells none, ``count`` (frames by the header) likewise.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits, name: object) -> None:
        self.source = named(path, name)
        self._limits = limits
        if os.fspath(path) == "-":
            raise InputError(self.source, "a video is read from a file, not from stdin")
        stream, _ = open_source(path, name=name)
        with stream:
            head = stream.read(400)
        if not _VIDEO.match(head):
            reason = "not a video (MP4, MOV, MKV, WebM, AVI, MPEG, FLV or OGV)"
            raise InputError(self.source, reason if head else "empty file")
        # MP4 and AVI list their frames; elsewhere the number is an estimate.
        self._counted = head[4:8] == b"ftyp" or head[8:12] == b"AVI "
        self._cv2 = load_cv2("reading video", limits)
        self._capture = self._open(os.path.abspath(path))
        fps, count, width, height = (
            self._capture.get(which)
            for which in (
                self._cv2.CAP_PROP_FPS,
                self._cv2.CAP_PROP_FRAME_COUNT,
                self._cv2.CAP_PROP_FRAME_WIDTH,
                self._cv2.CAP_PROP_FRAME_HEIGHT,
            )
        )
        self.width, self.height = int(width), int(height)
        self.fps = float(fps) if 0.01 <= fps <= 1000 else None  # false for nan
        self.count = int(count) if 0 < count < 1e12 else None
        check(self.source, "pixels", self.width * self.height, limits)
        check(self.source, "frames", self.count or 0, limits)

    def __iter__(self) -> Iterator[Frame]:
        number = 0
        try:
            while (read := self._next()) is not None:
                check(self.source, "frames", number + 1, self._limits)
                milliseconds = self._capture.get(self._cv2.CAP_PROP_POS_MSEC)
                seconds = milliseconds / 1000 if milliseconds > 0 else number / (self.fps or 25.0)
                yield Frame(number, seconds, read)
                number += 1
        finally:
            self._capture.release()
        if not number:
            raise InputError(self.source, "no frame of this video can be decoded")
        if self._counted and number < 0.9 * (self.count or 0) - 2:
            reason = f"truncated or damaged video ({number:,} of {self.count:,} frames)"
            raise InputError(self.source, reason)

    def _open(self, path: str) -> Any:
        try:
            path.encode("utf-8")
        except UnicodeEncodeError as error:
            raise InputError(self.source, "a video's name must be UTF-8: rename it") from error
        with caught_stderr():
            capture = self._cv2.VideoCapture(path, self._cv2.CAP_FFMPEG)
        if not capture.isOpened():
            raise InputError(self.source, "damaged video, or a kind of it that isn't read")
        return capture

    def _next(self) -> NDArray[np.uint8] | None:
        try:
            with caught_stderr():
                good, frame = self._capture.read()
        except (self._cv2.error, MemoryError) as error:
            raise InputError(self.source, f"can't be decoded ({cv2_reason(error)})") from error
        if not good or frame is None:
            return None
        check(self.source, "pixels", frame.shape[0] * frame.shape[1], self._limits)
        rgb: NDArray[np.uint8] = self._cv2.cvtColor(frame, self._cv2.COLOR_BGR2RGB)
        return rgb
