"""Files in, files out: pictures, tables of numbers and sounds through a kernel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.inspect.convolution import KERNELS_1D, convolve, correlate, kernel_of
from cnnapps.core.errors import InputError, need, printable
from cnnapps.core.limits import Limits
from cnnapps.core.media import read_bytes, read_picture, read_sound, write_picture

__all__ = ["numbers", "picture", "sound"]

Array = NDArray[np.float64]
STRIP = 1 << 21
CELLS = 4_000_000


def picture(
    name: str,
    target: str,
    kernel: str,
    *,
    true: bool,
    stride: int,
    padding: str,
    border: str,
    limits: Limits,
) -> None:
    """Each colour by itself. Kernels that keep brightness (their weights sum to 1) are cut at black
    and white; of all others 0 becomes mid-grey and the largest value black or white."""
    if Path(target).suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise InputError(target, "pictures are written as .png or .jpg")
    w = kernel_of(kernel, dims=2)
    rgb = read_picture(name, limits=limits).rgb
    grey = bool((rgb[..., 0] == rgb[..., 1]).all() and (rgb[..., 1] == rgb[..., 2]).all())
    planes = [rgb[..., c] for c in range(1 if grey else 3)]
    pads = _pads(w.shape, padding)
    if any(n + a + b < k for n, (a, b), k in zip(rgb.shape, pads, w.shape, strict=False)):
        size = f"{rgb.shape[1]}x{rgb.shape[0]}"
        raise InputError(name, f"the output is empty: {size} under {w.shape[1]}x{w.shape[0]}")
    out = np.stack([_plane(p, w, true, stride, pads, border) for p in planes], -1)
    if not abs(w.sum() - 1) < 1e-6:
        flat = np.abs(out[:: max(1, len(out) // 500), :: max(1, out.shape[1] // 500)])
        most = float(np.quantile(flat, 0.998))
        out = 127.5 + out * (127.5 / most if most > 0 else 0.0)
    pixels = np.clip(np.round(out), 0, 255).astype(np.uint8)
    write_picture(target, pixels[..., 0] if grey else pixels)


def _pads(kernel: tuple[int, ...], padding: str) -> list[tuple[int, int]]:
    """Before and after on each axis; "same" of an even kernel has one more before."""
    if padding == "narrow":
        return [(0, 0)] * len(kernel)
    if padding == "wide":
        return [(k - 1, k - 1) for k in kernel]
    return [(k // 2, k - 1 - k // 2) for k in kernel]


def _plane(
    plane: NDArray[np.uint8],
    w: Array,
    true: bool,
    stride: int,
    pads: list[tuple[int, int]],
    border: str,
) -> NDArray[np.float32]:
    """(H, W) -> (H', W') float32, in strips of rows: memory for the result, not for its terms."""
    mode = "edge" if border == "repeat" else "constant"
    padded = np.pad(plane, pads, mode=mode)  # type: ignore[call-overload]
    run = convolve if true else correlate
    rows = (padded.shape[0] - w.shape[0]) // stride + 1
    step = max(1, STRIP // max(1, padded.shape[1] * stride))
    parts = []
    for top in range(0, rows, step):
        last = min(rows, top + step) - 1
        strip = padded[top * stride : last * stride + w.shape[0]].astype(np.float64)
        parts.append(run(strip, w, stride=stride).astype(np.float32))
    return np.concatenate(parts)


def numbers(
    name: str, kernel: str, *, true: bool | None, stride: int, padding: str | None, delay: float
) -> str:
    """A table of numbers: as a matrix under a kernel with rows, else each column as a signal."""
    x, header, comma = _table(name)
    typed_rows = ";" in kernel.strip().strip(";")
    signal = kernel in KERNELS_1D or (not typed_rows and any(c.isdigit() for c in kernel))
    if signal:
        w = kernel_of(kernel, dims=1, delay=max(1, round(delay)))
        true = True if true is None else true
        pads = [(len(w) - 1, 0)] if (padding or "same") == "same" else _pads(w.shape, padding or "")
        columns = []
        for c in range(x.shape[1]):
            signal_ = np.pad(x[:, c], pads[0])
            if len(signal_) < len(w):
                raise InputError(name, f"the output is empty: {len(x)} values under {len(w)} taps")
            run = convolve if true else correlate
            columns.append(run(signal_, w, stride=stride))
        out = np.stack(columns, 1)
    else:
        w = kernel_of(kernel, dims=2)
        pads = _pads(w.shape, padding or "narrow")
        padded = np.pad(x, pads)
        if any(n < k for n, k in zip(padded.shape, w.shape, strict=True)):
            raise InputError(
                name, f"the output is empty: {x.shape[0]}x{x.shape[1]} under "
                f"{w.shape[0]}x{w.shape[1]}",
            )  # fmt: skip
        out = (convolve if true else correlate)(padded, w, stride=stride)
        header = None
    lines = [] if header is None else [comma.join(header)]
    lines += [comma.join(f"{v + 0.0:.10g}" for v in row) for row in out]
    return "\n".join(lines) + "\n"


def _table(name: str) -> tuple[Array, list[str] | None, str]:
    text = read_bytes(name, limits=Limits(bytes=100_000_000)).decode("utf-8-sig", "replace")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise InputError(name, "has no numbers")
    comma = next((c for c in ("\t", ",", ";") if c in lines[0]), " ")
    rows = [line.split(None if comma == " " else comma) for line in lines]
    header = None
    if not all(map(_is_number, rows[0])):
        header, rows = [printable(cell, 60) for cell in rows[0]], rows[1:]
    width = len(rows[0]) if rows else 0
    if not rows or width * len(rows) > CELLS:
        raise InputError(name, f"{len(rows):,} rows; from 1 to {CELLS:,} numbers are read")
    values = np.zeros((len(rows), width))
    first = 2 if header else 1
    for i, row in enumerate(rows):
        if len(row) != width:
            raise InputError(name, f"row {i + first} has {len(row)} numbers, the first {width}")
        for j, cell in enumerate(row):
            if not _is_number(cell):
                raise InputError(name, f"row {i + first}: {printable(cell, 30)!r} is no number")
            values[i, j] = float(cell)
    return values, header, comma


def _is_number(cell: str) -> bool:
    try:
        return bool(np.isfinite(float(cell)))
    except ValueError:
        return False


def sound(name: str, target: str, kernel: str, *, true: bool | None, delay: float) -> None:
    """A recording, mono; as long as before. Turned down where it would be too loud for 16 bits."""
    if Path(target).suffix.lower() != ".wav":
        raise InputError(target, "sounds are written as .wav")
    recording = read_sound(name)
    w = kernel_of(kernel, dims=1, delay=max(1, round(delay * recording.rate)))
    x = np.pad(recording.samples.astype(np.float64), (len(w) - 1, 0))
    if len(recording.samples) == 0:
        raise InputError(name, "has no samples")
    y = correlate(x, w) if true is False else convolve(x, w)
    peak = float(np.abs(y).max())
    if peak > 1:
        y = y / peak
    import io

    from cnnapps.core.files import write_bytes

    soundfile = need("soundfile", "writing sound")
    buffer = io.BytesIO()
    soundfile.write(buffer, y, recording.rate, format="WAV", subtype="PCM_16")
    try:
        write_bytes(target, buffer.getvalue())
    except OSError as error:
        raise InputError(target, f"can't be written ({error.strerror or error})") from error
