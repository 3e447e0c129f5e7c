"""`demo`: a trace of calls goes through the logger, and what it cost is read back."""

import math
import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.command_costs import show_costs
from llm_service.cli.command_stats import known_values, show_statistics
from llm_service.cli.group import Failure
from llm_service.cli.options import FILE, SPEED, common, examples
from llm_service.cli.output import clean, lines, progress
from llm_service.cli.tables import count, plural
from llm_service.cli.target import Target, read

if TYPE_CHECKING:
    from llm_service.cli.trace_replay import Percentiles, Plan, Report
    from llm_service.config.settings import Settings
    from llm_service.telemetry import Ledger

__all__ = ["PACE", "TRACE", "demo"]

TRACE: Final = Path(__file__).with_name("data") / "azure_llm_inference_2023_code_first_1000.csv"
PACE: Final = 300.0
"""Turns the slice's 8.7 minutes into 1.7 seconds: long enough to measure the event loop's lag."""
_IDLE_S: Final = 0.25


@click.command(
    epilog=examples(
        "demo",
        "demo --agents 50 --db ./demo.db",
        "demo --json",
        "demo --replay trace.csv --agents 50 --shift-to-now",
        "demo --replay trace.csv --speed 60 --limit 1000 --db ./telemetry.db --json",
    )
)
@click.option("--agents", type=click.IntRange(1, 10_000), default=8, show_default=True, help="Concurrent agents.")
@click.option("--replay", "trace", type=FILE, metavar="FILE.csv", help="Replay this trace instead, and only that.")
@click.option("--speed", type=SPEED, help="With --replay: 1 is the trace's own pace, max no waiting.  [default: max]")
@click.option("--shift-to-now", is_flag=True, help="With --replay: move the calls so that the last one ends now.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="With --replay: only the first N calls.")
@common
def demo(
    *, agents: int, trace: Path | None, speed: float | None, shift_to_now: bool, limit: int | None, target: Target
) -> None:
    """Replay the beginning of a real trace into a fresh file, and show what it cost.

    The database is a new temporary file, which is kept; with --db it is that file, which must not exist yet.

    --replay takes a CSV with the columns TIMESTAMP, ContextTokens and GeneratedTokens, as the Azure LLM Inference Trace
    2023 has; --db may then be a database of telemetry, to add to. Agents, models, prices, latency and failures are
    modelled.
    """
    import asyncio

    from llm_service.cli.trace import read_trace
    from llm_service.cli.trace_replay import Plan, replay

    if trace is None and (speed is not None or shift_to_now or limit is not None):
        raise click.UsageError("--speed, --shift-to-now and --limit go with --replay FILE.csv")
    rows = read_trace(trace or TRACE, limit)
    settings = _settings(target, may_exist=trace is not None)
    if trace is None:
        plan = Plan(rows=rows, agents=agents, speed=PACE, call="log_invocation_nowait", idle_s=_IDLE_S)
    else:
        pace = None if speed is None or math.isinf(speed) else speed
        plan = Plan(rows=rows, agents=agents, speed=pace, shift_to_now=shift_to_now)
    with progress(len(rows), "replaying") as on_progress:
        report = asyncio.run(replay(plan, settings, on_progress))
    ((records,),) = read(report.db_path, lambda fetch: fetch(("SELECT count(*) FROM invocations", [])))
    found = _to_dict(report, records, shifted=shift_to_now)
    if trace is None:
        found |= _read_back(plan, report, settings)
    name = "the Azure LLM Inference Trace 2023 (code; Microsoft, CC BY 4.0)" if trace is None else trace.name
    target.show(found, lambda found: _show(found, report, name))
    if not report.complete:
        raise Failure(f"not every call reached {report.db_path}: see the ledger")


def _settings(target: Target, *, may_exist: bool) -> "Settings":
    """The settings to replay with: retention would delete an old trace at once."""
    import tempfile

    db = target.db
    if db is None:
        db = Path(tempfile.mkdtemp(prefix="llm-telemetry-demo-")) / "telemetry.db"
    elif os.path.lexists(db):
        if not may_exist:
            raise click.BadParameter(f"{db} exists; the demo writes only to a new file", param_hint="--db")
        target.path_to_change()
    elif not db.absolute().parent.is_dir():  # a folder with a slip in its name is not made
        raise click.BadParameter(f"there is no folder {db.parent}; make it, or give another file", param_hint="--db")
    settings = target._replace(db=db).settings()
    if not settings.enabled or settings.privacy_level == "none":
        setting = "enabled: false" if not settings.enabled else "privacy_level: none"
        raise Failure(f"the configuration says {setting}, so nothing would be stored; change it or give --db alone")
    return replace(settings, retention_days=None)


def _read_back(plan: "Plan", report: "Report", settings: "Settings") -> dict[str, Any]:
    """What the file says of the trace's own days, and how fast a second replay is, into a file that is deleted."""
    import asyncio
    import tempfile

    from llm_service.cli.trace_replay import replay
    from llm_service.telemetry.queries.costs import COST_KEYS, read_costs
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.questions import read_statistics_of
    from llm_service.telemetry.queries.time_range import time_range

    with tempfile.TemporaryDirectory(prefix="llm-telemetry-demo-") as folder:
        throw_away = replace(settings, db_path=Path(folder) / "full-speed.db")
        full_speed = asyncio.run(replay(replace(plan, speed=None, idle_s=0.0), throw_away))
    all_days, everyone = time_range(report.first.date(), report.last.date(), now=report.last), InvocationFilter()
    return {
        "idle_loop_lag_ms": asdict(report.idle_lag_ms),
        "full_speed_records_per_second": full_speed.records_per_second,
        "costs": read(report.db_path, lambda fetch: read_costs(fetch, COST_KEYS, everyone, all_days)),
        "statistics": read(report.db_path, lambda fetch: read_statistics_of(fetch, all_days, everyone)[0]),
    }


def _to_dict(report: "Report", records: int, *, shifted: bool) -> dict[str, Any]:
    from llm_service.cli.model import note
    from llm_service.telemetry.queries.plans import timestamp_of

    return {
        "note": note(shifted=shifted),
        "db_path": str(report.db_path),
        "records_on_disk": records,
        "rows": report.rows,
        "agents": report.agents,
        "first_timestamp": timestamp_of(report.first),
        "last_timestamp": timestamp_of(report.last),
        "seconds": report.seconds,
        "records_per_second": report.records_per_second,
        "ledger": asdict(report.ledger),
        "hot_path_call": report.call,
        "hot_path_us": asdict(report.call_us),
        "loop_lag_ms": asdict(report.lag_ms),
    }


def _show(found: dict[str, Any], report: "Report", name: str) -> None:
    """What was replayed and measured; of the demo, also what is in the file now."""
    import shlex

    is_demo = "costs" in found
    calls = f"the first {count(report.rows)}" if is_demo else count(report.rows)
    click.echo(clean(f"{calls} calls of {name}, replayed by {plural(report.agents, 'agent')}"))
    click.echo(f"{found['note']}\n")
    rate = f"{report.records_per_second:,.0f} records/s"
    if is_demo:
        full_speed = f"{found['full_speed_records_per_second']:,.0f} records/s at full speed (a second run, not kept)"
        rate = f"{full_speed}; {rate} at {PACE:g} times the trace's pace"
    lag = _percentiles(report.lag_ms, "ms")
    if report.idle_lag_ms.samples:
        lag += f"; of the idle loop {_percentiles(report.idle_lag_ms, 'ms')}"
    call = report.call if report.call == "log_invocation_nowait" else f"{report.call}; each 64th lets other tasks run"
    lines(
        [
            ("database", found["db_path"]),
            ("records on disk", count(found["records_on_disk"])),
            ("ledger", _equation(report.ledger)),
            ("from", f"{report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} (UTC)"),
            ("rate", rate),
            ("hot path", f"{_percentiles(report.call_us, 'us')} for a {call}"),
            ("event loop lag", lag),
        ]
    )
    if is_demo:
        click.echo(f"\ndaily costs from {report.first:%Y-%m-%d} to {report.last:%Y-%m-%d} (UTC, inclusive)")
        show_costs(found["costs"])
        click.echo(f"\nstatistics since {report.first:%Y-%m-%d}")
        show_statistics(known_values(found["statistics"]))
        click.echo(f"\nnext: llm-telemetry costs --by agent,model --db {clean(shlex.quote(found['db_path']))}")


def _percentiles(measured: "Percentiles", unit: str) -> str:
    return f"p50 {measured.p50:.2f} {unit}, p99 {measured.p99:.2f} {unit} ({plural(measured.samples, 'sample')})"


def _equation(ledger: "Ledger") -> str:
    lost = sum(ledger.dropped.values())
    reasons = f" ({', '.join(f'{reason} {count:,}' for reason, count in ledger.dropped.items())})" if lost else ""
    return (
        f"submitted {ledger.submitted:,} = written {ledger.written:,} + duplicates {ledger.duplicates:,}"
        f" + quarantined {ledger.quarantined:,} + dropped {lost:,}{reasons} + pending {ledger.pending:,}"
    )
