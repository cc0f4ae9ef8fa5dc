"""core/media: pictures, sound, video, text and inputs, good, odd, broken and hostile.

Every file is made here, with numpy, Pillow, cv2 and soundfile, or byte by byte. What costs time or
memory when it goes wrong runs in a process with limits: ``python test_media.py KIND N SEED`` is the
mutation bench of one format.
"""

from __future__ import annotations

import io
import json
import os
import random
import resource
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from cnnapps.core.encoding import unmarked_utf16
from cnnapps.core.errors import CnnappsError, InputError, LimitError
from cnnapps.core.limits import Limits
from cnnapps.core.media import (
    PICTURES,
    Line,
    expand_inputs,
    open_source,
    read_bytes,
    read_pages,
    read_picture,
    read_sound,
    sound_blocks,
    text_blocks,
    video_frames,
    write_picture,
)
from cnnapps.tests.mutate import mutants

RNG = np.random.default_rng(20240601)
PHOTO = np.kron(RNG.integers(0, 256, (6, 8, 3)), np.ones((8, 8, 1), np.int64)).astype(np.uint8)
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


# ru_maxrss of a new process begins with the peak of the one that started it; VmHWM does not.
PEAK = (
    "peak = lambda: int(next(line.split()[1] for line in open('/proc/self/status') "
    "if line.startswith('VmHWM')))\n"
)
"""Source of ``peak()``: kB of memory that the process has needed at most."""


def run(code: str, *args: str, stdin: bytes | None = None, **more: Any) -> Any:
    """A fresh Python process: (returncode, stdout, stderr) of ``code``."""
    return subprocess.run(
        [sys.executable, "-c", code, *args], input=stdin, capture_output=True, timeout=120, **more
    )


