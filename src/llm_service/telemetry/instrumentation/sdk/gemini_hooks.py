"""Google's client: a call goes through a private method of its models, whose answer is read as the client made it.

Hooked are the methods that send one request each, so that the calls of automatic function calling are calls, and
`_request_once`, which sends each attempt of it; where that is missing, attempts are unknown.
"""

from typing import Any, Final

from llm_service.telemetry.instrumentation.failed_answers import first_text
from llm_service.telemetry.instrumentation.open_streams import hold_stream
from llm_service.telemetry.instrumentation.responses.answers import VERTEX, read_answer, text_of
from llm_service.telemetry.instrumentation.sdk.hooks import Asked, Hook, Hooks, RequestCall
from llm_service.telemetry.instrumentation.sdk.raw_body import json_of
from llm_service.telemetry.instrumentation.sdk.recorded_response import AsyncChunks, StreamRecord

__all__ = ["GeminiHooks", "asking"]

_MODELS: Final = "google.genai.models"
_CLIENT: Final = "google.genai._api_client"
_OPERATIONS: Final = {
    "_generate_content": "generate_content",
    "_generate_content_stream": "generate_content",
    "_embed_content": "embeddings",
    "_generate_images": "image_generation",
    "_edit_image": "image_generation",
    "_upscale_image": "image_generation",
}
_ATTEMPTS: Final = ("_request_once", "_async_request_once")
_NEEDED: Final = ("_generate_content", "_generate_content_stream")
_PUBLIC: Final = {"_embed_content": "embed_content"}
"""What the first releases have in the place of a private method."""
GEMINI: Final = "gcp.gemini"
_TIER: Final = "x-gemini-service-tier"
"""The header that tells the tier that counted, which the client drops from the usage."""


class GeminiHooks(Hooks):
    """The hooks into google-genai."""

    modules = (_CLIENT, _MODELS)

    def hooks(self, module: Any) -> list[Hook]:
        """As `Hooks`."""
        found: list[Hook]
        if module.__name__ == _CLIENT:
            kind = getattr(module, "BaseApiClient", None)
            found = [hook for name in _ATTEMPTS for hook in self.told_by(kind, name, _sent, _responded)]
            self._attempts = 0 if found else None
            return found
        found = []
        for kind in (module.Models, module.AsyncModels):
            for name, operation in _OPERATIONS.items():
                held = name if name in _NEEDED or hasattr(kind, name) else _PUBLIC.get(name)
                if held is None:
                    self.lacks(kind, name)
                else:
                    found.append((kind, held, self.calling(getattr(kind, held), asking(name, operation))))
        return found

    def take(self, call: RequestCall, answer: Any, response: Any, *, asynchronous: bool) -> Any:
        """As `Hooks`; a stream of an async client has sent its request already."""
        if call.streams:
            steps = AsyncChunks(answer, StreamRecord(call))
            hold_stream(steps, call)
            return steps
        body = getattr(getattr(answer, "sdk_http_response", None), "body", None)
        if body is not None:  # as `should_return_http_response` asks for: nothing else is told
            call.answered(read_answer(json_of(body)))
            return answer
        return super().take(call, answer, response, asynchronous=asynchronous)


def asking(name: str, operation: str) -> Asked:
    """What says the fields of a call of this method by its arguments."""

    def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
        client = args[0]._api_client  # noqa: SLF001 - of the SDK
        fields: dict[str, Any] = {"operation": operation, "provider": VERTEX if client.vertexai else GEMINI}
        if client.vertexai and type(client.location) is str:
            fields["region"] = client.location
        model = text_of(kwargs, "model")
        if model is not None:
            fields["request_model"] = model.rpartition("/")[2]
        tier = first_text(kwargs.get("config"), ("service_tier", "serviceTier"))
        if tier is not None:
            fields["service_tier"] = tier.lower()
        if name.endswith("_stream"):
            fields["stream"] = True
        return fields

    return asked


def _sent(call: RequestCall, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
    call.sent_again()


def _responded(call: RequestCall, response: Any) -> None:
    call.responded(response)
    call.know({"service_tier": text_of(getattr(response, "headers", None), _TIER)})
