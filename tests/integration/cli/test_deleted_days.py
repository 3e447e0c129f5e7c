"""What retention has deleted is told by every command that shows calls, as text and beside JSON, where it may be missed."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.integration.cli.every_command import commands

from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.run_names import may_lack, new_run_id

Run = Callable[..., Result]

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
SINCE = TODAY - timedelta(days=10)
DAY = SINCE.date().isoformat()
OLD, NEW = (new_run_id("night", SINCE + timedelta(days=days)) for days in (-3, 3))
TELL = {
    "compare": [OLD, NEW],
    "errors": [],
    "export": [],
    "invocations": [],
    "query": ["--by", "session"],
    "report units": [],
    "runs": [],
    "search": ["refused"],
    "stats": ["--where", "status=error", "--days", "30"],
    "top": ["calls"],
    "trace": [OLD],
    "costs": ["--coverage"],
}
"""By command that shows calls, with which arguments it needs records of deleted days."""
NO_CALLS = {
    *("backup", "budgets", "budgets check", "budgets holds", "budgets reconcile", "budgets release", "completion"),
    *("config check", "config example", "config show", "dead-letters drop", "dead-letters list", "dead-letters retry"),
    *("demo", "doctor", "prices", "purge", "reprice", "sql"),
    "info",  # it shows the day by itself
    "report month",  # of daily totals
    "show",  # a single call
    "watch",  # of this day
    "estimate",  # of the newest calls
}
"""All others."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call a day of two runs, of which the first days are deleted."""
    path = tmp_path_factory.mktemp("deleted") / "t.db"
    with TelemetryLogger(path, models=False, policies=False, retention_days=None) as logger:
        for days in range(-5, 6):
            logger.log_invocation(
                InvocationRecord(
                    run=OLD if days < 3 else NEW, session_id="s", trace_id="t", agent_name="a", status="error",
                    error_message="refused", timestamp=SINCE + timedelta(days=days, hours=1), latency_ms=10,
                )
            )  # fmt: skip
        logger.purge((TODAY - SINCE).days)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT records_kept_since FROM retention").fetchone() == (DAY,)
    return path


def test_each_command_is_one_that_tells_or_one_that_shows_no_calls() -> None:
    """The list is that of the command line."""
    assert TELL.keys() | NO_CALLS == {words for words, _ in commands()}
    assert not TELL.keys() & NO_CALLS


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
@pytest.mark.parametrize("words", TELL)
def test_each_command_that_shows_calls_tells_what_is_deleted(run: Run, db: Path, words: str, form: str) -> None:
    """In its own text or document, or on stderr beside what has no place for it."""
    if words == "export" and form in ("table", "json"):
        pytest.skip("an export has no such form")
    if words == "compare":
        pytest.importorskip("scipy", reason="the extra `compare`")
    result = run(*words.split(), *TELL[words], "--db", db, "--format", form)
    assert result.exit_code == 0, result.output
    assert DAY in result.stdout if form == "table" else DAY in result.output, result.output
    if form == "json":
        found: Any = json.loads(result.stdout)
        assert isinstance(found, list) or found["records_since"] == DAY


@pytest.mark.parametrize(
    ("line", "tells"),
    [
        (["runs"], True),
        (["runs", "--limit", "1"], False),
        (["runs", "--limit", "2"], True),
        (["trace"], True),
        (["trace", "t"], True),
        (["trace", NEW], False),
        (["trace", OLD], True),
        (["compare", NEW, NEW], False),
        (["compare", "night", "night~1"], True),
    ],
)
def test_what_began_later_is_whole(run: Run, db: Path, line: list[str], *, tells: bool) -> None:
    """A run says when it began; a list that is full ends before."""
    if line[0] == "compare":
        pytest.importorskip("scipy", reason="the extra `compare`")
    result = run(*line, "--db", db)
    assert result.exit_code == 0, result.output
    note = f"calls before {DAY} (UTC) are deleted, but for their daily totals"
    assert (note in result.stdout) == tells


def test_an_id_that_nothing_has_may_be_of_what_is_deleted(run: Run, db: Path) -> None:
    """So it is told; a file of which nothing is deleted tells nothing."""
    result = run("trace", "gone", "--db", db)
    assert result.exit_code == 1
    assert f"calls before {DAY}" in result.output
    fresh = db.with_name("fresh.db")
    with TelemetryLogger(fresh, models=False, policies=False) as logger:
        logger.log_invocation(InvocationRecord(run="r"))
        assert logger.get_run_summary("r")["records_since"] is None
    for line in (["trace", "gone"], ["runs"], ["trace", "r"]):
        assert "deleted" not in run(*line, "--db", fresh).output
    with TelemetryLogger(db, models=False, policies=False, retention_days=None) as logger:
        assert logger.get_run_summary(OLD)["records_since"] == DAY


@pytest.mark.parametrize(
    ("run_id", "lacks"),
    [
        (None, True),
        ("exp-7", True),
        ("night@20261130T235959-1f2e", True),
        ("night@20261201T000000-1f2e", False),
        ("a@20251231T000000-1f2e@20270101T000000-1f2e", False),
    ],
)
def test_the_day_of_an_id_decides(run_id: str | None, *, lacks: bool) -> None:
    """Days are UTC, as those of retention."""
    assert may_lack(run_id, "2026-12-01") == lacks
    assert not may_lack(run_id, None)
