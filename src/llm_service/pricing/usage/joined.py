"""Combines the reports of one stream: raw values are merged, then read once.

The counters of a stream are cumulative and must not fall: if a server sends 0 in the last event for a counter of the
first, the earlier value counts. Counters are kept by their own names: in a sum, a missing or zero part could hide
another. If counters fall, the reports may be parts to be added (as LangChain's chunks): the larger values are kept, and
no cost is computed, unless the sum is the same.
"""

from collections.abc import Collection, Iterator, Mapping
from math import inf
from typing import Any, Final

from llm_service.pricing.usage.leaves import UNREAD, Leaf
from llm_service.pricing.usage.numbers import as_number
from llm_service.pricing.usage.report import Report, said_by
from llm_service.pricing.usage.rules import fields_of
from llm_service.pricing.usage.said import Said, role_of
from llm_service.pricing.usage.shapes import COUNTS, OPENAI, SHAPES, Role, Shape
from llm_service.pricing.usage.telling import is_telling

__all__ = ["FELL", "Counters", "Joined"]

FELL: Final = ("counts that fell within the stream", "maybe parts")
_MONEY: Final = frozenset(path for path, role in OPENAI.roles.items() if role in {"cost", "ticks", "upstream"})
_TOTALS: Final = frozenset(path for shape in SHAPES for path, role in shape.roles.items() if role == "total")
_WITHIN: Final[tuple[tuple[Role, tuple[Role, ...]], ...]] = (
    ("prompt", ("read", "written", "written_5m", "written_1h")),
    ("completion", ("reasoning",)),
)
"""Totals and their parts."""
_MOST: Final = 512
"""Names that are kept of a stream at most."""


class Counters:
    """The largest number of each name."""

    __slots__ = ("_fell", "_most", "_sums")

    def __init__(self) -> None:
        self._most: dict[str, tuple[float, Any]] = {}
        self._sums: dict[str, float] = {}
        self._fell = False

    def take(self, name: str, number: float, value: Any) -> Any:
        """Add a value of a name, with its number (0 or more); returns the value that counts."""
        self._sums[name] = self._sums.get(name, 0) + number
        most = self._most.get(name)
        if most is None or number >= most[0]:
            self._most[name] = (number, value)
        elif number > 0:
            self._fell = True
        return self._most[name][1]

    def drop(self, names: Collection[str]) -> None:
        """Remove names."""
        for name in names:
            self._most.pop(name, None)
            self._sums.pop(name, None)

    def fall(self) -> None:
        """Note that another value fell."""
        self._fell = True

    def values(self) -> Mapping[str, Any]:
        """The value that counts, by name."""
        return {name: value for name, (_, value) in self._most.items()}

    def get(self, name: str) -> float:
        """The number of a name; 0 if unknown."""
        return self._most.get(name, (0, None))[0]

    def __contains__(self, name: str) -> bool:
        return name in self._most

    def told_often(self, name: str) -> bool:
        """Whether a name had other values than its largest."""
        return self._sums.get(name, 0) > self.get(name)

    def may_be_parts(self, but: Collection[str]) -> bool:
        """Whether some names fell and are not the sums of all their values; ignores `but` (totals)."""
        return self._fell and any(self._sums[name] != self.get(name) for name in self._most if name not in but)


