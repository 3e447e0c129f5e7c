"""Times in tables, on the clock of the zone that was asked for."""

from datetime import UTC
from zoneinfo import ZoneInfo

import pytest

from llm_service.cli.tables import Column
from llm_service.cli.times import in_zone, shown_time, zone_label


@pytest.mark.parametrize(
    ("zone", "shown"),
    [
        ("America/Los_Angeles", "2026-11-23 10:30:05"),
        ("Asia/Kathmandu", "2026-11-24 00:15:05"),
        ("UTC", "2026-11-23 18:30:05"),
    ],
)
def test_a_stored_time_is_shown_on_the_clock_of_the_zone(zone: str, shown: str) -> None:
    """To the second, or to the minute."""
    assert shown_time("2026-11-23 18:30:05.999999Z", ZoneInfo(zone)) == shown
    assert shown_time("2026-11-23T18:30:05", ZoneInfo(zone), "minutes") == shown[:16]


@pytest.mark.parametrize("text", ["", "soon", "9999-12-31 23:59:59Z"])
def test_what_is_no_time_there_is_shown_as_it_is(text: str) -> None:
    """A report of a damaged file does not fail."""
    assert shown_time(text, ZoneInfo("Asia/Tokyo")) == text[:19]


def test_a_column_of_a_time_has_the_zone_in_its_heading_and_others_stay_as_they_are() -> None:
    """The city alone, which is not wider than a time."""
    columns = in_zone([Column("began", rank=2, moment="at"), Column("calls")], ZoneInfo("America/Los_Angeles"))
    assert [column.name for column in columns] == ["began (Los_Angeles)", "calls"]
    assert (columns[0].of({"at": "2026-11-23 18:30:05.9Z"}), columns[0].rank, columns[0].whole) == (
        "2026-11-23 10:30:05",
        2,
        True,
    )
    assert zone_label(UTC) == "UTC"
