"""Digits in a picture: find them, cut them out as the training digits are, put them in order.

    ink = find_ink(rgb)                 # (H, W) float32: 0 paper, 1 ink; dark or light ink
    places = find_digits(ink)           # Places in reading order
    images = [cut(ink, p) for p in places]   # (28, 28) float32, centred by mass

The training digits (LeCun et al. 1998, "Gradient-based learning applied to document
recognition", III.A) were scaled into a 20 x 20 box with their proportions kept and laid into
28 x 28 with the centre of mass in the middle. A net that learned them reads nothing else well, so
a scan is brought into that form. numpy and cv2 only.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import need

__all__ = ["SIDE", "Ink", "Place", "bridges", "cut", "find_digits", "find_ink", "split", "text_of"]

SIDE, BOX = 28, 20
"""Sides of a digit's picture and of the box that it fills."""
LONGEST = 2400
"""Larger pictures are reduced to this side before digits are looked for."""
CLOSE = 160
"""Pictures with a side below it are taken to be cut close around their digits."""
SMALLEST = 5
"""Pixels: what is lower is a speck."""
CONTRAST = 14.0
"""Grey levels between paper and ink below which there is nothing to read."""
STROKE = 2.2
"""Pixels of a stroke in the 20 x 20 box: thinner ones are thickened; training digits have 2-4."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Ink:
    """How much ink each pixel holds: ``values`` (H, W) float32, 0 paper ... 1 ink.

    ``scale``: pixels of the picture per pixel of ``values``. ``light``: the ink is lighter than
    the paper. ``threshold`` parts ink from paper.
    """

    values: Floats
    scale: float
    light: bool
    threshold: float


@dataclass(frozen=True, slots=True)
class Place:
    """A digit's place in the ink: ``box`` (x0, y0, x1, y1) in its pixels, and which pixels.

    ``mask`` (y1 - y0, x1 - x0) bool. ``line`` counts from 0, ``space`` says that a gap stands
    before it. ``slope`` (dy/dx) is the line's.
    """

    box: tuple[int, int, int, int]
    mask: NDArray[np.bool_]
    line: int = 0
    space: bool = False
    slope: float = 0.0

    @property
    def width(self) -> int:
        return self.box[2] - self.box[0]

    @property
    def height(self) -> int:
        return self.box[3] - self.box[1]


# ------------------------------------------------------------------------------------------- ink


def find_ink(rgb: NDArray[np.uint8]) -> Ink | None:
    """Ink and paper of a picture (H, W, 3); None when nothing stands out from its surroundings.

    The paper's brightness is estimated around every pixel, so a shadow over the page is no ink.
    """
    cv2 = need("cv2", "reading digits")
    longest = max(rgb.shape[:2])
    scale = max(1.0, longest / LONGEST)
    if longest < 2 * SIDE:  # a tile as small as the training digits: strokes need some pixels
        scale = longest / (4.0 * SIDE) if longest > 2 else 1.0
    if scale != 1.0:
        size = (max(1, round(rgb.shape[1] / scale)), max(1, round(rgb.shape[0] / scale)))
        how = cv2.INTER_AREA if scale > 1 else cv2.INTER_CUBIC
        rgb = cv2.resize(rgb, size, interpolation=how)
    grey = cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
    noise = _noise(grey)
    if noise > 3:
        grey = cv2.GaussianBlur(grey, (0, 0), min(2.0, noise / 8))
        noise /= 3
    difference = grey.astype(np.float32) - _paper(cv2, grey)
    dark, light = (_strength(d) for d in (-difference, difference))
    is_light = light > dark
    contrast = np.maximum(difference if is_light else -difference, 0)
    threshold, top = _threshold(cv2, contrast, noise)
    if top < max(CONTRAST, 5 * noise):
        return None
    return Ink(np.minimum(contrast / top, 1.0), scale, is_light, threshold / top)


def _noise(grey: NDArray[np.uint8]) -> float:
    """Standard deviation of the pixels' noise, from second differences of both axes.

    Immerkaer 1996, "Fast Noise Variance Estimation", with a median for the mean: edges are few.
    """
    if min(grey.shape) < 3:
        return 0.0
    g = grey.astype(np.int16)
    second = g[1:-1] * 2 - g[:-2] - g[2:]
    mixed = second[:, 1:-1] * 2 - second[:, :-2] - second[:, 2:]
    return float(np.median(np.abs(mixed))) / (0.6745 * 6)


def _paper(cv2: Any, grey: NDArray[np.uint8]) -> Floats:
    """The brightness around each pixel (H, W): a median over a third of the picture, smoothed.

    Ink covers less than half of any such window, so the median is paper. A small picture is cut
    close to its digits, whose strokes fill much of it: there the window is larger.
    """
    height, width = grey.shape
    share = 0.75 if min(height, width) < CLOSE else 1 / 3
    step = max(1.0, max(height, width) / 160)
    small = cv2.resize(
        grey,
        (max(1, round(width / step)), max(1, round(height / step))),
        interpolation=cv2.INTER_AREA,
    )
    window = max(3, round(share * max(small.shape)) | 1)
    half = window // 2
    ring = cv2.copyMakeBorder(small, half, half, half, half, cv2.BORDER_REFLECT)
    paper = cv2.medianBlur(ring, window)[half : half + small.shape[0], half : half + small.shape[1]]
    paper = cv2.blur(paper.astype(np.float32), (window // 4 * 2 + 1,) * 2)
    return cv2.resize(paper, (width, height), interpolation=cv2.INTER_LINEAR)


def _strength(contrast: Floats) -> float:
    """How much a polarity looks like ink: few pixels, far from the paper."""
    sample = contrast.ravel()[:: max(1, contrast.size // 200_000)]
    return float((np.maximum(sample, 0) ** 2).mean())


def _threshold(cv2: Any, contrast: Floats, noise: float) -> tuple[float, float]:
    """Otsu's threshold (1979) over the pixels that stand out, and the contrast of full ink."""
    out = contrast[contrast > max(4.0, 2 * noise)]
    if out.size < 4:
        return 255.0, 0.0
    level, _ = cv2.threshold(
        np.minimum(out, 255).astype(np.uint8).reshape(-1, 1), 0, 255, cv2.THRESH_OTSU
    )
    top = float(np.percentile(out[out >= level], 60)) if (out >= level).any() else float(out.max())
    return max(0.45 * top, 4 * noise, 6.0), top


