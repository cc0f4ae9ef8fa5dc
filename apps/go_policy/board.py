"""The board and the rules of Go: captures, ko, superko, suicide, set-up, undo.

Points are ``row * size + column`` from the top left (SGF's order), PASS is -1; colours are BLACK
and WHITE of ``kernels``. Vertices are written as in GTP ("Q16": columns skip I, row 1 at the
bottom) or SGF ("pd").
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from cnnapps.apps.go_policy import kernels
from cnnapps.apps.go_policy.kernels import BLACK, EMPTY, WALL, WHITE
from cnnapps.core.errors import InputError

__all__ = [
    "BLACK",
    "EMPTY",
    "PASS",
    "WHITE",
    "Board",
    "Move",
    "color_name",
    "from_sgf",
    "from_vertex",
    "handicap_points",
    "to_sgf",
    "to_vertex",
]

PASS = -1
MIN_SIZE, MAX_SIZE = 2, 25
COLUMNS = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
SET_UP = -1000  # "move number" of a stone that nobody played


class Move(NamedTuple):
    """A stone or a pass: ``color``, and ``point`` or PASS."""

    color: int
    point: int


@dataclass(slots=True)
class _Frame:
    """A position with what the rules and planes need of its past. Frames in the past don't change,
    except that ``marks`` is filled in when somebody asks for it."""

    state: kernels.State
    to_play: int
    played: list[int]  # padded point -> number of the move that laid the stone, or SET_UP
    ko: int = 0  # padded point that simple ko bans, or 0
    number: int = 0  # moves and passes played so far
    since: int = 0  # ... since the last set-up: how far back the history reaches
    zobrist: int = 0
    prisoners: tuple[int, int, int] = (0, 0, 0)  # captured stones, by their colour
    marks: list[int] | None = None  # kernels.read_ladders of this position

    def child(self) -> _Frame:
        return replace(self, state=kernels.fork(self.state), played=self.played.copy(), marks=None)


class Board:
    """A game in progress. Copying is cheap, undo is exact.

    >>> board = Board()
    >>> board.play(from_vertex("Q16", 19))
    []
    >>> board.to_play == WHITE
    True

    ``superko``: a move may not recreate any earlier position (positional superko); otherwise only
    the immediate recapture of a ko is forbidden. ``suicide``: a move may take its own chain of two
    or more stones off the board (a single stone never may: that would be a pass).
    """

    def __init__(self, size: int = 19, *, superko: bool = False, suicide: bool = False) -> None:
        if not MIN_SIZE <= size <= MAX_SIZE:
            raise InputError("board size", f"{size} is not between {MIN_SIZE} and {MAX_SIZE}")
        self.size = size
        self.superko = superko
        self.suicide = suicide
        self.moves: list[Move] = []
        self._width = size + 1
        state = _new_state(size)
        self._now = _Frame(state, BLACK, [SET_UP] * len(state[0]))
        self._past: list[_Frame] = []

    # ------------------------------------------------------------------------------ looking
    @property
    def to_play(self) -> int:
        """BLACK or WHITE."""
        return self._now.to_play

    @to_play.setter
    def to_play(self, color: int) -> None:
        self._now.to_play = _checked(color)

    @property
    def move_number(self) -> int:
        """Moves and passes played so far."""
        return self._now.number

    @property
    def ko(self) -> int:
        """The point that simple ko bans now, or PASS."""
        return kernels.flat(self._now.ko, self._width) if self._now.ko else PASS

    @property
    def zobrist(self) -> int:
        """64-bit hash of the stones (not of ko or who is to play)."""
        return self._now.zobrist

    def prisoners(self, color: int) -> int:
        """How many stones of ``color`` have been captured."""
        return self._now.prisoners[_checked(color)]

    def __getitem__(self, point: int) -> int:
        """EMPTY, BLACK or WHITE."""
        return self._now.state[0][self._padded(point)]

    def stones(self) -> list[int]:
        """EMPTY, BLACK or WHITE for each point, row by row."""
        color, width = self._now.state[0], self._width
        return [k for y in range(1, width) for k in color[y * width + 1 : (y + 1) * width]]

    def chain(self, point: int) -> list[int]:
        """The points of the chain at ``point``, unordered; empty for an empty point."""
        return [kernels.flat(p, self._width) for p in self._ring(self._padded(point))]

    def liberties(self, point: int) -> int:
        """The number of liberties of the chain at ``point`` (0 for an empty point)."""
        _, head, _, libs, _, _ = self._now.state
        p = self._padded(point)
        return libs[head[p]] if head[p] else 0

    def __str__(self) -> str:
        """A diagram, Black X, White O."""
        rows = []
        for y in range(self.size):
            stones = " ".join(".XO"[self[y * self.size + x]] for x in range(self.size))
            rows.append(f"{self.size - y:2d} {stones}")
        return "\n".join([*rows, "   " + " ".join(COLUMNS[: self.size])])

    # ------------------------------------------------------------------------------ legality
    def why_illegal(
        self, point: int, color: int | None = None, *, suicide: bool | None = None
    ) -> str | None:
        """None if ``color`` (default: to play) may move at ``point``, else the rule it breaks.

        ``suicide``: whether it is allowed, if not as the board has it.
        """
        if point == PASS:
            return None
        c = self.to_play if color is None else _checked(color)
        p = self._padded(point)
        if self._now.state[0][p] != EMPTY:
            return "the point is occupied"
        if p == self._now.ko and not self.superko:
            return "ko"
        if not kernels.legal(self._now.state, p, c, 0):
            own = [q for q in self._around(p) if self._now.state[0][q] == c]
            if not (own and (self.suicide if suicide is None else suicide)):
                return "suicide"
        if self.superko and self._hash_after(p, c) in self._earlier():
            return "superko"
        return None

    def legal(self, color: int | None = None) -> list[bool]:
        """For each point, row by row, whether ``color`` (default: to play) may move there."""
        c = self.to_play if color is None else _checked(color)
        if self.superko or self.suicide:
            return [self.why_illegal(i, c) is None for i in range(self.size * self.size)]
        out = bytearray(self.size * self.size)
        kernels.legal_points(self._now.state, self.size, c, self._now.ko, out, 0)
        return [x == 1 for x in out]

    # ------------------------------------------------------------------------------ changing
    def play(self, point: int, color: int | None = None, *, force: bool = False) -> list[int]:
        """Move at ``point`` or PASS; returns the points of the stones that were taken.

        Raises InputError that names move and rule. With ``force`` a move that breaks a rule is
        carried out all the same, as SGF asks: a stone in its place is replaced, a ko is ignored.
        """
        c = self.to_play if color is None else _checked(color)
        reason = self.why_illegal(point, c)
        if reason and not force:
            where = f"move {self.move_number + 1}, {color_name(c)} {to_vertex(point, self.size)}"
            raise InputError(where, f"illegal ({reason})")
        self._past.append(self._now)
        now = self._now = self._now.child()
        self.moves.append(Move(c, point))
        now.to_play = 3 - c
        now.number += 1
        now.since += 1
        now.ko = 0
        if point == PASS:
            return []
        p = self._padded(point)
        if now.state[0][p] != EMPTY:
            self._rebuild({p: EMPTY})
        taken = [0] * len(now.played)
        n = kernels.play(now.state, p, c, taken)
        now.played[p] = now.number
        now.ko = kernels.ko_point(now.state, p, n, taken)
        keys = _zobrist(self.size)
        now.zobrist ^= keys[c][p]
        lost = 3 - c if n >= 0 else c
        for q in taken[: abs(n)]:
            now.zobrist ^= keys[lost][q]
        now.prisoners = _added(now.prisoners, lost, abs(n))
        return [kernels.flat(q, self._width) for q in taken[: abs(n)]]

    def place(
        self, black: Iterable[int] = (), white: Iterable[int] = (), empty: Iterable[int] = ()
    ) -> None:
        """Set-up (SGF's AB, AW, AE): change points without a move. History and ko start anew.

        Captures nothing, so a set-up may leave chains without liberties.
        """
        change = {self._padded(i): c for i in empty for c in (EMPTY,)}
        change |= {self._padded(i): BLACK for i in black}
        change |= {self._padded(i): WHITE for i in white}
        self._past.append(self._now)
        now = self._now = self._now.child()
        now.ko = 0
        now.since = 0
        self._rebuild(change)

    def place_handicap(self, stones: int) -> list[int]:
        """GTP's fixed handicap: lay 2 to 9 black stones, White to play. Returns their points."""
        points = handicap_points(self.size, stones)
        self.place(black=points)
        self.to_play = WHITE
        return points

    def undo(self) -> None:
        """Take back the last move, pass or set-up; InputError if there is none."""
        if not self._past:
            raise InputError("undo", "no move to take back")
        if self._past[-1].number != self._now.number:
            self.moves.pop()
        self._now = self._past.pop()

    def copy(self) -> Board:
        """An independent board with the same game behind it."""
        twin = Board.__new__(Board)
        twin.__dict__.update(self.__dict__)
        twin.moves = self.moves.copy()
        twin._past = self._past.copy()
        twin._now = replace(self._now.child(), marks=self._now.marks)
        return twin

    def start(self) -> Board:
        """The position that the moves since the last set-up began from."""
        first = Board(self.size, superko=self.superko, suicide=self.suicide)
        first._now = self.frames(len(self.history()) + 1)[-1].child()
        return first

    def handicap(self) -> int:
        """Black stones that the moves began from, if there were two or more and no white ones."""
        stones = self.start().stones()
        black = stones.count(BLACK)
        return black if black > 1 and WHITE not in stones else 0

    # ------------------------------------------------------------------------------ for planes
    def history(self) -> list[Move]:
        """The moves since the last set-up, newest first."""
        since = self._now.since
        return self.moves[len(self.moves) - since :][::-1]

    def frames(self, count: int) -> list[_Frame]:
        """This position and those before it, newest first; the oldest again where none is left."""
        back = min(count - 1, self._now.since)
        frames = [self._now, *self._past[len(self._past) - back :][::-1]]
        return frames + [frames[-1]] * (count - len(frames))

    # ------------------------------------------------------------------------------ private
    def _padded(self, point: int) -> int:
        if not 0 <= point < self.size * self.size:
            raise InputError(f"point {point}", f"not on a {self.size}x{self.size} board")
        return (point // self.size + 1) * self._width + point % self.size + 1

    def _around(self, p: int) -> tuple[int, int, int, int]:
        return p - self._width, p - 1, p + 1, p + self._width

    def _ring(self, p: int) -> Iterator[int]:
        color, _, nxt, _, _, _ = self._now.state
        q = p
        while color[p] != EMPTY:
            yield q
            q = nxt[q]
            if q == p:
                return

    def _earlier(self) -> set[int]:
        """The hashes of all positions since the last set-up, this one included."""
        since = self._now.since
        return {f.zobrist for f in [self._now, *self._past[len(self._past) - since :]]}

    def _hash_after(self, p: int, c: int) -> int:
        """The hash after a move of c at p, which is empty."""
        color, head, _, libs, _, _ = self._now.state
        keys = _zobrist(self.size)
        h = self._now.zobrist ^ keys[c][p]
        near = self._around(p)
        dead = {head[q] for q in near if color[q] == 3 - c and libs[head[q]] == 1}
        if not dead and not kernels.legal(self._now.state, p, c, 0):  # suicide
            h ^= keys[c][p]
            dead = {head[q] for q in near if color[q] == c}
        for d in dead:
            for q in self._ring(d):
                h ^= keys[color[q]][q]
        return h

    def _rebuild(self, change: dict[int, int]) -> None:
        """Lay all stones anew with some points changed."""
        now = self._now
        old = now.state[0].copy()
        for p, c in change.items():
            old[p] = c
            now.played[p] = SET_UP
        kernels.clear(now.state, self.size)
        now.zobrist = 0
        keys = _zobrist(self.size)
        for p, c in enumerate(old):
            if c in (BLACK, WHITE):
                kernels.put(now.state, p, c)
                now.zobrist ^= keys[c][p]


def _new_state(size: int) -> kernels.State:
    n = (size + 2) * (size + 1) + 1
    color, head, nxt, libs, lsum = ([WALL] * n, [0] * n, [0] * n, [0] * n, [0] * n)
    state = (color, head, nxt, libs, lsum, size + 1)
    kernels.clear(state, size)
    return state


def _checked(color: int) -> int:
    if color not in (BLACK, WHITE):
        raise InputError("colour", f"{color!r} is neither black nor white")
    return color


def _added(counts: tuple[int, int, int], color: int, n: int) -> tuple[int, int, int]:
    return (0, counts[1] + n * (color == BLACK), counts[2] + n * (color == WHITE))


@functools.cache
def _zobrist(size: int) -> tuple[list[int], list[int], list[int]]:
    """Random 64-bit keys by colour and padded point (splitmix64, Steele et al. 2014)."""
    n = (size + 2) * (size + 1) + 1
    keys = []
    for i in range(2 * n):
        z = (i + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
        z = (z ^ z >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
        keys.append(z ^ z >> 31)
    return [0] * n, keys[:n], keys[n:]


# ------------------------------------------------------------------------------------- notation
def color_name(color: int) -> str:
    """ "black" or "white"."""
    return "black" if _checked(color) == BLACK else "white"


def to_vertex(point: int, size: int) -> str:
    """GTP's name of a point: "A1" is the lower left corner, PASS is "pass"."""
    if point == PASS:
        return "pass"
    return f"{COLUMNS[point % size]}{size - point // size}"


def from_vertex(text: str, size: int) -> int:
    """The point that GTP calls ``text`` (any case); InputError if it is not on the board."""
    name = text.strip().upper()
    if name == "PASS":
        return PASS
    column, row = COLUMNS.find(name[:1]) if name else -1, name[1:]
    if not (row.isascii() and row.isdigit() and len(row) <= 2):
        raise InputError(text, 'not a vertex such as "Q16" or "pass"')
    if not (0 <= column < size and 1 <= int(row) <= size):
        raise InputError(text, f"not on a {size}x{size} board")
    return (size - int(row)) * size + column


def to_sgf(point: int, size: int) -> str:
    """SGF's two letters, column and row from the top left; PASS is the empty string."""
    if point == PASS:
        return ""
    return chr(97 + point % size) + chr(97 + point // size)


def from_sgf(text: str, size: int) -> int:
    """The point of two SGF letters; "" is a pass, and so is "tt" on boards up to 19x19."""
    if text == "" or (text == "tt" and size <= 19):
        return PASS
    column, row = (ord(ch) - 97 for ch in text) if len(text) == 2 else (-1, -1)
    if not (0 <= column < size and 0 <= row < size):
        raise InputError(text, f"not a point of a {size}x{size} board")
    return row * size + column


def handicap_points(size: int, stones: int) -> list[int]:
    """Where GTP's fixed_handicap lays 2 to 9 stones (4 at most on even boards and on 7x7)."""
    most = 9 if size % 2 and size > 7 else 4 if size >= 7 else 0
    if not 2 <= stones <= most:
        allowed = f"2 to {most}" if most else "no"
        raise InputError(f"handicap {stones}", f"a {size}x{size} board takes {allowed} stones")
    near = 3 if size >= 13 else 2
    far, mid = size - 1 - near, size // 2
    # Columns and rows from the lower left corner, in the order of the GTP 2 specification.
    order = [(near, near), (far, far), (near, far), (far, near)]
    if stones in (5, 7, 9):
        order = order[: stones // 2 * 2]
    if stones >= 6:
        order += [(near, mid), (far, mid)]
    if stones >= 8:
        order += [(mid, near), (mid, far)]
    order = order[: stones // 2 * 2] if stones > 4 else order[:stones]
    if stones in (5, 7, 9):
        order.append((mid, mid))
    return [(size - 1 - row) * size + column for column, row in order]
