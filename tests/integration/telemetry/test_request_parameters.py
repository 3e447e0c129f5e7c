"""A block is given the parameters of a client's request as they are: what costs something is reserved."""

import inspect
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.errors import UnknownPriceError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.field_aliases import ALIASES
from llm_service.telemetry.instrumentation.request_parameters import (
    _HOLDERS,
    _LIMITS_WITHIN,
    _READ,
    _TIMES,
    _UNMEASURED,
    PARAMETERS,
)
from llm_service.telemetry.record.fields import FIELDS

LONG = "word " * 20_000
PRICES = {"input": 1, "output": 1}
MODELS = ModelsConfig.model_validate({"models": {"m": {"cost_per_1m_tokens": PRICES}}, "bundled_prices": False})
LIMIT = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 100, "unknown_price": "block"}}})
LIMITS = {"max_tokens", "max_completion_tokens", "max_output_tokens"}
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


def requests() -> Iterator[Any]:
    """The methods that send one, of the clients that are installed."""
    openai, anthropic = pytest.importorskip("openai"), pytest.importorskip("anthropic")
    sync, other = openai.OpenAI(api_key="none"), anthropic.Anthropic(api_key="none")
    yield from (sync.chat.completions.create, sync.responses.create, sync.completions.create, sync.embeddings.create)
    yield from (sync.chat.completions.parse, sync.responses.parse, other.messages.create, other.beta.messages.create)


def test_every_parameter_of_the_clients_is_known() -> None:
    """As a field, by another name of one, as the limit of the answer, or here; the clients go on."""
    known = PARAMETERS | set(FIELDS) | set(ALIASES) | LIMITS | {"inference_geo", "speed"}  # they have a price
    asked = {name for method in requests() for name in inspect.signature(method).parameters}
    assert len(asked) > 60
    assert asked <= known, asked - known


@pytest.mark.parametrize("name", _READ)
def test_what_the_model_reads_beside_the_messages_is_reserved(name: str, logger: TelemetryLogger) -> None:
    """As much as the same text among them, at the least."""
    within = held(logger, **ASKED | {"messages": [{"role": "system", "content": LONG}, *ASKED["messages"]]})
    beside = held(logger, **ASKED, **{name: AS_TEXT.get(name, LONG)})
    assert beside >= within > 10 * held(logger, **ASKED)


@pytest.mark.parametrize("name", _TIMES)
def test_several_answers_are_reserved(name: str, logger: TelemetryLogger) -> None:
    """Each as a call."""
    assert held(logger, **ASKED, **{name: 5}) == 5 * held(logger, **ASKED)


@pytest.mark.parametrize("name", _UNMEASURED)
def test_what_nobody_can_measure_is_refused(name: str, logger: TelemetryLogger) -> None:
    """With the remedy, which is to say what it may cost."""
    asked = {**ASKED, name: "x"}
    with pytest.raises(UnknownPriceError, match="prompt"), logger.invocation("agent", budget=True, **asked):
        pass
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
@pytest.mark.parametrize("holder", _HOLDERS)
def test_parameters_within_another_are_reserved_as_beside_it(
    holder: str, holds: Any, spelt: Any, logger: TelemetryLogger
) -> None:
    """All of them: read, counted, or refused."""
    for name in _READ:
        value = AS_TEXT.get(name, LONG)
        assert held(logger, **ASKED, **{holder: holds(**{spelt(name): value})}) == held(
            logger, **ASKED, **{name: value}
        )
    for name in _TIMES:
        assert held(logger, **ASKED, **{holder: holds(**{spelt(name): 5})}) == 5 * held(logger, **ASKED)
    for name in _UNMEASURED:
        with pytest.raises(UnknownPriceError, match="prompt"):
            held(logger, **ASKED, **{holder: holds(**{spelt(name): "x"})})
    unlimited = {name: value for name, value in ASKED.items() if name != "max_tokens"}
    for name in _LIMITS_WITHIN:
        assert held(logger, **unlimited, **{holder: holds(**{spelt(name): 100})}) == held(logger, **ASKED)


@pytest.mark.parametrize("holder", _HOLDERS)
def test_a_holder_that_nobody_can_read_is_refused(holder: str, logger: TelemetryLogger) -> None:
    """It may hold anything."""
    with pytest.raises(UnknownPriceError, match="prompt"):
        held(logger, **ASKED, **{holder: object()})


def test_each_of_several_prompts_is_answered(logger: TelemetryLogger) -> None:
    """Legacy completions take a list; parts of a prompt under other names are one."""
    one = held(logger, model="m", prompt="word", max_tokens=100)
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
