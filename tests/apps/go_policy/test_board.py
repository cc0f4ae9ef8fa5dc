"""Rules: sgfmill and GNU Go on real games, a flood fill on random ones, known positions."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgfmill import boards, sgf

from cnnapps.apps.go_policy.board import (
    BLACK,
    EMPTY,
    PASS,
    WHITE,
    Board,
    from_sgf,
    from_vertex,
    handicap_points,
    to_sgf,
    to_vertex,
)
from cnnapps.core.errors import InputError

DATA = Path(__file__).resolve().parents[2] / "data" / "go"
GAMES = sorted(DATA.glob("rocalpha-*.sgf"))
GNUGO = shutil.which("gnugo") or shutil.which("/usr/games/gnugo")
COLOR = {"b": BLACK, "w": WHITE}
NAME = {BLACK: "b", WHITE: "w", EMPTY: None}


def moves_of(path: Path) -> list[tuple[int, int]]:
    """(colour, point) of a game's main line, read by sgfmill."""
    game = sgf.Sgf_game.from_bytes(path.read_bytes())
    moves = []
    for node in game.get_main_sequence():
        color, move = node.get_move()
        if color is not None:
            point = PASS if move is None else (18 - move[0]) * 19 + move[1]
            moves.append((COLOR[color], point))
    return moves


def play_text(rows: str, **options: bool) -> Board:
    """A square diagram, X black, O white."""
    lines = rows.split()
    board = Board(len(lines), **options)
    stones = "".join(lines)
    board.place(
        black=[i for i, s in enumerate(stones) if s == "X"],
        white=[i for i, s in enumerate(stones) if s == "O"],
    )
    return board


def flood(stones: list[int], size: int, start: int) -> tuple[set[int], set[int]]:
    """Chain and liberties of the stone at ``start``, the slow and obvious way."""
    chain, liberties, todo = {start}, set(), [start]
    while todo:
        at = todo.pop()
        for q in neighbours(at, size):
            if stones[q] == EMPTY:
                liberties.add(q)
            elif stones[q] == stones[start] and q not in chain:
                chain.add(q)
                todo.append(q)
    return chain, liberties


def neighbours(at: int, size: int) -> list[int]:
    x, y = at % size, at // size
    near = [(x + 1, y), (x - 1, y), (x, y + 1), (x, y - 1)]
    return [b * size + a for a, b in near if 0 <= a < size and 0 <= b < size]


def check_chains(board: Board) -> None:
    stones = board.stones()
    for i, stone in enumerate(stones):
        if stone == EMPTY:
            assert board.chain(i) == [] and board.liberties(i) == 0
        else:
            chain, liberties = flood(stones, board.size, i)
            assert set(board.chain(i)) == chain and len(board.chain(i)) == len(chain)
            assert board.liberties(i) == len(liberties)
            head = board._now.state[1][board._padded(i)]
            assert board._now.state[4][head] == sum(board._padded(q) for q in liberties)


