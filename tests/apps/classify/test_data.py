"""Folders of pictures: what is read, reported, divided."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cnnapps.apps.classify.data import divide, inspect, read_folder
from cnnapps.apps.classify.evaluate import confusion, score, wilson
from cnnapps.core.errors import InputError


def picture(seed: int, size: int = 40) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_CUBIC))


def write(path: Path, pixels: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def test_a_folder_a_class_with_everything_that_goes_wrong(tmp_path: Path) -> None:
    for i in range(12):
        write(tmp_path / "cat" / f"{i:02d}.png", picture(i))
        write(tmp_path / "dog" / f"{i:02d}.png", picture(100 + i))
    write(tmp_path / "cat" / "copy.jpg", picture(3, 90))  # another size, another format
    write(tmp_path / "dog" / "both.png", picture(5))  # a cat among the dogs
    (tmp_path / "dog" / "cut.png").write_bytes((tmp_path / "dog" / "01.png").read_bytes()[:50])
    (tmp_path / "dog" / "notes.txt").write_text("not a picture, not looked at")
    (tmp_path / ".hidden").mkdir()
    data = read_folder(tmp_path)
    assert data.labels == ("cat", "dog") and len(data) == 27 and set(data.parts) == {""}
    report = inspect(data, quiet=True)
    names = [[data.paths[i].name for i in g] for g in report.groups]
    assert sorted(map(sorted, names)) == [["03.png", "copy.jpg"], ["05.png", "both.png"]]
    assert [data.paths[i].name for i, _ in report.broken] == ["cut.png"]
    assert len(report.conflicts) == 1 and report.leaks == () and not report.grey
    text = str(report)
    assert "2 duplicates" in text and "in two classes: cat/05.png = dog/both.png" in text
    assert "broken: dog/cut.png: " in text and "27 pictures in 2 classes" in text
    train, val, test = divide(report, 1)
    everything = [*train.paths, *val.paths, *test.paths]
    assert len(everything) == len(set(everything)) == 24
    assert not {"cut.png", "both.png"} & {p.name for p in everything}
    assert len(val) >= 2 and len(test) >= 2
    sides = [{p.name for p in part.paths} for part in (train, val, test)]
    assert any({"03.png", "copy.jpg"} <= side for side in sides), "the same picture on two sides"
    assert divide(report, 1)[0].paths == train.paths != divide(report, 2)[0].paths


def test_given_parts_and_leaks(tmp_path: Path) -> None:
    for part, base in (("train", 0), ("Validation", 50), ("test", 80)):
        for label in ("2", "10"):
            for i in range(4):
                write(tmp_path / part / label / f"{i}.png", picture(base + i + 1000 * int(label)))
    write(tmp_path / "train" / "2" / "leak.png", picture(2080))
    data = read_folder(tmp_path)
    assert data.labels == ("2", "10"), "numbers by value"
    assert {p: data.parts.count(p) for p in set(data.parts)} == {"train": 9, "val": 8, "test": 8}
    report = inspect(data, quiet=True)
    assert len(report.leaks) == 1 and "in two parts" in str(report)
    train, val, test = divide(report, 1)
    assert (len(train), len(val), len(test)) == (8, 8, 8)
    assert "leak.png" not in {p.name for p in train.paths}
    assert len(data.part("dev")) == 8
    with pytest.raises(InputError, match="no part 'x'; there are: test, train, val"):
        data.part("x")


def test_folders_without_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        read_folder(tmp_path / "none")
    with pytest.raises(InputError, match="no pictures"):
        read_folder(tmp_path)
    loose = write(tmp_path / "a.png", picture(1))
    with pytest.raises(InputError, match="a folder a class"):
        read_folder(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        read_folder(loose)


def test_faint_pictures_are_not_all_the_same(tmp_path: Path) -> None:
    """A thin stroke on white: the mean difference is small, and yet they are different."""
    for i in range(6):
        sheet = np.full((40, 40, 3), 255, np.uint8)
        cv2.line(sheet, (4 + 6 * i, 4), (4 + 6 * i, 30), (90, 90, 90), 1)
        write(tmp_path / "a" / f"{i}.png", sheet)
    assert inspect(read_folder(tmp_path), quiet=True).groups == ()


def test_scores() -> None:
    p = np.eye(3)[[0, 1, 1, 2]]
    s = score(p, np.array([0, 1, 2, 2]), ("a", "b", "c"), unanswered=1)
    assert (s.n, s.top1, s.top5) == (5, 0.6, 0.8)
    assert s.counts.tolist() == [[1, 0, 0], [0, 1, 0], [0, 1, 1]]
    assert set(s.to_dict()) == {"top1", "top5", "interval", "confusion", "unanswered"}
    assert "rows are the truth" in str(s)
    assert confusion(np.array([0, 0]), np.array([-1, 1]), 2).sum() == 1
    assert wilson(0, 0) == (0.0, 1.0)
    low, high = wilson(992, 1000)  # Wilson's formula by hand
    assert (round(low, 4), round(high, 4)) == (0.9843, 0.9959)
