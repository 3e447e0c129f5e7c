"""Reports as providers and their clients send them, each with what is billed; or unknown, with what is named."""

from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from llm_service.pricing.usage import anthropic_usage, bedrock_usage, gemini_usage, openai_usage, usage_fields
from llm_service.telemetry.record.record import InvocationRecord

COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "total_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
)


def counts(fields: dict[str, Any]) -> tuple[Any, ...]:
    """Prompt, completion, total, cache read, cache write, reasoning."""
    return tuple(fields[field] for field in COUNTS)


CHAT = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}
CLAUDE = {"input_tokens": 100, "output_tokens": 10}

UNDERSTOOD = {
    "Kimi": (CHAT | {"cached_tokens": 90}, (100, 10, 110, 90, None, None)),
    "DeepSeek": (CHAT | {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36}, (100, 10, 110, 64, None, None)),
    "thoughts behind a proxy": (
        {"prompt_tokens": 21, "completion_tokens": 0, "total_tokens": 81, "completion_tokens_details": {"reasoning_tokens": 60}},
        (21, 60, 81, None, None, 60),
    ),
    "a gateway with Anthropic's cache within": (
        CHAT | {"cache_read_input_tokens": 60, "cache_creation_input_tokens": 30}, (100, 10, 110, 60, 30, None),
    ),
    "a gateway with Anthropic's cache beside": (
        {"prompt_tokens": 10, "completion_tokens": 10, "total_tokens": 110, "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30},
        (100, 10, 110, 60, 30, None),
    ),
    "LiteLLM": (
        CHAT | {
            "prompt_tokens_details": {"cached_tokens": 60, "cache_creation_tokens": 30, "audio_tokens": None, "text_tokens": 10},
            "cache_read_input_tokens": 60, "cache_creation_input_tokens": 30,
        },
        (100, 10, 110, 60, 30, None),
    ),
    "LangChain": (
        {"input_tokens": 100, "output_tokens": 10, "total_tokens": 110,
         "input_token_details": {"cache_read": 60, "cache_creation": 0, "ephemeral_1h_input_tokens": 30}, "output_token_details": {"reasoning": 5}},
        (100, 10, 110, 60, 30, 5),
    ),
    "AI SDK": (
        {"inputTokens": 100, "outputTokens": 10, "totalTokens": 110, "cachedInputTokens": 60, "reasoningTokens": 5,
         "inputTokenDetails": {"noCacheTokens": 40, "cacheReadTokens": 60, "cacheWriteTokens": 0}},
        (100, 10, 110, 60, 0, 5),
    ),
    "AI SDK 6": (
        {"inputTokens": {"total": 100, "noCache": 40, "cacheRead": 60, "cacheWrite": None}, "outputTokens": {"total": 10, "text": 5, "reasoning": 5},
         "raw": {"input_tokens": 40, "cache_read_input_tokens": 60, "output_tokens": 10}},
        (100, 10, None, 60, None, 5),
    ),
    "AI SDK 6, written to a cache": (
        {"inputTokens": {"total": 100, "noCache": 10, "cacheRead": 60, "cacheWrite": 30}, "outputTokens": {"total": 10}}, (100, 10, None, 60, 30, None),
    ),
    "DeepSeek, by another field 0": (
        CHAT | {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 36, "prompt_tokens_details": {"cached_tokens": 0}},
        (100, 10, 110, 64, None, None),
    ),
    "an answer without a search": (
        {"output": [{"type": "message"}, {"type": "function_call"}], "candidates": [{"groundingMetadata": {"webSearchQueries": []}}], "usage": CHAT},
        (100, 10, 110, None, None, None),
    ),
    "an answer with tools that cost nothing beside tokens": (
        {"output": [{"type": "mcp_call"}, {"type": "computer_call"}, {"type": "shell_call", "environment": {"type": "local"}}, {"type": "shell_call_output"}],
         "content": [{"type": "server_tool_use", "name": "web_search"}, {"type": "tool_use", "name": "code_execution"}], "outputs": [{"type": "function.call", "name": "f"}],
         "choices": [{"message": {"executed_tools": []}}], "candidates": [{"groundingMetadata": {"groundingChunks": [{"web": {"uri": "x"}, "maps": None}]}}], "usage": CHAT},
        (100, 10, 110, None, None, None),
    ),
    "Converse": (
        {"inputTokens": 100, "outputTokens": 10, "totalTokens": 9_110, "cacheReadInputTokens": 9_000, "cacheWriteInputTokens": 0},
        (9_100, 10, 9_110, 9_000, 0, None),
    ),
    "Converse, by how long": (
        {"inputTokens": 1, "outputTokens": 2, "totalTokens": 13, "cacheReadInputTokens": 0, "cacheWriteInputTokens": 10,
         "cacheDetails": [{"ttl": "1h", "inputTokens": 7}, {"ttl": "5m", "inputTokens": 3}]},
        (11, 2, 13, 0, 10, None),
    ),
    "headers of InvokeModel": (
        {"x-amzn-requestid": "7", "content-length": "345", "x-amzn-bedrock-input-token-count": "100",
         "x-amzn-bedrock-output-token-count": "10", "x-amzn-bedrock-invocation-latency": "1024"},
        (100, 10, None, None, None, None),
    ),
    "a total that leaves the cache out": (
        {"input_tokens": 3, "output_tokens": 10, "total_tokens": 13, "cache_read_input_tokens": 9_000}, (9_003, 10, None, 9_000, None, None),
    ),
    "a message without usage": ({"message": {"role": "assistant"}, **CHAT}, (100, 10, 110, None, None, None)),
    "an event of a stream": ({"type": "message_start", "message": {"role": "assistant", "usage": CLAUDE}}, (100, 10, None, None, None, None)),
    "a whole answer": ({"id": "x", "created": 17, "usage": CHAT}, (100, 10, 110, None, None, None)),
    "Cohere": ({"billed_units": {"input_tokens": 100.0, "output_tokens": 10.0}, "tokens": {"input_tokens": 160.0}}, (100, 10, None, None, None, None)),
    "Ollama": ({"prompt_eval_count": 26, "eval_count": 298, "eval_duration": 4709213000, "total_duration": 5043500667}, (26, 298, None, None, None, None)),
    "Groq": (CHAT | {"queue_time": 0.04, "prompt_time": 0.01, "total_time": 0.3}, (100, 10, 110, None, None, None)),
    "SambaNova": (
        CHAT | {"acceptance_rate": 4.05, "completion_tokens_after_first_per_sec": 248.3, "completion_tokens_after_first_per_sec_first_ten": 266.6,
                "completion_tokens_after_first_per_sec_graph": 266.6, "completion_tokens_per_sec": 196.2, "end_time": 1737642515.8, "is_last_response": True,
                "start_time": 1737642514.0, "stop_reason": "stop", "time_to_first_token": 0.38, "total_latency": 1.78, "total_tokens_per_sec": "220.4"},
        (100, 10, 110, None, None, None),
    ),
    "WebLLM": (
        CHAT | {"extra": {"e2e_latency_s": 1.2, "prefill_tokens_per_s": 310.5, "decode_tokens_per_s": 21.4, "time_to_first_token_s": 0.4,
                          "time_per_output_token_s": 0.05, "latencyBreakdown": {"sampleTime": [0.1, 0.2], "total": 0.3}}},
        (100, 10, 110, None, None, None),
    ),
    "Open WebUI": (
        CHAT | {"response_token/s": 44.1, "prompt_token/s": "310.5", "total_duration": 5043500667, "approximate_total": "0h0m5s"},
        (100, 10, 110, None, None, None),
    ),
    "FastFlowLM": (
        CHAT | {"load_duration": 0.4, "prefill_duration_ttft": 0.6, "decoding_duration": 2.5, "prefill_speed_tps": 310.5, "decoding_speed_tps": 21.4},
        (100, 10, 110, None, None, None),
    ),
    "Mistral, three times": (
        CHAT | {"num_cached_tokens": 64, "prompt_token_details": {"cached_tokens": 64}, "prompt_tokens_details": {"cached_tokens": 64}},
        (100, 10, 110, 64, None, None),
    ),
    "Mistral, by its own name": (CHAT | {"num_cached_tokens": 64}, (100, 10, 110, 64, None, None)),
    "Writer": (
        CHAT | {"prompt_token_details": {"cached_tokens": 64}, "completion_tokens_details": {"reasoning_tokens": 3}}, (100, 10, 110, 64, None, 3),
    ),
    "xAI's gRPC": (
        {"completion_tokens": 69, "prompt_tokens": 701, "total_tokens": 893, "prompt_text_tokens": 701, "reasoning_tokens": 123, "cached_prompt_text_tokens": 679},
        (701, 192, 893, 679, None, 123),
    ),
    "Alibaba": (
        CHAT | {"prompt_tokens_details": {"cached_tokens": 60, "cache_creation_input_tokens": 20, "cache_type": "ephemeral",
                                          "cache_creation": {"ephemeral_5m_input_tokens": 20}}},
        (100, 10, 110, 60, 20, None),
    ),
    "Gemini with an image": (
        {"promptTokenCount": 300, "candidatesTokenCount": 10, "totalTokenCount": 310, "trafficType": "ON_DEMAND",
         "promptTokensDetails": [{"modality": "IMAGE", "tokenCount": 258}, {"modality": "TEXT", "tokenCount": 42}]},
        (300, 10, 310, None, None, None),
    ),
    "predictions": (
        CHAT | {"completion_tokens_details": {"accepted_prediction_tokens": 4, "rejected_prediction_tokens": 3, "audio_tokens": 0}},
        (100, 10, 110, None, None, None),
    ),
    "a fetch is free": (CLAUDE | {"server_tool_use": {"web_search_requests": 0, "web_fetch_requests": 2}}, (100, 10, None, None, None, None)),
    "short iterations": (
        CLAUDE | {"iterations": [{"type": "compaction", "input_tokens": 900, "output_tokens": 35}, {"type": "message", **CLAUDE}]},
        (1_000, 45, None, None, None, None),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_a_report_is_understood_by_any_function(name: str) -> None:
    """And none of it is left over."""
    report, told = UNDERSTOOD[name]
    for read in (openai_usage, anthropic_usage, gemini_usage, bedrock_usage, usage_fields):
        fields = read(report)
        assert (counts(fields), fields.get("unpriced_usage"), "cost_usd" in fields) == (told, None, False)


UNPRICED = {
    "audio of a prompt": (CHAT | {"prompt_tokens_details": {"audio_tokens": 20}}, "prompt_tokens_details.audio_tokens: 20"),
    "audio of an answer": (CHAT | {"completion_tokens_details": {"audio_tokens": 20}}, "completion_tokens_details.audio_tokens: 20"),
    "images": (CLAUDE | {"input_tokens_details": {"image_tokens": 90, "text_tokens": 10}}, "input_tokens_details.image_tokens: 90"),
    "LangChain's audio": ({**CLAUDE, "total_tokens": 110, "input_token_details": {"audio": 9}}, "input_token_details.audio: 9"),
    "LangChain's tiers": ({**CLAUDE, "total_tokens": 110, "input_token_details": {"flex_cache_read": 9}}, "input_token_details.flex_cache_read: 9"),
    "Gemini's audio": (
        {"promptTokenCount": 100, "candidatesTokenCount": 1, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 99}, {"modality": "TEXT", "tokenCount": 1}]},
        "promptTokensDetails.AUDIO.tokenCount: 99",
    ),
    "Gemini's cached audio": (
        {"prompt_token_count": 9, "candidates_token_count": 1, "cache_tokens_details": [{"modality": "AUDIO", "token_count": 5}]},
        "cache_tokens_details.AUDIO.token_count: 5",
    ),
    "Gemini's pictures": (
        {"promptTokenCount": 9, "candidatesTokenCount": 1290, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1290}]},
        "candidatesTokensDetails.IMAGE.tokenCount: 1290",
    ),
    "region": (CLAUDE | {"inference_geo": "us"}, "inference_geo: us"),
    "searches": (CLAUDE | {"server_tool_use": {"web_search_requests": 2}}, "server_tool_use.web_search_requests: 2"),
    "an advisor": (CLAUDE | {"iterations": [{"type": "message", **CLAUDE}, {"type": "advisor_message", **CLAUDE}]}, "iterations.1.type: advisor_message"),
    "iterations below their sum": (
        {"input_tokens": 50, "output_tokens": 10, "cache_read_input_tokens": 5, "iterations": [{"type": "message", "input_tokens": 40, "output_tokens": 10}]},
        "iterations, fresh tokens: 40, above them 50",
    ),
    "sources": (CHAT | {"num_sources_used": 3}, "num_sources_used: 3"),
    "tools of xAI": (CHAT | {"server_side_tool_usage_details": {"x_search_calls": 3}}, "server_side_tool_usage_details.x_search_calls: 3"),
    "Perplexity": (CHAT | {"search_context_size": "low"}, "search_context_size: low"),
    "Perplexity's research": (CHAT | {"citation_tokens": 20016, "num_search_queries": 19}, "citation_tokens: 20016; num_search_queries: 19"),
    "seconds of speech": (CHAT | {"prompt_audio_seconds": 12}, "prompt_audio_seconds: 12"),
    "a duration of speech": (CHAT | {"audio_duration": 12.5}, "audio_duration: 12.5"),
    "a duration within speech": (CHAT | {"prompt_audio": {"duration": 12.5}}, "prompt_audio.duration: 12.5"),
    "a price by the second": (CHAT | {"credits_per_second": 2}, "credits_per_second: 2"),
    "cached, and by another spelling": (
        CHAT | {"prompt_token_details": {"cached_tokens": 64}, "prompt_tokens_details": {"cached_tokens": 60}}, "prompt_token_details.cached_tokens: 64",
    ),
    "cached, and by a name that says less": (CHAT | {"precached_prompt_tokens": 64}, "precached_prompt_tokens: 64"),
    "pictures of xAI's gRPC": (CHAT | {"prompt_text_tokens": 60, "prompt_image_tokens": 40}, "prompt_image_tokens: 40"),
    "a transcription": ({"type": "duration", "seconds": 9}, "seconds: 9"),
    "Cohere's searches": ({"billed_units": {"input_tokens": 1, "output_tokens": 2, "search_units": 1}}, "billed_units.search_units: 1"),
    "one's own key": (CHAT | {"cost": 0.001, "is_byok": True}, "is_byok: the provider's own charge is not told"),
    "a cost that is none": (CHAT | {"cost": -1}, "cost: -1"),
    "a cost in words": (CHAT | {"cost": "about 3"}, "cost: about 3"),
    "a list of costs": (CHAT | {"cost": [0.5]}, "cost.0: 0.5"),
    "parts of a cost": (CHAT | {"cost": {"input_tokens_cost": 0.001, "request_cost": "$1"}}, "cost.input_tokens_cost: 0.001; cost.request_cost: $1"),
    "costs of nothing": (CHAT | {"cost": {"prompt": 0, "completion": 0}}, "cost.prompt: 0; cost.completion: 0"),
    "another family's cost": (CLAUDE | {"cache_read_input_tokens": 0, "cost": "$0.01"}, "cost: $0.01"),
    "another currency": (CHAT | {"cost": {"total_cost": 0.5, "currency": "CNY"}}, "currency: CNY"),
    "another currency beside": (CHAT | {"cost": 0.5, "currency": "EUR"}, "currency: EUR"),
    "two costs": (CHAT | {"cost": 0.5, "estimated_cost": 0.7}, "estimated_cost: 0.7, elsewhere 0.5"),
    "two charges": (CHAT | {"cost": 0.5, "cost_in_usd_ticks": 10**10}, "cost: 0.5, in ticks 1.0000000000"),
    "whose key": (CHAT | {"cost": 0.5, "cost_details": {"upstream_inference_cost": 0.7}}, "cost: 0.5, upstream 0.7, whether by one's own key is not told"),
    "an upstream cost in words": (CHAT | {"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": "n/a"}}, "cost_details.upstream_inference_cost: n/a"),
    "cached, and not": (CHAT | {"prompt_cache_hit_tokens": 90, "prompt_tokens_details": {"cached_tokens": 0}}, "prompt_cache_hit_tokens and prompt_tokens_details.cached_tok: 90 and 0"),
    "cached tokens of an unknown prompt": ({"output_tokens": 5, "cache_read_input_tokens": 90}, "prompt tokens: not told, beside them 90 cached"),
    "a search of an answer": (
        {"output": [{"type": "reasoning"}, {"type": "web_search_call"}, {"type": "web_search_call"}], "usage": CHAT},
        "output.web_search_call: 2",
    ),
    "a search of a candidate": (
        {"candidates": [{"groundingMetadata": {"webSearchQueries": ["a", "b"]}}], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 5}},
        "groundingMetadata.webSearchQueries: 2",
    ),
    "a map of a candidate": (
        {"candidates": [{"groundingMetadata": {"groundingChunks": [{"maps": {"uri": "x"}}, {"web": {"uri": "y"}}]}}], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 5}},
        "groundingMetadata.maps: 1",
    ),
    "a map of a client's candidate": (
        {"candidates": [SimpleNamespace(grounding_metadata=SimpleNamespace(grounding_chunks=[SimpleNamespace(maps=SimpleNamespace(uri="x"))]))], "usage": CHAT},
        "groundingMetadata.maps: 1",
    ),
    "a shell in a container": (
        {"output": [{"type": "shell_call", "environment": {"type": "container_reference"}}, {"type": "shell_call"}], "usage": CHAT}, "output.shell_call: 2",
    ),
    "a tool of tomorrow": ({"output": [{"type": "hologram_call"}], "usage": CHAT}, "output.hologram_call: 1"),
    "code that Anthropic ran": (
        {"content": [{"type": "server_tool_use", "name": "bash_code_execution"}], "usage": CLAUDE}, "content.bash_code_execution: 1",
    ),
    "a connector of Mistral": ({"outputs": [{"type": "tool.execution", "name": "web_search"}], "usage": CHAT}, "outputs.web_search: 1"),
    "tools of Groq": ({"choices": [{"message": {"executed_tools": [{"type": "search"}]}}], "usage": CHAT}, "message.executed_tools: 1"),
    "a search of an event": (
        {"type": "response.completed", "response": SimpleNamespace(output=(SimpleNamespace(type="file_search_call"),), usage=CHAT)},
        "output.file_search_call: 1",
    ),
    "AI SDK 6, of what came raw": (
        {"inputTokens": {"total": 100, "noCache": 100}, "outputTokens": {"total": 5}, "raw": {"input_tokens": 100, "server_tool_use": {"web_search_requests": 1}}},
        "raw.server_tool_use.web_search_requests: 1",
    ),
    "cached tokens that contradict": (CHAT | {"cached_tokens": 9, "prompt_tokens_details": {"cached_tokens": 8}}, "cached_tokens and prompt_tokens_details.cached_tokens: 9 and 8"),
    "parts of a prompt": (CHAT | {"prompt_cache_hit_tokens": 64, "prompt_cache_miss_tokens": 30}, "prompt tokens: 100, by their parts 94"),
    "within or beside": ({"prompt_tokens": 100, "completion_tokens": 10, "cache_read_input_tokens": 60}, "cache_read_input_tokens: 60 (within the prompt or beside it)"),
    "AI SDK 5": ({"inputTokens": 100, "outputTokens": 10, "totalTokens": 110, "cachedInputTokens": 60}, "cached_input_tokens: 60 (within the prompt or beside it)"),
    "Claude with a total": (CLAUDE | {"total_tokens": 110, "cache_read_input_tokens": 60}, "total tokens: 110, its parts 170"),
    "kept for how long": (
        CLAUDE | {"cache_creation_input_tokens": 50, "cache_creation": {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 60}},
        "cache writes: 50, by how long they are kept 60",
    ),
    "a tier and a speed": (CLAUDE | {"service_tier": "priority", "speed": "fast"}, "service tier: priority and fast"),
    "a negative count": (CHAT | {"cached_tokens": -5}, "cached_tokens: -5"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNPRICED)
