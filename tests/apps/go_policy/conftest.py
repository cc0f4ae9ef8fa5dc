"""The shipped weights, opened once, and real game records."""

from __future__ import annotations

from pathlib import Path

import pytest

from cnnapps.apps.go_policy import GoPredictor, load
from cnnapps.apps.go_policy.records import Record, main_line, read

GAMES = Path(__file__).parents[2] / "data" / "go"
GAME = GAMES / "rocalpha-sgf-20160312-Lee-Sedol-vs-AlphaGo.sgf"


@pytest.fixture(scope="session")
def one() -> GoPredictor:
    """One symmetry: fast."""
    return load(symmetries=1)


@pytest.fixture(scope="session")
def eight() -> GoPredictor:
    """All symmetries, as the command answers."""
    return load()


@pytest.fixture
def record() -> Record:
    """Lee Sedol - AlphaGo, third game of 2016, 176 moves."""
    return main_line(read(GAME.read_bytes(), source=GAME.name).trees[0])
