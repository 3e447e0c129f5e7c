"""What an answer tells that was billed, or was not, beside its usage: the cost is then unknown, and what it was is named."""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import TelemetryLogger, record_from_response
from llm_service.telemetry.instrumentation.responses.answers import read_answer

CLAUDE: dict[str, Any] = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-opus-4-8", "stop_reason": "end_turn",
    "stop_sequence": None, "content": [{"type": "text", "text": "x"}], "usage": {"input_tokens": 9, "output_tokens": 2},
}  # fmt: skip
RESPONSE: dict[str, Any] = {
    "id": "resp_1", "object": "response", "status": "completed", "model": "gpt-5", "output": [], "error": None,
    "created_at": 1, "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
    "usage": {
        "input_tokens": 9, "output_tokens": 2, "total_tokens": 11, "input_tokens_details": {"cached_tokens": 0},
        "output_tokens_details": {"reasoning_tokens": 0},
    },
}  # fmt: skip
CONVERSE: dict[str, Any] = {
    "output": {"message": {"role": "assistant", "content": [{"text": "x"}]}}, "stopReason": "end_turn",
    "usage": {"inputTokens": 9, "outputTokens": 2, "totalTokens": 11}, "metrics": {"latencyMs": 5},
}  # fmt: skip
UNITS = {"topicPolicyUnits": 4, "wordPolicyUnits": 0, "sensitiveInformationPolicyFreeUnits": 7}
METRICS = {"invocationMetrics": {"guardrailProcessingLatency": 300, "usage": UNITS}}
BILLS: dict[str, tuple[dict[str, Any], str]] = {
    "searches": (RESPONSE | {"tool_usage": {"web_search": {"num_requests": 3}}}, "tool_usage.web_search.num_requests: 3"),
    "images": (
        RESPONSE | {"tool_usage": {"image_gen": {"input_tokens": 0, "output_tokens": 40_000}}},
        "tool_usage.image_gen.output_tokens: 40000",
    ),
    "guardrail in": (
        CONVERSE | {"trace": {"guardrail": {"inputAssessment": {"g": METRICS}}}},
        "trace.usage.topicPolicyUnits: 4",
    ),
    "guardrail out": (
        CONVERSE | {"trace": {"guardrail": {"outputAssessments": {"g": [METRICS]}}}},
        "trace.usage.topicPolicyUnits: 4",
    ),
    "a name of tomorrow": (RESPONSE | {"agent_credits": {"used": 2.5}}, "agent_credits.used: 2.5"),
    "in camel case": (CONVERSE | {"searchUnits": {"web": 1}}, "searchUnits.web: 1"),
    "refused": (CLAUDE | {"stop_reason": "refusal", "content": []}, "refusal before output, which may be free: 1"),
    "another model": (
        CLAUDE | {"content": [{"type": "fallback", "from": {"model": "a"}, "to": {"model": "b"}}, *CLAUDE["content"]]},
        "content.fallback: 1",
    ),
    "a credit": (
        CLAUDE | {"usage": CLAUDE["usage"] | {"fallback_credit": {"status": {"type": "redeemed"}}}},
        "fallback_credit.status.type: redeemed",
    ),
}  # fmt: skip
NONE: dict[str, dict[str, Any]] = {
    "zeros": RESPONSE | {"tool_usage": {"web_search": {"num_requests": 0}}},
    "the usage again": RESPONSE | {"total_usage": {"input_tokens": 9, "output_tokens": 2}},
    "a number": RESPONSE | {"some_units": 5},
    "a trace": CONVERSE | {"trace": {"guardrail": {"actionReason": "x"}, "promptRouter": {"invokedModelId": "y"}}},
    "free units": CONVERSE
    | {"trace": {"guardrail": {"inputAssessment": {"g": {"usage": {"wordPolicyFreeUnits": 3}}}}}},
    "refused within its output": CLAUDE | {"stop_reason": "refusal"},
    "a credit that was not taken": CLAUDE
    | {"usage": CLAUDE["usage"] | {"fallback_credit": {"status": {"type": "not_applied", "reason": "expired"}}}},
}


def as_given(answer: dict[str, Any]) -> Iterator[Any]:
    """As a mapping, and as the object of its client."""
    yield answer
    if "object" in answer:
        models, kind = import_module("openai._models"), import_module("openai.types.responses").Response
    elif "type" in answer:
        models, kind = import_module("anthropic._models"), import_module("anthropic.types.beta").BetaMessage
    else:
        return
    yield models.construct_type(value=answer, type_=kind)


