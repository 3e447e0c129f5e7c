"""Reading a database for a report, without ever making one: a file that does not exist is an error here."""

import os
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TypedDict, TypeVar

from llm_service import __version__
from llm_service.errors import StoreError
from llm_service.telemetry.queries import questions
from llm_service.telemetry.queries.budget_status import BudgetHold, read_holds
from llm_service.telemetry.queries.cache_savings import RatesOf
from llm_service.telemetry.queries.call_content import Content, content, to_content
from llm_service.telemetry.queries.cost_coverage import CoverageReport, read_coverage
from llm_service.telemetry.queries.costs import COST_KEYS, CostKey, CostReport, read_costs
from llm_service.telemetry.queries.file_facts import file_sizes, read_contents
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.grouping import NameKey
from llm_service.telemetry.queries.months import MonthReport, read_month
from llm_service.telemetry.queries.pages import find_invocation
from llm_service.telemetry.queries.questions import InvocationRow, Statistics
from llm_service.telemetry.queries.unit_costs import UnitReport, read_unit_costs
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.file_identity import require_telemetry
from llm_service.telemetry.stores.sqlite.migrations import VERSION
from llm_service.telemetry.stores.sqlite.purge_steps import PurgeResult, count_old
from llm_service.telemetry.stores.sqlite.reader import read

__all__ = [
    "Info",
    "costs",
    "count_records",
    "coverage",
    "existing",
    "holds",
    "info",
    "invocation",
    "invocations",
    "looked_after",
    "month",
    "newest_call",
    "statistics",
    "units",
]

_T = TypeVar("_T")


class Info(TypedDict):
    """What a file is and holds; sizes in bytes, times as UTC text, None where there are no calls."""

    db_path: str
    database_bytes: int
    wal_bytes: int
    shm_bytes: int
    records: int
    first_timestamp: str | None
    last_timestamp: str | None
    schema_version: int
    known_schema_version: int
    journal_mode: str
    page_size: int
    page_count: int
    free_pages: int
    auto_vacuum: str
    tables: dict[str, int]
    libraries: dict[str, str]


def existing(path: Path) -> Path:
    """The path, if there is something to read.

    Raises:
        StoreError: there is nothing.
    """
    if not os.path.lexists(path):
        raise StoreError(f"{path} does not exist; give a telemetry database with --db PATH or --config PATH", path)
    return path


def looked_after(path: Path) -> Path:
    """The path, if a command that changes what is stored may open it: it must be a database of telemetry already.

    Raises:
        StoreError: there is nothing, or something that is not ours to change.
    """
    require_telemetry(path)
    return path


def _ask(path: Path, question: Callable[[Fetch], _T]) -> _T:
    return read(existing(path), question)


def holds(path: Path) -> list[BudgetHold]:
    """What is held; nothing in a file of an older version."""
    now = datetime.now(UTC)

    def question(fetch: Fetch) -> list[BudgetHold]:
        there = fetch(("SELECT 1 FROM sqlite_master WHERE name = 'budget_holds'", []))
        return read_holds(fetch, now) if there else []

    return _ask(path, question)


def old(path: Path, first_kept: str) -> PurgeResult:
    """What a purge of all before that UTC day would delete."""
    return _ask(path, lambda fetch: count_old(fetch, first_kept))


def count_records(path: Path) -> int:
    """How many calls are stored."""
    ((count,),) = _ask(path, lambda fetch: fetch(("SELECT count(*) FROM invocations", [])))
    return int(count)


def costs(
    path: Path,
    by: Sequence[CostKey] = COST_KEYS,
    since: date | None = None,
    until: date | None = None,
    names: Sequence[str | None] = (None, None, None),
) -> CostReport:
    """See `read_costs`; both days are inclusive, `names` are agent, tool and model."""
    return _ask(path, lambda fetch: read_costs(fetch, by, since, until, *names))


def month(
    path: Path,
    by: Sequence[NameKey],
    month: str | None,
    as_of: date | None,
    names: Sequence[str | None],
    *,
    with_forecast: bool,
) -> MonthReport:
    """See `read_month`; `names` are agent, tool and model."""
    now = datetime.now(UTC)
    return _ask(path, lambda fetch: read_month(fetch, now, by, month, as_of, *names, with_forecast=with_forecast))


def units(
    path: Path,
    by: Sequence[NameKey],
    days: tuple[date | None, date | None],
    names: Sequence[str | None],
    prices: RatesOf,
) -> UnitReport:
    """See `read_unit_costs`; both days are inclusive, `names` are agent, tool and model."""
    return _ask(path, lambda fetch: read_unit_costs(fetch, by, *days, *names, prices=prices))


def coverage(path: Path, since: date | None, until: date | None, names: Sequence[str | None]) -> CoverageReport:
    """See `read_coverage`; both days are inclusive, `names` are agent, tool and model."""
    return _ask(path, lambda fetch: read_coverage(fetch, since, until, *names))


def statistics(path: Path, start: datetime, names: Sequence[str | None] = (None, None, None)) -> Statistics:
    """See `TelemetryLogger.get_statistics`: from a moment on; `names` are agent, tool and model."""
    return _ask(path, lambda fetch: questions.read_statistics_since(fetch, start, *names))


def newest_call(path: Path, names: Sequence[str | None] = (None, None, None)) -> str | None:
    """When the newest call began, as it is stored (UTC); None where there is none of these names."""
    agent_name, tool_name, model_name = names
    narrowed = InvocationFilter(agent_name=agent_name, tool_name=tool_name, model_name=model_name)
    found = invocations(path, narrowed, limit=1)
    return found[0]["timestamp"] if found else None


def window_start(days: float) -> datetime:
    """The moment so many days ago.

    Raises:
        QueryError: `days` is no number above 0 and up to 36,500.
    """
    questions.check_days(days)
    return datetime.now(UTC) - timedelta(days=days)


def invocations(path: Path, narrowed: InvocationFilter, limit: int = 20) -> list[InvocationRow]:
    """See `TelemetryLogger.get_invocations`: the newest calls that the filter lets through."""
    query = questions.invocations(narrowed, limit)
    return _ask(path, lambda fetch: questions.to_invocations(fetch(query)))


def invocation(path: Path, wanted: str) -> tuple[InvocationRow, Content] | None:
    """See `find_invocation`: one call with what was said in it."""

    def question(fetch: Fetch) -> tuple[InvocationRow, Content] | None:
        row = find_invocation(fetch, wanted)
        if row is None:
            return None
        invocation_id = row["invocation_id"]
        found = to_content(fetch(content(invocation_id)))
        return row, found or Content(invocation_id=invocation_id, prompt=None, response=None)

    return _ask(path, question)


def info(path: Path) -> Info:
    """Facts about a file."""
    contents = _ask(path, read_contents)
    sizes = file_sizes(path)
    return Info(
        db_path=str(path),
        database_bytes=sizes.database,
        wal_bytes=sizes.wal,
        shm_bytes=sizes.shm,
        records=contents.tables.get("invocations", 0),
        first_timestamp=contents.first_timestamp,
        last_timestamp=contents.last_timestamp,
        schema_version=contents.schema_version,
        known_schema_version=VERSION,
        journal_mode=contents.journal_mode,
        page_size=contents.page_size,
        page_count=contents.page_count,
        free_pages=contents.free_pages,
        auto_vacuum=contents.auto_vacuum,
        tables=contents.tables,
        libraries={"llm-service-telemetry": __version__} | contents.libraries,
    )
