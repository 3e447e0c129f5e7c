"""`budgets` as a user runs it: how limits stand, whether a call fits, and holds that are freed by hand."""

import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from tests.integration.cli.every_command import commands

from llm_service import errors
from llm_service.budgets.scopes import FIELDS
from llm_service.cli import command_budgets
from llm_service.cli.budget_views import amount
from llm_service.cli.commands import cli
from llm_service.cli.options import SCOPED
from llm_service.errors import (
    BudgetError,
    BudgetExceeded,
    BudgetUnreadableError,
    JustificationNeededError,
    UnknownPriceError,
    UnknownTokensError,
)
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]
COMMANDS = dict(commands())
POLICIES = """
policies:
  default: {daily_budget_usd: 5}
  production: {monthly_budget_usd: 50}
  backend:
    scope: {agent: "backend-*"}
    per: [agent, user]
    total_budget_usd: 2
    limits: [{window: 24h, tokens: 10000, calls: 3}]
  watched: {scope: {model: "gpt-*"}, daily_budget_usd: 0.5, limit: {type: soft}}
"""
NUMBERS = "$5.0000 limit, $0.6000 spent, $0.0000 reserved, $0.0000 unknown, $4.4000 asked"


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the developer's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for name in ("LLM_TELEMETRY_CONFIG", "LLM_TELEMETRY_POLICIES"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def policies(tmp_path: Path) -> Path:
    """Four policies."""
    path = tmp_path / "policies.yaml"
    path.write_text(POLICIES)
    return path


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Calls of now: one priced, two not; written without any policies."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path) as telemetry:
        telemetry.log_invocation(
            InvocationRecord(
                agent_name="backend-dev", user_id="ada", model_name="gpt-x", cost_usd=0.6, total_tokens=900
            )
        )
        telemetry.log_invocation(InvocationRecord(agent_name="backend-ops", model_name="zoo"))
        telemetry.log_invocation(InvocationRecord(agent_name="tester", model_name="zoo"))
    return path


def rows(result: Result) -> dict[tuple[str, ...], dict[str, Any]]:
    """The rows of a status as JSON, by budget, window, metric and subject."""
    found = json.loads(result.stdout)
    return {(row["budget"], row["window"], row["metric"], *row["subject"]): row for row in found}


def held(db: Path, policies: Path, usd: float, **names: str) -> str:
    """The id of a hold that was given up."""
    with TelemetryLogger(db, policies=policies) as telemetry:
        hold = telemetry.budgets.reserve(tokens=0, usd=usd, **names)
        hold.give_up()
        return hold.hold_id


def test_limits_of_a_new_policies_file_know_what_was_spent_already(run: Run, db: Path, policies: Path) -> None:
    """Each of them, with a row for each subject."""
    result = run("budgets", "--db", db, "--policies", policies, "--json")
    assert (result.exit_code, result.stderr) == (0, "")
    found = rows(result)
    assert set(found) == {
        ("default", "day", "usd"),
        ("backend", "total", "usd", "backend-dev", "ada"), ("backend", "total", "usd", "backend-ops", ""),
        ("backend", "24h", "tokens", "backend-dev", "ada"), ("backend", "24h", "tokens", "backend-ops", ""),
        ("backend", "24h", "calls", "backend-dev", "ada"), ("backend", "24h", "calls", "backend-ops", ""),
        ("watched", "day", "usd"),
    }  # fmt: skip
    day = found["default", "day", "usd"]
    assert (day["spent"], day["calls"], day["unpriced_calls"], day["used_percent"]) == (0.6, 3, 2, 12.0)
    assert (day["hard"], day["limit"], day["left"]) == (True, 5, 4.4)
    assert found["watched", "day", "usd"]["fits"] is False


def test_the_table_shows_what_is_unknown_as_unknown(run: Run, db: Path, policies: Path) -> None:
    """Unpriced calls are counted, and their spend is never $0."""
    held(db, policies, 1.2, agent_name="backend-dev", user_id="ada")
    lines = run("budgets", "--db", db, "--policies", policies).stdout.splitlines()
    assert lines[0].split() == [
        "budget", "window", "subject", "limit", "spent", "reserved", "unknown", "unpriced", "left", "used",
        "forecast", "resets", "(UTC)",
    ]  # fmt: skip
    by_start = {" ".join(line.split()[:3]): line.split() for line in lines[1:]}
    assert by_start["default day $5.0000"][2:9] == ["$5.0000", "$0.6000", "$0.0000", "$1.2000", "2", "$3.2000", "36.0%"]
    unpriced = next(line.split() for line in lines if "backend-ops" in line and "total" in line)
    assert unpriced[2:] == [
        "backend-ops,",
        "-",
        "$2.0000",
        "unknown",
        "$0.0000",
        "$0.0000",
        "1",
        "$2.0000",
        "0.0%",
        "-",
        "never",
    ]
    tokens = next(line.split() for line in lines if "backend-dev" in line and "tokens" in line)
    assert tokens[4:] == ["10,000", "tokens", "900", "0", "0", "0", "9,100", "9.0%", "-", "rolling"]
    assert any(line.startswith("watched (soft)") for line in lines)


