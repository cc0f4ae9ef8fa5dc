"""Why other tools print another total for the same net: their rules in terms of our columns.

Each rule was read off the tool's measured totals and its source; `python tests/bench_inspect.py`
runs the tools and compares. They hold for one forward pass of a plain CNN. thop sees modules only,
not functions; ptflops wraps the module and the function that the module calls, and counts both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from cnnapps.apps.inspect.trace import NetReport

__all__ = ["Peer", "peers"]


@dataclass(frozen=True, slots=True)
class Peer:
    """``total`` is what ``tool`` says; ``formula`` what it is made of, in our columns' names."""

    tool: str
    total: int
    formula: str


def peers(report: NetReport) -> list[Peer]:
    """Five that people compare: torchinfo 1.8, fvcore 0.1.5, thop 0.1.1, ptflops 0.7.5, torch."""
    t = report.totals
    layers = report.layers
    norm_parameters = sum(r.parameters for r in layers if r.kind.endswith("norm"))
    mean = [r for r in layers if r.kind in ("global mean pool", "adaptive mean pool")]
    modules = [r for r in mean if r.module]
    twice = [r for r in layers if r.module and (r.kind == "relu" or r.other.pooling)]
    again = sum(r.other.activation + r.other.pooling for r in twice)
    o = t.other
    return [
        Peer("torchinfo", t.macs + o.bias + norm_parameters,
             "MACs + bias + the norm layers' parameters"),
        Peer("fvcore", t.macs + o.norm + sum(r.other.pooling for r in mean),
             "MACs + norm + pooling of global (adaptive) mean pools"),
        Peer("thop", t.macs + 2 * o.norm
             + sum(r.other.pooling + math.prod(r.output) for r in modules)
             + sum(math.prod(r.output) for r in layers if r.kind == "mean pool" and r.module),
             "MACs + 2 x norm + pooling of global mean pools, and one for each of their outputs"),
        Peer("ptflops", t.operations + again,
             "MACs + bias + norm + activation + pooling; ReLU and pooling modules count twice"),
        Peer("FlopCounterMode", 2 * t.macs, "2 x MACs"),
    ]  # fmt: skip
