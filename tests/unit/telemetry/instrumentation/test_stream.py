"""`wrap_stream`: the same stream to its user, and one record of it at whichever end comes first."""

import asyncio
import copy
import gc
import pickle
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, closing
from pathlib import Path
from typing import Any, Self

import pytest

from llm_service.pricing.usage import openai_usage
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.open_blocks import current
from llm_service.telemetry.instrumentation.responses import stream_events


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


class Response:
    """A client's stream as the SDKs make them: iterable either way, a context manager, with attributes of its own."""

    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.position = 0
        self.ends: list[str] = []
        self.status_code = 200

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:
        if self.position == len(self.items):
            raise StopIteration
        self.position += 1
        item = self.items[self.position - 1]
        if isinstance(item, BaseException):
            raise item
        return item

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Any:
        await asyncio.sleep(0)
        try:
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    def __enter__(self) -> Self:
        self.ends.append("enter")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        self.ends.append("exit")
        return kind is KeyError

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> bool:
        return self.__exit__(kind, error, traceback)

    def close(self) -> str:
        self.ends.append("close")
        return "closed"


def count(item: Any) -> dict[str, Any]:
    """Usage of an item."""
    return {"completion_tokens": item}


def outcome(row: Any) -> tuple[Any, ...]:
    """What a row says of its end."""
    return row["status"], row["error_type"], row["finish_reason"], row["completion_tokens"], row["usage_source"]


ENDED = ("success", None, None, 3, None)
EARLY = ("success", None, "cancelled", 1, "partial")


@pytest.mark.parametrize("source", [Response([1, 2, 3]), [1, 2, 3], (n for n in (1, 2, 3))], ids=["sdk", "list", "gen"])
def test_the_items_of_an_iterator_pass_and_are_recorded_once(logger: TelemetryLogger, source: Any) -> None:
    """An iterable will do; the time to the first item counts from the wrapping; a further `next` records nothing."""
    stream = logger.wrap_stream(source, "agent", "tool", "model", usage=count, provider="p")
    assert list(stream) == [1, 2, 3]
    assert list(stream) == []
    del stream
    (row,) = logger.get_invocations()
    assert outcome(row) == ENDED
    assert (row["agent_name"], row["tool_name"], row["model_name"], row["provider"]) == ("agent", "tool", "model", "p")
    assert row["stream"] is True
    assert 0 <= row["ttft_ms"] <= row["latency_ms"]  # type: ignore[operator]


async def test_the_items_of_an_async_iterator_pass_and_are_recorded_once(telemetry: AsyncTelemetryLogger) -> None:
    """An SDK's stream, an async generator, and an object that only gives one."""

    async def generator() -> AsyncIterator[int]:
        for number in (1, 2, 3):
            yield number

    class Iterable:
        def __aiter__(self) -> AsyncIterator[int]:
            return generator()

    sources: list[Any] = [Response([1, 2, 3]), generator(), Iterable()]
    for source in sources:
        stream = telemetry.wrap_stream(source, "agent", usage=count)
        assert [item async for item in stream] == [1, 2, 3]
        assert [item async for item in stream] == []
    assert [outcome(row) for row in await telemetry.get_invocations()] == [ENDED] * 3


async def test_a_stream_object_is_itself_in_all_but_its_iteration(telemetry: AsyncTelemetryLogger) -> None:
    """Attributes are forwarded, its own context managers run, and an exception it swallows stays swallowed."""
    response = Response([1, 2])
    stream = telemetry.wrap_stream(response, "agent", usage=count)
    assert stream.status_code == 200
    assert repr(response) in repr(stream)
    with pytest.raises(AttributeError, match="colour"):
        _ = stream.colour  # type: ignore[attr-defined]
    with stream as entered:
        assert entered is stream
        assert next(entered) == 1
        raise KeyError  # `Response` swallows it
    async with telemetry.wrap_stream(response, "agent", usage=count) as astream:
        assert [item async for item in astream] == [2]
    with pytest.raises(ValueError, match="mine"):
        async with telemetry.wrap_stream(response, "agent"):
            raise ValueError("mine")
    assert response.ends == ["enter", "exit"] * 3
    rows = await telemetry.get_invocations()
    assert [outcome(row) for row in reversed(rows)] == [
        EARLY, ("success", None, None, 2, None), ("success", None, "cancelled", None, None),
    ]  # fmt: skip


