"""`query`: any measures of calls, by any keys."""

import sys
from typing import TYPE_CHECKING

import click

from llm_service.cli.answer_views import (
    answer_kinds,
    answered,
    bar_column,
    document,
    key_columns,
    measure_columns,
    say_beside,
)
from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.options import common, examples, filters, ranged
from llm_service.cli.output import cells, is_terminal, listing
from llm_service.cli.target import Names, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.cli.tables import Column
    from llm_service.telemetry.queries.ask import Answer

__all__ = ["query"]


@click.command(
    epilog=examples(
        "query --by day --since 30d",
        "query --by model,day --measure cost,calls,p95 --where 'cost>0.1 model=gpt-*' --since last-week",
        "query --by session --order -cost --limit 20",
        "query --by user,metadata.team --measure cost --format csv -o costs.csv",
    )
)
@click.option("--by", default="", metavar="KEYS", help="Up to four of agent, session, tag, metadata.KEY, day, hour...")
@click.option(
    "--measure", "measures", default="calls,cost", show_default=True, metavar="NAMES", help="Such as cost,tokens,p95."
)
@filters
@ranged
@click.option("--order", metavar="NAMES", help="Measures or keys, each descending behind a -.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), metavar="N", help="At most so many rows.")
@formatted()
@common
def query(
    *,
    by: str,
    measures: str,
    names: Names,
    since: str | None,
    until: str | None,
    order: str | None,
    limit: int | None,
    output: Output,
    target: Target,
) -> None:
    """Any measures of calls, by any keys, in any range.

    Without --by the totals alone. Sums are exact, percentiles within 2.2 %. Rows are sorted by periods of time, then by
    the first measure, the largest first. --where has terms that must all hold, such as model=gpt-*,o3 agent!=test
    cost>0.1 latency>=5s tag=prod user= (no user). With --json: one object, the attributes of an Answer of query().
    """
    answer, asked = answered(target, names, since, until, measures=measures, by=by, order=order, limit=limit)
    columns = [*key_columns(answer), *measure_columns(answer, measures.split(","))]
    rows = answer.rows if answer.group_by else [answer.totals]
    found = Rows(rows, columns, answer_kinds(answer), document(answer))
    put_out(output, target, found, lambda: _show(answer, columns))
    say_beside(target, names, answer, asked)


def _show(answer: "Answer", columns: "Sequence[Column]") -> None:
    """The rows and the totals; on a terminal, periods of time with a bar."""
    from llm_service.telemetry.queries.local_periods import PERIODS

    keys = answer.group_by
    if not keys:
        listing(columns, [answer.totals])
        return
    totals = ["total", *[""] * (len(keys) - 1), *cells(columns[len(keys) :], answer.totals)]
    if len(keys) == 1 and keys[0] in PERIODS and is_terminal(sys.stdout):
        columns, totals = [*columns, bar_column(answer, answer.measures[0])], [*totals, ""]
    listing(columns, answer.rows, totals if answer.rows else None, empty="no such calls")
