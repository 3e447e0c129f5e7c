"""The crash journal beside redaction, retention and a database that was replaced: once, clean, and never doubled."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.journal import segment_names

LATE = {"flush_interval": 3600.0, "batch_size": 100_000}
"""Nothing is committed before somebody asks for it."""


def ask(path: Path, sql: str) -> list[Any]:
    """The rows of a file that nobody writes now."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(sql).fetchall()


def exclaim(text: str) -> str:
    """A user's callable that shows how often it was called."""
    return text + "!"


def test_a_callable_of_the_user_s_sees_each_text_once(db: Path, record: Callable[..., Any]) -> None:
    """At acceptance, before the journal; the writer does not call it again, nor does a retry."""
    with TelemetryLogger(db, journal=True, redact=exclaim, **LATE) as telemetry:
        assert telemetry.log_invocation_nowait(record("agent", error_message="message", metadata={"key": "value"}))
        mapping = engine_of(telemetry).queue.journal.mapping  # type: ignore[attr-defined]
        assert b"message!" in bytes(mapping[:])
        assert telemetry.flush().complete
    (row,) = ask(db, "SELECT agent_name, error_message, metadata FROM invocations")
    assert row == ("agent!", "message!", '{"key!":"value!"}')


def test_what_is_replayed_is_as_its_own_logger_redacted_it(db: Path, run_script: Callable[..., Any]) -> None:
    """The callable of whoever opens next does not see it; the patterns look at it again."""
    ended = run_script(
        "T = TelemetryLogger(PATH, journal=True, redact=lambda text: text + '!', flush_interval=3600)\n"
        "assert T.log_invocation_nowait(record(error_message='bad sk-ant-api03-' + 'Ab1' * 20))\nos._exit(7)",
        db,
    )
    assert ended.code == 7, ended.err
    (segment,) = segment_names.find(db)
    assert b"sk-ant" not in segment.read_bytes()
    with TelemetryLogger(db, redact=lambda text: text + "?") as telemetry:
        assert telemetry.stats().replayed == 1
    assert ask(db, "SELECT error_message FROM invocations") == [("bad [REDACTED:anthropic-key]!",)]


def test_a_secret_counts_where_it_was_accepted(db: Path, record: Callable[..., Any]) -> None:
    """Before any commit, and not again with the commit."""
    with TelemetryLogger(db, journal=True, **LATE) as telemetry:
        assert telemetry.log_invocation_nowait(record(error_message="bad sk-ant-api03-" + "Ab1" * 20))
        assert telemetry.stats().redactions == {"anthropic-key": 1}
        assert telemetry.flush().complete
        assert telemetry.stats().redactions == {"anthropic-key": 1}


