"""Policy nets: the one of AlphaGo, and KataGo's pre-activation trunk with global pooling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from cnnapps.apps.go_policy.katago import Affine, Block, PolicyNet
from cnnapps.core.blocks import ConvBlock

__all__ = ["NETS", "AlphaGoPolicy", "KataGoPolicy", "from_katago", "grown"]


class AlphaGoPolicy(nn.Module):
    """The policy network of Silver et al. 2016 (Nature 529), Methods, "Neural network architecture"

    planes (N, 48, 19, 19) -> logits (N, 361), row by row. 3.88 M parameters, 1.40 G MACs at width
    192; the paper also trained 128, 256 and 384.
    """

    def __init__(self, width: int = 192, depth: int = 12, planes: int = 48) -> None:
        super().__init__()
        self.stem = ConvBlock(planes, width, kernel=5)  # padded to 23x23
        self.body = nn.Sequential(*(ConvBlock(width, width, kernel=3) for _ in range(depth - 1)))
        self.head = nn.Conv2d(width, 1, kernel_size=1, bias=False)
        self.bias = nn.Parameter(torch.zeros(19 * 19))  # one per position
        for layer in self.modules():  # He et al. 2015: keeps the scale through 12 layers
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        nn.init.normal_(self.head.weight, std=1 / math.sqrt(width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)  # (N, width, 19, 19)
        x = self.body(x)  # (N, width, 19, 19)
        return self.head(x).flatten(1) + self.bias  # (N, 361)


class ScaledReLU(nn.Module):
    """relu(x * scale + bias), a number each a channel: what is left of a batch norm."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        x = torch.addcmul(self.bias[:, None, None], x, self.scale[:, None, None])
        return x.relu()  # (N, C, H, W)


class BoardPool(nn.Module):
    """Mean, mean scaled by the board's size, and maximum: (N, C, H, W) -> (N, 3C).

    Wu 2019 (arXiv 1902.10565), section 3.3: lets every point know the state of the whole board.
    """

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((2, 3))  # (N, C)
        size = (x.shape[3] - 14) * 0.1
        return torch.cat((mean, mean * size, x.amax((2, 3))), 1)


class OrdinaryBlock(nn.Module):
    """x + conv(relu(conv(relu(norm x)))), all (N, width, H, W); begins as the identity."""

    def __init__(self, width: int, middle: int) -> None:
        super().__init__()
        self.norm = ScaledReLU(width)
        self.conv1 = ConvBlock(width, middle, kernel=3)
        self.conv2 = ConvBlock(middle, width, kernel=3, bias=False, activation=None)
        nn.init.zeros_(self.conv2.conv.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.norm(x))  # (N, middle, H, W)
        return x + self.conv2(y)  # (N, width, H, W)


class PoolBlock(nn.Module):
    """An ordinary block whose middle channels hear from ``pooled`` channels of the whole board."""

    def __init__(self, width: int, middle: int, pooled: int) -> None:
        super().__init__()
        self.norm = ScaledReLU(width)
        self.conv1 = ConvBlock(width, middle, kernel=3, activation=None)
        self.conv_pool = ConvBlock(width, pooled, kernel=3)
        self.pool = BoardPool()
        self.pool_to_bias = nn.Linear(3 * pooled, middle, bias=False)
        self.conv2 = ConvBlock(middle, width, kernel=3, bias=False, activation=None)
        nn.init.zeros_(self.conv2.conv.weight)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(x)  # (N, width, H, W)
        board = self.pool_to_bias(self.pool(self.conv_pool(y)))  # (N, middle)
        y = (self.conv1(y) + board[:, :, None, None]).relu()  # (N, middle, H, W)
        return x + self.conv2(y)  # (N, width, H, W)


class KataGoPolicy(nn.Module):
    """The policy of KataGo's residual nets (Wu 2019, arXiv 1902.10565), norms folded to constants.

    planes (N, 22, S, S), numbers (N, 19) -> logits (N, S*S + 1), row by row, the last for a pass.
    ``blocks`` names the trunk: "o" ordinary, "p" with global pooling; the default is b6c96,
    0.97 M parameters. Any board size; one position at a time needs no mask.
    """

    def __init__(
        self,
        blocks: str = "oopopo",
        width: int = 96,
        middle: int = 96,
        regular: int = 64,
        pooled: int = 32,
        head: int = 32,
        planes: int = 22,
        numbers: int = 19,
    ) -> None:
        super().__init__()
        # the arguments, for a card and for nets of the same kind
        self.sizes: dict[str, Any] = {
            "blocks": blocks, "width": width, "middle": middle, "regular": regular,
            "pooled": pooled, "head": head, "planes": planes, "numbers": numbers,
        }  # fmt: skip
        self.stem = ConvBlock(planes, width, kernel=5, bias=False, activation=None)
        self.numbers = nn.Linear(numbers, width, bias=False)
        self.blocks = nn.ModuleList(
            PoolBlock(width, regular, pooled) if kind == "p" else OrdinaryBlock(width, middle)
            for kind in blocks
        )
        self.norm = ScaledReLU(width)
        self.head_board = ConvBlock(width, head, kernel=1, activation=None)
        self.head_pool = ConvBlock(width, head, kernel=1)
        self.pool = BoardPool()
        self.head_bias = nn.Linear(3 * head, head, bias=False)
        self.head_policy = nn.Conv2d(head, 1, kernel_size=1, bias=False)
        self.head_pass = nn.Linear(3 * head, 1, bias=False)

    def forward(self, planes: Tensor, numbers: Tensor) -> Tensor:
        x = self.stem(planes) + self.numbers(numbers)[:, :, None, None]  # (N, width, S, S)
        for block in self.blocks:
            x = block(x)  # (N, width, S, S)
        x = self.norm(x)
        board = self.pool(self.head_pool(x))  # (N, 3 * head)
        y = self.head_board(x) + self.head_bias(board)[:, :, None, None]  # (N, head, S, S)
        points = self.head_policy(y.relu()).flatten(1)  # (N, S*S)
        return torch.cat((points, self.head_pass(board)), 1)  # (N, S*S + 1)


