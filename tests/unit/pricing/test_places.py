"""A price is of the region that the name says: over all entries of Bedrock and all profiles and regions."""

from collections.abc import Iterator
from typing import Any

import pytest
from genai_prices.data import providers

from llm_service.pricing.book import PriceBook
from llm_service.pricing.model_names import PROFILES

BEDROCK = next(provider for provider in providers if provider.id == "aws")
PLACES = PROFILES.split("|")
REGIONS = ("us-east-1", "us-west-2", "us-west-1", "ca-central-1", "eu-west-2", "eu-central-1", "ap-northeast-1",
           "ap-southeast-2", "ap-south-1", "sa-east-1", "us-gov-west-1", "us-gov-east-1", "us-iso-east-1", "eusc-de-east-1", "cn-north-1")  # fmt: skip
LIST = {"us-east-1", "us-east-2", "us-west-2"}
PROFILE_OF = {"ca-central-1": "ca", "ap-northeast-1": "jp", "ap-southeast-2": "au", "ap-south-1": "in"}


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """The bundled prices."""
    return PriceBook()


def texts(clause: Any) -> Iterator[str]:
    """The names in a clause of the data."""
    for text in clause.__dict__.values():
        if isinstance(text, str):
            yield text
        else:
            for inner in text:
                yield from texts(inner)


def bare(entry: str) -> str:
    """The id of an entry without its place."""
    head, _, rest = entry.partition(".")
    return rest if head in {"global", "regional"} else entry


def test_a_profile_has_the_price_of_an_entry_that_spells_it_out_or_none(book: PriceBook) -> None:
    """`us.` may also have the list price, which is of the regions in the US; `us-gov.` has none at all."""
    known = 0
    for info in BEDROCK.models:
        for place in PLACES:
            name = f"{place}.{bare(info.id)}"
            rates = book.rates(name, "aws.bedrock")
            assert book.rates(name) == rates
            if rates is None:
                continue
            known += 1
            entry = next(one for one in BEDROCK.models if one.id == rates.model)
            spelled = [text for text in texts(entry.match) if text.lstrip("/").startswith(f"{place}.")]
            every = entry.id.startswith("regional.") and not any(
                text.partition(".")[0].lstrip("/") in PLACES for text in texts(entry.match)
            )
            assert place != "us-gov"
            assert (place == "global") is entry.id.startswith("global.")
            assert spelled or every or (place == "us" and not entry.id.startswith("regional.")), name
    assert known > 100


@pytest.mark.slow
def test_a_region_has_the_price_of_its_own_or_none(book: PriceBook) -> None:
    """In a path or an ARN; the list price is of three regions, and GovCloud's is in no list."""
    for info in BEDROCK.models:
        name = bare(info.id)
        for region in REGIONS:
            partition = "aws-us-gov" if "gov" in region else "aws"
            by_path = book.rates(f"bedrock/{region}/{name}")
            assert by_path == book.rates(f"{region}/{name}", "bedrock")
            assert by_path == book.rates(f"bedrock/converse/{region}/{name}")
            assert by_path == book.rates(f"arn:{partition}:bedrock:{region}::foundation-model/{name}")
            if by_path is None:
                continue
            assert not region.startswith(("us-gov", "us-iso", "eusc", "cn"))
            entry = next(one for one in BEDROCK.models if one.id == by_path.model)
            assert not entry.id.startswith("global.")
            if not entry.id.startswith("regional."):
                assert region in LIST, (region, name)
            spelled = {text.lstrip("/").partition(".")[0] for text in texts(entry.match)} & set(PLACES)
            at = {PROFILE_OF.get(region, region[:2]), *(["apac"] if region.startswith("ap-") else [])}
            assert not spelled or spelled & at, (region, name)


