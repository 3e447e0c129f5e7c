"""What somebody looks for, read from a text: words, "phrases", beginnings* and -what must not occur."""

import re
from typing import Final, NamedTuple, Self

from llm_service.errors import QueryError
from llm_service.telemetry.record.words import index_tokens, spaced

__all__ = ["Term", "Wanted"]

_MOST_CHARACTERS: Final = 10_000
_MOST_TOKENS: Final = 32
"""Words that the index is asked for; what it finds is read, so that further ones are looked for there."""
_TERM: Final = re.compile(r'(-?)(?:"([^"]*)"?|([^\s"]+?))(\*?)(?=[\s"]|$)')
_REMEDY: Final = 'give words, "phrases", beginnings* and -what must not occur; at least one with a letter or a digit'


class Term(NamedTuple):
    """Words that stand one after another; the last one may be the beginning of a word."""

    words: tuple[str, ...]
    is_prefix: bool = False

    @property
    def needle(self) -> str:
        """What is a part of `spaced(text)` exactly where the text has this term."""
        return f" {' '.join(self.words)}" + ("" if self.is_prefix else " ")

    def count(self, words: str) -> int:
        """How often `spaced(text)` has it; a space may end one and begin the next."""
        return len(re.findall(f"(?={re.escape(self.needle)})", words))


class Wanted(NamedTuple):
    """What a call must have, in one of its texts or in several, and what none of them may have."""

    terms: tuple[Term, ...]
    without: tuple[Term, ...] = ()

    @classmethod
    def of(cls, text: object) -> Self:
        """Read it; any text is understood. Raises QueryError: there is nothing in it to look for."""
        if not isinstance(text, str) or len(text) > _MOST_CHARACTERS:
            raise QueryError("words", text, f"give a text of at most {_MOST_CHARACTERS:,} characters")
        found: dict[bool, list[Term]] = {True: [], False: []}
        for minus, phrase, word, star in _TERM.findall(text):
            words = tuple(spaced(phrase or word).split())
            if words:
                found[bool(minus)].append(Term(words, is_prefix=bool(star)))
        if not found[False]:
            raise QueryError("words", text, _REMEDY)
        return cls(tuple(dict.fromkeys(found[False])), tuple(dict.fromkeys(found[True])))

    def match(self) -> str:
        """An expression of FTS5 that finds every call with these terms, and some without: phrases are not looked at."""
        tokens = {token for term in self.terms for token in index_tokens(term.words, is_prefix=term.is_prefix)}
        rarest = sorted(tokens, key=lambda token: (-len(token[0]), token))[:_MOST_TOKENS]
        return " AND ".join(f'"{word}"{"*" if is_prefix else ""}' for word, is_prefix in rarest)
