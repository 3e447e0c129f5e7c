"""Reports over `daily_costs` whose cells hold what SQLite can hold: unknown, and named; a sum beyond 64 bits stays."""

import logging
import re
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.slices import quick

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries import cells, daily_sums
from llm_service.telemetry.queries.costs import CostSums, read_costs
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.stores.sqlite.reader import read

ODD = ("'abc'", "x'00ff'", "1e300", "0.5")
REPORTS: dict[str, Any] = {
    "statistics": lambda logger: (
        (one := logger.get_statistics())
        and {
            "unpriced": one["unpriced_invocations"],
            "uncounted": one["uncounted_invocations"],
            "cost": one["total_cost_usd"],
            "calls": one["total_invocations"],
        }
    ),
    "month": lambda logger: (
        (one := logger.get_month_report()["totals"]["to_date"])
        and {
            "unpriced": one["unpriced"],
            "uncounted": one["uncounted"],
            "cost": one["total_cost_usd"],
            "calls": one["invocations"],
        }
    ),
    "costs": lambda logger: (
        (one := read(logger.db_path, lambda fetch: read_costs(fetch, ["day"], InvocationFilter()))["totals"])
        and {
            "unpriced": one["unpriced"],
            "uncounted": one["uncounted"],
            "cost": one["total_cost_usd"],
            "calls": one["invocations"],
        }
    ),
}
SUMMED = {
    "statistics": tuple(cells.ADDED_BY_A_CALL),
    "month": CostSums.__annotations__,  # it adds up the same rows
    "costs": CostSums.__annotations__,
}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Two calls of one agent, and one of another a while ago."""
    path = tmp_path / "telemetry.db"
    now = datetime.now(UTC)
    if (now - timedelta(minutes=15)).month != now.month:
        pytest.skip("a while ago was another month")
    with TelemetryLogger(path) as logger:
        for agent, moment in (("bot", now), ("bot", now), ("other", now - timedelta(minutes=15))):
            logger.log_invocation(
                InvocationRecord(timestamp=moment, agent_name=agent, cost_usd=7, prompt_tokens=5, completion_tokens=5)
            )
    return path


def spoil(path: Path, column: str, value: str) -> None:
    """Put a value into the rows of `bot`."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(f"UPDATE daily_costs SET {column} = {value} WHERE agent_name = 'bot'")
        connection.execute(f"UPDATE quarter_hours SET {column} = {value} WHERE invocations = 2")


def test_every_summed_column_is_looked_at(db: Path) -> None:
    """The list is that of the table."""
    with closing(sqlite3.connect(db)) as connection:
        columns = {row[1]: row[2] for row in connection.execute("PRAGMA table_info(daily_costs)")}
    assert {name for name, kind in columns.items() if kind == "INTEGER"} - {"id"} == set(daily_sums.NUMBERS)


@pytest.mark.parametrize("report", quick(REPORTS, every=4))
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("column", daily_sums.NUMBERS)
def test_a_cell_that_holds_no_number_makes_its_calls_unknown(
    column: str, value: str, report: str, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And is named in one warning."""
    spoil(db, column, value)
    with TelemetryLogger(db) as logger, caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        found = REPORTS[report](logger)
    is_read = column in SUMMED[report]
    assert found["unpriced"] == (2 if column == "cost_nanos" else 0)
    assert found["uncounted"] == (2 if is_read and column in daily_sums.TOKENS else 0)
    assert found["cost"] == (7 if column == "cost_nanos" else 21)
    assert found["calls"] == (1 if column == "invocations" else 3)
    said = [record.getMessage() for record in caplog.records]
    assert bool(said) is is_read
    assert all(re.search(f"of (daily_costs|quarter_hours) holds in {column} ", text) for text in said)


@pytest.mark.parametrize("report", REPORTS)
def test_a_sum_beyond_64_bits_is_told(report: str, db: Path) -> None:
    """In one row, where SQLite makes a real of it, and over several."""
    spoil(db, "cost_nanos", "9300000000000000000 + 1000000000")
    with TelemetryLogger(db) as logger:
        found = REPORTS[report](logger)
    assert (found["cost"], found["unpriced"]) == (9_300_000_008.0, 0)