async def test_a_manager_that_gives_the_stream_may_be_wrapped(telemetry: AsyncTelemetryLogger) -> None:
    """Sync and async: the iteration is that of what its `with` gives, and its exit is its own."""
    response = Response([1, 2, 3])
    left: list[str] = []

    class Manager:
        def __enter__(self) -> Response:
            return response

        def __exit__(self, *_: object) -> None:
            left.append("sync")

    class AsyncManager:
        async def __aenter__(self) -> Response:
            response.position = 0
            return response

        async def __aexit__(self, *_: object) -> None:
            left.append("async")

    with telemetry.wrap_stream(Manager(), "agent", usage=count) as stream:
        assert list(stream) == [1, 2, 3]
        assert stream.status_code == 200
    async with telemetry.wrap_stream(AsyncManager(), "agent", usage=count) as astream:
        assert [item async for item in astream] == [1, 2, 3]
    assert left == ["sync", "async"]
    assert [outcome(row) for row in await telemetry.get_invocations()] == [ENDED] * 2


async def test_a_with_block_closes_what_has_no_block_of_its_own(telemetry: AsyncTelemetryLogger) -> None:
    """A generator is closed, what cannot be closed is let be."""
    closed: list[str] = []

    def generator() -> Iterator[int]:
        try:
            yield 1
        finally:
            closed.append("sync")

    async def async_generator() -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            closed.append("async")

    wrap: Any = telemetry.wrap_stream
    with wrap(generator(), usage=count) as stream:
        assert next(stream) == 1
    async with wrap(async_generator(), usage=count) as astream:
        assert await anext(astream) == 1
    assert closed == ["sync", "async"]
    with wrap([1], usage=count) as stream:
        assert next(stream) == 1
    assert [outcome(row) for row in await telemetry.get_invocations()] == [EARLY] * 3


@pytest.mark.parametrize("end", ["close", "closing", "collect", "break"])
def test_an_early_end_is_recorded_when_it_comes(logger: TelemetryLogger, end: str) -> None:
    """Once, and the wrapped object is closed where a close was asked for."""
    response = Response([1, 2, 3])
    stream = logger.wrap_stream(response, "agent", usage=count)
    if end == "closing":
        with closing(stream):
            next(stream)
    elif end == "break":
        for _ in stream:
            break
    else:
        next(stream)
    if end == "close":
        assert stream.close() == "closed"
        assert stream.close() == "closed"
    del stream
    gc.collect()
    assert [outcome(row) for row in logger.get_invocations()] == [EARLY]
    assert response.ends == {"close": ["close"] * 2, "closing": ["close"]}.get(end, [])


async def test_an_async_early_end_is_recorded_when_it_comes(telemetry: AsyncTelemetryLogger) -> None:
    """By `aclose`, a `close` that is awaited, or collection."""

    class AsyncOnly:
        def __init__(self) -> None:
            self.closed = False

        def __aiter__(self) -> Self:
            return self

        async def __anext__(self) -> int:
            return 1

        async def close(self) -> None:
            await asyncio.sleep(0)
            self.closed = True

    sources = [AsyncOnly(), AsyncOnly(), AsyncOnly()]
    wrapped: list[Any] = [telemetry.wrap_stream(source, usage=count) for source in sources]
    assert [await anext(stream) for stream in wrapped] == [1, 1, 1]
    async with aclosing(wrapped[0]):
        pass
    await wrapped[1].close()
    wrapped.clear()
    gc.collect()
    assert [source.closed for source in sources] == [True, True, False]
    async with aclosing(telemetry.wrap_stream(aiter(Response([])))):  # type: ignore[type-var] # closed without await
        pass
    rows = await telemetry.get_invocations()
    assert [outcome(row) for row in reversed(rows)][:3] == [EARLY] * 3


