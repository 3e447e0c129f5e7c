"""How many calls of a window still have records: records are deleted after `retention_days`, daily totals never."""

from dataclasses import replace
from datetime import date, timedelta
from typing import Any, Final, NamedTuple

from llm_service.telemetry.queries.cells import text, whole
from llm_service.telemetry.queries.conditions import FAILED
from llm_service.telemetry.queries.filters import InvocationFilter, checked_day, moment_text
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.retention import PurgeResult

__all__ = ["Deleted", "Kept", "count_old", "read_deleted", "read_kept", "records_since"]


_MIDNIGHT: Final = " 00:00:00.000000Z"


class Kept(NamedTuple):
    """The content of a window.

    Attributes:
        records_since: the first UTC day with all its records; None if none were ever deleted.
        first_day, last_day: UTC days of its oldest and newest record; None if there is none.
        records: calls with records.
        deleted: calls of these days and names that only daily totals count; filters by anything else might have left
            them out.
    """

    records_since: str | None
    first_day: str | None
    last_day: str | None
    records: int
    deleted: int


class Deleted(NamedTuple):
    """What a window lacks, whose records are deleted.

    Attributes:
        records_since: as of `Kept`.
        invocations, failures: calls of the window's days and names that only daily totals count.
    """

    records_since: str | None = None
    invocations: int = 0
    failures: int = 0


def read_deleted(fetch: Fetch, narrowed: InvocationFilter) -> Deleted:
    """The same as `read_kept` says of deleted calls, and how many of them failed, without a look at kept days."""
    since = records_since(fetch)
    if since is None:
        return Deleted()
    days = _whole_days(narrowed.by_names())
    counts = "coalesce(sum({calls}), 0), coalesce(sum({failures}), 0)"
    daily, records = days.daily(), days.calls()
    daily.add("date < ?", since)
    records.add("timestamp < ?", since)  # as a purge that goes on has left them
    in_daily = counts.format(calls="invocations", failures="errors + timeouts")
    in_records = counts.format(calls="1", failures=FAILED)
    ((calls, failures),) = fetch((f"SELECT {in_daily} FROM daily_costs{daily}", daily.parameters))  # noqa: S608
    ((kept, failed),) = fetch((f"SELECT {in_records} FROM invocations{records}", records.parameters))  # noqa: S608
    return Deleted(since, max(0, whole(calls) - whole(kept)), max(0, whole(failures) - whole(failed)))


def read_kept(fetch: Fetch, narrowed: InvocationFilter) -> Kept:
    """Compare records with the daily totals, by days and names, in one snapshot.

    Of a window that begins or ends within a UTC day, that whole day is compared: its totals are not known by the hour.
    """
    days = _whole_days(narrowed.by_names())
    first, last, records = _records(fetch, narrowed)
    in_days = records if days == narrowed else _records(fetch, days)[2]
    daily = days.daily()
    sql = f"SELECT coalesce(sum(invocations), 0) FROM daily_costs{daily}"  # noqa: S608
    ((counted,),) = fetch((sql, daily.parameters))
    return Kept(
        records_since=records_since(fetch),
        first_day=None if first is None else text(first)[:10],
        last_day=None if last is None else text(last)[:10],
        records=records,
        deleted=max(0, whole(counted) - in_days),
    )


def records_since(fetch: Fetch) -> str | None:
    """The first UTC day with all its records; None if none were ever deleted."""
    since = fetch(("SELECT records_kept_since FROM retention", []))
    return text(since[0][0]) if since and since[0][0] is not None else None


def _records(fetch: Fetch, narrowed: InvocationFilter) -> tuple[Any, ...]:
    where = narrowed.calls()
    sql = f"SELECT min(timestamp), max(timestamp), count(*) FROM invocations{where}"  # noqa: S608
    return fetch((sql, where.parameters))[0]


def _whole_days(narrowed: InvocationFilter) -> InvocationFilter:
    """The filter, of all UTC days that its moments touch."""
    since, until = narrowed.since, narrowed.until
    first, last = narrowed.start_date, narrowed.end_date
    if since is not None:
        day = date.fromisoformat(moment_text("since", since)[:10])
        first = day if first is None else max(day, checked_day("start_date", first))
    if until is not None:
        ended = moment_text("until", until)
        day = date.fromisoformat(ended[:10])
        if ended[10:] == _MIDNIGHT:
            day = day - timedelta(days=1)
        last = day if last is None else min(day, checked_day("end_date", last))
    return replace(narrowed, start_date=first, end_date=last, since=None, until=None)


def count_old(fetch: Fetch, cutoff: str) -> PurgeResult:
    """What a purge that keeps this UTC day and later ones would delete."""

    def count(table: str, is_old: str) -> int:
        return int(fetch((f"SELECT count(*) FROM {table} WHERE {is_old}", [cutoff]))[0][0])  # noqa: S608 - constants

    return PurgeResult(
        records=count("invocations", "timestamp < ?"),
        # Also contents whose record was deleted by hand.
        contents=count(
            "invocation_contents AS c",
            "NOT EXISTS (SELECT 1 FROM invocations AS i WHERE i.id = c.id AND i.timestamp >= ?)",
        ),
        dead_letters=count("dead_letters", "quarantined_at < ?"),
        records_kept_since=cutoff,
        dry_run=True,
    )
