"""Table 2 of Kim 2014 on the same seven sets, beside the peers that people use, in one run.

A cell is one (set, system, fold, seed). Each is a small JSON file in the output folder with the
answers to its test rows, so a run can be stopped and continued, cells can be computed on several
machines, and systems can be compared in pairs on the same rows afterwards.

The parts: cv0 ... cv9 where the set has folds (test on fold k, fold k + 1 chooses, the rest
trains), else train / dev / test. SST trains on all phrases of the training trees, as the paper did.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import io
import json
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from cnnapps.apps.textcls.data import SETS, Dataset, normalise, overlap, phrases, read_set
from cnnapps.core.errors import DependencyError, InputError, TrainingError, need
from cnnapps.core.files import write_bytes

__all__ = [
    "PAPER",
    "SYSTEMS",
    "Split",
    "cells_of",
    "levers_text",
    "paired",
    "read_cells",
    "run",
    "table",
    "table_text",
    "with_capitals",
]

PAPERS = ("rand", "static", "non-static", "multichannel")
VARIANTS = (*PAPERS, "default", "quality")
PEERS = ("tfidf-svm", "nb-svm", "nb-svm-mixed", "fasttext")
SYSTEMS = (*VARIANTS, *PEERS)
LEVERS = ("labels", "vectors", "phrases", "teacher", "text", "ensemble", "more")
"""The default recipe taken apart; each adds to those before it up to ``text``.

labels: random vectors; vectors: three packaged sources; phrases: of the treebank, SST only;
teacher: the quality net's answers on the training texts; text: and on new texts. Beyond it,
ensemble: three such teachers, each with its new texts; more: one teacher, four times the texts."""
PAPER: dict[str, dict[str, float]] = {
    "rand": dict(mr=76.1, sst1=45.0, sst2=82.7, subj=89.6, trec=91.2, cr=79.8, mpqa=83.4),
    "static": dict(mr=81.0, sst1=45.5, sst2=86.8, subj=93.0, trec=92.8, cr=84.7, mpqa=89.6),
    "non-static": dict(mr=81.5, sst1=48.0, sst2=87.2, subj=93.4, trec=93.6, cr=84.3, mpqa=89.5),
    "multichannel": dict(mr=81.1, sst1=47.4, sst2=88.1, subj=93.2, trec=92.2, cr=85.0, mpqa=89.4),
}
"""Table 2 of the paper, accuracy in percent."""
SOURCES = ("spacy-md", "kumo", "wink")


@dataclasses.dataclass(frozen=True, slots=True)
class Cell:
    """One training and its test."""

    set: str
    system: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        return f"{self.set}-{self.system}-{self.fold}-{self.seed}"


@dataclasses.dataclass(frozen=True, slots=True)
class Split:
    """Texts and class numbers of a cell's three parts.

    The training part begins with its ``sentences`` sentences; phrases may follow.
    """

    train: tuple[list[str], np.ndarray]
    dev: tuple[list[str], np.ndarray]
    test: tuple[list[str], np.ndarray]
    classes: int
    sentences: int


@functools.cache
def _read(name: str, folder: Path) -> Dataset:
    return read_set(name, folder)


@functools.cache
def _phrases(folder: Path) -> list[tuple[str, int]]:
    return phrases(folder / "sst.trees.train.txt.xz")


def split_of(data: Dataset, name: str, fold: int, folder: Path) -> Split:
    """The parts of one fold, with the treebank's phrases on SST."""
    labels = data.classes()
    if any(s == "cv0" for s in data.splits):
        test = data.where(f"cv{fold}")
        dev = data.where(f"cv{(fold + 1) % 10}")
        train = data.where(*(f"cv{k}" for k in range(10) if k not in (fold, (fold + 1) % 10)))
    else:
        test, dev, train = data.where("test"), data.where("dev"), data.where("train")
    texts, targets = train.texts, train.targets(labels)
    if name.startswith("sst"):
        found = _phrases(folder)
        if name == "sst2":
            found = [(t, int(y > 2)) for t, y in found if y != 2]
        texts = [*texts, *(t for t, _ in found)]
        targets = np.concatenate([targets, np.array([y for _, y in found])])
    return Split(
        (texts, targets),
        (dev.texts, dev.targets(labels)),
        (test.texts, test.targets(labels)),
        len(labels),
        len(train),
    )


