"""`stats`, `costs` and `invocations` on a real file."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.cli.commands import cli
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.queries import questions

from .every_command import commands

Run = Callable[..., Result]
RANGE = ("since", "until", "time_zone")
NOBODY = "agent=tester agent!=tester"
NARROWED = [
    [*words.split(), *("word" for option in command.params if option.name == "words")]
    for words, command in commands()
    if any(option.name == "tool_name" for option in command.params)
]
"""Reports, and what else can be narrowed to names."""
HOSTILE = "\x1b]0;owned\x07\x9b31m[red]evil[/red]\u202e"


def test_stats_shows_every_key_of_the_api(run: Run, database: Path) -> None:
    """Counts of the last seven days; the old calls are outside the window."""
    result = run("stats", "--db", database)
    assert result.exit_code == 0
    *lines, said = result.stdout.splitlines()[1:]
    assert said.startswith("range: from ")
    values = dict(line.split() for line in lines)
    assert values["total_invocations"] == "4"
    assert values["success_rate"] == "75.00%"
    assert values["total_cost_usd"] == "1.0000"
    assert values["total_tokens"] == "6,000"
    assert values["avg_latency_ms"] == "250.0"


def test_stats_as_json_is_what_the_api_returns(run: Run, database: Path) -> None:
    """The same keys, numbers as numbers."""
    found = json.loads(run("stats", "--db", database, "--days", 3650, "--json").stdout)
    with TelemetryLogger(database, retention_days=None) as telemetry:
        assert found == telemetry.get_statistics(days=3650) | {name: found[name] for name in RANGE}
    assert found["total_invocations"] == 6


def test_stats_of_a_window_without_calls_say_when_the_newest_was(run: Run, database: Path) -> None:
    """What no call tells is a dash, or null: not a success rate of 0 %."""
    result = run("stats", "--db", database, "--since", "2090-01-01")
    newest = run("invocations", "--db", database, "--limit", 1, "--json")
    when = json.loads(newest.stdout)[0]["timestamp"][:16]
    said = f"no calls in this range, from 2090-01-01 00:00 (UTC); the newest is of {when}, use --since {when[:10]}\n"
    assert result.stderr == said
    *lines, said = result.stdout.splitlines()[1:]
    assert said.startswith("range: from ")
    values = dict(line.split() for line in lines)
    assert {key for key, value in values.items() if value == "-"} == {
        "success_rate", "avg_latency_ms", "p50_latency_ms", "p95_latency_ms", "p99_latency_ms",
    }  # fmt: skip
    found = json.loads(run("stats", "--db", database, "--since", "2090-01-01", "--json").stdout)
    assert (found["total_invocations"], found["success_rate"], found["p95_latency_ms"]) == (0, None, None)
    nobody = run("stats", "--db", database, "--where", NOBODY)
    assert "there are no such calls at all\n" in nobody.stderr


def test_a_report_says_which_file_it_reads_unless_it_was_named(
    run: Run, database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On stderr, not with --json; and that there is another one right here."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("LLM_TELEMETRY_DB_PATH", str(database))
    assert run("stats", "--days", 3650).stderr == f"database: {database}\n"
    assert run("stats", "--days", 3650, "--json").stderr == ""
    assert run("stats", "--days", 3650, "--db", database).stderr == ""
    Path("telemetry.db").touch()
    beside = "; there is also ./telemetry.db, read it with --db telemetry.db"
    assert run("costs").stderr == f"database: {database}{beside}\n"
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert run("costs").stderr == f"database: {database}\n"
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("option", "value", "count"), [("--agent", "tester", 2), ("--tool", "claude-code", 4), ("--where", NOBODY, 0)]
)
def test_every_report_can_be_narrowed_to_a_name(run: Run, database: Path, option: str, value: str, count: int) -> None:
    """Agent, tool and model mean the same in each."""
    arguments = ("--db", database, option, value, "--json")
    assert json.loads(run("stats", *arguments).stdout)["total_invocations"] == count
    assert len(json.loads(run("invocations", *arguments).stdout)) == count
    assert json.loads(run("costs", *arguments).stdout)["totals"]["invocations"] == count


def test_costs_end_with_totals_and_how_much_is_known(run: Run, database: Path) -> None:
    """Five of six calls have a known cost, four known tokens."""
    result = run("costs", "--db", database)
    lines = result.stdout.splitlines()
    names = ["date", "agent", "tool", "model", "calls", "failed", "tokens", "cost", "USD"]
    assert lines[0].split() == [*names, "unpriced"]
    assert lines[-3].split() == ["total", "6", "2", "6,000", "2.5000", "1"]
    priced = run("costs", "--db", database, "--agent", "tester").stdout.splitlines()
    assert priced[0].split() == names
    assert lines[-2] == "known: cost of 5 (83.3%), tokens of 4 (66.7%)"


@pytest.mark.parametrize("by", ["day", "agent", "model,agent", "tool,day", "day,agent,tool,model"])
def test_costs_by_any_keys_add_up_to_the_same_totals(run: Run, database: Path, by: str) -> None:
    """The keys stand first, in the order given; the totals do not depend on them."""
    columns = {"day": "date", "agent": "agent_name", "tool": "tool_name", "model": "model_name"}
    found = json.loads(run("costs", "--db", database, "--by", by, "--json").stdout)
    whole = json.loads(run("costs", "--db", database, "--json").stdout)
    assert found["by"] == by.split(",")
    assert found["totals"] == whole["totals"]
    assert sum(row["cost_nanos"] for row in found["rows"]) == found["totals"]["cost_nanos"] == 2_500_000_000
    for row in found["rows"]:
        assert list(row)[: len(found["by"])] == [columns[key] for key in found["by"]]
    heading = run("costs", "--db", database, "--by", by).stdout.split()
    assert heading[: len(found["by"])] == [{"day": "date"}.get(key, key) for key in found["by"]]


def test_costs_since_a_duration_begin_with_its_day(run: Run, database: Path) -> None:
    """Costs are kept by whole days."""
    found = json.loads(run("costs", "--db", database, "--since", "2d", "--by", "day", "--json").stdout)
    assert found["totals"]["invocations"] == 4
    assert found["first_day"] >= (datetime.now(UTC) - timedelta(days=2)).date().isoformat()


def test_costs_between_two_days_include_both(run: Run, database: Path) -> None:
    """Days are UTC."""
    found = json.loads(
        run("costs", "--db", database, "--since", "2023-01-15", "--until", "2023-01-15", "--json").stdout
    )
    assert (found["first_day"], found["last_day"]) == ("2023-01-15", "2023-01-15")
    assert [row["agent_name"] for row in found["rows"]] == [None, HOSTILE]


def test_an_empty_answer_says_so_and_is_an_empty_list_in_json(run: Run, database: Path) -> None:
    """No table without rows."""
    said = "no such calls\nrange: all times (UTC)\n"
    for name in ("costs", "invocations"):
        result = run(name, "--db", database, "--where", NOBODY)
        assert (result.exit_code, result.stdout) == (0, said)
    assert json.loads(run("invocations", "--db", database, "--where", NOBODY, "--json").stdout) == []
    found = json.loads(run("costs", "--db", database, "--where", NOBODY, "--json").stdout)
    assert (found["rows"], found["totals"]["total_cost_usd"], found["first_day"]) == ([], 0.0, None)


def test_invocations_are_newest_first_and_limited(run: Run, database: Path) -> None:
    """JSON has every column under the API's keys."""
    found = json.loads(run("invocations", "--db", database, "--limit", 3, "--json").stdout)
    assert [row["session_id"] for row in found] == ["session-0", "session-1", "session-2"]
    with TelemetryLogger(database, retention_days=None) as telemetry:
        assert found == telemetry.get_invocations(limit=3)


