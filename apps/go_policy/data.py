"""Games for training and evaluation: tables of moves -> positions -> batches of planes.

    games = pack_games(["train-2016-06.tsv.xz", ...], cache="runs/go/games")
    batches = Batches(games, planes="v7", batch=128, seed=1)
    batches.batch_at(0)          # {"planes": (128, 22, 19, 19), "numbers": ..., "target": ...}

A pass through the data is a permutation of all positions, a function of (seed, epoch), so no
position comes again before all have been seen, and a run that is resumed goes on where it stopped.
Positions are replayed and turned into planes when they are drawn: 0.26 ms each with all ladders,
so nothing but the moves is ever stored.

Two tables are read, tab-separated, plain, .gz or .xz, 19x19, Black first, colours in turn; a move
is two letters, column and row from the top left, ``tt`` is a pass:

    game  date  rank_black_white  result  moves      one game a line
    game  moves_played  moves  next_move             one position a line

Records (SGF, GIB, NGF, UGF), folders and zips of them give the main lines of their games. What the
tables can't say is left out and counted: other boards than 19x19, handicap and set-up stones, a
colour that moves twice in a row.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy import kernels
from cnnapps.apps.go_policy.planes import V7_GLOBALS, globals_row, symmetries
from cnnapps.apps.go_policy.records import RECORDS, TABLES, Move, Record, main_line, read
from cnnapps.core.errors import CnnappsError, InputError, LimitError, counted
from cnnapps.core.files import write_bytes
from cnnapps.core.limits import Limits
from cnnapps.core.media import DAMAGED, HEAD, expand_inputs, read_bytes, unpacker

__all__ = [
    "AREA",
    "SIZE",
    "Batches",
    "Games",
    "Planes",
    "Report",
    "draw",
    "encode",
    "pack_games",
    "read_table",
]

SIZE = 19
AREA = SIZE * SIZE  # also the number that means a pass among moves
KOMI = 6.5  # of all games in the tables
MAX_MOVES = 2000  # of a game
GAME_COLUMNS = ("game", "date", "rank_black_white", "result", "moves")
POSITION_COLUMNS = ("game", "moves_played", "moves", "next_move")

Planes = Literal["v7", "nature"]
PLANES: dict[str, int] = {"v7": kernels.V7_PLANES, "nature": kernels.NATURE_PLANES}


@dataclass(frozen=True, slots=True)
class Report:
    """What was read: files, games kept and dropped, positions (moves without passes) and passes."""

    files: int = 0
    games: int = 0
    illegal: int = 0  # dropped: a stone on a stone, suicide, or the immediate recapture of a ko
    empty: int = 0  # dropped: no moves
    positions: int = 0
    passes: int = 0
    shortest: int = 0  # moves of a game
    median: int = 0
    longest: int = 0
    black_wins: int = 0
    white_wins: int = 0
    professional: int = 0  # games with at least one account marked professional
    first_illegal: tuple[str, ...] = ()  # up to ten: "file, game: move"
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> games (or files)

    def __str__(self) -> str:
        games, files = counted(self.games, "game"), counted(self.files, "file")
        lines = [
            f"{games} in {files}, {counted(self.positions, 'position')} and "
            f"{counted(self.passes, 'pass', 'passes')}; "
            f"{self.shortest} to {self.longest} moves, median {self.median}"
        ]
        if self.black_wins or self.white_wins:
            lines.append(f"won by Black {self.black_wins:,}, by White {self.white_wins:,}")
        if self.illegal:
            first = self.first_illegal[0]
            illegal = counted(self.illegal, "game")
            lines.append(f"left out: {illegal} with an illegal move (first: {first})")
        if self.empty:
            lines.append(f"left out: {counted(self.empty, 'game')} without moves")
        for reason, count in sorted(self.left_out.items()):
            lines.append(f"{count:,} left out: {reason}")
        return "\n".join(lines)


@dataclass(frozen=True, slots=True, eq=False)
class Games:
    """Moves of many games, one behind the other, all legal.

    ``moves`` (M,): row * 19 + column, or 361 for a pass; those of game g are
    ``moves[starts[g]:starts[g + 1]]``. A position is the index of its next move: ``moves[i]`` is
    the answer, the moves of the same game before it are the question.
    """

    moves: NDArray[np.int32]
    starts: NDArray[np.int64]
    names: tuple[str, ...]
    report: Report
    sha256: str  # of the files that were read
    asks_last: bool = False  # a table of positions: only the last move of each game is a question

    def __len__(self) -> int:
        return len(self.names)

    def positions(self, *, passes: bool = False) -> NDArray[np.int64]:
        """All positions, those where the player passed only if ``passes``."""
        if passes:
            return np.arange(len(self.moves), dtype=np.int64)
        return np.flatnonzero(self.moves != AREA)

    def take(self, chosen: NDArray[np.int64]) -> Games:
        """Only the games with these numbers; the report counts them afresh, as far as it can."""
        lengths = np.diff(self.starts)[chosen]
        spans = [self.moves[self.starts[g] : self.starts[g + 1]] for g in chosen]
        moves = np.concatenate(spans)
        passes = int((moves == AREA).sum())
        report = Report(
            self.report.files, len(chosen), positions=len(moves) - passes, passes=passes,
            shortest=int(lengths.min()), median=int(np.median(lengths)), longest=int(lengths.max()),
        )  # fmt: skip
        starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
        names = tuple(self.names[g] for g in chosen)
        return Games(moves, starts, names, report, self.sha256, self.asks_last)

    def number(self, positions: NDArray[np.int64]) -> NDArray[np.int64]:
        """How many moves had been played before each position."""
        return positions - self.starts[np.searchsorted(self.starts, positions, "right") - 1]


# --------------------------------------------------------------------------------------- reading
def read_table(
    path: str | os.PathLike[str], *, bad: list[InputError] | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of one of the two tables with their numbers; InputError names file and line.

    With ``bad`` a line of another width is left out, and its error put there.
    """
    columns: Sequence[str] = ()
    for number, line in enumerate(_lines(path), 1):
        fields = line.rstrip("\r\n").split("\t")
        if number == 1:
            columns = fields
            if tuple(fields) not in (GAME_COLUMNS, POSITION_COLUMNS):
                wanted = " or ".join(" ".join(c) for c in (GAME_COLUMNS, POSITION_COLUMNS))
                raise InputError(path, f"the first line must name the columns {wanted}")
        elif fields != [""]:
            if len(fields) != len(columns):
                error = InputError(
                    f"{path}, line {number}", f"{len(fields)} columns instead of {len(columns)}"
                )
                if bad is None:
                    raise error
                bad.append(error)
                continue
            yield number, dict(zip(columns, fields, strict=True))


