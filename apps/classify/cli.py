"""``cnnapps classify``: what a photo shows, digits in a scan; train, measure, compare."""

from __future__ import annotations

from typing import Any

import click

from cnnapps.core.command import (
    AppGroup,
    FloatRange,
    common_options,
    evaluate_options,
    parse_shard,
    predict_options,
    train_options,
    with_options,
)
from cnnapps.core.errors import need


@click.group(cls=AppGroup, no_args_is_help=True)
def main() -> None:
    """Say what a photo shows: 1000 ImageNet classes, digits, or classes of your own.

    INPUT is a picture, a folder of pictures, a pattern, or - (stdin).

    \b
    cnnapps classify photo.jpg
    cnnapps classify photo.jpg --explain -o where.png
    cnnapps classify digits scan.png
    cnnapps classify train FOLDER --net resnet20 -o my-weights
    """


def _inputs(function: Any) -> Any:
    options = [
        click.option("--files-from", metavar="FILE", help="More inputs, one a line (- is stdin)."),
        click.option(
            "--shard", callback=parse_shard, metavar="I/N", help="Only every N-th file, from I."
        ),
        click.option("--resume", is_flag=True, help="Go on with -o FILE of a run that was killed."),
        click.option("--max-bytes", type=click.IntRange(1), help="Largest file, in bytes."),
        click.option("--max-pixels", type=click.IntRange(1), help="Largest picture, in pixels."),
    ]
    return with_options(options, function)


@main.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--top", type=click.IntRange(1), default=5, show_default=True, help="How many.")
@click.option("--explain", is_flag=True, help="Say where the first class was seen.")
@click.option("--pictures", metavar="FOLDER", help="Explanations of all inputs as pictures, here.")
@click.option("--batch", type=click.IntRange(1, 1024), default=16, show_default=True)
@_inputs
@predict_options("text", "json", "csv", "png")
def predict(inputs: tuple[str, ...], **options: Any) -> None:
    """The likeliest classes of each picture, and with --explain where they were seen.

    \b
    cnnapps classify photo.jpg --top 3
    cnnapps classify holiday/ -o classes.csv
    cnnapps classify photo.jpg --explain -o where.png
    cnnapps classify holiday/ --explain --pictures explained/ --json
    """
    from cnnapps.apps.classify.run import predict_inputs

    click.get_current_context().exit(predict_inputs(inputs, **options))


@main.command()
@click.argument("inputs", nargs=-1, metavar="INPUT...")
@click.option("--min-confidence", type=FloatRange(0, 1), default=0.0, help="Leave out less.")
@_inputs
@predict_options("text", "json", "csv", "png")
def digits(inputs: tuple[str, ...], **options: Any) -> None:
    """Find and read the digits of a picture: one or many, dark or light, lines in order.

    \b
    cnnapps classify digits scan.png
    cnnapps classify digits scan.png -o found.png
    cnnapps classify digits meter-photos/ --min-confidence 0.8 --json
    """
    from cnnapps.apps.classify.run import read_inputs

    click.get_current_context().exit(read_inputs(inputs, **options))


@main.command()
@click.argument("data", required=False, metavar="[FOLDER]")
@click.option(
    "--net", default="resnet20", show_default=True, help="A net of core/nets: lenet, resnet20 ..."
)
@click.option("--size", type=click.IntRange(8, 1024), help="Side in pixels (default: by the net).")
@click.option("--grey", is_flag=True, help="One channel (default: if all pictures are grey).")
@click.option("--from", "start", metavar="TAG|FOLDER", help="Fine-tune these weights, new head.")
@click.option("--epochs", type=FloatRange(min=0.01), help="Passes over the data.")
@click.option("--report-only", is_flag=True, help="Look at the data and stop.")
@train_options("classify-weights")
def train(data: str | None, **options: Any) -> None:
    """Train on FOLDER: a folder a class, perhaps below train, val and test; else on a sample.

    The pictures are looked at first: broken ones, duplicates, the same one in two classes or on
    both sides of a split.

    \b
    cnnapps classify train
    cnnapps classify train flowers/ --net resnet20 --size 48
    cnnapps classify train flowers/ --from default --minutes 20 -o my-weights
    cnnapps classify photo.jpg --weights ./my-weights
    """
    need("torch", "classify train")
    from cnnapps.apps.classify.learn import train_on

    click.get_current_context().exit(train_on(data, **options))


@main.command()
@click.argument("data", metavar="FOLDER")
@click.option("--split", metavar="NAME", help="Only this part: train, val or test.")
@evaluate_options
def evaluate(data: str, **options: Any) -> None:
    """Top-1, top-5 and confusion on FOLDER, which has a folder of pictures a class.

    \b
    cnnapps classify evaluate flowers/ --split test --weights ./my-weights
    cnnapps classify evaluate digits/ --weights digits --json
    """
    from cnnapps.apps.classify.run import evaluate_on

    click.get_current_context().exit(evaluate_on(data, **options))


@main.command()
@click.option("--data", metavar="FOLDER", help="A folder a class (default: the packaged digits).")
@click.option("--minutes", type=FloatRange(min=0.01), default=10.0, show_default=True,
              help="CPU minutes for all nets together (over --threads).")  # fmt: skip
@click.option("--nets", default="", metavar="A,B,...", help="Which (default: the course's).")
@click.option("--size", type=click.IntRange(8, 256), help="Side in pixels (default: 28 or 32).")
@click.option("-o", "--output", default="classify-compare", show_default=True, metavar="FOLDER")
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--threads", type=click.IntRange(1, 256), default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@common_options
def compare(**options: Any) -> None:
    """Train the course's nets on the same pictures, each for the same time; table and curves.

    \b
    cnnapps classify compare --minutes 10
    cnnapps classify compare --data flowers/ --nets lenet,nin-cifar,resnet20 --size 32
    """
    need("torch", "classify compare")
    from cnnapps.apps.classify.compare import compare_on

    click.get_current_context().exit(compare_on(**options))
