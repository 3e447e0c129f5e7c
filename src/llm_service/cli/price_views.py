"""How prices and a repricing look, as text and as dicts for `--json`."""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from llm_service.cli.output import lines, table
from llm_service.cli.tables import Column
from llm_service.pricing.rates import Prices, Rates
from llm_service.telemetry.upkeep.repricing import RepriceReport

__all__ = ["rates_dict", "reprice_dict", "show_rates", "show_reprice"]

_KINDS: Final = Prices._fields[1:]
_COLUMNS: Final = (Column("tokens", whole=True), Column("USD / 1M", "right"), Column("USD / 1k", "right"))
_MOST_MODELS: Final = 10


def show_rates(model: str, moment: datetime, rates: Rates, service_tier: str | None = None) -> None:
    """What the name resolved to, and a table for each tier."""
    lines(
        [
            ("model", model),
            ("resolved to", rates.model),
            ("provider", rates.provider or "-"),
            *([] if service_tier is None else [("service tier", service_tier)]),
            ("source", rates.source),
            ("at", f"{_text(moment)} UTC"),
        ]
    )
    bounds = [tier.above_prompt_tokens for tier in rates.prices]
    for tier in rates.prices:
        rows = [
            [kind.replace("_", " "), _plain(price), _plain(price / 1000)]
            for kind, price in zip(_KINDS, tier[1:], strict=True)
            if price is not None
        ]
        if tier.above_prompt_tokens:
            lines([("prompts", f"above {tier.above_prompt_tokens:,} tokens: the whole call pays")])
        elif len(bounds) > 1:
            lines([("prompts", f"up to {bounds[1]:,} tokens")])
        table(_COLUMNS, rows)


def rates_dict(model: str, moment: datetime, rates: Rates, service_tier: str | None = None) -> dict[str, Any]:
    """For `--json`; prices in USD, None where there is none of its own."""
    return {
        "model": model,
        "resolved_to": rates.model,
        "provider": rates.provider,
        "service_tier": service_tier,
        "source": rates.source,
        "at": f"{_text(moment)}Z",
        "tiers": [
            {
                "above_prompt_tokens": tier.above_prompt_tokens,
                "usd_per_1m_tokens": _by_kind(tier, 1),
                "usd_per_1k_tokens": _by_kind(tier, 1000),
            }
            for tier in rates.prices
        ],
    }


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
