"""`invocations --follow`: calls of another process as they are committed, until somebody ends it."""

import json
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.cli import following
from llm_service.cli.following import follow
from llm_service.errors import StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.filters import InvocationFilter

Run = Callable[..., Result]
ALL = InvocationFilter()
WRITER = """
import sys
from llm_service.telemetry import InvocationRecord, TelemetryLogger
with TelemetryLogger(sys.argv[1]) as telemetry:
    for line in sys.stdin:
        telemetry.log_invocation(InvocationRecord(invocation_id=line.strip(), agent_name="writer", status=sys.argv[2]))
        print("committed", flush=True)
"""


class Writer:
    """A process that commits a call when it is told to."""

    def __init__(self, path: Path, environment: dict[str, str], status: str = "success") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path), status],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def commit(self, invocation_id: str) -> None:
        """Returns when it is on disk."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{invocation_id}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "committed\n"

    def end(self) -> None:
        """Close its logger."""
        self.process.communicate(timeout=30)


@pytest.fixture
def writer(database: Path, environment: dict[str, str]) -> Iterator[Writer]:
    """Writes into the database of six calls."""
    process = Writer(database, environment)
    yield process
    process.end()


@contextmanager
def followed(
    command: list[str], environment: dict[str, str], path: Path, *options: str
) -> Iterator["subprocess.Popen[str]"]:
    """The command, running."""
    with subprocess.Popen(
        [*command, "invocations", "--follow", "--db", str(path), *options],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def test_calls_of_another_process_are_shown_as_they_are_committed(
    command: list[str], environment: dict[str, str], database: Path, writer: Writer
) -> None:
    """One JSON object a line, each once, in the order of arrival; first those that are stored, oldest first."""
    with followed(command, environment, database, "--json", "--limit", "2") as following_process:
        assert following_process.stdout is not None
        read = following_process.stdout.readline
        assert [json.loads(read())["session_id"] for _ in range(2)] == ["session-1", "session-0"]
        for number in range(5):
            writer.commit(f"call-{number}")
            assert json.loads(read())["invocation_id"] == f"call-{number}"


@pytest.mark.costly
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_quietly_and_leaves_no_file_behind(
    command: list[str], environment: dict[str, str], database: Path, number: signal.Signals, code: int
) -> None:
    """The rows that were shown are whole, and the table has its heading."""
    with followed(command, environment, database, "--limit", "1") as following_process:
        assert following_process.stdout is not None
        heading, row = following_process.stdout.readline(), following_process.stdout.readline()
        following_process.send_signal(number)
        output, errors = following_process.communicate(timeout=30)
        assert (following_process.returncode, output, errors) == (code, "", "")
    assert heading.split()[:3] == ["id", "time", "(UTC)"]
    assert "tester" in row
    assert {path.name for path in database.parent.iterdir()} == {"telemetry.db"}


def test_it_ends_when_its_reader_goes_away_though_nothing_happens(
    command: list[str], environment: dict[str, str], database: Path
) -> None:
    """As in `llm-telemetry invocations --follow | head -1`; not only at the next call; code 1, as for any broken pipe."""
    with followed(command, environment, database, "--limit", "1") as following_process:
        assert following_process.stdout is not None
        assert following_process.stderr is not None
        following_process.stdout.readline()
        following_process.stdout.close()
        assert following_process.stderr.read() == ""
        assert following_process.wait(30) == 1


@pytest.mark.slow
def test_filters_narrow_what_is_followed(
    command: list[str], environment: dict[str, str], database: Path, writer: Writer
) -> None:
    """A success of the writer is passed over, its error is shown."""
    failing = Writer(database, environment, "error")
    try:
        with followed(command, environment, database, "--json", "--errors", "--limit", "1") as following_process:
            assert following_process.stdout is not None
            assert json.loads(following_process.stdout.readline())["status"] == "error"
            writer.commit("good")
            failing.commit("bad")
            assert json.loads(following_process.stdout.readline())["invocation_id"] == "bad"
    finally:
        failing.end()


def scripted(*steps: Callable[[], object]) -> Callable[[], bool]:
    """A pause that does one of these at each poll, and then ends."""
    waiting = list(steps)

    def pause() -> bool:
        if not waiting:
            return False
        waiting.pop(0)()
        return True

    return pause


def ids(database: Path, backlog: int, *steps: Callable[[], object]) -> list[list[int]]:
    """Row numbers of what is given."""
    with closing(follow(database, ALL, backlog, scripted(*steps))) as arriving:
        return [[row["id"] for row in rows] for rows in arriving]


def test_a_poll_without_a_commit_reads_nothing(database: Path) -> None:
    """And a commit that adds no call gives nothing."""

    def touch() -> None:
        connection = sqlite3.connect(database)
        with connection:
            connection.execute("UPDATE receipts SET committed_at = committed_at")
        connection.close()

    assert ids(database, 0, *[lambda: None] * 3) == []
    assert ids(database, 2, touch, touch) == [[2, 1]]


def test_following_goes_on_after_the_newest_calls_were_deleted(database: Path) -> None:
    """Their row numbers are given out again."""
    telemetry = TelemetryLogger(database, retention_days=None)

    def delete() -> None:
        connection = sqlite3.connect(database)
        with connection:
            connection.execute("DELETE FROM invocations WHERE id > 2")
        connection.close()

    def log() -> None:
        telemetry.log_invocation(InvocationRecord(agent_name="late"))

    with telemetry:
        assert ids(database, 0, delete, log, log) == [[3], [4]]


def test_a_file_that_is_removed_or_replaced_is_named(database: Path) -> None:
    """Nobody watches a file that is gone."""
    aside = database.with_name("aside.db")
    with pytest.raises(StoreError, match="was removed or replaced; start again"):
        ids(database, 0, lambda: database.rename(aside))
    aside.rename(database)
    with pytest.raises(StoreError, match="was removed or replaced"):
        ids(database, 0, lambda: (database.rename(aside), database.write_bytes(b"")))


def test_a_follower_lets_the_wal_be_truncated(database: Path) -> None:
    """It holds no snapshot while it waits."""

    def truncate() -> None:
        connection = sqlite3.connect(database)
        with connection:
            connection.execute("UPDATE receipts SET committed_at = committed_at")
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() == (0, 0, 0)
        connection.close()

    assert ids(database, 1, truncate, truncate) == [[1]]


def test_without_a_descriptor_to_watch_a_pause_is_a_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where output is captured."""
    slept: list[float] = []
    monkeypatch.setattr(following.time, "sleep", slept.append)
    monkeypatch.setattr(following.sys, "stdout", object())
    assert following.pause_while_read()()
    assert slept == [following.POLL_S]


