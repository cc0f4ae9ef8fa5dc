"""Game records of servers that don't write SGF: GIB (Tygem), NGF (wBaduk), UGF (PandaNet).

Each is turned into a game tree, so that the rest of the program sees only SGF and an annotated game
can be saved as SGF. None of the formats has a public specification. Facts: senseis.xmp.net/?GIB,
/?NGF and /?UGF, A. Brouwer's homepages.cwi.nl/~aeb/go/misc/ugf.html, and real files.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from cnnapps.apps.go_policy.sgf import (
    DEFAULT_LIMITS,
    MAX_SIZE,
    Collection,
    Colour,
    GameTree,
    Limits,
    Node,
    Point,
    Warnings,
    comment,
    escape,
    handicap_points,
    to_sgf,
)
from cnnapps.core.charset import Decoded, decode
from cnnapps.core.errors import InputError, LimitError

__all__ = ["Form", "read_foreign", "recognise"]

Form = Literal["gib", "ngf", "ugf"]

_SGF = re.compile(rb"\(\s*+;")
_SIGNATURES: dict[Form, re.Pattern[bytes]] = {
    "gib": re.compile(rb"^(?:\\HS\s*$|\\\[GIBOKIND=|STO \d+ \d+ [12] \d+ \d+)", re.MULTILINE),
    "ugf": re.compile(rb"^\[Header\]\s*$", re.MULTILINE),
    "ngf": re.compile(rb"^PM[A-Z]{2}[BW][A-Z]{4}\s*$", re.MULTILINE),
}
_LANG = re.compile(rb"^Lang=([\w-]{1,20})\s*$", re.MULTILINE)
_COLOURS: dict[str, Colour] = {"1": "black", "2": "white", "B": "black", "W": "white"}


def recognise(data: bytes) -> Form | None:
    """Which of the formats ``data`` is in, whatever the file is called; None if in none of them."""
    sgf = _SGF.search(data)
    head = data[: sgf.start()] if sgf else data
    for form, signature in _SIGNATURES.items():
        if signature.search(head.removeprefix(b"\xef\xbb\xbf")):
            return form
    return None


def read_foreign(
    data: bytes,
    form: Form,
    *,
    source: object = "",
    encoding: str | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Collection:
    """The game in ``data``. InputError names the line and the byte that can't be understood."""
    if len(data) > limits.max_bytes:
        raise LimitError(source, f"{len(data)} bytes of game record", "--max-bytes")
    claim = _LANG.search(data) if form == "ugf" else None
    claimed = claim[1].decode("ascii") if claim else None
    decoded = decode(data, source=source, encoding=encoding, claimed=claimed)
    game = _Game(decoded, str(source), limits)
    _READERS[form](game)
    return game.collection(data, form)


class _Line(NamedTuple):
    text: str
    number: int  # from 1
    start: int  # index of its first character
    last: bool  # the file ends here, without a line break


def _lines(text: str) -> Iterator[_Line]:
    """The lines of a text, however they end."""
    start = 0
    for number, ended in enumerate(re.finditer(r"\r\n?|\n|\Z", text), start=1):
        if start < len(text):
            yield _Line(text[start : ended.start()], number, start, ended.start() == len(text))
        start = ended.end()


