"""What a dead process left is committed once, whoever does it, however often it is tried."""

import marshal
import os
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.memory_store import parts

from llm_service.config.settings import PrivacyLevel, Settings
from llm_service.telemetry.journal import segment, segment_names
from llm_service.telemetry.journal.encoding import LAYOUT, LAYOUTS
from llm_service.telemetry.journal.journal import CrashJournal, Slot
from llm_service.telemetry.journal.replay import Replayed, replay_all
from llm_service.telemetry.record.fields import ADDED
from llm_service.telemetry.record.record import EXTENSION_FIELDS, FIELDS, InvocationRecord
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.session import SqliteSession
from llm_service.telemetry.stores.sqlite.store import SqliteStore
from llm_service.telemetry.writer.journal_recovery import JournalRecovery

WRITER = "0d523cae-1d87-4dad-941f-c0f5f629fa3c"


def other(ending: str) -> str:
    """Another writer's id."""
    return WRITER[: -len(ending)] + ending


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """The database's place."""
    return tmp_path / "t.db"


@pytest.fixture
def connection(db: Path) -> Iterator[sqlite3.Connection]:
    """An open, empty database."""
    made = open_for_writing(db, 0)
    yield made
    made.close()


@pytest.fixture
def leave(db: Path) -> Callable[..., tuple[CrashJournal, list[InvocationRecord]]]:
    """Leave a segment with so many records; its writer is dead when it is closed."""

    def write(
        records: int, *, writer: str = WRITER, ceiling: PrivacyLevel = "metadata", **values: Any
    ) -> tuple[CrashJournal, list[InvocationRecord]]:
        journal = CrashJournal(db, 1 << 20, ceiling)
        journal.begin(writer)
        made = [
            InvocationRecord(**{"agent_name": "a", "cost_usd": 0.5, "total_tokens": 3, "latency_ms": 5} | values)
            for _ in range(records)
        ]
        for record in made:
            assert journal.append(journal.encode(record), Slot())
        return journal, made

    return write


EARLIER_LAYOUTS = {1: 0x1FACA331, 2: 0x17B41F63, 3: 0x3E7C5000}
"""Of the records of earlier releases, by the version of their tables."""


def test_the_layout_of_each_earlier_version_is_known() -> None:
    """One for each version before the last that added fields: who adds one writes down what records were before."""
    assert sorted(EARLIER_LAYOUTS) == list(range(1, max(ADDED)))
    assert {*EARLIER_LAYOUTS.values(), LAYOUT} == set(LAYOUTS)


