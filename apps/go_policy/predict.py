"""From a position to the moves that a strong player would play.

board -> planes, in the 8 symmetries -> Runtime (logits) -> legal moves only -> GoResult
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy.board import (
    BLACK,
    PASS,
    WHITE,
    Board,
    color_name,
    to_sgf,
    to_vertex,
)
from cnnapps.apps.go_policy.planes import (
    nature_planes,
    symmetries,
    v7_globals,
    v7_planes,
)
from cnnapps.apps.go_policy.records import Move, Record, Setup, main_line, read
from cnnapps.core.card import Card
from cnnapps.core.errors import InputError, WeightsError
from cnnapps.core.media import read_bytes
from cnnapps.core.runtime import Nets, open_runtime
from cnnapps.core.weights import Weights, find, open_weights

if TYPE_CHECKING:
    from cnnapps.apps.go_policy.sgf import Point

__all__ = [
    "Candidate",
    "GoPredictor",
    "GoResult",
    "Position",
    "load",
    "position_at",
    "positions_of",
]

KOMI = 6.5
"""Points for White where a record doesn't say."""
BATCH_IMAGES = 64
"""Images (positions times symmetries) that the net sees at once: about 60 MB."""
SHOWN = 10
"""Moves in the text of a result."""

SUICIDE = ("new-zealand", "tromp-taylor", "ing")
"""Rules under which a record may hold suicides of two stones or more (we never propose one)."""
MAX_EVENTS = 5_000
"""Moves and set-ups of a game: a board keeps every earlier position, 20 kB each."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Position:
    """A board and what the net needs beside it. ``notes`` say what was doubtful on the way here.

    ``played`` is the next move of the record as (colour, point or PASS), None at its end.
    """

    board: Board
    komi: float = KOMI
    played: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Candidate:
    """A legal move: ``move`` as in GTP ("Q16"), ``sgf`` in SGF's letters, and its probability."""

    move: str
    sgf: str
    probability: float


@dataclass(frozen=True, slots=True)
class GoResult:
    """The answer for one position.

    ``moves`` are legal moves without the pass, most probable first; over all legal moves and the
    pass (None where the net knows none) the probabilities add up to 1. ``move_number`` moves were
    played before; ``to_play`` is "black" or "white". ``grid`` (size, size) has the same numbers by
    row from the top left, ``stones`` 0, 1 (black) or 2 (white) for each point, ``last`` the last
    move as (row, column).
    """

    size: int
    move_number: int
    to_play: str
    moves: tuple[Candidate, ...]
    pass_probability: float | None
    grid: Floats = field(metadata={"json": False})
    stones: NDArray[np.int8] = field(metadata={"json": False})
    last: tuple[int, int] | None = field(default=None, metadata={"json": False})

    def to_dict(self, top: int | None = None) -> dict[str, Any]:
        """As in the contract; at most ``top`` moves."""
        from cnnapps.core.results import to_dict

        values: dict[str, Any] = to_dict(self)
        values["moves"] = values["moves"][:top]
        if self.pass_probability is None:
            del values["pass_probability"]
        return values

    def __str__(self) -> str:
        moves = "  ".join(f"{m.move} {m.probability:.3f}" for m in self.moves[:SHOWN])
        return f"move {self.move_number + 1}, {self.to_play}: {moves or 'pass'}"


