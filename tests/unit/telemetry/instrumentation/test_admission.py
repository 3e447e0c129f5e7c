"""A logger may refuse a call of a hooked SDK before it is sent: of any kind of method, streams among them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.inside import core_of

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.instrumentation.sdk.hooks import Hooks

SENT: list[str] = []


class RefusedError(Exception):
    """What the logger's `admit` raises."""


def whole(*, stream: bool = False) -> str:
    """A method that sends at once."""
    SENT.append("whole")
    return f"answer {stream}"


async def whole_async(*, stream: bool = False) -> str:
    """The same, awaited."""
    return whole(stream=stream)


def steps(*, stream: bool = True) -> Iterator[str]:
    """A generator, which sends with its first step."""
    SENT.append("steps")
    yield f"item {stream}"


async def steps_async(*, stream: bool = True) -> Any:
    """A method that gives an async generator."""

    async def items() -> AsyncIterator[str]:
        SENT.append("steps")
        yield f"item {stream}"

    return items()


def asked(_args: tuple[Any, ...], given: dict[str, Any]) -> dict[str, Any]:
    """Every request is a call."""
    return {"operation": "chat", **given}


async def consumed(stream: Any) -> list[Any]:
    """All items of what a method gives."""
    return [item async for item in await stream]


def made(hooks: Hooks) -> dict[str, Any]:
    """One call of each kind, to be made."""
    sync, asynchronous, lazy, lazy_async = (
        hooks.calling(method, asked, lazy=method is steps_async) for method in (whole, whole_async, steps, steps_async)
    )
    return {
        "sync": sync,
        "async": lambda: asyncio.run(asynchronous()),
        "lazy": lambda: list(lazy(stream=True)),
        "lazy async": lambda: asyncio.run(consumed(lazy_async(stream=True))),
    }


@pytest.mark.parametrize("kind", ["sync", "async", "lazy", "lazy async"])
def test_what_is_refused_is_not_sent_and_not_recorded(kind: str, tmp_path: Path) -> None:
    """The caller gets what the logger raises; without a refusal the call goes through."""
    asked_for: list[int] = []

    def refuse() -> None:
        asked_for.append(1)
        raise RefusedError

    with TelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        call = made(Hooks("fake", lambda: core_of(telemetry)))[kind]
        SENT.clear()
        call()
        core_of(telemetry).admit = refuse
        with pytest.raises(RefusedError):
            call()
        assert asked_for == [1]
        assert len(SENT) == 1
        assert len(telemetry.get_invocations()) == 1
