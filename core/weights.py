"""Find, verify and open weights folders.

    weights/<app>/<tag>/{model.safetensors, graph.onnx, card.json, ...}
    weights/<app>/shared/...        one vector table, say, that several tags point to

A folder is read into memory once, every file is compared with the hash in the card, and the bytes
that were checked are the bytes that run. Nothing is unpickled, no path leads out of the folder.
"""

from __future__ import annotations

import errno
import hashlib
import importlib.resources
import json
import math
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnnapps.core.card import Card
from cnnapps.core.errors import WeightsError

__all__ = [
    "Weights",
    "as_weights",
    "find",
    "installed",
    "open_weights",
    "read_card",
    "read_tensors",
    "root",
    "tensor_spans",
]

CARD_LIMIT = 4_000_000
FILE_LIMIT = 1_000_000_000
HEADER_LIMIT = 100_000_000
MAX_DIMENSIONS = 32
MAX_ELEMENTS = 1 << 40

# O_NONBLOCK: opening a pipe without a writer would hang before fstat could refuse it.
_OPEN_FLAGS = os.O_RDONLY
for _flag in ("O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"):
    _OPEN_FLAGS |= getattr(os, _flag, 0)

_DTYPES: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "I16": np.dtype("<i2"),
    "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"),
    "U32": np.dtype("<u4"),
    "U16": np.dtype("<u2"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


@dataclass(frozen=True, slots=True)
class Weights:
    """A verified weights folder: its card and the bytes of its files by plain name."""

    card: Card
    folder: Path
    files: Mapping[str, bytes]

    def __getitem__(self, name: str) -> bytes:
        try:
            return self.files[name]
        except KeyError:
            raise WeightsError(self.folder, f"has no {name}") from None

    def tensors(self) -> dict[str, np.ndarray]:
        """All tensors of all safetensors files, by their state-dict name."""
        out: dict[str, np.ndarray] = {}
        for file, data in self.files.items():
            if file.endswith(".safetensors"):
                for name, tensor in read_tensors(data, f"{self.folder}/{file}").items():
                    if name in out:
                        raise WeightsError(self.folder, f"tensor {name} is in two files")
                    out[name] = tensor
        return out


def root() -> Path:
    """The folder of the weights that are installed with the package."""
    return Path(str(importlib.resources.files("cnnapps") / "weights"))


def installed() -> Iterator[tuple[str, Path]]:
    """(``app/tag``, folder) of every installed weights folder, sorted by name."""
    top = root()
    if not top.is_dir():
        return
    for app in sorted(p for p in top.iterdir() if p.is_dir()):
        for folder in sorted(p for p in app.iterdir() if (p / "card.json").is_file()):
            yield f"{app.name}/{folder.name}", folder


def find(weights: str | os.PathLike[str] | None, app: str) -> Path:
    """The folder that TAG, APP/TAG, FOLDER or None (the default tag) means.

    A name that is a tag wins over a folder of that name in the current directory; ``./name`` is
    always a folder, and so is every name for the app "". WeightsError lists what there is.
    """
    text = "default" if weights is None else os.fspath(weights)
    tag = text.removeprefix(f"{app}/")
    if app and tag and "/" not in tag and "\\" not in tag and tag not in (".", ".."):
        folder = root() / app / tag
        if os.path.isfile(folder / "card.json"):
            return folder
    path = Path(text)
    if text and os.path.isfile(path / "card.json"):
        return path
    if text and os.path.exists(path):
        raise WeightsError(text, "is not a weights folder (no card.json in it)")
    prefix = f"{app}/" if app else ""
    tags = ", ".join(name for name, _ in installed() if name.startswith(prefix))
    raise WeightsError(text or "''", f"no such weights; installed: {tags or 'none'}")


def as_weights(folder: str | os.PathLike[str], app: str) -> str:
    """What ``--weights`` takes for this folder: its name, behind ``./`` where that is a tag."""
    text = os.fspath(folder)
    tag = root() / app / text.removeprefix(f"{app}/")
    return os.path.join(os.curdir, text) if (tag / "card.json").is_file() else text


def read_card(folder: str | os.PathLike[str]) -> Card:
    """The card of a weights folder, whose other files are not looked at."""
    path = Path(folder)
    return Card.from_json(_read(path / "card.json", CARD_LIMIT, path), path)


def open_weights(folder: str | os.PathLike[str], *, app: str | None = None) -> Weights:
    """Read a weights folder and verify every file against its card; WeightsError otherwise."""
    path = Path(folder)
    card = read_card(path)
    if app is not None and card.app != app:
        raise WeightsError(path, f"holds weights for {card.app}, not for {app}")
    files = {}
    for place, entry in card.files.items():
        name = place.rsplit("/", 1)[-1]
        if name in files:
            raise WeightsError(path, f"card.json names {name} twice")
        data = _read(path / place, min(FILE_LIMIT, entry.bytes), path)
        if len(data) != entry.bytes:
            raise WeightsError(path, f"{name} has {len(data)} bytes, its card says {entry.bytes}")
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise WeightsError(path, f"{name} differs from the sha256 in its card (damaged?)")
        files[name] = data
    return Weights(card=card, folder=path, files=files)


def _read(path: Path, limit: int, source: Path) -> bytes:
    """Bytes of a regular file; a link, pipe or device is refused (it may lead anywhere)."""
    try:
        handle = os.open(path, _OPEN_FLAGS)
        try:
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode):
                raise WeightsError(source, f"{path.name}: not a regular file")
            if status.st_size > limit:
                raise WeightsError(
                    source, f"{path.name} has {status.st_size} bytes, expected at most {limit}"
                )
            with open(handle, "rb", closefd=False) as file:
                return file.read(limit + 1)
        finally:
            os.close(handle)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the name
        reason = getattr(error, "strerror", None) or error
        if getattr(error, "errno", None) == errno.ELOOP:  # what O_NOFOLLOW makes of it
            reason = "is a symbolic link"
        raise WeightsError(source, f"{path.name}: {reason}") from error


