"""The index for search: exactly the stored contents, in the transaction that stores or deletes them, whatever fails."""

import logging
import random
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from types import SimpleNamespace
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.telemetry import Event, EventKind, InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.maintenance.word_index import build, remove
from llm_service.telemetry.queries.file_facts import read_contents
from llm_service.telemetry.stores.retention import Cutoffs
from llm_service.telemetry.stores.sqlite import search_index, upkeep
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.purge_steps import Purge
from llm_service.telemetry.stores.sqlite.reader import read

FULL: dict[str, Any] = {"privacy_level": "full", "retention_days": None}
NOW = datetime.now(UTC)


def call(number: int, **fields: Any) -> InvocationRecord:
    """A call with words of its own; each third failed."""
    texts = {"prompt": f"prompt p{number} shared", "response": f"response r{number}"}
    failed = {"status": "error", "error_message": f"failure e{number}"} if number % 3 == 0 else {}
    return InvocationRecord(**{"invocation_id": f"call-{number}", "model_name": "m", **texts, **failed, **fields})


def word(number: int) -> str:
    """A word that no other resembles."""
    return sha256(str(number).encode()).hexdigest()[:32]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a file that is not there yet."""
    return tmp_path / "telemetry.db"


@pytest.fixture
def database(path: Path) -> Callable[[], sqlite3.Connection]:
    """Another connection to it."""
    return lambda: sqlite3.connect(path, isolation_level=None)


def require_exact(path: Path) -> None:
    """The index has each content, and nothing else, and what FTS5 itself can check holds."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        indexed = connection.execute("SELECT rowid FROM invocation_words ORDER BY 1").fetchall()
        assert indexed == connection.execute("SELECT id FROM invocation_contents ORDER BY 1").fetchall()
        connection.execute("INSERT INTO invocation_words (invocation_words) VALUES ('integrity-check')")
        connection.execute("CREATE VIRTUAL TABLE temp.held USING fts5vocab('main', 'invocation_words', 'instance')")
        held = set(connection.execute("SELECT term, doc FROM temp.held"))
        rows = connection.execute(
            "SELECT c.id, c.prompt, c.response, CASE WHEN i.status <> 'success' THEN i.error_message END "
            "FROM invocation_contents AS c LEFT JOIN invocations AS i USING (id)"
        )
        wanted = {(word, row[0]) for row in rows for word in search_index.words_of(row).split()}
        assert held == wanted


def wait_until_whole(logger: TelemetryLogger) -> None:
    """Until the writer's thread has indexed what was there."""
    deadline = monotonic() + 20
    while engine_of(logger).store.upkeep.index.due_in is not None:  # type: ignore[attr-defined]
        assert monotonic() < deadline
        sleep(0.01)


def test_what_is_stored_is_indexed_in_its_transaction(path: Path) -> None:
    """Failures with their messages, calls with half a content, and none without any."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        for number in range(10):
            logger.log_invocation(call(number))
        logger.log_invocation(call(10, response=None))
        logger.log_invocation(call(11, prompt=None, response=None))
        require_exact(path)
        assert [row["invocation_id"] for row in logger.search("e9 p9 r9")] == ["call-9"]


@pytest.mark.parametrize("level", ["metadata", "full"])
def test_what_is_recorded_at_a_lower_level_is_never_indexed(path: Path, level: Any) -> None:
    """Neither by the logger's level nor by the record's own."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        logger.log_invocation(call(1))
    with TelemetryLogger(path, **(FULL | {"privacy_level": level}), search=True) as logger:
        logger.log_invocation(call(3, privacy_level="metadata", invocation_id="lower"))
        require_exact(path)
        assert b"p3" not in path.read_bytes() + Path(f"{path}-wal").read_bytes()
        assert [row["invocation_id"] for row in logger.search("e3")] == ["lower"]  # its message is read, not indexed
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT rowid FROM invocation_words").fetchall() == [(1,)]
        assert connection.execute("SELECT 1 FROM invocation_words WHERE invocation_words MATCH 'e3'").fetchall() == []


@pytest.mark.parametrize("level", ["metadata", "none"])
def test_no_index_is_made_below_full(path: Path, level: Any) -> None:
    """There is nothing that it could hold."""
    with TelemetryLogger(path, search=True, privacy_level=level) as logger:
        logger.log_invocation(call(3))
    if path.exists():
        with closing(sqlite3.connect(path)) as connection:
            assert not search_index.is_there(connection)


