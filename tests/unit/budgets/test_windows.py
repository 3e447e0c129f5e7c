"""Windows of time: each moment has one key, keys follow one another without a gap, whatever the clocks do."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.budgets.windows import MICROSECONDS, Span, window_named
from llm_service.config.window_names import CALENDAR_WINDOWS as CALENDAR
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, from_microseconds, to_microseconds

ZONES = (
    "UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Asia/Kathmandu", "Australia/Lord_Howe",
    "Pacific/Chatham", "Pacific/Apia", "America/Havana", "America/Caracas", "America/Sao_Paulo", "Africa/Cairo",
    "America/Nuuk", "Asia/Pyongyang", "Pacific/Auckland", "Etc/GMT+12", "Pacific/Kiritimati",
)  # fmt: skip
FIRST = to_microseconds(datetime(1970, 1, 1, tzinfo=UTC))
CALENDAR_ONLY = tuple(name for name in CALENDAR if name != "total")


def at(text: str, zone: str = "UTC", *, fold: int = 0) -> int:
    """Microseconds of a moment of a clock."""
    return to_microseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold))


def hours(span: Span) -> float:
    """How long it is."""
    return (span.end - span.start) / MICROSECONDS / 3600


@pytest.mark.parametrize(
    ("window", "zone", "moment", "start", "end"),
    [
        ("day", "UTC", "2024-02-28 23:59", "2024-02-28", "2024-02-29"),
        ("day", "UTC", "2024-02-29 00:00", "2024-02-29", "2024-03-01"),
        ("month", "UTC", "2024-02-29 12:00", "2024-02-01", "2024-03-01"),
        ("month", "UTC", "2023-02-28 12:00", "2023-02-01", "2023-03-01"),
        ("month", "UTC", "2100-02-28 12:00", "2100-02-01", "2100-03-01"),  # no leap year
        ("month", "UTC", "2026-12-31 23:59:59.999999", "2026-12-01", "2027-01-01"),
        ("month", "America/New_York", "2026-12-31 23:59", "2026-12-01", "2027-01-01"),
        ("week", "UTC", "2026-11-29 23:59", "2026-11-23", "2026-11-30"),  # a Sunday
        ("week", "UTC", "2026-11-30 00:00", "2026-11-30", "2026-12-07"),
        ("week", "UTC", "2027-01-01 00:00", "2026-12-28", "2027-01-04"),  # over the end of a year
        ("week", "Europe/Berlin", "2026-10-25 23:00", "2026-10-19", "2026-10-26"),  # the clocks go back that Sunday
        ("day", "Asia/Kolkata", "2026-11-26 00:10", "2026-11-26", "2026-11-27"),
        ("hour", "Asia/Kolkata", "2026-11-26 00:10", "2026-11-26 00:00", "2026-11-26 01:00"),
        ("hour", "Asia/Kathmandu", "2026-11-26 00:50", "2026-11-26 00:00", "2026-11-26 01:00"),
        ("hour", "UTC", "2026-11-26 23:59", "2026-11-26 23:00", "2026-11-27 00:00"),
        ("day", "Pacific/Apia", "2011-12-29 12:00", "2011-12-29", "2011-12-31"),  # there was no 30 December
        ("day", "Pacific/Apia", "2011-12-31 00:00", "2011-12-31", "2012-01-01"),
        ("day", "Africa/Cairo", "2024-04-26 12:00", "2024-04-26 01:00", "2024-04-27"),  # midnight was left out
    ],
)
def test_a_window_of_the_calendar_begins_and_ends_where_its_zone_says(
    window: str, zone: str, moment: str, start: str, end: str
) -> None:
    """Times are those of the zone's clock."""
    span = window_named(window).span(at(moment, zone), zone)
    assert span == (at(start, zone), at(end, zone))


@pytest.mark.parametrize(
    ("zone", "day", "length"),
    [
        ("Europe/Berlin", "2026-03-29", 23), ("Europe/Berlin", "2026-10-25", 25), ("Europe/Berlin", "2026-11-26", 24),
        ("America/New_York", "2026-03-08", 23), ("America/New_York", "2026-11-01", 25),
        ("Australia/Lord_Howe", "2026-04-05", 24.5), ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("America/Havana", "2026-11-01", 25),
    ],
)  # fmt: skip
def test_a_day_on_which_the_clock_is_put_is_as_long_as_it_is(zone: str, day: str, length: float) -> None:
    """And begins at the first of two midnights."""
    span = window_named("day").span(at(f"{day} 12:00", zone), zone)
    assert span.start == at(day, zone)
    assert hours(span) == length


@pytest.mark.parametrize(
    ("zone", "hour"), [("Europe/Berlin", "2026-10-25 02:30"), ("America/New_York", "2026-11-01 01:30")]
)
def test_an_hour_that_comes_twice_has_two_keys(zone: str, hour: str) -> None:
    """What was spent in the first does not count in the second."""
    window = window_named("hour")
    first, second = (window.span(at(hour, zone, fold=fold), zone) for fold in (0, 1))
    assert first.end == second.start
    assert hours(first) == hours(second) == 1


