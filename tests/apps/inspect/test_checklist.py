"""The course's checklist: every line again, and the page that shows it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests"))
from checklist import PAGE, Line, lines, text  # noqa: E402

LINES = list(lines())


@pytest.mark.parametrize("line", LINES, ids=[f"{i}: {x.what[:50]}" for i, x in enumerate(LINES)])
def test_the_number_is_the_one_that_is_stated(line: Line) -> None:
    assert text(line.measured()) == text(line.expected)


def test_the_page_shows_these_numbers() -> None:
    written = PAGE.read_text(encoding="utf-8")
    rows = [row for row in written.splitlines() if row.startswith("| ") and "| = |" in row]
    assert len(rows) == len(LINES)
    for line, row in zip(LINES, rows, strict=True):
        assert row == (
            f"| {line.what} | {text(line.expected)} | {text(line.expected)} | = | `{line.of}` |"
        ), "run: python tests/checklist.py"
    assert "**differs**" not in written
