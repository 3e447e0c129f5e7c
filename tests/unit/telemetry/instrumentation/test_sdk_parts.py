"""Parts of the hooks by themselves: who sells, what is imported later, what a block keeps of its calls."""

import gc
import pickle
import re
import sys
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import pytest
from tests.inside import core_of

from llm_service.telemetry import DropReason, TelemetryLogger
from llm_service.telemetry.instrumentation.kept_calls import hand_over
from llm_service.telemetry.instrumentation.nested_calls import NestedCalls, Settled
from llm_service.telemetry.instrumentation.record_building import merged
from llm_service.telemetry.instrumentation.sdk import (
    bedrock_hooks,
    client_hooks,
    import_watch,
    providers,
    raw_body,
    sdk_call,
)
from llm_service.telemetry.instrumentation.sdk.client_hooks import ClientHooks
from llm_service.telemetry.instrumentation.sdk.hooks import RequestCall
from llm_service.telemetry.instrumentation.sdk.import_watch import when_imported
from llm_service.telemetry.instrumentation.sdk.providers import place_of_client
from llm_service.telemetry.instrumentation.sdk.raw_body import RawBody
from llm_service.telemetry.instrumentation.sdk.recorded_response import Chunks, StreamRecord, on_close


def client(host: str, kind: str = "OpenAI") -> Any:
    """What is asked of a client."""
    return type(kind, (), {"base_url": SimpleNamespace(host=host)})()


@pytest.mark.parametrize(
    ("host", "kind", "provider", "region"),
    [
        ("api.openai.com", "OpenAI", "openai", None),
        ("eu.api.openai.com", "OpenAI", "openai", "eu"),
        ("mine.openai.azure.com", "AzureOpenAI", "azure.ai.openai", None),
        ("gateway.example.org", "AsyncAzureOpenAI", "azure.ai.openai", None),
        ("gateway.example.org", "AsyncAnthropicFoundry", "azure.ai.inference", None),
        ("openrouter.ai", "OpenAI", "openrouter", None),
        ("API.Groq.com", "OpenAI", "groq", None),
        ("models.github.ai", "OpenAI", "github", None),
        ("api.githubcopilot.com", "OpenAI", "github_copilot", None),
        ("api.anthropic.com", "Anthropic", "anthropic", None),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "AnthropicBedrock", "aws.bedrock", "eu-west-1"),
        ("bedrock-mantle.us-gov-west-1.api.aws", "OpenAI", "aws.bedrock", "us-gov-west-1"),
        ("europe-west1-aiplatform.googleapis.com", "AnthropicVertex", "gcp.vertex_ai", "europe-west1"),
        ("aiplatform.googleapis.com", "AnthropicVertex", "gcp.vertex_ai", None),
        ("claude.googleapis.com", "AnthropicGoogleCloud", "gcp.vertex_ai", None),
        ("aws-external-anthropic.eu-west-1.api.aws", "AnthropicAWS", "aws.anthropic", "eu-west-1"),
        ("localhost", "OpenAI", None, None),
        ("api.openai.com.example.org", "OpenAI", None, None),
        ("evil-openrouter.ai", "OpenAI", None, None),
    ],
)
def test_seller_and_region_are_named_where_host_or_client_say_them(
    host: str, kind: str, provider: str | None, region: str | None
) -> None:
    """Else they are unknown: what speaks a protocol may be anyone."""
    asked, found = client(host, kind), {"provider": provider, "region": region}
    expected = {field: value for field, value in found.items() if value is not None}
    assert place_of_client(asked) == place_of_client(asked) == expected


@pytest.mark.parametrize(("kind", "name"), [("AnthropicBedrock", "aws_region"), ("AsyncAnthropicVertex", "region")])
def test_a_client_says_its_region(kind: str, name: str) -> None:
    """Also where its calls go through a gateway."""
    asked = client("gateway.example.org", kind)
    setattr(asked, name, "eu-west-3")
    assert place_of_client(asked)["region"] == "eu-west-3"


