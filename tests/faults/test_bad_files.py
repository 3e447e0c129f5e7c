"""The file is damaged, deleted, replaced or emptied: it is set aside, never deleted, and the agent goes on."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of
from tests.slices import quick

from llm_service.errors import ForeignDatabaseError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.sqlite import database_files
from llm_service.telemetry.writer.schedule import Do

Record = Callable[..., InvocationRecord]
Sound = Callable[[Path], Any]
PAGE = 4096


def kept(db: Path) -> list[Path]:
    """Databases that were set aside, without their -wal and -shm."""
    return sorted(path for path in db.parent.glob(f"{db.name}.corrupt-*") if path.suffix.endswith("Z"))


def fill(db: Path, record: Record, rows: int = 400) -> None:
    """A file of some hundred pages."""
    with TelemetryLogger(db) as logger:
        for _ in range(rows):
            logger.log_invocation_nowait(record("old", session_id="s" * 100))


def names(db: Path) -> list[Path]:
    """The database with its -wal and -shm, as far as they are there."""
    return [path for suffix in ("", "-wal", "-shm") if (path := db.with_name(db.name + suffix)).exists()]


# While it is open

FAULTS: dict[str, Callable[[Path], Any]] = {
    "the database is deleted": lambda db: db.unlink(),
    "all three files are deleted": lambda db: [path.unlink() for path in names(db)],
    "the folder is deleted": lambda db: shutil.rmtree(db.parent),
    "the database is renamed": lambda db: db.rename(db.with_name("moved.db")),
    "another file is put in its place": lambda db: Path(shutil.copy(db, db.with_name("copy"))).replace(db),
    "the -wal is deleted": lambda db: db.with_name(f"{db.name}-wal").unlink(),
    "the -shm is deleted": lambda db: db.with_name(f"{db.name}-shm").unlink(),
    "the database is emptied": lambda db: os.truncate(db, 0),
}


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """In a folder of its own, which may be deleted."""
    return tmp_path / "here" / "telemetry.db"


@pytest.mark.parametrize("face", ["async", "sync"])
@pytest.mark.parametrize("fault", FAULTS)
async def test_what_happens_to_an_open_file_is_seen_with_the_next_batch(
    fault: str, face: str, db: Path, record: Record, sound: Sound
) -> None:
    """Everything logged from then on is in a new file, which is sound, and is counted as written only there."""
    if face == "sync":
        with TelemetryLogger(db) as logger:
            for _ in range(30):
                logger.log_invocation(record("before"))
            FAULTS[fault](db)
            assert logger.log_invocation(record("after"))
            for _ in range(20):
                assert logger.log_invocation_nowait(record("after"))
            assert logger.flush().written == 20
            stats = logger.stats()
    else:
        async with AsyncTelemetryLogger(db) as telemetry:
            for _ in range(30):
                await telemetry.log_invocation(record("before"))
            assert (await telemetry.flush()).complete
            FAULTS[fault](db)
            assert await telemetry.log_invocation(record("after"), durable=True)
            for _ in range(20):
                assert telemetry.log_invocation_nowait(record("after"))
            assert (await telemetry.flush()).written == 20
            stats = telemetry.stats()
    assert stats.ledger.balanced
    assert (stats.ledger.written, stats.ledger.dropped) == (51, {})
    assert "while it was open" in str(stats.last_error)
    found = sound(db)
    assert found["after"] == 21
    assert found["before"] == (30 if fault == "another file is put in its place" and found["before"] else 0)


async def test_a_deleted_wal_costs_nothing_that_was_committed(db: Path, record: Record, sound: Sound) -> None:
    """Only this process can still reach what was in it, and brings it into the database before that is set aside."""
    async with AsyncTelemetryLogger(db) as telemetry:
        for _ in range(30):
            await telemetry.log_invocation(record("before"), durable=True)
        db.with_name(f"{db.name}-wal").unlink()
        await telemetry.log_invocation(record("after"), durable=True)
        assert telemetry.stats().files_set_aside == 1
    (old,) = kept(db)
    assert sound(old) == {"before": 30}
    assert sound(db) == {"after": 1}


async def test_a_batch_that_was_committed_into_a_replaced_file_is_written_again(
    db: Path, record: Record, sound: Sound, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is renamed between the look before the batch and its COMMIT: the look after it tells."""
    real, turns = database_files.OwnConnection.check, 0

    def check(self: database_files.OwnConnection) -> None:
        nonlocal turns
        turns += 1
        real(self)
        if turns == 3:  # the look before the second batch
            db.rename(db.with_name("moved.db"))

    async with AsyncTelemetryLogger(db) as telemetry:
        await telemetry.start()
        monkeypatch.setattr(database_files.OwnConnection, "check", check)
        await telemetry.log_invocation(record("first"), durable=True)
        await telemetry.log_invocation(record("second"), durable=True)
        assert telemetry.stats().ledger.written == 2
    assert turns > 4
    assert sound(db) == {"second": 1}


