"""What the events of one stream say of its call: the same facts as of a whole answer, and when output begins.

Most events say nothing new, so each family is looked at by the few names that may: an event costs about a microsecond.
Usage is put together by `Cumulative`: of Anthropic's two reports, and of counts that are told more than once.
Protocols: https://platform.openai.com/docs/api-reference/chat-streaming, .../responses-streaming,
https://platform.claude.com/docs/en/build-with-claude/streaming, https://ai.google.dev/api/generate-content,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html, https://docs.ollama.com/api/chat,
https://docs.mistral.ai/api.
"""

from collections.abc import Callable
from typing import Any, Final

from llm_service.pricing.usage.leaves import is_mapping
from llm_service.pricing.usage.plain import members
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.responses.answers import (
    BEDROCK,
    ORDINARY,
    facts_of,
    failure_of,
    get,
    reason_of,
    reported_by,
    text_of,
)

__all__ = ["StreamEvents"]

_OUTPUT: Final = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "audio", "function_call")
"""Where the first piece of output stands in a `delta` of Chat Completions."""
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_REASONS: Final = ("finish_reason", "finishReason")
_CONVERSE: Final = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)


class StreamEvents:
    """Reads the events of one stream, one after the other.

    Attributes:
        fields: what they have said until now.
        begun: whether there was any output yet.
        complete: whether the stream has said how it ended, and what it used where it says that at all.
    """

    __slots__ = ("_family", "_named", "_reported", "_usage", "begun", "complete", "fields")

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.begun = False
        self.complete = False
        self._named = False
        self._reported: Any = None
        self._usage = Cumulative(reported_by)
        self._family: Callable[[Any], None] | None = None

    def take(self, event: Any) -> None:
        """Read an event.

        Raises:
            Exception: what the event raises when it is looked at.
        """
        family = self._family
        if family is None:
            family = self._family = self._family_of(event)
        family(event)

    def end(self) -> dict[str, Any]:
        """The fields of the whole stream; no more events follow."""
        last, self._reported = self._reported, None
        if last is not None:
            self._use(last)
        return self.fields

    def _family_of(self, event: Any) -> Callable[[Any], None]:
        if isinstance(get(event, "type"), str):
            return self._typed
        if is_mapping(event) and len(event) == 1 and not _CONVERSE.isdisjoint(event):
            self.fields |= {"operation": "chat", "provider": BEDROCK}
            return self._converse
        if isinstance(get(event, "done"), bool):
            return self._ollama
        if any(get(event, name) is not None for name in ("candidates", "usage_metadata", "usageMetadata")):
            return self._gemini
        if get(event, "choices") is not None:
            return self._chat
        inside = get(event, "data")
        return self._within if get(inside, "choices") is not None or get(inside, "type") is not None else self._other

    # Each family

    def _chat(self, chunk: Any) -> None:
        told = members(chunk)
        choices = told.get("choices") if told is not None else get(chunk, "choices")
        if choices:
            choice = choices[0]
            said = members(choice)
            reason = said.get("finish_reason") if said is not None else get(choice, "finish_reason")
            if not self.begun:
                delta = get(choice, "delta")
                self.begun = bool(get(choice, "text")) or any(get(delta, name) for name in _OUTPUT)
            if reason is not None:
                self._ended(reason_of(chunk))
                if reason not in ORDINARY:
                    self.fields |= failure_of(chunk)
        if not self._named:
            self._name(chunk)
        if told is None:
            told = {name: get(chunk, name) for name in ("usage", "x_groq", "error")}
        if told.get("usage") is not None or told.get("x_groq") is not None:
            self._use(chunk)
        if told.get("error") is not None:
            self.fields |= failure_of(chunk)

    def _typed(self, event: Any) -> None:
        kind = get(event, "type")
        if kind == "content_block_delta":
            self.begun = True
        elif type(kind) is not str:
            return
        elif kind.startswith("response."):
            if kind.endswith(".delta"):
                self.begun = True
            elif kind in _ENDS or not self._named:
                self._response(kind, get(event, "response"))
        elif kind == "message_start":
            self._name(get(event, "message"))
            self._use(event)
        elif kind == "message_delta":
            self._use(event)
            self._ended(text_of(get(event, "delta"), "stop_reason"))
        elif kind == "content_block_start":
            self.begun |= text_of(get(event, "content_block"), "type") not in {"text", "thinking"}
        elif kind.endswith(".delta"):
            self.begun = True
            self.fields.setdefault("model_name", text_of(event, "model"))
        elif kind.endswith(".done"):
            self._use(event)
            self.complete = True
        elif kind == "error":
            self.fields |= failure_of(event if get(event, "error") is not None else {"error": event})

    def _within(self, event: Any) -> None:
        """An event around the one that tells: Mistral's."""
        inside = get(event, "data")
        if get(inside, "choices") is not None:
            self._chat(inside)
        else:
            self._typed(inside)

    def _response(self, kind: str, response: Any) -> None:
        if response is None:
            return
        self._name(response)
        if kind in _ENDS:
            self.fields |= failure_of(response)
            self._use(response)
            self._ended(reason_of(response))
            self.complete = True

    def _converse(self, event: Any) -> None:
        if "contentBlockDelta" in event:
            self.begun = True
        elif "messageStop" in event:
            self._ended(reason_of(event["messageStop"]))
        elif "metadata" in event:
            self._use(event)

    def _gemini(self, chunk: Any) -> None:
        if get(chunk, "usage_metadata") is not None or get(chunk, "usageMetadata") is not None:
            self._reported = chunk  # each chunk tells all until then: the last is enough
        candidates = get(chunk, "candidates")
        if candidates:
            self.begun = True
        if not self._named:
            self._name(chunk)
        if not candidates or any(get(one, name) is not None for one in candidates for name in _REASONS):
            self._ended(reason_of(chunk))

    def _ollama(self, chunk: Any) -> None:
        if not self._named:
            self._name(chunk)
        message = get(chunk, "message")
        self.begun |= any(get(message, name) for name in ("content", "thinking", "tool_calls"))
        self.begun |= bool(get(chunk, "response"))
        if get(chunk, "done"):
            self._ended(reason_of(chunk))
            self._use(chunk)

    def _other(self, item: Any) -> None:
        self.begun = True
        self.fields |= {field: value for field, value in facts_of(item).items() if field != "model_name" or value}
        self._use(item)

    # What they have in common

    def _name(self, answer: Any) -> None:
        """Take model and ids; Azure's first chunk has neither."""
        for field, value in facts_of(answer).items():
            if field not in {"finish_reason", "service_tier"}:
                self.fields.setdefault(field, value)
        self._named = "model_name" in self.fields

    def _ended(self, reason: str | None) -> None:
        if reason is not None:
            self.fields["finish_reason"] = reason
            self.complete = "usage_source" in self.fields or self._reported is not None

    def _use(self, event: Any) -> None:
        used = self._usage(event)
        if not used:
            return
        self.fields |= {"usage_source": "reported", **used}
        self.complete = "finish_reason" in self.fields
