"""How each report looks: as lines and tables for people. `--json` prints the report itself."""

import json
from collections.abc import Sequence
from typing import Any, Final

import click

from llm_service.cli.cell_formats import UNKNOWN, count, named, sum_usd, usd
from llm_service.cli.output import Printer, block, lines, table
from llm_service.cli.reports import Info
from llm_service.cli.tables import Column
from llm_service.config.load import ConfigValue
from llm_service.telemetry.queries.call_content import Content
from llm_service.telemetry.queries.costs import CostKey, CostReport, CostSums
from llm_service.telemetry.queries.questions import InvocationRow, Statistics
from llm_service.telemetry.record.timestamps import is_ahead

__all__ = [
    "Follower",
    "is_cost_unknown",
    "show_costs",
    "show_info",
    "show_invocation",
    "show_invocations",
    "show_settings",
    "show_statistics",
]

_KEYS: Final[dict[CostKey, tuple[str, Column]]] = {
    "day": ("date", Column("date", whole=True)),
    "agent": ("agent_name", Column("agent")),
    "tool": ("tool_name", Column("tool", rank=3)),
    "model": ("model_name", Column("model")),
}
_SUMS: Final = (
    Column("calls", "right"),
    Column("failed", "right", rank=2),
    Column("tokens", "right", rank=1),
    Column("cost USD", "right"),
)
UNPRICED: Final = Column("unpriced", "right")
"""How many calls have no known cost: shown as soon as there is one."""
_INVOCATIONS: Final = (
    Column("id", "right", rank=4, typical=5),
    Column("time (UTC)", whole=True, typical=19),
    Column("agent", typical=16),
    Column("tool", rank=7, typical=11),
    Column("model", rank=3, typical=17),
    Column("in", "right", rank=6, typical=6),
    Column("out", "right", rank=5, typical=6),
    Column("cost USD", "right", rank=1, typical=8),
    Column("ms", "right", rank=2, typical=7),
    Column("status", typical=9),
)


def show_costs(report: CostReport) -> None:
    """A table of costs by the keys of the report, their totals, and how much of them is known.

    A cost of calls of which none is priced reads `unknown`; where some are not, a column counts them.
    """
    if not report["rows"]:
        click.echo("no calls on these days")
        return
    keys = [_KEYS[key] for key in report["by"]]
    sums = [*_SUMS, UNPRICED] if report["totals"]["unpriced"] else [*_SUMS]
    totals = ["total", *[""] * (len(keys) - 1), *_sum_cells(report["totals"])[: len(sums)]]
    rows = [[*(named(row[column]) for column, _ in keys), *_sum_cells(row)[: len(sums)]] for row in report["rows"]]
    table([*(column for _, column in keys), *sums], rows, totals)
    calls = report["totals"]["invocations"]
    known = (("cost", report["priced_invocations"]), ("tokens", report["counted_invocations"]))
    click.echo("known: " + ", ".join(f"{what} of {count(n)} ({n / calls:.1%})" for what, n in known))


def _sum_cells(sums: CostSums | dict[str, Any]) -> list[str]:
    return [
        count(sums["invocations"]),
        count(sums["errors"] + sums["timeouts"]),
        count(sums["total_tokens"]),
        sum_usd(sums),
        count(sums["unpriced"]),
    ]


def is_cost_unknown(statistics: Statistics) -> bool:
    """Whether there are calls, and none of them has a known cost."""
    return bool(statistics["total_invocations"]) and not statistics["priced_invocations"]


def known_values(statistics: Statistics) -> dict[str, object]:
    """The statistics, with None for what no call of the window tells: of none, a rate or a latency is not 0."""
    unknown = {"total_cost_usd"} if is_cost_unknown(statistics) else set[str]()
    if not statistics["total_invocations"]:
        unknown.add("success_rate")
    if not statistics["timed_invocations"]:
        unknown.update(key for key in statistics if key.endswith("_latency_ms"))
    return {key: None if key in unknown else value for key, value in statistics.items()}


def show_statistics(statistics: Statistics) -> None:
    """A table of one value a line, under the keys of the API."""
    nothing = {"total_cost_usd": UNKNOWN}
    known = known_values(statistics).items()
    rows = [(key, nothing.get(key, "-") if value is None else _value(key, value)) for key, value in known]
    table((Column("statistic", whole=True), Column("value", "right")), rows)


