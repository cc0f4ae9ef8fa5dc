"""`inspect net`: sums, parity of the two ways in, receptive fields, failures, hostile files."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from cnnapps.apps.inspect import load
from cnnapps.apps.inspect.onnxfile import read_onnx
from cnnapps.apps.inspect.peers import peers
from cnnapps.apps.inspect.shapes import trace_onnx
from cnnapps.apps.inspect.source import inspect_net, parse_shape
from cnnapps.apps.inspect.table import essential, table
from cnnapps.apps.inspect.torchtrace import skeleton, trace_torch
from cnnapps.apps.inspect.trace import NetReport, grouped
from cnnapps.core.errors import InputError
from cnnapps.core.nets import NETS, build
from cnnapps.core.results import to_dict
from cnnapps.core.weights import find, installed, open_weights, read_card

onnx = pytest.importorskip("onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402


def traced(net: nn.Module, *shape: int, batch: int = 1) -> NetReport:
    return trace_torch(net, {"x": ((batch, *shape), torch.float32)})


def saved(path: Path, nodes: list[Any], inputs: list[Any], outputs: list[Any], **more: Any) -> Path:
    """An ONNX file of our own, checked by onnx unless it is meant to be wrong."""
    stored = [numpy_helper.from_array(a, n) for n, a in more.pop("stored", {}).items()]
    graph = helper.make_graph(nodes, "g", inputs, outputs, stored)
    opsets = [helper.make_opsetid(d, v) for d, v in more.pop("opsets", {"": 20}).items()]
    model = helper.make_model(graph, opset_imports=opsets, **more)
    path.write_bytes(model.SerializeToString())
    return path


def info(name: str, shape: Any, kind: int = TensorProto.FLOAT) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


# ---------------------------------------------------------------------------------------- counts


def test_columns_sum_and_flops_are_twice_the_macs() -> None:
    report, _ = inspect_net("resnet18")
    t = report.totals
    assert t.macs == sum(r.macs for r in report.layers) == 1_814_073_344
    assert t.parameters == sum(r.parameters for r in report.layers) == 11_689_512
    assert all(r.flops == 2 * r.macs for r in report.layers)
    for term in ("bias", "norm", "activation", "pooling"):
        assert getattr(t.other, term) == sum(getattr(r.other, term) for r in report.layers)
    assert t.operations == t.macs + t.other.sum
    assert t.memory == sum(r.memory for r in report.layers)
    assert report.layers[0].memory == 4 * 64 * 112 * 112
    for depth in (1, 2, 3):
        joined = grouped(essential(report), depth)
        assert sum(r.macs for r in joined.layers) == t.macs
        assert sum(r.parameters for r in joined.layers) == t.parameters


@pytest.mark.parametrize(
    ("name", "totals"),
    [
        ("resnet18", [1_814_083_944, 1_819_065_856, 1_824_033_792, 1_825_313_768, 3_628_146_688]),
        ("googlenet", [1_498_391_752, 1_504_878_688, 1_511_332_032, 1_513_907_448, 2_996_752_384]),
    ],
)
def test_five_other_tools_totals_are_explained(name: str, totals: list[int]) -> None:
    """Measured with torchinfo, fvcore, thop, ptflops and torch on torchvision's modules."""
    models = pytest.importorskip("torchvision").models
    more = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    report = traced(skeleton(lambda: getattr(models, name)(**more)), 3, 224, 224)
    assert [p.total for p in peers(report)] == totals


def test_torch_s_own_counter_agrees_on_every_net_we_have() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    for name in ("lenet", "nin-deck", "squeezenet", "mobilenet-v2", "resnet20", "googlenet-deck"):
        net = skeleton(lambda name=name: build(name)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            net(torch.empty(2, *NETS[name].input, device="meta"))
        report, _ = inspect_net(name, batch=2)
        assert report.totals.flops == counter.get_total_flops(), name


def test_batch_multiplies_work_and_memory_not_parameters() -> None:
    one, four = inspect_net("lenet")[0].totals, inspect_net("lenet", batch=4)[0].totals
    assert four.macs == 4 * one.macs
    assert four.memory == 4 * one.memory
    assert four.other.bias == 4 * one.other.bias
    assert four.parameters == one.parameters


def test_peak_memory_of_a_chain_and_of_a_skip() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 1, 1), nn.Conv2d(1, 1, 1)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.b(self.a(x))

    map_ = 4 * 8 * 8
    assert (
        traced(nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU()), 1, 8, 8).totals.peak_memory == 2 * map_
    )
    assert traced(Skip(), 1, 8, 8).totals.peak_memory == 3 * map_


