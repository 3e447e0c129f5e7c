"""Random records, and what plain Python makes of them: the oracle of questions."""

from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from math import ceil
from random import Random
from typing import Any, Final, cast
from zoneinfo import ZoneInfo

from llm_service.telemetry import InvocationRecord, InvocationRow
from llm_service.telemetry.queries.group_keys import GROUPED_FIELDS
from llm_service.telemetry.record.fields import KINDS
from llm_service.telemetry.record.operations import SPANS
from llm_service.telemetry.stores.rollups import nanos

ZONES: Final = ("UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "America/Los_Angeles")
CHANGES: Final = (
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York goes an hour forward
    datetime(2026, 11, 1, 6, tzinfo=UTC),  # ... and back
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe goes half an hour back
    datetime(2026, 10, 3, 15, 30, tzinfo=UTC),  # ... and forward
    datetime(2026, 11, 23, 4, tzinfo=UTC),  # an evening in Los Angeles, whose day is not UTC's
)
_WORDS: Final = {
    "usage_source": ("reported", "partial"), "cost_source": ("reported", "computed"), "privacy_level": ("full",),
}  # fmt: skip


_NAMED: Final = tuple(
    field
    for field in GROUPED_FIELDS
    if KINDS[field] != "number" and field not in ("invocation_id", "status", "operation")
)


def some_records(seed: int, count: int) -> list[InvocationRecord]:
    """Calls and spans around changes of clocks; each value may be unknown."""
    draw = Random(seed)
    return [_record(draw) for _ in range(count)]


def _record(draw: Random) -> InvocationRecord:
    def unless_unknown(value: Any) -> Any:
        return value if draw.random() < 0.8 else None

    def up_to(most: int | None) -> int | None:
        return None if most is None else unless_unknown(draw.randint(0, most))

    prompt, completion = up_to(50), up_to(50)
    cached = up_to(prompt)
    texts = {field: (f"{field}-a", f"{field}-b", "gpt-4[1m]", "a b,c") for field in _NAMED} | _WORDS
    return InvocationRecord(
        timestamp=draw.choice(CHANGES) + timedelta(minutes=draw.randint(-1500, 1500)),
        prompt_tokens=prompt,
        completion_tokens=completion,
        total_tokens=unless_unknown((prompt or 0) + (completion or 0) + draw.choice((0, 0, 7))),
        cost_usd=unless_unknown(draw.choice((0.0, 0.015, 1.5))),
        latency_ms=unless_unknown(draw.randint(500, 90_000_000) / 1000),
        ttft_ms=unless_unknown(draw.randint(500, 9_000_000) / 1000),
        status=draw.choice(("success", "success", "error", "timeout")),
        operation=draw.choice((None, "chat", "chat", "tool")),
        error_message=unless_unknown("refused [again]"),
        cache_read_tokens=cached,
        cache_write_tokens=None if prompt is None else up_to(prompt - (cached or 0)),
        cache_write_1h_tokens=unless_unknown(0),
        reasoning_tokens=up_to(completion),
        stream=draw.choice((None, True, False)),
        attempts=unless_unknown(draw.randint(1, 3)),
        http_status=unless_unknown(draw.choice((200, 500))),
        tags=unless_unknown(draw.choices(("prod", "a b", "ü"), k=draw.randint(0, 3))),
        metadata=unless_unknown({draw.choice(("team", "a.b")): draw.choice(("core", 1, 2.5, True, None))}),
        **{field: unless_unknown(draw.choice(texts[field])) for field in _NAMED},
    )


def is_call(row: InvocationRow) -> bool:
    """Whether it is no span."""
    return row["operation"] not in SPANS


def values_of(row: InvocationRow, column: str, zone: str) -> tuple[Any, ...]:
    """The values of a key for which a call counts."""
    given = cast("dict[str, Any]", row)
    if column == "tag":
        return tuple(dict.fromkeys(given["tags"] or ())) or (None,)
    if column.startswith("metadata."):
        value = (given["metadata"] or {}).get(column.removeprefix("metadata."))
        return (None if value is None else "true" if value is True else str(value),)
    if column == "request_model" and given[column] is None:  # asked for by the name that answered
        return (given["model_name"],)
    if column in given:
        return (given[column],)
    local = datetime.fromisoformat(given["timestamp"]).astimezone(ZoneInfo(zone))
    return (
        {
            "hour": f"{local:%Y-%m-%dT%H}:00{local.isoformat()[-6:]}",
            "day": f"{local:%Y-%m-%d}",
            "week": f"{local:%G-W%V}",
            "month": f"{local:%Y-%m}",
            "weekday": f"{local:%a}",
        }[column],
    )


def _known(rows: Iterable[InvocationRow], *columns: str) -> list[tuple[Any, ...]]:
    cells = [tuple(cast("dict[str, Any]", row)[column] for column in columns) for row in rows]
    return [cell for cell in cells if None not in cell]


def _sum(rows: Sequence[InvocationRow], column: str) -> float | None:
    known = _known(rows, column)
    return sum(cell[0] for cell in known) if known or not rows else None


def _half(rows: Sequence[InvocationRow], column: str) -> float | None:
    """0 is told where all totals are what the other half tells."""
    found = _sum(rows, column)
    if found or not rows:
        return found
    totals = _known(rows, "total_tokens")
    rest = sum(cell[0] for cell in totals) - sum(
        _sum(rows, name) or 0 for name in ("prompt_tokens", "completion_tokens")
    )
    return 0 if totals and rest <= 0 else None


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def percentile_of(rows: Sequence[InvocationRow], column: str, percent: int) -> float | None:
    """The nearest rank, exactly."""
    ordered = sorted(cell[0] for cell in _known(rows, column))
    return ordered[max(0, ceil(percent / 100 * len(ordered)) - 1)] if ordered else None


def measured(rows: Sequence[InvocationRow], name: str) -> float | None:
    """A measure of these calls, from its definition; percentiles exactly."""
    calls = len(rows)
    if name.endswith(("_latency_ms", "_ttft_ms")):
        kind, column = name.split("_", 1)
        known = [cell[0] for cell in _known(rows, column)]
        if not known:
            return None
        return {"avg": sum(known) / len(known), "max": max(known)}.get(kind) or percentile_of(
            rows, column, int(kind[1:])
        )

    def failed() -> int:
        return sum(row["status"] != "success" for row in rows)

    def costs() -> list[int]:
        return [nanos(cost) for (cost,) in _known(rows, "cost_usd")]

    def cost() -> int | None:
        return sum(costs()) if costs() or not rows else None

    simple: dict[str, Callable[[], float | None]] = {
        "invocations": lambda: calls,
        "successes": lambda: calls - failed(),
        "failures": failed,
        "errors": lambda: sum(row["status"] == "error" for row in rows),
        "timeouts": lambda: sum(row["status"] == "timeout" for row in rows),
        "success_rate": lambda: _ratio(calls - failed(), calls),
        "failure_rate": lambda: _ratio(failed(), calls),
        "uncounted": lambda: calls - len(_known(rows, "total_tokens")),
        "cost_nanos": cost,
        "total_cost_usd": lambda: None if (found := cost()) is None else found / 1e9,
        "priced": lambda: len(costs()),
        "unpriced": lambda: calls - len(costs()),
        "timed": lambda: len(_known(rows, "latency_ms")),
        "usd_per_call": lambda: _ratio(sum(costs()) / 1e9, len(costs())),
        "usd_per_1k_tokens": lambda: _ratio(
            sum(nanos(cost) for cost, _ in _known(rows, "cost_usd", "total_tokens")) / 1e6,
            sum(tokens for _, tokens in _known(rows, "cost_usd", "total_tokens")),
        ),
        "usd_per_success": lambda: _ratio(
            sum(costs()) / 1e9, sum(row["status"] == "success" and row["cost_usd"] is not None for row in rows)
        ),
        "output_tokens_per_second": lambda: _ratio(
            1000 * sum(c for c, ms in _known(rows, "completion_tokens", "latency_ms") if c and ms),
            sum(ms for c, ms in _known(rows, "completion_tokens", "latency_ms") if c and ms),
        ),
        "cache_hit_share": lambda: _ratio(
            sum(hit for hit, _ in _known(rows, "cache_read_tokens", "prompt_tokens")),
            sum(prompt for _, prompt in _known(rows, "cache_read_tokens", "prompt_tokens")),
        ),
    }
    if name in simple:
        return simple[name]()
    return _half(rows, name) if name in ("prompt_tokens", "completion_tokens") else _sum(rows, name)
