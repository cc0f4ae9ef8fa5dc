"""The mutation bench itself: it must run on every format, and see a reader that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).parent / "reliability.py"


def test_every_format_has_mutants_that_are_read() -> None:
    done = subprocess.run(
        [sys.executable, str(BENCH), "--n", "12"], capture_output=True, text=True, timeout=900,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert lines[-1] == "0 failures" and len(lines) > 20
    assert all("12 mutants" in line and " 0 failed" in line for line in lines[:-1])


def test_a_reader_that_fails_is_seen(tmp_path: Path) -> None:
    sys.path.insert(0, str(BENCH.parent))
    try:
        from reliability import check_all
    finally:
        sys.path.pop(0)

    def read(path: Path) -> None:
        if path.read_bytes() == b"bad":
            raise ZeroDivisionError

    said = list(check_all(read, tmp_path / "f", [b"good", b"bad", b"good"]))
    assert said[0] == said[2] == "answered"
    assert "ZeroDivisionError" in said[1]
