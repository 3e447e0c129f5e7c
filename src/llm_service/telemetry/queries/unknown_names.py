"""Names that no stored call has: an empty report would look like an idle agent."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Final, NamedTuple

from llm_service.redaction import shown
from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.conditions import Condition, Glob
from llm_service.telemetry.queries.filters import NAMES, InvocationFilter
from llm_service.telemetry.stores.base import Fetch

__all__ = ["UnknownName", "find_unknown", "named_in", "nothing_is_left"]

_MOST_NAMES: Final = 10_000
"""That are compared with what was given."""


class UnknownName(NamedTuple):
    """A name that no stored call has.

    Attributes:
        column: `agent_name`, `tool_name` or `model_name`.
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
    """The conditions that name agents, tools or models."""
    for condition in conditions:
        if condition.column in NAMES and condition.operator == "=":
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
    tables = ("daily_costs", "invocations") if spans else ("daily_costs",)
    found: list[UnknownName] = []
    for column, value in [(one.column, value) for one in named for value in one.values if value is not None]:
        where = InvocationFilter(filters=[Condition(column, None, "=", (value,))]).daily()
        if not any(fetch((f"SELECT 1 FROM {table}{where} LIMIT 1", where.parameters)) for table in tables):  # noqa: S608
            sql = f"SELECT DISTINCT {column} FROM daily_costs WHERE {column} IS NOT NULL LIMIT ?"  # noqa: S608
            known = [text(row[0]) for row in fetch((sql, [_MOST_NAMES]))]
            name = str(_text_of(value))
            near = get_close_matches(name.strip("*?"), known, n=1)
            found.append(UnknownName(column, name, near[0] if near else None))
    return tuple(found)
