"""Ranges of time as people say them, against the time zone database itself."""

import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.telemetry.queries.time_range import WORDS, TimeRange, day_of, day_start, time_range

NOW: Final = datetime(2026, 11, 25, 18, 30, tzinfo=UTC)
"""A Wednesday."""
ZONES: Final = (
    "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Pacific/Apia", "America/Los_Angeles",
    "America/Sao_Paulo", "Asia/Beirut", "America/St_Johns", "America/Toronto", "Africa/Monrovia", "UTC",
)  # fmt: skip
MOMENTS: Final = st.integers(-2_208_900_000, 4_100_000_000).map(lambda second: datetime.fromtimestamp(second, UTC))
"""From 1900 to 2099."""
ZONE: Final = st.sampled_from([ZoneInfo(name) for name in ZONES])
SECOND: Final = timedelta(seconds=1)
DAY: Final = timedelta(days=1)


def utc(text: str) -> datetime:
    """A moment."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def both(text: object, zone: str | tzinfo | None = None, now: datetime = NOW) -> TimeRange:
    """What it is as both ends."""
    return time_range(text, text, time_zone=zone, now=now)


@pytest.mark.parametrize(
    ("said", "start", "end"),
    [
        ("today", "2026-11-25", "2026-11-26"),
        ("yesterday", "2026-11-24", "2026-11-25"),
        ("this-week", "2026-11-23", "2026-11-30"),
        ("last-week", "2026-11-16", "2026-11-23"),
        ("this-month", "2026-11-01", "2026-12-01"),
        ("last-month", "2026-10-01", "2026-11-01"),
        ("this-year", "2026-01-01", "2027-01-01"),
        ("last-year", "2025-01-01", "2026-01-01"),
        ("this-hour", "2026-11-25T18:00", "2026-11-25T19:00"),
        ("last-hour", "2026-11-25T17:00", "2026-11-25T18:00"),
        ("now", "2026-11-25T18:30", "2026-11-25T18:30"),
        ("24h", "2026-11-24T18:30", "2026-11-24T18:30"),
        ("1d", "2026-11-24T18:30", "2026-11-24T18:30"),
        ("1w", "2026-11-18T18:30", "2026-11-18T18:30"),
        ("1h30m", "2026-11-25T17:00", "2026-11-25T17:00"),
        ("1d1d45s", "2026-11-23T18:29:15", "2026-11-23T18:29:15"),
        ("0s", "2026-11-25T18:30", "2026-11-25T18:30"),
        ("2026-11-23", "2026-11-23", "2026-11-24"),
        ("20261123", "2026-11-23", "2026-11-24"),
        ("2026-W48-1", "2026-11-23", "2026-11-24"),
        ("2026-W48", "2026-11-23", "2026-11-30"),
        ("2026-12", "2026-12-01", "2027-01-01"),
        ("2024", "2024-01-01", "2025-01-01"),
        (date(2026, 11, 23), "2026-11-23", "2026-11-24"),
        ("2026-11-23T18:00", "2026-11-23T18:00", "2026-11-23T18:00"),
        ("2026-11-23 18:00:00.123456Z", "2026-11-23T18:00:00.123456", "2026-11-23T18:00:00.123456"),
        ("2026-11-23T18:00+02:00", "2026-11-23T16:00", "2026-11-23T16:00"),
        (datetime(2026, 11, 23, 18, tzinfo=timezone(timedelta(hours=-5))), "2026-11-23T23:00", "2026-11-23T23:00"),
    ],
)
def test_a_period_begins_as_since_and_ends_as_until_and_a_moment_is_the_same(said: Any, start: str, end: str) -> None:
    """The whole table, in UTC."""
    assert both(said) == TimeRange(utc(start), utc(end), UTC)


def test_every_word_is_in_the_table_above() -> None:
    """A word that nobody tried is not there."""
    marks = test_a_period_begins_as_since_and_ends_as_until_and_a_moment_is_the_same.pytestmark  # type: ignore[attr-defined]
    assert set(WORDS) <= {said for said, _, _ in marks[0].args[1]}


def test_what_is_not_given_is_open() -> None:
    """At either end."""
    assert time_range(now=NOW) == TimeRange(None, None, UTC)
    assert time_range("yesterday", now=NOW).end is None
    assert time_range(None, "yesterday", now=NOW) == TimeRange(None, utc("2026-11-25"), UTC)
    assert both("9999-12-31").end is None


def test_a_text_without_an_offset_is_of_the_zone_and_a_naive_datetime_of_this_machine() -> None:
    """As Python itself takes one."""
    moment = datetime(2026, 11, 23, 18)  # noqa: DTZ001 - naive on purpose
    assert both("2026-11-23T18:00", "Asia/Kathmandu").start == utc("2026-11-23T12:15")
    assert both(moment, "Asia/Kathmandu").start == moment.astimezone(UTC)


def test_a_naive_datetime_follows_the_clock_of_the_machine(tmp_path: Path) -> None:
    """Seen where that is not UTC."""
    code = (
        "from datetime import *; from llm_service.telemetry.queries.time_range import time_range;"
        "print(time_range(datetime(2026, 7, 1, 18), 'today', time_zone='local', now=datetime(2026, 7, 2, 5, tzinfo=UTC)))"
    )
    env = os.environ | {"TZ": "America/Los_Angeles"}
    found = subprocess.run(
        [sys.executable, "-c", code], env=env, cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert found.stdout == "from 2026-07-01 18:00 to 2026-07-02 00:00 (America/Los_Angeles)\n"


def test_a_day_is_24_hours_in_a_duration_and_as_long_as_it_is_in_the_calendar() -> None:
    """Clocks in New York were put back on 2026-11-01."""
    now = utc("2026-11-01T17:00")
    assert both("1d", "America/New_York", now) == both("24h", "America/New_York", now)
    assert both("1d", "America/New_York", now).start == now - timedelta(hours=24)
    today = both("today", "America/New_York", now)
    assert (today.start, today.end) == (utc("2026-11-01T04:00"), utc("2026-11-02T05:00"))


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("America/Sao_Paulo", date(2018, 11, 4), "2018-11-04T03:00", 23),  # there was no midnight
        ("Asia/Beirut", date(2022, 3, 27), "2022-03-26T22:00", 23),  # nor here
        ("America/Sao_Paulo", date(2018, 2, 17), "2018-02-17T02:00", 25),  # 23:00 came twice
        ("America/Havana", date(2022, 11, 6), "2022-11-06T04:00", 25),  # midnight came twice
        ("America/Toronto", date(1919, 3, 31), "1919-03-31T04:30", 23.5),  # from 23:30 to 0:30
        ("Pacific/Apia", date(2011, 12, 29), "2011-12-29T10:00", 24),
        ("Pacific/Apia", date(2011, 12, 30), "2011-12-30T10:00", 0),  # a day that was not
        ("Pacific/Apia", date(2011, 12, 31), "2011-12-30T10:00", 24),
        ("Australia/Lord_Howe", date(2026, 10, 4), "2026-10-03T13:30", 23.5),
        ("Asia/Kathmandu", date(2026, 11, 23), "2026-11-22T18:15", 24),
    ],
)
def test_a_day_begins_where_its_midnight_is_or_would_be(zone: str, day: date, start: str, hours: float) -> None:
    """And ends where the next one begins."""
    found = both(day, zone)
    assert found.start == utc(start)
    assert found.end == utc(start) + timedelta(hours=hours)


@given(MOMENTS, ZONE)
def test_a_day_holds_all_moments_that_its_calendar_shows(moment: datetime, zone: ZoneInfo) -> None:
    """From its first second on: before that, the calendar on the wall shows an earlier day.

    Where midnight comes twice, what lies between is shown as the day before, and belongs to the later one.
    """
    shown, day = moment.astimezone(zone).date(), day_of(moment, zone)
    assert day_start(day, zone) <= moment < day_start(day + DAY, zone)
    assert day == shown or (day == shown + DAY and (moment - DAY / 12).astimezone(zone).date() < day)
    assert day_start(day, zone).astimezone(zone).date() >= day
    assert (day_start(day, zone) - SECOND).astimezone(zone).date() < day


@given(MOMENTS, ZONE)
def test_days_follow_each_other_without_a_gap_and_none_is_longer_than_two(moment: datetime, zone: ZoneInfo) -> None:
    """Every call is in one day."""
    found = both("today", zone, moment)
    before = both("yesterday", zone, moment)
    assert before.end == found.start is not None
    assert found.start is not None
    assert found.end is not None
    assert timedelta() <= found.end - found.start <= timedelta(hours=49)


@given(MOMENTS, ZONE, st.sampled_from([word for word in WORDS if word != "now"]))
def test_a_period_that_is_now_holds_now_and_the_last_one_ends_where_it_begins(
    moment: datetime, zone: ZoneInfo, word: str
) -> None:
    """Of every word, in every zone."""
    found = both(word, zone, moment)
    assert found.start is not None
    assert found.end is not None
    assert found.start <= found.end
    if word.startswith("this-"):
        before = both(word.replace("this-", "last-"), zone, moment)
        assert before.end == found.start
        assert found.start <= moment < found.end


@given(MOMENTS, ZONE)
def test_a_week_begins_on_monday_and_months_and_years_on_their_first(moment: datetime, zone: ZoneInfo) -> None:
    """By the zone's calendar."""
    today = day_of(moment, zone)
    monday = today - timedelta(days=today.weekday())
    assert both("this-week", zone, moment).start == day_start(monday, zone)
    assert both("this-month", zone, moment).start == day_start(today.replace(day=1), zone)
    assert both("last-year", zone, moment).start == day_start(date(today.year - 1, 1, 1), zone)
    assert both(f"{today:%Y-%m}", zone, moment) == both("this-month", zone, moment)
    assert both("{}-W{:02}".format(*today.isocalendar()), zone, moment) == both("this-week", zone, moment)


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("yestrday", "did you mean yesterday?"),
        ("last month", "did you mean last-month?"),
        ("THIS_WEEK", "did you mean this-week?"),
        ("", "give one of now,"),
        ("-2h", "did you mean 2h?"),
        ("2H", "did you mean 2h?"),
        ("2y", "a duration"),
        ("٢h", "a duration"),
        ("2026-13-01", "a day such as 2026-11-23"),
        ("2026-W54", "a day"),
        ("2026-11-2", "a day"),
        (5, "give one of"),
        (True, "give one of"),
        ("999999999w", "it is outside of the years 1 to 9999"),
        ("0001-01-01T00:00+05:00", "it is outside of the years 1 to 9999"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))), "it is outside"),
    ],
)
def test_what_is_no_time_is_an_error_with_field_value_and_remedy(value: object, remedy: str) -> None:
    """Not guessed."""
    for field in ("since", "until"):
        with pytest.raises(QueryError, match=f"^{field}: ") as error:
            time_range(**{field: value}, now=NOW)  # type: ignore[arg-type]
        assert remedy in str(error.value)


