"""How each kind of field is checked and brought into the shape that SQLite stores.

Every function takes the field's name and value and returns the value to store, or raises `RecordError` naming the
field, the value and the remedy. They are the slow path: `InvocationRecord` calls one only when a cheap test in place
has not already shown that the value is clean.
"""

import json
import operator
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from math import isfinite
from numbers import Real
from typing import Any, Final, cast

from llm_service.errors import RecordError
from llm_service.telemetry.timestamps import MAX_MICROSECONDS, Moment, to_microseconds

__all__ = [
    "COST_SOURCES",
    "KNOWN_NAMES",
    "LEVELS",
    "MAX_COST_USD",
    "MAX_ERROR_CHARS",
    "MAX_JSON_CHARS",
    "MAX_LATENCY_MS",
    "MAX_NAME_CHARS",
    "MAX_TOKENS",
    "STATUSES",
    "USAGE_SOURCES",
]

MAX_NAME_CHARS: Final = 200
MAX_ERROR_CHARS: Final = 65_536
"""An error message is cut to this where the record is made, and further by privacy before it is stored."""
MAX_JSON_CHARS: Final = 65_536
MAX_CONTENT_CHARS: Final = 16 * 1024 * 1024
MAX_TOKENS: Final = 10**12
MAX_LATENCY_MS: Final = 1e10
MAX_COST_USD: Final = 1e6
MAX_COUNT: Final = 1_000_000

STATUSES: Final = frozenset({"success", "error", "timeout"})
LEVELS: Final = frozenset({"none", "metadata", "full"})
USAGE_SOURCES: Final = frozenset({"reported", "partial", "estimated", "missing"})
COST_SOURCES: Final = frozenset({"reported", "computed", "unknown"})

KNOWN_NAMES: Final[set[str | None]] = {None}
"""A memo of names already found clean, so that the hot path pays one set look-up for each; bounded by `name`."""
_KNOWN_NAMES_BOUND: Final = 4096
_ESCAPED_NUL: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
"""JSON's NUL; a backslash that is itself escaped only looks like one."""


def text(field: str, value: object, limit: int, *, empty: bool = False) -> str:
    """Text that SQLite and UTF-8 can hold: no NUL, no lone surrogate, at most `limit` characters."""
    if not isinstance(value, str):
        raise RecordError(field, value, "give a str")
    if not value and not empty:
        raise RecordError(field, value, "give a non-empty str, or None where it is unknown")
    if len(value) > limit:
        raise RecordError(field, value, f"it has {len(value):,} characters; give at most {limit:,}")
    if "\0" in value:
        raise RecordError(field, value, "remove the NUL character")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise RecordError(field, value, "it holds a lone surrogate; decode it with errors='replace'") from None
    return value


def required_id(field: str, value: object) -> str:
    """An `invocation_id` that the caller chose."""
    return text(field, value, MAX_NAME_CHARS)


def name(field: str, value: object) -> str | None:
    """An optional name; a clean one is remembered."""
    if value is None:
        return None
    clean = text(field, value, MAX_NAME_CHARS)
    if len(KNOWN_NAMES) >= _KNOWN_NAMES_BOUND:
        KNOWN_NAMES.clear()
        KNOWN_NAMES.add(None)
    KNOWN_NAMES.add(clean)
    return clean


def label(field: str, value: object) -> str | None:
    """An optional short text that is not worth remembering: ids, reasons."""
    return None if value is None else text(field, value, MAX_NAME_CHARS)


def content(field: str, value: object) -> str | None:
    """An optional prompt or response."""
    return None if value is None else text(field, value, MAX_CONTENT_CHARS, empty=True)


def message(field: str, value: object) -> str | None:
    """An optional error message: an over-long one is cut, never refused."""
    if value is None:
        return None
    return text(field, value[:MAX_ERROR_CHARS] if isinstance(value, str) else value, MAX_ERROR_CHARS, empty=True)


