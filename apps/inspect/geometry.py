"""The size law of a convolution, in words, numbers and a picture."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from cnnapps.apps.inspect.canvas import BLUE, GREY, INK, ORANGE, PALE, Canvas
from cnnapps.core.errors import InputError
from cnnapps.core.sizes import output_length, transposed_length

__all__ = ["Geometry", "complexity", "draw", "geometry", "meets"]

LONGEST = 1 << 31


@dataclass(frozen=True, slots=True)
class Geometry:
    """One axis of a convolution: ``exact`` outputs by the formula, ``output`` by the framework.

    ``reach`` is K' = D(K - 1) + 1. ``unread`` inputs (padding included) at the end meet no window.
    ``name`` is narrow, wide, same or "".
    """

    input: int
    kernel: int
    stride: int
    padding: int
    dilation: int
    transposed: bool
    output_padding: int
    output: int
    reach: int
    exact: float
    unread: int
    name: str
    lines: tuple[str, ...] = field(default=(), metadata={"json": False})

    def __str__(self) -> str:
        return "\n".join(self.lines)


def geometry(
    inputs: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    transposed: bool = False,
    output_padding: int = 0,
) -> Geometry:
    """InputError when no output is left, or for sizes that are none."""
    place = "conv"
    for what, value, least in (
        ("--input", inputs, 1),
        ("--kernel", kernel, 1),
        ("--stride", stride, 1),
        ("--padding", padding, 0),
        ("--dilation", dilation, 1),
        ("--output-padding", output_padding, 0),
    ):
        if not least <= value < LONGEST:
            raise InputError(
                place, f"{what} must be from {least} to {LONGEST - 1:,}, not {value:,}"
            )
    reach = dilation * (kernel - 1) + 1
    if transposed:
        return _transposed(inputs, kernel, stride, padding, dilation, output_padding, reach)
    if output_padding:
        raise InputError(place, "--output-padding belongs to --transposed")
    exact = Fraction(inputs - reach + 2 * padding, stride) + 1
    output = output_length(inputs, kernel, stride=stride, padding=padding, dilation=dilation)
    if output < 1:
        raise InputError(
            place,
            f"the output is empty: a kernel that reaches over {reach} doesn't fit into "
            f"{inputs + 2 * padding} ({inputs} inputs, padding {padding} on each side)",
        )
    unread = (inputs + 2 * padding - reach) % stride
    name = ""
    if stride == 1:
        if padding == 0:
            name = "narrow"
        elif padding == reach - 1:
            name = "wide"
        elif 2 * padding == reach - 1:
            name = "same"
    law = f"({inputs} - {reach} + 2·{padding})/{stride} + 1"
    lines = []
    if dilation > 1:
        lines.append(f"reach    K' = K + (K - 1)(D - 1) = {reach}")
    lines.append(
        f"output   (M - K{'′' if dilation > 1 else ''} + 2P)/S + 1 = {law} = {_text(exact)}"
    )
    if unread:
        lines.append(
            f"         does not divide: {_text(exact)}, the framework floors to {output}; "
            f"the last {unread} of {inputs + 2 * padding} {'is' if unread == 1 else 'are'} not read"
        )
        lines.append(f"         divides with {_remedies(inputs, reach, stride, padding)}")
    meaning = {
        "narrow": f"narrow: no padding, stride 1, M - K + 1 = {output}",
        "wide": f"wide: P = K - 1, stride 1, M + K - 1 = {output}",
        "same": f"same: P = (K - 1)/2, stride 1, as many outputs as inputs, {output}",
    }
    if kernel == 1 and name:
        meaning[name] = f"narrow, same and wide are one for K = 1: {output} outputs"
    lines.append(f"kind     {meaning.get(name, 'none of narrow, same, wide')}")
    return Geometry(inputs, kernel, stride, padding, dilation, False, 0, output, reach,
                    float(exact), unread, name, tuple(lines))  # fmt: skip


def _transposed(
    inputs: int, kernel: int, stride: int, padding: int, dilation: int, more: int, reach: int
) -> Geometry:
    if more >= max(stride, dilation):
        raise InputError("conv", "--output-padding must be smaller than the stride or the dilation")
    output = transposed_length(
        inputs, kernel, stride=stride, padding=padding, dilation=dilation, output_padding=more
    )
    if output < 1:
        raise InputError(
            "conv", f"the output is empty: {output} ({inputs} inputs, padding {padding})"
        )
    law = f"({inputs} - 1)·{stride} - 2·{padding} + {dilation}({kernel} - 1) + {more} + 1"
    lines = (
        f"output   (M - 1)S - 2P + D(K - 1) + output padding + 1 = {law} = {output}",
        f"kind     transposed: the forward convolution {output} -> {inputs} with the same numbers, "
        "turned round",
    )
    return Geometry(inputs, kernel, stride, padding, dilation, True, more, output, reach,
                    float(output), 0, "", lines)  # fmt: skip


def _remedies(inputs: int, reach: int, stride: int, padding: int) -> str:
    """The nearest inputs and padding for which the stride divides."""
    out = []
    short = (inputs - reach + 2 * padding) % stride
    sizes = [n for n in (inputs - short, inputs + stride - short) if n >= 1]
    out.append("M = " + " or ".join(map(str, sizes)))
    for p in range(padding + 1, padding + stride + 1):
        if (inputs - reach + 2 * p) % stride == 0:
            out.append(f"P = {p}")
            break
    return ", or ".join(out)


def _text(value: Fraction) -> str:
    return f"{float(value):.6g}" if value.denominator != 1 else str(value)


def meets(g: Geometry, output: int) -> list[int]:
    """The inputs that an output reads; those below 0 and from M on are padding (forward only)."""
    if g.transposed:
        at = output + g.padding
        return [
            (at - g.dilation * t) // g.stride
            for t in range(g.kernel - 1, -1, -1)
            if (at - g.dilation * t) % g.stride == 0
            and 0 <= (at - g.dilation * t) // g.stride < g.input
        ]
    start = output * g.stride - g.padding
    return [start + g.dilation * t for t in range(g.kernel)]


CELLS = 48


def draw(g: Geometry) -> Canvas:
    """Inputs in a row, outputs in a row, and lines from the first two and the last output.

    Long axes show their beginning and their end; padding is pale, what is not read is struck out.
    """
    before = 0 if g.transposed else g.padding
    total = g.input + 2 * before
    first = _shown(total, total > CELLS)
    outs = _shown(g.output, g.output > CELLS)
    cell, gap = 20.0, 34.0
    width = max(_width(first, cell, gap), _width(outs, cell, gap), 560) + 60
    canvas = Canvas(width, 250, "which inputs meet which output")
    title = f"M = {g.input}, K = {g.kernel}, S = {g.stride}, P = {g.padding}"
    title += f", D = {g.dilation}" if g.dilation != 1 else ""
    title += ", transposed" if g.transposed else ""
    canvas.text(30, 30, f"{title}: {g.output} outputs", size=16)
    top, bottom = 60.0, 190.0
    spread = (width - 60 - _width(first, cell, gap)) / 2
    xs = {i: 30 + spread + x for i, x in _places(first, cell, gap).items()}
    offset = (width - 60 - _width(outs, cell, gap)) / 2
    ys = {o: 30 + offset + x for o, x in _places(outs, cell, gap).items()}
    dead = range(total - g.unread, total)
    chosen = [(0, BLUE), (1, ORANGE), (g.output - 1, GREY)]
    for o, colour in chosen if g.output > 2 else chosen[: g.output]:
        for i in meets(g, o):
            if i + before in xs and o in ys:
                a = (xs[i + before] + cell / 2, top + cell)
                canvas.line([a, (ys[o] + cell / 2, bottom)], colour, 1.4)
    for i, x in xs.items():
        real = before <= i < before + g.input
        canvas.rect(x, top, cell, cell, "#ffffff" if real else PALE, INK if real else GREY)
        label = str(i - before) if real else "0"
        canvas.text(x + cell / 2, top + 14, label, size=9 if len(label) < 4 else 7,
                    anchor="middle", colour=INK if real else GREY)  # fmt: skip
        if i in dead:
            canvas.line([(x, top), (x + cell, top + cell)], ORANGE, 1.6)
    for o, x in ys.items():
        colour = dict(reversed(chosen)).get(o, INK)
        canvas.rect(x, bottom, cell, cell, "#ffffff", colour)
        label = str(o)
        canvas.text(x + cell / 2, bottom + 14, label, size=9 if len(label) < 4 else 7,
                    anchor="middle", colour=colour)  # fmt: skip
    for row, y in ((xs, top), (ys, bottom)):
        for one, two in pairwise(row):
            if two != one + 1:
                canvas.text((row[one] + row[two] + cell) / 2, y + 14, "…", anchor="middle")
    notes = ["grey: padding"] * bool(before) + ["struck out: not read"] * bool(g.unread)
    said = f" ({', '.join(notes)})" if notes else ""
    canvas.text(30, 238, f"inputs above{said}, outputs below", size=11, colour=GREY)
    return canvas


def _shown(count: int, cut: bool) -> list[int]:
    if not cut:
        return list(range(count))
    return [*range(CELLS // 2), *range(count - CELLS // 3, count)]


def _width(cells: list[int], cell: float, gap: float) -> float:
    jumps = sum(b != a + 1 for a, b in pairwise(cells))
    return len(cells) * cell + jumps * gap


def _places(cells: list[int], cell: float, gap: float) -> dict[int, float]:
    out, x, last = {}, 0.0, -1
    for i in cells:
        x += gap if i != last + 1 else 0.0
        out[i] = x
        x, last = x + cell, i
    return out


# ------------------------------------------------------------------------------------ complexity


@dataclass(frozen=True, slots=True)
class Cost:
    """One convolution by the course's formulas: M² outputs of C channels, K² taps, C inputs."""

    side: int
    kernel: int
    inputs: int
    outputs: int
    time: int
    weights: int
    maps: int


