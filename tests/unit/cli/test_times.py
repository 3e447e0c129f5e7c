"""Times as people type them."""

import contextlib
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.cli.options import TIME
from llm_service.cli.times import Moment, day_of, parse_time, start_of

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("2h", timedelta(hours=2)),
        ("90m", timedelta(minutes=90)),
        ("30d", timedelta(days=30)),
        ("1w", timedelta(weeks=1)),
        ("45s", timedelta(seconds=45)),
        ("1h30m", timedelta(minutes=90)),
        ("1d1d", timedelta(days=2)),
        ("0s", timedelta()),
    ],
)
def test_a_duration_counts_back_from_now(text: str, ago: timedelta) -> None:
    """Units may be combined; they add up."""
    assert parse_time(text, NOW) == NOW - ago


def test_a_duration_is_utc_wherever_now_was_taken() -> None:
    """So that its day is the UTC day."""
    local = NOW.astimezone(timezone(timedelta(hours=9)))
    assert parse_time("0s", local).isoformat() == NOW.isoformat()


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-23", date(2026, 11, 23)),
        ("2026-11-23T18:00:00Z", datetime(2026, 11, 23, 18, tzinfo=UTC)),
        ("2026-11-23 18:00", datetime(2026, 11, 23, 18, tzinfo=UTC)),
        ("2026-11-23T18:00+02:00", datetime(2026, 11, 23, 16, tzinfo=UTC)),
        ("2026-11-23 18:00:00.123456Z", datetime(2026, 11, 23, 18, 0, 0, 123456, tzinfo=UTC)),
    ],
)
def test_a_day_is_a_day_and_a_moment_is_utc(text: str, meant: Moment) -> None:
    """What our own tables print is read back as what it was."""
    found = parse_time(text, NOW)
    assert (found, type(found)) == (meant, type(meant))


@pytest.mark.parametrize(
    "text",
    ["", "2", "h", "2 h", "-2h", "2y", "2H", "yesterday", "2026-13-01", "999999999w", "٢h", "0001-01-01T00:00+05:00"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """Not guessed."""
    with pytest.raises(ValueError, match=r"."):
        parse_time(text, NOW)


@given(st.text(max_size=12))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    """No other exception reaches the command line."""
    with contextlib.suppress(ValueError):
        assert isinstance(parse_time(text, NOW), date)


def test_a_moment_has_a_day_and_a_day_has_a_beginning() -> None:
    """Both in UTC; nothing stays nothing."""
    west = datetime(2026, 11, 23, 20, tzinfo=timezone(timedelta(hours=-5)))
    assert day_of(west) == date(2026, 11, 24)
    assert day_of(date(2026, 11, 23)) == date(2026, 11, 23)
    assert day_of(None) is None
    assert start_of(date(2026, 11, 23)) == datetime(2026, 11, 23, tzinfo=UTC)
    assert start_of(NOW) is NOW


@pytest.mark.parametrize("moment", [NOW, NOW.date()])
def test_a_time_that_was_read_already_stays_what_it_is(moment: Moment) -> None:
    """Click may convert a value twice."""
    assert TIME.convert(moment, None, None) is moment
