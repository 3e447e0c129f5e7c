"""`estimate` on a real file: a table for people, an object for programs, and unknown where something is unknown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llm_service.cli.commands import cli
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]

MODELS = """
models:
  m-1: {cost_per_1m_tokens: {input: 3, output: 15}, max_output_tokens: 8000}
bundled_prices: false
"""
WHO = ("--model", "m-1", "--agent", "backend-dev", "--tool", "claude-code")


@pytest.fixture(autouse=True)
def _nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No configuration of the developer's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """One priced model."""
    path = tmp_path / "models.yaml"
    path.write_text(MODELS)
    return path


@pytest.fixture
def past(tmp_path: Path) -> Path:
    """A file of a hundred answers, whose prompts teach half a token a byte."""
    path = tmp_path / "past.db"
    with TelemetryLogger(path) as logger:
        for number in range(100):
            record = InvocationRecord(
                agent_name="backend-dev", tool_name="claude-code", model_name="m-1", prompt="x" * 100,
                prompt_tokens=50, completion_tokens=101 + number,
            )  # fmt: skip
            logger.log_invocation_nowait(record)
    return path


def shown(result: Result) -> dict[str, str]:
    """The first words of each line, and the rest."""
    assert result.exit_code == 0, result.output
    return {line[:14].strip(): " ".join(line[14:].split()) for line in result.stdout.splitlines()}


def test_a_table_has_tokens_cost_coverage_and_the_bound(run: Run, past: Path, models: Path) -> None:
    """1,000 tokens in at 3 USD a million, up to 4,096 out at 15."""
    found = shown(
        run("estimate", *WHO, "--prompt-tokens", 1000, "--max-tokens", 4096, "--db", past, "--models", models)
    )
    p50, p90, p99 = (int(cell) for cell in found["output tokens"].split())
    assert 101 <= p50 < p90 <= p99 <= 200
    assert found["cost USD"].split()[0] == f"{0.003 + p50 * 15e-6:.6f}"
    assert found["cost at most"] == "0.064440 USD"
    assert found["output limit"] == "4,096 tokens, upper bound: max_tokens"
    assert found["prompt"] == "1,000 tokens, given"
    assert found["output"] == "learned from 100 calls of this agent, tool and model"
    assert found["cost"] == f"computed from the tokens at the price of {models}"
    assert found["price"] == f"known from {models}"
    assert all(cell.endswith("%") for cell in found["held lately"].split())


def test_json_has_the_fields_of_an_estimate_and_what_a_budget_holds(run: Run, past: Path, models: Path) -> None:
    """As the API answers."""
    arguments = ("--prompt-tokens", 1000, "--max-tokens", 4096, "--db", past, "--models", models, "--json")
    found = json.loads(run("estimate", *WHO, *arguments).stdout)
    with TelemetryLogger(past, models=models) as logger:
        who: dict[str, Any] = {"agent_name": "backend-dev", "tool_name": "claude-code", "model_name": "m-1"}
        answer = logger.estimate(**who, prompt_tokens=1000, max_tokens=4096)
    assert found == json.loads(json.dumps(answer.to_dict())) | {"hold_usd": 0.06444}


def test_an_unknown_price_is_said_and_is_not_0(run: Run, past: Path, models: Path) -> None:
    """Neither in the table nor in JSON."""
    who = ("--model", "no-such-model", "--prompt-tokens", 10, "--max-tokens", 5, "--db", past, "--models", models)
    found = shown(run("estimate", *who))
    assert found["cost USD"] == "unknown unknown unknown"
    assert found["cost at most"] == "unknown, as is the price"
    assert found["cost"] == "unknown: no price is known; write it into models.yaml"
    assert found["price"] == "unknown: write it into models.yaml"
    guess = "guess: as 100 calls of all agents and models, of which fewer than 30 are of this model"
    assert found["output"] == guess
    told = json.loads(run("estimate", *who, "--json").stdout)
    assert (told["cost_usd"], told["max_cost_usd"], told["hold_usd"], told["price_source"]) == (None,) * 4
    assert (told["price_remedy"], told["grounds"]["completion_tokens"]) == ("write it into models.yaml", guess)


def test_a_prompt_file_is_measured_by_past_prompts_or_by_its_bytes(
    run: Run, past: Path, models: Path, tmp_path: Path
) -> None:
    """The bound of either is a token a byte."""
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("ä" * 150, encoding="utf-8")
    options = ("--prompt-file", prompt, "--models", models)
    learned = shown(run("estimate", *WHO, *options, "--db", past))
    assert learned["prompt"] == "150 tokens, learned: the ratio of past prompts"
    assert learned["cost at most"] == f"{(307 * 3 + 8000 * 15) / 1e6:.6f} USD"
    assert learned["output limit"] == "8,000 tokens, upper bound: max_output_tokens of models.yaml"
    guessed = shown(run("estimate", *WHO, *options))
    assert guessed["prompt"] == "100 tokens, guess: a third of its bytes"
    assert guessed["output tokens"] == "unknown unknown unknown"
    assert guessed["held lately"] == "- - -"
    assert guessed["cost at most"] == f"{(307 * 3 + 8000 * 15) / 1e6:.6f} USD"


def test_a_prompt_may_come_from_standard_input(models: Path) -> None:
    """As from another program."""
    arguments = ["estimate", *WHO, "--prompt-file", "-", "--models", str(models), "--json"]
    result = CliRunner().invoke(cli, arguments, input="some text")
    assert json.loads(result.stdout)["prompt_tokens"] == 3


def test_without_a_prompt_or_a_limit_the_table_says_what_to_give(run: Run, models: Path, tmp_path: Path) -> None:
    """The options by name."""
    found = shown(run("estimate", *WHO, "--models", models))
    assert found["prompt"] == "unknown; give --prompt-file or --prompt-tokens"
    assert found["cost at most"] == "unknown, as is the prompt"
    models.write_text("models: {m-1: {cost_per_1m_tokens: {input: 3, output: 15}}}")
    unlimited = shown(run("estimate", *WHO, "--models", models, "--prompt-tokens", 5))
    assert unlimited["output limit"] == "none known; give --max-tokens"
    assert unlimited["cost at most"] == "unknown, as the output has no limit"
    database = tmp_path / "costs.db"
    with TelemetryLogger(database) as logger:
        for _ in range(40):
            logger.log_invocation_nowait(InvocationRecord(model_name="m-2", completion_tokens=5, cost_usd=0.25))
    past = shown(run("estimate", "--model", "m-2", "--db", database, "--models", models))
    assert (past["cost USD"], past["price"]) == ("0.250000 0.250000 0.250000", "unknown: write it into models.yaml")
    assert past["cost"] == "learned from what 40 calls of this model cost"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--prompt-tokens", 5), "Missing option '--model'"),
        (("--model", "m", "--max-tokens", 0), "--max-tokens: 0 is not usable; give a whole number from 1"),
        (("--model", "m", "--prompt-file", "missing.txt"), "No such file"),
    ],
)
def test_what_is_used_wrongly_is_one_line_and_exit_code_2(run: Run, arguments: tuple[Any, ...], message: str) -> None:
    """Option, value, remedy."""
    result = run("estimate", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_prompt_is_given_once_and_is_text(run: Run, tmp_path: Path) -> None:
    """Bytes of another kind are refused by their place."""
    prompt = tmp_path / "prompt.bin"
    prompt.write_bytes(b"ok \xff")
    both = run("estimate", "--model", "m", "--prompt-file", prompt.with_name("models.yaml"), "--prompt-tokens", 5)
    assert both.exit_code == 2
    result = run("estimate", "--model", "m", "--prompt-file", prompt)
    assert (result.exit_code, "byte 3 is not UTF-8" in result.stderr) == (2, True)
    prompt.write_text("text")
    both = run("estimate", "--model", "m", "--prompt-file", prompt, "--prompt-tokens", 5)
    assert (both.exit_code, "--prompt-file and --prompt-tokens both say the prompt" in both.stderr) == (2, True)


def test_a_database_that_was_named_must_be_there(run: Run, tmp_path: Path, models: Path) -> None:
    """A mistyped path is no empty past."""
    result = run("estimate", *WHO, "--db", tmp_path / "missing.db", "--models", models)
    assert result.exit_code == 1
    assert "does not exist" in result.stderr
    assert not (tmp_path / "missing.db").exists()
