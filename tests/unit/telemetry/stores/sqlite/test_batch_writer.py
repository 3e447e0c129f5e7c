"""The store: a file set up once and kept private, batches written exactly once, and refusals that touch nothing."""

import errno
import json
import os
import re
import sqlite3
import stat
from collections.abc import Callable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import (
    DatabaseUnusableError,
    ForeignDatabaseError,
    NewerSchemaError,
    SQLiteTooOldError,
    StoreError,
)
from llm_service.telemetry.record.fields import ADDED
from llm_service.telemetry.record.record import (
    CARD_FIELDS,
    CONTENT_FIELDS,
    EXTENSION_FIELDS,
    InvocationRecord,
    _restore,
)
from llm_service.telemetry.stores.base import Fault, WriteResult
from llm_service.telemetry.stores.sqlite import error_kinds, migrations, opening
from llm_service.telemetry.stores.sqlite import wal as housekeeping
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.connections import TrackedConnection
from llm_service.telemetry.stores.sqlite.opening import APPLICATION_ID, open_for_writing
from llm_service.telemetry.stores.sqlite.reader import read

NOW = 1_795_479_377_991_276
NOW_TEXT = "2026-11-24 00:16:17.991276Z"
MOMENT = InvocationRecord().timestamp


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is, or will be."""
    return tmp_path / "telemetry.db"


@pytest.fixture
def connection(path: Path) -> Iterator[sqlite3.Connection]:
    """A new file, open for writing."""
    opened = open_for_writing(path, NOW)
    yield opened
    opened.close()


def make(number: int = 0, **fields: Any) -> InvocationRecord:
    """A priced record of one agent and one day."""
    known = {
        "invocation_id": f"id-{number}",
        "timestamp": MOMENT,
        "agent_name": "a",
        "cost_usd": 0.001,
        "latency_ms": 8,
    }
    return InvocationRecord(**{**known, **fields})


def damaged(number: int, **changes: Any) -> InvocationRecord:
    """A record as only a bug or a foreign pickle makes it: past all checks."""
    record = make(number, provider="p")
    assert record.extensions is not None
    names = (*EXTENSION_FIELDS, *CONTENT_FIELDS)
    card = tuple(changes.get(field, value) for field, value in zip(CARD_FIELDS, record.card, strict=True))
    extensions = tuple(changes.get(field, value) for field, value in zip(names, record.extensions, strict=True))
    return _restore(card, extensions, record.size)


def writer(ceiling: Any = "metadata") -> SqliteBatchWriter:
    """A writer whose clock stands."""
    return SqliteBatchWriter("writer-1", ceiling, lambda: NOW * 1000)


def write(
    store: SqliteBatchWriter, connection: Any, batch: list[InvocationRecord], number: int = 1, **how: Any
) -> WriteResult:
    """Write a batch as the committer does."""
    return store.write(connection, batch, **{"batch_no": number, "durable": False, "slice_rows": 25, **how})


def stored(connection: sqlite3.Connection) -> list[str]:
    """Ids in the order of their arrival."""
    return [row[0] for row in connection.execute("SELECT invocation_id FROM invocations ORDER BY id")]


def counted(connection: sqlite3.Connection) -> tuple[int, int, int]:
    """Calls, nano-dollars and latencies of all aggregates; their key rows and buckets must agree."""
    calls, cost, timed = connection.execute(
        "SELECT coalesce(sum(invocations), 0), coalesce(sum(cost_nanos), 0), coalesce(sum(latency_count), 0)"
        " FROM daily_costs"
    ).fetchone()
    (bucketed,) = connection.execute("SELECT coalesce(sum(invocations), 0) FROM latency_counts").fetchone()
    assert bucketed == timed
    (by_quarter,) = connection.execute("SELECT coalesce(sum(invocations), 0) FROM quarter_hours").fetchone()
    assert by_quarter == calls
    return calls, cost, timed


def mode_of(path: Path) -> int:
    """Permission bits."""
    return stat.S_IMODE(path.stat().st_mode)


# Opening


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_are_private_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """0600 for the database, its -wal and its -shm; 0700 for every folder that had to be made."""
    path = tmp_path / "made" / "deep" / "telemetry.db"
    before = os.umask(umask)
    try:
        connection = open_for_writing(path, NOW)
        try:
            write(writer(), connection, [make()])
            files = sorted(path.parent.iterdir())
            assert [file.name for file in files] == ["telemetry.db", "telemetry.db-shm", "telemetry.db-wal"]
            assert {mode_of(file) for file in files} == {0o600}
        finally:
            connection.close()
    finally:
        os.umask(before)
    assert mode_of(path.parent) == mode_of(path.parent.parent) == 0o700


def test_a_folder_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    """It is not ours to close."""
    tmp_path.chmod(0o755)
    open_for_writing(tmp_path / "telemetry.db", NOW).close()
    assert mode_of(tmp_path) == 0o755
    assert [file.name for file in tmp_path.iterdir()] == ["telemetry.db"]


def test_a_new_file_has_our_marks(connection: sqlite3.Connection) -> None:
    """WAL, incremental vacuum, application id, version, and the row that says when."""
    pragmas = {
        name: connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "auto_vacuum", "application_id", "user_version", "synchronous", "integrity_check")
    }
    assert pragmas == {
        "journal_mode": "wal", "auto_vacuum": 2, "application_id": APPLICATION_ID, "user_version": migrations.VERSION,
        "synchronous": 1, "integrity_check": "ok",
    }  # fmt: skip
    assert connection.execute("SELECT * FROM schema_version").fetchall() == [(migrations.VERSION, NOW_TEXT)]


def test_opening_again_changes_nothing(path: Path) -> None:
    """Neither the schema nor its record."""
    open_for_writing(path, NOW).close()
    before = path.read_bytes()
    connection = open_for_writing(path, NOW + 1)
    versions = connection.execute("SELECT * FROM schema_version").fetchall()
    connection.close()
    assert versions == [(migrations.VERSION, NOW_TEXT)]
    assert path.read_bytes() == before


def test_an_empty_file_is_filled(path: Path) -> None:
    """As `mktemp` leaves one, or a crash before the set-up."""
    path.touch(0o600)
    connection = open_for_writing(path, NOW)
    assert write(writer(), connection, [make()]) == WriteResult()
    connection.close()


def test_losing_the_race_to_create_the_file_is_fine(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process links its file into place first; ours goes away and theirs is used."""
    link = os.link

    def too_late(source: str, target: Path) -> None:
        target.touch(0o600)
        link(source, target)

    monkeypatch.setattr(opening.os, "link", too_late)
    open_for_writing(path, NOW).close()
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_losing_the_race_to_set_up_is_fine(path: Path) -> None:
    """Another process made the tables between our look and our lock."""
    connection = sqlite3.connect(path, isolation_level=None)
    versions = [0]

    class Late:
        """Sees version 0 first, and lets another one set up before BEGIN."""

        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "BEGIN IMMEDIATE" and versions:
                versions.pop()
                open_for_writing(path, NOW).close()
            return connection.execute(sql, *parameters)

        @property
        def in_transaction(self) -> bool:
            return connection.in_transaction

    opening.set_up(Late(), NOW_TEXT)  # type: ignore[arg-type]
    rows = connection.execute("SELECT version FROM schema_version").fetchall()
    connection.close()
    assert rows == [(migrations.VERSION,)]


