"""The GTP engine: the wire, front ends' dialogues, every command, and nonsense."""

from __future__ import annotations

import fnmatch
import os
import random
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.go_policy import GoPredictor
from cnnapps.apps.go_policy.board import (
    BLACK,
    PASS,
    WHITE,
    Board,
    from_vertex,
    to_vertex,
)
from cnnapps.apps.go_policy.gtp import COMMANDS, MAX_LINE, TOO_LONG, Engine, Lines, serve
from cnnapps.apps.go_policy.player import Player, own_eyes
from cnnapps.apps.go_policy.predict import position_at
from cnnapps.apps.go_policy.records import main_line, read
from cnnapps.apps.go_policy.typed import read_position
from cnnapps.core.errors import InputError

GAMES = Path(__file__).parents[2] / "data" / "go"
ROOT = Path(__file__).parents[3]


class Typed:
    """Lines that are there at once."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = iter(lines)

    def line(self, timeout: float | None = None) -> str | None:
        return next(self._lines, None)


def talk(engine: Engine, *lines: str) -> str:
    out: list[str] = []
    serve(engine, Typed(list(lines)), out.append)
    return "".join(out)


def say(engine: Engine, line: str) -> str:
    """One reply, without its end."""
    text = talk(engine, line)
    assert text.endswith("\n\n")
    return text[:-2]


@pytest.fixture
def engine(one: GoPredictor) -> Engine:
    return Engine(Player(one))


# ------------------------------------------------------------------------------------- resigning
def test_it_resigns_a_lost_game_and_no_other(engine: Engine) -> None:
    say(engine, "boardsize 9")
    walls = [f"{c}{r}" for r in (3, 7, 5) for c in "ABCDEFGHJ"][:25]
    for stone in walls:  # Black has the whole board, White only passed
        say(engine, f"play b {stone}")
        say(engine, "play w pass")
    assert say(engine, "reg_genmove w") == "= resign"
    assert say(engine, "genmove w") == "= resign"
    assert engine.board.move_number == 50  # a resignation is no move
    assert say(engine, "lz-genmove_analyze w 10").endswith("\nplay resign")
    assert say(engine, "reg_genmove b") != "= resign"
    engine.player.resign = 0
    assert say(engine, "reg_genmove w") != "= resign"


def test_it_does_not_resign_what_is_open_or_not_its_turn_to_ask(engine: Engine) -> None:
    player, board = engine.player, Board(9)
    assert not player.hopeless(board)
    for i in range(20):
        board.play(i + 20 + i // 4, BLACK)
        board.play(PASS, WHITE)
        assert not player.hopeless(board) or board.move_number >= 33
    board.play(PASS, BLACK)
    board.play(PASS, WHITE)
    assert board.move_number % 10 == 2 and not player.hopeless(board)


# ------------------------------------------------------------------------------------- dialogues
def dialogue(path: Path) -> Iterator[tuple[str, str]]:
    for line in path.read_text().splitlines():
        mark, text = line[:1], line[2:] if line[1:2] == " " else line[1:]
        yield mark, text.replace("\\r", "\r").replace("\\t", "\t")


@pytest.mark.parametrize("name", ["sabaki", "lizzie", "gogui"])
def test_dialogues_of_front_ends(engine: Engine, name: str) -> None:
    script = list(dialogue(GAMES / "gtp" / f"{name}.txt"))
    got = talk(engine, *(text for mark, text in script if mark == ">")).split("\n")
    expected = [text.replace("[", "[[]") for mark, text in script if mark == "<"]
    at = 0
    for pattern, after in zip(expected, [*expected[1:], ""], strict=True):
        if pattern == "*":  # any number of lines
            while got[at] and not fnmatch.fnmatchcase(got[at], after or "\0"):
                at += 1
            continue
        assert fnmatch.fnmatchcase(got[at], pattern), (pattern, got[at])
        at += 1
    assert got[at:] == [""]


# ------------------------------------------------------------------------------------- the wire
@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("protocol_version", "= 2\n\n"),
        ("12 protocol_version\r", "=12 2\n\n"),
        ("007\tprotocol_version # why", "=007 2\n\n"),
        ("\x01PROTOCOL\x07_version\x00", "= 2\n\n"),
        ("", ""),
        ("   \t", ""),
        ("# 1 quit", ""),
        ("5", "?5 no command\n\n"),
        ("99999999999999 name", "? unknown command\n\n"),
        ("3 mate", "?3 unknown command\n\n"),
        ("known_command genmove", "= true\n\n"),
        ("known_command mate", "= false\n\n"),
        ("known_command", "= false\n\n"),
        ("komi 6.5", "=\n\n"),
    ],
)
def test_wire(engine: Engine, line: str, reply: str) -> None:
    assert talk(engine, line) == reply


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("boardsize", "boardsize missing"),
        ("boardsize nine", "boardsize not an integer"),
        ("boardsize 999999999", "unacceptable size"),
        ("boardsize 99999999999999999999", "boardsize not an integer"),
        ("boardsize 0", "unacceptable size"),
        ("boardsize -19", "unacceptable size"),
        ("boardsize 5", "unacceptable size"),
        ("komi", "komi not a number"),
        ("komi nan", "komi not a number"),
        ("komi inf", "komi not a number"),
        ("komi 1e300", "komi not a number"),
        ("play", "a colour and a point are needed"),
        ("play b", "a colour and a point are needed"),
        ("play red D4", "invalid color"),
        ("play b I5", "invalid coordinate"),
        ("play b D20", "invalid coordinate"),
        ("play b D-4", "invalid coordinate"),
        ("play b D٤", "invalid coordinate"),
        ("play b resign", "invalid coordinate"),
        ("play w D4", "illegal move"),
        ("genmove", "colour missing"),
        ("genmove green", "invalid color"),
        ("fixed_handicap 2", "board not empty"),
        ("set_free_handicap A1 B2", "board not empty"),
        ("undo 0", "cannot undo"),
        ("undo 2", "cannot undo"),
        ("loadsgf", "a file name is needed"),
        ("loadsgf /nowhere.sgf", "cannot load file: no such file"),
        ("printsgf /nowhere/x/y.sgf", "cannot write file: No such file or directory"),
        ("final_status_list", "status missing"),
        ("final_status_list zombies", "unknown status"),
        ("lz-analyze maxmoves", "maxmoves needs a value"),
        ("lz-analyze maxmoves x", "maxmoves is no number: x"),
        ("lz-analyze q 10", "no key of an analysis: q"),
        ("lz-analyze b b 10", "a second colour: b"),
        ("lz-analyze b 10 20", "a second interval: 20"),
        ("kata-analyze -5", "no interval in hundredths of a second: -5"),
        ("kata-analyze 1e400", "no interval in hundredths of a second: 1e400"),
        ("kata-analyze interval x", "no interval in hundredths of a second: x"),
        ("lz-analyze avoid b D4", "avoid needs a colour, points and a depth"),
        ("lz-analyze avoid b I4 1", "invalid coordinate"),
        ("kata-raw-nn 8", "a symmetry from 0 to 7, or all"),
        ("gogui-setup b", "pairs of a colour and a point"),
        ("gogui-setup b pass", "a pass is no point"),
        ("kgs-rules", "unknown rules, there are *"),
        ("set_random_seed", "seed missing"),
        ("line-too-long", "longer than 65536 bytes"),
    ],
)
def test_errors_are_replies_and_change_nothing(engine: Engine, line: str, reply: str) -> None:
    say(engine, "play b D4")
    before = str(engine.board)
    assert fnmatch.fnmatchcase(say(engine, line), f"? {reply}".replace("?", "[?]", 1))
    assert str(engine.board) == before
    assert engine.board.to_play == WHITE


def test_every_listed_command_is_known_and_answers(engine: Engine) -> None:
    listed = say(engine, "list_commands")[2:].split("\n")
    assert listed == list(COMMANDS)
    for name in listed:
        assert say(engine, f"known_command {name}") == "= true"
        assert re.match(r"[=?]", talk(engine, name))


# ------------------------------------------------------------------------------------- setting up
def test_boardsize_clears_and_keeps_komi(engine: Engine) -> None:
    talk(engine, "komi 0.5", "play b D4", "boardsize 13")
    assert engine.board.size == 13
    assert not any(engine.board.stones())
    talk(engine, "play b D4", "clear_board")
    assert not any(engine.board.stones())
    assert say(engine, "get_komi") == "= 0.5"


def test_handicaps(engine: Engine) -> None:
    assert say(engine, "fixed_handicap 1") == "? invalid number of stones"
    assert say(engine, "fixed_handicap 10") == "? invalid number of stones"
    fixed = say(engine, "fixed_handicap 5")
    assert sorted(fixed[2:].split()) == ["D16", "D4", "K10", "Q16", "Q4"]
    assert engine.board.to_play == WHITE
    say(engine, "clear_board")
    assert len(say(engine, "place_free_handicap 30")[2:].split()) == 9
    say(engine, "clear_board")
    for bad in ("D4", "D4 D4", "D4 pass", "D4 Z9"):
        assert say(engine, f"set_free_handicap {bad}").startswith("?")
        assert not any(engine.board.stones())
    assert say(engine, "set_free_handicap D4 K10 C17") == "="
    assert engine.board.stones().count(BLACK) == 3
    assert say(engine, "undo") == "="
    assert not any(engine.board.stones())


@pytest.mark.parametrize("path", sorted(GAMES.glob("rocalpha*.sgf")), ids=lambda path: path.name)
def test_records_are_read_and_written(engine: Engine, path: Path, tmp_path: Path) -> None:
    record = main_line(read(path.read_bytes(), source=path).trees[0])
    assert say(engine, f"loadsgf {path} 31") == "="
    assert engine.board.move_number == 30
    assert engine.board.stones() == position_at(record, 30).board.stones()
    assert say(engine, f"loadsgf {path}") == "="
    board = str(engine.board)
    assert say(engine, f"loadsgf {path} 9999") == "="
    assert str(engine.board) == board
    assert engine.komi == record.komi
    copy = tmp_path / "with blank.sgf"
    assert say(engine, f"printsgf {copy}") == "="
    printed = say(engine, "printsgf")[2:]
    assert copy.read_text().strip() == printed
    talk(engine, "clear_board", f"loadsgf {copy}")
    assert str(engine.board) == board
    assert len(main_line(read(printed.encode()).trees[0]).moves) == len(record.moves)


def test_a_record_without_komi_keeps_the_one_that_was_set(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "game.sgf"
    path.write_text("(;SZ[9]HA[2]AB[cc][gg];W[ee])")
    talk(engine, "komi 0.5", f"loadsgf {path}")
    assert engine.komi == 0.5
    path.write_text("(;SZ[9]KM[7];B[ee])")
    talk(engine, f"loadsgf {path}")
    assert engine.komi == 7


def test_handicap_stones_laid_as_moves_are_a_handicap(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "game.sgf"
    path.write_text("(;SZ[9]HA[3]KM[0.5];B[cc];B[gg];B[gc];W[ee];B[eg])")
    assert say(engine, f"loadsgf {path}") == "="
    assert engine.board.handicap() == 3 and engine.board.to_play == WHITE
    printed = main_line(read(say(engine, "printsgf")[2:].encode()).trees[0])
    assert printed.handicap == 3 and len(printed.moves) == 2
    assert say(engine, f"loadsgf {path} 3") == "="  # in the middle of it: not yet one
    assert engine.board.handicap() == 0 and engine.board.stones().count(BLACK) == 2


def test_records_of_other_sizes_are_refused(engine: Engine, tmp_path: Path) -> None:
    path = tmp_path / "25.sgf"
    path.write_text("(;SZ[25];B[aa])")
    assert "trained for" in say(engine, f"loadsgf {path}")
    path.write_text("no game")
    assert say(engine, f"loadsgf {path}").startswith("? cannot load file: ")


# ------------------------------------------------------------------------------------- playing
class Told(Player):
    """A player whose net says what the test wants."""

    wish: dict[int, float]

    def policy(self, board: Board, komi: float = 6.5) -> Any:
        p = np.full(board.size**2 + 1, 1e-9)
        for point, value in self.wish.items():
            p[point] = value
        return p


def told(one: GoPredictor, **wish: float) -> Told:
    player = Told(one)
    player.wish = {from_vertex(name, 7): value for name, value in wish.items()}
    return player


def test_genmove_repeats_no_position(one: GoPredictor) -> None:
    """White may take the ko back after two passes, but that is the position before Black took."""
    board = read_position("......./...XO../..XO.O./...XO../......./......./.......")
    board.to_play = BLACK
    assert board.play(from_vertex("E5", 7)) == [from_vertex("D5", 7)]
    board.play(PASS)
    board.play(PASS)
    take = from_vertex("D5", 7)
    assert board.why_illegal(take) is None
    assert told(one, D5=0.9, A1=0.1).choose(board) == from_vertex("A1", 7)
    engine = Engine(Player(one))
    engine.board = board
    assert say(engine, "play w D5") == "="  # the opponent's ko rule is his referee's


def test_genmove_fills_no_eye_and_plays_into_no_life(one: GoPredictor) -> None:
    board = read_position(".X.XO../XXXXO../OOOOO../......./..XX.../......./.......")
    board.to_play = BLACK
    assert told(one, A7=0.9, C7=0.5, E3=0.1).choose(board) == from_vertex("E3", 7)
    board.to_play = WHITE
    assert told(one, A7=0.9, C7=0.5, E3=0.1).choose(board) == from_vertex("E3", 7)


def test_banned_points_are_not_played(engine: Engine) -> None:
    reply = say(engine, "lz-genmove_analyze b 10 avoid b Q16,D16,Q4,D4,pass 1")
    assert reply.split("\n")[-1].startswith("play ")
    assert reply.split("\n")[-1][5:] not in ("Q16", "D16", "Q4", "D4")
    say(engine, "clear_board")
    assert say(engine, "lz-genmove_analyze b 10 allow b K10 1").endswith("play K10")


def test_reg_genmove_plays_nothing(engine: Engine) -> None:
    reply = say(engine, "reg_genmove w")
    assert not any(engine.board.stones())
    assert engine.board.to_play == BLACK
    assert say(engine, "genmove w") == reply
    assert engine.board.stones().count(WHITE) == 1


def test_an_early_pass_is_not_answered_by_a_pass(engine: Engine) -> None:
    talk(engine, "boardsize 9", "play b E5", "play w pass")
    assert say(engine, "genmove b") != "= pass"


def test_a_game_against_itself_ends_and_is_counted_alike(one: GoPredictor) -> None:
    """Both pass while territory is left; nobody fills his own; both rules name the same winner."""
    player = Player(one)
    board = Board(9)
    while len(board.moves) < 243 and [m.point for m in board.moves[-2:]] != [PASS, PASS]:
        point = player.choose(board, 6.5)
        color = board.to_play
        if point != PASS:
            assert board.why_illegal(point) is None
            assert point not in own_eyes(board, color)
        board.play(point)
    assert len(board.moves) < 120
    score = player.count(board, 6.5)
    player.rules = "chinese"
    assert abs(score.score - player.count(board, 6.5).score) <= 3
    assert sum(who == 0 for who in score.owner) < 12


def test_cleanup_captures_the_dead(one: GoPredictor) -> None:
    """A dead stone in Black's area: genmove leaves it, cleanup takes it off."""
    board = read_position("...XO../.O.XO../...XOOO/XXXXO../..XOO../XXXO.../.XOO...")
    board.to_play = BLACK
    engine = Engine(Player(one))
    engine.board = board
    dead = from_vertex("B6", 7)
    assert dead in engine.player.count(board).dead
    for _ in range(12):
        if engine.board[dead] != WHITE:
            break
        assert say(engine, "kgs-genmove_cleanup b") != "= pass"
        say(engine, "play w pass")
    assert engine.board[dead] != WHITE


