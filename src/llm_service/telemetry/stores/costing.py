"""Computes the missing costs of a batch, before the writer takes the write lock.

A reported cost is kept. Otherwise the cost is computed from the price of the model at the record's own time. The cost
stays NULL and is marked `unknown`, never 0, if there is no price, if the token counts contradict each other (then
`unpriced_usage` gives this reason if it is empty), or if `unpriced_usage` names other billed usage. A record whose
`unpriced_usage` says only that it sums several requests is priced if all of them are in the lowest tier.
"""

import logging
import sys
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Any, Final

from llm_service.pricing.book import NO_BUNDLED, PriceBook
from llm_service.pricing.contradictions import contradiction
from llm_service.pricing.rates import Rates
from llm_service.pricing.runs import longest_of
from llm_service.redaction import clean
from llm_service.telemetry.record.checks import MAX_COST_USD
from llm_service.telemetry.record.record import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_FIELDS, InvocationRecord, rebuilt

__all__ = ["COMPUTED", "UNKNOWN", "Costing", "cost_of", "with_cost"]

_LOG: Final = logging.getLogger("llm_service.telemetry")
COMPUTED: Final = "computed"
UNKNOWN: Final = "unknown"
_MOST_NANOS: Final = int(MAX_COST_USD * 10**9)
_COST: Final = CARD_FIELDS.index("cost_usd")
_COUNTS: Final = slice(CARD_FIELDS.index("prompt_tokens"), CARD_FIELDS.index("total_tokens") + 1)
_PLACE: Final = itemgetter(*map(EXTENSION_FIELDS.index, ("provider", "service_tier", "request_model", "region")))
"""Beside the model, what `PriceBook.span` asks for, in its order."""
_PARTS: Final = slice(EXTENSION_FIELDS.index("cache_read_tokens"), EXTENSION_FIELDS.index("reasoning_tokens") + 1)
_HOUR: Final = EXTENSION_FIELDS.index("cache_write_1h_tokens")
_SOURCE: Final = EXTENSION_FIELDS.index("cost_source")
_UNPRICED: Final = EXTENSION_FIELDS.index("unpriced_usage")
_WIDTH: Final = len(EXTENSION_FIELDS) + len(CONTENT_FIELDS)


def _only(source: str) -> tuple[Any, ...]:
    return tuple(source if at == _SOURCE else None for at in range(_WIDTH))


_PLAIN: Final = {COMPUTED: _only(COMPUTED), UNKNOWN: _only(UNKNOWN)}
"""Extensions of records that have only a cost source: shared, which keeps plain records cheap."""

_Cost = tuple[float | None, str]
_NOT_KNOWN: Final[_Cost] = (None, UNKNOWN)
_Key = str | tuple[str | None, ...] | None
"""The model alone, or with what else decides the price: most records have only a model, which saves a tuple."""
_Price = Callable[[int, int, int, int, int, int, int | None], int | None]
_Entry = tuple[int, int, int, int, int, int, int, int, int, int, _Price | None]
"""Since and until when it is valid, `Rates.lowest_tier`, and `Rates.cost_nanos`."""
_NOTHING: Final = (-1, 0, 0, 0, 0, 0, 0, 1, None)
_NEVER: Final[_Entry] = (0, 0, *_NOTHING)


