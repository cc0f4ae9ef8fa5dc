"""A linear model over n-grams of characters, beside the filters of a net with two labels.

A filter answers with its best match in a text; a bag of n-grams weighs all that is there (Wang and
Manning 2012, "Baselines and Bigrams"). For Chinese, where a word is one to three characters, the
two err on different texts, and their sum is better than either.

    characters -> n-grams of 1 to 3 -> those that are known: (1 + ln count) * idf, of length 1
    -> sum of weights = the margin of the second label over the first

N-grams are known by a hash of 32 bits, so that one costs 4 bytes whatever its script, weight and
rarity included: the upper half of the hash is how many n-grams precede, not a number of its own.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import WeightsError, need

__all__ = ["FILE", "LONGEST", "Grams", "fit_grams", "hashes", "read_grams"]

FILE = "grams.bin"
_SPACE = 32
LONGEST = 3
_PRIME = np.uint64(0x100000001B3)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: Fibonacci hashing
_ROOM = np.uint64((1 << 48) - 1)
_UPPER = 1 << 16
Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]
Hashes = NDArray[np.uint32]


@functools.lru_cache(maxsize=1 << 16)
def _plain(c: str) -> int:
    """The code of a character in lower case; every space is one space."""
    if c.isspace():
        return _SPACE
    lower = c.lower()
    return ord(lower) if len(lower) == 1 else ord(c)


def hashes(text: str) -> tuple[Hashes, Numbers, Numbers]:
    """(hash, start, end) of every n-gram of ``text``; end is exclusive.

    Neighbouring spaces count as one, those around the text not at all. Spaces are worth something:
    without them 12 fewer of 965 reviews of unseen kinds of goods were answered right.
    """
    inner = text.strip()
    codes = np.fromiter(map(_plain, inner), np.uint64, len(inner))
    again = np.zeros(len(codes), bool)
    again[1:] = (codes[1:] == _SPACE) & (codes[:-1] == _SPACE)
    places = np.flatnonzero(~again)
    codes = codes[places]
    places += len(text) - len(text.lstrip())
    found, first, last = [], [], []
    hashed = np.zeros(len(codes), np.uint64)
    for n in range(1, LONGEST + 1):
        if len(codes) < n:
            break
        hashed = (hashed[: len(codes) - n + 1] * _PRIME + codes[n - 1 :]) & _ROOM
        mixed = hashed + (np.uint64(n) << np.uint64(48))
        mixed = (mixed ^ (mixed >> np.uint64(31))) * _SPREAD
        found.append((mixed >> np.uint64(32)).astype(np.uint32))
        first.append(places[: len(codes) - n + 1])
        last.append(places[n - 1 :] + 1)
    if not found:
        none = np.zeros(0, np.int64)
        return none.astype(np.uint32), none, none
    return np.concatenate(found), np.concatenate(first), np.concatenate(last)


@dataclass(frozen=True, slots=True)
class Grams:
    """``known`` (K,) ascending uint32 hashes; ``codes`` (K,) int8 weights in units of ``step``;
    ``rarity`` (K,) uint8 idf in units of ``rarity_step``; ``share``: what the margin is multiplied
    by before it joins the net's.
    """

    known: Hashes
    codes: NDArray[np.int8]
    step: float
    rarity: NDArray[np.uint8]
    rarity_step: float
    bias: float
    share: float = 1.0

    def margins(self, texts: Sequence[str]) -> Floats:
        """(len(texts),): what each adds to the second label's logit less the first's."""
        out = np.zeros(len(texts))
        for i, text in enumerate(texts):
            values, _, weights = self._weighed(hashes(text)[0])
            out[i] = self.share * (self.bias + float(values @ weights))
        return out

    def parts(self, text: str) -> tuple[float, list[tuple[int, int, float]]]:
        """(bias, [(start, end, share of the margin) of each n-gram]); they add up to the margin."""
        numbers, first, last = hashes(text)
        values, inverse, weights = self._weighed(numbers)
        counts = np.bincount(inverse, minlength=len(values))
        each = self.share * (values * weights / np.maximum(counts, 1))[inverse]
        spans = zip(first.tolist(), last.tolist(), each.tolist(), strict=True)
        return self.share * self.bias, [span for span in spans if span[2]]

    def _weighed(self, found: Hashes) -> tuple[Floats, Numbers, Floats]:
        """Distinct n-grams' values, of length 1 together, where each is in ``found``, weights."""
        distinct, inverse, counts = np.unique(found, return_inverse=True, return_counts=True)
        place, known = _places(self.known, distinct)
        values = (1 + np.log(counts)) * (self.rarity[place] * self.rarity_step) * known
        values = np.asarray(values, np.float64) / max(float(np.sqrt(values @ values)), 1e-12)
        return (
            values,
            inverse.astype(np.int64),
            np.asarray(self.codes[place] * self.step, np.float64),
        )

    def files(self) -> dict[str, bytes]:
        """``grams.bin``: a line of JSON; for each of the 65,536 upper halves of a hash how many
        n-grams have it (a byte); lower halves (2 bytes each, little-endian), codes, rarity (a byte
        each), all in the order of the hashes.
        """
        head = {"ngrams": len(self.known), "step": self.step, "rarity_step": self.rarity_step,
                "bias": self.bias, "share": self.share}  # fmt: skip
        counts = np.bincount(self.known >> np.uint32(16), minlength=_UPPER)
        if counts.max() > 255:
            raise ValueError(f"{len(self.known):,} n-grams are too many for bytes to count them")
        body = counts.astype(np.uint8).tobytes() + self.known.astype("<u2").tobytes()
        body += self.codes.tobytes() + self.rarity.tobytes()
        return {FILE: json.dumps(head).encode() + b"\n" + body}


