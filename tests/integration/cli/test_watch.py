"""`watch`: one frame where it is piped, a screen on a terminal, and how it ends."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.integration.cli.conftest import Run

from llm_service.cli import command_watch
from llm_service.cli.tables import cell_width
from llm_service.errors import StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.live import MINUTES, Minute, read_live
from llm_service.telemetry.stores.sqlite import reader


def test_one_frame_where_it_is_piped(run: Run, database: Path) -> None:
    """The rate, today, budgets, failures and calls; what data has of a terminal's commands is escaped."""
    shown = run("watch", "--tz", "UTC", "--db", database).stdout
    lines = shown.splitlines()
    assert lines[0].endswith("(UTC)  telemetry.db")
    assert "1 call, 0 failed" in lines[1]
    assert lines[2].startswith("today: ")
    assert "it broke" in shown
    assert "\x1b" not in shown
    assert run("watch", "--once", "--tz", "UTC", "--db", database).stdout.splitlines()[3:] == lines[3:]


def test_json_is_one_frame(run: Run, database: Path) -> None:
    """Today is that of the zone."""
    found = json.loads(run("watch", "--json", "--tz", "UTC", "--db", database).stdout)
    assert list(found) == ["at", "minutes", "today", "since", "time_zone", "last_calls", "last_failures", "budgets"]
    assert (len(found["minutes"]), len(found["last_calls"]), len(found["last_failures"])) == (MINUTES, 6, 2)
    asked = ("--since", "today", "--measure", "calls,failures,cost,tokens", "--tz", "UTC", "--json", "--db", database)
    assert found["today"] == json.loads(run("query", *asked).stdout)["totals"]


def test_budgets_stand_as_the_other_command_says(run: Run, database: Path, tmp_path: Path) -> None:
    """The fullest ones, and how many more there are."""
    policies = "".join(
        f"      - {{window: {window}, {what}: {number}}}\n"
        for number, window in enumerate(("hour", "day", "month"), 1)
        for what in ("usd", "calls")
    )
    config = tmp_path / "config"
    config.mkdir()
    (config / "policies.yaml").write_text(f"policies:\n  default:\n    limits:\n{policies}")
    (config / "telemetry.yaml").write_text(f"db_path: {database}\n")
    asked = ("--config", config / "telemetry.yaml", "--json")
    rows = json.loads(run("budgets", *asked).stdout)
    assert rows
    assert [row["used_percent"] for row in json.loads(run("watch", *asked).stdout)["budgets"]] == [
        row["used_percent"] for row in rows
    ]
    assert "2 more: llm-telemetry budgets" in run("watch", *asked[:2]).stdout


def test_filters_narrow_it(run: Run, database: Path) -> None:
    """By names and by anything else."""
    for narrowed in (["--agent", "tester"], ["--where", "agent=tester"], ["--where", "agent=tester latency>0"]):
        found = json.loads(run("watch", *narrowed, "--json", "--db", database).stdout)
        assert {row["agent_name"] for row in found["last_calls"]} == {"tester"}
    assert "did you mean tester?" in run("watch", "--agent", "testr", "--db", database).stderr


def test_minutes_end_now(tmp_path: Path) -> None:
    """Each has 60 seconds; what is older or to come is in none."""
    path, now = tmp_path / "minutes.db", datetime(2026, 11, 23, 18, 30, 30, tzinfo=UTC)
    ages = {
        -5: "success",
        1: "success",
        59: "error",
        61: "success",
        60 * MINUTES - 1: "timeout",
        60 * MINUTES + 1: "success",
    }
    with TelemetryLogger(path, retention_days=None) as logger:
        for age, status in ages.items():
            logger.log_invocation(InvocationRecord(status=status, timestamp=now - timedelta(seconds=age)))
    live = reader.read(path, lambda fetch: read_live(fetch, InvocationFilter(), "UTC", now, calls=2, failures=1))
    assert live["minutes"] == [Minute(1, 1), *[Minute(0, 0)] * (MINUTES - 3), Minute(1, 0), Minute(2, 1)]
    assert (len(live["last_calls"]), len(live["last_failures"])) == (2, 1)


@pytest.mark.parametrize("height", [24, 40])
def test_a_screen_fits(database: Path, height: int) -> None:
    """Into 80 cells and 24 lines, too; and shows as many calls as there is room for."""
    now = datetime.now(UTC)
    with TelemetryLogger(database, retention_days=None) as logger:
        for number in range(60):
            logger.log_invocation(
                InvocationRecord(
                    agent_name="agent-" * 10, model_name="model-" * 10, status="error", error_message="no " * 99,
                    timestamp=now - timedelta(seconds=number),
                )
            )  # fmt: skip
    live = reader.read(database, lambda fetch: read_live(fetch, InvocationFilter(), "UTC", now, calls=50, failures=3))
    lines = command_watch._lines(command_watch.Frame(now, live, []), database, UTC, 80, height)
    assert len(lines) == height
    assert max(cell_width(line.text) for line in lines) <= 80


def test_what_cannot_be_read_for_a_while_is_said(run: Run, database: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the screen goes on; of the first frame it is an error."""
    left = iter(["fails", "reads", "ends"])
    real = command_watch.read

    def read(path: Path, question: object) -> object:
        return real(path, question)  # type: ignore[arg-type]

    def fail(path: Path, _question: object) -> object:
        raise StoreError("the disk is gone", path)

    def wait(_: float) -> None:
        step = next(left)
        if step == "ends":
            raise KeyboardInterrupt
        monkeypatch.setattr(command_watch, "read", fail if step == "fails" else read)

    monkeypatch.setattr(command_watch, "is_terminal", lambda _: True)
    monkeypatch.setattr(command_watch.time, "sleep", wait)
    ended = run("watch", "--db", database)
    assert ended.exit_code == 130
    assert "the disk is gone" in ended.stdout
    assert run("watch", "--db", database.with_name("none.db")).exit_code == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_and_leaves_the_terminal_as_it_was(
    command: list[str],
    environment: dict[str, str],
    database: Path,
    number: int,
    code: int,
    reaped: Callable[[subprocess.Popen[bytes]], None],
) -> None:
    """The other screen is left, the cursor is shown."""
    import pty

    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*command, "watch", "--db", str(database)],
        env=environment | {"TERM": "xterm", "COLUMNS": "80", "LINES": "24"}, stdin=slave, stdout=slave, stderr=slave,
    )  # fmt: skip
    reaped(process)
    os.close(slave)
    shown = b""
    while b"last calls" not in shown:
        shown += os.read(master, 65_536)
    process.send_signal(number)
    try:
        while chunk := os.read(master, 65_536):
            shown += chunk
    except OSError:  # Linux reports the end of a terminal so
        pass
    os.close(master)
    assert process.wait(30) == code
    assert b"\x1b[?1049h" in shown
    assert shown.rfind(b"\x1b[?1049l") > shown.rfind(b"\x1b[?1049h")
    assert b"\x1b[?25h" in shown
    assert b"Traceback" not in shown


@pytest.fixture
def reaped() -> object:
    """Ends what a test has started and not ended."""
    started: list[subprocess.Popen[bytes]] = []
    yield started.append
    for process in started:
        if process.poll() is None:
            process.kill()
            process.wait()
