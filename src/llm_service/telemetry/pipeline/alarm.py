"""Tells about lost records, loudly once and then at a bounded rate, however many are lost."""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from llm_service.redaction import traceback_text
from llm_service.telemetry.pipeline.ledger import DropReason

__all__ = ["DropAlarm", "OnDrop"]

OnDrop = Callable[[DropReason, int], None]
"""A user's callback: why, and how many records since it was last called for this reason."""

_LOG: Final = logging.getLogger("llm_service.telemetry")
_QUIET_SECONDS: Final = 1.0
_ONCE: Final = frozenset({DropReason.CLOSED, DropReason.DISABLED, DropReason.PRIVACY})
"""Reasons that stem from a decision: logged once (closed) or not at all; the ledger counts them all the same."""


class DropAlarm:
    """Logs and calls back at most once a second for each reason. Thread-safe; never raises."""

    def __init__(self, callback: OnDrop | None, clock: Callable[[], float] = monotonic) -> None:
        self._callback = callback
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Start anew with an unheld lock: what a forked child does."""
        self._lock = threading.RLock()  # a signal handler or `__del__` may lose a record while one is being counted
        self._unsaid = dict.fromkeys(DropReason, 0)
        self._said_at: dict[DropReason, float] = {}

    def __call__(self, reason: DropReason, records: int) -> None:
        """Note that records were dropped."""
        now = self._clock()
        with self._lock:
            self._unsaid[reason] += records
            said_at = self._said_at.get(reason)
            if said_at is not None and (now - said_at < _QUIET_SECONDS or reason in _ONCE):
                return
            self._said_at[reason] = now
            count, self._unsaid[reason] = self._unsaid[reason], 0
        if reason not in {DropReason.DISABLED, DropReason.PRIVACY}:
            _LOG.warning("telemetry: %d records dropped (%s); stats() has the exact counts", count, reason.value)
        if self._callback is not None:
            try:
                self._callback(reason, count)
            except Exception as error:  # noqa: BLE001 - logged with its traceback; a callback must not break the caller
                _LOG.error("telemetry: the on_drop callback raised: %s", traceback_text(error))
