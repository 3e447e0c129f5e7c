"""`search` as people use it: found calls, the index made and removed, a search that is interrupted; contents read."""

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import HOSTILE, Run

from llm_service.cli import command_search
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import word_index
from llm_service.telemetry.queries.search import Search


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """Five calls with contents, one of which failed, and one without."""
    path = tmp_path / "told.db"
    with TelemetryLogger(path, privacy_level="full", retention_days=None) as logger:
        for number in range(5):
            failed = {"status": "error", "error_message": "rate limit"} if number == 3 else {}
            logger.log_invocation(
                InvocationRecord(
                    agent_name="a",
                    model_name="m",
                    prompt=f"Question {number}: où?",
                    response="a [long]\nanswer",
                    **failed,
                )
            )
        logger.log_invocation(InvocationRecord(agent_name="b", model_name="m"))
    return path


@pytest.mark.parametrize("index", [False, True])
def test_calls_are_found(run: Run, told: Path, *, index: bool) -> None:
    """One line each, what was found in brackets, the same with an index."""
    if index:
        assert "5 were added" in run("search", "--index", "--db", told).output
    assert [line.split()[0] for line in run("search", "QUESTION", "OU", "--db", told).stdout.splitlines()[:-1]] == [
        "id", "5", "4", "3", "2", "1",
    ]  # fmt: skip
    found = run("search", '"rate limit"', "--db", told)
    assert found.stdout.splitlines()[1].endswith("error  [rate limit]")
    assert run("search", "nowhere", "--db", told).stdout == "no such calls\nrange: all times (UTC)\n"
    assert run("search", "question -rate 2*", "--db", told).stdout.splitlines()[1].split()[0] == "3"


def test_json_is_what_python_gives(run: Run, told: Path) -> None:
    """All columns, and where."""
    with TelemetryLogger(told, retention_days=None) as logger:
        rows = json.loads(json.dumps(logger.search("long answer", limit=2)))
    ended = run("search", "long", "answer", "--limit", 2, "--json", "--db", told)
    assert json.loads(ended.stdout) == rows
    assert "only the newest 2 are shown" in ended.stderr
    assert rows[0]["where"] == "response"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["..."], "WORDS: '...'"),
        ([], "WORDS: ''"),
        (["word", "--limit", "0"], "limit: 0"),
        (["word", "--index"], "--index and --drop-index stand alone"),
        (["--index", "--drop-index"], "--index and --drop-index stand alone"),
    ],
)
def test_what_cannot_be_looked_for(run: Run, told: Path, arguments: list[str], said: str) -> None:
    """One line, exit code 2."""
    ended = run("search", *arguments, "--db", told)
    assert ended.exit_code == 2
    assert said in ended.stderr


