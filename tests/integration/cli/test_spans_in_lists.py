"""A list that shows a span says which one it is; a report of calls says that spans failed, and what shows them."""

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Run
from tests.integration.cli.test_operations_in_filters import COMMANDS

from llm_service.cli import command_watch
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.live import read_live
from llm_service.telemetry.record.operations import SPANS
from llm_service.telemetry.stores.sqlite import reader

NOW = datetime.now(UTC)
TOOL = "look-it-up"
COUNTING = ("errors", "errors --by model", "stats", "report units", "query --measure failures", "top --measure errors")
"""Commands that count failures of calls."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A call that fails, one that does not, and a failed span of each operation; a tool's says its tool."""
    path = tmp_path_factory.mktemp("spans") / "t.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        for status in ("error", "success"):
            logger.log_invocation(InvocationRecord(model_name="m", status=status, timestamp=NOW - timedelta(seconds=9)))
        for operation in sorted(SPANS):
            names = {"tool_name": TOOL} if "tool" in operation else {"agent_name": "planner"}
            logger.log_invocation(
                InvocationRecord(
                    operation=operation, status="error", error_message="refused", latency_ms=5,
                    timestamp=NOW - timedelta(seconds=5), **names,
                )
            )  # fmt: skip
    return path


def rows_in(found: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON document."""
    if isinstance(found, dict):
        yield found
    for one in found.values() if isinstance(found, dict) else found if isinstance(found, list) else ():
        yield from rows_in(one)


@pytest.mark.parametrize("line", [line for line, counts in COMMANDS.items() if counts is not None])
def test_a_row_of_a_span_shows_which_one(db: Path, run: Run, line: str) -> None:
    """The tool that JSON has of a row stands in the table, too."""
    asked = (*line.split(), "--db", db, "--where", "operation=execute_tool")
    found = run(*asked, "--json").stdout
    documents = [*map(json.loads, found.splitlines())] if line == "export" else json.loads(found)
    if line.startswith("errors"):
        assert [row["tool_name"] for row in documents["rows"]] == [TOOL]
    if any(row.get("tool_name") == TOOL for row in rows_in(documents)):
        assert TOOL in run(*asked).stdout


@pytest.mark.parametrize("line", COUNTING)
def test_failures_of_calls_say_how_many_spans_failed(db: Path, run: Run, line: str) -> None:
    """And the command that is proposed counts just these."""
    shown = run(*line.split(), "--db", db, "--tz", "UTC").stdout
    (said,) = [text for text in shown.splitlines() if text.startswith("not counted: ")]
    assert f"{len(SPANS)} failed spans" in said
    proposed = shlex.split(said.partition("see: llm-telemetry ")[2])
    assert {"--db", str(db), "--tz", "UTC"} <= {*proposed}
    assert json.loads(run(*proposed, "--json").stdout)["failures"] == len(SPANS)


@pytest.mark.parametrize("line", COUNTING)
def test_where_spans_are_counted_or_none_failed_nothing_is_said(db: Path, run: Run, database: Path, line: str) -> None:
    """A filter by operation asks for spans."""
    assert "not counted" not in run(*line.split(), "--db", db, "--where", "operation!=chat").stdout
    assert "not counted" not in run(*line.split(), "--db", database).stdout


def test_tools_that_only_spans_have_are_proposed(db: Path, run: Run) -> None:
    """`top tools` of a framework's records has one row without a name."""
    shown = run("top", "tools", "--measure", "calls", "--db", db).stdout
    assert "no call has a tool, spans have (execute_tool, tool); see: " in shown
    proposed = shlex.split(shown.partition("see: llm-telemetry ")[2].splitlines()[0])
    assert proposed[:4] == ["top", "tools", "--measure", "calls"]
    assert f"{TOOL}  " in run(*proposed).stdout
    assert "spans have" not in run("top", "tools", "--by-mistake", "--db", db).stdout
    assert "spans have" not in run("top", "models", "--db", db).stdout


def test_an_operation_that_no_record_has_is_said(db: Path, run: Run, tmp_path: Path) -> None:
    """Frameworks write `execute_tool` where people write `tool`: nothing found would look like no failure."""
    path = tmp_path / "t.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        logger.log_invocation(InvocationRecord(operation="execute_tool", tool_name=TOOL, status="error"))
    for line in ("errors", "query", "invocations", "top", "stats", "watch"):
        ended = run(line, "--where", "operation=tool", "--db", path)
        assert (ended.exit_code, "did you mean execute_tool?" in ended.stderr) == (1, True), line
    assert run("errors", "--where", "operation=tool,execute_tool", "--db", path).exit_code == 0
    assert run("errors", "--where", "operation=exec*", "--db", path).exit_code == 0
    assert "there is no operation 'nothing'" in run("errors", "--where", "operation=nothing", "--db", db).stderr


def test_kinds_of_failures_are_by_any_fields(db: Path, run: Run) -> None:
    """But for periods and tags, which `query` has."""
    found = json.loads(run("errors", "--by", "operation,agent", "--db", db, "--json").stdout)
    assert (found["by"], found["failures"]) == (["operation", "agent_name"], 1 + len(SPANS))
    assert {row["operation"] for row in found["rows"]} == {None, *SPANS}
    for by in ("day", "tag,model"):
        ended = run("errors", "--by", by, "--since", "7d", "--db", db)
        assert f"llm-telemetry query --since 7d --db {db} --by {by} --measure failures" in ended.stderr
    assert run("errors", "--by", ",", "--db", db).exit_code == 2


def test_a_narrow_screen_says_which_span_it_was(db: Path) -> None:
    """80 cells suffice for the tool's name."""
    live = reader.read(db, lambda fetch: read_live(fetch, InvocationFilter(), "UTC", NOW, calls=50, failures=50))
    lines = command_watch._lines(command_watch.Frame(NOW, live, []), db, UTC, 80, 60)
    assert sum(f"{TOOL} (execute_tool)" in line.text for line in lines) == 2