def test_full_limits_stand_out_where_there_are_colours(db: Path, policies: Path) -> None:
    """Red where nothing is left, yellow from 80 %."""
    held(db, policies, 1.1, agent_name="backend-dev", user_id="ada")  # 1.7 of 2
    result = CliRunner().invoke(
        cli, ["budgets", "--db", str(db), "--policies", str(policies)], env={"FORCE_COLOR": "1", "NO_COLOR": ""}
    )
    assert "\x1b[31mwatched (soft)" in result.stdout
    assert "\x1b[33mbackend " in result.stdout


@pytest.mark.parametrize(("name", "first"), [(None, "default"), ("production", "production")])
def test_the_policy_without_a_scope_is_chosen_by_name(
    run: Run, db: Path, policies: Path, name: str | None, first: str
) -> None:
    """And the others are not shown."""
    chosen = () if name is None else ("--policy", name)
    found = rows(run("budgets", "--db", db, "--policies", policies, *chosen, "--json"))
    assert {key[0] for key in found} == {first, "backend", "watched"}
    assert run("budgets", "--db", db, "--policies", policies, "--policy", "prod").exit_code == 1


def test_policies_are_found_where_the_configuration_is(run: Run, db: Path, policies: Path, tmp_path: Path) -> None:
    """Beside the telemetry.yaml that is given; or by the variable."""
    (tmp_path / "telemetry.yaml").write_text(f"db_path: {db}\n")
    assert rows(run("budgets", "--config", tmp_path / "telemetry.yaml", "--json"))
    policies.rename(tmp_path / "elsewhere.yaml")
    result = run("budgets", "--db", db)
    assert result.exit_code == 1
    assert "there is no policies.yaml" in result.stderr
    assert "write `policies: {default: {daily_budget_usd: 10}}` into config/policies.yaml" in result.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LLM_TELEMETRY_POLICIES", str(tmp_path / "elsewhere.yaml"))
        assert rows(run("budgets", "--db", db, "--json"))


def test_a_file_that_is_missing_is_not_made(run: Run, policies: Path, tmp_path: Path) -> None:
    """A mistyped path is an error, for each of the commands."""
    absent = tmp_path / "absent.db"
    for arguments in (("budgets",), ("budgets", "check"), ("budgets", "holds"), ("budgets", "release", "x"),
                      ("budgets", "reconcile", "x", "--usd", "1")):  # fmt: skip
        given = () if arguments[-1] in {"holds", "x", "1"} else ("--policies", policies)
        result = run(*arguments, "--db", absent, *given)
        assert result.exit_code == 1
        assert "does not exist" in result.stderr
    assert not absent.exists()


def test_without_limits_and_subjects_the_table_says_so(run: Run, db: Path, tmp_path: Path) -> None:
    """An empty table would say nothing."""
    (tmp_path / "empty.yaml").write_text("policies: {}\n")
    assert run("budgets", "--db", db, "--policies", tmp_path / "empty.yaml").stdout.startswith("no limits")


def test_options_before_a_command_are_refused(run: Run, db: Path) -> None:
    """They would be lost in silence."""
    result = run("budgets", "--db", db, "holds")
    assert result.exit_code == 2
    assert "give options after the command they are for: budgets holds" in result.stderr