def _lines(path: str | os.PathLike[str]) -> Iterator[str]:
    try:
        with open(path, "rb") as file:
            opener = unpacker(file.peek(HEAD))
            packed = opener(file) if opener else file  # only names can hold other text than ASCII
            yield from io.TextIOWrapper(packed, encoding="utf-8-sig", errors="replace")
    except DAMAGED as error:
        raise InputError(path, f"can't be read ({error})") from error


def parse_moves(text: str, source: object) -> NDArray[np.int32]:
    """ "pddp" -> [72, 300] (row * 19 + column), "tt" -> 361."""
    if len(text) % 2 or not text.isascii() or len(text) > 2 * MAX_MOVES:
        raise InputError(source, f"moves must be at most {MAX_MOVES} pairs of letters")
    pairs = np.frombuffer(text.encode(), np.uint8).reshape(-1, 2).astype(np.int32) - 97
    on_board = ((pairs >= 0) & (pairs < SIZE)).all(1)
    passes = (pairs == 19).all(1)
    if not (on_board | passes).all():
        first = int(np.argmin(on_board | passes))
        raise InputError(
            source, f"move {first + 1}, {text[2 * first :][:2]!r}, is not on the board"
        )
    return np.where(passes, AREA, pairs[:, 1] * SIZE + pairs[:, 0]).astype(np.int32)


