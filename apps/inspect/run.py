"""What the commands of ``cnnapps inspect`` do; cli.py holds only their options."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from cnnapps.core.errors import CnnappsError, InputError, LimitError, need, printable
from cnnapps.core.files import write_bytes
from cnnapps.core.limits import Limits
from cnnapps.core.progress import Progress, warn
from cnnapps.core.results import answer, dumps, refusal

__all__ = ["convolved", "costs", "list_nets", "net_tables", "show_filters", "sizes"]

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")


def _width() -> int:
    """Columns of the terminal; 0 when stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else 0


def _write(path: str, text: str) -> None:
    try:
        write_bytes(path, text.encode("utf-8"))
    except OSError as error:
        raise InputError(path, f"can't be written ({error.strerror or error})") from error


def _pairs(values: Sequence[str], option: str) -> dict[str, int]:
    out = {}
    for text in values:
        name, equals, number = text.partition("=")
        if not equals or not number.isdecimal() or not 0 < int(number[:12]) < 1 << 31:
            raise click.UsageError(f"{option} {printable(text, 40)}: expected NAME=NUMBER")
        out[name] = int(number)
    return out


# --------------------------------------------------------------------------------------------- net


def net_tables(
    nets: Sequence[str],
    *,
    shape: str | None,
    batch: int,
    axes: Sequence[str],
    settings: Sequence[str],
    depth: int | None,
    every: bool,
    wide: bool,
    with_peers: bool,
    external: bool,
    max_bytes: int | None,
    as_json: bool,
    output: str | None,
    quiet: bool,
    debug: bool,
) -> int:
    """Print a table, JSON or a diagram of each net; returns the exit code."""
    from cnnapps.apps.inspect.source import inspect_net, parse_shape
    from cnnapps.apps.inspect.table import essential, peers_table, table
    from cnnapps.apps.inspect.trace import grouped

    wanted = None
    if shape is not None:
        try:
            wanted = parse_shape(shape)
        except ValueError:
            raise click.UsageError(
                f"--input {printable(shape, 40)}: expected sizes like 3x224x224"
            ) from None
    suffix = Path(output).suffix.lower() if output else ""
    drawn = suffix in (".svg", ".png")
    as_json = as_json or suffix in (".json", ".jsonl")
    if drawn and len(nets) > 1:
        raise click.UsageError("a diagram shows one net")
    limits = Limits(bytes=max_bytes) if max_bytes else Limits(bytes=2_000_000_000)
    parts, failed = [], False
    for name in nets:
        try:
            report, weights = inspect_net(
                name, shape=wanted, batch=batch, axes=_pairs(axes, "--axis"),
                arguments=_pairs(settings, "--set"), limits=limits, external=external,
            )  # fmt: skip
        except CnnappsError as error:
            if getattr(error, "remedy", None) is not None:
                raise
            failed = True
            warn(error)
            if as_json:
                parts.append(dumps(refusal(name, getattr(error, "reason", str(error)))))
            continue
        shown = report if every else essential(report)
        if depth:
            shown = grouped(shown, depth)
        if report.failure is not None:
            failed = True
            warn(f"{name}: {report.failure}")
        if drawn and output:
            from cnnapps.apps.inspect.diagram import diagram

            diagram(report).save(output)
            continue
        if as_json:
            if report.failure is not None:
                parts.append(dumps(refusal(name, str(report.failure), result=shown)))
            else:
                parts.append(dumps(answer(name, weights, shown)))
            continue
        width = 0 if wide or output else _width()
        parts.append(table(shown, width=width))
        if with_peers:
            parts.append("\n" + peers_table(report))
    text = "".join(part.rstrip("\n") + "\n" for part in parts)
    if output and not drawn:
        _write(output, text)
    elif text:
        click.echo(text, nl=False)
    return 1 if failed else 0


def list_nets() -> int:
    """One line a net."""
    from cnnapps.core.nets import NETS

    width = max(map(len, NETS))
    for name, entry in NETS.items():
        size = "x".join(map(str, entry.input))
        click.echo(f"{name:<{width}}  {size:<9}  {entry.paper.split(',')[0]}: {entry.notes}")
    return 0


