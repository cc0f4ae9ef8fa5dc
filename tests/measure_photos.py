"""How often classify/default names the main object of a labelled photo among its first answers.

    python tests/measure_photos.py --coco ../shared/data/vision/coco --skimage FOLDER

tests/data/vision/imagenet-classes.json, written before the net saw a photo, says which ImageNet
classes name a COCO category. The main object is the largest one by annotated area that is no crowd
region; photos whose main object has no ImageNet class (a person, most often) are left out. FOLDER
is skimage/data of scikit-image 0.26.0. With -o the figures stand in docs/benchmark/classify.json,
from which make_docs.py makes the table.
"""

from __future__ import annotations

import argparse
import gzip
import json
from pathlib import Path

from cnnapps.apps.classify import Classifier, load
from cnnapps.apps.classify.evaluate import wilson

CLASSES = Path(__file__).parent / "data" / "vision" / "imagenet-classes.json"


def coco_photos(folder: Path, part: str) -> list[tuple[Path, str, float]]:
    """(photo, category of its main object, that object's share of the picture)."""
    with gzip.open(folder / part / "instances.json.gz") as file:
        data = json.load(file)
    names = {c["id"]: c["name"] for c in data["categories"]}
    out = []
    for image in sorted(data["images"], key=lambda i: i["file_name"]):
        own = [a for a in data["annotations"] if a["image_id"] == image["id"]]
        own = [a for a in own if not a["iscrowd"]]
        if own:
            main = max(own, key=lambda a: a["area"])
            share = main["area"] / (image["width"] * image["height"])
            path = folder / part / "images" / image["file_name"]
            out.append((path, names[main["category_id"]], share))
    return out


def measure(
    classifier: Classifier, photos: list[tuple[Path, str, list[str]]], *, verbose: bool
) -> tuple[int, int, int]:
    """(photos, first answer right, one of the first five right)."""
    first = five = 0
    for path, what, classes in photos:
        top = [guess.label for guess in classifier(path).top]
        first += top[0] in classes
        five += any(label in classes for label in top[:5])
        if verbose:
            mark = "1" if top[0] in classes else "5" if set(top[:5]) & set(classes) else "-"
            print(f"  {mark} {path.name}  {what}: {', '.join(top[:5])}")
    return len(photos), first, five


def line(name: str, n: int, first: int, five: int) -> str:
    low, high = wilson(five, n)
    return (
        f"{name}: n {n}, top-1 {first} ({first / max(n, 1):.3f}), top-5 {five} "
        f"({five / max(n, 1):.3f}, 95%: {low:.3f} to {high:.3f})"
    )


def record(key: str, value: object) -> None:
    """Put ``value`` under ``key`` in docs/benchmark/classify.json."""
    path = Path(__file__).parent.parent / "docs" / "benchmark" / "classify.json"
    known = json.loads(path.read_text("utf-8")) if path.is_file() else {}
    known[key] = value
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(known[name])}" for name in sorted(known))
    path.write_text("{\n" + lines + "\n}\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(__file__).parent.parent.parent / "shared" / "data" / "vision" / "coco"
    parser.add_argument("--coco", type=Path, default=shared)
    parser.add_argument("--part", default="val", choices=("val", "train"))
    parser.add_argument("--skimage", type=Path)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--quiet", action="store_true")
    parser.add_argument("-o", dest="write", action="store_true", help="Record the figures.")
    arguments = parser.parse_args()
    known = json.loads(CLASSES.read_text("utf-8"))
    classifier = load(arguments.weights, top=5)
    photos = coco_photos(arguments.coco, arguments.part)
    named = [(path, what, known["coco"][what]) for path, what, _ in photos if known["coco"][what]]
    found = measure(classifier, named, verbose=not arguments.quiet)
    print(f"{len(photos)} photos, {len(photos) - len(named)} left out (main object has no class)")
    print(line(f"COCO {arguments.part}", *found))
    rows = [{"photos": f"COCO {arguments.part}2017, main object has an ImageNet class",
             "of": len(photos), "n": found[0], "first": found[1], "five": found[2]}]  # fmt: skip
    for low, high in ((0.0, 0.1), (0.1, 1.01)):
        part = [
            (path, what, known["coco"][what])
            for path, what, share in photos
            if known["coco"][what] and low <= share < high
        ]
        name = "  main object under a tenth of the picture" if low == 0 else "  a tenth or more"
        print(line(name, *measure(classifier, part, verbose=False)))
    if arguments.skimage:
        items = sorted(known["scikit-image"].items())
        pictures = [(arguments.skimage / name, name, classes) for name, classes in items]
        found = measure(classifier, pictures, verbose=not arguments.quiet)
        print(line("scikit-image", *found))
        rows.append({"photos": "scikit-image, with a thing that has a class",
                     "n": found[0], "first": found[1], "five": found[2]})  # fmt: skip
    if arguments.write:
        record("photos", rows)


if __name__ == "__main__":
    main()
