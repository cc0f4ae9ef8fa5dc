"""A position as a picture: wooden board, stones, the net's moves as a heat map, and their list."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy.board import COLUMNS, from_vertex
from cnnapps.apps.go_policy.predict import GoResult
from cnnapps.apps.go_policy.render import star_points
from cnnapps.core.draw import Colour, text, text_width
from cnnapps.core.errors import need, printable

__all__ = ["draw_board"]

FINE = 2
"""Everything is drawn this many times as large and then shrunk: smooth edges, even of numbers."""
TOP = 10
PANEL = 300
MARGIN = 46
WOOD: Colour = (226, 180, 110)
PAPER: Colour = (250, 249, 246)
INK: Colour = (45, 38, 30)
FAINT: Colour = (120, 112, 102)
# From weak to strong: told apart by lightness too, so it works in grey and for colour-blind eyes.
HEAT = np.array([[255, 236, 160], [250, 160, 60], [214, 62, 48], [120, 10, 60]], np.float64)
LEAST = 0.005
"""Moves below this probability are not painted."""
NAMED = 0.02
"""A painted move of at least this probability has its percentage written on it."""

Pixels = NDArray[np.uint8]


def draw_board(
    result: GoResult, *, top: int | None = None, title: str = "", cell: int = 40
) -> Pixels:
    """The board of a result -> (H, W, 3) uint8, RGB.

    ``cell`` is the distance of two lines in pixels. The colour of a point shows its probability on
    a square-root scale, a number the percentage, a ring the last move; the list on the right has
    ten moves. With ``top`` both have only so many. ``title`` may have two lines, in any script.
    """
    cv2 = need("cv2", "drawing a board")
    n, scale = result.size, FINE
    shown = TOP if top is None else top
    step, margin = cell * scale, MARGIN * scale
    lines = [printable(part, 110) for part in title.split("\n") if part][:2]
    head = (16 + 26 * len(lines)) * scale if lines else 0
    board = (n - 1) * step + 2 * margin
    height = max(board + head, head + (110 + 30 * min(shown, len(result.moves))) * scale)
    picture = np.full((height, board + PANEL * scale, 3), PAPER, np.uint8)
    picture[head : head + board, :board] = _wood(board)
    canvas = _Canvas(cv2, picture, head + margin, margin, step, n)
    canvas.lines()
    for y in range(n):
        for x in range(n):
            stone = int(result.stones[y, x])
            if stone:
                canvas.stone(y, x, black=stone == 1)
    if result.last is not None:
        y, x = result.last
        canvas.ring(y, x, (255, 255, 255) if result.stones[y, x] == 1 else (20, 20, 20))
    best = float(result.grid.max()) if result.grid.size else 0.0
    likely = result.grid >= LEAST
    if top is not None:
        likely = np.zeros_like(likely)
        for move in result.moves[:top]:
            point = from_vertex(move.move, n)
            likely[divmod(point, n)] = result.grid[divmod(point, n)] >= LEAST
    for y, x in zip(*np.nonzero(likely), strict=True):
        canvas.heat(int(y), int(x), float(result.grid[y, x]), best)
    for i, line in enumerate(lines):
        size, colour = (20, INK) if i == 0 else (16, FAINT)
        _fitted(picture, line, margin // 2, (30 + 26 * i) * scale, size * scale, colour, i == 0)
    _panel(picture, result, shown, board, head, scale)
    height, width = picture.shape[0] // scale, picture.shape[1] // scale
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


class _Canvas:
    """The board's points in a picture: ``top`` and ``left`` are those of its first lines."""

    def __init__(self, cv2: Any, picture: Pixels, top: int, left: int, step: int, n: int) -> None:
        self.cv2, self.picture, self.top, self.left = cv2, picture, top, left
        self.step, self.n = step, n

    def at(self, y: int, x: int) -> tuple[int, int]:
        """(x, y) of a point in the picture."""
        return self.left + x * self.step, self.top + y * self.step

    def lines(self) -> None:
        thick = max(1, self.step // 36)
        for i in range(self.n):
            edge = thick * 2 if i in (0, self.n - 1) else thick
            self.cv2.line(self.picture, self.at(i, 0), self.at(i, self.n - 1), INK, edge)
            self.cv2.line(self.picture, self.at(0, i), self.at(self.n - 1, i), INK, edge)
        for y, x in star_points(self.n):
            self.cv2.circle(self.picture, self.at(y, x), self.step // 10, INK, -1, self.cv2.LINE_AA)
        size = round(self.step * 0.36)
        away = round(self.step * 0.78)
        for i in range(self.n):
            for end, sign in ((0, -1), (self.n - 1, 1)):
                x, y = self.at(end, i)
                y += sign * away + size // 3
                text(self.picture, COLUMNS[i], x, y, size, INK, anchor="middle")
                x, y = self.at(i, end)
                x, y = x + sign * away, y + size // 3
                text(self.picture, str(self.n - i), x, y, size, INK, anchor="middle")

    def stone(self, y: int, x: int, *, black: bool) -> None:
        """A stone with a soft shadow and a highlight."""
        cx, cy = self.at(y, x)
        r = round(self.step * 0.475)
        pad = r + self.step // 8
        grid = np.mgrid[-pad : pad + 1, -pad : pad + 1].astype(np.float64)
        dy, dx = grid[0], grid[1]
        distance = np.hypot(dx, dy)
        part = self.picture[cy - pad : cy + pad + 1, cx - pad : cx + pad + 1].astype(np.float64)
        away = np.hypot(dx - self.step * 0.05, dy - self.step * 0.07)
        shadow = np.clip((r + self.step * 0.06 - away) / (self.step * 0.12), 0, 1) * 0.45
        part *= (1 - shadow)[..., None]
        light = np.clip(1 - np.hypot(dx + r * 0.35, dy + r * 0.4) / (1.5 * r), 0, 1)
        low, high = (18.0, 105.0) if black else (205.0, 255.0)
        shade = low + (high - low) * light ** (2.2 if black else 0.8)
        inside = np.clip(r - distance + 0.5, 0, 1)[..., None]
        part = part * (1 - inside) + shade[..., None] * inside
        self.picture[cy - pad : cy + pad + 1, cx - pad : cx + pad + 1] = part.round()

    def ring(self, y: int, x: int, colour: Colour) -> None:
        thick = max(2, self.step // 16)
        self.cv2.circle(
            self.picture, self.at(y, x), round(self.step * 0.23), colour, thick, self.cv2.LINE_AA
        )

    def heat(self, y: int, x: int, p: float, best: float) -> None:
        """A disc whose colour is the probability, with the percentage on it."""
        cx, cy = self.at(y, x)
        r = round(self.step * 0.44)
        part = self.picture[cy - r : cy + r + 1, cx - r : cx + r + 1]
        grid = np.mgrid[-r : r + 1, -r : r + 1]
        inside = np.clip(r - np.hypot(grid[0], grid[1]) + 0.5, 0, 1)[..., None]
        colour = _heat(p)
        strength = inside * (0.55 + 0.4 * min(1.0, (p / max(best, 1e-9)) ** 0.5))
        part[:] = (part * (1 - strength) + np.array(colour) * strength).round()
        if p >= NAMED:
            light = sum(colour) > 420
            words = f"{100 * p:.0f}"
            size = round(self.step * 0.4)
            ink: Colour = (40, 20, 0) if light else (255, 255, 255)
            text(self.picture, words, cx, cy + size // 3, size, ink, anchor="middle", bold=True)


def _heat(p: float) -> Colour:
    """The colour of a probability, on a square-root scale."""
    place = min(max(p, 0.0), 1.0) ** 0.5 * (len(HEAT) - 1)
    i = min(int(place), len(HEAT) - 2)
    mixed = HEAT[i] + (HEAT[i + 1] - HEAT[i]) * (place - i)
    return int(mixed[0]), int(mixed[1]), int(mixed[2])


def _wood(size: int) -> Pixels:
    """A board's surface: a colour with a faint grain, the same every time."""
    rng = np.random.default_rng(7)
    knots = rng.normal(0, 1, size // 24 + 3)
    across = np.interp(np.arange(size) / 24, np.arange(len(knots)), knots)
    wave = 6 * np.sin(np.arange(size) / size * 2.6)[:, None]
    place = np.clip(np.arange(size)[None, :] + wave, 0, size - 1)
    grain = np.interp(place.ravel(), np.arange(size), across).reshape(size, size)
    return np.clip(np.array(WOOD) + 4.0 * grain[..., None], 0, 255).astype(np.uint8)


def _fitted(
    picture: Pixels, words: str, x: float, y: float, size: int, colour: Colour, bold: bool
) -> None:
    """A line that ends with "..." where the picture does."""
    room = picture.shape[1] - 2 * x
    while words and text_width(words, size, bold=bold) > room:
        words = words[: max(0, int(len(words) * 0.9) - 1)].rstrip() + "…" if len(words) > 8 else ""
    text(picture, words, x, y, size, colour, bold=bold)


def _panel(picture: Pixels, result: GoResult, top: int, left: int, head: int, scale: int) -> None:
    cv2 = need("cv2", "drawing a board")
    x, y = left + 24 * scale, head + 44 * scale
    mover = "Black" if result.to_play == "black" else "White"
    text(picture, f"{mover} to play", x, y, 20 * scale, INK, bold=True)
    y += 26 * scale
    text(picture, f"after move {result.move_number}", x, y, 15 * scale, FAINT)
    y += 40 * scale
    room = PANEL * scale - 160 * scale
    best = max((m.probability for m in result.moves[:1]), default=1.0)
    for move in result.moves[:top]:
        text(picture, move.move, x, y, 17 * scale, INK, bold=True)
        share = f"{100 * move.probability:.1f}%"
        text(picture, share, x + 108 * scale, y, 16 * scale, INK, anchor="right")
        bar = max(2, round(room * move.probability / max(best, 0.2)))
        start = (x + 120 * scale, y - 12 * scale)
        cv2.rectangle(picture, start, (start[0] + bar, y + scale), _heat(move.probability), -1)
        y += 30 * scale
    if not result.moves:
        text(picture, "no legal move", x, y, 16 * scale, INK)
        y += 30 * scale
    if result.pass_probability is not None and result.pass_probability >= LEAST:
        text(picture, f"pass {100 * result.pass_probability:.1f}%", x, y, 16 * scale, FAINT)
