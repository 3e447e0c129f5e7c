"""`prices`: what a model costs and why."""

from datetime import UTC, datetime
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.formats import Output, Rows, formatted, put_out
from llm_service.cli.group import Failure
from llm_service.cli.kinds import of_kind, texts
from llm_service.cli.options import FILE, MODELS, as_given, examples, only_json, seller, zoned
from llm_service.cli.output import lines, listing
from llm_service.cli.tables import Column, count, named, plural
from llm_service.cli.target import Target

if TYPE_CHECKING:
    from llm_service.pricing.book import PriceBook
    from llm_service.pricing.explanation import Explanation
    from llm_service.pricing.rates import Prices

__all__ = ["prices"]

_PRICES: Final = (
    Column("tokens", whole=True, of=lambda row: row["kind"].replace("_", " ")),
    Column("USD / 1M", "right", of=lambda row: _plain(row["price"])),
    Column("USD / 1k", "right", of=lambda row: _plain(row["price"] / 1000)),
)
_TIERS: Final = (
    Column("model", of=lambda row: named(row["model"])),
    Column("provider", of=lambda row: named(row["provider"])),
    Column("prompts above", "right", of=lambda row: count(row["above_prompt_tokens"])),
    Column("tokens", of=lambda row: row["tokens"].replace("_", " ")),
    Column("USD / 1M", "right", of=lambda row: f"{row['usd_per_1m_tokens']:g}"),
)
_PASSED_OVER: Final = (
    Column("passed over", of=lambda one: one["source"]),
    Column("seller", of=lambda one: one["provider"] or "-"),
    Column("name", of=lambda one: one["name"]),
    Column("entry", of=lambda one: one["entry"] or "-"),
    Column("why", of=lambda one: one["why"]),
)


@click.command(
    epilog=examples(
        "prices claude-sonnet-4-5",
        "prices o3 --at 2025-06-09",
        "prices gpt-5 --service-tier batch",
        "prices eu.amazon.nova-pro-v1:0 --explain",
        "prices llama-3.3-70b-versatile --provider groq --json",
    )
)
@click.argument("model", metavar="MODEL")
@click.option("--at", metavar="TIME", help="The price of this moment, or of the beginning of this day.")
@zoned
@seller
@click.option(
    "--explain", is_flag=True, help="Also say why: which entry, by which rule, since when, and what was passed over."
)
@MODELS
@click.option("--config", type=FILE, metavar="PATH", help="A telemetry.yaml; the models.yaml beside it counts.")
@formatted()
@only_json
@as_given
def prices(
    *,
    model: str,
    at: str | None,
    time_zone: str | None,
    provider: str | None,
    service_tier: str | None,
    region: str | None,
    explain: bool,
    models: Path | None,
    config: Path | None,
    output: Output,
    as_json: bool,
) -> None:
    """Show what a model costs, what its name resolves to, and who says so.

    A name as records have it. Exit code 1 where no price is known: it is never guessed.
    """
    from llm_service.telemetry.record.timestamps import to_microseconds

    target = Target(config=config, as_json=as_json, time_zone=time_zone)
    asked, book = target.range(at or "now"), target.prices(models)
    moment = asked.start or datetime.now(UTC)
    found = book.explain(model, provider, to_microseconds(moment), service_tier, region=region)
    # To the second; `%Y` would give the year 1 as `1`.
    at_text = moment.replace(tzinfo=None).isoformat(" ", "seconds")
    if explain or found.rates is not None:
        put_out(
            output,
            target,
            _rows(_to_dict(model, at_text, found, service_tier, explain=explain)),
            lambda: _show(model, at_text, found, service_tier, explain=explain),
        )
    if found.rates is None:
        if book.lacks_bundled:
            from llm_service.pricing.book import NO_BUNDLED

            raise Failure(f"no price is known for {model}: {NO_BUNDLED}, or write it into models.yaml")
        said = "" if provider is None else f" of {provider or repr(provider)}"
        said += "" if service_tier is None else f" at service tier {service_tier or repr(service_tier)}"
        said += "" if region is None else f" in {region or repr(region)}"
        remedy = _remedy(model, provider, found, book) + ("" if explain else "; --explain says what was looked at")
        raise Failure(
            f"no price is known for {model}{said} at {moment:%Y-%m-%d %H:%M} UTC; write it into models.yaml{remedy}"
        )


