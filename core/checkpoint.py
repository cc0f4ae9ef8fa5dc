"""Training state on disk: written atomically, the last two kept, loaded without pickle's powers.

A process can be killed at any moment and a disk can be full: the newest checkpoint is always whole,
because it is written beside the old ones, flushed, and only then given its name.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
from pathlib import Path
from typing import Any

import torch

from cnnapps.core.errors import TrainingError
from cnnapps.core.files import write_bytes

__all__ = ["Checkpoints"]

_NAME = re.compile(r"step-(\d{9})\.pt\Z")
KEEP = 2


class Checkpoints:
    """The checkpoints of one run: ``run/step-000001200.pt`` and ``run/best.pt``."""

    def __init__(self, run: Path) -> None:
        self.run = Path(run)
        self.failed: OSError | None = None

    def save(self, step: int, state: dict[str, Any]) -> bool:
        """Write the state of ``step``; False (and a line on stderr) when the disk won't take it.

        A full disk doesn't end a run of hours: the last good checkpoint stays, and the next save
        tries again.
        """
        if not self._write(self.run / f"step-{step:09d}.pt", state):
            return False
        for old in self._all()[KEEP:]:
            with contextlib.suppress(OSError):
                old.unlink()
        return True

    def save_best(self, state: dict[str, Any]) -> bool:
        """Write the best net so far."""
        return self._write(self.run / "best.pt", state)

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, or None when there is none.

        A damaged one (a bad sector; never a kill) is named and the one before it is taken.
        """
        files = self._all()
        for path in files:
            try:
                return self._read(path)
            except Exception as error:  # torch raises many kinds for a damaged file
                print(f"cnnapps: {path} can't be read ({type(error).__name__})", file=sys.stderr)
        if files:
            raise TrainingError(f"no checkpoint in {self.run} can be read; start without --resume")
        return None

    def load_best(self) -> dict[str, Any] | None:
        """The best net so far, if one was saved and can be read."""
        path = self.run / "best.pt"
        if not path.is_file():
            return None
        try:
            return self._read(path)
        except Exception as error:
            raise TrainingError(f"{path} can't be read ({type(error).__name__})") from error

    def latest(self) -> Path | None:
        """Path of the newest checkpoint."""
        files = self._all()
        return files[0] if files else None

    def clear(self) -> None:
        """Forget an earlier run in the same folder."""
        for path in [*self._all(), self.run / "best.pt", self.run / "metrics.jsonl"]:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def _all(self) -> list[Path]:
        """Newest first."""
        if not self.run.is_dir():
            return []
        return sorted((p for p in self.run.iterdir() if _NAME.match(p.name)), reverse=True)

    def _write(self, path: Path, state: dict[str, Any]) -> bool:
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            write_bytes(path, buffer.getbuffer())
        except OSError as error:
            self.failed = error
            print(
                f"cnnapps: {path}: {error.strerror or error}; the last good checkpoint is kept",
                file=sys.stderr,
            )
            return False
        self.failed = None
        return True

    @staticmethod
    def _read(path: Path) -> dict[str, Any]:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        return state