RELATED = {
    "mr": ("sst1", "sst2", "subj"),
    "sst1": ("mr", "subj"),
    "sst2": ("mr", "subj"),
    "subj": ("mr", "sst1", "sst2"),
}
"""Sets that share sentences: SST is MR annotated again, four in ten sentences of Subj are in MR."""


def refuse_leaks(name: str, training: Sequence[str], folder: Path) -> None:
    """InputError when texts of a related set, that are not of this set, are trained on."""
    own = {normalise(t) for t in _read(name, folder).texts}
    if name.startswith("sst"):  # its phrases and neutral sentences are its own as well
        own |= {normalise(t) for t, _ in _phrases(folder)}
    for other in RELATED.get(name, ()):
        if not (folder / f"{other}.tsv.xz").is_file():
            continue
        foreign = [t for t in _read(other, folder).texts if normalise(t) not in own]
        long = [t for t in foreign if len(t.split()) > 8]
        leaked = overlap(long, training)
        if leaked:
            raise InputError(name, f"trains on {len(leaked)} sentences of {other}")


# --------------------------------------------------------------------------------------- our nets


def _fit(run: Path, *arguments: Any, **options: Any) -> Any:
    """``train.fit``, going on where a killed run of the same cell left its checkpoint."""
    from cnnapps.apps.textcls.train import fit

    # a net with an encoder writes 270 MB: rarely, where other programs want the machine too
    options["recipe"] = dataclasses.replace(options["recipe"], checkpoint_seconds=300.0)
    if any(run.glob("step-*.pt")):
        with contextlib.suppress(TrainingError):  # of another recipe or other data: start anew
            return fit(*arguments, run=run, resume=True, quiet=True, **options)
        shutil.rmtree(run)
    return fit(*arguments, run=run, quiet=True, **options)


def _units_and_vectors(split: Split, folders: Sequence[str], seed: int, *, given: bool,
                       length: float = 0.0) -> tuple[Any, np.ndarray]:  # fmt: skip
    """Words of the training part, then those of the others; their vectors.

    Words of the other parts get their given vectors, as in the paper (rand: random ones).
    """
    from cnnapps.apps.textcls.tokens import build_words, tokenize
    from cnnapps.apps.textcls.train import random_vectors
    from cnnapps.apps.textcls.vectors import channels, read_vectors

    rest = dict.fromkeys(w for t in (*split.dev[0], *split.test[0]) for w in tokenize(t))
    units = build_words(split.train[0], also=rest)
    if not given:
        return units, random_vectors(len(units), 300, seed)
    read = [read_vectors(s, units.names()[2:], folders=folders) for s in SOURCES]
    return units, channels(units.names(), read, length=length, seed=seed).matrix


def _kim(cell: Cell, split: Split, folders: Sequence[str], settings: Sequence[str],
         run: Path) -> np.ndarray:  # fmt: skip
    """One of the paper's variants with the paper's recipe; dev stops it, as in the paper."""
    from cnnapps.apps.textcls.train import encode, logits_of, paper

    if cell.set == "trec" and cell.system == "rand":
        split = with_capitals(split)
    texts, targets = split.train
    phrases_too = len(texts) > split.sentences
    recipe = paper(cell.system, patience=4, epochs=6 if phrases_too else 25, seed=cell.seed)
    recipe = recipe.updated(*settings)
    units, vectors = _units_and_vectors(
        split, folders, cell.seed, given=cell.system != "rand", length=recipe.vector_length
    )
    fitted = _fit(
        run,
        texts, targets, _labels(split), units=units, vectors=vectors, recipe=recipe, dev=split.dev,
    )  # fmt: skip
    return logits_of(fitted.net, encode(units, split.test[0], 10_000)).argmax(1)


