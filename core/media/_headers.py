"""Headers of pictures, parsed before anything is decoded.

A parser raises struct.error, IndexError or EOFError when the bytes end too early, and ValueError
with the reason when it refuses.
"""

from __future__ import annotations

import contextlib
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from cnnapps.core.errors import InputError
from cnnapps.core.limits import Limits, check

MOST = 1_000_000  # parts (chunks, segments, tags) of one file: more is an attack


@dataclass(frozen=True, slots=True)
class Header:
    """What a header says, and the bytes that the decoder gets (without metadata)."""

    format: str
    width: int
    height: int
    mode: str
    bits: int
    data: bytes | bytearray | memoryview
    frames: int = 1
    orientation: int = 1
    top: float = 0.0  # the value of white in 16-bit samples; 0: to be found from the samples
    key: int | None = None  # the grey value that is transparent
    alpha: str = "straight"  # what a fourth channel means: straight, premultiplied, none
    inverted: bool = False  # 0 is white
    colour: bool = False  # ask the decoder for three channels


def parse_header(data: bytes, called: str, limits: Limits) -> Header:
    """Parse the header and check it; nothing is decoded yet."""
    if not data:
        raise InputError(called, "empty file")
    for magic, kind, parse in _FORMATS:
        if magic.match(data):
            header = parsed(partial(parse, data), kind, len(data), called)
            limit = "pages" if kind == "TIFF" else "frames"
            check(called, limit, header.frames, limits)
            return header
    raise InputError(called, _what_else(data))


def parsed(parse: Callable[[], Header], kind: str, size: int, called: str) -> Header:
    """Run a parser: it may run off the end (struct.error, IndexError, EOFError) or complain."""
    try:
        header = parse()
    except (struct.error, IndexError, EOFError) as error:
        raise InputError(called, f"truncated {kind} (ends at byte {size})") from error
    except ValueError as error:
        raise InputError(called, str(error)) from error
    if header.width < 1 or header.height < 1:
        raise InputError(called, f"a {kind} of {header.width} x {header.height} pixels")
    return header


_ELSEWHERE = (
    (rb"%PDF-", "a PDF, not a picture"),
    (rb"....ftyp(?:heic|heix|hevc|mif1|msf1)", "HEIC isn't read (convert it to JPEG or PNG)"),
    (rb"....ftypavi[fs]", "AVIF isn't read (convert it to JPEG or PNG)"),
    (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "JPEG 2000 isn't read (convert it to PNG)"),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL isn't read (convert it to PNG)"),
    (rb"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,500}?-->\s*)?(?:<!DOCTYPE svg|<svg)", "SVG isn't read"),
    (rb"P[Ff]\s", "a floating-point picture (convert it to 8 or 16 bits)"),
    (rb"P7\s", "PAM isn't read (convert it to PNG)"),
    (rb"(?:II\x2b\0|MM\0\x2b)", "BigTIFF isn't read (convert it to TIFF or PNG)"),
    (
        rb"8BPS|\0\0[\x01\x02]\0|v/1\x01|#\?R",
        "a picture format that isn't read (convert it to PNG)",
    ),
)


def _what_else(data: bytes) -> str:
    for magic, reason in _ELSEWHERE:
        if re.match(magic, data[:4096], re.DOTALL):
            return reason
    return "not a picture (PNG, JPEG, GIF, BMP, WebP, TIFF or PNM)"


