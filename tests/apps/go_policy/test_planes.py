"""Planes: against slow ones written on sgfmill's board, symmetry, ladders and eyes by hand."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgfmill import boards, sgf

from cnnapps.apps.go_policy.board import BLACK, EMPTY, PASS, WHITE, Board, from_vertex
from cnnapps.apps.go_policy.planes import (
    nature_planes,
    symmetries,
    transform,
    v7_globals,
    v7_planes,
)

DATA = Path(__file__).resolve().parents[2] / "data" / "go"
GAMES = sorted(DATA.glob("rocalpha-*.sgf"))
NAMES = {BLACK: "b", WHITE: "w", EMPTY: None}
Point = tuple[int, int]  # row from the bottom, column: sgfmill's


# ------------------------------------------------------- the slow planes, from rules alone
class Slow:
    """A position on sgfmill's board. Every question is answered by playing it out on a copy."""

    def __init__(self, board: boards.Board, ko: Point | None) -> None:
        self.board, self.ko, self.side = board, ko, board.side

    def color(self, p: Point) -> str | None:
        return self.board.get(*p)  # type: ignore[no-any-return]

    def points(self) -> list[Point]:
        """Row by row from the top left, as the planes go."""
        return [(row, col) for row in reversed(range(self.side)) for col in range(self.side)]

    def near(self, p: Point) -> list[Point]:
        around = [(p[0] + 1, p[1]), (p[0] - 1, p[1]), (p[0], p[1] + 1), (p[0], p[1] - 1)]
        return [(r, c) for r, c in around if 0 <= r < self.side and 0 <= c < self.side]

    def chain(self, p: Point) -> tuple[frozenset[Point], frozenset[Point]]:
        chain, liberties, todo = {p}, set(), [p]
        while todo:
            for q in self.near(todo.pop()):
                if self.color(q) is None:
                    liberties.add(q)
                elif self.color(q) == self.color(p) and q not in chain:
                    chain.add(q)
                    todo.append(q)
        return frozenset(chain), frozenset(liberties)

    def after(self, p: Point, color: str) -> Slow | None:
        """None if the move is illegal."""
        if self.color(p) is not None or p == self.ko:
            return None
        copy = self.board.copy()
        ko = copy.play(*p, color)
        return Slow(copy, ko) if copy.get(*p) is not None else None


def other(color: str) -> str:
    return "w" if color == "b" else "b"


def runner_lost(at: Slow, p: Point) -> bool:
    """The chain of p is in atari and its owner moves: do all his moves lose?"""
    moves = escape_moves(at, p)
    return not any(saves(at, p, m, respect_ko=False) for m in moves)


def escape_moves(at: Slow, p: Point) -> set[Point]:
    chain, liberties = at.chain(p)
    moves = set(liberties)
    for stone in chain:
        for q in at.near(stone):
            if at.color(q) == other(at.color(p) or ""):
                _, theirs = at.chain(q)
                if len(theirs) == 1:
                    moves |= theirs
    return moves


def saves(at: Slow, p: Point, m: Point, *, respect_ko: bool) -> bool:
    here = at if respect_ko else Slow(at.board, None)
    then = here.after(m, at.color(p) or "")
    if then is None:
        return False
    liberties = then.chain(p)[1]
    if len(liberties) != 2:
        return len(liberties) > 2
    return not any(attack_works(then, p, a, first=False) for a in liberties)


def attack_works(at: Slow, p: Point, m: Point, *, first: bool) -> bool:
    """The chain of p has two liberties, its opponent plays m, one of them."""
    then = at.after(m, other(at.color(p) or ""))
    if then is None or (then.ko is not None and not first):
        return False
    return len(then.chain(p)[1]) == 1 and runner_lost(then, p)


def slow_ladders(at: Slow) -> tuple[set[Point], dict[str, set[Point]]]:
    """Stones lost in ladders; moves that start one against a chain of a colour."""
    stones: set[Point] = set()
    moves: dict[str, set[Point]] = {"b": set(), "w": set()}
    for chain, liberties in {at.chain(p) for p in at.points() if at.color(p)}:
        p = min(chain)
        if len(liberties) == 1 and runner_lost(at, p):
            stones |= chain
        elif len(liberties) == 2:
            works = {m for m in liberties if attack_works(at, p, m, first=True)}
            moves[at.color(p) or ""] |= works
            stones |= chain if works else set()
    return stones, moves


