"""The commands as a user types them: train, evaluate, export, and what they print."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import json
import lzma
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from cnnapps.apps.textcls import load
from cnnapps.core.command import state_of
from cnnapps.core.errors import InputError
from cnnapps.core.files import check_replaceable
from cnnapps.core.weights import find

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
    assert result.label == result.labels[0]
    assert result.probability == result.probabilities[result.label]
    assert str(result).split("\t")[::2] == list(result.labels)
    assert load(str(folder))("the place").labels == ()
    named = cnnapps("evaluate", data, "--weights", folder, "--label-separator", ";")
    guessed = cnnapps("evaluate", data, "--weights", folder)
    assert named.returncode == 0 and "on 300 texts" in named.stdout
    assert "labels are split" not in named.stderr
    assert guessed.stdout == named.stdout
    assert guessed.stderr.count('labels are split at ";" (--label-separator)') == 1


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


# ------------------------------------------------------------------- what people type and hand in
PARTS = "text,label,split\n" + "".join(
    f"word{i} is {kind},{kind},{split}\n"
    for i, (kind, split) in enumerate([("good", "train"), ("bad", "train")] * 6)
)


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_class_without_training_texts_is_known_before_training(
    tmp_path: Path, split: str
) -> None:
    data = tmp_path / "d.csv"
    data.write_text(f"{PARTS}x,good,dev\ny,bad,test\nz,odd,{split}\n")
    out = cnnapps("train", data, "-o", tmp_path / "w", "--vectors", "none", "-q")
    assert out.returncode == 1 and f"only in the {split} part" in out.stderr and "odd" in out.stderr
    assert not (tmp_path / "w").exists()


def test_the_card_says_what_to_type_again(tmp_path: Path) -> None:
    data = tmp_path / "my data.csv"
    data.write_text(PARTS)
    out = cnnapps("train", data, "-o", tmp_path / "w", "--vectors", "none", "--set", "epochs=1",
                  "--folds", "2", "--seed", "3", "-q")  # fmt: skip
    assert out.returncode == 0, out.stderr
    assert out.stdout.count("fold ") == 2 and "2 folds: accuracy" in out.stdout
    card = json.loads((tmp_path / "w" / "card.json").read_text())
    words = shlex.split(card["command"])
    assert words == ["cnnapps", "textcls", "train", str(data), "--vectors", "none", "--folds", "2",
                     "--set", "epochs=1", "--seed", "3", "-o", str(tmp_path / "w")]  # fmt: skip


def test_vectors_of_other_words_are_refused(tmp_path: Path) -> None:
    data, other = tmp_path / "d.csv", tmp_path / "other.vec"
    data.write_text(PARTS)
    other.write_text("2 3\nqqqq 1 2 3\nzzzz 3 2 1\n")
    out = cnnapps("train", data, "-o", tmp_path / "w", "--vectors", other, "-q")
    assert out.returncode == 1 and "has a vector for none of the" in out.stderr


@pytest.mark.parametrize("option", [("--vectors", "none"), ("--units", "characters")])
def test_from_brings_its_units_and_vectors(tmp_path: Path, option: tuple[str, str]) -> None:
    out = cnnapps("train", "--from", "default", *option, "-o", tmp_path / "w")
    assert out.returncode == 1 and "leave out --vectors and --units" in out.stderr


def test_packed_files_are_unpacked_and_pictures_refused(tmp_path: Path) -> None:
    lines = b"a fine film\n\nan awful mess\n"
    (tmp_path / "t.txt").write_bytes(lines)
    plain = cnnapps("t.txt", cwd=tmp_path).stdout
    assert plain.count("\n") == 3
    packed = {
        "t.gz": gzip.compress(lines),
        "t.xz": lzma.compress(lines),
        "t.bz2": bz2.compress(lines),
    }
    for name, data in packed.items():
        (tmp_path / name).write_bytes(data)
        assert cnnapps(name, cwd=tmp_path).stdout == plain
    (tmp_path / "two.gz").write_bytes(packed["t.gz"] * 2)
    assert cnnapps("two.gz", cwd=tmp_path).stdout == plain * 2
    (tmp_path / "cut.gz").write_bytes(packed["t.gz"][:-6])
    out = cnnapps("cut.gz", cwd=tmp_path)
    assert out.returncode == 1 and "can't be unpacked" in out.stderr
    (tmp_path / "photo.txt").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    out = cnnapps("photo.txt", cwd=tmp_path)
    assert out.returncode == 1 and "photo.txt: is a PNG picture, not text" in out.stderr


def test_the_output_is_never_the_input_nor_that_of_a_changed_one(tmp_path: Path) -> None:
    texts = tmp_path / "t.txt"
    texts.write_text("good\nbad\n")
    (tmp_path / "link").symlink_to(texts)
    for output in ("t.txt", "./t.txt", "link"):
        out = cnnapps("t.txt", "-o", output, cwd=tmp_path)
        assert out.returncode == 2 and "is one of the inputs" in out.stderr
    assert texts.read_text() == "good\nbad\n"
    (tmp_path / "answers.part").write_text("")
    out = cnnapps("t.txt", "-o", "answers", cwd=tmp_path)
    assert out.returncode == 0
    # as a killed run leaves it: the record of the file as it was
    key = {
        "weights": load().card.identity,
        "inputs": state_of([str(texts)]),
        "options": [False, None, None, 0.0, False, None, "text"],
    }
    for text, code in (("good\nbad\n", 0), ("good\nbad\nmore\n", 1)):
        (tmp_path / "again.part").write_text("")
        (tmp_path / "again.part.json").write_text(f"{json.dumps({'run': key})}\n[0, 0, 0]\n")
        if text != texts.read_text():
            texts.write_text(text)
        out = cnnapps(texts, "-o", "again", "--resume", cwd=tmp_path)
        assert out.returncode == code, out.stderr
    assert "belongs to another run" in out.stderr


def test_resume_never_mixes_or_repeats_a_run(tmp_path: Path) -> None:
    text, out = tmp_path / "a.txt", tmp_path / "out.txt"
    text.write_text("good\n")
    done = cnnapps("-", "-o", out, "--resume")
    assert done.returncode == 2 and "give a file" in done.stderr
    assert cnnapps(text, "-o", out, "--resume").returncode == 0
    before = out.read_bytes()
    done = cnnapps(text, "-o", out, "--resume")
    assert done.returncode == 1 and "is complete" in done.stderr and out.read_bytes() == before
    part = tmp_path / "new.txt.part"
    part.write_text("half")
    for more in (["--resume"], []):
        done = cnnapps(text, "-o", tmp_path / "new.txt", *more)
        assert done.returncode == 1 and "no .json beside it says" in done.stderr
        assert part.read_text() == "half"
    (tmp_path / "new.txt.part.json").write_text('{"run": {}}\n[0, 0, 0]\n')
    done = cnnapps(text, "-o", tmp_path / "new.txt")
    assert done.returncode == 0 and "of a run that was stopped" in done.stderr


@pytest.mark.parametrize(
    ("rows", "hint"),
    [
        ([f"text {i},{i / 7:.4f}" for i in range(60)], "the right column?"),
        ([f"text {i},a{i % 7};b{i % 5};c{i % 3}" for i in range(60)], '--label-separator ";"?'),
    ],
)
def test_labels_that_are_none_are_noticed(tmp_path: Path, rows: list[str], hint: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text("\n".join(["text,label", *rows]))
    done = cnnapps("train", path, "-o", tmp_path / "w", "--set", "steps=1")
    assert hint in done.stdout + done.stderr


def test_a_net_with_an_encoder_learns_other_labels(tmp_path: Path) -> None:
    data, folder = tmp_path / "d.csv", tmp_path / "w"
    rows = [f"where can i buy number {i}?,question" for i in range(30)]
    rows += [f"please send number {i} today.,order" for i in range(30)]
    data.write_text("\n".join(["text,label", *rows]))
    train = ("train", data, "--from", "sentiment-quality", "-o", folder, "-q")
    done = cnnapps(*train, "--variant", "rand")
    assert done.returncode == 1 and "has an encoder, the paper's nets have none" in done.stderr
    done = cnnapps(*train, "--set", "widths=7")
    assert done.returncode == 1
    assert "a net that goes on keeps its vectors and filters" in done.stderr
    done = cnnapps(*train, "--autotune")
    assert done.returncode == 1 and "--autotune: can't be combined with --from" in done.stderr
    done = cnnapps(*train, "--set", "steps=16", "--set", "precision=fp32")
    assert done.returncode == 0, done.stderr
    assert "none of these labels: it learns them anew" in done.stdout
    predictor = load(str(folder))
    assert (predictor.card.net, predictor.card.labels) == ("context-cnn", ("order", "question"))
    assert predictor.card.sources[1].name == "textcls/sentiment-quality"
    assert predictor("where can i buy number 77?").label == "question"
    assert "--set steps=16" in predictor.card.command


def test_going_on_says_which_labels_stay_and_which_words_are_unknown(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    rows = [f"房间很干净服务态度也好{i},positive" for i in range(20)]
    rows += [f"非常无聊浪费时间{i},neutral" for i in range(20)]
    rows[0] = rows[0].replace("positive", "1")
    data.write_text("\n".join(["text,label", *rows]), "utf-8")
    done = cnnapps("train", data, "--from", "default", "-o", tmp_path / "w", "--set", "steps=1")
    assert done.returncode == 0, done.stderr
    assert "textcls/default knows your label 1 as positive" in done.stdout
    assert "keeps labels that no text has, and may answer with them: negative" in done.stdout
    assert "warning: textcls/default does not know 9" in done.stdout


def test_a_student_learns_what_its_teacher_answers(trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "w"
    train = ("train", SAMPLE, "--vectors", "none", "-o", folder, "-q", "--teacher")
    done = cnnapps(*train, trained, "--folds", "3")
    assert done.returncode == 1 and "--teacher: knows the texts of every fold" in done.stderr
    done = cnnapps(*train, "question")
    assert done.returncode == 1
    assert "--teacher: textcls/question knows ABBR, DESC, ENTY, HUM, LOC, ..., but" in done.stderr
    done = cnnapps(*train[:-1], "--new-texts", "9")
    assert done.returncode == 1 and "--new-texts: are labelled by a teacher" in done.stderr
    done = cnnapps(*train, trained, "--set", "epochs=0.5")
    assert done.returncode == 0, done.stderr
    assert re.search(r"labelled [12][0-9],[0-9]{3} new texts", done.stdout)
    predictor, teacher = load(str(folder)), load(str(trained))
    assert predictor.card.sources[-1].what == "teacher: its answers were learned"
    assert f"--teacher {trained}" in predictor.card.command
    texts = [row.split("\t")[2] for row in SAMPLE.read_text(encoding="utf-8").splitlines()[1:]]
    same = predictor.logits(texts).argmax(1) == teacher.logits(texts).argmax(1)
    assert same.mean() > 0.8
    assert "may know texts of the test part" not in done.stdout
    done = cnnapps(*train, trained, "--set", "epochs=0.1", "--seed", "2", "--new-texts", "99")
    assert re.search(r"labelled [1-9][0-9] new texts", done.stdout)
    assert "--new-texts 99" in load(str(folder)).card.command
    assert "(--teacher) was trained on these data, and not on the same part" in done.stdout


def test_utf_16_without_a_mark_is_read_when_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes("good\nbad\n".encode("utf-16-le"))
    done = cnnapps(path, "--encoding", "utf-16")
    assert (done.returncode, done.stdout.count("\n"), done.stderr) == (0, 2, "")
    path.write_bytes(b"good\nbad\n")  # it is no UTF-16: an answer all the same
    done = cnnapps("good", path, "bad", "--encoding", "utf-16")
    assert done.returncode == 0 and "internal" not in done.stderr


def test_a_file_in_another_encoding_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ru.txt"
    path.write_bytes("Отличный фильм\nУжасно скучно\n".encode("cp1251"))
    done = cnnapps(path)
    assert done.returncode == 0 and "read as cp1251" in done.stderr


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        (["a", "b", "c"], "labels and outputs of the net differ"),
        (["a", "a"], "names a label twice"),
        (["a\nb", "c"], "impossible label"),
    ],
)
def test_a_card_with_other_labels_is_refused(
    tmp_path: Path, trained: Path, labels: list[str], reason: str
) -> None:
    folder = shutil.copytree(trained, tmp_path / "w")
    card = json.loads((folder / "card.json").read_text())
    card["labels"] = labels
    card["preparation"]["thresholds"] = []
    (folder / "card.json").write_text(json.dumps(card))
    done = cnnapps("good", "--weights", folder)
    assert done.returncode == 1 and reason in done.stderr and done.stderr.count("\n") == 1


def test_a_path_that_is_none_says_how_a_sentence_is_typed() -> None:
    out = cnnapps("great/awful")
    assert out.returncode == 1 and "no such file (a sentence? then --text)" in out.stderr
    assert cnnapps("--text", "great/awful").returncode == 0


def test_a_batch_is_no_text_and_a_text_no_batch() -> None:
    with pytest.raises(TypeError, match=r"not a float \(text 2 of the batch\)"):
        list(load().batch(["good", float("nan")]))  # type: ignore[list-item]
    predictor = load()
    with pytest.raises(TypeError, match="a text is a str, not a list"):
        predictor(["good", "bad"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="batch takes several texts"):
        next(predictor.batch("good"))


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--folds", "abc"], "--folds: 'abc' is no list"),
        (["--folds", "99"], "numbers from 0 to 9"),
        (["--folds", "5-12"], "numbers from 0 to 9"),
        (["--folds", "3-1"], "--folds: '3-1' is no list"),
        (["--seeds", "0-999999999"], "--seeds: '0-999999999' is no list"),
        (["--seeds", "x"], "--seeds"),
        (["--sets", ","], "--sets: names none"),
    ],
)
def test_the_benchmark_names_a_wrong_option(
    tmp_path: Path, options: list[str], reason: str
) -> None:
    out = cnnapps("benchmark", "--data", tmp_path, "--sets", "cr", "--variants", "rand",
                  "--no-peers", "-o", tmp_path / "out", *options)  # fmt: skip
    assert out.returncode == 1 and reason in out.stderr and out.stderr.count("\n") == 1


def test_evaluate_says_what_it_left_out(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    data.write_text("text,label\na b,positive\nc d,\ng h,positive\ni j,negative\n")
    out = cnnapps("evaluate", data)
    assert out.returncode == 0 and "on 3 texts" in out.stdout
    assert "left out: 1 row without a label" in out.stderr


SMALL = ("--set", "steps=3", "--set", "maps=5", "--vectors", "none", "-q")


def reviews(path: Path, n: int = 60, **columns: list[str]) -> Path:
    """A file of n short reviews, half of them good."""
    names = ["text", "label", *columns]
    rows = [[f"{w} film {i}", y] for i in range(n) for w, y in [TONES[i % 2]]]
    for values in columns.values():
        for row, value in zip(rows, values, strict=True):
            row.append(value)
    path.write_text("".join(",".join(r) + "\n" for r in [names, *rows]), encoding="utf-8")
    return path


TONES = (("good", "pos"), ("bad", "neg"))


def test_a_folder_with_the_name_of_a_tag_is_the_users(tmp_path: Path) -> None:
    reviews(tmp_path / "r.csv")
    out = cnnapps("train", "r.csv", "-o", "default", *SMALL, cwd=tmp_path)
    assert out.returncode == 0, out.stderr
    assert "use it with --weights ./default" in out.stdout
    card = json.loads((tmp_path / "default" / "card.json").read_text(encoding="utf-8"))
    assert card["labels"] == ["neg", "pos"] and "textcls train r.csv" in card["command"]
    assert cnnapps("--weights", "./default", "good film", cwd=tmp_path).returncode == 0


def test_parts_are_known_by_their_usual_names(tmp_path: Path) -> None:
    parts = ["Training"] * 40 + ["validation"] * 10 + ["Test"] * 10
    out = cnnapps("train", reviews(tmp_path / "r.csv", split=parts), "-o", tmp_path / "w", *SMALL)
    assert out.returncode == 0 and "test (10 texts" in out.stdout, out.stderr


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        (["train"] * 40 + ["held out"] * 20, "the data also have: held out"),
        (["train"] * 40 + [""] * 20, "the data also have: (blank)"),
        (["dev"] * 40 + ["test"] * 20, "no row is in the training part"),
    ],
)
def test_no_row_is_lost_or_trained_on_by_mistake(
    tmp_path: Path, parts: list[str], reason: str
) -> None:
    out = cnnapps("train", reviews(tmp_path / "r.csv", split=parts), "-o", tmp_path / "w", *SMALL)
    assert out.returncode == 1 and reason in out.stderr, out.stderr


def test_from_knows_other_names_of_its_labels(tmp_path: Path) -> None:
    path = reviews(tmp_path / "r.csv")
    text = path.read_text(encoding="utf-8").replace(",pos", ",1").replace(",neg", ",0")
    path.write_text(text, encoding="utf-8")
    out = cnnapps(
        "train", path, "--from", "default", "--set", "steps=2", "-q", "-o", tmp_path / "w"
    )
    assert out.returncode == 0, out.stderr
    card = json.loads((tmp_path / "w" / "card.json").read_text(encoding="utf-8"))
    assert card["labels"] == ["negative", "positive"]
    assert card["aliases"] == {"0": "negative", "1": "positive"}
    out = cnnapps("evaluate", path, "--weights", tmp_path / "w")
    assert out.returncode == 0, out.stderr
    out = cnnapps("train", path, "--teacher", tmp_path / "w", "--new-texts", "9", *SMALL,
                  "-o", tmp_path / "w2")  # fmt: skip
    assert out.returncode == 0, out.stderr


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--set", "variant=statik"), "none of rand, static"),
        (("--label-separator", ""), "--label-separator: is empty"),
        (("--set", "class_weights=ballanced"), "none of none, balanced"),
        (("--set", "max_units=0"), "max_units: 0 is not within"),
        (("--set", "epochs=-3"), "epochs: -3.0 is not within"),
        (("--set", "dropout=2"), "dropout: 2.0 is not within"),
        (("--set", "word_dropout=1"), "word_dropout: 1.0 is not within"),
        (("--set", "widths="), "widths"),
        (("--set", "widths=0"), "widths"),
        (("--set", "maps=0"), "maps: 0 is not within"),
        (("--seed", "-1"), "-1 is not in the range"),
        (("--units", "characters", "--vectors", "v.vec"), "--vectors: are of words"),
        (("--variant", "rand", "--vectors", "v.vec"), "the variant rand starts at random"),
        (("--resume", "--folds", "3"), "--resume: goes on with one training"),
        (("--from", "question", "--variant", "static"), "--variant: is of new nets"),
        (("--from", "question", "--set", "vector-length=2"), "keeps its vectors and filters"),
    ],
)
def test_what_makes_no_sense_is_refused_before_training(
    tmp_path: Path, options: tuple[str, ...], reason: str
) -> None:
    out = cnnapps("train", "-o", tmp_path / "w", *options)
    assert out.returncode in (1, 2) and reason in out.stderr, out.stderr
    assert "internal error" not in out.stderr and not (tmp_path / "w").exists()


@pytest.mark.parametrize("run", ["w", "w/run", "link/run"])
def test_a_run_is_not_kept_where_the_weights_go(tmp_path: Path, run: str) -> None:
    (tmp_path / "link").symlink_to("w")
    out = cnnapps("train", "-o", "w", "--run", run, cwd=tmp_path)
    assert out.returncode == 1 and "the run can't be kept in w" in out.stderr
    assert not (tmp_path / "w").exists()


def test_a_run_is_not_kept_among_other_files(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for run, reason in (("mine", "is not a run's folder"), ("mine/thesis.txt", "is no folder")):
        out = cnnapps("train", "-o", "w", "--run", run, cwd=tmp_path)
        assert out.returncode == 1 and reason in out.stderr
    assert [p.name for p in tmp_path.rglob("*")] == ["mine", "thesis.txt"]
    (tmp_path / "run" / "fold-0").mkdir(parents=True)  # what a kill may leave
    check_replaceable(tmp_path / "w", tmp_path / "run", keeps=("fold-*",))
    with pytest.raises(InputError, match="is not a run's folder"):
        check_replaceable(tmp_path / "w", tmp_path / "run")
    (tmp_path / "run" / "best-000000003.pt").write_bytes(b"")
    check_replaceable(tmp_path / "w", tmp_path / "run")


def test_an_export_does_not_overwrite_weights(tmp_path: Path) -> None:
    shutil.copytree(find("question", "textcls"), tmp_path / "q")
    before = (tmp_path / "q" / "graph.onnx").read_bytes()
    out = cnnapps("export", "--weights", tmp_path / "q", "-o", tmp_path / "q" / "graph.onnx")
    assert out.returncode == 1 and "belongs to the weights in that folder" in out.stderr
    assert (tmp_path / "q" / "graph.onnx").read_bytes() == before


def test_what_load_is_given_is_checked() -> None:
    for threads in (0, -1, "2", None, 1.5, 10**9, True):
        with pytest.raises(InputError, match="is no number from 1 to 256"):
            load(threads=threads)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="device None is none of auto, cpu"):
        load(device=None)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("encoding", "name"), [("utf-8", "UTF-8"), ("ascii", "UTF-8"), ("utf-16", "UTF-16-LE")]
)
def test_an_encoding_that_does_not_fit_is_told_once(
    tmp_path: Path, encoding: str, name: str
) -> None:
    (tmp_path / "a.txt").write_bytes("café terrible\nnaïve, déjà vu\n".encode("cp1252"))
    out = cnnapps(tmp_path / "a.txt", "--encoding", encoding)
    assert out.returncode == 0
    assert out.stderr == f"cnnapps: {tmp_path / 'a.txt'}: some bytes are not {name}\n"


def test_names_and_labels_that_are_no_utf_8_reach_the_card(tmp_path: Path) -> None:
    data = tmp_path / "a\udcff.jsonl"
    lines = [json.dumps({"text": f"{w} film {i}", "label": y + "\ud83d"})
             for i in range(60) for w, y in [TONES[i % 2]]]  # fmt: skip
    data.write_text("\n".join(lines), encoding="utf-8")
    out = cnnapps("train", data, "-o", tmp_path / "w", *SMALL)
    assert out.returncode == 0, out.stderr
    card = load(str(tmp_path / "w")).card
    assert card.labels == ("neg", "pos") and card.sources[0].name == "a\ufffd.jsonl"


def test_a_measured_file_is_named(tmp_path: Path) -> None:
    data, test = reviews(tmp_path / "r.csv"), reviews(tmp_path / "t.csv", 20)
    out = cnnapps("train", data, "--test", test, "-o", tmp_path / "w", *SMALL)
    assert out.returncode == 0, out.stderr
    seen = {(m.split, m.data, m.sha256, m.n) for m in load(str(tmp_path / "w")).card.metrics}
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (data, test)]
    assert seen == {("dev", "r.csv", hashes[0], 7), ("test", "t.csv", hashes[1], 20)}


def test_a_stopped_run_is_not_forgotten_in_silence(tmp_path: Path) -> None:
    data = reviews(tmp_path / "r.csv")
    loud = [*SMALL[:-1], "--run", tmp_path / "run", "-o", tmp_path / "w"]
    out = cnnapps("train", data, *loud, "--resume")
    assert out.returncode == 0 and "there is no run to go on with" in out.stderr
    out = cnnapps("train", data, *loud)
    assert out.returncode == 0 and "begun again" not in out.stderr  # it had come to its end
    log = tmp_path / "run" / "metrics.jsonl"
    lines = log.read_text(encoding="utf-8").splitlines(keepends=True)
    assert json.loads(lines[-1])["reason"] == "finished"
    log.write_text("".join(lines[:-1]), encoding="utf-8")
    out = cnnapps("train", data, *loud)
    assert "of a run that was stopped, begun again (--resume goes on with it)" in out.stderr


def test_a_run_goes_on_with_the_dev_part_that_chose(tmp_path: Path) -> None:
    data = reviews(tmp_path / "r.csv")
    for name, n in (("one.csv", 20), ("two.csv", 24)):
        reviews(tmp_path / name, n)
    where = ("-o", tmp_path / "w", *SMALL)
    assert cnnapps("train", data, "--dev", tmp_path / "one.csv", *where).returncode == 0
    out = cnnapps("train", data, "--dev", tmp_path / "two.csv", *where, "--resume")
    assert out.returncode == 1 and "other data" in out.stderr, out.stderr


def test_a_run_goes_on_with_the_same_weights_only(tmp_path: Path) -> None:
    lines, part = tmp_path / "in.txt", tmp_path / "out.jsonl.part"
    lines.write_text("good film\n" * 5, encoding="utf-8")
    other = tmp_path / "other"
    shutil.copytree(ROOT / "weights" / "textcls" / "question", other)
    command = (lines, "-o", tmp_path / "out.jsonl", "--resume", "--weights", other)
    key = {
        "weights": load(str(other)).card.identity,
        "inputs": state_of([str(lines)]),
        "options": [False, None, None, 0.0, False, None, "json"],
    }
    note = json.dumps({"run": key}) + "\n[2, 4, 0]\n"
    part.write_text("a\nb\n", encoding="utf-8")
    Path(f"{part}.json").write_text(note, encoding="utf-8")
    card = json.loads((other / "card.json").read_text(encoding="utf-8"))
    card["preparation"]["temperature"] *= 2  # the same tensors answer otherwise
    (other / "card.json").write_text(json.dumps(card), encoding="utf-8")
    out = cnnapps(*command)
    assert out.returncode == 1 and "belongs to another run" in out.stderr, out.stderr
    card["preparation"]["temperature"] /= 2
    (other / "card.json").write_text(json.dumps(card), encoding="utf-8")
    assert cnnapps(*command).returncode == 0
    assert (tmp_path / "out.jsonl").read_text(encoding="utf-8").startswith("a\nb\n{")


def test_one_named_part_among_blank_ones_is_asked_for(tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    rows = [("good,positive,test", 5), ("bad,negative,", 9)]
    data.write_text("text,label,split\n" + "".join(f"{r}\n" * n for r, n in rows))
    out = cnnapps("evaluate", data)
    assert out.returncode == 1 and "which part? the data has test" in out.stderr
    assert "on 5 texts" in cnnapps("evaluate", data, "--split", "test").stdout


def test_the_majority_of_several_labels_is_the_commonest_answer(tmp_path: Path) -> None:
    test = reviews(tmp_path / "t.csv", 20)
    test.write_text(test.read_text().replace(",pos", ",a;b").replace(",neg", ",a;c"))
    data = tmp_path / "r.csv"
    data.write_text(test.read_text() * 3)
    out = cnnapps("train", data, "--test", test, "--label-separator", ";", "-o", tmp_path / "w",
                  *SMALL)  # fmt: skip
    assert "test (20 texts, commonest labels 0.5000)" in out.stdout, out.stderr


def test_a_table_is_predicted_line_by_line_and_that_is_told(tmp_path: Path) -> None:
    reviews(tmp_path / "r.csv", 3)
    out = cnnapps("r.csv", cwd=tmp_path)
    assert out.returncode == 0 and len(out.stdout.splitlines()) == 4
    assert out.stderr.startswith("cnnapps: r.csv: every line is one text, columns and all")


def test_packed_outputs_are_refused(tmp_path: Path) -> None:
    out = cnnapps("a fine film", "-o", tmp_path / "x.jsonl.gz")
    assert out.returncode == 2 and "is not packed while it is written" in out.stderr
    out = cnnapps("-1 would not buy")
    assert out.returncode == 2 and "stands behind --" in out.stderr
    assert cnnapps("--", "-1 would not buy").returncode == 0


def test_an_export_of_nan_is_refused(tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    folder = tmp_path / "w"
    shutil.copytree(ROOT / "weights" / "textcls" / "question", folder)
    tensors = load_file(folder / "model.safetensors")
    tensors["output.bias"][0] = np.nan
    save_file(tensors, folder / "model.safetensors")
    data = (folder / "model.safetensors").read_bytes()
    card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
    entry = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    card["files"]["model.safetensors"] = entry
    (folder / "card.json").write_text(json.dumps(card), encoding="utf-8")
    out = cnnapps("export", "--weights", folder, "-o", tmp_path / "m.onnx")
    assert out.returncode == 1 and "differ by nan" in out.stderr
    assert not (tmp_path / "m.onnx").exists()


def test_a_verb_behind_options_is_no_sentence(tmp_path: Path) -> None:
    out = cnnapps("--weights", "question", "evaluate", SAMPLE)
    assert out.returncode == 2 and out.stdout == ""
    assert "The verb comes first: " in out.stderr and "textcls evaluate ..." in out.stderr
    for words in (("--json", "--", "evaluate"), ("--json", "--text", "train")):
        assert json.loads(cnnapps(*words).stdout)["result"]["label"] in ("positive", "negative")


def test_an_export_is_the_whole_classifier_or_none(tmp_path: Path) -> None:
    out = cnnapps("export", "--weights", "sentiment-zh", "-o", tmp_path / "zh.onnx")
    assert out.returncode == 1 and "beside its net" in out.stderr
    assert not (tmp_path / "zh.onnx").exists()


def test_a_limit_can_be_raised(tmp_path: Path) -> None:
    path = reviews(tmp_path / "r.csv")
    out = cnnapps("evaluate", path, "--max-bytes", 100)
    assert out.returncode == 1 and "--max-bytes" in out.stderr
    (tmp_path / "t.txt").write_text("a good film, and more\ngood\n", encoding="utf-8")
    out = cnnapps(tmp_path / "t.txt", "--max-line-bytes", 10)
    assert out.returncode == 1 and "--max-line-bytes" in out.stderr
    assert out.stdout.splitlines()[1].startswith("positive")


def test_one_missing_file_is_named_by_one_shard() -> None:
    found = [cnnapps("no/such.txt", "good", "bad", "--shard", f"{i}/3").stdout for i in (1, 2, 3)]
    assert [text.split("\t")[0] for text in found] == ["error", "positive", "negative"]


def test_evaluate_hashes_what_it_read() -> None:
    data = SAMPLE.read_bytes()
    command = [sys.executable, "-m", "cnnapps", "textcls", "evaluate", "-", "--json"]
    out = subprocess.run(command, input=data, capture_output=True, timeout=300, check=False)
    assert out.returncode == 0, out.stderr
    assert json.loads(out.stdout)["sha256"] == hashlib.sha256(data).hexdigest()
