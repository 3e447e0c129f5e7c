"""Texts as words: of any script, the same whatever their case, diacritics and normal form."""

import sys
from unicodedata import category, normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.telemetry.record.words import folded, index_tokens, index_words, spaced

TEXT = st.text(st.characters(exclude_categories=("Cs",)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World!", "hello world"),
        ("Café CAFÉ cafe\u0301", "cafe cafe cafe"),
        ("get_daily_costs(x=1.5)", "get daily costs x 1 5"),
        ("Straße Ωmega й", "strasse ωmega и"),
        ("\ufb01ne \uff11\uff12 \uff21\uff22", "fine 12 ab"),
        ("你好\uff0c世界", "你 好 世 界"),
        ("カメラ ｶﾒﾗ がぎ", "カ メ ラ カ メ ラ が ぎ"),
        ("한국어 할 일", "한국어 할 일"),
        ("किताब", "किताब"),
        ("party🎉🎉 ❤️", "party 🎉 🎉 ❤"),
        ("co\u00adoperate x\u200cy", "cooperate xy"),
        ("§§ --- \x00\x1f", ""),
        ("", ""),
    ],
)
def test_words_of_a_text(text: str, words: str) -> None:
    """What stands between words, and what is a word of its own."""
    assert spaced(text).split() == words.split()


def test_every_character_is_folded_once_and_for_all() -> None:
    """What is made of a character is made of itself again; of ASCII there are lower-case letters, digits and spaces."""
    for code in range(sys.maxunicode + 1):
        if category(chr(code)) != "Cs":
            made = folded(normalize("NFC", chr(code))[0])
            assert "".join(map(folded, made)).split() == made.split(), hex(code)
            assert all(letter > "\x7f" or letter in " abcdefghijklmnopqrstuvwxyz0123456789" for letter in made), hex(
                code
            )


@given(st.lists(TEXT, max_size=4), st.integers(0, 6000))
def test_long_texts_are_words_like_short_ones(parts: list[str], gap: int) -> None:
    """They are folded piece by piece, and no word is cut at a border."""
    text = " ".join([*parts, "x" * gap, *parts])
    whole = f" {' '.join(''.join(map(folded, normalize('NFC', text))).split())} "
    assert spaced(text) == whole


@given(TEXT)
def test_normal_forms_are_the_same_words(text: str) -> None:
    """Composed or not."""
    assert spaced(normalize("NFD", text)) == spaced(text)


@given(TEXT, st.data())
def test_the_index_has_the_words_of_every_phrase(text: str, data: st.DataObject) -> None:
    """So that it misses no call."""
    words = spaced(text).split()
    if words:
        first = data.draw(st.integers(0, len(words) - 1))
        phrase = words[first : data.draw(st.integers(first + 1, len(words)))]
        held = set(index_words([None, text]).split())
        assert {token for token, _ in index_tokens(phrase, is_prefix=False)} <= held


def test_long_words_are_indexed_by_their_beginning() -> None:
    """A base64 image is one word."""
    assert index_words(["x" * 1_000_000]) == "x" * 64
    assert index_tokens(["x" * 100], is_prefix=False) == [("x" * 64, False)]
