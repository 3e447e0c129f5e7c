"""`compare`: two runs beside each other, and whether they differ by more than chance."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples
from llm_service.cli.output import clean, listing
from llm_service.cli.tables import UNKNOWN, Column, Row, named, percent, plural
from llm_service.cli.target import Target, read

if TYPE_CHECKING:
    from llm_service.telemetry.queries.grouping import RecordKey
    from llm_service.telemetry.queries.run_comparison import RunComparison

__all__ = ["compare"]

_SHOWN: Final[dict[str, Callable[[float], str]]] = {
    "share": percent,
    "USD": lambda value: f"{value:,.6f}",
    "tokens": lambda value: f"{value:,.1f}",
    "ms": lambda value: f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.1f}",
    "tokens/s": lambda value: f"{value:,.1f}",
}


def _value(row: Row, name: str) -> str:
    return UNKNOWN if row[name] is None else _SHOWN[row["unit"]](row[name])


def _interval(row: Row) -> str:
    if row["low"] is None:
        return "-"
    shown = _SHOWN[row["unit"]]
    return f"{shown(row['low'])} .. {shown(row['high'])}"


_COLUMNS: Final = (
    Column("metric", whole=True, of=lambda row: str(row["metric"])),
    Column("unit", rank=4, of=lambda row: "" if row["unit"] == "share" else str(row["unit"])),
    Column("A", "right", of=lambda row: _value(row, "a")),
    Column("B", "right", of=lambda row: _value(row, "b")),
    Column("B - A", "right", rank=2, of=lambda row: "-" if row["difference"] is None else _value(row, "difference")),
    Column("B / A", "right", rank=3, of=lambda row: "-" if row["ratio"] is None else f"{row['ratio']:.2f}"),
    Column("interval of B - A", "right", rank=1, of=_interval),
    Column("B is", whole=True, of=lambda row: str(row["verdict"])),
)


@click.command(
    epilog=examples(
        "compare nightly-eval~1 nightly-eval",
        "compare baseline candidate --by model",
        "compare baseline@20261130T030000-1f2e candidate --json",
    )
)
@click.argument("run_a", metavar="RUN_A")
@click.argument("run_b", metavar="RUN_B")
@click.option(
    "--by",
    type=click.Choice(["model", "agent", "tool", "request_model"]),
    help="Compare each of them; models as they were asked for.",
)
@formatted()
@common
def compare(*, run_a: str, run_b: str, by: "RecordKey | None", output: Output, target: Target) -> None:
    """Two runs beside each other, and whether they differ by more than chance.

    A run is named by its id, by its name (the newest of that name), or as NAME~1 (the one before), NAME~2, ...
    Needs scipy (the extra `compare`), and takes seconds. Each difference has a bootstrap confidence interval, and all
    that are shown hold together with 95 % (Bonferroni). `no difference shown`: the interval holds 0; `too few calls`:
    fewer than 10 on one side. With --json: the keys of compare_runs. Exit code 1 where there is no such run.
    """
    from llm_service.telemetry.queries.bootstrap import require_scipy
    from llm_service.telemetry.queries.run_comparison import ComparedMetric, compared, read_both
    from llm_service.telemetry.queries.run_names import may_lack

    path = target.report_path()
    require_scipy()
    both = read(path, lambda fetch: read_both(fetch, run_a, run_b, by))
    found = compared(both)
    what = Rows(found["rows"], _columns(found), kinds_of(ComparedMetric), found)
    put_out(output, target, what, lambda: _show(found))
    if any(may_lack(found[side]["run"], found["records_since"]) for side in ("a", "b")):
        target.say_kept(found["records_since"])


def _columns(found: "RunComparison") -> list[Column]:
    by = found["by"]
    return [*([] if by is None else [Column(by, of=lambda row: named(row["group"]))]), *_COLUMNS]


def _show(found: "RunComparison") -> None:
    """The metrics as a table, and below it what the intervals are worth."""
    for side, run in (("A", found["a"]), ("B", found["b"])):
        click.echo(clean(f"{side}: {run['run']}, {plural(run['invocations'], 'call')}"))
    listing(_columns(found), found["rows"], marked=_colour, empty=f"no {found['by']} is in both runs")
    for title, names in (
        ("only in A", found["only_a"]), ("only in B", found["only_b"]), ("not shown", found["left_out"]),
    ):  # fmt: skip
        if names:
            click.echo(clean(f"{title}: {', '.join(map(named, names))}"))
    _say_confidence(found)


def _say_confidence(found: "RunComparison") -> None:
    intervals = found["intervals"]
    if intervals:
        what = "1 interval holds" if intervals == 1 else f"all {plural(intervals, 'interval')} hold together"
        each = "" if intervals == 1 else f", each alone with {found['each_confidence']:.2%} (Bonferroni)"
        drawn = f"bootstrap, {plural(found['resamples'], 'resample')}"
        click.echo(f"{what} with {found['confidence']:.0%} confidence{each}; {drawn}")
    sampled = [
        row for row in found["rows"]
        if row["low"] is not None and (row["sampled_a"] < row["calls_a"] or row["sampled_b"] < row["calls_b"])
    ]  # fmt: skip
    if sampled:
        most = max(max(row["sampled_a"], row["sampled_b"]) for row in sampled)
        click.echo(f"intervals are of {plural(most, 'call')} a side, drawn at random; A and B are of all calls")


def _colour(cells: Any) -> str | None:
    return "yellow" if cells[-1] in {"higher", "lower"} else None
