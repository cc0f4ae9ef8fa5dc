"""Smart Game Format: read a file into game trees, annotate them, write it back.

    collection = parse(data, source="game.sgf")
    root = collection.trees[0].root
    label(root, {(15, 3): "A"})
    annotated = collection.to_bytes()

The format is FF[4] (https://www.red-bean.com/sgf/), read as files really are: FF[1] to FF[3] with
their long names (``PlayerBlack``), mail around the game, nodes without ``;``, missing brackets, any
encoding (charset.py). What had to be mended or skipped is told in ``warnings``; what can't be
understood is an InputError that names the byte.

A tree keeps the text of every token with the white space before it: a file that nobody changed is
written back byte for byte, one that was annotated differs only there (and is UTF-8 then).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from cnnapps.core.charset import ESCAPED, Decoded, canonical, decode
from cnnapps.core.errors import InputError, LimitError, printable

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_SIZE",
    "Collection",
    "Colour",
    "GameTree",
    "Limits",
    "Node",
    "Point",
    "Property",
    "Warnings",
    "add_variation",
    "comment",
    "escape",
    "handicap_points",
    "label",
    "mark",
    "nodes_on",
    "parse",
    "simple",
    "to_point",
    "to_sgf",
    "unescape",
]

Colour = Literal["black", "white"]
Point = tuple[int, int]  # (column, row) from the top left, 0-based: "pd" is (15, 3)

_LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
_INDEX = {letter: number for number, letter in enumerate(_LETTERS)}
MAX_SIZE = len(_LETTERS)  # 52, the largest board of the format


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a reader accepts, so that no file can take all time or memory.

    ``max_nodes`` counts nodes, variations and values together (a game of 250 moves has about 600).
    ``max_depth`` is generous because some servers nest a variation for each move.
    """

    max_bytes: int = 16 * 2**20
    max_nodes: int = 1_000_000
    max_depth: int = 10_000


DEFAULT_LIMITS = Limits()


class Property(NamedTuple):
    """``name`` in capitals, the raw (escaped) ``values``, and where they came from.

    ``source`` is the text as it stood in the file (None: write it anew), ``offset`` the index of
    its first character in ``Collection.text``.
    """

    name: str
    values: tuple[str, ...]
    source: str | None = None
    offset: int = 0


class Node:
    """A node of the game tree, with its properties in the order of the file.

    ``opens``, ``lead`` and ``closes`` hold the text that stood around it: up to and including
    ``(``, ``;`` and ``)``; None where there was none.
    """

    __slots__ = ("children", "closes", "lead", "offset", "opens", "parent", "properties")

    def __init__(
        self, parent: Node | None = None, offset: int = 0, lead: str | None = None
    ) -> None:
        self.parent = parent
        self.children: list[Node] = []
        self.properties: list[Property] = []
        self.offset = offset
        self.opens: str | None = None
        self.lead = lead
        self.closes: str | None = None
        if parent is not None:
            parent.children.append(self)

    def find(self, name: str) -> Property | None:
        """The first property of that name."""
        return next((item for item in self.properties if item.name == name), None)

    def values(self, name: str) -> list[str]:
        """All raw values under that name, also when the property stands there twice."""
        return [value for item in self.properties if item.name == name for value in item.values]

    def text(self, name: str) -> str | None:
        """The first value as text: escapes and soft line breaks resolved."""
        values = self.values(name)
        return unescape(values[0]) if values else None

    def set(self, name: str, values: Iterable[str]) -> None:
        """Give the property these raw values, in its old place or at the end."""
        fresh = Property(name, tuple(values))
        places = [i for i, item in enumerate(self.properties) if item.name == name]
        for place in reversed(places[1:]):
            del self.properties[place]
        if places:
            self.properties[places[0]] = fresh
        else:
            self.properties.append(fresh)


@dataclass(slots=True, eq=False)
class GameTree:
    """One game of a collection; ``root`` has the game's information."""

    root: Node
    collection: Collection


