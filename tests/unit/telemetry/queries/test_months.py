"""A month against the month before: exact sums of the daily totals at the edges of months, by any names."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import chain, combinations, permutations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, InvocationRow, TelemetryLogger
from llm_service.telemetry.queries.filters import NAMES, InvocationFilter
from llm_service.telemetry.queries.grouping import NAME_KEYS, NameKey
from llm_service.telemetry.queries.months import MonthReport, read_month
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.sqlite.reader import read

KEYS: list[tuple[NameKey, ...]] = [
    keys for number in range(4) for chosen in combinations(NAME_KEYS, number) for keys in permutations(chosen)
]


def at(text: str) -> datetime:
    """A moment, UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def written(folder: Path, *records: InvocationRecord) -> Path:
    """A file with these records."""
    path = folder / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        for record in records:
            telemetry.log_invocation_nowait(record)
    return path


def daily(folder: Path, first: str, last: str, **fields: Any) -> Path:
    """One call of 1 USD at noon of each day, both inclusive."""
    start, end = date.fromisoformat(first), date.fromisoformat(last)
    days = [start + timedelta(days=number) for number in range((end - start).days + 1)]
    return written(folder, *(InvocationRecord(cost_usd=1, timestamp=at(f"{day} 12:00"), **fields) for day in days))


def report(path: Path, now: str | datetime, **arguments: Any) -> MonthReport:
    """A report of this file, at a moment."""
    moment = at(now) if isinstance(now, str) else now
    narrowed = InvocationFilter(**{name: arguments.pop(name) for name in NAMES if name in arguments})
    return read(path, lambda fetch: read_month(fetch, moment, narrowed=narrowed, **arguments))


@pytest.mark.parametrize(
    ("now", "to_date", "same_days", "before", "elapsed_before"),
    [
        ("2026-11-01 00:00", 1, 1, 31, 0.0),  # the first moment: nothing of the month is over
        ("2026-11-01 06:00", 1, 1, 31, 0.25),
        ("2026-11-26 18:00", 26, 26, 31, 25.75),
        ("2026-11-30 12:00", 30, 30, 31, 29.5),
        ("2026-12-31 12:00", 31, 30, 30, 30.0),  # November has no 31st: all of it is held against December
        ("2026-03-28 12:00", 28, 28, 28, 27.5),
        ("2026-03-29 12:00", 29, 28, 28, 28.0),
        ("2024-03-29 12:00", 29, 29, 29, 28.5),  # a leap year
        ("2024-02-29 12:00", 29, 29, 31, 28.5),
        ("2026-01-15 12:00", 15, 15, 31, 14.5),  # the month before lies in another year
    ],
)
def test_the_same_days_of_the_month_before_at_the_edges_of_months(
    tmp_path: Path, now: str, to_date: int, same_days: int, before: int, elapsed_before: float
) -> None:
    """With 1 USD a day, dollars are days."""
    path = daily(tmp_path, f"{at(now).date() - timedelta(days=70)}", now[:10])
    totals = report(path, now)["totals"]
    assert totals["to_date"]["total_cost_usd"] == to_date
    assert totals["before_same_days"]["total_cost_usd"] == same_days
    assert totals["before"]["total_cost_usd"] == before
    assert totals["before_elapsed_usd"] == elapsed_before
    assert totals["change"] == (pytest.approx(to_date / elapsed_before - 1) if elapsed_before else None)


@pytest.mark.parametrize(("month", "days"), [("2026-02", 28), ("2024-02", 29), ("2026-04", 30), ("2026-05", 31)])
def test_a_month_that_is_over_counts_whole_and_has_no_forecast(tmp_path: Path, month: str, days: int) -> None:
    """Whatever came after it."""
    first = date.fromisoformat(f"{month}-01")
    path = daily(tmp_path, str(first - timedelta(days=40)), str(first + timedelta(days=40)))
    found = report(path, "2026-11-26 12:00", month=month)
    before = monthrange((first - timedelta(days=1)).year, (first - timedelta(days=1)).month)[1]
    assert (found["month"], found["last_day"], found["elapsed_days"]) == (month, f"{month}-{days}", days)
    assert found["days_in_month"] == found["totals"]["to_date"]["invocations"] == days
    assert found["totals"]["before_same_days"]["invocations"] == min(days, before)
    assert found["totals"]["before_elapsed_usd"] == min(days, before)
    assert found["totals"]["forecast"] is None


