"""What the commands of ``cnnapps go-policy`` do; cli.py holds only their options."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from cnnapps.apps.go_policy.board import BLACK, WHITE, color_name, to_vertex
from cnnapps.apps.go_policy.evaluate import Answer, Scores, Tally, answers
from cnnapps.apps.go_policy.predict import (
    GoPredictor,
    GoResult,
    Position,
    load,
    position_at,
    positions_of,
)
from cnnapps.apps.go_policy.records import RECORDS, Record, line, nodes_on, read
from cnnapps.apps.go_policy.sgf import Collection, GameTree, Limits, Node
from cnnapps.core.command import (
    Job,
    Writer,
    answer_all,
    chosen_format,
    in_shard,
    same_file,
    state_of,
)
from cnnapps.core.errors import CnnappsError, InputError, printable
from cnnapps.core.limits import Limits as ByteLimits
from cnnapps.core.media import expand_inputs, read_bytes
from cnnapps.core.progress import Progress, warn
from cnnapps.core.results import answer, dumps, refusal

if TYPE_CHECKING:
    from cnnapps.apps.go_policy.player import Player

__all__ = ["Asked", "Review", "evaluate_on", "play_gtp", "play_match_against", "predict_inputs"]

SUFFIXES = {
    ".json": "json",
    ".jsonl": "json",
    ".txt": "text",
    ".sgf": "sgf",
    ".png": "png",
    ".jpg": "png",
    ".jpeg": "png",
}
PICTURES = (".gif", ".bmp", ".webp", ".tif", ".tiff", ".svg", ".pdf")
"""Suffixes that nobody gives to text."""
TOP = 10
FILES_AT_ONCE = 8
SURPRISING = 5
"""A move is surprising when the net likes at least so many others more."""
WARNINGS = 3
"""Warnings of one record that are shown."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One question: a position, and where it comes from (nothing when it was typed)."""

    position: Position
    record: Record | None = None
    tree: GameTree | None = None
    nodes: tuple[Node, ...] = ()
    folder: str = ""
    alone: bool = True
    """Whether it is the only question about its file."""


@dataclass(frozen=True, slots=True)
class Review:
    """All moves of a game: the tally of each player, the surprises, and every single answer."""

    final: GoResult
    tallies: dict[str, Tally]
    answers: tuple[Answer, ...]
    surprises: tuple[Answer, ...]


