"""The three questions on real files: filters, pages, windows, exact sums, and the plans behind them."""

import random
import re
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta, timezone
from math import ceil
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries import questions
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.questions import MEASURE_OF, Statistics
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.rollups import nanos
from llm_service.telemetry.stores.sqlite.migrations import schema_statements
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.reader import read

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
TODAY = NOW.date()
DAY = timedelta(days=1)


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger on a new file."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        yield logger


def log(telemetry: TelemetryLogger, *records: InvocationRecord) -> None:
    """Hand several over and commit them together."""
    assert all(telemetry.log_invocation_nowait(record) for record in records)
    assert telemetry.flush().complete


def call(at: datetime = NOW, **fields: Any) -> InvocationRecord:
    """A call of that moment."""
    return InvocationRecord(timestamp=at, **fields)


def statistics(telemetry: TelemetryLogger, now: datetime, days: float = 7, **names: Any) -> Statistics:
    """Statistics as of a moment of our choice."""
    return read(telemetry.db_path, lambda fetch: questions.read_statistics(fetch, now, days, InvocationFilter(**names)))


def ids(rows: Sequence[Any]) -> list[str]:
    """The invocations of a page, in their order."""
    return [row["invocation_id"] for row in rows]


# Invocations


def test_invocations_come_newest_first_with_every_column(telemetry: TelemetryLogger) -> None:
    """By their time, not by their arrival; those of one moment by arrival, the latest first."""
    log(
        telemetry,
        call(NOW, invocation_id="new"),
        call(NOW - DAY, invocation_id="old"),
        call(NOW, invocation_id="new-too"),
    )
    rows = telemetry.get_invocations()
    assert ids(rows) == ["new-too", "new", "old"]
    assert list(rows[0]) == list(questions.InvocationRow.__annotations__)
    assert rows[0]["timestamp"] == "2026-11-23 18:30:00.000000Z"
    assert datetime.fromisoformat(rows[0]["timestamp"]) == NOW


def test_json_and_bool_are_decoded_and_unknown_is_none(telemetry: TelemetryLogger) -> None:
    """What was a list is a list again."""
    log(telemetry, call(invocation_id="full", tags=["a", "ü"], metadata={"k": [1, None]}, stream=False))
    log(telemetry, call(NOW - DAY, invocation_id="bare"))
    full, bare = telemetry.get_invocations()
    assert (full["tags"], full["metadata"], full["stream"]) == (["a", "ü"], {"k": [1, None]}, False)
    assert (bare["tags"], bare["metadata"], bare["stream"], bare["cost_usd"]) == (None, None, None, None)


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "abcde"),
        ({"agent_name": "x"}, "ad"),
        ({"tool_name": "t"}, "ab"),
        ({"model_name": "m"}, "bc"),
        ({"session_id": "s"}, "ce"),
        ({"status": "success"}, "acd"),
        ({"status": "error"}, "b"),
        ({"status": "timeout"}, "e"),
        ({"agent_name": "x", "tool_name": "t"}, "a"),
        ({"agent_name": "x", "status": "error"}, ""),
        ({"agent_name": "X"}, ""),
        ({"agent_name": ""}, ""),
        ({"agent_name": "x' OR '1'='1"}, ""),
        ({"limit": 2}, "ab"),
        ({"limit": 1_000_000}, "abcde"),
    ],
)
def test_filters_are_exact_and_join_by_and(telemetry: TelemetryLogger, filters: dict[str, Any], expected: str) -> None:
    """None does not filter; values are bound, never spelled into SQL."""
    log(
        telemetry,
        call(NOW, invocation_id="a", agent_name="x", tool_name="t"),
        call(NOW - DAY, invocation_id="b", agent_name="y", tool_name="t", model_name="m", status="error"),
        call(NOW - 2 * DAY, invocation_id="c", model_name="m", session_id="s"),
        call(NOW - 3 * DAY, invocation_id="d", agent_name="x"),
        call(NOW - 4 * DAY, invocation_id="e", session_id="s", status="timeout"),
    )
    assert "".join(ids(telemetry.get_invocations(**filters))) == expected


