"""Of events that each tell all until then, the last is enough: Gemini's, whose every chunk has the usage.

An event takes the place of the one before where it tells the same names, no count of it is smaller, nothing else is
another, and its total is not below its parts: the reports of both together say what the later one says. At the first
event of which that is not so, the last two count, and each that follows: whether counts were parts to be added, which
`joined` asks then, is answered by two as by all before.
"""

from typing import Any, Final, cast

from llm_service.pricing.usage.leaves import snake
from llm_service.pricing.usage.plain import everything

__all__ = ["Growing"]

_PART: Final = ("modality", "token_count")
_TOTAL: Final = "total_token_count"
_PARTS: Final = ("prompt_token_count", "tool_use_prompt_token_count", "candidates_token_count", "thoughts_token_count")


class Growing:
    """Holds back the last event.

    Attributes:
        holds: whether there is one.
    """

    __slots__ = ("_before", "_counts", "_each", "_event", "holds")

    def __init__(self) -> None:
        self._event: Any = None
        self._before: Any = None
        self._counts: dict[str, Any] = {}
        self._each = False
        self.holds = False

    def add(self, event: Any, usage: Any) -> tuple[Any, ...]:
        """Hold an event, with its usage, or None if it tells anything else; returns those that count now."""
        counts = None if self._each else _counts(usage)
        if counts is None or (self.holds and not _covers(counts, self._counts)):
            self._each = True
            before, held = self._before, self.taken()
            return (*(one for one in (before, held) if one is not None), event)
        self._before = self._event
        self._event, self._counts, self.holds = event, counts, True
        return ()

    def taken(self) -> Any:
        """The event that is held, or None; it is held no longer."""
        event, self._event, self._before = self._event, None, None
        self.holds = False
        return event


def _covers(later: dict[str, Any], before: dict[str, Any]) -> bool:
    """Whether all names are the same, nothing is smaller, and no word is another."""
    if later.keys() != before.keys():
        return False
    for name, value in before.items():
        now = later[name]
        if type(now) is not type(value) or (now < value if type(value) is int else now != value):
            return False
    return True


def _counts(usage: Any) -> dict[str, Any] | None:
    """The counts and words of usage by name, of lists by modality; None of usage in which anything else stands."""
    told = everything(usage)
    if told is None:
        return None
    found: dict[str, Any] = {}
    for name, value in told.items():
        if value is None:
            continue
        kind = cast("Any", type(value))
        if kind is list:
            for part in value:
                parts = everything(part)
                if parts is None or len(parts) != len(_PART):
                    return None
                found[f"{name}.{parts.get('modality')}"] = parts.get("tokenCount", parts.get("token_count"))
        else:
            found[snake(name)] = value
    if not all(map(_is_plain, found, found.values())):
        return None
    parts_sum = sum(found.get(part, 0) for part in _PARTS)
    return found if found.get(_TOTAL, parts_sum) >= parts_sum else None


def _is_plain(name: str, value: Any) -> bool:
    """Whether it is a count, or a word that is none."""
    if isinstance(value, str):
        return name.endswith(("_type", "_tier"))
    return type(value) is int and value >= 0