async def test_closing_beside_a_new_file_leaves_its_wal_alone(db: Path, record: Record, sound: Sound) -> None:
    """A connection whose file was replaced is not closed: SQLite would delete the newer file's -wal by its name."""
    idle = TelemetryLogger(db)
    idle.log_invocation(record("old"))
    for path in names(db):
        path.unlink()
    with TelemetryLogger(db) as logger:
        logger.log_invocation(record("new"))
        wal = db.with_name(f"{db.name}-wal")
        before = wal.stat().st_ino
        idle.close()
        assert wal.stat().st_ino == before
        logger.log_invocation(record("new"))
        assert logger.stats().retries == 0
    assert sound(db) == {"new": 2}


def test_closing_beside_what_a_dead_process_left_deletes_nothing(
    db: Path, record: Record, run_script: Callable[..., Any]
) -> None:
    """Its -wal stands at the name of ours: the last connection to close would copy ours back, and delete that one."""
    idle = TelemetryLogger(db)
    idle.log_invocation(record("old"))
    engine_of(idle).inline.act(Do.TIDY)
    for path in names(db)[1:]:
        path.unlink()
    script = 'T = TelemetryLogger(PATH)\nfor _ in range(5): committed(T, "new")\nos._exit(7)'
    assert run_script(script).code == 7
    idle.close()
    # In another process: here SQLite has the -shm that was deleted in use, and would read by that.
    count = "SELECT agent_name, count(*) FROM invocations GROUP BY 1"
    ended = run_script(f"print(sqlite3.connect(PATH).execute({count!r}).fetchall())")
    assert ended.out == "[('new', 5), ('old', 1)]\n", ended.err