@pytest.mark.parametrize("shape", [lambda day: day, lambda day: day.isoformat()], ids=["date", "text"])
def test_dates_are_inclusive_utc_days(telemetry: TelemetryLogger, shape: Callable[[date], Any]) -> None:
    """From the first microsecond of the start to the last of the end, as dates or as texts."""
    midnight = datetime(2026, 11, 23, tzinfo=UTC)
    tick = timedelta(microseconds=1)
    log(
        telemetry,
        call(midnight - tick, invocation_id="before"),
        call(midnight, invocation_id="first"),
        call(midnight + DAY - tick, invocation_id="last", agent_name="x"),
        call(midnight + DAY, invocation_id="after"),
    )
    day = shape(TODAY)
    assert ids(telemetry.get_invocations(day, day)) == ["last", "first"]
    assert ids(telemetry.get_invocations(start_date=day)) == ["after", "last", "first"]
    assert ids(telemetry.get_invocations(end_date=day)) == ["last", "first", "before"]
    assert ids(telemetry.get_invocations(start_date=shape(TODAY + DAY), end_date=day)) == []
    assert [row["date"] for row in telemetry.get_daily_costs(day, day)] == ["2026-11-23"] * 2
    assert [row["date"] for row in telemetry.get_daily_costs(end_date=day)][-1] == "2026-11-22"
    assert telemetry.get_daily_costs(shape(TODAY + DAY), day) == []


def test_the_last_day_of_all_is_inclusive_too(telemetry: TelemetryLogger) -> None:
    """No day follows 9999-12-31."""
    log(telemetry, call(datetime.max.replace(tzinfo=UTC), invocation_id="last"))
    assert ids(telemetry.get_invocations(start_date=date.max, end_date=date.max)) == ["last"]


def test_since_is_inclusive_and_until_is_not(telemetry: TelemetryLogger) -> None:
    """So that windows join without gap or overlap; any zone, datetime or ISO text."""
    log(telemetry, *(call(NOW + n * timedelta(microseconds=1), invocation_id=str(n)) for n in range(4)))
    tick = timedelta(microseconds=1)
    west = (NOW + tick).astimezone(timezone(timedelta(hours=-8)))
    assert ids(telemetry.get_invocations(since=west, until=NOW + 3 * tick)) == ["2", "1"]
    assert ids(telemetry.get_invocations(since=west.isoformat())) == ["3", "2", "1"]
    assert ids(telemetry.get_invocations(until="2026-11-23T18:30:00.000001Z")) == ["0"]
    assert ids(telemetry.get_invocations(since=datetime(1066, 1, 1, tzinfo=UTC))) == ["3", "2", "1", "0"]


def test_pages_cover_everything_once_while_more_arrives(telemetry: TelemetryLogger) -> None:
    """Keyset pages by `before`: newer records that come between two pages shift nothing."""
    rng = random.Random(1)
    old = [call(NOW - rng.randrange(20) * DAY, invocation_id=f"old-{n}") for n in range(100)]
    log(telemetry, *old)
    seen: list[str] = []
    page = telemetry.get_invocations(limit=7)
    while page:
        seen += ids(page)
        log(telemetry, call(NOW + DAY, invocation_id=f"new-{len(seen)}"))
        page = telemetry.get_invocations(limit=7, before=page[-1])
    assert sorted(seen) == sorted(record.invocation_id for record in old)
    assert len(set(seen)) == len(seen) == 100


def test_pages_keep_their_filter(telemetry: TelemetryLogger) -> None:
    """The next page of one agent is of that agent."""
    log(telemetry, *(call(NOW, invocation_id=str(n), agent_name="xy"[n % 2]) for n in range(10)))
    first = telemetry.get_invocations(agent_name="x", limit=3)
    rest = telemetry.get_invocations(agent_name="x", before=first[-1])
    assert ids(first) + ids(rest) == ["8", "6", "4", "2", "0"]


BAD_DAYS = ["yesterday", "2026-13-01", "", 20261123, NOW, True]
BAD_MOMENTS = ["soon", "yestrday", 5, True, timedelta(days=1), b"today"]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        *[("limit", value) for value in (0, -1, 1_000_001, True, 1.5, "10", None, float("nan"))],
        *[("start_date", value) for value in BAD_DAYS],
        *[("end_date", value) for value in BAD_DAYS],
        *[("since", value) for value in BAD_MOMENTS],
        *[("until", value) for value in BAD_MOMENTS],
        ("until", datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))),
        *[("status", value) for value in ("failed", "", 1, [])],
        *[
            (name, value)
            for name in ("agent_name", "tool_name", "model_name", "session_id")
            for value in (5.5, b"x", ["x"], "n" * 201)
        ],
        *[("before", value) for value in ("row", {}, {"timestamp": "x"}, {"timestamp": 1, "id": 1}, 5)],
    ],
    ids=str,
)
def test_a_bad_argument_is_named(telemetry: TelemetryLogger, argument: str, value: Any) -> None:
    """With its value and the remedy, as a `ValueError`, before anything is read."""
    with pytest.raises(ValueError, match=rf"^{argument}: .* is not usable; ") as caught:
        telemetry.get_invocations(**{argument: value})
    assert isinstance(caught.value, QueryError)
    assert caught.value.field == argument


