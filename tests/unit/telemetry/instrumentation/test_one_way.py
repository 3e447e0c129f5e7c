"""An answer or an event becomes usage in one way, whoever asks; and what is billed beside tokens is never priced away.

All ways of recording, times all that the tables of the code know to have a price beside tokens, times where it stands:
in a whole answer, or in the first, a middle, or the last event of a stream.
"""

import itertools
import json
import random
from collections.abc import Callable, Iterable, Iterator
from types import MappingProxyType, SimpleNamespace
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.slices import quick

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.usage import (
    anthropic_usage,
    gemini_usage,
    openai_usage,
    provider_tools,
    usage_fields,
)
from llm_service.pricing.usage.around import unwrapped
from llm_service.pricing.usage.report import Fields
from llm_service.pricing.usage.rules import _TRAFFIC
from llm_service.pricing.usage.telling import _SETTINGS
from llm_service.telemetry import InvocationRecord, TelemetryLogger, record_from_response
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.responses.answers import (
    _plain_usage,
    _reported,
    has_usage,
    read_answer,
    reported_by,
)
from llm_service.telemetry.instrumentation.responses.stream_events import StreamEvents
from llm_service.telemetry.record.failures import FAILURES

Event = dict[str, Any]
FIELDS: Final = (
    "prompt_tokens", "completion_tokens", "cache_read_tokens", "service_tier", "unpriced_usage", "cost_usd",
)  # fmt: skip
ENDED: Final = {"finish_reason": "stop"}


class Family:
    """A provider's answers and streams.

    Attributes:
        read: its reader.
        model: a model with a known price.
        provider: who sells it.
        answer: a whole answer.
        events: a stream of the same.
        usage: where the usage of an answer stands.
    """

    def __init__(
        self, read: Callable[[Any], Event], model: str, provider: str, answer: Event, events: list[Event], usage: str
    ) -> None:
        self.read, self.model, self.provider = read, model, provider
        self.answer, self.events, self.usage = answer, events, usage


def _chunk(delta: Event | None = None, **more: Any) -> Event:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": None}]
    return {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-5-mini",
        "choices": choices,
    } | more


_USED = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}
_CHAT = Family(
    openai_usage, "gpt-5-mini", "openai",
    {
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-5-mini", "usage": _USED,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, **ENDED}],
    },
    [
        _chunk({"role": "assistant", "content": ""}), _chunk({"content": "4"}), _chunk({"content": "2"}),
        _chunk(choices=[{"index": 0, "delta": {}, **ENDED}]), _chunk(usage=_USED),
    ],
    "usage",
)  # fmt: skip
_RESPONSE: Event = {
    "id": "resp_1", "object": "response", "created_at": 1, "model": "gpt-5-mini", "status": "completed",
    "output": [{"type": "message", "id": "m", "content": []}],
    "usage": {"input_tokens": 100, "output_tokens": 20, "total_tokens": 120},
}  # fmt: skip
_RESPONSES = Family(
    openai_usage, "gpt-5-mini", "openai", _RESPONSE,
    [
        {"type": "response.created", "response": _RESPONSE | {"status": "in_progress", "usage": None, "output": []}},
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": "4"},
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "delta": "2"},
        {"type": "response.output_text.done", "item_id": "m", "output_index": 0, "text": "42"},
        {"type": "response.completed", "response": _RESPONSE},
    ],
    "usage",
)  # fmt: skip
_MESSAGE: Event = {
    "id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5", "stop_reason": "end_turn",
    "content": [{"type": "text", "text": "42"}], "usage": {"input_tokens": 100, "output_tokens": 20},
}  # fmt: skip
_ANTHROPIC = Family(
    anthropic_usage, "claude-sonnet-4-5", "anthropic", _MESSAGE,
    [
        {
            "type": "message_start",
            "message": _MESSAGE | {"content": [], "stop_reason": None, "usage": {"input_tokens": 100, "output_tokens": 1}},
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "42"}},
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 20}},
        {"type": "message_stop"},
    ],
    "usage",
)  # fmt: skip


