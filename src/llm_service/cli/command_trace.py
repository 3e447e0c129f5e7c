"""`trace`: the records of a trace, a run or a session as a tree, and where the time went."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import Failure
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, zoned
from llm_service.cli.output import listing
from llm_service.cli.tables import UNKNOWN, Column, Row, count, percent, plural, rounded, status_colour, usd
from llm_service.cli.target import Target, read
from llm_service.cli.times import in_zone
from llm_service.redaction import shown

if TYPE_CHECKING:
    from llm_service.telemetry.queries.traces import Trace

__all__ = ["trace"]


_DEEPEST: Final = 40
"""Levels that are drawn: a chain of calls, each within the one before, has as many as it has records."""


_COLUMNS: Final = (
    Column("record", least=24, of=lambda row: f"{row['guide']}{_deep(row)}{_label(row)}"),
    Column("model", both_ends=True, rank=4, of=lambda row: row["model_name"] or "-"),
    Column("began", rank=7, moment="timestamp"),
    Column("tokens", "right", rank=5, of=lambda row: rounded(row["total_tokens"])),
    Column("cost USD", "right", rank=1, of=lambda row: usd(row["cost_usd"], 6)),
    Column("ms", "right", rank=2, of=lambda row: rounded(row["latency_ms"])),
    Column("own ms", "right", rank=6, of=lambda row: rounded(row["own_ms"])),
    Column("own", "right", rank=3, of=lambda row: percent(row["own_share"])),
    Column("status", of=lambda row: ": ".join(filter(None, (row["status"], row["error_type"])))),
)  # fmt: skip


@click.command(epilog=examples("trace", "trace nightly-1", "trace 4bf92f3577b34da6a3ce929d0e0e4736 --json"))
@click.argument("wanted", metavar="[ID]", required=False)
@zoned
@formatted()
@common
def trace(*, wanted: str | None, output: Output, target: Target) -> None:
    """Show the records of a trace, a run or a session as a tree, with tokens, cost, and where the time went.

    ID is a trace_id, a run or a session_id; without it, the newest trace is shown. `own ms` is what a record took
    without the records directly within it, `own` its share of the time from the first beginning to the last end. The
    totals are those of calls; agents, tools and other spans are none. What is deeper than 40 levels is drawn at the
    40th, with its depth before it. With --json: one object with `id`, `rows` (those of get_trace), `totals`,
    `truncated` and `records_since`. Exit code 1 where nothing has the ID.
    """
    from llm_service.telemetry.queries.run_names import may_lack
    from llm_service.telemetry.queries.traces import MOST_ROWS, TraceRow, read_trace

    found = read(target.report_path(), lambda fetch: read_trace(fetch, wanted))
    if not found["rows"] and wanted is None:
        click.echo("there are no records", err=True)
    if found["truncated"]:
        click.echo(f"only the newest {MOST_ROWS:,} records of it are shown", err=True)
    columns = in_zone(_COLUMNS, target.zone())
    what = Rows(found["rows"], columns, kinds_of(TraceRow), found, _drawn(found["rows"]))
    put_out(output, target, what, lambda: _show(found, columns))
    is_one_call = found["id"] is None and found["rows"]
    if not is_one_call and may_lack(found["id"], found["records_since"]):
        target.say_kept(found["records_since"])
    if not found["rows"] and wanted is not None:
        raise Failure(f"there is no trace, run or session {shown(wanted)}")


def _show(found: "Trace", columns: Sequence[Column]) -> None:
    if not found["rows"]:
        return
    totals = found["totals"]
    listing(columns, _drawn(found["rows"]), marked=status_colour)
    cost = (
        usd(totals["total_cost_usd"], 6)
        if totals["unpriced"] < totals["invocations"] or not totals["invocations"]
        else UNKNOWN
    )
    parts = [
        plural(totals["invocations"], "call"),
        f"{count(totals['failures'])} failed" if totals["failures"] else "",
        plural(totals["total_tokens"], "token") + _beside(totals["uncounted"], "uncounted"),
        f"{cost} USD" + _beside(totals["unpriced"], "unpriced"),
        f"{rounded(totals['wall_ms'])} ms",
    ]
    click.echo(", ".join(filter(None, parts)))


def _beside(number: int, what: str) -> str:
    return f" ({count(number)} {what})" if number else ""


def _drawn(rows: Sequence[Any]) -> list[dict[str, Any]]:
    """The rows with the lines that lead to each; the last one of those that stand together ends its line."""
    drawn: list[dict[str, Any]] = []
    goes_on: dict[int, bool] = {}
    for row in reversed(rows):
        depth = min(row["depth"], _DEEPEST)
        is_last = not goes_on.get(depth, False)
        lines = "".join("│  " if goes_on.get(level) else "   " for level in range(1, depth))
        drawn.append({**row, "guide": lines + ("" if not depth else "└─ " if is_last else "├─ ")})
        goes_on = {level: on for level, on in goes_on.items() if level < depth} | {depth: True}
    return drawn[::-1]


def _deep(row: Row) -> str:
    """The depth of a record that is not drawn there."""
    return f"({count(row['depth'])}) " if row["depth"] > _DEEPEST else ""


def _label(row: Row) -> str:
    """Who or what it is: agent and tool, and what it does where it is no call."""
    who = " / ".join(name for name in (row["agent_name"], row["tool_name"]) if name)
    what = row["operation"]
    if not who:
        return str(what or "call")
    return who if row["is_call"] or not what else f"{who} ({what})"
