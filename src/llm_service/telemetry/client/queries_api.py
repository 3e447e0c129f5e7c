"""What one may ask of the file, on both clients: each question is answered from one snapshot, after a flush.

What SQL a question is and what its rows mean stands in the room `queries`. Reports are imported where the file is
read, in a thread: who only logs does not pay for them, and no event loop does.
"""

from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from typing import TYPE_CHECKING

from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.steps import Steps
from llm_service.telemetry.queries import call_content, questions
from llm_service.telemetry.queries.call_content import Content
from llm_service.telemetry.queries.filter_language import Filters
from llm_service.telemetry.queries.filters import InvocationFilter, checked_id
from llm_service.telemetry.queries.newest import read_newest
from llm_service.telemetry.queries.questions import DailyCost, InvocationRow, Statistics
from llm_service.telemetry.stores.base import Fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.telemetry.queries.ask import Answer
    from llm_service.telemetry.queries.cache_savings import RatesOf
    from llm_service.telemetry.queries.cost_coverage import CoverageReport
    from llm_service.telemetry.queries.grouping import NameKey, RecordKey
    from llm_service.telemetry.queries.months import MonthReport
    from llm_service.telemetry.queries.traces import TraceRow
    from llm_service.telemetry.queries.unit_costs import UnitReport

__all__ = [
    "get_content",
    "get_coverage",
    "get_daily_costs",
    "get_invocations",
    "get_month_report",
    "get_statistics",
    "get_trace",
    "get_unit_costs",
    "query",
]


def query(
    core: ClientCore,
    measures: "str | Sequence[str]" = "calls,cost",
    by: "str | Sequence[str]" = (),
    filters: Filters = None,
    since: object = None,
    until: object = None,
    time_zone: "str | tzinfo | None" = None,
    order: "str | Sequence[str] | None" = None,
    limit: int | None = None,
    *,
    fresh: bool = True,
) -> Steps["Answer"]:
    """Any measures of calls, by up to four keys, of the calls that filters leave. Iterating the answer gives its rows.

    Whole UTC days are read from the daily totals, which stay for ever, where these have all that is asked; everything
    else from the records, which are kept for `retention_days`: `deleted_invocations` says how many calls are gone.
    Sums are exact; percentiles are within 2.2 %. What no call of a row tells is None.

    Args:
        measures: `cost`, `calls`, `tokens`, `p95_latency_ms`...: see the manual. Several with commas, or a list.
        by: `agent`, `session`, `tag`, `metadata.team`, `day`...; none for totals alone.
        filters: such as `model=gpt-* cost>0.1 agent!=test`; several texts; or a mapping: `{"agent": ["a", "b"]}`.
        since, until: words (`today`, `last-month`), durations (`24h`), ISO texts, dates and datetimes.
        time_zone: whose hours, days, weeks and months are meant, a name or a tzinfo; default the setting `time_zone`.
        order: columns of the rows, each descending behind a `-`; default: periods, then the first measure descending.
        limit: of rows, 1 to 1,000,000; `more` says how many there are beyond it.
        fresh: False reads without flushing first.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    from llm_service.telemetry.queries.ask import ask  # noqa: PLC0415
    from llm_service.telemetry.queries.plans import Question  # noqa: PLC0415

    zone = core.settings.time_zone if time_zone is None else time_zone
    question = Question(measures, by, filters, since, until, zone, order, limit)
    return core.ask(lambda fetch: ask(fetch, question, datetime.now(UTC)), fresh=fresh)


def get_daily_costs(
    core: ClientCore,
    start_date: date | str | None = None,
    end_date: date | str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    time_zone: str | tzinfo | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps[list[DailyCost]]:
    """Daily totals by agent, tool and model, newest day first. `date` is a UTC day.

    Args:
        start_date, end_date: UTC days, both inclusive; dates or ISO texts. None leaves that end open.
        agent_name, tool_name, model_name: equal to; None does not filter.
        since, until, time_zone: as for `get_invocations`. A range that begins or ends within a UTC day has that part of
            the day, from its records; where these are deleted already, the whole day.
        filters: by agent, tool and model, as for `query`.
        fresh: False reads without flushing first.

    Raises:
        QueryError: (a `ValueError`) naming the argument, the value and the remedy.
        CommitTimeoutError: what was accepted before could not be flushed; `fresh=False` reads without it.
        StoreError: the file cannot be read.
    """
    asked = core.range(since, until, time_zone)
    narrowed = InvocationFilter(start_date, end_date, agent_name, tool_name, model_name, filters=filters)
    narrowed.daily()  # refuses what is not usable before anything is flushed
    return core.ask(lambda fetch: questions.read_daily_costs(fetch, narrowed, asked), fresh=fresh)


def get_invocations(
    core: ClientCore,
    start_date: date | str | None = None,
    end_date: date | str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    status: str | None = None,
    limit: int = 100,
    *,
    model_name: str | None = None,
    session_id: str | None = None,
    trace_id: str | None = None,
    run: str | None = None,
    user_id: str | None = None,
    since: date | str | None = None,
    until: date | str | None = None,
    time_zone: str | tzinfo | None = None,
    before: InvocationRow | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps[list[InvocationRow]]:
    """Stored calls, newest first, one dict with every column for each.

    Args:
        start_date, end_date, fresh: as for `get_daily_costs`.
        agent_name, tool_name, model_name, session_id, trace_id, run, user_id, status: equal to; None does not filter.
        limit: at most so many, 1 to 1,000,000.
        since, until: the range, as people say it: `24h`, `7d`, `today`, `yesterday`, `last-week`, `this-month`, a date,
            a datetime (naive is local time of this machine), an ISO text. A period that `until` names is in it.
        time_zone: where days and texts without an offset are: a name such as `Europe/Berlin`, `local`, or a tzinfo;
            None is the `time_zone` of the settings, else UTC.
        before: the last row of a page, to get the next page.
        filters: as for `query`.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    asked = core.range(since, until, time_zone)
    narrowed = InvocationFilter(
        start_date, end_date, agent_name, tool_name, model_name, status=status,
        session_id=session_id, trace_id=trace_id, run=run, user_id=user_id, since=asked.start, until=asked.end,
        filters=filters,
    )  # fmt: skip
    questions.invocations(narrowed, limit, before=before)  # refuses what is not usable before anything is flushed
    return core.ask(lambda fetch: read_newest(fetch, narrowed, limit, before=before), fresh=fresh)


