"""Speed beside the peers, in one interleaved run: `make bench` prints one table.

    python tests/bench.py --data ../shared/data/text

Every round runs all candidates once (A B C A B C ...), one thread; the table has the median of five
rounds in CPU seconds, which on a quiet machine are wall seconds and on a busy one are steadier, and
the ratio to ours with its range (set OMP_NUM_THREADS=1, as make does). Timings depend on the
machine: only the ratios of one run mean something. The accuracy stands beside the speed, on the
same texts.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnnapps.apps.textcls import load
from cnnapps.apps.textcls.data import phrases, read_dataset, read_set
from cnnapps.apps.textcls.tokens import tokenize

ROUNDS = 5
SAMPLE = Path(__file__).parent.parent / "apps" / "textcls" / "sample" / "reviews.tsv"


@dataclasses.dataclass(frozen=True)
class Texts:
    """What is timed, what is judged, and what the peers train on."""

    timed: list[str]
    judged: list[str]
    truth: np.ndarray
    train: list[str]
    targets: np.ndarray
    names: tuple[str, str]


def texts_of(folder: Path | None) -> Texts:
    """MR is timed and not judged: SST, which all train on, holds most of its sentences."""
    if folder is not None:
        film, goods = read_set("sst2", folder).where("train"), read_set("cr", folder)
        parts = [p for p in phrases(folder / "sst.trees.train.txt.xz") if p[1] != 2]
        train = [*film.texts, *goods.texts, *(t for t, _ in parts)]
        labels = [*film.targets(("0", "1")), *goods.targets(("0", "1")), *(y > 2 for _, y in parts)]
        ood = read_set("ood_sentiment_dev", folder)
        truth = ood.targets(("0", "1"))
        names = ("MR", "ood_sentiment_dev, all trained on SST-2 with its phrases and on CR")
        mr = read_set("mr", folder).texts
        return Texts(mr, ood.texts, truth, train, np.array(labels, dtype=np.int64), names)
    data = read_dataset([SAMPLE])
    targets = data.targets(("negative", "positive"))
    name = "the packaged sample (the peers train on it)"
    return Texts(data.texts, data.texts, targets, data.texts, targets, (name, name))


def candidates(
    train: list[str], targets: np.ndarray, scratch: Path
) -> dict[str, Callable[[list[str]], np.ndarray]]:
    """Name -> function from texts to classes."""
    predictor = load("default")
    found: dict[str, Callable[[list[str]], np.ndarray]] = {
        "cnnapps textcls/default": lambda t: predictor.logits(t).argmax(1)
    }
    try:
        import fasttext

        path = scratch / "train.txt"
        rows = [
            f"__label__{y} {' '.join(t.lower().split())}\n"
            for t, y in zip(train, targets, strict=True)
        ]
        order = np.random.default_rng(1).permutation(len(rows))
        path.write_text("".join(rows[i] for i in order), encoding="utf-8")
        model = fasttext.train_supervised(
            input=str(path), lr=0.5, epoch=5 if len(rows) > 50_000 else 10, wordNgrams=2, dim=50,
            bucket=200_000, thread=1, verbose=0,
        )  # fmt: skip

        def fast(texts: list[str]) -> np.ndarray:
            lines = [" ".join(t.lower().split()) + "\n" for t in texts]
            answers = [model.f.predict(line, 1, 0.0, "strict") for line in lines]
            return np.array([int(a[0][1].removeprefix("__label__")) if a else 0 for a in answers])

        found["fastText 0.9.2"] = fast
    except ImportError:
        print("fasttext is not installed: left out", file=sys.stderr)
    try:
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.svm import LinearSVC

        tfidf = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
        svm = LinearSVC(C=1.0).fit(tfidf.fit_transform(train), targets)
        found["TF-IDF + LinearSVC"] = lambda t: np.asarray(svm.predict(tfidf.transform(t)))
    except ImportError:
        print("scikit-learn is not installed: left out", file=sys.stderr)
    try:
        from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

        vader = SentimentIntensityAnalyzer()
        found["VADER 3.3.2"] = lambda t: np.array(
            [int(vader.polarity_scores(x)["compound"] >= 0) for x in t]
        )
    except ImportError:
        print("vaderSentiment is not installed: left out", file=sys.stderr)
    return found


# A process of its own starts the one that is measured: a child's peak counts its parent's memory.
_MEASURE = """
import resource, subprocess, sys, time
begun = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
wall, used = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
print(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
"""


def process_seconds(command: list[str]) -> tuple[float, float, float]:
    """Wall and CPU seconds and peak MB of a whole process."""
    measured = subprocess.run(
        [sys.executable, "-c", _MEASURE, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    wall, cpu, peak = map(float, measured.stdout.split())
    return wall, cpu, peak


def photos() -> None:
    """`classify`: a process from start to answer, pictures a second, and torch on the same net."""
    import torch

    from cnnapps.apps.classify import load as load_classifier
    from cnnapps.apps.classify.predict import table
    from cnnapps.core.media import read_picture
    from cnnapps.core.weights import find, open_weights

    torch.set_num_threads(1)
    folder = Path(__file__).parent / "data" / "vision"
    files = [folder / "chelsea.jpg", folder / "coffee.jpg"] * 16
    me = [sys.executable, "-m", "cnnapps", "classify"]
    print("\n| process | wall s | CPU s | peak MB |\n|---|---|---|---|")
    for title, command in (
        ("cnnapps classify PHOTO", [*me, str(files[0])]),
        ("cnnapps classify digits SCAN", [*me, "digits", str(folder / "digits.png")]),
    ):
        runs = [process_seconds(command) for _ in range(ROUNDS)]
        wall, cpu = (statistics.median(r[i] for r in runs) for i in (0, 1))
        print(f"| {title} | {wall:.2f} | {cpu:.2f} | {max(r[2] for r in runs):.0f} |")
    classifier = load_classifier()
    weights = open_weights(find(None, "classify"), app="classify")
    net = table()[weights.card.net](**weights.card.arguments).eval()
    net.load_state_dict({n: torch.from_numpy(t.copy()) for n, t in weights.tensors().items()})
    square = [read_picture(f).rgb[:200, :200] for f in files]
    inputs = np.stack([classifier.prepare(p).input for p in square])

    def eager() -> None:
        with torch.inference_mode():
            for i in range(0, len(inputs), 16):
                net(torch.from_numpy(inputs[i : i + 16]))

    def ours() -> None:
        for i in range(0, len(inputs), 16):
            classifier.run(inputs[i : i + 16])

    systems: dict[str, Callable[[], object]] = {
        "classify, files of 3:2 and 4:3, whole": lambda: list(classifier.batch(files)),
        "classify, files of 3:2 and 4:3, CPU s": lambda: list(classifier.batch(files)),
        "the net alone at 224x224": ours,
        "torch, the same net at 224x224": eager,
    }
    seconds: dict[str, list[float]] = {name: [] for name in systems}
    for _ in range(ROUNDS):
        for name, run in systems.items():
            clock = time.process_time if name.endswith("CPU s") else time.perf_counter
            begun = clock()
            run()
            seconds[name].append(clock() - begun)
    base = seconds["the net alone at 224x224"]
    print(f"\n{len(files)} photos, one thread\n\n| what | photos/s | time / the net's | range |")
    print("|---|---|---|---|")
    for name, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(times, base, strict=True))
        rate = len(files) / statistics.median(times)
        ratio, low, high = statistics.median(ratios), ratios[0], ratios[-1]
        print(f"| {name} | {rate:.0f} | {ratio:.2f} | {low:.2f}-{high:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    shared = Path(__file__).parent.parent.parent / "shared" / "data" / "text"
    parser.add_argument("--data", type=Path, default=shared if shared.is_dir() else None)
    parser.add_argument("--only", choices=("text", "photos"), help="One part of the bench.")
    arguments = parser.parse_args()
    if arguments.only != "text":
        photos()
    if arguments.only == "photos":
        return
    data = texts_of(arguments.data)
    texts = data.timed
    train = [" ".join(tokenize(t)) for t in data.train]

    me = [sys.executable, "-m", "cnnapps"]
    print("| process | wall s | CPU s | peak MB |\n|---|---|---|---|")
    for title, command in (
        ("python -c pass", [sys.executable, "-c", "pass"]),
        ("cnnapps --help", [*me, "--help"]),
        ("cnnapps textcls SENTENCE", [*me, "textcls", "what a wonderful film"]),
    ):
        runs = [process_seconds(command) for _ in range(ROUNDS)]
        wall, cpu = (statistics.median(r[i] for r in runs) for i in (0, 1))
        print(f"| {title} | {wall:.2f} | {cpu:.2f} | {max(r[2] for r in runs):.0f} |")

    with tempfile.TemporaryDirectory() as scratch:
        systems = candidates(train, data.targets, Path(scratch))
        seconds: dict[str, list[float]] = {s: [] for s in systems}
        # the peers split at white space, so they get our words; we get the text as it is
        cut = [" ".join(tokenize(t)) for t in data.judged]
        accuracy = {
            s: float((f(cut if "TF-IDF" in s or "fast" in s else data.judged) == data.truth).mean())
            for s, f in systems.items()
        }
        for _ in range(ROUNDS):
            for system, classify in systems.items():
                begun = time.process_time()
                classify(texts)
                seconds[system].append(time.process_time() - begun)
    ours = seconds["cnnapps textcls/default"]
    print(f"\n{len(texts):,} texts of {data.names[0]}, one thread; accuracy on {data.names[1]}\n")
    print("| system | texts/CPU s | time / ours | range | accuracy |\n|---|---|---|---|---|")
    for system, times in seconds.items():
        ratios = sorted(a / b for a, b in zip(times, ours, strict=True))
        print(
            f"| {system} | {len(texts) / statistics.median(times):,.0f} "
            f"| {statistics.median(ratios):.2f} | {ratios[0]:.2f}-{ratios[-1]:.2f} "
            f"| {accuracy[system]:.3f} |"
        )
    print("\ntime for n, 2n, 4n texts of ours:", end=" ")
    predictor = load("default")
    for n in (len(texts) // 4, len(texts) // 2, len(texts)):
        begun = time.process_time()
        predictor.logits(texts[:n])
        print(f"{time.process_time() - begun:.2f} s", end=" ")
    print()


if __name__ == "__main__":
    main()
