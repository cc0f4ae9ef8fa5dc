"""The convolution blocks that every net here is built from, 1-D and 2-D. Read from top to bottom.

A convolutional layer slides K weights over M inputs, S steps at a time, with P zeros added on each
side, and so has (M - K + 2P)/S + 1 outputs. Everything below is that, repeated and combined:

    sizes        output_length, transposed_length, padding_for
    one layer    ConvBlock (convolution, norm, activation), Pool, GlobalPool, max_over_time
    cheaper      Separable (depthwise, then pointwise), NiN (1x1 convolutions as a small MLP),
                 TableConv (a connection table: not every input feeds every output)
    deeper       Residual, Bottleneck (He et al. 2016), InvertedResidual (Sandler et al. 2018)
    side by side InceptionV1 (Szegedy et al. 2015), InceptionV3A ... InceptionV3E (2016)

Axes are named N batch, C channels, L length, H height, W width. ``dims`` is 1 for (N, C, L) and 2
for (N, C, H, W). No block looks at its device or dtype, none calls ``.item()`` or branches on
data, so all of them run on CUDA, under autocast, in channels_last and through torch.compile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.core.sizes import output_length, transposed_length

__all__ = [
    "Bottleneck",
    "Branches",
    "ConvBlock",
    "EndPad",
    "GlobalPool",
    "InceptionV1",
    "InceptionV3A",
    "InceptionV3B",
    "InceptionV3C",
    "InceptionV3D",
    "InceptionV3E",
    "InvertedResidual",
    "NiN",
    "Pool",
    "Residual",
    "Separable",
    "StochasticDepth",
    "TableConv",
    "ZeroShortcut",
    "max_over_time",
    "output_length",
    "padding_for",
    "transposed_length",
]

Size = int | tuple[int, ...]
Padding = Literal["narrow", "same", "wide"] | Size
Norm = Literal["batch", "group"] | None
Activation = Literal["relu", "relu6", "leaky_relu", "gelu", "silu", "sigmoid", "tanh"] | None

_CONV = {1: nn.Conv1d, 2: nn.Conv2d}
_CONV_TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d}
_BATCH_NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d}
_MAX_POOL = {1: nn.MaxPool1d, 2: nn.MaxPool2d}
_MEAN_POOL = {1: nn.AvgPool1d, 2: nn.AvgPool2d}


# ---------------------------------------------------------------------------------------- sizes


def padding_for(name: Padding, kernel: int, *, dilation: int = 1) -> int:
    """Zeros per side that ``name`` means: narrow 0, same D(K - 1)/2, wide D(K - 1).

    At stride 1: narrow gives M - K + 1 outputs, same gives M, wide gives M + K - 1. "same" needs
    an odd reach, since an even one can't be centred: ValueError.
    """
    if isinstance(name, int):
        return name
    reach = dilation * (kernel - 1)
    if name == "narrow":
        return 0
    if name == "wide":
        return reach
    if name == "same":
        if reach % 2:
            raise ValueError(f"'same' padding needs an odd kernel reach, got {reach + 1}")
        return reach // 2
    raise ValueError(f"padding {name!r} is none of narrow, same, wide or a number")


def _spread(size: Size, dims: int) -> tuple[int, ...]:
    """3 -> (3, 3) in two dimensions; a tuple must have ``dims`` entries."""
    sizes = (size,) * dims if isinstance(size, int) else tuple(size)
    if len(sizes) != dims:
        raise ValueError(f"{sizes} does not fit {dims} dimension(s)")
    return sizes


# ------------------------------------------------------------------------------------ one layer


def make_norm(norm: Norm, channels: int, *, dims: int, eps: float = 1e-5) -> nn.Module:
    """Batch norm, or group norm in up to 8 groups (the same alone and in any batch)."""
    if norm is None:
        return nn.Identity()
    if norm == "batch":
        return _BATCH_NORM[dims](channels, eps=eps)
    if norm == "group":
        groups = next(g for g in (8, 4, 2, 1) if channels % g == 0)
        return nn.GroupNorm(groups, channels, eps=eps)
    raise ValueError(f"norm {norm!r} is none of batch, group, None")


def make_activation(activation: Activation) -> nn.Module:
    """The named non-linearity; None is the identity. Never in place."""
    table: dict[str, type[nn.Module]] = {
        "relu": nn.ReLU,
        "relu6": nn.ReLU6,
        "leaky_relu": nn.LeakyReLU,
        "gelu": nn.GELU,
        "silu": nn.SiLU,
        "sigmoid": nn.Sigmoid,
        "tanh": nn.Tanh,
    }
    if activation is None:
        return nn.Identity()
    if activation not in table:
        raise ValueError(f"activation {activation!r} is none of {', '.join(table)}, None")
    return table[activation]()


class ConvBlock(nn.Module):
    """Convolution, norm, activation: (N, in, *size) -> (N, out, *size').

    size' is ``output_length`` of each axis, or ``transposed_length`` with ``transposed=True``.
    ``groups`` splits the channels into independent convolutions (AlexNet used 2 for its two GPUs;
    groups = channels is a depthwise convolution). The convolution has a bias unless a norm, which
    has its own, follows.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: Size = 3,
        dims: int = 2,
        stride: Size = 1,
        padding: Padding = "same",
        dilation: Size = 1,
        groups: int = 1,
        transposed: bool = False,
        output_padding: Size = 0,
        norm: Norm = None,
        norm_eps: float = 1e-5,
        activation: Activation = "relu",
        bias: bool | None = None,
    ) -> None:
        super().__init__()
        kernels = _spread(kernel, dims)
        dilations = _spread(dilation, dims)
        if isinstance(padding, str):
            pads = tuple(
                padding_for(padding, k, dilation=d) for k, d in zip(kernels, dilations, strict=True)
            )
        else:
            pads = _spread(padding, dims)
        options = {
            "stride": _spread(stride, dims),
            "padding": pads,
            "dilation": dilations,
            "groups": groups,
            "bias": norm is None if bias is None else bias,
        }
        self.conv: nn.Module
        if transposed:
            options["output_padding"] = _spread(output_padding, dims)
            self.conv = _CONV_TRANSPOSED[dims](inputs, outputs, kernels, **options)  # type: ignore[arg-type]
        else:
            self.conv = _CONV[dims](inputs, outputs, kernels, **options)  # type: ignore[arg-type]
        self.norm = make_norm(norm, outputs, dims=dims, eps=norm_eps)
        self.activation = make_activation(activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # (N, outputs, *size')
        return self.activation(self.norm(x))  # (N, outputs, *size')


class EndPad(nn.Module):
    """Zeros so that a narrow convolution has ceil(M/S) outputs; the odd zero goes to the end.

    (N, C, H, W) -> (N, C, H', W'). TensorFlow's "SAME": a kernel of 3 at stride 2 on an even side
    gets 0 zeros in front and 1 behind, where "same" puts one on each side and so looks at windows
    one pixel earlier. Weights trained with the one are wrong with the other.
    """

    def __init__(self, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        top, bottom = self._zeros(x.shape[2])
        left, right = self._zeros(x.shape[3])
        return F.pad(x, (left, right, top, bottom))  # (N, C, H + top + bottom, W + left + right)

    def _zeros(self, inputs: int) -> tuple[int, int]:
        outputs = -(-inputs // self.stride)
        total = max((outputs - 1) * self.stride + self.kernel - inputs, 0)
        return total // 2, total - total // 2


class Pool(nn.Module):
    """Max or mean of each K-wide window: (N, C, *size) -> (N, C, *output_length(size)).

    The mean counts the padded zeros, as the course's formula and Inception do.
    """

    def __init__(
        self,
        kind: Literal["max", "mean"],
        kernel: Size = 2,
        *,
        dims: int = 2,
        stride: Size | None = None,
        padding: Size = 0,
        ceil: bool = False,
    ) -> None:
        super().__init__()
        if kind not in ("max", "mean"):
            raise ValueError(f"pooling {kind!r} is neither max nor mean")
        layer: type[nn.Module] = _MAX_POOL[dims] if kind == "max" else _MEAN_POOL[dims]
        kernels = _spread(kernel, dims)
        strides = kernels if stride is None else _spread(stride, dims)
        self.pool = layer(kernels, strides, _spread(padding, dims), ceil_mode=ceil)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)  # (N, C, *size')
        return x


class GlobalPool(nn.Module):
    """One number a channel, whatever the size: (N, C, *size) -> (N, C).

    Replaces the dense layers of VGG (Lin et al. 2014, "Network in Network", 3.2): no weights, any
    input size.
    """

    def __init__(self, kind: Literal["max", "mean"] = "mean") -> None:
        super().__init__()
        if kind not in ("max", "mean"):
            raise ValueError(f"pooling {kind!r} is neither max nor mean")
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(2)  # (N, C, positions)
        return x.amax(2) if self.kind == "max" else x.mean(2)  # (N, C)


def max_over_time(x: Tensor, valid: Tensor) -> Tensor:
    """Max-over-time pooling of the first ``valid`` positions (Collobert et al. 2011; Kim 2014).

    x (N, C, L), valid (N,) whole numbers >= 1 -> (N, C). Positions from ``valid`` on come from
    padding: without the mask a filter with a positive bias would answer there, and a sentence's
    score would depend on the length of its neighbours in the batch.
    """
    position = torch.arange(x.shape[2], device=x.device)  # (L,)
    padded = position[None, None, :] >= valid[:, None, None]  # (N, 1, L)
    return x.masked_fill(padded, torch.finfo(x.dtype).min).amax(2)  # (N, C)


# ---------------------------------------------------------------------------------- cheaper layers


class Separable(nn.Module):
    """Depthwise KxK per channel, then pointwise 1x1 across channels (Howard et al. 2017, 3.1).

    (N, in, *size) -> (N, out, *size'). K²·in + in·out weights instead of K²·in·out.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: Size = 3,
        dims: int = 2,
        stride: Size = 1,
        dilation: Size = 1,
        norm: Norm = "batch",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.depthwise = ConvBlock(
            inputs,
            inputs,
            kernel=kernel,
            dims=dims,
            stride=stride,
            dilation=dilation,
            groups=inputs,
            norm=norm,
            activation=activation,
        )
        self.pointwise = ConvBlock(
            inputs, outputs, kernel=1, dims=dims, norm=norm, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise(x)  # (N, inputs, *size')
        return self.pointwise(x)  # (N, outputs, *size')


class NiN(nn.Module):
    """A convolution followed by two 1x1 ones: a small MLP at every position (Lin et al. 2014, 3.1).

    (N, in, *size) -> (N, out, *size').
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: Size,
        dims: int = 2,
        stride: Size = 1,
        padding: Padding = "narrow",
        activation: Activation = "relu",
    ) -> None:
        super().__init__()
        self.conv = ConvBlock(
            inputs,
            outputs,
            kernel=kernel,
            dims=dims,
            stride=stride,
            padding=padding,
            activation=activation,
        )
        self.mlp = nn.Sequential(
            ConvBlock(outputs, outputs, kernel=1, dims=dims, activation=activation),
            ConvBlock(outputs, outputs, kernel=1, dims=dims, activation=activation),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)  # (N, outputs, *size')
        return self.mlp(x)  # (N, outputs, *size')


class TableConv(nn.Module):
    """A 2-D convolution where output p reads the inputs ``table[p]`` only (LeCun et al. 1998, C3).

    (N, in, H, W) -> (N, len(table), H - K + 1, W - K + 1). With ``connections`` entries in the
    table it has connections·K² + len(table) parameters: what is not connected has no weight. They
    are laid into a dense kernel, zeros elsewhere, because one dense convolution is faster than
    many small ones.
    """

    rows: Tensor

    def __init__(self, inputs: int, table: Sequence[Sequence[int]], *, kernel: int) -> None:
        super().__init__()
        self.shape = (len(table), inputs, kernel, kernel)
        self.connections = sum(map(len, table))
        self.weight = nn.Parameter(torch.empty(self.connections, kernel, kernel))
        self.bias = nn.Parameter(torch.empty(len(table)))
        # Which weight each (output, input) has; the last one, all zeros, where there is none.
        rows = [[self.connections] * inputs for _ in table]
        count = 0
        for p, connected in enumerate(table):
            bound = (len(connected) * kernel * kernel) ** -0.5  # torch's own for a dense layer
            nn.init.uniform_(self.weight[count : count + len(connected)], -bound, bound)
            nn.init.uniform_(self.bias[p], -bound, bound)
            for d in connected:
                rows[p][d] = count
                count += 1
        self.register_buffer("rows", torch.tensor(rows).flatten(), persistent=False)

    def kernel(self) -> Tensor:
        """(outputs, inputs, K, K), zero where the table has no connection."""
        weight = F.pad(self.weight, (0, 0, 0, 0, 0, 1))  # (connections + 1, K, K)
        return weight[self.rows].view(self.shape)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.kernel(), self.bias)  # (N, outputs, H - K + 1, W - K + 1)


# -------------------------------------------------------------------------------- deeper: residual


class Residual(nn.Module):
    """y = activation(F(x) + shortcut(x)), F = two 3-wide convolutions (He et al. 2016, fig. 2).

    (N, in, *size) -> (N, out, *ceil(size / stride)). The shortcut is the identity where shapes
    agree, else a 1x1 convolution ("option B"), with a norm of its own unless
    ``shortcut_norm=False``; ``project`` decides it by hand, ``shortcut`` gives another layer
    (ZeroShortcut is "option A"). The last norm's scale may start at zero (``zero_init``), so that
    the block begins as the identity.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: Size = 3,
        dims: int = 2,
        stride: int = 1,
        norm: Norm = "batch",
        activation: Activation = "relu",
        project: bool | None = None,
        bias: bool | None = None,
        shortcut_norm: bool = True,
        shortcut: nn.Module | None = None,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        self.conv1 = ConvBlock(
            inputs,
            outputs,
            kernel=kernel,
            dims=dims,
            stride=stride,
            norm=norm,
            activation=activation,
            bias=bias,
        )
        self.conv2 = ConvBlock(
            outputs, outputs, kernel=kernel, dims=dims, norm=norm, activation=None, bias=bias
        )
        if shortcut is None:
            side = norm if shortcut_norm else None
            shortcut = _shortcut(inputs, outputs, dims, stride, side, project, bias)
        self.shortcut = shortcut
        self.activation = make_activation(activation)
        if zero_init:
            _zero_last(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.conv1(x))  # (N, outputs, *size')
        return self.activation(y + self.shortcut(x))  # (N, outputs, *size')


class Bottleneck(nn.Module):
    """1x1 down to ``width``, 3x3, 1x1 up to ``outputs``, plus shortcut (He et al. 2016, fig. 5).

    (N, in, *size) -> (N, out, *ceil(size / stride)). The stride stands on the 3x3 layer, as in
    torchvision and the later reference code ("ResNet v1.5"), or on the first 1x1 layer as in the
    paper (``stride_first``).
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        outputs: int,
        *,
        dims: int = 2,
        stride: int = 1,
        norm: Norm = "batch",
        activation: Activation = "relu",
        stride_first: bool = False,
        project: bool | None = None,
        zero_init: bool = False,
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_first else (1, stride)
        self.conv1 = ConvBlock(
            inputs, width, kernel=1, dims=dims, stride=first, norm=norm, activation=activation
        )
        self.conv2 = ConvBlock(
            width, width, kernel=3, dims=dims, stride=second, norm=norm, activation=activation
        )
        self.conv3 = ConvBlock(width, outputs, kernel=1, dims=dims, norm=norm, activation=None)
        self.shortcut = _shortcut(inputs, outputs, dims, stride, norm, project, None)
        self.activation = make_activation(activation)
        if zero_init:
            _zero_last(self.conv3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(x)  # (N, width, *size)
        y = self.conv2(y)  # (N, width, *size')
        y = self.conv3(y)  # (N, outputs, *size')
        return self.activation(y + self.shortcut(x))  # (N, outputs, *size')


class ZeroShortcut(nn.Module):
    """Every ``stride``-th position, zeros as the new channels: "option A" (He et al. 2016, 3.3).

    (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)). No weights.
    """

    def __init__(self, inputs: int, outputs: int, *, stride: int = 1) -> None:
        super().__init__()
        if outputs < inputs:
            raise ValueError(f"{inputs} channels can't be padded to {outputs}")
        self.extra, self.stride = outputs - inputs, stride

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, :, :: self.stride, :: self.stride]  # (N, in, H', W')
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))  # (N, out, H', W')


