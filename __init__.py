"""cnnapps: convolutional networks as command-line tools and as a library, offline.

    import cnnapps
    cnnapps.load("textcls")("what a wonderful film").label

Importing this module imports nothing heavy.
"""

from __future__ import annotations

from typing import Any

from cnnapps.core.version import __version__

__all__ = ["__version__", "load"]


def load(app: str, **options: Any) -> Any:
    """The predictor of an app: call it with one input, or ``.batch(inputs)`` to stream many.

    ``options`` are the app's own; all take ``weights`` (tag or folder), ``runtime`` ("onnx" or
    "torch"), ``device`` and ``threads``. InputError names the apps that there are.
    """
    import importlib

    from cnnapps.apps import APPS
    from cnnapps.core.errors import InputError

    if app not in APPS:
        raise InputError("", f"no app {app!r}; there are: {', '.join(APPS)}")
    return importlib.import_module(APPS[app]).load(**options)
