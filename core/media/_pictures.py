"""Pictures: decoding, 16 bits, transparency, orientation, writing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import InputError, LimitError
from cnnapps.core.files import write_bytes
from cnnapps.core.limits import DEFAULT, Limits, check
from cnnapps.core.media._headers import Header, parse_header, parsed, tiff_page, tiff_pages
from cnnapps.core.media._source import (
    Source,
    because,
    caught_stderr,
    cv2_reason,
    load_cv2,
    named,
    read_bytes,
)

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture, upright.

    ``rgb`` (H, W, 3) uint8 in RGB order, alpha already blended over the background. ``alpha``
    (H, W) uint8, None where the picture is opaque. What the file held: ``format`` ("PNG"), ``mode``
    ("L", "RGB", "RGBA", "P", "CMYK" ...), ``bits`` per sample, ``frames`` (animation or pages),
    ``orientation`` (EXIF, 1 ... 8; it has been applied).
    """

    rgb: Pixels
    alpha: Pixels | None
    format: str
    mode: str
    bits: int
    frames: int
    orientation: int
    source: str

    @property
    def width(self) -> int:
        return int(self.rgb.shape[1])

    @property
    def height(self) -> int:
        return int(self.rgb.shape[0])


def read_picture(
    source: Source,
    *,
    limits: Limits = DEFAULT,
    name: object = None,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Picture:
    """Decode a PNG, JPEG, GIF, BMP, WebP, TIFF or PNM picture (by content, not by suffix).

    The first frame of an animation or a document. EXIF orientation is applied once. 16-bit samples
    are scaled by their range: 65535, or 4095 for twelve bits in sixteen (8, 10, 12, 14 likewise);
    PNM states its own. Transparent parts show ``background``. CMYK becomes RGB without a colour
    profile. Raises InputError (not a picture, truncated, damaged, a variant that isn't read) and
    LimitError (``--max-bytes``, ``--max-pixels``, ``--max-frames``).
    """
    data, called = read_bytes(source, limits=limits, name=name), named(source, name)
    return _picture(parse_header(data, called, limits), called, limits, background)


def read_pages(
    source: Source,
    *,
    limits: Limits = DEFAULT,
    name: object = None,
    background: tuple[int, int, int] = (255, 255, 255),
) -> Iterator[Picture]:
    """The pages of a TIFF one by one; of any other picture the first frame, as read_picture."""
    data, called = read_bytes(source, limits=limits, name=name), named(source, name)
    first = parse_header(data, called, limits)
    if first.format != "TIFF":
        yield _picture(first, called, limits, background)
        return
    buffer = bytearray(data)
    for page, offset in enumerate(tiff_pages(data), start=1):
        place = f"{called}, page {page}" if first.frames > 1 else called
        header = parsed(partial(tiff_page, buffer, offset), "TIFF", len(data), place)
        header = replace(header, frames=first.frames)
        yield _picture(header, place, limits, background)


def write_picture(path: str | os.PathLike[str], pixels: Pixels, *, quality: int = 92) -> None:
    """Write a PNG or JPEG (by suffix), whole or not at all.

    ``pixels`` uint8: (H, W) grey, (H, W, 3) RGB, for PNG also (H, W, 4) RGBA.
    ``quality`` is JPEG's, 1 ... 100.
    """
    suffix = Path(path).suffix.lower()
    channels = 1 if pixels.ndim == 2 else pixels.shape[2] if pixels.ndim == 3 else 0
    if pixels.dtype != np.uint8 or channels not in (1, 3, 4) or pixels.size == 0:
        raise TypeError(f"not a picture: {pixels.dtype} {pixels.shape}")
    if suffix not in (".png", ".jpg", ".jpeg"):
        raise InputError(path, "pictures are written as .png or .jpg")
    if suffix != ".png" and channels == 4:
        raise InputError(path, "JPEG has no transparency; write a .png")
    cv2 = load_cv2("writing pictures", DEFAULT)
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    array = cv2.cvtColor(pixels, swap[channels]) if channels in swap else pixels
    options = [] if suffix == ".png" else [cv2.IMWRITE_JPEG_QUALITY, quality]
    with caught_stderr():
        try:
            done, data = cv2.imencode(suffix, array, options)
        except cv2.error as error:
            raise InputError(path, f"can't be written as {suffix} ({error.err})") from error
    if not done:
        raise InputError(path, f"{pixels.shape[1]} x {pixels.shape[0]} is too large for {suffix}")
    try:
        write_bytes(path, data.data)
    except OSError as error:
        raise InputError(path, f"can't be written: {because(error)}") from error


def _picture(
    header: Header, called: str, limits: Limits, background: tuple[int, int, int]
) -> Picture:
    _check_pixels(header, called, limits)
    cv2 = load_cv2("reading pictures", limits)
    try:
        raw = _decoded(cv2, header, called)
        white = header.top or _white(raw)
        alpha = _alpha(cv2, raw, header, white)
        rgb = _rgb(cv2, raw, header, white)
        del raw
        if alpha is not None:
            _blend(rgb, alpha, background, premultiplied=header.alpha == "premultiplied")
            alpha = _upright(cv2, alpha, header.orientation)
        rgb = _upright(cv2, rgb, header.orientation)
    except (MemoryError, cv2.error) as error:
        raise InputError(called, f"can't be decoded ({cv2_reason(error)})") from error
    return Picture(
        rgb,
        alpha,
        header.format,
        header.mode,
        header.bits,
        header.frames,
        header.orientation,
        called,
    )


def _check_pixels(header: Header, called: str, limits: Limits) -> None:
    """LimitError before anything is decoded. Samples of two bytes count double: it is about memory.

    At the default limit a picture takes 0.6 GB while it is decoded (cv2 holds it twice), one with
    transparency 0.8 GB.
    """
    pixels = header.width * header.height
    if header.bits > 8 and pixels <= limits.pixels < 2 * pixels:
        allowed = f"{pixels:,} pixels of {header.bits} bits, at most {limits.pixels // 2:,}"
        raise LimitError(called, allowed, "--max-pixels")
    check(called, "pixels", pixels, limits)


def _decoded(cv2: Any, header: Header, called: str) -> NDArray[Any]:
    """(H, W), (H, W, 3) BGR or (H, W, 4) BGRA, uint8 or uint16, as the file has it."""
    flags = cv2.IMREAD_UNCHANGED
    if header.colour:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
    data = header.data
    if header.format == "PNM":
        data = (
            bytes(data) + b"\n"
        )  # opencv wants white space behind the last number, the format doesn't
    with caught_stderr() as noise:
        raw = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    if header.format == "JPEG" and b"remature end" in noise:
        raise InputError(called, "damaged JPEG (its data ends before the picture does)")
    if raw is None:
        raise InputError(called, f"damaged {header.format}, or a kind of it that isn't read")
    if raw.shape[:2] != (header.height, header.width) or raw.dtype not in (np.uint8, np.uint16):
        raise InputError(called, f"damaged {header.format} (not what its header says)")
    return raw


def _white(raw: NDArray[Any]) -> float:
    """The value of full brightness: 255, or of 16-bit samples 65535 or less if few bits are used.

    Scanners and cameras store 8, 10, 12 or 14 bits in sixteen.
    """
    if raw.dtype == np.uint8:
        return 255.0
    most = int((raw if raw.ndim == 2 else raw[..., :3]).max())
    if raw.ndim == 3 and raw.shape[2] == 4 and int(raw[..., 3].min()) < int(raw[..., 3].max()):
        most = max(most, int(raw[..., 3].max()))  # a plain "opaque" may be 65535 for any range
    return float(next(top for top in (255, 1023, 4095, 16383, 65535) if most <= top))


def _alpha(cv2: Any, raw: NDArray[Any], header: Header, white: float) -> Pixels | None:
    """The alpha plane (H, W) uint8, None if all is opaque. A key is one grey value without ink."""
    if header.key is not None and raw.ndim == 2:
        key = header.key * (255 // ((1 << header.bits) - 1)) if header.bits < 8 else header.key
        alpha = np.where(raw == key, np.uint8(0), np.uint8(255))
    elif raw.ndim == 3 and raw.shape[2] == 4 and header.alpha != "none":
        alpha = cv2.extractChannel(raw, 3)
        if alpha.dtype != np.uint8:
            full = white if int(alpha.max()) <= white else 65535.0
            alpha = cv2.convertScaleAbs(alpha, alpha=255.0 / full)
    else:
        return None
    return None if int(alpha.min()) == 255 else alpha


def _rgb(cv2: Any, raw: NDArray[Any], header: Header, white: float) -> Pixels:
    """(H, W, 3) uint8 in RGB order, a strip at a time; in place where that is possible."""
    channels = 1 if raw.ndim == 2 else raw.shape[2]
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    in_place = channels == 3 and raw.dtype == np.uint8
    rgb: Pixels = raw if in_place else np.empty((*raw.shape[:2], 3), np.uint8)
    for rows in _strips(raw):
        part = raw[rows]
        if raw.dtype != np.uint8 or white != 255:
            part = cv2.convertScaleAbs(part, alpha=255.0 / white)
        if header.inverted:
            part = cv2.bitwise_not(part)
        rgb[rows] = cv2.cvtColor(part, code)
    return rgb


def _strips(pixels: NDArray[Any]) -> Iterator[slice]:
    """Slices of rows of about a million pixels: temporary arrays stay small."""
    height, width = pixels.shape[:2]
    step = max(1, (1 << 20) // width)
    return (slice(top, top + step) for top in range(0, height, step))


def _blend(
    rgb: Pixels, alpha: Pixels, background: tuple[int, int, int], *, premultiplied: bool
) -> None:
    """Lay the picture over the background, in place."""
    behind = np.array(background, np.uint16)
    for rows in _strips(rgb):
        a = alpha[rows, :, None].astype(np.uint16)
        front = np.minimum(rgb[rows], a) * np.uint16(255) if premultiplied else rgb[rows] * a
        front += behind * (255 - a)
        front += 128  # x / 255 rounded is (y + (y >> 8)) >> 8 with y = x + 128
        rgb[rows] = (front + (front >> 8)) >> 8


def _upright(cv2: Any, pixels: Pixels, orientation: int) -> Pixels:
    """Apply an EXIF orientation (CIPA DC-008, tag Orientation)."""
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    flips = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}  # cv2: 1 left-right, 0 top-bottom, -1 both
    if orientation in flips:
        pixels = cv2.flip(pixels, flips[orientation])
    return pixels
