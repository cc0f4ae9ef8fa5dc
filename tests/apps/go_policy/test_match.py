"""Matches: against GNU Go where it is installed, against ourselves, against programs that fail."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from cnnapps.apps.go_policy import GoPredictor
from cnnapps.apps.go_policy.board import BLACK, WHITE
from cnnapps.apps.go_policy.match import Game, Opponent, play_match, saved, summary
from cnnapps.apps.go_policy.player import Player
from cnnapps.apps.go_policy.predict import position_at
from cnnapps.apps.go_policy.records import main_line, read
from cnnapps.core.errors import InputError

GNUGO = shutil.which("gnugo") or shutil.which("gnugo", path="/usr/games")
SCRIPT = """
import sys
answers = {answers!r}
for line in sys.stdin:
    word = line.split()[0]
    print(answers.get(word, "= true"), end="\\n\\n", flush=True)
    if answers.get(word) == "":
        sys.exit(3)
"""


def program(path: Path, **answers: str) -> str:
    """The command of a program that says "= true", or what it is told, to everything."""
    script = path / "program.py"
    script.write_text(SCRIPT.format(answers=answers))
    return f'"{sys.executable}" "{script}"'


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "cnnapps", "go-policy", "match", *arguments],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


# ------------------------------------------------------------------------------------- real games
@pytest.mark.skipif(GNUGO is None, reason="gnugo is not installed (apt-get install gnugo)")
def test_games_against_gnugo(tmp_path: Path) -> None:
    folder = tmp_path / "games"
    arguments = ("--opponent", f"{GNUGO} --mode gtp --level 1", "--size", "9", "--symmetries", "1",
                 "--varied", "4", "-o", str(folder), "--json", "--quiet")  # fmt: skip
    first = command(*arguments, "--games", "1")
    assert (first.returncode, first.stderr) == (0, "")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert sorted(files) == ["game-0001.sgf", "match.json"]
    again = command(*arguments, "--games", "2")
    assert again.returncode == 0
    assert {name: (folder / name).read_bytes() for name in files} == files
    result = json.loads(again.stdout)
    assert result["opponent"].endswith("--level 1")
    score = result["result"]
    assert score["games"] == 2 == score["won"] + score["lost"] + score["drawn"]
    assert score["by_color"]["black"]["games"] == score["by_color"]["white"]["games"] == 1
    for number in (1, 2):
        record = main_line(read((folder / f"game-000{number}.sgf").read_bytes()).trees[0])
        assert (record.black if number == 1 else record.white) == "cnnapps go-policy/default"
        position = position_at(record)
        assert not position.notes  # no illegal move
        assert 20 < len(record.moves) < 200
        assert re.fullmatch(r"[BW]\+(R|[\d.]+)|0", record.result)


def test_a_game_against_ourselves(one: GoPredictor, tmp_path: Path) -> None:
    """The engine as a child process: the whole protocol, both sides."""
    engine = f'"{sys.executable}" -m cnnapps go-policy gtp --symmetries 1'
    with Opponent(engine, timeout=120) as opponent:
        games = list(
            play_match(
                Player(one), opponent, tmp_path, [1], settings={"a": 1}, size=7, varied=6, heat=1.0
            )
        )
        assert games[0].end == "two passes"
        assert games[0].result == games[0].own  # one count, in two processes
        kept = list(play_match(Player(one), opponent, tmp_path, [1], settings={"a": 1}, size=7))
        assert kept == games
        with pytest.raises(InputError, match="holds another match"):
            list(play_match(Player(one), opponent, tmp_path, [1], settings={"a": 2}))
    record = main_line(read((tmp_path / "game-0001.sgf").read_bytes()).trees[0])
    assert len(record.moves) == games[0].moves


# ------------------------------------------------------------------------------------- failures
@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"genmove": "= Q99"}, "genmove: Q99: not on a 7x7 board"),
        ({"genmove": "= I3"}, "genmove: I3: not on a 7x7 board"),
        ({"genmove": "? no idea"}, "refuses 'genmove black': no idea"),
        ({"genmove": "hello"}, "'hello' is no GTP reply"),
        ({"genmove": ""}, "ended with code 3 at 'genmove black'"),
        ({"komi": "? never"}, "refuses 'komi 6.5': never"),
        ({"genmove": "= pass", "final_score": "= maybe"}, "final_score: 'maybe' is no score"),
    ],
)
def test_bad_programs_are_one_line(
    one: GoPredictor, tmp_path: Path, answers: dict[str, str], reason: str
) -> None:
    class Passing(Player):
        def choose(self, *args: object, **options: object) -> int:
            return -1

    with (
        Opponent(program(tmp_path, **answers), timeout=60) as opponent,
        pytest.raises(InputError) as caught,
    ):
        list(play_match(Passing(one), opponent, tmp_path / "o", [2], settings={}, size=7))
    assert reason in str(caught.value)
    assert not list((tmp_path / "o").glob("*.sgf"))


def test_a_silent_program_times_out(tmp_path: Path) -> None:
    with (
        Opponent(f'"{sys.executable}" -c "import time; time.sleep(60)"', timeout=0.2) as opponent,
        pytest.raises(InputError, match="no answer to 'name' for"),
    ):
        opponent.ask("name")


@pytest.mark.parametrize(
    ("opponent", "reason"),
    [
        (
            "/nowhere/gnugo --mode gtp",
            "/nowhere/gnugo: can't be started (No such file or directory)",
        ),
        ("", "--opponent: is empty"),
        ("'gnugo", "--opponent: can't be split into words (No closing quotation)"),
    ],
)
def test_programs_that_do_not_start(opponent: str, reason: str) -> None:
    with pytest.raises(InputError) as caught:
        Opponent(opponent)
    assert str(caught.value) == reason


def test_the_command_says_why_and_exits_with_one(tmp_path: Path) -> None:
    run = command("--opponent", "/nowhere/x", "-o", str(tmp_path / "o"), "--symmetries", "1")
    assert run.returncode == 1
    assert run.stderr == "cnnapps: /nowhere/x: can't be started (No such file or directory)\n"
    assert run.stdout == ""


# ------------------------------------------------------------------------------------- records
def test_foreign_records_in_the_folder_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "game-0001.sgf"
    assert saved(path, 1) is None
    path.write_text("(;GM[1]SZ[19]PB[Lee]PW[Gu]RE[B+R]C[hi])")
    with pytest.raises(InputError, match="is no game of this match"):
        saved(path, 1)
    path.write_text("(;GM[1]SZ[19]PB[cnnapps x]PW[gnugo]RE[B+R]C[the opponent resigned])")
    assert saved(path, 1) == Game(1, BLACK, 0, "B+R", "", "the opponent resigned")
    path.write_text("(;GM[1]SZ[19]PB[cnnapps x]PW[gnugo]RE[W+R]C[we resigned])")
    assert saved(path, 1) == Game(1, BLACK, 0, "W+R", "", "we resigned")
    assert Game(1, BLACK, 0, "W+R", "", "we resigned").points == 0
    with pytest.raises(InputError, match="is no game of this match"):
        saved(path, 2)  # there we are White


def test_summary_counts_by_colour_and_draws_half() -> None:
    games = [
        Game(1, BLACK, 200, "B+3.5", "B+2.5", "two passes"),
        Game(2, WHITE, 100, "W+R", "", "the opponent resigned"),
        Game(3, BLACK, 150, "0", "0", "two passes"),
        Game(4, WHITE, 300, "B+0.5", "W+0.5", "two passes"),
    ]
    score = summary(games)
    assert (score["won"], score["drawn"], score["lost"]) == (2, 1, 1)
    assert score["rate"] == 0.625
    low, high = score["interval"]
    assert 0.2 < low < 0.625 < high < 0.92
    assert score["by_color"] == {
        "black": {"games": 2, "won": 1},
        "white": {"games": 2, "won": 1},
    }
    assert score["moves"] == {"median": 175, "most": 300}
    assert score["own_count"] == {"games": 3, "same_winner": 2}
    assert summary([])["interval"] == [0.0, 1.0]
