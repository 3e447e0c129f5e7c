"""Names that no stored call has: an empty report would look like an idle agent."""

from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Final, NamedTuple, cast

from llm_service.redaction import shown
from llm_service.telemetry.queries.cells import text
from llm_service.telemetry.queries.conditions import Condition
from llm_service.telemetry.queries.filters import NAMES, InvocationFilter
from llm_service.telemetry.stores.base import Fetch

__all__ = ["UnknownName", "find_unknown", "named_in"]

_MOST_NAMES: Final = 10_000
"""That are compared with what was given."""


class UnknownName(NamedTuple):
    """A name that no stored call has.

    Attributes:
        column: `agent_name`, `tool_name` or `model_name`.
        name: what was given.
        near: a stored name that was perhaps meant; None where none is near.
    """

    column: str
    name: str
    near: str | None

    def __str__(self) -> str:
        hint = "" if self.near is None else f"; did you mean {self.near}?"
        return f"there is no {self.column.removesuffix('_name')} {shown(self.name)}{hint}"


def named_in(conditions: Iterable[Condition]) -> Iterator[tuple[str, str]]:
    """The agents, tools and models that these conditions name, by column."""
    for condition in conditions:
        if condition.column in NAMES and condition.operator == "=":
            yield from ((condition.column, value) for value in condition.values if isinstance(value, str))


def find_unknown(fetch: Fetch, names: Iterable[tuple[str, str]], *, spans: bool = True) -> tuple[UnknownName, ...]:
    """Those of these names, by column, that no stored call has.

    Args:
        spans: True looks among spans, too, which daily totals do not have: of an unknown name, that reads all records.
    """
    tables = ("daily_costs", "invocations") if spans else ("daily_costs",)
    found: list[UnknownName] = []
    for column, name in names:
        where = InvocationFilter(**cast("Any", {column: name})).daily()
        if not any(fetch((f"SELECT 1 FROM {table}{where} LIMIT 1", where.parameters)) for table in tables):  # noqa: S608
            sql = f"SELECT DISTINCT {column} FROM daily_costs WHERE {column} IS NOT NULL LIMIT ?"  # noqa: S608
            known = [text(row[0]) for row in fetch((sql, [_MOST_NAMES]))]
            near = get_close_matches(name, known, n=1)
            found.append(UnknownName(column, name, near[0] if near else None))
    return tuple(found)
