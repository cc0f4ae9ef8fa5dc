"""Texts for a teacher to label, so that a small net can learn what a large one knows.

Hinton et al. 2015 (arXiv:1503.02531): the teacher's probabilities say more than a label. On the
training texts alone they bring little; new texts, made from the old ones, bring the rest
(docs/textcls.md has the figures).
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import re
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnnapps.apps.textcls.data import normalise
from cnnapps.apps.textcls.predict import TextPredictor
from cnnapps.apps.textcls.tokens import guess_kind
from cnnapps.core.errors import InputError, listed
from cnnapps.core.files import write_bytes
from cnnapps.core.progress import Progress

__all__ = ["Lesson", "clauses", "lesson", "mixed"]

MADE, TIMES = 40_000, 20
"""New texts at most, and at most so many times the training texts, where nobody says how many."""
KEEP_SECONDS = 30.0
"""Between two writings of the answers that are there: a stop costs no more."""
_CHUNK = 512


def mixed(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """New texts for the teacher to label: halves of two sentences joined, or words left out."""
    words = [t.split() for t in texts]
    out = []
    for _ in range(n):
        a, b = (words[i] for i in rng.integers(0, len(words), 2))
        if rng.random() < 0.5 and len(a) > 3 and len(b) > 3:
            made = a[: rng.integers(2, len(a))] + b[rng.integers(1, len(b) - 1) :]
        else:
            made = [w for w in a if rng.random() > 0.15] or a[:1]
        out.append(" ".join(made))
    return out


_CLAUSE = re.compile(r"(?<=[，。！？；,.!?;~ ])")


def clauses(texts: Sequence[str], n: int, rng: np.random.Generator) -> list[str]:
    """New texts where no spaces stand between words: one to three clauses in a row of one text, or
    a clause of one and one of another.
    """
    cut = [[c for c in _CLAUSE.split(t) if c.strip()] or [t] for t in texts]
    out = []
    for _ in range(n):
        one, other = (cut[i] for i in rng.integers(0, len(cut), 2))
        if rng.random() < 0.6:
            length = int(rng.integers(1, 4))
            start = int(rng.integers(0, max(1, len(one) - length + 1)))
            out.append("".join(one[start : start + length]))
        else:
            out.append(one[rng.integers(len(one))] + other[rng.integers(len(other))])
    return out


@dataclasses.dataclass(frozen=True, slots=True)
class Lesson:
    """The training texts, then new ones that a teacher labelled."""

    texts: list[str]
    targets: np.ndarray
    """(n,) class numbers, or (n, classes) 0/1 with several labels a text."""
    teacher: np.ndarray
    """(n, classes) float32: its probabilities."""


def lesson(
    teacher: TextPredictor,
    texts: Sequence[str],
    targets: np.ndarray,
    labels: Sequence[str],
    *,
    unseen: Sequence[str] = (),
    new: int | None = None,
    seed: int = 0,
    keep: Path | None = None,
    quiet: bool = True,
) -> Lesson:
    """What ``teacher`` says of the training texts and of texts mixed from them.

    ``targets`` are (n,) or (n, classes) as ``labels`` number them. ``new`` texts are mixed; those
    that come twice or are old fall away, and none of the texts ``unseen``, on which the net is
    judged, is made by chance. The answers are kept in the file ``keep``, also when the asking is
    stopped.
    InputError: the teacher lacks a label, or one of the two knows several labels a text.
    """
    several = targets.ndim == 2
    card = teacher.card
    place = {name: i for i, name in enumerate(card.labels)}
    missing = [x for x in labels if card.aliases.get(x, x) not in place]
    if missing:
        known = listed(card.labels)
        raise InputError("--teacher", f"{card.name} knows {known}, but not {listed(missing)}")
    if several != teacher.several:
        which = ("one label", "several labels")
        raise InputError("--teacher", f"{card.name} gives {which[not several]} a text, the data"
                                      f" have {which[several]}")  # fmt: skip
    columns = [place[card.aliases.get(x, x)] for x in labels]
    rng = np.random.default_rng((seed, 40))
    old = {normalise(t) for t in (*texts, *unseen)}
    n = min(MADE, TIMES * len(texts)) if new is None else new
    mix = mixed
    with contextlib.suppress(InputError):  # no letters: nothing says that spaces are lacking
        mix = mixed if guess_kind(texts) == "words" else clauses
    made = [t for t in dict.fromkeys(mix(texts, n, rng)) if normalise(t) not in old]
    p = _answers(teacher, [*texts, *made], keep, quiet=quiet)[:, columns]
    if several:
        guessed = p[len(texts) :] >= teacher.thresholds[columns]
    else:
        p = p / p.sum(1, keepdims=True)
        guessed = p[len(texts) :].argmax(1)
    together = np.concatenate([targets, guessed.astype(targets.dtype)])
    return Lesson([*texts, *made], together, p.astype(np.float32))


def _answers(
    teacher: TextPredictor, texts: Sequence[str], keep: Path | None, *, quiet: bool
) -> np.ndarray:
    """(n, labels of the teacher) probabilities; those that ``keep`` has of this task are taken."""
    digest = hashlib.sha256(teacher.card.identity.encode())
    for text in texts:
        digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
    task = digest.hexdigest()
    out = _kept(keep, task) if keep is not None else []
    done, saved = sum(map(len, out)), time.monotonic()
    with Progress(len(texts), "asking the teacher", quiet=quiet, start=done) as progress:
        for start in range(done, len(texts), _CHUNK):
            z = teacher.logits(texts[start : start + _CHUNK])
            out.append(teacher.probabilities(z).astype(np.float32))
            done = min(start + _CHUNK, len(texts))
            progress.update(done)
            last = done == len(texts)
            if keep is not None and (last or time.monotonic() - saved > KEEP_SECONDS):
                buffer = io.BytesIO()
                np.savez(buffer, task=task, p=np.concatenate(out))
                keep.parent.mkdir(parents=True, exist_ok=True)
                write_bytes(keep, buffer.getvalue())
                saved = time.monotonic()
    return np.concatenate(out)


def _kept(path: Path, task: str) -> list[np.ndarray]:
    """Answers in ``path``, all or the first of them; none when it is damaged or of another task."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return [np.asarray(stored["p"])] if str(stored["task"]) == task else []
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile):
        return []
