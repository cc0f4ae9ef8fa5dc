"""A game record with the net's answers in it: labels (LB), comments (C) and variations.

Only properties of the standard, so any editor shows them. What was in the record stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cnnapps.apps.go_policy.board import BLACK, PASS, WHITE, Board, from_vertex, to_vertex
from cnnapps.apps.go_policy.board import to_sgf as board_to_sgf
from cnnapps.apps.go_policy.evaluate import Answer, Tally
from cnnapps.apps.go_policy.predict import GoResult
from cnnapps.apps.go_policy.records import Record, Setup
from cnnapps.apps.go_policy.sgf import (
    Collection,
    Colour,
    GameTree,
    Node,
    Point,
    add_variation,
    comment,
    label,
    nodes_on,
    parse,
    to_sgf,
)

if TYPE_CHECKING:
    from cnnapps.apps.go_policy.run import Asked, Review

__all__ = ["annotated", "unchanged"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def annotated(asked: Asked, result: GoResult | Review, weights: str, top: int) -> str:
    """The record as SGF text, with the answer to one position or to all moves of a game.

    The other games of the file stay in it, unless they are answered too.
    """
    if asked.tree is None or asked.record is None:
        collection = _typed(asked.position.board)
        nodes = tuple(nodes_on(collection.trees[0]))
    else:
        collection = asked.tree.collection if asked.alone else _only(asked.tree)
        nodes = asked.nodes
        _write_handicap(nodes[0], asked.record)
    if isinstance(result, GoResult):
        _annotate_position(_node_of(asked, nodes, result.move_number), result, weights, top)
    else:
        _annotate_game(asked, nodes, result, weights)
    return collection.to_bytes().decode("utf-8").rstrip("\n")


def unchanged(tree: GameTree) -> str:
    """A game of several that was not answered, as SGF text."""
    return _only(tree).to_bytes().decode("utf-8").rstrip("\n")


def _only(tree: GameTree) -> Collection:
    """A collection of one game of a file."""
    whole = tree.collection
    return Collection(whole.source, whole.data, whole.decoded, [tree], ["", ""], whole.warnings)


def _node_of(asked: Asked, nodes: tuple[Node, ...], number: int) -> Node:
    """The node at which ``number`` moves have been played: the last one before the next move."""
    moves = asked.record.moves if asked.record is not None else ()
    if number < len(moves):
        return nodes[max(0, moves[number].node - 1)]
    return nodes[-1]


def _annotate_position(node: Node, result: GoResult, weights: str, top: int) -> None:
    rows = [f"{weights}: {result.to_play} to play"]
    labels: dict[Point, str] = {}
    for i, move in enumerate(result.moves[:top]):
        letter = LETTERS[i] if i < len(LETTERS) else ""
        rows.append(f"{letter or '-'} {move.move} {move.probability:.1%}")
        if letter:
            labels[_point(from_vertex(move.move, result.size), result.size)] = letter
    if result.pass_probability is not None:
        rows.append(f"pass {result.pass_probability:.1%}")
    label(node, labels)
    comment(node, "\n".join(rows))


def _annotate_game(asked: Asked, nodes: tuple[Node, ...], review: Review, weights: str) -> None:
    """At the root what the players agreed to; at each surprise what was expected instead."""
    rows = [f"{weights}: how often the move played was the net's first choice, among its first 5"]
    whole = Tally()
    for name, tally in review.tallies.items():
        rows.append(_agreement(name, tally))
        whole.merge(tally)
    rows.append(_agreement("both", whole))
    comment(nodes[0], "\n".join(rows))
    moves = asked.record.moves if asked.record is not None else ()
    for one in review.surprises:
        at = moves[one.number].node
        _annotate_surprise(nodes[at], nodes[at - 1] if at else None, one, review.final.size)


def _agreement(name: str, tally: Tally) -> str:
    if not tally.n:
        return f"{name}: no moves"
    return f"{name}: {tally.top1 / tally.n:.0%}, {tally.top5 / tally.n:.0%} of {tally.n} moves"


def _annotate_surprise(node: Node, before: Node | None, one: Answer, size: int) -> None:
    expected = f"{to_vertex(one.best, size)} ({one.best_probability:.1%})"
    comment(node, f"Surprising: {one.probability:.2%}. Expected {expected}")
    if before is None:
        return
    point = None if one.best == PASS else _point(one.best, size)
    if point is not None:
        label(before, {point: "A"})
    name = "B" if one.color == BLACK else "W"
    if not any(to_sgf(point) in child.values(name) for child in before.children):
        color: Colour = "black" if one.color == BLACK else "white"
        add_variation(before, [(color, point)], text=f"Expected here: {one.best_probability:.1%}")


def _write_handicap(root: Node, record: Record) -> None:
    """Write down the stones that HA only counts: the answer is about a board that has them."""
    for event in record.events:
        if isinstance(event, Setup) and event.node == 0 and not root.values("AB"):
            root.set("AB", map(to_sgf, event.black))


def _point(point: int, size: int) -> Point:
    return point % size, point // size


def _typed(board: Board) -> Collection:
    """A record of the moves that were typed, or with nothing but the position that was drawn."""
    size = board.size
    stones = board.stones()
    text = f"(;GM[1]FF[4]CA[UTF-8]SZ[{size}]"
    if board.moves:
        moves = [
            f";{'B' if color == BLACK else 'W'}[{board_to_sgf(point, size)}]"
            for color, point in board.moves
        ]
        return parse((text + "".join(moves) + ")").encode(), source="position")
    for color, name in ((BLACK, "AB"), (WHITE, "AW")):
        points = [i for i, stone in enumerate(stones) if stone == color]
        if points:
            text += name + "".join(f"[{board_to_sgf(i, size)}]" for i in points)
    text += f"PL[{'B' if board.to_play == BLACK else 'W'}])"
    return parse(text.encode(), source="position")
