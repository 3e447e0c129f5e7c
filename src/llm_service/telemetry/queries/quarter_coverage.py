"""How much of the calls `quarter_hours` counts, in a file that was made without it."""

from llm_service.telemetry.queries.cells import whole
from llm_service.telemetry.stores.base import Fetch

__all__ = ["backfilled_share", "quarters_complete_since"]


def quarters_complete_since(fetch: Fetch) -> str | None:
    """The UTC day from which on `quarter_hours` has all calls, '' for all days; None where it cannot be used yet."""
    rows = fetch(("SELECT complete_since FROM rollup_progress WHERE uncounted_to = 0", ()))
    return rows[0][0] if len(rows) == 1 and isinstance(rows[0][0], str) else None


def backfilled_share(fetch: Fetch) -> float | None:
    """How much of the records that were there before `quarter_hours` it counts, 0 to 1; None where nothing is known."""
    rows = fetch(("SELECT uncounted_to, began_at, complete_since IS NULL FROM rollup_progress", ()))
    if not rows:
        return None
    waiting, first, is_pending = rows[0]
    return min(0.999, 1 - whole(waiting) / max(1, whole(first))) if is_pending else 1.0
