"""What hooks of all SDKs have in common, and Bedrock's bodies: what is not as it was known stays its caller's own."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.inside import core_of

from llm_service.pricing.sellers import provider_of
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.instrumentation.sdk import bedrock_hooks, gemini_hooks, mistral_hooks, ollama_hooks, sdk_call
from llm_service.telemetry.instrumentation.sdk.bedrock_hooks import BedrockHooks
from llm_service.telemetry.instrumentation.sdk.gemini_hooks import GeminiHooks
from llm_service.telemetry.instrumentation.sdk.hooks import Hooks, RequestCall
from llm_service.telemetry.instrumentation.sdk.instruments import SDKS
from llm_service.telemetry.instrumentation.sdk.mistral_hooks import MistralHooks
from llm_service.telemetry.instrumentation.sdk.providers import place_of_url, provider_of_host

STREAM: dict[str, Any] = {"operation": "chat", "stream": True}


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A sync logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "telemetry.db") as made:
        yield made


def asking(fields: dict[str, Any] | None) -> Callable[..., dict[str, Any] | None]:
    """Reads arguments as these fields."""
    return lambda _args, _kwargs: None if fields is None else dict(fields)


def numbers(*items: Any) -> Iterator[Any]:
    """A generator."""
    yield from items


async def numbers_async(*items: Any) -> AsyncIterator[Any]:
    """An async one."""
    for item in items:
        yield item


@pytest.mark.parametrize("sdk", SDKS)
def test_each_sdk_names_the_modules_that_are_hooked(sdk: str) -> None:
    """And reads no arguments of its base class."""
    hooks = SDKS[sdk](sdk, lambda: None)
    assert hooks.modules
    assert all(type(name) is str for name in hooks.modules)
    assert isinstance(hooks, Hooks)


def test_a_generator_is_a_call_from_its_first_step(logger: TelemetryLogger) -> None:
    """By the name of the one that it came of; without a logger, and without items, it is as it was."""
    sinks: list[Any] = [core_of(logger)]
    hooks = Hooks("stub", lambda: sinks[-1] if sinks else None)
    hooked = hooks.calling(numbers, asking(STREAM))
    unread, later = hooked(1, 2), hooked(1, 2)
    assert (unread.__name__, unread.__qualname__) == ("numbers", "numbers")
    del unread
    assert logger.get_invocations() == []
    assert list(hooked()) == []
    assert list(hooked({"done": True, "done_reason": "stop"}, 2))[1] == 2
    assert [row["stream"] for row in logger.get_invocations()] == [True, True]
    sinks.clear()
    assert list(later) == [1, 2]  # its logger has gone meanwhile
    assert list(hooked(3)) == [3]
    assert len(logger.get_invocations()) == 2


async def test_an_async_generator_is_a_call_from_its_first_step(logger: TelemetryLogger) -> None:
    """The same, and it is closed with the one around it."""
    sinks: list[Any] = [core_of(logger)]
    hooks = Hooks("stub", lambda: sinks[-1] if sinks else None)

    async def giving(*items: Any) -> Any:
        return numbers_async(*items)

    hooked = hooks.calling(giving, asking(STREAM), lazy=True)
    later = await hooked(1, 2)
    assert [item async for item in await hooked()] == []
    left = await hooked(1, 2)
    assert await anext(left) == 1
    await left.aclose()
    assert [(row["finish_reason"], row["stream"]) for row in logger.get_invocations()] == [
        ("cancelled", True),
        (None, True),
    ]
    sinks.clear()
    assert [item async for item in later] == [1, 2]


async def test_a_stream_that_is_no_generator_any_more_is_left_alone(
    logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """It is the caller's own object, and that is said once."""
    hooks = Hooks("stub", lambda: core_of(logger))
    items = [1, 2]

    async def giving() -> Any:
        return items

    assert hooks.calling(lambda: items, asking(STREAM), lazy=True)() is items
    assert await hooks.calling(giving, asking(STREAM), lazy=True)() is items
    assert logger.get_invocations() == []
    assert len([record for record in caplog.records if "not as it was known" in record.message]) == 1


