"""The player as a program for Go front ends: Go Text Protocol 2 with the extensions they use.

Sabaki, GoGui, Lizzie, KGS clients and other programs talk to it over stdin and stdout. The protocol
is https://www.lysator.liu.se/~gunnar/gtp/ (version 2, draft 2); ``lz-`` and ``kata-`` commands are
those of KataGo's docs/GTP_Extensions.md, ``gogui-`` commands those of GoGui's manual.

    Engine(player).handle("7 genmove b")     -> Reply(text="=7 Q16\\n\\n")
    serve(engine, Lines(0), write)           the loop: one reply for each command

A policy knows no winning rate. Where a front end must have one it is 0.5, and the score is 0; what
is meant is ``prior``, and ``visits`` are in proportion to it.
"""

from __future__ import annotations

import json
import os
import queue
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy.board import (
    BLACK,
    EMPTY,
    PASS,
    WHITE,
    Board,
    color_name,
    from_vertex,
    handicap_points,
    to_sgf,
    to_vertex,
)
from cnnapps.apps.go_policy.player import Player
from cnnapps.apps.go_policy.predict import KOMI, MAX_EVENTS, Position, position_at
from cnnapps.apps.go_policy.territory import HANDICAP_BONUS
from cnnapps.core.errors import CnnappsError, InputError, printable
from cnnapps.core.progress import warn
from cnnapps.core.version import __version__

__all__ = ["COMMANDS", "Engine", "Lines", "Reply", "serve"]

MAX_LINE = 65_536
"""Bytes of a command; a longer one gets an error."""
VISITS = 1000
"""What a move with the probability 1 would have: the unit of ``visits``."""
SHOWN = 0.001
"""Less likely moves are left out of an analysis (but for ``minmoves``)."""
INTERVAL = 1.0
"""Seconds between two lines of an analysis, unless the front end says."""
SHORTEST = 0.05
TOO_LONG = "line-too-long"
"""What Lines gives in place of such a line."""

Floats = NDArray[np.float64]
RULES = {
    "chinese": "chinese",
    "aga": "aga",
    "new_zealand": "tromp-taylor",
    "new-zealand": "tromp-taylor",
    "tromp-taylor": "tromp-taylor",
    "japanese": "japanese",
    "korean": "japanese",
}


