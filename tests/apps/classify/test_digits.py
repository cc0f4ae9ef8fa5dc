"""Digits: found, cut out as the training digits are, and read, on pages that were rendered here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnapps.apps.classify import DigitReader
from cnnapps.apps.classify.digits import cut, find_digits, find_ink, split
from cnnapps.apps.classify.learn import SAMPLE
from cnnapps.core.media import read_picture

sys.path.insert(0, str(Path(__file__).parents[2]))
from digit_pages import KINDS, edits, lines_of, page, photographed, spoiled

FONTS = ("uni", "sans", "italic")
SHARED = Path(__file__).parents[4] / "shared" / "data" / "ocr"


ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / ".dev")}


def test_ink_is_the_same_dark_on_light_and_light_on_dark() -> None:
    clean = page(lines_of(1), "uni")
    dark, light = find_ink(clean), find_ink(255 - clean)
    assert dark is not None and light is not None
    assert (dark.light, light.light) == (False, True)
    np.testing.assert_allclose(dark.values, light.values, atol=0.02)


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("shape", [(1, 1), (2, 90), (300, 300)])
def test_an_empty_page_has_no_digits(
    value: int, shape: tuple[int, int], reader: DigitReader
) -> None:
    result = reader(np.full((*shape, 3), value, np.uint8))
    assert result.digits == () and result.text == "" and str(result) == "no digits"


def test_noise_alone_has_no_digits(reader: DigitReader) -> None:
    noise = np.random.default_rng(1).normal(128, 9, (200, 300, 3)).clip(0, 255).astype(np.uint8)
    assert len(reader(noise).digits) == 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("font", FONTS)
def test_lines_are_found_in_order(font: str, kind: str) -> None:
    lines = lines_of(FONTS.index(font) * 10 + KINDS.index(kind))
    ink = find_ink(spoiled(page(lines, font), kind))
    assert ink is not None
    places = find_digits(ink)
    counts = [sum(p.line == i for p in places) for i in range(len(lines))]
    assert counts == [len(line.replace(" ", "")) for line in lines]
    for a, b in pairwise(places):
        assert a.line < b.line or (a.line == b.line and a.box[0] < b.box[0])


def test_digits_are_cut_as_the_training_digits_are() -> None:
    """20 pixels on the longer side, the centre of mass in the middle, full ink."""
    for font in FONTS:
        ink = find_ink(page(["0123456789"], font, height=60))
        assert ink is not None
        for place in find_digits(ink):
            tile = cut(ink, place)
            assert tile.shape == (28, 28) and tile.min() >= 0 and tile.max() <= 1
            rows, columns = np.flatnonzero(tile.any(1)), np.flatnonzero(tile.any(0))
            assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
            mass = tile.sum()
            at = [float((tile.sum(k) * np.arange(28)).sum() / mass) for k in (0, 1)]
            assert at == pytest.approx([13.5, 13.5], abs=0.75)
            assert 0.05 < tile.mean() < 0.4


def test_a_training_digit_comes_back_as_it_was() -> None:
    """The sample's digits, found and cut again, are nearly the same pixels."""
    off = []
    for path in sorted(SAMPLE.glob("[0-9]/0*.png"))[::40]:
        rgb = read_picture(path).rgb
        ink = find_ink(rgb)
        assert ink is not None and ink.light
        place = max(find_digits(ink), key=lambda p: p.mask.size)
        tile = cut(ink, place)
        off.append(min(
            np.abs(np.roll(tile, shift, (0, 1)) - rgb[:, :, 0] / 255).mean()
            for shift in ((0, 0), (0, 1), (1, 0), (1, 1), (-1, 0), (0, -1), (-1, -1), (1, -1))
        ))  # fmt: skip
    assert float(np.median(off)) < 0.04


def test_rules_frames_and_specks_are_no_digits() -> None:
    sheet = page(["314159", "265358"], "uni")
    cv2.rectangle(sheet, (4, 4), (sheet.shape[1] - 5, sheet.shape[0] - 5), (0, 0, 0), 2)
    cv2.line(sheet, (10, 82), (sheet.shape[1] - 11, 82), (60, 60, 60), 2)
    rng = np.random.default_rng(1)
    for x, y in rng.integers(10, 90, (30, 2)):
        sheet[y, x * 7 % 600] = 0
    ink = find_ink(sheet)
    assert ink is not None
    assert len(find_digits(ink)) == 12


