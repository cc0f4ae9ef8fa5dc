"""The inner loops of the Go engine: rules, ladders and feature planes, one source for two speeds.

Every function here uses only integers, indexing and loops. As they stand they run on Python lists,
with nothing to import and nothing to compile: that is how one position is answered. ``compiled()``
returns the same functions compiled by numba (extra ``[train]``) for NumPy arrays, about a hundred
times faster: that is how millions of training positions are read. Both give the same bytes.

A position is a tuple ``state = (color, head, nxt, libs, lsum, width)`` over a padded board. The
point in column x, row y (from the top left, 0-based) has the index ``(y + 1) * width + x + 1``,
``width = size + 1``: each row ends in one wall point, which also is the left wall of the next row.

color  EMPTY, BLACK, WHITE or WALL
head   a stone of the same chain, equal for all stones of the chain; 0 where there is no stone
nxt    the next stone of the chain, as a ring
libs   at the head: the number of liberties of the chain
lsum   at the head: the sum of the indices of its liberties, so the only liberty of a chain in
       atari is known without a search, and of two liberties the second follows from the first
"""

from __future__ import annotations

import functools
import importlib.util
import inspect
from collections.abc import MutableSequence
from typing import Any, TypeAlias

from cnnapps.core.errors import need

EMPTY, BLACK, WHITE, WALL = 0, 1, 2, 3
LADDERED = 4  # a stone in a working ladder, in the marks of read_ladders
LADDER_NODES = 500  # positions read at most for one chain; then the ladder counts as not working
LADDER_MOVES = 200  # candidate moves pending at most, which bounds the depth; then likewise
LADDER_WORK = LADDER_MOVES + 400  # length of the stack that holds them
V7_PLANES = 22
NATURE_PLANES = 48

Ints: TypeAlias = list[int]
State: TypeAlias = tuple[Ints, Ints, Ints, Ints, Ints, int]
Bytes: TypeAlias = MutableSequence[int]


# ---------------------------------------------------------------------------------------- rules
def clear(state: State, size: int) -> None:
    """Make it the empty board."""
    color, head, _, _, _, width = state
    for p in range((size + 2) * width + 1):
        color[p] = WALL
        head[p] = 0
    for y in range(size):
        for x in range(size):
            color[(y + 1) * width + x + 1] = EMPTY


def fork(state: State) -> State:
    """A copy; searches play on copies instead of undoing moves."""
    color, head, nxt, libs, lsum, width = state
    return color.copy(), head.copy(), nxt.copy(), libs.copy(), lsum.copy(), width


def put(state: State, p: int, c: int) -> None:
    """Lay a stone on an empty point and join chains; capture nothing."""
    color, head, nxt, libs, lsum, width = state
    color[p] = c
    head[p] = p
    nxt[p] = p
    count = 0
    total = 0
    h1 = h2 = h3 = 0  # opposing chains that have lost this liberty already
    for q in (p - width, p - 1, p + 1, p + width):
        k = color[q]
        if k == EMPTY:
            count += 1
            total += q
        elif k + c == 3:
            h = head[q]
            if h != h1 and h != h2 and h != h3:
                h3 = h2
                h2 = h1
                h1 = h
                libs[h] -= 1
                lsum[h] -= p
    libs[p] = count
    lsum[p] = total
    for q in (p - width, p - 1, p + 1, p + width):
        if color[q] == c:
            h = head[q]
            if h != head[p]:
                libs[h] -= 1
                lsum[h] -= p
                join(state, h, head[p])


def join(state: State, base: int, other: int) -> None:
    """Make the chain with head ``other`` part of the chain with head ``base``."""
    color, head, nxt, libs, lsum, width = state
    q = other
    while True:
        for e in (q - width, q - 1, q + 1, q + width):
            if color[e] == EMPTY and not (
                head[e - width] == base
                or head[e - 1] == base
                or head[e + 1] == base
                or head[e + width] == base
            ):
                libs[base] += 1
                lsum[base] += e
        head[q] = base  # from here on its liberties count as known
        q = nxt[q]
        if q == other:
            break
    rest = nxt[base]
    nxt[base] = nxt[other]
    nxt[other] = rest