def test_a_range_that_ends_before_it_begins_is_an_error() -> None:
    """Rather than an empty table."""
    with pytest.raises(
        QueryError, match="until: 'yesterday' is not usable; it ends before the range begins, 2026-11-25 00:00"
    ):
        time_range("today", "yesterday", now=NOW)
    assert time_range("now", "now", now=NOW).start == NOW


@given(st.text(max_size=12) | st.from_regex(r"\A[0-9TW:.Z+-]{1,24}\Z"), ZONE)
def test_any_text_is_a_range_or_a_query_error(text: str, zone: ZoneInfo) -> None:
    """Nothing else leaves it."""
    try:
        found = both(text, zone)
    except QueryError:
        return
    assert found.start is not None
    assert str(found)
    assert found.as_json()["since"].endswith("Z")


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
def test_the_first_and_the_last_day_of_all_are_days(zone: str) -> None:
    """Though their midnight lies beyond the calendar in one half of the world."""
    assert day_of(datetime.min.replace(tzinfo=UTC), ZoneInfo(zone)).year == 1
    assert day_of(datetime.max.replace(tzinfo=UTC), ZoneInfo(zone)).year == 9999
    assert day_start(date.min, ZoneInfo(zone)).year == 1
    assert day_start(date.max, ZoneInfo(zone)).year == 9999


