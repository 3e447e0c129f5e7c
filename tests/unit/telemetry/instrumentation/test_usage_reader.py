"""What a `usage=` reader finds: fields, or usage as a provider has it; of a stream, counts that never fall."""

from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.slices import quick
from tests.unit.pricing.test_usage_reports import REPORTED as CHARGED
from tests.unit.pricing.test_usage_reports import RUNS, UNDERSTOOD, UNPRICED

from llm_service.pricing import usage
from llm_service.pricing.runs import longest_of
from llm_service.pricing.usage import anthropic_usage, openai_usage, usage_fields
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.usage_reader import read_fields
from llm_service.telemetry.record.fields import FIELDS

ZERO_AT_THE_END = [
    {
        "type": "message_start",
        "message": {"usage": {"input_tokens": 8_000, "output_tokens": 1, "cache_read_input_tokens": 0}},
    },
    {"type": "content_block_delta", "delta": {"text": "hi"}},
    {"type": "message_delta", "usage": {"input_tokens": 0, "output_tokens": 120}},
]
COUNTS = [field for field in FIELDS if field.endswith("_tokens")]


def seen(row: Any) -> tuple[Any, ...]:
    """Prompt, completion, total, whether there is a cost."""
    return row["prompt_tokens"], row["completion_tokens"], row["total_tokens"], row["cost_usd"] is not None


def said(items: list[Any], usage: Any = usage_fields) -> dict[str, Any]:
    """The fields after all items of a stream."""
    cumulative, fields = Cumulative(usage), dict[str, Any]()
    for item in items:
        fields |= cumulative(item)
    return fields


async def test_a_zero_at_the_end_of_a_stream_replaces_no_count_however_it_is_recorded(tmp_path: Path) -> None:
    """A wrapped stream, a generator and an async generator, on both faces."""

    def events() -> Iterator[Any]:
        yield from ZERO_AT_THE_END

    async def slowly() -> AsyncIterator[Any]:
        for event in ZERO_AT_THE_END:
            yield event

    told = {"model_name": "claude-sonnet-4-5", "usage": anthropic_usage}
    with TelemetryLogger(tmp_path / "sync.db") as logger:
        list(logger.wrap_stream(events(), "a", **told))
        list(logger.instrumented("a", **told)(events)())
        rows = logger.get_invocations()
    async with AsyncTelemetryLogger(tmp_path / "async.db") as telemetry:
        assert [event async for event in telemetry.wrap_stream(slowly(), "a", **told)] == ZERO_AT_THE_END
        assert [event async for event in telemetry.instrumented("a", **told)(slowly)()] == ZERO_AT_THE_END
        rows += await telemetry.get_invocations()
    assert [seen(row) for row in rows] == [(8_000, 120, 8_120, True)] * 4


@given(st.lists(st.fixed_dictionaries({}, optional={field: st.integers(0, 50) for field in COUNTS}), max_size=6))
def test_no_count_of_a_stream_falls_and_no_total_is_below_its_parts(items: list[dict[str, int]]) -> None:
    """Whatever its items say; where they fell, the sum says the same or the cost is unknown."""
    fields = said(items, lambda item: item)
    for field in COUNTS:
        told = [item[field] for item in items if field in item]
        if told and field != "total_tokens":
            assert fields[field] == max(told)
            fell = any(0 < later < earlier for earlier, later in pairwise(told))
            assert not fell or "unpriced_usage" in fields
    assert fields.get("total_tokens", 10**6) >= fields.get("prompt_tokens", 0) + fields.get("completion_tokens", 0)


ADDED = [
    {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15},
    {"input_tokens": 0, "output_tokens": 7, "total_tokens": 7},
]


@pytest.mark.parametrize("second", [7, 20])
def test_parts_to_be_added_up_are_never_priced_as_if_each_were_the_whole(second: int) -> None:
    """LangChain's chunks: told by a total that falls, or that does not hold what was said before."""
    last = {"input_tokens": 0, "output_tokens": second, "total_tokens": second}
    fields = said([ADDED[0], last])
    assert "fell" in fields["unpriced_usage"]
    assert fields["total_tokens"] == 10 + max(5, second)


def test_parts_that_the_larger_ones_are_already_the_sum_of_are_understood() -> None:
    """The prompt in the first chunk, the answer in the last."""
    fields = said(
        [
            {"input_tokens": 8_000, "output_tokens": 0, "total_tokens": 8_000},
            {"input_tokens": 0, "output_tokens": 120, "total_tokens": 120},
        ]
    )
    assert [fields[field] for field in ("prompt_tokens", "completion_tokens", "total_tokens")] == [8_000, 120, 8_120]
    assert "unpriced_usage" not in fields


