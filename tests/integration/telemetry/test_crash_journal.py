"""With the journal on, no end of a process loses what was accepted, and nothing is committed twice."""

import errno
import os
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of
from tests.slices import quick

from llm_service.config.settings import Settings
from llm_service.errors import StoreError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.journal import locking, segment_names
from llm_service.telemetry.writer.events import EventKind
from llm_service.telemetry.writer.ledger import DropReason

LATE = {"flush_interval": 3600.0, "batch_size": 100_000}
"""Nothing is committed before somebody asks for it."""

# Each accepts 100 records and ends at once, with nothing of its own to write them.
ENDS = {
    "os._exit, sync": "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\nos._exit(7)",
    "os._exit, async": (
        "async def main():\n async with AsyncTelemetryLogger(PATH, journal=True, flush_interval=3600) as T:\n"
        "  for _ in range(50): assert await T.log_invocation(record())\n"
        "  for _ in range(50): assert T.log_invocation_nowait(record())\n  os._exit(7)\nasyncio.run(main())"
    ),
    "os._exit, never in a loop": "T = AsyncTelemetryLogger(PATH, journal=True)\nlog(T)\nos._exit(7)",
    "os._exit in the middle of a commit": (
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\n"
        "from llm_service.telemetry.stores.sqlite import batch_writer as sqlite_writer\n"
        "sqlite_writer._Transaction.add_rollups = lambda self: os._exit(7)\nT.flush()"
    ),
    "os._exit right behind a commit": (
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\n"
        "T._engine.queue.settle = lambda batch, result: os._exit(7)\nT.flush()"
    ),
    "abort": (
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\n"
        "import resource; resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nos.abort()"
    ),
    "SIGTERM without a handler": (
        "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\nos.kill(os.getpid(), signal.SIGTERM)\n"
        "time.sleep(30)"
    ),
}
LOG = "def log(telemetry):\n for _ in range(100): assert telemetry.log_invocation_nowait(record())\n"


def closed_after(db: Path, **options: Any) -> Any:
    """Open the file as the next program would, and say what was seen."""
    with TelemetryLogger(db, **options) as telemetry:
        return telemetry.stats()


