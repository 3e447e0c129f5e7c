"""The part of a text in which something was found, and where in it."""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple
from unicodedata import normalize

from llm_service.telemetry.queries.search_terms import Term
from llm_service.telemetry.record.words import folded, spaced

__all__ = ["Snippet", "snippet"]

_BEFORE: Final = 40
_LENGTH: Final = 160
"""Characters of a snippet, and those of them before the first mark."""
_WINDOW: Final = 4096
"""Characters that are looked through at once; a term is looked for whole in them, and so in windows that overlap."""
_OVERLAP: Final = 1024


class Snippet(NamedTuple):
    """A part of a text; `marks` are beginning and end of what was found, in characters of it."""

    text: str
    marks: list[tuple[int, int]]


def snippet(text: str, terms: Sequence[Term]) -> Snippet:
    """The part of a text around the first of these terms that it has; its beginning where a term is too long."""
    whole = normalize("NFC", text)  # as words are made of it
    first = min((start for term in terms for start in _first(whole, term)), default=0)
    begin = max(0, min(first - _BEFORE, len(whole) - _LENGTH))
    end = min(len(whole), begin + _LENGTH)
    # Words at the edges are looked at whole: `cat` is not found in a `concatenation` that is cut.
    around = max(0, begin - _OVERLAP), min(len(whole), end + _OVERLAP)
    marks = {
        (max(start, begin) - begin, min(stop, end) - begin)
        for term in terms
        for start, stop in _places(whole, term, *around)
        if start < end and stop > begin
    }
    return Snippet(whole[begin:end], _merged(sorted(marks)))


def _merged(marks: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Marks that do not overlap."""
    merged: list[tuple[int, int]] = []
    for start, stop in marks:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(stop, merged[-1][1]))
        else:
            merged.append((start, stop))
    return merged


def _first(text: str, term: Term) -> Iterator[int]:
    """Where the term stands first, if it does."""
    for start in range(0, max(1, len(text) - _OVERLAP), _WINDOW - _OVERLAP):
        stop = min(len(text), start + _WINDOW)
        if term.needle in spaced(text[start:stop]):  # else it need not be looked at character by character
            found = next(_places(text, term, start, stop), None)
            if found is not None:
                yield found[0]
                return


def _places(text: str, term: Term, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Beginning and end of each place of the term in a window; not of words that the window cuts."""
    letters, at = [" "], [start]
    for place in range(start, stop):
        for letter in folded(text[place]):
            if letter != " " or letters[-1] != " ":
                letters.append(letter)
                at.append(place)
    if letters[-1] != " ":
        letters.append(" ")
        at.append(stop)
    window, needle = "".join(letters), term.needle
    found = window.find(needle)
    while found >= 0:
        last = found + len(needle) - (1 if term.is_prefix else 2)
        first, end = at[found + 1], at[last] + 1
        if (first > start or start == 0) and (end < stop or stop == len(text)):
            yield first, end
        found = window.find(needle, found + 1)
