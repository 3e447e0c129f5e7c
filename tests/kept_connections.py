"""Frameworks keep clients for later; their connections are to be closed while the loop that they belong to runs."""

import asyncio
import gc
from contextlib import suppress
from typing import Any, cast

__all__ = ["close_kept_connections"]

_CLOSES = {"AsyncClient": "aclose", "ClientSession": "close"}
"""Of httpx and httpx2, and of aiohttp."""


async def close_kept_connections() -> None:
    """Close those of all clients that there are."""
    for kept in gc.get_objects():
        for kind in cast("Any", type(kept)).__mro__:
            if kind.__name__ in _CLOSES and kind.__module__.partition(".")[0] in {"httpx", "httpx2", "aiohttp"}:
                with suppress(RuntimeError):  # its loop is closed already
                    await getattr(kept, _CLOSES[kind.__name__])()
                break
    for _ in range(5):  # transports close in the steps after
        await asyncio.sleep(0)
    gc.collect()