def test_follow_in_this_process_shows_what_is_there(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a table and as JSON lines; with no backlog, only the heading until something comes."""
    ended = scripted()
    monkeypatch.setattr(following, "pause_while_read", lambda: ended)
    table = run("invocations", "--follow", "--limit", 3, "--db", database)
    assert [line.split()[0] for line in table.stdout.splitlines()] == ["id", "3", "2", "1"]
    assert run("invocations", "--follow", "--limit", 0, "--db", database).stdout.count("\n") == 1
    lines = run("invocations", "--follow", "--json", "--db", database).stdout.splitlines()
    assert [json.loads(line)["id"] for line in lines] == [5, 6, 4, 3, 2, 1]
    assert run("invocations", "--follow", "--json", "--limit", 0, "--db", database).stdout == ""
    since = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    assert run("invocations", "--follow", "--json", "--since", since, "--db", database).stdout == ""


def test_follow_of_a_missing_file_is_an_error(run: Run, tmp_path: Path) -> None:
    """It does not wait for one to appear."""
    result = run("invocations", "--follow", "--db", tmp_path / "none.db")
    assert (result.exit_code, result.stdout) == (1, "")
    assert "does not exist" in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("limit", ["-1", "1000001"])
def test_a_backlog_that_is_no_number_of_calls_is_refused(run: Run, database: Path, limit: str) -> None:
    """With the bounds."""
    assert run("invocations", "--follow", "--limit", limit, "--db", database).exit_code == 2
