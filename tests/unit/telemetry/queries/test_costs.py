"""Costs by any keys: sums of the daily roll-ups that agree with the records."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.question_records import some_records

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.ask import ask
from llm_service.telemetry.queries.conditions import columns_of
from llm_service.telemetry.queries.costs import COST_KEYS, CostKey, CostReport, cost_columns, is_of_days, read_costs
from llm_service.telemetry.queries.filter_language import conditions_of
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.group_keys import KEYS
from llm_service.telemetry.queries.local_periods import WEEKDAYS
from llm_service.telemetry.queries.plans import Question
from llm_service.telemetry.queries.time_range import TimeRange
from llm_service.telemetry.stores.sqlite.reader import read

DAY = datetime(2026, 11, 20, 12, tzinfo=UTC)


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """Twelve calls on three days, of two agents (and none), two models; one unpriced, one uncounted."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        for number in range(12):
            logger.log_invocation(
                InvocationRecord(
                    agent_name=("a", "b", None)[number % 3],
                    tool_name="t",
                    model_name=("m", "n")[number % 2],
                    total_tokens=None if number == 1 else 10 * number,
                    cost_usd=None if number == 2 else 0.1 * number,
                    status="error" if number == 3 else "success",
                    timestamp=DAY + timedelta(days=number % 3),
                )
            )
        yield logger


def report(telemetry: TelemetryLogger, *by: str, **narrowed: str) -> CostReport:
    """Costs of its file."""
    return read(telemetry.db_path, lambda fetch: read_costs(fetch, by or COST_KEYS, InvocationFilter(**narrowed)))


@pytest.mark.parametrize("by", [keys for count in range(1, 5) for keys in permutations(COST_KEYS, count)])
def test_any_keys_in_any_order_sum_to_the_records(telemetry: TelemetryLogger, by: tuple[CostKey, ...]) -> None:
    """Each row is the sum of the records with its values."""
    columns = {"agent": "agent_name", "tool": "tool_name", "model": "model_name"}
    expected: dict[tuple[str | None, ...], list[float]] = {}
    for row in telemetry.get_invocations():
        key = tuple(row["timestamp"][:10] if k == "day" else row[columns[k]] for k in by)  # type: ignore[literal-required]
        counted = expected.setdefault(key, [0, 0, 0.0])
        counted[0] += 1
        counted[1] += row["total_tokens"] or 0
        counted[2] += row["cost_usd"] or 0.0
    found = report(telemetry, *by)
    names = ["date" if k == "day" else columns[k] for k in by]
    assert {
        tuple(row[name] for name in names): [
            row["invocations"],
            row["total_tokens"],
            pytest.approx(row["total_cost_usd"]),
        ]
        for row in found["rows"]
    } == expected
    assert found["totals"]["invocations"] == 12


def test_how_much_is_known_stands_beside_the_totals(telemetry: TelemetryLogger) -> None:
    """One call has no cost, one no tokens."""
    found = report(telemetry, "day")
    assert (found["priced"], found["totals"]["uncounted"], found["totals"]["errors"]) == (11, 1, 1)
    assert (found["first_day"], found["last_day"]) == ("2026-11-20", "2026-11-22")
    assert found["totals"]["cost_nanos"] == 6_400_000_000


def test_days_are_newest_first_names_alphabetical_and_a_last_name_by_cost(telemetry: TelemetryLogger) -> None:
    """What costs most is what one looks for."""
    assert [row["date"] for row in report(telemetry, "day")["rows"]] == ["2026-11-22", "2026-11-21", "2026-11-20"]
    by_cost = [row["cost_nanos"] for row in report(telemetry, "agent")["rows"]]
    assert by_cost == sorted(by_cost, reverse=True)
    assert [row["agent_name"] for row in report(telemetry, "agent", "model")["rows"]] == [
        None,
        None,
        "a",
        "a",
        "b",
        "b",
    ]


def test_filters_narrow_rows_totals_and_days(telemetry: TelemetryLogger) -> None:
    """All three speak of the same calls."""
    found = report(telemetry, "model", agent_name="a", start_date="2026-11-20", end_date="2026-11-20")
    assert found["totals"]["invocations"] == sum(row["invocations"] for row in found["rows"]) == 4
    assert (found["first_day"], found["last_day"]) == ("2026-11-20", "2026-11-20")


