"""Answers to questions: any measures of calls, by any keys, in any range of time."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, tzinfo
from itertools import product
from typing import Any, Final, NamedTuple

from llm_service.telemetry.queries.cells import text, whole
from llm_service.telemetry.queries.conditions import columns_of
from llm_service.telemetry.queries.daily_sums import RollUp
from llm_service.telemetry.queries.figures import Groups, merge, nothing, put, read_records, read_sums, span_of
from llm_service.telemetry.queries.filters import NAMES, asks_for_spans
from llm_service.telemetry.queries.local_periods import (
    DAY,
    Cut,
    cut_into_days,
    cut_into_units,
    moment_of,
    period_of,
    unit_of,
)
from llm_service.telemetry.queries.measures import MEASURES
from llm_service.telemetry.queries.notebooks import NotebookAnswer
from llm_service.telemetry.queries.plans import Question, Span, plan
from llm_service.telemetry.queries.quarter_coverage import quarters_complete_since
from llm_service.telemetry.queries.time_range import TimeRange, day_of
from llm_service.telemetry.queries.unknown_names import UnknownName, find_unknown, named_in
from llm_service.telemetry.stores.base import Fetch

__all__ = ["Answer", "Grouped", "ask", "grouped", "parts_by_day", "totals_of"]

_FIRST: Final = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR: Final = 3_600
_DAY: Final = timedelta(days=1)
_LAST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""Taken for a range without an end whose records do not say when they were."""

_ENDS: Final = "SELECT (SELECT min(timestamp) FROM invocations), (SELECT max(timestamp) FROM invocations)"
"""Each by a look into an index; both of one SELECT would walk all of it."""
_TABLES: Final[Mapping[str, RollUp]] = {"daily": "daily_costs", "quarters": "quarter_hours"}


@dataclass(frozen=True, slots=True)
class Answer(NotebookAnswer):
    """The rows of an answer; iterating gives them. A notebook shows it as a table; see `NotebookAnswer` for the rest.

    Attributes:
        rows: dicts: the columns of `group_by`, then those of `measures`. None is unknown.
        totals: the measures of all calls in the range, not of the rows alone.
        group_by: the columns of the keys: `agent_name`, `day`, `tag`, `metadata.team`...
        measures: the names of the measures.
        since, until: the range, from one moment on and before another: UTC texts, as timestamps are; None where open.
        time_zone: its name; hours, days, weeks and months are those of this zone.
        records_since: the first UTC day with all its records; None if none were ever deleted.
        deleted_invocations: calls of these days, agents, tools and models that are not counted here, because retention
            has deleted them; the other filters might have left them out.
        more: rows beyond the limit.
        unknown_names: agents, tools, models and operations that the filters name and no stored call has.
    """

    rows: list[dict[str, Any]]
    totals: dict[str, Any]
    group_by: tuple[str, ...]
    measures: tuple[str, ...]
    since: str | None
    until: str | None
    time_zone: str
    records_since: str | None = None
    deleted_invocations: int = 0
    more: int = 0
    unknown_names: tuple[UnknownName, ...] = ()

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)


class Grouped(NamedTuple):
    """Parts by the values of keys, as rows have them, and of all calls; what is deleted is said as by `Answer`."""

    groups: Groups
    totals: Mapping[str, Any]
    records_since: str | None
    deleted: int


def ask(fetch: Fetch, question: Question, now: datetime) -> Answer:
    """Answer a question from one snapshot; `now` (aware) is the moment that its words count from."""
    asked = question.range(now)
    found, spans = _found(fetch, question, asked)
    rows = _rows(question, _shown(question, found, asked.zone))
    since, deleted = _deleted(fetch, question, spans)
    limit = len(rows) if question.limit is None else question.limit
    columns = columns_of(question.conditions).union(key.column for key in question.keys)
    return Answer(
        rows=rows[:limit],
        totals=_measured(question, _sum(question, found)),
        group_by=tuple(key.column for key in question.keys),
        measures=question.asked,
        **asked.as_json(),
        records_since=since,
        deleted_invocations=deleted,
        more=max(0, len(rows) - limit),
        unknown_names=find_unknown(fetch, named_in(question.conditions), spans=asks_for_spans(columns)),
    )


def grouped(fetch: Fetch, question: Question, now: datetime) -> Grouped:
    """What an answer is made of, before it is measured and sorted."""
    asked = question.range(now)
    found, spans = _found(fetch, question, asked)
    shown, totals = _shown(question, found, asked.zone), _sum(question, found)
    return Grouped(shown, totals, *_deleted(fetch, question, spans))


def totals_of(fetch: Fetch, question: Question, now: datetime) -> tuple[dict[str, Any], str | None, int]:
    """Of an answer `totals`, `records_since` and `deleted_invocations` alone."""
    found, spans = _found(fetch, question, question.range(now))
    return _measured(question, _sum(question, found)), *_deleted(fetch, question, spans)


