"""Reading and writing SGF: the tree, the encodings, the limits, the annotations."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sgfmill import sgf as sgfmill

from cnnapps.apps.go_policy.records import main_line
from cnnapps.apps.go_policy.sgf import (
    Collection,
    Limits,
    Node,
    add_variation,
    comment,
    escape,
    label,
    mark,
    nodes_on,
    parse,
    simple,
    to_point,
    to_sgf,
    unescape,
)
from cnnapps.core.charset import canonical
from cnnapps.core.errors import InputError, LimitError

ROOT = Path(__file__).parents[3]
SHIPPED = sorted((ROOT / "tests/data/go").glob("*.sgf"))
SHARED = ROOT.parent / "shared/data/go/sgf"


def sgf_files() -> list[Path]:
    return sorted(p for p in SHARED.glob("*") if p.suffix.lower() == ".sgf") or SHIPPED


def walk(root: Node) -> Iterator[Node]:
    stack = [root]
    while stack:
        node = stack.pop()
        yield node
        stack.extend(reversed(node.children))


def contents(collection: Collection) -> list[list[tuple[int, list[tuple[str, list[str]]]]]]:
    """Everything that must survive: shape, names, order and decoded values, save CA."""
    return [
        [
            (
                len(node.children),
                [
                    (p.name, [unescape(v) for v in p.values])
                    for p in node.properties
                    if p.name != "CA"
                ],
            )
            for node in walk(tree.root)
        ]
        for tree in collection.trees
    ]


def moves(data: bytes, **options: str) -> str:
    """The main line as letters, two a move."""
    record = main_line(parse(data, source="t", **options).trees[0])
    return "".join(to_sgf(move.point) or "--" for move in record.moves)


# --- the grammar ----------------------------------------------------------------------------------


def test_properties_keep_order_and_values() -> None:
    root = parse(b"(;GM[1]AB[aa][bb]\n[cc]C[a\\]b\\\\c]ZZ[x])").trees[0].root
    assert [(p.name, p.values) for p in root.properties] == [
        ("GM", ("1",)),
        ("AB", ("aa", "bb", "cc")),
        ("C", ("a\\]b\\\\c",)),
        ("ZZ", ("x",)),
    ]
    assert root.text("C") == "a]b\\c"
    assert root.text("XX") is None


def test_escapes_and_soft_line_breaks() -> None:
    assert unescape("a\\\nb\\\r\nc") == "abc"
    assert unescape("x\\:y\\]z\\\\") == "x:y]z\\"
    assert unescape("one\r\ntwo\rthree\n\rfour\tfive") == "one\ntwo\nthree\nfour five"
    assert simple("  two\n lines\\\nin one ") == "two linesin one"
    assert escape("[a]:\\", composed=True) == "[a\\]\\:\\\\"


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\t\v\f")))
def test_unescape_undoes_escape(text: str) -> None:
    assert unescape(escape(text)) == text
    assert unescape(escape(text, composed=True)) == text


def test_long_names_of_old_versions() -> None:
    data = b"(;GaMe[1]SiZe[9]PlayerBlack[hi]AddBlack[aa];Black[ff];White[gd])"
    root = parse(data).trees[0].root
    assert [p.name for p in root.properties] == ["GM", "SZ", "PB", "AB"]
    assert moves(data) == "ffgd"
    assert parse(data).to_bytes() == data


def test_variations_and_paths() -> None:
    data = b"(;B[aa](;W[bb];B[cc](;W[dd])(;W[ee]))(;W[ff](;B[gg])(;B[hh])(;B[ii])))"
    tree = parse(data).trees[0]

    def letters(path: str) -> str:
        found = [node.values("B") + node.values("W") for node in nodes_on(tree, path)]
        return "".join(value for values in found for value in values)

    assert letters("") == letters("1") == letters("1.1") == "aabbccdd"
    assert letters("1.2") == "aabbccee"
    assert letters("2") == "aaffgg"
    assert letters("2.3") == "aaffii"
    for path, reason in (
        ("3", "branching 1 has 2 variations"),
        ("2.4", "branching 2 has 3 variations"),
        ("1.1.1", "branches 2 times"),
        ("0", "numbers from 1"),
        ("1..2", "numbers from 1"),
        ("two", "numbers from 1"),
    ):
        with pytest.raises(InputError, match=reason):
            nodes_on(tree, path)


def test_several_games_and_mail_around_them() -> None:
    data = b"From: me\n(see below)\n\n(;B[aa]) -- \n(;W[bb];B[cc])\n-- \nme\x1a"
    collection = parse(data)
    assert [len(nodes_on(tree)) for tree in collection.trees] == [1, 2]
    assert collection.to_bytes() == data
    assert len(collection.warnings) == 3


@pytest.mark.parametrize(
    ("data", "line", "warning"),
    [
        (b"(\nPB[x]\n;B[pd];W[dp])", "pddp", None),  # no ";": Nihon Ki-in, Sina
        (b";FF[4];B[pd];W[dp])", "pddp", "( of the game is missing"),
        (b"(;FF[4];B[pd];W[dp", "pddp", "] of W is missing"),
        (b"(;B[pd];W[dp];B[q", "pddp", "value dropped"),
        (b"(;B[pd];W[dp];B[", "pddp", "value dropped"),  # not a pass
        (b"(;B[pd];W[dp]C[so far", "pddp", "the file ends inside a value"),
        (b"(;B[pd;W[dp];B[qq])", "pddpqq", "] of B is missing"),
        (b"(;B[[pd];W[dp])", "pddp", "] of B is missing"),
        (b"(;B[pd]];W[dp])", "pddp", "skipped what is no property"),
        (b"(;B[pd] xx ;W[dp])", "pddp", "skipped what is no property"),
        (b"(;B[pd][;W[dp])", "pddp", "] of B is missing"),
        (b"(;B[pd];W[dp]", "pddp", "1 \\) missing"),
        (b"(;B[pd](;W[dp](;B[qq", "pddpqq", "3 \\) missing"),
        (b"(;B[pd]()(;W[dp]))", "pddp", "an empty variation"),
        (b"(;b[pd];w[dp])", "pddp", "lower case"),
        (b"(;B[pd]B[qq];W[dp])", "pdqqdp", None),
        (b"(;B[pd](;W[dp])(;W[dd]);W[qq])", "pddp", "a node after variations"),
        (b"(;B[pd];W[dp])garbage", "pddp", "other text after the game"),
        (b"(;B[pd]\n\n;W[dp]\r\n)\n\n", "pddp", None),
        (b"(;B[];W[tt];B[ss])", "----ss", None),
    ],
)
def test_mended_files(data: bytes, line: str, warning: str | None) -> None:
    collection = parse(data)
    assert moves(data) == line
    if warning is None:
        assert not collection.warnings
    else:
        assert any(warning.replace("\\", "") in w.replace('"', "") for w in collection.warnings)
    again = parse(collection.to_bytes())
    assert contents(again) == contents(collection)


@pytest.mark.parametrize("data", [b"", b" ", b"no game", b"()", b"(c) 1999", b"\x00" * 50, b"[;]"])
def test_no_game_is_one_line(data: bytes) -> None:
    with pytest.raises(
        InputError, match=rf'^f.sgf: no game record: no "\(;" in {len(data)} bytes$'
    ):
        parse(data, source="f.sgf")


# --- limits ---------------------------------------------------------------------------------------


def nested(depth: int) -> bytes:
    return b"(;B[aa]" * depth + b")" * depth


def test_limits_name_their_option() -> None:
    for data, limits, option, place in (
        (nested(30), Limits(max_depth=20), "--max-depth", "byte 140"),
        (b"(;B[aa];W[bb])", Limits(max_nodes=4), "--max-nodes", "byte"),
        (b"(;AB[aa][bb][cc][dd])", Limits(max_nodes=4), "--max-nodes", "byte"),
        (b"(;B[aa])" + b" " * 100, Limits(max_bytes=100), "--max-bytes", "108 bytes"),
    ):
        with pytest.raises(LimitError, match=place) as caught:
            parse(data, source="f", limits=limits)
        assert caught.value.option == option


def test_deep_nesting_is_refused_or_read_without_recursion() -> None:
    data = nested(100_000)
    with pytest.raises(LimitError, match="nested 10000 deep"):
        parse(data, source="f")
    collection = parse(data, source="f", limits=Limits(max_depth=100_000))
    assert len(nodes_on(collection.trees[0])) == 100_000
    assert len(main_line(collection.trees[0]).moves) == 100_000
    assert collection.to_bytes() == data
    comment(collection.trees[0].root, "deep")
    assert collection.to_bytes().count(b"(") == 100_000


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    [
        b"]",
        b"[",
        b"a ",
        b"a]",
        b"[x]a ",
        b"()",
        b"\\",
        b";B[aa",
        b"( ",
        b"\x81\x5d",
        b";B[aa]C[\xe9]",
    ],
)
def test_long_nonsense_takes_linear_time(piece: bytes) -> None:
    data = b"(;B[pd]" + piece * (200_000 // len(piece)) + b")"  # quadratic: minutes
    try:
        collection = parse(data, source="f", limits=Limits(max_nodes=100_000))
    except LimitError:
        return
    assert contents(parse(collection.to_bytes())) == contents(collection)


# --- encodings ------------------------------------------------------------------------------------

TEXTS = {
    "gb18030": "黑先，柯洁九段执黑中盘胜，韩国李昌镐解说",
    "cp932": "ソゾ表十深構能予 第１回世界最高棋士決定戦 申眞ソ 九段",
    "cp949": "이세돌 9단 박정환 승단 대국 타이젬 바둑",
    "cp950": "功許蓋餐 黑棋先行 周俊勳九段 中國圍棋 應氏盃",
    "euc_jp": "ソゾ表十 名人戦 井山裕太がタイトルを取った",
    "cp1251": "Черные выиграли: Александр Динерштейн, 3 дан",
    "cp1252": "Ça, c'était bien joué: é] à] François Müller",
    "utf-8": "黑 ソ 이 é Ж",
}


def in_file(text: str, encoding: str, head: str = "") -> bytes:
    record = (
        f"(;{head}SZ[19]PB[{escape(text)}]PW[{escape(text)}];B[pd];W[dp]C[{escape(text)}];B[qq])"
    )
    return record.encode(encoding)


@pytest.mark.parametrize(("encoding", "text"), TEXTS.items())
def test_encodings_are_recognised_without_ca(encoding: str, text: str) -> None:
    collection = parse(in_file(text, encoding))
    assert collection.encoding == encoding
    assert collection.trees[0].root.text("PB") == text
    assert moves(in_file(text, encoding)) == "pddpqq"


@pytest.mark.parametrize("sign", "½×±°éøžżłąęğışőțЖ")
def test_one_sign_of_utf_8_is_enough(sign: str) -> None:
    """Its two bytes are a character of GB18030 as well: 陆 for ½."""
    text = f"komi 6{sign}"
    collection = parse(f"(;GM[1]SZ[9]C[{text}];B[ee])".encode())
    assert collection.trees[0].root.text("C") == text


@pytest.mark.parametrize(("encoding", "text"), TEXTS.items())
@pytest.mark.parametrize("lie", ["UTF-8", "ISO-8859-1", "GB2312", "Shift_JIS", "nonsense", "rot13"])
def test_a_lying_ca_is_found_out(encoding: str, text: str, lie: str) -> None:
    collection = parse(in_file(text, encoding, head=f"CA[{lie}]"))
    assert collection.trees[0].root.text("PB") == text


@pytest.mark.parametrize("claim", ["GB2312", "GBK", "GB18030", "Big5", "EUC-KR"])
def test_a_true_ca_is_believed_for_japanese_words_in_another_encoding(claim: str) -> None:
    """The kana of GB2312 and EUC-JP have the same bytes."""
    words = {"GB2312": "依田纪基", "GBK": "圍棋", "GB18030": "棋聖戰", "Big5": "林海峰"}
    text = words.get(claim, "조훈현") + " ヒカルのご だいいちわ"
    codec = canonical(claim)
    assert codec is not None
    collection = parse(in_file(text, codec, head=f"CA[{claim}]"))
    assert collection.encoding == codec and not collection.warnings
    assert collection.trees[0].root.text("PB") == text


def test_bytes_that_are_no_text_are_told_and_shown_as_such() -> None:
    collection = parse(b"(;CA[GB2312]PB[" + "古力".encode("gbk") + b"\xff];B[pd])", encoding="gbk")
    assert collection.unreadable == 1
    assert collection.warnings == ("1 byte is no text in gb18030",)
    assert simple(collection.trees[0].root.values("PB")[0]) == "古力\ufffd"


@pytest.mark.parametrize(("encoding", "text"), TEXTS.items())
@pytest.mark.parametrize(
    "word", ["latin-1", "gb18030", "shift_jis", "euc-kr", "big5", "utf-8", "koi8-r"]
)
def test_moves_do_not_depend_on_the_encoding(encoding: str, text: str, word: str) -> None:
    data = in_file(text, encoding)
    assert moves(data) == "pddpqq"
    assert moves(data, encoding=word) == "pddpqq"


@given(
    codec=st.sampled_from(["gb18030", "cp932", "cp949", "cp950"]),
    pairs=st.lists(st.tuples(st.integers(0x81, 0xFE), st.sampled_from(b"\\][;(B")), max_size=12),
    value=st.sampled_from(["PB", "C", "GN"]),
)
@settings(deadline=None)
def test_trail_bytes_that_look_like_signs(
    codec: str, pairs: list[tuple[int, int]], value: str
) -> None:
    """Whatever characters end in a backslash, bracket or semicolon: the moves stay."""
    text = bytes(byte for pair in pairs for byte in pair).decode(codec, "ignore")
    text = "".join(ch for ch in text if ch > "\x7f" and ch.isprintable())
    data = f"(;{value}[{text}];B[pd];W[dp]C[{text}];B[qq])".encode(codec, "ignore")
    assert moves(data, encoding=codec) == "pddpqq"
    assert parse(data, encoding=codec).trees[0].root.text(value) == text


def test_the_callers_word_and_its_errors() -> None:
    data = in_file("поле", "koi8-r")
    assert parse(data, encoding="koi8-r").trees[0].root.text("PB") == "поле"
    for name in ("klingon", "rot13", "unicode_escape", "idna", "", "\0"):
        with pytest.raises(InputError, match="unknown encoding"):
            parse(data, source="f", encoding=name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_byte_order_marks_and_wide_encodings(encoding: str) -> None:
    data = in_file("黑先", encoding)
    collection = parse(data)
    assert collection.trees[0].root.text("PB") == "黑先"
    assert moves(data) == "pddpqq"
    assert collection.to_bytes() == data
    word = encoding.removesuffix("-sig")
    assert parse(data, encoding=word).trees[0].root.text("PB") == "黑先"
    comment(collection.trees[0].root, "x")
    assert parse(collection.to_bytes()).encoding == "utf-8"


def test_seven_bit_japanese() -> None:
    data = in_file("表ソ能", "iso2022_jp")
    assert parse(data).trees[0].root.text("PB") == "表ソ能"
    assert moves(data) == "pddpqq"


def test_a_name_cut_inside_a_character() -> None:
    name = "东方明珠虎虎有生气".encode()[:-1]
    data = b"(;CA[UTF-8]PB[" + name + b"];B[pd])"
    collection = parse(data)
    assert collection.encoding == "utf-8"
    assert (collection.trees[0].root.text("PB") or "").startswith("东方明珠虎虎有生")
    assert collection.to_bytes() == data
    comment(collection.trees[0].root, "x")
    assert parse(collection.to_bytes()).trees[0].root.text("C") == "x"


# --- parity with sgfmill --------------------------------------------------------------------------


@pytest.mark.parametrize("path", sgf_files(), ids=lambda path: path.name[:50])
def test_same_tree_as_sgfmill(path: Path) -> None:
    data = path.read_bytes()
    collection = parse(data, source=path.name)
    try:
        game = sgfmill.Sgf_game.from_bytes(data)
    except ValueError:
        pytest.skip("sgfmill can't read it")
    if collection.encoding != "utf-8":
        pytest.skip("sgfmill tears values in this encoding apart")
    theirs, ours = [game.get_root()], [collection.trees[0].root]
    while theirs:
        node, own = theirs.pop(), ours.pop()
        names = list(dict.fromkeys(item.name for item in own.properties))
        assert sorted(names) == sorted(node.properties())
        for name in names:
            raw = [value.encode("utf-8", "surrogateescape") for value in own.values(name)]
            assert raw == node.get_raw_list(name)
        assert len(own.children) == len(node)
        theirs.extend(node)
        ours.extend(own.children)
    assert not ours


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sgf_files(), ids=lambda path: path.name[:50])
def test_untouched_files_come_back_byte_for_byte(path: Path) -> None:
    data = path.read_bytes()
    assert parse(data, source=path.name).to_bytes() == data


@pytest.mark.parametrize("path", sgf_files(), ids=lambda path: path.name[:50])
def test_annotated_files_lose_nothing(path: Path) -> None:
    collection = parse(path.read_bytes(), source=path.name)
    nodes = nodes_on(collection.trees[0])
    middle = nodes[len(nodes) // 2]
    label(middle, {(3, 3): "A", (15, 15): "b:]"})
    mark(middle, "TR", [(2, 2)])
    comment(middle, "best: 3-3 [x] \\ 好手")
    add_variation(middle, [("black", (0, 0)), ("white", None)], text="better")
    written = collection.to_bytes()
    again = parse(written)
    assert again.encoding == "utf-8"
    assert [p.values for p in again.trees[0].root.properties if p.name == "CA"] == [("UTF-8",)]
    expected = str(contents(collection)).replace("\\udce7\\udc8f", "??")  # no characters
    assert str(contents(again)) == expected


def test_annotation_changes_nothing_else() -> None:
    data = b"(\n ;CA[utf-8]  SZ[9]\n ;B[aa]\n\n ;W[bb] ; B [cc]\n)\n"
    collection = parse(data)
    nodes = nodes_on(collection.trees[0])
    label(nodes[2], {(4, 4): "A"})
    add_variation(nodes[1], [("white", (5, 5))], text="or")
    assert collection.to_bytes().decode() == (
        "(\n ;CA[UTF-8]  SZ[9]\n ;B[aa](\n\n ;W[bb]LB[ee:A] ; B [cc])\n(;W[ff]C[or])\n)\n"
    )


def test_what_is_no_sgf_leaves_a_changed_file() -> None:
    collection = parse(b"(;B[aa] junk ;W[bb]PW(;B[cc])[stray])")
    comment(collection.trees[0].root, "x")
    written = collection.to_bytes()
    assert written == b"(;CA[UTF-8]B[aa]C[x];W[bb](;B[cc]))"
    assert not parse(written).warnings


def test_labels_and_comments_join_those_that_are_there() -> None:
    root = parse(b"(;LB[aa:1]C[was here])").trees[0].root
    label(root, {(0, 0): "A", (1, 1): "B"})
    comment(root, "is here")
    assert root.values("LB") == ["aa:1", "bb:B"]
    assert root.text("C") == "was here\n\nis here"
    assert [p.name for p in root.properties] == ["LB", "C"]


def test_a_variation_needs_a_move() -> None:
    with pytest.raises(ValueError, match="needs a move"):
        add_variation(Node(), [])


RAW = st.text(st.characters(exclude_categories=["Cs", "Cc"])).map(escape)
NAMES = st.sampled_from(["C", "PB", "GN", "ZZ", "B", "LB"])


@given(
    parents=st.lists(st.integers(0, 30), max_size=30),
    values=st.lists(st.lists(st.tuples(NAMES, st.lists(RAW, min_size=1, max_size=3)), max_size=3)),
)
@settings(deadline=None)
def test_any_tree_survives_writing(
    parents: list[int], values: list[list[tuple[str, list[str]]]]
) -> None:
    collection = parse(b"(;SZ[19])")
    nodes = [collection.trees[0].root]
    for parent in parents:
        nodes.append(Node(nodes[parent % len(nodes)]))
    for node, properties in zip(nodes, values, strict=False):
        for name, raw in properties:
            plain = ["pd"] if name == "B" else raw
            node.set(name, plain)
    assert contents(parse(collection.to_bytes())) == contents(collection)


def test_points() -> None:
    assert to_point("aa", 19, 19) == (0, 0)
    assert to_point(" sA ", 52, 52) == (18, 26)
    assert to_point("tt", 19, 19) is None
    assert to_point("tt", 20, 20) == (19, 19)
    assert to_point("", 9, 9) is None
    assert to_sgf((15, 3)) == "pd"
    assert to_sgf(None) == ""
    for raw, reason in (("aj", "outside the 9x9 board"), ("a", "no point"), ("a1", "no point")):
        with pytest.raises(ValueError, match=reason):
            to_point(raw, 9, 9)


@given(st.integers(0, 51), st.integers(0, 51))
def test_to_point_undoes_to_sgf(column: int, row: int) -> None:
    assert to_point(to_sgf((column, row)), 52, 52) == (column, row)