def get_trace(core: ClientCore, wanted: str | None = None, *, fresh: bool = True) -> Steps[list["TraceRow"]]:
    """The records of a trace, a run or a session as a tree: each after the one that holds it.

    Rows have all columns of `get_invocations`, and `depth`, `is_call`, `own_ms` (milliseconds without the records
    directly within) and `own_share` (of the time from the first beginning to the last end). Empty where no record has
    the id. Of more than 10,000 records the newest are given.

    Args:
        wanted: a `trace_id`, `run` or `session_id`; None is the newest trace.
        fresh: False reads without flushing first.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """

    def report(fetch: Fetch) -> list["TraceRow"]:
        from llm_service.telemetry.queries.traces import read_trace  # noqa: PLC0415

        return read_trace(fetch, wanted)["rows"]

    return core.ask(report, fresh=fresh)


def get_content(core: ClientCore, invocation_id: str, *, fresh: bool = True) -> Steps[Content | None]:
    """Prompt and response of one call; None where none is stored, as below level `full`.

    Args:
        invocation_id: as the record had it, or as `get_invocations` returned it.
        fresh: False reads without flushing first.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    stored_id = core.engine.redactor.invocation_id(checked_id("invocation_id", invocation_id))
    query = call_content.content(stored_id)
    return core.ask(lambda fetch: call_content.to_content(fetch(query)), fresh=fresh)


def get_statistics(
    core: ClientCore,
    agent_name: str | None = None,
    days: float = 7,
    *,
    tool_name: str | None = None,
    model_name: str | None = None,
    since: date | str | None = None,
    until: date | str | None = None,
    time_zone: str | tzinfo | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps[Statistics]:
    """Counts, sums and latency percentiles of the last `days` days, a rolling window up to the newest record.

    Sums are exact; percentiles are within 2.2 %. Every count and sum is a number, 0 or 0.0 on an empty file. `since`,
    `until` and `time_zone` say what range they cover, `deleted_invocations` how many calls of it are gone.

    Args:
        days: of 24 hours; above 0, up to 36,500; fractions are taken.
        since, until, time_zone: a range in place of `days`, as for `get_invocations`. An end of it whose records are
            deleted already is widened to its whole UTC day, as the answer's `since` and `until` say.
        agent_name, tool_name, model_name, fresh: as for `get_daily_costs`.
        filters: as for `query`.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    questions.check_days(days)
    names = InvocationFilter(agent_name=agent_name, tool_name=tool_name, model_name=model_name, filters=filters)
    asked = core.range(since, until, time_zone)
    if since is None and until is None:
        asked = replace(asked, start=questions.last_days(days, datetime.now(UTC)).start)
    return core.ask(lambda fetch: questions.read_statistics_of(fetch, asked, names)[0], fresh=fresh)