def with_capitals(split: Split) -> Split:
    """The same questions, with a mark on the words that have a capital.

    The paper's code lowers the case of every set but TREC, where names and the question word at
    the beginning are words of their own; our units have no case.
    """

    def marked(part: tuple[list[str], np.ndarray]) -> tuple[list[str], np.ndarray]:
        texts, targets = part
        return [
            " ".join(w if w.lower() == w else f"\N{MODIFIER LETTER SMALL C}{w}"
                     for w in text.split())
            for text in texts
        ], targets  # fmt: skip

    return dataclasses.replace(
        split, train=marked(split.train), dev=marked(split.dev), test=marked(split.test)
    )


def _labels(split: Split) -> tuple[str, ...]:
    return tuple(str(i) for i in range(split.classes))


@dataclasses.dataclass(frozen=True, slots=True)
class Taught:
    """What a quality net answered: logits of the test texts, and of texts to learn from."""

    test: np.ndarray
    texts: list[str]
    """The training texts (with SST, a sample of the phrases), then new ones made from them."""
    logits: np.ndarray
    own: int
    """How many of ``texts`` are training texts."""


def quality_net(split: Split, folders: Sequence[str], seed: int, settings: Sequence[str],
                run: Path, keep: Path, *, made: int) -> Taught:  # fmt: skip
    """The quality net of one cell, and its answers; kept in ``keep``, since it teaches another.

    It has nothing to choose on dev (its settings are the same for every set) and trains on it.
    """
    from cnnapps.apps.textcls import minilm
    from cnnapps.apps.textcls.distil import mixed
    from cnnapps.apps.textcls.train import encode, logits_of, tuned

    if keep.is_file():
        with np.load(keep, allow_pickle=False) as stored:
            return Taught(stored["test"], stored["texts"].tolist(), stored["logits"],
                          int(stored["own"]))  # fmt: skip
    texts, targets = _with_dev(split)
    rng = np.random.default_rng(seed)
    sentences = [*range(split.sentences), *range(len(split.train[0]), len(texts))]
    long = [i for i in range(split.sentences, len(split.train[0])) if len(texts[i].split()) >= 4]
    chosen = [*sentences, *rng.permutation(long)[:PHRASES].tolist()]
    units, tensors = minilm.read_minilm(folders)
    net = minilm.build(units, tensors, split.classes, seed=seed)
    recipe = tuned(seed=seed).updated(*settings)
    fitted = _fit(
        run,
        [texts[i] for i in chosen], targets[chosen], _labels(split), units=units, recipe=recipe,
        start=net,
    )  # fmt: skip

    def ask(asked: Sequence[str]) -> np.ndarray:
        return logits_of(fitted.net, encode(units, asked, 256), precision=recipe.precision)

    test = ask(split.test[0])
    own = list(dict.fromkeys(texts[i] for i in chosen))
    known = set(own)
    new = dict.fromkeys(mixed([texts[i] for i in sentences], made, rng))
    asked = [*own, *(t for t in new if t not in known)]
    answers = ask(asked)
    buffer = io.BytesIO()
    np.savez(buffer, test=test, texts=np.array(asked), logits=answers, own=len(own))
    keep.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(keep, buffer.getvalue())
    return Taught(test, asked, answers, len(own))


TEACHERS = 3
PHRASES = 12_000
MADE, MORE = 40_000, 160_000
"""New texts for the teacher to label."""


def default_lever(name: str) -> str:
    """The lever that is the default on a set.

    On SST it is ``more``: beside 70,000 phrases that no teacher answered, 40,000 texts that one did
    are too few.
    """
    return "more" if name.startswith("sst") else "text"