# ---------------------------------------------------------------------------------- real games
@pytest.mark.parametrize("path", GAMES, ids=lambda p: p.stem[13:])
def test_real_games_as_sgfmill_plays_them(path: Path) -> None:
    ours, theirs = Board(), boards.Board(19)
    moves = moves_of(path)
    assert len(moves) > 150
    for color, point in moves:
        assert ours.why_illegal(point, color) is None
        ours.play(point, color)
        ko = theirs.play(18 - point // 19, point % 19, NAME[color]) if point != PASS else None
        assert ours.ko == (PASS if ko is None else (18 - ko[0]) * 19 + ko[1])
        theirs_stones = [COLOR.get(theirs.get(18 - i // 19, i % 19), EMPTY) for i in range(361)]
        assert ours.stones() == theirs_stones
    check_chains(ours)


@pytest.mark.skipif(GNUGO is None, reason="gnugo is not installed")
def test_real_game_as_gnugo_plays_it() -> None:
    board, commands, expected = Board(), ["boardsize 19", "clear_board"], []
    for color, point in moves_of(GAMES[0]):
        board.play(point, color)
        commands.append(f"play {'black' if color == BLACK else 'white'} {to_vertex(point, 19)}")
    for color in ("black", "white"):
        commands.append(f"all_legal {color}")
        legal = board.legal(COLOR[color[0]])
        expected.append({to_vertex(i, 19) for i in range(361) if legal[i]})
    stones = [i for i in range(361) if board[i] != EMPTY]
    commands += [f"countlib {to_vertex(i, 19)}" for i in stones] + ["captures black", "quit"]
    out = subprocess.run(
        [str(GNUGO), "--mode", "gtp"], input="\n".join(commands), text=True, capture_output=True,
        check=True, timeout=120,
    ).stdout  # fmt: skip
    replies = [r.strip() for r in out.strip().split("\n\n")]
    assert all(r.startswith("=") for r in replies)
    answers = [r[1:].strip() for r in replies]
    start = len(commands) - 1 - 1 - len(stones) - 2
    assert [set(a.split()) for a in answers[start : start + 2]] == expected
    counts = [int(a) for a in answers[start + 2 : start + 2 + len(stones)]]
    assert counts == [board.liberties(i) for i in stones]
    assert int(answers[start + 2 + len(stones)]) == board.prisoners(WHITE)


# -------------------------------------------------------------------------------- random games
@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(2, 7), seed=st.randoms(use_true_random=False), suicide=st.booleans(),
    superko=st.booleans(),
)  # fmt: skip
def test_random_games_keep_the_rules(size, seed, suicide, superko) -> None:  # type: ignore[no-untyped-def]
    board = Board(size, suicide=suicide, superko=superko)
    texts = [board.stones()]
    for _ in range(3 * size * size):
        before = board.stones()
        legal = board.legal()
        for i, allowed in enumerate(legal):
            after, count = naive_play(before, size, i, board.to_play)
            ok = before[i] == EMPTY and (after[i] != EMPTY or (suicide and count > 1))
            ok = ok and (after not in texts if superko else i != board.ko)
            assert allowed == ok, (i, str(board))
        choices = [i for i, allowed in enumerate(legal) if allowed]
        move = seed.choice([*choices, PASS]) if choices else PASS
        taken = board.play(move)
        if move != PASS:
            assert board.stones() == naive_play(before, size, move, 3 - board.to_play)[0]
        assert set(taken) == {
            i for i in range(size * size)
            if board[i] == EMPTY and (before[i] != EMPTY or i == move)
        }  # fmt: skip
        texts.append(board.stones())
        check_chains(board)
    for text in texts[-2::-1]:
        board.undo()
        assert board.stones() == text
        check_chains(board)
    assert board.zobrist == 0 and board.move_number == 0 and board.moves == []


def naive_play(stones: list[int], size: int, at: int, color: int) -> tuple[list[int], int]:
    """The stones after the move, and how many its own chain had before a suicide."""
    after = list(stones)
    if after[at] != EMPTY:
        return after, 0
    after[at] = color
    for q in neighbours(at, size):
        if after[q] == 3 - color:
            chain, liberties = flood(after, size, q)
            if not liberties:
                for s in chain:
                    after[s] = EMPTY
    chain, liberties = flood(after, size, at)
    if not liberties:
        for s in chain:
            after[s] = EMPTY
    return after, len(chain)


# ------------------------------------------------------------------------------------- by hand
def test_ko_bans_the_immediate_recapture_only() -> None:
    board = play_text(
        """
        .XO..
        XO.O.
        .XO..
        .....
        .....
        """
    )
    assert board.play(from_vertex("C4", 5)) == [from_vertex("B4", 5)]
    assert board.ko == from_vertex("B4", 5)
    assert board.why_illegal(board.ko) == "ko"
    with pytest.raises(InputError, match=r"move 2, white B4: illegal \(ko\)"):
        board.play(board.ko)
    board.play(from_vertex("E1", 5))
    board.play(from_vertex("E2", 5))
    assert board.ko == PASS
    assert board.play(from_vertex("B4", 5)) == [from_vertex("C4", 5)]


def test_superko_forbids_a_cycle_that_simple_ko_allows() -> None:
    """On 2x2, Black's last move takes three stones and leaves the position after his first move."""
    for superko in (False, True):
        board = Board(2, superko=superko)
        for move in (0, 3, 1, 2, 0, 1):
            board.play(move)
        assert board.stones() == [EMPTY, WHITE, WHITE, WHITE]
        assert board.why_illegal(0) == ("superko" if superko else None)
    board = Board(2)
    board.play(0)
    first = board.zobrist
    for move in (3, 1, 2, 0, 1, 0):
        board.play(move)
    assert board.zobrist == first


def test_suicide_by_ruleset() -> None:
    diagram = """
    .XO..
    XXO..
    OOO..
    .....
    .....
    """
    corner = from_vertex("A5", 5)
    board = play_text(diagram)
    assert board.why_illegal(corner, BLACK) == "suicide"
    assert board.why_illegal(corner, WHITE) is None  # captures
    board = play_text(diagram, suicide=True)
    taken = board.play(corner, BLACK)
    assert len(taken) == 4 and board.stones().count(BLACK) == 0
    assert board.prisoners(BLACK) == 4
    alone = play_text(".O...\nO....\n.....\n.....\n.....", suicide=True)
    assert alone.why_illegal(from_vertex("A5", 5), BLACK) == "suicide"


def test_snapback_takes_more_than_it_gave() -> None:
    board = play_text(
        """
        .....
        .....
        .XXX.
        XOOOX
        XO..X
        """
    )
    throw_in = from_vertex("C1", 5)
    board.play(throw_in, BLACK)
    assert board.play(from_vertex("D1", 5)) == [throw_in]
    assert board.ko == PASS  # the chain that captured has more than one stone
    assert len(board.play(throw_in)) == 5


def test_illegal_moves_say_why() -> None:
    board = Board(9)
    board.play(from_vertex("E5", 9))
    with pytest.raises(InputError, match=r"move 2, white E5: illegal \(the point is occupied\)"):
        board.play(from_vertex("E5", 9))
    with pytest.raises(InputError, match="not on a 9x9 board"):
        board.play(81)
    with pytest.raises(InputError, match="not between"):
        Board(26)
    with pytest.raises(InputError, match="no move to take back"):
        Board(9).undo()


def test_forced_moves_are_carried_out() -> None:
    board = Board(9)
    board.play(from_vertex("E5", 9))
    board.play(from_vertex("E5", 9), force=True)
    assert board[from_vertex("E5", 9)] == WHITE
    assert board.stones().count(BLACK) == 0
    check_chains(board)
    zobrist = board.zobrist
    board.undo()
    board.undo()
    board.play(from_vertex("E5", 9), WHITE)
    assert board.zobrist == zobrist


def test_set_up_captures_nothing_and_restarts_history() -> None:
    board = Board(5)
    board.play(0)
    board.place(black=[1], white=[2, 5], empty=[0])
    assert board.stones()[:6] == [EMPTY, BLACK, WHITE, EMPTY, EMPTY, WHITE]
    assert board.history() == [] and len(board.moves) == 1 and board.to_play == WHITE
    check_chains(board)
    board.undo()
    assert board[0] == BLACK and len(board.history()) == 1


def test_a_copy_goes_its_own_way() -> None:
    board = Board(9)
    board.play(40)
    twin = board.copy()
    twin.play(41)
    board.play(0)
    assert board[41] == EMPTY and twin[0] == EMPTY
    twin.undo()
    twin.undo()
    assert board.move_number == 2 and twin.move_number == 0


def test_both_colours_may_move_twice_in_a_row() -> None:
    board = Board(9)
    board.play(0, BLACK)
    board.play(80, BLACK)
    assert board.to_play == WHITE and board.move_number == 2


@pytest.mark.parametrize("size", [5, 7, 8, 9, 13, 19, 25])
def test_notation_round_trips(size: int) -> None:
    for point in range(size * size):
        assert from_vertex(to_vertex(point, size).lower(), size) == point
        assert from_sgf(to_sgf(point, size), size) == point
    assert from_vertex("PASS", size) == PASS and to_vertex(PASS, size) == "pass"
    assert "I" not in {to_vertex(p, size)[0] for p in range(size * size)}


def test_notation_of_known_points() -> None:
    assert to_vertex(0, 19) == "A19" and to_sgf(0, 19) == "aa"
    assert from_vertex("Q16", 19) == from_sgf("pd", 19) == 3 * 19 + 15
    assert from_sgf("tt", 19) == from_sgf("", 19) == PASS
    assert from_sgf("tt", 25) == 19 * 25 + 19


@pytest.mark.parametrize("text", ["", "Q", "I5", "Q0", "Q20", "16Q", "Q-1", "Q1.", "Q²", "AA1"])
def test_bad_vertices_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_vertex(text, 19)


@pytest.mark.parametrize("text", ["a", "abc", "zz", "t1", "Aa", "a "])
def test_bad_sgf_points_are_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_sgf(text, 19)


@pytest.mark.skipif(GNUGO is None, reason="gnugo is not installed")
@pytest.mark.parametrize("size", [9, 13, 19])
def test_handicap_points_are_those_of_gnugo(size: int) -> None:
    for stones in range(2, 10):
        script = f"boardsize {size}\nclear_board\nfixed_handicap {stones}\nquit\n"
        out = subprocess.run(
            [str(GNUGO), "--mode", "gtp"], input=script, text=True, capture_output=True, check=True,
            timeout=60,
        ).stdout  # fmt: skip
        theirs = set(out.split("\n\n")[2][1:].split())
        assert {to_vertex(p, size) for p in handicap_points(size, stones)} == theirs


def test_handicap_that_does_not_fit_is_refused() -> None:
    for size, stones in [(19, 1), (19, 10), (8, 5), (5, 2)]:
        with pytest.raises(InputError, match="handicap"):
            handicap_points(size, stones)
    board = Board(19)
    assert len(board.place_handicap(4)) == 4 and board.to_play == WHITE
    assert board.history() == []


def test_kernels_import_nothing_heavy() -> None:
    code = "import sys, cnnapps.apps.go_policy.board as b; b.Board().play(72);"
    code += "print([m for m in ('numpy', 'numba', 'torch', 'random') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
