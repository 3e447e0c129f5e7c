"""The short way to read a plain report says what the long way says, or leaves it alone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.slices import quick

from llm_service.pricing.usage import usage_fields
from llm_service.pricing.usage.plain import plain_fields

COUNT = st.integers(0, 40)
ODD = st.one_of(st.none(), COUNT, st.sampled_from([-1, True, 1.5, "7", 10**12, "flex", [], {}, {"audio_tokens": 3}]))
PARTS = (
    "cached_tokens",
    "cache_write_tokens",
    "audio_tokens",
    "text_tokens",
    "image_tokens",
    "reasoning_tokens",
    "new_tokens",
)
DETAILS = st.one_of(
    st.none(), st.dictionaries(st.sampled_from(PARTS), st.one_of(COUNT, st.just(0), st.none()), max_size=4)
)


@st.composite
def openai_reports(draw: st.DrawFn) -> dict[str, Any]:
    """Of Chat Completions or Responses: mostly right, sometimes not."""
    chat = draw(st.booleans())
    prompt, completion = ("prompt_tokens", "completion_tokens") if chat else ("input_tokens", "output_tokens")
    whole, output = draw(COUNT), draw(COUNT)
    report = {
        prompt: whole,
        completion: output,
        "total_tokens": whole + output + draw(st.sampled_from([0, 0, 0, 5, -1])),
    }
    for name in (prompt, completion):
        report |= draw(st.fixed_dictionaries({}, optional={f"{name}_details": DETAILS}))
    return report | draw(
        st.dictionaries(st.sampled_from([*report, "cost", "speed", "service_tier", "new"]), ODD, max_size=1)
    )


@st.composite
def anthropic_reports(draw: st.DrawFn) -> dict[str, Any]:
    """Of Messages."""
    kept = st.one_of(
        st.none(),
        st.fixed_dictionaries(
            {"ephemeral_5m_input_tokens": COUNT, "ephemeral_1h_input_tokens": st.sampled_from([0, 3])}
        ),
    )
    report = draw(
        st.fixed_dictionaries(
            {"input_tokens": COUNT, "output_tokens": COUNT},
            optional={
                "cache_read_input_tokens": st.one_of(st.none(), COUNT),
                "cache_creation_input_tokens": st.one_of(st.none(), COUNT),
                "cache_creation": kept,
                "service_tier": st.sampled_from([None, "standard", "priority", "batch", "other"]),
                "inference_geo": st.sampled_from([None, "global", "us", "not_available"]),
                "output_tokens_details": st.one_of(st.none(), st.fixed_dictionaries({"thinking_tokens": COUNT})),
                "server_tool_use": st.sampled_from([None, {"web_search_requests": 0}, {"web_search_requests": 1}]),
            },
        )
    )
    if draw(st.booleans()) and report.get("cache_creation"):
        report["cache_creation_input_tokens"] = sum(report["cache_creation"].values())
    return report | draw(st.dictionaries(st.sampled_from([*report, "speed", "new", "iterations"]), ODD, max_size=1))


@pytest.mark.volume
@pytest.mark.parametrize("examples", quick([100, 2_000], 0))
def test_the_short_way_says_what_the_long_way_says(examples: int) -> None:
    """Wherever it says anything."""

    @settings(max_examples=examples)
    @given(st.one_of(openai_reports(), anthropic_reports()))
    def says_the_same(report: dict[str, Any]) -> None:
        told = plain_fields(report)
        assert told is None or told == usage_fields(report)

    says_the_same()


PLAIN: list[dict[str, Any]] = [
    {"prompt_tokens": 12, "completion_tokens": 7, "total_tokens": 19, "prompt_tokens_details": {"cached_tokens": 5}},
    {"input_tokens": 12, "output_tokens": 7, "total_tokens": 19, "output_tokens_details": {"reasoning_tokens": 5}},
    {"input_tokens": 12, "output_tokens": 7, "cache_read_input_tokens": 3, "service_tier": "standard"},
    {
        "input_tokens": 12, "output_tokens": 7, "cache_creation_input_tokens": 4,
        "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 3},
    },
]  # fmt: skip


@pytest.mark.parametrize("report", PLAIN)
def test_plain_reports_go_the_short_way(report: dict[str, Any]) -> None:
    """Those of every day; and clients' objects of the same, but not with fields that these do not declare."""
    assert plain_fields(report) == usage_fields(report)
    types = pytest.importorskip("openai.types.completion_usage")
    if "prompt_tokens" in report:
        usage = types.CompletionUsage.model_validate(report)
        assert plain_fields(usage) == usage_fields(usage) == usage_fields(report)
        assert plain_fields(types.CompletionUsage.model_validate(report | {"new_tokens": 3})) is None


@pytest.mark.parametrize("given", [None, 5, "text", [], object(), {}, {"tokens": 3}])
def test_anything_else_is_left_alone(given: Any) -> None:
    """By its type."""
    assert plain_fields(given) is None
