"""What a `usage=` reader finds, as fields of a record; of a stream, what all of its items say together.

The counts of a stream are cumulative, so they cannot fall: servers that send 0 in the last event, for what they counted
in the first, mean what they said before. Where counts do fall, the items may be parts to be added up (LangChain's
chunks are): the larger one is kept, and no cost is computed, unless the sum says the same.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.usage import REPORTED, usage_fields
from llm_service.pricing.usage.leaves import is_container, is_mapping, snake
from llm_service.pricing.usage.numbers import as_number
from llm_service.pricing.usage.said import unpriced_text
from llm_service.telemetry.instrumentation.field_aliases import ALIASES, with_doubt
from llm_service.telemetry.record.record import FIELDS

__all__ = ["Cumulative", "ReadUsage", "read_fields"]

ReadUsage = Callable[[Any], "Mapping[str, Any] | None"]
"""Reads fields of a record out of a result, or out of one item of a stream; None where it holds none. It may as well
return the usage itself, as the provider or its client has it."""

_FIELDS: Final = frozenset(FIELDS)
_SAID: Final = _FIELDS - REPORTED
"""Fields that no report of a provider has."""
_PARTS: Final = ("prompt_tokens", "completion_tokens")
_COUNTS: Final = (
    *_PARTS, "total_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens", "cache_write_1h_tokens",
    "cost_usd",
)  # fmt: skip
_PAIRS: Final[tuple[type, ...]] = (list, tuple)
_FELL: Final = "counts that fell within the stream"


def read_fields(usage: ReadUsage, result: Any) -> dict[str, Any]:
    """The fields that a reader finds; what it gives as None is left out.

    Raises:
        TypeError: it gives neither fields nor usage.
        Exception: what the reader raises.
    """
    found: Any = usage(result)
    if found is None:
        return {}
    fields: dict[Any, Any]
    if is_mapping(found):
        try:
            fields = _of_mapping(found)
        except Exception:  # noqa: BLE001 - a value that raises when it is looked at: its own check names it
            fields = dict(found)
    elif type(found) in _PAIRS or not is_container(found):
        fields = dict(found)
    else:
        fields = usage_fields(found)
        if not _is_usage(fields):
            raise TypeError("the reader returned neither a mapping of fields nor usage of a known shape")
    return {field: value for field, value in with_doubt(fields).items() if value is not None}


def _of_mapping(found: Mapping[Any, Any]) -> dict[Any, Any]:
    """Fields as they are; with any other name beside them a provider's usage, beside what is a field already."""
    if all(name in _FIELDS or (name in ALIASES and snake(name) not in REPORTED) for name in found):
        return dict(found)
    own = {name: value for name, value in found.items() if name in _SAID or (name in ALIASES and name not in REPORTED)}
    fields = usage_fields({name: value for name, value in found.items() if name not in own})
    if not _is_usage(fields):
        return dict(found)
    return fields | own


def _is_usage(fields: Mapping[str, Any]) -> bool:
    """Whether a report told anything of a known name."""
    return any(value is not None for field, value in fields.items() if field != "unpriced_usage")


class Cumulative:
    """A reader of one stream: gives what its items say until now. A None in it takes back what was said before."""

    __slots__ = ("_fell", "_most", "_sums", "_tier", "_unpriced", "_usage")

    def __init__(self, usage: ReadUsage) -> None:
        self._usage = usage
        self._most: dict[str, Any] = {}
        self._sums: dict[str, Any] = {}
        self._unpriced: dict[str, str] = {}
        self._tier: Any = None
        self._fell = False

    def __call__(self, item: Any) -> dict[str, Any]:
        """The fields of the stream after an item.

        Raises:
            Exception: as `read_fields`.
        """
        found = read_fields(self._usage, item)
        counted = False
        before = dict(self._most)
        for field in _COUNTS:
            if field in found:
                counted = True
                self._count(field, found)
        if counted:
            self._settle(found)
            if "cost_usd" in before and "cost_usd" not in found and self._grew(before):
                found |= {"cost_usd": None, "cost_source": None}  # it was told of less
        if "service_tier" in found:
            self._keep_tier(found)
        if "unpriced_usage" in found:
            found["unpriced_usage"] = self._named(found["unpriced_usage"])
        return found

    def _count(self, field: str, found: dict[str, Any]) -> None:
        """Let the larger count stand; what is no number stays, for the record to refuse, unless there was a number."""
        value, most = found[field], self._most.get(field)
        number = _number(value)
        if number is None or not number >= 0:  # NaN, too
            if most is not None:
                del found[field]
            return
        self._sums[field] = self._sums.get(field, 0) + number
        if most is None or number >= most[0]:
            self._most[field] = (number, value)
        else:
            self._fell |= number > 0
            found[field] = most[1]

    def _settle(self, found: dict[str, Any]) -> None:
        """What the counts say together, where they fell or no longer make the total."""
        most = {field: number for field, (number, _) in self._most.items()}
        parts = sum(most.get(part, 0) for part in _PARTS)
        if most.get("total_tokens", parts) < parts:
            self._fell |= "total_tokens" in found
            found["total_tokens"] = parts
        if self._fell and any(self._sums[field] != most[field] for field in most if field != "total_tokens"):
            found["unpriced_usage"] = "; ".join(filter(None, [found.get("unpriced_usage"), f"{_FELL}: maybe parts"]))
            if "cost_usd" in most:
                found |= {"cost_usd": None, "cost_source": None}

    def _grew(self, before: Mapping[str, Any]) -> bool:
        """Whether an item counted more than all before it."""
        return any(number > before.get(field, (0,))[0] for field, (number, _) in self._most.items())

    def _keep_tier(self, found: dict[str, Any]) -> None:
        """A tier with prices of its own stays, though a later event says the standard one."""
        told, kept = found["service_tier"], self._tier
        if _is_text(told) and _is_text(kept) and tier_of(told) is None and tier_of(kept) is not None:
            found["service_tier"] = kept
        else:
            self._tier = told

    def _named(self, told: Any) -> Any:
        """All that was named, each with what was last said of it."""
        if not _is_text(told):
            return told
        for one in told.split("; "):
            name, _, value = one.partition(": ")
            self._unpriced[name] = value
        return unpriced_text(self._unpriced)


def _number(value: Any) -> int | float | None:
    """The number that a value is; None where it is none, or raises when it is looked at: its own check names it."""
    try:
        return as_number(value)
    except Exception:  # noqa: BLE001 - a value of the caller's
        return None


def _is_text(value: Any) -> bool:
    """Whether it is a str, by its type: a value of the caller's may raise when it is asked for its class."""
    return issubclass(type(value), str)
