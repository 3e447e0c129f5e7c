"""`errors`: failures by what they have in common, each kind with an example."""

from typing import TYPE_CHECKING, Final

import click

from llm_service.cli.answer_views import key_kinds, named_keys
from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.kinds import kinds_of
from llm_service.cli.options import common, examples, filters, ranged
from llm_service.cli.output import cells, say_deleted, table
from llm_service.cli.span_notes import say_failed_spans
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import Column, count, named, percent, plural
from llm_service.cli.target import Names, Target, existing, read, say_unknown
from llm_service.cli.times import in_zone

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.telemetry.queries.failure_kinds import FailureReport
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.group_keys import GroupKey

__all__ = ["errors"]

_LONGEST: Final = 160
"""Characters of a message that a table shows."""


def _message(text: str | None) -> str:
    whole = " ".join((text or "-").split())
    return whole if len(whole) <= _LONGEST else whole[: _LONGEST - 1] + "…"


_KEYS: Final = {
    "error_type": Column("error", both_ends=True, least=16, of=lambda row: named(row["error_type"])),
    "status": Column("status", whole=True, rank=4, of=lambda row: row["status"]),
    "http_status": Column(
        "http", "right", rank=5, of=lambda row: named(row["http_status"] and str(row["http_status"]))
    ),
    "model_name": Column("model", both_ends=True, rank=2, least=13, of=lambda row: named(row["model_name"])),
}
_BEFORE: Final = (
    Column("failures", "right", of=lambda row: count(row["failures"])),
    Column("share", "right", rank=1, of=lambda row: percent(row["share"])),
)
_BEHIND: Final = (
    Column("first", rank=8, moment="first_timestamp"),
    Column("last", rank=7, moment="last_timestamp"),
    Column("id", "right", rank=3, of=lambda row: str(row["example_id"])),
    Column("example", least=24, of=lambda row: _message(row["example_message"])),
)


@click.command(
    epilog=examples(
        "errors --since 24h",
        "errors --model 'gpt-4o' --since last-week",
        "errors --by request_model,error_type",
        "errors --where operation=execute_tool    # tools that failed; they are spans, no calls",
        "errors --where 'http_status>=500' --format md",
        "show 4711    # the call of an example",
    )
)
@filters
@ranged
@click.option(
    "--by", metavar="KEYS", help="What makes a kind, as of query.  [default: error_type,status,http_status,model]"
)
@click.option(
    "--limit", type=click.IntRange(1, 1_000_000), default=20, show_default=True, help="At most so many kinds."
)
@formatted()
@common
def errors(
    *, names: Names, since: str | None, until: str | None, by: str | None, limit: int, output: Output, target: Target
) -> None:
    """Failures by type of error, status, HTTP status and model; the most frequent first.

    Each kind with how often, its share of all failures, when it was first and last, and the newest call as an example:
    its message, and the id that `show` takes. Spans are no calls: failed tools and agents are counted where --where
    names operation, by operation, agent and tool. With --json: one object with by, rows, failures, invocations, more,
    records_since, deleted_invocations, deleted_failures, and the range.
    """
    from llm_service.telemetry.queries.failure_kinds import FailureGroup, read_failures
    from llm_service.telemetry.queries.filters import InvocationFilter

    asked = target.range(since, until)
    narrowed = InvocationFilter(**names, since=asked.start, until=asked.end)
    path = existing(target.report_path())
    keys = _keys(by, narrowed)
    found = read(path, lambda fetch: read_failures(fetch, narrowed, limit, keys))
    say_unknown(path, names)
    columns = in_zone([*_BEFORE, *named_keys(found["by"], _KEYS), *_BEHIND], asked.zone)
    what = Rows(found["rows"], columns, key_kinds(found["by"]) | kinds_of(FailureGroup), {**found, **asked.as_json()})
    put_out(output, target, what, lambda: _show(found, columns))
    if found["more"]:
        are = "is" if found["more"] == 1 else "are"
        click.echo(f"{plural(found['more'], 'more kind')} {are} not shown; give a larger --limit", err=True)
    say_deleted(found, err=target.as_json)
    if "operation" not in found["by"]:
        say_failed_spans(target, path, narrowed)
    target.say_range(asked)


def _keys(by: str | None, narrowed: "InvocationFilter") -> "tuple[GroupKey, ...]":
    """What makes a kind."""
    from llm_service.telemetry.queries.failure_kinds import kind_names
    from llm_service.telemetry.queries.group_keys import group_keys
    from llm_service.telemetry.queries.plans import names_of

    if by is None:
        names = kind_names(narrowed)
        return group_keys(names, most=len(names))
    keys = group_keys(names_of("by", by))
    if not keys:
        raise click.BadParameter("give one", param_hint="--by")
    if any(key.is_period or key.column == "tag" for key in keys):
        query = suggested("query", {"--by": by, "--measure": "failures"})
        raise click.BadParameter(f"periods and tags are no kinds of failures; give: {query}", param_hint="--by")
    return keys


def _show(found: "FailureReport", columns: "Sequence[Column]") -> None:
    calls, failures = found["invocations"], found["failures"]
    if found["rows"]:
        table(columns, [cells(columns, row) for row in found["rows"]])
    share = f" ({percent(failures / calls)})" if calls else ""
    what = "record" if "operation" in found["by"] else "call"
    click.echo(f"failed: {count(failures)} of {plural(calls, what)}{share}")