def _gemini(completion: int, **candidate: Any) -> Event:
    return {
        "modelVersion": "gemini-2.5-flash", "responseId": "r",
        "candidates": [{"content": {"parts": [{"text": "4"}]}, **candidate}],
        "usageMetadata": {
            "promptTokenCount": 100, "candidatesTokenCount": completion, "totalTokenCount": 100 + completion,
        },
    }  # fmt: skip


_GEMINI = Family(
    gemini_usage, "gemini-2.5-flash", "gcp.gemini", _gemini(20, finishReason="STOP"),
    [_gemini(5), _gemini(10), _gemini(20, finishReason="STOP")], "usageMetadata",
)  # fmt: skip
FAMILIES: Final = {"chat": _CHAT, "responses": _RESPONSES, "anthropic": _ANTHROPIC, "gemini": _GEMINI}


# What is billed beside tokens: how it changes an answer, and an event. Taken from the tables of the code.

Change = Callable[[Event], Event]
BILLED: dict[str, tuple[str, Change, Change]] = {}


def _choice(event: Event, where: str, **more: Any) -> Event:
    choices = event["choices"] or [{"index": 0, where: {}}]
    return event | {"choices": [{**choices[0], where: {**choices[0].get(where, {}), **more}}]}


for _kind in (
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "shell_call",
    "x_call",
):
    _item = {"type": _kind, "id": "i1", "status": "completed"}
    BILLED[_kind] = (
        "responses",
        lambda answer, item=_item: answer | {"output": [item, *answer["output"]]},
        lambda _, item=_item: {"type": "response.output_item.done", "output_index": 0, "item": item},
    )
for _name in ("code_execution", "bash_code_execution", "text_editor_code_execution", "x_tool"):
    _block = {"type": "server_tool_use", "id": "s1", "name": _name, "input": {"n": 5}}
    BILLED[_name] = (
        "anthropic",
        lambda answer, block=_block: answer | {"content": [block, *answer["content"]]},
        lambda _, block=_block: {"type": "content_block_start", "index": 1, "content_block": block},
    )
_TOOLS = {"executed_tools": [{"index": 0, "type": "search", "arguments": "{}"}]}
BILLED["executed_tools"] = (
    "chat", lambda answer: _choice(answer, "message", **_TOOLS), lambda event: _choice(event, "delta", **_TOOLS),
)  # fmt: skip


def _grounded(metadata: Event) -> Change:
    return lambda event: event | {"candidates": [event["candidates"][0] | {"groundingMetadata": metadata}]}


for _query in provider_tools.QUERIES:
    BILLED[_query] = ("gemini", _grounded({_query: ["a", "b"]}), _grounded({_query: ["a", "b"]}))
for _source in set(provider_tools.KINDS_OF_CHUNKS) - provider_tools.FREE_CHUNKS:
    _metadata = {"groundingChunks": [{_source: {"uri": "u"}}]}
    BILLED[f"chunk of {_source}"] = ("gemini", _grounded(_metadata), _grounded(_metadata))


def _with_usage(**more: Any) -> Change:
    return lambda event: event | {"usageMetadata": event["usageMetadata"] | more}


for _traffic in [*_TRAFFIC, "PROVISIONED_THROUGHPUT"]:
    if _TRAFFIC.get(_traffic, _traffic) is not None:
        _change = _with_usage(trafficType=_traffic.upper())
        BILLED[f"traffic {_traffic}"] = ("gemini", _change, _change)
for _side, _modality in itertools.product(("promptTokensDetails", "candidatesTokensDetails"), ("AUDIO", "IMAGE")):
    if (_side, _modality) != ("promptTokensDetails", "IMAGE"):
        _change = _with_usage(**{_side: [{"modality": _modality, "tokenCount": 5}]})
        BILLED[f"{_modality} of {_side}"] = ("gemini", _change, _change)


def _beside(**more: Any) -> Change:
    return lambda event: event | more


def _in_message(**more: Any) -> Change:
    def change(event: Event) -> Event:
        if "usage" in event:
            return event | {"usage": event["usage"] | more}
        message = event.get("message")
        return event if message is None else event | {"message": message | {"usage": message["usage"] | more}}

    return change


for _tier in ("flex", "priority", "batch"):
    BILLED[f"tier {_tier}"] = ("chat", _beside(service_tier=_tier), _beside(service_tier=_tier))
