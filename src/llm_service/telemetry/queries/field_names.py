"""What fields of a call are named where one asks: as their column, or shorter, as people say it (`agent`, `cost`)."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final, NamedTuple

from llm_service.errors import QueryError
from llm_service.redaction import scrub, shown
from llm_service.telemetry.record.fields import CARD_FIELDS, EXTENSION_FIELDS, FIELDS
from llm_service.telemetry.record.texts import forget_repairs, plain_text, repaired, repairs_here

__all__ = [
    "ARGUMENTS",
    "COLUMNS",
    "METADATA",
    "QUOTED",
    "SHORT_NAMES",
    "MetadataKey",
    "column_named",
    "metadata_key",
    "no_such",
]

COLUMNS: Final = (*CARD_FIELDS, *EXTENSION_FIELDS)
"""The columns of `invocations`, without its `id`."""
METADATA: Final = "metadata."
"""What stands before a key of the metadata."""
QUOTED: Final = r'"(?:[^"\\]|\\(?s:.))*"'
"""How a part of such a key stands in quotes, as an expression."""
_PARTS: Final = re.compile(rf'{QUOTED}|[^".]+')
_EXACTLY: Final = re.compile(rf"(?:{_PARTS.pattern})(?:\.(?:{_PARTS.pattern}))*")
_ENDINGS: Final = ("_name", "_id", "_ms", "_usd")


ARGUMENTS: Final = {
    "group_by": "by", "groupby": "by", "keys": "by",
    "where": "filters", "filter": "filters",
    "measure": "measures", "metric": "measures", "metrics": "measures",
    "tz": "time_zone", "zone": "time_zone", "timezone": "time_zone",
    "start": "since", "begin": "since", "start_time": "since", "end": "until", "to": "until", "end_time": "until",
    "sort": "order", "order_by": "order", "sort_by": "order",
    "top": "limit", "count": "limit",
}  # fmt: skip
"""Other names of arguments of questions, as people give them."""


def _shortened(column: str) -> str:
    return next((column.removesuffix(ending) for ending in _ENDINGS if column.endswith(ending)), column)


SHORT_NAMES: Final = {
    short: column for column in COLUMNS if (short := _shortened(column)) != column and short not in FIELDS
} | {"tokens": "total_tokens", "tag": "tags"}
"""By short name: the column. `response` is none: it is the text of an answer."""


def column_named(name: str) -> str | None:
    """The column of a name; None if there is none."""
    return name if name in COLUMNS else SHORT_NAMES.get(name)


class MetadataKey(NamedTuple):
    """A key of the metadata, as it is stored: repaired, and without secrets.

    Attributes:
        name: of it in rows.
        paths: where it is looked for, the first that a call has: keys of objects, from the outermost inward.
    """

    name: str
    paths: tuple[tuple[str, ...], ...]


def metadata_key(name: str, argument: str) -> MetadataKey | None:
    r"""The key that a name such as `metadata.team` says; None where it says another field.

    `metadata.a.b` is the key `a.b`, else `b` of the object `a`. A part in quotes is a JSON string, and says exactly one
    key: `metadata."a.b"`, `metadata.""`, `metadata."say \"so\""`, `metadata.a."b.c"`.

    Raises:
        QueryError: the name says no key.
    """
    if not name.startswith(METADATA):
        return None
    given = plain_text(name).removeprefix(METADATA)
    if not given:
        raise QueryError(argument, name, f'name a key, as in {METADATA}team; the empty one is {METADATA}""')
    repairs = repairs_here()
    try:
        paths = tuple(tuple(scrub(repaired(part))[0] for part in path) for path in _paths(given))
    except ValueError:
        is_whole = len(given) > 1 and given[0] == given[-1] == '"'
        quoted = METADATA + json.dumps(given[1:-1] if is_whole else given, ensure_ascii=False)
        remedy = f'a key with " in it stands in quotes, as a JSON string does: {quoted}'
        raise QueryError(argument, name, remedy) from None
    finally:
        forget_repairs(repairs)  # nothing is stored
    return MetadataKey(METADATA + ".".join(paths[0]), paths)


def _paths(given: str) -> list[list[str]]:
    """Where a key is looked for. Raises ValueError: it has quotes that are not those of JSON strings."""
    if '"' not in given:
        parts = given.split(".")
        return [[given], parts] if len(parts) > 1 and all(parts) else [[given]]
    if not _EXACTLY.fullmatch(given):
        raise ValueError(given)
    return [[json.loads(part, strict=False) if part.startswith('"') else part for part in _PARTS.findall(given)]]


def no_such(what: str, name: str, known: Iterable[str]) -> str:
    """The remedy for a name that does not exist: what was perhaps meant, or all there are."""
    names = list(known)
    near = get_close_matches(name.casefold(), names, n=1)
    meant = f"did you mean {near[0]}?" if near else f"give one of {', '.join(names)}"
    return f"there is no {what} {shown(name)}; {meant}"
