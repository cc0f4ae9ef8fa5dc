"""How often a net finds the move that was played: top-1, top-5, cross-entropy, by phase and player.

Moves are asked one by one: the position before, the move that followed. Passes are no questions. A
move's rank counts every legal move (and the pass) that the net likes more; of equal ones the first
in reading order leads. Intervals are Wilson's at 95% (E. B. Wilson, JASA 22, 1927). numpy only.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy.board import BLACK, PASS, WHITE, Board
from cnnapps.apps.go_policy.data import AREA, SIZE, parse_moves, read_table
from cnnapps.apps.go_policy.predict import Position, positions_of
from cnnapps.apps.go_policy.records import RECORDS, TABLES, Record, main_line, read
from cnnapps.apps.go_policy.sgf import Collection
from cnnapps.core.errors import InputError
from cnnapps.core.media import expand_inputs, read_bytes
from cnnapps.core.progress import Progress, warn

__all__ = [
    "PHASES",
    "Answer",
    "Questions",
    "Scores",
    "Tally",
    "answers",
    "digest_of",
    "evaluate",
    "heading",
    "phase_of",
    "read_questions",
    "wilson",
]

PHASES = ((0, "0-29"), (30, "30-99"), (100, "100-199"), (200, "200-"))
"""Where phases begin, in moves played, and their names."""
LEAST = 1e-12
"""What a probability of 0 counts as in the cross-entropy (temperatures can round to it)."""


class _Predictor(Protocol):
    def probabilities(self, positions: Sequence[Position]) -> list[NDArray[np.float64]]: ...


@dataclass(frozen=True, slots=True)
class Answer:
    """What the net said about one move: its ``rank`` (0 is the favourite) and ``probability``.

    ``number`` moves had been played; ``best`` is the net's favourite (PASS for a pass).
    """

    number: int
    color: int
    played: int
    rank: int
    probability: float
    best: int
    best_probability: float


@dataclass(frozen=True, slots=True)
class Scores:
    """Rates are fractions of 1 over ``n`` moves; ``interval`` is that of top-1.

    ``cross_entropy`` in nats.
    """

    n: int
    top1: float
    top5: float
    cross_entropy: float
    interval: tuple[float, float]
    interval_top5: tuple[float, float]
    by_phase: dict[str, Scores] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "top1": self.top1,
            "top5": self.top5,
            "cross_entropy": self.cross_entropy,
            "n": self.n,
            "interval": list(self.interval),
            "interval_top5": list(self.interval_top5),
        }
        if self.by_phase:
            out["by_phase"] = {name: part.to_dict() for name, part in self.by_phase.items()}
        return out

    def row(self, name: str, width: int = 10) -> str:
        """One line of a table."""
        low, high = self.interval
        low5, high5 = self.interval_top5
        return (
            f"{name:<{width}} {self.n:>7,}  "
            f"{self.top1:6.1%} ({low:5.1%} - {high:5.1%})  "
            f"{self.top5:6.1%} ({low5:5.1%} - {high5:5.1%})  {self.cross_entropy:5.3f}"
        )

    def __str__(self) -> str:
        rows = [heading(), self.row("all")]
        rows += [part.row(name) for name, part in self.by_phase.items()]
        return "\n".join(rows)


def heading(width: int = 10) -> str:
    """The first line of a table of scores."""
    return f"{'moves':<{width}} {'n':>7}   top-1 (95%)              top-5 (95%)             nats"


def wilson(hits: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """The interval of Wilson for a rate of ``hits`` in ``n``; (0, 1) without observations."""
    if n == 0:
        return 0.0, 1.0
    p = hits / n
    middle = p + z * z / (2 * n)
    spread = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return max(0.0, (middle - spread) / scale), min(1.0, (middle + spread) / scale)


def phase_of(number: int) -> str:
    """The name of the phase in which ``number`` moves have been played."""
    return next(name for start, name in reversed(PHASES) if number >= start)


class Tally:
    """Counts over answers, in all and by phase; tallies can be added up."""

    __slots__ = ("entropy", "n", "phases", "top1", "top5")

    def __init__(self, found: Iterable[Answer] = (), *, phases: bool = True) -> None:
        self.n = self.top1 = self.top5 = 0
        self.entropy = 0.0
        self.phases: dict[str, Tally] = {}
        if phases:
            self.phases = {name: Tally(phases=False) for _, name in PHASES}
        for answer in found:
            self.add(answer)

    def add(self, answer: Answer) -> None:
        self.n += 1
        self.top1 += answer.rank < 1
        self.top5 += answer.rank < 5
        self.entropy -= math.log(max(answer.probability, LEAST))
        if self.phases:
            self.phases[phase_of(answer.number)].add(answer)

    def merge(self, other: Tally) -> None:
        self.n += other.n
        self.top1 += other.top1
        self.top5 += other.top5
        self.entropy += other.entropy
        for name, part in self.phases.items():
            part.merge(other.phases[name])

    def scores(self) -> Scores:
        """Rates and intervals; phases without a move are left out."""
        n = max(self.n, 1)
        return Scores(
            n=self.n,
            top1=self.top1 / n,
            top5=self.top5 / n,
            cross_entropy=self.entropy / n,
            interval=wilson(self.top1, self.n),
            interval_top5=wilson(self.top5, self.n),
            by_phase={name: part.scores() for name, part in self.phases.items() if part.n},
        )


def answer_to(position: Position, p: NDArray[np.float64]) -> Answer:
    """Compare probabilities (area + 1,) with the move that was played (no pass)."""
    assert position.played is not None
    color, point = position.played
    best = int(p.argmax())
    rank = int((p > p[point]).sum() + (p[:point] == p[point]).sum())
    return Answer(
        number=position.board.move_number,
        color=color,
        played=point,
        rank=rank,
        probability=float(p[point]),
        best=PASS if best == len(p) - 1 else best,
        best_probability=float(p[best]),
    )


def _is_question(position: Position) -> bool:
    """Whether a legal move followed that was no pass: records may hold others."""
    if position.played is None or position.played[1] == PASS:
        return False
    return not position.board.why_illegal(position.played[1])


def answers(
    predictor: _Predictor,
    positions: Iterable[Position],
    *,
    size: int = 32,
    done: Callable[[int], None] | None = None,
) -> Iterator[Answer]:
    """The answer to each position after which a legal move was played; ``done`` is told how many
    there are.
    """
    source = (p for p in positions if _is_question(p))
    count = 0
    while chunk := list(islice(source, size)):
        yield from map(answer_to, chunk, predictor.probabilities(chunk))
        count += len(chunk)
        if done is not None:
            done(count)


def evaluate(
    predictor: _Predictor, positions: Iterable[Position], *, total: int = 0, quiet: bool = False
) -> Scores:
    """Ask the predictor all questions; InputError if there are none."""
    with Progress(total, "positions", quiet=quiet) as progress:
        tally = Tally(answers(predictor, positions, done=progress.update))
    if not tally.n:
        raise InputError("data", "no moves to ask for")
    return tally.scores()


# ---------------------------------------------------------------------------------- questions
@dataclass(frozen=True, slots=True)
class _Game:
    """Moves of a table (row * 19 + column, AREA a pass), or a record. ``last``: ask only that."""

    moves: NDArray[np.int32] | Record
    last: bool = False


@dataclass(frozen=True, slots=True)
class Questions:
    """Games to ask about; ``n`` moves that are no passes, ``passes`` left out, their sha256.

    ``refused`` files, games or lines of tables could not be used.
    """

    games: tuple[_Game, ...]
    n: int
    passes: int
    sha256: str
    refused: int = 0

    def positions(self, n: int | None = None, *, seed: int = 0) -> Iterator[Position]:
        """All positions, or ``n`` of them, drawn once for all by ``seed``; in order."""
        chosen: set[int] | None = None
        if n is not None and n < self.n:
            drawn = np.random.default_rng(seed).choice(self.n, n, replace=False)
            chosen = set(drawn.tolist())
        number = 0
        for game in self.games:
            for position in _ask(game, number, chosen):
                number += 1
                if position is not None:
                    yield position


def _ask(game: _Game, number: int, chosen: set[int] | None) -> Iterator[Position | None]:
    """A position for each question of a game, None for those that nobody wants."""
    if isinstance(game.moves, Record):
        for position in positions_of(game.moves):
            if position.played is not None and position.played[1] != PASS:
                yield position if chosen is None or number in chosen else None
                number += 1
        return
    board = Board(SIZE)
    final = len(game.moves) - 1
    for i, move in enumerate(map(int, game.moves)):
        point, color = PASS if move == AREA else move, WHITE if i % 2 else BLACK
        if point != PASS and (i == final or not game.last):
            wanted = chosen is None or number in chosen
            yield Position(board.copy(), played=(color, point)) if wanted else None
            number += 1
        board.play(point, color)


def read_questions(
    paths: Sequence[str],
    *,
    encoding: str | None = None,
    sizes: Callable[[int, object], None] = lambda size, source: None,
) -> Questions:
    """Tables of games or positions (plain, .gz, .xz), records of games, folders with any of them.

    A record that can't be read or whose board ``sizes`` refuses, or a line of a table with a move
    that is none, costs itself and a line on stderr; InputError if nothing is left.
    """
    games: list[_Game] = []
    names: list[str] = []
    refused = 0
    for item in expand_inputs(paths, suffixes=(*RECORDS, *TABLES)):
        try:
            if item.error is not None:
                raise item.error
            if item.name.lower().endswith(TABLES):
                sizes(SIZE, item.name)
                found, bad = _from_table(item.name)
            else:
                collection = read(read_bytes(item.name), source=item.name, encoding=encoding)
                found, bad = _from_record(collection, sizes)
            refused += bad
            games += found
            names.append(item.name)
        except InputError as error:
            if len(paths) == 1 and paths[0] == item.name:
                raise
            warn(error)
            refused += 1
    counts = [_count(game) for game in games]
    n, passes = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0)
    if n == 0:
        raise InputError(", ".join(paths), "no moves to ask for")
    return Questions(tuple(games), n, passes, digest_of(names), refused)


def _from_record(
    collection: Collection, sizes: Callable[[int, object], None]
) -> tuple[list[_Game], int]:
    """The games of a record, and how many had to be left out; InputError if it was the only one."""
    games, bad = [], 0
    for number, tree in enumerate(collection.trees, 1):
        try:
            record = main_line(tree)
            sizes(record.size, collection.source)
            games.append(_Game(record))
        except InputError as error:
            if len(collection.trees) == 1:
                raise
            warn(f"{collection.source}, game {number}: left out, {error.reason}")
            bad += 1
    return games, bad


def _from_table(path: str) -> tuple[list[_Game], int]:
    """The games of a table, and how many lines had to be left out."""
    games, bad = [], 0
    bad_lines: list[InputError] = []
    for line, row in read_table(path, bad=bad_lines):
        where = f"{path}, line {line}"
        try:
            moves = parse_moves(row["moves"] + row.get("next_move", ""), where)
            if "next_move" in row:
                _check_question(row, len(moves))
            board = Board(SIZE)
            for i, move in enumerate(map(int, moves)):
                board.play(PASS if move == AREA else move, WHITE if i % 2 else BLACK)
        except InputError as error:
            warn(f"{where}: left out, {error.reason}")
            bad += 1
            continue
        games.append(_Game(moves, last="next_move" in row))
    for missing in bad_lines:
        warn(f"{missing.source}: left out, {missing.reason}")
    return games, bad + len(bad_lines)


def _check_question(row: dict[str, str], moves: int) -> None:
    """InputError for a position without a move to ask for, or that says it has others before it."""
    if len(row["next_move"]) != 2:
        raise InputError("", f"next_move {row['next_move']!r} is not one move")
    if row["moves_played"] != str(moves - 1):
        raise InputError("", f"moves_played {row['moves_played']!r}, but there are {moves - 1}")


def _count(game: _Game) -> tuple[int, int]:
    """Questions and passes of a game."""
    if isinstance(game.moves, Record):
        passes = sum(move.point is None for move in game.moves.moves)
        return len(game.moves.moves) - passes, passes
    asked = game.moves[-1:] if game.last else game.moves
    passes = int((asked == AREA).sum())
    return len(asked) - passes, passes


def digest_of(paths: Sequence[str]) -> str:
    """sha256 of one file's bytes; of several, the hash of their hashes in order."""
    digests = [hashlib.sha256(read_bytes(path)).hexdigest() for path in paths]
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()
