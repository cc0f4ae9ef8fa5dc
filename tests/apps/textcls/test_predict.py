"""Predictions: one by one = in batches, explanations that add up, any text is answered."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cnnapps.apps.textcls import load
from cnnapps.apps.textcls.predict import PIECE, TextPredictor

ODD = [
    "",
    " ",
    "\n",
    "😀",
    "zzzzqqq",
    "a" * 5000,
    "\ud800",
    "\x00",
    "ي",
    "好看",
    "!!! ???",
    "'",
    "-",
]


@pytest.fixture(scope="module")
def predictor(weights: Path) -> TextPredictor:
    return load(str(weights))


@pytest.fixture(scope="module")
def explainer(weights: Path) -> TextPredictor:
    return load(str(weights), explain=True)


def run(
    weights: Path, *args: str, stdin: str | bytes | None = None
) -> subprocess.CompletedProcess[bytes]:
    data = stdin.encode() if isinstance(stdin, str) else stdin
    command = [sys.executable, "-m", "cnnapps", "textcls", "--weights", str(weights), *args]
    return subprocess.run(command, input=data, capture_output=True, timeout=120, check=False)


def test_one_by_one_equals_in_batches(predictor: TextPredictor, texts: list[str]) -> None:
    mixed = [*texts[:200], *ODD, " ".join(texts[:120])]
    together = list(predictor.batch(mixed, size=64))
    alone = [predictor(text) for text in mixed]
    for a, b in zip(together, alone, strict=True):
        assert a.label == b.label
        assert a.probability == pytest.approx(b.probability, abs=2e-6)


def test_onnx_equals_torch(weights: Path, predictor: TextPredictor, texts: list[str]) -> None:
    other = load(str(weights), runtime="torch")
    mixed = [*texts[:100], *ODD]
    a, b = predictor.logits(mixed), other.logits(mixed)
    assert np.abs(a - b).max() <= 1e-4 * max(1.0, np.abs(b).max())


@settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.text(max_size=200))
def test_every_text_is_answered_and_explained_exactly(explainer: TextPredictor, text: str) -> None:
    result = explainer(text)
    logits = explainer.logits([text])[0]
    assert result.contributions is not None and result.logit is not None
    total = math.fsum([result.bias or 0.0, *(c.value for c in result.contributions)])
    assert total == pytest.approx(result.logit, abs=1e-9)
    assert result.logit == pytest.approx(float(logits.max()), abs=1e-4)
    assert sum(result.probabilities.values()) == pytest.approx(1.0, abs=1e-5)
    for c in result.contributions:
        assert 0 <= c.start <= c.end <= len(text)
        assert c.ngram in (text[c.start : c.end], "(frame)")


def test_long_texts_are_read_to_the_end(
    predictor: TextPredictor, explainer: TextPredictor, texts: list[str]
) -> None:
    """100,000 words: the features are the maximum over pieces, as if read in one go."""
    words = " ".join(texts).split()
    text = " ".join((words * (100_000 // len(words) + 1))[:100_000])
    result = explainer(text)
    assert result.logit == pytest.approx(float(predictor.logits([text]).max()), abs=1e-3)
    filler = "the " * (3 * PIECE)
    assert predictor.logits([filler + "terrible"])[0][0] != predictor.logits([filler])[0][0]


def test_min_confidence_answers_none(weights: Path) -> None:
    sure = load(str(weights), min_confidence=0.999999)
    result = sure("the")
    assert result.label is None and result.to_dict()["label"] is None
    assert str(result).startswith("none\t")


def test_lines_in_lines_out(weights: Path) -> None:
    text = 'good film\r\n\r\n"quoted\n\tbad\n😀\nlast without end'
    out = run(weights, "-", "--json", stdin=text)
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    assert out.returncode == 0
    assert [r["line"] for r in rows] == [1, 2, 3, 4, 5, 6]
    assert [r["input"] for r in rows] == [
        "good film", "", '"quoted', "\tbad", "😀", "last without end",
    ]  # fmt: skip
    assert all(set(r) == {"input", "line", "weights", "result"} for r in rows)
    assert all(set(r["result"]) == {"label", "probability", "probabilities"} for r in rows)
    plain = run(weights, "-", stdin=text)
    assert len(plain.stdout.splitlines()) == 6


def test_shards_are_a_partition(weights: Path, tmp_path: Path, texts: list[str]) -> None:
    source = tmp_path / "in.txt"
    source.write_text("\n".join(texts[:57]) + "\n", encoding="utf-8")
    whole = run(weights, str(source), "--json").stdout.splitlines()
    parts = [run(weights, str(source), "--json", "--shard", f"{i}/3").stdout for i in (1, 2, 3)]
    split = [line for part in parts for line in part.splitlines()]
    assert sorted(split) == sorted(whole) and len(whole) == 57


def test_killed_run_resumes_to_the_same_file(
    weights: Path, tmp_path: Path, texts: list[str]
) -> None:
    source, target = tmp_path / "in.txt", tmp_path / "out.jsonl"
    source.write_text("\n".join(texts * 60) + "\n", encoding="utf-8")
    whole = run(weights, str(source), "--json").stdout
    command = [sys.executable, "-m", "cnnapps", "textcls", "--weights", str(weights), str(source)]
    command += ["-o", str(target), "--batch", "100"]
    part = tmp_path / "out.jsonl.part"
    done = 0
    for _ in range(2):  # killed when it has written something, and again when it has gone on
        process = subprocess.Popen([*command, "--resume"])
        while not part.exists() or part.stat().st_size <= done:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
        process.wait()
        done = part.stat().st_size
        assert not target.exists() and done < len(whole)
    subprocess.run([*command, "--resume"], check=True)
    assert target.read_bytes() == whole
    assert not part.exists()


def test_a_missing_path_is_an_error_not_a_sentence(weights: Path) -> None:
    out = run(weights, "./no/such/file", "good film", "--json")
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    assert out.returncode == 1
    reason = "no such file (a sentence? then --text)"
    assert rows[0] == {"input": "./no/such/file", "error": reason}
    assert rows[1]["result"]["label"] in ("negative", "positive")
    assert out.stderr.decode() == f"cnnapps: ./no/such/file: {reason}\n"
    assert run(weights, "--text", "./no/such/file").returncode == 0


def test_predicting_needs_no_torch(weights: Path) -> None:
    code = (
        "import sys, cnnapps; p = cnnapps.load('textcls', weights=sys.argv[1]); p('good film');"
        "bad = {'torch', 'torchvision', 'torchaudio', 'scipy', 'sklearn', 'matplotlib', 'cv2'};"
        "assert not bad & set(sys.modules), bad & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, str(weights)], check=True)


def test_html_page_escapes_and_shows(weights: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    assert run(weights, "<script>bad</script> film", "-o", str(page)).returncode == 0
    html = page.read_text(encoding="utf-8")
    assert "<script>" not in html and "&lt;script&gt;" in html and html.rstrip().endswith("</html>")


def test_a_pipe_is_answered_line_by_line(weights: Path) -> None:
    """A program that writes a line and waits for the answer must not wait for ever."""
    command = [sys.executable, "-m", "cnnapps", "textcls", "--weights", str(weights), "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None and process.stdout is not None
        for text in (b"good film\n", b"bad film\n", b"\n"):
            process.stdin.write(text)
            process.stdin.flush()
            assert process.stdout.readline().count(b"\t") == 1
        process.stdin.close()
        assert process.wait(timeout=60) == 0


def test_pieces_of_a_long_text_are_framed_and_their_frames_explain_nothing() -> None:
    predictor = load("sentiment-quality", explain=True)
    text = "a long and dull film , but the end was lovely . " * 40
    ids, places = predictor._units.spans(text)
    seen: set[int] = set()
    rows = predictor._inputs(ids)
    for (units, _, _), (x, offset, low, high) in zip(predictor._pieces(ids), rows, strict=True):
        assert len(units) == len(x) and units[low:high] == ids[offset + low : offset + high]
        assert (units[0], units[-1]) == (ids[0], ids[-1])
        seen |= set(range(offset + low, offset + high))
    assert seen == set(range(len(ids))) and len(ids) > 400
    result = predictor(text)
    assert result.bias is not None and result.contributions
    total = math.fsum([result.bias, *(c.value for c in result.contributions)])
    label = predictor.card.labels.index(str(result.explained))
    assert total == pytest.approx(predictor.logits([text])[0][label], abs=2e-3)
    widest = max(p.end for p in places[-4:]) - places[-4].start + 20
    assert all(c.end - c.start <= widest for c in result.contributions)


def test_a_text_that_is_cut_keeps_its_frame() -> None:
    from cnnapps.apps.textcls.train import encode

    units = load("sentiment-quality")._units
    ids = units.ids("a long and dull film , but the end was lovely")
    assert encode(units, ["a long and dull film , but the end was lovely"], 6)[0].tolist() == [
        *ids[:5],
        ids[-1],
    ]


def test_only_ideographs_are_words_of_their_own() -> None:
    units = load("sentiment-quality")._units
    ids, places = units.spans("iPhone手机 good")
    assert [(p.start, p.end) for p in places] == [(0, 0), (0, 6), (6, 7), (7, 8), (9, 13), (13, 13)]
    assert ids[1] == units.ids("iphone")[1]
