"""Games against another program over GTP: who wins how often.

Our player sits in this process, the opponent is a child that speaks GTP on its stdin and stdout.
Colours alternate, the opponent counts the final position (``final_score``; we do if it has no such
command), each game is a file ``game-0001.sgf`` in the folder; a run that was killed goes on after
the last complete game.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import re
import shlex
import statistics
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from cnnapps.apps.go_policy.board import (
    BLACK,
    PASS,
    WHITE,
    Board,
    color_name,
    from_vertex,
    to_sgf,
    to_vertex,
)
from cnnapps.apps.go_policy.evaluate import wilson
from cnnapps.apps.go_policy.player import Player
from cnnapps.apps.go_policy.records import main_line, read
from cnnapps.apps.go_policy.sgf import escape
from cnnapps.core.errors import InputError, printable
from cnnapps.core.files import write_bytes
from cnnapps.core.media import read_bytes
from cnnapps.core.progress import warn

__all__ = ["Game", "Opponent", "play_game", "play_match", "saved", "summary"]

MAX_REPLY = 1_000_000
"""Bytes of one reply; a program that says more is stopped."""
MOST_MOVES = 3
"""After so many moves a point a game ends and is counted."""
NAME = "game-{:04d}.sgf"
SETTINGS = "match.json"
RESIGN = -2
"""In place of a point: the opponent gives up."""
US = "cnnapps"
"""Our name in the records."""


class Opponent:
    """A GTP program as a child: ``ask("genmove b")`` -> ``"Q16"``.

    InputError, one line that names the program: it doesn't start, it ends, it says nothing for
    ``timeout`` seconds, it refuses a command, its reply is no GTP.
    """

    def __init__(self, command: str, *, timeout: float = 300.0) -> None:
        try:
            words = shlex.split(command)
        except ValueError as error:
            raise InputError("--opponent", f"can't be split into words ({error})") from error
        if not words:
            raise InputError("--opponent", "is empty")
        self.command = command
        self.timeout = timeout
        try:
            self._child = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
            )
        except OSError as error:
            raise InputError(words[0], f"can't be started ({error.strerror})") from error
        self.who = os.path.basename(words[0])
        self._replies: queue.Queue[bytes | None] = queue.Queue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def ask(self, command: str) -> str:
        """The reply to a command, without its sign."""
        assert self._child.stdin is not None
        try:
            self._child.stdin.write(command.encode() + b"\n")
            self._child.stdin.flush()
        except OSError as error:
            raise self._ended(command) from error
        lines: list[str] = []
        size = 0
        end = time.monotonic() + self.timeout
        while True:
            try:
                got = self._replies.get(timeout=max(0.0, end - time.monotonic()))
            except queue.Empty:
                reason = f"no answer to {command!r} for {self.timeout:g} s"
                raise InputError(self.who, reason) from None
            if got is None:
                raise self._ended(command)
            text = got.decode("utf-8", "replace").strip("\r\n")
            size += len(text)
            if size > MAX_REPLY:
                raise InputError(self.who, f"endless answer to {command!r}")
            if text.strip():
                lines.append(text)
            elif lines:
                break
        sign = re.match(r"([=?])\d*\s*", lines[0])
        if sign is None:
            raise InputError(self.who, f"{printable(lines[0], 80)!r} is no GTP reply")
        lines[0] = lines[0][sign.end() :]
        text = "\n".join(lines).strip()
        if sign[1] == "?":
            raise InputError(self.who, f"refuses {command!r}: {printable(text, 120)}")
        return text

    def knows(self, command: str) -> bool:
        """Whether it has a command."""
        with contextlib.suppress(InputError):
            return self.ask(f"known_command {command}").lower() == "true"
        return False

    def close(self) -> None:
        """Say quit, and end the process if it doesn't."""
        with contextlib.suppress(OSError, ValueError):
            assert self._child.stdin is not None
            self._child.stdin.write(b"quit\n")
            self._child.stdin.close()
        try:
            self._child.wait(2)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def __enter__(self) -> Opponent:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _listen(self) -> None:
        assert self._child.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            while got := self._child.stdout.readline(MAX_REPLY):
                self._replies.put(got)
        self._replies.put(None)

    def _ended(self, command: str) -> InputError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._child.wait(1)
        code = self._child.poll()
        how = "closed its output" if code is None else f"ended with code {code}"
        return InputError(self.who, f"{how} at {command!r}")


