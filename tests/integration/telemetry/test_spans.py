"""A span is a row and no call: an agent block around two calls makes totals of two calls, wherever rows are counted."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, policies
from tests.older_files import as_version_5

from llm_service.config.schemas import ModelsConfig
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.daily_totals import add_bucket_function, differences
from llm_service.telemetry.maintenance.repricing import reprice
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.queries.cells import IS_CALL
from llm_service.telemetry.queries.estimate_samples import answers_after, to_answers
from llm_service.telemetry.record.operations import SPANS, is_span
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

_FIRST_OF_MONTH = datetime.now(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)
NOW = max(datetime.now(UTC) - timedelta(minutes=5), _FIRST_OF_MONTH)
TODAY = NOW.date().isoformat()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database."""
    return tmp_path / "t.db"


@pytest.fixture
def logger(db: Path) -> Iterator[TelemetryLogger]:
    """A logger of every content, closed afterwards."""
    with TelemetryLogger(db, models=False, policies=False, privacy_level="full") as made:
        yield made


def agent_with_two_calls(logger: TelemetryLogger, operation: str | None = "agent") -> None:
    """A failed agent of 9 seconds, with a success of 1 second and 0.25 USD, and a failure of 2 seconds and no cost."""
    said: dict[str, Any] = {} if operation is None else {
        "operation": operation, "total_tokens": 900, "cost_usd": 9, "prompt": "x" * 900, "prompt_tokens": 900,
        "model_name": "m",
    }  # fmt: skip
    with logger.invocation("planner", status="error", latency_ms=9000, timestamp=NOW, **said):
        with logger.invocation("worker", model_name="m", latency_ms=1000, timestamp=NOW) as call:
            call.record_usage(prompt_tokens=10, completion_tokens=5, cost_usd=0.25)
        with logger.invocation("worker", model_name="m", latency_ms=2000, timestamp=NOW, status="error"):
            pass


def check_totals(path: Path) -> None:
    """No day differs from its records."""
    with closing(sqlite3.connect(path)) as connection:
        migrations.read_as_newest(connection)  # a migration leaves latencies to be packed
        add_bucket_function(connection)
        assert list(differences(connection, TODAY)) == []


def test_sql_and_python_say_the_same_of_each_operation() -> None:
    """Of those that are spans, of others, and of none."""
    with closing(sqlite3.connect(":memory:")) as connection:
        for operation in (*SPANS, "chat", "embeddings", "Agent", "", None, "x'y"):
            (is_call,) = connection.execute(f"SELECT {IS_CALL} FROM (SELECT ? AS operation)", (operation,)).fetchone()
            assert bool(is_call) is not is_span(operation)


@pytest.mark.parametrize("operation", [*sorted(SPANS), None])
def test_totals_are_those_of_the_two_calls(db: Path, logger: TelemetryLogger, operation: str | None) -> None:
    """In daily totals, statistics and every report; a block that only holds calls is a span by itself."""
    agent_with_two_calls(logger, operation)
    rows = {row["agent_name"]: row for row in logger.get_invocations()}
    assert rows["planner"]["operation"] == (operation or "chain")
    assert len(logger.get_invocations()) == 3
    (daily,) = logger.get_daily_costs()
    expected = {"agent_name": "worker", "invocations": 2, "errors": 1, "total_tokens": 15, "unpriced": 1,
                "uncounted": 1, "cost_nanos": 250_000_000, "latency_count": 2, "latency_us_sum": 3_000_000}  # fmt: skip
    assert {key: daily[key] for key in expected} == expected  # type: ignore[literal-required]
    for days in (7, 0.1):  # by daily totals, and by rows
        statistics = logger.get_statistics(days=days)
        assert (statistics["total_invocations"], statistics["success_rate"]) == (2, 0.5)
        assert (statistics["total_cost_usd"], statistics["unpriced_invocations"]) == (0.25, 1)
        assert statistics["avg_latency_ms"] == 1500
        assert statistics["p99_latency_ms"] == pytest.approx(2000, rel=0.03)
    units = logger.get_unit_costs()
    assert (units["totals"]["invocations"], units["totals"]["errors"], units["deleted_invocations"]) == (2, 1, 0)
    coverage = logger.get_coverage()
    assert (coverage["invocations"], coverage["priced"], coverage["deleted_invocations"]) == (2, 1, 0)
    month = logger.get_month_report()
    assert month["totals"]["to_date"]["invocations"] == 2
    check_totals(db)
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("SELECT count(*) FROM prompt_sizes").fetchone() == (0,)
        assert len(to_answers(connection.execute(*answers_after(0, 99, 99)))) == 1
        assert connection.execute("SELECT sum(invocations) FROM latency_counts").fetchone() == (2,)


def test_a_call_that_holds_a_tool_stays_a_call(logger: TelemetryLogger) -> None:
    """And so does one that says a model, whatever it holds, but for the call of a hook or a framework."""
    with logger.invocation("asks"), logger.invocation("tool", operation="tool"):
        pass
    with logger.invocation("names", model_name="m"), logger.invocation("inner"):
        pass
    operations = {row["agent_name"]: row["operation"] for row in logger.get_invocations()}
    assert operations == {"asks": None, "tool": "tool", "names": None, "inner": None}
    assert logger.get_statistics()["total_invocations"] == 3


