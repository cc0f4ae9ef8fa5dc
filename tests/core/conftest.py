"""Weights folders that are made once and copied by the tests that damage them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def pixels_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of a small net of convolutions, free in H and W; look, don't touch."""
    from cnnapps.tests.core.folders import export_pixels

    folder = tmp_path_factory.mktemp("weights") / "demo" / "pixels"
    export_pixels(folder)
    return folder


@pytest.fixture(scope="session")
def words_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The weights folder of a small text net with a table of 8-bit codes; look, don't touch."""
    from cnnapps.tests.core.folders import export_words

    folder = tmp_path_factory.mktemp("weights") / "demo" / "words"
    export_words(folder)
    return folder


@pytest.fixture
def folder(pixels_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(pixels_folder, tmp_path / "demo" / "pixels"))
