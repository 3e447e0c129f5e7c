"""Records are priced whichever way they come into the file: a crash journal, a second try, another process."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.upkeep.dead_letters import Outcome, letters, retry


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
