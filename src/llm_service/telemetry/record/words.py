"""Texts as words, so that an index and a scan find the same: both compare what is made here.

A word is a run of letters, digits and their marks, of any script, in lower case and without diacritics (café is cafe).
A character of a script that puts no spaces between words (Han, kana, Thai, ...) is a word of its own, and so is an
emoji. All else stands between words.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final
from unicodedata import category, normalize

__all__ = ["Folded", "folded", "index_tokens", "index_words", "spaced"]

_UNSPACED: Final = (
    "\u0e01-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3031-\u3035\u3041-\u30ff\u3105-\u312f\u31f0-\u31ff\u3400-\u9fff"
    "\uf900-\ufaff\U00016fe0-\U0001b2ff\U00020000-\U0003ffff"
)
"""Thai, Lao, Myanmar, Khmer, kana, bopomofo, Han and the like."""
_EMOJI: Final = "\u2600-\u27bf\u2b00-\u2bff\U0001f000-\U0001faff"
_SINGLE: Final = re.compile(f"[{_UNSPACED}{_EMOJI}]")
_DIACRITICS: Final = re.compile("[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]")
"""Blocks of combining marks, and variation selectors. Marks of single scripts (vowel signs, harakat) are letters."""
_MOST: Final = 64
"""Characters of a word that are indexed: a base64 image is one word of a megabyte."""
_PIECE: Final = 4096
"""Characters that are folded at once, which holds the GIL for less than half a millisecond."""
_ODD: Final = re.compile(r"[^\x00-\x7f]+")


class Folded(dict[int, str]):
    """By character: how it stands among words. Filled as characters come."""

    def __missing__(self, code: int) -> str:
        found = self[code] = _fold(chr(code))
        return found


def _fold(character: str) -> str:
    letters = _DIACRITICS.sub("", normalize("NFKD", normalize("NFKD", character).casefold()))
    return "".join(map(_place, normalize("NFC", letters)))


def _place(letter: str) -> str:
    kind = category(letter)
    if _SINGLE.match(letter) and kind[0] in "LMNS":
        return f" {letter} "
    if kind[0] in "LMN" or kind == "Co":
        return letter
    return "" if kind == "Cf" else " "  # joiners and soft hyphens stand within words


_FOLDED: Final = Folded()


def folded(character: str) -> str:
    """How a character of a text in NFC stands among words: nothing, letters, or a space."""
    return _FOLDED[ord(character)]


def _words(text: str) -> Iterator[list[str]]:
    """The words of a text, a few thousand at once."""
    whole = normalize("NFC", text)
    begun: list[str] = []  # a word that goes on in the next piece
    for start in range(0, len(whole), _PIECE):
        done, space, rest = _folded_piece(whole[start : start + _PIECE]).rpartition(" ")
        if space:
            yield "".join([*begun, done]).split()
            begun = [rest]
        else:
            begun.append(rest)
    yield "".join(begun).split()


def _folded_piece(piece: str) -> str:
    if not piece.isascii():  # quotation marks and dashes among ASCII, mostly: ASCII alone is folded ten times as fast
        piece = _ODD.sub(lambda odd: odd[0].translate(_FOLDED), piece)
    return piece.translate(_FOLDED)


def spaced(text: str) -> str:
    """The words of a text, each between two spaces: a phrase of it is a part of this."""
    words = normalize("NFC", text)
    parts = _folded_piece(words).split() if len(words) <= _PIECE else chain.from_iterable(_words(words))
    return f" {' '.join(parts)} "


def index_words(texts: Iterable[str | None]) -> str:
    """What an index holds of a call: each word once, and each two characters that stand together and are words."""
    found: set[str] = set()
    for text in texts:
        last = ""
        for words in () if text is None else _words(text):
            found.update(words)
            if text is not None and not text.isascii():
                singles = {word for word in set(words) if _is_single(word)}
                if singles:
                    found.update(
                        one + two for one, two in pairwise([last, *words]) if two in singles and _is_single(one)
                    )
            last = words[-1] if words else last
    return " ".join({word[:_MOST] for word in found})


def index_tokens(phrase: Sequence[str], *, is_prefix: bool) -> list[tuple[str, bool]]:
    """The words of the index that a call with this phrase has; True for one that is only the beginning of a word."""
    tokens = [(word[:_MOST], False) for word in phrase]
    if is_prefix:
        tokens[-1] = (tokens[-1][0], True)
    return tokens + [(one + two, False) for one, two in pairwise(phrase) if _is_single(one) and _is_single(two)]


def _is_single(word: str) -> bool:
    return len(word) == 1 and _SINGLE.match(word) is not None
