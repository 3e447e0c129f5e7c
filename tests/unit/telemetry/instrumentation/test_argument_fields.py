"""Fields of a decorated function that its arguments tell: any field, any kind of function, both faces; none costs a call."""

import inspect
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import check_books, policies

from llm_service.config.schemas import ModelsConfig
from llm_service.errors import BudgetExceeded, RecordError, UnknownPriceError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.decorator import KINDS, PLAIN
from llm_service.telemetry.record.fields import CONTENT_FIELDS, FIELDS, RANGES, fields_of_kind

DECORATED = {kind.wrap.__name__: kind for kind in (*KINDS, PLAIN)}
FACES: dict[str, type[TelemetryLogger | AsyncTelemetryLogger]] = {
    "sync": TelemetryLogger,
    "async": AsyncTelemetryLogger,
}
HOLDERS = [(face, kind) for face in FACES for kind in DECORATED if DECORATED[kind].awaits is (face == "async")]
"""Which kinds of functions can have a budget by which logger."""
NOT_SAID = {"status": "error", "privacy_level": "metadata"}
"""What is taken for a value of these that is not usable; others stay unknown."""
GPT = {"models": {"gpt-4o": {"cost_per_1m_tokens": {"input": 2.5, "output": 10}}}, "bundled_prices": False}
MODELS = ModelsConfig.model_validate(GPT)
WORDS = {"status": "timeout", "privacy_level": "full", "usage_source": "estimated", "cost_source": "reported"}


def value_of(field: str) -> Any:
    """One that the field can have, and none of its defaults."""
    if field == "stream":
        return False
    if field in RANGES:
        return int(min(RANGES[field])) + 7
    if field in fields_of_kind("word"):
        return WORDS[field]
    special = {
        "timestamp": datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        "tags": ["t"],
        "metadata": {"k": "v"},
        "invocation_id": "an-id-of-its-own",
    }
    return special.get(field, f"of {field}")


def body(kind: str) -> Callable[..., Any]:
    """A function of a kind that gives back its argument."""

    def plain(question: Any, *, more: Any = None) -> Any:
        return question if more is None else more

    async def coroutine(question: Any, *, more: Any = None) -> Any:
        return question if more is None else more

    def generator(question: Any, *, more: Any = None) -> Iterator[Any]:
        yield question if more is None else more

    async def async_generator(question: Any, *, more: Any = None) -> AsyncIterator[Any]:
        yield question if more is None else more

    made = {"_function": plain, "_coroutine": coroutine, "_generator": generator, "_async_generator": async_generator}
    return made[kind]


async def answer_of(called: Any) -> Any:
    """What a call of any kind gives in the end."""
    if inspect.isasyncgen(called):
        return [item async for item in called][0]  # noqa: RUF015 - to its end
    if inspect.isgenerator(called):
        return list(called)[0]  # noqa: RUF015 - to its end
    return await called if inspect.isawaitable(called) else called


async def rows_of(logger: Any) -> list[Any]:
    """All rows, in the order in which they were made."""
    found = logger.get_invocations(limit=1000)
    return sorted(await found if inspect.isawaitable(found) else found, key=lambda row: row["id"])


async def content_of(logger: Any, row: Any) -> Any:
    """Prompt and response of a row."""
    found = logger.get_content(row["invocation_id"])
    return await found if inspect.isawaitable(found) else found


async def closed(logger: Any) -> None:
    """Close it."""
    done = logger.aclose if isinstance(logger, AsyncTelemetryLogger) else logger.close
    ended = done()
    if inspect.isawaitable(ended):
        await ended


@pytest.fixture
async def make(tmp_path: Path) -> AsyncIterator[Callable[..., Any]]:
    """Makes a logger of a face, which is closed afterwards."""
    made: list[Any] = []

    def one(face: str, **options: Any) -> Any:
        made.append(
            FACES[face](
                tmp_path / f"{len(made)}.db", **{"models": MODELS, "policies": False, "retention_days": None} | options
            )
        )
        return made[-1]

    yield one
    for logger in made:
        await closed(logger)


