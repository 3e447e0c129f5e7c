"""Costs by the piece: agree with a recount of the records, and leave open what is not known."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import chain, combinations
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import InvocationRecord, InvocationRow, TelemetryLogger
from llm_service.telemetry.queries import cache_savings
from llm_service.telemetry.queries.cache_savings import RatesOf
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.grouping import NAME_KEYS, NameKey
from llm_service.telemetry.queries.unit_costs import UnitCosts, UnitReport, read_unit_costs
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.sqlite.reader import read

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
KEYS: list[tuple[NameKey, ...]] = [keys for number in range(4) for keys in combinations(NAME_KEYS, number)]


class PerToken(NamedTuple):
    """Nano-dollars a token: reading from a cache costs a tenth of plain input, writing to it a quarter more."""

    plain: int
    generated: int = 20

    def cost_nanos(
        self,
        prompt_tokens: int,
        completion_tokens: int,
        cache_read_tokens: int = 0,
        cache_write_tokens: int = 0,
        reasoning_tokens: int = 0,
        cache_write_1h_tokens: int = 0,
    ) -> int | None:
        plain = prompt_tokens - cache_read_tokens - cache_write_tokens
        if plain < 0 or reasoning_tokens > completion_tokens:
            return None
        return (
            plain * self.plain
            + cache_read_tokens * self.plain // 10
            + cache_write_tokens * self.plain * 5 // 4
            + cache_write_1h_tokens * self.plain * 3 // 4
            + completion_tokens * self.generated
        )


class Stepped(NamedTuple):
    """Twice the price above 200 prompt tokens, for the whole call."""

    def cost_nanos(self, prompt_tokens: int, completion_tokens: int, *parts: int) -> int | None:
        return PerToken(2_000 if prompt_tokens > 200 else 1_000).cost_nanos(prompt_tokens, completion_tokens, *parts)


class Book:
    """Knows `m`, dearer by half from 2026-11-21 on, and `steps`."""

    def rates(
        self,
        model_name: str | None,
        provider: str | None = None,
        at_us: int | None = None,
        service_tier: str | None = None,
    ) -> Any:
        assert at_us is not None
        later = at_us >= datetime(2026, 11, 21, tzinfo=UTC).timestamp() * 1e6
        if provider == "other" or service_tier == "odd":
            return None
        return {"m": PerToken(1_500 if later else 1_000), "steps": Stepped()}.get(model_name or "")


def written(folder: Path, *records: InvocationRecord) -> Path:
    """A file with these records."""
    path = folder / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        for record in records:
            telemetry.log_invocation_nowait(record)
    return path


def call(**fields: Any) -> InvocationRecord:
    """A call of 100 + 10 tokens on 2026-11-20, unless told otherwise."""
    return InvocationRecord(**{"timestamp": NOON, "prompt_tokens": 100, "completion_tokens": 10} | fields)


def report(path: Path, by: Any = (), *, prices: RatesOf | None = None, **narrowed: Any) -> UnitReport:
    """A report of this file."""
    return read(path, lambda fetch: read_unit_costs(fetch, by, InvocationFilter(**narrowed), prices=prices))


def test_a_success_pays_for_the_failures_and_a_call_without_a_cost_pays_for_nothing(tmp_path: Path) -> None:
    """Four calls, 6 USD known: 2 a priced call, 6 a priced success, 1.5 of them wasted."""
    path = written(
        tmp_path,
        call(cost_usd=4.5, total_tokens=3_000),
        call(cost_usd=1, status="error", total_tokens=500),
        call(cost_usd=0.5, status="timeout", prompt_tokens=None, completion_tokens=None),
        call(status="error", total_tokens=9_000),
        call(total_tokens=9_000),
    )
    totals = report(path)["totals"]
    assert (totals["invocations"], totals["unpriced"], totals["total_cost_usd"]) == (5, 2, 6)
    assert (totals["usd_per_call"], totals["usd_per_success"]) == (2, 6)
    assert totals["usd_per_1k_tokens"] == pytest.approx(5.5 / 3.5)  # the timeout told no tokens
    assert (totals["wasted_usd"], totals["wasted_error_usd"], totals["wasted_timeout_usd"]) == (1.5, 1, 0.5)
    assert (totals["wasted_unpriced"], totals["wasted_tokens"], totals["wasted_uncounted"]) == (1, 9_500, 1)
    assert totals["wasted_share"] == 0.25


def test_what_is_not_known_is_none(tmp_path: Path) -> None:
    """No price, no tokens, no success: no ratio, and no zero."""
    totals = report(written(tmp_path, call(status="error"), call()))["totals"]
    ratios = (
        "usd_per_call",
        "usd_per_1k_tokens",
        "usd_per_success",
        "wasted_share",
        "cache_saved_usd",
        "cache_saved_nanos",
    )
    assert [totals[ratio] for ratio in ratios] == [None] * 6  # type: ignore[literal-required]
    assert (totals["total_cost_usd"], totals["unpriced"], totals["wasted_unpriced"]) == (0, 2, 1)


@pytest.mark.parametrize("by", KEYS)
def test_an_empty_file_has_totals_of_nothing(tmp_path: Path, by: tuple[NameKey, ...]) -> None:
    """And no days."""
    found = report(tmp_path / "absent.db", by)
    assert (found["rows"], found["first_day"], found["records_since"], found["deleted_invocations"]) == (
        [],
        None,
        None,
        0,
    )
    assert (found["totals"]["invocations"], found["totals"]["usd_per_call"]) == (0, None)


def test_retries_are_counted_where_they_are_told(tmp_path: Path) -> None:
    """Three of four tell; two were tried again, three times in all."""
    totals = report(written(tmp_path, *(call(attempts=attempts) for attempts in (None, 1, 2, 3))))["totals"]
    assert (totals["attempts_known"], totals["retried"], totals["extra_attempts"]) == (3, 2, 3)


# What caches saved


def test_a_cache_saves_what_plain_input_would_have_cost_more(tmp_path: Path) -> None:
    """60 of 100 tokens read at a tenth of 1,000 nano-dollars save 54,000, reasoning and answer cancel out."""
    path = written(tmp_path, call(model_name="m", cache_read_tokens=60, reasoning_tokens=5), call(model_name="m"))
    totals = report(path, prices=Book())["totals"]
    assert (totals["cache_saved_nanos"], totals["cache_saved_usd"]) == (54_000, 0.000054)
    assert (totals["cache_told"], totals["cache_invocations"], totals["cache_unknown"]) == (1, 1, 0)
    assert totals["cache_read_tokens"] == 60


def test_a_call_that_only_tells_the_model_it_asked_for_is_priced_by_that(tmp_path: Path) -> None:
    """As its cost is."""
    totals = report(written(tmp_path, call(request_model="m", cache_read_tokens=60)), prices=Book())["totals"]
    assert totals["cache_saved_nanos"] == 54_000


def test_writes_that_nobody_reads_cost_more_than_they_save(tmp_path: Path) -> None:
    """80 tokens at a quarter more than 1,000: 20,000 lost; and said as a loss."""
    totals = report(written(tmp_path, call(model_name="m", cache_write_tokens=80)), prices=Book())["totals"]
    assert (totals["cache_saved_nanos"], totals["cache_write_tokens"]) == (-20_000, 80)


def test_what_is_written_for_an_hour_costs_more_again(tmp_path: Path) -> None:
    """20 of 80 tokens at twice 1,000: 15,000 beyond the 20,000; of a service tier or usage without a price nothing is."""
    wrote = {"model_name": "m", "cache_write_tokens": 80, "cache_write_1h_tokens": 20}
    path = written(
        tmp_path, call(**wrote), call(**wrote, service_tier="odd"), call(**wrote, unpriced_usage="searches: 2")
    )
    totals = report(path, prices=Book())["totals"]
    assert (totals["cache_saved_nanos"], totals["cache_unknown"]) == (-35_000, 2)


def test_each_call_is_priced_at_its_own_moment_and_size(tmp_path: Path) -> None:
    """Prices have dates and steps: 54,000 before, 81,000 after; 18,000 below the step, and twice that for each above."""
    path = written(
        tmp_path,
        call(model_name="m", cache_read_tokens=60),
        call(model_name="m", cache_read_tokens=60, timestamp=NOON + timedelta(days=1)),
        call(model_name="steps", cache_read_tokens=20),
        call(model_name="steps", cache_read_tokens=20, prompt_tokens=201),
    )
    rows = report(path, ("model",), prices=Book())["rows"]
    assert {row["model_name"]: row["cache_saved_nanos"] for row in rows} == {"m": 135_000, "steps": 54_000}


def test_the_price_book_knows_what_published_prices_save(tmp_path: Path) -> None:
    """Claude 3.5 Sonnet: 3 USD a million in, 0.30 from the cache, 3.75 into it (anthropic.com/pricing, 2024)."""
    path = written(
        tmp_path,
        call(model_name="claude-3-5-sonnet-20241022", provider="anthropic", cache_read_tokens=60),
        call(model_name="claude-3-5-sonnet-20241022", provider="anthropic", cache_write_tokens=60),
        call(model_name="mystery", cache_read_tokens=60),
    )
    totals = report(path, prices=PriceBook())["totals"]
    assert totals["cache_saved_nanos"] == 60 * (3_000 - 300) - 60 * (3_750 - 3_000)
    assert (totals["cache_invocations"], totals["cache_unknown"]) == (3, 1)


@pytest.mark.parametrize(
    "unknown",
    [
        {"model_name": "who"},
        {"model_name": None},
        {"model_name": "m", "provider": "other"},
        {"model_name": "m", "prompt_tokens": None},
        {"model_name": "m", "completion_tokens": None},
    ],
)
def test_a_saving_that_cannot_be_priced_is_unknown_and_counted(tmp_path: Path, unknown: dict[str, Any]) -> None:
    """Alone it leaves the sum open; beside others it is counted beside their sum."""
    path = written(tmp_path, call(cache_read_tokens=60, agent_name="a", **unknown),
                   call(model_name="m", cache_read_tokens=60, agent_name="b"))  # fmt: skip
    found = report(path, ("agent",), prices=Book())
    rows = {row["agent_name"]: row for row in found["rows"]}
    assert (rows["a"]["cache_saved_usd"], rows["a"]["cache_unknown"]) == (None, 1)
    assert (found["totals"]["cache_saved_nanos"], found["totals"]["cache_unknown"]) == (54_000, 1)


def test_counts_that_contradict_each_other_are_unknown(tmp_path: Path) -> None:
    """A row of somebody else's making: more reasoning than answer."""
    path = written(tmp_path, call(model_name="m", cache_read_tokens=60))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE invocations SET reasoning_tokens = 11")
    totals = report(path, prices=Book())["totals"]
    assert (totals["cache_saved_nanos"], totals["cache_unknown"]) == (None, 1)


