"""System calls of SQLite that fail, lie, hang or are the last: injected by strace, where this machine lets it trace."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import DuplicateInvocationError, InvocationRecord, TelemetryLogger

pytestmark = pytest.mark.slow


@pytest.fixture
def injecting() -> Callable[..., tuple[str, ...]]:
    """The command that runs a program with a fault injected into one kind of its system calls."""
    strace = shutil.which("strace")
    if strace is None:
        pytest.skip("strace is not installed")
    tried = subprocess.run(
        [strace, "-f", "-o", "/dev/null", "-e", "trace=fdatasync", sys.executable, "-c", ""],
        check=False,
        capture_output=True,
        text=True,
    )
    if tried.returncode != 0:
        pytest.skip(f"strace may not trace here: {tried.stderr.strip()}")

    def inject(call: str, what: str, only: Path | None = None) -> tuple[str, ...]:
        paths = () if only is None else ("-P", str(only))
        return (strace, "-f", "-o", "/dev/null", *paths,
                "-e", f"trace={call}", "-e", f"inject={call}:{what}")  # fmt: skip

    return inject


DURABLE = """
async def main():
    T = AsyncTelemetryLogger(PATH, commit_timeout=2, close_timeout=0.5)
    for n in range(40):
        try: await promised(T)
        except CommitTimeoutError: break
        assert T.stats().ledger.balanced
    await T.aclose(); sum_up(T)
asyncio.run(main())
"""


@pytest.mark.parametrize("when", ["20", "20..24", "20+"], ids=["once", "five times", "from then on"])
def test_a_promise_is_kept_where_the_disk_fails_to_sync(
    when: str, injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """EIO of fdatasync: every promised record is on disk once, and what nobody was promised is counted as lost."""
    ended = run_script(DURABLE, under=injecting("fdatasync", f"error=EIO:when={when}"))
    assert ended.code == 0, ended.err
    found, noted = lawful(killed=True)
    (ledger,) = noted.ledgers
    assert ledger["pending"] == 0
    assert ledger["retries"] > 0
    lost = ledger["dropped"].get("shutdown", 0)
    assert ledger["written"] + lost == len(noted.offered)
    # A commit that failed may be on disk all the same: it is reported as lost, which is the safe side.
    assert len(noted.acked) <= ledger["written"] <= len(found.ids) <= ledger["written"] + lost
    if when != "20+":
        assert len(noted.acked) == 40


@pytest.mark.parametrize("durable", [True, False])
def test_a_durable_settlement_waits_for_the_disk_and_another_does_not(
    durable: bool, injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """EIO of every fdatasync from some point on: what was promised is on disk, and the others promise nothing of it."""
    script = f"""
from llm_service.config.schemas import PoliciesConfig
T = TelemetryLogger(PATH, policies=PoliciesConfig.model_validate({{"policies": {{"default": {{"daily_budget_usd": 9}}}}}}),
    commit_timeout=1, close_timeout=0.5, retention_days=None)
for n in range(60):
    one = record()
    hold = T.budgets.reserve(usd=0.01)
    note("offered", one.invocation_id)
    try: hold.settle(one, durable={durable})
    except StoreError: break
    note("accepted", one.invocation_id)
    note("acked", one.invocation_id)
T.close(); sum_up(T)
"""
    ended = run_script(script, under=injecting("fdatasync", "error=EIO:when=30+"))
    assert ended.code == 0, ended.err
    _, noted = lawful(killed=True)
    assert (5 < len(noted.acked) < 30) if durable else (len(noted.acked) == 60)


def test_a_commit_that_failed_and_is_on_disk_is_not_doubled_by_the_next_process(
    injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any], db: Path
) -> None:
    """The process vanishes after the failure; whoever logs the record again writes it, or is told it is there."""
    script = """
async def main():
    T = AsyncTelemetryLogger(PATH, commit_timeout=0.3)
    await T.start()
    while True:
        one = record(); note("offered", one.invocation_id)
        try: await T.log_invocation(one, durable=True)
        except CommitTimeoutError:
            print(one.invocation_id); os._exit(7)
        note("acked", one.invocation_id)
