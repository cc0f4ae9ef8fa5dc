"""A net of core/nets with a user's own weights: a safetensors state dict, ours or torchvision's.

Needs torch and onnx: the net is built, filled and exported in memory, and from there on it is a
graph like any other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np

from cnnapps.apps.inspect.onnxfile import read_onnx
from cnnapps.apps.inspect.source import Opened
from cnnapps.core.errors import CnnappsError, InputError, WeightsError, need, printable
from cnnapps.core.limits import DEFAULT, Limits
from cnnapps.core.media import read_bytes
from cnnapps.core.weights import read_tensors

if TYPE_CHECKING:
    from cnnapps.core.nets.parts import Net

__all__ = ["open_state"]


def open_state(
    name: str, path: str, *, size: int | None = None, limits: Limits = DEFAULT
) -> Opened:
    """The graph of the net called ``name`` with the tensors of ``path``.

    Channels and classes are those of the tensors; ``size`` is the side in pixels (default: the
    paper's). InputError for a name that isn't one, WeightsError where names or shapes don't fit.
    """
    torch = need("torch", "--state")
    from cnnapps.apps.inspect.torchtrace import skeleton
    from cnnapps.core.export import graph_of
    from cnnapps.core.nets import spec
    from cnnapps.core.nets.load import fill, rename

    entry = spec(name)
    tensors = read_tensors(read_bytes(path, limits=limits), path)
    state = {n: torch.from_numpy(t.copy()) for n, t in tensors.items()}
    plain = cast("Net", skeleton(entry))
    own = [(n, t) for n, t in plain.state_dict().items() if t.dim() > 1]
    if own[0][0] not in state:
        state = rename(state, plain.torchvision_names)
    first, last = (state.get(own[i][0]) for i in (0, -1))
    if first is None or last is None or first.dim() != own[0][1].dim():
        missing = own[0][0] if first is None else own[-1][0]
        raise WeightsError(path, f"has no {missing} as {name} has: it is of another net")
    given = {"channels": first.shape[1], "classes": last.shape[0], "size": size or entry.input[1]}
    try:
        net = entry(**given)
    except CnnappsError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(name, f"can't be built so ({printable(error, 120)})") from error
    fill(net, state, source=path)
    shape = (1, given["channels"], given["size"], given["size"])
    data = graph_of(net, {"pixels": np.zeros(shape, np.float32)}, outputs=["logits"])
    return Opened(f"{name} ({path})", read_onnx(data, path), data)
