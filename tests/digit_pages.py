"""Pages of digits with known text, rendered and made bad: what `classify digits` is tested on.

    python tests/digit_pages.py --fonts FOLDER [--words DATA/ocr] [--keep FOLDER]

measures: pages of each font of FOLDER (none of them was trained on), clean, uneven, skewed, noisy,
light on dark; and with --words the photographed words of digits alone in data/ocr. The built-in
fonts of cv2 need no files; the tests use those.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
KINDS = ("clean", "light on dark", "uneven light", "skewed 6°", "noise", "photo")
BUILT_IN = ("uni", "sans", "italic", "hershey-simplex", "hershey-complex", "hershey-duplex")
_HERSHEY = {
    "hershey-simplex": cv2.FONT_HERSHEY_SIMPLEX,
    "hershey-complex": cv2.FONT_HERSHEY_COMPLEX,
    "hershey-duplex": cv2.FONT_HERSHEY_DUPLEX,
}


def lines_of(seed: int, rows: int = 3) -> list[str]:
    """Lines of digits, in groups now and then."""
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(rows):
        groups = rng.integers(2, 6, int(rng.integers(1, 4)))
        out.append(" ".join("".join(map(str, rng.integers(0, 10, k))) for k in groups))
    return out


def page(lines: list[str], font: str | Path, height: int = 40) -> Pixels:
    """Dark digits on white, (H, W, 3)."""
    out = np.full((int(height * (1.9 * len(lines) + 1.2)), 18 * height, 3), 255, np.uint8)
    if isinstance(font, Path):
        from PIL import Image, ImageDraw, ImageFont

        image = Image.fromarray(out)
        face = ImageFont.truetype(str(font), round(height * 1.35))
        for i, line in enumerate(lines):
            at = (height, height * (0.5 + 1.9 * i))
            ImageDraw.Draw(image).text(at, line, font=face, fill=(20, 20, 30))
        return np.asarray(image).copy()
    for i, line in enumerate(lines):
        at = (height, int(height * (1.6 + 1.9 * i)))
        if font in _HERSHEY:
            scale = height / 22
            thick = max(2, round(height / 14))
            cv2.putText(out, line, at, _HERSHEY[font], scale, (20, 20, 30), thick, cv2.LINE_AA)
        else:
            face = cv2.FontFace(font)
            cv2.putText(out, line, at, (20, 20, 30), face, round(height * 1.35), 400)
    return out


def spoiled(clean: Pixels, kind: str, seed: int = 1) -> Pixels:
    """The page as a scanner or a camera might give it."""
    rng = np.random.default_rng((seed, KINDS.index(kind)))
    height, width = clean.shape[:2]
    if kind == "light on dark":
        return np.asarray(255 - (clean.astype(np.float32) * 0.8)).astype(np.uint8)
    if kind == "uneven light":
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        light = 0.95 - 0.6 * np.hypot(x - 0.1, y - 0.2) / 1.3
        return (clean * light[:, :, None]).astype(np.uint8)
    if kind == "skewed 6°":
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), 6, 0.9)
        return cv2.warpAffine(clean, turn, (width, height), borderValue=(255, 255, 255))
    if kind == "noise":
        soft = cv2.GaussianBlur(clean, (0, 0), 1.0).astype(np.float32)
        soft = 200 - (255 - soft) * 0.55 + rng.normal(0, 14, clean.shape)
        return soft.clip(0, 255).astype(np.uint8)
    if kind == "photo":
        x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
        corners = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
        moved = corners + np.float32(rng.uniform(-0.03, 0.03, (4, 2))) * [width, width]
        warp = cv2.getPerspectiveTransform(corners, np.float32(moved))
        out = cv2.warpPerspective(clean, warp, (width, height), borderMode=cv2.BORDER_REPLICATE)
        light = 0.5 + 0.4 * x + 0.15 * np.sin(5 * y)
        out = cv2.GaussianBlur(out, (0, 0), 1.2) * light[:, :, None] * [0.98, 0.95, 0.85]
        out = (out + rng.normal(0, 6, clean.shape)).clip(0, 255).astype(np.uint8)
        done, data = cv2.imencode(".jpg", out[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 70])
        assert done
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[:, :, ::-1])
    return clean


def edits(a: str, b: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (x != y))
    return row[-1]


def photographed(data: Path) -> Iterator[tuple[str, bytes, str]]:
    """(name, file, digits) of the words of data/ocr that are digits alone."""
    with zipfile.ZipFile(data / "dev" / "words.zip") as archive:
        for line in (data / "index.jsonl").read_text("utf-8").splitlines():
            item = json.loads(line)
            text = item.get("text") or ""
            if item["kind"].startswith("words") and text.isascii() and text.isdigit():
                name = item["file"].partition("#")[2]
                yield name, archive.read(name), text


def main() -> None:
    from cnnapps.apps.classify import load_digits
    from cnnapps.core.media import read_picture, write_picture

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fonts", type=Path)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--keep", type=Path, help="Write the pages that were misread here.")
    parser.add_argument("--weights", default="digits")
    arguments = parser.parse_args()
    reader = load_digits(arguments.weights)
    files = sorted(p for p in arguments.fonts.rglob("*") if p.suffix in (".ttf", ".otf", ".woff")) \
        if arguments.fonts else []  # fmt: skip
    fonts: list[str | Path] = [*BUILT_IN, *files]
    total = {kind: [0, 0] for kind in KINDS}
    for number, font in enumerate(fonts):
        name = font.stem if isinstance(font, Path) else font
        wrong = []
        for kind in KINDS:
            lines = lines_of(100 * number + KINDS.index(kind))
            picture = spoiled(page(lines, font), kind, number)
            want, got = "".join(lines).replace(" ", ""), reader(picture)
            off = edits(want, "".join(str(d.digit) for d in got.digits))
            total[kind][0] += off
            total[kind][1] += len(want)
            if off:
                wrong.append(f"{kind} {off}/{len(want)}")
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    write_picture(arguments.keep / f"{name}-{kind[:5].strip()}.png", picture)
        print(f"  {name}: {', '.join(wrong) or 'all right'}")
    for kind, (off, n) in total.items():
        print(f"{kind}: {1 - off / n:.4f} of {n} digits right")
    if arguments.words:
        right = digits = off = n = 0
        for name, data, text in photographed(arguments.words):
            got = "".join(str(d.digit) for d in reader(read_picture(data)).digits)
            right += got == text
            n += 1
            digits += len(text)
            off += edits(text, got)
            print(f"  {'ok' if got == text else '--'} {name} {text} {got}")
        print(
            f"photographed words: {right} of {n} whole, {1 - off / digits:.4f} of {digits} digits"
        )


if __name__ == "__main__":
    main()
