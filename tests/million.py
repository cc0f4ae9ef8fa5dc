"""A file of a million lines through ``cnnapps textcls predict``: memory, kills, shards.

    python tests/million.py              1,000,000 lines, about five minutes of one core
    python tests/million.py --n 20000    a quick look

The file mixes real sentences with blank lines, broken UTF-8 and long lines. It is run once whole,
killed (SIGKILL) at three random moments and resumed, then in three shards. Fails unless every line
has its answer in order, the resumed file has the bytes of an undisturbed one (the shards, put
together), and no process takes more than 400 MB.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SAMPLE = Path(__file__).parent.parent / "apps" / "textcls" / "sample" / "reviews.tsv"
SHARDS, KILLS, MEGABYTES = 3, 3, 400


def write_lines(path: Path, n: int) -> None:
    rows = SAMPLE.read_text("utf-8").splitlines()[1:]
    texts = [row.split("\t")[2].encode() for row in rows]
    with path.open("wb") as file:
        for i in range(n):
            if i % 1000 == 7:
                line = (b"", b"  ", b"caf\xff \xfe good", b"word " * 2000)[i // 1000 % 4]
            else:
                # short ones: what is tested is the way through, not the net
                words = texts[i * 7919 % len(texts)].split()[: 1 + i % 12]
                line = b" ".join(words) + b" %d" % (i % 97)
            file.write(line + b"\n")


def predict(source: Path, output: Path, *more: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "cnnapps", "textcls", str(source), "--json", "-q"]
    return subprocess.Popen([*command, "-o", str(output), *more], stderr=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=1_000_000)
    arguments = parser.parse_args()
    n, rng = arguments.n, random.Random(1)
    with tempfile.TemporaryDirectory() as folder:
        source, whole = Path(folder) / "lines.txt", Path(folder) / "whole.jsonl"
        part = whole.with_name(whole.name + ".part")
        write_lines(source, n)
        begun, kills = time.monotonic(), 0
        while True:
            process = predict(source, whole, "--resume")
            goal = source.stat().st_size * 3 * (kills + rng.random()) / KILLS
            while kills < KILLS and process.poll() is None:
                time.sleep(0.05)
                if part.exists() and part.stat().st_size > goal:
                    os.kill(process.pid, signal.SIGKILL)
                    kills += 1
                    break
            code = process.wait()
            if code != -signal.SIGKILL:
                break
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        seconds = time.monotonic() - begun
        print(f"{n:,} lines, killed {kills} times: {seconds:.0f} s, peak {peak:.0f} MB", flush=True)

        shards = [Path(folder) / f"shard{k}.jsonl" for k in range(1, SHARDS + 1)]
        codes = [predict(source, s, "--shard", f"{k}/{SHARDS}").wait() for k, s in
                 enumerate(shards, 1)]  # fmt: skip
        files = [s.open("rb") for s in shards]
        good = True
        with whole.open("rb") as lines:
            number = 0
            for number, line in enumerate(lines, 1):
                if line != files[(number - 1) % SHARDS].readline():
                    good = False
                    print(f"line {number} differs between the whole and its shard")
                    break
                if json.loads(line)["line"] != number:
                    good = False
                    print(f"line {number} is the answer to another line")
                    break
        good &= number == n and not any(f.readline() for f in files)
        verdict = "equal" if good else "DIFFER FROM"
        print(f"{number:,} answers in order, {SHARDS} shards {verdict} the whole; "
              f"exit codes {code} {codes}")  # fmt: skip
    bounded = peak < MEGABYTES
    return 0 if good and bounded and code == codes[0] else 1


if __name__ == "__main__":
    sys.exit(main())
