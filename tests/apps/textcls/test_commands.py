"""The commands as a user types them: train, evaluate, export, and what they print."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnapps.apps.textcls import load

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "apps" / "textcls" / "sample" / "reviews.tsv"


def cnnapps(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnnapps", "textcls", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the bare ``train`` writes, with random vectors and two epochs."""
    folder = tmp_path_factory.mktemp("train") / "w"
    out = cnnapps("train", "-o", folder, "--vectors", "none", "--set", "epochs=2", "-q")
    assert out.returncode == 0, out.stderr
    assert "sample inside the package" in out.stdout and "confusion" in out.stdout
    return folder


def test_train_writes_weights_card_and_curve(trained: Path) -> None:
    assert {p.name for p in trained.iterdir()} == {
        "card.json", "graph.onnx", "model.safetensors", "units.txt",
    }  # fmt: skip
    card = json.loads((trained / "card.json").read_text(encoding="utf-8"))
    assert card["licence"] == "CC BY 4.0" and card["sources"][0]["name"] == "reviews.tsv"
    names = {(m["name"], m["split"]) for m in card["metrics"]}
    assert {("accuracy", "test"), ("accuracy", "dev"), ("majority", "test")} <= names
    curve = (trained.parent / "w.run" / "curve.svg").read_text(encoding="utf-8")
    assert curve.startswith("<svg") and "accuracy" in curve


def test_evaluate_prints_the_contract(trained: Path) -> None:
    out = cnnapps("evaluate", SAMPLE, "--weights", trained, "--json")
    assert out.returncode == 0, out.stderr
    row = json.loads(out.stdout)
    assert set(row) == {"app", "weights", "data", "sha256", "n", "result"}
    assert row["n"] == 1476 and row["app"] == "textcls" and len(row["sha256"]) == 64
    result = row["result"]
    assert {"accuracy", "macro_f1", "per_class", "confusion", "calibration_error"} <= set(result)
    assert np.array(result["confusion"]["counts"]).sum() == 1476
    hits = np.trace(np.array(result["confusion"]["counts"]))
    assert result["accuracy"] == pytest.approx(hits / 1476)


def test_evaluate_asks_for_a_split_and_uses_aliases(trained: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label,split\ngood,positive,dev\nbad,negative,test\nx,negative,test\n")
    out = cnnapps("evaluate", table, "--weights", trained)
    assert out.returncode == 1 and "which part? the data has dev, test" in out.stderr
    row = json.loads(
        cnnapps("evaluate", table, "--weights", trained, "--split", "test", "--json").stdout
    )
    assert row["n"] == 2 and row["split"] == "test"
    other = tmp_path / "other.csv"
    other.write_text("text,label\ngood,1\nbad,0\n")
    out = cnnapps("evaluate", other, "--weights", trained)
    assert out.returncode == 1 and "not among the classes of the weights: 0, 1" in out.stderr


def test_export_fits_the_size_and_agrees(trained: Path, tmp_path: Path) -> None:
    import onnx
    import onnxruntime

    small = tmp_path / "small.onnx"
    out = cnnapps("export", "--weights", trained, "-o", small, "--max-mb", "1.0")
    assert out.returncode == 0, out.stderr
    assert small.stat().st_size <= 1_000_000
    model = onnx.load(small)
    metadata = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert metadata["cnnapps.labels"] == ["negative", "positive"]
    units = metadata["cnnapps.units"]
    text = "the food was good"
    ids = [units.index(w) for w in text.split()]
    session = onnxruntime.InferenceSession(str(small))
    words = np.array([0, *sorted(set(ids))])
    got = session.run(
        ["logits"],
        {
            "words": words,
            "tokens": np.searchsorted(words, [ids]),
            "length": np.array([len(ids)]),
            "edges": np.ones((1, 2), dtype=np.int64),
        },
    )[0]
    np.testing.assert_allclose(got, load(str(trained)).logits([text]), atol=1e-4)
    out = cnnapps("export", "--weights", trained, "-o", small, "--max-mb", "0.01")
    assert out.returncode == 1 and "--max-mb: at least" in out.stderr


def test_train_from_adds_labels_and_keeps_old_answers(trained: Path, tmp_path: Path) -> None:
    rows = SAMPLE.read_text(encoding="utf-8").splitlines()
    kept = [r.split("\t") for r in rows[1:]]
    extra = ["question\t-\t" + f"where can i buy number {i}?" for i in range(60)]
    data = tmp_path / "d.tsv"
    data.write_text("\n".join([rows[0], *("\t".join(r) for r in kept[:600]), *extra]), "utf-8")
    folder = tmp_path / "more"
    out = cnnapps("train", data, "-o", folder, "--from", trained, "--set", "epochs=8", "-q")
    assert out.returncode == 0, out.stderr
    predictor = load(str(folder))
    assert predictor.card.labels == ("negative", "positive", "question")
    assert predictor("where can i buy number 77?").label == "question"


def test_several_labels_end_to_end(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    lines = ["text,tags"]
    for _ in range(300):
        tags = [t for t in ("food", "price", "staff") if rng.random() < 0.4]
        words = [w for t in tags for w in (f"{t}ish", f"very{t}")] + ["the", "place"]
        lines.append(f"{' '.join(rng.permutation(words))},{';'.join(tags)}")
    data = tmp_path / "d.csv"
    data.write_text("\n".join(lines) + "\n")
    folder = tmp_path / "w"
    out = cnnapps("train", data, "--label-separator", ";", "-o", folder, "--vectors", "none",
                  "--set", "epochs=12", "--set", "lr=3e-3", "-q")  # fmt: skip
    assert out.returncode == 0, out.stderr
    result = load(str(folder))("the foodish place was verystaff")
    assert result.labels is not None and set(result.labels) == {"food", "staff"}
    assert load(str(folder))("the place").labels == ()


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ("text,label\na,x\nb,x\nc,x\n", "one class only"),
        ("text,label\na,x\nb,y\n", "too few to train on"),
    ],
)
def test_hopeless_data_is_refused_in_a_line(tmp_path: Path, rows: str, reason: str) -> None:
    data = tmp_path / "d.csv"
    data.write_text(rows * 1)
    out = cnnapps("train", data, "-o", tmp_path / "w", "-q")
    assert out.returncode == 1 and reason in out.stderr
    assert len(out.stderr.splitlines()) == 1 and "Traceback" not in out.stderr
    assert not (tmp_path / "w").exists()


def test_unknown_setting_names_the_known_ones(tmp_path: Path) -> None:
    out = cnnapps("train", "-o", tmp_path / "w", "--set", "learning_rate=1")
    assert out.returncode == 1 and "NAME one of" in out.stderr and "lr" in out.stderr


def test_a_foreign_folder_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    out = cnnapps("train", "-o", tmp_path / "mine", "--vectors", "none", "--set", "epochs=1", "-q")
    assert out.returncode == 1 and "is not a weights folder" in out.stderr
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "precious"
