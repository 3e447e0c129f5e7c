"""What a report says, by role, and what of it nobody here can price."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

from llm_service.pricing.usage.leaves import UNREAD, Leaf
from llm_service.pricing.usage.numbers import NotACount, as_amount, as_count, as_number
from llm_service.pricing.usage.shapes import Role, Shape, is_telling

__all__ = ["Said", "role_of", "said_in", "unpriced_text"]

_MONEY: Final = frozenset({"cost", "ticks", "upstream"})
_WORDS: Final = frozenset({"tier", "traffic", "speed"})
_NO_NUMBERS: Final = (str, bytes, list, tuple, dict)
_TICKS: Final = Decimal(10) ** -10
"""USD of an xAI tick (https://docs.x.ai/developers/cost-tracking)."""
_YES: Final = frozenset({"true", "1", "1.0", "yes"})
_MOST_CHARS: Final = 200
_LONGEST: Final = 60


@dataclass(slots=True)
class Said:
    """A report, sorted.

    Attributes:
        counts: tokens by role; of several fields of one role the largest.
        found: of each role the fields that were told, in the order in which they stand: path and count.
        odd: what stands where a count should and is no number, by role; the record is to refuse it.
        money: USD by role.
        words: texts by role.
        byok: whether the call was paid with a key of one's own.
        unpriced: what was billed and cannot be priced, or cannot be believed: name and value.
    """

    counts: dict[Role, int] = field(default_factory=dict[Role, int])
    found: dict[Role, dict[str, int]] = field(default_factory=dict[Role, dict[str, int]])
    odd: dict[Role, Any] = field(default_factory=dict[Role, Any])
    money: dict[Role, Decimal] = field(default_factory=dict[Role, Decimal])
    words: dict[Role, str] = field(default_factory=dict[Role, str])
    byok: bool | None = None
    unpriced: dict[str, str] = field(default_factory=dict[str, str])

    def doubt(self, name: str, value: object) -> None:
        """Name something that cannot be priced."""
        self.unpriced[_short(name)] = _short(str(value))

    def count(self, role: Role) -> int:
        """Tokens of a role; 0 where they were not told."""
        return self.counts.get(role, 0)


def role_of(path: str, roles: Mapping[str, Role]) -> Role | None:
    """What a path means; None for one that is not in the table."""
    return roles.get(path) or roles.get(f"{path.partition('.')[0]}.*")


def said_in(leaves: Iterable[Leaf], shape: Shape) -> Said:
    """Sort the values of a report."""
    said = Said()
    for leaf in leaves:
        role = role_of(leaf.path, shape.roles)
        if leaf.name == UNREAD:
            said.doubt(leaf.shown, leaf.value)
        elif role is None:
            if is_telling(leaf.name, leaf.value, as_number(leaf.value)):
                said.doubt(leaf.shown, leaf.value)
        elif role == "byok":
            said.byok = str(leaf.value).strip().lower() in _YES
        elif role in _WORDS:
            if isinstance(leaf.value, str) and leaf.value.strip():
                said.words[role] = leaf.value.strip()
        elif role in _MONEY:
            _take_money(said, role, leaf)
        elif role != "within":
            _take_count(said, role, leaf)
    for role, counts in said.found.items():
        told = {count for count in counts.values() if count}
        if len(told) > 1:  # a 0 beside a count is a field that its sender does not fill
            said.doubt(" and ".join(counts), " and ".join(map(str, counts.values())))
        said.counts[role] = max(counts.values())
    return said


def _take_count(said: Said, role: Role, leaf: Leaf) -> None:
    found = said.found.setdefault(role, {})
    try:
        count = as_count(leaf.value)
        if found.get(leaf.path, count) != count:  # spelled in two ways
            said.doubt(leaf.shown, f"{count}, elsewhere {found[leaf.path]}")
        found[leaf.path] = max(count, found.get(leaf.path, 0))
    except NotACount:
        if not found:
            del said.found[role]
        if as_number(leaf.value) is not None:
            said.doubt(leaf.shown, leaf.value)
        elif isinstance(leaf.value, _NO_NUMBERS):
            said.doubt(leaf.shown, _shown(leaf.value))
            said.odd.setdefault(role, leaf.value)


def _take_money(said: Said, role: Role, leaf: Leaf) -> None:
    try:
        said.money[role] = as_count(leaf.value) * _TICKS if role == "ticks" else as_amount(leaf.value)
    except NotACount:
        if as_number(leaf.value) is not None:
            said.doubt(leaf.shown, leaf.value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) and value else repr(value)


def unpriced_text(unpriced: Mapping[str, str]) -> str | None:
    """Names and values as one short text, `a: 1; b: 2`; None where there are none."""
    text = ""
    for at, (name, value) in enumerate(unpriced.items()):
        more = f" and {len(unpriced) - at} more"
        one = f"{'; ' if text else ''}{name}: {value}"
        if len(text) + len(one) + len(more) > _MOST_CHARS:
            return text + more
        text += one
    return text or None


def _short(text: str) -> str:
    """A text that may stand in a log line: of one line, and bounded."""
    return "".join(character if character.isprintable() else "?" for character in text[:_LONGEST])
