"""Names that held a secret stay apart: what redaction leaves of them, and a short digest of what they were.

A digest can be tried out: whoever guesses the name finds it again. Nobody guesses a key that was drawn at random, so
where only such were taken out the digest is the same in every process, today and tomorrow. Where a password was, which
may be a word, it is made under a key that only this process has.
"""

import os
from hashlib import blake2b
from typing import Final

from llm_service.redaction.scrubbing import scrub, secrets_in
from llm_service.redaction.secret_names import looks_drawn

__all__ = ["ID_BYTES", "LONGEST_NAME", "digest_of", "stored_name", "with_digest"]

LONGEST_NAME: Final = 200
ID_BYTES: Final = 16
"""Of the digest of an id that ties records together, which must not be anybody else's."""

_SHORT: Final = 6
_LEAST_CHARS: Final = 20
_LEAST_DIFFERENT: Final = 10
_OF_THIS_PROCESS: Final = os.urandom(32)


def stored_name(name: str, size: int = _SHORT) -> str:
    """The name as the patterns leave it: what a record of that name is stored under."""
    cleaned, found = scrub(name)
    return with_digest(cleaned, digest_of(name, size)) if found else name


def digest_of(text: str, size: int = _SHORT) -> str:
    """Hexadecimal digits, twice `size`, that are the same for the same text; see above for how long."""
    secrets = secrets_in(text)
    lasts = bool(secrets) and all(_cannot_be_guessed(secret, by_shape) for secret, by_shape in secrets)
    key = b"" if lasts else _OF_THIS_PROCESS
    return blake2b(text.encode(errors="surrogatepass"), key=key, person=b"llm_service", digest_size=size).hexdigest()


def with_digest(cleaned: str, digest: str) -> str:
    """A cleaned text with a digest behind it, no longer than a name may be."""
    return f"{cleaned[: LONGEST_NAME - len(digest) - 1]}~{digest}"


def _cannot_be_guessed(secret: str, by_shape: bool) -> bool:  # noqa: FBT001 - of a table
    return len(secret) >= _LEAST_CHARS and len(set(secret)) >= _LEAST_DIFFERENT and (by_shape or looks_drawn(secret))