for _told in ({"server_tool_use": {"web_search_requests": 2}}, {"inference_geo": "us"}, {"speed": "fast"}):
    BILLED[f"usage {json.dumps(_told)}"] = ("anthropic", _in_message(**_told), _in_message(**_told))


def _places(name: str) -> Iterator[tuple[str, list[Event]]]:
    """The streams in which it stands once, by where."""
    family, _, change = BILLED[name]
    events = FAMILIES[family].events
    for position in range(len(events)):
        changed = change(events[position])
        if changed == events[position]:
            continue
        inserted = changed.get("type") != events[position].get("type") if "type" in changed else False
        if inserted and position in {0, len(events) - 1}:
            continue  # an event of its own stands between the first and the last
        where = "first" if position == 0 else "last" if position == len(events) - 1 else f"middle {position}"
        yield where, [*events[:position], changed, *events[position + (0 if inserted else 1) :]]


def _object(value: Any) -> Any:
    if isinstance(value, dict):
        return SimpleNamespace(**{name: _object(one) for name, one in value.items()})
    return [_object(one) for one in value] if isinstance(value, list) else value


# All ways


def _recorded(logger: TelemetryLogger, family: Family, run: Callable[[Any], Any]) -> Event:
    with logger.invocation("a", model_name=family.model, provider=family.provider) as call:
        run(call)
    return logger.get_invocations(limit=1)[0]  # type: ignore[return-value]


def of_answer(logger: TelemetryLogger, family: Family, answer: Any) -> Iterator[tuple[str, Event]]:
    """What each way records of a whole answer."""
    own = {"model_name": family.model, "provider": family.provider}
    for reader in (family.read, usage_fields):
        logger.log_invocation(InvocationRecord(**(own | reader(answer))))
        yield reader.__name__, logger.get_invocations(limit=1)[0]  # type: ignore[misc]
        function = logger.instrumented("a", usage=reader, **own)(lambda: answer)
        function()
        yield f"instrumented({reader.__name__})", logger.get_invocations(limit=1)[0]  # type: ignore[misc]
    yield "record", _recorded(logger, family, lambda call: call.record(answer))
    yield "record_usage", _recorded(logger, family, lambda call: call.record_usage(answer))
    yield "watch", _recorded(logger, family, lambda call: call.watch(answer))
    logger.instrumented("a", usage=lambda result: result, **own)(lambda: answer)()
    yield "instrumented(as it is)", logger.get_invocations(limit=1)[0]  # type: ignore[misc]
    logger.log_invocation(record_from_response(answer, provider=family.provider))
    yield "record_from_response", logger.get_invocations(limit=1)[0]  # type: ignore[misc]


def of_stream(logger: TelemetryLogger, family: Family, events: list[Any]) -> Iterator[tuple[str, Event]]:
    """What each way records of a stream."""
    own = {"model_name": family.model, "provider": family.provider}
    yield "watch", _recorded(logger, family, lambda call: list(call.watch(iter(events))))
    for name, reader in (("reader", family.read), ("usage_fields", usage_fields), ("as it is", lambda event: event)):
        list(logger.wrap_stream(iter(events), "a", usage=reader, **own))
        yield f"wrap_stream({name})", logger.get_invocations(limit=1)[0]  # type: ignore[misc]

        @logger.instrumented("a", usage=reader, **own)
        def generate() -> Iterator[Any]:
            yield from events

        list(generate())
        yield f"instrumented({name})", logger.get_invocations(limit=1)[0]  # type: ignore[misc]


def seen(row: Event) -> Event:
    """What must be the same in every way; a standard tier is none."""
    told = {field: row[field] for field in FIELDS}
    return told | {"service_tier": row["service_tier"] if tier_of(row["service_tier"]) is not None else None}


@pytest.fixture(scope="module")
def logger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TelemetryLogger]:
    """One file for all."""
    with TelemetryLogger(tmp_path_factory.mktemp("one_way") / "telemetry.db", models=False, policies=False) as made:
        yield made


def _same(found: Iterable[tuple[str, Event]], expected: Event) -> None:
    ways = list(found)
    assert {way: seen(row) for way, row in ways} == {way: expected for way, _ in ways}


