"""What the events of one stream say of its call: the same facts as of a whole answer, and when output begins.

Each event is read as an answer is, see `answers.reported_by`, and put together by `Cumulative`: what one event tells of
tiers and tools is not forgotten by the next. Most events say nothing new, so each family leaves out those of which that
is sure: an event costs about a microsecond.
Protocols: https://platform.openai.com/docs/api-reference/chat-streaming, .../responses-streaming,
https://platform.claude.com/docs/en/build-with-claude/streaming, https://ai.google.dev/api/generate-content,
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html,
https://docs.ollama.com/api/chat, https://docs.cohere.com/v2/docs/streaming, https://docs.mistral.ai/api.
"""

from typing import TYPE_CHECKING, Any, Final

from llm_service.pricing.usage.around import EXCEPTIONS
from llm_service.pricing.usage.leaves import is_container, is_list, is_mapping
from llm_service.pricing.usage.plain import everything, is_model
from llm_service.telemetry.instrumentation.cumulative import Cumulative
from llm_service.telemetry.instrumentation.failed_answers import (
    failure_of,
    get,
    tells_failure,
    text_of,
)
from llm_service.telemetry.instrumentation.responses.answers import (
    BEDROCK,
    facts_of,
    has_usage,
    model_of,
    reason_of,
    reported_by,
)
from llm_service.telemetry.instrumentation.responses.growing import Growing
from llm_service.telemetry.instrumentation.responses.plain_chunks import declares_pieces, is_one_piece
from llm_service.telemetry.record.failures import ORDINARY, failure_by

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["StreamEvents", "failure_in"]