def test_a_forecast_of_a_steady_month_is_its_number_of_days(tmp_path: Path) -> None:
    """Today's dollar is spent, half of today and four days are left: half a dollar more than a day costs."""
    found = report(daily(tmp_path, "2026-08-01", "2026-11-26"), "2026-11-26 12:00")["totals"]["forecast"]
    assert found is not None
    assert found["total_cost_usd"] == found["low_usd"] == found["high_usd"] == 26 + 4.5
    assert (found["method"], found["first_day_used"], found["last_day_used"]) == (
        "weekday means",
        "2026-10-29",
        "2026-11-25",
    )


def test_as_of_a_day_a_month_is_as_it_stood_at_its_end(tmp_path: Path) -> None:
    """So a forecast can be held against what came."""
    found = report(daily(tmp_path, "2026-08-01", "2026-11-26"), "2026-11-26 12:00", as_of="2026-10-10")
    assert (found["month"], found["elapsed_days"]) == ("2026-10", 10)
    assert found["totals"]["to_date"]["invocations"] == 10
    forecast = found["totals"]["forecast"]
    assert forecast is not None
    assert (forecast["total_cost_usd"], forecast["last_day_used"]) == (31, "2026-10-10")


def test_as_of_today_is_now(tmp_path: Path) -> None:
    """The day is not over."""
    path = daily(tmp_path, "2026-11-20", "2026-11-26")
    assert report(path, "2026-11-26 12:00", as_of=date(2026, 11, 26)) == report(path, "2026-11-26 12:00")


def test_the_present_month_by_name_is_the_default(tmp_path: Path) -> None:
    """To date, not whole."""
    path = daily(tmp_path, "2026-11-20", "2026-11-26")
    assert report(path, "2026-11-26 12:00", month="2026-11") == report(path, "2026-11-26 12:00")


def test_now_in_another_time_zone_is_taken_as_utc(tmp_path: Path) -> None:
    """Its day is that of UTC."""
    path = daily(tmp_path, "2026-11-20", "2026-12-01")
    found = report(path, datetime.fromisoformat("2026-12-01T00:30:00+01:00"))
    assert (found["month"], found["last_day"], found["totals"]["to_date"]["invocations"]) == (
        "2026-11",
        "2026-11-30",
        11,
    )


def test_days_after_now_are_left_out(tmp_path: Path) -> None:
    """A record of the future is not spent yet."""
    assert (
        report(daily(tmp_path, "2026-11-20", "2026-11-30"), "2026-11-22 12:00")["totals"]["to_date"]["invocations"] == 3
    )


def test_an_empty_file_has_zeros_and_no_forecast(tmp_path: Path) -> None:
    """No calls are no cost, and tell nothing."""
    found = report(tmp_path / "absent.db", "2026-11-26 12:00", by=("agent",))
    assert found["rows"] == []
    assert found["totals"]["to_date"]["total_cost_usd"] == found["totals"]["before_elapsed_usd"] == 0
    assert (found["totals"]["change"], found["totals"]["forecast"]) == (None, None)


def test_only_today_is_spent_and_forecasts_nothing(tmp_path: Path) -> None:
    """A part of a day is no complete day."""
    totals = report(daily(tmp_path, "2026-11-26", "2026-11-26"), "2026-11-26 12:00")["totals"]
    assert (totals["to_date"]["total_cost_usd"], totals["forecast"]) == (1, None)


def test_a_forecast_that_is_not_asked_for_is_none(tmp_path: Path) -> None:
    """The rest stays."""
    path = daily(tmp_path, "2026-11-20", "2026-11-26")
    without, full = (report(path, "2026-11-26 12:00", with_forecast=wanted) for wanted in (False, True))
    assert without["totals"] == full["totals"] | {"forecast": None}