@pytest.mark.parametrize("location", ["global", "eu", "europe-west1"])
def test_a_path_of_googles_says_the_region(location: str) -> None:
    """Of the client for the models that Anthropic runs there."""
    asked = client("claude.googleapis.com", "AnthropicGoogleCloud")
    asked.base_url.path = f"/v1/projects/p/locations/{location}/workspaces/w/"
    assert place_of_client(asked) == {"provider": "gcp.vertex_ai", "region": location}


def test_every_client_of_anthropics_for_a_cloud_has_a_seller() -> None:
    """By its class, also where its calls go through a gateway."""
    anthropic = pytest.importorskip("anthropic")
    kinds = {name for name in dir(anthropic) if re.fullmatch(r"(Async)?Anthropic\w+", name)}
    kinds -= {"AnthropicError"}
    assert len(kinds) >= 10
    unknown = {kind for kind in kinds if not place_of_client(client("gateway.example.org", kind)).get("provider")}
    assert not unknown


def test_what_is_remembered_of_clients_is_bounded() -> None:
    """A program may make a client for each request."""
    for _ in range(200):
        place_of_client(client("api.openai.com"))
    assert len(providers._known) <= 64


def test_a_module_is_told_of_when_it_is_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """At once where it is there already, and only once."""
    told: list[ModuleType] = []
    when_imported("sys", told.append)
    assert told == [sys]
    (tmp_path / "imported_later.py").write_text("value = 42\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    when_imported("imported_later", told.append)
    when_imported("never_imported", told.append)
    import imported_later  # type: ignore[import-not-found]

    assert told[1:] == [imported_later]
    assert imported_later.value == 42
    assert type(imported_later.__loader__).__name__ == "SourceFileLoader"
    assert imported_later.__spec__.loader is imported_later.__loader__
    with pytest.raises(ModuleNotFoundError):
        import never_imported  # type: ignore[import-not-found]  # noqa: F401
    del import_watch._waiting["never_imported"], sys.modules["imported_later"]
    if not import_watch._waiting:
        sys.meta_path.remove(import_watch._FINDER)


class Child:
    """A call that notes what becomes of it."""

    def __init__(self) -> None:
        self.became: list[Any] = []
        self.told = {"operation": "chat"}
        self._sink: Any = None

    def stand_alone(self) -> None:
        self.became.append("row")

    def cut_short(self) -> dict[str, Any]:
        self.became.append("cut")
        return self.told


class Block:
    """A block that has ended, and notes what it turned out to be."""

    def __init__(self, sink: Any = None) -> None:
        self._sink = sink
        self.became: list[Any] = []

    def settle_late(self, calls: NestedCalls, /) -> None:
        self.became.append((calls.settle(is_call=True), calls.costs_are_known))


def test_one_call_is_its_block() -> None:
    """Ended or running."""
    ended, calls = Child(), NestedCalls()
    calls.begin(ended)
    assert calls.end(ended, {}, keeps=True)
    assert not calls.wait(Block())
    assert calls.settle(is_call=True) == Settled(ended.told)
    running, block, calls = Child(), Block(), NestedCalls()
    calls.begin(running)
    assert calls.wait(block)
    assert block.became == []
    assert calls.end(running, {}, keeps=True)
    assert block.became == [(Settled(running.told), True)]
    assert running.became == []


@pytest.mark.parametrize("told", ["end", "close", "never"])
def test_a_block_waits_for_the_last_of_its_calls_and_blocks_and_is_settled_once(told: str) -> None:
    """Where one is never told, what it costs is not known."""
    first, second, block, calls = Child(), Child(), Block(), NestedCalls()
    calls.begin(first)
    calls.begin(second)
    calls.begin_block()
    assert calls.wait(block)
    for child in (first, second):
        assert not calls.end(child, {}, keeps=True)
        assert block.became == []
        calls.has_ended()
    if told == "end":
        calls.has_ended()
    elif told == "close":
        hand_over(None)
        hand_over(None)
        calls.has_ended()
    del calls
    assert block.became == [(Settled(several=True), told == "end")]


def test_several_calls_and_those_of_a_span_are_rows() -> None:
    """Whether they have ended or not."""
    first, second, calls = Child(), Child(), NestedCalls()
    calls.begin(first)
    assert calls.end(first, {}, keeps=True)
    calls.begin(second)
    assert first.became == ["row"]
    assert not calls.end(second, {}, keeps=True)
    assert calls.settle(is_call=True) == Settled(several=True)
    only, calls = Child(), NestedCalls()
    calls.begin(only)
    assert calls.end(only, {}, keeps=True)
    assert calls.settle(is_call=False) == Settled(several=True)
    assert only.became == ["row"]
    assert NestedCalls().settle(is_call=True) == Settled()


def test_the_model_that_answered_is_the_model_and_what_was_named_is_what_was_asked() -> None:
    """Unless the request's own is known, or none answered."""
    said: dict[str, Any] = {"model_name": "mine"}
    assert merged({"model_name": "gpt-5-mini-2025"}, said)["model_name"] == "gpt-5-mini-2025"
    assert said == {"request_model": "mine"}
    said = {"model_name": "mine"}
    assert (
        merged({"model_name": "gpt-5-mini-2025", "request_model": "gpt-5-mini"}, said)["request_model"] == "gpt-5-mini"
    )
    assert said == {}
    assert merged({"request_model": "gpt-5-mini"}, {})["model_name"] == "gpt-5-mini"
    assert merged({"prompt_tokens": 1, "total_tokens": 3}, {"prompt_tokens": 2}) == {"prompt_tokens": 1}


class Stub:
    """What hooks are put on: clients that give what they are told to."""

    def __init__(self, answer: Any = None, **options: Any) -> None:
        self.base_url = SimpleNamespace(host="localhost")
        self.answer = answer
        self.options = {"url": "/chat/completions", "method": "post", "json_data": {"model": "m"}} | options

    def ask(self, request: Any, **more: Any) -> Any:
        """One call through a hook."""
        return request(self, object, SimpleNamespace(**self.options), **more)


def plain(stub: Stub, *_: Any, **__: Any) -> Any:
    """The method that is hooked."""
    if isinstance(stub.answer, BaseException):
        raise stub.answer
    return stub.answer


async def plain_async(stub: Stub, *args: Any, **more: Any) -> Any:
    """The same."""
    return plain(stub, *args, **more)


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "telemetry.db") as made:
        yield made