def test_budgets_count_the_money_that_a_span_tells(db: Path) -> None:
    """They fail closed: what a span says that it costs is spent."""
    with TelemetryLogger(db, models=False, policies=policies(default=100)) as logger:
        agent_with_two_calls(logger)
        (day,) = [status for status in logger.budgets.status() if status["metric"] == "usd"]
        assert (day["spent"], day["calls"], day["unpriced_calls"]) == (9.25, 2, 1)
        check_books(db)


def test_reprice_leaves_spans_out_of_totals(db: Path) -> None:
    """Their own cost follows the price, and budgets follow that."""
    with TelemetryLogger(db, models=False, policies=policies(default=100)) as logger:
        for operation in ("agent", "chat"):
            logger.log_invocation(
                InvocationRecord(model_name="m", operation=operation, prompt_tokens=100, completion_tokens=0)
            )
        logger.log_invocation(InvocationRecord(model_name="unknown", operation="agent"))
    book = PriceBook(
        ModelsConfig.model_validate({"models": {"m": {"cost_per_1m_tokens": {"input": 1000, "output": 0}}}})
    )
    report = reprice(db, book)
    assert (report.priced, report.unknown, report.unpriced_models) == (1, 0, {})
    with TelemetryLogger(db, models=False, policies=False) as logger:
        (daily,) = logger.get_daily_costs()
        assert (daily["invocations"], daily["total_cost_usd"], daily["unpriced"]) == (1, 0.1, 0)
        assert sorted(row["cost_usd"] or 0 for row in logger.get_invocations()) == [0, 0.1, 0.1]
    check_totals(db)
    check_books(db)


def test_the_migration_takes_spans_out_of_totals_of_kept_days(db: Path) -> None:
    """An older file counted them; days whose records are gone stay as they are."""
    old = "2025-01-01 12:00:00.000000Z"
    with TelemetryLogger(db, models=False, policies=False) as logger:
        agent_with_two_calls(logger)
        logger.log_invocation(InvocationRecord(agent_name="only a span", operation="tool", latency_ms=5, timestamp=NOW))
        agent_with_two_calls(logger)
    now_right = _totals(db)
    _count_spans(db, "only a span")
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("INSERT INTO daily_costs (date, invocations) VALUES ('2025-01-01', 7)")
        connection.execute(
            "INSERT INTO invocations (invocation_id, timestamp, status, operation) VALUES ('late', ?, 'success', 'agent')",
            (old,),
        )
        connection.execute("UPDATE retention SET records_kept_since = '2025-01-02'")
        connection.commit()
    open_for_writing(db, 0).close()
    assert _totals(db) == [("2025-01-01", None, 7), *now_right]
    check_totals(db)
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)


@pytest.mark.parametrize(
    "odd", [("latency_ms", 9e999), ("cost_usd", 9e999), ("latency_ms", "x"), ("total_tokens", "x"), ("cost_usd", b"x")]
)
def test_a_damaged_span_does_not_keep_a_file_from_being_migrated(db: Path, odd: tuple[str, Any]) -> None:
    """What the doctor finds afterwards it repairs."""
    with TelemetryLogger(db, models=False, policies=False) as logger:
        agent_with_two_calls(logger)
    column, value = odd
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(f"UPDATE invocations SET {column} = ? WHERE operation = 'agent'", (value,))
        as_version_5(connection)
        _set_back(connection)
        connection.commit()
    open_for_writing(db, 0).close()
    with closing(sqlite3.connect(db)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)


def test_a_file_that_counted_spans_is_salvaged_without_them(db: Path) -> None:
    """No call is missed for it."""
    with TelemetryLogger(db, models=False, policies=False) as logger:
        for _ in range(2):
            agent_with_two_calls(logger)
    right = _totals(db)
    _count_spans(db)
    report = salvage(db, db.with_name("new.db"))
    assert (report.lost, report.totals_kept) == (0, 0)
    assert _totals(db.with_name("new.db")) == right
    check_totals(db.with_name("new.db"))


def _count_spans(db: Path, *lone: str) -> None:
    """Make it a file of the version before, which counted two agents of `agent_with_two_calls`, and these spans."""
    agents = {"planner": ("m", 2, 2, 1800, 1800, 18 * 10**9, 2, 18_000_000)}
    with closing(sqlite3.connect(db)) as connection:
        as_version_5(connection)
        for agent, row in (agents | dict.fromkeys(lone, (None, 1, 0, 0, 0, 0, 1, 5_000))).items():
            model, calls, errors, prompt, total, nanos, timed, micros = row
            connection.execute(
                "INSERT INTO daily_costs (date, agent_name, model_name, invocations, errors, prompt_tokens, total_tokens,"
                " uncounted, cost_nanos, total_cost_usd, unpriced, latency_count, latency_us_sum)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (TODAY, agent, model, calls, errors, prompt, total, total == 0, nanos, nanos / 1e9, nanos == 0, timed, micros),
            )  # fmt: skip
        add_bucket_function(connection)
        connection.execute(
            "INSERT INTO daily_latency SELECT d.id, telemetry_bucket(i.latency_ms), count(*) FROM invocations AS i"
            " JOIN daily_costs AS d ON d.agent_name = i.agent_name WHERE i.operation IN ('agent', 'tool') GROUP BY 1, 2"
        )
        _set_back(connection)
        connection.commit()


def _set_back(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE schema_version SET version = 4")
    connection.execute("PRAGMA user_version = 4")


def _totals(db: Path) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(db)) as connection:
        sql = "SELECT date, agent_name, invocations FROM daily_costs ORDER BY date, agent_name"
        return connection.execute(sql).fetchall()
