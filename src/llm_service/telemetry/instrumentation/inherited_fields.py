"""What a call has of the scopes and blocks around it: functions of values.

What is inherited is a mapping of fields to checked values; None is what is to stay unknown. A scope gives whatever it
was told, a block the ids of what it belongs to, and whatever it says instead of a scope around it. What is said nearer
wins; tags and metadata are added up.
"""

from collections.abc import Mapping
from json import loads
from types import MappingProxyType
from typing import Any, Final, cast

from llm_service.errors import RecordError
from llm_service.telemetry.instrumentation.trace_context import span_of_otel, trace_id_of
from llm_service.telemetry.record.fields import CHECKS, fields_of_kind
from llm_service.telemetry.record.texts import forget_repairs, repairs_here

__all__ = ["NOTHING", "SCOPE_FIELDS", "in_block", "in_otel_span", "in_scope", "inherit", "own_trace", "readable"]

_ADDED_UP: Final = ("tags", "metadata")
_OF_A_BLOCK: Final = ("session_id", "user_id", "run", "trace_id")
"""What a block passes on in any case."""
_OF_ONE_CALL: Final = frozenset(
    {"error_type", "finish_reason", "request_id", "response_id", "span_id", "unpriced_usage", "usage_source"}
)
_LINKS: Final = frozenset({"span_id", "parent_invocation_id"})
"""What a call has of the span it is made in: not passed on."""
SCOPE_FIELDS: Final = (frozenset(fields_of_kind("name", "id")) - _OF_ONE_CALL) | {*_ADDED_UP, "privacy_level"}
"""What may be said of many calls at once."""
NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


def readable(field: str, value: object) -> Any:
    """A value as a record would keep it; tags as a list, metadata as a dict.

    Raises:
        RecordError: no record can have it.
    """
    checked = CHECKS[field](field, value)
    return loads(checked) if field in _ADDED_UP and checked is not None else checked


def _usable(field: str, value: object) -> Any:
    """The same; None for what no record can have: whoever said it is told."""
    repairs = repairs_here()
    try:
        return readable(field, value)
    except RecordError:
        return None
    finally:
        forget_repairs(repairs)  # counted with the record that says it


def in_scope(around: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What calls inherit in a scope.

    Args:
        around: what is inherited around it.
        said: what it says, as `readable` gives it.
    """
    found = {field: value for field, value in around.items() if field not in _LINKS}
    for field, value in said.items():
        found[field] = _sum(found[field], value) if field in _ADDED_UP and field in found else value
    return found


def in_block(around: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """What calls inherit in a block.

    Args:
        around: what it inherits itself.
        said: its fields so far.
    """
    found = {field: value for field, value in around.items() if field not in _LINKS}
    for field in (*_OF_A_BLOCK, *(name for name in found if name not in _OF_A_BLOCK and name not in _ADDED_UP)):
        value = said.get(field)
        if value is not None and (checked := _usable(field, value)) is not None:
            found[field] = checked
    return found


def own_trace(known: Mapping[str, Any], own_id: str, *, reserved: bool) -> str | None:
    """The trace of a block that holds others: the one that is known, else one that it begins.

    None where its budget was reserved without one: budgets of a run count by the trace, and it stays where it was.

    Args:
        known: what its calls inherit; see `in_block`.
        own_id: its own UUID.
        reserved: whether it has a budget.
    """
    if "trace_id" in known:
        return cast("str | None", known["trace_id"])
    return trace_id_of(own_id) if not reserved or "run" in known else None


def in_otel_span(around: Mapping[str, Any], said: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same, with the ids of OpenTelemetry's current span, unless the call belongs to another trace."""
    span = span_of_otel()
    if span is None:
        return around
    trace = said.get("trace_id") or around.get("trace_id")
    return around if trace not in {None, span.trace_id} else {**around, **span._asdict()}


def inherit(around: Mapping[str, Any], said: dict[str, Any], measured: dict[str, Any]) -> None:
    """Give a call what it inherits and does not say itself. Both dicts are altered.

    Args:
        around: what it inherits.
        said: what it says; a value that no record can have stays, and is told of when the record is made.
        measured: what else is known of it, which stands back behind what it says.
    """
    for field, value in around.items():
        own = said.get(field)
        if own is None:
            said.pop(field, None)
            own = measured.get(field)
        if own is None or field == "parent_invocation_id":  # the scope of a remote caller is nearer than a block
            measured[field] = value
        elif field in _ADDED_UP and value is not None:
            more = _usable(field, own)
            measured[field] = _sum(value, more)
            if more is not None:
                said.pop(field, None)
    trace = said.get("trace_id")
    if trace is not None and trace != around.get("trace_id"):
        for field in _LINKS & around.keys():
            if field == "span_id" or measured.get(field) == around[field]:
                measured.pop(field, None)


def _sum(outer: Any, inner: Any) -> Any:
    """Tags or metadata of both; what both have stands once, as the inner one says it."""
    if inner is None:
        return outer
    if isinstance(outer, dict):
        return outer | inner
    return list(dict.fromkeys([*outer, *inner]))
