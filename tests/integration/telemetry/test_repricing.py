"""A repricing of 100,000 calls in a process of its own: killed half-way and gone on with, and beside writers."""

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import InvocationRecord
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

pytestmark = pytest.mark.slow

CALLS = 40_000
FIRST = datetime(2026, 3, 1, tzinfo=UTC)


def problems(path: Path) -> set[str]:
    """What is wrong with the file itself."""
    return {found.name for found in examine(path, full=True) if found.exit_code} - {"wal_reset_bug", "disk_low"}


def call(number: int) -> InvocationRecord:
    """One of many, over ten days, of two models: half priced wrongly, a fifth not at all, some reported."""
    cost = {0: None, 1: 0.5}.get(number % 5, 0.001)
    return InvocationRecord(
        invocation_id=f"call-{number:06}",
        timestamp=FIRST + timedelta(seconds=number * 8),
        agent_name=f"agent-{number % 7}",
        model_name=("lark", "wren")[number % 2],
        prompt_tokens=100 + number % 9_973,
        completion_tokens=number % 997,
        cost_usd=cost,
        cost_source={0: None, 1: "reported"}.get(number % 5, "computed"),  # type: ignore[arg-type]
    )


def micro_usd(number: int) -> Decimal:
    """What a call costs after the repricing, exactly, in micro-dollars."""
    if number % 5 == 1:
        return Decimal(500_000)
    one, other = (Decimal("0.0375"), Decimal("0.15")) if number % 2 == 0 else (Decimal(3), Decimal(15))
    return (100 + number % 9_973) * one + (number % 997) * other


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """`CALLS` calls."""
    path = tmp_path / "telemetry.db"
    with closing(open_for_writing(path, 0)) as connection:
        writer = SqliteBatchWriter("w", "metadata")
        for start in range(0, CALLS, 5_000):
            batch = [call(number) for number in range(start, start + 5_000)]
            writer.write(connection, batch, batch_no=start + 1, durable=False, slice_rows=76)
    return path


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """What both models cost."""
    path = tmp_path / "models.yaml"
    path.write_text(
        "models:\n"
        "  lark: {cost_per_1m_tokens: {input: 0.0375, output: 0.15}}\n"
        "  wren: {cost_per_1m_tokens: {input: 3, output: 15}}\n",
        encoding="utf-8",
    )
    return path


def start(path: Path, models: Path) -> "subprocess.Popen[str]":
    """`llm-telemetry reprice` as a user runs it."""
    command = [sys.executable, "-m", "llm_service", "reprice", "--db", str(path), "--models", str(models)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_COLOR": "1"}
    )


def nanos(usd: float) -> int:
    """As daily totals count."""
    return int(usd * 1e9 + 0.5)


@pytest.mark.volume
def test_a_run_that_is_killed_half_way_is_gone_on_with_to_the_exact_sums(many: Path, models: Path) -> None:
    """SIGKILL at half of them: the file is sound then, and in the end equals Decimal sums to the nano-dollar."""
    running = start(many, models)
    assert running.stderr is not None
    assert any("50 of 100" in line for line in running.stderr)
    running.kill()
    running.communicate()
    with closing(sqlite3.connect(many)) as connection:
        (left,) = connection.execute(
            "SELECT count(*) FROM invocations WHERE cost_usd IS NULL OR (cost_usd = 0.001 AND cost_source = 'computed')"
        ).fetchone()
    assert 0 < left < CALLS
    assert problems(many) == set()
    finished = start(many, models)
    out, err = finished.communicate(timeout=60)
    assert finished.returncode == 0, err
    assert "still unknown  0 calls" in out
    with closing(sqlite3.connect(many)) as connection:
        stored = connection.execute("SELECT id, cost_usd, cost_source FROM invocations ORDER BY id").fetchall()
        totals = dict(connection.execute("SELECT date, sum(cost_nanos) FROM daily_costs GROUP BY date").fetchall())
        (unpriced,) = connection.execute("SELECT sum(unpriced) FROM daily_costs").fetchone()
    exact: dict[str, Decimal] = {}
    for number, (_, usd, source) in enumerate(stored):
        rounded = (micro_usd(number) * 1000 + Decimal("0.5")).to_integral_value("ROUND_FLOOR")
        assert nanos(usd) == rounded, number
        assert source == ("reported" if number % 5 == 1 else "computed")
        day = (FIRST + timedelta(seconds=number * 8)).date().isoformat()
        exact[day] = exact.get(day, Decimal(0)) + rounded
    assert totals == exact
    assert unpriced == 0
    assert problems(many) == set()


@pytest.mark.volume
def test_writers_go_on_while_calls_are_repriced(
    many: Path, models: Path, start_script: Callable[..., Any], expect_line: Any, finish: Any
) -> None:
    """None of their records is lost, and none waits long for the lock."""
    writer = start_script(
        "with TelemetryLogger(PATH, retention_days=None, models=sys.argv[2]) as telemetry:\n"
        "    slowest = written = 0\n"
        "    while not os.path.exists(PATH + '.stop'):\n"
        "        began = time.perf_counter()\n"
        "        telemetry.log_invocation(record(model_name='wren', cost_usd=None))\n"
        "        slowest = max(slowest, time.perf_counter() - began) if written > 10 else 0\n"
        "        written += 1\n"
        "        if written == 10:\n"
        "            print('writing', flush=True)\n"
        "print(written, slowest, telemetry.stats().ledger.written)\n",
        many,
        models,
    )
    expect_line(writer, "writing")
    running = start(many, models)
    _, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    many.with_name(f"{many.name}.stop").touch()
    ended = finish(writer)
    assert ended.code == 0, ended.err
    written, slowest, stored = ended.out.split()[-3:]
    assert int(written) == int(stored) > 10
    assert float(slowest) < 2
    assert problems(many) == set()
    with closing(sqlite3.connect(many)) as connection:
        (count,) = connection.execute("SELECT count(*) FROM invocations WHERE cost_usd IS NOT NULL").fetchone()
    assert count == CALLS + int(written)
