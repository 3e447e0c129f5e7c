"""Reading a database for a report, without ever making one: a file that does not exist is an error here."""

from datetime import UTC, date, datetime
from pathlib import Path

from llm_service.errors import StoreError
from llm_service.telemetry import queries
from llm_service.telemetry.queries import DailyCost, InvocationRow, Statistics
from llm_service.telemetry.stores.reader import read

__all__ = ["Moment", "count_records", "daily_costs", "existing", "invocations", "statistics"]

Moment = date | datetime
"""A whole UTC day, or (a datetime, which is also a date) an exact moment."""


def existing(path: Path) -> Path:
    """The path, if there is a file.

    Raises:
        StoreError: there is none.
    """
    if not path.exists():
        raise StoreError(f"{path} does not exist; give a telemetry database with --db PATH or --config PATH", path)
    return path


def count_records(path: Path) -> int:
    """How many calls are stored."""
    ((count,),) = read(existing(path), lambda fetch: fetch(("SELECT count(*) FROM invocations", [])))
    return int(count)


def daily_costs(
    path: Path,
    since: date | None = None,
    until: date | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
) -> list[DailyCost]:
    """See `TelemetryLogger.get_daily_costs`; both days are inclusive."""
    query = queries.daily_costs(since, until, agent_name, tool_name, model_name)
    return read(existing(path), lambda fetch: queries.to_daily_costs(fetch(query)))


def statistics(
    path: Path,
    days: float,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
) -> Statistics:
    """See `TelemetryLogger.get_statistics`: the last `days` days."""
    now = datetime.now(UTC)
    return read(
        existing(path), lambda fetch: queries.read_statistics(fetch, now, days, agent_name, tool_name, model_name)
    )


def invocations(
    path: Path,
    since: Moment | None = None,
    until: Moment | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    model_name: str | None = None,
    status: str | None = None,
    session_id: str | None = None,
    limit: int = 20,
) -> list[InvocationRow]:
    """See `TelemetryLogger.get_invocations`; days are inclusive, of moments the latter is not."""
    since_day, since_moment = _day_or_moment(since)
    until_day, until_moment = _day_or_moment(until)
    query = queries.invocations(
        since_day, until_day, agent_name, tool_name, status, limit,
        model_name=model_name, session_id=session_id, since=since_moment, until=until_moment,
    )  # fmt: skip
    return read(existing(path), lambda fetch: queries.to_invocations(fetch(query)))


def _day_or_moment(value: Moment | None) -> tuple[date | None, datetime | None]:
    return (None, value) if isinstance(value, datetime) else (value, None)