def test_invocations_show_what_failed_and_leave_unknown_values_open(run: Run, database: Path) -> None:
    """A dash is not a zero."""
    assert "error: it broke" in run("invocations", "--db", database, "--status", "error").stdout
    unknown = run("invocations", "--db", database, "--until", "2023-01-15", "--limit", 1).stdout.splitlines()[1]
    assert unknown.split() == ["6", "2023-01-15", "13:00:00", *"-------", "success"]


def test_errors_are_the_calls_that_did_not_succeed(run: Run, database: Path) -> None:
    """Timeouts among them; a status narrows further."""
    found = json.loads(run("invocations", "--db", database, "--errors", "--json").stdout)
    assert [row["status"] for row in found] == ["error", "timeout"]
    both = json.loads(run("invocations", "--db", database, "--errors", "--status", "success", "--json").stdout)
    assert both == []


def test_invocations_are_found_by_session_day_and_moment(run: Run, database: Path) -> None:
    """A day is inclusive, a moment is the first that is left out."""

    def count(*options: str) -> int:
        return len(json.loads(run("invocations", "--db", database, "--json", *options).stdout))

    assert count("--session", "session-2") == 1
    assert count("--since", "2023-01-15", "--until", "2023-01-15") == 2
    assert count("--until", "2023-01-15T13:00:00Z") == 1
    assert count("--since", "2023-01-15T14:00:00+01:00", "--until", "2023-01-16T00:00:00Z") == 1
    assert count("--since", "2023-01-15T13:00:00.000001Z") == 4
    assert count("--since", "90m") == 2
    assert count("--until", "2023-01-15 13:00") == 1


@pytest.mark.parametrize("name", ["costs", "invocations"])
def test_data_cannot_speak_to_the_terminal(run: Run, database: Path, name: str) -> None:
    """Escape sequences, C1 controls and direction overrides of a name or message stand escaped, markup is text."""
    shown = run(name, "--db", database).stdout
    assert "\\x1b]0;owned\\x07\\x9b31m[red]evil[/red]\\u202e" in shown
    assert all(character == "\n" or character.isprintable() for character in shown)


@pytest.mark.parametrize("name", ["stats", "costs", "invocations"])
def test_a_missing_database_is_an_error_and_stays_missing(run: Run, tmp_path: Path, name: str) -> None:
    """Reading creates nothing, not even a folder."""
    path = tmp_path / "no" / "such.db"
    result = run(name, "--db", path)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {path} does not exist; give a telemetry database with --db PATH or --config PATH\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["stats", "costs", "invocations"])
