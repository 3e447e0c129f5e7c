"""Scopes: what calls have in common is said once, and what is said nearer wins."""

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextvars import Context
from pathlib import Path
from typing import Any

import pytest
from tests.unit.telemetry.record.test_record import FULL

from llm_service.errors import RecordError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, Scope, TelemetryLogger, record_from_response
from llm_service.telemetry.instrumentation.inherited_fields import SCOPE_FIELDS
from llm_service.telemetry.instrumentation.open_blocks import around, current
from llm_service.telemetry.record.fields import FIELDS

IDS = ("session_id", "user_id", "run", "trace_id")
"""What a block passes on as well."""
SAID = {field: FULL[field] for field in sorted(SCOPE_FIELDS)} | {"privacy_level": "metadata"}


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "t.db") as made:
        yield made


@pytest.fixture
async def telemetry(tmp_path: Path) -> AsyncIterator[AsyncTelemetryLogger]:
    """An async logger, closed afterwards."""
    async with AsyncTelemetryLogger(tmp_path / "t.db") as made:
        yield made


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    """What other tests left open is nothing to this one."""
    token = current.set(None)
    yield
    current.reset(token)


def call(logger: TelemetryLogger, **fields: Any) -> None:
    """One call, in a block."""
    with logger.invocation(**fields):
        pass


def rows(logger: TelemetryLogger, *columns: str) -> list[Any]:
    """The calls in the order in which they ended: these columns, or the one."""
    stored = sorted(logger.get_invocations(limit=1000), key=lambda row: row["id"])
    found: list[Any] = [[row[column] for column in columns] for row in stored]  # type: ignore[literal-required]
    return [row[0] for row in found] if len(columns) == 1 else found


def test_every_field_that_can_be_of_many_calls_is_inherited(logger: TelemetryLogger) -> None:
    """By whatever makes a record: a block, a decorated function, a generator, a stream, an answer."""

    @logger.instrumented
    def function() -> None:
        pass

    @logger.instrumented()
    def generator() -> Iterator[int]:
        yield 1

    with logger.scope(**SAID):
        call(logger)
        function()
        list(generator())
        list(logger.wrap_stream(iter([1])))
        list(logger.wrap_stream(lambda: iter([1])))
        logger.log_invocation(record_from_response({}))
    call(logger)
    *within, after = logger.get_invocations()[::-1]
    assert len(within) == 6
    for row in within:
        assert {field: row[field] for field in SAID} == SAID  # type: ignore[literal-required]
    assert {after[field] for field in SAID} - {"metadata"} == {None}  # type: ignore[literal-required]


async def test_the_async_face_has_the_same(telemetry: AsyncTelemetryLogger) -> None:
    """With either kind of `with`, on either kind of block."""

    @telemetry.instrumented
    async def coroutine() -> None:
        pass

    @telemetry.instrumented()
    async def generator() -> AsyncIterator[int]:
        yield 1

    async with telemetry.scope(run="r1"):
        with telemetry.scope(user_id="u1"):
            async with telemetry.invocation():
                pass
            with telemetry.invocation():
                pass
            await coroutine()
            async for _ in generator():
                pass
    found = await telemetry.get_invocations()
    assert [(row["run"], row["user_id"]) for row in found] == [("r1", "u1")] * 4


def test_what_is_said_nearer_wins_and_none_says_nothing(logger: TelemetryLogger) -> None:
    """Of scopes, of blocks, and of the call itself."""
    with logger.scope(agent_name="a", session_id="s", run="r", user_id=None):
        with logger.scope(agent_name=None, session_id="inner"):
            call(logger, agent_name=None, run=None)
            call(logger, agent_name="own", run="own")
            with logger.invocation(agent_name="block", user_id="u") as block:
                call(logger)
                block.set(session_id="told later", agent_name=None, run=None)
                call(logger)
                with logger.scope(agent_name="scope in block"):
                    call(logger)
        call(logger)
    assert rows(logger, "agent_name", "session_id", "run", "user_id") == [
        ["a", "inner", "r", None],
        ["own", "inner", "own", None],
        ["block", "inner", "r", "u"],
        ["a", "told later", "r", "u"],
        ["scope in block", "told later", "r", "u"],
        ["a", "told later", "r", "u"],
        ["a", "s", "r", None],
    ]


