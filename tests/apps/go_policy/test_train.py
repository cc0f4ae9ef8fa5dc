"""Training: games from records and zips, loss over legal moves, the weights folder, resuming."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("numba")


import torch
from click.testing import CliRunner

from cnnapps.__main__ import main
from cnnapps.apps.go_policy import data, ship, train
from cnnapps.apps.go_policy.evaluate import evaluate, read_questions
from cnnapps.apps.go_policy.net import AlphaGoPolicy
from cnnapps.apps.go_policy.predict import load
from cnnapps.core.errors import InputError
from cnnapps.core.weights import find

TESTS = Path(__file__).resolve().parents[2]
GAMES = TESTS / "data" / "go"
EVEN = sorted(GAMES.glob("rocalpha-*.sgf"))
KATAGO = TESTS.parent.parent / "shared/data/go/katago-g170-b6c96-s175395328-d26788732.bin.gz"


def run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["go-policy", "train", *arguments])
    return result.exit_code, result.output


# ------------------------------------------------------------------------------------- games
def test_a_folder_a_zip_and_single_files_give_the_same_games(tmp_path: Path) -> None:
    folder = tmp_path / "games" / "deep"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "games.zip", "w") as archive:
        for path in EVEN:
            shutil.copy(path, folder)
            archive.write(path, f"../{path.name}")  # a name that leads out is only a name
        archive.writestr("readme.txt", "not a record")
    single = data.pack_games(EVEN)
    for given in (tmp_path / "games", tmp_path / "games.zip"):
        games = data.pack_games([given])
        assert np.array_equal(games.moves, single.moves)
        assert np.array_equal(games.starts, single.starts)
    assert single.report.games == len(EVEN) == 4
    assert single.report.black_wins + single.report.white_wins == 4


def test_what_a_table_cannot_say_is_left_out_and_counted(tmp_path: Path) -> None:
    for name in ("sabaki-ngf-handicap2.ngf", "katago-sampletest-sampletest9x9.sgf"):
        shutil.copy(GAMES / name, tmp_path)
    shutil.copy(EVEN[0], tmp_path)
    (tmp_path / "broken.sgf").write_bytes(b"(;GM[1]SZ[19];B[aa")
    (tmp_path / "twice.sgf").write_text("(;GM[1]SZ[19];B[aa];B[bb];W[cc])")
    (tmp_path / "none.sgf").write_bytes(b"no game at all")
    games = data.pack_games([tmp_path])
    assert games.report.left_out == {
        "another board than 19x19": 1,
        "handicap or set-up stones": 1,
        "a colour that moves twice in a row, or White first": 1,
        "records that can't be read": 1,
    }
    text = str(games.report)
    assert "1 left out: another board than 19x19" in text and "2 games in 6 files" in text


def test_damaged_zips_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "games.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for game in EVEN:
            archive.write(game, game.name)
    whole = path.read_bytes()
    for damaged in (whole[:100], b"", whole[:40] + b"\xff" * 60 + whole[100:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=r"games\.zip"):
            data.pack_games([path])
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.sgf", b" " * 210_000_000)
    with pytest.raises(InputError, match=r"no games \(1 left out: larger than"):
        data.pack_games([path])


def test_chosen_games_keep_their_moves() -> None:
    games = data.pack_games(EVEN)
    part = games.take(np.array([1, 3]))
    assert len(part) == 2 and part.names == (games.names[1], games.names[3])
    assert np.array_equal(
        part.moves[: part.starts[1]], games.moves[games.starts[1] : games.starts[2]]
    )
    assert part.report.positions + part.report.passes == len(part.moves)


# -------------------------------------------------------------------------------------- loss
@pytest.mark.parametrize("net", ["alphago-64", "residual-64"])
def test_the_loss_counts_legal_moves_only_and_can_be_learned(net: str) -> None:
    torch.manual_seed(1)
    begun = train.begin(net, None)
    games = data.pack_games(EVEN)
    batch = data.Batches(games, planes=begun.planes, batch=8).batch_at(0)
    logits = train.logits_of(begun.net, batch)
    board = logits[:, : data.AREA]
    assert torch.isneginf(board[~batch["legal"]]).all()
    assert torch.isfinite(board[batch["legal"]]).all()
    assert logits.shape[1] == (361 if begun.planes == "nature" else 362)
    first = train.loss_of(begun.net, batch).item()
    most = float(torch.log(batch["legal"].sum(1).float()).mean())
    assert abs(first - most) < 0.6  # a new net knows nothing: about uniform over legal moves
    optimizer = torch.optim.AdamW(begun.net.parameters(), lr=3e-3)
    for _ in range(25):
        loss = train.loss_of(begun.net, batch)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert train.loss_of(begun.net, batch).item() < first - 0.5


def test_a_teacher_is_heard_on_the_board_as_the_net_sees_it() -> None:
    """Two turned views of one position: points, answers and legal points fit together."""
    games = data.pack_games(EVEN)
    batch = data.Batches(games, planes="nature", batch=32, teacher="v7").batch_at(1)
    points, other = batch["teacher_points"], batch["teacher"]
    assert torch.equal(points.sort(1).values, torch.arange(361).expand(32, -1))
    assert torch.equal(points.gather(1, batch["target"][:, None])[:, 0], other["target"])
    assert torch.equal(batch["legal"], other["legal"].gather(1, points))
    stones = other["planes"][:, 1].flatten(1).gather(1, points)  # own stones lead in both
    assert torch.equal(batch["planes"][:, 0].flatten(1), stones)
    assert not torch.equal(points, torch.arange(361).expand(32, -1))


def test_teaching_is_the_mean_of_both_losses_and_least_at_the_teacher() -> None:
    games = data.pack_games(EVEN)
    teacher = train.begin(None, "default").net.eval()
    batch = data.Batches(games, planes="v7", batch=16, teacher="v7", passes=True).batch_at(0)
    batch["teacher"] = {k: batch[k] for k in ("planes", "numbers", "legal", "target")}
    batch["teacher_points"] = torch.arange(361).expand(16, -1)  # the same view for both
    net = train.begin(None, "default").net.eval()
    with torch.no_grad():
        played = train.taught_by(teacher, 0.0)(net, batch)
        answers = train.taught_by(teacher, 1.0)(net, batch)
        both = train.taught_by(teacher, 0.25)(net, batch)
        p = train.logits_of(net, batch).softmax(1)
        entropy = -(p * p.clamp_min(1e-30).log()).sum(1).mean()
    assert torch.isclose(played, train.loss_of(net, batch))
    assert torch.isclose(answers, entropy, atol=1e-4)  # cross-entropy with itself
    assert torch.isclose(both, 0.75 * played + 0.25 * answers)
    for share in (0.0, 1.0):
        net.zero_grad()
        train.taught_by(teacher, share)(net, batch).backward()
        norm = torch.stack([g.norm() for t in net.parameters() if (g := t.grad) is not None]).norm()
        assert (norm < 1e-3) == (share == 1.0), norm  # nothing to learn from oneself
    assert all(t.grad is None for t in teacher.parameters())


def test_the_paper_s_nets_can_be_asked_for_by_name() -> None:
    begun = train.begin("alphago-192", None)
    assert isinstance(begun.net, AlphaGoPolicy)
    assert sum(p.numel() for p in begun.net.parameters()) == 3_882_793
    for net, start, message in (
        ("alphago-7", None, "no net 'alphago-7'; there are: alphago-64"),
        ("alphago-64", "default", "can't be combined with --from"),
        (None, "nothing-there", "no such weights"),
    ):
        with pytest.raises(Exception, match=message):
            train.begin(net, start)


@pytest.mark.skipif(not KATAGO.exists(), reason="shared/data/go is not there (KataGo's net)")
def test_a_katago_file_is_where_training_starts() -> None:
    begun = train.begin(None, str(KATAGO))
    assert begun.arguments["blocks"] == "oopopo" and begun.licence == "MIT"
    assert begun.sources[0].licence.startswith("MIT (KataGo")


def test_the_judge_agrees_with_evaluate(tmp_path: Path) -> None:
    """Two implementations: kernels and torch here, boards and ONNX Runtime there."""
    path = tmp_path / "questions.tsv"
    rows = ["game\tmoves_played\tmoves\tnext_move"]
    games = data.pack_games(EVEN)
    for g in range(len(games)):
        moves = games.moves[games.starts[g] : games.starts[g + 1]]
        for played in (0, 20, 77, 120):
            letters = [chr(97 + m % 19) + chr(97 + m // 19) for m in moves[: played + 1]]
            rows.append(f"{g}\t{played}\t{''.join(letters[:-1])}\t{letters[-1]}")
    path.write_text("\n".join(rows) + "\n")
    begun = train.begin(None, "default")
    held = data.pack_games([path])
    assert held.asks_last
    arrays = data.encode(held, data.last_positions(held), begun.planes)
    found = train.judge(arrays, "fp32")(begun.net.eval())
    questions = read_questions([str(path)])
    scores = evaluate(load(symmetries=1), questions.positions(), quiet=True)
    assert (found["top1"], found["top5"]) == (scores.top1, scores.top5) and scores.n == 16
    assert found["cross_entropy"] == pytest.approx(scores.cross_entropy, abs=1e-4)


# --------------------------------------------------------------------------------- the command
@pytest.mark.slow
def test_a_taught_net_names_its_teacher(tmp_path: Path) -> None:
    code, out = run(
        *map(str, EVEN), "-o", str(tmp_path / "a"), "--net", "alphago-64", "-q",
        "--set", "teacher=default", "--set", "steps=2", "--set", "batch=8",
    )  # fmt: skip
    assert code == 0, out
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    what = {source["name"]: source["what"] for source in card["sources"]}
    assert what["go-policy/default"] == "its answers were learned from"
    assert any(name.startswith("katago-g170") for name in what)  # what it comes from itself
    assert card["what"].startswith("the next move, trained on 16 positions")
    assert card["recipe"]["teacher"] == "default"


@pytest.mark.slow
def test_a_run_does_not_go_on_with_another_teacher_of_the_same_name(tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    shutil.copytree(find("default", "go-policy"), teacher)
    settings = [
        *map(str, EVEN), "-o", str(tmp_path / "a"), "--net", "alphago-64", "-q",
        "--set", f"teacher={teacher}", "--set", "batch=8",
    ]  # fmt: skip
    assert run(*settings, "--set", "steps=1")[0] == 0
    code, out = run(*settings, "--set", "steps=2", "--resume")
    assert code == 0, out
    shutil.rmtree(teacher)
    shutil.copytree(find("alphago-64", "go-policy"), teacher)
    code, out = run(*settings, "--set", "steps=3", "--resume")
    assert code == 1 and "learned from other data" in out


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--set", "winograd=true", "--set", "optimizer=muon")])
def test_train_writes_weights_that_predict_and_resumes_to_the_same(
    tmp_path: Path, more: tuple[str, ...]
) -> None:
    settings = ["--set", "batch=16", "--set", "evaluate_every=2", "-q", "--net", "residual-64"]
    settings += more
    code, out = run(*map(str, EVEN), "-o", str(tmp_path / "a"), "--set", "steps=4", *settings)
    assert code == 0, out
    assert "4 games in 4 files" in out and "top-1" in out
    card = json.loads((tmp_path / "a" / "card.json").read_text())
    assert card["app"] == "go-policy" and card["net"] == "katago"
    assert {m["name"] for m in card["metrics"]} == {"top1", "top5", "cross_entropy"}
    assert (tmp_path / "a.run" / "curve.svg").read_text().startswith("<svg")
    result = load(str(tmp_path / "a"))(str(EVEN[0]))
    assert len(result.moves) > 10

    code, out = run(*map(str, EVEN), "-o", str(tmp_path / "b"), "--set", "steps=2", *settings)
    assert code == 0, out
    code, out = run(
        *map(str, EVEN), "-o", str(tmp_path / "b"), "--set", "steps=4", *settings, "--resume"
    )
    assert code == 0, out
    assert (tmp_path / "b" / "model.safetensors").stat().st_size == (
        tmp_path / "a" / "model.safetensors"
    ).stat().st_size


def test_train_says_in_one_line_what_is_wrong(tmp_path: Path) -> None:
    for arguments, message in (
        ([str(tmp_path / "none.zip")], "none.zip: no such file"),
        ([str(EVEN[0])], "one game is too few"),
        ([str(EVEN[0]), "--net", "lenet"], "no net 'lenet'"),
        ([*map(str, EVEN), "--set", "lr=fast"], "'fast' is no float"),
        ([*map(str, EVEN), "--set", "grow=9o"], "'9o' is no place of 0 to 8"),
        ([*map(str, EVEN), "--set", "grow=o"], "'o' is no place"),
        ([*map(str, EVEN), "--set", "grow=1o", "--net", "alphago-64"], "can grow"),
        ([*map(str, EVEN), "--set", "teacher=nobody"], "no such weights"),
        ([*map(str, EVEN), "--set", "teacher=default", "--set", "taught=2"], "not within 0 to 1"),
    ):
        code, out = run(*arguments, "-o", str(tmp_path / "w"))
        assert code in (1, 2) and message in out, (arguments, out)
        assert "Traceback" not in out
        assert not (tmp_path / "w").exists()


def test_several_states_are_shipped_as_their_mean(tmp_path: Path) -> None:
    nets = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        nets.append(train.begin("alphago-64", None).net)
        torch.save(nets[-1].state_dict(), tmp_path / f"{seed}.pt")
    result = CliRunner().invoke(
        ship.main,
        ["soup", "--state", str(tmp_path / "1.pt"), "--state", str(tmp_path / "2.pt"), "--net",
         "alphago", "--arguments", '{"width": 64}', "-o", str(tmp_path / "soup")],
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    again = train.begin(None, str(tmp_path / "soup")).net.state_dict()
    for name, found in again.items():
        expected = (nets[0].state_dict()[name] + nets[1].state_dict()[name]) / 2
        assert torch.allclose(found, expected, atol=1e-3), name  # stored in 16 bits
