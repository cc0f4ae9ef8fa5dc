"""How every command behaves: lazy groups, the default verb, shared options, batches, exit codes.

    cnnapps APP INPUT...        predict, the default verb
    cnnapps APP VERB ...        train, evaluate, ...

stdout has results only, stderr has errors (one line each), warnings and progress. Exit codes:
0 all inputs answered, 1 some refused or failed (the others are answered), 2 usage, 130 interrupted.
Only click is imported at the top: ``cnnapps --help`` must not wait for numpy.
"""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import importlib
import io
import json
import math
import os
import re
import shlex
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import click

from cnnapps.core.errors import CnnappsError, DependencyError, InputError, printable
from cnnapps.core.progress import Progress, warn

__all__ = [
    "AppGroup",
    "FloatRange",
    "Job",
    "LazyGroup",
    "Main",
    "Writer",
    "answer_all",
    "command_line",
    "common_options",
    "evaluate_options",
    "in_shard",
    "parse_shard",
    "predict_options",
    "same_file",
    "state_of",
    "train_options",
    "warn",
    "weights_options",
    "with_options",
]

Command = Callable[..., Any]
Decorator = Callable[[Command], Command]


# ----------------------------------------------------------------------------------------- groups


class LazyGroup(click.Group):
    """A group whose commands are imported when they are used: name -> "module:attribute"."""

    def __init__(self, *args: Any, lazy: Mapping[str, str] | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = dict(lazy or {})

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name in self.lazy:
            module, _, attribute = self.lazy[name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), attribute)
            return command
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], self.list_commands(ctx), n=1, cutoff=0.6)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            ctx.fail(f"No such command {args[0]!r}.{hint}")
        return super().resolve_command(ctx, args)


class AppGroup(click.Group):
    """An app: ``predict`` runs when the first argument names no verb.

    A single word close to a verb is asked about ("did you mean 'train'?"), since a mistyped verb
    would otherwise become an input without a word.
    """

    default = "predict"

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helps = self.get_help_option_names(ctx)
        if not args and self.no_args_is_help:
            return super().parse_args(ctx, args)
        if not args or (args[0] not in self.commands and args[0] not in helps):
            if args:
                self._ask_mistyped(ctx, args)
                self._ask_misplaced(ctx, args)
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def _ask_mistyped(self, ctx: click.Context, args: list[str]) -> None:
        word = args[0]
        if word.startswith("-") or not word.isascii() or os.path.lexists(word):
            return
        near = difflib.get_close_matches(word.lower(), self.commands, n=1, cutoff=0.75)
        if near:
            ctx.fail(f"No verb {word!r}: did you mean {near[0]!r}? (an input: -- {word})")

    def _ask_misplaced(self, ctx: click.Context, args: list[str]) -> None:
        """Options stand behind the verb: ``APP --weights TAG evaluate FILE`` is no sentence."""
        known = args[: args.index("--")] if "--" in args else [*args]
        if not known or not known[0].startswith("-") or "--text" in known:
            return
        command = self.commands[self.default]
        inner = click.Context(command, parent=ctx, info_name=self.default)
        try:
            values, _, _ = command.make_parser(inner).parse_args(known)
        except click.UsageError:
            return  # the command will say so itself
        for argument in command.params:
            if isinstance(argument, click.Argument):
                given = values.get(argument.name or "")
                word = str(given[0] if isinstance(given, tuple) and given else given)
                if word in self.commands and not os.path.lexists(word):
                    ctx.fail(
                        f"The verb comes first: {ctx.command_path} {word} ... (an input: -- {word})"
                    )

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return self.commands[self.default].collect_usage_pieces(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[self.default].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class Main(LazyGroup):
    """The root: turns every exception into one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        _streams()
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            code = super().main(arguments, *rest, **{**extra, "standalone_mode": False})
            sys.stdout.flush()
        except BrokenPipeError:
            code = 0  # the reader has what it wanted
        except (click.exceptions.Abort, KeyboardInterrupt):
            code = 130
        except click.ClickException as error:
            _show(error)
            code = error.exit_code
        except Exception as error:
            if "--debug" in arguments:
                traceback.print_exc()
            warn(_line(error))
            code = 1
        _settle_stdout()
        sys.exit(code if isinstance(code, int) else 0)

    # click would end both of these in its own way: a closed pipe with exit code 1, and the
    # EOFError of a truncated archive as if the user had typed Ctrl-D.
    def make_context(self, *args: Any, **extra: Any) -> click.Context:
        with _not_for_click():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        with _not_for_click():
            return super().invoke(ctx)


@contextlib.contextmanager
def _not_for_click() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        _settle_stdout()
        raise click.exceptions.Exit(0) from None
    except EOFError as error:
        raise RuntimeError(f"EOFError: {error}") from error


def _line(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        place = f"{printable(error.filename)}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    if isinstance(error, CnnappsError):
        return str(error) or type(error).__name__
    return _internal(error)


def _internal(error: Exception) -> str:
    return f"internal error: {type(error).__name__}: {error} (--debug shows where)"


def _show(error: click.ClickException) -> None:
    """click's message on stderr, with what the user typed made harmless."""
    text = io.StringIO()
    error.show(file=text)
    if isinstance(error, click.NoSuchOption) and not error.possibilities:
        text.write("An input that begins with a dash stands behind --\n")
    with contextlib.suppress(OSError, ValueError):
        for line in text.getvalue().rstrip("\n").split("\n"):
            print(printable(line, 1000), file=sys.stderr)


def _streams() -> None:
    """Streams that never end a run: UTF-8 in any locale, names that aren't text, closed ones.

    With stdout closed (``>&-``), the next file that is opened would become stdout, and whatever a
    library prints would land in it. What stands in for a closed stdin can't be read, and what
    stands in for stdout can't be written: no answers are lost with exit code 0. Without a stderr
    nobody wants its lines.
    """
    for number, mode in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDWR)):
        try:
            os.fstat(number)
        except OSError:
            handle = os.open(os.devnull, mode)  # the lowest number that is free: this one
            os.set_inheritable(handle, True)
    sys.stdin = sys.stdin or open(0, closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]