def test_tags_and_metadata_add_up(logger: TelemetryLogger) -> None:
    """From outside in, each once; of one key the nearest value stands."""
    with logger.scope(tags={"commit": "abc", "ci": 1}, metadata={"a": 1, "b": 1}), logger.scope(tags=["x", "ci:1"]):
        call(logger, tags=("x", "y"), metadata={"b": 2})
        call(logger)
        call(logger, tags=object(), metadata=3)
        with logger.invocation(tags="of the block"):
            call(logger)
    assert rows(logger, "tags", "metadata") == [
        [["commit:abc", "ci:1", "x", "y"], {"a": 1, "b": 2}],
        [["commit:abc", "ci:1", "x"], {"a": 1, "b": 1}],
        [["commit:abc", "ci:1", "x"], {"a": 1, "b": 1}],
        [["commit:abc", "ci:1", "x"], {"a": 1, "b": 1}],
        [["commit:abc", "ci:1", "x", "of the block"], {"a": 1, "b": 1}],
    ]
    assert logger.stats().bad_values == 2


def test_a_block_inherits_the_ids_of_the_block_around_it_and_no_more(logger: TelemetryLogger) -> None:
    """Bad ones it does not."""
    said: dict[str, Any] = {field: value for field, value in FULL.items() if field in SCOPE_FIELDS}
    with logger.invocation(**said) as outer, logger.invocation() as inner:
        call(logger)
    with logger.invocation(session_id="x" * 999, user_id=7):
        call(logger)
    grandchild, child, _, last, _ = sorted(logger.get_invocations(), key=lambda row: row["id"])
    for row in (grandchild, child):
        kept = {field: row[field] for field in said if row[field] is not None}  # type: ignore[literal-required]
        kept.pop("operation", None)  # the inner one holds a call
        assert kept == {field: FULL[field] for field in IDS} | {"privacy_level": "metadata"}
    assert child["parent_invocation_id"] == outer.invocation_id
    assert grandchild["parent_invocation_id"] == inner.invocation_id
    assert (last["session_id"], last["user_id"]) == (None, "7")
    assert logger.stats().bad_values == 1


def test_parents_and_scopes_are_of_one_logger(tmp_path: Path) -> None:
    """Whichever way they are nested; the file of another knows nothing of them."""
    with TelemetryLogger(tmp_path / "a.db") as one, TelemetryLogger(tmp_path / "b.db") as other:
        scopes = one.scope(run="one"), other.scope(user_id="other")
        with scopes[0], scopes[1], one.invocation("outer") as outer, other.invocation(), one.invocation("inner"):
            pass
        (row,) = other.get_invocations()
        assert (row["run"], row["user_id"], row["parent_invocation_id"], row["trace_id"]) == (None, "other", None, None)
        inner, outer_row = sorted(one.get_invocations(), key=lambda row: str(row["agent_name"]))
        assert inner["parent_invocation_id"] == outer.invocation_id
        assert {(row["run"], row["user_id"]) for row in (inner, outer_row)} == {("one", None)}
    assert current.get() is None


async def test_tasks_and_to_thread_belong_to_it_for_as_long_as_they_run(telemetry: AsyncTelemetryLogger) -> None:
    """Other threads do not; where it was entered it is over at its end."""
    ended = asyncio.Event()

    async def work(agent: str, *, after: bool = False) -> None:
        if after:
            await ended.wait()
        async with telemetry.invocation(agent):
            pass

    def threaded(agent: str) -> None:
        with telemetry.invocation(agent):
            pass

    async with telemetry.scope(run="r"):
        later = asyncio.create_task(work("later", after=True))
        await asyncio.gather(work("task"), asyncio.to_thread(threaded, "thread"))
        with ThreadPoolExecutor(1) as pool:
            await asyncio.get_running_loop().run_in_executor(pool, threaded, "executor")
    ended.set()
    await later
    await work("after")
    found = {row["agent_name"]: row["run"] for row in await telemetry.get_invocations()}
    assert found == {"later": "r", "task": "r", "thread": "r", "executor": None, "after": None}


