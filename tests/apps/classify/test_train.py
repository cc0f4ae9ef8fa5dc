"""Training: augmentation, a run that learns, resumes, is fine-tuned, is compared."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cnnapps.apps.classify import load
from cnnapps.apps.classify.compare import macs
from cnnapps.apps.classify.learn import SAMPLE
from cnnapps.apps.classify.net import linear_head, new_head
from cnnapps.apps.classify.predict import Preparation
from cnnapps.apps.classify.train import DIGITS, Batches, ClassifyRecipe, augment
from cnnapps.core import distributed
from cnnapps.core.nets import build

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3] / ".dev")}


def cnnapps(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnnapps", "classify", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=500, cwd=cwd, check=False, env=ENVIRONMENT
    )


def test_no_augmentation_changes_nothing_and_a_seed_decides() -> None:
    x = torch.rand(4, 3, 20, 20)
    off = ClassifyRecipe(rotate=0, zoom=0, shear=0, shift=0, flip=False, contrast=0)
    torch.testing.assert_close(augment(x, off, torch.Generator().manual_seed(1)), x)
    on = ClassifyRecipe()
    one, two, three = (augment(x, on, torch.Generator().manual_seed(k)) for k in (1, 1, 2))
    assert torch.equal(one, two) and not torch.equal(one, three)
    assert one.shape == x.shape and bool(torch.isfinite(one).all())
    flipped = augment(
        x, ClassifyRecipe(rotate=0, zoom=0, shear=0, shift=0, contrast=0),
        torch.Generator().manual_seed(3),
    )  # fmt: skip
    mirrored = [torch.allclose(a, b.flip(-1), atol=1e-5) for a, b in zip(flipped, x, strict=True)]
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(flipped, x, strict=True)]
    assert all(m != s for m, s in zip(mirrored, same, strict=True))


def test_batches_are_a_function_of_their_index() -> None:
    pixels = np.arange(10, dtype=np.uint8).repeat(28 * 28).reshape(10, 28, 28, 1)
    p = Preparation(size=28, channels=1, mean=0.0, scale=255.0)
    recipe = ClassifyRecipe(batch=4)
    one, two = (Batches(pixels, np.arange(10), p, recipe, distributed.World()) for _ in range(2))
    for i in (3, 0, 1):
        x, y = one.at(i)
        assert x.shape == (4, 1, 28, 28) and torch.equal(two.at(i)[1], y)
        assert torch.equal(two.at(i)[0], x)
    epoch = torch.cat([one.at(i)[1] for i in (0, 1)])
    assert len(set(epoch.tolist())) == 8, "no picture twice in an epoch"
    halves = [Batches(pixels, np.arange(10), p, recipe, distributed.World(r, 2)) for r in (0, 1)]
    both = torch.cat([h.at(0)[1] for h in halves])
    assert sorted(both.tolist()) == sorted(one.at(0)[1].tolist())


@pytest.mark.parametrize(
    ("name", "explains"),
    [("resnet20", True), ("efficientnet-lite0", True), ("lenet", False), ("cnn", False)],
)
def test_heads_are_recognised_and_replaced(name: str, explains: bool) -> None:
    net = build(name, size=32, classes=7)
    assert (linear_head(net) is not None) == explains
    new_head(net, 4)
    net.eval()
    channels = 1 if name in ("lenet", "cnn") else 3
    assert net(torch.zeros(2, channels, 32, 32)).shape == (2, 4)


def test_macs_are_the_deck_s() -> None:
    assert macs(build("lenet-deck"), 1, 28) == 281_640
    assert macs(build("cnn"), 1, 28) == 2_838_080


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the bare ``train`` writes, with few epochs."""
    folder = tmp_path_factory.mktemp("train")
    out = cnnapps("train", "--net", "lenet", "-o", "w", "--epochs", 8, "-q", cwd=folder)
    assert out.returncode == 0, out.stderr
    assert "the 600 digits inside the package" in out.stdout
    assert "rows are the truth" in out.stdout
    return folder


def test_the_sample_is_learned(trained: Path) -> None:
    card = json.loads((trained / "w" / "card.json").read_text("utf-8"))
    assert card["licence"] == "MIT" and card["labels"] == list("0123456789")
    got = {(m["name"], m["split"]): m["value"] for m in card["metrics"]}
    assert got["accuracy", "test"] >= got["majority", "test"] + 0.5
    assert (trained / "w.run" / "curve.svg").read_text("utf-8").startswith("<svg")
    assert sum(p.stat().st_size for p in (trained / "w").iterdir()) < 1_000_000


