"""Blocks, functions and streams around calls of a hooked client: one row a call, whoever else sees it."""

import asyncio
import copy
import gc
import inspect
import itertools
import logging
import pickle
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError
from tests.provider_server import ProviderServer
from tests.slices import quick

from llm_service.errors import SettingsError
from llm_service.pricing.usage import openai_usage
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.sdk import client_hooks, instruments
from llm_service.telemetry.record.operations import SPANS

openai = pytest.importorskip("openai")
CHAT: dict[str, Any] = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "Why 42?"}]}
STREAM: dict[str, Any] = CHAT | {"stream": True, "stream_options": {"include_usage": True}}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """An instrumented sync logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "telemetry.db").instrument("openai") as made:
        yield made


@pytest.fixture
async def telemetry(tmp_path: Path) -> AsyncIterator[AsyncTelemetryLogger]:
    """An instrumented async logger, closed afterwards."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db").instrument("openai") as made:
        yield made


@pytest.fixture
def client(server: ProviderServer) -> Iterator[Any]:
    """A sync client."""
    with openai.OpenAI(base_url=f"{server.url('ok')}/v1", api_key="none") as made:
        yield made


@pytest.fixture
async def async_client(server: ProviderServer) -> AsyncIterator[Any]:
    """An async client."""
    async with openai.AsyncOpenAI(base_url=f"{server.url('ok')}/v1", api_key="none") as made:
        yield made


def ask(client: Any, **more: Any) -> Any:
    """One call of Chat Completions."""
    return client.chat.completions.create(**CHAT | more)


def one(rows: list[Any]) -> dict[str, Any]:
    """The one row, which is the call."""
    (row,) = rows
    assert (row["prompt_tokens"], row["completion_tokens"], row["source"]) == (1200, 7, "sdk:openai")
    assert (row["status"], row["operation"], row["attempts"], row["parent_invocation_id"]) == (
        "success",
        "chat",
        1,
        None,
    )
    assert (row["model_name"], row["cost_usd"]) == ("gpt-5-mini-2025-08-07", 8.36e-05)
    return row


# One call


def test_a_block_around_one_call_is_that_call_and_what_it_says_wins(logger: TelemetryLogger, client: Any) -> None:
    """Its own id, its names, and the model that answered."""
    with logger.invocation("agent", model_name="mine", session_id="s", tags=["t"], user_id="u") as call:
        ask(client)
        assert logger.get_invocations() == []  # kept until the block ends
        call.set(finish_reason="enough")
    row = one(logger.get_invocations())
    assert (row["invocation_id"], row["agent_name"], row["session_id"]) == (call.invocation_id, "agent", "s")
    assert (row["model_name"], row["request_model"]) == ("gpt-5-mini-2025-08-07", "gpt-5-mini")
    assert (row["user_id"], row["finish_reason"], row["tags"]) == ("u", "enough", ["t"])


@pytest.mark.parametrize("said", ["record", "record_usage", "counts", "nothing"])
def test_usage_that_the_block_takes_itself_is_not_taken_twice(logger: TelemetryLogger, client: Any, said: str) -> None:
    """By any of its ways."""
    with logger.invocation("agent") as call:
        answer = ask(client)
        if said == "record":
            call.record(answer)
        elif said == "record_usage":
            call.record_usage(answer.usage)
        elif said == "counts":
            call.record_usage(prompt_tokens=1200, completion_tokens=7)
    one(logger.get_invocations())


