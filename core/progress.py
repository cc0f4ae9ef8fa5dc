"""What goes to stderr: warnings, and progress: a bar on a terminal, else a line every ten seconds.

stdout stays clean, and a stderr that is closed or full never ends a run.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from types import TracebackType
from typing import Any

from cnnapps.core.errors import printable

__all__ = ["Progress", "warn"]

LINE_SECONDS = 10.0


def warn(message: object) -> None:
    """One printable line on stderr."""
    if sys.stderr is not None:  # None would mean stdout to print()
        with contextlib.suppress(OSError, ValueError):
            print(f"cnnapps: {printable(message, 1000)}", file=sys.stderr, flush=True)


class Progress:
    """``with Progress(n, "reading") as p: p.update(i)``; n may be 0 when it isn't known."""

    def __init__(self, total: int, what: str, *, quiet: bool = False, start: int = 0) -> None:
        self.total, self.what, self.done = total, what, start
        self._start, self._begun = start, time.monotonic()
        self._quiet = quiet
        self._next = self._begun + LINE_SECONDS
        self._first: float | None = None
        """The first ``share``: a resumed run doesn't begin at 0."""
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Progress:
        if not self._quiet and sys.stderr is not None and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[note]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(
                self.what, total=self.total or None, completed=self.done, note=""
            )
            self._bar.start()
        return self

    def update(self, done: int, *, share: float | None = None, **values: float) -> None:
        """``done`` of the total; ``share`` (0..1) where time, not the count, decides the end."""
        self.done = done
        if self._first is None:
            self._first = share
        if self._quiet:
            return
        note = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        if self._bar is not None:
            total, at = (1000, 1000 * share) if share is not None else (self.total or None, done)
            self._bar.update(self._task, total=total, completed=at, note=note)
            return
        now = time.monotonic()
        if now >= self._next:
            self._next = now + LINE_SECONDS
            warn(self._line(now, share, note))

    def _line(self, now: float, share: float | None, note: str) -> str:
        spent = now - self._begun
        rate = (self.done - self._start) / spent
        parts = [f"{self.what} {self.done}" + (f"/{self.total}" if self.total else "")]
        if note:
            parts.append(note)
        parts.append(f"{rate:.3g}/s")
        left = (self.total - self.done) / rate if self.total and rate > 0 else math.inf
        if share is not None and self._first is not None and share > self._first:
            left = min(left, spent * (1 - share) / (share - self._first))
        if left < math.inf:
            parts.append(f"{left:.0f} s left")
        return ", ".join(parts)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
