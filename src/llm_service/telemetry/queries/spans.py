"""Spans beside calls: what a report of calls leaves out, and whoever looks for it may miss."""

from dataclasses import replace
from typing import Final

from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.conditions import columns_of
from llm_service.telemetry.queries.filters import InvocationFilter, asks_for_spans
from llm_service.telemetry.record.operations import SPANS
from llm_service.telemetry.stores.base import Fetch

__all__ = ["newest_spans", "read_failed_spans"]

_IS_SPAN: Final = f"operation IN ({', '.join('?' * len(SPANS))})"
_LOOKED_AT: Final = 1_000
"""Of the newest records."""


def read_failed_spans(fetch: Fetch, narrowed: InvocationFilter) -> dict[str, int]:
    """By operation, the spans that failed and that a report of these calls does not count; the most frequent first.

    There are none where a filter names `operation`: then the report counts them. An index of failures is read.
    """
    if asks_for_spans(columns_of(narrowed.conditions())):
        return {}
    where = replace(narrowed, failed=True).where()
    where.add(_IS_SPAN, *sorted(SPANS))
    order = "GROUP BY operation ORDER BY count(*) DESC, operation"
    found = fetch((f"SELECT operation, count(*) FROM invocations{where} {order}", where.parameters))  # noqa: S608
    return {text(operation): spans for operation, spans in found}


def newest_spans(fetch: Fetch, column: str) -> list[str]:
    """The operations of spans that have this name (`tool_name`, `agent_name`), among the newest 1,000 records."""
    newest = (
        f"SELECT operation, {column} AS name FROM invocations ORDER BY timestamp DESC, id DESC LIMIT {_LOOKED_AT:d}"  # noqa: S608
    )
    sql = f"SELECT DISTINCT operation FROM ({newest}) WHERE name IS NOT NULL AND {_IS_SPAN} ORDER BY 1"  # noqa: S608
    return [text(row[0]) for row in fetch((sql, sorted(SPANS)))]
