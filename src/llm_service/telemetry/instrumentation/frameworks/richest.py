"""One row of what two have seen of the same call: functions of values."""

from collections.abc import Mapping
from typing import Any, Final

from llm_service.telemetry.instrumentation.frameworks.places import names_seller

__all__ = ["USED", "counted", "has_usage", "richest", "without_usage"]

_COUNTS: Final = (
    "prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens",
    "cache_write_1h_tokens", "reasoning_tokens",
)  # fmt: skip
USED: Final = frozenset({*_COUNTS, "cost_usd", "cost_source", "usage_source", "unpriced_usage", "service_tier"})
"""What a call used, and what that cost."""
_NAMES: Final = frozenset({"agent_name", "tool_name", "session_id", "user_id", "trace_id", "tags", "metadata"})
"""What the framework knows better: the SDK has it of the blocks around alone."""


def has_usage(fields: Mapping[str, Any]) -> bool:
    """Whether it says what the call used."""
    return any(fields.get(field) is not None for field in _COUNTS)


def counted(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a framework says whose counts are 0 where it knows none: no call is without tokens."""
    if fields.get("prompt_tokens") or fields.get("completion_tokens"):
        return {**fields}
    return {field: value for field, value in fields.items() if field not in _COUNTS} | {"usage_source": "missing"}


def without_usage(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The rest of what it says."""
    return {field: value for field, value in fields.items() if field not in USED}


def richest(nearer: Mapping[str, Any], farther: Mapping[str, Any], failure: Mapping[str, Any]) -> dict[str, Any]:
    """What both say of one call.

    Args:
        nearer: said by who is nearer to the provider: it is believed. What it used, and who sold it, is taken from one
            of them alone; from the other only where this one does not know, or saw a part of it, and no seller that may
            stand for a protocol alone.
        farther: said by the framework around it, which knows the names better.
        failure: how the call failed for the framework's caller; that of the request says more, where that failed.
    """
    found = {field: value for field, value in nearer.items() if value is not None}
    takes_farther = found.get("usage_source") != "reported" and has_usage(farther)
    if takes_farther:
        found = without_usage(found)
        if found.get("finish_reason") == "cancelled" and not failure:
            del found["finish_reason"]  # it was cut short, because the framework had read it all
    for field, value in farther.items():
        if value is None or (field in USED and not takes_farther) or (field == "provider" and not names_seller(value)):
            continue
        if field in _NAMES:
            found[field] = value
        else:
            found.setdefault(field, value)
    if failure and found.get("status") in {None, "success"} and "status" in failure:
        found |= failure
    return found
