"""What calls cost by the published prices: each sum is written out in micro-dollars, tokens times USD per million.

The page that publishes a price stands in its case, with the month in which it said so. Nothing here is computed by the
code under test or by genai-prices.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import NamedTuple

import pytest

from llm_service.pricing.book import PriceBook

OPENAI = "https://platform.openai.com/docs/pricing"
ANTHROPIC = "https://docs.anthropic.com/en/docs/about-claude/pricing"
GOOGLE = "https://ai.google.dev/gemini-api/docs/pricing"
DEEPSEEK = "https://api-docs.deepseek.com/quick_start/pricing"
MISTRAL = "https://mistral.ai/pricing"
XAI = "https://docs.x.ai/docs/models"
BEDROCK = "https://aws.amazon.com/bedrock/pricing/"
AZURE = "https://azure.microsoft.com/en-us/pricing/details/cognitive-services/openai-service/"
FOUNDRY = "https://azure.microsoft.com/en-us/pricing/details/ai-foundry-models/"
GROQ = "https://groq.com/pricing"
COHERE = "https://cohere.com/pricing"
CLAUDE = "https://platform.claude.com/docs/en/about-claude/pricing"
FLEX = "https://developers.openai.com/api/docs/pricing?latest-pricing=flex"
OPENROUTER = "https://openrouter.ai/models"


class Case(NamedTuple):
    """A call, what it costs in USD, and where that is published."""

    model: str
    tokens: tuple[int, ...]
    """Prompt, completion, and of them read from a cache, written to it, reasoned, written for an hour."""
    usd: str
    source: str
    as_of: str
    provider: str | None = None
    at: str = "2026-11-01T12:00:00"
    tier: str | None = None


CASES = [
    # 1000 x 2.50 + 500 x 10
    Case("gpt-4o", (1000, 500), "0.0075", OPENAI, "2025-08"),
    # 2000 x 2.50 + 8000 cached x 1.25 + 300 x 10
    Case("gpt-4o-2024-08-06", (10_000, 300, 8000), "0.018", OPENAI, "2025-08"),
    # an older snapshot has a price of its own: 1000 x 5 + 1000 x 15
    Case("gpt-4o-2024-05-13", (1000, 1000), "0.02", OPENAI, "2025-08"),
    # 210 x 0.15 + 1024 cached x 0.075 + 77 x 0.60
    Case("gpt-4o-mini-2024-07-18", (1234, 77, 1024), "0.0001545", OPENAI, "2025-08"),
    # 100,000 x 2 + 900,000 cached x 0.50 + 32,768 x 8
    Case("gpt-4.1", (1_000_000, 32_768, 900_000), "0.912144", OPENAI, "2025-08"),
    # 3 x 0.10 + 1 x 0.40: seven tenths of a micro-dollar
    Case("openai/gpt-4.1-nano", (3, 1), "0.0000007", OPENAI, "2025-08"),
    # reasoning is billed as output: 128 x 1.25 + 1920 cached x 0.125 + 5000 x 10
    Case("gpt-5-2025-08-07", (2048, 5000, 1920, 0, 4500), "0.0504", OPENAI, "2025-08"),
    # 1 cached x 0.005: five nano-dollars
    Case("gpt-5-nano", (1, 0, 1), "0.000000005", OPENAI, "2025-08"),
    # 500 x 15 + 2000 x 60
    Case("o1-2024-12-17", (500, 2000, 0, 0, 1800), "0.1275", OPENAI, "2025-08"),
    # before the cut: 1000 x 10 + 1000 x 40 (https://openai.com/index/introducing-o3-and-o4-mini/)
    Case("o3", (1000, 1000), "0.05", OPENAI, "2025-05", at="2025-05-20T08:00:00"),
    Case("o3-2025-04-16", (1000, 1000), "0.05", OPENAI, "2025-05", at="2025-06-09T23:59:59.999999"),
    # and cached tokens were 2.50, which the data of genai-prices 0.2 do not have: 200 x 10 + 800 x 2.50 + 1000 x 40
    Case("o3", (1000, 1000, 800), "0.044", OPENAI, "2025-05", at="2025-05-20T08:00:00"),
    # from 2025-06-10 on 80 % less: 1000 x 2 + 1000 x 8
    Case("o3", (1000, 1000), "0.01", OPENAI, "2025-06", at="2025-06-10T00:00:00"),
    # 200 x 2 + 800 cached x 0.50 + 1000 x 8
    Case("o3-2025-04-16", (1000, 1000, 800, 0, 900), "0.0088", OPENAI, "2025-08"),
    # 9000 x 1.10 + 1000 cached x 0.275 + 2500 x 4.40
    Case("o4-mini", (10_000, 2500, 1000), "0.021175", OPENAI, "2025-08"),
    # to 272,000 tokens: 272,000 x 2.50 + 1000 x 15; above, the whole call pays 5 and 22.50
    Case("gpt-5.4", (272_000, 1000), "0.695", "https://developers.openai.com/api/docs/pricing", "2026-03"),
    Case("gpt-5.4", (272_001, 1000), "1.382505", "https://developers.openai.com/api/docs/pricing", "2026-03"),
    # 1000 x 5 + 1000 x 30 until 2026-08-21, then 1000 x 4 + 1000 x 20
    Case(
        "gpt-5.6-sol",
        (1000, 1000),
        "0.035",
        "https://developers.openai.com/api/docs/pricing",
        "2026-07",
        at="2026-08-20T23:00:00",
    ),
    Case(
        "gpt-5.6-sol",
        (1000, 1000),
        "0.024",
        "https://developers.openai.com/api/docs/pricing",
        "2026-08",
        at="2026-08-21T00:00:00",
    ),
    # 31 x 10 + 17 x 30
    Case("gpt-4-turbo-2024-04-09", (31, 17), "0.00082", OPENAI, "2025-08"),
    # embeddings give no completion: 1024 x 0.13
    Case("text-embedding-3-large", (1024, 0), "0.00013312", OPENAI, "2025-08"),
    # 1000 x 2.50 + 500 x 10
    Case("azure/gpt-4o-2024-11-20", (1000, 500), "0.0075", AZURE, "2025-08"),
    # 10,000 x 1.35 + 1000 x 5.40, at any hour: DeepSeek's own prices are others
    Case("DeepSeek-R1", (10_000, 1000), "0.0189", FOUNDRY, "2026-11", provider="azure", at="2026-11-29T20:00:00"),
    Case("DeepSeek-R1", (10_000, 1000), "0.0189", FOUNDRY, "2026-11", provider="azure", at="2026-11-29T12:00:00"),
    # 1000 x 0.58 + 1000 x 1.68
    Case("azure_ai/DeepSeek-V3.2", (1000, 1000), "0.00226", FOUNDRY, "2026-11"),
    # 500 x 1.74 + 500 cached x 0.145 + 1000 x 3.48
    Case("DeepSeek-V4-Pro", (1000, 1000, 500), "0.0044225", FOUNDRY, "2026-11", provider="azure_ai"),
    # to 272,000 tokens: 272,000 x 2 + 1000 x 10; above, the whole call pays 4 and 15
    Case("azure/gpt-6-sol", (272_000, 1000), "0.554", AZURE, "2026-11"),
    Case("azure/gpt-6-sol", (272_001, 1000), "1.103004", AZURE, "2026-11"),
    # 300 x 4 + 200 written x 5 + 100 of them for an hour x 3 more + 10 x 20
    Case("azure_ai/claude-opus-5-5", (500, 10, 0, 200, 0, 100), "0.0027", FOUNDRY, "2026-11"),
    # 100 x 3 + 200 x 15
    Case("claude-3.5-sonnet", (100, 200), "0.0033", ANTHROPIC, "2025-08"),
    # 2000 x 3 + 8000 written x 3.75 + 100 x 15
    Case("claude-sonnet-4-5-20250929", (10_000, 100, 0, 8000), "0.0375", ANTHROPIC, "2025-10"),
    # 2000 x 3 + 8000 read x 0.30 + 100 x 15
    Case("anthropic/claude-sonnet-4-5", (10_000, 100, 8000), "0.0099", ANTHROPIC, "2025-10"),
    # to 200,000 tokens: 200,000 x 3 + 1000 x 15
    Case("claude-sonnet-4-5", (200_000, 1000), "0.615", ANTHROPIC, "2025-10"),
    # above, the whole call: 200,001 x 6 + 1000 x 22.50
    Case("claude-sonnet-4-5", (200_001, 1000), "1.222506", ANTHROPIC, "2025-10"),
    # cached tokens count for the tier: 40,000 x 6 + 250,000 read x 0.60 + 10,000 written x 7.50 + 2000 x 22.50
    Case("claude-sonnet-4-5", (300_000, 2000, 250_000, 10_000), "0.51", ANTHROPIC, "2025-10"),
    # 50,000 x 15 + 150,000 read x 1.50 + 4000 x 75
    Case("claude-opus-4-1-20250805", (200_000, 4000, 150_000), "1.275", ANTHROPIC, "2025-08"),
    # 100 x 0.80 + 5000 written x 1 + 20,000 read x 0.08 + 321 x 4
    Case("claude-3-5-haiku-20241022", (25_100, 321, 20_000, 5000), "0.007964", ANTHROPIC, "2025-08"),
    # 11 x 0.25 + 2048 written x 0.30 + 4096 read x 0.03 + 5 x 1.25
    Case("claude-3-haiku-20240307", (6155, 5, 4096, 2048), "0.00074628", ANTHROPIC, "2025-08"),
    # 1500 x 1 + 3000 written x 1.25 + 60,000 read x 0.10 + 900 x 5
    Case("claude-haiku-4-5@20251001", (64_500, 900, 60_000, 3000), "0.01575", ANTHROPIC, "2025-10"),
    # 700 x 5 + 12,000 written x 6.25 + 350 x 25
    Case("claude-opus-4-5-20251101", (12_700, 350, 0, 12_000), "0.08725", ANTHROPIC, "2025-11"),
    # an hour: 2000 x 3 + 3000 written x 3.75 + 5000 for an hour x 6 + 100 x 15
    Case("claude-sonnet-4-5", (10_000, 100, 0, 8000, 0, 5000), "0.04875", CLAUDE, "2026-10"),
    # 1000 x 15 + 2000 for an hour x 30 + 10 x 75
    Case("claude-opus-4-1-20250805", (3000, 10, 0, 2000, 0, 2000), "0.07575", CLAUDE, "2026-10"),
    # above 200,000 tokens: 40,000 x 6 + 250,000 read x 0.60 + 10,000 for an hour x 12 + 2000 x 22.50
    Case("claude-sonnet-4-5", (300_000, 2000, 250_000, 10_000, 0, 10_000), "0.555", ANTHROPIC, "2025-10"),
    # 100 x 1 + 200 for an hour x 2 + 10 x 5, on Vertex AI, too
    Case("claude-haiku-4-5@20251001", (300, 10, 0, 200, 0, 200), "0.00055", CLAUDE, "2026-10", provider="vertex_ai"),
    # a batch costs half, caching included: (2000 x 3 + 3000 written x 3.75 + 5000 for an hour x 6 + 100 x 15) / 2
    Case("claude-sonnet-4-5", (10_000, 100, 0, 8000, 0, 5000), "0.024375", CLAUDE, "2026-10", tier="batch"),
    # batch and flex: 1000 x 0.625 + 1000 x 0.0625 cached + 1000 x 5; priority: 2.50, 0.25 and 20
    Case("gpt-5", (2000, 1000, 1000), "0.0056875", OPENAI, "2026-10", tier="batch"),
    Case("gpt-5", (2000, 1000, 1000), "0.0056875", FLEX, "2026-10", tier="flex"),
    Case(
        "gpt-5",
        (2000, 1000, 1000),
        "0.02275",
        "https://openai.com/api-priority-processing/",
        "2026-10",
        tier="priority",
    ),
    # 1000 x 1.25 + 1000 x 0.125 cached + 1000 x 10
    Case("gpt-5", (2000, 1000, 1000), "0.011375", OPENAI, "2026-10", tier="default"),
    # half, but for what is cached: 150,000 x 0.625 + 50,000 cached x 0.125 + 8192 x 5
    Case("gemini-2.5-pro", (200_000, 8192, 50_000), "0.14096", GOOGLE, "2026-10", tier="batch"),
    # 12 x 15 + 34 x 75
    Case("claude-3-opus-20240229", (12, 34), "0.00273", ANTHROPIC, "2025-08"),
    # 150,000 x 1.25 + 50,000 cached x 0.125 + 8192 x 10
    Case("models/gemini-2.5-pro", (200_000, 8192, 50_000), "0.27567", GOOGLE, "2025-11"),
    # above 200,000 tokens: 200,001 x 2.50 + 8192 x 15
    Case("gemini-2.5-pro", (200_001, 8192), "0.6228825", GOOGLE, "2025-11"),
    # thoughts are output: 1000 x 0.30 + 1800 x 2.50
    Case("google/gemini-2.5-flash", (1000, 1800, 0, 0, 1500), "0.0048", GOOGLE, "2025-11"),
    # 4096 x 0.10 + 512 x 0.40
    Case("gemini-2.5-flash-lite", (4096, 512), "0.0006144", GOOGLE, "2025-11"),
    # above 128,000 tokens: 128,001 x 2.50 + 1000 x 10
    Case("gemini-1.5-pro-002", (128_001, 1000), "0.3300025", GOOGLE, "2025-05"),
    # 3000 x 0.10 + 9000 cached x 0.025 + 777 x 0.40
    Case("gemini-2.0-flash-001", (12_000, 777, 9000), "0.0008358", GOOGLE, "2025-11"),
    # by day 1000 x 0.27 + 9000 hit x 0.07 + 500 x 1.10
    Case("deepseek-chat", (10_000, 500, 9000), "0.00145", DEEPSEEK, "2025-08", at="2025-08-01T12:00:00"),
    # by night 1000 x 0.135 + 9000 hit x 0.035 + 500 x 0.55
    Case("deepseek/deepseek-chat", (10_000, 500, 9000), "0.000725", DEEPSEEK, "2025-08", at="2025-08-01T20:00:00"),
    # the night begins at 16:30 UTC: 2000 x 0.55 + 8000 x 2.19, then 2000 x 0.135 + 8000 x 0.55
    Case("deepseek-reasoner", (2000, 8000, 0, 0, 7000), "0.01862", DEEPSEEK, "2025-08", at="2025-08-01T16:29:59"),
    Case("deepseek-reasoner", (2000, 8000, 0, 0, 7000), "0.00467", DEEPSEEK, "2025-08", at="2025-08-01T16:30:00"),
    # one price all day, 1000 x 0.435 + 500 x 0.87; from 2026-08-17 on 0.66 and 1.98, and 1.32 and 3.96 by Beijing's day
    Case("deepseek-v4-pro", (1000, 500), "0.00087", DEEPSEEK, "2026-05", provider="deepseek", at="2026-05-04T02:00:00"),
    Case("deepseek-v4-pro", (1000, 500), "0.00165", DEEPSEEK, "2026-11", provider="deepseek", at="2026-11-27T12:00:00"),
    Case("deepseek-v4-pro", (1000, 500), "0.0033", DEEPSEEK, "2026-11", provider="deepseek", at="2026-11-27T02:00:00"),
    # a Saturday is off peak all day, since 2026-08-23; the one before was not
    Case("deepseek-v4-pro", (1000, 500), "0.00165", DEEPSEEK, "2026-11", provider="deepseek", at="2026-11-28T02:00:00"),
    Case("deepseek-v4-pro", (1000, 500), "0.0033", DEEPSEEK, "2026-08", provider="deepseek", at="2026-08-22T02:00:00"),
    # 1000 x 0.15 + 500 x 0.60 on a Sunday, 1000 x 0.30 + 500 x 1.20 on the Monday after
    Case("deepseek-flash", (1000, 500), "0.00045", DEEPSEEK, "2026-11", provider="deepseek", at="2026-11-29T09:59:59"),
    Case("deepseek-flash", (1000, 500), "0.0009", DEEPSEEK, "2026-11", provider="deepseek", at="2026-11-30T09:59:59"),
    # 12,345 x 2 + 678 x 6
    Case("mistral-large-2411", (12_345, 678), "0.028758", MISTRAL, "2025-08"),
    # 1111 x 0.30 + 222 x 0.90
    Case("mistral/codestral-2508", (1111, 222), "0.0005331", MISTRAL, "2025-08"),
    # 1000 x 3 + 2000 cached x 0.75 + 500 x 15
    Case("xai/grok-4-0709", (3000, 500, 2000), "0.012", XAI, "2025-08"),
    # 256 x 0.20 + 64 cached x 0.02 + 4096 x 1.50
    Case("grok-code-fast-1", (320, 4096, 64), "0.00619648", XAI, "2025-09"),
    # 1000 x 0.30 + 2000 x 0.50
    Case("grok-3-mini", (1000, 2000, 0, 0, 1900), "0.0013", XAI, "2025-08"),
    # 10,000 x 0.80 + 30,000 read x 0.20 + 1000 x 3.20
    Case("us.amazon.nova-pro-v1:0", (40_000, 1000, 30_000), "0.0172", BEDROCK, "2025-08"),
    # 7 x 0.035 + 1 read x 0.00875 + 3 x 0.14 = 0.67375 micro-dollars, rounded once
    Case("amazon.nova-micro-v1:0", (8, 3, 1), "0.000000674", BEDROCK, "2025-08"),
    # a region costs a tenth more: 1000 x 3.30 + 4000 read x 0.33 + 2000 written x 4.125 + 500 x 16.50
    Case(
        "us.anthropic.claude-sonnet-4-5-20250929-v1:0",
        (7000, 500, 4000, 2000),
        "0.02112",
        "https://docs.claude.com/en/docs/about-claude/pricing (third-party platforms)",
        "2025-10",
    ),
    # and long prompts twice, as Anthropic's own did: 200,001 x 6.60 + 1000 x 24.75
    Case("us.anthropic.claude-sonnet-4-5-20250929-v1:0", (200_001, 1000), "1.3447566", BEDROCK, "2025-10"),
    Case("claude-sonnet-4-20250514", (200_001, 1000), "1.222506", ANTHROPIC, "2025-10"),
    # the global endpoint does not: 1000 x 3 + 500 x 15
    Case("global.anthropic.claude-sonnet-4-5-20250929-v1:0", (1000, 500), "0.0105", BEDROCK, "2025-10"),
    # 8192 x 0.72 + 1024 x 0.72
    Case("bedrock/us.meta.llama3-3-70b-instruct-v1:0", (8192, 1024), "0.00663552", BEDROCK, "2025-08"),
    # 5000 x 0.59 + 800 x 0.79
    Case("llama-3.3-70b-versatile", (5000, 800), "0.003582", GROQ, "2025-08", provider="groq"),
    # 100 x 0.0375 + 3 x 0.15; one token is 37.5 nano-dollars, rounded up
    Case("command-r7b-12-2024", (100, 3), "0.0000042", COHERE, "2025-08"),
    Case("command-r7b-12-2024", (1, 0), "0.000000038", COHERE, "2025-08"),
    # free because its seller says so
    Case("openrouter/deepseek/deepseek-r1:free", (5000, 800), "0", OPENROUTER, "2025-08"),
]


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """The bundled prices."""
    return PriceBook()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model}-{'-'.join(map(str, case.tokens))}-{case.at}")
def test_a_call_costs_what_its_provider_publishes_to_the_nano_dollar(book: PriceBook, case: Case) -> None:
    """And no hold for it is smaller."""
    at = datetime.fromisoformat(case.at).replace(tzinfo=UTC)
    rates = book.rates(case.model, case.provider, int(at.timestamp()) * 1_000_000 + at.microsecond, case.tier)
    assert rates is not None
    nanos = rates.cost_nanos(*case.tokens)
    assert nanos is not None
    assert Decimal(nanos) / 10**9 == Decimal(case.usd)
    assert rates.most_nanos(case.tokens[0], case.tokens[1]) >= nanos


def test_there_are_forty_cases_and_each_says_where_its_price_is_published() -> None:
    """A case without its page is worth nothing."""
    assert len(CASES) >= 40
    assert all(case.source.startswith("https://") and case.as_of for case in CASES)


@pytest.mark.parametrize(
    ("model", "tier", "at"),
    [
        ("claude-sonnet-4-5", "batch", "2026-10-13T23:59:59"),  # the data tell it from the next day on
        ("claude-sonnet-4-5", "priority", "2026-11-01T00:00:00"),
        ("gpt-5", "scale", "2026-11-01T00:00:00"),
        ("gpt-4-turbo", "flex", "2026-11-01T00:00:00"),
        ("us.amazon.nova-pro-v1:0", "batch", "2026-11-01T00:00:00"),
    ],
)
def test_a_service_tier_without_a_published_price_is_unknown(book: PriceBook, model: str, tier: str, at: str) -> None:
    """Never what the standard one costs."""
    at_us = int(datetime.fromisoformat(at).replace(tzinfo=UTC).timestamp()) * 1_000_000
    assert book.rates(model, at_us=at_us) is not None
    assert book.rates(model, at_us=at_us, service_tier=tier) is None


def test_prices_that_ended_are_unknown_from_then_on(book: PriceBook) -> None:
    """DeepSeek's discount by the time of day, and the prices beside it, ended on 2025-09-05 at 16:00 UTC."""
    last = int(datetime(2025, 9, 5, 15, 59, 59, tzinfo=UTC).timestamp()) * 1_000_000
    assert book.rates("deepseek-chat", at_us=last) is not None
    assert book.rates("deepseek-chat", at_us=last + 1_000_000) is None
    assert book.rates("deepseek-reasoner", at_us=last + 86_400_000_000) is None


