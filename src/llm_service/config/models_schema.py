"""The schema of `config/models.yaml`: prices by day, and limits of models.

Prices are US dollars per 1,000 or per 1,000,000 tokens, as the key says; the unit is never guessed. Unknown is None.
"""

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Final, Literal, cast

from pydantic import BeforeValidator, Field
from pydantic_core import PydanticCustomError

from llm_service.config.schema_values import (
    Name,
    Names,
    Problem,
    Strict,
    decimal_number,
    item_of,
    list_of,
    problem,
    unset,
    whole,
)
from llm_service.config.service_tiers import tier_of

__all__ = [
    "DatedPrices",
    "ModelConfig",
    "ModelsConfig",
    "PriceTier",
    "TokenPrices",
    "load_models",
]

_MOST_PRICE: Final = 10_000
"""The highest known list price is 600 per million: o1-pro's output, https://platform.openai.com/docs/pricing."""
_PLACES: Final = {"1k": 9, "1m": 6}
"""Decimals of a price: a token costs whole pico-dollars, so that sums are exact."""
_MOST_TOKENS: Final = 10**9

Price = Annotated[Decimal, decimal_number(0, _MOST_PRICE, _PLACES["1k"], "US dollars")]
Factor = Annotated[Decimal, decimal_number(0, 10, 4, "a factor")]
Tokens = Annotated[int, whole(1, _MOST_TOKENS, "tokens")]

_RATES: Final = ("input", "output", "cached_input", "cache_write", "cache_write_1h", "reasoning")


class _Rates(Strict):
    """What tokens cost, kind by kind."""

    input: Price = Field(description="US dollars for prompt tokens, those that come from no cache.")
    output: Price = Field(description="US dollars for completion tokens.")
    cached_input: Price | None = unset("US dollars for prompt tokens read from a cache; None: the full input price.")
    cache_write: Price | None = unset("US dollars for prompt tokens written to a cache; None: the full input price.")
    cache_write_1h: Price | None = unset(
        "US dollars for prompt tokens written to a cache for an hour; None: twice the input price for "
        "Claude, that of cache_write for others."
    )
    reasoning: Price | None = unset(
        "US dollars for reasoning tokens; None: the output price, as nearly all providers do."
    )


class PriceTier(_Rates):
    """Prices of a whole call whose prompt is longer than a bound."""

    above_prompt_tokens: Tokens = Field(
        description="The tier holds for calls with more prompt tokens, cached ones included, than this."
    )


class TokenPrices(_Rates):
    """Prices of a model; a call is priced whole at the highest tier that its prompt reaches."""

    tiers: tuple[PriceTier, ...] = Field(default=(), description="Other prices for long prompts, ascending.")

    @classmethod
    def clashes(cls, given: Mapping[str, object]) -> Iterable[Problem]:
        """Tiers that are not in ascending order."""
        bounds = [(place, item_of(tier, "above_prompt_tokens")) for place, tier in _entries(given.get("tiers"))]
        usable = [(place, bound) for place, bound in bounds if type(bound) is int]  # others have their own check
        for (_, before), (place, bound) in pairwise(usable):
            if bound <= before:
                yield ("tiers", place, "above_prompt_tokens"), f"give more than {before:,}: tiers ascend", bound


def _day(value: object) -> object:
    """A day without a time: prices change at midnight UTC."""
    if isinstance(value, dt.datetime):
        raise problem("write a day as 2026-11-23")
    if isinstance(value, str):
        try:
            return dt.date.fromisoformat(value)
        except ValueError:
            raise problem("write a day as 2026-11-23") from None
    return value


class DatedPrices(TokenPrices):
    """Prices that hold from a day on, 00:00 UTC, until the next entry."""

    from_: Annotated[dt.date, BeforeValidator(_day), Field(strict=True)] = Field(
        alias="from", description="The first day, UTC."
    )
    per: Literal["1k", "1m"] | None = unset(
        "Tokens that the prices are for; None: the unit of the model's own cost_per_* key."
    )


class ModelConfig(Strict):
    """What is known of a model."""

    provider: Name | None = unset("Who serves it (`gen_ai.provider.name`): openai, anthropic, aws.bedrock...")
    cost_per_1k_tokens: TokenPrices | None = unset(
        "US dollars per 1,000 tokens, before the first dated price or for ever."
    )
    cost_per_1m_tokens: TokenPrices | None = unset(
        "US dollars per 1,000,000 tokens, before the first dated price or for ever."
    )
    prices: tuple[DatedPrices, ...] = Field(default=(), description="Prices that hold from a day on, ascending.")
    service_tiers: dict[Name, Factor] = Field(
        default={},
        description="What calls of other service tiers (batch, flex, priority) cost, as a factor of all these prices.",
    )
    context_window: Tokens | None = unset("Most tokens of prompt and completion together.")
    max_output_tokens: Tokens | None = unset("Most tokens of a completion.")
    task_suitability: Names = Field(default=(), description="What the model is good for, in words of your own.")
    aliases: Names = Field(default=(), description="Other names under which its calls are recorded.")

    @classmethod
    def clashes(cls, given: Mapping[str, object]) -> Iterable[Problem]:
        """Two units for one price; a price without a unit, or finer than a pico-dollar; days and tiers that clash."""
        per_1k, per_1m = given.get("cost_per_1k_tokens"), given.get("cost_per_1m_tokens")
        if per_1k is not None and per_1m is not None:
            yield ("cost_per_1m_tokens",), "give it or cost_per_1k_tokens, not both", per_1m
        unit = "1k" if per_1k is not None else "1m" if per_1m is not None else None
        yield from _too_fine(per_1m, "1m", ("cost_per_1m_tokens",))
        for place, entry in _entries(given.get("prices")):
            per = item_of(entry, "per")
            if per is None and unit is None:
                yield ("prices", place, "per"), "is missing; say 1k or 1m, the tokens that the prices are for", None
            yield from _too_fine(entry, str(per or unit), ("prices", place))
        yield from _not_ascending(given.get("prices"))
        yield from _tier_clashes(given.get("service_tiers"), priced=unit is not None or bool(given.get("prices")))


