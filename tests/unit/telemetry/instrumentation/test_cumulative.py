"""A stream's reports, put together: what is stored is what the provider bills, or the cost is unknown."""

import copy
import pickle
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.pricing.test_usage_shapes import Bill, bills, priced
from tests.unit.telemetry.instrumentation.test_usage_reader import said

from llm_service.pricing.usage import anthropic_usage, gemini_usage, openai_usage, usage_fields
from llm_service.pricing.usage.joined import FELL
from llm_service.pricing.usage.shapes import SHAPES, Shape
from llm_service.telemetry.instrumentation.later_reports import with_losses

LESS = st.sampled_from([None, 0, "same"])


def parts(value: Any, keep: Any) -> Any:
    """A report with some of its counts alone, or smaller."""
    if isinstance(value, dict):
        found = {key: parts(one, keep) for key, one in value.items()}
        return {key: one for key, one in found.items() if one is not None}
    if isinstance(value, list):
        return [one if "modality" in one or "ttl" in one else parts(one, keep) for one in value]
    return keep(value)


@given(bills(), st.data())
@settings(max_examples=40)  # each is a stream with all of its orders
def test_counters_of_a_stream_are_priced_by_what_each_of_them_came_to(bill: Bill, data: st.DataObject) -> None:
    """Of every shape: each counter is told whole in one event, in the others it is left out, 0, or whole again."""
    report, usd = bill.report, bill.usd
    events: list[Any] = []
    for keys in (data.draw(st.sets(st.sampled_from(sorted(report)))), set(report)):
        first = {key: value for key, value in report.items() if key in keys}
        rest = {
            key: parts(value, lambda one: one if (how := data.draw(LESS)) == "same" else how)
            for key, value in report.items()
            if key not in keys
        }
        events.append(first | {key: value for key, value in rest.items() if value is not None})
    if data.draw(st.booleans()):
        events.reverse()
    record = priced(said(events))
    assert record.cost_usd is None or record.cost_usd == pytest.approx(float(usd), abs=1e-9), events


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: next(iter(sorted(shape.signs))))
def test_what_stands_beside_another_count_is_not_hidden_by_its_growth(shape: Shape) -> None:
    """Every pair of counters of a shape that are added up: the one in the first event, the other in the last."""
    wholes = {"fresh": "prompt", "tool_prompt": "prompt", "completion": "completion", "thoughts": "completion"}
    if "prompt" not in shape.roles.values():
        wholes |= {"read": "prompt", "written": "prompt"}
    names = {role: path for path, role in shape.roles.items() if "." not in path}
    for one, other in permutations(wholes.keys() & names.keys(), 2):
        if wholes[one] != wholes[other]:
            continue
        both = {names[role]: 10 for role in ("prompt", "fresh") if role in names}
        start, end = both | {names[one]: 30}, both | {names[other]: 50}
        field = f"{wholes[one]}_tokens"
        together = usage_fields(both | {names[one]: 30, names[other]: 50})
        assert said([start, end, end | {names[one]: 0}])[field] == together[field], (start, end)


START = {"input_tokens": 100, "output_tokens": 1, "cache_read_input_tokens": 1_000}


READERS = {
    "its own": anthropic_usage,
    "any": usage_fields,
    "another's": openai_usage,
    "as it is": lambda item: item,
    "an answer": lambda item: {"usage": item},
    "with more": lambda item: item | {"agent_name": "planner"},
}


@pytest.mark.parametrize("end", [{"cache_read_input_tokens": 0}, {}, {"cache_read_input_tokens": None}])
@pytest.mark.parametrize("reader", READERS.values(), ids=list(READERS))
def test_a_cache_that_is_told_at_the_start_alone_stays_beside_a_prompt_that_grows(
    end: dict[str, Any], reader: Any
) -> None:
    """By whichever function it is read."""
    fields = said([START, {"input_tokens": 5_000, "output_tokens": 50, **end}], reader)
    assert (fields["prompt_tokens"], fields["completion_tokens"], fields["cache_read_tokens"]) == (6_000, 50, 1_000)
    assert "unpriced_usage" not in fields


def test_a_copy_of_fields_has_lost_what_they_were_made_of_and_a_part_that_is_left_out_is_not_priced() -> None:
    """As in a block that reports twice."""
    start, end = ({**anthropic_usage(item)} for item in (START, {"input_tokens": 5_000, "output_tokens": 50}))
    assert with_losses(start, end)["unpriced_usage"] == "cache_read_tokens: 1000, told of other prompt_tokens"


def test_thoughts_and_prompts_of_tools_stay_where_a_later_event_leaves_them_out() -> None:
    """Gemini leaves out what is 0."""
    events = [
        {"promptTokenCount": 100, "thoughtsTokenCount": 30, "toolUsePromptTokenCount": 40, "totalTokenCount": 170},
        {"promptTokenCount": 150, "candidatesTokenCount": 50, "totalTokenCount": 270},
    ]
    fields = said([{"usageMetadata": event} for event in events], gemini_usage)
    assert [fields[name] for name in ("prompt_tokens", "completion_tokens", "total_tokens")] == [190, 80, 270]
    assert "unpriced_usage" not in fields


