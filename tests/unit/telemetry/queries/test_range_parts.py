"""Costs, statistics and reports of any range and zone: what a recount of the records says, however they are read."""

import inspect
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.cost_coverage import CoverageReport, read_coverage
from llm_service.telemetry.queries.costs import COST_KEYS, CostKey, CostReport, read_costs
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.months import read_month
from llm_service.telemetry.queries.questions import Statistics, read_daily_costs, read_statistics_of
from llm_service.telemetry.queries.time_range import EVER, TimeRange, day_of, day_start, time_range
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.reader import read

HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
CHANGES: Final = {
    "America/New_York": ("2026-03-08T07:00", "2026-11-01T06:00"),
    "Australia/Lord_Howe": ("2026-04-04T15:00", "2026-10-03T15:30"),
    "Asia/Kathmandu": ("2026-03-28T18:15",),  # midnight: its clock is never changed
    "America/Sao_Paulo": ("2018-11-04T03:00", "2018-02-18T02:00"),
    "Pacific/Apia": ("2011-12-30T10:00",),
}
"""When clocks are changed, and where."""
AROUND: Final = [(zone, datetime.fromisoformat(at).replace(tzinfo=UTC)) for zone, ats in CHANGES.items() for at in ats]


def moments(change: datetime) -> list[datetime]:
    """Every forty minutes of three days around it, and the microseconds beside it."""
    beside = [change + timedelta(microseconds=us) for us in (-1, 0, 1)]
    return [change - 36 * HOUR + timedelta(minutes=40 * n) for n in range(108)] + beside


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Callable[[datetime], Path]:
    """Makes a file of calls around a change, once for each."""
    made: dict[datetime, Path] = {}

    def make(change: datetime) -> Path:
        if change not in made:
            made[change] = tmp_path_factory.mktemp("ranges") / "telemetry.db"
            with TelemetryLogger(made[change], retention_days=None) as logger:
                for number, moment in enumerate(moments(change)):
                    logger.log_invocation_nowait(
                        InvocationRecord(
                            agent_name=("a", "b", None)[number % 3],
                            model_name=("m", "n")[number % 2],
                            total_tokens=number,
                            cost_usd=number / 1000,
                            latency_ms=100.0,
                            timestamp=moment,
                        )
                    )
        return made[change]

    return make


def costs(path: Path, asked: TimeRange, *by: CostKey) -> CostReport:
    """The report of a file."""
    return read(path, lambda fetch: read_costs(fetch, by or COST_KEYS, InvocationFilter(), asked))


def statistics_of(path: Path, asked: TimeRange) -> tuple[Statistics, TimeRange]:
    """Those of a file, and the range that they cover."""
    return read(path, lambda fetch: read_statistics_of(fetch, asked, InvocationFilter()))


def recounted(calls: dict[int, datetime]) -> list[dict[str, Any]]:
    """Daily totals of these calls, by number, as the file has them; newest first, then by names, unknown ones first."""
    days: dict[tuple[str, str | None, str], list[int]] = {}
    for number, moment in calls.items():
        key = moment.date().isoformat(), ("a", "b", None)[number % 3], ("m", "n")[number % 2]
        days.setdefault(key, []).append(number)
    rows: list[dict[str, Any]] = []
    for (day, agent, model), numbers in sorted(days.items(), key=lambda row: (row[0][1] or "", row[0][2])):
        rows.append(
            {"date": day, "agent_name": agent, "tool_name": None, "model_name": model}
            | dict.fromkeys(("errors", "timeouts", "prompt_tokens", "completion_tokens", "uncounted", "unpriced"), 0)
            | {"invocations": len(numbers), "latency_count": len(numbers), "latency_us_sum": 100_000 * len(numbers)}
            | {
                "total_tokens": sum(numbers),
                "cost_nanos": sum(numbers) * 1_000_000,
                "total_cost_usd": sum(numbers) / 1e3,
            }
        )
    return sorted(rows, key=lambda row: str(row["date"]), reverse=True)


def coverage_of(path: Path, asked: TimeRange) -> CoverageReport:
    """That of a file."""
    return read(path, lambda fetch: read_coverage(fetch, InvocationFilter(since=asked.start, until=asked.end)))


def calls_by(report: CostReport, column: str) -> dict[Any, int]:
    """How many calls each row has."""
    return {row[column]: row["invocations"] for row in report["rows"]}