@pytest.mark.parametrize("argument", ["start_date", "end_date"])
@pytest.mark.parametrize("value", BAD_DAYS, ids=str)
def test_daily_costs_name_a_bad_date(telemetry: TelemetryLogger, argument: str, value: Any) -> None:
    """As `get_invocations` does."""
    with pytest.raises(QueryError, match=f"^{argument}: "):
        telemetry.get_daily_costs(**{argument: value})


@pytest.mark.parametrize("value", [0, -1, 36_501, float("nan"), float("inf"), True, "7", None], ids=str)
def test_a_window_that_is_none_is_named(telemetry: TelemetryLogger, value: Any) -> None:
    """Above 0 and up to 36,500 days."""
    with pytest.raises(QueryError, match=r"^days: .*give a number above 0 and up to 36,500"):
        telemetry.get_statistics(days=value)


# Daily costs


def test_daily_costs_are_one_row_for_each_day_and_names(telemetry: TelemetryLogger) -> None:
    """Newest day first; sums beside how many calls they cover."""
    log(
        telemetry,
        call(NOW - DAY, agent_name="b", cost_usd=1),
        call(agent_name="b", cost_usd=0.1, prompt_tokens=1, completion_tokens=2, latency_ms=10),
        call(agent_name="b", cost_usd=0.2, status="error", latency_ms=5.5),
        call(agent_name="b", status="timeout", total_tokens=7),
        call(agent_name="a", cost_usd=0.5),
    )
    rows = telemetry.get_daily_costs()
    assert [(row["date"], row["agent_name"]) for row in rows] == [
        ("2026-11-23", "a"), ("2026-11-23", "b"), ("2026-11-22", "b"),
    ]  # fmt: skip
    assert rows[1] == {
        "date": "2026-11-23", "agent_name": "b", "tool_name": None, "model_name": None, "invocations": 3,
        "total_tokens": 10, "total_cost_usd": 0.3, "errors": 1, "timeouts": 1, "prompt_tokens": 1,
        "completion_tokens": 2, "uncounted": 1, "cost_nanos": 300_000_000, "unpriced": 1, "latency_count": 2,
        "latency_us_sum": 15_500,
    }  # fmt: skip


def test_daily_costs_filter_by_names(telemetry: TelemetryLogger) -> None:
    """Each of the three, and together."""
    log(telemetry, call(agent_name="a", tool_name="t"), call(agent_name="a", model_name="m"), call(agent_name="b"))
    assert len(telemetry.get_daily_costs(agent_name="a")) == 2
    assert len(telemetry.get_daily_costs(tool_name="t")) == 1
    assert len(telemetry.get_daily_costs(agent_name="a", model_name="m")) == 1
    assert telemetry.get_daily_costs(agent_name="b", model_name="m") == []


def test_calls_without_a_name_are_one_row_a_day(telemetry: TelemetryLogger) -> None:
    """However many transactions wrote them."""
    for _ in range(5):
        telemetry.log_invocation(call(cost_usd=0.1))
    (row,) = telemetry.get_daily_costs()
    assert (row["agent_name"], row["invocations"], row["total_cost_usd"]) == (None, 5, 0.5)


def test_total_cost_can_be_summed_by_plain_sql(telemetry: TelemetryLogger) -> None:
    """The quick reference's own query."""
    today = datetime.now(UTC)
    log(telemetry, call(today, agent_name="x", cost_usd=0.25), call(today - 30 * DAY, agent_name="x", cost_usd=9))
    connection = sqlite3.connect(telemetry.db_path)
    try:
        rows = connection.execute(
            "SELECT agent_name, SUM(total_cost_usd) FROM daily_costs"
            " WHERE date >= date('now','-7 days') GROUP BY agent_name"
        ).fetchall()
    finally:
        connection.close()
    assert rows == [("x", 0.25)]


# Statistics


