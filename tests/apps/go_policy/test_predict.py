"""From positions to moves: rules, symmetries, sizes, records, both runtimes."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
import pytest

from cnnapps.apps.go_policy import GoPredictor, Position, load
from cnnapps.apps.go_policy.board import BLACK, PASS, WHITE, Board, from_vertex
from cnnapps.apps.go_policy.planes import symmetries
from cnnapps.apps.go_policy.predict import position_at, positions_of
from cnnapps.apps.go_policy.records import Record, main_line, read
from cnnapps.apps.go_policy.typed import read_position
from cnnapps.core.errors import InputError

GAMES = Path(__file__).parents[2] / "data" / "go"


def sgf(text: str) -> Record:
    return main_line(read(text.encode(), source="test.sgf").trees[0])


def played(*vertices: str, size: int = 19) -> Board:
    board = Board(size)
    for vertex in vertices:
        board.play(from_vertex(vertex, size))
    return board


# A ko: Black has just taken at D5 (by E5), White may not take back at once.
KO = "......./...XO../..XO.O./...XO../......./......./......."


# ------------------------------------------------------------------------------------- answers
def test_result_has_the_shape_of_the_contract(one: GoPredictor, record: Record) -> None:
    result = one(record).to_dict()
    assert set(result) == {"size", "move_number", "to_play", "moves", "pass_probability"}
    assert (result["size"], result["move_number"], result["to_play"]) == (19, 176, "black")
    assert set(result["moves"][0]) == {"move", "sgf", "probability"}
    assert len(one(record).to_dict(top=3)["moves"]) == 3


def test_probabilities_are_over_the_legal_moves(eight: GoPredictor, record: Record) -> None:
    for number in (0, 1, 40, 100, 176):
        position = position_at(record, number)
        result = eight(position)
        listed = {from_vertex(move.move, 19) for move in result.moves}
        assert listed == {i for i, good in enumerate(position.board.legal()) if good}
        numbers = [move.probability for move in result.moves]
        assert numbers == sorted(numbers, reverse=True)
        assert result.pass_probability is not None
        assert sum(numbers) + result.pass_probability == pytest.approx(1)
        for move in result.moves[:20]:
            column, row = (ord(letter) - 97 for letter in move.sgf)
            assert result.grid[row, column] == move.probability
            assert from_vertex(move.move, 19) == row * 19 + column


def test_the_first_move_of_a_game_is_in_a_corner(eight: GoPredictor) -> None:
    corners = {"D4", "Q16", "D16", "Q4"}
    assert {move.move for move in eight(Board(19)).moves[:4]} == corners


def test_a_ko_is_not_taken_back(one: GoPredictor) -> None:
    board = read_position(KO)
    board.to_play = BLACK
    assert len(board.play(from_vertex("E5", 7))) == 1
    banned = board.ko
    assert banned == from_vertex("D5", 7)
    moves = [move.move for move in one(board).moves]
    assert "D5" not in moves and len(moves) == sum(board.legal())
    board.play(PASS)
    board.play(PASS)
    assert "D5" in [move.move for move in one(board).moves]


@pytest.mark.parametrize("k", [1, 3, 6])
def test_eight_symmetries_turn_with_the_board(eight: GoPredictor, record: Record, k: int) -> None:
    position = position_at(record, 50)
    turned = Board(19)
    back = np.argsort(symmetries(19)[k])  # where each point goes
    for move in position.board.moves:
        turned.play(int(back[move.point]), move.color)
    here, there = eight.probabilities([position, Position(turned, position.komi)])
    assert np.abs(here[:361][symmetries(19)[k]] - there[:361]).max() < 1e-5


def test_one_symmetry_is_close_to_eight(
    one: GoPredictor, eight: GoPredictor, record: Record
) -> None:
    """The mean of eight answers; the first of them is the answer to the position itself."""
    positions = list(islice(positions_of(record), 0, 176, 16))
    gaps = [
        np.abs(a - b).sum() / 2
        for a, b in zip(one.probabilities(positions), eight.probabilities(positions), strict=True)
    ]
    assert 0 < np.mean(gaps) < 0.2


def test_eight_are_the_geometric_mean_of_their_answers(eight: GoPredictor, record: Record) -> None:
    for position in islice(positions_of(record), 0, 176, 58):
        with np.errstate(divide="ignore"):  # log 0 of the illegal ones
            product = np.exp(np.mean(np.log(eight.images(position)), 0))
        (answer,) = eight.probabilities([position])
        assert np.abs(answer - product / product.sum()).max() < 1e-6


def test_batches_give_the_same_answers(one: GoPredictor, record: Record) -> None:
    boards = [read_position(KO), Board(9), played("Q16", "D4"), Board(19), Board(13), Board(19)]
    positions = [Position(board) for board in boards] + list(islice(positions_of(record), 70))
    together = list(one.batch(positions, size=50))
    for position, result in zip(positions, together, strict=True):
        alone = one(position)
        assert alone.move_number == result.move_number and alone.size == result.size
        assert np.abs(alone.grid - result.grid).max() < 1e-5


def test_temperature_sharpens_and_flattens(record: Record) -> None:
    cold, plain, hot = (load(symmetries=1, temperature=t)(record).moves for t in (0.5, 1.0, 2.0))
    assert [m.move for m in cold[:5]] == [m.move for m in plain[:5]] == [m.move for m in hot[:5]]
    assert cold[0].probability > plain[0].probability > hot[0].probability
    ratio = plain[0].probability / plain[1].probability
    assert cold[0].probability / cold[1].probability == pytest.approx(ratio**2)


@pytest.mark.parametrize("size", [5, 6, 20, 25])
def test_other_sizes_are_refused_in_one_line(one: GoPredictor, size: int) -> None:
    with pytest.raises(InputError, match=f"{size}x{size}; go-policy/default was trained for 7x7"):
        one(Board(size))


@pytest.mark.parametrize("size", [7, 8, 9, 13, 18])
def test_trained_sizes_are_answered(one: GoPredictor, size: int) -> None:
    result = one(Board(size))
    assert result.size == size and len(result.moves) == size * size
    x, y = "ABCDEFGHJKLMNOPQRST".index(result.moves[0].move[0]), int(result.moves[0].move[1:]) - 1
    assert all(2 <= v <= size - 3 for v in (x, y)), "the first move is not on the edge"


def test_a_full_board_leaves_the_pass(one: GoPredictor) -> None:
    rows = ["XXXXXXX"] * 7
    rows[0], rows[6] = ".XXXXXX", "XXXXXX."
    board = read_position("/".join(rows))
    board.to_play = WHITE
    result = one(board)
    assert result.moves == () and result.pass_probability == pytest.approx(1)


@pytest.mark.parametrize("bad", [{"symmetries": 4}, {"temperature": 0.0}])
def test_impossible_options_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(InputError):
        load(**bad)  # type: ignore[arg-type]


@pytest.mark.torch
def test_torch_gives_the_same_answers(eight: GoPredictor, record: Record) -> None:
    pytest.importorskip("torch")
    other = load(runtime="torch")
    positions = [position_at(record, n) for n in (0, 60, 176)] + [Position(Board(9))]
    for a, b in zip(eight.probabilities(positions), other.probabilities(positions), strict=True):
        assert np.abs(a - b).max() < 1e-4


def test_predicting_needs_no_torch() -> None:
    code = (
        "import sys, cnnapps; p = cnnapps.load('go-policy'); p(sys.argv[1]);"
        "bad = {'torch', 'numba', 'scipy', 'sklearn', 'matplotlib', 'cv2'};"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    game = GAMES / "sabaki-sgf-beginner_game.sgf"
    subprocess.run([sys.executable, "-c", code, str(game)], check=True)


# ------------------------------------------------------------------------------------- records
def test_positions_of_a_game(record: Record) -> None:
    positions = list(positions_of(record))
    assert len(positions) == 177
    assert [p.board.move_number for p in positions] == list(range(177))
    assert positions[0].played == (BLACK, from_vertex("R16", 19)) or positions[0].played
    for before, after in pairwise(positions):
        assert before.played is not None
        color, point = before.played
        assert before.board.to_play == color and after.board[point] == color
    assert positions[-1].played is None and positions[-1].board.to_play == BLACK


def test_set_up_handicap_and_komi() -> None:
    position = position_at(sgf("(;SZ[19]HA[2]AB[dp][pd];W[dd];B[pp])"), 0)
    assert position.board.to_play == WHITE and position.komi == 0.5
    assert position.board[from_vertex("D4", 19)] == BLACK
    assert position_at(sgf("(;SZ[9]KM[7];B[ee])")).komi == 7
    assert position_at(sgf("(;SZ[9];B[ee])")).komi == 6.5


def test_the_next_mover_of_the_record_is_to_play() -> None:
    record = sgf("(;SZ[9];B[ee];B[ef];W[cc];AW[aa]PL[W])")
    assert [p.board.to_play for p in positions_of(record)] == [BLACK, BLACK, WHITE, WHITE]
    assert position_at(record, 1, color=WHITE).board.to_play == WHITE


def test_illegal_moves_are_played_and_noted() -> None:
    position = position_at(sgf("(;SZ[9];B[ee];W[ee];B[cc])"))
    assert position.notes == ("move 2, white E5: illegal (the point is occupied), "
                              "played as the record says",)  # fmt: skip
    assert position.board[from_vertex("E5", 9)] == WHITE


def test_a_move_beyond_the_end_is_an_error(record: Record) -> None:
    with pytest.raises(InputError, match="has 176 moves, so none number 177"):
        position_at(record, 177)


def test_endless_games_are_refused_before_they_cost_memory() -> None:
    record = sgf("(;SZ[19]" + ";B[];W[]" * 2501 + ")")
    with pytest.raises(InputError, match="longer than 5,000"):
        next(positions_of(record))


@pytest.mark.parametrize("path", sorted(GAMES.glob("*.[sgnu][gi][fbi]")), ids=lambda p: p.name)
def test_every_kind_of_record_is_answered(one: GoPredictor, path: Path) -> None:
    result = one(path)
    assert sum(m.probability for m in result.moves) == pytest.approx(1, abs=0.2)


# --------------------------------------------------------------------------------------- typed
def test_typed_positions() -> None:
    board = read_position("Q16 d4, pass Q3")
    assert board.move_number == 4 and board[from_vertex("D4", 19)] == WHITE
    drawn = read_position("   A B C\n 3 . X O\n 2 + ● ○ 2\n 1 . . .\n   A B C")
    assert str(drawn).splitlines()[:2] == [" 3 . X O", " 2 . X O"]
    assert drawn.to_play == BLACK
    assert read_position("X../.../...").to_play == WHITE
    assert read_position("\n".join(str(drawn).splitlines())).stones() == drawn.stones()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("..X/.O?/...", "row 2: '\\?' is none of X, O and \\."),
        ("..X/../...", "row 2 has 2 points, but there are 3 rows"),
        ("Q16 Q16", "move 2, Q16: illegal"),
        ("T20", "not on a 19x19 board"),
        ("OX./X../...", "row 1, column 1: a stone without liberties"),
        ("", "is empty"),
        ("Q16 I5", "move 2, I5"),
        ("pd dp", "moves are typed as Q16 D4"),
    ],
)
def test_typed_nonsense_names_the_place(text: str, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        read_position(text)