def test_unused_parameters_are_told() -> None:
    class Spare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.spare = nn.Linear(3, 2), nn.Linear(5, 7)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    report = traced(Spare(), 3)
    assert (report.totals.parameters, report.totals.unused_parameters) == (8, 42)
    assert "42 parameters take no part" in str(report)


# ------------------------------------------------------------------------------- receptive field


def seen_by(net: nn.Module, size: int) -> tuple[int, int]:
    """(inputs that the middle output reaches along a row, distance between outputs)."""
    x = torch.rand(1, 1, size, size, requires_grad=True, dtype=torch.float64)
    net = net.double()
    for p in net.parameters():
        nn.init.constant_(p, 1.0)
    y = net(x)
    rows = []
    for at in (y.shape[-1] // 2, y.shape[-1] // 2 + 1):
        (grad,) = torch.autograd.grad(y[0, 0, y.shape[2] // 2, at], x, retain_graph=True)
        rows.append(torch.nonzero(grad[0, 0].abs().sum(0)).flatten())
    return int(rows[0][-1] - rows[0][0]) + 1, int(rows[1][0] - rows[0][0])


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 1, 3), nn.Conv2d(1, 1, 3)],
        [nn.Conv2d(1, 1, 3, padding=1)] * 3,
        [nn.Conv2d(1, 1, 7, stride=2, padding=3), nn.AvgPool2d(3, 2), nn.Conv2d(1, 1, 3)],
        [nn.Conv2d(1, 1, 3, dilation=2), nn.Conv2d(1, 1, 5, dilation=3)],
        [nn.Conv2d(1, 1, 11, stride=4), nn.AvgPool2d(3, 2), nn.Conv2d(1, 1, 5, padding=2)],
    ],
)
def test_receptive_field_is_what_gradients_reach(layers: list[nn.Module]) -> None:
    net = nn.Sequential(*layers)
    field, stride = seen_by(net, 96)
    last = traced(net.float(), 1, 96, 96).layers[-1]
    assert (last.receptive_field, last.stride) == ((field, field), (stride, stride))


def test_branches_see_what_the_widest_sees_and_pooling_over_all_sees_all() -> None:
    report, _ = inspect_net("googlenet")
    widest = next(r for r in report.layers if r.kind == "concat")
    assert widest.receptive_field is not None
    assert report.totals.receptive_field == (224, 224)
    up = nn.Sequential(nn.Conv2d(1, 1, 3, stride=2), nn.ConvTranspose2d(1, 1, 2, stride=2))
    assert traced(up, 1, 17, 17).layers[-1].stride == (1, 1)


# -------------------------------------------------------------------------------------- failures


def test_the_table_goes_up_to_the_layer_that_fails() -> None:
    report, _ = inspect_net("alexnet", shape=(3, 100, 100))
    assert report.failure is not None
    text = table(report)
    assert "FAILS: expected" in text
    assert "conv" in text.splitlines()[3]
    report, _ = inspect_net("resnet18", shape=(1, 224, 224))
    assert str(report.failure).endswith("expected 3 channels, got 1 (1x1x224x224)")
    assert report.layers == ()


def test_too_small_and_wrong_features() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 5), nn.Flatten(), nn.Linear(50, 3))
    failure = traced(net, 1, 4, 9).failure
    assert failure is not None
    assert failure.expected.startswith("at least 5 along each axis")
    failure = traced(net, 1, 9, 10).failure
    assert failure is not None
    assert (failure.name, failure.expected, failure.got) == ("2", "50 features", "60 (1x60)")


# ------------------------------------------------------------------------------------ ONNX files


@pytest.mark.parametrize("name", [n for n, _ in installed()])
def test_every_shipped_net_by_its_graph(name: str) -> None:
    report, weights = inspect_net(name)
    card = read_card(find(name, name.partition("/")[0]))
    assert weights == name
    assert report.failure is None
    assert report.totals.macs > 0
    if "table" not in card.arguments and card.net != "distilled":
        stored = [t for t in open_weights(find(name, card.app)).tensors().values()]
        whole = sum(t.size for t in stored if t.dtype == np.float16 or t.dtype == np.int8)
        assert report.totals.parameters <= whole
    if card.app == "go-policy":
        assert report.totals.parameters == card.parameters