class Joined:
    """The reports of one stream so far.

    Attributes:
        unpriced: unpriced usage of all of them: name and value.
    """

    __slots__ = ("_before", "_counters", "_doubts", "_last", "_odd", "_others", "_told", "unpriced")

    def __init__(self) -> None:
        self._counters = Counters()
        self._told: dict[str, Leaf] = {}
        self._odd: dict[str, Leaf] = {}
        self._others: dict[str, Leaf] = {}
        self._before: Mapping[Role, int] = {}
        self._doubts: dict[str, str] = {}
        self._last: Report | None = None
        self.unpriced: Mapping[str, str] = {}

    @property
    def begun(self) -> bool:
        """Whether there was a report."""
        return self._last is not None

    def add(self, report: Report) -> dict[str, Any]:
        """Add a report; returns the fields of all reports, without `unpriced_usage`."""
        grew = False
        priced = False
        for leaf in report.leaves:
            if leaf.path in COUNTS or leaf.path in _MONEY:
                priced |= leaf.path in _MONEY
                grew |= self._count(leaf) and leaf.path in COUNTS
            else:
                self._keep(leaf)
        if grew and not priced:  # the reported cost is of less usage
            self._counters.drop(_MONEY)
        last = self._last
        if last is not None:
            report = report._replace(words={**last.words, **report.words}, billed=last.billed | report.billed)
        self._last = report._replace(leaves=[])
        return self._fields(report)

    def _count(self, leaf: Leaf) -> bool:
        """Add a count. Returns whether it is larger than before."""
        number = as_number(leaf.value)
        if number is None or not 0 <= number < inf:
            self._odd.setdefault(leaf.path, leaf)
            return False
        grew = number > self._counters.get(leaf.path)
        self._told[leaf.path] = self._counters.take(leaf.path, number, leaf)
        return grew

    def _keep(self, leaf: Leaf) -> None:
        """Keep other values that may be billed; an earlier larger value stays."""
        number, old = as_number(leaf.value), self._others.get(leaf.path)
        if not _matters(leaf, number):
            return
        if old is None:
            if len(self._others) >= _MOST:
                leaf = Leaf(UNREAD, "fields of the stream", "too many")
            self._others[leaf.path] = leaf
            return
        before = as_number(old.value)
        if number is not None and before is not None:
            falls = number < before
        else:
            falls = is_telling(old.path, old.value, before) and not is_telling(leaf.path, leaf.value, number)
        if not falls:
            self._others[leaf.path] = leaf

    def _leaves(self) -> Iterator[Leaf]:
        yield from (leaf for path, leaf in self._told.items() if path in self._counters)
        yield from self._odd.values()
        yield from self._others.values()

    def _fields(self, report: Report) -> dict[str, Any]:
        found = [*self._leaves()]
        said, shape = said_by(report._replace(leaves=found))
        fields = fields_of(said, shape)
        if "total tokens" in said.unpriced and any(map(self._counters.told_often, _TOTALS)):
            # Each report has its own total: their sum is at least all parts.
            self._counters.fall()
            said, shape = said_by(report._replace(leaves=[leaf for leaf in found if leaf.path not in _TOTALS]))
            fields = fields_of(said, shape)
            fields["total_tokens"] = (fields["prompt_tokens"] or 0) + (fields["completion_tokens"] or 0)
        self._doubt(report, said, shape)
        if self._counters.may_be_parts(_TOTALS):
            self._doubts |= dict([FELL])
            if any(path in self._counters for path in _MONEY):
                fields |= {"cost_usd": None, "cost_source": None}
        self.unpriced = said.unpriced | self._doubts
        fields.pop("unpriced_usage", None)
        return fields

    def _doubt(self, report: Report, said: Said, shape: Shape) -> None:
        """Doubt a total that grew while its part was not reported again: the part's share is unknown."""
        told: dict[Role, int] = {}
        for leaf in report.leaves:
            role, number = role_of(leaf.path, shape.roles), as_number(leaf.value)
            if role is not None and isinstance(number, int):
                told[role] = max(number, told.get(role, 0))
        before = self._before
        for whole, parts in _WITHIN:
            if told.get(whole, 0) > before.get(whole, 0) > 0:
                for part in parts:
                    if before.get(part, 0) > told.get(part, 0):
                        self._doubts[f"{part} of the {whole}"] = f"{before[part]}, told of less"
        self._before = dict(said.counts)


def _matters(leaf: Leaf, number: float | None) -> bool:
    """Whether a value concerns usage; texts of an answer do not, and are not kept."""
    if not isinstance(leaf.value, str) or leaf.name == UNREAD or is_telling(leaf.path, leaf.value, number):
        return True
    return leaf.name == "type" or any(role_of(leaf.path, shape.roles) for shape in SHAPES)
