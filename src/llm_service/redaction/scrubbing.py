"""Takes secrets out of a text: `scrub` says what it replaced, `clean` only gives the text.

Texts of any length and content are taken. Between blocks of 16 Ki characters the GIL is given away: a search holds it.
"""

import re
import traceback
from bisect import bisect
from collections.abc import Iterator
from functools import lru_cache
from time import sleep
from typing import Final, NamedTuple

from llm_service.redaction.key_shapes import compiled
from llm_service.redaction.patterns import PATTERNS

__all__ = ["clean", "may_hold_secret", "scrub", "secrets_in", "traceback_text", "without_cut_end", "without_escapes"]

MAX_SHOWN_TEXT: Final = 65_536
"""What of a long text is scrubbed for a message; the rest is left out of it."""

_BLOCK: Final = 16_384
_OVERLAP: Final = 200
"""More than any literal, and any pattern that is searched itself, begins with."""
_GLUED: Final = 32
"""A secret may have taken the beginning of the next one for its own end: so far back a pattern is tried again."""
_LONGEST_WORD: Final = 8192

# Three ways to find literals, since a search for each would cost more than all patterns together. Words of names are
# looked for in lower case. Of the others, whose case counts, most end with a sign (`sk-`, `hf_`): the text is split at
# the signs, and what stands before each is looked up in a set. One regular expression finds the rest.
_SIGNS: Final = "-_.=~"
_WORDS: Final = (
    "key",
    "token",
    "secret",
    "pass",
    "pwd",
    "cookie",
    "cred",
    "auth",
    "jwt",
    "bearer",
    "eyj",
    "dapi",
    "mysql",
    "mariadb",
    "mongo",
    "twine",
    "ldap",
    "redis-cli",
    "login",
    "sqlcmd",
    "osql",
    "mssql-cli",
    "bcp ",
    "sqlplus",
    "mosquitto",
    "ipmitool",
    "cqlsh",
    "psexec",
    "smbclient",
    "cmdkey",
    "rabbitmqctl",
    "net use",
    "identified",
    "user",
    "curl",
    "machine",
    "://",
    "-u",
    ":\\",
)
# These also stand within ordinary words.
_DOUBTFUL: Final = {
    "cred": "cred(?:ential|s(?![a-z]))",
    "auth": r"auth(?:orization|(?![a-z])[^\s:=,%>]{0,24}+\s{0,8}+[:=,%>]|(?<=[_a-z-]auth)[_-]?[0-9]{0,3}\s)",
    "machine": r"machine[ \t]{1,8}+\S{1,128}+\s{1,32}+(?:login|account|password)\s",
    "login": "login[^a-z]",
    "user": r"user(?:_?name)?[\"'\\]{0,4}+\s{0,4}+[:=]\s{0,4}+\\{0,3}+[\"']",
    "-u": r"-u(?:(?<![\w-]-u)|ser)",
}


class _Literals(NamedTuple):
    """The literals of all patterns, by how they are found.

    Attributes:
        words: those in lower case that hold a word of `_WORDS`, under that word.
        ends: of each sign: the literals that it ends, under the two characters before it.
        others: the rest, as one expression.
        ranks: the places in `PATTERNS` of the patterns that a literal announces.
    """

    words: dict[str, list[str]]
    ends: dict[str, dict[str, list[str]]]
    others: re.Pattern[str]
    ranks: dict[str, list[int]]


def _announces(word: str, literal: str) -> bool:
    return literal.startswith(word) if word in _DOUBTFUL else word in literal


@lru_cache(maxsize=1)
def _literals() -> _Literals:
    words: dict[str, list[str]] = {word: [] for word in _WORDS}
    ends: dict[str, dict[str, list[str]]] = {sign: {} for sign in _SIGNS}
    others: list[str] = []
    ranks: dict[str, list[int]] = {}
    for rank, pattern in enumerate(PATTERNS):
        for literal in pattern.literals:
            ranks.setdefault(literal, []).append(rank)
    for literal in ranks:
        word = next((word for word in _WORDS if _announces(word, literal.lower())), None)
        if word is not None:
            words[word].append(literal)
        elif literal[-1] in _SIGNS and len(literal) >= 3 and literal[-1] not in literal[-3:-1]:
            ends[literal[-1]].setdefault(literal[-3:-1], []).append(literal)
        else:
            others.append(literal)
    for literal in others:  # a longer one announces what its beginning does, too
        ranks[literal] = sorted({rank for other in others if literal.startswith(other) for rank in ranks[other]})
    return _Literals(words, ends, re.compile("|".join(map(re.escape, sorted(others, reverse=True)))), ranks)