def remove(state: State, p: int, taken: Ints, n: int) -> int:
    """Take the chain of p off the board, append its points to ``taken[:n]``, return the new n."""
    color, head, nxt, libs, lsum, width = state
    other = 3 - color[p]
    q = p
    while True:
        color[q] = EMPTY
        head[q] = 0
        taken[n] = q
        n += 1
        h1 = h2 = h3 = 0
        for r in (q - width, q - 1, q + 1, q + width):
            if color[r] == other:
                h = head[r]
                if h != h1 and h != h2 and h != h3:
                    h3 = h2
                    h2 = h1
                    h1 = h
                    libs[h] += 1
                    lsum[h] += q
        q = nxt[q]
        if q == p:
            return n


def play(state: State, p: int, c: int, taken: Ints) -> int:
    """Play colour c at the empty point p; the points that become empty go to ``taken``.

    Returns their number, negative if it was the mover's own chain (suicide).
    """
    put(state, p, c)
    color, head, _, libs, _, width = state
    other = 3 - c
    n = 0
    for q in (p - width, p - 1, p + 1, p + width):
        if color[q] == other and libs[head[q]] == 0:
            n = remove(state, q, taken, n)
    if n == 0 and libs[head[p]] == 0:
        return -remove(state, p, taken, 0)
    return n


def ko_point(state: State, p: int, n: int, taken: Ints) -> int:
    """The point banned by simple ko after ``n = play(state, p, ...)``, or 0."""
    _, head, nxt, libs, _, _ = state
    if n == 1 and nxt[p] == p and libs[head[p]] == 1:
        return taken[0]
    return 0


def legal(state: State, p: int, c: int, ko: int) -> bool:
    """Whether c may play at the point p of the board: empty, no simple ko, no suicide."""
    color, head, _, libs, _, width = state
    if color[p] != EMPTY or p == ko:
        return False
    for q in (p - width, p - 1, p + 1, p + width):
        k = color[q]
        if k == EMPTY:
            return True
        if k != WALL and (libs[head[q]] > 1) == (k == c):
            return True
    return False


# -------------------------------------------------------------------------------------- ladders
def first_liberty(state: State, p: int) -> int:
    """A liberty of the chain of p (which has one)."""
    color, _, nxt, _, _, width = state
    while True:
        for q in (p - width, p - 1, p + 1, p + width):
            if color[q] == EMPTY:
                return q
        p = nxt[p]


def reach(state: State, e: int, c: int, skip: int) -> int:
    """A lower bound for the liberties that colour c has after a move at the empty point e.

    The point ``skip`` counts as filled by the other colour, and so as no liberty.
    """
    color, head, _, libs, _, width = state
    free = 0
    best = 0
    captures = 0
    for q in (e - width, e - 1, e + 1, e + width):
        k = color[q]
        if k == EMPTY:
            if q != skip:
                free += 1
        elif k == c:
            n = libs[head[q]] - 1
            if skip != 0:
                n -= 1
            if n > best:
                best = n
        elif k != WALL and libs[head[q]] == 1 and skip == 0:
            captures += 1
    if free > best:
        best = free
    return best + captures


def candidates(state: State, p: int, work: Ints, top: int) -> int:
    """Write to ``work[top:end]`` the moves by which a chain in atari may escape; return end.

    These are its liberty and the captures of adjacent chains in atari.
    """
    color, head, nxt, libs, lsum, width = state
    other = 3 - color[p]
    work[top] = lsum[head[p]]
    end = top + 1
    q = p
    while True:
        for r in (q - width, q - 1, q + 1, q + width):
            if color[r] == other and libs[head[r]] == 1:
                m = lsum[head[r]]
                known = False
                for i in range(top, end):
                    if work[i] == m:
                        known = True
                if not known:
                    work[end] = m
                    end += 1
        q = nxt[q]
        if q == p:
            return end