def pack_games(
    paths: Iterable[str | os.PathLike[str]],
    *,
    cache: str | os.PathLike[str] | None = None,
    encoding: str | None = None,
) -> Games:
    """Read tables of games (or of positions: each becomes a game that ends with the next move),
    records, folders and zips of records.

    Games with an illegal move (simple ko, no suicide) are dropped and counted. With ``cache``, a
    folder, the result is kept there under the hash of the files, and read from there next time.
    InputError: a table is malformed, one of ``paths`` can't be read, or no game is left.
    """
    files: list[str] = []
    given = [os.fspath(path) for path in paths]
    if not given:
        raise InputError("training data", "no files")
    for item in expand_inputs(given, suffixes=(*RECORDS, *TABLES, ".zip")):
        if item.error is not None:
            raise item.error
        files.append(item.name)
    digests = [_digest(file) for file in files]
    digest = digests[0]
    if len(digests) > 1:
        digest = hashlib.sha256("\n".join(digests).encode()).hexdigest()
    kept = Path(cache) / f"{digest[:16]}.npz" if cache is not None else None
    if kept is not None and kept.exists():
        return _load(kept, digest)
    games = _collect(files, digest, encoding)
    if kept is not None:
        buffer = io.BytesIO()
        np.savez(
            buffer, moves=games.moves.astype(np.uint16), starts=games.starts,
            names=np.array(games.names), report=json.dumps(asdict(games.report)),
            asks_last=games.asks_last,
        )  # fmt: skip
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(kept, buffer.getvalue())
    return games


def _digest(file: str) -> str:
    digest = hashlib.sha256()
    try:
        with open(file, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise InputError(file, error.strerror or str(error)) from error
    return digest.hexdigest()


def _load(kept: Path, digest: str) -> Games:
    try:
        with np.load(kept, allow_pickle=False) as data:
            report = json.loads(str(data["report"]))
            report["first_illegal"] = tuple(report["first_illegal"])
            names = tuple(str(n) for n in data["names"])
            moves = data["moves"].astype(np.int32)
            asks_last = bool(data["asks_last"])
            return Games(moves, data["starts"], names, Report(**report), digest, asks_last)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(kept, f"damaged cache, delete it ({error})") from error


@dataclass(frozen=True, slots=True)
class _Game:
    """A game as it was read: a name for messages, its moves, and what the report counts."""

    name: str
    where: str
    moves: NDArray[np.int32]
    result: str = ""
    professional: bool = False
    asks_last: bool = False


def _collect(files: Sequence[str], digest: str, encoding: str | None) -> Games:
    check = _Replayer()
    moves: list[NDArray[np.int32]] = []
    names: list[str] = []
    illegal: list[str] = []
    left_out: Counter[str] = Counter()
    empty = black = white = professional = 0
    asks_last = True
    for file in files:
        for game in _games_of(file, encoding):
            if isinstance(game, str):
                left_out[game] += 1
                continue
            legal = check.legal_moves(game.moves)
            if len(game.moves) == 0:
                empty += 1
            elif legal < len(game.moves):
                illegal.append(f"{game.where}: move {legal + 1}")
            else:
                moves.append(game.moves)
                names.append(game.name)
                black += game.result.upper().startswith("B+")
                white += game.result.upper().startswith("W+")
                professional += game.professional
                asks_last = asks_last and game.asks_last
    if not moves:
        why = "; ".join(f"{n} left out: {reason}" for reason, n in left_out.items())
        raise InputError(files[0], f"no games{f' ({why})' if why else ''}")
    lengths = np.array([len(m) for m in moves])
    starts = np.concatenate(([0], np.cumsum(lengths))).astype(np.int64)
    joined = np.concatenate(moves)
    passes = int((joined == AREA).sum())
    report = Report(
        len(files), len(names), len(illegal), empty, len(joined) - passes, passes,
        int(lengths.min()), int(np.median(lengths)), int(lengths.max()), black, white,
        professional, tuple(illegal[:10]), dict(left_out),
    )  # fmt: skip
    return Games(joined, starts, tuple(names), report, digest, asks_last)


def _games_of(file: str, encoding: str | None) -> Iterator[_Game | str]:
    """The games of a file, or for each that can't be taken the reason."""
    name = Path(file).name
    if file.lower().endswith(".zip"):
        yield from _zipped(file, encoding)
    elif file.lower().endswith(RECORDS):
        yield from _recorded(read_bytes(file), file, name, encoding)
    else:
        for _, row in read_table(file):
            moves = parse_moves(
                row["moves"] + row.get("next_move", ""), f"{file}, game {row['game']}"
            )
            yield _Game(
                row["game"], f"{name}, game {row['game']}", moves, row.get("result", ""),
                "p" in row.get("rank_black_white", ""), "next_move" in row,
            )  # fmt: skip


def _zipped(file: str, encoding: str | None) -> Iterator[_Game | str]:
    """The records in a zip; nothing is written, so no name of a member leads anywhere."""
    most = Limits().bytes
    try:
        with zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.is_dir() or not member.filename.lower().endswith(RECORDS):
                    continue
                if member.file_size > most:
                    yield f"larger than {most:,} bytes"
                    continue
                with archive.open(member) as stream:
                    data = stream.read(most + 1)
                if len(data) > most:  # the directory lied
                    raise LimitError(file, f"{member.filename!r} unpacks without end", "bytes")
                yield from _recorded(data, member.filename, Path(member.filename).stem, encoding)
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError) as error:
        raise InputError(file, f"can't be read as zip ({error})") from error