def lever_of(cell: Cell) -> str:
    """How far up LEVERS a cell goes; quality makes what the default of its set learns from."""
    if cell.system in ("default", "quality"):
        return default_lever(cell.set)
    return cell.system.removeprefix("+")


def _teacher(cell: Cell, split: Split, seed: int, folders: Sequence[str],
             settings: Sequence[str], run: Path, keep: Path) -> Taught:  # fmt: skip
    """The quality net of the cell's fold, with as many new texts as the cell's lever has."""
    made = MORE if lever_of(cell) == "more" else MADE
    name = f"{cell.set}-{cell.fold}-{seed}" + (f"-{made}" if made != MADE else "")
    if settings:  # those of --set are for the quality net alone, and teach nobody
        name += "-" + hashlib.sha256("\n".join(settings).encode()).hexdigest()[:12]
    return quality_net(split, folders, seed, settings, run, keep / f"{name}.npz", made=made)


def _student(cell: Cell, split: Split, folders: Sequence[str], settings: Sequence[str],
             run: Path, keep: Path) -> np.ndarray:  # fmt: skip
    """Kim's CNN with the default recipe, up to and including the cell's lever."""
    from cnnapps.apps.textcls.predict import softmax
    from cnnapps.apps.textcls.train import encode, logits_of, student

    lever = lever_of(cell)
    level = LEVERS.index(lever)
    texts, targets = _with_dev(split)
    if level < LEVERS.index("phrases"):
        rows = [*range(split.sentences), *range(len(split.train[0]), len(texts))]
        texts, targets = [texts[i] for i in rows], targets[rows]
    p: np.ndarray | None = None
    epochs, batch = (3.0, 100) if len(texts) > 50_000 else (8.0, 50)
    if level >= LEVERS.index("teacher"):
        seeds = [cell.seed + 10 * k for k in range(TEACHERS if lever == "ensemble" else 1)]
        taught = [_teacher(cell, split, s, folders, (), run / f"teacher-{s}", keep) for s in seeds]
        made = level >= LEVERS.index("text")
        texts, targets, p = _lesson(texts, targets, taught, softmax, made=made)
        if made:
            epochs, batch = (3.0, 100) if len(texts) > 100_000 else (4.0, 100)
    units, vectors = _units_and_vectors(split, folders, cell.seed, given=level > 0)
    recipe = student(epochs=epochs, batch=batch, seed=cell.seed)
    if cell.set == "mpqa":  # four of five opinions there have fewer than five words
        recipe = dataclasses.replace(recipe, widths=(1, 2, 3))
    recipe = recipe.updated(*settings)
    fitted = _fit(
        run,
        texts, targets, _labels(split), units=units, vectors=vectors, recipe=recipe, teacher=p,
    )  # fmt: skip
    return logits_of(fitted.net, encode(units, split.test[0], 10_000)).argmax(1)


def _lesson(
    texts: Sequence[str], targets: np.ndarray, taught: Sequence[Taught],
    softmax: Callable[[np.ndarray], np.ndarray], *, made: bool,
) -> tuple[list[str], np.ndarray, np.ndarray]:  # fmt: skip
    """Texts, labels and teacher's probabilities (NaN where it wasn't asked).

    With several teachers each answers on its own new texts, and on the training texts their mean
    counts: one net learns what the ensemble says.
    """
    sums: dict[str, list[np.ndarray]] = {}
    for one in taught:
        for t, z in zip(one.texts[: one.own], softmax(one.logits[: one.own]), strict=True):
            sums.setdefault(t, []).append(z)
    classes = taught[0].logits.shape[1]
    nothing = np.full(classes, np.nan)
    p = [np.mean(sums[t], 0) if t in sums else nothing for t in texts]
    out, labels = list(texts), list(targets)
    if made:
        for one in taught:
            new = softmax(one.logits[one.own :])
            out += one.texts[one.own :]
            labels += new.argmax(1).tolist()
            p += list(new)
    return out, np.array(labels, dtype=np.int64), np.array(p, dtype=np.float32)


