"""Writing that never leaves half a file under its final name."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
from collections.abc import Collection, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from cnnapps.core.errors import InputError

__all__ = [
    "check_no_weights",
    "check_replaceable",
    "check_writable",
    "replace_folder",
    "sync_folder",
    "write_bytes",
]


def write_bytes(path: str | os.PathLike[str], data: bytes | memoryview) -> None:
    """Write ``path`` atomically: it holds its old bytes or the new ones, never a mixture.

    PermissionError if the old file is write-protected; its mode stays.
    A temporary file in the same folder, flushed to the disk, renamed over the old one, and the
    folder flushed too (or a power cut could forget the rename). Pipes and devices are written to.
    """
    target = Path(path)
    if target.exists() and not target.is_file():
        with open(target, "wb") as file:
            file.write(data)
        return
    target = Path(os.path.realpath(target))  # a link keeps pointing to what we replace
    check_writable(target)
    temporary = _beside(target, ".part")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            os.chmod(temporary, target.stat().st_mode & 0o777)
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # people know the file that they asked for
            error.filename, error.filename2 = os.fspath(path), None
        raise
    sync_folder(target.parent)


def check_writable(path: str | os.PathLike[str]) -> None:
    """PermissionError for a file that is there and write-protected: a rename would not ask."""
    if os.path.exists(path) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))


def check_no_weights(path: str | os.PathLike[str]) -> None:
    """InputError for an output that is a file of a weights folder: they would load no more."""
    target = Path(os.path.realpath(path))
    if target.name in (_listed(target.parent) or ()):
        raise InputError(path, "belongs to the weights in that folder; choose another name")


def sync_folder(folder: Path) -> None:
    """Flush a folder's entries to the disk, where the system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def check_replaceable(
    target: str | os.PathLike[str],
    run: str | os.PathLike[str] | None = None,
    *,
    keeps: Collection[str] = (),
) -> None:
    """InputError unless ``target`` is free, empty or a weights folder: ask before a long run.

    A run's folder, ``run``, can't be it or lie in it: checkpoints would fill it before the weights.
    It is free, empty or a run's, which has checkpoints or what the app ``keeps`` there (patterns).
    """
    path = Path(target)
    if run is not None:
        _check_run(Path(run), path, keeps)
    if not os.path.lexists(path) or (path.is_dir() and not any(path.iterdir())):
        return
    if _listed(path) is None:
        raise InputError(target, "exists and is not a weights folder; choose another name")


_OF_RUNS = ("step-*.pt", "best-*.pt", "metrics.jsonl", ".*.part", "events.out.*")


def _check_run(run: Path, target: Path, keeps: Collection[str]) -> None:
    if run.resolve().is_relative_to(target.resolve()):
        raise InputError(run, f"the run can't be kept in {target}, where the weights go")
    if os.path.lexists(run) and not run.is_dir():
        raise InputError(run, "is no folder; choose another name for the run")
    names = os.listdir(run) if run.is_dir() else []
    if names and not any(fnmatchcase(n, p) for n in names for p in (*_OF_RUNS, *keeps)):
        raise InputError(run, "exists and is not a run's folder; choose another name for the run")


def _listed(folder: Path) -> set[str] | None:
    """The files that a weights folder's card names, and the card; None if it is no such folder."""
    try:
        card = json.loads((folder / "card.json").read_bytes())
        return {"card.json", *map(str, card["files"])} if card["format"] == 1 else None
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None


@contextlib.contextmanager
def replace_folder(target: Path) -> Iterator[Path]:
    """A fresh folder beside ``target`` that takes its place when the block ends well.

    Files of the old weights that the new ones lack go away; what else lies there moves along. A
    folder can't be replaced in one step; a kill in between leaves the new one whole under its
    temporary name. Only a weights folder or an empty one is ever replaced: InputError otherwise.
    """
    check_replaceable(target)
    target = Path(os.path.realpath(target))  # a link stays one: what it points to is replaced
    target.parent.mkdir(parents=True, exist_ok=True)
    draft, old = _beside(target, ".part"), _beside(target, ".old")
    draft.mkdir()
    try:
        yield draft
        if target.exists():
            _copy_others(target, draft)
            os.replace(target, old)
        os.replace(draft, target)
        sync_folder(target.parent)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(draft, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _copy_others(old: Path, new: Path) -> None:
    """Put into ``new`` what lies in the weights folder ``old`` and belongs to no weights."""
    listed = _listed(old) or set()
    for item in old.iterdir():
        if item.name in listed or os.path.lexists(new / item.name):
            continue
        if item.is_dir() and not item.is_symlink():
            shutil.copytree(item, new / item.name, symlinks=True)
        else:
            shutil.copy2(item, new / item.name, follow_symlinks=False)


def _beside(target: Path, suffix: str) -> Path:
    """A hidden name in the same folder that no one uses, short enough for any file system."""
    return target.parent / f".{target.name[:50]}.{os.urandom(6).hex()}{suffix}"
