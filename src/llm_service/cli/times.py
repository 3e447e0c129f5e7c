"""Times in tables: as the clock of the zone that was asked for shows them, under its name."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, tzinfo

from llm_service.cli.tables import Column, Row
from llm_service.config.time_zones import zone_name

__all__ = ["in_zone", "shown_time", "zone_label"]


def shown_time(timestamp: object, zone: tzinfo, exactness: str = "seconds") -> str:
    """A stored UTC time (`2026-11-23 18:30:00.000000Z`) on the clock of a zone; as it is, where it is none."""
    text = str(timestamp)
    try:
        moment = datetime.fromisoformat(text)
        local = (moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment).astimezone(zone)
    except (ValueError, OverflowError):
        return text[:19]
    return local.replace(tzinfo=None, microsecond=0).isoformat(" ", exactness)


def zone_label(zone: tzinfo) -> str:
    """The zone in a heading: of `America/Los_Angeles` the city alone, which is not wider than a time."""
    return zone_name(zone).rpartition("/")[2]


def in_zone(columns: Sequence[Column], zone: tzinfo) -> list[Column]:
    """The columns, with those that show a time in this zone."""
    return [_in_zone(column, zone) if column.moment else column for column in columns]


def _in_zone(column: Column, zone: tzinfo) -> Column:
    def of(row: Row) -> str:
        return shown_time(row[column.moment], zone)

    return replace(column, name=f"{column.name} ({zone_label(zone)})", whole=True, of=of)
