"""How many tokens a prompt is: each way in its turn, and what none of them exceeds."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.estimates import openai_tokens
from llm_service.estimates.openai_tokens import OpenAITokenizer, encoding_of
from llm_service.estimates.tokens import MIN_PROMPTS, PromptSize, TokenRatios, size_of, utf8_length

MODEL = "gpt-4o"
NO_RATIOS = TokenRatios()


class Words:
    """Counts words, of one model."""

    def count(self, text: str, model: str) -> int | None:
        return len(text.split()) if model == MODEL else None


def messages(*contents: Any) -> list[dict[str, Any]]:
    """Of a user."""
    return [{"role": "user", "content": content} for content in contents]


def test_a_tokenizer_counts_a_text_exactly() -> None:
    """The bound adds what the chat format adds for one message: 3, its role, and 3 for the reply."""
    assert size_of("one two three", None, (MODEL,), NO_RATIOS, Words()) == (3, "tokenizer", 10, True)


def test_a_tokenizer_counts_messages_with_the_overhead_of_the_chat_format() -> None:
    """Contents 5, roles 2, a name 1 + 1, 3 for each message, 3 for the reply; the bound one more for each message."""
    prompt = [
        {"role": "system", "content": "be brief", "name": "x"},
        {"role": "user", "content": [{"type": "text", "text": "one two"}, "three"], "tool_calls": None},
    ]
    assert size_of(prompt, None, (MODEL,), NO_RATIOS, Words()) == (5 + 2 + 2 + 6 + 3, "tokenizer", 20, True)


@pytest.mark.parametrize(
    "extra", [{"content": [{"type": "image_url", "image_url": {"url": "data:"}}]}, {"tool_calls": [object()]},
              {"content": [7]}, {"content": [{"type": "tool_result", "content": [{"type": "image"}]}]}, {"audio": {"id": 1}}, {"name": 5}],
)  # fmt: skip
@pytest.mark.parametrize("tokenizer", [Words(), None], ids=["tokenizer", "bytes"])
def test_what_is_no_text_has_no_bound(extra: Mapping[str, Any], tokenizer: Words | None) -> None:
    """An image is sent too, and nobody here knows how many tokens it is."""
    size = size_of([{"role": "user", "content": "one", **extra}], None, (MODEL,), NO_RATIOS, tokenizer)
    assert size.at_most is None
    assert size.tokens > 0


class Message:
    """A message as SDKs give it."""

    def __init__(self, dump: str, **said: Any) -> None:
        self.said = said
        setattr(self, dump, lambda: self.said)


TOOL_CALLS: Any = [{"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"of": 42}'}}]
TALKS: Any = {
    "OpenAI": [
        {"role": "user", "content": "What is it?"},
        Message("to_dict", role="assistant", content=None, tool_calls=TOOL_CALLS, annotations=[], refusal=None),
        {"role": "tool", "tool_call_id": "call_1", "content": "42"},
    ],
    "Responses": [
        {"role": "user", "content": [{"type": "input_text", "text": "What is it?"}]},
        Message("model_dump", type="function_call", name="look_up", call_id="1", arguments='{"of": 42}'),
        {"type": "function_call_output", "call_id": "call_1", "output": "42"},
    ],
    "Anthropic": [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": [
            {"type": "text", "text": "I look."}, {"type": "tool_use", "id": "1", "name": "look_up", "input": {"of": 42}},
        ]},
        {"role": "user", "content": [
            {"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "42"}]}
        ]},
    ],
}  # fmt: skip


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("tokenizer", [Words(), None], ids=["tokenizer", "bytes"])
def test_calls_of_tools_and_objects_of_sdks_have_a_bound(talk: str, tokenizer: Words | None) -> None:
    """What a model reads of them is no longer than their JSON; an agent's loop sends little else."""
    first = size_of(TALKS[talk][:1], None, (MODEL,), NO_RATIOS, tokenizer)
    whole = size_of(TALKS[talk], None, (MODEL,), NO_RATIOS, tokenizer)
    assert first.at_most is not None
    assert whole.at_most is not None
    assert whole.at_most > first.at_most + 3
    assert whole.tokens <= whole.at_most


def test_an_object_that_cannot_be_read_is_refused_by_its_kind() -> None:
    """Its own methods may raise anything."""

    class Broken:
        def model_dump(self) -> object:
            raise OSError

        def to_dict(self) -> object:
            return 7

    with pytest.raises(QueryError, match=r"prompt\[0\]: 'Broken'"):
        size_of([Broken()], None, (MODEL,), NO_RATIOS, None)


