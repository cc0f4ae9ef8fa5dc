"""What can go wrong, as one tree.

    CnnappsError
    ├── InputError(source, reason)           an input that can't be read or makes no sense
    │   └── LimitError(source, value, option)  an input larger than we accept; names the option
    ├── WeightsError(source, reason)         a weights folder that is missing, damaged or forged
    ├── DependencyError(reason, remedy)      a library that this command needs is not installed
    └── TrainingError(reason)                training can't go on (loss not finite, no data ...)

Libraries raise; only core/command.py prints, one line each: ``cnnapps: page3.png: truncated JPEG``.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any

__all__ = [
    "CnnappsError",
    "DependencyError",
    "InputError",
    "LimitError",
    "TrainingError",
    "WeightsError",
    "counted",
    "listed",
    "need",
    "printable",
]


# str.isprintable says no to every space but " ". These are as harmless, and U+3000 is common.
_SPACES = frozenset("\u00a0\u1680\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B))))


def printable(text: object, limit: int = 300) -> str:
    """One line that is safe on a terminal: control characters escaped, at most ``limit`` long.

    File names and texts come from strangers; an escape sequence in them must not reach the screen.
    """
    out = []
    for ch in str(text)[: limit + 1]:  # each character gives at least one
        if ch == "\t":
            out.append(" ")
        elif ch.isprintable() or ch in _SPACES:
            out.append(ch)
        else:
            out.append(ch.encode("unicode_escape", "backslashreplace").decode("ascii"))
    line = "".join(out)
    return line if len(line) <= limit else line[: limit - 1] + "…"


def counted(n: int, one: str, many: str | None = None) -> str:
    """``counted(1, "text")`` is "1 text", of 1476 texts it is "1,476 texts"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first names, printable, for a message: "a, b, c, d, e, ..."; a blank one is (blank)."""
    shown = [printable(name, 40) or "(blank)" for name in names[:most]]
    return ", ".join(shown + ["..."] * (len(names) > most))


class CnnappsError(Exception):
    """Base of all errors that we raise on purpose. ``str(error)`` is one printable line."""

    def __str__(self) -> str:
        return printable(super().__str__(), limit=1000)


class InputError(CnnappsError):
    """``source`` (file name, "line 3", "-") can't be read: ``reason``, lower case, no full stop."""

    def __init__(self, source: object, reason: str) -> None:
        super().__init__(f"{printable(source)}: {reason}" if str(source) else reason)
        self.source = str(source)
        self.reason = printable(reason, limit=1000)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.reason)


class LimitError(InputError):
    """``source`` exceeds a limit; the message names the command-line ``option`` that raises it."""

    def __init__(self, source: object, value: str, option: str) -> None:
        super().__init__(source, f"{value} (raise the limit with {option})")
        self.value = value
        self.option = option

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.value, self.option)


class WeightsError(InputError):
    """A weights folder that we refuse, and why."""


class DependencyError(CnnappsError):
    """An optional library is missing; ``remedy`` is what to type."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(f"{reason}: {remedy}")
        self.what = reason
        self.reason = printable(f"{reason}: {remedy}", limit=1000)
        self.remedy = remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.remedy)


class TrainingError(CnnappsError):
    """Training stopped for a reason that the user can act on."""


_REMEDY = {
    "torch": "pip install torch",
    "torchvision": "pip install torchvision",
    "torchaudio": "pip install torchaudio",
    "cv2": "pip install opencv-python, on Debian also apt-get install libgl1 libglib2.0-0 libxcb1",
}


def need(module: str, purpose: str) -> ModuleType:
    """Import ``module`` or raise DependencyError with one line that says how to get it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        top = module.split(".")[0]
        # A library that is there but fails to load (libGL missing) says so in its own words.
        missing = isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == top
        why = f"needs {top}" if missing else f"can't load {top} ({printable(error, 120)})"
        raise DependencyError(f"{purpose} {why}", _REMEDY.get(top, f"pip install {top}")) from error
