"""``cnnapps inspect``: what a net is made of, what its layers cost and see, what its filters like.

import cnnapps
report = cnnapps.load("inspect")("resnet18")
report.totals.macs
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnapps.apps.inspect.trace import NetReport

__all__ = ["Inspector", "load"]


class Inspector:
    """Call it with a net's name, MODEL.onnx, app/tag or a weights folder: the table."""

    def __init__(self, **options: Any) -> None:
        self.options = options

    def __call__(self, net: str) -> NetReport:
        from cnnapps.apps.inspect.source import inspect_net

        return inspect_net(net, **self.options)[0]


def load(**options: Any) -> Inspector:
    """``shape`` (without the batch axis), ``batch``, ``axes``, ``arguments``: see inspect_net."""
    return Inspector(**options)
