"""The measures: against scikit-learn and textbook values, on tables and on real games."""

from __future__ import annotations

import hashlib
import json
import lzma
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.go_policy import GoPredictor, Position
from cnnapps.apps.go_policy.board import PASS, Board, to_sgf
from cnnapps.apps.go_policy.evaluate import (
    Answer,
    Questions,
    Tally,
    answer_to,
    answers,
    evaluate,
    phase_of,
    read_questions,
    wilson,
)
from cnnapps.core.errors import InputError

GAMES = Path(__file__).parents[2] / "data" / "go"
LIST = Path(__file__).parents[4] / "shared" / "data" / "go" / "test-positions.tsv.xz"


def test_wilson_is_the_textbooks() -> None:
    """Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    for hits, n, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605),
                               (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)):  # fmt: skip
        assert wilson(hits, n) == pytest.approx((low, high), abs=6e-5)
    assert wilson(0, 0) == (0, 1)


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_wilson_holds_the_rate(n: int, share: float) -> None:
    hits = round(n * share)
    low, high = wilson(hits, n)
    assert 0 <= low <= hits / n + 1e-12 and hits / n - 1e-12 <= high <= 1


def test_phases() -> None:
    names = [phase_of(n) for n in (0, 29, 30, 99, 100, 199, 200, 999)]
    assert names == ["0-29", "0-29", "30-99", "30-99", "100-199", "100-199", "200-", "200-"]


class Fixed:
    """Always the same probabilities."""

    def __init__(self, p: np.ndarray) -> None:
        self.p = p

    def probabilities(self, positions: Sequence[Position]) -> list[np.ndarray]:
        return [self.p for _ in positions]


def test_ranks_and_ties() -> None:
    p = np.zeros(10)
    p[[4, 2, 7]] = 0.5, 0.2, 0.2
    p[9] = 0.1  # a pass
    board = Board(3)

    def rank(point: int) -> Answer:
        return answer_to(Position(board, played=(1, point)), p)

    assert [rank(i).rank for i in (4, 2, 7)] == [0, 1, 2], "of equal ones the first leads"
    assert rank(0).rank == 4, "the pass counts as a move that is liked more"
    assert rank(4).best == 4 and rank(4).best_probability == 0.5


@settings(deadline=None)  # the first import of scikit-learn takes seconds
@given(st.integers(0, 2**32 - 1))
def test_scores_against_scikit_learn(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(10), 40)
    truth = rng.integers(0, 9, 40)
    board = Board(3)
    found = [
        answer_to(Position(board, played=(1, int(t))), q) for t, q in zip(truth, p, strict=True)
    ]
    scores = Tally(found).scores()
    labels = np.arange(10)
    for k, value in ((1, scores.top1), (5, scores.top5)):
        assert value == pytest.approx(metrics.top_k_accuracy_score(truth, p, k=k, labels=labels))
    assert scores.cross_entropy == pytest.approx(metrics.log_loss(truth, p, labels=labels))


def test_tallies_add_up() -> None:
    rng = np.random.default_rng(1)
    found = [
        Answer(
            int(rng.integers(0, 300)), 1, 0, int(rng.integers(0, 9)), float(rng.random()), 0, 0.5
        )
        for _ in range(200)
    ]
    whole, parts = Tally(found), Tally(found[:50])
    parts.merge(Tally(found[50:]))
    one, other = whole.scores(), parts.scores()
    assert one.by_phase.keys() == other.by_phase.keys()
    for name in one.by_phase:
        assert one.by_phase[name].top5 == other.by_phase[name].top5
    assert (one.n, one.top1, one.top5, one.interval) == (
        *(other.n, other.top1, other.top5, other.interval),
    )
    assert one.cross_entropy == pytest.approx(other.cross_entropy)
    assert sum(p.n for p in whole.scores().by_phase.values()) == 200


def table(path: Path, text: str) -> str:
    path.write_bytes(lzma.compress(text.encode()) if path.suffix == ".xz" else text.encode())
    return str(path)


def test_questions_of_both_tables(tmp_path: Path) -> None:
    head = "game\tdate\trank_black_white\tresult\tmoves\n"
    games = table(tmp_path / "games.tsv.xz", head + "a\t2016\tpd\tB+R\tpdddttpp\nb\t\t\t\tdd\n")
    found = read_questions([games])
    assert (found.n, found.passes) == (4, 1)
    assert found.sha256 == hashlib.sha256(Path(games).read_bytes()).hexdigest()
    asked = [(p.board.move_number, to_sgf(p.played[1], 19)) for p in found.positions() if p.played]
    assert asked == [(0, "pd"), (1, "dd"), (3, "pp"), (0, "dd")]
    head = "game\tmoves_played\tmoves\tnext_move\n"
    text = f"{head}a\t2\tpddd\tpp\nb\t0\t\tdd\nc\t1\tdd\ttt\n"
    found = read_questions([table(tmp_path / "positions.tsv", text)])
    assert (found.n, found.passes) == (2, 1)
    asked = [(p.board.move_number, to_sgf(p.played[1], 19)) for p in found.positions() if p.played]
    assert asked == [(2, "pp"), (0, "dd")]


def test_drawn_positions_are_fixed_by_the_seed() -> None:
    found = read_questions([str(GAMES)])

    def places(questions: Questions, n: int, seed: int) -> list[tuple[int, tuple[int, int] | None]]:
        return [(p.board.zobrist, p.played) for p in questions.positions(n, seed=seed)]

    everything = [(p.board.zobrist, p.played) for p in found.positions()]
    assert len(everything) == found.n > 1000
    drawn = places(found, 60, 1)
    assert len(drawn) == 60 and drawn == places(found, 60, 1) != places(found, 60, 2)
    rest = iter(everything)
    assert all(item in rest for item in drawn), "in the order of the games"


def test_illegal_games_of_a_table_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = "game\tmoves_played\tmoves\tnext_move\na\t1\tdd\tdd\nb\t1\tdd\tpp\n"
    path = table(tmp_path / "t.tsv", text)
    assert read_questions([path]).n == 1
    assert "t.tsv, line 2: left out" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "x\ty\n", "game\tmoves_played\tmoves\tnext_move\n"])
def test_data_without_questions_is_an_error(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError):
        read_questions([table(tmp_path / "t.tsv", text)])


def test_real_games_are_understood(one: GoPredictor) -> None:
    """Lee Sedol - AlphaGo 2016: mirrored planes or shifted answers would give a tenth of this."""
    games = sorted(map(str, GAMES.glob("rocalpha-*.sgf")))
    questions = read_questions(games)
    assert questions.n == 753
    scores = evaluate(one, questions.positions(150, seed=1), quiet=True)
    assert scores.top1 > 0.3 and scores.top5 > 0.6 and scores.cross_entropy < 2.7
    assert json.dumps(scores.to_dict())


def test_passes_are_no_questions(one: GoPredictor) -> None:
    star = 3 * 19 + 15
    positions = [Position(Board(19), played=(1, PASS)), Position(Board(19), played=(1, star))]
    found = list(answers(one, positions))
    assert len(found) == 1 and found[0].played == star
    assert -math.log(found[0].probability) < 5


def test_the_list_of_the_benchmark_reads_whole() -> None:
    if not LIST.exists():
        pytest.skip("the benchmark's list of positions is not beside this repository")
    questions = read_questions([str(LIST)])
    assert (questions.n, questions.passes) == (2000, 0)
