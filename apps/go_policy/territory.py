"""Who owns which point: unconditional life, random play to the end, and the score.

``alive``      chains and regions that no sequence of moves can take (Benson, "Life in the Game of
               Go", Information Sciences 10, 1976): proof, but seldom the whole board
``ownership``  the mean owner of each point after many random games from here (Bruegmann, "Monte
               Carlo Go", 1993): an estimate for the rest
``Count``      dead stones, territory and the score under area or territory rules from the two
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy import kernels
from cnnapps.apps.go_policy.board import BLACK, EMPTY, WHITE, Board
from cnnapps.apps.go_policy.kernels import WALL, State

__all__ = [
    "HANDICAP_BONUS",
    "PLAYOUTS",
    "Count",
    "alive",
    "count",
    "neighbours",
    "ownership",
    "territory",
]

PLAYOUTS = 100
"""Random games behind an estimate: a standard error of at most 0.1 a point."""

URGENT = 0.9
"""How often a random game answers an atari (see ``urgent``) instead of moving at random."""

HANDICAP_BONUS = {"chinese": "N", "aga": "N-1", "tromp-taylor": "0"}
"""Rules that count areas, and White's points for N handicap stones: they are areas as well."""

Floats = NDArray[np.float64]


# ------------------------------------------------------------------------------- certain: Benson
def alive(board: Board, color: int) -> tuple[set[int], set[int]]:
    """The stones of ``color`` that can't be captured though it passes for ever, and the points
    that they enclose: empty ones and opposing stones in regions where nobody else can live.

    Benson's algorithm, with the region rule that all empty points must be liberties of a chain
    for the region to be vital to it.
    """
    size, area = board.size, board.size**2
    stones = board.stones()
    near = neighbours(size)
    chain = [-1] * area  # number of the chain of ``color`` at a point
    chains: list[list[int]] = []
    for i in range(area):
        if stones[i] == color and chain[i] < 0:
            points = board.chain(i)
            for q in points:
                chain[q] = len(chains)
            chains.append(points)
    regions: list[tuple[list[int], set[int], set[int]]] = []  # points, chains around, vital to
    seen = [False] * area
    for i in range(area):
        if stones[i] == color or seen[i]:
            continue
        seen[i] = True
        region, vital = [i], None
        around: set[int] = set()
        for q in region:  # grows while we walk
            touching = set()
            for r in near[q]:
                if stones[r] == color:
                    touching.add(chain[r])
                elif not seen[r]:
                    seen[r] = True
                    region.append(r)
            around |= touching
            if stones[q] == EMPTY:
                vital = touching if vital is None else vital & touching
        regions.append((region, around, vital or set()))
    living = set(range(len(chains)))
    left = list(range(len(regions)))
    while True:
        eyes = [0] * len(chains)
        for k in left:
            for c in regions[k][2]:
                eyes[c] += 1
        gone = {c for c in living if eyes[c] < 2}
        if not gone:
            break
        living -= gone
        left = [k for k in left if not regions[k][1] & gone]
    safe = {q for c in living for q in chains[c]}
    inside: set[int] = set()
    for k in left:
        region, around, vital = regions[k]
        if around and around <= living and (vital or _no_room(region, stones, near)):
            inside.update(region)
    return safe, inside


def _no_room(region: Iterable[int], stones: list[int], near: list[list[int]]) -> bool:
    """Whether no two eyes fit into a region: at most two of its points don't touch its border."""
    points = set(region)
    deep = [q for q in points if all(r in points for r in near[q])]
    return len(deep) < 2 or (len(deep) == 2 and deep[1] in near[deep[0]])


_NEAR: dict[int, list[list[int]]] = {}


def neighbours(size: int) -> list[list[int]]:
    """For each point the two to four points beside it."""
    if size not in _NEAR:
        _NEAR[size] = [
            [
                r * size + c
                for r, c in ((y - 1, x), (y, x - 1), (y, x + 1), (y + 1, x))
                if 0 <= r < size and 0 <= c < size
            ]
            for y in range(size)
            for x in range(size)
        ]
    return _NEAR[size]


