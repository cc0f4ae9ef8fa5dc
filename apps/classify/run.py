"""What the commands of ``cnnapps classify`` do; cli.py holds only their options."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.classify.explain import overlay
from cnnapps.apps.classify.predict import Classifier, ClassResult, Prepared, load
from cnnapps.apps.classify.read import DigitReader, DigitsResult, Found, largest, load_digits
from cnnapps.core.command import Job, Writer, answer_all, chosen_format, in_shard, state_of
from cnnapps.core.errors import CnnappsError, InputError, counted, printable
from cnnapps.core.limits import Limits
from cnnapps.core.media import PICTURES, expand_inputs, read_picture, write_picture
from cnnapps.core.progress import Progress, warn
from cnnapps.core.results import answer, dumps, refusal

__all__ = ["evaluate_on", "predict_inputs", "read_inputs"]

SUFFIXES = {
    ".json": "json", ".jsonl": "json", ".txt": "text", ".csv": "csv", ".png": "png", ".jpg": "png",
    ".jpeg": "png",
}  # fmt: skip
Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Shown:
    """A prepared input, and its pixels where a picture will be drawn on them."""

    ready: Any
    rgb: Pixels | None


# ----------------------------------------------------------------------------------------- photos


def predict_inputs(
    inputs: Sequence[str],
    *,
    top: int,
    explain: bool,
    pictures: str | None,
    batch: int,
    files_from: str | None,
    shard: tuple[int, int] | None,
    resume: bool,
    max_bytes: int | None,
    max_pixels: int | None,
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
    """Classify pictures; returns the exit code."""
    _need_inputs(inputs, files_from)
    form = chosen_format(form, as_json, output, SUFFIXES, "text")
    drawn = form == "png" or pictures is not None
    classifier = load(
        weights,
        runtime=runtime,
        device=device,
        threads=threads,
        top=top,
        explain=explain or drawn,
    )
    if classifier.preparation.kind == "digit":
        raise InputError(
            classifier.card.name, "reads digits: use 'cnnapps classify digits', or other weights"
        )
    limits = _limits(max_bytes, max_pixels)

    def shown(name: str) -> Shown:
        picture = read_picture(name, limits=limits)
        return Shown(classifier.prepare(picture), picture.rgb if drawn else None)

    jobs = _jobs(inputs, files_from, shard, shown, size=1 if drawn else batch)
    if form == "png":
        return _one_picture(jobs, output, lambda one: _explained(classifier, one))
    draw = _Drawer(pictures) if pictures is not None else None
    key = {
        "weights": classifier.card.identity,
        "inputs": state_of([*inputs, files_from]),
        "options": [top, explain, pictures, shard, form],
    }
    writer = Writer(output, resume=resume, key=key, inputs=inputs)
    if form == "csv" and not writer.done:
        writer.write(_csv(_header(classifier.top)))

    def render(job: Job, result: Any) -> str:
        if draw is not None and isinstance(result, ClassResult):
            draw(job, overlay(job.value.rgb, result.explanation) if result.explanation else None)
        return _render(form, classifier.card.name, classifier.top, job, result)

    with Progress(0, "pictures", quiet=quiet) as progress:
        return answer_all(
            jobs,
            lambda many: classifier.batch([one.ready for one in many], batch),
            writer,
            render,
            size=batch,
            progress=progress,
        )


def _need_inputs(inputs: Sequence[str], files_from: str | None) -> None:
    if not (inputs or files_from):
        raise click.UsageError("Missing argument 'INPUT...' (a picture, a folder, or -).")


def _limits(max_bytes: int | None, max_pixels: int | None) -> Limits:
    default = Limits()
    return Limits(bytes=max_bytes or default.bytes, pixels=max_pixels or default.pixels)


def _jobs(
    inputs: Sequence[str],
    files_from: str | None,
    shard: tuple[int, int] | None,
    read: Callable[[str], Any],
    *,
    size: int,
) -> Iterator[list[Job]]:
    """Prepared pictures, ``size`` at a time: a large picture is let go once it is prepared."""
    block: list[Job] = []
    for name, error in expand_inputs(inputs, suffixes=PICTURES, files_from=files_from):
        if not in_shard(shard, name=name):
            continue
        job = Job(name, error=error)
        if error is None:
            try:
                job.value = read(name)
            except CnnappsError as refused:
                job.error = refused
        block.append(job)
        if len(block) >= size:
            yield block
            block = []
    if block:
        yield block


def _render(form: str, weights: str, top: int, job: Job, result: Any) -> str:
    failed = isinstance(result, Exception)
    reason = (getattr(result, "reason", None) or str(result)) if failed else ""
    if form == "json":
        if failed:
            return dumps(refusal(job.source, reason))
        return dumps(answer(job.source, weights, result.to_dict()))
    if form == "csv":
        if failed:
            return _csv([job.source, *[""] * (3 * top), reason])
        cells = [c for g in result.top for c in (g.label, g.class_id, f"{g.probability:.6f}")]
        return _csv([job.source, *cells, *[""] * (3 * top - len(cells)), ""])
    name = printable(job.source)
    if failed:
        return f"{name}: error: {reason}"
    lines = [name]
    wide = max(len(printable(g.label, 40)) for g in result.top)
    for g in result.top:
        bar = "█" * round(20 * g.probability)
        lines.append(f"  {printable(g.label, 40):<{wide}} {g.probability:6.1%}  {bar}".rstrip())
    if result.explanation is not None:
        lines.append(f"  {printable(result.explanation.words)}")
    return "\n".join(lines)


def _header(top: int) -> list[str]:
    names = ["input"]
    for i in range(1, top + 1):
        tail = "" if i == 1 else f"_{i}"
        names += [f"label{tail}", f"class_id{tail}", f"probability{tail}"]
    return [*names, "error"]


def _csv(cells: Sequence[Any]) -> str:
    """One line; a text that a spreadsheet would take for a formula gets an apostrophe in front."""
    out = io.StringIO()
    safe = [
        "'" + c if isinstance(c, str) and c[:1] in ("=", "+", "-", "@", "\t", "\r") else c
        for c in cells
    ]
    csv.writer(out, lineterminator="").writerow(safe)
    return out.getvalue()


def _explained(classifier: Classifier, one: Shown) -> tuple[Pixels | None, str]:
    """The overlay and a sentence; no picture when no place speaks for the class."""
    result = classifier(one.ready)
    said = result.explanation
    assert said is not None and one.rgb is not None
    words = f"{result.top[0].label} {result.top[0].probability:.1%}: {said.words}"
    return (overlay(one.rgb, said) if said.focus is not None else None), words


def _one_picture(
    jobs: Iterator[list[Job]],
    output: str | None,
    draw: Callable[[Any], tuple[Pixels | None, str]],
) -> int:
    """-o FILE.png: one input, one picture; what is in it goes to stdout in words."""
    if output is None or output == "-":
        raise click.UsageError("--format png needs -o FILE.png")
    found = [job for block in jobs for job in block]
    if len(found) != 1:
        raise click.UsageError(f"one picture goes into {output}, not {len(found)} (--pictures)")
    job = found[0]
    if job.error is not None:
        raise job.error
    pixels, words = draw(job.value)
    click.echo(f"{printable(job.source)}: {printable(words, 2000)}")
    if pixels is None:
        warn(f"{output}: not written, there is nothing to show")
        return 0
    write_picture(output, pixels)
    return 0


class _Drawer:
    """Pictures of many inputs in one folder, by the inputs' names; none is overwritten."""

    def __init__(self, folder: str) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.used: set[str] = set()

    def __call__(self, job: Job, pixels: Pixels | None) -> None:
        if pixels is None:
            return
        stem = Path(job.source).stem or "stdin"
        name, number = stem, 1
        while name in self.used:
            number += 1
            name = f"{stem}-{number}"
        self.used.add(name)
        write_picture(self.folder / f"{name}.png", pixels)


