"""Filters of queries, as conditions and parameters; each value is checked."""

from collections.abc import Container
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any, Final

from llm_service.errors import QueryError, RecordError
from llm_service.redaction import stored_name
from llm_service.telemetry.queries.cells import IS_CALL
from llm_service.telemetry.queries.conditions import FAILED, Condition, as_sql, columns_of
from llm_service.telemetry.queries.filter_language import Filters, conditions_of
from llm_service.telemetry.record.checks import STATUSES, choice
from llm_service.telemetry.record.fields import CHECKS
from llm_service.telemetry.record.texts import forget_repairs, plain_text, repaired, repairs_here
from llm_service.telemetry.record.timestamps import microseconds_text, to_microseconds

__all__ = ["NAMES", "InvocationFilter", "Where", "asks_for_spans", "checked_day", "checked_id", "moment_text"]

NAMES: Final = ("agent_name", "tool_name", "model_name")
"""The names that records and daily totals have."""
_IDS: Final = (*NAMES, "session_id", "trace_id", "run", "user_id")


def asks_for_spans(columns: Container[str]) -> bool:
    """Whether spans count, which are no calls: where `operation` is a key or in a filter, and nowhere else."""
    return "operation" in columns


class Where:
    """Conditions joined by AND, and their parameters."""

    def __init__(self) -> None:
        self._conditions: list[str] = []
        self.parameters: list[Any] = []

    def add(self, condition: str, *values: Any) -> None:
        """Add a constant condition and its parameters."""
        self._conditions.append(condition)
        self.parameters += values

    def compare(self, condition: str, value: str | None) -> None:
        """Add a condition with one parameter, unless the value is None."""
        if value is not None:
            self.add(condition, value)

    def meet(self, *conditions: Condition) -> None:
        """Add conditions of filters."""
        for condition in conditions:
            sql, parameters = as_sql(condition)
            self.add(sql, *parameters)

    def only_calls(self, asked: Container[str]) -> None:
        """Leave out spans, unless the columns that are asked for say that they count."""
        if not asks_for_spans(asked):
            self.add(IS_CALL)

    def names(self, narrowed: "InvocationFilter", *columns: str) -> None:
        """Add conditions that columns equal a name, as given to the record or as stored: redaction is idempotent.

        A name is checked like a record's: a value that no record can hold is an error.
        """
        for column in columns:
            self.compare(f"{column} = ?", narrowed.stored(column))

    def __str__(self) -> str:
        return f" WHERE {' AND '.join(self._conditions)}" if self._conditions else ""


def checked_day(field: str, value: object) -> date:
    """A UTC day, given as a date or as ISO text. Raises QueryError: for anything else, including a datetime."""
    if isinstance(value, datetime):
        raise QueryError(field, value, "give a date; for moments use since and until")
    if isinstance(value, date):
        return value
    if isinstance(value, str):
        try:
            return date.fromisoformat(value)
        except ValueError:
            pass
    raise QueryError(field, value, "give a UTC day, as a datetime.date or a text such as 2026-11-23")


def checked_id(field: str, given: object) -> str:
    """The id of a call or a hold, of any type that a record takes: text, an integer, a UUID or an Enum.

    A text may have any length, since it may come from a file.

    Raises:
        QueryError: no record can have it.
    """
    repairs = repairs_here()
    try:
        return repaired(plain_text(given)) if isinstance(given, str) else str(CHECKS["invocation_id"](field, given))
    except RecordError as error:
        raise QueryError(field, given, error.remedy) from None
    finally:
        forget_repairs(repairs)  # nothing is stored


def _next_day(day: date) -> str:
    # The day after 9999-12-31 does not exist; a colon sorts after every timestamp, since it follows the digits.
    return ":" if day == date.max else (day + timedelta(days=1)).isoformat()