def test_utc_by_any_of_its_names_is_utc() -> None:
    """Whose days the daily totals are of."""
    assert {
        id(time_range(time_zone=zone, now=NOW).zone) for zone in (None, "UTC", "Etc/UTC", ZoneInfo("UTC"), UTC)
    } == {id(UTC)}


def test_a_range_says_its_ends_in_its_zone_and_in_utc_as_json() -> None:
    """For people, and for programs."""
    found = time_range("yesterday", "1m", time_zone="America/Los_Angeles", now=NOW + SECOND)
    assert str(found) == "from 2026-11-24 00:00 to 2026-11-25 10:29:01 (America/Los_Angeles)"
    assert found.as_json() == {
        "since": "2026-11-24 08:00:00.000000Z",
        "until": "2026-11-25 18:29:01.000000Z",
        "time_zone": "America/Los_Angeles",
    }
    assert str(time_range("today", now=NOW)) == "from 2026-11-25 00:00 (UTC)"
    assert str(time_range(None, "today", now=NOW)) == "up to 2026-11-26 00:00 (UTC)"
    assert str(time_range(now=NOW)) == "all times (UTC)"


def test_an_unknown_zone_is_an_error_that_guesses() -> None:
    """By the whole name, or by the city."""
    for name, guess in (("Europe/Berln", "Europe/Berlin"), ("new york", "America/New_York")):
        with pytest.raises(QueryError, match=rf"^time_zone: '{name}' is not usable; did you mean {guess}\?"):
            time_range("today", time_zone=name, now=NOW)


