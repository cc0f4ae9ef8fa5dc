"""Training data: tables, the two speeds of the kernels, order, symmetry."""

from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import numpy as np
import pytest
from sgfmill import sgf

pytest.importorskip("numba")

from cnnapps.apps.go_policy import data, kernels
from cnnapps.apps.go_policy.board import PASS, Board
from cnnapps.apps.go_policy.planes import (
    nature_planes,
    transform,
    v7_globals,
    v7_planes,
)
from cnnapps.core.errors import InputError

TESTS = Path(__file__).resolve().parents[2]
SHARED = TESTS.parent.parent / "shared" / "data" / "go"
HEADER = "game\tdate\trank_black_white\tresult\tmoves\n"


def sgf_moves(path: Path) -> str:
    game = sgf.Sgf_game.from_bytes(path.read_bytes())
    text = ""
    for node in game.get_main_sequence():
        color, move = node.get_move()
        if color is not None:
            text += "tt" if move is None else chr(97 + move[1]) + chr(97 + 18 - move[0])
    return text


RECORDS = [sgf_moves(p) for p in sorted((TESTS / "data" / "go").glob("rocalpha-*.sgf"))]


def table(*games: str) -> str:
    return HEADER + "".join(
        f"g{i}\t2016-03-0{i + 1}\tpd\t{'BW'[i % 2]}+R\t{g}\n" for i, g in enumerate(games)
    )


@pytest.fixture
def games(tmp_path: Path) -> data.Games:
    path = tmp_path / "games.tsv"
    path.write_text(table(*(record + "tttt" for record in RECORDS)))
    return data.pack_games([path])


# --------------------------------------------------------------------------------- reading
def test_report_counts_what_was_read_and_dropped(tmp_path: Path) -> None:
    on_a_stone = "pdpd"
    suicide = "bappabaa"
    path = tmp_path / "games.tsv"
    path.write_text(table(RECORDS[0] + "tttt", on_a_stone, "", RECORDS[1], suicide) + "\n")
    games = data.pack_games([path])
    report = games.report
    moves = (len(RECORDS[0]) + len(RECORDS[1])) // 2
    assert (report.files, report.games, report.illegal, report.empty) == (1, 2, 2, 1)
    assert (report.positions, report.passes) == (moves, 2)
    assert (report.black_wins, report.white_wins, report.professional) == (1, 1, 2)
    assert report.first_illegal[0] == "games.tsv, game g1: move 2"
    assert report.longest == max(len(RECORDS[0]) // 2 + 2, len(RECORDS[1]) // 2)
    assert games.names == ("g0", "g3") and len(games) == 2


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_tables_may_be_packed_and_the_cache_holds_the_same(tmp_path: Path, suffix: str) -> None:
    raw = table(*RECORDS).encode()
    packed = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[suffix](raw)
    path = tmp_path / ("games.tsv" + suffix)
    path.write_bytes(packed)
    first = data.pack_games([path], cache=tmp_path / "cache" / "games")
    again = data.pack_games([path], cache=tmp_path / "cache" / "games")
    assert len(list((tmp_path / "cache" / "games").iterdir())) == 1
    assert np.array_equal(first.moves, again.moves) and np.array_equal(first.starts, again.starts)
    assert (first.names, first.report, first.sha256) == (again.names, again.report, again.sha256)
    path.write_bytes(packed + (b"" if suffix else b"x\t\t\t\tpddp\n"))
    if not suffix:
        assert len(data.pack_games([path], cache=tmp_path / "cache" / "games")) == len(RECORDS) + 1


def test_a_table_of_positions_asks_for_the_last_move(tmp_path: Path) -> None:
    path = tmp_path / "positions.tsv"
    path.write_text("game\tmoves_played\tmoves\tnext_move\na\t0\t\tpd\nb\t2\tpddp\tqq\n")
    games = data.pack_games([path])
    arrays = data.encode(games, data.last_positions(games), "v7")
    assert arrays["target"].tolist() == [3 * 19 + 15, 16 * 19 + 16]
    assert arrays["number"].tolist() == [0, 2]
    assert arrays["planes"][0, 1:3].sum() == 0 and arrays["planes"][1, 1:3].sum() == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\tb\n", "the first line must name the columns"),
        ("", "no games"),
        (HEADER + "1\t2\n", "line 2: 2 columns instead of 5"),
        (HEADER + "1\t\t\t\tpdp\n", "game 1: moves must be"),
        (HEADER + "1\t\t\t\tpdzz\n", "game 1: move 2, 'zz', is not on the board"),
        (HEADER + "1\t\t\t\tpdat\n", "move 2, 'at', is not on the board"),
        (HEADER + "1\t\t\t\tpdäö\n", "moves must be"),
        (HEADER + "1\t\t\t\t" + "tt" * 3000 + "\n", "at most 2000 pairs"),
    ],
)
def test_bad_tables_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        data.pack_games([path])


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    for name in ("a.tsv.xz", "a.tsv.gz", "a.tsv"):
        (tmp_path / name).write_bytes(b"\xff\xfe broken")
        with pytest.raises(InputError, match="the first line must name the columns"):
            data.pack_games([tmp_path / name])
    (tmp_path / "a.tsv.xz").write_bytes(b"\xfd7zXZ\0 broken")
    with pytest.raises(InputError, match="can't be read"):
        data.pack_games([tmp_path / "a.tsv.xz"])
    with pytest.raises(InputError, match="no such file"):
        data.pack_games([tmp_path / "none.tsv"])
    with pytest.raises(InputError, match="no files"):
        data.pack_games([])