def predict_inputs(
    inputs: Sequence[str],
    *,
    typed: Sequence[str],
    move: int | None,
    variation: str,
    game: int | None,
    color: str | None,
    top: int | None,
    symmetries: str,
    temperature: float,
    all_moves: bool,
    size: int,
    encoding: str | None,
    files_from: str | None,
    shard: tuple[int, int] | None,
    resume: bool,
    max_bytes: int | None,
    max_nodes: int | None,
    max_depth: int | None,
    output: str | None,
    form: str | None,
    as_json: bool,
    weights: str | None,
    runtime: str,
    device: str,
    threads: int,
    quiet: bool,
    debug: bool,
) -> int:
    """Answer typed positions and records; returns the exit code."""
    if not (inputs or typed or files_from):
        raise click.UsageError("Missing argument 'INPUT...' (a game record, a folder, or -).")
    if typed and (all_moves or move is not None or variation or game is not None):
        raise click.UsageError(
            "--position is one position: leave out --move, --variation, --game and --all-moves"
        )
    if all_moves and move is not None:
        raise click.UsageError("--all-moves and --move exclude each other")
    if all_moves and color is not None:
        raise click.UsageError("--all-moves asks whoever moved: leave out --color")
    form = chosen_format(form, as_json, output, SUFFIXES, "text")
    if output and any(_is_record_in(output, item) for item in inputs):
        raise click.UsageError(f"-o {output}: is one of the inputs")
    if form != "png" and output and output.lower().endswith(PICTURES):
        raise click.UsageError(f"-o {output}: pictures are written as .png or .jpg")
    if all_moves and resume and form != "sgf" and any(map(os.path.isdir, inputs)):
        raise click.UsageError(
            "--resume can't complete a folder's table of --all-moves: name its records one by one"
        )
    predictor = load(
        weights,
        runtime=runtime,
        device=device,
        threads=threads,
        symmetries=int(symmetries),
        temperature=temperature,
    )
    reader = _Reader(
        move=move,
        variation=variation,
        game=game,
        color={"b": BLACK, "w": WHITE}.get((color or "")[:1].lower()),
        all_moves=all_moves,
        encoding=encoding,
        limits=_limits(max_bytes, max_nodes, max_depth),
        bytes=ByteLimits(bytes=max_bytes) if max_bytes else ByteLimits(),
        sizes=predictor.check_size,
        output=output or "-",
        annotates=form == "sgf",
        replaces=form == "sgf" and [*map(os.path.isdir, inputs)] == [False] and not files_from,
    )
    jobs = _jobs(inputs, typed, reader, size=size, files_from=files_from, shard=shard)
    if form == "png":
        return _pictures(jobs, predictor, output, top, all_moves=all_moves)
    key = {
        "weights": predictor.card.identity,
        "inputs": state_of([*inputs, files_from]),
        "options": [move, variation, game, color, top, symmetries, temperature, shard, form],
    }
    writer = Writer(output, resume=resume, key=key, inputs=() if reader.replaces else inputs)
    folders = {item: dict[str, Tally]() for item in inputs if os.path.isdir(item)}
    screen = writer.name == "stdout" and sys.stdout.isatty() and not os.environ.get("NO_COLOR")
    render = _renderer(form, predictor.card.name, top, folders, color=screen)
    with Progress(0, "records", quiet=quiet) as progress:
        return answer_all(
            jobs,
            lambda asked: (
                [_answered(predictor, item, all_moves, top or TOP) for item in asked]
                if all_moves
                else predictor.batch([item.position for item in asked])
            ),
            writer,
            render,
            size=FILES_AT_ONCE,
            finish=lambda: _summary(form, predictor.card.name, folders) if all_moves else None,
            progress=progress,
        )


def _is_record_in(path: str, folder: str) -> bool:
    if not (os.path.isdir(folder) and os.path.isfile(path) and path.lower().endswith(RECORDS)):
        return False
    return os.path.realpath(path).startswith(os.path.join(os.path.realpath(folder), ""))


def _limits(max_bytes: int | None, max_nodes: int | None, max_depth: int | None) -> Limits:
    default = Limits()
    return Limits(
        max_bytes=max_bytes or default.max_bytes,
        max_nodes=max_nodes or default.max_nodes,
        max_depth=max_depth or default.max_depth,
    )