def test_without_a_tokenizer_a_ratio_of_the_agent_is_taken_then_of_the_model() -> None:
    """Rounded up; it is a mean, so the bound is that of the bytes."""
    ratios = TokenRatios(
        [
            ("a", "m", MIN_PROMPTS, 1000, 300),
            ("b", "m", MIN_PROMPTS - 1, 1000, 500),
            (None, "few", MIN_PROMPTS - 1, 1000, 500),
            (None, "empty", MIN_PROMPTS, 0, 500),
        ]
    )
    text = "x" * 101
    assert size_of(text, "a", ("m",), ratios, Words()) == (31, "learned", 108, True)
    assert size_of(text, "b", ("m",), ratios, None) == (41, "learned", 108, True)  # 800 of 2000 of all agents
    assert size_of(text, None, ("m",), ratios, None) == (41, "learned", 108, True)
    for models in (("few",), ("empty",), ("unknown",), ()):
        assert size_of(text, "a", models, ratios, None) == (34, "bytes", 108, True)
    assert size_of(text, "a", ("few", "m"), ratios, None) == (31, "learned", 108, True)


def test_a_third_of_the_bytes_is_a_guess_and_the_bytes_are_the_bound() -> None:
    """UTF-8: an umlaut is two bytes, a Chinese character three."""
    assert size_of("", None, (), NO_RATIOS, None) == (0, "bytes", 7, True)
    assert size_of("äöü", None, (), NO_RATIOS, None) == (2, "bytes", 13, True)
    assert size_of("中文", None, (), NO_RATIOS, None) == (2, "bytes", 13, True)
    # content 3 bytes, role 4 bytes; 3 for the message, 3 for the reply, 1 for the role
    assert size_of(messages("abc"), None, (), NO_RATIOS, None) == (1 + 6 + 1, "bytes", 3 + 4 + 6 + 1, True)
    assert size_of([], None, (), NO_RATIOS, None).tokens == 3


