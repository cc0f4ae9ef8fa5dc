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
import itertools
import json
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import click

from cnnapps.core.errors import CnnappsError, InputError, printable

__all__ = [
    "AppGroup",
    "Job",
    "LazyGroup",
    "Main",
    "Writer",
    "answer_all",
    "common_options",
    "in_shard",
    "parse_shard",
    "predict_options",
    "warn",
]


def warn(message: object) -> None:
    """One printable line on stderr."""
    with contextlib.suppress(OSError, ValueError):
        print(f"cnnapps: {printable(message, 1000)}", file=sys.stderr, flush=True)


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
            args = [self.default, *args]
        return super().parse_args(ctx, args)

    def _ask_mistyped(self, ctx: click.Context, args: list[str]) -> None:
        word = args[0]
        if word.startswith("-") or not word.isascii() or os.path.lexists(word):
            return
        near = difflib.get_close_matches(word.lower(), self.commands, n=1, cutoff=0.75)
        if near:
            ctx.fail(f"No verb {word!r}: did you mean {near[0]!r}? (an input: -- {word})")

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return self.commands[self.default].collect_usage_pieces(ctx)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.commands[self.default].format_options(ctx, formatter)
        self.format_commands(ctx, formatter)


class Main(LazyGroup):
    """The root: turns every exception into one line and an exit code."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **extra: Any) -> NoReturn:
        arguments = list(sys.argv[1:] if args is None else args)
        _surrogates_survive()
        try:
            code = super().main(arguments, *rest, **{**extra, "standalone_mode": False})
            sys.stdout.flush()
        except click.exceptions.Abort:
            code = 130
        except click.ClickException as error:
            error.show()
            code = error.exit_code
        except BrokenPipeError:
            _close_stdout()  # the reader has what it wanted
            code = 0
        except KeyboardInterrupt:
            code = 130
        except (CnnappsError, OSError, MemoryError, RecursionError) as error:
            if "--debug" in arguments:
                traceback.print_exc()
            warn(_line(error))
            _close_stdout()
            code = 1
        except Exception as error:
            if "--debug" in arguments:
                traceback.print_exc()
            warn(f"internal error: {type(error).__name__}: {error} (--debug shows where)")
            _close_stdout()
            code = 1
        sys.exit(code if isinstance(code, int) else 0)


def _line(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "out of memory"
    if isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror or error}"
    return str(error) or type(error).__name__


def _surrogates_survive() -> None:
    """Results are UTF-8 whatever the locale; a name that isn't text must not end the run."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, ValueError):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]


def _close_stdout() -> None:
    """Python flushes stdout at exit and complains when it can't: give it somewhere to flush to."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, sys.stdout.fileno())


# ---------------------------------------------------------------------------------------- options


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """--quiet and --debug, on every command."""
    function = click.option("--debug", is_flag=True, help="Show tracebacks of errors.")(function)
    return click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")(function)


def predict_options(
    *formats: str, default: str = "text"
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The options that every predict shares: output, weights, runtime, device, threads."""
    choices = ", ".join(formats)

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        options = [
            click.option("-o", "--output", metavar="FILE", help="Write there instead of stdout."),
            click.option(
                "--format",
                "form",
                type=click.Choice(formats),
                help=f"One of {choices}; else by the suffix of -o, else {default}.",
            ),
            click.option("--json", "as_json", is_flag=True, help="Short for --format json."),
            click.option(
                "--weights", metavar="TAG|FOLDER", help="Which weights (default: default)."
            ),
            click.option(
                "--runtime", type=click.Choice(["onnx", "torch"]), default="onnx", show_default=True
            ),
            click.option(
                "--device", default="auto", show_default=True, metavar="auto|cpu|cuda[:i]"
            ),
            click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True),
        ]
        for option in reversed(options):
            function = option(function)
        return common_options(function)

    return decorate


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