class StochasticDepth(nn.Module):
    """Training only: drops a picture's whole branch with probability ``p`` (Huang et al. 2016).

    (N, C, *size) -> the same shape. What stays is divided by 1 - p, so the mean is unchanged.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"a probability below 1 is needed, got {p}")
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        keep = torch.rand(x.shape[:1] + (1,) * (x.ndim - 1), device=x.device) >= self.p
        return x * (keep.to(x.dtype) / (1 - self.p))  # (N, C, *size)


class InvertedResidual(nn.Module):
    """1x1 up to ``expand``·in, depthwise KxK, 1x1 down without activation, plus x where it fits.

    Sandler et al. 2018 (MobileNetV2), section 3.4; "MBConv" in EfficientNet. The opposite of a
    Bottleneck: narrow between blocks, wide inside, where the cheap depthwise layer works.
    (N, in, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)). ``end_pad`` pads as TensorFlow
    does (EndPad); ``drop`` is the StochasticDepth of the branch.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        expand: int = 6,
        kernel: int = 3,
        stride: int = 1,
        norm_eps: float = 1e-5,
        activation: Activation = "relu6",
        end_pad: bool = False,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        width = inputs * expand
        self.expand: nn.Module = nn.Identity()
        if expand != 1:
            self.expand = ConvBlock(
                inputs, width, kernel=1, norm="batch", norm_eps=norm_eps, activation=activation
            )
        # at stride 1 both ways of padding are the same
        self.pad = EndPad(kernel, stride) if end_pad and stride != 1 else nn.Identity()
        self.depthwise = ConvBlock(
            width,
            width,
            kernel=kernel,
            stride=stride,
            padding="narrow" if end_pad and stride != 1 else "same",
            groups=width,
            norm="batch",
            norm_eps=norm_eps,
            activation=activation,
        )
        self.project = ConvBlock(
            width, outputs, kernel=1, norm="batch", norm_eps=norm_eps, activation=None
        )
        self.residual = stride == 1 and inputs == outputs
        self.drop = StochasticDepth(drop if self.residual else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        y = self.expand(x)  # (N, expand * in, H, W)
        y = self.depthwise(self.pad(y))  # (N, expand * in, H', W')
        y = self.project(y)  # (N, outputs, H', W')
        return x + self.drop(y) if self.residual else y


def _shortcut(
    inputs: int,
    outputs: int,
    dims: int,
    stride: int,
    norm: Norm,
    project: bool | None,
    bias: bool | None,
) -> nn.Module:
    needed = stride != 1 or inputs != outputs
    if needed if project is None else project:
        return ConvBlock(
            inputs,
            outputs,
            kernel=1,
            dims=dims,
            stride=stride,
            norm=norm,
            activation=None,
            bias=bias,
        )
    if needed:
        raise ValueError(
            f"identity shortcut can't turn {inputs} channels into {outputs} at stride {stride}"
        )
    return nn.Identity()


def _zero_last(block: ConvBlock) -> None:
    last = block.conv if isinstance(block.norm, nn.Identity) else block.norm
    for parameter in last.parameters():
        nn.init.zeros_(parameter)


# ------------------------------------------------------------------------ side by side: Inception


class Branches(nn.Module):
    """Branches over one input, joined along the channels: (N, C, *size) -> (N, sum, *size')."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], dim=1)


class InceptionV1(Branches):
    """1x1; 1x1 then 3x3; 1x1 then 5x5; 3x3 max pooling then 1x1 (Szegedy et al. 2015, fig. 2b).

    (N, in, H, W) -> (N, c1 + c3[1] + c5[1] + cp, H, W). The 1x1 layers in front make the wide
    kernels affordable. ``branch3`` is the kernel of the third branch: 5 in the paper, 3 in
    torchvision's googlenet.
    """

    def __init__(
        self,
        inputs: int,
        c1: int,
        c3: tuple[int, int],
        c5: tuple[int, int],
        cp: int,
        *,
        branch3: int = 5,
        norm: Norm = None,
        norm_eps: float = 1e-5,
    ) -> None:
        def conv(i: int, o: int, kernel: int) -> ConvBlock:
            return ConvBlock(i, o, kernel=kernel, norm=norm, norm_eps=norm_eps)

        super().__init__(
            conv(inputs, c1, 1),
            nn.Sequential(conv(inputs, c3[0], 1), conv(c3[0], c3[1], 3)),
            nn.Sequential(conv(inputs, c5[0], 1), conv(c5[0], c5[1], branch3)),
            nn.Sequential(Pool("max", 3, stride=1, padding=1), conv(inputs, cp, 1)),
        )


def _v3(
    inputs: int, outputs: int, kernel: Size, stride: int = 1, pad: Padding = "same"
) -> ConvBlock:
    """Inception v3's layer: convolution without bias, batch norm with eps 1e-3, ReLU."""
    return ConvBlock(
        inputs, outputs, kernel=kernel, stride=stride, padding=pad, norm="batch", norm_eps=1e-3
    )


class InceptionV3A(Branches):
    """A 5x5 as two 3x3 layers: same reach, 18/25 of the weights (Szegedy et al. 2016, fig. 5).

    (N, in, H, W) -> (N, 224 + pool, H, W).
    """

    def __init__(self, inputs: int, pool: int) -> None:
        super().__init__(
            _v3(inputs, 64, 1),
            nn.Sequential(_v3(inputs, 48, 1), _v3(48, 64, 5)),
            nn.Sequential(_v3(inputs, 64, 1), _v3(64, 96, 3), _v3(96, 96, 3)),
            nn.Sequential(Pool("mean", 3, stride=1, padding=1), _v3(inputs, pool, 1)),
        )


class InceptionV3B(Branches):
    """Halves the grid without a bottleneck: strided layers beside a pooling (2016, fig. 10).

    (N, in, H, W) -> (N, 480 + in, (H - 1)//2, (W - 1)//2).
    """

    def __init__(self, inputs: int) -> None:
        super().__init__(
            _v3(inputs, 384, 3, stride=2, pad="narrow"),
            nn.Sequential(
                _v3(inputs, 64, 1), _v3(64, 96, 3), _v3(96, 96, 3, stride=2, pad="narrow")
            ),
            Pool("max", 3, stride=2),
        )


class InceptionV3C(Branches):
    """nxn as 1xn then nx1, n = 7: 2/n of the weights (2016, fig. 6).

    (N, in, H, W) -> (N, 768, H, W).
    """

    def __init__(self, inputs: int, width: int, *, n: int = 7) -> None:
        super().__init__(
            _v3(inputs, 192, 1),
            nn.Sequential(
                _v3(inputs, width, 1), _v3(width, width, (1, n)), _v3(width, 192, (n, 1))
            ),
            nn.Sequential(
                _v3(inputs, width, 1),
                _v3(width, width, (n, 1)),
                _v3(width, width, (1, n)),
                _v3(width, width, (n, 1)),
                _v3(width, 192, (1, n)),
            ),
            nn.Sequential(Pool("mean", 3, stride=1, padding=1), _v3(inputs, 192, 1)),
        )


class InceptionV3D(Branches):
    """The second grid reduction. (N, in, H, W) -> (N, 512 + in, (H - 1)//2, (W - 1)//2)."""

    def __init__(self, inputs: int, *, n: int = 7) -> None:
        super().__init__(
            nn.Sequential(_v3(inputs, 192, 1), _v3(192, 320, 3, stride=2, pad="narrow")),
            nn.Sequential(
                _v3(inputs, 192, 1),
                _v3(192, 192, (1, n)),
                _v3(192, 192, (n, 1)),
                _v3(192, 192, 3, stride=2, pad="narrow"),
            ),
            Pool("max", 3, stride=2),
        )


class InceptionV3E(Branches):
    """1x3 and 3x1 side by side: a wider bank on the coarsest grid (2016, fig. 7).

    (N, in, H, W) -> (N, 2048, H, W).
    """

    def __init__(self, inputs: int) -> None:
        def fork() -> Branches:
            return Branches(_v3(384, 384, (1, 3)), _v3(384, 384, (3, 1)))

        super().__init__(
            _v3(inputs, 320, 1),
            nn.Sequential(_v3(inputs, 384, 1), fork()),
            nn.Sequential(_v3(inputs, 448, 1), _v3(448, 384, 3), fork()),
            nn.Sequential(Pool("mean", 3, stride=1, padding=1), _v3(inputs, 192, 1)),
        )