def slow_nature(at: Slow, to_play: str, ages: dict[Point, int]) -> np.ndarray:
    planes = np.zeros((48, at.side * at.side), np.float32)
    planes[3] = 1
    for i, p in enumerate(at.points()):
        color = at.color(p)
        if color is not None:
            chain, liberties = at.chain(p)
            planes[0 if color == to_play else 1, i] = 1
            planes[4 + min(ages[p], 8) - 1, i] = 1
            planes[12 + min(len(liberties), 8) - 1, i] = 1
            continue
        planes[2, i] = 1
        then = at.after(p, to_play)
        if then is None:
            continue
        count = {c: sum(b.color(q) == c for q in b.points()) for b in (at, then) for c in "bw"}
        before = sum(at.color(q) == other(to_play) for q in at.points())
        chain, liberties = then.chain(p)
        planes[20 + min(before - count[other(to_play)], 7), i] = 1
        if len(liberties) == 1:
            planes[28 + min(len(chain), 8) - 1, i] = 1
        planes[36 + min(len(liberties), 8) - 1, i] = 1
        planes[44, i] = any(
            at.color(q) == other(to_play)
            and len(at.chain(q)[1]) == 2
            and attack_works(at, q, p, first=True)
            for q in at.near(p)
        )
        planes[46, i] = not slow_eye(at, p, to_play)
    index = {p: i for i, p in enumerate(at.points())}
    for p in at.points():
        if at.color(p) == to_play and len(at.chain(p)[1]) == 1:
            for m in escape_moves(at, p):
                if saves(at, p, m, respect_ko=True):
                    planes[45, index[m]] = 1
    return planes.reshape(48, at.side, at.side)


def slow_eye(at: Slow, p: Point, color: str) -> bool:
    if any(at.color(q) != color for q in at.near(p)):
        return False
    diagonal = [(p[0] + a, p[1] + b) for a in (1, -1) for b in (1, -1)]
    inside = [(r, c) for r, c in diagonal if 0 <= r < at.side and 0 <= c < at.side]
    hostile = sum(at.color(q) == other(color) for q in inside)
    return hostile < (2 if len(inside) == 4 else 1)


def slow_v7(history: list[Slow], to_play: str, moves: list[int]) -> np.ndarray:
    """``history``: positions, newest first; ``moves``: newest first, alternating."""
    at = history[0]
    planes = np.zeros((22, at.side * at.side), np.float32)
    planes[0] = 1
    for i, p in enumerate(at.points()):
        if at.color(p):
            planes[1 if at.color(p) == to_play else 2, i] = 1
            if len(at.chain(p)[1]) <= 3:
                planes[2 + len(at.chain(p)[1]), i] = 1
        if p == at.ko:
            planes[6, i] = 1
    for j, move in enumerate(moves[:5]):
        if move != PASS:
            planes[9 + j, move] = 1
    for back in range(3):
        stones, starts = slow_ladders(history[min(back, len(history) - 1)])
        for i, p in enumerate(at.points()):
            planes[14 + back, i] = p in stones
            if back == 0:
                planes[17, i] = p in starts[other(to_play)]
    return planes.reshape(22, at.side, at.side)


