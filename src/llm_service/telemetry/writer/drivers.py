"""Who commits for one engine: one driver at a time, started when needed."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from weakref import WeakKeyDictionary

from llm_service.telemetry.stores import forks
from llm_service.telemetry.writer.threads import ShortLock
from llm_service.telemetry.writer.waiters import Waiter
from llm_service.telemetry.writer.writer_loop import WriterLoop

__all__ = ["Driver", "Drivers"]


class Driver:
    """Runs the writer loop in the background: see `thread_writer` and `task_writer`."""

    loop: WriterLoop

    def wake(self) -> bool:
        """Have it look again; False when it is dead. From any thread; never raises."""
        self.loop.wake()
        return self.is_alive()

    def nudge(self) -> None:
        """Wake it, where a `wake` may have been without effect."""

    def leave(self) -> None:
        """Have it end: it commits what waits, retries nothing, and closes its file. Needs no event loop."""
        self.loop.leave()

    def is_alive(self) -> bool:
        """Whether it can still do work."""
        raise NotImplementedError

    async def ready(self) -> None:
        """Return once the first try to open the file is over; at once on another event loop than the driver's."""

    def let_go(self) -> None:
        """Close the database, to be opened again when needed; the caller holds the commit lock."""

    def join(self, timeout: float) -> None:
        """Block until its thread has ended, at most `timeout` seconds."""
        raise NotImplementedError


class Drivers:
    """The place of the one driver, and the loops that may start the next; `start` gives None where none can live."""

    def __init__(self, start: Callable[[], Driver | None], may_start: Callable[[], bool]) -> None:
        self._start = start
        self._may_start = may_start
        self._lock = threading.RLock()
        self._driver: Driver | None = None
        self._retirement: list[Waiter] = []
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, None] = WeakKeyDictionary()
        self.needed = False
        """Whether records have depended on one."""

    @property
    def short_lock(self) -> ShortLock:
        """See `ShortLocks`."""
        return self._lock

    @property
    def is_alive(self) -> bool:
        """Whether there is one that can still do work."""
        driver = self._driver
        return driver is not None and driver.is_alive()

    def ensure(self, *, drives: bool = True) -> bool:
        """Start a driver in the calling thread if none is alive; whether one is.

        With `drives=False` no record depends on it, and the logger may still be forgotten without a warning.
        """
        with self._lock:
            driver = self._driver
            if driver is not None and driver.is_alive():
                driver.nudge()
                return True
            self._driver = None
            if not self._may_start():
                return False
            self._driver = self._start()
            self.needed = self.needed or (drives and self._driver is not None)
            return self._driver is not None

    async def ready(self) -> None:
        """Wait until the driver has tried to open the file once, where it lives on the caller's loop."""
        driver = self._driver
        if driver is not None:
            await driver.ready()

    def wake(self) -> bool:
        """Have the driver look again; whether there is one that does so now."""
        driver = self._driver
        return driver is not None and driver.wake()

    def ended(self, driver: Driver) -> list[Waiter] | None:
        """A driver has ended: who waits for that; None where another has its place, or this was said before."""
        with self._lock:
            if self._driver is not driver:
                return None
            self._driver = None
            waiters, self._retirement = self._retirement, []
            return waiters

    def when_ended(self, waiter: Waiter) -> None:
        """Tell the waiter once no driver runs any more."""
        with self._lock:
            if self.is_alive:
                self._retirement.append(waiter)
                return
        waiter.resolve(None)

    def remember_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """A loop that uses this engine, and may take the writer over when another's loop ends."""
        self._loops[loop] = None

    def forget_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """A loop that is not to take the writer over."""
        self._loops.pop(loop, None)

    def hand_over(self) -> bool:
        """Have one of the remembered loops start a driver; whether there is one."""
        loops = [loop for held in self._loops.keyrefs() if (loop := held()) is not None]
        for loop in sorted(loops, key=lambda loop: not loop.is_running()):
            if not loop.is_closed():
                with suppress(RuntimeError):  # closed this very moment
                    loop.call_soon_threadsafe(self.ensure)
                    return True
        return False

    def join(self, timeout: float) -> None:
        """Block until the driver's thread has ended, at most `timeout` seconds."""
        driver = self._driver
        if driver is not None:
            driver.join(timeout)

    def stop(self, timeout: float) -> None:
        """Have the driver let go of the file, and its thread end, within `timeout` seconds."""
        driver = self._driver
        if driver is not None:
            driver.leave()
            driver.join(timeout)

    def let_go(self) -> None:
        """Have it close the database, to be opened again when needed; the caller holds the commit lock."""
        if self._driver is not None:
            self._driver.let_go()

    def leak(self) -> None:
        """In a forked child: never touch a driver of the parent's, not even to collect it."""
        if self._driver is not None:
            forks.leak(self._driver)
