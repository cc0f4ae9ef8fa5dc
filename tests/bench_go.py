"""Speed of go-policy, one thread, one interleaved run: `make bench` prints these tables too.

    OMP_NUM_THREADS=1 python tests/bench_go.py

Every round runs all candidates once; the table has the median of five rounds, and how much of the
time a bare matrix product (GEMM, measured in the same rounds) would have needed for the net's
multiply-adds. Only the ratios of one run mean something.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent))

from bench import process_seconds

from cnnapps.apps.go_policy import train
from cnnapps.apps.go_policy.data import Batches, pack_games
from cnnapps.apps.go_policy.predict import GoPredictor, Position, load, positions_of
from cnnapps.apps.go_policy.records import main_line, read
from cnnapps.core.card import Card
from cnnapps.core.weights import installed

ROUNDS = 5
GAMES = Path(__file__).parent / "data" / "go"
GAME = GAMES / "rocalpha-sgf-AlphaGo-vs-Lee-Sedol-20160310.sgf"
GEMM = 1024


def macs_of(net: nn.Module, inputs: list[torch.Tensor]) -> int:
    """Multiply-adds of convolutions and matrix products for one position."""
    found = 0

    def count(layer: nn.Module, given: tuple[torch.Tensor, ...], out: torch.Tensor) -> None:
        nonlocal found
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        found += weight.numel() * (out[0, 0].numel() if weight.ndim == 4 else 1)

    hooks = [
        m.register_forward_hook(count)
        for m in net.modules()
        if isinstance(m, nn.Conv2d | nn.Linear)
    ]
    with torch.no_grad():
        net(*inputs)
    for hook in hooks:
        hook.remove()
    return found


def untrained(net: str, folder: Path) -> Path:
    """A weights folder of a config with random weights: as fast as a trained one."""
    begun = train.begin(net, None)
    card = Card(
        app="go-policy", tag=net, net=begun.name, arguments=begun.arguments, what="speed only",
        licence="MIT", preparation={"planes": begun.planes, "sizes": [19, 19], "tuned": 19},
    )  # fmt: skip
    train.save(begun.net, folder, card)
    return folder


def seconds(function: Callable[[], object]) -> float:
    begun = time.perf_counter()
    function()
    return time.perf_counter() - begun


def main() -> None:
    torch.set_num_threads(1)
    record = main_line(read(GAME.read_bytes(), source=GAME.name).trees[0])
    positions = list(positions_of(record))[20:180:20]
    fresh: list[Position] = []

    def ask(predictor: GoPredictor) -> None:
        """Positions whose ladders were not read before: boards keep them."""
        fresh[:] = list(positions_of(record))[20:180:20]
        for position in fresh:
            predictor(position)

    with tempfile.TemporaryDirectory() as scratch:
        tags = {name.split("/")[1]: name for name, _ in installed() if name.startswith("go-")}
        folders = {tag: tag for tag in tags}
        for net in ("alphago-64", "alphago-192"):
            if net not in folders:
                folders[net] = str(untrained(net, Path(scratch) / net))
        nets = {
            tag: [load(folder, symmetries=k) for k in (1, 8)] for tag, folder in folders.items()
        }
        macs = {}
        for tag, folder in folders.items():
            begun = train.begin(None, folder)
            c = 22 if begun.planes == "v7" else 48
            inputs = [torch.zeros(1, c, 19, 19)] + [torch.zeros(1, 19)] * (begun.planes == "v7")
            macs[tag] = macs_of(begun.net, inputs)
        a = np.random.default_rng(1).random((GEMM, GEMM), dtype=np.float32)
        times: dict[tuple[str, int], list[float]] = {}
        rates = []
        base = seconds(lambda: list(positions_of(record))) / len(positions)
        for _ in range(ROUNDS):
            rates.append(GEMM**3 / seconds(lambda: a @ a))
            for tag, pair in nets.items():
                for k, predictor in zip((1, 8), pair, strict=True):
                    took = seconds(lambda p=predictor: ask(p)) / len(positions) - base
                    times.setdefault((tag, k), []).append(took)
        rate = statistics.median(rates)
        print(f"GEMM {2 * rate / 1e9:.0f} GFLOP/s (numpy, {GEMM} x {GEMM}, float32, one thread)\n")
        print("| weights | MMAC | symmetries | ms a position | range | share of the GEMM's peak |")
        print("|---|---|---|---|---|---|")
        for (tag, k), found in times.items():
            took = statistics.median(found)
            share = k * macs[tag] / rate / took
            low, high = min(found) * 1e3, max(found) * 1e3
            print(
                f"| {tag} | {macs[tag] / 1e6:.0f} | {k} | {took * 1e3:.1f} | {low:.1f}-{high:.1f} "
                f"| {share:.0%} |"
            )

    me = [sys.executable, "-m", "cnnapps", "go-policy", str(GAME), "-q"]
    print(
        f"\n| process ({len(record.moves)} moves) | wall s | CPU s | peak MB |\n|---|---|---|---|"
    )
    for title, command in (
        ("go-policy board.sgf", me),
        ("go-policy board.sgf --symmetries 1", [*me, "--symmetries", "1"]),
        ("go-policy --all-moves, 8 symmetries", [*me, "--all-moves"]),
        ("go-policy --all-moves --symmetries 1", [*me, "--all-moves", "--symmetries", "1"]),
    ):
        runs = [process_seconds(command) for _ in range(3)]
        wall, cpu = (statistics.median(r[i] for r in runs) for i in (0, 1))
        print(f"| {title} | {wall:.2f} | {cpu:.2f} | {max(r[2] for r in runs):.0f} |")

    print(
        "\n| training step (batch 64, float32) | features ms | step ms | share |\n|---|---|---|---|"
    )
    games = pack_games(sorted(GAMES.glob("rocalpha-*.sgf")))
    for title, net, weights in (("default", None, "default"), ("alphago-64", "alphago-64", None)):
        begun = train.begin(net, weights)
        batches = Batches(games, planes=begun.planes, batch=64)
        optimizer = torch.optim.AdamW(begun.net.parameters(), lr=1e-4)
        batch = batches.batch_at(0)  # compiles the kernels
        planes, steps = [], []
        for i in range(ROUNDS):
            begin = time.perf_counter()
            batches.batch_at(1 + i)
            planes.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            train.loss_of(begun.net, batch).backward()
            optimizer.step()
            optimizer.zero_grad()
            steps.append(time.perf_counter() - begin)
        one, two = statistics.median(planes) * 1e3, statistics.median(steps) * 1e3
        print(f"| {title} | {one:.0f} | {two:.0f} | {one / (one + two):.1%} |")


if __name__ == "__main__":
    main()
