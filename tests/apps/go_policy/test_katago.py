"""KataGo's file format, and its small net as the warm start."""

from __future__ import annotations

import gzip
import lzma
import struct
from pathlib import Path

import numpy as np
import pytest

from cnnapps.apps.go_policy import data, katago
from cnnapps.apps.go_policy.planes import symmetries
from cnnapps.core.errors import InputError

SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "go"
NET = SHARED / "katago-g170-b6c96-s175395328-d26788732.bin.gz"
needs_net = pytest.mark.skipif(not NET.exists(), reason="needs ../shared/data/go")


# -------------------------------------------------------------------- a small net, written here
class Writer:
    """Writes the format, with random weights."""

    def __init__(self, seed: int = 0) -> None:
        self.out = bytearray()
        self.rng = np.random.default_rng(seed)
        self.arrays: dict[str, np.ndarray] = {}

    def words(self, *words: object) -> None:
        self.out += "".join(f"{w}\n" for w in words).encode()

    def array(self, name: str, *shape: int, positive: bool = False) -> None:
        values = self.rng.normal(size=shape).astype(np.float32)
        self.arrays[name] = np.abs(values) + np.float32(0.5) if positive else values
        self.out += b"@BIN@" + self.arrays[name].astype("<f4").tobytes() + b"\n"

    def conv(self, name: str, k: int, a: int, b: int) -> None:
        self.words(name, k, k, a, b, 1, 1)
        self.array(name, k, k, a, b)

    def matmul(self, name: str, a: int, b: int) -> None:
        self.words(name, a, b)
        self.array(name, a, b)

    def norm(self, name: str, c: int, *, scale: bool = False, bias: bool = True) -> None:
        self.words(name, c, 0.001, int(scale), int(bias))
        self.array(name + ".mean", c)
        self.array(name + ".variance", c, positive=True)
        if scale:
            self.array(name + ".scale", c)
        if bias:
            self.array(name + ".bias", c)
        self.words(name + ".relu")

    def net(self) -> bytes:
        self.words("small", 8, 3, 2, "trunk", 2, 4, 4, 3, 2, 2)
        self.conv("stem", 5, 3, 4)
        self.matmul("numbers", 2, 4)
        self.words("ordinary_block", "one")
        self.norm("one.n1", 4)
        self.conv("one.c1", 3, 4, 4)
        self.norm("one.n2", 4, scale=True)
        self.conv("one.c2", 3, 4, 4)
        self.words("gpool_block", "two")
        self.norm("two.n1", 4)
        self.conv("two.c1", 3, 4, 3)
        self.conv("two.g", 3, 4, 2)
        self.norm("two.ng", 2)
        self.matmul("two.m", 6, 3)
        self.norm("two.n2", 3, scale=True)
        self.conv("two.c2", 3, 3, 4)
        self.norm("trunk.n", 4, bias=False)
        self.words("policyhead")
        self.conv("p", 1, 4, 2)
        self.conv("g", 1, 4, 2)
        self.norm("ng", 2)
        self.matmul("m", 6, 2)
        self.norm("np", 2)
        self.conv("out", 1, 2, 2)
        self.matmul("pass", 6, 2)
        self.words("valuehead", "is not read")
        return bytes(self.out)


@pytest.fixture
def written(tmp_path: Path) -> tuple[Path, Writer]:
    writer = Writer()
    path = tmp_path / "small.bin.gz"
    path.write_bytes(gzip.compress(writer.net()))
    return path, writer