def test_the_index_is_made_and_removed(run: Run, told: Path) -> None:
    """Each may be said twice."""
    assert json.loads(run("search", "--index", "--json", "--db", told).stdout) == {"added": 5}
    assert json.loads(run("search", "--index", "--json", "--db", told).stdout) == {"added": 0}
    assert run("search", "--drop-index", "--db", told).stdout == "dropped\n"
    assert run("search", "--drop-index", "--db", told).stdout == "there was no index\n"
    with closing(sqlite3.connect(told)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%words%'").fetchall() == []


def test_without_fts5_it_says_that_none_can_be_made(run: Run, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And search works."""
    monkeypatch.setattr(word_index.search_index, "has_fts5", lambda _connection: False)
    ended = run("search", "--index", "--db", told)
    assert (ended.exit_code, "without FTS5" in ended.stderr) == (1, True)
    assert run("search", "question", "--db", told).exit_code == 0


def test_an_interrupted_search_shows_what_it_found(run: Run, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 130, as after any Ctrl-C."""
    rows = Search.rows

    def interrupted(self: Search, *arguments: Any) -> Iterator[Any]:
        found = rows(self, *arguments)
        yield next(found)
        raise KeyboardInterrupt

    monkeypatch.setattr(Search, "rows", interrupted)
    ended = run("search", "question", "--db", told)
    assert ended.exit_code == 130
    assert len(ended.stdout.splitlines()) == 3  # with the heading and the range
    assert "interrupted: older calls were not looked at" in ended.stderr


def test_a_long_search_says_how_far_it_is(run: Run, told: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In lines where nobody looks on; not where the index has all."""
    monkeypatch.setattr(command_search, "_LONG", 2)
    assert "calls read: 6 of 6" in run("search", "nothing", "--db", told).stderr
    run("search", "--index", "--db", told)
    assert "calls read" not in run("search", "nothing", "--db", told).stderr


def test_found_text_is_no_command_of_the_terminal(run: Run, tmp_path: Path) -> None:
    """It is a user's."""
    path = tmp_path / "hostile.db"
    with TelemetryLogger(path, privacy_level="full") as logger:
        logger.log_invocation(InvocationRecord(prompt=f"word {HOSTILE}", model_name="m"))
    assert not set(HOSTILE) & set("\x1b\x07\x9b\u202e") & set(run("search", "word", "--db", path).stdout)


@pytest.mark.parametrize("form", ["csv", "jsonl"])
def test_export_writes_contents_where_it_is_told_to(run: Run, told: Path, form: str) -> None:
    """The last two columns; NULL where there is none."""

    def rows(*more: str) -> list[dict[str, Any]]:
        text = run("export", "--format", form, "--db", told, *more).stdout
        return (
            list(csv.DictReader(io.StringIO(text)))
            if form == "csv"
            else [json.loads(line) for line in text.splitlines()]
        )

    plain, whole = rows(), rows("--content")
    assert [list(row)[-2:] for row in whole] == [["prompt", "response"]] * 6
    assert [{name: row[name] for name in plain[0]} for row in whole] == plain
    assert whole[0]["prompt"] == "Question 0: où?"
    assert whole[0]["response"].replace("\r", "") == "a [long]\nanswer"
    assert whole[5]["prompt"] in ("", None)


def test_sql_reads_contents(run: Run, told: Path) -> None:
    """NULL stays NULL, and so does what is no content."""
    statement = "SELECT content_text(prompt), content_text(NULL), content_text(x'00'), content_text('a') FROM invocation_contents"
    answer = json.loads(run("sql", statement, "--limit", 1, "--json", "--db", told).stdout)
    assert answer["rows"] == [["Question 0: où?", None, None, None]]


def test_doctor_knows_the_index(run: Run, told: Path, change: Callable[..., None]) -> None:
    """Whole, not complete, wrong; --repair makes it whole."""

    def checked() -> tuple[str, str]:
        found = json.loads(run("doctor", "--db", told, "--json").stdout)["findings"]
        return next((one["name"], one["seen"]) for one in found if one["check"] == "search")

    assert checked()[1].startswith("no index")
    run("search", "--index", "--db", told)
    assert checked()[0] == "search"
    change(told, "INSERT INTO invocation_words (invocation_words) VALUES ('delete-all')")
    assert checked() == ("search_incomplete", "5 contents are not in it yet: search reads them")
    assert "search_incomplete: added 5 contents" in run("doctor", "--repair", "--db", told).stdout
    change(told, "DELETE FROM invocation_words_docsize WHERE id = 3")
    assert checked() == ("search_index", "1 contents are not in it, and 0 entries have none")
    assert "search_index" in run("doctor", "--repair", "--dry-run", "--db", told).stdout
    assert "made anew from 5 contents" in run("doctor", "--repair", "--db", told).stdout
    assert checked()[0] == "search"
    change(told, "DELETE FROM invocation_words_data WHERE id > 10")
    assert checked()[0] == "search_index"
    assert "made anew from 5 contents" in run("doctor", "--repair", "--db", told).stdout
    change(told, "DELETE FROM invocation_contents WHERE id = 2")
    assert checked() == ("search_index", "0 contents are not in it, and 1 entries have none")


@pytest.fixture
def change() -> Callable[..., None]:
    """Changes a file by hand."""

    def by(path: Path, statement: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(statement)

    return by


def test_a_backup_has_the_index_and_a_salvaged_file_does_not(run: Run, told: Path, tmp_path: Path) -> None:
    """Salvage moves records; the next logger with `search: true` makes the index."""
    run("search", "--index", "--db", told)
    copy, saved = tmp_path / "copy.db", tmp_path / "saved.db"
    assert run("backup", copy, "--db", told).exit_code == 0
    assert run("doctor", "--salvage", saved, "--db", told).exit_code == 0
    for path, indexes in ((copy, 1), (saved, 0)):
        assert len(run("search", "question", "--db", path).stdout.splitlines()[1:-1]) == 5
        with closing(sqlite3.connect(path)) as connection:
            (found,) = connection.execute(
                "SELECT count(*) FROM sqlite_master WHERE name = 'invocation_words'"
            ).fetchone()
            assert found == indexes
