"""Costs by any keys: sums of the daily roll-ups that agree with the records."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path

import pytest

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.costs import COST_KEYS, CostKey, CostReport, read_costs
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.stores.sqlite.reader import read

DAY = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """Twelve calls on three days, of two agents (and none), two models; one unpriced, one uncounted."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        for number in range(12):
            logger.log_invocation(
                InvocationRecord(
                    agent_name=("a", "b", None)[number % 3],
                    tool_name="t",
                    model_name=("m", "n")[number % 2],
                    total_tokens=None if number == 1 else 10 * number,
                    cost_usd=None if number == 2 else 0.1 * number,
                    status="error" if number == 3 else "success",
                    timestamp=DAY + timedelta(days=number % 3),
                )
            )
        yield logger


def report(telemetry: TelemetryLogger, *by: CostKey, **narrowed: str) -> CostReport:
    """Costs of its file."""
    return read(telemetry.db_path, lambda fetch: read_costs(fetch, by or COST_KEYS, InvocationFilter(**narrowed)))


@pytest.mark.parametrize("by", [keys for count in range(1, 5) for keys in permutations(COST_KEYS, count)])
def test_any_keys_in_any_order_sum_to_the_records(telemetry: TelemetryLogger, by: tuple[CostKey, ...]) -> None:
    """Each row is the sum of the records with its values."""
    columns = {"agent": "agent_name", "tool": "tool_name", "model": "model_name"}
    expected: dict[tuple[str | None, ...], list[float]] = {}
    for row in telemetry.get_invocations():
        key = tuple(row["timestamp"][:10] if k == "day" else row[columns[k]] for k in by)  # type: ignore[literal-required]
        counted = expected.setdefault(key, [0, 0, 0.0])
        counted[0] += 1
        counted[1] += row["total_tokens"] or 0
        counted[2] += row["cost_usd"] or 0.0
    found = report(telemetry, *by)
    names = ["date" if k == "day" else columns[k] for k in by]
    assert {
        tuple(row[name] for name in names): [
            row["invocations"],
            row["total_tokens"],
            pytest.approx(row["total_cost_usd"]),
        ]
        for row in found["rows"]
    } == expected
    assert found["totals"]["invocations"] == 12


def test_how_much_is_known_stands_beside_the_totals(telemetry: TelemetryLogger) -> None:
    """One call has no cost, one no tokens."""
    found = report(telemetry, "day")
    assert (found["priced"], found["totals"]["uncounted"], found["totals"]["errors"]) == (11, 1, 1)
    assert (found["first_day"], found["last_day"]) == ("2026-11-20", "2026-11-22")
    assert found["totals"]["cost_nanos"] == 6_400_000_000


def test_days_are_newest_first_names_alphabetical_and_a_last_name_by_cost(telemetry: TelemetryLogger) -> None:
    """What costs most is what one looks for."""
    assert [row["date"] for row in report(telemetry, "day")["rows"]] == ["2026-11-22", "2026-11-21", "2026-11-20"]
    by_cost = [row["cost_nanos"] for row in report(telemetry, "agent")["rows"]]
    assert by_cost == sorted(by_cost, reverse=True)
    assert [row["agent_name"] for row in report(telemetry, "agent", "model")["rows"]] == [
        None,
        None,
        "a",
        "a",
        "b",
        "b",
    ]


def test_filters_narrow_rows_totals_and_days(telemetry: TelemetryLogger) -> None:
    """All three speak of the same calls."""
    found = report(telemetry, "model", agent_name="a", start_date="2026-11-20", end_date="2026-11-20")
    assert found["totals"]["invocations"] == sum(row["invocations"] for row in found["rows"]) == 4
    assert (found["first_day"], found["last_day"]) == ("2026-11-20", "2026-11-20")


def test_an_empty_file_has_totals_of_zero(tmp_path: Path) -> None:
    """Numbers, not None."""
    found = read(tmp_path / "absent.db", lambda fetch: read_costs(fetch, COST_KEYS, InvocationFilter()))
    assert (found["rows"], found["totals"]["total_cost_usd"], found["first_day"]) == ([], 0.0, None)


@pytest.mark.parametrize("by", [(), ("day", "day"), ("week",)])
def test_keys_that_are_none_are_refused(telemetry: TelemetryLogger, by: tuple[CostKey, ...]) -> None:
    """Naming them, and those that there are."""
    with pytest.raises(QueryError, match=r"by: .* give one or more of day, agent, tool, model"):
        read(telemetry.db_path, lambda fetch: read_costs(fetch, by, InvocationFilter()))
