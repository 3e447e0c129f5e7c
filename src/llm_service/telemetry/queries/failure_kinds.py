"""Failures by what they have in common, each group with its newest record as an example."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, TypedDict

from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.conditions import Glob, columns_of
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.group_keys import GroupKey
from llm_service.telemetry.queries.retention_coverage import read_deleted
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.stores.base import Fetch

__all__ = ["FailureGroup", "FailureReport", "kind_names", "read_failures"]

_OF_CALLS: Final = ("error_type", "status", "http_status", "model_name")
_OF_SPANS: Final = ("error_type", "status", "operation", "agent_name", "tool_name")


class FailureGroup(TypedDict):
    """Failures of one kind, beside the columns of its keys; the example is the one that arrived last."""

    failures: int
    share: float
    first_timestamp: str
    last_timestamp: str
    example_id: int
    example_invocation_id: str
    example_message: str | None


class FailureReport(TypedDict):
    """The groups, the largest first, each with the columns `by` and those of `FailureGroup`.

    `failures` and `invocations` count the calls of the range, `more` the groups beyond the limit. `records_since` is
    the first UTC day with all its records; None if none were ever deleted. `deleted_invocations` calls of the range's
    days and names are not counted, because their records are deleted; `deleted_failures` of them failed.
    """

    by: list[str]
    rows: list[dict[str, Any]]
    failures: int
    invocations: int
    more: int
    records_since: str | None
    deleted_invocations: int
    deleted_failures: int


def kind_names(narrowed: InvocationFilter) -> tuple[str, ...]:
    """What makes a kind, if nobody says it: where spans may be among the failures, which one it was."""
    named = [one for one in narrowed.conditions() if one.column == "operation"]
    only_calls = any(
        one.operator == "=" and not any(isinstance(v, Glob) or is_span(v) for v in one.values) for one in named
    )
    return _OF_SPANS if named and not only_calls else _OF_CALLS


def read_failures(fetch: Fetch, narrowed: InvocationFilter, limit: int, keys: Sequence[GroupKey]) -> FailureReport:
    """The failures of these calls by keys, which are no periods and no tags; `share` is of all of them."""
    spans = {"operation"} & {key.column for key in keys}
    where, all_of = (each.where() for each in (replace(narrowed, failed=True), narrowed))
    for one in (where, all_of):
        one.only_calls(spans | columns_of(narrowed.conditions()))
    places = ", ".join(map(str, range(1, len(keys) + 1)))
    facts = f"{''.join(f'{key.sql}, ' for key in keys)}count(*), min(timestamp), max(timestamp), max(id)"
    order = f"GROUP BY {places} ORDER BY count(*) DESC, {places}"
    bound = [parameter for key in keys for parameter in key.parameters]
    groups = fetch((f"SELECT {facts} FROM invocations{where} {order}", [*bound, *where.parameters]))  # noqa: S608
    ((calls,),) = fetch((f"SELECT count(*) FROM invocations{all_of}", all_of.parameters))  # noqa: S608
    failures = sum(group[len(keys)] for group in groups)
    rows = [_named(keys, group) | _group(fetch, group[len(keys) :], failures) for group in groups[:limit]]
    deleted = read_deleted(fetch, narrowed)
    return {
        "by": [key.column for key in keys],
        "rows": rows,
        "failures": failures,
        "invocations": calls,
        "more": len(groups) - len(rows),
        "records_since": deleted.records_since,
        "deleted_invocations": deleted.invocations,
        "deleted_failures": deleted.failures,
    }


def _named(keys: Sequence[GroupKey], cells: Sequence[Any]) -> dict[str, Any]:
    return {key.column: key.shown(cell)[0] for key, cell in zip(keys, cells, strict=False)}


def _group(fetch: Fetch, cells: tuple[Any, ...], failures: int) -> dict[str, Any]:
    count, first, last, row_id = cells
    ((invocation_id, message),) = fetch(("SELECT invocation_id, error_message FROM invocations WHERE id = ?", [row_id]))
    found: FailureGroup = {
        "failures": count,
        "share": count / failures,
        "first_timestamp": text(first),
        "last_timestamp": text(last),
        "example_id": row_id,
        "example_invocation_id": text(invocation_id),
        "example_message": None if message is None else text(message),
    }
    return {**found}