_SHARD = re.compile(r"(\d{1,9})/(\d{1,9})\Z")


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
    """Answers to stdout or to a file that appears under its name only when it is complete.

    ``-o FILE`` is written as ``FILE.part`` and renamed at the end. With ``resume`` the lines that a
    killed run left in ``FILE.part`` are kept and that many inputs are skipped; ``key`` describes
    the run, so that a part of another one (other weights, other inputs) is refused.
    """

    def __init__(self, output: str | None, *, resume: bool = False, key: Any = None) -> None:
        self.done = 0
        """Answers that an earlier run wrote already."""
        self._output = output if output not in (None, "-") else None
        self._special = self._output is not None and _is_special(self._output)
        if self._output is None:
            if resume:
                raise click.UsageError("--resume needs -o FILE")
            self._file: Any = sys.stdout.buffer
            sys.stdout.flush()
        elif self._special:
            self._file = open(self._output, "wb")  # noqa: SIM115 (closed in close)
        else:
            self._part = self._output + ".part"
            self._file = self._open_part(resume, {"run": key})

    def _open_part(self, resume: bool, head: dict[str, Any]) -> Any:
        note = self._part + ".json"
        if resume and os.path.exists(self._part) and os.path.exists(note):
            with open(note, encoding="utf-8") as file:
                if json.load(file) != json.loads(json.dumps(head)):
                    raise InputError(
                        self._part, "belongs to another run (other weights, inputs or options)"
                    )
            file_: Any = open(self._part, "r+b")  # noqa: SIM115
            whole = 0
            for line in file_:
                if line.endswith(b"\n"):
                    whole += len(line)
                    self.done += 1
            file_.truncate(whole)  # a line that was cut by the kill is written again
            file_.seek(whole)
            return file_
        file_ = open(self._part, "wb")  # noqa: SIM115
        with open(note, "w", encoding="utf-8") as file:
            json.dump(head, file)
        return file_

    def write(self, line: str) -> None:
        """One answer; line ends inside it were escaped by the caller."""
        self._file.write(line.encode("utf-8", "backslashreplace") + b"\n")

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        """Flush, and give the file its name."""
        self._file.flush()
        if self._output is None:
            return
        if self._special:
            self._file.close()
            return
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self._part, self._output)
        with contextlib.suppress(OSError):
            os.unlink(self._part + ".json")


def _is_special(path: str) -> bool:
    """A pipe, a device: written to, not replaced."""
    return os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)


def answer_all(
    blocks: Iterable[Sequence[Job]],
    predict: Callable[[list[Any]], Iterable[Any]],
    writer: Writer,
    render: Callable[[Job, Any], str],
    *,
    size: int = 32,
    finish: Callable[[], str | None] | None = None,
) -> int:
    """Answer every job in order; returns the exit code, 0 or 1.

    ``blocks`` are jobs as they become available (a block's answers are flushed before the next
    block is awaited: a program on the other end of a pipe gets its answer at once). ``predict``
    takes up to ``size`` values. An input that fails costs itself, not its batch. ``render`` makes
    the line of a job from its result or its exception.
    """
    failed = 0
    for block in _skip(blocks, writer.done):
        for start in range(0, len(block), size):
            jobs = block[start : start + size]
            for job, result in zip(jobs, _results(jobs, predict), strict=True):
                if isinstance(result, Exception):
                    failed += 1
                    place = job.place or job.source
                    text = str(result)
                    reason = getattr(result, "reason", None)
                    warn(f"{place}: {reason}" if reason else f"{place}: {text}")
                writer.write(render(job, result))
        writer.flush()
    if finish is not None:
        last = finish()
        if last is not None:
            writer.write(last)
    writer.close()
    return 1 if failed else 0


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
    answers: Iterator[Any]
    try:
        answers = iter(list(predict([job.value for job in good])) if good else [])
    except (CnnappsError, MemoryError):
        answers = itertools.chain.from_iterable(_alone(job, predict) for job in good)
    return [job.error if job.error is not None else next(answers) for job in jobs]


def _alone(job: Job, predict: Callable[[list[Any]], Iterable[Any]]) -> list[Any]:
    try:
        return list(predict([job.value]))
    except MemoryError:
        return [InputError(job.source, "out of memory")]
    except CnnappsError as error:
        return [error]