NETS: dict[str, type[nn.Module]] = {"alphago": AlphaGoPolicy, "katago": KataGoPolicy}


def grown(net: KataGoPolicy, extra: Sequence[tuple[int, str]]) -> KataGoPolicy:
    """A deeper net that gives the same answers as ``net``, to be trained further.

    ``extra`` has new blocks, ``(place, "o" or "p")`` with the place in the given trunk (0 is in
    front of its first block). They begin as the identity (Chen et al. 2016, arXiv 1511.05641) and
    read the trunk at the scale at which the block behind them does.
    """
    kinds: list[str] = []
    olds: list[nn.Module | None] = []
    for place in range(len(net.blocks) + 1):
        new = [kind for at, kind in extra if at == place]
        kinds += new
        olds += [None] * len(new)
        for block in net.blocks[place : place + 1]:
            kinds.append("p" if isinstance(block, PoolBlock) else "o")
            olds.append(block)
    longer = KataGoPolicy(**{**net.sizes, "blocks": "".join(kinds)})
    following = net.norm
    for block, old in zip(reversed(longer.blocks), reversed(olds), strict=True):
        assert isinstance(block, PoolBlock | OrdinaryBlock)
        if old is None:
            block.norm.load_state_dict(following.state_dict())
        else:
            block.load_state_dict(old.state_dict())
            following = block.norm
    rest = {k: t for k, t in net.state_dict().items() if not k.startswith("blocks.")}
    longer.load_state_dict(longer.state_dict() | rest)
    return longer


def from_katago(source: PolicyNet) -> KataGoPolicy:
    """The net of a KataGo file, ready to tune, its norms folded into the convolutions before."""
    first_pool = next((b for b in source.blocks if b.conv_pool is not None), None)
    ordinary = next((b for b in source.blocks if b.conv_pool is None), source.blocks[0])
    net = KataGoPolicy(
        blocks="".join("o" if block.conv_pool is None else "p" for block in source.blocks),
        width=source.conv.shape[0],
        middle=ordinary.conv1.shape[0],
        regular=first_pool.conv1.shape[0] if first_pool else 64,
        pooled=_shape(first_pool)[0] if first_pool else 32,
        head=source.head.conv_board.shape[0],
        planes=source.planes,
        numbers=source.globals,
    )
    put = _Put()
    put.conv(net.stem, source.conv)
    put.linear(net.numbers, source.globals_to_bias)
    for module, block in zip(net.blocks, source.blocks, strict=True):
        put.block(module, block)
    put.norm(net.norm, source.norm)
    head = source.head
    put.conv(net.head_board, head.conv_board, head.norm)
    put.conv(net.head_pool, head.conv_pool, head.norm_pool)
    put.linear(net.head_bias, head.pool_to_bias, head.norm)
    put.tensor(net.head_policy.weight, head.conv)
    put.linear(net.head_pass, head.pool_to_pass)
    return net


def _shape(block: Block) -> tuple[int, ...]:
    assert block.conv_pool is not None
    return block.conv_pool.shape


class _Put:
    """Copies arrays of a KataGo file into modules."""

    @staticmethod
    def tensor(to: Tensor, value: object) -> None:
        with torch.no_grad():
            to.copy_(torch.as_tensor(value))

    def norm(self, to: ScaledReLU, norm: Affine) -> None:
        self.tensor(to.scale, norm.scale)
        self.tensor(to.bias, norm.bias)

    def conv(self, to: nn.Module, weight: object, norm: Affine | None = None) -> None:
        layer = to.conv if isinstance(to, ConvBlock) else to
        assert isinstance(layer, nn.Conv2d)
        kernel = torch.as_tensor(weight)
        if norm is not None:
            kernel = kernel * torch.as_tensor(norm.scale)[:, None, None, None]
            assert layer.bias is not None
            self.tensor(layer.bias, norm.bias)
        self.tensor(layer.weight, kernel)

    def linear(self, to: nn.Linear, weight: object, norm: Affine | None = None) -> None:
        matrix = torch.as_tensor(weight).T  # (out, in)
        if norm is not None:
            matrix = matrix * torch.as_tensor(norm.scale)[:, None]
        self.tensor(to.weight, matrix)

    def block(self, to: nn.Module, block: Block) -> None:
        if isinstance(to, PoolBlock):
            assert block.conv_pool is not None and block.norm_pool is not None
            self.conv(to.conv_pool, block.conv_pool, block.norm_pool)
            self.linear(to.pool_to_bias, block.pool_to_bias, block.norm2)
        else:
            assert isinstance(to, OrdinaryBlock)
        self.norm(to.norm, block.norm1)
        self.conv(to.conv1, block.conv1, block.norm2)
        self.conv(to.conv2, block.conv2)
