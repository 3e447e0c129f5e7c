"""`request_model` is one model, whatever answered: a call that failed and one without it are of the same row."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.integration.cli.conftest import Run
from tests.integration.cli.every_command import commands
from tests.integration.cli.test_operations_in_filters import COMMANDS
from tests.integration.cli.test_spans_in_lists import rows_in

from llm_service.telemetry import InvocationRecord, TelemetryLogger

NOW = datetime.now(UTC)
CALLS: list[dict[str, Any]] = [
    {"request_model": "gpt-4o", "model_name": "gpt-4o-2024-08-06"},
    {"request_model": "gpt-4o", "model_name": "gpt-4o-2024-11-20"},
    {"request_model": "gpt-4o", "status": "error", "error_message": "refused"},
    {"model_name": "gpt-4o", "status": "error", "error_message": "refused"},
]
OTHERS: list[dict[str, Any]] = [{"request_model": "o3", "model_name": "gpt-4o"}, {}]
LINES = {
    "query": ["query", "--measure", "calls"],
    "costs": ["costs"],
    "errors": ["errors"],
    "report units": ["report", "units"],
    "compare": ["compare", "night", "night"],
}
"""By command that groups records, how it is called."""


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls of one model, asked for and answered by several names; and two others."""
    path = tmp_path_factory.mktemp("asked") / "t.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        for call in (*CALLS, *OTHERS):
            logger.log_invocation(
                InvocationRecord(run="night", cost_usd=1, latency_ms=5, timestamp=NOW - timedelta(seconds=5), **call)
            )
    return path


def test_each_command_that_groups_records_is_tried() -> None:
    """`report month` reads daily totals, which do not have what was asked for."""
    grouping = {words for words, command in commands() if any("--by" in one.opts for one in command.params)}
    assert grouping == {*LINES, "report month"}


@pytest.mark.parametrize("words", LINES)
def test_one_model_is_one_row(db: Path, run: Run, words: str) -> None:
    """In every command that groups."""
    if words == "compare":
        pytest.importorskip("scipy")
    found = json.loads(run(*LINES[words], "--by", "request_model", "--db", db, "--json").stdout)
    if words == "compare":
        assert {row["group"]: row["calls_a"] for row in found["rows"] if row["metric"] == "success rate"} == {
            "gpt-4o": 4, "o3": 1, None: 1,
        }  # fmt: skip
        return
    counted = "failures" if words == "errors" else "invocations"
    calls = {row["request_model"]: row[counted] for row in found["rows"]}
    assert calls == ({"gpt-4o": 2} if words == "errors" else {"gpt-4o": 4, "o3": 1, None: 1})
    assert "gpt-4o-2024" not in run(*LINES[words], "--by", "request_model", "--db", db).stdout


@pytest.mark.parametrize("line", [line for line, counts in COMMANDS.items() if counts is not None])
def test_each_filter_means_the_same_calls(db: Path, run: Run, line: str) -> None:
    """What a row of `--by request_model` counts is what `--where request_model=...` leaves."""
    found = run(*line.split(), "--db", db, "--where", "request_model=gpt-4o", "--json").stdout
    documents = [*map(json.loads, found.splitlines())] if line == "export" else json.loads(found)
    names = {row["model_name"] for row in rows_in(documents) if "request_model" in row}
    assert "o3" not in names
    counts = COMMANDS[line]
    assert counts is not None
    if not line.startswith("report units"):  # its oracle knows costs of its own rows
        assert counts([*CALLS], documents), documents


def test_a_report_of_daily_totals_proposes_what_can_tell(db: Path, run: Run) -> None:
    """`report month` has agent, tool and model."""
    said = run("report", "month", "--by", "request_model", "--tz", "UTC", "--db", db).stderr
    assert f"give: llm-telemetry query --tz UTC --db {db} --by request_model" in said