@pytest.mark.parametrize("model", ["deepseek-chat", "deepseek-reasoner", "deepseek-v4-pro", "deepseek-v4-flash"])
def test_prices_by_the_time_of_day_have_a_beginning_like_any_other(book: PriceBook, model: str) -> None:
    """deepseek-chat cost $0.14 until 2025-02-08, and no hour of the day was cheaper before 2025-02-26."""
    for day in (datetime(2024, 8, 1, tzinfo=UTC), datetime(2025, 2, 15, tzinfo=UTC), datetime(2025, 6, 30, tzinfo=UTC)):
        for hour in range(24):
            assert book.rates(model, "deepseek", int(day.timestamp()) * 1_000_000 + hour * 3_600_000_000) is None
    assert book.rates(model, "deepseek", int(datetime(2025, 7, 1, tzinfo=UTC).timestamp()) * 1_000_000) is not None


def test_the_peak_prices_that_nobody_kept_are_unknown(book: PriceBook) -> None:
    """Those of DeepSeek V4 Flash, between 2026-08-17 and 2026-09-10; off peak it is known."""
    for moment, usd in (
        ("2026-08-14T02:00:00", "0.14"),
        ("2026-08-19T02:00:00", None),
        ("2026-08-19T05:00:00", "0.22"),
        ("2026-09-05T02:00:00", "0.22"),
        ("2026-09-10T02:00:00", "0.3"),
        ("2026-09-12T02:00:00", "0.15"),
    ):
        at_us = int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()) * 1_000_000
        rates = book.rates("deepseek-v4-flash", "deepseek", at_us)
        assert (None if rates is None else str(rates.prices[0].input)) == usd, moment
