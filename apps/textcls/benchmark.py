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
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from cnnapps.apps.textcls.data import SETS, Dataset, normalise, overlap, phrases, read_set
from cnnapps.core.errors import DependencyError, InputError, need
from cnnapps.core.files import write_bytes

__all__ = ["PAPER", "SYSTEMS", "cells_of", "read_cells", "run", "table", "table_text"]

VARIANTS = ("rand", "static", "non-static", "multichannel", "default", "quality")
PEERS = ("tfidf-svm", "nb-svm", "nb-svm-mixed", "fasttext")
SYSTEMS = (*VARIANTS, *PEERS)
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


def split_of(data: Dataset, name: str, fold: int, folder: Path) -> Split:
    """The parts of one fold. InputError if a test text of another set's kind is trained on."""
    labels = data.classes()
    if any(s == "cv0" for s in data.splits):
        test = data.where(f"cv{fold}")
        dev = data.where(f"cv{(fold + 1) % 10}")
        train = data.where(*(f"cv{k}" for k in range(10) if k not in (fold, (fold + 1) % 10)))
    else:
        test, dev, train = data.where("test"), data.where("dev"), data.where("train")
    texts, targets = train.texts, train.targets(labels)
    if name.startswith("sst"):
        found = phrases(folder / "sst.trees.train.txt.xz")
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
    own = {normalise(t) for t in read_set(name, folder).texts}
    for other in RELATED.get(name, ()):
        if not (folder / f"{other}.tsv.xz").is_file():
            continue
        foreign = [t for t in read_set(other, folder).texts if normalise(t) not in own]
        long = [t for t in foreign if len(t.split()) > 8]
        leaked = overlap(long, training)
        if leaked:
            raise InputError(name, f"trains on {len(leaked)} sentences of {other}")


# --------------------------------------------------------------------------------------- our nets


def _kim(cell: Cell, split: Split, folders: Sequence[str], settings: Sequence[str],
         run: Path) -> tuple[np.ndarray, dict[str, float]]:  # fmt: skip
    from cnnapps.apps.textcls.tokens import build_words, tokenize
    from cnnapps.apps.textcls.train import (
        TextRecipe,
        encode,
        fit,
        logits_of,
        paper,
        random_vectors,
    )  # fmt: skip
    from cnnapps.apps.textcls.vectors import channels, read_vectors

    texts, targets = split.train
    # Words of the other parts get their given vectors, as in the paper (rand: random ones).
    rest = dict.fromkeys(w for t in (*split.dev[0], *split.test[0]) for w in tokenize(t))
    units = build_words(texts, also=rest)
    phrases_too = len(texts) > split.sentences
    if cell.system == "default":
        recipe = TextRecipe(epochs=3 if phrases_too else 6)
        widths = {"trec": (1, 2, 3, 4), "mpqa": (1, 2, 3)}.get(cell.set, (2, 3, 4, 5))
        recipe = dataclasses.replace(recipe, widths=widths, batch=100 if phrases_too else 50)
    else:
        recipe = paper(cell.system, patience=4, epochs=6 if phrases_too else 25)
    recipe = dataclasses.replace(recipe, seed=cell.seed).updated(*settings)
    if cell.system == "rand":
        vectors = random_vectors(len(units), 300, cell.seed)
    else:
        read = [read_vectors(s, units.names()[2:], folders=folders) for s in SOURCES]
        vectors = channels(units.names(), read, seed=cell.seed).matrix
    labels = tuple(str(i) for i in range(split.classes))
    fitted = fit(
        texts, targets, labels, units=units, vectors=vectors, recipe=recipe, run=run,
        dev=split.dev, quiet=True,
    )  # fmt: skip
    z = logits_of(fitted.net, encode(units, split.test[0], 10_000))
    return z.argmax(1), {"dev": fitted.summary.best.get("accuracy", 0.0)}


def _quality(cell: Cell, split: Split, folders: Sequence[str], settings: Sequence[str],
             run: Path) -> tuple[np.ndarray, dict[str, float]]:  # fmt: skip
    from cnnapps.apps.textcls import minilm
    from cnnapps.apps.textcls.train import TextRecipe, encode, fit, logits_of

    texts, targets = split.train
    if len(texts) > split.sentences:  # all sentences, and a sample of the longer phrases
        rng = np.random.default_rng(cell.seed)
        long = [i for i in range(split.sentences, len(texts)) if len(texts[i].split()) >= 4]
        kept = [*range(split.sentences), *rng.permutation(long)[:12_000].tolist()]
        texts, targets = [texts[i] for i in kept], targets[kept]
    units, tensors = minilm.read_minilm(folders)
    net = minilm.build(units, tensors, split.classes)
    recipe = TextRecipe(
        epochs=2, lr=1e-3, batch=32, precision="bf16", ema=0.99, warmup=0.1, schedule="linear",
        smoothing=0.05, weight_decay=0.01, clip=1.0, unknown=0.0, max_units=128, seed=cell.seed,
    ).updated(*settings)  # fmt: skip
    labels = tuple(str(i) for i in range(split.classes))
    fitted = fit(
        texts, targets, labels, units=units, recipe=recipe, run=run, dev=split.dev, start=net,
        quiet=True,
    )  # fmt: skip
    z = logits_of(fitted.net, encode(units, split.test[0], 256), precision="bf16")
    return z.argmax(1), {"dev": fitted.summary.best.get("accuracy", 0.0)}


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
        chosen = range(10 if many else 1) if folds == "all" else map(int, folds.split(","))
        for fold in chosen:
            if fold < (10 if many else 1):
                for system in systems:
                    for seed in seeds if system in ("default", "quality") else seeds[:1]:
                        yield Cell(name, system, fold, seed)