@dataclass(frozen=True, slots=True)
class Game:
    """A finished game: our colour, how many moves, the result as SGF's RE ("B+3.5", "W+R", "0"),
    our own count of it where the opponent counted, and how it ended: "two passes", "the opponent
    resigned", "we resigned" or "too long".
    """

    number: int
    color: int
    moves: int
    result: str
    own: str
    end: str

    @property
    def points(self) -> float:
        """1 for a win, 0.5 for a draw."""
        if self.result == "0":
            return 0.5
        return float((self.result[0] == "B") == (self.color == BLACK))

    @property
    def same_winner(self) -> bool | None:
        """Whether our count names the same winner; None if the opponent did not count."""
        return self.result[:1] == self.own[:1] if self.own else None


def play_game(
    player: Player,
    opponent: Opponent,
    number: int,
    *,
    size: int = 19,
    komi: float = 6.5,
    seed: int = 0,
    varied: int = 24,
    heat: float = 0.5,
    seeded: str | None = None,
    counts: bool = True,
) -> tuple[Game, Board]:
    """One game, and its last position; we are Black in the games with an odd ``number``.

    Among the first ``varied`` moves ours are drawn from p^(1/``heat``), by (``seed``, ``number``):
    games differ, and a game can be repeated. ``seeded`` is the opponent's command for its random
    seed. The opponent counts the end, or we do (``counts`` false).
    """
    ours = BLACK if number % 2 else WHITE
    board = Board(size)
    player = replace(player, generator=Random(f"{seed}/{number}"))
    if seeded:
        opponent.ask(f"{seeded} {(seed * 10_007 + number) % 2**31}")
    for command in (f"boardsize {size}", "clear_board", f"komi {komi:g}"):
        opponent.ask(command)
    passes = 0
    while passes < 2 and len(board.moves) < MOST_MOVES * size * size:
        color = board.to_play
        if color == ours:
            if player.hopeless(board, komi):
                result = "W+R" if color == BLACK else "B+R"
                return Game(number, ours, len(board.moves), result, "", "we resigned"), board
            early = len(board.moves) < varied
            point = player.choose(board, komi, temperature=heat if early else None)
            opponent.ask(f"play {color_name(color)} {to_vertex(point, size)}")
        else:
            point = _answer(opponent, board)
        if point == RESIGN:
            result = "W+R" if color == BLACK else "B+R"
            return Game(number, ours, len(board.moves), result, "", "the opponent resigned"), board
        board.play(point)
        passes = passes + 1 if point == PASS else 0
    end = "two passes" if passes == 2 else "too long"
    own = str(player.count(board, komi))
    if not counts:
        return Game(number, ours, len(board.moves), own, "", end), board
    result = _result(opponent, opponent.ask("final_score"))
    return Game(number, ours, len(board.moves), result, own, end), board


def _answer(opponent: Opponent, board: Board) -> int:
    """The opponent's move."""
    answer = opponent.ask(f"genmove {color_name(board.to_play)}")
    if answer.lower() == "resign":
        return RESIGN
    try:
        point = from_vertex(answer, board.size)
    except InputError as error:
        raise InputError(opponent.who, f"genmove: {error}") from error
    reason = board.why_illegal(point)
    if reason:
        where = f"move {board.move_number + 1}, {printable(answer, 20)}"
        raise InputError(opponent.who, f"{where}: illegal ({reason})")
    return point


def _result(opponent: Opponent, score: str) -> str:
    """final_score as SGF's RE."""
    word = score.split()[0] if score.split() else ""
    if re.fullmatch(r"[BWbw]\+\d+(?:\.\d+)?", word):
        return word.upper()
    if re.fullmatch(r"0(?:\.0*)?|draw|jigo", word.lower()):
        return "0"
    raise InputError(opponent.who, f"final_score: {printable(score, 60)!r} is no score")


# ------------------------------------------------------------------------------------- records
def record_of(game: Game, board: Board, *, komi: float, us: str, them: str) -> str:
    """A game as SGF."""
    black, white = (us, them) if game.color == BLACK else (them, us)
    note = "; ".join(x for x in (f"own count {game.own}" if game.own else "", game.end) if x)
    text = (
        f"(;GM[1]FF[4]CA[UTF-8]SZ[{board.size}]KM[{komi:g}]PB[{escape(black)}]"
        f"PW[{escape(white)}]RE[{game.result}]C[{note}]"
    )
    for i, (color, point) in enumerate(board.moves):
        line = "" if i % 10 else "\n"
        text += f"{line};{'B' if color == BLACK else 'W'}[{to_sgf(point, board.size)}]"
    return text + ")\n"