def get_month_report(
    core: ClientCore,
    by: "Sequence[NameKey]" = (),
    month: str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
    *,
    as_of: date | str | None = None,
    forecast: bool = True,
    time_zone: str | tzinfo | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps["MonthReport"]:
    """A month to date against the month before, with a forecast to its end.

    From the daily totals, which stay for ever; days of another zone than UTC from the records, while these are kept
    (days before `utc_days_before` are UTC days). Calls without a known cost are counted in `unpriced` beside each
    sum, and a forecast says of which share of the calls it is.

    Args:
        by: any of `agent`, `tool`, `model`, each once; none for totals alone.
        month: `YYYY-MM`; default the present one. One that is over counts whole and has no forecast.
        as_of: a day, in place of `month`: its month as it stood at the end of that day.
        forecast: False leaves it out.
        time_zone: where days and months are, as for `get_invocations`.
        agent_name, tool_name, model_name, filters, fresh: as for `get_daily_costs`.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    asked = core.range(None, None, time_zone)

    def report(fetch: Fetch) -> "MonthReport":
        from llm_service.telemetry.queries.months import read_month  # noqa: PLC0415

        names = InvocationFilter(agent_name=agent_name, tool_name=tool_name, model_name=model_name, filters=filters)
        now = datetime.now(UTC)
        return read_month(fetch, now, by, month, as_of, names, with_forecast=forecast, zone=asked.zone)

    return core.ask(report, fresh=fresh)


def get_unit_costs(
    core: ClientCore,
    by: "Sequence[RecordKey]" = (),
    start_date: date | str | None = None,
    end_date: date | str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
    *,
    prices: "RatesOf | None" = None,
    since: date | str | None = None,
    until: date | str | None = None,
    time_zone: str | tzinfo | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps["UnitReport"]:
    """Costs per call, per 1,000 tokens and per success; what failures wasted, what caches saved, what was retried.

    From records, which are kept for `retention_days`: `deleted_invocations` counts the calls of the window that
    are gone.

    Args:
        by: any of `agent`, `tool`, `model`, `request_model` (the model asked for), each once; none for totals alone.
        prices: what cache savings are counted by; None takes those of this logger.
        start_date, end_date, agent_name, tool_name, model_name, fresh: as for `get_daily_costs`.
        since, until, time_zone: as for `get_invocations`.
        filters: as for `query`.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    asked = core.range(since, until, time_zone)

    def report(fetch: Fetch) -> "UnitReport":
        from llm_service.telemetry.queries.unit_costs import read_unit_costs  # noqa: PLC0415

        narrowed = InvocationFilter(
            start_date, end_date, agent_name, tool_name, model_name,
            since=asked.start, until=asked.end, filters=filters,
        )  # fmt: skip
        return read_unit_costs(fetch, by, narrowed, prices=prices or core.prices)

    return core.ask(report, fresh=fresh)


def get_coverage(
    core: ClientCore,
    start_date: date | str | None = None,
    end_date: date | str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
    *,
    since: date | str | None = None,
    until: date | str | None = None,
    time_zone: str | tzinfo | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps["CoverageReport"]:
    """How much of the calls and tokens has a known cost, by its source, and the models that have none.

    From records, as `get_unit_costs`.

    Args:
        start_date, end_date, agent_name, tool_name, model_name, fresh: as for `get_daily_costs`.
        since, until, time_zone: as for `get_invocations`.
        filters: as for `query`.

    Raises:
        QueryError, CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    asked = core.range(since, until, time_zone)

    def report(fetch: Fetch) -> "CoverageReport":
        from llm_service.telemetry.queries.cost_coverage import read_coverage  # noqa: PLC0415

        narrowed = InvocationFilter(
            start_date, end_date, agent_name, tool_name, model_name,
            since=asked.start, until=asked.end, filters=filters,
        )  # fmt: skip
        return read_coverage(fetch, narrowed)

    return core.ask(report, fresh=fresh)
