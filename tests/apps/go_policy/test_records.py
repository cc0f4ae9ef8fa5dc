"""What a record means: moves, set-up, komi, handicap, players; GIB, NGF and UGF files."""

from __future__ import annotations

from pathlib import Path

import pytest
from sgfmill import boards
from sgfmill import sgf as sgfmill

from cnnapps.apps.go_policy.foreign import recognise
from cnnapps.apps.go_policy.records import Move, Record, Setup, ToPlay, line, main_line, read
from cnnapps.apps.go_policy.sgf import (
    Limits,
    comment,
    handicap_points,
    nodes_on,
    parse,
    to_point,
    to_sgf,
)
from cnnapps.core.errors import InputError, LimitError

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "tests/data/go").glob("*.[sgnu][gi][bfi]"))
SHARED = ROOT.parent / "shared/data/go/sgf"
FILES = sorted(p for p in SHARED.glob("*") if p.suffix != ".tsv") or SHIPPED


def record_of(data: bytes | str) -> Record:
    raw = data if isinstance(data, bytes) else data.encode()
    return main_line(read(raw, source="f").trees[0])


def shipped(name: str) -> Record:
    return main_line(read((ROOT / "tests/data/go" / name).read_bytes(), source=name).trees[0])


def letters(record: Record, first: int = 0, last: int | None = None) -> str:
    return " ".join(to_sgf(move.point) or "pass" for move in record.moves[first:last])


# --- events ---------------------------------------------------------------------------------------


def test_events_in_order_with_their_places() -> None:
    data = b"(;SZ[9]AB[aa][bb]AW[cc];B[dd];W[];AE[aa:bb]AB[bb]PL[W];W[ee])"
    record = record_of(data)
    assert record.events == (
        Setup(((0, 0), (1, 1)), ((2, 2),), (), 0, data.index(b"AB[aa")),
        Move("black", (3, 3), 1, 1, data.index(b"B[dd")),
        Move("white", None, 2, 2, data.index(b"W[];")),
        Setup(((1, 1),), (), ((0, 0), (1, 0), (0, 1)), 3, data.index(b"AE[")),
        ToPlay("white", 3, data.index(b"PL[")),
        Move("white", (4, 4), 3, 4, data.index(b"W[ee")),
    )
    assert (record.size, record.first, record.handicap) == (9, "black", 0)


def test_offsets_are_bytes_also_behind_wide_characters() -> None:
    for encoding in ("utf-8", "gb18030", "cp932", "utf-8-sig", "utf-16"):
        data = "(;SZ[9]C[黒先]PB[日本];B[dd]C[手];W[ee])".encode(encoding)
        width = 2 if encoding == "utf-16" else 1
        mark = "W[ee]".encode("utf-16-le") if width == 2 else b"W[ee]"
        white = record_of(data).moves[1]
        assert white.offset == data.index(mark)