def tensor_spans(
    data: bytes, source: object
) -> dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]]:
    """name -> (dtype, shape, offset, length) of a safetensors file; strict about its header.

    The format: 8 bytes little-endian header length, a JSON header, the tensors' bytes without
    holes or overlaps. Duplicate names, holes, overlaps and overflowing shapes are refused.
    """
    if len(data) < 8:
        raise WeightsError(source, f"truncated safetensors ({len(data)} bytes)")
    size = int.from_bytes(data[:8], "little")
    if size > min(HEADER_LIMIT, len(data) - 8):
        raise WeightsError(source, f"not safetensors (header of {size} bytes)")
    try:
        header = json.loads(data[8 : 8 + size].decode("utf-8"), object_pairs_hook=_unique)
    except (UnicodeDecodeError, ValueError, RecursionError) as error:
        raise WeightsError(source, f"safetensors header is not JSON ({error})") from error
    if not isinstance(header, dict):
        raise WeightsError(source, "safetensors header is not an object")
    header.pop("__metadata__", None)
    base, end = 8 + size, 0
    spans: dict[str, tuple[np.dtype[Any], tuple[int, ...], int, int]] = {}
    try:
        order = sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"]))
        for name, entry in order:
            if entry["dtype"] not in _DTYPES:
                raise ValueError(f"{name}: unknown dtype {entry['dtype']!r}")
            dtype, shape = _DTYPES[entry["dtype"]], tuple(entry["shape"])
            begin, stop = entry["data_offsets"]
            if any(type(n) is not int or not 0 <= n < 1 << 63 for n in (*shape, begin, stop)):
                raise ValueError(f"{name}: sizes must be whole numbers")
            # the product without zeros too: numpy can't hold the shape (0, 2**62, 2**62)
            if len(shape) > MAX_DIMENSIONS or math.prod(n or 1 for n in shape) > MAX_ELEMENTS:
                raise ValueError(f"{name}: impossible shape")
            count = math.prod(shape)
            if begin != end or stop - begin != count * dtype.itemsize or base + stop > len(data):
                raise ValueError(f"{name}: bytes {begin}-{stop} don't fit {dtype} {shape}")
            spans[name] = (dtype, shape, base + begin, stop - begin)
            end = stop
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise WeightsError(source, f"malformed safetensors header ({error})") from error
    if base + end != len(data):
        raise WeightsError(source, f"safetensors: {len(data) - base - end} bytes are no tensor's")
    return spans


def read_tensors(data: bytes, source: object) -> dict[str, np.ndarray]:
    """The tensors of a safetensors file as read-only arrays that share its bytes."""
    out = {}
    for name, (dtype, shape, offset, length) in tensor_spans(data, source).items():
        out[name] = np.frombuffer(data, dtype, length // dtype.itemsize, offset).reshape(shape)
    return out


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("duplicate name")
    return out