def parts_by_day(
    fetch: Fetch, question: Question, asked: TimeRange
) -> Iterator[tuple[date | None, Any, Mapping[str, Any]]]:
    """The days of a zone, the cells of the other keys, and the parts; None for a timestamp that no writer wrote.

    A day may come several times. The first key of the question is the day.
    """
    found, _ = _found(fetch, question, asked)
    for (moment, *cells), parts in found.items():
        yield None if moment is None else day_of(moment, asked.zone), tuple(cells), parts


def _found(fetch: Fetch, question: Question, asked: TimeRange) -> tuple[Groups, list[Span]]:
    """Groups by the cells of keys, and the spans that they were read from."""
    unit, cut = _cut(fetch, question, asked)
    spans = plan(question, asked, unit, quarters_complete_since(fetch))
    found: Groups = {}
    for span in spans:
        what = (question.keys, question.parts, question.conditions, span.start, span.end, cut)
        table = _TABLES.get(span.source)
        groups = read_records(fetch, *what) if table is None else read_sums(fetch, table, *what)
        if found:
            for key, values in groups.items():
                put(found, key, values)
        else:
            found = groups
    return found, spans


def _sum(question: Question, groups: Groups) -> dict[str, Any]:
    """The parts of all calls."""
    totals = nothing(question.parts)
    for values in groups.values():
        merge(totals, values)
    return totals


def _cut(fetch: Fetch, question: Question, asked: TimeRange) -> tuple[int, Cut]:
    """The unit of UTC, in seconds, that the periods asked for are made of, and how records are cut into periods."""
    periods = {key.column for key in question.keys if key.is_period}
    if not periods:
        return DAY, cut_into_units(DAY)
    start, end = asked.start, asked.end
    if start is None or end is None:
        ((first, last),) = fetch((_ENDS, ()))
        ((first_day, last_day),) = fetch(("SELECT min(date), max(date) FROM daily_costs", ()))
        told = [moment for cell in (first, last, first_day, last_day) if (moment := moment_of(cell)) is not None]
        start = start or min(told, default=_FIRST)
        end = end or min(max(told, default=_FIRST), datetime.max.replace(tzinfo=UTC) - _DAY) + _DAY
    start = max(start, _FIRST)
    end = max(end, start)
    unit = unit_of(asked.zone, start, max(min(end, _LAST), start))
    if "hour" in periods:
        unit = min(unit, _HOUR)
    of_days = None if unit == DAY or "hour" in periods else cut_into_days(asked.zone, start, end)
    return unit, of_days or cut_into_units(unit)


def _shown(question: Question, found: Groups, zone: tzinfo) -> Groups:
    """Groups by the values of rows: units of UTC become periods of the zone, lists of tags single ones."""
    cache: dict[tuple[str, Any], tuple[Any, ...]] = {}

    def values_of(at: int, cell: Any) -> tuple[Any, ...]:
        key = question.keys[at]
        values = cache.get((key.column, cell))
        if values is None:
            values = (period_of(cell, key.column, zone),) if key.is_period else key.shown(cell)
            cache[key.column, cell] = values
        return values

    shown: Groups = {}
    for key, values in found.items():
        for one in product(*(values_of(at, cell) for at, cell in enumerate(key))):
            put(shown, one, values)
    return shown


def _rows(question: Question, groups: Groups) -> list[dict[str, Any]]:
    columns = [key.column for key in question.keys]
    if not columns:
        return []
    rows = [dict(zip(columns, key, strict=True)) | _measured(question, values) for key, values in groups.items()]
    ranks = {key.column: key.rank for key in question.keys}
    for column, descends in reversed(question.sorting):
        rank = ranks.get(column, _as_it_is)
        known = [row for row in rows if row[column] is not None]
        known.sort(key=lambda row: rank(row[column]), reverse=descends)
        rows = known + [row for row in rows if row[column] is None]
    return rows


def _as_it_is(value: Any) -> Any:
    return value


def _measured(question: Question, parts: Mapping[str, Any]) -> dict[str, Any]:
    return {name: MEASURES[name].of(parts) for name in question.asked}


def _deleted(fetch: Fetch, question: Question, spans: Sequence[Span]) -> tuple[str | None, int]:
    """The first day with all its records, and how many calls the spans that are read from records lack."""
    rows = fetch(("SELECT records_kept_since FROM retention", ()))
    if not rows or rows[0][0] is None:
        return None, 0
    since = text(rows[0][0])
    names = [condition for condition in question.conditions if condition.column in NAMES]
    deleted = 0
    for span in spans:
        if span.source != "records":
            continue
        start, end = (None if moment is None else moment[:10] for moment in (span.start, span.end))
        if end is not None and span.end not in (end, f"{end} 00:00:00.000000Z"):
            end += ":"  # after all of that day
        end = since if end is None else min(end, since)
        daily = span_of("date", start, end, names)
        records = span_of("timestamp", start, end, names)
        records.only_calls(columns_of(names))
        ((counted,),) = fetch((f"SELECT coalesce(sum(invocations), 0) FROM daily_costs{daily}", daily.parameters))  # noqa: S608
        ((kept,),) = fetch((f"SELECT count(*) FROM invocations{records}", records.parameters))  # noqa: S608
        deleted += max(0, whole(counted) - kept)
    return since, deleted
