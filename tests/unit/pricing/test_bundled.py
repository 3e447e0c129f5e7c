"""The bundled data of genai-prices: compiled to what that package would compute, and matched only where exact."""

import random
import re
import sys
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import genai_prices
import pytest
from genai_prices.data import providers
from genai_prices.types import (
    ClauseAnd,
    ClauseContains,
    ClauseEquals,
    ClauseOr,
    ClauseStartsWith,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    PriceVariant,
    Provider,
    StartDateConstraint,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)

from llm_service.pricing.bundled import BundledPrices, _names, bundled
from llm_service.pricing.corrections import CHEAP_WRITES, CORRECTED, DATA_BEGAN, ENDED, LONG, PEAKS
from llm_service.pricing.timeline import day_start_us

NANO = Decimal("1e-9")
LATER = day_start_us(DATA_BEGAN)
OURS = {*ENDED, *CORRECTED, *PEAKS, *LONG}
"""What we know better than the data; see `corrections`, and the published prices."""


def microseconds(moment: datetime) -> int:
    """Since 1970."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


@pytest.fixture(scope="module")
def prices() -> BundledPrices:
    """The data as installed."""
    found = bundled()
    assert found is not None
    return found


def made(*models: ModelInfo, fallback: list[str] | None = None) -> BundledPrices:
    """Data of one provider."""
    maker = Provider(id="maker", name="Maker", api_pattern="x", models=list(models), fallback_model_providers=fallback)
    return BundledPrices([maker], "test")


def model(match: Any = None, prices: Any = None, **more: Any) -> ModelInfo:
    """A model of $1 and $2."""
    prices = ModelPrice(input_mtok=Decimal(1), output_mtok=Decimal(2)) if prices is None else prices
    return ModelInfo(id=more.pop("id", "one"), match=match or ClauseEquals(equals="one"), prices=prices, **more)


def writes_below_input(info: ModelInfo) -> bool:
    """Whether an entry has at any time and length a price of written tokens below that of input."""
    dated = [one.prices for one in info.prices] if isinstance(info.prices, list) else [info.prices]

    def all_of(price: Any) -> list[Decimal]:
        return [] if price is None else [getattr(price, "base", price), *(t.price for t in getattr(price, "tiers", ()))]

    return any(
        write < most
        for price in dated
        for write in all_of(price.cache_write_mtok)
        for most in [max(all_of(price.input_mtok), default=Decimal(0))]
    )


def test_written_tokens_cost_no_less_than_input(prices: BundledPrices) -> None:
    """In no list, unless it was published so; a price below it is the part that comes on top."""
    seen = set()
    for provider in providers:
        for info in provider.models:
            timeline = prices.compiled(info, provider.id)
            for period in () if timeline is None else timeline.periods:
                for tier in () if period.rates is None else period.rates.prices:
                    if tier.cache_write is not None and tier.cache_write < tier.input:
                        seen.add((provider.id, info.id))
    assert seen == CHEAP_WRITES
    whole = prices.timeline("google/gemini-2.5-flash", "openrouter")
    assert whole is not None
    before, since = (whole.at(day_start_us(date(2026, 10, day))) for day in (18, 20))
    assert before is not None
    assert since is not None
    assert [round(rates.prices[0].cache_write or 0, 4) for rates in (before, since)] == [Decimal("0.3833")] * 2
    told = ModelPrice(input_mtok=Decimal(2), output_mtok=Decimal(3), cache_write_mtok=Decimal(2))
    same = made(model(ClauseEquals(equals="one"), told)).timeline("one", "maker")
    assert same is not None
    rates = same.at(LATER)
    assert rates is not None
    assert rates.prices[0].cache_write == Decimal(2)


def test_every_model_that_we_price_costs_what_genai_prices_computes(prices: BundledPrices) -> None:
    """Some 2,200 models, three random calls each at random times, with cached, written and reasoning tokens."""
    rng = random.Random(20261126)
    checked = 0
    for provider in providers:
        for info in provider.models:
            timeline = prices.compiled(info, provider.id)
            if timeline is None or (provider.id, info.id) in OURS:
                continue
            for _ in range(3):
                moment = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=rng.randrange(86_400 * 800))
                fresh, read, written, said, reasoned = (rng.choice((0, 7, rng.randrange(400_000))) for _ in range(5))
                rates = timeline.at(microseconds(moment))
                if rates is None:
                    continue
                if rates.prices[0].output is None:
                    said = reasoned = 0
                if writes_below_input(info) and (provider.id, info.id) not in CHEAP_WRITES:
                    written = 0
                usage = genai_prices.Usage(
                    input_tokens=fresh + read + written,
                    output_tokens=said + reasoned,
                    cache_read_tokens=read,
                    cache_write_tokens=written,
                    output_reasoning_tokens=reasoned,
                )
                theirs = info.calc_price(usage, provider, genai_request_timestamp=moment).total_price
                nanos = rates.cost_nanos(fresh + read + written, said + reasoned, read, written, reasoned)
                assert nanos is not None
                assert Decimal(nanos) * NANO == theirs.quantize(NANO, ROUND_HALF_UP), (provider.id, info.id, moment)
                checked += 1
    assert checked > 6000


def test_every_service_tier_costs_what_genai_prices_computes(prices: BundledPrices) -> None:
    """Batches, flex, priority and fast, from the day on which the data have them; before it they are unknown."""
    rng = random.Random(20261126)
    checked = 0
    for provider in providers:
        for info in provider.models:
            for variant in info.price_variants or ():
                ((key, tier),) = variant.when.items()
                timeline = prices.of_tier(info, provider.id, tier)
                if timeline is None or key not in {"service_tier", "processing", "speed"}:
                    continue
                began = variant.constraint.start_date if variant.constraint else date(2026, 1, 1)  # type: ignore[union-attr]
                moment = datetime(began.year, began.month, began.day, tzinfo=UTC)
                same = [one.constraint for one in info.price_variants or () if one.when == variant.when]
                if len(same) == 1 and variant.constraint is not None:
                    assert timeline.at(microseconds(moment) - 1) is None
                fresh, read, said = (rng.randrange(400_000) for _ in range(3))
                rates = timeline.at(microseconds(moment))
                if rates is None:
                    continue
                said = 0 if rates.prices[0].output is None else said
                usage = genai_prices.Usage(input_tokens=fresh + read, output_tokens=said, cache_read_tokens=read)
                theirs = info.calc_price(
                    usage, provider, genai_request_timestamp=moment, price_context={key: tier}
                ).total_price
                nanos = rates.cost_nanos(fresh + read, said, read)
                assert nanos is not None
                assert Decimal(nanos) * NANO == theirs.quantize(NANO, ROUND_HALF_UP), (provider.id, info.id, tier)
                checked += 1
    assert checked > 150


def test_a_service_tier_follows_the_dates_of_both_its_own_and_the_standard_prices() -> None:
    """What it does not say costs what it costs otherwise; the first difference that holds takes precedence."""
    dated = [
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(8), output_mtok=Decimal(20))),
        ConditionalPrice(
            StartDateConstraint(date(2026, 7, 1)), prices=ModelPrice(input_mtok=Decimal(6), output_mtok=Decimal(10))
        ),
    ]
    batch = {"processing": "batch"}
    info = model(
        prices=dated,
        price_variants=[
            PriceVariant(batch, ModelPrice(input_mtok=Decimal(2)), StartDateConstraint(date(2026, 9, 1))),
            PriceVariant(batch, ModelPrice(input_mtok=Decimal(4)), StartDateConstraint(date(2026, 5, 1))),
            PriceVariant({**batch, "speed": "fast"}, ModelPrice(input_mtok=Decimal(99))),
        ],
    )
    timeline = made(info).timeline("one", "maker", "batch")
    assert timeline is not None
    found = [timeline.at(microseconds(datetime(2026, month, 1, tzinfo=UTC))) for month in (4, 5, 6, 7, 9, 10)]
    assert [one and (int(one.prices[0].input), int(one.prices[0].output or 0)) for one in found] == [
        None, (4, 20), (4, 20), (4, 10), (2, 10), (2, 10),
    ]  # fmt: skip
    assert made(info).timeline("one", "maker", "fast") is None
    by_night = [ConditionalPrice(TimeOfDateConstraint(time(4), time(5)), prices=ModelPrice(input_mtok=Decimal(4)))]
    assert made(model(prices=by_night, price_variants=info.price_variants)).timeline("one", "maker", "batch") is None


@pytest.mark.slow
def test_a_name_that_the_data_spell_out_is_found_at_every_provider(prices: BundledPrices) -> None:
    """Each id of a model that is priced at all finds a model; most of them itself, some an earlier namesake."""
    missed = [
        (provider.id, info.id)
        for provider in providers
        for info in provider.models
        if prices.compiled(info, provider.id) is not None
        and provider.find_model(info.id) is info
        and prices.timeline(info.id.lower(), provider.id) is None
    ]
    assert missed == []


SEARCHING = re.compile(r"sonar|(?<!re)search|deep-research|online")
OTHER_MEDIA = re.compile(
    r"audio|realtime|transcri|whisper|image|imagen|[-_]live|veo|video|gemini-omni|sora|dall-e|tts-1|voice|mistral-ocr"
)
BY_TOKENS_ALONE = "relace/relace-search"
"""It searches code."""


def test_what_bills_more_than_tokens_is_unknown_by_any_name(prices: BundledPrices) -> None:
    """Over all names that the data spell out: models that always search, and those of sound, pictures and video."""
    checked = set()
    for provider in providers:
        for info in provider.models:
            for name in {info.id.lower(), *_names(info)}:
                if (SEARCHING.search(name) or OTHER_MEDIA.search(name)) and not name.startswith(BY_TOKENS_ALONE):
                    checked.add(name)
                    assert prices.timeline(name, provider.id) is None, (provider.id, name)
    assert {"sonar", "gpt-4o-mini-search-preview", "gpt-5-search-api", "o3-deep-research", "gpt-realtime"} < checked
    for name, seller in (("gpt-4o-search-preview-2025-03-11", "openai"), ("openai/gpt-4o:online", "openrouter")):
        assert prices.timeline(name, seller) is None


def test_a_model_that_one_seller_prices_by_its_pictures_or_sounds_is_unknown_at_all(prices: BundledPrices) -> None:
    """The lists of some sellers know only its text."""
    media = {"output_image_mtok", "output_audio_mtok", "input_audio_hour", "audio_hour"}
    bare = {
        info.id.lower().rpartition("/")[2]
        for provider in providers
        for info in provider.models
        for each in (info.prices if isinstance(info.prices, list) else [info])
        if media & {key for key, value in vars(each.prices).items() if value is not None}
    }
    found = [
        (provider.id, info.id)
        for provider in providers
        for info in provider.models
        if info.id.lower().rpartition("/")[2] in bare and prices.timeline(info.id.lower(), provider.id) is not None
    ]
    assert len(bare) > 10
    assert found == []


def test_what_the_package_would_guess_is_unknown(prices: BundledPrices) -> None:
    """Its own look-up finds a price for each of these."""
    for name, provider in [
        ("claude-sonnet-4-5-preview-xyz", "anthropic"),
        ("claude-haiku-4-5-9000", "google"),
        ("gemini-2.5-pro-ultra", "google"),
        ("us.anthropic.claude-opus-4-5-imaginary-v1:0", "aws"),
        ("gpt-5-nano-of-mine", "openai"),
    ]:
        assert genai_prices.calc_price(genai_prices.Usage(input_tokens=1000), name, provider_id=provider).total_price
        assert prices.timeline(name, provider) is None


def test_a_clause_counts_by_its_texts_however_it_is_nested() -> None:
    """`starts_with` cut within a date, `contains`, `or` and `and`."""
    data = made(
        model(
            ClauseOr(
                or_=[
                    ClauseStartsWith(starts_with="lark-2025"),
                    ClauseAnd(and_=[ClauseContains(contains="finch"), ClauseContains(contains="finch-")]),
                ]
            )
        )
    )
    assert data.timeline("lark-20250101", "maker") is not None
    assert data.timeline("lark-2025-xl", "maker") is None
    assert data.timeline("finch-20250101", "maker") is not None
    assert data.timeline("goldfinch-20250101", "maker") is None
    assert data.timeline("finch-20250101", "another") is None


def test_dates_and_parts_of_the_day_are_honoured() -> None:
    """Start dates at 00:00 UTC; times with an offset, too; the last entry that holds wins."""
    east = timezone(timedelta(hours=8))
    dated = [
        ConditionalPrice(prices=ModelPrice(input_mtok=Decimal(1))),
        ConditionalPrice(StartDateConstraint(date(2026, 5, 1)), prices=ModelPrice(input_mtok=Decimal(2))),
        ConditionalPrice(
            TimeOfDateConstraint(time(6, 30, 0, 5, tzinfo=east), time(8, 0, tzinfo=east)),
            prices=ModelPrice(input_mtok=Decimal(3)),
        ),
        ConditionalPrice(TimeOfDateConstraint(time(4), time(5)), prices=ModelPrice(input_mtok=Decimal(4))),
    ]
    timeline = made(model(prices=dated)).timeline("one", "maker")
    assert timeline is not None

    def price(moment: str) -> int:
        rates = timeline.at(microseconds(datetime.fromisoformat(moment + "+00:00")))
        assert rates is not None
        return int(rates.prices[0].input)

    assert [price(f"2026-04-30T{at}") for at in ("22:29:59", "22:30:00.000005", "23:59:59.999999")] == [1, 3, 3]
    assert [price(f"2026-05-01T{at}") for at in ("00:00", "04:00", "05:00", "22:30")] == [2, 4, 2, 2]


def test_tiers_of_one_kind_only_are_merged_with_flat_prices() -> None:
    """Where only input has a tier, the others keep their price above it."""
    tiered = TieredPrices(base=Decimal(1), tiers=[Tier(start=100, price=Decimal(3)), Tier(start=50, price=Decimal(2))])
    timeline = made(model(prices=ModelPrice(input_mtok=tiered, output_mtok=Decimal(8)))).timeline("one", "maker")
    rates = None if timeline is None else timeline.at(LATER)
    assert rates is not None
    assert [(tier.above_prompt_tokens, int(tier.input), int(tier.output or 0)) for tier in rates.prices] == [
        (0, 1, 8),
        (50, 2, 8),
        (100, 3, 8),
    ]
    from_the_first = TieredPrices(base=Decimal(9), tiers=[Tier(start=0, price=Decimal(1))])
    timeline = made(model(prices=ModelPrice(input_mtok=from_the_first))).timeline("one", "maker")
    rates = None if timeline is None else timeline.at(LATER)
    assert rates is not None
    assert rates.cost_nanos(5, 0) == 5000


@pytest.mark.parametrize(
    ("info", "is_known"),
    [
        (model(prices=ModelPrice()), False),
        (model(ClauseEquals(equals="one"), ModelPrice(), id="one:free"), False),
        (model(prices=ModelPrice(), price_comments="Free of charge on the API"), True),
        (model(prices=ModelPrice(), description="A gift"), False),
        (model(prices=ModelPrice(input_mtok=Decimal(1), output_audio_mtok=Decimal(9))), False),
        (model(prices=ModelPrice(input_mtok=Decimal(1), requests_kcount=Decimal(9))), False),
        (model(prices=ModelPrice(output_mtok=Decimal(1))), False),
        (model(prices=ModelPrice(input_mtok=Decimal(1), input_audio_mtok=Decimal(9))), True),
    ],
    ids=["nothing", ":free", "free of charge", "a gift", "audio out", "by request", "output only", "audio in"],
)
def test_only_what_token_counts_can_price_is_known(info: ModelInfo, is_known: bool) -> None:
    """No price at all is no price of 0, unless the data say so."""
    assert (made(info).timeline("one", "maker") is not None) is is_known


def test_without_the_package_there_are_no_bundled_prices(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an extra."""
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    assert bundled() is None


def test_nothing_of_the_package_is_changed_or_asked() -> None:
    """A snapshot that somebody set for pydantic-ai does not reach us."""
    from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot

    set_custom_snapshot(DataSnapshot([], from_auto_update=False))
    try:
        found = bundled()
        assert found is not None
        assert found.timeline("gpt-4o", "openai") is not None
    finally:
        set_custom_snapshot(None)