# ------------------------------------------------------------------------------------------ peers


def _tfidf_svm(split: Split, seed: int) -> np.ndarray:
    """1-2-grams, sublinear TF-IDF, lower case, words at white space; LinearSVC with C = 1."""
    text = need("sklearn.feature_extraction.text", "the peer tfidf-svm")
    svm = need("sklearn.svm", "the peer tfidf-svm")
    count = text.TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+", lowercase=True
    )
    train, targets = _with_dev(split)
    model = svm.LinearSVC(C=1.0, random_state=seed).fit(count.fit_transform(train), targets)
    return np.asarray(model.predict(count.transform(split.test[0])))


def _nb_svm(split: Split, seed: int, *, cost: float, mixed: bool) -> np.ndarray:
    """Wang and Manning 2012: an SVM over binary bigrams weighed by their log-count ratios.

    ``mixed`` interpolates its weights with their mean by 0.25, which helps balanced classes and
    hurts the others; C is 0.1 without and 1 with it.
    """
    text = need("sklearn.feature_extraction.text", "the peer nb-svm")
    svm = need("sklearn.svm", "the peer nb-svm")
    count = text.CountVectorizer(ngram_range=(1, 2), binary=True, token_pattern=r"\S+")
    train, targets = _with_dev(split)
    x, unseen = count.fit_transform(train).tocsr(), count.transform(split.test[0]).tocsr()
    scores = np.zeros((unseen.shape[0], split.classes))
    for c in range(split.classes):
        p = np.asarray(x[targets == c].sum(0)).ravel() + 1.0
        q = np.asarray(x[targets != c].sum(0)).ravel() + 1.0
        ratio = np.log((p / p.sum()) / (q / q.sum()))
        model = svm.LinearSVC(C=cost, random_state=seed)
        model.fit(x.multiply(ratio).tocsr(), (targets == c).astype(int))
        weight = model.coef_.ravel()
        if mixed:
            weight = 0.75 * np.abs(weight).mean() + 0.25 * weight
        scores[:, c] = unseen.multiply(ratio).tocsr() @ weight + model.intercept_[0]
    return scores.argmax(1)


def _fasttext(split: Split, seed: int, scratch: Path) -> np.ndarray:
    """Joulin et al. 2017: rate 0.5, 10 epochs (phrases: 5), bigrams, 50 dimensions, one thread."""
    fasttext = need("fasttext", "the peer fasttext")
    train, targets = _with_dev(split)
    order = np.random.default_rng(seed).permutation(len(train))  # it trains in the file's order
    scratch.mkdir(parents=True, exist_ok=True)
    path = scratch / "fasttext.txt"
    rows = (f"__label__{targets[i]} {' '.join(train[i].lower().split())}\n" for i in order)
    path.write_text("".join(rows), encoding="utf-8")
    model = fasttext.train_supervised(
        input=str(path), lr=0.5, epoch=5 if len(train) > 50_000 else 10, wordNgrams=2, dim=50,
        bucket=200_000, thread=1, seed=seed, verbose=0,
    )  # fmt: skip
    # its own predict breaks with numpy 2, the one below it does not
    answers = [
        model.f.predict(" ".join(t.lower().split()) + "\n", 1, 0.0, "strict") for t in split.test[0]
    ]
    return np.array([int(a[0][1].removeprefix("__label__")) if a else 0 for a in answers])


def _with_dev(split: Split) -> tuple[list[str], np.ndarray]:
    """The peers have nothing to choose on dev, so they train on it."""
    return [*split.train[0], *split.dev[0]], np.concatenate([split.train[1], split.dev[1]])


# ------------------------------------------------------------------------------------- the run


