"""How each result looks: as lines and tables for people, and as a dict for `--json`."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import click

from llm_service.cli.demo import SPEED, DemoReport
from llm_service.cli.model import note
from llm_service.cli.output import Column, clean, lines, table
from llm_service.cli.replay import Percentiles, Report
from llm_service.telemetry.pipeline.ledger import Ledger
from llm_service.telemetry.queries import DailyCost, InvocationRow, Statistics

__all__ = [
    "demo_dict",
    "replay_dict",
    "show_costs",
    "show_demo",
    "show_invocations",
    "show_replay",
    "show_statistics",
]

_COSTS: Final = (
    Column("date", whole=True),
    Column("agent"),
    Column("tool"),
    Column("model"),
    Column("calls", "right"),
    Column("failed", "right"),
    Column("tokens", "right"),
    Column("cost USD", "right"),
)
_INVOCATIONS: Final = (
    Column("time (UTC)", whole=True),
    Column("agent"),
    Column("tool"),
    Column("model"),
    Column("in", "right"),
    Column("out", "right"),
    Column("cost USD", "right"),
    Column("ms", "right"),
    Column("status"),
)


def show_costs(costs: Sequence[DailyCost]) -> None:
    """A table of daily costs and their totals."""
    if not costs:
        click.echo("no calls on these days")
        return
    nanos = sum(day["cost_nanos"] for day in costs)
    totals = [
        "total", "", "", "",
        _count(sum(day["invocations"] for day in costs)),
        _count(sum(day["errors"] + day["timeouts"] for day in costs)),
        _count(sum(day["total_tokens"] for day in costs)),
        _usd(nanos / 1e9),
    ]  # fmt: skip
    table(_COSTS, [_cost_cells(day) for day in costs], totals)
    unpriced = sum(day["unpriced"] for day in costs)
    if unpriced:
        click.echo(f"the cost of {_count(unpriced)} calls is not known")


def _cost_cells(day: DailyCost) -> list[str]:
    return [
        day["date"],
        _name(day["agent_name"]),
        _name(day["tool_name"]),
        _name(day["model_name"]),
        _count(day["invocations"]),
        _count(day["errors"] + day["timeouts"]),
        _count(day["total_tokens"]),
        _usd(day["cost_nanos"] / 1e9),
    ]


def show_statistics(statistics: Statistics) -> None:
    """A table of one value a line, under the keys of the API."""
    rows = [(key, _value(key, value)) for key, value in statistics.items()]
    table((Column("statistic"), Column("value", "right")), rows)


def _value(key: str, value: object) -> str:
    if isinstance(value, int):
        return _count(value)
    number = float(str(value))
    if key == "success_rate":
        return f"{number:.2%}"
    return _usd(number) if key.endswith("_usd") else f"{number:,.1f}"


def show_invocations(rows: Sequence[InvocationRow]) -> None:
    """A table of calls, newest first."""
    if not rows:
        click.echo("no such calls")
        return
    table(_INVOCATIONS, [_invocation_cells(row) for row in rows])


def _invocation_cells(row: InvocationRow) -> list[str]:
    return [
        row["timestamp"][:19],
        _name(row["agent_name"]),
        _name(row["tool_name"]),
        _name(row["model_name"]),
        "-" if row["prompt_tokens"] is None else _count(row["prompt_tokens"]),
        "-" if row["completion_tokens"] is None else _count(row["completion_tokens"]),
        "-" if row["cost_usd"] is None else f"{row['cost_usd']:,.6f}",
        "-" if row["latency_ms"] is None else f"{row['latency_ms']:,.0f}",
        row["status"] if row["error_message"] is None else f"{row['status']}: {row['error_message']}",
    ]


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
    show_costs(report.daily_costs)
    click.echo()
    click.echo(f"statistics since {replayed.first:%Y-%m-%d}")
    show_statistics(report.statistics)


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
        "daily_costs": report.daily_costs,
        "statistics": report.statistics,
    }


def _count(number: int) -> str:
    return f"{number:,}"


def _usd(amount: float) -> str:
    return f"{amount:,.4f}"


def _name(text: str | None) -> str:
    return "-" if text is None else text