# ------------------------------------------------------------------------------ making the pictures


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(
    samples: np.ndarray, bits: int, colour: int, *, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG of samples (H, W, channels) of any depth: our own few lines, as an oracle."""
    height, width = samples.shape[:2]
    if bits == 16:
        rows = samples.astype(">u2").reshape(height, -1).view(np.uint8)
    elif bits == 8:
        rows = samples.astype(np.uint8).reshape(height, -1)
    else:
        ones = (samples.reshape(height, -1, 1) >> np.arange(bits - 1, -1, -1)) & 1
        rows = np.packbits(ones.reshape(height, -1).astype(np.uint8), axis=1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    body = chunk(b"IHDR", head) + before + chunk(b"IDAT", zlib.compress(raw)) + after
    return b"\x89PNG\r\n\x1a\n" + body + chunk(b"IEND", b"")


def tiff(
    data: bytes, width: int, height: int, bits: int, kind: int, channels: int, **tags: Any
) -> bytes:
    """An uncompressed TIFF of one strip; ``t274=(3, 6)`` adds tag 274 of type SHORT."""
    fields: dict[int, tuple[int, Any]] = {
        256: (3, width),
        257: (3, height),
        258: (3, (bits,) * channels),
        259: (3, 1),
        262: (3, kind),
        273: (4, 8),
        277: (3, channels),
        278: (3, height),
        279: (4, len(data)),
    }
    fields.update({int(name[1:]): value for name, value in tags.items()})
    at = 8 + len(data)
    beyond = at + 2 + 12 * len(fields) + 4
    entries, values = b"", b""
    for tag, (code, value) in sorted(fields.items()):
        numbers = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(numbers)}{ {3: 'H', 4: 'I'}[code] }", *numbers)
        if len(packed) > 4:
            values, packed = values + packed, struct.pack("<I", beyond + len(values))
        entries += struct.pack("<HHI", tag, code, len(numbers)) + packed.ljust(4, b"\0")
    head = b"II*\0" + struct.pack("<I", at)
    return head + data + struct.pack("<H", len(fields)) + entries + bytes(4) + values


def pillow(pixels: np.ndarray, form: str, mode: str = "", **options: Any) -> bytes:
    """Encoded by Pillow, an implementation that shares no code with ours."""
    image = pytest.importorskip("PIL.Image").fromarray(pixels)
    file = io.BytesIO()
    (image.convert(mode) if mode else image).save(file, form, **options)
    return file.getvalue()


def seen_by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(pytest.importorskip("PIL.Image").open(io.BytesIO(data)).convert("RGB"))


def whole_pictures() -> dict[str, bytes]:
    """One good file of each format."""
    height, width = PHOTO.shape[:2]
    return {
        "PNG": png(PHOTO, 8, 2),
        "JPEG": pillow(PHOTO, "JPEG", quality=90),
        "GIF": pillow(PHOTO, "GIF", "P"),
        "BMP": pillow(PHOTO, "BMP"),
        "WebP": pillow(PHOTO, "WEBP"),
        "TIFF": tiff(PHOTO.tobytes(), width, height, 8, 2, 3),
        "PNM": b"P6\n%d %d\n255\n" % (width, height) + PHOTO.tobytes(),
    }


# ---------------------------------------------------------------------------------------- pictures


def test_every_format_gives_the_same_picture() -> None:
    for kind, data in whole_pictures().items():
        picture = read_picture(data)
        assert picture.format == kind
        assert picture.rgb.shape == PHOTO.shape
        assert picture.rgb.dtype == np.uint8
        assert picture.rgb.flags.c_contiguous and picture.rgb.flags.writeable
        assert (picture.height, picture.width) == PHOTO.shape[:2]
        assert (picture.alpha, picture.frames, picture.orientation) == (None, 1, 1)
        error = np.abs(picture.rgb.astype(int) - PHOTO)
        if kind in ("PNG", "BMP", "TIFF", "PNM"):
            assert error.max() == 0
        elif kind == "GIF":
            assert np.array_equal(picture.rgb, seen_by_pillow(data))
        else:
            assert np.abs(picture.rgb.astype(int) - seen_by_pillow(data)).max() <= 2


@given(
    kind=st.sampled_from(
        [(0, b) for b in (1, 2, 4, 8, 16)] + [(c, b) for c in (2, 4, 6) for b in (8, 16)]
    ),
    size=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    seed=st.integers(0, 2**32 - 1),
    background=st.tuples(*[st.integers(0, 255)] * 3),
)
@settings(deadline=None, max_examples=150)
def test_png_of_every_kind_against_arithmetic(
    kind: tuple[int, int], size: tuple[int, int], seed: int, background: tuple[int, int, int]
) -> None:
    """rgb = colour · alpha + background · (1 - alpha), each rounded once, at every bit depth."""
    colour, bits = kind
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    top = (1 << bits) - 1
    samples = np.random.default_rng(seed).integers(0, top + 1, (*size, channels))
    samples[0, 0] = top  # so that 16 bits are seen to be 16
    picture = read_picture(png(samples, bits, colour), background=background)
    eight = np.rint(samples * 255.0 / top)
    colours = eight[..., :1].repeat(3, axis=2) if channels < 3 else eight[..., :3]
    alpha = eight[..., -1:] if channels in (2, 4) else np.full((*size, 1), 255.0)
    want = np.floor((colours * alpha + np.array(background) * (255 - alpha)) / 255 + 0.5)
    assert np.abs(picture.rgb - want).max() <= (1 if bits == 16 else 0)
    assert picture.bits == bits
    assert picture.mode == {0: "L", 2: "RGB", 4: "LA", 6: "RGBA"}[colour]
    if (alpha == 255).all():
        assert picture.alpha is None
    else:
        assert picture.alpha is not None
        assert np.abs(picture.alpha - alpha[..., 0]).max() <= (1 if bits == 16 else 0)


def test_palette_colour_keys_and_transparent_palette() -> None:
    palette = chunk(b"PLTE", bytes([10, 20, 30, 200, 100, 50]))
    index = np.array([[[0], [1]]])
    plain = read_picture(png(index, 8, 3, before=palette))
    assert plain.rgb.tolist() == [[[10, 20, 30], [200, 100, 50]]]
    assert plain.mode == "P"
    clear = read_picture(png(index, 8, 3, before=palette + chunk(b"tRNS", b"\0")))
    assert clear.rgb.tolist() == [[[255, 255, 255], [200, 100, 50]]]
    for bits in (1, 2, 4, 8, 16):  # a grey value that is transparent
        samples = np.array([[[1], [0], [1]]]) * ((1 << bits) - 1)
        data = png(samples, bits, 0, before=chunk(b"tRNS", struct.pack(">H", 0)))
        picture = read_picture(data, background=(1, 2, 3))
        assert picture.rgb.tolist() == [[[255] * 3, [1, 2, 3], [255] * 3]], bits
        assert picture.alpha is not None and picture.alpha.tolist() == [[255, 0, 255]]
    data = png(np.array([[[1, 2, 3], [4, 5, 6]]]), 8, 2, before=chunk(b"tRNS", b"\0\1\0\2\0\3"))
    assert read_picture(data).rgb.tolist() == [[[255] * 3, [4, 5, 6]]]


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("colour", [0, 2, 4, 6])
def test_few_bits_in_sixteen_are_not_black(bits: int, colour: int) -> None:
    """12-bit data in a 16-bit PNG: cv2 alone gives 0 ... 15."""
    top = (1 << bits) - 1
    ramp = np.linspace(0, top, 50).round().astype(int).reshape(1, -1, 1)
    samples = np.repeat(ramp, {0: 1, 2: 3, 4: 2, 6: 4}[colour], axis=2)
    if colour in (4, 6):
        samples[..., -1] = top if bits % 4 else 65535  # both ways to write "opaque"
    picture = read_picture(png(samples, 16, colour))
    want = np.rint(ramp[0, :, 0] * 255 / top)
    assert np.abs(picture.rgb[0, :, 0] - want).max() <= 1
    assert picture.alpha is None


def test_dark_sixteen_bit_picture_with_real_alpha_keeps_its_range() -> None:
    samples = np.array([[[0, 0, 0, 0], [4000, 4000, 4000, 65535]]])
    assert read_picture(png(samples, 16, 6)).rgb.tolist() == [[[255] * 3, [16] * 3]]


def test_black_text_on_transparency_is_black_on_white() -> None:
    ink = np.zeros((20, 40, 4), np.uint8)
    ink[5:15, 10:30, 3] = 255
    picture = read_picture(pillow(ink, "PNG"))
    assert picture.rgb[0, 0].tolist() == [255, 255, 255]
    assert picture.rgb[10, 20].tolist() == [0, 0, 0]
    ink[..., :3] = 255  # white text: the caller can choose another ground
    assert (read_picture(pillow(ink, "PNG")).rgb == 255).all()
    dark = read_picture(pillow(ink, "PNG"), background=(0, 0, 0)).rgb
    assert dark[0, 0].tolist() == [0, 0, 0] and dark[10, 20].tolist() == [255, 255, 255]


UPRIGHT: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(orientation: int) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[274] = orientation
    want = UPRIGHT[orientation](PHOTO)
    for form, options in (
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
    ):
        picture = read_picture(pillow(PHOTO, form, exif=exif, **options))
        assert picture.orientation == orientation
        assert picture.rgb.shape == want.shape
        tolerance = 10 if form == "JPEG" else 0
        assert np.abs(picture.rgb.astype(int) - want).max() <= tolerance, form
        assert picture.rgb.flags.c_contiguous
    for bits, kind in ((8, 1), (16, 1), (8, 2), (16, 2)):  # cv2 turns TIFF unasked
        channels = 3 if kind == 2 else 1
        grey = RNG.integers(0, 256, (3, 5, channels))
        raw = (grey * 257 if bits == 16 else grey).astype("<u2" if bits == 16 else np.uint8)
        raw[0, 0] = 65535 if bits == 16 else 255
        data = tiff(raw.tobytes(), 5, 3, bits, kind, channels, t274=(3, orientation))
        want8 = (raw // 257 if bits == 16 else raw).astype(np.uint8)
        assert np.array_equal(
            read_picture(data).rgb,
            UPRIGHT[orientation](np.repeat(want8, 3 // channels, axis=2)),
        )


def test_alpha_turns_with_the_picture() -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[274] = 6
    rgba = RNG.integers(0, 256, (5, 9, 4)).astype(np.uint8)
    picture = read_picture(pillow(rgba, "PNG", exif=exif))
    assert picture.alpha is not None
    assert np.array_equal(picture.alpha, np.rot90(rgba[..., 3], -1))


@pytest.mark.parametrize("value", [0, 9, 65535])
def test_nonsense_orientation_is_ignored(value: int) -> None:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif[274] = value
    assert read_picture(pillow(PHOTO, "PNG", exif=exif)).orientation == 1
    assert np.array_equal(read_picture(pillow(PHOTO, "TIFF", exif=exif)).rgb, PHOTO)


def test_grey_cmyk_progressive_and_subsampled_jpeg_like_pillow() -> None:
    for mode, options in (
        ("L", {}),
        ("CMYK", {"quality": 95}),
        ("RGB", {"progressive": True}),
        ("RGB", {"subsampling": 0}),
        ("RGB", {"subsampling": 1}),
    ):
        data = pillow(PHOTO, "JPEG", mode, **options)
        picture = read_picture(data)
        assert picture.mode == mode
        assert np.abs(picture.rgb.astype(int) - seen_by_pillow(data)).max() <= 2, (mode, options)


def test_tiff_kinds_like_pillow() -> None:
    modes = [("RGB", "raw"), ("RGB", "tiff_lzw"), ("RGB", "tiff_adobe_deflate"), ("L", "packbits")]
    modes += [("1", "group4"), ("1", "raw"), ("P", "raw"), ("CMYK", "raw"), ("RGB", "jpeg")]
    for mode, packing in modes:
        options = {} if packing == "raw" else {"compression": packing}
        data = pillow(PHOTO, "TIFF", mode, **options)
        got = read_picture(data)
        assert got.mode == ("L" if mode == "1" else mode)
        assert got.bits == (1 if mode == "1" else 8)
        worst = np.abs(got.rgb.astype(int) - seen_by_pillow(data)).max()
        assert worst <= (3 if packing == "jpeg" else 1), (mode, packing)


def test_tiff_where_white_is_zero_and_twelve_bits() -> None:
    grey = np.array([100, 65535, 0], "<u2")
    for kind, want in ((1, [0, 255, 0]), (0, [255, 0, 255])):
        assert read_picture(tiff(grey.tobytes(), 3, 1, 16, kind, 1)).rgb[0, :, 0].tolist() == want
        eight = np.array([0, 255, 0], np.uint8).tobytes()
        assert read_picture(tiff(eight, 3, 1, 8, kind, 1)).rgb[0, :, 0].tolist() == want
    packed = bytes([0xFF, 0xF0, 0x00, 0x80, 0x00, 0x00])  # 4095, 0, 2048, 0
    assert read_picture(tiff(packed, 4, 1, 12, 1, 1)).rgb[0, :, 0].tolist() == [255, 0, 128, 0]


def test_tiff_alpha_of_both_kinds() -> None:
    """ExtraSamples 1 is premultiplied, 2 is not, 0 is no alpha at all (TIFF 6.0, section 18)."""
    for bits, code in ((8, np.uint8), (16, "<u2")):
        scale = 257 if bits == 16 else 1
        straight = (np.array([[200, 100, 50, 128], [0, 0, 0, 255]]) * scale).astype(code)
        ready = (np.array([[100, 50, 25, 128], [0, 0, 0, 255]]) * scale).astype(code)
        for extra, data in ((2, straight), (1, ready)):
            got = read_picture(tiff(data.tobytes(), 2, 1, bits, 2, 4, t338=(3, extra))).rgb
            want = [[round(c * 128 / 255 + 127) for c in (200, 100, 50)], [0, 0, 0]]
            assert np.abs(got[0].astype(int) - want).max() <= 1, (bits, extra)
        opaque = straight.copy()
        opaque[1, :3] = 255 * scale
        got = read_picture(tiff(opaque.tobytes(), 2, 1, bits, 2, 4, t338=(3, 0)))
        assert got.alpha is None and got.rgb[0].tolist() == [[200, 100, 50], [255] * 3]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (dict(bits=32, kind=1, t339=(3, 3)), "a floating-point TIFF (convert it to 8 or 16 bits)"),
        (dict(bits=16, kind=1, t339=(3, 3)), "a floating-point TIFF"),
        (dict(bits=32, kind=1), "a TIFF of 32-bit samples isn't read"),
        (dict(bits=8, kind=1, t339=(3, 2)), "signed or complex samples"),
        (dict(bits=8, kind=32803), "colour kind 32803"),
        (dict(bits=8, kind=1, t259=(3, 6)), "compression 6"),
        (dict(bits=4, kind=1), "4-bit samples"),
    ],
)
def test_tiff_kinds_that_are_refused_by_name(options: dict[str, Any], reason: str) -> None:
    bits, kind = options.pop("bits"), options.pop("kind")
    with pytest.raises(InputError) as caught:
        read_picture(tiff(bytes(400), 5, 5, bits, kind, 1, **options))
    assert reason in caught.value.reason


def test_tiff_pages_are_read_one_by_one() -> None:
    image = pytest.importorskip("PIL.Image")
    pages = [RNG.integers(0, 256, (4 + i, 6, 3)).astype(np.uint8) for i in range(5)]
    file = io.BytesIO()
    first, *others = (image.fromarray(page) for page in pages)
    first.save(file, "TIFF", save_all=True, append_images=others, compression="tiff_lzw")
    data = file.getvalue()
    assert read_picture(data).frames == 5
    assert np.array_equal(read_picture(data).rgb, pages[0])
    got = list(read_pages(data, name="scan.tif"))
    assert [p.source for p in got] == [f"scan.tif, page {i}" for i in range(1, 6)]
    assert all(np.array_equal(a.rgb, b) for a, b in zip(got, pages, strict=True))
    with pytest.raises(LimitError, match="--max-pages"):
        list(read_pages(data, limits=Limits(pages=4)))
    one = list(read_pages(png(PHOTO, 8, 2)))
    assert len(one) == 1 and np.array_equal(one[0].rgb, PHOTO)


def test_pnm_in_text_and_binary() -> None:
    for data, want in (
        (b"P1\n3 1\n1 0 1\n", [0, 255, 0]),
        (b"P1 3 1 101", [0, 255, 0]),
        (b"P2\n# a comment\n3 1\n100\n0 50 100\n", [0, 128, 255]),
        (b"P2\n3 1\n4095\n0 2048 4095\n", [0, 128, 255]),
        (b"P4\n3 1\n\xa0", [0, 255, 0]),
        (b"P5 3 1 100\n\x00\x32\x64", [0, 128, 255]),
        (b"P5 3 1 4095\n\x00\x00\x08\x00\x0f\xff", [0, 128, 255]),
        (b"P5 3 1 65535\n\x00\x00\x0f\xff\x0f\xff", [0, 16, 16]),  # the header states the range
    ):
        got = read_picture(data).rgb[0, :, 0].astype(int)
        assert np.abs(got - want).max() <= 1, data
    assert read_picture(b"P3 1 1 255 1 2 3\n").rgb.tolist() == [[[1, 2, 3]]]


def test_bmp_kinds() -> None:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        data = pillow(PHOTO, "BMP", mode)
        assert np.array_equal(read_picture(data).rgb, seen_by_pillow(data)), mode
    head = struct.pack("<IHHHH", 12, 2, 1, 1, 24)  # OS/2: cv2 alone makes it grey
    data = b"BM" + struct.pack("<IHHI", 34, 0, 0, 26) + head + bytes([1, 2, 3, 4, 5, 6, 0, 0])
    assert read_picture(data).rgb.tolist() == [[[3, 2, 1], [6, 5, 4]]]
    for height in (2, -2):  # the fourth byte of a plain 32-bit bitmap is not alpha
        head = struct.pack("<IiiHHIIiiII", 40, 1, height, 1, 32, 0, 8, 0, 0, 0, 0)
        data = b"BM" + struct.pack("<IHHI", 62, 0, 0, 54) + head + bytes([1, 2, 3, 0, 4, 5, 6, 0])
        want = [[[3, 2, 1]], [[6, 5, 4]]]
        got = read_picture(data)
        assert got.alpha is None and got.rgb.tolist() == (want[::-1] if height > 0 else want)


def test_gif_first_frame_smaller_than_the_screen_interlaced_and_counted() -> None:
    image = pytest.importorskip("PIL.Image")
    frames = [image.fromarray(255 - PHOTO if i % 2 else PHOTO) for i in range(7)]
    file = io.BytesIO()
    frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], interlace=True)
    got = read_picture(file.getvalue())
    assert got.frames == 7
    assert np.array_equal(got.rgb, seen_by_pillow(file.getvalue()))
    with pytest.raises(LimitError, match=r"7 frames, at most 3 .*--max-frames"):
        read_picture(file.getvalue(), limits=Limits(frames=3))
    small = pillow(PHOTO[:4, :4], "GIF", "P")
    moved = bytearray(small)
    struct.pack_into("<HH", moved, 6, 10, 8)
    at = small.index(b"\x2c\0\0\0\0\x04\0\x04\0")
    struct.pack_into("<HH", moved, at + 1, 3, 2)
    got = read_picture(bytes(moved))
    assert got.rgb.shape == (8, 10, 3)
    assert np.array_equal(got.rgb[2:6, 3:7], seen_by_pillow(small))


def test_animated_webp_and_png_show_their_first_frame() -> None:
    image = pytest.importorskip("PIL.Image")
    rgba = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)])
    rgba[:9, :9, 3] = 0
    for first, form, options in (
        (PHOTO, "WEBP", {"lossless": True}),
        (rgba, "WEBP", {"lossless": True}),
        (rgba, "WEBP", {"quality": 95}),
        (PHOTO, "PNG", {}),
    ):
        file = io.BytesIO()
        others = [image.fromarray(255 - PHOTO)] * 3
        image.fromarray(first).save(file, form, save_all=True, append_images=others, **options)
        got = read_picture(file.getvalue())
        assert got.frames in (2, 4)  # encoders join equal frames
        shown = image.open(io.BytesIO(file.getvalue())).convert("RGBA")
        white = image.new("RGBA", shown.size, (255, 255, 255, 255))
        white.alpha_composite(shown)
        error = np.abs(got.rgb.astype(int) - np.asarray(white)[..., :3])
        assert error.max() <= (0 if "lossless" in options or form == "PNG" else 6)


# ------------------------------------------------------------------------ truncated, damaged, other


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WebP", "TIFF", "PNM"])
def test_a_cut_file_is_never_a_picture(kind: str) -> None:
    """At every cut: refused, and past the signature as truncated with the byte where it ends."""
    data = whole_pictures()[kind]
    cuts = {*range(0, 60), *range(len(data) - 40, len(data)), *range(60, len(data), 61)}
    for cut in sorted(cuts - {len(data)}):
        part = data[:cut]
        try:
            got = read_picture(part)
        except InputError as error:
            if cut >= 30:
                assert error.reason == f"truncated {kind} (ends at byte {cut})"
            continue
        # Only GIF may lack its last byte: the picture is all there.
        assert kind == "GIF" and cut == len(data) - 1
        assert np.array_equal(got.rgb, read_picture(data).rgb)


def test_half_a_progressive_jpeg() -> None:
    data = pillow(np.tile(PHOTO, (4, 4, 1)), "JPEG", progressive=True)
    with pytest.raises(InputError) as caught:
        read_picture(data[:2000], name="page3.jpg")
    assert str(caught.value) == "page3.jpg: truncated JPEG (ends at byte 2000)"


def test_jpeg_with_a_hole_or_an_early_end_is_damaged() -> None:
    noise = RNG.integers(0, 256, (200, 300, 3)).astype(np.uint8)
    data = pillow(noise, "JPEG")
    half = len(data) // 2
    for broken in (data[:half] + b"\xff\xd9", data[:half] + data[half + 3000 :]):
        with pytest.raises(InputError, match=r"damaged JPEG \(its data ends before"):
            read_picture(broken)
    assert read_picture(data + b"trailing bytes").rgb.shape == noise.shape


def test_damaged_png_data_is_refused() -> None:
    data = bytearray(png(RNG.integers(0, 256, (64, 64, 3)), 8, 2))
    data[3000] ^= 255
    with pytest.raises(InputError, match="damaged PNG"):
        read_picture(bytes(data))
    short = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 64, 8, 2, 0, 0, 0))
    short += chunk(b"IDAT", zlib.compress(bytes(193 * 10))) + chunk(b"IEND", b"")
    with pytest.raises(InputError, match="damaged PNG"):
        read_picture(b"\x89PNG\r\n\x1a\n" + short)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello, I am text", "not a picture (PNG, JPEG, GIF, BMP, WebP, TIFF or PNM)"),
        (b"%PDF-1.7\n", "a PDF, not a picture"),
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC isn't read (convert it to JPEG or PNG)"),
        (b"\0\0\0\x18ftypavif" + bytes(50), "AVIF isn't read (convert it to JPEG or PNG)"),
        (b"<?xml version='1.0'?>\n<svg xmlns='x'/>", "SVG isn't read"),
        (b"Pf\n1 1\n-1.0\n" + bytes(4), "a floating-point picture (convert it to 8 or 16 bits)"),
        (b"II\x2b\0\x08\0\0\0" + bytes(20), "BigTIFF isn't read (convert it to TIFF or PNG)"),
    ],
)
def test_other_files_are_named(data: bytes, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_picture(data, name="a.png")
    assert str(caught.value) == f"a.png: {reason}"


def test_zero_pixels() -> None:
    jpeg = bytearray(whole_pictures()["JPEG"])
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 7] = b"\0\0"
    gif = bytearray(whole_pictures()["GIF"])
    at = gif.index(b"\x2c\0\0\0\0")
    gif[6:10] = gif[at + 5 : at + 9] = bytes(4)
    for data in (
        b"P5 0 5 255\n",
        png(np.zeros((1, 1, 1), int), 8, 0).replace(struct.pack(">II", 1, 1), bytes(8)),
        tiff(b"", 0, 5, 8, 1, 1),
        bytes(jpeg),
        bytes(gif),
    ):
        with pytest.raises(InputError, match=r"of \d+ x \d+ pixels|truncated"):
            read_picture(data)


# -------------------------------------------------------------------------------- hostile pictures


def huge_png(side: int, bits: int = 8, colour: int = 0) -> bytes:
    """Black, and a hundred thousand times smaller than what it unpacks to."""
    row = bytes(1 + side * bits * {0: 1, 2: 3, 6: 4}[colour] // 8)
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row * 100) for _ in range(side // 100)) + packer.flush()
    head = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


WEBP_BOMB = bytes.fromhex("524946461a000000574542505650384c0d0000002fffffff0f0788888a0800ff0000")


def test_pictures_larger_than_the_limit_are_refused_from_their_headers() -> None:
    for data in (
        huge_png(30_000, 1),
        WEBP_BOMB,
        b"P5 30000 30000 255\n" + bytes(900),
        b"BM"
        + struct.pack("<IHHI", 0, 0, 0, 1078)
        + struct.pack("<IiiHHI", 40, 65000, 65000, 1, 8, 1)
        + bytes(2000),
    ):
        with pytest.raises(InputError, match=r"--max-pixels|truncated PNM"):
            read_picture(data)
    small = png(PHOTO, 8, 2)
    message = r"3,072 pixels, at most 3,071 \(raise the limit with --max-pixels\)"
    with pytest.raises(LimitError, match=message):
        read_picture(small, limits=Limits(pixels=3071))
    assert read_picture(small, limits=Limits(pixels=3072)).width == 64
    deep = png(PHOTO.astype(int) * 257, 16, 2)  # two bytes a sample: half as many pixels
    with pytest.raises(LimitError, match=r"3,072 pixels of 16 bits, at most 3,071 .*--max-pixels"):
        read_picture(deep, limits=Limits(pixels=6143))
    assert read_picture(deep, limits=Limits(pixels=6144)).width == 64


def test_metadata_bombs_are_never_unpacked() -> None:
    bomb = zlib.compress(bytes(200_000_000), 9)
    extra = chunk(b"zTXt", b"Comment\0\0" + bomb) + chunk(b"iCCP", b"icc\0\0" + bomb)
    extra += chunk(b"iTXt", b"Comment\0\1\0\0\0" + bomb)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert np.array_equal(read_picture(png(PHOTO, 8, 2, before=extra)).rgb, PHOTO)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


def test_tiff_loop_and_nonsense_directories() -> None:
    height, width = PHOTO.shape[:2]
    data = bytearray(tiff(PHOTO.tobytes(), width, height, 8, 2, 3))
    at = struct.unpack_from("<I", data, 4)[0]
    link = at + 2 + 12 * struct.unpack_from("<H", data, at)[0]
    struct.pack_into("<I", data, link, at)
    with pytest.raises(InputError, match="a TIFF whose pages form a loop"):
        read_picture(bytes(data))
    struct.pack_into("<I", data, link, 0)
    for tag, value in ((256, 0), (273, 0xFFFFFFF0), (279, 0xFFFFFFF0), (277, 65535), (258, 3)):
        broken = bytearray(data)
        entry = broken.index(struct.pack("<HH", tag, 4 if tag in (273, 279) else 3), at)
        struct.pack_into("<I", broken, entry + 8, value)
        with pytest.raises(InputError):
            read_picture(bytes(broken))


def test_jpeg_of_very_many_scans_is_refused() -> None:
    """Each empty scan visits every block of the picture: minutes from a few hundred kilobytes."""
    cv2 = pytest.importorskip("cv2")
    grey = np.zeros((5000, 5000), np.uint8)
    data = cv2.imencode(".jpg", grey, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    assert read_picture(data).width == 5000
    last = data[data.rfind(b"\xff\xda") : -2]
    with pytest.raises(InputError, match=r"a JPEG of 5000 x 5000 pixels in .* scans"):
        read_picture(data[:-2] + last * 200 + b"\xff\xd9")


def test_gif_of_fifty_thousand_frames_is_counted_not_decoded() -> None:
    data = pillow(PHOTO[:2, :2], "GIF", "P")
    at = data.index(b"\x2c\0\0\0\0")
    many = data[:at] + data[at:-1] * 50_000 + b";"
    assert read_picture(many).frames == 50_000
    with pytest.raises(LimitError, match="--max-frames"):
        read_picture(many, limits=Limits(frames=49_999))


def test_large_pictures_within_the_limit_stay_within_a_gigabyte(tmp_path: Path) -> None:
    code = PEAK + (
        "import sys; from cnnapps.core.media import read_picture\n"
        "picture = read_picture(sys.argv[1])\n"
        "print(picture.rgb.shape, peak() // 1024)"
    )
    path = tmp_path / "large.png"
    for side, bits, colour in ((9_900, 8, 6), (7_000, 16, 6)):
        path.write_bytes(huge_png(side, bits, colour))
        done = run(code, str(path))
        assert done.returncode == 0, done.stderr
        shape, megabytes = done.stdout.decode().rsplit(" ", 1)
        assert shape == f"({side}, {side}, 3)"
        assert int(megabytes) < 1000


# ------------------------------------------------------------------------- files, pipes and devices


def test_only_files_are_read_and_nothing_hangs(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")  # nobody writes into it
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket.png"))
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "dangling.png").symlink_to("nowhere.png")
    for path, reason in (
        (tmp_path / "pipe.png", "is a named pipe or socket (redirect it to stdin and give -)"),
        (tmp_path / "socket.png", "is a named pipe or socket (redirect it to stdin and give -)"),
        (tmp_path / "folder.png", "is a folder"),
        (tmp_path / "none.png", "no such file"),
        (tmp_path / "dangling.png", "no such file"),
        (tmp_path / "loop.png", "too many levels of symbolic links"),
        (tmp_path / "none" / "a.png", "no such file"),
        ("/dev/zero", "is a device, not a file"),
        ("a\0b.png", "not a possible file name"),
        ("", "an empty file name"),
        (tmp_path / ("a" * 300), "file name too long"),
    ):
        for read in (read_picture, read_sound, read_bytes, open_source, video_frames, text_blocks):
            with pytest.raises(InputError) as caught:
                read(path)  # type: ignore[operator]
            assert caught.value.reason == reason, read


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs /proc")
def test_a_file_that_can_not_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="input/output error"):  # a regular file, even for root
        read_bytes("/proc/self/mem")
    if not ROOT:
        secret = tmp_path / "secret.png"
        secret.write_bytes(b"x")
        secret.chmod(0)
        with pytest.raises(InputError, match="permission denied"):
            read_bytes(secret)


def test_bytes_limit(tmp_path: Path) -> None:
    path = tmp_path / "ten"
    path.write_bytes(b"0123456789")
    assert read_bytes(path, limits=Limits(bytes=10)) == b"0123456789"
    for source in (path, b"0123456789"):
        with pytest.raises(LimitError, match=r"10 bytes, at most 9 .*--max-bytes"):
            read_bytes(source, limits=Limits(bytes=9))
    if os.path.exists("/proc/self/status"):  # its size is said to be 0
        assert b"VmRSS" in read_bytes("/proc/self/status")


SHAPE = "import sys; from cnnapps.core.media import *; print(read_picture(sys.argv[1]).rgb.shape)"


def test_stdin_and_open_descriptors(tmp_path: Path) -> None:
    data = png(PHOTO, 8, 2)
    (tmp_path / "a.png").write_bytes(data)
    for name in ("-", "/dev/stdin", "/dev/fd/0"):
        if name == "-" or os.path.exists(name):
            done = run(SHAPE, name, stdin=data)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"(48, 64, 3)\n", b""), name
    with open(tmp_path / "a.png", "rb") as file:
        done = subprocess.run([sys.executable, "-c", SHAPE, "-"], stdin=file, capture_output=True)
        assert done.stdout == b"(48, 64, 3)\n"
    endless = "from cnnapps.core.media import *; from cnnapps.core.limits import Limits\n"
    endless += "read_picture('-', limits=Limits(bytes=1000000))"
    with open("/dev/zero", "rb") as zero:
        done = subprocess.run([sys.executable, "-c", endless], stdin=zero, capture_output=True)
    assert b"LimitError: -: 1," in done.stderr
    closed = [sys.executable, "-c", SHAPE, "-"]
    done = subprocess.run(["sh", "-c", '"$@" <&-', "sh", *closed], capture_output=True)
    assert b"InputError: -: stdin is closed" in done.stderr


NAMES = ["a b.png", "图片 é.png", "new\nline.png", os.fsdecode(b"bad\xff\xfe.png"), "'\"$x.png"]


@pytest.mark.parametrize("name", NAMES)
def test_any_file_name_is_read_and_written(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / name, PHOTO)
    assert np.array_equal(read_picture(tmp_path / name).rgb, PHOTO)
    sound = wav(np.zeros(100, np.int16))
    (tmp_path / (name + ".wav")).write_bytes(sound)
    assert len(read_sound(tmp_path / (name + ".wav")).samples) == 100
    assert len(os.listdir(os.fsencode(tmp_path))) == 2
    assert [i.name for i in expand_inputs([tmp_path], suffixes=[".png"])] == [str(tmp_path / name)]
    (tmp_path / name).write_bytes(b"junk")
    with pytest.raises(InputError) as caught:
        read_picture(tmp_path / name)
    assert str(caught.value).isprintable()


def test_libraries_print_nothing(tmp_path: Path) -> None:
    """Each good file with a hole in it: whatever cv2 and libsndfile say, stderr stays empty."""
    sources = {**whole_pictures(), "WAV": wav(np.zeros(5000, np.int16))}
    sources.update({f"sound{i}": data for i, data in enumerate(encoded_sounds().values())})
    for i, data in enumerate(sources.values()):
        middle = len(data) // 2
        (tmp_path / f"{i}").write_bytes(data[:middle] + b"\xff\x00\x13" * 7 + data[middle + 9 :])
        (tmp_path / f"{i}b").write_bytes(data[: len(data) // 3] + data[len(data) // 2 :])
    code = (
        "import sys; from cnnapps.core.media import *; from cnnapps.core.errors import *\n"
        "for path in sys.argv[1:]:\n"
        "    for read in (read_picture, read_sound):\n"
        "        try: read(path)\n"
        "        except InputError: pass\n"
        "print('done', file=sys.stderr)"
    )
    done = run(code, *map(str, tmp_path.iterdir()))
    assert (done.returncode, done.stderr) == (0, b"done\n")


def test_stderr_may_be_closed() -> None:
    code = "import os; os.close(2)\nfrom cnnapps.core.media import *\n"
    code += "print(read_picture('-').rgb.shape)"
    assert run(code, stdin=whole_pictures()["JPEG"]).stdout == b"(48, 64, 3)\n"


def test_importing_imports_no_library() -> None:
    code = (
        "import sys, cnnapps.core.media\n"
        "heavy = {'cv2', 'soundfile', 'soxr', 'torch', 'scipy', 'PIL', 'onnxruntime'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert run(code).stdout == b"[]\n"


def test_missing_libraries_name_their_remedy(tmp_path: Path) -> None:
    """As on a machine without libGL: cv2 is installed and can't be loaded."""
    (tmp_path / "cv2.py").write_text("raise ImportError('libGL.so.1: cannot open shared object')")
    (tmp_path / "soundfile.py").write_text("raise OSError('sndfile library not found')")
    code = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
    code += "from cnnapps.core.media import *; from cnnapps.core.errors import *\n"
    code += "import io\n"
    code += "for read, data in ((read_picture, b'P5 1 1 255 x'), (read_sound, b'RIFF')):\n"
    code += "    try: read(data)\n    except DependencyError as error: print(error)\n"
    picture, sound = run(code).stdout.decode().splitlines()
    assert "libGL.so.1" in picture and "apt-get install libgl1" in picture
    assert sound.startswith("reading sound needs libsndfile: pip install soundfile")


# -------------------------------------------------------------------------------- writing pictures


def test_written_pictures_are_read_back(tmp_path: Path) -> None:
    grey, rgba = PHOTO[..., 0], np.dstack([PHOTO, PHOTO[..., :1] | 1])
    for pixels in (grey, PHOTO, rgba, PHOTO[::2, ::-1]):
        write_picture(tmp_path / "a.PNG", pixels)
        decoded = pytest.importorskip("PIL.Image").open(tmp_path / "a.PNG")
        assert np.array_equal(np.asarray(decoded), pixels)
    write_picture(tmp_path / "a.jpg", PHOTO, quality=98)
    assert np.abs(read_picture(tmp_path / "a.jpg").rgb.astype(float) - PHOTO).mean() < 10
    small = (tmp_path / "a.jpg").stat().st_size
    write_picture(tmp_path / "a.jpg", PHOTO, quality=10)
    assert (tmp_path / "a.jpg").stat().st_size < small
    assert sorted(os.listdir(tmp_path)) == ["a.PNG", "a.jpg"]


def test_a_picture_that_can_not_be_written_leaves_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"old")
    long = np.zeros((1, 70_000, 3), np.uint8)
    for path, pixels, reason in (
        (tmp_path / "a.jpg", long, "can't be written|too large"),
        (tmp_path / "a.jpg", np.zeros((2, 2, 4), np.uint8), "JPEG has no transparency"),
        (tmp_path / "a.gif", PHOTO, "pictures are written as .png or .jpg"),
        (tmp_path / "none" / "a.png", PHOTO, "can't be written: no such file"),
    ):
        with pytest.raises(InputError, match=reason):
            write_picture(path, pixels)
    for bad in (np.zeros((2, 2), np.float32), np.zeros((0, 2), np.uint8), np.zeros(4, np.uint8)):
        with pytest.raises(TypeError):
            write_picture(tmp_path / "a.jpg", bad)
    assert (tmp_path / "a.jpg").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.jpg"]