def test_splitting_gives_the_parts_asked_for() -> None:
    ink = find_ink(page(["8"], "uni", height=60))
    assert ink is not None
    place = find_digits(ink)[0]
    assert split(place, 2)[0].box[0] == place.box[0]
    for parts in (2, 3):
        pieces = split(place, parts)
        assert len(pieces) == parts
        assert all(a.box[2] <= b.box[0] + 1 for a, b in pairwise(pieces))


@pytest.mark.parametrize("kind", KINDS)
def test_pages_are_read(kind: str, reader: DigitReader) -> None:
    off = n = 0
    for i, font in enumerate(FONTS):
        lines = lines_of(70 + i)
        result = reader(spoiled(page(lines, font), kind))
        want = "\n".join(lines)
        off += edits(want.replace(" ", ""), result.text.replace(" ", ""))
        n += len(want)
    assert off / n <= 0.05, f"{off} of {n}"


def test_text_keeps_lines_and_gaps(reader: DigitReader) -> None:
    result = reader(page(["271 828", "18"], "uni"))
    assert result.text == "271 828\n18"
    assert [d.digit for d in result.digits] == [2, 7, 1, 8, 2, 8, 1, 8]
    x0, y0, x1, y1 = result.digits[0].box
    assert 30 < x0 < x1 < 80 and 10 < y0 < y1 < 80


def test_digits_that_touch_are_parted(reader: DigitReader) -> None:
    right = []
    for pair in ("28", "35", "60", "56", "83", "52"):
        sheet = page([pair], "uni", height=60)
        columns = np.flatnonzero((sheet[:, :, 0] < 128).any(0))
        gap = int(np.flatnonzero(np.diff(columns) > 1)[0])
        middle = 42 + sheet.shape[0] // 4
        cv2.line(
            sheet, (int(columns[gap]) - 6, middle), (int(columns[gap + 1]) + 6, middle),
            (20, 20, 30), 3,
        )  # fmt: skip
        ink = find_ink(sheet)
        assert ink is not None and len(find_digits(ink)) == 1, pair
        right.append(reader(sheet).text == pair)
    assert sum(right) >= 5, right


def test_sample_digits_alone_and_as_a_sheet(reader: DigitReader) -> None:
    """Digits that the net learned from: the finder must not spoil them."""
    paths = [p for d in range(10) for p in sorted((SAMPLE / str(d)).glob("*.png"))[:6]]
    right = 0
    for path in paths:
        found = reader(path).digits
        right += len(found) == 1 and found[0].digit == int(path.parent.name)
    assert right >= 0.95 * len(paths)
    tiles = [read_picture(p).rgb for p in paths]
    sheet = np.vstack([np.hstack(tiles[i : i + 6]) for i in range(0, 60, 6)])
    want = "".join(p.parent.name for p in paths)
    got = "".join(str(d.digit) for d in reader(sheet).digits)
    assert edits(want, got) <= 4


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographed words of ../shared")
def test_photographed_words(reader: DigitReader) -> None:
    """Numbers on signs and labels, as cameras saw them: more than half of the digits."""
    off = n = 0
    for _, data, text in photographed(SHARED):
        found = reader(read_picture(data)).digits
        off += edits(text, "".join(str(d.digit) for d in found))
        n += len(text)
    assert n > 100 and off / n < 0.5


def test_command(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), page(["90210"], "uni"))
    (tmp_path / "b.png").write_bytes(b"GIF89a")

    def run(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "cnnapps", "classify", "digits", *map(str, args)]
        return subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=300,
            cwd=tmp_path,
            check=False,
            env=ENVIRONMENT,
        )

    out = run("a.png", "b.png", "--json")
    assert out.returncode == 1 and len(out.stderr.splitlines()) == 1
    good, bad = (json.loads(line) for line in out.stdout.splitlines())
    assert set(good) == {"input", "weights", "result"} and set(bad) == {"input", "error"}
    assert set(good["result"]) == {"digits", "text"} and good["result"]["text"] == "90210"
    assert set(good["result"]["digits"][0]) == {"digit", "probability", "box"}
    out = run("a.png", "-o", "boxes.png")
    assert out.returncode == 0 and out.stdout == "a.png: 90210\n"
    assert read_picture(tmp_path / "boxes.png").width > 500
    assert run("a.png").stdout == "a.png: 90210\n"
