"""`query`, `top` and `errors` as people use them: rows, ranges, names that there are not, and what was left out."""

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import DAY, HOSTILE, Run

from llm_service.cli.command_top import _key
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.group_keys import KEYS
from llm_service.telemetry.queries.measures import MEASURES

FORMATTED = ("query", "top", "top calls", "errors")


def _calls(found: Any) -> int:
    return sum(row["invocations"] for row in found["rows"])


def test_json_is_the_answer_of_python(run: Run, database: Path) -> None:
    """All attributes, under the same names."""
    found = json.loads(
        run(
            "query", "--by", "model,day", "--measure", "cost,calls,p95", "--tz", "UTC", "--json", "--db", database
        ).stdout
    )
    with TelemetryLogger(database, retention_days=None) as logger:
        answer = logger.query("cost,calls,p95", by="model,day")
    assert found["rows"] == answer.rows
    assert found["totals"] == answer.totals
    assert found["measures"] == list(answer.measures)
    assert (found["since"], found["until"], found["time_zone"]) == (None, None, "UTC")


def test_a_table_has_totals_and_says_its_range(run: Run, database: Path) -> None:
    """Without keys the totals alone; what is not known has no number."""
    lines = run("query", "--by", "agent", "--tz", "Asia/Kathmandu", "--db", database).stdout.splitlines()
    assert {line.split()[0] for line in lines[1:-2]} >= {"-", "backend-dev", "tester"}
    assert lines[-2].split()[:2] == ["total", "6"]
    assert lines[-1] == "range: all times (Asia/Kathmandu)"
    assert "unknown" in next(line for line in lines if line.startswith("-"))
    alone = run("query", "--db", database, "--tz", "UTC").stdout.splitlines()
    assert alone[0].split()[0] == "calls"
    assert alone[1].split()[:2] == ["6", "2.5000"]
    assert alone[-1] == "range: all times (UTC)"


def test_how_much_is_known_is_shown_where_something_is_not(run: Run, database: Path) -> None:
    """Or where somebody asks for it."""
    assert "unpriced" in run("query", "--by", "model", "--db", database).stdout
    sure = ("--where", "cost>0", "--db", database)
    assert "priced" not in run("query", "--by", "model", *sure).stdout
    assert "priced" in run("query", "--by", "model", "--measure", "cost,priced", *sure).stdout


def test_days_are_those_of_the_zone(run: Run, tmp_path: Path) -> None:
    """An evening in Los Angeles is another day in UTC."""
    path = tmp_path / "evening.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        logger.log_invocation(InvocationRecord(timestamp=datetime(2026, 11, 24, 4, tzinfo=UTC)))
    for zone, day in (("UTC", "2026-11-24"), ("America/Los_Angeles", "2026-11-23")):
        found = json.loads(run("query", "--by", "day", "--tz", zone, "--json", "--db", path).stdout)
        assert [row["day"] for row in found["rows"]] == [day]
        one = ("--since", day, "--until", day, "--tz", zone, "--json", "--db", path)
        assert _calls(json.loads(run("query", "--by", "day", *one).stdout)) == 1


