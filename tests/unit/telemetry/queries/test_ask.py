"""Questions beside plain Python: every key, every measure, days of zones that change their clocks, both sources."""

import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.question_records import ZONES, is_call, measured, percentile_of, some_records, values_of

from llm_service.errors import QueryError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, InvocationRow, TelemetryLogger
from llm_service.telemetry.queries.ask import Answer, ask
from llm_service.telemetry.queries.group_keys import KEYS
from llm_service.telemetry.queries.measures import MEASURES, PARTS, SETS
from llm_service.telemetry.queries.plans import Question, plan
from llm_service.telemetry.queries.questions import MEASURE_OF
from llm_service.telemetry.queries.time_range import time_range
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.sqlite.reader import read

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
NAMED = [key.replace("KEY", "team") for key in KEYS]
DAILY = [name for name, measure in MEASURES.items() if all(PARTS[part].is_daily for part in measure.parts)]


def stored(logger: TelemetryLogger, *given: InvocationRecord) -> list[InvocationRow]:
    """Commit records, and read them back."""
    assert all(logger.log_invocation_nowait(record) for record in given)
    assert logger.flush().complete
    return logger.get_invocations(limit=1_000_000)


def answer(path: Path, *question: Any, now: datetime = NOW, **more: Any) -> Answer:
    """The answer as of a moment of our choice."""
    return read(path, lambda fetch: ask(fetch, Question(*question, **more), now))


def agrees(found: dict[str, Any], rows: Sequence[InvocationRow]) -> None:
    """Every measure of a row is what Python makes of its calls: percentiles within 2.2 %, times to a microsecond."""
    for name in set(found) & set(MEASURES):
        expected = measured(rows, name)
        if expected is None:
            assert found[name] is None, name
        elif name[0] == "p" and name[1].isdigit():
            column = name.partition("_")[2]
            lowest, highest = (percentile_of(rows, column, percent) for percent in (0, 100))
            single = len({row[column] for row in rows}) == 1  # type: ignore[literal-required]
            within = (expected / 1.0222 - 0.001, expected * 1.0222 + 0.001)
            assert single or within[0] <= found[name] <= within[1] or lowest * 1.045 >= highest, name  # type: ignore[operator]
        elif isinstance(expected, int):
            assert (type(found[name]), found[name]) == (int, expected), name
        else:
            assert found[name] == pytest.approx(expected, rel=1e-9, abs=2e-3 if name.endswith("_ms") else 1e-12), name


def grouped(rows: Sequence[InvocationRow], columns: Sequence[str], zone: str) -> dict[tuple[Any, ...], list[Any]]:
    """The calls of each group."""
    groups: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for row in rows:
        keys: list[tuple[Any, ...]] = [()]
        for column in columns:
            keys = [(*key, value) for key in keys for value in values_of(row, column, zone)]
        for key in keys:
            groups[key].append(row)
    return groups


def check(rows: Sequence[InvocationRow], found: Answer, zone: str) -> None:
    """The answer to a question of all calls is what Python makes of their records."""
    rows = [row for row in rows if is_call(row) or "operation" in found.group_by]
    expected = grouped(rows, found.group_by, zone) if found.group_by else {}
    assert {tuple(row[column] for column in found.group_by) for row in found} == set(expected)
    assert len(found.rows) == len(expected)
    for row in found:
        agrees(row, expected[tuple(row[column] for column in found.group_by)])
    agrees(found.totals, rows)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, list[InvocationRow]]]:
    """A file with some hundred random records, and its rows."""
    with TelemetryLogger(tmp_path_factory.mktemp("many") / "t.db", models=False) as logger:
        yield logger.db_path, stored(logger, *some_records(13, 400))


