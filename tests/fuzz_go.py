"""Coverage-guided fuzzing of what go-policy reads: game records, and lines of GTP.

    pip install atheris
    python tests/fuzz_go.py records --minutes 10
    python tests/fuzz_go.py gtp --minutes 10

Starts from the sample records (or the dialogue below) and keeps what reaches new code. It ends with
the input in runs/fuzz/ when one is neither answered nor refused by a CnnappsError of one line that
can be printed, takes over 10 seconds, or over 2 GB; else with the number of inputs tried.
tests/reliability.py is the other half: many mutants of good files.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["cnnapps.apps.go_policy"]):
    from cnnapps.apps.go_policy import gtp, records
    from cnnapps.apps.go_policy.player import Player
    from cnnapps.apps.go_policy.predict import load, positions_of

sys.path.insert(0, str(Path(__file__).parent))

from reliability import one_line

from cnnapps.core.errors import CnnappsError

GAMES = Path(__file__).parent / "data" / "go"
KEEP = Path("runs/fuzz")
SUFFIXES = ("sgf", "gib", "ngf", "ugf")
DIALOGUE = """boardsize 7
komi 6.5
1 play b C3
play white D4
genmove b
undo
lz-analyze b interval 50 minmoves 2 avoid b C3,D4 3
kata-raw-nn 3
fixed_handicap 2
set_free_handicap C3 E5
gogui-setup b C3 w D4
final_score
final_status_list dead
kata-set-rules {"koRule":"SIMPLE"}
loadsgf nothing.sgf 3
policy_gfx
showboard
time_left b 10 0
known_command play
list_commands
"""


def read_record(data: bytes) -> None:
    """The first byte says which kind of file the rest is called."""
    if not data:
        return
    suffix = SUFFIXES[data[0] % len(SUFFIXES)]
    try:
        collection = records.read(data[1:], source=f"game.{suffix}")
        for tree in collection.trees:
            for _ in positions_of(records.main_line(tree)):
                pass
        again = collection.to_bytes()
        records.read(again, source=f"game.{suffix}")
    except CnnappsError as error:
        if not one_line(str(error)):
            raise AssertionError(repr(str(error))) from error


ENGINE = Player(load(symmetries=1))


def talk(data: bytes) -> None:
    """A dialogue on the smallest board; files are not for a fuzzer to write."""
    engine = gtp.Engine(ENGINE)
    engine.handle("boardsize 7")
    for line in data.decode("utf-8", "replace").splitlines()[:20]:
        if "printsgf" in line.lower():
            continue
        reply = engine.handle(line)
        if reply is None:
            continue
        assert "internal error" not in reply.text, (line, reply.text)
        assert reply.text[0] in "=?", (line, reply.text)
        if reply.more is not None:  # an analysis goes on until the next line
            next(iter(reply.more), None)


def seeds(target: str, folder: Path) -> None:
    if target == "gtp":
        (folder / "dialogue").write_text(DIALOGUE)
        for i, line in enumerate(DIALOGUE.splitlines()):
            (folder / f"line{i}").write_text(line + "\n")
        return
    for path in sorted(p for p in GAMES.iterdir() if p.is_file()):
        suffix = path.suffix[1:].replace("ugi", "ugf")
        if suffix in SUFFIXES and path.stat().st_size < 20_000:
            (folder / path.name).write_bytes(bytes([SUFFIXES.index(suffix)]) + path.read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("target", choices=("records", "gtp"))
    parser.add_argument("--minutes", type=float, default=10)
    given = parser.parse_args()
    KEEP.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        seeds(given.target, Path(scratch))
        arguments = [
            sys.argv[0], f"-max_total_time={round(60 * given.minutes)}", "-timeout=10",
            "-rss_limit_mb=2048", "-max_len=20000", f"-artifact_prefix={KEEP}/{given.target}-",
            "-print_final_stats=1", scratch,
        ]  # fmt: skip
        atheris.Setup(arguments, read_record if given.target == "records" else talk)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
