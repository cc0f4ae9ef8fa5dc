"""Words, characters and sentence pieces: known texts, laws, and files that come back."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnapps.apps.textcls import tokens
from cnnapps.apps.textcls.tokens import (
    PAD,
    UNKNOWN,
    CharacterUnits,
    SentencePieceUnits,
    WordUnits,
    back_off,
    build_characters,
    build_words,
    guess_kind,
    read_units,
    tokenize,
    tokenize_spans,
    train_sentencepiece,
)
from cnnapps.core.errors import InputError, TrainingError, WeightsError

# Every text may come in: lone surrogates, controls, marks, and the signs that have rules.
ANY = st.text(
    st.one_of(
        st.characters(exclude_categories=()),
        st.sampled_from([*"nNtT'’`\"-.!?:;)(/\\<br> \n019", "İ", "ß", "é", "好", "ไ"]),
    ),
    max_size=60,
)

CASES = {
    "it's so laddish": "it 's so laddish",
    "it 's so": "it 's so",
    "doesn't does n't does n 't": "does n't does n't does n't",
    "DOESN'T, doesn’t": "does n't , does n't",
    "doesn 't": "does n't",
    "can't won't shan't": "can n't will n't shall n't",
    "can n't wo n't": "can n't will n't",
    "-lrb- so-so -rrb-": "( so-so )",
    "`` Hi '' “there”": '" hi " " there "',
    "actor\\/director": "actor / director",
    "the u.s. j.r.r. tolkien": "the u.s. j.r.r. tolkien",
    "39.99 10,000 12:30 3d": "39.99 10,000 12:30 3d",
    "wait . . . what ...... ok…": "wait ... what ... ok ...",
    "a--b a — b": "a -- b a -- b",
    "wow!!! really?!": "wow !!! really ?!",
    "nice :-) ;)": "nice :-) ;)",
    "see http://a.b/c?d=1 now": "see <url> now",
    "good<br />film": "good film",
    "rock 'n' roll, 'em": "rock ' n ' roll , 'em",
    "cafe\u0301 हिन्दी": "cafe\u0301 हिन्दी",
    "酒店XP很好！": "酒 店 xp 很 好 !",
    "": "",
    " \t\n\u3000\u200b": "",
}


@pytest.mark.parametrize("text", CASES)
def test_known_texts(text: str) -> None:
    assert tokenize(text) == CASES[text].split()


@given(ANY)
def test_spans_give_the_same_words_and_their_places(text: str) -> None:
    found = tokenize_spans(text)
    assert [token.text for token in found] == tokenize(text)
    end = 0
    for token in found:
        assert end <= token.start < token.end <= len(text)
        end = token.end


@given(ANY)
def test_no_word_is_blank_and_case_does_not_matter(text: str) -> None:
    assert all(token and not token.isspace() for token in tokenize(text))
    if text.isascii():
        assert tokenize(text) == tokenize(text.lower()) == tokenize(text.upper().lower())


@given(ANY)
def test_blanks_around_change_nothing(text: str) -> None:
    assert tokenize(f"  {text}\n") == tokenize(text)


@given(st.lists(st.sampled_from(sorted({w for c in CASES.values() for w in c.split()}))))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    plain = [w for w in words if w.isalnum() and w.isascii()]
    assert tokenize(" ".join(plain)) == plain


def test_spans_point_into_the_text_as_given() -> None:
    text = "İt ISN'T a “laugh”"
    assert [text[t.start : t.end] for t in tokenize_spans(text)] == [
        "İt", "IS", "N'T", "a", "“", "laugh", "”",
    ]  # fmt: skip


KNOWN = {"so", "laugh", "out", "loud", "cafe", "2000", "7", "!", "0", "film", "good", "happy"}
KNOWN |= {"sad", "love", "board", ">", "."}


@pytest.mark.parametrize(
    ("token", "words"),
    [
        ("film", ["film"]),
        ("sooooo", ["so"]),
        ("café", ["cafe"]),
        ("2,347", ["2000"]),
        ("7.5", ["7"]),
        ("99", ["0"]),
        ("a777", []),
        ("!!!", ["!"]),
        ("<url>", []),  # no row of marks
        ("q.x.", []),
        ("laugh-out-looud", ["laugh", "out"]),
        ("laugh-out-loooud", ["laugh", "out", "loud"]),
        ("good/film", ["good", "film"]),
        ("zzyzx", []),
        ("zz-yy", []),
        (":-)", ["happy"]),
        (":'(", ["sad"]),
        ("<3", ["love"]),
        ("\N{THUMBS UP SIGN}", ["good"]),
        ("\N{CLAPPER BOARD}", ["board"]),  # by its name
        ("\N{SMILING FACE WITH OPEN MOUTH}", ["happy"]),
        ("\N{COPYRIGHT SIGN}", []),
        (":-x", []),
    ],
)
def test_back_off(token: str, words: list[str]) -> None:
    assert back_off(token, KNOWN) == words


@given(ANY)
def test_back_off_knows_what_it_gives(token: str) -> None:
    assert set(back_off(token, KNOWN)) <= KNOWN


def test_word_units_back_off_else_unknown() -> None:
    units = WordUnits([PAD, UNKNOWN, "a", "must", "see", "film"])
    assert units.encode("A must-see zzyzx film") == ["a", "must", "see", UNKNOWN, "film"]
    ids, places = units.spans("A must-see zzyzx film")
    assert ids == units.ids("A must-see zzyzx film") == [2, 3, 4, 1, 5]
    assert [(t.start, t.end) for t in places] == [(0, 1), (2, 10), (2, 10), (11, 16), (17, 21)]
    assert units.ids("") == []


def test_build_words_orders_by_frequency_and_appends() -> None:
    units = build_words(["b a b", "c b"], also=["z", "a"], min_count=1)
    assert units.names() == [PAD, UNKNOWN, "b", "a", "c", "z"]
    assert build_words(["b a b", "c b"], min_count=2).names() == [PAD, UNKNOWN, "b"]
    assert len(build_words(["a b c d"], limit=4)) == 4


@pytest.fixture(scope="module")
def pieces(texts: list[str]) -> SentencePieceUnits:
    pytest.importorskip("sentencepiece")
    return train_sentencepiece(texts[:800], size=600)


def test_sentencepiece_is_deterministic_and_reserves_two(
    texts: list[str], pieces: SentencePieceUnits
) -> None:
    again = train_sentencepiece(texts[:800], size=600)
    assert again.files() == pieces.files()
    assert len(pieces) == 600
    assert pieces.names()[:2] == [PAD, UNKNOWN]
    assert PAD not in pieces.encode(texts[0])


def test_sentencepiece_spans_cover_the_text(texts: list[str], pieces: SentencePieceUnits) -> None:
    for text in texts[:50]:
        ids, places = pieces.spans(text)
        assert ids == pieces.ids(text)
        assert places[0].start == 0
        assert places[-1].end == len(text.rstrip())
        assert all(a.end <= b.start + 1 for a, b in itertools.pairwise(places))


def _kinds(texts: list[str], pieces: SentencePieceUnits) -> list[tokens.Units]:
    return [build_words(texts), build_characters(texts), pieces]


def test_files_bring_the_same_units_back(texts: list[str], pieces: SentencePieceUnits) -> None:
    for units in _kinds(texts, pieces):
        again = read_units(units.files())
        assert again.kind == units.kind
        assert again.names() == units.names()
        assert [again.ids(t) for t in texts[:20]] == [units.ids(t) for t in texts[:20]]


@given(text=ANY)
def test_every_text_gets_ids_in_range(text: str) -> None:
    for units in (build_words(["a good film"]), build_characters(["a good film 好"])):
        ids, places = units.spans(text)
        assert ids == units.ids(text)
        assert all(0 < i < len(units) for i in ids)
        assert len(units.encode(text)) == len(ids) == len(places)
        assert all(0 <= t.start < t.end <= len(text) for t in places)


@pytest.mark.parametrize("text", ["\ud800 good", "\x00", "好 good \udfff film", "👍🏽"])
def test_sentencepiece_takes_any_text(text: str, pieces: SentencePieceUnits) -> None:
    ids, places = pieces.spans(text)
    assert ids == pieces.ids(text)
    assert all(0 <= t.start <= t.end <= len(text) for t in places)


def test_characters_fold_width_and_case() -> None:
    units = build_characters(["ＡＢc 好！"])
    assert sorted(units.names()[2:]) == ["!", "a", "b", "c", "好"]
    assert units.encode("aＢ Ｃ好!") == ["a", "b", "c", "好", "!"]


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        ({}, "neither"),
        ({"units.txt": b"\xff\xfe"}, "first line"),
        ({"units.txt": b""}, "first line"),
        ({"units.txt": b"[]\n<pad>\n<unk>\n"}, "first line"),
        ({"units.txt": b'{"kind": "words", "units": 3}\n<pad>\n<unk>\n'}, "declares 3"),
        ({"units.txt": b'{"kind": "runes", "units": 2}\n<pad>\n<unk>\n'}, "unknown kind"),
        ({"units.txt": b'{"kind": ["words"], "units": 2}\n<pad>\n<unk>\n'}, "unknown kind"),
        ({"units.txt": b'{"kind": "words", "units": 2}\na\nb\n'}, "first two"),
        ({"units.txt": b'{"kind": "words", "units": 4}\n<pad>\n<unk>\na\na\n'}, "twice"),
        ({"units.model": b"no model"}, "sentencepiece"),
        ({"units.model": b""}, "sentencepiece"),
    ],
)
def test_damaged_units_are_refused(files: dict[str, bytes], reason: str) -> None:
    with pytest.raises(WeightsError, match=reason):
        read_units(files)


def test_what_utf8_cannot_hold_is_no_unit() -> None:
    units = build_words(["good \ud800 film"])
    assert units.names()[2:] == ["film", "good"]
    assert json.loads(units.files()["units.txt"].split(b"\n")[0]) == {"kind": "words", "units": 4}
    assert isinstance(read_units(units.files()), WordUnits)
    assert isinstance(read_units(build_characters(["好"]).files()), CharacterUnits)


def test_too_few_texts_for_pieces() -> None:
    pytest.importorskip("sentencepiece")
    with pytest.raises(TrainingError, match="no text"):
        train_sentencepiece(["", "  "])


def test_kind_is_guessed_from_the_script() -> None:
    assert guess_kind(["酒店很好 wifi 不错", "服务好"]) == "sentencepiece"
    assert guess_kind(["a good film", "Ein guter Film"]) == "words"
    assert guess_kind(["좋은 영화"]) == "words"
    with pytest.raises(InputError, match="no letters"):
        guess_kind(["123 !", ""])