def _settle_stdout() -> None:
    """Python flushes stdout at exit and complains when it can't: give it somewhere to flush to."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, sys.stdout.fileno())
            os.close(null)


# ---------------------------------------------------------------------------------------- options


class FloatRange(click.FloatRange):
    """A number within bounds; click's own lets nan through, and inf where a bound is open."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if not math.isfinite(found):
            self.fail(f"{value} is no number to count with.", param, ctx)
        return found


def with_options(options: Sequence[Decorator], function: Command) -> Command:
    """The function with the options, which --help shows in this order."""
    for option in reversed(options):
        function = option(function)
    return function


_DEVICE = (
    click.option("--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]"),
    click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True),
)
_WEIGHTS = (
    click.option("--weights", metavar="TAG|FOLDER", help="Which weights (default: default)."),
    click.option(
        "--runtime", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True
    ),
    *_DEVICE,
)
_COMMON = (
    click.option("--quiet", "-q", is_flag=True, help="No progress on stderr."),
    click.option("--debug", is_flag=True, help="Show tracebacks of errors."),
)


def common_options(function: Command) -> Command:
    """--quiet and --debug, on every command."""
    return with_options(_COMMON, function)


def weights_options(function: Command) -> Command:
    """Which weights answer, and where they run; with --quiet and --debug."""
    return with_options((*_WEIGHTS, *_COMMON), function)


def predict_options(*formats: str, default: str = "text") -> Decorator:
    """The options that every predict shares: output, format, and those of ``weights_options``."""
    choices = ", ".join(formats)
    options = (
        click.option("-o", "--output", metavar="FILE", help="Write there instead of stdout."),
        click.option(
            "--format",
            "form",
            type=click.Choice(formats),
            help=f"One of {choices}; else by the suffix of -o, else {default}.",
        ),
        click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
    )
    return lambda function: with_options(options, weights_options(function))


def evaluate_options(function: Command) -> Command:
    """The options that every evaluate shares: those of ``weights_options``, and --json."""
    json = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
    return with_options((*_WEIGHTS, json, *_COMMON), function)


def train_options(folder: str) -> Decorator:
    """The options that every train shares; the weights go to ``folder`` unless -o says where."""
    options = (
        click.option("-o", "--output", default=folder, show_default=True, metavar="FOLDER"),
        click.option("--minutes", type=FloatRange(min=0.01), help="Time to train."),
        click.option(
            "--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe."
        ),
        click.option(
            "--run", metavar="FOLDER", help="Checkpoints and curves (default: OUTPUT.run)."
        ),
        click.option("--resume", is_flag=True, help="Go on with a run that was stopped."),
        click.option("--seed", type=click.IntRange(0, 2**31 - 1), default=1, show_default=True),
        *_DEVICE,
        click.option("--tensorboard", is_flag=True, help="Log for TensorBoard too."),
        *_COMMON,
    )
    return lambda function: with_options(options, function)


