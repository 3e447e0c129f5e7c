"""The decorator: every kind of function stays what it is, and each call of it is recorded once, whatever happens."""

import asyncio
import gc
import inspect
import logging
import types
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import copy_context
from functools import partial, wraps
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, RecordError, TelemetryLogger
from llm_service.telemetry.instrumentation.open_blocks import current


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "calls.db") as made:
        yield made


@pytest.fixture
async def telemetry(tmp_path: Path) -> AsyncIterator[AsyncTelemetryLogger]:
    """An async logger, closed afterwards."""
    async with AsyncTelemetryLogger(tmp_path / "calls.db") as made:
        yield made


def tokens(answer: Any) -> dict[str, Any]:
    """Read usage out of an answer."""
    return {"prompt_tokens": answer, "completion_tokens": 1, "cost_usd": None}


def by_agent(rows: Any) -> dict[str | None, Any]:
    """The rows, by agent name."""
    return {row["agent_name"]: row for row in rows}


# What a decorated function is


def test_each_kind_of_function_stays_of_its_kind(logger: TelemetryLogger) -> None:
    """Frameworks ask `inspect`: name, docstring, signature, annotations and kind are the function's own."""

    def plain(a: int, *, b: str = "x") -> str:
        """Say."""
        return b * a

    async def coroutine(a: int) -> int:
        return a

    def generator(a: int) -> Iterator[int]:
        yield a

    async def async_generator(a: int) -> AsyncIterator[int]:
        yield a

    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    for function in (plain, coroutine, generator, async_generator):
        decorated = logger.instrumented("agent")(function)
        assert [kind(decorated) for kind in kinds] == [kind(function) for kind in kinds]
        assert inspect.signature(decorated) == inspect.signature(function)
        assert (decorated.__name__, decorated.__doc__) == (function.__name__, function.__doc__)
        assert decorated.__wrapped__ is function  # type: ignore[attr-defined]
    assert logger.instrumented("agent")(plain)(2, b="yz") == "yzyz"


def test_methods_of_every_kind_and_both_orders_of_decorators_work(logger: TelemetryLogger) -> None:
    """`self` and `cls` arrive, and each call is one record."""

    class Agent:
        @logger.instrumented("method")
        def method(self) -> object:
            return self

        @staticmethod
        @logger.instrumented("static-below")
        def static_below(value: int) -> int:
            return value

        @logger.instrumented("static-above")
        @staticmethod
        def static_above(value: int) -> int:
            return value

        @classmethod
        @logger.instrumented("class-below")
        def class_below(cls) -> object:
            return cls

        @logger.instrumented("class-above")
        @classmethod
        def class_above(cls) -> object:
            return cls

        @property
        @logger.instrumented("property")
        def name(self) -> str:
            return "n"

    agent = Agent()
    assert agent.method() is agent
    assert (Agent.static_below(1), agent.static_above(2)) == (1, 2)
    assert agent.class_below() is Agent.class_above() is Agent
    assert agent.name == "n"
    assert by_agent(logger.get_invocations()).keys() == {
        "method", "static-below", "static-above", "class-below", "class-above", "property",
    }  # fmt: skip


def test_the_bare_decorator_records_calls_of_nobody(logger: TelemetryLogger) -> None:
    """Names that were not given are NULL, not made up; functions, static and class methods alike."""

    @logger.instrumented
    def ask() -> int:
        return 1

    class Agent:
        @logger.instrumented
        @staticmethod
        def ask() -> int:
            return 2

    assert (ask(), Agent.ask()) == (1, 2)
    rows = logger.get_invocations()
    assert [(row["agent_name"], row["tool_name"], row["status"]) for row in rows] == [(None, None, "success")] * 2


async def test_partials_and_callable_objects_are_what_they_call(telemetry: AsyncTelemetryLogger) -> None:
    """An async `__call__` is awaited, a partial of a coroutine function too; both are timed to their end."""

    class Asks:
        async def __call__(self, value: int) -> int:
            await asyncio.sleep(0)
            return value

    async def add(a: int, b: int) -> int:
        await asyncio.sleep(0)
        return a + b

    assert await telemetry.instrumented("object", usage=tokens)(Asks())(5) == 5
    assert await telemetry.instrumented("partial", usage=tokens)(partial(add, 1))(2) == 3
    rows = by_agent(await telemetry.get_invocations())
    assert (rows["object"]["prompt_tokens"], rows["partial"]["prompt_tokens"]) == (5, 3)