def test_an_empty_file_has_totals_of_zero(tmp_path: Path) -> None:
    """Numbers, not None."""
    found = read(tmp_path / "absent.db", lambda fetch: read_costs(fetch, COST_KEYS, InvocationFilter()))
    assert (found["rows"], found["totals"]["total_cost_usd"], found["first_day"]) == ([], 0.0, None)


@pytest.mark.parametrize("by", [(), ("day", "day"), ("nothing",), ("day", "user", "tag", "run", "trace")])
def test_keys_that_are_none_are_refused(telemetry: TelemetryLogger, by: tuple[CostKey, ...]) -> None:
    """Naming them, and those that there are."""
    with pytest.raises(QueryError, match=r"by: .*(give one or more of invocation, agent|each once|there is no key)"):
        read(telemetry.db_path, lambda fetch: read_costs(fetch, by, InvocationFilter()))


ANY_KEYS = tuple("metadata.team" if key.endswith("KEY") else key for key in KEYS)
MANY = [("day", "user"), ("month", "agent", "tag"), ("request_model", "session"), ("weekday", "model"), ("hour",)]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of records with all fields, some of them unknown."""
    path = tmp_path_factory.mktemp("costs") / "t.db"
    with TelemetryLogger(path, models=False, policies=False, retention_days=None) as logger:
        for record in some_records(7, 60):
            logger.log_invocation(record)
    return path


@pytest.mark.parametrize("zone", ["UTC", "America/New_York"])
@pytest.mark.parametrize("filters", [None, "cost>0.01", "operation!=x"])
@pytest.mark.parametrize("by", [*((key,) for key in ANY_KEYS), *MANY])
def test_any_key_of_questions_has_the_sums_that_an_answer_has(
    odd: Path, by: tuple[str, ...], filters: str | None, zone: str
) -> None:
    """Whatever they are read from."""
    asked = TimeRange(datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 2, 7, 30, tzinfo=UTC), ZoneInfo(zone))
    measures = ("invocations", "errors", "timeouts", "unpriced", "uncounted")
    question = Question(measures, by, filters, asked.start, asked.end, asked.zone)
    found = read(odd, lambda fetch: read_costs(fetch, by, InvocationFilter(filters=filters), asked))
    answer = read(odd, lambda fetch: ask(fetch, question, datetime.now(UTC)))
    columns = cost_columns(by)
    assert {tuple(map(row.get, columns)): [row[name] for name in measures] for row in found["rows"]} == {
        tuple(map(row.get, answer.group_by)): [row[name] for name in measures] for row in answer
    }
    assert [found["totals"][name] for name in measures] == [answer.totals[name] for name in measures]  # type: ignore[literal-required]
    assert (found["records_since"], found["deleted_invocations"]) == (None, 0)
    days = sorted(row["date"] for row in read(odd, lambda fetch: read_costs(
        fetch, ("day", "operation") if "operation" in (*by, *columns_of(conditions_of(filters))) else ("day",),
        InvocationFilter(filters=filters), asked,
    ))["rows"])  # fmt: skip
    if not is_of_days(by, InvocationFilter(filters=filters)):  # whose days are those of UTC
        assert (found["first_day"], found["last_day"]) == (days[0], days[-1])


def test_periods_are_sorted_newest_first_and_others_by_name_or_cost(odd: Path) -> None:
    """Days of the week from Monday on."""
    for by in (("week",), ("month", "user"), ("hour", "model")):
        values = [
            row[by[0]] for row in read(odd, lambda fetch, by=by: read_costs(fetch, by, InvocationFilter()))["rows"]
        ]
        assert values == sorted(values, key=datetime.fromisoformat if by[0] == "hour" else str, reverse=True)
    rows = read(odd, lambda fetch: read_costs(fetch, ("weekday",), InvocationFilter()))["rows"]
    assert [row["weekday"] for row in rows] == [day for day in WEEKDAYS if day in {row["weekday"] for row in rows}]
    rows = read(odd, lambda fetch: read_costs(fetch, ("user",), InvocationFilter()))["rows"]
    assert [row["cost_nanos"] for row in rows] == sorted((row["cost_nanos"] for row in rows), reverse=True)
