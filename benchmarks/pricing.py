"""What does it cost to price a record, and do millions of them add up to the nano-dollar?

Everything is checked first: our cost of each call is that of genai-prices, rounded once to the nano-dollar.
"""

import asyncio
import importlib.util
import random
import sqlite3
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing, suppress
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from time import perf_counter
from typing import Any, Final

from benchmarks._harness import Bar, Options, Report, Row, check, command, interleave, median
from llm_service.pricing.book import PriceBook
from llm_service.pricing.rates import Rates
from llm_service.telemetry.record.record import InvocationRecord, rebuilt
from llm_service.telemetry.stores.costing import Costing, with_cost
from llm_service.telemetry.stores.rollups import Fold

__all__ = ["run"]

_BAR: Final = Bar("ours", "<=", 0.5)
_EXACT: Final = Bar("ours", "<=", 0)
_NANO: Final = Decimal("1e-9")
_BATCH: Final = 1_000
_MOMENT: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
_MODELS: Final = (
    ("gpt-4o", "openai"),
    ("gpt-4o-mini", "openai"),
    ("o3", "openai"),
    ("claude-sonnet-4-5", "anthropic"),
    ("claude-3-5-haiku-20241022", "anthropic"),
    ("gemini-2.5-pro", "google"),
    ("gemini-2.5-flash", "google"),
    ("grok-4", "x-ai"),
)
_ADDED_MODEL: Final = "command-r7b-12-2024"
"""37.5 nano-dollars a prompt token: every second call is rounded."""
_SLICE: Final = 50_000


def run(options: Options) -> Report:
    """Microseconds for pricing a record, beside genai-prices and LiteLLM; and the error of ten million additions."""
    report = Report(
        "pricing", f"prices of {len(_MODELS)} models; batches of {_BATCH:,} records, as the writer has them"
    )
    prices = PriceBook()
    rng = random.Random(20261126)
    plain = [_record(rng, whole=False) for _ in range(_BATCH)]
    whole = [_record(rng, whole=True) for _ in range(_BATCH)]
    _check_costs(prices, [*plain, *whole])
    _time(report, prices, plain, whole, options)
    _add_up(report, prices, options.count(10_000_000, 50_000))
    return report