def test_rectangles_and_repeated_points() -> None:
    record = record_of("(;SZ[5]AB[aa:cb][bb]AW[bb]AE[];W[ee])")
    (setup,) = (event for event in record.events if isinstance(event, Setup))
    assert set(setup.black) == {(0, 0), (1, 0), (2, 0), (0, 1), (2, 1)}
    assert setup.white == ((1, 1),)
    assert set(record_of("(;SZ[5]AB[cb:aa])").events[0].black) >= {(0, 0), (2, 1)}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("(;SZ[9];B[aa];W[jj])", r"^f: move 2: W\[jj\] at byte 14: outside the 9x9 board$"),
        ("(;B[aa];W[zz])", r"^f: move 2: W\[zz\] at byte 8: outside the 19x19 board$"),
        ("(;B[d4])", r"^f: move 1: B\[d4\] at byte 2: no point$"),
        ("(;SZ[20];B[tt];W[ut])", r"^f: move 2: W\[ut\] at byte 15: outside the 20x20 board$"),
        ("(;SZ[0])", r"^f: byte 2: no board size: SZ\[0\]$"),
        ("(;SZ[-1])", r"^f: byte 2: no board size"),
        ("(;SZ[53])", r"^f: byte 2: no board size"),
        ("(;SZ[99999999999999999999])", r"^f: byte 2: no board size"),
        ("(;SZ[nan])", r"^f: byte 2: no board size"),
        ("(;GM[2];B[aa])", r"^f: byte 2: not a game of Go \(GM\[2\]\)$"),
        ("(;AB[tt])", r"^f: byte 2: AB\[tt\]: no point$"),
        ("(;SZ[9]AB[aa:jj])", r"^f: byte 7: AB\[aa:jj\]: outside the 9x9 board$"),
        ("(;AB[aa:bb:cc])", r"^f: byte 2: AB\[aa:bb:cc\]: no point$"),
        ("(;AW[x])", r"^f: byte 2: AW\[x\]: no point$"),
        ("(;AB" + "[aa:ss]" * 3000 + ")", r"^f: byte 2: more than 1000000 stones are placed$"),
        ("(;B[\x1b[2J])", r"^f: "),
    ],
)
def test_one_line_names_the_place(data: str, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        record_of(data)
    assert str(caught.value).isprintable()


def test_odd_but_legal_play() -> None:
    assert letters(record_of("(;B[aa];B[aa];W[aa]B[bb])")) == "aa aa aa bb"
    assert letters(record_of("(;B[aa][bb];W[pass])")) == "aa bb pass"
    assert record_of("(;W[aa])").first == "white"
    assert record_of("(;PL[w]AB[aa])").first == "white"
    assert record_of("(;PL[red])").warnings == ("byte 2: PL names no colour",)
    beside = record_of("(;W[aa]PL[W];W[bb])").events
    assert [type(event) for event in beside] == [Move, ToPlay, Move]


def test_boards() -> None:
    assert record_of("(;B[aa])").size == 19
    assert record_of("(;SZ[19:19])").size == 19
    assert record_of("(;SZ[])").size == 19
    assert record_of("(;GM[1];SZ[9];B[aa])").size == 9
    narrow = record_of("(;SZ[19:7];B[sg])")
    assert (narrow.columns, narrow.rows, letters(narrow)) == (19, 7, "sg")
    with pytest.raises(InputError, match="f: the board is 19x7, not square"):
        _ = narrow.size


def test_a_variation_is_a_record_too() -> None:
    tree = read(b"(;GM[1];B[aa](;W[bb];B[cc])(;W[dd](;B[ee])(;B[ff])))").trees[0]
    assert letters(main_line(tree)) == "aa bb cc"
    assert letters(line(tree, "2.2")) == "aa dd ff"
    assert [move.node for move in line(tree, "2.2").moves] == [1, 2, 3]


# --- game information -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("properties", "komi"),
    [
        ("KM[6.5]", 6.5),
        ("KM[0.500000]", 0.5),
        ("KM[6,5]", 6.5),
        ("KM[-5.5]", -5.5),
        ("KM[7.5 points]", 7.5),
        ("KM[6目半]", 6.5),
        ("KM[６.５]", 6.5),
        ("KM[]", None),
        ("", None),
        ("KM[nan]", None),
        ("KM[1e309]", None),
        ("KM[99999999999999999999]", None),
        ("KM[jigo]", None),
        ("KM[750]", 7.5),  # hundredths
        ("KM[650]", 6.5),
        ("KM[375]", 7.5),  # hundredths of a stone, which is two points
        ("KM[325]", 6.5),
        ("KM[275]", 5.5),
        ("KM[3.75]", 7.5),
        ("KM[2.75]", 5.5),
        ("KM[50]", 50.0),
        ("AP[foxwq]KM[50]HA[2]", 0.5),
        ("AP[foxwq]KM[0]HA[0]RU[Japanese]", 6.5),
        ("AP[foxwq]KM[0]HA[0]RU[Chinese]", 7.5),
        ("AP[GNU Go:3.8]AP[foxwq]KM[0]HA[1]", 0.0),
        ("KM[0]HA[0]", 0.0),
        ("KO[黒6目半]", 6.5),
        ("KO[]", None),
    ],
)
def test_komi(properties: str, komi: float | None) -> None:
    assert record_of(f"(;{properties};B[aa])").komi == komi


