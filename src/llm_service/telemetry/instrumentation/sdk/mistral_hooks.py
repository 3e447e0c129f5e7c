"""Mistral's client: each call is a method of its own, which sends a request and reads its answer.

Hooked are those methods, and those that its own hooks go through: one before each attempt, and one for an answer and
for a refusal each. Where the latter are missing, attempts, status and request id are unknown. Of an attempt that is
followed by another the client makes an error of its own, which tells why.
"""

from itertools import product
from typing import Any, Final

from llm_service.telemetry.instrumentation.responses.answers import text_of
from llm_service.telemetry.instrumentation.sdk.hooks import Asked, Hook, Hooks, RequestCall
from llm_service.telemetry.instrumentation.sdk.providers import place_of_url
from llm_service.telemetry.instrumentation.sdk.recorded_response import record_stream

__all__ = ["MistralHooks", "asking"]

_CALLS: Final = {
    "chat": ("Chat", "chat", ("complete", "stream")),
    "fim": ("Fim", "text_completion", ("complete", "stream")),
    "agents": ("Agents", "chat", ("complete", "stream")),
    "embeddings": ("Embeddings", "embeddings", ("create",)),
    "conversations": (
        "Conversations", "chat", ("start", "append", "restart", "start_stream", "append_stream", "restart_stream")
    ),
    "responses": ("Responses", "chat", ("create",)),
    "transcriptions": ("Transcriptions", "transcription", ("complete", "stream")),
}  # fmt: skip
"""Module, class, operation, and methods; each method has a twin whose name ends with `_async`."""
_HOOKS: Final = "_hooks.sdkhooks"
_RETRIES: Final = "utils.retries"
_PLACES: Final = ("mistralai.client", "mistralai.azure.client", "mistralai.gcp.client", "mistralai")
"""Where the modules are: the last is the first major version's."""


class MistralHooks(Hooks):
    """The hooks into mistralai."""

    modules = tuple(f"{place}.{name}" for place, name in product(_PLACES, (_HOOKS, _RETRIES, *_CALLS)))

    def hooks(self, module: Any) -> list[Hook]:
        """As `Hooks`."""
        name = module.__name__.rpartition(".")[2]
        if name == _RETRIES.rpartition(".")[2]:
            return self.told_by(getattr(module, "TemporaryError", None), "__init__", _retrying)
        if name not in _CALLS:
            held = getattr(module, "SDKHooks", None)
            sent = self.told_by(held, "before_request", _sent)
            self._attempts = 0 if sent else self._attempts
            told = (self.told_by(held, after, _responded) for after in ("after_success", "after_error"))
            return [*sent, *(hook for hooks in told for hook in hooks)]
        kind, operation, methods = _CALLS[name]
        held = getattr(module, kind)
        found: list[Hook] = []
        for method, twin in product(methods, ("", "_async")):
            original = getattr(held, method + twin, None)
            if original is None:
                self.lacks(held, method + twin)
            else:
                found.append((held, method + twin, self.calling(original, asking(method, operation))))
        return found

    def take(self, call: RequestCall, answer: Any, response: Any, *, asynchronous: bool) -> Any:
        """As `Hooks`; a stream, too."""
        if not call.streams:
            return super().take(call, answer, response, asynchronous=asynchronous)
        call.take_request_id(answer.response)
        record_stream(call, answer, "generator", asynchronous=asynchronous)
        return answer


def asking(method: str, operation: str) -> Asked:
    """What says the fields of a call of this method by its arguments."""

    def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        url = kwargs.get("server_url") or args[0].sdk_configuration.get_server_details()[0]
        fields: dict[str, Any] = {"operation": operation}
        fields |= place_of_url(url)
        model = text_of(kwargs, "model")
        if model is not None:
            fields["request_model"] = model
        if method.endswith("stream") or kwargs.get("stream") is True:
            fields["stream"] = True
        return fields

    return asked


def _sent(call: RequestCall, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    call.sent_again()


def _retrying(call: RequestCall, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    call.responded(args[1] if len(args) > 1 else kwargs["response"])


def _responded(call: RequestCall, args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    call.responded(args[2])