def _standard(logger: TelemetryLogger, family: Family) -> Event:
    return seen(_recorded(logger, family, lambda call: call.record(family.answer)))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_plain_answer_and_stream_have_the_same_cost_in_every_way(logger: TelemetryLogger, name: str) -> None:
    """As mappings, and as objects."""
    family = FAMILIES[name]
    plain = _standard(logger, family)
    assert plain["cost_usd"] > 0
    _same(of_answer(logger, family, family.answer), plain)
    _same(of_answer(logger, family, _object(family.answer)), plain)
    _same(of_stream(logger, family, family.events), plain)
    _same(of_stream(logger, family, [*map(_object, family.events)]), plain)


@pytest.mark.parametrize("name", quick(BILLED, every=5))
def test_what_is_billed_beside_tokens_is_seen_in_every_way_wherever_it_stands(
    logger: TelemetryLogger, name: str
) -> None:
    """No way computes the cost of the tokens alone."""
    family = FAMILIES[BILLED[name][0]]
    plain = _standard(logger, family)
    answer = BILLED[name][1](family.answer)
    expected = seen(_recorded(logger, family, lambda call: call.record(answer)))
    assert expected["cost_usd"] != plain["cost_usd"]
    assert expected["unpriced_usage"] is not None or expected["service_tier"] is not None
    _same(of_answer(logger, family, answer), expected)
    _same(of_answer(logger, family, _object(answer)), expected)
    places = dict(_places(name))
    assert places
    for where, events in places.items():
        for form in (events, [*map(_object, events)]):
            for way, row in of_stream(logger, family, form):
                assert seen(row) == expected, (where, way)


def _settings_of(event: Any) -> Event:
    """All settings, and positions and times as events have them, in an answer or event."""
    own = dict.fromkeys(sorted(_SETTINGS - {"finish_reason", "stop_reason", "status"}), 7)
    return own | {"index": 3, "created": 1_780_000_000, "created_at": 1_780_000_000.5, "output_index": 2} | event


def _everywhere(value: Any) -> Any:
    """Settings in each mapping that is no usage, down to choices and candidates."""
    if isinstance(value, list):
        return [_everywhere(one) for one in value]
    if not isinstance(value, dict):
        return value
    return _settings_of({name: one if "usage" in name.lower() else _everywhere(one) for name, one in value.items()})


@pytest.mark.parametrize("name", FAMILIES)
def test_settings_that_are_only_repeated_never_make_a_cost_unknown(logger: TelemetryLogger, name: str) -> None:
    """Nor positions, times, logprobs, calls of tools that the caller runs, and the offsets of filters."""
    family = FAMILIES[name]
    plain = _standard(logger, family)
    logprobs = {"content": [{"token": "x", "logprob": -0.5, "bytes": [120], "top_logprobs": []}]}
    more = {"logprobs": logprobs, "content_filter_offsets": {"check_offset": 44, "start_offset": 44}, "seconds": 4}
    _same(of_answer(logger, family, _everywhere(family.answer)), plain)
    _same(of_stream(logger, family, [*map(_everywhere, family.events)]), plain)
    if name in {"chat", "gemini"}:
        where = "choices" if name == "chat" else "candidates"
        call = {"tool_calls": [{"index": 0, "id": "x", "function": {"name": "f", "arguments": "{}"}, "tries": 5}]}
        events = [
            event
            | {where: [one | more | ({"delta": one["delta"] | call} if "delta" in one else {}) for one in event[where]]}
            for event in family.events
        ]
        _same(of_stream(logger, family, events), plain)


ERRORS: Final[tuple[Any, ...]] = (
    "out of memory", {"message": "out of memory"}, {"code": 502}, {"type": "overloaded_error"}, {"code": "server_error"},
)  # fmt: skip


@pytest.mark.parametrize("error", ERRORS, ids=str)
@pytest.mark.parametrize("name", quick(FAMILIES, 0))
def test_an_error_in_an_answer_or_event_is_no_success_in_any_way(
    logger: TelemetryLogger, name: str, error: Any
) -> None:
    """As a text, or as an object; in the first, a middle, or the last event."""
    family = FAMILIES[name]
    told = family.answer | {"error": error}
    for way, row in of_answer(logger, family, told):
        if way not in {family.read.__name__, "usage_fields"}:  # these read usage alone
            assert (row["status"], way) == ("error", way)
    failed = {"type": "error", "error": error} if name in {"responses", "anthropic"} else {"error": error}
    for position in range(1, len(family.events) + 1):
        events = [*family.events[:position], failed, *family.events[position:]]
        for way, row in of_stream(logger, family, events):
            if "as it is" not in way:  # an error alone is a field of the reader's own there
                assert (row["status"], way) == ("error", way), position


