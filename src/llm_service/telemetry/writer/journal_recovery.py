"""Journals of dead processes beside the database: looked for at each open, tried again where a replay fails."""

import logging
from collections.abc import Callable
from time import monotonic
from typing import Final

from llm_service.config.settings import Settings
from llm_service.redaction import clean
from llm_service.telemetry.journal.replay import Replayed, replay_all
from llm_service.telemetry.journal.segment_names import find
from llm_service.telemetry.stores.base import Session

__all__ = ["JournalRecovery"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0


class JournalRecovery:
    """What other processes left behind, and whether a failed replay is `waiting`. For whichever thread commits."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._pause = _FIRST_PAUSE
        self._try_at = 0.0
        self.done = Replayed()
        self.waiting = False

    def replay(self, session: Session) -> None:
        """Look for journals of dead processes and commit what they hold. Never raises an `Exception`."""
        self.waiting = False
        settings = self._settings
        try:
            if find(settings.db_path):
                replay_all(settings.db_path, session, settings.privacy_level, self.done)
        except Exception as error:  # noqa: BLE001 - the agent's own records go on; the segment stays until it succeeds
            _LOG.warning("telemetry: a crash journal could not be replayed (goes on): %s", clean(str(error)))
            self.waiting = True
            self._try_at = self._clock() + self._pause
            self._pause = min(self._pause * 2, _LONGEST_PAUSE)

    def replay_again(self, session: Session) -> None:
        """Try again what failed, if it is time."""
        if self.waiting and self._clock() >= self._try_at:
            self.replay(session)