@dataclass(slots=True, eq=False)
class Collection:
    """A file: its games in ``trees``, the text between them in ``gaps`` (one more than trees).

    ``form`` is the file's format: "sgf", "gib", "ngf" or "ugf".
    """

    source: str
    data: bytes
    decoded: Decoded
    trees: list[GameTree]
    gaps: list[str]
    warnings: tuple[str, ...]
    form: str = "sgf"
    claims: tuple[str, ...] = ()
    """The encodings that its games say they are in (CA), if they say several."""

    @property
    def text(self) -> str:
        return self.decoded.text

    @property
    def encoding(self) -> str:
        return self.decoded.encoding

    @property
    def unreadable(self) -> int:
        """Bytes that are no text in the encoding."""
        return len(ESCAPED.findall(self.text))

    def to_bytes(self) -> bytes:
        """The file as SGF: the bytes that were read if nothing changed, else UTF-8 with CA set."""
        if self._serialised() == self.text:
            return self.data
        text = self._serialised(charset="UTF-8")
        return text.encode("utf-8", "replace")  # bytes that were no characters end as "?"

    def _serialised(self, charset: str | None = None) -> str:
        pieces: list[str] = []
        for gap, tree in zip(self.gaps, self.trees, strict=False):
            pieces.append(gap)
            _write(tree.root, pieces, charset)
        pieces.append(self.gaps[-1])
        return "".join(pieces)


# --- reading --------------------------------------------------------------------------------------

_NAME = r"[A-Za-z][A-Za-z0-9_]*+"
_START = re.compile(r"\(\s*+;")
_START_WITHOUT_NODE = re.compile(r"\s*+\(\s*+(?=[A-Z][A-Za-z]*+\s*+\[)")  # "(\nTE[...": Nihon Ki-in
_START_WITHOUT_PAREN = re.compile(r"\s*+(?=;\s*+[A-Z][A-Za-z]*+\s*+\[)")
# The quick way: a sign, or a property whose values hold no sign. Everything else is _difficult.
_TOKEN = re.compile(
    rf"\s*+(?:([();])|({_NAME})((?:\s*+\[[^\]\\\[;()]*+\])++)(?!\s*+\[))",
)
_SIMPLE_VALUES = re.compile(r"\[([^\]]*+)\]")
_PROPERTY = re.compile(rf"\s*+({_NAME})(?=\s*+\[)")
_TEXT_VALUE = re.compile(r"\s*+\[((?:[^\]\\]++|\\.)*+)\]", re.DOTALL)
_POINT_VALUE = re.compile(r"\s*+\[((?:[^\]\\\[;()]++|\\.)*+)\]", re.DOTALL)
_UNCLOSED = re.compile(r"\s*+\[")
_POINT_ENDS = re.compile(r"[;()\[\r\n]|\Z")
_JUNK = re.compile(rf"(?:[^();\[A-Za-z]++|{_NAME}(?!\s*+\[)|\[(?:[^\]\\\[;()]*+\])?)++")
# Values that hold points: a bracket, paren or semicolon in one means that its "]" is missing.
_POINT_NAMES = frozenset(
    ("B", "W", "AB", "AW", "AE", "MA", "TR", "CR", "SQ", "SL", "TB", "TW", "DD", "VW")
)
_BLANK = "\ufeff\0\x1a \t\r\n\f\v"
_GAME = re.compile(rb"\(\s*+;")
_CHARSET = re.compile(rb"(?<![A-Za-z])CA\s*\[([^\]\\]{1,40})\]")
_EXPLAINED = re.compile(
    rf"\s*+(?:[();]|{_NAME}(?:\s*+\[(?:[^\]\\]++|\\.)*+(?:\]|\Z))++)", re.DOTALL
)
_TORN = re.compile(  # signs that a wrong encoding swallowed a "]"
    r"(?:\\\]|[^\]\s();])\s*+;\s*+[BW]\s*+\[|(?:\\\]|[^\x00-\x7f])\s*+[A-Z]{2}\["
)


