"""The wall clock jumps: ids go on rising, intervals are kept, nothing is deleted or lost."""

import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def wallclock(tmp_path: Path, command: Callable[..., str]) -> Path:
    """A library that shifts a process's wall clock by the seconds in a file, compiled where a compiler is."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("cc is not installed: no library that shifts the clock can be compiled")
    library = tmp_path / "wallclock.so"
    command(compiler, "-shared", "-fPIC", "-O1", "-o", library, Path(__file__).with_name("wallclock.c"), "-ldl")
    return library


def test_a_clock_that_jumps_an_hour_back_and_a_year_ahead_changes_no_order_and_deletes_nothing(
    wallclock: Path,
    tmp_path: Path,
    db: Path,
    run_script: Callable[..., Any],
    lawful: Callable[..., Any],
) -> None:
    """Before, during and after the jumps: ids rise, `flush_interval` is kept, and every record stays."""
    offset = tmp_path / "offset"
    script = """
from pathlib import Path
from datetime import UTC, datetime
def jump(seconds):
    before = time.time()
    Path(os.environ["WALLCLOCK_OFFSET"]).write_text(str(seconds))
    return time.time() - before
async def main():
    T = AsyncTelemetryLogger(PATH, flush_interval=0.05, retention_days=7)
    ids = []
    for n, seconds in enumerate((0, -3600, 31_536_000, 0)):
        moved = jump(seconds)
        assert n == 0 or abs(moved) > 3000, moved
        for _ in range(50):
            one = record(f"jump-{n}"); note("offered", one.invocation_id); ids.append(one.invocation_id)
            assert T.log_invocation_nowait(one)
        await T.start()
        while T.stats().ledger.pending: await asyncio.sleep(0.005)
    assert ids == sorted(ids)
    await T.aclose(); sum_up(T)
asyncio.run(main())
"""
    ended = run_script(script, LD_PRELOAD=str(wallclock), WALLCLOCK_OFFSET=str(offset))
    assert ended.code == 0, ended.err
    found, _ = lawful()
    assert found == {f"jump-{n}": 50 for n in range(4)}
    connection = sqlite3.connect(db)
    assert connection.execute("SELECT count(DISTINCT date) FROM daily_costs").fetchone()[0] >= 2
    connection.close()


@pytest.mark.slow
def test_budgets_forget_what_nobody_names_and_believe_no_leap(
    wallclock: Path, tmp_path: Path, run_script: Callable[..., Any], db: Path, sound: Callable[..., Any]
) -> None:
    """A limit that no policy names goes after 62 days, and what was told of days long over; not when a clock leaps."""
    offset = tmp_path / "offset"
    script = """
from pathlib import Path
import sqlite3
from llm_service.config.schemas import PoliciesConfig
def limited(**given):
    named = {name: {"scope": {"agent": name}} | budget for name, budget in given.items()}
    return PoliciesConfig.model_validate({"policies": named})
def day(number, **given):
    Path(os.environ["WALLCLOCK_OFFSET"]).write_text(str(round(number * 86400)))
    policies = limited(**given) if given else None
    with TelemetryLogger(PATH, policies=policies, retention_days=None) as T:
        T._engine.store.terms.keep_up_at = 0.0  # an hour has passed
        committed(T, "a", cost_usd=1)
        if given:
            T.budgets.reserve(usd=1, agent_name="b").settle(record("b", cost_usd=1))
        for _ in range(5):
            T._engine.store.terms.keep_up_at = 0.0
            T.budgets.expire()
    with __import__("contextlib").closing(sqlite3.connect(PATH)) as connection:
        ask = lambda sql: connection.execute(sql).fetchone()[0]
        return tuple(ask(f"SELECT count(*) FROM budget_{table}") for table in ("counters", "windows", "alerts"))
B = {"daily_budget_usd": 4, "limit": {"threshold_percent": [10, 25]}}
first = day(0, a={"daily_budget_usd": 1}, b=B)
assert first == (2, 2, 4), first
for leapt in (400, 400.5):
    assert day(leapt)[0] == 2
    assert day(leapt, b=B)[2] >= 4
assert day(0.1, b=B)[0] == 2
seen = [day(number, b=B) for number in range(1, 70)]
assert seen[60][0] == 2 and seen[63][0] == 1, seen
assert max(windows for _, windows, _ in seen) < 140, seen
assert max(alerts for _, _, alerts in seen) < 280, seen
assert seen[-1][1] <= 66 and seen[-1][2] <= 132, seen
"""
    ended = run_script(script, LD_PRELOAD=str(wallclock), WALLCLOCK_OFFSET=str(offset))
    assert ended.code == 0, ended.err
    sound(db)
