"""How prices and a repricing look, as text and as dicts for `--json`."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from llm_service.cli.output import lines, table
from llm_service.cli.tables import Column
from llm_service.pricing.explanation import Explanation
from llm_service.pricing.rates import Prices, Rates
from llm_service.pricing.timeline import ALWAYS
from llm_service.telemetry.maintenance.repricing import RepriceReport

__all__ = ["price_dict", "reprice_dict", "show_price", "show_reprice"]

_KINDS: Final = Prices._fields[1:]
_COLUMNS: Final = (Column("tokens", whole=True), Column("USD / 1M", "right"), Column("USD / 1k", "right"))
_PASSED_OVER: Final = (
    Column("passed over"),
    Column("seller"),
    Column("name"),
    Column("entry"),
    Column("why"),
)
_MOST_MODELS: Final = 10


def show_price(
    model: str, moment: datetime, rates: Rates | None, service_tier: str | None = None, why: Explanation | None = None
) -> None:
    """What the name resolved to, a table for each tier, and why."""
    lines(
        [
            ("model", model),
            *([] if rates is None else [("resolved to", rates.model), ("provider", rates.provider or "-")]),
            *([] if service_tier is None else [("service tier", service_tier)]),
            ("source", "-" if rates is None else rates.source),
            ("at", f"{_text(moment)} UTC"),
            *_reasons(why),
        ]
    )
    _show_tiers(() if rates is None else rates.prices)
    if rates is not None and rates.known_up_to is not None:
        lines([("prompts", f"above {rates.known_up_to:,} tokens: unknown")])
    if why is not None and why.passed_over:
        rows = [[one.source, one.provider or "-", one.name, one.entry or "-", one.why] for one in why.passed_over]
        table(_PASSED_OVER, rows)


def _reasons(why: Explanation | None) -> list[tuple[str, str]]:
    if why is None or why.rates is None:
        return []
    since, until = _bound(why.from_us), _bound(why.until_us)
    return [
        ("rule", why.rule or "-"),
        ("since", "always, as far as is known" if since is None else f"{since} UTC"),
        ("until", "no change is known" if until is None else f"{until} UTC"),
    ]


def _show_tiers(prices: Sequence[Prices]) -> None:
    for tier in prices:
        rows = [
            [kind.replace("_", " "), _plain(price), _plain(price / 1000)]
            for kind, price in zip(_KINDS, tier[1:], strict=True)
            if price is not None
        ]
        if tier.above_prompt_tokens:
            lines([("prompts", f"above {tier.above_prompt_tokens:,} tokens: the whole call pays")])
        elif len(prices) > 1:
            lines([("prompts", f"up to {prices[1].above_prompt_tokens:,} tokens")])
        table(_COLUMNS, rows)


def price_dict(
    model: str, moment: datetime, rates: Rates | None, service_tier: str | None = None, why: Explanation | None = None
) -> dict[str, Any]:
    """For `--json`; prices in USD, None where there is none of its own."""
    found: dict[str, Any] = {
        "model": model,
        "resolved_to": None if rates is None else rates.model,
        "provider": None if rates is None else rates.provider,
        "service_tier": service_tier,
        "source": None if rates is None else rates.source,
        "at": f"{_text(moment)}Z",
        "tiers": [
            {
                "above_prompt_tokens": tier.above_prompt_tokens,
                "usd_per_1m_tokens": _by_kind(tier, 1),
                "usd_per_1k_tokens": _by_kind(tier, 1000),
            }
            for tier in (() if rates is None else rates.prices)
        ],
    }
    if why is not None:
        bounds = {"since": _bound(why.from_us), "until": _bound(why.until_us)} if why.rates is not None else {}
        found["explanation"] = {
            "rule": why.rule,
            **{name: None if bounds.get(name) is None else f"{bounds[name]}Z" for name in ("since", "until")},
            "passed_over": [one._asdict() for one in why.passed_over],
        }
    return found


def _bound(at_us: int) -> str | None:
    """A moment in microseconds since 1970, to the second; None for always."""
    return None if at_us in ALWAYS else _text(datetime.fromtimestamp(at_us // 1_000_000, UTC))


def _text(moment: datetime) -> str:
    """To the second; `%Y` would give the year 1 as `1`."""
    return moment.replace(tzinfo=None).isoformat(" ", "seconds")


def _by_kind(tier: Prices, parts: int) -> Mapping[str, float | None]:
    return {kind: None if price is None else float(price / parts) for kind, price in zip(_KINDS, tier[1:], strict=True)}


def _plain(price: Decimal) -> str:
    """No exponent, and no zeros at the end."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def show_reprice(path: Path, report: RepriceReport, *, dry_run: bool) -> None:
    """What changed, in calls and dollars."""
    would = "would be " if dry_run else ""
    lines(
        [
            ("database", str(path)),
            ("examined", f"{report.examined:,} calls whose cost is unknown or computed"),
            (f"{would}priced", f"{report.priced:,} calls that had no cost"),
            (f"{would}changed", f"{report.changed:,} calls that had another cost"),
            ("cost of both", f"{_usd(report.old_nanos)} before, {_usd(report.new_nanos)} after"),
            ("still unknown", f"{report.unknown:,} calls"),
            ("kept", f"{report.kept:,} computed costs for which no price is known any more"),
        ]
    )
    most = _most(report)
    tiers = any(tier for (_, _, tier), _ in most)
    rows = [
        [model or "-", provider or "-", *([tier or "-"] * tiers), f"{count:,}"]
        for (model, provider, tier), count in most
    ]
    if rows:
        columns = [Column("no price for"), Column("provider"), *([Column("service tier")] * tiers)]
        table([*columns, Column("calls", "right")], rows)


def reprice_dict(path: Path, report: RepriceReport, *, dry_run: bool) -> dict[str, Any]:
    """For `--json`; USD as numbers."""
    return {
        "db_path": str(path),
        "dry_run": dry_run,
        "examined": report.examined,
        "priced": report.priced,
        "changed": report.changed,
        "unknown": report.unknown,
        "kept": report.kept,
        "usd_before": report.old_nanos / 1e9,
        "usd_after": report.new_nanos / 1e9,
        "unpriced_models": [
            {"model_name": model, "provider": provider, "service_tier": tier, "invocations": count}
            for (model, provider, tier), count in _most(report)
        ],
    }


def _most(report: RepriceReport) -> list[tuple[tuple[str | None, str | None, str | None], int]]:
    return sorted(report.unpriced_models.items(), key=lambda one: (-one[1], str(one[0])))[:_MOST_MODELS]


def _usd(nanos: int) -> str:
    return f"${Decimal(nanos).scaleb(-9):,f}"
