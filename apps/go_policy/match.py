"""Games against another program over GTP: who wins how often.

Our player sits in this process, the opponent is a child that speaks GTP on its stdin and stdout.
Colours alternate, the opponent counts the final position (``final_score``), each game is a file
``game-0001.sgf`` in the folder; a run that was killed goes on after the last complete game.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shlex
import subprocess
import threading
import time
from dataclasses import dataclass, replace
from random import Random

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
from cnnapps.apps.go_policy.player import RESIGN, Player
from cnnapps.apps.go_policy.sgf import escape
from cnnapps.core.errors import InputError, printable

__all__ = ["Game", "Opponent", "play_game"]

MAX_REPLY = 1_000_000
"""Bytes of one reply; a program that says more is stopped."""
MOST_MOVES = 3
"""After so many moves a point a game ends and is counted."""
NAME = "game-{:04d}.sgf"


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
    """A finished game: our colour, the moves, the result as SGF's RE ("B+3.5", "W+R", "0"), what
    our own count says, and how it ended (two passes, resignation, length).
    """

    number: int
    color: int
    moves: tuple[tuple[int, int], ...]
    result: str
    own: str
    end: str
    size: int = 19
    komi: float = 6.5

    @property
    def won(self) -> bool | None:
        """By us; None if nobody won."""
        if self.result[:2] not in ("B+", "W+"):
            return None
        return (self.result[0] == "B") == (self.color == BLACK)

    def to_sgf(self, us: str, them: str, notes: str = "") -> str:
        """The record."""
        black, white = (us, them) if self.color == BLACK else (them, us)
        text = (
            f"(;GM[1]FF[4]CA[UTF-8]SZ[{self.size}]KM[{self.komi:g}]PB[{escape(black)}]"
            f"PW[{escape(white)}]RE[{self.result}]C[{escape(notes)}]\n"
        )
        for i, (color, point) in enumerate(self.moves):
            letter = "B" if color == BLACK else "W"
            text += f";{letter}[{to_sgf(point, self.size)}]" + ("\n" if i % 10 == 9 else "")
        return text + ")\n"


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
) -> Game:
    """One game; we are Black in the games with an odd ``number``.

    Our first ``varied`` moves are drawn from p^(1/``heat``), by (``seed``, ``number``): games
    differ, and a game can be repeated. ``seeded`` is the opponent's command for its random seed.
    """
    ours = BLACK if number % 2 else WHITE
    board = Board(size)
    player = replace(player, generator=Random(f"{seed}/{number}"), behind=0)
    if seeded:
        opponent.ask(f"{seeded} {(seed * 10_007 + number) % 2**31}")
    for command in (f"boardsize {size}", "clear_board", f"komi {komi:g}"):
        opponent.ask(command)
    passes = 0
    while passes < 2 and len(board.moves) < MOST_MOVES * size * size:
        color = board.to_play
        if color == ours:
            own = sum(m.color == ours for m in board.moves)
            point = player.choose(board, komi, temperature=heat if own < varied else None)
            if point == RESIGN:
                result = f"{'W' if ours == BLACK else 'B'}+R"
                return _game(board, number, ours, result, "", "we resigned", komi)
            opponent.ask(f"play {color_name(color)} {to_vertex(point, size)}")
        else:
            answer = opponent.ask(f"genmove {color_name(color)}")
            if answer.lower() == "resign":
                result = f"{'B' if ours == BLACK else 'W'}+R"
                return _game(board, number, ours, result, "", "the opponent resigned", komi)
            try:
                point = from_vertex(answer, size)
            except InputError as error:
                raise InputError(opponent.who, f"genmove: {error}") from error
            reason = board.why_illegal(point)
            if reason:
                where = f"move {board.move_number + 1}, {printable(answer, 20)}"
                raise InputError(opponent.who, f"{where}: illegal ({reason})")
        board.play(point)
        passes = passes + 1 if point == PASS else 0
    score = opponent.ask("final_score").split()[:1] or ["?"]
    own_count = str(player.count(board, komi))
    end = "two passes" if passes == 2 else "too long"
    return _game(board, number, ours, _result(score[0]), own_count, end, komi)


def _game(
    board: Board, number: int, ours: int, result: str, own: str, end: str, komi: float
) -> Game:
    return Game(number, ours, tuple(board.moves), result, own, end, board.size, komi)


def _result(score: str) -> str:
    """final_score as SGF's RE; "?" if it is none."""
    found = re.fullmatch(r"([BWbw])\+(\d+(?:\.\d+)?|[Rr](?:esign)?)", score)
    if found:
        return f"{found[1].upper()}+{found[2]}"
    return "0" if score in ("0", "0.0", "draw", "jigo") else "?"
