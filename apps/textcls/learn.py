"""``cnnapps textcls train``: data, report, splits, vectors, training, scores, weights folder."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from cnnapps.apps.textcls import data as corpus
from cnnapps.apps.textcls import evaluate as metrics
from cnnapps.apps.textcls import train as training
from cnnapps.apps.textcls.data import Dataset
from cnnapps.apps.textcls.distil import Lesson, lesson
from cnnapps.apps.textcls.predict import load, softmax
from cnnapps.apps.textcls.start import Start, source_of, start_of
from cnnapps.apps.textcls.train import (
    Fitted,
    TextRecipe,
    fit,
    logits_of,
    paper,
    save,
    student,
    tuned,
)
from cnnapps.core import distributed
from cnnapps.core.card import Card, Metric, Source
from cnnapps.core.command import command_line
from cnnapps.core.device import choose, fast_bfloat16
from cnnapps.core.errors import InputError, TrainingError, printable
from cnnapps.core.files import check_replaceable, write_bytes
from cnnapps.core.limits import DEFAULT
from cnnapps.core.plot import curves_of, line_chart
from cnnapps.core.weights import as_weights, find, open_weights

__all__ = ["train_on"]

SAMPLE = Path(__file__).parent / "sample" / "reviews.tsv"
LEAST_STEPS, MOST_EPOCHS = 250, 8
"""Of a net with an encoder on a small set."""
SEARCH: dict[str, tuple[str, ...]] = {
    "lr": ("5e-4", "1e-3", "2e-3", "4e-3"),
    "epochs": ("4", "8", "16"),
    "dropout": ("0.3", "0.5", "0.6"),
    "word_dropout": ("0", "0.1", "0.2"),
    "widths": ("3,4,5", "1,2,3", "2,3,4", "1,2,3,4,5"),
    "maps": ("50", "100", "200"),
    "smoothing": ("0", "0.1"),
    "table_rate": ("0.3", "1"),
}


@dataclasses.dataclass(frozen=True, slots=True)
class Parts:
    """Training, dev and test rows of one data set."""

    train: Dataset
    dev: Dataset
    test: Dataset

    def renamed(self, aliases: Mapping[str, str]) -> Parts:
        """The same parts with other names for some labels."""
        return Parts(*(part.renamed(aliases) for part in (self.train, self.dev, self.test)))


def train_on(
    paths: Sequence[str],
    *,
    text_column: str | None,
    label_column: str | None,
    label_separator: str | None,
    encoding: str | None,
    max_bytes: int | None,
    output: str,
    dev: str | None,
    test: str | None,
    start: str | None,
    teacher: str | None,
    vectors: Sequence[str],
    units: str,
    variant: str | None,
    class_weights: str,
    folds: int | None,
    autotune: bool,
    minutes: float | None,
    settings: Sequence[str],
    run: str | None,
    resume: bool,
    seed: int,
    device: str,
    threads: int,
    tensorboard: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """The whole of the train command; returns the exit code."""
    import torch

    torch.set_num_threads(threads)
    device = choose(device, runtime="torch")
    weights = open_weights(find(start, "textcls"), app="textcls") if start is not None else None
    encoder = weights is not None and weights.card.net == "context-cnn"
    if variant and encoder:
        raise InputError("--variant", f"{start} has an encoder, the paper's nets have none")
    recipe = _recipe(variant, device, encoder=encoder, taught=teacher is not None)
    recipe = dataclasses.replace(recipe, seed=seed, class_weights=class_weights)
    if minutes and not autotune:
        recipe = dataclasses.replace(recipe, minutes=minutes, steps=999_999_999)
    recipe = recipe.updated(*settings)
    runs = Path(run or f"{output.rstrip('/')}.run")
    check_replaceable(Path(output))
    if start is not None and (vectors or units != "auto"):
        raise InputError("--from", "brings its vectors and units: leave out --vectors and --units")
    own = next(
        (x for x in settings if re.match(r"\s*(widths|maps|bottleneck|variant)\s*=", x)), None
    )
    if start is not None and own:
        raise InputError("--set", f"{own}: a net that goes on keeps its filters")
    if start is not None and autotune:
        raise InputError("--autotune", "can't be combined with --from")
    if variant == "rand" and any(v != "none" for v in vectors):
        raise InputError("--vectors", "the variant rand starts at random")
    if teacher is not None and folds:
        raise InputError("--teacher", "knows the texts of every fold: leave out --folds")
    asked = load(teacher, threads=threads) if teacher is not None else None
    if resume and (folds or autotune):
        raise InputError("--resume", "goes on with one training, not with --folds or --autotune")
    line = command_line(
        "textcls train", paths,
        {
            "--text-column": text_column, "--label-column": label_column,
            "--label-separator": label_separator, "--encoding": encoding,
            "--max-bytes": max_bytes, "--dev": dev,
            "--test": test, "--from": start, "--teacher": teacher, "--vectors": vectors,
            "--units": None if units == "auto" else units, "--variant": variant,
            "--class-weights": None if class_weights == "none" else class_weights,
            "--folds": folds, "--autotune": autotune, "--minutes": minutes, "--set": settings,
            "--seed": None if seed == 1 else seed, "-o": output,
        },
    )  # fmt: skip

    def read(files: Sequence[str]) -> Dataset:
        return corpus.read_dataset(
            files,
            text_column=text_column,
            label_column=label_column,
            label_separator=label_separator,
            encoding=encoding,
            limits=dataclasses.replace(DEFAULT, bytes=max_bytes or DEFAULT.bytes),
        )

    if not paths:
        click.echo("No DATA: training on the sample inside the package (1,476 review sentences).")
    files = list(paths) or [str(SAMPLE)]
    everything = read(files)
    if not paths:
        everything = dataclasses.replace(everything, notes=())  # nothing had to be guessed
    with distributed.group(device) as world:
        if world.size > 1 and (folds or autotune):
            raise InputError("--folds" if folds else "--autotune", "runs in one process")

        def say(text: object) -> None:
            if world.first:
                click.echo(str(text))

        hint = None if everything.several else _hint(everything)
        if hint:
            say(f"warning: {hint}")
        parts = _parts(everything, dev, test, read, seed)
        say(corpus.report(_labelled(parts)))
        leaks = corpus.overlap(parts.test.texts, parts.train.texts)
        if leaks:
            say(f"warning: {len(leaks)} texts of the test part also occur in the training part")
        if test is None and not any(everything.splits):
            for option, card in (("--from", weights and weights.card),
                                 ("--teacher", asked and asked.card)):  # fmt: skip
                if card and _split_otherwise(card, everything.sha256, seed):
                    say(f"warning: {card.name} ({option}) was trained on these data with another "
                        f"--seed: it has seen texts of the test part")  # fmt: skip
        classes = parts.train.classes()
        if len(classes) < 2:
            raise TrainingError(f"one class only ({classes[0]}): nothing to learn")
        begin = start_of(parts.train, units, vectors, weights, recipe, classes)
        for note in begin.notes:
            say(note)
        classes = begin.classes or classes
        parts = parts.renamed(begin.aliases)
        everything = everything.renamed(begin.aliases)
        _check_classes(parts, classes)
        rare = sorted(set(classes) - {x for row in parts.test.labels for x in row})
        if rare and test is None and len(parts.test):
            shown = ", ".join(printable(x, 40) for x in rare[:5])
            more = f" and {len(rare) - 5} more" if len(rare) > 5 else ""
            say(f"warning: no text of the test part has the label {shown}{more}")
        if encoder and not any(re.match(r"\s*(epochs|steps)\s*=", x) for x in settings):
            # two epochs of a small set are too few steps to move a net
            least = LEAST_STEPS * recipe.batch * recipe.accumulate / len(parts.train)
            recipe = dataclasses.replace(recipe, epochs=max(recipe.epochs, min(MOST_EPOCHS, least)))
        taught = None
        if asked is not None:
            taught = lesson(
                asked, parts.train.texts, parts.train.targets(classes), classes,
                unseen=[*parts.dev.texts, *parts.test.texts], seed=seed,
                keep=runs / "teacher.npz" if world.first else None,
                quiet=quiet or not world.first,
            )  # fmt: skip
            say(f"{asked.card.name} labelled {len(taught.texts) - len(parts.train):,} new texts")
            source = source_of(asked.card, "teacher: its answers were learned")
            begin = dataclasses.replace(begin, sources=(*begin.sources, source))
        if folds:
            _cross_validate(everything, folds, begin, classes, recipe, runs, device, say)
        if autotune:
            recipe = _tune(parts, begin, classes, recipe, taught, minutes or 5.0, runs, device, say)
        fitted = _fit(parts.train, parts.dev, begin, classes, recipe, runs, device, taught, world,
                      resume=resume, quiet=quiet, tensorboard=tensorboard)  # fmt: skip
        if not world.first:
            return 0
        _finish(fitted, parts, begin, files, everything.sha256, output, runs, line, say)
    return 0


def _recipe(variant: str | None, device: str, *, encoder: bool, taught: bool) -> TextRecipe:
    """What ``--set`` changes: the paper's, an encoder's, a student's or the default recipe."""
    if variant:
        return paper(variant)
    if encoder:
        precision = "bf16" if fast_bfloat16(device) else "fp32"
        return tuned(batch=8, accumulate=4, precision=precision)  # 32 would need 2.5 GB
    return student() if taught else TextRecipe()