def _record(rng: random.Random, *, whole: bool) -> InvocationRecord:
    model, provider = rng.choice(_MODELS)
    prompt, completion = rng.randrange(100, 20_000), rng.randrange(1, 3_000)
    more: dict[str, Any] = {}
    if whole:
        more = {"provider": provider, "cache_read_tokens": prompt // 2, "reasoning_tokens": completion // 3}
    return InvocationRecord(
        model_name=model, prompt_tokens=prompt, completion_tokens=completion, timestamp=_MOMENT, **more
    )


def _theirs(record: InvocationRecord) -> Decimal:
    import genai_prices

    model = record.model_name or ""
    usage = genai_prices.Usage(
        input_tokens=record.prompt_tokens,
        output_tokens=record.completion_tokens,
        cache_read_tokens=record.cache_read_tokens,
        output_reasoning_tokens=record.reasoning_tokens,
    )
    provider = dict(_MODELS)[model]
    return genai_prices.calc_price(
        usage, model, provider_id=provider, genai_request_timestamp=record.timestamp
    ).total_price


def _check_costs(prices: PriceBook, batch: Sequence[InvocationRecord]) -> None:
    costs = Costing(prices).costs(batch) or []
    for record, cost in zip(batch, costs, strict=True):
        usd = None if cost is None else cost[0]
        exact = _theirs(record).quantize(_NANO, ROUND_HALF_UP)
        check(usd is not None and Decimal(repr(usd)) == exact, f"{record.model_name} costs what genai-prices computes")


def _time(
    report: Report,
    prices: PriceBook,
    plain: Sequence[InvocationRecord],
    whole: Sequence[InvocationRecord],
    options: Options,
) -> None:
    costing = Costing(prices)
    costs = costing.costs(plain) or []
    keys = [(record.model_name, record.card[1]) for record in plain]
    rates = [_rates(prices, record.model_name) for record in plain]
    calls = [(one.cost_nanos, record.card[5], record.card[6]) for one, record in zip(rates, plain, strict=True)]
    some = plain[: options.count(200, 10)]
    works: dict[str, tuple[int, Callable[[], Any]]] = {
        "plain": (_BATCH, lambda: costing.costs(plain)),
        "whole": (_BATCH, lambda: costing.costs(whole)),
        "rates": (_BATCH, lambda: [prices.rates(model, None, at_us) for model, at_us in keys]),
        "nanos": (_BATCH, lambda: [cost(prompt, completion) for cost, prompt, completion in calls]),
        "put": (_BATCH, lambda: [with_cost(record, cost) for record, cost in zip(plain, costs, strict=True)]),
        "genai-prices": (len(some), lambda: [_theirs(record) for record in some]),
    }
    litellm = _litellm(plain, 20)
    if litellm is not None:
        works["litellm"] = (20, litellm)
    rounds = options.count(25, 2)
    contenders: dict[str, Callable[[], Awaitable[float]]] = {
        name: _timed(work, count, options.count(5, 1)) for name, (count, work) in works.items()
    }
    times = asyncio.run(interleave(rounds, contenders))
    us = {name: median(found) for name, found in times.items()}
    for what, name, bar in (
        ("a record's cost, found and computed by the writer", "plain", _BAR),
        ("the same with provider, cached and reasoning tokens", "whole", None),
        ("Rates.cost_nanos alone", "nanos", None),
    ):
        # A quick run says whether it works, not how fast it is.
        report.rows.append(
            Row(what, us[name], "us", us["genai-prices"], "genai-prices", True, None if options.quick else bar)
        )
    if litellm is not None:
        report.rows.append(Row("beside LiteLLM", us["plain"], "us", us["litellm"], "litellm", inverse=True))
    report.rows.append(Row("PriceBook.rates of a name it knows", us["rates"], "us"))
    report.rows.append(Row("putting the cost into the record", us["put"], "us"))
    best = min(times["plain"])
    report.notes.append(f"the best of {rounds} rounds of the first row: {best:.2f} us; the table holds medians")
    report.notes.append("genai-prices: calc_price with its look-up remembered; LiteLLM counts where it is installed")


def _rates(prices: PriceBook, model: str | None) -> Rates:
    found = prices.rates(model, None, int(_MOMENT.timestamp()) * 1_000_000)
    if found is None:
        raise LookupError(model)
    return found


def _timed(work: Callable[[], Any], count: int, times: int) -> Callable[[], Awaitable[float]]:
    async def measure() -> float:
        started = perf_counter()
        for _ in range(times):
            work()
        return (perf_counter() - started) * 1e6 / count / times

    return measure


def _litellm(batch: Sequence[InvocationRecord], count: int) -> Callable[[], Any] | None:
    """LiteLLM's own look-up of the first records whose model it knows, where it is installed; never for this alone."""
    if importlib.util.find_spec("litellm") is None:
        return None
    litellm: Any = importlib.import_module("litellm")

    def cost(record: InvocationRecord) -> Any:
        return litellm.cost_per_token(
            model=record.model_name,
            prompt_tokens=record.prompt_tokens,
            completion_tokens=record.completion_tokens,
            custom_llm_provider=dict(_MODELS)[record.model_name or ""].replace("x-ai", "xai"),
        )

    known: list[InvocationRecord] = []
    for record in batch:  # its own table forgets models that are still sold
        with suppress(litellm.exceptions.ModelNotMappedError):
            cost(record)
            known.append(record)
        if len(known) == count:
            break
    check(len(known) == count, "LiteLLM knows the models")
    return lambda: [cost(record) for record in known]


def _add_up(report: Report, prices: PriceBook, count: int) -> None:
    """Through the writer's own steps: cost, REAL column, roll-up; beside Decimal, which is exact, and a float sum."""
    fold, again = Fold(), 0
    exact, floats = Decimal(0), 0.0
    costing = Costing(prices)
    tier = _rates(prices, _ADDED_MODEL).prices[0]
    check((tier.input, tier.output) == (Decimal("0.0375"), Decimal("0.15")), "the price is the published one")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.execute("CREATE TABLE costs (cost_usd REAL)")
        for batch, micro_usd in _slices(count):
            priced = [with_cost(*pair) for pair in zip(batch, costing.costs(batch) or [], strict=True)]
            connection.executemany("INSERT INTO costs VALUES (?)", [(record.card[8],) for record in priced])
            stored = [row[0] for row in connection.execute("SELECT cost_usd FROM costs ORDER BY rowid")]
            (added,) = connection.execute("SELECT sum(CAST(cost_usd * 1e9 + 0.5 AS INTEGER)) FROM costs").fetchone()
            connection.execute("DELETE FROM costs")
            again += added
            fold.add(
                rebuilt(record, (*record.card[:8], usd, *record.card[9:]), None)
                for record, usd in zip(priced, stored, strict=True)
            )
            exact += sum(usd.scaleb(-6).quantize(_NANO, ROUND_HALF_UP) for usd in micro_usd)
            for usd in stored:
                floats += usd
    (totals,) = fold.totals().values()
    off = abs(Decimal(totals.cost_nanos) - exact * 10**9) + abs(Decimal(again) - exact * 10**9)
    check(totals.invocations == count, "every record is counted")
    report.rows.append(
        Row(
            f"{count:,} additions are off by",
            float(off),
            "nano-USD",
            float(abs(Decimal(floats) - exact) * 10**9),
            "a sum of floats",
            bar=_EXACT,
        )
    )
    report.notes.append(
        f"the sum is ${exact:,}; by roll-up and by SQL over the REAL column the same, to the nano-dollar"
    )


def _slices(count: int) -> Iterator[tuple[list[InvocationRecord], list[Decimal]]]:
    """Records without a cost, and what each costs in micro-dollars by Decimal."""
    rng = random.Random(7)
    template = InvocationRecord(model_name=_ADDED_MODEL, timestamp=_MOMENT)
    card = template.card
    one, other = Decimal("0.0375"), Decimal("0.15")
    for start in range(0, count, _SLICE):
        records: list[InvocationRecord] = []
        costs: list[Decimal] = []
        for _ in range(min(_SLICE, count - start)):
            prompt, completion = rng.randrange(100_000), rng.randrange(10_000)
            records.append(rebuilt(template, (*card[:5], prompt, completion, prompt + completion, *card[8:]), None))
            costs.append(prompt * one + completion * other)
        yield records, costs


if __name__ == "__main__":
    command(run)