async def test_a_task_that_outlives_a_scope_of_a_block_has_no_ended_parent(telemetry: AsyncTelemetryLogger) -> None:
    """The names stay; the block is over, and its parent is what is still open."""
    ended = asyncio.Event()

    async def work() -> None:
        await ended.wait()
        async with telemetry.invocation("later"):
            pass

    async with telemetry.invocation("outer") as outer:
        async with telemetry.invocation("inner", session_id="s"):
            with telemetry.scope(run="r"):
                later = asyncio.create_task(work())
        ended.set()
        await later
    (row,) = await telemetry.get_invocations(agent_name="later")
    assert (row["run"], row["session_id"], row["parent_invocation_id"]) == ("r", "s", outer.invocation_id)


async def test_a_generator_that_is_closed_elsewhere_leaves_no_scope_behind(telemetry: AsyncTelemetryLogger) -> None:
    """Nothing raises, in either context."""

    async def generator() -> AsyncIterator[int]:
        with telemetry.scope(run="of the generator"):
            async with telemetry.invocation("within"):
                yield 1

    stream = generator()
    await anext(stream)
    await asyncio.create_task(stream.aclose())  # type: ignore[attr-defined]
    async with telemetry.invocation("after"):
        pass
    found = {row["agent_name"]: row["run"] for row in await telemetry.get_invocations()}
    assert found == {"within": "of the generator", "after": None}


def test_a_scope_left_open_across_a_step_of_a_recorded_generator_is_not_the_consumers(logger: TelemetryLogger) -> None:
    """A generator that is decorated takes it away with each step."""

    @logger.instrumented("generator")
    def generator() -> Iterator[int]:
        with logger.scope(run="inside"):
            yield 1
            call(logger, agent_name="step")
            yield 2

    for _ in generator():
        call(logger, agent_name="consumer")
    found = {(row["agent_name"], row["run"]) for row in logger.get_invocations()}
    assert found == {("generator", None), ("step", "inside"), ("consumer", None)}
    assert current.get() is None


def test_it_ends_by_whichever_way_it_is_left(logger: TelemetryLogger) -> None:
    """In another context; twice; out of order; entered within itself and again."""
    scope = logger.scope(run="r")
    with scope, scope:
        call(logger)
    scope.__exit__(None, None, None)
    with scope:
        call(logger)
    outer, inner = logger.scope(user_id="u"), logger.scope(run="inner")
    outer.__enter__()
    inner.__enter__()
    outer.__exit__(None, None, None)
    call(logger)
    inner.__exit__(None, None, None)
    call(logger)
    Context().run(scope.__enter__)
    call(logger)
    scope.__exit__(None, None, None)
    with pytest.raises(KeyError), scope:
        raise KeyError
    assert rows(logger, "run", "user_id") == [["r", None], ["r", None], ["inner", "u"], [None, None], [None, None]]
    assert current.get() is None
    assert repr(scope) == "<scope of run>"
    assert repr(logger.scope()) == "<scope of nothing>"


async def test_what_is_left_behind_in_a_context_is_taken_away_there(telemetry: AsyncTelemetryLogger) -> None:
    """By the first that begins there."""

    def threaded() -> None:
        with telemetry.invocation("thread"):
            pass

    async def task() -> None:
        async with telemetry.invocation("task"):
            pass

    scope = telemetry.scope(run="r").__enter__()
    await asyncio.create_task(asyncio.to_thread(scope.__exit__, None, None, None))
    await task()
    await asyncio.to_thread(threaded)
    found = {row["agent_name"]: row["run"] for row in await telemetry.get_invocations()}
    assert found == {"task": None, "thread": None}


def test_threads_may_enter_one_scope_at_once(logger: TelemetryLogger) -> None:
    """Each ends its own entry."""
    scope = logger.scope(run="r")
    barrier = threading.Barrier(8)

    def work() -> None:
        barrier.wait()
        with scope:
            call(logger, agent_name="within")
            barrier.wait()
        call(logger, agent_name="after")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = sorted((row["agent_name"], row["run"]) for row in logger.get_invocations())
    assert found == [("after", None)] * 8 + [("within", "r")] * 8