# ------------------------------------------------------------------------------------------- sound

RATE = 16_000
TONE = (0.5 * np.sin(np.arange(RATE) * (2 * np.pi * 440 / RATE))).astype(np.float32)


def wav(samples: np.ndarray, rate: int = RATE, *, claimed: int | None = None) -> bytes:
    """A WAV of int16 (N,) or (N, channels), or of float32; byte by byte."""
    real = samples.dtype == np.float32
    body = samples.astype("<f4" if real else "<i2").tobytes()
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    size = 4 if real else 2
    form = struct.pack(
        "<HHIIHH",
        3 if real else 1,
        channels,
        rate,
        rate * channels * size,
        channels * size,
        8 * size,
    )
    length = len(body) if claimed is None else claimed
    riff = (36 + length) & 0xFFFFFFFF
    head = b"RIFF" + struct.pack("<I", riff) + b"WAVEfmt " + struct.pack("<I", 16) + form
    return head + b"data" + struct.pack("<I", length) + body


def wav_channels(channels: int) -> bytes:
    data = bytearray(wav(np.zeros(99, np.int16)))
    struct.pack_into("<H", data, 22, channels)
    return bytes(data)


def encoded_sounds() -> dict[str, bytes]:
    soundfile = pytest.importorskip("soundfile")
    kinds = [("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("WAV", "ULAW")]
    kinds += [("WAVEX", "PCM_16"), ("RF64", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS")]
    kinds += [("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("AU", "PCM_16")]
    kinds += [("CAF", "PCM_16"), ("NIST", "PCM_16")]
    sounds = {}
    for form, subtype in kinds:
        file = io.BytesIO()
        soundfile.write(file, TONE, RATE, format=form, subtype=subtype)
        sounds[f"{form} {subtype}"] = file.getvalue()
    return sounds


def test_every_sound_format(tmp_path: Path) -> None:
    for kind, data in encoded_sounds().items():
        path = tmp_path / "sound"
        path.write_bytes(data)
        for source in (data, path):
            sound = read_sound(source)
            assert (sound.rate, sound.source_rate, sound.channels) == (RATE, RATE, 1), kind
            assert sound.format == kind
            assert sound.samples.dtype == np.float32 and len(sound.samples) == len(TONE)
            assert sound.seconds == 1.0
            lossy = kind in ("OGG VORBIS", "OGG OPUS", "MP3 MPEG_LAYER_III")
            error = np.abs(sound.samples - TONE)[2000:-2000].max()
            assert error < (0.1 if lossy else 0.02 if "ULAW" in kind else 1e-4), kind


def test_channels_are_mixed_by_their_mean() -> None:
    both = np.stack([np.arange(1000), np.arange(1000)[::-1]], axis=1).astype(np.int16)
    sound = read_sound(wav(both))
    assert sound.channels == 2
    assert np.allclose(sound.samples, 999 / 2 / 32768)
    many = np.tile(np.arange(100, dtype=np.int16)[:, None], (1, 64))
    assert np.allclose(read_sound(wav(many)).samples, np.arange(100) / 32768)


@given(st.integers(0, 40_000), st.sampled_from([0.01, 0.1, 1.0, 10.0]), st.integers(1, 3))
@settings(deadline=None, max_examples=40)
def test_blocks_are_the_whole(n: int, seconds: float, channels: int) -> None:
    samples = np.random.default_rng(n).integers(-32768, 32768, (n, channels)).astype(np.int16)
    whole = read_sound(wav(samples)).samples
    blocks = sound_blocks(wav(samples), seconds=seconds)
    assert blocks.seconds == n / RATE
    parts = list(blocks)
    assert all(len(part) <= max(1024, seconds * RATE) for part in parts)
    joined = np.concatenate(parts) if parts else np.zeros(0, np.float32)
    assert np.array_equal(joined, whole)
    assert np.allclose(whole, samples.mean(axis=1) / 32768, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 44_100, 48_000])
def test_resampling_keeps_the_tone_and_streams(rate: int) -> None:
    pytest.importorskip("soxr")
    t = np.arange(2 * rate) / rate
    data = wav((16000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16), rate)
    sound = read_sound(data, rate=RATE)
    assert (sound.rate, sound.source_rate) == (RATE, rate)
    assert abs(len(sound.samples) - 2 * RATE) <= 1
    want = 16000 / 32768 * np.sin(2 * np.pi * 440 * np.arange(len(sound.samples)) / RATE)
    assert np.abs(sound.samples - want)[500:-500].max() < 1e-3
    parts = list(sound_blocks(data, rate=RATE, seconds=0.1))
    assert len(parts) > 5
    assert np.allclose(np.concatenate(parts), sound.samples, atol=1e-5)


def test_resampling_removes_what_the_new_rate_can_not_hold() -> None:
    pytest.importorskip("soxr")
    t = np.arange(48_000) / 48_000
    data = wav((16000 * np.sin(2 * np.pi * 12_000 * t)).astype(np.int16), 48_000)
    assert np.abs(read_sound(data, rate=RATE).samples[500:-500]).max() < 1e-3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"text " * 50, "not a sound file (WAV, FLAC, Ogg, MP3, AIFF, AU, CAF or SPHERE)"),
        (b"\0\0\0\x20ftypM4A " + bytes(60), "MP4 and M4A (AAC) aren't read"),
        (b"\x1aE\xdf\xa3" + bytes(60), "WebM and Matroska aren't read"),
        (wav(np.zeros(9, np.int16), 1), "a sample rate of 1 Hz isn't read (2,000 to 768,000)"),
        (wav(np.zeros(9, np.int16), 10**9), "a sample rate of 1,000,000,000 Hz isn't read"),
        (wav(np.zeros(9, np.int16), 0), "damaged or truncated sound file"),
        (wav(np.zeros((9, 65), np.int16)), "65 channels, at most 64"),
        (wav_channels(0), "damaged or truncated sound file (channel count is zero)"),
        (wav_channels(65535), "damaged or truncated sound file (too many channels"),
        (wav(np.zeros(9, np.int16), claimed=10**9), "truncated WAV (ends at byte 62)"),
        (wav(np.zeros(9, np.int16), claimed=0), "a WAV that was never closed"),
        (wav(np.full(9, np.nan, np.float32)), "the sample at 0.000 s is nan, not a sound"),
        (wav(np.full(9, -np.inf, np.float32)), "the sample at 0.000 s is -inf, not a sound"),
        (wav(np.full(9, 1e38, np.float32)), "the sample at 0.000 s is 1e+38, not a sound"),
        (wav(np.zeros(9, np.int16))[:30], "damaged or truncated sound file"),
    ],
)
def test_hostile_sounds(data: bytes, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sound(data, name="a.wav")
    assert caught.value.reason.startswith(reason)


def test_a_sample_that_is_no_number_is_named_by_its_time() -> None:
    samples = np.zeros(3 * RATE, np.float32)
    samples[2 * RATE] = np.nan
    blocks = iter(sound_blocks(wav(samples), seconds=1.0))
    assert [len(next(blocks)), len(next(blocks))] == [RATE, RATE]
    with pytest.raises(InputError, match=r"the sample at 2\.000 s is nan"):
        next(blocks)


@pytest.mark.parametrize("claimed", [0xFFFFFFFF, 0x7FFFFFF0, 0x7FFFFFFF, 0xFFFFFFDB])
def test_a_wav_from_a_pipe_claims_gigabytes_and_ends_earlier(claimed: int) -> None:
    assert len(read_sound(wav(np.arange(100, dtype=np.int16), claimed=claimed)).samples) == 100


def test_no_sound_at_all_is_a_sound() -> None:
    sound = read_sound(wav(np.zeros(0, np.int16)))
    assert (len(sound.samples), sound.seconds, sound.rate) == (0, 0.0, RATE)


def test_cut_sounds_are_refused_where_the_header_tells() -> None:
    for kind, data in encoded_sounds().items():
        for cut in (len(data) // 2, len(data) - 3):
            if kind.split()[0] in ("WAV", "WAVEX", "RF64", "AIFF", "AU"):
                name = kind.split()[0].replace("WAVEX", "WAV")
                with pytest.raises(InputError) as caught:
                    read_sound(data[:cut])
                assert caught.value.reason == f"truncated {name} (ends at byte {cut})"
            elif "FLAC" in kind:
                with pytest.raises(InputError, match="truncated"):
                    read_sound(data[:cut])


def test_a_recording_that_is_too_long_is_refused_from_its_header() -> None:
    data = wav(np.zeros(2 * RATE, np.int16))
    with pytest.raises(LimitError, match=r"2 seconds, at most 1 \(raise .* --max-seconds\)"):
        sound_blocks(data, limits=Limits(seconds=1))


def test_hours_of_sound_cost_no_memory(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "long.flac"
    with soundfile.SoundFile(path, "w", 8000, 1, format="FLAC", subtype="PCM_16") as file:
        for _ in range(180):
            file.write(np.zeros(60 * 8000, np.int16))
    code = PEAK + (
        "import sys, numpy; from cnnapps.core.media import sound_blocks\n"
        "first = None\n"
        "n = 0\n"
        "for block in sound_blocks(sys.argv[1]):\n"
        "    n += len(block)\n"
        "    first = first or peak()\n"
        "print(n, peak() - first)"
    )
    n, more = map(int, run(code, str(path)).stdout.split())
    assert n == 180 * 60 * 8000
    assert more < 10_000  # kB; the samples are 346,000


# ------------------------------------------------------------------------------------------- video


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames at ten a second: frame i is 20 · i red."""
    cv2 = pytest.importorskip("cv2")
    path = tmp_path_factory.mktemp("video") / "clip.avi"
    code = cv2.VideoWriter_fourcc(*"MJPG")
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, code, 10, (64, 48))
    if not writer.isOpened():
        pytest.skip("this cv2 can't write video")
    for i in range(12):
        frame = np.zeros((48, 64, 3), np.uint8)
        frame[..., 2] = 20 * i
        writer.write(frame)
    writer.release()
    return path


def test_video_frames_in_order_with_their_times(video: Path) -> None:
    frames = video_frames(video)
    assert (frames.width, frames.height, frames.fps, frames.count) == (64, 48, 10.0, 12)
    got = list(frames)
    assert [f.number for f in got] == list(range(12))
    assert np.allclose([f.seconds for f in got], np.arange(12) / 10)
    for i, frame in enumerate(got):
        assert frame.rgb.shape == (48, 64, 3)
        assert abs(int(frame.rgb[..., 0].mean()) - 20 * i) <= 3
        assert frame.rgb[..., 1:].max() <= 6


def test_video_limits_cuts_and_other_files(video: Path, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match=r"12 frames, at most 11 .*--max-frames"):
        video_frames(video, limits=Limits(frames=11))
    with pytest.raises(LimitError, match="--max-pixels"):
        video_frames(video, limits=Limits(pixels=3071))
    cut = tmp_path / "cut.avi"
    data = video.read_bytes()
    at = 0
    for _ in range(6):
        at = data.index(b"00dc", at + 1)
    cut.write_bytes(data[:at])
    frames = video_frames(cut)
    with pytest.raises(InputError, match=r"truncated or damaged video \(\d+ of 12 frames\)"):
        list(frames)
    for name, data, reason in (
        ("a.m3u8", f"#EXTM3U\n#EXTINF:1,\n{video}\n".encode(), "not a video"),
        ("a.mp4", f"ffconcat version 1.0\nfile {video}\n".encode(), "not a video"),
        ("b.mp4", b"", "empty file"),
        ("c.mp4", b"\0\0\0\x18ftypisom" + bytes(500), "damaged video"),
    ):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=reason):
            list(video_frames(tmp_path / name))
    with pytest.raises(InputError, match="not from stdin"):
        video_frames("-")


# -------------------------------------------------------------------------------------------- text


def texts(source: Any, **options: Any) -> list[str]:
    lines = [line for block in text_blocks(source, **options) for line in block]
    assert [line.number for line in lines] == list(range(1, len(lines) + 1))
    assert all(line.error is None for line in lines)
    return [line.text for line in lines]


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"", []),
        (b"\n", [""]),
        (b"a", ["a"]),
        (b"a\nb", ["a", "b"]),
        (b"a\r\nb\r\n", ["a", "b"]),
        (b"a\rb\nc\r", ["a\rb", "c\r"]),
        (b"\n\n\r\n", ["", "", ""]),
        (b"a\r\r\n", ["a\r"]),
        (b"nul\0 in\x0b\x0c\x1c it\xe2\x80\xa8\xc2\x85\n", ["nul\0 in\x0b\x0c\x1c it\u2028\x85"]),
    ],
)
def test_what_a_line_is(data: bytes, want: list[str]) -> None:
    assert texts(data) == want


def test_carriage_returns_within_lines_are_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    for data in (b"a\nb\rc\r\n", "a\r\nb\r\n".encode("utf-16")):
        texts(data)
        assert not capsys.readouterr().err
    assert texts(b"good\rbad\rfine\n" * 2, name="mac.txt") == ["good\rbad\rfine"] * 2
    told = capsys.readouterr().err
    assert told == "cnnapps: mac.txt: carriage returns (old Mac's line ends) end no line here\n"


@given(st.lists(st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]))))
@settings(deadline=None)
def test_lines_go_round_in_every_unicode(lines: list[str]) -> None:
    for end in ("\n", "\r\n"):
        body = "".join(line + end for line in lines)
        for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-32"):
            if encoding == "utf-16" and body.startswith("\0"):
                continue  # its mark and a NUL are the mark of UTF-32
            if encoding != "utf-8" or not body.startswith("\ufeff"):
                assert texts(body.encode(encoding)) == lines
        for encoding in ("utf-16-le", "utf-16-be", "utf-32-be", "gb18030", "utf-7"):
            if not body.startswith("\ufeff"):
                assert texts(body.encode(encoding), encoding=encoding) == lines


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf16_without_a_mark_is_told_by_its_zeros(encoding: str) -> None:
    assert texts("a good film\n好\n".encode(encoding)) == ["a good film", "好"]


@given(st.binary(max_size=2000), st.data())
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_any_bytes_give_as_many_lines_as_they_have(data: bytes, draw: st.DataObject) -> None:
    """Whatever the bytes, and however a pipe cuts them up."""
    marks = (b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")
    others = (b"\x1f\x8b", b"\xfd7zXZ", b"BZh", b"\x89PNG", b"\xff\xd8", b"GIF8", b"PK", b"%PDF")
    if data.startswith((*marks, *others, b"\x7fELF")):
        data = b"x" + data
    assume(unmarked_utf16(data) is None)
    want = data.count(b"\n") + (not data.endswith(b"\n") and len(data) > 0)
    if data.startswith(b"\xef\xbb\xbf") and len(data) == 3:
        want = 0
    assert len(texts(data)) == want
    cuts = sorted(draw.draw(st.lists(st.integers(0, len(data)), max_size=5)))
    parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert len(texts(Pieces(parts))) == want
    assert texts(Pieces(parts)) == texts(Pieces([data]))


class Pieces(io.RawIOBase):
    """A pipe whose writer wrote these pieces."""

    def __init__(self, parts: list[bytes]) -> None:
        super().__init__()
        self.parts = [part for part in parts if part]

    def read1(self, size: int = -1) -> bytes:
        return self.parts.pop(0) if self.parts else b""


CHINESE = ["房间很干净，服务态度也好", "下次还会再来。", "联通", "味道一般", "very good 不错"]
WESTERN = [
    "un café très agréable",
    "Ärger über die Straße",
    "¿Qué pasó?",
    "“quoted” – it’s 5€",
    "naïve",
]


@pytest.mark.parametrize(
    ("lines", "encoding"),
    [
        (CHINESE, "utf-8"),
        (CHINESE, "gb18030"),
        (CHINESE * 2000, "gb18030"),
        (WESTERN, "utf-8"),
        (WESTERN, "cp1252"),
        (WESTERN * 3000, "cp1252"),
        (["tr\u00e8s mauvais caf\x81é", "d\u00e9çu, ol\x8dé"], "latin-1"),
        (["plain"] * 9000 + CHINESE, "gb18030"),
        (["plain"] * 20_000 + WESTERN, "cp1252"),
        (CHINESE, "utf-16"),
        (CHINESE * 5000, "utf-16"),
        (CHINESE, "utf-32"),
    ],
)
def test_encodings_are_told_apart(tmp_path: Path, lines: list[str], encoding: str) -> None:
    data = "\n".join(lines).encode(encoding)
    (tmp_path / "a.txt").write_bytes(data)
    assert texts(data) == lines
    assert texts(tmp_path / "a.txt") == lines
    assert texts(Pieces([data[i : i + 5000] for i in range(0, len(data), 5000)])) == lines


def test_each_line_of_a_pipe_alone_is_told_apart() -> None:
    for lines, encoding in ((CHINESE, "gb18030"), (WESTERN, "cp1252"), (CHINESE, "utf-8")):
        assert texts(Pieces([f"{line}\n".encode(encoding) for line in lines])) == lines


def test_a_damaged_line_costs_a_character_not_the_file() -> None:
    lines = [line.encode() for line in CHINESE]
    broken = lines[0][:4] + lines[0][5:]  # a byte is lost
    got = texts(b"\n".join([*lines, broken, "caf\xe9 noir".encode("latin-1"), *lines]))
    assert got[:5] == got[7:] == CHINESE
    assert "\ufffd" in got[5] and got[5].endswith("很干净，服务态度也好")
    assert got[6] == "café noir"  # no damage: a line from elsewhere
    assert texts(b"caf\xe9\xff\n", encoding="utf-8") == ["caf\ufffd\ufffd"]
    assert texts("é\n好".encode("shift_jis", "replace"), encoding="shift_jis")[1] == "好"
    with pytest.raises(InputError, match="unknown encoding 'klingon'"):
        text_blocks(b"", encoding="klingon")
    for nonsense in ("base64", "rot13", "idna", "undefined"):
        with pytest.raises(InputError, match="unknown encoding"):
            text_blocks(b"", encoding=nonsense)


def test_a_pipe_answers_at_once() -> None:
    """Each line is there before the next one is written; a mark may come in two parts."""
    reader, writer = os.pipe()
    with open(reader, "rb") as stream:
        blocks = text_blocks(stream)
        for number, line in enumerate(["one", "二", "", "three"], start=1):
            os.write(writer, f"{line}\n".encode())
            assert next(blocks) == [Line(number, line)]
        os.write(writer, b"half a ")
        threading.Timer(0.05, os.write, (writer, b"line\nrest")).start()
        assert next(blocks) == [Line(5, "half a line")]
        os.close(writer)
        assert next(blocks) == [Line(6, "rest")]
        assert list(blocks) == []
    data = "好\n".encode("utf-16")
    assert texts(Pieces([data[:1], data[1:3], data[3:]])) == ["好"]


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    with open(reader, "rb") as stream:
        threading.Timer(0.1, lambda: (os.write(writer, b"late\n"), os.close(writer))).start()
        assert texts(stream) == ["late"]


def test_a_line_that_is_too_long_costs_only_itself() -> None:
    limits = Limits(line_bytes=100)
    for length in (101, 200_000):
        data = b"a\n" + b"x" * length + b"\nb\n" + b"y" * 100 + b"\n"
        lines = [line for block in text_blocks(data, name="t.txt", limits=limits) for line in block]
        assert [line.number for line in lines] == [1, 2, 3, 4]
        assert [line.text for line in lines] == ["a", "", "b", "y" * 100]
        assert isinstance(lines[1].error, LimitError)
        message = f"t.txt, line 2: {length:,} bytes in one line, at most 100 "
        assert str(lines[1].error) == message + "(raise the limit with --max-line-bytes)"
    whole = [line for block in text_blocks(b"z" * 500_000, limits=limits) for line in block]
    assert len(whole) == 1 and whole[0].error is not None
    endless = Limits(line_bytes=100, bytes=1_000_000)
    with open("/dev/zero", "rb") as stream:
        (block,) = text_blocks(stream, limits=endless)
    assert block[0].error is not None


def test_a_million_lines_cost_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "many.txt"
    with open(path, "w", encoding="utf-8") as file:
        for _ in range(1000):
            file.write("this is a rather ordinary line of a review, 好\n" * 1000)
        file.write("x" * 50_000_000)
    code = PEAK + (
        "import sys; from cnnapps.core.media import text_blocks\n"
        "n, first = 0, None\n"
        "for block in text_blocks(sys.argv[1]):\n"
        "    n += len(block)\n"
        "    first = first or peak()\n"
        "    if n == 1000000: million = peak() - first\n"
        "print(n, million, peak() - first)"
    )
    n, million, more = map(int, run(code, str(path)).stdout.split())
    assert n == 1_000_001
    assert million < 3_000  # kB
    assert more < 30_000  # the long last line was dropped after 20 MB


# ------------------------------------------------------------------------------------------ inputs


def names(items: Iterator[Any], folder: Path) -> list[str]:
    """Names relative to the folder; errors as "!name: reason"."""
    out = []
    for item in items:
        assert item.error is None or item.error.source == item.name
        name = os.path.relpath(item.name, folder) if os.path.isabs(item.name) else item.name
        out.append(f"!{name}: {item.error.reason}" if item.error else name)
    return out


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in (
        "b.png", "a.PNG", "c.txt", ".hidden.png", "z/deep/e.jpg", "z/d.png", ".git/x.png",
        "m[1].png", "empty/readme.txt", "日本/絵.png",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "z" / "up").symlink_to("..")
    (tmp_path / "z" / "self.png").symlink_to(".")
    (tmp_path / "z" / "link.png").symlink_to("../b.png")
    os.mkfifo(tmp_path / "z" / "pipe.png")
    return tmp_path


def test_folders_are_walked_in_order_without_loops(tree: Path) -> None:
    got = names(expand_inputs([tree], suffixes=PICTURES), tree)
    assert got == [
        "a.PNG",
        "b.png",
        "m[1].png",
        "z/d.png",
        "z/deep/e.jpg",
        "z/link.png",
        "日本/絵.png",
    ]
    got = names(expand_inputs([tree / "z" / "up"], suffixes=[".txt"]), tree / "z" / "up")
    assert got == ["c.txt", "empty/readme.txt"]  # a link is followed when it is named


def test_files_patterns_stdin_and_what_is_missing(tree: Path) -> None:
    given = [
        "c.txt",
        "-",
        "none.png",
        "*.png",
        "z/**/*.jpg",
        "**/e.*",
        "q*.png",
        "m[1].png",
        "empty",
    ]
    given = [item if item == "-" else str(tree / item) for item in given]
    got = names(expand_inputs([*given, "https://example.org/a.png", ""], suffixes=PICTURES), tree)
    assert got[:3] == ["c.txt", "-", "!none.png: no such file"]
    assert got[3:5] == ["b.png", "m[1].png"]
    assert got[5:7] == ["z/deep/e.jpg", "z/deep/e.jpg"]
    assert got[7:9] == ["!q*.png: no file matches this pattern", "m[1].png"]
    assert got[9].startswith("!empty: no files in this folder that end in .png .jpg")
    assert "is an address: nothing is downloaded" in got[10]
    assert got[11].endswith("an empty file name")
    assert len(got) == 12


def test_patterns_with_stars(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tree)

    def match(pattern: str) -> list[str]:
        return [item.name for item in expand_inputs([pattern], suffixes=PICTURES)]

    everything = [
        "a.PNG",
        "b.png",
        "m[1].png",
        "z/d.png",
        "z/deep/e.jpg",
        "z/link.png",
        "日本/絵.png",
    ]
    assert match("**") == ["./" + name for name in everything]
    assert match("z/**") == ["z/d.png", "z/deep/e.jpg", "z/link.png"]
    assert match("z/*") == ["z/d.png", "z/deep/e.jpg", "z/link.png", "z/pipe.png"]
    assert match("**/d*") == ["z/d.png", "z/deep/e.jpg"]
    assert match(".*.png") == [".hidden.png"]
    assert match("z/**x") == ["z/**x"]  # an error, under the pattern's name


def test_lists_of_files(tree: Path) -> None:
    bad = os.fsdecode(b"bad\xff.png")
    odd = "line\nbreak.png"
    for name in (bad, odd):
        (tree / name).write_bytes(b"x")
    found = [str(tree / name) for name in ("b.png", bad, "none.png", "z", "m[1].png")]
    plain = tree / "list"
    plain.write_bytes(b"\r\n".join(map(os.fsencode, [*found[:2], "", *found[2:]])))
    want = ["b.png", bad, "!none.png: no such file", "z/d.png", "z/deep/e.jpg", "z/link.png"]
    items = expand_inputs([], suffixes=PICTURES, files_from=str(plain))
    assert names(items, tree) == [*want, "m[1].png"]
    plain.write_bytes(b"\0".join(map(os.fsencode, [*found[:1], str(tree / odd)])) + b"\0")
    items = expand_inputs([str(tree / "c.txt")], suffixes=PICTURES, files_from=str(plain))
    assert names(items, tree) == ["c.txt", "b.png", odd]
    with pytest.raises(InputError, match="no such file"):
        list(expand_inputs([], suffixes=PICTURES, files_from=str(tree / "nolist")))
    plain.write_bytes(b"x" * 200_000)
    with pytest.raises(InputError, match="not a list of file names"):
        list(expand_inputs([], suffixes=PICTURES, files_from=str(plain)))


def test_a_list_is_read_as_it_goes() -> None:
    """The first of many names is there before the last is written."""
    reader, writer = os.pipe()
    os.write(writer, b"first.png\n")
    code = (
        "import sys; from cnnapps.core.media import expand_inputs\n"
        "for item in expand_inputs([], suffixes=['.png'], files_from='-'):\n"
        "    print(item.name, flush=True)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=reader, stdout=subprocess.PIPE
    ) as process:
        os.close(reader)
        assert process.stdout is not None
        assert process.stdout.readline() == b"first.png\n"
        os.write(writer, b"second.png\n")
        os.close(writer)
        assert process.stdout.read() == b"second.png\n"


# ----------------------------------------------------------------------------------------- mutants


def good_files() -> dict[str, bytes]:
    """Every kind that the bench breaks."""
    image = pytest.importorskip("PIL.Image")
    rgba = np.dstack([PHOTO, PHOTO[..., :1]])
    frames = [image.fromarray(np.roll(PHOTO, i, axis=1)) for i in range(4)]

    def animated(form: str) -> bytes:
        file = io.BytesIO()
        frames[0].save(file, form, save_all=True, append_images=frames[1:])
        return file.getvalue()

    pictures = {
        "png": png(PHOTO, 8, 2),
        "png-deep": png(rgba.astype(int) * 257, 16, 6, before=chunk(b"tEXt", b"a\0b")),
        "png-palette": pillow(PHOTO, "PNG", "P"),
        "jpeg": pillow(PHOTO, "JPEG"),
        "jpeg-progressive": pillow(PHOTO, "JPEG", progressive=True),
        "jpeg-cmyk": pillow(PHOTO, "JPEG", "CMYK"),
        "gif": animated("GIF"),
        "bmp": pillow(PHOTO, "BMP"),
        "bmp-palette": pillow(PHOTO, "BMP", "P"),
        "webp": pillow(rgba, "WEBP"),
        "webp-lossless": pillow(rgba, "WEBP", lossless=True),
        "webp-animated": animated("WEBP"),
        "tiff": pillow(PHOTO, "TIFF", compression="tiff_lzw"),
        "tiff-fax": pillow(PHOTO, "TIFF", "1", compression="group4"),
        "tiff-jpeg": pillow(PHOTO, "TIFF", compression="jpeg"),
        "tiff-pages": animated("TIFF"),
        "pnm": b"P6 64 48 255\n" + PHOTO.tobytes(),
        "pnm-text": b"P3 8 6 255\n" + b" ".join(b"%d" % v for v in PHOTO[::8, ::8].ravel()),
    }
    sounds = {"sound-" + kind.replace(" ", "-").lower(): s for kind, s in encoded_sounds().items()}
    return pictures | sounds | {"text": "\n".join(CHINESE + WESTERN).encode() * 20}


def answer(kind: str, data: bytes, path: Path) -> None:
    """Read one file to its end, as an app would."""
    path.write_bytes(data)
    if kind.startswith("sound"):
        for _ in sound_blocks(path):
            pass
    elif kind.startswith("video"):
        for _ in video_frames(path):
            pass
    elif kind == "text":
        for _ in text_blocks(path):
            pass
    else:
        for picture in read_pages(path):
            assert picture.rgb.shape[2] == 3 and picture.rgb.size > 0


def bench(kind: str, n: int, seed: int, folder: Path) -> dict[str, Any]:
    """``n`` mutants of one kind in this process: what became of them, and the worst cost."""
    files = good_files()
    if kind.startswith("video"):
        files[kind] = (folder / "good").read_bytes()
    others = random.Random(seed).choice([files["png"], files["jpeg"], files["sound-wav-pcm_16"]])
    counts = {"answered": 0, "refused": 0}
    slowest = 0.0
    answer(kind, files[kind], folder / "mutant")
    for number, mutant in enumerate(mutants(files[kind], others, n, seed)):
        (folder / "number").write_text(str(number))
        began = time.process_time()
        try:
            answer(kind, mutant, folder / "mutant")
            counts["answered"] += 1
        except CnnappsError as error:
            counts["refused"] += 1
            assert str(error).isprintable() and str(folder / "mutant") in str(error), str(error)
        slowest = max(slowest, time.process_time() - began)
    status = Path("/proc/self/status").read_text()
    peak = int(status.split("VmHWM:")[1].split()[0]) // 1024
    return {**counts, "slowest_s": round(slowest, 2), "peak_mb": peak}


PICTURE_KINDS = [
    *("png", "png-deep", "png-palette", "jpeg", "jpeg-progressive", "jpeg-cmyk", "gif", "bmp"),
    *("bmp-palette", "webp", "webp-lossless", "webp-animated", "tiff", "tiff-fax", "tiff-jpeg"),
    *("tiff-pages", "pnm", "pnm-text"),
]
SOUND_KINDS = [
    *("wav-pcm_16", "wav-pcm_24", "wav-float", "wav-ulaw", "wavex-pcm_16", "rf64-pcm_16"),
    *("flac-pcm_16", "ogg-vorbis", "ogg-opus", "mp3-mpeg_layer_iii", "aiff-pcm_16", "au-pcm_16"),
    *("caf-pcm_16", "nist-pcm_16"),
]


@pytest.mark.parametrize(
    "kind", [*PICTURE_KINDS, *(f"sound-{kind}" for kind in SOUND_KINDS), "video-avi", "text"]
)
def test_two_hundred_mutants_are_answered_or_refused(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """In a process that may use 4 GB of addresses and 60 s: no signal, no other exception."""
    if kind == "video-avi":
        (tmp_path / "good").write_bytes(request.getfixturevalue("video").read_bytes())

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    done = subprocess.run(
        [sys.executable, __file__, kind, "200", "1", str(tmp_path)],
        capture_output=True,
        preexec_fn=limit,
        timeout=300,
        env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    )
    where = (tmp_path / "number").read_text() if (tmp_path / "number").exists() else "start"
    assert done.returncode == 0, f"mutant {where}: {done.stderr.decode()[-2000:]}"
    told = (b"not UTF-8", b"some bytes are not", b"end no line")
    ours = [any(t in line for t in told) for line in done.stderr.splitlines()]
    assert all(ours) and (kind == "text" or not ours), done.stderr
    result = json.loads(done.stdout)
    assert result["answered"] + result["refused"] == 200
    assert result["refused"] > 0 or kind == "text"
    assert result["peak_mb"] < 1100


if __name__ == "__main__":
    print(json.dumps(bench(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))))
