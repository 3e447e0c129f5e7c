"""Roll-ups: exact sums, and percentiles within 2.2 %."""

import sqlite3
from collections import Counter
from dataclasses import fields
from datetime import UTC, datetime
from math import ceil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import from_microseconds
from llm_service.telemetry.stores.rollups import (
    DailyKey,
    DailyTotals,
    bucket_of,
    fold,
    nanos,
    percentile,
    representative,
)

PRECISION = 0.022
DAY = 86_400_000_000
COSTS = st.floats(0, 1e6, allow_nan=False) | st.floats(0, 0.1, allow_nan=False) | st.integers(0, 10**6)
LATENCIES = st.floats(0, 1e10, allow_nan=False) | st.integers(0, 100_000)
COUNTS = st.none() | st.integers(0, 10**6)


@st.composite
def records(draw: st.DrawFn) -> InvocationRecord:
    """Calls of a few agents over a few days around midnight, each value known or not."""
    day = draw(st.integers(20_000, 20_003))
    return InvocationRecord(
        timestamp=from_microseconds(day * DAY + draw(st.sampled_from([0, 1, DAY // 2, DAY - 1]))),
        agent_name=draw(st.sampled_from([None, "a", "b"])),
        tool_name=draw(st.sampled_from([None, "t"])),
        model_name=draw(st.sampled_from([None, "m"])),
        prompt_tokens=draw(COUNTS),
        completion_tokens=draw(COUNTS),
        cost_usd=draw(st.none() | COSTS),
        latency_ms=draw(st.none() | LATENCIES),
        status=draw(st.sampled_from(["success", "error", "timeout"])),
    )


def add(parts: list[dict[DailyKey, DailyTotals]]) -> dict[DailyKey, DailyTotals]:
    """What several folds add together, as the database's upserts do."""
    whole: dict[DailyKey, DailyTotals] = {}
    for part in parts:
        for key, totals in part.items():
            sums = whole.setdefault(key, DailyTotals())
            for column in fields(DailyTotals):
                if column.name != "buckets":
                    setattr(sums, column.name, getattr(sums, column.name) + getattr(totals, column.name))
            sums.buckets = dict(Counter(sums.buckets) + Counter(totals.buckets))
    return whole


@given(st.lists(st.lists(records(), max_size=6), max_size=5))
@settings(max_examples=60, deadline=None)
def test_folding_a_list_equals_adding_the_folds_of_its_parts(parts: list[list[InvocationRecord]]) -> None:
    """So it does not matter how the writer cut its batches."""
    assert fold([record for part in parts for record in part]) == add([fold(part) for part in parts])


@given(st.lists(records(), max_size=15))
@settings(max_examples=60, deadline=None)
def test_a_fold_counts_every_record_once(made: list[InvocationRecord]) -> None:
    """By a count of each column that does not use `fold`."""
    folded = fold(made)
    for key, totals in folded.items():
        mine = [
            record
            for record in made
            if key == (f"{record.timestamp:%Y-%m-%d}", record.agent_name, record.tool_name, record.model_name)
        ]
        costs = [record.cost_usd for record in mine if record.cost_usd is not None]
        latencies = [record.latency_ms for record in mine if record.latency_ms is not None]
        assert totals.invocations == len(mine)
        assert totals.errors == sum(record.status == "error" for record in mine)
        assert totals.timeouts == sum(record.status == "timeout" for record in mine)
        assert totals.prompt_tokens == sum(record.prompt_tokens or 0 for record in mine)
        assert totals.completion_tokens == sum(record.completion_tokens or 0 for record in mine)
        assert totals.total_tokens == sum(record.total_tokens or 0 for record in mine)
        assert totals.uncounted == sum(record.total_tokens is None for record in mine)
        assert totals.cost_nanos == sum(map(nanos, costs))
        assert totals.unpriced == len(mine) - len(costs)
        assert totals.latency_count == len(latencies) == sum(totals.buckets.values())
        assert totals.latency_us_sum == sum(int(latency * 1000 + 0.5) for latency in latencies)
        assert totals.buckets == Counter(map(bucket_of, latencies))
    assert sum(totals.invocations for totals in folded.values()) == len(made)


def test_nothing_folds_to_nothing() -> None:
    """An empty batch touches no aggregate."""
    assert fold([]) == {}


def test_a_day_ends_at_midnight_utc() -> None:
    """The last microsecond belongs to the day before."""
    last = InvocationRecord(timestamp=datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=UTC))
    first = InvocationRecord(timestamp=datetime(2026, 11, 24, tzinfo=UTC))
    assert [key.date for key in fold([last, first])] == ["2026-11-23", "2026-11-24"]


def test_nanos_is_what_sqlite_computes() -> None:
    """The edge of a window is summed by SQL, the days by Python: both give the same integer for any cost."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE costs (cost_usd REAL)")

    @given(COSTS)
    @settings(max_examples=300, deadline=None)
    def check(cost: float) -> None:
        connection.execute("DELETE FROM costs")
        connection.execute("INSERT INTO costs VALUES (?)", (cost,))
        (computed,) = connection.execute("SELECT CAST(cost_usd * 1e9 + 0.5 AS INTEGER) FROM costs").fetchone()
        assert computed == nanos(cost)
        (totals,) = fold([InvocationRecord(cost_usd=cost)]).values()
        assert totals.cost_nanos == computed

    try:
        check()
    finally:
        connection.close()


@given(st.integers(0, 10**15))
@settings(max_examples=300, deadline=None)
def test_nanos_gives_back_whole_nano_dollars(value: int) -> None:
    """A cost that is a whole number of nano-dollars is counted as exactly that, up to a million dollars."""
    assert abs(nanos(value / 1e9) - value) <= (value > 2**52)


@pytest.mark.slow
def test_ten_million_additions_stay_exact_to_the_nano_dollar() -> None:
    """A float sum of ten million costs drifts; the integers of SQL and of `fold` do not."""
    cost = 0.000_123_457
    (totals,) = fold([InvocationRecord(cost_usd=cost)] * 10_000).values()
    assert totals.cost_nanos == 10_000 * 123_457
    connection = sqlite3.connect(":memory:")
    try:
        exact, drifting, count = connection.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)"
            " SELECT sum(CAST(:cost * 1e9 + 0.5 AS INTEGER)), total(:cost), count(*) FROM n a, n b, (SELECT 1 FROM n"
            " LIMIT 10)",
            {"cost": cost},
        ).fetchone()
    finally:
        connection.close()
    assert count == 10_000_000
    assert exact == 1000 * totals.cost_nanos == 1_234_570_000_000
    assert exact / 1e9 == 1234.57
    assert drifting != 1234.57  # why the sums are integers


@given(st.floats(0.0011, 1e10) | st.integers(1, 10**9))
@settings(max_examples=300, deadline=None)
def test_a_bucket_stands_for_its_latencies_within_the_promise(latency_ms: float) -> None:
    """Half a bucket of sixteen to a doubling: 2 ** (1 / 32)."""
    stands_for = representative(bucket_of(latency_ms))
    assert abs(stands_for - latency_ms) <= PRECISION * latency_ms


@pytest.mark.parametrize("latency_ms", [0, 0.0, 1e-12, 0.0005, 0.001])
def test_up_to_a_microsecond_everything_is_one_bucket(latency_ms: float) -> None:
    """There is no logarithm of zero."""
    assert bucket_of(latency_ms) == -160
    assert representative(-160) == 0.0


@given(st.lists(st.floats(0, 1e10), min_size=2, max_size=20))
@settings(max_examples=100, deadline=None)
def test_buckets_are_in_the_order_of_their_latencies(latencies: list[float]) -> None:
    """A longer call never lands in a lower bucket."""
    buckets = [bucket_of(latency) for latency in sorted(latencies)]
    assert buckets == sorted(buckets)


@given(st.lists(st.floats(0.002, 1e7) | st.integers(1, 5000), min_size=1, max_size=200), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_a_percentile_is_within_the_promise_of_the_nearest_rank(latencies: list[float], share: float) -> None:
    """Against the value that sorting all latencies gives."""
    rank = max(1, ceil(share * len(latencies)))
    true = sorted(latencies)[rank - 1]
    assert abs(percentile(Counter(map(bucket_of, latencies)), share) - true) <= PRECISION * true


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, 0.0),
        ({16: 0}, 0.5, 0.0),
        ({-160: 3}, 0.99, 0.0),
        ({16: 1}, 0.0, representative(16)),
        ({16: 50, 32: 50}, 0.50, representative(16)),
        ({32: 50, 16: 50}, 0.51, representative(32)),
        ({16: 95, 32: 5}, 0.95, representative(16)),
        ({16: 99, 32: 1}, 0.99, representative(16)),
        ({16: 99, 32: 1}, 1.0, representative(32)),
    ],
)
def test_percentiles_at_the_edges(buckets: dict[int, int], share: float, expected: float) -> None:
    """Nothing counted gives 0.0; a rank that falls on a boundary belongs to the lower bucket."""
    assert percentile(buckets, share) == expected


def test_a_share_beyond_one_finds_nothing() -> None:
    """There is no such rank."""
    assert percentile({16: 10}, 1.1) == 0.0


def test_the_totals_are_the_columns_of_a_day() -> None:
    """A column that is added to one must be added to the other."""
    from llm_service.telemetry.stores.sqlite.statements import daily_cost_row, upsert_daily_costs

    row: tuple[Any, ...] = daily_cost_row(DailyKey("2026-11-23", None, None, None), DailyTotals(), b"")
    ((sql, parameters),) = upsert_daily_costs([row])
    assert len(row) == len(parameters) == sql.count("?")
    for column in fields(DailyTotals):
        assert column.name == "buckets" or f"{column.name} = " in sql
