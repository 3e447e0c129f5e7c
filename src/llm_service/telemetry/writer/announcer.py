"""Tells what happens, to `logging` and to the user's callbacks: loudly once, then at a bounded rate, never in the way.

Whoever notices something only leaves a note. A short-lived daemon thread of its own tells it, so that a slow callback
delays no caller, no event loop and no commit, and may itself log, flush or close. What is noticed while it runs in
that callback waits for the next occasion: telling never feeds itself.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from llm_service.budgets.alerts import BudgetEvent, OnBudget
from llm_service.redaction import clean, traceback_text
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.events import LEVELS, Event, EventKind, OnDrop, OnEvent
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.waiters import Waiter

__all__ = ["PATIENCE", "Announcer"]

PATIENCE: Final = 0.25
"""Seconds a close or the end of the process waits for the last words."""

_LOG: Final = logging.getLogger("llm_service.telemetry")
_QUIET_SECONDS: Final = 1.0
_ONCE: Final = frozenset({DropReason.CLOSED, DropReason.DISABLED, DropReason.PRIVACY})
"""Reasons that stem from a decision: told once; the ledger counts them all the same."""
_UNLOGGED: Final = frozenset({DropReason.DISABLED, DropReason.PRIVACY})
_SUMMED: Final = frozenset(
    {EventKind.DROPPED, EventKind.QUARANTINED, EventKind.WRITER_FAILED, EventKind.FILE_SET_ASIDE}
)
"""Kinds whose numbers add up; of the others the latest number stands."""
_DROPPED: Final = "{n} records dropped (%s); stats() has the exact counts"

_MOST_CALLS: Final = 1000
"""Calls of other callbacks that may wait for a slow one; beyond that the oldest is not made."""

_Key = tuple[EventKind, DropReason | None]


class Announcer:
    """Tells each kind (losses: each reason) at most once a second. Thread-safe, also in signal handlers; never raises.

    Args:
        on_event, on_drop, on_budget: the user's callbacks. What they raise is logged.
        start: runs a function elsewhere; raises `RuntimeError` where that is not possible any more.
    """

    def __init__(
        self,
        on_event: OnEvent | None = None,
        on_drop: OnDrop | None = None,
        on_budget: OnBudget | None = None,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        start: Callable[[Callable[[], None]], object] | None = None,
    ) -> None:
        self._on_event = on_event
        self._on_drop = on_drop
        self._on_budget = on_budget
        self._clock = clock
        self._now = now
        self._start = start or _in_a_thread
        self.reset()

    def reset(self) -> None:
        """Start anew with an unheld lock: what a forked child does."""
        # A signal handler or `__del__` may lose a record while one is being counted.
        self._lock: threads.ShortLock = threading.RLock()
        self._unsaid: dict[_Key, tuple[int, str, BaseException | None]] = {}
        self._said_at: dict[_Key, float] = {}
        self._outbox: deque[Event] = deque()
        self._calls: deque[tuple[str, Callable[[], object]]] = deque(maxlen=_MOST_CALLS)
        self._running = False  # somebody tells, or is about to
        self._thread: int | None = None
        self._waiters: list[Waiter] = []

    @property
    def short_lock(self) -> threads.ShortLock:
        """See `ShortLocks`."""
        return self._lock

    def outlive_threads(self) -> None:
        """See `QueueAccounting.outlive_threads`."""
        self._lock = threads.LastLock(self._lock)

    def dropped(self, reason: DropReason, records: int) -> None:
        """Note that records were lost: the queue's `on_drop`."""
        self._note((EventKind.DROPPED, reason), records, _DROPPED % reason.value, None)

    def tell(self, kind: EventKind, count: int, message: str, error: BaseException | None = None) -> None:
        """Note anything else; `{n}` in the message stands for the number. See `events.Tell`."""
        self._note((kind, None), count, message, error)

    def threshold(self, event: BudgetEvent) -> None:
        """Note that a threshold of a limit was passed; told once, after what is being told."""
        on_budget = self._on_budget
        # Who has a callback is told by it; for the others this is all there is.
        _LOG.log(logging.WARNING if on_budget is None else logging.INFO, "telemetry: %s", clean(event.message))
        if on_budget is not None:
            with self._lock:
                self._calls.append(("on_budget", lambda: on_budget(event)))
            self._run_elsewhere()

    def last_words(self) -> None:
        """Tell what the rate has kept back, so that the numbers told add up to the ledger's."""
        with self._lock:
            if self._thread == threading.get_ident():
                return  # a callback that closes the logger is not to be called again for what it caused
            for key in list(self._unsaid):
                if key[1] not in _ONCE:
                    self._post(key, self._clock())
        self._run_elsewhere()

    def when_told(self, waiter: Waiter) -> None:
        """Tell the waiter once nothing is left to tell; at once in a callback, which would wait for itself."""
        with self._lock:
            if self._running and self._thread != threading.get_ident():
                self._waiters.append(waiter)
                return
        waiter.resolve(None)

    def finish(self, seconds: float = PATIENCE) -> None:
        """Block until nothing is left to tell, at most `seconds`; where no thread could be started, tell it here."""
        told = threading.Event()
        with self._lock:
            here, self._running = not self._running, True
            if not here and self._thread == threading.get_ident():
                return  # a callback closes the logger: it cannot wait for itself
            if not here:
                self._waiters.append(_Told(told))
        if here:
            self._tell_all()
        else:
            told.wait(seconds)

    def _note(self, key: _Key, count: int, message: str, error: BaseException | None) -> None:
        now = self._clock()
        with self._lock:
            before = self._unsaid.get(key)
            if before is not None and key[0] in _SUMMED:
                count += before[0]
            self._unsaid[key] = (count, message, error)
            said_at = self._said_at.get(key)
            quiet = said_at is not None and (now - said_at < _QUIET_SECONDS or key[1] in _ONCE)
            # One note of a kind waits at most: a callback that hangs makes nothing grow.
            waits = any((event.kind, event.reason) == key for event in [*self._outbox])  # a signal handler may add one
            if quiet or waits or self._thread == threading.get_ident():
                return
            self._post(key, now)
        self._run_elsewhere()

    def _post(self, key: _Key, now: float) -> None:
        count, message, error = self._unsaid.pop(key)
        self._said_at[key] = now
        self._outbox.append(Event(key[0], message.replace("{n}", str(count)), count, self._now(), key[1], error))

    def _run_elsewhere(self) -> None:
        with self._lock:
            if self._running or not (self._outbox or self._calls):
                return
            self._running = True
        try:
            self._start(self._tell_all)
        except RuntimeError:  # the interpreter is ending, or has no thread to spare: `finish` or the next note tells
            self._running = False

    def _tell_all(self) -> None:
        self._thread = threading.get_ident()
        while (told := self._next()) is not None:
            if isinstance(told, Event):
                self._say(replace(told, message=clean(told.message)))  # here, where nobody waits for it
            else:
                _call(*told)

    def _next(self) -> Event | tuple[str, Callable[[], object]] | None:
        """What is told next; where there is nothing, the telling ends and those who wait for that are told so."""
        with self._lock:
            if self._outbox:
                return self._outbox.popleft()
            if self._calls:
                return self._calls.popleft()
            self._running, self._thread = False, None
            waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.resolve(None)
        return None

    def _say(self, event: Event) -> None:
        if event.reason not in _UNLOGGED:
            with suppress(Exception):  # a handler that raises: there is nobody else to tell
                _LOG.log(LEVELS[event.kind], "telemetry: %s", _with_traceback(event))
        if self._on_event is not None:
            _call("on_event", lambda: self._on_event and self._on_event(event))
        if self._on_drop is not None and event.reason is not None:
            reason = event.reason
            _call("on_drop", lambda: self._on_drop and self._on_drop(reason, event.count))


class _Told:
    """A `Waiter` that sets an event."""

    durable = False

    def __init__(self, event: threading.Event) -> None:
        self._event = event

    def resolve(self, _outcome: object) -> None:
        self._event.set()


def _with_traceback(event: Event) -> str:
    if event.kind is not EventKind.WRITER_FAILED or event.error is None:
        return event.message
    return f"{event.message}: {traceback_text(event.error)}"


def _call(name: str, callback: Callable[[], object]) -> None:
    try:
        callback()
    except BaseException as error:  # noqa: BLE001 - SystemExit as well: this thread goes on to tell the rest
        with suppress(Exception):
            _LOG.error("telemetry: the %s callback raised: %s", name, traceback_text(error))


def _in_a_thread(function: Callable[[], None]) -> None:
    threads.start(function, "llm-telemetry-events")