_SEARCHED: Final = tuple((rank, pattern.expression) for rank, pattern in enumerate(PATTERNS) if not pattern.literals)

# Colours and movements of a terminal, also as Python, JSON, C and a shell print them, and with the escape taken out.
_TERMINAL: Final = (
    r"(?:(?:[\x1b\x9b]|\\{1,8}+(?:u001[bB]|x1[bB]|033|e)|\^\[)"
    r"(?:\[[0-9;:?]{0,32}+[ -/]{0,4}+[@-~]|\]8;[^;\s]{0,64}+;|[\\@-Z^_c=>]|(?=\[))"
    r"|\[[0-9][0-9;:]{0,32}+m)"
)
_COLOUR: Final = r"\[[0-9][0-9;:]{0,32}+[mK]"


class _Span(NamedTuple):
    """One secret's place; `rank` is its pattern's place in `PATTERNS`."""

    start: int
    end: int
    rank: int


def may_hold_secret(text: str) -> bool:
    """Whether a secret may stand in the text: False is certain, True only a reason to look."""
    folded = _fold(text)
    for word in _WORDS:
        if (
            word[0] in folded
            and word in folded
            and (word not in _DOUBTFUL or compiled(_DOUBTFUL[word]).search(folded) is not None)
        ):
            return True
    literals = _literals()
    places: list[tuple[int, int]] = []
    for literal in _ended(text, literals):
        _note(literal, literal, text, places)
    places += _others(text, literals)
    for at, rank in places:
        if PATTERNS[rank].match(text, at) is not None:
            return True
    for _, expression in _SEARCHED:
        if compiled(expression).search(text) is not None:
            return True
    return _is_coloured(text)


def scrub(text: str) -> tuple[str, dict[str, int]]:
    """The text with each secret replaced by `[REDACTED:name]`, and how many of each name were replaced.

    The same text object comes back where nothing was found. A scrubbed text stays as it is when scrubbed again.
    """
    spans = _found(text)
    if not spans:
        return text, {}
    counts: dict[str, int] = {}
    parts: list[str] = []
    done = 0
    for start, end, rank in spans:
        name = PATTERNS[rank].name
        counts[name] = counts.get(name, 0) + 1
        parts += (text[done:start], f"[REDACTED:{name}]")
        done = end
    parts.append(text[done:])
    return "".join(parts), counts


def secrets_in(text: str) -> list[tuple[str, bool]]:
    """What `scrub` would replace, and whether each is known by its shape rather than by a name before it."""
    return [(text[start:end], PATTERNS[rank].by_shape) for start, end, rank in _found(text)]


def clean(text: str) -> str:
    """The text without secrets, at most `MAX_SHOWN_TEXT` of its characters: for messages and log lines."""
    if len(text) > MAX_SHOWN_TEXT:
        text = without_cut_end(text[:MAX_SHOWN_TEXT])
    return scrub(text)[0]


def without_cut_end(text: str) -> str:
    """A text that was cut, without its last word, which may be the beginning of a secret that no pattern knows.

    Of a word longer than any secret (8,192 characters) only that much is left out.
    """
    shortest = max(0, len(text) - _LONGEST_WORD)
    end = len(text)
    while end > shortest and not text[end - 1].isspace():
        end -= 1
    return text[:end]


