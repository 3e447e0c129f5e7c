"""How messages name keys: the path to one, and the nearest to one that does not exist."""

import difflib
from collections.abc import Sequence

__all__ = ["KeyPath", "no_such", "path_text"]

KeyPath = tuple[str | int, ...]
"""Keys of mappings and places in lists (from 0), from the top of the file down."""


def path_text(path: KeyPath) -> str:
    """A path of keys as messages show it: `models.gpt-4o.aliases[1]`, places in lists counted from 0."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path)
    return text.removeprefix(".")


def no_such(name: str, known: Sequence[str], what: str = "setting") -> str:
    """What is wrong with a name that does not exist, with the nearest or all that do."""
    close = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {close[0]}?" if close else f"the known ones are: {', '.join(known)}"
    return f"there is no such {what}; {remedy}"
