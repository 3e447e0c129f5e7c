"""Reports about money on both faces: the same arguments, the same keys, and you read your own writes."""

import inspect
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llm_service.errors import QueryError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger

NAMES = ("get_month_report", "get_unit_costs", "get_coverage")


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Two calls today, one of them of an unknown price, and one 20 days ago."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        now = datetime.now(UTC)
        for ago, model, cost in ((0, "m", 0.5), (0, "who", None), (20, "m", 1.5)):
            telemetry.log_invocation(
                InvocationRecord(
                    agent_name="a",
                    model_name=model,
                    total_tokens=100,
                    cost_usd=cost,
                    timestamp=now - timedelta(days=ago),
                )
            )
    return path


@pytest.mark.parametrize("name", NAMES)
def test_both_faces_take_the_same_arguments(name: str) -> None:
    """In the same order, with the same defaults."""
    one, other = (inspect.signature(getattr(face, name)) for face in (TelemetryLogger, AsyncTelemetryLogger))
    assert one == other


async def test_both_faces_give_the_same_reports(db: Path) -> None:
    """Narrowed and grouped."""
    today = datetime.now(UTC).date()
    async with AsyncTelemetryLogger(db, retention_days=None) as telemetry:
        units = await telemetry.get_unit_costs(("model",), start_date=today, end_date=today, agent_name="a")
        coverage = await telemetry.get_coverage(start_date=today, agent_name="a")
        month = await telemetry.get_month_report(("agent",), as_of=today - timedelta(days=1), model_name="m")
    with TelemetryLogger(db, retention_days=None) as logger:
        assert units == logger.get_unit_costs(("model",), start_date=today, end_date=today, agent_name="a")
        assert coverage == logger.get_coverage(start_date=today, agent_name="a")
        assert month == logger.get_month_report(("agent",), as_of=today - timedelta(days=1), model_name="m")
    assert [(row["model_name"], row["unpriced"]) for row in units["rows"]] == [("m", 0), ("who", 1)]
    assert (coverage["invocations"], coverage["priced"]) == (2, 1)
    assert month["totals"]["forecast"] is None or month["totals"]["forecast"]["days_used"] == 20


async def test_what_was_accepted_before_is_in_them_unless_one_does_not_want_to_wait(tmp_path: Path) -> None:
    """A flush comes first; `fresh=False` reads what is there."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", flush_interval=60) as telemetry:
        await telemetry.log_invocation(InvocationRecord(cost_usd=1))
        assert (await telemetry.get_unit_costs(fresh=False))["totals"]["invocations"] == 0
        assert (await telemetry.get_coverage(fresh=False))["invocations"] == 0
        assert (await telemetry.get_month_report(fresh=False))["totals"]["to_date"]["invocations"] == 0
        assert (await telemetry.get_month_report())["totals"]["to_date"]["invocations"] == 1
        assert (await telemetry.get_unit_costs())["totals"]["invocations"] == 1
        assert (await telemetry.get_coverage())["invocations"] == 1


async def test_what_caches_saved_is_counted_by_the_prices_of_the_logger_or_those_given(tmp_path: Path) -> None:
    """Both faces: half of a million tokens, read at 1 in place of 10 USD."""
    models = tmp_path / "models.yaml"
    models.write_text("models:\n  mine:\n    cost_per_1m_tokens: {input: 10, output: 10, cached_input: 1}\n")
    record = InvocationRecord(
        model_name="mine", prompt_tokens=10**6, completion_tokens=0, cache_read_tokens=500_000, cost_usd=5.5
    )
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", models=models) as telemetry:
        await telemetry.log_invocation(record)
        assert (await telemetry.get_unit_costs())["totals"]["cache_saved_usd"] == 4.5
        assert (await telemetry.get_unit_costs(prices=PriceBook()))["totals"]["cache_saved_usd"] is None
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        assert logger.get_unit_costs()["totals"]["cache_saved_usd"] is None
        assert logger.get_unit_costs(prices=telemetry.prices)["totals"]["cache_saved_usd"] == 4.5


def test_a_month_without_its_forecast(db: Path) -> None:
    """The name of the month that is over, and no forecast asked for."""
    with TelemetryLogger(db, retention_days=None) as telemetry:
        assert telemetry.get_month_report(forecast=False)["totals"]["forecast"] is None
        with pytest.raises(QueryError, match="month: 'soon'"):
            telemetry.get_month_report(month="soon")


def test_a_logger_that_stores_nothing_reports_nothing(tmp_path: Path) -> None:
    """Zeros, and no file."""
    with TelemetryLogger(tmp_path / "telemetry.db", enabled=False) as telemetry:
        assert telemetry.get_unit_costs()["totals"]["invocations"] == 0
        assert telemetry.get_month_report()["totals"]["to_date"]["invocations"] == 0
        assert telemetry.get_coverage()["invocations"] == 0
    assert list(tmp_path.iterdir()) == []