def test_what_cannot_be_priced_is_named(name: str) -> None:
    """By the provider's own name where it has one, and the record takes it."""
    report, named = UNPRICED[name]
    fields = usage_fields(report)
    assert str(fields.get("unpriced_usage")).split("; ")[: named.count("; ") + 1] == sorted(
        named.split("; "), key=named.index
    )
    assert InvocationRecord(**fields).unpriced_usage == fields["unpriced_usage"]


def test_a_list_that_cannot_be_read_is_no_search() -> None:
    """Whatever it raises, and however long it is."""

    class Broken(list[Any]):
        def __iter__(self) -> Any:
            raise RuntimeError

    for output in (Broken([1]), "text", 5):
        assert "unpriced_usage" not in usage_fields({"output": output, "usage": CHAT})


REQUEST = {"input_tokens": 150_000, "output_tokens": 25, "total_tokens": 150_025}
RUN = {"requests": 2, "input_tokens": 300_000, "output_tokens": 50, "total_tokens": 300_050}
RUNS = {
    "iterations on both sides of a step": (
        {"input_tokens": 23_000, "output_tokens": 1_000, "iterations": [
            {"type": "compaction", "input_tokens": 180_000, "output_tokens": 3_500}, {"type": "message", "input_tokens": 23_000, "output_tokens": 1_000}]},
        "requests: 2, of up to 180000 prompt tokens",
    ),
    "entries": (RUN | {"request_usage_entries": [REQUEST, REQUEST]}, "requests: 2, of up to 150000 prompt tokens"),
    "entries of a part": (RUN | {"request_usage_entries": [REQUEST]}, "requests: 2, of up to 300000 prompt tokens"),
    "no entries": (RUN, "requests: 2, of up to 300000 prompt tokens"),
    "LangChain's callback": (
        {"prompt_tokens": 90_000, "completion_tokens": 9, "total_tokens": 90_009, "successful_requests": 3},
        "requests: 3, of up to 90000 prompt tokens",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_of_several_requests_it_is_told_how_long_the_longest_may_be(name: str) -> None:
    """As they are listed; where they are not, or not all of them, as all of them together."""
    report, named = RUNS[name]
    assert InvocationRecord(**usage_fields(report)).unpriced_usage == named


@pytest.mark.parametrize(
    "few", [RUN | {"requests": 1}, RUN | {"requests": 0}, RUN | {"requests": "many"}, CHAT | {"requests": 7}]
)
def test_one_request_or_short_ones_are_priced_as_they_are(few: dict[str, Any]) -> None:
    """No model has another price for so few tokens."""
    assert "unpriced_usage" not in usage_fields(few)


REPORTED = {
    "OpenRouter": (
        CHAT | {"cost": 0.0042, "is_byok": False, "cost_details": {"upstream_inference_cost": 0.0042}},
        0.0042,
    ),
    "OpenRouter, own key": (
        CHAT | {"cost": 0.0002, "is_byok": True, "cost_details": {"upstream_inference_cost": 0.004}},
        0.0042,
    ),
    "OpenRouter, nothing": (CHAT | {"cost": 0, "cost_details": {"upstream_inference_cost": None}}, 0.0),
    "xAI": (CHAT | {"cost_in_usd_ticks": 37_756_000}, 0.0037756),
    "Perplexity": (CHAT | {"cost": {"input_tokens_cost": 0.001, "request_cost": 0.006, "total_cost": 0.007}}, 0.007),
    "DeepInfra": (CHAT | {"estimated_cost": Decimal("0.0000268")}, 0.0000268),
    "with its currency": (CHAT | {"cost": "$0.0042", "currency": "usd"}, 0.0042),
    "in words": (CHAT | {"cost": {"total_cost": "0.0042 USD"}}, 0.0042),
    "ticks and USD": (CHAT | {"cost_in_usd_ticks": 37_756_000, "cost": 0.00378}, 0.0037756),
    "OpenRouter, before is_byok": (CHAT | {"cost": 0.0002, "cost_details": {"upstream_inference_cost": 0.004}}, 0.0042),
    "OpenRouter, no key": (CHAT | {"cost": 0.004, "cost_details": {"upstream_inference_cost": 0.004}}, 0.004),
    "in an object": (SimpleNamespace(prompt_tokens=1, completion_tokens=1, cost="0.5"), 0.5),
}


@pytest.mark.parametrize("name", REPORTED)
def test_what_the_seller_charged_is_reported(name: str) -> None:
    """Whatever else the report says."""
    report, usd = REPORTED[name]
    fields = usage_fields(report)
    assert (fields["cost_usd"], fields["cost_source"]) == (pytest.approx(usd, abs=1e-15), "reported")


@pytest.mark.parametrize(
    ("report", "tier"),
    [
        ({"promptTokenCount": 1, "trafficType": "ON_DEMAND"}, None),
        ({"promptTokenCount": 1, "trafficType": "ON_DEMAND_FLEX"}, "flex"),
        ({"promptTokenCount": 1, "trafficType": "ON_DEMAND_PRIORITY"}, "priority"),
        ({"promptTokenCount": 1, "trafficType": "PROVISIONED_THROUGHPUT"}, "provisioned_throughput"),
        ({"usage": CHAT, "service_tier": "flex"}, "flex"),
        ({"usage": {"inputTokens": 1, "outputTokens": 1}, "serviceTier": {"type": "priority"}}, "priority"),
        (CLAUDE | {"service_tier": "standard", "speed": "fast"}, "fast"),
    ],
)
def test_the_service_tier_is_told(report: dict[str, Any], tier: str | None) -> None:
    """In the words that prices know."""
    assert usage_fields(report)["service_tier"] == tier


def test_the_traffic_of_an_answer_in_the_shape_of_openai_is_told() -> None:
    """As Vertex AI gives it beside the counts."""
    report = CHAT | {"extra_properties": {"google": {"traffic_type": "PROVISIONED_THROUGHPUT"}}}
    assert usage_fields(report)["service_tier"] == "provisioned_throughput"


class LiteLLMs:
    """An object of LiteLLM's, by the name of its module, which is all that is known of the class."""

    def __init__(self, **told: Any) -> None:
        vars(self).update(told)


LiteLLMs.__module__ = "litellm.types.utils"


@pytest.mark.parametrize(
    ("hidden", "cost"),
    [
        ({"custom_llm_provider": "openrouter"}, 0.5),  # as the seller told it
        ({"upstream_usage_cost": 0.5, "response_cost": 0.5}, 0.5),
        ({"upstream_usage_cost": None, "response_cost": 0.5}, None),  # written by LiteLLM, by a price list
        (None, None),
    ],
)
def test_a_cost_that_litellm_wrote_is_none_that_was_reported(hidden: dict[str, Any] | None, cost: float | None) -> None:
    """Whoever is asked; of the usage alone nobody knows who wrote it."""
    usage = LiteLLMs(prompt_tokens=10, completion_tokens=2, total_tokens=12, cost=0.5)
    answer = LiteLLMs(object="chat.completion.chunk", model="m", choices=[], usage=usage, _hidden_params=hidden)
    for read in (usage_fields, openai_usage):
        found = read(answer)
        assert (found["prompt_tokens"], found.get("cost_usd")) == (10, cost)
        assert read(usage).get("cost_usd") is None
