"""Units and days out of UTC timestamps, beside `zoneinfo`: in any zone, at its changes of clocks."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.telemetry.queries.local_periods import (
    DAY,
    PERIODS,
    UNITS,
    Cut,
    cut_into_days,
    cut_into_units,
    moment_of,
    period_of,
    unit_of,
)

FIRST = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def cells(cut: Cut, moments: list[datetime]) -> list[datetime | None]:
    """What SQLite makes of timestamps of these moments."""
    with closing(sqlite3.connect(":memory:")) as db:
        texts = [f"{moment:%Y-%m-%d %H:%M:%S.%fZ}" for moment in moments]
        return [
            cut.moment(db.execute(f"SELECT {cut.sql} FROM (SELECT ? AS timestamp)", [text]).fetchone()[0])
            for text in texts
        ]


@pytest.mark.parametrize(
    ("zone", "unit"),
    [
        ("UTC", DAY),
        ("Africa/Abidjan", DAY),
        ("America/New_York", 3600),
        ("Asia/Kathmandu", 900),
        ("Asia/Kolkata", 900),
        ("Australia/Lord_Howe", 900),
    ],
)
def test_the_unit_is_the_coarsest_that_a_year_of_the_zone_allows(zone: str, unit: int) -> None:
    """Whole hours in most zones."""
    assert unit_of(ZoneInfo(zone), FIRST, FIRST + YEAR) == unit


@pytest.mark.parametrize(("zone", "year", "unit"), [("America/St_Johns", 2010, 60), ("Africa/Monrovia", 1971, 1)])
def test_a_clock_changed_a_minute_after_midnight_and_one_of_odd_seconds_have_finer_units(
    zone: str, year: int, unit: int
) -> None:
    """Whatever the database has."""
    start = datetime(year, 1, 1, tzinfo=UTC)
    assert unit_of(ZoneInfo(zone), start, start + YEAR) == unit


def test_within_a_range_of_the_winter_alone_london_shows_utc() -> None:
    """So its days are those of the daily totals."""
    assert unit_of(ZoneInfo("Europe/London"), FIRST, FIRST + timedelta(days=30)) == DAY
    assert unit_of(ZoneInfo("Europe/London"), FIRST, FIRST + YEAR) == 3600


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(available_timezones())),
    st.integers(2012, 2035),
    st.lists(st.integers(0, 365 * 86_400_000_000 - 1), min_size=1, max_size=20),
)
def test_a_period_is_that_of_zoneinfo_in_any_zone(zone: str, year: int, microseconds: list[int]) -> None:
    """By units, as hours are cut, and by the beginnings of days."""
    start, info = datetime(year, 1, 1, tzinfo=UTC), ZoneInfo(zone)
    moments = [start + timedelta(microseconds=one) for one in microseconds]
    unit = unit_of(info, start, start + YEAR)
    by_units = cells(cut_into_units(min(unit, 3600)), moments)
    days = cut_into_days(info, start, start + YEAR)
    assert days is not None
    for name in PERIODS:
        expected = [period_of(moment, name, info) for moment in moments]
        assert [period_of(cell, name, info) for cell in by_units] == expected
        if name != "hour":
            assert [period_of(cell, name, info) for cell in cells(days, moments)] == expected


@pytest.mark.parametrize("zone", ["Pacific/Apia", "America/Havana", "Africa/Cairo"])
def test_a_day_that_a_zone_skips_or_begins_late_is_none_of_its_days(zone: str) -> None:
    """Samoa had no 30th of December 2011; in Havana and Cairo clocks go forward at midnight."""
    for year in (2011, 2024):
        start, info = datetime(year, 1, 1, tzinfo=UTC), ZoneInfo(zone)
        days = cut_into_days(info, start, start + YEAR)
        assert days is not None
        moments = [start + timedelta(hours=n) for n in range(365 * 24)]
        found = [period_of(cell, "day", info) for cell in cells(days, moments)]
        assert found == [moment.astimezone(info).date().isoformat() for moment in moments]


def test_what_is_no_moment_has_no_period() -> None:
    """Timestamps that no writer wrote, of any length and type, and moments beyond the calendar."""
    with closing(sqlite3.connect(":memory:")) as db:
        days = cut_into_days(ZoneInfo("Asia/Tokyo"), FIRST, FIRST + YEAR)
        assert days is not None
        for cut in (days, *map(cut_into_units, UNITS)):
            for odd in ("yesterday", "", None, 5, "2026-99-99 99:99:99"):
                (cell,) = db.execute(f"SELECT {cut.sql} FROM (SELECT ? AS timestamp)", [odd]).fetchone()
                assert period_of(cut.moment(cell), "day", UTC) in (None, "2026-12-31")
    assert period_of(datetime(9999, 12, 31, 23, tzinfo=UTC), "day", ZoneInfo("Asia/Tokyo")) is None
    assert cut_into_days(ZoneInfo("Asia/Tokyo"), FIRST, datetime(9999, 1, 1, tzinfo=UTC)) is None
    assert moment_of("2026-11-23 14") == datetime(2026, 11, 23, 14, tzinfo=UTC)
