"""``cnnapps textcls train``: data, report, splits, vectors, training, scores, weights folder."""

from __future__ import annotations

import dataclasses
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from cnnapps.apps.textcls import data as corpus
from cnnapps.apps.textcls import evaluate as metrics
from cnnapps.apps.textcls import train as training
from cnnapps.apps.textcls.data import Dataset
from cnnapps.apps.textcls.distil import Lesson, lesson
from cnnapps.apps.textcls.predict import TextPredictor, load, softmax
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
from cnnapps.core.errors import InputError, TrainingError, counted, listed, printable
from cnnapps.core.export import check_export
from cnnapps.core.files import check_replaceable, write_bytes
from cnnapps.core.limits import DEFAULT
from cnnapps.core.plot import curves_of, line_chart
from cnnapps.core.weights import as_weights, find, open_weights

__all__ = ["train_on"]

SAMPLE = Path(__file__).parent / "sample" / "reviews.tsv"
LEAST_STEPS, MOST_EPOCHS = 250, 8
"""Of a net with an encoder on a small set."""
TEACHER, TUNING, FOLD = "teacher.npz", "tune", "fold-{}"
"""What is in a run's folder beside its checkpoints."""
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


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``cnnapps textcls train`` was asked for, by the names of its options."""

    data: tuple[str, ...]
    text_column: str | None
    label_column: str | None
    label_separator: str | None
    encoding: str | None
    max_bytes: int | None
    output: str
    dev: str | None
    test: str | None
    start: str | None
    """``--from``."""
    teacher: str | None
    new_texts: int | None
    """Mixed from the training texts for the teacher to label; None: as many as ``lesson`` likes."""
    vectors: tuple[str, ...]
    units: str
    variant: str | None
    class_weights: str
    folds: int | None
    autotune: bool
    minutes: float | None
    settings: tuple[str, ...]
    run: str | None
    resume: bool
    seed: int
    device: str
    threads: int
    tensorboard: bool
    quiet: bool
    debug: bool

    @property
    def folder(self) -> Path:
        """Where checkpoints, answers of a teacher and the curve are kept."""
        return Path(self.run or f"{self.output.rstrip('/')}.run")

    def typed(self, names: str) -> str | None:
        """The first ``--set`` of one of ``names`` (a regular expression), as it was typed."""
        for setting in self.settings:
            if re.fullmatch(names, setting.partition("=")[0].strip().replace("-", "_")):
                return setting
        return None

    def refuse(self, *, encoder: bool) -> None:
        """InputError for options that can't go together."""
        own = self.typed("widths|maps|bottleneck|variant|vector_length")
        for option, wrong, reason in (
            ("--variant", self.variant and encoder,
             f"{self.start} has an encoder, the paper's nets have none"),
            ("--from", self.start is not None and (self.vectors or self.units != "auto"),
             "brings its vectors and units: leave out --vectors and --units"),
            ("--set", self.start is not None and own,
             f"{own}: a net that goes on keeps its vectors and filters"),
            ("--variant", self.variant and self.start is not None,
             "is of new nets: one that goes on (--from) keeps its vectors and filters"),
            ("--autotune", self.start is not None and self.autotune,
             "can't be combined with --from"),
            ("--vectors", self.variant == "rand" and any(v != "none" for v in self.vectors),
             "the variant rand starts at random"),
            ("--teacher", self.teacher is not None and self.folds,
             "knows the texts of every fold: leave out --folds"),
            ("--new-texts", self.new_texts is not None and self.teacher is None,
             "are labelled by a teacher: give --teacher"),
            ("--resume", self.resume and (self.folds or self.autotune),
             "goes on with one training, not with --folds or --autotune"),
        ):  # fmt: skip
            if wrong:
                raise InputError(option, reason)

    def recipe(self, device: str, *, encoder: bool) -> TextRecipe:
        """The paper's, an encoder's, a student's or the default recipe, and what changes it."""
        if self.variant:
            recipe = paper(self.variant)
        elif encoder:
            precision = "bf16" if fast_bfloat16(device) else "fp32"
            recipe = tuned(batch=8, accumulate=4, precision=precision)  # 32 would need 2.5 GB
        else:
            recipe = student() if self.teacher is not None else TextRecipe()
        recipe = dataclasses.replace(recipe, seed=self.seed, class_weights=self.class_weights)
        if self.minutes and not self.autotune:
            recipe = dataclasses.replace(recipe, minutes=self.minutes, steps=999_999_999)
        return recipe.updated(*self.settings)

    def search(self) -> dict[str, tuple[str, ...]]:
        """What ``--autotune`` tries: SEARCH without what ``--set`` says."""
        free = {k: v for k, v in SEARCH.items() if not self.typed(k)}
        if self.variant:  # Adadelta finds its rate itself, and the rest is the paper's
            free = {k: v for k, v in free.items() if k in ("dropout", "widths", "maps")}
        return free

    def read(self, files: Sequence[str]) -> Dataset:
        return corpus.read_dataset(
            files,
            text_column=self.text_column,
            label_column=self.label_column,
            label_separator=self.label_separator,
            encoding=self.encoding,
            limits=dataclasses.replace(DEFAULT, bytes=self.max_bytes or DEFAULT.bytes),
        )

    def line(self) -> str:
        """The command, for the card."""
        return command_line(
            "textcls train", self.data,
            {
                "--text-column": self.text_column, "--label-column": self.label_column,
                "--label-separator": self.label_separator, "--encoding": self.encoding,
                "--max-bytes": self.max_bytes, "--dev": self.dev,
                "--test": self.test, "--from": self.start, "--teacher": self.teacher,
                "--new-texts": self.new_texts,
                "--vectors": self.vectors, "--units": None if self.units == "auto" else self.units,
                "--variant": self.variant,
                "--class-weights": None if self.class_weights == "none" else self.class_weights,
                "--folds": self.folds, "--autotune": self.autotune, "--minutes": self.minutes,
                "--set": self.settings, "--seed": None if self.seed == 1 else self.seed,
                "-o": self.output,
            },
        )  # fmt: skip


