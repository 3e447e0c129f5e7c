"""What fields of a call are named where one asks: as their column, or shorter, as people say it (`agent`, `cost`)."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

from llm_service.errors import QueryError
from llm_service.redaction import shown
from llm_service.telemetry.record.fields import CARD_FIELDS, EXTENSION_FIELDS, FIELDS

__all__ = ["COLUMNS", "METADATA", "SHORT_NAMES", "column_named", "metadata_key", "no_such"]

COLUMNS: Final = (*CARD_FIELDS, *EXTENSION_FIELDS)
"""The columns of `invocations`, without its `id`."""
METADATA: Final = "metadata."
"""What stands before a key of the metadata."""
_ENDINGS: Final = ("_name", "_id", "_ms", "_usd")


def _shortened(column: str) -> str:
    return next((column.removesuffix(ending) for ending in _ENDINGS if column.endswith(ending)), column)


SHORT_NAMES: Final = {
    short: column for column in COLUMNS if (short := _shortened(column)) != column and short not in FIELDS
} | {"tokens": "total_tokens", "tag": "tags"}
"""By short name: the column. `response` is none: it is the text of an answer."""


def column_named(name: str) -> str | None:
    """The column of a name; None if there is none."""
    return name if name in COLUMNS else SHORT_NAMES.get(name)


def metadata_key(name: str, argument: str) -> str | None:
    """The key that a name such as `metadata.team` says, in its quotes if it has some; None where it says another field.

    Raises:
        QueryError: it is none that can be looked for.
    """
    if not name.startswith(METADATA):
        return None
    key = name.removeprefix(METADATA)
    bare = key[1:-1] if len(key) > 1 and key[0] == key[-1] == '"' else key
    if not bare or '"' in bare or "\\" in bare:
        raise QueryError(argument, name, 'give a key of the metadata, without " and \\ in it')
    return key


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """The remedy for a name that does not exist: what was perhaps meant, or all there are."""
    names = list(known)
    near = get_close_matches(name.casefold(), names, n=1)
    meant = f"did you mean {near[0]}?" if near else f"give one of {', '.join(names)}"
    return f"there is no {what} {shown(name)}; {meant}"
