"""`pytest --llm-telemetry`: a session of real tests, in a process of its own, with the real OpenAI SDK, is one run."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.provider_server import ProviderServer
from tests.slices import quick

from llm_service.errors import BudgetExceeded
from llm_service.pytest_budget import SessionBudget, policies_with
from llm_service.pytest_recording import SessionRecording
from llm_service.telemetry import InvocationRecord, TelemetryLogger

pytest.importorskip("openai")
pytest_plugins = ["pytester"]
ONE_CALL = Decimal("0.000314")
"""What a call of the server costs, by the models.yaml below."""
HELP = """
import os
import openai

def ask(model="gpt-5-mini", times=1):
    with openai.OpenAI(base_url=os.environ["PROVIDER_URL"], api_key="none") as client:
        for _ in range(times):
            client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
"""
TESTS = """
import asyncio
import os
import threading
import openai
import pytest
from helping import ask

@pytest.fixture(scope="module")
def prepared():
    ask()

def test_sync(prepared):
    ask()

def test_thread(llm_telemetry):
    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    with llm_telemetry.invocation("agent", metadata={"own": 1}, model_name="m"):
        pass

def test_async():
    async def main():
        async with openai.AsyncOpenAI(base_url=os.environ["PROVIDER_URL"], api_key="none") as client:
            await client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": "hi"}])
    asyncio.run(main())
"""


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """What the tests of a session call."""
    with ProviderServer() as server:
        yield server


@pytest.fixture
def project(pytester: pytest.Pytester, server: ProviderServer, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A project with a price, and the server's address."""
    monkeypatch.setenv("PROVIDER_URL", f"{server.url('ok')}/v1")
    pytester.makefile(
        ".yaml",
        **{
            "config/telemetry": "privacy_level: metadata\n",
            "config/models": "models:\n  gpt-5-mini-2025-08-07: {cost_per_1m_tokens: {input: 0.25, output: 2}}\n",
        },
    )
    pytester.makepyfile(helping=HELP)
    return pytester


def session(project: pytest.Pytester, *options: str) -> pytest.RunResult:
    """Run the tests of a project."""
    plain = ("-p", "no:cacheprovider", "-p", "no:randomly", "-p", "no:asyncio", "-p", "no:langsmith_plugin")
    return project.runpytest_subprocess(*plain, *options)


def rows_of(path: Path) -> list[dict[str, Any]]:
    """The stored calls, oldest first."""
    with TelemetryLogger(path) as telemetry:
        return [dict(row) for row in telemetry.get_invocations()][::-1]


def test_each_call_of_a_session_is_in_its_run_with_the_test_that_made_it(project: pytest.Pytester) -> None:
    """In threads and loops, too; and the end says what they were."""
    project.makepyfile(test_calls=TESTS)
    result = session(project, "--llm-telemetry=t.db", "--llm-run=ci")
    result.assert_outcomes(passed=3)
    assert result.ret == 0
    rows = rows_of(project.path / "t.db")
    assert [(row["source"], row["metadata"]) for row in rows] == [
        ("sdk:openai", {"test": "test_calls.py::test_sync"}),
        ("sdk:openai", {"test": "test_calls.py::test_sync"}),
        ("sdk:openai", {"test": "test_calls.py::test_thread"}),
        (None, {"test": "test_calls.py::test_thread", "own": 1}),
        ("sdk:openai", {"test": "test_calls.py::test_async"}),
    ]
    (run,) = {row["run"] for row in rows}
    assert re.fullmatch(r"ci@\d{8}T\d{6}-[0-9a-f]{4}", run)
    cost = f"{4 * ONE_CALL:.6f} USD and 1 of unknown cost"
    result.stdout.fnmatch_lines(
        [
            "*= LLM calls =*",
            f"run {run}: 5 calls, 0 failed, 4,828 tokens, {cost}",
            f"llm-telemetry invocations --run {run} --db {project.path / 't.db'}",
        ]
    )
    shown = subprocess.run(
        [sys.executable, "-m", "llm_service", "invocations", "--run", run, "--db", "t.db", "--json"],
        capture_output=True, check=True, cwd=project.path,
    )  # fmt: skip
    assert len(json.loads(shown.stdout)) == 5


