"""Pictures in folders: a folder a class, perhaps below train, val, test; and what is wrong there.

    flowers/rose/1.jpg                      flowers/train/rose/1.jpg
    flowers/tulip/2.jpg                     flowers/val/tulip/2.jpg

``read_folder`` lists, ``inspect`` decodes every picture once and reports broken ones, duplicates
(byte for byte, or the same picture at another size or quality), one picture under two classes, and
pictures that stand on both sides of a split. ``divide`` makes parts that share none.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import CnnappsError, InputError, counted, need, printable
from cnnapps.core.media import PICTURES, read_picture
from cnnapps.core.progress import Progress

__all__ = ["Dataset", "Report", "divide", "inspect", "read_folder"]

PARTS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "dev": "val", "test": "test", "testing": "test",
}  # fmt: skip
MOST_CLASSES = 10_000
SMALL = 16
"""Side of the thumbnail by which pictures are compared."""
ALIKE = 2.5
"""Grey levels of mean difference between thumbnails up to which two pictures are one."""

Thumbs = NDArray[np.int16]


@dataclass(frozen=True, slots=True)
class Dataset:
    """Files, the number of each one's class in ``labels``, and each one's part ("" if none)."""

    root: Path
    paths: tuple[Path, ...]
    targets: tuple[int, ...]
    labels: tuple[str, ...]
    parts: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.paths)

    def take(self, chosen: Sequence[int]) -> Dataset:
        """Only these, in this order."""
        return Dataset(
            self.root,
            tuple(self.paths[i] for i in chosen),
            tuple(self.targets[i] for i in chosen),
            self.labels,
            tuple(self.parts[i] for i in chosen),
        )

    def part(self, name: str) -> Dataset:
        """One part; InputError that names the others if there is no such one."""
        wanted = PARTS.get(name.lower(), name)
        chosen = [i for i, p in enumerate(self.parts) if p == wanted]
        if not chosen:
            known = ", ".join(sorted({p for p in self.parts if p})) or "none"
            raise InputError(self.root, f"no part {name!r}; there are: {known}")
        return self.take(chosen)

    def sha256(self) -> str:
        """A hash over names (below the root) and bytes of all files, in order."""
        digest = hashlib.sha256()
        for path in self.paths:
            digest.update(os.fsencode(path.relative_to(self.root).as_posix()) + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
        return digest.hexdigest()


def read_folder(folder: str | os.PathLike[str]) -> Dataset:
    """The pictures below ``folder`` by class, sorted; nothing is decoded yet.

    InputError: not a folder, no folders in it, no picture.
    """
    root = Path(folder)
    if not root.is_dir():
        raise InputError(folder, "is no folder" if root.exists() else "no such folder")
    tops = _folders(root)
    split = bool(tops) and all(p.name.lower() in PARTS for p in tops)
    homes = [(PARTS[p.name.lower()], p) for p in tops] if split else [("", root)]
    found = [
        (part, label.name, path)
        for part, home in homes
        for label in _folders(home)
        for path in _pictures(label)
    ]
    labels = sorted({label for _, label, _ in found}, key=_natural)
    if not found:
        loose = any(p.suffix.lower() in PICTURES for p in root.iterdir())
        hint = "pictures must stand in a folder a class" if loose else "no pictures in its folders"
        raise InputError(folder, hint)
    if len(labels) > MOST_CLASSES:
        raise InputError(folder, f"{len(labels):,} classes, at most {MOST_CLASSES:,}")
    number = {label: i for i, label in enumerate(labels)}
    return Dataset(
        root,
        tuple(path for _, _, path in found),
        tuple(number[label] for _, label, _ in found),
        tuple(labels),
        tuple(part for part, _, _ in found),
    )


def _folders(home: Path) -> list[Path]:
    return sorted(
        p for p in home.iterdir() if p.is_dir() and not p.is_symlink() and p.name[0] != "."
    )


def _pictures(label: Path) -> Iterator[Path]:
    for folder, names, files in os.walk(label):
        names[:] = sorted(n for n in names if not n.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(PICTURES) and not name.startswith("."):
                yield Path(folder) / name


def _natural(label: str) -> tuple[int, int, str]:
    """Numbers by value, before words: 2 stands before 10."""
    return (0, int(label), "") if label.isdecimal() and len(label) < 10 else (1, 0, label)


# ----------------------------------------------------------------------------------------- report


@dataclass(frozen=True, slots=True)
class Report:
    """What a data set holds and what is wrong with it. Numbers are places in the data set.

    ``broken`` (place, reason); ``groups`` of places that show the same picture; ``conflicts`` those
    of them under several classes, ``leaks`` those in several parts. ``grey``: no picture has
    colour. ``sizes`` are (width, height).
    """

    data: Dataset
    broken: tuple[tuple[int, str], ...]
    groups: tuple[tuple[int, ...], ...]
    conflicts: tuple[tuple[int, ...], ...]
    leaks: tuple[tuple[int, ...], ...]
    grey: bool
    sizes: tuple[tuple[int, int], ...] = field(default=())

    def good(self) -> Dataset:
        """Without broken pictures and without those under several classes."""
        bad = {i for i, _ in self.broken} | {i for group in self.conflicts for i in group}
        return self.data.take([i for i in range(len(self.data)) if i not in bad])

    def __str__(self) -> str:
        data = self.data
        counts = Counter(data.targets)
        lines = [f"{counted(len(data), 'picture')} in {len(data.labels)} classes"]
        if any(data.parts):
            parts = Counter(data.parts)
            lines[0] += ": " + ", ".join(f"{n:,} {p}" for p, n in sorted(parts.items()))
        if self.sizes:
            wide, high = (sorted(s[k] for s in self.sizes) for k in (0, 1))
            middle = len(wide) // 2
            lines.append(
                f"  {wide[0]}x{high[0]} to {wide[-1]}x{high[-1]} pixels, half of them below "
                f"{wide[middle]}x{high[middle]}{', grey' if self.grey else ''}"
            )
        order = sorted(counts, key=lambda c: counts[c])
        least, most = order[0], order[-1]
        if counts[least] == counts[most]:
            lines.append(f"  {counts[most]:,} of each class")
        else:
            lines.append(
                f"  smallest class {printable(data.labels[least], 40)} ({counts[least]:,}), "
                f"largest {printable(data.labels[most], 40)} ({counts[most]:,})"
            )
        if counts[most] > 10 * counts[least]:
            lines.append("  warning: the largest class has over ten times the smallest's pictures")
        lines += [f"  broken: {self._name(i)}: {reason}" for i, reason in self.broken[:5]]
        lines += _more(len(self.broken), 5, "broken")
        extra = sum(len(g) - 1 for g in self.groups)
        if extra:
            lines.append(f"  {extra:,} duplicates (same bytes, or same picture stored otherwise)")
            lines += [f"    {' = '.join(self._name(i) for i in g[:3])}" for g in self.groups[:3]]
        for what, found in (("two classes", self.conflicts), ("two parts", self.leaks)):
            lines += [
                f"  in {what}: {' = '.join(self._name(i) for i in group[:3])}"
                for group in found[:5]
            ]
            lines += _more(len(found), 5, f"in {what}")
        if not (self.broken or self.groups):
            lines.append("  nothing broken, no duplicates")
        return "\n".join(lines)

    def _name(self, place: int) -> str:
        return printable(self.data.paths[place].relative_to(self.data.root), 80)


def _more(n: int, shown: int, what: str) -> list[str]:
    return [f"  … {n - shown:,} more {what}"] if n > shown else []


def inspect(data: Dataset, *, quiet: bool = False) -> Report:
    """Decode every picture once and compare all with all."""
    cv2 = need("cv2", "reading pictures")
    broken: list[tuple[int, str]] = []
    sizes: list[tuple[int, int]] = []
    thumbs: list[NDArray[np.uint8]] = []
    places: list[int] = []
    grey = True
    with Progress(len(data), "looking at pictures", quiet=quiet) as progress:
        for i, path in enumerate(data.paths):
            try:
                rgb = read_picture(path).rgb
            except CnnappsError as error:
                broken.append((i, getattr(error, "reason", str(error))))
                continue
            sizes.append((rgb.shape[1], rgb.shape[0]))
            sample = rgb[:: max(1, rgb.shape[0] // 32), :: max(1, rgb.shape[1] // 32)]
            sample = sample.astype(np.int16)
            grey = grey and int(np.abs(sample - sample[:, :, 1:2]).max()) < 6
            thumbs.append(cv2.resize(rgb, (SMALL, SMALL), interpolation=cv2.INTER_AREA))
            places.append(i)
            progress.update(i + 1)
    stacked = np.array(thumbs, np.uint8).reshape(len(thumbs), -1).astype(np.int16)
    groups = tuple(tuple(places[i] for i in g) for g in _same(stacked))
    conflicts = tuple(g for g in groups if len({data.targets[i] for i in g}) > 1)
    leaks = tuple(g for g in groups if len({data.parts[i] for i in g}) > 1)
    return Report(data, tuple(broken), groups, conflicts, leaks, grey, tuple(sizes))


def _same(thumbs: Thumbs) -> list[list[int]]:
    """Groups of thumbnails (n, pixels) that show the same picture, each with its first place first.

    Candidates are neighbours in the order of the mean brightness: a mean difference of d needs
    means at most d apart. Pictures are compared at their own contrast, or faint ones (a stroke on
    white paper) would all be alike.
    """
    n = len(thumbs)
    mean = thumbs.mean(1)
    spread = np.maximum(thumbs.std(1), 1.0)
    order = np.argsort(mean, kind="stable")
    home = list(range(n))

    def root(i: int) -> int:
        while home[i] != i:
            home[i] = home[home[i]]
            i = home[i]
        return i

    ends = np.searchsorted(mean[order], mean[order] + ALIKE, side="right")
    for k in range(n):
        i = order[k]
        for begin in range(k + 1, int(ends[k]), 4096):
            js = order[begin : min(begin + 4096, int(ends[k]))]
            difference = np.abs(thumbs[js] - thumbs[i]).mean(1)
            for j in js[difference <= np.minimum(ALIKE, 0.035 * spread[i])]:
                home[root(int(j))] = root(int(i))
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(root(i), []).append(i)
    return [g for g in groups.values() if len(g) > 1]


def divide(report: Report, seed: int, *, share: float = 0.1) -> tuple[Dataset, Dataset, Dataset]:
    """(train, val, test) of the good pictures.

    Given parts stay, less what leaks from val or test into train; a missing val or test is a
    ``share`` of every class's training pictures. Pictures that are the same one go together.
    """
    data = report.data
    bad = {i for i, _ in report.broken} | {i for group in report.conflicts for i in group}
    parts = list(data.parts)
    group_of = {i: g for g, members in enumerate(report.groups) for i in members}
    for group in report.leaks:  # the held-out picture stays, its copies in train go
        if any(parts[i] in ("val", "test") for i in group):
            bad |= {i for i in group if parts[i] in ("", "train")}
    rest = [i for i in range(len(data)) if i not in bad]
    train = [i for i in rest if parts[i] in ("", "train")]
    held = {name: [i for i in rest if parts[i] == name] for name in ("val", "test")}
    for name in ("test", "val"):
        if not held[name]:
            train, held[name] = _drawn(train, data.targets, group_of, share, (seed, name == "val"))
    if not train or not held["val"]:
        raise InputError(data.root, f"{counted(len(rest), 'good picture')}: too few to train on")
    return data.take(train), data.take(held["val"]), data.take(held["test"])


def _drawn(
    train: list[int],
    targets: Sequence[int],
    group_of: dict[int, int],
    share: float,
    seed: tuple[int, bool],
) -> tuple[list[int], list[int]]:
    """(kept, drawn): of every class about ``share``, at least one where it has three or more."""
    rng = np.random.default_rng((seed[0], int(seed[1]), 7))
    drawn: set[int] = set()
    for target in sorted(set(targets)):
        own = [i for i in train if targets[i] == target]
        wanted = max(round(share * len(own)), 1 if len(own) >= 3 else 0)
        got = 0
        for i in rng.permutation(own).tolist():
            if got >= wanted:
                break
            if i in drawn:
                continue
            together = [j for j in own if j == i or group_of.get(j, -1) == group_of.get(i, -2)]
            if len(together) > max(1, wanted):
                continue
            drawn.update(together)
            got += len(together)
    return [i for i in train if i not in drawn], [i for i in train if i in drawn]