def whole(field: str, value: object, low: int, high: int) -> int | None:
    """An optional whole number from `low` to `high`; numpy's integers are taken, bool and float are not."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise RecordError(field, value, f"give a whole number from {low:,} to {high:,}")
    try:
        number = operator.index(cast("Any", value))
    except TypeError:
        raise RecordError(field, value, f"give a whole number from {low:,} to {high:,}") from None
    if not low <= number <= high:
        raise RecordError(field, value, f"give a whole number from {low:,} to {high:,}")
    return number


def tokens(field: str, value: object) -> int | None:
    """An optional count of tokens."""
    return whole(field, value, 0, MAX_TOKENS)


def amount(field: str, value: object, high: float, unit: str) -> float | int | None:
    """An optional finite number from 0 to `high`: int, float, Decimal or any `numbers.Real`."""
    if value is None:
        return None
    remedy = f"give a finite number of {unit} from 0 to {high:,.0f}"
    if isinstance(value, bool) or not isinstance(value, int | Real | Decimal):
        raise RecordError(field, value, remedy)
    try:
        number = value if isinstance(value, int) else float(value)
        usable = isfinite(number) and 0 <= number <= high
    except (ValueError, OverflowError):  # a signalling NaN; a whole number or fraction beyond any float
        raise RecordError(field, value, remedy) from None
    if not usable:
        raise RecordError(field, value, remedy)
    return number


def choice(field: str, value: object, allowed: frozenset[str]) -> str | None:
    """An optional word of a fixed set."""
    if value is None:
        return None
    # A subclass of str may answer `==` and `hash` as it likes: what is stored is the plain text.
    plain = str.__str__(value) if isinstance(value, str) else None
    if plain not in allowed:
        raise RecordError(field, value, f"use one of: {', '.join(sorted(allowed))}")
    return plain


def status(field: str, value: object) -> str:
    """`success`, `error` or `timeout`; not optional."""
    found = choice(field, value, STATUSES)
    if found is None:
        raise RecordError(field, value, f"use one of: {', '.join(sorted(STATUSES))}")
    return found


def flag(field: str, value: object) -> int | None:
    """An optional bool, stored as 0 or 1."""
    if value is None:
        return None
    if not isinstance(value, bool):
        raise RecordError(field, value, "give True, False or None")
    return int(value)


def moment(field: str, value: object) -> int:
    """An aware datetime as microseconds since 1970."""
    if isinstance(value, Moment):
        return int(value)
    if not isinstance(value, datetime):
        raise RecordError(field, value, "give an aware datetime.datetime, or None for now")
    if value.tzinfo is None or value.utcoffset() is None:
        raise RecordError(field, value, "it has no time zone; use datetime.now(timezone.utc)")
    microseconds = to_microseconds(value)
    if not 0 <= microseconds <= MAX_MICROSECONDS:  # year 9999 in the west is year 10000 in UTC
        raise RecordError(field, value, "give a moment from 1970 to 9999")
    return microseconds


def tags(field: str, value: object) -> str | None:
    """An optional sequence of short texts, stored as a JSON array."""
    if value is None:
        return None
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RecordError(field, value, "give a list of str")
    given = cast("Sequence[object]", value)
    parts = [text(f"{field}[{position}]", part, MAX_NAME_CHARS) for position, part in enumerate(given)]
    return _json(field, parts)


def metadata(field: str, value: object) -> str | None:
    """An optional mapping of JSON values, stored as a JSON object."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise RecordError(field, value, "give a dict of JSON values")
    for key in cast("Mapping[object, object]", value):
        if not isinstance(key, str):
            raise RecordError(field, key, "its keys are not all str")
    return _json(field, dict(cast("Mapping[str, Any]", value)))


def _json(field: str, value: object) -> str:
    try:
        encoded = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        raise RecordError(
            field, value, f"it is not JSON ({error}); use str, int, float, bool, None, list, dict"
        ) from None
    if _ESCAPED_NUL.search(encoded):
        raise RecordError(field, value, "remove the NUL character")
    return text(field, encoded, MAX_JSON_CHARS)
