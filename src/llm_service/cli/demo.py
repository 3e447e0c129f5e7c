"""The demo: the bundled beginning of a real trace, replayed by concurrent agents into a fresh file, and read back."""

import asyncio
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from llm_service.cli import reports
from llm_service.cli.trace import read_trace
from llm_service.cli.trace_replay import Plan, Progress, Report, replay
from llm_service.config.settings import Settings
from llm_service.telemetry.queries.costs import CostReport
from llm_service.telemetry.queries.questions import Statistics

__all__ = ["ROWS", "SPEED", "TRACE", "DemoReport", "run_demo"]

TRACE: Final = Path(__file__).with_name("data") / "azure_llm_inference_2023_code_first_1000.csv"
ROWS: Final = 1_000
SPEED: Final = 300.0
"""Turns the slice's 8.7 minutes into 1.7 seconds: long enough to measure the event loop's lag."""
_IDLE_S: Final = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """What the demo did.

    Attributes:
        replayed: the replay that stays on disk, at `SPEED`.
        full_speed: a second replay as fast as possible, into a file that is gone.
        records_on_disk: calls in the file that stays.
        costs, statistics: over the trace's own days.
    """

    replayed: Report
    full_speed: Report
    records_on_disk: int
    costs: CostReport
    statistics: Statistics


def run_demo(settings: Settings, agents: int, on_progress: Progress | None = None) -> DemoReport:
    """Run it.

    Args:
        settings: their `db_path` is a file that does not exist yet.
        agents: concurrent tasks.
        on_progress: see `replay`.

    Raises:
        StoreError: the file cannot be used.
    """
    rows = read_trace(TRACE)
    plan = Plan(rows=rows, agents=agents, speed=SPEED, call="log_invocation_nowait", idle_s=_IDLE_S)
    replayed = asyncio.run(replay(plan, settings, on_progress))
    with tempfile.TemporaryDirectory(prefix="llm-telemetry-demo-") as folder:
        throw_away = replace(settings, db_path=Path(folder) / "full-speed.db")
        full_speed = asyncio.run(replay(replace(plan, speed=None, idle_s=0.0), throw_away))
    path = replayed.db_path
    return DemoReport(
        replayed=replayed,
        full_speed=full_speed,
        records_on_disk=reports.count_records(path),
        costs=reports.costs(path, since=replayed.first.date(), until=replayed.last.date()),
        statistics=reports.statistics(path, replayed.first),
    )