def test_a_cost_that_falls_is_no_cost() -> None:
    """A part of it would be stored as reported."""
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    assert said([usage | {"cost": 0.25}, usage | {"cost": 0}])["cost_usd"] == 0.25
    fields = said([usage | {"cost": 0.25}, usage | {"cost": 0.125}])
    assert (fields["cost_usd"], "fell" in fields["unpriced_usage"]) == (None, True)


def test_what_was_named_and_a_tier_with_its_own_price_stay_to_the_end() -> None:
    """Later events say less."""
    start = {"input_tokens": 5, "output_tokens": 1, "inference_geo": "us", "speed": "fast"}
    end = {"output_tokens": 9, "service_tier": "standard", "server_tool_use": {"web_search_requests": 2}}
    fields = said([start, end])
    assert fields["service_tier"] == "fast"
    assert fields["unpriced_usage"] == "inference_geo: us; server_tool_use.web_search_requests: 2"


RAW = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_tokens_details": {"cached_tokens": 60},
}


@pytest.mark.parametrize(
    "usage",
    [
        RAW, SimpleNamespace(**RAW), {"usage": RAW}, RAW | {"agent_name": "planner"},
        {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 10},
    ],
    ids=["mapping", "object", "answer", "with a field", "Anthropic"],
)  # fmt: skip
def test_usage_as_the_provider_has_it_is_understood(usage: Any) -> None:
    """Where the reader returns it as it is."""
    fields = read_fields(lambda _: usage, None)
    assert [fields[field] for field in ("prompt_tokens", "completion_tokens", "cache_read_tokens")] == [100, 10, 60]
    assert fields.get("agent_name") == (usage.get("agent_name") if isinstance(usage, dict) else None)


def test_what_is_neither_fields_nor_usage_is_told(tmp_path: Path) -> None:
    """Counted as a bad value, as what a reader raises."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for odd in (object(), SimpleNamespace(colour=1), {"complet_tokens": 3}):
            logger.instrumented("a", usage=lambda result: result)(lambda odd=odd: odd)()
        assert logger.stats().bad_values == 3


def test_a_reader_without_a_tier_takes_none_away(tmp_path: Path) -> None:
    """`record_usage(**openai_usage(...))` of a call whose tier was told before; a correction downwards stands."""
    named = "images: 3; cache_read_tokens: 60, told of other prompt_tokens"
    with TelemetryLogger(tmp_path / "t.db") as logger:
        with logger.invocation("a", service_tier="batch", unpriced_usage="images: 3") as call:
            call.record_usage(**openai_usage(RAW))
            call.record_usage(prompt_tokens=60, total_tokens=70)
        (row,) = logger.get_invocations()
    assert (row["service_tier"], row["unpriced_usage"], seen(row)) == ("batch", named, (60, 10, 70, False))


def _by_keywords(logger: TelemetryLogger, usage: dict[str, Any]) -> None:
    with logger.invocation("a", model_name="claude-sonnet-4-5") as call:
        call.record_usage(**usage)


def _by_set(logger: TelemetryLogger, usage: dict[str, Any]) -> None:
    with logger.invocation("a", model_name="claude-sonnet-4-5") as call:
        call.set(**usage)


def _at_the_start(logger: TelemetryLogger, usage: dict[str, Any]) -> None:
    with logger.invocation("a", model_name="claude-sonnet-4-5", **usage):
        pass


def _by_reader(logger: TelemetryLogger, usage: dict[str, Any]) -> None:
    logger.instrumented("a", model_name="claude-sonnet-4-5", usage=lambda _: usage)(lambda: 1)()


def _by_stream(logger: TelemetryLogger, usage: dict[str, Any]) -> None:
    list(logger.wrap_stream(iter([1]), "a", model_name="claude-sonnet-4-5", usage=lambda _: usage))


NEW = ("video_tokens", "image_count", "search_units", "hologramSeconds", "num_sources_used", "seat")
BELOW = "a total below its parts"
WAYS = (_by_keywords, _by_set, _at_the_start, _by_reader, _by_stream)
REPORTS = {
    **{name: report for name, (report, _) in UNDERSTOOD.items()},
    # An event holds the answer under the name of a field of a record.
    **{name: report for name, (report, _) in UNPRICED.items() if "response" not in report},
    **{name: report for name, (report, _) in RUNS.items()},
    **{name: report for name, (report, _) in CHARGED.items() if isinstance(report, dict)},
    **{f"new: {name}": RAW | {name: 7} for name in NEW},
    BELOW: {"prompt_tokens": 1_000, "completion_tokens": 500, "total_tokens": 300},
}


@pytest.mark.slow
@pytest.mark.parametrize("way", quick(WAYS, 0))
def test_a_report_says_the_same_in_whatever_way_it_is_given(tmp_path: Path, way: Any) -> None:
    """What was billed and is not counted makes the cost unknown, and what the seller charged is the cost."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for name, report in REPORTS.items():
            way(logger, report)
            logger.flush()
            row = max(logger.get_invocations(limit=1_000), key=lambda one: one["id"])
            told = usage_fields(report)
            if told["prompt_tokens"] is None:
                continue
            for field in ("prompt_tokens", "completion_tokens", "unpriced_usage", "service_tier"):
                if name == BELOW and field == "unpriced_usage":  # named by the record, where no reader saw it
                    assert "total" in row[field]
                else:
                    assert row[field] == told.get(field), (name, field)
            if name in RUNS:
                short = (longest_of(told["unpriced_usage"]) or 0) <= 200_000  # above, that model costs more
                assert row["cost_source"] == ("computed" if short else "unknown"), name
            elif told.get("cost_usd") is not None:
                assert (row["cost_usd"], row["cost_source"]) == (told["cost_usd"], "reported"), name
            elif told.get("unpriced_usage"):
                assert (row["cost_usd"], row["cost_source"]) == (None, "unknown"), name


