"""New calls as they are committed, by whichever process: the file is asked for a number that its commits change."""

import select
import sys
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from llm_service.cli.target import reading
from llm_service.errors import StoreError
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.newest import read_newest
from llm_service.telemetry.queries.pages import newest_id, read_newer
from llm_service.telemetry.queries.questions import InvocationRow

__all__ = ["POLL_S", "follow", "pause_while_read"]

POLL_S: Final = 0.2
"""How long a new call may wait until it is shown; a poll takes about 10 us of CPU."""


def follow(
    path: Path, narrowed: InvocationFilter, backlog: int, pause: Callable[[], bool]
) -> Generator[list[InvocationRow]]:
    """Give the newest calls that are stored, oldest first, then those that arrive, in the order of arrival.

    No snapshot is held between two polls. Calls that arrive between two polls *while* newer ones are deleted may be
    passed over: SQLite gives their row numbers out again.

    Args:
        backlog: how many of the stored ones; 0 for none.
        pause: waits between two polls; False ends.

    Raises:
        StoreError: the file cannot be read, or is another one now.
    """
    identity = _identity(path)
    with reading(path) as fetch:
        seen = newest_id(fetch)
        if backlog:
            stored = [row for row in read_newest(fetch, narrowed, backlog) if row["id"] <= seen]
            yield stored[::-1]
        version: object = None
        while pause():
            if _identity(path) != identity:
                raise StoreError(f"{path} was removed or replaced; start again to follow the file that is there", path)
            # Read before the newest id: a commit in between changes it again, and is seen at the next poll.
            found = fetch(("PRAGMA data_version", ()))
            if found == version:
                continue
            version = found
            through = newest_id(fetch)
            yield from read_newer(fetch, narrowed, seen, through)
            seen = through


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def pause_while_read() -> Callable[[], bool]:
    """A pause of `POLL_S` that ends with False once nobody reads our standard output any more."""
    try:
        descriptor = sys.stdout.fileno()
        poller = select.poll()
    except (OSError, AttributeError):  # no file behind it, or a system without poll()
        return _sleep
    poller.register(descriptor, 0)  # errors and hang-ups are always reported
    return lambda: not poller.poll(POLL_S * 1000)


def _sleep() -> bool:
    time.sleep(POLL_S)
    return True