def test_drawn_moves_repeat_with_the_seed(one: GoPredictor) -> None:
    games = []
    for seed in (1, 1, 2):
        engine = Engine(Player(one, temperature=1.0))
        say(engine, f"set_random_seed {seed}")
        games.append([say(engine, f"genmove {'bw'[i % 2]}") for i in range(10)])
    assert games[0] == games[1] != games[2]


def test_no_game_is_endless(one: GoPredictor) -> None:
    board = Board(7)
    for _ in range(3 * 49):
        board.play(PASS)
    assert Player(one).choose(board) == PASS


# ------------------------------------------------------------------------------------- the end
def test_the_end_of_a_game(engine: Engine) -> None:
    engine.board = read_position("...XO../.O.XO../...XOOO/XXXXO../..XOO../XXXO.../.XOO...")
    engine.komi = 0.5
    assert say(engine, "final_status_list dead") == "= B6"
    assert "B6" not in say(engine, "final_status_list alive")
    black = say(engine, "final_status_list black_territory")[2:].split()
    white = say(engine, "final_status_list white_territory")[2:].split()
    assert "B6" in black
    assert "F7" in white
    assert say(engine, "final_status_list seki") == "="
    score = len(black) + 1 - len(white) - 0.5
    assert say(engine, "final_score") == f"= {'B' if score > 0 else 'W'}+{abs(score):g}"
    talk(engine, "kgs-rules chinese")
    assert '"AREA"' in say(engine, "kata-get-rules")
    area = engine.board.stones().count(BLACK) - engine.board.stones().count(WHITE)
    area += len(black) - len(white) + 1 - 0.5
    assert say(engine, "final_score") == f"= {'B' if area > 0 else 'W'}+{abs(area):g}"


