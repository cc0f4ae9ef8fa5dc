"""The game in a record: what was played, by whom, under which rules.

    collection = read(data, source="game.sgf")      # SGF, GIB, NGF or UGF
    record = main_line(collection.trees[0])         # or line(tree, "2.1"): a variation
    nodes = nodes_on(collection.trees[0])           # event.node is an index into these

What a file means is settled here: how many points its komi is, which stones a handicap puts where,
what is a pass. An InputError names the move or the byte; what was doubtful stands in ``warnings``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from cnnapps.apps.go_policy.foreign import read_foreign, recognise
from cnnapps.apps.go_policy.sgf import (
    DEFAULT_LIMITS,
    MAX_SIZE,
    Collection,
    Colour,
    GameTree,
    Limits,
    Node,
    Point,
    Property,
    Warnings,
    handicap_points,
    nodes_on,
    parse,
    simple,
    to_point,
)
from cnnapps.core.errors import InputError

__all__ = [
    "RECORDS",
    "TABLES",
    "Event",
    "Move",
    "Record",
    "Setup",
    "ToPlay",
    "line",
    "main_line",
    "nodes_on",
    "read",
]

RECORDS = (".sgf", ".gib", ".ngf", ".ugf", ".ugi")
"""Suffixes of the files that ``read`` reads."""
TABLES = (".tsv", ".tsv.gz", ".tsv.xz")
"""Suffixes of tables of games or positions (``data.read_table``)."""

_MOVES: dict[str, Colour] = {"B": "black", "W": "white"}
_MAX_PLACED = 1_000_000  # set-up stones of one line: rectangles are cheap to write


@dataclass(frozen=True, slots=True)
class Move:
    """Move ``number`` (from 1) of the line; ``point`` None is a pass.

    ``node`` counts the nodes of the line from 0 (the root), ``offset`` is the byte in the file.
    """

    colour: Colour
    point: Point | None
    number: int
    node: int
    offset: int


@dataclass(frozen=True, slots=True)
class Setup:
    """Stones put on the board or taken off: no move, no capture, no ko."""

    black: tuple[Point, ...]
    white: tuple[Point, ...]
    empty: tuple[Point, ...]
    node: int
    offset: int


@dataclass(frozen=True, slots=True)
class ToPlay:
    """From here it is ``colour``'s turn (PL)."""

    colour: Colour
    node: int
    offset: int


