"""The records of one trace, run or session as a tree, and where its time went."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypedDict, cast

from llm_service.redaction import stored_name
from llm_service.telemetry.queries.cells import cost_of, is_in_range
from llm_service.telemetry.queries.filters import checked_id
from llm_service.telemetry.queries.questions import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.queries.retention_coverage import records_since
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.timestamps import text_microseconds
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.rollups import nanos

__all__ = ["MOST_ROWS", "Trace", "TraceRow", "TraceTotals", "read_trace", "totals_of", "tree_of"]

MOST_ROWS: Final = 10_000
"""Of a longer trace, run or session the newest are read."""
_FIELDS: Final = ("trace_id", "run", "session_id")
_MOST_ABOVE: Final = 64
_NEWEST: Final = f"SELECT {', '.join(_FIELDS)} FROM invocations{{}} ORDER BY timestamp DESC, id DESC LIMIT 1"  # noqa: S608


class TraceRow(InvocationRow):
    """One record of a tree.

    `depth` is 0 for those that nothing else of the tree holds. `is_call` is False for a span, such as an agent or a
    tool. `own_ms` is what the record took without the records directly within it, in milliseconds, and `own_share` that
    of all the time from the first beginning to the last end; both None where a latency is unknown.
    """

    depth: int
    is_call: bool
    own_ms: float | None
    own_share: float | None


class TraceTotals(TypedDict):
    """The calls of a tree, spans left out; `wall_ms` is from the first beginning to the last end of all."""

    invocations: int
    failures: int
    total_tokens: int
    uncounted: int
    total_cost_usd: float
    unpriced: int
    wall_ms: float


class Trace(TypedDict):
    """A tree of records: each after the one that holds it, and in the order in which they began.

    `records_since` is the first UTC day with all its records, None if none were ever deleted: of what began before it,
    records are missing.
    """

    id: str | None
    rows: list[TraceRow]
    totals: TraceTotals
    truncated: bool
    records_since: str | None


class _Span(NamedTuple):
    """When a record began and ended, in microseconds since 1970."""

    start: int
    end: int


def read_trace(fetch: Fetch, wanted: object = None) -> Trace:
    """The tree of a trace, a run or a session.

    Args:
        wanted: its id; None is the newest trace, or the newest run, session or call where there is no trace.

    Raises:
        QueryError: (a `ValueError`) no record can have such an id.
    """
    if wanted is None:
        known, rows = _newest(fetch)
    else:
        known = checked_id("wanted", wanted)
        rows = _matching(fetch, stored_name(known))
    truncated = len(rows) > MOST_ROWS
    rows = _with_those_above(fetch, rows[:MOST_ROWS])
    tree = tree_of(rows)
    return Trace(id=known, rows=tree, totals=totals_of(tree), truncated=truncated, records_since=records_since(fetch))


def _matching(fetch: Fetch, stored: object) -> list[InvocationRow]:
    found: dict[int, InvocationRow] = {}
    for field in _FIELDS:
        where = f"{field} = ? ORDER BY timestamp DESC, id DESC LIMIT ?"
        sql = f"SELECT {ROW_COLUMNS} FROM invocations WHERE {where}"  # noqa: S608
        found |= {row["id"]: row for row in to_invocations(fetch((sql, [stored, MOST_ROWS + 1])))}
    return sorted(found.values(), key=lambda row: (row["timestamp"], row["id"]), reverse=True)


def _newest(fetch: Fetch) -> tuple[str | None, list[InvocationRow]]:
    traced = fetch(("SELECT 1 FROM invocations WHERE trace_id IS NOT NULL LIMIT 1", []))
    ids = fetch((_NEWEST.format(" WHERE trace_id IS NOT NULL" if traced else ""), []))
    known = next((one for row in ids for one in row if one is not None), None)
    if known is not None:
        return str(known), _matching(fetch, known)
    newest = f"SELECT {ROW_COLUMNS} FROM invocations ORDER BY timestamp DESC, id DESC LIMIT 1"  # noqa: S608
    return None, to_invocations(fetch((newest, [])))


def _with_those_above(fetch: Fetch, rows: list[InvocationRow]) -> list[InvocationRow]:
    """The rows, and the records that hold them and are of no trace themselves."""
    there = {row["invocation_id"] for row in rows} | {row["span_id"] for row in rows if row["span_id"]}
    wanted = {row["parent_invocation_id"] for row in rows} - there - {None}
    for _ in range(_MOST_ABOVE):
        above: list[InvocationRow] = []
        for parent in sorted(cast("set[str]", wanted)):
            sql = f"SELECT {ROW_COLUMNS} FROM invocations WHERE invocation_id = ?"  # noqa: S608
            above += to_invocations(fetch((sql, [parent])))
        there |= {row["invocation_id"] for row in above}
        wanted = {row["parent_invocation_id"] for row in above} - there - {None}
        rows = [*rows, *above]
        if not wanted:
            break
    return rows


def tree_of(rows: Sequence[InvocationRow]) -> list[TraceRow]:
    """These records as a tree, each after its parent, in the order in which they began."""
    ordered = sorted(rows, key=lambda row: (row["timestamp"], row["id"]))
    by_span = {row["span_id"]: row["invocation_id"] for row in reversed(ordered) if row["span_id"]}
    ids = {row["invocation_id"] for row in ordered}
    held: dict[str | None, list[InvocationRow]] = {}
    for row in ordered:
        parent = row["parent_invocation_id"]
        parent = parent if parent in ids else by_span.get(parent or "")
        held.setdefault(None if parent == row["invocation_id"] else parent, []).append(row)
    spans = {row["invocation_id"]: _span(row) for row in ordered}
    known = [span for span in spans.values() if span is not None]
    wall = _wall_us(known)
    return [_placed(row, depth, held, spans, wall) for row, depth in _walk(ordered, held)]


def _walk(
    ordered: Iterable[InvocationRow], held: Mapping[str | None, list[InvocationRow]]
) -> Iterator[tuple[InvocationRow, int]]:
    """Each row once, after the one that holds it; rows that hold each other begin where the first of them does."""
    seen: set[str] = set()
    for root in (*held.get(None, ()), *ordered):
        stack = [(root, 0)]
        while stack:
            row, depth = stack.pop()
            if row["invocation_id"] not in seen:
                seen.add(row["invocation_id"])
                yield row, depth
                stack += [(child, depth + 1) for child in reversed(held.get(row["invocation_id"], ()))]


def _placed(
    row: InvocationRow,
    depth: int,
    held: Mapping[str | None, list[InvocationRow]],
    spans: Mapping[str, _Span | None],
    wall_us: int,
) -> TraceRow:
    own: float | None = None
    span = spans[row["invocation_id"]]
    if span is not None and span.end > span.start:
        within = [spans[child["invocation_id"]] for child in held.get(row["invocation_id"], ())]
        own = (span.end - span.start - _covered(span, within)) / 1000
    elif span is not None:
        own = 0.0
    share = None if own is None or not wall_us else own * 1000 / wall_us
    is_call = not is_span(row["operation"])
    return cast("TraceRow", {**row, "depth": depth, "is_call": is_call, "own_ms": own, "own_share": share})


def _covered(whole: _Span, within: Iterable[_Span | None]) -> int:
    """Microseconds of a span that others take, however many at once."""
    covered, at = 0, whole.start
    for one in sorted(one for one in within if one is not None):
        start, end = max(one.start, at), min(one.end, whole.end)
        if end > start:
            covered, at = covered + end - start, end
    return covered


def _span(row: InvocationRow) -> _Span | None:
    latency = row["latency_ms"]
    if latency is None or not is_in_range("latency_ms", latency):
        return None
    try:
        start = text_microseconds(row["timestamp"])
    except ValueError:
        return None
    return _Span(start, start + round(latency * 1000))


def _wall_us(spans: Sequence[_Span]) -> int:
    return max(span.end for span in spans) - min(span.start for span in spans) if spans else 0


def totals_of(rows: Sequence[TraceRow]) -> TraceTotals:
    """The sums of the calls among these."""
    calls = [row for row in rows if row["is_call"]]
    costs = [cost_of(row["cost_usd"]) for row in calls]
    known = [cost for cost in costs if cost is not None]
    tokens = [row["total_tokens"] for row in calls if row["total_tokens"] is not None]
    spans = [span for span in map(_span, rows) if span is not None]
    return TraceTotals(
        invocations=len(calls),
        failures=sum(row["status"] != "success" for row in calls),
        total_tokens=sum(tokens),
        uncounted=len(calls) - len(tokens),
        total_cost_usd=sum(map(nanos, known)) / 1e9,
        unpriced=len(costs) - len(known),
        wall_ms=_wall_us(spans) / 1000,
    )
