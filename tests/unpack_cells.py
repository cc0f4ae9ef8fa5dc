"""Put the committed cells of the benchmark back where the command keeps them.

python tests/unpack_cells.py && cnnapps textcls benchmark --data DATA --folders DOWNLOADS
"""

from __future__ import annotations

import json
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> None:
    folder = ROOT / "runs" / "textcls-benchmark" / "cells"
    folder.mkdir(parents=True, exist_ok=True)
    cells = json.loads((ROOT / "docs" / "benchmark" / "textcls.json").read_text(encoding="utf-8"))
    for cell in cells:
        name = f"{cell['set']}-{cell['system']}-{cell['fold']}-{cell['seed']}.json"
        (folder / name).write_text(json.dumps(cell) + "\n", encoding="utf-8")
    print(f"{len(cells)} cells in {folder}")


if __name__ == "__main__":
    main()
