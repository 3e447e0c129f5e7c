"""Questions, checked when they are made, and where their answers come from: daily totals where they can, else records.

A plan is a list of spans of time, each with its source. Sources have the same parts, so what they give is added up.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import Final, Literal, NamedTuple, cast

from llm_service.errors import QueryError
from llm_service.telemetry.queries.conditions import Condition, columns_of
from llm_service.telemetry.queries.field_names import QUOTED, column_named, metadata_key, no_such
from llm_service.telemetry.queries.filter_language import Filters, conditions_of
from llm_service.telemetry.queries.filters import NAMES
from llm_service.telemetry.queries.group_keys import GroupKey, group_keys
from llm_service.telemetry.queries.local_periods import DAY
from llm_service.telemetry.queries.measures import MEASURES, PARTS, SETS, measures_named
from llm_service.telemetry.queries.time_range import TimeRange, time_range
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds

__all__ = ["MAX_ROWS", "Question", "Span", "names_of", "plan", "timestamp_of"]

MAX_ROWS: Final = 1_000_000
_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY: Final = timedelta(days=1)
_QUARTER: Final = timedelta(minutes=15)
_LAST_QUARTER: Final = datetime(9999, 12, 31, 23, 45, tzinfo=UTC)
_NAME: Final = re.compile(rf'(?:[^,"]|{QUOTED}|")+')
"""Between commas, but for those in quotes: `metadata."a,b"`."""
Names = str | Sequence[str]
"""Names separated by commas, or a list of them."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of the calls of a file.

    Args:
        measures: names of `MEASURES` or `SETS`.
        group_by: up to four names of `KEYS`; none asks for totals alone.
        filters: see `filter_language`.
        since, until, time_zone: see `time_range`; periods of time are those of this zone.
        order: names of measures and keys that are asked for, each descending behind a `-`. None sorts by periods, then
            by the first measure, the largest first.
        limit: of rows, 1 to 1,000,000; None gives all.

    Attributes:
        keys, asked, conditions, sorting: group keys, names of measures, filters and order, as they were understood.

    Raises:
        QueryError: naming the argument, the value and the remedy.
    """

    measures: Names = "calls,cost"
    group_by: Names = ()
    filters: Filters = None
    since: object = None
    until: object = None
    time_zone: str | tzinfo | None = None
    order: Names | None = None
    limit: int | None = None
    keys: tuple[GroupKey, ...] = field(init=False, repr=False, compare=False)
    asked: tuple[str, ...] = field(init=False, repr=False, compare=False)
    conditions: tuple[Condition, ...] = field(init=False, repr=False, compare=False)
    sorting: tuple[tuple[str, bool], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.limit is not None and (type(self.limit) is not int or not 1 <= self.limit <= MAX_ROWS):
            raise QueryError("limit", self.limit, f"give a whole number from 1 to {MAX_ROWS:,}, or None")
        self.range(datetime.now(UTC))
        understood = {
            "keys": group_keys(names_of("by", self.group_by)),
            "asked": measures_named(names_of("measures", self.measures)),
            "conditions": conditions_of(self.filters),
        }
        for name, value in understood.items():
            object.__setattr__(self, name, value)
        object.__setattr__(self, "sorting", self._sorting())

    def range(self, now: datetime) -> TimeRange:
        """The range of time, at a moment (aware)."""
        return time_range(self.since, self.until, time_zone=self.time_zone, now=now)

    @property
    def parts(self) -> tuple[str, ...]:
        """What calls are added up to."""
        needed = (part for name in self.asked for part in MEASURES[name].parts)
        return tuple(dict.fromkeys(("invocations", *needed)))

    def _sorting(self) -> tuple[tuple[str, bool], ...]:
        """Columns of rows, and whether each descends."""
        columns = [key.column for key in self.keys]
        found: dict[str, bool] = {}
        if self.order is None:
            found = {key.column: False for key in self.keys if key.is_period} | {self.asked[0]: True}
            return tuple((found | dict.fromkeys(columns, False)).items())
        for name in names_of("order", self.order):
            plain = name.removeprefix("-")
            column = SETS.get(plain, (plain,))[0]
            column = column if column in self.asked or column in columns else _key_column(plain)
            if column not in self.asked and column not in columns:
                raise QueryError("order", name, no_such("row's column", plain, (*self.asked, *columns)))
            found.setdefault(column, name.startswith("-"))
        return tuple((found | {column: False for column in columns if column not in found}).items())


def _key_column(name: str) -> str:
    key = metadata_key(name, "order")
    return "tag" if name in ("tag", "tags") else column_named(name) or (name if key is None else key.name)


def names_of(argument: str, given: object) -> list[str]:
    """Names, of a text or a sequence of them."""
    if isinstance(given, str):
        return [name for part in _NAME.findall(given) if (name := part.strip())]
    whole: object = given
    names: list[object] = [*cast("Sequence[object]", given)] if isinstance(given, list | tuple) else [None]
    if all(isinstance(name, str) for name in names):
        return cast("list[str]", names)
    raise QueryError(argument, whole, "give names, separated by commas, or a list of them")


class Span(NamedTuple):
    """A part of the range, from one text on and before another (None: open), and what answers for it.

    Texts are days for `daily`, timestamps for `records`, and quarters of an hour for `quarters`.
    """

    source: Literal["daily", "quarters", "records"]
    start: str | None
    end: str | None


def plan(question: Question, asked: TimeRange, unit: int, quarters_since: str | None = None) -> list[Span]:
    """The spans that together are the range; whole UTC days from daily totals, where these can tell all that is asked.

    Quarters of an hour tell no names. Where none are asked for, they answer for all but the edges of the range.

    Args:
        question: with its keys, measures and conditions.
        asked: its range.
        unit: of UTC, in seconds, that its periods are made of.
        quarters_since: the UTC day from which on there are totals of all quarters, '' for all; None without any.
    """
    if quarters_since is None or not _is_quarterly(question, unit):
        return _plan(question, asked, unit)
    since = datetime.fromisoformat(quarters_since).replace(tzinfo=UTC) if quarters_since else None
    if since is None or (asked.start is not None and asked.start >= since):
        return _by_quarters(asked)
    if asked.end is not None and asked.end <= since:
        return _plan(question, asked, unit)
    return [*_plan(question, replace(asked, end=since), unit), *_by_quarters(replace(asked, start=since))]


def _by_quarters(asked: TimeRange) -> list[Span]:
    start, end = (
        None if moment is None else max(moment.astimezone(UTC), _FIRST) for moment in (asked.start, asked.end)
    )
    start_or_last = None if start is None else min(start, _LAST_QUARTER)
    first = None if start_or_last is None else start_or_last + (_FIRST - start_or_last) % _QUARTER
    last = None if end is None else end - (end - _FIRST) % _QUARTER
    if first is not None and last is not None and first >= last:
        return [Span("records", *(timestamp_of(moment) for moment in (start, end) if moment is not None))]
    first_text, last_text = (None if moment is None else timestamp_of(moment)[:16] for moment in (first, last))
    spans = [Span("quarters", first_text, last_text)]
    if first is not None and start is not None and start != first:
        spans.insert(0, Span("records", timestamp_of(start), timestamp_of(first)))
    if last is not None and end is not None and end != last:
        spans.append(Span("records", timestamp_of(last), timestamp_of(end)))
    return spans


def _is_quarterly(question: Question, unit: int) -> bool:
    """Whether totals of quarters of an hour have all keys and parts; they have no columns of conditions."""
    return (
        unit % 900 == 0
        and all(key.is_period for key in question.keys)
        and not question.conditions
        and all(PARTS[part].is_daily for part in question.parts)
    )


def _plan(question: Question, asked: TimeRange, unit: int) -> list[Span]:
    start, end = (None if moment is None else timestamp_of(moment) for moment in (asked.start, asked.end))
    first, last = _whole_days(asked)
    if not _is_daily(question, unit) or (first is not None and last is not None and first >= last):
        return [Span("records", start, end)]
    spans = [Span("daily", None if first is None else first.isoformat(), None if last is None else last.isoformat())]
    if first is not None and asked.start != _midnight(first):
        spans.insert(0, Span("records", start, first.isoformat()))
    if last is not None and asked.end != _midnight(last):
        spans.append(Span("records", last.isoformat(), end))
    return spans


def _is_daily(question: Question, unit: int) -> bool:
    """Whether daily totals have all keys, parts and columns of conditions."""
    return (
        unit == DAY
        and all((key.is_period and key.column != "hour") or key.column in NAMES for key in question.keys)
        and columns_of(question.conditions) <= {*NAMES}
        and all(PARTS[part].is_daily for part in question.parts)
    )


def _whole_days(asked: TimeRange) -> tuple[date | None, date | None]:
    """The first UTC day that begins in the range, and the first one that does not end in it; None: open."""
    first = last = None
    if asked.start is not None and asked.start > _FIRST:
        first = asked.start.astimezone(UTC).date()
        if asked.start != _midnight(first):
            first = min(first, date.max - _DAY) + _DAY
    if asked.end is not None:
        last = max(asked.end, _FIRST).astimezone(UTC).date()
    return first, last


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def timestamp_of(moment: datetime) -> str:
    """The text of a moment as it is stored; one before 1970 or beyond 9999 is the first or last that there is."""
    return microseconds_text(min(max(0, to_microseconds(moment)), MAX_MICROSECONDS))
