"""The tree of a trace, a run or a session, and where its time went."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries import traces
from llm_service.telemetry.queries.traces import read_trace
from llm_service.telemetry.stores.sqlite.reader import read

BEGIN = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "t.db", models=False) as made:
        yield made


def log(logger: TelemetryLogger, name: str, parent: str | None, start: float, ms: float | None, **fields: Any) -> None:
    """A record that begins so many milliseconds after `BEGIN`."""
    logger.log_invocation(
        InvocationRecord(
            name, agent_name=name, parent_invocation_id=parent, latency_ms=ms,
            timestamp=BEGIN + timedelta(milliseconds=start), **({"trace_id": "t"} | fields),
        )
    )  # fmt: skip


def drawn(rows: Any) -> list[tuple[Any, ...]]:
    """Depth, name, own time and share."""
    return [(row["depth"], row["agent_name"], row["own_ms"], row["own_share"]) for row in rows]


def test_each_stands_after_what_holds_it_with_the_time_of_its_own(logger: TelemetryLogger) -> None:
    """Children that overlap are taken away once, and what they take beyond their parent's end not at all."""
    log(logger, "agent", None, 0, 1000, operation="agent")
    log(logger, "second", "agent", 300, 400, total_tokens=5, cost_usd=0.5)
    log(logger, "first", "agent", 100, 400, total_tokens=7, cost_usd=0.25)
    log(logger, "tool", "first", 200, 100, operation="tool", total_tokens=99, cost_usd=9)
    log(logger, "late", "agent", 900, 300, status="error")
    log(logger, "unknown", "agent", 950, None)
    assert drawn(logger.get_trace("t")) == [
        (0, "agent", 300.0, 0.25),
        (1, "first", 300.0, 0.25),
        (2, "tool", 100.0, 100 / 1200),
        (1, "second", 400.0, 400 / 1200),
        (1, "late", 300.0, 0.25),
        (1, "unknown", None, None),
    ]
    found = read(logger.db_path, lambda fetch: read_trace(fetch, "t"))
    assert found["totals"] == {
        "invocations": 4, "failures": 1, "total_tokens": 12, "uncounted": 2, "total_cost_usd": 0.75, "unpriced": 2,
        "wall_ms": 1200.0,
    }  # fmt: skip
    assert [row["is_call"] for row in found["rows"]] == [False, True, False, True, True, True]


@pytest.mark.parametrize("field", ["trace_id", "run", "session_id"])
async def test_by_either_id_on_both_faces(tmp_path: Path, field: str) -> None:
    """And nothing by another."""
    async with AsyncTelemetryLogger(tmp_path / "t.db") as telemetry:
        with telemetry.scope(**{field: "wanted"}):
            async with telemetry.invocation("outer"), telemetry.invocation("inner"):
                pass
        async with telemetry.invocation("other"):
            pass
        found = await telemetry.get_trace("wanted")
        assert [(row["depth"], row["agent_name"]) for row in found] == [(0, "outer"), (1, "inner")]
        assert await telemetry.get_trace("nothing") == []
        with pytest.raises(QueryError, match="wanted"):
            await telemetry.get_trace({})  # type: ignore[arg-type]


def test_without_an_id_the_newest_trace(logger: TelemetryLogger) -> None:
    """Where there is none: the newest run or session, or the newest call alone."""
    assert logger.get_trace() == []
    log(logger, "alone", None, 0, 1, trace_id=None)
    assert drawn(logger.get_trace()) == [(0, "alone", 1.0, 1.0)]
    log(logger, "of a run", None, 1, 1, trace_id=None, run="r")
    assert drawn(logger.get_trace()) == [(0, "of a run", 1.0, 1.0)]
    log(logger, "traced", None, 2, 1)
    log(logger, "newer", None, 3, 1, trace_id=None, run="r")
    assert drawn(logger.get_trace()) == [(0, "traced", 1.0, 1.0)]


def test_what_holds_a_trace_without_being_in_it_is_shown(logger: TelemetryLogger) -> None:
    """As a block with a budget does; by its id, or by its span where the caller was another process."""
    log(logger, "root", None, 0, 100, trace_id=None)
    log(logger, "middle", "root", 0, 50, trace_id=None)
    log(logger, "leaf", "middle", 0, 25, span_id="s1")
    log(logger, "elsewhere", "s1", 5, 10)
    log(logger, "lost", "nobody", 7, 1)
    found = [(row["depth"], row["agent_name"]) for row in logger.get_trace("t")]
    assert found == [(0, "root"), (1, "middle"), (2, "leaf"), (3, "elsewhere"), (0, "lost")]


def test_a_longer_one_is_cut_to_its_newest(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """And that is said."""
    monkeypatch.setattr(traces, "MOST_ROWS", 2)
    for number in range(4):
        log(logger, f"a{number}", None, number, 0)
    found = read(logger.db_path, lambda fetch: read_trace(fetch, "t"))
    assert ([row["agent_name"] for row in found["rows"]], found["truncated"]) == (["a2", "a3"], True)
    assert found["rows"][0]["own_ms"] == 0


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 50), st.integers(0, 50)), min_size=1, max_size=10))
def test_any_links_make_a_tree_of_each_row_once(links: list[tuple[int, int, int]]) -> None:
    """Rows that hold each other, or themselves, too; no time of its own is below nothing or above its latency."""
    names = [
        "id", "invocation_id", "parent_invocation_id", "span_id", "timestamp", "latency_ms", "operation", "status",
        "total_tokens", "cost_usd",
    ]  # fmt: skip
    rows: list[Any] = [
        dict(zip(names, (
            number, f"i{number}", f"i{parent}", None, f"2026-11-01 12:00:00.0000{start:02d}Z", ms, None, "success", 1, 1.0,
        ), strict=True))
        for number, (parent, start, ms) in enumerate(links)
    ]  # fmt: skip
    tree = traces.tree_of(rows)
    assert sorted(row["invocation_id"] for row in tree) == sorted(row["invocation_id"] for row in rows)
    for row in tree:
        assert row["own_ms"] is not None
        assert 0 <= row["own_ms"] <= (row["latency_ms"] or 0)
    for before, row in pairwise(tree):
        assert row["depth"] <= before["depth"] + 1
    assert traces.totals_of(tree)["invocations"] == len(rows)


def test_an_odd_timestamp_has_no_time(logger: TelemetryLogger) -> None:
    """Of its own."""
    log(logger, "a", None, 0, 5)
    row: Any = logger.get_trace("t")[0]
    assert traces.tree_of([row | {"timestamp": "odd"}])[0]["own_ms"] is None
