"""The convolution blocks: the course's laws, the papers' counts, torch's own layers as oracle."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torchvision.models import inception as tv_inception
from torchvision.models import resnet as tv_resnet
from torchvision.models.googlenet import Inception as TvInception

from cnnapps.core import blocks
from cnnapps.core.blocks import (
    Bottleneck,
    Branches,
    ConvBlock,
    EndPad,
    GlobalPool,
    InceptionV1,
    InceptionV3A,
    InceptionV3B,
    InceptionV3C,
    InceptionV3D,
    InceptionV3E,
    InvertedResidual,
    NiN,
    Pool,
    Residual,
    Separable,
    StochasticDepth,
    TableConv,
    ZeroShortcut,
    max_over_time,
    output_length,
    padding_for,
    transposed_length,
)

torch.set_num_threads(1)
CONV = {1: nn.Conv1d, 2: nn.Conv2d}


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


# ------------------------------------------------------------------------------------ size laws


@pytest.mark.parametrize(
    ("inputs", "kernel", "stride", "padding", "outputs"),
    [
        (5, 3, 1, 0, 3),
        (5, 3, 2, 0, 2),
        (5, 3, 1, 1, 5),
        (5, 3, 2, 1, 3),
        (7, 3, 2, 1, 4),
        (227, 11, 4, 0, 55),
        (224, 11, 4, 0, 54),  # 54.25: the last inputs are not read
        (224, 7, 2, 3, 112),  # 112.5
    ],
)
def test_the_course_examples_of_the_size_law(
    inputs: int, kernel: int, stride: int, padding: int, outputs: int
) -> None:
    assert output_length(inputs, kernel, stride=stride, padding=padding) == outputs
    with torch.device("meta"):
        block = ConvBlock(1, 1, kernel=kernel, dims=1, stride=stride, padding=padding)
        assert block(torch.empty(1, 1, inputs)).shape == (1, 1, outputs)


axis = st.tuples(st.integers(1, 40), st.integers(1, 7), st.integers(1, 4), st.integers(1, 3))


@st.composite
def layers(draw: st.DrawFn) -> tuple[int, list[tuple[int, int, int, int]], list[int | str], int]:
    """(dims, an axis each: size, kernel, stride, dilation; paddings; groups)."""
    dims = draw(st.sampled_from((1, 2)))
    axes = [draw(axis) for _ in range(dims)]
    name = draw(st.sampled_from(("narrow", "same", "wide", "number")))
    if name == "same" and any(d * (k - 1) % 2 for _, k, _, d in axes):
        name = "wide"
    paddings: list[int | str] = [
        draw(st.integers(0, 8)) if name == "number" else name for _ in range(dims)
    ]
    return dims, axes, paddings, draw(st.sampled_from((1, 2, 4)))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(layers())
def test_output_length_is_what_torch_computes(
    layer: tuple[int, list[tuple[int, int, int, int]], list[int | str], int],
) -> None:
    dims, axes, paddings, groups = layer
    sizes, kernels, strides, dilations = zip(*axes, strict=True)
    pads = [
        padding_for(p, k, dilation=d)  # type: ignore[arg-type]
        for p, k, d in zip(paddings, kernels, dilations, strict=True)
    ]
    expected = [
        output_length(m, k, stride=s, padding=p, dilation=d)
        for (m, k, s, d), p in zip(axes, pads, strict=True)
    ]
    padding = paddings[0] if isinstance(paddings[0], str) else tuple(pads)
    with torch.device("meta"):
        block = ConvBlock(
            4,
            8,
            kernel=kernels,
            dims=dims,
            stride=strides,
            dilation=dilations,
            padding=padding,  # type: ignore[arg-type]
            groups=groups,
        )
        if min(expected) >= 1:
            assert block(torch.empty(2, 4, *sizes)).shape == (2, 8, *expected)
            oracle = CONV[dims](
                4, 8, kernels, stride=strides, padding=pads, dilation=dilations, groups=groups
            )
            assert parameters(block) == parameters(oracle)
        else:  # the kernel does not fit: torch refuses where the law says at most 0
            with pytest.raises(RuntimeError):
                block(torch.empty(2, 4, *sizes))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(dims=st.sampled_from((1, 2)), data=st.data())
def test_transposed_length_is_what_torch_computes_and_inverts_the_law(
    dims: int, data: st.DataObject
) -> None:
    m = data.draw(st.integers(1, 20))
    k, s, d = (data.draw(st.integers(1, n)) for n in (6, 4, 3))
    p = data.draw(st.integers(0, d * (k - 1)))
    extra = data.draw(st.integers(0, max(s, d) - 1))
    length = transposed_length(m, k, stride=s, padding=p, dilation=d, output_padding=extra)
    if length < 1:
        return
    with torch.device("meta"):
        block = ConvBlock(
            2,
            6,
            kernel=k,
            dims=dims,
            stride=s,
            padding=p,
            dilation=d,
            transposed=True,
            output_padding=extra,
            groups=2,
        )
        assert block(torch.empty(1, 2, *[m] * dims)).shape == (1, 6, *[length] * dims)
    if extra < s:
        assert output_length(length, k, stride=s, padding=p, dilation=d) == m


@settings(max_examples=200, deadline=None, derandomize=True)
@given(m=st.integers(1, 30), k=st.integers(1, 9), d=st.integers(1, 3))
def test_narrow_same_wide(m: int, k: int, d: int) -> None:
    reach = d * (k - 1) + 1
    assert output_length(m, k, padding=padding_for("narrow", k, dilation=d), dilation=d) == (
        m - reach + 1
    )
    assert output_length(m, k, padding=padding_for("wide", k, dilation=d), dilation=d) == (
        m + reach - 1
    )
    if reach % 2:
        assert output_length(m, k, padding=padding_for("same", k, dilation=d), dilation=d) == m
    else:
        with pytest.raises(ValueError, match="odd kernel reach"):
            padding_for("same", k, dilation=d)


@pytest.mark.parametrize("dims", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_a_block_computes_what_the_plain_layer_computes(dims: int, transposed: bool) -> None:
    torch.manual_seed(0)
    options = {"stride": 2, "padding": 2, "dilation": 2, "groups": 2}
    block = ConvBlock(
        4, 6, kernel=3, dims=dims, transposed=transposed, norm="batch", activation="relu", **options
    ).eval()
    table = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d} if transposed else CONV
    layer = table[dims](4, 6, 3, bias=False, **options)
    layer.weight.data.copy_(block.conv.weight)
    x = torch.randn(2, 4, *[9] * dims)
    norm = block.norm
    norm.running_mean.uniform_(-1, 1)
    norm.running_var.uniform_(0.5, 2)
    shape = (1, 6) + (1,) * dims
    y = (layer(x) - norm.running_mean.view(shape)) / (norm.running_var.view(shape) + 1e-5).sqrt()
    torch.testing.assert_close(block(x), y.clamp(min=0), rtol=1e-5, atol=1e-5)


def test_the_course_example_of_a_two_dimensional_convolution() -> None:
    x = torch.tensor(
        [[1, 1, 1, 1, 1], [-1, 0, -3, 0, 1], [2, 1, 1, -1, 0], [0, -1, 1, 2, 1], [1, 2, 1, 1, 1]]
    )
    kernel = torch.tensor([[1, 0, 0], [0, 0, 0], [0, 0, -1]])
    block = ConvBlock(1, 1, kernel=3, padding="narrow", activation=None, bias=False)
    block.conv.weight.data.copy_(kernel.rot90(2)[None, None])  # a true convolution flips
    y = block(x.float()[None, None])
    assert y[0, 0].tolist() == [[0, -2, -1], [2, 2, 4], [-1, 0, 0]]


def test_wrong_names_and_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="narrow, same, wide"):
        ConvBlock(1, 1, padding="valid")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="does not fit 1 dimension"):
        ConvBlock(1, 1, kernel=(3, 3), dims=1)
    with pytest.raises(ValueError, match="batch, group"):
        ConvBlock(1, 1, norm="layer")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="is none of relu"):
        ConvBlock(1, 1, activation="swish")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neither max nor mean"):
        Pool("median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="neither max nor mean"):
        GlobalPool("median")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="3 channels into 6 at stride 2"):
        Residual(3, 6, stride=2, project=False)


# ------------------------------------------------------------------------------ published counts


def test_counts_of_the_course() -> None:
    assert parameters(ConvBlock(1, 2, kernel=3)) == 20  # against 74 of two full neurons
    assert parameters(ConvBlock(3, 6, kernel=3)) == 168
    assert parameters(ConvBlock(1, 16, kernel=5)) == 416
    assert parameters(ConvBlock(16, 32, kernel=5)) == 12_832
    assert parameters(Residual(3, 3, bias=True)) == 180
    deck = Residual(3, 6, stride=2, bias=True, shortcut_norm=False)
    assert parameters(deck) == 546
    assert deck(torch.zeros(1, 3, 6, 6)).shape == (1, 6, 3, 3)


INCEPTION_V1 = {  # table 1 of Szegedy et al. 2015, and the counts of its blocks with biases
    "3a": ((192, 64, (96, 128), (16, 32), 32), 163_696),
    "3b": ((256, 128, (128, 192), (32, 96), 64), 388_736),
    "4a": ((480, 192, (96, 208), (16, 48), 64), 376_176),
    "4b": ((512, 160, (112, 224), (24, 64), 64), 449_160),
    "4c": ((512, 128, (128, 256), (24, 64), 64), 510_104),
    "4d": ((512, 112, (144, 288), (32, 64), 64), 605_376),
    "4e": ((528, 256, (160, 320), (32, 128), 128), 868_352),
    "5a": ((832, 256, (160, 320), (32, 128), 128), 1_043_456),
    "5b": ((832, 384, (192, 384), (48, 128), 128), 1_444_080),
}


@pytest.mark.parametrize("name", INCEPTION_V1)
def test_inception_v1_counts_and_channels(name: str) -> None:
    arguments, count = INCEPTION_V1[name]
    outputs = arguments[1] + arguments[2][1] + arguments[3][1] + arguments[4]
    channels = dict(zip(INCEPTION_V1, (256, 480, 512, 512, 512, 528, 832, 832, 1024), strict=True))
    with torch.device("meta"):
        block = InceptionV1(*arguments)
        assert parameters(block) == count
        assert block(torch.empty(2, arguments[0], 7, 9)).shape == (2, outputs, 7, 9)
    assert outputs == channels[name]


def match(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy torchvision's state into ours: the layers stand in the same order."""
    source = [t for n, t in theirs.state_dict().items() if not n.endswith("num_batches_tracked")]
    target = [t for n, t in ours.state_dict().items() if not n.endswith("num_batches_tracked")]
    assert [t.shape for t in source] == [t.shape for t in target]
    for a, b in zip(target, source, strict=True):
        b.uniform_(0.2, 1.0) if b.ndim == 1 else b.normal_(std=(2 / b[0].numel()) ** 0.5)
        a.copy_(b)


