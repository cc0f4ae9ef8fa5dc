"""A line chart as SVG: training curves, without a plotting library to import."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

__all__ = ["curves_of", "line_chart"]

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 64, 150, 40, 44
# Okabe and Ito's colours: told apart by colour-blind readers too; the dashes do it without colour.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
DASHES = ("", "6 3", "2 3", "8 3 2 3", "12 4", "4 6", "1 4")

Series = Mapping[str, Sequence[tuple[float, float]]]


def line_chart(series: Series, *, title: str, x: str, y: str) -> str:
    """SVG of named lines over one pair of axes; points that are not finite are left out."""
    lines = {
        name: [(a, b) for a, b in points if math.isfinite(a) and math.isfinite(b)]
        for name, points in series.items()
    }
    lines = {name: points for name, points in lines.items() if points}
    xs = [a for points in lines.values() for a, _ in points] or [0.0, 1.0]
    ys = [b for points in lines.values() for _, b in points] or [0.0, 1.0]
    x_ticks, y_ticks = _ticks(min(xs), max(xs)), _ticks(min(ys), max(ys))
    x0, x1 = min(x_ticks[0], min(xs)), max(x_ticks[-1], max(xs))
    y0, y1 = min(y_ticks[0], min(ys)), max(y_ticks[-1], max(ys))

    def at(a: float, b: float) -> tuple[float, float]:
        return (
            LEFT + (a - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
            HEIGHT - BOTTOM - (b - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM),
        )

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="12" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15">{escape(title)}</text>',
    ]
    for tick in y_ticks:
        px, py = at(x0, tick)
        out.append(f'<path d="M{px:.1f} {py:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{px - 8:.1f}" y="{py + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in x_ticks:
        px, py = at(tick, y0)
        out.append(f'<path d="M{px:.1f} {py:.1f}v5" stroke="#666"/>')
        out.append(f'<text x="{px:.1f}" y="{py + 19:.1f}" text-anchor="middle">{tick:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    out.append(f'<text x="{middle}" y="{HEIGHT - 8}" text-anchor="middle">{escape(x)}</text>')
    out.append(
        f'<text transform="translate(16 {HEIGHT / 2}) rotate(-90)" text-anchor="middle">'
        f"{escape(y)}</text>"
    )
    for i, (name, points) in enumerate(lines.items()):
        colour = COLOURS[i % len(COLOURS)]
        dash = DASHES[
            (i + i // len(COLOURS)) % len(DASHES)
        ]  # an eighth line differs from the first
        path = "L".join("{:.1f} {:.1f}".format(*at(a, b)) for a, b in points)
        stroke = f'stroke="{colour}" stroke-width="1.8" stroke-dasharray="{dash}" fill="none"'
        out.append(f'<path d="M{path}" {stroke}/>')
        if len(points) == 1:
            out.append('<circle cx="{:.1f}" cy="{:.1f}" r="3"/>'.format(*at(*points[0])))
        py = TOP + 14 + 20 * i
        out.append(f'<path d="M{WIDTH - RIGHT + 14} {py - 4}h24" {stroke}/>')
        out.append(f'<text x="{WIDTH - RIGHT + 44}" y="{py}">{escape(name)}</text>')
    out.append("</svg>\n")
    return "\n".join(out)


def _ticks(low: float, high: float) -> list[float]:
    """Four to nine round numbers that span low..high."""
    if high <= low:
        low, high = low - 0.5, low + 0.5
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    while (high - low) / step > 8:
        step *= 2.5 if f"{step:e}".startswith("2") else 2.0
    first = math.floor(low / step)
    return [round(k * step, 10) for k in range(first, math.ceil(high / step) + 1)]


def curves_of(
    metrics: str | os.PathLike[str], names: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of the named numbers in a run's metrics.jsonl.

    A cut last line is left out, and so is null, which a number that isn't finite is written as.
    """
    out: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    path = Path(metrics)
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else []:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        for name in names:
            if row.get(name) is not None:
                out[name].append((row["step"], row[name]))
    return {name: points for name, points in out.items() if points}