class ModelsConfig(Strict):
    """The models, by name.

    Raises:
        pydantic.ValidationError: (a `ValueError`) with all that cannot be used, each at its place.
    """

    models: dict[Name, ModelConfig] = Field(default={}, description="The models, each under its name.")
    bundled_prices: bool = Field(
        default=True,
        strict=True,
        description="False: never use the prices of genai-prices, also where it is installed.",
    )

    @classmethod
    def clashes(cls, given: Mapping[str, object]) -> Iterable[Problem]:
        """A name of two models, ignoring case."""
        models = given.get("models")
        if not isinstance(models, Mapping):
            return
        found = cast("Mapping[object, object]", models)
        owners: dict[str, object] = {}
        for name in found:
            if str(name).casefold() in owners:
                owner = owners[str(name).casefold()]
                yield ("models", str(name)), f"is the name of {owner} but for its case; keep one", name
            owners.setdefault(str(name).casefold(), name)
        for name, model in found.items():
            for place, alias in enumerate(list_of(item_of(model, "aliases"))):
                if not isinstance(alias, str):
                    continue
                owner = owners.setdefault(alias.casefold(), name)
                if owner != name:
                    is_name = str(owner).casefold() == alias.casefold()
                    taken = "it is the name of another model" if is_name else f"it stands for {owner} already"
                    yield ("models", str(name), "aliases", place), f"{taken}; keep one", alias


def load_models(path: str | Path) -> ModelsConfig:
    """Read a models.yaml.

    Raises:
        ConfigError: (a `ValueError`) with file, line, key and remedy; a `ConfigErrors` if there are several.
    """
    from llm_service.config.parsing import parsed_file  # noqa: PLC0415 - imports YAML, which the schema does not need

    return parsed_file(ModelsConfig, path)


def _too_fine(prices: object, unit: str, place: tuple[str | int, ...]) -> Iterator[Problem]:
    """Prices with more decimals than their unit allows; other errors have their own checks."""
    places = _PLACES.get(unit, _PLACES["1k"])
    for key in _RATES if places < _PLACES["1k"] else ():
        value = item_of(prices, key)
        if isinstance(value, Decimal | float) and round(Decimal(str(value)), places) != Decimal(str(value)):
            yield (*place, key), f"give at most {places} decimals: a token costs whole pico-dollars", value
    for number, tier in _entries(item_of(prices, "tiers")):
        yield from _too_fine(tier, unit, (*place, "tiers", number))


def _not_ascending(prices: object) -> Iterator[Problem]:
    """Days that are not in ascending order; invalid days have their own check."""
    days = [(place, _day_of(item_of(entry, "from") or item_of(entry, "from_"))) for place, entry in _entries(prices)]
    for (_, before), (place, day) in pairwise((place, day) for place, day in days if day is not None):
        if day <= before:
            yield ("prices", place, "from"), f"give a day after {before}: prices ascend", str(day)


def _day_of(value: object) -> dt.date | None:
    try:
        day = _day(value)
    except PydanticCustomError:
        return None
    return day if isinstance(day, dt.date) else None


def _tier_clashes(factors: object, *, priced: bool) -> Iterator[Problem]:
    """Service tiers that mean the standard one, occur twice, or have no price to multiply."""
    if not isinstance(factors, Mapping) or not factors:
        return
    if not priced:
        yield ("service_tiers",), "is a factor of prices that are not there; add cost_per_1m_tokens", factors
    seen: dict[str | None, str] = {}
    for label, factor in cast("Mapping[str, object]", factors).items():
        tier = tier_of(str(label))
        if tier is None:
            yield ("service_tiers", str(label)), "the prices themselves are for this tier; remove it", factor
        elif tier in seen:
            yield ("service_tiers", str(label)), f"is the same tier as {seen[tier]}; keep one", factor
        seen.setdefault(tier, str(label))


def _entries(value: object) -> list[tuple[int, object]]:
    """Indexes and items of a list that are mappings; others have their own check."""
    items = cast("list[object]", value) if isinstance(value, list | tuple) else []
    return [(place, item) for place, item in enumerate(items) if isinstance(item, Mapping | Strict)]