# check


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--estimate", "4.4"), 0, "fits: 1 hard limit\n"),
        (("--estimate", "4.400000001"), 3, f"does not fit: budget default, day: {NUMBERS}; it resets at "),
        (("--estimate", "1.5", "--agent", "backend-dev", "--user", "ada"), 3,
         "does not fit: budget backend of backend-dev, ada, total: $2.0000 limit"),
        (("--estimate", "1.5", "--agent", "backend-dev", "--user", "bob"), 0, "fits: 4 hard limits\n"),
        (("--estimate", "0.1", "--agent", "backend-dev", "--user", "ada", "--tokens", "9101"), 3,
         "24h: 10,000 tokens limit, 900 spent, 0 reserved, 0 unknown, 9,101 tokens asked"),
        (("--estimate", "0.1", "--model", "gpt-y"), 0, "over a soft limit: budget watched, day: $0.5000 limit"),
        (("--estimate", "0.1", "--tool", "t", "--session", "s", "--run", "r"), 0, "fits: 1 hard limit\n"),
        ((), 3, "would not be let through: budget default: what a call of None costs at most is unknown"),
    ],
)  # fmt: skip
def test_check_says_whether_a_call_would_fit_and_ends_so(
    run: Run, db: Path, policies: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """0 or 3, with the limit that is in the way; nothing is reserved."""
    result = run("budgets", "check", *arguments, "--db", db, "--policies", policies)
    assert (result.exit_code, result.stderr) == (code, "")
    assert said in result.stdout
    assert run("budgets", "holds", "--db", db).stdout == "nothing is held\n"


def test_check_as_json_has_every_limit(run: Run, db: Path, policies: Path) -> None:
    """For a program that decides by itself."""
    given = ("--db", db, "--policies", policies, "--json", "--agent", "backend-dev", "--user", "ada")
    arguments = ("budgets", "check", *given)
    result = run(*arguments, "--estimate", "1.5")
    found = json.loads(result.stdout)
    assert result.exit_code == 3
    assert found["asked"] == {"usd": 1.5, "tokens": 0, "calls": 1}
    assert (found["fits"], found["error"]) == (False, None)
    assert [(row["budget"], row["metric"], row["fits"]) for row in found["limits"]] == [
        ("default", "usd", True), ("backend", "usd", False), ("backend", "tokens", True), ("backend", "calls", True)
    ]  # fmt: skip
    unknown = json.loads(run(*arguments).stdout)
    assert (unknown["fits"], unknown["limits"], unknown["asked"]["usd"]) == (False, [], None)
    assert "what a call of None costs at most is unknown" in unknown["error"]


def test_check_where_no_budget_covers_the_call(run: Run, db: Path, tmp_path: Path) -> None:
    """It fits, and says why."""
    (tmp_path / "p.yaml").write_text("policies: {x: {scope: {agent: x}, daily_budget_usd: 1, unknown_price_usd: 2}}\n")
    given = ("budgets", "check", "--db", db, "--policies", tmp_path / "p.yaml")
    assert run(*given, "--estimate", "9").stdout == "fits: no budget covers it\n"
    result = run(*given, "--agent", "x")
    assert result.exit_code == 3
    assert "what the policies say of an unknown price asked" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(("--estimate", "much"), "'much' is no amount"), (("--estimate", "-1"), "--estimate"), (("--estimate", "NaN"), "'NaN' is no amount"),
     (("--estimate", "1", "--tokens", "-1"), "tokens"), (("--tokens", "x"), "--tokens")],
)  # fmt: skip
def test_check_refuses_what_no_call_can_cost(
    run: Run, db: Path, policies: Path, arguments: tuple[str, ...], said: str
) -> None:
    """With option or field, value and remedy."""
    result = run("budgets", "check", "--db", db, "--policies", policies, *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


# Holds


def test_holds_are_listed_with_what_they_are_for(run: Run, db: Path, policies: Path) -> None:
    """Open ones, unknown ones, and those whose lease is over."""
    with TelemetryLogger(db, policies=policies) as telemetry:
        telemetry.budgets.reserve(usd=1, tokens=50, agent_name="backend-dev", justification="because")
        telemetry.budgets.reserve(usd=0.00001).give_up()
        telemetry.budgets.reserve(usd=0.5)
    with closing(sqlite3.connect(db)) as connection:
        past = (datetime.now(UTC) - timedelta(hours=1)).strftime("%Y-%m-%d %H:%M:%S.000000Z")
        connection.execute("UPDATE budget_holds SET expires_at = ? WHERE nanos = 500000000", (past,))
        connection.commit()
    lines = run("budgets", "holds", "--db", db).stdout.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["held", "unknown", "lease"]
    assert lines[1].endswith("$1.0000      50  agent backend-dev  because")
    assert "$0.000010000" in lines[2]
    found = json.loads(run("budgets", "holds", "--db", db, "--json").stdout)
    assert [(hold["usd"], hold["state"], hold["expired"]) for hold in found] == [
        (1, "held", False), (0.00001, "unknown", False), (0.5, "held", True)
    ]  # fmt: skip


def test_a_file_of_the_first_version_holds_nothing(run: Run, db: Path) -> None:
    """It is only read."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("DROP TABLE budget_holds")
    assert run("budgets", "holds", "--db", db).stdout == "nothing is held\n"


def test_holds_are_released_by_name(run: Run, db: Path, policies: Path) -> None:
    """A name that is none is an error, and the others are freed all the same."""
    one, other, third = (held(db, policies, 1) for _ in range(3))
    assert run("budgets", "release", one, "--db", db).stdout == "released 1\n"
    result = run("budgets", "release", other, "absent", one, "--db", db, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == {"released": [other]}
    assert f"there is no hold absent, {one}; see: llm-telemetry budgets holds" in result.stderr
    assert [hold["hold_id"] for hold in json.loads(run("budgets", "holds", "--db", db, "--json").stdout)] == [third]
    assert run("budgets", "release", "--db", db).exit_code == 2


def test_all_of_unknown_outcome_are_released_at_once(run: Run, db: Path, policies: Path) -> None:
    """As after an hour of a provider that was down; what is under way stays."""
    unknown = sorted(held(db, policies, 0.5) for _ in range(3))
    with TelemetryLogger(db, policies=policies) as telemetry:
        telemetry.budgets.reserve(usd=1).settle(InvocationRecord(invocation_id="unpriced", agent_name="tester"))
        running = telemetry.budgets.reserve(usd=1).hold_id
    released = json.loads(run("budgets", "release", "--all", "--db", db, "--json").stdout)["released"]
    assert sorted(released) == sorted([*unknown, "unpriced"])
    assert [hold["hold_id"] for hold in json.loads(run("budgets", "holds", "--db", db, "--json").stdout)] == [running]
    assert run("budgets", "release", "--all", "--db", db).stdout == "released 0\n"
    assert run("budgets", "release", "--all", running, "--db", db).exit_code == 2


def test_what_is_counted_for_limits_that_programs_alone_know_is_shown(run: Run, db: Path, policies: Path) -> None:
    """Without any policies.yaml and beside another one; else it would look as if nothing were limited."""
    with TelemetryLogger(db, policies=policies) as telemetry:
        telemetry.budgets.reserve(usd=1, tokens=0, agent_name="backend-dev", user_id="ada").give_up()
        stored = telemetry.budgets.status()
    result = run("budgets", "--db", db)
    assert result.exit_code == 0
    assert "not known here" in result.stdout
    assert "$0.6000, 900 tokens, 3 calls" in result.stdout
    assert "agent backend-*" in result.stdout
    assert "--policies FILE" in result.stdout
    assert "programs gave in Python" in result.stdout
    shown = run("watch", "--db", db).stdout
    assert ("not known here" in shown, "--policies FILE" in shown) == (True, True)
    shown = run("watch", "--db", db, "--policies", policies).stdout
    assert ("not known here" in shown, "--policies FILE" in shown) == (False, False)
    assert "backend-dev, ada" in shown
    found = json.loads(run("budgets", "--db", db, "--json").stdout)
    assert (
        {row["limit"] for row in found} == {row["budget"] for row in found} == {row["fits"] for row in found} == {None}
    )
    windows = {
        (row["window"], *row["subject"]): (row["spent"], row["unknown"]) for row in stored if row["metric"] == "usd"
    }
    shown = {(row["window"], *row["subject"]): (row["spent"], row["unknown"]) for row in found}
    assert windows.items() <= shown.items()
    assert set(stored[0]) <= set(found[0])
    other = policies.with_name("other.yaml")
    other.write_text("policies: {default: {daily_budget_usd: 5}, later: {total_budget_usd: 9}}")
    both = json.loads(run("budgets", "--db", db, "--policies", other, "--json").stdout)
    assert [row["limit"] for row in both][:2] == [5, None]
    assert len(both) == len(found)  # the day is named, the others are not
    named = json.loads(run("budgets", "--db", db, "--policies", policies, "--json").stdout)
    assert None not in {row["limit"] for row in named}
    assert run("budgets", "--db", db, "--policy", "production").exit_code == 1
    assert run("budgets", "check", "--db", db).exit_code == 1


def test_a_hold_is_reconciled_with_what_the_bill_says(run: Run, db: Path, policies: Path) -> None:
    """Also where the record is stored and only its cost is unknown; then it is known everywhere."""
    lost = held(db, policies, 1)
    with TelemetryLogger(db, policies=policies) as telemetry:
        unpriced = telemetry.budgets.reserve(usd=1)
        unpriced.settle(InvocationRecord(invocation_id="unpriced", agent_name="tester"))
        open_hold = telemetry.budgets.reserve(usd=1).hold_id
    assert "cost unknown" in run("budgets", "holds", "--db", db).stdout
    assert run("budgets", "reconcile", lost, "--usd", "0.17", "--db", db).stdout == f"reconciled {lost}: $0.17\n"
    found = json.loads(run("budgets", "reconcile", "unpriced", "--usd", "0.25", "--db", db, "--json").stdout)
    assert found == {"hold_id": "unpriced", "usd": 0.25}
    day = rows(run("budgets", "--db", db, "--policies", policies, "--json"))["default", "day", "usd"]
    assert (day["spent"], day["unknown"], day["reserved"], day["unpriced_calls"]) == (pytest.approx(1.02), 0, 1, 2)
    for hold_id, usd, said, code in (
        (lost, "1", "there is no such hold", 1),
        (open_hold, "1", "under way", 1),
        (lost, "x", "amount", 2),
    ):
        result = run("budgets", "reconcile", hold_id, "--usd", usd, "--db", db)
        assert result.exit_code == code
        assert said in result.stderr


def test_a_hold_that_is_settled_while_it_is_reconciled_is_said(
    run: Run, db: Path, policies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 1: there was nothing left to do."""
    lost = held(db, policies, 1)
    monkeypatch.setattr("llm_service.telemetry.client.budgets_api.Budgets.reconcile", lambda *_: False)
    result = run("budgets", "reconcile", lost, "--usd", "1", "--db", db)
    assert (result.exit_code, "was settled meanwhile" in result.stderr) == (1, True)


def test_amounts_too_small_for_four_digits_are_shown_whole() -> None:
    """A nano-dollar is not nothing."""
    assert [amount("usd", value) for value in (0, 0.0001, 0.000000001, -0.5, 1234.5)] == [
        "$0.0000", "$0.0001", "$0.000000001", "$-0.5000", "$1,234.5000"
    ]  # fmt: skip
    assert amount("tokens", 1234) == "1,234"


@pytest.mark.parametrize(
    "command",
    [(), ("check", "--estimate", "0.1"), ("check",), ("holds",)],
    ids=["status", "check", "check without an estimate", "holds"],
)
def test_a_draft_of_policies_leaves_no_trace(run: Run, db: Path, policies: Path, command: tuple[str, ...]) -> None:
    """What only reads changes no byte, and still counts what its limits are new for."""
    held(db, policies, 0.125, agent_name="backend-dev", user_id="ada")
    draft = db.with_name("draft.yaml")
    draft.write_text(
        "policies:\n  default: {weekly_budget_usd: 7, limits: [{window: 90m, usd: 8}], total_budget_usd: 9}\n"
        "  each: {scope: {agent: '*'}, per: agent, limits: [{window: 3h, tokens: 1000}]}\n"
    )
    before = {file.name: file.read_bytes() for file in db.parent.iterdir() if file.is_file()}
    given = () if command == ("holds",) else ("--policies", draft, "--json")
    result = run("budgets", *command, "--db", db, *given)
    assert result.exit_code in {0, 3}, result.output
    assert {file.name: file.read_bytes() for file in db.parent.iterdir() if file.is_file()} == before
    if not command:
        found = rows(result)
        for window in ("week", "90m", "total"):
            row = found["default", window, "usd"]
            assert (row["spent"], row["unknown"], row["calls"], row["unpriced_calls"]) == (0.6, 0.125, 3, 2)
        assert found["each", "3h", "tokens", "backend-dev"]["spent"] == 900
        counted = draft.with_name("counted.db")
        counted.write_bytes(db.read_bytes())
        with TelemetryLogger(counted, policies=draft) as telemetry:
            spent = {(one["budget"], one["window"], one["metric"], *one["subject"]): one["spent"]
                     for one in telemetry.budgets.status()}  # fmt: skip
        assert spent == {key: row["spent"] for key, row in found.items() if row["limit"] is not None}


@pytest.mark.parametrize("command", [("release", "none"), ("reconcile", "none", "--usd", "1")])
def test_a_hold_that_is_not_there_ends_every_command_alike(run: Run, db: Path, command: tuple[str, ...]) -> None:
    """Nothing has the id that was named."""
    result = run("budgets", *command, "--db", db)
    assert result.exit_code == 1
    assert "there is no" in result.stderr
    assert "see: llm-telemetry budgets holds" in result.stderr


def test_names_of_scopes_narrow_budgets(run: Run, db: Path, policies: Path) -> None:
    """By each field that a scope can have: those of which this name has one each, or that are scoped to it."""
    assert tuple(SCOPED) == FIELDS
    for words in ("budgets", "budgets check"):
        assert {f"--{field}" for field in FIELDS} <= {name for one in COMMANDS[words].params for name in one.opts}
    asked = ("budgets", "--db", db, "--policies", policies, "--json")
    of_ada = rows(run(*asked, "--user", "ada"))
    assert {(key[0], key[3:]) for key in of_ada} == {("backend", ("backend-dev", "ada"))}
    assert {key[0] for key in rows(run(*asked, "--agent", "backend-ops"))} == {"backend"}
    assert {key[0] for key in rows(run(*asked, "--model", "gpt-x"))} == {"watched"}
    for field in FIELDS:
        ended = run("budgets", "--db", db, "--policies", policies, f"--{field}", "nobody")
        assert (ended.exit_code, ended.stdout) == (
            0,
            "no limits, or nothing was counted for any subject of theirs yet\n",
        )
    assert "give options after the command" in run("budgets", "--user", "ada", "holds", "--db", db).stderr


def refusals() -> list[BudgetError]:
    """One of each kind of error for which a call is not let through."""
    amounts: dict[str, Any] = dict.fromkeys(("limit", "spent", "reserved", "asked"), 1)
    arguments: dict[type[BudgetError], BudgetError] = {
        BudgetExceeded: BudgetExceeded("b", window="day", metric="calls", unknown=2, **amounts),
        UnknownPriceError: UnknownPriceError("b", "m", ("max_tokens=", "prompt= or prompt_tokens=")),
        UnknownTokensError: UnknownTokensError("b", "m"),
        BudgetUnreadableError: BudgetUnreadableError("b", "day"),
        JustificationNeededError: JustificationNeededError("b", Decimal(2), Decimal(1)),
    }
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, BudgetError)}
    assert kinds == {BudgetError, *arguments}
    return [*arguments.values(), BudgetError("any", "b")]


