"""Regions and sellers for which an entry of the bundled prices does not apply.

Clouds have other prices in other regions, and the data have few of them. An entry applies to a region only if it names
the region, if its prices are known to be the same everywhere, or if the region is one of the data's list prices.
Everything else is unknown, never another region's price.
"""

import re
from collections.abc import Iterable
from typing import Final

from llm_service.pricing.corrections import REFUSED
from llm_service.pricing.model_names import PROFILES, Candidate, is_claude
from llm_service.pricing.sellers import GEMINI, GOOGLE, VERTEX

__all__ = ["has_tiers_of", "is_given_away", "not_of_seller", "refusal"]

_PROFILE: Final = re.compile(rf"^/?({PROFILES})\.")
"""The region prefix of a Bedrock profile: `eu.anthropic.claude-…`."""
_GLOBAL: Final = "global"
_PARTITIONS: Final = ("us-gov", "us-iso", "eu-iso", "eusc-", "cn-")
"""Regions of AWS GovCloud, its isolated and sovereign clouds, and China."""
_LIST_REGIONS: Final = frozenset({"us-east-1", "us-east-2", "us-west-2"})
"""N. Virginia, Ohio and Oregon share one price list, the data's: https://aws.amazon.com/bedrock/pricing/."""
_PROFILES_OF: Final = {
    "ap-northeast-1": ("apac", "jp"),
    "ap-northeast-3": ("apac", "jp"),
    "ap-south-1": ("apac", "in"),
    "ap-south-2": ("apac", "in"),
    "ap-southeast-2": ("apac", "au"),
    "ap-southeast-4": ("apac", "au"),
    "ap-": ("apac",),
}
"""Profiles that serve a region: https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html;
in other regions, the profile is the start of the region's name."""
_BILLED_OTHERWISE: Final = {"regional.amazon.nova-2-lite-v1:0": frozenset({"eu", "jp"})}
"""Profiles that an entry lists at the price of `us.`, $0.33, while AWS charges more ($0.429 and $0.396, according to
LiteLLM's copy of its price list)."""
_ONE_PRICE_ON_VERTEX: Final = re.compile(r"gemini-2\.|claude-(3-|4-(opus|sonnet)$)")
"""Newer models cost a tenth more outside the global endpoint: https://cloud.google.com/vertex-ai/generative-ai/pricing."""
_OTHER_ON_VERTEX: Final = re.compile(r"gemini-(1\.|(pro|flash)-1\.5|pro$|2\.0-flash$)")
"""Vertex AI bills Gemini 1 by characters and charges $0.15 for Gemini 2.0 Flash; the Gemini API charges $0.10."""
_ELSEWHERE: Final = re.compile(
    r"(?<!were )imported from openrouter|trusting open ?router|seen on openrouter", re.IGNORECASE
)
_CHECKED: Final = re.compile(r"verified against", re.IGNORECASE)
_FREE: Final = "free of charge"


def refusal(one: Candidate, entry_id: str, comments: str, spelled: Iterable[str]) -> str | None:
    """Why an entry with this name does not apply to the call; None if it does.

    Args:
        one: the name, its seller and region.
        entry_id: of the entry, as in the data.
        comments: of the entry.
        spelled: the names that the entry spells out.
    """
    why = not_of_seller(one.provider or "", entry_id, comments)
    if why is not None:
        return why
    if one.provider == "aws":
        return _at_aws(one, entry_id, spelled)
    if one.provider == "azure" and one.region not in {None, _GLOBAL, "global-standard"}:
        return f"the data have Azure's prices of Global deployments only, not of {one.region}"
    return _at_google(one, entry_id) if one.provider == GOOGLE else None


def not_of_seller(provider: str, entry_id: str, comments: str) -> str | None:
    """Why an entry is not a price of the seller in whose list it is: the data say that it was copied; else None."""
    if _ELSEWHERE.search(comments) is not None and _CHECKED.search(comments) is None:
        return "its price was copied from OpenRouter's list, another seller's"
    return REFUSED.get((provider, entry_id))


def is_given_away(provider: str, api: str | None, entry_id: str, comments: str) -> bool:
    """Whether the data say that an entry without prices is free at this seller."""
    if provider == "openrouter" and entry_id.endswith(":free"):
        return True
    return _FREE in comments.lower() and (provider != GOOGLE or api == GEMINI)


def has_tiers_of(one: Candidate, entry_id: str) -> bool:
    """Whether the service tiers of an entry are this seller's; for Gemini the data have only the Gemini API's."""
    return one.api != VERTEX or is_claude(entry_id)


def _at_aws(one: Candidate, entry_id: str, spelled: Iterable[str]) -> str | None:
    profile = _profile(one.name)
    if any(place is not None and place.startswith(_PARTITIONS) for place in (profile, one.region)):
        return f"{profile or one.region} is not of the commercial AWS, and the data have no prices of it"
    if profile is None and one.region is None:
        return None
    if (profile == _GLOBAL) != entry_id.startswith(f"{_GLOBAL}."):
        return f"it is no price of {profile or one.region}"
    if profile == _GLOBAL:
        return None
    named = {place for place in map(_profile, spelled) if place is not None}
    if named:
        named -= _BILLED_OTHERWISE.get(entry_id, frozenset())
        wanted = {profile} if profile is not None else _profiles_of(one.region or "")
        held = not named.isdisjoint(wanted)
    elif entry_id.startswith("regional."):  # Claude 3 and 3.5: one price in every commercial region
        held = True
    else:
        held = profile in {None, "us"} and one.region in {None, *_LIST_REGIONS}
    return None if held else f"its price is of other regions than {profile or one.region}"


def _profile(name: str) -> str | None:
    found = _PROFILE.match(name)
    return None if found is None else found[1]


def _profiles_of(region: str) -> frozenset[str]:
    for beginning, profiles in _PROFILES_OF.items():
        if region.startswith(beginning):
            return frozenset(profiles)
    return frozenset({region.partition("-")[0]})


def _at_google(one: Candidate, entry_id: str) -> str | None:
    on_vertex_alone = is_claude(entry_id) or entry_id.endswith("-maas")
    if one.api == GEMINI and on_vertex_alone:
        return "it is sold on Vertex AI, not by the Gemini API"
    if one.api == VERTEX and _OTHER_ON_VERTEX.match(entry_id):
        return "its price is of the Gemini API, and Vertex AI takes another"
    if one.region in {None, _GLOBAL} or _ONE_PRICE_ON_VERTEX.match(entry_id):
        return None
    return f"its price is of the global endpoint, and {one.region} may cost a tenth more"