@pytest.mark.parametrize("kind", DECORATED)
@pytest.mark.parametrize("face", FACES)
async def test_any_field_told_by_arguments_is_as_if_it_were_said(
    make: Callable[..., Any], face: str, kind: str
) -> None:
    """Beside a decorator that says the same value: the rows are alike, and the call itself is what it was."""
    logger = make(face, privacy_level="full")
    for field in FIELDS:
        value = value_of(field)
        said = {} if field == "invocation_id" else {field: value}
        told: Any = {field: lambda question, *, more=None: question if more is None else more}
        assert await answer_of(logger.instrumented(**said)(body(kind))(value)) == value
        assert await answer_of(logger.instrumented(**told)(body(kind))(value)) == value
        assert await answer_of(logger.instrumented(**told)(body(kind))("other", more=value)) == value
    rows = await rows_of(logger)
    assert [row["invocation_id"] for row in rows].count(value_of("invocation_id")) == 1  # and its second is a duplicate
    assert len(rows) == 3 * len(FIELDS) - 1
    others = [field for field in FIELDS if field != "invocation_id"]
    assert FIELDS[0] == "invocation_id"
    for at, field in enumerate(others):
        said, *told = rows[2 + at * 3 :][:3]
        for row in told:
            if field in CONTENT_FIELDS:
                assert (await content_of(logger, row))[field] == (await content_of(logger, said))[field] is not None
            else:
                assert row[field] == said[field] is not None, field
    assert logger.stats().bad_values == 0


def fails(*_: Any, **__: Any) -> Any:
    """A function of the program's that raises."""
    raise LookupError("quoting a secret of the caller")


def gives_what_cannot_be(*_: Any, **__: Any) -> Any:
    """A value that no field takes."""
    return object()


async def _never() -> None:
    """Is not to be awaited."""


def gives_an_awaitable(*_: Any, **__: Any) -> Any:
    """It would have to be awaited."""
    return _never()


BAD = [fails, gives_what_cannot_be, gives_an_awaitable]