@pytest.mark.parametrize("way", ["sync", "async"])
async def test_an_error_of_the_stream_passes_and_is_recorded(telemetry: AsyncTelemetryLogger, way: str) -> None:
    """With what was seen of the usage, as a lower bound."""
    error = ConnectionError("reset")
    stream = telemetry.wrap_stream(Response([1, error, 2]), "agent", usage=count)
    with pytest.raises(ConnectionError) as caught:
        list(stream) if way == "sync" else [item async for item in stream]
    assert caught.value is error
    (row,) = await telemetry.get_invocations()
    assert outcome(row) == ("error", "ConnectionError", None, 1, "partial")


async def test_a_wrapped_generator_still_takes_send_and_throw(telemetry: AsyncTelemetryLogger) -> None:
    """They are steps like any other: the item counts, and the end is the end."""

    def generator() -> Any:
        try:
            yield (yield 1)
        except KeyError:
            yield 7

    async def async_generator() -> Any:
        try:
            yield (yield 1)
        except KeyError:
            yield 7

    stream: Any = telemetry.wrap_stream(generator(), usage=count)
    assert (next(stream), stream.send(5), stream.throw(KeyError()), list(stream)) == (1, 5, 7, [])
    astream: Any = telemetry.wrap_stream(async_generator(), usage=count)
    assert await anext(astream) == 1
    assert await astream.asend(5) == 5
    assert await astream.athrow(KeyError()) == 7
    assert [item async for item in astream] == []
    assert [row["completion_tokens"] for row in await telemetry.get_invocations()] == [7, 7]


async def test_the_stream_is_parent_within_its_steps_only(telemetry: AsyncTelemetryLogger) -> None:
    """Its own parent is the call that was current when it was wrapped."""

    class Nested:
        def __iter__(self) -> Iterator[int]:
            for number in range(2):
                with telemetry.invocation("nested"):
                    yield number

    with telemetry.invocation("outer") as outer:
        stream = telemetry.wrap_stream(Nested(), "stream")
    for _ in stream:
        assert current.get() is None
        with telemetry.invocation("consumer"):
            pass
    rows = await telemetry.get_invocations()
    (own,) = [row for row in rows if row["agent_name"] == "stream"]
    assert own["parent_invocation_id"] == outer.invocation_id
    assert {row["parent_invocation_id"] for row in rows if row["agent_name"] == "nested"} == {own["invocation_id"]}
    assert {row["parent_invocation_id"] for row in rows if row["agent_name"] == "consumer"} == {None}


async def test_what_cannot_be_iterated_is_refused_with_a_remedy(telemetry: AsyncTelemetryLogger) -> None:
    """Nothing is recorded."""
    with pytest.raises(TypeError, match="give an iterator"):
        telemetry.wrap_stream(5)
    with pytest.raises(TypeError, match="usage"):
        telemetry.wrap_stream([], usage=5)  # type: ignore[call-overload]
    assert telemetry.stats().ledger.submitted == 0


def test_a_stream_object_that_was_never_set_up_has_no_attributes(logger: TelemetryLogger) -> None:
    """An AttributeError, not a recursion; and none can be copied or pickled, as no generator can."""
    stream = logger.wrap_stream([1])
    blank = object.__new__(type(stream))
    with pytest.raises(AttributeError):
        _ = blank.anything  # type: ignore[attr-defined]
    del blank
    for make in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="recorded stream"):
            make(stream)


FAILED: dict[str, Any] = {
    "object": "response", "status": "failed", "error": {"code": "server_error", "message": "no luck"},
    "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5},
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "error"),
    [
        ({"type": "response.failed", "response": FAILED}, "server_error"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "no luck"}}, "overloaded_error"),
        ({"type": "error", "code": "server_error", "message": "no luck"}, "server_error"),
    ],
)
async def test_a_stream_that_says_that_it_failed_is_no_success(
    logger: TelemetryLogger, telemetry: AsyncTelemetryLogger, event: dict[str, Any], error: str
) -> None:
    """Though it ended by itself, and its usage was read."""
    items = [{"type": "response.created", "response": {}}, event]
    assert list(logger.wrap_stream(iter(items), "sync", usage=openai_usage)) == items
    assert [item async for item in telemetry.wrap_stream(Response(items), "async", usage=openai_usage)] == items
    logger.flush()
    for name in ("sync", "async"):
        (row,) = await telemetry.get_invocations(agent_name=name)
        assert (row["status"], row["error_type"], row["error_message"]) == ("error", error, "no luck")
        assert row["total_tokens"] == (5 if "response" in event else None)