# ----------------------------------------------------------------------------------------- digits


def read_inputs(
    inputs: Sequence[str],
    *,
    min_confidence: float,
    files_from: str | None,
    shard: tuple[int, int] | None,
    resume: bool,
    max_bytes: int | None,
    max_pixels: int | None,
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
    """Read the digits of pictures; returns the exit code."""
    _need_inputs(inputs, files_from)
    form = chosen_format(form, as_json, output, SUFFIXES, "text")
    reader = load_digits(
        weights, runtime=runtime, device=device, threads=threads, min_confidence=min_confidence
    )
    limits = _limits(max_bytes, max_pixels)

    def shown(name: str) -> Shown:
        picture = read_picture(name, limits=limits)
        return Shown(reader.find(picture), picture.rgb if form == "png" else None)

    jobs = _jobs(inputs, files_from, shard, shown, size=1)
    if form == "png":
        return _one_picture(jobs, output, lambda one: _boxed(reader, one))
    key = {
        "weights": reader.card.identity,
        "inputs": state_of([*inputs, files_from]),
        "options": [min_confidence, shard, form],
    }
    writer = Writer(output, resume=resume, key=key, inputs=inputs)
    if form == "csv" and not writer.done:
        writer.write(_csv(["input", "text", "digits", "least_probability", "error"]))

    def render(job: Job, result: Any) -> str:
        return _render_digits(form, reader.card.name, job, result)

    with Progress(0, "pictures", quiet=quiet) as progress:
        return answer_all(
            jobs,
            lambda many: reader.batch([one.ready for one in many]),
            writer,
            render,
            size=1,
            progress=progress,
        )


def _render_digits(form: str, weights: str, job: Job, result: Any) -> str:
    failed = isinstance(result, Exception)
    reason = (getattr(result, "reason", None) or str(result)) if failed else ""
    if form == "json":
        if failed:
            return dumps(refusal(job.source, reason))
        return dumps(answer(job.source, weights, result.to_dict()))
    if form == "csv":
        if failed:
            return _csv([job.source, "", "", "", reason])
        least = min((d.probability for d in result.digits), default=None)
        shown = "" if least is None else f"{least:.4f}"
        return _csv([job.source, result.text, len(result.digits), shown, ""])
    name = printable(job.source)
    if failed:
        return f"{name}: error: {reason}"
    lines = str(result).split("\n")
    return f"{name}: {lines[0]}" if len(lines) == 1 else "\n".join([f"{name}:", *lines])


def _boxed(reader: DigitReader, one: Shown) -> tuple[Pixels | None, str]:
    result = next(reader.batch([one.ready]))
    assert one.rgb is not None
    if not result.digits:
        return None, "no digits"
    return boxes(one.rgb, result), result.text.replace("\n", " / ")


def boxes(rgb: Pixels, result: DigitsResult) -> Pixels:
    """The picture with a box around each digit and, above it, what it was read as.

    Unsure digits (below 0.8) have a dashed orange box and a question mark.
    """
    from cnnapps.core.errors import need

    cv2 = need("cv2", "drawing")
    scale = max(1.0, 700 / max(rgb.shape[:2])) if max(rgb.shape[:2]) < 700 else 1.0
    size = (round(rgb.shape[1] * scale), round(rgb.shape[0] * scale))
    out = cv2.resize(rgb, size, interpolation=cv2.INTER_CUBIC) if scale > 1 else rgb.copy()
    pad = round(0.06 * max(out.shape[:2])) + 8
    out = cv2.copyMakeBorder(out, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=(255,) * 3)
    tall = float(np.median([d.box[3] - d.box[1] for d in result.digits])) * scale
    line = max(1, round(tall / 22))
    for d in result.digits:
        x0, y0, x1, y1 = (round(v * scale) + pad for v in d.box)
        sure = d.probability >= 0.8
        colour = (0, 130, 60) if sure else (230, 120, 0)
        _frame(cv2, out, (x0 - 2, y0 - 2, x1 + 2, y1 + 2), colour, line, dashed=not sure)
        text = str(d.digit) + ("" if sure else "?")
        font = max(0.4, tall / 75)
        at = (x0, max(round(22 * font), y0 - 4 - line))
        thick = max(1, round(font * 2))
        for shade, width in (((255, 255, 255), thick + 3), (colour, thick)):
            cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, font, shade, width, cv2.LINE_AA)
    return np.asarray(out, np.uint8)


