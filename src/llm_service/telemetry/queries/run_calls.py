"""The calls of a run, as columns of numbers by a name: what summaries and comparisons are made of.

A number takes eight bytes of memory. Rows come in batches by ranges of `id`: those of a run were mostly written
together.
"""

from array import array
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from llm_service.telemetry.queries.cells import ASKED_MODEL, IS_CALL, NANOS, known, text, whole_or_null
from llm_service.telemetry.stores.base import Fetch

__all__ = ["RunCalls", "read_calls"]

_BATCH_IDS: Final = 20_000
_COUNTED: Final = ("prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens", "reasoning_tokens")
_COLUMNS: Final = ", ".join(
    (
        "status",
        "julianday(timestamp) * 86400.0",
        known("latency_ms"),
        known("ttft_ms"),
        NANOS,
        *map(whole_or_null, _COUNTED),
    )
)


class RunCalls:
    """The calls of one name.

    Attributes:
        statuses: how many calls ended so.
        sums: of the counts of tokens that are known, by column.
        uncounted, unpriced: calls without a known total of tokens, without a known cost.
        succeeded: 1.0 or 0.0 for each call.
        cost_nanos, total_tokens, latency_ms, ttft_ms: of the calls for which it is known.
        output_tokens, output_ms: completion tokens and latency of the calls for which both are known and above 0.
        begin, end: of the first call and of the last, in seconds; None without any.
    """

    def __init__(self) -> None:
        self.statuses: dict[str, int] = {}
        self.sums = dict.fromkeys(_COUNTED, 0)
        self.uncounted = 0
        self.unpriced = 0
        self.succeeded = array("d")
        self.cost_nanos = array("q")
        self.total_tokens = array("q")
        self.latency_ms = array("d")
        self.ttft_ms = array("d")
        self.output_tokens = array("q")
        self.output_ms = array("d")
        self.begin: float | None = None
        self.end: float | None = None

    def add(self, cells: "_Cells") -> None:
        """Add a call."""
        status = text(cells.status)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.succeeded.append(status == "success")
        self._add_tokens(cells)
        if cells.cost_nanos is None:
            self.unpriced += 1
        else:
            self.cost_nanos.append(cells.cost_nanos)
        if cells.latency_ms is not None:
            self.latency_ms.append(cells.latency_ms)
            if cells.latency_ms > 0 and cells.completion_tokens:
                self.output_tokens.append(cells.completion_tokens)
                self.output_ms.append(cells.latency_ms)
        if cells.ttft_ms is not None:
            self.ttft_ms.append(cells.ttft_ms)
        if cells.at is not None:
            self._span(cells.at, cells.at + (cells.latency_ms or 0.0) / 1000.0)

    def _add_tokens(self, cells: "_Cells") -> None:
        for column in _COUNTED:
            self.sums[column] += getattr(cells, column) or 0
        if cells.total_tokens is None:
            self.uncounted += 1
        else:
            self.total_tokens.append(cells.total_tokens)

    def _span(self, begin: float, end: float) -> None:
        self.begin = begin if self.begin is None else min(self.begin, begin)
        self.end = end if self.end is None else max(self.end, end)

    def merge(self, other: "RunCalls") -> None:
        """Add the calls of another name."""
        for status, calls in other.statuses.items():
            self.statuses[status] = self.statuses.get(status, 0) + calls
        for column, tokens in other.sums.items():
            self.sums[column] += tokens
        self.uncounted += other.uncounted
        self.unpriced += other.unpriced
        for name in ("succeeded", "cost_nanos", "total_tokens", "latency_ms", "ttft_ms", "output_tokens", "output_ms"):
            getattr(self, name).extend(getattr(other, name))
        if other.begin is not None and other.end is not None:
            self._span(other.begin, other.end)


class _Cells(NamedTuple):
    """One row of `_COLUMNS`; None where the cell holds nothing valid."""

    status: str
    at: float | None
    latency_ms: float | None
    ttft_ms: float | None
    cost_nanos: int | None
    prompt_tokens: int | None
    completion_tokens: int | None
    total_tokens: int | None
    cache_read_tokens: int | None
    reasoning_tokens: int | None


def read_calls(fetch: Fetch, run: str, column: str | None = None) -> dict[str | None, RunCalls]:
    """The calls of a run by a name, the most frequent first.

    Args:
        column: `agent_name`, `tool_name`, or `request_model` (`model_name` is the same: failures have no other name);
            None puts all calls under None.
    """
    found: dict[str | None, RunCalls] = {}
    name_of = ASKED_MODEL if column in ("model_name", "request_model") else column or "NULL"
    for cell, *cells in _rows(fetch, run, name_of):
        name = None if cell is None else text(cell)
        calls = found.get(name)
        if calls is None:
            calls = found[name] = RunCalls()
        calls.add(_Cells(*cells))
    return dict(sorted(found.items(), key=lambda item: (-len(item[1].succeeded), str(item[0] or ""))))


def _rows(fetch: Fetch, run: str, name: str) -> Iterator[tuple[Any, ...]]:
    ((first, last),) = fetch(("SELECT min(id), max(id) FROM invocations WHERE run = ?", [run]))
    sql = f"SELECT {name}, {_COLUMNS} FROM invocations NOT INDEXED WHERE id BETWEEN ? AND ? AND run = ? AND {IS_CALL}"  # noqa: S608
    later = "SELECT min(id) FROM invocations WHERE run = ? AND id >= ?"
    while first is not None and first <= last:
        rows = fetch((sql, [first, first + _BATCH_IDS - 1, run]))
        yield from rows
        first += _BATCH_IDS
        if not rows and first <= last:  # others wrote here: jump over what they wrote
            ((first,),) = fetch((later, [run, first]))