def test_without_prices_all_savings_are_unknown_and_without_a_cache_there_are_none(tmp_path: Path) -> None:
    """A cache that was told not to be used saved nothing."""
    path = written(tmp_path, call(agent_name="a", cache_read_tokens=60), call(agent_name="b", cache_read_tokens=0))
    rows = {row["agent_name"]: row for row in report(path, ("agent",))["rows"]}
    assert (rows["a"]["cache_saved_usd"], rows["a"]["cache_unknown"]) == (None, 1)
    assert (rows["b"]["cache_saved_usd"], rows["b"]["cache_unknown"], rows["b"]["cache_told"]) == (0, 0, 1)


@pytest.mark.parametrize("rows", [1, 3, 4])
def test_cached_calls_are_read_page_by_page_each_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    """Seven of ten, in pages that do and do not come out even; no more of them in memory."""
    monkeypatch.setattr(cache_savings, "_PAGE_ROWS", rows)
    calls = [
        call(model_name="m", cache_read_tokens=number % 10 * 10 if number % 10 < 7 else None) for number in range(1, 11)
    ]
    path = written(tmp_path, *calls)
    assert report(path, prices=Book())["totals"]["cache_saved_nanos"] == 900 * sum(range(0, 70, 10))


# What is there


def test_a_window_that_reaches_back_behind_the_records_says_what_is_missing(tmp_path: Path) -> None:
    """Of purged days the daily totals are left; a window of later days misses nothing."""
    now = datetime.now(UTC)
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        for ago in (0, 0, 3, 3, 9):
            telemetry.log_invocation(InvocationRecord(agent_name=f"ago-{ago}", timestamp=now - timedelta(days=ago)))
        since = telemetry.purge(1).records_kept_since
    whole, recent = report(path), report(path, start_date=since)
    assert (whole["records_since"], whole["deleted_invocations"], whole["totals"]["invocations"]) == (since, 3, 2)
    assert (recent["deleted_invocations"], recent["first_day"], recent["last_day"]) == (
        0,
        f"{now:%Y-%m-%d}",
        f"{now:%Y-%m-%d}",
    )
    assert report(path, agent_name="ago-9")["deleted_invocations"] == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"by": ("day",)}, "by: 'day'"),
        ({"start_date": "soon"}, "start_date: 'soon'"),
        ({"end_date": NOON}, "end_date: .* give a date"),
        ({"model_name": 3}, "model_name: 3"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy(tmp_path: Path, arguments: dict[str, Any], message: str) -> None:
    """A ValueError."""
    with pytest.raises(QueryError, match=message):
        report(tmp_path / "absent.db", **arguments)


@st.composite
def records(draw: st.DrawFn) -> InvocationRecord:
    """Any call of three days; parts of its tokens are told or not."""
    prompt, completion = draw(st.none() | st.integers(0, 10**5)), draw(st.none() | st.integers(0, 10**4))
    read_tokens = None if prompt is None else draw(st.none() | st.integers(0, prompt))
    left = None if prompt is None else prompt - (read_tokens or 0)
    return InvocationRecord(
        agent_name=draw(st.sampled_from(["a", "b", None])),
        tool_name=draw(st.sampled_from(["t", None])),
        model_name=draw(st.sampled_from(["m", "steps", "who", None])),
        provider=draw(st.sampled_from(["p", "other", None])),
        prompt_tokens=prompt,
        completion_tokens=completion,
        cache_read_tokens=read_tokens,
        cache_write_tokens=None if left is None else draw(st.none() | st.integers(0, left)),
        reasoning_tokens=None if completion is None else draw(st.none() | st.integers(0, completion)),
        cost_usd=draw(st.none() | st.integers(0, 10**10).map(lambda nanos: nanos / 1e9)),
        status=draw(st.sampled_from(["success", "error", "timeout"])),
        attempts=draw(st.none() | st.integers(1, 5)),
        timestamp=NOON + timedelta(seconds=draw(st.integers(-86_400, 86_400))),
    )


def nanos(row: InvocationRow) -> int | None:
    """Whole nano-dollars of a call."""
    return None if row["cost_usd"] is None else int(row["cost_usd"] * 1e9 + 0.5)


def saving(row: InvocationRow) -> int | None:
    """What the cache saved in one call."""
    prompt, completion = row["prompt_tokens"], row["completion_tokens"]
    at_us = int(datetime.fromisoformat(row["timestamp"]).timestamp() * 1e6)
    rates = Book().rates(row["model_name"], row["provider"], at_us)
    if rates is None or prompt is None or completion is None:
        return None
    cached = (row["cache_read_tokens"] or 0, row["cache_write_tokens"] or 0)
    plain = rates.cost_nanos(prompt, completion, 0, 0, 0) - rates.cost_nanos(prompt, completion, *cached, 0)
    return int(plain)


def recount(rows: Sequence[InvocationRow]) -> UnitCosts:
    """The same from one record at a time."""
    priced = [row for row in rows if row["cost_usd"] is not None]
    failed = [row for row in rows if row["status"] != "success"]

    def cost(chosen: Sequence[InvocationRow]) -> int:
        return sum(nanos(row) or 0 for row in chosen)

    def tokens(chosen: Sequence[InvocationRow]) -> int:
        return sum(row["total_tokens"] or 0 for row in chosen)

    def by_status(status: str) -> list[InvocationRow]:
        return [row for row in rows if row["status"] == status]

    both = [row for row in priced if row["total_tokens"] is not None]
    successes = [row for row in priced if row["status"] == "success"]
    told = [row for row in rows if (row["cache_read_tokens"], row["cache_write_tokens"]) != (None, None)]
    used = [row for row in told if row["cache_read_tokens"] or row["cache_write_tokens"]]
    savings = [saved for saved in map(saving, used) if saved is not None]
    saved = sum(savings) if told and (savings or not used) else None
    tried = [row["attempts"] for row in rows if row["attempts"] is not None]
    return UnitCosts(
        invocations=len(rows),
        errors=len(by_status("error")),
        timeouts=len(by_status("timeout")),
        total_tokens=tokens(rows),
        uncounted=sum(row["total_tokens"] is None for row in rows),
        total_cost_usd=cost(rows) / 1e9,
        cost_nanos=cost(rows),
        unpriced=len(rows) - len(priced),
        usd_per_call=cost(rows) / len(priced) / 1e9 if priced else None,
        usd_per_1k_tokens=1_000 * cost(both) / tokens(both) / 1e9 if tokens(both) else None,
        usd_per_success=cost(rows) / len(successes) / 1e9 if successes else None,
        wasted_usd=cost(failed) / 1e9,
        wasted_error_usd=cost(by_status("error")) / 1e9,
        wasted_timeout_usd=cost(by_status("timeout")) / 1e9,
        wasted_nanos=cost(failed),
        wasted_unpriced=sum(row["cost_usd"] is None for row in failed),
        wasted_tokens=tokens(failed),
        wasted_uncounted=sum(row["total_tokens"] is None for row in failed),
        wasted_share=cost(failed) / cost(rows) if cost(rows) else None,
        attempts_known=len(tried),
        retried=sum(attempts > 1 for attempts in tried),
        extra_attempts=sum(attempts - 1 for attempts in tried),
        cache_read_tokens=sum(row["cache_read_tokens"] or 0 for row in rows),
        cache_write_tokens=sum(row["cache_write_tokens"] or 0 for row in rows),
        cache_told=len(told),
        cache_invocations=len(used),
        cache_unknown=len(used) - len(savings),
        cache_saved_usd=None if saved is None else saved / 1e9,
        cache_saved_nanos=saved,
    )


@pytest.mark.volume
@settings(max_examples=60, deadline=None)
@given(
    made=st.lists(records(), max_size=40),
    by=st.sampled_from(KEYS),
    narrowed=st.sampled_from([{}, {"start_date": "2026-11-20"}, {"end_date": "2026-11-20", "agent_name": "a"}]),
)
def test_any_names_agree_with_a_recount_of_the_records(
    made: list[InvocationRecord], by: tuple[NameKey, ...], narrowed: dict[str, Any]
) -> None:
    """Each row and the totals, to the nano-dollar, the dearest first."""
    with TemporaryDirectory() as folder:
        path = written(Path(folder), *made)
        with TelemetryLogger(path, retention_days=None) as telemetry:
            rows = telemetry.get_invocations(limit=1_000, **narrowed)
        found = report(path, by, prices=Book(), **narrowed)
    columns = [f"{key}_name" for key in by]
    groups: dict[tuple[Any, ...], list[InvocationRow]] = {}
    for row in rows if by else []:
        groups.setdefault(tuple(row[column] for column in columns), []).append(row)  # type: ignore[literal-required]
    shown = {tuple(row[column] for column in columns): row for row in found["rows"]}
    assert {key: {k: v for k, v in row.items() if k not in columns} for key, row in shown.items()} == {
        key: recount(group) for key, group in groups.items()
    }
    assert found["totals"] == recount(rows)
    costs = [row["cost_nanos"] for row in found["rows"]]
    assert costs == sorted(costs, reverse=True)
    days = sorted(row["timestamp"][:10] for row in rows)
    assert [found["first_day"], found["last_day"]] == ([days[0], days[-1]] if days else [None, None])
    assert found["deleted_invocations"] == 0


def test_a_window_is_found_by_the_index_on_moments(tmp_path: Path) -> None:
    """Sums of a few days do not read the rest; cached calls are walked in the order of the file."""
    path = written(tmp_path, call(cache_read_tokens=1, agent_name="a"))
    asked: list[Query] = []
    plans: list[str] = []

    def question(fetch: Any) -> None:
        def noting(query: Query) -> Any:
            asked.append(query)
            return fetch(query)

        read_unit_costs(noting, ("model",), InvocationFilter("2026-11-20", "2026-11-20"), prices=Book())
        plans.extend(str(fetch((f"EXPLAIN QUERY PLAN {sql}", parameters))) for sql, parameters in asked)

    read(path, question)
    assert "idx_invocations_timestamp" in plans[0]
    assert "USING COVERING INDEX idx_invocations_timestamp" in plans[1]
    assert "USING INTEGER PRIMARY KEY" in plans[2]


def test_every_key_is_in_a_row(tmp_path: Path) -> None:
    """As the type says, after the names."""
    (row,) = report(written(tmp_path, call()), ("model", "agent"))["rows"]
    assert list(row) == list(chain(["model_name", "agent_name"], UnitCosts.__annotations__))
