"""Speed beside the peers, in one interleaved run: `make bench` prints one table.

    python tests/bench.py --data ../shared/data/text

Every round runs all candidates once (A B C A B C ...), one thread; the table has the median of five
rounds and the ratio to ours with its range (set OMP_NUM_THREADS=1, as make does). Timings depend
on the machine and its load: only the
ratios of one run mean something. The accuracy stands beside the speed, on the same texts.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnnapps.apps.textcls import load
from cnnapps.apps.textcls.data import read_dataset, read_set

ROUNDS = 5
SAMPLE = Path(__file__).parent.parent / "apps" / "textcls" / "sample" / "reviews.tsv"


def texts_of(folder: Path | None) -> tuple[list[str], np.ndarray, list[str], np.ndarray, str]:
    """Texts to classify, and texts that the peers train on."""
    if folder is not None:
        test, train = read_set("mr", folder), read_set("sst2", folder).where("train")
        return test.texts, test.targets(("0", "1")), train.texts, train.targets(("0", "1")), "MR"
    data = read_dataset([SAMPLE])
    targets = data.targets(("negative", "positive"))
    return data.texts, targets, data.texts, targets, "the packaged sample"


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
            input=str(path), lr=0.5, epoch=10, wordNgrams=2, dim=50, bucket=200_000, thread=1,
            verbose=0,
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


def process_seconds(command: list[str]) -> tuple[float, float, float]:
    """Wall and CPU seconds and peak MB of a whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    wall = time.perf_counter() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, after.ru_maxrss / 1024


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
    texts, truth, train, targets, name = texts_of(arguments.data)

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
        systems = candidates(train, targets, Path(scratch))
        seconds: dict[str, list[float]] = {s: [] for s in systems}
        accuracy = {}
        for _ in range(ROUNDS):
            for system, classify in systems.items():
                begun = time.perf_counter()
                answers = classify(texts)
                seconds[system].append(time.perf_counter() - begun)
                accuracy[system] = float((answers == truth).mean())
    ours = seconds["cnnapps textcls/default"]
    print(f"\n{len(texts):,} texts of {name}, one thread\n")
    print("| system | texts/s | time / ours | range | accuracy here |\n|---|---|---|---|---|")
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
        begun = time.perf_counter()
        predictor.logits(texts[:n])
        print(f"{time.perf_counter() - begun:.2f} s", end=" ")
    print()


if __name__ == "__main__":
    main()
