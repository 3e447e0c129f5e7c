"""What a later report of a call leaves standing of what was told before.

A later count replaces the earlier one of its name. What belongs to counts does not outlive them: a cost, a total, a
part of a prompt or a completion that is told anew without it, and all of them where a total of 0 is told. Then the cost
is computed from what stands, or unknown where there was such a part.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from llm_service.pricing.usage.numbers import as_number
from llm_service.telemetry.record.checks import MAX_NAME_CHARS

__all__ = ["COUNTS", "with_losses", "with_reasons"]

_PROMPT: Final = "prompt_tokens"
_COMPLETION: Final = "completion_tokens"
_TOTAL: Final = "total_tokens"
_PARTS: Final[Mapping[str, str]] = {
    "cache_read_tokens": _PROMPT,
    "cache_write_tokens": _PROMPT,
    "cache_write_1h_tokens": _PROMPT,
    "reasoning_tokens": _COMPLETION,
}
"""Fields and the whole that each is a part of."""
COUNTS: Final = (_PROMPT, _COMPLETION, _TOTAL, *_PARTS)
_COSTS: Final = ("cost_usd", "cost_source")


def with_losses(before: Mapping[str, Any], later: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a later report says, with None for what it takes away, and why no cost can be computed then.

    Args:
        before: the fields of the call until then.
        later: the fields of the report; those that it does not tell are left out, or None.
    """
    if before.keys().isdisjoint(COUNTS) or later.keys().isdisjoint(COUNTS):
        return later
    changed = {field for field in COUNTS if _changes(field, before, later)}
    if not changed:
        return later
    found = dict(later)
    if before.get("cost_usd") is not None and later.get("cost_usd") is None:
        found |= dict.fromkeys(_COSTS)
    if _number(later.get(_TOTAL)) == 0:  # nothing was used, whatever was expected
        return {field: None for field in COUNTS if before.get(field) is not None} | found
    anew = {whole for whole in (_PROMPT, _COMPLETION) if whole in changed and before.get(whole) is not None}
    if anew and before.get(_TOTAL) is not None and later.get(_TOTAL) is None:
        found[_TOTAL] = None
    stale = {
        part: before[part]
        for part, whole in _PARTS.items()
        if whole in anew and later.get(part) is None and _number(before.get(part))
    }
    if stale:
        found |= dict.fromkeys(stale)
        reasons = [f"{part}: {_number(count)}, told of other {_PARTS[part]}" for part, count in stale.items()]
        told = later.get("unpriced_usage")
        found["unpriced_usage"] = with_reasons(before.get("unpriced_usage") if told is None else told, reasons)
    return found


def with_reasons(told: Any, reasons: Iterable[str]) -> Any:
    """What is unpriced, with as many more reasons as have room; what is no text is left for the record to refuse."""
    if told is not None and not issubclass(type(told), str):
        return told
    text: str = told or ""
    for reason in reasons:
        longer = f"{text}; {reason}" if text else reason
        text = longer if len(longer) <= MAX_NAME_CHARS else text
    return text


def _changes(field: str, before: Mapping[str, Any], later: Mapping[str, Any]) -> bool:
    """Whether a report says another count than stands; a total that is the sum of its parts says none."""
    number = _number(later.get(field))
    if number is None:
        return False
    if field == _TOTAL and before.get(field) is None:
        return number != sum(_number(later.get(part, before.get(part))) or 0 for part in (_PROMPT, _COMPLETION))
    return number != (_number(before.get(field)) or 0)


def _number(value: Any) -> int | float | None:
    """The number that a value is; None where it is none, or raises when it is looked at: its own check names it."""
    try:
        return as_number(value)
    except Exception:  # noqa: BLE001 - a value of the caller's
        return None