def test_what_cannot_be_begun_is_left_alone(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments that raise, and a call that does."""
    hooks = Hooks("stub", lambda: core_of(logger))
    assert hooks.calling(lambda: 42, lambda _args, _kwargs: 1 / 0)() == 42  # type: ignore[arg-type, return-value]
    monkeypatch.setattr(RequestCall, "start", lambda _: 1 / 0)
    assert hooks.calling(lambda: 42, asking({"operation": "chat"}))() == 42
    with pytest.raises(NotImplementedError):
        hooks.hooks(None)


async def test_what_tells_does_so_within_a_call_alone(logger: TelemetryLogger) -> None:
    """Before and after it, sync and async."""
    told: list[Any] = []

    async def other() -> int:
        return 42

    tell = Hooks.telling(lambda: 42, lambda *_: told.append("before"), lambda *_: told.append("after"))
    tell_async = Hooks.telling(other, lambda *_: told.append("before"), lambda *_: told.append("after"))
    quiet = Hooks.telling(other, lambda *_: told.append("alone"))
    assert (tell(), await tell_async(), told) == (42, 42, [])
    call = RequestCall(core_of(logger), {}, 0)
    call.start()
    assert (tell(), await tell_async(), await quiet()) == (42, 42, 42)
    call.release()
    call.end({})
    assert told == ["before", "after"] * 2 + ["alone"]


def test_a_request_id_is_one_whatever_its_header_is_called_and_text(logger: TelemetryLogger) -> None:
    """Else there is none."""
    for headers, found in (({"X-Request-ID": "r"}, "r"), ({"request-id": 42}, None), ({"date": "today"}, None)):
        call = RequestCall(core_of(logger), {}, None)
        call.take_request_id(SimpleNamespace(headers=headers))
        assert call._fields.get("request_id") == found


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.mistral.ai", "mistral_ai"),
        ("https://api.mistral.ai/v1?x=1", "mistral_ai"),
        ("http://localhost:8080", None),
        ("http://localhost:11434", "ollama"),
        ("https://my.openai.azure.us/openai/v1", "azure.ai.openai"),
        ("https://api.business.githubcopilot.com", "github_copilot"),
        ("https://acc.snowflakecomputing.com/api/v2/cortex", "snowflake"),
        ("nonsense", None),
    ],
)
def test_the_seller_of_a_url_is_its_hosts(url: str, provider: str | None) -> None:
    """Where that is certain."""
    assert place_of_url(url).get("provider") == provider


def test_each_host_of_a_price_list_is_its_seller() -> None:
    """As far as the data of genai-prices spell it out; where they do not, there is another name for it."""
    data = pytest.importorskip("genai_prices.data")
    known = 0
    for provider in data.providers:
        host = re.fullmatch(r"https://((?:[a-z0-9-]|\\\.)+[a-z0-9])(?:/.*|\(\?:/.*)?", provider.api_pattern)
        if host is None or provider.id.startswith("huggingface") or provider.id == "openai-decisions":
            continue
        known += 1
        assert provider_of(provider_of_host(host[1].replace("\\", ""))) == provider.id, host[1]
    assert known > 20


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://aiplatform.eu.rep.googleapis.com/v1", "eu"),
        ("https://us-east5-aiplatform.googleapis.com/v1", "us-east5"),
        ("https://my.openai.azure.us/openai", "us-gov"),
        ("https://my.openai.azure.cn/openai", "china"),
        ("https://eu.api.openai.com/v1", "eu"),
    ],
)
def test_a_host_names_its_region(url: str, region: str) -> None:
    """Of a cloud apart, too."""
    assert place_of_url(url)["region"] == region


def test_arguments_that_say_less_are_calls_without_it() -> None:
    """No model, and what is no call of a model."""
    client = SimpleNamespace(_api_client=SimpleNamespace(vertexai=False))
    asked = gemini_hooks.asking("_generate_content", "generate_content")((client,), {})
    assert asked == {"operation": "generate_content", "provider": "gcp.gemini"}
    assert ollama_hooks.asked((None, None, "POST", "/api/chat"), {}) == {"operation": "chat", "provider": "ollama"}
    assert ollama_hooks.asked((None, None, "POST", "/api/tags"), {}) is None
    mistral = SimpleNamespace(
        sdk_configuration=SimpleNamespace(get_server_details=lambda: ("https://api.mistral.ai", {}))
    )
    found = mistral_hooks.asking("create", "chat")((mistral,), {"stream": True, "model": "m"})
    assert found == {"operation": "chat", "provider": "mistral_ai", "request_model": "m", "stream": True}
    assert mistral_hooks.asking("complete", "chat")((mistral,), {"server_url": "http://localhost"}) == {
        "operation": "chat"
    }
    runtime = SimpleNamespace(meta=SimpleNamespace(service_model=SimpleNamespace(service_name="bedrock-runtime")))
    other = SimpleNamespace(meta=SimpleNamespace(service_model=SimpleNamespace(service_name="s3")))
    named = {"operation_name": "Converse", "api_params": {}}
    assert bedrock_hooks.asked((runtime,), named) == {"operation": "chat", "provider": "aws.bedrock"}
    assert bedrock_hooks.asked((other,), named) is None


def test_a_release_without_a_method_has_no_hook_for_it() -> None:
    """Those that it has are hooked; what the first releases call otherwise, too."""

    class Old:
        def _generate_content(self) -> None: ...
        def _generate_content_stream(self) -> None: ...
        def embed_content(self) -> None: ...

    models = SimpleNamespace(__name__="google.genai.models", Models=Old, AsyncModels=Old)
    hooked = [name for _, name, _ in GeminiHooks("google-genai", lambda: None).hooks(models)]
    assert hooked == ["_generate_content", "_generate_content_stream", "embed_content"] * 2
    assert GeminiHooks("google-genai", lambda: None).hooks(SimpleNamespace(__name__="google.genai._api_client")) == []
    chat = SimpleNamespace(__name__="mistralai.chat", Chat=type("Chat", (), {"complete": lambda _: None}))
    hooks = MistralHooks("mistral", lambda: None)
    assert [name for _, name, _ in hooks.hooks(chat)] == ["complete"]
    assert hooks.hooks(SimpleNamespace(__name__="mistralai._hooks.sdkhooks", SDKHooks=object)) == []
    assert hooks._attempts is None


class Raw:
    """What is below a body."""

    def __init__(self, parts: list[Any]) -> None:
        self.parts = parts

    def read(self, _size: int | None = None, *_args: Any) -> Any:
        part = self.parts.pop(0) if self.parts else b""
        if isinstance(part, BaseException):
            raise part
        return part

    def close(self) -> None: ...


ANSWER = json.dumps(
    {"type": "message", "role": "assistant", "id": "m", "usage": {"input_tokens": 3, "output_tokens": 2}}
)
COUNTED = {"x-amzn-bedrock-input-token-count": "3", "x-amzn-bedrock-output-token-count": "2"}


@pytest.mark.parametrize(
    ("parts", "sizes", "headers", "expected"),
    [
        ([ANSWER.encode()], [None], {}, ("success", 5, "m")),
        ([ANSWER.encode()], [9999], {"content-length": str(len(ANSWER))}, ("success", 5, "m")),
        ([ANSWER[:9].encode(), ANSWER[9:].encode(), b""], [9, 999, 9], {}, ("success", 5, "m")),
        ([b"", ANSWER.encode()], [0, None], {}, ("success", 5, "m")),
        ([b"x" * (1 << 20), b"y", b""], [1 << 20, 9, 9], COUNTED, ("success", 5, None)),
        ([b"<html>"], [None], COUNTED, ("success", 5, None)),
        ([ANSWER[:9].encode(), OSError("gone")], [9, 9], COUNTED, ("error", 5, None)),
    ],
)
async def test_a_body_is_recorded_when_it_was_read(
    logger: TelemetryLogger, parts: list[Any], sizes: list[int | None], headers: dict[str, str], expected: Any
) -> None:
    """Whole or in parts, with or without its length, too long to keep, and breaking off."""
    for asynchronous in (False, True):
        raw: Any = Raw(list(parts))
        body: Any = SimpleNamespace(_raw_stream=raw)
        if asynchronous:

            class Body(Raw):
                async def read(self, size: int | None = None) -> Any:  # type: ignore[override]
                    return super().read(size)

            body = Body(list(parts))
        call = RequestCall(core_of(logger), {}, None)
        call.start()
        call.release()
        bedrock_hooks.record_body(call, body, headers, asynchronous=asynchronous)
        target = body if asynchronous else raw
        for size in sizes:
            try:
                given = target.read(size)
                given = await given if asynchronous else given
            except OSError:
                pass
        target.close()
        assert vars(target).keys() == {"parts"}  # nothing of ours is left
        row = logger.get_invocations(limit=1)[0]
        assert (row["status"], row["total_tokens"], row["response_id"]) == expected


def test_a_body_is_recorded_once(logger: TelemetryLogger) -> None:
    """Whoever kept its methods, and however often it is closed."""
    raw: Any = Raw([ANSWER.encode()])
    call = RequestCall(core_of(logger), {}, None)
    call.start()
    call.release()
    bedrock_hooks.record_body(call, SimpleNamespace(_raw_stream=raw), {}, asynchronous=False)
    read, close = raw.read, raw.close
    assert read().decode() == ANSWER
    assert read() == b""
    close()
    assert len(logger.get_invocations()) == 1


def test_a_response_without_a_status_has_none(logger: TelemetryLogger) -> None:
    """Nor has none at all."""
    call = RequestCall(core_of(logger), {}, None)
    call.responded(None)
    call.responded(SimpleNamespace(status_code="200"))
    assert "http_status" not in call._fields


def test_an_answer_without_what_it_should_have_is_still_a_row_and_the_callers_own(logger: TelemetryLogger) -> None:
    """A stream of another kind, and a dict of another shape."""
    hooks = BedrockHooks("bedrock", lambda: core_of(logger))
    for fields in (STREAM, {"operation": "chat"}):
        answer: dict[str, Any] = {"stream": object(), "body": object()}
        assert hooks.calling(lambda answer=answer: answer, asking(fields))() is answer
    assert [row["status"] for row in logger.get_invocations()] == ["success"] * 2


def test_a_call_whose_record_cannot_be_made_later_is_no_success(
    logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was accepted, so it has a row."""
    monkeypatch.setattr(sdk_call, "plain_record", lambda _: None)
    monkeypatch.setattr(sdk_call, "built", lambda *_, **__: None)
    monkeypatch.setattr(sdk_call, "plain_fields_of", lambda _: {})
    call = RequestCall(core_of(logger), {"model_name": "m"}, 1)
    call.start()
    call.release()
    logger.log_invocation(call._made_later())
    (row,) = logger.get_invocations()
    assert (row["status"], row["error_type"], row["invocation_id"]) == ("error", "not_recorded", call.invocation_id)
