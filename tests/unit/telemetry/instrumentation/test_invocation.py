"""Timing a block: whatever happens in it is recorded, and nothing of telemetry's own reaches the caller."""

import asyncio
import contextvars
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import (
    AsyncTelemetryLogger,
    DropReason,
    InvocationRecord,
    RecordError,
    TelemetryLogger,
)
from llm_service.telemetry.instrumentation import block_end, call_fields, open_blocks


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "calls.db") as made:
        yield made


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger that raises on bad values, closed afterwards."""
    with TelemetryLogger(tmp_path / "strict.db", strict=True) as made:
        yield made


class UnspeakableError(Exception):
    """An exception whose text cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


class HostileText(str):
    """Text that is like any other, until it is stored."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    def __ne__(self, other: object) -> bool:
        return False

    def __hash__(self) -> int:
        raise RuntimeError("no hash")

    def __str__(self) -> str:
        raise RuntimeError("no text")


class HostileCount(int):
    """A count that cannot be added."""

    def __add__(self, other: object) -> int:
        raise RuntimeError("no sum")

    __radd__ = __add__


@pytest.mark.parametrize(
    ("error", "status", "error_type", "message"),
    [
        (ValueError("bad key"), "error", "ValueError", "bad key"),
        (TimeoutError(), "timeout", "TimeoutError", None),
        (asyncio.CancelledError(), "error", "cancelled", None),
        (GeneratorExit(), "success", None, None),
        (KeyboardInterrupt(), "error", "KeyboardInterrupt", None),
        (UnspeakableError(), "error", "UnspeakableError", "<str of UnspeakableError raises RuntimeError>"),
        (ValueError("nul \0 and \ud800"), "error", "ValueError", "nul \\0 and \\ud800"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_failing_block_is_recorded_and_its_exception_passes_unchanged(
    logger: TelemetryLogger, error: BaseException, status: str, error_type: str, message: str | None
) -> None:
    """Status, type and message are stored; identity, cause and traceback stay the block's."""
    with pytest.raises(type(error)) as caught, logger.invocation("agent"):
        raise error
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    assert [frame.name for frame in caught.traceback] == [caught.traceback[0].name]
    (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"], row["error_message"]) == (status, error_type, message)


def test_what_the_block_says_wins_over_what_is_measured(logger: TelemetryLogger) -> None:
    """Also a status, an id and a latency."""
    with logger.invocation("agent", "tool", "model", provider="p", tags=["a"]) as call:
        call.record_usage(prompt_tokens=1, completion_tokens=2, cost_usd=0.5, cache_read_tokens=1, finish_reason="stop")
        call.record_usage(completion_tokens=3)
        call.set(status="error", invocation_id="mine", latency_ms=7, stream=True, metadata={"k": [1]})
        assert call.invocation_id == "mine"
    (row,) = logger.get_invocations()
    assert (row["status"], row["invocation_id"], row["latency_ms"], row["stream"]) == ("error", "mine", 7, True)
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (1, 3, 4)
    assert (row["provider"], row["finish_reason"], row["tags"], row["metadata"]) == ("p", "stop", ["a"], {"k": [1]})


def test_bad_values_become_null_are_counted_and_said_once(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The call is recorded all the same, with what can be stored of it."""
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        for _ in range(3):
            with logger.invocation("agent", no_such_field=1, tags=5) as call:
                call.record_usage(prompt_tokens=-1, completion_tokens=5, total_tokens=2, cost_usd=float("nan"))
                call.set(status="splendid", invocation_id="", timestamp="yesterday")
    rows = logger.get_invocations()
    assert [(row["agent_name"], row["completion_tokens"], row["cost_usd"], row["tags"]) for row in rows] == [
        ("agent", 5, None, None)
    ] * 3
    assert {row["status"] for row in rows} == {"error"}
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == len({text.split(": ", 2)[2].split(":", 1)[0] for text in said}) == 8
    assert logger.stats().bad_values == 24


@pytest.mark.parametrize("count", [10**12, HostileCount(10**12)])
def test_counts_whose_sum_is_beyond_any_call_become_null_and_the_call_is_recorded(
    logger: TelemetryLogger, count: int
) -> None:
    """Neither part can be trusted then; what else is known of the call stays."""
    with logger.invocation("agent") as call:
        call.record_usage(prompt_tokens=count, completion_tokens=count, cost_usd=0.5)
    (row,) = logger.get_invocations()
    assert (row["agent_name"], row["cost_usd"]) == ("agent", 0.5)
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (None, None, None)
    assert logger.stats().bad_values == 1
    assert logger.stats().ledger.dropped == {}


def test_a_status_that_only_looks_like_one_is_stored_as_plain_text(logger: TelemetryLogger) -> None:
    """A subclass of `str` with comparisons of its own reaches neither the row nor the roll-ups."""
    with logger.invocation("agent") as call:
        call.set(status=HostileText("error"), usage_source=HostileText("partial"))
    with logger.invocation("agent") as call:
        call.set(status=HostileText("splendid"))
    second, first = logger.get_invocations()
    assert (first["status"], first["usage_source"], second["status"]) == ("error", "partial", "error")
    assert type(InvocationRecord(status=HostileText("timeout")).status) is str  # type: ignore[arg-type]
    assert type(InvocationRecord(status="successful"[:7]).status) is str  # type: ignore[arg-type]
    assert [(day["invocations"], day["errors"]) for day in logger.get_daily_costs()] == [(2, 2)]


def test_a_record_that_cannot_be_made_at_all_is_counted_as_invalid(
    logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A fault of telemetry itself never reaches the block."""
    for error in (RuntimeError("a bug"), RecordError("unheard_of", 1, "give another")):

        def broken(error: Exception = error, **_: Any) -> InvocationRecord:
            raise error

        monkeypatch.setattr(block_end, "InvocationRecord", broken)
        with logger.invocation("agent"):
            pass
    assert logger.stats().ledger.dropped == {DropReason.INVALID: 2}
    assert "could not be recorded" in caplog.text


def test_strict_raises_at_the_bad_value_but_never_hides_the_blocks_exception(
    strict: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A test suite wants to know; an agent's own error is worth more."""
    with pytest.raises(RecordError, match="no_such_field"):
        strict.invocation("agent", no_such_field=1)
    with pytest.raises(RecordError, match="cost_usd"), strict.invocation("agent") as call:
        call.record_usage(cost_usd=-1)
    with pytest.raises(KeyError, match="mine"), strict.invocation("agent", cost_usd=-1):
        raise KeyError("mine")
    assert [row["error_type"] for row in strict.get_invocations()] == ["KeyError"]

    def broken(**_: Any) -> InvocationRecord:
        raise RuntimeError("a bug")

    monkeypatch.setattr(block_end, "InvocationRecord", broken)
    with pytest.raises(RuntimeError, match="a bug"), strict.invocation("agent"):
        pass


def test_the_first_token_is_timed_once_and_only_inside_the_block(logger: TelemetryLogger) -> None:
    """Later tokens do not move it, and it is not later than the end."""
    call = logger.invocation("agent")
    call.first_token()
    with call:
        call.first_token()
        first = call._ttft_ms
        call.first_token()
    assert call._ttft_ms == first
    (row,) = logger.get_invocations()
    assert row["ttft_ms"] is not None
    assert row["latency_ms"] is not None
    assert 0 <= row["ttft_ms"] <= row["latency_ms"]


def test_times_keep_what_jitter_leaves_of_them() -> None:
    """Microseconds below 100 ms, whole milliseconds above."""
    assert call_fields.milliseconds(1_234_567) == 1.235
    assert call_fields.milliseconds(99_999_499) == 99.999
    assert call_fields.milliseconds(1_500_400_000) == 1500.0


def test_parents_follow_tasks_and_do_not_leak_out_of_their_block(logger: TelemetryLogger) -> None:
    """A child started within the block has it as its parent; a call after it has none."""

    async def run() -> tuple[str, str, str]:
        async def child() -> str:
            with logger.invocation("child") as call:
                return call.invocation_id

        with logger.invocation("parent") as parent:
            ids = await asyncio.gather(child(), child())
        with logger.invocation("after"):
            pass
        return (parent.invocation_id, *ids)

    parent, *children = asyncio.run(run())
    rows = {row["invocation_id"]: row for row in logger.get_invocations()}
    assert all(rows[child]["parent_invocation_id"] == parent for child in children)
    assert [row["parent_invocation_id"] for row in rows.values() if row["agent_name"] != "child"] == [None, None]


def test_a_block_may_end_in_another_context_than_it_began_in(logger: TelemetryLogger) -> None:
    """As a generator's does: nothing raises, and the other context's parent stays what it was."""
    with logger.invocation("outer") as outer:
        inner = logger.invocation("inner")
        contextvars.Context().run(inner.__enter__)
        inner.__exit__(None, None, None)
        assert open_blocks.current.get() is outer
    assert len(logger.get_invocations()) == 2


async def test_a_record_that_cannot_be_made_does_not_break_async_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is counted, and the block goes on."""

    def broken(**_: Any) -> InvocationRecord:
        raise RuntimeError("a bug")

    async with AsyncTelemetryLogger(tmp_path / "calls.db") as telemetry:
        monkeypatch.setattr(block_end, "InvocationRecord", broken)
        async with telemetry.invocation("agent"):
            pass
        with telemetry.invocation("agent"):
            pass
        assert telemetry.stats().ledger.dropped == {DropReason.INVALID: 2}


async def test_both_kinds_of_with_work_on_the_async_face(tmp_path: Path) -> None:
    """Plain `with` inside sync helpers, `async with` where backpressure may wait."""
    async with AsyncTelemetryLogger(tmp_path / "calls.db") as telemetry:
        with telemetry.invocation("plain"):
            pass
        async with telemetry.invocation("awaited"):
            pass
        with pytest.raises(ValueError, match="mine"):
            async with telemetry.invocation("failing"):
                raise ValueError("mine")
        rows = await telemetry.get_invocations()
    assert {row["agent_name"]: row["status"] for row in rows} == {
        "plain": "success", "awaited": "success", "failing": "error",
    }  # fmt: skip
