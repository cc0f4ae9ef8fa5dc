"""Training state on disk: written atomically, the last two kept, loaded without pickle's powers.

A process can be killed at any moment and a disk can be full: the newest checkpoint is always whole,
because it is written beside the old ones, flushed, and only then given its name.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from cnnapps.core.errors import TrainingError
from cnnapps.core.files import write_bytes
from cnnapps.core.progress import warn

__all__ = ["Checkpoints"]

_NAME = re.compile(r"(step|best)-(\d{9})\.pt\Z")
_DRAFT = re.compile(r"\.((step|best)-\d{9}\.pt|metrics\.jsonl)\.[0-9a-f]{12}\.part\Z")
KEEP = 2


class Checkpoints:
    """The files of one run: ``run/step-000001200.pt``, and the best net ``run/best-000000900.pt``.

    A checkpoint says at which step the best net was, so it never meets the best net of a future
    that was killed before its own checkpoint.
    """

    def __init__(self, run: Path) -> None:
        self.run = Path(run)
        self.failed: OSError | None = None
        """Why the last write failed; None when it did not."""

    @contextlib.contextmanager
    def claim(self) -> Iterator[None]:
        """Make the folder and keep other trainings out of it; TrainingError when one is there."""
        self.run.mkdir(parents=True, exist_ok=True)
        handle = None
        try:
            with contextlib.suppress(ImportError, PermissionError):  # no fcntl on Windows
                import fcntl

                handle = os.open(self.run, os.O_RDONLY)
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    raise TrainingError(f"another training is writing into {self.run}") from error
                except OSError:
                    pass  # a disk without locks
            for path in self.run.iterdir():
                if _DRAFT.match(path.name):  # left by a kill
                    path.unlink()
            yield
        finally:
            if handle is not None:
                os.close(handle)

    def save(self, step: int, state: dict[str, Any]) -> bool:
        """Write the state of ``step``; False (and a line on stderr) when the disk won't take it.

        A full disk doesn't end a run of hours: the last good checkpoint stays, and the next save
        tries again.
        """
        return self._write("step", step, state)

    def save_best(self, step: int, state: dict[str, Any]) -> bool:
        """Write the best net so far; False when the disk won't take it."""
        return self._write("best", step, state)

    def load(self) -> dict[str, Any] | None:
        """The newest checkpoint that can be read, or None when there is none.

        A damaged one (a bad sector; never a kill) is named and the one before it is taken.
        """
        steps = self._steps("step")
        for step in steps:
            with contextlib.suppress(TrainingError):
                return self._read("step", step)
            warn(f"{self._path('step', step)} can't be read")
        if steps:
            raise TrainingError(f"no checkpoint in {self.run} can be read; start without --resume")
        return None

    def load_best(self, step: int) -> dict[str, Any]:
        """The best net, which was saved at ``step``; TrainingError when it can't be read."""
        return self._read("best", step)

    def latest(self) -> Path | None:
        """Path of the newest checkpoint."""
        steps = self._steps("step")
        return self._path("step", steps[0]) if steps else None

    def forget(self, *, after: int = -1) -> None:
        """Remove what comes after a step: the future of a run that goes on from there."""
        for kind in ("step", "best"):
            self._remove(kind, {step for step in self._steps(kind) if step > after})

    def _prune(self) -> None:
        """Keep two checkpoints, the best net that each of them knows, and the newest best net."""
        steps, bests = self._steps("step"), self._steps("best")
        self._remove("step", set(steps[KEEP:]))
        known = [next((b for b in bests if b <= step), -1) for step in steps[:KEEP]]
        self._remove("best", set(bests[1:]) - set(known))

    def _remove(self, kind: str, steps: set[int]) -> None:
        for step in steps:
            with contextlib.suppress(OSError):
                self._path(kind, step).unlink()

    def _path(self, kind: str, step: int) -> Path:
        return self.run / f"{kind}-{step:09d}.pt"

    def _steps(self, kind: str) -> list[int]:
        """The steps that have a file, newest first."""
        if not self.run.is_dir():
            return []
        found = [_NAME.match(path.name) for path in self.run.iterdir()]
        return sorted((int(m[2]) for m in found if m and m[1] == kind), reverse=True)

    def _write(self, kind: str, step: int, state: dict[str, Any]) -> bool:
        path = self._path(kind, step)
        buffer = io.BytesIO()
        torch.save(state, buffer)
        try:
            write_bytes(path, buffer.getbuffer())
        except OSError as error:
            self.failed = error
            warn(f"{path}: {error.strerror or error}; the last good checkpoint is kept")
            return False
        self.failed = None
        self._prune()
        return True

    def _read(self, kind: str, step: int) -> dict[str, Any]:
        path = self._path(kind, step)
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch raises many kinds for a damaged file
            raise TrainingError(f"{path} can't be read ({type(error).__name__})") from error
        if not isinstance(state, dict) or state.get("step") != step:
            raise TrainingError(f"{path} is no checkpoint of ours")
        return state
