"""Service tiers, from providers' names: `default`, `batch`, `flex`, `priority`."""

from typing import Final

__all__ = ["tier_of"]

_STANDARD: Final = frozenset(
    {"auto", "default", "on_demand", "service_tier_unspecified", "standard", "standard_only", "unspecified"}
)
"""Names of the tier of list prices: `auto` in requests that leave the choice to the provider, `standard_only` in
Anthropic's requests, `unspecified` in Gemini's, `on_demand` in Vertex AI's and Groq's answers."""


def tier_of(label: str | None) -> str | None:
    """A service tier in lower case with underscores; None for the tier of list prices."""
    if label is None:
        return None
    name = label.strip().lower().replace("-", "_").replace(" ", "_")
    return None if name in _STANDARD else name
