"""Which values without a role were billed: all numbers but known measures, settings and positions."""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from llm_service.pricing.usage.numbers import MOST

__all__ = ["is_telling"]

_PLACED: Final = re.compile(
    r"(^|_)(at|created|timestamp|ratio|percent|score|version|(request)?id|index|position|content_length)$|_ratelimit_"
)
"""Names that nobody bills: shares, when and where something was, and what headers of an answer tell."""
_UNITS: Final = r"(s|secs?|seconds?|ms|millis|milliseconds?|us|micros|microseconds?|ns|nanos|nanoseconds?|min|minutes?)"
_TIMES: Final = r"(times?|timings?|durations?|latency|latencies|elapsed|delay|ttft|tpot|itl)"
_MEASURED: Final = re.compile(
    rf"(^|_)({_TIMES}(_{_UNITS})?|ms|us|ns|rate|speed|tps|throughput|memory)$"  # `queue_time`, `e2e_latency_s`
    r"|(^|_)time_(to|per)_"  # `time_to_first_token`, `time_per_output_token_s`
    rf"|(_per_|/){_UNITS}(_|$)"  # `completion_tokens_per_sec_first_ten`, `response_token/s`
)
"""Names of times and speeds that nobody bills: Groq's, Ollama's, Bedrock's, SambaNova's, WebLLM's
(https://console.groq.com/docs/api-reference, https://docs.ollama.com/api/usage,
https://github.com/Portkey-AI/gateway/blob/main/src/providers/sambanova/chatComplete.ts,
https://github.com/mlc-ai/web-llm/blob/main/src/openai_api_protocols/chat_completion.ts)."""
_OF_MEASURES: Final = re.compile(rf"(^|_)({_TIMES}|speeds?|throughput|latency_breakdown)$")
"""Names of what holds nothing else: `latency.total`."""
_BY_THE_TIME: Final = re.compile(
    r"(^|_)(audio|video|speech|voice|sound|music|images?|session|container|sandbox|storage|gpu|costs?|price|fees?|"
    r"credits?|charges?|usd)(_|$)"
)
"""What is billed by the time that it takes, or in money: `audio_duration`, `cost_per_second`."""
_SETTINGS: Final = frozenset(
    {
        "temperature", "top_p", "top_k", "top_a", "min_p", "typical_p", "n", "seed", "max_tokens",
        "max_completion_tokens", "max_output_tokens", "max_new_tokens", "max_tool_calls", "min_tokens",
        "frequency_penalty", "presence_penalty", "repetition_penalty", "repeat_penalty", "top_logprobs", "logprob",
        "avg_logprobs", "logprobs", "sequence_number", "num_predict", "num_ctx", "budget_tokens", "thinking_budget",
        "candidate_count", "best_of", "stop_reason", "finish_reason", "status", "status_code",
    }
)  # fmt: skip
"""Names of settings that an answer repeats, and of places in it."""
_MONEY: Final = re.compile(r"(^|_)(costs?|price|fees?|credits?)$")
_WORDS: Final[Mapping[str, frozenset[str]]] = {
    # 1.1 times the price for "us": https://platform.claude.com/docs/en/manage-claude/data-residency
    "inference_geo": frozenset({"", "global", "not_available"}),
    # A fee for each request: https://docs.perplexity.ai/getting-started/pricing
    "search_context_size": frozenset({""}),
}
"""Names of texts that affect the price, and their neutral values."""


_PATHS: Final[Mapping[str, frozenset[str]]] = {
    # Tokens that were written to a cache cost as if they were read: how many is not told.
    "fallback_credit.status.type": frozenset({"", "not_applied"}),
}
"""The same of names that mean something only where they stand."""


def is_telling(path: str, value: object, number: float | None) -> bool:
    """Whether a value without a role was billed: a non-zero number that is no measure, a word of `_WORDS`, a price.

    Args:
        path: in snake case.
        value: the value.
        number: the value as a number; None if it is not one.
    """
    inside, _, name = path.rpartition(".")
    if path in _PATHS:
        return value not in _PATHS[path]
    if name in _WORDS:
        return isinstance(value, str) and value.strip().lower() not in _WORDS[name]
    if number is None:
        return isinstance(value, str) and _MONEY.search(name) is not None and any(map(str.isdigit, value))
    if number == 0 or name in _SETTINGS or _is_measure(inside, name):
        return False
    return not isinstance(value, str) or abs(number) <= MOST  # a longer numeral in a text is an id


@lru_cache(maxsize=1024)
def _is_measure(inside: str, name: str) -> bool:
    """Whether a number is a measure that nobody bills, by its name or by what holds it."""
    if _PLACED.search(name) is not None:
        return True
    around = inside.split(".")
    if any(_BY_THE_TIME.search(part) for part in (name, *around)):
        return False
    return _MEASURED.search(name) is not None or any(_OF_MEASURES.search(part) for part in around)
