"""Failures by what they have in common, each group with its newest call as an example."""

from dataclasses import replace
from typing import Any, Final, TypedDict

from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.retention_coverage import read_deleted
from llm_service.telemetry.stores.base import Fetch

__all__ = ["FailureGroup", "FailureReport", "read_failures"]

_KEYS: Final = ("error_type", "status", "http_status", "model_name")


class FailureGroup(TypedDict):
    """Failures of one kind; the example is the one that arrived last. Texts are None where unknown."""

    error_type: str | None
    status: str
    http_status: int | None
    model_name: str | None
    failures: int
    share: float
    first_timestamp: str
    last_timestamp: str
    example_id: int
    example_invocation_id: str
    example_message: str | None


class FailureReport(TypedDict):
    """The groups, the largest first.

    `failures` and `invocations` count the calls of the range, `more` the groups beyond the limit. `records_since` is
    the first UTC day with all its records; None if none were ever deleted. `deleted_invocations` calls of the range's
    days and names are not counted, because their records are deleted; `deleted_failures` of them failed.
    """

    rows: list[FailureGroup]
    failures: int
    invocations: int
    more: int
    records_since: str | None
    deleted_invocations: int
    deleted_failures: int


def read_failures(fetch: Fetch, narrowed: InvocationFilter, limit: int) -> FailureReport:
    """The failures of these calls; `share` is of all of them."""
    where, all_of = replace(narrowed, failed=True).calls(), narrowed.calls()
    keys = ", ".join(_KEYS)
    facts = f"{keys}, count(*), min(timestamp), max(timestamp), max(id)"
    order = f"GROUP BY {keys} ORDER BY count(*) DESC, {keys}"
    groups = fetch((f"SELECT {facts} FROM invocations{where} {order}", where.parameters))  # noqa: S608
    ((calls,),) = fetch((f"SELECT count(*) FROM invocations{all_of}", all_of.parameters))  # noqa: S608
    failures = sum(group[4] for group in groups)
    rows = [_group(fetch, group, failures) for group in groups[:limit]]
    deleted = read_deleted(fetch, narrowed)
    return {
        "rows": rows,
        "failures": failures,
        "invocations": calls,
        "more": len(groups) - len(rows),
        "records_since": deleted.records_since,
        "deleted_invocations": deleted.invocations,
        "deleted_failures": deleted.failures,
    }


def _group(fetch: Fetch, cells: tuple[Any, ...], failures: int) -> FailureGroup:
    kind, status, http_status, model, count, first, last, row_id = cells
    ((invocation_id, message),) = fetch(("SELECT invocation_id, error_message FROM invocations WHERE id = ?", [row_id]))
    return {
        "error_type": None if kind is None else text(kind),
        "status": text(status),
        "http_status": http_status if isinstance(http_status, int) else None,
        "model_name": None if model is None else text(model),
        "failures": count,
        "share": count / failures,
        "first_timestamp": text(first),
        "last_timestamp": text(last),
        "example_id": row_id,
        "example_invocation_id": text(invocation_id),
        "example_message": None if message is None else text(message),
    }
