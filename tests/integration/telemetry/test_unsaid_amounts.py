"""What nobody said of a call is never taken for nothing: an amount of another metric, limits, a stream left early."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.telemetry.test_budgets_everywhere import FACES, PLACES, STEPS, call, finished, holds_one
from tests.model.ledger import check_books, policies, windows

from llm_service.budgets.limits import METRICS
from llm_service.config.schemas import ModelsConfig
from llm_service.errors import BudgetError, SettingsError, UnknownPriceError, UnknownTokensError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.repricing import reprice

pytestmark = pytest.mark.slow

CALL: dict[str, Any] = {"agent_name": "a", "model_name": "m"}
AMOUNTS: dict[str, Any] = {"usd": 0.05, "tokens": 100}
MODELS = ModelsConfig.model_validate(
    {"models": {"m": {"cost_per_1m_tokens": {"input": 10, "output": 10}}}, "bundled_prices": False}
)


def limited(metric: str, amount: float = 10_000) -> Any:
    """One limit a day."""
    return policies(default={"limits": [{"window": "day", metric: amount}]})


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("said", AMOUNTS)
def test_an_amount_that_says_nothing_of_a_limit_is_estimated_or_refused(db: Path, said: str, metric: str) -> None:
    """As if nothing had been said; a number of calls is always one."""
    given = {said: AMOUNTS[said]}
    with TelemetryLogger(db, policies=limited(metric), models=MODELS) as logger:
        if metric in {said, "calls"}:
            logger.budgets.reserve(**given, **CALL).release()
            return
        with pytest.raises(UnknownTokensError if metric == "tokens" else UnknownPriceError, match="give "):
            logger.budgets.reserve(**given, **CALL)
        hold = logger.budgets.reserve(**given, **CALL, prompt_tokens=600, max_tokens=400)
        assert (hold.tokens if metric == "tokens" else float(hold.usd)) == (1000 if metric == "tokens" else 0.01)
        logger.budgets.check(usd=0.05, tokens=0)
        hold.release()


@pytest.mark.parametrize("budget", [0.05, True])
@pytest.mark.parametrize("known", [{}, {"max_tokens": 1000}])
async def test_blocks_at_once_do_not_pass_a_limit_of_tokens(db: Path, budget: Any, known: dict[str, int]) -> None:
    """Ten fit where the answer is known; else each is told what to give."""
    entered = list[Any]()
    async with AsyncTelemetryLogger(db, policies=limited("tokens")) as logger:
        for _ in range(40):
            block = logger.invocation("a", model_name="gpt-5", budget=budget, **known)
            try:
                entered.append(await block.__aenter__())
            except BudgetError:
                continue
        assert len(entered) == (10 if known else 0)
        for block in entered:
            block.record_usage(prompt_tokens=600, completion_tokens=400)
            await block.__aexit__(None, None, None)
    check_books(db)


@pytest.mark.parametrize("policy", [{"limits": []}, {"scope": {"agent": "*"}}, {"unknown_price": "block"}])
@pytest.mark.parametrize("face", FACES)
async def test_policies_without_a_limit_keep_no_budget(db: Path, face: str, policy: dict[str, Any]) -> None:
    """They would let everything through."""
    logger = FACES[face](db, policies=policies(default=policy))
    for entry in (logger.invocation, logger.instrumented):
        with pytest.raises(SettingsError, match=r"there is no limit in force.*daily_budget_usd"):
            entry("a", model_name="m", budget=999_999)
    with pytest.raises(SettingsError, match="there is no limit in force"):
        logger.budgets.reserve(usd=1)
    await finished(logger)


@pytest.mark.parametrize("place", sorted(place for place in PLACES if place in STEPS))
@pytest.mark.parametrize("face", FACES)
async def test_a_stream_left_early_frees_nothing_that_it_may_have_spent(
    db: Path, face: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has told is the least; the rest of its hold is unknown until it is reconciled."""
    if not holds_one(face, place):
        pytest.skip("refused where it is written")
    told = {"cost_usd": 0.125, "prompt_tokens": 10, "completion_tokens": 5}
    monkeypatch.setattr("tests.integration.telemetry.test_budgets_everywhere.usage", lambda _item: told)
    logger = FACES[face](db, policies=policies(default=10))
    await call(logger, place, "early", [])
    await finished(logger)
    assert [sum(row[at] for row in windows(db).values()) for at in (0, 3, 6)] == [125_000_000, 0, 375_000_000]
    check_books(db)
    with TelemetryLogger(db, policies=policies(default=10)) as again:
        (hold,) = again.budgets.holds()
        assert again.budgets.reconcile(hold["hold_id"], 0.25) is True
        assert again.budgets.holds() == []
        (row,) = again.get_invocations()
        assert (row["usage_source"], row["cost_usd"]) == ("partial", 0.25)
    assert [sum(row[at] for row in windows(db).values()) for at in (0, 3, 6)] == [250_000_000, 0, 0]
    check_books(db)


@pytest.mark.parametrize("cost", [None, 0.25, 1.0])
@pytest.mark.parametrize("source", ["reported", "partial", "estimated", "missing", None])
@pytest.mark.parametrize("face", FACES)
async def test_what_stays_unknown_is_told_by_the_usage_source(
    db: Path, face: str, source: Any, cost: float | None
) -> None:
    """One rule for what settles by hand, on both faces."""
    logger: Any = FACES[face](db, policies=policies(default=10))
    record = InvocationRecord(cost_usd=cost, total_tokens=100, usage_source=source)
    if isinstance(logger, AsyncTelemetryLogger):
        await (await logger.budgets.reserve(usd=0.5, tokens=300)).settle(record)
    else:
        logger.budgets.reserve(usd=0.5, tokens=300).settle(record)
    await finished(logger)
    left = 0.5 if cost is None else max(0, 0.5 - cost) if source == "partial" else 0
    with closing(sqlite3.connect(db)) as connection:
        row = connection.execute("SELECT total(unknown_nanos), total(unknown_tokens) FROM budget_windows").fetchone()
    assert row == (left * 1e9, 200 if source == "partial" else 0)
    check_books(db)


def test_a_new_price_leaves_the_rest_of_a_partial_call_unknown(db: Path) -> None:
    """It is computed from the same counts, so it is the least as well."""
    dearer = ModelsConfig.model_validate(
        {"models": {"m": {"cost_per_1m_tokens": {"input": 20, "output": 20}}}, "bundled_prices": False}
    )
    with TelemetryLogger(db, policies=policies(default=10), models=MODELS) as logger:
        counts: dict[str, Any] = {"prompt_tokens": 1000, "completion_tokens": 0, "usage_source": "partial"}
        logger.budgets.reserve(usd=0.05, **CALL).settle(InvocationRecord(**CALL, **counts))
    assert [sum(row[at] for row in windows(db).values()) for at in (0, 6)] == [10_000_000, 40_000_000]
    reprice(db, PriceBook(dearer), only="computed")
    assert [sum(row[at] for row in windows(db).values()) for at in (0, 6)] == [20_000_000, 30_000_000]
    check_books(db)
