"""Repair, backup and a retry beside processes that write: nothing lost, nothing counted twice."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.maintenance.backup import backup
from llm_service.telemetry.maintenance.dead_letters import letters, retry
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.repair import repair

pytestmark = pytest.mark.slow

WRITER = """
import itertools
with TelemetryLogger(PATH, retention_days=None, flush_interval=0.01) as telemetry:
    for number in itertools.count():
        telemetry.log_invocation_nowait(record(f"agent-{number % 7}", latency_ms=number % 50))
        if number == 300:
            telemetry.flush()
            print("writing")
        if number % 50 == 0:
            telemetry.flush()
            if number > 300 and os.path.exists(PATH + ".stop"):
                break
print(telemetry.stats().ledger.written, telemetry.stats().ledger.pending)
"""


def _problems(path: Path) -> set[str]:
    return {found.name for found in examine(path, seconds=600) if found.exit_code} - {"wal_reset_bug", "disk_low"}


def _stop(path: Path, writers: list[Any], finish: Callable[..., Any]) -> int:
    path.with_name(f"{path.name}.stop").touch()
    written = 0
    for writer in writers:
        ended = finish(writer)
        assert ended.code == 0, ended.err
        count, pending = ended.out.split()[-2:]
        assert pending == "0"
        written += int(count)
    return written


@pytest.mark.volume
def test_totals_are_right_after_a_repair_beside_two_processes_that_write(
    db: Path, start_script: Callable[..., Any], expect_line: Any, finish: Any, truth: Any
) -> None:
    """Damaged again and again while they write, and repaired by two repairs at a time's turn."""
    writers = [start_script(WRITER, db) for _ in range(2)]
    for writer in writers:
        expect_line(writer, "writing")
    with closing(sqlite3.connect(db, isolation_level=None, timeout=10)) as owner:
        for turn in range(3):
            owner.execute("BEGIN IMMEDIATE")
            owner.execute(f"UPDATE daily_costs SET cost_nanos = cost_nanos + 7, invocations = {turn} WHERE id % 2 = 0")
            owner.execute("UPDATE daily_costs SET latency_buckets = x'' WHERE id % 3 = 0")
            owner.execute("COMMIT")
            assert repair(db) != []
    written = _stop(db, writers, finish)
    assert truth(db).rows == written
    assert _problems(db) == set()


def test_a_backup_beside_a_process_that_writes_is_one_moment_of_the_file(
    db: Path, start_script: Callable[..., Any], expect_line: Any, finish: Any, truth: Any
) -> None:
    """Its totals equal its records, and the writer went on meanwhile."""
    writer = start_script(WRITER, db)
    expect_line(writer, "writing")
    rows = []
    for number in range(3):
        report = backup(db, db.with_name(f"copy-{number}.db"))
        assert truth(report.path).rows == report.rows["invocations"]
        assert _problems(report.path) == set()
        rows.append(report.rows["invocations"])
    assert rows == sorted(rows)
    assert rows[0] >= 300
    assert _stop(db, [writer], finish) >= rows[-1]


RETRY = """
from pathlib import Path
from llm_service.telemetry.maintenance.dead_letters import letters, retry
print("ready")
sys.stdin.readline()
found = retry(letters(Path(PATH)), lambda: TelemetryLogger(PATH, retention_days=None), {"cost_usd": 0.5})
print(sorted(one.outcome.value for one in found))
"""


def test_letters_that_two_processes_retry_at_once_are_stored_once(
    db: Path, start_script: Callable[..., Any], expect_line: Any, tell: Any, finish: Any, truth: Any
) -> None:
    """One stores a letter, the other finds it stored."""
    TelemetryLogger(db, retention_days=None).close()
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        for number in range(20):
            record = json.dumps({"invocation_id": f"bad-{number}", "agent_name": "a", "cost_usd": "inf"})
            connection.execute(
                "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record) VALUES ('t', ?, 'e', ?)",
                (f"bad-{number}", record),
            )
    processes = [start_script(RETRY, db) for _ in range(2)]
    for process in processes:
        expect_line(process, "ready")
    for process in processes:
        tell(process)
    for process in processes:
        assert finish(process).code == 0
    found = truth(db)
    assert (found.rows, found.dead) == (20, 0)
    assert _problems(db) == set()


KILLED = """
from pathlib import Path
from llm_service.telemetry.maintenance import dead_letters
dead_letters._delete = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
dead_letters.retry(dead_letters.letters(Path(PATH)), lambda: TelemetryLogger(PATH, retention_days=None), {})
"""


def test_a_retry_that_is_killed_between_commit_and_deletion_counts_once(
    db: Path, run_script: Callable[..., Any], truth: Any
) -> None:
    """The letter is still there, and the next retry settles it."""
    TelemetryLogger(db, retention_days=None).close()
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record)"
            " VALUES ('t', 'bad', 'e', '{\"invocation_id\": \"bad\", \"agent_name\": \"a\"}')"
        )
    assert run_script(KILLED, db).code == -9
    assert (truth(db).rows, truth(db).dead) == (1, 1)
    (outcome,) = retry(letters(db), lambda: TelemetryLogger(db, retention_days=None), {})
    assert outcome.outcome.value == "duplicate"
    assert (truth(db).rows, truth(db).dead) == (1, 0)


INTERRUPTED = """
from pathlib import Path
from llm_service.telemetry.maintenance.backup import backup
backup(Path(PATH), Path(PATH + ".copy"), on_progress=lambda *_: os.kill(os.getpid(), signal.SIGINT))
"""


def test_a_backup_that_is_interrupted_leaves_nothing(db: Path, run_script: Callable[..., Any]) -> None:
    """Neither a part of it nor a name."""
    TelemetryLogger(db, retention_days=None).close()
    assert "KeyboardInterrupt" in run_script(INTERRUPTED, db).err
    assert [file.name for file in db.parent.iterdir()] == ["telemetry.db"]
