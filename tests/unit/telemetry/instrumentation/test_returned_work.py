"""A decorated plain function that returns what has yet to run: its call ends where that does, on both faces."""

import asyncio
import contextvars
import gc
import types
import warnings
from asyncio import Future, Task
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Generator, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import pytest
from tests.model.ledger import policies

from llm_service.config.schemas import ModelsConfig
from llm_service.errors import BudgetExceeded
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.instrumentation.decorator import _UNFINISHED
from llm_service.telemetry.instrumentation.open_blocks import current

USAGE = {"prompt_tokens": 7, "completion_tokens": 2, "cost_usd": 0.5}
Work = Callable[[], Any]


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """With limits, which holds no file open after the test."""
    with TelemetryLogger(tmp_path / "calls.db", models=ModelsConfig(), policies=policies(default=10)) as made:
        yield made


def rows(logger: TelemetryLogger) -> list[tuple[Any, ...]]:
    """What is told of each call."""
    fields = ("agent_name", "status", "error_type", "finish_reason", "prompt_tokens", "stream")
    return [tuple(row[field] for field in fields) for row in logger.get_invocations()]


async def coroutine(work: Work) -> Any:
    """A coroutine that does the work when it is awaited."""
    await asyncio.sleep(0)
    return work()


def generator(work: Work) -> Generator[Any, Any, Any]:
    """The same in steps."""
    yield work()


async def async_generator(work: Work) -> AsyncGenerator[Any, Any]:
    """And on a loop."""
    yield work()


def future(work: Work) -> "Future[Any]":
    """What is done soon."""
    made: Future[Any] = asyncio.get_running_loop().create_future()

    def done() -> None:
        try:
            made.set_result(work())
        except BaseException as error:  # noqa: BLE001 - to be raised by who awaits it
            made.set_exception(error)

    asyncio.get_running_loop().call_soon(done)
    return made


def task(work: Work) -> "Task[Any]":
    """A task, which runs without being awaited."""
    return asyncio.get_running_loop().create_task(coroutine(work))


def submitted(work: Work) -> "futures.Future[Any]":
    """What a pool of threads does."""
    with futures.ThreadPoolExecutor(1) as pool:
        return pool.submit(work)


KINDS: dict[Any, Any] = {
    types.CoroutineType: coroutine, types.GeneratorType: generator, types.AsyncGeneratorType: async_generator,
    Future: future, Task: task, futures.Future: submitted,
}  # fmt: skip
IN_STEPS = {types.GeneratorType, types.AsyncGeneratorType}


async def ended(result: Any) -> Any:
    """What it comes to, read to its end."""
    if isinstance(result, types.GeneratorType):
        (item,) = list(result)
        return item
    if isinstance(result, types.AsyncGeneratorType):
        (item,) = [item async for item in result]
        return item
    if isinstance(result, futures.Future):
        return result.result()
    return await result


def test_each_kind_that_the_decorator_knows_is_tried() -> None:
    """The list is its own."""
    assert KINDS.keys() == _UNFINISHED.keys()


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("budget", [False, 1])
async def test_a_call_is_what_its_work_comes_to(logger: TelemetryLogger, kind: Any, budget: Any) -> None:
    """Its usage and its failure, and of its budget what it cost; nothing stays current, and the type is the same."""

    def fails() -> Any:
        raise ConnectionError("no route")

    def during() -> Any:
        assert kind in {Future, futures.Future} or current.get() is not None  # those run elsewhere
        return USAGE

    decorate = logger.instrumented("a", usage=lambda answer: answer, budget=budget)
    ask = decorate(lambda: KINDS[kind](during))
    result = ask()
    assert type(result) is kind or issubclass(kind, Future)
    assert current.get() is None
    assert await ended(result) == USAGE
    broken = decorate(lambda: KINDS[kind](fails))
    with pytest.raises(ConnectionError):
        await ended(broken())
    await asyncio.sleep(0)
    stream = True if kind in IN_STEPS else None
    assert rows(logger) == [
        ("a", "error", "ConnectionError", None, None, stream),
        ("a", "success", None, None, 7, stream),
    ]
    logger.flush()
    if budget:
        (status,) = logger.budgets.status()
        assert (status["spent"], status["reserved"], status["calls"]) == (0.5, 0, 2)
    assert current.get() is None