@pytest.mark.parametrize(("zone", "change"), AROUND, ids=str)
def test_calls_are_in_the_days_of_the_zone_where_its_clock_is_changed(
    stored: Callable[[datetime], Path], zone: str, change: datetime
) -> None:
    """As zoneinfo shows them."""
    report = costs(stored(change), time_range(time_zone=zone, now=change), "day")
    expected = Counter(moment.astimezone(ZoneInfo(zone)).date().isoformat() for moment in moments(change))
    assert calls_by(report, "date") == expected
    assert (report["first_day"], report["last_day"]) == (min(expected), max(expected))
    assert (report["time_zone"], report["utc_days_before"]) == (zone, None)


@pytest.mark.parametrize(("zone", "change"), AROUND, ids=str)
def test_any_range_is_counted_as_its_records_are(
    stored: Callable[[datetime], Path], zone: str, change: datetime
) -> None:
    """By costs by any keys, statistics, coverage: whole UTC days from daily totals, the ends from records."""
    path, all_moments = stored(change), moments(change)
    spans = [
        (-30 * HOUR, 30 * HOUR),
        (-HOUR, HOUR),
        (-24 * HOUR, timedelta()),
        (timedelta(), 24 * HOUR),
        (-99 * DAY, 7 * HOUR),
    ]
    for before, after in spans:
        start, end = change + before, change + after
        asked = TimeRange(start, end, ZoneInfo(zone))
        within = [number for number, moment in enumerate(all_moments) if start <= moment < end]
        for by in (keys for count in (1, 2) for keys in permutations(COST_KEYS, count)):
            totals = costs(path, asked, *by)["totals"]
            assert (totals["invocations"], totals["total_tokens"]) == (len(within), sum(within)), by
        daily = read(path, lambda fetch, asked=asked: read_daily_costs(fetch, InvocationFilter(), asked))  # type: ignore[misc]
        assert daily == recounted({number: all_moments[number] for number in within})
        statistics, covered = statistics_of(path, asked)
        assert (statistics["total_invocations"], statistics["timed_invocations"]) == (len(within), len(within))
        assert covered == asked
        coverage = coverage_of(path, asked)
        assert (coverage["invocations"], coverage["deleted_invocations"]) == (len(within), 0)


@pytest.mark.parametrize("zone", ["America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu", "UTC"])
def test_where_records_are_deleted_every_call_counts_once_and_the_report_says_which_days_are_utc(
    tmp_path: Path, zone: str
) -> None:
    """A call an hour for six days, of which three are purged."""
    path, first = tmp_path / "telemetry.db", datetime(2026, 11, 20, tzinfo=UTC)
    hours = [first + n * HOUR for n in range(144)]
    with TelemetryLogger(path, retention_days=None) as logger:
        for moment in hours:
            logger.log_invocation_nowait(InvocationRecord(timestamp=moment, cost_usd=1.0))
    kept = first + 3 * DAY
    with closing(sqlite3.connect(path)) as conn, conn:
        conn.execute("DELETE FROM invocations WHERE timestamp < ?", [kept.date().isoformat()])
        conn.execute(
            "INSERT OR REPLACE INTO retention (id, records_kept_since) VALUES (1, ?)", [kept.date().isoformat()]
        )
    asked = time_range(time_zone=zone, now=first)
    report = costs(path, asked, "day")
    assert report["totals"]["invocations"] == 144
    assert report["utc_days_before"] == (None if zone == "UTC" else "2026-11-23")
    known = ZoneInfo(zone)
    expected = Counter((moment if moment < kept else moment.astimezone(known)).date().isoformat() for moment in hours)
    assert calls_by(report, "date") == expected
    # Within the days that are gone, a range is widened to whole UTC days; elsewhere it is what was asked for.
    asked = TimeRange(first + 30 * HOUR, kept + 30 * HOUR, known)
    report = costs(path, asked, "model")
    assert report["totals"]["invocations"] == 24 + 24 + 30
    assert (report["since"], report["until"]) == ("2026-11-21 00:00:00.000000Z", "2026-11-24 06:00:00.000000Z")
    statistics, covered = statistics_of(path, asked)
    assert statistics["total_invocations"] == 78
    assert covered == TimeRange(first + DAY, asked.end, known)
    assert {name: statistics[name] for name in ("since", "until", "time_zone")} == covered.as_json()
    assert (statistics["records_since"], statistics["deleted_invocations"]) == ("2026-11-23", 0)
    # By other filters, records alone can tell: nothing is widened, and what is gone is counted.
    others = InvocationFilter(filters="status=success")
    told, exactly = read(path, lambda fetch: read_statistics_of(fetch, asked, others))
    assert (told["total_invocations"], exactly) == (30, asked)
    assert (told["since"], told["deleted_invocations"]) == ("2026-11-21 06:00:00.000000Z", 48)
    daily = read(path, lambda fetch: read_daily_costs(fetch, InvocationFilter(), asked))
    parts_of_days = [("2026-11-24", 6), ("2026-11-23", 24), ("2026-11-22", 24), ("2026-11-21", 24)]
    assert [(row["date"], row["invocations"]) for row in daily] == parts_of_days
    widened = TimeRange(first + 30 * HOUR, first + 31 * HOUR, known)
    assert (
        costs(path, widened, "day")["totals"]["invocations"]
        == costs(path, widened, "agent")["totals"]["invocations"]
        == 24
    )
    coverage = coverage_of(path, asked)
    assert (coverage["invocations"], coverage["deleted_invocations"]) == (30, 48)