def test_an_agent_that_was_silent_since_before_the_last_month_has_calls_no_day_in_its_basis(tmp_path: Path) -> None:
    """Its first call, in August, is known: yesterday's dollar is one in 28 days, not one a day."""
    days = [
        InvocationRecord(agent_name="a", cost_usd=1, timestamp=at(f"{day} 12:00"))
        for day in ("2026-08-03", "2026-11-25")
    ]
    path = written(tmp_path, *days, InvocationRecord(agent_name="b", cost_usd=1, timestamp=at("2026-11-25 12:00")))
    found = report(path, "2026-11-26 00:00", by=("agent",))
    forecasts = {row["agent_name"]: row["forecast"] for row in found["rows"]}
    assert (forecasts["a"]["days_used"], forecasts["b"]["days_used"]) == (28, 1)
    assert forecasts["b"]["total_cost_usd"] == 1 + 5


def test_unknown_costs_are_counted_and_compared_with_nothing(tmp_path: Path) -> None:
    """What is not known is no zero: no change, no forecast; beside a priced call, the priced share."""
    unpriced = [InvocationRecord(model_name="x", timestamp=at(f"2026-{month}-20 12:00")) for month in ("10", "11")]
    priced = [
        InvocationRecord(model_name="y", cost_usd=2, timestamp=at(f"2026-{month}-20 12:00")) for month in ("10", "11")
    ]
    found = report(written(tmp_path, *unpriced, *priced), "2026-11-26 12:00", by=("model",))
    rows = {row["model_name"]: row for row in found["rows"]}
    assert (rows["x"]["to_date"]["unpriced"], rows["x"]["before"]["unpriced"]) == (1, 1)
    assert (rows["x"]["change"], rows["x"]["forecast"], rows["y"]["change"]) == (None, None, 0)
    assert found["totals"]["forecast"] is not None
    assert found["totals"]["forecast"]["priced_share"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"month": "2026-13"}, r"month: '2026-13' .* from 1970-01 to 2026-11"),
        ({"month": "2026-12"}, "month: '2026-12'"),
        ({"month": "1969-12"}, "month: '1969-12'"),
        ({"month": "2026-1"}, "month: '2026-1'"),
        ({"month": 202611}, "month: 202611"),
        ({"month": "2026-11", "as_of": "2026-11-03"}, "as_of: '2026-11-03' .* leave one of as_of and month out"),
        ({"as_of": "2026-11-27"}, "as_of: '2026-11-27' .* 1970-01-01 to 2026-11-26, today"),
        ({"as_of": "1969-12-31"}, "as_of: '1969-12-31'"),
        ({"as_of": "yesterday"}, r"as_of: 'yesterday' .* datetime\.date"),
        ({"by": ("day",)}, "by: 'day' .* agent, tool, model, each once"),
        ({"by": ("agent", "agent")}, "by: 'agent,agent'"),
        ({"by": "agent"}, "by: 'agent' .* a list"),
        ({"by": None}, "by: None .* a list"),
        ({"by": [["agent"]]}, "by: .* a list"),
        ({"agent_name": 7}, "agent_name: 7"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    """A ValueError."""
    with pytest.raises(QueryError, match=message):
        report(tmp_path / "absent.db", "2026-11-26 12:00", **arguments)


def test_the_first_month_of_all_has_an_empty_one_before_it(tmp_path: Path) -> None:
    """Records begin with 1970."""
    path = written(tmp_path, InvocationRecord(cost_usd=1, timestamp=at("1970-01-01 00:00")))
    found = report(path, "2026-11-26 12:00", month="1970-01")
    assert (found["month_before"], found["totals"]["to_date"]["invocations"]) == ("1969-12", 1)


NOW = at("2024-03-29 09:00")
RECORDS = st.lists(
    st.builds(
        InvocationRecord,
        agent_name=st.sampled_from(["a", "b", None]),
        tool_name=st.sampled_from(["t", None]),
        model_name=st.sampled_from(["m", "n", None]),
        total_tokens=st.none() | st.integers(0, 10**6),
        cost_usd=st.none() | st.integers(0, 10**10).map(lambda nanos: nanos / 1e9),
        status=st.sampled_from(["success", "error", "timeout"]),
        timestamp=st.integers(0, 100 * 86_400).map(lambda ago: NOW + timedelta(days=1, seconds=-ago)),
    ),
    max_size=40,
)


def recount(rows: Sequence[InvocationRow], first: date, last: date) -> dict[str, float]:
    """The sums of some days, one record at a time."""
    chosen = [row for row in rows if first.isoformat() <= row["timestamp"][:10] <= last.isoformat()]
    nanos = sum(int(row["cost_usd"] * 1e9 + 0.5) for row in chosen if row["cost_usd"] is not None)
    return {
        "invocations": len(chosen),
        "total_tokens": sum(row["total_tokens"] or 0 for row in chosen),
        "total_cost_usd": nanos / 1e9,
        "errors": sum(row["status"] == "error" for row in chosen),
        "timeouts": sum(row["status"] == "timeout" for row in chosen),
        "uncounted": sum(row["total_tokens"] is None for row in chosen),
        "cost_nanos": nanos,
        "unpriced": sum(row["cost_usd"] is None for row in chosen),
    }


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(records=RECORDS, by=st.sampled_from(KEYS), agent_name=st.sampled_from([None, "a"]))
def test_any_names_agree_with_a_recount_of_the_records(
    records: list[InvocationRecord], by: tuple[NameKey, ...], agent_name: str | None
) -> None:
    """Each row and the totals: of the month, of the same days of the one before, and of all of it."""
    with TemporaryDirectory() as folder:
        path = written(Path(folder), *records)
        with TelemetryLogger(path, retention_days=None) as telemetry:
            rows = telemetry.get_invocations(limit=1_000, agent_name=agent_name)
        found = report(path, NOW, by=by, agent_name=agent_name)
    columns = [f"{key}_name" for key in by]
    today, first = NOW.date(), date(2024, 3, 1)
    spans = {
        "to_date": (first, today),
        "before_same_days": (date(2024, 2, 1), date(2024, 2, 29)),
        "before": (date(2024, 2, 1), date(2024, 2, 29)),
    }
    recent = [row for row in rows if "2024-02-01" <= row["timestamp"][:10] <= "2024-03-29"]
    keys = {tuple(row[column] for column in columns) for row in recent} if by else set()  # type: ignore[literal-required]
    assert {tuple(row[column] for column in columns) for row in found["rows"]} == keys
    assert [row["to_date"]["cost_nanos"] for row in found["rows"]] == sorted(
        (row["to_date"]["cost_nanos"] for row in found["rows"]), reverse=True
    )
    for shown in chain(found["rows"], [found["totals"]]):
        group = [row for row in rows if all(row[c] == shown[c] for c in columns if c in shown)]  # type: ignore[literal-required]
        for name, (start, end) in spans.items():
            assert shown[name] == recount(group, start, end)  # type: ignore[literal-required]
        before = recount(group, date(2024, 2, 1), date(2024, 2, 28))["cost_nanos"]
        last = recount(group, date(2024, 2, 29), date(2024, 2, 29))["cost_nanos"]
        assert shown["before_elapsed_usd"] == pytest.approx((before + last * 9 / 24) / 1e9, abs=1e-9)


@pytest.mark.parametrize("by", KEYS)
def test_months_are_found_by_the_index_on_dates(tmp_path: Path, by: tuple[NameKey, ...]) -> None:
    """However many years there are before them, and never by reading records."""
    path = daily(tmp_path, "2026-10-01", "2026-11-26", agent_name="a")
    asked: list[Query] = []
    plans: list[str] = []

    def question(fetch: Any) -> None:
        def noting(query: Query) -> Any:
            asked.append(query)
            return fetch(query)

        read_month(noting, at("2026-11-26 12:00"), by)
        plans.extend(str(fetch((f"EXPLAIN QUERY PLAN {sql}", parameters))) for sql, parameters in asked)

    read(path, question)
    retention, *plans = plans
    assert "retention" in retention
    assert all("SEARCH daily_costs USING" in plan and "idx_daily_costs_date" in plan for plan in plans), plans
    assert len(plans) == 2
