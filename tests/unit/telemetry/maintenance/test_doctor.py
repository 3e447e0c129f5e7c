"""Doctor names what is wrong, each thing once, and changes nothing."""

import os
import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from llm_service.config.settings import Settings
from llm_service.telemetry.journal.locking import HeldFile, create, hold
from llm_service.telemetry.maintenance import cell_values, check_session, content_checks, doctor, file_checks
from llm_service.telemetry.maintenance.check_session import look, side_file, status_of
from llm_service.telemetry.maintenance.doctor import examine
from llm_service.telemetry.maintenance.findings import KINDS, Severity, exit_code, found, healthy
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

Names = Callable[..., dict[str, str]]


def test_every_kind_has_an_exit_code_of_its_own_and_errors_are_graver_than_warnings() -> None:
    """A script can tell them apart, and 1, 2 and 130 keep their meaning; the SQLite that is linked is no finding."""
    assert KINDS["wal_reset_bug"].exit_code == 0
    codes = [kind.exit_code for kind in KINDS.values() if kind.name != "wal_reset_bug"]
    assert codes == sorted(set(codes))
    assert not {0, 1, 2, 130} & set(codes)
    warnings = [kind.exit_code for kind in KINDS.values() if kind.severity is Severity.WARNING]
    errors = [kind.exit_code for kind in KINDS.values() if kind.severity is Severity.ERROR]
    assert max(warnings) < min(errors)
    assert all(kind.remedy for kind in KINDS.values())


def test_the_gravest_finding_decides_the_exit_code() -> None:
    """However many there are, in any order; none is 0."""
    assert exit_code([]) == 0
    assert exit_code([healthy("wal", "")]) == 0
    assert exit_code([found("damaged", ""), found("dead_letters", ""), healthy("wal", "")]) == 45


def test_a_sound_file_is_healthy_and_every_check_says_so(db: Path, names: Names) -> None:
    """No check is silent."""
    assert names() == {}
    assert [finding.check for finding in examine(db)] == [
        "sqlite", "disk", "permissions", "wal", "journals", "leftovers", "file",
        "integrity", "schema", "ids", "values", "aggregates", "search", "budgets", "budget_counters", "dated_ahead",
        "retention", "dead_letters",
    ]  # fmt: skip
    assert names(full=True) == {}


def _bytes_in(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {file.name: (file.read_bytes(), file.lstat().st_mtime_ns) for file in folder.iterdir()}


def test_doctor_changes_no_byte_and_leaves_no_file_beside_a_closed_database(db: Path) -> None:
    """Not even a -shm: nobody has the file open, so it is read as immutable."""
    before = _bytes_in(db.parent)
    examine(db, full=True)
    assert _bytes_in(db.parent) == before


def test_doctor_changes_neither_database_nor_wal_where_a_process_died(db: Path, tmp_path: Path) -> None:
    """What only the WAL holds is read, and is in the WAL afterwards. The -shm is SQLite's scratch paper."""
    copies = tmp_path / "died"
    copies.mkdir()
    with closing(sqlite3.connect(db, isolation_level=None)) as writer:
        writer.execute("INSERT INTO dead_letters (quarantined_at, error, record) VALUES ('t', 'e', '{}')")
        for suffix in ("", "-wal"):
            (copies / f"x.db{suffix}").write_bytes(side_file(db, suffix).read_bytes())
    before = _bytes_in(copies)
    assert "dead_letters" in {finding.name for finding in examine(copies / "x.db") if finding.exit_code}
    after = _bytes_in(copies)
    assert {name: after[name] for name in before} == before


def test_a_file_that_changes_under_an_immutable_look_is_looked_at_again(db: Path) -> None:
    """What was read from the moving file does not count, an error included."""
    asked: list[bool] = []

    def question(connection: sqlite3.Connection) -> int:
        asked.append(True)
        if len(asked) == 1:
            os.utime(db, ns=(1, 1))
            raise sqlite3.DatabaseError("torn")
        return int(connection.execute("SELECT count(*) FROM invocations").fetchone()[0])

    assert look(db, question) == 60
    assert len(asked) == 2


def test_a_question_that_fails_on_a_file_that_stands_still_fails_once(db: Path) -> None:
    """Its error is the answer."""
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        look(db, lambda connection: connection.execute("SELECT * FROM absent"))
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        look(db.with_name("missing.db"), lambda connection: connection.execute("SELECT 1"))


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ((3, 6, 23), False), ((3, 7, 0), True), ((3, 40, 1), True), ((3, 44, 5), True), ((3, 44, 6), False),
        ((3, 45, 0), True), ((3, 50, 6), True), ((3, 50, 7), False), ((3, 51, 2), True), ((3, 51, 3), False),
        ((3, 52, 0), False),
    ],
)  # fmt: skip
def test_the_wal_reset_bug_is_known_by_version(version: tuple[int, int, int], affected: bool) -> None:
    """sqlite.org/wal.html#walresetbug."""
    assert file_checks.has_wal_reset_bug(version) is affected


