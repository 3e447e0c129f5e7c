"""Time zones by name, and the machine's own."""

import io
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from zoneinfo import TZPATH, ZoneInfo, available_timezones

import pytest

from llm_service.config import time_zones
from llm_service.config.time_zones import machine_zone, zone_name, zone_named

SUMMER = datetime(2026, 7, 1)  # noqa: DTZ001 - of any zone
WINTER = datetime(2026, 1, 1)  # noqa: DTZ001 - of any zone


def offsets(zone: tzinfo) -> list[float]:
    """In hours, in winter and in summer."""
    return [
        (moment.replace(tzinfo=zone).utcoffset() or timedelta()) / timedelta(hours=1) for moment in (WINTER, SUMMER)
    ]


@pytest.fixture
def etc(tmp_path: Path) -> Path:
    """An /etc without a zone."""
    return tmp_path


def data(name: str) -> Path:
    """The file of a zone, in a folder as the system's."""
    return next(path for folder in TZPATH if (path := Path(folder) / name).exists())


@pytest.mark.parametrize(
    ("given", "name", "hours"),
    [
        ("Europe/Berlin", "Europe/Berlin", [1, 2]),
        (":Europe/Berlin", "Europe/Berlin", [1, 2]),
        ("/usr/share/zoneinfo/Asia/Kathmandu", "Asia/Kathmandu", [5.75, 5.75]),
        ("UTC", "UTC", [0, 0]),
        ("Etc/UTC", "UTC", [0, 0]),
        ("JST-9", "JST-9", [9, 9]),
        ("PST8PDT,M3.2.0,M11.1.0", "PST8PDT,M3.2.0,M11.1.0", [-8, -7]),
    ],
)
def test_the_variable_tz_names_the_machines_zone(given: str, name: str, hours: list[float], etc: Path) -> None:
    """A name, a file, or a rule, as the C library takes it."""
    zone = machine_zone({"TZ": given}, etc)
    assert (zone_name(zone), offsets(zone)) == (name, hours)


@pytest.mark.parametrize("given", ["nonsense", "GARBAGE9x", "/no/such/file"])
def test_a_variable_tz_that_says_nothing_is_an_error_that_names_it(given: str, etc: Path) -> None:
    """Rather than another zone."""
    with pytest.raises(ValueError, match=f"the environment variable TZ is '{given}'; "):
        machine_zone({"TZ": given}, etc)


def test_without_it_the_link_in_etc_names_the_zone(etc: Path) -> None:
    """By its target."""
    (etc / "localtime").symlink_to("/usr/share/zoneinfo/America/Los_Angeles")
    assert zone_name(machine_zone({}, etc)) == "America/Los_Angeles"
    assert zone_name(machine_zone({"TZ": ""}, etc)) == "America/Los_Angeles"


def test_a_copy_in_etc_is_read_though_it_has_no_name(etc: Path) -> None:
    """Some installers copy the file."""
    (etc / "localtime").write_bytes(data("America/Los_Angeles").read_bytes())
    zone = machine_zone({}, etc)
    assert (zone_name(zone), offsets(zone)) == ("local", [-8, -7])


def test_a_machine_without_a_zone_has_utc(etc: Path) -> None:
    """So does one whose file is damaged."""
    assert machine_zone({}, etc) is UTC
    (etc / "localtime").write_bytes(b"TZif")
    assert machine_zone({}, etc) is UTC


def test_local_is_the_machines_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its name."""
    monkeypatch.setenv("TZ", "Asia/Kathmandu")
    assert zone_name(zone_named("local")) == "Asia/Kathmandu"


def test_where_there_is_no_database_the_remedy_is_to_install_one(monkeypatch: pytest.MonkeyPatch, etc: Path) -> None:
    """UTC needs none."""

    def no_database(_: str) -> None:
        raise LookupError

    monkeypatch.setattr(time_zones, "available_timezones", set)
    monkeypatch.setattr(time_zones, "ZoneInfo", no_database)
    with pytest.raises(ValueError, match="no time zone data: pip install tzdata, or give UTC"):
        zone_named("Europe/Berlin")
    assert zone_named("UTC") is UTC
    assert machine_zone({}, etc) is UTC


@pytest.mark.parametrize("name", ["", "America", "../etc/passwd", "a\0b", "x" * 100_000, None, 1, [], "\udc80"])
def test_what_is_no_zone_is_a_value_error_with_a_remedy(name: object) -> None:
    """Whatever it is."""
    with pytest.raises(ValueError, match=r"did you mean|give a name"):
        zone_named(name)


def test_every_name_of_the_database_is_a_zone() -> None:
    """And tells its name."""
    for name in sorted(available_timezones())[::7]:
        assert zone_name(zone_named(name)) in {name, "UTC"}


def test_a_zone_without_a_name_is_called_what_it_calls_itself() -> None:
    """A fixed offset, and a file that was read without a name."""
    assert zone_name(datetime(2026, 1, 1, tzinfo=UTC).astimezone().tzinfo or UTC)
    with data("Asia/Tokyo").open("rb") as file:
        assert zone_name(ZoneInfo.from_file(io.BytesIO(file.read())))
