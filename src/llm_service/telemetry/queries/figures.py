"""Adds calls up, by keys: from records, or from roll-ups of them."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from llm_service.telemetry.queries.cells import whole
from llm_service.telemetry.queries.conditions import Condition, columns_of
from llm_service.telemetry.queries.daily_sums import ROLLUP_KEYS, ROLLUP_TIMES, RollUp, fetch_daily_sums
from llm_service.telemetry.queries.filters import Where
from llm_service.telemetry.queries.group_keys import GroupKey
from llm_service.telemetry.queries.local_periods import Cut
from llm_service.telemetry.queries.measures import PARTS
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.latency_buckets import added_up

__all__ = ["Groups", "merge", "nothing", "put", "read_records", "read_sums", "span_of"]

_Key = tuple[Any, ...]
Groups = dict[_Key, dict[str, Any]]
"""Parts by the cells of keys; of a period, the beginning (UTC) of what it is made of."""


def nothing(parts: Iterable[str]) -> dict[str, Any]:
    """The parts of no calls."""
    empty: dict[str, Any] = {"add": 0, "most": None}
    return {part: {} if (kind := PARTS[part].merge) == "buckets" else empty[kind] for part in parts}


def merge(into: dict[str, Any], other: Mapping[str, Any]) -> None:
    """Put the parts of other calls to these."""
    for part, value in other.items():
        match PARTS[part].merge:
            case "add":
                into[part] += value
            case "most":
                into[part] = value if into[part] is None else into[part] if value is None else max(into[part], value)
            case "buckets":
                buckets = into[part]
                for bucket, calls in value.items():
                    buckets[bucket] = buckets.get(bucket, 0) + calls


def put(groups: Groups, key: _Key, values: Mapping[str, Any]) -> None:
    """Put calls into the group of a key: two damaged names may be read as the same text."""
    known = groups.get(key)
    if known is None:
        groups[key] = {part: {**value} if isinstance(value, dict) else value for part, value in values.items()}
    else:
        merge(known, values)


def span_of(column: str, start: str | None, end: str | None, conditions: Iterable[Condition]) -> Where:
    """The conditions on a table, from a text on and before another."""
    where = Where()
    where.compare(f"{column} >= ?", start)
    where.compare(f"{column} < ?", end)
    for condition in conditions:
        where.meet(condition)
    return where


def read_records(
    fetch: Fetch,
    keys: Sequence[GroupKey],
    parts: Sequence[str],
    conditions: Sequence[Condition],
    start: str | None,
    end: str | None,
    cut: Cut,
) -> Groups:
    """Groups of the calls from a timestamp on and before another; also of spans where `operation` is asked for."""
    where = span_of("timestamp", start, end, conditions)
    where.only_calls(columns_of(conditions).union(key.column for key in keys))
    cells = [cut.sql if key.is_period else _unindexed(key) for key in keys]
    bound = [parameter for key in keys for parameter in key.parameters]
    selected = ", ".join((*cells, "count(*)", *(PARTS[part].sql for part in parts)))
    sql = f"SELECT {selected} FROM invocations{where}{_grouped(cells)}"  # noqa: S608 - constants
    groups: Groups = {}
    for row in fetch((sql, [*bound, *where.parameters])):
        if row[len(keys)]:
            values = {part: _value(part, cell) for part, cell in zip(parts, row[len(keys) + 1 :], strict=True)}
            put(groups, _moments(keys, row, cut.moment), values)
    return groups


def _unindexed(key: GroupKey) -> str:
    """A key that no index is walked for: to look all of its rows up takes longer than to sort those of the range."""
    return f"+{key.column}" if key.sql == key.column else key.sql


def _moments(keys: Sequence[GroupKey], row: Sequence[Any], moment: Callable[[Any], datetime | None]) -> _Key:
    return tuple(moment(cell) if key.is_period else cell for key, cell in zip(keys, row, strict=False))


def read_sums(
    fetch: Fetch,
    table: RollUp,
    keys: Sequence[GroupKey],
    parts: Sequence[str],
    conditions: Sequence[Condition],
    start: str | None,
    end: str | None,
    cut: Cut,
) -> Groups:
    """Groups of the rows of a roll-up from a UTC day, or quarter of an hour, on and before another."""
    column = ROLLUP_KEYS[table]
    where = span_of(column, start, end, conditions)
    of_period = cut.sql.replace("timestamp", ROLLUP_TIMES[table])
    cells = [of_period if key.is_period else key.sql for key in keys]
    sums = [part for part in parts if PARTS[part].merge == "add"]
    selected = ", ".join((*cells, "count(*)", *(f"coalesce(sum({part}), 0)" for part in sums)))
    sql = f"SELECT {selected} FROM {table}{where}{_grouped(cells)}"  # noqa: S608 - constants
    groups: Groups = {}
    for row in fetch_daily_sums(fetch, sql, where.parameters, table):
        if row[len(keys)]:
            values = dict(zip(sums, map(whole, row[len(keys) + 1 :]), strict=True))
            put(groups, _moments(keys, row, cut.moment), nothing(parts) | values)
    if "latency_buckets" in parts:
        packed: defaultdict[_Key, list[Any]] = defaultdict(list)
        selected = ", ".join((*cells, "hex(latency_buckets)"))
        for *row_key, digits in fetch((f"SELECT {selected} FROM {table}{where}", where.parameters)):  # noqa: S608
            packed[tuple(row_key)].append(digits)
        for group, found in packed.items():
            put(groups, _moments(keys, group, cut.moment), nothing(parts) | {"latency_buckets": added_up(found)})
    return groups


def _grouped(cells: Sequence[str]) -> str:
    return f" GROUP BY {', '.join(str(at) for at in range(1, len(cells) + 1))}" if cells else ""


def _value(part: str, cell: Any) -> Any:
    match PARTS[part].merge:
        case "add":
            return whole(cell)
        case "most":
            return cell if isinstance(cell, int) else None
        case "buckets":
            pairs = [pair.split(":") for pair in cell.split()] if isinstance(cell, str) else []
            return {int(bucket): int(calls) for bucket, calls in pairs}