def test_receipts_outlive_retention_while_their_journal_is_there(db: Path, start_script: Callable[..., Any]) -> None:
    """Committed, not yet noted, deleted as too old, killed: the next open commits none of it again."""
    process = start_script(
        "from datetime import datetime, timezone\n"
        "T = TelemetryLogger(PATH, journal=True, retention_days=None, flush_interval=3600)\n"
        "def hang(batch, result): os.write(1, b'committed\\n'); time.sleep(60)\n"
        "T._engine.queue.settle = hang\n"
        "for _ in range(20): T.log_invocation_nowait(record(timestamp=datetime(2020, 1, 1, tzinfo=timezone.utc)))\n"
        "T.flush()",
        db,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "committed\n", process.stderr.read()
    with TelemetryLogger(db, retention_days=None) as telemetry:
        with closing(sqlite3.connect(db)) as connection:
            connection.execute("UPDATE receipts SET committed_at = '2020-01-01T00:00:00.000000Z'")
            connection.commit()
        assert telemetry.purge(older_than_days=30).records == 20
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(segment_names.find(db)) == 1
    with TelemetryLogger(db, retention_days=None) as telemetry:
        assert telemetry.stats().replayed == 0
    assert segment_names.find(db) == []
    assert ask(db, "SELECT (SELECT count(*) FROM invocations), sum(invocations) FROM daily_costs") == [(0, 20)]


def test_a_journal_goes_on_when_its_database_is_replaced(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """What the old file holds is not written again; what was accepted after it goes to the new one, once."""
    ended = run_script(
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600, batch_size=100000)\n"
        "def log(name, count):\n for _ in range(count): assert T.log_invocation_nowait(record(name))\n"
        "log('old', 10)\nassert T.flush().written == 10\n"
        "for suffix in ('', '-wal', '-shm'):\n os.rename(PATH + suffix, PATH + '.aside' + suffix)\n"
        "log('new', 5)\nassert T.flush().written == 5\nlog('left', 3)\nos._exit(7)",
        db,
    )
    assert ended.code == 7, ended.err
    with TelemetryLogger(db) as telemetry:
        assert telemetry.stats().replayed == 3
    assert truth(db).agents == {"new": 5, "left": 3}
    assert truth(db.with_name(f"{db.name}.aside")).agents == {"old": 10}


def test_a_commit_that_nobody_lived_to_note_goes_to_the_new_file_as_well(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Its receipt went away with the old file, and the new one has it not: once in each file, never twice in one."""
    ended = run_script(
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600, batch_size=100000)\n"
        "for _ in range(10): assert T.log_invocation_nowait(record())\n"
        "T._engine.queue.settle = lambda batch, result: os._exit(7)\nT.flush()",
        db,
    )
    assert ended.code == 7, ended.err
    for suffix in ("", "-wal", "-shm"):
        Path(f"{db}{suffix}").rename(f"{db}.aside{suffix}")
    for replayed in (10, 0):
        with TelemetryLogger(db) as telemetry:
            assert telemetry.stats().replayed == replayed
    new, old = truth(db), truth(db.with_name(f"{db.name}.aside"))
    assert new.rows == len(set(new.ids)) == 10
    assert sorted(new.ids) == sorted(old.ids)


@pytest.mark.parametrize("damage", ["header", "gone"])
def test_orphans_of_a_damaged_file_are_replayed_into_the_new_one(
    damage: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The next open sets the file aside, and what waited in the journal is in the new one."""
    ended = run_script(
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600, batch_size=100000)\n"
        "for _ in range(10): assert T.log_invocation_nowait(record())\nos._exit(7)",
        db,
    )
    assert ended.code == 7, ended.err
    for suffix in ("-wal", "-shm"):
        Path(f"{db}{suffix}").unlink(missing_ok=True)
    if damage == "header":
        db.write_bytes(b"nothing that SQLite knows"[:16] + db.read_bytes()[16:])
    else:
        db.unlink()
    with TelemetryLogger(db) as telemetry:
        assert telemetry.stats().replayed == 10
        assert telemetry.stats().files_set_aside == (1 if damage == "header" else 0)
    assert truth(db).agents == {"agent": 10}


def test_doctor_takes_no_living_journal_for_an_orphan_from_within_another_container(
    db: Path, record: Callable[..., Any]
) -> None:
    """In another PID namespace /proc/locks leaves out the lock of this process; the file itself is still known as held."""
    doctor = [sys.executable, "-m", "llm_service", "doctor", "--db", str(db)]
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False, capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a PID namespace")
    with TelemetryLogger(db, journal=True, **LATE) as telemetry:
        assert telemetry.log_invocation_nowait(record())
        (journal,) = segment_names.find(db)
        assert f":{journal.stat().st_ino} " in Path("/proc/locks").read_text("ascii")
        hidden = subprocess.run([*apart, "cat", "/proc/locks"], check=True, capture_output=True, text=True).stdout
        assert f":{journal.stat().st_ino} " not in hidden
        ended = subprocess.run([*apart, *doctor], check=False, capture_output=True, text=True)
        assert "1, all of living processes" in ended.stdout, ended.stderr
        assert "orphan" not in ended.stdout
        assert telemetry.flush().written == 1
