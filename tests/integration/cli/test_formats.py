"""Every command that prints rows or a report writes them in every format, to standard output or into a file."""

import csv
import io
import json
import os
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click
import pytest
from click.testing import Result
from tests.integration.cli.every_command import ARGUMENTS, MADE_BY_HAND, OPTIONS, commands

from llm_service.cli import parquet
from llm_service.cli.formats import _FORMS
from llm_service.cli.kinds import guessed, kinds_of
from llm_service.extras import install
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.months import MonthCosts
from llm_service.telemetry.queries.rows import InvocationRow

Run = Callable[..., Result]
NO_ROWS: Final = {
    "backup": "says what it has done",
    "budgets reconcile": "says what it has done",
    "budgets release": "says what it has done",
    "completion": "prints a script",
    "config example": "prints a file",
    "dead-letters drop": "says what it has done",
    "dead-letters retry": "says what it has done",
    "demo": "says what it has done",
    "purge": "says what it has done",
    "reprice": "says what it has done",
    "watch": "a screen",
}
"""Commands that print neither rows nor a report, each with the reason."""
STREAMED: Final = {"export"}
"""Rows without end are no document and no table."""
COMMANDS: Final = dict(commands())
FORMATTED: Final = sorted(words for words in COMMANDS if words not in NO_ROWS)
FILES: Final = [form for form in _FORMS if form not in ("table", "parquet")]
MOVING: Final = {"info", "stats", "doctor", "budgets", "budgets check", "report month"}
"""What they tell moves on with the clock, or the disk."""
EXTRA: Final = {"search": ["it"], "compare": ["night", "night"], "query": ["--by", "agent,model"]}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Calls of a run, one of which failed; a policies.yaml lies beside it."""
    path = tmp_path / "telemetry.db"
    (tmp_path / "policies.yaml").write_text("policies:\n  default:\n    limits:\n      - {window: day, usd: 1000}\n")
    with TelemetryLogger(path, retention_days=None, privacy_level="full") as telemetry:
        for number in range(3):
            failed = number == 2
            telemetry.log_invocation(
                InvocationRecord(
                    agent_name=f"agent|{number}", model_name="gpt-4o", prompt_tokens=10, completion_tokens=number,
                    cost_usd=number / 10, latency_ms=1.5, status="error" if failed else "success",
                    error_message="it *broke*" if failed else None, run="night", tags=["a", "b"],
                    metadata={"team": "core"}, stream=True, prompt="it is here", response="no",
                )
            )  # fmt: skip
    return path


def line_of(words: str, file: Path) -> list[str]:
    """How a command is called."""
    line, command = words.split(), COMMANDS[words]
    if words in EXTRA:
        line += EXTRA[words]
    else:
        for parameter in command.params:
            if isinstance(parameter, click.Argument) and parameter.required:
                line.append(ARGUMENTS[parameter.make_metavar(click.Context(command))])
            elif parameter.required:
                name = next(name for name in parameter.opts if name in OPTIONS)
                line += [name, OPTIONS[name]]
        line += MADE_BY_HAND.get(words, [])
    if words == "prices":  # else of the second in which it is asked
        line += ["--at", "2026-11-23"]
    options = [name for parameter in command.params for name in parameter.opts]
    if words.startswith("budgets") and "--policies" in options:
        line += ["--policies", str(file.parent / "policies.yaml")]
    return [*line, *(["--db", str(file)] if "--db" in options else [])]


def leaves(row: Any, name: str = "") -> Iterator[str]:
    """The columns that a row of JSON has in formats without rows in rows; an object that is one value stays whole."""
    for key, value in row.items():
        if isinstance(value, dict) and not name and f"{key}.{next(iter(value), '')}" in KNOWN:
            yield from leaves(value, f"{key}.")
        else:
            yield f"{name}{key}"


KNOWN: Final = {
    *kinds_of(MonthCosts),
    *(f"{name}.p50" for name in ("completion_tokens", "cost_usd", "coverage", "cost_coverage")),
}


def test_every_command_with_rows_has_the_formats() -> None:
    """A new one has them, or says above why it has none."""
    assert set(NO_ROWS) < set(COMMANDS)
    for words, command in COMMANDS.items():
        options = {name for parameter in command.params for name in parameter.opts}
        has = {"--format", "--output", "-o", "--force", "--safe-csv"} <= options
        assert has is (words not in NO_ROWS), words
        forms = next(
            (p.type.choices for p in command.params if isinstance(p.type, click.Choice) and p.name == "form"), ()
        )
        assert not has or words in STREAMED or tuple(forms) == _FORMS


@pytest.mark.parametrize("words", FORMATTED)
def test_every_format_has_the_same_rows(run: Run, file: Path, words: str) -> None:
    """CSV has the keys of the JSON lines; Markdown as many lines, and no markup from data."""
    line = line_of(words, file)
    code = run(*line).exit_code
    ended = run(*line, "--format", "jsonl")
    assert ended.exit_code == code
    rows = [json.loads(row) for row in ended.stdout.splitlines()]
    assert rows or words in ("config check", "budgets check", "budgets holds", "dead-letters list")
    text = run(*line, "--format", "csv").stdout
    table = list(csv.reader(io.StringIO(text, newline="")))
    assert len(table) == len(rows) + 1
    for row in rows:
        assert set(leaves(row)) <= {*table[0]} | {name.partition(".")[0] for name in table[0]}
    if words in STREAMED:
        return
    documents = [json.loads(run(*line, *form).stdout) for form in (("--format", "json"), ("--json",))]
    assert words in MOVING or documents[0] == documents[1]
    lines = run(*line, "--format", "md").stdout.splitlines()
    assert len(lines) >= 2
    assert lines[1].startswith("| -")
    assert "*broke*" not in "".join(lines)
    bars = {len(line.replace(r"\|", "").split("|")) for line in lines}
    assert len(bars) == 1


@pytest.mark.parametrize("words", FORMATTED)
@pytest.mark.parametrize(
    "form", [pytest.param(form, marks=pytest.mark.slow if at else ()) for at, form in enumerate(FILES)]
)
def test_a_file_is_private_whole_and_replaces_nothing(
    run: Run, file: Path, tmp_path: Path, words: str, form: str
) -> None:
    """Its format is that of its ending; a database is never replaced, nor a link or a pipe followed."""
    line = line_of(words, file)
    if words in STREAMED and form not in ("csv", "jsonl"):
        assert run(*line, "--format", form, "-o", tmp_path / "x").exit_code == 2
        return
    out = tmp_path / f"out.{form}"
    ended, plain = run(*line, "-o", out), run(*line, "--format", form)
    assert (ended.exit_code, ended.stdout) == (plain.exit_code, "")
    if words not in MOVING:
        assert out.read_bytes() == plain.stdout_bytes
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    before = out.read_bytes()
    assert run(*line, "-o", out).exit_code == 1
    assert out.read_bytes() == before
    assert run(*line, "-o", out, "--force").exit_code == ended.exit_code
    if words not in ("prices", "config check"):  # what they tell is not of this file
        content = file.read_bytes()
        assert run(*line, "--format", form, "-o", file, "--force").exit_code == 1
        assert file.read_bytes() == content
    pipe = tmp_path / f"pipe.{form}"
    os.mkfifo(pipe)
    for extra in ([], ["--force"]):
        assert run(*line, "-o", pipe, *extra).exit_code == 1
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert not list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize("words", FORMATTED)
def test_without_pyarrow_parquet_names_the_extra(
    run: Run, file: Path, tmp_path: Path, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before anything is read, and nothing is left."""
    monkeypatch.setattr(parquet, "find_spec", lambda _: None)
    out = tmp_path / "out.parquet"
    ended = run(*line_of(words, file), "-o", out)
    assert (ended.exit_code, ended.stdout, len(ended.stderr.splitlines())) == (1, "", 1)
    assert install("parquet") in ended.stderr
    assert not out.exists()