# ---------------------------------------------------------------------------------------- places


def find_digits(ink: Ink) -> list[Place]:
    """Where digits stand, in reading order: lines from the top, each from the left.

    Specks, rules, frames and marks much lower than their line are left out; pieces of a broken
    stroke are joined.
    """
    cv2 = need("cv2", "reading digits")
    pieces = _components(cv2, ink)
    if not pieces:
        return []
    tall = _typical([p.height for p in pieces])
    pieces = _joined(pieces, tall)
    pieces = [p for p in pieces if p.height >= max(SMALLEST, 0.35 * tall) and _is_digit(p)]
    if not pieces:
        return []
    return _in_lines(pieces)


def _components(cv2: Any, ink: Ink) -> list[Place]:
    binary = (ink.values > ink.threshold).astype(np.uint8)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(binary, connectivity=8)
    height, width = binary.shape
    out = []
    for i in range(1, count):
        x, y, w, h, area = (int(v) for v in stats[i])
        if h < 3 or area < 6:
            continue
        spans = (x == 0) + (y == 0) + (x + w == width) + (y + h == height)
        if spans >= 2 and (w > 0.5 * width or h > 0.5 * height) and area < 0.5 * w * h:
            continue  # a frame, or the edge of the page
        if (w > 0.5 * width or h > 0.5 * height) and w > 3 and area < 0.1 * w * h:
            continue  # a frame inside the page
        if w > 12 * h or h > 14 * w or (w > 4 * h and area > 0.6 * w * h):
            continue  # a rule
        out.append(Place((x, y, x + w, y + h), labels[y : y + h, x : x + w] == i))
    return out[:20_000]


def _typical(heights: Sequence[int]) -> float:
    """The height of most ink: the median, each piece weighted by its height squared."""
    order = np.sort(np.asarray(heights, dtype=np.float64))
    weight = np.cumsum(order**2)
    return float(order[int(np.searchsorted(weight, weight[-1] / 2))])


def _joined(pieces: list[Place], tall: float) -> list[Place]:
    """Pieces of one digit as one: one above the other, and close.

    Only where a piece alone is too low to be a digit, so two lines of text never grow together.
    """
    pieces = sorted(pieces, key=lambda p: -p.height)
    done: list[Place] = []
    for piece in pieces:
        x0, y0, x1, y1 = piece.box
        if piece.height < 0.7 * tall:
            best, near = None, 0.22 * tall
            for i, other in enumerate(done):
                ox0, oy0, ox1, oy1 = other.box
                overlap = min(x1, ox1) - max(x0, ox0)
                gap = max(y0 - oy1, oy0 - y1, 0)
                union = max(y1, oy1) - min(y0, oy0)
                sideways = max(x0 - ox1, ox0 - x1, 0)
                above = overlap >= 0.4 * min(x1 - x0, ox1 - ox0) and gap <= near
                # the bar of a 5 may float beside its top
                beside = sideways <= 0.06 * tall and y1 - oy0 < 0.5 * tall and y0 >= oy0 - near
                if (above or beside) and union <= 1.45 * tall and other.height < 1.1 * tall:
                    best, near = i, gap
            if best is not None:
                done[best] = _union(done[best], piece)
                continue
        done.append(piece)
    return done