class Refusal(CnnappsError):
    """A command that is answered with an error: its text is the reply."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What to write. ``more``: lines that follow every ``interval`` seconds until a line comes in,
    then an empty line. ``last``: the session is over.
    """

    text: str
    more: Iterator[str] | None = None
    interval: float = INTERVAL
    last: bool = False


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The arguments of an analysis."""

    color: int
    interval: float = INTERVAL
    most: int = 361
    least: int = 1
    ownership: bool = False
    root: bool = False
    banned: frozenset[int] = frozenset()


class Engine:
    """A game and a player. ``handle`` never raises but for KeyboardInterrupt and the like."""

    def __init__(self, player: Player) -> None:
        self.player = player
        low, high = player.predictor.sizes
        self.komi = KOMI
        self.board = Board(min(max(19, low), high))

    # ------------------------------------------------------------------------------ the protocol
    def handle(self, line: str) -> Reply | None:
        """The reply to a line; None for a line without a command."""
        text = re.sub(r"[\ufeff\x00-\x08\x0a-\x1f\x7f]", "", line).replace("\t", " ")
        words = text.split("#", 1)[0].split()
        if not words:
            return None
        number = words.pop(0) if re.fullmatch(r"[0-9]{1,10}", words[0]) else ""
        if not words:
            return Reply(f"?{number} no command\n\n")
        try:
            if words[0] == TOO_LONG:
                raise Refusal(f"longer than {MAX_LINE} bytes")
            command = COMMANDS.get(words[0].lower())
            if command is None:
                raise Refusal("unknown command")
            answer = command(self, words[1:])
        except CnnappsError as error:
            return Reply(f"?{number} {_one(error)}\n\n")
        except Exception as error:
            reason = f"internal error: {type(error).__name__}: {error}"
            warn(f"gtp: {printable(line, 100)}: {reason}")
            return Reply(f"?{number} {printable(reason)}\n\n")
        if isinstance(answer, Reply):
            return Reply(f"={number}{answer.text}\n", answer.more, answer.interval, answer.last)
        separator = " " if answer and not answer.startswith("\n") else ""
        return Reply(f"={number}{separator}{answer}\n\n")

    # ------------------------------------------------------------------------------ administration
    def protocol_version(self, args: Sequence[str]) -> str:
        return "2"

    def name(self, args: Sequence[str]) -> str:
        return "cnnapps"

    def version(self, args: Sequence[str]) -> str:
        return f"{__version__} {self.player.predictor.card.name}"

    def known_command(self, args: Sequence[str]) -> str:
        return "true" if args and args[0].lower() in COMMANDS else "false"

    def list_commands(self, args: Sequence[str]) -> str:
        return "\n".join(COMMANDS)

    def quit(self, args: Sequence[str]) -> Reply:
        return Reply("\n", last=True)

    def nothing(self, args: Sequence[str]) -> str:
        """For commands that ask for nothing this engine could do: clocks, caches."""
        return ""

    # ------------------------------------------------------------------------------ setting up
    def boardsize(self, args: Sequence[str]) -> str:
        size = _whole(args, 0, "boardsize")
        if len(args) > 1 and args[1] != args[0]:
            raise Refusal("unacceptable size")
        low, high = self.player.predictor.sizes
        if not low <= size <= high:
            raise Refusal("unacceptable size")
        self.board = Board(size)
        return ""

    def clear_board(self, args: Sequence[str]) -> str:
        self.board = Board(self.board.size)
        return ""

    def set_komi(self, args: Sequence[str]) -> str:
        try:
            komi = float(args[0]) if args else float("nan")
        except ValueError:
            komi = float("nan")
        if not abs(komi) <= 1000:
            raise Refusal("komi not a number")
        self.komi = komi
        return ""

    def get_komi(self, args: Sequence[str]) -> str:
        return f"{self.komi:g}"

    def fixed_handicap(self, args: Sequence[str]) -> str:
        stones = _whole(args, 0, "handicap")
        self._must_be_empty()
        try:
            points = self.board.place_handicap(stones)
        except InputError as error:
            raise Refusal("invalid number of stones") from error
        return self._vertices(points)

    def place_free_handicap(self, args: Sequence[str]) -> str:
        """The fixed points, at most as many as there are: the protocol allows fewer."""
        stones = _whole(args, 0, "handicap")
        self._must_be_empty()
        if not 2 <= stones < self.board.size**2:
            raise Refusal("invalid number of stones")
        for fewer in range(min(stones, 9), 1, -1):
            try:
                points = handicap_points(self.board.size, fewer)
            except InputError:
                continue
            self._place_handicap(points)
            return self._vertices(points)
        raise Refusal("invalid number of stones")

    def set_free_handicap(self, args: Sequence[str]) -> str:
        self._must_be_empty()
        points = [self._vertex(word) for word in args]
        if len(points) < 2 or PASS in points or len(set(points)) < len(points):
            raise Refusal("bad vertex list")
        if len(points) >= self.board.size**2:
            raise Refusal("bad vertex list")
        self._place_handicap(points)
        return ""

    def _place_handicap(self, points: Sequence[int]) -> None:
        self.board.place(black=points)
        self.board.to_play = WHITE

    def gogui_setup(self, args: Sequence[str]) -> str:
        """``b A1 w B2``: stones that nobody played."""
        stones: dict[int, list[int]] = {BLACK: [], WHITE: [], EMPTY: []}
        if len(args) % 2:
            raise Refusal("pairs of a colour and a point")
        for who, where in zip(args[::2], args[1::2], strict=True):
            color = EMPTY if who.lower() in ("e", "empty") else _color(who)
            point = self._vertex(where)
            if point == PASS:
                raise Refusal("a pass is no point")
            stones[color].append(point)
        player = self.board.to_play
        trial = self.board.copy()
        trial.place(stones[BLACK], stones[WHITE], stones[EMPTY])
        if any(trial.liberties(i) == 0 for i, stone in enumerate(trial.stones()) if stone):
            raise Refusal("a stone without liberties")
        self.board = trial
        self.board.to_play = player
        return ""

    def gogui_setup_player(self, args: Sequence[str]) -> str:
        self.board.to_play = _color(_word(args, 0, "colour"))
        return ""

    def rules(self, args: Sequence[str]) -> str:
        """Chinese-like or Japanese-like: decides how final_score counts."""
        text = " ".join(args).lower()
        if text.startswith("{"):
            text = _json_rules(text)
        if text not in RULES:
            raise Refusal(f"unknown rules, there are {', '.join(RULES)}")
        self.player.rules = RULES[text]
        return ""

    def get_rules(self, args: Sequence[str]) -> str:
        bonus = HANDICAP_BONUS.get(self.player.rules)
        return json.dumps(
            {
                "hasButton": False,
                "ko": "SIMPLE",
                "scoring": "AREA" if bonus else "TERRITORY",
                "suicide": False,
                "tax": "NONE",
                "whiteHandicapBonus": bonus or "0",
            }
        )

    def set_random_seed(self, args: Sequence[str]) -> str:
        self.player.generator = Random(_whole(args, 0, "seed"))
        return ""

    # ------------------------------------------------------------------------------ playing
    def play(self, args: Sequence[str]) -> str:
        if len(args) < 2:
            raise Refusal("a colour and a point are needed")
        self._play(_color(args[0]), self._vertex(args[1]))
        return ""

    def play_sequence(self, args: Sequence[str]) -> str:
        if len(args) % 2:
            raise Refusal("pairs of a colour and a point")
        before = self.board.copy()
        try:
            for who, where in zip(args[::2], args[1::2], strict=True):
                self._play(_color(who), self._vertex(where))
        except CnnappsError:
            self.board = before
            raise
        return ""

    def _play(self, color: int, point: int) -> None:
        if len(self.board.moves) >= MAX_EVENTS:
            raise Refusal(f"a game has at most {MAX_EVENTS} moves")
        if self.board.why_illegal(point, color):
            raise Refusal("illegal move")
        self.board.play(point, color)

    def genmove(self, args: Sequence[str]) -> str:
        return self._generate(_color(_word(args, 0, "colour")), frozenset())

    def reg_genmove(self, args: Sequence[str]) -> str:
        """As genmove, but nothing is played and nothing remembered."""
        before = self.board
        self.board = before.copy()
        try:
            return self.genmove(args)
        finally:
            self.board = before

    def genmove_cleanup(self, args: Sequence[str]) -> str:
        """As genmove, but dead stones are captured before the pass (KGS)."""
        color = _color(_word(args, 0, "colour"))
        self.board.to_play = color
        point = self.player.clean_up(self.board, self.komi)
        if point == PASS:
            return self._generate(color, frozenset())
        self._play(color, point)
        return to_vertex(point, self.board.size)

    def _generate(self, color: int, banned: frozenset[int]) -> str:
        if len(self.board.moves) >= MAX_EVENTS:
            raise Refusal(f"a game has at most {MAX_EVENTS} moves")
        before = self.board.to_play
        self.board.to_play = color
        try:
            if self.player.hopeless(self.board, self.komi):
                return "resign"
            point = self.player.choose(self.board, self.komi, banned=banned)
        except CnnappsError:
            self.board.to_play = before
            raise
        self.board.play(point, color)
        return to_vertex(point, self.board.size)

    def undo(self, args: Sequence[str]) -> str:
        """Takes moves back, one at a time; a handicap counts as one."""
        times = _whole(args, 0, "number of moves") if args else 1
        if not 1 <= times <= MAX_EVENTS:
            raise Refusal("cannot undo")
        trial = self.board.copy()
        try:
            for _ in range(times):
                trial.undo()
        except InputError as error:
            raise Refusal("cannot undo") from error
        self.board = trial
        return ""

    # ------------------------------------------------------------------------------ records
    def loadsgf(self, args: Sequence[str]) -> str:
        """``FILE [MOVE]``: the position before that move, else the end of the main line.

        A record that names no komi leaves the front end's as it is. Handicap stones that Black laid
        as moves are a handicap here too, for the count, undo and printsgf.
        """
        from cnnapps.apps.go_policy.records import main_line, read
        from cnnapps.core.media import read_bytes

        number = None
        words = list(args)
        if len(words) > 1 and re.fullmatch(r"[0-9]{1,6}", words[-1]):
            number = max(0, int(words.pop()) - 1)
        path = _unquoted(" ".join(words))
        if not path:
            raise Refusal("a file name is needed")
        try:
            record = main_line(read(read_bytes(path), source=path).trees[0])
            self.player.predictor.check_size(record.size, path)
            if number is not None:
                number = min(number, len(record.moves))
            position = position_at(record, number)
        except (CnnappsError, OSError) as error:
            reason = getattr(error, "reason", None) or getattr(error, "strerror", None) or error
            raise Refusal(f"cannot load file: {reason}") from error
        self.board = position.board
        free = record.free_placement
        if free and self.board.move_number >= free and len(self.board.history()) >= free:
            self.board = _with_handicap(self.board, free)
        if record.komi is not None:
            self.komi = record.komi
        return ""

    def printsgf(self, args: Sequence[str]) -> str:
        """The game as SGF, or written to FILE."""
        text = self._sgf()
        path = _unquoted(" ".join(args))
        if not path or path == "-":
            return text
        from cnnapps.core.files import write_bytes

        try:
            write_bytes(path, text.encode() + b"\n")
        except OSError as error:
            raise Refusal(f"cannot write file: {error.strerror or error}") from error
        return ""

    def _sgf(self) -> str:
        board, size = self.board, self.board.size
        moves = board.history()[::-1]
        first = board.start()
        stones = first.stones()
        text = f"(;GM[1]FF[4]CA[UTF-8]SZ[{size}]KM[{self.komi:g}]AP[cnnapps:{__version__}]"
        for color, name in ((BLACK, "AB"), (WHITE, "AW")):
            points = [f"[{to_sgf(i, size)}]" for i, stone in enumerate(stones) if stone == color]
            if points:
                text += name + "".join(points)
        if handicap := board.handicap():
            text += f"HA[{handicap}]"
        if any(stones):
            text += f"PL[{'B' if first.to_play == BLACK else 'W'}]"
        for move in moves:
            text += f"\n;{'B' if move.color == BLACK else 'W'}[{to_sgf(move.point, size)}]"
        return text + ")"

    # ------------------------------------------------------------------------------ the end
    def final_score(self, args: Sequence[str]) -> str:
        return str(self.player.count(self.board, self.komi))

    def final_status_list(self, args: Sequence[str]) -> str:
        """dead, alive, seki; black_territory, white_territory, dame."""
        wanted = _word(args, 0, "status").lower()
        if wanted == "seki":
            return ""
        if wanted not in ("dead", "alive", "black_territory", "white_territory", "dame"):
            raise Refusal("unknown status")
        result = self.player.count(self.board, self.komi)
        stones = self.board.stones()
        if wanted in ("dead", "alive"):
            lines, seen = [], set[int]()
            for i, stone in enumerate(stones):
                if stone != EMPTY and i not in seen:
                    chain = sorted(self.board.chain(i))
                    seen.update(chain)
                    if (i in result.dead) == (wanted == "dead"):
                        lines.append(self._vertices(chain))
            return "\n".join(lines)
        color = {"b": BLACK, "w": WHITE, "d": EMPTY}[wanted[0]]
        points = [
            i
            for i, owner in enumerate(result.owner)
            if owner == color and (stones[i] == EMPTY or i in result.dead)
        ]
        return self._vertices(points)

    def showboard(self, args: Sequence[str]) -> str:
        board = self.board
        taken = f"captured: {board.prisoners(WHITE)} by black, {board.prisoners(BLACK)} by white"
        return f"\n{board}\n{color_name(board.to_play)} to play, {taken}"

    # ------------------------------------------------------------------------------ analysis
    def lz_analyze(self, args: Sequence[str]) -> Reply:
        return self._analyze(args, self._lz_line)

    def kata_analyze(self, args: Sequence[str]) -> Reply:
        return self._analyze(args, self._kata_line)

    def lz_genmove_analyze(self, args: Sequence[str]) -> str:
        return self._generate_analyzed(args, self._lz_line)

    def kata_genmove_analyze(self, args: Sequence[str]) -> str:
        return self._generate_analyzed(args, self._kata_line)

    def _analyze(self, args: Sequence[str], line: Callable[[_Wanted, Floats], str]) -> Reply:
        wanted = self._wanted(args)
        before, self.board.to_play = self.board.to_play, wanted.color
        try:
            text = line(wanted, self.player.policy(self.board, self.komi))
        finally:
            self.board.to_play = before
        return Reply("", _forever(text), wanted.interval)

    def _generate_analyzed(
        self, args: Sequence[str], line: Callable[[_Wanted, Floats], str]
    ) -> str:
        wanted = self._wanted(args)
        before, self.board.to_play = self.board.to_play, wanted.color
        try:
            text = line(wanted, self.player.policy(self.board, self.komi))
        finally:
            self.board.to_play = before
        return f"\n{text}\nplay {self._generate(wanted.color, wanted.banned)}"

    def _wanted(self, args: Sequence[str]) -> _Wanted:
        """``[COLOUR] [INTERVAL] [KEY VALUE ...]``, colour and interval in any order or as keys."""
        words = list(args)
        color, interval = self.board.to_play, INTERVAL
        leading = set[str]()
        values: dict[str, Any] = {}
        banned: set[int] = set()
        allowed: set[int] | None = None
        while words:
            word = words.pop(0).lower()
            if word in _COLORS or re.match(r"[-+.0-9]", word):
                kind = "colour" if word in _COLORS else "interval"
                if kind in leading:
                    raise Refusal(f"a second {kind}: {printable(word, 40)}")
                leading.add(kind)
                if word in _COLORS:
                    color = _COLORS[word]
                else:
                    interval = _centiseconds(word)
            elif word in ("avoid", "allow"):
                if len(words) < 3:
                    raise Refusal(f"{word} needs a colour, points and a depth")
                who, where, _ = words.pop(0), words.pop(0), words.pop(0)
                points = {self._vertex(part) for part in where.split(",") if part}
                if _color(who) == color:
                    if word == "avoid":
                        banned |= points
                    else:
                        allowed = points if allowed is None else allowed | points
            elif not words:
                raise Refusal(f"{printable(word, 40)} needs a value")
            else:
                value = words.pop(0).lower()
                if word == "interval":
                    interval = _centiseconds(value)
                elif word in ("minmoves", "maxmoves"):
                    if not _NUMBER.fullmatch(value):
                        raise Refusal(f"{word} is no number: {printable(value, 40)}")
                    values[word] = int(float(value))
                elif word in ("ownership", "rootinfo"):
                    values[word] = value == "true"
                elif word not in _FOREIGN:
                    raise Refusal(f"no key of an analysis: {printable(word, 40)}")
        if allowed is not None:
            banned |= set(range(self.board.size**2)) - allowed
        return _Wanted(
            color=color,
            interval=min(max(interval, SHORTEST), 3600.0),
            most=values.get("maxmoves", 361),
            least=max(values.get("minmoves", 1), 1),
            ownership=values.get("ownership", False),
            root=values.get("rootinfo", False),
            banned=frozenset(banned),
        )

    def _moves(self, wanted: _Wanted, p: Floats) -> list[tuple[str, float, int]]:
        """(vertex, probability, visits) of the moves to show, best first."""
        area = self.board.size**2
        found = [i for i in np.argsort(-p, kind="stable").tolist() if p[i] > 0]
        found = [i for i in found if (i if i < area else PASS) not in wanted.banned]
        shown = [i for i in found if p[i] >= SHOWN]
        shown = (shown if len(shown) >= wanted.least else found[: wanted.least])[: wanted.most]
        return [
            (
                to_vertex(i if i < area else PASS, self.board.size),
                float(p[i]),
                max(1, round(VISITS * float(p[i]))),
            )
            for i in shown
        ]

    def _lz_line(self, wanted: _Wanted, p: Floats) -> str:
        return " ".join(
            f"info move {vertex} visits {visits} winrate 5000 prior {round(10000 * prior)} "
            f"lcb 5000 order {order} pv {vertex}"
            for order, (vertex, prior, visits) in enumerate(self._moves(wanted, p))
        )

    def _kata_line(self, wanted: _Wanted, p: Floats) -> str:
        moves = self._moves(wanted, p)
        parts = [
            f"info move {vertex} visits {visits} utility 0 winrate 0.5 scoreMean 0 scoreStdev 0 "
            f"scoreLead 0 scoreSelfplay 0 prior {prior:.6f} lcb 0.5 utilityLcb 0 order {order} "
            f"pv {vertex}"
            for order, (vertex, prior, visits) in enumerate(moves)
        ]
        if wanted.root:
            visits = sum(move[2] for move in moves)
            parts.append(
                f"rootInfo visits {visits} utility 0 winrate 0.5 scoreLead 0 scoreSelfplay 0"
            )
        if wanted.ownership:
            sign = 1 if wanted.color == BLACK else -1
            owners = sign * self.player.owners(self.board)
            parts.append("ownership " + " ".join(f"{value:.3f}" for value in owners))
        return " ".join(parts)

    def raw_nn(self, args: Sequence[str]) -> str:
        """The whole policy, as one of the 8 symmetries sees it, or each: "all"."""
        which = args[0].lower() if args else "0"
        if which != "all" and not re.fullmatch("[0-7]", which):
            raise Refusal("a symmetry from 0 to 7, or all")
        position = Position(self.board, self.komi)
        images = self.player.predictor.images(position)
        size = self.board.size
        legal = np.array(self.board.legal()).reshape(size, size)
        blocks = []
        for k in range(8) if which == "all" else [int(which)]:
            grid = images[k][:-1].reshape(size, size)
            rows = [
                " ".join(f"{v:.6f}" if ok else "NAN" for v, ok in zip(row, good, strict=True))
                for row, good in zip(grid, legal, strict=True)
            ]
            head = f"symmetry {k}\nwhiteWin 0.5\nwhiteLoss 0.5\nnoResult 0\nwhiteLead 0\npolicy\n"
            blocks.append(head + "\n".join(rows) + f"\npolicyPass {images[k][-1]:.6f}")
        return "\n" + "\n".join(blocks)

    def analyze_commands(self, args: Sequence[str]) -> str:
        return "\n".join(
            (
                "gfx/Policy/policy_gfx",
                "pspairs/Policy in percent/policy_pairs",
                "dboard/Ownership/ownership",
                "string/Final score/final_score",
                "plist/Dead stones/final_status_list dead",
            )
        )

    def policy_gfx(self, args: Sequence[str]) -> str:
        """A heat map: pale yellow to red, per cent on the moves from one per cent on."""
        p = self.player.policy(self.board, self.komi)
        best = max(float(p.max()), 1e-9)
        colors: dict[str, list[str]] = {}
        labels = []
        for i in np.argsort(-p[:-1], kind="stable").tolist():
            if p[i] < SHOWN:
                break
            vertex = to_vertex(i, self.board.size)
            heat = (float(p[i]) / best) ** 0.5
            shade = f"#ff{round(240 * (1 - heat)):02x}{round(160 * (1 - heat)):02x}"
            colors.setdefault(shade, []).append(vertex)
            if p[i] >= 0.01:
                labels.append(f"LABEL {vertex} {round(100 * float(p[i]))}")
        lines = [f"COLOR {shade} {' '.join(where)}" for shade, where in colors.items()]
        side = color_name(self.board.to_play)
        return "\n".join([*lines, *labels, f"TEXT {side} to play, pass {float(p[-1]):.1%}"])

    def policy_pairs(self, args: Sequence[str]) -> str:
        p = self.player.policy(self.board, self.komi)
        shown = [i for i in np.argsort(-p[:-1], kind="stable").tolist() if p[i] >= 0.005]
        return " ".join(f"{to_vertex(i, self.board.size)} {100 * p[i]:.0f}" for i in shown)

    def ownership(self, args: Sequence[str]) -> str:
        """A number for each point, -1 White's to 1 Black's."""
        owners = self.player.owners(self.board).reshape(self.board.size, -1)
        return "\n" + "\n".join(" ".join(f"{v:.2f}" for v in row) for row in owners)

    # ------------------------------------------------------------------------------ helpers
    def _must_be_empty(self) -> None:
        if any(self.board.stones()) or self.board.moves:
            raise Refusal("board not empty")

    def _vertex(self, text: str) -> int:
        try:
            return from_vertex(text, self.board.size)
        except InputError as error:
            raise Refusal("invalid coordinate") from error

    def _vertices(self, points: Sequence[int]) -> str:
        return " ".join(to_vertex(point, self.board.size) for point in points)


_COLORS = {"b": BLACK, "black": BLACK, "w": WHITE, "white": WHITE}
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{0,9})?")


_FOREIGN = frozenset(
    [
        "ownershipstdev",
        "movesownership",
        "movesownershipstdev",
        "pvvisits",
        "pvedgevisits",
        "noresultvalue",
    ]
)
"""Keys of KataGo's analysis that ask for what a policy has not; front ends send them."""


