"""Text in pictures, in any script: what the apps write on boards, photos and curves.

opencv 5 brings fonts that know Latin, Greek, Cyrillic, Chinese, Japanese and Korean letters; with
an older one, letters beyond ASCII become "?". Colours are RGB, 0 to 255; pictures (H, W, 3) uint8.
"""

from __future__ import annotations

import functools
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import need

__all__ = ["Anchor", "Colour", "text", "text_width"]

Colour = tuple[int, int, int]
Anchor = Literal["left", "middle", "right"]
NORMAL, BOLD = 400, 700


@functools.cache
def _font() -> Any:
    """opencv's own font, or None before opencv 5."""
    cv2 = need("cv2", "drawing")
    return cv2.FontFace("sans") if hasattr(cv2, "FontFace") else None


def text_width(words: str, size: int, *, bold: bool = False) -> int:
    """Width in pixels of one line of text whose capitals are about 0.7 * ``size`` high."""
    cv2 = need("cv2", "drawing")
    font = _font()
    if font is None:
        (width, _), _ = cv2.getTextSize(_ascii(words), cv2.FONT_HERSHEY_SIMPLEX, size / 34, 1)
        return int(width)
    box = cv2.getTextSize((4096, 4096), words, (0, size), font, size, BOLD if bold else NORMAL)
    return int(box[0] + box[2])


def text(
    picture: NDArray[np.uint8],
    words: str,
    x: float,
    y: float,
    size: int,
    colour: Colour,
    *,
    anchor: Anchor = "left",
    bold: bool = False,
) -> None:
    """Write one line into ``picture``; its base line is at ``y``, its left end, middle or right
    end at ``x``.
    """
    cv2 = need("cv2", "drawing")
    width = text_width(words, size, bold=bold) if anchor != "left" else 0
    left = round(x - width * {"left": 0.0, "middle": 0.5, "right": 1.0}[anchor])
    at, font = (left, round(y)), _font()
    if font is None:
        thick = max(1, round(size / (12 if bold else 18)))
        cv2.putText(
            picture, _ascii(words), at, cv2.FONT_HERSHEY_SIMPLEX, size / 34, colour, thick,
            cv2.LINE_AA,
        )  # fmt: skip
    else:
        cv2.putText(picture, words, at, colour, font, size, BOLD if bold else NORMAL)


def _ascii(words: str) -> str:
    return words.replace("×", "x").encode("ascii", "replace").decode()
