"""Of a stream, what all of its items say together, as fields of a record.

What a provider reported is put together as it stands, see `llm_service.pricing.usage.joined`; fields of a record that a
reader made itself are kept by the same rule: counts do not fall.
"""

from collections.abc import Mapping
from math import inf
from typing import Any, Final

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.usage.joined import FELL, Counters, Joined
from llm_service.pricing.usage.numbers import as_number
from llm_service.pricing.usage.report import report_of
from llm_service.pricing.usage.said import unpriced_text
from llm_service.pricing.usage.shapes import OPENAI
from llm_service.telemetry.instrumentation.later_reports import COUNTS
from llm_service.telemetry.instrumentation.usage_reader import ReadUsage, read_parts

__all__ = ["Cumulative"]

_TOTAL: Final = "total_tokens"
_COST: Final = "cost_usd"
_NO_COST: Final[dict[str, Any]] = {_COST: None, "cost_source": None}


class Cumulative:
    """A reader of one stream: gives what its items say until now. A None in it takes back what was said before."""

    __slots__ = ("_given", "_joined", "_own", "_tier", "_unpriced", "_usage")

    def __init__(self, usage: ReadUsage) -> None:
        self._usage = usage
        self._joined = Joined()
        self._own = Counters()
        self._given: set[str] = set()
        self._unpriced: dict[str, str] = {}
        self._tier: Any = None

    def __call__(self, item: Any) -> dict[str, Any]:
        """The fields of the stream after an item.

        Raises:
            Exception: as `read_fields`.
        """
        report, own = read_parts(self._usage, item)
        if report is not None and not self._joined.begun:
            self._join(self._own.values())
        elif report is None and self._joined.begun:  # both tell of one stream: they are one report
            counts = {field: own.pop(field) for field in COUNTS if _is_count(own.get(field))}
            report = report_of(counts, OPENAI)
        found: dict[str, Any] = {}
        if report is not None:
            told = self._joined.add(report)
            told = _NO_COST | told if _COST in self._given else told
            found = {field: value for field, value in told.items() if value is not None or field in self._given}
        found |= self._counted(own)
        if found.get("service_tier") is not None:
            self._keep_tier(found)
        self._name(found)
        self._given |= found.keys()
        return found

    def _join(self, fields: Mapping[str, Any]) -> None:
        """Let what a reader made itself be part of what was reported."""
        earlier = report_of({field: value for field, value in fields.items() if field != _COST}, OPENAI)
        if earlier is not None:
            self._joined.add(earlier)

    def _counted(self, own: dict[str, Any]) -> dict[str, Any]:
        """The fields with the largest of each count in place of what an item says."""
        found, grew = dict(own), False
        for field in (*COUNTS, _COST):
            if field not in own:
                continue
            if not _is_count(own[field]):  # for the record to refuse, unless there was a number
                if field in self._own:
                    del found[field]
                continue
            number = as_number(own[field]) or 0
            grew |= field != _COST and number > self._own.get(field)
            found[field] = self._own.take(field, number, own[field])
        if grew and _COST in self._own and _COST not in own:  # it was told of less
            self._own.drop([_COST])
            found |= _NO_COST
        self._settle(found, own)
        return found

    def _settle(self, found: dict[str, Any], own: Mapping[str, Any]) -> None:
        """What the counts say together, where they fell or no longer make the total."""
        parts = self._own.get("prompt_tokens") + self._own.get("completion_tokens")
        if own.keys().isdisjoint((*COUNTS, _COST)):
            return
        if _TOTAL in self._own and self._own.get(_TOTAL) < parts:
            if _TOTAL in own:
                self._own.fall()
            found[_TOTAL] = parts
        if self._own.may_be_parts([_TOTAL]):
            found["unpriced_usage"] = "; ".join(filter(None, [found.get("unpriced_usage"), ": ".join(FELL)]))
            if _COST in self._own:
                found |= _NO_COST

    def _keep_tier(self, found: dict[str, Any]) -> None:
        """A tier with prices of its own stays, though a later event says the standard one; then no price is right."""
        told, kept = found["service_tier"], self._tier
        if _is_text(told) and _is_text(kept) and tier_of(told) is None and tier_of(kept) is not None:
            found["service_tier"] = kept
            self._unpriced["service_tier"] = f"{kept}, then {told}"
        else:
            self._tier = told

    def _name(self, found: dict[str, Any]) -> None:
        """Name all that cannot be priced: what was reported as it is now, of the rest what was last said of each."""
        told = found.get("unpriced_usage")
        if told is not None and not _is_text(told):  # for the record to refuse
            return
        for one in told.split("; ") if told else ():
            name, _, value = one.partition(": ")
            self._unpriced[name] = value
        unpriced = unpriced_text({**self._unpriced, **self._joined.unpriced})
        if unpriced is not None or "unpriced_usage" in self._given:
            found["unpriced_usage"] = unpriced


def _is_count(value: Any) -> bool:
    """Whether a value is a number from 0; not where it raises when it is looked at: its own check names it."""
    try:
        number = as_number(value)
    except Exception:  # noqa: BLE001 - a value of the caller's
        return False
    return number is not None and 0 <= number < inf


def _is_text(value: Any) -> bool:
    """Whether it is a str, by its type: a value of the caller's may raise when it is asked for its class."""
    return issubclass(type(value), str)