def _centiseconds(text: str) -> float:
    """An interval, in seconds."""
    if not _NUMBER.fullmatch(text):
        raise Refusal(f"no interval in hundredths of a second: {printable(text, 40)}")
    return float(text) / 100


def _with_handicap(board: Board, stones: int) -> Board:
    """The same game with its first ``stones`` moves as set-up."""
    moves = board.history()[::-1]
    first = board.start()
    first.place(black=[move.point for move in moves[:stones] if move.point != PASS])
    first.to_play = WHITE
    for color, point in moves[stones:]:
        first.play(point, color, force=True)
    first.to_play = board.to_play
    return first


def _color(text: str) -> int:
    if text.lower() not in _COLORS:
        raise Refusal("invalid color")
    return _COLORS[text.lower()]


def _json_rules(text: str) -> str:
    """The rules that KataGo's JSON (in lower case) means; Refusal for those we can't count by."""
    try:
        given = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Refusal("rules that are no JSON") from error
    can: dict[str, tuple[object, ...]] = {  # the first is meant where nothing is said
        "scoring": ("area", "territory"),
        "whitehandicapbonus": ("0", "n", "n-1"),
        "tax": ("none",),
        "hasbutton": (False,),
        "suicide": (False,),
        "ko": ("simple", "positional", "situational"),
        "friendlypassok": (False, True),
    }
    for name, value in given.items():
        if value not in can.get(name, ()):
            raise Refusal(f"cannot count by {json.dumps(name)}: {json.dumps(value)[:40]}")
    if given.get("scoring") == "territory":
        return "japanese"
    bonus = given.get("whitehandicapbonus", "0")
    return {"n": "chinese", "n-1": "aga"}.get(bonus, "tromp-taylor")