def test_reading_leaves_the_file_as_it_is(run: Run, database: Path, name: str) -> None:
    """Not a byte of it changes."""
    before = database.read_bytes()
    assert run(name, "--db", database).exit_code == 0
    assert database.read_bytes() == before


@pytest.mark.parametrize("name", ["stats", "costs", "invocations"])
def test_a_file_that_is_no_telemetry_database_is_one_clean_line(run: Run, tmp_path: Path, name: str) -> None:
    """Text, a folder, or another program's SQLite file."""
    text, foreign = tmp_path / "text.db", tmp_path / "for\neign.db"
    text.write_text("no database" * 100)
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    said = {text: "cannot be read", foreign: "but not of telemetry", tmp_path: "is not a plain file"}
    for path, words in said.items():
        result = run(name, "--db", path)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr.startswith("Error: ")
        assert words in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("stats", "--days", "-1"), "days: -1.0 is not usable; give a number above 0"),
        (("stats", "--days", "nan"), "'nan' is no finite number"),
        (("stats", "--days", "many"), "'many' is not a valid float"),
        (("costs", "--since", "yestrday"), "'yestrday' is not usable; did you mean yesterday?"),
        (("costs", "--agent", ""), "there is no agent ''"),
        (("invocations", "--limit", "0"), "limit: 0 is not usable; give a whole number from 1"),
        (("invocations", "--status", "odd"), "'odd' is not one of"),
        (("invocations", "--since", "soon"), "'soon' is not usable; give one of now, "),
        (("invocations", "--since", "99999999w"), "'99999999w' is not usable; it is outside of the years 1 to 9999"),
        (("stats", "--days", "1", "--since", "2h"), "--days and --since both say where to begin"),
        (("costs", "--by", "day,wek"), "did you mean week?"),
        (("costs", "--by", "day,day"), "'day,day' is not usable"),
        (("costs", "--by", ""), "'' is not usable"),
        (("costs", "--sinc", "1d"), "--since"),
        (("show",), "Missing argument 'ID'; see llm-telemetry show --help"),
        (("stats", "--db", ":memory:"), "db_path: ':memory:' is not usable"),
        (("stats", "--config", "no-such.yaml"), "'no-such.yaml' does not exist"),
    ],
)
def test_a_wrong_argument_ends_with_2_and_is_named_with_its_remedy(
    run: Run, database: Path, arguments: tuple[str, ...], said: str
) -> None:
    """An empty name is a name that nobody has."""
    result = run(arguments[0], "--db", database, *arguments[1:])
    assert result.exit_code == (1 if said.startswith("there is no") else 2)
    assert said in result.stderr
    assert result.stderr.count("\n") == 1


def test_an_interrupted_command_ends_quietly_with_130(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a shell expects of Ctrl-C."""

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(questions, "read_statistics_of", interrupt)
    result = run("stats", "--db", database)
    assert (result.exit_code, result.output) == (130, "")


def test_a_reader_that_went_away_ends_the_command_quietly(
    run: Run, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`llm-telemetry invocations | head` complains about nothing."""

    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError(32, "Broken pipe")

    monkeypatch.setattr(questions, "read_statistics_of", broken)
    result = run("stats", "--db", database)
    assert (result.exit_code, result.output) == (1, "")


@pytest.mark.parametrize("name", [None, *sorted(cli.commands)])
def test_every_help_shows_an_example_and_the_common_options(run: Run, name: str | None) -> None:
    """Each example starts with the program's name, each command takes --db, --config and --json."""
    shown = run(*([] if name is None else [name]), "--help").stdout
    assert "Examples:\n" in shown
    assert f"  llm-telemetry {name or 'demo'}" in shown.split("Examples:")[1]
    if name not in {None, "completion", "config", "report", "prices"}:
        assert all(option in shown for option in ("--db PATH", "--config PATH", "--json", "--help"))


def test_the_window_of_stats_ends_now(run: Run, database: Path) -> None:
    """`days` of 1/24 is the last hour."""
    assert json.loads(run("stats", "--days", 1 / 24, "--db", database, "--json").stdout)["total_invocations"] == 1


@pytest.mark.parametrize("line", [line for line in NARROWED if line[0] not in {"budgets", "estimate"}], ids=" ".join)
def test_a_name_that_no_call_has_is_said_with_the_nearest(run: Run, database: Path, line: list[str]) -> None:
    """By every report that can be narrowed to a name, and nothing else: an empty report looks like an idle agent."""
    for option, column in (("--agent", "agent_name"), ("--tool", "tool_name"), ("--model", "model_name")):
        with closing(sqlite3.connect(database)) as connection:
            (name,) = connection.execute(f"SELECT max({column}) FROM daily_costs").fetchone()
        result = run(*line, option, f"{name}x", "--db", database)
        assert (result.exit_code, result.stdout) == (1, "")
        what = option.removeprefix("--")
        assert f"there is no {what} '{name}x'; did you mean {name}?" in result.stderr
        assert "there is no" not in run(*line, option, name, "--db", database).stderr