@pytest.mark.parametrize("thing", [int, 5, property(lambda _: 1)], ids=["class", "number", "property"])
def test_what_is_no_function_is_refused_where_it_is_decorated(logger: TelemetryLogger, thing: Any) -> None:
    """With a remedy; so are a reader that cannot be called, and the id of one call."""
    with pytest.raises(TypeError, match="put it on the function"):
        logger.instrumented("agent")(thing)
    with pytest.raises(TypeError, match="usage: 5"):
        logger.instrumented("agent", usage=5)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="invocation_id"):
        logger.instrumented("agent", invocation_id="one")


# What is recorded of a call


@pytest.mark.parametrize("kind", ["plain", "async"])
async def test_a_call_is_recorded_with_its_usage_and_its_result_passes(
    telemetry: AsyncTelemetryLogger, kind: str
) -> None:
    """Fields of the decorator, of the reader, and the measured time."""
    decorate = telemetry.instrumented("agent", "tool", "model", provider="p", usage=tokens)
    if kind == "plain":
        assert decorate(lambda: 7)() == 7
    else:

        async def ask() -> int:
            await asyncio.sleep(0)
            return 7

        assert await decorate(ask)() == 7
    (row,) = await telemetry.get_invocations()
    assert (row["agent_name"], row["tool_name"], row["model_name"], row["provider"]) == ("agent", "tool", "model", "p")
    assert (row["prompt_tokens"], row["total_tokens"], row["cost_usd"], row["status"]) == (7, 8, None, "success")
    assert (row["stream"], row["usage_source"]) == (None, None)
    assert row["latency_ms"] is not None


@pytest.mark.parametrize("kind", ["plain", "async", "generator", "async generator"])
async def test_an_exception_passes_unchanged_and_is_recorded(telemetry: AsyncTelemetryLogger, kind: str) -> None:
    """The very same object; a timeout is a timeout."""
    error = TimeoutError("too slow")

    def plain() -> None:
        raise error

    async def coroutine() -> None:
        raise error

    def generator() -> Iterator[int]:
        yield 1
        raise error

    async def async_generator() -> AsyncIterator[int]:
        yield 1
        raise error

    decorate = telemetry.instrumented("agent", usage=tokens)

    async def run() -> None:
        if kind == "plain":
            decorate(plain)()
        elif kind == "async":
            await decorate(coroutine)()
        elif kind == "generator":
            list(decorate(generator)())
        else:
            [item async for item in decorate(async_generator)()]

    with pytest.raises(TimeoutError) as caught:
        await run()
    assert caught.value is error
    assert error.__cause__ is error.__context__ is None
    (row,) = await telemetry.get_invocations()
    assert (row["status"], row["error_type"], row["error_message"]) == ("timeout", "TimeoutError", "too slow")
    streams = "generator" in kind
    assert (row["usage_source"], row["prompt_tokens"]) == (("partial", 1) if streams else (None, None))
    assert row["finish_reason"] is None


async def test_a_cancelled_call_is_recorded_as_cancelled(telemetry: AsyncTelemetryLogger) -> None:
    """A coroutine as an error, an async generator as a stream whose consumer went away; the cancellation goes on."""
    entered = asyncio.Event()

    @telemetry.instrumented("coroutine")
    async def ask() -> None:
        entered.set()
        await asyncio.sleep(60)

    @telemetry.instrumented("stream")
    async def stream() -> AsyncIterator[int]:
        entered.set()
        await asyncio.sleep(60)
        yield 1

    async def consume() -> None:
        async for _ in stream():
            pass

    for work in (ask(), consume()):
        entered.clear()
        task = asyncio.ensure_future(work)
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    rows = await telemetry.get_invocations()
    assert {row["agent_name"]: (row["status"], row["error_type"], row["finish_reason"]) for row in rows} == {
        "coroutine": ("error", "cancelled", None),
        "stream": ("success", None, "cancelled"),
    }


