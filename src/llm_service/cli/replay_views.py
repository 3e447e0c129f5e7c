"""How a replay and the demo look: as lines and tables for people, and as a dict for `--json`."""

import shlex
from dataclasses import asdict
from typing import Any

import click

from llm_service.cli.demo import SPEED, DemoReport
from llm_service.cli.model import note
from llm_service.cli.output import clean, lines
from llm_service.cli.trace_replay import Percentiles, Report
from llm_service.cli.views import show_costs, show_statistics
from llm_service.telemetry.writer.ledger import Ledger

__all__ = ["demo_dict", "replay_dict", "show_demo", "show_replay"]


def show_replay(report: Report, records_on_disk: int, *, source: str, shifted: bool) -> None:
    """What a replay did."""
    click.echo(clean(f"{_count(report.rows)} calls of {source}, replayed by {_count(report.agents)} agents"))
    click.echo(note(shifted=shifted))
    click.echo()
    lines(
        [*_facts(report, records_on_disk), ("rate", f"{report.records_per_second:,.0f} records/s"), *_measured(report)]
    )


def show_demo(report: DemoReport) -> None:
    """What the demo did, and what is on disk now."""
    replayed = report.replayed
    click.echo(
        f"the first {_count(replayed.rows)} calls of the Azure LLM Inference Trace 2023 (code; Microsoft, CC BY 4.0),"
        f" replayed by {_count(replayed.agents)} agents"
    )
    click.echo(note())
    click.echo()
    rate = (
        f"{report.full_speed.records_per_second:,.0f} records/s at full speed (a second run, not kept);"
        f" {replayed.records_per_second:,.0f} records/s at {SPEED:g} times the trace's pace"
    )
    lines([*_facts(replayed, report.records_on_disk), ("rate", rate), *_measured(replayed)])
    click.echo()
    click.echo(f"daily costs from {replayed.first:%Y-%m-%d} to {replayed.last:%Y-%m-%d} (UTC, inclusive)")
    show_costs(report.costs)
    click.echo()
    click.echo(f"statistics since {replayed.first:%Y-%m-%d}")
    show_statistics(report.statistics)
    click.echo()
    click.echo(f"next: llm-telemetry costs --by agent,model --db {clean(shlex.quote(str(replayed.db_path)))}")


def _facts(report: Report, records_on_disk: int) -> list[tuple[str, str]]:
    return [
        ("database", str(report.db_path)),
        ("records on disk", _count(records_on_disk)),
        ("ledger", _equation(report.ledger)),
        ("from", f"{report.first:%Y-%m-%d %H:%M:%S} to {report.last:%Y-%m-%d %H:%M:%S} (UTC)"),
    ]


def _measured(report: Report) -> list[tuple[str, str]]:
    lag = _percentiles(report.lag_ms, "ms")
    idle = report.idle_lag_ms
    if idle.samples:
        lag += f"; of the idle loop {_percentiles(idle, 'ms')}"
    call = report.call if report.call == "log_invocation_nowait" else f"{report.call}; each 64th lets other tasks run"
    return [("hot path", f"{_percentiles(report.call_us, 'us')} for a {call}"), ("event loop lag", lag)]


def _percentiles(measured: Percentiles, unit: str) -> str:
    return f"p50 {measured.p50:.2f} {unit}, p99 {measured.p99:.2f} {unit} ({_count(measured.samples)} samples)"


def _equation(ledger: Ledger) -> str:
    lost = sum(ledger.dropped.values())
    reasons = f" ({', '.join(f'{reason} {count:,}' for reason, count in ledger.dropped.items())})" if lost else ""
    return (
        f"submitted {ledger.submitted:,} = written {ledger.written:,} + duplicates {ledger.duplicates:,}"
        f" + quarantined {ledger.quarantined:,} + dropped {lost:,}{reasons} + pending {ledger.pending:,}"
    )


def replay_dict(report: Report, records_on_disk: int, *, shifted: bool = False) -> dict[str, Any]:
    """What a replay did, for `--json`."""
    return {
        "note": note(shifted=shifted),
        "db_path": str(report.db_path),
        "records_on_disk": records_on_disk,
        "rows": report.rows,
        "agents": report.agents,
        "first": report.first.isoformat(),
        "last": report.last.isoformat(),
        "seconds": report.seconds,
        "records_per_second": report.records_per_second,
        "ledger": asdict(report.ledger),
        "hot_path_call": report.call,
        "hot_path_us": asdict(report.call_us),
        "loop_lag_ms": asdict(report.lag_ms),
    }


def demo_dict(report: DemoReport) -> dict[str, Any]:
    """What the demo did, for `--json`."""
    return replay_dict(report.replayed, report.records_on_disk) | {
        "idle_loop_lag_ms": asdict(report.replayed.idle_lag_ms),
        "full_speed_records_per_second": report.full_speed.records_per_second,
        "costs": report.costs,
        "statistics": report.statistics,
    }


def _count(number: int) -> str:
    return f"{number:,}"
