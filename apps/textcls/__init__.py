"""Text classification with Kim's convolutional network (EMNLP 2014)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnapps.apps.textcls.predict import Contribution, TextPredictor, TextResult, load

__all__ = ["Contribution", "TextPredictor", "TextResult", "load"]


def __getattr__(name: str) -> Any:
    """The public names are loaded when they are used: ``--help`` imports this package too."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnapps.apps.textcls import predict

    return getattr(predict, name)
