"""Checks of each kind of field: they return the value that SQLite stores.

Each takes a field's name and value, and raises `RecordError` with field, value and remedy; so does a value that raises
when it is read. Any unambiguous type is accepted; text that cannot be stored is repaired. This is the slow path:
`InvocationRecord` calls a check only when a cheap inline test has not shown that the value is clean.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import wraps
from itertools import islice
from typing import Any, Concatenate, Final, ParamSpec, TypeVar, cast
from uuid import UUID

from llm_service.errors import RecordError
from llm_service.pricing.usage.numbers import is_other_bool, is_within, plain_number
from llm_service.telemetry.record.json_values import MAX_JSON_CHARS, array_text, as_mapping, object_text, text_of
from llm_service.telemetry.record.statuses import Outcome, http_number, outcome_of
from llm_service.telemetry.record.texts import note_repair, plain_text, repaired
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, Moment, to_microseconds

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
"""Characters of an error message in a record; privacy cuts further before it is stored."""
MAX_CONTENT_CHARS: Final = 16 * 1024 * 1024
MAX_TOKENS: Final = 10**12
MAX_LATENCY_MS: Final = 1e10
MAX_COST_USD: Final = 1e6
MAX_COUNT: Final = 1_000_000
MAX_TAGS: Final = MAX_JSON_CHARS // 3

STATUSES: Final = frozenset({"success", "error", "timeout"})
LEVELS: Final = frozenset({"none", "metadata", "full"})
USAGE_SOURCES: Final = frozenset({"reported", "partial", "estimated", "missing"})
COST_SOURCES: Final = frozenset({"reported", "computed", "unknown"})

KNOWN_NAMES: Final[dict[str | None, str | None]] = {None: None}
"""Cache of clean names: the hot path pays one look-up for each. `name` bounds it."""
_KNOWN_NAMES_BOUND: Final = 4096
_LONGEST_WORD: Final = 64
_ONE_TAG: Final = re.compile(r"[^,;\r\n\[\]{}]*")
_BYTES: Final = frozenset({bytes, bytearray, memoryview})
_MILLISECOND: Final = timedelta(milliseconds=1)

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Check = Callable[Concatenate[str, object, _P], _T]


def _guarded(check: _Check[_P, _T]) -> _Check[_P, _T]:
    """The check, which refuses values of foreign classes that raise when they are read."""

    @wraps(check)
    def guarded(field: str, value: object, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        try:
            return check(field, value, *args, **kwargs)
        except RecordError:
            raise
        except Exception as error:  # noqa: BLE001 - a foreign object may raise anything
            remedy = f"it raises {type(error).__name__} when it is looked at; give a plain value"
            raise RecordError(field, value, remedy) from None

    return guarded


def _optional(check: _Check[_P, _T]) -> _Check[_P, _T | None]:
    """The guarded check, which also takes unknown values: None, and the missing values of pandas."""
    guarded = _guarded(check)

    @wraps(check)
    def optional(field: str, value: object, /, *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        if value is None or type(value).__name__ in {"NAType", "NaTType"}:
            return None
        return guarded(field, value, *args, **kwargs)

    return optional


# Texts


def _text(field: str, value: object, limit: int, *, empty: bool = False, numbers: bool = False) -> str:
    plain = _as_text(value, numbers=numbers)
    if plain is None:
        raise RecordError(field, value, "give a str")
    if not plain and not empty:
        raise RecordError(field, value, "give a non-empty str, or None where it is unknown")
    if len(plain) > limit:
        raise RecordError(field, value, f"it has {len(plain):,} characters; give at most {limit:,}")
    return repaired(plain)


def _as_text(value: object, *, numbers: bool) -> str | None:
    """The text of a str (a subclass may override its methods), an enumeration, a UUID, or an integer."""
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, Enum):
        # Enumerations of numbers mean their names: FinishReason.STOP, not 1.
        of_value = None if isinstance(value.value, int) else _as_text(value.value, numbers=numbers)
        return value.name if of_value is None else of_value
    if isinstance(value, UUID) or type(value).__name__ == "UUID":
        return str(value)
    if not numbers or isinstance(value, bool) or not hasattr(type(value), "__index__"):
        return None
    number = plain_number(value)
    return str(number) if isinstance(number, int) and number.bit_length() <= 512 else None


@_guarded
def required_id(field: str, value: object) -> str:
    """An `invocation_id` given by the caller: text, an integer or a UUID."""
    return _text(field, value, MAX_NAME_CHARS, numbers=True)


def name(field: str, value: object) -> str | None:
    """An optional name; clean ones are cached, and the same object is returned each time."""
    if type(value) is str and value in KNOWN_NAMES:
        return KNOWN_NAMES.get(value, value)  # another thread may clear it meanwhile
    return _new_name(field, value)


def names(agent_name: object, tool_name: object, model_name: object) -> tuple[str | None, str | None, str | None]:
    """The names of a record, each as `name` has it."""
    return name("agent_name", agent_name), name("tool_name", tool_name), name("model_name", model_name)


@_optional
def _new_name(field: str, value: object) -> str:
    clean = _text(field, value, MAX_NAME_CHARS)
    if len(KNOWN_NAMES) >= _KNOWN_NAMES_BOUND:
        KNOWN_NAMES.clear()
        KNOWN_NAMES[None] = None
    KNOWN_NAMES[clean] = clean
    return clean


def _is_plain(value: object) -> bool:
    """Whether it is a short text that can be stored as it is (the common case)."""
    return type(value) is str and 0 < len(value) <= MAX_NAME_CHARS and value.isascii() and "\0" not in value


def label(field: str, value: object) -> str | None:
    """An optional short text that is not cached: ids, reasons; integers and UUIDs become text."""
    return cast("str", value) if _is_plain(value) else _odd_label(field, value)


@_optional
def _odd_label(field: str, value: object) -> str:
    return _text(field, value, MAX_NAME_CHARS, numbers=True)


@_optional
def content(field: str, value: object) -> str:
    """An optional prompt or response; messages and other JSON as text."""
    text: object = value
    if isinstance(value, list | dict):
        with suppress(Exception):  # a value of the caller's; it is refused below
            text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return _text(field, text, MAX_CONTENT_CHARS, empty=True)


@_optional
def message(field: str, value: object) -> str:
    """An optional error message, or an exception, whose text is taken; too long a text is cut, never refused."""
    if isinstance(value, BaseException):
        value = text_of(value, MAX_ERROR_CHARS)
    if isinstance(value, str):
        value = plain_text(value)[:MAX_ERROR_CHARS]
    return _text(field, value, MAX_ERROR_CHARS, empty=True)


# Numbers


@_optional
def whole(field: str, value: object, low: int, high: int) -> int:
    """An optional integer from `low` to `high` in any type: 12, 12.0, Decimal(12), "12", numpy's; no bool."""
    number = plain_number(value)
    if number is not None and is_within(number, low, high) and number == int(number):
        return int(number)
    raise RecordError(field, value, f"give a whole number from {low:,} to {high:,}")


