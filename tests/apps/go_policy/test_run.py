"""The commands on files of all kinds: what is written, what is kept, what an error costs."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from cnnapps.__main__ import main
from cnnapps.apps.go_policy import GoPredictor
from cnnapps.apps.go_policy.picture import draw_board
from cnnapps.apps.go_policy.records import main_line, read
from cnnapps.core.media import read_bytes

ONE = ["--symmetries", "1"]
GAME = "(;GM[1]SZ[19]PB[a];B[pd];W[dp])"
GIB = (Path(__file__).parents[2] / "data/go/sabaki-gib-utf8.gib").read_bytes()
TWO = "(;GM[1]SZ[19]PB[one];B[pd];W[dp])(;GM[1]SZ[9]PB[two];B[ee];W[cc])"


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, ["go-policy", *arguments])
    return result.exit_code, result.stdout, result.stderr


def record(folder: Path, text: str, name: str = "game.sgf") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


# ------------------------------------------------------------------------------- what is written
def test_bytes_that_are_no_text_are_not_lost_in_silence(tmp_path: Path) -> None:
    game, other = tmp_path / "game.sgf", tmp_path / "new.sgf"
    data = GAME.encode().replace(b"PB[a]", b"PB[\xb9\xc5\xc1\xa6\xff]CA[GB2312]")
    game.write_bytes(data)
    code, _, err = run(str(game), *ONE, "-o", str(game))
    assert code == 1 and "would lose 1 byte that is no text in gb18030" in err
    assert game.read_bytes() == data
    code, _, err = run(str(game), *ONE, "-o", str(other))
    assert code == 0 and '1 byte that is no text in gb18030, written as "?"' in err
    assert "PB[古力?]" in other.read_text()


def test_a_picture_that_has_no_place_is_not_the_fault_of_the_record(tmp_path: Path) -> None:
    picture = tmp_path / "nowhere" / "board.png"
    code, _, err = run(str(record(tmp_path, GAME)), *ONE, "-o", str(picture))
    assert code == 1 and err == f"cnnapps: {picture}: can't be written: no such file\n"


def test_a_bad_game_of_a_file_is_named_and_costs_itself(tmp_path: Path) -> None:
    game = record(tmp_path, TWO + "(;GM[1]SZ[6];B[cc])")
    code, out, err = run(str(game), "--all-moves", *ONE, "--json")
    assert code == 1 and out.count("\n") == 3 and err.startswith(f"cnnapps: {game}, game 3: ")
    code, out, err = run("evaluate", str(game), *ONE, "--json")
    assert code == 1 and json.loads(out)["n"] == 4
    assert err.startswith(f"cnnapps: {game}, game 3: left out, ")


def test_two_moves_in_one_property_are_told(tmp_path: Path) -> None:
    code, _, err = run(str(record(tmp_path, "(;SZ[9];B[ee][cc];W[gg])")), *ONE)
    assert code == 0 and "more than one move in B" in err


@pytest.mark.parametrize(("rules", "told"), [("Japanese", True), ("NZ", False)])
def test_suicide_breaks_the_rules_where_they_forbid_it(
    tmp_path: Path, rules: str, told: bool
) -> None:
    text = f"(;SZ[9]RU[{rules}]AB[ab][bb][ca]AW[ba];W[aa];B[ee])"
    code, _, err = run(str(record(tmp_path, text)), *ONE)
    assert code == 0 and ("illegal (suicide)" in err) == told


def test_all_moves_have_a_color_already(tmp_path: Path) -> None:
    code, _, err = run(str(record(tmp_path, GAME)), "--all-moves", "--color", "b")
    assert code == 2 and "leave out --color" in err


@pytest.mark.parametrize("more", [["--move", "999"], ["--variation", "7"]])
def test_a_failure_leaves_the_file_that_it_would_have_replaced(
    tmp_path: Path, more: list[str]
) -> None:
    game = record(tmp_path, GAME)
    code, out, err = run(str(game), *more, *ONE, "-o", str(game))
    assert code == 1 and out == "" and err.count("\n") == 1
    assert game.read_text() == GAME
    assert [path.name for path in tmp_path.iterdir()] == ["game.sgf"]


def test_an_error_of_a_record_is_one_line_on_stderr_and_none_on_stdout(tmp_path: Path) -> None:
    game = record(tmp_path, GAME)
    for form in ("text", "sgf"):
        code, out, err = run(str(tmp_path / "no.sgf"), str(game), *ONE, "--format", form)
        assert code == 1 and err == f"cnnapps: {tmp_path / 'no.sgf'}: no such file\n"
        assert "no.sgf" not in out and not out.startswith("\n")


def test_the_other_games_of_a_file_are_kept(tmp_path: Path) -> None:
    game = record(tmp_path, TWO)
    for number in ("1", "2"):
        code, out, _ = run(str(game), "--game", number, *ONE, "--format", "sgf")
        assert code == 0
        trees = read(out.encode()).trees
        assert [main_line(tree).black for tree in trees] == ["one", "two"]
        marked = [bool(list(tree.root.children[0].children[0].values("LB"))) for tree in trees]
        assert marked == [number == "1", number == "2"]
    code, out, _ = run(str(game), "--all-moves", *ONE, "--format", "sgf")
    assert code == 0 and len(read(out.encode()).trees) == 2


def test_games_that_can_not_be_answered_stay_in_their_file(tmp_path: Path) -> None:
    game = record(tmp_path, TWO + "(;SZ[5]C[mine];B[cc])(;SZ[9]C[bad];B[zz])")
    code, _, err = run(str(game), "--all-moves", *ONE, "-o", str(game))
    assert code == 1 and err.count("\n") == 2
    trees = read(game.read_bytes()).trees
    assert len(trees) == 4
    assert [tree.root.text("C") for tree in trees[2:]] == ["mine", "bad"]


def test_text_around_a_game_stays_beside_it(tmp_path: Path) -> None:
    game = record(tmp_path, "note to self: keep\n(;SZ[9];B[ee])\nmy remarks\n")
    assert run(str(game), *ONE, "-o", str(game))[0] == 0
    text = game.read_text()
    assert text.startswith("note to self: keep\n(;") and text.endswith(")\nmy remarks\n")
    assert "LB[" in text


@pytest.mark.parametrize("more", [["--format", "sgf"], ["--all-moves", "--json"]])
def test_the_output_is_none_of_several_inputs(tmp_path: Path, more: list[str]) -> None:
    game, five = record(tmp_path, GAME), record(tmp_path, "(;SZ[5];B[cc])", "five.sgf")
    for given in ([str(game), str(five)], [str(tmp_path)]):
        code, _, err = run(*given, *ONE, *more, "-o", str(five))
        assert code == 2 and "is one of the inputs" in err
        assert five.read_text() == "(;SZ[5];B[cc])"


def test_games_in_several_encodings_are_told_and_not_written_over(tmp_path: Path) -> None:
    game = tmp_path / "two.sgf"
    data = "(;CA[gb18030]SZ[9]PB[古力];B[ee])".encode("gb18030")
    data += "(;CA[UTF-8]SZ[9]PB[柯洁];B[cc])".encode()
    game.write_bytes(data)
    code, _, err = run(str(game), *ONE, "-o", str(game))
    assert code == 1 and "in several encodings (gb18030, utf-8)" in err
    assert game.read_bytes() == data
    code, _, err = run(str(game), *ONE)
    assert code == 0 and "its games say gb18030 and utf-8" in err


def test_a_record_of_another_format_is_not_replaced_by_sgf(tmp_path: Path) -> None:
    game = tmp_path / "game.gib"
    game.write_bytes(GIB)
    code, _, err = run(str(game), *ONE, "--format", "sgf", "-o", str(game))
    assert code == 1 and "is GIB and would become SGF" in err
    assert game.read_bytes() == GIB


@pytest.mark.parametrize(
    "text",
    ["<script>for(;;){}</script>", "int main(void) { for(;;) {} }", "see (;) and (;X[1])"],
)
def test_programs_and_pages_are_no_games(tmp_path: Path, text: str) -> None:
    code, out, err = run(str(record(tmp_path, text)), *ONE)
    assert code == 1 and out == "" and "no game record" in err


def test_an_empty_game_is_one(tmp_path: Path) -> None:
    assert run(str(record(tmp_path, "(;)")), *ONE)[0] == 0


def test_annotating_again_adds_no_second_comment(tmp_path: Path) -> None:
    game = record(tmp_path, GAME)
    for _ in range(2):
        assert run(str(game), "--all-moves", *ONE, "-o", str(game))[0] == 0
    once = game.read_bytes()
    assert run(str(game), "--all-moves", *ONE, "-o", str(game))[0] == 0
    assert game.read_bytes() == once
    assert (main_line(read(once).trees[0]), once.count(b"how often"))[1] == 1


def test_other_pictures_are_not_text_in_disguise(tmp_path: Path) -> None:
    code, _, err = run(str(record(tmp_path, GAME)), "-o", str(tmp_path / "x.gif"))
    assert code == 2 and "pictures are written as .png or .jpg" in err


def test_a_folder_tells_its_records_apart(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        record(tmp_path / name, GAME)
    _, out, _ = run(str(tmp_path), *ONE)
    assert "a/game.sgf" in out and "b/game.sgf" in out


def test_all_moves_of_records_can_be_resumed_and_of_a_folder_not(tmp_path: Path) -> None:
    game, out = record(tmp_path, GAME), tmp_path / "out.jsonl"
    assert run(str(game), "--all-moves", *ONE, "--json", "-o", str(out), "--resume")[0] == 0
    code, _, err = run(str(tmp_path), "--all-moves", *ONE, "--json", "-o", str(out), "--resume")
    assert code == 2 and "name its records" in err


def test_top_limits_what_is_painted(one: GoPredictor) -> None:
    result = one(main_line(read(GAME.encode()).trees[0]))
    whole = draw_board(result)
    few = draw_board(result, top=1)
    assert (whole[:700, :700] != few[:700, :700]).any()
    none = dataclasses.replace(result, grid=np.zeros_like(result.grid))
    changed = (few[100:700, :700] != draw_board(none, top=1)[100:700, :700]).any(2)
    y, x = np.nonzero(changed)
    assert len(y) and np.ptp(y) < 45 and np.ptp(x) < 45  # one point


def test_typed_moves_are_written_as_moves_and_answered_alike(
    tmp_path: Path, one: GoPredictor
) -> None:
    path = tmp_path / "p.sgf"
    assert run("--position", "Q16 D4 Q3", *ONE, "-o", str(path))[0] == 0
    tree = read(read_bytes(path)).trees[0]
    assert len(main_line(tree).moves) == 3
    code, typed, _ = run("--position", "Q16 D4 Q3", *ONE, "--json")
    assert code == 0
    result = one(main_line(tree))
    assert json.loads(typed)["result"]["moves"][0]["move"] == result.moves[0].move
    assert json.loads(typed)["result"]["moves"][0]["probability"] == result.moves[0].probability


def test_handicap_stones_that_were_assumed_are_written_down(tmp_path: Path) -> None:
    game = record(tmp_path, "(;GM[1]SZ[19]HA[3];W[qd];B[cc])")
    code, out, _ = run(str(game), *ONE, "--format", "sgf")
    assert code == 0
    assert len(read(out.encode()).trees[0].root.values("AB")) == 3


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_the_suffix_says_that_a_picture_is_wanted(tmp_path: Path, suffix: str) -> None:
    game = record(tmp_path, GAME)
    assert run(str(game), *ONE, "-o", str(tmp_path / f"board{suffix}"))[0] == 0
    head = (tmp_path / f"board{suffix}").read_bytes()[:4]
    assert head == {".png": b"\x89PNG", ".jpg": b"\xff\xd8\xff\xe0"}[suffix]


def test_a_name_without_suffix_is_a_folder_of_pictures(tmp_path: Path) -> None:
    games = [str(record(tmp_path, GAME, name)) for name in ("a.sgf", "b.sgf")]
    assert run(*games, *ONE, "--format", "png", "-o", str(tmp_path / "boards"))[0] == 0
    assert sorted(path.name for path in (tmp_path / "boards").iterdir()) == ["a.png", "b.png"]


# ----------------------------------------------------------------------------------- what is said
def test_a_pass_that_is_out_of_the_question_still_has_a_probability(tmp_path: Path) -> None:
    game = record(tmp_path, "(;GM[1]SZ[19];B[pd];W[dp];B[pq];W[dd])")
    code, out, _ = run(str(game), *ONE, "--json", "--temperature", "0.01")
    assert code == 0 and json.loads(out)["result"]["pass_probability"] == 0
    code, out, _ = run(str(game), *ONE, "--json", "--weights", "alphago-64")
    assert code == 0 and "pass_probability" not in json.loads(out)["result"]  # it knows no pass


def test_illegal_moves_are_no_wrong_predictions(tmp_path: Path) -> None:
    game = record(tmp_path, "(;GM[1]SZ[19];B[dd];W[dd];B[pp])")
    code, out, err = run(str(game), *ONE, "--all-moves", "--json")
    agreement = json.loads(out)["result"]["agreement"]
    assert code == 0 and "illegal" in err
    assert agreement["n"] == 2 and agreement["cross_entropy"] < 10
    assert agreement["by_player"]["white"] == {
        "n": 0, "top1": None, "top5": None, "cross_entropy": None, "interval": None,
        "interval_top5": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    "more", [["--move", "1"], ["--variation", "1"], ["--game", "1"], ["--all-moves"]]
)
def test_a_typed_position_has_no_other_moves(more: list[str]) -> None:
    code, _, err = run("--position", "Q16 D4", *more)
    assert code == 2 and "leave out" in err


@pytest.mark.parametrize("option", ["--temperature", "--resign"])
def test_nan_is_no_number(option: str) -> None:
    code, _, err = run("gtp", option, "nan")
    assert code == 2 and "nan" in err


@pytest.mark.parametrize("output", ["", "new/"])
def test_names_that_are_no_files_are_refused(tmp_path: Path, output: str) -> None:
    game = record(tmp_path, GAME)
    code, _, err = run(str(game), *ONE, "--json", "-o", output and f"{tmp_path}/{output}")
    assert code == 2 and "-o" in err
    assert [path.name for path in tmp_path.iterdir()] == ["game.sgf"]


# ------------------------------------------------------------------------------------- evaluate
def test_a_file_that_can_not_be_measured_costs_itself_its_name_and_the_exit_code(
    tmp_path: Path,
) -> None:
    record(tmp_path, "(;GM[1]SZ[9];B[ee];W[cc])", "a.sgf")
    record(tmp_path, "(;GM[1]SZ[25];B[aa])", "b.sgf")
    record(tmp_path, "(;GM[1]SZ[9:13];B[aa])", "c.sgf")
    code, out, err = run("evaluate", str(tmp_path), *ONE)
    assert code == 1 and "on 2 moves" in out
    lines = err.splitlines()
    assert len(lines) == 2 and "b.sgf" in lines[0] and "c.sgf" in lines[1]


@pytest.mark.parametrize("row", ["7", "2\t2\tddpp\t", "2\t9\tddpp\tdp", "2\tx\tddpp\tdp"])
def test_a_row_without_a_question_is_left_out(tmp_path: Path, row: str) -> None:
    table = tmp_path / "t.tsv"
    good = b"1\t2\tddpp\tdp\n"
    head = b"\xef\xbb\xbfgame\tmoves_played\tmoves\tnext_move\n"
    table.write_bytes(head + good + row.encode() + b"\n" + good.replace(b"1\t", b"\xff\t", 1))
    code, out, err = run("evaluate", str(table), *ONE, "--json")
    assert code == 1 and json.loads(out)["n"] == 2
    assert err.count("\n") == 1 and "line 3: left out" in err


def test_a_bad_line_of_a_table_costs_itself_too(tmp_path: Path) -> None:
    table = tmp_path / "t.tsv"
    head = "game\tdate\trank_black_white\tresult\tmoves\n"
    table.write_text(f"{head}1\tx\ty\tz\tpddp\n2\tx\ty\tz\tABCD\n3\tx\ty\tz\tpdpd\n")
    code, out, err = run("evaluate", str(table), *ONE)
    assert code == 1 and "on 2 moves" in out
    assert ["line 3" in err, "line 4" in err, err.count("\n")] == [True, True, 2]


def test_a_zip_is_not_taken_for_a_record(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "games.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("a.sgf", GAME)
    for arguments in (["evaluate", str(path)], [str(path)]):
        code, _, err = run(*arguments, *ONE)
        assert code == 1 and "zip" in err


# --------------------------------------------------------------------------------------- match
PASSES = """import sys
for line in sys.stdin:
    word = line.split()[0]
    print("=", "pass" if word == "genmove" else "false" if word == "known_command" else "", "\\n",
          flush=True)
    if word == "quit":
        break
"""


def test_our_own_count_is_not_held_against_itself(tmp_path: Path) -> None:
    program = tmp_path / "passes.py"
    program.write_text(PASSES)
    code, out, err = run(
        "match", "--opponent", f"{sys.executable} {program}", "--size", "7", "--games", "1", *ONE,
        "-o", str(tmp_path / "m"), "--json",
    )  # fmt: skip
    assert code == 0 and "our own count decides" in err
    assert json.loads(out)["result"]["own_count"] == {"games": 0, "same_winner": 0}


def test_a_folder_without_a_game_belongs_to_no_match(tmp_path: Path) -> None:
    program = tmp_path / "passes.py"
    program.write_text(PASSES)
    folder = ["-o", str(tmp_path / "m"), "--size", "7", "--games", "1", *ONE]
    assert run("match", "--opponent", "true", *folder)[0] == 1
    assert run("match", "--opponent", f"{sys.executable} {program}", *folder)[0] == 0
    code, _, err = run("match", "--opponent", "true", *folder)
    assert code == 1 and "another match" in err
