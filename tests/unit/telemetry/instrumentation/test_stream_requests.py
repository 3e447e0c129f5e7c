"""`wrap_stream` of a request: nothing is sent that its budget refuses, and what the request does is the call's."""

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from pathlib import Path
from typing import Any, Self

import pytest
from tests.model.ledger import check_books, policies

from llm_service.errors import BudgetExceeded, SettingsError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger

LIMITED = policies(default=10)


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database will be."""
    return tmp_path / "calls.db"


class Client:
    """Gives streams as the SDKs do, and notes what is sent and closed."""

    def __init__(self, fails: str = "", takes: float = 0.0) -> None:
        self.fails = fails
        self.takes = takes
        self.notes: list[str] = []

    def create(self) -> "SyncAnswer":
        """Send a request."""
        self.notes.append("sent")
        time.sleep(self.takes)
        if self.fails == "request":
            raise ConnectionError("no route")
        return SyncAnswer(self)

    async def acreate(self) -> "AsyncAnswer":
        """Send a request."""
        self.notes.append("sent")
        await asyncio.sleep(self.takes)
        if self.fails == "request":
            raise ConnectionError("no route")
        return AsyncAnswer(self)


class Answer:
    """Three items of a cent each; an error after the first where the client fails so."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.items = 0
        self.status_code = 200

    def take(self, end: type[Exception]) -> float:
        """The next item."""
        if self.client.fails == "item" and self.items == 1:
            raise ConnectionError("reset")
        if self.items == 3:
            raise end
        self.items += 1
        return 0.01 * self.items


class SyncAnswer(Answer):
    """For `for` and `with`."""

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> float:
        return self.take(StopIteration)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self.client.notes.append("closed")