@settings(deadline=None)  # a busy machine stops for longer than any deadline
@given(st.text())
def test_utf8_length_is_the_length_of_the_encoded_text(text: str) -> None:
    """Without encoding what is ASCII."""
    assert utf8_length(text) == len(text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize(
    ("prompt", "field"),
    [(7, "prompt"), (b"bytes", "prompt"), ({"role": "user"}, "prompt"), ([7], "prompt[0]"),
     ([{"role": "user", "content": 7}], "prompt[0].content"), ([{"content": "a"}, {"content": b"a"}], "prompt[1].content")],
)  # fmt: skip
def test_what_is_no_prompt_is_refused_by_its_place(prompt: Any, field: str) -> None:
    """And nothing of it is quoted."""
    with pytest.raises(QueryError) as caught:
        size_of(prompt, None, (MODEL,), NO_RATIOS, Words())
    assert caught.value.field == field
    assert "user" not in str(caught.value)


TEXT_ELSEWHERE: dict[str, Any] = {
    "a text among messages": ["x" * 60],
    "Gemini's parts": [{"role": "user", "parts": [{"text": "x" * 60}]}],
    "Gemini's parts, as texts": [{"role": "user", "parts": ["x" * 60]}],
    "Gemini's call of a tool": [{"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": "x" * 60}}}]}],
    "parts of text with what belongs to them": [
        {
            "role": "user",
            "content": [
                {
                    "type": kind,
                    "text": "x" * 60,
                    "cache_control": {"type": "ephemeral"},
                    "annotations": [1],
                    "inlineData": None,
                }
            ],
        }
        for kind in ("text", "input_text", "output_text", "summary_text", "reasoning", None)
    ],
    "a document of Anthropic's": [
        {"role": "user", "content": [{"type": "document", "source": {"type": "text", "data": "x" * 60}}]}
    ],
}
NO_TEXT: dict[str, Any] = {
    "an image": {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
    "a file of Gemini's": {"inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    "a PDF": {"type": "document", "source": {"type": "base64", "data": "AAAA"}},
    "a document with citations": {
        "type": "document", "source": {"type": "text", "data": "x"}, "citations": {"enabled": True},
    },
    "an image with a caption": {"type": "image_url", "text": "a cat", "image_url": {"url": "data:"}},
    "a caption with an image": {"type": "text", "text": "a cat", "image_url": "https://example.com/cat.png"},
    "text and data of Gemini's": {"text": "a cat", "inlineData": {"mimeType": "image/png", "data": "AAAA"}},
    "text and bytes": {"text": "a cat", "image": b"AAAA"},
}  # fmt: skip


@pytest.mark.parametrize("prompt", TEXT_ELSEWHERE.values(), ids=TEXT_ELSEWHERE)
def test_text_is_counted_wherever_it_stands(prompt: Any) -> None:
    """With a bound that is no less than its bytes."""
    size = size_of(prompt, None, (), NO_RATIOS, None)
    assert size.whole
    assert size.tokens >= 20
    assert size.at_most is not None
    assert size.at_most > 60


@pytest.mark.parametrize("key", ["content", "parts"])
@pytest.mark.parametrize("part", NO_TEXT.values(), ids=NO_TEXT)
def test_a_prompt_with_more_than_text_has_no_bound(part: Any, key: str) -> None:
    """Its tokens are those of its text alone."""
    size = size_of([{"role": "user", key: [{"text": "one two"}, part]}], None, (MODEL,), NO_RATIOS, Words())
    assert (size.whole, size.at_most) == (False, None)


# The tokenizer


@pytest.mark.parametrize(
    ("model", "encoding"),
    [
        ("gpt-4o", "o200k_base"),
        ("gpt-4o-mini-2024-07-18", "o200k_base"),
        ("openai/gpt-4.1-mini", "o200k_base"),
        ("openrouter/openai/o3-mini", "o200k_base"),
        ("GPT-5.1", "o200k_base"),
        ("ft:gpt-4o-mini:org::id", "o200k_base"),
        ("azure/gpt-35-turbo", "cl100k_base"),
        ("gpt-4", "cl100k_base"),
        ("gpt-4-0613", "cl100k_base"),
        ("gpt-3.5-turbo-0125", "cl100k_base"),
        ("gpt-oss-120b", "o200k_harmony"),
        ("claude-sonnet-4-5", None),
        ("somebody/gpt-4o", None),
        ("gpt-4o3", None),
        ("", None),
    ],
)
def test_only_models_of_openai_have_an_encoding(model: str, encoding: str | None) -> None:
    """As OpenAI publishes it; never the nearest guess."""
    assert encoding_of(model) == encoding


@pytest.mark.slow
def test_toktok_counts_what_openai_counts() -> None:
    """`tiktoken is great!` is OpenAI's own example: 6 tokens in cl100k_base and in o200k_base."""
    pytest.importorskip("toktok", reason="the extra `tokens`")
    tokenizer = OpenAITokenizer()
    assert tokenizer.is_slow("gpt-4")
    assert tokenizer.count("tiktoken is great!", "gpt-4") == 6
    assert not tokenizer.is_slow("gpt-4")
    assert tokenizer.count("tiktoken is great!", "gpt-4o") == 6
    assert tokenizer.count("<|endoftext|>", "gpt-4o") == 7  # markup in a prompt is text
    assert tokenizer.count("hello", "claude-sonnet-4-5") is None
    assert not tokenizer.is_slow("claude-sonnet-4-5")
    assert not tokenizer.is_slow(None)


def test_without_the_extra_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """No error: the next best way is taken."""
    monkeypatch.setattr(openai_tokens, "find_spec", lambda _: None)
    tokenizer = OpenAITokenizer()
    assert tokenizer.count("hello", "gpt-4o") is None
    assert not tokenizer.is_slow("gpt-4o")
    assert size_of("hello", None, ("gpt-4o",), NO_RATIOS, tokenizer) == PromptSize(2, "bytes", 12)


@settings(deadline=None)  # the first count loads a vocabulary
@given(st.text(max_size=200))
def test_no_text_has_more_tokens_than_the_bound_of_its_bytes(text: str) -> None:
    """What a hard limit rests on."""
    pytest.importorskip("toktok", reason="the extra `tokens`")
    text = text.encode("utf-8", "replace").decode()
    exact = OpenAITokenizer().count(text, "gpt-4o")
    bound = size_of(text, None, (), NO_RATIOS, None).at_most
    assert exact is not None
    assert bound is not None
    assert exact <= bound


def test_json_of_numbers_exceeds_a_third_of_its_bytes_but_not_the_bound() -> None:
    """The guess is for ordinary text, as its document says."""
    pytest.importorskip("toktok", reason="the extra `tokens`")
    text = json.dumps([number / 7 for number in range(500)])
    exact, size = OpenAITokenizer().count(text, "gpt-4o"), size_of(text, None, (), NO_RATIOS, None)
    assert exact is not None
    assert size.at_most is not None
    assert size.tokens < exact <= size.at_most


@pytest.mark.parametrize("text", ["half an emoji: \ud83d", "\udc00", "whole \ud83d\ude00", "\ud83d" * 100])
def test_half_an_emoji_is_counted_as_it_is_sent(text: str) -> None:
    """As the character that stands for what cannot be read; a pair of halves is the emoji."""
    sent = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    counted = OpenAITokenizer().count(text, "gpt-4o")
    assert counted == OpenAITokenizer().count(sent, "gpt-4o")
    assert counted