@pytest.mark.costly
@pytest.mark.parametrize("by", ["", *NAMED])
@pytest.mark.parametrize("zone", ZONES)
def test_each_key_and_measure_is_what_python_makes_of_the_records(
    many: tuple[Path, list[InvocationRow]], by: str, zone: str
) -> None:
    """Also totals, in which a call with two tags counts once; spans count where `operation` is a key."""
    path, rows = many
    for measures in (list(MEASURES), DAILY):
        check(rows, answer(path, measures, by, time_zone=zone), zone)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**9),
    st.integers(0, 20),
    st.lists(st.sampled_from(NAMED), max_size=3, unique=True),
    st.sampled_from(ZONES),
)
def test_keys_together_are_what_python_makes_of_the_records(seed: int, count: int, by: list[str], zone: str) -> None:
    """Two and three of them."""
    with TemporaryDirectory() as folder, TelemetryLogger(Path(folder) / "t.db", models=False) as logger:
        rows = stored(logger, *some_records(seed, count))
        check(rows, answer(logger.db_path, list(MEASURES), by, time_zone=zone), zone)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.sampled_from(("agent", "tool", "model", "day", "week", "month", "weekday")), max_size=3, unique=True),
    st.integers(-400_000, 100_000),
    st.integers(0, 400_000),
    st.sampled_from(ZONES),
)
def test_daily_totals_and_records_give_the_same(
    many: tuple[Path, list[InvocationRow]], by: list[str], since: int, minutes: int, zone: str
) -> None:
    """Whichever a question is answered from; a filter that daily totals do not have makes it read the records."""
    start = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=since)
    when: dict[str, Any] = {"since": start, "until": start + timedelta(minutes=minutes), "time_zone": zone}
    daily = answer(many[0], DAILY, by, **when)
    rows = answer(many[0], DAILY, by, "invocation!=x", **when)
    assert (daily.rows, daily.totals) == (rows.rows, rows.totals)


def spans(zone: str = "UTC", **question: Any) -> list[str]:
    """What a question is answered from."""
    asked = Question(**question, time_zone=zone)
    return [span.source for span in plan(asked, asked.range(NOW), 86_400 if zone == "UTC" else 3600)]


def test_what_daily_totals_have_is_read_from_them() -> None:
    """Whole days; records of the edges alone; records of all where a key, a filter or a measure needs them."""
    assert spans() == ["daily"]
    assert spans(since="2026-11-01", until="2026-11-20", group_by="day,agent", filters="model=gpt-*") == ["daily"]
    assert spans(since="7d") == ["records", "daily"]
    assert spans(since="2026-11-01", until="2026-11-20T12:00Z") == ["daily", "records"]
    assert spans(since="1h", until="now") == ["records"]
    assert spans(since="2026-11-22T22:00Z", until="2026-11-23T02:00Z") == ["records"]
    for needs in (
        {"group_by": "session"},
        {"group_by": "hour"},
        {"filters": "session=x"},
        {"measures": "max_latency_ms"},
    ):
        assert spans(**needs) == ["records"], needs
    assert spans("America/New_York", group_by="day") == ["records"]


def test_what_quarters_of_an_hour_have_is_read_from_them() -> None:
    """All calls, in any zone whose days begin with one; records of the edges; days before they were complete as before."""

    def sources(complete: str | None, zone: str = "UTC", unit: int = 900, **question: Any) -> list[tuple[Any, ...]]:
        asked = Question(**question, time_zone=zone)
        return [tuple(span) for span in plan(asked, asked.range(NOW), unit, complete)]

    whole = [("quarters", None, None)]
    assert (
        sources("") == sources("", "Asia/Kathmandu", group_by="day") == sources("", group_by="hour", unit=3600) == whole
    )
    assert sources("", since="2026-11-01T10:07Z", until="2026-11-02T10:16:01Z") == [
        ("records", "2026-11-01 10:07:00.000000Z", "2026-11-01 10:15:00.000000Z"),
        ("quarters", "2026-11-01 10:15", "2026-11-02 10:15"),
        ("records", "2026-11-02 10:15:00.000000Z", "2026-11-02 10:16:01.000000Z"),
    ]
    assert sources("", since="2026-11-01T10:01Z", until="2026-11-01T10:14Z") == [
        ("records", "2026-11-01 10:01:00.000000Z", "2026-11-01 10:14:00.000000Z")
    ]
    assert sources("2026-11-03", since="2026-11-01T10:07Z", unit=86_400) == [
        ("records", "2026-11-01 10:07:00.000000Z", "2026-11-02"),
        ("daily", "2026-11-02", "2026-11-03"),
        ("quarters", "2026-11-03 00:00", None),
    ]
    assert sources("2026-11-03", since="2026-11-01", until="2026-11-02", unit=86_400) == [
        ("daily", "2026-11-01", "2026-11-03")
    ]
    for needs in ({"group_by": "agent"}, {"filters": "agent=x"}, {"measures": "max_latency_ms"}, {"unit": 60}):
        assert ("quarters", None, None) not in sources("", **needs), needs