class AsyncAnswer(Answer):
    """For `async for` and `async with`."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> float:
        return self.take(StopAsyncIteration)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.sleep(0)
        self.client.notes.append("closed")


def usage(cost: float) -> dict[str, Any]:
    """Of an item."""
    return {"cost_usd": cost}


GIVEN: dict[str, Callable[[Client], Any]] = {
    "coroutine": Client.acreate,
    "function of a coroutine": lambda client: partial(client.acreate),
}


async def consume(stream: Any, end: str) -> None:
    """To its end, or only its first item; sync or async."""
    if isinstance(stream, AsyncIterator):
        async for _ in stream:
            if end == "break":
                break
    else:
        for _ in stream:
            if end == "break":
                break


async def closed(logger: Any) -> None:
    """All records are on disk."""
    gc.collect()
    await (logger.aclose() if isinstance(logger, AsyncTelemetryLogger) else asyncio.to_thread(logger.close))


ENDS = {
    "natural": ("success", None, None, 0.03),
    "break": ("success", None, "cancelled", 0.01),
    "item": ("error", "ConnectionError", None, 0.01),
    "request": ("error", "ConnectionError", None, None),
    "refused": None,
}


@pytest.mark.parametrize(
    ("end", "budget"), [(end, budget) for end in ENDS for budget in ((11,) if end == "refused" else (False, 0.5))]
)
@pytest.mark.parametrize(
    "given", ["open", "coroutine", "function of a coroutine", "function of a stream", "sync open", "sync function"]
)
async def test_a_stream_gives_one_record_however_it_is_given_and_ends(
    db: Path, given: str, end: str, budget: float | bool
) -> None:
    """Refused, an open one is closed, and a request is not sent; no coroutine is left that Python warns of."""
    is_open, client = given.endswith("open"), Client(fails=end)
    logger: Any = (TelemetryLogger if given.startswith("sync") else AsyncTelemetryLogger)(db, policies=LIMITED)
    makers: dict[str, Callable[[], Any]] = {
        "coroutine": client.acreate,
        "function of a coroutine": lambda: client.acreate,
        "function of a stream": lambda: lambda: AsyncAnswer(client) if end != "request" else client.create(),
        "sync function": lambda: client.create,
        "sync open": client.create,
    }
    if is_open and end == "request":
        await closed(logger)
        return  # it had failed before
    made = await client.acreate() if given == "open" else makers[given]()
    if end in {"item", "request", "refused"}:
        with pytest.raises(BudgetExceeded if end == "refused" else ConnectionError):
            await consume(logger.wrap_stream(made, "a", usage=usage, budget=budget), end)
    else:
        await consume(logger.wrap_stream(made, "a", usage=usage, budget=budget), end)
    del made
    await closed(logger)
    rows = TelemetryLogger(db).get_invocations()
    if end == "refused":
        assert (client.notes, rows) == (["sent", "closed"] if is_open else [], [])
    else:
        (row,) = rows
        assert (row["status"], row["error_type"], row["finish_reason"], row["cost_usd"]) == ENDS[end]
        if end == "request":
            assert row["error_message"] == "no route"
            assert row["ttft_ms"] is None
    check_books(db)


@pytest.mark.parametrize("given", GIVEN)
async def test_an_async_request_is_sent_by_the_first_step_and_timed_from_there(db: Path, given: str) -> None:
    """By `async with`, too, which closes it; its attributes come with it."""
    client = Client(takes=0.05)
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        stream = logger.wrap_stream(GIVEN[given](client), "a", usage=usage, budget=0.5)
        assert client.notes == []
        for name in ("status_code", "asend"):
            with pytest.raises(TypeError, match=f"{name}: the request of this stream is not sent yet; enter it"):
                getattr(stream, name)
        assert "recorded" in repr(stream)
        async with stream as entered:
            assert entered is stream
            assert entered.status_code == 200
            assert [item async for item in entered] == [0.01, 0.02, 0.03]
        assert client.notes == ["sent", "closed"]
        (row,) = await logger.get_invocations()
        assert 45 <= (row["ttft_ms"] or 0) <= (row["latency_ms"] or 0)


async def test_a_task_is_awaited_or_cancelled(db: Path) -> None:
    """Its request is under way, whatever its budget says."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        task = asyncio.ensure_future(Client().acreate())
        assert [item async for item in logger.wrap_stream(task, budget=0.5)] == [0.01, 0.02, 0.03]
        refused = asyncio.ensure_future(Client(takes=60).acreate())
        with pytest.raises(BudgetExceeded):
            await anext(logger.wrap_stream(refused, budget=11))
        with pytest.raises(asyncio.CancelledError):
            await refused


def test_a_sync_request_is_sent_at_once_and_timed_from_there(db: Path) -> None:
    """Its budget is reserved before; `with` and attributes are the stream's own."""
    client = Client(takes=0.05)
    with TelemetryLogger(db, policies=LIMITED) as logger:
        with logger.wrap_stream(client.create, "a", usage=usage, budget=0.5) as stream:
            assert stream.status_code == 200
            assert list(stream) == [0.01, 0.02, 0.03]
        assert client.notes == ["sent", "closed"]
        (row,) = logger.get_invocations()
        assert (row["ttft_ms"] or 0) >= 45


@pytest.mark.parametrize("given", ["coroutine", "function"])
@pytest.mark.parametrize("way", ["aclose", "aclosing", "close"])
async def test_a_request_that_is_closed_before_its_first_step_is_never_sent(db: Path, given: str, way: str) -> None:
    """Nor recorded, nor held; a step afterwards is an error."""
    client = Client()
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        stream: Any = logger.wrap_stream(client.acreate() if given == "coroutine" else client.acreate, budget=0.5)
        if way == "aclosing":
            async with aclosing(stream):
                pass
        else:
            await getattr(stream, way)()
        with pytest.raises(RuntimeError, match="was closed"):
            await anext(stream)
        with pytest.raises(AttributeError, match="never opened"):
            _ = stream.status_code
        assert (client.notes, await logger.get_invocations(), await logger.budgets.holds()) == ([], [], [])


