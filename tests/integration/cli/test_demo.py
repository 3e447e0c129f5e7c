"""`demo`, of its own trace and of any: a trace goes through the logger, and the file holds exactly it."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result

from llm_service.cli import command_demo
from llm_service.cli.trace import TraceRow, read_trace
from llm_service.cli.trace_replay import Percentiles, Plan, Report, percentiles, replay
from llm_service.config import load
from llm_service.config.settings import Settings
from llm_service.telemetry import Ledger

Run = Callable[..., Result]
NOTE = "agents, models, prices, latency and failures are modelled"


def ask(path: Path, sql: str) -> list[tuple[object, ...]]:
    """Rows of a file."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def configured(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> list[object]:
    """Let `load_config` answer with these settings; gives the options that ask for them, and their database."""
    monkeypatch.setattr(load, "load_config", lambda _=None: SimpleNamespace(to_settings=lambda: settings))
    return ["--db", settings.db_path, "--config", __file__]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A demo that does not wait for the trace."""
    monkeypatch.setattr(command_demo, "PACE", 1e6)
    monkeypatch.setattr(command_demo, "_IDLE_S", 0.005)


def test_replay_stores_every_call_with_its_tokens_and_time(run: Run, trace: Path, tmp_path: Path) -> None:
    """And says what is real, what is modelled, and that the ledger is true."""
    path = tmp_path / "new" / "telemetry.db"
    path.parent.mkdir()
    result = run("demo", "--replay", trace, "--db", path, "--agents", 3)
    assert result.exit_code == 0
    assert NOTE in result.stdout
    assert "20 calls of trace.csv, replayed by 3 agents" in result.stdout
    assert "records on disk  20" in result.stdout
    assert "submitted 20 = written 20 + duplicates 0 + quarantined 0 + dropped 0 + pending 0" in result.stdout
    assert ask(path, "SELECT count(*), sum(prompt_tokens), sum(completion_tokens) FROM invocations") == [
        (20, 2000, 200)
    ]
    assert ask(path, "SELECT min(timestamp), max(timestamp) FROM invocations") == [
        ("2023-11-16 18:00:00.000000Z", "2023-11-16 18:00:09.500000Z")
    ]
    assert ask(path, "SELECT count(DISTINCT agent_name) FROM invocations") == [(3,)]
    assert ask(path, "SELECT sum(invocations) FROM daily_costs") == [(20,)]


def test_replaying_twice_adds_new_records(run: Run, trace: Path, tmp_path: Path) -> None:
    """Ids are new each time, everything else is the same."""
    for total in (20, 40):
        found = json.loads(run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--json").stdout)
        assert (found["records_on_disk"], found["ledger"]["written"]) == (total, 20)
    distinct = "SELECT DISTINCT timestamp, agent_name, cost_usd, latency_ms, status FROM invocations"
    assert len(ask(tmp_path / "a.db", distinct)) == 20


def test_replay_as_json_has_the_measurements_and_the_note(run: Run, trace: Path, tmp_path: Path) -> None:
    """On stdout is JSON alone; progress is on stderr."""
    result = run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--json", "--limit", 10)
    found = json.loads(result.stdout)
    assert NOTE in found["note"]
    assert (found["rows"], found["records_on_disk"], found["hot_path_call"]) == (10, 10, "log_invocation")
    assert found["first_timestamp"] == "2023-11-16 18:00:00.000000Z"
    assert found["hot_path_us"]["samples"] == 10
    assert 0 < found["hot_path_us"]["p50"] <= found["hot_path_us"]["p99"] <= found["hot_path_us"]["max"]
    assert result.stderr.splitlines()[-1] == "replaying: 10 of 10"


def test_more_agents_than_calls_are_no_harm(run: Run, trace: Path, tmp_path: Path) -> None:
    """Those without a call never start."""
    assert run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--agents", 10_000).exit_code == 0
    assert ask(tmp_path / "a.db", "SELECT count(*) FROM invocations") == [(20,)]


def test_shift_to_now_lets_the_last_call_end_now(run: Run, trace: Path, tmp_path: Path) -> None:
    """All times move alike, and the output says that they did."""
    before = datetime.now(UTC)
    result = run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--shift-to-now")
    assert "its times moved to end now" in result.stdout
    ((first, last),) = ask(tmp_path / "a.db", "SELECT min(timestamp), max(timestamp) FROM invocations")
    times = [datetime.fromisoformat(str(text)) for text in (first, last)]
    assert times[1] - times[0] == timedelta(seconds=9.5)
    assert before <= times[1] <= datetime.now(UTC)


def test_a_trace_too_long_to_be_moved_is_refused_before_anything_is_stored(
    run: Run, trace: Path, tmp_path: Path
) -> None:
    """Its first call would lie before 1970."""
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n1970-01-01,1,1\n9999-12-31,1,1\n")
    result = run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--shift-to-now")
    assert result.exit_code == 1
    assert "without --shift-to-now" in result.stderr
    assert not (tmp_path / "a.db").exists()


def test_a_paced_replay_takes_as_long_as_the_trace_divided_by_its_speed(trace: Path, tmp_path: Path) -> None:
    """9.5 s at 95 times the pace last at least a tenth of a second."""
    plan = Plan(rows=read_trace(trace), speed=95.0)
    assert asyncio.run(replay(plan, Settings(db_path=tmp_path / "a.db"))).seconds >= 0.1


@pytest.mark.parametrize("speed", ["0", "max", "0.0", "1e6"])
def test_zero_and_max_are_as_fast_as_possible(run: Run, trace: Path, tmp_path: Path, speed: str) -> None:
    """Any other number is times the trace's pace."""
    assert run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--speed", speed).exit_code == 0