SEVERAL = """
async def main(name):
    async with AsyncTelemetryLogger(PATH, flush_interval=0.01) as T:
        await promised(T, name)
        was = os.stat(PATH).st_ino
        os.write(told, b"x")
        def is_new():
            try: return os.stat(PATH).st_ino != was
            except FileNotFoundError: return False
        while not is_new(): await promised(T, name)
        for _ in range(50): await promised(T, f"{name}, after")
    note("ledger", {"balanced": T.stats().ledger.balanced, "set_aside": T.stats().files_set_aside})
heard, told = os.pipe()
children = []
for n in range(4):
    pid = os.fork()
    if pid == 0:
        try: asyncio.run(main(f"process-{n}")); os._exit(0)
        except BaseException: import traceback; traceback.print_exc()
        finally: os._exit(1)
    children.append(pid)
for _ in range(4): os.read(heard, 1)
FAULT
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
assert codes == [0] * 4, codes
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault", quick(["os.unlink(PATH)", "os.unlink(PATH + '-wal')", "os.rename(PATH, PATH + '.moved')"], 0)
)
def test_processes_that_see_the_damage_at_once_agree_on_one_new_file(
    fault: str, db: Path, run_script: Callable[..., Any], sound: Sound
) -> None:
    """Four processes write on: all of them into the same new file, and nothing is lost that was promised after."""
    db.parent.mkdir()
    ended = run_script(SEVERAL.replace("FAULT", fault))
    assert ended.code == 0, ended.err
    found = sound(db)
    assert {agent: rows for agent, rows in found.items() if str(agent).endswith("after")} == {
        f"process-{n}, after": 50 for n in range(4)
    }


# Before it is opened


def no_content(db: Path) -> None:
    """Shorter than anything: SQLite takes it for a new database."""
    os.truncate(db, 0)


def text(db: Path) -> None:
    """Not a database at all."""
    db.write_text("these are notes, not a database\n" * 200)


def fifty_bytes(db: Path) -> None:
    """Not even the header is whole."""
    os.truncate(db, 50)


def half(db: Path) -> None:
    """The second half of the pages is missing."""
    os.truncate(db, db.stat().st_size // PAGE // 2 * PAGE)


def header(db: Path) -> None:
    """The header is overwritten, and with it the mark that the file is ours."""
    with db.open("r+b") as file:
        file.write(b"\xff" * 100)


def magic(db: Path) -> None:
    """The first bytes are overwritten: SQLite knows it no more, we do."""
    with db.open("r+b") as file:
        file.write(b"\xff" * 16)


OF_OURS = [no_content, half, magic]
NOBODY_S = [text, fifty_bytes, header]


def ids(damage: Callable[[Path], None]) -> str:
    """How a damage is called."""
    return damage.__name__


@pytest.mark.parametrize("damage", NOBODY_S, ids=ids)
@pytest.mark.parametrize("face", ["async", "sync"])
def test_a_file_that_does_not_show_to_be_ours_is_left_as_it_is(
    face: str, damage: Callable[[Path], None], db: Path, record: Record
) -> None:
    """A mistyped path must not move somebody's notes: the logger says at once that it cannot be used, and counts."""
    fill(db, record)
    damage(db)
    before = db.read_bytes(), db.stat().st_mtime_ns, sorted(db.parent.iterdir())

    async def run() -> Any:
        telemetry = AsyncTelemetryLogger(db)
        with pytest.raises(ForeignDatabaseError, match="no database of telemetry"):
            await telemetry.start()
        telemetry.log_invocation_nowait(record("new"))
        await telemetry.aclose()
        return telemetry.stats()

    if face == "sync":
        with pytest.raises(ForeignDatabaseError, match="left as it is; give another path"):
            TelemetryLogger(db)
    else:
        assert asyncio.run(run()).ledger.dropped == {"store_failed": 1}
    assert (db.read_bytes(), db.stat().st_mtime_ns, sorted(db.parent.iterdir())) == before


@pytest.mark.parametrize("damage", NOBODY_S, ids=ids)
def test_what_this_logger_wrote_is_its_own_whatever_became_of_it(
    damage: Callable[[Path], None], db: Path, record: Record, sound: Sound
) -> None:
    """It stood at that path while this logger wrote it: it is set aside, and the agent goes on."""
    fill(db, record)
    logger = TelemetryLogger(db)
    logger.log_invocation(record("old"))
    engine_of(logger).inline.act(Do.TIDY)
    damage(db)
    for path in names(db)[1:]:
        path.unlink()
    assert logger.log_invocation(record("new"))
    logger.close()
    assert logger.stats().files_set_aside == 1
    assert sound(db) == {"new": 1}


@pytest.mark.parametrize("page_1", [True, False], ids=["tells", "does not"])
def test_a_wal_alone_tells_whose_it_is(page_1: bool, db: Path, record: Record) -> None:
    """By the first page in it; where that is not, nothing is moved."""
    logger = TelemetryLogger(db)
    logger.log_invocation(record("old"))
    wal = db.with_name(f"{db.name}-wal")
    content = wal.read_bytes() if page_1 else b"notes of somebody " * 4096
    logger.close()
    db.unlink()
    wal.write_bytes(content)
    if page_1:
        with TelemetryLogger(db) as new:
            assert new.stats().files_set_aside == 1
        return
    with pytest.raises(ForeignDatabaseError):
        TelemetryLogger(db)
    assert [path.name for path in db.parent.iterdir()] == [wal.name]
    assert wal.read_bytes() == content


