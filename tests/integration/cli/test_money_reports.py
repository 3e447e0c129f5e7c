"""`report month`, `report units`, `costs --coverage`, and an unknown price in every report."""

import csv
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llm_service.cli.command_demo import TRACE
from llm_service.cli.trace import read_trace
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]
TODAY = datetime.now(UTC).replace(hour=12)
EVER = {"since": None, "until": None, "time_zone": "UTC"}


@pytest.fixture
def prices_known_and_not(tmp_path: Path) -> Path:
    """Of two models over 40 days, one call a day each: `known` at 1 USD, `mystery` at nobody knows what."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        for ago in range(41):
            for model, cost in (("known", 1.0), ("mystery", None)):
                telemetry.log_invocation_nowait(
                    InvocationRecord(
                        agent_name="a",
                        model_name=model,
                        provider="acme",
                        total_tokens=500,
                        cost_usd=cost,
                        cost_source="reported" if cost else "unknown",
                        attempts=2 if ago else None,
                        status="error" if ago % 10 == 5 else "success",
                        timestamp=datetime.now(UTC) - timedelta(days=ago),
                    )
                )
    return path


@pytest.fixture
def replayed(run: Run, tmp_path: Path) -> Path:
    """The packaged slice of a real trace, its 8.7 minutes stretched to 45 days that end with October 2025."""
    rows = read_trace(TRACE)
    begin, end = rows[0].timestamp, datetime(2025, 11, 1, tzinfo=UTC) - timedelta(microseconds=1)
    factor = timedelta(days=45) / (rows[-1].timestamp - begin)
    stretched = tmp_path / "stretched.csv"
    with stretched.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["TIMESTAMP", "ContextTokens", "GeneratedTokens"])
        for row in rows:
            moment = end - (rows[-1].timestamp - row.timestamp) * factor
            writer.writerow([moment.replace(tzinfo=None), row.context_tokens, row.generated_tokens])
    path = tmp_path / "replayed.db"
    assert run("demo", "--replay", stretched, "--db", path, "--speed", "max").exit_code == 0
    return path


@pytest.mark.parametrize("day", [15, 20, 25])
def test_a_forecast_on_the_replayed_trace_holds_what_came(run: Run, replayed: Path, day: int) -> None:
    """Asked in the middle of the month, low to high holds what it had cost at its end."""
    then = json.loads(run("report", "month", "--as-of", f"2025-10-{day}", "--db", replayed, "--json").stdout)["totals"]
    by_day = json.loads(run("costs", "--by", "day", "--since", "2025-10-01", "--db", replayed, "--json").stdout)
    forecast, came = then["forecast"], by_day["totals"]
    assert then["to_date"]["cost_nanos"] == sum(
        row["cost_nanos"] for row in by_day["rows"] if row["date"] <= f"2025-10-{day}"
    )
    assert (forecast["method"], forecast["days_used"], forecast["remaining_days"]) == ("weekday means", 28, 31 - day)
    assert then["to_date"]["total_cost_usd"] < came["total_cost_usd"]
    assert forecast["low_usd"] <= came["total_cost_usd"] <= forecast["high_usd"]


def test_a_month_by_agent_and_model_ends_with_totals_and_what_the_forecast_rests_on(run: Run, replayed: Path) -> None:
    """The dearest first; the trace begins on the 17th of September."""
    result = run("report", "month", "--by", "model,agent", "--as-of", "2025-10-16", "--db", replayed)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert lines[0] == "2025-10 to 2025-10-16 (16.0 of 31 days, UTC) against 2025-09"
    assert lines[1].split()[:9] == ["model", "agent", "calls", "cost", "USD", "forecast", "low", "high", "2025-09"]
    assert lines[2].startswith("claude-3.5-sonnet")
    assert lines[-2].startswith("total")
    assert lines[-1].startswith("forecast  15.0 days left at ")
    assert "(weekday means of 28 complete days, 2025-09-19 to 2025-10-16); low to high holds" in lines[-1]
    assert "unpriced" not in result.stdout


def test_a_month_that_is_over_shows_no_forecast(run: Run, replayed: Path) -> None:
    """September by its name, and what October was not asked for."""
    result = run("report", "month", "--month", "2025-09", "--db", replayed)
    assert result.stdout.splitlines()[0] == "2025-09 to 2025-09-30 (30.0 of 30 days, UTC) against 2025-08"
    assert "forecast" not in result.stdout
    without = run("report", "month", "--as-of", "2025-10-16", "--no-forecast", "--db", replayed)
    assert "forecast" not in without.stdout
    found = json.loads(run("report", "month", "--month", "2025-09", "--db", replayed, "--json").stdout)
    with TelemetryLogger(replayed, retention_days=None) as telemetry:
        assert found == telemetry.get_month_report(month="2025-09")


def test_units_of_the_replayed_trace_add_up_to_its_costs(run: Run, replayed: Path) -> None:
    """Every call of the trace has a cost and tokens; none was tried again, none tells of a cache."""
    found = json.loads(run("report", "units", "--by", "model", "--db", replayed, "--json").stdout)
    costs = json.loads(run("costs", "--by", "model", "--db", replayed, "--json").stdout)
    assert [row["model_name"] for row in found["rows"]] == [row["model_name"] for row in costs["rows"]]
    assert [row["cost_nanos"] for row in found["rows"]] == [row["cost_nanos"] for row in costs["rows"]]
    totals = found["totals"]
    assert totals["usd_per_call"] == pytest.approx(totals["total_cost_usd"] / 1_000)
    assert totals["wasted_nanos"] == sum(row["wasted_nanos"] for row in found["rows"]) > 0
    assert totals["cache_saved_usd"] is None
    text = run("report", "units", "--by", "model", "--db", replayed).stdout.splitlines()
    assert text[0].split() == [
        "model",
        "calls",
        "cost",
        "USD",
        "per",
        "call",
        "per",
        "1k",
        "tokens",
        "per",
        "success",
        "failed",
        "wasted",
        "USD",
        "retried",
        "cache",
        "saved",
    ]
    assert text[-3].split()[:2] == ["total", "1,000"]
    assert text[-2].startswith("wasted on calls that did not succeed: ")


# An unknown price


@pytest.mark.parametrize("command", [("costs",), ("report", "month"), ("report", "units")])
def test_an_unknown_price_is_unknown_and_counted_in_every_table(
    run: Run, prices_known_and_not: Path, command: tuple[str, ...]
) -> None:
    """Never 0.0000: `unknown` for the model, and a number of unpriced calls beside it and the total."""
    lines = run(*command, "--by", "model", "--db", prices_known_and_not).stdout.splitlines()
    (heading,) = (line for line in lines if "unpriced" in line)
    rows = {line.split()[0]: line.split() for line in lines if line.startswith(("known ", "mystery", "total"))}
    assert "calls" in heading
    assert "unknown" in rows["mystery"]
    assert "0.0000" not in rows["mystery"]
    assert "unknown" not in rows["known"]
    assert rows["known"].count("0") >= 1


def test_statistics_of_an_unknown_model_have_an_unknown_cost(run: Run, prices_known_and_not: Path) -> None:
    """Null in JSON where the table says so, with the count of unpriced calls beside it."""
    arguments = ("stats", "--model", "mystery", "--db", prices_known_and_not)
    values = dict(line.split() for line in run(*arguments).stdout.splitlines()[1:-1])
    assert (values["total_cost_usd"], values["priced_invocations"]) == ("unknown", "0")
    found = json.loads(run(*arguments, "--json").stdout)
    assert (found["total_cost_usd"], found["unpriced_invocations"]) == (None, found["total_invocations"])


def test_single_calls_of_an_unknown_price_leave_it_open(run: Run, prices_known_and_not: Path) -> None:
    """A dash in the table, a name under `unknown`, an empty cell, null."""
    narrowed = ("--model", "mystery", "--limit", "1", "--db", prices_known_and_not)
    row = json.loads(run("invocations", *narrowed, "--json").stdout)[0]
    assert row["cost_usd"] is None
    assert run("invocations", *narrowed).stdout.splitlines()[1].split()[8] == "-"
    shown = run("show", row["id"], "--db", prices_known_and_not).stdout
    assert "cost_usd" in next(line for line in shown.splitlines() if line.startswith("unknown"))
    exported = run("export", "--model", "mystery", "--db", prices_known_and_not).stdout.splitlines()
    assert next(csv.DictReader(exported))["cost_usd"] == ""


def test_the_forecast_says_of_which_calls_it_is(run: Run, prices_known_and_not: Path) -> None:
    """Half of them; and there is none of the unknown model alone."""
    if TODAY.day == 1:
        pytest.skip("on the first of a month its unpriced calls may be the only ones")  # pragma: no cover
    assert "of the 50.0% of calls whose cost is known" in run("report", "month", "--db", prices_known_and_not).stdout
    alone = run("report", "month", "--model", "mystery", "--db", prices_known_and_not).stdout
    assert alone.splitlines()[-1] == "forecast  none: there is no complete day with a known cost to go by"


def test_coverage_lists_sources_and_unknown_models(run: Run, prices_known_and_not: Path) -> None:
    """Half is priced; the model that is not has its provider, calls, tokens, and when it was seen."""
    lines = run("costs", "--coverage", "--db", prices_known_and_not).stdout.splitlines()
    assert lines[0].split() == ["cost", "source", "calls", "priced", "tokens", "cost", "USD"]
    assert sorted(line.split() for line in lines[1:3]) == [
        ["reported", "41", "41", "20,500", "41.0000"],
        ["unknown", "41", "0", "20,500", "unknown"],
    ]
    assert lines[3] == "priced: 41 of 82 calls (50.0%), 20,500 of 41,000 tokens (50.0%)"
    assert lines[5].split()[:4] == ["mystery", "acme", "41", "20,500"]
    found = json.loads(run("costs", "--coverage", "--db", prices_known_and_not, "--json").stdout)
    with TelemetryLogger(prices_known_and_not, retention_days=None) as telemetry:
        assert found == telemetry.get_coverage() | EVER


def test_coverage_of_calls_that_know_nothing(run: Run, tmp_path: Path) -> None:
    """No source, no model, no tokens: said in words and dashes."""
    with TelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        telemetry.log_invocation(InvocationRecord(cost_source="unknown"))
        telemetry.log_invocation(InvocationRecord(cost_usd=1))
    lines = run("costs", "--coverage", "--db", tmp_path / "telemetry.db").stdout.splitlines()
    assert sorted(line.split() for line in lines[1:3]) == [
        ["not", "said", "1", "1", "0", "1.0000"],
        ["unknown", "1", "0", "0", "unknown"],
    ]
    assert lines[3] == "priced: 1 of 2 calls (50.0%), 0 of 0 tokens"
    assert lines[5].split()[:4] == ["-", "-", "1", "unknown"]


def test_everything_priced_has_no_list_of_unknown_models(run: Run, replayed: Path) -> None:
    """And no column for what does not occur."""
    lines = run("costs", "--coverage", "--db", replayed).stdout.splitlines()
    assert lines[-2].startswith("priced: 1,000 of 1,000 calls (100.0%)")
    assert "unpriced" not in run("costs", "--db", replayed).stdout


# What is missing, and what cannot be used


def test_deleted_calls_are_said_to_be_missing(run: Run, tmp_path: Path) -> None:
    """Under each report that needs the calls themselves, also where no call is left."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord(timestamp=datetime(2023, 1, 15, tzinfo=UTC), cost_usd=1))
        since = telemetry.purge(1).records_kept_since
        said = f"not counted: 1 call of which only daily totals are left; records are kept since {since} (UTC)"
        for command in (("report", "units"), ("costs", "--coverage")):
            assert run(*command, "--db", path).stdout.splitlines() == ["no such calls", said, "range: all times (UTC)"]
        telemetry.log_invocation(InvocationRecord(cost_usd=1))
        for command in (("report", "units"), ("costs", "--coverage")):
            assert run(*command, "--db", path).stdout.splitlines()[-2] == said
            assert "not counted" not in run(*command, "--since", since, "--db", path).stdout


