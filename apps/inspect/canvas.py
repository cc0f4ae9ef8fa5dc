"""A small drawing surface: the same rectangles, lines, polygons and texts as SVG or as pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from cnnapps.core import draw
from cnnapps.core.draw import Anchor
from cnnapps.core.errors import InputError
from cnnapps.core.files import write_bytes
from cnnapps.core.limits import DEFAULT
from cnnapps.core.media import write_picture
from cnnapps.core.media._source import load_cv2

__all__ = ["BLUE", "GREEN", "GREY", "INK", "ORANGE", "PALE", "Canvas", "check_suffix"]

# Okabe and Ito: told apart by colour-blind readers
INK, GREY, PALE = "#222222", "#777777", "#e8e8e8"
BLUE, ORANGE, GREEN = "#0072b2", "#d55e00", "#009e73"

_SIDES: dict[str, Anchor] = {"start": "left", "middle": "middle", "end": "right"}
"""SVG's text-anchor -> the end of the text that stands at its x."""


def check_suffix(path: str, *suffixes: str) -> None:
    """InputError before any work when a picture can't be written under that name."""
    if Path(path).suffix.lower() not in suffixes:
        raise InputError(path, f"is written as {' or '.join(suffixes)}")


def _rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


class Canvas:
    """``width`` x ``height`` units, origin at the top left; text stands on its y."""

    def __init__(self, width: float, height: float, title: str) -> None:
        self.width, self.height, self.title = round(width), round(height), title
        self._shapes: list[tuple[Any, ...]] = []

    def polygon(
        self, points: Sequence[tuple[float, float]], fill: str = "", line: str = INK
    ) -> None:
        self._shapes.append(("polygon", list(points), fill, line))

    def rect(self, x: float, y: float, w: float, h: float, fill: str = "", line: str = INK) -> None:
        self.polygon([(x, y), (x + w, y), (x + w, y + h), (x, y + h)], fill, line)

    def line(
        self, points: Sequence[tuple[float, float]], colour: str = INK, width: float = 1.0
    ) -> None:
        self._shapes.append(("line", list(points), colour, width))

    def text(
        self,
        x: float,
        y: float,
        text: str,
        *,
        size: float = 12,
        anchor: str = "start",
        colour: str = INK,
    ) -> None:
        self._shapes.append(("text", x, y, text, size, anchor, colour))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write .svg or .png, whole or not at all."""
        check_suffix(str(path), ".svg", ".png")
        if Path(path).suffix.lower() == ".svg":
            try:
                write_bytes(path, self.svg().encode("utf-8"))
            except OSError as error:
                raise InputError(path, f"can't be written ({error.strerror})") from error
        else:
            write_picture(path, self.pixels())

    def svg(self) -> str:
        out = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {self.width} {self.height}" '
            f'width="{self.width}" height="{self.height}" '
            'font-family="system-ui, sans-serif" role="img">',
            f"<title>{escape(self.title)}</title>",
            f'<rect width="{self.width}" height="{self.height}" fill="white"/>',
        ]
        for shape in self._shapes:
            if shape[0] == "text":
                _, x, y, text, size, anchor, colour = shape
                out.append(
                    f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:g}" fill="{colour}" '
                    f'text-anchor="{anchor}">{escape(text)}</text>'
                )
                continue
            points = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape[1])
            if shape[0] == "polygon":
                fill, line = shape[2] or "none", shape[3] or "none"
                out.append(f'<polygon points="{points}" fill="{fill}" stroke="{line}"/>')
            else:
                out.append(
                    f'<polyline points="{points}" fill="none" stroke="{shape[2]}" '
                    f'stroke-width="{shape[3]:g}"/>'
                )
        return "\n".join([*out, "</svg>", ""])

    def pixels(self, scale: int = 2) -> np.ndarray:
        """(H, W, 3) uint8; ``scale`` pixels a unit."""
        cv2 = load_cv2("drawing", DEFAULT)
        image = np.full((self.height * scale, self.width * scale, 3), 255, np.uint8)

        def at(points: Sequence[tuple[float, float]]) -> np.ndarray:
            return np.array([[round(x * scale * 16), round(y * scale * 16)] for x, y in points])

        for shape in self._shapes:
            if shape[0] == "text":
                _, x, y, words, size, anchor, colour = shape
                high, side = round(size * scale), _SIDES[anchor]
                draw.text(image, words, x * scale, y * scale, high, _rgb(colour), anchor=side)
            elif shape[0] == "polygon":
                points = at(shape[1]).reshape(-1, 1, 2)
                if shape[2]:
                    cv2.fillPoly(image, [points], _rgb(shape[2]), cv2.LINE_AA, 4)
                if shape[3]:
                    cv2.polylines(image, [points], True, _rgb(shape[3]), 1, cv2.LINE_AA, 4)
            else:
                thick = max(1, round(shape[3] * scale / 1.5))
                points = at(shape[1]).reshape(-1, 1, 2)
                cv2.polylines(image, [points], False, _rgb(shape[2]), thick, cv2.LINE_AA, 4)
        return image
