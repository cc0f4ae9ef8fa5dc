"""Writing that never leaves half a file under its final name."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from cnnapps.core.errors import InputError

__all__ = ["replace_folder", "sync_folder", "write_bytes"]


def write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write ``path`` atomically: it holds its old bytes or the new ones, never a mixture.

    A temporary file in the same folder, flushed to the disk, renamed over the old one, and the
    folder flushed too (or a power cut could forget the rename). Pipes and devices are written to.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with open(target, "wb") as file:
            file.write(data)
        return
    target = Path(os.path.realpath(target))  # a link keeps pointing to what we replace
    handle, temporary = tempfile.mkstemp(
        prefix=f".{target.name[:80]}.", suffix=".part", dir=target.parent
    )
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        mode = target.stat().st_mode & 0o777 if target.exists() else 0o666 & ~_umask()
        os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    sync_folder(target.parent)


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """A fresh folder beside ``target`` that takes its place when the block ends well.

    Files that the old folder has and the new one lacks go away with it. A folder can't be replaced
    in one step; a kill in between leaves the new one whole under its temporary name. Only a weights
    folder or an empty one is ever replaced: InputError otherwise.
    """
    target = Path(target)
    if target.exists() and not (
        target.is_dir() and ((target / "card.json").is_file() or not any(target.iterdir()))
    ):
        raise InputError(target, "exists and is not a weights folder; choose another name")
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".part", dir=target.parent))
    try:
        yield draft
        os.chmod(draft, 0o777 & ~_umask())
        if target.exists():
            old = Path(
                tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent)
            )
            os.replace(target, old / "was")
            os.replace(draft, target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            os.replace(draft, target)
        sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