def test_an_old_or_buggy_or_good_sqlite_is_named() -> None:
    """The three answers of one check."""
    versions = [(3, 30, 9), (3, 40, 1), (3, 51, 3)]
    assert [file_checks.check_sqlite(version).name for version in versions] == [
        "sqlite_too_old",
        "wal_reset_bug",
        "sqlite",
    ]


@pytest.mark.parametrize(("free", "name"), [(1, "disk_full"), (20, "disk_low"), (200, "disk")])
def test_room_on_the_disk_is_judged_by_the_size_of_the_file(
    db: Path, monkeypatch: pytest.MonkeyPatch, free: int, name: str
) -> None:
    """Full: the next commits fail. Low: a backup would not fit."""
    usage = type("Usage", (), {"free": free * 1024 * 1024})
    monkeypatch.setattr(file_checks.shutil, "disk_usage", lambda _: usage)
    assert file_checks.check_disk(db).name == name


def test_loose_permissions_of_files_and_folder_are_found(db: Path, names: Names) -> None:
    """Others could read the calls, or put another file in their place."""
    db.chmod(0o640)
    assert names() == {"permissions": "telemetry.db is 0640"}
    db.chmod(0o600)
    db.parent.chmod(0o777)
    assert "others can replace files" in names()["permissions"]
    db.parent.chmod(0o1777)  # as /tmp is
    assert names() == {}


def test_a_hard_link_a_symbolic_link_and_a_folder_in_place_of_a_file_are_found(db: Path, names: Names) -> None:
    """Two names mean two WALs for one file."""
    (db.parent / "other.db").hardlink_to(db)
    assert "hard links" in names()["links"]
    (db.parent / "other.db").unlink()
    side_file(db, "-wal").symlink_to(db.parent / "elsewhere")
    assert [finding.name for finding in file_checks.check_permissions(db)] == ["links"]
    side_file(db, "-wal").unlink()
    side_file(db, "-wal").mkdir()
    assert "no regular file" in file_checks.check_permissions(db)[0].seen


def test_a_file_of_another_user_is_found_but_not_by_root(db: Path) -> None:
    """Root may look after the files of others."""
    owner = db.lstat().st_uid
    assert [finding.name for finding in file_checks.check_permissions(db, owner + 1)] == ["foreign_owner"]
    assert [finding.name for finding in file_checks.check_permissions(db, 0)] == ["permissions"]