def test_every_statistic_is_a_number_when_there_is_nothing(telemetry: TelemetryLogger, tmp_path: Path) -> None:
    """On an empty file and on an absent one, which stays absent."""
    absent = tmp_path / "absent.db"
    empty = telemetry.get_statistics()
    found = read(absent, lambda fetch: questions.read_statistics(fetch, NOW, 7, InvocationFilter()))
    assert {**found, "since": empty["since"]} == empty
    assert set(empty) == set(Statistics.__annotations__)
    counted: dict[str, Any] = {name: value for name, value in empty.items() if name in MEASURE_OF}
    assert all(value == 0 and type(value) in {int, float} for value in counted.values())
    assert (empty["since"] is not None, empty["until"], empty["time_zone"]) == (True, None, "UTC")
    assert (empty["records_since"], empty["deleted_invocations"]) == (None, 0)
    assert f"{empty['total_cost_usd']:.2f} {empty['success_rate']:.1%} {empty['avg_latency_ms']:.0f}" == "0.00 0.0% 0"
    assert not absent.exists()


@pytest.mark.parametrize("days", [1, 7, 0.25, 1.5, 365])
@pytest.mark.parametrize("now", [NOW, datetime(2026, 11, 23, tzinfo=UTC), datetime(2026, 11, 23, 0, 0, 1, tzinfo=UTC)])
def test_the_window_rolls_to_the_second(telemetry: TelemetryLogger, now: datetime, days: float) -> None:
    """A call one second inside its beginning counts, one second outside does not, and midnight makes no difference."""
    start = now - timedelta(days=days)
    second = timedelta(seconds=1)
    log(telemetry, call(start - second, cost_usd=100), call(start, cost_usd=1), call(start + second, cost_usd=10))
    found = statistics(telemetry, now, days)
    assert (found["total_invocations"], found["total_cost_usd"]) == (2, 11.0)


def test_the_window_ends_with_the_newest_record(telemetry: TelemetryLogger) -> None:
    """A clock that is a little ahead loses no call."""
    log(telemetry, call(NOW + 3 * DAY), call(NOW + timedelta(minutes=1)))
    assert statistics(telemetry, NOW)["total_invocations"] == 2


@pytest.mark.parametrize("now", [datetime(1970, 1, 3, tzinfo=UTC), datetime(2, 1, 1, tzinfo=UTC)])
def test_a_window_that_begins_before_time_begins_with_it(telemetry: TelemetryLogger, now: datetime) -> None:
    """1970, or the year 1: no error."""
    log(telemetry, call(datetime(1970, 1, 1, tzinfo=UTC)))
    assert statistics(telemetry, now, 36_500)["total_invocations"] == 1


def test_the_logger_asks_as_of_now(telemetry: TelemetryLogger) -> None:
    """Through the face: `days=7` by default."""
    now = datetime.now(UTC)
    log(telemetry, call(now), call(now - 6.9 * DAY), call(now - 7.1 * DAY))
    assert telemetry.get_statistics()["total_invocations"] == 2
    assert telemetry.get_statistics(days=8)["total_invocations"] == 3


@pytest.mark.parametrize("latency_ms", [0.0, 0.25, 1500, 1500.5, 86_400_000])
def test_percentiles_of_one_call_are_that_call(telemetry: TelemetryLogger, latency_ms: float) -> None:
    """Not the middle of its bucket, which nobody measured; on an edge day as on a whole one."""
    log(telemetry, call(NOW - DAY, latency_ms=latency_ms), call(NOW - DAY))
    for days in (1.5, 7):
        found = statistics(telemetry, NOW, days)
        assert found["p50_latency_ms"] == found["p95_latency_ms"] == found["p99_latency_ms"] == latency_ms