# ---------------------------------------------------------------------- one source, two speeds
def assert_same_as_the_board(games: data.Games, positions: np.ndarray) -> None:
    """Compiled planes from a table of moves = plain planes from a Board."""
    encoded = {kind: data.encode(games, positions, kind) for kind in ("v7", "nature")}
    board, game = Board(), -1
    for i, position in enumerate(positions):
        number = int(encoded["v7"]["number"][i])
        first = int(position) - number
        if first != game:  # positions are sorted: within a game go on from the last one
            board, game = Board(), first
        for move in games.moves[first + board.move_number : position]:
            board.play(PASS if move == 361 else int(move))
        assert board.move_number == number
        for kind, plain in (("v7", v7_planes), ("nature", nature_planes)):
            arrays = encoded[kind]
            assert np.array_equal(arrays["planes"][i].reshape(-1, 19, 19), plain(board)), number
            assert arrays["legal"][i].tolist() == board.legal()
        assert np.array_equal(encoded["v7"]["numbers"][i], v7_globals(board))


def test_compiled_and_plain_kernels_agree_on_every_position_of_real_games(
    games: data.Games,
) -> None:
    assert_same_as_the_board(games, games.positions(passes=True))


@pytest.mark.slow
@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared/data/go")
def test_compiled_and_plain_kernels_agree_on_two_thousand_positions() -> None:
    games = data.pack_games([SHARED / "valid.tsv.xz"])
    assert_same_as_the_board(games, data.draw(games, 2_000, seed=11))


def test_the_compiled_twin_leaves_the_plain_kernels_alone() -> None:
    twin = kernels.compiled()
    assert twin is not kernels and twin is kernels.compiled()
    assert kernels.play.__class__.__name__ == "function"
    assert twin.play.__class__.__name__ != "function"


# ----------------------------------------------------------------------------------- batches
def test_no_position_comes_again_before_all_have_been_seen(games: data.Games) -> None:
    batches = data.Batches(games, planes="v7", batch=50, seed=4)
    total = batches.epoch_positions
    assert total == games.report.positions
    steps = -(-total // 50) + 3
    seen = np.concatenate([batches.positions_at(s) for s in range(steps)])
    assert len(np.unique(seen[:total])) == total
    assert (games.moves[seen] != 361).all()
    assert len(np.unique(seen[total : total + 50])) == 50
    assert not np.array_equal(seen[total : total + 50], seen[:50])  # another order next time
    with_passes = data.Batches(games, planes="v7", batch=50, passes=True)
    assert with_passes.epoch_positions == len(games.moves)


@pytest.mark.torch
def test_batches_are_a_function_of_seed_and_step(games: data.Games) -> None:
    import torch

    def make(seed: int) -> data.Batches:
        return data.Batches(games, planes="v7", batch=8, seed=seed)

    one, two = make(3), make(3)
    two.batch_at(200)  # elsewhere first
    for step in (7, 0, 90):
        a, b = one.batch_at(step), two.batch_at(step)
        assert a.keys() == b.keys() == {"planes", "numbers", "target", "legal"}
        assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(make(4).batch_at(0)["planes"], one.batch_at(0)["planes"])


@pytest.mark.torch
def test_ranks_share_a_batch_without_overlap(games: data.Games) -> None:
    import torch

    whole = data.Batches(games, planes="nature", batch=12).batch_at(2)
    parts = [
        data.Batches(games, planes="nature", batch=12, rank=r, world=3).batch_at(2)
        for r in range(3)
    ]
    for key, value in whole.items():
        assert torch.equal(torch.stack([p[key] for p in parts], 1).flatten(0, 1), value)
    with pytest.raises(InputError, match="can't be shared"):
        data.Batches(games, planes="nature", batch=10, world=3)


@pytest.mark.torch
def test_turned_batches_are_turned_boards(games: data.Games) -> None:
    """Planes, legal points and answer of a batch belong to one and the same turned board."""
    plain = data.Batches(games, planes="v7", batch=64, turn=False).batch_at(1)
    turned = data.Batches(games, planes="v7", batch=64).batch_at(1)
    used = set()
    for i in range(64):
        planes, target = plain["planes"][i].numpy(), int(plain["target"][i])
        answer = np.zeros((1, 19, 19), np.float32)
        answer.ravel()[target] = 1
        legal = plain["legal"][i].numpy().reshape(1, 19, 19).astype(np.float32)
        stack = np.concatenate((planes, legal, answer))
        images = [transform(stack, k) for k in range(8)]
        ours = np.zeros((1, 19, 19), np.float32)
        ours.ravel()[int(turned["target"][i])] = 1
        got = np.concatenate(
            (turned["planes"][i].numpy(), turned["legal"][i].numpy().reshape(1, 19, 19), ours)
        )
        fits = [k for k in range(8) if np.array_equal(images[k], got)]
        assert fits
        used.add(fits[0])
    assert used == set(range(8))
    assert plain["planes"].dtype == turned["planes"].dtype and turned["planes"].shape[1:] == (
        22, 19, 19,
    )  # fmt: skip


def test_a_pass_is_a_target_that_no_symmetry_moves(games: data.Games) -> None:
    passes = np.flatnonzero(games.moves == 361)
    arrays = data.encode(games, passes, "v7")
    data.turned(arrays, np.arange(len(passes)) % 8)
    assert (arrays["target"] == 361).all()
    second = arrays["numbers"][1::2]
    assert (second[:, 0] == 1).all()  # the move before the second pass was a pass


def test_drawn_positions_are_fixed_and_never_passes(games: data.Games) -> None:
    positions = data.draw(games, 100, seed=2)
    assert np.array_equal(positions, data.draw(games, 100, seed=2))
    assert len(np.unique(positions)) == 100 and (np.diff(positions) > 0).all()
    assert (games.moves[positions] != 361).all()
    with pytest.raises(InputError, match="there"):
        data.draw(games, 10**6)