@pytest.mark.parametrize(
    ("rules", "ruleset"),
    [
        ("Japanese", "japanese"),
        ("jp", "japanese"),
        ("日本ルール", "japanese"),
        ("Chinese, Pair Go", "chinese"),
        ("cn", "chinese"),
        ("AGA", "aga"),
        ("New Zealand", "new-zealand"),
        ("GOE", "ing"),
        ("koPOSITIONALscoreAREAsui1", ""),
        ("Group tax? scoring", ""),
    ],
)
def test_rulesets(rules: str, ruleset: str) -> None:
    record = record_of(f"(;RU[{rules}])")
    assert (record.rules, record.ruleset) == (rules, ruleset)


@pytest.mark.parametrize(
    ("body", "handicap", "free", "stones", "first", "warns"),
    [
        ("HA[2]AB[pd][dp];W[qq]", 2, 0, "dp pd", "white", False),
        ("HA[2];AB[pd][dp];W[qq]", 2, 0, "dp pd", "white", False),
        ("HA[3]AB[pd][dp];W[qq]", 3, 0, "dp pd", "white", True),
        ("AB[pd][dp];W[qq]", 2, 0, "dp pd", "white", False),
        ("AB[pd][dp];B[qq]", 0, 0, "dp pd", "black", False),  # a problem, not a handicap game
        ("AB[pd][dp]AW[qq];W[aa]", 0, 0, "dp pd", "white", False),
        ("HA[2];B[pd];B[dp];W[qq]", 2, 2, "", "black", False),
        ("HA[2];W[qq];B[cc]", 2, 0, "dp pd", "white", True),
        ("HA[3];W[qq];B[cc]", 3, 0, "dd dp pd", "white", True),
        ("HA[3];W[dd];B[cc]", 3, 0, "dp pd pp", "white", True),
        ("HA[2];W[pd];B[cc]", 2, 0, "", "white", True),  # nobody knows where the stones were
        ("HA[2];B[qq];W[cc]", 2, 0, "", "black", True),
        ("HA[1]KM[0];B[qq]", 1, 0, "", "black", False),
        ("HA[0];B[qq]", 0, 0, "", "black", False),
        ("HA[]", 0, 0, "", "black", False),
        ("HA[-1]", 0, 0, "", "black", True),
        ("HA[4294967296]", 0, 0, "", "black", True),
        ("HA[5];B[aa]", 5, 0, "", "black", True),
    ],
)
def test_handicap(
    body: str, handicap: int, free: int, stones: str, first: str, warns: bool
) -> None:
    record = record_of(f"(;{body})")
    placed = [p for event in record.events if isinstance(event, Setup) for p in event.black]
    assert (record.handicap, record.free_placement) == (handicap, free)
    assert " ".join(sorted(map(to_sgf, placed))) == stones
    assert record.first == first
    assert bool(record.warnings) == warns