@pytest.mark.parametrize("version", EARLIER_LAYOUTS)
def test_what_an_earlier_release_left_is_committed_by_this_one(
    db: Path, connection: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    """A process dies, and the next start is that of a new release."""
    later = [name for added in ADDED if added > version for name in ADDED[added]]
    first = [name for name in FIELDS if name not in later]
    assert zlib.crc32(",".join(first).encode()) == EARLIER_LAYOUTS[version]
    with monkeypatch.context() as patch:
        patch.setattr("llm_service.telemetry.journal.journal.LAYOUT", EARLIER_LAYOUTS[version])
        journal = CrashJournal(db, 1 << 20, "full")
        journal.begin(WRITER)
        journal.ensure()
    for values in ({"cache_read_tokens": 5, "metadata": {"a": 1}, "prompt": "why?"}, {"agent_name": "b"}):
        record = InvocationRecord(**values)
        extensions = record.extensions
        if extensions is not None:
            at = EXTENSION_FIELDS.index(later[0])
            extensions = extensions[:at] + extensions[at + len(later) :]
        assert journal.append(marshal.dumps((record.card, extensions), 2), Slot())
    journal.close()
    assert replay(db, connection).written == 2
    stored = connection.execute(
        "SELECT agent_name, cache_read_tokens, metadata, service_tier, c.prompt IS NOT NULL FROM invocations AS i"
        " LEFT JOIN invocation_contents AS c ON c.id = i.id ORDER BY i.id"
    ).fetchall()
    assert stored == [(None, 5, '{"a":1}', None, 1), ("b", None, None, None, 0)]
    assert segment_names.find(db) == []


def session_of(db: Path, connection: sqlite3.Connection) -> SqliteSession:
    """The store's side, with this connection."""
    session = SqliteStore(parts(db)).session()
    session.connection._connection = connection
    return session


def replay(db: Path, connection: sqlite3.Connection, done: Replayed | None = None) -> Replayed:
    """Replay all."""
    done = Replayed() if done is None else done
    replay_all(db, session_of(db, connection), "full", done)
    return done


def rows(connection: sqlite3.Connection) -> int:
    """Records stored, and counted in the daily totals alike."""
    (stored,) = connection.execute("SELECT count(*) FROM invocations").fetchone()
    (counted,) = connection.execute("SELECT coalesce(sum(invocations), 0) FROM daily_costs").fetchone()
    assert stored == counted
    return int(stored)


def commit(connection: sqlite3.Connection, records: list[InvocationRecord], batch_no: int) -> None:
    """What the dead writer had committed."""
    SqliteBatchWriter(WRITER, "metadata").write(connection, records, batch_no=batch_no, durable=False, slice_rows=25)


def test_what_was_left_is_committed_and_the_file_is_gone(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """Many transactions' worth."""
    journal, records = leave(700)
    journal.close()
    assert replay(db, connection) == Replayed(written=700)
    assert rows(connection) == 700
    stored = [row[0] for row in connection.execute("SELECT invocation_id FROM invocations ORDER BY id")]
    assert stored == [record.invocation_id for record in records]
    assert segment_names.find(db) == []
    assert replay(db, connection) == Replayed()


def test_a_commit_that_the_writer_did_not_live_to_note_is_neither_doubled_nor_counted(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """Phantom commit: the batch is on disk with its receipt, its places in the journal were never freed."""
    journal, records = leave(300)
    slots = list(journal.slots)
    journal.assign(slots[:100], 1)
    commit(connection, records[:100], 1)
    journal.assign(slots[100:200], 2)  # taken, and the process died before this COMMIT
    journal.close()
    assert replay(db, connection) == Replayed(written=200, known=0)
    assert rows(connection) == 300


def test_a_quarantined_record_is_not_quarantined_again(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """It has no row that its id would be found in: only the receipt tells."""
    journal, records = leave(2)
    slots = list(journal.slots)
    journal.assign(slots[:1], 1)
    connection.execute(
        "CREATE TEMP TRIGGER t BEFORE INSERT ON invocations WHEN new.agent_name = 'a' "
        "BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    commit(connection, records[:1], 1)
    journal.close()
    assert replay(db, connection) == Replayed(quarantined=1)
    assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (2,)


def test_an_id_that_somebody_else_stored_is_known(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """Its row stays, no total counts it twice."""
    journal, records = leave(3)
    SqliteBatchWriter("another", "metadata").write(connection, records[1:2], batch_no=9, durable=False, slice_rows=25)
    journal.close()
    assert replay(db, connection) == Replayed(written=2, known=1)
    assert rows(connection) == 3


def test_a_living_writer_is_left_alone(db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]) -> None:
    """In this process, too."""
    journal, _ = leave(3)
    assert replay(db, connection) == Replayed()
    assert len(segment_names.find(db)) == 1
    journal.close()
    assert replay(db, connection) == Replayed(written=3)


class Failing:
    """Restores so many batches and then finds the database locked."""

    def __init__(self, real: SqliteSession, batches: int) -> None:
        self.real = real
        self.batches = batches
        self.receipt = real.receipt

    def restore(self, *arguments: Any, **options: Any) -> Any:
        if self.batches == 0:
            raise sqlite3.OperationalError("database is locked")
        self.batches -= 1
        return self.real.restore(*arguments, **options)


def test_a_replay_that_stops_half_way_is_gone_on_with_by_another(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """Its own receipt says how far it came; the segment stays until the end."""
    journal, _ = leave(700)
    journal.close()
    done = Replayed()
    with pytest.raises(sqlite3.OperationalError):
        replay_all(db, Failing(session_of(db, connection), 1), "full", done)
    assert done.written == 256 == rows(connection)
    assert len(segment_names.find(db)) == 1
    assert replay(db, connection) == Replayed(written=700 - 256)
    assert rows(connection) == 700


def test_the_lower_level_of_both_writers_counts(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """A record of a `metadata` logger stays one, whoever replays it."""
    journal, _ = leave(1)
    journal.close()
    replay(db, connection)
    assert connection.execute("SELECT privacy_level FROM invocations").fetchone() == ("metadata",)


def test_another_version_stays_where_it_is(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Reported, never removed."""
    journal, _ = leave(3)
    journal.close()
    (path,) = segment_names.find(db)
    data = bytearray(path.read_bytes())
    for at in (8, 2048 + 8):
        struct.pack_into("=I", data, at, 2)
    path.write_bytes(data)
    done = replay(db, connection)
    assert done == Replayed(left=1)
    assert "version is 2" in caplog.text
    assert path.read_bytes() == data
    assert replay(db, connection, done) == Replayed(left=1)


def test_a_link_stays_where_it_is_and_is_not_followed(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any], tmp_path: Path
) -> None:
    """Planted by somebody; the others are replayed all the same."""
    journal, _ = leave(3)
    journal.close()
    target = tmp_path / "target"
    target.write_text("mine")
    planted = db.parent / segment_names.segment_name(db, other("00"))
    planted.symlink_to(target)
    assert replay(db, connection) == Replayed(written=3, left=1)
    assert planted.is_symlink()
    assert target.read_text() == "mine"


@pytest.mark.parametrize("size", [0, 3, 5000, 1 << 20])
def test_a_segment_that_was_never_finished_is_removed(db: Path, connection: sqlite3.Connection, size: int) -> None:
    """Its writer died before it could accept anything: with the room half allocated, or the header written."""
    made = db.parent / segment_names.made_name(segment_names.segment_name(db, WRITER))
    header = segment.pack_header(segment.Header(WRITER, "metadata", LAYOUT, 7, 1))
    for content in (bytes(size), header + bytes(size), header[:20] + bytes(size)):
        made.write_bytes(content)
        assert replay(db, connection) == Replayed()
        assert not made.exists()


@pytest.mark.parametrize("content", [b"my notes\n" * 300, b"x", bytes(10_000) + b"x", b"LLMTJRN", b"\nLLMTJRNL"])
@pytest.mark.parametrize("complete", [True, False])
def test_a_file_that_is_no_segment_stays_whatever_its_name_is(
    db: Path, connection: sqlite3.Connection, content: bytes, *, complete: bool
) -> None:
    """It is counted, each time."""
    name = segment_names.segment_name(db, WRITER)
    file = db.parent / (name if complete else segment_names.made_name(name))
    file.write_bytes(content)
    for _ in range(2):
        assert replay(db, connection) == Replayed(left=1)
    assert file.read_bytes() == content


def test_what_cannot_be_read_is_counted_as_lost(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """A damaged frame, and a sound frame that holds no record."""
    journal, _ = leave(5, session_id="findme")
    (path,) = segment_names.find(db)
    first = journal.slots[0].start + segment.FRAME.size
    assert journal.mapping is not None
    journal.mapping[first] ^= 1
    payload = b"no record"
    frame = segment.frame_head(journal.salt, 6, payload) + payload
    journal.mapping[journal.head : journal.head + len(frame)] = frame
    journal.close()
    assert path.exists()
    assert replay(db, connection) == Replayed(written=4, lost=2)
    assert rows(connection) == 4


def test_a_frame_of_no_record_alone_is_lost_and_the_file_is_gone(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """Nothing to commit."""
    journal, _ = leave(1)
    assert journal.mapping is not None
    payload = b"no record"
    frame = segment.frame_head(journal.salt, 1, payload) + payload
    journal.mapping[segment.DATA_AT : segment.DATA_AT + len(frame)] = frame
    journal.close()
    assert replay(db, connection) == Replayed(lost=1)
    assert segment_names.find(db) == []


def test_a_file_cut_short_is_read_as_far_as_it_goes(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """Never mapped: a mapping would kill."""
    journal, _ = leave(5)
    third = journal.slots[3].start
    journal.close()
    os.truncate(segment_names.find(db)[0], third + 10)
    done = replay(db, connection)
    assert (done.written, done.lost) == (3, 2)


def test_what_several_segments_held_adds_up(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any], tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """Counts of earlier replays stay; a living writer and what cannot be read stand in nobody's way; each is told."""
    living, _ = leave(1, writer=other("00"))
    for writer in map(other, ("11", "22")):
        journal, records = leave(4, writer=writer)
        SqliteBatchWriter("other", "metadata").write(
            connection, records[:1], batch_no=int(writer[-2:]), durable=False, slice_rows=25
        )
        assert journal.mapping is not None
        journal.mapping[journal.slots[3].start + segment.FRAME.size] ^= 1
        journal.close()
    for writer in map(other, ("33", "44")):
        (db.parent / segment_names.segment_name(db, writer)).symlink_to(tmp_path / "elsewhere")
    for writer in map(other, ("55", "66")):
        (db.parent / segment_names.segment_name(db, writer)).write_bytes(b"no segment")
    connection.execute(
        "CREATE TEMP TRIGGER t BEFORE INSERT ON invocations WHEN new.cost_usd = 9 BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    for writer in map(other, ("77", "88")):
        leave(1, writer=writer, cost_usd=9)[0].close()
    done = replay(db, connection, Replayed(written=100, known=10, quarantined=20, lost=30, left=99))
    assert done == Replayed(written=104, known=12, quarantined=22, lost=32, left=4)
    living.close()
    said = [record.getMessage() for record in caplog.records]
    told = "telemetry: a process ended without a close: {} records of its journal are now in the database, {} lost"
    assert said.count(told.format(2, 1)) == 2
    assert said.count(told.format(0, 0)) == 2
    for writer in map(other, ("33", "44")):
        path = db.parent / segment_names.segment_name(db, writer)
        assert (
            len([line for line in said if line.startswith("telemetry: a crash journal is left") and str(path) in line])
            == 1
        )
    for writer in map(other, ("55", "66")):
        path = db.parent / segment_names.segment_name(db, writer)
        assert f"telemetry: {path} is left where it is: it is shorter than a header" in said


def test_a_whole_transaction_of_frames_that_hold_no_record_does_not_end_the_replay(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any]
) -> None:
    """What stands behind them is committed."""
    journal, _ = leave(300)
    assert journal.mapping is not None
    for slot in list(journal.slots)[:256]:
        length, number = struct.unpack_from("=IQ", journal.mapping, slot.start + 12)
        payload = bytes(length)
        frame = segment.frame_head(journal.salt, number, payload) + payload
        journal.mapping[slot.start : slot.start + len(frame)] = frame
    journal.close()
    assert replay(db, connection) == Replayed(written=44, lost=256)


def test_a_file_that_is_read_in_pieces_is_read_whole(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read may give less than was asked for."""
    journal, _ = leave(20)
    journal.close()
    whole = segment_names.find(db)[0].read_bytes()
    real, asked = os.pread, []

    def pread(fd: int, size: int, at: int) -> bytes:
        asked.append((size, at))
        return real(fd, min(size, 100_003), at)

    monkeypatch.setattr(os, "pread", pread)
    assert replay(db, connection) == Replayed(written=20)
    assert asked == [(len(whole) - at, at) for at in range(0, len(whole), 100_003)]


class Clock:
    """Seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_failed_replay_is_tried_again_later_and_not_before(
    db: Path, connection: sqlite3.Connection, leave: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The agent's own records go on meanwhile."""
    journal, _ = leave(5)
    journal.close()
    clock = Clock()
    locked = sqlite3.connect(db, isolation_level=None)
    locked.execute("BEGIN IMMEDIATE")
    leftovers = JournalRecovery(Settings(db_path=db), clock)
    session = session_of(db, connection)
    leftovers.replay(session)
    assert leftovers.waiting
    assert "locked" in caplog.text
    locked.execute("ROLLBACK")
    locked.close()
    clock.now = 0.9
    leftovers.replay_again(session)
    assert rows(connection) == 0
    clock.now = 1.0
    leftovers.replay_again(session)
    assert rows(connection) == 5
    assert not leftovers.waiting
    assert leftovers.done == Replayed(written=5)
    leftovers.replay_again(session)
    assert leftovers.done == Replayed(written=5)
