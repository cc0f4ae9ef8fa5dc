"""The mutation bench: thousands of broken files against every reader, one line a format.

    make reliability          2,000 mutants a format
    python tests/reliability.py --n 200 --only csv,weights

A mutant passes when it is answered or refused by one CnnappsError whose message is one printable
line, within 10 seconds and 1 GB, without a signal and without any other exception. They run in
child processes, 50 in each; the first failing file of a format is kept in runs/reliability/. A
format of which the good file is not answered fails whole.

A compressed picture or a graph hardly ever survives an accident. So "-pixels" are pictures after
decoding: every mutant reaches the digit finder or the net; and "onnx-fields" are graphs after
parsing: each mutant is a well-formed file that says something else.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2

sys.path.insert(0, str(Path(__file__).parent))

from mutate import field_mutants, mutants

from cnnapps.core.errors import CnnappsError

SECONDS, BYTES = 10, 1 << 30
ROOT = Path(__file__).parent
Read = Callable[[Path], None]


def read_table(path: Path) -> None:
    from cnnapps.apps.textcls.data import read_dataset, report

    report(read_dataset([path]))


def read_vectors(path: Path) -> None:
    from cnnapps.apps.textcls.vectors import read_vectors as read

    read(path, ["the", "film", "good"])


def read_lines(path: Path) -> None:
    from cnnapps.core.media import text_blocks

    for _ in text_blocks(path):
        pass


def read_record(path: Path) -> None:
    """All games of a record, every position of their main lines, and the file written back."""
    from cnnapps.apps.go_policy.predict import positions_of
    from cnnapps.apps.go_policy.records import main_line, read

    collection = read(path.read_bytes(), source=path.name)
    for tree in collection.trees:
        for _ in positions_of(main_line(tree)):
            pass
    collection.to_bytes()


@functools.cache
def classifier() -> Any:
    from cnnapps.apps.classify import load

    return load(explain=True)


@functools.cache
def digit_reader() -> Any:
    from cnnapps.apps.classify import load_digits

    return load_digits()


def classify_picture(path: Path) -> None:
    classifier()(path)


def read_digits(path: Path) -> None:
    digit_reader()(path)


WIDE = 300
"""Pixels a row of a picture that is given as bare numbers: every mutant decodes."""


def as_pixels(path: Path) -> Any:
    """(H, WIDE, 3) uint8 from a file of bytes, what fills no row left out."""
    import numpy as np

    data = path.read_bytes()
    rows = len(data) // (3 * WIDE)
    return np.frombuffer(data, np.uint8, 3 * WIDE * rows).reshape(rows, WIDE, 3)


def classify_pixels(path: Path) -> None:
    classifier()(as_pixels(path))


def read_digit_pixels(path: Path) -> None:
    digit_reader()(as_pixels(path))


def inspect_graph(path: Path) -> None:
    """The table of a graph whose weights stand in another file, and its diagram."""
    from cnnapps.apps.inspect.diagram import diagram
    from cnnapps.apps.inspect.source import inspect_net
    from cnnapps.apps.inspect.table import table

    report, _ = inspect_net(str(path), external=True)
    table(report)
    diagram(report)


def inspect_filters(path: Path) -> None:
    """A graph with its weights inside: table, kernels, and the activations of the first layer."""
    import numpy as np

    from cnnapps.apps.inspect import filters
    from cnnapps.apps.inspect.source import inspect_net, open_graph

    inspect_net(str(path))
    opened = open_graph(str(path))
    found = filters.convolutions(opened)
    if found and found[0].weight.ndim == 4:
        filters.kernel_picture(found[0].weight)
        grey = np.zeros((28, 28, 3), np.uint8)
        name, array = filters.prepared(opened, grey, mean=None, scale=None)
        filters.activations(opened, {name: array}, found[0].output)


def run_weights(folder: Path) -> None:
    from cnnapps.apps.textcls import load

    load(str(folder))("what a wonderful film")


def sample_rows(n: int) -> list[list[str]]:
    lines = (ROOT.parent / "apps" / "textcls" / "sample" / "reviews.tsv").read_text("utf-8")
    return [line.split("\t") for line in lines.splitlines()[1 : n + 1]]


def text_files() -> Iterator[tuple[str, str, Read, bytes]]:
    """(format, file name, reader, a good file)."""
    rows = sample_rows(30)
    quoted = "".join(f'{r[0]},"{r[2].replace(chr(34), chr(34) * 2)}"\n' for r in rows)
    yield "csv", "d.csv", read_table, ("label,text\n" + quoted).encode()
    tabs = "".join(f"{r[0]}\t{r[2]}\n" for r in rows)
    yield "tsv", "d.tsv", read_table, ("label\ttext\n" + tabs).encode("utf-16")
    objects = (json.dumps({"text": r[2], "label": r[0], "n": i}) for i, r in enumerate(rows))
    yield "jsonl", "d.jsonl", read_table, "\n".join(objects).encode()
    yield (
        "fasttext",
        "d.txt",
        read_table,
        "".join(f"__label__{r[0]} {r[2]}\n" for r in rows).encode(),
    )
    yield "lines", "d.txt", read_lines, tabs.encode()
    words = ["the", "film", "good", "bad", "a"]
    numbers = [" ".join(f"{(i * 7 + j) % 5 - 2}.{j}" for j in range(8)) for i in range(5)]
    text = "".join(f"{w} {n}\n" for w, n in zip(words, numbers, strict=True))
    yield "vec", "v.vec", read_vectors, f"5 8\n{text}".encode()
    import numpy as np

    body = b"".join(w.encode() + b" " + np.arange(8, dtype="<f4").tobytes() + b"\n" for w in words)
    yield "word2vec", "v.bin", read_vectors, b"5 8\n" + body


def picture_files() -> Iterator[tuple[str, str, Read, bytes]]:
    """Pictures through the nets of classify, as text_files gives them."""
    photos = ROOT / "data" / "vision"
    yield "classify", "photo.jpg", classify_picture, (photos / "chelsea.jpg").read_bytes()
    yield "digits", "scan.png", read_digits, (photos / "digits.png").read_bytes()
    from cnnapps.core.media import read_picture

    for name, file, read in (
        ("classify-pixels", "chelsea.jpg", classify_pixels),
        ("digits-pixels", "digits.png", read_digit_pixels),
    ):
        rgb = read_picture(photos / file).rgb
        high = round(rgb.shape[0] * WIDE / rgb.shape[1])
        small = cv2.resize(rgb, (WIDE, high), interpolation=cv2.INTER_AREA)
        yield name, "pixels.raw", read, small.tobytes()


def graph_files() -> Iterator[tuple[str, str, Read, bytes]]:
    """Graphs through inspect: one whose weights are elsewhere, one with its weights inside."""
    digits = ROOT.parent / "weights" / "classify" / "digits"
    yield "onnx", "graph.onnx", inspect_graph, (digits / "graph.onnx").read_bytes()
    import numpy as np
    import torch

    from cnnapps.core.export import graph_of
    from cnnapps.core.nets import build

    torch.manual_seed(0)
    picture = {"pixels": np.zeros((1, 1, 28, 28), np.float32)}
    inside = graph_of(build("cnn", classes=2), picture, outputs=["logits"])
    yield "onnx-weights", "model.onnx", inspect_filters, inside
    yield "onnx-fields", "model.onnx", inspect_filters, inside


def record_files() -> Iterator[tuple[str, str, Read, bytes]]:
    """Game records of each kind, with other encodings, set-up stones and variations among them."""
    for name, file in (
        ("sgf", "katrain-data-xmgt97.sgf"),
        ("sgf-variations", "sabaki-sgf-beginner_game.sgf"),
        ("sgf-shift-jis", "sgf-encoding-nihon-kiin.sgf"),
        ("gib", "sabaki-gib-euc-kr.gib"),
        ("ngf", "sabaki-ngf-gb2312.ngf"),
        ("ugf", "sabaki-ugf-review.ugi"),
    ):
        yield name, "game" + Path(file).suffix, read_record, (ROOT / "data/go" / file).read_bytes()


@functools.cache
def all_files() -> list[tuple[str, str, Read, bytes]]:
    return [*text_files(), *picture_files(), *graph_files(), *record_files()]


EACH = 50
"""Mutants that one child reads: a fork of a large process costs more than most files."""


def check(read: Read, path: Path) -> str:
    """ "answered", "refused", or what went wrong; in a process of its own."""
    return next(check_all(read, path, [path.read_bytes()]))


def check_all(read: Read, path: Path, files: Sequence[bytes]) -> Iterator[str]:
    """What ``check`` says of each file, written to ``path``; a child that dies is replaced."""
    done = 0
    while done < len(files):
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, 1)
            os.dup2(null, 2)
            for data in files[done:]:
                path.write_bytes(data)
                signal.alarm(SECONDS)
                said = answer_of(read, path)
                signal.alarm(0)
                sender.send(said)
            os._exit(0)
        sender.close()
        with contextlib.suppress(EOFError):
            while done < len(files):
                yield receiver.recv()
                done += 1
        _, status = os.waitpid(child, 0)
        if done < len(files):
            number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
            yield f"more than {SECONDS} s" if number == signal.SIGALRM else f"signal {number}"
            done += 1


def one_line(text: str) -> bool:
    """Whether a terminal shows it as one line: printable characters, and spaces of any width."""
    return all(c.isprintable() or unicodedata.category(c) == "Zs" for c in text)


def answer_of(read: Read, path: Path) -> str:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read(path)
        said = "answered"
    except CnnappsError as error:
        text = str(error)
        said = "refused" if text and one_line(text) else f"message {text!r}"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"[:200]
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return said if grown < BYTES else f"{grown / 1e9:.1f} GB"


def bench_files(name: str, n: int, seed: int, scratch: Path, keep: Path) -> Counter[str]:
    cases = all_files()
    _, file, read, good = next(case for case in cases if case[0] == name)
    other = next(case[3] for case in cases if case[0] != name)
    found: Counter[str] = Counter()
    path = scratch / file
    path.write_bytes(good)
    if (said := check(read, path)) != "answered":
        return Counter({f"the good file: {said}": n})
    source = (
        field_mutants(good, n, seed) if name == "onnx-fields" else mutants(good, other, n, seed)
    )
    while some := list(itertools.islice(source, EACH)):
        for mutant, said in zip(some, check_all(read, path, some), strict=True):
            found[said] += 1
            if said not in ("answered", "refused") and not (keep / f"{name}-{file}").exists():
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{name}-{file}").write_bytes(mutant)
    return found


def bench_weights(n: int, seed: int, scratch: Path, keep: Path, *, resealed: bool) -> Counter[str]:
    """Mutants of the files of a weights folder. Resealed: the card's hashes fit the mutant, as a
    forger would make it, so that what the bytes say is looked at and not only that they changed."""
    import hashlib

    source = ROOT.parent / "weights" / "textcls" / "question"
    folder = scratch / "weights"
    shutil.copytree(source, folder)
    names = sorted(p.name for p in source.iterdir())
    found: Counter[str] = Counter()
    for number in range(n):
        name = names[number % len(names)]
        good = (source / name).read_bytes()
        head, tail = good[:20_000], good[20_000:]  # accidents where the structure is
        other = (source / names[(number + 1) % len(names)]).read_bytes()[:5000]
        mutant = next(mutants(head, other, 1, seed * 100_003 + number)) + tail
        (folder / name).write_bytes(mutant)
        if resealed and name != "card.json":
            card = json.loads((source / "card.json").read_text("utf-8"))
            digest = hashlib.sha256(mutant).hexdigest()
            card["files"][name] = {"sha256": digest, "bytes": len(mutant)}
            (folder / "card.json").write_text(json.dumps(card), "utf-8")
        said = next(check_all(lambda _: run_weights(folder), folder / name, [mutant]))
        found[said] += 1
        if said not in ("answered", "refused") and not (keep / f"weights-{name}").exists():
            keep.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / name, keep / f"weights-{name}")
        shutil.copy(source / name, folder / name)
        shutil.copy(source / "card.json", folder / "card.json")
    shutil.rmtree(folder)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    import onnxruntime  # noqa: F401 (loaded once, before the forks)

    from cnnapps.apps.go_policy import predict as _go  # noqa: F401
    from cnnapps.apps.textcls import predict  # noqa: F401

    classifier(), digit_reader()
    names = [case[0] for case in all_files()] + ["weights", "weights-resealed"]
    chosen = [x for x in names if not arguments.only or x in arguments.only.split(",")]
    keep = ROOT.parent / "runs" / "reliability"
    failures = 0
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        for name in chosen:
            begun = time.monotonic()
            if name.startswith("weights"):
                found = bench_weights(
                    arguments.n, arguments.seed, scratch, keep, resealed=name != "weights"
                )
            else:
                found = bench_files(name, arguments.n, arguments.seed, scratch, keep)
            good = found.pop("answered", 0), found.pop("refused", 0)
            failures += sum(found.values())
            print(
                f"{name:<17} {arguments.n} mutants: {good[0]} answered, {good[1]} refused, "
                f"{sum(found.values())} failed ({time.monotonic() - begun:.0f} s)", flush=True,
            )  # fmt: skip
            for said, count in found.most_common(5):
                print(f"    {count} x {said}")
    print(f"{failures} failures")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
