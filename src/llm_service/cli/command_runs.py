"""`runs`: the runs of benchmarks, jobs and test sessions, the newest first."""

from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, zoned
from llm_service.cli.output import clean, listing
from llm_service.cli.tables import Column, count, sum_usd
from llm_service.cli.target import Target, read
from llm_service.cli.times import in_zone
from llm_service.redaction import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.telemetry.queries.run_list import RunRow

__all__ = ["runs"]

_COLUMNS: Final = (
    Column("run", whole=True, of=lambda run: str(run["run"])),
    Column("began", rank=4, moment="first_timestamp"),
    Column("seconds", "right", rank=3, of=lambda run: f"{run['seconds']:,.1f}"),
    Column("calls", "right", of=lambda run: count(run["invocations"])),
    Column("failed", "right", rank=1, of=lambda run: count(run["errors"] + run["timeouts"])),
    Column("tokens", "right", rank=2, of=lambda run: count(run["total_tokens"])),
    Column("cost USD", "right", of=sum_usd),
)
_UNPRICED: Final = Column("unpriced", "right", of=lambda run: count(run["unpriced"]))


@click.command(epilog=examples("runs", "runs --name nightly-eval --limit 5", "runs --json"))
@click.option("--name", metavar="NAME", help="Only runs of this name.")
@click.option("--limit", type=int, default=20, show_default=True, help="At most so many.")
@zoned
@formatted()
@common
def runs(*, name: str | None, limit: int, output: Output, target: Target) -> None:
    """Runs of benchmarks, jobs and test sessions, the newest first.

    A run is what a program records within `telemetry.run(NAME)` or `scope(run=...)`, and pytest with --llm-telemetry.
    Spans (operation agent, workflow, tool, ...) are no calls. With --json: one array of the rows of get_runs.
    """
    from llm_service.telemetry.queries.retention_coverage import records_since
    from llm_service.telemetry.queries.run_list import RunRow, read_runs
    from llm_service.telemetry.queries.run_names import may_lack

    path = target.report_path()
    found, since_day = read(path, lambda fetch: (read_runs(fetch, limit, name), records_since(fetch)))
    if name is not None and not found:
        near = get_close_matches(name, {run["name"] for run in read(path, read_runs)}, n=1)
        click.echo(
            clean(f"there is no run named {shown(name)}" + (f"; did you mean {near[0]}?" if near else "")), err=True
        )
    columns = in_zone([*_COLUMNS, _UNPRICED] if any(run["unpriced"] for run in found) else _COLUMNS, target.zone())
    put_out(output, target, Rows(found, columns, kinds_of(RunRow), found), lambda: _show(columns, found))
    if len(found) < limit or any(may_lack(run["run"], since_day) for run in found):
        target.say_kept(since_day)


def _show(columns: "Sequence[Column]", found: "Sequence[RunRow]") -> None:
    nothing = "no such runs; a program makes one by telemetry.run(NAME), and pytest by --llm-telemetry"
    listing(columns, found, empty=nothing)