# ----------------------------------------------------------------------------------- questions
@dataclass(frozen=True, slots=True, kw_only=True)
class _Reader:
    """From a file to the questions that the options ask about it."""

    move: int | None
    variation: str
    game: int | None
    color: int | None
    all_moves: bool
    encoding: str | None
    limits: Limits
    bytes: ByteLimits
    sizes: Callable[[int, object], None]
    output: str = "-"
    annotates: bool = False
    """Whether records are written to ``output`` with the answers in them."""
    replaces: bool = False
    """Whether that may be the record itself: it is the only input."""

    def jobs(self, name: str, folder: str = "") -> list[Job]:
        """A question for each game that is wanted; one with an error if there is none."""
        source = "stdin" if name == "-" else name
        itself = self.output != "-" and same_file(self.output, name)
        if itself and not self.replaces:
            raise click.UsageError(f"-o {self.output}: is one of the inputs")
        try:
            data = read_bytes(name, limits=self.bytes, name=source)
            collection = read(data, source=source, encoding=self.encoding, limits=self.limits)
            if self.annotates:
                self._check_loss(collection, itself)
            trees = self._chosen(collection)
        except CnnappsError as error:
            return [Job(name, error=error, place=source)]
        several = len(trees) > 1
        found = []
        for number, tree in trees:
            job = Job(name, place=source)
            if several:
                job.more, job.place = {"game": number}, f"{source}, game {number}"
            try:
                job.value = self._ask(tree, folder, job.place, alone=not several)
            except CnnappsError as error:
                job.error = error
                if several and self.annotates:
                    job.value = tree
            found.append(job)
        return found

    def _check_loss(self, collection: Collection, itself: bool) -> None:
        """What is lost by writing the record anew, as SGF in UTF-8; InputError if it has no other
        place than ``output``.
        """
        if itself and collection.form != "sgf":
            what = f"is {collection.form.upper()} and would become SGF"
            raise InputError(collection.source, f"{what}: give another file for -o")
        if itself and collection.claims:
            what = f"its games are in several encodings ({', '.join(collection.claims)})"
            raise InputError(collection.source, f"{what}: split it first")
        if lost := collection.unreadable:
            what = f"{lost} {'byte that is' if lost == 1 else 'bytes that are'} no text"
            what += f" in {collection.encoding}"
            if itself:
                hint = "give --encoding, or another file for -o"
                raise InputError(collection.source, f"would lose {what}: {hint}")
            warn(f'{collection.source}: {what}, written as "?"')

    def _chosen(self, collection: Collection) -> list[tuple[int, GameTree]]:
        trees = list(enumerate(collection.trees, 1))
        if self.game is not None:
            if self.game > len(trees):
                raise InputError(collection.source, f"has {len(trees)} games")
            return trees[self.game - 1 : self.game]
        if not self.all_moves and len(trees) > 1:
            warn(f"{collection.source}: has {len(trees)} games, this is the first (--game N)")
            return trees[:1]
        return trees

    def _ask(self, tree: GameTree, folder: str, place: str, *, alone: bool) -> Asked:
        record = line(tree, self.variation)
        self.sizes(record.size, record.source)
        position = position_at(record, self.move, color=self.color)
        notes = [*record.warnings, *position.notes]
        for note in notes[:WARNINGS]:
            warn(f"{place}: {note}")
        if len(notes) > WARNINGS:
            warn(f"{place}: {len(notes) - WARNINGS} more warnings")
        nodes = tuple(nodes_on(tree, self.variation))
        return Asked(position, record, tree, nodes, folder, alone)


def _jobs(
    inputs: Sequence[str],
    typed: Sequence[str],
    reader: _Reader,
    *,
    size: int,
    files_from: str | None,
    shard: tuple[int, int] | None,
) -> Iterator[list[Job]]:
    """Typed positions, then the games of one file after the other."""
    for text in typed:
        yield [_typed(text, size, reader)]
    for given in inputs:
        folder = given if os.path.isdir(given) else ""
        for item in expand_inputs([given], suffixes=RECORDS):
            name = os.path.relpath(item.name, folder) if folder else item.name
            if not in_shard(shard, name=name):
                continue
            if item.error is not None:
                yield [Job(item.name, error=item.error)]
            else:
                yield reader.jobs(item.name, folder)
    if files_from is not None:
        for item in expand_inputs([], suffixes=RECORDS, files_from=files_from):
            if in_shard(shard, name=item.name):
                error = item.error
                yield [Job(item.name, error=error)] if error else reader.jobs(item.name)


def _typed(text: str, size: int, reader: _Reader) -> Job:
    from cnnapps.apps.go_policy.typed import read_position

    try:
        board = read_position(text, size=size)
        reader.sizes(board.size, "position")
    except CnnappsError as error:
        return Job(text, error=error, place="--position")
    if reader.color is not None:
        board.to_play = reader.color
    return Job(text, value=Asked(Position(board)))


def _answered(predictor: GoPredictor, asked: Asked, all_moves: bool, top: int) -> Review:
    """Every move of the game that the question is about."""
    final = predictor(asked.position)
    found: tuple[Answer, ...] = ()
    players = {"black": Tally(), "white": Tally()}
    if asked.record is not None:
        found = tuple(answers(predictor, positions_of(asked.record)))
        black, white = player_names(asked.record)
        players = {black: Tally(), white: Tally()}
        for one in found:
            players[black if one.color == BLACK else white].add(one)
    strange = [one for one in found if one.rank >= SURPRISING]
    strange.sort(key=lambda one: one.probability)
    return Review(final, players, found, tuple(strange[:top]))