def _remedy(model: str, provider: str | None, why: "Explanation", book: "PriceBook") -> str:
    if any(one.entry for one in why.passed_over):
        return ""
    near = get_close_matches(model.lower(), set(book.names()), n=1)
    return (", or give --provider" if provider is None else "") + (f"; did you mean {near[0]}?" if near else "")


def _show(model: str, at: str, why: "Explanation", service_tier: str | None, *, explain: bool) -> None:
    """What the name resolved to, a table for each tier, and why."""
    rates = why.rates
    facts = [("model", model)]
    if rates is not None:
        facts += [("resolved to", rates.model), ("provider", named(rates.provider or None))]
    if service_tier is not None:
        facts.append(("service tier", service_tier))
    facts += [("source", "-" if rates is None else rates.source), ("at", f"{at} UTC")]
    if rates is not None and explain:
        since, until = _bound(why.from_us), _bound(why.until_us)
        facts += [
            ("rule", why.rule or "-"),
            ("since", "always, as far as is known" if since is None else f"{since} UTC"),
            ("until", "no change is known" if until is None else f"{until} UTC"),
        ]
    lines(facts)
    tiers = () if rates is None else rates.prices
    for tier in tiers:
        if tier.above_prompt_tokens:
            lines([("prompts", f"above {plural(tier.above_prompt_tokens, 'token')}: the whole call pays")])
        elif len(tiers) > 1:
            lines([("prompts", f"up to {plural(tiers[1].above_prompt_tokens, 'token')}")])
        listing(
            _PRICES, [{"kind": kind, "price": price} for kind, price in _by_kind(tier).items() if price is not None]
        )
    if rates is not None and rates.known_up_to is not None:
        lines([("prompts", f"above {plural(rates.known_up_to, 'token')}: unknown")])
    if explain and why.passed_over:
        listing(_PASSED_OVER, [one._asdict() for one in why.passed_over])


def _to_dict(model: str, at: str, why: "Explanation", service_tier: str | None, *, explain: bool) -> dict[str, Any]:
    """For `--json`; prices in USD, None where there is none of its own."""
    rates = why.rates
    found: dict[str, Any] = {
        "model": model,
        "resolved_to": None if rates is None else rates.model,
        "provider": None if rates is None else rates.provider,
        "service_tier": service_tier,
        "source": None if rates is None else rates.source,
        "at": f"{at}Z",
        "tiers": [
            {"above_prompt_tokens": tier.above_prompt_tokens}
            | {
                f"usd_per_{name}_tokens": {
                    kind: None if price is None else float(price / parts) for kind, price in _by_kind(tier).items()
                }
                for name, parts in (("1m", 1), ("1k", 1000))
            }
            for tier in (() if rates is None else rates.prices)
        ],
    }
    if explain:
        bounds = {"since": _bound(why.from_us), "until": _bound(why.until_us)} if rates is not None else {}
        found["explanation"] = {
            "rule": why.rule,
            **{name: None if bounds.get(name) is None else f"{bounds[name]}Z" for name in ("since", "until")},
            "passed_over": [one._asdict() for one in why.passed_over],
        }
    return found


def _rows(found: dict[str, Any]) -> Rows:
    """A row for each kind of token of each tier."""
    rows = [
        {
            "model": found["resolved_to"],
            "provider": found["provider"],
            "above_prompt_tokens": tier["above_prompt_tokens"],
            "tokens": kind,
            "usd_per_1m_tokens": price,
        }
        for tier in found["tiers"]
        for kind, price in tier["usd_per_1m_tokens"].items()
        if price is not None
    ]
    names = texts("model", "provider") | of_kind("integer", "above_prompt_tokens") | texts("tokens")
    kinds = names | of_kind("number", "usd_per_1m_tokens")
    return Rows(rows, _TIERS, kinds, found)


def _bound(at_us: int) -> str | None:
    """A moment in microseconds since 1970, to the second; None for always."""
    from llm_service.pricing.timeline import ALWAYS

    if at_us in ALWAYS:
        return None
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).replace(tzinfo=None).isoformat(" ", "seconds")


def _by_kind(tier: "Prices") -> dict[str, Decimal | None]:
    return {kind: price for kind, price in tier._asdict().items() if kind != "above_prompt_tokens"}


def _plain(price: Decimal) -> str:
    """No exponent, and no zeros at the end."""
    text = f"{price:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