def train_on(data: Sequence[str], **given: Any) -> int:
    """The whole of the train command, ``given`` being its ``Options``; returns the exit code."""
    import torch

    options = Options(data=tuple(data), **given)
    torch.set_num_threads(options.threads)
    device = choose(options.device, runtime="torch")
    weights = teacher = None
    if options.start is not None:
        weights = open_weights(find(options.start, "textcls"), app="textcls")
    encoder = weights is not None and weights.card.net == "context-cnn"
    options.refuse(encoder=encoder)
    recipe = options.recipe(device, encoder=encoder)
    check_replaceable(options.output, options.folder, keeps=(TEACHER, TUNING, FOLD.format("*")))
    check_export()
    if options.teacher is not None:
        teacher = load(options.teacher, threads=options.threads)
    if not data:
        click.echo("No DATA: training on the sample inside the package (1,476 review sentences).")
    everything = options.read(list(data) or [str(SAMPLE)])
    if not data:
        everything = dataclasses.replace(everything, notes=())  # nothing had to be guessed
    with distributed.group(device) as world:
        if world.size > 1 and (options.folds or options.autotune):
            raise InputError("--folds" if options.folds else "--autotune", "runs in one process")

        def say(text: object) -> None:
            if world.first:
                click.echo(str(text))

        others = (("--from", weights), ("--teacher", teacher))
        cards = {option: other.card for option, other in others if other is not None}
        hint = None if everything.several else _hint(everything)
        if hint:
            say(f"warning: {hint}")
        parts = _parts(everything, options)
        say(corpus.report(_labelled(parts)))
        for warning in _leaks(everything, parts, cards, options):
            say(f"warning: {warning}")
        classes = parts.train.classes()
        if len(classes) < 2:
            raise TrainingError(f"one class only ({classes[0]}): nothing to learn")
        begin = start_of(parts.train, options.units, options.vectors, weights, recipe, classes)
        for note in begin.notes:
            say(note)
        classes = begin.classes or classes
        parts, everything = parts.renamed(begin.aliases), everything.renamed(begin.aliases)
        _check_classes(parts, classes)
        if options.test is None and (rare := _unseen(parts.test, classes)):
            say(f"warning: no text of the test part has the label {rare}")
        if encoder and not options.typed("epochs|steps"):
            # two epochs of a small set are too few steps to move a net
            least = LEAST_STEPS * recipe.batch * recipe.accumulate / len(parts.train)
            recipe = dataclasses.replace(recipe, epochs=max(recipe.epochs, min(MOST_EPOCHS, least)))
        taught = None
        if teacher is not None:
            taught = _ask(teacher, parts, classes, options, world)
            new = counted(len(taught.texts) - len(parts.train), "new text")
            say(f"{teacher.card.name} labelled {new}")
            source = source_of(teacher.card, "teacher: its answers were learned")
            begin = dataclasses.replace(begin, sources=(*begin.sources, source))
        runs = options.folder
        if options.folds:
            _cross_validate(everything, options.folds, begin, classes, recipe, runs, device, say)
        if options.autotune:
            recipe = _tune(parts, begin, classes, recipe, taught, options, device, say)
        fitted = _fit(
            parts.train, parts.dev, begin, classes, recipe, runs, device, taught, world,
            resume=options.resume, quiet=options.quiet, tensorboard=options.tensorboard,
        )  # fmt: skip
        if world.first:
            _finish(fitted, parts, begin, everything.sha256, options, say)
    return 0


