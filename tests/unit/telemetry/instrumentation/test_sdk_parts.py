"""Parts of the hooks by themselves: who sells, what is imported later, what a block keeps of its calls."""

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from llm_service.telemetry.instrumentation.nested_calls import NestedCalls, Settled
from llm_service.telemetry.instrumentation.record_building import merged
from llm_service.telemetry.instrumentation.sdk import import_watch, providers
from llm_service.telemetry.instrumentation.sdk.import_watch import when_imported
from llm_service.telemetry.instrumentation.sdk.providers import provider_of_client


def client(host: str, kind: str = "OpenAI") -> Any:
    """What is asked of a client."""
    return type(kind, (), {"base_url": SimpleNamespace(host=host)})()


@pytest.mark.parametrize(
    ("host", "kind", "provider"),
    [
        ("api.openai.com", "OpenAI", "openai"),
        ("eu.api.openai.com", "OpenAI", None),  # its prices differ
        ("mine.openai.azure.com", "AzureOpenAI", "azure.ai.openai"),
        ("gateway.example.org", "AsyncAzureOpenAI", "azure.ai.openai"),
        ("openrouter.ai", "OpenAI", "openrouter"),
        ("API.Groq.com", "OpenAI", "groq"),
        ("api.anthropic.com", "Anthropic", "anthropic"),
        ("bedrock-runtime.eu-west-1.amazonaws.com", "AnthropicBedrock", "aws.bedrock"),
        ("europe-west1-aiplatform.googleapis.com", "AnthropicVertex", "gcp.vertex_ai"),
        ("localhost", "OpenAI", None),
        ("api.openai.com.example.org", "OpenAI", None),
        ("evil-openrouter.ai", "OpenAI", None),
    ],
)
def test_the_seller_is_named_where_host_or_client_say_it(host: str, kind: str, provider: str | None) -> None:
    """Else it is unknown: what speaks a protocol may be anyone."""
    asked = client(host, kind)
    assert provider_of_client(asked) == provider_of_client(asked) == provider


def test_what_is_remembered_of_clients_is_bounded() -> None:
    """A program may make a client for each request."""
    for _ in range(200):
        provider_of_client(client("api.openai.com"))
    assert len(providers._known) <= 64


def test_a_module_is_told_of_when_it_is_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    """At once where it is there already, and only once."""
    told: list[ModuleType] = []
    when_imported("sys", told.append)
    assert told == [sys]
    (tmp_path / "imported_later.py").write_text("value = 42\n", "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.meta_path)
    when_imported("imported_later", told.append)
    when_imported("never_imported", told.append)
    import imported_later  # type: ignore[import-not-found]

    assert told[1:] == [imported_later]
    assert imported_later.value == 42
    assert type(imported_later.__loader__).__name__ == "SourceFileLoader"
    assert imported_later.__spec__.loader is imported_later.__loader__
    with pytest.raises(ModuleNotFoundError):
        import never_imported  # type: ignore[import-not-found]  # noqa: F401
    import_watch._waiting.clear()
    sys.meta_path[:] = before
    del sys.modules["imported_later"]


class Child:
    """A call that notes what becomes of it."""

    def __init__(self) -> None:
        self.became: list[Any] = []
        self.told = {"operation": "chat"}

    def stand_alone(self) -> None:
        self.became.append("row")

    def stand_for(self, block: dict[str, Any], /) -> None:
        self.became.append(block)

    def cut_short(self) -> dict[str, Any]:
        self.became.append("cut")
        return self.told


def test_one_call_is_its_block() -> None:
    """Ended, running, or cut where the block cannot wait."""
    ended, calls = Child(), NestedCalls()
    calls.begin(ended)
    assert calls.end(ended)
    assert calls.settle({}, is_call=True) == Settled(ended.told)
    for block, settled, became in (
        ({"a": 1}, Settled(waits=True), {"a": 1}),
        (None, Settled({"operation": "chat"}), "cut"),
    ):
        running, calls = Child(), NestedCalls()
        calls.begin(running)
        assert calls.settle(block, is_call=True) == settled
        assert running.became == [became]
        assert not calls.end(running)


def test_several_calls_and_those_of_a_span_are_rows() -> None:
    """Whether they have ended or not."""
    first, second, calls = Child(), Child(), NestedCalls()
    calls.begin(first)
    assert calls.end(first)
    calls.begin(second)
    assert first.became == ["row"]
    assert not calls.end(second)
    assert calls.settle({}, is_call=True) == Settled(several=True)
    only, calls = Child(), NestedCalls()
    calls.begin(only)
    assert calls.end(only)
    assert calls.settle({}, is_call=False) == Settled(several=True)
    assert only.became == ["row"]
    assert NestedCalls().settle({}, is_call=True) == Settled()


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