PAIRS: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], int, int]] = {
    "basic": (lambda: Residual(8, 8), lambda: tv_resnet.BasicBlock(8, 8), 8, 9),
    "basic, stride 2": (
        lambda: Residual(8, 16, stride=2),
        lambda: tv_resnet.BasicBlock(8, 16, 2, shortcut(8, 16, 2)),
        8,
        9,
    ),
    "bottleneck": (lambda: Bottleneck(32, 8, 32), lambda: tv_resnet.Bottleneck(32, 8), 32, 7),
    "bottleneck, stride 2": (
        lambda: Bottleneck(16, 8, 32, stride=2),
        lambda: tv_resnet.Bottleneck(16, 8, 2, shortcut(16, 32, 2)),
        16,
        7,
    ),
    "inception v1 with 3x3": (
        lambda: InceptionV1(12, 4, (3, 6), (2, 5), 3, branch3=3, norm="batch", norm_eps=1e-3),
        lambda: TvInception(12, 4, 3, 6, 2, 5, 3),
        12,
        6,
    ),
    "inception A": (lambda: InceptionV3A(24, 32), lambda: tv_inception.InceptionA(24, 32), 24, 9),
    "inception B": (lambda: InceptionV3B(24), lambda: tv_inception.InceptionB(24), 24, 9),
    "inception C": (lambda: InceptionV3C(32, 16), lambda: tv_inception.InceptionC(32, 16), 32, 9),
    "inception D": (lambda: InceptionV3D(24), lambda: tv_inception.InceptionD(24), 24, 9),
    "inception E": (lambda: InceptionV3E(24), lambda: tv_inception.InceptionE(24), 24, 5),
}


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


