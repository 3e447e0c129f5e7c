"""Time: three shapes of one instant, and text that sorts as time does."""

import re
import sqlite3
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry.record.timestamps import (
    MAX_MICROSECONDS,
    TextClock,
    from_microseconds,
    microseconds_text,
    to_microseconds,
)

MOMENTS = st.integers(0, MAX_MICROSECONDS)
NEAR = st.integers(1_795_000_000_000_000, 1_795_000_005_000_000)


@given(MOMENTS)
@settings(max_examples=150, deadline=None)
def test_fromisoformat_reads_the_text_as_the_same_aware_moment(microseconds: int) -> None:
    """Nothing is lost on the way to text and back."""
    moment = datetime.fromisoformat(microseconds_text(microseconds))
    assert moment.utcoffset() == timedelta(0)
    assert moment == from_microseconds(microseconds)
    assert to_microseconds(moment) == microseconds


@given(st.lists(MOMENTS | NEAR, min_size=2, max_size=20))
@settings(max_examples=100, deadline=None)
def test_text_sorts_as_time_does(moments: list[int]) -> None:
    """Also against a prefix of it: every text has the same 27 characters."""
    texts = [microseconds_text(moment) for moment in moments]
    assert sorted(texts) == [microseconds_text(moment) for moment in sorted(moments)]
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}Z", text) for text in texts)


@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30)), st.integers(-1439, 1439))  # noqa: DTZ001
@settings(max_examples=100, deadline=None)
def test_any_zone_gives_the_same_instant(naive: datetime, minutes: int) -> None:
    """A moment in a far zone is stored as its UTC instant."""
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert from_microseconds(to_microseconds(moment)) == moment


@given(st.lists(NEAR | MOMENTS, max_size=30))
@settings(max_examples=100, deadline=None)
def test_a_text_clock_says_what_microseconds_text_says(moments: list[int]) -> None:
    """Its memory of the last second never leaks into another one."""
    clock = TextClock()
    assert [clock(moment) for moment in moments] == [microseconds_text(moment) for moment in moments]


def test_a_text_clock_begins_right_in_the_first_second_of_1970() -> None:
    """Second 0 is not mistaken for "nothing remembered yet"."""
    clock = TextClock()
    assert clock(1) == "1970-01-01 00:00:00.000001Z"
    assert clock(0) == "1970-01-01 00:00:00.000000Z"


def test_text_compares_rightly_with_sqlites_own_time() -> None:
    """`timestamp >= datetime('now', '-7 days')` includes exactly what is younger than seven days."""
    connection = sqlite3.connect(":memory:")
    try:
        (edge,) = connection.execute("SELECT datetime('2026-11-23 18:00:00', '-7 days')").fetchone()
    finally:
        connection.close()
    at = to_microseconds(datetime(2026, 11, 16, 18, tzinfo=UTC))
    texts = [microseconds_text(at - 1), edge, microseconds_text(at), microseconds_text(at + 1)]
    assert all(before < after for before, after in pairwise(texts))


def test_the_last_microsecond_is_that_of_the_year_9999() -> None:
    """The bound is the last moment that text and datetime can hold."""
    assert microseconds_text(MAX_MICROSECONDS) == "9999-12-31 23:59:59.999999Z"
    assert from_microseconds(MAX_MICROSECONDS) == datetime.max.replace(tzinfo=UTC)
