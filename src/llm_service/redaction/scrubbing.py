"""Takes secrets out of a text: `scrub` says what it replaced, `clean` only gives the text.

Texts of any length and content are taken. Between blocks of 16 Ki characters the GIL is given away: a search holds it.
"""

import re
import traceback
from collections.abc import Iterable, Iterator
from functools import lru_cache
from time import sleep
from typing import Final, NamedTuple

from llm_service.redaction.patterns import PATTERNS

__all__ = ["clean", "may_hold_secret", "scrub", "traceback_text", "without_cut_end"]

MAX_SHOWN_TEXT: Final = 65_536
"""What of a long text is scrubbed for a message; the rest is left out of it."""

_BLOCK: Final = 16_384
_OVERLAP: Final = max(len(literal) for pattern in PATTERNS for literal in pattern.literals) - 1
_GLUED: Final = 32
"""A secret may have taken the beginning of the next one for its own end: so far back a pattern is tried again."""
_LONGEST_WORD: Final = 8192

# Each literal of a pattern holds one of these words, or ends or begins with a prefix that a sign closes (`sk-`, `hf_`).
# One search for the signs, with a look at what stands before each, replaces a search for each of the prefixes.
_WORDS: Final = (
    *("key", "token", "secret", "pass", "pwd", "cookie", "credential", "authoriz", "bearer", "aiza", "akia", "asia"),
    *("xox", "eyj", ":aa"),
)
_PREFIXES: Final = (
    *(
        "sk-",
        "_live_",
        "whsec_",
        "ya29.",
        "gocspx-",
        "ghp_",
        "gho_",
        "ghu_",
        "ghs_",
        "ghr_",
        "_pat_",
        "glpat-",
        "gldt-",
    ),
    *(
        "glrt-",
        "glcbt-",
        "glptt-",
        "xapp-",
        "slack.com/",
        "/webhooks/",
        "hf_",
        "gsk_",
        "xai-",
        "pplx-",
        "r8_",
        "nvapi-",
    ),
    *("lsv2_", "npm_", "pypi-", "sg.", "-----", "://", "sig=", "signature=", "code="),
)
_PREFIXED: Final = "a prefix"


def _reason_to_look(literal: str) -> str:
    """What must be in a text for this literal to be worth a search."""
    return next((word for word in _WORDS if word in literal), _PREFIXED)


_LITERALS: Final = tuple(
    tuple((literal, _reason_to_look(literal)) for literal in pattern.literals) for pattern in PATTERNS
)


@lru_cache(maxsize=1)
def _prefixes() -> re.Pattern[str]:
    by_length: dict[int, list[str]] = {}
    for prefix in _PREFIXES:
        by_length.setdefault(len(prefix), []).append(re.escape(prefix))
    behind = "|".join(f"(?<={'|'.join(same)})" for same in by_length.values())
    return re.compile(f"[-_./=](?:{behind})")


class _Span(NamedTuple):
    """One secret's place; `rank` is its pattern's place in `PATTERNS`."""

    start: int
    end: int
    rank: int


def may_hold_secret(text: str) -> bool:
    """Whether any literal of a pattern stands in the text: False is certain, True only a reason to look."""
    folded = _fold(text)
    for word in _WORDS:
        if word in folded:
            return True
    return _prefixes().search(folded) is not None


def scrub(text: str) -> tuple[str, dict[str, int]]:
    """The text with each secret replaced by `[REDACTED:name]`, and how many of each name were replaced.

    The same text object comes back where nothing was found. A scrubbed text stays as it is when scrubbed again.
    """
    if len(text) <= _BLOCK and not may_hold_secret(text):
        return text, {}
    spans = _merged(sorted(_spans(text)))
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


def traceback_text(error: BaseException) -> str:
    """The traceback of an exception for a log line, without secrets."""
    return clean("".join(traceback.format_exception(error)))


def _fold(text: str) -> str:
    """Lower case, character by character in place: `\u0130` alone would become two."""
    return text.lower() if text.isascii() else text.replace("\u0130", "i").lower()


def _spans(text: str) -> Iterator[_Span]:
    ends = [0] * len(PATTERNS)
    for block in range(0, len(text), _BLOCK):
        if block:
            sleep(0)  # other threads wait for the GIL, the event loop's among them
        folded = _fold(text[block : block + _BLOCK + _OVERLAP])
        reasons = {word for word in _WORDS if word in folded}
        if _prefixes().search(folded) is not None:
            reasons.add(_PREFIXED)
        for rank, pattern in enumerate(PATTERNS):
            literals = [literal for literal, reason in _LITERALS[rank] if reason in reasons]
            for at in sorted(_places(literals, folded)):
                position = block + at
                if position < ends[rank] - _GLUED or at >= _BLOCK:
                    continue
                found = pattern.match(text, position)
                if found is not None:
                    ends[rank] = max(ends[rank], found[1])
                    yield _Span(*found, rank)


def _places(literals: Iterable[str], folded: str) -> Iterator[int]:
    for literal in literals:
        at = folded.find(literal)
        while at >= 0:
            yield at
            at = folded.find(literal, at + len(literal))


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
