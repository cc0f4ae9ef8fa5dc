"""What the commands of ``cnnapps textcls`` do; cli.py holds only their options."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from cnnapps.apps.textcls.predict import TextPredictor, TextResult, load
from cnnapps.apps.textcls.show import PAGE_END, PAGE_START, html_error, html_item, terminal
from cnnapps.core.command import Job, Writer, answer_all, chosen_format, in_shard, state_of
from cnnapps.core.errors import CnnappsError, InputError, counted
from cnnapps.core.limits import DEFAULT, Limits
from cnnapps.core.media import text_blocks, unpacked_name
from cnnapps.core.progress import Progress, warn
from cnnapps.core.results import answer, dumps, refusal

__all__ = ["predict_inputs"]

SUFFIXES = {".json": "json", ".jsonl": "json", ".txt": "text", ".html": "html", ".htm": "html"}
_PATH = re.compile(
    r"\S*[/\\]\S*\Z|\S+\.(?:txt|csv|tsv|jsonl?|md|gz|xz|html?|log|pdf|docx?|odt|rtf)\Z",
    re.IGNORECASE,
)


def predict_inputs(
    inputs: Sequence[str],
    *,
    as_text: bool,
    encoding: str | None,
    max_line_bytes: int | None,
    min_confidence: float,
    explain: bool,
    shard: tuple[int, int] | None,
    resume: bool,
    batch: int,
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
    """Answer sentences, the lines of files, and stdin; returns the exit code."""
    form = chosen_format(form, as_json, output, SUFFIXES, "text")
    predictor = load(
        weights,
        runtime=runtime,
        device=device,
        threads=threads,
        min_confidence=min_confidence,
        explain=explain or form == "html",
    )
    key = {
        "weights": predictor.card.identity,
        "inputs": state_of(inputs),
        "options": [as_text, encoding, max_line_bytes, min_confidence, explain, shard, form],
    }
    writer = Writer(output, resume=resume, key=key, inputs=inputs)
    page = form == "html"
    if page and not writer.done:
        writer.write(PAGE_START)
    limits = replace(DEFAULT, line_bytes=max_line_bytes or DEFAULT.line_bytes)
    with Progress(0, "texts", quiet=quiet or output is None) as progress:
        return answer_all(
            _jobs(inputs, as_text=as_text, encoding=encoding, limits=limits, shard=shard),
            lambda texts: predictor.batch(texts, batch),
            writer,
            _renderer(form, predictor),
            size=batch,
            finish=(lambda: PAGE_END) if page else None,
            progress=progress,
        )


def _renderer(form: str, predictor: TextPredictor) -> Any:
    name = predictor.card.name

    def as_json(job: Job, result: Any) -> str:
        if isinstance(result, Exception):
            reason = getattr(result, "reason", None) or str(result)
            return dumps(refusal(job.source, reason, **job.more))
        return dumps(answer(job.source, name, result.to_dict(), **job.more))

    def as_text(job: Job, result: Any) -> str:
        if isinstance(result, Exception):
            return f"error\t{getattr(result, 'reason', None) or result}"
        return terminal(result)

    def as_html(job: Job, result: Any) -> str:
        if isinstance(result, Exception):
            return html_error(job.source, getattr(result, "reason", None) or str(result))
        assert isinstance(result, TextResult)
        return html_item(job.source, result)

    return {"json": as_json, "text": as_text, "html": as_html}[form]


def _jobs(
    inputs: Sequence[str],
    *,
    as_text: bool,
    encoding: str | None,
    limits: Limits,
    shard: tuple[int, int] | None,
) -> Iterator[list[Job]]:
    """Sentences, and the lines of files and of stdin as they come."""
    for number, item in enumerate(inputs, 1):
        if as_text or not (item == "-" or os.path.exists(item) or _PATH.match(item)):
            if in_shard(shard, number=number):
                yield [Job(item, value=item)]
            continue
        if item != "-" and not os.path.lexists(item):
            if in_shard(shard, number=number):  # in one part, as sentences are
                yield [Job(item, error=InputError(item, "no such file (a sentence? then --text)"))]
            continue
        place = "stdin" if item == "-" else item
        if unpacked_name(item).endswith((".csv", ".tsv", ".jsonl", ".ndjson", ".json")):
            warn(
                f"{item}: every line is one text, columns and all (train and evaluate read columns)"
            )
        try:
            for lines in text_blocks(item, encoding=encoding, limits=limits):
                yield [
                    Job(
                        line.text,
                        value=line.text,
                        error=line.error,
                        more={"line": line.number},
                        place=f"{place}:{line.number}",
                    )
                    for line in lines
                    if in_shard(shard, number=line.number)
                ]
        except (CnnappsError, OSError) as error:
            reason = error if isinstance(error, CnnappsError) else _unreadable(item, error)
            if in_shard(shard, number=number):
                yield [Job(item, error=reason)]


def _unreadable(source: str, error: OSError) -> InputError:
    return InputError(source, (error.strerror or str(error)).lower())


def sha256_of(paths: Sequence[str]) -> str:
    """sha256 of one file's bytes; of several, the hash of their hashes."""
    digests = []
    for path in paths:
        digest = hashlib.sha256()
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        digests.append(digest.hexdigest())
    if len(digests) == 1:
        return digests[0]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