def _value(key: str, value: object) -> str:
    if isinstance(value, int):
        return count(value)
    number = float(str(value))
    if key == "success_rate":
        return f"{number:.2%}"
    return usd(number) if key.endswith("_usd") else f"{number:,.1f}"


def show_invocations(rows: Sequence[InvocationRow]) -> None:
    """A table of calls, newest first."""
    if not rows:
        click.echo("no such calls")
        return
    follower = Follower(rows)
    follower.show(rows)
    follower.left_out()


class Follower:
    """A table of calls to which rows are added as they come.

    Args:
        rows: those that are known by now; without any, common widths are assumed.
    """

    def __init__(self, rows: Sequence[InvocationRow]) -> None:
        columns = [column._replace(typical=0) for column in _INVOCATIONS] if rows else _INVOCATIONS
        self._printer = Printer(columns, [_invocation_cells(row) for row in rows])
        self._printer.heading()

    def show(self, rows: Sequence[InvocationRow]) -> None:
        """Print these below those that stand there."""
        self._printer.rows((_invocation_cells(row) for row in rows), _status_colour)

    def left_out(self) -> None:
        """Say which columns did not fit."""
        self._printer.left_out()


def _status_colour(cells: Sequence[str]) -> str | None:
    return None if cells[-1] == "success" else "yellow" if cells[-1].startswith("timeout") else "red"


def _invocation_cells(row: InvocationRow) -> list[str]:
    return [
        str(row["id"]),
        row["timestamp"][:19] + (" (ahead)" if is_ahead(row["timestamp"]) else ""),
        named(row["agent_name"]),
        named(row["tool_name"]),
        named(row["model_name"]),
        "-" if row["prompt_tokens"] is None else count(row["prompt_tokens"]),
        "-" if row["completion_tokens"] is None else count(row["completion_tokens"]),
        usd(row["cost_usd"], 6),
        "-" if row["latency_ms"] is None else f"{row['latency_ms']:,.0f}",
        row["status"] if row["error_message"] is None else f"{row['status']}: {row['error_message']}",
    ]


def show_invocation(row: InvocationRow, content: Content) -> None:
    """Everything that is known of one call; what was said in it, line by line."""
    known = [(name, _known(value)) for name, value in row.items() if value is not None]
    lines([*known, ("unknown", ", ".join(name for name, value in row.items() if value is None) or "-")])
    for name, text in (("prompt", content["prompt"]), ("response", content["response"])):
        if text is not None:
            click.echo(f"{name} ({count(len(text))} characters)")
            block(text)


def _known(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False)
    return count(value) if isinstance(value, int) else str(value)


def show_info(info: Info) -> None:
    """One fact a line."""
    first, last = info["first_timestamp"], info["last_timestamp"]
    newer = "" if info["schema_version"] <= info["known_schema_version"] else " (newer than this release knows)"
    sizes = ", ".join(
        f"{name} {_bytes(size)}"
        for name, size in (("database", info["database_bytes"]), ("wal", info["wal_bytes"]), ("shm", info["shm_bytes"]))
    )
    pages = f"{count(info['page_count'])} of {_bytes(info['page_size'])}, {count(info['free_pages'])} free"
    modes = f"auto_vacuum {info['auto_vacuum']}, journal_mode {info['journal_mode']}"
    lines(
        [
            ("database", info["db_path"]),
            ("sizes", sizes),
            ("records", count(info["records"])),
            ("from", "-" if first is None or last is None else f"{first[:19]} to {last[:19]} (UTC)"),
            ("schema", f"version {info['schema_version']}{newer}"),
            ("pages", f"{pages}; {modes}"),
            ("tables", ", ".join(f"{name} {count(rows)}" for name, rows in info["tables"].items())),
            ("libraries", ", ".join(f"{name} {version}" for name, version in info["libraries"].items())),
        ]
    )


def show_settings(values: Sequence[ConfigValue]) -> None:
    """A table of settings and where they come from."""
    columns = (Column("setting", whole=True), Column("value"), Column("source"))
    table(columns, [(value.name, _setting(value.value), value.source) for value in values])


def _setting(value: object) -> str:
    if value is None:
        return "none"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bytes(number: int) -> str:
    size, unit = float(number), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:,.0f} {unit}" if unit == "B" else f"{size:,.1f} {unit}"