def test_ort_gives_the_shapes_that_we_infer() -> None:
    """All outputs of all steps of the Go net, run and compared."""
    import onnxruntime as ort

    from cnnapps.apps.inspect.onnxfile import add_outputs
    from cnnapps.apps.inspect.shapes import _Tracing

    weights = open_weights(find("default", "go-policy"))
    data = weights["graph.onnx"]
    model = read_onnx(data, "go", files=frozenset(weights.files))
    shapes = {"planes": (2, 22, 9, 9), "numbers": (2, 19)}
    tracing = _Tracing(model, shapes, "go")
    assert tracing.run().failure is None
    names = [n for n, v in tracing.values.items() if v.step is not None and n not in shapes]
    options = ort.SessionOptions()
    options.add_external_initializers_from_files_in_memory(
        ["model.safetensors"], [weights["model.safetensors"]], [len(weights["model.safetensors"])]
    )
    own = [v.name for v in model.graph.outputs]
    session = ort.InferenceSession(add_outputs(data, [n for n in names if n not in own]), options)
    feed = {n: np.zeros(s, np.float32) for n, s in shapes.items()}
    for name, array in zip(names, session.run(names, feed), strict=True):
        assert tuple(array.shape) == tracing.values[name].shape, name


def small(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    stored = {
        "w": draw.normal(size=(4, 3, 3, 3)).astype(np.float32), "b": np.zeros(4, np.float32),
        "fc.weight": draw.normal(size=(5, 4)).astype(np.float32), "fc.bias": np.ones(5, np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["m"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1),
        helper.make_node("GlobalAveragePool", ["m"], ["g"]),
        helper.make_node("Flatten", ["g"], ["f"]),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["y"], transB=1),
    ]
    return saved(tmp_path / "small.onnx", nodes, [info("x", ["n", 3, "h", "w"])],
                 [info("y", ["n", 5])], stored=stored)  # fmt: skip


def test_a_file_and_the_same_module_give_the_same_table(tmp_path: Path) -> None:
    path = small(tmp_path)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(3, 2, ceil_mode=True),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5),
    )  # fmt: skip
    ours, _ = inspect_net(str(path), shape=(3, 30, 41))
    theirs = traced(net, 3, 30, 41)
    for a, b in zip(essential(ours).layers, essential(theirs).layers, strict=True):
        assert (a.output, a.parameters, a.macs, a.other, a.memory, a.receptive_field) == (
            b.output, b.parameters, b.macs, b.other, b.memory, b.receptive_field)  # fmt: skip
    assert ours.totals == theirs.totals


def test_no_torch_and_no_onnx_for_a_file(tmp_path: Path) -> None:
    import subprocess
    import sys

    path = small(tmp_path)
    code = (
        "import sys\n"
        "sys.modules['torch'] = sys.modules['onnx'] = sys.modules['cv2'] = None\n"
        "from cnnapps.__main__ import main\n"
        f"main(['inspect', 'net', {str(path)!r}, '--input', '3x32x32', '--json'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["result"]["totals"]["macs"] == 4 * 27 * 16 * 16 + 20


BAD = {
    "outside": ("points to the file '../../x' outside its folder: refused", "../../x"),
    "absolute": ("outside its folder: refused", "/etc/passwd"),
    "beside": ("keeps weights in the file 'weights.bin'", "weights.bin"),
}


@pytest.mark.parametrize("case", BAD)
def test_external_data_is_refused(case: str, tmp_path: Path) -> None:
    reason, location = BAD[case]
    path = small(tmp_path)
    model = onnx.load(path)
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError) as error:
        inspect_net(str(path), shape=(3, 32, 32))
    assert reason in str(error.value)
    if case == "beside":
        report, _ = inspect_net(str(path), shape=(3, 32, 32), external=True)
        assert report.totals.parameters == 137
    else:
        with pytest.raises(InputError, match="refused"):
            inspect_net(str(path), shape=(3, 32, 32), external=True)


