"""Runs on both faces: begun, joined, listed, summed up and compared."""

import asyncio
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from tests.inside import core_of

from llm_service.telemetry import (
    AsyncTelemetryLogger,
    AsyncTelemetryRun,
    InvocationRecord,
    RecordError,
    TelemetryLogger,
    TelemetryRun,
    UnknownRunError,
)

NAMES = ("run", "get_runs", "get_run_summary", "compare_runs")
RUN_ID = r"nightly@\d{8}T\d{6}-[0-9a-f]{4}"


@pytest.mark.parametrize("name", NAMES)
def test_both_faces_take_the_same_arguments(name: str) -> None:
    """In the same order, with the same defaults."""
    one, other = (inspect.signature(getattr(face, name)) for face in (TelemetryLogger, AsyncTelemetryLogger))
    assert one.parameters == other.parameters
    assert inspect.getdoc(getattr(TelemetryLogger, name)) == inspect.getdoc(getattr(AsyncTelemetryLogger, name))


async def test_all_that_is_recorded_within_a_run_is_marked(tmp_path: Path) -> None:
    """In tasks and nested blocks; before, between and after it is not."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with telemetry.invocation("before"):
            pass
        async with telemetry.run("nightly", tags={"commit": "1a2b"}, metadata={"seed": 7}) as run:
            assert isinstance(run, AsyncTelemetryRun)
            assert re.fullmatch(RUN_ID, run.run_id)
            assert (run.name, repr(run)) == ("nightly", f"AsyncTelemetryRun(run_id={run.run_id!r})")

            async def call() -> None:
                async with telemetry.invocation("task", model_name="m", metadata={"own": 1}) as block:
                    block.record_usage(prompt_tokens=3, completion_tokens=4, cost_usd=0.5)

            await asyncio.gather(call(), call())
            async with telemetry.invocation("agent", operation="agent"), telemetry.invocation("inner", model_name="n"):
                pass
            await telemetry.log_invocation(InvocationRecord(run=run.run_id, status="error"))
            summary = await run.summary()
        async with telemetry.invocation("after"):
            pass
        rows = (await telemetry.get_invocations())[::-1]
        assert summary == await run.summary() == await telemetry.get_run_summary("nightly", fresh=False)
    marked = {row["agent_name"]: row for row in rows if row["run"] == run.run_id}
    assert set(marked) == {"task", "agent", "inner", None}
    assert marked["task"]["tags"] == marked["inner"]["tags"] == ["commit:1a2b"]
    assert (marked["task"]["metadata"], marked["inner"]["metadata"]) == ({"seed": 7, "own": 1}, {"seed": 7})
    assert [row["agent_name"] for row in rows if row["run"] is None] == ["before", "after"]
    assert summary["totals"]["invocations"] == 4  # the agent is none
    assert (summary["totals"]["total_tokens"], summary["totals"]["cost_nanos"]) == (14, 1_000_000_000)
    assert {row["model_name"] for row in summary["by_model"]} == {"m", "n", None}


def test_a_plain_with_works_on_both_and_async_with_too(tmp_path: Path) -> None:
    """Whoever records in it."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as telemetry:
        with telemetry.run("nightly") as run, telemetry.invocation("one"):
            pass
        assert isinstance(run, TelemetryRun)

        async def other() -> str:
            async with telemetry.run("nightly") as second:
                with telemetry.invocation("two"):
                    pass
                return second.run_id

        second = asyncio.run(other())
        assert run.summary()["totals"]["invocations"] == 1
        assert {row["run"] for row in telemetry.get_runs()} == {run.run_id, second}
        assert [row["run"] for row in telemetry.get_runs(limit=1, name="nightly")] == [second]
        assert telemetry.get_run_summary("nightly~1")["run"] == run.run_id
        assert telemetry.get_runs(name="weekly") == []

    async def plain() -> list[Any]:
        async with AsyncTelemetryLogger(path) as async_telemetry:
            with async_telemetry.run("weekly") as third, async_telemetry.invocation("three"):
                pass
            return [await async_telemetry.get_runs(name="weekly"), third.run_id]

    (row,), third = asyncio.run(plain())
    assert (row["run"], row["invocations"]) == (third, 1)


def test_a_run_is_not_yet_known_where_nothing_was_recorded(tmp_path: Path) -> None:
    """But its own summary is empty, no error."""
    with TelemetryLogger(tmp_path / "telemetry.db") as telemetry, telemetry.run("nightly") as run:
        assert run.summary()["totals"]["invocations"] == 0
        with pytest.raises(UnknownRunError, match="there is no run 'nightly'"):
            telemetry.get_run_summary("nightly")
        with pytest.raises(RecordError, match="run"):
            telemetry.run("")


async def test_both_faces_compare_alike(tmp_path: Path) -> None:
    """By agent, too; on an event loop in a thread."""
    pytest.importorskip("scipy")
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as logger:
        for run in ("a", "b"):
            for number in range(12):
                logger.log_invocation_nowait(
                    InvocationRecord(run=run, agent_name="x", latency_ms=100 + number, total_tokens=5)
                )
        found = logger.compare_runs("a", "b", by="agent")
        with pytest.raises(ValueError, match="by: 'day' is not usable"):
            logger.compare_runs("a", "b", by="day")  # type: ignore[arg-type]
    async with AsyncTelemetryLogger(path) as telemetry:
        assert await telemetry.compare_runs("a", "b", "agent") == found
        with pytest.raises(LookupError):
            await telemetry.compare_runs("a", "c")
    assert {row["verdict"] for row in found["rows"]} == {"no difference shown", "unknown"}


def test_what_a_logger_itself_says_is_of_its_calls_in_any_thread_and_scope(tmp_path: Path) -> None:
    """Unless a scope says otherwise; of no other logger's calls."""
    with TelemetryLogger(tmp_path / "one.db") as telemetry, TelemetryLogger(tmp_path / "two.db") as other:
        core_of(telemetry).inherited = {"run": "r", "metadata": {"test": "t"}}
        with telemetry.invocation("bare"), other.invocation("other"), telemetry.invocation("in other's"):
            pass
        with telemetry.scope(run="own", metadata={"a": 1}), telemetry.invocation("scoped"):
            pass
        with other.scope(run="foreign"), telemetry.invocation("in foreign scope"):
            pass
        rows = {row["agent_name"]: (row["run"], row["metadata"]) for row in telemetry.get_invocations()}
        assert rows == {
            "bare": ("r", {"test": "t"}),
            "in other's": ("r", {"test": "t"}),
            "scoped": ("own", {"test": "t", "a": 1}),
            "in foreign scope": ("r", {"test": "t"}),
        }
        assert other.get_invocations()[0]["run"] is None
