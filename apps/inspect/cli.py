"""``cnnapps inspect``: layer tables, size laws, kernels on your own photos, filters, gradients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from cnnapps.core.command import AppGroup, common_options


class InspectGroup(AppGroup):
    """``inspect resnet18`` means ``inspect net resnet18``."""

    default = "net"

    def _ask_mistyped(self, ctx: click.Context, args: list[str]) -> None:
        from cnnapps.core.nets import NETS

        if args[0] not in NETS:  # "lenet" is close to "net", and right
            super()._ask_mistyped(ctx, args)


def _output(what: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    return click.option("-o", "--output", metavar="FILE", help=what)


_JSON = click.option("--json", "as_json", is_flag=True, help="One JSON object.")
_PIXELS = click.option("--max-pixels", type=click.IntRange(1), help="Largest picture, in pixels.")


@click.group(cls=InspectGroup, no_args_is_help=True)
def main() -> None:
    """Look inside convolutional nets: layers, costs, sizes, filters, gradients.

    NET is a name (inspect nets lists them), MODEL.onnx, or weights (app/tag or a folder).

    \b
    cnnapps inspect resnet18
    cnnapps inspect net model.onnx --input 3x640x640
    cnnapps inspect conv --input 224 --kernel 11 --stride 4
    cnnapps inspect convolve photo.png --kernel laplacian -o edges.png
    """


@main.command()
@click.argument("nets", nargs=-1, required=True, metavar="NET...")
@click.option("--input", "shape", metavar="3x224x224", help="Shape of the input, without batch.")
@click.option("--batch", type=click.IntRange(1, 1 << 20), default=1, show_default=True,
              help="How many at once.")  # fmt: skip
@click.option("--axis", "axes", multiple=True, metavar="NAME=N", help="Length of a free axis.")
@click.option("--set", "settings", multiple=True, metavar="NAME=N",
              help="Build a named net with other channels, classes, size.")  # fmt: skip
@click.option("--depth", type=click.IntRange(1), help="Join rows by so many parts of their names.")
@click.option("--all", "every", is_flag=True, help="Also steps that only move numbers.")
@click.option("--wide", is_flag=True, help="All columns, whatever the terminal's width.")
@click.option("--peers", "with_peers", is_flag=True, help="What other tools say, and why.")
@click.option("--external", is_flag=True, help="Accept weights in other files; they stay closed.")
@click.option("--max-bytes", type=click.IntRange(1), help="Largest file, in bytes.")
@_JSON
@_output("Write a diagram (.svg, .png), the JSON (.json) or the table there.")
@common_options
def net(nets: tuple[str, ...], **options: Any) -> None:
    """Layers with shapes, parameters, exact MACs, memory, receptive field.

    MACs are those of convolution and linear layers; bias, norm, activation and pooling stand in
    columns of their own, and all of them sum to the operations.

    \b
    cnnapps inspect net resnet18 --peers
    cnnapps inspect net go-policy/default -o net.svg
    cnnapps inspect net alexnet --input 3x100x100
    """
    from cnnapps.apps.inspect.run import net_tables

    click.get_current_context().exit(net_tables(nets, **options))


@main.command()
@common_options
def nets(**options: Any) -> None:
    """The nets that can be named, with their input and paper.

    \b
    cnnapps inspect nets
    """
    from cnnapps.apps.inspect.run import list_nets

    click.get_current_context().exit(list_nets())


@main.command()
@click.argument("layers", nargs=-1, metavar="M,K,IN,OUT...")
@click.option(
    "--against", multiple=True, metavar="M,K,IN,OUT", help="The other way, layer by layer."
)
@_JSON
@common_options
def complexity(layers: tuple[str, ...], **options: Any) -> None:
    """Time and space of convolutions by the course's formulas; without LAYERS its exercise.

    Time ~ sum M^2 K^2 C(l-1) C(l) multiplications; space ~ sum K^2 C(l-1) C(l) weights + sum
    M^2 C(l) outputs. M side of the output, K side of the kernel, IN and OUT channels.

    \b
    cnnapps inspect complexity
    cnnapps inspect complexity 56,5,64,64 --against 56,3,64,64 --against 56,3,64,64
    """
    from cnnapps.apps.inspect.run import costs

    click.get_current_context().exit(costs(layers, **options))


@main.command()
@click.option("--input", "inputs", type=int, required=True, metavar="M", help="Inputs on an axis.")
@click.option("--kernel", type=int, required=True, metavar="K", help="Weights on an axis.")
@click.option("--stride", type=int, default=1, show_default=True, metavar="S", help="Step.")
@click.option("--padding", default="0", show_default=True, metavar="P|narrow|same|wide",
              help="Zeros on each side.")  # fmt: skip
@click.option(
    "--dilation", type=int, default=1, show_default=True, metavar="D", help="Tap spacing."
)
@click.option("--transposed", is_flag=True, help="From few to many (fractional stride).")
@click.option("--output-padding", type=int, default=0, show_default=True, help="With --transposed.")
@_JSON
@_output("Draw which inputs meet which output (.svg, .png).")
@common_options
def conv(**options: Any) -> None:
    """How many outputs a convolution has, and which inputs meet which.

    \b
    cnnapps inspect conv --input 224 --kernel 11 --stride 4
    cnnapps inspect conv --input 14 --kernel 3 --dilation 2 --padding same -o conv.svg
    """
    from cnnapps.apps.inspect.run import sizes

    click.get_current_context().exit(sizes(**options))


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="PHOTO|CSV|SOUND...")
@click.option("--kernel", required=True, metavar='NAME|"1 0; 0 -1"',
              help="gaussian, laplacian, edge, emboss, sharpen, mean, sobel-x, sobel-y; for "
              "signals low-pass, high-pass, echo; or rows of numbers.")  # fmt: skip
@click.option("--true-convolution/--cross-correlation", "true", default=None,
              help="Turn the kernel by 180 degrees or not (default: for signals).")  # fmt: skip
@click.option("--stride", type=click.IntRange(1, 1 << 20), default=1, show_default=True,
              help="Step.")  # fmt: skip
@click.option("--padding", type=click.Choice(["narrow", "same", "wide"]),
              help="Default: same; narrow for a matrix of numbers.")  # fmt: skip
@click.option("--border", type=click.Choice(["repeat", "zero"]), default="repeat",
              show_default=True, help="What stands around a picture.")  # fmt: skip
@click.option("--delay", type=float, default=0.25, show_default=True, metavar="SECONDS",
              help="Between an echo's taps (csv: samples, at least 1).")  # fmt: skip
@_PIXELS
@_output("Where the result goes (.png, .jpg, .csv, .wav).")
@common_options
def convolve(inputs: tuple[str, ...], **options: Any) -> None:
    """Convolve your own photo, numbers or sound.

    \b
    cnnapps inspect convolve photo.png --kernel emboss -o emboss.png
    cnnapps inspect convolve matrix.csv --kernel "1 0 0; 0 0 0; 0 0 -1" --true-convolution
    cnnapps inspect convolve talk.wav --kernel echo -o echo.wav
    """
    from cnnapps.apps.inspect.run import convolved

    click.get_current_context().exit(convolved(inputs, **options))


@main.command()
@click.argument("net", metavar="NET")
@click.option("--state", metavar="FILE",
              help="NET is a name, these its weights: a safetensors state dict with our names or "
              "torchvision's (needs torch).")  # fmt: skip
@click.option("--layer", metavar="NAME", help="Which layer (default: the first convolution).")
@click.option("--photo", metavar="FILE", help="Draw the layer's activations for a photo.")
@click.option("--maximise", type=click.IntRange(0), metavar="CHANNEL",
              help="Draw what excites a channel of the layer most (needs torch).")  # fmt: skip
@click.option("--steps", type=click.IntRange(1, 100_000), default=256, show_default=True,
              help="Of --maximise.")  # fmt: skip
@click.option(
    "--size",
    type=click.IntRange(16, 2048),
    help="Side of --maximise, or of the net with --state, in pixels.",
)
@click.option("--text", metavar="FILE",
              help="A text a line (- for stdin), for text nets whose filters read words in "
              "context; default: the package's sample.")  # fmt: skip
@click.option("--filter", "chosen", type=click.IntRange(0), multiple=True, metavar="N",
              help="Only these filters of a text net.")  # fmt: skip
@click.option("--top", type=click.IntRange(1, 1000), default=3, show_default=True,
              help="N-grams a filter.")  # fmt: skip
@click.option("--mean", type=float, help="A photo's values become (value - mean) / scale.")
@click.option("--scale", type=float, help="Default: the card's, else 127.5.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of --maximise.")
@_PIXELS
@_output("Where the picture goes (.png, .jpg).")
@common_options
def filters(net: str, **options: Any) -> None:
    """A net's kernels, its activations for a photo, what excites a channel; a text net's n-grams.

    NET is MODEL.onnx or weights, or with --state a net's name: by name alone it is untrained.

    \b
    cnnapps inspect filters textcls/default
    cnnapps inspect filters textcls/sentiment-quality --text reviews.txt
    cnnapps inspect filters go-policy/default -o planes.png
    cnnapps inspect filters resnet18 --state resnet18.safetensors -o kernels.png
    cnnapps inspect filters model.onnx --layer stem.conv --photo photo.png -o maps.png
    """
    from cnnapps.apps.inspect.run import show_filters

    click.get_current_context().exit(show_filters(net, **options))


@main.command()
@common_options
def gradients(**options: Any) -> None:
    """One worked example of the gradients of convolution and pooling, by hand.

    \b
    cnnapps inspect gradients
    """
    from cnnapps.apps.inspect.gradients import worked_example

    click.echo(worked_example(), nl=False)