def test_a_set_up_that_fails_leaves_no_table(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables and version come together or not at all; the next one begins anew."""

    def fail(connection: sqlite3.Connection, _now: str) -> None:
        connection.execute("CREATE TABLE half (done)")
        raise sqlite3.OperationalError("disk I/O error")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "create", fail)
        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            open_for_writing(path, NOW)
    connection = open_for_writing(path, NOW)
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    connection.close()
    assert "half" not in tables
    assert "invocations" in tables


def test_an_error_that_ended_the_transaction_is_not_hidden(connection: sqlite3.Connection) -> None:
    """SQLite rolled back by itself: no second ROLLBACK, and the cause comes through."""

    class Full:
        """A connection whose transaction is gone when the version is to be read in it."""

        in_transaction = False
        begun = False

        def execute(self, sql: str, *parameters: Any) -> Any:
            assert sql != "ROLLBACK"
            if self.begun:
                raise sqlite3.OperationalError("disk full")
            if sql == "PRAGMA user_version":
                return connection.execute("SELECT 7")
            if sql == "BEGIN IMMEDIATE":
                self.begun = True
                return None
            return connection.execute(sql, *parameters)

    with pytest.raises(sqlite3.OperationalError, match="disk full"):
        opening.set_up(Full(), NOW_TEXT)  # type: ignore[arg-type]


# Refusals


def refused(path: Path, error: type[DatabaseUnusableError], *versions: tuple[int, ...]) -> str:
    """The message of a refusal that changed no byte of the file, or created none."""
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(error) as caught:
        open_for_writing(path, NOW, *versions)
    assert (path.read_bytes() if path.exists() else None) == before
    assert caught.value.path == path
    assert error_kinds.classify(caught.value) is Fault.UNUSABLE
    return str(caught.value)


def test_a_newer_file_is_refused_and_untouched(path: Path) -> None:
    """With both versions and the way out."""
    connection = open_for_writing(path, NOW)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    message = refused(path, NewerSchemaError)
    assert "99" in message
    assert "upgrade" in message


@pytest.mark.parametrize("journal", ["delete", "wal"])
@pytest.mark.parametrize("made", ["CREATE TABLE notes (text)", "PRAGMA user_version = 5"])
def test_a_foreign_database_is_refused_and_untouched(path: Path, journal: str, made: str) -> None:
    """With its own tables, or its own version, and in either journal mode."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA journal_mode = {journal}")
    connection.execute(made)
    connection.close()
    assert "not of telemetry" in refused(path, ForeignDatabaseError)


