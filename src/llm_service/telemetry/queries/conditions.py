"""Conditions on calls as SQL with bound parameters: an operator, and what a column or a key of the metadata may be.

A cell that holds what no writer wrote counts as unknown. `!=` is the exact opposite of `=`, so unknown values match it.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final, Literal

from llm_service.telemetry.queries.cells import ASKED_MODEL, known, whole_or_null
from llm_service.telemetry.queries.field_names import MetadataKey
from llm_service.telemetry.queries.rows import NUMBERS
from llm_service.telemetry.record.fields import KINDS, RANGES

__all__ = ["ALIASES", "FAILED", "OPERATORS", "Condition", "Glob", "Operator", "as_sql", "columns_of", "metadata_text"]

Operator = Literal["=", "!=", "<=", ">=", "<", ">"]
OPERATORS: Final[tuple[Operator, ...]] = ("!=", "<=", ">=", "=", "<", ">")
"""The longer ones first."""
ALIASES: Final[dict[str, Operator]] = {"==": "=", "<>": "!=", "=>": ">=", "=<": "<="}
"""How other languages write some of them."""

FAILED: Final = "status <> 'success'"
"""Spelled like the partial indexes' condition, which a bound parameter would not match."""
_TAGS: Final = "CASE WHEN json_valid(tags) THEN CASE WHEN substr(tags, 1, 1) = '[' THEN tags END END"
_FEW_TAGS: Final = 100
_ESCAPED: Final = re.compile(r'["\\\x00-\x1f]')
"""What JSON writes in another way."""
_METADATA: Final = "CASE WHEN json_valid(metadata) THEN CASE WHEN substr(metadata, 1, 1) = '{' THEN metadata END END"
"""A JSON array, a JSON object; NULL where the cell holds anything else."""


@dataclass(frozen=True, slots=True)
class Glob:
    """A pattern of SQLite's `GLOB`."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on one field.

    Attributes:
        column: of `invocations`.
        key: of the metadata, else None.
        operator: `<`, `<=`, `>` and `>=` have one value.
        values: as stored; None stands for an unknown value, and matches the calls that have none.
    """

    column: str
    key: MetadataKey | None
    operator: Operator
    values: tuple[str | int | float | Glob | None, ...]


def columns_of(conditions: Iterable[Condition]) -> set[str]:
    """The columns that these conditions are on."""
    return {condition.column for condition in conditions}


def _place(key: MetadataKey) -> tuple[str, list[Any]]:
    """SQL for where a key of the metadata stands, as arguments of a function: JSON, and a path; and its parameters."""
    if any(part == "" or json.dumps(part, ensure_ascii=False) != f'"{part}"' for path in key.paths for part in path):
        # A path of SQLite says such a key in some versions only.
        return f"metadata_at(CAST(? || {_METADATA} AS BLOB)), '$.value'", [f"{json.dumps(key.paths)}\n"]
    paths = ["$" + "".join(f'."{part}"' for part in path) for path in key.paths]
    if len(paths) == 1:
        return f"{_METADATA}, ?", paths
    whole, inner = paths
    return f"{_METADATA}, CASE WHEN json_type({_METADATA}, ?) IS NULL THEN ? ELSE ? END", [whole, inner, whole]


def metadata_text(key: MetadataKey) -> tuple[str, list[Any]]:
    """SQL for a key of the metadata as text, and its parameters; NULL where it is missing, null or invalid.

    Numbers are text, too; `true` and `false` are words, lists and objects are JSON.
    """
    place, bound = _place(key)
    # A cast would cut a number to 15 digits; in a list it stands as it was written. An object has no [0].
    digits = f"replace(substr(json_extract({place}, '$[0]'), 2), ',null]', '')"
    text = (
        f"CASE json_type({place}) WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' "
        f"WHEN 'integer' THEN {digits} WHEN 'real' THEN {digits} "
        f"ELSE CAST(json_extract({place}) AS TEXT) END"
    )
    return text, bound * 4


def as_sql(condition: Condition) -> tuple[str, list[Any]]:
    """The condition as SQL, and its parameters."""
    if condition.operator not in ("=", "!="):
        return _comparison(condition)
    if condition.column == "status" and condition.values == ("success",) and condition.operator == "!=":
        return FAILED, []
    equal, parameters = _any_tag(condition) if condition.column == "tags" else _any_value(condition)
    if condition.operator == "!=":
        return f"({equal}) IS NOT TRUE", parameters
    # The partial indexes of failures serve this, too.
    only_failed = condition.column == "status" and {*condition.values} <= {"error", "timeout"}
    return f"({equal})" + (f" AND {FAILED}" if only_failed else ""), parameters


def _comparison(condition: Condition) -> tuple[str, list[Any]]:
    (value,) = condition.values
    if condition.key is None:
        return f"{_operand(condition.column)} {condition.operator} ?", [value]
    place, bound = _place(condition.key)
    number = f"CASE WHEN json_type({place}) IN ('integer', 'real') THEN json_extract({place}) END"
    return f"{number} {condition.operator} ?", [*bound, *bound, value]


def _operand(column: str) -> str:
    """A column to compare with; a number that no writer wrote is NULL."""
    if column not in RANGES:
        return ASKED_MODEL if column == "request_model" else column
    return whole_or_null(column) if NUMBERS.get(column, True) else known(column)


def _any_value(condition: Condition) -> tuple[str, list[Any]]:
    if condition.key is not None:
        text, bound = metadata_text(condition.key)
        return _any_of(text, bound, condition.values)
    if KINDS[condition.column] == "json":  # the metadata as a whole: known or not
        return _any_of(_METADATA, [], condition.values)
    return _any_of(_operand(condition.column), [], condition.values)


def _any_tag(condition: Condition) -> tuple[str, list[Any]]:
    """Whether any tag is one of the values; None matches calls without tags."""
    found, parameters = list[str](), list[Any]()
    named = tuple(value for value in condition.values if value is not None)
    if named:
        matches, parameters = _any_of("value", [], named)
        contained = ""
        few = len(named) <= _FEW_TAGS  # each is a level of the expression
        if few and all(isinstance(value, str) and not _ESCAPED.search(value) for value in named):
            # Without a backslash in it, the JSON has these texts as they are: few cells are taken apart.
            contained = f"(instr(tags, '\\') OR {' OR '.join(['instr(tags, ?)'] * len(named))}) AND "
            parameters = [*named, *parameters]
        found.append(f"({contained}EXISTS (SELECT 1 FROM json_each({_TAGS}) WHERE {matches}))")  # noqa: S608 - constants
    if len(named) < len(condition.values):
        found.append(f"NOT EXISTS (SELECT 1 FROM json_each({_TAGS}))")  # noqa: S608 - constants
    return " OR ".join(found), parameters


def _any_of(
    operand: str, bound: list[Any], values: tuple[str | int | float | Glob | None, ...]
) -> tuple[str, list[Any]]:
    """That an operand, which has parameters of its own, is any of these values."""
    found, parameters = list[str](), list[Any]()
    equal = [value for value in values if value is not None and not isinstance(value, Glob)]
    if equal:
        found.append(f"{operand} = ?" if len(equal) == 1 else f"{operand} IN ({', '.join('?' * len(equal))})")
        parameters += [*bound, *equal]
    for value in values:
        if isinstance(value, Glob):
            found.append(f"{operand} GLOB ?")
            parameters += [*bound, value.pattern]
    if None in values:
        found.append(f"{operand} IS NULL")
        parameters += bound
    return " OR ".join(found), parameters