@pytest.mark.parametrize("damage", OF_OURS, ids=ids)
@pytest.mark.parametrize("face", ["async", "sync"])
def test_a_file_that_cannot_be_used_is_set_aside_for_a_new_one(
    face: str, damage: Callable[[Path], None], db: Path, record: Record, sound: Sound,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """It is kept byte for byte, said once with its new name, and counted; nobody who logs notices anything."""
    fill(db, record)
    damage(db)
    content = db.read_bytes()

    async def run() -> Any:
        async with AsyncTelemetryLogger(db) as telemetry:
            for _ in range(50):
                assert telemetry.log_invocation_nowait(record("new"))
            assert await telemetry.log_invocation(record("new"), durable=True)
        return telemetry.stats()

    if face == "sync":
        with TelemetryLogger(db) as logger:
            for _ in range(51):
                assert logger.log_invocation(record("new"))
        stats = logger.stats()
    else:
        stats = asyncio.run(run())
    assert (stats.ledger.written, stats.ledger.dropped) == (51, {})
    assert sound(db) == {"new": 51}
    if damage is no_content:
        assert (stats.files_set_aside, kept(db)) == (0, [])  # there was nothing to keep
        return
    (old,) = kept(db)
    assert old.read_bytes() == content
    assert stats.files_set_aside == 1
    said = [entry.getMessage() for entry in caplog.records if entry.levelname == "ERROR"]
    assert len(said) == 1
    assert f"it is kept as {old.name}, and a new file takes over" in said[0]


@pytest.mark.parametrize("left", ["", "empty"])
def test_a_wal_whose_database_is_gone_is_kept(left: str, db: Path, record: Record, sound: Sound) -> None:
    """SQLite would delete it with all that was committed into it."""
    logger = TelemetryLogger(db)
    logger.log_invocation(record("old"))
    wal = db.with_name(f"{db.name}-wal")
    content = wal.read_bytes()
    os.truncate(db, 0) if left else db.unlink()
    with TelemetryLogger(db) as new:
        assert new.log_invocation(record("new"))
        assert new.stats().files_set_aside == 1
    logger.close()
    (orphan,) = db.parent.glob(f"{db.name}.corrupt-*-wal")
    assert orphan.read_bytes() == content
    assert sound(db) == {"new": 1}


def test_a_foreign_database_is_never_moved(db: Path, record: Record) -> None:
    """Another application's tables are refused, whatever waits to be written."""
    db.parent.mkdir()
    connection = sqlite3.connect(db)
    connection.execute("CREATE TABLE notes (text)")
    connection.close()
    before = db.read_bytes()

    async def run() -> Any:
        telemetry = AsyncTelemetryLogger(db)
        telemetry.log_invocation_nowait(record())
        await telemetry.flush()
        await telemetry.aclose()
        return telemetry.stats()

    stats = asyncio.run(run())
    assert stats.ledger.dropped == {"store_failed": 1}
    assert stats.files_set_aside == 0
    assert db.read_bytes() == before
    assert [path.name for path in db.parent.iterdir()] == [db.name]


@pytest.mark.parametrize("page", range(1, 12))
def test_a_damaged_page_never_stops_the_agent(page: int, db: Path, record: Record) -> None:
    """Whichever page it is: each record is counted once, and is in the file or in the new one that takes over."""
    fill(db, record)
    with db.open("r+b") as file:
        file.seek((page - 1) * PAGE + (100 if page == 1 else 0))
        file.write(b"\xff" * 32)
    with TelemetryLogger(db) as logger:
        for _ in range(50):
            assert logger.log_invocation(record("new"))
        stats = logger.stats()
    assert (stats.ledger.balanced, stats.ledger.written, stats.ledger.dropped) == (True, 50, {})
    rows = 0
    for path in (db, *kept(db)):
        connection = sqlite3.connect(path)
        try:
            rows += connection.execute("SELECT count(*) FROM invocations WHERE agent_name = 'new'").fetchone()[0]
        except sqlite3.DatabaseError:
            assert path != db or stats.files_set_aside == 0  # what was damaged still is
            rows += 50 if path == db else 0
        finally:
            connection.close()
    assert rows >= 50
    assert len(kept(db)) == stats.files_set_aside <= 1
