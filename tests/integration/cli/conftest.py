"""A database with a few calls, a small trace, and the ways to run `llm-telemetry`."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import llm_service
from llm_service.cli.commands import cli
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]

SOURCES = Path(llm_service.__file__).parents[1]
DAY = datetime(2023, 1, 15, 12, tzinfo=UTC)
HOSTILE = "\x1b]0;owned\x07\x9b31m[red]evil[/red]\u202e"


@pytest.fixture
def run() -> Run:
    """Runs a command in this process; a fault of ours is raised, not hidden in the result."""

    def invoke(*arguments: object) -> Result:
        result = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="llm-telemetry")
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return invoke


@pytest.fixture
def command() -> list[str]:
    """The start of a command line that runs a process of its own."""
    return [sys.executable, "-m", "llm_service"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """The environment of such a process: our sources, an empty home."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("LLM_", "NO_COLOR", "FORCE_COLOR"))
    }
    return kept | {"PYTHONPATH": str(SOURCES), "HOME": str(tmp_path), "TMPDIR": str(tmp_path)}


@pytest.fixture
def process(
    command: list[str], environment: dict[str, str], tmp_path: Path
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a command in a process of its own."""

    def start(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *map(str, arguments)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return start


@pytest.fixture
def database(tmp_path: Path) -> Path:
    """Six calls: four today and yesterday, a hostile one and one that knows nothing on 2023-01-15."""
    path = tmp_path / "telemetry.db"
    now = datetime.now(UTC)
    with TelemetryLogger(path) as telemetry:
        for number in range(4):
            telemetry.log_invocation(
                InvocationRecord(
                    agent_name="backend-dev" if number % 2 else "tester",
                    tool_name="claude-code",
                    model_name="gpt-4o",
                    prompt_tokens=1_000,
                    completion_tokens=500,
                    cost_usd=0.25,
                    latency_ms=100 * (number + 1),
                    status="error" if number == 3 else "success",
                    error_message="it broke" if number == 3 else None,
                    session_id=f"session-{number}",
                    timestamp=now - timedelta(hours=number),
                )
            )
        telemetry.log_invocation(
            InvocationRecord(agent_name=HOSTILE, error_message=HOSTILE, status="timeout", cost_usd=1.5, timestamp=DAY)
        )
        telemetry.log_invocation(InvocationRecord(timestamp=DAY + timedelta(hours=1)))
    return path


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """Twenty calls, half a second apart."""
    path = tmp_path / "trace.csv"
    rows = (f"{datetime(2023, 11, 16, 18, 0, tzinfo=UTC) + number * timedelta(seconds=0.5)}" for number in range(20))
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "".join(f"{time},100,10\n" for time in rows))
    return path
