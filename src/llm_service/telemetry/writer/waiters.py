"""Someone waits for an outcome, on a loop or in a thread; the committing thread tells them, if still wanted."""

import asyncio
from typing import Any, Protocol

__all__ = ["LoopWaiter", "ThreadWaiter", "Waiter"]


class Waiter(Protocol):
    """Told once, from any thread; telling never raises and never blocks."""

    @property
    def durable(self) -> bool:
        """Whether the commit must survive a power cut."""
        ...

    def resolve(self, outcome: Any, /) -> None:
        """Hand over the outcome."""
        ...


class LoopWaiter:
    """A future on the loop of the task that waits. Its loop may be closed by the time the outcome is known."""

    __slots__ = ("_loop", "durable", "future")

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable
        self._loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self._loop.create_future()

    def resolve(self, outcome: Any) -> None:
        """Deliver on the waiter's own loop, and only if still wanted."""
        try:
            self._loop.call_soon_threadsafe(_deliver, self.future, outcome)
        except RuntimeError:
            # The loop is closed: nobody waits any more, and the record is settled all the same.
            return


class ThreadWaiter:
    """A thread that drives commits itself, or polls between them; None until resolved."""

    __slots__ = ("durable", "outcome")

    def __init__(self, *, durable: bool = False) -> None:
        self.durable = durable
        self.outcome: Any = None

    def resolve(self, outcome: Any) -> None:
        """Keep the outcome where the waiting thread looks."""
        self.outcome = outcome


def _deliver(future: "asyncio.Future[Any]", outcome: Any) -> None:
    if not future.done():
        future.set_result(outcome)
