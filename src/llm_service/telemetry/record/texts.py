"""Text that SQLite and UTF-8 can hold: other characters become U+FFFD, and each repair is counted."""

from threading import get_ident
from typing import Final

__all__ = ["forget_repairs", "note_repair", "plain_text", "repaired", "repairs_here", "repairs_so_far"]

_REPLACEMENT: Final = "\ufffd"
_repairs: Final[dict[int, int]] = {}
"""Repaired values by thread: each thread has its own count, so no lock is needed and no count is lost."""


def note_repair() -> None:
    """Count a value that was changed because it could not be stored as given."""
    thread = get_ident()
    _repairs[thread] = _repairs.get(thread, 0) + 1


def repairs_here() -> int:
    """How many values this thread has repaired."""
    return _repairs.get(get_ident(), 0)


def forget_repairs(since: int) -> None:
    """Reset this thread's count to an earlier `repairs_here`: the repaired value was not used."""
    if since != repairs_here():
        _repairs[get_ident()] = since


def repairs_so_far() -> int:
    """How many values this process has repaired."""
    return sum(tuple(_repairs.values()))


def plain_text(value: str) -> str:
    """The value as a plain `str`: a subclass may override `str()`, `==` and `hash()`."""
    return value if type(value) is str else str.__str__(value)


def repaired(text: str) -> str:
    """The text with each NUL and each lone surrogate replaced by U+FFFD; a pair of surrogates is joined.

    Returns the same object if there is nothing to repair; else the repair is counted.
    """
    whole = text if "\0" not in text else text.replace("\0", _REPLACEMENT)
    if not whole.isascii():
        try:
            whole.encode()
        except UnicodeEncodeError:
            # UTF-16's decoder joins surrogate pairs and replaces lone ones.
            whole = whole.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if whole is not text:
        note_repair()
    return whole
