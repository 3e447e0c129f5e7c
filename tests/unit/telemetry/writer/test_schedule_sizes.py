"""Decisions of the writer: when, how much, how long to pause."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.telemetry.writer.schedule import (
    Backlog,
    retry_delay,
    seconds_to_flush,
    slice_rows,
    transaction_rows,
)

BACKLOGS = st.builds(Backlog, st.integers(0, 10**6), st.integers(0, 10**9), st.floats(0, 1e6), st.booleans())


@pytest.mark.parametrize(
    ("backlog", "seconds"),
    [
        (Backlog(0, 0, 0.0, urgent=False), None),
        (Backlog(0, 0, 0.0, urgent=True), None),
        (Backlog(1, 100, 0.0, urgent=False), 0.2),
        (Backlog(1, 100, 0.15, urgent=False), pytest.approx(0.05)),
        (Backlog(1, 100, 0.2, urgent=False), 0.0),
        (Backlog(1, 100, 99.0, urgent=False), 0.0),
        (Backlog(1, 100, 0.0, urgent=True), 0.0),
        (Backlog(255, 100, 0.0, urgent=False), 0.2),
        (Backlog(256, 100, 0.0, urgent=False), 0.0),
        (Backlog(1, 499, 0.0, urgent=False), 0.2),
        (Backlog(1, 500, 0.0, urgent=False), 0.0),
    ],
)
def test_a_commit_waits_for_age_count_bytes_or_urgency(backlog: Backlog, seconds: float | None) -> None:
    """Whichever comes first: the interval's age, a full batch, half of the bytes, or someone who waits."""
    assert seconds_to_flush(backlog, flush_interval=0.2, batch_size=256, bytes_bound=1000) == seconds


@given(BACKLOGS)
def test_nobody_waits_beyond_the_interval(backlog: Backlog) -> None:
    """Promise 3, as arithmetic: the age at the commit is at most the interval, or the commit is now."""
    seconds = seconds_to_flush(backlog, flush_interval=0.2, batch_size=256, bytes_bound=10**6)
    if backlog.records == 0:
        assert seconds is None
    else:
        assert seconds is not None
        assert seconds == 0.0 or seconds + backlog.oldest_age <= 0.2 + 1e-9


@pytest.mark.parametrize(
    ("records", "urgent", "rows", "rows_of_a_slice"),
    [
        (1, False, 256, 25),
        (1023, True, 256, 25),
        (1024, False, 1024, 76),
        (1024, True, 1024, 76),
        (9999, True, 2048, 76),
    ],
)
def test_a_backlog_makes_transactions_and_slices_longer(
    records: int, urgent: bool, rows: int, rows_of_a_slice: int
) -> None:
    """Also for those who wait: their records stand behind the backlog."""
    backlog = Backlog(records, 1, 0.0, urgent=urgent)
    assert transaction_rows(backlog) == rows
    assert slice_rows(backlog) == rows_of_a_slice


def test_pauses_double_up_to_a_second() -> None:
    """From 10 ms, and never more than a second however long the file is locked."""
    assert [retry_delay(failures) for failures in range(1, 9)] == pytest.approx(
        [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.0]
    )
    assert retry_delay(10**9) == 1.0