@pytest.mark.parametrize(
    "items",
    [["4", "2"], [b"4"], [1, None], [{"text": "4", "model": "m"}], [("a", 1)], [object()]],
    ids=["texts", "bytes", "numbers", "home-made", "tuples", "objects"],
)
def test_a_stream_of_anything_is_recorded_as_it_was_said(logger: TelemetryLogger, items: list[Any]) -> None:
    """What is no provider's event tells nothing, and its end is no error."""
    assert list(logger.wrap_stream(iter(items), "a", model_name="said")) == items
    (row,) = logger.get_invocations()
    assert (row["status"], row["model_name"], row["request_model"]) == ("success", "said", None)
    assert (row["prompt_tokens"], row["usage_source"], row["ttft_ms"] is not None) == (None, None, True)
    assert logger.stats().bad_values == 0


@pytest.mark.parametrize("request_it", [False, True])
async def test_a_stream_without_any_item_is_no_success(
    logger: TelemetryLogger, telemetry: AsyncTelemetryLogger, *, request_it: bool
) -> None:
    """As in a block that watches it; a reader of usage says by itself what an item is."""
    nothing = iter(()) if not request_it else lambda: iter(())
    assert list(logger.wrap_stream(nothing, "sync")) == []
    assert [item async for item in telemetry.wrap_stream(Response([]), "async")] == []
    assert list(logger.wrap_stream(iter(()), "read", usage=lambda _: {})) == []
    logger.flush()
    found = {row["agent_name"]: (row["status"], row["error_type"]) for row in await telemetry.get_invocations()}
    cut = ("error", "incomplete_stream")
    assert found == {"sync": cut, "async": cut, "read": ("success", None)}


def test_usage_beside_home_made_items_is_read(logger: TelemetryLogger) -> None:
    """As texts, and at last what was used."""
    items = ["4", "2", {"usage": {"prompt_tokens": 10, "completion_tokens": 2}}]
    assert list(logger.wrap_stream(iter(items), "a")) == items
    assert [row["total_tokens"] for row in logger.get_invocations()] == [12]


def test_a_clients_stream_without_usage_is_said_once(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture) -> None:
    """OpenAI's chat completions, asked for none."""
    chunk = {"object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": {"content": "4"}}]}
    end = chunk | {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    for _ in range(2):
        list(logger.wrap_stream(iter([chunk, end]), "a"))
    assert [record.message.partition(",")[0] for record in caplog.records] == ["telemetry: a stream told no usage"]
    assert {row["finish_reason"] for row in logger.get_invocations()} == {"stop"}


def test_a_chat_that_is_cut_is_no_success_and_not_said_to_lack_an_option(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """By a proxy, say, with a clean end: nothing told how it ended or what it used."""
    chunk = {"object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": {"content": "4"}}]}
    list(logger.wrap_stream(iter([chunk]), "a"))
    with logger.invocation("b") as call:
        list(call.watch(iter([chunk])))
    assert {(row["status"], row["error_type"]) for row in logger.get_invocations()} == {("error", "incomplete_stream")}
    assert not caplog.records


def test_strict_raises_at_an_item_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the call is recorded as the error that it is."""
    monkeypatch.setattr(stream_events, "facts_of", lambda _: 1 / 0)
    chunk = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "4"}}]}
    with TelemetryLogger(tmp_path / "strict.db", strict=True) as strict:
        with pytest.raises(TypeError, match="could not be read"):
            next(strict.wrap_stream(iter([chunk]), "a"))
        assert [row["status"] for row in strict.get_invocations()] == ["error"]