def _places(known: Hashes, wanted: Hashes) -> tuple[Numbers, NDArray[np.bool_]]:
    """Where each wanted hash stands among the known ones, and whether it does."""
    place = np.searchsorted(known, wanted)
    place[place == len(known)] = 0
    return place, known[place] == wanted


def read_grams(files: Mapping[str, bytes], labels: int) -> Grams | None:
    """The model of a weights folder, None where it has none; WeightsError if it is malformed."""
    if FILE not in files:
        return None
    head, _, body = files[FILE].partition(b"\n")
    try:
        values: dict[str, Any] = json.loads(head)
        count = int(values["ngrams"])
        numbers = [float(values[k]) for k in ("step", "rarity_step", "bias", "share")]
        if (
            count < 1
            or len(body) != _UPPER + 4 * count
            or labels != 2
            or not np.isfinite(numbers).all()
        ):
            raise ValueError(f"{len(body)} bytes for {count} n-grams, {labels} labels")
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise WeightsError(FILE, f"is malformed ({error})") from error
    step, rarity_step, bias, share = numbers
    counts = np.frombuffer(body, np.uint8, _UPPER)
    if int(counts.sum(dtype=np.int64)) != count:
        raise WeightsError(FILE, "is malformed (counts that don't add up)")
    known = np.repeat(np.arange(_UPPER, dtype=np.uint32) << np.uint32(16), counts)
    known += np.frombuffer(body, "<u2", count, offset=_UPPER)
    if (known[1:] <= known[:-1]).any():
        raise WeightsError(FILE, "is malformed (hashes out of order)")
    codes = np.frombuffer(body, np.int8, count, offset=_UPPER + 2 * count)
    rarity = np.frombuffer(body, np.uint8, count, offset=_UPPER + 3 * count)
    return Grams(known, codes, step, rarity, rarity_step, bias, share)


# ------------------------------------------------------------------------------------- training
def fit_grams(
    texts: Sequence[str],
    targets: NDArray[np.int64],
    weights: Floats,
    *,
    keep: int,
    seed: int = 5,
) -> Grams:
    """A linear SVM (C = 1) on texts with targets 0 or 1, each of a weight; rounded to 8 bits.

    First on all n-grams that two texts have, then on the ``keep`` that decide most: by weight times
    the root of the number of texts that they are in.
    """
    svm = need("sklearn.svm", "n-grams of characters")
    each = [np.unique(hashes(text)[0], return_counts=True) for text in texts]
    known, spread = np.unique(np.concatenate([found for found, _ in each]), return_counts=True)
    known, spread = known[spread > 1], spread[spread > 1]

    def fitted(known: Hashes, spread: Numbers) -> tuple[Any, NDArray[np.uint8], float]:
        idf = np.log((1 + len(texts)) / (1 + spread)) + 1
        step = float(idf.max() / 255)
        rarity = np.round(idf / step).astype(np.uint8)
        x = _matrix(each, known, np.asarray(rarity * step, np.float64))
        return svm.LinearSVC(C=1.0, random_state=seed).fit(x, targets, weights), rarity, step

    model, _, _ = fitted(known, spread)
    best = np.argsort(-np.abs(model.coef_[0]) * np.sqrt(spread), kind="stable")[:keep]
    best.sort()
    known, spread = known[best], spread[best]
    model, rarity, rarity_step = fitted(known, spread)
    step = float(np.abs(model.coef_).max() / 127)
    codes = np.round(model.coef_[0] / step).astype(np.int8)
    return Grams(known, codes, step, rarity, rarity_step, float(model.intercept_[0]))


def _matrix(each: Sequence[tuple[Hashes, Numbers]], known: Hashes, idf: Floats) -> Any:
    """(len(each), len(known)) scipy CSR with rows of length 1."""
    sparse = need("scipy.sparse", "n-grams of characters")
    columns, values, ends = [], [], [0]
    for found, counts in each:
        place, there = _places(known, found)
        place = place[there]
        value = (1 + np.log(counts[there])) * idf[place]
        columns.append(place)
        values.append(value / max(float(np.sqrt(value @ value)), 1e-12))
        ends.append(ends[-1] + len(place))
    shape = (len(each), len(known))
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(columns), ends), shape=shape)
