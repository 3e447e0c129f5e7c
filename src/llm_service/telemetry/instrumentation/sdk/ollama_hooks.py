"""Ollama's client: each call goes through `_request` of its class; a stream sends its request with its first step."""

from typing import Any, Final

from llm_service.telemetry.instrumentation.responses.answers import text_of
from llm_service.telemetry.instrumentation.sdk.hooks import Hook, Hooks

__all__ = ["OllamaHooks", "asked"]

_OPERATIONS: Final = {
    "/api/chat": "chat",
    "/api/generate": "text_completion",
    "/api/embed": "embeddings",
    "/api/embeddings": "embeddings",
    "/v1/systemone": "generate_content",
}
"""What is a call of a model, by its path; other requests are none."""


class OllamaHooks(Hooks):
    """The hooks into ollama."""

    modules = ("ollama._client",)

    def hooks(self, module: Any) -> list[Hook]:
        """As `Hooks`."""
        kinds = (module.Client, module.AsyncClient)
        return [(kind, "_request", self.calling(kind._request, asked, lazy=True)) for kind in kinds]  # noqa: SLF001


def asked(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """The fields that the arguments of a request say; None where it is no call of a model."""
    operation = _OPERATIONS.get(args[3])
    if operation is None:
        return None
    fields: dict[str, Any] = {"operation": operation, "provider": "ollama"}
    model = text_of(kwargs.get("json"), "model")
    if model is not None:
        fields["request_model"] = model
    if kwargs.get("stream"):
        fields["stream"] = True
    return fields