@_optional
def http_status(field: str, value: object) -> int | None:
    """An optional HTTP status; in a text the number is read: `503`, `500 Internal Server Error`, `Not Found`."""
    if type(value) is int and 100 <= value <= 599:
        return value
    number = http_number(plain_text(value)) if isinstance(value, str) else None
    return whole(field, value if number is None else number, 100, 599)


def tokens(field: str, value: object) -> int | None:
    """An optional count of tokens."""
    if type(value) is int and 0 <= value <= MAX_TOKENS:
        return value
    return whole(field, value, 0, MAX_TOKENS)


@_optional
def amount(field: str, value: object, high: float, unit: str) -> float | int:
    """An optional finite number from 0 to `high`, in any type or as text; milliseconds also as a timedelta."""
    number = value / _MILLISECOND if unit == "milliseconds" and isinstance(value, timedelta) else plain_number(value)
    if number is None or not is_within(number, 0, high):
        raise RecordError(field, value, f"give a finite number of {unit} from 0 to {high:,.0f}")
    return number if isinstance(number, int) else float(number)


# Words


@_optional
def choice(field: str, value: object, allowed: frozenset[str]) -> str:
    """An optional word of a fixed set, in any case; subclasses of str may override `==` and `hash`."""
    given = _as_text(value, numbers=False)
    word = "" if given is None or len(given) > _LONGEST_WORD else given.strip().lower()
    if word not in allowed:
        raise RecordError(field, value, f"use one of: {', '.join(sorted(allowed))}")
    return word


@_guarded
def outcome(field: str, value: object) -> Outcome:
    """How the call ended (required): a status, a provider's word for one, or an HTTP status."""
    found = None
    if isinstance(value, Enum) and not isinstance(value, str):
        found = outcome_of(value.name)
    if found is None:
        number = None if isinstance(value, str) else plain_number(value)
        if number is not None and is_within(number, 100, 599) and number == int(number):
            number = int(number)
        given = number if isinstance(number, int) else _as_text(value, numbers=False)
        found = None if given is None else outcome_of(given)
    if found is None:
        raise RecordError(field, value, f"use one of: {', '.join(sorted(STATUSES))}")
    return found


def status(field: str, value: object) -> str:
    """`success`, `error` or `timeout` (required)."""
    return outcome(field, value).status


@_optional
def flag(field: str, value: object) -> int:
    """An optional bool, stored as 0 or 1: True, False, 1, 0, and numpy's."""
    if isinstance(value, bool) or is_other_bool(value):
        return int(bool(value))
    number = None if isinstance(value, str) else plain_number(value)
    if not isinstance(number, int) or number not in (0, 1):
        raise RecordError(field, value, "give True, False or None")
    return number


# Moments