def brute_force(records: list[InvocationRecord], start: datetime, **names: str | None) -> dict[str, float]:
    """The same numbers, by loops."""
    mine = [
        record
        for record in records
        if record.timestamp >= start and all(getattr(record, name) == value for name, value in names.items() if value)
    ]
    latencies = sorted(record.latency_ms for record in mine if record.latency_ms is not None)
    costs = [record.cost_usd for record in mine if record.cost_usd is not None]
    count = {status: sum(r.status == status for r in mine) for status in ("success", "error", "timeout")}

    def rank(share: float) -> float:
        return latencies[max(1, ceil(share * len(latencies))) - 1] if latencies else 0.0

    return {
        "total_invocations": len(mine),
        "success_count": count["success"],
        "error_count": count["error"],
        "timeout_count": count["timeout"],
        "success_rate": count["success"] / len(mine) if mine else 0.0,
        "total_tokens": sum(record.total_tokens or 0 for record in mine),
        "prompt_tokens": sum(record.prompt_tokens or 0 for record in mine),
        "completion_tokens": sum(record.completion_tokens or 0 for record in mine),
        "uncounted_invocations": sum(record.total_tokens is None for record in mine),
        "total_cost_usd": sum(map(nanos, costs)) / 1e9,
        "priced_invocations": len(costs),
        "unpriced_invocations": len(mine) - len(costs),
        "avg_latency_ms": sum(int(x * 1000 + 0.5) for x in latencies) / 1000 / len(latencies) if latencies else 0.0,
        "p50_latency_ms": rank(0.5),
        "p95_latency_ms": rank(0.95),
        "p99_latency_ms": rank(0.99),
        "timed_invocations": len(latencies),
    }


@pytest.mark.parametrize("seed", range(4))
def test_statistics_equal_a_count_by_hand(telemetry: TelemetryLogger, seed: int) -> None:
    """Over random calls of many days: counts and money exactly, percentiles within 2.2 %."""
    rng = random.Random(seed)

    def maybe(value: Any) -> Any:
        return value if rng.random() < 0.8 else None

    made = [
        call(
            NOW - timedelta(seconds=rng.randrange(40 * 86_400)),
            agent_name=rng.choice(["a", "b", None]),
            tool_name=rng.choice(["t", None]),
            model_name=rng.choice(["m", "n"]),
            prompt_tokens=maybe(rng.randrange(5000)),
            completion_tokens=maybe(rng.randrange(5000)),
            cost_usd=maybe(rng.random() * 10 ** rng.randrange(-6, 3)),
            latency_ms=maybe(rng.lognormvariate(6, 2)),
            status=rng.choice(["success", "success", "error", "timeout"]),
        )
        for _ in range(600)
    ]
    log(telemetry, *made)
    for days in (0.5, 1, 7, 7.77, 30, 90):
        for names in ({}, {"agent_name": "a"}, {"agent_name": "b", "model_name": "m"}, {"tool_name": "t"}):
            found = statistics(telemetry, NOW, days, **names)
            expected = brute_force(made, NOW - timedelta(days=days), **names)
            for key, value in expected.items():
                tolerance = 0.022 if re.match(r"p\d\d_", key) else 1e-12
                assert found[key] == pytest.approx(value, rel=tolerance, abs=0), key  # type: ignore[literal-required]


def test_you_read_your_own_writes(telemetry: TelemetryLogger) -> None:
    """What was accepted is flushed before it is read, unless asked not to."""
    assert telemetry.log_invocation_nowait(call(invocation_id="mine"))
    assert ids(telemetry.get_invocations()) == ["mine"]
    assert ids(telemetry.get_invocations(fresh=False)) == ["mine"]
    assert len(telemetry.get_daily_costs(fresh=False)) == 1
    assert telemetry.get_statistics(days=36_500, fresh=False)["total_invocations"] == 1


# Plans


