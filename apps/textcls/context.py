"""Kim's filters over words in context: a small transformer encoder below, the CNN on top.

The encoder is MiniLM-L6 (Wang et al. 2020, arXiv:2002.10957), a BERT (Devlin et al. 2019) of 384
dimensions, or its first layers: word pieces -> vectors that know their neighbours. On top of them
stand the filters, the max over time and the linear layer of Kim 2014, as in net.py; so the
attribution of a score to n-grams stays exact, over contextual vectors.

Twenty to fifty times slower than net.py's look-ups, and several points better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.apps.textcls.net import Int8Table
from cnnapps.core.blocks import ConvBlock, max_over_time

__all__ = ["ContextCNN", "Encoder", "Int8Linear", "load_encoder", "quantise"]

POSITIONS = 512


class Int8Linear(nn.Module):
    """x W^T + b with W in 8 bits, one scale an output. (..., in) -> (..., out) in float32.

    Only storage is 8-bit: ONNX Runtime folds codes times scale once when it loads the graph.
    """

    codes: Tensor
    scale: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(outputs, inputs, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(outputs, 1))
        self.register_buffer("bias", torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.codes.to(x.dtype) * self.scale, self.bias)

    @torch.no_grad()
    def load(self, weight: Tensor, bias: Tensor) -> None:
        scale = (weight.abs().amax(1, keepdim=True) / 127).half().float().clamp(min=6e-8)
        self.codes.copy_((weight / scale).round().clamp(-127, 127))
        self.scale.copy_(scale)
        self.bias.copy_(bias)


class Layer(nn.Module):
    """Post-norm transformer layer: self-attention, then an MLP. (N, L, D) -> (N, L, D)."""

    def __init__(self, width: int, heads: int, inner: int, *, int8: bool, dropout: float) -> None:
        super().__init__()
        linear = Int8Linear if int8 else nn.Linear
        self.heads = heads
        self.qkv = linear(width, 3 * width)
        self.out = linear(width, width)
        self.norm1 = nn.LayerNorm(width, eps=1e-12)
        self.up = linear(width, inner)
        self.down = linear(inner, width)
        self.norm2 = nn.LayerNorm(width, eps=1e-12)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        n, length, width = x.shape[0], x.shape[1], x.shape[2]
        qkv = self.qkv(x).reshape(n, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # each (N, heads, L, D / heads)
        # Vaswani et al. 2017, section 3.2.1, in three lines: on a CPU the gradient of torch's fused
        # attention takes six times as long at such lengths, a third of a whole training step
        score = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)  # (N, heads, L, L): who looks where
        share = (score + bias).softmax(-1)
        a = share.to(v.dtype) @ v  # (N, heads, L, D / heads)
        a = a.transpose(1, 2).reshape(n, length, width)  # (N, L, D)
        x = self.norm1(x + self.dropout(self.out(a)))
        return self.norm2(x + self.dropout(self.down(F.gelu(self.up(x)))))


class Encoder(nn.Module):
    """Word pieces in context: ids (N, L), mask (N, L) true at pieces -> (N, L, width)."""

    def __init__(
        self,
        *,
        units: int,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        inner: int = 1536,
        int8: bool = False,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.table: nn.Module = Int8Table(units, width) if int8 else nn.Embedding(units, width)
        self.positions = nn.Parameter(torch.zeros(POSITIONS, width))
        self.norm = nn.LayerNorm(width, eps=1e-12)
        self.layers = nn.ModuleList(
            Layer(width, heads, inner, int8=int8, dropout=dropout) for _ in range(layers)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        x = self.table(ids) + self.positions[: ids.shape[1]]  # (N, L, D)
        x = self.dropout(self.norm(x))
        bias = torch.where(mask, 0.0, -1e4)[:, None, None, :]  # (N, 1, 1, L): nobody looks there
        for layer in self.layers:
            x = layer(x, bias)
        return x


class ContextCNN(nn.Module):
    """Encoder, then Kim's filters. ids (N, L), 0 = padding -> logits (N, classes).

    ids begin with a [CLS] and end with a [SEP] piece, as the encoder learned; the filters run over
    all of them.
    """

    def __init__(
        self,
        *,
        units: int,
        classes: int,
        width: int = 384,
        layers: int = 6,
        heads: int = 12,
        inner: int = 1536,
        widths: tuple[int, ...] = (1, 2, 3),
        maps: int = 100,
        dropout: float = 0.2,
        int8: bool = False,
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.encoder = Encoder(
            units=units, width=width, layers=layers, heads=heads, inner=inner, int8=int8
        )
        self.filters = nn.ModuleList(
            ConvBlock(width, maps, kernel=h, dims=1, padding="wide", activation=None)
            for h in self.widths
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(maps * len(self.widths), classes)

    def forward(self, ids: Tensor) -> Tensor:
        length = (ids != 0).sum(1).clamp(min=1)
        logits, _, _ = self.predict(ids, length)
        return logits

    def predict(self, ids: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """ids (N, L), length (N,) -> logits (N, classes), features (N, F), context (N, L, D)."""
        position = torch.arange(ids.shape[1], device=ids.device)
        mask = position < length[:, None]  # (N, L)
        context = self.encoder(ids, mask) * mask[..., None]  # (N, L, D), zeros at padding
        x = context.transpose(1, 2)
        pooled = [
            max_over_time(block(x), length + h - 1)
            for h, block in zip(self.widths, self.filters, strict=True)
        ]
        features = torch.cat(pooled, 1).relu()  # (N, maps * widths)
        return self.output(self.dropout(features)), features, context


@torch.no_grad()
def load_encoder(encoder: Encoder, tensors: Mapping[str, Any]) -> None:
    """Copy a BERT's weights (names of Hugging Face's BertModel) into the encoder's layers.

    The word table's rows are taken in the order of ``tensors``; token type 0 is added to the
    positions, since every piece has it.
    """
    take = {k.removeprefix("bert."): torch.tensor(v).float() for k, v in tensors.items()}
    e = "embeddings."
    cast(nn.Embedding, encoder.table).weight.copy_(take[e + "word_embeddings.weight"])
    encoder.positions.copy_(
        take[e + "position_embeddings.weight"] + take[e + "token_type_embeddings.weight"][0]
    )
    encoder.norm.weight.copy_(take[e + "LayerNorm.weight"])
    encoder.norm.bias.copy_(take[e + "LayerNorm.bias"])
    for i, layer in enumerate(encoder.layers):
        p = f"encoder.layer.{i}."
        for part in ("weight", "bias"):
            qkv = [take[f"{p}attention.self.{n}.{part}"] for n in ("query", "key", "value")]
            getattr(layer.qkv, part).copy_(torch.cat(qkv))
            for module, name in (
                (layer.out, "attention.output.dense"),
                (layer.norm1, "attention.output.LayerNorm"),
                (layer.up, "intermediate.dense"),
                (layer.down, "output.dense"),
                (layer.norm2, "output.LayerNorm"),
            ):
                getattr(module, part).copy_(take[f"{p}{name}.{part}"])


@torch.no_grad()
def quantise(net: ContextCNN, arguments: Mapping[str, Any]) -> ContextCNN:
    """The same net with its word table and the encoder's matrices in 8 bits."""
    out = ContextCNN(**{**arguments, "int8": True})
    source = net.state_dict()
    state = {k: v for k, v in source.items() if k in out.state_dict()}
    out.load_state_dict({**out.state_dict(), **state})
    cast(Int8Table, out.encoder.table).load(source["encoder.table.weight"])
    for name, module in out.named_modules():
        if isinstance(module, Int8Linear):
            module.load(source[f"{name}.weight"], source[f"{name}.bias"])
    return out.eval()