asyncio.run(main())
"""
    # strace counts by thread, and one thread does it all: to set the file up takes 15, each commit one more.
    ended = run_script(script, under=injecting("fdatasync", "error=EIO:when=25+"))
    assert ended.code == 7, ended.err
    before, noted = lawful(killed=True)
    assert noted.acked
    doubtful = ended.out.strip()
    with TelemetryLogger(db) as logger:
        again = InvocationRecord(agent_name="agent", invocation_id=doubtful)
        if doubtful in before.ids:
            with pytest.raises(DuplicateInvocationError):
                logger.log_invocation(again)
        else:
            assert logger.log_invocation(again)
    after, _ = lawful(killed=True)
    assert set(after.ids) == noted.acked | {doubtful}


def test_a_disk_that_runs_full_in_the_middle_of_a_commit_is_waited_out(
    injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """Seven writes in a row fail with ENOSPC, wherever in the transactions they fall."""
    script = """
async def main():
    async with AsyncTelemetryLogger(PATH) as T:
        for n in range(30):
            for _ in range(20): put(T, f"batch-{n}")
            assert (await T.flush()).complete
    sum_up(T)
asyncio.run(main())
"""
    ended = run_script(script, under=injecting("pwrite64", "error=ENOSPC:when=100..106"))
    assert ended.code == 0, ended.err
    found, noted = lawful()
    assert found == {f"batch-{n}": 20 for n in range(30)}
    assert noted.ledgers[0]["retries"] > 0


def test_checkpoints_that_fail_are_said_and_lose_nothing(
    db: Path, injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """The database file itself cannot be written, the -wal can: records commit, and `stats` names the fault."""
    script = """
from llm_service.telemetry.stores.sqlite import wal
wal.TIDY_AFTER = 0.02
async def main():
    T = AsyncTelemetryLogger(PATH)
    for _ in range(10): await promised(T)
    while "IOERR" not in (T.stats().last_error or ""): await asyncio.sleep(0.005)
    for _ in range(200): put(T)
    await promised(T)
    assert T.stats().ledger.written == 211
    sum_up(T)
    os._exit(0)
asyncio.run(main())
"""
    ended = run_script(script, under=injecting("pwrite64", "error=EIO:when=8+", only=db))
    assert ended.code == 0, ended.err
    found, _ = lawful()
    assert found == {"agent": 211}


@pytest.mark.parametrize("write", [20, 60, 110, 250])
def test_a_kill_at_any_write_leaves_whole_batches(
    write: int, db: Path, injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """SIGKILL in the middle of a transaction's writes: each batch is there whole, or not at all."""
    script = """
async def main():
    T = AsyncTelemetryLogger(PATH)
    await T.start()
    for n in range(400):
        made = [record(f"batch-{n}") for _ in range(10)]
        for one in made: note("offered", one.invocation_id)
        for one in made: T.log_invocation_nowait(one)
        if (await T.flush()).written == 10:
            for one in made: note("acked", one.invocation_id)
asyncio.run(main())
"""
    ended = run_script(script, under=injecting("pwrite64", f"signal=SIGKILL:when={write}"))
    assert ended.code == -signal.SIGKILL, ended.err
    TelemetryLogger(db).close()  # the next open works at once, also where the tables were not there yet
    found, noted = lawful(killed=True)
    assert set(found.values()) <= {10}
    assert len(noted.acked) <= len(found.ids) <= len(noted.acked) + 10


def test_a_slow_disk_holds_callers_back_and_loses_nothing(
    injecting: Callable[..., Any], run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """Each sync takes 0.2 s: callers wait for room, the queue keeps its bound, the loop goes on turning."""
    script = """
async def main():
    T = AsyncTelemetryLogger(PATH, queue_max_records=50, block_timeout=30)
    turns, most = 0, 0
    async def turn():
        nonlocal turns, most
        while True:
            turns += 1; most = max(most, T.stats().queue_records)
            await asyncio.sleep(0.005)
    async def agent():
        for _ in range(20):
            one = record(); note("offered", one.invocation_id)
            assert await T.log_invocation(one)
            note("accepted", one.invocation_id)
        await promised(T)
    turning = asyncio.create_task(turn())
    await asyncio.gather(*(agent() for _ in range(20)))
    turning.cancel()
    await T.aclose(); sum_up(T)
    assert most == 50, most
    assert turns > 20, turns
asyncio.run(main())
"""
    ended = run_script(script, under=injecting("fdatasync", "delay_enter=200000:when=3..8"))
    assert ended.code == 0, ended.err
    found, noted = lawful()
    assert found == {"agent": 420}
    assert noted.ledgers[0]["dropped"] == {}