# ---------------------------------------------------------------------------------------- evaluate


def evaluate_on(
    paths: Sequence[str],
    *,
    text_column: str | None,
    label_column: str | None,
    label_separator: str | None,
    encoding: str | None,
    max_bytes: int | None,
    split: str | None,
    weights: str | None,
    runtime: str,
    device: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Measure weights on labelled data; prints a table or the contract's JSON object."""
    import click

    from cnnapps.apps.textcls.data import Dataset, read_dataset, separator_of

    predictor = load(weights, runtime=runtime, device=device, threads=threads)

    def read(separator: str | None) -> Dataset:
        return read_dataset(
            paths,
            text_column=text_column,
            label_column=label_column,
            label_separator=separator,
            encoding=encoding,
            limits=replace(DEFAULT, bytes=max_bytes or DEFAULT.bytes),
        )

    data = read(label_separator)
    again = all(os.path.isfile(path) or os.path.isdir(path) for path in paths)  # no pipe
    if predictor.several and not data.several and again:
        known = {*predictor.card.labels, *predictor.card.aliases}
        labels = {x for row in data.labels for x in row}
        sign = separator_of(labels, known)
        if sign is not None:  # read again, not only split: a text without labels counts as well
            data = read(sign)
            if labels != {x for row in data.labels for x in row}:
                warn(f'labels are split at "{sign}" (--label-separator)')
    if encoding is None:
        for name, found in data.encodings.items():
            if not found.startswith("utf"):
                warn(f"{name}: not UTF-8, read as {found} (--encoding NAME where that is wrong)")
    for note in data.notes:
        if not note.endswith("text from 'text', label from 'label'"):  # nothing was guessed
            warn(note)
    names = sorted({s for s in data.splits if s})
    if names and split is None and (len(names) > 1 or not all(data.splits)):
        raise InputError("--split", f"which part? the data has {', '.join(names)}")
    if split is not None:
        if split not in names:
            there = f"there are: {', '.join(names)}" if names else "the data have no column split"
            raise InputError("--split", f"no part {split!r}; {there}")
        data = data.where(split)
    scores = scores_of(predictor, data)
    if as_json:
        result = {
            "app": "textcls",
            "weights": predictor.card.name,
            "data": paths[0] if len(paths) == 1 else list(paths),
            "sha256": data.sha256,
            "n": len(data),
            "result": scores,
        }
        if split is not None:
            result["split"] = split
        click.echo(dumps(result))
    else:
        click.echo(f"{predictor.card.name} on {counted(len(data), 'text')}")
        click.echo(str(scores))
    return 0


def scores_of(predictor: TextPredictor, data: Any) -> Any:
    """Scores of a predictor on a Dataset; the card's aliases rename the data's labels."""
    from cnnapps.apps.textcls.evaluate import score, score_several

    card = predictor.card
    data = replace(data.renamed(card.aliases), several=predictor.several)
    if not predictor.several and any(len(row) != 1 for row in data.labels):
        raise InputError("labels", "the weights give one label a text, the data have several")
    targets = data.targets(card.labels)
    probabilities = predictor.probabilities(predictor.logits(data.texts))
    if predictor.several:
        return score_several(probabilities, targets, card.labels, predictor.thresholds)
    return score(probabilities, targets, card.labels)


# ------------------------------------------------------------------------------------------ export


def export_one(weights: str | None, output: str, max_mb: float | None) -> int:
    """One ONNX file with its weights inside; with ``max_mb`` the rarest words are left out."""
    import click

    from cnnapps.apps.textcls.bundle import bundle
    from cnnapps.core.files import check_no_weights, write_bytes
    from cnnapps.core.weights import find, open_weights

    check_no_weights(output)
    opened = open_weights(find(weights, "textcls"), app="textcls")
    data, kept, difference = bundle(opened, max_bytes=int(max_mb * 1e6) if max_mb else None)
    write_bytes(output, data)
    units = int(opened.card.arguments["units"])
    cut = f" of {units:,} units (the rarest are unknown to it)" if kept < units else " units"
    same = "texts of words that it knows: " if kept < units else ""
    click.echo(
        f"{output}: {len(data) / 1e6:.2f} MB, {kept:,}{cut}; "
        f"{same}largest difference to {opened.card.name} {difference:.1e}"
    )
    return 0
