"""A position that somebody types: a diagram, or a list of moves.

    ".....\\n..X..\\n.XO..\\n..X..\\n....."   rows from the top, also with "/" between them
    "Q16 D4 Q3 D17"                     moves, Black first

In a diagram X, #, @, B and ● are black stones, O, W and ○ white ones, . + , - _ * empty points;
blanks, numbers of rows and a line of column letters are skipped. Black is to play if there are at
most as many black stones as white ones.
"""

from __future__ import annotations

import re

from cnnapps.apps.go_policy.board import BLACK, COLUMNS, EMPTY, WHITE, Board, from_vertex
from cnnapps.core.errors import InputError

__all__ = ["read_position"]

_STONES = {
    **dict.fromkeys("Xx#@Bb●", BLACK),
    **dict.fromkeys("OoWw○", WHITE),
    **dict.fromkeys(".+,-_*", EMPTY),
}
_VERTEX = re.compile(r"(?:[A-HJ-Za-hj-z]\d{1,2}|pass)", re.IGNORECASE)


def read_position(text: str, *, size: int = 19) -> Board:
    """The board of a typed position; ``size`` is that of a list of moves.

    InputError names the row or the move that makes no sense.
    """
    words = text.replace(",", " ").split()
    if not words:
        raise InputError("position", "is empty: moves like Q16 D4, or rows of X, O and .")
    if any(_VERTEX.fullmatch(word) for word in words) and not re.search(r"[/\n]", text):
        board = Board(size)
        for number, word in enumerate(words, 1):
            try:
                board.play(from_vertex(word, size))
            except InputError as error:
                raise InputError("position", f"move {number}, {word}: {error.reason}") from error
        return board
    if re.fullmatch(r"[Ii]\d{1,2}", words[0]):
        raise InputError("position", f"move 1, {words[0]}: columns skip the letter I")
    return _diagram(text)


def _diagram(text: str) -> Board:
    rows = []
    for number, line in enumerate(re.split(r"[/\n]", text), 1):
        row = re.sub(r"\s", "", line)
        if not row or COLUMNS.startswith(row.upper()):
            continue
        row = re.sub(r"^\d{1,2}|\d{1,2}$", "", row)
        for sign in row:
            if sign not in _STONES:
                raise InputError(
                    "position",
                    f"row {number}: {sign!r} is none of X, O and . (moves are typed as Q16 D4)",
                )
        rows.append([_STONES[sign] for sign in row])
    size = len(rows)
    for number, stones in enumerate(rows, 1):
        if len(stones) != size:
            raise InputError(
                "position", f"row {number} has {len(stones)} points, but there are {size} rows"
            )
    board = Board(size)
    points = [stone for stones in rows for stone in stones]
    black, white = (
        [i for i, stone in enumerate(points) if stone == color] for color in (BLACK, WHITE)
    )
    board.place(black, white)
    for point in (*black, *white):
        if board.liberties(point) == 0:
            where = f"row {point // size + 1}, column {point % size + 1}"
            raise InputError("position", f"{where}: a stone without liberties")
    board.to_play = BLACK if len(black) <= len(white) else WHITE
    return board