@given(
    st.lists(st.sampled_from(("hour", "day", "week", "month", "weekday")), max_size=2, unique=True),
    st.integers(-400_000, 100_000),
    st.integers(0, 400_000),
    st.sampled_from(ZONES),
)
def test_quarters_of_an_hour_and_records_give_the_same(
    many: tuple[Path, list[InvocationRow]], by: list[str], since: int, minutes: int, zone: str
) -> None:
    """Whatever the range and the zone."""
    start = datetime(2026, 11, 1, tzinfo=UTC) + timedelta(minutes=since)
    when: dict[str, Any] = {"since": start, "until": start + timedelta(minutes=minutes), "time_zone": zone}
    quarters = answer(many[0], DAILY, by, **when)
    rows = answer(many[0], DAILY, by, "invocation!=x", **when)
    assert (quarters.rows, quarters.totals) == (rows.rows, rows.totals)


@pytest.fixture(scope="module")
def a_year(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[datetime]]:
    """A call each 15 minutes, and when they were."""
    first = datetime(2025, 12, 30, tzinfo=UTC)
    moments = [first + timedelta(minutes=15 * n) for n in range(96 * 370)]
    with TelemetryLogger(tmp_path_factory.mktemp("year") / "t.db") as logger:
        for moment in moments:
            logger.log_invocation_nowait(InvocationRecord(timestamp=moment))
        assert logger.flush().complete
        return logger.db_path, moments


@pytest.mark.costly
@pytest.mark.parametrize("zone", ZONES)
def test_days_of_a_zone_that_changes_its_clock_are_those_of_zoneinfo(
    a_year: tuple[Path, list[datetime]], zone: str
) -> None:
    """Over a whole year, each local day and hour has as many calls as it is long."""
    path, moments = a_year
    days = {row["day"]: row["invocations"] for row in answer(path, "calls", "day", time_zone=zone)}
    hours = {row["hour"]: row["invocations"] for row in answer(path, "calls", "hour", time_zone=zone)}
    local = [moment.astimezone(ZoneInfo(zone)) for moment in moments]
    expected: dict[str, int] = defaultdict(int)
    for moment in local:
        expected[moment.date().isoformat()] += 1
    assert days == expected
    assert list(days) == sorted(days)
    in_hours: dict[str, int] = defaultdict(int)
    for moment in local:
        in_hours[f"{moment:%Y-%m-%dT%H}:00{moment.isoformat()[-6:]}"] += 1
    assert hours == in_hours
    assert list(hours) == list(in_hours)  # in the order of time, also where a clock shows an hour twice


def test_an_evening_call_in_los_angeles_is_in_today(tmp_path: Path) -> None:
    """The call of a minute ago, at nine in the evening, when UTC has the next day."""
    now = datetime(2026, 11, 24, 5, tzinfo=UTC)
    with TelemetryLogger(tmp_path / "t.db") as logger:
        stored(logger, InvocationRecord(timestamp=now - timedelta(minutes=1), cost_usd=0.5))
        today = answer(logger.db_path, "cost", "day", since="today", time_zone="America/Los_Angeles", now=now)
    assert [(row["day"], row["total_cost_usd"]) for row in today] == [("2026-11-23", 0.5)]
    assert (today.since, today.until, today.time_zone) == (
        "2026-11-23 08:00:00.000000Z",
        None,
        "America/Los_Angeles",
    )


