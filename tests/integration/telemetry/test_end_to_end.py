"""From a record to an answer, through every layer, as a user meets it."""

import asyncio
import sqlite3
import uuid
from datetime import date, timedelta
from pathlib import Path

import pytest

from llm_service.config.schemas import TelemetryConfig
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger


def test_the_quick_reference_runs_unchanged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls, arguments and keys that users have learnt."""
    monkeypatch.setenv("HOME", str(tmp_path))

    logger = TelemetryLogger(db_path=Path.home() / ".llm-service" / "telemetry.db", privacy_level="metadata")
    logger.log_invocation(InvocationRecord(invocation_id=str(uuid.uuid4()), agent_name="backend-dev", tool_name="claude-code",
        model_name="claude-3.5-sonnet", prompt_tokens=100, completion_tokens=200, total_tokens=300, cost_usd=0.015,
        latency_ms=1500, status="success"))  # fmt: skip
    costs = logger.get_daily_costs(start_date=date.today() - timedelta(days=7), end_date=date.today() + timedelta(days=1), agent_name="backend-dev")  # fmt: skip  # noqa: DTZ011
    rows = logger.get_invocations(start_date=None, end_date=None, agent_name="backend-dev", tool_name="claude-code", status="success", limit=100)  # fmt: skip
    statistics = logger.get_statistics(agent_name="backend-dev", days=7)
    config = TelemetryConfig(enabled=True, db_path="~/.llm-service/telemetry.db", privacy_level="metadata", retention_days=30)  # fmt: skip
    with sqlite3.connect(logger.db_path) as conn:
        by_agent = conn.execute("SELECT agent_name, SUM(total_cost_usd) FROM daily_costs WHERE date >= date('now','-7 days') GROUP BY agent_name").fetchall()  # fmt: skip
    conn.close()
    logger.close()

    assert [(day["agent_name"], day["tool_name"], day["model_name"], day["invocations"]) for day in costs] == [
        ("backend-dev", "claude-code", "claude-3.5-sonnet", 1)
    ]
    assert f"{costs[0]['total_cost_usd']:.2f} {costs[0]['total_tokens']}" == "0.01 300"
    assert [(row["status"], row["total_tokens"], row["privacy_level"]) for row in rows] == [
        ("success", 300, "metadata")
    ]
    assert statistics["total_invocations"] == 1
    assert statistics["success_rate"] == 1.0
    assert statistics["avg_latency_ms"] == 1500.0
    assert statistics["error_count"] == 0
    assert config.get_db_path() == logger.db_path == tmp_path / ".llm-service" / "telemetry.db"
    assert by_agent == [("backend-dev", 0.015)]


def test_the_names_can_be_imported_from_the_logger_module() -> None:
    """Both import paths are promised."""
    from llm_service.telemetry import logger

    assert (logger.TelemetryLogger, logger.InvocationRecord) == (TelemetryLogger, InvocationRecord)


def test_every_name_of_the_package_can_be_had_and_no_other() -> None:
    """Some are imported when they are asked for; a mistyped one says so as of any module."""
    import llm_service.telemetry as package

    names = {name: getattr(package, name) for name in package.__all__}
    assert {name: value.__name__ for name, value in names.items()} == {name: name for name in names}
    with pytest.raises(AttributeError, match=r"'llm_service\.telemetry' has no attribute 'Estimates'"):
        package.Estimates  # noqa: B018


async def test_an_agent_run_is_told_from_end_to_end(tmp_path: Path) -> None:
    """Nested blocks, failures, usage and parents, through queue, writer, store and queries."""
    async with AsyncTelemetryLogger(tmp_path / "agents.db") as telemetry:
        async with telemetry.invocation("planner", "runtime", "big-model", session_id="s1") as plan:
            plan.record_usage(prompt_tokens=100, completion_tokens=50, cost_usd=0.25)

            async def work(number: int) -> None:
                async with telemetry.invocation(f"worker-{number}", "runtime", "small-model", session_id="s1") as call:
                    call.first_token()
                    call.record_usage(prompt_tokens=10, completion_tokens=5, cost_usd=0.01)
                    if number == 2:
                        raise TimeoutError("too slow")

            results = await asyncio.gather(*(work(number) for number in range(3)), return_exceptions=True)
        assert [type(result) for result in results] == [type(None), type(None), TimeoutError]

        rows = await telemetry.get_invocations(session_id="s1")
        statistics = await telemetry.get_statistics(days=1)
        costs = await telemetry.get_daily_costs()

    assert {row["agent_name"]: row["parent_invocation_id"] for row in rows} == {
        "planner": None, "worker-0": plan.invocation_id, "worker-1": plan.invocation_id, "worker-2": plan.invocation_id,
    }  # fmt: skip
    assert {row["agent_name"]: row["status"] for row in rows if row["status"] != "success"} == {"worker-2": "timeout"}
    assert all(
        row["ttft_ms"] is not None and row["ttft_ms"] <= row["latency_ms"]
        for row in rows
        if "w" in row["agent_name"][0]
    )
    assert statistics["total_invocations"] == 4
    assert statistics["timeout_count"] == 1
    assert statistics["total_cost_usd"] == 0.28
    assert statistics["total_tokens"] == 195
    assert sum(day["invocations"] for day in costs) == 4
    assert telemetry.stats().ledger.written == 4


async def test_both_faces_share_one_file(tmp_path: Path) -> None:
    """A script and an agent runtime write the same tables, and each reads what the other committed."""
    path = tmp_path / "shared.db"
    with TelemetryLogger(path) as script:
        async with AsyncTelemetryLogger(path) as agent:
            for number in range(50):
                script.log_invocation(InvocationRecord(agent_name="script", cost_usd=0.001))
                await agent.log_invocation(
                    InvocationRecord(agent_name="agent", cost_usd=0.001), durable=number % 10 == 0
                )
            await agent.flush()
            assert script.get_statistics()["total_invocations"] == 100
            assert (await agent.get_statistics(agent_name="script"))["total_cost_usd"] == 0.05
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT sum(invocations), sum(cost_nanos) FROM daily_costs").fetchone() == (100, 10**8)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.parametrize("options", [{"enabled": False}, {"privacy_level": "none"}])
async def test_switched_off_every_call_works_and_nothing_is_created(tmp_path: Path, options: dict[str, object]) -> None:
    """An agent need not know whether telemetry is on."""
    path = tmp_path / "folder" / "never.db"
    async with AsyncTelemetryLogger(path, **options) as telemetry:  # type: ignore[arg-type]
        assert not await telemetry.log_invocation(InvocationRecord())
        assert not await telemetry.log_invocation(InvocationRecord(), durable=True)
        async with telemetry.invocation("agent"):
            pass
        assert (await telemetry.flush()).complete
        assert await telemetry.get_invocations() == []
        assert (await telemetry.get_statistics())["total_invocations"] == 0
        ledger = telemetry.stats().ledger
    assert ledger.balanced
    assert sum(ledger.dropped.values()) == ledger.submitted == 3
    assert list(tmp_path.iterdir()) == []


async def test_prompt_and_response_never_reach_the_file(tmp_path: Path) -> None:
    """Not at `metadata`, and not at `full` before there is a table for them; error messages are cut."""
    for level in ("metadata", "full"):
        path = tmp_path / f"{level}.db"
        async with AsyncTelemetryLogger(path, privacy_level=level) as telemetry:  # type: ignore[arg-type]
            await telemetry.log_invocation(
                InvocationRecord(prompt="the-secret-prompt", response="the-secret-response", error_message="e" * 5000)
            )
            (row,) = await telemetry.get_invocations()
        assert len(row["error_message"] or "") == (500 if level == "metadata" else 5000)
        for file in tmp_path.glob(f"{level}.db*"):
            assert b"the-secret" not in file.read_bytes()