def test_handicap_points_are_those_of_gtp() -> None:
    """GTP 2, section 4.1.1: the vertices of fixed_handicap, in any order."""
    vertices = {
        2: "D4 Q16",
        3: "D4 Q16 D16",
        4: "D4 Q16 D16 Q4",
        5: "D4 Q16 D16 Q4 K10",
        6: "D4 Q16 D16 Q4 D10 Q10",
        7: "D4 Q16 D16 Q4 D10 Q10 K10",
        8: "D4 Q16 D16 Q4 D10 Q10 K4 K16",
        9: "D4 Q16 D16 Q4 D10 Q10 K4 K16 K10",
    }
    for number, names in vertices.items():
        expected = {("ABCDEFGHJKLMNOPQRST".index(n[0]), 19 - int(n[1:])) for n in names.split()}
        assert set(handicap_points(number)) == expected
    assert set(handicap_points(4, 9, 9)) == {(2, 2), (6, 2), (2, 6), (6, 6)}
    assert set(handicap_points(2, 13, 13)) == {(9, 3), (3, 9)}
    for number, size in ((1, 19), (10, 19), (5, 8), (2, 5), (0, 19)):
        assert handicap_points(number, size, size) == ()


# --- whole files ----------------------------------------------------------------------------------


def test_players_of_the_shipped_files() -> None:
    kiin = shipped("sgf-encoding-nihon-kiin.sgf")
    assert (kiin.black, kiin.black_rank, kiin.white, kiin.komi) == ("申眞ソ", "九段", "党毅飛", 6.5)
    assert letters(kiin) == "pd dp cq dq cp do bn dd"
    assert kiin.result == "257手完, 黒中押し勝ち"
    for name, black, white in (
        ("sgf-sgf-japanese.sgf", "井山 裕太", "山下 敬吾"),
        ("sgf-sgf-chinese.sgf", "古力", "柯洁"),
        ("sgf-sgf-korean.sgf", "이세돌", "박정환"),
        ("sgf-sgf-utf8bom.sgf", "Kitani Minoru", "Go Seigen"),
        ("katrain-data-xmgt97.sgf", "hi", "ka"),
        ("sabaki-gib-euc-kr.gib", "dustkd1015", "dongjik"),
        ("sabaki-ngf-gb2312.ngf", "李载雄", "朴承华"),
        ("sabaki-ugf-review.ugi", "ken03110", "apetresc"),
    ):
        record = shipped(name)
        assert (record.black, record.white) == (black, white)
    fox = shipped("katago-data-foxlike.sgf")
    assert (fox.komi, fox.handicap, fox.black_rank, fox.first) == (6.5, 2, "3段", "white")
    corner = shipped("katago-sampletest-sampletest9x9.sgf")
    assert (corner.size, len(corner.moves), corner.komi) == (9, 38, 6.0)
    problem = read((ROOT / "tests/data/go/sgf-sgf-no-ca.sgf").read_bytes()).trees[0]
    assert "【第三型】 黑先" in (problem.root.text("C") or "")


def test_gib() -> None:
    record = shipped("sabaki-gib-utf8.gib")
    assert record.handicap == 3
    assert isinstance(record.events[0], Setup)
    assert set(record.events[0].black) == set(handicap_points(3))
    assert (record.black, record.black_rank, record.white_rank) == ("jy512", "15k", "10k")
    assert (record.date, record.komi, len(record.moves)) == ("2016-03-26", 0.0, 118)
    assert letters(record, 0, 4) == "pp nq qn no"
    korean = shipped("sabaki-gib-euc-kr.gib")
    assert (korean.result, korean.komi, korean.white_rank, len(korean.moves)) == (
        "B+T",
        6.5,
        "1급",
        49,
    )


def test_gib_pass_and_score() -> None:
    record = record_of(
        "\\HS\n\\[GAMEINFOMAIN=GRLT:1,ZIPSU:125,GONGJE:75,\\]\n\\HE\n\\GS\n2 1 0\n"
        "INI 0 1 0 &4\nSTO 0 2 1 15 3\nSKI 0 3\nSTO 0 4 1 3 3\n\\GE\n"
    )
    assert (record.result, record.komi, letters(record)) == ("W+12.5", 7.5, "pd pass dd")
    assert [move.colour for move in record.moves] == ["black", "white", "black"]