def cells_of(
    sets: Sequence[str], systems: Sequence[str], folds: str, seeds: Sequence[int]
) -> Iterator[Cell]:
    """The cells that are asked for, cheap sets first; peers and the paper's variants once."""
    for name in sorted(sets, key=("trec", "cr", "mpqa", "mr", "subj", "sst2", "sst1").index):
        many = name in ("mr", "subj", "cr", "mpqa")
        chosen = range(10) if folds == "all" else _numbers(folds, "--folds", 0, 9)
        for fold in chosen:
            if fold < (10 if many else 1):
                for system in systems:
                    if system == "+phrases" and not name.startswith("sst"):
                        continue
                    if system == f"+{default_lever(name)}":
                        continue  # is the default there
                    for seed in seeds if system not in (*PAPERS, *PEERS) else seeds[:1]:
                        yield Cell(name, system, fold, seed)


def _numbers(text: str, option: str, low: int, high: int) -> list[int]:
    """The numbers of a list like 0,1,2 or 0-2,5: each once, in the order given."""
    numbers: dict[int, None] = {}
    for word in text.split(","):
        found = re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", word.strip())
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (low, low - 1)
        if not low <= first <= last <= high or last - first >= 100:
            problem = f"{text!r} is no list like 0,1,2 or 0-2 of numbers from {low} to {high}"
            raise InputError(option, problem)
        numbers.update(dict.fromkeys(range(first, last + 1)))
    return [*numbers]