def caught(state: State, p: int, nodes: Ints, work: Ints, top: int, taken: Ints) -> bool:
    """Whether the chain of p, in atari and its owner to move, is lost in a ladder.

    The owner extends or captures, and is out with three liberties or when two liberties can't be
    attacked. Captures, snapbacks and stones on the way are played out, on copies. A ko counts for
    the runner. ``nodes[0]`` is the budget of positions, ``work[top:]`` the stack of moves.
    """
    if nodes[0] <= 0 or top > LADDER_MOVES:
        return False
    nodes[0] -= 1
    color, head, _, _, lsum, _ = state
    if reach(state, lsum[head[p]], color[p], 0) >= 3:
        return False
    end = candidates(state, p, work, top)
    for i in range(top, end):  # noqa: SIM110 (numba knows no all())
        if escapes(state, p, work[i], 0, nodes, work, end, taken):
            return False
    return True


def escapes(
    state: State, p: int, m: int, ko: int, nodes: Ints, work: Ints, top: int, taken: Ints
) -> bool:
    """Whether the owner's move m saves the chain of p, which is in atari, from the ladder."""
    c = state[0][p]
    if not legal(state, m, c, ko):
        return False
    child = fork(state)
    n = play(child, m, c, taken)
    _, head, _, libs, lsum, _ = child
    if libs[head[p]] != 2:
        return libs[head[p]] > 2
    ban = ko_point(child, m, n, taken)
    a = first_liberty(child, p)
    b = lsum[head[p]] - a
    return not (
        pursue(child, p, a, b, ban, False, nodes, work, top, taken)
        or pursue(child, p, b, a, ban, False, nodes, work, top, taken)
    )


def pursue(
    state: State, p: int, m: int, rest: int, ko: int, root: bool, nodes: Ints, work: Ints, top: int,
    taken: Ints,
) -> bool:  # fmt: skip
    """Whether the attacker's move m captures the chain of p, whose liberties are m and ``rest``.

    A move that leaves a ko behind fails, except as the first move of a ladder (``root``): there the
    runner may take back at once.
    """
    c = state[0][p]
    if not legal(state, m, 3 - c, ko) or reach(state, rest, c, m) >= 3:
        return False
    child = fork(state)
    n = play(child, m, 3 - c, taken)
    if not root and ko_point(child, m, n, taken) != 0:
        return False
    return caught(child, p, nodes, work, top, taken)


def read_ladders(
    state: State, size: int, ko: int, marks: Ints, nodes: Ints, work: Ints, taken: Ints
) -> None:
    """Read all chains with one or two liberties into ``marks`` (a number for each padded point).

    At a stone: LADDERED if its chain is lost (in atari: even if its owner moves first; with two
    liberties: if the opponent does). At an empty point: bit c (1 or 2) if a move of the opponent
    there starts a working ladder against a chain of colour c.
    """
    color, head, nxt, libs, lsum, width = state
    for p in range(len(marks)):
        marks[p] = 0
    for y in range(size):
        for p in range((y + 1) * width + 1, (y + 1) * width + 1 + size):
            if head[p] != p or libs[p] > 2 or libs[p] == 0:
                continue
            lost = False
            nodes[0] = LADDER_NODES
            if libs[p] == 1:
                lost = caught(state, p, nodes, work, 0, taken)
            else:
                a = first_liberty(state, p)
                b = lsum[p] - a
                if pursue(state, p, a, b, ko, True, nodes, work, 0, taken):
                    marks[a] |= color[p]
                    lost = True
                nodes[0] = LADDER_NODES
                if pursue(state, p, b, a, ko, True, nodes, work, 0, taken):
                    marks[b] |= color[p]
                    lost = True
            if lost:
                q = p
                while True:
                    marks[q] = LADDERED
                    q = nxt[q]
                    if q == p:
                        break