def without_escapes(text: str) -> str:
    """The text without a terminal's colours and movements."""
    return compiled(_TERMINAL).sub("", text) if "\x1b" in text or "[" in text else text


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception for a log line, without secrets."""
    return clean("".join(traceback.format_exception(error)))


def _fold(text: str) -> str:
    """Lower case, character by character in place: `\u0130` alone would become two."""
    return text.lower() if text.isascii() else text.replace("\u0130", "i").lower()


def _ended(text: str, literals: _Literals) -> list[str]:
    """The literals that end with a sign and may stand in the text."""
    met: list[str] = []
    for sign, known in literals.ends.items():
        if sign in text:
            for end in {part[-2:] for part in text.split(sign)} & known.keys():
                met += known[end]
    return met


def _is_coloured(text: str) -> bool:
    return "\x1b" in text or compiled(_COLOUR).search(text) is not None


def _found(text: str) -> list[_Span]:
    """The places of all secrets, in order and apart."""
    if len(text) <= _BLOCK and not may_hold_secret(text):
        return []
    spans = list(_spans(text))
    if _is_coloured(text):
        spans += _spans_under_colours(text)
    return _merged(sorted(spans))


def _spans_under_colours(text: str) -> Iterator[_Span]:
    """The same where a terminal's escapes stand around or within secrets: once as spaces, and once taken out."""
    yield from _spans(compiled(_TERMINAL).sub(lambda escape: " " * len(escape[0]), text))
    kept: list[str] = []
    places: list[int] = []  # where each kept part begins in the text without escapes
    shifts: list[int] = []  # and how much further in the text itself
    done = length = 0
    for escape in compiled(_TERMINAL).finditer(text):
        if escape.start() > done or not kept:
            kept.append(text[done : escape.start()])
            places.append(length)
            shifts.append(done - length)
            length += escape.start() - done
        done = escape.end()
    kept.append(text[done:])
    places.append(length)
    shifts.append(done - length)
    for start, end, rank in _spans("".join(kept)):
        last = end - 1
        yield _Span(start + shifts[bisect(places, start) - 1], last + shifts[bisect(places, last) - 1] + 1, rank)


def _spans(text: str) -> Iterator[_Span]:
    ends = [0] * len(PATTERNS)
    for block in range(0, len(text), _BLOCK):
        if block:
            sleep(0)  # other threads wait for the GIL, the event loop's among them
        for at, rank in _places(text[block : block + _BLOCK + _OVERLAP]):
            position = block + at
            if position < ends[rank] - _GLUED or at >= _BLOCK:
                continue
            found = PATTERNS[rank].match(text, position)
            if found is not None:
                ends[rank] = max(ends[rank], found[1])
                yield _Span(*found, rank)
    for rank, expression in _SEARCHED:
        for match in compiled(expression).finditer(text):
            yield _Span(*match.span(), rank)


def _places(block: str) -> list[tuple[int, int]]:
    """Where a pattern is to be tried, and which: in the order of the text."""
    literals = _literals()
    folded = _fold(block)
    places: list[tuple[int, int]] = []
    for word, own in literals.words.items():
        if word in folded:
            for literal in own:
                _note(literal, literal.lower(), folded, places)
    for literal in _ended(block, literals):
        _note(literal, literal, block, places)
    places += _others(block, literals)
    places.sort()
    return places


def _others(text: str, literals: _Literals) -> Iterator[tuple[int, int]]:
    """Where a literal of the rest stands, and of which pattern. One may begin within another: `------BEGIN`."""
    match = literals.others.search(text)
    while match is not None:
        for rank in literals.ranks[match[0]]:
            yield match.start(), rank
        match = literals.others.search(text, match.start() + 1)


def _note(literal: str, sought: str, text: str, places: list[tuple[int, int]]) -> None:
    ranks = _literals().ranks[literal]
    at = text.find(sought)
    while at >= 0:
        places += [(at, rank) for rank in ranks]
        at = text.find(sought, at + len(sought))


def _merged(spans: list[_Span]) -> list[_Span]:
    """Spans in order without overlap; where some overlap, the name is that of the pattern that comes first."""
    merged: list[_Span] = []
    for span in spans:
        if merged and span.start < merged[-1].end:
            last = merged[-1]
            merged[-1] = _Span(last.start, max(last.end, span.end), min(last.rank, span.rank))
        else:
            merged.append(span)
    return merged