@pytest.mark.parametrize("kind", DECORATED)
@pytest.mark.parametrize("face", FACES)
async def test_what_cannot_be_told_costs_its_field_alone(
    make: Callable[..., Any], face: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The call runs, the row has its other fields; each is counted, each field is warned about once, nothing is quoted."""
    logger = make(face, privacy_level="full")
    for field in FIELDS:
        for bad in BAD:
            kept = "model_name" if field == "tool_name" else "tool_name"
            decorated = logger.instrumented(**{field: bad, kept: "kept"})(body(kind))
            assert await answer_of(decorated("an answer")) == "an answer"
    rows = await rows_of(logger)
    assert len(rows) == len(FIELDS) * len(BAD)
    assert logger.stats().bad_values == len(rows)
    for at, row in enumerate(rows):
        field = FIELDS[at // len(BAD)]
        assert row["model_name" if field == "tool_name" else "tool_name"] == "kept"
        if field in NOT_SAID:
            assert row[field] == NOT_SAID[field]
        elif field not in {
            "invocation_id",
            "timestamp",
            "latency_ms",
            "cost_source",
            "ttft_ms",
            "stream",
            *CONTENT_FIELDS,
        }:
            assert row[field] is None or field == "unpriced_usage", field
    warned = [record.message for record in caplog.records if "is left out" in record.message]
    assert len(warned) == len(FIELDS)
    assert "secret" not in caplog.text


@pytest.mark.parametrize("kind", DECORATED)
@pytest.mark.parametrize("face", FACES)
async def test_strict_raises_it_from_the_call(make: Callable[..., Any], face: str, kind: str) -> None:
    """What the function raises, or why its value cannot be."""
    logger = make(face, strict=True)
    for bad, raised in ((fails, LookupError), (gives_what_cannot_be, RecordError), (gives_an_awaitable, RecordError)):
        decorated = logger.instrumented(session_id=bad)(body(kind))
        with pytest.raises(raised):
            await answer_of(decorated("x"))
    assert await rows_of(logger) == []


@pytest.mark.parametrize("face", FACES)
async def test_methods_of_every_kind_get_what_they_are_called_with(make: Callable[..., Any], face: str) -> None:
    """`self`, `cls` or neither, positions and names, below and above the other decorator."""
    logger = make(face)

    class Agent:
        name = "of the class"

        def __init__(self) -> None:
            self.name = "of the instance"

        @logger.instrumented(agent_name=lambda self, *_, **__: self.name, session_id=lambda _, question: question)
        def method(self, question: str) -> None: ...

        @logger.instrumented(agent_name=lambda cls, *_, **__: cls.name, session_id=lambda _, question: question)
        @classmethod
        def above(cls, question: str) -> None: ...

        @classmethod
        @logger.instrumented(agent_name=lambda cls, *_, **__: cls.name, session_id=lambda _, question: question)
        def below(cls, question: str) -> None: ...

        @logger.instrumented("static", session_id=lambda question: question)
        @staticmethod
        def static(question: str) -> None: ...

    agent = Agent()
    for method in (agent.method, agent.above, Agent.below, Agent.static):
        method("by position")
        method(question="by name")
    rows = await rows_of(logger)
    assert [row["session_id"] for row in rows] == ["by position", "by name"] * 4
    names = ["of the instance", "of the class", "of the class", "static"]
    assert [row["agent_name"] for row in rows[::2]] == [row["agent_name"] for row in rows[1::2]] == names


async def test_none_and_what_cannot_be_are_inherited(make: Callable[..., Any]) -> None:
    """As names that are not said; another name for a field is taken, too."""
    logger = make("sync")
    told: dict[str, Any] = {"user": lambda user: user, "agent_name": lambda _: None, "session": fails}
    ask = logger.instrumented(**told)(lambda user: user)
    with logger.scope(agent_name="around", session_id="around", user_id="around"):
        for user in ("u-1", None, 2.5, ""):
            ask(user)
    rows = await rows_of(logger)
    assert [row["user_id"] for row in rows] == ["u-1", "around", "around", "around"]
    assert {(row["agent_name"], row["session_id"]) for row in rows} == {("around", "around")}
    assert logger.stats().bad_values == 4 + 2


async def test_a_call_whose_tier_is_not_known_has_no_price(make: Callable[..., Any]) -> None:
    """But one whose model the answer tells, and whose count the answer tells, has."""
    logger = make("sync")

    def usage(_: object) -> dict[str, Any]:
        return {"prompt_tokens": 1_000_000, "completion_tokens": 0, "model_name": "gpt-4o"}

    for field in ("service_tier", "provider", "region", "model_name", "prompt_tokens", "session_id"):
        logger.instrumented(**{field: fails}, usage=usage)(lambda: None)()
    costs = [(row["cost_usd"], row["unpriced_usage"]) for row in await rows_of(logger)]
    assert costs[3:] == [(2.5, None)] * 3
    for (cost, why), field in zip(costs[:3], ("service_tier", "provider", "region"), strict=True):
        assert (cost, why) == (None, f"{field}: a value that is not usable")


@pytest.mark.parametrize(("face", "kind"), HOLDERS)
async def test_a_prompt_told_by_arguments_is_reserved_for(make: Callable[..., Any], face: str, kind: str) -> None:
    """And the limit of the answer; without one that can be used it is as if none were said."""
    logger = make(face, policies=policies(default=0.01))
    told: dict[str, Any] = {
        "prompt": lambda question, **_: question,
        "max_tokens": lambda _, *, more: more,
    }
    ask = logger.instrumented(model_name="gpt-4o", budget=True, **told)(body(kind))
    assert await answer_of(ask("Why?", more=10)) == 10
    with pytest.raises(BudgetExceeded):
        await answer_of(ask("Why?" * 10_000, more=10))
    with pytest.raises(BudgetExceeded):
        await answer_of(ask("Why?", more=10_000))
    for bad_prompt in (5, [1], [{"content": 5}], {"role": "user"}, b"x"):
        with pytest.raises(UnknownPriceError, match="the prompt"):
            await answer_of(ask(bad_prompt, more=10))
    for bad_limit in (0, -1, "many", 1.5, object()):
        with pytest.raises(UnknownPriceError, match="a limit of the answer"):
            await answer_of(ask("Why?", more=bad_limit))
    assert logger.stats().bad_values == 5 + 5
    both = logger.instrumented(model_name="gpt-4o", budget=True, prompt_tokens=lambda *_, **__: 3, **told)(body(kind))
    assert await answer_of(both("Why?", more=10)) == 10
    await closed(logger)
    check_books(logger.db_path)


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize(("face", "kind"), HOLDERS)
async def test_no_function_of_arguments_costs_a_call_its_budget(
    make: Callable[..., Any], face: str, kind: str, bad: Any
) -> None:
    """Whatever field it is: the call is made, as by a decorator that does not say it."""
    logger = make(face, policies=policies(default=1_000_000))
    for field in (*FIELDS, "max_tokens", "max_output_tokens", "messages", "user"):
        decorated = logger.instrumented(budget=0.01, **{field: bad})(body(kind))
        assert await answer_of(decorated("an answer")) == "an answer"
    assert len(await rows_of(logger)) == len(FIELDS) + 4
    await closed(logger)
    check_books(logger.db_path)


async def test_limits_are_those_of_the_names_that_arguments_tell(make: Callable[..., Any]) -> None:
    """A limit of each agent, and the agent is the one that was called."""
    each = {"scope": {"agent": "*"}, "per": "agent", "daily_budget_usd": 1, "limit": {"threshold_percent": 100}}
    logger = make("sync", policies=policies(each=each))
    work = logger.instrumented(agent_name=lambda agent: agent, budget=0.6, usage=lambda _: {"cost_usd": 0.6})(len)
    work("a")
    work("b")
    with pytest.raises(BudgetExceeded, match="of a:"):
        work("a")


async def test_strict_says_of_a_prompt_that_cannot_be_read(make: Callable[..., Any]) -> None:
    """As `strict` says of every value."""
    logger = make("sync", strict=True, policies=policies(default=1))
    ask = logger.instrumented(model_name="gpt-4o", budget=True, prompt=lambda prompt: prompt, max_tokens=5)(len)
    with pytest.raises(ValueError, match="prompt"):
        ask(5)
    assert ask("Why?") == 4


def test_what_cannot_be_is_refused_where_it_is_written(make: Callable[..., Any]) -> None:
    """Async functions as fields, names given twice, more than there are; and a function by position is decorated."""
    logger = make("sync")

    async def waits(*_: Any) -> str:
        return "x"

    async def streams(*_: Any) -> Any:
        yield "x"

    for function in (waits, streams):
        with pytest.raises(TypeError, match="session_id: an async function cannot be waited for"):
            logger.instrumented(session_id=function)
    with pytest.raises(TypeError, match="agent_name twice"):
        logger.instrumented("a", agent_name="b")
    with pytest.raises(TypeError, match="agent_name twice"):
        logger.instrumented(len, agent_name="b")
    with pytest.raises(TypeError, match="by position"):
        logger.instrumented("a", "b", "c", "d")
    with pytest.raises(TypeError, match="invocation_id"):
        logger.instrumented(invocation_id="one")
    assert logger.instrumented(len, "tool")("four") == 4


def test_nothing_is_called_before_the_call_nor_logged_above_a_warning(
    make: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Also where the decorator checks what it was given: with `strict`, or a budget."""
    called: list[str] = []

    def told(question: str) -> str:
        called.append(question)
        return question

    for options in ({}, {"strict": True}):
        logger = make("sync", policies=policies(default=10), **options)
        for budget in (False, 0.5):
            ask = logger.instrumented(session_id=told, max_tokens=lambda _: 5, budget=budget)(len)
            assert called == []
            assert ask("Why?") == 4
            assert called == ["Why?"]
            called.clear()
    assert [record for record in caplog.records if record.levelno > logging.WARNING] == []