def broken(_result: Any) -> Any:
    """A reader with a bug."""
    raise LookupError("the answer is secret")


@pytest.mark.parametrize(
    "usage", [broken, lambda _: 5, lambda _: [("no", "pair", 3)]], ids=["raises", "number", "list"]
)
async def test_a_reader_that_fails_never_reaches_the_caller(
    telemetry: AsyncTelemetryLogger, caplog: pytest.LogCaptureFixture, usage: Callable[[Any], Any]
) -> None:
    """It is counted for each call, warned about once, and the warning does not quote the answer."""
    ask = telemetry.instrumented("agent", usage=usage)(lambda: "the answer is secret")
    stream = telemetry.instrumented("stream", usage=usage)(lambda: iter(()))
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        assert [ask(), ask()] == ["the answer is secret"] * 2
        list(stream())
    assert telemetry.stats().bad_values == 3
    assert len(caplog.records) == 1
    assert "secret" not in caplog.text
    assert "strict=True" in caplog.text
    assert {row["status"] for row in await telemetry.get_invocations()} == {"success"}


def test_strict_raises_what_a_reader_raises_and_tells_of_an_unknown_field_at_the_definition(tmp_path: Path) -> None:
    """In a test suite one wants to know; a generator's record is made all the same."""
    with TelemetryLogger(tmp_path / "strict.db", strict=True) as logger:
        with pytest.raises(RecordError, match="colour"):
            logger.instrumented("agent", colour="red")
        with pytest.raises(LookupError):
            logger.instrumented("agent", usage=broken)(lambda: 1)()

        @logger.instrumented("stream", usage=broken)
        def stream() -> Iterator[int]:
            yield 1

        with pytest.raises(LookupError):
            next(stream())
        assert [row["error_type"] for row in logger.get_invocations()] == ["LookupError"] * 2


def test_an_unknown_field_is_left_out_and_counted(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture) -> None:
    """From the decorator, and from the reader."""
    assert logger.instrumented("agent", colour="red", usage=lambda _: {"shape": 1})(lambda: 3)() == 3
    assert logger.stats().bad_values == 2
    assert "colour" in caplog.text
    assert "shape" in caplog.text


# Generators


def chunks(logger: Any, **fields: Any) -> Callable[..., Any]:
    """A decorated generator of what it is given, which returns their number."""

    @logger.instrumented("stream", usage=lambda item: item, **fields)
    def stream(*items: Any) -> Any:
        yield from items
        return len(items)

    return stream  # type: ignore[no-any-return]


def test_a_generator_is_recorded_once_at_its_end(logger: TelemetryLogger) -> None:
    """With the time to its first item; later usage overwrites, and None and {} change nothing."""
    made = chunks(logger)
    stream = made({"prompt_tokens": 9, "completion_tokens": 1}, None, {}, {"completion_tokens": 4}, {"cost_usd": None})
    next(stream)
    assert logger.get_invocations() == []
    assert len(list(stream)) == 4
    (row,) = logger.get_invocations()
    assert (row["stream"], row["status"], row["finish_reason"], row["usage_source"]) == (True, "success", None, None)
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"]) == (9, 4, 13)
    assert 0 <= row["ttft_ms"] <= row["latency_ms"]  # type: ignore[operator]
    made()
    assert len(logger.get_invocations()) == 1  # one that nobody iterates is no call


@pytest.mark.parametrize("end", ["close", "collect", "break"])
@pytest.mark.parametrize(
    ("items", "finish_reason", "usage_source"),
    [
        ([{"prompt_tokens": 3}, None], "cancelled", "partial"),
        ([{"finish_reason": "stop", "total_tokens": 3}, None], "stop", "partial"),
        ([{"usage_source": "estimated", "prompt_tokens": 3}, None], "cancelled", "estimated"),
        ([None, None], "cancelled", None),
    ],
)
def test_an_early_end_is_no_error_and_says_what_is_partial(
    logger: TelemetryLogger, end: str, items: list[Any], finish_reason: str, usage_source: str | None
) -> None:
    """Success, `finish_reason` cancelled unless the stream told its own, and counts are lower bounds."""
    stream = chunks(logger)(*items)
    if end == "break":
        for _ in stream:
            break
    else:
        next(stream)
    if end == "close":
        stream.close()
    del stream
    gc.collect()
    (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"], row["finish_reason"], row["usage_source"]) == (
        "success", None, finish_reason, usage_source,
    )  # fmt: skip


