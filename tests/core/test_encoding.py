"""Guesses about the encoding of a whole file."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnapps.core.encoding import guess_encoding

CHINESE = "房间很干净，服务态度也好，下次还住这里。"


@pytest.mark.parametrize(
    ("data", "want"),
    [
        (b"plain", ("utf-8", 0)),
        ("naïve 好".encode(), ("utf-8", 0)),
        ("\ufeffa".encode(), ("utf-8", 3)),
        (("\ufeff" + CHINESE).encode("utf-16-le"), ("utf-16-le", 2)),
        (("\ufeff" + CHINESE).encode("utf-32-be"), ("utf-32-be", 4)),
        ("label,text\na,b".encode("utf-16-be"), ("utf-16-be", 0)),
        (CHINESE.encode("gb18030"), ("gb18030", 0)),
        ("très mauvais café, déçu".encode("cp1252"), ("cp1252", 0)),
        (b"", ("utf-8", 0)),
    ],
)
def test_known_texts(data: bytes, want: tuple[str, int]) -> None:
    assert guess_encoding(data) == want


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    encoding, mark = guess_encoding(data)
    assert mark <= len(data)
    data[mark:].decode(encoding, "replace")