@pytest.mark.parametrize(
    ("rules", "score"),
    [  # GNU Go 3.8 says B+77 with and without --chinese-rules
        ("japanese", 77),
        ("chinese", 77),
        ("aga", 78),
        ("tromp-taylor", 81),
        ('{"scoring":"AREA","whiteHandicapBonus":"N"}', 77),
        ('{"scoring":"AREA","whiteHandicapBonus":"N-1"}', 78),
        ('{"scoring":"AREA"}', 81),
        ('{"scoring":"TERRITORY"}', 77),
    ],
)
def test_white_gets_points_for_handicap_stones(engine: Engine, rules: str, score: int) -> None:
    talk(engine, "boardsize 9", "komi 0", f"kata-set-rules {rules}", "fixed_handicap 4")
    talk(engine, "play w pass", "play b pass")
    assert say(engine, "final_score") == f"= B+{score}"
    told = say(engine, "kata-get-rules").removeprefix("= ")
    talk(engine, f"kata-set-rules {told}")
    assert say(engine, "final_score") == f"= B+{score}"


@pytest.mark.parametrize(
    "text",
    [
        "{bad",
        '{"scoring":"FOO"}',
        '{"scoring": AREA}',
        '{"scoring":"AREA","whiteHandicapBonus":"N"',
        '{"scoring":"AREA","whiteHandicapBonus":"X"}',
        '{"scoring":"AREA","tax":"ALL"}',
        '{"scoring":"AREA","suicide":true}',
        '{"rules":"chinese"}',
        '{"scoring":["AREA"]}',
    ],
)
def test_rules_that_it_cannot_count_by_are_refused(engine: Engine, text: str) -> None:
    talk(engine, "kata-set-rules chinese")
    assert say(engine, f"kata-set-rules {text}").startswith("? ")
    assert '"whiteHandicapBonus": "N"' in say(engine, "kata-get-rules")