class GoPredictor:
    """Answers positions with one weights folder. Deterministic: all symmetries, or none.

    ``symmetries`` is 8 (the mean of the logits of the 8 images of the position) or 1.
    ``temperature`` T takes probabilities to the power of 1/T: below 1 the favourite gains.
    """

    def __init__(
        self,
        weights: Weights,
        *,
        runtime: str = "onnx",
        device: str = "cpu",
        threads: int = 1,
        nets: Nets | None = None,
        symmetries: int = 8,
        temperature: float = 1.0,
    ) -> None:
        if symmetries not in (1, 8):
            raise InputError("symmetries", f"{symmetries} is neither 1 nor 8")
        if not 0.01 <= temperature <= 100:
            raise InputError("temperature", f"{temperature} is not between 0.01 and 100")
        card = weights.card
        self.card: Card = card
        self.symmetries = symmetries
        self.temperature = temperature
        try:
            self.planes = str(card.preparation["planes"])
            low, high = card.preparation["sizes"]
            self.sizes = (int(low), int(high))
        except (TypeError, ValueError, KeyError) as error:
            raise WeightsError(weights.folder, f"card.json is malformed ({error})") from error
        names = {"v7": {"planes", "numbers"}, "nature": {"planes"}}.get(self.planes)
        if names is None or set(card.inputs) != names or list(card.outputs) != ["logits"]:
            raise WeightsError(weights.folder, "card.json: not the inputs and outputs of a policy")
        self.passes = self.planes == "v7"  # the paper's planes come with no answer for a pass
        self._runtime = open_runtime(
            weights, runtime=runtime, device=device, threads=threads, nets=nets
        )

    def __call__(self, item: Position | Board | Record | str | os.PathLike[str]) -> GoResult:
        """The answer for a position, a board, the end of a record, or of the record in a file."""
        return next(self.batch([item]))

    def batch(
        self, items: Iterable[Position | Board | Record | str | os.PathLike[str]], size: int = 32
    ) -> Iterator[GoResult]:
        """Answers in order, ``size`` positions at a time; the same answers as one by one."""
        source = iter(items)
        while chunk := list(islice(source, size)):
            positions = [as_position(item) for item in chunk]
            for position, p in zip(positions, self.probabilities(positions), strict=True):
                yield result_of(position.board, p, passes=self.passes)

    def check_size(self, size: int, source: object = "board") -> None:
        """InputError unless the net was trained for boards of this size."""
        low, high = self.sizes
        if not low <= size <= high:
            trained = f"{low}x{low}" if low == high else f"{low}x{low} to {high}x{high}"
            raise InputError(
                source, f"the board is {size}x{size}; {self.card.name} was trained for {trained}"
            )

    def probabilities(
        self, positions: Sequence[Position], *, symmetries: int | None = None
    ) -> list[Floats]:
        """For each position the probabilities (size * size + 1,) float64: row by row, then a pass.

        Illegal moves have 0, and so has the pass where the net knows none. ``symmetries`` other
        than the predictor's: 1 or 8.
        """
        images = symmetries or self.symmetries
        answers: list[Floats] = []
        pending: list[Position] = []  # of one size, to run together
        for position in positions:
            self.check_size(position.board.size)
            full = len(pending) * images >= BATCH_IMAGES
            if pending and (full or position.board.size != pending[0].board.size):
                answers += self._run(pending, images)
                pending = []
            pending.append(position)
        return answers + (self._run(pending, images) if pending else [])

    def images(self, position: Position) -> list[Floats]:
        """The 8 answers to the images of one position, each as ``probabilities`` gives them."""
        self.check_size(position.board.size)
        upright = self._logits([position], 8)[0]
        return [_mean(upright[k : k + 1], position.board, 1.0) for k in range(8)]

    def _run(self, positions: Sequence[Position], images: int) -> list[Floats]:
        """The same as ``probabilities`` for positions of one size."""
        upright = self._logits(positions, images)
        return [
            _mean(upright[i], position.board, self.temperature)
            for i, position in enumerate(positions)
        ]

    def _logits(self, positions: Sequence[Position], k: int) -> Floats:
        """(N, K, area + 1): what the net says to the first k images, turned back."""
        size, count = positions[0].board.size, len(positions)
        area = size * size
        table = symmetries(size)[:k]  # (K, area)
        make = v7_planes if self.planes == "v7" else nature_planes
        planes = np.stack([make(p.board) for p in positions])  # (N, C, size, size)
        flat = planes.reshape(count, -1, area)
        images = flat[:, :, table].transpose(0, 2, 1, 3)  # (N, K, C, area)
        arrays = {"planes": np.ascontiguousarray(images).reshape(count * k, -1, size, size)}
        if self.planes == "v7":
            rows = np.stack([v7_globals(p.board, p.komi) for p in positions])
            arrays["numbers"] = np.repeat(rows, k, axis=0)
        z = self._runtime.run(**arrays)["logits"].astype(np.float64).reshape(count, k, -1)
        if z.shape[2] == area:  # no answer for a pass
            z = np.concatenate((z, np.full((count, k, 1), -np.inf)), axis=2)
        upright = np.empty_like(z)
        for s in range(k):  # point j of image s was point table[s, j]
            upright[:, s, table[s]] = z[:, s, :area]
            upright[:, s, area] = z[:, s, area]
        return upright


def _mean(logits: Floats, board: Board, temperature: float) -> Floats:
    """(K, area + 1) logits -> probabilities over the legal moves (area + 1,).

    The logits' mean, so the K answers' geometric mean: a move that one image rates far lower than
    the others suffers for it. On dev it is better than the mean of probabilities
    (docs/training.md).
    """
    allowed = np.array([*board.legal(), True])
    if not np.isfinite(logits[:, allowed]).any():  # no legal move and no pass in the net: pass
        logits = np.where(np.arange(logits.shape[1]) == logits.shape[1] - 1, 0.0, logits)
    z = np.where(allowed, logits.mean(0) / temperature, -np.inf)
    e = np.exp(z - z.max())
    return np.asarray(e / e.sum(), np.float64)


