"""Savings by prompt caches: each call's cost without a cache, minus its cost with the cache.

Computed call by call, because prices depend on the date and on the length of each prompt. The result is negative if
cache writes, which cost more than plain input, are not read often enough.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Protocol

from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.record.timestamps import to_microseconds
from llm_service.telemetry.stores.base import Fetch

__all__ = ["CACHED", "CacheSavings", "Priced", "RatesOf", "read_savings"]

_PAGE_ROWS: Final = 2_000
CACHED: Final = "(coalesce(cache_read_tokens, 0) > 0 OR coalesce(cache_write_tokens, 0) > 0)"
"""Whether a call used a cache, never NULL."""
_COLUMNS: Final = """model_name, request_model, region, provider, timestamp, prompt_tokens, completion_tokens,
    coalesce(cache_read_tokens, 0), coalesce(cache_write_tokens, 0), coalesce(reasoning_tokens, 0),
    coalesce(cache_write_1h_tokens, 0), service_tier"""
_PROBED: Final = 12
"""Number of columns in `_COLUMNS`."""


class Priced(Protocol):
    """The rates of one model, as `llm_service.pricing` has them."""

    def cost_nanos(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
    ) -> int | None:
        """Nano-dollars of one call; None if the counts contradict each other."""
        ...


class RatesOf(Protocol):
    """Finds rates, as a `PriceBook` does."""

    def rates(
        self,
        model_name: str | None,
        provider: str | None = None,
        at_us: int | None = None,
        service_tier: str | None = None,
        request_model: str | None = None,
        region: str | None = None,
    ) -> Priced | None:
        """The rates of a model at a moment (microseconds since 1970 UTC; None is now); None if unknown."""
        ...


@dataclass(slots=True)
class CacheSavings:
    """Number of priced calls that used a cache, and the nano-dollars saved."""

    priced: int = 0
    saved_nanos: int = 0

    def add(self, other: "CacheSavings") -> None:
        """Add the other's values."""
        self.priced += other.priced
        self.saved_nanos += other.saved_nanos


def read_savings(
    fetch: Fetch, narrowed: InvocationFilter, columns: Sequence[str], prices: RatesOf
) -> dict[tuple[str | None, ...], CacheSavings]:
    """Cache savings by columns, as SQL (none: all calls, under `()`); groups without a priced call are left out."""
    found: dict[tuple[str | None, ...], CacheSavings] = {}
    for row in _cached_calls(fetch, narrowed, columns):
        saved = _saved(prices, *row[-_PROBED:])
        if saved is not None:
            found.setdefault(tuple(row[:-_PROBED]), CacheSavings()).add(CacheSavings(1, saved))
    return found


def _saved(
    prices: RatesOf,
    model_name: str | None,
    request_model: str | None,
    region: str | None,
    provider: str | None,
    timestamp: str,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    read: int,
    written: int,
    reasoning: int,
    hour: int,
    service_tier: str | None,
) -> int | None:
    counts = (prompt_tokens, completion_tokens, read, written, reasoning, hour)
    if not all(type(count) is int for count in counts):  # unknown or invalid
        return None
    try:
        moment = to_microseconds(datetime.fromisoformat(timestamp))
    except (TypeError, ValueError):
        return None
    asked = None if model_name is None else request_model
    told = {name: value for name, value in (("request_model", asked), ("region", region)) if value is not None}
    rates = prices.rates(request_model if model_name is None else model_name, provider, moment, service_tier, **told)
    if rates is None:
        return None
    cost: Callable[..., int | None] = rates.cost_nanos
    uncached = cost(prompt_tokens, completion_tokens, 0, 0, reasoning)
    cached = cost(prompt_tokens, completion_tokens, read, written, reasoning, hour)
    return None if uncached is None or cached is None else uncached - cached


def _cached_calls(fetch: Fetch, narrowed: InvocationFilter, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """The calls that used a cache: names, then `_COLUMNS`. Only one page is in memory."""
    where = narrowed.where()
    sql = f"SELECT coalesce(min(id), 0), coalesce(max(id), -1) FROM invocations{where}"  # noqa: S608
    first, last = fetch((sql, where.parameters))[0]
    # Only by id: one scan in the order of the rows in the file.
    where = narrowed.calls()
    where.add(CACHED)
    where.add("unpriced_usage IS NULL AND id >= ? AND id <= ?")
    names = "".join(f"{column}, " for column in columns)
    sql = f"SELECT id, {names}{_COLUMNS} FROM invocations NOT INDEXED{where} ORDER BY id LIMIT ?"  # noqa: S608
    while first <= last:
        page = fetch((sql, [*where.parameters, first, last, _PAGE_ROWS]))
        yield from (row[1:] for row in page)
        if len(page) < _PAGE_ROWS:
            return
        first = page[-1][0] + 1