class Costing:
    """Prices the batches of one writer, and may import genai-prices; an error fails no batch, and is logged once."""

    def __init__(self, prices: PriceBook) -> None:
        self._prices = prices
        self._failed = False
        self._told = False

    def costs(self, batch: Sequence[InvocationRecord]) -> list[_Cost | None] | None:
        """Cost in USD and its source, by record; None for a record that has a cost; None if all have one."""
        found: list[_Cost | None] = []
        table: dict[_Key, _Entry] = {}
        for record in batch:
            # Each step is inlined: calls would double the time.
            try:
                _, moment, _, _, model, prompt, completion, total, cost, _, _, _, _ = record.card
                if cost is not None:
                    found.append(None)
                    continue
                key: _Key = model
                read = written = reasoned = hour = 0
                longest: int | None = None
                extensions = record.extensions
                if extensions is not None:
                    unpriced = extensions[_UNPRICED]
                    if unpriced is not None and (longest := longest_of(unpriced)) is None:
                        found.append(_NOT_KNOWN)
                        continue
                    key = model, *_PLACE(extensions)
                    hour = extensions[_HOUR] or 0
                    cached_tokens, written_tokens, reasoning_tokens = extensions[_PARTS]
                    read, written, reasoned = cached_tokens or 0, written_tokens or 0, reasoning_tokens or 0
                start, end, up_to, one, other, cached, writing, thought, half, parts, price = table.get(key, _NEVER)
                if not start <= moment < end:
                    entry = table[key] = self._look_up(key, moment)
                    _, _, up_to, one, other, cached, writing, thought, half, parts, price = entry
                if price is None or prompt is None or (completion is None and up_to >= 0 and other):
                    found.append(_NOT_KNOWN)
                    continue
                completion = completion or 0
                if total is not None and total > prompt + completion:
                    found.append(_NOT_KNOWN)
                    continue
                nanos: int | None
                if hour or prompt > up_to or read + written > prompt or reasoned > completion:
                    nanos = price(prompt, completion, read, written, reasoned, hour, longest)
                else:
                    whole: int = prompt * one + completion * other + half
                    if read or written or reasoned:
                        whole += read * cached + written * writing + reasoned * thought
                    nanos = whole // parts
                found.append(_NOT_KNOWN if nanos is None or nanos > _MOST_NANOS else (nanos / 1e9, COMPUTED))
            except Exception as error:  # noqa: BLE001 - a damaged record, or a bug: neither may cost the batch
                self._note(error)
                found.append(_NOT_KNOWN)
        return found if any(found) else None

    def _look_up(self, key: _Key, at_us: int) -> _Entry:
        model, provider, tier, asked, region = key if isinstance(key, tuple) else (key, None, None, None, None)
        start, end, rates = self._prices.span(model, provider, at_us, tier, asked, region)
        model = asked if model is None else model
        if rates is None and model is not None and not self._told and self._prices.lacks_bundled:
            self._told = True
            _LOG.warning(
                "telemetry: a call has no price, %s; then price what is stored: llm-telemetry reprice",
                "the interpreter ends, and no list is loaded any more" if sys.is_finalizing() else NO_BUNDLED,
            )
        return (start, end, *_NOTHING) if rates is None else (start, end, *rates.lowest_tier(), rates.cost_nanos)

    def _note(self, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            reason = clean(f"{type(error).__name__}: {error}")[:500]
            _LOG.warning("telemetry: a record cannot be priced, its cost is unknown (goes on): %s", reason)


def cost_of(
    rates: Rates | None,
    prompt_tokens: int | None,
    completion_tokens: int | None,
    cache_read_tokens: int | None,
    cache_write_tokens: int | None,
    reasoning_tokens: int | None,
    cache_write_1h_tokens: int | None = None,
    total_tokens: int | None = None,
    unpriced_usage: str | None = None,
) -> float | None:
    """The cost of one call in USD, as `Costing.costs` computes it; None if unknown."""
    if rates is None or prompt_tokens is None or (completion_tokens is None and rates.needs_output):
        return None
    longest = None if unpriced_usage is None else longest_of(unpriced_usage)
    if (unpriced_usage is not None and longest is None) or (total_tokens or 0) > prompt_tokens + (
        completion_tokens or 0
    ):
        return None
    nanos = rates.cost_nanos(
        prompt_tokens,
        completion_tokens or 0,
        cache_read_tokens or 0,
        cache_write_tokens or 0,
        reasoning_tokens or 0,
        cache_write_1h_tokens or 0,
        longest,
    )
    return None if nanos is None or nanos > _MOST_NANOS else nanos / 1e9


def with_cost(record: InvocationRecord, cost: _Cost | None) -> InvocationRecord:
    """The record with its result of `costs`."""
    if cost is None:
        return record
    usd, source = cost
    card, extensions = record.card, record.extensions
    said = _PLAIN[source] if extensions is None else (*extensions[:_SOURCE], source, *extensions[_SOURCE + 1 :])
    if usd is None:
        said = _with_reason(said, card)
    return rebuilt(record, card if usd is None else (*card[:_COST], usd, *card[_COST + 1 :]), said)


def _with_reason(extensions: tuple[Any, ...], card: tuple[Any, ...]) -> tuple[Any, ...]:
    """The extensions with the reason why contradictory counts give no cost; damaged ones are returned unchanged."""
    try:
        if extensions[_UNPRICED] is None:
            prompt, completion, total = card[_COUNTS]
            read, written, reasoned = extensions[_PARTS]
            reason = contradiction(prompt, completion, total, read, written, reasoned, extensions[_HOUR])
            if reason is not None:
                return (*extensions[:_UNPRICED], reason, *extensions[_UNPRICED + 1 :])
    except (TypeError, ValueError, IndexError):  # SQLite refuses a damaged record later
        pass
    return extensions