@pytest.mark.parametrize("name", PAIRS)
@torch.no_grad()
def test_equal_to_torchvision_with_the_same_weights(name: str) -> None:
    make_ours, make_theirs, channels, size = PAIRS[name]
    torch.manual_seed(1)
    ours, theirs = make_ours().eval(), make_theirs().eval()
    assert parameters(ours) == parameters(theirs)
    match(ours, theirs)
    x = torch.rand(2, channels, size, size)
    expected = theirs(x)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(ours(x), expected, rtol=1e-4, atol=1e-4)


def test_inception_v3_full_size_counts_and_shapes() -> None:
    """The blocks as inception_v3 strings them together: 288 -> 768 -> 1280 -> 2048 channels."""
    with torch.device("meta"):
        blocks_ = [InceptionV3A(288, 64), InceptionV3B(288), InceptionV3C(768, 192)]
        theirs = [
            tv_inception.InceptionA(288, 64),
            tv_inception.InceptionB(288),
            tv_inception.InceptionC(768, 192),
        ]
        blocks_ += [InceptionV3D(768), InceptionV3E(1280)]
        theirs += [tv_inception.InceptionD(768), tv_inception.InceptionE(1280)]
        x = torch.empty(1, 288, 35, 35)
        for ours, other in zip(blocks_, theirs, strict=True):
            assert parameters(ours) == parameters(other)
            y = ours(x)
            assert y.shape == other(x).shape
            x = y
        assert x.shape == (1, 2048, 8, 8)