def chosen_format(
    form: str | None, as_json: bool, output: str | None, suffixes: Mapping[str, str], default: str
) -> str:
    """--format, else --json, else the suffix of -o, else the default."""
    if form and as_json and form != "json":
        raise click.UsageError(f"--json and --format {form} exclude each other")
    if form or as_json:
        return form or "json"
    if output:
        return suffixes.get(os.path.splitext(output)[1].lower(), default)
    return default


_SHARD = re.compile(r"([0-9]{1,9})/([0-9]{1,9})\Z")


def parse_shard(
    ctx: click.Context | None, param: click.Parameter | None, value: str | None
) -> tuple[int, int] | None:
    """``3/8`` -> (3, 8): the third of eight parts. A click callback."""
    if value is None:
        return None
    match = _SHARD.match(value)
    if match:
        part, parts = int(match[1]), int(match[2])
        if 1 <= part <= parts:
            return part, parts
    raise click.BadParameter(f"{value!r} is not PART/PARTS with 1 <= PART <= PARTS, like 3/8")


def in_shard(shard: tuple[int, int] | None, *, number: int = 0, name: str | None = None) -> bool:
    """Whether an input belongs to the shard: lines by number, files by a hash of their name.

    The hash keeps a file in its shard when other files are added.
    """
    if shard is None:
        return True
    part, parts = shard
    if name is not None:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
        return int.from_bytes(digest[:8], "big") % parts == part - 1
    return (number - 1) % parts == part - 1


# ---------------------------------------------------------------------------------------- batches


@dataclass(slots=True)
class Job:
    """One input: its name, what the predictor gets, or the error that reading it gave.

    ``more`` goes into the envelope (``line``); ``place`` is how an error on stderr names it.
    """

    source: str
    value: Any = None
    error: Exception | None = None
    more: dict[str, Any] = field(default_factory=dict)
    place: str = ""