def test_months_without_calls_say_so(run: Run, prices_known_and_not: Path) -> None:
    """No table without rows."""
    lines = run("report", "month", "--month", "2020-02", "--db", prices_known_and_not).stdout.splitlines()
    assert lines == ["2020-02 to 2020-02-29 (29.0 of 29 days, UTC) against 2020-01", "no calls in these months"]


def test_one_day_gives_a_forecast_without_a_range(run: Run, tmp_path: Path) -> None:
    """It does not tell how much days differ."""
    with TelemetryLogger(tmp_path / "telemetry.db", retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord(cost_usd=2, timestamp=datetime(2023, 1, 15, tzinfo=UTC)))
    lines = run("report", "month", "--as-of", "2023-01-15", "--db", tmp_path / "telemetry.db").stdout.splitlines()
    assert lines[2].split()[:5] == ["1", "2.0000", "34.0000", "-", "-"]
    assert lines[-1] == (
        "forecast  16.0 days left at 2.0000 USD (daily mean of 1 complete day, 2023-01-15 to 2023-01-15);"
        " one day does not tell how much days differ"
    )


def test_a_cache_without_prices_has_an_unknown_saving(run: Run, tmp_path: Path) -> None:
    """No model of a known price: counted, not zero; a cache that was not used saved nothing."""
    with TelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        for agent, cached in (("a", 50), ("b", 0)):
            telemetry.log_invocation(
                InvocationRecord(agent_name=agent, model_name="mystery", prompt_tokens=100, completion_tokens=1,
                                 cache_read_tokens=cached, cost_usd=1)
            )  # fmt: skip
    lines = run("report", "units", "--by", "agent", "--db", tmp_path / "telemetry.db").stdout.splitlines()
    rows = {line.split()[0]: line.split() for line in lines}
    assert (rows["a"][-1], rows["b"][-1], rows["total"][-1]) == ("unknown", "0.0000", "unknown")
    assert lines[-2] == "cache: not known what it saved in 1 of 1 calls that used one (100.0%)"


