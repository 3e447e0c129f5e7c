"""Time zones by name, and the machine's own: the one place that looks for it in the environment and in `/etc`."""

import os
from collections.abc import Mapping
from datetime import UTC, tzinfo
from difflib import get_close_matches
from io import BytesIO
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

__all__ = ["LOCAL", "UTC_NAMES", "machine_zone", "zone_name", "zone_named"]

LOCAL: Final = "local"
"""The name of the machine's own zone."""
UTC_NAMES: Final = ("UTC", "Etc/UTC")
"""What needs no database."""
_REMEDY: Final = "give a name of the IANA time zone database, such as UTC or Europe/Berlin"
_NO_DATA: Final = "this machine has no time zone data: pip install tzdata, or give UTC"
_LONGEST: Final = 64
_FOLDER: Final = "zoneinfo/"


def zone_named(name: object) -> tzinfo:
    """The time zone of this name: of the IANA database, `UTC` (which needs no database), or `local`.

    Raises:
        ValueError: there is no such zone, or no database; the message is the remedy.
    """
    if name == LOCAL:
        return machine_zone()
    if name in UTC_NAMES:
        return UTC
    try:
        return ZoneInfo(name)  # type: ignore[arg-type]
    except (TypeError, LookupError, ValueError, OSError):
        raise ValueError(_remedy(name)) from None


def machine_zone(environ: Mapping[str, str] | None = None, etc: Path = Path("/etc")) -> tzinfo:
    """The zone that this machine's clock shows: of `TZ`, else of `/etc/localtime`; UTC where neither is.

    `TZ` is a name, the path of a file of the database, or a rule of POSIX such as `EST5EDT,M3.2.0,M11.1.0`.

    Raises:
        ValueError: `TZ` is none of these, or there is no database; the message is the remedy.
    """
    given = (os.environ if environ is None else environ).get("TZ", "").removeprefix(":")
    if given and given != LOCAL:
        return _of_variable(given)
    file = etc / "localtime"
    try:
        target = os.path.realpath(file)
        if _FOLDER in target:
            return zone_named(target.rpartition(_FOLDER)[2].removeprefix("posix/").removeprefix("right/"))
    except ValueError:
        pass  # its file may be read all the same
    try:
        with file.open("rb") as data:
            return ZoneInfo.from_file(data, key=LOCAL)
    except (OSError, ValueError):
        return UTC


def zone_name(zone: tzinfo) -> str:
    """The name to show: `Europe/Berlin`, `UTC`, or that of any other zone."""
    return (zone.key if isinstance(zone, ZoneInfo) else None) or str(zone)


def _of_variable(given: str) -> tzinfo:
    name = given.rpartition(_FOLDER)[2] if given.startswith("/") else given
    try:
        return zone_named(name)
    except ValueError as error:
        try:
            if given.startswith("/"):
                with Path(given).open("rb") as data:
                    return ZoneInfo.from_file(data, key=given)
            return _of_rule(given)
        except (OSError, ValueError):
            raise ValueError(f"the environment variable TZ is {given!r}; {error}") from None


def _of_rule(rule: str) -> ZoneInfo:
    """The zone of a POSIX rule, which is how a file of the database ends (RFC 9636): one with nothing before it."""
    if not any(letter.isdigit() for letter in rule):
        raise ValueError(_REMEDY)
    head = b"TZif2" + bytes(15) + b"".join(count.to_bytes(4, "big") for count in (0, 0, 0, 0, 1, 4))
    one_type = bytes(6) + b"UTC\0"
    return ZoneInfo.from_file(BytesIO(2 * (head + one_type) + b"\n" + rule.encode() + b"\n"), key=rule)


def _remedy(name: object) -> str:
    """The nearest name, where one is near; a city alone is near to its zone."""
    if not isinstance(name, str):
        return _REMEDY
    known = sorted(available_timezones())
    if not known:
        return _NO_DATA
    wanted = name[:_LONGEST].casefold().replace(" ", "_")
    cities = {zone.rpartition("/")[2].casefold(): zone for zone in known}
    near = get_close_matches(wanted, {**cities, **{zone.casefold(): zone for zone in known}}, n=1, cutoff=0.75)
    if not near:
        return _REMEDY
    return f"did you mean {cities.get(near[0]) or next(zone for zone in known if zone.casefold() == near[0])}?"
