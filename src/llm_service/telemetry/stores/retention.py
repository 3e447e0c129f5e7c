"""Retention in whole UTC days, and a guard against wrong clocks: pure functions.

A cut-off is the text of a UTC day, which sorts before every timestamp of that day; SQLite's own `now` is never used.

A wall clock that jumps forward must not delete everything at once, and one reading cannot distinguish a jump from a
file that was unused for a month. So the clock is trusted while its readings advance steadily; after a jump of more than
`LEAP`, nothing more is deleted until the new time has been confirmed for `STANDS`. This protects from clocks that are
wrong for less than a day. It does not protect from clocks that are wrong for longer, from jumps shorter than `LEAP` (at
most two days are deleted too early), or from records with wrong timestamps.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from llm_service.config.settings import Settings
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds

__all__ = [
    "LEASE",
    "Belief",
    "Cutoffs",
    "PurgeResult",
    "believe",
    "day_of",
    "kept_since",
    "lease_until",
    "may_hold",
    "moment_of",
]

_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR
LEAP: Final = 36 * _HOUR
"""Microseconds between two readings that count as a jump. More than a day, because of daily jobs."""
STANDS: Final = 20 * _HOUR
"""Microseconds after which a doubted clock is trusted. Less than a day: the next run of a daily job confirms it."""
LEASE: Final = 30_000_000
"""Microseconds after which another process may take over a purge. A step takes a few milliseconds."""


class Cutoffs(NamedTuple):
    """The first UTC days (`YYYY-MM-DD`) whose records and contents are kept; None keeps all.

    Contents never outlive their record: their day only matters if it is the later one.
    """

    records: str | None
    contents: str | None

    @classmethod
    def at(cls, now_us: int, settings: Settings) -> "Cutoffs":
        """The cut-offs of these settings at a moment."""
        days, content_days = settings.retention_days, settings.content_retention_days
        return cls(
            None if days is None else kept_since(now_us, days),
            None if content_days is None else kept_since(now_us, content_days),
        )


def day_of(moment_us: int) -> str:
    """The UTC day of a moment, clamped to 1970 and 9999."""
    return microseconds_text(min(max(0, moment_us), MAX_MICROSECONDS))[:10]


def kept_since(now_us: int, days: float) -> str:
    """The first UTC day that is kept: that of the moment `days` days ago, so everything is kept at least that long."""
    return day_of(now_us - int(days * _DAY))


@dataclass(frozen=True, slots=True)
class PurgeResult:
    """What a purge deleted, or would delete (dry run).

    Attributes:
        records: rows of `invocations`.
        contents: rows of `invocation_contents`: prompts and responses.
        dead_letters: rows of `dead_letters`.
        records_kept_since: UTC day `YYYY-MM-DD`: records of this day and later were kept. None in an empty file.
        bytes_freed: returned to the file system; 0 in a dry run, and in a file without `auto_vacuum`.
        complete: False if a close interrupted the purge; the next purge deletes the rest.
        dry_run: True if nothing was deleted.
    """

    records: int = 0
    contents: int = 0
    dead_letters: int = 0
    records_kept_since: str | None = None
    bytes_freed: int = 0
    complete: bool = True
    dry_run: bool = False


class Belief(NamedTuple):
    """Up to which time the wall clock is trusted. Microseconds since 1970.

    Attributes:
        until: the latest trusted reading; None if there is none.
        leapt_to: the reading after a jump; None while the clock is trusted.
        stood_until: the latest reading since the jump.
    """

    until: int | None
    leapt_to: int | None = None
    stood_until: int | None = None

    @property
    def doubted(self) -> bool:
        """Whether the clock has jumped and is not confirmed yet."""
        return self.leapt_to is not None


def believe(belief: Belief, now: int) -> Belief:
    """The belief after another reading of the clock; cut-offs count from `until`."""
    until, leapt_to, stood_until = belief
    if until is not None and now - until <= LEAP:
        return Belief(now)  # it advances steadily, or was set back, which keeps more
    if leapt_to is None or stood_until is None or now < leapt_to:
        return Belief(until, now, now)
    if now - stood_until > LEAP:
        # It jumped again, or was not read for long: the earlier reading is confirmed, this one is not.
        return Belief(stood_until, now, now)
    return Belief(now) if now - leapt_to >= STANDS else Belief(until, leapt_to, now)


def may_hold(holder: str | None, held_until: str | None, me: str, now_us: int) -> bool:
    """Whether `me` may purge: no other process holds the lease, or its lease has ended or is too far in the future."""
    until = moment_of(held_until)
    return holder is None or holder == me or until is None or not now_us <= until <= now_us + LEASE


def lease_until(now_us: int) -> str:
    """The end of a lease that is taken or renewed now."""
    return microseconds_text(min(max(0, now_us + LEASE), MAX_MICROSECONDS))


def moment_of(text: str | None) -> int | None:
    """Microseconds of a stored timestamp; None if it is not one."""
    try:
        return None if text is None else to_microseconds(datetime.fromisoformat(text))
    except (TypeError, ValueError):  # edited by hand: the file belongs to the user
        return None