def test_what_retention_has_deleted_is_counted_where_records_are_read(tmp_path: Path) -> None:
    """Daily totals still have it; by session it is gone, and the answer says how much."""
    with TelemetryLogger(tmp_path / "t.db", retention_days=0) as logger:
        for days in (0, 1, 40, 50):
            logger.log_invocation(
                InvocationRecord(
                    timestamp=datetime.now(UTC) - timedelta(days=days), agent_name="a", session_id="s", cost_usd=1
                )
            )
        logger.purge(30)
        whole, sessions = logger.query("calls", "agent"), logger.query("calls", "session")
        since = logger.query("calls", "session", since="45d")
    assert (whole.totals["invocations"], whole.deleted_invocations) == (4, 0)
    assert (sessions.totals["invocations"], sessions.deleted_invocations) == (2, 2)
    assert since.deleted_invocations == 1
    assert sessions.records_since == whole.records_since is not None


def test_sums_beyond_64_bits_are_exact(tmp_path: Path) -> None:
    """From both sources; and the mean of what can no longer be summed in SQL."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        logger.log_invocation(InvocationRecord(agent_name="a"))
        with closing(sqlite3.connect(logger.db_path)) as db, db:
            statements = [
                "UPDATE daily_costs SET total_tokens = 9223372036854775807, uncounted = 0",
                (
                    "INSERT INTO daily_costs (date, tool_name, invocations, total_tokens)"
                    " SELECT date, 'x', 1, total_tokens FROM daily_costs"
                ),
                "UPDATE invocations SET total_tokens = 9223372036854775807",
                (
                    "INSERT INTO invocations (invocation_id, timestamp, status, total_tokens)"
                    " SELECT 'x', timestamp, status, total_tokens FROM invocations"
                ),
            ]
            for statement in statements:
                db.execute(statement)
        for by in ("agent", "source"):
            assert answer(logger.db_path, "tokens", by).totals["total_tokens"] == 2 * (2**63 - 1)


DAMAGE = {
    "text among numbers": "UPDATE invocations SET cost_usd='x', latency_ms='x', ttft_ms='x', total_tokens='x', prompt_tokens='x',"
    " cache_read_tokens='x', stream='x', attempts='x', http_status='x'",
    "infinity": "UPDATE invocations SET cost_usd=9e999, latency_ms=9e999, ttft_ms=-9e999",
    "bytes": "UPDATE invocations SET agent_name=x'ff00', session_id=x'ff', tags=x'ff', metadata=x'ff', status=x'ff', timestamp=x'ff'",
    "invalid UTF-8": "UPDATE invocations SET agent_name=CAST(x'61ff' AS TEXT), tags=CAST(x'5bff' AS TEXT), model_name=CAST(x'ff' AS TEXT)",
    "no JSON": "UPDATE invocations SET tags='[1', metadata='{', timestamp='yesterday'",
    "other JSON": """UPDATE invocations SET tags='{"a": 1}', metadata='[1]'""",
    "deep JSON": f"UPDATE invocations SET tags='{'[' * 900 + ']' * 900}', metadata='{'[' * 3000}'",
    "daily totals": "UPDATE daily_costs SET cost_nanos='x', date=x'ff', latency_us_sum=1.5",
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_costs_the_damaged_value_alone(tmp_path: Path, damage: str) -> None:
    """No question fails by it; whatever number is told is one that can be."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for n in range(3):
            logger.log_invocation(
                InvocationRecord(agent_name="a", cost_usd=1, latency_ms=5, ttft_ms=2, prompt_tokens=1, completion_tokens=1,
                                 tags=["t"], metadata={"team": "core"}, session_id=str(n))
            )  # fmt: skip
    with closing(sqlite3.connect(tmp_path / "t.db")) as db, db:
        db.execute(f"{damage} WHERE id = 1")
    questions = [(by, "", "Asia/Kathmandu") for by in NAMED]
    questions += [("day,agent", filters, "UTC") for filters in ("", "cost!=5 tag!=x metadata.team!=x", "latency<6")]
    for by, filters, zone in questions:
        totals = answer(tmp_path / "t.db", list(MEASURES), by, filters, time_zone=zone).totals
        assert totals["invocations"] in (2, 3)
        assert 2 <= totals["total_cost_usd"] <= 3


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"measures": "costs"}, r"measures: 'costs' .* did you mean cost\?"),
        ({"measures": ""}, "measures: '' .* give one or more of"),
        ({"measures": 5}, "measures: 5 .* give names"),
        ({"group_by": "agnt"}, r"by: 'agnt' .* did you mean agent\?"),
        ({"group_by": "cost"}, "by: 'cost' .* there is no key"),
        ({"group_by": "agent,agent_name"}, "by: .* each once"),
        ({"group_by": "agent,tool,model,provider,day"}, "by: .* up to 4"),
        ({"group_by": 'metadata.a"b'}, r'by: .* metadata\."a\\"b"'),
        ({"filters": "agnt=x"}, r"filters: 'agnt' .* did you mean agent\?"),
        ({"since": "yesterdy"}, r"since: .* did you mean yesterday\?"),
        ({"time_zone": "Berlin"}, r"time_zone: .* did you mean Europe/Berlin\?"),
        ({"order": "-p95_latency_ms"}, "order: .* there is no"),
        ({"limit": 0}, "limit: 0 .* from 1 to 1,000,000"),
        ({"limit": True}, "limit: True"),
    ],
)
def test_a_question_is_checked_when_it_is_made(wrong: dict[str, Any], message: str) -> None:
    """Argument, value and remedy."""
    with pytest.raises(QueryError, match=message):
        Question(**wrong)


