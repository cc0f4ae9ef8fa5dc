"""Feature planes: what the nets see of a position. Always from the side to move.

``nature``: the 48 planes of Silver et al., Nature 529 (2016), Extended Data Table 2

| plane | 1 where |
|---|---|
| 0, 1, 2 | own stone / opponent's stone / empty |
| 3 | everywhere |
| 4-11 | stone laid 1, 2, ..., 7, >= 8 moves ago |
| 12-19 | stone of a chain with 1, 2, ..., 7, >= 8 liberties |
| 20-27 | legal move that captures 0, 1, ..., 6, >= 7 stones |
| 28-35 | legal move after which its own chain of 1, 2, ..., 7, >= 8 stones is in atari |
| 36-43 | legal move after which its own chain has 1, 2, ..., 7, >= 8 liberties |
| 44 | ladder capture: legal move that captures a chain with two liberties in a working ladder |
| 45 | ladder escape: legal move that saves an own chain in atari |
| 46 | sensible: legal and no own eye |
| 47 | nowhere |

The paper gives names and counts; the bins are those of RocAlphaGo (Rochester-NRT/RocAlphaGo,
MIT, ``AlphaGo/preprocessing/preprocessing_python.py``). Our choices:

1. Capture size 0 is a bin of its own, so planes 20-27 together are the legal moves.
2. The planes of moves are zero where the mover may not play (stone, suicide, simple ko).
3. A set-up or handicap stone was laid ">= 8 moves ago". A point that was captured and taken again
   counts from the last stone; passes count as moves.
4. Liberties after the move: captured stones are off the board first, and each captured point next
   to any stone of the mover's (joined) chain is a liberty.
5. Eye: all neighbours are own stones and fewer than two diagonal points (at the edge: fewer than
   one) hold an opponent's stone. Empty diagonals do not count against it; no recursion.
6. Ladders are read out with captures, snapbacks and stones on the way (``kernels.caught``), at
   most 500 positions a chain (in 5,000 positions of real games none needed more than 200). The
   runner extends or captures; a ko that the attacker would have to win saves him. Escape includes
   every move that gets three liberties at once.

The 49th plane of the value net (side to move) is not among them: this is a policy.

``v7``: the planes that KataGo's nets of input version 7 see (lightvector/KataGo,
``cpp/neuralnet/nninputs.cpp``), as far as a game under Japanese rules has them

| plane | 1 where |
|---|---|
| 0 | everywhere |
| 1, 2 | own stone / opponent's stone |
| 3, 4, 5 | stone of a chain with 1, 2, 3 liberties |
| 6 | the point that simple ko bans |
| 9-13 | the last move, the one before ... the fifth last (as long as colours alternate) |
| 14 | stone of a chain that is lost in a ladder |
| 15, 16 | the same, one and two moves earlier |
| 17 | move that starts a working ladder against an opponent's chain with two liberties |
| 7, 8, 18-21 | nowhere (the encore, and area known to be settled) |

and 19 numbers: 0-4 the last moves that were passes; 5 komi from the mover's side / 20; 9, 10
(territory scoring, no points in seki) 1; the others 0 (simple ko, no suicide, no encore).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.go_policy import kernels
from cnnapps.apps.go_policy.board import PASS, Board, Move, _Frame
from cnnapps.apps.go_policy.kernels import BLACK, LADDER_WORK, NATURE_PLANES, V7_PLANES

__all__ = [
    "NATURE_PLANES",
    "V7_GLOBALS",
    "V7_PLANES",
    "nature_planes",
    "symmetries",
    "transform",
    "v7_globals",
    "v7_planes",
]

V7_GLOBALS = 19
HISTORY = 5  # moves that the v7 planes show

Floats = NDArray[np.float32]


def nature_planes(board: Board) -> Floats:
    """``board`` -> (48, size, size) of 0 and 1."""
    size, frame = board.size, board.frames(1)[0]
    out = bytearray(NATURE_PLANES * size * size)
    points = len(frame.played)
    kernels.nature_planes(
        frame.state, size, frame.to_play, frame.ko, frame.played, frame.number, out, [0] * points,
        [0], [0] * LADDER_WORK, [0] * points,
    )  # fmt: skip
    return _as_planes(out, size)


def v7_planes(board: Board) -> Floats:
    """``board`` -> (22, size, size) of 0 and 1.

    The ladders of a position are read once and kept, so going through a game reads each once.
    """
    size = board.size
    out = bytearray(V7_PLANES * size * size)
    frames = board.frames(3)
    now = frames[0]
    recent = [_padded(m.point, size) for m in alternating(board)]
    recent += [0] * (HISTORY - len(recent))
    marks, marks1, marks2 = (_ladders(frame, size) for frame in frames)
    kernels.v7_planes(now.state, size, now.to_play, now.ko, recent, marks, marks1, marks2, out)
    return _as_planes(out, size)


def v7_globals(board: Board, komi: float = 6.5) -> Floats:
    """``board`` -> the 19 numbers beside the v7 planes; komi in points for White."""
    passes = [m.point == PASS for m in alternating(board)]
    return globals_row(board.to_play == BLACK, passes, komi)


def globals_row(black_to_play: bool, passes: Sequence[bool], komi: float) -> Floats:
    """The 19 numbers; ``passes``: which of the last (at most five) moves were, newest first."""
    row = np.zeros(V7_GLOBALS, np.float32)
    row[: len(passes)] = passes
    row[5] = (-komi if black_to_play else komi) / 20
    row[9] = row[10] = 1
    return row


def alternating(board: Board) -> list[Move]:
    """The last moves, newest first, at most five and only while colours alternate."""
    moves = []
    color = 3 - board.to_play
    for move in board.history()[:HISTORY]:
        if move.color != color:
            break
        moves.append(move)
        color = 3 - color
    return moves


def _ladders(frame: _Frame, size: int) -> list[int]:
    if frame.marks is None:
        frame.marks = [0] * len(frame.played)
        work, taken = [0] * LADDER_WORK, [0] * len(frame.played)
        kernels.read_ladders(frame.state, size, frame.ko, frame.marks, [0], work, taken)
    return frame.marks


def _padded(point: int, size: int) -> int:
    return 0 if point == PASS else (point // size + 1) * (size + 1) + point % size + 1


def _as_planes(out: bytearray, size: int) -> Floats:
    return np.frombuffer(out, np.uint8).reshape(-1, size, size).astype(np.float32)


# ----------------------------------------------------------------------------------- symmetries
@functools.cache
def symmetries(size: int) -> NDArray[np.int64]:
    """(8, size * size): point i of the image under symmetry k is point ``table[k, i]`` before.

    k = 4 * transposed + 2 * rows reversed + columns reversed; 0 is the identity.
    """
    grid = np.arange(size * size, dtype=np.int64).reshape(size, size)
    images = []
    for k in range(8):
        image = grid.T if k & 4 else grid
        image = image[::-1] if k & 2 else image
        image = image[:, ::-1] if k & 1 else image
        images.append(image.ravel())
    return np.stack(images)


def transform(planes: NDArray[np.generic], k: int) -> NDArray[np.generic]:
    """The image of an array (..., size, size) under symmetry k."""
    size = planes.shape[-1]
    flat = planes.reshape(*planes.shape[:-2], size * size)
    return flat[..., symmetries(size)[k]].reshape(planes.shape)