def _names(text: str, known: Sequence[str], option: str) -> list[str]:
    if text == "all":
        return list(known)
    if text == "none":
        return []
    names = [n.strip() for n in text.split(",") if n.strip()]
    for name in names:
        if name not in known:
            raise InputError(option, f"{name!r} is none of {', '.join(known)}")
    return names


def run(
    *,
    data: str,
    sets: str,
    variants: str,
    folds: str,
    seeds: str,
    peers: bool,
    vectors: Sequence[str],
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
    systems = [*_names(variants, VARIANTS, "--variants"), *(PEERS if peers else ())]
    chosen = _names(sets, SETS, "--sets")
    numbers = [int(s) for s in seeds.split(",")]
    out, folder = Path(output), Path(data)
    (out / "cells").mkdir(parents=True, exist_ok=True)
    loaded: dict[str, Dataset] = {}
    skipped: set[str] = set()
    for cell in cells_of(chosen, systems, folds, numbers):
        path = out / "cells" / f"{cell.name}.json"
        if path.is_file() or cell.system in skipped:
            continue
        whole = loaded.setdefault(cell.set, read_set(cell.set, folder))
        split = split_of(whole, cell.set, cell.fold, folder)
        refuse_leaks(cell.set, split.train[0], folder)
        begun, cpu = time.monotonic(), time.process_time()
        try:
            answers, more = _answers(cell, split, [*folders], settings, out / "run" / cell.name)
        except DependencyError as error:
            click.echo(f"{cell.system}: left out, {error}", err=True)
            skipped.add(cell.system)
            continue
        truth = split.test[1]
        inside = set(overlap(split.test[0], split.train[0]))
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
            **more,
        }
        write_bytes(path, (json.dumps(row) + "\n").encode())
        shutil.rmtree(out / "run" / cell.name, ignore_errors=True)
        if not quiet:
            click.echo(f"{cell.name}: {row['accuracy']:.4f} ({row['cpu_seconds']:.0f} CPU s)")
    cells = read_cells(out)
    write_bytes(out / "cells.json", (json.dumps(cells, indent=0) + "\n").encode())
    text = table_text(cells, chosen)
    click.echo(text)
    if table:
        write_bytes(table, text.encode())
    return 0


def _answers(
    cell: Cell, split: Split, folders: Sequence[str], settings: Sequence[str], run: Path
) -> tuple[np.ndarray, dict[str, float]]:
    peers: dict[str, Callable[[], np.ndarray]] = {
        "tfidf-svm": lambda: _tfidf_svm(split, cell.seed),
        "nb-svm": lambda: _nb_svm(split, cell.seed, cost=0.1, mixed=False),
        "nb-svm-mixed": lambda: _nb_svm(split, cell.seed, cost=1.0, mixed=True),
        "fasttext": lambda: _fasttext(split, cell.seed, run),
    }
    if cell.system in peers:
        return peers[cell.system](), {}
    ours = _quality if cell.system == "quality" else _kim
    return ours(cell, split, folders, settings, run)


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
            seeds = sorted({r["seed"] for r in own})
            means = []
            for seed in seeds:
                part = [r for r in own if r["seed"] == seed]
                means.append(
                    100 * sum(r["accuracy"] * r["n"] for r in part) / sum(r["n"] for r in part)
                )
            text = f"{np.mean(means):.1f}"
            if len(means) > 1:
                text += f" ± {np.std(means, ddof=1):.1f}"
            full = 10 if name in ("mr", "subj", "cr", "mpqa") else 1
            done = len({r["fold"] for r in own})
            if done < full:
                text += f" ({done}/{full} folds)"
            paper = PAPER.get(system, {}).get(name)
            line.append(text + (f" [{paper:.1f}]" if paper else ""))
        if any(cell != "-" for cell in line[1:]):
            lines.append(line)
    return lines


def table_text(rows: Sequence[dict[str, Any]], sets: Sequence[str]) -> str:
    """The table as Markdown, with what has to be said below it."""
    head = ["system", *sets]
    lines = [head, ["---"] * len(head), *table(rows, sets)]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    repeated = {
        name: sum(r["repeated"] for r in rows if r["set"] == name and r["system"] == first)
        for name in sets
        for first in [next((r["system"] for r in rows if r["set"] == name), "")]
    }
    notes = [
        f"{name}: {n} test texts also occur in their training part"
        for name, n in repeated.items()
        if n
    ]
    return text + "\n\nAccuracy in percent; [Table 2 of the paper].\n" + "\n".join(notes)
