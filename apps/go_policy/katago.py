"""Reader of KataGo's net files (``*.bin.gz``, versions 3 to 10), as far as a policy needs them.

A file is text: tokens separated by white space, in the order of the layers (lightvector/KataGo,
``cpp/neuralnet/desc.cpp``). An array stands behind ``@BIN@`` as little-endian float32. The value
head at the end is not read.
"""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cnnapps.core.errors import InputError, LimitError

__all__ = ["Affine", "Block", "PolicyHead", "PolicyNet", "read_net"]

MAX_BYTES = 1 << 30  # unpacked; the largest nets of b40c256 have 190 MB
VERSIONS = range(3, 11)
BINARY = b"@BIN@"

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Affine:
    """A batch normalisation, folded: ``x * scale + bias`` for each channel, (C,) each."""

    scale: Floats
    bias: Floats


@dataclass(frozen=True, slots=True)
class Block:
    """A residual block. Convolutions are (out, in, ky, kx), matrices (in, out).

    Ordinary: x + conv2(relu(norm2(conv1(relu(norm1(x)))))). With global pooling, conv1 gives the
    regular and ``conv_pool`` the pooled channels: norm2 is applied to conv1(.) plus
    ``pool_to_bias`` times the pooled relu(norm_pool(conv_pool(.))) at every point.
    """

    name: str
    norm1: Affine
    conv1: Floats
    norm2: Affine
    conv2: Floats
    conv_pool: Floats | None = None
    norm_pool: Affine | None = None
    pool_to_bias: Floats | None = None


@dataclass(frozen=True, slots=True)
class PolicyHead:
    """conv(relu(norm(conv_board(x) + pooled relu(norm_pool(conv_pool(x))) * pool_to_bias)))."""

    conv_board: Floats
    conv_pool: Floats
    norm_pool: Affine
    pool_to_bias: Floats
    norm: Affine
    conv: Floats  # (1, channels, 1, 1): the policy; further outputs of the file are dropped
    pool_to_pass: Floats  # (pooled, 1)


@dataclass(frozen=True, slots=True)
class PolicyNet:
    """Trunk and policy head of a KataGo net."""

    name: str
    version: int
    planes: int
    globals: int
    conv: Floats  # the stem
    globals_to_bias: Floats  # (globals, channels), added at every point
    blocks: tuple[Block, ...]
    norm: Affine
    head: PolicyHead


def read_net(path: str | os.PathLike[str]) -> PolicyNet:
    """Read a net; InputError (naming file and place) if it is damaged or of another kind."""
    try:
        with gzip.open(path) as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(path, f"can't be read as gzip ({error})") from error
    if len(data) > MAX_BYTES:
        raise LimitError(path, f"more than {MAX_BYTES} bytes unpacked", "katago.MAX_BYTES")
    tokens = _Tokens(data, os.fspath(path))
    net = _net(tokens)
    for name, array in _arrays(net):
        if not np.isfinite(array).all():
            raise InputError(path, f"{name} has values that are not finite")
    return net


class _Tokens:
    """The words and arrays of a file, one after the other."""

    def __init__(self, data: bytes, source: str) -> None:
        self.data, self.source, self.at = data, source, 0

    def fail(self, reason: str) -> InputError:
        return InputError(self.source, f"{reason} (at byte {self.at})")

    def skip(self) -> None:
        while self.data[self.at : self.at + 1].isspace():
            self.at += 1

    def word(self) -> str:
        self.skip()
        end = self.at
        while end < len(self.data) and not self.data[end : end + 1].isspace():
            end += 1
            if end - self.at > 200:
                raise self.fail("not a KataGo net: no word here")
        if end == self.at:
            raise self.fail("ends too early")
        word = self.data[self.at : end].decode("ascii", "replace")
        self.at = end
        return word

    def number(self, most: int = 4096) -> int:
        word = self.word()
        if not (word.isdecimal() and len(word) < 9 and int(word) <= most):
            raise self.fail(f"{word!r} is not a number from 0 to {most}")
        return int(word)

    def real(self) -> float:
        word = self.word()
        try:
            return float(word)
        except ValueError:
            raise self.fail(f"{word!r} is not a number") from None

    def array(self, *shape: int) -> Floats:
        self.skip()
        if not self.data.startswith(BINARY, self.at):
            raise self.fail("no array here")
        start = self.at + len(BINARY)
        count = int(np.prod(shape, dtype=np.int64))
        if start + 4 * count > len(self.data):
            raise self.fail("ends within an array")
        self.at = start + 4 * count
        return np.frombuffer(self.data, "<f4", count, start).astype(np.float32).reshape(shape)


