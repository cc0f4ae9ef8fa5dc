"""Guesses about the encoding of a whole file (test_sgf.py has more: short names, lies, faults)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnapps.core.charset import decode

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
        ("à la carte".encode("cp1252"), ("cp1252", 0)),
        (b"", ("utf-8", 0)),
    ],
)
def test_known_texts(data: bytes, want: tuple[str, int]) -> None:
    found = decode(data, prose=True)
    assert (found.encoding, found.bom) == want


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("cp1251", "Отличный фильм, очень понравился. Ужасно скучно, жаль потраченного времени"),
        ("koi8-r", "Отличный фильм, очень понравился. Ужасно скучно, жаль потраченного времени"),
        ("cp932", "とても良い映画でした。もう一度見たい。ひどい映画だった。時間の無駄。"),
        ("euc_jp", "とても良い映画でした。もう一度見たい。ひどい映画だった。時間の無駄。"),
        ("cp950", "這部電影很好看，我喜歡。非常無聊，浪費時間。"),
        ("cp949", "정말 좋은 영화였습니다. 다시 보고 싶어요. 지루하고 시간 낭비였다."),
        ("cp1256", "فيلم رائع جدا أنصح به. فيلم ممل ومضيعة للوقت"),
        ("cp1255", "סרט נהדר, נהניתי מאוד. סרט משעמם ובזבוז זמן"),
        ("cp1253", "Πολύ καλή ταινία, μου άρεσε. Βαρετή ταινία, χάσιμο χρόνου"),
        ("cp874", "หนังดีมาก ชอบมาก อยากดูอีก หนังแย่ น่าเบื่อ เสียเวลา"),
        ("cp1252", "Ein schöner Film über große Gefühle. Für mich völlig überflüssig"),
        ("cp1252", "Only £20 or €30 — nice café. The £5 one is for sale © us"),
        ("cp1252", "Un très beau film, émouvant et drôle à la fois. Ça ne m’a pas plu"),
    ],
)
def test_reviews_in_encodings_that_programs_wrote_before(encoding: str, text: str) -> None:
    table = "text,label\n" + "".join(f'"{part}",x\n' for part in text.split(". "))
    found = decode(table.encode(encoding), prose=True)
    assert (found.encoding, found.text) == (encoding, table)


@pytest.mark.parametrize("sign", "£©®µ¢¥ðþãìŁğΩЖѣאم")
def test_a_single_sign_in_an_english_table_is_utf_8(sign: str) -> None:
    table = "text,label\n" + f"it was {sign}5, naive,a\nfine,b\n" * 2
    found = decode(table.encode(), prose=True)
    assert (found.encoding, found.text, found.notes) == ("utf-8", table, ())


def test_a_letter_inside_a_latin_name_is_no_syllable_of_korean() -> None:
    assert decode("(;PB[Guðmundur]PW[Sigríður])".encode()).encoding == "utf-8"
    assert decode("(;PB[이창호]PW[조훈현])".encode("cp949")).encoding == "cp949"


def test_one_bad_byte_leaves_utf_8_what_it_is() -> None:
    found = decode(f"{CHINESE}\n".encode() * 3 + b"bad \xff\n", prose=True)
    assert found.encoding == "utf-8" and found.notes == ("1 byte is no text in utf-8",)


@given(st.binary(max_size=300))
def test_any_bytes_get_an_answer(data: bytes) -> None:
    found = decode(data, prose=True)
    assert found.bom <= len(data)
    assert len(found.text) <= len(data)  # a character takes at least a byte
