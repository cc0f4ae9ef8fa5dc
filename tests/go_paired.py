"""Our answers beside KataGo's on the same positions: a paired test, for docs/go-policy.md.

    python tests/go_paired.py --weights default --data ../shared/data/go

``katago-b6c96-on-test.tsv.xz`` has the five best moves of KataGo's g170 b6c96 for each line of
``test-positions.tsv.xz``, with one symmetry and with the mean of eight. McNemar's exact test counts
the positions that only one of the two gets right; the interval of the difference is Newcombe's
normal one for paired rates.
"""

from __future__ import annotations

import argparse
import lzma
import math
from pathlib import Path

from cnnapps.apps.go_policy.evaluate import answers, read_questions, wilson
from cnnapps.apps.go_policy.predict import load


def mcnemar(ours: list[bool], theirs: list[bool]) -> tuple[int, int, float]:
    """(only ours, only theirs, two-sided p) by the exact binomial test."""
    b = sum(x and not y for x, y in zip(ours, theirs, strict=True))
    c = sum(y and not x for x, y in zip(ours, theirs, strict=True))
    n, k = b + c, min(b, c)
    tail = sum(math.exp(_log_choose(n, i) - n * math.log(2)) for i in range(k + 1))
    return b, c, min(1.0, 2 * tail)


def _log_choose(n: int, k: int) -> float:
    return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", default="default")
    parser.add_argument("--data", type=Path, required=True)
    arguments = parser.parse_args()
    with lzma.open(arguments.data / "katago-b6c96-on-test.tsv.xz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:]
    questions = read_questions([str(arguments.data / "test-positions.tsv.xz")])
    print(f"{arguments.weights} and KataGo g170 b6c96 on {len(rows):,} positions, paired\n")
    print("| | ours | KataGo | only ours | only KataGo | p (McNemar) | difference, 95% |")
    print("|---|---|---|---|---|---|---|")
    for symmetries, column in ((1, 3), (8, 5)):
        predictor = load(arguments.weights, symmetries=symmetries)
        found = list(answers(predictor, questions.positions()))
        assert len(found) == len(rows)
        for top in (1, 5):
            ours = [answer.rank < top for answer in found]
            best = [[move.split(":")[0] for move in row[column].split(" ")] for row in rows]
            theirs = [row[2] in moves[:top] for row, moves in zip(rows, best, strict=True)]
            b, c, p = mcnemar(ours, theirs)
            n = len(rows)
            middle = (b - c) / n
            spread = 1.96 * math.sqrt((b + c) / n - middle**2) / math.sqrt(n)
            low, high = wilson(sum(ours), n)
            print(
                f"| top-{top}, {symmetries} symmetr{'y' if symmetries == 1 else 'ies'} "
                f"| {sum(ours) / n:.2%} ({low:.1%}-{high:.1%}) | {sum(theirs) / n:.2%} | {b} | {c} "
                f"| {p:.1e} | {middle:+.2%} ({middle - spread:+.2%} to {middle + spread:+.2%}) |"
            )


if __name__ == "__main__":
    main()