def _png(data: bytes) -> Header:
    """PNG (W3C REC-png-3), also animated: the default picture and the number of frames.

    The decoder gets IHDR, PLTE, tRNS, IDAT and IEND only: no text or profile is ever unpacked.
    """
    kept, at, whole = [data[:8]], 8, True
    frames, orientation, transparent = 1, 1, b""
    width, height, bits, colour = struct.unpack_from(">IIBB", data, 16)
    if data[12:16] != b"IHDR":
        raise ValueError("damaged PNG (no header)")
    for _ in range(MOST):
        size, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + size
        if end > len(data):
            raise EOFError
        if kind in (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"):
            kept.append(data[at:end])
        else:
            whole = False
        if kind == b"tRNS":
            transparent = data[at + 8 : end - 4]
        elif kind == b"acTL":
            frames = max(1, *struct.unpack_from(">I", data, at + 8))
        elif kind == b"eXIf":
            orientation = _orientation(data[at + 8 : end - 4])
        at = end
        if kind == b"IEND":
            break
    else:
        raise ValueError("a PNG of too many chunks")
    mode = {0: "L", 2: "RGB", 3: "P", 4: "LA", 6: "RGBA"}.get(colour)
    if mode is None or bits not in (1, 2, 4, 8, 16):
        raise ValueError(f"damaged PNG (colour type {colour}, {bits} bits)")
    key = int.from_bytes(transparent[:2], "big") if mode == "L" and transparent else None
    body = data[:at] if whole else b"".join(kept)
    return Header("PNG", width, height, mode, bits, body, frames, orientation, key=key)


# A marker inside the data: FF and neither a stuffed zero, nor a restart, nor a fill byte.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_JPEG_FRAMES = set(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WORK = 3e9  # scans times pixels: seconds; usual are 1 to 12 scans


def _jpeg(data: bytes) -> Header:
    """JPEG (ITU-T T.81) up to its end marker, which a truncated file lacks.

    The decoder gets neither comments nor application segments but JFIF's and Adobe's, so that
    nobody else applies the orientation. A file of many empty scans takes minutes: refused.
    """
    kept, begin, at = [], 0, 2
    frame: tuple[int, int, int, int] | None = None
    scans, orientation = 0, 1
    for _ in range(MOST):
        found = _JPEG_MARKER.search(data, at)
        if found is None:
            raise EOFError
        code, start, at = data[found.end() - 1], found.start(), found.end()
        if code == 0xD9:
            break
        if code < 0xC0 or code == 0xD8:  # no segment follows
            continue
        at += struct.unpack_from(">H", data, at)[0]
        if at > len(data):
            raise EOFError
        if code in _JPEG_FRAMES and frame is None:
            frame = struct.unpack_from(">BHHB", data, start + 4)
        elif code == 0xDA:
            scans += 1
        elif code == 0xFE or (0xE0 <= code <= 0xEF and code not in (0xE0, 0xEE)):
            if code == 0xE1 and data[start + 4 : start + 10] == b"Exif\0\0":
                orientation = _orientation(data[start + 10 : at])
            kept.append(data[begin:start])
            begin = at
    else:
        raise ValueError("a JPEG of too many segments")
    if frame is None or not scans:
        raise ValueError("damaged JPEG (no picture in it)")
    bits, height, width, channels = frame
    if scans * width * height > max(_JPEG_WORK, 20 * width * height):
        raise ValueError(f"a JPEG of {width} x {height} pixels in {scans:,} scans")
    mode = {1: "L", 3: "RGB", 4: "CMYK"}.get(channels)
    if mode is None or bits != 8:
        raise ValueError(f"a JPEG of {channels} channels of {bits} bits isn't read")
    kept.append(data[begin:at])
    return Header("JPEG", width, height, mode, 8, b"".join(kept), 1, orientation, colour=True)


def _gif(data: bytes) -> Header:
    """GIF89a; the decoder gets the first frame as a file of its own. Frames are counted.

    What is cut after the first frame does no harm to it: browsers show such files, so do we.
    """
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    screen, control = bytearray(data[:at]), b""
    frames, body = 0, b""
    try:
        for _ in range(MOST):
            kind = data[at]
            if kind == 0x3B:
                break
            if kind == 0x21:
                end = _gif_blocks(data, at + 2)
                if data[at + 1] == 0xF9:
                    control = data[at:end]
            elif kind == 0x2C:
                x, y, w, h, local = struct.unpack_from("<HHHHB", data, at + 1)
                end = _gif_blocks(data, at + 11 + (3 << (local & 7) + 1 if local & 0x80 else 0))
                if not frames:
                    width, height = max(width, x + w), max(height, y + h)
                    body = control + data[at:end]
                frames += 1
            else:
                raise ValueError("damaged GIF")
            at = end
        else:
            raise ValueError("a GIF of too many parts")
    except (IndexError, struct.error, ValueError):
        if not frames:
            raise
    if not frames:
        raise ValueError("a GIF without a picture")
    if max(width, height) > 0xFFFF:
        raise ValueError("damaged GIF (a frame outside the picture)")
    struct.pack_into("<HH", screen, 6, width, height)  # a frame may be larger than the screen
    whole = bytes(screen) + body + b";"
    return Header("GIF", width, height, "P", 8, whole, frames)


def _gif_blocks(data: bytes, at: int) -> int:
    """The end of a chain of blocks, each a length and that many bytes, the last of length 0."""
    for _ in range(4 * MOST):
        size = data[at]
        at += size + 1
        if not size:
            return at
    raise ValueError("a GIF of too many parts")


def _bmp(data: bytes) -> Header:
    """Windows and OS/2 bitmaps; rows must be there unless they are run-length coded."""
    start, size = struct.unpack_from("<II", data, 10)
    if size == 12:
        width, height, _, bits = struct.unpack_from("<HHHH", data, 18)
        packing = 0
    elif 40 <= size <= 1000:
        width, height, _, bits, packing = struct.unpack_from("<iiHHI", data, 18)
    else:
        raise ValueError(f"damaged BMP (a header of {size} bytes)")
    height = abs(height)  # negative: the first row is on top
    if packing > 3 or bits not in (1, 4, 8, 16, 24, 32):
        raise ValueError(f"a BMP of {bits} bits and compression {packing} isn't read")
    if packing == 3 and bits == 32 and size < 52:  # the decoder doesn't look at these masks
        masks = struct.unpack_from("<III", data, 54)
        if masks != (0xFF0000, 0xFF00, 0xFF):
            raise ValueError("a BMP with unusual colour masks isn't read")
    rows = (width * bits + 31) // 32 * 4 * height if packing in (0, 3) else 1
    if start + rows > len(data):
        raise EOFError
    mode = "P" if bits <= 8 else "RGB"
    shown = "straight" if packing == 3 else "none"  # the fourth byte means nothing elsewhere
    depth = bits if bits <= 8 else 8
    return Header("BMP", width, height, mode, depth, data, alpha=shown, colour=size == 12)


def _webp(data: bytes) -> Header:
    """WebP (RFC 9649): lossy, lossless, extended, animated."""
    end = 8 + struct.unpack_from("<I", data, 4)[0]
    if end > len(data):
        raise EOFError
    at, sizes, mode = 12, [], "RGB"
    frames, orientation, still = 0, 1, b""
    for _ in range(MOST):
        if at + 8 > end:
            break
        kind, size = struct.unpack_from("<4sI", data, at)
        body = at + 8
        if body + size > end:
            raise EOFError
        if kind == b"VP8X":
            flags, wide, high = data[body], data[body + 4 : body + 7], data[body + 7 : body + 10]
            sizes.append((1 + int.from_bytes(wide, "little"), 1 + int.from_bytes(high, "little")))
            mode = "RGBA" if flags & 0x10 else mode
        elif kind == b"VP8 ":
            sizes.append(tuple(v & 0x3FFF for v in struct.unpack_from("<HH", data, body + 6)))
        elif kind == b"VP8L":
            packed = struct.unpack_from("<I", data, body + 1)[0]
            sizes.append(((packed & 0x3FFF) + 1, (packed >> 14 & 0x3FFF) + 1))
            mode = "RGBA" if packed >> 28 & 1 else mode
        elif kind == b"ANMF":
            frames += 1
            if frames == 1 and sizes:
                still = _webp_still(data[body : body + size], sizes[0])
        elif kind == b"EXIF":
            orientation = _orientation(data[body : body + size])
        at = body + size + (size & 1)
    else:
        raise ValueError("a WebP of too many chunks")
    if not sizes:
        raise ValueError("damaged WebP (no picture in it)")
    width, height = sizes[0]
    if any(w > width or h > height for w, h in sizes):
        raise ValueError("damaged WebP (a picture larger than its canvas)")
    whole = still or memoryview(data)[:end]
    return Header("WebP", width, height, mode, 8, whole, max(1, frames), orientation)


def _webp_still(frame: bytes, canvas: tuple[int, ...]) -> bytes:
    """A frame of an animation that covers its canvas as a file of its own, else b"".

    It costs a third of the memory that the decoder of animations takes.
    """
    x, y, w, h = (int.from_bytes(frame[i : i + 3], "little") for i in (0, 3, 6, 9))
    if (x, y, w + 1, h + 1) != (0, 0, *canvas):
        return b""
    extended = struct.pack("<4sII6s", b"VP8X", 10, 0x10, frame[6:12])  # says that alpha follows
    body = b"WEBP" + (extended if frame[16:20] == b"ALPH" else b"") + frame[16:]
    return b"RIFF" + struct.pack("<I", len(body)) + body


_GAP = rb"(?:\s|#[^\n]*\n)+"
_PNM = re.compile(
    rb"P(?:([14])%b(\d{1,9})%b(\d{1,9})|([2356])%b(\d{1,9})%b(\d{1,9})%b(\d{1,9}))\s"
    % ((_GAP,) * 5)
)


def _pnm(data: bytes) -> Header:
    """Netpbm's P1 ... P6; the first picture of the file. The header says which sample is white."""
    found = _PNM.match(data[:65_536])
    if found is None:
        if len(data) < 20:
            raise EOFError
        raise ValueError("damaged PNM (its header makes no sense)")
    kind, width, height, white = (int(v or 1) for v in found.group(4, 5, 6, 7))
    if found[1]:
        kind, width, height, white = int(found[1]), int(found[2]), int(found[3]), 1
    if not 1 <= white <= 65535:
        raise ValueError(f"damaged PNM (white is {white})")
    channels = 3 if kind in (3, 6) else 1
    if kind < 4:  # digits: at least one each, between them one space but in P1
        size = width * height * channels * (1 if kind == 1 else 2) - 1
    elif kind == 4:
        size = (width + 7) // 8 * height
    else:
        size = width * height * channels * (2 if white > 255 else 1)
    if len(data) < found.end() + size:
        raise EOFError
    body = data if kind < 4 else data[: found.end() + size]
    bits, top = white.bit_length(), float(white)
    if kind < 5 and white <= 255:  # the decoder scales these itself
        top = 255.0
    return Header("PNM", width, height, "RGB" if channels == 3 else "L", bits, body, top=top)


_TIFF_PACKINGS = (1, 2, 3, 4, 5, 7, 8, 32773, 32946)  # none, fax, LZW, JPEG, deflate, PackBits
_TIFF_MODES = {0: "L", 1: "L", 2: "RGB", 3: "P", 5: "CMYK", 6: "YCbCr", 8: "LAB"}


def _tiff_first(data: bytes) -> Header:
    pages = tiff_pages(data)
    return replace(tiff_page(bytearray(data), pages[0]), frames=len(pages))


def tiff_pages(data: bytes) -> list[int]:
    """Where the directories of a TIFF (Adobe, TIFF 6.0) begin: one a page."""
    order = "<" if data[:2] == b"II" else ">"
    offset, pages, entries = struct.unpack_from(order + "I", data, 4)[0], {}, 0
    while offset:
        if offset in pages:
            raise ValueError("a TIFF whose pages form a loop")
        pages[offset] = True
        entries += struct.unpack_from(order + "H", data, offset)[0]
        if entries > MOST:
            raise ValueError("a TIFF of too many tags")
        offset = struct.unpack_from(order + "I", data, _tiff_next(data, offset, order))[0]
    if not pages:
        raise ValueError("a TIFF without pages")
    return list(pages)


def _tiff_next(data: bytes | bytearray, offset: int, order: str) -> int:
    return offset + 2 + 12 * int(struct.unpack_from(order + "H", data, offset)[0])


def tiff_page(data: bytearray, offset: int) -> Header:
    """The page whose directory is at ``offset``; ``data`` is changed to hold that page only.

    Its orientation is changed to 1 as well: cv2 would apply it even when asked not to.
    """
    order = "<" if data[:2] == b"II" else ">"
    tags = _TiffTags(data, offset, order)
    width, height = tags.one(256), tags.one(257)
    kind, packing = tags.one(262, -1), tags.one(259, 1)
    channels, bits = tags.one(277, 1), tags.numbers(258) or [1]
    extra = tags.numbers(338)
    _refuse_tiff(tags, kind, packing, channels, bits, extra)
    _check_strips(tags, len(data), width * height * channels * bits[0] // 8 if packing == 1 else 0)
    orientation = tags.one(274, 1)
    if 274 in tags.at:
        struct.pack_into(order + "H", data, tags.at[274] + 8, 1)
    struct.pack_into(order + "I", data, 4, offset)
    struct.pack_into(order + "I", data, _tiff_next(data, offset, order), 0)
    depth = bits[0]
    alpha = "none"
    if kind == 2 and channels == 4 and extra[:1] in ([1], [2]):
        # libtiff multiplies 8-bit colours by their alpha if the file has not done so.
        alpha = "premultiplied" if depth == 8 or extra[0] == 1 else "straight"
    return Header(
        "TIFF",
        width,
        height,
        _TIFF_MODES[kind] + ("A" if alpha != "none" else ""),
        depth,
        data,
        orientation=orientation if 1 <= orientation <= 8 else 1,
        top=65535.0 - (1 << 16 - depth) + 1 if depth in (10, 12, 14) else 0.0,  # left-aligned
        alpha=alpha,
        inverted=kind == 0 and depth > 8,  # up to 8 bits libtiff inverts
    )


class _TiffTags:
    """A directory: tag -> where its entry begins; values of whole numbers on demand."""

    def __init__(self, data: bytearray, offset: int, order: str) -> None:
        self.data, self.order = data, order
        count = struct.unpack_from(order + "H", data, offset)[0]
        places = range(offset + 2, offset + 2 + 12 * count, 12)
        self.at = {struct.unpack_from(order + "H", data, place)[0]: place for place in places}

    def numbers(self, tag: int) -> list[int]:
        if tag not in self.at:
            return []
        at = self.at[tag] + 2
        kind, count = struct.unpack_from(self.order + "HI", self.data, at)
        code, size = {1: ("B", 1), 3: ("H", 2), 4: ("I", 4)}.get(kind, ("", 0))
        if not size or count > MOST:
            raise ValueError(f"damaged TIFF (tag {tag})")
        at += 6
        if count * size > 4:
            at = struct.unpack_from(self.order + "I", self.data, at)[0]
        return list(struct.unpack_from(f"{self.order}{count}{code}", self.data, at))

    def one(self, tag: int, default: int = 0) -> int:
        values = self.numbers(tag)
        return values[0] if values else default


def _refuse_tiff(
    tags: _TiffTags, kind: int, packing: int, channels: int, bits: list[int], extra: list[int]
) -> None:
    """ValueError for what the decoder does not read, or reads wrongly without a word."""
    samples = set(tags.numbers(339) or [1])
    depth = bits[0]
    if 3 in samples or tags.one(317, 1) == 3:
        raise ValueError("a floating-point TIFF (convert it to 8 or 16 bits)")
    if samples - {1, 4}:
        raise ValueError("a TIFF of signed or complex samples (convert it to 8 or 16 bits)")
    if kind not in _TIFF_MODES or packing not in _TIFF_PACKINGS:
        raise ValueError(f"a TIFF of colour kind {kind} and compression {packing} isn't read")
    if len(set(bits)) != 1 or depth not in (1, 4, 8, 10, 12, 14, 16) or (depth == 4 and kind != 3):
        raise ValueError(f"a TIFF of {depth}-bit samples isn't read (convert it to 8 or 16 bits)")
    wanted = {"L": 1, "P": 1, "CMYK": 4}.get(_TIFF_MODES[kind], 3)
    if channels != wanted and not (kind == 2 and channels == 4):
        what = "transparency" if 1 in extra or 2 in extra else f"{channels} channels"
        raise ValueError(f"a TIFF ({_TIFF_MODES[kind]}) with {what} isn't read (convert it to PNG)")
    if depth > 8 and (tags.one(284, 1) == 2 or kind > 2):
        raise ValueError(f"a {depth}-bit TIFF in planes or not grey or RGB isn't read")


def _check_strips(tags: _TiffTags, size: int, least: int) -> None:
    """EOFError when strips or tiles reach beyond the file, or hold less than ``least`` bytes."""
    tiled = 324 in tags.at
    starts, lengths = tags.numbers(324 if tiled else 273), tags.numbers(325 if tiled else 279)
    if not starts or len(starts) != len(lengths):
        raise ValueError("damaged TIFF (no table of its strips)")
    if tiled and tags.one(322) * tags.one(323) > max(1 << 22, tags.one(256) * tags.one(257)):
        raise ValueError("damaged TIFF (tiles larger than the picture)")
    if any(start + length > size for start, length in zip(starts, lengths, strict=True)):
        raise EOFError
    if sum(lengths) < least:
        raise EOFError


def _orientation(exif: bytes) -> int:
    """EXIF orientation 1 ... 8 (tag 274 of the first directory); 1 when there is none."""
    if exif[:6] == b"Exif\0\0":
        exif = exif[6:]
    with contextlib.suppress(struct.error, ValueError):
        order = {b"II": "<", b"MM": ">"}.get(exif[:2], "")
        if order:
            first = struct.unpack_from(order + "I", exif, 4)[0]
            value = _TiffTags(bytearray(exif), first, order).one(274, 1)
            return value if 1 <= value <= 8 else 1
    return 1


_FORMATS: tuple[tuple[re.Pattern[bytes], str, Callable[[bytes], Header]], ...] = (
    (re.compile(rb"\x89PNG\r\n\x1a\n"), "PNG", _png),
    (re.compile(rb"\xff\xd8\xff"), "JPEG", _jpeg),
    (re.compile(rb"GIF8[79]a"), "GIF", _gif),
    (
        re.compile(rb"BM.{4}\0{4}|BM.{12}(?:\x0c|\x28|\x34|\x38|\x40|\x6c|\x7c)\0\0\0", re.S),
        "BMP",
        _bmp,
    ),
    (re.compile(rb"RIFF.{4}WEBP", re.S), "WebP", _webp),
    (re.compile(rb"II\x2a\0|MM\0\x2a"), "TIFF", _tiff_first),
    (re.compile(rb"P[1-6][\s#]"), "PNM", _pnm),
)
