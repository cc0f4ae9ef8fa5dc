"""A result for people: a board in the terminal, a picture, an annotated game record."""

from __future__ import annotations

from collections.abc import Sequence

from cnnapps.apps.go_policy.board import COLUMNS
from cnnapps.apps.go_policy.evaluate import Answer, Scores, heading
from cnnapps.apps.go_policy.predict import GoResult
from cnnapps.core.errors import printable

__all__ = ["LABELS", "star_points", "terminal"]

LABELS = "abcdefghijklmnpqrstuvwyz"
"""Names of the top moves on a board of X and O."""
BAR = 12
_WOOD, _BLACK, _WHITE, _TOP, _OFF = (
    "\x1b[48;5;179m\x1b[38;5;94m",
    "\x1b[1;38;5;16m",
    "\x1b[1;38;5;231m",
    "\x1b[48;5;28m\x1b[1;38;5;231m",
    "\x1b[0m",
)


def star_points(size: int) -> list[tuple[int, int]]:
    """(row, column) of the marked points of a board."""
    if size < 7:
        return [(size // 2, size // 2)] if size % 2 else []
    near = 3 if size > 12 else 2
    lines = [near, size - 1 - near]
    points = [(row, column) for row in lines for column in lines]
    if size % 2:
        middle = size // 2
        points.append((middle, middle))
        if size > 13:
            points += [(middle, x) for x in lines] + [(y, middle) for y in lines]
    return points


def terminal(result: GoResult, *, top: int = 10, title: str = "", color: bool = False) -> str:
    """The board with the top moves as letters, and beside it their list; at most 80 columns.

    X is Black, O White, the last move stands in brackets. ``color`` adds a wooden board.
    """
    board = _board(result, top, color)
    panel = _panel(result, top)
    width = 2 * result.size + 8
    lines = [printable(part, 80) for part in title.split("\n") if part]
    for i in range(max(len(board), len(panel))):
        left, plain = board[i] if i < len(board) else ("", "")
        right = panel[i] if i < len(panel) else ""
        lines.append((left + " " * (width - len(plain)) + right).rstrip())
    return "\n".join(lines)


def _board(result: GoResult, top: int, color: bool) -> list[tuple[str, str]]:
    """Each line of the drawing as (with colours, without)."""
    size = result.size
    named = {m.move: LABELS[i] for i, m in enumerate(result.moves[: min(top, len(LABELS))])}
    stars = set(star_points(size))
    letters = "    " + " ".join(COLUMNS[:size])
    lines = [(letters, letters)]
    for y in range(size):
        number = size - y
        signs = []
        for x in range(size):
            stone = int(result.stones[y, x])
            empty = named.get(f"{COLUMNS[x]}{number}", "+" if (y, x) in stars else ".")
            signs.append(empty if stone == 0 else "XO"[stone - 1])
        gaps = [" "] * (size + 1)
        if result.last is not None and result.last[0] == y:
            gaps[result.last[1]], gaps[result.last[1] + 1] = "(", ")"
        plain = "".join(gap + sign for gap, sign in zip(gaps, [*signs, ""], strict=True))
        drawn = plain
        if color:
            cells = (gap + _painted(sign) for gap, sign in zip(gaps, [*signs, ""], strict=True))
            drawn = f"{_WOOD}{''.join(cells)}{_OFF}"
        lines.append((f"{number:2d} {drawn} {number}", f"{number:2d} {plain} {number}"))
    return [*lines, (letters, letters)]


def _painted(sign: str) -> str:
    paint = _BLACK if sign == "X" else _WHITE if sign == "O" else _TOP if sign.isalpha() else ""
    return f"{paint}{sign}{_OFF}{_WOOD}" if paint else sign


def _panel(result: GoResult, top: int) -> list[str]:
    mover = "Black (X)" if result.to_play == "black" else "White (O)"
    lines = [f"after move {result.move_number}: {mover} to play", ""]
    best = result.moves[0].probability if result.moves else 1.0
    for i, move in enumerate(result.moves[:top]):
        label = LABELS[i] if i < len(LABELS) else " "
        bar = "█" * round(BAR * move.probability / max(best, 0.2))
        lines.append(f"{label}  {move.move:<4}{move.probability:7.1%}  {bar}".rstrip())
    if not result.moves:
        lines.append("no legal move")
    if result.pass_probability is not None and result.pass_probability >= 0.0005:
        lines.append(f"   pass{result.pass_probability:7.1%}")
    return lines


def agreement_table(whole: Scores, players: dict[str, Scores]) -> str:
    """Agreement with the net: all moves, by player, by phase."""
    names = [printable(name, 24) for name in players]
    width = max(10, *map(len, names), 0) if names else 10
    rows = [heading(width), whole.row("all", width)]
    rows += [part.row(name, width) for name, part in zip(names, players.values(), strict=True)]
    rows += [part.row(name, width) for name, part in whole.by_phase.items()]
    return "\n".join(rows)


def surprise_lines(surprises: Sequence[Answer], size: int) -> list[str]:
    """The most surprising moves, one a line."""
    from cnnapps.apps.go_policy.board import color_name, to_vertex

    return [
        f"  move {a.number + 1:>3}  {color_name(a.color)}  {to_vertex(a.played, size):<4} "
        f"{a.probability:6.2%}   expected {to_vertex(a.best, size):<4} {a.best_probability:6.1%}"
        for a in surprises
    ]