@pytest.mark.parametrize("end", quick(ENDS, 0))
def test_records_accepted_before_the_end_are_written_by_the_next_open(
    end: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Fault rows 4 and 5: all hundred, once, and the journal is gone."""
    finished = run_script(LOG + ENDS[end], db)
    assert finished.code != 0, finished.err
    stats = closed_after(db)
    found = truth(db)
    assert found.rows == len(set(found.ids)) == 100
    assert stats.replayed == (0 if end == "os._exit right behind a commit" else 100)
    assert stats.ledger.submitted == 0
    assert segment_names.find(db) == []


@pytest.mark.volume
def test_kill_minus_nine_at_any_moment_loses_nothing_accepted(
    db: Path, start_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Fault row 8: ten kills, each with commits under way; what a call returned for is on disk."""
    script = """
telemetry = TelemetryLogger(PATH, journal=True, flush_interval=0.005)
for number in range(10**9):
    assert telemetry.log_invocation_nowait(record(invocation_id=f"{sys.argv[2]}-{number}"))
    os.write(1, b"%d\\n" % number)
"""
    accepted: list[str] = []
    for turn in range(10):
        process = start_script(script, db, turn, flags=())
        assert process.stdout is not None
        for _ in range(1 + 37 * turn):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        told = int((process.stdout.read().split() or [str(37 * turn)])[-1])
        process.wait()
        accepted += [f"{turn}-{number}" for number in range(told + 1)]
    closed_after(db)
    found = truth(db)
    assert set(accepted) <= set(found.ids)
    assert len(found.ids) == len(set(found.ids)) <= len(accepted) + 10
    assert segment_names.find(db) == []


def test_a_closed_logger_leaves_no_journal(db: Path, record: Callable[..., Any]) -> None:
    """While it is open there is one, of the size that was asked for; level `none` and `enabled: false` make none."""
    with TelemetryLogger(db, journal=True, **LATE) as telemetry:
        assert telemetry.log_invocation_nowait(record())
        stats = telemetry.stats()
        assert stats.journal_bytes > 0
        assert stats.journal_size == segment_names.find(db)[0].stat().st_size
    assert segment_names.find(db) == []
    assert telemetry.stats().journal_size == 0
    for options in ({"enabled": False}, {"privacy_level": "none"}):
        with TelemetryLogger(db.with_name("other.db"), journal=True, **options) as telemetry:  # type: ignore[arg-type]
            telemetry.log_invocation_nowait(record())
        assert not any("other" in path.name for path in db.parent.iterdir())


async def test_the_async_face_keeps_and_removes_its_journal(db: Path, record: Callable[..., Any]) -> None:
    """Durable calls go through it as well."""
    async with AsyncTelemetryLogger(db, journal=True) as telemetry:
        assert len(segment_names.find(db)) == 1
        assert await telemetry.log_invocation(record())
        assert await telemetry.log_invocation(record(), durable=True)
        assert (await telemetry.flush()).complete
        assert telemetry.stats().journal_bytes == 0
    assert segment_names.find(db) == []


def test_a_record_of_level_none_never_reaches_the_journal(db: Path, record: Callable[..., Any]) -> None:
    """It is refused at once, and counted."""
    with TelemetryLogger(db, journal=True, **LATE) as telemetry:
        assert not telemetry.log_invocation_nowait(record("hidden", privacy_level="none"))
        assert not telemetry.log_invocation(record("hidden", privacy_level="none"))
        assert telemetry.stats().ledger.dropped == {DropReason.PRIVACY: 2}
        assert b"hidden" not in _bytes_of(telemetry)


def test_content_and_long_messages_do_not_reach_the_journal(db: Path, record: Callable[..., Any]) -> None:
    """At level `metadata` the file holds what the database would hold."""
    with TelemetryLogger(db, journal=True, **LATE) as telemetry:
        long = "m" * 490 + " " + "TAIL" * 50
        telemetry.log_invocation_nowait(
            record(prompt="SECRET", response="SECRET", error_message=long, session_id="seen")
        )
        data = _bytes_of(telemetry)
        assert b"seen" in data
        assert b"SECRET" not in data
        assert b"TAILTAIL" not in data
    with TelemetryLogger(db, journal=True, privacy_level="full", **LATE) as telemetry:
        telemetry.log_invocation_nowait(record(prompt="WANTED"))
        assert b"WANTED" in _bytes_of(telemetry)


def _bytes_of(telemetry: TelemetryLogger) -> bytes:
    """The segment, by its mapping: opening it here would drop its lock."""
    mapping = engine_of(telemetry).queue.journal.mapping  # type: ignore[attr-defined]
    return bytes(mapping[:])


@pytest.mark.slow
def test_a_forked_child_makes_its_own_and_leaves_the_parent_s_alone(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The child is killed, the parent ends by os._exit; each one's records come once."""
    script = (
        LOG + "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        " for _ in range(30): assert T.log_invocation_nowait(record('child'))\n"
        " assert len([n for n in os.listdir(os.path.dirname(PATH)) if '-journal-' in n]) == 2\n"
        " os.kill(os.getpid(), signal.SIGKILL)\n"
        "assert os.waitpid(pid, 0)[1] == signal.SIGKILL\n"
        "other = TelemetryLogger(PATH)\n"  # replays the child's; the parent's own is alive
        "assert other.stats().replayed == 30, other.stats()\n"
        "other.close()\nlog(T)\nos._exit(7)"
    )
    finished = run_script(script, db, flags=())
    assert finished.code == 7, finished.err
    assert closed_after(db).replayed == 200
    assert truth(db).agents == {"agent": 200, "child": 30}


_LEAVE = (
    "T = TelemetryLogger(PATH, journal=True, flush_interval=3600)\nlog(T)\nprint('ready')\nsys.stdin.readline()\n"
    "os._exit(7)"
)


@pytest.mark.volume
def test_several_processes_that_open_at_once_replay_it_once(
    db: Path,
    start_script: Callable[..., Any],
    expect_line: Callable[..., None],
    tell: Callable[[Any], None],
    truth: Callable[[Path], Any],
) -> None:
    """Four at the same moment, three journals."""
    leaving = [start_script(LOG + _LEAVE, db) for _ in range(3)]
    for process in leaving:
        expect_line(process, "ready")
    for process in leaving:
        tell(process)
        process.wait()
    assert len(segment_names.find(db)) == 3
    script = (
        "print('ready'); sys.stdin.readline()\n"
        "with TelemetryLogger(PATH, flush_interval=0.01) as T:\n"
        " deadline = time.monotonic() + 20\n"
        " while T.stats().replayed == 0 and [n for n in os.listdir(os.path.dirname(PATH)) if '-journal-' in n]:\n"
        "  assert time.monotonic() < deadline; T.log_invocation(record('late')); time.sleep(0.05)\n"
        " print(T.stats().replayed)"
    )
    processes = [start_script(script, db) for _ in range(4)]
    for process in processes:
        expect_line(process, "ready")
    for process in processes:
        tell(process)
    replayed = [int(process.communicate(timeout=30)[0]) for process in processes]
    assert sum(replayed) == 300
    assert truth(db).agents["agent"] == 300
    assert segment_names.find(db) == []


@pytest.mark.parametrize("overflow", ["block", "drop_newest"])
def test_a_full_journal_drops_by_policy_and_counts(overflow: str, db: Path, record: Callable[..., Any]) -> None:
    """Names are not counted among a record's bytes, so long ones fill the ring before the queue."""
    name = "\N{FOX FACE}" * 200
    with TelemetryLogger(db, journal=True, queue_max_bytes=65_536, overflow=overflow, **LATE) as telemetry:  # type: ignore[arg-type]
        accepted = 0
        while telemetry.log_invocation_nowait(record(name, tool_name=name, model_name=name)):
            accepted += 1
        assert accepted < 65_536 // 700
        ledger = telemetry.stats().ledger
        assert ledger.dropped == {DropReason.JOURNAL_FULL: 1}
        assert telemetry.flush().written == accepted
        assert telemetry.log_invocation_nowait(record(name))


def test_drop_oldest_makes_room_in_the_journal(db: Path, record: Callable[..., Any]) -> None:
    """The oldest go, the newest stay, and what went does not come back after a crash."""
    name = "\N{FOX FACE}" * 200
    with TelemetryLogger(db, journal=True, queue_max_bytes=65_536, overflow="drop_oldest", **LATE) as telemetry:
        for number in range(60):
            assert telemetry.log_invocation_nowait(
                record(name, tool_name=name, model_name=name, session_id=f"s{number}")
            )
        ledger = telemetry.stats().ledger
        dropped = ledger.dropped[DropReason.JOURNAL_FULL]
        assert 0 < dropped < 60
        assert ledger.pending == 60 - dropped
        telemetry.flush()
        rows = telemetry.get_invocations(limit=100)
    assert {row["session_id"] for row in rows} == {f"s{number}" for number in range(dropped, 60)}


async def test_an_awaited_call_waits_for_room_in_the_journal(db: Path, record: Callable[..., Any]) -> None:
    """Commits free it: nothing is dropped."""
    name = "\N{FOX FACE}" * 200
    async with AsyncTelemetryLogger(db, journal=True, queue_max_bytes=65_536, **LATE) as telemetry:  # type: ignore[arg-type]
        for _ in range(200):
            assert await telemetry.log_invocation(record(name, tool_name=name, model_name=name))
    ledger = telemetry.stats().ledger
    assert (ledger.written, ledger.dropped) == (200, {})


async def test_a_record_larger_than_the_journal_is_dropped_at_once(db: Path, record: Callable[..., Any]) -> None:
    """Waiting would not help."""
    name, tags = "\N{FOX FACE}" * 200, ["t" * 200] * 300
    options: dict[str, Any] = {"journal": True, "queue_max_bytes": 65_536, "block_timeout": 60.0}
    fitting = record(tags=tags, metadata={"m": "x" * 3000})
    assert fitting.size < 65_536
    async with AsyncTelemetryLogger(db, **options) as telemetry:
        huge = record(name, tool_name=name, model_name=name, tags=tags, metadata={"m": "x" * 3000})
        assert huge.size <= 65_536
        assert not await telemetry.log_invocation(huge)
        assert telemetry.stats().ledger.dropped == {DropReason.JOURNAL_FULL: 1}
        assert await telemetry.log_invocation(fitting)


def test_what_a_close_could_not_write_stays_in_the_journal(
    db: Path, record: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Counted as `journaled`, and written by the next open."""
    lost: list[tuple[DropReason, int]] = []
    told: list[str] = []
    telemetry = TelemetryLogger(
        db,
        journal=True,
        on_drop=lambda *drop: lost.append(drop),
        on_event=lambda event: told.append(event.kind),
        **LATE,  # type: ignore[arg-type]
    )
    for _ in range(5):
        telemetry.log_invocation_nowait(record())
    locked = sqlite3.connect(db, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    result = telemetry.close(timeout=0.1)
    assert result.dropped == {DropReason.JOURNALED: 5}
    assert lost == [(DropReason.JOURNALED, 5)]
    assert EventKind.CLOSED_WITH_LOSS not in told
    assert telemetry.stats().ledger.balanced
    locked.execute("ROLLBACK")
    locked.close()
    assert closed_after(db).replayed == 5
    assert truth(db).rows == 5


@pytest.mark.slow
def test_a_locked_database_is_replayed_into_in_the_background(
    db: Path,
    run_script: Callable[..., Any],
    eventually: Callable[..., None],
    truth: Callable[[Path], Any],
) -> None:
    """The open does not fail, the file stays, and nobody has to ask again."""
    run_script(LOG + ENDS["os._exit, sync"], db)
    locked = sqlite3.connect(db, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    with TelemetryLogger(db) as telemetry:
        assert telemetry.stats().replayed == 0
        assert len(segment_names.find(db)) == 1
        locked.execute("ROLLBACK")
        locked.close()
        eventually(lambda: telemetry.stats().replayed == 100)
    assert truth(db).rows == 100
    assert segment_names.find(db) == []


@pytest.mark.slow
def test_flipped_bytes_cost_their_records_and_are_counted(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Fault row 40: three damaged records of a hundred."""
    run_script(LOG + ENDS["os._exit, sync"], db)
    (path,) = segment_names.find(db)
    data = bytearray(path.read_bytes())
    at = 4096
    for _ in range(3):
        at = data.index(b"agent", at) + 1
        data[at] ^= 0xFF
        at += 400
    path.write_bytes(data)
    stats = closed_after(db)
    assert (stats.replayed, stats.journal_lost) == (97, 3)
    assert truth(db).rows == 97


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
async def test_a_journal_that_cannot_be_made_is_said_at_once(
    face: type, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no retry helps, construction or `start` raises."""
    monkeypatch.setattr(locking, "fcntl", None)

    async def begin() -> None:
        telemetry = face(db, journal=True)
        try:
            await telemetry.start()
        finally:
            await telemetry.aclose()

    with pytest.raises(StoreError, match="set journal to false"):
        await begin()
    assert segment_names.find(db) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of two megabytes."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = [shutil.which("mount") or "mount", "-t", "tmpfs", "-o", "size=2m", "none", str(place)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield place
    finally:
        subprocess.run([shutil.which("umount") or "umount", "-l", str(place)], check=False)


def _fill(ballast: Path) -> None:
    """Leave no room at all."""
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError as error:
            assert error.errno == errno.ENOSPC  # noqa: PT017 - whichever write it is


async def test_a_full_disk_refuses_the_journal_not_the_agent(
    small_disk: Path, record: Callable[..., Any], eventually: Callable[..., None]
) -> None:
    """Fault row 19: no SIGBUS, no half-made file; records are dropped and counted, until there is room."""
    db = small_disk / "telemetry.db"
    options: dict[str, Any] = {"journal": True, "queue_max_bytes": 1 << 20, "overflow": "drop_newest"}
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_500_000))
    async with AsyncTelemetryLogger(db, **options) as telemetry:
        assert not telemetry.log_invocation_nowait(record())
        assert telemetry.stats().ledger.dropped == {DropReason.JOURNAL_FULL: 1}
        assert segment_names.find(db) == []
        ballast.unlink()
        eventually(lambda: telemetry.log_invocation_nowait(record()))
        assert telemetry.stats().journal_size > 1 << 20
        # Now full again, and every page of the ring is used: it was allocated, so no store can fail.
        _fill(ballast)
        for _ in range(3000):
            telemetry.log_invocation_nowait(record())
        ballast.unlink()
        assert (await telemetry.flush()).complete
    assert telemetry.stats().ledger.balanced


def test_a_symbolic_link_in_the_journal_s_place_is_refused(db: Path, tmp_path: Path) -> None:
    """Planted for a replay: neither read nor removed, and said."""
    target = tmp_path / "target"
    target.write_text("mine")
    link = db.with_name(segment_names.segment_name(db, "0d523cae-1d87-4dad-941f-c0f5f629fa3c"))
    link.symlink_to(target)
    assert closed_after(db).journals_left == 1
    assert target.read_text() == "mine"
    assert link.is_symlink()


def test_journaling_survives_a_round_trip_through_settings(db: Path) -> None:
    """Off by default; on by every way of configuring."""
    assert Settings(db_path=db).journal is False
    assert Settings(db_path=db, journal=True).journal is True


@pytest.mark.slow
def test_a_durable_call_that_is_dropped_at_close_says_where_the_record_is(
    db: Path, run_script: Callable[..., Any]
) -> None:
    """`journaled` is the reason on the error."""
    script = (
        "import sqlite3\nT = AsyncTelemetryLogger(PATH, journal=True)\n"
        "async def main():\n await T.start()\n lock = sqlite3.connect(PATH, isolation_level=None)\n"
        " lock.execute('BEGIN IMMEDIATE')\n"
        " task = asyncio.create_task(T.log_invocation(record(), durable=True))\n await asyncio.sleep(0)\n"
        " await T.aclose(timeout=0.1)\n lock.execute('ROLLBACK')\n"
        " try:\n  await task\n except Exception as error:\n  print(error.reason)\nasyncio.run(main())"
    )
    finished = run_script(script, db, flags=())
    assert finished.out == "journaled\n", finished.err
    assert closed_after(db).replayed == 1


if not hasattr(os, "fork"):  # pragma: no cover
    pytestmark = pytest.mark.skip(reason="no POSIX record locks here")
