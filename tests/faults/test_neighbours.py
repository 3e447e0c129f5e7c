"""Other processes and readers at the same file: nobody loses, nobody is held up for good."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import InvocationRecord, TelemetryLogger


def test_four_writers_and_their_readers_share_a_file(
    run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """Four processes write and read for a second: no snapshot is ever too old to write, and every sum is right."""
    script = """
from llm_service.telemetry.writer.committer import Committer
failed = Committer.failed
def noted(self, error, batch=None):
    if "SNAPSHOT" in getattr(error, "sqlite_errorname", ""): os.write(2, b"a snapshot was too old\\n")
    return failed(self, error, batch)
Committer.failed = noted
async def main(name):
    async with AsyncTelemetryLogger(PATH, flush_interval=0.01) as T:
        end = time.monotonic() + 1
        while time.monotonic() < end:
            for _ in range(20): put(T, name)
            await promised(T, name)
            await T.get_statistics()
        assert (await T.flush()).complete
    sum_up(T)
children = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        try: asyncio.run(main(f"process-{n}")); os._exit(0)
        except BaseException: import traceback; traceback.print_exc()
        finally: os._exit(1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert codes == [0] * 4, codes
"""
    ended = run_script(script)
    assert (ended.code, ended.err) == (0, "")
    found, noted = lawful()
    assert len(found) == len(noted.ledgers) == 4
    assert all(ledger["dropped"] == {} for ledger in noted.ledgers)


@pytest.mark.parametrize("ends", ["ends its transaction", "vanishes"])
def test_a_wal_that_a_reader_made_grow_is_truncated_after_it(
    ends: str,
    db: Path,
    record: Callable[..., InvocationRecord],
    sound: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    """Three hundred batches under an open reader are all committed; once it is gone the -wal shrinks to nothing."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.wal.TIDY_AFTER", 0.05)
    wal = db.with_name(f"{db.name}-wal")
    with TelemetryLogger(db) as logger:
        logger.log_invocation(record())
        reader = sqlite3.connect(db, isolation_level=None, check_same_thread=False)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM invocations").fetchone() == (1,)
        for _ in range(300):
            assert logger.log_invocation(record())
        assert wal.stat().st_size > 1_000_000
        assert reader.execute("SELECT count(*) FROM invocations").fetchone() == (1,)
        if ends == "vanishes":
            reader.close()
        else:
            reader.execute("COMMIT")
        logger.log_invocation_nowait(record())  # what starts the background writer, which tidies
        eventually(lambda: wal.stat().st_size == 0)
        reader.close()
    assert sound(db) == {"agent": 302}