def _union(a: Place, b: Place) -> Place:
    x0, y0 = min(a.box[0], b.box[0]), min(a.box[1], b.box[1])
    x1, y1 = max(a.box[2], b.box[2]), max(a.box[3], b.box[3])
    mask = np.zeros((y1 - y0, x1 - x0), dtype=np.bool_)
    for p in (a, b):
        px0, py0, px1, py1 = p.box
        mask[py0 - y0 : py1 - y0, px0 - x0 : px1 - x0] |= p.mask
    return Place((x0, y0, x1, y1), mask)


def _is_digit(piece: Place) -> bool:
    """Not a solid block wider than high, not a lying stroke."""
    fill = float(piece.mask.mean())
    return piece.width <= 8 * piece.height and not (piece.width > 1.3 * piece.height and fill > 0.8)


def _in_lines(pieces: list[Place]) -> list[Place]:
    slope = _slope(pieces)
    levels = [_middle(p, slope) for p in pieces]
    order = sorted(range(len(pieces)), key=lambda i: levels[i])
    lines: list[list[int]] = []
    for i in order:
        home = None
        for line in lines[-3:]:
            middle = float(np.median([levels[j] for j in line]))
            height = float(np.median([pieces[j].height for j in line]))
            if abs(levels[i] - middle) < 0.55 * max(height, pieces[i].height):
                home = line
        if home is None:
            lines.append([i])
        else:
            home.append(i)
    out = []
    for number, line in enumerate(lines):
        places = sorted((pieces[i] for i in line), key=lambda p: p.box[0] + p.box[2])
        tall = float(np.percentile([p.height for p in places], 75))
        # what is much lower than its line is a dot, a comma, a dash
        places = [p for p in places if p.height >= 0.5 * tall]
        gaps = [b.box[0] - a.box[2] for a, b in pairwise(places)]
        usual = float(np.median(gaps)) if len(gaps) > 2 else 0.25 * tall
        wide = max(0.25 * tall, 2 * usual + 0.1 * tall)
        for k, place in enumerate(places):
            space = k > 0 and gaps[k - 1] > wide
            out.append(replace(place, line=number, space=space, slope=slope))
    return out


def _middle(piece: Place, slope: float) -> float:
    x0, y0, x1, y1 = piece.box
    return (y0 + y1) / 2 - slope * (x0 + x1) / 2


def _slope(pieces: list[Place]) -> float:
    """dy/dx of the lines: the median over each digit and its next one to the right, weighed."""
    if len(pieces) < 3:
        return 0.0
    middles = np.array([((p.box[0] + p.box[2]) / 2, (p.box[1] + p.box[3]) / 2) for p in pieces])
    # feet are steadier than middles in a line of equal digits
    feet = np.array([float(p.box[3]) for p in pieces])
    heights = np.array([float(p.height) for p in pieces])
    slopes = []
    for i, (x, y) in enumerate(middles):
        dx, dy = middles[:, 0] - x, middles[:, 1] - y
        tall = heights[i]
        near = (dx > 0.2 * tall) & (dx < 4 * tall) & (np.abs(dy) < 0.6 * dx)
        near &= np.abs(heights - tall) < 0.35 * tall
        if near.any():
            j = int(np.argmin(np.where(near, dx + 2 * np.abs(dy), np.inf)))
            slopes.append((feet[j] - feet[i]) / dx[j])
    if len(slopes) < 2:
        return 0.0
    found = float(np.median(slopes))
    return found if abs(found) < 0.5 else 0.0


# ----------------------------------------------------------------------------------------- digits


def cut(ink: Ink, place: Place) -> Floats:
    """The digit as the training digits are: (28, 28) float32, 0 paper ... 1 ink.

    Turned by the line's slope, its longer side 20 pixels, its centre of mass in the middle.
    """
    cv2 = need("cv2", "reading digits")
    x0, y0, x1, y1 = place.box
    mask = place.mask.astype(np.uint8)
    pad = max(2, round(0.08 * max(place.width, place.height)))
    tile = np.zeros((place.height + 2 * pad, place.width + 2 * pad), np.float32)
    # grey edges belong to the stroke, neighbours' pixels don't
    grown = cv2.dilate(cv2.copyMakeBorder(mask, pad, pad, pad, pad, 0), np.ones((3, 3), np.uint8))
    h, w = ink.values.shape
    top, left, bottom, right = y0 - pad, x0 - pad, y1 + pad, x1 + pad
    sy, sx = slice(max(top, 0), min(bottom, h)), slice(max(left, 0), min(right, w))
    tile[sy.start - top : sy.stop - top, sx.start - left : sx.stop - left] = ink.values[sy, sx]
    tile *= grown
    full = float(np.percentile(tile[tile > ink.threshold], 70)) if mask.any() else 1.0
    tile = np.clip((tile - 0.5 * ink.threshold) / max(full - 0.5 * ink.threshold, 1e-6), 0, 1)
    if abs(place.slope) > 0.035:
        tile = _turned(cv2, tile, place.slope)
    return _centred(cv2, tile)


