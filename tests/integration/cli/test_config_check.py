"""`config check` and `config show` with models.yaml and policies.yaml: what a user sees in a terminal and a script."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import Result

from llm_service.config.files import FILE_VARIABLES

Run = Callable[..., Result]
PROJECT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory without any configuration of ours."""
    for name in [name for name in os.environ if name.startswith("LLM_TELEMETRY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    return tmp_path


def write(name: str, content: str) -> None:
    """A file of the project's configuration."""
    Path("config", name).write_text(content)


@pytest.mark.usefixtures("folder")
def test_all_errors_and_warnings_are_shown_with_file_and_line(run: Run) -> None:
    """Errors end with 1; warnings are shown beside them."""
    write("telemetry.yaml", "batch_size: 0\nstricd: true\n")
    write(
        "models.yaml",
        "models:\n  house-model:\n    cost_per_1k_tokens: {input: 3, output: 15}\n",
    )
    write("policies.yaml", "policies:\n  default:\n    dayly_budget_usd: 5\n    timezone: Mars\n")
    result = run("config", "check")
    assert (result.exit_code, result.stdout) == (1, "")
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["Error"] * 4 + ["Warning"]
    lines = [line.partition(": ")[2] for line in result.stderr.splitlines()]
    assert lines[:4] == [
        "config/telemetry.yaml:2: stricd: there is no such setting; did you mean strict?",
        "config/telemetry.yaml:1: batch_size: 0 is not usable; use a whole number from 1 to 100,000",
        "config/policies.yaml:3: policies.default.dayly_budget_usd: there is no such key; did you mean daily_budget_usd?",
        (
            "config/policies.yaml:4: policies.default.timezone: 'Mars' is not usable; give a name of the IANA time zone "
            "database, such as UTC or Europe/Berlin"
        ),
    ]
    assert lines[4].startswith("config/models.yaml:3: models.house-model.cost_per_1k_tokens.input: 3000 US dollars per")
    found = json.loads(run("config", "check", "--json").stdout)
    assert (found["ok"], found["db_path"], found["error"]) == (False, None, lines[0])
    assert [item["message"] for item in found["errors"] + found["warnings"]] == lines
    assert found["errors"][2] == {
        "file": "config/policies.yaml",
        "line": 3,
        "key": "policies.default.dayly_budget_usd",
        "message": lines[2],
    }


@pytest.mark.usefixtures("folder")
def test_warnings_alone_are_no_failure(run: Run) -> None:
    """Exit code 0, the answer on standard output, the doubts on the other."""
    write("policies.yaml", "policies: {default: {}}\n")
    result = run("config", "check", "--db", "x.db")
    assert result.exit_code == 0
    assert result.stdout.startswith("the configuration is usable; the database is ")
    assert result.stderr.startswith("Warning: config/policies.yaml:1: policies.default: limits nothing")
    found = json.loads(run("config", "check", "--db", "x.db", "--json").stdout)
    assert (found["ok"], found["errors"], len(found["warnings"])) == (True, [], 1)
    assert (found["models"], found["policies"]) == (None, "config/policies.yaml")


@pytest.mark.usefixtures("folder")
def test_files_that_are_named_are_checked_instead(run: Run) -> None:
    """Before they come into force."""
    write("models.yaml", "nonsense: 1")
    Path("new.yaml").write_text("models: {}")
    Path("rules.yaml").write_text("policies: {p: {daily_budget_usd: '5'}}")
    assert run("config", "check", "--models", "new.yaml").exit_code == 0
    result = run("config", "check", "--models", "new.yaml", "--policies", "rules.yaml")
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "rules.yaml:1: policies.p.daily_budget_usd: '5' is not usable" in result.stderr
    assert run("config", "check", "--models", "none.yaml").exit_code == 2


def test_show_says_which_files_are_in_force(run: Run, folder: Path) -> None:
    """A path or none, null in JSON."""
    write("models.yaml", "")
    assert run("config", "show").stdout.splitlines()[-2:] == [
        "models.yaml    config/models.yaml",
        "policies.yaml  none",
    ]
    found = json.loads(run("config", "show", "--json").stdout)
    assert (found["models"], found["policies"]) == ("config/models.yaml", None)
    assert found["settings"][0]["name"] == "db_path"
    other = folder / "other"
    other.mkdir()
    (other / "telemetry.yaml").write_text("")
    (other / "policies.yaml").write_text("")
    found = json.loads(run("config", "show", "--config", other / "telemetry.yaml", "--json").stdout)
    assert found["policies"] == str(other / "policies.yaml")


def test_a_database_that_is_given_needs_no_home(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default path is not used then; a path in a file is still checked."""
    monkeypatch.setattr("os.path.expanduser", os.fspath)
    assert run("config", "check").exit_code == 1
    assert run("config", "check", "--db", folder / "x.db").exit_code == 0
    write("telemetry.yaml", "db_path: ':memory:'")
    assert run("config", "check", "--db", folder / "x.db").exit_code == 1


@pytest.mark.usefixtures("folder")
def test_text_from_a_file_is_no_command_to_a_terminal(run: Run) -> None:
    """Control characters of a key are shown, not sent."""
    write("models.yaml", '"a\\e[31mb": 1\n')
    result = run("config", "check")
    assert result.exit_code == 1
    assert "\x1b" not in result.stderr


class _Rates:
    source = "a book of prices"

    def cost_nanos(self, prompt_tokens: int, completion_tokens: int) -> int:
        return 3000 * prompt_tokens + 15_000 * completion_tokens


class _PriceBook:
    def rates(self, model_name: str | None, provider: str | None = None, at_us: int | None = None) -> _Rates | None:
        del provider, at_us
        return _Rates() if model_name == "house-model" else None


@pytest.mark.usefixtures("folder")
def test_prices_are_compared_with_the_bundled_ones(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are any: both figures, and the likely mistake."""
    pricing = ModuleType("llm_service.pricing.book")
    pricing.PriceBook = _PriceBook  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "llm_service.pricing.book", pricing)
    write("models.yaml", "models:\n  house-model:\n    cost_per_1k_tokens: {input: 3, output: 15}\n")
    assert run("config", "check", "--db", "x.db").stderr == (
        "Warning: config/models.yaml:3: models.house-model.cost_per_1k_tokens.input: 3 US dollars per 1k tokens is 1,000 "
        "times the 0.003 of a book of prices; is it a price per 1m tokens?\n"
    )


@pytest.mark.parametrize("name", FILE_VARIABLES)
@pytest.mark.usefixtures("folder")
def test_examples_are_in_the_package_and_can_be_used_as_they_are(run: Run, name: str) -> None:
    """What is printed is what stands in config/ of the project."""
    printed = run("config", "example", name)
    assert (printed.exit_code, printed.stderr) == (0, "")
    assert printed.stdout == (PROJECT / "config" / f"{name}.yaml.example").read_text("utf-8")
    assert json.loads(run("config", "example", name, "--json").stdout)["text"] == printed.stdout
    write(f"{name}.yaml", printed.stdout)
    assert run("config", "check").exit_code == 0
