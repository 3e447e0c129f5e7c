"""What no writer wrote is unknown to every reader, and what is beyond the calendar is no error of Python's."""

import math
import sqlite3
import zlib
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from llm_service.errors import QueryError
from llm_service.telemetry.maintenance import daily_totals
from llm_service.telemetry.privacy import contents
from llm_service.telemetry.queries import cache_savings, cells, filter_language, filters, local_periods, range_parts
from llm_service.telemetry.queries.time_range import _shown
from llm_service.telemetry.stores.sqlite import budget_rows, user_statement

LAST = datetime(9999, 12, 31, 23, 59, tzinfo=UTC)
TOKYO = ZoneInfo("Asia/Tokyo")


def test_cells() -> None:
    """Days, texts, JSON."""
    assert [cells.day(value) for value in ("2026-01-05", "2026-13-05", "yesterday", 5, None)] == [
        date(2026, 1, 5), None, None, None, None,
    ]  # fmt: skip
    assert [cells.text(value) for value in ("a", None, 5)] == ["a", "", "5"]
    assert cells.decoded('{"a": NaN, "b": [1e999, -Infinity], "c": 1.5}', dict) == {
        "a": None,
        "b": [None, None],
        "c": 1.5,
    }
    assert cells.decoded("[1]", dict) is None
    assert cells.decoded(f"{'[' * 1000}{']' * 1000}", list) is None
    assert cells.decoded(b"[]", list) is None


def test_moments() -> None:
    """A stored one without zone, or that is none; one of a question."""
    assert [range_parts.moment_of(text) for text in ("2026-13-05", "2026-01-05", 5, None)] == [None] * 4
    assert range_parts.moment_of("2026-01-05 00:00:00.000000Z") == datetime(2026, 1, 5, tzinfo=UTC)
    assert filters.moment_text("since", "1812-01-05T00:00:00Z") == "1970-01-01 00:00:00.000000Z"
    for odd in ("soon", "2026-01-05T00:00:00", datetime(2026, 1, 5), 5):  # noqa: DTZ001 - that is what is refused
        with pytest.raises(QueryError, match="give an aware datetime"):
            filters.moment_text("since", odd)
    with pytest.raises(QueryError, match="from 1970 to 9999"):
        filters.moment_text("since", datetime.max.replace(tzinfo=ZoneInfo("America/New_York")))


def test_beyond_the_calendar() -> None:
    """Where the clock of a zone would show the year 10000."""
    assert local_periods.cut_into_days(TOKYO, LAST - timedelta(days=3), LAST) is None
    assert local_periods._offset(LAST, TOKYO) == 0
    assert local_periods._offset(LAST - timedelta(days=3), TOKYO) == 9 * 3600
    assert "9999-12-31" in _shown(LAST, TOKYO)


@pytest.mark.parametrize("odd", [{"timestamp": "soon"}, {"timestamp": None}, {"prompt_tokens": "many"}, {"read": 1.5}])
def test_what_a_cache_saved(odd: dict[str, Any]) -> None:
    """Of a call whose moment or tokens are unknown."""
    call: dict[str, Any] = {
        "model_name": "gpt-4o", "request_model": None, "region": None, "provider": "openai",
        "timestamp": "2026-01-05 00:00:00.000000Z", "prompt_tokens": 100, "completion_tokens": 1, "read": 50, "written": 0,
        "reasoning": 0, "hour": 0, "service_tier": None,
    }  # fmt: skip

    def no_price(*_given: Any, **_named: Any) -> Any:
        raise AssertionError("no price is asked for")

    assert cache_savings._saved(no_price, **call | odd) is None  # type: ignore[arg-type]


def test_contents() -> None:
    """For SQL: of a text that is long a part, of what is no packed text nothing."""
    packed = zlib.compress("größe".encode())
    assert contents.unpack_for_sql(packed) == "größe"
    assert (
        contents.unpack_for_sql(zlib.compress(b"x" * (contents.MAX_SHOWN_BYTES + 9))) == "x" * contents.MAX_SHOWN_BYTES
    )
    for odd in (None, "text", b"text", packed[:-5], zlib.compress(b"\xff\xfe")):
        assert contents.unpack_for_sql(odd) is None


@pytest.mark.parametrize(
    "odd",
    [5, [5], {5: "x"}, {"agent": []}, {"agent": "= a b"}, "agent='a", "agent='a'b", "no field at all"],
)
def test_filters(odd: Any) -> None:
    """What is no filter is refused by the name of its argument."""
    with pytest.raises(QueryError):
        filter_language._conditions(odd, "filters")


def test_holds() -> None:
    """Of a hold the windows that make sense, and no whole one where others stand beside."""
    whole = [1, "[]", "2026-01-05 00:00:00.000000Z"]
    odd = [[1, "[]"], 5, ["1", "[]", whole[2]], [1, 5, whole[2]], [1, "[]", "soon"], [2**63, "[]", whole[2]]]
    text = str([whole, *odd]).replace("'", '"')
    assert [list(place) for place in budget_rows.to_places(text)] == [whole]
    assert budget_rows.to_places("[") == budget_rows.to_places(None) == []


def test_totals() -> None:
    """Two keys that read alike are added up; a file of before retention has no day since which all is kept."""
    totals: dict[Any, Any] = {}
    key = daily_totals.DailyKey("2026-01-05", "a", None, None)
    for bucket in (3, 3, 4):
        one = daily_totals.to_totals([1] * len(daily_totals.COLUMNS))
        one.buckets = {bucket: 1}
        daily_totals._add(totals, key, one)
    assert (totals[key].invocations, totals[key].buckets) == (3, {3: 2, 4: 1})
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE retention (id)")
        assert daily_totals.kept_since(connection) is None


def test_statements(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is blamed for an error of SQLite: the file, or the statement; without `resource` nothing is bound."""
    of_the_disk = sqlite3.OperationalError("disk I/O error")
    of_the_disk.sqlite_errorcode = sqlite3.SQLITE_IOERR_READ
    assert user_statement._refusal(tmp_path / "t.db", of_the_disk).failure
    of_the_statement = sqlite3.OperationalError("no such table: x")
    of_the_statement.sqlite_errorcode = sqlite3.SQLITE_ERROR
    assert "no such table: x; correct" in (user_statement._refusal(tmp_path / "t.db", of_the_statement).misuse or "")
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE calls (agent_name)")
        hint = user_statement._hint(connection, "SELECT agent FROM calls", "no such column: agent")
        assert "did you mean agent_name?" in hint
        assert user_statement._hint(connection, "SELECT agent FROM calls", "near FROM") == ""
    monkeypatch.setitem(__import__("sys").modules, "resource", None)
    user_statement._bound(math.inf)