def test_send_throw_and_the_return_value_pass_through(logger: TelemetryLogger) -> None:
    """A decorated coroutine-like generator answers as the bare one does."""

    @logger.instrumented("stream")
    def echo() -> Any:
        heard: list[Any] = []
        while True:
            try:
                heard.append((yield len(heard)))
            except KeyError:
                return heard

    stream = echo()
    assert (next(stream), stream.send("a"), stream.send("b")) == (0, 1, 2)
    with pytest.raises(StopIteration) as caught:
        stream.throw(KeyError())
    assert caught.value.value == ["a", "b"]
    assert [row["status"] for row in logger.get_invocations()] == ["success"]


async def test_asend_and_athrow_pass_through(telemetry: AsyncTelemetryLogger) -> None:
    """Also an exception that the body answers with an item."""

    @telemetry.instrumented("stream")
    async def echo() -> Any:
        heard: list[Any] = []
        while len(heard) < 3:
            try:
                heard.append((yield tuple(heard)))
            except KeyError:
                heard.append("thrown")

    stream = echo()
    assert await anext(stream) == ()
    assert await stream.asend("a") == ("a",)
    assert await stream.athrow(KeyError()) == ("a", "thrown")
    with pytest.raises(StopAsyncIteration):
        await stream.asend("b")
    with pytest.raises(StopAsyncIteration):
        await anext(stream)
    assert [row["status"] for row in await telemetry.get_invocations()] == ["success"]


async def test_an_exception_thrown_in_passes_through_the_body(telemetry: AsyncTelemetryLogger) -> None:
    """As of a context manager that is made of a decorated generator: the body cleans up, and it is an error."""
    cleaned: list[str] = []

    @contextmanager
    @telemetry.instrumented("sync")
    def session() -> Iterator[int]:
        try:
            yield 1
        finally:
            cleaned.append("sync")

    @asynccontextmanager
    @telemetry.instrumented("async")
    async def async_session() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            cleaned.append("async")

    with pytest.raises(KeyError), session():
        raise KeyError
    with pytest.raises(KeyError):
        async with async_session():
            raise KeyError
    with session() as value:
        assert value == 1
    assert cleaned == ["sync", "async", "sync"]
    rows = await telemetry.get_invocations()
    assert [row["error_type"] for row in rows] == [None, "KeyError", "KeyError"]


