"""Spans in lists of calls, by their names; and what reports of calls say of the spans that they leave out."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from llm_service.cli.output import clean
from llm_service.cli.suggestions import suggested
from llm_service.cli.tables import Row, named, plural
from llm_service.cli.target import Target, read

if TYPE_CHECKING:
    from llm_service.telemetry.queries.filters import InvocationFilter

__all__ = ["say_failed_spans", "say_spans_named", "whose"]


def whose(row: Row) -> str:
    """The agent of a call; of a span which one it is: `planner / search (execute_tool)`."""
    from llm_service.telemetry.record.operations import is_span

    if not is_span(row["operation"]):
        return named(row["agent_name"])
    names = " / ".join(name for name in (row["agent_name"], row["tool_name"]) if name)
    return f"{names} ({row['operation']})" if names else str(row["operation"])


def say_failed_spans(target: Target, path: Path, narrowed: "InvocationFilter", since: str | None = None) -> None:
    """Say how many spans failed beside these calls, which none of their failures is, and what shows them.

    Args:
        since: where the range begins, if the command line does not say it.
    """
    from llm_service.telemetry.queries.spans import read_failed_spans

    found = read(path, lambda fetch: read_failed_spans(fetch, narrowed))
    if found:
        spans = plural(sum(found.values()), "failed span")
        beginning = {} if since is None else {"--since": since}
        shown = suggested(
            "errors", {"--by": None, "--limit": None, "--where": f"operation={','.join(found)}"} | beginning
        )
        click.echo(clean(f"not counted: {spans} ({', '.join(found)}); see: {shown}"), err=target.as_json)


def say_spans_named(target: Target, path: Path, column: str) -> None:
    """Say that spans have such a name, where no call has one, and what counts them."""
    from llm_service.telemetry.queries.spans import newest_spans

    found = read(path, lambda fetch: newest_spans(fetch, column))
    if found:
        shown = suggested(changed={"--where": f"operation={','.join(found)}"})
        what = column.removesuffix("_name")
        click.echo(clean(f"no call has a {what}, spans have ({', '.join(found)}); see: {shown}"), err=target.as_json)