@torch.no_grad()
def test_the_paper_s_bottleneck_has_its_stride_on_the_first_layer() -> None:
    block = Bottleneck(16, 8, 32, stride=2, stride_first=True)
    assert block.conv1.conv.stride == (2, 2)
    assert block.conv2.conv.stride == (1, 1)
    assert block(torch.zeros(1, 16, 7, 7)).shape == (1, 32, 4, 4)


@pytest.mark.parametrize("make", [Residual, lambda i, o, **k: Bottleneck(i, 4, o, **k)])
@pytest.mark.parametrize("norm", ["batch", "group", None])
@torch.no_grad()
def test_zero_init_begins_as_the_identity(make: Callable[..., nn.Module], norm: str) -> None:
    x = torch.rand(2, 8, 5, 5)  # positive: the last ReLU leaves it alone
    assert torch.equal(make(8, 8, norm=norm, zero_init=True)(x), x)
    assert not torch.equal(make(8, 8, norm=norm)(x), x)


@given(
    side=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_end_padding_gives_every_window_and_puts_the_odd_zero_last(
    side: tuple[int, int], kernel: int, stride: int
) -> None:
    x = EndPad(kernel, stride)(torch.ones(1, 1, *side))
    for axis, size in zip((2, 3), side, strict=True):
        outputs = -(-size // stride)
        assert output_length(x.shape[axis], kernel, stride=stride) == outputs
        line = x.amax(5 - axis).flatten()  # ones where the picture is
        before = int(line.argmax())
        after = len(line) - size - before
        assert 0 <= after - before <= 1
        # never more than needed: one zero less and the last window is gone
        short = output_length(len(line) - 1, kernel, stride=stride)
        assert before + after == 0 or short < outputs


def test_end_padding_differs_from_same_on_even_sides_only() -> None:
    torch.manual_seed(0)
    block = ConvBlock(3, 4, kernel=3, stride=2)
    end = ConvBlock(3, 4, kernel=3, stride=2, padding="narrow")
    end.load_state_dict(block.state_dict())
    odd, even = torch.randn(1, 3, 15, 15), torch.randn(1, 3, 16, 16)
    assert torch.allclose(block(odd), end(EndPad(3, 2)(odd)), atol=1e-6)
    assert not torch.allclose(block(even), end(EndPad(3, 2)(even)), atol=1e-2)


def test_a_table_convolution_is_a_dense_one_with_zeros() -> None:
    torch.manual_seed(0)
    table = [(0, 2), (1,), (0, 1, 2)]
    layer = TableConv(3, table, kernel=3)
    assert parameters(layer) == 6 * 9 + 3
    kernel = layer.kernel()
    for p in range(3):
        for d in range(3):
            assert (kernel[p, d] != 0).all() == (d in table[p]), (p, d)
    x = torch.randn(2, 3, 8, 8)
    y = layer(x)
    for p, inputs in enumerate(table):
        alone = nn.functional.conv2d(x[:, inputs], kernel[p : p + 1, inputs], layer.bias[p : p + 1])
        assert torch.allclose(y[:, p : p + 1], alone, atol=1e-5)
    # an unconnected input changes nothing, not even by its gradient
    x.requires_grad_()
    layer(x)[:, 1].sum().backward()
    assert x.grad is not None
    assert x.grad[:, 0].abs().sum() == 0 != x.grad[:, 1].abs().sum()


def test_the_zero_shortcut_has_no_weights_and_keeps_every_second_pixel() -> None:
    x = torch.arange(2 * 2 * 5 * 4, dtype=torch.float32).view(2, 2, 5, 4)
    y = ZeroShortcut(2, 5, stride=2)(x)
    assert y.shape == (2, 5, 3, 2)
    assert torch.equal(y[:, :2], x[:, :, ::2, ::2])
    assert y[:, 2:].abs().sum() == 0
    assert parameters(ZeroShortcut(2, 5)) == 0
    with pytest.raises(ValueError, match="5 channels can't be padded to 2"):
        ZeroShortcut(5, 2)


def test_stochastic_depth_drops_whole_pictures_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    layer = StochasticDepth(0.25)
    x = torch.ones(4000, 2, 3)
    y = layer(x)
    kept = y.amax((1, 2))
    assert torch.equal(y, kept[:, None, None].expand_as(y))
    assert kept.unique().tolist() == [0.0, pytest.approx(4 / 3)]
    assert abs(float(kept.mean()) - 1) < 0.03  # standard error 0.009
    assert torch.equal(layer.eval()(x), x)
    with pytest.raises(ValueError, match="below 1"):
        StochasticDepth(1.0)


def test_a_separable_layer_is_cheaper_by_the_paper_s_ratio() -> None:
    cheap = parameters(Separable(64, 128, norm=None))
    assert cheap == (64 * 9 + 64) + (64 * 128 + 128)
    assert parameters(ConvBlock(64, 128)) == 64 * 128 * 9 + 128


# ------------------------------------------------------------------------------------- pooling


@torch.no_grad()
def test_pools_against_their_formulas() -> None:
    x = torch.randn(2, 3, 7, 8)
    windows = x.unfold(2, 3, 2).unfold(3, 3, 2)
    assert torch.equal(Pool("max", 3, stride=2)(x), windows.amax((4, 5)))
    torch.testing.assert_close(Pool("mean", 3, stride=2)(x), windows.mean((4, 5)))
    padded = nn.functional.pad(x, (1, 1, 1, 1)).unfold(2, 3, 1).unfold(3, 3, 1).mean((4, 5))
    torch.testing.assert_close(Pool("mean", 3, stride=1, padding=1)(x), padded)  # zeros count
    assert torch.equal(GlobalPool("max")(x), x.amax((2, 3)))
    torch.testing.assert_close(GlobalPool()(x), x.mean((2, 3)))
    assert Pool("max", 2, dims=1, ceil=True)(x[:, :, 0, :7]).shape == (2, 3, 4)


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=6),
    extra=st.integers(0, 5),
    seed=st.integers(0, 999),
)
@torch.no_grad()
def test_max_over_time_sees_valid_positions_only(lengths: list[int], extra: int, seed: int) -> None:
    torch.manual_seed(seed)
    x = torch.randn(len(lengths), 4, max(lengths) + extra)
    valid = torch.tensor(lengths)
    alone = torch.stack([row[:, :n].amax(1) for row, n in zip(x, lengths, strict=True)])
    assert torch.equal(max_over_time(x, valid), alone)
    for row, n in zip(x, lengths, strict=True):
        row[:, n:] = float("inf")  # what stands in the padding has no say
    assert torch.equal(max_over_time(x, valid), alone)


