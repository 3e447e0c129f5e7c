"""The number of tokens of a prompt: given, counted, learned from past prompts, or guessed from its bytes; and a bound.

No tokenizer is needed. If none knows the model, the ratio of tokens to bytes of the user's past calls is used: it also
covers hidden parts of every prompt, such as tools and a system prompt.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, Protocol, cast

from llm_service.errors import QueryError

__all__ = ["MIN_PROMPTS", "Prompt", "PromptSize", "PromptSource", "TokenRatios", "Tokenizer", "size_of", "utf8_length"]

Prompt = str | Sequence[Any]
"""A text, or chat messages: texts, dicts or objects of an SDK, with `role` and `content` (or `parts`), a text or a
list of parts."""
PromptSource = Literal["given", "tokenizer", "learned", "bytes"]

MIN_PROMPTS: Final = 10
"""Past prompts that a ratio needs."""
_BYTES_A_TOKEN: Final = 3
"""Ordinary prose and code have 3.5 to 6 bytes per token in OpenAI's encodings, in any script; JSON of numbers has 2,
hexadecimal 1.8, base64 1.4. So three overestimates most texts, but is not a bound."""
_MESSAGE: Final = 3
_NAME: Final = 1
_REPLY: Final = 3
"""Tokens that OpenAI's chat format adds for each message, each name and the reply (OpenAI Cookbook, "How to count
tokens with tiktoken": an estimate; the oldest model there needs one more for each message)."""
_ROLE: Final = 1
_MOST_PARTS: Final = 100_000
_DUMPS: Final = ("model_dump", "to_dict", "dict")
"""Methods of SDKs' objects that give a dict."""
_RESULT: Final = frozenset({"content", "output"})
"""Keys of a tool's result: a text, or parts."""
_SENT_AS_TEXT: Final = frozenset(
    {"arguments", "call_id", "function_call", "id", "reasoning", "reasoning_content", "refusal", "status"}
    | {"tool_call_id", "tool_calls", "type"}
)
"""Keys of messages whose values a model reads as text, which is no longer than their JSON."""
_NAMING: Final = frozenset({"id", "status", "type"})
"""A message of these alone names one that the server keeps."""
_NOT_SENT: Final = frozenset({"annotations", "response_metadata", "usage_metadata"})
_TEXT_PARTS: Final = frozenset({"tool_use", "tool_result", "tool-call", "function_call", "function_call_output"})
"""Types of parts that are text throughout, unless they hold parts of another type."""
_GEMINI_PARTS: Final = frozenset({"functionCall", "functionResponse", "function_call", "function_response"})
"""Keys of Gemini's parts that are text throughout, unless they hold files."""
_TEXT_TYPES: Final = ("text", "reasoning", "thinking", "thought", "summary")
"""What a type of parts is called that are a text and nothing else: `input_text`, `summary_text`."""
_BESIDE_TEXT: Final = frozenset(
    {"annotations", "cache_control", "citations", "id", "index", "logprobs", "role", "signature", "status", "text"}
    | {"thought", "thought_signature", "thoughtSignature", "type"}
)
"""What may stand beside the text of a part, and adds nothing to the prompt."""
_CONTENT: Final = frozenset({"content", "parts"})
_ONE_MESSAGE: Final = _MESSAGE + _ROLE + _REPLY


class Tokenizer(Protocol):
    """Counts the tokens of a text."""

    def count(self, text: str, model: str) -> int | None:
        """The exact number for this model; None if its encoding is unknown."""
        ...


class PromptSize(NamedTuple):
    """The number of tokens of a prompt.

    Attributes:
        tokens: the estimate.
        source: of the estimate.
        at_most: an upper bound, if nothing else is sent with the prompt; None if unknown.
        whole: False if it has parts other than text, which are not in `tokens`.
    """

    tokens: int
    source: PromptSource
    at_most: int | None
    whole: bool = True


