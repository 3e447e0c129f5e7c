"""What a driver of commits is, and what it does next: a pure function of the backlog, the settings and the moment."""

from enum import Enum
from typing import NamedTuple, Protocol

from llm_service.config.settings import Settings
from llm_service.telemetry.pipeline.policy import Backlog, seconds_to_flush

__all__ = ["Action", "Do", "Driver", "next_action"]


class Do(Enum):
    """What a driver does next."""

    OPEN = "open"
    COMMIT = "commit"
    SLEEP = "sleep"
    TIDY = "tidy"
    FINISH = "finish"


class Action(NamedTuple):
    """A driver's next action.

    Attributes:
        do: what.
        seconds: how long to sleep at most; None is until woken.
        wake_at: how many held records end the sleep.
    """

    do: Do
    seconds: float | None = None
    wake_at: int = 1


class Driver(Protocol):
    """Drives commits in the background."""

    def wake(self) -> bool:
        """Have it look again; False when it is dead. From any thread; never raises."""
        ...

    def is_alive(self) -> bool:
        """Whether it can still do work."""
        ...

    async def ready(self) -> None:
        """Return once the first try to open the file is over; at once on another loop than the driver's."""
        ...

    def discard(self) -> None:
        """Let go of a dead driver's connection. Its loop may be closed."""
        ...

    def let_go(self) -> None:
        """Close the database, to be opened again when needed; the caller holds the commit lock."""
        ...

    def join(self, timeout: float) -> None:
        """Block until its thread has ended, if it has one of its own, at most `timeout` seconds."""
        ...


def next_action(backlog: Backlog, settings: Settings, *, closing: bool, tidy_in: float | None) -> Action:
    """What to do now.

    Args:
        backlog: what waits.
        settings: the logger's.
        closing: nothing more comes in: commit what is there, then finish.
        tidy_in: seconds until the WAL should be truncated, if nothing comes between; None where it is truncated.
    """
    # A full queue is never left to wait for the interval: callers may be blocked by it.
    batch_size = min(settings.batch_size, settings.queue_max_records)
    wait = seconds_to_flush(
        backlog,
        flush_interval=settings.flush_interval,
        batch_size=batch_size,
        bytes_bound=settings.queue_max_bytes,
    )
    if wait is None:
        if closing:
            return Action(Do.FINISH)
        if tidy_in is None:
            return Action(Do.SLEEP)
        return Action(Do.SLEEP, tidy_in) if tidy_in > 0 else Action(Do.TIDY)
    if wait == 0.0 or closing:
        return Action(Do.COMMIT)
    return Action(Do.SLEEP, wait, batch_size)