def _split_otherwise(card: Card, sha256: str, seed: int) -> bool:
    """Whether weights were trained on a part of the same data that another seed chose."""
    if all(source.sha256 != sha256 for source in card.sources):
        return False
    given = re.search(r"--seed[ =](\d+)", card.command)
    return int(given[1] if given else 1) != seed


def _check_classes(parts: Parts, classes: tuple[str, ...]) -> None:
    """InputError for a class that can't be learned, before hours are spent."""
    for name, part in (("dev", parts.dev), ("test", parts.test)):
        unknown = sorted({x for row in part.labels for x in row} - set(classes))
        if unknown:
            shown = ", ".join(printable(x, 40) for x in unknown[:5])
            raise InputError(
                "labels", f"only in the {name} part, none to learn from in training: {shown}"
            )


_SEPARATORS = (";", "|", ",", "/")


def _hint(data: Dataset) -> str | None:
    """What is odd about labels that are hardly ever the same; None where nothing is."""
    distinct = {x for row in data.labels for x in row}
    if len(distinct) <= max(20, len(data) // 4):
        return None
    for sign in _SEPARATORS:
        parts = {p.strip() for x in distinct for p in x.split(sign)}
        if sum(sign in x for x in distinct) > len(distinct) / 2 and len(parts) < len(distinct) / 2:
            return f'labels look like lists: --label-separator "{sign}"?'
    return f"{len(distinct)} labels for {len(data)} texts: the right column? (--label-column)"


def _labelled(parts: Parts) -> Dataset:
    """All rows with the part that they are in, for the report."""
    named = (("train", parts.train), ("dev", parts.dev), ("test", parts.test))
    texts = [t for _, d in named for t in d.texts]
    labels = [x for _, d in named for x in d.labels]
    splits: list[str | None] = [name for name, d in named for _ in range(len(d))]
    return dataclasses.replace(parts.train, texts=texts, labels=labels, splits=splits)


def _parts(everything: Dataset, dev: str | None, test: str | None, read: Any, seed: int) -> Parts:
    """Given parts where there are any, else a tenth for dev and a tenth for test.

    Where the data name parts, rows of other names are an error: they'd be trained on, or lost.
    """
    given = [(s or "").strip().lower() for s in everything.splits]
    splits: list[str | None] = [corpus.SPLIT_NAMES.get(s) for s in given]
    named = dataclasses.replace(everything, splits=splits)
    train, held, unseen = named, named.take([]), named.take([])
    if any(splits):
        other = sorted({s for s, part in zip(given, splits, strict=True) if part is None})
        if other:
            shown = ", ".join(printable(s, 40) or "(blank)" for s in other[:5])
            raise InputError("split", f"parts are train, dev and test; the data also have: {shown}")
        train, held, unseen = named.where("train"), named.where("dev"), named.where("test")
        if not len(train):
            raise InputError("split", "no row is in the training part")
    if test is not None:
        unseen = read([test])
    elif not len(unseen):
        train, unseen = corpus.stratified(train, 0.1, seed)
    if dev is not None:
        held = read([dev])
    elif not len(held):
        train, held = corpus.stratified(train, 1 / 9, seed + 1)
    if not len(train) or not len(held):
        distinct = len(set(everything.texts))
        also = f" ({distinct} distinct)" if distinct < len(everything) else ""
        raise InputError("data", f"{len(everything)} texts{also} are too few to train on")
    return Parts(train, held, unseen)


def _fit(
    train: Dataset,
    dev: Dataset,
    begin: Start,
    classes: tuple[str, ...],
    recipe: TextRecipe,
    run: Path,
    device: str,
    taught: Lesson | None = None,
    world: distributed.World | None = None,
    *,
    resume: bool = False,
    quiet: bool = True,
    tensorboard: bool = False,
) -> Fitted:
    import copy

    texts, targets = train.texts, train.targets(classes)
    if taught is not None:
        texts, targets = taught.texts, taught.targets
    return fit(
        texts,
        targets,
        classes,
        units=begin.units,
        vectors=begin.vectors,
        recipe=recipe,
        run=run,
        dev=(dev.texts, dev.targets(classes)),
        teacher=taught.teacher if taught is not None else None,
        start=copy.deepcopy(begin.net),
        resume=resume,
        device=device,
        quiet=quiet,
        world=world,
        tensorboard=tensorboard,
    )


def _cross_validate(
    data: Dataset,
    parts: int,
    begin: Start,
    classes: tuple[str, ...],
    recipe: TextRecipe,
    runs: Path,
    device: str,
    say: Any,
) -> None:
    """Accuracy on each of ``parts`` folds; the next fold chooses the epoch (of two folds, a tenth
    of the other one).
    """
    smallest = min(sum(c in row for row in data.labels) for c in classes)
    if smallest < parts:
        say(f"warning: a class has {smallest} texts, fewer than {parts} folds")
    numbers = corpus.folds(data.labels, parts, recipe.seed)
    found = []
    for k in range(parts):
        test = data.take(np.nonzero(numbers == k)[0].tolist())
        if parts == 2:
            rest = data.take(np.nonzero(numbers != k)[0].tolist())
            train, dev = corpus.stratified(rest, 0.1, recipe.seed)
        else:
            dev = data.take(np.nonzero(numbers == (k + 1) % parts)[0].tolist())
            kept = (numbers != k) & (numbers != (k + 1) % parts)
            train = data.take(np.nonzero(kept)[0].tolist())
        if not len(test) or not len(dev) or not len(train):
            raise InputError("--folds", f"{len(data)} texts are too few for {parts} folds")
        fitted = _fit(train, dev, begin, classes, recipe, runs / f"fold-{k}", device)
        found.append(_scores(fitted, test).accuracy)
        say(f"fold {k}: accuracy {found[-1]:.4f} (n {len(test)})")
    deviation = float(np.std(found, ddof=1))
    say(f"{parts} folds: accuracy {np.mean(found):.4f}, standard deviation {deviation:.4f}")


def _tune(
    parts: Parts,
    begin: Start,
    classes: tuple[str, ...],
    recipe: TextRecipe,
    taught: Lesson | None,
    minutes: float,
    runs: Path,
    device: str,
    say: Any,
) -> TextRecipe:
    """Random search over SEARCH on dev until the time is used; the given recipe is the first try.

    Random search covers few important settings better than a grid (Bergstra and Bengio 2012).
    """
    rng = np.random.default_rng(recipe.seed)
    until = time.monotonic() + 60 * minutes
    best, best_score, tries, longest = recipe, -1.0, 0, 0.0
    candidate, names = recipe, "the given recipe"
    while tries == 0 or time.monotonic() + longest < until:
        begun = time.monotonic()
        fitted = _fit(
            parts.train, parts.dev, begin, classes, candidate, runs / "tune", device, taught
        )
        longest = max(longest, time.monotonic() - begun)
        value = fitted.summary.best["accuracy"]
        tries += 1
        if value > best_score:
            best, best_score = candidate, value
            say(f"try {tries}: dev accuracy {value:.4f} with {names}")
        chosen = [f"{n}={rng.choice(options)}" for n, options in SEARCH.items()]
        candidate, names = recipe.updated(*chosen), " ".join(chosen)
    say(f"{tries} tries, best dev accuracy {best_score:.4f}")
    return best


def _scores(fitted: Fitted, data: Dataset) -> metrics.Scores:
    """Scores of the trained net in float32; the exported one is checked to agree with it."""
    ids = training.encode(fitted.units, data.texts, training.judged_units(fitted.net))
    z = logits_of(fitted.net, ids) / fitted.temperature
    targets = data.targets(fitted.labels)
    if fitted.several:
        p = 1 / (1 + np.exp(-z))
        return metrics.score_several(p, targets, fitted.labels, np.array(fitted.thresholds))
    return metrics.score(softmax(z), targets, fitted.labels)


def _finish(
    fitted: Fitted,
    parts: Parts,
    begin: Start,
    files: Sequence[str],
    sha256: str,
    output: str,
    runs: Path,
    line: str,
    say: Any,
) -> None:
    """Measure on the test part, write the weights folder and the curve."""
    from cnnapps.apps.textcls.run import scores_of

    folder = Path(output)
    name = ", ".join(Path(f).name for f in files)
    licence = "CC BY 4.0" if files == [str(SAMPLE)] else "the user's"
    card = Card(
        app="textcls",
        tag=re.sub(r"[^A-Za-z0-9._-]", "-", folder.name).strip(".-_")[:64] or "trained",
        net="kim-cnn",  # save knows better
        what=f"{len(fitted.labels)} classes, trained on {name}"[:100],
        licence="; ".join(dict.fromkeys([licence, *(s.licence for s in begin.sources)])),
        sources=(Source(name, licence, sha256, len(parts.train), "training data"), *begin.sources),
        command=line,
        limits="Answers with one of its labels, whatever the text; see --min-confidence.",
    )
    save(fitted, folder, card)
    written = load(folder.absolute())  # its name may be a tag's
    found = []
    for split, data in (("dev", parts.dev), ("test", parts.test)):
        if not len(data):
            continue
        scores = scores_of(written, data)
        n = len(data)
        majority = max(sum(c in row for row in data.labels) for c in fitted.labels) / n
        values = {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1,
                  "calibration_error": scores.calibration_error, "majority": majority}  # fmt: skip
        found += [Metric(k, round(v, 6), name, split, n, sha256) for k, v in values.items()]
        if split == "test":
            say(f"\ntest ({n:,} texts, majority class {majority:.4f})\n{scores}")
    final = dataclasses.replace(written.card, metrics=tuple(found))
    write_bytes(folder / "card.json", final.to_json().encode())
    curve = line_chart(
        curves_of(runs / "metrics.jsonl", ("loss", "accuracy")),
        title=f"Training of {final.tag}",
        x="steps",
        y="loss (training), accuracy (dev)",
    )
    write_bytes(runs / "curve.svg", curve.encode())
    name = as_weights(folder, "textcls")
    say(
        f"\n{folder}: {written.card.size / 1e6:.1f} MB; use it with --weights {name}"
        f"\n{runs / 'curve.svg'}: the training curve"
    )
