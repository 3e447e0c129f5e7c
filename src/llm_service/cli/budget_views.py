"""How budgets and holds look: what is unknown is called so, and never shown as nothing."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from llm_service.cli.cell_formats import UNKNOWN, count
from llm_service.cli.output import clean, table
from llm_service.cli.tables import Column
from llm_service.errors import BudgetError
from llm_service.telemetry.queries.budget_status import BudgetHold, BudgetStatus

__all__ = ["show_check", "show_holds", "show_status"]

_STATUS: Final = (
    Column("budget"),
    Column("window", whole=True),
    Column("subject", rank=5),
    Column("limit", "right"),
    Column("spent", "right"),
    Column("reserved", "right", rank=2),
    Column("unknown", "right", rank=1),
    Column("unpriced", "right", rank=3),
    Column("used", "right"),
    Column("forecast", "right", rank=4),
    Column("resets (UTC)", whole=True, rank=6),
)
_HOLDS: Final = (
    Column("hold", whole=True),
    Column("state", whole=True),
    Column("since (UTC)", whole=True, rank=2),
    Column("lease ends (UTC)", whole=True, rank=1),
    Column("USD", "right"),
    Column("tokens", "right", rank=4),
    Column("for", rank=3),
    Column("justification", rank=5),
)
_USED: Final = [column.name for column in _STATUS].index("used")
_FULL: Final = 100.0
_MUCH: Final = 80.0


def show_status(rows: Sequence[BudgetStatus]) -> None:
    """A line for each limit and subject."""
    if not rows:
        click.echo("no limits, or nothing was counted for any subject of theirs yet")
        return
    table(_STATUS, [_cells(row) for row in rows], marked=_colour)


def _cells(row: BudgetStatus) -> list[str]:
    metric = row["metric"]
    spent = amount(metric, row["spent"])
    if metric == "usd" and row["unpriced_calls"] and row["unpriced_calls"] == row["calls"]:
        spent = UNKNOWN
    resets = row["resets_at"]
    return [
        row["budget"] + ("" if row["hard"] else " (soft)"),
        row["window"],
        ", ".join(value or "-" for value in row["subject"]),
        amount(metric, row["limit"]) + ("" if metric == "usd" else f" {metric}"),
        spent,
        amount(metric, row["reserved"]),
        amount(metric, row["unknown"]),
        count(row["unpriced_calls"]),
        f"{row['used_percent']:.1f}%",
        "-" if row["forecast"] is None else amount(metric, row["forecast"]),
        resets[:16] if resets is not None else "never" if row["window"] == "total" else "rolling",
    ]


def _colour(cells: Sequence[str]) -> str | None:
    percent = float(cells[_USED].rstrip("%"))
    return "red" if percent >= _FULL else "yellow" if percent >= _MUCH else None


def amount(metric: str, value: float) -> str:
    """An amount of a metric; USD to the hundredth of a cent, and further where that would show nothing."""
    if metric != "usd":
        return f"{value:,.0f}"
    digits = 4 if value == 0 or abs(value) >= 0.0001 else 9
    return f"${value:,.{digits}f}"


def show_check(rows: Sequence[BudgetStatus], asked: Mapping[str, Any], refused: BudgetError | None) -> None:
    """A line for each limit that the call does not fit into; else one that it fits."""
    if refused is not None:
        click.echo(clean(f"would not be let through: {refused}"))
        return
    for row in rows:
        if not row["fits"]:
            click.echo(clean(f"{'does not fit' if row['hard'] else 'over a soft limit'}: {_standing(row, asked)}"))
    if all(row["fits"] or not row["hard"] for row in rows):
        hard = [row for row in rows if row["hard"]]
        limits = f"{len(hard)} hard limit{'' if len(hard) == 1 else 's'}" if rows else "no budget covers it"
        click.echo(f"fits: {limits}")


def _standing(row: BudgetStatus, asked: Mapping[str, Any]) -> str:
    metric = row["metric"]
    wanted = asked[metric]
    unit = "" if metric == "usd" else f" {metric}"
    subject = f" of {', '.join(value or '-' for value in row['subject'])}" if row["subject"] else ""
    parts = ", ".join(f"{amount(metric, row[part])} {part}" for part in ("spent", "reserved", "unknown"))
    resets = "" if row["resets_at"] is None else f"; it resets at {row['resets_at'][:16]} UTC"
    more = "what the policies say of an unknown price" if wanted is None else f"{amount(metric, float(wanted))}{unit}"
    return (
        f"budget {row['budget']}{subject}, {row['window']}: {amount(metric, row['limit'])}{unit} limit, {parts}, "
        f"{more} asked{resets}"
    )


def show_holds(holds: Sequence[BudgetHold]) -> None:
    """A line for each hold."""
    if not holds:
        click.echo("nothing is held")
        return
    rows = [
        [
            hold["hold_id"],
            "lease over" if hold["expired"] else "cost unknown" if hold["recorded"] else hold["state"],
            hold["reserved_at"][:19],
            hold["expires_at"][:19],
            amount("usd", hold["usd"]),
            count(hold["tokens"]),
            ", ".join(f"{name} {value}" for name, value in hold["names"].items()) or "-",
            hold["justification"] or "-",
        ]
        for hold in holds
    ]
    table(_HOLDS, rows)
