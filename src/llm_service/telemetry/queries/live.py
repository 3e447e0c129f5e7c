"""What happens now: the calls of the last minutes, and today's; each a short read, for a screen that asks often."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple, TypedDict

from llm_service.telemetry.queries.ask import ask
from llm_service.telemetry.queries.cells import whole
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.local_periods import moment_of
from llm_service.telemetry.queries.newest import read_newest
from llm_service.telemetry.queries.plans import Question, timestamp_of
from llm_service.telemetry.queries.questions import InvocationRow
from llm_service.telemetry.stores.base import Fetch

__all__ = ["MINUTES", "Live", "Minute", "read_live"]

MINUTES: Final = 30
_TODAY: Final = "calls,failures,cost,tokens"


class Minute(NamedTuple):
    """The calls of a minute, and how many of them failed."""

    calls: int
    failures: int


class Live(TypedDict):
    """What happens now.

    `minutes` has the last 30, each of 60 seconds that end now, the oldest first; `today` the measures of this day of
    the time zone. The last calls and failures are the newest ones, the newest first.
    """

    minutes: list[Minute]
    today: dict[str, Any]
    since: str | None
    time_zone: str
    last_calls: list[InvocationRow]
    last_failures: list[InvocationRow]


def read_live(
    fetch: Fetch, narrowed: InvocationFilter, time_zone: Any, now: datetime, *, calls: int, failures: int
) -> Live:
    """From one snapshot; `narrowed` has names and filters, and no range."""
    today = ask(fetch, Question(_TODAY, (), [*narrowed.conditions()], "today", None, time_zone), now)
    failed = InvocationFilter(filters=narrowed.conditions(), failed=True)
    return {
        "minutes": _minutes(fetch, narrowed, now),
        "today": today.totals,
        "since": today.since,
        "time_zone": today.time_zone,
        "last_calls": read_newest(fetch, narrowed, calls),
        "last_failures": read_newest(fetch, failed, failures),
    }


def _minutes(fetch: Fetch, narrowed: InvocationFilter, now: datetime) -> list[Minute]:
    start = now - timedelta(minutes=MINUTES)
    where = narrowed.calls()
    where.add("timestamp >= ?", timestamp_of(start))
    where.add("timestamp < ?", timestamp_of(now))
    second = "substr(timestamp, 1, 19)"
    counts = f"count(*), sum(status <> 'success') FROM invocations{where} GROUP BY {second}"
    found = [Minute(0, 0)] * MINUTES
    for cell, calls, failures in fetch((f"SELECT {second}, {counts}", where.parameters)):
        moment = moment_of(cell)
        if moment is not None:
            place = min(max(0, (moment.astimezone(UTC) - start) // timedelta(minutes=1)), MINUTES - 1)
            before = found[place]
            found[place] = Minute(before.calls + calls, before.failures + whole(failures))
    return found
