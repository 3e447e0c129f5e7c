"""Finishing in spite of cancellation, within a bound, and passing the cancellation on afterwards.

A cancelled anyio scope is held off by a shield; a native `task.cancel()` or `asyncio.timeout` pierces it. So the
work runs in a task of its own.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

__all__ = ["uninterrupted"]

_T = TypeVar("_T")


async def uninterrupted(work: Coroutine[Any, Any, _T]) -> _T:
    """Await `work`, which must end by itself, to its end; then raise the cancellation that came meanwhile."""
    from anyio import CancelScope  # noqa: PLC0415 - only a close pays for it

    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    with CancelScope(shield=True):
        while not task.done():
            try:
                await asyncio.wait([task])
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled
    return task.result()
