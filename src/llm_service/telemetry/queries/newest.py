"""The newest calls that filters leave: of a name that is rare or absent, too, without reading all calls.

A common name is found among the newest calls. Where it is not, `record_blocks` tells which blocks of records may have
it, and only these are read, the latest first. Blocks without a row there, as the newest one, may have anything.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from llm_service.telemetry.queries.conditions import Condition, Glob
from llm_service.telemetry.queries.filters import InvocationFilter, Where, checked_day, moment_text
from llm_service.telemetry.queries.questions import add_position, invocations
from llm_service.telemetry.queries.rows import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.block_names import BLOCK, COLUMNS, name_mark

__all__ = ["read_newest"]

_LOOKED_AT: Final = 1_000
_LOOKED_AT_OF_AGENT: Final = 4_000
"""Of the newest calls, or those of the agent asked for, which an index finds, before blocks are looked for."""
_MOST_NAMES: Final = 8
"""Of one condition, that are looked for in a block."""
_MOST_UNKNOWN: Final = 64
"""Blocks without a row that are read; with more, as in a file that was just migrated, all calls are walked."""
_INDEXED: Final = frozenset({"session_id", "trace_id", "run", "user_id"})
_WALKED: Final = (frozenset({"agent_name"}), frozenset({"status"}))
"""Columns that have an index with time, where nothing else tells blocks apart."""
_ALSO: Final = {"request_model": ("request_model", "model_name")}
"""By column: where a call may have the value; see `ASKED_MODEL`."""
_ENDS: Final = "SELECT (SELECT min(id) FROM invocations), (SELECT max(id) FROM invocations)"
_BLOCKS: Final = "FROM record_blocks WHERE block >= ? AND block < ?"
_LATEST: Final = ":"
"""Sorts after every timestamp."""


class _Block(NamedTuple):
    """A block, and the latest timestamp in it."""

    last: str
    number: int


def read_newest(
    fetch: Fetch, narrowed: InvocationFilter, limit: int = 100, *, before: InvocationRow | None = None
) -> list[InvocationRow]:
    """The rows of `questions.invocations`, with its arguments and errors."""
    at_once = invocations(narrowed, limit, before=before)
    marks = _marks(narrowed)
    bound = _bound(fetch, narrowed, before) if marks else None
    if bound is None:
        return to_invocations(fetch(at_once))
    found = fetch(_from("timestamp >= ?", bound, narrowed, limit, before))
    if len(found) < limit:
        left = limit - len(found)
        blocks = _blocks(fetch, marks, narrowed, bound)
        if blocks is None:
            found += fetch(_from("timestamp < ?", bound, narrowed, left, before))
        else:
            where = _where(narrowed, before)
            where.add("timestamp < ?", bound)
            ids = str([*_ids(fetch, blocks, where, left)])
            in_blocks = "WHERE id IN (SELECT value FROM json_each(?)) ORDER BY timestamp DESC, id DESC LIMIT ?"
            found += fetch((f"SELECT {ROW_COLUMNS} FROM invocations {in_blocks}", [ids, left]))  # noqa: S608
    return to_invocations(found)


def _marks(narrowed: InvocationFilter) -> list[tuple[bytes, ...]]:
    """For each condition that blocks can be told by, the marks of which a block must have one."""
    conditions = narrowed.conditions()
    equal = [one for one in conditions if one.operator == "=" and one.key is None and Glob not in map(type, one.values)]
    ids = {one.column for one in equal if None not in one.values} & _INDEXED
    if ids or any(getattr(narrowed, column) is not None for column in _INDEXED):
        return []
    if narrowed.status is not None:
        equal.append(Condition("status", None, "=", (narrowed.status,)))
    told = [one for one in equal if one.column in COLUMNS and len(one.values) <= _MOST_NAMES]
    if frozenset(one.column for one in told) in _WALKED and all(one.values != ("success",) for one in told):
        return []
    return [
        tuple(name_mark(column, value) for column in _ALSO.get(one.column, (one.column,)) for value in one.values)
        for one in told
    ]


def _where(narrowed: InvocationFilter, before: InvocationRow | None) -> Where:
    where = narrowed.where()
    if before is not None:
        add_position(where, before)
    return where


def _from(
    condition: str, bound: str, narrowed: InvocationFilter, limit: int, before: InvocationRow | None
) -> tuple[str, list[Any]]:
    where = _where(narrowed, before)
    where.add(condition, bound)
    order = "ORDER BY timestamp DESC, id DESC LIMIT ?"
    return f"SELECT {ROW_COLUMNS} FROM invocations{where} {order}", [*where.parameters, limit]  # noqa: S608


def _bound(fetch: Fetch, narrowed: InvocationFilter, before: InvocationRow | None) -> str | None:
    """The timestamp behind the newest calls of the range, and of the agent; None where there are no more of them."""
    agents = [one for one in narrowed.conditions() if one.column == "agent_name" and one.operator == "="]
    agents = [one for one in agents if len(one.values) == 1 and isinstance(one.values[0], str)][:1]
    of_range = InvocationFilter(
        narrowed.start_date, narrowed.end_date, since=narrowed.since, until=narrowed.until, filters=agents
    )
    where = _where(of_range, before)
    behind = f"ORDER BY timestamp DESC, id DESC LIMIT 1 OFFSET {_LOOKED_AT_OF_AGENT if agents else _LOOKED_AT:d}"
    rows = fetch((f"SELECT timestamp FROM invocations{where} {behind}", where.parameters))  # noqa: S608
    return rows[0][0] if rows and isinstance(rows[0][0], str) else None


def _blocks(
    fetch: Fetch, marks: Sequence[tuple[bytes, ...]], narrowed: InvocationFilter, bound: str
) -> list[_Block] | None:
    """The blocks that may have such calls before a timestamp, the latest first; None where too few have a row."""
    first, newest = (int(end or 0) >> BLOCK for end in fetch((_ENDS, ()))[0])
    has = " AND ".join(f"({' OR '.join(['instr(names, ?)'] * len(any_of))})" for any_of in marks)
    told = f"(typeof(names) <> 'blob' OR ({has})) AND first_timestamp < ? AND last_timestamp >= ?"
    sql = f"SELECT count(*), group_concat(CASE WHEN {told} THEN block || ' ' || last_timestamp END) {_BLOCKS}"
    parameters = [*(mark for any_of in marks for mark in any_of), bound, _start(narrowed), first, newest]
    ((count, listed),) = fetch((sql, parameters))
    if newest - first - count > _MOST_UNKNOWN:
        return None
    found = [_Block(_LATEST, newest)]
    if count < newest - first:
        known = {row[0] for row in fetch((f"SELECT block {_BLOCKS}", [first, newest]))}
        found += [_Block(_LATEST, block) for block in range(first, newest) if block not in known]
    for one in listed.split(",") if listed else ():
        number, _, last = one.partition(" ")
        if not number.isdigit():  # no writer wrote that timestamp
            return None
        found.append(_Block(last, int(number)))
    return sorted(found, reverse=True)


def _start(narrowed: InvocationFilter) -> str:
    day, moment = narrowed.start_date, narrowed.since
    of_day = "" if day is None else checked_day("start_date", day).isoformat()
    return max(of_day, "" if moment is None else moment_text("since", moment))


def _ids(fetch: Fetch, blocks: Sequence[_Block], where: Where, limit: int) -> Iterator[int]:
    """The ids of the calls in blocks, until the newest ones are among them."""
    sql = f"SELECT id, timestamp FROM invocations NOT INDEXED{where} AND id >= ? AND id < ?"  # noqa: S608
    times: list[str] = []
    for last, number in blocks:
        if len(times) >= limit and sorted(times)[-limit] > last:
            return
        for row_id, timestamp in fetch((sql, [*where.parameters, number << BLOCK, number + 1 << BLOCK])):
            times.append(timestamp if isinstance(timestamp, str) else "")
            yield row_id