async def test_what_is_no_call_or_cannot_be_read_passes_through(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody records, another path, another method, and options that are none; the last is said once."""
    sinks: list[Any] = []
    hooks = ClientHooks("stub", lambda: sinks[-1] if sinks else None)
    request, async_request = (hooks.calling(method, client_hooks.asked) for method in (plain, plain_async))
    assert Stub(1).ask(request) == await Stub(1).ask(async_request) == 1
    sinks.append(core_of(logger))
    for options in ({"url": "/models"}, {"method": "get"}, {"url": None}):
        assert Stub(1, **options).ask(request) == await Stub(1, **options).ask(async_request) == 1
    assert logger.get_invocations() == []
    assert len(caplog.records) == 1
    assert Stub(1, json_data=None).ask(request) == 1
    (row,) = logger.get_invocations()
    assert (row["usage_source"], row["request_model"], row["source"]) == ("missing", None, "sdk:stub")


class OddError(Exception):
    """An error that cannot be looked at."""

    @property
    def completion(self) -> Any:
        raise OSError("no")


class OddAnswer:
    """An answer that cannot be looked at."""

    parse = http_request = None

    @property
    def http_response(self) -> Any:
        raise OSError("no")


def test_what_raises_when_it_is_looked_at_is_still_a_row_and_the_callers_own(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer, an error, a header, a stream without its parts."""
    request = ClientHooks("stub", lambda: core_of(logger)).calling(plain, client_hooks.asked)
    answer = OddAnswer()
    assert Stub(answer).ask(request) is answer
    with pytest.raises(OddError):
        Stub(OddError()).ask(request)
    stream = type("Bare", (), {"__stream__": None})()
    assert Stub(stream).ask(request, stream=True) is stream
    rows = logger.get_invocations()
    assert sorted(str(row["status"]) for row in rows) == ["error", "success", "success"]
    assert len([record for record in caplog.records if "not as it was known" in record.message]) == 1


def test_a_client_of_another_kind_is_not_hooked() -> None:
    """Where what is sync is async."""
    module = SimpleNamespace(SyncAPIClient=SimpleNamespace(request=plain_async), AsyncAPIClient=SimpleNamespace())
    with pytest.raises(TypeError, match="another kind"):
        ClientHooks("stub", lambda: None).hooks(module)


def test_a_response_that_raises_when_it_is_looked_at_is_left_alone(logger: TelemetryLogger) -> None:
    """It has no status then."""
    call = RequestCall(core_of(logger), {}, None)
    client_hooks._responded(call, (), {"response": object()})
    call.retried()
    assert (call.response, call.attempts) == (None, None)


class Odd:
    """An item that raises."""

    @property
    def type(self) -> str:
        raise OSError("no")

    def __getattr__(self, name: str) -> Any:
        raise OSError(name)


class Response:
    """A response with a close."""

    content = b"{}"
    is_closed = False
    is_stream_consumed = False

    def __init__(self) -> None:
        self.stream = self
        self.closes = 0

    def close(self) -> None:
        self.closes += 1


def test_the_end_of_a_stream_is_recorded_once(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever comes after it, and whatever its items are."""
    call = RequestCall(core_of(logger), {}, None)
    call.start()
    record = StreamRecord(call)
    monkeypatch.setattr(record, "_take", lambda item: item.no_such_name)
    chunks = Chunks(iter([Odd(), Odd()]), record)
    next(chunks)
    assert logger.stats().bad_values == 1
    assert chunks.__length_hint__() == 1  # of the iterator within
    record.end(None)
    next(chunks)
    record.end(OSError())
    assert len(logger.get_invocations()) == 1
    with pytest.raises(AttributeError):
        Chunks.__new__(Chunks)._record  # noqa: B018 - made by a copy
    call.release()


def test_a_close_that_outlives_its_response_closes_what_is_below(logger: TelemetryLogger) -> None:
    """As a callback that somebody kept."""
    call = RequestCall(core_of(logger), {}, None)
    call.start()
    call.release()
    response, below = Response(), Response()
    response.stream = below
    unread = RawBody(call, weakref.ref(response), bytes)
    on_close(response, unread, asynchronous=False)
    close: Any = response.close
    assert pickle.loads(pickle.dumps(close))() is None  # noqa: S301 - made here
    del response
    gc.collect()
    close()
    assert below.closes == 1
    unread.closed()
    unread.end(None)
    assert len(logger.get_invocations()) == 1


def test_a_call_that_cannot_be_made_a_row_is_counted(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing reaches the caller."""
    for failing in ("built", "none"):
        call = RequestCall(core_of(logger), {}, None)
        call.start()
        call.release()

        def broken(*_: Any, failing: str = failing, **__: Any) -> None:
            if failing == "built":
                raise RuntimeError("a bug")

        monkeypatch.setattr(sdk_call, "built", broken)
        call.end({})
        call.end({})
    assert logger.stats().ledger.dropped == {DropReason.INVALID: 2}


def test_names_of_blocks_of_the_same_logger_are_inherited_past_those_of_others(
    logger: TelemetryLogger, tmp_path: Path
) -> None:
    """A nearer block wins."""
    with (
        TelemetryLogger(tmp_path / "other.db") as other,
        logger.invocation("outer", session_id="s", operation="agent"),
        other.invocation("other", user_id="theirs"),
        logger.invocation("inner", operation="tool"),
    ):
        call = RequestCall(core_of(logger), {}, None)
        call.start()
        call.release()
        call.end({})
    (row,) = [row for row in logger.get_invocations() if row["operation"] is None]
    assert (row["agent_name"], row["session_id"], row["user_id"]) == ("inner", "s", None)


def test_what_is_kept_at_the_end_of_the_process_is_handed_over() -> None:
    """Each once."""
    child, calls = Child(), NestedCalls()
    calls.begin(child)
    assert calls.end(child, {}, keeps=True)
    hand_over()
    hand_over()
    assert child.became == ["row"]
    calls._kept = None


class Told:
    """A call of a hook, that keeps what it is told."""

    def __init__(self) -> None:
        self.ends: list[tuple[dict[str, Any], BaseException | None]] = []

    def ends_by(self, _cut: Any) -> None:
        """A stream ends it."""

    def stop_clock(self) -> None:
        """The last byte is there."""

    def first_token(self) -> None:
        """An item is there."""

    def without_usage(self) -> None:
        """No item tells any."""

    def answered(self, found: dict[str, Any]) -> None:
        """It has ended well."""
        self.end(found)

    def end(self, found: dict[str, Any], error: BaseException | None = None) -> None:
        """It has ended."""
        self.ends.append((dict(found), error))


def undecodable(_data: bytes) -> bytes:
    """A body of another encoding than it says."""
    raise ValueError("not gzip")


def test_a_raw_body_that_cannot_be_decoded_is_its_caller_s_matter() -> None:
    """It is kept no longer, so that its bytes do not end it; what comes after its end is not looked at."""
    call: Any = Told()
    body = RawBody(call, lambda: None, undecodable)  # type: ignore[arg-type]
    body.take(b"{}")
    body.end(None)
    assert call.ends == []
    body.closed()
    body.take(b"{}")
    body.closed()
    assert [(found["usage_source"], error) for found, error in call.ends] == [("missing", None)]


def test_raw_events_that_cannot_be_decoded_are_left_out() -> None:
    """And so is what comes after their end."""
    call: Any = Told()
    events = raw_body.RawEvents(call, lambda: None, undecodable)  # type: ignore[arg-type]
    events.take(b"data: {}\n\n")
    events.end(None)
    events.take(b"data: {}\n\n")
    assert len(call.ends) == 1
    unread = raw_body.RawEvents(call, lambda: None, bytes)  # type: ignore[arg-type]
    closed: list[bool] = []
    unread.uncloses = lambda: closed.append(True)
    unread.let_go()
    assert (unread.ended, closed) == (True, [True])


def test_what_stands_for_a_stream_and_was_never_made_has_no_parts() -> None:
    """As an object that is copied or unpickled."""
    unmade = raw_body._Passing.__new__(raw_body._Passing)
    with pytest.raises(AttributeError, match="_stream"):
        _ = unmade._stream


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_a_body_of_bedrock_whose_reading_fails_ends_with_that(*, asynchronous: bool) -> None:
    """By whatever method it is read; a buffer that is filled is read as well."""

    class Sync:
        def read(self, _amount: int | None = None) -> bytes:
            raise ConnectionError("cut")

    class Async:
        parts: ClassVar[list[Any]] = [b'{"usage": {"inputTokens": 12, "outputTokens": 3}}', ConnectionError("cut")]

        async def read(self, _amount: int | None = None) -> bytes:
            raise ConnectionError("cut")

        async def readinto(self, buffer: Any) -> int:
            part = self.parts.pop(0)
            if isinstance(part, Exception):
                raise part
            buffer[: len(part)] = part
            return len(part)

    call: Any = Told()
    if not asynchronous:
        body: Any = SimpleNamespace(_raw_stream=Sync())
        bedrock_hooks.record_body(call, body, {}, asynchronous=False)
        with pytest.raises(ConnectionError):
            body._raw_stream.read()
    else:
        body = Async()
        bedrock_hooks.record_body(call, body, {}, asynchronous=True)
        assert await body.readinto(bytearray(100)) == 49
        with pytest.raises(ConnectionError):
            await body.readinto(bytearray(100))
        with pytest.raises(ConnectionError):
            await body.read()
    ((found, _),) = call.ends
    assert (found["status"], found["error_type"]) == ("error", "ConnectionError")
    assert found.get("prompt_tokens") == (12 if asynchronous else None)