class Writer:
    """Answers to stdout, or to a file that appears under its name only when it is complete.

    ``-o FILE`` is written as ``FILE.part`` and renamed at the end. Beside it, ``FILE.part.json``
    records which run it is (``key``: weights, inputs, options) and, after every flush, how many
    inputs are answered in how many bytes. With ``resume`` a killed run goes on from its last
    record; a part of another run is refused, and so is one that another process is writing, stdin
    (it may be another one), an output that is complete, and one that is one of the ``inputs``.
    """

    def __init__(
        self,
        output: str | None,
        *,
        resume: bool = False,
        key: Any = None,
        inputs: Sequence[str] = (),
    ) -> None:
        self.done = 0
        """Inputs that are answered, those of the resumed run included."""
        self.failed = 0
        """How many of them were refused."""
        self._output: str | None = None
        self._record: Any = None
        self.name = "stdout" if output in (None, "-") else str(output)
        if output is None or output == "-":
            if resume:
                raise click.UsageError("--resume needs -o FILE")
            sys.stdout.flush()
            self._file: Any = sys.stdout.buffer
        elif not output:
            raise click.UsageError("-o: the name of the file is empty")
        elif os.path.isdir(output) or output.endswith(("/", os.sep)):
            raise click.UsageError(f"-o {output}: is a folder")
        elif output.lower().endswith((".gz", ".xz", ".bz2", ".zip")):
            raise click.UsageError(
                f"-o {output}: is not packed while it is written: leave that out"
            )
        elif os.path.exists(output) and not os.path.isfile(output):  # a pipe, a device
            self._file = open(output, "wb")  # noqa: SIM115 (closed in close)
        else:
            self._output = os.path.realpath(output)
            self._part = self._output + ".part"
            self._check_inputs(inputs)
            if resume and "-" in inputs:
                raise click.UsageError("--resume can't see whether stdin is the same: give a file")
            from cnnapps.core.files import check_no_weights, check_writable

            with self._named():
                check_writable(self._output)
                check_no_weights(self._output)
                self._file = _own(self._part)
            self._check_part()
            self._begin(json.loads(json.dumps({"run": key})), resume)

    def _check_inputs(self, inputs: Sequence[str]) -> None:
        """UsageError where an input is the output, or one of the two files beside it."""
        note = self._part + ".json"
        for item in inputs:
            for path in (self.name, self._part, note):
                if same_file(path, 0 if item == "-" else item):
                    beside = "" if path == self.name else f": {path} is written beside it"
                    raise click.UsageError(f"-o {self.name}: is one of the inputs{beside}")

    def _check_part(self) -> None:
        """InputError where the files beside the output aren't a stopped run's: someone's work."""
        note = self._part + ".json"
        if os.path.isfile(note) and _is_record(note):
            return
        if os.path.getsize(self._part):  # a run writes its record before its first answer
            reason = "is in the way: no .json beside it says that a run left it; move or remove it"
            raise InputError(self._part, reason)
        if os.path.lexists(note):
            os.unlink(self._part)
            raise InputError(note, "is in the way, and no record of a run; move or remove it")

    def _begin(self, head: dict[str, Any], resume: bool) -> None:
        """Continue the part from its last record, or start it afresh."""
        from cnnapps.core.files import write_bytes

        size = 0
        note = self._part + ".json"
        there = os.fstat(self._file.fileno()).st_size
        if not resume and there:
            warn(f"{self._part}: of a run that was stopped, begun again (--resume goes on with it)")
        if resume and not os.path.exists(note) and os.path.exists(self._output or ""):
            os.unlink(self._part)
            raise InputError(self.name, "is complete: there is no run to go on with")
        if resume and os.path.exists(note):
            records = _read_records(note)
            if records[0] != head:
                raise InputError(
                    self._part, "belongs to another run (other weights, inputs or options)"
                )
            self.done, size, self.failed = next(
                (r for r in reversed(records[1:]) if r[1] <= there), (0, 0, 0)
            )
        self._file.truncate(size)
        self._file.seek(size)
        last = json.dumps([self.done, size, self.failed])
        write_bytes(note, f"{json.dumps(head)}\n{last}\n".encode())
        self._record = open(note, "a", encoding="utf-8")  # noqa: SIM115

    def write(self, line: str) -> None:
        """One answer and a line end; it may have several lines."""
        with self._named():
            self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        """Everything so far can be read by others, and is kept if we are killed now."""
        with self._named():
            self._file.flush()
            if self._record is not None:
                line = json.dumps([self.done, self._file.tell(), self.failed])
                self._record.write(f"{line}\n")
                self._record.flush()

    def close(self) -> None:
        """Flush, and give the file its name; one that got nothing but failures leaves it alone."""
        with self._named():
            self._file.flush()
            if self._output is None:
                if self.name != "stdout":
                    self._file.close()
                return
            if self.failed and not self._file.tell():
                os.unlink(self._part)
            else:
                os.fsync(self._file.fileno())
                with contextlib.suppress(FileNotFoundError):  # an old file keeps its mode
                    os.chmod(self._part, os.stat(self._output).st_mode & 0o777)
                os.replace(self._part, self._output)
            self._record.close()
            with contextlib.suppress(OSError):
                os.unlink(self._part + ".json")
            self._file.close()

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """An error, of a full disk say, has the name of the file that was asked for."""
        try:
            yield
        except OSError as error:
            error.filename, error.filename2 = self.name, None
            raise


def same_file(one: str | int, other: str | int) -> bool:
    """Whether two paths (or a descriptor) mean one file that is there."""
    try:
        return os.path.samefile(one, other)
    except (OSError, ValueError):
        return False


def state_of(inputs: Sequence[str | None]) -> list[Any]:
    """The inputs for a Writer's ``key``: a file with its size and time, so that a run is not gone
    on with after it changed.
    """
    found: list[Any] = []
    for item in inputs:
        try:
            seen = os.stat(item) if item and os.path.isfile(item) else None
        except (OSError, ValueError):
            seen = None
        found.append([item, seen.st_size, seen.st_mtime_ns] if seen else item)
    return found


def command_line(verb: str, inputs: Sequence[str], options: Mapping[str, Any]) -> str:
    """What to type to do the same again, for a card: ``verb`` with its inputs and options.

    Options that are None, False or empty are left out; a sequence repeats its option.
    """
    words = ["cnnapps", *verb.split(), *map(shlex.quote, inputs)]
    for name, value in options.items():
        if value is True:
            words.append(name)
            continue
        several = value if isinstance(value, list | tuple) else [value]
        for one in several:
            if one is not None and one is not False and one != "":  # 0 is a value
                words += [name, shlex.quote(str(one))]
    return " ".join(words)