# ------------------------------------------------------------------------------------- conv, costs


def costs(
    layers: Sequence[str], *, against: Sequence[str], as_json: bool, quiet: bool, debug: bool
) -> int:
    """The course's complexity formulas for typed layers, or its exercise."""
    from cnnapps.apps.inspect.geometry import EXERCISE, compared, complexity

    if against and not layers:
        raise click.UsageError("--against needs layers to compare with")
    first, second = (
        ([_layer(t) for t in layers], [_layer(t) for t in against]) if layers else EXERCISE
    )
    a = complexity(first)
    b = complexity(second) if second else None
    if as_json:
        result = {"first": a, "second": b, "meaning": compared(a, b) if b else None}
        click.echo(dumps(result))
        return 0
    click.echo(str(a))
    if b is not None:
        click.echo(f"\n{b}\n\n{compared(a, b)}")
    return 0


def _layer(text: str) -> tuple[int, int, int, int]:
    numbers = text.split(",")
    if len(numbers) != 4 or not all(
        n.strip().isdecimal() and 0 < int(n) < 1 << 20 for n in numbers
    ):
        raise click.UsageError(f"{printable(text, 40)}: expected M,K,IN,OUT like 100,3,256,256")
    m, k, i, o = (int(n) for n in numbers)
    return m, k, i, o