class Pair:
    """Our board and sgfmill's, moved together."""

    def __init__(self, size: int) -> None:
        self.ours = Board(size)
        self.slow = [Slow(boards.Board(size), None)]
        self.ages: dict[Point, int] = {}

    def play(self, point: int) -> None:
        size = self.ours.size
        color = NAMES[self.ours.to_play]
        self.ours.play(point)
        self.ages = {p: age + 1 for p, age in self.ages.items()}
        board, ko = self.slow[0].board.copy(), None
        if point != PASS:
            p = (size - 1 - point // size, point % size)
            ko = board.play(*p, color)
            self.ages[p] = 1
        self.slow.insert(0, Slow(board, ko))

    def check(self) -> None:
        to_play = NAMES[self.ours.to_play] or ""
        moves = [m.point for m in self.ours.history()]
        nature = slow_nature(self.slow[0], to_play, self.ages)
        assert_planes(nature_planes(self.ours), nature, str(self.ours))
        assert_planes(v7_planes(self.ours), slow_v7(self.slow, to_play, moves), str(self.ours))


def assert_planes(ours: np.ndarray, slow: np.ndarray, text: str) -> None:
    assert ours.dtype == np.float32
    wrong = np.argwhere(ours != slow)
    assert len(wrong) == 0, f"plane, row, column: {wrong[:5].tolist()}\n{text}"


@settings(max_examples=25, deadline=None)
@given(size=st.integers(3, 7), seed=st.integers(0, 10**6), moves=st.integers(0, 70))
def test_planes_of_random_positions_are_those_of_the_slow_ones(
    size: int, seed: int, moves: int
) -> None:
    rng = random.Random(seed)
    pair = Pair(size)
    for _ in range(moves):
        legal = pair.ours.legal()
        choices = [i for i, allowed in enumerate(legal) if allowed] or [PASS]
        pair.play(rng.choice(choices) if rng.random() < 0.97 else PASS)
    pair.check()


@pytest.mark.parametrize(
    ("size", "moves"),
    [(4, [1, 5, 11, 14, 4, 2, 7, 9, 12]), (5, [19, 11, 1, 2, 5, 6, 24])],
)
def test_ladders_that_begin_with_a_ko_are_read_as_the_slow_ones(
    size: int, moves: list[int]
) -> None:
    pair = Pair(size)
    for move in moves:
        pair.play(move)
        pair.check()


@pytest.mark.parametrize("path", GAMES[:2], ids=lambda p: p.stem[13:])
def test_planes_of_real_games_are_those_of_the_slow_ones(path: Path) -> None:
    game = sgf.Sgf_game.from_bytes(path.read_bytes())
    pair = Pair(19)
    for number, node in enumerate(game.get_main_sequence()):
        move = node.get_move()[1]
        if move is not None:
            pair.play((18 - move[0]) * 19 + move[1])
        if number % 40 == 25:
            pair.check()


# -------------------------------------------------------------------------------- symmetries
@pytest.mark.parametrize("k", range(8))
def test_symmetries_commute_with_the_planes(k: int) -> None:
    rng = random.Random(k)
    board, image = Board(9), Board(9)
    to_image = np.argsort(symmetries(9)[k])
    for _ in range(60):
        legal = [i for i, allowed in enumerate(board.legal()) if allowed]
        move = rng.choice(legal)
        board.play(move)
        image.play(int(to_image[move]))
    for planes in (nature_planes, v7_planes):
        assert np.array_equal(transform(planes(board), k), planes(image))
    assert np.array_equal(v7_globals(board), v7_globals(image))


def test_symmetries_are_a_group_of_eight() -> None:
    table = symmetries(5)
    assert len({tuple(row) for row in table}) == 8
    assert np.array_equal(table[0], np.arange(25))
    images = {tuple(row) for row in table}
    for a in table:
        assert {tuple(a[b]) for b in table} == images


# ------------------------------------------------------------------------------------ ladders
def ladder(breaker: str | None = None) -> Board:
    """White's stone in a ladder that runs to the lower right; Black to move."""
    board = Board(19)
    board.place(
        black=[from_vertex(v, 19) for v in ("D16", "E15", "F17", "E17")],
        white=[from_vertex("E16", 19)] + ([from_vertex(breaker, 19)] if breaker else []),
    )
    return board


def test_a_working_ladder_is_seen_and_a_broken_one_is_not() -> None:
    start = from_vertex("F16", 19)
    working, broken = ladder(), ladder("Q4")
    assert nature_planes(working)[44].ravel()[start] == 0  # E16 has one liberty: a plain capture
    assert v7_planes(working)[14].sum() == 1
    assert v7_planes(broken)[14].sum() == 0
    for board, lost in ((working, True), (broken, False)):
        board.to_play = WHITE
        assert nature_planes(board)[45].sum() == (0 if lost else 1)
        board.play(start)  # White runs
        run = v7_planes(board)
        assert (run[14].sum() == 2) == lost
        assert (run[17].sum() >= 1) == lost
        assert (nature_planes(board)[44].sum() >= 1) == lost
        assert np.array_equal(nature_planes(board)[44], run[17])


def test_a_ladder_is_broken_by_a_capture_on_the_way() -> None:
    """The runner takes a stone of the attacker's that is in atari."""
    board = ladder()
    board.place(white=[from_vertex(v, 19) for v in ("F18", "G17", "E18", "D17")])
    assert board.liberties(from_vertex("F17", 19)) == 1
    board.to_play = WHITE
    assert v7_planes(board)[14].ravel()[from_vertex("E16", 19)] == 0
    escapes = np.flatnonzero(nature_planes(board)[45])
    assert from_vertex("F16", 19) in escapes


def test_edge_atari_is_a_ladder_in_one_move() -> None:
    board = Board(9)
    board.place(
        black=[from_vertex(v, 9) for v in ("B2", "C2", "A3")],
        white=[from_vertex("B1", 9), from_vertex("A2", 9)],
    )
    planes = nature_planes(board)
    assert planes[44].ravel()[from_vertex("C1", 9)] == 1


# ------------------------------------------------------------------------ single features
def test_liberties_after_a_capture_count_the_captured_points() -> None:
    board = Board(5)
    board.place(
        black=[from_vertex(v, 5) for v in ("A2", "B2", "C1")],
        white=[from_vertex(v, 5) for v in ("A1", "A3", "B3", "C2")],
    )
    at = from_vertex("B1", 5)
    planes = nature_planes(board)[:, at // 5, at % 5]
    assert planes[20:28].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]  # takes A1
    # B1 joins A2, B2 and C1: their liberties are A1 (just captured) and D1.
    assert planes[36:44].tolist() == [0, 1, 0, 0, 0, 0, 0, 0]


def test_self_atari_eye_and_set_up_age() -> None:
    board = Board(5)
    board.place(
        black=[from_vertex(v, 5) for v in ("B1", "A2", "B2")],
        white=[from_vertex(v, 5) for v in ("D5", "E4", "D4")],
    )
    planes = nature_planes(board)
    corner, throw_in = from_vertex("A1", 5), from_vertex("E5", 5)
    assert planes[46].ravel()[corner] == 0 and planes[20].ravel()[corner] == 1
    assert planes[20:28].sum(0).ravel()[throw_in] == 0  # suicide
    assert planes[11].sum() == 6 and planes[4:11].sum() == 0  # set up: >= 8 moves ago
    board.play(from_vertex("C3", 5))
    assert nature_planes(board)[4].ravel()[from_vertex("C3", 5)] == 1


def test_history_stops_where_colours_repeat_and_at_a_set_up() -> None:
    board = Board(9)
    for color, point in ((BLACK, 0), (BLACK, 40), (WHITE, 80)):
        board.play(point, color)
    planes = v7_planes(board)
    assert [planes[9 + j].sum() for j in range(5)] == [1, 1, 0, 0, 0]
    board.place(black=[10])
    assert v7_planes(board)[9:14].sum() == 0


def test_globals_say_komi_and_passes() -> None:
    board = Board(19)
    assert v7_globals(board, 7.5)[5] == np.float32(-0.375)
    board.play(PASS)
    row = v7_globals(board, 7.5)
    assert row[5] == np.float32(0.375) and row[:5].tolist() == [1, 0, 0, 0, 0]
    assert row[9] == row[10] == 1 and row.shape == (19,)


def test_ladders_kept_from_earlier_positions_change_nothing() -> None:
    board = Board(9)
    rng = random.Random(5)
    for _ in range(50):
        board.play(rng.choice([i for i, allowed in enumerate(board.legal()) if allowed]))
        seen = v7_planes(board)
    fresh = Board(9)
    for move in board.moves:
        fresh.play(move.point)
    assert np.array_equal(v7_planes(fresh), seen)