def _unseen(part: Dataset, classes: Sequence[str]) -> str:
    """Labels that no text of a part has, for a message; of an empty part none."""
    if not len(part):
        return ""
    return listed(sorted(set(classes) - {x for row in part.labels for x in row}))


def _ask(
    teacher: TextPredictor, parts: Parts, classes: Sequence[str], options: Options,
    world: distributed.World,
) -> Lesson:  # fmt: skip
    """What ``--teacher`` says of the training texts and of new ones; rank 0 keeps its answers."""
    return lesson(
        teacher, parts.train.texts, parts.train.targets(classes), classes,
        unseen=[*parts.dev.texts, *parts.test.texts], new=options.new_texts, seed=options.seed,
        keep=options.folder / TEACHER if world.first else None,
        quiet=options.quiet or not world.first,
    )  # fmt: skip


def _leaks(
    everything: Dataset, parts: Parts, cards: Mapping[str, Card], options: Options
) -> Iterator[str]:
    """Ways in which the test part may be known already; ``cards`` by the option that names them."""
    known = corpus.overlap(parts.test.texts, parts.train.texts)
    if known:
        yield f"in the test and in the training part: {counted(len(known), 'text')}"
    named = {corpus.SPLIT_NAMES.get((s or "").strip().lower()) for s in everything.splits}
    for option, card in cards.items():
        if all(source.sha256 != everything.sha256 for source in card.sources):
            continue
        if options.folds:
            yield f"{card.name} ({option}) was trained on these data: it may know every fold"
        elif options.test is None and "test" not in named and not _cut_alike(card, options.seed):
            yield (f"{card.name} ({option}) was trained on these data, and not on the same part of "
                   "them (--seed): it may know texts of the test part")  # fmt: skip


def _cut_alike(card: Card, seed: int) -> bool:
    """Whether weights were trained on the part of their data that ``train`` cuts by ``seed``."""
    if not card.command.startswith("cnnapps textcls train") or re.search(r"--test\b", card.command):
        return False
    given = re.search(r"--seed[ =](\d+)", card.command)
    return int(given[1] if given else 1) == seed


def _check_classes(parts: Parts, classes: tuple[str, ...]) -> None:
    """InputError for a class that can't be learned, before hours are spent."""
    for name, part in (("dev", parts.dev), ("test", parts.test)):
        unknown = sorted({x for row in part.labels for x in row} - set(classes))
        if unknown:
            raise InputError(
                "labels",
                f"only in the {name} part, none to learn from in training: {listed(unknown)}",
            )


