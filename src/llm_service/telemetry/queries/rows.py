"""Stored calls as dicts of all columns, with JSON and bool decoded; invalid cells become None."""

from collections.abc import Iterable
from typing import Any, Final, TypedDict, cast

from llm_service.telemetry.queries.cells import decoded, is_in_range, say_odd, text
from llm_service.telemetry.record.fields import RANGES
from llm_service.telemetry.record.record import CARD_FIELDS, EXTENSION_FIELDS

__all__ = ["NUMBERS", "ROW_COLUMNS", "InvocationRow", "to_invocations"]


class InvocationRow(TypedDict):
    """One stored call, every column; None where unknown. `timestamp` is UTC text, `tags` and `metadata` are decoded."""

    id: int
    invocation_id: str
    timestamp: str
    agent_name: str | None
    tool_name: str | None
    model_name: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cost_usd: float | None
    latency_ms: float | None
    status: str
    error_message: str | None
    privacy_level: str | None
    provider: str | None
    operation: str | None
    request_model: str | None
    response_id: str | None
    request_id: str | None
    session_id: str | None
    user_id: str | None
    trace_id: str | None
    span_id: str | None
    parent_invocation_id: str | None
    cache_read_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    usage_source: str | None
    cost_source: str | None
    ttft_ms: float | None
    stream: bool | None
    finish_reason: str | None
    attempts: int | None
    http_status: int | None
    error_type: str | None
    source: str | None
    tags: list[str] | None
    metadata: dict[str, Any] | None
    cache_write_1h_tokens: int | None
    service_tier: str | None
    unpriced_usage: str | None
    run: str | None
    region: str | None


_ROW_COLUMNS: Final = ("id", *CARD_FIELDS, *EXTENSION_FIELDS)
ROW_COLUMNS: Final = ", ".join(_ROW_COLUMNS)
"""The columns that `to_invocations` expects of a SELECT."""


def to_invocations(rows: Iterable[tuple[Any, ...]]) -> list[InvocationRow]:
    """Rows of `invocations` as dicts, JSON and bool decoded.

    An invalid value becomes None, or a text if the column is required; a warning names the first such row.
    """
    shaped: list[InvocationRow] = []
    odd: list[tuple[Any, list[str]]] = []
    for row in rows:
        named: dict[str, Any] = dict(zip(_ROW_COLUMNS, row, strict=True))
        wrong = [
            column
            for column, is_whole in NUMBERS.items()
            if (value := named[column]) is not None
            and (not is_in_range(column, value) or (is_whole and type(value) is not int))
        ]
        for column, kind in _JSON:
            if named[column] is not None:
                value = decoded(named[column], kind)
                wrong += [column] * (value is None)
                named[column] = value
        if named["stream"] is not None:
            named["stream"] = bool(named["stream"])
        if wrong:
            odd.append((named["id"], wrong))
            named |= dict.fromkeys(wrong)
        for column in _REQUIRED:
            if not isinstance(named[column], str):
                named[column] = text(row[_ROW_COLUMNS.index(column)])
        shaped.append(cast("InvocationRow", named))
    if odd:
        say_odd("invocations", odd[0][0], ", ".join(odd[0][1]), len(odd))
    return shaped


_KINDS: Final = {str: str, int: int, bool: int, float: float, list: list, dict: dict}


def _kind_of(column: str) -> type:
    """The type of a column in `InvocationRow`, without None."""
    said = InvocationRow.__annotations__[column]
    of = next(one for one in (getattr(said, "__args__", None) or (said,)) if one is not type(None))
    return _KINDS[getattr(of, "__origin__", of)]


_JSON: Final = tuple((column, kind) for column in _ROW_COLUMNS if (kind := _kind_of(column)) in (list, dict))
NUMBERS: Final = {column: _kind_of(column) is int for column in RANGES if _kind_of(column) in (int, float)}
"""The columns of numbers, and whether they are whole ones."""
_REQUIRED: Final = tuple(column for column in _ROW_COLUMNS if InvocationRow.__annotations__[column] is str)