def test_max_over_time_sends_no_gradient_into_padding() -> None:
    x = torch.randn(3, 2, 6, requires_grad=True)
    max_over_time(x, torch.tensor([2, 6, 1])).sum().backward()
    assert x.grad is not None
    assert x.grad.sum() == 6
    assert x.grad[0, :, 2:].abs().sum() == 0
    assert x.grad[2, :, 1:].abs().sum() == 0


# -------------------------------------------------------------- every block, every way to run it

Net = tuple[Callable[[], nn.Module], tuple[int, ...]]
EVERY: dict[str, Net] = {
    "conv 1-D": (lambda: ConvBlock(4, 6, dims=1, norm="group"), (2, 4, 9)),
    "conv 2-D": (lambda: ConvBlock(4, 6, norm="batch", activation="leaky_relu"), (2, 4, 9, 9)),
    "conv transposed": (
        lambda: ConvBlock(4, 6, stride=2, padding=1, transposed=True, activation="gelu"),
        (2, 4, 5, 5),
    ),
    "separable": (lambda: Separable(4, 6, stride=2, activation="silu"), (2, 4, 9, 9)),
    "separable 1-D": (lambda: Separable(4, 6, dims=1, norm="group"), (2, 4, 9)),
    "NiN": (lambda: NiN(4, 6, kernel=3, activation="tanh"), (2, 4, 9, 9)),
    "residual": (lambda: Residual(4, 6, stride=2, norm="group"), (2, 4, 9, 9)),
    "residual 1-D": (lambda: Residual(4, 4, dims=1, activation="relu6"), (2, 4, 9)),
    "bottleneck": (lambda: Bottleneck(4, 3, 6, stride=2), (2, 4, 9, 9)),
    "residual, option A": (
        lambda: Residual(4, 6, stride=2, shortcut=ZeroShortcut(4, 6, stride=2)),
        (2, 4, 9, 9),
    ),
    "inverted residual": (lambda: InvertedResidual(4, 4, expand=2, drop=0.1), (2, 4, 9, 9)),
    "inverted residual, strided": (
        lambda: InvertedResidual(4, 6, expand=1, kernel=5, stride=2, end_pad=True),
        (2, 4, 9, 9),
    ),
    "stochastic depth": (lambda: StochasticDepth(0.1), (2, 4, 9, 9)),
    "end pad": (lambda: nn.Sequential(EndPad(3, 2), ConvBlock(4, 4)), (2, 4, 9, 9)),
    "table": (lambda: TableConv(4, [(0, 2), (1, 3), (0, 1, 2, 3)], kernel=3), (2, 4, 9, 9)),
    "inception v1": (lambda: InceptionV1(4, 2, (2, 3), (2, 2), 2), (2, 4, 6, 6)),
    "inception A": (lambda: InceptionV3A(4, 8), (2, 4, 7, 7)),
    "inception B": (lambda: InceptionV3B(4), (2, 4, 9, 9)),
    "inception C": (lambda: InceptionV3C(4, 8), (2, 4, 7, 7)),
    "inception D": (lambda: InceptionV3D(4), (2, 4, 9, 9)),
    "inception E": (lambda: InceptionV3E(4), (2, 4, 5, 5)),
    "pools": (
        lambda: nn.Sequential(Pool("max"), Pool("mean", 3, stride=1, padding=1), GlobalPool()),
        (2, 4, 8, 8),
    ),
    "branches": (
        lambda: Branches(ConvBlock(4, 2), ConvBlock(4, 3, kernel=1), nn.Identity()),
        (2, 4, 6, 6),
    ),
}


