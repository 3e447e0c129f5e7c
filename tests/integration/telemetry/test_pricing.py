"""Records are priced whichever way they come into the file: a crash journal, a second try, another process."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.schemas import PoliciesConfig
from llm_service.errors import UnknownPriceError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.dead_letters import Outcome, letters, retry
from llm_service.telemetry.maintenance.repricing import reprice


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models.yaml with one model."""
    path = tmp_path / "models.yaml"
    path.write_text("models:\n  lark:\n    cost_per_1m_tokens: {input: 3, output: 15}\n", encoding="utf-8")
    return path


def costs(db: Path) -> list[tuple[Any, ...]]:
    """Cost and source of each stored call."""
    with closing(sqlite3.connect(db)) as connection:
        return connection.execute("SELECT cost_usd, cost_source FROM invocations ORDER BY id").fetchall()


def test_what_a_crash_journal_held_is_priced_by_the_next_open(
    db: Path, models: Path, run_script: Callable[..., Any]
) -> None:
    """With the models of the logger that replays."""
    finished = run_script(
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\n"
        "for _ in range(3):\n"
        " T.log_invocation_nowait(record(model_name='lark', prompt_tokens=1000, completion_tokens=200, cost_usd=None))\n"
        "T.log_invocation_nowait(record(model_name='wren', prompt_tokens=1000, completion_tokens=200, cost_usd=None))\n"
        "os._exit(7)",
        db,
    )
    assert finished.code == 7, finished.err
    with TelemetryLogger(db, models=models) as telemetry:
        assert telemetry.stats().replayed == 4
    assert costs(db) == [(0.006, "computed")] * 3 + [(None, "unknown")]


def test_a_dead_letter_that_is_tried_again_is_priced(db: Path, models: Path) -> None:
    """As a fresh record: its own time and model count."""
    with TelemetryLogger(db, models=models, retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord())
    fields = {"invocation_id": "late", "model_name": "lark", "prompt_tokens": 1000, "completion_tokens": 200}
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record) VALUES ('2026', 'late', 'e', ?)",
            (json.dumps(fields),),
        )
    (outcome,) = retry(letters(db), partial(TelemetryLogger, db, models=models, retention_days=None), {})
    assert outcome.outcome is Outcome.STORED
    assert costs(db) == [(None, "unknown"), (0.006, "computed")]


async def test_both_faces_and_the_close_price_what_waits(tmp_path: Path, models: Path) -> None:
    """Queued, awaited, durable, and written by the close."""
    record = partial(InvocationRecord, model_name="lark", prompt_tokens=1000, completion_tokens=200)
    async with AsyncTelemetryLogger(tmp_path / "a.db", models=models) as telemetry:
        await telemetry.log_invocation(record(), durable=True)
        await telemetry.log_invocation(record())
        telemetry.log_invocation_nowait(record())
        async with telemetry.invocation(model_name="lark") as call:
            call.record_usage(prompt_tokens=1000, completion_tokens=200)
    assert costs(tmp_path / "a.db") == [(0.006, "computed")] * 4


WHO = [
    ("gpt-4.1", "openai", 0.01),
    ("gpt-4.1", "azure", 0.01),
    ("DeepSeek-R1", "azure", 0.00675),
    ("grok-4", "azure", None),
    ("gemma-4-31b-it", "gcp.gemini", 0.0),
    ("gemma-4-31b-it", "gcp.vertex_ai", None),
    ("us.amazon.nova-pro-v1:0", "aws.bedrock", 0.004),
    ("eu.amazon.nova-pro-v1:0", "aws.bedrock", None),
    ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", "aws.bedrock", None),
    ("claude-opus-5-5[1m]", None, 0.024),
    ("deepseek-chat", "deepseek", None),
]
"""Names, sellers, and what a thousand tokens each way cost in USD: as published, or unknown."""


@pytest.mark.parametrize(("name", "provider", "usd"), WHO, ids=str)
def test_records_estimates_reservations_and_repricings_know_the_same_price(
    db: Path, name: str, provider: str | None, usd: float | None
) -> None:
    """Both are asked of one book: none of them guesses what another does not know."""
    policies = PoliciesConfig.model_validate(
        {"policies": {"default": {"daily_budget_usd": 9, "unknown_price": "block"}}}
    )
    with TelemetryLogger(db, policies=policies, retention_days=None) as telemetry:
        given = {"model_name": name, "provider": provider}
        telemetry.log_invocation(InvocationRecord(prompt_tokens=1000, completion_tokens=1000, **given))
        telemetry.log_invocation(InvocationRecord(request_model=name, provider=provider, prompt_tokens=9))
        estimate = telemetry.estimate(**given, prompt_tokens=1000, max_tokens=1000)
        asked = partial(telemetry.budgets.reserve, **given, prompt_tokens=1000, max_tokens=1000)
        if usd is None:
            with pytest.raises(UnknownPriceError):
                asked()
        else:
            assert estimate.max_cost_usd is not None
            assert asked().usd == estimate.max_cost_usd >= Decimal(str(usd)), "no hold is below the cost"
        assert (estimate.max_cost_usd is None) is (usd is None)
        book = telemetry.prices
    assert costs(db)[0] == (usd, "unknown" if usd is None else "computed")
    with closing(sqlite3.connect(db)) as connection, connection:
        connection.execute("UPDATE invocations SET cost_usd = NULL, cost_source = 'unknown'")
    report = reprice(db, book)
    assert costs(db)[0] == (usd, "unknown" if usd is None else "computed")
    assert report.unpriced_models == ({} if usd is not None else {(name, provider, None): 2})