@pytest.mark.parametrize("reason", sorted(FAILURES))
def test_a_choice_that_failed_is_no_success_in_any_way(logger: TelemetryLogger, reason: str) -> None:
    """Whatever the reason is called."""
    answer = _CHAT.answer | {"choices": [_CHAT.answer["choices"][0] | {"finish_reason": reason}]}
    ways = dict(of_answer(logger, _CHAT, answer))
    del ways["openai_usage"], ways["usage_fields"]
    assert {way: row["status"] for way, row in ways.items()} == dict.fromkeys(ways, FAILURES[reason])


def test_an_answer_that_is_too_long_to_be_read_has_no_cost() -> None:
    """And says why; a tool behind thousands of items is seen."""
    tool = {"type": "web_search_call", "id": "w"}
    plain = [{"type": "reasoning"}] * (provider_tools.MOST - 1)
    for answer, named in (
        (_RESPONSE | {"output": [*plain, tool]}, "output.web_search_call: 1"),
        (_RESPONSE | {"output": [*plain, {"type": "reasoning"}, tool]}, "items that were not read: too many"),
        (_RESPONSE | {"output": tuple(plain) * 2}, "items that were not read: too many"),
        (_MESSAGE | {"content": [*plain, *plain]}, "items that were not read: too many"),
    ):
        assert read_answer(answer)["unpriced_usage"] == openai_usage(answer)["unpriced_usage"] == named


@pytest.mark.parametrize("name", ["", *(name for name in BILLED if BILLED[name][0] == "chat" and name != "tier batch")])
def test_chunks_of_a_client_say_what_mappings_say(name: str) -> None:
    """Whether its classes declare what stands in them, or keep it beside."""
    kind = pytest.importorskip("openai.types.chat").ChatCompletionChunk
    streams = [events for _, events in _places(name)] if name else [_CHAT.events]
    for events in streams:
        read, every = StreamEvents(), StreamEvents()
        for event in events:
            read.take(kind.model_validate(event))
            every.take(event)
        assert read.end() == every.end()
        assert ("unpriced_usage" in read.fields) is (name == "executed_tools")


@pytest.mark.parametrize("tier", ["on-demand", " flex ", {"type": "flex"}, 5, None])
def test_a_tier_that_is_spelled_oddly_is_told_in_the_same_words(tier: Any) -> None:
    """Fast or slow."""
    answer = _CHAT.answer | {"service_tier": tier}
    assert read_answer(answer).get("service_tier") == openai_usage(answer)["service_tier"]


@pytest.mark.parametrize(
    "odd",
    [{"promptTokenCount": 1.5}, {"promptTokensDetails": ["x"]}, {"promptTokenCount": "9"}, SimpleNamespace(a=1), 5],
)
def test_usage_of_an_odd_kind_is_read_at_every_event(odd: Any) -> None:
    """None is held back."""
    read, every = StreamEvents(), Cumulative(reported_by)
    together: Event = {}
    for usage in (odd, _GEMINI.answer["usageMetadata"], odd):
        event = {"candidates": [{}], "usageMetadata": usage}
        read.take(event)
        together |= every(event)
    assert {field: read.end().get(field) for field in FIELDS} == {field: together.get(field) for field in FIELDS}


def test_what_is_no_dict_is_searched_by_the_known_names() -> None:
    """A foreign mapping, one with many names, and a model that computes its usage."""
    pydantic = pytest.importorskip("pydantic")

    class Computed(pydantic.BaseModel):  # type: ignore[misc]
        service_tier: str = "flex"

        @property
        def usage(self) -> Event:
            return _USED

    many = {f"name_{number}": number for number in range(100)} | {"usage": _USED, "service_tier": "flex"}
    for answer in (MappingProxyType(many), many, Computed()):
        fields = openai_usage(answer)
        assert (fields["prompt_tokens"], fields["service_tier"], fields.get("unpriced_usage")) == (100, "flex", None)


