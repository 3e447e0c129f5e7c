"""`demo` and `replay`: a trace goes through the logger."""

import math
import os
from dataclasses import replace as replaced
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_service.cli.group import Failure
from llm_service.cli.options import SPEED, common, settings_for
from llm_service.cli.output import json_document, progress

if TYPE_CHECKING:
    from llm_service.config.settings import Settings

__all__ = ["demo", "replay"]


@click.command(
    epilog="""\b
Examples:
  llm-telemetry demo
  llm-telemetry demo --agents 50 --db ./demo.db
  llm-telemetry demo --json"""
)
@click.option("--agents", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Concurrent agents.")
@common
def demo(*, agents: int, db: Path | None, config: Path | None, as_json: bool) -> None:
    """Replay the beginning of a real trace into a fresh file, and show what it cost.

    The database is a new temporary file, which is kept; with --db it is that file, which must not exist yet.
    """
    import tempfile  # noqa: PLC0415

    from llm_service.cli import replay_views  # noqa: PLC0415
    from llm_service.cli.demo import ROWS, run_demo  # noqa: PLC0415

    if db is not None and os.path.lexists(db):
        raise click.BadParameter(f"{db} exists; the demo writes only to a new file", param_hint="--db")
    if db is not None:
        _refuse_missing_folder(db)
    else:
        db = Path(tempfile.mkdtemp(prefix="llm-telemetry-demo-")) / "telemetry.db"
    with progress(ROWS, "replaying") as on_progress:
        report = run_demo(_recording(settings_for(db, config)), agents, on_progress)
    if as_json:
        json_document(replay_views.demo_dict(report))
    else:
        replay_views.show_demo(report)
    _check(report.replayed.complete, report.replayed.db_path)


@click.command(
    epilog="""\b
Examples:
  llm-telemetry replay trace.csv --db ./telemetry.db
  llm-telemetry replay trace.csv --agents 50 --shift-to-now
  llm-telemetry replay trace.csv --speed 60 --limit 1000 --json"""
)
@click.argument("trace", metavar="FILE.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--agents", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Concurrent agents.")
@click.option(
    "--speed", type=SPEED, default="max", show_default=True, help="1 is the trace's own pace, 0 or max no waiting."
)
@click.option("--shift-to-now", is_flag=True, help="Move the calls' times so that the last one ends now.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Replay only the first N calls.")
@common
def replay(
    *,
    trace: Path,
    agents: int,
    speed: float,
    shift_to_now: bool,
    limit: int | None,
    db: Path | None,
    config: Path | None,
    as_json: bool,
) -> None:
    """Replay a trace of LLM calls through the logger, as concurrent agents.

    FILE.csv has the columns TIMESTAMP, ContextTokens and GeneratedTokens, as the Azure LLM Inference Trace 2023 has.
    Agents, models, prices, latency and failures are modelled.
    """
    import asyncio  # noqa: PLC0415

    from llm_service.cli import replay_views, reports  # noqa: PLC0415
    from llm_service.cli.trace import read_trace  # noqa: PLC0415
    from llm_service.cli.trace_replay import Plan  # noqa: PLC0415
    from llm_service.cli.trace_replay import replay as run  # noqa: PLC0415

    settings = _recording(settings_for(db, config))
    if os.path.lexists(settings.db_path):
        reports.looked_after(settings.db_path)
    elif db is not None:
        _refuse_missing_folder(db)
    rows = read_trace(trace, limit)
    pace = None if math.isinf(speed) else speed
    plan = Plan(rows=rows, agents=agents, speed=pace, shift_to_now=shift_to_now)
    with progress(len(rows), "replaying") as on_progress:
        report = asyncio.run(run(plan, settings, on_progress))
    records = reports.count_records(report.db_path)
    if as_json:
        json_document(replay_views.replay_dict(report, records, shifted=shift_to_now))
    else:
        replay_views.show_replay(report, records, source=trace.name, shifted=shift_to_now)
    _check(report.complete, report.db_path)


def _refuse_missing_folder(db: Path) -> None:
    """A new database goes into a folder that is there: one with a slip in its name is not made."""
    if not db.absolute().parent.is_dir():
        raise click.BadParameter(f"there is no folder {db.parent}; make it, or give another file", param_hint="--db")


def _recording(settings: "Settings") -> "Settings":
    """Settings to replay with: an old trace would be past its retention at once."""
    if not settings.enabled or settings.privacy_level == "none":
        setting = "enabled: false" if not settings.enabled else "privacy_level: none"
        raise Failure(f"the configuration says {setting}, so nothing would be stored; change it or give --db alone")
    return replaced(settings, retention_days=None)


def _check(complete: bool, path: Path) -> None:  # noqa: FBT001 - the one thing it is about
    if not complete:
        raise Failure(f"not every call reached {path}: see the ledger")