def _recorded(data: bytes, source: str, name: str, encoding: str | None) -> Iterator[_Game | str]:
    try:
        collection = read(data, source=source, encoding=encoding)
        records = [main_line(tree) for tree in collection.trees]
    except CnnappsError:
        yield "records that can't be read"
        return
    for record in records:
        yield _from_record(record, name)


def _from_record(record: Record, name: str) -> _Game | str:
    if (record.columns, record.rows) != (SIZE, SIZE):
        return "another board than 19x19"
    found = [event for event in record.events if isinstance(event, Move)]
    if len(found) > MAX_MOVES:
        return f"more than {MAX_MOVES} moves"
    if len(found) < len(record.events):
        return "handicap or set-up stones"
    if any(move.colour != ("black", "white")[i % 2] for i, move in enumerate(found)):
        return "a colour that moves twice in a row, or White first"
    moves = [AREA if m.point is None else m.point[1] * SIZE + m.point[0] for m in found]
    professional = any(
        rank.lower().endswith("p") for rank in (record.black_rank, record.white_rank)
    )
    return _Game(name, name, np.array(moves, np.int32), record.result, professional)


# ------------------------------------------------------------------------------------- positions
class _Replayer:
    """The compiled kernels with the arrays that they work in."""

    def __init__(self) -> None:
        self.kernels = kernels.compiled()
        points = (SIZE + 2) * (SIZE + 1) + 1

        def array(n: int = points) -> NDArray[np.int32]:
            return np.zeros(n, np.int32)

        self.state = (array(), array(), array(), array(), array(), SIZE + 1)
        self.played, self.seen, self.taken = array(), array(), array()
        self.recent, self.marks = array(5), (array(), array(), array())
        self.nodes, self.work = array(1), array(kernels.LADDER_WORK)

    def legal_moves(self, game: NDArray[np.int32]) -> int:
        """How many moves of the game are legal until the first that is not."""
        return int(
            self.kernels.first_illegal(
                self.state, SIZE, game, 0, len(game), self.played, self.taken
            )
        )

    def planes(
        self, kind: str, moves: NDArray[np.int32], first: int, number: int,
        out: NDArray[np.uint8], allowed: NDArray[np.uint8],
    ) -> None:  # fmt: skip
        """Fill the planes (flat zeros) and legal points of a game after ``number`` moves."""
        if kind == "v7":
            self.kernels.game_v7(
                self.state, SIZE, moves, first, number, self.played, self.recent, *self.marks,
                out, allowed, self.nodes, self.work, self.taken,
            )  # fmt: skip
        else:
            self.kernels.game_nature(
                self.state, SIZE, moves, first, number, self.played, self.seen,
                out, allowed, self.nodes, self.work, self.taken,
            )  # fmt: skip


