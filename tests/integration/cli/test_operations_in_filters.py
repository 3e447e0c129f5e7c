"""A filter that names `operation` counts spans, too: in every reader that takes filters, in Python and on the command line.

Readers are found by what they take: methods of the logger with an argument `filters`, commands with an option `--where`.
"""

import inspect
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.every_command import commands

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.operations import SPANS

NOW = datetime.now(UTC)
ROWS: list[dict[str, Any]] = [
    {"operation": "agent", "agent_name": "planner", "status": "error", "latency_ms": 9000, "cost_usd": 9},
    {"operation": "agent", "agent_name": "planner", "latency_ms": 500, "cache_read_tokens": 5},
    {"operation": "tool", "status": "timeout", "latency_ms": 30, "cost_usd": 1},
    {"operation": "chat", "model_name": "m", "latency_ms": 1000, "cost_usd": 0.25, "cache_read_tokens": 5},
    {"operation": "chat", "model_name": "m", "status": "error", "latency_ms": 2000},
    {"operation": "chat", "model_name": "m", "status": "error", "latency_ms": 100, "cost_usd": 0.5},
    {"model_name": "m", "status": "timeout", "latency_ms": 100, "cost_usd": 0.5},
]
ASKED: dict[str, Callable[[str | None], bool]] = {
    "operation=agent": lambda operation: operation == "agent",
    "operation=agent,chat": lambda operation: operation in ("agent", "chat"),
    "operation!=chat": lambda operation: operation != "chat",
    "operation=*o*": lambda operation: operation is not None and "o" in operation,
    "operation!=": lambda operation: operation is not None,
    "operation=": lambda operation: operation is None,
    "latency>0": lambda operation: operation not in SPANS,
}
"""By filter, which operations it lets through: without a word of `operation`, those of calls."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls and spans of the last minute, their words in error messages."""
    path = tmp_path_factory.mktemp("spans") / "t.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        for row in ROWS:
            said = {"status": "success", "prompt_tokens": 20, "completion_tokens": 5, "error_message": "refused"}
            logger.log_invocation(InvocationRecord(timestamp=NOW - timedelta(seconds=5), **said | row))
    return path


def rows_of(filters: str) -> list[dict[str, Any]]:
    """What a filter leaves."""
    return [row for row in ROWS if ASKED[filters](row.get("operation"))]


def failures_of(rows: list[dict[str, Any]]) -> int:
    """How many of them failed."""
    return sum("status" in row for row in rows)


Count = Callable[[list[dict[str, Any]], Any], bool]
"""Whether an answer counts these rows."""


def says(*keys: str) -> Count:
    """That what stands under these keys is the number of rows."""

    def check(rows: list[dict[str, Any]], answer: Any) -> bool:
        for key in keys:
            answer = answer[key]
        return bool(answer == len(rows))

    return check


def has_all(rows: list[dict[str, Any]], answer: Any) -> bool:
    """That there is a row for each."""
    return len(answer["rows"] if isinstance(answer, dict) else answer) == len(rows)


def has_failures(rows: list[dict[str, Any]], answer: Any) -> bool:
    """That there is a row for each that failed."""
    return len(answer) == failures_of(rows)


def has_kinds(rows: list[dict[str, Any]], answer: Any) -> bool:
    """That failures and all are counted."""
    return bool((answer["failures"], answer["invocations"]) == (failures_of(rows), len(rows)))


def has_units(rows: list[dict[str, Any]], answer: Any) -> bool:
    """That calls, wasted cost and calls that used a cache are counted."""
    totals = answer["totals"]
    told = [(row.get("cost_usd") or 0, row.get("status")) for row in rows]
    wasted = sum(cost for cost, status in told if status is not None)
    cached = sum("cache_read_tokens" in row for row in rows)
    found = (totals["invocations"], totals["wasted_usd"], totals["cache_invocations"])
    return bool(found == (len(rows), pytest.approx(wasted), cached))


