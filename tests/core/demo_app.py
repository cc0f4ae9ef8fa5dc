"""A command built on core.command, as an app is: ``python demo_app.py upper INPUT...``

It answers every line of its INPUT files in capitals, and does on request what an app should never
do: a line may begin with ``bad`` (a refusal), ``bug`` (an exception of another library), ``eof``,
``oom``, ``short`` (too few answers), ``torch`` (a missing library) or ``two`` (an answer of two
lines).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from cnnapps.core.command import (
    AppGroup,
    Job,
    Main,
    Writer,
    answer_all,
    chosen_format,
    common_options,
    in_shard,
    parse_shard,
    predict_options,
)

BLOCK = 4
"""Lines that become available together."""


@click.group(cls=AppGroup, no_args_is_help=True)
def upper() -> None:
    """Lines in capitals."""


@upper.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option("--shard", callback=parse_shard, metavar="I/N")
@click.option("--resume", is_flag=True)
@click.option("--sleep", type=float, default=0.0)
@click.option("--total", is_flag=True)
@predict_options("text", "json")
def predict(inputs: tuple[str, ...], **options: Any) -> None:
    """Answer the lines of INPUT files.

    \b
    demo upper lines.txt
    """
    from cnnapps.core.errors import CnnappsError, DependencyError, InputError
    from cnnapps.core.results import answer, dumps, refusal

    suffixes = {".json": "json", ".txt": "text"}
    form = chosen_format(options["form"], options["as_json"], options["output"], suffixes, "text")
    key = {"weights": options["weights"], "inputs": inputs, "options": [options["shard"], form]}
    writer = Writer(options["output"], resume=options["resume"], key=key, inputs=inputs)
    if writer.done == 0:
        writer.write("# one header line")

    def one(text: str) -> str:
        time.sleep(options["sleep"])
        word = text.split(" ")[0]
        if word == "bad":
            raise InputError("what the predictor calls it", "is bad")
        if word == "bug":
            raise KeyError(text)
        if word == "eof":
            raise EOFError("Compressed file ended")
        if word == "oom":
            raise MemoryError
        if word == "torch":
            raise DependencyError("this line needs torch", "pip install torch")
        return text.upper() + ("\nand more" if word == "two" else "")

    def many(texts: list[str]) -> Iterator[str]:
        return (one(text) for text in texts if text != "short")

    def render(job: Job, result: Any) -> str:
        if form == "text":
            return f"error\t{result}" if isinstance(result, Exception) else str(result)
        if isinstance(result, Exception):
            reason = result.reason if isinstance(result, InputError) else str(result)
            return dumps(refusal(job.source, reason, **job.more))
        return dumps(answer(job.source, "demo/upper", result, **job.more))

    def blocks() -> Iterator[list[Job]]:
        for name in inputs:
            if name == "-":
                yield from _lines(click.get_binary_stream("stdin"), "stdin", options["shard"])
                continue
            try:
                with open(name, "rb") as file:
                    yield from _lines(file, name, options["shard"])
            except (OSError, CnnappsError) as error:
                yield [Job(name, error=InputError(name, str(error)))]

    code = answer_all(
        blocks(),
        many,
        writer,
        render,
        size=3,
        finish=(lambda: f"{writer.done} answers") if options["total"] else None,
    )
    click.get_current_context().exit(code)


def _lines(file: Any, place: str, shard: tuple[int, int] | None) -> Iterator[list[Job]]:
    block = []
    for number, line in enumerate(file, 1):
        if in_shard(shard, number=number):
            text = line.decode("utf-8", "surrogateescape").rstrip("\n")
            block.append(Job(text, text, more={"line": number}, place=f"{place}:{number}"))
        if number % BLOCK == 0:
            yield block
            block = []
    yield block


@upper.command()
@click.argument("data", nargs=-1)
@common_options
def train(data: tuple[str, ...], quiet: bool, debug: bool) -> None:
    """Train on DATA."""
    click.echo(f"training on {' '.join(data)}")


@upper.command()
@common_options
def fail(quiet: bool, debug: bool) -> None:
    """Fail in a way that no one foresaw."""
    raise LookupError("no one\nforesaw \x1b[31m this")


@click.command(cls=Main, lazy={"upper": "cnnapps.tests.core.demo_app:upper"})
def main() -> None:
    """Demo."""


if __name__ == "__main__":
    main()