def draw(games: Games, n: int, *, seed: int = 0) -> NDArray[np.int64]:
    """n positions, uniform over all moves but passes, without repeats, sorted: a fixed test set."""
    positions = games.positions()
    if n > len(positions):
        raise InputError("positions", f"{n} wanted, {len(positions)} there")
    chosen = np.random.default_rng(seed).choice(len(positions), n, replace=False)
    return np.sort(positions[chosen])


def last_positions(games: Games) -> NDArray[np.int64]:
    """The last move of each game as the answer: what a table of positions asks for."""
    return games.starts[1:] - 1


def encode(games: Games, positions: NDArray[np.int64], planes: Planes) -> dict[str, NDArray[Any]]:
    """Positions -> arrays, unturned.

    ``planes`` (N, 22 or 48, 361) uint8, ``numbers`` (N, 19) float32 (v7 only), ``legal`` (N, 361)
    uint8, ``target`` (N,) int64 (361 for a pass), ``number`` (N,) moves played before.
    """
    replayer = _Replayer()
    return _encode(replayer, games, positions, planes)


def _encode(
    replayer: _Replayer, games: Games, positions: NDArray[np.int64], kind: str
) -> dict[str, NDArray[Any]]:
    n = len(positions)
    out = np.zeros((n, PLANES[kind] * AREA), np.uint8)
    legal = np.zeros((n, AREA), np.uint8)
    number = games.number(positions)
    arrays: dict[str, NDArray[Any]] = {
        "planes": out.reshape(n, PLANES[kind], AREA),
        "legal": legal,
        "target": games.moves[positions].astype(np.int64),
        "number": number,
    }
    for i, (position, played) in enumerate(zip(positions, number, strict=True)):
        first = int(position - played)
        replayer.planes(kind, games.moves, first, int(played), out[i], legal[i])
    if kind == "v7":
        arrays["numbers"] = np.zeros((n, V7_GLOBALS), np.float32)
        for i, (position, played) in enumerate(zip(positions, number, strict=True)):
            recent = games.moves[position - min(int(played), 5) : position][::-1]
            passes = [bool(m == AREA) for m in recent]
            arrays["numbers"][i] = globals_row(played % 2 == 0, passes, KOMI)
    return arrays


