"""From the command line to files: folders, patterns, lists."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from cnnapps.core.errors import InputError
from cnnapps.core.media._source import BLOCK, because, open_source, reader, with_first

PICTURES = (
    *(".png", ".jpg", ".jpeg", ".jfif", ".gif", ".bmp", ".webp", ".tif", ".tiff"),
    *(".pbm", ".pgm", ".ppm", ".pnm"),
)
SOUNDS = (
    *(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aiff", ".aif", ".aifc"),
    *(".au", ".snd", ".caf", ".w64", ".rf64", ".sph"),
)
VIDEOS = (
    *(".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".flv", ".ogv"),
)
TEXTS = (".txt",)


class Input(NamedTuple):
    """A file name (or ``-``) to read, or the reason why ``name`` gives none."""

    name: str
    error: InputError | None = None


def expand_inputs(
    inputs: Iterable[str | os.PathLike[str]],
    *,
    suffixes: Sequence[str],
    files_from: str | None = None,
) -> Iterator[Input]:
    """The files that the command line means, in order, one by one.

    A file is taken whatever its suffix; a folder gives its files with one of ``suffixes``
    (``".png"``), sorted, also those in its folders, but no hidden ones and none through links to
    folders (these can form loops); a pattern (``*``, ``?``, ``[...]``, ``**``) what it matches,
    sorted; ``-`` is stdin. ``files_from`` names a file (``-``: stdin) with more of them, one a
    line or, if a NUL is in it, each before a NUL; these are no patterns. What can't be found is an
    Input with an error; the others go on. InputError if the list can't be read.
    """
    wanted = tuple(suffix.lower() for suffix in suffixes)
    for given in inputs:
        yield from _expand(os.fspath(given), wanted, patterns=True)
    if files_from is not None:
        for given in _listed(files_from):
            yield from _expand(given, wanted, patterns=False)


def _expand(given: str, wanted: tuple[str, ...], *, patterns: bool) -> Iterator[Input]:
    if given == "-":
        yield Input(given)
        return
    try:
        info = os.stat(given)
    except OSError as error:
        if patterns and glob.has_magic(given):
            yield from _matching(given, wanted)
        elif re.match(r"[a-z][a-z0-9+.-]*://", given, re.IGNORECASE):
            yield _no(given, "is an address: nothing is downloaded, save it to a file first")
        else:
            yield _no(given, because(error) if given else "an empty file name")
        return
    except ValueError:
        yield _no(given, "not a possible file name")
        return
    if not stat.S_ISDIR(info.st_mode):
        yield Input(given)
        return
    found = False
    for item in _walk(given, wanted):
        found = True
        yield item
    if not found:
        yield _no(given, f"no files in this folder that end in {' '.join(wanted)}")


def _no(given: str, reason: str) -> Input:
    return Input(given, InputError(given, reason))


def _walk(folder: str, wanted: tuple[str, ...]) -> Iterator[Input]:
    """Depth first, names sorted; one folder's names are held at a time and those above it."""
    stack = [iter([folder])]
    while stack:
        path = next(stack[-1], None)
        if path is None:
            stack.pop()
            continue
        if len(stack) > 1 and not _is_folder(path):
            yield Input(path)
            continue
        try:
            with os.scandir(path) as entries:
                names = sorted(entry.name for entry in entries if _is_wanted(entry, wanted))
        except OSError as error:
            yield _no(path, because(error))
            continue
        stack.append(map(partial(os.path.join, path), names))


def _is_wanted(entry: os.DirEntry[str], wanted: tuple[str, ...]) -> bool:
    if entry.name.startswith("."):
        return False
    try:
        if entry.is_dir(follow_symlinks=False):
            return True
        return entry.name.lower().endswith(wanted) and (entry.is_file() or entry.is_symlink())
    except OSError:
        return False


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _matching(pattern: str, wanted: tuple[str, ...]) -> Iterator[Input]:
    parts = Path(pattern).parts
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    try:
        found = sorted(Path(*parts[:fixed]).glob(os.path.join(*parts[fixed:])))
    except (ValueError, OSError) as error:  # "**" beside other characters
        yield _no(pattern, str(error))
        return
    visible = [str(path) for path in found if not _is_hidden(path.parts[fixed:], parts[fixed:])]
    for path in visible:
        if os.path.isdir(path) and "**" in parts:
            continue  # its files match by themselves
        yield from _expand(path, wanted, patterns=False)
    if not visible:
        yield _no(pattern, "no file matches this pattern")


def _is_hidden(parts: Sequence[str], patterns: Sequence[str]) -> bool:
    """Hidden names match only a pattern that begins with a dot itself."""
    asked = any(pattern.startswith(".") for pattern in patterns)
    return not asked and any(part.startswith(".") for part in parts)


def _listed(files_from: str) -> Iterator[str]:
    """The names of a list, as bytes of the file system's encoding; blank lines are no names."""
    stream, called = open_source(files_from)
    with stream:
        read = reader(stream, called)
        first = read()
        end = b"\0" if b"\0" in first else b"\n"
        read, held = with_first(first, read), b""
        while data := read():
            *names, held = (held + data).split(end)
            yield from (os.fsdecode(name.rstrip(b"\r")) for name in names if name.strip())
            if len(held) > BLOCK:
                raise InputError(called, "not a list of file names (a name of more than 64 kB)")
        if held.strip():
            yield os.fsdecode(held.rstrip(b"\r"))
