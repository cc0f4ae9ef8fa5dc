"""The shipped weights, opened once, and photos whose things are known."""

from __future__ import annotations

import pytest

from cnnapps.apps.classify import Classifier, DigitReader, load, load_digits


@pytest.fixture(scope="session")
def classifier() -> Classifier:
    return load(explain=True)


@pytest.fixture(scope="session")
def reader() -> DigitReader:
    return load_digits()
