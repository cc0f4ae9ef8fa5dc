"""Limits on what one input may cost, checked from headers before anything is decoded.

A 110 kB PNG can claim 30,000 x 30,000 pixels and cost 5 GB; a zip member can unpack to a thousand
times its size. A command has the options for what it reads, and the error names the option.
"""

from __future__ import annotations

from dataclasses import dataclass

from cnnapps.core.errors import LimitError

__all__ = ["DEFAULT", "Limits", "check"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one input may be at most. Defaults suit a laptop with 16 GB and 1-2 GB to spare."""

    bytes: int = 200_000_000
    """Size of a file, after unpacking (--max-bytes)."""
    line_bytes: int = 20_000_000
    """Length of one line of text (--max-line-bytes)."""
    pixels: int = 100_000_000
    """Width times height of a picture or a rendered page (--max-pixels)."""
    frames: int = 100_000
    """Frames of a video or an animation (--max-frames)."""
    pages: int = 2_000
    """Pages of a document (--max-pages)."""
    seconds: float = 4 * 3600.0
    """Length of a recording (--max-seconds)."""
    sgf_nodes: int = 1_000_000
    """Nodes of a game record (--max-nodes)."""


DEFAULT = Limits()

_UNIT = {
    "bytes": "bytes",
    "line_bytes": "bytes in one line",
    "pixels": "pixels",
    "frames": "frames",
    "pages": "pages",
    "seconds": "seconds",
    "sgf_nodes": "nodes",
}
_OPTION = {"sgf_nodes": "--max-nodes"}


def check(source: object, name: str, value: float, limits: Limits = DEFAULT) -> None:
    """Raise LimitError when ``value`` of the input ``source`` exceeds the limit called ``name``."""
    allowed = getattr(limits, name)
    if not value <= allowed:  # nan is over every limit
        option = _OPTION.get(name, f"--max-{name.replace('_', '-')}")
        raise LimitError(source, f"{_show(value)} {_UNIT[name]}, at most {_show(allowed)}", option)


def _show(value: float) -> str:
    """1,234,567 or 0.25; a header may claim more digits than Python is willing to print."""
    if value > 1e18:
        return "over 1e18"
    return f"{value:,.0f}" if value == value // 1 else f"{value:,.2f}"