class TokenRatios:
    """Ratios of tokens to bytes of past prompts, by agent and model, and by model.

    Args:
        rows: `(agent_name, model_name, prompts, bytes, tokens)`, sums over past prompts.
    """

    def __init__(self, rows: Iterable[tuple[str | None, str | None, int, int, int]] = ()) -> None:
        self._by_agent: dict[tuple[str | None, str | None], tuple[int, int, int]] = {}
        self._by_model: dict[str | None, tuple[int, int, int]] = {}
        for agent, model, *sums in rows:
            prompts, size, tokens = sums
            self._by_agent[agent, model] = (prompts, size, tokens)
            before = self._by_model.get(model, (0, 0, 0))
            self._by_model[model] = (before[0] + prompts, before[1] + size, before[2] + tokens)

    def tokens(self, agent_name: str | None, model_name: str | None, size: int) -> int | None:
        """Tokens of a prompt of `size` bytes, rounded up; None with fewer than `MIN_PROMPTS` past prompts."""
        for past in (self._by_agent.get((agent_name, model_name)), self._by_model.get(model_name)):
            if past is not None and past[0] >= MIN_PROMPTS and past[1] > 0:
                return -(-size * past[2] // past[1])
        return None


def size_of(
    prompt: Prompt,
    agent_name: str | None,
    model_names: Sequence[str],
    ratios: TokenRatios,
    tokenizer: Tokenizer | None,
) -> PromptSize:
    """The number of tokens of the prompt, by the best available way. Parts other than text are not counted.

    An image, a file, audio or a video has no bound that holds for any model that may be asked (some count tiles, some
    resize, some read the text within): with one there is none, and `whole` is False.

    Raises:
        QueryError: the prompt is neither a text nor messages, or something in it raises when it is looked at.
    """
    try:
        texts = _Texts(prompt)
    except QueryError:
        raise
    except Exception as error:  # noqa: BLE001 - an object of a client's
        remedy = f"something in it raises {type(error).__name__} when it is looked at; give plain values"
        raise QueryError("prompt", type(prompt).__name__, remedy) from None
    counts = () if tokenizer is None else (texts.count(tokenizer, name) for name in model_names)
    counted = next((count for count in counts if count is not None), None)
    if counted is not None:
        tokens = counted + texts.overhead
        margin = texts.messages or _ONE_MESSAGE
        return PromptSize(tokens, "tokenizer", tokens + margin if texts.whole else None, texts.whole)
    size = sum(map(utf8_length, texts.contents))
    # A byte-level tokenizer never makes more tokens than a text has bytes.
    most = size + sum(map(utf8_length, texts.labels)) + texts.overhead + (texts.messages or _ONE_MESSAGE)
    ratio = (ratios.tokens(agent_name, name, size) for name in model_names or (None,))
    learned = next((tokens for tokens in ratio if tokens is not None), None)
    if learned is not None:
        return PromptSize(learned, "learned", max(most, learned) if texts.whole else None, texts.whole)
    guess = -(-size // _BYTES_A_TOKEN) + texts.overhead + texts.messages * _ROLE
    return PromptSize(guess, "bytes", most if texts.whole else None, texts.whole)


def utf8_length(text: str) -> int:
    """Bytes of a text in UTF-8; a lone surrogate counts three."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


class _Texts:
    """The texts of a prompt.

    Attributes:
        contents: the texts of messages.
        labels: roles and names.
        messages: number of messages; 0 for a plain text.
        overhead: tokens that the chat format adds.
        whole: False if there are parts other than text.
    """

    def __init__(self, prompt: Prompt) -> None:
        self.contents: list[str] = []
        self.labels: list[str] = []
        self.messages = 0
        self.overhead = 0
        self.whole = True
        if isinstance(prompt, str):
            self.contents.append(prompt)
            return
        messages: object = prompt  # callers may pass other types
        if not isinstance(messages, Sequence) or isinstance(messages, bytes | bytearray):
            raise QueryError("prompt", _kind(prompt), "give a str, or a list of messages with role and content")
        for place, message in enumerate(_bounded("prompt", messages)):
            said = {"content": message} if isinstance(message, str) else _mapping(message)
            if said is None:
                raise QueryError(f"prompt[{place}]", _kind(message), "give a dict with role and content")
            self._add(place, said)
        self.overhead += self.messages * _MESSAGE + _REPLY

    def _add(self, place: int, message: Mapping[str, object]) -> None:
        self.messages += 1
        names_another = True
        for key, value in islice(message.items(), _MOST_PARTS):
            if value is None or key in _NOT_SENT or (not value and isinstance(value, Mapping | Sequence)):
                continue
            names_another = names_another and key in _NAMING
            if key in _CONTENT:
                self._add_content(place, value)
            elif key in {"role", "name"} and isinstance(value, str):
                self.labels.append(value)
                self.overhead += _NAME if key == "name" else 0
            elif key in _RESULT:
                self._add_result(place, value)
            elif key in _SENT_AS_TEXT:
                self._add_json(value)
            else:
                self.whole = False
        self.whole = self.whole and not names_another

    def _add_content(self, place: int, content: object) -> None:
        if isinstance(content, str):
            self.contents.append(content)
            return
        if not isinstance(content, Sequence) or isinstance(content, bytes | bytearray):
            raise QueryError(f"prompt[{place}].content", _kind(content), "give a str, or a list of parts")
        for part in _bounded(f"prompt[{place}].content", cast("Sequence[object]", content)):
            said = None if isinstance(part, str) else _mapping(part)
            text = part if said is None else said.get("text")
            if isinstance(text, str):
                self.contents.append(text)
                self.whole = self.whole and (said is None or _is_text_alone(said))
            elif said is not None and said.get("type") in _TEXT_PARTS:
                self._add_part(place, said)
            elif said is not None and (_is_geminis_text(said) or _is_text_document(said)):
                self._add_json(said)
            else:
                self.whole = False

    def _add_part(self, place: int, part: Mapping[str, object]) -> None:
        """A call of a tool, or its result, whose content is again a text or parts."""
        for key in _RESULT & part.keys():
            self._add_result(place, part[key])
        self._add_json({key: value for key, value in part.items() if key not in _RESULT})

    def _add_result(self, place: int, result: object) -> None:
        if isinstance(result, Mapping):  # a screenshot, or a file
            self.whole = False
        elif result:
            self._add_content(place, result)

    def _add_json(self, value: object) -> None:
        try:
            self.contents.append(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
        except (TypeError, ValueError, RecursionError):  # objects, circles: nobody knows what is sent
            self.whole = False

    def count(self, tokenizer: Tokenizer, model: str) -> int | None:
        total = 0
        for text in (*self.contents, *self.labels):
            tokens = tokenizer.count(text, model)
            if tokens is None:
                return None
            total += tokens
        return total


def _bounded(field: str, parts: Sequence[object]) -> Sequence[object]:
    """The parts of a prompt.

    Raises:
        QueryError: too many parts; an iterator may be endless.
    """
    found = [*islice(parts, _MOST_PARTS + 1)]
    if len(found) > _MOST_PARTS:
        raise QueryError(field, _kind(parts), f"give at most {_MOST_PARTS:,} of them, or prompt_tokens")
    return found


def _mapping(message: object) -> Mapping[str, object] | None:
    """A message or part as a mapping: it is one, or an object of an SDK; None for anything else."""
    if isinstance(message, Mapping):
        return cast("Mapping[str, object]", message)
    for name in _DUMPS:
        dump: object = getattr(message, name, None)
        if callable(dump):
            with suppress(Exception):  # of a foreign class, which may raise anything
                found: object = dump()
                if isinstance(found, Mapping):
                    return cast("Mapping[str, object]", found)
    return None


def _is_text_alone(part: Mapping[str, object]) -> bool:
    """Whether a part with a text holds nothing else that the model reads, such as an image with a caption."""
    kind = part.get("type")
    if isinstance(kind, str) and not any(name in kind for name in _TEXT_TYPES):
        return False
    others = (value for key, value in islice(part.items(), _MOST_PARTS) if key not in _BESIDE_TEXT)
    return not any(value for value in others if not isinstance(value, int | float))


def _is_geminis_text(part: Mapping[str, object]) -> bool:
    """Whether it is a call of a function or its result, without files in it (`parts`)."""
    inside = [cast("Mapping[str, object]", value) for value in part.values() if isinstance(value, Mapping)]
    return _GEMINI_PARTS.issuperset(part) and not any(value.get("parts") for value in inside)


def _is_text_document(part: Mapping[str, object]) -> bool:
    """Whether it is a document of Anthropic's that is plain text, without citations, which add to it."""
    source = part.get("source")
    return (
        part.get("type") == "document"
        and not part.get("citations")
        and isinstance(source, Mapping)
        and cast("Mapping[str, object]", source).get("type") == "text"
    )


def _kind(value: object) -> str:
    """Only the type: an error message must not quote a prompt."""
    return type(value).__name__