@pytest.mark.parametrize("speed", ["-1", "nan", "inf", "fast"])
def test_a_speed_that_is_none_is_a_wrong_argument(run: Run, trace: Path, tmp_path: Path, speed: str) -> None:
    """It names value and remedy."""
    result = run("demo", "--replay", trace, "--db", tmp_path / "a.db", "--speed", speed)
    assert result.exit_code == 2
    assert f"'{speed}' is no speed; give a number such as 1 or 60, or max" in result.stderr


def test_a_bad_trace_is_one_line_and_makes_no_database(run: Run, trace: Path, tmp_path: Path) -> None:
    """The trace is read before the file is opened."""
    trace.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16,12,x\n")
    result = run("demo", "--replay", trace, "--db", tmp_path / "a.db")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        f"Error: {trace}:2: GeneratedTokens: 'x' is no number of tokens; write a whole number from 0 to 100,000,000\n"
    )
    assert not (tmp_path / "a.db").exists()


def test_a_missing_trace_is_a_wrong_argument(run: Run, tmp_path: Path) -> None:
    """So is a folder."""
    assert run("demo", "--replay", tmp_path / "none.csv").exit_code == 2
    assert run("demo", "--replay", tmp_path).exit_code == 2


def test_a_foreign_database_is_refused_and_left_as_it_is(run: Run, trace: Path, tmp_path: Path) -> None:
    """Somebody mistook the file."""
    path = tmp_path / "foreign.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    before = path.read_bytes()
    result = run("demo", "--replay", trace, "--db", path)
    assert result.exit_code == 1
    assert "not of telemetry" in result.stderr
    assert path.read_bytes() == before