def test_evaluate_prints_the_contract(trained: Path) -> None:
    out = cnnapps("evaluate", SAMPLE, "--weights", "./w", "--json", "-q", cwd=trained)
    assert out.returncode == 0, out.stderr
    row = json.loads(out.stdout)
    assert set(row) == {"app", "weights", "data", "sha256", "n", "result"} and row["n"] == 600
    counts = np.array(row["result"]["confusion"]["counts"])
    assert counts.sum() == 600 and row["result"]["top1"] == pytest.approx(np.trace(counts) / 600)
    assert row["result"]["top1"] > 0.8 and row["result"]["top5"] >= row["result"]["top1"]
    out = cnnapps("evaluate", SAMPLE, "--weights", "default", cwd=trained)
    assert out.returncode == 1 and "folder '0' is no class of classify/default" in out.stderr


def test_a_net_with_dense_layers_says_that_it_cannot_explain(trained: Path) -> None:
    path = next(SAMPLE.glob("3/*.png"))
    out = cnnapps(path, "--weights", "./w", "--explain", cwd=trained)
    assert out.returncode == 1 and "more than one linear layer" in out.stderr
    assert cnnapps(path, "--weights", "./w", cwd=trained).returncode == 0


def test_stopped_and_resumed(trained: Path, tmp_path: Path) -> None:
    """A finished run that goes on for longer; another net or other data are refused."""
    options = ["train", "--net", "cnn", "-o", "w", "-q", "--set", "steps=8"]
    assert cnnapps(*options, cwd=tmp_path).returncode == 0
    first = (tmp_path / "w.run" / "metrics.jsonl").read_text().splitlines()
    out = cnnapps(*options[:-1], "steps=12", "--resume", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    steps = [json.loads(x) for x in (tmp_path / "w.run" / "metrics.jsonl").read_text().splitlines()]
    numbers = [r["step"] for r in steps]
    assert numbers[-1] == 12 and 9 in numbers and numbers == sorted(numbers)
    assert len(steps) > len(first), "what was logged before stays"
    out = cnnapps(
        "train", "--net", "lenet", "-o", "w", "-q", "--set", "steps=12", "--resume", cwd=tmp_path
    )
    assert out.returncode == 1 and len(out.stderr.splitlines()) == 1


def test_fine_tuning_replaces_the_head_and_keeps_the_rest(trained: Path, tmp_path: Path) -> None:
    """Three of the ten digits, from the net that knows ten."""
    for digit in "357":
        home = tmp_path / "data" / digit
        home.mkdir(parents=True)
        for path in sorted((SAMPLE / digit).iterdir())[:30]:
            (home / path.name).write_bytes(path.read_bytes())
    out = cnnapps(
        "train", "data", "--from", trained / "w", "-o", "w", "-q", "--epochs", 6, cwd=tmp_path
    )
    assert out.returncode == 0, out.stderr
    tuned = load(tmp_path / "w")
    assert tuned.labels == ("3", "5", "7") and tuned.card.net == "lenet"
    assert [s.what for s in tuned.card.sources] == ["training pictures", "trained further"]
    got = {(m.name, m.split): m.value for m in tuned.card.metrics}
    assert got["accuracy", "test"] >= 0.5


def test_wrong_nets_and_folders_are_one_line(tmp_path: Path) -> None:
    for args, said in (
        (["train", "--net", "resnet21"], "did you mean resnet"),
        (["train", "nowhere"], "no such folder"),
        (["train", "--set", "lr=fast"], "'fast' is no float"),
        (["train", "--net", "cnn", "--size", "8", "--set", "precision=fp64"], "fp32, bf16, fp16"),
        (["compare", "--nets", "lenett"], "did you mean lenet"),
    ):
        out = cnnapps(*args, "-q", cwd=tmp_path)
        assert out.returncode == 1 and said in out.stderr, (args, out.stderr)
        assert len(out.stderr.splitlines()) == 1


def test_the_report_alone_fails_on_bad_data(tmp_path: Path) -> None:
    home = tmp_path / "d" / "a"
    home.mkdir(parents=True)
    (home / "x.png").write_bytes(b"no")
    (home / "y.png").write_bytes(next(SAMPLE.glob("3/*.png")).read_bytes())
    out = cnnapps("train", "d", "--report-only", "-q", cwd=tmp_path)
    assert out.returncode == 1 and "broken: a/x.png" in out.stdout
    assert cnnapps("train", "--report-only", "-q", cwd=tmp_path).returncode == 0


def test_compare_trains_each_net_and_draws(tmp_path: Path) -> None:
    out = cnnapps("compare", "--nets", "lenet,cnn,lenet5", "--minutes", "0.15", "-q", cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    rows = json.loads((tmp_path / "classify-compare" / "compare.json").read_text())
    assert [r["net"] for r in rows] == ["lenet", "cnn", "lenet5"]
    assert [r["parameters"] for r in rows][:2] == [61_706, 28_938]
    assert all(r["n"] == rows[0]["n"] and r["interval"][0] <= r["accuracy"] for r in rows)
    curves = (tmp_path / "classify-compare" / "curves.svg").read_text()
    assert curves.startswith("<svg") and "lenet5" in curves
    assert max(map(len, out.stdout.splitlines())) <= 80 or "changed" in out.stdout
    assert DIGITS.flip is False
