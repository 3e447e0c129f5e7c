"""What the columns of rows hold, by the types that rows are declared with: for the formats that have types."""

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

__all__ = ["Kind", "cell_of", "guessed", "kinds_of", "texts"]

Kind = Literal["integer", "number", "text", "flag", "moment", "json"]
"""`moment` is a UTC text; `json` a list or an object."""
_PLAIN: Final[dict[Any, Kind]] = {bool: "flag", int: "integer", float: "number", Decimal: "number", str: "text"}
_MOMENT: Final = re.compile(r"(?:.*_)?(?:timestamp|at|since|until|window_start)")
"""How columns are named whose texts are moments."""
_STORED: Final = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d{6})?Z", re.ASCII)
"""How moments are stored."""
_DAYS: Final = frozenset({"records_since", "records_kept_since"})


def kinds_of(row: Any) -> dict[str, Kind]:
    """By column of a typed row, in its order; the columns of a row within it have its name and a dot before theirs."""
    found: dict[str, Kind] = {}
    for name, hint in get_type_hints(row).items():
        options = [one for one in _options(hint) if one is not NoneType]
        if len(options) == 1 and is_typeddict(options[0]):
            found |= {f"{name}.{inner}": kind for inner, kind in kinds_of(options[0]).items()}
        elif len(options) == 1 and hasattr(get_origin(options[0]), "_fields"):  # a named tuple of one type
            inner_kind = _kind(name, get_args(options[0]))
            found |= {f"{name}.{inner}": inner_kind for inner in get_origin(options[0])._fields}
        else:
            found[name] = _kind(name, options)
    return found


def _options(hint: Any) -> Iterable[Any]:
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def _kind(name: str, options: Iterable[Any]) -> Kind:
    said = [type(value) for one in options if get_origin(one) is Literal for value in get_args(one)]
    types = {*said, *(one for one in options if get_origin(one) is not Literal)}
    if types == {str} and _MOMENT.fullmatch(name) and name not in _DAYS:
        return "moment"
    if types == {int, float}:
        return "number"
    return _PLAIN.get(types.pop(), "json") if len(types) == 1 else "text" if not types else "json"


def texts(*names: str) -> dict[str, Kind]:
    """Columns of text."""
    return dict.fromkeys(names, "text")


def guessed(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> dict[str, Kind]:
    """What columns hold whose types nobody declared, by their values."""
    values: dict[str, list[Any]] = {name: [] for name in names}
    for row in rows:
        for name in names:
            if row[name] is not None:
                values[name].append(row[name])
    return {name: _guessed(known) for name, known in values.items()}


def _guessed(known: Sequence[Any]) -> Kind:
    types = {*map(type, known)}
    if types and types <= {int, float}:
        return "integer" if types == {int} else "number"
    return "moment" if types == {str} and all(map(_STORED.fullmatch, known)) else "text"


def cell_of(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, which may be that of a row within the row."""
    if name in row or "." not in name:
        return row[name]
    value: Any = row
    for part in name.split("."):
        value = None if value is None else value[part]
    return value