def test_an_hour_is_cut_where_the_clock_is_put_by_half_an_hour() -> None:
    """On Lord Howe Island: so each moment still has one key."""
    window, zone = window_named("hour"), "Australia/Lord_Howe"
    put_back = at("2026-04-05 01:30", zone, fold=1)
    assert window.span(put_back - 1, zone) == (put_back - 3600 * MICROSECONDS, put_back)
    assert window.span(put_back, zone) == (put_back, put_back + 1800 * MICROSECONDS)
    forward = at("2026-10-04 02:30", zone)
    assert window.span(forward - 1, zone).end == forward
    assert window.span(forward, zone) == (forward, forward + 1800 * MICROSECONDS)


@pytest.mark.parametrize(
    ("zone", "put", "before", "after"),
    [("America/Caracas", "2016-05-01 02:30", 30, 0), ("Asia/Pyongyang", "2018-05-04 23:30", 30, 60)],
)
def test_an_hour_is_cut_where_the_clock_is_put_within_it(zone: str, put: str, before: int, after: int) -> None:
    """Zones have changed by half an hour, at half past."""
    window, minute = window_named("hour"), 60 * MICROSECONDS
    moment = at(put, zone)
    assert window.span(moment - 1, zone) == (moment - before * minute, moment)
    assert window.span(moment - before * minute, zone).end == moment
    assert window.span(moment, zone) == (moment, moment + (after or 60) * minute)


@pytest.mark.parametrize("name", CALENDAR)
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("moment", [0, MAX_MICROSECONDS, at("9999-10-31 23:59"), at("9999-11-01"), at("9999-12-31")])
def test_the_first_and_the_last_moment_of_a_record_have_a_key(name: str, zone: str, moment: int) -> None:
    """A record that a wrong clock dated must not stop the writer."""
    span = window_named(name).span(moment, zone)
    assert span.start <= moment < span.end
    assert from_microseconds(span.start)


@given(
    name=st.sampled_from([*CALENDAR, "90m", "1m", "24h", "7d", "366d"]),
    zone=st.sampled_from(ZONES),
    moment=st.one_of(
        st.integers(at("2012-01-01"), at("2037-12-31")),
        st.datetimes(datetime(2012, 1, 1), datetime(2037, 12, 31)).map(  # noqa: DTZ001 - wall times, made aware below
            lambda moment: to_microseconds(moment.replace(minute=0, second=0, microsecond=0, tzinfo=UTC))
        ),
    ),
)
def test_a_key_contains_its_moment_and_keys_tile_time(name: str, zone: str, moment: int) -> None:
    """Every moment of a key has that key, and the moment after its end has the next."""
    window = window_named(name)
    span = window.span(moment, zone)
    assert span.start <= moment < span.end
    for inside in (span.start, (span.start + span.end) // 2, span.end - 1):
        assert window.span(inside, zone) == span
    if name != "total":
        assert window.span(span.end, zone).start == span.end
        assert window.span(span.start - 1, zone).end == span.start


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("name", CALENDAR_ONLY)
def test_the_keys_of_years_follow_one_another(zone: str, name: str) -> None:
    """Walked from one to the next; hours around each change of the clock."""
    window = window_named(name)
    moment, end = at("2011-06-01"), at("2017-01-01" if name != "hour" else "2011-07-10")
    while moment < end:
        span = window.span(moment, zone)
        assert span.start <= moment < span.end
        moment = span.end
    assert window.span(moment - 1, zone).end == moment


@given(
    name=st.sampled_from(["1m", "2m", "59m", "61m", "90m", "1h", "24h", "7d", "30d", "366d"]),
    now=st.integers(at("2012-01-01"), at("2037-12-31")),
    zone=st.sampled_from(ZONES),
)
def test_a_rolling_window_is_never_shorter_than_it_says_and_at_most_a_sixtieth_longer(
    name: str, now: int, zone: str
) -> None:
    """Where the sixtieth is no whole number of seconds, a second more."""
    window = window_named(name)
    counted = now - window.counts_from(now, zone)
    length = window.seconds * MICROSECONDS
    assert length <= counted <= length + length // 60 + MICROSECONDS
    assert window.counts_from(now, zone) == window.span(window.counts_from(now, zone), zone).start
    assert window.is_rolling


@pytest.mark.parametrize("name", CALENDAR)
def test_a_window_of_the_calendar_counts_from_its_start(name: str) -> None:
    """It has one key."""
    now = at("2026-11-26 07:08")
    window = window_named(name)
    assert window.counts_from(now, "Europe/Berlin") == window.span(now, "Europe/Berlin").start
    assert not window.is_rolling


@pytest.mark.parametrize(
    "name", ["", "year", "0h", "00d", "24", "h", "24 h", "-1h", "1.5h", "1234567m", "Day", "24H", "٣h"]
)
def test_what_is_no_window_is_refused_by_name(name: str) -> None:
    """The error says what there is."""
    with pytest.raises(ValueError, match="is no window; use hour, day"):
        window_named(name)


def test_seconds_of_a_rolling_window() -> None:
    """Minutes, hours, days."""
    assert [window_named(name).seconds for name in ("90m", "24h", "7d")] == [5400, 86_400, 604_800]
    assert timedelta(microseconds=window_named("24h").slice_us) == timedelta(minutes=24)
    assert window_named("1m").slice_us == MICROSECONDS