def sizes(
    *,
    inputs: int,
    kernel: int,
    stride: int,
    padding: str,
    dilation: int,
    transposed: bool,
    output_padding: int,
    as_json: bool,
    output: str | None,
    quiet: bool,
    debug: bool,
) -> int:
    """The size law for one axis, and its picture."""
    from cnnapps.apps.inspect.canvas import check_suffix
    from cnnapps.apps.inspect.geometry import draw, geometry

    if output:
        check_suffix(output, ".svg", ".png")
    reach = dilation * (kernel - 1)
    if padding in ("narrow", "wide", "same"):
        if padding == "same" and reach % 2:
            raise InputError("conv", f"'same' padding needs an odd kernel reach, got {reach + 1}")
        pad = {"narrow": 0, "wide": reach, "same": reach // 2}[padding]
    elif padding.lstrip("-").isdecimal():
        pad = int(padding)
    else:
        raise click.UsageError(
            f"--padding {printable(padding, 30)}: a number, narrow, same or wide"
        )
    result = geometry(
        inputs, kernel, stride=stride, padding=pad, dilation=dilation, transposed=transposed,
        output_padding=output_padding,
    )  # fmt: skip
    if output:
        draw(result).save(output)
    click.echo(dumps(result) if as_json else str(result))
    return 0


# ---------------------------------------------------------------------------------------- convolve

MATRIX_SUFFIXES = (".csv", ".tsv", ".txt")
SOUND_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif", ".au", ".opus")
CONVOLVE_PIXELS = 25_000_000
"""A convolved picture is held in 32-bit floats: 12 bytes a pixel."""


def convolved(
    inputs: Sequence[str],
    *,
    kernel: str,
    true: bool | None,
    stride: int,
    padding: str | None,
    border: str,
    delay: float,
    max_pixels: int | None,
    output: str | None,
    quiet: bool,
    debug: bool,
) -> int:
    """Convolve each input; several need a folder as -o."""
    from cnnapps.apps.inspect import convolving as c

    if not 0 < delay < 1e6:
        raise click.UsageError("--delay must be positive")
    folder = output is not None and (len(inputs) > 1 or os.path.isdir(output))
    if folder and output is not None and not os.path.isdir(output):
        raise click.UsageError("several inputs need a folder that exists as -o")
    failed = False
    for name in inputs:
        suffix = Path(name).suffix.lower()
        target = os.path.join(output, Path(name).name) if folder and output else output
        try:
            if suffix in MATRIX_SUFFIXES:
                text = c.numbers(name, kernel, true=true, stride=stride, padding=padding,
                                 delay=delay)  # fmt: skip
                if target:
                    _write(target, text)
                else:
                    click.echo(text, nl=False)
            elif suffix in SOUND_SUFFIXES:
                if target is None:
                    raise InputError(name, "a sound needs -o FILE.wav")
                c.sound(name, target, kernel, true=true, delay=delay)
            else:
                if target is None:
                    raise InputError(name, "a picture needs -o FILE.png")
                if folder and Path(target).suffix.lower() not in PICTURE_SUFFIXES:
                    target = str(Path(target).with_suffix(".png"))
                limits = Limits(pixels=max_pixels or CONVOLVE_PIXELS)
                c.picture(name, target, kernel, true=bool(true), stride=stride,
                          padding=padding or "same", border=border, limits=limits)  # fmt: skip
        except InputError as error:
            if error.source == "--kernel" or (isinstance(error, LimitError) and len(inputs) == 1):
                raise
            failed = True
            warn(error)
    return 1 if failed else 0


# ----------------------------------------------------------------------------------------- filters


def show_filters(
    net: str,
    *,
    state: str | None,
    layer: str | None,
    photo: str | None,
    maximise: int | None,
    steps: int,
    size: int | None,
    text: str | None,
    chosen: Sequence[int],
    top: int,
    mean: float | None,
    scale: float | None,
    seed: int,
    max_pixels: int | None,
    output: str | None,
    quiet: bool,
    debug: bool,
) -> int:
    """Kernels, activations or a dreamt picture to -o; n-grams of a text net to stdout."""
    from cnnapps.apps.inspect import filters as f
    from cnnapps.apps.inspect.canvas import check_suffix
    from cnnapps.apps.inspect.source import is_weights, open_graph
    from cnnapps.core.media import read_picture, write_picture
    from cnnapps.core.nets import NETS

    if photo is not None and maximise is not None:
        raise click.UsageError("--photo and --maximise exclude each other")
    if scale is not None and not scale > 0:
        raise click.UsageError("--scale must be positive")
    if state is None and net in NETS and not is_weights(net) and not os.path.exists(net):
        raise InputError(
            net, "by name is untrained: its filters are noise (give --state FILE.safetensors, "
            "weights or .onnx)"
        )  # fmt: skip
    if output:
        check_suffix(output, *PICTURE_SUFFIXES)
    if state is not None:
        from cnnapps.apps.inspect.state import open_state

        opened = open_state(net, state, size=size)
    else:
        opened = open_graph(net)
    text_net = opened.weights is not None and "units.txt" in opened.weights.files
    if text_net:
        if photo is not None or maximise is not None or output:
            raise InputError(net, "reads text: its filters are shown as n-grams, without -o")
        click.echo("\n".join(_ngrams(opened, text, top, chosen or None, quiet)))
        return 0
    if text is not None:
        raise InputError(net, "reads no text: --text is for text nets")
    if output is None:
        raise click.UsageError("a picture of filters needs -o FILE.png")
    convs = f.convolutions(opened)
    if layer is None and not convs:
        raise InputError(net, "has no convolution with stored weights")
    name = layer or convs[0].name
    if photo is not None:
        limits = Limits(pixels=max_pixels) if max_pixels else Limits()
        rgb = read_picture(photo, limits=limits).rgb
        key, array = f.prepared(opened, rgb, mean=mean, scale=scale)
        value = f.activations(opened, {key: array}, f.layer_output(opened, name))
        if value.ndim != 4:
            raise InputError(net, f"{name} has no maps: its output is {value.shape}")
        write_picture(output, f.map_picture(value[0]))
        shown = min(64, value.shape[1])
        note = f"{shown} of {value.shape[1]} maps, {value.shape[2]}x{value.shape[3]}"
        click.echo(f"{name}: {note}; white is the strongest")
        return 0
    if maximise is not None:
        return _dream(opened, name, maximise, steps, size, mean, scale, seed, output, quiet)
    one = [c for c in convs if c.name == name]
    if not one:
        raise InputError(net, f"{printable(name, 60)} is no convolution with stored weights")
    weight = one[0].weight
    if weight.ndim == 3:
        weight = weight[:, :, None, :]
    if weight.ndim != 4:
        raise InputError(net, f"{name} has kernels of {weight.ndim - 2} dimensions")
    write_picture(output, f.kernel_picture(weight))
    filters, inputs, high, wide = weight.shape
    how = (
        "colours"
        if inputs == 3
        else "grey"
        if inputs == 1
        else ("a row a filter, a column an input channel; orange positive, blue negative")
    )
    click.echo(f"{name}: {filters} filters {inputs}x{high}x{wide}; {how}")
    return 0


def _ngrams(
    opened: Any, text: str | None, top: int, chosen: Sequence[int] | None, quiet: bool
) -> list[str]:
    """Of a net with an encoder the strongest windows of a text, else the strongest n-grams."""
    from cnnapps.apps.inspect.filters import ngram_lines
    from cnnapps.apps.inspect.incontext import reads_in_context, sample_texts, window_lines
    from cnnapps.core.media import text_blocks

    if not reads_in_context(opened):
        if text is not None:
            raise InputError(
                opened.name, "its filters read units alone: the n-grams shown are the strongest "
                "of all there are, whatever the text",
            )  # fmt: skip
        return ngram_lines(opened, per_width=3, top=top, chosen=chosen)
    texts: Iterable[str]
    if text is None:
        path, texts = sample_texts(opened)
        source, total = f"the package's {path.name}", len(texts)
    else:
        texts = (line.text for block in text_blocks(text) for line in block if line.error is None)
        source, total = text, 0
    with Progress(total, "reading", quiet=quiet) as progress:
        return window_lines(
            opened, texts, source=source, per_width=3, top=top, chosen=chosen, progress=progress
        )


def _dream(
    opened: Any,
    layer: str,
    channel: int,
    steps: int,
    size: int | None,
    mean: float | None,
    scale: float | None,
    seed: int,
    output: str,
    quiet: bool,
) -> int:
    need("torch", "--maximise")
    import torch

    from cnnapps.apps.inspect import filters as f
    from cnnapps.apps.inspect.dream import GraphNet, maximise
    from cnnapps.core.media import write_picture

    torch.set_num_threads(1)
    card = dict(opened.weights.card.preparation) if opened.weights else {}
    info = next((v for v in opened.model.graph.inputs
                 if v.name not in opened.model.graph.stored
                 and v.shape is not None and len(v.shape) == 4), None)  # fmt: skip
    if info is None or info.shape[1] not in (1, 3):
        raise InputError(opened.name, "takes no pictures of 1 or 3 channels")
    fixed = [n for n in info.shape[2:] if isinstance(n, int)]
    side = size or (fixed[0] if fixed else int(card.get("size", 224)))
    if fixed and side != fixed[0]:
        raise InputError(opened.name, f"takes pictures of {fixed[0]}, not --size {side}")
    shapes = {info.name: (1, info.shape[1], side, side)}
    net = GraphNet(opened, shapes, f.layer_output(opened, layer))
    probe = net.run({info.name: torch.zeros(shapes[info.name])})
    if probe.dim() < 2 or channel >= probe.shape[1]:
        raise InputError(opened.name, f"{layer} has {probe.shape[1]} channels, 0 to "
                         f"{probe.shape[1] - 1}")  # fmt: skip
    with Progress(steps, "ascent", quiet=quiet) as bar:
        pixels, responses = maximise(
            lambda x: net.run({info.name: x}), channel, channels=info.shape[1], size=side,
            mean=float(mean if mean is not None else card.get("mean", 127.5)),
            scale=float(scale if scale is not None else card.get("scale", 127.5)),
            steps=steps, seed=seed,
            progress=lambda done, value: bar.update(done, response=value),
        )  # fmt: skip
    times = max(1, 224 // side)  # a digit's 28 pixels are too few to look at
    pixels = pixels.repeat(times, 0).repeat(times, 1)
    write_picture(output, pixels if pixels.shape[2] == 3 else np.repeat(pixels, 3, 2))
    click.echo(f"{layer}, channel {channel}: response {responses[0]:.3g} of noise, "
               f"{max(responses[-8:]):.3g} after {steps} steps")  # fmt: skip
    return 0