@pytest.fixture(scope="module")
def planner() -> Iterator[Callable[[Query], str]]:
    """The plan of a query on a file with a year of calls, as SQLite tells it."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    for statement in schema_statements():
        connection.execute(statement)
    connection.execute(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 7299)"
        " INSERT INTO invocations (invocation_id, timestamp, agent_name, tool_name, model_name, status, session_id,"
        " latency_ms, cost_usd)"
        " SELECT i, strftime('%Y-%m-%d %H:%M:%S.000000Z', '2026-11-23 18:00:00', '-' || (i * 72) || ' minutes'),"
        " 'a' || (i % 7), 't', 'm', iif(i % 50, 'success', 'error'), iif(i % 9, NULL, 's' || (i % 99)), i, 0.001 FROM n"
    )
    connection.execute(
        "INSERT INTO daily_costs (date, agent_name, tool_name, model_name, invocations)"
        " SELECT substr(timestamp, 1, 10), agent_name, tool_name, model_name, count(*) FROM invocations GROUP BY 1, 2"
    )

    def plan(query: Query) -> str:
        return "\n".join(row[3] for row in rows_of(connection, f"EXPLAIN QUERY PLAN {query[0]}", query[1]))

    yield plan
    connection.close()


@pytest.mark.parametrize(
    ("filters", "indexes"),
    [
        ({}, "idx_invocations_timestamp"),
        ({"start_date": TODAY}, "idx_invocations_timestamp"),
        ({"since": NOW, "until": NOW + DAY}, "idx_invocations_timestamp"),
        ({"agent_name": "a1"}, "idx_invocations_agent"),
        ({"agent_name": "a1", "start_date": TODAY, "end_date": TODAY}, "idx_invocations_agent"),
        ({"status": "error"}, "idx_invocations_status"),
        ({"tool_name": "t", "status": "error"}, "idx_invocations_(tool|status)"),
        ({"model_name": "m", "status": "timeout"}, "idx_invocations_(model|status)"),
        ({"session_id": "s1"}, "idx_invocations_session"),
        ({"trace_id": "t1", "start_date": TODAY}, "idx_invocations_trace"),
        ({"run": "r1"}, "idx_invocations_run"),
        ({"user_id": "u1"}, "idx_invocations_user"),
        ({"tool_name": "t"}, "idx_invocations_timestamp"),
        ({"before": {"timestamp": "2026-11-01 00:00:00.000000Z", "id": 9}}, "idx_invocations_timestamp"),
        (
            {"agent_name": "a1", "before": {"timestamp": "2026-11-01 00:00:00.000000Z", "id": 9}},
            "idx_invocations_agent",
        ),
    ],
)
def test_newest_first_walks_an_index_and_sorts_nothing(
    planner: Callable[[Query], str], filters: dict[str, Any], indexes: str
) -> None:
    """So that a page costs a page, however long the file is."""
    before = filters.get("before")
    narrowed = InvocationFilter(**{name: value for name, value in filters.items() if name != "before"})
    plan = planner(questions.invocations(narrowed, before=before))
    assert re.search(rf"USING INDEX {indexes}\b", plan), plan
    assert "TEMP B-TREE" not in plan


def test_daily_costs_of_a_span_are_found_by_date(planner: Callable[[Query], str]) -> None:
    """Days outside of the span are not read."""
    asked: list[Query] = []

    def fetch(query: Query) -> list[tuple[Any, ...]]:
        asked.append(query)
        return []

    for filters in ({"start_date": TODAY}, {"start_date": TODAY, "end_date": TODAY, "agent_name": "a1"}):
        questions.read_daily_costs(fetch, InvocationFilter(**filters))
        plan = planner(asked.pop())
        assert re.search(r"SEARCH daily_costs USING INDEX idx_daily_costs_(date|key) \(date[>=]", plan), plan


@pytest.mark.parametrize(
    ("names", "complete_since", "until", "tables"),
    [
        ({}, "", "2025-11-23 18:30:00.000000Z", {"quarter_hours"}),
        ({}, None, "2025-11-24", {"daily_costs"}),
        ({}, "2026-03-01", "2025-11-24", {"daily_costs", "quarter_hours"}),
        ({"tool_name": "t"}, "", "2025-11-24", {"daily_costs"}),
    ],
)
def test_statistics_of_a_year_read_rows_only_at_the_edge(
    planner: Callable[[Query], str], names: dict[str, str], complete_since: str | None, until: str, tables: set[str]
) -> None:
    """Rows are searched up to where a roll-up has all calls; everything else comes from the roll-ups."""
    asked: list[Query] = []

    def fetch(query: Query) -> list[tuple[Any, ...]]:
        if "rollup_progress" in query[0]:
            return [(complete_since,)]
        asked.append(query)
        return []

    questions.read_statistics(fetch, NOW - timedelta(minutes=1), 365, InvocationFilter(**names))
    asked = [query for query in asked if query[0] != "SELECT records_kept_since FROM retention"]
    on_rows = [query for query in asked if "FROM invocations" in query[0]]
    tables_read = {query[0].partition("FROM ")[2].split()[0] for query in asked if query not in on_rows}
    assert tables_read == tables
    assert [query[1][:2] for query in on_rows] == [["2025-11-23 18:29:00.000000Z", until]]
    for query in on_rows:
        assert re.search(r"SEARCH invocations USING INDEX \w+ \((?:timestamp>\? AND timestamp<\?)\)", planner(query))
    for query in asked:
        if query not in on_rows:
            assert "invocations " not in query[0].partition("FROM")[2].partition("WHERE")[0]
            assert re.search(r"SEARCH (daily_costs USING INDEX|quarter_hours USING PRIMARY KEY) ", planner(query))