def test_rows_are_sorted_and_cut_as_asked(tmp_path: Path) -> None:
    """By default by the first measure, largest first, unknown last; `more` counts what was cut off."""
    with TelemetryLogger(tmp_path / "t.db", models=False) as logger:
        costs = {"a": 1.0, "b": 3.0, "c": None, "d": 2.0}
        stored(logger, *(InvocationRecord(agent_name=name, cost_usd=cost) for name, cost in costs.items()))

        def names(**more: Any) -> list[str]:
            return [row["agent_name"] for row in answer(logger.db_path, "cost", "agent", **more)]

        assert names() == ["b", "d", "a", "c"]
        assert names(order="cost") == ["a", "d", "b", "c"]
        assert names(order="-agent") == ["d", "c", "b", "a"]
        assert names(order=["unpriced", "-agent_name"]) == ["d", "b", "a", "c"]
        found = answer(logger.db_path, "cost", "agent", limit=1)
        assert (len(found), found.more, found.totals["total_cost_usd"]) == (1, 3, 6.0)
        assert found.measures == SETS["cost"]


def test_unknown_names_are_told_with_what_was_meant(tmp_path: Path) -> None:
    """Only those of no call at all: one that has none in the range is known."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        stored(logger, InvocationRecord(agent_name="backend-dev", tool_name="claude-code", timestamp=NOW))
        found = answer(
            logger.db_path, filters="agent=backend-dew,backend-dev tool!=x model=m* agent=zzz", since="2026-11-24"
        )
        known = answer(logger.db_path, filters="agent=backend-dev", since="2026-11-24", until="2026-11-25")
    assert [tuple(name) for name in found.unknown_names] == [
        ("agent_name", "backend-dew", "backend-dev"),
        ("model_name", "m*", None),
        ("agent_name", "zzz", None),
    ]
    assert str(found.unknown_names[0]) == "there is no agent 'backend-dew'; did you mean backend-dev?"
    assert known.unknown_names == ()


async def test_both_clients_answer_the_same_after_a_flush(tmp_path: Path) -> None:
    """You read your own writes, and the setting `time_zone` is the default."""
    async with AsyncTelemetryLogger(tmp_path / "t.db", time_zone="Asia/Kathmandu") as logger:
        await logger.log_invocation(
            InvocationRecord(agent_name="a", cost_usd=1, timestamp=datetime(2026, 11, 23, 20, tzinfo=UTC))
        )
        one = await logger.query("cost", "day")
        with pytest.raises(QueryError):
            await logger.query("cots")
    with TelemetryLogger(tmp_path / "t.db") as other:
        assert other.query("cost", "day", time_zone="Asia/Kathmandu") == one
        assert [row["day"] for row in other.query("cost", "day")] == ["2026-11-23"]
    assert [row["day"] for row in one] == ["2026-11-24"]


@pytest.fixture(scope="module")
def days_of_calls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TelemetryLogger]:
    """Calls of a few names over some days."""
    with TelemetryLogger(tmp_path_factory.mktemp("days") / "t.db", models=False) as logger:
        for n in range(300):
            logger.log_invocation_nowait(
                InvocationRecord(
                    timestamp=datetime.now(UTC) - timedelta(hours=n), agent_name=f"a{n % 3}", model_name=f"m{n % 2}",
                    cost_usd=None if n % 5 else 0.25, total_tokens=n, latency_ms=n, status="error" if n % 7 == 0 else "success",
                )
            )  # fmt: skip
        assert logger.flush().complete
        yield logger


def test_daily_costs_are_a_question(days_of_calls: TelemetryLogger) -> None:
    """By day, agent and model, of one tool: the same sums under the same names."""
    found = days_of_calls.query("calls,tokens,cost,errors,timeouts,cost_nanos", "day,agent,model")
    by_key = {(row["day"], row["agent_name"], row["model_name"]): row for row in found}
    rows = days_of_calls.get_daily_costs()
    assert len(rows) == len(by_key)
    for row in rows:
        one = by_key[row["date"], row["agent_name"], row["model_name"]]
        for column in ("invocations", "errors", "timeouts", "unpriced", "uncounted", "total_tokens"):
            assert one[column] == row[column]  # type: ignore[literal-required]
        assert (one["cost_nanos"] or 0) == row["cost_nanos"]


def test_invocations_are_the_groups_of_an_invocation(days_of_calls: TelemetryLogger) -> None:
    """One row for each call."""
    found = days_of_calls.query("cost,tokens,avg_latency_ms", "invocation", "agent=a1 latency>20")
    rows = days_of_calls.get_invocations(filters="agent=a1 latency>20", limit=1000)
    assert {
        row["invocation_id"]: (row["total_cost_usd"], row["total_tokens"], row["avg_latency_ms"]) for row in found
    } == {row["invocation_id"]: (row["cost_usd"], row["total_tokens"], row["latency_ms"]) for row in rows}


@pytest.mark.parametrize("filters", [None, "model=m1", "agent!=a1 cost>0", "latency>100"])
def test_statistics_are_a_question(days_of_calls: TelemetryLogger, filters: str | None) -> None:
    """Each key is a measure, by its own name or another; unknown is 0 there."""
    found = days_of_calls.get_statistics(days=9, filters=filters)
    names = list(MEASURE_OF)
    asked = days_of_calls.query(names, filters=filters, since="9d").totals
    for name in names:
        assert found[name] == (asked[SETS.get(name, (name,))[0]] or 0), name  # type: ignore[literal-required]


def test_each_report_takes_filters(days_of_calls: TelemetryLogger) -> None:
    """Those that read daily totals refuse what these do not have, and say what to use."""
    for report in (days_of_calls.get_unit_costs, days_of_calls.get_coverage):
        some: Any = report(filters="latency>100")
        every: Any = report()
        calls = [(one.get("totals") or one)["invocations"] for one in (some, every)]
        assert calls == [199, 300]
        assert some["deleted_invocations"] == 0
    assert {row["agent_name"] for row in days_of_calls.get_daily_costs(filters="agent=a0,a1")} == {"a0", "a1"}
    months = [days_of_calls.get_month_report(forecast=False, filters=filters) for filters in ("agent=a?", None)]
    assert months[0]["totals"] == months[1]["totals"]
    for refused in (days_of_calls.get_daily_costs, days_of_calls.get_month_report):
        with pytest.raises(
            QueryError, match=r"filters: 'session_id' .* query\(\) and llm-telemetry query read records"
        ):
            refused(filters="session=x")


def test_a_range_needs_no_scan_beyond_it(tmp_path: Path) -> None:
    """Records of a range are found by an index."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        stored(logger, InvocationRecord(agent_name="a"))
    asked: list[Query] = []

    def fetch_all(fetch: Any) -> None:
        def watch(query: Query) -> Any:
            asked.append(query)
            return fetch(query)

        ask(watch, Question("cost,latency", "session", since="24h"), NOW)
        ask(watch, Question("cost,failures", "request_model", "request_model=a,b", since="24h"), NOW)
        for sql, bound in asked:
            if "FROM invocations" in sql and "min(timestamp)" not in sql:
                steps = [row[3] for row in fetch((f"EXPLAIN QUERY PLAN {sql}", bound))]
                assert any("USING INDEX idx_invocations_timestamp (timestamp>?" in step for step in steps), steps

    read(logger.db_path, fetch_all)
    assert time_range("24h", now=NOW).start is not None