class _Game:
    """A game tree under construction."""

    def __init__(self, decoded: Decoded, source: str, limits: Limits) -> None:
        self.decoded = decoded
        self.source = source
        self.limits = limits
        self.warnings = Warnings(decoded)
        self.root = self.tip = Node()
        self.size = 19
        self.count = 0
        for name, value in (("FF", "4"), ("GM", "1"), ("CA", "UTF-8"), ("SZ", "19")):
            self.root.set(name, [value])

    def lines(self) -> Iterator[_Line]:
        return _lines(self.decoded.text)

    def where(self, line: _Line) -> str:
        return f"line {line.number} (byte {self.decoded.byte_offset(line.start)})"

    def fail(self, line: _Line, reason: str) -> InputError:
        return InputError(self.source, f"{self.where(line)}: {reason}")

    def warn(self, line: _Line, what: str) -> None:
        self.warnings.add(what, line.start)

    def broken(self, line: _Line, what: str) -> None:
        """A line that makes no sense: an error, unless the file was cut off in it."""
        if not line.last:
            raise self.fail(line, f"{what}: {line.text[:40]!r}")
        self.warn(line, "the file ends inside a line: dropped")

    def info(self, name: str, value: str | None) -> None:
        if value and (value := " ".join(value.split())):
            self.root.set(name, [escape(value)])

    def set_size(self, line: _Line, written: str) -> None:
        if not (written.isdecimal() and len(written) < 4 and 0 < int(written) <= MAX_SIZE):
            raise self.fail(line, f"no board size: {written[:20]!r}")
        self.size = int(written)
        self.root.set("SZ", [str(self.size)])

    def set_handicap(self, line: _Line, written: str) -> None:
        """So many stones on the usual points (third stone: top left)."""
        if not (written.isdecimal() and len(written) < 4):
            raise self.fail(line, f"no handicap: {written[:20]!r}")
        number = int(written)
        if number < 2:
            return
        points = handicap_points(number, self.size, self.size)
        if not points:
            raise self.fail(line, f"a handicap of {number} has no usual points")
        self.root.set("HA", [str(number)])
        self.root.set("AB", [to_sgf(point) for point in points])

    def move(
        self, line: _Line, colour: Colour, point: Point | None, after: Node | None = None
    ) -> Node:
        """Add a move, at the end of the game or after a node."""
        self.count += 1
        if self.count > self.limits.max_nodes:
            what = f"more than {self.limits.max_nodes} moves ({self.where(line)})"
            raise LimitError(self.source, what, "--max-nodes")
        if point is not None and not all(0 <= at < self.size for at in point):
            raise self.fail(line, f"move {self.count} outside the {self.size}x{self.size} board")
        lead = "\n;" if self.count % 10 == 1 and after is None else None
        node = Node(after or self.tip, line.start, lead)
        node.set("B" if colour == "black" else "W", [to_sgf(point)])
        if after is None:
            self.tip = node
        return node

    def next_colour(self, node: Node | None = None) -> Colour:
        """Whose turn it is after a node, when the file doesn't say."""
        last = node or self.tip
        if last.find("B") or (last is self.root and last.find("AB")):
            return "white"
        return "black"

    def collection(self, data: bytes, form: Form) -> Collection:
        warnings = self.decoded.notes + self.warnings.lines()
        collection = Collection(self.source, data, self.decoded, [], ["", "\n"], warnings, form)
        collection.trees.append(GameTree(self.root, collection))
        return collection


# --- GIB ------------------------------------------------------------------------------------------

_GIB_FIELD = re.compile(r"\\\[(\w+)=(.*?)(?:\\\]|$)")
_GIB_RESULTS = {"3": "B+R", "4": "W+R", "7": "B+T", "8": "W+T"}


def _gib(game: _Game) -> None:
    r"""``\[KEY=value\]``, INI (handicap), STO (move: player, column, row) and SKI (pass)."""
    fields: dict[str, str] = {}
    for line in game.lines():
        words = line.text.split()
        if found := _GIB_FIELD.match(line.text.strip()):
            fields.setdefault(found[1], found[2])
        elif not words or words[0][0] in "\\0123456789\ufeff":
            continue
        elif words[0] == "INI":
            if len(words) < 4:
                game.broken(line, "no handicap")
            else:
                game.set_handicap(line, words[3])
        elif words[0] == "STO":
            if len(words) < 6 or words[3] not in ("1", "2") or not _whole(*words[4:6]):
                game.broken(line, "no move")
            else:
                game.move(line, _COLOURS[words[3]], (int(words[4]), int(words[5])))
        elif words[0] == "SKI":
            game.move(line, game.next_colour(), None)
        else:
            game.warn(line, "skipped a line that is no move")
    _gib_information(game, fields)


