"""A block that has ended is nobody's parent, wherever it ended, and keeps nothing alive."""

import asyncio
import contextvars
import gc
import weakref
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.instrumentation.open_blocks import current


def elsewhere(function: Any, *arguments: Any) -> Any:
    """Call it in a copy of this context, as a task or a thread of a pool does."""
    return contextvars.copy_context().run(function, *arguments)


def parents(logger: TelemetryLogger) -> dict[str, str | None]:
    """The agent of each call's parent, by the call's own agent."""
    rows = logger.get_invocations(limit=1000)
    names = {row["invocation_id"]: row["agent_name"] for row in rows}
    return {row["agent_name"]: names.get(row["parent_invocation_id"]) for row in rows}


@pytest.fixture(autouse=True)
def own_context() -> Any:
    """Blocks of other tests are none of this one's."""
    token = current.set(None)
    yield
    current.reset(token)


def test_a_block_left_in_another_context_is_no_parent(tmp_path: Path) -> None:
    """What encloses it still is; and a block that was open when another began stays that one's parent."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        with logger.invocation("outer"):
            left = logger.invocation("left")
            left.__enter__()
            inner = logger.invocation("inner of left")
            inner.__enter__()
            elsewhere(left.__exit__, None, None, None)
            elsewhere(inner.__exit__, None, None, None)
            with logger.invocation("next"):
                pass
        with logger.invocation("after"):
            pass
        assert current.get() is None
        assert parents(logger) == {
            "outer": None, "left": "outer", "inner of left": "left", "next": "outer", "after": None,
        }  # fmt: skip


async def test_callback_handlers_make_no_chain(tmp_path: Path) -> None:
    """Each call begins here and ends in a task: one after the other, none is the next one's parent, and all are freed."""
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        alive: list[weakref.ref[dict[str, Any]]] = []

        class Text(dict[str, Any]):
            """What a call holds."""

        async def end(call: Invocation) -> None:
            call.__exit__(None, None, None)

        for number in range(100):
            held = Text()
            alive.append(weakref.ref(held))
            call = telemetry.invocation(f"agent-{number}")
            call._fields["metadata"] = held
            call.__enter__()
            await asyncio.create_task(end(call))
        del held
        rows = await telemetry.get_invocations(limit=1000)
        assert [row["parent_invocation_id"] for row in rows] == [None] * 100
        gc.collect()
        assert sum(ref() is not None for ref in alive) <= 1  # the last, until another begins in this context


def test_overlapping_blocks_make_no_chain(tmp_path: Path) -> None:
    """Each begins before the one before it ends: two are held, however many there were."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        before = logger.invocation("0")
        before.__enter__()
        for number in range(1, 50):
            call = logger.invocation(str(number))
            call.__enter__()
            elsewhere(before.__exit__, None, None, None)
            before = call
        chain, length = before, 0
        while chain is not None:
            chain, length = chain._place.parent if chain._place else None, length + 1  # type: ignore[assignment]
        assert length <= 2
        before.__exit__(None, None, None)
        assert current.get() is None


def test_a_block_may_be_entered_again(tmp_path: Path) -> None:
    """Then it is open again."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        call = logger.invocation("again")
        for _ in range(2):
            with call:
                assert current.get() is call
                assert not call.over
            assert call.over
