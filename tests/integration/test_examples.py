"""Each example runs as it stands, offline, and leaves a file with right rows."""

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from pkgutil import iter_modules
from typing import Any

import pytest
from click.testing import CliRunner
from tests.slices import quick

from llm_service import examples
from llm_service.cli.commands import cli

NAMES = sorted(name for _, name, _ in iter_modules(examples.__path__) if name != "local_provider")
NEEDS = {
    "openai_client": ["openai"],
    "anthropic_stream": ["anthropic"],
    "agent_with_budget": ["openai"],
    "langgraph_app": ["langchain_openai", "langgraph"],
    "benchmark_harness": ["scipy"],
}
SOURCES = {"anthropic_stream": "sdk:anthropic", "benchmark_harness": "my-harness"}
"""Who sees the calls; else the hook into OpenAI's client."""


def needs(*names: str) -> None:
    """Skip where what an example needs is not installed."""
    for name in names:
        for module in NEEDS[name]:
            pytest.importorskip(module)


def started(name: str, folder: Path, *before: str) -> subprocess.CompletedProcess[str]:
    """An example, run from the command line as a user runs it, or after other statements."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("LLM_TELEMETRY_")},
        "TMPDIR": str(folder),
        "HOME": str(folder),
        "PYTHONWARNINGS": "error,ignore::DeprecationWarning",
    }
    command = [sys.executable, "-m", f"llm_service.examples.{name}"]
    if before:
        run_it = f"runpy.run_module('llm_service.examples.{name}', run_name='__main__')"
        command[1:] = ["-c", "\n".join(["import runpy, sys", *before, run_it])]
    return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=60, check=False)


def run(name: str, folder: Path) -> str:
    """What an example prints."""
    done = started(name, folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def shown_by(line: str, *options: str) -> str:
    """What a command that an example prints shows."""
    program, *arguments = line.split()
    assert program == "llm-telemetry"
    return CliRunner().invoke(cli, [*arguments, *options]).stdout


def rows_of(printed: str) -> list[dict[str, Any]]:
    """The rows that the command, which the example prints last, shows; oldest first."""
    found: list[dict[str, Any]] = json.loads(shown_by(printed.splitlines()[-1], "--json", "--limit", "1000"))
    return found[::-1]


@pytest.mark.parametrize("name", quick(NAMES, "openai_client"))
def test_an_example_runs_and_records_each_call(name: str, tmp_path: Path) -> None:
    """From the command line, in a process of its own, as a user runs it."""
    needs(name)
    rows = rows_of(run(name, tmp_path))
    calls = [row for row in rows if row["model_name"]]
    assert calls
    for row in rows:
        assert row["status"] == "success"
        assert (row["operation"] == "chat") == (row in calls)
    for row in calls:
        assert row["source"] == SOURCES.get(name, "sdk:openai")
        assert row["attempts"] == (None if name == "benchmark_harness" else 1)
        assert row["prompt_tokens"] > 0
        assert row["cost_usd"] is None or row["cost_usd"] > 0


def test_the_extra_has_what_the_examples_need() -> None:
    """So that one `pip install` is enough for all of them."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    within = [name for line in extras["examples"] if "[" in line for name in line.split("[")[1].rstrip("]").split(",")]
    lines = [*extras["examples"], *(line for name in within for line in extras[name])]
    for module in {module for modules in NEEDS.values() for module in modules}:
        assert any(line.startswith(f"{module.replace('_', '-')}>=") for line in lines), module


@pytest.mark.slow
@pytest.mark.parametrize(("name", "module"), [(name, module) for name in NEEDS for module in NEEDS[name]])
def test_an_example_says_what_to_install(name: str, module: str, tmp_path: Path) -> None:
    """In one line; the harness runs without what compares."""
    needs(name)
    install = f"{module} is missing: pip install 'llm-service-telemetry[examples]'"
    partial = started(name, tmp_path, f"sys.modules[{module!r}] = None")
    if name == "benchmark_harness":
        assert (partial.returncode, partial.stderr) == (0, "")
        assert f"not compared: {install}" in partial.stdout.splitlines()
        assert len(rows_of(partial.stdout)) == 80
    else:
        assert (partial.returncode, partial.stdout, partial.stderr) == (1, "", f"{install}\n")


def test_every_example_says_what_it_needs() -> None:
    """The extra, in its first lines, as the README does; one that is imported raises an ImportError."""
    assert {*NEEDS} == {*NAMES}
    for name in NAMES:
        text = (Path(examples.__path__[0]) / f"{name}.py").read_text("utf-8")
        assert "pip install 'llm-service-telemetry[examples]'" in text.split('"""')[1], name
    assert "'.[examples]'" in (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert type(examples.lacking(ImportError(name="openai._client"), "elsewhere")) is ImportError


@pytest.mark.slow
def test_the_clients_show_a_stream_beside_a_whole_answer(tmp_path: Path) -> None:
    """And one that was left early."""
    needs("openai_client", "anthropic_stream")
    whole, stream = rows_of(run("openai_client", tmp_path))
    assert (whole["stream"], stream["stream"], stream["ttft_ms"] > 0) == (None, True, True)
    assert whole["completion_tokens"] == stream["completion_tokens"] == 13
    read, left = rows_of(run("anthropic_stream", tmp_path))
    assert (read["finish_reason"], read["usage_source"]) == ("end_turn", "reported")
    assert (left["finish_reason"], left["usage_source"]) == ("cancelled", "partial")


@pytest.mark.slow
def test_the_agent_is_stopped_before_it_crosses_its_limit(tmp_path: Path) -> None:
    """What it spent is within the limit, and every call of it has its own cost."""
    needs("agent_with_budget")
    printed = run("agent_with_budget", tmp_path)
    assert "stopped: budget default: " in printed
    spent = sum(row["cost_usd"] for row in rows_of(printed))
    assert 0.0008 < spent <= 0.0012


@pytest.mark.slow
def test_the_graph_is_one_tree_of_nodes_tools_and_calls(tmp_path: Path) -> None:
    """Seen by adapter and hook, each call is one row; all of the session hang below the graph."""
    needs("langgraph_app")
    printed = run("langgraph_app", tmp_path)
    rows = rows_of(printed)
    assert {row["session_id"] for row in rows} == {"session-1"}
    assert len({row["trace_id"] for row in rows}) == 1
    (root,) = [row for row in rows if row["parent_invocation_id"] is None]
    assert (root["tool_name"], root["operation"]) == ("LangGraph", "chain")
    ids = {row["invocation_id"]: row for row in rows}
    calls = [row for row in rows if row["operation"] == "chat"]
    assert [row["finish_reason"] for row in calls] == ["tool_calls", "stop"]
    assert {ids[row["parent_invocation_id"]]["tool_name"] for row in calls} == {"ask"}
    (tool,) = [row for row in rows if row["operation"] == "execute_tool"]
    assert (tool["tool_name"], ids[tool["parent_invocation_id"]]["tool_name"]) == ("look_up", "tools")
    tree = shown_by(printed.splitlines()[-2])
    assert "look_up (execute_tool)" in tree
    assert tree.splitlines()[-1].startswith("2 calls, ")


@pytest.mark.slow
def test_the_harness_shows_the_difference_that_there_is(tmp_path: Path) -> None:
    """More is asked in the second run, and nothing else differs but times, which are the machine's."""
    needs("benchmark_harness")
    printed = run("benchmark_harness", tmp_path)
    rows = rows_of(printed)
    assert [row["run"].partition("@")[0] for row in rows] == ["terse"] * 40 + ["verbose"] * 40
    for row in rows:
        assert (row["tags"], row["stream"]) == ([f"instruction:{row['run'].partition('@')[0]}"], True)
        assert row["completion_tokens"] == 13
        assert 0 < row["ttft_ms"] <= row["latency_ms"]
        assert row["cost_usd"] == pytest.approx((row["prompt_tokens"] * 0.25 + 13 * 2) / 1e6)
    assert printed.count(": 40 calls, 100% ok") == 2
    verdicts = dict(re.findall(r"^([\w ]+) \([\w/]+\): \S+ -> \S+, (.*)$", printed, re.MULTILINE))
    assert verdicts["tokens per call"] == verdicts["cost per call"] == "higher"
    assert verdicts["success rate"] == "no difference shown"
    compared = json.loads(shown_by(printed.splitlines()[-2], "--json"))
    assert {row["metric"] for row in compared["rows"]} == set(verdicts)
