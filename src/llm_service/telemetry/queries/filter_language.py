"""Filters as people write them: `model=gpt-*,o3 agent!=test cost>0.1 latency>=5s tag=prod metadata.team=core`.

Every term must hold. A term is a field, an operator and a value, without spaces around the operator. `=` and `!=` take
several values, separated by commas; `*` stands for any characters and `?` for one, but not between quotes, where spaces
and commas are plain, too, and the quote itself is written twice. No value stands for an unknown one: `user=` are the
calls without a user.
"""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final, cast

from llm_service.errors import QueryError, RecordError
from llm_service.redaction import ID_BYTES, scrub, stored_name
from llm_service.telemetry.queries.conditions import ALIASES, OPERATORS, Condition, Glob, Operator
from llm_service.telemetry.queries.field_names import (
    COLUMNS,
    METADATA,
    QUOTED,
    SHORT_NAMES,
    column_named,
    metadata_key,
    no_such,
)
from llm_service.telemetry.queries.time_range import time_range
from llm_service.telemetry.record.checks import COST_SOURCES, LEVELS, STATUSES, USAGE_SOURCES, choice
from llm_service.telemetry.record.fields import CHECKS, KINDS, RANGES
from llm_service.telemetry.record.texts import forget_repairs, plain_text, repaired, repairs_here
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds

__all__ = ["Filters", "conditions_of"]

Filters = str | Iterable[str | Condition] | Mapping[str, Any] | None
"""A text of terms; several such texts; or by field what it must be: a value, a list of values, None for unknown, or a
text that begins with an operator, such as `>0.1`."""

MOST_COMPARISONS: Final = 400
"""Terms and patterns together: of tags each is two levels of an expression, of which SQLite takes 1,000."""
MOST_VALUES: Final = 10_000
"""In all terms; SQLite has 32,766 parameters a statement, and a tag takes two."""
LONGEST_PATTERN: Final = 50_000
"""Bytes, SQLite's limit."""

_Value = str | int | float | Glob | None
_OPERATOR: Final = "|".join(map(re.escape, (*ALIASES, *OPERATORS)))
_FIELD: Final = re.compile(rf"[A-Za-z_][\w-]*(?:\.(?:{QUOTED}|[^\s=<>!\"'])*)?(?={_OPERATOR})")
_SIGN: Final = re.compile(_OPERATOR)
_NEARLY: Final = re.compile(rf"([\w-]+)\s*({_OPERATOR}|:)\s*(\S+)")
_PART: Final = re.compile(
    r"""(?:"(?P<double>(?:[^"]|"")*)"|'(?P<single>(?:[^']|'')*)'|(?P<bare>(?:[^\s,"'][^\s,]*)?))(?=[\s,]|$)"""
)
_TERMS: Final = "write terms such as agent=backend-dev, model=gpt-*, cost>0.1 or latency>5s, with a space between them"
_COMPARED: Final = frozenset({"number", "moment"})
_MILLISECONDS: Final = {"": 1.0, "ms": 1.0, "s": 1e3, "m": 6e4}
_DURATION: Final = re.compile(r"(.*?)(ms|s|m|)", re.DOTALL)
_BOOLEANS: Final = {"true": True, "yes": True, "false": False, "no": False}
WORDS: Final = {
    "status": STATUSES, "privacy_level": LEVELS, "usage_source": USAGE_SOURCES, "cost_source": COST_SOURCES,
}  # fmt: skip
"""By column whose values are words of a fixed set: these."""
_TEXTS_WITH_SPACES: Final = frozenset({"error", "json"})


def conditions_of(filters: Filters, argument: str = "filters") -> tuple[Condition, ...]:
    """The conditions that filters say, all of which must hold.

    Raises:
        QueryError: naming the argument, what cannot be used, and the remedy.
    """
    found = () if filters is None else _conditions(filters, argument)
    _check_limits(found, argument)
    return found


