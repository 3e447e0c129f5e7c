"""Names that no stored call has: an empty report would look like an idle agent."""

import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Final, NamedTuple

from llm_service.redaction import shown
from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.conditions import Condition, Glob
from llm_service.telemetry.queries.filters import NAMES, Where
from llm_service.telemetry.stores.base import Fetch

__all__ = ["UnknownName", "find_unknown", "named_in", "nothing_is_left"]

_MOST_NAMES: Final = 10_000
"""That are compared with what was given."""
_NAMED: Final = (*NAMES, "operation")
_NEWEST: Final = (
    "SELECT DISTINCT operation FROM (SELECT operation FROM invocations ORDER BY timestamp DESC, id DESC LIMIT 1000)"
    " WHERE operation IS NOT NULL"
)
"""What operations there are, as far as it takes no walk through all records to tell."""


class UnknownName(NamedTuple):
    """A name that no stored call has.

    Attributes:
        column: `agent_name`, `tool_name`, `model_name` or `operation`.
        name: what was given: a name, or a pattern.
        near: a stored name that was perhaps meant; None where none is near.
    """

    column: str
    name: str
    near: str | None

    def __str__(self) -> str:
        hint = "" if self.near is None else f"; did you mean {self.near}?"
        return f"there is no {self.column.removesuffix('_name')} {shown(self.name)}{hint}"


def named_in(conditions: Iterable[Condition]) -> Iterator[Condition]:
    """The conditions that name agents, tools, models or operations."""
    for condition in conditions:
        if condition.column in _NAMED and condition.operator == "=":
            yield condition


def nothing_is_left(named: Iterable[Condition], unknown: Iterable[UnknownName]) -> bool:
    """Whether one of the conditions has unknown names alone, so that no call is meant."""
    known = {(one.column, one.name) for one in unknown}
    return any(all((one.column, _text_of(value)) in known for value in one.values) for one in named)


def _text_of(value: object) -> object:
    return value.pattern if isinstance(value, Glob) else value


def find_unknown(fetch: Fetch, named: Iterable[Condition], *, spans: bool = True) -> tuple[UnknownName, ...]:
    """Those of the names and patterns in these conditions that no stored call has.

    Args:
        spans: True looks among spans, too, which daily totals do not have: of an unknown name, that reads all records.
    """
    found: list[UnknownName] = []
    for column, value in [(one.column, value) for one in named for value in one.values if value is not None]:
        tables = ("invocations",) if column not in NAMES else ("daily_costs", "invocations")[: 1 + spans]
        where = Where()
        where.meet(Condition(column, None, "=", (value,)))
        if not any(fetch((f"SELECT 1 FROM {table}{where} LIMIT 1", where.parameters)) for table in tables):  # noqa: S608
            name = str(_text_of(value))
            found.append(UnknownName(column, name, _near(name.strip("*?"), _known(fetch, column))))
    return tuple(found)


def _known(fetch: Fetch, column: str) -> list[str]:
    named = f"SELECT DISTINCT {column} FROM daily_costs WHERE {column} IS NOT NULL LIMIT ?"  # noqa: S608
    rows = fetch((named, [_MOST_NAMES])) if column in NAMES else fetch((_NEWEST, []))
    return [text(row[0]) for row in rows]


def _near(name: str, known: Sequence[str]) -> str | None:
    """The one that is spelled nearly so; else one that has it as a word: `execute_tool` for `tool`."""
    near = get_close_matches(name, known, n=1) or [one for one in known if name in re.split(r"[\W_]+", one)]
    return near[0] if near else None
