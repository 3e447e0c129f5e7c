"""How long things are kept: whole UTC days, counted by a clock that is believed only once it has stood: pure decisions.

A cut-off is the text of a UTC day, which sorts before every timestamp of that day; SQLite's own `now` is never asked.

A wall clock that leaps forward must not delete everything at once, and from one look at it a leap cannot be told from
a file that nobody used for a month. So the clock is believed as long as it goes on from look to look; where it is
suddenly more than `LEAP` ahead, nothing more is deleted until it has stood there for `STANDS`. What this protects from:
a clock that is wrong for less than a day. What it does not: a clock that stays wrong for longer, a leap shorter than
`LEAP` (at most two days go too early), and records whose own timestamps are wrong.
"""

from datetime import datetime
from typing import Final, NamedTuple

from llm_service.config.settings import Settings
from llm_service.telemetry.record.timestamps import MAX_MICROSECONDS, microseconds_text, to_microseconds

__all__ = ["LEASE", "Belief", "Cutoffs", "believe", "day_of", "kept_since", "lease_until", "may_hold", "moment_of"]

_HOUR: Final = 3_600_000_000
_DAY: Final = 24 * _HOUR
LEAP: Final = 36 * _HOUR
"""Microseconds between two looks from which on the clock is doubted. More than a day: a daily job is no leap."""
STANDS: Final = 20 * _HOUR
"""Microseconds after which a doubted clock is believed. Less than a day: the next run of a daily job confirms it."""
LEASE: Final = 30_000_000
"""Microseconds that a purging process may be silent before another takes over. Its steps take a few milliseconds."""


class Cutoffs(NamedTuple):
    """What is kept: records and contents since these UTC days, `YYYY-MM-DD`; None keeps all.

    Contents never outlive their record, so theirs only counts where it is the later day.
    """

    records: str | None
    contents: str | None

    @classmethod
    def at(cls, now_us: int, settings: Settings) -> "Cutoffs":
        """What these settings keep at a moment."""
        days, content_days = settings.retention_days, settings.content_retention_days
        return cls(
            None if days is None else kept_since(now_us, days),
            None if content_days is None else kept_since(now_us, content_days),
        )


def day_of(moment_us: int) -> str:
    """The UTC day of a moment; those before 1970 and after 9999 count as the first and the last."""
    return microseconds_text(min(max(0, moment_us), MAX_MICROSECONDS))[:10]


def kept_since(now_us: int, days: float) -> str:
    """The first UTC day that is kept: the one that holds the moment `days` days ago. So all is kept that long."""
    return day_of(now_us - int(days * _DAY))


class Belief(NamedTuple):
    """How far the wall clock is believed. Microseconds since 1970.

    Attributes:
        until: the latest moment it showed that is believed; None where nothing is known.
        leapt_to: what it showed when it was found ahead; None while it is believed.
        stood_until: the latest moment it showed since.
    """

    until: int | None
    leapt_to: int | None = None
    stood_until: int | None = None

    @property
    def doubted(self) -> bool:
        """Whether the clock has leapt and has not stood for long enough."""
        return self.leapt_to is not None


def believe(belief: Belief, now: int) -> Belief:
    """What to believe after another look at the clock; cut-offs count from `until`."""
    until, leapt_to, stood_until = belief
    if until is not None and now - until <= LEAP:
        return Belief(now)  # it goes on, or it was set back, which keeps more and not less
    if leapt_to is None or stood_until is None or now < leapt_to:
        return Belief(until, now, now)
    if now - stood_until > LEAP:
        # It leapt again, or nobody looked for long: what it showed before has been confirmed, this has not.
        return Belief(stood_until, now, now)
    return Belief(now) if now - leapt_to >= STANDS else Belief(until, leapt_to, now)


def may_hold(holder: str | None, held_until: str | None, me: str, now_us: int) -> bool:
    """Whether `me` may purge: nobody else does, or who did has been silent, or said so by another clock."""
    until = moment_of(held_until)
    return holder is None or holder == me or until is None or not now_us <= until <= now_us + LEASE


def lease_until(now_us: int) -> str:
    """The end of a lease that begins or goes on now."""
    return microseconds_text(min(max(0, now_us + LEASE), MAX_MICROSECONDS))


def moment_of(text: str | None) -> int | None:
    """Microseconds of a stored timestamp; None for what is none."""
    try:
        return None if text is None else to_microseconds(datetime.fromisoformat(text))
    except (TypeError, ValueError):  # not written by us: the file is the user's
        return None
