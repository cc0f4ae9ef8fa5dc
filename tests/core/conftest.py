"""Weights folders that are made once and copied by the tests that damage them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run a test marked ``alone`` in a process of its own when it would share one.

    A process that has computed gradients may not fork and compute more of them: what ran before
    in the same worker would decide whether such a test passes.
    """
    if pyfuncitem.get_closest_marker("alone") is None or "CNNAPPS_ALONE" in os.environ:
        return None
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
    place = f"{pyfuncitem.path}::{pyfuncitem.name}"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    run = subprocess.run(
        [*command, "--no-header", place],
        env={**environment, "CNNAPPS_ALONE": "1"},
        cwd=pyfuncitem.config.rootpath,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    return True


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