async def test_a_refused_stream_stays_shut(db: Path) -> None:
    """A second step does not try again: an open one is closed."""
    client = Client()
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        for given in (await client.acreate(), client.acreate()):
            stream = logger.wrap_stream(given, budget=11)
            with pytest.raises(BudgetExceeded):
                await anext(stream)
            with pytest.raises(RuntimeError, match="refused"):
                await anext(stream)
        assert client.notes == ["sent", "closed"]


async def test_a_stream_that_is_closed_while_its_budget_is_reserved_gives_it_back(db: Path) -> None:
    """Nothing is sent."""
    client = Client()
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        stream = logger.wrap_stream(client.acreate, budget=0.5)
        step = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await stream.aclose()  # type: ignore[attr-defined]
        with pytest.raises(RuntimeError, match="closed"):
            await step
        assert (client.notes, await logger.budgets.holds()) == ([], [])


@pytest.mark.parametrize("way", ["aclose", "close"])
async def test_a_stream_that_is_closed_while_its_request_is_sent_gives_nothing_and_is_closed(
    db: Path, way: str
) -> None:
    """By another task: the record says so, and the stream that comes after all is closed."""
    client = Client(takes=0.1)
    async with AsyncTelemetryLogger(db) as telemetry:
        stream = telemetry.wrap_stream(client.acreate(), "a")
        items: list[Any] = []

        async def consume() -> None:
            items.extend([item async for item in stream])

        task = asyncio.create_task(consume())
        await asyncio.sleep(0.01)
        assert client.notes == ["sent"]
        await getattr(stream, way)()
        with pytest.raises(RuntimeError, match="closed while its request was being sent"):
            await task
        (row,) = await telemetry.get_invocations()
    assert items == []
    assert client.notes == ["sent", "closed"]
    assert (row["status"], row["finish_reason"], row["cost_usd"]) == ("success", "cancelled", None)


def test_a_stream_that_is_closed_while_another_thread_sends_its_request(db: Path) -> None:
    """As above, with a function that the first step calls."""
    client = Client()
    telemetry = AsyncTelemetryLogger(db)

    def create() -> SyncAnswer:
        stream.close()
        return client.create()

    stream: Any = telemetry.wrap_stream(create, "a")
    with pytest.raises(RuntimeError, match="closed while its request was being sent"):
        next(stream)
    assert client.notes == ["sent", "closed"]
    asyncio.run(telemetry.aclose())


async def test_a_request_that_gives_no_stream_is_an_error_of_the_call(db: Path) -> None:
    """`stream=True` was forgotten, or the stream is of the other kind, which is closed."""

    async def whole() -> Any:
        return 42

    client = Client()
    async with AsyncTelemetryLogger(db) as logger:
        with pytest.raises(TypeError, match="did you leave out stream=True"):
            await anext(logger.wrap_stream(whole(), "a"))
        with pytest.raises(TypeError, match="consume it with `for`"):
            await anext(logger.wrap_stream(client.create, "a"))  # type: ignore[call-overload]
        with pytest.raises(TypeError, match="cannot wait for"):
            next(logger.wrap_stream(lambda: client.acreate(), "a"))  # type: ignore[call-overload] # noqa: PLW0108
        assert list(logger.wrap_stream(client.create, "a")) == [0.01, 0.02, 0.03]  # sync, and without a budget
        with logger.wrap_stream(client.create, "a") as stream:
            next(stream)
        assert client.notes == ["sent", "closed", "sent", "sent", "closed"]
        rows = await logger.get_invocations()
        assert [row["error_type"] for row in rows] == [None, None, "TypeError", "TypeError", "TypeError"]


