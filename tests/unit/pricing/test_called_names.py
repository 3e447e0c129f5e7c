"""A call that was asked by one name and answered by another is priced by seller, region and tuning of the first."""

from pathlib import Path

import pytest
from tests.slices import quick

from llm_service.config.schemas import ModelsConfig
from llm_service.pricing.book import PriceBook
from llm_service.pricing.called_names import priced_as
from llm_service.pricing.model_names import PROFILES, explicit_seller
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.repricing import reprice

CLAUDE = "claude-sonnet-4-5-20250929"
GPT = "gpt-4.1-2025-04-14"
BEDROCK = f"anthropic.{CLAUDE}-v1:0"
PLACED = [
    *((f"{profile}.{BEDROCK}", CLAUDE) for profile in PROFILES.split("|")),
    (f"bedrock/eu-west-3/{BEDROCK}", CLAUDE),
    (f"bedrock/us-gov-west-1/{BEDROCK}", CLAUDE),
    (f"bedrock/converse/eu.{BEDROCK}", CLAUDE),
    (f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{BEDROCK}", CLAUDE),
    *((f"azure/{zone}/gpt-4.1", GPT) for zone in ("eu", "us", "global", "apac", "us-gov")),
    ("projects/p/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5@20250929", CLAUDE),
    ("vertex_ai/europe-west1/claude-sonnet-4-5@20250929", CLAUDE),
    ("ft:gpt-4o-2024-08-06:my-org::id", "gpt-4o-2024-08-06"),
    ("deepseek/deepseek-r1:free", "deepseek/deepseek-r1"),
]
SELLERS = [
    (BEDROCK, CLAUDE, "aws"),
    ("azure/my-deployment", GPT, "azure"),
    ("openrouter/anthropic/claude-sonnet-4.5", "anthropic/claude-sonnet-4.5", "openrouter"),
    ("vertex_ai/claude-sonnet-4-5", CLAUDE, "vertex_ai"),
    ("claude-sonnet-4-5@20250929", CLAUDE, "vertex_ai"),
    ("together_ai/openai/gpt-oss-20b", "openai/gpt-oss-20b", "together_ai"),
]
SAME = [("gpt-4.1", GPT), ("my-deployment", GPT), (CLAUDE, CLAUDE), ("gpt-4o", "deepseek-chat"), (None, GPT)]


@pytest.mark.parametrize("provider", quick([None, "litellm"], every=3))
@pytest.mark.parametrize(("asked", "answered"), PLACED)
def test_a_region_or_a_tuning_of_the_request_prices_the_call(asked: str, answered: str, provider: str | None) -> None:
    """A region or a tuning of the request prices the call."""
    assert priced_as(answered, asked, provider) == (asked, provider)
    book = PriceBook()
    assert book.rates(answered, provider, request_model=asked) == book.rates(asked, provider)


@pytest.mark.parametrize(("asked", "answered", "seller"), SELLERS)
def test_the_seller_of_the_request_sells_the_model_that_answered(asked: str, answered: str, seller: str) -> None:
    """The seller of the request sells the model that answered."""
    assert priced_as(answered, asked, None) == (answered, seller)
    assert priced_as(answered, asked, "groq") == (answered, "groq")


@pytest.mark.parametrize(("asked", "answered"), SAME)
def test_otherwise_the_model_that_answered_is_priced(asked: str | None, answered: str) -> None:
    """Otherwise the model that answered is priced."""
    assert priced_as(answered, asked, None) == (answered, None)
    assert priced_as(None, asked, "openai") == (asked, "openai")


@pytest.mark.parametrize("placed", [asked for asked, _ in PLACED])
def test_an_answer_that_says_its_own_region_is_priced_by_it(placed: str) -> None:
    """An answer that says its own region is priced by it."""
    assert priced_as(placed, f"eu.{BEDROCK}", None)[0] == placed


def test_the_file_prices_a_deployment_by_the_name_it_is_asked_by() -> None:
    """The file prices a deployment by the name it is asked by."""
    price = {"cost_per_1m_tokens": {"input": 7, "output": 9}}
    book = PriceBook(ModelsConfig.model_validate({"models": {"my-deployment": price}}))
    asked = book.rates(GPT, "azure", request_model="my-deployment")
    assert asked is not None
    assert asked == book.rates("my-deployment", "azure")
    both = PriceBook(
        ModelsConfig.model_validate({"models": {"my-deployment": price, "gpt-4.1": price, "gpt-4o": price}})
    )
    for asked_by, model in (("my-deployment", "my-deployment"), ("gpt-4o", "gpt-4.1")):  # a gateway went to another
        found = both.rates(GPT, None, request_model=asked_by)
        assert found is not None
        assert found.model == model


@pytest.mark.parametrize("name", ["gpt-4.1", "my/model", "claude-sonnet-4-5", "mistral-large", ""])
def test_a_name_that_anybody_may_use_says_no_seller(name: str) -> None:
    """A name that anybody may use says no seller."""
    assert explicit_seller(name) is None


@pytest.mark.parametrize(("asked", "answered"), quick(PLACED, every=3))
def test_stored_repriced_and_saved_alike(asked: str, answered: str, tmp_path: Path) -> None:
    """Stored repriced and saved alike."""
    counts = {"prompt_tokens": 2000, "completion_tokens": 20, "cache_read_tokens": 1000}
    with TelemetryLogger(tmp_path / "telemetry.db", models=False, policies=False) as telemetry:
        telemetry.log_invocation(InvocationRecord(model_name=asked, agent_name="asked", **counts))  # type: ignore[arg-type]
        telemetry.log_invocation(
            InvocationRecord(model_name=answered, request_model=asked, agent_name="answered", **counts)  # type: ignore[arg-type]
        )
        both, one = telemetry.get_invocations()
        assert (both["cost_usd"], both["cost_source"]) == (one["cost_usd"], one["cost_source"])
        units = {row["agent_name"]: row for row in telemetry.get_unit_costs(by=["agent"], prices=PriceBook())["rows"]}
        reprice(telemetry.db_path, PriceBook())
        assert [row["cost_usd"] for row in telemetry.get_invocations()] == [one["cost_usd"]] * 2
        assert units["asked"]["cache_saved_usd"] == units["answered"]["cache_saved_usd"]


REGIONS = [
    ("aws.bedrock", BEDROCK, f"us.{BEDROCK}", "eu-west-3", f"bedrock/eu-west-3/{BEDROCK}"),
    ("aws.bedrock", CLAUDE, None, "us-gov-west-1", f"bedrock/us-gov-west-1/{BEDROCK}"),
    ("aws.bedrock", BEDROCK, None, "us-east-1", BEDROCK),
    ("gcp.vertex_ai", CLAUDE, "claude-sonnet-4-5@20250929", "europe-west1", PLACED[-3][0]),
    ("gcp.vertex_ai", CLAUDE, "claude-sonnet-4-5@20250929", "global", "claude-sonnet-4-5@20250929"),
    ("azure.ai.openai", GPT, "my-deployment", "eu", "azure/eu/gpt-4.1"),
    ("openai", GPT, "gpt-4.1", "eu", "nobody-sells-this"),
]


@pytest.mark.parametrize(("provider", "answered", "asked", "region", "same"), REGIONS)
def test_a_region_beside_the_names_prices_as_one_within_them(
    provider: str, answered: str, asked: str | None, region: str, same: str, tmp_path: Path
) -> None:
    """In the book, and of a stored record, which is priced anew alike."""
    book = PriceBook()
    expected = book.rates(same, provider)
    if not (asked or "").startswith("us."):  # there the name says a region itself, which is nearer
        assert book.rates(answered, provider, request_model=asked, region=region) == expected
        assert book.rates(answered, provider, request_model=asked, region=region.upper()) == expected
    with TelemetryLogger(tmp_path / "telemetry.db", models=False, policies=False) as telemetry:
        for model, request, place in ((same, None, None), (answered, asked, region)):
            telemetry.log_invocation(
                InvocationRecord(
                    model_name=model,
                    request_model=request,
                    provider=provider,
                    region=place,
                    prompt_tokens=100,
                    completion_tokens=10,
                )
            )
        reprice(telemetry.db_path, book)
        here, named = telemetry.get_invocations()
    assert here["region"] == region
    if not (asked or "").startswith("us."):
        assert here["cost_usd"] == named["cost_usd"]


def test_a_price_of_the_file_holds_in_every_region() -> None:
    """It is of the user's own."""
    price = {"cost_per_1m_tokens": {"input": 7, "output": 9}}
    book = PriceBook(ModelsConfig.model_validate({"models": {"gpt-4.1": price}}))
    assert book.rates("gpt-4.1", "azure", region="eu") == book.rates("gpt-4.1", "azure")


@pytest.mark.parametrize("listed", ["answered", "asked", "both"])
@pytest.mark.parametrize(("asked", "answered"), PLACED)
def test_the_file_prices_a_call_as_if_its_request_alone_were_known(asked: str, answered: str, listed: str) -> None:
    """What stands in models.yaml under the name that answered is not the price of a region or a tuning with its own."""
    prices = {"answered": [answered], "asked": [asked], "both": [answered, asked]}[listed]
    models = {name: {"cost_per_1m_tokens": {"input": 7 + at, "output": 9}} for at, name in enumerate(prices)}
    book = PriceBook(ModelsConfig.model_validate({"models": models}))
    assert book.rates(answered, None, request_model=asked) == book.rates(asked, None)


@pytest.mark.parametrize("also", [[], ["answered"], ["asked"], ["answered", "asked"]])
@pytest.mark.parametrize(
    ("provider", "answered", "region", "same"), [one[:2] + one[3:] for one in REGIONS if "/" in one[4]]
)
def test_an_entry_of_the_file_for_a_region_comes_before_its_plain_ones(
    provider: str, answered: str, region: str, same: str, also: list[str]
) -> None:
    """The region stands beside the names in the record, and within the name in the file."""
    asked = same.rpartition("/")[2]
    plain = {"answered": answered, "asked": asked}
    models = {
        name: {"provider": provider, "cost_per_1m_tokens": {"input": 7 + at, "output": 9}}
        for at, name in enumerate([same, *(plain[one] for one in also)])
    }
    book = PriceBook(ModelsConfig.model_validate({"models": models}))
    found = book.rates(answered, provider, request_model=asked, region=region)
    assert found == book.rates(same, provider)
    assert found is not None
    assert found.model == same