def result_of(board: Board, p: Floats, *, passes: bool = True) -> GoResult:
    """The result for probabilities (area + 1,) on a board; ``passes``: the net knows a pass."""
    size, area = board.size, board.size**2
    legal = [i for i, good in enumerate(board.legal()) if good]
    legal.sort(key=lambda i: -p[i])  # stable: equal ones row by row
    moves = tuple(Candidate(to_vertex(i, size), to_sgf(i, size), float(p[i])) for i in legal)
    last = board.moves[-1].point if board.moves and board.history() else PASS
    return GoResult(
        size=size,
        move_number=board.move_number,
        to_play=color_name(board.to_play),
        moves=moves,
        pass_probability=float(p[area]) if passes or p[area] > 0 else None,
        grid=p[:area].reshape(size, size).copy(),
        stones=np.array(board.stones(), np.int8).reshape(size, size),
        last=None if last == PASS else divmod(last, size),
    )


# --------------------------------------------------------------------------- records -> positions
def as_position(item: Position | Board | Record | str | os.PathLike[str]) -> Position:
    """What a predictor is called with, as a position: of a record its end."""
    if isinstance(item, Position):
        return item
    if isinstance(item, Board):
        return Position(item)
    if isinstance(item, Record):
        return position_at(item)
    collection = read(read_bytes(item), source=os.fspath(item))
    return as_position(main_line(collection.trees[0]))


def positions_of(record: Record, *, color: int | None = None) -> Iterator[Position]:
    """The positions before each move of a record and the one at its end: one more than moves.

    A position holds all set-up stones up to its next move. To play is whoever moves next in the
    record; at its end whoever the file says, else the other player; ``color`` overrides that.
    Moves that break a rule are carried out, as SGF asks, and noted. The boards are independent.
    """
    if len(record.events) > MAX_EVENTS:
        raise InputError(record.source, f"longer than {MAX_EVENTS:,} moves and set-ups")
    board = Board(record.size)
    board.to_play = BLACK if record.first == "black" else WHITE
    komi = record.komi if record.komi is not None else (0.5 if record.handicap > 1 else KOMI)
    notes: list[str] = []
    for event in record.events:
        if isinstance(event, Move):
            mover = BLACK if event.colour == "black" else WHITE
            point = PASS if event.point is None else _flat(event.point, board.size)
            board.to_play = mover
            yield _position(board, komi, (mover, point), notes, color)
            reason = board.why_illegal(point, suicide=record.ruleset in SUICIDE)
            if reason:
                where = f"move {event.number}, {event.colour} {to_vertex(point, board.size)}"
                notes.append(f"{where}: illegal ({reason}), played as the record says")
            board.play(point, force=True)
        elif isinstance(event, Setup):
            black, white, empty = (
                [_flat(p, board.size) for p in points]
                for points in (event.black, event.white, event.empty)
            )
            board.place(black, white, empty)
        else:
            board.to_play = BLACK if event.colour == "black" else WHITE
    yield _position(board, komi, None, notes, color)


def position_at(record: Record, number: int | None = None, *, color: int | None = None) -> Position:
    """The position after ``number`` moves, by default at the end; InputError if there are fewer."""
    position = None
    for i, position in enumerate(positions_of(record, color=color)):
        if i == number:
            return position
    if number is not None:
        moves = len(record.moves)
        raise InputError(record.source, f"has {moves} moves, so none number {number}")
    assert position is not None
    return position


def _position(
    board: Board,
    komi: float,
    played: tuple[int, int] | None,
    notes: Sequence[str],
    color: int | None,
) -> Position:
    own = board.copy()
    if color is not None:
        own.to_play = color
    return Position(own, komi, played, tuple(notes))


def _flat(point: Point, size: int) -> int:
    return point[1] * size + point[0]


def load(
    weights: str | None = None,
    *,
    runtime: str = "onnx",
    device: str = "cpu",
    threads: int = 1,
    symmetries: int = 8,
    temperature: float = 1.0,
) -> GoPredictor:
    """A predictor of moves: ``load()("game.sgf").moves[0].move == "Q16"``.

    ``weights`` is a tag (``cnnapps weights list``) or a folder that ``go-policy train`` wrote.
    """
    from cnnapps.core.device import choose

    return GoPredictor(
        open_weights(find(weights, "go-policy"), app="go-policy"),
        runtime=runtime,
        device=choose(device, runtime=runtime),
        threads=threads,
        nets=_nets,
        symmetries=symmetries,
        temperature=temperature,
    )


def _nets() -> Any:
    from cnnapps.apps.go_policy.net import NETS

    return NETS
