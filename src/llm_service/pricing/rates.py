"""The prices of one model at one time, compiled to integers, so that pricing a call takes a few multiplications.

A rate is an integer of parts of a nano-dollar per token: thousandths (pico-USD) if exact, and finer parts for the few
published rates with more digits ($0.0375 per million tokens is 37,500 pico-USD per token, but $0.0833333333333333 per
million is not an integer of them). Sums are exact; a call is rounded once, half up, to a whole nano-dollar.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, NamedTuple

__all__ = ["CLAUDE_HOUR", "Prices", "Rates", "long_prices"]

CLAUDE_HOUR: Final = 2
"""Factor on the input price for a prompt token that Anthropic caches for an hour, for every model; for five minutes it
is 1.25 (https://platform.claude.com/docs/en/build-with-claude/prompt-caching#pricing)."""

_PICO: Final = 3
"""A pico-dollar is 10 ** -3 nano-dollars."""
_MICRO: Final = 3
"""USD per million tokens is micro-USD per token: 10 ** 3 nano-dollars."""
_UNKNOWN: Final = -1
_NO_BOUND: Final = 2**63


class Prices(NamedTuple):
    """USD per million tokens, for whole calls with more than `above_prompt_tokens` prompt tokens.

    None: no separate price. Cached and written tokens then cost the same as input, tokens written for an hour the same
    as written ones, reasoning the same as output; a model without an output price (embeddings) has no completion.
    """

    above_prompt_tokens: int
    input: Decimal
    output: Decimal | None = None
    cached_input: Decimal | None = None
    cache_write: Decimal | None = None
    reasoning: Decimal | None = None
    cache_write_1h: Decimal | None = None


def long_prices(prices: Prices, above_prompt_tokens: int) -> Prices:
    """The usual prices of long prompts: any input twice, output 1.5 times."""

    def times(price: Decimal | None, factor: Decimal) -> Decimal | None:
        return None if price is None else price * factor

    twice, more = Decimal(2), Decimal("1.5")
    return Prices(
        above_prompt_tokens,
        prices.input * twice,
        times(prices.output, more),
        times(prices.cached_input, twice),
        times(prices.cache_write, twice),
        times(prices.reasoning, more),
        times(prices.cache_write_1h, twice),
    )


class _Band(NamedTuple):
    """One tier in parts of a nano-dollar per token; for cached, written and reasoning tokens, the extra price.

    Tokens written for an hour count as written ones: `hour_more` is the extra price on top. So most calls take two
    multiplications.
    """

    above: int
    input: int
    output: int
    cached_more: int
    written_more: int
    reasoned_more: int
    hour_more: int


@dataclass(frozen=True, slots=True)
class Rates:
    """The prices of a model. Immutable and thread-safe.

    Attributes:
        source: of the prices: the path of a `models.yaml`, or `genai-prices` and its version.
        model: the entry that the name resolved to.
        provider: the seller; None if `models.yaml` does not name one.
        prices: as published, USD per million tokens, from the lowest tier to the highest.
        known_up_to: prompt tokens above which the price is unknown; None if it is known for any prompt.
    """

    source: str
    model: str
    provider: str | None
    prices: tuple[Prices, ...]
    _bands: tuple[_Band, ...]
    _parts: int
    _half: int
    known_up_to: int | None = None

    @classmethod
    def of(cls, source: str, model: str, provider: str | None, prices: Iterable[Prices]) -> "Rates":
        """Compile prices of one or more tiers; the lowest one holds for any prompt.

        Raises:
            ValueError: no tier, two tiers of one threshold, or a negative or infinite price.
        """
        tiers = tuple(sorted(prices, key=lambda tier: tier.above_prompt_tokens))
        _check(model, tiers)
        places = max(_PICO, *(_places(price) - _MICRO for tier in tiers for price in tier[1:]))
        bands = [_band(tier, places + _MICRO) for tier in tiers]
        bands[0] = bands[0]._replace(above=_UNKNOWN)  # below every count
        parts = 10**places
        return cls(source, model, provider, tiers, tuple(reversed(bands)), parts, parts // 2)

    def up_to(self, prompt_tokens: int) -> "Rates":
        """The same, limited to prompts of up to `prompt_tokens`; the price of longer ones is unknown."""
        beyond = _Band(prompt_tokens, *[_UNKNOWN] * (len(_Band._fields) - 1))
        return replace(self, _bands=(beyond, *self._bands), known_up_to=prompt_tokens)

    @property
    def gives_output(self) -> bool:
        """Whether there is an output price; embeddings have none."""
        return self.prices[0].output is not None

    @property
    def needs_output(self) -> bool:
        """Whether the price depends on the output: not where it has no price, or one of 0, as embeddings in a file."""
        return any(tier.output for tier in self.prices)

    def cost_nanos(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
        longest: int | None = None,
    ) -> int | None:
        """The cost of a call in nano-USD, rounded once, half up.

        Args:
            prompt_tokens: all, including those read from and written to a cache.
            completion_tokens: all, including reasoning.
            cache_read_tokens, cache_write_tokens: parts of the prompt.
            reasoning_tokens: part of the completion.
            cache_write_1h_tokens: part of `cache_write_tokens`: written for an hour.
            longest: if the counts are the sum of several calls, an upper bound of each prompt: the sum is priced only
                if all calls are in the lowest tier.

        Returns:
            None if the parts exceed the whole, if a model without an output price has output, or if the prompt is
            longer than `known_up_to`.
        """
        bands = self._bands
        if longest is not None:
            if len(bands) > 1 and longest > bands[-2].above:
                return None
            bands = bands[-1:]
        for above, one_input, output, cached_more, written_more, reasoned_more, hour_more in bands:
            if prompt_tokens > above:
                if one_input < 0:  # above `known_up_to`
                    return None
                parts = prompt_tokens * one_input + completion_tokens * output + self._half
                if cache_write_1h_tokens:
                    if cache_write_1h_tokens > cache_write_tokens:
                        return None
                    parts += cache_write_1h_tokens * hour_more
                if cache_read_tokens or cache_write_tokens or reasoning_tokens:
                    if cache_read_tokens + cache_write_tokens > prompt_tokens or reasoning_tokens > completion_tokens:
                        return None
                    parts += (
                        cache_read_tokens * cached_more
                        + cache_write_tokens * written_more
                        + reasoning_tokens * reasoned_more
                    )
                return None if output < 0 and completion_tokens else parts // self._parts
        return None  # a negative count

    def lowest_tier(self) -> tuple[int, int, int, int, int, int, int, int]:
        """`(up_to, input, output, cached_more, written_more, reasoned_more, half, parts)`, for pricing many calls.

        This inlines `cost_nanos`: with up to `up_to` prompt tokens a call costs `(prompt_tokens * input +
        completion_tokens * output + cache_read_tokens * cached_more + cache_write_tokens * written_more +
        reasoning_tokens * reasoned_more + half) // parts` nano-USD, if the parts do not exceed the whole and nothing
        was written for an hour. `up_to` is -1 without an output price.
        """
        lowest = self._bands[-1]
        up_to = self._bands[-2].above if len(self._bands) > 1 else _NO_BOUND
        return up_to if self.gives_output else _UNKNOWN, *lowest[1:-1], self._half, self._parts

    def most_nanos(self, prompt_tokens: int, completion_tokens: int) -> int | None:
        """The maximum cost in nano-USD of a call of up to these tokens, for any cached, written or reasoning parts.

        Lower tiers count, too. Without an output price, output counts at the highest input price, as a bound for a
        model that should have none. None if the prompt may be longer than `known_up_to`.
        """
        if self.known_up_to is not None and prompt_tokens > self.known_up_to:
            return None
        most = 0
        for above, one_input, output, cached_more, written_more, reasoned_more, hour_more in self._bands:
            if one_input >= 0 and above < max(prompt_tokens, 0):
                dearest = one_input + max(0, cached_more, written_more, written_more + hour_more)
                said = output + max(0, reasoned_more) if output >= 0 else dearest
                most = max(most, prompt_tokens * dearest + completion_tokens * said)
        return -(-most // self._parts)


def _check(model: str, tiers: tuple[Prices, ...]) -> None:
    if not tiers:
        raise ValueError(f"prices: {model!r} has none; give at least input and output")
    thresholds = [tier.above_prompt_tokens for tier in tiers]
    if len(set(thresholds)) < len(thresholds):
        raise ValueError(f"prices: two tiers of {model!r} begin above the same number of tokens; give each its own")
    for tier in tiers:
        for name, price in zip(Prices._fields[1:], tier[1:], strict=True):
            if price is not None and (not price.is_finite() or price < 0):
                raise ValueError(f"{name}: {price} of {model!r} is no price; give USD, 0 or more")


def _places(price: Decimal | None) -> int:
    """The number of decimals of a price."""
    if price is None:
        return 0
    exponent = price.normalize().as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0


def _scaled(price: Decimal, places: int) -> int:
    """The price times 10 ** places, exact for any precision of the decimal context."""
    _, digits, exponent = price.as_tuple()
    assert isinstance(exponent, int)  # noqa: S101 - it is finite
    whole = int("".join(map(str, digits)))
    shift = exponent + places
    return whole * int(10**shift) if shift >= 0 else whole // int(10**-shift)  # trailing zeros


def _band(tier: Prices, places: int) -> _Band:
    one_input = _scaled(tier.input, places)
    output = _UNKNOWN if tier.output is None else _scaled(tier.output, places)

    def more(price: Decimal | None, than: int) -> int:
        return 0 if price is None else _scaled(price, places) - than

    return _Band(
        tier.above_prompt_tokens,
        one_input,
        output,
        more(tier.cached_input, one_input),
        more(tier.cache_write, one_input),
        more(tier.reasoning, output),
        more(tier.cache_write_1h, one_input if tier.cache_write is None else _scaled(tier.cache_write, places)),
    )