# -------------------------------------------------------------------------- estimate: playing out
def ownership(
    board: Board, *, playouts: int = PLAYOUTS, color: int | None = None, seed: int = 0
) -> Floats:
    """(size * size,) from -1 (White's in every random game) to 1 (Black's): stones and eyes at the
    end of ``playouts`` random games in which nobody fills an own eye; ``color`` moves first, in
    every second game the other. Deterministic: the generator starts from position and ``seed``.
    """
    size = board.size
    frame = board.frames(1)[0]
    first = board.to_play if color is None else color
    generator = random.Random((board.zobrist << 8) + seed)
    total = [0] * len(frame.state[0])
    for i in range(playouts):
        state = kernels.fork(frame.state)
        mover = first if i % 2 == 0 else 3 - first
        playout(state, size, mover, frame.ko if mover == board.to_play else 0, generator)
        _add_owners(state, size, total)
    width = size + 1
    rows = [total[y * width + 1 : (y + 1) * width] for y in range(1, width)]
    return np.array(rows, np.float64).ravel() / max(playouts, 1)


def playout(state: State, size: int, c: int, ko: int, generator: random.Random) -> None:
    """Play ``state`` out, colour c first, until neither has a move that fills no own eye: mostly at
    random, but most ataris are answered.
    """
    color = state[0]
    empty = [p for p, k in enumerate(color) if k == EMPTY]
    taken = [0] * len(color)
    draw = generator.random
    passes = last = 0
    for _ in range(3 * size * size):
        p = urgent(state, last, c, ko) if last and draw() < URGENT else 0
        if p:
            i = empty.index(p)
            empty[i] = empty[-1]
            empty.pop()
        else:
            p = _random_move(state, c, ko, empty, generator)
        if not p:
            passes += 1
            if passes == 2:
                return
            ko = last = 0
            c = 3 - c
            continue
        passes = 0
        last = p
        count = kernels.play(state, p, c, taken)
        ko = kernels.ko_point(state, p, count, taken) if count == 1 else 0
        if count:
            empty.extend(taken[: abs(count)])
        c = 3 - c


def _random_move(state: State, c: int, ko: int, empty: list[int], generator: random.Random) -> int:
    """A legal move of colour c that fills no own eye, taken out of ``empty``; 0 if none is left."""
    color, head, _, libs, _, width = state
    n = len(empty)
    while n:
        i = int(generator.random() * n)
        p = empty[i]
        n -= 1
        good = False
        if p != ko:
            own = 0  # own neighbours; the wall counts
            for q in (p - width, p - 1, p + 1, p + width):
                k = color[q]
                if k == EMPTY:
                    good = True
                    break
                if k in (c, WALL):
                    own += 1
                    good = good or (k == c and libs[head[q]] > 1)
                elif libs[head[q]] == 1:
                    good = True
            if own == 4 and good:
                good = not kernels.own_eye(state, p, c)
        if good:
            empty[i] = empty[-1]
            empty.pop()
            return p
        empty[i] = empty[n]  # out of this draw
        empty[n] = p
    return 0


def urgent(state: State, last: int, c: int, ko: int) -> int:
    """The answer of colour c to the stone just laid at ``last``: take its chain if it is in atari,
    else save an own chain that it put into atari; 0 if there is neither.
    """
    color, head, _, libs, lsum, width = state
    if color[last] == 3 - c and libs[head[last]] == 1:
        p = lsum[head[last]]
        if kernels.legal(state, p, c, ko):
            return p
    for q in (last - width, last - 1, last + 1, last + width):
        if color[q] == c and libs[head[q]] == 1:
            p = lsum[head[q]]
            if kernels.legal(state, p, c, ko) and kernels.reach(state, p, c, 0) >= 2:
                return p
    return 0


