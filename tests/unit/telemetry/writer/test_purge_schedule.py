"""What is too old, whether the clock is believed, who may purge, and when a step may come: functions of values."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.config.settings import Settings
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds
from llm_service.telemetry.stores.retention import (
    LEAP,
    LEASE,
    STANDS,
    Belief,
    Cutoffs,
    believe,
    day_of,
    kept_since,
    lease_until,
    may_hold,
    moment_of,
)
from llm_service.telemetry.writer.schedule import Action, Backlog, Do, next_action, purge_may_go

HOUR = 3_600_000_000
DAY = 24 * HOUR
NOON = to_microseconds(datetime(2026, 11, 24, 12, tzinfo=UTC))
SETTINGS = Settings(db_path=Path("/nowhere/t.db"))
MOMENTS = st.integers(0, MAX_MICROSECONDS)


# Days


@pytest.mark.parametrize(
    ("days", "day"),
    [(0, "2026-11-24"), (0.4, "2026-11-24"), (0.5, "2026-11-24"), (0.6, "2026-11-23"), (1, "2026-11-23"),
     (30, "2026-10-25"), (30.5, "2026-10-25"), (36_500, "1970-01-01")],
)  # fmt: skip
def test_the_day_that_holds_the_cut_off_is_kept_whole(days: float, day: str) -> None:
    """Counted at noon; what would lie before 1970 counts from there."""
    assert kept_since(NOON, days) == day


@given(now=MOMENTS, days=st.integers(0, 36_500), moment=MOMENTS)
def test_a_record_is_kept_for_at_least_its_days_and_for_less_than_one_more(now: int, days: int, moment: int) -> None:
    """Only whole UTC days go, whatever the time of day."""
    kept = microseconds_text(moment) >= kept_since(now, days)
    if moment >= now - days * DAY:
        assert kept
    elif moment < now - (days + 1) * DAY:
        assert not kept
    assert kept == (day_of(moment) >= kept_since(now, days))


@given(st.integers(-(2**70), 2**70))
def test_a_day_is_found_for_any_clock(moment: int) -> None:
    """A clock before 1970 or after 9999 raises nothing."""
    assert "1970-01-01" <= day_of(moment) <= "9999-12-31"


def test_settings_say_what_is_kept() -> None:
    """None keeps all; contents may go sooner."""
    assert Cutoffs.at(NOON, SETTINGS) == ("2026-10-25", None)
    short = Settings(db_path=SETTINGS.db_path, retention_days=None, content_retention_days=1)
    assert Cutoffs.at(NOON, short) == (None, "2026-11-23")


# The clock


def test_a_clock_that_goes_on_is_believed_at_once() -> None:
    """From look to look, also once a day, and when it is set back."""
    for later in (0, HOUR, DAY, LEAP, -10 * 365 * DAY):
        assert believe(Belief(NOON), NOON + later) == Belief(NOON + later)


def test_a_leap_deletes_nothing_until_the_clock_has_stood() -> None:
    """Hourly looks; after twenty hours it is believed."""
    leapt = NOON + 365 * DAY
    belief = believe(Belief(NOON), leapt)
    assert belief == Belief(NOON, leapt, leapt)
    assert belief.doubted
    for hour in range(1, 20):
        belief = believe(belief, leapt + hour * HOUR)
        assert (belief.until, belief.doubted) == (NOON, True)
    assert believe(belief, leapt + STANDS) == Belief(leapt + STANDS)


def test_a_leap_that_is_put_right_is_forgotten() -> None:
    """As if nothing had happened."""
    assert believe(believe(Belief(NOON), NOON + 365 * DAY), NOON + HOUR) == Belief(NOON + HOUR)


def test_a_doubted_clock_that_goes_back_a_little_has_to_stand_anew() -> None:
    """Only what was shown all the time is confirmed."""
    doubted = Belief(NOON, NOON + 100 * DAY, NOON + 101 * DAY)
    assert believe(doubted, NOON + 50 * DAY) == Belief(NOON, NOON + 50 * DAY, NOON + 50 * DAY)


def test_a_file_that_is_used_once_a_month_is_purged_a_month_late() -> None:
    """Each use confirms what the clock showed at the one before."""
    belief = Belief(NOON)
    for month in range(1, 6):
        belief = believe(belief, NOON + 30 * month * DAY)
        assert belief.until == NOON + 30 * (month - 1) * DAY


def test_where_nothing_is_known_the_clock_has_to_stand() -> None:
    """And then counts."""
    belief = believe(Belief(None), NOON)
    assert belief == Belief(None, NOON, NOON)
    assert believe(belief, NOON + STANDS) == Belief(NOON + STANDS)


@given(
    looks=st.lists(st.integers(0, HOUR), min_size=1, max_size=60),
    leap=st.integers(LEAP + 1, 1000 * DAY),
    position=st.integers(0, 40),
)
def test_a_leap_of_less_than_a_day_never_moves_a_cut_off_ahead(looks: list[int], leap: int, position: int) -> None:
    """However it falls among the looks, days are counted from no moment that was not true."""
    true, belief, began = NOON, Belief(NOON), None
    for number, pause in enumerate(looks):
        true += pause
        wrong = number >= position and (began is None or true - began < STANDS)
        if wrong and began is None:
            began = true
        belief = believe(belief, true + leap if wrong else true)
        assert belief.until is not None
        assert belief.until <= true


# The lease


def test_a_lease_is_held_by_one_until_it_is_silent() -> None:
    """The holder goes on; another waits for its end."""
    until = lease_until(NOON)
    assert may_hold(None, None, "me", NOON)
    assert may_hold("me", until, "me", NOON)
    assert not may_hold("other", until, "me", NOON)
    assert not may_hold("other", until, "me", NOON + LEASE)
    assert may_hold("other", until, "me", NOON + LEASE + 1)


@pytest.mark.parametrize("until", [None, "soon", "2026-11-24 12:00:00", 7, microseconds_text(NOON + 365 * DAY)])
def test_a_lease_that_cannot_be_is_nobodys(until: str | None) -> None:
    """Not written by us, or under a clock that was far ahead: it does not stop retention for years."""
    assert may_hold("other", until, "me", NOON)


def test_a_stored_moment_is_read_back() -> None:
    """To the microsecond."""
    assert moment_of(microseconds_text(NOON + 1)) == NOON + 1


# When a step may come


def backlog(records: int = 0, *, urgent: bool = False, age: float = 0.0) -> Backlog:
    """What waits."""
    return Backlog(records, records * 100, age, urgent)


def act(waiting: Backlog, *, closing: bool = False, tidy_in: float | None = None, purge_in: float | None) -> Action:
    """The next action with default settings."""
    return next_action(waiting, SETTINGS, closing=closing, tidy_in=tidy_in, purge_in=purge_in)


def test_an_idle_driver_purges_before_it_tidies_and_sleeps_until_the_next_step() -> None:
    """And without retention it sleeps as ever."""
    assert act(backlog(), purge_in=0.0).do is Do.PURGE
    assert act(backlog(), purge_in=-5.0, tidy_in=-1.0).do is Do.PURGE
    assert act(backlog(), purge_in=0.5, tidy_in=2.0) == Action(Do.SLEEP, 0.5)
    assert act(backlog(), purge_in=5.0, tidy_in=2.0) == Action(Do.SLEEP, 2.0)
    assert act(backlog(), purge_in=5.0, tidy_in=0.0).do is Do.TIDY
    assert act(backlog(), purge_in=None) == Action(Do.SLEEP)


def test_a_step_comes_while_records_wait_for_their_interval() -> None:
    """5,000 records/s never idle for long."""
    assert act(backlog(10), purge_in=0.0).do is Do.PURGE
    assert act(backlog(10), purge_in=0.05) == Action(Do.SLEEP, 0.05, 256)
    assert act(backlog(10), purge_in=None) == Action(Do.SLEEP, 0.2, 256)


def test_a_commit_that_is_due_comes_first() -> None:
    """A full batch, an old record, somebody who waits, a close."""
    for waiting in (backlog(256), backlog(1, age=0.3), backlog(1, urgent=True)):
        assert act(waiting, purge_in=0.0).do is Do.COMMIT
    assert act(backlog(1), closing=True, purge_in=-100.0).do is Do.COMMIT
    assert act(backlog(), closing=True, purge_in=-100.0).do is Do.FINISH


def test_a_step_is_not_put_off_for_ever() -> None:
    """Behind a backlog it waits a tenth of a second, behind waiters a quarter."""
    assert act(backlog(256), purge_in=-0.1).do is Do.PURGE
    assert act(backlog(256, urgent=True), purge_in=-0.2).do is Do.COMMIT
    assert act(backlog(256, urgent=True), purge_in=-0.25).do is Do.PURGE
    assert not purge_may_go(backlog(), None)


def test_days_of_a_datetime_agree_with_the_calendar() -> None:
    """The text of a day is the date's own."""
    assert kept_since(NOON, 24) == (datetime(2026, 11, 24, tzinfo=UTC) - timedelta(days=24)).date().isoformat()
