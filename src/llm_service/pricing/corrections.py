"""Known errors and gaps of the data of genai-prices, each with its source.

By provider and model, as the data name them.
"""

import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

__all__ = [
    "CHANGED",
    "CHEAP_WRITES",
    "CORRECTED",
    "DATA_BEGAN",
    "DATED",
    "ENDED",
    "ENDED_TIERS",
    "LONG",
    "LONG_UNKNOWN",
    "PEAKS",
    "REFUSED",
    "SEARCHES",
    "Ended",
    "Peak",
]

_Entry = tuple[str, str]


class Ended(NamedTuple):
    """The time (microseconds since 1970) from which prices in the data are outdated, so unknown."""

    at_us: int
    why: str


class Peak(NamedTuple):
    """The days from which the data's prices by parts of the day apply.

    Before `since` the day has one price; from `since` on the peak prices are unknown, from `known_since` on as in the
    data. From `weekends_since` on, Saturdays and Sundays have no peak prices.
    """

    since: date
    known_since: date
    weekends_since: date


_DEEPSEEK_2025: Final = Ended(
    1_757_088_000_000_000,
    "the prices in the data ended on 2025-09-05 at 16:00 UTC, and those since then are not in the data: "
    "https://api-docs.deepseek.com/quick_start/pricing",
)
ENDED: Final[Mapping[_Entry, Ended]] = {
    # The discount by time of day ended then, with new prices (as of August 2025).
    ("deepseek", "deepseek-chat"): _DEEPSEEK_2025,
    ("deepseek", "deepseek-reasoner"): _DEEPSEEK_2025,
    # A name is outdated, too, when its model changes.
    ("mistral", "mistral-large-latest"): Ended(
        1_764_633_600_000_000,
        "on 2025-12-02 the name moved to Mistral Large 3, and the data have the price before: "
        "https://docs.mistral.ai/resources/changelogs",
    ),
    ("github-copilot", "gemini-4-argon"): Ended(
        1_796_083_200_000_000,
        "the promotion ended on 2026-12-01, and no price after it was published: "
        "https://docs.github.com/en/copilot/reference/copilot-billing/models-and-pricing",
    ),
}
"""By the entry, or by a name that it spells out."""
ENDED_TIERS: Final[Mapping[tuple[str, str, str], Ended]] = {
    ("anthropic", "claude-opus-4-8", "fast"): Ended(
        1_795_996_800_000_000,
        "fast mode was withdrawn from this model on 2026-11-30: "
        "https://platform.claude.com/docs/en/build-with-claude/fast-mode",
    ),
}
REFUSED: Final[Mapping[_Entry, str]] = {
    **dict.fromkeys(
        (("deepseek", "deepseek-v3.1-terminus"), ("deepseek", "deepseek-v3.2"), ("deepseek", "deepseek-v3.2-exp")),
        "DeepSeek never sold a model of this name, and published other prices: "
        "https://api-docs.deepseek.com/quick_start/pricing",
    ),
    ("google", "gemini-pro"): "its price was of a million characters, not tokens: "
    "https://cloud.google.com/vertex-ai/generative-ai/pricing",
    ("google", "gemini-2.5-flash-preview"): "output cost $0.60 or, with thinking, $3.50, and the data have the first: "
    "https://developers.googleblog.com/en/start-building-with-gemini-25-flash/",
    ("openai", "gpt-4o:extended"): "the name is OpenRouter's, and OpenAI sells no model of it",
    ("perplexity", "perplexity/sonar"): "the same name is that of sonar with LiteLLM's prefix, at other prices",
}
"""Entries that are not prices of their seller."""
SEARCHES: Final = re.compile(r"search-preview|search-api|deep-research|(^|[/-])sonar($|[-:])|[-:]online$")
"""Names of models that always search. Searches have their own fees, $5 to $25 per thousand, and usage does not report
their number: https://platform.openai.com/docs/pricing, "Web search"; https://docs.perplexity.ai/getting-started/pricing,
"Request fees"; https://openrouter.ai/docs/guides/features/plugins/web-search."""
CORRECTED: Final[Mapping[_Entry, tuple[Decimal, Mapping[str, Any]]]] = {
    # Before 2025-06-10 the data have o3's later cached price beside its first two. It was published with $10, $2.50
    # cached and $40: https://openai.com/index/introducing-o3-and-o4-mini/, https://platform.openai.com/docs/models/o3.
    ("openai", "o3"): (Decimal(10), {"cache_read_mtok": Decimal("2.5")}),
    # Cached input of tuned models costs half: https://openai.com/api/pricing/, "Fine-tuning our models".
    ("openai", "ft:gpt-4o"): (Decimal("3.75"), {"cache_read_mtok": Decimal("1.875")}),
    ("openai", "ft:gpt-4o-mini"): (Decimal("0.3"), {"cache_read_mtok": Decimal("0.15")}),
}
"""Corrected prices; they apply if the input price is this one."""
LONG: Final = frozenset(
    {
        ("anthropic", "claude-sonnet-4-0"),
        ("aws", "global.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws", "regional.anthropic.claude-sonnet-4-20250514-v1:0"),
        ("aws", "regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("google", "claude-4-sonnet"),
        ("openrouter", "anthropic/claude-sonnet-4"),
    }
)
"""Above 200,000 prompt tokens these cost twice the input and 1.5 times the output, which the data do not have:
https://platform.claude.com/docs/en/about-claude/pricing#long-context-pricing, https://aws.amazon.com/bedrock/pricing/,
https://cloud.google.com/vertex-ai/generative-ai/pricing, https://openrouter.ai/anthropic/claude-sonnet-4."""
LONG_UNKNOWN: Final[Mapping[str, int]] = {"grok-4": 128_000, "grok-4-1-fast": 128_000}
"""Models whose tiers no list has, by the name without dots and dates: xAI charges more above these prompt tokens
(https://docs.x.ai/docs/models, https://openrouter.ai/x-ai/grok-4), but the data do not say how much."""
CHEAP_WRITES: Final[frozenset[_Entry]] = frozenset(
    ("minimax", f"MiniMax-{version}-highspeed") for version in ("M2.1", "M2.5", "M2.7")
)
"""Entries whose written tokens are cheaper than input, as published:
https://platform.minimax.io/docs/guides/pricing-paygo. Of any other entry such a price is taken for a part that comes on
top of the price of input, which is at least what it costs: of Gemini OpenRouter bills input and 5 minutes of storage;
since 2026-10-19 the data have the storage alone (https://openrouter.ai/docs/features/prompt-caching)."""
DATA_BEGAN: Final = date(2025, 7, 1)
"""Start of genai-prices (https://github.com/pydantic/genai-prices/releases): later changes have dates in the data,
earlier ones do not."""
CHANGED: Final = frozenset(
    {
        ("openai", "o1-mini"),  # $3 and $12 until 2025-01-31: https://platform.openai.com/docs/models/o1-mini
        ("anthropic", "claude-3-5-haiku-latest"),  # $1 and $5 at first: https://www.anthropic.com/claude/haiku
    }
)
"""Entries with a dated name that had another price before the data began."""
PEAKS: Final[Mapping[_Entry, Peak]] = {
    # According to the data's comments, peak prices began on 2026-08-17, those of V4.1 Flash on 2026-09-10, and weekends
    # have none from 2026-08-23 on. https://github.com/pydantic/genai-prices/issues/582,
    # https://api-docs.deepseek.com/quick_start/pricing.
    ("deepseek", "deepseek-v4-pro"): Peak(date(2026, 8, 17), date(2026, 8, 17), date(2026, 8, 23)),
    ("deepseek", "deepseek-v4-flash"): Peak(date(2026, 8, 17), date(2026, 9, 10), date(2026, 8, 23)),
    ("deepseek", "deepseek-flash"): Peak(date(2026, 8, 17), date(2026, 8, 17), date(2026, 8, 23)),
}
"""Peak prices by hours (UTC) in the data, which cannot express their days."""
DATED: Final[Mapping[_Entry, str]] = {
    ("aws", name.rpartition("-")[0]): name
    for name in (
        "claude-haiku-4-5-20251001",
        "claude-opus-4-1-20250805",
        "claude-opus-4-20250514",
        "claude-sonnet-4-20250514",
        "claude-sonnet-4-5-20250929",
    )
}
"""Undated names of models with only one date, if the data have only the dated name:
https://platform.claude.com/docs/en/about-claude/models/overview."""