def moment_text(field: str, value: object) -> str:
    """A moment as it is stored; one before 1970 is the first that can be. Raises QueryError: it is none."""
    moment: object = value
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            moment = None
    if not isinstance(moment, datetime) or moment.utcoffset() is None:
        raise QueryError(field, value, "give an aware datetime or a text such as 2026-11-23T18:00:00Z")
    try:
        return microseconds_text(max(0, to_microseconds(moment)))
    except OverflowError:
        raise QueryError(field, value, "give a moment from 1970 to 9999") from None


@dataclass(frozen=True, slots=True)
class InvocationFilter:
    """A filter for stored calls, and for daily totals; None does not filter.

    Attributes:
        start_date, end_date: UTC days, both inclusive; dates or ISO texts.
        agent_name, tool_name, model_name, session_id, trace_id, run, user_id, status: equal to.
        since, until: moments, from `since` on and before `until`; aware datetimes or ISO texts with an offset.
        failed: True leaves out successful calls.
        filters: see `filter_language`.
    """

    start_date: date | str | None = None
    end_date: date | str | None = None
    agent_name: str | None = None
    tool_name: str | None = None
    model_name: str | None = None
    session_id: str | None = None
    trace_id: str | None = None
    run: str | None = None
    user_id: str | None = None
    status: str | None = None
    since: datetime | str | None = None
    until: datetime | str | None = None
    failed: bool = False
    filters: Filters = None

    def stored(self, column: str) -> str | None:
        """What this column is equal to, as it is stored; None where it does not filter."""
        name: str | None = getattr(self, column)
        try:
            checked = name if name == "" else CHECKS[column](column, name)  # an empty one matches no record
        except RecordError as error:
            raise QueryError(column, name, f"no record has it: {error.remedy}") from None
        return None if checked is None else stored_name(checked)

    def conditions(self) -> tuple[Condition, ...]:
        """Agent, tool, model and `filters` as conditions; raises as `where`."""
        names = ((column, self.stored(column)) for column in NAMES)
        equal = (Condition(column, None, "=", (name,)) for column, name in names if name is not None)
        return (*equal, *conditions_of(self.filters))

    def by_names(self) -> "InvocationFilter":
        """The same without filters by anything that daily totals do not have."""
        if not columns_of(self.conditions()) - {*NAMES}:
            return self
        return replace(self, filters=[one for one in conditions_of(self.filters) if one.column in NAMES])

    def where(self) -> Where:
        """The conditions on `invocations`. Raises QueryError: naming the argument, the value and the remedy."""
        status = _status(self.status)
        where = Where()
        start, end = self.start_date, self.end_date
        where.compare("timestamp >= ?", None if start is None else checked_day("start_date", start).isoformat())
        where.compare("timestamp < ?", None if end is None else _next_day(checked_day("end_date", end)))
        where.compare("timestamp >= ?", None if self.since is None else moment_text("since", self.since))
        where.compare("timestamp < ?", None if self.until is None else moment_text("until", self.until))
        where.names(self, *_IDS)
        where.compare("status = ?", status)
        if self.failed or status not in (None, "success"):
            where.add(FAILED)
        where.meet(*conditions_of(self.filters))
        return where

    def calls(self) -> Where:
        """The conditions on `invocations` for what counts calls: without spans, unless a filter names `operation`."""
        where = self.where()
        where.only_calls(columns_of(conditions_of(self.filters)))
        return where

    def daily(self) -> Where:
        """The conditions on `daily_costs`, which has days and names; raises as `where`."""
        where = Where()
        start, end = self.start_date, self.end_date
        where.compare("date >= ?", None if start is None else checked_day("start_date", start).isoformat())
        where.compare("date <= ?", None if end is None else checked_day("end_date", end).isoformat())
        conditions = self.conditions()
        if others := columns_of(conditions) - {*NAMES}:
            remedy = f"daily totals have {', '.join(NAMES)} alone; query() and llm-telemetry query read records"
            raise QueryError("filters", ", ".join(sorted(others)), remedy)
        where.meet(*conditions)
        return where


def _status(given: object) -> str | None:
    try:
        return choice("status", given, STATUSES)
    except RecordError as error:
        raise QueryError("status", given, error.remedy) from None
