"""A block that reports more than once: what is stored is what its reports cost, or the cost is unknown."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.unit.pricing.test_usage_shapes import Bill, bills, priced

from llm_service.pricing.usage import openai_usage, usage_fields
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.instrumentation.later_reports import COUNTS, with_losses
from llm_service.telemetry.record.fields import FIELDS

SONNET = {"model_name": "claude-sonnet-4-5", "provider": "anthropic"}


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """One whose rows are read at once."""
    with TelemetryLogger(tmp_path / "t.db", models=False, policies=False) as telemetry:
        yield telemetry


def last(logger: TelemetryLogger) -> Any:
    """The row of the last call."""
    logger.flush()
    return logger.get_invocations(limit=1)[0]


def merged(*reports: dict[str, Any]) -> dict[str, Any]:
    """The fields after several reports, as a block has them."""
    fields: dict[str, Any] = {}
    for report in reports:
        fields |= with_losses(fields, {field: value for field, value in report.items() if value is not None})
    return fields


@given(bills(), bills(), st.data())
@settings(suppress_health_check=[HealthCheck.too_slow], max_examples=60)
def test_a_later_report_is_never_priced_by_what_an_earlier_one_said(
    first: Bill, second: Bill, data: st.DataObject
) -> None:
    """Of every shape, whatever of its details the later one leaves out; what it says of the same prompt is of that."""
    report = second.report
    for name in data.draw(st.sets(st.sampled_from(sorted(report)))):
        later = usage_fields({key: value for key, value in report.items() if key != name})
        if later["prompt_tokens"] is not None and later["completion_tokens"] is not None:
            report = {key: value for key, value in report.items() if key != name}
    later, earlier = usage_fields(report), usage_fields(first.report)
    alone, both = priced(later), priced(merged(earlier, later))
    same = any(earlier[whole] == later[whole] for whole in ("prompt_tokens", "completion_tokens"))
    assert both.cost_usd is None or same or both.cost_usd == pytest.approx(alone.cost_usd, abs=1e-9)
    charged = priced(merged(earlier | {"cost_usd": 77.0, "cost_source": "reported"}, later))
    known = earlier | {"total_tokens": (earlier["prompt_tokens"] or 0) + (earlier["completion_tokens"] or 0)}
    assert charged.cost_usd != 77.0 or all(later[field] in {None, earlier[field], known[field], 0} for field in COUNTS)


@pytest.mark.parametrize(
    ("reports", "usd"),
    [
        ([{"cost_usd": 0.5}, {"prompt_tokens": 9, "completion_tokens": 9}], 0.5),
        ([{"prompt_tokens": 9, "completion_tokens": 9, "cost_usd": 0.5}, {"prompt_tokens": 9}], 0.5),
        ([{"prompt_tokens": 9, "completion_tokens": 9, "cost_usd": 0.5}, {"total_tokens": 18}], 0.5),
        ([{"prompt_tokens": 9, "completion_tokens": 9, "cost_usd": 0.5}, {"total_tokens": 19}], None),
        ([{"prompt_tokens": 9, "completion_tokens": 0, "cost_usd": 0.5}, {"completion_tokens": 0}], 0.5),
        ([{"prompt_tokens": 9, "cost_usd": 0.5}, {"completion_tokens": 5}], None),
        ([{"prompt_tokens": 9, "cost_usd": 0.5}, {"completion_tokens": 5, "cost_usd": 0.75}], 0.75),
        ([{"prompt_tokens": 9, "cost_usd": 0.5}, {"session_id": "s"}], 0.5),
        ([{"prompt_tokens": 9, "cost_usd": 0.5}, {"cache_read_tokens": 5}], None),
        ([{"prompt_tokens": 9, "cost_usd": 0.5}, {"prompt_tokens": object()}], 0.5),
    ],
)
def test_a_cost_stays_until_other_counts_are_told(reports: list[dict[str, Any]], usd: float | None) -> None:
    """A total that is their sum is none, and neither is a count told for the first time with its cost."""
    assert merged(*reports).get("cost_usd") == usd


@pytest.mark.parametrize("part", [field for field in FIELDS if field.endswith("_tokens") and field not in COUNTS[:3]])
def test_a_part_does_not_outlive_its_whole_and_is_named(part: str) -> None:
    """Each field of a record that is a part of another; a 0 is no part."""
    whole = "completion_tokens" if part == "reasoning_tokens" else "prompt_tokens"
    told = {"prompt_tokens": 100, "completion_tokens": 100}
    fields = merged(told | {part: 60}, {whole: 200})
    assert (fields[part], fields["unpriced_usage"]) == (None, f"{part}: 60, told of other {whole}")
    assert "unpriced_usage" not in merged(told | {part: 0}, {whole: 200})
    assert merged(told | {part: 60}, {whole: 100})[part] == 60
    assert merged(told | {part: 60}, {whole: 200, part: 70})[part] == 70
    named = merged(told | {part: 60, "unpriced_usage": "x" * 195}, {whole: 200})["unpriced_usage"]
    assert named == "x" * 195  # as much as a record takes
    assert merged(told | {part: 60, "unpriced_usage": 5}, {whole: 200})["unpriced_usage"] == 5  # refused by the record


def test_a_total_does_not_outlive_its_parts() -> None:
    """One that was told before a part of it still contradicts what is told then."""
    told = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
    assert merged(told, {"completion_tokens": 20})["total_tokens"] is None
    assert merged(told, {"completion_tokens": 20, "total_tokens": 120})["total_tokens"] == 120
    assert merged({"prompt_tokens": 100, "total_tokens": 150}, {"completion_tokens": 10})["total_tokens"] == 150


def test_a_total_of_nothing_takes_away_what_was_told_of_its_parts() -> None:
    """All counts that a record has; a total that is too small is left for the record to refuse."""
    told = dict.fromkeys(COUNTS, 10) | {"total_tokens": 20}
    fields = merged(told, {"total_tokens": 0, "cost_usd": 0})
    assert {field: fields[field] for field in COUNTS} == dict.fromkeys(COUNTS) | {"total_tokens": 0}
    assert (fields["cost_usd"], fields.get("unpriced_usage")) == (0, None)
    assert merged(told, {"total_tokens": 15})["prompt_tokens"] == 10


def test_a_start_and_an_end_of_an_answer_are_one_report(logger: TelemetryLogger) -> None:
    """Anthropic's events, each recorded as it comes: the end tells no prompt, or the same."""
    start = {"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 1_000}
    for end in ({"output_tokens": 50}, start | {"output_tokens": 50}):
        with logger.invocation("a", **SONNET) as call:
            call.record_usage(**usage_fields(start))
            call.record_usage(**usage_fields(end))
        assert last(logger)["cost_usd"] == pytest.approx((100 * 3 + 1_000 * 0.3 + 50 * 15) / 1e6, abs=1e-9)


@pytest.mark.parametrize(
    "name", ["cache_read_input_tokens", "cache_creation_input_tokens", "cached_tokens", "cached_input_tokens"]
)
@pytest.mark.parametrize("order", [1, -1])
def test_cached_tokens_by_a_providers_name_without_their_prompt_are_not_priced(
    logger: TelemetryLogger, name: str, order: int
) -> None:
    """Some count them within it, others beside it, and the one report does not tell."""
    with logger.invocation("a", **SONNET) as call:
        for report in [{"input_tokens": 2_000, "output_tokens": 50}, {name: 1_000}][::order]:
            call.record_usage(**report)
    row = last(logger)
    assert (row["cost_usd"], row["cost_source"]) == (None, "unknown")
    assert name in row["unpriced_usage"]
    with logger.invocation("a", unpriced_usage="images: 1", **{name: 7}):
        pass
    assert last(logger)["unpriced_usage"] == f"images: 1; {name}: 7 (within the prompt or beside it)"
    with logger.invocation("a", **SONNET) as call:
        call.record_usage(prompt_tokens=2_000, completion_tokens=50)
        call.record_usage(**{name: 0})
    assert last(logger)["cost_source"] == "computed"


RAW = {
    "prompt_tokens": 100,
    "completion_tokens": 10,
    "total_tokens": 110,
    "prompt_tokens_details": {"cached_tokens": 60},
}


@pytest.mark.parametrize("usage", [RAW, SimpleNamespace(**RAW), {"id": "x", "usage": RAW}, openai_usage(RAW)])
def test_usage_may_be_given_as_it_is(logger: TelemetryLogger, usage: Any) -> None:
    """By position; what is named beside it wins."""
    with logger.invocation("a") as call:
        call.record_usage(usage, completion_tokens=12, response_id="r")
    row = last(logger)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cache_read_tokens"]) == (100, 12, 60)
    assert row["response_id"] == "r"


def test_what_is_no_usage_costs_the_usage_and_never_the_block(logger: TelemetryLogger) -> None:
    """None says nothing; anything else is counted as a bad value."""
    with logger.invocation("a") as call:
        call.record_usage(None, prompt_tokens=1)
        call.record_usage(object())
        call.record_usage(5)
    assert (last(logger)["prompt_tokens"], last(logger)["status"], logger.stats().bad_values) == (1, "success", 2)


class Thrower:
    """A value that raises when it is asked for its class."""

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        raise RuntimeError


def test_a_value_that_raises_when_it_is_looked_at_is_left_for_the_record_to_refuse(logger: TelemetryLogger) -> None:
    """In a second report as in a stream; its neighbours stand."""
    with logger.invocation("a") as call:
        call.record_usage(prompt_tokens=5, completion_tokens=1)
        call.record_usage(prompt_tokens=Thrower(), completion_tokens=2)  # type: ignore[arg-type]
    assert (last(logger)["prompt_tokens"], last(logger)["completion_tokens"]) == (None, 2)
    list(logger.wrap_stream(iter([Thrower()]), "a", usage=lambda item: {"prompt_tokens": item, "completion_tokens": 3}))
    assert (last(logger)["prompt_tokens"], last(logger)["completion_tokens"]) == (None, 3)
