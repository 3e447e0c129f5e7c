"""Learns from the file what estimates need: all at first, then what has come since, whichever process wrote it.

Estimates are made from memory. The file is read by whoever asks first or asks for fresh knowledge, and else by a thread
that runs for as long as that takes, at most once every `REFRESH_AFTER` seconds and only while somebody asks.
"""

import logging
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from threading import RLock
from time import monotonic, sleep
from typing import Final

from llm_service.errors import StoreError
from llm_service.estimates.openai_tokens import OpenAITokenizer
from llm_service.estimates.past_calls import History
from llm_service.estimates.tokens import TokenRatios
from llm_service.telemetry.queries import estimate_samples as queries
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.writer import threads

__all__ = ["REFRESH_AFTER", "EstimateHistory"]

_LOG: Final = logging.getLogger("llm_service.telemetry")

REFRESH_AFTER: Final = 5.0
"""Seconds for which what is in memory counts as current."""
_PAGE: Final = 1_000
"""Calls that are read in one snapshot: a reader holds up no checkpoint."""
_AT_ONCE: Final = 20
"""Calls that are learnt from before other threads get a turn: 0.4 ms [measured]."""


class EstimateHistory:
    """What is known of past calls, in one process. Safe from several threads.

    Args:
        reading: opens the store for many questions; see `Store.reading`.

    Attributes:
        priced: models, providers and service tiers that have been looked up: the next time takes no import, no search.
        pid: the process that it belongs to: a forked child makes its own, since a lock may have been held.
    """

    def __init__(
        self, reading: Callable[[], AbstractContextManager[Fetch]], clock: Callable[[], float] = monotonic
    ) -> None:
        self.history = History()
        self.ratios = TokenRatios()
        self.tokenizer = OpenAITokenizer()
        self.priced: set[tuple[str | None, ...]] = set()
        self.pid = os.getpid()
        self._open = reading
        self._clock = clock
        self._reading = RLock()  # a signal handler may ask for an estimate while its thread reads
        self._is_reading = False
        self._last_id = 0
        self._read_at = -math.inf

    @property
    def loaded(self) -> bool:
        """Whether the file has been read once."""
        return self._read_at > -math.inf

    def load(self) -> None:
        """Read the file unless that was done before; who comes meanwhile waits for it."""
        with self._reading:
            if not self.loaded:
                self._read_once()

    def refresh(self) -> None:
        """Learn from what was committed before this call."""
        with self._reading:
            self._read_once()

    def refresh_soon(self) -> None:
        """Learn from what is new in a thread, where the last time is long ago and nobody is at it. Returns at once."""
        if self._is_reading or self._clock() - self._read_at < REFRESH_AFTER:
            return
        self._read_at = self._clock()  # a file that cannot be read is not tried again at once
        with suppress(RuntimeError):  # the interpreter is shutting down, or no thread is left: memory will do
            threads.start(self._read_in_background, "llm-telemetry-estimates")

    def _read_in_background(self) -> None:
        try:
            with self._reading:
                self._read_once()
        except StoreError as error:
            _LOG.warning("estimates go on with what they know: %s", error)

    def _read_once(self) -> None:
        """Read, unless this very thread is reading: in a signal handler, or a finalizer, memory will do."""
        if self._is_reading:
            return
        try:
            self._is_reading = True
            self._read()
        finally:
            self._is_reading = False

    def _read(self) -> None:
        with self._open() as fetch:
            ((newest,),) = fetch(queries.NEWEST_ID)
            self._learn(fetch, newest or 0)
            if fetch(queries.HAS_PROMPT_SIZES):
                self.ratios = TokenRatios(queries.to_prompt_sizes(fetch(queries.PROMPT_SIZES)))
        self._read_at = self._clock()

    def _learn(self, fetch: Fetch, newest: int) -> None:
        if newest < self._last_id:  # another file has taken its place, or its newest rows were deleted
            self.history, self._last_id = History(), 0
        self._last_id = max(self._last_id, newest - queries.MOST_CALLS)
        while self._last_id < newest:
            rows = fetch(queries.answers_after(self._last_id, newest, _PAGE))
            answers = queries.to_answers(rows)
            for start in range(0, len(answers), _AT_ONCE):
                for answer in answers[start : start + _AT_ONCE]:
                    self.history.observe(*answer)
                sleep(0)
            # What was learnt is not learnt again, also where the next page cannot be read.
            self._last_id = rows[-1][0] if len(rows) == _PAGE else newest
