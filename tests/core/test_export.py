"""From a trained net to a weights folder and back, in torch and in ONNX Runtime."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
import torch
from torch import Tensor, nn

import cnnapps
from cnnapps.core.blocks import ConvBlock
from cnnapps.core.card import Card
from cnnapps.core.errors import DependencyError, InputError, TrainingError, WeightsError
from cnnapps.core.export import TOLERANCE, export, parity, round_to_half, write_tensors
from cnnapps.core.runtime import open_runtime
from cnnapps.core.weights import open_weights
from cnnapps.tests.core.folders import (
    NETS,
    Pixels,
    Words,
    card,
    export_pixels,
    picture,
    randomised,
    sentences,
)

torch.set_num_threads(1)


def runtimes(folder: Path) -> tuple[Any, Any]:
    weights = open_weights(folder)
    return open_runtime(weights), open_runtime(weights, runtime="torch", nets=lambda: NETS)


def assert_same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> None:
    assert a.keys() == b.keys()
    for name in a:
        assert a[name].shape == b[name].shape
        assert a[name].dtype == b[name].dtype
        scale = np.maximum(1, np.abs(b[name]))
        assert (np.abs(a[name] - b[name]) / scale).max() <= 1e-4


@pytest.mark.parametrize("shape", [(1, 4, 4), (1, 31, 7), (2, 64, 48), (5, 5, 90)])
def test_pictures_of_any_size_give_the_same_in_both_runtimes(
    pixels_folder: Path, shape: tuple[int, int, int]
) -> None:
    ort, torch_ = runtimes(pixels_folder)
    example = picture(*shape)
    assert_same(ort.run(**example), torch_.run(**example))
    net = randomised(Pixels()).eval()
    round_to_half(net)
    with torch.no_grad():
        scores, means = net(torch.from_numpy(example["picture"]))
    assert_same(ort.run(**example), {"scores": scores.numpy(), "means": means.numpy()})
    assert ort.run(**example)["scores"].shape == (shape[0], 4, *shape[1:])


@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (7, 63)])
def test_sentences_of_any_length_give_the_same_in_both_runtimes(
    words_folder: Path, shape: tuple[int, int]
) -> None:
    ort, torch_ = runtimes(words_folder)
    example = sentences(*shape)
    together = ort.run(**example)
    assert_same(together, torch_.run(**example))
    for i in range(shape[0]):
        alone = ort.run(ids=example["ids"][i : i + 1], length=example["length"][i : i + 1])
        np.testing.assert_allclose(alone["logits"][0], together["logits"][i], atol=1e-6)


def test_the_card_says_what_the_folder_holds(pixels_folder: Path) -> None:
    made = Card.from_json((pixels_folder / "card.json").read_bytes(), pixels_folder)
    assert sorted(p.name for p in pixels_folder.iterdir()) == [
        "card.json",
        "graph.onnx",
        "model.safetensors",
    ]
    for name, entry in made.files.items():
        data = (pixels_folder / name).read_bytes()
        assert (hashlib.sha256(data).hexdigest(), len(data)) == (entry.sha256, entry.bytes)
    assert made.inputs["picture"].shape == ("n", 3, "h", "w")
    assert made.inputs["picture"].dtype == "float32"
    assert made.outputs["scores"].shape == ("n", 4, "h", "w")
    assert made.outputs["means"].shape == ("n", 4)
    assert made.parameters == sum(p.numel() for p in Pixels().parameters())
    assert made.size == sum((pixels_folder / n).stat().st_size for n in made.files)
    assert made.versions["torch"] == torch.__version__.split("+")[0]
    assert made.versions["cnnapps"] == cnnapps.__version__
    assert made.name == "demo/pixels"
    assert made.labels == ("a", "b", "c", "d")


def test_an_axis_that_is_half_as_long_gets_a_name_of_its_own(tmp_path: Path) -> None:
    net = ConvBlock(1, 8, stride=2)
    made = export(
        net,
        tmp_path / "half",
        card("half", "half"),
        examples=[_grey(8, 4, 16), _grey(2, 8, 9)],  # 8 pictures, 8 channels, 8 columns
        axes={"x": {0: "n", 2: "h", 3: "w"}},
        outputs=["y"],
    )
    assert made.outputs["y"].shape == ("n", 8, "y_2", "y_3")


def _grey(n: int, h: int, w: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(n)
    return {"x": rng.standard_normal((n, 1, h, w)).astype(np.float32)}


def test_the_weights_are_stored_once_in_half_precision(pixels_folder: Path) -> None:
    net = randomised(Pixels())
    stored = safetensors.numpy.load((pixels_folder / "model.safetensors").read_bytes())
    assert stored.keys() == net.state_dict().keys()
    for name, tensor in net.state_dict().items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        assert np.array_equal(stored[name], half.numpy()), name
    graph = onnx.load(pixels_folder / "graph.onnx", load_external_data=False)
    inside = sum(len(t.raw_data) for t in graph.graph.initializer)
    assert inside < 300, "the graph holds weights of its own"
    assert (pixels_folder / "graph.onnx").stat().st_size < 30_000
    names = {t.name for t in graph.graph.initializer if t.external_data}
    assert names == {f"net.{n}.half" for n in stored if not n.endswith("num_batches_tracked")}


def test_batch_norms_can_be_fused_and_the_head_keeps_its_bias(pixels_folder: Path) -> None:
    graph = onnx.load(pixels_folder / "graph.onnx", load_external_data=False).graph
    convolutions = {n.input[1]: len(n.input) for n in graph.node if n.op_type == "Conv"}
    assert convolutions.pop("net.head.weight") == 3
    assert set(convolutions.values()) == {2}
    assert not [n for n in graph.node if n.op_type == "Expand"]
    assert not any(n.doc_string or n.metadata_props for n in graph.node)


def test_codes_stay_whole_numbers_and_empty_tensors_survive(words_folder: Path) -> None:
    weights = open_weights(words_folder)
    tensors = weights.tensors()
    assert tensors["codes"].dtype == np.int8
    assert tensors["unused"].shape == (0, 6)
    assert np.array_equal(tensors["codes"], randomised(Words()).codes.numpy())  # type: ignore[union-attr, operator]


def test_float16_that_cannot_hold_a_weight_is_said(tmp_path: Path) -> None:
    for value in (70000.0, float("nan"), float("inf")):
        net = nn.Linear(2, 2)
        net.weight.data[0, 0] = value
        with pytest.raises(TrainingError, match="weight has values that float16 can't hold"):
            round_to_half(net)
    assert np.array_equal(
        safetensors.numpy.load(write_tensors({"x": np.array([1.0, 2.5])}))["x"],
        np.array([1.0, 2.5], dtype=np.float16),
    )


class Liar(nn.Module):
    """Computes something else when it is exported."""

    def forward(self, x: Tensor) -> Tensor:
        return x + (0.01 if torch.compiler.is_exporting() else 0.0)


def _export_liar(folder: Path) -> None:
    examples = [{"x": np.zeros((n, 3), np.float32)} for n in (2, 5)]
    export(
        Liar(), folder, card("x", "liar"), examples=examples, axes={"x": {0: "n"}}, outputs=["y"]
    )


def test_a_graph_that_differs_from_its_net_never_ships(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"exported graph differs from the net by 0\.01"):
        _export_liar(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_export_keeps_the_old_folder(folder: Path) -> None:
    before = {p.name: p.read_bytes() for p in folder.iterdir()}
    with pytest.raises(TrainingError):
        _export_liar(folder)
    assert {p.name: p.read_bytes() for p in folder.iterdir()} == before
    assert [p.name for p in folder.parent.iterdir()] == ["pixels"]


def test_a_good_export_takes_the_old_folder_s_place(folder: Path) -> None:
    (folder / "notes.md").write_text("belongs to the user")
    examples = [{"x": np.zeros((n, 3), np.float32)} for n in (2, 1)]
    export(
        nn.Linear(3, 2), folder, card("pixels", "line"), examples=examples, axes={"x": {0: "n"}},
        outputs=["y"], files={"labels.txt": b"a\nb\n"},
    )  # fmt: skip
    assert sorted(p.name for p in folder.iterdir()) == [
        "card.json",
        "graph.onnx",
        "labels.txt",
        "model.safetensors",
        "notes.md",
    ]
    assert [p.name for p in folder.parent.iterdir()] == ["pixels"]
    assert open_weights(folder)["labels.txt"] == b"a\nb\n"
    with pytest.raises(WeightsError, match=r"has no other\.txt"):
        open_weights(folder)["other.txt"]


def test_a_folder_that_is_something_else_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="not a weights folder"):
        export_pixels(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_free_axes_need_two_shapes_and_fixed_ones_are_an_error(tmp_path: Path) -> None:
    net = nn.Linear(3, 2)
    one = {"x": np.zeros((2, 3), np.float32)}
    with pytest.raises(ValueError, match="at least two shapes"):
        export(
            net, tmp_path / "x", card("x", "x"), examples=[one], axes={"x": {0: "n"}}, outputs="y"
        )

    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(2, 3) * 2

    two = {"x": np.zeros((4, 3), np.float32)}
    with pytest.raises(TrainingError, match=r"the graph doesn't run on x \(4, 3\)"):
        export(
            Fixed(), tmp_path / "x", card("x", "x"), examples=[one, two], axes={"x": {0: "n"}},
            outputs=["y"],
        )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


def test_a_bias_that_is_stretched_is_not_taken_for_zero(tmp_path: Path) -> None:
    class Stretched(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(4, 2, 3))
            self.shift = nn.Parameter(torch.tensor([3.0]))

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.conv1d(x, self.weight, self.shift.expand(4))

    examples = [{"x": np.zeros((n, 2, 5), np.float32)} for n in (2, 3)]
    net = Stretched()
    export(
        net, tmp_path / "x", card("x", "x"), examples=examples, axes={"x": {0: "n"}}, outputs=["y"]
    )
    worst, first = parity(net, tmp_path / "x", examples)
    assert worst <= TOLERANCE
    assert (first["y"] == 3.0).all()


def test_a_table_that_several_tags_share(tmp_path: Path) -> None:
    net = randomised(Words())
    round_to_half(net)
    state = {n: t.numpy() for n, t in net.state_dict().items()}
    names = ("codes", "scale")
    shared = tmp_path / "demo" / "shared" / "vectors.safetensors"
    shared.parent.mkdir(parents=True)
    shared.write_bytes(write_tensors({n: state[n] for n in names}))
    options: dict[str, Any] = {
        "examples": [sentences(3, 7), sentences(1, 1)],
        "axes": {"ids": {0: "n", 1: "length"}, "length": {0: "n"}},
        "outputs": ["logits"],
        "shared": shared,
        "shared_tensors": names,
    }
    folder = tmp_path / "demo" / "tag"
    made = export(net, folder, card("tag", "words"), **options)
    assert "../shared/vectors.safetensors" in made.files
    own = safetensors.numpy.load((folder / "model.safetensors").read_bytes())
    assert not set(names) & own.keys()
    ort, torch_ = runtimes(folder)
    assert_same(ort.run(**sentences(4, 9)), torch_.run(**sentences(4, 9)))
    shared.write_bytes(write_tensors({n: state[n][::-1] for n in names}))
    with pytest.raises(WeightsError, match=r"vectors\.safetensors differs from the sha256"):
        open_weights(folder)
    with pytest.raises(TrainingError, match="codes differs from the one in"):
        export(net, folder, card("tag", "words"), **options)
    shared.write_bytes(write_tensors({"codes": state["codes"]}))
    with pytest.raises(TrainingError, match="has no tensor scale"):
        export(net, folder, card("tag", "words"), **options)


# ------------------------------------------------------------------------------------- runtimes


def test_libraries_devices_and_nets_that_are_not_there(pixels_folder: Path) -> None:
    weights = open_weights(pixels_folder)
    with pytest.raises(ValueError, match="neither onnx nor torch"):
        open_runtime(weights, runtime="tensorflow")
    with pytest.raises(DependencyError, match="no torch runtime"):
        open_runtime(weights, runtime="torch")
    with pytest.raises(DependencyError, match="no CUDA device"):
        open_runtime(weights, device="cuda:1")
    with pytest.raises(WeightsError, match="unknown net 'pixels'"):
        open_runtime(weights, runtime="torch", nets=dict)


@pytest.mark.parametrize(
    "arguments", [{"width": 6}, {"width": "8"}, {"width": -1}, {"depth": 3}, {"width": 10**30}]
)
def test_arguments_that_do_not_fit_the_weights(folder: Path, arguments: dict[str, Any]) -> None:
    raw = json.loads((folder / "card.json").read_text())
    raw["arguments"] = arguments
    (folder / "card.json").write_text(json.dumps(raw))
    with pytest.raises(WeightsError, match="does not fit the net pixels") as caught:
        open_runtime(open_weights(folder), runtime="torch", nets=lambda: NETS)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_an_input_of_the_wrong_shape_is_one_line(pixels_folder: Path, runtime: str) -> None:
    net = open_runtime(open_weights(pixels_folder), runtime=runtime, nets=lambda: NETS)
    with pytest.raises(WeightsError, match="fails to run") as caught:
        net.run(picture=np.zeros((1, 5, 8, 8), np.float32))
    assert "\n" not in str(caught.value)
    assert net.run(**picture(1, 8, 8))["means"].shape == (1, 4)  # and goes on


@pytest.mark.parametrize("runtime", ["onnx", "torch"])
def test_memory_that_is_not_there_is_a_memory_error(words_folder: Path, runtime: str) -> None:
    """Half a terabyte of input, which numpy's stride of 0 holds in 8 bytes."""
    net = open_runtime(open_weights(words_folder), runtime=runtime, nets=lambda: NETS)
    wide = np.broadcast_to(np.zeros((1, 1), np.int64), (1 << 13, 1 << 23))
    with pytest.raises(MemoryError):
        net.run(ids=wide, length=np.ones(1 << 13, np.int64))


def test_loading_needs_no_torch(pixels_folder: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys; from cnnapps.core.weights import open_weights;"
        "from cnnapps.core.runtime import open_runtime;"
        f"open_runtime(open_weights({str(pixels_folder)!r}));"
        "bad = {'torch', 'onnx', 'safetensors', 'scipy', 'matplotlib'} & set(sys.modules);"
        "print(sorted(bad))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert done.stderr == ""


def test_a_parameter_that_is_a_single_number(tmp_path: Path) -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.tensor(2.5))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    examples = [{"x": np.ones((n, 3), np.float32)} for n in (2, 1)]
    export(
        Scaled(), tmp_path / "x", card("x", "scaled"), examples=examples, axes={"x": {0: "n"}},
        outputs=["y"],
    )  # fmt: skip
    weights = open_weights(tmp_path / "x")
    assert weights.tensors()["scale"].shape == ()
    for runtime in ("onnx", "torch"):
        net = open_runtime(weights, runtime=runtime, nets=lambda: {"scaled": Scaled})
        assert net.run(x=np.ones((1, 3), np.float32))["y"].tolist() == [[2.5, 2.5, 2.5]]
