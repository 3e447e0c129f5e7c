"""Each example runs as it stands, offline, and leaves a file with right rows."""

import json
import os
import subprocess
import sys
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from click.testing import CliRunner

from llm_service import examples
from llm_service.cli.commands import cli

NAMES = sorted(name for _, name, _ in iter_modules(examples.__path__) if name != "local_provider")
NEEDS = {"openai_client": "openai", "anthropic_stream": "anthropic", "agent_with_budget": "openai"}


def run(name: str, folder: Path) -> str:
    """What an example prints."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLM_TELEMETRY_")},
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning",
    }
    command = [sys.executable, "-m", f"llm_service.examples.{name}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def rows_of(printed: str) -> list[dict[str, Any]]:
    """The rows that the command, which the example prints last, shows; oldest first."""
    program, *arguments = printed.splitlines()[-1].split()
    assert program == "llm-telemetry"
    shown = CliRunner().invoke(cli, [*arguments, "--json", "--limit", "1000"])
    found: list[dict[str, Any]] = json.loads(shown.stdout)
    return found[::-1]


@pytest.mark.parametrize("name", NAMES)
def test_an_example_runs_and_records_each_call(name: str, tmp_path: Path) -> None:
    """From the command line, in a process of its own, as a user runs it."""
    pytest.importorskip(NEEDS[name])
    rows = rows_of(run(name, tmp_path))
    assert rows
    for row in rows:
        assert (row["status"], row["attempts"], row["operation"]) == ("success", 1, "chat")
        assert row["source"] == f"sdk:{NEEDS[name]}"
        assert row["prompt_tokens"] > 0
        assert row["cost_usd"] is None or row["cost_usd"] > 0


def test_the_clients_show_a_stream_beside_a_whole_answer(tmp_path: Path) -> None:
    """And one that was left early."""
    pytest.importorskip("openai")
    pytest.importorskip("anthropic")
    whole, stream = rows_of(run("openai_client", tmp_path))
    assert (whole["stream"], stream["stream"], stream["ttft_ms"] > 0) == (None, True, True)
    assert whole["completion_tokens"] == stream["completion_tokens"] == 13
    read, left = rows_of(run("anthropic_stream", tmp_path))
    assert (read["finish_reason"], read["usage_source"]) == ("end_turn", "reported")
    assert (left["finish_reason"], left["usage_source"]) == ("cancelled", "partial")


def test_the_agent_is_stopped_before_it_crosses_its_limit(tmp_path: Path) -> None:
    """What it spent is within the limit, and every call of it has its own cost."""
    pytest.importorskip("openai")
    printed = run("agent_with_budget", tmp_path)
    assert "stopped: budget default: " in printed
    spent = sum(row["cost_usd"] for row in rows_of(printed))
    assert 0.0008 < spent <= 0.0012