def test_a_secret_is_in_no_byte_of_the_index(path: Path) -> None:
    """Words are made of what is on disk; the user's own redaction comes before, too."""
    key = "sk-proj-Zx8Kq2Lm9Np4Rs7Tv1Wy3Bc6Df5Gh0Jk"
    redact: Callable[[str], str] = lambda text: text.replace("hushhush", "[MINE]")  # noqa: E731
    with TelemetryLogger(path, search=True, redact=redact, **FULL) as logger:
        logger.log_invocation(call(3, prompt=f"key {key} hushhush", error_message=f"refused {key} hushhush"))
        held = (path.read_bytes() + Path(f"{path}-wal").read_bytes()).lower()
        assert len(logger.search("key refused")) == 1
    for part in ("zx8kq2lm9np4rs7tv1wy3bc6df5gh0jk", "hushhush"):
        assert part.encode() not in held


def test_duplicates_and_poison_leave_it_exact(path: Path, database: Callable[[], sqlite3.Connection]) -> None:
    """One entry for each content that was stored, none for what was not, in one batch."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        logger.log_invocation(call(1))
        with closing(database()) as other:
            other.execute(
                "CREATE TRIGGER no BEFORE INSERT ON invocations WHEN new.agent_name = 'poison' "
                "BEGIN SELECT raise(ABORT, 'no'); END"
            )
        for number in (1, 2, 2, 3, 4):
            logger.log_invocation_nowait(call(number, agent_name="poison" if number == 3 else None))
        logger.flush()
        stats = logger.stats().ledger
        assert (stats.written, stats.duplicates, stats.quarantined) == (3, 2, 1)
        require_exact(path)


def test_a_commit_that_failed_and_was_tried_again_is_indexed_once(path: Path, database: Callable[[], Any]) -> None:
    """A lock in the way of the first tries."""
    with TelemetryLogger(path, search=True, commit_timeout=20.0, **FULL) as logger, closing(database()) as other:
        logger.log_invocation(call(1))
        other.execute("BEGIN IMMEDIATE")
        logger.log_invocation_nowait(call(2))
        while not logger.stats().failing:
            sleep(0.01)
        other.execute("ROLLBACK")
        logger.flush()
        require_exact(path)


def test_a_logger_without_the_setting_keeps_the_index(path: Path) -> None:
    """The table decides."""
    for search in (True, False, True):
        with TelemetryLogger(path, search=search, **FULL) as logger:
            logger.log_invocation(call(int(logger.get_statistics()["total_invocations"])))
    require_exact(path)


def test_an_index_that_appears_meanwhile_is_kept_from_then_on(path: Path) -> None:
    """Another process turns it on; words of a batch that was prepared without are made within the transaction."""
    with TelemetryLogger(path, **FULL) as logger:
        logger.log_invocation(call(1))
        with TelemetryLogger(path, search=True, **FULL) as other:
            wait_until_whole(other)
        logger.log_invocation(call(2))
        logger.log_invocation(call(3))
        require_exact(path)


def test_contents_that_were_there_are_indexed_bit_by_bit(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A close in the middle leaves the rest to the next one; at each moment all is found."""
    with TelemetryLogger(path, **FULL) as logger:
        for number in range(50):
            logger.log_invocation_nowait(call(number))
    monkeypatch.setattr(upkeep, "_MOST_ROWS", 3)
    steps = 0
    while True:
        with closing(open_for_writing(path, 0)) as connection:
            search_index.make(connection)
            steps += search_index.extend(connection, 7) > 0
            done = search_index.is_complete(connection)
        with TelemetryLogger(path, **FULL) as logger:
            assert len(logger.search("shared", limit=100)) == 50
        if done:
            break
    assert steps == 8
    require_exact(path)