# ------------------------------------------------------------------------------------- analysis
def moves_of(line: str) -> list[dict[str, str]]:
    found = []
    for part in line.split("info ")[1:]:
        words = part.split(" pv ")[0].split()
        found.append(dict(zip(words[::2], words[1::2], strict=True)))
    return found


@pytest.mark.parametrize(
    "arguments",
    [
        "B 50",
        "50 B",
        "50",
        "B",
        "",
        "interval 50",
        "b interval 50 rootInfo true pvVisits true",
        "black 50.0",
    ],
)
def test_analysis_takes_arguments_in_any_order(engine: Engine, arguments: str) -> None:
    reply = talk(engine, f"lz-analyze {arguments}", "", "name")
    head, line, *rest = reply.split("\n")
    assert head == "="
    assert rest == ["", "= cnnapps", "", ""]
    moves = moves_of(line)
    priors = [int(move["prior"]) for move in moves]
    assert priors == sorted(priors, reverse=True)
    assert 9000 < sum(priors) <= 10001
    assert [move["order"] for move in moves] == [str(i) for i in range(len(moves))]
    assert {move["winrate"] for move in moves} == {"5000"}


def test_analysis_agrees_with_the_net(engine: Engine, one: GoPredictor) -> None:
    talk(engine, "play b Q16", "play w D4")
    result = one(engine.board)
    moves = moves_of(talk(engine, "kata-analyze 100 maxmoves 5", "").split("\n")[1])
    assert [move["move"] for move in moves] == [move.move for move in result.moves[:5]]
    for shown, move in zip(moves, result.moves, strict=False):
        assert float(shown["prior"]) == pytest.approx(move.probability, abs=1e-6)
    grid = say(engine, "kata-raw-nn 0").split("policy\n")[1].split("\npolicyPass")[0]
    numbers = np.array([[float(word) for word in row.split()] for row in grid.split("\n")])
    assert np.allclose(numbers[~np.isnan(numbers)], result.grid[~np.isnan(numbers)], atol=1e-6)
    assert np.isnan(numbers).sum() == 2