def player_names(record: Record) -> tuple[str, str]:
    """Names for a table: as written, else the colours; never the same name twice."""
    black, white = record.black or "black", record.white or "white"
    return (black, white) if black != white else (f"{black} (black)", f"{white} (white)")


# ------------------------------------------------------------------------------------- answers
def _renderer(
    form: str, weights: str, top: int | None, folders: dict[str, dict[str, Tally]], *, color: bool
) -> Callable[[Job, Any], str | None]:
    def collect(job: Job, result: Any) -> None:
        if isinstance(result, Review) and job.value.folder:
            total = folders[job.value.folder]
            for name, tally in result.tallies.items():
                total.setdefault(name, Tally()).merge(tally)

    def as_json(job: Job, result: Any) -> str:
        collect(job, result)
        if isinstance(result, Exception):
            return dumps(refusal(job.source, _reason(result), **job.more))
        if isinstance(result, GoResult):
            return dumps(answer(job.source, weights, result.to_dict(top), **job.more))
        value = result.final.to_dict(top)
        value["agreement"] = agreement(result.tallies)
        value["surprises"] = [_surprise(one, result.final.size) for one in result.surprises]
        return dumps(answer(job.source, weights, value, **job.more))

    def as_text(job: Job, result: Any) -> str | None:
        from cnnapps.apps.go_policy import render

        collect(job, result)
        if isinstance(result, Exception):
            return None  # stderr has it
        title = title_of(job)
        if isinstance(result, GoResult):
            return render.terminal(result, top=top or TOP, title=title, color=color) + "\n"
        whole, players = _scores(result.tallies)
        lines = [
            *(printable(x, 200) for x in title.split("\n")),
            "",
            render.agreement_table(whole, players),
        ]
        if result.surprises:
            lines += ["", "most surprising moves"]
            lines += render.surprise_lines(result.surprises, result.final.size)
        return "\n".join(lines) + "\n"

    def as_sgf(job: Job, result: Any) -> str | None:
        from cnnapps.apps.go_policy.annotate import annotated, unchanged

        if isinstance(result, Exception):  # of a file with several games the others keep it
            return unchanged(job.value) if isinstance(job.value, GameTree) else None
        return annotated(job.value, result, weights, top or TOP)

    return {"json": as_json, "text": as_text, "sgf": as_sgf}[form]


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or str(error)


def title_of(job: Job) -> str:
    """The file's name, and on a second line players, date and result."""
    record = job.value.record
    if record is None:
        return ""
    folder = job.value.folder
    path = os.path.relpath(job.source, folder) if folder else os.path.basename(job.source)
    name = "stdin" if job.source == "-" else printable(path, 200)
    number = f" [{job.more['game']}]" if job.more else ""
    if not (record.black or record.white):
        return f"{name}{number}"
    ranks = [f" {rank}" if rank else "" for rank in (record.black_rank, record.white_rank)]
    players = f"{record.black or '?'}{ranks[0]} (black) - {record.white or '?'}{ranks[1]} (white)"
    rest = ", ".join(x for x in (players, record.date, record.result) if x)
    return f"{name}{number}\n{rest}"


def _scores(tallies: dict[str, Tally]) -> tuple[Scores, dict[str, Scores]]:
    whole = Tally()
    for tally in tallies.values():
        whole.merge(tally)
    return whole.scores(), {name: tally.scores() for name, tally in tallies.items()}


def agreement(tallies: dict[str, Tally]) -> dict[str, Any]:
    """The contract's ``agreement``: rates over all moves, by phase and by player."""
    whole, players = _scores(tallies)
    value = _known(whole)
    value.setdefault("by_phase", {})
    value["by_player"] = {name: _known(scores) for name, scores in players.items()}
    for part in value["by_player"].values():
        part.pop("by_phase", None)
    return value


