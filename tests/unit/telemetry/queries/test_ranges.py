"""The range of every number column: what the constructor takes, and what readers, estimates and doctor make of it."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from itertools import product
from pathlib import Path

import pytest
from tests.slices import quick

from llm_service.errors import RecordError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repricing import reprice
from llm_service.telemetry.record.fields import CHECKS, RANGES, fields_of_kind

BEYOND = ("1e300", "1e15", "9223372036854775807", "9e999", "-1", "-9223372036854775808")


@pytest.mark.parametrize("column", fields_of_kind("number"))
def test_the_range_of_a_column_is_what_a_record_takes(column: str) -> None:
    """No number field is without one."""
    low, high = RANGES[column]
    for value in (low, high):
        assert CHECKS[column](column, value) == value
    for value in (low - 1, high * 2 + 1):
        with pytest.raises(RecordError):
            CHECKS[column](column, value)


@pytest.mark.parametrize(("column", "value"), quick(product(RANGES, BEYOND), every=5))
def test_a_number_that_no_writer_wrote_is_unknown(column: str, value: str, tmp_path: Path) -> None:
    """It stops no estimate, no budget and no recomputation; rows show it as unknown, and doctor names it."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as logger:
        for _ in range(3):
            logger.log_invocation(
                InvocationRecord(
                    agent_name="a", model_name="gpt-4o", prompt_tokens=5, completion_tokens=5, total_tokens=10,
                    cost_usd=0.1, latency_ms=1.0, ttft_ms=1.0, cost_source="computed", timestamp=datetime.now(UTC),
                )
            )  # fmt: skip
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"UPDATE invocations SET {column} = {value} WHERE id = 3")
        connection.commit()
    policies = tmp_path / "policies.yaml"
    policies.write_text("policies: {default: {daily_budget_usd: 10}}\n", "utf-8")
    with TelemetryLogger(path, policies=policies) as logger:
        logger.estimate("a", model_name="gpt-4o", prompt_tokens=5)
        with logger.invocation("a", model_name="gpt-4o", budget=True, prompt_tokens=5, max_tokens=10):
            pass
        rows = {row["id"]: row for row in logger.get_invocations()}
        assert rows[3][column] is None  # type: ignore[literal-required]
        assert logger.get_statistics()["total_cost_usd"] < 1
    reprice(path, PriceBook(), dry_run=True)
    assert any(finding.name == "odd_values" and column in finding.seen for finding in examine(path, full=True))