def test_a_logger_completes_it_in_the_background(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Without a record coming, and with records coming."""
    caplog.set_level(logging.INFO, "llm_service.telemetry")
    with TelemetryLogger(path, **FULL) as logger:
        for number in range(300):
            logger.log_invocation_nowait(call(number))
    with TelemetryLogger(path, search=True, **FULL) as logger:
        logger.log_invocation(call(300))
        wait_until_whole(logger)
        require_exact(path)
    assert "the index for search has all contents; 300 were added" in caplog.text


def test_without_fts5_records_are_stored_and_found(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told once; what such a process writes to a file with an index empties it, so that nothing is missed."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        logger.log_invocation(call(1))
    told: list[Event] = []
    with monkeypatch.context() as patched:
        patched.setattr(search_index, "has_fts5", lambda _connection: False)
        with TelemetryLogger(path, search=True, on_event=told.append, **FULL) as logger:
            logger.log_invocation(call(2))
    assert [event.kind for event in told] == [EventKind.SEARCH_UNAVAILABLE]
    with TelemetryLogger(path, search=True, **FULL) as logger:
        assert len(logger.search("shared")) == 2
        logger.log_invocation(call(3))
        assert len(logger.search("shared")) == 3
        wait_until_whole(logger)
    require_exact(path)


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM invocation_words_data WHERE id > 10",
        "DROP TABLE invocation_words_data",
        "DROP TABLE invocation_words_docsize",
        "DROP TABLE invocation_words_idx",
        "DROP TABLE invocation_words_config",
    ],
)
def test_an_index_at_fault_loses_no_record(path: Path, database: Callable[[], Any], statement: str) -> None:
    """Neither when records are written, nor when they are purged; the file stays in its place."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        for number in range(5):
            logger.log_invocation(call(number))
    with closing(database()) as connection:
        connection.execute(statement)
    with TelemetryLogger(path, commit_timeout=20.0, **FULL) as logger:
        for number in range(5, 10):
            logger.log_invocation(call(number))
        logger.log_invocation(call(10, timestamp=NOW - timedelta(days=9)))
        assert len(logger.search("shared")) == 11
        assert logger.purge(3).records == 1
        assert len(logger.search("shared")) == 10
        assert logger.stats().files_set_aside == 0


@pytest.fixture(scope="module")
def indexed(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[int]]:
    """The bytes of a file of sixty calls, and the pages of the tables of its index."""
    path = tmp_path_factory.mktemp("indexed") / "telemetry.db"
    with TelemetryLogger(path, search=True, **FULL) as logger:
        for number in range(60):
            logger.log_invocation(call(number, response=" ".join(map(word, range(number * 40, number * 40 + 40)))))
    with closing(sqlite3.connect(path)) as connection:
        sql = "SELECT DISTINCT pageno FROM dbstat WHERE name LIKE 'invocation_words%' ORDER BY 1"
        pages = [page for (page,) in connection.execute(sql)]
    assert len(pages) > 9
    return path.read_bytes(), pages


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["zeros", "noise", "another page"])
def test_a_damaged_page_of_the_index_costs_no_record_and_is_mended(
    damage: str, indexed: tuple[bytes, list[int]], tmp_path: Path
) -> None:
    """Each page of it: records are written and purged, search reads, and the index is removed or made anew."""
    content, pages = indexed
    for page in pages:
        broken = bytearray(content)
        broken[(page - 1) * 4096 : page * 4096] = {
            "zeros": bytes(4096),
            "noise": random.Random(page).randbytes(4096),
            "another page": content[4096:8192],
        }[damage]
        for mend in ("not at all", "remove", "repair"):
            path = tmp_path / f"{page}-{mend}.db"
            path.touch(mode=0o600)
            path.write_bytes(broken)
            assert read(path, read_contents).tables["invocations"] == 60, page
            if mend == "remove":
                remove(path)
                with closing(sqlite3.connect(path)) as connection:
                    assert not connection.execute("SELECT 1 FROM sqlite_master WHERE name LIKE '%words%'").fetchall()
            elif mend == "repair":
                repair(path)
                require_exact(path)
            with TelemetryLogger(path, commit_timeout=20.0, **FULL) as logger:
                logger.log_invocation(call(60, timestamp=NOW - timedelta(days=9)))
                logger.log_invocation(call(61))
                assert len(logger.search("p61")) == 1, page
                assert logger.purge(3).records == 1, page
                assert logger.stats().files_set_aside == 0, page
            if mend == "not at all":
                repair(path)
                build(path)
            if mend != "remove":
                require_exact(path)
            with closing(sqlite3.connect(path)) as connection:
                found = [text for (text,) in connection.execute("PRAGMA integrity_check")]
                assert all(text == "ok" or "never used" in text for text in found), (page, mend, found)