def test_records_that_were_dropped_end_the_replay_with_1(
    run: Run, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger says why: here there is room for one record, and no time to wait."""
    settings = Settings(db_path=tmp_path / "a.db", queue_max_records=1, overflow="drop_newest", flush_interval=5)
    result = run("demo", "--replay", trace, "--agents", 20, *configured(monkeypatch, settings))
    assert result.exit_code == 1
    assert "(queue_full " in result.stdout
    assert f"not every call reached {tmp_path / 'a.db'}: see the ledger" in result.stderr


@pytest.mark.parametrize(("option", "value"), [("enabled", False), ("privacy_level", "none")])
def test_a_configuration_that_stores_nothing_is_an_error(
    run: Run, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: str, value: object
) -> None:
    """Better than a replay into nothing."""
    configuration = configured(monkeypatch, Settings.of(tmp_path / "a.db", {option: value}))
    result = run("demo", "--replay", trace, *configuration)
    assert result.exit_code == 1
    assert f"the configuration says {option}: {str(value).lower()}" in result.stderr


def test_a_broken_configuration_is_one_line(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`ConfigError` is a `ValueError` that names file, line and key."""

    def load_config(_: Path | None = None) -> None:
        raise ValueError("telemetry.yaml:3: enabled: 'maybe' is not usable; use true or false")

    monkeypatch.setattr(load, "load_config", load_config)
    (tmp_path / "telemetry.yaml").touch()
    result = run("stats", "--config", tmp_path / "telemetry.yaml")
    assert result.exit_code == 1
    assert result.stderr == "Error: telemetry.yaml:3: enabled: 'maybe' is not usable; use true or false\n"


def test_progress_counts_every_call_and_ends_full(tmp_path: Path) -> None:
    """About a hundred times, in order."""
    moment = datetime(2026, 1, 1, tzinfo=UTC)
    rows = [TraceRow(number, moment, 1, 1) for number in range(1_050)]
    seen: list[int] = []
    asyncio.run(replay(Plan(rows=rows), Settings(db_path=tmp_path / "a.db"), seen.append))
    assert seen == sorted(set(seen))
    assert seen[-1] == 1_050
    assert 100 <= len(seen) <= 110


def test_percentiles_are_by_nearest_rank() -> None:
    """Of a hundred samples the 50th and the 99th; of none, zero."""
    assert percentiles(range(1, 101), 1) == Percentiles(100, 50, 99, 100)
    assert percentiles([3_000], 1e3) == Percentiles(1, 3.0, 3.0, 3.0)
    assert percentiles([], 1) == Percentiles()


def test_a_rate_needs_time() -> None:
    """A clock that did not move gives no rate."""
    moment, none = datetime(2026, 1, 1, tzinfo=UTC), Percentiles()
    report = Report(
        db_path=Path("a.db"), rows=1, agents=1, first=moment, last=moment, seconds=0.0, ledger=Ledger(written=1),
        call="log_invocation", call_us=none, lag_ms=none, idle_lag_ms=none,
    )  # fmt: skip
    assert report.records_per_second == 0.0


@pytest.mark.usefixtures("quick")
def test_the_demo_replays_a_thousand_real_calls_and_reads_them_back(run: Run, tmp_path: Path) -> None:
    """Records, ledger, rate, hot path, loop lag, daily costs, statistics; and it cites the data."""
    path = tmp_path / "demo.db"
    result = run("demo", "--db", path)
    assert result.exit_code == 0
    shown = result.stdout
    assert NOTE in shown
    assert "Azure LLM Inference Trace 2023" in shown
    assert "CC BY 4.0" in shown
    assert str(path) in shown
    for part in ("records on disk  1,000", "written 1,000", "records/s", "hot path", "event loop lag", "idle loop"):
        assert part in shown
    assert "daily costs from 2023-11-16 to 2023-11-16" in shown
    assert "total_invocations          1,000" in shown
    assert ask(path, "SELECT count(*) FROM invocations") == [(1000,)]
    assert result.stderr.splitlines()[-1] == "replaying: 1,000 of 1,000"


@pytest.mark.usefixtures("quick")
def test_the_demo_as_json_agrees_with_the_trace(run: Run, tmp_path: Path) -> None:
    """Its sums are those of the bundled rows."""
    found = json.loads(run("demo", "--agents", 50, "--db", tmp_path / "demo.db", "--json").stdout)
    rows = read_trace(command_demo.TRACE)
    assert len(rows) == 1_000 == found["records_on_disk"]
    assert found["statistics"]["prompt_tokens"] == sum(row.context_tokens for row in rows)
    assert found["statistics"]["completion_tokens"] == sum(row.generated_tokens for row in rows)
    assert sum(day["invocations"] for day in found["costs"]["rows"]) == 1_000
    assert len({day["agent_name"] for day in found["costs"]["rows"]}) == 50
    assert found["hot_path_call"] == "log_invocation_nowait"
    assert found["full_speed_records_per_second"] > 0
    assert NOTE in found["note"]


@pytest.mark.usefixtures("quick")
def test_the_demo_refuses_a_file_that_exists(run: Run, tmp_path: Path) -> None:
    """It never writes into somebody's records."""
    path = tmp_path / "precious.db"
    path.write_text("precious")
    result = run("demo", "--db", path)
    assert result.exit_code == 2
    assert f"{path} exists; the demo writes only to a new file" in result.stderr
    assert path.read_text() == "precious"


@pytest.mark.usefixtures("quick")
def test_the_demo_keeps_and_names_its_temporary_file(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One folder stays, with the database in it; the second run's is gone."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    path = Path(json.loads(run("demo", "--json").stdout)["db_path"])
    assert list(tmp_path.iterdir()) == [path.parent]
    assert ask(path, "SELECT count(*) FROM invocations") == [(1000,)]


@pytest.mark.parametrize("own", [True, False])
def test_no_folder_is_made_for_a_database_that_was_named(own: bool, run: Run, trace: Path, tmp_path: Path) -> None:
    """A slip in its name would else become a folder."""
    db = tmp_path / "no" / "such" / "telemetry.db"
    result = run("demo", *([] if own else ["--replay", trace]), "--db", db)
    assert result.exit_code == 2
    assert "there is no folder" in result.stderr
    assert not (tmp_path / "no").exists()


@pytest.mark.parametrize(
    "option", [["--speed", "2"], ["--shift-to-now"], ["--limit", "3"]], ids=lambda option: option[0]
)
def test_options_of_a_replay_need_a_trace(option: list[str], run: Run) -> None:
    """The demo's own trace is replayed in its own way."""
    result = run("demo", *option)
    assert result.exit_code == 2
    assert "--speed, --shift-to-now and --limit go with --replay FILE.csv" in result.stderr


def test_a_replay_writes_to_a_temporary_file_unless_another_is_named(
    run: Run, trace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is modelled never gets into the database of the configuration by itself."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("LLM_TELEMETRY_DB_PATH", str(tmp_path / "mine.db"))
    path = Path(json.loads(run("demo", "--replay", trace, "--json").stdout)["db_path"])
    assert ask(path, "SELECT count(*) FROM invocations") == [(20,)]
    assert not (tmp_path / "mine.db").exists()
