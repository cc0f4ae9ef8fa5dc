"""A small trained weights folder, made once: real sentences, a few seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

SAMPLE = Path(__file__).parents[3] / "apps" / "textcls" / "sample" / "reviews.tsv"


def sample() -> tuple[list[str], np.ndarray]:
    """The packaged sample: texts and classes (0 negative, 1 positive)."""
    rows = [line.split("\t") for line in SAMPLE.read_text(encoding="utf-8").splitlines()[1:]]
    return [r[2] for r in rows], np.array([int(r[0] == "positive") for r in rows])


@pytest.fixture(scope="session")
def texts() -> list[str]:
    return sample()[0]


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder that ``fit`` and ``save`` made from the sample."""
    from cnnapps.apps.textcls.tokens import build_words
    from cnnapps.apps.textcls.train import TextRecipe, fit, random_vectors, save
    from cnnapps.core.card import Card

    texts, targets = sample()
    units = build_words(texts[:1200])
    recipe = TextRecipe(epochs=4, maps=20)
    fitted = fit(
        texts[:1200],
        targets[:1200],
        ("negative", "positive"),
        units=units,
        vectors=random_vectors(len(units), 50, 1),
        recipe=recipe,
        run=tmp_path_factory.mktemp("run"),
        dev=(texts[1200:], targets[1200:]),
        quiet=True,
    )
    folder = tmp_path_factory.mktemp("weights") / "tiny"
    save(fitted, folder, Card(app="textcls", tag="tiny", net="kim-cnn"))
    return folder