def test_raw_nn_shows_all_symmetries(engine: Engine, eight: GoPredictor) -> None:
    talk(engine, "play b R14", "play w D4")
    text = say(engine, "kata-raw-nn all")
    assert re.findall(r"symmetry (\d)", text) == list("01234567")
    images = eight.images(position_of(engine.board))
    for part, image in zip(text.split("policy\n")[1:], images, strict=True):
        grid = [float(word) for word in part.split("\npolicyPass")[0].split()]
        shown = ~np.isnan(grid)  # all but the two stones
        assert shown.sum() == 359
        assert np.allclose(np.array(grid)[shown], image[:361][shown], atol=1e-6)


def position_of(board: Board) -> Any:
    from cnnapps.apps.go_policy import Position

    return Position(board)


def test_analysis_for_the_other_side_and_limits(engine: Engine) -> None:
    say(engine, "play b D4")
    line = talk(engine, "lz-analyze b 10 maxmoves 3", "").split("\n")[1]
    assert len(moves_of(line)) == 3
    assert engine.board.to_play == WHITE
    line = talk(engine, "lz-analyze minmoves 200", "").split("\n")[1]
    assert len(moves_of(line)) == 200
    line = talk(engine, "kata-analyze rootInfo true ownership true", "").split("\n")[1]
    assert " rootInfo visits " in line
    assert len(line.split(" ownership ")[1].split()) == 361


