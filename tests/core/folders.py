"""Two small nets and the weights folders that they make: pictures of any size, and words."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from cnnapps.core.blocks import Bottleneck, ConvBlock, Residual, max_over_time
from cnnapps.core.card import Card, Source
from cnnapps.core.export import export

Arrays = dict[str, np.ndarray]


class Pixels(nn.Module):
    """A label map in the size of the picture: (N, 3, H, W) -> (N, 4, H, W), and (N, 4) means."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = ConvBlock(3, width, stride=2, norm="batch")
        self.body = nn.Sequential(Residual(width, width), Bottleneck(width, 4, 12, stride=2))
        self.head = nn.Conv2d(12, 4, 1)

    def forward(self, picture: Tensor) -> tuple[Tensor, Tensor]:
        x = self.body(self.stem(picture))  # (N, 12, ceil(H / 4), ceil(W / 4))
        x = self.head(x)
        size = picture.shape[-2:]
        scores = nn.functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
        return scores, x.mean((2, 3))


class Words(nn.Module):
    """Sentences of word numbers over a table of 8-bit codes: (N, L), (N,) -> (N, 2)."""

    codes: Tensor
    scale: Tensor

    def __init__(self, words: int = 50, width: int = 6) -> None:
        super().__init__()
        same = torch.Generator().manual_seed(1)  # two nets have one table, whatever ran before
        codes = torch.randint(-127, 128, (words, width), generator=same)
        self.register_buffer("codes", codes.to(torch.int8))
        self.register_buffer("scale", torch.rand(words, 1, generator=same) / 100)
        self.register_buffer("unused", torch.zeros(0, width))
        self.filters = ConvBlock(width, 7, dims=1)
        self.output = nn.Linear(7, 2)

    def forward(self, ids: Tensor, length: Tensor) -> Tensor:
        raise AssertionError("what is exported is predict")

    def predict(self, ids: Tensor, length: Tensor) -> Tensor:
        codes = nn.functional.embedding(ids, self.codes).to(self.scale.dtype)
        x = codes * nn.functional.embedding(ids, self.scale)  # (N, L, width)
        return self.output(max_over_time(self.filters(x.transpose(1, 2)), length))


NETS = {"pixels": Pixels, "words": Words}


def randomised(net: nn.Module, seed: int = 3) -> nn.Module:
    """The net with statistics and weights like a trained one's."""
    torch.manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if "running_var" in name:
            tensor.uniform_(0.5, 2)
        elif tensor.is_floating_point() and "scale" not in name:
            tensor.normal_(0, 0.3)
    return net


def picture(n: int, height: int, width: int) -> Arrays:
    rng = np.random.default_rng((n, height, width))
    return {"picture": rng.standard_normal((n, 3, height, width)).astype(np.float32)}


def sentences(n: int, length: int) -> Arrays:
    rng = np.random.default_rng((n, length))
    return {
        "ids": rng.integers(0, 50, (n, length)),
        "length": rng.integers(1, length + 1, n),
    }


def card(tag: str, net: str, **more: Any) -> Card:
    sources = (Source("noise", "CC0-1.0", rows=3, what="random numbers"),)
    return Card(
        app="demo", tag=tag, net=net, what="A net for tests", licence="MIT", sources=sources, **more
    )


def export_pixels(folder: Path, **options: Any) -> Card:
    return export(
        randomised(Pixels()),
        folder,
        card("pixels", "pixels", arguments={"width": 8}, labels=("a", "b", "c", "d")),
        examples=[picture(2, 24, 20), picture(1, 33, 17), picture(3, 9, 40)],
        axes={"picture": {0: "n", 2: "h", 3: "w"}},
        outputs=["scores", "means"],
        ranges={"h": (4, 4096), "w": (4, 4096)},
        **options,
    )


def export_words(folder: Path, **options: Any) -> Card:
    return export(
        randomised(Words()),
        folder,
        card("words", "words"),
        examples=[sentences(3, 7), sentences(1, 1), sentences(5, 30)],
        axes={"ids": {0: "n", 1: "length"}, "length": {0: "n"}},
        outputs=["logits"],
        **options,
    )


def forge(folder: Path, name: str, data: bytes) -> None:
    """Put ``data`` into the folder as a forger would, who can write a matching hash."""
    (folder / name).write_bytes(data)
    raw = json.loads((folder / "card.json").read_text())
    raw["files"][name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / "card.json").write_text(json.dumps(raw))
