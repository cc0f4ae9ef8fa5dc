"""``cnnapps textcls``: classify sentences, train on your own, measure."""

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
    """Classify sentences with Kim's convolutional network.

    INPUT is a sentence, a text file (one text a line) or - (stdin, one answer a line).

    \b
    cnnapps textcls "what a wonderful film"
    cnnapps textcls --weights question "Who wrote Hamlet?"
    cnnapps textcls reviews.txt --json -o answers.jsonl
    cnnapps textcls train reviews.csv -o my-weights
    """


@main.command()
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "--text", "as_text", is_flag=True, help="INPUTs are sentences, whatever they look like."
)
@click.option("--encoding", help="Encoding of text files (default: UTF-8, else guessed).")
@click.option("--max-line-bytes", type=click.IntRange(1), help="Longest line, in bytes.")
@click.option("--min-confidence", type=FloatRange(0, 1), default=0.0, help="Below it: none.")
@click.option("--explain", is_flag=True, help="Show which n-grams decided, and by how much.")
@click.option("--shard", callback=parse_shard, metavar="I/N", help="Only every N-th line, from I.")
@click.option("--resume", is_flag=True, help="Go on with -o FILE of a run that was killed.")
@click.option("--batch", type=click.IntRange(1, 65536), default=1024, help="Texts read ahead.")
@predict_options("text", "json", "html")
def predict(
    inputs: tuple[str, ...],
    as_text: bool,
    encoding: str | None,
    max_line_bytes: int | None,
    min_confidence: float,
    explain: bool,
    shard: tuple[int, int] | None,
    resume: bool,
    batch: int,
    **options: Any,
) -> None:
    """Label, probability and, with --explain, the n-grams that decided.

    \b
    cnnapps textcls "what a wonderful film"
    cnnapps textcls --explain "not a good film at all"
    cat reviews.txt | cnnapps textcls - --json
    """
    from cnnapps.apps.textcls.run import predict_inputs

    code = predict_inputs(
        inputs,
        as_text=as_text,
        encoding=encoding,
        max_line_bytes=max_line_bytes,
        min_confidence=min_confidence,
        explain=explain,
        shard=shard,
        resume=resume,
        batch=batch,
        **options,
    )
    click.get_current_context().exit(code)


def _data_options(function: Any) -> Any:
    options = [
        click.option("--text-column", metavar="NAME", help="Column of the texts (guessed)."),
        click.option("--label-column", metavar="NAME", help="Column of the labels (guessed)."),
        click.option(
            "--label-separator", metavar="CHAR", help="Several labels a text, split here."
        ),
        click.option("--encoding", help="Encoding of the files (default: guessed)."),
        click.option("--max-bytes", type=click.IntRange(1), help="Largest file, in bytes."),
    ]
    return with_options(options, function)


@main.command()
@click.argument("data", nargs=-1, metavar="[DATA...]")
@_data_options
@click.option("--dev", metavar="FILE", help="Texts that choose the best epoch (default: a tenth).")
@click.option("--test", metavar="FILE", help="Texts that are only measured.")
@click.option("--from", "start", metavar="TAG|FOLDER", help="Go on from these weights.")
@click.option(
    "--teacher", metavar="TAG|FOLDER", help="Learn what these weights answer, also on new texts."
)
@click.option(
    "--new-texts",
    type=click.IntRange(0, 1_000_000),
    help="So many for the teacher (default: 20 for each text, at most 40000).",
)
@click.option(
    "--vectors",
    multiple=True,
    metavar="SOURCE",
    help="Word vectors: a word2vec, GloVe or fastText file, a package, or none; may be repeated.",
)
@click.option(
    "--units",
    type=click.Choice(["auto", "words", "characters", "sentencepiece"]),
    default="auto",
    show_default=True,
    help="What a text is cut into; auto looks at the script.",
)
@click.option(
    "--variant",
    type=click.Choice(["rand", "static", "non-static", "multichannel"]),
    help="The paper's variants, with the paper's recipe.",
)
@click.option(
    "--class-weights",
    type=click.Choice(["none", "balanced"]),
    default="none",
    show_default=True,
    help="balanced: rare classes weigh more.",
)
@click.option("--folds", type=click.IntRange(2, 100), help="Cross-validate first.")
@click.option("--autotune", is_flag=True, help="Search settings on dev, within --minutes (5).")
@train_options("textcls-weights")
def train(data: tuple[str, ...], **options: Any) -> None:
    """Train on DATA: csv, tsv, jsonl, fastText or a folder a class; without DATA on a sample.

    Up to 2 GB of memory; with vectors of several packages up to 2.5 GB.

    \b
    cnnapps textcls train
    cnnapps textcls train reviews.csv --text-column review --label-column stars
    cnnapps textcls train reviews.csv --folds 10 --set epochs=4
    cnnapps textcls --weights ./textcls-weights "my sentence"
    """
    need("torch", "textcls train")
    from cnnapps.apps.textcls.learn import train_on

    click.get_current_context().exit(train_on(data, **options))


