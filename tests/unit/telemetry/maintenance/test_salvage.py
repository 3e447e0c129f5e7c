"""Salvage gives back all that one damaged page did not hold, says what it could not, and never touches the source."""

import os
import random
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.errors import PlantedFileError, StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import private_copy
from llm_service.telemetry.maintenance.check_session import side_file
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.salvage import salvage

pytestmark = pytest.mark.slow

CALLS = 1500
CALLS_A_DAY = 96
"""Of one agent: every fifth call is its, and they are three minutes apart."""
PAGE = 4096
FIRST = datetime(2026, 3, 1, tzinfo=UTC)
Ask = Callable[..., list[Any]]


def _call(number: int) -> InvocationRecord:
    return InvocationRecord(
        invocation_id=f"call-{number:05}",
        timestamp=FIRST + timedelta(minutes=3 * number),
        agent_name=f"agent-{number % 5}",
        tool_name="t",
        model_name="m",
        prompt_tokens=number,
        completion_tokens=1,
        cost_usd=number / 1e6,
        latency_ms=number,
        status="error" if number % 10 == 0 else "success",
        session_id=f"s{number % 3}" if number % 2 else None,
        metadata={"long": "x" * 9000} if number % 300 == 0 else None,  # on overflow pages
    )


class Content(bytes):
    """The bytes of a file, which no failure prints."""

    def __repr__(self) -> str:
        return f"<{len(self):,} bytes>"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file of `CALLS` calls."""
    path = tmp_path_factory.mktemp("sound") / "telemetry.db"
    with TelemetryLogger(path, retention_days=None, batch_size=10_000) as logger:
        for number in range(CALLS):
            logger.log_invocation_nowait(_call(number))
    return Content(path.read_bytes())


@pytest.fixture
def sick(tmp_path: Path, sound: bytes) -> Path:
    """That file, to be damaged."""
    path = tmp_path / "telemetry.db"
    path.write_bytes(sound)
    return path


def _pages(path: Path, table: str, kind: str) -> list[tuple[int, int]]:
    """Numbers and cells of the pages of a table or index."""
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        sql = "SELECT pageno, ncell FROM dbstat WHERE name = ? AND pagetype = ? ORDER BY pageno"
        return connection.execute(sql, (table, kind)).fetchall()


def _overwrite(path: Path, page: int, content: bytes = b"\xff" * PAGE, at: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek((page - 1) * PAGE + at)
        file.write(content)


def _has_dbstat() -> bool:
    with closing(sqlite3.connect(":memory:")) as connection:
        return ("ENABLE_DBSTAT_VTAB",) in connection.execute("PRAGMA compile_options").fetchall()


needs_dbstat = pytest.mark.skipif(not _has_dbstat(), reason="this SQLite was built without dbstat, which names pages")


def _totals(path: Path) -> tuple[int, int]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
        found: tuple[int, int] = connection.execute(
            "SELECT sum(invocations), sum(cost_nanos) FROM daily_costs"
        ).fetchone()
        return found


@pytest.mark.volume
@needs_dbstat
@given(seed=st.integers(0, 2**32))
@settings(max_examples=30, deadline=None)
def test_one_damaged_page_costs_no_more_calls_than_it_holds_and_no_total(
    tmp_path_factory: pytest.TempPathFactory, sound: bytes, seed: int
) -> None:
    """Any page, damaged in any way: of a table, an index, the schema, a pointer map, the header, an overflow chain.

    One byte of a name may pass for another name, with calls of its own: those of a record, or of an agent's day.
    """
    chance = random.Random(seed)
    path = tmp_path_factory.mktemp("sick") / "telemetry.db"
    path.write_bytes(sound)
    number = chance.randrange(1, len(sound) // PAGE + 1)
    cells = dict(
        _pages(path, "invocations", "leaf") + [(page, 1) for page, _ in _pages(path, "invocations", "overflow")]
    )
    content, at = chance.choice(
        [
            (chance.randbytes(PAGE), 0),
            (bytes(PAGE), 0),
            (chance.randbytes(PAGE // 2), 0),
            (chance.randbytes(PAGE // 2), PAGE // 2),
            (chance.randbytes(1), chance.randrange(PAGE)),
        ]
    )
    _overwrite(path, number, content, at)
    before = path.read_bytes()
    report = salvage(path, path.parent / "saved.db")
    assert path.read_bytes() == before
    count = report.tables["invocations"]
    assert CALLS - cells.get(number, 0) <= count.recovered <= CALLS
    assert CALLS <= _totals(report.path)[0] <= CALLS + (CALLS_A_DAY if len(content) == 1 else 0)
    assert sorted(file.name for file in path.parent.iterdir()) == ["saved.db", "telemetry.db"]
    assert {found.name for found in examine(report.path) if found.exit_code} <= {
        "wal_reset_bug", "disk_low", "dead_letters", "aggregates", "odd_values",
        "budgets",  # windows are kept as they were read: a recount from what is left would let more be spent
    }  # fmt: skip


def test_a_sound_file_is_salvaged_whole_and_healthy(sick: Path) -> None:
    """Every row of every table, private, with nothing beside it."""
    sick.chmod(0o644)
    report = salvage(sick, sick.parent / "saved.db")
    assert (report.tables["invocations"].recovered, report.lost, report.totals_kept) == (CALLS, 0, 0)
    assert stat.S_IMODE(report.path.stat().st_mode) == 0o600
    assert {found.name for found in examine(report.path, full=True) if found.exit_code} <= {"wal_reset_bug", "disk_low"}
    assert _totals(report.path) == (CALLS, sum(1000 * number for number in range(CALLS)))


@needs_dbstat
def test_calls_of_a_lost_page_become_letters_of_what_indexes_know_and_stay_counted(sick: Path, ask: Ask) -> None:
    """Id, time, agent, session, and whether the call failed: by the index of failures, which was read to its end."""
    page, cells = _pages(sick, "invocations", "leaf")[7]
    _overwrite(sick, page)
    report = salvage(sick, sick.parent / "saved.db")
    assert report.tables["invocations"].recovered == CALLS - cells
    assert report.tables["invocations"].partial == report.lost == cells
    assert report.totals_kept > 0
    assert _totals(report.path) == (CALLS, sum(1000 * number for number in range(CALLS)))
    whole = {row[0] for row in ask("SELECT invocation_id FROM invocations", report.path)}
    letters = ask("SELECT invocation_id, error, json(record) FROM dead_letters", report.path)
    assert {row[0] for row in letters} == {f"call-{number:05}" for number in range(CALLS)} - whole
    number = int(letters[0][0][5:])
    expected = _call(number)
    assert letters[0][1].startswith("salvage: the row was lost; indexes know no tool_name")
    for text in (expected.agent_name, f'"status":"{expected.status}"', f"{expected.timestamp:%Y-%m-%d %H:%M:%S}"):
        assert str(text) in letters[0][2]


@needs_dbstat
def test_whether_a_lost_call_failed_is_unknown_where_the_index_of_failures_is_damaged_too(sick: Path, ask: Ask) -> None:
    """It is not called a success; a missing index is no obstacle."""
    page, cells = _pages(sick, "invocations", "leaf")[7]
    with closing(sqlite3.connect(sick, isolation_level=None)) as connection:
        connection.execute("DROP INDEX idx_invocations_status")
    _overwrite(sick, page)
    report = salvage(sick, sick.parent / "saved.db")
    statuses = "SELECT DISTINCT json_extract(record, '$.status') FROM dead_letters"
    assert ask(statuses, report.path) == [("unknown",)]
    assert report.lost == cells


@needs_dbstat
def test_a_row_that_makes_no_sense_any_more_is_a_letter_and_no_record(sick: Path, ask: Ask) -> None:
    """A flipped bit in a status or in UTF-8 text is seen; what an index says of it counts over the row."""
    page, _ = _pages(sick, "invocations", "leaf")[3]
    data = sick.read_bytes()
    at = data.index(b"success", (page - 1) * PAGE)
    _overwrite(sick, 1, b"S\xfccess!", at)
    report = salvage(sick, sick.parent / "saved.db")
    assert report.tables["invocations"].damaged == 1
    assert report.tables["invocations"].recovered == CALLS - 1
    ((error, status),) = ask("SELECT error, json_extract(record, '$.status') FROM dead_letters", report.path)
    assert error == "salvage: the row was damaged, its status makes no sense"
    assert status == "success"


@needs_dbstat
def test_lost_totals_are_made_from_records_and_totals_without_records_are_kept(sick: Path, ask: Ask) -> None:
    """Days past their retention have only totals; a damaged page of totals is made up from calls."""
    with closing(sqlite3.connect(sick, isolation_level=None)) as connection:
        connection.execute("DELETE FROM invocations WHERE timestamp < '2026-03-02'")
    first_day = (
        "SELECT agent_name, d.invocations, cost_nanos, total_cost_usd, latency_us_sum, bucket, l.invocations"
        " FROM daily_costs AS d JOIN latency_counts AS l ON daily_cost_id = d.id WHERE date = '2026-03-01' ORDER BY 1, 6"
    )
    kept = ask(first_day, sick)
    report = salvage(sick, sick.parent / "kept.db")
    assert ask(first_day, report.path) == kept != []
    assert report.totals_kept == 5
    _overwrite(sick, _pages(sick, "daily_costs", "leaf")[-1][0])
    report = salvage(sick, sick.parent / "made.db")
    assert ask("SELECT count(*), min(invocations) > 0 FROM daily_costs WHERE date >= '2026-03-02'", report.path) == [
        (15, 1)
    ]
    later = {found.name for found in examine(report.path) if found.name == "damaged"}
    assert later == set()


def test_a_bad_header_is_no_obstacle_and_a_wal_beside_it_counts(tmp_path: Path, sound: bytes) -> None:
    """SQLite refuses such a file; its pages, and the committed ones of its WAL, are read one by one."""
    path = tmp_path / "telemetry.db"
    path.write_bytes(sound)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        for number in range(CALLS, CALLS + 9):
            writer.execute(
                "INSERT INTO invocations (invocation_id, timestamp, status)"
                f" VALUES ('call-{number}', '2026-03-05 00:00:00.000000Z', 'success')"
            )
        crashed = tmp_path / "crashed.db"
        crashed.write_bytes(path.read_bytes())
        side_file(crashed, "-wal").write_bytes(side_file(path, "-wal").read_bytes())
    with crashed.open("r+b") as file:
        file.write(b"no header at all")
    before = {suffix: side_file(crashed, suffix).read_bytes() for suffix in ("", "-wal")}
    report = salvage(crashed, tmp_path / "saved.db")
    assert report.tables["invocations"].recovered == CALLS + 9
    assert report.tables["daily_costs"].recovered > 0
    assert {suffix: side_file(crashed, suffix).read_bytes() for suffix in ("", "-wal")} == before


def test_a_damaged_schema_is_no_obstacle(sick: Path, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite opens such a file and knows no table of it; the rows are told by the pages they are on."""
    monkeypatch.setattr("llm_service.telemetry.maintenance.salvage._ROWS", 100)
    with closing(sqlite3.connect(sick, isolation_level=None)) as connection:
        connection.execute("ALTER TABLE invocations ADD COLUMN mine TEXT")
        connection.execute("UPDATE invocations SET mine = 'x' WHERE id = 7")
    _overwrite(sick, 1, b"\xff" * (PAGE - 100), 100)
    report = salvage(sick, sick.parent / "saved.db")
    assert report.tables["invocations"].recovered == CALLS
    assert ask("SELECT invocation_id FROM invocations WHERE id = 7", report.path) == [("call-00006",)]


