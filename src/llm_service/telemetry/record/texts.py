"""Text as SQLite and UTF-8 can hold it: what stands in the way becomes U+FFFD, and is counted."""

from threading import get_ident
from typing import Final

__all__ = ["forget_repairs", "note_repair", "plain_text", "repaired", "repairs_here", "repairs_so_far"]

_REPLACEMENT: Final = "\ufffd"
_repairs: Final[dict[int, int]] = {}
"""How many values each thread has repaired: a number of its own for each, so that none is lost and none waits."""


def note_repair() -> None:
    """Count a value that is stored otherwise than it was given, because it could not be stored as it was."""
    thread = get_ident()
    _repairs[thread] = _repairs.get(thread, 0) + 1


def repairs_here() -> int:
    """How many values this thread has repaired."""
    return _repairs.get(get_ident(), 0)


def forget_repairs(since: int) -> None:
    """Take back what this thread has counted since `repairs_here` gave this: nothing came of it."""
    if since != repairs_here():
        _repairs[get_ident()] = since


def repairs_so_far() -> int:
    """How many values this process has repaired."""
    return sum(tuple(_repairs.values()))


def plain_text(value: str) -> str:
    """The text of a `str` or of a subclass, which may answer `str()`, `==` and `hash()` as it likes."""
    return value if type(value) is str else str.__str__(value)


def repaired(text: str) -> str:
    """The text with each NUL and each lone surrogate replaced by U+FFFD; a pair of surrogates is joined.

    The very same object comes back where there is nothing to repair; else the repair is counted.
    """
    whole = text if "\0" not in text else text.replace("\0", _REPLACEMENT)
    if not whole.isascii():
        try:
            whole.encode()
        except UnicodeEncodeError:
            # UTF-16 is what surrogates are made for: its decoder joins the pairs and replaces the rest.
            whole = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if whole is not text:
        note_repair()
    return whole