def test_a_file_that_is_no_database_is_damaged_and_opening_leaves_it_untouched(path: Path) -> None:
    """Somebody's text file is not overwritten."""
    path.write_bytes(b"dear diary, " * 1000)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_for_writing(path, NOW)
    assert error_kinds.classify(caught.value) is Fault.DAMAGED
    assert path.read_bytes() == b"dear diary, " * 1000


def test_a_sqlite_that_is_too_old_is_refused(path: Path) -> None:
    """Before anything is created."""
    message = refused(path, SQLiteTooOldError, (3, 30, 1))
    assert "SQLite 3.30.1 is linked; 3.31.0 or newer is needed" in message


# Migrations


def test_an_old_file_becomes_what_a_new_one_is() -> None:
    """Step by step, each with its record; the schema is the same text for text."""
    steps = {2: ["CREATE TABLE b (x)"], 3: ["CREATE INDEX idx_b ON b (x)", "ALTER TABLE a ADD COLUMN y"]}
    old = sqlite3.connect(":memory:", isolation_level=None)
    new = sqlite3.connect(":memory:", isolation_level=None)
    old.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)")
    old.execute("CREATE TABLE a (x)")
    migrations._record(old, 1, "then")
    migrations.migrate(old, 1, "now", steps, to=3)
    new.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY, applied_at TEXT NOT NULL)")
    for statement in ("CREATE TABLE a (x, y)", "CREATE TABLE b (x)", "CREATE INDEX idx_b ON b (x)"):
        new.execute(statement)
    schemas = [
        sorted(row) for row in (
            connection.execute("SELECT name, sql FROM sqlite_master").fetchall() for connection in (old, new)
        )
    ]  # fmt: skip
    versions = old.execute("SELECT version, applied_at FROM schema_version").fetchall()
    (user_version,) = old.execute("PRAGMA user_version").fetchone()
    old.close()
    new.close()
    assert schemas[0] == schemas[1]
    assert versions == [(1, "then"), (2, "now"), (3, "now")]
    assert user_version == 3


def test_every_version_but_the_first_has_a_migration() -> None:
    """No file of an earlier release is left behind."""
    assert sorted(migrations.MIGRATIONS) == list(range(2, migrations.VERSION + 1))


def test_the_table_of_fields_says_which_version_added_each_column() -> None:
    """Journals of earlier releases and damaged files are read by it."""
    added = {
        version: tuple(re.findall(r"ALTER TABLE invocations ADD COLUMN (\w+)", "\n".join(statements)))
        for version, statements in migrations.MIGRATIONS.items()
    }
    assert {version: columns for version, columns in added.items() if columns} == ADDED


