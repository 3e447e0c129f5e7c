"""`llm-telemetry trace`, and what else tells of single calls."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Run

from llm_service.telemetry import InvocationRecord, TelemetryLogger


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A database with one tree."""
    path = tmp_path / "t.db"
    with (
        TelemetryLogger(path, models=False) as logger,
        logger.scope(run="nightly", session_id="s", trace_id="trace-1"),
        logger.invocation("planner", operation="agent", latency_ms=100),
    ):
        with logger.invocation("planner", "search", operation="execute_tool", latency_ms=20):
            pass
        with logger.invocation("planner", model_name="m", latency_ms=50, total_tokens=1234, cost_usd=0.000007):
            with logger.invocation(operation="tool", latency_ms=1):
                pass
            with logger.invocation(operation="chat", latency_ms=2):
                pass
        with logger.invocation("odd\x1b[2J", latency_ms=1, status="timeout", error_type="Late"):
            pass
    return path


@pytest.mark.parametrize("wanted", [["nightly"], ["s"], ["trace-1"], []])
def test_a_tree_is_drawn(run: Run, db: Path, wanted: list[str]) -> None:
    """By either id, and without one; totals are those of calls."""
    result = run("trace", *wanted, "--db", str(db))
    assert result.exit_code == 0
    *lines, totals = result.stdout.splitlines()
    assert [line.split("  ")[0].rstrip() if not line.startswith(" ") else line[:16].rstrip() for line in lines] == [
        "record",
        "planner (agent)",
        "├─ planner / search (execute_tool)",
        "├─ planner",
        "│",
        "│",
        "└─ odd\\x1b[2J",
    ]
    assert "│  ├─ tool" in result.stdout
    assert "│  └─ chat" in result.stdout
    assert totals.startswith("3 calls, 1 failed, 1,234 tokens (2 uncounted), 0.000007 USD (2 unpriced), ")
    assert "timeout: Late" in result.stdout


def test_as_json(run: Run, db: Path) -> None:
    """The rows of `get_trace`, and the totals."""
    found = json.loads(run("trace", "nightly", "--db", str(db), "--json").stdout)
    with TelemetryLogger(db) as logger:
        assert found["rows"] == logger.get_trace("nightly")
    assert (found["id"], found["truncated"], found["totals"]["invocations"]) == ("nightly", False, 3)


@pytest.mark.parametrize("asked", [["TYPO"], ["TYPO", "--json"]])
def test_an_unknown_id_says_so(run: Run, db: Path, asked: list[str]) -> None:
    """And ends as `show` of an unknown id does."""
    result, other = run("trace", *asked, "--db", str(db)), run("show", *asked, "--db", str(db))
    assert "there is no trace, run or session 'TYPO'" in result.stderr
    assert (result.exit_code, other.exit_code) == (1, 1)
    assert (json.loads(result.stdout)["rows"] == []) if "--json" in asked else (result.stdout == "")


def chain(folder: Path, length: int) -> Path:
    """Each call within the one before it."""
    path = folder / f"{length}.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        for number in range(length):
            parent = f"c{number - 1}" if number else None
            logger.log_invocation_nowait(
                InvocationRecord(f"c{number}", agent_name="a", parent_invocation_id=parent, run="R")
            )
    return path


def test_a_chain_prints_no_more_a_record_than_a_short_one(run: Run, tmp_path: Path) -> None:
    """Deeper than 40 levels, the depth is a number; the rows of JSON have it anyway."""
    sizes = {}
    for length in (250, 500, 1000):
        path = chain(tmp_path, length)
        lines = run("trace", "R", "--db", path).stdout.splitlines()
        assert len(lines) == length + 2
        sizes[length] = sum(map(len, lines))
    assert sizes[1000] - sizes[500] < 2.1 * (sizes[500] - sizes[250])
    assert lines[41].startswith(f"{'   ' * 39}├─ a ")
    assert lines[42].startswith(f"{'   ' * 39}├─ (41) a ")
    assert lines[1000].startswith(f"{'   ' * 39}└─ (999) a ")
    rows = json.loads(run("trace", "R", "--db", path, "--json").stdout)["rows"]
    assert [row["depth"] for row in rows] == list(range(1000))


def test_an_empty_file_says_so(run: Run, tmp_path: Path) -> None:
    """As well."""
    TelemetryLogger(tmp_path / "t.db").close()
    assert "there are no records" in run("trace", "--db", str(tmp_path / "t.db")).stderr


def test_a_long_one_is_cut(run: Run, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is said; of records that all cost nothing known, so is that."""
    monkeypatch.setattr("llm_service.telemetry.queries.traces.MOST_ROWS", 1)
    result = run("trace", "nightly", "--db", str(db))
    assert "only the newest 1 records" in result.stderr
    assert "unknown USD (1 unpriced)" in result.stdout


def test_invocations_says_when_there_are_more(run: Run, tmp_path: Path) -> None:
    """On stderr; with as many as there are it does not."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for number in range(3):
            logger.log_invocation(InvocationRecord(agent_name=f"a{number}", run="r", trace_id="t", user_id="u"))
    arguments: Any = ("invocations", "--db", str(tmp_path / "t.db"), "--run", "r", "--trace", "t", "--user", "u")
    result = run(*arguments, "--limit", "2", "--json")
    assert len(json.loads(result.stdout)) == 2
    assert "only the newest 2 are shown" in result.stderr
    assert "are shown" not in run(*arguments, "--limit", "3").stderr
    assert "are shown" not in run(*arguments, "--limit", "1000000").stderr
    assert run(*arguments, "--limit", "0").exit_code != 0
    assert json.loads(run(*arguments[:4], "other", "--json").stdout) == []


def test_show_writes_small_costs_out(run: Run, tmp_path: Path) -> None:
    """Never with an exponent."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        logger.log_invocation(InvocationRecord("id-1", cost_usd=7e-06, latency_ms=1500.0))
    shown = run("show", "id-1", "--db", str(tmp_path / "t.db")).stdout
    assert "0.000007" in shown
    assert "e-06" not in shown
    assert "1500.0" in shown


def test_each_record_says_when_it_began_and_how_long_it_took(run: Run, tmp_path: Path) -> None:
    """On the clock of the zone, and in milliseconds."""
    began = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
    with TelemetryLogger(tmp_path / "t.db") as logger:
        logger.log_invocation(InvocationRecord(session_id="s", latency_ms=1500.0, timestamp=began))
    asked = ("trace", "s", "--db", str(tmp_path / "t.db"))
    head, row, _ = run(*asked, "--tz", "Asia/Kathmandu").stdout.splitlines()
    assert "began (Kathmandu)" in head
    assert "2026-11-24 00:15:00" in row
    assert "1,500" in row
