"""The long runs do what they say, for seconds: faults happen, counts agree, verdicts follow."""

import sys

import pytest
from benchmarks import overload, soak
from benchmarks._long import Lags, slope

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="they read /proc")]


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    """Flat, rising, and without any extent."""
    assert slope([(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]) == 0.0
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    assert slope([(1.0, 1.0)]) == 0.0
    assert slope([]) == 0.0


def test_lags_are_counted_in_steps_and_answer_by_nearest_rank() -> None:
    """Of 1 to 100 ms each percentile is itself, within a step; what is beyond a second counts as a second."""
    lags = Lags()
    assert lags.percentile(0.99) == 0.0
    for milliseconds in range(1, 101):
        lags.add(float(milliseconds))
    assert [lags.percentile(share) for share in (0.5, 0.99, 1.0)] == pytest.approx([50.01, 99.01, 100.01])
    lags.add(-1.0)
    lags.add(5000.0)
    assert [lags.percentile(share) for share in (0.0, 1.0)] == pytest.approx([0.01, 1000.01])


@pytest.mark.volume
def test_an_overload_is_counted_exactly_under_each_policy() -> None:
    """A second of each: its own checks compare ledger, callers and file."""
    report = overload.run(1.0)
    exact = [row for row in report.rows if "ledger less file" in row.what or "bytes queued" in row.what]
    assert len(exact) == 6
    assert {row.verdict for row in exact} == {"met"}


@pytest.mark.volume
def test_a_soak_of_one_round_loses_and_doubles_nothing() -> None:
    """Every kind of fault in a few seconds; times and slopes are for the long run."""
    report = soak.run(8.0, seed=3)
    exact = [row for row in report.rows if row.bar is not None and row.bar.limit == 0.0]
    assert len(exact) == 5
    assert {row.verdict for row in exact} == {"met"}
    assert "faults: " in report.notes[0]