@main.command()
@click.argument("data", nargs=-1, required=True, metavar="DATA...")
@_data_options
@click.option("--split", metavar="NAME", help="Rows whose split column says so.")
@evaluate_options
def evaluate(data: tuple[str, ...], **options: Any) -> None:
    """Accuracy, macro-F1, confusion, calibration and coverage on labelled DATA.

    \b
    cnnapps textcls evaluate reviews.csv --weights ./textcls-weights
    """
    from cnnapps.apps.textcls.run import evaluate_on

    click.get_current_context().exit(evaluate_on(data, **options))


@main.command()
@click.option("--weights", metavar="TAG|FOLDER", help="Which weights (default: default).")
@click.option("-o", "--output", default="textcls.onnx", show_default=True, metavar="FILE")
@click.option("--max-mb", type=FloatRange(min=0.01), help="Size target: rare words go first.")
@common_options
def export(
    weights: str | None, output: str, max_mb: float | None, quiet: bool, debug: bool
) -> None:
    """The weights as one ONNX file with everything inside, within a size target.

    \b
    cnnapps textcls export --weights default -o sentiment.onnx --max-mb 3
    """
    from cnnapps.apps.textcls.run import export_one

    click.get_current_context().exit(export_one(weights, output, max_mb))


@main.command()
@click.option("--data", required=True, metavar="FOLDER", help="mr.tsv.xz, sst1.tsv.xz, ...")
@click.option("--sets", default="all", show_default=True, help="mr,sst1,sst2,subj,trec,cr,mpqa")
@click.option(
    "--variants", default="all", show_default=True, help="rand,static,...; all, none or levers"
)
@click.option("--folds", default="all", show_default=True, help="0,1,2 or 0-2 or all")
@click.option("--seeds", default="1", show_default=True, help="1,2,3 or 1-3")
@click.option(
    "--peers/--no-peers", default=True, show_default=True, help="Measure peers beside us."
)
@click.option("--folders", multiple=True, metavar="FOLDER", help="Where downloaded packages lie.")
@click.option("-o", "--output", default="runs/textcls-benchmark", show_default=True)
@click.option("--set", "settings", multiple=True, metavar="NAME=VALUE", help="Change the recipe.")
@click.option("--table", metavar="FILE", help="Write the table as Markdown.")
@common_options
def benchmark(**options: Any) -> None:
    """Table 2 of the paper on all seven sets, beside fastText, TF-IDF + SVM and NB-SVM.

    Every cell (set, variant, fold, seed) is kept and not computed twice. The variants default and
    quality train a net with an encoder: 3 GB of memory; the others need less than 2.

    \b
    cnnapps textcls benchmark --data data/text --sets cr,trec --variants default
    """
    from cnnapps.apps.textcls.benchmark import run

    click.get_current_context().exit(run(**options))