@pytest.mark.parametrize(("answer", "named"), BILLS.values(), ids=BILLS)
def test_what_is_billed_beside_the_usage_is_named(answer: dict[str, Any], named: str) -> None:
    """So no cost is computed."""
    for given in as_given(answer):
        assert read_answer(given).get("unpriced_usage") == named
        assert read_answer(given)["prompt_tokens"] == 9


@pytest.mark.parametrize("answer", NONE.values(), ids=NONE)
def test_what_bills_nothing_raises_no_doubt(answer: dict[str, Any]) -> None:
    """Zeros, measures, and what only repeats the usage."""
    for given in as_given(answer):
        found = read_answer(given)
        assert found["prompt_tokens"] == 9
        assert "unpriced_usage" not in found


def claude_events(*blocks: dict[str, Any], reason: str = "end_turn") -> list[dict[str, Any]]:
    """A stream of Anthropic's, with these blocks in it."""
    return [
        {"type": "message_start", "message": CLAUDE | {"content": [], "stop_reason": None}},
        *({"type": "content_block_start", "index": n, "content_block": block} for n, block in enumerate(blocks)),
        *(
            [{"type": "content_block_delta", "index": 9, "delta": {"type": "text_delta", "text": "x"}}]
            if blocks
            else []
        ),
        {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}},
        {"type": "message_stop"},
    ]


FALLBACK = {"type": "fallback", "from": {"model": "claude-opus-4-8"}, "to": {"model": "claude-haiku-4-5"}}
STREAMS: dict[str, tuple[list[dict[str, Any]], str | None, str]] = {
    "searches": (
        [
            {"type": "response.created", "response": RESPONSE | {"status": "in_progress", "usage": None}},
            {"type": "response.completed", "response": BILLS["searches"][0]},
        ],
        BILLS["searches"][1],
        "gpt-5",
    ),
    "another model": (claude_events(FALLBACK, {"type": "text"}), "content.fallback: 1", "claude-haiku-4-5"),
    "refused": (claude_events(reason="refusal"), BILLS["refused"][1], "claude-opus-4-8"),
    "refused late": (claude_events({"type": "text"}, reason="refusal"), None, "claude-opus-4-8"),
    "nothing": (claude_events({"type": "text"}), None, "claude-opus-4-8"),
}


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger without limits."""
    with TelemetryLogger(tmp_path / "telemetry.db", policies=False) as made:
        yield made


@pytest.mark.parametrize(("events", "named", "model"), STREAMS.values(), ids=STREAMS)
def test_events_of_a_stream_tell_the_same(
    events: list[dict[str, Any]], named: str | None, model: str, logger: TelemetryLogger
) -> None:
    """And the model that answered is the one of the row."""
    with logger.invocation("agent") as call:
        assert len(list(call.watch(iter(events)))) == len(events)
    (row,) = logger.get_invocations()
    assert (row["unpriced_usage"], row["model_name"]) == (named, model)
    assert named is None or (row["cost_usd"], row["cost_source"]) == (None, "unknown")


def test_units_of_a_guardrail_in_a_stream_of_bedrock_are_named(logger: TelemetryLogger) -> None:
    """They stand in its last event."""
    answer, named = BILLS["guardrail in"]
    told = {name: answer[name] for name in ("usage", "metrics", "trace")}
    with logger.invocation("agent", model_name="m") as call:
        list(call.watch(iter([{"messageStop": {"stopReason": "end_turn"}}, {"metadata": told}])))
    (row,) = logger.get_invocations()
    assert row["unpriced_usage"] == named


def by_block(logger: TelemetryLogger, answer: Any) -> None:
    """Record it by a block that names its seller."""
    with logger.invocation("agent", provider="openai") as call:
        call.record(answer)


def by_hand(logger: TelemetryLogger, answer: Any) -> None:
    """Record it by a function that names its seller."""
    logger.log_invocation(record_from_response(answer, provider="openai"))


@pytest.mark.parametrize("record", [by_block, by_hand])
def test_an_answer_tells_which_price_list_of_its_seller_it_is(
    record: Callable[[TelemetryLogger, Any], None], logger: TelemetryLogger
) -> None:
    """OpenAI's decisions have one of their own."""
    usage = {"input_tokens": 100, "output_tokens": 1, "total_tokens": 101}
    record(logger, {"id": "dec_1", "object": "decision", "created_at": 1, "model": "gpt-6-luna", "usage": usage})
    (row,) = logger.get_invocations()
    assert (row["provider"], row["operation"]) == ("openai-decisions", "decision")