def _check_limits(conditions: tuple[Condition, ...], argument: str) -> None:
    """SQLite refuses deeper expressions, longer patterns and more parameters, as if the file were at fault."""
    values = [value for condition in conditions for value in condition.values]
    globs = [value.pattern for value in values if isinstance(value, Glob)]
    if len(conditions) + len(globs) > MOST_COMPARISONS:
        remedy = f"{len(conditions) + len(globs):,} terms and patterns; give at most {MOST_COMPARISONS:,}"
        raise QueryError(argument, "...", remedy)
    if len(values) > MOST_VALUES:
        raise QueryError(argument, "...", f"{len(values):,} values; give at most {MOST_VALUES:,}")
    longest = max((len(pattern.encode("utf-8", "surrogatepass")) for pattern in globs), default=0)
    if longest > LONGEST_PATTERN:
        raise QueryError(argument, "...", f"a pattern of {longest:,} bytes; give at most {LONGEST_PATTERN:,}")


def _conditions(filters: str | Iterable[str | Condition] | Mapping[str, Any], argument: str) -> tuple[Condition, ...]:
    if isinstance(filters, str):
        return tuple(_terms(plain_text(filters), argument))
    if isinstance(filters, Mapping):
        items = cast("Mapping[Any, Any]", filters)
        return tuple(_of_field(name, value, argument) for name, value in items.items())
    if not isinstance(filters, Iterable):
        raise QueryError(argument, filters, _TERMS)
    found: list[Condition] = []
    for one in filters:
        if isinstance(one, Condition):
            found.append(one)
        elif isinstance(one, str):
            found += _terms(plain_text(one), argument)
        else:
            raise QueryError(argument, one, _TERMS)
    return tuple(found)


def _terms(text: str, argument: str) -> Iterable[Condition]:
    at = 0
    while (at := len(text) - len(text[at:].lstrip())) < len(text):
        field = _FIELD.match(text, at)
        if field is None:
            raise QueryError(argument, text[at:], _meant(text[at:]))
        sign = _SIGN.match(text, field.end())
        assert sign is not None  # noqa: S101 - the field looked ahead
        values, at = _values(text, sign.end(), argument)
        yield _condition(field[0], _operator(sign[0]), values, argument)


def _operator(sign: str) -> Operator:
    return ALIASES.get(sign) or cast("Operator", sign)


def _meant(text: str) -> str:
    """The remedy for what is no term: a colon for an equals sign, or spaces around one."""
    found = _NEARLY.match(text)
    if found is None or column_named(found[1]) is None:
        return _TERMS
    sign = "=" if found[2] == ":" else _operator(found[2])
    return f"did you mean {found[1]}{sign}{found[3]}?"


def _values(text: str, at: int, argument: str) -> tuple[list[_Value], int]:
    """The values from here on, and where they end: texts, patterns, and None for an empty one."""
    values: list[_Value] = []
    while True:
        part = _PART.match(text, at)
        if part is None:
            raise QueryError(argument, text[at:], "close the quote, and put a space or a comma behind it")
        bare = part["bare"]
        values.append(_quoted(part) if bare is None else _bare(bare))
        at = part.end()
        if text[at : at + 1] != ",":
            return values, at
        at += 1


def _quoted(part: re.Match[str]) -> str:
    """The text between quotes, in which its own quote stands twice."""
    double = part["double"]
    return part["single"].replace("''", "'") if double is None else double.replace('""', '"')


def _bare(text: str) -> _Value:
    """What a text without quotes stands for: a pattern, an unknown value, or itself."""
    if "*" in text or "?" in text:
        return Glob(text.replace("[", "[[]"))
    return text or None


def _of_field(name: object, given: object, argument: str) -> Condition:
    """The condition of one item of a mapping."""
    if not isinstance(name, str):
        raise QueryError(argument, name, "give names of fields")
    if isinstance(given, str):
        text = plain_text(given)
        sign = _SIGN.match(text)
        if sign is None:
            return _condition(name, "=", [_bare(text) if text else ""], argument)
        values, end = _values(text, sign.end(), argument)
        if text[end:].strip():
            raise QueryError(argument, given, "put quotes around what has spaces")
        return _condition(name, _operator(sign[0]), values, argument)
    if isinstance(given, list | tuple | set | frozenset):
        several = cast("Iterable[Any]", given)
        values = [_bare(plain_text(one)) if isinstance(one, str) and one else one for one in several]
        if not values:
            raise QueryError(argument, name, "give at least one value, or leave it out")
        return _condition(name, "=", values, argument)
    return _condition(name, "=", [cast("Any", given)], argument)