# ------------------------------------------------------------------------------------- nonsense
WORDS = [
    *COMMANDS, "b", "w", "B", "white", "pass", "resign", "D4", "Q16", "A1", "T19", "I9", "9", "19",
    "7", "25", "-1", "0", "3", "nan", "1e9", "#", "\x00", "avoid", "allow", "interval", "maxmoves",
    "ownership", "true", "dead", "all", "é", "\u202e", "💥", "=", "?", "{\"a\":1}",
]  # fmt: skip
CHEAP = [word for word in WORDS if "analy" not in word and "genmove" not in word]
HEAVY = {"final_score", "final_status_list", "ownership", "quit", "policy_gfx", "policy_pairs"}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.sampled_from(CHEAP), max_size=5).map(" ".join), max_size=12))
def test_any_words_get_well_formed_replies(one: GoPredictor, lines: list[str]) -> None:
    engine = Engine(Player(one))
    lines = [line for line in lines if not HEAVY & set(line.split()) and "raw-nn" not in line]
    lines = [line for line in lines if "printsgf" not in line]  # it may write files
    for line in lines:
        text = talk(engine, line)
        assert text == "" or re.fullmatch(r"[=?]\d*(?: ?.+(?:\n.+)*|(?:\n.+)+)?\n\n", text), text
        assert "internal error" not in text


