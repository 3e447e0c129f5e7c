"""The long runs do what they say, for seconds: faults happen, counts agree, verdicts follow."""

import sys

import pytest
from benchmarks import overload, soak
from benchmarks._long import slope

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="they read /proc")


def test_a_slope_is_that_of_the_line_through_the_points() -> None:
    """Flat, rising, and without any extent."""
    assert slope([(0.0, 5.0), (1.0, 5.0), (2.0, 5.0)]) == 0.0
    assert slope([(0.0, 1.0), (1.0, 3.0), (2.0, 5.0)]) == pytest.approx(2.0)
    assert slope([(1.0, 1.0)]) == 0.0
    assert slope([]) == 0.0


def test_an_overload_is_counted_exactly_under_each_policy() -> None:
    """A second of each: its own checks compare ledger, callers and file."""
    report = overload.run(1.0)
    exact = [row for row in report.rows if "ledger less file" in row.what or "bytes queued" in row.what]
    assert len(exact) == 6
    assert {row.verdict for row in exact} == {"met"}


def test_a_soak_of_one_round_loses_and_doubles_nothing() -> None:
    """Every kind of fault in a few seconds; times and slopes are for the long run."""
    report = soak.run(8.0, seed=3)
    exact = [row for row in report.rows if row.bar is not None and row.bar.limit == 0.0]
    assert len(exact) == 5
    assert {row.verdict for row in exact} == {"met"}
    assert "faults: " in report.notes[0]
