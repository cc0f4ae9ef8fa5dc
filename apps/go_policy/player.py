"""A player made of a policy: which move, when to pass, who has won.

The net says what a strong player would play, but it was taught on games that end before the last
worthless move, so it knows no end. What it lacks is added here as rules, all of them local and
cheap: no own eyes filled, no stones into areas where life is certain (Benson), none into settled
territory without an urgent reason, no position repeated.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from random import Random

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy import kernels
from cnnapps.apps.go_policy.board import BLACK, EMPTY, PASS, WHITE, Board
from cnnapps.apps.go_policy.predict import KOMI, GoPredictor, Position
from cnnapps.apps.go_policy.territory import (
    Count,
    alive,
    count,
    neighbours,
    ownership,
    territory,
)

__all__ = ["Player"]

GUESSES = 40
"""Random games behind the guess which areas are settled, at every move of the second half."""
DOUBT = 0.2
"""A chain counts as dead there when it ends as the opponent's so much more often than not."""
LATE, LATE_AFTER_PASS = 0.35, 0.2
"""Settled areas are looked for once so many moves (or stones) a point are there."""
URGENT = 0.5
"""A move in a settled area is played all the same when the net is so sure and the last move was
no pass: it answers a threat."""
WORTH = 0.0005
"""Less likely moves, and moves less likely than the pass, are not played late in the game. It is so
little because the net, which knows no end, likes worthless moves in settled areas better."""
RESIGN = 40.0
"""Points behind on 19x19 in all of its own games to the end before it resigns, fewer on smaller
boards (20 on 9x9); 0: never."""
HOPELESS_FROM, HOPELESS_EVERY, HOPELESS_MOVES = 0.4, 10, 120
"""It asks itself so from so many moves a point on, at every so many moves, and plays on so far."""
HOPELESS_HEATS = (0.0, 0.5, 0.5, 0.5)
"""The temperatures of these games: its favourite moves, then drawn ones."""
LAST = 3
"""After so many moves a point every move is a pass: no game is endless."""

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Player:
    """``temperature`` 0 takes the favourite; above, moves are drawn from p^(1/T), as ``generator``
    wants. ``rules``: as ``territory.count`` takes them. ``resign``: see ``hopeless``.
    """

    predictor: GoPredictor
    rules: str = "japanese"
    temperature: float = 0.0
    generator: Random = field(default_factory=lambda: Random(0))
    resign: float = RESIGN

    def policy(self, board: Board, komi: float = KOMI) -> Floats:
        """(area + 1,) probabilities of the side to play, the last one a pass."""
        return self.predictor.probabilities([Position(board, komi)])[0]

    def choose(
        self,
        board: Board,
        komi: float = KOMI,
        *,
        temperature: float | None = None,
        banned: Collection[int] = (),
    ) -> int:
        """The point to play for the side to play, or PASS. ``banned`` points are left out,
        ``temperature`` is for this move only.
        """
        area = board.size**2
        if board.move_number >= LAST * area:
            return PASS
        color = board.to_play
        p, pass_p = np.split(self.policy(board, komi).copy(), [area])
        p[[*self._senseless(board, color), *(i for i in banned if i != PASS)]] = 0
        passed = bool(board.history()) and board.history()[0].point == PASS
        filled = max(board.move_number, area - board.stones().count(EMPTY))  # set-up stones too
        late = filled >= (LATE_AFTER_PASS if passed else LATE) * area
        heat = self.temperature if temperature is None else temperature
        if late:
            owners = ownership(board, playouts=GUESSES)
            owner, _ = territory(board, owners, doubt=DOUBT)
            for i in range(area):
                if owner[i] != EMPTY and (passed or p[i] < URGENT):
                    p[i] = 0
            p[p < max(WORTH, pass_p[0])] = 0
        strict = board.copy()
        strict.superko = True
        while p.any():
            point = int(p.argmax()) if heat <= 0 else self._draw(p, heat)
            if strict.why_illegal(point, color) is None:
                return point
            p[point] = 0
        return PASS

    def _draw(self, p: Floats, heat: float) -> int:
        return _drawn(p, heat, self.generator)

    def hopeless(self, board: Board, komi: float = KOMI) -> bool:
        """Whether the side to play should resign: from the middle of the game on, at every tenth
        move, it plays four games against itself from here and is ``resign`` points behind in all.

        A policy does not know who is ahead, and a count of an open board is worth little
        (docs/go-policy.md); after 120 more of the net's own moves most groups are alive or dead.
        """
        due = board.move_number % HOPELESS_EVERY in (0, 1)  # once for each colour
        if self.resign <= 0 or not due or board.move_number < HOPELESS_FROM * board.size**2:
            return False
        sign = 1 if board.to_play == WHITE else -1
        generator = Random(board.zobrist)
        for heat in HOPELESS_HEATS:
            end = self._played_on(board, komi, heat, generator)
            score = count(end, ownership(end, playouts=GUESSES), komi=komi, rules=self.rules)
            if sign * score.score < self.resign * board.size / 19:
                return False
        return True

    def _played_on(self, board: Board, komi: float, heat: float, generator: Random) -> Board:
        """The board after some more moves of the net for both sides, one look at each."""
        end, area = board.copy(), board.size**2
        for _ in range(HOPELESS_MOVES):
            answer = self.predictor.probabilities([Position(end, komi)], symmetries=1)[0]
            p, pass_p = answer[:area].copy(), answer[area]
            p[own_eyes(end, end.to_play)] = 0
            passed = bool(end.history()) and end.history()[0].point == PASS
            if not p.any() or pass_p > p.max():
                if passed:
                    break
                end.play(PASS)
            else:
                end.play(int(p.argmax()) if heat <= 0 else _drawn(p, heat, generator))
        return end

    def _senseless(self, board: Board, color: int) -> list[int]:
        """Own eyes, and points in areas whose owner can't change."""
        out = set(own_eyes(board, color))
        for side in (BLACK, WHITE):
            out |= alive(board, side)[1]
        return list(out)

    def clean_up(self, board: Board, komi: float = KOMI) -> int:
        """A move that goes on capturing a dead chain of the opponent, or PASS."""
        area, color = board.size**2, board.to_play
        dead = {i for i in self.count(board, komi).dead if board[i] != color}
        p = self.policy(board, komi)[:area].copy()
        p[own_eyes(board, color)] = 0
        beside = {q for i in dead for q in neighbours(board.size)[i]}
        p[[i for i in range(area) if i not in beside]] = 0
        strict = board.copy()
        strict.superko = True
        for point in np.argsort(-p, kind="stable").tolist():
            if p[point] > 0 and strict.why_illegal(point) is None:
                return int(point)
        return PASS

    def count(self, board: Board, komi: float = KOMI) -> Count:
        """The score of a finished game."""
        return count(board, self.owners(board), komi=komi, rules=self.rules)

    def owners(self, board: Board) -> Floats:
        """Who owns each point in the end, -1 (White) to 1 (Black)."""
        return ownership(board)


def _drawn(p: Floats, heat: float, generator: Random) -> int:
    weights = (p / p.max()) ** (1 / heat)
    return generator.choices(range(len(p)), weights.tolist())[0]


def own_eyes(board: Board, color: int) -> list[int]:
    """Eyes of ``color``. Filling one never saves a chain: a chain in atari around it has no other
    liberty, else it would border an empty diagonal.
    """
    state = board.frames(1)[0].state
    stones, width = state[0], state[5]
    return [
        kernels.flat(p, width)
        for y in range(1, board.size + 1)
        for p in range(y * width + 1, (y + 1) * width)
        if stones[p] == EMPTY and kernels.own_eye(state, p, color)
    ]