Event = Move | Setup | ToPlay


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One line of play and what the file says about the game.

    ``komi`` in points for White (None if not given), also where the file counts in stones or
    hundredths. ``handicap`` is 0 for an even game; that many of the first moves as
    ``free_placement`` says are handicap stones, put by Black as moves. ``ruleset`` is japanese,
    chinese, korean, aga, new-zealand, ing, tromp-taylor, or "" where ``rules`` (as written) says
    nothing of the kind. ``first`` moves first.
    """

    source: str
    columns: int
    rows: int
    komi: float | None
    handicap: int
    free_placement: int
    rules: str
    ruleset: str
    black: str
    white: str
    black_rank: str
    white_rank: str
    result: str
    date: str
    first: Colour
    events: tuple[Event, ...]
    warnings: tuple[str, ...]

    @property
    def moves(self) -> tuple[Move, ...]:
        return tuple(event for event in self.events if isinstance(event, Move))

    @property
    def size(self) -> int:
        """Side of the board; InputError if it is not square."""
        if self.columns != self.rows:
            raise InputError(self.source, f"the board is {self.columns}x{self.rows}, not square")
        return self.columns


def read(
    data: bytes,
    *,
    source: object = "",
    encoding: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Collection:
    """The games of a file: SGF, or GIB, NGF or UGF, told apart by what is in it.

    InputError if there is no game in it or a line makes no sense, LimitError beyond ``limits``.
    """
    if data.startswith(b"PK\x03\x04"):
        raise InputError(source, "is a zip archive: unpack it (train alone reads them as they are)")
    form = recognise(data)
    if form is not None:
        return read_foreign(data, form, source=source, encoding=encoding, limits=limits)
    return parse(data, source=source, encoding=encoding, limits=limits)


def main_line(tree: GameTree) -> Record:
    """The game as played: the first variation everywhere."""
    return line(tree, "")


def line(tree: GameTree, path: str) -> Record:
    """The line of play that ``path`` names (see ``nodes_on``)."""
    return _Extraction(tree, nodes_on(tree, path)).record()


class _Extraction:
    """One line of a tree on its way to a Record."""

    def __init__(self, tree: GameTree, nodes: Sequence[Node]) -> None:
        self.collection = tree.collection
        self.source = tree.collection.source
        self.nodes = nodes
        self.warnings = Warnings(self.collection.decoded)
        self._known = (0, 0)  # a character index and its byte
        self._placed = 0  # stones so far, each time that they are placed
        self.columns, self.rows = self._board()

    def record(self) -> Record:
        self._check_game()
        handicap, where = self._given_handicap()
        events = self._events()
        handicap, free = self._settle_handicap(handicap, where, events)
        rules = self._info("RU")
        return Record(
            source=self.source,
            columns=self.columns,
            rows=self.rows,
            komi=self._komi(handicap, rules),
            handicap=handicap,
            free_placement=free,
            rules=rules,
            ruleset=_ruleset(rules),
            black=self._info("PB"),
            white=self._info("PW"),
            black_rank=self._info("BR"),
            white_rank=self._info("WR"),
            result=self._info("RE"),
            date=self._info("DT"),
            first=_first_player(events, handicap),
            events=tuple(events),
            warnings=self.collection.warnings + self.warnings.lines(),
        )

    # game information

    def _find(self, name: str) -> Property | None:
        """The property of that name that comes first on the line."""
        for node in self.nodes:
            found = node.find(name)
            if found is not None:
                return found
        return None

    def _info(self, name: str) -> str:
        found = self._find(name)
        return simple(found.values[0]) if found else ""

    def _byte(self, index: int) -> int:
        """Byte of a character; cheap when asked in the order of the file."""
        self._known = index, self.collection.decoded.byte_offset(index, since=self._known)
        return self._known[1]

    def _warn(self, what: str, item: Property) -> None:
        self.warnings.add(what, item.offset)

    def _fail(self, what: str, item: Property) -> InputError:
        return InputError(self.source, f"byte {self._byte(item.offset)}: {what}")

    def _check_game(self) -> None:
        game = self._find("GM")
        if game is not None and (number := simple(game.values[0])).isdigit() and number != "1":
            raise self._fail(f"not a game of Go (GM[{number}])", game)

    def _board(self) -> tuple[int, int]:
        size = self._find("SZ")
        if size is None or not (written := simple(size.values[0])):
            return 19, 19
        found = re.fullmatch(r"(\d{1,3})(?:\s*[:x]\s*(\d{1,3}))?", written)
        columns, rows = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not (0 < columns <= MAX_SIZE and 0 < rows <= MAX_SIZE):
            raise self._fail(f"no board size: SZ[{written}]", size)
        return columns, rows

    def _komi(self, handicap: int, rules: str) -> float | None:
        item = self._find("KM")
        if item is None:
            return self._komi_in_words()
        written = simple(item.values[0])
        if not written:
            return None
        komi = _number(written)
        if komi is None:
            self._warn(f"no komi: KM[{written}]", item)
            return None
        fox = "foxwq" in self._all("AP")
        points = _komi_in_points(komi, fox=fox)
        if fox and komi == 0 and handicap == 0:  # Fox leaves the komi of even games out
            points = 7.5 if _ruleset(rules) == "chinese" else 6.5
        if not abs(points) <= self.columns * self.rows:
            self._warn(f"no komi: KM[{written}]", item)
            return None
        if points != komi:
            self._warn(f"KM[{written}] read as {points:g} points", item)
        return points

    def _komi_in_words(self) -> float | None:
        """Nihon Ki-in writes KO[黒6目半]: Black gives six and a half points."""
        item = self._find("KO")
        found = re.search(r"(\d+)目(半?)", simple(item.values[0])) if item else None
        return int(found[1]) + (0.5 if found[2] else 0.0) if found and len(found[1]) < 4 else None

    def _all(self, name: str) -> list[str]:
        return [simple(value) for node in self.nodes[:1] for value in node.values(name)]

    # handicap

    def _given_handicap(self) -> tuple[int, Property | None]:
        item = self._find("HA")
        if item is None or not (written := simple(item.values[0])):
            return 0, item
        number = _number(written)
        if number is None or not 0 <= number <= self.columns * self.rows or number % 1:
            self._warn(f"no handicap: HA[{written}]", item)
            return 0, item
        return int(number), item

    def _settle_handicap(
        self, given: int, item: Property | None, events: list[Event]
    ) -> tuple[int, int]:
        """The true handicap and how many first moves place it; adds stones that HA only counts."""
        first = next((i for i, event in enumerate(events) if isinstance(event, Move)), len(events))
        opening = events[first:]
        setups = [event for event in events[:first] if isinstance(event, Setup)]
        placed = sum(len(event.black) for event in setups)
        white_first = bool(opening) and _is_move(opening[0], "white")
        only_black = placed > 1 and not any(event.white or event.empty for event in setups)
        if item is None:
            return (placed if only_black and white_first else 0), 0
        if given < 2:
            return given, 0
        if placed:
            if placed != given:
                self._warn(f"HA[{given}], but {placed} stones are placed", item)
            return given, 0
        if len(opening) >= given and all(_is_move(event, "black") for event in opening[:given]):
            return given, given
        points = self._standard_points(given, opening) if white_first else ()
        if not points:
            self._warn(f"HA[{given}], but no stones are placed", item)
            return given, 0
        self._warn(f"HA[{given}] without stones: taken as the standard points", item)
        events.insert(first, Setup(points, (), (), 0, self._byte(item.offset)))
        return given, 0

    def _standard_points(self, number: int, moves: Sequence[Event]) -> tuple[Point, ...]:
        """The usual points, if nobody ever plays on one of them."""
        taken = {event.point for event in moves if isinstance(event, Move)}
        for third in ("top left", "bottom right"):
            points = handicap_points(number, self.columns, self.rows, third=third)
            if points and taken.isdisjoint(points):
                return points
        return ()

    # events

    def _events(self) -> list[Event]:
        events: list[Event] = []
        number = 0
        for index, node in enumerate(self.nodes):
            names = {item.name for item in node.properties}
            if not names.isdisjoint(("AB", "AW", "AE")):
                events.append(self._setup(node, index))
            for item in node.properties:
                colour = _MOVES.get(item.name)
                if colour is None:
                    continue
                if events and isinstance(events[-1], Move) and events[-1].node == index:
                    self._warn("more than one move in a node", item)
                if len(item.values) > 1:
                    self._warn(f"more than one move in {item.name}", item)
                for value in item.values:
                    number += 1
                    offset = self._byte(item.offset or node.offset)
                    point = self._played(item, value, number, offset)
                    events.append(Move(colour, point, number, index, offset))
            if "PL" in names:  # beside a move it tells whose turn comes next
                events.extend(self._to_play(node, index))
        return events

    def _played(self, item: Property, value: str, number: int, offset: int) -> Point | None:
        try:
            return to_point(value, self.columns, self.rows)
        except ValueError as error:
            shown = value if len(value) <= 20 else value[:20] + "..."
            where = f"move {number}: {item.name}[{shown}] at byte {offset}"
            raise InputError(self.source, f"{where}: {error}") from None

    def _setup(self, node: Node, index: int) -> Setup:
        stones: dict[Point, str] = {}  # a point that is named twice: the last word counts
        first: Property | None = None
        for item in node.properties:
            if item.name in ("AB", "AW", "AE"):
                first = first or item
                for value in item.values:
                    points = self._points(item, value)
                    self._placed += len(points)
                    if self._placed > _MAX_PLACED:
                        raise self._fail(f"more than {_MAX_PLACED} stones are placed", item)
                    stones.update(dict.fromkeys(points, item.name))
        by_name = {
            name: tuple(point for point, of in stones.items() if of == name)
            for name in ("AB", "AW", "AE")
        }
        offset = self._byte((first.offset if first else 0) or node.offset)
        return Setup(by_name["AB"], by_name["AW"], by_name["AE"], index, offset)

    def _points(self, item: Property, value: str) -> list[Point]:
        """The point, or the rectangle "aa:cc", of one value."""
        if not value.strip():
            return []  # AB[]: no stone
        corners = value.split(":")
        try:
            points = [to_point(corner, self.columns, self.rows) for corner in corners]
        except ValueError as error:
            raise self._fail(f"{item.name}[{value[:20]}]: {error}", item) from None
        if None in points or len(points) > 2:
            raise self._fail(f"{item.name}[{value[:20]}]: no point", item)
        columns, rows = zip(*(point for point in points if point), strict=True)
        return [
            (column, row)
            for row in range(min(rows), max(rows) + 1)
            for column in range(min(columns), max(columns) + 1)
        ]

    def _to_play(self, node: Node, index: int) -> list[ToPlay]:
        item = node.find("PL")
        assert item is not None
        colour = _colour(simple(item.values[0]))
        if colour is None:
            self._warn("PL names no colour", item)
            return []
        return [ToPlay(colour, index, self._byte(item.offset or node.offset))]


def _is_move(event: Event, colour: Colour) -> bool:
    return isinstance(event, Move) and event.colour == colour


def _colour(written: str) -> Colour | None:
    word = written.lower()
    if word in ("b", "black", "1"):
        return "black"
    return "white" if word in ("w", "white", "2") else None


def _first_player(events: Sequence[Event], handicap: int) -> Colour:
    for event in events:
        if isinstance(event, Move | ToPlay):
            return event.colour
    return "white" if handicap >= 2 else "black"


_NUMBER = re.compile(
    r"([+-]?(?:\d{1,9}(?:[.,]\d{0,9})?|[.,]\d{1,9}))(目半)?(?:[^\d.,eE].*)?", re.DOTALL
)


def _number(written: str) -> float | None:
    """The number that a value begins with: 6.5, 6,5, 6.5 points, 6目半; digits of any script."""
    found = _NUMBER.fullmatch(written.replace(" ", ""))
    if not found:
        return None
    return float(found[1].replace(",", ".")) + (0.5 if found[2] else 0.0)


def _komi_in_points(komi: float, *, fox: bool) -> float:
    """Fox and its copies write hundredths, of points (650) or of stones (325: two points each).

    A quarter (3.75, Chinese records) can only mean stones. The same values as in KataGo's reader.
    """
    hundredths = abs(komi) >= 100 or (fox and komi == 50)
    points = komi / 100 if hundredths else komi
    stones = (hundredths and 1 < abs(points) <= 4) or points % 0.5 == 0.25
    return 2 * points if stones else points


def _ruleset(rules: str) -> str:
    words = rules.lower()
    return next((name for name, signs in _RULESETS.items() if re.search(signs, words)), "")


_RULESETS = {
    "japanese": r"japan|nihon|日本|^jpn?$",
    "chinese": r"chin|中国|中國|^cn$",
    "korean": r"korea|한국|韩国|韓国|^kr$",
    "aga": r"\baga\b",
    "new-zealand": r"\bnz\b|new.?zealand",
    "tromp-taylor": r"tromp",
    "ing": r"\bing\b|\bgoe\b|应氏|應氏",
}
