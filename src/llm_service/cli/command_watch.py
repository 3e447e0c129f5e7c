"""`watch`: a live screen of calls, spend, budgets and failures."""

import shutil
import sys
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import click

from llm_service.cli.budget_views import STATUS
from llm_service.cli.command_budgets import known_policies
from llm_service.cli.options import POLICIES, Number, common, examples, filters, zoned
from llm_service.cli.output import clean, is_colored, is_terminal
from llm_service.cli.span_notes import whose
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import (
    Column,
    Row,
    count,
    fit,
    named,
    percent,
    plural,
    rounded,
    row_text,
    shortened,
    sparkline,
    usd,
)
from llm_service.cli.target import Names, Target, existing, read, say_unknown
from llm_service.cli.times import shown_time, zone_label
from llm_service.errors import StoreError

if TYPE_CHECKING:
    from llm_service.telemetry.queries.live import Live
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["watch"]

_CALLS: Final = 50
"""Calls that are read: as many as a tall terminal shows."""
_FAILURES: Final = 3
_BUDGETS: Final = 4
_BUDGET_COLUMNS: Final = ("budget", "window", "subject", "limit", "spent", "left", "used")


class Line(NamedTuple):
    """A line of the screen, and its style of rich."""

    text: str
    style: str = ""


class Frame(NamedTuple):
    """What a screen shows."""

    at: datetime
    live: "Live"
    budgets: list[Any]


@click.command(
    epilog=examples(
        "watch",
        "watch --agent backend-dev --interval 5",
        "watch --once --policies ./policies.yaml",
        "watch --json --tz UTC",
    )
)
@filters
@click.option(
    "--interval", type=Number(0.2, 3600), default=2.0, show_default=True, metavar="SECONDS", help="Between two frames."
)
@click.option("--once", is_flag=True, help="Print one frame and end; so where no terminal is.")
@POLICIES
@zoned
@common
def watch(*, names: Names, interval: float, once: bool, policies: Path | None, target: Target) -> None:
    """A live screen: the rate of calls, spend today, budgets, the last failures and calls; until Ctrl-C.

    Each frame is a few short reads, and no writer waits for them. Times, and today, are those of --tz. Filters narrow
    all but the budgets. With --json: one frame, one object with at, minutes (pairs of calls and failures, of the last
    30 minutes), today, since, time_zone, last_calls, last_failures and budgets.
    """
    path, zone = existing(target.report_path()), target.zone()
    ask = _asking(target, path, names, zone, policies)
    frame = ask()
    is_once = target.as_json or once or not is_terminal(sys.stdout)
    say_unknown(path, names, fails=is_once)  # on a live screen the first call of a name may still come
    if is_once:
        width = shutil.get_terminal_size().columns if is_terminal(sys.stdout) else None
        target.show(_document(frame), lambda _: _print(_lines(frame, path, zone, width)))
        return
    _run(ask, frame, path, zone, interval)


def _asking(target: Target, path: Path, names: Names, zone: tzinfo, policies: Path | None) -> Callable[[], Frame]:
    """What reads a frame, from one snapshot."""
    from llm_service.budgets.policies import Policies
    from llm_service.telemetry.queries.budget_status import counting, read_others, read_status
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.live import read_live

    known = known_policies(target, policies) or {}
    limits, narrowed = Policies(known, None), InvocationFilter(**names)
    counters = {limit.counter for one in known.values() for limit in one.limits}

    def ask() -> Frame:
        now = datetime.now(UTC)

        def question(fetch: "Fetch") -> Frame:
            live = read_live(fetch, narrowed, zone, now, calls=_CALLS, failures=_FAILURES)
            counted = counting(fetch)
            return Frame(now, live, [*read_status(counted, limits, now), *read_others(counted, counters, now)])

        return read(path, question)

    return ask


def _document(frame: Frame) -> dict[str, Any]:
    from llm_service.telemetry.queries.plans import timestamp_of

    return {"at": timestamp_of(frame.at), **frame.live, "budgets": frame.budgets}


def _run(ask: Callable[[], Frame], frame: Frame, path: Path, zone: tzinfo, interval: float) -> None:
    """Show frame after frame; what cannot be read for a while is said, and tried again."""
    from rich.console import Console, Group
    from rich.live import Live as Screen
    from rich.text import Text

    console = Console(file=sys.stdout, force_terminal=True, no_color=not is_colored(sys.stdout), highlight=False)
    trouble = ""
    with Screen(console=console, screen=True, auto_refresh=False) as screen:
        while True:
            width, height = console.size
            lines = _lines(frame, path, zone, width, height)
            if trouble:
                lines[0] = Line(trouble, "bold red")
            shown = [Text(line.text, line.style, no_wrap=True, overflow="ellipsis") for line in lines[:height]]
            screen.update(Group(*shown), refresh=True)
            time.sleep(interval)
            try:
                frame, trouble = ask(), ""
            except StoreError as error:
                trouble = clean(" ".join(f"not read since {shown_time(frame.at.isoformat(), zone)}: {error}".split()))