def moment(field: str, value: object) -> int:
    """A datetime as microseconds since 1970; a naive one is local time, as `datetime.timestamp()` takes it."""
    return int(value) if type(value) is Moment else _given_moment(field, value)


@_guarded
def _given_moment(field: str, value: object) -> int:
    if type(value) is not datetime or value.tzinfo is not UTC:
        value = _in_utc(field, value)
    microseconds = to_microseconds(value)
    if not 0 <= microseconds <= MAX_MICROSECONDS:  # year 9999 in the west is year 10000 in UTC
        raise RecordError(field, value, "give a moment from 1970 to 9999")
    return microseconds


def _in_utc(field: str, value: object) -> datetime:
    if not isinstance(value, datetime) or type(value).__name__ == "NaTType":
        raise RecordError(field, value, "give an aware datetime.datetime, or None for now")
    # A subclass may override arithmetic (nanoseconds, months): rebuild a plain datetime from its fields.
    plain = datetime(  # noqa: DTZ001 - its zone is the given one
        *(value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond),
        value.tzinfo,
        fold=value.fold,
    )
    if plain.tzinfo is None:
        try:
            return plain.astimezone(UTC)
        except (OverflowError, OSError, ValueError):  # outside the C library's range of local time
            raise RecordError(field, value, "give a moment from 1970 to 9999") from None
    try:
        offset = plain.utcoffset()
    except Exception as error:  # noqa: BLE001 - a time zone of the caller's
        remedy = f"its time zone raises {type(error).__name__}; use datetime.now(timezone.utc)"
        raise RecordError(field, value, remedy) from None
    if offset is None:
        raise RecordError(field, value, "it has no time zone; use datetime.now(timezone.utc)")
    # Not `astimezone`: it overflows near the years 1 and 9999; the difference does not.
    return plain


# JSON


def tags(field: str, value: object) -> str | None:
    """Optional short texts, stored as a JSON array: a list, tuple, set or iterator; a dict gives `key:value` texts.

    A single text without commas is one tag. Other values become text, empty ones are left out, long ones are cut.
    """
    if type(value) is list and len(cast("list[object]", value)) <= MAX_NAME_CHARS:
        listed = cast("list[Any]", value)  # type: ignore[redundant-cast]  # pyright does not know what is in it
        given: list[Any] = [*listed]  # another thread may change it meanwhile
        if all(map(_is_plain, given)):
            return array_text(given)
    return _odd_tags(field, value)  # pyright: ignore[reportUnknownArgumentType]  # narrowed to a list of what


@_optional
def _odd_tags(field: str, value: object) -> str:
    given: Iterable[object]
    if isinstance(value, Mapping):
        given = (f"{text_of(key)}:{text_of(part)}" for key, part in cast("Mapping[object, object]", value).items())
    elif isinstance(value, str):
        given = [value] if _ONE_TAG.fullmatch(plain_text(value)) else ()
    elif type(value) in _BYTES or not isinstance(value, Iterable):
        raise RecordError(field, value, "give a list of str")
    else:
        given = cast("Iterable[object]", value)
    found = [tag for part in islice(given, MAX_TAGS) if (tag := _tag(part)) is not None]
    if isinstance(value, str) and not found:
        raise RecordError(field, value, "give a list of str")
    return array_text(sorted(found) if isinstance(value, set | frozenset) else found)


def _tag(part: object) -> str | None:
    if type(part) is not str and (_as_text(part, numbers=True) is None or isinstance(part, Enum)):
        note_repair()
    given = _as_text(part, numbers=True)
    if part is None or given == "":
        return None
    return text_of(part if given is None else given, MAX_NAME_CHARS)


@_optional
def metadata(field: str, value: object) -> str:
    """An optional mapping (or dataclass, model, named tuple), stored as a JSON object; see `json_values`."""
    is_dict = type(value) is dict
    plain = _plain_object(cast("dict[object, object]", value)) if is_dict else None
    if plain is not None:
        return plain
    pairs = as_mapping(value)
    if pairs is None:
        raise RecordError(field, value, "give a dict of JSON values")
    return object_text(pairs)


_PLAIN_TYPES: Final = frozenset({str, int, float, bool, type(None)})


def _plain_object(pairs: dict[object, object]) -> str | None:
    """The JSON of a flat dict of plain values (the common case), as `object_text` writes it; else None."""
    if len(pairs) > MAX_NAME_CHARS:
        return None
    for key, part in list(pairs.items()):  # another thread may change it meanwhile
        kind = type(part)
        if (
            type(key) is not str
            or kind not in _PLAIN_TYPES
            or (kind is str and len(cast("str", part)) > MAX_JSON_CHARS)
        ):
            return None
    try:
        encoded = json.dumps(pairs, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        if not encoded.isascii():
            encoded.encode()
    except ValueError:  # NaN, a number of too many digits, a lone surrogate
        return None
    return None if len(encoded) > MAX_JSON_CHARS or "\\u0000" in encoded else encoded