def _turned(cv2: Any, tile: Floats, slope: float) -> Floats:
    height, width = tile.shape
    side = math.ceil(math.hypot(height, width)) + 2
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), math.degrees(math.atan(slope)), 1.0)
    matrix[:, 2] += (side - width) / 2, (side - height) / 2
    return cv2.warpAffine(tile, matrix, (side, side), flags=cv2.INTER_LINEAR)


def _centred(cv2: Any, tile: Floats) -> Floats:
    rows, columns = (np.flatnonzero((tile > 0.3).any(axis)) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return np.zeros((SIDE, SIDE), np.float32)
    tile = tile[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    longest = max(tile.shape)
    # a stroke of w pixels has area w * length and boundary 2 * length
    wanted = STROKE * longest / BOX
    stroke = _stroke(cv2, tile)
    if stroke < 0.8 * wanted:
        grow = max(1, round((wanted - stroke) / 2))
        tile = cv2.copyMakeBorder(tile, grow, grow, grow, grow, cv2.BORDER_CONSTANT, value=0)
        kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * grow + 1,) * 2)
        tile = cv2.dilate(tile, kernel)
        longest = max(tile.shape)
    size = tuple(max(1, round(n * BOX / longest)) for n in tile.shape[::-1])
    how = cv2.INTER_AREA if longest > BOX else cv2.INTER_LINEAR
    small = cv2.resize(tile, size, interpolation=how)
    out = np.zeros((SIDE, SIDE), np.float32)
    height, width = small.shape
    mass = float(small.sum()) or 1.0
    middle = (SIDE - 1) / 2
    y = middle - float((small.sum(1) * np.arange(height)).sum()) / mass
    x = middle - float((small.sum(0) * np.arange(width)).sum()) / mass
    top = min(max(round(y), 0), SIDE - height)
    left = min(max(round(x), 0), SIDE - width)
    out[top : top + height, left : left + width] = np.minimum(small, 1.0)
    return out


def _stroke(cv2: Any, tile: Floats) -> float:
    """Typical width of the strokes in pixels: twice the distance to paper along their middle."""
    binary = (tile > 0.5).astype(np.uint8)
    if not binary.any():
        return 0.0
    framed = cv2.copyMakeBorder(binary, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    distance = cv2.distanceTransform(framed, cv2.DIST_L2, 3)
    ridge = (distance >= cv2.dilate(distance, np.ones((3, 3), np.uint8))) & (distance > 0)
    return 2 * float(np.median(distance[ridge])) - 1


def split(place: Place, parts: int) -> list[Place]:
    """A place as ``parts`` digits that touch: cut where the least ink is near equal shares."""
    ink = place.mask.sum(0).astype(np.float64)
    cuts = [0]
    for k in range(1, parts):
        goal = k * place.width / parts
        reach = max(1, round(0.25 * place.width / parts))
        lo, hi = max(cuts[-1] + 1, round(goal) - reach), min(place.width - 1, round(goal) + reach)
        if hi <= lo:
            return [place]
        cost = ink[lo:hi] + 0.15 * place.height * np.abs(np.arange(lo, hi) - goal) / reach
        cuts.append(lo + int(np.argmin(cost)))
    cuts.append(place.width)
    out: list[Place] = []
    for left, right in pairwise(cuts):
        mask = place.mask[:, left:right]
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            return [place]
        x0, y0 = place.box[0] + left + int(columns[0]), place.box[1] + int(rows[0])
        part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        box = (x0, y0, x0 + part.shape[1], y0 + part.shape[0])
        out.append(replace(place, box=box, mask=part, space=place.space and not out))
    return out


def bridges(place: Place, parts: Sequence[Place]) -> int:
    """Most strokes that one cut goes through: touching digits have one, a wide 0 has two."""
    most = 0
    for part in parts[1:]:
        column = place.mask[:, part.box[0] - place.box[0]].astype(np.int8)
        most = max(most, int((np.diff(column, prepend=0) == 1).sum()))
    return most


def text_of(places: Sequence[Place], digits: Sequence[int]) -> str:
    """The digits as text: a line a line, a blank where a gap stands."""
    out: list[str] = []
    for i, (place, digit) in enumerate(zip(places, digits, strict=True)):
        if i and place.line != places[i - 1].line:
            out.append("\n")
        elif i and place.space:
            out.append(" ")
        out.append(str(digit))
    return "".join(out)