def test_ngf() -> None:
    record = shipped("sabaki-ngf-handicap2.ngf")
    assert (record.handicap, record.komi, record.result) == (2, 0.0, "W+R")
    assert (record.black, record.black_rank) == ("p81587", "5d*")
    assert (record.white, record.white_rank, record.date) == ("ace550", "7d*", "2017-03-16")
    assert (len(record.moves), letters(record, 0, 3)) == (189, "pq dd fq")
    chinese = shipped("sabaki-ngf-gb2312.ngf")
    assert (chinese.white_rank, chinese.komi, chinese.result) == ("初段", 6.5, "B+R")
    assert (len(chinese.moves), chinese.date) == (211, "2006-09-05")


def test_ugf_with_its_review() -> None:
    collection = read((ROOT / "tests/data/go/sabaki-ugf-review.ugi").read_bytes())
    tree = collection.trees[0]
    record = main_line(tree)
    assert (record.komi, record.result, record.ruleset) == (6.5, "B+2.5", "japanese")
    assert (len(record.moves), letters(record, 0, 3)) == (222, "qd dc pq")
    assert letters(record, 219) == "pass pass pass"
    assert letters(line(tree, "2"), 53, 56) == "nm jj cl"
    assert letters(line(tree, "1.2"), 55, 58) == "nm nn om"
    assert (
        nodes_on(tree)[54]
        .text(
            "C",
        )
        .startswith("apetresc [ 2k?]: Game-losing move")
    )  # type: ignore[union-attr]
    assert collection.form == "ugf"


def test_foreign_files_are_saved_as_sgf() -> None:
    for path in SHIPPED:
        if path.suffix == ".sgf":
            continue
        collection = read(path.read_bytes(), source=path.name)
        before = main_line(collection.trees[0])
        comment(nodes_on(collection.trees[0])[3], "注")
        again = parse(collection.to_bytes())
        assert again.encoding == "utf-8"
        assert again.trees[0].root.text("CA") == "UTF-8"
        after = main_line(again.trees[0])
        assert letters(after) == letters(before)
        assert (after.black, after.white, after.komi, after.result, after.handicap) == (
            before.black,
            before.white,
            before.komi,
            before.result,
            before.handicap,
        )


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("\\HS\nSTO 0 2 1 19 3\n", r"^f: line 2 \(byte 4\): move 1 outside the 19x19 board$"),
        ("\\HS\nSTO 0 2 1 -1 3\nx\n", r"^f: line 2 \(byte 4\): no move: 'STO 0 2 1 -1 3'$"),
        ("\\HS\nSTO 0 2 3 1 3\nx\n", r"^f: line 2 \(byte 4\): no move"),
        ("\\HS\nINI 0 1 x\n", r"^f: line 2 \(byte 4\): no handicap: 'x'$"),
        ("\\HS\nINI 0 1 99\n", r"a handicap of 99 has no usual points$"),
        ("PMABBREER\nPMACWZ\nPMABBREER\n", r"^f: line 2 \(byte 10\): no move: 'PMACWZ'$"),
        ("PMABBZZZZ\n", r"^f: line 1 \(byte 0\): move 1 outside the 19x19 board$"),
        ("[Header]\nSize=0\n[Data]\n", r"^f: line 2 \(byte 9\): no board size: '0'$"),
        (
            "[Header]\nSize=9\n[Data]\nQP,B1,1,0\n",
            r"^f: line 4 \(byte 23\): move 1 outside the 9x9",
        ),
        ("[Header]\n[Data]\nQ\nx\n", r"^f: line 3 \(byte 16\): no move: 'Q'$"),
        ("[Header]\n[Data]\nTT,B1,0,0\n", r"^f: line 3 .*a stone outside the 19x19 board$"),
        ("[Header]\n[ReviewNode]\nNODE,x\nx\n", r"^f: line 3 \(byte 22\): no node: 'NODE,x'$"),
    ],
)
def test_foreign_errors_name_line_and_byte(data: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        record_of(data)


def test_foreign_files_that_were_cut_off() -> None:
    record = record_of("\\HS\nSTO 0 2 1 15 3\nSTO 0 3 2 3")
    assert letters(record) == "pd"
    assert any("ends inside a line" in warning for warning in record.warnings)


def test_foreign_limits() -> None:
    gib = b"\\HS\n" + b"STO 0 2 1 15 3\n" * 100
    for limits, option in (
        (Limits(max_nodes=50), "--max-nodes"),
        (Limits(max_bytes=9), "--max-bytes"),
    ):
        with pytest.raises(LimitError) as caught:
            read(gib, source="f", limits=limits)
        assert caught.value.option == option
    ugf = b"[Header]\n[Data]\n[ReviewNode]\n" + b"VARIATION,\n" * 100
    with pytest.raises(LimitError, match="--max-depth"):
        read(ugf, limits=Limits(max_depth=50))


def test_formats_are_told_apart_by_content() -> None:
    for path in SHIPPED:
        expected = {".sgf": None, ".gib": "gib", ".ngf": "ngf", ".ugi": "ugf"}[path.suffix]
        assert recognise(path.read_bytes()) == expected
    assert recognise(b"(;C[\n[Header]\nPMABBREER\n\\HS\n])") is None
    assert recognise(b"\xef\xbb\xbf\\HS\n") == "gib"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name[:50])
