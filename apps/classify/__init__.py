"""What is in a picture: 1000 ImageNet classes, digits, or classes of your own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnapps.apps.classify.predict import Classifier, ClassResult, Guess, load
    from cnnapps.apps.classify.read import DigitReader, DigitsResult, load_digits

__all__ = [
    "ClassResult",
    "Classifier",
    "DigitReader",
    "DigitsResult",
    "Guess",
    "load",
    "load_digits",
]


def __getattr__(name: str) -> Any:
    """The public names are loaded when they are used: ``--help`` imports this package too."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnapps.apps.classify import predict, read

    return getattr(predict if hasattr(predict, name) else read, name)