def test_a_month_is_that_of_the_zone(stored: Callable[[datetime], Path]) -> None:
    """Calls around the end of October in New York: the UTC month has other ones."""
    change = datetime(2026, 11, 1, 6, tzinfo=UTC)
    path, zone, now = stored(change), ZoneInfo("America/New_York"), change + 30 * HOUR
    for where in (zone, UTC):
        report = read(path, lambda fetch, where=where: read_month(fetch, now, zone=where))  # type: ignore[misc]
        months = Counter(
            day_of(moment, where).month
            for moment in moments(change)
            if moment < day_start(day_of(now, where) + DAY, where)
        )
        assert (report["month"], report["time_zone"]) == ("2026-11", str(where))
        assert report["totals"]["to_date"]["invocations"] == months[11]
        assert report["totals"]["before"]["invocations"] == months[10]


def test_a_month_that_begins_with_a_short_day_has_its_days(tmp_path: Path) -> None:
    """The share of today that is over is a share of the hours that it has."""
    zone, noon = ZoneInfo("America/New_York"), datetime(2026, 11, 1, 17, tzinfo=UTC)
    report = read(tmp_path / "absent.db", lambda fetch: read_month(fetch, noon, zone=zone))
    assert report["elapsed_days"] == pytest.approx(13 / 25)


def test_days_of_utc_are_read_from_daily_totals_alone(stored: Callable[[datetime], Path]) -> None:
    """However many records there are."""
    asked: list[str] = []

    def question(fetch: Fetch) -> CostReport:
        def noting(query: Any) -> Any:
            asked.append(query[0])
            return fetch(query)

        return read_costs(noting, ("day",), InvocationFilter(), EVER)

    read(stored(AROUND[0][1]), question)
    assert not any("FROM invocations" in sql for sql in asked)


@pytest.mark.parametrize("zone", ["Asia/Kathmandu", "America/New_York", "Australia/Lord_Howe"])
def test_days_of_a_zone_are_read_from_totals_of_quarters_of_an_hour_alone(
    stored: Callable[[datetime], Path], zone: str
) -> None:
    """However many records there are; these say only when the first and the last one was."""
    asked: list[str] = []

    def question(fetch: Fetch) -> CostReport:
        def noting(query: Any) -> Any:
            asked.append(query[0])
            return fetch(query)

        return read_costs(noting, ("day",), InvocationFilter(), TimeRange(None, None, ZoneInfo(zone)))

    read(stored(AROUND[0][1]), question)
    (ends,) = (sql for sql in asked if "FROM invocations" in sql)
    assert "min(timestamp)" in ends
    assert "sum" not in ends
    assert any("FROM quarter_hours" in sql for sql in asked)


def test_days_are_found_by_the_index_on_times_and_those_without_calls_are_passed_over(tmp_path: Path) -> None:
    """A call of 1970 and one of 2026: not twenty thousand queries."""
    asked: list[Any] = []
    with TelemetryLogger(tmp_path / "telemetry.db", retention_days=None) as logger:
        for year in (1970, 2026, 9999):
            logger.log_invocation(InvocationRecord(timestamp=datetime(year, 12, 31, 23, tzinfo=UTC)))
        zone = ZoneInfo("Asia/Tokyo")

        def question(fetch: Fetch) -> tuple[CostReport, list[str]]:
            def noting(query: Any) -> Any:
                asked.append(query)
                return fetch(query)

            report = read_costs(noting, ("day",), InvocationFilter(), TimeRange(None, None, zone))
            return report, [str(fetch((f"EXPLAIN QUERY PLAN {sql}", parameters))) for sql, parameters in asked]

        report, plans = read(logger.db_path, question)
    assert list(calls_by(report, "date")) == ["9999-12-31", "2027-01-01", "1971-01-01"]
    on_records = [plan for (sql, _), plan in zip(asked, plans, strict=True) if "FROM invocations" in sql]
    assert len(on_records) < 10
    assert all("idx_invocations_timestamp" in plan for plan in on_records), on_records