def test_caches_save_by_the_prices_of_models_yaml_and_cost_where_writing_is_dear(run: Run, tmp_path: Path) -> None:
    """80 of 100 tokens at 1 in place of 10 USD a million; then the same number written at 20."""
    models = tmp_path / "models.yaml"
    models.write_text(
        "models:\n  mystery:\n    cost_per_1m_tokens: {input: 10, output: 10, cached_input: 1, cache_write: 20}\n"
    )
    with TelemetryLogger(tmp_path / "telemetry.db", models=models) as telemetry:
        for agent, part in (("reader", "cache_read_tokens"), ("writer", "cache_write_tokens")):
            telemetry.log_invocation(
                InvocationRecord(agent_name=agent, model_name="mystery", prompt_tokens=1_000_000, completion_tokens=1,
                                 **{part: 800_000})
            )  # fmt: skip
        from_face = telemetry.get_unit_costs(("agent",))
    arguments = ("report", "units", "--by", "agent", "--db", tmp_path / "telemetry.db", "--models", models)
    assert json.loads(run(*arguments, "--json").stdout) == from_face | EVER
    lines = run(*arguments).stdout.splitlines()
    rows = {line.split()[0]: line.split()[-1] for line in lines}
    assert (rows["reader"], rows["writer"], rows["total"]) == ("7.2000", "-8.0000", "-0.8000")
    assert lines[-2] == "cache: writing to it cost more than reading from it saved"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("report", "month", "--month", "2026-13"), "month: '2026-13' is not usable; give a month from 1970-01 to "),
        (("report", "month", "--month", "2025-01", "--as-of", "2025-01-03"), "--month and --as-of both say the month"),
        (("report", "month", "--as-of", "2999-01-01"), "give a day from 1970-01-01 to "),
        (
            ("report", "month", "--by", "day"),
            "this command groups by agent, tool, model; give: llm-telemetry query --db ",
        ),
        (("report", "units", "--by", "agent,agent"), "each once"),
        (("report", "units", "--by", "user"), "groups by agent, tool, model, request_model; give: llm-telemetry query"),
        (
            ("report", "month", "--where", "user=ada"),
            "user: daily totals have agent, tool and model alone; give: llm-tele",
        ),
        (("costs", "--coverage", "--by", "day"), "--coverage has rows of its own; leave out --by"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_exit_code_2(
    run: Run, database: Path, arguments: tuple[Any, ...], message: str
) -> None:
    """Naming the option, the value and the remedy."""
    result = run(*arguments, "--db", database)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("command", [("report", "month"), ("report", "units"), ("costs", "--coverage")])
def test_a_file_that_is_missing_is_an_error_and_stays_missing(
    run: Run, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """Reading creates nothing."""
    result = run(*command, "--db", tmp_path / "none.db")
    assert (result.exit_code, list(tmp_path.iterdir())) == (1, [])
    assert "does not exist" in result.stderr