def _known(scores: Scores) -> dict[str, Any]:
    """Rates of no move at all are null: nobody knows them."""
    value = scores.to_dict()
    return value if scores.n else {k: 0 if k == "n" else None for k in value}


def _surprise(one: Answer, size: int) -> dict[str, Any]:
    return {
        "move_number": one.number + 1,
        "color": color_name(one.color),
        "played": to_vertex(one.played, size),
        "probability": one.probability,
        "best": to_vertex(one.best, size),
        "best_probability": one.best_probability,
    }


def _summary(form: str, weights: str, folders: dict[str, dict[str, Tally]]) -> str | None:
    """What a folder's games say together: one object or one table for each folder."""
    from cnnapps.apps.go_policy import render

    parts = []
    for folder, tallies in folders.items():
        if form == "json":
            parts.append(dumps(answer(folder, weights, agreement(tallies))))
        elif form == "text":
            whole, players = _scores(tallies)
            parts.append(f"{folder}\n\n{render.agreement_table(whole, players)}")
    return "\n".join(parts) if parts else None


def _pictures(
    jobs: Iterator[list[Job]],
    predictor: GoPredictor,
    output: str | None,
    top: int | None,
    *,
    all_moves: bool,
) -> int:
    """A picture for each position: -o FILE for one, -o FOLDER for many; prints their names."""
    from cnnapps.apps.go_policy.picture import draw_board
    from cnnapps.core.media import write_picture

    if output is None or output == "-":
        raise click.UsageError("a picture needs -o FILE.png (or -o FOLDER for several)")
    if all_moves:
        raise click.UsageError("--format png draws positions: leave out --all-moves")
    bare = not os.path.splitext(output)[1]  # "boards": no picture has such a name
    folder = os.path.isdir(output) or output.endswith(("/", os.sep)) or bare
    if folder:
        os.makedirs(output, exist_ok=True)
    failed = written = 0
    taken: set[str] = set()
    for block in jobs:
        for job in block:
            try:
                if job.error is not None:
                    raise job.error
                if written and not folder:
                    raise InputError(output, "is one picture; give a folder for several positions")
                result = predictor(job.value.position)
                path = output if not folder else _picture_name(output, job, taken)
                picture = draw_board(result, top=top, title=title_of(job))
            except CnnappsError as error:
                failed += 1
                warn(f"{job.place or job.source}: {_reason(error)}")
                continue
            try:
                write_picture(path, picture)
            except InputError as error:  # the fault of the picture's place, not of the input
                failed += 1
                warn(error)
                continue
            written += 1
            click.echo(printable(path, 1000))
    return 1 if failed else 0


def _picture_name(folder: str, job: Job, taken: set[str]) -> str:
    """``folder/game.png``; a number is added where that name is taken by another input."""
    typed = job.value.record is None or job.source == "-"
    stem = "position" if typed else os.path.splitext(os.path.basename(job.source))[0]
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return os.path.join(folder, f"{name}.png")


