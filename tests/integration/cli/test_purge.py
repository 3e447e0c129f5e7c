"""`llm-telemetry purge`: what is older goes, what it says is what it did, and nothing else is touched."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]
TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


@pytest.fixture
def ages(tmp_path: Path) -> Path:
    """Calls of today, of 10 and of 40 days ago."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None, privacy_level="full") as telemetry:
        for days in (0, 10, 10, 40, 40, 40):
            telemetry.log_invocation(InvocationRecord(timestamp=TODAY - timedelta(days=days), prompt="p"))
    return path


def kept(path: Path) -> tuple[int, int, int]:
    """Calls, contents, and calls that the daily totals count."""
    with closing(sqlite3.connect(path)) as connection:
        found = connection.execute(
            "SELECT (SELECT count(*) FROM invocations), (SELECT count(*) FROM invocation_contents), "
            "(SELECT sum(invocations) FROM daily_costs)"
        ).fetchone()
    connection.close()
    return tuple(found)


@pytest.mark.parametrize(("older_than", "left"), [("30d", 3), ("4w2d", 3), ("5d", 1), ("0d", 1), ("41d", 6)])
def test_calls_older_than_that_go_and_daily_totals_stay(run: Run, ages: Path, older_than: str, left: int) -> None:
    """With their contents; the day itself is kept."""
    found = json.loads(run("purge", "--older-than", older_than, "--db", ages, "--json").stdout)
    assert (found["records"], found["contents"], found["dry_run"]) == (6 - left, 6 - left, False)
    assert kept(ages) == (left, left, 6)


def test_a_day_is_kept_itself(run: Run, ages: Path) -> None:
    """An ISO day names the first one to stay."""
    day = (TODAY - timedelta(days=10)).date()
    shown = run("purge", "--older-than", day, "--db", ages).stdout
    assert "calls         3 deleted" in shown
    assert f"kept since    {day}" in shown
    assert kept(ages) == (3, 3, 6)


def test_a_dry_run_deletes_nothing(run: Run, ages: Path) -> None:
    """It counts what would go."""
    assert "calls         3 would be deleted" in run("purge", "--older-than", "30d", "--dry-run", "--db", ages).stdout
    assert kept(ages) == (6, 6, 6)


@pytest.mark.parametrize(
    ("older_than", "said"),
    [("tomorrow", "'tomorrow' is not usable; give one of now, "), ("2999-01-01", "lies in the future")],
)
def test_what_is_no_age_is_refused(run: Run, ages: Path, older_than: str, said: str) -> None:
    """With the option, the value and the remedy; nothing is deleted."""
    result = run("purge", "--older-than", older_than, "--db", ages)
    assert result.exit_code == 2
    assert said in result.stderr
    assert kept(ages) == (6, 6, 6)


def test_a_file_that_is_missing_is_not_made(run: Run, tmp_path: Path) -> None:
    """A mistyped path is an error."""
    result = run("purge", "--older-than", "30d", "--db", tmp_path / "absent.db")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert list(tmp_path.iterdir()) == []