# --------------------------------------------------------------------------------------- planes
def v7_planes(
    state: State, size: int, c: int, ko: int, recent: Ints, marks: Ints, marks1: Ints,
    marks2: Ints, out: Bytes,
) -> None:  # fmt: skip
    """KataGo's 22 planes for colour c to move, into ``out`` (22 * size * size zeros).

    ``recent``: the last five moves as padded points, newest first, 0 for a pass or none;
    ``marks``: read_ladders of this position, of the one before and of the one before that.
    """
    color, head, _, libs, _, width = state
    area = size * size
    other = 3 - c
    i = 0
    for y in range(size):
        for p in range((y + 1) * width + 1, (y + 1) * width + 1 + size):
            out[i] = 1
            k = color[p]
            if k == EMPTY:
                if marks[p] & other:
                    out[17 * area + i] = 1
            else:
                if k == c:
                    out[area + i] = 1
                else:
                    out[2 * area + i] = 1
                n = libs[head[p]]
                if 1 <= n <= 3:
                    out[(2 + n) * area + i] = 1
            if marks[p] == LADDERED:
                out[14 * area + i] = 1
            if marks1[p] == LADDERED:
                out[15 * area + i] = 1
            if marks2[p] == LADDERED:
                out[16 * area + i] = 1
            i += 1
    if ko != 0:
        out[6 * area + flat(ko, width)] = 1
    for j in range(5):
        if recent[j] != 0:
            out[(9 + j) * area + flat(recent[j], width)] = 1


