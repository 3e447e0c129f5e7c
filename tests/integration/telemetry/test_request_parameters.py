"""A block is given the parameters of a client's request as they are: what costs something is reserved."""

import inspect
from collections.abc import Iterator
from contextlib import suppress
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from itertools import permutations
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from pydantic import BaseModel, ConfigDict

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.errors import QueryError, RecordError, UnknownPriceError
from llm_service.pricing.usage.leaves import snake
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation import request_parameters
from llm_service.telemetry.instrumentation.field_aliases import ALIASES
from llm_service.telemetry.instrumentation.request_names import (
    BEYOND,
    HOLDERS,
    LIMITS,
    LIMITS_WITHIN,
    ORDINARY,
    PROMPTS,
    READ,
    SERVED,
    TIMES,
    UNREAD,
)
from llm_service.telemetry.instrumentation.request_parameters import PARAMETERS
from llm_service.telemetry.record.fields import FIELDS


class Name(str):
    """A text of a client's own class."""

    __slots__ = ()


class Count(IntEnum):
    """A number of a client's own."""

    FIVE = 5


LONG = "word " * 20_000
PRICES = {"input": 1, "output": 1}
MODELS = ModelsConfig.model_validate(
    {"models": {name: {"cost_per_1m_tokens": PRICES} for name in ("m", "claude-m")}, "bundled_prices": False}
)
LIMIT = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 100, "unknown_price": "block"}}})
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 100}
AS_TEXT: dict[str, Any] = {
    "tools": [{"type": "function", "function": {"name": "f", "description": LONG, "parameters": {}}}],
    "functions": [{"name": "f", "description": LONG}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "f", "description": LONG}}]},
    "response_format": {"type": "json_schema", "json_schema": {"description": LONG}},
    "system": [{"type": "text", "text": LONG}],
}
"""Where it is no plain text."""


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger with a limit."""
    with TelemetryLogger(tmp_path / "telemetry.db", models=MODELS, policies=LIMIT) as made:
        yield made


def held(logger: TelemetryLogger, **asked: Any) -> Decimal:
    """What a block reserves; nothing is sent."""
    with logger.invocation("agent", budget=True, **asked) as call:
        assert call.hold is not None
        reserved = call.hold.usd
        call.hold.release()
    assert logger.stats().bad_values == 0
    return reserved


def parameters() -> Iterator[tuple[str, set[str]]]:
    """What sends a request, and the names that it takes, of the clients that are installed."""
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    sync, other = openai.OpenAI(api_key="none"), anthropic.Anthropic(api_key="none")
    methods = [sync.chat.completions.create, sync.responses.create, sync.completions.create, sync.embeddings.create]
    methods += [sync.chat.completions.parse, sync.responses.parse, sync.chat.completions.stream, sync.responses.stream]
    methods += [other.messages.create, other.messages.stream, other.beta.messages.create, other.beta.messages.stream]
    mistral = pytest.importorskip("mistralai.client").Mistral(api_key="none")
    methods += [mistral.chat.complete, mistral.fim.complete, mistral.embeddings.create]
    ollama = pytest.importorskip("ollama")
    methods += [ollama.Client().chat, ollama.Client().generate, ollama.Client().embed]
    for method in methods:
        yield method.__qualname__, set(inspect.signature(method).parameters)
    yield "Ollama's options", set(ollama.Options.model_fields)
    yield "Gemini's config", set(pytest.importorskip("google.genai").types.GenerateContentConfig.model_fields)
    bedrock = pytest.importorskip("botocore.session").get_session().get_service_model("bedrock-runtime")
    for name in ("Converse", "ConverseStream"):
        yield name, set(bedrock.operation_model(name).input_shape.members)


def test_every_parameter_of_the_clients_is_in_the_table() -> None:
    """As a field, by another name of one, as the limit of the answer, or by what it does to the price."""
    known = {*PARAMETERS, *FIELDS, *ALIASES, *LIMITS_WITHIN, *ORDINARY, *SERVED}
    known |= {snake(name) for name in known} | {"context"}  # Ollama's is a list, of which nobody knows the text
    asked = dict(parameters())
    assert len(set().union(*asked.values())) > 150
    unknown = {name: taken - known for name, taken in asked.items() if not {*map(snake, taken)} <= known}
    assert not unknown


def provider_tools() -> Iterator[Any]:
    """Types of tools that the clients know, each with whether its provider can know alone what it costs."""
    pytest.importorskip("openai")
    from anthropic.types.beta import BetaToolUnionParam
    from google.genai import types
    from openai.types.responses import ToolParam

    for one in (*get_args(ToolParam), *get_args(BetaToolUnionParam)):
        (kind,) = get_args(get_type_hints(one)["type"])[:1] or (None,)
        kind = get_args(kind)[0] if get_args(kind) else kind
        yield pytest.param({"type": kind, "name": "x", "server_label": "x"}, id=kind)
    for name in types.Tool.model_fields:
        yield pytest.param({name: [{}]}, id=f"gemini-{name}")


MEASURED = ("custom", "function", "namespace", "bash_", "text_editor_", "computer_20")
"""Types of tools that are described whole by the request, or by their provider's pages."""