def _word(args: Sequence[str], index: int, what: str) -> str:
    if len(args) <= index:
        raise Refusal(f"{what} missing")
    return args[index]


def _whole(args: Sequence[str], index: int, what: str) -> int:
    text = _word(args, index, what)
    if not re.fullmatch(r"-?[0-9]{1,9}", text):
        raise Refusal(f"{what} not an integer")
    return int(text)


def _unquoted(path: str) -> str:
    quoted = len(path) > 1 and path[0] == path[-1] and path[0] in "\"'"
    return path[1:-1] if quoted else path


def _one(error: CnnappsError) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _forever(text: str) -> Iterator[str]:
    while True:
        yield text


COMMANDS: dict[str, Callable[[Engine, Sequence[str]], str | Reply]] = {
    "protocol_version": Engine.protocol_version,
    "name": Engine.name,
    "version": Engine.version,
    "known_command": Engine.known_command,
    "list_commands": Engine.list_commands,
    "quit": Engine.quit,
    "boardsize": Engine.boardsize,
    "rectangular_boardsize": Engine.boardsize,
    "clear_board": Engine.clear_board,
    "komi": Engine.set_komi,
    "get_komi": Engine.get_komi,
    "fixed_handicap": Engine.fixed_handicap,
    "place_free_handicap": Engine.place_free_handicap,
    "set_free_handicap": Engine.set_free_handicap,
    "play": Engine.play,
    "genmove": Engine.genmove,
    "reg_genmove": Engine.reg_genmove,
    "undo": Engine.undo,
    "gg-undo": Engine.undo,
    "loadsgf": Engine.loadsgf,
    "printsgf": Engine.printsgf,
    "showboard": Engine.showboard,
    "final_score": Engine.final_score,
    "final_status_list": Engine.final_status_list,
    "time_settings": Engine.nothing,
    "time_left": Engine.nothing,
    "clear_cache": Engine.nothing,
    "stop": Engine.nothing,
    "set_random_seed": Engine.set_random_seed,
    "kgs-genmove_cleanup": Engine.genmove_cleanup,
    "kgs-rules": Engine.rules,
    "kgs-time_settings": Engine.nothing,
    "kgs-game_over": Engine.nothing,
    "lz-analyze": Engine.lz_analyze,
    "lz-genmove_analyze": Engine.lz_genmove_analyze,
    "kata-analyze": Engine.kata_analyze,
    "kata-genmove_analyze": Engine.kata_genmove_analyze,
    "kata-raw-nn": Engine.raw_nn,
    "kata-get-rules": Engine.get_rules,
    "kata-set-rules": Engine.rules,
    "gogui-analyze_commands": Engine.analyze_commands,
    "gogui-play_sequence": Engine.play_sequence,
    "gogui-setup": Engine.gogui_setup,
    "gogui-setup_player": Engine.gogui_setup_player,
    "policy_gfx": Engine.policy_gfx,
    "policy_pairs": Engine.policy_pairs,
    "ownership": Engine.ownership,
}


