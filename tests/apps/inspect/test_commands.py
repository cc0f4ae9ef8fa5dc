"""The commands as a user types them: answers, pictures, one line for each bad input."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from click.testing import CliRunner

from cnnapps.__main__ import main
from cnnapps.apps.inspect.cli import main as inspect_main
from cnnapps.core.media import read_picture, write_picture

DATA = Path(__file__).resolve().parents[2] / "data"


def run(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, ["inspect", *map(str, arguments)])
    # click keeps each command's help option as this run named it (-h, --help); the generated
    # command page, which another test makes in this process, names it by itself
    for command in (main, inspect_main, *inspect_main.commands.values()):
        command._help_option = None
    return done.exit_code, done.stdout, done.stderr


def good(*arguments: object) -> str:
    code, out, err = run(*arguments)
    assert code == 0, err or out
    return out


def refused(*arguments: object) -> str:
    code, _, err = run(*arguments)
    assert code in (1, 2), arguments
    lines = err.splitlines()
    assert code == 2 or len(lines) == 1, err
    assert all(line.isprintable() for line in lines)
    return lines[-1]


def photo(path: Path, height: int = 40, width: int = 60) -> Path:
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, (x // 8 + y // 8) % 2 * 255], -1)
    write_picture(path, pixels.astype(np.uint8))
    return path


# ------------------------------------------------------------------------------------ the tables


def test_net_prints_the_table_json_and_diagrams(tmp_path: Path) -> None:
    text = good("net", "lenet", "--peers")
    assert "parameters      61,706" in text
    assert "torchinfo" in text
    assert good("lenet") == good("net", "lenet")
    row = json.loads(good("net", "go-policy/default", "--json"))
    assert row["weights"] == "go-policy/default"
    assert row["result"]["totals"]["parameters"] == 1_307_616
    good("net", "lenet", "-o", tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8").startswith("<svg")
    good("net", "go-policy/default", "-o", tmp_path / "net.png")
    assert read_picture(tmp_path / "net.png").width > 500
    good("net", "lenet", "resnet20", "-o", tmp_path / "both.json")
    assert len((tmp_path / "both.json").read_text(encoding="utf-8").splitlines()) == 2


def test_a_failing_net_shows_its_table_and_exits_1() -> None:
    code, out, err = run("net", "lenet", "--input", "1x60x28")
    assert code == 1
    assert "FAILS: expected 400 features, got" in out
    assert "expected 400 features" in err
    code, out, _ = run("net", "lenet", "--input", "1x60x28", "--json")
    raw = json.loads(out)
    assert set(raw) == {"input", "error", "result"}
    assert len(raw["result"]["layers"]) > 3


def test_others_are_answered_when_one_is_refused() -> None:
    code, out, err = run("net", "nothing.onnx", "lenet")
    assert code == 1
    assert "61,706" in out
    assert err == "cnnapps: nothing.onnx: no such file\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ["net", "lenet", "--input", "axb"],
        ["net", "lenet", "--set", "classes"],
        ["net", "go-policy/default", "--axis", "nothing=3"],
        ["net", "go-policy/default", "--input", "3x4"],
        ["net", "lenet", "-o", DATA / "vision" / "README.md" / "x.svg"],
        ["net", DATA / "go" / "sabaki-ugf-review.ugi"],
        ["conv", "--input", "5", "--kernel", "9"],
        ["conv", "--input", "5", "--kernel", "4", "--padding", "same"],
        ["conv", "--input", "5", "--kernel", "3", "--padding", "some"],
        ["complexity", "1,2,3"],
        ["filters", "lenet"],
        ["filters", "textcls/default", "-o", "x.png"],
        ["filters", "go-policy/default"],
        ["filters", "go-policy/default", "--photo", "x.png", "-o", "y.png"],
        ["filters", "go-policy/default", "--layer", "stem", "-o", "/tmp/y.png"],
        ["filters", "textcls/default", "--text", DATA.parent.parent / "README.md"],
        ["filters", "go-policy/default", "--text", DATA / "vision" / "README.md", "-o", "x.png"],
        ["filters", "textcls/sentiment-quality", "--text", DATA / "nothing"],
        ["filters", "lenet", "--state", DATA / "vision" / "README.md", "-o", "x.png"],
        ["filters", "lenet-6", "--state", DATA / "vision" / "README.md", "-o", "x.png"],
    ],
    ids=lambda a: " ".join(map(str, a))[-60:],
)
def test_bad_usage_is_one_line(arguments: list[str]) -> None:
    refused(*arguments)


# -------------------------------------------------------------------------------------- convolve


def test_the_course_s_matrix(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("1 1 1 1 1\n-1 0 -3 0 1\n2 1 1 -1 0\n0 -1 1 2 1\n1 2 1 1 1\n")
    kernel = ["--kernel", "1 0 0; 0 0 0; 0 0 -1"]
    assert good("convolve", path, *kernel, "--true-convolution") == "0 -2 -1\n2 2 4\n-1 0 0\n"
    assert good("convolve", path, *kernel) == "0 2 1\n-2 -2 -4\n1 0 0\n"
    assert len(good("convolve", path, *kernel, "--padding", "wide").splitlines()) == 7
    assert "the output is empty: 5x5 under 6x1" in refused(
        "convolve", path, "--kernel", "1;1;1;1;1;1"
    )


def test_signals_in_a_table(tmp_path: Path) -> None:
    path = tmp_path / "signal.csv"
    path.write_text("t,x\n" + "".join(f"{i},{1 if i == 1 else 0}\n" for i in range(5)))
    rows = good("convolve", path, "--kernel", "echo", "--delay", 1).splitlines()
    assert rows[0] == "t,x"
    assert [r.split(",")[1] for r in rows[1:]] == ["0", "1", "0.5", "0.25", "0"]
    path.write_text("1\n2\nthree\n")
    assert "row 3: 'three' is no number" in refused("convolve", path, "--kernel", "echo")
    path.write_text("1,2\n3\n")
    assert "row 2 has 1 numbers, the first 2" in refused("convolve", path, "--kernel", "echo")


def test_an_echo_comes_later_and_softer(tmp_path: Path) -> None:
    import soundfile

    samples = np.zeros(8000)
    samples[100] = 0.8
    soundfile.write(tmp_path / "a.wav", samples, 8000)
    good(
        "convolve", tmp_path / "a.wav", "--kernel", "echo", "--delay", 0.1, "-o", tmp_path / "b.wav"
    )
    out, rate = soundfile.read(tmp_path / "b.wav")
    assert (rate, len(out)) == (8000, 8000)
    np.testing.assert_allclose(out[[100, 900, 1700]], [0.8, 0.4, 0.2], atol=1e-3)
    assert "needs -o FILE.wav" in refused("convolve", tmp_path / "a.wav", "--kernel", "echo")


def test_pictures_are_what_opencv_makes(tmp_path: Path) -> None:
    path = photo(tmp_path / "in.png")
    good("convolve", path, "--kernel", "gaussian", "-o", tmp_path / "out.png")
    kernel = np.array([[1, 2, 1], [2, 4, 2], [1, 2, 1]]) / 16
    want = cv2.filter2D(
        read_picture(path).rgb.astype(float), -1, kernel, borderType=cv2.BORDER_REPLICATE
    )
    got = read_picture(tmp_path / "out.png").rgb
    assert np.abs(got - want).max() <= 0.51
    good("convolve", path, "--kernel", "emboss", "-o", tmp_path / "a.png")
    good("convolve", path, "--kernel", "emboss", "--true-convolution", "-o", tmp_path / "b.png")
    a, b = (read_picture(tmp_path / n).rgb.astype(int) for n in ("a.png", "b.png"))
    assert np.abs(a + b - 255).max() <= 1  # emboss turned is its negative


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_rotated_and_cmyk_pictures(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    upright = np.zeros((30, 50, 3), np.uint8)
    upright[:, :25] = (200, 60, 20)
    exif = image.Exif()
    exif[274] = 6  # to be turned by 90 degrees to the right
    image.fromarray(np.rot90(upright).copy()).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    image.fromarray(upright).convert("CMYK").save(tmp_path / "cmyk.jpg", quality=95)
    for name in ("turned.jpg", "cmyk.jpg"):
        good("convolve", tmp_path / name, "--kernel", "identity", "-o", tmp_path / "out.png")
        got = read_picture(tmp_path / "out.png").rgb.astype(int)
        assert got.shape == (30, 50, 3), name
        assert np.abs(got[:, :20] - [200, 60, 20]).mean() < 12, name


def test_odd_pictures_are_read_and_bad_ones_refused(tmp_path: Path) -> None:
    def write(name: str, array: Any, *options: int) -> Path:
        assert cv2.imwrite(str(tmp_path / name), array, list(options))
        return tmp_path / name

    out = tmp_path / "out.png"
    draw = np.random.default_rng(0)
    odd = [
        write("deep.png", draw.integers(0, 65535, (9, 7), np.uint16)),
        write("alpha.png", draw.integers(0, 255, (9, 7, 4), np.uint8)),
        write("grey.png", draw.integers(0, 255, (9, 7), np.uint8)),
        write("one.png", np.full((1, 1, 3), 9, np.uint8)),
    ]
    for path in odd:
        good("convolve", path, "--kernel", "laplacian", "-o", out)
        assert read_picture(out).rgb.shape == read_picture(path).rgb.shape
    assert "the output is empty: 1x1 under 3x3" in refused(
        "convolve", odd[3], "--kernel", "laplacian", "--padding", "narrow", "-o", out
    )
    head = struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    bomb = tmp_path / "bomb.png"
    bomb.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    )
    assert "--max-pixels" in refused("convolve", bomb, "--kernel", "mean", "-o", out)
    text = tmp_path / "text.png"
    text.write_text("not a picture")
    assert "text.png" in refused("convolve", text, "--kernel", "mean", "-o", out)
    assert "needs -o FILE.png" in refused("convolve", odd[0], "--kernel", "mean")
    assert ".png" in refused("convolve", odd[0], "--kernel", "mean", "-o", tmp_path / "x.gif")


# --------------------------------------------------------------------------- filters, the others


def test_text_filters_are_the_strongest_n_grams() -> None:
    from cnnapps.apps.inspect.filters import ngrams, text_filters, unit_table
    from cnnapps.apps.inspect.source import open_graph

    draw = np.random.default_rng(0)
    table, weight = draw.normal(size=(9, 4)), draw.normal(size=(2, 4, 3))
    found = ngrams(weight, table, list("abcdefghi"), filters=[1], top=30)
    scores = table @ weight[1]
    every = sorted(
        (scores[list(abc), [0, 1, 2]].sum() for abc in np.ndindex(9, 9, 9)),
        reverse=True,
    )  # fmt: skip
    np.testing.assert_allclose([n.response for n in found], every[:30], rtol=1e-5)
    opened = open_graph("textcls/question")
    pair = unit_table(opened)
    assert pair is not None
    assert len(pair[0]) == len(pair[1])
    assert [w.shape[2] for _, w in text_filters(opened)] == [1, 2, 3, 4, 5]
    text = good("filters", "textcls/question", "--top", 1)
    assert "filters.0.conv: 100 filters of width 1" in text
    assert text.count("  filter ") == 15


def test_filters_over_words_in_context_show_the_windows_of_a_text(tmp_path: Path) -> None:
    from cnnapps.apps.inspect.incontext import WordPieces, sample_texts, windows
    from cnnapps.apps.inspect.source import open_graph
    from cnnapps.apps.textcls import load

    opened = open_graph("textcls/sentiment-quality")
    texts = [*sample_texts(opened)[1][:12], "", "a " * 400 + "dreadful end"]
    # the classifier reads the same units and finds the same largest response
    predictor = load("sentiment-quality")
    units = WordPieces(predictor._units.names())
    for text in texts[:-2]:
        assert [2, *units.spans(text)[0], 3] == predictor._units.ids(text)
    found, read = windows(opened, texts[:-1], filters=[("filters.1.conv", range(100))], top=2)
    assert read == 12
    features = predictor._runtime.run(
        **{
            "ids": np.array([n := predictor._units.ids(texts[3])]),
            "length": np.array([len(n)], np.int64),
        }
    )["features"][0, 100:200]
    bias = predictor._tensors["filters.1.conv.bias"].astype(np.float32)
    alone, _ = windows(opened, [texts[3]], filters=[("filters.1.conv", range(100))], top=1)
    best = np.array([alone["filters.1.conv", f][0].response for f in range(100)])
    np.testing.assert_allclose(np.maximum(best + bias, 0), features, atol=1e-3)
    for f in range(100):
        first, second = found["filters.1.conv", f]
        assert best[f] <= first.response + 1e-4
        assert second.response <= first.response
        assert second.ngram.lower() != first.ngram.lower()
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(texts), encoding="utf-8")
    text = good("filters", "textcls/sentiment-quality", "--text", path, "--top", 1, "-q")
    assert text.startswith("The filters read words in context")
    assert "the strongest of 13 texts" in text
    assert text.count("  filter ") == 9
    path.write_text(" \n", encoding="utf-8")
    assert "no words" in refused("filters", "textcls/sentiment-quality", "--text", path, "-q")


@pytest.mark.torch
@pytest.mark.parametrize("theirs", [False, True])
def test_filters_of_a_named_net_with_the_user_s_state(tmp_path: Path, theirs: bool) -> None:
    import torch
    from safetensors.torch import save_file

    from cnnapps.core.nets import build

    torch.manual_seed(0)
    if theirs:
        models = pytest.importorskip("torchvision.models")
        name, module = "squeezenet", models.squeezenet1_1(num_classes=5)
    else:
        name, module = "lenet", build("lenet", classes=7)
    state = tmp_path / "state.safetensors"
    save_file({n: t.contiguous() for n, t in module.state_dict().items()}, state)
    text = good("filters", name, "--state", state, "-o", tmp_path / "kernels.png")
    assert ("64 filters 3x3x3" if theirs else "6 filters 1x5x5") in text
    layer = text.partition(":")[0]
    photo = ["--photo", DATA / "vision" / "chelsea.jpg", "--size", 64 if theirs else 28]
    given = [name, "--state", state, "--layer", layer, *photo]
    shown = good("filters", *given, "-o", tmp_path / "maps.png")
    assert shown.startswith(layer)
    other = "resnet20" if theirs else "lenet-deck"
    assert refused("filters", other, "--state", state, "-o", tmp_path / "x.png").startswith(
        "cnnapps"
    )


def test_go_planes_and_activations(tmp_path: Path) -> None:
    text = good("filters", "go-policy/default", "-o", tmp_path / "planes.png")
    assert text.startswith("stem.conv: 96 filters 22x5x5")
    assert read_picture(tmp_path / "planes.png").height > 96 * 5
    assert "22 channels, not a picture" in refused(
        "filters",
        "go-policy/default",
        "--photo",
        photo(tmp_path / "p.png"),
        "-o",
        tmp_path / "y.png",
    )


@pytest.fixture(scope="module")
def lenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    from cnnapps.core.card import Card
    from cnnapps.core.export import export
    from cnnapps.core.nets import build

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("weights") / "lenet"
    card = Card(app="classify", tag="lenet", net="lenet", licence="MIT",
                preparation={"size": 28, "mean": 127.5, "scale": 127.5})  # fmt: skip
    draw = np.random.default_rng(0)
    examples = [{"picture": draw.random((n, 1, 28, 28), np.float32)} for n in (1, 3)]
    export(build("lenet"), folder, card, examples=examples, axes={"picture": {0: "n"}},
           outputs=["logits"])  # fmt: skip
    return folder


def test_activations_and_a_dream_of_a_weights_folder(lenet: Path, tmp_path: Path) -> None:
    import torch

    from cnnapps.apps.inspect.dream import GraphNet
    from cnnapps.apps.inspect.filters import activations, layer_output
    from cnnapps.apps.inspect.source import open_graph

    good("filters", lenet, "-o", tmp_path / "kernels.png")
    opened = open_graph(str(lenet))
    rows = json.loads(good("net", lenet, "--json"))["result"]["layers"]
    layers = [r["name"] for r in rows]
    conv = [r["name"] for r in rows if r["kind"] == "conv"][1]
    good(
        "filters",
        lenet,
        "--layer",
        conv,
        "--photo",
        photo(tmp_path / "p.png"),
        "-o",
        tmp_path / "maps.png",
    )
    assert read_picture(tmp_path / "maps.png").width > 100
    # the graph in torch is the graph in ONNX Runtime
    x = np.random.default_rng(1).normal(size=(1, 1, 28, 28)).astype(np.float32)
    for layer in (conv, layers[-1]):
        value = layer_output(opened, layer)
        ours = GraphNet(opened, {"picture": x.shape}, value).run({"picture": torch.from_numpy(x)})
        theirs = activations(opened, {"picture": x}, value)
        np.testing.assert_allclose(ours.detach().numpy(), theirs, atol=1e-4)
    text = good("filters", lenet, "--layer", conv, "--maximise", 0, "--steps", 20, "-q",
                "-o", tmp_path / "dream.png")  # fmt: skip
    before, after = (float(part.split()[0]) for part in text.split("response ")[1].split(", "))
    assert after > before
    assert "has 16 channels, 0 to 15" in refused(
        "filters", lenet, "--layer", conv, "--maximise", 99, "-q", "-o", tmp_path / "d.png"
    )


def test_gradients_nets_complexity_conv(tmp_path: Path) -> None:
    assert "dL/dX = W * δ" in good("gradients")
    assert good("nets").count("\n") >= 30
    assert "5,898,240,000" in good("complexity")
    assert json.loads(good("complexity", "--json"))["second"]["space"] == 3_363_840
    assert "3.60x fewer" in good("complexity")
    assert "does not divide: 54.25" in good("conv", "--input", 224, "--kernel", 11, "--stride", 4)
    good("conv", "--input", 9, "--kernel", 3, "--padding", "wide", "-o", tmp_path / "c.png")
    assert json.loads(good("conv", "--input", 9, "--kernel", 3, "--json"))["name"] == "narrow"