@pytest.mark.parametrize("tool", [*provider_tools()])
def test_a_tool_is_measured_where_its_caller_runs_it_and_refused_elsewhere(
    tool: dict[str, Any], logger: TelemetryLogger
) -> None:
    """Of each type that a client knows; a new one is refused."""
    kind = tool.get("type", "")
    if kind.startswith(MEASURED) or "function_declarations" in tool:
        assert held(logger, **ASKED, tools=[tool]) > held(logger, **ASKED)
    else:
        with pytest.raises(UnknownPriceError, match=r"tools\[0\]"):
            held(logger, **ASKED, tools=[tool])
        with pytest.raises(UnknownPriceError, match=r"tools\[1\]"):
            held(logger, **ASKED, config={"tools": [{"name": "f"}, tool]})


def test_tools_of_claude_are_reserved_with_the_prompt_that_anthropic_adds(logger: TelemetryLogger) -> None:
    """It is in no request."""
    tools = [{"name": "f", "input_schema": {}}]
    asked = {**ASKED, "model": "claude-m"}
    more = held(logger, **asked, tools=tools) - held(logger, **asked)
    assert more >= Decimal("0.001") > held(logger, **ASKED, tools=tools) - held(logger, **ASKED)


@pytest.mark.parametrize(
    "served",
    [
        {"service_tier": "priority"}, {"serviceTier": {"type": "priority"}}, {"config": {"service_tier": "priority"}},
        {"performanceConfig": {"latency": "optimized"}}, {"inference_geo": "us"}, {"speed": "fast"},
        {"extra_body": {"service_tier": "priority"}}, {"background_options": {"completion_window": "8h"}},
        {"additionalModelRequestFields": {"inference_geo": "us"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_call_that_is_served_at_another_price_is_refused_without_it(
    served: dict[str, Any], logger: TelemetryLogger
) -> None:
    """And has no cost by the usual one."""
    with pytest.raises(UnknownPriceError):
        held(logger, **ASKED, **served)
    with logger.invocation("agent", **ASKED, **served) as call:
        call.record_usage(prompt_tokens=1, completion_tokens=1)
    (row,) = logger.get_invocations()
    assert (row["cost_usd"], row["cost_source"]) == (None, "unknown")


def test_a_tier_that_the_models_file_prices_is_reserved_at_its_price(tmp_path: Path) -> None:
    """Wherever the request says it."""
    models = ModelsConfig.model_validate(
        {"models": {"m": {"cost_per_1m_tokens": PRICES, "service_tiers": {"background_8h": 0.5, "priority": 2}}}}
    )
    with TelemetryLogger(tmp_path / "telemetry.db", models=models, policies=LIMIT) as logger:
        usual = held(logger, **ASKED)
        assert held(logger, **ASKED, background_options={"completion_window": "8h"}) == usual / 2
        assert held(logger, **ASKED, config={"service_tier": "priority"}) == usual * 2


@pytest.mark.parametrize(
    "harmless",
    [
        {"context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]}}, {"modalities": ["text"]},
        {"http_options": {"timeout": 5}}, {"background_options": {"completion_window": "soonest"}},
        {"extra_body": {"top_k": 5}}, {"web_search_options": None}, {"fallbacks": []}, {"service_tier": "auto"},
        {"inference_geo": "global"},
    ],
    ids=str,
)  # fmt: skip
def test_what_costs_nothing_by_its_value_is_let_through(harmless: dict[str, Any], logger: TelemetryLogger) -> None:
    """At the price of the call without it."""
    assert held(logger, **ASKED, **harmless) == held(logger, **ASKED)


@pytest.mark.parametrize(
    "unknown",
    [
        {"routes": [{"model": "dearer"}]}, {"num_generations": 5}, {"enable_search": True}, {"search_mode": "deep"},
        {"max_searches": 0}, {"config": {"temprature": 1}}, {"raw": {"server_tool_use": {"web_search_requests": 1}}},
    ],
    ids=str,
)  # fmt: skip
def test_names_that_nobody_knows_are_refused_by_an_estimate(unknown: dict[str, Any], logger: TelemetryLogger) -> None:
    """A request may be of any client: a number may be how many answers it gives, a word may name a dearer one."""
    (name,) = unknown
    with pytest.raises(UnknownPriceError, match=name):
        held(logger, **ASKED, **unknown)
    with logger.invocation("agent", **ASKED, **unknown, budget=0.5) as call:
        call.record_usage(prompt_tokens=1, completion_tokens=1)


def test_a_name_that_nobody_knows_is_let_through_where_it_says_nothing(logger: TelemetryLogger) -> None:
    """None and False ask for nothing; `metadata` and `tags` are the place of what is the user's own."""
    own: dict[str, Any] = {"metadata": {"team": "red", "own": [1]}, "tags": ["x"]}
    with logger.invocation("agent", **ASKED, **own, budget=True, team=None, enable_search=False) as call:
        call.hold.release()


def test_what_the_body_overrides_counts(logger: TelemetryLogger) -> None:
    """`extra_body` is sent in the place of what stands beside it."""
    assert held(logger, **ASKED, extra_body={"max_tokens": 100_000}) > 100 * held(logger, **ASKED)
    with pytest.raises(UnknownPriceError, match=r"extra_body\.messages"):
        held(logger, **ASKED, extra_body={"messages": [{"role": "user", "content": LONG}]})
    with pytest.raises(UnknownPriceError, match=r"extra_body\.tools"):
        held(logger, **ASKED, tools=[{"name": "f"}], extra_body={"tools": [{"name": "g", "description": LONG}]})


def test_tokens_that_are_given_stand_for_what_is_read_and_not_for_what_is_billed_beside(
    logger: TelemetryLogger,
) -> None:
    """Whoever knows how long a conversation is says it; nobody knows what a search will cost."""
    asked = {"model": "m", "prompt_tokens": 3000, "max_tokens": 100}
    assert held(logger, **asked, previous_response_id="resp_1") == held(logger, **asked)
    with pytest.raises(UnknownPriceError, match="web_search_options"):
        held(logger, **asked, web_search_options={"search_context_size": "low"})


@pytest.mark.parametrize("name", ["tools", "functions", "toolConfig"])
@pytest.mark.parametrize("tools", [["web_search"], {"type": "web_search"}, ({"type": "web_search"},)], ids=str)
def test_a_tool_of_the_provider_is_refused_in_whatever_form_it_is_given(
    tools: Any, name: str, logger: TelemetryLogger
) -> None:
    """By its name alone, and without a list, too, and within any holder: a server may take it."""
    for holder in (None, *HOLDERS):
        with pytest.raises(UnknownPriceError, match="web_search"):
            held(logger, **ASKED, **({name: tools} if holder is None else {holder: {name: tools}}))


@pytest.mark.parametrize("name", READ)
def test_what_the_model_reads_beside_the_messages_is_reserved(name: str, logger: TelemetryLogger) -> None:
    """As much as the same text among them, at the least."""
    within = held(logger, **ASKED | {"messages": [{"role": "system", "content": LONG}, *ASKED["messages"]]})
    beside = held(logger, **ASKED, **{name: AS_TEXT.get(name, LONG)})
    assert beside >= within > 10 * held(logger, **ASKED)


@pytest.mark.parametrize("five", [5, 5.0, "5", " 5 ", Decimal(5), Fraction(5), Count.FIVE], ids=repr)
@pytest.mark.parametrize("name", TIMES)
def test_several_answers_are_reserved(name: str, five: Any, logger: TelemetryLogger) -> None:
    """Each as a call, of whatever type the number is: a server takes it."""
    assert held(logger, **ASKED, **{name: five}) == 5 * held(logger, **ASKED)
    assert held(logger, **ASKED, extra_body={name: five}) == 5 * held(logger, **ASKED)


@pytest.mark.parametrize("odd", ["five", "5.5", 2.5, [5], {"x": 5}, object, float("nan")], ids=str)
@pytest.mark.parametrize("name", TIMES)
def test_a_number_of_answers_that_is_none_is_refused(name: str, odd: Any, logger: TelemetryLogger) -> None:
    """Nobody here knows what a server makes of it."""
    for asked in ({name: odd}, {"extra_body": {name: odd}}):
        with pytest.raises(UnknownPriceError, match=name):
            held(logger, **ASKED, **asked)


@pytest.mark.parametrize("other", LIMITS_WITHIN)
@pytest.mark.parametrize("name", LIMITS)
def test_the_largest_of_several_limits_is_reserved(name: str, other: str, logger: TelemetryLogger) -> None:
    """Whichever of them the server takes, beside each other or within a holder."""
    unlimited = {key: value for key, value in ASKED.items() if key != "max_tokens"}
    whole = held(logger, **unlimited, max_tokens=5000)
    for holder in (None, *HOLDERS):
        for one, another in ((100, 5000), (5000, 100), (100, "5000"), (5000, 100.0)):
            if holder is not None or (other in LIMITS and name != other):
                more = {other: another} if holder is None else {holder: {other: another}}
                assert held(logger, **unlimited, **{name: one}, **more) == whole, (holder, one, another)


@pytest.mark.parametrize("name", LIMITS_WITHIN)
@pytest.mark.parametrize("holder", HOLDERS)
def test_a_limit_that_lifts_the_one_beside_it_is_refused(holder: str, name: str, logger: TelemetryLogger) -> None:
    """-1 is none for many servers; null, too, where it is sent."""
    for odd in (-1, -2, 0, "lots", 0.5, float("inf"), [100]):
        with pytest.raises(UnknownPriceError, match=rf"{holder}\.{name}"):
            held(logger, **ASKED, **{holder: {name: odd}})
    if holder == "extra_body":
        with pytest.raises(UnknownPriceError, match=rf"{holder}\.{name}"):
            held(logger, **ASKED, **{holder: {name: None}})
    else:
        assert held(logger, **ASKED, **{holder: {name: None}}) == held(logger, **ASKED)


def test_of_several_prompts_all_are_reserved(logger: TelemetryLogger) -> None:
    """Which of them is sent is not known here."""
    asked = {"model": "m", "max_tokens": 100}
    for both in permutations(PROMPTS, 2):
        texts = {name: "hi" if name == "prompt" else [{"role": "user", "content": "hi"}] for name in both}
        for name in both:
            long = LONG if name == "prompt" else [{"role": "user", "content": LONG}]
            assert held(logger, **asked, **texts | {name: long}) >= held(logger, **asked, **{name: long}), both


@pytest.mark.parametrize("name", BEYOND)
def test_what_an_empty_object_switches_on_is_refused(name: str, logger: TelemetryLogger) -> None:
    """As `web_search_options={}`; what is None, false or an empty list is none."""
    if name not in {"context_management", "http_options"}:  # these say within what they switch on
        with pytest.raises(UnknownPriceError, match=name):
            held(logger, **ASKED, **{name: {}})
    for nothing in (None, False, []):
        assert held(logger, **ASKED, **{name: nothing}) == held(logger, **ASKED)


@pytest.mark.parametrize("name", [*UNREAD, *BEYOND])
def test_what_nobody_can_measure_is_refused(name: str, logger: TelemetryLogger) -> None:
    """By its name, and with the remedy, which is to say what it may cost."""
    asked = {**ASKED, name: "x"}
    with pytest.raises(UnknownPriceError, match=rf"{name}.*budget=0\.10"):
        held(logger, **asked)
    with logger.invocation("agent", budget=0.5, **asked) as call:
        call.record_usage(prompt_tokens=1, completion_tokens=1)


def camel(name: str) -> str:
    """A name in camel case."""
    first, *others = name.split("_")
    return first + "".join(map(str.capitalize, others))


class Config(BaseModel):
    """A client's own class of parameters, with whatever it is given."""

    model_config = ConfigDict(extra="allow")


@pytest.mark.parametrize("spelt", [str, camel], ids=["snake", "camel"])
@pytest.mark.parametrize("holds", [dict, Config])
@pytest.mark.parametrize("holder", HOLDERS)
def test_parameters_within_another_are_reserved_as_beside_it(
    holder: str, holds: Any, spelt: Any, logger: TelemetryLogger
) -> None:
    """All of them: read, counted, or refused."""
    for name in READ:
        value = AS_TEXT.get(name, LONG)
        assert held(logger, **ASKED, **{holder: holds(**{spelt(name): value})}) == held(
            logger, **ASKED, **{name: value}
        )
    for name in TIMES:
        assert held(logger, **ASKED, **{holder: holds(**{spelt(name): 5})}) == 5 * held(logger, **ASKED)
    for name in (*UNREAD, *BEYOND):
        with pytest.raises(UnknownPriceError, match=name):
            held(logger, **ASKED, **{holder: holds(**{spelt(snake(name)): "x"})})
    unlimited = {name: value for name, value in ASKED.items() if name != "max_tokens"}
    for name in LIMITS_WITHIN:
        assert held(logger, **unlimited, **{holder: holds(**{spelt(name): 100})}) == held(logger, **ASKED)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_holder_that_nobody_can_read_is_refused(holder: str, logger: TelemetryLogger) -> None:
    """It may hold anything."""
    with pytest.raises(UnknownPriceError, match=holder):
        held(logger, **ASKED, **{holder: object()})


def test_what_raises_and_is_no_parameter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows then what else was asked for."""

    def fails(_prompt: object) -> int:
        raise RuntimeError("hands off")

    monkeypatch.setattr(request_parameters, "answers_to", fails)
    for fields in ({"prompt": "hi"}, {"prompt": "hi", "n": 5}):
        asked = request_parameters.asked_in(dict(fields), estimates=True)
        assert asked.beyond
        assert asked.fields["prompt"] == "hi"


class Unreadable:
    """A value of a caller's that raises wherever it is touched."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("hands off")


@pytest.mark.parametrize("holder", [None, *HOLDERS])
@pytest.mark.parametrize("within", [lambda one: one, lambda one: [one], lambda one: {"x": one}])
def test_no_value_of_a_parameter_raises_anything_of_its_own(
    within: Any, holder: str | None, logger: TelemetryLogger
) -> None:
    """Of each parameter: a block without a budget goes on, one with a budget is refused by an error of ours, or not."""
    value = within(Unreadable())
    for name in sorted({*PARAMETERS, *LIMITS_WITHIN, *PROMPTS}):
        asked = {name: value} if holder is None else {holder: {name: value}}
        plain = {key: given for key, given in (ASKED | asked).items() if key not in LIMITS}
        with logger.invocation("agent", **plain):
            pass
        with (
            suppress(QueryError, RecordError, UnknownPriceError),
            logger.invocation("agent", budget=True, **ASKED | asked),
        ):
            pass


def test_a_parameter_that_arguments_were_to_tell_and_do_not_is_refused(logger: TelemetryLogger) -> None:
    """Each that is not ordinary may have made the call dearer; without a budget the call goes on."""

    def fails() -> Any:
        raise KeyError

    for name in sorted({*PARAMETERS, *LIMITS, "speed", "inference_geo", "of_nobody"} - {*ORDINARY, "modelId"}):
        asked = {key: value for key, value in ASKED.items() if key != name}
        ask = logger.instrumented(**asked, **{name: fails}, budget=True)(lambda: "let through")
        with pytest.raises((UnknownPriceError, QueryError, RecordError)):
            ask()
        plain = {key: value for key, value in asked.items() if key not in LIMITS}
        say = logger.instrumented(**plain, **({} if name in LIMITS else {name: fails}))(lambda: "said")
        assert say() == "said", name


@pytest.mark.parametrize("prompt", [{"prompt": "hi"}, {"prompt_tokens": 5}, {"messages": ASKED["messages"]}])
def test_what_a_block_reserved_is_free_again_where_it_says_that_nothing_was_billed(
    prompt: dict[str, Any], logger: TelemetryLogger
) -> None:
    """Whatever it was told of the call before; the row says that nothing was used."""
    with logger.invocation("a", model="m", budget=True, max_tokens=10, status="error", **prompt) as call:
        call.set(cost_usd=0, total_tokens=0)
    assert logger.budgets.holds() == []
    (row,) = logger.get_invocations()
    assert (row["cost_usd"], row["total_tokens"], row["prompt_tokens"], row["completion_tokens"]) == (0, 0, None, None)
    assert logger.stats().bad_values == 0


def test_each_of_several_prompts_is_answered(logger: TelemetryLogger) -> None:
    """Legacy completions take a list; parts of a prompt under other names are one."""
    one = held(logger, model="m", prompt="word", max_tokens=100)
    with logger.budgets.reserve(model_name="m", prompt=["word"] * 10, max_tokens=100) as hold:
        assert hold.usd >= 10 * one
        hold.release()
    with pytest.raises(UnknownPriceError):
        held(logger, model="m", prompt="word", completion_tokens=False)
    assert held(logger, model="m", prompt=[Name("word")] * 10, max_tokens=100) >= 10 * one
    assert held(logger, model="m", prompt=["word"] * 10, max_tokens=100) >= 10 * one
    assert held(logger, model="m", prompt=["word"] * 2, n=5, max_tokens=100) >= 10 * one
    assert held(logger, model="m", contents=["word"] * 10, max_tokens=100) < 3 * one


@pytest.mark.parametrize("kind", ["item_reference", "reasoning", "x"])
def test_a_message_that_names_one_of_the_servers_is_refused(kind: str, logger: TelemetryLogger) -> None:
    """Nobody here can know what the model reads of it."""
    with pytest.raises(UnknownPriceError, match="prompt"):
        held(logger, model="m", input=[{"type": kind, "id": "msg_1", "summary": []}], max_tokens=100)


@pytest.mark.parametrize(
    "asked",
    [
        {"model": "m", "input": "hi", "max_output_tokens": 100, "instructions": "be brief", "temperature": 0},
        {"model": "m", "input": [{"role": "user", "content": "hi"}], "max_output_tokens": 100, "seed": 1},
        {"model": "m", "contents": "hi", "max_tokens": 100, "config": {"system_instruction": "be brief"}},
        {"model": "m", "contents": [{"role": "user", "parts": [{"text": "hi"}]}], "max_tokens": 100},
    ],
)
async def test_other_protocols_are_reserved_too(asked: dict[str, Any], tmp_path: Path) -> None:
    """Whose prompt has another name."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", models=MODELS, policies=LIMIT) as telemetry:
        async with telemetry.invocation("agent", budget=True, **asked) as call:
            assert call.hold is not None
            assert Decimal("0.0001") < call.hold.usd < Decimal("0.0002")
        assert telemetry.stats().bad_values == 0


@pytest.mark.parametrize("count", [5, 500])
def test_a_decorated_function_reserves_the_same_for_each_call(count: int, logger: TelemetryLogger) -> None:
    """What it was given once holds for all."""
    reserved: list[float] = []

    @logger.instrumented(**ASKED | {"n": count, "system": LONG}, budget=True)
    def ask() -> None:
        (limit,) = logger.budgets.status()
        reserved.append(limit["reserved"])

    for _ in range(3):
        ask()
        logger.budgets.release(logger.budgets.holds()[0]["hold_id"])
    assert reserved[0] == reserved[1] == reserved[2] > count * 0.02


async def test_without_a_budget_they_are_no_bad_values_of_the_async_logger(tmp_path: Path) -> None:
    """As of the sync one."""
    ordinary: dict[str, Any] = dict.fromkeys(PARAMETERS, "x")
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        async with telemetry.invocation("agent", model_name="m", **ordinary):
            pass
        assert telemetry.stats().bad_values == 0


def test_without_a_budget_they_are_no_bad_values(logger: TelemetryLogger) -> None:
    """They are known, and no fields; what nobody knows is a bad value as before."""
    ordinary: dict[str, Any] = dict.fromkeys(PARAMETERS, "x")
    with logger.invocation("agent", model_name="m", **ordinary) as call:
        call.record_usage(prompt_tokens=1, completion_tokens=1)
    assert logger.stats().bad_values == 0
    with logger.invocation("agent", temprature=0):
        pass
    assert logger.stats().bad_values == 1


@pytest.mark.parametrize("told", ["record", "record_usage", "nothing"])
def test_tokens_that_are_given_for_the_estimate_yield_to_what_was_used(told: str, logger: TelemetryLogger) -> None:
    """They are a guess; alone they stand."""
    usage = {"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9}
    with logger.invocation("agent", model_name="m", budget=True, prompt_tokens=3000, max_tokens=100) as call:
        assert call.hold is not None
        assert call.hold.usd >= Decimal("0.003")
        if told == "record":
            call.record({"id": "a", "model": "m", "object": "chat.completion", "choices": [], "usage": usage})
        elif told == "record_usage":
            call.record_usage(usage)
    (row,) = logger.get_invocations()
    assert row["prompt_tokens"] == (3000 if told == "nothing" else 7)
