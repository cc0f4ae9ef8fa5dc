"""One self-contained ONNX file of a classifier, for other programs; smaller if asked for.

The weights folder keeps graph and weights apart. Here they are put together, and the units, labels
and temperature go into the file's metadata, so that one file is all a program needs.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

from cnnapps.apps.textcls.grams import FILE
from cnnapps.apps.textcls.tokens import read_units
from cnnapps.core.errors import InputError, WeightsError, need
from cnnapps.core.weights import Weights

__all__ = ["bundle"]

LEAST = 100
"""Units of the smallest vocabulary."""


def bundle(weights: Weights, *, max_bytes: int | None = None) -> tuple[bytes, int, float]:
    """(file, units kept, largest difference of a logit to the folder's net).

    With ``max_bytes`` the rows of the last units, the rarest words, are cut: they become unknown
    words, and the difference is measured over the words that stay. InputError when even a
    vocabulary of ``LEAST`` units doesn't fit, for a net whose table can't be cut, and for weights
    that are more than their net.
    """
    if FILE in weights.files:
        raise InputError(
            weights.card.name, "has a linear model over n-grams beside its net: not one ONNX file"
        )
    kept = int(weights.card.arguments["units"])
    data = _assemble(weights, kept)
    if max_bytes is not None and len(data) > max_bytes:
        cuttable = weights.card.net == "kim-cnn" and kept > LEAST
        if not cuttable or weights.card.preparation.get("units") != "words":
            raise InputError("--max-mb", f"these weights need {len(data) / 1e6:.2f} MB")
        per_unit = (len(data) - len(_assemble(weights, LEAST))) / (kept - LEAST)
        kept -= int(np.ceil((len(data) - max_bytes) / per_unit)) + 8
        while kept >= LEAST and len(data := _assemble(weights, kept)) > max_bytes:
            kept -= max(8, kept // 100)
        if kept < LEAST:
            raise InputError("--max-mb", f"at least {len(_assemble(weights, LEAST)) / 1e6:.2f} MB")
    difference = _difference(weights, data, kept)
    if not difference <= 1e-4:  # also refuses NaN
        raise WeightsError(weights.folder, f"the file's scores differ by {difference:.1e}")
    return data, kept, difference


def _assemble(weights: Weights, kept: int) -> bytes:
    """The graph with its initialisers inside, tables cut to ``kept`` rows."""
    onnx = need("onnx", "export")
    model = onnx.load_model_from_string(weights["graph.onnx"])
    tensors = weights.tensors()
    for initializer in model.graph.initializer:
        if initializer.data_location != onnx.TensorProto.EXTERNAL:
            continue
        name = initializer.name.removesuffix(".half").removeprefix("net.")
        value = tensors[name]
        if name.startswith("table."):
            value = value[:kept]
        del initializer.external_data[:]
        initializer.data_location = onnx.TensorProto.DEFAULT
        del initializer.dims[:]
        initializer.dims.extend(value.shape)
        initializer.raw_data = np.ascontiguousarray(value).tobytes()
    units = read_units(weights.files)
    card = weights.card
    metadata: dict[str, Any] = {
        "labels": card.labels,
        "preparation": card.preparation,
        "units": units.names()[:kept],
        "licence": card.licence,
        "weights": card.name,
    }
    if units.kind == "sentencepiece":  # the pieces alone don't say how a text is cut
        metadata["units.model"] = base64.b64encode(units.files()["units.model"]).decode()
    for key, value in metadata.items():
        model.metadata_props.add(key=f"cnnapps.{key}", value=json.dumps(value, ensure_ascii=False))
    return bytes(model.SerializeToString())


def _difference(weights: Weights, data: bytes, kept: int) -> float:
    """Largest difference of the logits between the file and the folder, on random known units."""
    from cnnapps.core.runtime import onnxruntime, open_runtime

    ort = onnxruntime("export")
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    reference = open_runtime(weights)
    rng = np.random.default_rng(0)
    worst = 0.0
    for n, length in ((4, 12), (1, 1), (16, 40)):
        if weights.card.net == "kim-cnn":
            words = np.unique(np.concatenate([[0], rng.integers(1, kept, 50)])).astype(np.int64)
            inputs = {
                "words": words,
                "tokens": rng.integers(1, len(words), (n, length)),
                "length": np.full(n, length),
                "edges": np.ones((n, 2), dtype=np.int64),
            }
        else:
            inputs = {"ids": rng.integers(1, kept, (n, length)), "length": np.full(n, length)}
        want = reference.run(**inputs)["logits"]
        got = session.run(["logits"], inputs)[0]
        worst = float(np.maximum(worst, np.abs(got - want).max()))  # unlike max, keeps NaN
    return worst