class Batches:
    """``batch_at(step)``: the step-th batch of an endless, reproducible stream of positions.

    ``batch`` positions over all ``world`` processes, of which ``rank`` gets its share. Each is
    turned by one of the 8 symmetries, chosen by (seed, place in the stream). ``passes``: also
    positions where the player passed (target 361), for nets that have an answer for it.
    ``teacher``: the planes of another net that is asked about the same positions, each turned by
    another draw of the symmetry.
    """

    def __init__(
        self,
        games: Games,
        *,
        planes: Planes,
        batch: int,
        seed: int = 1,
        rank: int = 0,
        world: int = 1,
        passes: bool = False,
        turn: bool = True,
        teacher: Planes | None = None,
    ) -> None:
        if batch % world:
            raise InputError("batch", f"{batch} can't be shared by {world} processes")
        self.teacher = teacher
        self.games, self.kind, self.batch = games, planes, batch
        self.seed, self.rank, self.world, self.turn = seed, rank, world, turn
        self._positions = games.positions(passes=passes).astype(np.uint32)
        self._replayer = _Replayer()
        self._order: tuple[int, NDArray[np.uint32]] = (-1, self._positions)

    @property
    def epoch_positions(self) -> int:
        """Positions in the stream before any comes again."""
        return len(self._positions)

    def positions_at(self, step: int) -> NDArray[np.int64]:
        """Which positions the batch of this step and rank holds."""
        places = self._places(step)
        epochs = places // len(self._positions)
        found = np.empty(len(places), np.int64)
        for epoch in np.unique(epochs):  # two at most, where one pass ends and the next begins
            here = epochs == epoch
            found[here] = self._permutation(int(epoch))[places[here] % len(self._positions)]
        return found

    def batch_at(self, step: int) -> dict[str, Any]:
        """The batch as tensors.

        ``planes`` (N, C, 19, 19) float32, ``target`` (N,) int64, ``legal`` (N, 361) bool, and for
        v7 ``numbers`` (N, 19) float32. With a teacher, ``teacher`` is a batch of the same positions
        for it, and ``teacher_points`` (N, 361) int64 says which of its points is each point here.
        """
        import torch

        places, positions = self._places(step), self.positions_at(step)
        arrays = _encode(self._replayer, self.games, positions, self.kind)
        other: dict[str, NDArray[Any]] = {}
        if self.teacher == self.kind:
            other = {name: array.copy() for name, array in arrays.items()}
        elif self.teacher is not None:
            other = _encode(self._replayer, self.games, positions, self.teacher)
        own = _mixed(places, self.seed) & 7 if self.turn else np.zeros_like(places)
        turned(arrays, own)
        batch = _tensors(arrays)
        if self.teacher is not None:
            others = _mixed(places, self.seed ^ 0x7EAC4E5) & 7
            turned(other, others)
            table = symmetries(SIZE)
            back = np.argsort(table, 1)[others]  # (N, 361): where the teacher sees a point
            batch["teacher"] = _tensors(other)
            batch["teacher_points"] = torch.from_numpy(np.take_along_axis(back, table[own], 1))
        return batch

    def _places(self, step: int) -> NDArray[np.int64]:
        start = step * self.batch
        return np.arange(start + self.rank, start + self.batch, self.world, dtype=np.int64)

    def _permutation(self, epoch: int) -> NDArray[np.uint32]:
        if self._order[0] != epoch:
            order = np.random.default_rng([self.seed, epoch]).permutation(self._positions)
            self._order = (epoch, order)
        return self._order[1]


def _tensors(arrays: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
    """What a net takes, and the answers, from ``encode``'s arrays."""
    import torch

    planes = torch.from_numpy(arrays["planes"])
    batch = {
        "planes": planes.reshape(*planes.shape[:2], SIZE, SIZE).float(),
        "target": torch.from_numpy(arrays["target"]),
        "legal": torch.from_numpy(arrays["legal"]).bool(),
    }
    if "numbers" in arrays:
        batch["numbers"] = torch.from_numpy(arrays["numbers"])
    return batch


def turned(arrays: dict[str, NDArray[Any]], k: NDArray[np.int64]) -> None:
    """Turn each position i of ``encode``'s arrays in place by symmetry ``k[i]``, answer and all."""
    table = symmetries(SIZE)[k]  # (N, 361): point j of the image was point table[i, j]
    planes, legal, target = arrays["planes"], arrays["legal"], arrays["target"]
    planes[:] = np.take_along_axis(planes, table[:, None, :], 2)
    legal[:] = np.take_along_axis(legal, table, 1)
    moved = target < AREA
    target[moved] = np.argmax(table[moved] == target[moved, None], 1)


def _mixed(values: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """A well-mixed number from each value and the seed (splitmix64)."""
    with np.errstate(over="ignore"):
        z = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed + 1)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return (z ^ (z >> np.uint64(31)) >> np.uint64(1)).astype(np.int64)