def _gib_information(game: _Game, fields: dict[str, str]) -> None:
    for colour, name, rank in (("BLACK", "PB", "BR"), ("WHITE", "PW", "WR")):
        player = fields.get(f"GAME{colour}NAME", "")
        found = re.fullmatch(r"([^(]*\S)\s*\(([^()]*)\)", player.strip())
        game.info(name, found[1] if found else player)
        game.info(rank, _rank(found[2]) if found else None)
    main, tag = fields.get("GAMEINFOMAIN", ""), fields.get("GAMETAG", "")
    kind = _value(r"GRLT:(\d+)", main) or _value(r",W(\d+)", tag)
    score = _value(r"ZIPSU:(\d+)", main) or _value(r",Z(\d+)", tag)
    komi = _value(r"GONGJE:(-?\d+)", main) or _value(r",G(-?\d+)", tag)
    if kind in ("0", "1") and score:  # counted: tenths of a point
        game.info("RE", f"{'BW'[int(kind)]}+{int(score) / 10:g}")
    elif kind:
        game.info("RE", _GIB_RESULTS.get(kind))
    if komi:
        game.info("KM", f"{int(komi) / 10:g}")
    date = re.search(r"C(\d{4}):(\d\d):(\d\d)", tag)
    game.info("DT", "-".join(date.groups()) if date else None)
    game.info("GN", fields.get("GAMENAME"))
    game.info("PC", fields.get("GAMEPLACE"))


# --- NGF ------------------------------------------------------------------------------------------

_NGF_MOVE = re.compile(r"PM[A-Z]{2}([BW])([A-Z])([A-Z])([A-Z]{0,2})\s*")
# Which line of the header holds what, from 0. Files of weiqi.com put "GI" before each line and have
# another order; that they name White first, as the others do, is an assumption.
_NGF_LINES = {"EV": 0, "SZ": 1, "PW": 2, "PB": 3, "PC": 4, "HA": 5, "KM": 7, "DT": 8, "RE": 10}
_NGF_GI_LINES = {"EV": 0, "PW": 1, "PB": 2, "DT": 5, "SZ": 6, "HA": 7, "KM": 9}


def _ngf(game: _Game) -> None:
    """A header of a dozen lines, then ``PMABBREER``: counter, Black, column R, row E (from B)."""
    header: list[_Line] = []
    moves: list[tuple[_Line, re.Match[str]]] = []
    tail = ""
    for line in game.lines():
        if found := _NGF_MOVE.fullmatch(line.text):
            moves.append((line, found))
        elif line.text.startswith("PM") and moves:
            game.broken(line, "no move")
        elif not moves:
            header.append(line)
        else:
            tail += line.text + "\n"
    _ngf_information(game, header, tail)
    for line, found in moves:
        colour, column, row, mirrored = found.groups()
        if mirrored != row + column:
            game.warn(line, "the letters of a move and their mirror disagree")
        game.move(line, _COLOURS[colour], (ord(column) - ord("B"), ord(row) - ord("B")))


def _ngf_information(game: _Game, header: list[_Line], tail: str) -> None:
    numbered = bool(header) and all(line.text.startswith("GI") for line in header)
    places = _NGF_GI_LINES if numbered else _NGF_LINES
    if len(header) <= max(places.values()):
        game.warnings.add("a short header: players and rules are unknown", 0)
        return
    fields = {name: header[place] for name, place in places.items()}
    cut = len("GI") if numbered else 0
    values = {name: line.text[cut:].strip() for name, line in fields.items()}
    game.set_size(fields["SZ"], values["SZ"])
    game.set_handicap(fields["HA"], values["HA"])
    if re.fullmatch(r"-?\d{1,3}", values["KM"]):  # whole points; the half point goes without saying
        half = 0.5 if game.root.find("HA") is None else 0.0
        game.info("KM", f"{int(values['KM']) + half:g}")
    for name, rank in (("PB", "BR"), ("PW", "WR")):
        player, grade = _player(values[name])
        game.info(name, player)
        game.info(rank, grade)
    date = re.match(r"(\d{4})-?(\d{1,2})-?(\d{1,2})", values["DT"])
    game.info("DT", f"{date[1]}-{date[2]:0>2}-{date[3]:0>2}" if date else None)
    game.info("EV", values["EV"])
    game.info("PC", values.get("PC"))
    game.info("RE", _result(values.get("RE", "") or tail))