def _add_owners(state: State, size: int, total: list[int]) -> None:
    color, width = state[0], state[5]
    for y in range(1, size + 1):
        for p in range(y * width + 1, (y + 1) * width):
            k = color[p]
            if k == BLACK:
                total[p] += 1
            elif k == WHITE:
                total[p] -= 1
            else:
                around = {color[q] for q in (p - width, p - 1, p + 1, p + width)}
                if BLACK in around and WHITE not in around:
                    total[p] += 1
                elif WHITE in around and BLACK not in around:
                    total[p] -= 1


# ----------------------------------------------------------------------------------------- score
@dataclass(frozen=True, slots=True)
class Count:
    """A board counted. ``owner``: for each point BLACK, WHITE or EMPTY (nobody's, or a seki's);
    ``dead``: stones that count as captured; ``score``: points of Black minus White's, with komi.
    """

    owner: list[int]
    dead: frozenset[int]
    score: float

    def __str__(self) -> str:
        """As GTP's final_score: "B+3.5", "W+12", "0"."""
        if self.score == 0:
            return "0"
        return f"{'B' if self.score > 0 else 'W'}+{abs(self.score):g}"


def territory(
    board: Board, owners: Floats, *, doubt: float = 0.0
) -> tuple[list[int], frozenset[int]]:
    """The owner of each point and the dead stones, as ``owners`` (see ``ownership``) suggest.

    A chain is dead if its points belong to the other side by more than ``doubt`` on average. Empty
    points (and dead stones) that only one colour's living chains surround are that colour's;
    others, EMPTY: dame, or not settled.
    """
    area = board.size**2
    stones = board.stones()
    owner = list(stones)
    dead: set[int] = set()
    seen: set[int] = set()
    for i in range(area):
        if stones[i] != EMPTY and i not in seen:
            chain = board.chain(i)
            seen.update(chain)
            value = sum(owners[q] for q in chain) / len(chain)
            if (value if stones[i] == BLACK else -value) < -doubt:
                dead.update(chain)
    near = neighbours(board.size)
    open_points = [i for i in range(area) if stones[i] == EMPTY or i in dead]
    seen = set()
    for i in open_points:
        if i in seen:
            continue
        seen.add(i)
        region = [i]
        around = set()
        for q in region:  # grows while we walk
            for r in near[q]:
                if stones[r] != EMPTY and r not in dead:
                    around.add(stones[r])
                elif r not in seen:
                    seen.add(r)
                    region.append(r)
        whose = around.pop() if len(around) == 1 else EMPTY
        for q in region:
            owner[q] = whose if stones[q] == EMPTY or whose == 3 - stones[q] else stones[q]
    dead = {q for q in dead if owner[q] != stones[q]}
    return owner, frozenset(dead)


def count(board: Board, owners: Floats, *, komi: float, rules: str) -> Count:
    """The score as the board stands, dead stones taken off as ``owners`` says.

    ``rules``: "japanese" counts territory and prisoners (points in a seki too: nobody looks for
    one); those in ``HANDICAP_BONUS`` count stones and territory.
    """
    owner, dead = territory(board, owners)
    stones = board.stones()
    sign = {EMPTY: 0, BLACK: 1, WHITE: -1}
    if rules in HANDICAP_BONUS:
        given = board.handicap()
        bonus = {"N": given, "N-1": max(given - 1, 0), "0": 0}[HANDICAP_BONUS[rules]]
        score = float(sum(sign[who] for who in owner) - bonus)
    else:
        points = sum(sign[who] for i, who in enumerate(owner) if stones[i] == EMPTY or i in dead)
        taken = board.prisoners(WHITE) - board.prisoners(BLACK)
        fallen = sum(-sign[stones[i]] for i in dead)
        score = float(points + taken + fallen)
    return Count(owner, dead, score - komi)
