"""Copy the benchmark's finished cells to docs/benchmark/textcls.json, which is committed.

python tests/pack_cells.py && python tests/make_docs.py
"""

from __future__ import annotations

import json
from pathlib import Path

from cnnapps.apps.textcls.benchmark import read_cells

ROOT = Path(__file__).parent.parent


def main() -> None:
    cells = read_cells(ROOT / "runs" / "textcls-benchmark")
    path = ROOT / "docs" / "benchmark" / "textcls.json"
    path.write_text(json.dumps(cells, indent=0) + "\n", encoding="utf-8")
    print(f"{len(cells)} cells in {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