def flat(p: int, width: int) -> int:
    """Padded index -> row * size + column."""
    return (p // width - 1) * (width - 1) + p % width - 1


def chain_size(state: State, p: int, cap: int) -> int:
    """The number of stones in the chain of p, at most ``cap``."""
    nxt = state[2]
    n = 1
    q = nxt[p]
    while q != p and n < cap:
        n += 1
        q = nxt[q]
    return n


def after_move(state: State, p: int, c: int, seen: Ints, stamp: int) -> int:
    """What a legal move of c at p does: ``captured + 8 * liberties + 128 * stones``.

    captured: opposing stones taken, at most 7; liberties: of the mover's new chain after the
    captures, at most 8; stones: of that chain, at most 8. ``seen`` remembers counted points by
    ``stamp``, a number not used before.
    """
    color, head, nxt, libs, lsum, width = state
    captured = 0
    stones = 1
    free = 0
    h1 = h2 = h3 = h4 = 0  # distinct chains around p, own and captured
    own = 0  # how many of them are own
    one = 0  # the last own one
    for q in (p - width, p - 1, p + 1, p + width):
        k = color[q]
        if k == EMPTY:
            free += 1
        elif k != WALL:
            h = head[q]
            if (k == c or libs[h] == 1) and h != h1 and h != h2 and h != h3 and h != h4:
                h4 = h3
                h3 = h2
                h2 = h1
                h1 = h
                if k == c:
                    own += 1
                    one = h
                    stones += chain_size(state, q, 8)
                else:
                    captured += chain_size(state, q, 7)
    captured = min(captured, 7)
    stones = min(stones, 8)
    if own == 0:
        for q in (p - width, p - 1, p + 1, p + width):
            if captured and color[q] == 3 - c and libs[head[q]] == 1:
                free += 1
        return captured + 8 * free + 128 * stones
    if own == 1 and captured == 0:
        n = libs[one] - 1
        for q in (p - width, p - 1, p + 1, p + width):
            if color[q] == EMPTY and not (
                head[q - width] == one
                or head[q - 1] == one
                or head[q + 1] == one
                or head[q + width] == one
            ):
                n += 1
        return captured + 8 * min(n, 8) + 128 * stones
    # Joins or captures: walk the stones of the new chain; a captured stone is an empty point.
    n = 0
    seen[p] = stamp
    for start in (p, p - width, p - 1, p + 1, p + width):
        if start != p and color[start] != c:
            continue
        q = start
        while n < 8:
            for r in (q - width, q - 1, q + 1, q + width):
                k = color[r]
                if seen[r] != stamp and (
                    k == EMPTY or (k == 3 - c and libs[head[r]] == 1 and lsum[head[r]] == p)
                ):
                    seen[r] = stamp
                    n += 1
            if q == p:
                break
            q = nxt[q]
            if q == start:
                break
    return captured + 8 * min(n, 8) + 128 * stones


def own_eye(state: State, p: int, c: int) -> bool:
    """All neighbours own stones, and fewer than two opposing diagonals (one at the edge)."""
    color, _, _, _, _, width = state
    hostile = 0
    for q in (p - width, p - 1, p + 1, p + width):
        if color[q] == WALL:
            hostile = 1
        elif color[q] != c:
            return False
    for q in (p - width - 1, p - width + 1, p + width - 1, p + width + 1):
        if color[q] == 3 - c:
            hostile += 1
    return hostile < 2


def nature_planes(
    state: State, size: int, c: int, ko: int, played: Ints, number: int, out: Bytes, seen: Ints,
    nodes: Ints, work: Ints, taken: Ints,
) -> None:  # fmt: skip
    """The 48 planes of Silver et al. 2016 for colour c to move, into ``out`` (48 * area zeros).

    ``played[p]``: the number (from 1) of the move that laid the stone at p, far below zero for
    set-up stones; ``number``: how many moves have been played; ``seen``: zeros.
    """
    color, head, _, libs, lsum, width = state
    area = size * size
    i = 0
    for y in range(size):
        for p in range((y + 1) * width + 1, (y + 1) * width + 1 + size):
            out[3 * area + i] = 1
            k = color[p]
            if k != EMPTY:
                if k == c:
                    out[i] = 1
                else:
                    out[area + i] = 1
                out[(4 + min(number - played[p], 7)) * area + i] = 1
                n = libs[head[p]]
                if n > 0:
                    out[(11 + min(n, 8)) * area + i] = 1
                if head[p] == p and n <= 2:
                    if k == c and n == 1:
                        mark_escapes(state, p, ko, out, 45 * area, nodes, work, taken)
                    elif k != c and n == 2:
                        a = first_liberty(state, p)
                        b = lsum[p] - a
                        mark_capture(state, p, a, b, ko, out, 44 * area, nodes, work, taken)
                        mark_capture(state, p, b, a, ko, out, 44 * area, nodes, work, taken)
            else:
                out[2 * area + i] = 1
                if legal(state, p, c, ko):
                    code = after_move(state, p, c, seen, p)
                    n = (code >> 3) & 15
                    out[(20 + (code & 7)) * area + i] = 1
                    if n == 1:
                        out[(27 + (code >> 7)) * area + i] = 1
                    out[(35 + n) * area + i] = 1
                    if not own_eye(state, p, c):
                        out[46 * area + i] = 1
            i += 1


def mark_capture(
    state: State, p: int, m: int, rest: int, ko: int, out: Bytes, at: int, nodes: Ints, work: Ints,
    taken: Ints,
) -> None:  # fmt: skip
    """Set the point m in the plane at ``out[at:]`` if m captures the chain of p in a ladder."""
    nodes[0] = LADDER_NODES
    if pursue(state, p, m, rest, ko, True, nodes, work, 0, taken):
        out[at + flat(m, state[5])] = 1


def mark_escapes(
    state: State, p: int, ko: int, out: Bytes, at: int, nodes: Ints, work: Ints, taken: Ints
) -> None:
    """Set in the plane at ``out[at:]`` the moves that save the chain of p, which is in atari."""
    end = candidates(state, p, work, 0)
    for i in range(end):
        nodes[0] = LADDER_NODES
        if escapes(state, p, work[i], ko, nodes, work, end, taken):
            out[at + flat(work[i], state[5])] = 1


# --------------------------------------------------------------------- games, for training data
def replay(
    state: State, size: int, moves: Ints, begin: int, end: int, first: int, ko: int, played: Ints,
    taken: Ints,
) -> int:  # fmt: skip
    """Play moves[begin:end] (row * size + column; size * size = pass), colours in turn.

    ``moves[first]`` is Black's first move. Returns the new ko point. The moves must be legal.
    """
    width = state[5]
    for i in range(begin, end):
        ko = 0
        m = moves[i]
        if m != size * size:
            p = (m // size + 1) * width + m % size + 1
            n = play(state, p, 1 + (i - first) % 2, taken)
            ko = ko_point(state, p, n, taken)
            played[p] = i - first + 1
    return ko


def first_illegal(
    state: State, size: int, moves: Ints, first: int, end: int, played: Ints, taken: Ints
) -> int:
    """The number of legal moves before the first illegal one (simple ko, no suicide)."""
    clear(state, size)
    width = state[5]
    ko = 0
    for i in range(first, end):
        m = moves[i]
        if m < 0 or m > size * size:
            return i - first
        if m < size * size:
            p = (m // size + 1) * width + m % size + 1
            if not legal(state, p, 1 + (i - first) % 2, ko):
                return i - first
        ko = replay(state, size, moves, i, i + 1, first, ko, played, taken)
    return end - first


def legal_points(state: State, size: int, c: int, ko: int, out: Bytes, at: int) -> None:
    """Set ``out[at:]`` (area zeros) to 1 where c may play."""
    width = state[5]
    for y in range(size):
        for p in range((y + 1) * width + 1, (y + 1) * width + 1 + size):
            if legal(state, p, c, ko):
                out[at] = 1
            at += 1


def game_v7(
    state: State, size: int, moves: Ints, first: int, number: int, played: Ints, recent: Ints,
    marks: Ints, marks1: Ints, marks2: Ints, out: Bytes, allowed: Bytes, nodes: Ints, work: Ints,
    taken: Ints,
) -> None:  # fmt: skip
    """v7_planes and legal_points of the game ``moves[first:]`` after ``number`` moves."""
    clear(state, size)
    width = state[5]
    ko = 0
    done = 0
    for back in (2, 1, 0):
        upto = max(number - back, 0)
        ko = replay(state, size, moves, first + done, first + upto, first, ko, played, taken)
        done = upto
        marks2, marks1, marks = marks1, marks, marks2
        read_ladders(state, size, ko, marks, nodes, work, taken)
    for j in range(5):
        recent[j] = 0
        if j < number and moves[first + number - 1 - j] < size * size:
            m = moves[first + number - 1 - j]
            recent[j] = (m // size + 1) * width + m % size + 1
    c = 1 + number % 2
    v7_planes(state, size, c, ko, recent, marks, marks1, marks2, out)
    legal_points(state, size, c, ko, allowed, 0)


def game_nature(
    state: State, size: int, moves: Ints, first: int, number: int, played: Ints, seen: Ints,
    out: Bytes, allowed: Bytes, nodes: Ints, work: Ints, taken: Ints,
) -> None:  # fmt: skip
    """nature_planes and legal_points of the game ``moves[first:]`` after ``number`` moves."""
    clear(state, size)
    ko = replay(state, size, moves, first, first + number, first, 0, played, taken)
    for p in range(len(seen)):
        seen[p] = 0
    c = 1 + number % 2
    nature_planes(state, size, c, ko, played, number, out, seen, nodes, work, taken)
    legal_points(state, size, c, ko, allowed, 0)


@functools.cache
def compiled() -> Any:
    """This module once more, its functions compiled by numba for int32 and uint8 arrays."""
    numba = need("numba", "reading training positions")
    spec = importlib.util.find_spec(__name__)
    assert spec is not None and spec.loader is not None
    twin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(twin)
    # Functions find each other in the twin's globals when numba compiles them, at the first call.
    for name, function in list(vars(twin).items()):
        if inspect.isfunction(function) and function.__module__ == __name__:
            setattr(twin, name, numba.njit(function))  # cache=True crashes on mutual recursion
    return twin
