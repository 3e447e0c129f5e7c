"""What a block turns out to be when it ends: a call, the one call that others saw in it, or a chain of several."""

from typing import Any, Final

from llm_service.telemetry.instrumentation.nested_calls import NestedCalls
from llm_service.telemetry.instrumentation.record_building import merged
from llm_service.telemetry.record.fields import FIELDS
from llm_service.telemetry.record.operations import is_span

__all__ = ["settle"]

_USED: Final = frozenset({"prompt_tokens", "completion_tokens", "total_tokens", "cost_usd"})
_OUTCOME: Final = ("status", "error_type", "error_message")
_OF_AN_ANSWER: Final = frozenset(field for field in FIELDS if field.endswith("_tokens")) | {
    "cost_source", "cost_usd", "finish_reason", "operation", "request_id", "response_id", "service_tier",
    "unpriced_usage", "usage_source",
}  # fmt: skip
"""What an answer says of its call."""
_OF_A_CALL: Final = _OF_AN_ANSWER | {"model_name", "provider", "prompt", "request_model", "response"}
"""What is said of a call alone: a block that says nothing of it, and holds calls, is none.

A budget is estimated by the model, so that with one only what an answer says is of a call.
"""


def settle(
    calls: NestedCalls,
    said: dict[str, Any],
    measured: dict[str, Any],
    *,
    learnt: frozenset[str],
    reserved: bool,
    holds_blocks: bool,
    outlived: bool,
) -> tuple[dict[str, Any], bool]:
    """Take what others recorded within a block that has ended.

    Args:
        calls: within it.
        said: its fields.
        measured: what else is known of it; altered.
        learnt: the fields that it has of an answer, of which the call that answered knows more.
        reserved: whether it has a budget.
        holds_blocks: whether another block was entered within it.
        outlived: whether calls within it ended after it.

    Returns:
        Its fields, and whether there were several calls.
    """
    said = {field: value for field, value in said.items() if value is not None}
    failure = {field: measured.get(field) for field in _OUTCOME} if "status" in measured else {}
    was_cancelled = failure.get("error_type") == "cancelled"
    outcome = calls.settle(is_call=not is_span(said.get("operation")) and not holds_blocks)
    if outcome.fields is not None:
        found = outcome.fields
        left = found.get("finish_reason") == "cancelled" or (outlived and found.get("stream") is True)
        if was_cancelled and left:  # its stream was left, or went on after it
            failure = {}
            for field in _OUTCOME:
                measured.pop(field, None)
        said = {field: value for field, value in said.items() if field not in learnt or found.get(field) is None}
        measured |= merged(found, said) | failure
        return said, outcome.several
    is_no_call = is_span(said.get("operation"))
    kept = {"operation"} if is_no_call else frozenset[str]()
    repeats = (outcome.several or calls.counted > 0) and calls.told_before(said)  # what a row within it has told
    if repeats:
        said = {field: value for field, value in said.items() if field not in _OF_AN_ANSWER - kept}
    is_no_call = is_no_call or said.keys().isdisjoint(_OF_AN_ANSWER if reserved else _OF_A_CALL)
    unused = said.keys().isdisjoint(_USED)
    if not repeats and not (
        unused and (outcome.several or (calls.counted and (is_no_call or (holds_blocks and calls.seen))))
    ):
        return said, outcome.several
    measured["operation"] = "chain"  # it is no call itself
    if reserved and (outcome.several or calls.counted) and calls.costs_are_known:
        measured["cost_usd"] = 0  # its calls are counted by their own rows: what it holds is free again
    return said, outcome.several
