"""Broken files from good ones, the same every time: for tests of everything that reads files.

Each mutant is one good file after 1 to 16 accidents: flipped bits, random bytes, pieces lost,
doubled, blanked or taken from another file, the end cut off, a number replaced by a monstrous one,
the order of bytes swapped.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

__all__ = ["mutants"]

_NUMBER = re.compile(rb"[0-9]+(?:\.[0-9]+)?")
_MONSTERS = (b"0", b"-1", b"4294967296", b"1" + b"0" * 20, b"1e309", b"nan")
_FILLINGS = (b"\x00", b"\xff", b"\x7f", b"\x80")

Accident = Callable[[bytes, bytes, random.Random], bytes]


def mutants(data: bytes, other: bytes, n: int, seed: int) -> Iterator[bytes]:
    """``n`` mutants of ``data``, with pieces of ``other``; a function of its arguments alone."""
    for number in range(n):
        rng = random.Random(f"{seed}/{number}")
        mutant = data
        for _ in range(rng.randint(1, 16)):
            mutant = rng.choice(_ACCIDENTS)(mutant, other, rng)
        yield mutant


def _piece(data: bytes, rng: random.Random) -> tuple[int, int]:
    """Start and end of a piece; short ones are as likely as long ones."""
    start = rng.randrange(len(data) + 1)
    length = int(2 ** rng.uniform(0, max(len(data), 2).bit_length()))
    return start, min(start + length, len(data))


def _flip_bit(data: bytes, other: bytes, rng: random.Random) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _random_bytes(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, _ = _piece(data, rng)
    noise = rng.randbytes(rng.randint(1, 16))
    overwrite = rng.random() < 0.5
    return data[:start] + noise + data[start + len(noise) * overwrite :]


def _delete(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    return data[:start] + data[end:]


def _double(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    return data[:end] + data[start:end] + data[end:]


def _fill(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    return data[:start] + rng.choice(_FILLINGS) * (end - start) + data[end:]


def _truncate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(data: bytes, other: bytes, rng: random.Random) -> bytes:
    start, end = _piece(data, rng)
    first, last = _piece(other, rng)
    return data[:start] + other[first:last] + data[end:]


def _replace_number(data: bytes, other: bytes, rng: random.Random) -> bytes:
    numbers = list(_NUMBER.finditer(data))
    if not numbers:
        return data
    chosen = rng.choice(numbers)
    return data[: chosen.start()] + rng.choice(_MONSTERS) + data[chosen.end() :]


def _swap_endianness(data: bytes, other: bytes, rng: random.Random) -> bytes:
    size = rng.choice((2, 4, 8))
    start, end = _piece(data, rng)
    end = start + (end - start) // size * size
    swapped = b"".join(data[at : at + size][::-1] for at in range(start, end, size))
    return data[:start] + swapped + data[end:]


_ACCIDENTS: tuple[Accident, ...] = (
    _flip_bit,
    _random_bytes,
    _delete,
    _double,
    _fill,
    _truncate,
    _splice,
    _replace_number,
    _swap_endianness,
)