# ------------------------------------------------------------------------------------ evaluate
def evaluate_on(
    paths: Sequence[str],
    *,
    symmetries: str,
    positions: int | None,
    seed: int,
    encoding: str | None,
    weights: str | None,
    runtime: str,
    device: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Measure weights on records or tables; prints a table or the contract's JSON object."""
    from cnnapps.apps.go_policy.evaluate import evaluate, read_questions

    predictor = load(
        weights, runtime=runtime, device=device, threads=threads, symmetries=int(symmetries)
    )
    questions = read_questions(paths, encoding=encoding, sizes=predictor.check_size)
    total = min(questions.n, positions or questions.n)
    asked = questions.positions(positions, seed=seed)
    scores = evaluate(predictor, asked, total=total, quiet=quiet)
    if as_json:
        result = {
            "app": "go-policy",
            "weights": predictor.card.name,
            "data": paths[0] if len(paths) == 1 else list(paths),
            "sha256": questions.sha256,
            "n": scores.n,
            "symmetries": int(symmetries),
            "result": scores.to_dict(),
        }
        if positions is not None:
            result |= {"drawn_from": questions.n, "seed": seed}
        click.echo(dumps(result))
        return 1 if questions.refused else 0
    drawn = f" of {questions.n:,}" if total < questions.n else ""
    left = [f"{questions.passes:,} passes"] if questions.passes else []
    if scores.n < total:
        left.append(f"{total - scores.n:,} illegal moves")
    out = f", {' and '.join(left)} left out" if left else ""
    click.echo(f"{predictor.card.name} on {scores.n:,}{drawn} moves{out}")
    click.echo(str(scores))
    return 1 if questions.refused else 0


# ------------------------------------------------------------------------------------ playing
def _player(
    *,
    symmetries: str,
    temperature: float,
    rules: str,
    resign: float,
    seed: int,
    weights: str | None,
    runtime: str,
    device: str,
    threads: int,
) -> Player:
    from random import Random

    from cnnapps.apps.go_policy.player import Player

    predictor = load(
        weights, runtime=runtime, device=device, threads=threads, symmetries=int(symmetries)
    )
    return Player(predictor, rules, temperature, Random(seed), resign)


def play_gtp(*, quiet: bool, debug: bool, **options: Any) -> int:
    """Answer GTP commands on stdin until quit."""
    from cnnapps.apps.go_policy.gtp import Engine, Lines, serve

    def write(text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()

    engine = Engine(_player(**options))
    if not quiet and sys.stdin.isatty():
        warn(f"{engine.player.predictor.card.name} speaks GTP; list_commands, quit")
    serve(engine, Lines(sys.stdin.fileno()), write)
    return 0


def play_match_against(
    *,
    opponent: str,
    games: int,
    output: str,
    size: int,
    komi: float,
    varied: int,
    heat: float,
    timeout: float,
    shard: tuple[int, int] | None,
    as_json: bool,
    quiet: bool,
    debug: bool,
    **options: Any,
) -> int:
    """Play a match and print its score; InputError if the opponent fails, games are kept."""
    from pathlib import Path

    from cnnapps.apps.go_policy.match import Opponent, play_match, summary

    player = _player(**options)
    card = player.predictor.card
    player.predictor.check_size(size, "--size")
    settings = {
        "weights": card.identity,
        "opponent": opponent,
        "size": size,
        "komi": komi,
        "seed": options["seed"],
        "varied": varied,
        "heat": heat,
        "symmetries": player.predictor.symmetries,
        "temperature": player.temperature,
        "resign": player.resign,
        "rules": player.rules,
    }
    numbers = [n for n in range(1, games + 1) if in_shard(shard, number=n)]
    played = []
    with Opponent(opponent, timeout=timeout) as other:
        turns = play_match(
            player,
            other,
            Path(output),
            numbers,
            settings=settings,
            size=size,
            komi=komi,
            seed=options["seed"],
            varied=varied,
            heat=heat,
        )
        with Progress(len(numbers), "games", quiet=quiet) as progress:
            for game in turns:
                played.append(game)
                progress.update(len(played), won=sum(one.points for one in played))
    score = summary(played)
    if as_json:
        head = {"app": "go-policy", "weights": card.name, "opponent": opponent}
        click.echo(dumps({**head, "result": score}))
        return 0
    low, high = (100 * x for x in score["interval"])
    won, color = score["won"], score["by_color"]
    drawn = f", {score['drawn']} drawn" if score["drawn"] else ""
    click.echo(
        f"{card.name} against {printable(opponent)}: {won} of {score['games']} won{drawn}, "
        f"{100 * score['rate']:.1f}% (95% interval {low:.1f} to {high:.1f})"
    )
    for name in ("black", "white"):
        click.echo(f"  as {name}: {color[name]['won']} of {color[name]['games']}")
    ends = ", ".join(f"{n} {name}" for name, n in score["ended"].items())
    click.echo(f"  moves: {score['moves']['median']:g} (median), {score['moves']['most']} at most")
    click.echo(f"  ended: {ends}")
    if score["own_count"]["games"]:
        own = score["own_count"]
        click.echo(f"  our count names the same winner in {own['same_winner']} of {own['games']}")
    return 0
