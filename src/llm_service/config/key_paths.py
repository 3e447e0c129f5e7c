"""Names of keys in messages: their paths, and guesses for unknown ones."""

import difflib
from collections.abc import Sequence

__all__ = ["KeyPath", "no_such", "path_text"]

KeyPath = tuple[str | int, ...]
"""Keys of mappings and indexes of lists (from 0), from the top of the file."""


def path_text(path: KeyPath) -> str:
    """A path of keys as text: `models.gpt-4o.aliases[1]`, indexes from 0."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def no_such(name: str, known: Sequence[str], what: str = "setting") -> str:
    """The message for an unknown name, with the nearest known one, or all."""
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"the known ones are: {', '.join(known)}"
    return f"there is no such {what}; {remedy}"
