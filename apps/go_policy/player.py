"""A player made of a policy: which move, when to pass, when to resign, who has won.

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

__all__ = ["RESIGN", "Player"]

RESIGN = -2
"""In place of a point: gives up."""
GUESSES = 40
"""Random games behind the guess which areas are settled, at every move of the second half."""
DOUBT = 0.2
"""A chain counts as dead there when it ends as the opponent's so much more often than not."""
LATE, LATE_AFTER_PASS = 0.35, 0.2
"""Settled areas are looked for once so many moves (or stones) a point are there."""
URGENT = 0.5
"""A move in a settled area is played all the same when the net is so sure and the last move was
no pass: it answers a threat."""
WORTH = 0.02
"""Less likely moves are not played once the board is settled: pass."""
LAST = 3
"""After so many moves a point every move is a pass: no game is endless."""

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Player:
    """``temperature`` 0 takes the favourite; above, moves are drawn from p^(1/T), as ``generator``
    wants. ``rules``: "japanese" or "chinese", for the count. ``resign``: behind by so many points
    by its own count at three own turns of the second half; None never.
    """

    predictor: GoPredictor
    rules: str = "japanese"
    temperature: float = 0.0
    resign: float | None = None
    generator: Random = field(default_factory=lambda: Random(0))
    behind: int = 0
    """Own turns in a row at which it would give up."""

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
        """The point to play for the side to play, PASS or RESIGN. ``banned`` points are left out,
        ``temperature`` is for this move only.
        """
        area = board.size**2
        if board.move_number >= LAST * area:
            return PASS
        color = board.to_play
        p = self.policy(board, komi)[:area].copy()
        p[[*self._senseless(board, color), *(i for i in banned if i != PASS)]] = 0
        passed = bool(board.history()) and board.history()[0].point == PASS
        filled = max(board.move_number, area - board.stones().count(EMPTY))  # set-up stones too
        late = filled >= (LATE_AFTER_PASS if passed else LATE) * area
        heat = self.temperature if temperature is None else temperature
        if late:
            owners = ownership(board, playouts=GUESSES)
            if self._gives_up(board, komi, color, owners):
                return RESIGN
            owner, _ = territory(board, owners, doubt=DOUBT)
            for i in range(area):
                if owner[i] != EMPTY and (passed or p[i] < URGENT):
                    p[i] = 0
            p[p < WORTH] = 0
        strict = board.copy()
        strict.superko = True
        while p.any():
            point = int(p.argmax()) if heat <= 0 else self._draw(p, heat)
            if strict.why_illegal(point, color) is None:
                return point
            p[point] = 0
        return PASS

    def _draw(self, p: Floats, heat: float) -> int:
        weights = (p / p.max()) ** (1 / heat)
        return self.generator.choices(range(len(p)), weights.tolist())[0]

    def _senseless(self, board: Board, color: int) -> list[int]:
        """Own eyes, and points in areas whose owner can't change."""
        out = set(own_eyes(board, color))
        for side in (BLACK, WHITE):
            out |= alive(board, side)[1]
        return list(out)

    def _gives_up(self, board: Board, komi: float, color: int, owners: Floats) -> bool:
        if self.resign is None:
            return False
        score = count(board, owners, komi=komi, rules=self.rules).score
        lost = (score if color == BLACK else -score) < -self.resign
        self.behind = self.behind + 1 if lost else 0
        return self.behind >= 3

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
