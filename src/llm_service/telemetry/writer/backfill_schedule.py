"""When to go on with what a migration left to do: small steps with pauses, between the commits of a driver.

As with `purge_schedule`: whoever drives asks `due_in`, and gives this a `turn` with the session under the commit lock.
"""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from llm_service.redaction import clean
from llm_service.telemetry.stores.base import Fault, Session, Store
from llm_service.telemetry.writer.schedule import retry_delay

__all__ = ["BackfillSchedule"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_AFTER_A_FAULT: Final = 60.0
_PAUSE: Final = 2.0
"""For so many times as long as a step others have the file."""
_SHORTEST_PAUSE: Final = 0.001
_LOOK_EVERY: Final = 3600.0
"""Seconds between two looks whether a process of an older release has left something to do."""


class BackfillSchedule:
    """See the module.

    Args:
        holder: the name under which this process counts.
        looks: False where nothing is stored.

    Attributes:
        busy: whether something was left after the last turn.
    """

    def __init__(
        self, store: Store, holder: str, *, looks: bool = True, clock: Callable[[], float] = monotonic
    ) -> None:
        self._store = store
        self._holder = holder
        self._clock = clock
        self._due_at: float | None = clock() if looks else None
        self._failures = 0
        self.busy = False

    def due_in(self) -> float | None:
        """Seconds until a turn is wanted: 0 or less is now, None never."""
        return None if self._due_at is None else self._due_at - self._clock()

    def turn(self, session: Session) -> None:
        """Do one step. The caller holds the commit lock; never raises an `Exception`."""
        started = self._clock()
        if self._due_at is None:
            return
        try:
            waits = session.backfill(self._holder)
        except Exception as error:  # noqa: BLE001 - noted and paced: a driver outlives anything
            self.failed(error)
            return
        self._failures, self.busy = 0, waits is not None
        now = self._clock()
        if waits is None:
            self._due_at = now + _LOOK_EVERY
        else:
            self._due_at = now + (waits or max(_SHORTEST_PAUSE, _PAUSE * (now - started)))

    def failed(self, error: Exception, *, warn: bool = True) -> None:
        """A turn came to nothing: try again after a pause. With `warn=False` somebody else logs why."""
        if self._due_at is None:
            return
        self._failures += 1
        delay = retry_delay(self._failures)
        if self._store.classify(error) is not Fault.LOCKED:
            delay = _AFTER_A_FAULT
            if warn:
                _LOG.warning("telemetry: roll-ups of older records do not get on: %s", clean(str(error)))
        self._due_at = self._clock() + delay