def test_random_bytes_get_replies_and_no_crash(one: GoPredictor) -> None:
    generator = random.Random(5)
    engine = Engine(Player(one))
    for _ in range(1500):
        line = bytearray(generator.choice([b"play b D4", b"7 genmovex w", b"komi 5", b"undo 3"]))
        for _ in range(generator.randrange(1, 5)):
            at = generator.randrange(len(line))
            line[at : at + generator.randrange(2)] = bytes([generator.randrange(256)])
        if b"genmove " in line:
            continue
        text = talk(engine, line.decode("utf-8", "replace"))
        assert text == "" or (text[0] in "=?" and text.endswith("\n\n"))
        assert "internal error" not in text


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("bw"), st.integers(-1, 80)), max_size=30))
def test_undo_takes_back_what_play_did(one: GoPredictor, moves: list[tuple[str, int]]) -> None:
    engine = Engine(Player(one))
    say(engine, "boardsize 9")
    seen = [engine.board.stones()]
    for color, point in moves:
        if say(engine, f"play {color} {to_vertex(point, 9)}") == "=":
            seen.append(engine.board.stones())
    for stones in seen[::-1]:
        assert engine.board.stones() == stones
        last = say(engine, "undo")
    assert last == "? cannot undo"


def test_a_bug_in_a_command_is_a_reply(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(COMMANDS, "broken", lambda engine, args: 1 // 0)  # type: ignore[arg-type]
    assert say(engine, "4 broken").startswith("?4 internal error: ZeroDivisionError")
    assert "ZeroDivisionError" in capsys.readouterr().err


# ------------------------------------------------------------------------------------- processes
def test_lines_cut_what_is_too_long() -> None:
    out, into = os.pipe()
    lines = Lines(out)
    os.write(into, b"name\r\n\n")
    assert (lines.line(), lines.line()) == ("name\r", "")
    with pytest.raises(TimeoutError):
        lines.line(0.01)
    for _ in range(3 * MAX_LINE // 4096):
        os.write(into, b"x" * 4096)
    os.write(into, b"\nver\xffsion\nlast")
    os.close(into)
    assert lines.line() == TOO_LONG
    assert lines.line() == "ver\ufffdsion"
    assert lines.line() == "last"
    assert lines.line() is None


def test_a_real_process_streams_until_a_line_comes() -> None:
    command = [sys.executable, "-m", "cnnapps", "go-policy", "gtp", "--symmetries", "1"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdin.write("3 lz-analyze 5\n")
        child.stdin.flush()
        assert child.stdout.readline() == "=3\n"
        infos = [child.stdout.readline() for _ in range(3)]
        assert all(line.startswith("info move ") for line in infos)
        child.stdin.write("\n4 name\n")
        child.stdin.flush()
        line = child.stdout.readline()
        while line.startswith("info"):
            line = child.stdout.readline()
        assert line == "\n"
        assert (child.stdout.readline(), child.stdout.readline()) == ("=4 cnnapps\n", "\n")
        rest, errors = child.communicate("quit\n", timeout=60)
        assert rest == "=\n\n"
        assert (child.returncode, errors) == (0, "")


def test_the_end_of_input_ends_the_session() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "cnnapps", "go-policy", "gtp", "--symmetries", "1"],
        input=b"boardsize 9\n\xff\xfe\x00\nlz-analyze 100",
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0
    assert run.stderr == b""
    assert run.stdout.startswith(b"=\n\n? unknown command\n\n=\ninfo move ")
    assert run.stdout.endswith(b"\n\n")


def test_images_of_other_sizes_are_refused(one: GoPredictor) -> None:
    with pytest.raises(InputError):
        one.images(position_of(Board(25)))
