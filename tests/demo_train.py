"""Train a small sentiment classifier from scratch and fail unless it learned something.

    make demo-train

The sample inside the package, random word vectors, no shipped weights: must end ten points above
the majority class on a tenth that training never saw.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

MARGIN = 0.10


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights"
        command = [sys.executable, "-m", "cnnapps", "textcls", "train", "-o", str(out)]
        command += ["--vectors", "none", "--quiet"]
        print("$", " ".join(["cnnapps", *command[3:]]), flush=True)
        subprocess.run(command, check=True)
        card = json.loads((out / "card.json").read_text(encoding="utf-8"))
        metrics = {m["name"]: m["value"] for m in card["metrics"] if m["split"] == "test"}
        accuracy, majority = metrics["accuracy"], metrics["majority"]
        print(f"accuracy {accuracy:.3f}, majority class {majority:.3f}")
        if accuracy < majority + MARGIN:
            print(f"not {MARGIN:.0%} above the majority class", file=sys.stderr)
            return 1
        text = "the food was cold and the waiter was rude"
        subprocess.run(
            [sys.executable, "-m", "cnnapps", "textcls", "--weights", str(out), text], check=True
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