METADATA: dict[str, tuple[dict[str, Any], str]] = {
    "metadata.team": ({"team": "core"}, "core"),
    "metadata.a.b": ({"a": {"b": "core"}}, "core"),
    "metadata.a.b.c": ({"a": {"b": {"c": 3}}}, "3"),
    "metadata.gen_ai.system": ({"gen_ai.system": "core", "gen_ai": {"system": "other"}}, "core"),
    'metadata."a.b"': ({"a.b": "core", "a": {"b": "other"}}, "core"),
    'metadata."odd key, with = and !<>"': ({"odd key, with = and !<>": "core"}, "core"),
    "metadata.ключ": ({"ключ": True}, "true"),
    "metadata.a-b": ({"a-b": "core"}, "core"),
    "metadata.$": ({"$": "core"}, "core"),
    "metadata.a[0]": ({"a[0]": "core", "a": ["other"]}, "core"),
    'metadata."it\'s"': ({"it's": "core"}, "core"),
}
"""By name of a key: metadata that have it, and its text."""


@pytest.mark.parametrize("name", METADATA)
def test_a_key_of_the_metadata_is_found_however_it_is_written(tmp_path: Path, name: str) -> None:
    """Within objects, with dots of its own, or in quotes; the same in filters and as a key to group by."""
    metadata, value = METADATA[name]
    with TelemetryLogger(tmp_path / "a.db", retention_days=None) as logger:
        logger.log_invocation(InvocationRecord(metadata=metadata))
        logger.log_invocation(InvocationRecord(metadata={"a": 1}))
        logger.log_invocation(InvocationRecord())
        column = name.replace('"', "")
        for by in (name, [name], f"{name},status"):
            rows = logger.query("calls", by=by, order=f"-{name}").rows
            assert [(row[column], row["invocations"]) for row in rows] == [(value, 1), (None, 2)]
        for filters in (f"{name}={value}", f"{name}!=", {name: value}, {name: f"={value}"}):
            assert logger.query("calls", filters=filters).totals["invocations"] == 1
        assert logger.query("calls", filters=f"{name}=").totals["invocations"] == 2
        above = logger.query("calls", filters=f"{name}>2").totals["invocations"]
        assert above == (1 if value == "3" else 0)
