"""Service tiers by the names that providers give them: `default`, `batch`, `flex`, `priority`."""

from typing import Final

__all__ = ["tier_of"]

_STANDARD: Final = frozenset(
    {"auto", "default", "on_demand", "service_tier_unspecified", "standard", "standard_only", "unspecified"}
)
"""Those that list prices are for: `auto` is what a request says where it leaves the choice to its provider,
`standard_only` Anthropic's request, `unspecified` Gemini's, `on_demand` Vertex AI's and Groq's answer."""


def tier_of(label: str | None) -> str | None:
    """A service tier in lower case with underscores; None for the one that list prices are for."""
    if label is None:
        return None
    name = label.strip().lower().replace("-", "_").replace(" ", "_")
    return None if name in _STANDARD else name
