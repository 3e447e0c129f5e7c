"""Where the calls of a window are added up: few rows of a roll-up, and calls themselves for what no row of it covers.

`daily_costs` has a row for each UTC day and name, `quarter_hours` one for each quarter of an hour of all calls; the
latter is complete only from a day on, in a file that was made without it.
"""

from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple

from llm_service.telemetry.queries.cells import IS_CALL, whole
from llm_service.telemetry.queries.daily_sums import RollUp
from llm_service.telemetry.queries.filters import NAMES, InvocationFilter, Where
from llm_service.telemetry.record.timestamps import microseconds_text, to_microseconds
from llm_service.telemetry.stores.base import Fetch

__all__ = ["Source", "backfilled_share", "quarters_complete_since", "sources_since"]

_DAY: Final = timedelta(days=1)
_QUARTER: Final = timedelta(minutes=15)


class Source(NamedTuple):
    """Rows to be added up: calls, or rows of a roll-up."""

    table: Literal["invocations"] | RollUp
    where: Where


def quarters_complete_since(fetch: Fetch) -> str | None:
    """The UTC day from which on `quarter_hours` has all calls, '' for all days; None where it cannot be used yet."""
    rows = fetch(("SELECT complete_since FROM rollup_progress WHERE uncounted_to = 0", ()))
    return rows[0][0] if len(rows) == 1 and isinstance(rows[0][0], str) else None


def backfilled_share(fetch: Fetch) -> float | None:
    """How much of the records that were there before `quarter_hours` it counts, 0 to 1; None where nothing is known."""
    rows = fetch(("SELECT uncounted_to, began_at, complete_since IS NULL FROM rollup_progress", ()))
    if not rows:
        return None
    waiting, first, is_pending = rows[0]
    return min(0.999, 1 - whole(waiting) / max(1, whole(first))) if is_pending else 1.0


def sources_since(fetch: Fetch, start: datetime, narrowed: InvocationFilter) -> list[Source]:
    """What to add up for the calls of these names from a moment (aware UTC) on: no call twice, and none left out."""
    has_names = any(getattr(narrowed, name) is not None for name in NAMES)
    complete_since = None if has_names else quarters_complete_since(fetch)
    if complete_since is not None and start.date().isoformat() >= complete_since:
        quarter = _next(start, _QUARTER)
        return [_calls(start, quarter, narrowed), _quarters(quarter.strftime("%Y-%m-%d %H:%M"))]
    day = _next(start, _DAY)
    until = None if complete_since is None else max(complete_since, day.date().isoformat())
    found = [_calls(start, day, narrowed), _days(day, until, narrowed)]
    return found if until is None else [*found, _quarters(until)]


def _next(moment: datetime, step: timedelta) -> datetime:
    """The first beginning of a step that is not before a moment."""
    midnight = moment.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - (midnight - moment) // step * step


def _calls(start: datetime, end: datetime, narrowed: InvocationFilter) -> Source:
    where = Where()
    where.compare("timestamp >= ?", microseconds_text(to_microseconds(start)))
    where.compare("timestamp < ?", microseconds_text(to_microseconds(end)))
    where.names(narrowed, *NAMES)
    where.add(IS_CALL)
    return Source("invocations", where)


def _days(day: datetime, until: str | None, narrowed: InvocationFilter) -> Source:
    where = Where()
    where.compare("date >= ?", day.date().isoformat())
    where.compare("date < ?", until)
    where.names(narrowed, *NAMES)
    return Source("daily_costs", where)


def _quarters(first: str) -> Source:
    where = Where()
    where.compare("quarter >= ?", first)
    return Source("quarter_hours", where)