# The fast ways are the slow ones


def _pieces(family: Family) -> list[Event]:
    changes = [change for kind, _, change in BILLED.values() if FAMILIES[kind] is family]
    return [*family.events, *(change(event) for change in changes for event in family.events)]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*FAMILIES]), st.integers(0, 2**32), st.integers(1, 12))
def test_events_that_are_left_out_say_nothing(name: str, seed: int, length: int) -> None:
    """In any order, and told twice: what is read of a stream is what all its events say together."""
    chosen = random.Random(seed).choices(_pieces(FAMILIES[name]), k=length)
    for events in (chosen, [FAMILIES[name].events[0], *chosen]):
        read, every = StreamEvents(), Cumulative(reported_by)
        together: Event = {}
        for event in events:
            read.take(event)
            together |= every(event)
        assert {field: read.end().get(field) for field in FIELDS} == {field: together.get(field) for field in FIELDS}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.fixed_dictionaries({}, optional={
    "promptTokenCount": st.sampled_from([0, 50, 100]), "candidatesTokenCount": st.sampled_from([0, 5, 9]),
    "totalTokenCount": st.sampled_from([50, 59, 109, 200]), "thoughtsTokenCount": st.sampled_from([0, 3, -1]),
    "cachedContentTokenCount": st.sampled_from([0, 40, 60]), "trafficType": st.sampled_from(["ON_DEMAND", "ON_DEMAND_FLEX"]),
    "promptTokensDetails": st.sampled_from([[{"modality": "TEXT", "tokenCount": 50}], [{"modality": "AUDIO", "tokenCount": 5}], []]),
}), min_size=1, max_size=8))  # fmt: skip
def test_of_chunks_that_grow_the_last_is_enough(reports: list[Event]) -> None:
    """Whatever grows, falls, or is left out."""
    read, every = StreamEvents(), Cumulative(reported_by)
    together: Event = {}
    for report in reports:
        event = {"candidates": [{"content": {}}], "usageMetadata": report}
        read.take(event)
        together |= every(event)
    assert {field: read.end().get(field) for field in FIELDS} == {field: together.get(field) for field in FIELDS}


@settings(max_examples=300, deadline=None)
@given(st.sampled_from([*FAMILIES]), st.integers(0, 2**32))
def test_a_plain_answer_is_read_the_fast_way_as_the_slow_way_does(name: str, seed: int) -> None:
    """With any number of things beside its usage."""
    family, chance = FAMILIES[name], random.Random(seed)
    answer = family.answer
    for kind, change, _ in BILLED.values():
        if FAMILIES[kind] is family and chance.random() < 0.1:
            answer = change(answer)
    around = unwrapped(answer)
    fast, slow = _plain_usage(around), _reported(around)
    assert isinstance(slow, Fields)
    assert has_usage(slow)
    assert fast is None or fast == dict(slow)
    assert read_answer(answer).get("unpriced_usage") == slow.get("unpriced_usage")


@pytest.mark.parametrize(
    "beside",
    [
        {"service_tier": "batch"}, {"serviceTier": {"type": "flex"}}, {"performanceConfig": {"latency": "optimized"}},
        {"usage": {"input_tokens": 9, "output_tokens": 1, "speed": "fast"}},
        {"usage": {"input_tokens": 9, "output_tokens": 1, "inference_geo": "us"}},
        {"token_usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10, "cost": 0.5}},
    ],
)  # fmt: skip
def test_what_langchain_keeps_of_an_answer_is_read_as_the_answer_itself(beside: dict[str, Any]) -> None:
    """Tier, speed, place and reported cost, whether the provider's usage is kept or only LangChain's."""
    made = {"input_tokens": 9, "output_tokens": 1, "total_tokens": 10}
    message = {"type": "ai", "id": "run-1", "usage_metadata": made, "response_metadata": beside}
    used = {name: value for name, value in usage_fields(message).items() if value is not None}
    itself = beside if {"usage", "token_usage"} & beside.keys() else {"usage": made, **beside}
    assert used == {name: value for name, value in usage_fields(itself).items() if value is not None}
    assert used.keys() - {"prompt_tokens", "completion_tokens", "total_tokens"}
