"""`prices` says what a model costs and why; `reprice` makes stored costs agree with it."""

import json
import os
import sqlite3
import sys
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llm_service.extras import install
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def no_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A home without settings, and none in the environment."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in [name for name in os.environ if name.startswith("LLM_TELEMETRY")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models.yaml of one's own."""
    path = tmp_path / "prices.yaml"
    path.write_text(
        "models:\n"
        "  lark:\n"
        "    provider: aviary\n"
        "    aliases: [skylark]\n"
        "    cost_per_1k_tokens:\n"
        "      {input: 0.003, output: 0.015, tiers: [{above_prompt_tokens: 200000, input: 0.006, output: 0.0225}]}\n",
        encoding="utf-8",
    )
    return path


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Three calls: without a cost, without a price, and with a cost that was told."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as logger:
        for name, cost in (("lark", None), ("wren", None), ("lark", 9)):
            logger.log_invocation(
                InvocationRecord(
                    model_name=name,
                    prompt_tokens=1000,
                    completion_tokens=200,
                    cost_usd=cost,
                    timestamp=datetime(2026, 3, 1, tzinfo=UTC),
                )
            )
    return path


def costs(path: Path) -> list[Any]:
    """Cost and source of each call."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT cost_usd, cost_source FROM invocations ORDER BY id").fetchall()


def test_a_price_is_shown_by_a_million_and_by_a_thousand_with_its_source(run: Run) -> None:
    """And what the name stands for."""
    shown = run("prices", "openai/gpt-4o-2024-08-06").stdout
    for words in ("resolved to", "gpt-4o", "openai", "genai-prices 0.", "2.5", "0.0025", "cached input", "1.25"):
        assert words in shown
    assert "prompts" not in shown


def test_tiers_are_shown_each_with_its_bound(run: Run, models: Path) -> None:
    """From a models.yaml; an alias resolves to the name."""
    shown = run("prices", "SkyLark", "--models", models).stdout
    assert "resolved to  lark" in shown
    assert f"source       {models}" in shown
    assert "prompts  up to 200,000 tokens\n" in shown
    assert "prompts  above 200,000 tokens: the whole call pays" in shown
    assert "22.5" in shown
    assert "0.0225" in shown


def test_it_is_told_up_to_which_prompt_a_price_is_known(run: Run) -> None:
    """Where another list takes more for longer ones."""
    assert "prompts  above 128,000 tokens: unknown" in run("prices", "grok-4").stdout


def test_the_oldest_day_is_written_in_full(run: Run) -> None:
    """Also as JSON."""
    arguments = ("prices", "o3", "--at", "0001-01-01")
    assert "at           0001-01-01 00:00:00 UTC\n" in run(*arguments).stdout
    assert json.loads(run(*arguments, "--json").stdout)["at"] == "0001-01-01 00:00:00Z"


def test_the_price_of_a_service_tier_is_shown(run: Run) -> None:
    """A tier that nobody publishes a price of is unknown."""
    arguments = ("prices", "claude-sonnet-4-5", "--at", "2026-11-01", "--service-tier")
    shown = run(*arguments, "batch").stdout
    assert "service tier  batch" in shown
    assert "cache write 1h" in shown
    found = json.loads(run(*arguments, "batch", "--json").stdout)
    assert found["service_tier"] == "batch"
    assert [found["tiers"][0]["usd_per_1m_tokens"][kind] for kind in ("input", "cache_write_1h")] == [1.5, 3]
    unknown = run(*arguments, "priority")
    assert unknown.exit_code == 1
    assert "claude-sonnet-4-5 at service tier priority at 2026-11-01" in unknown.stderr


def test_the_price_of_a_day_is_shown(run: Run) -> None:
    """`--at`: o3 before and after its cut of 2025-06-10."""
    before = json.loads(run("prices", "o3", "--at", "2025-06-09", "--json").stdout)
    after = json.loads(run("prices", "o3", "--at", "2025-06-10", "--json").stdout)
    assert before["tiers"][0]["usd_per_1m_tokens"]["input"] == 10
    assert after["tiers"][0]["usd_per_1m_tokens"]["input"] == 2
    assert after["tiers"][0]["usd_per_1k_tokens"] == {
        "input": 0.002,
        "output": 0.008,
        "cached_input": 0.0005,
        "cache_write": None,
        "reasoning": None,
        "cache_write_1h": None,
    }
    assert (before["model"], before["resolved_to"], before["provider"], before["at"]) == (
        "o3",
        "o3",
        "openai",
        "2025-06-09 00:00:00Z",
    )


def test_a_model_without_a_price_is_an_error_of_one_line(run: Run) -> None:
    """Never a guess; the remedy is named."""
    for arguments, hint in (
        (("gpt-4o-ultra-9000",), "or give --provider"),
        (("gpt-4o", "--provider", "my-gateway"), "of my-gateway"),
        (("gpt-4o", "--provider", ""), "gpt-4o of '' at 20"),
    ):
        result = run("prices", *arguments)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: no price is known for ")
        assert hint in result.stderr
        assert "models.yaml" in result.stderr
        assert result.stdout == ""


def test_an_explanation_names_entry_rule_time_and_what_was_passed_over(run: Run, models: Path) -> None:
    """In text and as JSON; nothing is passed over where the first list has it."""
    shown = run("prices", "gpt-5.6-sol", "--at", "2026-08-20", "--explain", "--models", models).stdout
    assert "rule         the entry spells out gpt-5.6-sol\n" in shown
    assert "since        2025-07-01 00:00:00 UTC\n" in shown
    assert "until        2026-08-21 00:00:00 UTC\n" in shown
    assert "no model of the file has this name" in shown
    found = json.loads(run("prices", "gpt-5.6-sol", "--at", "2026-08-22", "--explain", "--json").stdout)
    assert found["explanation"] == {
        "rule": "the entry spells out gpt-5.6-sol",
        "since": "2026-08-21 00:00:00Z",
        "until": None,
        "passed_over": [],
    }
    assert "explanation" not in json.loads(run("prices", "gpt-5.6-sol", "--json").stdout)


def test_what_is_unknown_is_explained_and_still_an_error(run: Run) -> None:
    """What was looked at goes to the output, the error beside it; without it the way to it is named."""
    arguments = ("prices", "eu.amazon.nova-pro-v1:0")
    plain = run(*arguments)
    assert (plain.exit_code, plain.stdout) == (1, "")
    assert "--explain says what was looked at" in plain.stderr
    assert "--provider" not in plain.stderr, "the name says who sells it"
    text, as_json = run(*arguments, "--explain"), run(*arguments, "--explain", "--json")
    assert text.exit_code == as_json.exit_code == 1
    assert "its price is of other regions than eu" in text.stdout
    found = json.loads(as_json.stdout)
    assert (found["resolved_to"], found["source"], found["tiers"]) == (None, None, [])
    (passed,) = found["explanation"]["passed_over"]
    assert (passed["provider"], passed["entry"]) == ("aws", "amazon.nova-pro-v1:0")
    assert found["explanation"]["rule"] is found["explanation"]["since"] is None


def test_the_models_beside_the_configuration_count(run: Run, tmp_path: Path, models: Path) -> None:
    """Or those that the environment names; `--provider` tells who serves."""
    (tmp_path / "there").mkdir()
    models.rename(tmp_path / "there" / "models.yaml")
    config = tmp_path / "there" / "telemetry.yaml"
    config.write_text("db_path: ./t.db\n", encoding="utf-8")
    assert run("prices", "lark").exit_code == 1
    assert run("prices", "lark", "--config", config).exit_code == 0
    assert run("prices", "lark", "--config", config, "--provider", "aviary").exit_code == 0
    assert run("prices", "lark", "--config", config, "--provider", "another").exit_code == 1


def test_a_models_file_that_cannot_be_used_is_an_error_of_one_line(run: Run, models: Path) -> None:
    """With file and line."""
    models.write_text("models:\n  lark: {cost_per_1k_tokens: {input: -1, output: 2}}\n", encoding="utf-8")
    result = run("prices", "lark", "--models", models)
    assert result.exit_code == 1
    assert f"{models}:2" in result.stderr


def test_stored_costs_are_computed_anew_and_it_says_what_changed(run: Run, db: Path, models: Path) -> None:
    """A dry run changes nothing and says the same."""
    before = costs(db)
    dry = run("reprice", "--db", db, "--models", models, "--dry-run")
    assert (dry.exit_code, costs(db)) == (0, before)
    assert "would be priced   1 call that had no cost" in dry.stdout
    shown = run("reprice", "--db", db, "--models", models)
    assert costs(db) == [(0.006, "computed"), (None, "unknown"), (9.0, None)]
    assert "examined       2 calls" in shown.stdout
    assert "priced         1 call that had no cost" in shown.stdout
    assert "$0.000000000 before, $0.006000000 after" in shown.stdout
    assert "wren" in shown.stdout
    assert "percent examined: 100 of 100" in shown.stderr
    assert run("doctor", "--db", db, "--ignore", "wal_reset_bug", "--ignore", "disk_low").exit_code == 0


def test_a_repricing_as_json_is_one_object(run: Run, db: Path, models: Path) -> None:
    """USD as numbers, models without a price by name."""
    found = json.loads(run("reprice", "--db", db, "--models", models, "--json", "--only", "unknown").stdout)
    assert found == {
        "db_path": str(db),
        "dry_run": False,
        "since": None,
        "until": None,
        "time_zone": "UTC",
        "examined": 2,
        "priced": 1,
        "changed": 0,
        "unknown": 1,
        "kept": 0,
        "not_run": 0,
        "usd_before": 0.0,
        "usd_after": 0.006,
        "unpriced_models": [{"model_name": "wren", "provider": None, "service_tier": None, "invocations": 1}],
    }
    again = json.loads(run("reprice", "--db", db, "--models", models, "--json").stdout)
    assert (again["priced"], again["changed"]) == (0, 0)


def test_only_calls_since_a_time_are_repriced(run: Run, db: Path, models: Path) -> None:
    """A day or a moment."""
    for since, examined in (("2026-03-02", 0), ("2026-03-01T00:00:00.000001Z", 0), ("2026-03-01", 2)):
        found = json.loads(
            run("reprice", "--db", db, "--models", models, "--since", since, "--dry-run", "--json").stdout
        )
        assert found["examined"] == examined


def test_a_file_without_unknown_models_has_no_table(run: Run, tmp_path: Path, models: Path) -> None:
    """Nothing to say, nothing said."""
    TelemetryLogger(tmp_path / "t.db").close()
    shown = run("reprice", "--db", tmp_path / "t.db", "--models", models).stdout
    assert "no price for" not in shown


def test_repricing_a_file_that_is_missing_is_an_error(run: Run, tmp_path: Path) -> None:
    """And makes none."""
    result = run("reprice", "--db", tmp_path / "nowhere.db")
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert not (tmp_path / "nowhere.db").exists()


def test_a_dead_letter_is_priced_as_the_loggers_would(run: Run, db: Path, tmp_path: Path, models: Path) -> None:
    """With the models.yaml that they find."""
    (tmp_path / "config").mkdir()
    models.rename(tmp_path / "config" / "models.yaml")
    with closing(sqlite3.connect(db, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record) VALUES ('2026', 'l', 'e', ?)",
            (
                json.dumps(
                    {"invocation_id": "l", "model_name": "lark", "prompt_tokens": 1000, "completion_tokens": 200}
                ),
            ),
        )
    assert run("dead-letters", "retry", "--all", "--db", db).exit_code == 0
    assert costs(db)[-1] == (0.006, "computed")


def test_without_the_extra_every_report_says_so(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Rather than to write every model of the world into models.yaml; a logger says it once."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    missing = f"genai-prices is not installed: {install('prices')}"
    path = tmp_path / "unpriced.db"
    with TelemetryLogger(path) as logger:
        for model in ("gpt-5", "gpt-5", "gpt-5-mini", None):
            logger.log_invocation(InvocationRecord(model_name=model, prompt_tokens=1, completion_tokens=1))
    said = [record.message for record in caplog.records]
    assert said == [f"telemetry: a call has no price, {missing}; then price what is stored: llm-telemetry reprice"]
    assert run("prices", "gpt-5").stderr == (
        f"Error: no price is known for gpt-5: {missing}, or write it into models.yaml\n"
    )
    estimated = run("estimate", "--model", "gpt-5", "--prompt-tokens", 9, "--db", path).stdout
    assert f"unknown: {missing}, or write it into models.yaml\n" in estimated
    costs = run("costs", "--db", path)
    assert (
        costs.stderr == f"no price is known: {missing}; then price what is stored: llm-telemetry reprice --db {path}\n"
    )


def test_costs_that_are_all_known_need_no_extra(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is told of a package that nothing lacks; nor is a logger without bundled prices."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    path = tmp_path / "priced.db"
    with TelemetryLogger(path) as logger:
        logger.log_invocation(InvocationRecord(model_name="gpt-5", cost_usd=0.1))
    assert run("costs", "--db", path).stderr == ""


@pytest.mark.parametrize(
    ("typed", "meant"), [("gpt-5-mni", "gpt-5-mini"), ("claude-sonet-4-5", "claude-sonnet-4-5"), ("larkk", "lark")]
)
def test_a_name_that_is_misspelled_is_told_what_it_may_mean(run: Run, models: Path, typed: str, meant: str) -> None:
    """Of the data, and of models.yaml."""
    result = run("prices", typed, "--models", models)
    assert result.exit_code == 1
    assert f"; did you mean {meant}?" in result.stderr
    assert "did you mean" not in run("prices", "sonar", "--provider", "perplexity").stderr  # known, and without a price