def test_a_journal_is_an_orphan_where_no_process_holds_it(db: Path, names: Names) -> None:
    """Whatever /proc/locks shows or hides: the kernel is asked about the file itself."""
    journal = db.parent / f"telemetry.db-journal-{UUID(int=1)}"
    journal.write_bytes(b"j" * 1024 * 1024)
    db.with_name("telemetry.db-journal-of mine").touch()  # not as we name them
    assert names() == {"orphan_journals": "1 of dead processes, 1.0 MiB"}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_journal_of_a_living_process_is_none_and_stays_that_process_s(db: Path, names: Names) -> None:
    """Of this process, or of another; looking drops no lock, also not from within."""
    path = db.parent / f"telemetry.db-journal-{UUID(int=1)}"
    held = create(path)
    assert names() == {}
    assert file_checks.check_journals(db).seen == "1, all of living processes"
    heard, told = os.pipe()
    pid = os.fork()  # a child holds nothing of its parent's
    if pid == 0:  # pragma: no cover - in the child, which coverage does not outlive
        os.write(told, file_checks.check_journals(db).seen.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(heard, 200) == b"1, all of living processes"
    held.let_go()
    os.close(heard)
    os.close(told)
    assert names() == {"orphan_journals": "1 of dead processes, 0.0 MiB"}


def test_a_journal_that_is_just_made_or_done_with_is_no_orphan(db: Path) -> None:
    """It is nobody's for a moment: what counts is that it still is nobody's a little later."""
    path = db.parent / f"telemetry.db-journal-{UUID(int=1)}"
    path.touch()
    taken: list[HeldFile | None] = []
    seen = file_checks.check_journals(db, lambda _seconds: taken.append(hold(path)))
    assert (seen.name, seen.seen) == ("journals", "1, all of living processes")
    assert taken[0] is not None
    taken[0].let_go()
    assert file_checks.check_journals(db, lambda _seconds: path.unlink()).seen == "none"


def test_nothing_is_claimed_of_a_journal_whose_holder_cannot_be_seen(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link, a folder, a file that may not be read, a platform that cannot be asked; what can be seen is said."""
    start = f"telemetry.db-journal-{UUID(int=1)}"[:-1]
    db.with_name(f"{start}a").symlink_to(db)
    db.with_name(f"{start}b").mkdir()
    doubt = "whether the writers of 2 live cannot be seen from here"
    assert file_checks.check_journals(db).seen == f"2; {doubt}"
    db.with_name(f"{start}c").touch()
    seen = file_checks.check_journals(db)
    assert (seen.name, seen.seen) == ("orphan_journals", f"1 of dead processes, 0.0 MiB; {doubt}")
    monkeypatch.setattr("sys.platform", "other")
    assert file_checks.check_journals(db).name == "journals"


def test_damaged_files_that_were_moved_aside_are_found_once_each(db: Path, names: Names) -> None:
    """With the oldest; its -wal is part of it."""
    for name in ("telemetry.db.corrupt-20260301T000000Z", "telemetry.db.corrupt-20260301T000000Z-wal"):
        (db.parent / name).touch()
    assert names() == {"damaged_leftovers": "1 beside it, the oldest telemetry.db.corrupt-20260301T000000Z"}


def test_a_missing_an_empty_and_a_foreign_file_are_told_apart(tmp_path: Path, names: Names) -> None:
    """Each has its own remedy; nothing is made."""
    missing, empty, text, foreign = (tmp_path / "files" / name for name in ("missing", "empty", "text", "foreign"))
    empty.parent.mkdir(0o700)
    empty.touch(0o600)
    text.write_text("this is not a database, but it is long enough to have a header " * 20)
    with closing(sqlite3.connect(foreign)) as connection:
        connection.execute("CREATE TABLE strange (x)")
    for file in (text, foreign):
        file.chmod(0o600)
    assert set(names(missing)) == {"missing_file"}
    assert set(names(empty)) == {"empty_file"}
    assert set(names(text)) == {"not_a_database"}
    assert set(names(foreign)) == {"foreign_database"}
    assert {file.name for file in empty.parent.iterdir()} == {"empty", "text", "foreign"}


def test_a_file_of_a_newer_release_is_left_alone_and_one_of_an_older_is_named(
    change: Callable[..., None], names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upgrade for the one; the other is migrated at the next opening."""
    version = content_checks.migrations.VERSION
    change(f"PRAGMA user_version = {version + 1}")
    assert set(names()) == {"newer_schema"}
    change(f"PRAGMA user_version = {version}")
    monkeypatch.setattr(content_checks.migrations, "VERSION", version + 1)
    assert set(names()) == {"older_schema"}


def test_a_file_that_cannot_be_opened_is_unreadable(db: Path) -> None:
    """A folder in its place, say: no permission can be taken from root."""
    db.unlink()
    db.mkdir()
    assert doctor.identify(db).name == "unreadable"


def test_a_file_cut_in_half_is_damaged(db: Path, names: Names) -> None:
    """The first statement fails."""
    with db.open("r+b") as file:
        file.truncate(db.stat().st_size // 2)
    assert set(names()) == {"damaged"}


def test_a_missing_index_a_missing_column_and_a_trigger_are_found(
    db: Path, change: Callable[..., None], names: Names
) -> None:
    """Extra tables and indexes of the owner are nobody's business; what runs in our commits is."""
    change("CREATE TABLE mine (x)", "CREATE INDEX my_index ON invocations (tool_name)")
    assert names() == {}
    change("DROP INDEX idx_invocations_agent", "CREATE INDEX idx_invocations_agent ON invocations (agent_name)")
    assert names() == {"missing_index": "idx_invocations_agent"}
    change("CREATE TRIGGER watch AFTER INSERT ON invocations BEGIN SELECT 1; END")
    assert names()["triggers"] == "'watch on invocations'"
    change("ALTER TABLE invocations DROP COLUMN metadata")
    assert names()["schema"] == "invocations lacks metadata"
    change("DROP TABLE receipts", "CREATE TABLE receipts (writer_id TEXT, batch_no TEXT, committed_at TEXT)")
    assert any("another type of" in finding.seen for finding in examine(db) if finding.name == "schema")
    change("DROP TABLE receipts")
    assert any("no table receipts" in finding.seen for finding in examine(db) if finding.name == "schema")


def test_two_version_numbers_that_disagree_are_found(change: Callable[..., None], names: Names) -> None:
    """One was changed by hand."""
    change("DELETE FROM schema_version")
    assert "schema_version says None" in names()["schema"]


def test_an_id_that_stands_twice_is_found_where_the_unique_index_is_gone(
    change: Callable[..., None], names: Names
) -> None:
    """The index that would forbid it is missing, too."""
    change(
        "DROP INDEX idx_invocations_invocation_id",
        "UPDATE invocations SET invocation_id = 'call-00001' WHERE id = 9",
    )
    found_names = names()
    assert found_names["duplicate_ids"] == "1 ids stand more than once, for example 'call-00001'"
    assert "idx_invocations_invocation_id" in found_names["missing_index"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE daily_costs SET cost_nanos = cost_nanos + 1 WHERE id = 2",
        "UPDATE daily_costs SET total_cost_usd = total_cost_usd + 0.000000002 WHERE id = 2",
        "UPDATE daily_costs SET errors = 'many' WHERE id = 2",
        "DELETE FROM daily_costs WHERE id = 2",
        "INSERT INTO daily_costs (date, agent_name, invocations) VALUES ('2026-03-01', 'nobody', 1)",
        "UPDATE daily_latency SET invocations = invocations + 1 WHERE daily_cost_id = 2",
        "DELETE FROM invocations WHERE id = 30",
        "UPDATE daily_costs SET date = 'someday' WHERE id = 3",
        "UPDATE daily_costs SET date = '9999-12-31' WHERE id = 3",
    ],
)
def test_a_total_that_differs_by_the_least_is_found(change: Callable[..., None], names: Names, statement: str) -> None:
    """To the nano-dollar and to the bucket, in either direction."""
    change(statement)
    assert set(names()) - {"odd_values"} == {"aggregates"}


def test_latency_buckets_of_no_total_are_found(change: Callable[..., None], names: Names) -> None:
    """They would be added to whatever total gets that id."""
    change("INSERT INTO daily_latency VALUES (999, 1, 1)")
    assert names() == {"aggregates": "1 latency buckets belong to no daily total"}


def test_totals_of_days_whose_records_are_gone_are_not_judged(change: Callable[..., None], names: Names) -> None:
    """Retention keeps them on purpose, and says since when records are kept."""
    change("DELETE FROM invocations WHERE timestamp < '2026-03-02'")
    assert set(names()) == {"aggregates"}
    change("CREATE TABLE IF NOT EXISTS retention (records_kept_since TEXT)", "DELETE FROM retention")
    change("INSERT INTO retention (records_kept_since) VALUES ('2026-03-02')")
    assert names() == {}


def test_checks_that_run_out_of_time_say_so(db: Path) -> None:
    """A large file is not called sound before it was read."""
    late = [finding for finding in examine(db, seconds=-1.0) if finding.name == "not_checked"]
    assert {"integrity", "aggregates"} >= {finding.check for finding in late}
    looks = check_session.open_read_only(db)
    with closing(looks), pytest.raises(check_session.OutOfTimeError), check_session.time_limit(looks, -1.0):
        looks.execute("WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n").fetchone()
    with closing(check_session.open_read_only(db)) as other, pytest.raises(sqlite3.OperationalError, match="no such"):  # noqa: SIM117
        with check_session.time_limit(other, -1.0):
            other.execute("SELECT * FROM absent")


def test_each_check_of_the_contents_reports_its_lack_of_time(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `not_checked`, under the check's own name, with what was seen until then."""

    def hurry(_connection: sqlite3.Connection, _deadline: float) -> Any:
        raise check_session.OutOfTimeError

    for checks in (content_checks, cell_values):
        monkeypatch.setattr(checks, "time_limit", hurry)
    late = {finding.check: finding.name for finding in examine(db, full=True) if finding.name == "not_checked"}
    assert set(late) == {"integrity", "ids", "aggregates", "values"}


def test_what_keeps_a_check_from_being_made_is_a_finding(db: Path) -> None:
    """Damage, lack of time, or anything else that SQLite says."""

    def failing(code: int) -> Any:
        error = sqlite3.OperationalError("so")
        error.sqlite_errorcode = code

        def check(_: sqlite3.Connection) -> Any:
            raise error

        return check

    def late(_: sqlite3.Connection) -> Any:
        raise check_session.OutOfTimeError

    def odd(_: sqlite3.Connection) -> Any:
        raise ValueError("a cell that nobody expects")

    carried = [doctor.carry_out(db, "schema", check)[0].name for check in (failing(11), failing(1), late, odd)]
    assert carried == ["damaged", "not_checked", "not_checked", "not_checked"]
    (finding,) = doctor.carry_out(db, "schema", odd)
    assert "what no writer wrote" in finding.seen


@pytest.mark.parametrize("version", [0, -1])
def test_a_version_that_no_release_wrote_is_found(version: int, change: Callable[..., None], names: Names) -> None:
    """In a file that bears our id and holds our tables."""
    change(f"PRAGMA user_version = {version}")
    assert names() == {"schema": f"user_version is {version}, which no release wrote"}


def test_records_older_than_the_retention_are_found_where_the_configuration_is_known(db: Path, names: Names) -> None:
    """With the slack of a retention that deletes whole days."""
    now = datetime(2026, 3, 10, tzinfo=UTC)
    settings = Settings(db_path=db, retention_days=6)
    assert set(names(settings=settings, now=now)) == {"retention_lag"}
    assert names(settings=settings, now=now - timedelta(days=1)) == {}
    assert names(settings=Settings(db_path=db, retention_days=None), now=now) == {}
    assert names(now=now) == {}


def test_an_empty_telemetry_file_is_healthy(tmp_path: Path, names: Names) -> None:
    """Nothing was recorded yet."""
    path = tmp_path / "new.db"
    open_for_writing(path, 1).close()
    assert names(path, settings=Settings(db_path=path)) == {}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_dead_letters_are_counted(change: Callable[..., None], names: Names) -> None:
    """They wait for somebody to look."""
    moment = "2026-11-23 18:00:00.000000Z"
    change(f"INSERT INTO dead_letters (quarantined_at, error, record) VALUES ('{moment}', 'e', '{{}}')")
    assert names() == {"dead_letters": "1 records were refused"}


def test_a_damaged_page_is_found_by_each_check_that_meets_it(db: Path, names: Names, ask: Callable[..., Any]) -> None:
    """And the checks that do not meet it still say what they see."""
    ((root,),) = ask("SELECT rootpage FROM sqlite_master WHERE name = 'invocations'")
    with db.open("r+b") as file:
        file.seek((root - 1) * 4096)
        file.write(b"\xff" * 4096)
    found_checks = {finding.check for finding in examine(db) if finding.name == "damaged"}
    assert found_checks == {"integrity", "values", "aggregates"}
    assert set(names()) == {"damaged"}


def test_a_damaged_index_is_what_quick_check_tells_of(db: Path, names: Names, ask: Callable[..., Any]) -> None:
    """The tables are whole; the first problem is shown, and how many there are."""
    ((root,),) = ask("SELECT rootpage FROM sqlite_master WHERE name = 'idx_invocations_session'")
    with db.open("r+b") as file:
        file.seek((root - 1) * 4096 + 2000)
        file.write(b"\xff" * 2000)
    assert names()["damaged"].startswith("quick_check: ")


def test_a_long_wal_is_found_and_whoever_keeps_it_so_is_named(db: Path) -> None:
    """By the locks that the system shows; a reader counts that is there at both looks."""
    wal, shm = side_file(db, "-wal"), side_file(db, "-shm")
    wal.touch()
    shm.touch()
    status = shm.lstat()
    place = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}:{status.st_ino}"
    parent = os.getppid()
    held = f"1: POSIX  ADVISORY  READ {parent} {place} 124 124\n2: FLOCK  ADVISORY  WRITE 1 {place} 0 EOF\n"
    other = f"1: POSIX  ADVISORY  READ {parent} 00:01:7 124 124\n2: POSIX  ADVISORY  WRITE {parent} {place} 120 120\n"
    pauses: list[float] = []

    def check(*looks: str) -> Any:
        texts = iter(looks)
        return file_checks.check_wal(db, lambda: next(texts), pauses.append)

    assert check().name == "wal"
    os.truncate(wal, file_checks.WAL_BYTES)
    blocked = check(held, held)
    assert blocked.name == "wal_blocked"
    assert f"process {parent} (" in blocked.seen
    assert check(held, other).name == "wal"
    os.truncate(wal, file_checks.LONG_WAL_BYTES)
    assert check(other).name == "wal_size"
    assert file_checks.check_wal(db).name == "wal_size"  # this process has no such lock
    shm.unlink()
    assert check(held).name == "wal_size"
    assert len(pauses) == 2


def test_a_system_without_proc_locks_and_a_process_that_is_gone_are_no_errors(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only Linux shows the locks of others."""

    def absent(*_: Any) -> str:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", absent)
    assert file_checks.proc_locks() is None
    assert file_checks._command(1) == "gone"
    assert status_of(db / "beyond") is None