def _net(tokens: _Tokens) -> PolicyNet:
    name = tokens.word()
    version = tokens.number()
    if version not in VERSIONS:
        raise tokens.fail(f"net version {version} is not one of {VERSIONS[0]} to {VERSIONS[-1]}")
    planes, numbers = tokens.number(), tokens.number()
    tokens.word()  # "trunk"
    blocks = tokens.number(most=1000)
    for _ in range(5):
        tokens.number()  # channels of the trunk, of the blocks ...; the arrays say them again
    conv = _conv(tokens)
    globals_to_bias = _matmul(tokens)
    read = tuple(_block(tokens) for _ in range(blocks))
    norm = _norm(tokens)
    _activation(tokens)
    return PolicyNet(
        name, version, planes, numbers, conv, globals_to_bias, read, norm, _head(tokens)
    )


def _block(tokens: _Tokens) -> Block:
    kind, name = tokens.word(), tokens.word()
    if kind not in ("ordinary_block", "gpool_block"):
        raise tokens.fail(f"unknown block {kind!r}")
    norm1 = _norm(tokens)
    _activation(tokens)
    conv1 = _conv(tokens)
    conv_pool = norm_pool = pool_to_bias = None
    if kind == "gpool_block":
        conv_pool = _conv(tokens)
        norm_pool = _norm(tokens)
        _activation(tokens)
        pool_to_bias = _matmul(tokens)
    norm2 = _norm(tokens)
    _activation(tokens)
    return Block(name, norm1, conv1, norm2, _conv(tokens), conv_pool, norm_pool, pool_to_bias)


def _head(tokens: _Tokens) -> PolicyHead:
    tokens.word()  # "policyhead"
    conv_board, conv_pool = _conv(tokens), _conv(tokens)
    norm_pool = _norm(tokens)
    _activation(tokens)
    pool_to_bias = _matmul(tokens)
    norm = _norm(tokens)
    _activation(tokens)
    conv = _conv(tokens)[:1]
    return PolicyHead(
        conv_board, conv_pool, norm_pool, pool_to_bias, norm, conv, _matmul(tokens)[:, :1]
    )


def _conv(tokens: _Tokens) -> Floats:
    """A convolution as (out, in, ky, kx)."""
    tokens.word()  # its name
    ky, kx, inputs, outputs = (tokens.number() for _ in range(4))
    if tokens.number() != 1 or tokens.number() != 1:
        raise tokens.fail("a dilated convolution")
    return np.ascontiguousarray(tokens.array(ky, kx, inputs, outputs).transpose(3, 2, 0, 1))


def _matmul(tokens: _Tokens) -> Floats:
    """A matrix (in, out)."""
    tokens.word()
    inputs, outputs = tokens.number(), tokens.number()
    return tokens.array(inputs, outputs)


def _norm(tokens: _Tokens) -> Affine:
    tokens.word()
    channels = tokens.number()
    epsilon = tokens.real()
    has_scale, has_bias = tokens.number(most=1), tokens.number(most=1)
    mean, variance = tokens.array(channels), tokens.array(channels)
    scale = tokens.array(channels) if has_scale else np.ones(channels, np.float32)
    bias = tokens.array(channels) if has_bias else np.zeros(channels, np.float32)
    if not (epsilon >= 0 and (variance + epsilon > 0).all()):
        raise tokens.fail("a variance that is not positive")
    scale = (scale / np.sqrt(variance.astype(np.float64) + epsilon)).astype(np.float32)
    return Affine(scale, bias - mean * scale)


def _activation(tokens: _Tokens) -> None:
    tokens.word()  # its name; up to version 10 always ReLU


def _arrays(net: PolicyNet) -> list[tuple[str, Floats]]:
    """All arrays with their place, to check them."""
    found: list[tuple[str, Floats]] = []

    def visit(place: str, value: object) -> None:
        if isinstance(value, np.ndarray):
            found.append((place, value))
        elif isinstance(value, tuple):
            for i, part in enumerate(value):
                visit(f"{place}[{i}]", part)
        elif hasattr(value, "__dataclass_fields__"):
            for field in value.__dataclass_fields__:
                visit(f"{place}.{field}" if place else field, getattr(value, field))

    visit("", net)
    return found