@dataclass(frozen=True, slots=True)
class Complexity:
    """Time ~ Σ M²K²C₍l-1₎C₍l₎ multiplications; space ~ ΣK²C₍l-1₎C₍l₎ weights + ΣM²C₍l₎ outputs."""

    layers: tuple[Cost, ...]
    time: int
    weights: int
    maps: int
    space: int

    def __str__(self) -> str:
        lines = []
        for c in self.layers:
            lines.append(
                f"{c.kernel}x{c.kernel}, {c.inputs} to {c.outputs} channels, "
                f"{c.side}x{c.side} outputs"
            )
            lines.append(f"  time   {c.side}²·{c.kernel}²·{c.inputs}·{c.outputs} = {c.time:,}")
            lines.append(
                f"  space  {c.kernel}²·{c.inputs}·{c.outputs} + {c.side}²·{c.outputs} = "
                f"{c.weights:,} + {c.maps:,}"
            )
        lines.append(f"time   {self.time:,} multiplications")
        lines.append(
            f"space  {self.space:,} numbers: {self.weights:,} weights + {self.maps:,} outputs"
        )
        return "\n".join(lines)


def complexity(layers: list[tuple[int, int, int, int]]) -> Complexity:
    """Of layers (M, K, inputs, outputs): side of the output, side of the kernel, channels."""
    costs = [
        Cost(m, k, i, o, m * m * k * k * i * o, k * k * i * o, m * m * o) for m, k, i, o in layers
    ]
    weights, maps = sum(c.weights for c in costs), sum(c.maps for c in costs)
    return Complexity(tuple(costs), sum(c.time for c in costs), weights, maps, weights + maps)


def compared(a: Complexity, b: Complexity) -> str:
    """What the step from ``a`` to ``b`` means, in a sentence or two."""

    def word(old: int, new: int, less: str, more: str) -> str:
        if old == new:
            return "as much"
        ratio = old / new if new < old else new / old
        return f"{ratio:.2f}x {less if new < old else more}"

    out = f"The second takes {word(a.time, b.time, 'fewer', 'more')} multiplications"
    if (b.time < a.time) != (b.space < a.space) and a.space != b.space:
        out += f" but {word(a.space, b.space, 'less', 'more')} space"
    else:
        out += f" and {word(a.space, b.space, 'less', 'more')} space"
    change = "shrink" if b.weights < a.weights else "grow"
    maps = "shrink" if b.maps < a.maps else "grow" if b.maps > a.maps else "stay"
    return (
        f"{out}: its weights {change} from {a.weights:,} to {b.weights:,}, "
        f"its outputs {maps} from {a.maps:,} to {b.maps:,}."
    )


EXERCISE = (
    [(100, 3, 256, 256)],
    [(100, 1, 256, 64), (100, 3, 64, 256)],
)
"""The slides' question: 100x100x256 through 3x3, directly and after 1x1 to 64 channels."""