def _names(text: str, known: Sequence[str], option: str) -> list[str]:
    if text == "all":
        return list(known)
    if text == "none":
        return []
    names = [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        if name not in known:
            raise InputError(option, f"{name!r} is none of {', '.join(known)}")
    if not names:
        raise InputError(option, f"names none of {', '.join(known)}")
    return names


def run(
    *,
    data: str,
    sets: str,
    variants: str,
    folds: str,
    seeds: str,
    peers: bool,
    folders: Sequence[str],
    output: str,
    settings: Sequence[str],
    table: str | None,
    quiet: bool,
    debug: bool,
) -> int:
    """Compute the missing cells, then print the table (and write it with ``table``)."""
    torch = need("torch", "benchmark")
    torch.set_num_threads(1)
    levers = tuple(f"+{lever}" for lever in LEVERS)
    if variants == "levers":
        variants = ",".join((*levers, "default"))
    known = (*VARIANTS, *levers)
    chosen_variants = VARIANTS if variants == "all" else _names(variants, known, "--variants")
    systems = [*chosen_variants, *(PEERS if peers else ())]
    chosen = _names(sets, SETS, "--sets")
    numbers = _numbers(seeds, "--seeds", 0, 2**31 - 1)
    out, folder = Path(output), Path(data)
    (out / "cells").mkdir(parents=True, exist_ok=True)
    skipped: set[str] = set()
    for cell in cells_of(chosen, systems, folds, numbers):
        path = out / "cells" / f"{cell.name}.json"
        if path.is_file() and _settings_of(path) not in ([*settings], None):
            raise InputError("--set", f"{path} was made with other settings: give another --output")
        if path.is_file() or cell.system in skipped:
            continue
        split = split_of(_read(cell.set, folder), cell.set, cell.fold, folder)
        refuse_leaks(cell.set, _with_dev(split)[0], folder)
        begun, cpu = time.monotonic(), time.process_time()
        try:
            answers = _answers(cell, split, [*folders], settings, out / "run" / cell.name)
        except DependencyError as error:
            click.echo(f"{cell.system}: left out, {error}", err=True)
            skipped.add(cell.system)
            continue
        truth = split.test[1]
        learned = split.train[0] if cell.system in PAPERS else _with_dev(split)[0]
        inside = set(overlap(split.test[0], learned))
        right = answers == truth
        apart = np.array([i not in inside for i in range(len(truth))])
        row: dict[str, Any] = {
            **dataclasses.asdict(cell),
            "n": len(truth),
            "accuracy": float(right.mean()),
            "repeated": len(inside),
            "accuracy_without_repeated": float(right[apart].mean()) if apart.any() else None,
            "seconds": round(time.monotonic() - begun, 1),
            "cpu_seconds": round(time.process_time() - cpu, 1),
            "right": "".join("1" if r else "0" for r in right),
            "settings": list(settings),
        }
        write_bytes(path, (json.dumps(row) + "\n").encode())
        shutil.rmtree(out / "run" / cell.name, ignore_errors=True)
        if not quiet:
            click.echo(f"{cell.name}: {row['accuracy']:.4f} ({row['cpu_seconds']:.0f} CPU s)")
    cells = read_cells(out)
    write_bytes(out / "cells.json", (json.dumps(cells, indent=0) + "\n").encode())
    text = table_text(cells, chosen) + levers_text(cells, chosen)
    click.echo(text)
    if table:
        write_bytes(table, text.encode())
    return 0


def _settings_of(path: Path) -> list[str] | None:
    """The ``--set`` of a cell; None where it can't be read."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return [*json.loads(path.read_text(encoding="utf-8"))["settings"]]
    return None


def _answers(
    cell: Cell, split: Split, folders: Sequence[str], settings: Sequence[str], run: Path
) -> np.ndarray:
    peers: dict[str, Callable[[], np.ndarray]] = {
        "tfidf-svm": lambda: _tfidf_svm(split, cell.seed),
        "nb-svm": lambda: _nb_svm(split, cell.seed, cost=0.1, mixed=False),
        "nb-svm-mixed": lambda: _nb_svm(split, cell.seed, cost=1.0, mixed=True),
        "fasttext": lambda: _fasttext(split, cell.seed, run),
    }
    if cell.system in peers:
        return peers[cell.system]()
    keep = run.parent.parent / "teachers"
    if cell.system == "quality":
        return _teacher(cell, split, cell.seed, folders, settings, run, keep).test.argmax(1)
    if cell.system in PAPERS:
        return _kim(cell, split, folders, settings, run)
    return _student(cell, split, folders, settings, run, keep)


def read_cells(out: Path) -> list[dict[str, Any]]:
    """All cells that are there."""
    rows = []
    for path in sorted((out / "cells").glob("*.json")):
        with contextlib.suppress(ValueError):
            rows.append(json.loads(path.read_text(encoding="utf-8")))
    return rows


def table(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> list[list[str]]:
    """One line a system: accuracy in percent, deviation over seeds, folds done where not all."""
    lines = []
    for system in SYSTEMS:
        line = [system]
        for name in sets:
            own = [r for r in rows if r["system"] == system and r["set"] == name]
            if not own:
                line.append("-")
                continue
            complete = _complete(own)
            means = []
            for part in complete:
                n = sum(r["n"] for r in part)
                means.append(100 * sum(r["accuracy"] * r["n"] for r in part) / n)
            text = f"{np.mean(means):.1f}"
            if len(means) > 1:
                text += f" ± {np.std(means, ddof=1):.1f}"
            full = 10 if name in ("mr", "subj", "cr", "mpqa") else 1
            done = len(complete[0])
            if done < full:
                text += f" ({done}/{full} folds)"
            paper = PAPER.get(system, {}).get(name)
            line.append(text + (f" [{paper:.1f}]" if paper else ""))
        if any(cell != "-" for cell in line[1:]):
            lines.append(line)
    return lines


def _complete(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """The rows of each seed that has as many folds as any: means over other folds would mislead."""
    by_seed: dict[int, list[dict[str, Any]]] = {}
    for r in rows:
        by_seed.setdefault(r["seed"], []).append(r)
    most = max(map(len, by_seed.values()))
    return [part for part in by_seed.values() if len(part) == most]


def table_text(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> str:
    """The table as Markdown, with what has to be said below it."""
    head = ["system", *sets]
    lines = [head, ["---"] * len(head), *table(rows, sets)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    repeated = {
        name: max(  # of the system with the most folds
            sum(r["repeated"] for r in rows if r["set"] == name and (r["system"], r["seed"]) == one)
            for one in {("", 0), *((r["system"], r["seed"]) for r in rows)}
        )
        for name in sets
    }
    notes = []
    for name, n in repeated.items():
        if n:
            notes.append(f"{name}: {n} test texts also occur in their training part")
        own = [r for r in rows if r["set"] == name]
        if 100 * sum(r["repeated"] for r in own) > sum(r["n"] for r in own):
            notes[-1] += f"; accuracy on the others: {_without_repeated(own)}"
    return text + "\n\nAccuracy in percent; [Table 2 of the paper].\n" + "\n".join(notes)


def _without_repeated(rows: Sequence[dict[str, Any]]) -> str:
    """ "rand 84.1, default 89.0": systems on the test texts that they did not learn from."""
    found = []
    for system in dict.fromkeys((*SYSTEMS, *(r["system"] for r in rows))):
        cells = [r for r in rows if r["system"] == system]
        n = sum(r["n"] - r["repeated"] for r in cells)
        if n:
            right = sum(
                (r["accuracy_without_repeated"] or 0) * (r["n"] - r["repeated"]) for r in cells
            )
            found.append(f"{system} {100 * right / n:.1f}")
    return ", ".join(found)


def paired(
    a: Sequence[dict[str, Any]], b: Sequence[dict[str, Any]], *, draws: int = 2000
) -> tuple[float, float, float] | None:
    """How much more often ``b`` is right than ``a``, in points, with a 95% interval.

    Both are compared on the same rows with the same seeds and folds; the rows are drawn anew with
    replacement (bootstrap), all seeds of a row together. None where they share no cell.
    """
    right = [{(r["fold"], r["seed"]): r["right"] for r in rows} for rows in (a, b)]
    shared = sorted(set(right[0]) & set(right[1]))
    if not shared:
        return None
    by_fold: dict[int, list[np.ndarray]] = {}
    for fold, seed in shared:
        one, two = (
            np.frombuffer(r[fold, seed].encode(), dtype=np.uint8).astype(np.int64) for r in right
        )
        by_fold.setdefault(fold, []).append(two - one)
    gains = np.concatenate([np.mean(seeds, 0) for seeds in by_fold.values()])
    rng = np.random.default_rng(0)
    means = [gains[rng.integers(0, len(gains), len(gains))].mean() for _ in range(draws)]
    low, high = np.percentile(means, [2.5, 97.5])
    return 100 * float(gains.mean()), 100 * float(low), 100 * float(high)


def levers_text(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> str:
    """What each part of the default recipe bought, as Markdown; "" without cells of the kind."""
    lines = []
    for name in sets:
        own = [r for r in rows if r["set"] == name]
        before: list[dict[str, Any]] = []
        for lever in LEVERS:
            system = "default" if lever == default_lever(name) else f"+{lever}"
            found = [r for r in own if r["system"] == system]
            if not found or not any(r["system"].startswith("+") for r in own):
                continue
            by_seed: dict[int, list[float]] = {}
            for r in found:
                by_seed.setdefault(r["seed"], []).append(100 * r["accuracy"])
            means = [float(np.mean(v)) for v in by_seed.values()]
            gain = paired(before, found)
            bought = f"{gain[0]:+.1f} ({gain[1]:+.1f} to {gain[2]:+.1f})" if gain else ""
            folds = ",".join(str(f) for f in sorted({r["fold"] for r in found}))
            lines.append(
                f"| {name} {folds} | {lever} | {np.mean(means):.1f} | {len(means)} | {bought} |"
            )
            if lever != "ensemble":  # it and what follows stand beside each other
                before = found
    if not lines:
        return ""
    head = [
        "| set, fold | with | accuracy | seeds | bought (95%, paired) |",
        "|---|---|---|---|---|",
    ]
    return "\n\n" + "\n".join([*head, *lines]) + "\n"