def test_every_block_is_in_the_list() -> None:
    made = {type(m) for make, _ in EVERY.values() for m in make().modules()}
    classes = {
        c for c in vars(blocks).values() if isinstance(c, type) and c.__module__ == blocks.__name__
    }
    assert classes <= made | {Branches}


@pytest.mark.parametrize("name", EVERY)
def test_forward_and_backward_are_finite_and_reach_every_weight(name: str) -> None:
    make, shape = EVERY[name]
    torch.manual_seed(0)
    net = make()
    x = torch.randn(*shape, requires_grad=True)
    y = net(x)
    assert torch.isfinite(y).all()
    (y * torch.randn_like(y)).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert x.grad.abs().sum() > 0
    for path, parameter in net.named_parameters():
        assert parameter.grad is not None, path
        assert torch.isfinite(parameter.grad).all(), path
        before_norm = path.endswith("conv.bias")  # a norm takes out a bias before it
        assert before_norm or parameter.grad.abs().sum() > 0, path


@pytest.mark.parametrize("name", EVERY)
def test_it_runs_on_the_meta_device(name: str) -> None:
    """No block assumes a device: what runs without memory runs on CUDA."""
    make, shape = EVERY[name]
    with torch.device("meta"):
        net = make()
    y = net(torch.empty(*shape, device="meta"))
    assert y.device.type == "meta"
    assert y.shape == make()(torch.zeros(*shape)).shape