async def test_the_sync_face_records_async_requests_without_a_budget(db: Path) -> None:
    """It waits for nothing then; with one it would block the loop, and refuses where it can tell."""
    client = Client()
    with TelemetryLogger(db, policies=LIMITED) as logger:
        for given in (client.acreate(), client.acreate, await client.acreate()):
            assert [item async for item in logger.wrap_stream(given, "a")] == [0.01, 0.02, 0.03]
        sent = len(client.notes)
        for given in (client.acreate(), client.acreate):
            with pytest.raises(TypeError, match="use the other logger"):
                logger.wrap_stream(given, "a", budget=0.5)
        assert len(client.notes) == sent
        with pytest.raises(TypeError, match="use AsyncTelemetryLogger"):
            logger.wrap_stream(lambda: client.acreate(), "a", budget=0.5)  # noqa: PLW0108
        assert len(client.notes) == sent
        assert len(logger.get_invocations()) == 4


async def test_a_coroutine_is_closed_where_wrapping_is_refused(db: Path) -> None:
    """Python would warn that it was never awaited."""
    client = Client()
    async with AsyncTelemetryLogger(db) as logger:
        with pytest.raises(SettingsError, match="policies"):
            logger.wrap_stream(client.acreate(), budget=0.5)
        with pytest.raises(TypeError, match="usage"):
            logger.wrap_stream(client.acreate(), usage=5)  # type: ignore[call-overload]
    gc.collect()


async def test_a_manager_that_cannot_be_entered_is_an_error_of_the_call(db: Path) -> None:
    """Anthropic's `messages.stream(...)` sends its request there."""

    class Manager:
        def __enter__(self) -> Any:
            raise ConnectionError("no route")

        def __exit__(self, *_: object) -> None: ...

        async def __aenter__(self) -> Any:
            raise ConnectionError("no route")

        async def __aexit__(self, *_: object) -> None: ...

    async with AsyncTelemetryLogger(db) as logger:
        with pytest.raises(ConnectionError), logger.wrap_stream(Manager(), "a"):
            pass
        with pytest.raises(ConnectionError):
            async with logger.wrap_stream(Manager, "a"):
                pass
        rows = await logger.get_invocations()
        assert [(row["error_type"], row["error_message"]) for row in rows] == [("ConnectionError", "no route")] * 2


async def test_a_refused_stream_that_cannot_be_closed_is_told_in_the_log(
    db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The refusal is what is raised."""

    class Stubborn(AsyncAnswer):
        async def close(self) -> None:
            raise OSError("it stays open")

        def __iter__(self) -> Any:
            return self

    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        with pytest.raises(BudgetExceeded):
            await anext(logger.wrap_stream(Stubborn(Client()), budget=11))
    assert "a refused stream could not be closed: OSError: it stays open" in caplog.text
    with TelemetryLogger(db, policies=LIMITED) as sync, pytest.raises(BudgetExceeded):
        sync.wrap_stream(Stubborn(Client()), budget=11)  # its close would have to be awaited


@pytest.mark.parametrize("face", [TelemetryLogger, AsyncTelemetryLogger])
async def test_a_stream_without_any_usage_is_told_once_with_the_remedy(
    db: Path, face: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """OpenAI tells of none unless it is asked; not where no reader was given, nothing came, or it was left early."""
    logger = face(db)
    for reader, stream, end in (
        (None, [1], ""),
        (dict, [], ""),
        (lambda _: None, [1, 2], "break"),
        (lambda _: {"cost_usd": 0.5}, [1], ""),
        (lambda _: None, [1, 2], ""),
        (lambda _: None, [1, 2], ""),
    ):
        before = len(caplog.records)
        await consume(logger.wrap_stream(iter(stream), usage=reader), end)
        assert len(caplog.records) - before == (stream == [1, 2] and end == "" and before == 0)
    given = AsyncAnswer(Client())
    await consume(logger.wrap_stream(given, usage=lambda _: None), "")
    await closed(logger)
    (said,) = [record.message for record in caplog.records]
    assert "stream_options={'include_usage': True}" in said