def saved(path: Path, number: int) -> Game | None:
    """The game in a file that ``record_of`` wrote; None if there is no file."""
    if not path.exists():
        return None
    collection = read(read_bytes(path), source=path)
    record = main_line(collection.trees[0])
    note = collection.trees[0].root.text("C") or ""
    found = re.fullmatch(r"(?:own count (0|[BW]\+[\d.]+); )?([a-z ]+)", note)
    ours = [record.black.startswith(US), record.white.startswith(US)]
    if found is None or ours == [False, False] or not re.match(r"0$|[BW]\+", record.result):
        raise InputError(path, "is no game of this match; move it away")
    color = BLACK if number % 2 else WHITE
    if not ours[color - 1]:
        raise InputError(path, "is no game of this match; move it away")
    own, end = found[1] or "", found[2]
    return Game(number, color, len(record.moves), record.result, own, end)


# ------------------------------------------------------------------------------------- matches
def play_match(
    player: Player,
    opponent: Opponent,
    folder: Path,
    numbers: Sequence[int],
    *,
    settings: Mapping[str, Any],
    size: int = 19,
    komi: float = 6.5,
    seed: int = 0,
    varied: int = 24,
    heat: float = 0.5,
) -> Iterator[Game]:
    """The games with these ``numbers``, in order: those in the folder, and the others when played.

    ``settings`` are kept in the folder; InputError if it belongs to a match with others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _own(folder, settings)
    opponent.ask(f"boardsize {size}")  # a program that speaks no GTP is found out here
    seeded = "set_random_seed" if opponent.knows("set_random_seed") else None
    counts = opponent.knows("final_score")
    if not counts:
        warn(f"{opponent.who} has no final_score: our own count decides")
    us = f"{US} {player.predictor.card.name}"
    for number in numbers:
        path = folder / NAME.format(number)
        game = saved(path, number)
        if game is None:
            game, board = play_game(
                player,
                opponent,
                number,
                size=size,
                komi=komi,
                seed=seed,
                varied=varied,
                heat=heat,
                seeded=seeded,
                counts=counts,
            )
            text = record_of(game, board, komi=komi, us=us, them=opponent.command)
            write_bytes(path, text.encode("utf-8", "backslashreplace"))
        yield game


def _own(folder: Path, settings: Mapping[str, Any]) -> None:
    path = folder / SETTINGS
    wanted = json.loads(json.dumps(settings))
    if path.exists():
        try:
            there = json.loads(read_bytes(path))
        except ValueError as error:
            raise InputError(path, "is no settings file of a match") from error
        if there != wanted and any(folder.glob(NAME.replace("{:04d}", "*"))):
            names = [name for name in wanted if wanted.get(name) != dict(there).get(name)]
            differ = ", ".join(names) or "options"
            raise InputError(folder, f"holds another match (other {differ}); choose another folder")
        if there == wanted:
            return
    write_bytes(path, (json.dumps(wanted, indent=1) + "\n").encode())


def summary(games: Sequence[Game]) -> dict[str, Any]:
    """The score of our player: ``rate`` with Wilson's 95% ``interval``, by colour, and how games
    ended. A draw is half a win.
    """
    points = sum(game.points for game in games)
    low, high = wilson(points, len(games))
    colors = {}
    for color in (BLACK, WHITE):
        part = [game.points for game in games if game.color == color]
        colors[color_name(color)] = {"games": len(part), "won": part.count(1.0)}
    counted = [game.same_winner for game in games if game.same_winner is not None]
    return {
        "games": len(games),
        "won": sum(game.points == 1 for game in games),
        "drawn": sum(game.points == 0.5 for game in games),
        "lost": sum(game.points == 0 for game in games),
        "rate": points / max(len(games), 1),
        "interval": [low, high],
        "by_color": colors,
        "ended": dict(Counter(game.end for game in games)),
        "moves": {
            "median": statistics.median([game.moves for game in games] or [0]),
            "most": max((game.moves for game in games), default=0),
        },
        "own_count": {"games": len(counted), "same_winner": sum(counted)},
    }
