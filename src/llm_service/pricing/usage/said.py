"""Sorts the values of a report by role, and collects unpriced usage."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from reprlib import repr as short  # bounded in depth and length
from typing import Any, Final

from llm_service.pricing.usage.leaves import UNREAD, Leaf
from llm_service.pricing.usage.numbers import NotACount, as_amount, as_count, as_number
from llm_service.pricing.usage.shapes import COUNTS, SHAPES, Role, Shape
from llm_service.pricing.usage.telling import is_telling

__all__ = ["Said", "role_of", "said_in", "unpriced_text"]

_MONEY: Final = frozenset({"cost", "ticks", "upstream"})
_WORDS: Final = frozenset({"tier", "traffic", "speed"})
_COSTS: Final = "cost."
_RAW: Final = "raw."
"""The AI SDK's key for the provider's own report, from which the rest is derived."""
_USD: Final = frozenset({"USD", "US$", "$"})
_PLAIN: Final = frozenset({str, bytes, bool, list, tuple, dict})
_TICKS: Final = Decimal(10) ** -10
"""USD of an xAI tick (https://docs.x.ai/developers/cost-tracking)."""
_YES: Final = frozenset({"true", "1", "1.0", "yes"})
_MOST_CHARS: Final = 200
_LONGEST: Final = 60


@dataclass(slots=True)
class Said:
    """A report, sorted.

    Attributes:
        counts: tokens by role; the largest, if a role has several fields.
        found: the reported fields of each role in their order: path and count.
        money: USD by role; None if invalid.
        requests: number of calls that the counts sum.
        words: texts by role.
        byok: whether the call was paid with the user's own key.
        parts: what is within another count, by path; see `rules`.
        unpriced: usage without a price, and contradictions: name and value.
    """

    counts: dict[Role, int] = field(default_factory=dict[Role, int])
    found: dict[Role, dict[str, int]] = field(default_factory=dict[Role, dict[str, int]])
    money: dict[Role, Decimal | None] = field(default_factory=dict[Role, Decimal | None])
    requests: int | None = None
    words: dict[Role, str] = field(default_factory=dict[Role, str])
    byok: bool | None = None
    parts: dict[str, int] = field(default_factory=dict[str, int])
    unpriced: dict[str, str] = field(default_factory=dict[str, str])

    def doubt(self, name: str, value: object) -> None:
        """Add unpriced usage, or a contradiction."""
        self.unpriced[_short(name)] = _short(str(value))

    def count(self, role: Role) -> int:
        """Tokens of a role; 0 if not reported."""
        return self.counts.get(role, 0)


def role_of(path: str, roles: Mapping[str, Role]) -> Role | None:
    """The role of a path; None if it is not in the table."""
    return roles.get(path) or roles.get(f"{path.partition('.')[0]}.*")


def said_in(leaves: Iterable[Leaf], shape: Shape) -> Said:
    """Sort the values of a report."""
    said = Said()
    costs: list[Leaf] = []
    for leaf in leaves:
        role = role_of(leaf.path, shape.roles)
        if leaf.name == UNREAD:
            said.doubt(leaf.shown, leaf.value)
        elif role is None:
            if not _is_raw(leaf.path) and _is_billed(leaf):
                said.doubt(leaf.shown, _shown(leaf.value))
        elif role == "within" and leaf.path.startswith(_COSTS):
            costs.append(leaf)
        else:
            _take(said, role, leaf)
    _settle_counts(said)
    _settle_money(said, costs)
    return said


def _is_billed(leaf: Leaf) -> bool:
    """Whether a value without a role was billed, or has the path of a count in some family."""
    number = as_number(leaf.value)
    return is_telling(leaf.path, leaf.value, number) or (number is None and leaf.path in COUNTS)


def _is_raw(path: str) -> bool:
    """Whether the path is in the provider's own report under `raw`, and is known there."""
    under = path.removeprefix(_RAW)
    return under != path and any(role_of(under, shape.roles) for shape in SHAPES)


def _take(said: Said, role: Role, leaf: Leaf) -> None:
    if role == "byok":
        said.byok = str(leaf.value).strip().lower() in _YES
    elif role in _WORDS:
        if isinstance(leaf.value, str) and leaf.value.strip():
            said.words[role] = leaf.value.strip()
    elif role in _MONEY:
        _take_money(said, role, leaf)
    elif role == "currency":
        if isinstance(leaf.value, str) and leaf.value.strip().upper() not in {"", *_USD}:
            said.words[role] = leaf.value.strip()
    elif role == "requests":
        number = as_number(leaf.value)
        if isinstance(number, int):
            said.requests = max(number, said.requests or 0)
    elif role == "within":
        number = as_number(leaf.value)
        if isinstance(number, int):
            said.parts[leaf.path] = number
    else:
        _take_count(said, role, leaf)


def _settle_counts(said: Said) -> None:
    """Take the largest count of each role; different counts of a role are a contradiction."""
    for role, counts in said.found.items():
        told = {count for count in counts.values() if count}
        # A 0 beside a count is a field that the sender does not fill. But a 0 of cached tokens is deliberate, unless
        # the report also has the uncached rest of the prompt.
        contradicts = bool(told) and role == "read" and 0 in counts.values() and "fresh" not in said.found
        if len(told) > 1 or contradicts:
            said.doubt(" and ".join(counts), " and ".join(map(str, counts.values())))
        said.counts[role] = max(counts.values())


def _settle_money(said: Said, costs: Iterable[Leaf]) -> None:
    """Drop amounts in other currencies, and parts of a cost without their sum."""
    currency = said.words.get("currency")
    if currency is not None and said.money:
        said.doubt("currency", currency)
        said.money = dict.fromkeys(said.money)
    if "cost" not in said.money:
        for leaf in costs:
            if as_number(leaf.value) is not None or is_telling("cost", leaf.value, None):
                said.doubt(leaf.shown, leaf.value)


def _take_count(said: Said, role: Role, leaf: Leaf) -> None:
    found = said.found.setdefault(role, {})
    try:
        count = as_count(leaf.value)
        if found.get(leaf.path, count) != count:  # one path with two spellings
            said.doubt(leaf.shown, f"{count}, elsewhere {found[leaf.path]}")
        found[leaf.path] = max(count, found.get(leaf.path, 0))
    except NotACount:
        if not found:
            del said.found[role]
        said.doubt(leaf.shown, _shown(leaf.value))


def _take_money(said: Said, role: Role, leaf: Leaf) -> None:
    try:
        amount = as_count(leaf.value) * _TICKS if role == "ticks" else as_amount(leaf.value)
    except NotACount:
        said.doubt(leaf.shown, _shown(leaf.value))
        return
    if said.money.get(role, amount) != amount:
        said.doubt(leaf.shown, f"{amount}, elsewhere {said.money[role]}")
        said.money[role] = None
    else:
        said.money[role] = amount


def _shown(value: Any) -> str:
    """A value for display; for a foreign object only its class, since its text may be anything."""
    if isinstance(value, str) and value:
        return value
    return short(value) if as_number(value) is not None or type(value) in _PLAIN else f"of type {type(value).__name__}"


def unpriced_text(unpriced: Mapping[str, str]) -> str | None:
    """Names and values as one short text, `a: 1; b: 2`; None if there are none."""
    text = ""
    for at, (name, value) in enumerate(unpriced.items()):
        more = f" and {len(unpriced) - at} more"
        one = f"{'; ' if text else ''}{name}: {value}"
        if len(text) + len(one) + len(more) > _MOST_CHARS:
            return text + more
        text += one
    return text or None


def _short(text: str) -> str:
    """A text for a log line: one line, of bounded length."""
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST])