def _print(lines: Sequence[Line]) -> None:
    click.echo("\n".join(line.text for line in lines))


def _lines(frame: Frame, path: Path, zone: tzinfo, width: int | None = None, height: int | None = None) -> list[Line]:
    """The screen, of so many cells and lines; without them all of it, with ten calls."""
    at = shown_time(frame.at.isoformat(), zone)
    lines = [
        Line(clean(f"{at} ({zone_label(zone)})  {path.name}"), "bold"),
        Line(_rate(frame.live)),
        Line(_today(frame.live["today"])),
        Line(""),
        *_budget_lines(frame.budgets, width),
        Line(""),
        *_section("last failures", _failure_columns(zone), frame.live["last_failures"], width, "red"),
        Line(""),
    ]
    room = 10 if height is None else max(1, height - len(lines) - 2)
    lines += _section("last calls", _call_columns(zone), frame.live["last_calls"][:room], width)
    return lines if width is None else [Line(shortened(line.text, width), line.style) for line in lines]


def _rate(live: "Live") -> str:
    minutes = live["minutes"]
    calls, failures = minutes[-1]
    trend = sparkline([minute.calls for minute in minutes])
    return f"last minute: {plural(calls, 'call')}, {count(failures)} failed; {len(minutes)} minutes: {trend}"


def _today(today: dict[str, Any]) -> str:
    calls, failures = today["invocations"], today["failures"]
    failed = f"{count(failures)} failed" + (f" ({percent(failures / calls)})" if calls else "")
    cost = "cost unknown" if today["total_cost_usd"] is None else f"{usd(today['total_cost_usd'])} USD"
    unpriced = f", {count(today['unpriced'])} unpriced" if today["unpriced"] and today["priced"] else ""
    tokens = "tokens unknown" if today["total_tokens"] is None else plural(today["total_tokens"], "token")
    return f"today: {plural(calls, 'call')}, {failed}, {cost}{unpriced}, {tokens}"


def _budget_lines(budgets: Sequence[Any], width: int | None) -> list[Line]:
    columns = [column for column in STATUS if column.name in _BUDGET_COLUMNS]
    fullest = sorted(budgets, key=lambda row: (row["damaged"], row["used_percent"] or 0.0), reverse=True)
    lines = _section("budgets", columns, fullest[:_BUDGETS], width)
    if len(budgets) > _BUDGETS:
        lines.append(Line(f"{count(len(budgets) - _BUDGETS)} more: {suggested('budgets')}", "dim"))
    if any(row["limit"] is None for row in budgets):
        lines.append(Line("limits that are not known here: name their policies.yaml with --policies FILE", "dim"))
    return lines


def _failure_columns(zone: tzinfo) -> list[Column]:
    return [
        _time_column(zone),
        Column("agent", both_ends=True, rank=2, least=24, of=whose),
        Column("model", both_ends=True, rank=3, of=lambda row: named(row["model_name"])),
        Column("error", both_ends=True, of=lambda row: named(row["error_type"])),
        Column("message", least=24, rank=1, of=lambda row: " ".join((row["error_message"] or "-").split())[:200]),
    ]


def _call_columns(zone: tzinfo) -> list[Column]:
    return [
        _time_column(zone),
        Column("agent", both_ends=True, least=24, of=whose),
        Column("model", both_ends=True, rank=2, of=lambda row: named(row["model_name"])),
        Column("tokens", "right", rank=3, of=lambda row: rounded(row["total_tokens"])),
        Column("cost USD", "right", of=lambda row: usd(row["cost_usd"], 6)),
        Column("ms", "right", rank=1, of=lambda row: rounded(row["latency_ms"])),
        Column("status", whole=True, of=lambda row: row["status"]),
    ]


def _time_column(zone: tzinfo) -> Column:
    return Column("time", whole=True, of=lambda row: shown_time(row["timestamp"], zone)[5:])


def _section(
    title: str, columns: Sequence[Column], items: Sequence[Any], width: int | None, style: str = ""
) -> list[Line]:
    """A table under its heading, or that there is nothing."""
    if not items:
        return [Line(f"{title}: none", "bold")]
    rows = [[clean(column.of(item)) for column in columns] for item in items]
    layout = fit(columns, rows, width)
    texts = ["".join(row_text(columns, layout, row)).rstrip() for row in ([c.name for c in columns], *rows)]
    styles = [style or _style(item) for item in items]
    return [
        Line(title, "bold"),
        Line(texts[0], "dim"),
        *(Line(text, style) for text, style in zip(texts[1:], styles, strict=True)),
    ]


def _style(item: Row) -> str:
    """Of a call that failed, and of a budget that is used up or nearly."""
    used = 100.0 if item.get("damaged") else item.get("used_percent") or 0.0
    failed = item.get("status", "success") != "success"
    return "red" if failed or used >= 100 else "yellow" if used >= 80 else ""
