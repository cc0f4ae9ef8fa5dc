"""The course's checklist: each number that the slides or a paper state, beside what our code gives.

    python tests/checklist.py

computes every line and writes docs/checklist.md; tests/apps/inspect/test_checklist.py computes
them again and compares with the page. A line that differs is written as it is, and the test fails.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from cnnapps.apps.inspect.convolution import KERNELS, KERNELS_1D, convolve, correlate, rot180
from cnnapps.apps.inspect.geometry import EXERCISE, complexity, geometry
from cnnapps.apps.inspect.gradients import (
    conv_bias,
    conv_input,
    conv_weight,
    max_pool_input,
    mean_pool_input,
)
from cnnapps.apps.inspect.source import inspect_net
from cnnapps.apps.inspect.torchtrace import skeleton, trace_torch
from cnnapps.apps.inspect.trace import NetReport

PAGE = Path(__file__).resolve().parent.parent / "docs" / "checklist.md"
HEAD = """# The course's checklist

Each number that the slides (Qiu, *Neural Networks and Deep Learning*, chapter 5) or a paper state,
and what the code gives for it. Written by `python tests/checklist.py`; a test computes every line
again and compares. "of" is the place in this repository that computes the number.
"""

X = np.array(
    [[1, 1, 1, 1, 1], [-1, 0, -3, 0, 1], [2, 1, 1, -1, 0], [0, -1, 1, 2, 1], [1, 2, 1, 1, 1]], float
)
W = np.array([[1, 0, 0], [0, 0, 0], [0, 0, -1]], float)


@dataclass(frozen=True)
class Line:
    section: str
    what: str
    expected: Any
    measured: Callable[[], Any]
    of: str


def text(value: Any) -> str:
    """A matrix as rows, a number with separators."""
    if isinstance(value, np.ndarray):
        rows = np.atleast_2d(value)
        return "; ".join(" ".join(f"{v + 0.0:.6g}" for v in row) for row in rows)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    return str(value)


@cache
def report(name: str) -> NetReport:
    return inspect_net(name)[0]


def counted(net: Callable[[], nn.Module], *shape: int) -> NetReport:
    return trace_torch(skeleton(net), {"x": ((1, *shape), torch.float32)})


def matrix(text_: str) -> np.ndarray:
    return np.array([[float(v) for v in row.split()] for row in text_.split(";")])


def lines() -> Iterator[Line]:
    yield from _signals()
    yield from _sizes()
    yield from _pictures()
    yield from _parameters()
    yield from _gradients()
    yield from _costs()
    yield from _nets()


def _signals() -> Iterator[Line]:
    of, section = "apps/inspect/convolution.py", "One dimension"
    impulse = np.array([0.0, 0, 1, 0, 0, 0, 0])
    echo = np.array(KERNELS_1D["echo"])
    yield Line(section, "echo w = 1, 1/2, 1/4 of an impulse", np.array([1, 0.5, 0.25, 0, 0]),
               lambda: convolve(impulse, echo), of)  # fmt: skip
    high, low = np.array(KERNELS_1D["high-pass"]), np.array(KERNELS_1D["low-pass"])
    yield Line(section, "high-pass 1, -2, 1 of a constant", np.zeros(4),
               lambda: convolve(np.full(6, 7.0), high), of)  # fmt: skip
    yield Line(section, "low-pass 1/3, 1/3, 1/3 of a constant", np.full(4, 7.0),
               lambda: convolve(np.full(6, 7.0), low), of)  # fmt: skip


SIZES = [
    (5, 3, 1, 0, 3), (5, 3, 2, 0, 2), (5, 3, 1, 1, 5), (5, 3, 2, 1, 3), (7, 3, 2, 1, 4),
    (227, 11, 4, 0, 55), (224, 11, 4, 0, 54.25), (224, 7, 2, 3, 112.5),
]  # fmt: skip


def _sizes() -> Iterator[Line]:
    of, section = "apps/inspect/geometry.py", "Output length"
    for m, k, s, p, want in SIZES:
        yield Line(section, f"(M - K + 2P)/S + 1 for M {m}, K {k}, S {s}, P {p}", float(want),
                   lambda a=(m, k, s, p): geometry(a[0], a[1], stride=a[2], padding=a[3]).exact,
                   of)  # fmt: skip
    yield Line(section, "224, 11, 4, 0 by the framework", 54,
               lambda: geometry(224, 11, stride=4).output, of)  # fmt: skip
    for name, p, want in (("narrow", 0, 5), ("wide", 2, 9), ("same", 1, 7)):
        yield Line(section, f"M 7, K 3, P {p}: kind, outputs", (name, want),
                   lambda p=p: (geometry(7, 3, padding=p).name, geometry(7, 3, padding=p).output),
                   of)  # fmt: skip
    yield Line(section, "dilation 2 of K 3: reach", 5, lambda: geometry(9, 3, dilation=2).reach, of)
    yield Line(section, "transposed: M 5, K 3, S 2, P 1", 9,
               lambda: geometry(5, 3, stride=2, padding=1, transposed=True).output, of)  # fmt: skip


def _pictures() -> Iterator[Line]:
    of, section = "apps/inspect/convolution.py", "Two dimensions, on the slides' 5x5 X"
    want = matrix("0 -2 -1; 2 2 4; -1 0 0")
    yield Line(section, "W * X, true convolution with 1 0 0; 0 0 0; 0 0 -1", want,
               lambda: convolve(X, W), of)  # fmt: skip
    yield Line(section, "rot180(W) ⊗ X, cross-correlation", want,
               lambda: correlate(X, rot180(W)), of)  # fmt: skip
    yield Line(section, "W ⊗ X, the kernel not turned: the negative", -want,
               lambda: correlate(X, W), of)  # fmt: skip
    for name, numbers in (
        ("gaussian", ".0625 -.375 -.0625; .3125 .0625 .125; .5625 .8125 .9375"),
        ("laplacian", "-2 14 -2; -2 -6 7; 8 -1 -6"),
        ("emboss", "-3 0 6; -3 -5 -3; 0 0 -3"),
    ):
        yield Line(section, f"{name}, cross-correlation", matrix(numbers),
                   lambda n=name: correlate(X, np.array(KERNELS[n], float)), of)  # fmt: skip
    emboss = np.array(KERNELS["emboss"], float)
    yield Line(section, "emboss, true convolution: the negative", matrix("3 0 -6; 3 5 3; 0 0 3"),
               lambda: convolve(X, emboss), of)  # fmt: skip


def _parameters() -> Iterator[Line]:
    of, section = "apps/inspect/torchtrace.py", "Parameters"

    def both(make: Callable[[], nn.Module], *shape: int) -> Callable[[], int]:
        return lambda: counted(make, *shape).totals.parameters

    yield Line(section, "two 3x3 filters on 6x6", 20, both(lambda: nn.Conv2d(1, 2, 3), 1, 6, 6), of)
    full = lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 2))  # noqa: E731
    yield Line(section, "two full neurons on 6x6", 74, both(full, 1, 6, 6), of)
    six = lambda: nn.Conv2d(3, 6, 3, padding=1, stride=2)  # noqa: E731
    yield Line(section, "six 3x3x3 filters", 168, both(six, 3, 7, 7), of)
    yield Line(section, "their output on 7x7, stride 2, padding 1", "1x6x4x4",
               lambda: "x".join(map(str, counted(six, 3, 7, 7).layers[0].output)), of)  # fmt: skip

    def rows(name: str, least: int = 0) -> list[int]:
        return [r.parameters for r in report(name).layers if r.parameters > least]

    yield Line(section, "the slides' CNN, layer by layer", [416, 12_832, 15_690],
               lambda: rows("cnn"), "core/nets/cnn.py")  # fmt: skip
    yield Line(section, "the slides' LeNet, layer by layer", [156, 2_416, 30_840, 10_164, 850],
               lambda: rows("lenet-deck"), "core/nets/lenet.py")  # fmt: skip

    def c3() -> tuple[int, int]:
        from cnnapps.core.nets.lenet import C3_TABLE

        connections = sum(map(len, C3_TABLE))
        return connections, connections * 25 + 16

    yield Line(section, "LeNet-5's table of C3: K, and K·U·V + P", (60, 1_516), c3,
               "core/nets/lenet.py")  # fmt: skip
    yield Line(section, "C3 in the net: its parameters", True, lambda: 1_516 in rows("lenet5"),
               "core/nets/lenet.py")  # fmt: skip


def _gradients() -> Iterator[Line]:
    of, section = "apps/inspect/gradients.py", "Gradients by hand, largest difference to autograd"
    draw = np.random.default_rng(0)
    x, w, delta = draw.normal(size=(7, 6)), draw.normal(size=(3, 2)), draw.normal(size=(5, 5))
    a = torch.tensor(x[None, None], requires_grad=True)
    b = torch.tensor(w[None, None], requires_grad=True)
    c = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    torch.nn.functional.conv2d(a, b, c).backward(torch.tensor(delta[None, None]))

    def near(ours: Any, grad: Any) -> str:
        return (
            "< 1e-12" if np.abs(ours - grad.numpy().reshape(np.shape(ours))).max() < 1e-12 else "no"
        )

    yield Line(section, "dL/dW = δ ⊗ X", "< 1e-12", lambda: near(conv_weight(x, delta), b.grad), of)
    yield Line(section, "dL/dX = W * δ, true and wide", "< 1e-12",
               lambda: near(conv_input(w, delta), a.grad), of)  # fmt: skip
    yield Line(section, "dL/db = Σ δ", "< 1e-12", lambda: near(conv_bias(delta), c.grad), of)
    y, up = draw.integers(0, 3, (6, 4)).astype(float), draw.normal(size=(3, 2))

    def pooled(function: Any) -> Any:
        t = torch.tensor(y[None, None], requires_grad=True)
        function(t, 2).backward(torch.tensor(up[None, None]))
        return t.grad

    yield Line(section, "mean pooling: δ/|R|", "< 1e-12",
               lambda: near(mean_pool_input(up, 2), pooled(torch.nn.functional.avg_pool2d)),
               of)  # fmt: skip
    yield Line(section, "max pooling: δ to the first largest (with ties)", "< 1e-12",
               lambda: near(max_pool_input(y, up, 2), pooled(torch.nn.functional.max_pool2d)),
               of)  # fmt: skip


def _costs() -> Iterator[Line]:
    of, section = "apps/inspect/geometry.py", "Complexity exercise, 100x100x256 through 3x3"
    direct, with_1x1 = (complexity(layers) for layers in EXERCISE)
    yield Line(section, "directly: multiplications", 5_898_240_000, lambda: direct.time, of)
    yield Line(section, "directly: weights, outputs, space", (589_824, 2_560_000, 3_149_824),
               lambda: (direct.weights, direct.maps, direct.space), of)  # fmt: skip
    yield Line(section, "1x1 to 64 first: multiplications", 1_638_400_000,
               lambda: with_1x1.time, of)  # fmt: skip
    yield Line(section, "1x1 to 64 first: weights, outputs, space", (163_840, 3_200_000, 3_363_840),
               lambda: (with_1x1.weights, with_1x1.maps, with_1x1.space), of)  # fmt: skip


# name: parameters, MACs
NETS = {
    "cnn": (28_938, 2_838_080), "lenet-deck": (44_426, 281_640),
    "alexnet-deck": (46_764_746, 938_146_176), "vgg11-deck": (128_806_154, 7_547_232_256),
    "vgg11-deck-8": (2_018_346, 121_091_072), "nin-deck": (1_992_166, 762_297_352),
    "googlenet-deck": (5_977_530, 276_066_304), "resnet18-deck": (11_178_378, 1_734_890_496),
    "alexnet": (60_965_224, 724_406_816), "alexnet-torchvision": (61_100_840, 714_188_480),
    "vgg11": (132_863_336, 7_609_090_048), "vgg13": (133_047_848, 11_308_466_176),
    "vgg16-c": (133_638_952, 11_770_888_192), "vgg16": (138_357_544, 15_470_264_320),
    "vgg19": (143_667_240, 19_632_062_464), "vgg11-lrn": (132_863_336, 7_609_090_048),
    "googlenet": (6_998_552, 1_582_671_872), "googlenet-torchvision": (6_624_904, 1_498_376_192),
    "inception-v3": (23_834_568, 5_713_216_096), "resnet18": (11_689_512, 1_814_073_344),
    "resnet34": (21_797_672, 3_663_761_408), "resnet50": (25_557_032, 4_089_184_256),
    "resnet101": (44_549_160, 7_801_405_440), "resnet152": (60_192_808, 11_513_626_624),
    "squeezenet": (1_235_496, 349_151_936), "mobilenet-v2": (3_504_872, 300_774_272),
}  # fmt: skip
CIFAR = {20: 269_722, 32: 464_154, 44: 658_586, 56: 853_018, 110: 1_727_962}
GO = {128: (1_777_641, 641_043_584), 192: (3_882_793, 1_400_726_208),
      256: (6_798_953, 2_453_182_720), 384: (15_064_297, 5_436_417_408)}  # fmt: skip
INCEPTION = [163_696, 388_736, 376_176, 449_160, 510_104, 605_376, 868_352, 1_043_456, 1_444_080]


class _AlphaGo(nn.Module):
    """Silver et al. 2016: 5x5, eleven 3x3, 1x1 and a bias for each position."""

    def __init__(self, k: int) -> None:
        super().__init__()
        body = [nn.Conv2d(48, k, 5, padding=2), nn.ReLU()]
        for _ in range(11):
            body += [nn.Conv2d(k, k, 3, padding=1), nn.ReLU()]
        self.body = nn.Sequential(*body)
        self.head = nn.Conv2d(k, 1, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(361))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x)).flatten(1) + self.bias


def _nets() -> Iterator[Line]:
    section = "Nets: parameters, MACs"
    for name, want in NETS.items():
        yield Line(section, f"`{name}`", want,
                   lambda n=name: (report(n).totals.parameters, report(n).totals.macs),
                   f"inspect net {name}")  # fmt: skip
    for depth, want in CIFAR.items():
        yield Line(section, f"`resnet{depth}` (CIFAR), parameters", want,
                   lambda d=depth: report(f"resnet{d}").totals.parameters,
                   f"inspect net resnet{depth}")  # fmt: skip
    for k, want in GO.items():

        def go(k: int = k) -> tuple[int, int]:
            t = counted(lambda: _AlphaGo(k), 48, 19, 19).totals
            return t.parameters, t.macs

        yield Line(section, f"AlphaGo's policy, k = {k}", want, go, "apps/inspect/torchtrace.py")
    yield Line(section, "GoogLeNet: the slides say 4M; the paper's table gives", 6_998_552,
               lambda: report("googlenet").totals.parameters, "inspect net googlenet")  # fmt: skip
    yield Line("Receptive field", "two, three 3x3 layers", (5, 7), lambda: tuple(
        counted(lambda n=n: nn.Sequential(*(nn.Conv2d(1, 1, 3) for _ in range(n))), 1, 16, 16)
        .layers[-1].receptive_field[0] for n in (2, 3)), "apps/inspect/trace.py")  # fmt: skip


def page() -> str:
    """docs/checklist.md."""
    parts, section, bad = [HEAD], "", 0
    for line in lines():
        if line.section != section:
            section = line.section
            parts.append(
                f"\n## {section}\n\n| what | stated | computed | | of |\n|---|---|---|---|---|"
            )
        stated, got = text(line.expected), text(line.measured())
        bad += stated != got
        mark = "=" if stated == got else "**differs**"
        parts.append(f"| {line.what} | {stated} | {got} | {mark} | `{line.of}` |")
    count = sum(1 for _ in lines())
    parts.append(f"\n{count} lines, {bad} that differ.")
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    sys.exit("**differs**" in PAGE.read_text(encoding="utf-8"))