@pytest.mark.parametrize("name", EVERY)
def test_it_runs_under_bf16_autocast(name: str) -> None:
    make, shape = EVERY[name]
    torch.manual_seed(0)
    net = make().eval()
    x = torch.randn(*shape)
    with torch.no_grad():
        expected = net(x)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            y = net(x)
    scale = expected.abs().max()
    torch.testing.assert_close(y.float(), expected, rtol=0.1, atol=float(0.05 * scale))


@pytest.mark.parametrize("name", EVERY)
def test_it_compiles_without_a_graph_break(name: str) -> None:
    make, shape = EVERY[name]
    torch.manual_seed(0)
    torch._dynamo.reset()
    net = make().eval()
    compiled = torch.compile(net, backend="eager", fullgraph=True, dynamic=True)
    with torch.no_grad():
        for batch in (shape[0], shape[0] + 1):
            x = torch.randn(batch, *shape[1:])
            torch.testing.assert_close(compiled(x), net(x))


def test_max_over_time_compiles_and_runs_under_autocast() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(max_over_time, backend="eager", fullgraph=True)
    x, valid = torch.randn(3, 2, 6), torch.tensor([2, 6, 1])
    assert torch.equal(compiled(x, valid), max_over_time(x, valid))
    half = max_over_time(x.bfloat16(), valid)
    assert torch.equal(half, max_over_time(x, valid).bfloat16())
    meta: Tensor = max_over_time(x.to("meta"), valid.to("meta"))
    assert meta.shape == (3, 2)


@pytest.mark.parametrize("name", [n for n, (_, shape) in EVERY.items() if len(shape) == 4])
def test_channels_last_in_channels_last_out(name: str) -> None:
    make, shape = EVERY[name]
    if name == "pools":
        make = lambda: nn.Sequential(Pool("max"), Pool("mean", 3, stride=1, padding=1))  # noqa: E731
    net = make().eval().to(memory_format=torch.channels_last)
    x = torch.randn(*shape).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y = net(x)
        plain = net(x.contiguous())
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, plain, rtol=1e-4, atol=1e-5)