def test_periods_have_bars_for_those_who_look(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain where it is piped."""
    asked = ("query", "--by", "day", "--db", database)
    assert "█" not in run(*asked).stdout
    monkeypatch.setattr("llm_service.cli.command_query.is_terminal", lambda _: True)
    assert "█" in run(*asked).stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["query", "--by", "agnt"], "did you mean agent?"),
        (["query", "--measure", "cots"], "did you mean cost?"),
        (["query", "--where", "modle=x"], "did you mean model?"),
        (["query", "--since", "yesteray"], "did you mean yesterday?"),
        (["query", "--limit", "0"], "limit"),
        (["query", "--tz", "Mars/Base"], "--tz"),
        (["query", "-o", "file"], "give --format"),
        (["query", "--format", "xml"], "parquet"),
        (["top", "nothing"], "there is no key"),
        (["top", "calls", "--measure", "p95"], "cost, latency, tokens"),
        (["costs", "--by", "nothing"], "there is no key"),
        (["costs", "--by", "agnt"], "did you mean agent?"),
        (["report", "month", "--where", "cost>0.1"], "llm-telemetry query"),
    ],
)
def test_what_cannot_be_asked(run: Run, database: Path, arguments: list[str], said: str) -> None:
    """One line that names the remedy, exit code 2."""
    ended = run(*arguments, "--db", database)
    assert ended.exit_code == 2
    assert said in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", ["query", "top", "errors", "invocations", "stats", "costs", "search it", "export"])
def test_a_name_that_no_call_has_is_said(run: Run, database: Path, command: str) -> None:
    """Given by option or by a filter."""
    for narrowed in (["--agent", "backend-dv"], ["--where", "agent=backend-dv"]):
        assert "did you mean backend-dev?" in run(*command.split(), *narrowed, "--db", database).stderr


@pytest.mark.parametrize("command", ["query", "top calls", "errors", "invocations", "stats", "export", "report units"])
def test_a_filter_leaves_only_what_fits(run: Run, database: Path, command: str) -> None:
    """Several must all hold."""
    path = ("--db", database)
    one = run(*command.split(), "--where", "session=session-3", *path)
    assert one.exit_code == 0
    assert one.stdout != run(*command.split(), *path).stdout
    none = run(*command.split(), "--where", "session=session-3", "--where", "status=success", *path)
    assert none.exit_code == 0
    assert none.stdout != one.stdout


def test_rows_beyond_the_limit_are_counted(run: Run, database: Path) -> None:
    """On stderr, in any format."""
    for form in ("table", "csv"):
        assert "4 more rows" in run("query", "--by", "session", "--limit", 1, "--format", form, "--db", database).stderr
    assert "1 more kind is not shown" in run("errors", "--limit", 1, "--db", database).stderr


def two_kept(path: Path) -> Path:
    """The file with another call: a list of one does not reach what is deleted."""
    with TelemetryLogger(path, retention_days=None) as logger:
        logger.log_invocation(InvocationRecord())
    return path


def test_deleted_calls_are_said(run: Run, tmp_path: Path) -> None:
    """Where only daily totals are left, and they cannot tell."""
    path = tmp_path / "old.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        for ago in (1, 50):
            logger.log_invocation(
                InvocationRecord(status="error", cost_usd=1, timestamp=datetime.now(UTC) - timedelta(days=ago))
            )
    since = json.loads(run("purge", "--older-than", "30d", "--json", "--db", path).stdout)["records_kept_since"]
    assert "not counted: 1 call" in run("query", "--by", "session", "--db", path).stdout
    assert "not counted" not in run("query", "--by", "agent", "--db", path).stdout
    for command in ("errors", "top calls", "query --by session", "top sessions", "report units", "costs --coverage"):
        note = "not counted: 1 call of which only daily totals are left"
        assert note in run(*command.split(), "--db", path).stdout
        assert "not counted" not in run(*command.split(), "--since", "7d", "--db", path).stdout
        assert note in run(*command.split(), "--format", "csv", "--db", path).stderr
        found = json.loads(run(*command.split(), "--json", "--db", path).stdout)
        assert (found["deleted_invocations"], found["records_since"]) == (1, since)
    assert "left, 1 of them failed; records are kept since" in run("errors", "--db", path).stdout
    assert found["deleted_invocations"] == 1
    assert json.loads(run("errors", "--json", "--db", path).stdout)["deleted_failures"] == 1
    for command in ("invocations", "search broke", "export"):
        asked = (*command.split(), "--db", path)
        assert f"calls before {since} (UTC) are deleted" in run(*asked, "--since", "60d").output
        assert "are deleted" not in run(*asked, "--since", "7d").output
    assert "are deleted" not in run("invocations", "--limit", "1", "--db", two_kept(path)).output


def test_the_top_has_the_most_first(run: Run, database: Path) -> None:
    """With its share of all."""
    found = json.loads(run("top", "agents", "--json", "--db", database).stdout)["rows"]
    costs = [row["total_cost_usd"] for row in found if row["total_cost_usd"] is not None]
    assert costs == sorted(costs, reverse=True)
    assert "60.0%" in run("top", "--db", database).stdout.splitlines()[1]
    assert "share" not in run("top", "--measure", "p95", "--db", database).stdout


@pytest.mark.parametrize("key", KEYS)
def test_keys_have_a_plural(key: str) -> None:
    """And the singular stays."""
    assert _key(f"{key}es" if key.endswith("s") else f"{key}s") == _key(key) == key or key == "metadata.KEY"


@pytest.mark.parametrize("measure", MEASURES)
def test_there_is_a_top_of_every_measure(run: Run, database: Path, measure: str) -> None:
    """And every measure has a cell."""
    assert run("top", "models", "--measure", measure, "--db", database).exit_code == 0


@pytest.mark.parametrize(
    ("measure", "column"), [("cost", "cost_usd"), ("latency", "latency_ms"), ("tokens", "total_tokens")]
)
def test_the_top_calls_are_single_ones_that_show_takes(run: Run, database: Path, measure: str, column: str) -> None:
    """Only those of which it is known."""
    rows = json.loads(run("top", "calls", "--measure", measure, "--json", "--db", database).stdout)["rows"]
    values = [row[column] for row in rows]
    assert values == sorted(values, reverse=True)
    assert values
    shown = run("top", "calls", "--measure", measure, "--limit", 1, "--db", database).stdout.splitlines()[1].split()[0]
    assert json.loads(run("show", shown, "--json", "--db", database).stdout)["id"] == rows[0]["id"]


def test_errors_are_grouped_with_an_example(run: Run, tmp_path: Path) -> None:
    """The newest of each kind, its message cut and escaped; spans and successes are no failures."""
    path = tmp_path / "errors.db"
    common = {"agent_name": "a", "status": "error", "error_type": "RateLimitError", "http_status": 429}
    with TelemetryLogger(path, retention_days=None) as logger:
        for number in range(3):
            logger.log_invocation(InvocationRecord(model_name="m", error_message=f"no {number}", **common))
        logger.log_invocation(InvocationRecord(status="timeout", error_message=HOSTILE + "x" * 500))
        logger.log_invocation(InvocationRecord(model_name="m"))
        logger.log_invocation(InvocationRecord(model_name="m", operation="agent", **common))
    found = json.loads(run("errors", "--json", "--db", path).stdout)
    assert [(row["error_type"], row["failures"], row["share"]) for row in found["rows"]] == [
        ("RateLimitError", 3, 0.75),
        (None, 1, 0.25),
    ]
    assert (found["failures"], found["invocations"], found["more"]) == (4, 5, 0)
    assert found["rows"][0]["example_message"] == "no 2"
    shown = run("errors", "--db", path).stdout
    assert "\x1b" not in shown
    assert "x" * 200 not in shown
    assert "failed: 4 of 5 calls (80.0%)" in shown
    example = found["rows"][0]["example_invocation_id"]
    assert json.loads(run("show", example, "--json", "--db", path).stdout)["error_message"] == "no 2"


def test_nothing_is_shown_of_nothing(run: Run, database: Path) -> None:
    """No rows, no zeros that look like an idle day."""
    nothing = ("--since", "2020-01-01", "--until", "2020-01-01", "--db", database)
    assert run("query", "--by", "model", *nothing).stdout.startswith("no such calls\n")
    assert run("top", *nothing).stdout.startswith("no such calls\n")
    assert run("top", "calls", *nothing).stdout.startswith("no such calls\n")
    assert run("errors", *nothing).stdout.startswith("failed: 0 of 0 calls\n")


@pytest.mark.parametrize("command", FORMATTED)
def test_every_format_has_the_same_rows(run: Run, database: Path, command: str) -> None:
    """CSV, JSON lines and JSON by their keys; Markdown has a line for each."""
    asked = (*command.split(), *(("--by", "agent,model") if command == "query" else ()), "--db", database)
    rows = json.loads(run(*asked, "--format", "json").stdout)["rows"]
    assert rows
    assert [json.loads(line) for line in run(*asked, "--format", "jsonl").stdout.splitlines()] == rows
    table = list(csv.DictReader(io.StringIO(run(*asked, "--format", "csv").stdout, newline="")))
    assert [list(row) for row in table] == [list(row) for row in rows]
    for row, cells in zip(rows, table, strict=True):
        assert {name for name, value in row.items() if value is None} == {n for n, cell in cells.items() if not cell}
    lines = run(*asked, "--format", "md").stdout.splitlines()
    assert len(lines) == len(rows) + 2
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in lines} == {len(re.findall(r"\|", lines[1]))}
    assert not re.search(r"(?<!\\)[<>*`]", "\n".join(lines))


@pytest.mark.parametrize("command", FORMATTED)
def test_json_is_one_of_the_formats(run: Run, database: Path, command: str) -> None:
    """Whichever option says so, and whatever else another one does."""
    asked = (*command.split(), "--db", database)
    assert run(*asked, "--json").stdout == run(*asked, "--format", "json").stdout
    assert run(*asked, "--json").stdout == run(*asked, "--json", "--format", "csv").stdout


def test_csv_for_spreadsheets_runs_nothing(run: Run, tmp_path: Path) -> None:
    """As of `export`."""
    path = tmp_path / "formulas.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        logger.log_invocation(InvocationRecord(agent_name="=1+1", cost_usd=1))
    asked = ("query", "--by", "agent", "--format", "csv", "--db", path)
    assert run(*asked).stdout.splitlines()[1].startswith("=1+1,")
    assert run(*asked, "--safe-csv").stdout.splitlines()[1].startswith("'=1+1,")


def test_a_day_of_the_fixture_is_found_by_its_date(run: Run, database: Path) -> None:
    """A range of one day."""
    day = f"{DAY:%Y-%m-%d}"
    found = json.loads(
        run("query", "--by", "day", "--since", day, "--until", day, "--tz", "UTC", "--json", "--db", database).stdout
    )
    assert [(row["day"], row["invocations"]) for row in found["rows"]] == [(day, 2)]