# ------------------------------------------------------------------------------------- the loop
class Source(Protocol):
    """Lines as they come in."""

    def line(self, timeout: float | None = None) -> str | None:
        """The next line; TimeoutError if none comes within ``timeout`` seconds, None at the end."""
        ...


class Lines:
    """The lines of a file descriptor, read by a thread, so an analysis can look whether one is
    there (select knows no pipes on Windows). A line longer than MAX_LINE is cut.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(10_000)
        threading.Thread(target=self._read, daemon=True).start()

    def line(self, timeout: float | None = None) -> str | None:
        try:
            return self._lines.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError from None

    def _read(self) -> None:
        rest, cut = b"", False
        while True:
            try:
                block = os.read(self._descriptor, 65_536)
            except OSError:
                block = b""
            parts = (rest + block).split(b"\n")
            rest = parts.pop()
            for part in parts:
                self._put(part, cut)
                cut = False
            if len(rest) > MAX_LINE:
                rest, cut = rest[: MAX_LINE + 1], True
            if not block:
                if rest:
                    self._put(rest, cut)
                self._lines.put(None)
                return

    def _put(self, line: bytes, cut: bool) -> None:
        long = cut or len(line) > MAX_LINE
        self._lines.put(TOO_LONG if long else line.decode("utf-8", "replace"))


def serve(engine: Engine, source: Source, write: Callable[[str], None]) -> None:
    """Answer every line until ``quit`` or the end of the input. ``write`` must flush."""
    waiting: str | None = None
    while True:
        line = source.line() if waiting is None else waiting
        waiting = None
        if line is None:
            return
        reply = engine.handle(line)
        if reply is None:
            continue
        write(reply.text)
        if reply.last:
            return
        if reply.more is not None:
            for info in reply.more:
                write(f"{info}\n")
                try:
                    waiting = source.line(reply.interval)
                except TimeoutError:
                    continue
                break
            write("\n")
            if waiting is None:
                return
