"""From the command line to files: folders, patterns, lists."""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator, Sequence
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
    *(".au", ".snd", ".caf", ".rf64", ".sph"),
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
    """Depth first, names sorted; the names of one folder and of those above it are held."""
    stack = [iter([(folder, True)])]
    while stack:
        path, is_folder = next(stack[-1], ("", False))
        if not path:
            stack.pop()
        elif not is_folder:
            yield Input(path)
        else:
            try:
                with os.scandir(path) as entries:
                    names = sorted(found for entry in entries for found in _wanted(entry, wanted))
            except OSError as error:
                yield _no(path, because(error))
                continue
            stack.append(iter([(os.path.join(path, name), is_dir) for name, is_dir in names]))


def _wanted(entry: os.DirEntry[str], wanted: tuple[str, ...]) -> Iterator[tuple[str, bool]]:
    """(name, is it a folder) if we go there; a link that leads nowhere is reported when read."""
    if entry.name.startswith("."):
        return
    if entry.is_dir(follow_symlinks=False):
        yield entry.name, True
        return
    file = entry.is_file() or (entry.is_symlink() and not entry.is_dir())
    if file and entry.name.lower().endswith(wanted):
        yield entry.name, False


def _matching(pattern: str, wanted: tuple[str, ...]) -> Iterator[Input]:
    """What a pattern matches, without links to folders: Path.glob, too, follows none in ``**``."""
    parts = list(Path(pattern).parts)
    if parts[-1] == "**":  # all folders below: their files
        yield from _expand(os.path.join(*parts[:-1]) if parts[1:] else ".", wanted, patterns=True)
        return
    fixed = next(i for i, part in enumerate(parts) if glob.has_magic(part))
    try:
        found = sorted(Path(*parts[:fixed]).glob(os.path.join(*parts[fixed:])))
    except (ValueError, OSError) as error:  # "**" beside other characters
        yield _no(pattern, str(error))
        return
    given: set[str] = set()  # a folder and a file in it can both match
    for path in found:
        linked = path.is_symlink() and path.is_dir()
        if not linked and not _is_hidden(path.parts[fixed:], parts[fixed:]):
            items = list(_expand(str(path), wanted, patterns=False))
            yield from (item for item in items if item.name not in given)
            given.update(item.name for item in items)
    if not given:
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
            yield from (os.fsdecode(_bare(name, end)) for name in names if name.strip())
            if len(held) > BLOCK:
                raise InputError(called, "not a list of file names (a name of more than 64 kB)")
        if held.strip():
            yield os.fsdecode(_bare(held, end))


def _bare(name: bytes, end: bytes) -> bytes:
    return name.rstrip(b"\r") if end == b"\n" else name
