"""A block that is entered again, or within itself, while what began in it is still open: no circle, and a row for each."""

from collections.abc import AsyncGenerator, Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger

MODELS = ModelsConfig.model_validate({"models": {"m": {"cost_per_1m_tokens": {"input": 2.5, "output": 10}}}})
POLICIES = PoliciesConfig.model_validate(
    {"policies": {"all": {"daily_budget_usd": 1, "limit": {"threshold_percent": 100}}}}
)
FIELDS: dict[str, dict[str, Any]] = {"plain": {}, "budget": {"budget": 0.01}}
Stream = Generator[int, None, None]


def _half_read(logger: TelemetryLogger) -> Stream:
    with logger.invocation("inner", model_name="m"):
        yield 1
        yield 2


def retried(logger: TelemetryLogger, block: Any) -> None:
    """The first attempt leaves a generator half-read, and so does the second."""
    kept: list[Stream] = []
    for _ in range(2):
        with block:
            kept.append(_half_read(logger))
            next(kept[-1])
            with logger.scope(user_id="u"), logger.invocation("deep"):
                pass
    with logger.invocation("next"):
        pass
    for stream in kept:
        stream.close()


def closed_later(logger: TelemetryLogger, block: Any) -> None:
    """The generator of the first attempt ends in the second."""
    with block:
        stream = _half_read(logger)
        next(stream)
    with block:
        stream.close()


def crosswise(logger: TelemetryLogger, block: Any) -> None:
    """Left and entered again within a block that it holds."""
    other = logger.invocation("y")
    block.__enter__()
    other.__enter__()
    block.__exit__(None, None, None)
    block.__enter__()
    other.__exit__(None, None, None)
    block.__exit__(None, None, None)


def within_itself(_logger: TelemetryLogger, block: Any) -> None:
    """As a recursive function that has one block."""
    with block, block:
        pass


def by_way_of_another(logger: TelemetryLogger, block: Any) -> None:
    """The same, through another function's block."""
    with block, logger.invocation("y"), block:
        pass


WAYS: dict[Callable[[TelemetryLogger, Any], None], list[str]] = {
    retried: ["deep", "deep", "inner", "inner", "next", "x", "x"],
    closed_later: ["inner", "x", "x"],
    crosswise: ["x", "x", "y"],
    within_itself: ["x"],
    by_way_of_another: ["x", "y"],
}


@pytest.mark.timeout(30)
@pytest.mark.parametrize("how", FIELDS)
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_block_entered_again_is_a_row_each_time(way: Callable[..., None], how: str, tmp_path: Path) -> None:
    """What is entered within itself is one call; and nothing stays held that was settled."""
    with TelemetryLogger(tmp_path / "t.db", models=MODELS, policies=POLICIES) as logger:
        way(logger, logger.invocation("x", model_name="m", **FIELDS[how]))
        rows = logger.get_invocations()
        assert sorted(row["agent_name"] or "" for row in rows) == WAYS[way]
        assert logger.stats().ledger.balanced
        (status,) = logger.budgets.status()
        assert status["reserved"] == 0


@pytest.mark.timeout(30)
@pytest.mark.parametrize("how", FIELDS)
async def test_so_it_is_on_an_event_loop(how: str, tmp_path: Path) -> None:
    """Async blocks and generators."""
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=MODELS, policies=POLICIES) as telemetry:

        async def stream() -> AsyncGenerator[int, None]:
            async with telemetry.invocation("inner", model_name="m"):
                yield 1
                yield 2

        block = telemetry.invocation("x", model_name="m", **FIELDS[how])
        kept: list[AsyncGenerator[int, None]] = []
        for _ in range(2):
            async with block:
                kept.append(stream())
                await anext(kept[-1])
        other = telemetry.invocation("own", model_name="m", **FIELDS[how])
        async with other, other:
            pass
        for half_read in kept:
            await half_read.aclose()
        rows = await telemetry.get_invocations()
        assert sorted(row["agent_name"] or "" for row in rows) == ["inner", "inner", "own", "x", "x"]
        (status,) = await telemetry.budgets.status()
        assert status["reserved"] == 0


@pytest.mark.timeout(30)
def test_a_block_that_was_refused_is_no_open_one(tmp_path: Path) -> None:
    """After a call, and a refusal, the next attempt reserves again."""
    from llm_service.telemetry import BudgetExceeded

    with TelemetryLogger(tmp_path / "t.db", models=MODELS, policies=POLICIES) as logger:
        block = logger.invocation("x", model_name="m", budget=0.6)
        with block as call:
            call.record_usage(prompt_tokens=1, completion_tokens=1, cost_usd=0.6)
        for _ in range(3):
            with pytest.raises(BudgetExceeded), block:
                pass
