"""`top`: the sessions, agents, models... that take the most; and single calls."""

import sys
from typing import TYPE_CHECKING, Any, Final

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
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, filters, ranged
from llm_service.cli.output import is_terminal, listing, say_deleted
from llm_service.cli.span_notes import whose
from llm_service.cli.tables import Column, named, percent, rounded, usd
from llm_service.cli.target import Names, Target, existing, read, say_unknown
from llm_service.cli.times import in_zone

if TYPE_CHECKING:
    from llm_service.telemetry.queries.ask import Answer

__all__ = ["top"]

_CALLS: Final = ("call", "calls")
_COLUMNS_OF_CALLS: Final = {"cost": "cost_usd", "latency": "latency_ms", "tokens": "total_tokens"}
"""By measure: what single calls are sorted by."""
_ADDED: Final = ("USD", "calls", "tokens", "nano-USD")
"""Units of what has a share of the whole."""
_CALL_COLUMNS: Final = (
    Column("id", "right", whole=True, of=lambda row: str(row["id"])),
    Column("cost USD", "right", of=lambda row: usd(row["cost_usd"], 6)),
    Column("tokens", "right", rank=5, of=lambda row: rounded(row["total_tokens"])),
    Column("ms", "right", rank=3, of=lambda row: rounded(row["latency_ms"])),
    Column("time", rank=1, moment="timestamp"),
    Column("agent", both_ends=True, least=13, of=whose),
    Column("model", both_ends=True, rank=2, least=13, of=lambda row: named(row["model_name"])),
    Column("session", both_ends=True, rank=6, of=lambda row: named(row["session_id"])),
    Column("status", rank=4, of=lambda row: row["status"]),
)


@click.command(
    epilog=examples(
        "top sessions --since today",
        "top models --measure p95 --since 7d",
        "top calls --measure latency --agent backend-dev",
        "top tags --where 'model=gpt-*' --format md",
    )
)
@click.argument("what", metavar="[WHAT]", default="agents")
@filters
@ranged
@click.option("--measure", default="cost", show_default=True, metavar="NAME", help="Such as tokens, calls, p95.")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=10, show_default=True, help="At most so many.")
@formatted()
@common
def top(
    *,
    what: str,
    names: Names,
    since: str | None,
    until: str | None,
    measure: str,
    limit: int,
    output: Output,
    target: Target,
) -> None:
    """The ten sessions, agents, users, models, runs... that cost most; or calls.

    WHAT is any key of `query --by`, also in the plural. Of calls, --measure is cost, latency or tokens; `show` takes
    their ids. With --json: one object, as of `query`; of calls with rows (as get_invocations),
    records_since, deleted_invocations and the range.
    """
    if what in _CALLS:
        _calls(names, since, until, measure, limit, output, target)
        return
    if not measure.strip(", "):
        raise click.BadParameter("give one", param_hint="--measure")
    by = _key(what)
    answer, asked = answered(
        target, names, since, until, measures=f"{measure},calls", by=by, order=f"-{measure}", limit=limit
    )
    first = answer.measures[0]
    columns = [*key_columns(answer), *measure_columns(answer), *_share(answer, first)]
    if is_terminal(sys.stdout) and output.form == "table":
        columns.append(bar_column(answer, first))
    found = Rows(answer.rows, columns, answer_kinds(answer), document(answer))
    put_out(output, target, found, lambda: listing(columns, answer.rows, empty="no such calls"))
    say_beside(target, names, answer, asked)


def _key(what: str) -> str:
    """The key that is meant, by its name in either number."""
    from llm_service.telemetry.queries.group_keys import KEYS

    if what in KEYS or what.startswith("metadata."):
        return what
    plural = {_plural(key): key for key in KEYS}
    return plural.get(what, what)


def _plural(key: str) -> str:
    return f"{key}es" if key.endswith("s") else f"{key}s"


def _share(answer: "Answer", measure: str) -> list[Column]:
    """How much of the whole each has, of what can be added up."""
    from llm_service.telemetry.queries.measures import MEASURES

    whole = answer.totals[measure]
    if MEASURES[measure].unit not in _ADDED or measure.startswith("usd_per_") or not whole:
        return []

    def share(row: Any) -> str:
        return percent(None if row[measure] is None else row[measure] / whole)

    return [Column("share", "right", rank=20, of=share)]


def _calls(
    names: Names, since: str | None, until: str | None, measure: str, limit: int, output: Output, target: Target
) -> None:
    from llm_service.telemetry.queries import questions
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.retention_coverage import read_deleted

    column = _COLUMNS_OF_CALLS.get(measure)
    if column is None:
        raise click.BadParameter(f"calls have {', '.join(_COLUMNS_OF_CALLS)}; give one of them", param_hint="--measure")
    asked = target.range(since, until)
    narrowed = InvocationFilter(**names, since=asked.start, until=asked.end)
    query = questions.greatest(narrowed, column, limit)
    path = existing(target.report_path())
    rows, deleted = read(path, lambda fetch: (questions.to_invocations(fetch(query)), read_deleted(fetch, narrowed)))
    say_unknown(path, names)
    lacks = {"records_since": deleted.records_since, "deleted_invocations": deleted.invocations}
    columns = in_zone(_CALL_COLUMNS, asked.zone)
    found = Rows(
        [{**row} for row in rows],
        columns,
        kinds_of(questions.InvocationRow),
        {"rows": rows, **lacks, **asked.as_json()},
    )
    put_out(output, target, found, lambda: listing(columns, rows, empty="no such calls"))
    say_deleted(lacks, err=target.as_json)
    target.say_range(asked)