def _own(path: str) -> Any:
    """``path`` opened for reading and writing, and locked against a second run."""
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
        file = open(handle, "r+b")  # noqa: SIM115
        try:
            import fcntl

            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(path, "another run is writing it") from error
        except (ImportError, OSError):
            return file  # no locks on this system or disk
        # The run that had it may just have renamed it: then what we locked is its finished file.
        with contextlib.suppress(OSError):
            if os.path.samestat(os.stat(path), os.fstat(handle)):
                return file
        file.close()


def _is_record(note: str) -> bool:
    """Whether a file begins as the record of a run does; the rest of it may be damaged."""
    try:
        with open(note, "rb") as file:
            return file.read(7) == b'{"run":'
    except OSError:
        return False


def _read_records(note: str) -> list[Any]:
    """The head and the records of a part; a last line that was cut by a kill is left out."""
    try:
        with open(note, encoding="utf-8") as file:
            lines = file.read().split("\n")[:-1]
        records = [json.loads(line) for line in lines]
        if records and all(list(map(type, r)) == [int, int, int] for r in records[1:]):
            return records
    except (ValueError, TypeError):
        pass
    raise InputError(note, "is damaged; start without --resume")


def answer_all(
    blocks: Iterable[Sequence[Job]],
    predict: Callable[[list[Any]], Iterable[Any]],
    writer: Writer,
    render: Callable[[Job, Any], str | None],
    *,
    size: int = 32,
    finish: Callable[[], str | None] | None = None,
    progress: Progress | None = None,
) -> int:
    """Answer every job in order; returns the exit code, 0 or 1.

    ``blocks`` are jobs as they become available (a block's answers are flushed before the next
    block is awaited: a program on the other end of a pipe gets its answer at once). ``predict``
    takes up to ``size`` values. An input that fails costs itself, not its batch. ``render`` makes
    the text of a job's answer from its result or its exception, None for nothing but the line on
    stderr.
    """
    for block in _skip(blocks, writer.done):
        for start in range(0, len(block), size):
            jobs = block[start : start + size]
            for job, result in zip(jobs, _results(jobs, predict), strict=True):
                if isinstance(result, Exception):
                    writer.failed += 1
                    warn(f"{job.place or job.source}: {getattr(result, 'reason', result)}")
                text = render(job, result)
                if text is not None:
                    writer.write(text)
            writer.done += len(jobs)
            writer.flush()
            if progress is not None:
                progress.update(writer.done)
    if finish is not None:
        last = finish()
        if last is not None:
            writer.write(last)
    writer.close()
    return 1 if writer.failed else 0


def _skip(blocks: Iterable[Sequence[Job]], done: int) -> Iterator[Sequence[Job]]:
    for block in blocks:
        if done >= len(block):
            done -= len(block)
            continue
        yield block[done:] if done else block
        done = 0


def _results(jobs: Sequence[Job], predict: Callable[[list[Any]], Iterable[Any]]) -> list[Any]:
    """A result or an exception for each job; when a batch fails, its members are tried alone."""
    good = [job for job in jobs if job.error is None]
    try:
        answers = _predicted(predict, good)
    except DependencyError:  # no input's fault
        raise
    except Exception:
        answers = [_alone(job, predict) for job in good]
    rest = iter(answers)
    return [job.error if job.error is not None else next(rest) for job in jobs]


def _predicted(predict: Callable[[list[Any]], Iterable[Any]], jobs: Sequence[Job]) -> list[Any]:
    answers = list(predict([job.value for job in jobs])) if jobs else []
    if len(answers) != len(jobs):
        raise RuntimeError(f"{len(answers)} answers to {len(jobs)} inputs")
    return answers


def _alone(job: Job, predict: Callable[[list[Any]], Iterable[Any]]) -> Any:
    """The answer, or why there is none: a fault of ours on one input doesn't end the batch."""
    try:
        return _predicted(predict, [job])[0]
    except MemoryError:
        return InputError(job.source, "out of memory")
    except CnnappsError as error:
        return error
    except Exception as error:
        ctx = click.get_current_context(silent=True)
        if ctx is not None and ctx.params.get("debug"):
            traceback.print_exc()
        return InputError(job.source, _internal(error))
