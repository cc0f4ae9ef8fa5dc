"""Texts for a teacher to label, so that a small net can learn what a large one knows.

Hinton et al. 2015 (arXiv:1503.02531): the teacher's probabilities say more than a label. On the
training texts alone they bring little; new texts, made from the old ones, bring the rest
(docs/textcls.md has the figures).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

__all__ = ["mixed"]


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