def test_custom_operators_and_unknown_ones_are_named(tmp_path: Path) -> None:
    nodes = [helper.make_node("Magic", ["x"], ["y"], domain="com.example")]
    path = saved(tmp_path / "a.onnx", nodes, [info("x", [1, 3, 8, 8])], [info("y", None)],
                 opsets={"": 20, "com.example": 1})  # fmt: skip
    with pytest.raises(InputError, match=r"custom operator com\.example\.Magic, which isn't ONNX"):
        inspect_net(str(path))
    path = saved(tmp_path / "b.onnx", [helper.make_node("Det", ["x"], ["y"])],
                 [info("x", [3, 3])], [info("y", [])])  # fmt: skip
    with pytest.raises(InputError, match="the shape of the operator Det isn't known"):
        inspect_net(str(path))


def test_a_tensor_of_four_terabytes_costs_nothing(tmp_path: Path) -> None:
    sizes = np.array([1 << 20, 1 << 20, 8], np.int64)
    nodes = [
        helper.make_node("ConstantOfShape", ["s"], ["z"]),
        helper.make_node("Add", ["x", "z"], ["y"]),
    ]
    path = saved(
        tmp_path / "a.onnx", nodes, [info("x", [1])], [info("y", None)], stored={"s": sizes}
    )
    report, _ = inspect_net(str(path))
    assert report.failure is not None
    assert "a tensor that fits a machine" in report.failure.expected


def test_a_shape_error_in_a_file(tmp_path: Path) -> None:
    report, _ = inspect_net(str(small(tmp_path)), shape=(1, 32, 32))
    assert report.failure is not None
    assert report.failure.expected == "3 channels"


def mutants(data: bytes, count: int) -> Iterator[bytes]:
    draw = np.random.default_rng(1)
    for _ in range(count):
        out = bytearray(data)
        for _ in range(int(draw.integers(1, 9))):
            at = int(draw.integers(len(out)))
            kind = int(draw.integers(4))
            if kind == 0:
                out[at] ^= 1 << int(draw.integers(8))
            elif kind == 1:
                out[at : at + 4] = struct.pack("<I", int(draw.integers(1 << 32)))
            elif kind == 2:
                del out[at : at + int(draw.integers(1, 20))]
            else:
                out[at:at] = out[max(0, at - 9) : at]
            if not out:
                break
        yield bytes(out)


def test_damaged_files_are_answered_or_refused(tmp_path: Path) -> None:
    whole = small(tmp_path).read_bytes()
    for data in [b"", b"\x08", whole[:40], b"\x89PNG" + whole, *mutants(whole, 400)]:
        try:
            model = read_onnx(data, "x.onnx")
            shapes = {
                v.name: tuple(n if isinstance(n, int) and n < 99 else 8 for n in v.shape or (1,))
                for v in model.graph.inputs if v.name not in model.graph.stored
            }  # fmt: skip
            trace_onnx(model, shapes)
        except InputError as error:
            assert "\n" not in str(error)


# ------------------------------------------------------------------------------------- interface


def test_contract_of_the_json() -> None:
    report, _ = inspect_net("lenet")
    raw = to_dict(report)
    assert set(raw) == {"layers", "totals"}
    assert set(raw["layers"][0]) == {
        "name", "kind", "output", "parameters", "macs", "flops", "other", "memory",
        "receptive_field", "stride",
    }  # fmt: skip
    assert set(raw["layers"][0]["other"]) == {"bias", "norm", "activation", "pooling"}


def test_load_and_shapes() -> None:
    assert load(batch=2)("lenet").totals.macs == 2 * load()("lenet").totals.macs
    assert parse_shape("3x224×224") == (3, 224, 224)
    for bad in ("", "x", "3x", "3xax4", "0x2", "-1x2", "3x99999999999"):
        with pytest.raises(ValueError):
            parse_shape(bad)


def test_other_channels_and_names_that_are_none() -> None:
    report, _ = inspect_net("resnet20", arguments={"channels": 1, "size": 28, "classes": 26})
    assert report.inputs[0][1] == (1, 1, 28, 28)
    assert report.layers[-1].output == (1, 26)
    with pytest.raises(InputError, match="did you mean resnet18"):
        inspect_net("resnet81")
    with pytest.raises(InputError, match="no such file"):
        inspect_net("nothing.onnx")
    with pytest.raises(InputError, match="can't be built so"):
        inspect_net("resnet18", arguments={"colour": 3})