@pytest.mark.volume
def test_under_xdist_all_workers_write_one_run_and_the_end_says_it_once(project: pytest.Pytester) -> None:
    """Whoever ran which test."""
    project.makepyfile(test_one=TESTS, test_two=TESTS)
    result = session(project, "--llm-telemetry=t.db", "-n2", "--dist=loadfile")
    result.assert_outcomes(passed=6)
    rows = rows_of(project.path / "t.db")
    assert len(rows) == 10
    (run,) = {row["run"] for row in rows}
    assert {row["metadata"]["test"].split("::")[0] for row in rows} == {"test_one.py", "test_two.py"}
    said = [line for line in result.outlines if line.startswith("run ")]
    assert said == [f"run {run}: 10 calls, 0 failed, 9,656 tokens, {8 * ONE_CALL:.6f} USD and 2 of unknown cost"]


@pytest.mark.slow
def test_a_call_beyond_the_budget_raises_and_is_not_sent(project: pytest.Pytester, server: ProviderServer) -> None:
    """Of sync and async clients; the session has failed."""
    project.makepyfile(
        test_calls="""
import asyncio
import os
import openai
import pytest
from helping import ask
from llm_service.telemetry import BudgetExceeded

def test_within():
    ask(times=2)

def test_beyond():
    with pytest.raises(BudgetExceeded, match="--llm-budget 0.0005: this session has spent 0.000628 USD"):
        ask()

def test_beyond_async():
    async def main():
        async with openai.AsyncOpenAI(base_url=os.environ["PROVIDER_URL"], api_key="none") as client:
            await client.embeddings.create(model="m", input="hi")
    with pytest.raises(BudgetExceeded):
        asyncio.run(main())

def test_beyond_and_not_expected():
    ask()
"""
    )
    before = server.asked["ok"]
    result = session(project, "--llm-telemetry=t.db", "--llm-budget=0.0005")
    result.assert_outcomes(passed=3, failed=1)
    assert result.ret == 1
    assert server.asked["ok"] == before + 2
    assert [row["status"] for row in rows_of(project.path / "t.db")] == ["success"] * 2
    result.stdout.fnmatch_lines(["FAILED: the calls cost 0.000628 USD, more than --llm-budget 0.0005"])


@pytest.mark.slow
def test_a_session_whose_last_call_went_beyond_has_failed(project: pytest.Pytester) -> None:
    """Though all its tests passed."""
    project.makepyfile(test_calls="from helping import ask\n\ndef test_calls():\n    ask()\n")
    result = session(project, "--llm-telemetry=t.db", "--llm-budget", "0.0003")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["FAILED: the calls cost 0.000314 USD, more than --llm-budget 0.0003"])


@pytest.mark.slow
def test_a_budget_alone_records_where_the_configuration_says(project: pytest.Pytester) -> None:
    """What it cannot count is said, each session has its own, and the user's own limits stay in force."""
    project.makefile(".yaml", **{"config/telemetry": "db_path: ../mine.db\n"})
    project.makefile(".yaml", **{"config/policies": "policies:\n  default: {total_budget_usd: 7}\n"})
    project.makepyfile(
        test_calls="""
from helping import ask

def test_calls(llm_telemetry):
    ask(model="nobody-knows")
    assert {row["budget"] for row in llm_telemetry.budgets.check(0, run="r")} == {"default", "pytest-llm-budget"}
"""
    )
    for _ in range(2):
        result = session(project, "--llm-budget", "0.01")
        result.assert_outcomes(passed=1)
        assert result.ret == 0
        result.stdout.fnmatch_lines(
            [
                "run pytest@*: 1 call, 0 failed, 1,207 tokens, cost unknown",
                "--llm-budget does not count 1 call of unknown cost",
            ]
        )
    assert len({row["run"] for row in rows_of(project.path / "mine.db")}) == 2


@pytest.mark.slow
def test_without_an_option_nothing_is_imported_or_recorded(project: pytest.Pytester) -> None:
    """The fixture is there all the same, and stores nothing."""
    project.makepyfile(
        test_calls="""
import sys

def test_first():
    assert "llm_service.pytest_plugin" in sys.modules
    assert "llm_service.telemetry" not in sys.modules

def test_fixture(llm_telemetry):
    from helping import ask
    ask()
    with llm_telemetry.invocation("agent"):
        pass
    assert llm_telemetry.get_invocations() == []
"""
    )
    result = session(project)
    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*LLM calls*")