def test_a_receipt_that_makes_no_sense_is_left_out(sick: Path) -> None:
    """Beside the others."""
    with closing(sqlite3.connect(sick, isolation_level=None)) as connection:
        connection.execute("INSERT INTO receipts VALUES ('w', 'many', 't', 6), ('v', 1, 't', 6)")
    before = salvage(sick, sick.parent / "saved.db")
    assert before.tables["receipts"].recovered == 2


def test_half_a_file_gives_what_is_in_that_half(sick: Path, sound: bytes) -> None:
    """SQLite calls it malformed as a whole."""
    sick.write_bytes(sound[: len(sound) // 2])
    report = salvage(sick, sick.parent / "saved.db")
    assert 0.3 * CALLS < report.tables["invocations"].recovered < CALLS
    assert report.lost is None or report.lost > 0
    assert (report.lost or 0) + report.tables["invocations"].recovered <= CALLS


def test_ids_that_stand_twice_are_kept_once(sick: Path) -> None:
    """The first of them, and the other is counted."""
    with closing(sqlite3.connect(sick, isolation_level=None)) as connection:
        connection.execute("DROP INDEX idx_invocations_invocation_id")
        connection.execute("UPDATE invocations SET invocation_id = 'call-00001' WHERE id = 9")
    count = salvage(sick, sick.parent / "saved.db").tables["invocations"]
    assert (count.recovered, count.duplicates) == (CALLS - 1, 1)


@pytest.mark.parametrize("mode", ["INCREMENTAL", "NONE"])
@pytest.mark.parametrize("pages", [(), (1,), (2,), (1, 2)])
def test_deleted_rows_stay_deleted(tmp_path: Path, sound: bytes, mode: str, pages: tuple[int, ...]) -> None:
    """Whether the file has a pointer map, as ours have, or a freelist alone, as one that was vacuumed otherwise.

    Where neither can be read, the whole table is known by its tree, and what else looks like its rows was deleted.
    """
    path = tmp_path / "sick.db"
    path.write_bytes(sound)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA journal_mode = DELETE")
        connection.execute(f"PRAGMA auto_vacuum = {mode}")
        connection.execute("VACUUM")
        connection.execute("DELETE FROM invocations WHERE id > 500")
        (free,) = connection.execute("PRAGMA freelist_count").fetchone()
        assert free > 50
    if mode == "NONE" and 2 in pages:
        return  # it is a table's
    for page in pages:
        _overwrite(path, page)
    assert salvage(path, tmp_path / "saved.db").tables["invocations"].recovered == 500


MANY = 12_000


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The bytes of a file of `MANY` calls: two pages of pointers, roots within the first thirty."""
    path = tmp_path_factory.mktemp("many") / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        for number in range(MANY):
            logger.log_invocation_nowait(_call(number))
            if number % 5000 == 0:
                assert logger.flush().complete
    return path.read_bytes()


@pytest.mark.volume
@pytest.mark.parametrize("kind", ["random", "zeros"])
@pytest.mark.parametrize("last", [1, 2, 3, 10])
def test_a_damaged_start_costs_no_call(tmp_path: Path, many: bytes, last: int, kind: str) -> None:
    """Header, pointer map and roots: what the map does not say is told by the trees, or by the rows themselves."""
    path = tmp_path / "telemetry.db"
    size = last * PAGE
    path.write_bytes((random.Random(last).randbytes(size) if kind == "random" else bytes(size)) + many[size:])
    report = salvage(path, tmp_path / "saved.db")
    assert (report.tables["invocations"].recovered, report.lost) == (MANY, 0)
    assert _totals(report.path) == (MANY, sum(1000 * number for number in range(MANY)))


@pytest.mark.volume
@pytest.mark.parametrize("page", [2, 822])
def test_a_damaged_pointer_map_alone_costs_no_call(tmp_path: Path, many: bytes, page: int) -> None:
    """With or without a header that SQLite takes."""
    path = tmp_path / "telemetry.db"
    for header in (many[:PAGE], bytes(PAGE)):
        path.write_bytes(header + many[PAGE:])
        _overwrite(path, page, random.Random(page).randbytes(PAGE))
        report = salvage(path, tmp_path / "saved.db", force=True)
        assert (report.tables["invocations"].recovered, report.lost) == (MANY, 0)


@needs_dbstat
@pytest.mark.parametrize("totals", [True, False])
def test_what_is_lost_is_counted_or_unknown_and_never_nothing(sick: Path, *, totals: bool) -> None:
    """Without header no index is read: the totals tell; without them nothing does."""
    page, cells = _pages(sick, "invocations", "leaf")[7]
    root = min(number for number, _ in _pages(sick, "daily_costs", "internal") or _pages(sick, "daily_costs", "leaf"))
    for number in (1, 2, page, *([] if totals else [root])):
        _overwrite(sick, number)
    report = salvage(sick, sick.parent / "saved.db")
    assert report.tables["invocations"].recovered == CALLS - cells
    assert report.lost == (cells if totals else None)


def test_contents_without_their_call_are_lost_with_it(sick: Path) -> None:
    """Nobody could say whose they are."""
    with closing(sqlite3.connect(sick, isolation_level=None)) as connection:
        connection.execute("INSERT INTO invocation_contents VALUES (1, x'01', NULL), (99999, x'02', NULL)")
    assert salvage(sick, sick.parent / "saved.db").tables["invocation_contents"].recovered == 1


def test_a_file_without_rows_of_ours_gives_nothing(tmp_path: Path) -> None:
    """And leaves nothing."""
    text = tmp_path / "text.db"
    text.write_text("no database " * 1000)
    for source in (text, tmp_path / "missing.db"):
        with pytest.raises(StoreError, match=r"not one row|there is no"):
            salvage(source, tmp_path / "saved.db")
    assert [file.name for file in tmp_path.iterdir()] == ["text.db"]


def test_an_existing_file_is_not_replaced_unasked(sick: Path) -> None:
    """Nor is anything read before."""
    saved = sick.parent / "saved.db"
    saved.touch()
    with pytest.raises(StoreError, match="exists; give another name"):
        salvage(sick, saved)
    assert salvage(sick, saved, force=True).lost == 0


def test_a_source_that_cannot_be_read_at_all_is_an_error(tmp_path: Path) -> None:
    """A folder or a pipe is not even opened; the process that copies says why it could not."""
    source, pipe = tmp_path / "folder.db", tmp_path / "pipe.db"
    source.mkdir()
    os.mkfifo(pipe)
    for planted in (source, pipe):
        with pytest.raises(PlantedFileError, match="not a plain file"), private_copy.private_copy(planted, tmp_path):
            pass
    for unreadable in (tmp_path / "absent", pipe):
        with pytest.raises(StoreError, match="cannot be read"):
            private_copy._copy_files(unreadable, tmp_path / "copy")