@pytest.mark.parametrize(
    ("name", "usd"),
    [
        # https://aws.amazon.com/bedrock/pricing/, as of November 2026
        ("us.amazon.nova-pro-v1:0", "0.8"),
        ("amazon.nova-pro-v1:0", "0.8"),
        ("bedrock/us-west-2/amazon.nova-pro-v1:0", "0.8"),
        ("eu.amazon.nova-pro-v1:0", None),
        ("apac.amazon.nova-pro-v1:0", None),
        ("global.amazon.nova-pro-v1:0", None),
        ("us.amazon.nova-2-lite-v1:0", "0.33"),
        ("eu.amazon.nova-2-lite-v1:0", None),
        ("global.amazon.nova-2-lite-v1:0", "0.3"),
        ("bedrock/eu-west-2/nvidia.nemotron-super-3-120b", None),
        ("bedrock/sa-east-1/meta.llama3-70b-instruct-v1:0", None),
        ("bedrock/us-east-1/meta.llama3-70b-instruct-v1:0", "2.65"),
        ("bedrock/us-gov-west-1/anthropic.claude-opus-4-8", None),
        ("us-gov.anthropic.claude-sonnet-4-5-20250929-v1:0", None),
        ("bedrock/us-gov.anthropic.claude-3-haiku-20240307-v1:0", None),
        ("us.anthropic.claude-opus-5-5", "4.4"),
        ("jp.anthropic.claude-opus-5-5", "4.4"),
        ("apac.anthropic.claude-opus-5-5", None),
        ("global.anthropic.claude-opus-5-5", "4"),
        ("eu.anthropic.claude-opus-5-5[1m]", "4.4"),
        ("bedrock/eu-central-1/anthropic.claude-opus-5-5", "4.4"),
        ("bedrock/sa-east-1/anthropic.claude-opus-5-5", None),
        ("eu.anthropic.claude-3-haiku-20240307-v1:0", "0.25"),
        ("us.meta.llama4-scout-17b-instruct-v1:0", "0.17"),
        ("eu.meta.llama3-2-1b-instruct-v1:0", None),
        ("arn:aws:bedrock:eu-west-1:123456789012:inference-profile/eu.anthropic.claude-opus-5-5", "4.4"),
        ("arn:aws:bedrock:ca-central-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0", None),
        ("arn:aws-us-gov:bedrock:us-gov-west-1:123456789012:inference-profile/us-gov.anthropic.claude-opus-4-5", None),
        ("bedrock/arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.amazon.nova-pro-v1:0", "0.8"),
        ("arn:aws:bedrock:us-east-1:123456789012:custom-model/amazon.nova-pro-v1:0", None),
        # https://cloud.google.com/vertex-ai/generative-ai/pricing: a tenth more outside the global endpoint
        ("projects/p/locations/global/publishers/anthropic/models/claude-opus-5-5", "4"),
        ("projects/p/locations/us-east5/publishers/anthropic/models/claude-opus-5-5", None),
        ("projects/p/locations/us-east5/publishers/anthropic/models/claude-3-5-sonnet@20240620", "3"),
        ("projects/p/locations/europe-west1/publishers/google/models/gemini-2.5-pro", "1.25"),
        ("projects/p/locations/eu/publishers/google/models/gemini-3.8-flash", None),
        # https://azure.microsoft.com/en-us/pricing/details/azure-openai/: Data Zones cost more
        ("azure/gpt-4.1", "2"),
        ("azure/global/gpt-4.1", "2"),
        ("azure/global-standard/gpt-4o-2024-11-20", "2.5"),
        ("azure/eu/gpt-4.1", None),
        ("azure/us/gpt-4.1", None),
        ("azure/us-gov/o3-mini", None),
    ],
)
def test_the_price_is_of_the_place_or_unknown(book: PriceBook, name: str, usd: str | None) -> None:
    """Input, USD per million tokens; the name alone says seller and place."""
    rates = book.rates(name)
    assert (None if rates is None else str(rates.prices[0].input.normalize())) == usd
