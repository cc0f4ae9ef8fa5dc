"""Life, ownership and the count, against definitions and finished positions."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.go_policy.board import BLACK, EMPTY, WHITE, Board, from_vertex, to_vertex
from cnnapps.apps.go_policy.territory import alive, count, ownership, territory
from cnnapps.apps.go_policy.typed import read_position

# Black left, White right; B6 is dead. Black has A7-C7, A6-C6, A5-C5, A3, B3 and A1: 12 points and
# a prisoner; White has 14 points. Stones: 12 and 11.
FINISHED = "...XO../.O.XO../...XOOO/XXXXO../..XOO../XXXO.../.XOO..."
TWO_EYES = """
. X . X O . .
X X X X O . .
O O O O O . .
. . . . . . .
. . X X . . .
. . . . . . .
. . . . . . .
"""
# One region of two points: one eye, and Benson says nothing.
ONE_EYE = TWO_EYES.replace(". X . X O", ". . X X O", 1)


def names(points: set[int] | frozenset[int], size: int) -> list[str]:
    return sorted(to_vertex(point, size) for point in points)


def test_two_eyes_live_for_ever() -> None:
    board = read_position(TWO_EYES)
    stones, inside = alive(board, BLACK)
    assert names(stones, 7) == ["A6", "B6", "B7", "C6", "D6", "D7"]
    assert names(inside, 7) == ["A7", "C7"]
    assert alive(board, WHITE) == (set(), set())


def test_one_eye_is_no_proof() -> None:
    assert alive(read_position(ONE_EYE), BLACK) == (set(), set())


def test_an_empty_board_has_no_life() -> None:
    assert alive(Board(9), BLACK) == (set(), set())


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(3, 7))
def test_what_is_alive_survives_any_attack(seed: int, size: int) -> None:
    """The attacker moves at random, the owner always passes."""
    generator = random.Random(seed)
    board = Board(size)
    for _ in range(generator.randrange(4 * size * size)):
        legal = [i for i, good in enumerate(board.legal()) if good]
        board.play(generator.choice(legal) if legal else -1)
    for color in (BLACK, WHITE):
        stones, inside = alive(board, color)
        assert all(board[i] == color for i in stones)
        assert all(board[i] != color for i in inside)
        attack = board.copy()
        for _ in range(6 * size * size):
            attack.to_play = 3 - color
            legal = [i for i, good in enumerate(attack.legal()) if good]
            if not legal:
                break
            attack.play(generator.choice(legal))
        assert all(attack[i] == color for i in stones)


def test_ownership_is_deterministic_and_bounded() -> None:
    board = read_position(FINISHED)
    first = ownership(board, playouts=20)
    assert np.array_equal(first, ownership(board, playouts=20))
    assert not np.array_equal(first, ownership(board, playouts=20, seed=1))
    assert first.shape == (49,)
    assert np.abs(first).max() <= 1
    assert board.move_number == 0  # untouched


def test_colours_swapped_change_the_sign_of_clear_points() -> None:
    board = read_position(FINISHED)
    swapped = read_position(FINISHED.translate(str.maketrans("XO", "OX")))
    one, other = ownership(board), ownership(swapped)
    clear = np.abs(one) > 0.6
    assert clear.sum() > 35
    assert (np.sign(one[clear]) == -np.sign(other[clear])).all()


def test_a_finished_board_is_counted() -> None:
    board = read_position(FINISHED)
    owners = ownership(board)
    area = count(board, owners, komi=0, rules="chinese")
    assert names(area.dead, 7) == ["B6"]
    assert [area.owner.count(who) for who in (EMPTY, BLACK, WHITE)] == [0, 24, 25]
    assert str(area) == "W+1"
    points = count(board, owners, komi=0, rules="japanese")
    assert points.score == 12 + 1 - 14
    assert str(count(board, owners, komi=-1, rules="japanese")) == "0"
    assert str(count(board, owners, komi=-4.5, rules="japanese")) == "B+3.5"
    assert str(count(board, owners, komi=6.5, rules="chinese")) == "W+7.5"


def test_prisoners_count_under_territory_rules_only() -> None:
    board = Board(7)
    for vertex in ("A2", "A1", "B1"):  # Black takes A1
        board.play(from_vertex(vertex, 7))
    owners = np.ones(49)
    assert count(board, owners, komi=0, rules="japanese").score == 47 + 1
    assert count(board, owners, komi=0, rules="chinese").score == 49


@pytest.mark.parametrize("doubt", [0.0, 0.2])
def test_nobody_owns_what_both_surround(doubt: float) -> None:
    board = read_position("X.O/X.O/X.O")
    owner, dead = territory(board, np.array([1, 0, -1] * 3, float), doubt=doubt)
    assert owner == [BLACK, EMPTY, WHITE] * 3
    assert not dead