def purge(path: Path, cutoffs: Cutoffs) -> None:
    """To the end."""
    with closing(open_for_writing(path, 0)) as connection:
        work = Purge(cutoffs, "test")
        while not work.done:
            work.step(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


@pytest.mark.parametrize("contents_alone", [False, True])
def test_purged_words_are_in_no_byte_of_the_file(path: Path, *, contents_alone: bool) -> None:
    """With the record, and where the content alone has had its time: FTS5 marks them, and the merge removes them."""
    old = NOW - timedelta(days=30)
    with TelemetryLogger(path, search=True, **FULL) as logger:
        for number in range(40):
            logger.log_invocation(call(number, prompt=f"{word(number)} shared", timestamp=old if number % 2 else NOW))
    day = f"{NOW - timedelta(days=10):%Y-%m-%d}"
    # FTS5 leaves out how a word begins where the one before begins so.
    ends = {word(number)[4:].encode() for number in range(1, 40, 2)}
    assert any(end in path.read_bytes() for end in ends)
    purge(path, Cutoffs(None, day) if contents_alone else Cutoffs(day, None))
    require_exact(path)
    held = path.read_bytes()
    assert not any(end in held for end in ends)
    assert all(word(number)[4:].encode() in held for number in range(0, 40, 2))
    with TelemetryLogger(path, **FULL) as logger:
        assert len(logger.search("shared")) == 20


def test_a_purge_that_ends_before_the_merge_leaves_an_exact_index(path: Path) -> None:
    """It is only larger."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        for number in range(20):
            logger.log_invocation(call(number, timestamp=NOW - timedelta(days=30 if number % 2 else 0)))
    with closing(open_for_writing(path, 0)) as connection:
        work = Purge(Cutoffs(f"{NOW - timedelta(days=10):%Y-%m-%d}", None), "test")
        while work.records < 10:
            work.step(connection)
    require_exact(path)


def test_drop_removes_it_and_every_writer_goes_on(path: Path) -> None:
    """Also one that had its words ready."""
    with TelemetryLogger(path, search=True, **FULL) as logger:
        logger.log_invocation(call(1))
        with closing(open_for_writing(path, 0)) as connection:
            assert search_index.drop(connection)
            assert not search_index.drop(connection)
        logger.log_invocation(call(2))
        assert len(logger.search("shared")) == 2


# What SQLite may answer instead


class Failing:
    """A connection whose statements of some words fail."""

    def __init__(self, error: sqlite3.Error, *words: str) -> None:
        self._error, self._words = error, words
        self.total_changes = 0
        self.seen: list[str] = []

    def execute(self, statement: str, _parameters: Any = ()) -> Any:
        self.seen.append(statement)
        if any(word in statement for word in self._words):
            raise self._error
        return SimpleNamespace(fetchone=lambda: (1,), fetchall=lambda: [(1,)])


def error_of(code: int) -> sqlite3.DatabaseError:
    """As SQLite reports it."""
    error = sqlite3.DatabaseError("as it is")
    error.sqlite_errorcode = code
    return error


OF_THE_INDEX, OF_THE_FILE = error_of(sqlite3.SQLITE_CORRUPT_VTAB), error_of(sqlite3.SQLITE_IOERR)


def test_a_fault_of_the_index_is_no_answer_and_any_other_is_raised() -> None:
    """Whoever asks it reads the texts instead; what the disk says is not taken for that."""

    def fetch(error: sqlite3.Error) -> Callable[[Any], Any]:
        return lambda query: Failing(error, "rowid", "MATCH").execute(*query).fetchall()

    for connection in (Failing(OF_THE_INDEX, "merge"), Failing(OF_THE_INDEX, "INSERT")):
        assert search_index.merge(connection, 4, begin=True) is False  # type: ignore[arg-type]
    assert search_index.matching(fetch(OF_THE_INDEX), "word", 1, 9, 5) is None
    assert search_index.first_indexed(fetch(OF_THE_INDEX)) is None
    with pytest.raises(sqlite3.DatabaseError):
        search_index.merge(Failing(OF_THE_FILE, "INSERT"), 4, begin=True)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.DatabaseError):
        search_index.matching(fetch(OF_THE_FILE), "word", 1, 9, 5)
    with pytest.raises(sqlite3.DatabaseError):
        search_index.first_indexed(fetch(OF_THE_FILE))


def test_an_index_that_cannot_be_emptied_is_dropped() -> None:
    """Where the index is at fault; where the file is, that is raised."""
    faulty = Failing(OF_THE_INDEX, "INSERT")
    search_index.reset(faulty)  # type: ignore[arg-type]
    assert [statement.split()[0] for statement in faulty.seen] == ["INSERT", "DROP"]
    with pytest.raises(sqlite3.DatabaseError):
        search_index.reset(Failing(OF_THE_FILE, "INSERT"))  # type: ignore[arg-type]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT_VTAB, sqlite3.SQLITE_BUSY])
def test_a_step_that_fails_is_tried_again_and_stops_no_writer(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    """At once where the file was locked; after a while, and said, where not."""
    with TelemetryLogger(path, **FULL) as logger:
        for number in range(9):
            logger.log_invocation(call(number))
    was_locked, now = code == sqlite3.SQLITE_BUSY, [0.0]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        steps = upkeep.IndexUpkeep(lambda *_: None, wanted=True, clock=lambda: now[0])
        search_index.drop(connection)
        steps.opened(connection)
        assert steps.due_in == 0

        def fails(*_given: Any) -> int:
            raise error_of(code)

        with monkeypatch.context() as patched:
            patched.setattr(search_index, "extend", fails)
            steps.step(connection)
        assert ("does not get on" in caplog.text) is not was_locked
        assert steps.due_in is not None
        assert (steps.due_in > 1) is not was_locked
        search_index.drop(connection)  # another process may do so; it is made again
        for _ in range(20):
            now[0] += 100
            steps.step(connection)
        assert steps.due_in is None
    require_exact(path)