def has_minutes(rows: list[dict[str, Any]], answer: Any) -> bool:
    """That the last minutes and today count the same."""
    minutes = [sum(place) for place in zip(*answer["minutes"], strict=True)]
    today = [answer["today"]["invocations"], answer["today"]["failures"]]
    return minutes == [len(rows), failures_of(rows)] and (today == minutes or NOW.hour == NOW.minute == 0)


PYTHON: dict[str, Count | None] = {
    "query": lambda rows, answer: bool(answer.totals["invocations"] == len(rows)),
    "get_invocations": has_all,
    "get_statistics": says("total_invocations"),
    "get_daily_costs": None,
    "get_month_report": None,
    "get_unit_costs": has_units,
    "get_coverage": says("invocations"),
    "search": has_failures,
}
COMMANDS: dict[str, Count | None] = {
    "query": says("totals", "invocations"),
    "query --by agent": says("totals", "invocations"),
    "top": says("totals", "invocations"),
    "top calls --measure latency": has_all,
    "stats": says("total_invocations"),
    "errors": has_kinds,
    "costs": says("totals", "invocations"),
    "costs --coverage": says("invocations"),
    "report month": None,
    "report units": has_units,
    "invocations": has_all,
    "export": has_all,
    "watch --once": has_minutes,
    "search refused": has_failures,
}
"""By reader; None: it reads daily totals, which have no operations."""
ALL_ROWS = ("get_invocations", "search", "invocations", "export")
"""They give rows as they are, spans among them."""


def takes(reader: str, filters: str) -> list[dict[str, Any]]:
    """The rows that a reader must count."""
    return ROWS if filters == "latency>0" and reader.split(maxsplit=1)[0] in ALL_ROWS else rows_of(filters)


def test_each_reader_that_takes_filters_is_tried() -> None:
    """Their lists are those of the code."""
    methods = {
        name
        for name, method in inspect.getmembers(TelemetryLogger, callable)
        if not name.startswith("_") and "filters" in inspect.signature(method).parameters
    }
    assert methods == PYTHON.keys()
    narrowed = {
        words for words, command in commands() if any("--where" in parameter.opts for parameter in command.params)
    }
    assert narrowed == {next(words for words in narrowed if f"{line} ".startswith(f"{words} ")) for line in COMMANDS}


@pytest.mark.parametrize("filters", ASKED)
@pytest.mark.parametrize("name", PYTHON)
def test_each_method_counts_spans_where_a_filter_names_operation(db: Path, name: str, filters: str) -> None:
    """And nowhere else; daily totals have no operations and say so."""
    with TelemetryLogger(db, models=False, policies=False) as logger:
        ask = getattr(logger, name)
        words = ("refused",) if name == "search" else ()
        counts = PYTHON[name]
        if counts is None:
            column = filters.partition("!")[0].partition("=")[0].partition(">")[0]
            with pytest.raises(QueryError, match=rf"filters: '{column}.* daily totals have"):
                ask(filters=filters)
            return
        found = ask(*words, filters=filters)
        assert counts(takes(name, filters), found), found


@pytest.mark.parametrize("filters", ASKED)
@pytest.mark.parametrize("line", COMMANDS)
def test_each_command_counts_spans_where_a_filter_names_operation(
    db: Path, run: Callable[..., Any], line: str, filters: str
) -> None:
    """As the methods do."""
    result = run(*line.split(), "--db", db, "--where", filters, "--json")
    counts = COMMANDS[line]
    if counts is None:
        assert result.exit_code != 0
        assert "daily totals have" in result.stderr
        return
    assert result.exit_code == 0, result.output
    one_a_line = line == "export"
    found = [*map(json.loads, result.stdout.splitlines())] if one_a_line else json.loads(result.stdout)
    assert counts(takes(line, filters), found), found


def test_a_name_that_spans_alone_have_is_known_where_they_count(db: Path) -> None:
    """An answer says of it that no call has it, but for a question of spans."""
    with TelemetryLogger(db, models=False, policies=False) as logger:
        assert [one.name for one in logger.query("calls", filters="agent=planner").unknown_names] == ["planner"]
        assert logger.query("calls", filters="agent=planner operation=agent").unknown_names == ()
        assert logger.query("calls", by="operation", filters="agent=planner").unknown_names == ()
