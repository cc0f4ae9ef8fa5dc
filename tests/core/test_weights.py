"""Weights folders: what is found, what is read, and everything that is refused."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cnnapps.core import weights as module
from cnnapps.core.card import Card
from cnnapps.core.errors import WeightsError
from cnnapps.core.runtime import open_runtime
from cnnapps.core.weights import find, installed, open_weights, read_card, read_tensors
from cnnapps.tests.core.folders import forge
from cnnapps.tests.mutate import mutants


def refused(call: Callable[[], Any]) -> str:
    """The one printable line of the WeightsError that ``call`` must raise."""
    with pytest.raises(WeightsError) as caught:
        call()
    line = str(caught.value)
    assert line.isprintable()
    assert len(line) <= 1000
    return line


def opened(folder: Path) -> Any:
    return open_runtime(open_weights(folder))


# ---------------------------------------------------------------------------------- safetensors


def file_of(header: Any, data: bytes = b"", *, size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def entry(begin: int, end: int, shape: Any, dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


ONE = {"x": entry(0, 8, [2])}
HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "truncated"),
    "seven bytes": (b"\0" * 7, "truncated"),
    "header of 2**63 bytes": (file_of(ONE, bytes(8), size=2**63), "header of 9223372036854775808"),
    "header of 2**64 - 1 bytes": (b"\xff" * 8 + b"{}", "header of"),
    "header longer than the file": (file_of(b"{}", size=3), "header of 3"),
    "no JSON": (file_of(b"{x}"), "not JSON"),
    "no UTF-8": (file_of(b'{"\xff": 1}'), "not JSON"),
    "nested 100,000 deep": (file_of(b"[" * 100_000 + b"]" * 100_000), "not JSON"),
    "a list": (file_of([]), "not an object"),
    "a number of 5000 digits": (file_of(b'{"x": ' + b"9" * 5000 + b"}"), "not JSON"),
    "duplicate name": (
        file_of(b'{"x": %b, "x": %b}' % ((json.dumps(ONE["x"]).encode(),) * 2), bytes(8)),
        "duplicate",
    ),
    "duplicate key inside": (
        file_of(b'{"x": {"shape": [2], "shape": [2]}}', bytes(8)),
        "duplicate",
    ),
    "entry is a number": (file_of({"x": 3}), "malformed"),
    "entry is null": (file_of({"x": None}), "malformed"),
    "no dtype": (file_of({"x": {"shape": [2], "data_offsets": [0, 8]}}, bytes(8)), "dtype"),
    "unknown dtype": (file_of({"x": entry(0, 8, [2], "F33")}, bytes(8)), "unknown dtype 'F33'"),
    "dtype is a list": (file_of({"x": entry(0, 8, [2], [])}, bytes(8)), "malformed"),
    "no offsets": (file_of({"x": {"dtype": "F32", "shape": [2]}}, bytes(8)), "malformed"),
    "three offsets": (
        file_of({"x": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8, 9]}}, bytes(8)),
        "malformed",
    ),
    "offsets are strings": (
        file_of({"x": {"dtype": "F32", "shape": [2], "data_offsets": ["0", "8"]}}, bytes(8)),
        "whole numbers",
    ),
    "shape is a number": (file_of({"x": entry(0, 8, 2)}, bytes(8)), "malformed"),
    "shape is a string": (file_of({"x": entry(0, 8, "2")}, bytes(8)), "whole numbers"),
    "shape is fractional": (file_of({"x": entry(0, 8, [2.0])}, bytes(8)), "whole numbers"),
    "shape is true": (file_of({"x": entry(0, 4, [True])}, bytes(4)), "whole numbers"),
    "shape is negative": (file_of({"x": entry(0, 8, [-1, -2])}, bytes(8)), "whole numbers"),
    "shape product overflows": (
        file_of({"x": entry(0, 8, [2**62, 2**62, 2**62])}, bytes(8)),
        "impossible shape",
    ),
    "shape wraps around 2**64": (file_of({"x": entry(0, 8, [2**62 + 1, 4])}, bytes(8)), "shape"),
    "empty shape too big for numpy": (
        file_of({"x": entry(0, 0, [0, 2**62, 2**62])}),
        "impossible shape",
    ),
    "sixty dimensions": (file_of({"x": entry(0, 4, [1] * 60)}, bytes(4)), "impossible shape"),
    "shape and bytes differ": (file_of({"x": entry(0, 8, [3])}, bytes(8)), "don't fit"),
    "negative begin": (file_of({"x": entry(-8, 0, [2])}, bytes(8)), "whole numbers"),
    "end before begin": (file_of({"x": entry(8, 0, [2])}, bytes(8)), "don't fit"),
    "end beyond the file": (file_of({"x": entry(0, 16, [4])}, bytes(8)), "don't fit"),
    "overlap": (
        file_of({"x": entry(0, 8, [2]), "y": entry(4, 12, [2])}, bytes(12)),
        "don't fit",
    ),
    "the same bytes twice": (
        file_of({"x": entry(0, 8, [2]), "y": entry(0, 8, [2])}, bytes(8)),
        "fit",
    ),
    "hole in front": (file_of({"x": entry(4, 12, [2])}, bytes(12)), "don't fit"),
    "hole between": (
        file_of({"x": entry(0, 8, [2]), "y": entry(12, 20, [2])}, bytes(20)),
        "don't fit",
    ),
    "bytes behind": (file_of(ONE, bytes(9)), "1 bytes are no tensor's"),
    "bytes and no tensor": (file_of({}, bytes(4)), "4 bytes are no tensor's"),
    "a pickle": (pickle.dumps({"x": [1.0, 2.0]}, protocol=2), "header of"),
    "terminal escapes": (file_of({"\x1b[31mred\x07": entry(0, 8, [3])}, bytes(8)), "\\x1b[31mred"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_safetensors_are_refused_in_one_line(name: str) -> None:
    data, reason = HOSTILE[name]
    assert reason in refused(lambda: read_tensors(data, "x.safetensors"))


DTYPES = ("<f8", "<f4", "<f2", "<i8", "<i4", "<i2", "i1", "u1", "<u2", "<u4", "<u8", "?")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), max_size=12).filter(
            lambda s: s != "__metadata__"
        ),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 4), max_size=4)),
        min_size=1,  # of none at all, with metadata, safetensors 0.8 writes no JSON
        max_size=6,
    ),
    st.one_of(st.none(), st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=2)),
)
def test_reads_what_the_safetensors_library_writes(
    spec: dict[str, tuple[str, list[int]]], metadata: dict[str, str] | None
) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        name: np.asarray(9 * rng.standard_normal(shape)).astype(dtype)
        for name, (dtype, shape) in spec.items()
    }
    data = safetensors.numpy.save(tensors, metadata)
    ours = read_tensors(data, "x")
    assert ours.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert ours[name].dtype == tensor.dtype
        assert np.array_equal(ours[name], tensor)
        assert not ours[name].flags.writeable
    oracle = safetensors.numpy.load(data)
    assert all(np.array_equal(oracle[n], ours[n]) for n in ours)


def test_what_we_refuse_for_the_library_too_or_is_our_choice() -> None:
    """Stricter than the library only where it is said: duplicate names, unusual shapes."""
    looser = set()
    for name, (data, _) in HOSTILE.items():
        try:
            safetensors.numpy.load(data)
        except Exception:
            continue
        looser.add(name)
    assert looser <= {"duplicate name", "duplicate key inside", "sixty dimensions"}


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.integers(0, 10**9))
def test_mutants_of_a_safetensors_file_load_or_are_refused(seed: int) -> None:
    good = safetensors.numpy.save({"a": np.arange(6.0).reshape(2, 3), "b": np.zeros(0, "i1")})
    mutant = next(mutants(good, good, 1, seed))
    try:
        tensors = read_tensors(mutant, "x")
    except WeightsError as error:
        assert str(error).isprintable()
    else:
        assert sum(t.nbytes for t in tensors.values()) <= len(mutant)


# ------------------------------------------------------------------------------ folders and files


def test_a_good_folder_opens_and_its_bytes_are_what_was_checked(folder: Path) -> None:
    weights = open_weights(folder, app="demo")
    assert weights.card == read_card(folder)
    for name, data in weights.files.items():
        assert data == (folder / name).read_bytes()
        assert hashlib.sha256(data).hexdigest() == weights.card.files[name].sha256
    shutil.rmtree(folder)  # nothing is read twice
    assert open_runtime(weights).run(picture=np.zeros((1, 3, 8, 8), np.float32)).keys() == {
        "scores",
        "means",
    }
    assert "for demo, not for ocr" in refused(lambda: open_weights_of(weights.card, "ocr", folder))


def open_weights_of(card: Card, app: str, folder: Path) -> None:
    folder.mkdir()
    (folder / "card.json").write_text(card.to_json())
    open_weights(folder, app=app)


@pytest.mark.parametrize("name", ["model.safetensors", "graph.onnx"])
def test_a_hundred_flipped_bits_are_all_refused(folder: Path, name: str) -> None:
    rng = random.Random(name)
    path = folder / name
    good = path.read_bytes()
    places = [rng.randrange(len(good)) for _ in range(100)]
    # one of each kind of byte: header length, header, first and last tensor byte
    places += [0, 7, 8, 100, len(good) - 1]
    for at in places:
        path.write_bytes(good[:at] + bytes([good[at] ^ (1 << rng.randrange(8))]) + good[at + 1 :])
        assert f"{name} differs from the sha256" in refused(lambda: open_weights(folder))
    path.write_bytes(good)
    open_weights(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "graph.onnx", "card.json"])
def test_truncated_longer_and_missing_files(folder: Path, name: str) -> None:
    path = folder / name
    good = path.read_bytes()
    for data in (b"", good[:1], good[: len(good) // 2], good[:-2], good + b"x"):
        path.write_bytes(data)
        assert name in refused(lambda: open_weights(folder))
    path.unlink()
    assert f"{name}: No such file" in refused(lambda: open_weights(folder))


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", ["model.safetensors", "graph.onnx", "card.json"])
@pytest.mark.parametrize(
    ("become", "reason"),
    [
        (link, "symbolic link"),
        (pipe, "not a regular file"),
        (directory, "not a regular file"),
        (device, "symbolic link"),
    ],
)
def test_what_is_no_regular_file_is_refused_and_never_waited_for(
    folder: Path, name: str, become: Callable[[Path], None], reason: str
) -> None:
    become(folder / name)
    assert reason in refused(lambda: open_weights(folder))


def test_the_folder_itself_may_be_anything(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "Not a directory" in refused(lambda: open_weights(tmp_path / "file"))
    assert "No such file" in refused(lambda: open_weights(tmp_path / "none"))
    assert "card.json" in refused(lambda: open_weights("a\0b"))
    assert "card.json" in refused(lambda: open_weights("x" * 5000))


OUTSIDE = [
    "../../x",
    "../x",
    "../shared/../../x",
    "../shared/",
    "../shared",
    "/etc/passwd",
    "a/b",
    "..",
    ".",
    "",
    ".hidden",
    "shared/x",
    "..\\shared\\x",
    "C:\\x",
    "x\0y",
    "x\n",
    "../shared/x/y",
    "x" * 200,
    "é",
]


@pytest.mark.parametrize("place", OUTSIDE)
def test_a_card_never_leads_outside_its_folder(folder: Path, place: str) -> None:
    secret = folder.parent.parent / "x"
    secret.write_bytes(b"secret")
    raw = json.loads((folder / "card.json").read_text())
    raw["files"][place] = {"sha256": hashlib.sha256(b"secret").hexdigest(), "bytes": 6}
    (folder / "card.json").write_text(json.dumps(raw))
    assert "outside its folder" in refused(lambda: open_weights(folder))


def test_two_files_of_one_name_and_a_file_that_is_too_large(folder: Path) -> None:
    raw = json.loads((folder / "card.json").read_text())
    raw["files"]["../shared/graph.onnx"] = raw["files"]["graph.onnx"]
    (folder / "card.json").write_text(json.dumps(raw))
    assert "names graph.onnx twice" in refused(lambda: open_weights(folder))
    with open(folder / "card.json", "wb") as file:
        file.truncate(module.CARD_LIMIT + 1)
    assert "expected at most" in refused(lambda: open_weights(folder))


def test_a_tensor_in_two_files_is_refused(folder: Path) -> None:
    forge(folder, "more.safetensors", safetensors.numpy.save({"head.bias": np.zeros(4, "f2")}))
    assert "head.bias is in two files" in refused(open_weights(folder).tensors)


# ---------------------------------------------------------------------------------- forged graphs


def graph_of(nodes: list[Any], initialisers: list[Any], *, domain: str = "") -> bytes:
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, None),
        helper.make_tensor_value_info("means", TensorProto.FLOAT, None),
    ]
    graph = helper.make_graph(
        [*nodes, helper.make_node("Identity", ["scores"], ["means"])],
        "g",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, ["n", 3, "h", "w"])],
        outputs,
        initialisers,
    )
    imports = [helper.make_opsetid("", 20)]
    if domain:
        imports.append(helper.make_opsetid(domain, 1))
    return bytes(helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString())


def external(location: str, offset: int = 0, length: int = 16) -> Any:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def add(tensor: Any) -> bytes:
    """The tensor as a weight of the main graph."""
    return graph_of([helper.make_node("Add", ["picture", "w"], ["scores"])], [tensor])


def constant(tensor: Any) -> bytes:
    """The tensor as the attribute of a node."""
    node = helper.make_node("Constant", [], ["w"])
    node.attribute.add(name="value", type=onnx.AttributeProto.TENSOR).t.CopyFrom(tensor)
    return graph_of([node, helper.make_node("Add", ["picture", "w"], ["scores"])], [])


def branch(tensor: Any) -> bytes:
    """The tensor as a weight of a branch: ONNX Runtime looks for these on its own ways."""
    inner = helper.make_graph(
        [helper.make_node("Add", ["picture", "w"], ["out"])],
        "branch",
        [],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
        [tensor],
    )
    nodes = [
        helper.make_node("Equal", ["one", "one"], ["yes"]),
        helper.make_node("If", ["yes"], ["scores"], then_branch=inner, else_branch=inner),
    ]
    return graph_of(nodes, [numpy_helper.from_array(np.float32(1), "one")])


@pytest.mark.parametrize("make", [add, constant, branch])
@pytest.mark.parametrize(
    "location", ["../../x", "near", "./near", "/etc/passwd", "card.json", "", "fifo", "{absolute}"]
)
def test_a_graph_reads_no_file_that_was_not_checked(
    folder: Path, make: Callable[[Any], bytes], location: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bytes come from memory; a name that is not in the card leads nowhere, not even here."""
    here = folder.parent / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    os.mkfifo("fifo")
    for path in (here / "near", folder / "near", folder.parent.parent / "x"):
        path.write_bytes(np.ones(4, np.float32).tobytes())
    tensor = external(location.replace("{absolute}", str(here / "near")))
    forge(folder, "graph.onnx", make(tensor))
    assert "graph.onnx can't be loaded" in refused(lambda: opened(folder))