class OddMoment(datetime):
    """A subclass that overrides what `datetime` does, as those of pandas and pendulum do."""

    def astimezone(self, tz: tzinfo | None = None) -> "OddMoment":  # noqa: ARG002
        """Not as `datetime` does it."""
        raise TypeError("cannot convert")


def test_a_subclass_of_datetime_is_the_moment_that_it_shows() -> None:
    """With a zone and without."""
    for zone in (None, UTC):
        shown = (2026, 11, 25, 18, 30, 1, 5, zone)
        assert both(OddMoment(*shown)) == both(datetime(*shown))  # noqa: DTZ001 - a naive one is local time


WRITTEN = {
    "weeks": ("w", "week", "weeks"), "days": ("d", "day", "days"), "hours": ("h", "hr", "hrs", "hour", "hours"),
    "minutes": ("m", "min", "mins", "minute", "minutes"), "seconds": ("s", "sec", "secs", "second", "seconds"),
}  # fmt: skip


@pytest.mark.parametrize("unit", WRITTEN)
def test_a_duration_may_be_written_in_words(unit: str) -> None:
    """With or without spaces, one after another; another case or sign is told what was meant."""
    at = NOW - timedelta(**{unit: 7})
    for word in WRITTEN[unit]:
        for text in (f"7{word}", f"7 {word}", f"7  {word} "):
            assert time_range(text, now=NOW).start == at
        assert time_range(f"7 {word}1 s", now=NOW).start == at - timedelta(seconds=1)
        for wrong in (f"-7{word}", f"last-7-{word}", f"7_{word}", f"7 {word} ago", f"7{word.title()}"):
            if wrong == "7M":  # months, perhaps
                continue
            with pytest.raises(QueryError, match=f"did you mean 7{word[0]}[?]"):
                time_range(wrong, now=NOW)


@pytest.mark.parametrize("text", ["2months", "1M", "7 dogs", "7 hats", "7mo"])
def test_what_is_no_unit_is_none(text: str) -> None:
    """Months are no fixed time."""
    with pytest.raises(QueryError, match="give one of"):
        time_range(text, now=NOW)


@pytest.mark.parametrize("text", ["2026/11/3", "2026.11.03", "2026/11/03"])
def test_a_day_with_slashes_is_told_how_it_is_written(text: str) -> None:
    """Year, month, day: there is no other way to read it."""
    with pytest.raises(QueryError, match=r"did you mean 2026-11-03\?"):
        time_range(text, now=NOW)