def _frame(
    cv2: Any,
    out: Pixels,
    box: tuple[int, int, int, int],
    colour: tuple[int, int, int],
    line: int,
    *,
    dashed: bool,
) -> None:
    x0, y0, x1, y1 = box
    if not dashed:
        cv2.rectangle(out, (x0, y0), (x1, y1), colour, line)
        return
    step = max(4, 4 * line)
    for x in range(x0, x1, 2 * step):
        for y in (y0, y1):
            cv2.line(out, (x, y), (min(x + step, x1), y), colour, line)
    for y in range(y0, y1, 2 * step):
        for x in (x0, x1):
            cv2.line(out, (x, y), (x, min(y + step, y1)), colour, line)


# --------------------------------------------------------------------------------------- evaluate


def evaluate_on(
    data: str,
    *,
    split: str | None,
    weights: str | None,
    runtime: str,
    device: str,
    threads: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Measure weights on a folder a class; prints a table or the contract's JSON object."""
    from cnnapps.apps.classify.data import read_folder
    from cnnapps.apps.classify.evaluate import score

    classifier = load(weights, runtime=runtime, device=device, threads=threads)
    card = classifier.card
    found = read_folder(data)
    found = found.part(split) if split is not None else found
    unknown = sorted(set(found.labels) - set(card.labels))
    if unknown:
        known = ", ".join(card.labels[:6]) + (" …" if len(card.labels) > 6 else "")
        raise InputError(data, f"folder {unknown[0]!r} is no class of {card.name} ({known})")
    reader = None
    if classifier.preparation.kind == "digit":
        reader = load_digits(weights, runtime=runtime, device=device, threads=threads)
    rows, truth, failed = [], [], 0
    with Progress(len(found), "pictures", quiet=quiet) as progress:
        for done, (path, label) in enumerate(zip(found.paths, found.targets, strict=True), 1):
            try:
                rows.append(_scores_of(classifier, reader, path))
                truth.append(card.labels.index(found.labels[label]))
            except CnnappsError as error:
                warn(error)
                failed += 1
            progress.update(done)
    if not rows:
        raise InputError(data, "no picture could be answered")
    scores = score(np.stack(rows), np.array(truth), card.labels, unanswered=failed)
    if as_json:
        result = {
            "app": "classify",
            "weights": card.name,
            "data": data,
            "sha256": found.sha256(),
            "n": scores.n,
            "result": scores.to_dict(),
        }
        if split is not None:
            result["split"] = split
        click.echo(dumps(result))
    else:
        click.echo(f"{card.name} on {counted(scores.n, 'picture')} of {data}")
        click.echo(str(scores))
    return 1 if failed else 0


def _scores_of(classifier: Classifier, reader: DigitReader | None, path: Path) -> NDArray[Any]:
    """Logits or probabilities (classes,) of one picture; InputError if it holds no digit."""
    if reader is None:
        prepared: Prepared = classifier.prepare(os.fspath(path))
        return np.asarray(classifier.run(prepared.input[None])[0][0])
    found: Found = largest(reader.find(os.fspath(path)))
    if not found.places:
        raise InputError(path, "no digit found")
    return reader.probabilities(found.tiles)[0]
