"""A net as a picture: a box for each stage's maps, and below it where parameters and MACs are."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnapps.apps.inspect.canvas import BLUE, GREY, INK, ORANGE, Canvas
from cnnapps.apps.inspect.table import essential
from cnnapps.apps.inspect.trace import Layer, NetReport, grouped, shape_text
from cnnapps.core.errors import printable

__all__ = ["diagram"]

MOST = 26
"""Most boxes."""
FACE, SIDE, TOP = "#d6e6f2", "#a9c8de", "#eaf3f9"


@dataclass(slots=True)
class Stage:
    """Rows next to each other with the same output."""

    name: str
    shape: tuple[int, ...]
    parameters: int
    macs: int
    rows: int
    kind: str


def stages(report: NetReport) -> list[Stage]:
    """The rows joined until there are few enough boxes: by name first, then by output shape."""
    report = essential(report)
    deepest = max((r.name.count(".") + 1 for r in report.layers), default=1)
    rows: tuple[Layer, ...] = report.layers
    for depth in range(deepest, 0, -1):
        rows = grouped(report, depth).layers if depth < deepest else report.layers
        if len(rows) <= MOST:
            break
    out: list[Stage] = []
    for row in rows:
        shape = row.output[1:] or row.output
        same = out and out[-1].shape == shape
        light = not row.macs and out and not row.other.pooling
        if out and ((light and same) or (len(rows) > MOST and same)):
            out[-1].parameters += row.parameters
            out[-1].macs += row.macs
            out[-1].rows += 1
        else:
            out.append(Stage(row.name, shape, row.parameters, row.macs, 1, row.kind))
    return out[:MOST]


def diagram(report: NetReport) -> Canvas:
    """Boxes: height and depth follow the maps' height and width, breadth the channels (all by
    square root, so that 224 and 7 fit one page). Bars: share of the parameters and of the MACs."""
    boxes = stages(report)
    if report.inputs:
        boxes.insert(0, Stage("input", report.inputs[0][1][1:], 0, 0, 1, "input"))
    sides = [s.shape[-1] if len(s.shape) == 3 else 1 for s in boxes]
    channels = [s.shape[0] if s.shape else 1 for s in boxes]
    tall, broad = max(sides, default=1), max(channels, default=1)
    pitch = 96.0
    width = 40 + pitch * max(len(boxes), 6) + 40
    canvas = Canvas(width, 430, report.name)
    t = report.totals
    canvas.text(40, 34, printable(report.name, 60), size=20)
    summary = f"{t.parameters:,} parameters, {t.macs:,} MACs"
    canvas.text(40, 54, summary, size=13, colour=GREY)
    base, most_p = 240.0, max((s.parameters for s in boxes), default=1) or 1
    most_m = max((s.macs for s in boxes), default=1) or 1
    for i, (stage, side, count) in enumerate(zip(boxes, sides, channels, strict=True)):
        x = 40 + pitch * i
        high = 14 + 110 * math.sqrt(side / tall) if len(stage.shape) == 3 else 14.0
        wide = 6 + 34 * math.sqrt(count / broad)
        slant = high * 0.28
        left, top = x + (pitch - wide - slant) / 2 - 4, base - high
        canvas.polygon([(left, top), (left + slant, top - slant),
                        (left + slant + wide, top - slant), (left + wide, top)], TOP)  # fmt: skip
        canvas.polygon([(left + wide, top), (left + wide + slant, top - slant),
                        (left + wide + slant, base - slant), (left + wide, base)],
                       SIDE)  # fmt: skip
        canvas.rect(left, top, wide, high, FACE)
        middle = x + pitch / 2 - 4
        canvas.text(middle, base + 20, _short(stage.name), size=11, anchor="middle")
        canvas.text(middle, base + 35, shape_text(stage.shape), size=10, anchor="middle",
                    colour=GREY)  # fmt: skip
        floor = 390.0
        for value, most, colour, shift in ((stage.parameters, most_p, BLUE, -14.0),
                                           (stage.macs, most_m, ORANGE, 2.0)):  # fmt: skip
            if value:
                bar = max(1.0, 70 * value / most)
                canvas.rect(middle + shift, floor - bar, 12, bar, colour, "")
        if i + 1 < len(boxes):
            canvas.line([(x + pitch - 10, base - 6), (x + pitch - 4, base - 6)], GREY)
    canvas.line([(40, 390), (width - 40, 390)], INK)
    canvas.rect(40, 402, 12, 12, BLUE, "")
    canvas.text(58, 413, f"parameters, at most {most_p:,}", size=12)
    canvas.rect(300, 402, 12, 12, ORANGE, "")
    canvas.text(318, 413, f"MACs, at most {most_m:,}", size=12)
    if report.failure is not None:
        canvas.text(40, 74, f"fails at {report.failure}", size=12, colour=ORANGE)
    return canvas


def _short(name: str) -> str:
    text = printable(name, 60)
    return text if len(text) <= 15 else "…" + text[-14:]