def test_an_older_file_is_migrated_when_it_is_opened(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its records stay; a step that fails leaves the older file as it was."""
    connection = open_for_writing(path, NOW)
    write(writer(), connection, [make()])
    connection.close()
    to = migrations.VERSION + 1
    migrate = migrations.migrate
    monkeypatch.setattr(migrations, "VERSION", to)

    def with_step(step: str) -> Callable[..., None]:
        return lambda connection, found, now: migrate(connection, found, now, {to: [step]}, to)

    monkeypatch.setattr(migrations, "migrate", with_step("ALTER TABLE nothing ADD COLUMN colour"))
    with pytest.raises(sqlite3.OperationalError, match="nothing"):
        open_for_writing(path, NOW)
    monkeypatch.setattr(migrations, "migrate", with_step("ALTER TABLE invocations ADD COLUMN colour"))
    connection = open_for_writing(path, NOW)
    rows = connection.execute("SELECT invocation_id, colour FROM invocations").fetchall()
    versions = [row[0] for row in connection.execute("SELECT version FROM schema_version")]
    connection.close()
    assert rows == [("id-0", None)]
    assert versions == [to - 1, to]


# Writing


def test_a_batch_is_stored_in_its_order_and_counted(connection: sqlite3.Connection) -> None:
    """Rows, aggregates and the receipt, in one transaction."""
    assert write(writer(), connection, [make(n) for n in range(60)]) == WriteResult()
    assert stored(connection) == [f"id-{n}" for n in range(60)]
    assert counted(connection) == (60, 60_000_000, 60)
    assert connection.execute("SELECT * FROM receipts").fetchall() == [("writer-1", 1, NOW_TEXT, migrations.VERSION)]


@pytest.mark.parametrize("slice_rows", [1, 2, 7, 25, 76, 1000])
def test_the_size_of_a_slice_changes_nothing(connection: sqlite3.Connection, slice_rows: int) -> None:
    """Wide and plain records, duplicates and poison: the same result however the batch is cut."""
    batch = [make(n, source="s", tags=["t"], session_id="x") if n % 3 else make(n) for n in range(100)]
    batch[40] = make(39)
    batch[70] = damaged(70, prompt_tokens=2**70)
    result = write(writer(), connection, batch, slice_rows=slice_rows)
    assert result == WriteResult(frozenset({40}), frozenset({70}))
    assert len(stored(connection)) == 98
    assert counted(connection) == (98, 98_000_000, 98)


@pytest.mark.parametrize(("durable", "level"), [(True, 2), (False, 1)])
def test_a_durable_batch_is_committed_with_full_synchronisation(
    connection: sqlite3.Connection, durable: bool, level: int
) -> None:
    """And only that batch pays for it."""
    write(writer(), connection, [make()], durable=durable)
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)


def test_a_durable_batch_trusts_nobody_who_had_the_connection_in_between(connection: sqlite3.Connection) -> None:
    """A purge gives pages back with NORMAL, on the same connection: durable is durable again after it."""
    store = writer()
    write(store, connection, [make(1)], durable=True)
    connection.execute("PRAGMA synchronous = NORMAL")
    write(store, connection, [make(2)], number=2, durable=True)
    assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
    write(store, connection, [make(3)], number=3)
    assert connection.execute("PRAGMA synchronous").fetchone() == (1,)


@pytest.mark.parametrize(
    ("ids", "duplicates"),
    [
        ([1, 2, 1, 3], {2}),
        ([0, 1, 2], {0}),
        ([1, 1, 1], {1, 2}),
        ([0, 0], {0, 1}),
        ([1, 0, 2, 0, 1], {1, 3, 4}),
        ([0], {0}),
    ],
)
def test_only_the_first_of_equal_ids_is_stored_and_counted(
    connection: sqlite3.Connection, ids: list[int], duplicates: set[int]
) -> None:
    """Within a batch, across batches, or all of a batch; id 0 is stored already."""
    store = writer()
    write(store, connection, [make(0)])
    result = write(store, connection, [make(n) for n in ids], 2)
    assert result == WriteResult(duplicates=frozenset(duplicates))
    assert sorted(stored(connection)) == sorted({"id-0", *(f"id-{n}" for n in ids)})
    fresh = 1 + len(ids) - len(duplicates)
    assert counted(connection) == (fresh, fresh * 1_000_000, fresh)


class Shown:
    """What no database takes."""

    def __repr__(self) -> str:
        return "<Shown>"


@pytest.mark.parametrize(
    "poison",
    [
        {"agent_name": "\ud800"},
        {"invocation_id": "\udfff"},
        {"prompt_tokens": 2**70},
        {"cost_usd": Shown()},
        {"cost_usd": float("inf")},
        {"cost_usd": "free"},
        {"latency_ms": float("inf")},
        {"total_tokens": "many"},
        {"status": None},
        {"invocation_id": None},
        {"timestamp": 10**30},
        {"timestamp": None},
        {"privacy_level": "everything"},
        {"error_message": Shown()},
        {"metadata": {"not": "encoded"}},
        {"http_status": 2**70},
    ],
    ids=str,
)
@pytest.mark.parametrize("position", [0, 3, 6])
def test_a_poison_record_is_set_aside_and_its_neighbours_commit(
    connection: sqlite3.Connection, poison: dict[str, Any], position: int
) -> None:
    """Promise 5: a readable dead letter, everything else stored, and the aggregates count what is stored."""
    batch = [make(n) for n in range(7)]
    batch[position] = damaged(position, **poison)
    assert write(writer(), connection, batch) == WriteResult(quarantined=frozenset({position}))
    assert stored(connection) == [f"id-{n}" for n in range(7) if n != position]
    assert counted(connection) == (6, 6_000_000, 6)
    ((at, error, text),) = connection.execute("SELECT quarantined_at, error, record FROM dead_letters").fetchall()
    assert at == NOW_TEXT
    assert ": " in error
    assert json.loads(text)["provider"] == "p"


def test_duplicates_and_several_poison_records_in_one_batch(connection: sqlite3.Connection) -> None:
    """Each position has its own outcome."""
    store = writer()
    write(store, connection, [make(0)])
    batch = [make(n) for n in (1, 0, 2, 1, 3, 4, 5)] + [damaged(8, agent_name=b"\xff", cost_usd=Shown())]
    batch[2] = damaged(2, completion_tokens=-(2**70))
    batch[5] = damaged(4, cost_usd=float("inf"))
    assert write(store, connection, batch, 2) == WriteResult(frozenset({1, 3}), frozenset({2, 5, 7}))
    assert stored(connection) == ["id-0", "id-1", "id-3", "id-5"]
    assert counted(connection) == (4, 4_000_000, 4)
    assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (3,)


def test_an_id_that_is_no_text_is_poison_also_where_its_text_is_stored(connection: sqlite3.Connection) -> None:
    """SQLite finds it twice, a comparison in Python does not: it is set aside instead of tried for ever."""
    store = writer()
    write(store, connection, [make(0, invocation_id="5")])
    batch = [make(1), damaged(2, invocation_id=5), make(3)]
    assert write(store, connection, batch, 2) == WriteResult(quarantined=frozenset({1}))
    assert stored(connection) == ["5", "id-1", "id-3"]


def test_a_batch_of_nothing_but_poison_commits(connection: sqlite3.Connection) -> None:
    """So that it does not come back for ever."""
    batch = [damaged(n, prompt_tokens=2**70) for n in range(3)]
    assert write(writer(), connection, batch) == WriteResult(quarantined=frozenset({0, 1, 2}))
    assert stored(connection) == []
    assert counted(connection) == (0, 0, 0)


def test_calls_without_names_aggregate_to_one_row(connection: sqlite3.Connection) -> None:
    """NULL never conflicts with NULL in a plain unique key; here it does."""
    store = writer()
    for number in range(1, 4):
        batch = [make(number * 10 + n, agent_name=None, tool_name=name) for n, name in enumerate([None, None, "t"])]
        write(store, connection, batch, number)
    rows = connection.execute(
        "SELECT agent_name, tool_name, model_name, invocations, cost_nanos, total_cost_usd FROM daily_costs ORDER BY id"
    ).fetchall()
    assert rows == [(None, None, None, 6, 6_000_000, 0.006), (None, "t", None, 3, 3_000_000, 0.003)]
    assert counted(connection) == (9, 9_000_000, 9)


def test_a_record_without_latency_has_no_bucket(connection: sqlite3.Connection) -> None:
    """Unknown is not zero."""
    write(writer(), connection, [make(1, latency_ms=None, cost_usd=None)])
    assert counted(connection) == (1, 0, 0)
    assert connection.execute("SELECT unpriced, uncounted, latency_count FROM daily_costs").fetchone() == (1, 1, 0)


# Receipts and failures


class Flaky:
    """A connection whose statements fail on command, before or after they have run."""

    def __init__(self, real: sqlite3.Connection, statement: str, *, after: bool, times: int = 1) -> None:
        self._real, self._statement, self._after, self._times = real, statement, after, times

    @property
    def in_transaction(self) -> bool:
        """As of the real connection."""
        return self._real.in_transaction

    @property
    def total_changes(self) -> int:
        """As of the real connection."""
        return self._real.total_changes

    def _run(self, method: Any, sql: str, *parameters: Any) -> Any:
        fails = self._times and sql.lstrip().startswith(self._statement)
        if fails:
            self._times -= 1
        if fails and not self._after:
            raise sqlite3.OperationalError("disk I/O error")
        result = method(sql, *parameters)
        if fails:
            raise sqlite3.OperationalError("disk I/O error")
        return result

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Run, or fail where told to."""
        return self._run(self._real.execute, sql, *parameters)

    def executemany(self, sql: str, *parameters: Any) -> Any:
        """Run, or fail where told to."""
        return self._run(self._real.executemany, sql, *parameters)


def test_a_commit_that_failed_and_is_on_disk_is_not_written_twice(connection: sqlite3.Connection) -> None:
    """The retry finds the receipt, and the result of the first try: our own rows are no duplicates."""
    store = writer()
    write(store, connection, [make(0)])
    batch = [make(1), make(0), damaged(2, cost_usd=Shown()), make(3)]
    with pytest.raises(sqlite3.OperationalError):
        write(store, Flaky(connection, "COMMIT", after=True), batch, 2)
    for _ in range(2):
        assert write(store, connection, batch, 2) == WriteResult(frozenset({1}), frozenset({2}))
    assert stored(connection) == ["id-0", "id-1", "id-3"]
    assert counted(connection) == (3, 3_000_000, 3)
    assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (1,)
    assert write(store, connection, [make(4)], 3) == WriteResult()
    assert counted(connection) == (4, 4_000_000, 4)


@pytest.mark.parametrize(
    "statement", ["PRAGMA", "BEGIN", "INSERT INTO invocations", "INSERT INTO daily_costs",
                  "SELECT latency_buckets FROM daily_costs",
                  "INSERT INTO quarter_hours", "SELECT latency_buckets FROM quarter_hours", "SELECT uncounted_to", "INSERT INTO receipts", "COMMIT"],
)  # fmt: skip
@pytest.mark.parametrize("tries", [1, 3])
def test_a_failure_before_the_commit_leaves_nothing_and_is_tried_again(
    connection: sqlite3.Connection, statement: str, tries: int
) -> None:
    """Whichever statement fails, however often: nothing of it stays, and the last try writes everything once."""
    store = writer()
    flaky = Flaky(connection, statement, after=False, times=tries)
    for _ in range(tries):
        with pytest.raises(sqlite3.OperationalError):
            write(store, flaky, [make(1), make(2)])
        assert not connection.in_transaction
        assert stored(connection) == []
        assert counted(connection) == (0, 0, 0)
    assert write(store, flaky, [make(1), make(2)]) == WriteResult()
    assert counted(connection) == (2, 2_000_000, 2)


def test_a_failing_rollback_does_not_hide_the_cause(connection: sqlite3.Connection) -> None:
    """What went wrong first is what is told."""

    class Broken(Flaky):
        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "ROLLBACK":
                raise sqlite3.OperationalError("cannot rollback")
            return super().execute(sql, *parameters)

    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        write(writer(), Broken(connection, "COMMIT", after=False), [make(1)])
    connection.execute("ROLLBACK")


def test_a_transaction_that_sqlite_ended_is_not_rolled_back_again(connection: sqlite3.Connection) -> None:
    """A full disk may roll back by itself."""

    class Full(Flaky):
        def execute(self, sql: str, *parameters: Any) -> Any:
            if sql == "COMMIT":
                super().execute("ROLLBACK")
                raise sqlite3.OperationalError("database or disk is full")
            return super().execute(sql, *parameters)

    with pytest.raises(sqlite3.OperationalError, match="disk is full"):
        write(writer(), Full(connection, "never", after=False), [make(1)])


def test_a_durable_commit_that_failed_and_is_on_disk_is_synced_before_it_counts(
    connection: sqlite3.Connection,
) -> None:
    """What a failed sync left in the -wal is not durable: the retry commits once more, and fails where that fails."""
    store = writer()
    with pytest.raises(sqlite3.OperationalError):
        store.write(Flaky(connection, "COMMIT", after=True), [make(1)], batch_no=1, durable=True, slice_rows=25)
    statements: list[str] = []
    connection.set_trace_callback(statements.append)
    with pytest.raises(sqlite3.OperationalError):
        store.write(Flaky(connection, "COMMIT", after=False), [make(1)], batch_no=1, durable=True, slice_rows=25)
    assert store.write(connection, [make(1)], batch_no=1, durable=True, slice_rows=25) == WriteResult()
    connection.set_trace_callback(None)
    verbs = (text.split()[0] for text in statements if not text.startswith("PRAGMA"))
    # Where a statement looks whether it fires a trigger, it is traced again.
    assert [verb for verb, _ in groupby(verbs)] == [
        "BEGIN", "SELECT", "INSERT", "ROLLBACK", "BEGIN", "SELECT", "INSERT", "COMMIT",
    ]  # fmt: skip
    assert stored(connection) == ["id-1"]


def test_another_writers_receipt_is_not_ours(connection: sqlite3.Connection) -> None:
    """Two writers number their batches alike."""
    write(SqliteBatchWriter("other", "metadata"), connection, [make(1)], 1)
    store = writer()
    with pytest.raises(sqlite3.OperationalError):
        write(store, Flaky(connection, "COMMIT", after=False), [make(2)], 1)
    assert write(store, connection, [make(2)], 1) == WriteResult()
    assert stored(connection) == ["id-1", "id-2"]


def test_missing_tables_set_no_record_aside(connection: sqlite3.Connection) -> None:
    """The file is at fault, not the records: they wait."""
    connection.execute("DROP TABLE invocations")
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        write(writer(), connection, [make(1), make(2)])
    assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (0,)


# What errors mean


def error_of(statement: str, *parameters: Any, setup: str = "CREATE TABLE t (x TEXT UNIQUE NOT NULL)") -> Exception:
    """A real error of SQLite."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    try:
        connection.executescript(setup)
        with pytest.raises(Exception, match=r".") as caught:
            connection.execute(statement, *parameters)
    finally:
        connection.close()
    return caught.value


@pytest.mark.parametrize(
    ("statement", "parameters", "duplicate", "poison"),
    [
        ("INSERT INTO t VALUES ('a'), ('a')", [], True, True),
        ("INSERT INTO t VALUES (NULL)", [], False, True),
        ("INSERT INTO t VALUES (?)", ["\ud800"], False, True),
        ("INSERT INTO t VALUES (?)", [2**70], False, True),
        ("INSERT INTO t VALUES (?)", [object()], False, True),
        ("INSERT INTO t VALUES (?)", [], False, True),
        ("INSERT INTO t (rowid, x) VALUES ('no number', 'a')", [], False, True),
        ("INSERT INTO t VALUES (zeroblob(3000000000))", [], False, True),
        ("INSERT INTO absent VALUES (1)", [], False, False),
        ("INSERT INTO t VALUES", [], False, False),
    ],
)
def test_an_error_lies_in_the_record_or_in_the_file(
    statement: str, parameters: list[Any], duplicate: bool, poison: bool
) -> None:
    """By what SQLite and Python really raise; none of these ends the trying."""
    error = error_of(statement, parameters)
    assert error_kinds.is_duplicate(error) == duplicate
    assert error_kinds.is_poison(error) == poison
    assert error_kinds.classify(error) is (Fault.TRANSIENT if hasattr(error, "sqlite_errorcode") else Fault.BUG)


def test_a_primary_key_that_stands_twice_is_a_duplicate_too() -> None:
    """SQLite has a code of its own for it."""
    error = error_of("INSERT INTO t VALUES ('a'), ('a')", setup="CREATE TABLE t (x TEXT PRIMARY KEY) WITHOUT ROWID")
    assert error_kinds.is_duplicate(error)


def test_a_locked_file_is_transient(path: Path) -> None:
    """And a record is not to blame."""
    first = open_for_writing(path, NOW)
    second = open_for_writing(path, NOW)
    second.execute("PRAGMA busy_timeout = 0")
    first.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(sqlite3.OperationalError, match="locked") as caught:
            write(writer(), second, [make()])
    finally:
        first.close()
        second.close()
    assert not error_kinds.is_poison(caught.value)
    assert error_kinds.classify(caught.value) is Fault.LOCKED


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (OSError(28, "No space left on device"), Fault.TRANSIENT),
        (PermissionError("no"), Fault.TRANSIENT),
        (KeyError("a bug"), Fault.BUG),
        (StoreError("some"), Fault.BUG),
        (DatabaseUnusableError("never"), Fault.UNUSABLE),
        (OSError(errno.ESTALE, "deleted while it was open"), Fault.REOPEN),
    ],
)
def test_only_what_no_retry_can_help_is_unusable(error: Exception, fault: Fault) -> None:
    """Everything else is tried again."""
    assert error_kinds.classify(error) is fault


def test_a_damaged_file_is_known_as_such(path: Path) -> None:
    """SQLite says so when it reads the damaged page."""
    connection = open_for_writing(path, NOW)
    write(writer(), connection, [make(n, session_id="s" * 200) for n in range(500)])
    connection.close()
    content = bytearray(path.read_bytes())
    content[100:110] = b"\xff" * 10
    path.write_bytes(content)
    with pytest.raises(sqlite3.DatabaseError) as caught:
        open_for_writing(path, NOW)
    assert error_kinds.classify(caught.value) is Fault.DAMAGED


# Housekeeping


def test_a_short_wal_is_left_alone(connection: sqlite3.Connection, path: Path) -> None:
    """Copying it back after every commit would cost more than it gives."""
    write(writer(), connection, [make()])
    wal = path.with_name("telemetry.db-wal")
    before = wal.stat().st_size
    housekeeping.trim_wal(connection, path)
    assert wal.stat().st_size == before
    assert path.stat().st_size < before


def test_a_long_wal_is_copied_back(connection: sqlite3.Connection, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the bound on, so that the next commit begins it anew; its size is told in either case."""
    write(writer(), connection, [make(n) for n in range(200)])
    long, before = path.with_name("telemetry.db-wal").stat().st_size, path.stat().st_size
    monkeypatch.setattr(housekeeping, "WAL_BYTES", long + 1)
    assert housekeeping.trim_wal(connection, path) == long
    assert path.stat().st_size == before
    monkeypatch.setattr(housekeeping, "WAL_BYTES", long)
    assert housekeeping.trim_wal(connection, path) == long
    assert path.stat().st_size > before


def test_no_wal_needs_no_trimming(tmp_path: Path, connection: sqlite3.Connection) -> None:
    """Somebody removed it, or another mode is in use."""
    assert housekeeping.trim_wal(connection, tmp_path / "absent.db") == 0


def test_an_idle_wal_is_truncated_unless_a_reader_is_in_the_way(connection: sqlite3.Connection, path: Path) -> None:
    """It does not wait for the reader; when he is gone it succeeds, and the busy timeout is what it was."""
    write(writer(), connection, [make(1)])
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM invocations").fetchone()
    write(writer(), connection, [make(2)])
    assert not housekeeping.tidy_wal(connection)
    reader.close()
    assert housekeeping.tidy_wal(connection)
    assert path.with_name("telemetry.db-wal").stat().st_size == 0
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (opening.BUSY_TIMEOUT_MS,)


def test_tidying_within_somebodys_transaction_is_put_off(connection: sqlite3.Connection) -> None:
    """SQLite refuses a checkpoint there; nothing is raised."""
    connection.execute("BEGIN IMMEDIATE")
    assert not housekeeping.tidy_wal(connection)
    connection.execute("ROLLBACK")


def test_a_wal_that_cannot_be_copied_back_is_said(connection: sqlite3.Connection) -> None:
    """SQLite keeps it to itself where a commit checkpoints; here it is raised, and the busy timeout is what it was."""
    write(writer(), connection, [make(1)])
    with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
        housekeeping.tidy_wal(Flaky(connection, "PRAGMA wal_checkpoint", after=False))  # type: ignore[arg-type]
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (opening.BUSY_TIMEOUT_MS,)


# Reading


@pytest.mark.parametrize("there", [False, True])
def test_a_file_without_content_reads_as_empty_and_stays_as_it_is(path: Path, there: bool) -> None:
    """Absent or of zero bytes: a question creates nothing."""
    if there:
        path.touch()
    assert read(path, lambda fetch: fetch(("SELECT count(*) FROM invocations", []))) == [(0,)]
    assert path.exists() == there
    assert not there or path.stat().st_size == 0


def test_one_question_sees_one_snapshot(connection: sqlite3.Connection, path: Path) -> None:
    """A commit between two queries does not show in the second."""

    def question(fetch: Any) -> list[Any]:
        first = fetch(("SELECT count(*) FROM invocations", []))
        write(writer(), connection, [make(1)])
        return [first, fetch(("SELECT count(*) FROM invocations", []))]

    assert read(path, question) == [[(0,)], [(0,)]]
    assert read(path, lambda fetch: fetch(("SELECT count(*) FROM invocations", []))) == [(1,)]


def test_a_question_cannot_write(connection: sqlite3.Connection, path: Path) -> None:
    """The connection is read-only, and the error names the file."""
    write(writer(), connection, [make(1)])
    with pytest.raises(StoreError, match=r"telemetry\.db cannot be read: attempt to write") as caught:
        read(path, lambda fetch: fetch(("DELETE FROM invocations", [])))
    assert isinstance(caught.value.__cause__, sqlite3.Error)


def test_a_file_that_cannot_be_read_is_a_store_error(path: Path) -> None:
    """Not an error of SQLite's, which callers do not know of."""
    path.write_bytes(b"dear diary, " * 1000)
    with pytest.raises(StoreError, match="not a database"):
        read(path, lambda fetch: fetch(("SELECT 1 FROM invocations", [])))


def test_what_the_question_raises_comes_through(path: Path) -> None:
    """As it is."""

    def question(_fetch: Any) -> None:
        raise LookupError("mine")

    with pytest.raises(LookupError, match="mine"):
        read(path, question)


def test_a_file_that_another_process_sets_up_while_it_is_looked_at_is_not_foreign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version, application and tables are read from one snapshot: found by killing writers while they start."""
    path = tmp_path / "t.db"
    early = sqlite3.connect(path, isolation_level=None)
    early.execute("PRAGMA journal_mode = WAL")  # how far the other process has come
    early.close()
    real, others = sqlite3.connect, []

    class Looking(TrackedConnection):
        """Lets the other process finish between two looks."""

        def execute(self, sql: str, *arguments: Any) -> sqlite3.Cursor:
            found = super().execute(sql, *arguments)
            if sql == "PRAGMA application_id" and not others:
                monkeypatch.setattr(sqlite3, "connect", real)
                others.append(open_for_writing(path, 0))
            return found

    monkeypatch.setattr(sqlite3, "connect", lambda *given, **options: real(*given, **options | {"factory": Looking}))
    connection = open_for_writing(path, 0)
    assert len(others) == 1
    connection.close()
    others[0].close()


def test_what_a_trigger_swallows_is_not_counted_as_written(connection: sqlite3.Connection) -> None:
    """It is a dead letter, its neighbours are stored, and the totals count these alone."""
    when = "BEFORE INSERT ON invocations WHEN new.agent_name = 'out'"
    connection.execute(f"CREATE TRIGGER theirs {when} BEGIN SELECT RAISE(IGNORE); END")
    batch = [make(number, agent_name=name) for number, name in enumerate(("in", "out", "in"))]
    result = write(writer(), connection, batch)
    assert result.quarantined == {1}
    assert [row[0] for row in connection.execute("SELECT agent_name FROM invocations")] == ["in", "in"]
    assert connection.execute("SELECT sum(invocations) FROM daily_costs").fetchone() == (2,)
    (error,) = connection.execute("SELECT error FROM dead_letters").fetchone()
    assert "a trigger of the file keeps it out" in error
