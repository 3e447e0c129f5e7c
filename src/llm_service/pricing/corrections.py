"""What the data of genai-prices are known to lack or to have wrong, each with the page that says so.

By provider and model, as the data have them.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, Final, NamedTuple

__all__ = ["CORRECTED", "ENDED", "PEAKS", "Ended", "Peak"]

_Entry = tuple[str, str]


class Ended(NamedTuple):
    """From when (microseconds since 1970) prices in the data are history: unknown then, rather than wrong."""

    at_us: int
    why: str


class Peak(NamedTuple):
    """From which day on the data's prices of parts of the day hold, and what holds in these parts before.

    From `since` on they are unknown, from `known_since` on they are as the data have them; before both, the day has one
    price. From `weekends_since` on, Saturdays and Sundays have none of them.
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
    # The discount by the time of day ended then, and other prices hold since (as of August 2025).
    ("deepseek", "deepseek-chat"): _DEEPSEEK_2025,
    ("deepseek", "deepseek-reasoner"): _DEEPSEEK_2025,
}
CORRECTED: Final[Mapping[_Entry, tuple[Decimal, Mapping[str, Any]]]] = {
    # Before 2025-06-10 the data have o3's later cached price beside its first two. It was published with $10, $2.50
    # cached and $40: https://openai.com/index/introducing-o3-and-o4-mini/, https://platform.openai.com/docs/models/o3.
    ("openai", "o3"): (Decimal(10), {"cache_read_mtok": Decimal("2.5")}),
}
"""Wrong prices; what is right holds beside this input price."""
PEAKS: Final[Mapping[_Entry, Peak]] = {
    # The data's comments say what one entry of theirs cannot: peak prices began on 2026-08-17, those of V4.1 Flash on
    # 2026-09-10, and weekends have none from 2026-08-23 on. https://github.com/pydantic/genai-prices/issues/582,
    # https://api-docs.deepseek.com/quick_start/pricing.
    ("deepseek", "deepseek-v4-pro"): Peak(date(2026, 8, 17), date(2026, 8, 17), date(2026, 8, 23)),
    ("deepseek", "deepseek-v4-flash"): Peak(date(2026, 8, 17), date(2026, 9, 10), date(2026, 8, 23)),
    ("deepseek", "deepseek-flash"): Peak(date(2026, 8, 17), date(2026, 8, 17), date(2026, 8, 23)),
}
"""Peak prices by hours (UTC) in the data, which cannot say their days as well."""
