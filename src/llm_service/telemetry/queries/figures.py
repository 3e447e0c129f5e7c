"""Adds calls up, by keys: from records, or from the daily totals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from llm_service.telemetry.queries.cells import IS_CALL, whole
from llm_service.telemetry.queries.conditions import Condition, columns_of
from llm_service.telemetry.queries.daily_sums import fetch_daily_sums
from llm_service.telemetry.queries.filters import Where
from llm_service.telemetry.queries.group_keys import GroupKey
from llm_service.telemetry.queries.local_periods import UNITS
from llm_service.telemetry.queries.measures import PARTS
from llm_service.telemetry.stores.base import Fetch

__all__ = ["Groups", "merge", "nothing", "put", "read_daily", "read_records", "span_of"]

_Key = tuple[Any, ...]
Groups = dict[_Key, dict[str, Any]]
"""Parts by the cells of keys; a period's cell is the UTC unit that it is made of."""
_MOST_BUCKET: Final = 1_000


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
    merge(groups.setdefault(key, nothing(values)), values)


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
    unit: int,
) -> Groups:
    """Groups of the calls from a timestamp on and before another; also of spans where `operation` is asked for."""
    where = span_of("timestamp", start, end, conditions)
    if "operation" not in columns_of(conditions) | {key.column for key in keys}:
        where.add(IS_CALL)
    cells = [UNITS[unit] if key.is_period else key.sql for key in keys]
    bound = [parameter for key in keys for parameter in key.parameters]
    selected = ", ".join((*cells, "count(*)", *(PARTS[part].sql for part in parts)))
    sql = f"SELECT {selected} FROM invocations{where}{_grouped(cells)}"  # noqa: S608 - constants
    groups: Groups = {}
    for row in fetch((sql, [*bound, *where.parameters])):
        if row[len(keys)]:
            values = {part: _value(part, cell) for part, cell in zip(parts, row[len(keys) + 1 :], strict=True)}
            put(groups, row[: len(keys)], values)
    return groups


def read_daily(
    fetch: Fetch,
    keys: Sequence[GroupKey],
    parts: Sequence[str],
    conditions: Sequence[Condition],
    start: str | None,
    end: str | None,
) -> Groups:
    """Groups of the daily totals from a UTC day on and before another."""
    where = span_of("date", start, end, conditions)
    cells = ["date" if key.is_period else key.sql for key in keys]
    sums = [part for part in parts if PARTS[part].merge == "add"]
    selected = ", ".join((*cells, "count(*)", *(f"coalesce(sum({part}), 0)" for part in sums)))
    sql = f"SELECT {selected} FROM daily_costs{where}{_grouped(cells)}"  # noqa: S608 - constants
    groups: Groups = {}
    for row in fetch_daily_sums(fetch, sql, where.parameters):
        if row[len(keys)]:
            values = dict(zip(sums, map(whole, row[len(keys) + 1 :]), strict=True))
            put(groups, row[: len(keys)], nothing(parts) | values)
    if "latency_buckets" in parts:
        for key, buckets in _daily_buckets(fetch, cells, where):
            put(groups, key, nothing(parts) | {"latency_buckets": buckets})
    return groups


def _daily_buckets(
    fetch: Fetch, cells: Sequence[str], where: Where
) -> Iterator[tuple[tuple[Any, ...], dict[int, int]]]:
    """Latency buckets of the daily totals, by the cells of keys."""
    selected = ", ".join((*cells, "bucket", "sum(l.invocations)"))
    joined = "daily_costs AS d JOIN daily_latency AS l ON l.daily_cost_id = d.id"
    sql = f"SELECT {selected} FROM {joined}{where}{_grouped([*cells, 'bucket'])}"  # noqa: S608 - constants
    for *key, bucket, calls in fetch((sql, where.parameters)):
        if isinstance(bucket, int) and -_MOST_BUCKET <= bucket <= _MOST_BUCKET:  # else no writer wrote it
            yield tuple(key), {bucket: whole(calls)}


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
