"""Kim's CNN for sentence classification, from the sentence to the class scores.

Yoon Kim, "Convolutional Neural Networks for Sentence Classification", EMNLP 2014. A sentence is a
row of word vectors; a filter of width h looks at h neighbouring words and answers how well they
match its pattern; the best match in the sentence is one feature; a linear layer weighs them.

    words -> vectors -> filters of width 3, 4, 5 -> max over time -> dropout -> linear -> scores

Variants of the paper (section 3.1) differ only in the vectors: learned from random ones (rand),
given and frozen (static), given and tuned (non-static), or both at once (multichannel).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnapps.core.blocks import ConvBlock, max_over_time

__all__ = ["NETS", "Int8Table", "KimCNN", "WordTable", "max_norm"]


class WordTable(nn.Module):
    """One vector a word; row 0 is padding and stays zero. ids (...) -> (..., dimensions).

    Only the first ``tuned`` rows, the words of the training texts, are parameters; the rest are
    words that training never meets, kept so that prediction knows their given vectors.

    The paper's multichannel net applies the same filters to a frozen and a tuned copy and adds the
    results. A convolution is linear, so that equals filters over the *sum* of the two copies: the
    frozen copy is the buffer ``frozen``, added before the filters.
    """

    given: Tensor
    frozen: Tensor

    def __init__(self, units: int, dimensions: int, *, tuned: int, multichannel: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(tuned, dimensions))
        self.register_buffer("given", torch.zeros(units - tuned, dimensions))
        self.register_buffer("frozen", torch.zeros(tuned if multichannel else 0, dimensions))

    def forward(self, ids: Tensor) -> Tensor:
        table = self.weight if self.training else self.rows()
        # padding_idx: no gradient ever moves the padding's zeros
        x = F.embedding(ids, table, padding_idx=0)  # (..., dimensions)
        if self.training and self.frozen.shape[0]:
            x = x + F.embedding(ids, self.frozen)
        return x

    def rows(self) -> Tensor:
        """(units, dimensions): what every word enters the filters as."""
        tuned = self.weight + self.frozen if self.frozen.shape[0] else self.weight
        return torch.cat([tuned, self.given]) if self.given.shape[0] else tuned

    @torch.no_grad()
    def load(self, vectors: Tensor) -> None:
        """Start from ``vectors`` (units, dimensions); row 0 becomes zero."""
        vectors = vectors.clone()
        vectors[0] = 0.0
        tuned = self.weight.shape[0]
        self.weight.copy_(vectors[:tuned])
        self.given.copy_(vectors[tuned:])
        if self.frozen.shape[0]:
            self.frozen.copy_(vectors[:tuned])


class Int8Table(nn.Module):
    """A word table in 8 bits: one scale a row. ids (...) -> (..., dimensions) float32.

    A row's values are codes times its scale, the largest value being 127 codes: a quarter of the
    size, and the rounding error of a value is at most 1/254 of the row's largest.
    """

    codes: Tensor
    scale: Tensor

    def __init__(self, units: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("codes", torch.zeros(units, dimensions, dtype=torch.int8))
        self.register_buffer("scale", torch.zeros(units, 1))

    def forward(self, ids: Tensor) -> Tensor:
        codes = F.embedding(ids, self.codes).to(self.scale.dtype)
        return codes * F.embedding(ids, self.scale)  # (..., dimensions)

    @torch.no_grad()
    def load(self, vectors: Tensor) -> None:
        """Round ``vectors`` (units, dimensions); row 0 becomes zero."""
        # float16 is what the scale is stored as: round it first, or the codes don't fit it
        scale = (vectors.abs().amax(1, keepdim=True) / 127).half().float()
        codes = torch.where(scale > 0, vectors / scale.clamp(min=1e-12), 0.0)
        self.codes.copy_(codes.round().clamp(-127, 127))
        self.scale.copy_(scale)
        self.codes[0] = 0


class KimCNN(nn.Module):
    """Kim 2014, section 2. ids (N, L), 0 = padding -> logits (N, classes).

    Each filter is a wide convolution (zeros of h - 1 words on both sides), so that the first and
    the last word meet every weight; windows that hold only padding are masked, and a sentence's
    score does not depend on its neighbours in the batch.

    ``bottleneck`` puts a linear map of the vectors in front of the filters; it is folded into the
    table when the net is exported. ``table`` is "float" (trained) or "int8" (exported).
    """

    def __init__(
        self,
        *,
        units: int,
        dimensions: int,
        classes: int,
        widths: tuple[int, ...] = (3, 4, 5),
        maps: int = 100,
        dropout: float = 0.5,
        word_dropout: float = 0.0,
        bottleneck: int = 0,
        tuned: int | None = None,
        multichannel: bool = False,
        table: str = "float",
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        self.word_dropout = word_dropout
        self.table: nn.Module
        if table == "int8":
            self.table = Int8Table(units, dimensions)
        elif table == "float":
            self.table = WordTable(
                units,
                dimensions,
                tuned=units if tuned is None else tuned,
                multichannel=multichannel,
            )
        else:
            raise ValueError(f"table {table!r} is neither float nor int8")
        self.bottleneck = (
            nn.Linear(dimensions, bottleneck, bias=False) if bottleneck else nn.Identity()
        )
        self.filters = nn.ModuleList(
            ConvBlock(
                bottleneck or dimensions,
                maps,
                kernel=h,
                dims=1,
                padding="wide",
                activation=None,  # ReLU after the max: the same values, a hundredth of the work
            )
            for h in self.widths
        )
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(maps * len(self.widths), classes)

    def forward(self, ids: Tensor) -> Tensor:
        length = (ids != 0).sum(1).clamp(min=1)  # (N,)
        x = self.table(ids)  # (N, L, dimensions)
        if self.training and self.word_dropout:  # whole words, or filters lean on single names
            keep = torch.rand(ids.shape, device=ids.device) >= self.word_dropout
            x = x * keep[..., None] / (1.0 - self.word_dropout)
        x = self.bottleneck(x).transpose(1, 2)  # (N, dimensions, L)
        pooled = []
        for h, conv in zip(self.widths, self.filters, strict=True):
            c = conv(x)  # (N, maps, L + h - 1)
            pooled.append(max_over_time(c, length + h - 1))  # (N, maps)
        features = torch.cat(pooled, 1).relu()  # (N, maps * widths)
        return self.output(self.dropout(features))  # (N, classes)

    def predict(
        self, words: Tensor, tokens: Tensor, length: Tensor, edges: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The same scores, computed so that each distinct word of a batch is multiplied once.

        words (V,) distinct ids, the first being padding; tokens (N, L) index into words, 0 =
        padding; length (N,); edges (N, 2) -> logits (N, classes), features (N, maps * widths).

        A window's response is the sum of its words' responses at their places in the window, and
        those depend on the word alone: (V, dimensions) x (dimensions, h * maps) once, then
        look-ups. ``edges`` is 1, or 0 where a long text was cut before or after this piece:
        windows that reach past a cut are left to the neighbouring piece, which overlaps. The
        features of a whole text are the maximum over its pieces.
        """
        x = self.bottleneck(self.table(words))  # (V, dimensions)
        first, last = edges[:, 0], edges[:, 1]  # (N,)
        pooled = []
        for h, block in zip(self.widths, self.filters, strict=True):
            conv = cast(nn.Conv1d, block.conv)
            weight = conv.weight  # (maps, dimensions, h)
            padded = F.pad(tokens, (h - 1, h - 1))  # (N, L + 2h - 2)
            windows = tokens.shape[1] + h - 1
            c = cast(Tensor, conv.bias)  # (maps,)
            for place in range(h):
                response = x @ weight[:, :, place].T  # (V, maps)
                c = c + F.embedding(
                    padded[:, place : place + windows], response
                )  # (N, windows, maps)
            position = torch.arange(windows, device=tokens.device)  # (windows,)
            begin = (h - 1) * (1 - first)  # (N,)
            end = length + (h - 1) * last  # (N,)
            inside = (position >= begin[:, None]) & (position < end[:, None])  # (N, windows)
            c = torch.where(inside[..., None], c, -65504.0)  # the least float16
            pooled.append(c.amax(1))  # (N, maps)
        features = torch.cat(pooled, 1).relu()
        return self.output(features), features


@torch.no_grad()
def max_norm(net: nn.Module, limit: float = 3.0) -> None:
    """Rescale each class row of the output layer to an L2 norm of at most ``limit`` (section 2.1).

    Called after every step; the author's code does it for the output layer only.
    """
    weight = cast(nn.Linear, net.output).weight
    norm = weight.norm(dim=1, keepdim=True).clamp(min=1e-7)
    weight.mul_((limit / norm).clamp(max=1.0))


NETS: Mapping[str, Any] = {"kim-cnn": KimCNN}