def parse(
    data: bytes,
    *,
    source: object = "",
    encoding: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Collection:
    """All games of an SGF file. InputError if there is none, LimitError beyond ``limits``.

    ``encoding`` overrides what the file says and what its bytes look like.
    """
    if len(data) > limits.max_bytes:
        raise LimitError(source, f"{len(data)} bytes of game record", "--max-bytes")
    names = _claims(data)
    claimed = _claimed(names)
    decoded = decode(data, source=source, encoding=encoding, claimed=claimed, faults=_faults)
    collection = _Parser(decoded, str(source), limits).collection(data)
    several = dict.fromkeys(canonical(name) or "" for name in names)
    if len(several) > 1 and len(collection.trees) > 1 and not decoded.text.isascii():
        collection.claims = tuple(name for name in several if name)
    if len(collection.claims) > 1:
        what = " and ".join(collection.claims)
        note = f"its games say {what}, all of it was read as {decoded.encoding} (split the file)"
        collection.warnings = (note, *collection.warnings)
    return collection


def _claims(data: bytes) -> list[str]:
    """The encodings that a file says it is in: every CA."""
    game = _GAME.search(data)
    return [name.decode("latin-1") for name in _CHARSET.findall(data, game.start() if game else 0)]


def _claimed(names: Sequence[str]) -> str | None:
    """The claim to begin with: of several (other games, broken files) UTF-8, for it can be checked,
    else the first that is known.
    """
    known = [name for name in names if canonical(name)]
    if any(canonical(name) == "utf-8" for name in set(known)):
        return "utf-8"
    return next(iter(known or names), None)


def _faults(text: str) -> int:
    """How many places of ``text`` no reading of SGF explains; more than a few count as a few."""
    start = _START.search(text)
    junk = _EXPLAINED.sub("", text[start.start() if start else 0 :]).split()
    return min(len(junk), 5) + min(len(_TORN.findall(text)), 5)


class Warnings:
    """What a reader mended or skipped: one line of each kind, with the first place of it."""

    def __init__(self, decoded: Decoded) -> None:
        self._decoded = decoded
        self._first: dict[str, int] = {}
        self._count: dict[str, int] = {}

    def add(self, what: str, index: int) -> None:
        """``index`` is a position in the text; ``what`` one of a small number of sentences."""
        self._first.setdefault(what, index)
        self._count[what] = self._count.get(what, 0) + 1

    def lines(self) -> tuple[str, ...]:
        lines = []
        for what, index in self._first.items():
            more = f" (and {self._count[what] - 1} more)" if self._count[what] > 1 else ""
            where = f"byte {self._decoded.byte_offset(index)}"
            lines.append(f"{where}: {printable(what, 100)}{more}")
        return tuple(lines)


class _Parser:
    """Reads a collection token by token, without recursion, and mends what it can."""

    def __init__(self, decoded: Decoded, source: str, limits: Limits) -> None:
        self.decoded = decoded
        self.text = decoded.text
        self.source = source
        self.limits = limits
        self.warnings = Warnings(decoded)
        self.count = 0

    def collection(self, data: bytes) -> Collection:
        trees: list[GameTree] = []
        collection = Collection(self.source, data, self.decoded, trees, [], ())
        at = 0  # text before this is used
        seek = 0
        while (start := self._start(seek)) is not None:
            root, end = self._tree(start)
            if root is not None:
                gap = self.text[at:start]
                if gap.strip(_BLANK):
                    where = "between the games" if trees else "before the game"
                    self.warnings.add(f"other text {where}", at)
                collection.gaps.append(gap)
                trees.append(GameTree(root, collection))
                at = end
            seek = end
        if not trees:
            raise InputError(self.source, f'no game record: no "(;" in {len(data)} bytes')
        collection.gaps.append(self.text[at:])
        self._check_for_game(collection)
        if collection.gaps[-1].strip(_BLANK):
            self.warnings.add("other text after the game", at)
        collection.warnings = self.decoded.notes + self.warnings.lines()
        return collection

    def _check_for_game(self, collection: Collection) -> None:
        """InputError where "(;" stands in text of another kind: in a web page, a program."""
        other = bool(self.warnings.lines()) or any(gap.strip(_BLANK) for gap in collection.gaps)
        if other and not any(_has_property(tree.root) for tree in collection.trees):
            raise InputError(
                self.source, f"no game record: no property of SGF in {len(collection.data)} bytes"
            )

    def _start(self, at: int) -> int | None:
        """Where the next game begins."""
        if at == 0 and _START_WITHOUT_NODE.match(self.text):
            return self.text.index("(")
        found = _START.search(self.text, at)
        if found:
            return found.start()
        if at == 0 and (bare := _START_WITHOUT_PAREN.match(self.text)):
            self.warnings.add('the "(" of the game is missing', bare.end())
            return bare.end()
        return None

    def _tree(self, at: int) -> tuple[Node | None, int]:
        """The game that begins at ``at``: its root (None if it has no node) and where it ends."""
        text, match = self.text, _TOKEN.match
        tree = _Growing()
        begin = at  # text from here on belongs to the next token: white space, and what was skipped
        if text[at] == ";":
            tree.open(None)
        while True:
            token = match(text, at)
            if token is None:
                item, at, begin = self._difficult(at, begin)
                if item is not None:
                    self._count(item.offset, len(item.values))
                    tree.put(item)
                if at == len(text):
                    break
                continue
            at = token.end()
            sign = token[1]
            if sign is None:
                raw = token[3]
                single = raw.count("[") == 1 and raw[0] == "["
                values = (raw[1:-1],) if single else tuple(_SIMPLE_VALUES.findall(raw))
                name, offset = token[2], token.start(2)
                if not name.isupper():
                    name = self._capitals(name, offset)
                self._count(offset, len(values))
                tree.put(Property(name, values, text[begin:at], offset))
            elif sign == ";":
                self._count(at)
                if not tree.add(at - 1, text[begin:at]):
                    self.warnings.add("a node after variations, read as one more of them", at - 1)
            elif sign == "(":
                self._count(at)
                if len(tree.branches) >= self.limits.max_depth:
                    where = (
                        f"variations nested {len(tree.branches)} deep (byte {self._byte(at - 1)})"
                    )
                    raise LimitError(self.source, where, "--max-depth")
                tree.open(text[begin:at])
            else:
                if not tree.close(text[begin:at]):
                    self.warnings.add("an empty variation", at - 1)
                if not tree.branches:
                    return tree.root, at
            begin = at
        if tree.branches:
            self.warnings.add(f"the game is cut off: {len(tree.branches)} ) missing", at)
        return tree.root, begin

    def _difficult(self, at: int, begin: int) -> tuple[Property | None, int, int]:
        """A property with signs in its values, or text that is none.

        Gives the property, where to go on, and from where the text belongs to the next token.
        """
        named = _PROPERTY.match(self.text, at)
        if named:
            written, offset = named[1], named.start(1)
            name = written if written.isupper() else self._capitals(written, offset)
            if name in _POINT_NAMES:
                values, end, whole = self._point_values(name, named.end())
            else:
                values, end, whole = self._text_values(named.end())
            source = self.text[begin:end] if whole else None
            item = Property(name, tuple(values), source, offset) if values else None
            return item, end, end
        junk = _JUNK.match(self.text, at)
        if junk is None:
            return None, len(self.text), begin
        visible = junk[0].lstrip(_BLANK)
        if visible:
            self.warnings.add("skipped what is no property", junk.end() - len(visible))
        return None, junk.end(), begin

    def _text_values(self, at: int) -> tuple[list[str], int, bool]:
        """Values from ``at`` on, where they end, and whether nothing is missing."""
        values = []
        while value := _TEXT_VALUE.match(self.text, at):
            values.append(value[1])
            at = value.end()
        unclosed = _UNCLOSED.match(self.text, at)
        if unclosed is None:
            return values, at, True
        self.warnings.add("the file ends inside a value", unclosed.end() - 1)
        rest = self.text[unclosed.end() :]
        if (len(rest) - len(rest.rstrip("\\"))) % 2:
            rest += "\\"  # or it would escape the "]" that closes it now
        return [*values, rest], len(self.text), False

    def _point_values(self, name: str, at: int) -> tuple[list[str], int, bool]:
        """As _text_values, but a value without "]" ends at the next sign: it may be a point."""
        values = []
        whole = True
        while True:
            while value := _POINT_VALUE.match(self.text, at):
                values.append(value[1])
                at = value.end()
            unclosed = _UNCLOSED.match(self.text, at)
            if unclosed is None:
                return values, at, whole
            ends = _POINT_ENDS.search(self.text, unclosed.end())
            assert ends is not None
            whole, at = False, ends.start()
            point = self.text[unclosed.end() : at].strip()
            good = len(point) == 2 and point.isascii() and point.isalpha()
            what = f"the ] of {name} is missing" + ("" if good else ": value dropped")
            self.warnings.add(what, unclosed.end() - 1)
            if good:
                values.append(point)

    def _capitals(self, written: str, offset: int) -> str:
        """``PlayerBlack`` is PB (FF[1] to FF[3]); a name all in lower case is taken as capitals."""
        name = "".join(letter for letter in written if not letter.islower())
        if not name[:1].isalpha():
            self.warnings.add("a property in lower case", offset)
            return written.upper()
        return name

    def _count(self, index: int, how_many: int = 1) -> None:
        self.count += how_many
        if self.count > self.limits.max_nodes:
            where = f"more than {self.limits.max_nodes} nodes and values (byte {self._byte(index)})"
            raise LimitError(self.source, where, "--max-nodes")

    def _byte(self, index: int) -> int:
        return self.decoded.byte_offset(index)


_STANDARD = frozenset(
    "AB AE AN AP AR AW B BL BM BR BT C CA CP CR DD DM DO DT EV FF FG GB GC GM GN GW HA HO IT KM KO "  # noqa: SIM905
    "LB LN MA MN N OB ON OT OW PB PC PL PM PW RE RO RU SL SO SQ ST SZ TB TE TM TR TW UC US V VW W "
    "WL WR WT".split()
)
"""The properties of FF[4], and CR, M, L and TE of older records."""


def _has_property(root: Node) -> bool:
    """Whether any node of the tree has a property of the standard."""
    stack = [root]
    while stack:
        node = stack.pop()
        if any(item.name in _STANDARD for item in node.properties):
            return True
        stack.extend(node.children)
    return False


class _Growing:
    """A game tree while it is read: the node at the tip, and the open parens."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.tip: Node | None = None
        self.branches: list[Node | None] = []  # for each open paren the node that it hangs on,
        self.firsts: list[Node | None] = []  # ... and the first node inside
        self.opens: str | None = None  # the text of the last paren

    def open(self, text: str | None) -> None:
        self.branches.append(self.tip)
        self.firsts.append(None)
        self.opens = text

    def close(self, text: str) -> bool:
        """False if there was nothing in the parens."""
        first = self.firsts.pop()
        self.tip = self.branches.pop()
        if first is not None:
            first.closes = text
        return first is not None

    def add(self, offset: int, lead: str) -> bool:
        """A new node at the tip; False if it follows variations, where none should stand."""
        regular = True
        node = Node(self.tip, offset, lead)
        if self.firsts[-1] is None:
            node.opens = self.opens
            self.firsts[-1] = node
        elif self.tip is not None and len(self.tip.children) > 1:
            regular = False
        self.root = self.root or node
        self.tip = node
        return regular

    def put(self, item: Property) -> None:
        if self.firsts[-1] is None:  # no ";" before it
            self.add(item.offset, "")
        assert self.tip is not None
        self.tip.properties.append(item)


def nodes_on(tree: GameTree, path: str = "") -> list[Node]:
    """The nodes from the root to the end of a line.

    ``path`` says which child to take where the game branches: "2.1" takes the second variation at
    the first branching, the first one at the next, and from there on the first everywhere. "" is
    the main line. InputError if the tree has no such variation.
    """
    source = tree.collection.source
    if not re.fullmatch(r"(?:[1-9][0-9]{0,8}(?:\.[1-9][0-9]{0,8})*)?", path, re.ASCII):
        raise InputError(
            source, f"variation {path!r}: numbers from 1 with dots between them, as 2.1"
        )
    choices = [int(part) for part in path.split(".")] if path else []
    nodes = [tree.root]
    branching = 0
    while children := nodes[-1].children:
        choice = 1
        if len(children) > 1 and branching < len(choices):
            choice = choices[branching]
            branching += 1
            if choice > len(children):
                where = f"branching {branching} has {len(children)} variations"
                raise InputError(source, f"no variation {path}: {where}")
        nodes.append(children[choice - 1])
    if branching < len(choices):
        raise InputError(source, f"no variation {path}: this line branches {branching} times")
    return nodes


# --- text values and points -----------------------------------------------------------------------

_SPECIAL = re.compile(r"\\(\r\n|\n\r|.)|(\r\n|\n\r|\r|\n)|[\t\v\f]", re.DOTALL)


def unescape(raw: str) -> str:
    """The text of a raw value: escaped line breaks vanish, other white space becomes blanks."""
    return _SPECIAL.sub(_resolved, raw)


def _resolved(found: re.Match[str]) -> str:
    escaped, newline = found.groups()
    if escaped is not None:
        return "" if escaped[0] in "\r\n" else " " if escaped in "\t\v\f" else escaped
    return "\n" if newline else " "


def escape(text: str, *, composed: bool = False) -> str:
    """Text as a raw value; inside a composed value ("point:text") the colon is escaped too."""
    raw = text.replace("\\", "\\\\").replace("]", "\\]")
    return raw.replace(":", "\\:") if composed else raw


def simple(raw: str) -> str:
    """The text of a value that is one line (names, results), U+FFFD for bytes that are no text."""
    return " ".join(ESCAPED.sub("\ufffd", unescape(raw)).split())


def to_sgf(point: Point | None) -> str:
    """The letters of a point; "" is a pass."""
    return "" if point is None else _LETTERS[point[0]] + _LETTERS[point[1]]


def to_point(raw: str, columns: int, rows: int) -> Point | None:
    """The point of a raw value, None for a pass: "" and, on boards up to 19x19, "tt".

    ValueError with the reason for anything else.
    """
    value = raw.strip()
    if not value or (value == "tt" and columns <= 19 and rows <= 19) or value.lower() == "pass":
        return None
    if len(value) != 2 or value[0] not in _INDEX or value[1] not in _INDEX:
        raise ValueError("no point")
    column, row = _INDEX[value[0]], _INDEX[value[1]]
    if column >= columns or row >= rows:
        raise ValueError(f"outside the {columns}x{rows} board")
    return column, row


def handicap_points(
    number: int, columns: int = 19, rows: int = 19, *, third: str = "top left"
) -> tuple[Point, ...]:
    """The usual points of a handicap of 2 to 9 stones; () where there are none (small boards).

    The third stone goes to the top left (GTP 2 section 4.1.1, Tygem, wBaduk) or the bottom right
    (Japanese habit).
    """
    if not 2 <= number <= 9 or min(columns, rows) < 7:
        return ()
    if number > 4 and not (columns % 2 and rows % 2):
        return ()
    left, top = (3 if columns > 12 else 2), (3 if rows > 12 else 2)
    right, bottom = columns - 1 - left, rows - 1 - top
    centre, middle = columns // 2, rows // 2
    corners = [(right, top), (left, bottom), (left, top), (right, bottom)]
    if third == "bottom right":
        corners[2:] = reversed(corners[2:])
    sides = [(left, middle), (right, middle), (centre, top), (centre, bottom)]
    points = (corners + sides)[: number - (number in (5, 7, 9))]
    return tuple(points + [(centre, middle)] * (number in (5, 7, 9)))


# --- annotating and writing -----------------------------------------------------------------------


def label(node: Node, labels: Mapping[Point, str]) -> None:
    """Write letters on points (LB). A point that has a label already keeps it."""
    taken = {value[:2] for value in node.values("LB")}
    fresh = [
        f"{to_sgf(point)}:{escape(text, composed=True)}"
        for point, text in labels.items()
        if to_sgf(point) not in taken
    ]
    if fresh:
        node.set("LB", [*node.values("LB"), *fresh])


def mark(node: Node, name: str, points: Iterable[Point]) -> None:
    """Mark points: ``name`` is CR, MA, SL, SQ or TR."""
    old = node.values(name)
    fresh = [letters for letters in map(to_sgf, points) if letters not in old]
    if fresh:
        node.set(name, [*old, *fresh])


def comment(node: Node, text: str) -> None:
    """Add a comment (C), below one that stands there already, unless it is in that."""
    old = node.values("C")
    fresh = escape(text)
    if not any(fresh in one for one in old):
        node.set("C", ["\n\n".join([*old, fresh])])


def add_variation(
    node: Node, moves: Sequence[tuple[Colour, Point | None]], *, text: str = ""
) -> Node:
    """Add a line of play that follows ``node``, after its other continuations; its first new node.

    ``text`` becomes the comment of that node. An alternative to a move hangs on that move's parent.
    """
    if not moves:
        raise ValueError("a variation needs a move")
    tip, first = node, None
    for colour, point in moves:
        tip = Node(tip, node.offset)
        tip.set("B" if colour == "black" else "W", [to_sgf(point)])
        first = first or tip
    assert first is not None
    first.opens = "\n("
    if text:
        comment(first, text)
    return first


def _write(root: Node, pieces: list[str], charset: str | None = None) -> None:
    """Append the text of a tree as it stood in the file, with what is new.

    With a ``charset`` for CA, text that is no SGF is left out: beside new text it could change its
    meaning.
    """
    for mark, text in _marks(root, charset):
        if text is not None and (charset is None or _clean(mark, text)):
            pieces.append(text)
        else:
            pieces.append(mark if isinstance(mark, str) else _canonical(mark))


def _marks(root: Node, charset: str | None) -> Iterator[tuple[Property | str, str | None]]:
    """The signs and properties of a tree in order, each with its text in the file (None if new)."""
    stack: list[Node | tuple[str, str | None]] = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, tuple):
            yield node
            continue
        siblings = len(node.parent.children) if node.parent else 2
        if node.opens is not None or siblings > 1:
            yield "(", node.opens
            stack.append((")", node.closes))
        yield ";", node.lead
        charset_here = charset if node is root else None
        for item in _with_charset(node.properties, charset_here):
            yield item, item.source
        stack.extend(reversed(node.children))


def _with_charset(properties: list[Property], charset: str | None) -> list[Property]:
    """The properties with one CA that says ``charset``: in the place of the old one, or first."""
    if charset is None:
        return properties
    fresh = Property("CA", (charset,))
    place = next((i for i, item in enumerate(properties) if item.name == "CA"), 0)
    kept = [item for item in properties if item.name != "CA"]
    return [*kept[:place], fresh, *kept[place:]]


_CLEAN_PROPERTY = re.compile(rf"\s*+{_NAME}\s*+\[")


def _clean(mark: Property | str, text: str) -> bool:
    """Whether ``text`` holds nothing but the mark and white space before it."""
    if isinstance(mark, Property):
        return _CLEAN_PROPERTY.match(text) is not None
    return text.endswith(mark) and not text[:-1].strip()


def _canonical(item: Property) -> str:
    return item.name + "".join(f"[{value}]" for value in item.values)