def _player(written: str) -> tuple[str, str]:
    """Name and rank: "ace550      7D*", "Lee S.D. 9DP", "朴承华 初段"."""
    found = re.fullmatch(r"(.*\S)\s+((?:\d{1,2}|[初一二三四五六七八九])\D{1,4})", written)
    return (found[1], _rank(found[2])) if found else (written, "")


def _result(words: str) -> str | None:
    """RE from a sentence: "White wins by resign!", "Black wins by 16.5 points!", "黑中盘胜"."""
    text = words.lower()
    won = re.search(r"(black|white)\s+(win|lose)|([黑白])(?:中盘|中盤)?(?:胜|勝|超时)", text)
    if won is None:
        return None
    if won[3]:
        winner = "B" if won[3] == "黑" else "W"
    else:
        winner = "B" if (won[1] == "black") == (won[2] == "win") else "W"
    if "resi" in text or "中盘" in text or "中盤" in text:
        return f"{winner}+R"
    if "time" in text:
        return f"{winner}+T"
    score = re.search(r"\d{1,3}(?:\.\d)?", text)
    return f"{winner}+{score[0] if score else ''}"


# --- UGF ------------------------------------------------------------------------------------------

_UGF_MOVE = re.compile(r"([A-Z])([A-Z]),(?:([BW])\d?|MK),(\d{1,6})(?:,.*)?")
_UGF_NODE = re.compile(r"NODE,(\d{1,9}),([012]),(\d{1,3}),(\d{1,3})")


def _ugf(game: _Game) -> None:
    """Sections: [Header] key=value, [Data] moves, [ReviewNode] variations, [ReviewComment]."""
    header: dict[str, tuple[_Line, str]] = {}
    sections: dict[str, list[_Line]] = {}
    name = ""
    for line in game.lines():
        text = line.text.strip()
        if found := re.fullmatch(r"\[(\w+)\]", text):
            name = found[1]
        elif name == "Header":
            key, _, value = text.partition("=")
            header.setdefault(key, (line, value))
        elif text:
            sections.setdefault(name, []).append(line)
    _ugf_information(game, header)
    # "IGS" counts rows from the bottom, as players do; the other type from the top.
    upwards = header.get("CoordinateType", (None, ""))[1] == "IGS"
    nodes = _ugf_moves(game, sections.get("Data", []), upwards=upwards)
    _ugf_review(game, sections.get("ReviewNode", []), nodes, upwards=upwards)
    _ugf_comments(sections.get("ReviewComment", []), nodes)
    if "Figure" in sections:
        game.warn(sections["Figure"][0], "section [Figure] (comments, diagrams) is not read")


def _ugf_information(game: _Game, header: dict[str, tuple[_Line, str]]) -> None:
    values = {key: value for key, (_, value) in header.items()}
    if values.get("Size"):
        game.set_size(header["Size"][0], values["Size"].strip())
    handicap, _, komi = values.get("Hdcp", "").partition(",")
    if handicap.isdecimal() and 2 <= int(handicap[:4]) <= game.size**2:
        game.info("HA", str(int(handicap)))  # its stones stand in [Data]
    if re.fullmatch(r"-?\d{1,3}([.,]\d{1,2})?", komi):
        game.info("KM", f"{float(komi.replace(',', '.')):g}")
    for key, name, rank in (("PlayerB", "PB", "BR"), ("PlayerW", "PW", "WR")):
        player, _, rest = values.get(key, "").partition(",")
        game.info(name, player)
        game.info(rank, rest.split(",")[0])
    game.info("RE", _ugf_result(values.get("Winner", "")))
    game.info("DT", values.get("Date", "").split(",")[0].replace("/", "-").strip("-"))
    game.info("EV", ", ".join(filter(None, values.get("Title", "").split(","))))
    game.info("PC", values.get("Place"))
    game.info(
        "RU", {"JPN": "Japanese", "CH": "Chinese"}.get(values.get("Rule", ""), values.get("Rule"))
    )
    game.info("CP", values.get("Copyright"))
    game.info("GC", values.get("Comment"))


