"""Which name a call is priced by, where it was asked by one name and answered by another.

`model_name` is the model that answered, and `request_model` the name that it was asked by. The answer knows the version
best, but clouds and gateways often answer with the maker's bare name. Then only the request says who sold the call, in
which region, and whether the model was tuned: `us-gov.anthropic.claude-…`, `azure/eu/gpt-4.1`, `ft:gpt-4o:org::id`.
"""

import re
from functools import lru_cache
from typing import Final

from llm_service.pricing.model_names import PROFILES, candidates, explicit_seller, seller_of_form
from llm_service.pricing.sellers import GOOGLE, is_prefix, provider_of

__all__ = ["has_own_price", "priced_as"]

_MOST: Final = 4096
_OWN_PRICE: Final = re.compile(rf"(?:.*/)?(?:(?:{PROFILES})\.[a-z0-9]+\.|ft:|arn:)")
"""A region of a Bedrock profile, a tuned model, an ARN."""


@lru_cache(maxsize=_MOST)
def priced_as(
    model_name: str | None, request_model: str | None, provider: str | None, region: str | None = None
) -> tuple[str | None, str | None]:
    """Name and provider that a price is looked up by; each None if unknown.

    A region that the name does not have is put before it, as in a path: `eu-west-3/anthropic.claude-…`.

    Args:
        model_name, request_model, provider, region: as in the record.
    """
    name, seller = _by_one_name(model_name, request_model, provider)
    if name is None or region is None or has_own_price(name, seller):
        return name, seller
    return _with_region(region.strip().lower(), name, seller), seller


def _with_region(region: str, name: str, seller: str | None) -> str:
    """The name with a region behind the path of its seller, if it has one: `azure/eu/gpt-4.1`."""
    first, slash, rest = name.partition("/")
    if slash and is_prefix(first):
        return f"{first}/{region}/{rest}"
    if slash and first.lower() == provider_of(seller) == GOOGLE:  # as Vertex AI's endpoint for OpenAI's client wants it
        return f"{region}/{rest}"
    return f"{region}/{name}"


def _by_one_name(
    model_name: str | None, request_model: str | None, provider: str | None
) -> tuple[str | None, str | None]:
    if model_name is None or request_model is None or model_name == request_model:
        return request_model if model_name is None else model_name, provider
    if has_own_price(request_model, provider) and not has_own_price(model_name, provider):
        return request_model, provider
    if provider_of(provider) is None:
        return model_name, explicit_seller(request_model) or provider
    return model_name, provider


def has_own_price(name: str, provider: str | None) -> bool:
    """Whether the name says a region, a tuning or a gateway's variant, which has a price of its own."""
    lower = name.strip().lower()
    return (
        _OWN_PRICE.match(lower) is not None
        or seller_of_form(lower) == "openrouter"  # `:free`
        or any(one.region is not None for one in candidates(name, provider))
    )
