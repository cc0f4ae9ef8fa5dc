"""Photos: the contract, the same answers in any batch, where a class was seen, bad input."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.classify import Classifier, load
from cnnapps.apps.classify.explain import explain, overlay
from cnnapps.apps.classify.predict import Preparation, softmax
from cnnapps.core.errors import InputError
from cnnapps.core.media import read_picture

ROOT = Path(__file__).parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / ".dev")}
PHOTOS = ROOT / "tests" / "data" / "vision"
CAT, COFFEE = PHOTOS / "chelsea.jpg", PHOTOS / "coffee.jpg"
CATS = {"tabby", "tiger cat", "Egyptian cat", "lynx"}


def cnnapps(*args: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "cnnapps", "classify", *map(str, args)]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd=cwd, check=False, env=ENVIRONMENT
    )


def test_a_cat_is_a_cat_and_a_cup_of_coffee_is_one(classifier: Classifier) -> None:
    cat, coffee = classifier.batch([CAT, COFFEE])
    assert {g.label for g in cat.top[:3]} <= CATS
    assert coffee.top[0].label in {"espresso", "cup", "coffee mug"}
    assert [g.probability for g in cat.top] == sorted(
        (g.probability for g in cat.top), reverse=True
    )
    assert all(classifier.labels[g.class_id] == g.label for g in cat.top)
    assert math.isclose(float(softmax(np.array([[1.0, 2.0, 1e4]])).sum()), 1.0)


def test_one_by_one_is_as_in_a_batch_of_all_shapes(classifier: Classifier) -> None:
    rgb = read_picture(CAT).rgb
    pictures = [rgb, rgb[:, :150], np.ascontiguousarray(rgb[:60]), rgb[:3, :3], rgb[:1, :1]]
    together = list(classifier.batch(pictures, size=4))
    for picture, result in zip(pictures, together, strict=True):
        alone = classifier(picture)
        assert [g.label for g in alone.top] == [g.label for g in result.top]
        np.testing.assert_allclose(
            [g.probability for g in alone.top], [g.probability for g in result.top], atol=1e-5
        )


def test_torch_gives_the_same(classifier: Classifier) -> None:
    twin = load(runtime="torch")
    x = classifier.prepare(COFFEE).input[None]
    ours, theirs = classifier.run(x), twin.run(x)
    np.testing.assert_allclose(ours[0], theirs[0], atol=2e-4)
    assert ours[1] is not None and theirs[1] is not None
    np.testing.assert_allclose(ours[1], theirs[1], atol=1e-3)


def test_the_logits_are_those_of_the_package_s_own_code(classifier: Classifier) -> None:
    """efficientnet-lite-pytorch 0.1.0 in float32 on the same input; ours are float16 weights."""
    x = np.ascontiguousarray(classifier.prepare(COFFEE).input[None][:, :, :224, :224])
    logits = classifier.run(x)[0][0]
    reference = {967: 10.627, 925: 7.0254, 968: 6.9797, 960: 5.4043, 868: 5.3965, 504: 5.3368}
    for class_id, value in reference.items():
        assert logits[class_id] == pytest.approx(value, abs=0.06)
    assert float(logits.mean()) == pytest.approx(-0.0697, abs=0.01)
    assert float(logits.std()) == pytest.approx(1.1360, abs=0.01)


def test_the_map_adds_up_to_the_logit_and_is_grad_cam(classifier: Classifier) -> None:
    """Grad-CAM (Selvaraju et al. 2017, eq. 1 and 2) by autograd on the same weights."""
    import torch

    from cnnapps.apps.classify.predict import table
    from cnnapps.core.weights import find, open_weights

    weights = open_weights(find(None, "classify"), app="classify")
    net = table()[weights.card.net](**weights.card.arguments).eval()
    net.load_state_dict({n: torch.from_numpy(t.copy()) for n, t in weights.tensors().items()})
    result = classifier(CAT)
    said = result.explanation
    assert said is not None
    assert float(said.map.mean()) + said.bias == pytest.approx(said.logit, abs=1e-4)
    maps = net.maps(torch.from_numpy(classifier.prepare(CAT).input[None])).detach()
    maps.requires_grad_()
    logit = net.score(maps)[0, result.top[0].class_id]
    assert float(logit.detach()) == pytest.approx(said.logit, abs=1e-3)
    (gradient,) = torch.autograd.grad(logit, maps)
    alpha = gradient.mean((2, 3), keepdim=True)
    grad_cam = torch.relu((alpha * maps).sum(1))[0].detach().numpy()
    np.testing.assert_allclose(
        grad_cam * said.map.size, np.maximum(said.map, 0), atol=2e-3 * said.map.max()
    )


def test_words_instead_of_a_picture_when_nothing_speaks_for_the_class() -> None:
    maps = np.ones((3, 4, 5), np.float32)
    said = explain(maps, np.array([-1.0, -2.0, 0.5], np.float32), 0.5, "cat", (0, 0, 50, 40))
    assert said.focus is None and "no place speaks for 'cat'" in said.words
    assert said.logit == pytest.approx(-2.0)
    rgb = np.full((40, 50, 3), 99, np.uint8)
    assert overlay(rgb, said).shape == rgb.shape


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 6), st.integers(0, 8), st.integers(20, 400), st.integers(20, 400))
def test_one_hot_place_is_where_the_words_and_the_colour_are(
    row: int, column: int, width: int, height: int
) -> None:
    maps = np.zeros((1, 7, 9), np.float32)
    maps[0, row, column] = 5
    said = explain(maps, np.ones(1, np.float32), 0.0, "x", (0, 0, width, height))
    assert said.focus is not None
    x0, y0, x1, y1 = said.focus
    assert 0 <= x0 <= (column + 0.5) * width / 9 <= x1 <= width
    assert 0 <= y0 <= (row + 0.5) * height / 7 <= y1 <= height
    drawn = overlay(np.full((height, width, 3), 100, np.uint8), said)
    assert drawn.shape == (height, width, 3)
    y, x = np.unravel_index(int(drawn[:, :, 0].argmax()), (height, width))
    assert abs(x - (column + 0.5) * width / 9) <= width / 9 + 1
    assert abs(y - (row + 0.5) * height / 7) <= height / 7 + 1


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 900), st.integers(1, 900))
def test_whole_pictures_keep_their_form_up_to_two_to_one(width: int, height: int) -> None:
    p = Preparation(size=224, whole=True, mean=127, scale=128)
    x0, y0, x1, y1 = p.box(width, height)
    assert 0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height
    assert max(x1 - x0, y1 - y0) <= 2 * min(x1 - x0, y1 - y0)
    wide, high = p.shape(x1 - x0, y1 - y0)
    assert min(wide, high) == 224 and max(wide, high) <= 448 and wide % 32 == high % 32 == 0
    assert abs(wide / high - (x1 - x0) / (y1 - y0)) < 0.08 * wide / high + 1e-9


def test_a_card_that_lies_is_refused() -> None:
    for bad in ({"size": 0}, {"size": 9, "channels": 2}, {"size": 30, "whole": True}):
        with pytest.raises(ValueError):
            Preparation(**bad)


# ------------------------------------------------------------------------------------- commands


def test_json_is_the_contract(tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(CAT.read_bytes()[:3000])
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    out = cnnapps(CAT, broken, text, tmp_path / "none.png", COFFEE, "--json", "--top", 3)
    assert out.returncode == 1
    rows = [json.loads(line) for line in out.stdout.splitlines()]
    assert [set(r) for r in rows] == [
        {"input", "weights", "result"}, *[{"input", "error"}] * 3, {"input", "weights", "result"},
    ]  # fmt: skip
    assert set(rows[0]["result"]) == {"top"} and rows[0]["weights"] == "classify/default"
    assert [set(g) for g in rows[0]["result"]["top"]] == [{"label", "class_id", "probability"}] * 3
    errors = out.stderr.splitlines()
    assert len(errors) == 3 and all(e.startswith("cnnapps: ") and e.isprintable() for e in errors)


def test_a_folder_becomes_a_table_that_no_spreadsheet_runs(tmp_path: Path) -> None:
    (tmp_path / "=1+1.jpg").write_bytes(CAT.read_bytes())
    (tmp_path / "b.jpg").write_bytes(COFFEE.read_bytes())
    (tmp_path / "c.png").write_bytes(b"")
    out = cnnapps("=1+1.jpg", "b.jpg", "c.png", "-o", "t.csv", "--top", "2", cwd=tmp_path)
    assert out.returncode == 1 and out.stdout == ""
    lines = (tmp_path / "t.csv").read_text().splitlines()
    assert lines[0] == "input,label,class_id,probability,label_2,class_id_2,probability_2,error"
    assert lines[1].startswith("'=1+1.jpg,") and lines[2].startswith("b.jpg,espresso,967,")
    assert lines[3] == "c.png,,,,,,,empty file"


def test_the_overlay_is_written_and_words_go_to_stdout(tmp_path: Path) -> None:
    out = cnnapps(CAT, "--explain", "-o", tmp_path / "where.png")
    assert out.returncode == 0 and "is seen most in the" in out.stdout, out.stderr
    drawn, given_ = read_picture(tmp_path / "where.png"), read_picture(CAT)
    assert drawn.rgb.shape == given_.rgb.shape and not np.array_equal(drawn.rgb, given_.rgb)
    out = cnnapps(CAT, COFFEE, "-o", tmp_path / "x.png")
    assert out.returncode == 2 and "--pictures" in out.stderr
    out = cnnapps(CAT, COFFEE, "--explain", "--pictures", tmp_path / "p", "--json")
    assert out.returncode == 0 and {p.name for p in (tmp_path / "p").iterdir()} == {
        "chelsea.png", "coffee.png",
    }  # fmt: skip
    row = json.loads(out.stdout.splitlines()[0])["result"]["explanation"]
    assert set(row) == {"label", "logit", "bias", "words", "map", "box", "focus"}


def test_odd_pictures_are_answered(tmp_path: Path, classifier: Classifier) -> None:
    """16 bits, transparency, a turned photo: the same cat. One pixel: some answer."""
    bgr = cv2.imread(str(CAT))
    want = classifier(CAT).top[0].label
    cv2.imwrite(str(tmp_path / "deep.png"), bgr.astype(np.uint16) * 257)
    alpha = np.dstack([bgr, np.full(bgr.shape[:2], 255, np.uint8)])
    cv2.imwrite(str(tmp_path / "alpha.png"), alpha)
    turned = cv2.rotate(bgr, cv2.ROTATE_90_COUNTERCLOCKWISE)
    done, data = cv2.imencode(".jpg", turned, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    exif = (
        b"\xff\xe1\x00\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"
    )
    jpeg = bytes(data)
    (tmp_path / "turned.jpg").write_bytes(jpeg[:2] + exif + jpeg[2:])
    for name in ("deep.png", "alpha.png", "turned.jpg"):
        assert classifier(tmp_path / name).top[0].label == want, name
    cv2.imwrite(str(tmp_path / "one.png"), bgr[:1, :1])
    assert len(classifier(tmp_path / "one.png").top) == 5


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return len(data).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")

    head = (60_000).to_bytes(4, "big") * 2 + b"\x08\x02\0\0\0"
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0" * 99))
    (tmp_path / "bomb.png").write_bytes(png + chunk(b"IEND", b""))
    for verb in ([], ["digits"]):
        out = cnnapps(*verb, tmp_path / "bomb.png")
        assert out.returncode == 1 and "--max-pixels" in out.stderr
        assert len(out.stderr.splitlines()) == 1


def test_wrong_uses_say_what_to_do(classifier: Classifier) -> None:
    for args, said in (
        (["--top", 3], "Missing argument"),
        ([CAT, "--weights", "digits"], "use 'cnnapps classify digits'"),
        (["digits", CAT, "--weights", "default"], "leave out 'digits'"),
        (["trian", CAT], "did you mean 'train'?"),
    ):
        out = cnnapps(*args)
        assert out.returncode in (0, 1, 2) and said in out.stderr + out.stdout, (args, out.stderr)
    with pytest.raises(InputError, match="not \\(H, W, 3\\)"):
        classifier(np.zeros((4, 4), np.uint8))


def test_prediction_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom cnnapps.__main__ import main\n"
        f"try: main(['classify', {str(CAT)!r}, '--explain', '--json'])\n"
        "except SystemExit: pass\n"
        "print(sorted({m.split('.')[0] for m in sys.modules}"
        " & {'torch', 'torchvision', 'scipy', 'sklearn', 'matplotlib', 'PIL', 'onnx'}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env=ENVIRONMENT,
    )
    assert done.stdout.splitlines()[-1] == "[]", done.stdout + done.stderr


def test_the_mapping_names_classes_that_exist(classifier: Classifier) -> None:
    known = json.loads((PHOTOS / "imagenet-classes.json").read_text("utf-8"))
    names = {c for classes in known["coco"].values() for c in classes}
    assert len(known["coco"]) == 80 and names <= set(classifier.labels)
    assert len(classifier.labels) == len(set(classifier.labels)) == 1000