ODD: dict[str, dict[str, Any]] = {
    "a value that no record can have": {"session_id": "x" * 999},
    "an empty name": {"agent_name": ""},
    "a field of one call": {"prompt_tokens": 5},
    "an id of one call": {"response_id": "r"},
    "no field": {"sesion_id": "s"},
    "no tags": {"tags": 5},
    "no metadata": {"metadata": [1]},
    "no header": {"traceparent": "00-abc"},
    "a header of zeros": {"traceparent": f"00-{'0' * 32}-{'1' * 16}-01"},
    "a header of an unknown kind": {"traceparent": f"ff-{'1' * 32}-{'1' * 16}-01"},
    "more than a header": {"traceparent": f"00-{'1' * 32}-{'1' * 16}-01-x"},
    "another type": {"traceparent": 5},
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_bad_value_costs_that_value(tmp_path: Path, odd: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    """It is warned about once, and counted; `strict` raises it where it is written."""
    with TelemetryLogger(tmp_path / "t.db") as logger, caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        for _ in range(2):
            with logger.scope(**odd, run="r"):
                call(logger)
        assert rows(logger, "run", "session_id", "agent_name", "trace_id") == [["r", None, None, None]] * 2
        (name,) = odd
        assert logger.stats().bad_values == 2
        assert [name in text for text in caplog.messages] == [True]
    with TelemetryLogger(tmp_path / "strict.db", strict=True) as strict, pytest.raises(RecordError, match=name):
        strict.scope(**odd)


def test_a_budget_is_refused_where_it_reserves_nothing(logger: TelemetryLogger) -> None:
    """As by `set`."""
    with pytest.raises(TypeError, match="reserves nothing here"):
        logger.scope(budget=1)


def test_names_of_others_are_taken(logger: TelemetryLogger) -> None:
    """As by a block."""
    with logger.scope(agent="a", session="s", user="u"):
        call(logger)
    assert rows(logger, "agent_name", "session_id", "user_id") == [["a", "s", "u"]]


def test_a_record_that_the_caller_made_stays_as_it_is(logger: TelemetryLogger) -> None:
    """It is an immutable value."""
    record = InvocationRecord(agent_name="mine")
    with logger.scope(agent_name="a", run="r"):
        logger.log_invocation(record)
        logger.log_invocation_nowait(InvocationRecord())
    logger.flush()
    assert rows(logger, "agent_name", "run") == [["mine", None], [None, None]]


def test_an_answer_takes_what_it_does_not_say_itself(logger: TelemetryLogger) -> None:
    """What is named beside it wins over both."""
    answer = {
        "object": "chat.completion", "id": "c1", "model": "gpt-5",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }  # fmt: skip
    with logger.scope(model_name="alias", agent_name="a", run="r", tags=["t"], response_id=None):
        record = record_from_response(answer, agent_name="own", run=None, tags=["u"])
    assert (record.model_name, record.agent_name, record.run, record.tags) == ("gpt-5", "own", "r", ["t", "u"])
    assert record_from_response(answer).run is None


async def test_scopes_that_end_in_tasks_make_no_chain(telemetry: AsyncTelemetryLogger) -> None:
    """Each is entered here and left in a task: two are held, however many there were."""

    async def end(scope: Scope) -> None:
        scope.__exit__(None, None, None)

    for _ in range(50):
        scope = telemetry.scope(run="r").__enter__()
        await asyncio.create_task(end(scope))
    here, depth = current.get(), 0
    while here is not None:
        here, depth = around(here), depth + 1
    assert depth <= 2


@pytest.mark.parametrize("make", [lambda fields: fields, lambda fields: fields | {"unknown_name": 1}])
def test_the_list_of_fields_is_that_of_the_record(logger: TelemetryLogger, make: Callable[[Any], Any]) -> None:
    """What is of one call alone is named, never taken."""
    for field in FIELDS:
        scope = logger.scope(**make({field: FULL.get(field, "x")}))
        assert (field in scope._fields) == (field in SCOPE_FIELDS), field