@pytest.mark.parametrize("error", refusals(), ids=lambda error: type(error).__name__)
def test_a_remedy_names_options_and_no_python(error: BudgetError) -> None:
    """What a program would write is said to programs."""
    with click.Context(COMMANDS["budgets check"], info_name="check", parent=click.Context(cli, info_name="x")):
        said = command_budgets.refusal(error)
    assert not re.search(r"\w\(|\w=", said), said
    assert said.startswith(error.problem)
    for option in re.findall(r"--[\w-]+", said):
        assert any(option in one.opts for words in ("budgets check", "doctor") for one in COMMANDS[words].params)


def test_an_unknown_price_is_estimated_by_an_option(run: Run, db: Path, policies: Path) -> None:
    """In text and as JSON."""
    asked = ("budgets", "check", "--db", db, "--policies", policies, "--model", "zoo")
    assert "; give --estimate USD, or set unknown_price_usd" in run(*asked).stdout
    assert "--estimate USD" in json.loads(run(*asked, "--json").stdout)["error"]


def test_a_refusal_names_what_settles_calls_of_unknown_outcome(run: Run, db: Path, policies: Path) -> None:
    """Only where they hold a part of the limit; the commands exist."""
    assert not {"budgets holds", "budgets release", "budgets reconcile"} - COMMANDS.keys()
    names = {"agent_name": "backend-dev", "user_id": "ada"}
    with TelemetryLogger(db, policies=policies) as telemetry:
        with pytest.raises(BudgetExceeded) as caught:
            telemetry.budgets.reserve(usd=9, tokens=0, **names)
        assert "budgets holds" not in str(caught.value)
        telemetry.budgets.reserve(usd=1, tokens=0, **names).give_up()
        with pytest.raises(BudgetExceeded) as caught:
            telemetry.budgets.reserve(usd=9, tokens=0, **names)
    for command in ("llm-telemetry budgets holds", "budgets release", "budgets reconcile"):
        assert command in str(caught.value)
    missing = run("budgets", "release", "no-such-hold", "--db", db)
    assert f"see: llm-telemetry budgets holds --db {db}" in missing.stderr