def _ugf_result(written: str) -> str | None:
    winner, _, margin = written.partition(",")
    if winner in ("B", "W"):
        letter = margin[:1].upper()
        if letter in ("C", "T", "F"):  # C: 中押し (chuu-oshi), resignation
            return f"{winner}+{'R' if letter == 'C' else letter}"
        return (
            f"{winner}+{float(margin):g}"
            if re.fullmatch(r"\d{1,3}(\.\d+)?", margin)
            else f"{winner}+"
        )
    return {"D": "Draw", "N": "Void"}.get(winner)


def _ugf_moves(game: _Game, lines: list[_Line], *, upwards: bool) -> dict[int, Node]:
    """The moves of [Data]; nodes by the numbers of [ReviewNode], where the root is 1."""
    nodes = {1: game.root}
    for line in lines:
        found = _UGF_MOVE.fullmatch(line.text.strip())
        if found is None:
            if line.text.lstrip().startswith("."):
                continue  # .Text, .EndFig: figures that strayed into the section
            game.broken(line, "no move")
            continue
        column, row, letter, number = found.groups()
        y = ord(row) - ord("A")
        point = (ord(column) - ord("A"), game.size - 1 - y if upwards else y)
        if int(number) == 0:  # a stone that stood there from the start
            _ugf_stone(game, line, letter, point)
            continue
        colour = _COLOURS[letter] if letter else game.next_colour()
        game.move(line, colour, None if column in "YZ" else point)
        nodes[len(nodes) + 1] = game.tip
    return nodes


def _ugf_stone(game: _Game, line: _Line, letter: str | None, point: Point) -> None:
    if not all(0 <= at < game.size for at in point):
        raise game.fail(line, f"a stone outside the {game.size}x{game.size} board")
    name = "AW" if letter == "W" else "AB"
    game.root.set(name, [*game.root.values(name), to_sgf(point)])


def _ugf_review(game: _Game, lines: list[_Line], nodes: dict[int, Node], *, upwards: bool) -> None:
    """Variations hang on the node that stands before them; nodes of the game are known already."""
    at = game.root
    stack: list[Node] = []
    for line in lines:
        text = line.text.strip()
        if text.startswith("VARIATIONEND"):
            at = stack.pop() if stack else at
        elif text.startswith("VARIATION"):
            if len(stack) >= game.limits.max_depth:
                what = f"variations nested {len(stack)} deep ({game.where(line)})"
                raise LimitError(game.source, what, "--max-depth")
            stack.append(at)
        elif found := _UGF_NODE.fullmatch(text):
            number, player, column, row = map(int, found.groups())
            if number not in nodes and player:
                x, y = column - 1, game.size - row if upwards else row - 1
                point = None if column > game.size else (x, y)
                nodes[number] = game.move(line, _COLOURS[str(player)], point, after=at)
            at = nodes.setdefault(number, at)
        else:
            game.broken(line, "no node")


def _ugf_comments(lines: list[_Line], nodes: dict[int, Node]) -> None:
    texts: dict[int, list[str]] = {}
    number = 0
    for line in lines:
        if found := re.fullmatch(r"\.Comment,(\d{1,9})\s*", line.text):
            number = int(found[1])
        else:
            texts.setdefault(number, []).append(line.text.strip())
    for number, said in texts.items():
        if number in nodes:
            comment(nodes[number], "\n".join(said))


# --- helpers --------------------------------------------------------------------------------------


def _whole(*words: str) -> bool:
    return all(word.isdecimal() and len(word) < 4 for word in words)


def _value(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[1] if found and len(found[1]) < 7 else None


def _rank(written: str) -> str:
    """SGF's way to write a rank: 7D* is 7d*, 15K 15k, 9DP (professional) 9p."""
    if not written.isascii():
        return written
    return re.sub(r"(?<=\d)dp\b", "p", written.lower())


_READERS: dict[Form, Callable[[_Game], None]] = {"gib": _gib, "ngf": _ngf, "ugf": _ugf}