def test_what_no_writer_wrote_is_no_day_and_no_failure(tmp_path: Path) -> None:
    """A file that a hand or a flipped byte has spoilt."""
    with TelemetryLogger(tmp_path / "telemetry.db", retention_days=None) as logger:
        for _ in range(5):
            logger.log_invocation(InvocationRecord(timestamp=datetime(2026, 11, 23, tzinfo=UTC)))
    with closing(sqlite3.connect(logger.db_path)) as conn, conn:
        for number, spoilt in enumerate(("zzz", "2026-11-23 soon", b"x", -5), 1):
            conn.execute("UPDATE invocations SET timestamp = ? WHERE id = ?", [spoilt, number])
    for zone in ("Asia/Tokyo", "America/Los_Angeles"):
        for by in ("day", "model"):
            asked = time_range("2026-11-01", "2026-11-30", time_zone=zone, now=datetime(2026, 12, 1, tzinfo=UTC))
            assert costs(logger.db_path, asked, by)["totals"]["invocations"] in (1, 2, 5)
        costs(logger.db_path, TimeRange(None, None, ZoneInfo(zone)), "day")


def test_python_takes_the_same_words_in_the_zone_of_the_logger(tmp_path: Path) -> None:
    """Of each query that has a range; a zone of the query comes first."""
    now = datetime.now(UTC)
    with TelemetryLogger(tmp_path / "telemetry.db", time_zone="America/Los_Angeles") as logger:
        logger.log_invocation(InvocationRecord(agent_name="a", cost_usd=1.0, timestamp=now))
        local = now.astimezone(ZoneInfo("America/Los_Angeles"))
        for since in (
            "24h",
            local.date(),
            local.date().isoformat(),
            now.astimezone().replace(tzinfo=None),
            now,
            "this-year",
        ):
            assert len(logger.get_invocations(since=since)) == 1
            assert logger.get_statistics(since=since)["total_invocations"] == 1
            assert logger.get_unit_costs(since=since)["totals"]["invocations"] == 1
            assert logger.get_coverage(since=since)["invocations"] == 1
            assert [row["date"] for row in logger.get_daily_costs(since=since)] == [now.date().isoformat()]
        before = {"until": now - HOUR}
        assert logger.get_invocations(**before) == []  # type: ignore[arg-type]
        assert logger.get_statistics(**before)["total_invocations"] == 0  # type: ignore[arg-type]
        assert logger.get_daily_costs(**before) == []  # type: ignore[arg-type]
        text = local.replace(tzinfo=None).isoformat()
        assert len(logger.get_invocations(since=text)) == 1
        assert len(logger.get_invocations(since=text, time_zone=UTC)) == 1  # which is hours before
        assert logger.get_invocations(since=text, time_zone="Pacific/Honolulu") == []
        assert logger.get_month_report()["time_zone"] == "America/Los_Angeles"
        assert logger.get_month_report(time_zone="UTC")["time_zone"] == "UTC"


@pytest.mark.parametrize("client", [TelemetryLogger, AsyncTelemetryLogger])
def test_whatever_takes_days_takes_a_range_in_the_same_words(client: type) -> None:
    """By name alone, None unless it is given; and so does whatever takes filters and no month."""
    ranged = {"since": None, "until": None, "time_zone": None}
    methods = dict(inspect.getmembers(client, callable))
    taking = {name: inspect.signature(one).parameters for name, one in methods.items() if not name.startswith("_")}
    days = {name for name, given in taking.items() if "start_date" in given}
    filters = {name for name, given in taking.items() if "filters" in given and "month" not in given}
    assert days < filters
    for name in filters:
        given = {one: taking[name][one] for one in ranged}
        assert {one: parameter.default for one, parameter in given.items()} == ranged, name
        if name in days:
            assert {parameter.kind for parameter in given.values()} == {inspect.Parameter.KEYWORD_ONLY}, name
            assert {one: parameter.annotation for one, parameter in given.items()} == {
                one: taking["get_invocations"][one].annotation for one in ranged
            }


def test_start_date_and_end_date_stay_utc_days(tmp_path: Path) -> None:
    """Whatever the zone."""
    moment = datetime(2026, 11, 23, 3, tzinfo=UTC)
    with TelemetryLogger(tmp_path / "telemetry.db", retention_days=None, time_zone="America/Los_Angeles") as logger:
        logger.log_invocation(InvocationRecord(timestamp=moment))
        assert [row["date"] for row in logger.get_daily_costs()] == ["2026-11-23"]
        day = date(2026, 11, 23)
        assert len(logger.get_invocations(day, day)) == 1
        assert len(logger.get_invocations(since=day - DAY, until=day - DAY)) == 1
