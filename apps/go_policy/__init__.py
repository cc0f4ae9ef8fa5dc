"""The next move of strong Go players: AlphaGo's policy network (Nature 2016) as a tool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cnnapps.apps.go_policy.predict import Candidate, GoPredictor, GoResult, Position, load

__all__ = ["Candidate", "GoPredictor", "GoResult", "Position", "load"]


def __getattr__(name: str) -> Any:
    """The public names are loaded when they are used: ``--help`` imports this package too."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from cnnapps.apps.go_policy import predict

    return getattr(predict, name)