@pytest.mark.parametrize("watched", [False, True])
def test_an_answer_that_has_a_row_is_not_counted_again(
    logger: TelemetryLogger, client: Any, watched: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A block that is told it later is a span, which is said once; made within the block, both are one row."""
    answers = [ask(client), ask(client)]
    for answer in answers:
        with logger.invocation("agent") as call:
            if watched:
                call.watch(answer)
            else:
                call.record(answer)
    rows = logger.get_invocations()
    assert [row["operation"] for row in rows] == ["chain", "chain", "chat", "chat"]
    assert [row["prompt_tokens"] for row in rows] == [None, None, 1200, 1200]
    statistics = logger.get_statistics()
    assert (statistics["total_invocations"], statistics["total_tokens"]) == (2, 2 * 1207)
    assert [record.message for record in caplog.records].count(caplog.records[0].message) == 1
    assert "repeats an answer that has a row" in caplog.text


def test_functions_and_generators_around_one_call_are_that_call(logger: TelemetryLogger, client: Any) -> None:
    """Decorated, with and without a reader of usage."""

    @logger.instrumented("function", usage=lambda answer: answer.usage)
    def function() -> Any:
        return ask(client)

    @logger.instrumented("generator")
    def generator() -> Iterator[Any]:
        yield from client.chat.completions.create(**STREAM)

    function()
    assert one(logger.get_invocations(agent_name="function"))["stream"] is None
    assert len(list(generator())) == 5
    row = one(logger.get_invocations(agent_name="generator"))
    assert (row["stream"], row["finish_reason"], row["usage_source"]) == (True, "stop", "reported")


@pytest.mark.parametrize("usage", [None, openai_usage])
def test_a_wrapped_stream_of_a_hooked_client_is_one_row(logger: TelemetryLogger, client: Any, usage: Any) -> None:
    """Of a request, of an open stream, and one that is left early."""
    items = list(logger.wrap_stream(lambda: client.chat.completions.create(**STREAM), "request", usage=usage))
    one(logger.get_invocations(agent_name="request"))
    left = logger.wrap_stream(lambda: client.chat.completions.create(**STREAM), "left", usage=usage)
    next(left)
    left.close()
    (row,) = logger.get_invocations(agent_name="left")
    assert (row["finish_reason"], row["status"], row["source"]) == ("cancelled", "success", "sdk:openai")
    assert (len(items), len(logger.get_invocations())) == (5, 2)


def test_a_watched_stream_of_a_hooked_client_is_one_row(logger: TelemetryLogger, client: Any) -> None:
    """All three see it."""
    with logger.invocation("agent") as call:
        assert len(list(call.watch(client.chat.completions.create(**STREAM)))) == 5
    assert one(logger.get_invocations())["ttft_ms"] > 0


async def test_a_wrapped_stream_of_an_async_client_is_one_row(
    telemetry: AsyncTelemetryLogger, async_client: Any
) -> None:
    """Its request, not awaited."""
    async with telemetry.wrap_stream(async_client.chat.completions.create(**STREAM), "agent") as stream:
        assert len([item async for item in stream]) == 5
    one(await telemetry.get_invocations())


def test_a_stream_that_outlives_its_block_is_one_row_with_what_both_say(logger: TelemetryLogger, client: Any) -> None:
    """As where a function returns a stream out of its block."""

    def begin() -> Any:
        with logger.invocation("agent", session_id="s", model_name="mine") as call:
            call.set(metadata={"id": call.invocation_id})
            return client.chat.completions.create(**STREAM)

    stream = begin()
    assert logger.get_invocations() == []
    assert len(list(stream)) == 5
    row = one(logger.get_invocations())
    assert (row["agent_name"], row["session_id"], row["metadata"]) == ("agent", "s", {"id": row["invocation_id"]})
    assert row["model_name"] == "gpt-5-mini-2025-08-07"


# What fails


def fail_otherwise(logger: TelemetryLogger, client: Any) -> None:
    """A block that raises an error of its own for that of its call."""
    with logger.invocation("another"):
        try:
            ask(client)
        except openai.RateLimitError as error:
            raise KeyError("mine") from error


def test_a_block_whose_call_failed_is_one_row_also_where_it_is_caught(
    logger: TelemetryLogger, server: ProviderServer
) -> None:
    """The call failed, though the block goes on; what passes out of the block is its own."""
    with openai.OpenAI(base_url=f"{server.url('rate-limited')}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.RateLimitError), logger.invocation("passed"):
            ask(client)
        with logger.invocation("caught"), pytest.raises(openai.RateLimitError):
            ask(client)
        with pytest.raises(KeyError):
            fail_otherwise(logger, client)
    rows = {row["agent_name"]: row for row in logger.get_invocations()}
    assert len(rows) == 3
    assert {row["status"] for row in rows.values()} == {"error"}
    assert [rows[name]["error_type"] for name in ("passed", "caught", "another")] == ["RateLimitError"] * 2 + [
        "KeyError"
    ]
    assert {row["http_status"] for row in rows.values()} == {429}
    assert {row["model_name"] for row in rows.values()} == {"gpt-5-mini"}


def test_a_block_that_fails_after_its_call_has_the_usage_and_its_own_failure(
    logger: TelemetryLogger, client: Any
) -> None:
    """The tokens were billed."""

    @logger.instrumented("agent")
    def work() -> None:
        ask(client)
        raise ValueError("42")

    with pytest.raises(ValueError, match="42"):
        work()
    (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"], row["prompt_tokens"]) == ("error", "ValueError", 1200)


async def test_a_cancelled_call_is_one_row(telemetry: AsyncTelemetryLogger, server: ProviderServer) -> None:
    """In a block, and without one."""

    async def in_block(client: Any) -> None:
        async with telemetry.invocation("agent"):
            await ask(client)

    async with openai.AsyncOpenAI(base_url=f"{server.url('slow')}/v1", api_key="none") as client:
        for work in (in_block(client), ask(client)):
            before = server.asked["slow"]
            task = asyncio.ensure_future(work)
            while server.asked["slow"] == before:  # noqa: ASYNC110 - the server runs in a thread
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
    rows = await telemetry.get_invocations()
    assert [(row["status"], row["error_type"], row["source"]) for row in rows] == [
        ("error", "cancelled", "sdk:openai")
    ] * 2


# Several calls


@pytest.mark.parametrize("kind", ["one after the other", "at once", "streams"])
async def test_a_block_around_several_calls_is_no_call(
    telemetry: AsyncTelemetryLogger, async_client: Any, kind: str
) -> None:
    """Each is a row, with the names of the block and the block as its parent."""
    async with telemetry.invocation("agent", session_id="s", user_id="u", trace_id="t", tags=["x"]) as call:
        if kind == "at once":
            await asyncio.gather(*(ask(async_client) for _ in range(3)))
        elif kind == "streams":
            streams = [await async_client.chat.completions.create(**STREAM) for _ in range(3)]
            for stream in streams:
                assert len([item async for item in stream]) == 5
        else:
            for _ in range(3):
                await ask(async_client)
    rows = await telemetry.get_invocations()
    (block,) = [row for row in rows if row["invocation_id"] == call.invocation_id]
    calls = [row for row in rows if row["parent_invocation_id"] == call.invocation_id]
    assert len(rows) == 4
    assert len(calls) == 3
    assert {(row["agent_name"], row["session_id"], row["user_id"], row["trace_id"]) for row in rows} == {
        ("agent", "s", "u", "t")
    }
    assert {tuple(row["tags"]) for row in rows} == {("x",)}
    assert (block["operation"], block["prompt_tokens"], block["source"]) == ("chain", None, None)
    assert {row["prompt_tokens"] for row in calls} == {1200}


@pytest.mark.parametrize("operation", sorted(SPANS))
def test_a_block_that_is_a_span_never_becomes_a_call(logger: TelemetryLogger, client: Any, operation: str) -> None:
    """Though there is but one call in it, and though it says so only later."""
    with logger.invocation("agent", operation=operation):
        ask(client)
    with logger.invocation("agent") as call:
        ask(client)
        call.set(operation=operation)
    rows = logger.get_invocations()
    assert sorted(str(row["operation"]) for row in rows) == sorted(["chat", "chat", operation, operation])
    assert all((row["parent_invocation_id"] is None) is (row["operation"] == operation) for row in rows)


def test_a_block_within_a_block_is_the_call_and_the_outer_one_is_none(logger: TelemetryLogger, client: Any) -> None:
    """Names come from the nearest block that says them."""
    with logger.invocation("outer", session_id="s", operation="agent") as outer:
        with logger.invocation("inner"):
            ask(client)
        ask(client)
    rows = {str(row["agent_name"]) + str(row["source"]): row for row in logger.get_invocations()}
    assert set(rows) == {"outerNone", "innersdk:openai", "outersdk:openai"}
    assert rows["innersdk:openai"]["parent_invocation_id"] == outer.invocation_id
    assert {row["session_id"] for row in rows.values()} == {"s"}


@pytest.mark.parametrize("inner", [{}, {"operation": "tool"}, {"model_name": "gpt-5-mini"}])
def test_a_block_that_names_a_model_and_holds_the_call_of_another_block_is_no_call(
    logger: TelemetryLogger, client: Any, inner: dict[str, Any]
) -> None:
    """An agent may name its model; with tokens of its own it is a call, beside the other."""
    for told, calls in (({}, 1), ({"prompt_tokens": 5, "completion_tokens": 1}, 2)):
        with logger.scope(run=f"r{calls}"), logger.invocation("outer", model_name="gpt-5-mini") as outer:
            with logger.invocation("inner", **inner):
                ask(client)
            outer.set(**told)
        assert logger.query("calls", filters=f"run=r{calls}").totals["invocations"] == calls


def test_a_block_around_a_call_and_a_block_is_no_call(logger: TelemetryLogger, client: Any) -> None:
    """In either order."""
    for order in (0, 1):
        with logger.invocation("outer"):
            if order:
                ask(client)
            with logger.invocation("inner"):
                ask(client)
            if not order:
                ask(client)
    rows = logger.get_invocations()
    assert len(rows) == 6
    assert sorted(str(row["operation"]) for row in rows) == ["chain"] * 2 + ["chat"] * 4


def test_threads_within_a_block_lose_nothing(logger: TelemetryLogger, client: Any) -> None:
    """Each thread's calls know the block where the context is taken along."""
    import contextvars

    with logger.invocation("agent") as call:
        contexts = [contextvars.copy_context() for _ in range(8)]
        threads = [threading.Thread(target=context.run, args=(ask, client)) for context in contexts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rows = logger.get_invocations()
    assert sum(row["parent_invocation_id"] == call.invocation_id for row in rows) == 8
    assert len(rows) == 9


def test_the_privacy_of_a_block_is_that_of_its_calls(logger: TelemetryLogger, client: Any) -> None:
    """What asks for none leaves nothing."""
    with logger.invocation("agent", operation="agent", privacy_level="none"):
        ask(client)
    assert logger.get_invocations() == []


# Nothing that is kept is lost


def test_a_block_that_never_ends_gives_its_call_when_it_is_collected(logger: TelemetryLogger, client: Any) -> None:
    """A context manager that nobody left."""
    import contextvars

    def forgotten() -> None:
        logger.invocation("agent").__enter__()
        ask(client)

    contextvars.copy_context().run(forgotten)
    gc.collect()
    assert one([row | {"parent_invocation_id": None} for row in logger.get_invocations()])["agent_name"] == "agent"


@pytest.mark.slow
@pytest.mark.parametrize(
    "end", quick(["sys.exit(3)", "raise KeyboardInterrupt", "pass", "atexit", "a forked child"], 0)
)
def test_a_process_that_ends_within_a_block_leaves_the_call(server: ProviderServer, tmp_path: Path, end: str) -> None:
    """The block is left by the exception, or never."""
    code = f"""
        import os, sys, contextlib, openai
        from llm_service.telemetry import TelemetryLogger
        logger = TelemetryLogger("telemetry.db").instrument()
        client = openai.OpenAI(base_url={server.url("ok") + "/v1"!r}, api_key="none")
        call = logger.invocation("agent")
        if {end!r} == "a forked child":
            child = os.fork()
            if child:
                os.waitpid(child, 0)
            else:
                with call:
                    client.chat.completions.create(model="gpt-5-mini", messages=[])
                    os._exit(0)  # as workers of pools end, with a thread within a block
        elif {end!r} == "atexit":
            call.__enter__()
            client.chat.completions.create(model="gpt-5-mini", messages=[])
        else:
            with call:
                client.chat.completions.create(model="gpt-5-mini", messages=[])
                {end if end not in {"atexit", "a forked child"} else "pass"}
    """
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, env=environment, timeout=60, check=False
    )
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        (row,) = logger.get_invocations()
    assert (row["prompt_tokens"], row["agent_name"]) == (1200, "agent")


# Nothing that the caller can observe changes


def test_what_the_client_gives_is_what_it_would_have_given(logger: TelemetryLogger, client: Any) -> None:
    """Types, equality, copies, pickles, and signatures."""
    answer, stream = ask(client), client.chat.completions.create(**STREAM)
    raw = client.chat.completions.with_raw_response.create(**CHAT)
    chunks = list(stream)
    logger.uninstrument()
    plain, plain_stream = ask(client), client.chat.completions.create(**STREAM)
    plain_raw = client.chat.completions.with_raw_response.create(**CHAT)
    assert (type(answer), type(stream), type(raw)) == (type(plain), type(plain_stream), type(plain_raw))
    assert answer == plain
    assert chunks == list(plain_stream)
    assert pickle.loads(pickle.dumps(answer)) == copy.deepcopy(answer) == plain  # noqa: S301 - made here
    assert raw.parse() == plain_raw.parse()
    assert vars(stream.response).keys() == vars(plain_stream.response).keys()
    assert set(vars(raw)) == set(vars(plain_raw))


def test_the_methods_keep_their_signatures_and_come_back_as_they_were(tmp_path: Path) -> None:
    """However often it is turned on and off."""
    base = openai._base_client
    kinds = [base.SyncAPIClient, base.AsyncAPIClient]
    names = ["request", "_process_response", "_sleep_for_retry"]
    before = {(kind, name): vars(kind)[name] for kind, name in itertools.product(kinds, names)}
    with TelemetryLogger(tmp_path / "a.db") as first, TelemetryLogger(tmp_path / "b.db") as second:
        for _ in range(2):
            first.instrument("openai")
            second.instrument().instrument("openai")
            for (kind, name), original in before.items():
                assert vars(kind)[name] is not original
                assert inspect.signature(vars(kind)[name]) == inspect.signature(original)
                assert inspect.iscoroutinefunction(vars(kind)[name]) is inspect.iscoroutinefunction(original)
                assert vars(kind)[name].__qualname__ == original.__qualname__
            second.uninstrument()
            first.uninstrument("openai")
            assert {key: vars(key[0])[key[1]] for key in before} == before
        first.instrument("openai")
    assert {key: vars(key[0])[key[1]] for key in before} == before


def test_a_stream_is_as_lazy_as_it_was(logger: TelemetryLogger, server: ProviderServer) -> None:
    """No chunk is taken that the caller did not ask for; a waiting one can still be closed."""
    with openai.OpenAI(base_url=f"{server.url('slow-stream')}/v1", api_key="none") as client:
        stream = client.chat.completions.create(**STREAM)
        assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", '{"answer']
        stream.close()
    (row,) = logger.get_invocations()
    assert (row["finish_reason"], row["latency_ms"] < 5_000) == ("cancelled", True)


def test_an_exception_is_the_clients_own_with_its_traceback(logger: TelemetryLogger, server: ProviderServer) -> None:
    """No cause, no context, and the frames of caller and client."""
    with openai.OpenAI(base_url=f"{server.url('secret')}/v1", api_key="none") as client:
        with pytest.raises(openai.AuthenticationError) as caught:
            ask(client)
        logger.uninstrument()
        with pytest.raises(openai.AuthenticationError) as plain:
            ask(client)
    told, expected = caught.value, plain.value
    assert str(told) == str(expected)
    assert (told.__cause__, told.__suppress_context__) == (expected.__cause__, expected.__suppress_context__)
    frames, others = ([frame.name for frame in traceback.extract_tb(error.__traceback__)] for error in (told, expected))
    assert frames[0] == others[0]
    assert frames[-1] == others[-1]
    assert len(frames) == len(others) + 1


# Which logger


def test_the_logger_that_came_last_records_and_gives_way(tmp_path: Path, client: Any) -> None:
    """Within `instrumenting`, for as long as it lasts; a closed logger records nothing."""
    with TelemetryLogger(tmp_path / "outer.db").instrument() as outer, TelemetryLogger(tmp_path / "inner.db") as inner:
        with inner.instrumenting("openai") as same:
            assert same is inner
            ask(client)
        ask(client)
        inner.instrument()
        inner.close()
        ask(client)
        assert len(outer.get_invocations()) == 2
    with TelemetryLogger(tmp_path / "inner.db") as inner:
        assert len(inner.get_invocations()) == 1
        assert inner.stats().ledger.dropped == {}


def test_a_block_of_another_logger_is_no_parent(tmp_path: Path, client: Any) -> None:
    """Two files, a row in each."""
    with TelemetryLogger(tmp_path / "a.db").instrument() as hooked, TelemetryLogger(tmp_path / "b.db") as other:
        with hooked.invocation("outer", operation="agent") as outer, other.invocation("other"):
            ask(client)
        assert [row["agent_name"] for row in other.get_invocations()] == ["other"]
        (call,) = [row for row in hooked.get_invocations() if row["source"] == "sdk:openai"]
        assert call["parent_invocation_id"] == outer.invocation_id


def test_an_unknown_name_is_refused(logger: TelemetryLogger) -> None:
    """With those that there are."""
    for method in (logger.instrument, logger.uninstrument):
        with pytest.raises(SettingsError, match="'openai', 'anthropic'"):
            method("open-ai")


def test_a_hook_of_another_on_top_of_ours_stays(tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And ours beneath does nothing, and nothing twice when it is wanted again."""
    kind = openai._base_client.SyncAPIClient
    with TelemetryLogger(tmp_path / "a.db").instrument("openai") as logger:
        ours = kind.request

        def another(self: Any, *args: Any, **kwargs: Any) -> Any:
            return ours(self, *args, **kwargs)

        monkeypatch.setattr(kind, "request", another)
        logger.uninstrument()
        assert kind.request is another
        ask(client)
        assert logger.get_invocations() == []
        logger.instrument("openai")
        ask(client)
        assert len(logger.get_invocations()) == 1
        monkeypatch.undo()


# Another release


def test_what_is_only_helpful_may_be_missing(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Then attempts and status are unknown, which is said once, and nothing else changes."""
    instruments.INSTRUMENTED["openai"].hooks._failed = False
    monkeypatch.setattr(client_hooks, "RETRY", "no_such_method")
    monkeypatch.setattr(client_hooks, "PROCESS", "no_such_method")
    with TelemetryLogger(tmp_path / "a.db").instrument("openai") as logger:
        ask(client)
        (row,) = logger.get_invocations()
    assert (row["prompt_tokens"], row["http_status"], row["attempts"]) == (1200, None, None)
    assert len([record for record in caplog.records if "not as it was known" in record.message]) == 1
    instruments.INSTRUMENTED["openai"].hooks._failed = False


def test_a_stream_that_is_made_otherwise_is_recorded_without_its_end_and_that_is_said_once(
    logger: TelemetryLogger, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller notices nothing."""
    init = openai.Stream.__init__

    def otherwise(self: Any, **given: Any) -> None:
        init(self, **given)
        self._source = vars(self).pop("_iterator")

    monkeypatch.setattr(openai.Stream, "__init__", otherwise)
    monkeypatch.setattr(openai.Stream, "__iter__", lambda self: self._source)
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        for _ in range(2):
            assert len(list(client.chat.completions.create(**STREAM))) == 5
    rows = logger.get_invocations()
    assert [(row["status"], row["prompt_tokens"]) for row in rows] == [("success", None)] * 2
    assert len([record for record in caplog.records if "not as it was known" in record.message]) == 1
    instruments.INSTRUMENTED["openai"].hooks._failed = False


def test_an_sdk_without_the_class_is_left_alone_and_that_is_said(
    tmp_path: Path, client: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No half of it is hooked."""
    base = openai._base_client
    kind, request = base.SyncAPIClient, vars(base.SyncAPIClient)["request"]
    monkeypatch.delattr(base, "AsyncAPIClient")
    with (
        caplog.at_level(logging.WARNING, "llm_service.telemetry"),
        TelemetryLogger(tmp_path / "a.db").instrument("openai") as logger,
    ):
        assert vars(kind)["request"] is request
        ask(client)
        assert logger.get_invocations() == []
    assert "its calls are not recorded" in caplog.text
    instruments.INSTRUMENTED["openai"].watched = False


def test_no_sdk_is_imported_and_one_that_is_imported_later_is_hooked(server: ProviderServer, tmp_path: Path) -> None:
    """In a process of its own; the module is as if nobody had looked."""
    code = f"""
        import sys
        from llm_service.telemetry import TelemetryLogger
        before = len(sys.meta_path)
        with TelemetryLogger("telemetry.db").instrument("openai") as logger:
            assert "openai" not in sys.modules and "anthropic" not in sys.modules
            import openai
            import openai._base_client as base
            assert len(sys.meta_path) == before, sys.meta_path
            assert type(base.__loader__).__name__ == type(base.__spec__.loader).__name__ == "SourceFileLoader"
            client = openai.OpenAI(base_url={server.url("ok") + "/v1"!r}, api_key="none")
            client.chat.completions.create(model="gpt-5-mini", messages=[])
            (row,) = logger.get_invocations()
            assert row["prompt_tokens"] == 1200
        assert base.SyncAPIClient.request.__code__.co_filename == base.__file__
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.volume
async def test_many_calls_at_once_are_each_recorded_once(tmp_path: Path) -> None:
    """Streams and answers, in blocks and without: 1,000 calls, 200 at a time."""
    import httpx2

    answer = {
        "id": "c", "object": "chat.completion", "created": 1, "model": "gpt-5-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "42"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }  # fmt: skip
    import json

    events = [
        {
            **answer,
            "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": {"content": "42"}, "finish_reason": "stop"}],
        },
    ]
    body = "".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n"

    async def respond(request: httpx2.Request) -> httpx2.Response:
        await asyncio.sleep(0)
        if json.loads(request.content).get("stream"):
            return httpx2.Response(200, text=body, headers={"content-type": "text/event-stream"})
        return httpx2.Response(200, json=answer)

    async with AsyncTelemetryLogger(tmp_path / "telemetry.db", models=False).instrument("openai") as telemetry:
        transport = httpx2.AsyncClient(transport=httpx2.MockTransport(respond))
        async with openai.AsyncOpenAI(base_url="http://test/v1", api_key="none", http_client=transport) as client:
            gate = asyncio.Semaphore(200)

            async def work(number: int) -> None:
                async with gate:
                    if number % 4 < 2:
                        await use(number % 2 == 0)
                    else:
                        async with telemetry.invocation("block"):
                            await use(number % 2 == 0)

            async def use(streams: bool) -> None:
                given = await ask(client, stream=streams)
                if streams:
                    assert len([item async for item in given]) == 1

            await asyncio.gather(*(work(number) for number in range(1_000)))
        ledger = telemetry.stats().ledger
        statistics = await telemetry.get_statistics()
    assert ledger.submitted == 1_000
    assert (statistics["total_invocations"], statistics["total_tokens"]) == (1_000, 5_000)


def test_a_block_with_a_budget_is_settled_by_its_call_and_by_its_calls(tmp_path: Path, server: ProviderServer) -> None:
    """Nothing stays reserved, and nothing is counted twice; what a stream holds, it holds to its end."""
    (tmp_path / "policies.yaml").write_text("policies:\n  default:\n    daily_budget_usd: 5\n", "utf-8")
    with (
        openai.OpenAI(base_url=f"{server.url('ok')}/v1", api_key="none") as client,
        TelemetryLogger(tmp_path / "telemetry.db", policies=tmp_path / "policies.yaml").instrument() as logger,
    ):
        with logger.invocation("one", model_name="gpt-5-mini", budget=0.5):
            ask(client)
        with logger.invocation("two", model_name="gpt-5-mini", budget=0.5):
            ask(client)
            ask(client)
        request = lambda: client.chat.completions.create(**STREAM)  # noqa: E731 - as users write it
        assert len(list(logger.wrap_stream(request, "stream", model_name="gpt-5-mini", budget=0.5))) == 5
        (status,) = logger.budgets.status()
        assert (status["spent"], status["reserved"], status["unknown"]) == (round(8.36e-05 * 4, 10), 0, 0)
        with logger.invocation("left", model_name="gpt-5-mini", budget=0.5):
            stream = client.chat.completions.create(**STREAM)
            next(stream)
        (status,) = logger.budgets.status()
        assert (status["reserved"], status["unknown"]) == (0.5, 0)
        assert len(list(stream)) == 4
        rows = logger.get_invocations()
        (status,) = logger.budgets.status()
        assert (status["spent"], status["reserved"], status["unknown"]) == (round(8.36e-05 * 5, 10), 0, 0)
    assert sorted(str(row["agent_name"]) for row in rows) == ["left", "one", "stream", "two", "two", "two"]
    (left,) = [row for row in rows if row["agent_name"] == "left"]
    assert (left["finish_reason"], left["cost_usd"]) == ("stop", 8.36e-05)


class Other(BaseModel):
    """What the answer is not."""

    question: str


@pytest.mark.parametrize("own", [False, True])
def test_a_stream_helper_that_raises_is_an_error_and_its_readers_own_error_is_not(
    own: bool, logger: TelemetryLogger, client: Any
) -> None:
    """As `parse` of the same answer is."""
    kind: type[Exception] = KeyError if own else ValidationError
    with pytest.raises(kind):  # noqa: SIM117, PT012 - the stream ends within
        with client.chat.completions.stream(**CHAT, response_format=Other) as stream:
            for _ in stream:
                if own:
                    raise KeyError("mine")
    (row,) = logger.get_invocations()
    expected = ("success", None, "cancelled") if own else ("error", "ValidationError", None)
    assert (row["status"], row["error_type"]) == expected[:2]
    assert own is (row["finish_reason"] == "cancelled")
