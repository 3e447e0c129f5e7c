"""What a client has, and hands to all that acts for it: settings, engine, prices, and how the file is asked."""

import asyncio
import math
import os
import weakref
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, tzinfo
from functools import partial
from pathlib import Path
from threading import get_ident
from time import monotonic
from typing import TYPE_CHECKING, Any, Final, TypeVar

from llm_service.config.settings import Settings
from llm_service.errors import (
    CommitTimeoutError,
    DuplicateInvocationError,
    RecordDroppedError,
    RecordQuarantinedError,
    StoreError,
    UnsupportedLoopError,
)
from llm_service.pricing.book import PriceBook
from llm_service.redaction import shown
from llm_service.telemetry.client.steps import Step, Steps, Work
from llm_service.telemetry.instrumentation.inherited_fields import NOTHING
from llm_service.telemetry.instrumentation.kept_calls import flush_late, hand_over
from llm_service.telemetry.instrumentation.open_streams import end_open
from llm_service.telemetry.queries.time_range import TimeRange, time_range
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.costing import Costing
from llm_service.telemetry.writer.engine import Engine
from llm_service.telemetry.writer.ledger import DropReason, FlushResult, Outcome, Settlement
from llm_service.telemetry.writer.waiters import LoopWaiter, ThreadWaiter

if TYPE_CHECKING:
    from llm_service.budgets.scopes import Call
    from llm_service.telemetry.client.estimate_history import EstimateHistory

__all__ = ["ClientCore", "flush", "running_loop", "seconds_or_none"]

_T = TypeVar("_T")
_READ_WITHOUT: Final = "; pass fresh=False to read without it"


class ClientCore:
    """What a client has. While anything holds it, budgets and calls under way included, its logger is in use.

    Attributes:
        lose_invalid: counts a record that could not be made at all.
        count_bad_value: counts a value that was left out; True the first time for this field.
        inherited, admit: see `Sink`; of a logger that records a test session.
        clean_calls: names of calls as their records will have them, by what was given.
    """

    def __init__(self, settings: Settings, engine: Engine, prices: PriceBook) -> None:
        self.settings = settings
        self.engine = engine
        self.prices = prices
        self.offer = engine.queue.offer
        self._shutdown = engine.shutdown
        self.lose_invalid = engine.lose_invalid
        self.count_bad_value = engine.count_bad_value
        self.inherited: Mapping[str, Any] = NOTHING
        self.admit: Callable[[], None] | None = None
        self.answered: dict[str, None] = {}
        self._costing = Costing(prices)
        self.clean_calls: dict[tuple[str | None, ...], Call] = {}
        self._said: set[str] = set()
        self._history: EstimateHistory | None = None
        held = weakref.ref(self)
        engine.shutdown.before_close = lambda: None if (core := held()) is None else _end_all(core)
        # At exit the engine has a hook of its own, which also works while the logger is still referenced.
        weakref.finalize(self, engine.shutdown.forgotten).atexit = False

    @property
    def db_path(self) -> Path:
        """The absolute path of the SQLite file."""
        return self.settings.db_path

    @property
    def is_closed(self) -> bool:
        """Whether it is closed, or closes."""
        return self._shutdown.closing or self._shutdown.closed

    @property
    def history(self) -> "EstimateHistory":
        """What estimates are made from; one that is never asked for costs nothing, and a forked child has its own."""
        history = self._history
        if history is None or history.pid != os.getpid():
            from llm_service.telemetry.client.estimate_history import EstimateHistory  # noqa: PLC0415

            self._history = history = EstimateHistory(self.engine.store.reading)
        return history

    def knows_cost(self, record: InvocationRecord) -> bool:
        """Whether the whole cost of a record is known, or will be: it has a price. May import genai-prices, once."""
        if record.usage_source == "partial":  # a lower bound
            return False
        found = self._costing.costs([record])
        return found is None or found[0] is None or found[0][0] is not None

    def is_first(self, what: str) -> bool:
        """Whether this is asked for the first time: what is then said, is said once."""
        first = what not in self._said
        self._said.add(what)
        return first

    def range(self, since: object, until: object, time_zone: str | tzinfo | None) -> TimeRange:
        """The range of a query, in `time_zone`, else in the zone of the settings; QueryError: see `time_range`."""
        zone = self.settings.time_zone if time_zone is None else time_zone
        return time_range(since, until, time_zone=zone, now=datetime.now(UTC))

    def ask(self, question: Callable[[Fetch], _T], *, fresh: bool) -> Steps[_T]:
        """Read the file after what was accepted before is in it; CommitTimeoutError where `fresh` and that failed."""
        if fresh:
            yield from self.flushed(_READ_WITHOUT)
        return (yield from Work(partial(self.engine.store.read, question)))

    def flushed(self, remedy: str = "") -> Steps[None]:
        """Have everything on disk that was accepted before."""
        seconds = self.settings.commit_timeout
        result = yield from _Flush(self.engine, seconds)
        if not result.complete:
            raise self.late(f"what was accepted could not be flushed{remedy}", seconds)

    def refused(self, outcome: Settlement | None, record: InvocationRecord) -> StoreError | None:
        """The error of a promised commit that did not come; None where nothing was promised to be stored."""
        if outcome is None or outcome in {Outcome.WRITTEN, DropReason.DISABLED, DropReason.PRIVACY}:
            return None
        if outcome is Outcome.DUPLICATE:
            return DuplicateInvocationError(record.invocation_id, self.db_path)
        if outcome is Outcome.QUARANTINED:
            return RecordQuarantinedError(
                f"SQLite refused record {shown(record.invocation_id)}; see the table dead_letters", self.db_path
            )
        return RecordDroppedError(outcome.value, self.db_path)

    def late(self, what: str, seconds: float) -> CommitTimeoutError:
        """The error of something that did not come in time; it says why."""
        if self.engine.commit_lock.owner == get_ident():
            return CommitTimeoutError(
                f"{what} yet: a signal handler within a commit cannot wait for another; it stays queued", self.db_path
            )
        cause = self.engine.committer.commits.last_error or "the writer is behind"
        return CommitTimeoutError(f"{what} within {seconds:g} s ({cause}); it stays queued", self.db_path)