@pytest.mark.parametrize("kind", [types.CoroutineType, *IN_STEPS], ids=lambda kind: kind.__name__)
def test_what_is_never_run_is_as_left_by_its_consumer(logger: TelemetryLogger, kind: Any) -> None:
    """Once, when it is collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # never awaited
        logger.instrumented("a")(lambda: KINDS[kind](lambda: 1))()
        gc.collect()
    assert [row[:4] for row in rows(logger)] == [("a", "success", None, "cancelled")]


async def test_what_is_cancelled_is_an_error_as_of_an_async_function(logger: TelemetryLogger) -> None:
    """A coroutine, a future and a task; a future of threads, too."""
    ask = logger.instrumented("a")(lambda: asyncio.sleep(60))
    task = asyncio.ensure_future(ask())
    await asyncio.sleep(0)
    begun = logger.instrumented("b")(lambda: asyncio.get_running_loop().create_task(asyncio.sleep(60)))()
    queued: futures.Future[Any] = futures.Future()
    logger.instrumented("c")(lambda: queued)()
    for one in (task, begun, queued):
        one.cancel()
    for one in (task, begun):
        with pytest.raises(asyncio.CancelledError):
            await one
    await asyncio.sleep(0)
    assert {row[0]: row[1:3] for row in rows(logger)} == dict.fromkeys("abc", ("error", "cancelled"))


async def test_no_more_is_let_through_than_the_budget_holds(logger: TelemetryLogger) -> None:
    """Each call is held until it ends, and counts what it cost then."""
    ran = []

    def work() -> Any:
        ran.append(1)
        return USAGE | {"cost_usd": 4}

    ask = logger.instrumented("a", usage=lambda answer: answer, budget=4)(lambda: coroutine(work))
    open_calls = [ask(), ask()]
    with pytest.raises(BudgetExceeded):
        ask()
    for call in open_calls:
        await call
    with pytest.raises(BudgetExceeded):
        ask()
    assert len(ran) == 2


async def test_it_may_run_in_another_context_and_hold_other_calls(logger: TelemetryLogger) -> None:
    """A task has its own: calls in it have it as their parent, and those of its caller none."""

    def work() -> Any:
        for _ in range(2):
            with logger.invocation("inner"):
                pass

    ask = logger.instrumented("outer")(lambda: coroutine(work))
    task = contextvars.copy_context().run(asyncio.ensure_future, ask())
    with logger.invocation("beside"):
        pass
    await task
    outer, *rest = sorted(logger.get_invocations(), key=lambda row: row["agent_name"], reverse=True)
    assert outer["agent_name"] == "outer"
    parents = [(row["agent_name"], row["parent_invocation_id"]) for row in rest]
    assert parents == [("inner", outer["invocation_id"])] * 2 + [("beside", None)]


async def test_an_end_of_the_logger_before_that_of_the_work_is_counted(tmp_path: Path) -> None:
    """The coroutine's result passes all the same."""
    with TelemetryLogger(tmp_path / "closed.db") as logger:
        waiting: Coroutine[Any, Any, Any] = logger.instrumented("a")(lambda: coroutine(lambda: 5))()
        items: Generator[Any, Any, Any] = logger.instrumented("b")(lambda: generator(lambda: 5))()
        assert next(items) == 5  # of a stream that is read, the end of the logger is the end
    assert (await waiting, list(items)) == (5, [])
    stats = logger.stats()
    assert (stats.ledger.written, dict(stats.ledger.dropped)["closed"]) == (1, 1)


async def test_a_reader_that_fails_and_a_result_that_is_another_awaitable_reach_nobody(logger: TelemetryLogger) -> None:
    """What is no known type is returned as it is: its making is what is recorded."""

    class Promise(Awaitable[int]):
        def __await__(self) -> Generator[Any, None, int]:
            yield from asyncio.sleep(0).__await__()
            return 5

    promise = Promise()
    assert logger.instrumented("a")(lambda: promise)() is promise
    assert await promise == 5

    def broken(_: object) -> Any:
        raise LookupError("secret")

    assert await logger.instrumented("b", usage=broken)(lambda: coroutine(lambda: 5))() == 5
    assert await logger.instrumented("c", usage=broken)(lambda: task(lambda: 5))() == 5
    await asyncio.sleep(0)
    assert {row[:2] for row in rows(logger)} == {("a", "success"), ("b", "success"), ("c", "success")}
    assert logger.stats().bad_values == 2
