"""Azure's prices for models of others in Global deployments, of which genai-prices has few.

USD per million tokens. Published at https://azure.microsoft.com/en-us/pricing/details/azure-openai/ and
https://azure.microsoft.com/en-us/pricing/details/ai-foundry-models/; these were compared with what LiteLLM 1.110.2
transcribes from https://prices.azure.com/api/retail/prices, of November 2026. Only models are
here whose price never changed, but for that of long prompts, since nobody publishes on which day Azure followed a cut.
Data Zone and regional deployments cost more.
"""

from collections.abc import Mapping
from decimal import Decimal
from typing import Final

from llm_service.pricing.rates import CLAUDE_HOUR, Prices, long_prices

__all__ = ["AZURE", "AZURE_SOURCE"]

AZURE_SOURCE: Final = "Azure's published prices, 2026-11"

_FLAT: Final = """
gpt-3.5-turbo gpt-3.5-turbo-0125 gpt-35-turbo gpt-35-turbo-0125         | 0.5  |       | 1.5
gpt-4o gpt-4o-2024-08-06 gpt-4o-2024-11-20                              | 2.5  | 1.25  | 10
gpt-4o-2024-05-13                                                       | 5    |       | 15
gpt-4o-mini gpt-4o-mini-2024-07-18                                      | 0.15 | 0.075 | 0.6
gpt-4.1 gpt-4.1-2025-04-14                                              | 2    | 0.5   | 8
gpt-4.1-mini gpt-4.1-mini-2025-04-14                                    | 0.4  | 0.1   | 1.6
gpt-4.1-nano gpt-4.1-nano-2025-04-14                                    | 0.1  | 0.025 | 0.4
gpt-5 gpt-5-2025-08-07 gpt-5-chat gpt-5-codex                           | 1.25 | 0.125 | 10
gpt-5-mini gpt-5-mini-2025-08-07                                        | 0.25 | 0.025 | 2
gpt-5-nano gpt-5-nano-2025-08-07                                        | 0.05 | 0.005 | 0.4
gpt-5-pro                                                               | 15   |       | 120
gpt-5.1 gpt-5.1-2025-11-13 gpt-5.1-chat gpt-5.1-codex gpt-5.1-codex-max | 1.25 | 0.125 | 10
gpt-5.1-codex-mini gpt-5.1-codex-mini-2025-11-13                        | 0.25 | 0.025 | 2
gpt-5.2 gpt-5.2-2025-12-11 gpt-5.2-chat gpt-5.2-codex                   | 1.75 | 0.175 | 14
gpt-5.2-pro gpt-5.2-pro-2025-12-11                                      | 21   |       | 168
gpt-5.3-chat gpt-5.3-codex                                              | 1.75 | 0.175 | 14
gpt-5.4-mini gpt-5.4-mini-2026-03-17                                    | 0.75 | 0.075 | 4.5
gpt-5.4-nano gpt-5.4-nano-2026-03-17                                    | 0.2  | 0.02  | 1.25
o3-pro o3-pro-2025-06-10                                                | 20   |       | 80
deepseek-r1                                                             | 1.35 |       | 5.4
deepseek-v3-0324                                                        | 1.14 |       | 4.56
deepseek-v3.1                                                           | 1.23 |       | 4.94
deepseek-v3.2 deepseek-v3.2-speciale                                    | 0.58 |       | 1.68
deepseek-v4-pro                                                         | 1.74 | 0.145 | 3.48
"""
"""Names, the first of which is the model's; input, cached input if it has its own price, output."""
_LONG: Final = """
gpt-5.4 gpt-5.4-2026-03-05                    | 2.5 | 0.25 | 15
gpt-5.5 gpt-5.5-2026-04-23 gpt-5.5-2026-04-24 | 5   | 0.5  | 30
"""
"""Like `_FLAT`; prompts above 272,000 tokens cost twice the input and 1.5 times the output."""
_WRITING_LONG: Final = """
gpt-6-astra gpt-6-astra-2026-09-03            | 10  | 1    | 50
gpt-6-luna gpt-6-luna-2026-09-22              | 0.1 | 0.01 | 0.5
gpt-6-sol gpt-6-sol-2026-09-22                | 2   | 0.2  | 10
gpt-6.1-sol gpt-6.1-sol-2026-09-29            | 2   | 0.1  | 10
gpt-6.1-terra                                 | 1   | 0.05 | 5
"""
"""Like `_LONG`; cache writes cost 1.25 times the input."""
_CLAUDE: Final = """
claude-haiku-4-5  | 1  | 0.1  | 5
claude-sonnet-4-5 | 3  | 0.3  | 15
claude-sonnet-4-6 | 3  | 0.3  | 15
claude-sonnet-5   | 2  | 0.2  | 10
claude-sonnet-5-5 | 2  | 0.1  | 10
claude-opus-4-5   | 5  | 0.5  | 25
claude-opus-4-6   | 5  | 0.5  | 25
claude-opus-4-7   | 5  | 0.5  | 25
claude-opus-4-8   | 5  | 0.5  | 25
claude-opus-5     | 5  | 0.5  | 25
claude-opus-5-5   | 4  | 0.2  | 20
claude-fable-5    | 10 | 1    | 50
claude-fable-5-1  | 10 | 0.25 | 50
"""
"""Like `_WRITING_LONG`, with long prompts as in `long_prompts`. Cache writes for an hour cost twice the input."""
_WRITTEN: Final = Decimal("1.25")


def _parsed(table: str, *, writes: bool, long: bool, hour: bool = False) -> Mapping[str, tuple[str, list[Prices]]]:
    found: dict[str, tuple[str, list[Prices]]] = {}
    for line in table.strip().splitlines():
        names, given, cached, said = (part.strip() for part in line.split("|"))
        one_input = Decimal(given)
        prices = Prices(
            0,
            one_input,
            Decimal(said),
            Decimal(cached) if cached else None,
            one_input * _WRITTEN if writes else None,
            None,
            one_input * CLAUDE_HOUR if hour else None,
        )
        tiers = [prices, long_prices(prices, 272_000)] if long else [prices]
        first, *others = names.split()
        found.update((name, (first, tiers)) for name in (first, *others))
    return found


AZURE: Final[Mapping[str, tuple[str, list[Prices]]]] = {
    **_parsed(_FLAT, writes=False, long=False),
    **_parsed(_LONG, writes=False, long=True),
    **_parsed(_WRITING_LONG, writes=True, long=True),
    **_parsed(_CLAUDE, writes=True, long=False, hour=True),
}
"""The model and its prices, by each of its known names in lower case."""