_OUTPUT: Final = ("content", "tool_calls", "reasoning_content", "reasoning", "refusal", "audio", "function_call")
"""Where the first piece of output stands in a `delta` of Chat Completions."""
_CHUNK: Final = (
    *("choices", "service_tier", "error", "usage", "x_groq", "vertex_ai_grounding_metadata", "base_resp", "object"),
)
_CHOICE: Final = ("delta", "text", "finish_reason", "usage", "error")
_STARTS: Final = frozenset({"message_start", "message-start", "response.created"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
_SILENT: Final = frozenset({"ping", "text", "thinking", "signature", "citation", "input_json"})
"""Events that never tell usage, of the protocol and of clients' helpers."""
_CONVERSE: Final = frozenset(
    {"messageStart", "contentBlockStart", "contentBlockDelta", "contentBlockStop", "messageStop", "metadata"}
)
_kind_of: Final[Any] = type
_TYPED: Final = frozenset({"ping", "error", "chunk"})
"""Types of events that no other object has; the others consist of several words."""


class StreamEvents:
    """Reads the events of one stream, one after the other.

    Attributes:
        fields: what they have said until now.
        begun: whether there was any output yet.
        complete: whether the stream has said how it ended, and what it used where it says that at all.
        unfinished: whether its protocol has an end of which nothing was seen yet.
        strict: whether each stream of its protocol has that end.
    """

    __slots__ = (
        "_family",
        "_growing",
        "_models",
        "_named",
        "_plain",
        "_tier",
        "_untold",
        "_usage",
        "_wrapped",
        "begun",
        "complete",
        "fields",
        "strict",
        "unfinished",
    )  # fmt: skip

    def __init__(self) -> None:
        self.fields: dict[str, Any] = {}
        self.begun = False
        self.complete = False
        self.unfinished = False
        self.strict = False
        self._named = False
        self._wrapped = False
        self._tier: Any = None
        self._untold: Any = None  # the chunk that told the tier, until one tells it with usage
        self._models = set[Any]()
        self._plain: Any = None  # the class of chunks that tell nothing new, once their names and output have begun
        self._growing = Growing()
        self._usage = Cumulative(reported_by)
        self._family: Callable[[StreamEvents, Any], None] | None = None  # a bound method would be a circle

    @property
    def empty(self) -> bool:
        """Whether there was no event."""
        return self._family is None

    @property
    def known(self) -> bool:
        """Whether they are events of a known protocol, or told what was used."""
        return self._family not in {None, StreamEvents._other} or "usage_source" in self.fields

    def take(self, event: Any) -> None:
        """Read an event.

        Raises:
            Exception: what the event raises when it is looked at.
        """
        if _kind_of(event) is self._plain and is_one_piece(event, self._tier):
            return
        if self._wrapped:
            event = get(event, "data")
        family = self._family
        if family is None:
            inside = get(event, "data")
            if is_container(inside) and not is_list(inside) and get(event, "choices") is None:
                self._wrapped, event = True, inside  # Mistral's client wraps each event
            family = self._family = self._family_of(event)
        family(self, event)

    def end(self) -> dict[str, Any]:
        """The fields of the whole stream; no more events follow."""
        self._use(self._growing.taken())
        self._use(self._untold)
        if self.fields.get("finish_reason") == "refusal" and not self.begun and self.strict and self.complete:
            self._use({"content": [], "stop_reason": "refusal", "type": "message", "role": "assistant"})
        # Some compatible servers never say how it ended; who counted tokens had come to an end.
        self.strict |= self._family is StreamEvents._chat and "usage_source" not in self.fields
        return self.fields

    def _family_of(self, event: Any) -> "Callable[[StreamEvents, Any], None]":
        kind = get(event, "type")
        found: Callable[[StreamEvents, Any], None] = StreamEvents._other
        if isinstance(kind, str) and (kind in _TYPED or not {"_", "-", "."}.isdisjoint(kind)):
            found = StreamEvents._typed
        elif is_mapping(event) and len(event) == 1 and not _CONVERSE.isdisjoint(event):
            self.fields |= {"operation": "chat", "provider": BEDROCK}
            self.strict = True
            found = StreamEvents._converse
        elif isinstance(get(event, "done"), bool):
            self.strict = True
            found = StreamEvents._ollama
        elif any(get(event, name) is not None for name in ("candidates", "usage_metadata", "usageMetadata")):
            found = StreamEvents._gemini
        elif get(event, "choices") is not None:
            found = StreamEvents._chat
        return found

    # Each family

    def _chat(self, chunk: Any) -> None:
        models = self._models
        kind = _kind_of(chunk)
        if kind is dict:
            told = chunk
        else:
            told = chunk.__dict__ if kind in models and not chunk.__pydantic_extra__ else self._held(chunk, _CHUNK)
        tells = False
        for choice in told.get("choices") or ():
            kind = _kind_of(choice)
            if kind is dict:
                said = choice
            else:
                known = kind in models and not choice.__pydantic_extra__
                said = choice.__dict__ if known else self._held(choice, _CHOICE)
            delta: Any = said.get("delta")
            if not self.begun:
                self._began(said, delta)
            if said.get("finish_reason") is not None or said.get("error") is not None:
                self._ended_choice(said, chunk)
            kind = _kind_of(delta)
            if said.get("usage") is not None or (
                (kind not in models or delta.__pydantic_extra__) and _has_tools(delta)
            ):
                tells = True
        if not self._named:
            self._name(chunk)
        tier = told.get("service_tier")
        if tier is not None and tier != self._tier:
            self._use(self._untold)
            self._tier, self._untold = tier, chunk
        if tells or _tells(told):
            self._use_chunk(chunk, tier)
        elif self._plain is None and self.begun and self._named and not self._wrapped:
            kind = _kind_of(chunk)
            self._plain = kind if kind in models and declares_pieces(kind) else None

    def _use_chunk(self, chunk: Any, tier: Any) -> None:
        """Read a chunk that tells of usage, or of an error; with the one that told the tier before, if it does not."""
        if tier is None:
            self._use(self._untold)
        self._untold = None
        self._use(chunk)
        if tells_failure(chunk):
            self.fields |= failure_of(chunk)

    def _began(self, choice: Any, delta: Any) -> None:
        self.unfinished |= "finish_reason" not in self.fields
        self.begun = bool(choice.get("text")) or any(get(delta, name) for name in _OUTPUT)

    def _ended_choice(self, said: dict[str, Any], chunk: Any) -> None:
        reason = said.get("finish_reason")
        if reason is not None:
            self._ended(reason_of(chunk))
        if reason not in ORDINARY or said.get("error") is not None:
            self.fields |= failure_of(chunk)

    def _held(self, source: Any, names: tuple[str, ...]) -> dict[str, Any]:
        """What a chunk or a choice has under these names, and perhaps more."""
        told = everything(source)
        if told is None:
            return {name: get(source, name) for name in names}
        delta = told.get("delta")
        for one in (source, delta):  # classes that hold in `__dict__` what they declare, nothing of usage in a delta
            kind = _kind_of(one)
            if is_model(kind) and "executed_tools" not in kind.model_fields:
                self._models.add(kind)
        return told

    def _typed(self, event: Any) -> None:
        kind = get(event, "type")
        if kind == "content_block_delta":
            self.begun = True
        elif type(kind) is not str:
            self._use(event)
        elif kind == "message_delta":
            self._use(event)
            self._ended(text_of(get(event, "delta"), "stop_reason"))
        elif kind.endswith("delta"):
            self.begun = True
            if "model_name" not in self.fields and (model := text_of(event, "model")) is not None:  # Mistral's
                self.fields["model_name"] = model
        elif kind not in _SILENT:
            self._told(kind, event)

    def _told(self, kind: str, event: Any) -> None:
        """Read an event that may tell anything."""
        if kind in _STARTS:
            self.unfinished = self.strict = True
        if kind.startswith("response."):
            self._response(kind, get(event, "response"))
        elif kind == "message_start":
            self._name(get(event, "message"))
        elif kind == "content_block_start":
            self._block_begins(get(event, "content_block"))
        elif kind == "message-start":
            self._name(event)
        elif kind == "chunk":
            self._chat(get(event, "chunk"))
        elif kind.endswith(".done"):
            self.complete = True
        else:
            self.fields |= failure_in(event)
        self._use(event)
        if kind in _ENDS:
            self._ended(reason_of(get(event, "response")))
            self.unfinished, self.complete = False, True
        elif kind == "conversation.response.done":
            self.complete = True
        elif kind == "message-end":
            self._ended(text_of(get(event, "delta"), "finish_reason"))
            self.fields |= failure_of(get(event, "delta"))

    def _block_begins(self, block: Any) -> None:
        kind = text_of(block, "type")
        self.begun |= kind not in {"text", "thinking"}
        model = text_of(get(block, "to"), "model") if kind == "fallback" else None
        if model is not None:  # the model of the start declined
            self.fields["model_name"] = model

    def _response(self, kind: str, response: Any) -> None:
        if response is None:
            return
        if not self._named or kind in _ENDS:
            self._name(response)
        if kind in _ENDS:
            self.fields |= failure_of(response)

    def _converse(self, event: Any) -> None:
        if "contentBlockDelta" in event:
            self.begun = True
        elif "messageStart" in event:
            self.unfinished = True
        elif "messageStop" in event:
            self._ended(reason_of(event["messageStop"]))
        else:
            self._use(event)
            failed = next((name for name in EXCEPTIONS if name in event), None)
            if failed is not None:
                self.fields |= failure_of({"error": event[failed]}) | {"error_type": failed}

    def _gemini(self, chunk: Any) -> None:
        usage = get(chunk, "usage_metadata") or get(chunk, "usageMetadata")
        candidates = get(chunk, "candidates")
        grounded = ended = False
        for one in candidates or ():
            grounded |= (get(one, "groundingMetadata") or get(one, "grounding_metadata")) is not None
            ended |= (get(one, "finishReason") or get(one, "finish_reason")) is not None
        if usage is not None or grounded:
            for counted in self._growing.add(chunk, None if grounded else usage):
                self._use(counted)
        self.begun |= bool(candidates)
        if not self._named:
            self._name(chunk)
        self.unfinished |= bool(candidates) and "finish_reason" not in self.fields
        self.strict = True
        if ended or not candidates:
            self._ended(reason_of(chunk))
        if tells_failure(chunk):
            self.fields |= failure_of(chunk)

    def _ollama(self, chunk: Any) -> None:
        if not self._named:
            self._name(chunk)
        message = get(chunk, "message")
        self.begun |= any(get(message, name) for name in ("content", "thinking", "tool_calls"))
        self.begun |= bool(get(chunk, "response"))
        self.unfinished = not get(chunk, "done")
        if get(chunk, "done"):
            self._ended(reason_of(chunk))
            self._use(chunk)
        if tells_failure(chunk):
            self.fields |= failure_of(chunk)

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
            self.unfinished = False
            self.complete = "usage_source" in self.fields or self._growing.holds
            if reason not in ORDINARY:
                self.fields = {**failure_by(reason), **self.fields}

    def _use(self, event: Any) -> None:
        used = self._usage(event) if event is not None else None
        if not used:
            return
        self.fields |= used
        if has_usage(used):
            model = model_of(event) or model_of(get(event, "response"))
            if model is not None:  # whatever an earlier event named
                self.fields["model_name"] = model
            self.fields["usage_source"] = "reported"
            self.complete = "finish_reason" in self.fields


def _has_tools(delta: Any) -> bool:
    """Whether a delta tells of Groq's tools."""
    return "executed_tools" in delta if type(delta) is dict else get(delta, "executed_tools") is not None


def _tells(chunk: dict[str, Any]) -> bool:
    """Whether a chunk tells of usage beside its choices, or of an error."""
    told = chunk.get
    if told("usage") is told("x_groq") is told("vertex_ai_grounding_metadata") is told("error") is None:
        return told("base_resp") is not None or told("object") == "error"
    return True


def failure_in(event: Any) -> dict[str, Any]:
    """Status and error of an event that says that its stream failed; empty of any other. Never raises."""
    kind = get(event, "type")
    if type(kind) is not str:
        return {}
    if kind == "response.failed":
        return failure_of(get(event, "response"))
    if kind == "error" or kind.endswith(".error"):
        return failure_of(event if get(event, "error") is not None else {"error": event})
    return {}