def test_the_same_without_any_safetensors(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    (folder / "near").write_bytes(np.ones(1 << 14, np.float32).tobytes())
    raw = json.loads((folder / "card.json").read_text())
    del raw["files"]["model.safetensors"]
    (folder / "card.json").write_text(json.dumps(raw))
    tensor = external("near", 0, 4 << 14)
    tensor.dims[:] = [1 << 14]
    for make in (add, constant, branch):
        forge(folder, "graph.onnx", make(tensor))
        assert "graph.onnx can't be loaded" in refused(lambda: opened(folder))


@pytest.mark.parametrize(
    ("offset", "length"), [(-8, 16), (2**62, 16), (0, 8), (0, 2**40), (10**9, 16)]
)
def test_offsets_beyond_the_weights_are_refused(folder: Path, offset: int, length: int) -> None:
    forge(folder, "graph.onnx", add(external("model.safetensors", offset, length)))
    assert "graph.onnx can't be loaded" in refused(lambda: opened(folder))


def test_operators_of_strangers_and_garbage(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    evil = helper.make_node("Run", ["picture"], ["scores"], domain="evil", command="touch x")
    for data in (
        graph_of([evil], [], domain="evil"),
        b"",
        b"\x00\xff" * 500,
        b"\x0a" + b"\xff" * 9 + b"\x01",
        (folder / "graph.onnx").read_bytes()[:-100],
        graph_of([evil], [], domain="evil").replace(b"Run", b"R\xd7n"),
    ):
        forge(folder, "graph.onnx", data)
        assert "graph.onnx can't be loaded" in refused(lambda: opened(folder))
    assert capfd.readouterr() == ("", ""), "the library has nothing to say of its own"


def test_bombs_of_terabytes_are_refused_or_a_memory_error(folder: Path) -> None:
    fill = helper.make_node("ConstantOfShape", ["size"], ["scores"])
    fixed = graph_of([fill], [numpy_helper.from_array(np.array([1 << 40]), "size")])
    nodes = [
        helper.make_node("Shape", ["picture"], ["shape"]),
        helper.make_node("Mul", ["shape", "factor"], ["size"]),
    ]
    factor = numpy_helper.from_array(np.array([1 << 10] * 4), "factor")
    for data in (fixed, graph_of([*nodes, fill], [factor])):
        forge(folder, "graph.onnx", data)
        with pytest.raises((MemoryError, WeightsError)):
            opened(folder).run(picture=np.zeros((1, 3, 8, 8), np.float32))


def test_graph_and_card_must_name_the_same_inputs_and_outputs(folder: Path) -> None:
    raw = json.loads((folder / "card.json").read_text())
    for field in ("inputs", "outputs"):
        forged = {**raw, field: {"other": {"dtype": "float32", "shape": ["n"]}}}
        (folder / "card.json").write_text(json.dumps(forged))
        assert "graph.onnx has ['picture']" in refused(lambda: opened(folder))


MUTATED = """
import sys
from pathlib import Path
from cnnapps.core.errors import WeightsError
from cnnapps.core.runtime import open_runtime
from cnnapps.core.weights import open_weights
from cnnapps.tests.core.folders import forge
from cnnapps.tests.mutate import mutants
import numpy as np
folder, name, honest, n, seed = Path(sys.argv[1]), sys.argv[2], *map(int, sys.argv[3:])
good = (folder / name).read_bytes()
other = (folder / "card.json").read_bytes()
answers = {"refused": 0, "loaded": 0, "unchanged": 0}
for number, mutant in enumerate(mutants(good, other, n, seed)):
    print(number, flush=True, file=sys.stderr)
    if mutant == good:
        answers["unchanged"] += 1
        continue
    if honest:
        (folder / name).write_bytes(mutant)
    else:
        forge(folder, name, mutant)
    try:
        net = open_runtime(open_weights(folder))
    except WeightsError as error:
        assert str(error).isprintable(), str(error)
        answers["refused"] += 1
    else:
        answers["loaded"] += 1
print(answers)
"""


def mutated(folder: Path, name: str, *, honest: bool, n: int, seed: int) -> dict[str, int]:
    """Open ``n`` mutants in a process of its own: a crash of the runtime would be a find too."""
    arguments = [str(folder), name, str(int(honest)), str(n), str(seed)]
    done = subprocess.run(
        [sys.executable, "-c", MUTATED, *arguments], capture_output=True, text=True, timeout=550
    )
    assert done.returncode == 0, f"mutant {done.stderr[-2000:]}"
    answers: dict[str, int] = eval(done.stdout)
    assert sum(answers.values()) == n
    return answers


@pytest.mark.parametrize("name", ["model.safetensors", "graph.onnx"])
def test_200_mutants_under_an_honest_card_are_all_refused(folder: Path, name: str) -> None:
    assert mutated(folder, name, honest=True, n=200, seed=1)["loaded"] == 0


@pytest.mark.parametrize("name", ["model.safetensors", "graph.onnx"])
def test_200_mutants_under_a_forged_card_load_or_are_refused(folder: Path, name: str) -> None:
    assert mutated(folder, name, honest=False, n=200, seed=2)["refused"] > 50


# ------------------------------------------------------------------------------ finding by name


def test_tags_apps_folders_and_what_wins(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    top = folder.parent.parent
    shutil.copytree(folder, folder.with_name("default"))
    (top / "demo" / "shared").mkdir()
    monkeypatch.setattr(module, "root", lambda: top)
    assert [name for name, _ in installed()] == ["demo/default", "demo/pixels"]
    assert find(None, "demo") == top / "demo" / "default"
    assert find("pixels", "demo") == find("demo/pixels", "demo") == folder
    assert find(str(folder), "demo") == find(folder, "demo") == folder
    here = tmp_path / "here"
    shutil.copytree(folder, here / "pixels")
    monkeypatch.chdir(here)
    assert find("pixels", "demo") == folder, "a tag wins"
    assert find("./pixels", "demo") == Path("pixels"), "a path is a folder"
    (here / "plain").mkdir()
    assert "no card.json in it" in refused(lambda: find("plain", "demo"))
    message = refused(lambda: find("pixel", "demo"))
    assert message == "pixel: no such weights; installed: demo/default, demo/pixels"
    for name in ("", "ocr/default", "demo/../demo/pixels", "a\0b", "x" * 5000, "\x1b[31m"):
        assert "no such weights" in refused(lambda name=name: find(name, "demo"))
    assert "no card.json in it" in refused(lambda: find("..", "demo"))


def test_every_installed_folder_is_whole() -> None:
    """The weights of this repository, as they would be shipped."""
    for name, folder in installed():
        weights = open_weights(folder)
        assert weights.card.name == name
        assert weights.card.licence, name
        assert weights.card.sources, name
        assert weights.card.size <= 25_000_000 * len(weights.files)
        if "graph.onnx" in weights.files:
            open_runtime(weights)