def test_every_file_can_be_replayed(path: Path) -> None:
    """No move of these games lands on a stone: coordinates, set-up and handicap are right."""
    record = main_line(read(path.read_bytes(), source=path.name).trees[0])
    board = boards.Board(record.size)

    def flipped(points: tuple[tuple[int, int], ...]) -> list[tuple[int, int]]:
        return [(record.rows - 1 - row, column) for column, row in points]

    for event in record.events:
        if isinstance(event, Setup):
            assert board.apply_setup(*map(flipped, (event.black, event.white, event.empty)))
        elif isinstance(event, Move) and event.point:
            column, row = event.point
            board.play(record.rows - 1 - row, column, event.colour[0])  # ValueError: occupied


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared/data/go/sgf is absent")
def test_all_files_of_the_collection() -> None:
    records = [main_line(read(p.read_bytes(), source=p.name).trees[0]) for p in FILES]
    assert len(records) == 108
    assert sum(len(record.moves) for record in records) == 18_064
    assert {record.size for record in records} == {9, 19}
    assert sum(record.handicap >= 2 for record in records) == 17
    cut = next(r for r in records if "Tiger-2016.08.19" in r.source)
    assert cut.black.startswith("东方明")
    assert cut.white == "虎虎有生气"


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.suffix.lower() == ".sgf"], ids=lambda path: path.name[:50]
)
def test_same_moves_and_setup_as_sgfmill(path: Path) -> None:
    data = path.read_bytes()
    record = main_line(read(data, source=path.name).trees[0])
    try:
        game = sgfmill.Sgf_game.from_bytes(data)
    except ValueError:
        pytest.skip("sgfmill can't read it")
    theirs = []
    for number, node in enumerate(game.get_main_sequence()):
        for name, kind in (("AB", "black"), ("AW", "white"), ("AE", "empty")):
            if node.has_property(name):
                theirs += [(number, kind, point) for point in sorted(node.get(name))]
        colour, raw = node.get_raw_move()
        if colour:
            point = to_point(raw.decode("ascii"), record.columns, record.rows)
            theirs.append((number, {"b": "black", "w": "white"}[colour], point))
    ours: list[tuple[int, str, object]] = []
    for event in record.events:
        if isinstance(event, Setup):
            for kind, points in (("black", event.black), ("white", event.white)):
                ours += sorted((event.node, kind, (record.rows - 1 - y, x)) for x, y in points)
        elif isinstance(event, Move):
            ours.append((event.node, event.colour, event.point))
    assert ours == theirs
