"""The card of a weights folder: what the net is, what it was trained on, what it can do."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass, field
from typing import Any

from cnnapps.core.errors import WeightsError
from cnnapps.core.results import from_dict, to_dict

__all__ = ["CONTROL", "Card", "FileEntry", "Metric", "Source", "Tensor"]

_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
# A plain file name in the folder itself, or in the app's one shared folder. Nothing else is opened.
_PLACE = re.compile(r"(?:\.\./shared/)?[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
"""What a label may not hold: an answer is one line of UTF-8 on a terminal."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_DTYPE = re.compile(r"(bool|float(16|32|64)|u?int(8|16|32|64))\Z")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file that belongs to the weights."""

    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Tensor:
    """An input or output: numpy dtype name, and a shape whose free axes are named."""

    dtype: str
    shape: tuple[int | str, ...]


@dataclass(frozen=True, slots=True)
class Source:
    """Data or weights that went into the training."""

    name: str
    licence: str
    sha256: str = ""
    rows: int = 0
    what: str = ""


@dataclass(frozen=True, slots=True)
class Metric:
    """A measured number, with the data that it was measured on."""

    name: str
    value: float
    data: str
    split: str = ""
    n: int = 0
    sha256: str = ""
    command: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """Everything that is known about one weights folder; ``card.json`` is its JSON.

    ``net`` is a name in the app's table of nets, never a path to code: a card can't make us import
    anything. ``files`` maps places (``model.safetensors``, ``../shared/vectors.safetensors``) to
    their hash and size. ``preparation`` is what the app needs to turn an input into tensors.
    """

    app: str
    tag: str
    net: str
    arguments: dict[str, Any] = field(default_factory=dict)
    what: str = ""
    licence: str = ""
    files: dict[str, FileEntry] = field(default_factory=dict)
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)
    preparation: dict[str, Any] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    aliases: dict[str, str] = field(default_factory=dict)
    parameters: int = 0
    sources: tuple[Source, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    hours: float = 0.0
    metrics: tuple[Metric, ...] = ()
    limits: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    format: int = 1

    @property
    def name(self) -> str:
        """``app/tag``, as --weights takes it."""
        return f"{self.app}/{self.tag}"

    @property
    def size(self) -> int:
        """Bytes of all files, shared ones included."""
        return sum(entry.bytes for entry in self.files.values())

    def to_json(self) -> str:
        """The card as JSON; bytes of a file name that are no UTF-8 become U+FFFD."""
        text = json.dumps(to_dict(self), ensure_ascii=False, indent=1) + "\n"
        return _SURROGATE.sub("\ufffd", text)

    @property
    def identity(self) -> str:
        """sha256 of all that an answer depends on: the files, and how they are used."""
        used = {name: entry.sha256 for name, entry in self.files.items()}
        parts = (used, self.net, self.arguments, self.preparation, self.labels, self.aliases)
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @classmethod
    def from_json(cls, data: bytes, source: object) -> Card:
        """Parse and check. WeightsError names what is wrong; nothing in a card is trusted."""
        try:
            raw = json.loads(data.decode("utf-8"))
        except (UnicodeDecodeError, ValueError, RecursionError) as error:
            raise WeightsError(source, f"card.json is not JSON ({error})") from error
        if not isinstance(raw, dict):
            raise WeightsError(source, "card.json is not an object")
        if raw.get("format") != 1:
            raise WeightsError(source, f"card.json has format {raw.get('format')!r}, we read 1")
        try:
            card = from_dict(cls, raw)
            card._check(source)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise WeightsError(source, f"card.json is malformed ({error})") from error
        return card

    def _check(self, source: object) -> None:
        for name in (self.app, self.tag, self.net):
            if not _NAME.match(name):
                raise WeightsError(source, f"card.json has the impossible name {name!r}")
        for name, tensor in {**self.inputs, **self.outputs}.items():
            sizes = [n for n in tensor.shape if isinstance(n, int)]
            if not _DTYPE.match(tensor.dtype) or min(sizes, default=0) < 0:
                raise WeightsError(source, f"card.json: bad dtype or shape of {name}")
        if len(set(self.labels)) < len(self.labels):
            raise WeightsError(source, "card.json names a label twice")
        for label in self.labels:
            if not label.strip() or CONTROL.search(label):
                raise WeightsError(source, f"card.json has the impossible label {label!r}")
        if not self.files:
            raise WeightsError(source, "card.json lists no files")
        for place, entry in self.files.items():
            if not _PLACE.match(place):
                raise WeightsError(source, f"card.json names a file outside its folder: {place}")
            if not _SHA256.match(entry.sha256) or entry.bytes < 0:
                raise WeightsError(source, f"card.json: bad hash or size of {place}")