def test_a_close_that_the_body_refuses_is_the_bodys_error(logger: TelemetryLogger) -> None:
    """What a bare generator raises is raised, and recorded."""

    @logger.instrumented("stubborn")
    def stubborn() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot close")

    stream = stubborn()
    next(stream)
    with pytest.raises(OSError, match="cannot close"):
        stream.close()
    (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"]) == ("error", "OSError")


async def test_an_async_close_that_the_body_refuses_is_the_bodys_error(telemetry: AsyncTelemetryLogger) -> None:
    """As of the sync one."""

    @telemetry.instrumented("stubborn")
    async def stubborn() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            raise OSError("cannot close")

    stream = stubborn()
    await anext(stream)
    with pytest.raises(OSError, match="cannot close"):
        await stream.aclose()  # type: ignore[attr-defined]
    assert [row["error_type"] for row in await telemetry.get_invocations()] == ["OSError"]


@pytest.mark.parametrize("end", ["aclose", "aclosing", "other task", "collect"])
async def test_an_async_generator_that_ends_early_is_recorded(telemetry: AsyncTelemetryLogger, end: str) -> None:
    """Closed here, in another task, or collected: success, cancelled, partial; nothing is raised."""
    closed = asyncio.Event()

    @telemetry.instrumented("stream", usage=lambda item: {"prompt_tokens": item})
    async def stream() -> Any:
        try:
            for number in range(5):
                await asyncio.sleep(0)
                yield number
        finally:
            await asyncio.sleep(0)
            closed.set()

    if end == "aclosing":
        async with aclosing(stream()) as items:
            async for _ in items:
                break
    else:
        items = stream()
        await anext(items)
        if end == "aclose":
            await items.aclose()
        elif end == "other task":
            await asyncio.create_task(items.aclose())
        del items
        gc.collect()
    await asyncio.wait_for(closed.wait(), 10)
    await asyncio.sleep(0)  # the collected one's closing task ends after its body does
    assert current.get() is None
    (row,) = await telemetry.get_invocations()
    assert (row["status"], row["finish_reason"], row["usage_source"]) == ("success", "cancelled", "partial")


def test_a_stream_that_is_open_when_its_loop_ends_is_closed_once_and_recorded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The loop's shutdown closes the decorated generator, and that the body; asyncio has nothing to complain of."""
    closed: list[str] = []
    with TelemetryLogger(tmp_path / "calls.db") as logger:

        @logger.instrumented("stream")
        async def stream() -> AsyncIterator[int]:
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                closed.append("body")

        async def main() -> AsyncIterator[int]:
            items = stream()
            await anext(items)
            return items

        asyncio.run(main())
        assert closed == ["body"]
        assert [row["finish_reason"] for row in logger.get_invocations()] == ["cancelled"]
    assert caplog.records == []


# Whose parent is whose


def test_a_stream_is_the_parent_of_its_bodys_calls_and_never_of_its_consumers(logger: TelemetryLogger) -> None:
    """Between two items the consumer's parent stays what it was, also with a block left open across a `yield`."""

    @logger.instrumented("stream")
    def stream() -> Iterator[int]:
        with logger.invocation("in-step"):
            pass
        with logger.invocation("across-yield"):
            yield 1
            with logger.invocation("deep"):
                yield 2
        with logger.invocation("after"):
            pass
        yield 3

    with logger.invocation("outer") as outer:
        for number in stream():
            assert current.get() is outer
            with logger.invocation(f"consumer-{number}"):
                pass
    assert current.get() is None
    rows = by_agent(logger.get_invocations())
    ids = {name: row["invocation_id"] for name, row in rows.items()}
    parents = {name: row["parent_invocation_id"] for name, row in rows.items()}
    assert parents == {
        "outer": None, "stream": ids["outer"], "in-step": ids["stream"], "across-yield": ids["stream"],
        "deep": ids["across-yield"], "after": ids["stream"],
        **dict.fromkeys(["consumer-1", "consumer-2", "consumer-3"], ids["outer"]),
    }  # fmt: skip


async def test_streams_interleaved_in_one_task_keep_their_calls_apart(telemetry: AsyncTelemetryLogger) -> None:
    """Sync and async ones, begun and ended in any order; a task made in a body belongs to its stream."""

    async def child(name: str) -> None:
        await asyncio.sleep(0)
        async with telemetry.invocation(f"{name}-child"):
            pass

    @telemetry.instrumented("sync")
    def sync_stream() -> Iterator[int]:
        for number in range(3):
            with telemetry.invocation("sync-child"):
                yield number

    def async_stream(name: str) -> Any:
        @telemetry.instrumented(name)
        async def stream() -> AsyncIterator[int]:
            for number in range(3):
                await asyncio.create_task(child(name))
                yield number

        return stream()

    one, two, three = sync_stream(), async_stream("one"), async_stream("two")
    seen = []
    for _ in range(3):
        seen += [next(one), await anext(two), await anext(three)]
        assert current.get() is None
        async with telemetry.invocation("consumer"):
            pass
    assert (next(one, None), await anext(three, None), await anext(two, None)) == (None, None, None)
    assert seen == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    rows = await telemetry.get_invocations()
    streams = {row["agent_name"]: row["invocation_id"] for row in rows if row["stream"]}
    for row in rows:
        owner = str(row["agent_name"]).removesuffix("-child")
        assert row["parent_invocation_id"] == (streams[owner] if row["agent_name"] != owner else None)
    assert len(rows) == 3 + 9 + 3


async def test_each_step_may_run_in_another_task_or_thread(telemetry: AsyncTelemetryLogger) -> None:
    """As web frameworks do: every step sees the stream as parent, and no context keeps it."""
    seen: list[str | None] = []

    def look() -> None:
        here = current.get()
        seen.append(None if here is None else here.invocation_id)

    @telemetry.instrumented("sync")
    def sync_stream() -> Iterator[None]:
        for _ in range(3):
            look()
            yield

    @telemetry.instrumented("async")
    async def async_stream() -> AsyncIterator[None]:
        for _ in range(3):
            await asyncio.sleep(0)
            look()
            yield

    stream, astream = sync_stream(), async_stream()

    def step() -> None:
        next(stream, None)
        assert current.get() is None

    async def astep() -> None:
        await anext(astream, None)
        assert current.get() is None

    for _ in range(4):
        await asyncio.to_thread(step)
        await asyncio.create_task(astep())
    rows = by_agent(await telemetry.get_invocations())
    assert seen == [rows["sync"]["invocation_id"], rows["async"]["invocation_id"]] * 3


def test_a_step_that_is_collected_in_another_context_leaves_that_context_alone(logger: TelemetryLogger) -> None:
    """A loop that was stopped in mid-step: its coroutine is closed where another call is current."""

    @logger.instrumented("stream")
    async def stream() -> AsyncIterator[int]:
        await asyncio.Future()
        yield 1

    loop = asyncio.new_event_loop()
    try:

        async def consume() -> None:
            with logger.invocation("consumer"):
                await anext(stream())

        coroutine = consume()
        task_context = copy_context()
        task_context.run(loop.run_until_complete, asyncio.sleep(0))
        steps = coroutine.__await__()

        async def once() -> None:
            task_context.run(steps.send, None)

        loop.run_until_complete(once())
        with logger.invocation("elsewhere") as elsewhere:
            steps.close()
            coroutine.close()
            assert current.get() is elsewhere
        assert current.get() is None
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
    rows = by_agent(logger.get_invocations())
    assert rows["stream"]["parent_invocation_id"] == rows["consumer"]["invocation_id"]
    assert rows["elsewhere"]["parent_invocation_id"] is None


def test_other_decorators_go_above_and_below(logger: TelemetryLogger) -> None:
    """Each runs in its place."""

    def twice(function: Callable[[], int]) -> Callable[[], int]:
        @wraps(function)
        def call() -> int:
            return function() + function()

        return call

    assert twice(logger.instrumented("inside")(lambda: 2))() == 4
    assert logger.instrumented("outside")(twice(lambda: 2))() == 4
    agents = [row["agent_name"] for row in logger.get_invocations()]
    assert (agents.count("inside"), agents.count("outside")) == (2, 1)


async def test_a_coroutine_that_says_nothing_of_its_usage_is_recorded_all_the_same(
    telemetry: AsyncTelemetryLogger,
) -> None:
    """What it cost is unknown, not 0."""

    @telemetry.instrumented("silent")
    async def ask() -> str:
        return "answer"

    assert await ask() == "answer"
    (row,) = await telemetry.get_invocations()
    assert (row["agent_name"], row["status"], row["prompt_tokens"]) == ("silent", "success", None)


def test_a_later_part_that_is_no_number_leaves_the_count_that_was_read(logger: TelemetryLogger) -> None:
    """Of a stream, say: a provider fills it in once."""
    parts = [{"prompt_tokens": 7, "completion_tokens": 2}, {"prompt_tokens": "unknown", "completion_tokens": 3}]
    assert list(logger.wrap_stream(iter(parts), "stream", usage=lambda part: part)) == parts
    (row,) = logger.get_invocations()
    assert (row["prompt_tokens"], row["completion_tokens"]) == (7, 3)


async def test_a_generator_that_is_awaited_stays_one(telemetry: AsyncTelemetryLogger) -> None:
    """Of `types.coroutine`, as frameworks have them."""

    @telemetry.instrumented(agent_name="a")
    @types.coroutine
    def ask() -> Any:
        yield from asyncio.sleep(0).__await__()
        return 42

    assert await ask() == 42
    (row,) = await telemetry.get_invocations()
    assert (row["agent_name"], row["status"]) == ("a", "success")