@pytest.mark.parametrize("words", FORMATTED)
def test_parquet_has_the_rows_with_types(run: Run, file: Path, tmp_path: Path, words: str) -> None:
    """Moments are UTC timestamps, numbers numbers; what JSON has nested is text or a column of its own."""
    arrow = pytest.importorskip("pyarrow.parquet")
    line, out = line_of(words, file), tmp_path / "out.parquet"
    rows = [json.loads(row) for row in run(*line, "--format", "jsonl").stdout.splitlines()]
    run(*line, "-o", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    found = arrow.read_table(out)
    assert found.num_rows == len(rows)
    types = {field.name: str(field.type) for field in found.schema}
    for row, stored in zip(rows, found.to_pylist(), strict=True):
        for name, value in row.items():
            if types.get(name) == "timestamp[us, tz=UTC]" and value is not None:
                moment = datetime.fromisoformat(value)
                assert stored[name] == moment or (words in MOVING and stored[name] > moment)
            elif name in types and not isinstance(value, dict | list) and words not in MOVING:
                assert stored[name] == value
    if words in ("export", "invocations", "sql", "show"):
        assert types["timestamp"] == "timestamp[us, tz=UTC]"
        assert (types["id"], types["cost_usd"], types["agent_name"]) == ("int64", "double", "string")


def test_parquet_of_many_pages_has_row_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are written as they come; a sum beyond 64 bits and a text that is no moment are kept apart."""
    arrow = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(parquet, "_GROUP_ROWS", 100)
    stream, most = io.BytesIO(), 0

    def pages() -> Iterator[list[dict[str, Any]]]:
        nonlocal most
        for page in range(10):
            most = max(most, stream.tell())
            yield [{"n": page * 50 + row, "at": "2026-11-23 18:30:00.000000Z" if row else "never"} for row in range(50)]

    assert parquet.write(stream, {"n": "integer", "at": "moment"}, pages()) == 500
    assert most > 0  # some were written before the last page was read
    stream.seek(0)
    whole = arrow.ParquetFile(stream)
    assert [whole.metadata.row_group(place).num_rows for place in range(whole.num_row_groups)] == [100] * 5
    table = whole.read()
    assert table["n"].to_pylist() == [*range(500)]
    assert table["at"].null_count == 10
    large = io.BytesIO()
    parquet.write(large, {"n": "integer"}, [[{"n": 2**70}, {"n": None}]])
    assert [int(value) for value in arrow.read_table(large)["n"].to_pylist() if value is not None] == [2**70]


def test_a_broken_configuration_is_told_in_a_file_too(run: Run, tmp_path: Path) -> None:
    """What checks it needs none that is whole."""
    config, out = tmp_path / "telemetry.yaml", tmp_path / "errors.csv"
    config.write_text("retention_day: 3\n")
    assert run("config", "check", "--config", config, "-o", out).exit_code == 1
    (row,) = csv.DictReader(io.StringIO(out.read_text("utf-8"), newline=""))
    assert (row["severity"], row["key"], row["line"]) == ("error", "retention_day", "1")


def test_parquet_is_nothing_for_a_terminal(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes would be commands to it."""
    monkeypatch.setattr("llm_service.cli.formats.is_terminal", lambda _: True)
    ended = run("stats", "--format", "parquet", "--db", file)
    assert ended.exit_code == 2
    assert "give -o FILE" in ended.stderr


def test_what_goes_on_has_no_file(run: Run, file: Path) -> None:
    """`--follow` has a table, or JSON lines."""
    for options in (["--format", "csv"], ["-o", "x.csv"]):
        assert run("invocations", "--follow", *options, "--db", file).exit_code == 2
    assert run("search", "--index", "-o", "x.csv", "--db", file).exit_code == 2


def test_kinds_are_those_that_the_rows_are_declared_with() -> None:
    """Of a call, of a row in a row, and of what nobody declared."""
    kinds = kinds_of(InvocationRow)
    assert [*kinds] == [*InvocationRow.__annotations__]
    assert {kinds[name] for name in ("timestamp", "id", "cost_usd", "stream", "tags", "run")} == {
        "moment", "integer", "number", "flag", "json", "text",
    }  # fmt: skip
    assert kinds_of(MonthCosts)["forecast.first_day_used"] == "text"
    rows = [
        {"a": 1, "b": 1.5, "c": None, "d": "x", "e": "2026-11-23 18:30:00.000000Z"},
        {**dict.fromkeys("abcde"), "b": 2},
    ]
    assert guessed("abcde", rows) == {"a": "integer", "b": "number", "c": "text", "d": "text", "e": "moment"}