def direct(w: dict[str, np.ndarray], planes: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    """The small net in NumPy loops, batch norms as they stand in the file."""

    def conv(x: np.ndarray, name: str) -> np.ndarray:
        k = w[name].shape[0]
        y = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
        out = np.zeros((w[name].shape[3], *x.shape[1:]))
        for i in range(k):
            for j in range(k):
                part = y[:, i : i + x.shape[1], j : j + x.shape[2]]
                out += np.einsum("chw,co->ohw", part, w[name][i, j])
        return out

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        scale = w.get(name + ".scale", 1) / np.sqrt(w[name + ".variance"] + 0.001)
        y = (x.T - w[name + ".mean"]) * scale + w.get(name + ".bias", 0)
        return np.maximum(y, 0).T

    def pool(x: np.ndarray) -> np.ndarray:
        mean = x.mean((1, 2))
        return np.concatenate((mean, mean * (x.shape[1] - 14) * 0.1, x.max((1, 2))))

    def at_all(v: np.ndarray) -> np.ndarray:
        return v[:, None, None]

    x = conv(planes, "stem") + at_all(numbers @ w["numbers"])
    x = x + conv(norm(conv(norm(x, "one.n1"), "one.c1"), "one.n2"), "one.c2")
    y = norm(x, "two.n1")
    board = pool(norm(conv(y, "two.g"), "two.ng")) @ w["two.m"]
    x = x + conv(norm(conv(y, "two.c1") + at_all(board), "two.n2"), "two.c2")
    x = norm(x, "trunk.n")
    pooled = pool(norm(conv(x, "g"), "ng"))
    p = norm(conv(x, "p") + at_all(pooled @ w["m"]), "np")
    points = np.einsum("chw,c->hw", p, w["out"][0, 0, :, 0]).ravel()
    return np.append(points, pooled @ w["pass"][:, 0])


@pytest.mark.torch
@pytest.mark.parametrize("size", [19, 9])
def test_the_net_computes_what_the_file_says(written: tuple[Path, Writer], size: int) -> None:
    import torch

    from cnnapps.apps.go_policy.net import from_katago

    path, writer = written
    net = from_katago(katago.read_net(path)).eval()
    rng = np.random.default_rng(1)
    planes = rng.integers(0, 2, (2, 3, size, size)).astype(np.float32)
    numbers = rng.normal(size=(2, 2)).astype(np.float32)
    with torch.no_grad():
        ours = net(torch.from_numpy(planes), torch.from_numpy(numbers)).numpy()
    for i in range(2):
        expected = direct(writer.arrays, planes[i], numbers[i])
        np.testing.assert_allclose(ours[i], expected, rtol=1e-4, atol=1e-4 * abs(expected).max())


@pytest.mark.torch
def test_new_blocks_change_no_answer(written: tuple[Path, Writer]) -> None:
    import torch

    from cnnapps.apps.go_policy.net import from_katago, grown

    plain = from_katago(katago.read_net(written[0])).eval()
    longer = grown(plain, [(0, "o"), (1, "p"), (2, "o"), (2, "p")]).eval()
    assert longer.sizes["blocks"] == "o" + plain.sizes["blocks"][0] + "p" + (
        plain.sizes["blocks"][1] + "op"
    )
    x, g = torch.rand(3, 3, 9, 9), torch.rand(3, 2)
    with torch.no_grad():
        assert torch.equal(plain(x, g), longer(x, g))
    # ... but they learn from the first step on
    longer(x, g).square().sum().backward()
    assert longer.blocks[0].conv2.conv.weight.grad.abs().sum() > 0


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    good = Writer().net()
    cut = len(good) - 40
    spread = [good.replace(b"gpool_block", b"magic_block"), good.replace(b"small\n8", b"small\n99")]
    spread += [good[: cut // 7 * i] for i in range(7)]
    spread += [good.replace(b"\n1\n1\n@BIN@", b"\n2\n1\n@BIN@", 1), b"", b"x" * 1000]
    first = good.index(b"@BIN@") + 5
    spread.append(good[:first] + struct.pack("<f", float("nan")) + good[first + 4 :])
    for i, bad in enumerate(spread):
        path = tmp_path / f"bad{i}.bin.gz"
        path.write_bytes(gzip.compress(bad))
        with pytest.raises(InputError, match=f"bad{i}.bin.gz: [^\n]+$"):
            katago.read_net(path)
    path.write_bytes(gzip.compress(good)[:-30])
    with pytest.raises(InputError, match="can't be read as gzip"):
        katago.read_net(path)
    path.write_bytes(good)
    with pytest.raises(InputError, match="can't be read as gzip"):
        katago.read_net(path)
    with pytest.raises(InputError):
        katago.read_net(tmp_path / "missing")


@needs_net
def test_the_published_net_is_read() -> None:
    net = katago.read_net(NET)
    assert (net.name, net.version, net.planes, net.globals) == (
        "g170-b6c96-s175395328-d26788732", 8, 22, 19,
    )  # fmt: skip
    assert [b.conv_pool is not None for b in net.blocks] == [False, False, True, False, True, False]
    assert net.conv.shape == (96, 22, 5, 5) and net.head.conv.shape == (1, 32, 1, 1)


@needs_net
@pytest.mark.torch
@pytest.mark.slow
def test_the_published_net_answers_as_another_reader_does() -> None:
    """The five best moves of 200 positions, against a reader written independently.

    The two differ where their ladder search does: in one position out of twenty.
    """
    import torch

    from cnnapps.apps.go_policy.net import from_katago

    games = data.pack_games([SHARED / "test-positions.tsv.xz"])
    positions = data.last_positions(games)[:200]
    arrays = data.encode(games, positions, "v7")
    net = from_katago(katago.read_net(NET)).eval()
    planes = torch.from_numpy(arrays["planes"]).float().reshape(-1, 22, 19, 19)
    with torch.inference_mode():
        logits = net(planes, torch.from_numpy(arrays["numbers"]))[:, :361].numpy()
    logits[arrays["legal"] == 0] = -np.inf
    with lzma.open(SHARED / "katago-b6c96-on-test.tsv.xz", "rt") as file:
        rows = [line.rstrip("\n").split("\t") for line in file][1:201]
    same = 0
    for row, z in zip(rows, logits, strict=True):
        p = np.exp(z - z.max()) / np.exp(z - z.max()).sum()
        best = [pair.split(":") for pair in row[3].split()]
        theirs = {(ord(m[1]) - 97) * 19 + ord(m[0]) - 97: float(q) for m, q in best}
        same += all(abs(p[m] - q) < 2e-4 for m, q in theirs.items())
    assert same >= 185
    top1 = np.mean(logits.argmax(1) == arrays["target"])
    assert 0.35 < top1 < 0.55
    assert np.array_equal(symmetries(19)[0], np.arange(361))