def _end_all(core: ClientCore) -> None:
    """The logger closes: what is still open, or kept in blocks, has its rows now."""
    flush_late(core)
    end_open(core)
    hand_over(core)


class _Flush(Step[FlushResult]):
    """Waits until what was accepted before is settled."""

    def __init__(self, engine: Engine, seconds: float | None) -> None:
        self._engine = engine
        self._seconds = seconds

    def block(self) -> FlushResult:
        """Commit it here."""
        engine, waiter = self._engine, ThreadWaiter()
        barrier = engine.queue.barrier(waiter, wake=False)
        deadline = math.inf if self._seconds is None else monotonic() + self._seconds
        engine.inline.drive(lambda: waiter.outcome is not None, deadline)
        return engine.queue.withdraw(barrier)

    async def wait(self) -> FlushResult:
        """Have the writer task commit it."""
        engine = self._engine
        engine.drivers.remember_loop(running_loop())
        waiter = LoopWaiter()
        barrier = engine.queue.barrier(waiter)
        try:
            engine.drivers.ensure()
            await asyncio.wait([waiter.future], timeout=self._seconds)
        finally:
            result = engine.queue.withdraw(barrier)
        return result


def flush(core: ClientCore, timeout: float | None = None) -> Steps[FlushResult]:
    """Wait until what was accepted before this call is committed, or counted as lost.

    Args:
        timeout: seconds at most; default `commit_timeout`. `math.inf` waits for ever.

    Returns:
        The truth about those records; `complete` is False when the timeout passed first, and the rest stays queued.
    """
    return (yield from _Flush(core.engine, seconds_or_none(timeout, core.settings.commit_timeout)))


def seconds_or_none(timeout: float | None, default: float) -> float | None:
    """Seconds to wait; None is for ever."""
    seconds = default if timeout is None else timeout
    if math.isnan(seconds) or seconds < 0:
        raise ValueError(f"timeout: {shown(timeout)} is not usable; give seconds from 0, or math.inf")
    return None if math.isinf(seconds) else seconds


def running_loop() -> asyncio.AbstractEventLoop:
    """The asyncio loop that runs here."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        raise UnsupportedLoopError(
            "AsyncTelemetryLogger needs a running asyncio loop (not trio); without one, use TelemetryLogger"
        ) from None