@pytest.mark.slow
def test_a_session_without_calls_says_so(project: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that may store nothing, why."""
    project.makepyfile(test_calls="def test_nothing():\n    pass\n")
    result = session(project, "--llm-telemetry=t.db")
    result.stdout.fnmatch_lines(["*LLM calls*", "none was recorded"])
    assert result.ret == 0
    monkeypatch.setenv("LLM_TELEMETRY_PRIVACY_LEVEL", "none")
    session(project, "--llm-telemetry=none.db").stdout.fnmatch_lines(["none was recorded: privacy_level is none"])
    assert not (project.path / "none.db").exists()


@pytest.mark.costly
@pytest.mark.parametrize(
    ("options", "says"),
    quick([
        (["--llm-telemetry", "."], "*. is no database; write --llm-telemetry=PATH, or the option after the tests"),
        (["--llm-telemetry", "test_a.py"], "*test_a.py is no database; write --llm-telemetry=PATH*"),
        (["--llm-budget", "cheap"], "*'cheap' is no amount; give USD such as 0.50"),
        (["--llm-budget", "-1"], "*'-1' is no amount; give USD such as 0.50"),
        (["--llm-telemetry=t.db", "--llm-run="], "ERROR: --llm-telemetry: run: *"),
        (["--llm-telemetry=config"], "*config is no database*"),
        (["--llm-telemetry=config/telemetry.yaml"], "*--llm-telemetry: *"),
    ], 0, 3),
)  # fmt: skip
def test_what_cannot_be_used_is_a_usage_error(project: pytest.Pytester, options: list[str], says: str) -> None:
    """Before any test runs."""
    project.makepyfile(test_calls="def test_nothing():\n    pass\n")
    result = session(project, *options)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (result.stderr if result.errlines else result.stdout).fnmatch_lines([says])


def test_the_plugin_alone_imports_nothing_of_telemetry() -> None:
    """It is loaded in every project of the environment."""
    code = "import sys, llm_service.pytest_plugin; print([n for n in sys.modules if n.startswith('llm_service')])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['llm_service', 'llm_service.pytest_plugin']"


def test_a_refusal_names_the_amounts(tmp_path: Path) -> None:
    """As any `BudgetExceeded`; other runs have budgets of their own."""
    budget = Decimal("0.5")
    with TelemetryLogger(tmp_path / "t.db", policies=policies_with(budget)) as logger:
        logger.log_invocation(InvocationRecord(run="other", cost_usd=0.75))
        session_budget = SessionBudget(logger, "r", budget)
        session_budget.admit()
        logger.log_invocation(InvocationRecord(run="r", cost_usd=0.5))
        with pytest.raises(BudgetExceeded) as caught:
            session_budget.admit()
        assert (caught.value.limit, caught.value.spent, caught.value.subject) == (budget, budget, ("r",))


def test_a_file_that_cannot_be_read_at_the_end_fails_the_session(tmp_path: Path) -> None:
    """Nobody knows then what it cost."""
    path = tmp_path / "t.db"
    path.write_bytes(os.urandom(4096))
    recording = SessionRecording("r", path, None, is_worker=False)
    ended: Any = SimpleNamespace(exitstatus=pytest.ExitCode.OK)
    recording.pytest_sessionfinish(ended)
    assert ended.exitstatus == pytest.ExitCode.TESTS_FAILED
    written: list[str] = []
    terminal = SimpleNamespace(section=written.append, write_line=lambda line, **_: written.append(line))
    recording.pytest_terminal_summary(terminal)
    assert written[0] == "LLM calls"
    assert written[1].startswith("FAILED: what was recorded cannot be read: ")


def test_what_was_lost_is_said(tmp_path: Path) -> None:
    """And a session that failed by itself keeps its exit code."""
    recording = SessionRecording("r", tmp_path / "t.db", None, is_worker=False)
    recording.logger = TelemetryLogger(tmp_path / "t.db")
    recording.logger.close()
    recording.logger.log_invocation_nowait(InvocationRecord())
    ended: Any = SimpleNamespace(exitstatus=pytest.ExitCode.INTERRUPTED)
    recording.pytest_sessionfinish(ended)
    assert recording._said == ["1 call could not be stored", "none was recorded"]
    assert ended.exitstatus == pytest.ExitCode.INTERRUPTED