def test_a_cost_told_before_more_was_counted_does_not_cover_it() -> None:
    """It is told again with the last counts, or not known from the seller."""
    start = {"prompt_tokens": 10, "completion_tokens": 0, "cost": 0}
    assert said([start, {"prompt_tokens": 10, "completion_tokens": 600}])["cost_usd"] is None
    assert said([start, {"prompt_tokens": 10, "completion_tokens": 600}, {"cost": 0.5}])["cost_usd"] == 0.5
    assert said([start, {"prompt_tokens": 10, "completion_tokens": 0}])["cost_usd"] == 0


class _Masked(str):  # noqa: SLOT000 - as such a client has it
    """What a keeper of secrets gives: it raises where it is looked at."""

    def strip(self, *_: Any) -> str:
        raise ValueError("masked")

    lower = upper = __str__ = strip  # type: ignore[assignment]


def _deep() -> Any:
    value: Any = "x"
    for _ in range(5_000):
        value = [value]
    return value


class _Endless(Mapping[str, int]):
    """A mapping that never ends."""

    def __len__(self) -> int:
        return 10**15

    def __getitem__(self, name: str) -> int:
        return 1

    def __iter__(self) -> Iterator[str]:
        return (f"name_{number}" for number in count())


_READERS = [getattr(usage, name) for name in usage.__all__ if name.endswith(("_usage", "_fields"))]
_RAISING = {"endless count": 10**5_000, "endless cost": 10**400, "deep": _deep(), "masked": _Masked("15")}


@pytest.mark.parametrize("reader", quick(_READERS, every=4), ids=lambda reader: str(reader.__name__))
@pytest.mark.parametrize("odd", list(_RAISING))
@pytest.mark.parametrize("name", ["total_tokens", "cost", "cached_tokens", "new_thing"])
def test_one_odd_value_costs_no_other_count(reader: Any, odd: str, name: str, tmp_path: Path) -> None:
    """No reader raises for it, and a stream keeps the counts beside it."""
    answer = {"usage": {"prompt_tokens": 10, "completion_tokens": 5, name: _RAISING[odd]}}
    reader(answer)
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        assert list(logger.wrap_stream(iter([answer]), "agent", usage=reader)) == [answer]
        (row,) = logger.get_invocations()
    assert (row["prompt_tokens"], row["completion_tokens"]) == (10, 5)
    assert row["cost_usd"] == (15.0 if (name, odd) == ("cost", "masked") else None)


@pytest.mark.slow
def test_usage_that_never_ends_is_a_bad_value(tmp_path: Path) -> None:
    """It is read no further than any usage is long."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        list(logger.wrap_stream(iter([1]), "agent", usage=lambda _: _Endless()))
        with logger.invocation("agent") as call:
            call.record_usage(_Endless())
            call.record_usage(**{f"name_{number}": 1 for number in range(5_000)}, prompt_tokens=3)
            call.set(self=1)
        assert logger.stats().bad_values >= 5_000
        assert logger.get_invocations()[0]["prompt_tokens"] == 3