def _condition(name: str, operator: Operator, given: list[_Value], argument: str) -> Condition:
    """A checked condition, its values as they are stored."""
    key = metadata_key(name, argument)
    column = "metadata" if key is not None else column_named(name)
    if column is None:
        raise QueryError(argument, name, no_such("field", name, (*SHORT_NAMES, *COLUMNS, f"{METADATA}KEY")))
    if operator not in ("=", "!="):
        if len(given) != 1 or given[0] is None or isinstance(given[0], Glob):
            raise QueryError(argument, f"{name}{operator}", "compare with one value")
        if key is None and KINDS[column] not in _COMPARED:
            raise QueryError(argument, f"{name}{operator}", f"{name} is text, which has only = and !=")
    repairs = repairs_here()
    try:
        if key is not None and operator not in ("=", "!="):
            values: tuple[Any, ...] = (_number(name, given[0], argument),)
        else:
            values = tuple(None if one is None else _stored(column, name, one, argument) for one in given)
    finally:
        forget_repairs(repairs)  # nothing is stored
    if column == "metadata" and key is None and set(values) != {None}:
        raise QueryError(argument, name, "name a key, as in metadata.team=core")
    return Condition(column, key, operator, values)


def _stored(column: str, name: str, value: Any, argument: str) -> _Value:
    """A value as records have it in this column: redaction is idempotent, so one with a secret is found, too."""
    kind = KINDS[column]
    if isinstance(value, Glob):
        if kind in _COMPARED:
            raise QueryError(argument, f"{name}={value.pattern}", f"{name} has no patterns; compare with <, > or =")
        if kind == "word" and not any(fnmatchcase(word, value.pattern) for word in WORDS[column]):
            known = ", ".join(sorted(WORDS[column]))
            raise QueryError(argument, f"{name}={value.pattern}", f"no {name} fits it; use one of: {known}")
        unchanged = stored_name(value.pattern) == value.pattern
        return value if unchanged else stored_name(value.pattern.replace("[[]", "["))
    if kind in _TEXTS_WITH_SPACES:
        return scrub(repaired(_text(value)))[0]
    if kind == "moment":
        return _moment(name, value, argument)
    try:
        if column in RANGES:
            return cast("float", CHECKS[column](name, _unquoted(column, value)))
        if column == "status":
            return choice(name, value, STATUSES)
        checked = "" if value == "" else str(CHECKS[column](name, value))  # an empty one matches no record
    except RecordError as error:
        raise QueryError(argument, value, f"no record has this {name}: {error.remedy}") from None
    return checked if kind == "word" else stored_name(checked, *((ID_BYTES,) if kind == "key" else ()))


def _text(value: object) -> str:
    if isinstance(value, str):
        return plain_text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _unquoted(column: str, value: object) -> object:
    """A number as its check takes it: `5s` are milliseconds, `$` stands for itself, `true` is a bool."""
    if not isinstance(value, str):
        return value
    text = value.strip()
    if column == "stream":
        return _BOOLEANS.get(text.lower(), int(text) if text in ("0", "1") else text)
    if column.endswith("_ms"):
        digits, unit = cast("re.Match[str]", _DURATION.fullmatch(text)).groups()
        try:
            return float(digits) * _MILLISECONDS[unit]
        except ValueError:
            return text
    return text.removeprefix("$") if column.endswith("_usd") else text


def _moment(name: str, value: object, argument: str) -> str:
    try:
        start = time_range(value, now=datetime.now(UTC)).start
    except QueryError as error:
        raise QueryError(argument, value, error.remedy) from None
    if start is None:  # pragma: no cover - a value is given
        raise QueryError(argument, name, "give a moment")
    return microseconds_text(min(max(0, to_microseconds(start)), MAX_MICROSECONDS))


def _number(name: str, value: object, argument: str) -> float:
    try:
        return float(cast("Any", value))
    except (TypeError, ValueError):
        raise QueryError(argument, value, f"compare {name} with a number") from None
