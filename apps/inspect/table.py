"""A net's table for people: rows that fit the terminal, sums, and why other tools say otherwise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from cnnapps.apps.inspect.peers import peers
from cnnapps.apps.inspect.trace import Layer, NetReport, shape_text
from cnnapps.core.errors import printable

__all__ = ["bytes_text", "essential", "table"]

SILENT = frozenset(
    [
        "view",
        "reshape",
        "flatten",
        "unsqueeze",
        "squeeze",
        "transpose",
        "permute",
        "t",
        "identity",
        "cast",
        "castlike",
        "dropout",
        "expand",
        "slice",
        "gather",
        "select",
        "mul",
        "sub",
        "div",
        "clone",
        "to",
        "copy",
        "detach",
        "alias",
        "contiguous",
        "pad",
        "where",
        "range",
        "less",
        "greaterorequal",
        "and",
        "sqrt",
        "shape",
        "split",
        "min",
        "max",
        "abs",
        "neg",
        "unsafe_view",
    ]
)
"""Steps that move or rescale numbers; without parameters they are left out of the table."""


def essential(report: NetReport) -> NetReport:
    """Without the silent steps; what read them reads their input."""
    rows: list[Layer] = []
    where: dict[int, tuple[int, ...]] = {-1: (-1,)}
    for i, layer in enumerate(report.layers):
        inputs = tuple(dict.fromkeys(k for j in layer.inputs for k in where[j]))
        silent = layer.kind in SILENT and not (layer.parameters or layer.macs or layer.other.sum)
        if silent:
            where[i] = inputs or (-1,)
            continue
        where[i] = (len(rows),)
        rows.append(replace(layer, inputs=inputs))
    return replace(report, layers=tuple(rows))


Column = tuple[str, Callable[[Layer], str], str]


def _number(n: int) -> str:
    return f"{n:,}" if n else "-"


def _axes(values: Sequence[int | float] | None) -> str:
    if values is None:
        return "-"
    texts = [f"{v:g}" for v in values]
    return texts[0] if len(set(texts)) == 1 else "x".join(texts)


COLUMNS: dict[str, Column] = {
    "layer": ("layer", lambda r: printable(r.name, 44), "<"),
    "kind": ("kind", lambda r: printable(f"{r.kind} {r.detail}".strip(), 32), "<"),
    "output": (
        "output",
        lambda r: shape_text(r.output[1:] if len(r.output) > 1 else r.output),
        "<",
    ),
    "parameters": ("parameters", lambda r: _number(r.parameters), ">"),
    "macs": ("MACs", lambda r: _number(r.macs), ">"),
    "flops": ("2xMACs", lambda r: _number(r.flops), ">"),
    "bias": ("bias", lambda r: _number(r.other.bias), ">"),
    "norm": ("norm", lambda r: _number(r.other.norm), ">"),
    "activation": ("activation", lambda r: _number(r.other.activation), ">"),
    "pooling": ("pooling", lambda r: _number(r.other.pooling), ">"),
    "memory": ("memory", lambda r: bytes_text(r.memory) if r.memory else "-", ">"),
    "field": ("field", lambda r: _axes(r.receptive_field), ">"),
    "stride": ("stride", lambda r: _axes(r.stride), ">"),
}
NARROW = ("layer", "kind", "output", "parameters", "macs", "field")


def bytes_text(n: int) -> str:
    """1,234 B, 12.3 kB, 4.5 MB: powers of ten."""
    if n < 1000:
        return f"{n} B"
    for unit, size in (("kB", 1e3), ("MB", 1e6), ("GB", 1e9)):
        if n < 1000 * size:
            return f"{n / size:.3g} {unit}" if n < 999.5 * size else f"{n / size:.0f} {unit}"
    return f"{n / 1e12:,.3g} TB"


def table(report: NetReport, *, columns: Sequence[str] | None = None, width: int = 0) -> str:
    """All columns, or those of ``columns``; fewer where ``width`` (0: none) doesn't hold them."""
    names = list(columns or COLUMNS)
    inputs = ", ".join(f"{name} {shape_text(shape)}" for name, shape in report.inputs)
    lines = [f"{printable(report.name, 80)}   input: {printable(inputs, 200)}", ""]
    rows = _rows(report, names)
    if width and columns is None and max(map(len, rows), default=0) > width:
        names = [n for n in NARROW if n in names]
        rows = _rows(report, names)
        while max(map(len, rows), default=0) > width and len(names) > 3:
            names.remove(next(n for n in ("kind", "field", "macs", "output") if n in names))
            rows = _rows(report, names)
        rows.append("(--wide shows all columns)")
    lines += rows
    if report.failure is not None:
        f = report.failure
        lines.append(
            f"{printable(f.name, 60)}  {f.kind}  FAILS: expected {f.expected}, got {f.got}"
        )
        return "\n".join([*lines, "", *_sums(report, partial=True)])
    return "\n".join([*lines, "", *_sums(report)])


def _rows(report: NetReport, names: Sequence[str]) -> list[str]:
    columns = [COLUMNS[n] for n in names]
    cells = [[head for head, _, _ in columns]]
    cells += [[get(layer) for _, get, _ in columns] for layer in report.layers]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    signs = [sign for _, _, sign in columns]
    return [
        "  ".join(f"{c:{s}{w}}" for c, s, w in zip(row, signs, widths, strict=True)).rstrip()
        for row in cells
    ]


def _sums(report: NetReport, *, partial: bool = False) -> list[str]:
    t, o = report.totals, report.totals.other
    out = [
        f"parameters      {t.parameters:,}  ({bytes_text(t.parameter_memory)} as stored)",
        f"MACs            {t.macs:,}  (convolution and linear layers, exact)",
        f"2xMACs          {t.flops:,}",
        f"bias            {o.bias:,}",
        f"norm            {o.norm:,}",
        f"activation      {o.activation:,}",
        f"pooling         {o.pooling:,}",
        f"operations      {t.operations:,}  (MACs + bias + norm + activation + pooling)",
        f"activations     {bytes_text(t.memory)} in all, {bytes_text(t.peak_memory)} at once",
    ]
    if t.receptive_field is not None:
        seen = max((r for r in report.layers if r.stride is not None),
                   key=lambda r: r.receptive_field or (), default=None)  # fmt: skip
        if seen is not None:
            field = _axes(seen.receptive_field)
            out.append(f"receptive field {field}, stride {_axes(t.stride)}")
    out += [f"note            {printable(note, 200)}" for note in report.notes]
    if partial:
        out.insert(0, "up to the layer that fails:")
    return out


def peers_table(report: NetReport) -> str:
    """What other tools print for the same net, and of which columns it is made."""
    rows = [("tool", "its total", "made of")]
    rows += [(p.tool, f"{p.total:,}", p.formula) for p in peers(report)]
    widths = [max(len(r[i]) for r in rows) for i in range(2)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c}" for a, b, c in rows)