def _hint(data: Dataset) -> str | None:
    """What is odd about labels that are hardly ever the same; None where nothing is."""
    distinct = {x for row in data.labels for x in row}
    folded: dict[str, list[str]] = {}
    for label in sorted(distinct):
        folded.setdefault(label.casefold(), []).append(label)
    alike = [names for names in folded.values() if len(names) > 1]
    if alike:
        shown = "; ".join(", ".join(printable(x, 40) for x in names) for names in alike[:3])
        return f"labels that differ in case alone are different classes: {shown}"
    if len(distinct) <= max(20, len(data) // 4):
        return None
    for sign in corpus.SEPARATORS:
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


def _parts(everything: Dataset, options: Options) -> Parts:
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
            raise InputError(
                "split", f"parts are train, dev and test; the data also have: {listed(other)}"
            )
        train, held, unseen = named.where("train"), named.where("dev"), named.where("test")
        if not len(train):
            raise InputError("split", "no row is in the training part")
    if options.test is not None:
        unseen = options.read([options.test])
    elif not len(unseen):
        train, unseen = corpus.stratified(train, 0.1, options.seed)
    if options.dev is not None:
        held = options.read([options.dev])
    elif not len(held):
        train, held = corpus.stratified(train, 1 / 9, options.seed + 1)
    if not len(train) or not len(held):
        distinct = len(set(everything.texts))
        also = f" ({distinct} distinct)" if distinct < len(everything) else ""
        raise InputError("data", f"{counted(len(everything), 'text')}{also}: too few to train on")
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
        say(f"warning: a class has {counted(smallest, 'text')}, fewer than {parts} folds")
    numbers = corpus.folds(data.labels, parts, recipe.seed, texts=data.texts)
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
            raise InputError("--folds", f"{counted(len(data), 'text')}: too few for {parts} folds")
        fitted = _fit(train, dev, begin, classes, recipe, runs / FOLD.format(k), device)
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
    options: Options,
    device: str,
    say: Any,
) -> TextRecipe:
    """Random search on dev until the time is used; the given recipe comes first.

    Random search covers few important settings better than a grid (Bergstra and Bengio 2012).
    """
    search = options.search()
    rng = np.random.default_rng(recipe.seed)
    until = time.monotonic() + 60 * (options.minutes or 5.0)
    best, best_score, tries, longest = recipe, -1.0, 0, 0.0
    candidate, names = recipe, "the given recipe"
    while tries == 0 or time.monotonic() + longest < until:
        begun = time.monotonic()
        fitted = _fit(
            parts.train, parts.dev, begin, classes, candidate, options.folder / TUNING, device,
            taught,
        )  # fmt: skip
        longest = max(longest, time.monotonic() - begun)
        value = fitted.summary.best["accuracy"]
        tries += 1
        if value > best_score:
            best, best_score = candidate, value
            say(f"try {tries}: dev accuracy {value:.4f} with {names}")
        chosen = [f"{name}={rng.choice(values)}" for name, values in search.items()]
        candidate, names = recipe.updated(*chosen), " ".join(chosen)
    say(f"{counted(tries, 'try', 'tries')}, best dev accuracy {best_score:.4f}")
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
    sha256: str,
    options: Options,
    say: Any,
) -> None:
    """Measure on the test part, write the weights folder and the curve."""
    from cnnapps.apps.textcls.run import scores_of

    folder, runs = Path(options.output), options.folder
    name = ", ".join(Path(f).name for f in options.data or [SAMPLE])
    licence = "CC BY 4.0" if options.data in ((), (str(SAMPLE),)) else "the user's"
    card = Card(
        app="textcls",
        tag=re.sub(r"[^A-Za-z0-9._-]", "-", folder.name).strip(".-_")[:64] or "trained",
        net="kim-cnn",  # save knows better
        what=f"{len(fitted.labels)} classes, trained on {name}"[:100],
        licence="; ".join(dict.fromkeys([licence, *(s.licence for s in begin.sources)])),
        sources=(Source(name, licence, sha256, len(parts.train), "training data"), *begin.sources),
        aliases={k: v for k, v in begin.aliases.items() if v in fitted.labels},
        command=options.line(),
        limits="Answers with one of its labels, whatever the text; see --min-confidence.",
    )
    save(fitted, folder, card)
    written = load(folder.absolute())  # its name may be a tag's
    found = []
    for split, data, file in (
        ("dev", parts.dev, options.dev), ("test", parts.test, options.test)
    ):  # fmt: skip
        if not len(data):
            continue
        of, digest = (name, sha256) if file is None else (Path(file).name, data.sha256)
        scores = scores_of(written, data)
        n = len(data)
        majority = Counter(frozenset(row) for row in data.labels).most_common(1)[0][1] / n
        values = {"accuracy": scores.accuracy, "macro_f1": scores.macro_f1,
                  "calibration_error": scores.calibration_error, "majority": majority}  # fmt: skip
        found += [Metric(k, round(v, 6), of, split, n, digest) for k, v in values.items()]
        if split == "test":
            most = "commonest labels" if fitted.several else "majority class"
            say(f"\ntest ({counted(n, 'text')}, {most} {majority:.4f})\n{scores}")
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