def test_a_whole_that_grew_without_its_part_is_not_priced() -> None:
    """What is within it may have grown as well."""
    start = {"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"cached_tokens": 60}}
    fields = said([start, {"prompt_tokens": 200, "completion_tokens": 5}], openai_usage)
    assert fields["unpriced_usage"] == "read of the prompt: 60, told of less"
    assert "unpriced_usage" not in said([start, {"prompt_tokens": 100, "completion_tokens": 5}], openai_usage)


def test_a_count_that_was_none_once_is_named_to_the_end() -> None:
    """It may have been any."""
    fields = said([START | {"cache_read_input_tokens": "n/a"}, START, {"output_tokens": 5}], anthropic_usage)
    assert fields["unpriced_usage"] == "cache_read_input_tokens: n/a"
    assert fields["prompt_tokens"] == 1_100


@pytest.mark.parametrize(
    ("events", "unpriced"),
    [
        ([{"server_tool_use": {"web_search_requests": 2}}, {"server_tool_use": {"web_search_requests": 0}}], "server_tool_use.web_search_requests: 2"),
        ([{"server_tool_use": {"web_search_requests": 1}}, {"server_tool_use": {"web_search_requests": 2}}], "server_tool_use.web_search_requests: 2"),
        ([{"inference_geo": "us"}, {"inference_geo": "global"}], "inference_geo: us"),
        ([{"inference_geo": "global"}, {"inference_geo": "us"}], "inference_geo: us"),
        ([{"type": "message_start", "id": "x"}, {"type": "message_stop", "id": "y"}], None),
    ],
)  # fmt: skip
def test_what_is_billed_or_makes_another_price_stays_to_the_end(events: list[Any], unpriced: str | None) -> None:
    """Whatever a later event says of it."""
    fields = said([START | event for event in events], anthropic_usage)
    assert fields.get("unpriced_usage") == unpriced


def test_what_a_later_event_settles_is_no_longer_named() -> None:
    """The total says where cached tokens are; of a prompt that is told later they are a part."""
    start = {"prompt_tokens": 100, "completion_tokens": 10, "cache_read_input_tokens": 60}
    assert "beside it" in said([start])["unpriced_usage"]
    assert said([start, start | {"total_tokens": 110}])["unpriced_usage"] is None
    assert said([{"cache_read_input_tokens": 9}, {"input_tokens": 1, "output_tokens": 1}])["unpriced_usage"] is None


def test_totals_of_parts_are_the_sum_of_their_counts() -> None:
    """Of what was reported as of a reader's own."""
    start = {"input_tokens": 80, "output_tokens": 0, "total_tokens": 80, "input_token_details": {"cache_read": 5}}
    end = {"input_tokens": 0, "output_tokens": 12, "total_tokens": 12, "input_token_details": {"cache_read": 0}}
    fields = said([start, end])
    assert (fields["total_tokens"], fields.get("unpriced_usage")) == (92, None)
    fields = said([start | {"cost": 0.5}, end | {"output_tokens": 12}, end | {"output_tokens": 7, "cost": 0.25}])
    assert (fields["cost_usd"], fields["unpriced_usage"]) == (None, ": ".join(FELL))


def test_fields_of_a_readers_own_and_reports_are_of_one_stream() -> None:
    """In whatever order; what it added to a report stays, and what it altered is its own."""
    own, report = (
        {"prompt_tokens": 100, "completion_tokens": 20},
        {"usage": {"prompt_tokens": 100, "completion_tokens": 5}},
    )
    for events in ([own, report], [report, own]):
        assert said(events, lambda item: item)["completion_tokens"] == 20
    assert said([report, {"prompt_tokens": -1}], lambda item: item)["prompt_tokens"] == -1  # for the record to refuse
    assert said([{"unpriced_usage": 5}], lambda item: item)["unpriced_usage"] == 5
    assert said([own, {"prompt_tokens": float("nan")}], lambda item: item)["prompt_tokens"] == 100
    named = [
        {"unpriced_usage": "images: 1"},
        {"unpriced_usage": "images: 2"},
        {"usage": {"prompt_tokens": 1, "seat": 3}},
    ]
    assert said(named, lambda item: item)["unpriced_usage"] == "images: 2; seat: 3"

    def adding(item: Any) -> Any:
        fields = openai_usage(item)
        fields["finish_reason"] = "stop"
        return fields

    def altering(item: Any) -> Any:
        fields = openai_usage(item)
        fields["prompt_tokens"] += 7
        return fields

    assert said([report], adding)["finish_reason"] == "stop"
    assert said([report, report], altering)["prompt_tokens"] == 107


def test_a_cost_and_a_total_that_no_longer_hold_are_taken_back() -> None:
    """They were told of less."""
    start = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11, "cost": 0.5}
    fields = said([start, start | {"completion_tokens": 9, "cost": None}], openai_usage)
    assert (fields["cost_usd"], fields["cost_source"]) == (None, None)
    own = {"prompt_tokens": 10, "completion_tokens": 1, "cost_usd": 0.5}
    assert said([own, {"completion_tokens": 9}], lambda item: item)["cost_usd"] is None
    assert said([own, {"completion_tokens": 9}, {"cost_usd": 0.25}], lambda item: item)["cost_usd"] == 0.25


@pytest.mark.slow
def test_a_stream_without_end_of_names_fills_no_memory() -> None:
    """And is not priced."""
    events = ({"prompt_tokens": 1, "completion_tokens": 1, f"n{number}_units": 1} for number in range(600))
    cumulative_fields = said(list(events), openai_usage)
    assert cumulative_fields["prompt_tokens"] == 1
    assert "more" in cumulative_fields["unpriced_usage"]


def test_what_a_reader_gives_is_copied_and_sent_as_a_plain_dict() -> None:
    """What it was made of stays behind."""
    fields = openai_usage(START)
    for other in (copy.copy(fields), copy.deepcopy(fields), pickle.loads(pickle.dumps(fields))):  # noqa: S301 - our own
        assert (other, type(other)) == (fields, dict)
