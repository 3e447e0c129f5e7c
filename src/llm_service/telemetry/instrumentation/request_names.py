"""THE table of parameters that clients' requests have, by what they do to the price. What is in none is refused.

Names are those of OpenAI (https://platform.openai.com/docs/api-reference), Anthropic
(https://platform.claude.com/docs/en/api/messages), Gemini (https://ai.google.dev/api/generate-content), Mistral,
Bedrock and Ollama, each as its client spells it; they are compared in snake case. A test compares the table with the
methods of the clients that are installed: a new parameter is put where it belongs, or the test fails.
"""

from typing import Final

__all__ = ["BEYOND", "HOLDERS", "LIMITS", "LIMITS_WITHIN", "ORDINARY", "PROMPTS", "READ", "SERVED", "TIMES", "UNREAD"]

LIMITS: Final = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""Names for the limit of the answer, which is no field: the largest counts."""
LIMITS_WITHIN: Final = (*LIMITS, "num_predict")
HOLDERS: Final = (
    "config", "generation_config", "inferenceConfig", "options", "extra_body", "additionalModelRequestFields",
)  # fmt: skip
"""What holds other parameters, as a mapping or as an object of the client."""
PROMPTS: Final = ("prompt", "messages", "input", "contents", "inputs")
READ: Final = (
    "system", "instructions", "system_instruction", "tools", "functions", "toolConfig", "response_format",
    "text_format", "output_format", "output_config", "outputConfig", "text", "format", "response_schema",
    "response_json_schema", "suffix", "template",
)  # fmt: skip
"""What the model reads beside the messages: system prompts, tools, schemas of its answer, and what follows it."""
UNREAD: Final = (
    "previous_response_id", "conversation", "thread", "image", "images", "cached_content", "promptVariables",
    "prompt_mode",
)  # fmt: skip
"""With these the model reads what is not in the request: whoever knows how much gives `prompt_tokens`."""
BEYOND: Final = (
    "container", "mcp_servers", "web_search_options", "prediction", "audio", "guardrailConfig", "guardrails",
    "compaction", "context_management", "fallbacks", "models", "plugins", "modalities", "response_modalities",
    "speech_config", "image_config", "generation_output_config", "audio_transcription_config", "model_armor_config",
    "model_selection_config", "routing_config", "automatic_continuation", "continuation_token", "http_options",
)  # fmt: skip
"""With these more is billed than the prompt and one answer of this model: tools, other models, further requests."""
TIMES: Final = ("n", "best_of", "candidate_count")
"""How many answers are asked for."""
SERVED: Final = {
    "model_id": "model_name", "service_tier": "service_tier", "speed": "speed", "inference_geo": "inference_geo",
    "performance_config": "service_tier", "background_options": "service_tier",
}  # fmt: skip
"""What says how the call is served, and the field, or the name of usage, that has a price for it."""
ORDINARY: Final = frozenset(
    {
        "access_programs", "additionalModelResponseFieldPaths", "audio_timestamp", "automatic_function_calling",
        "background", "betas", "billing_policy", "cache_control", "diagnostics", "dimensions", "echo",
        "enable_enhanced_civic_answers", "encoding_format", "extra_headers", "extra_query", "fallback_credit_token",
        "frequency_penalty", "function_call", "height", "http_headers", "include", "keep_alive", "labels",
        "logit_bias", "logprobs", "max_tool_calls", "media_resolution", "metadata", "min_p", "min_tokens",
        "moderation", "output_dimension", "output_dtype", "parallel_tool_calls", "parse_as", "presence_penalty",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "prompt_logprobs", "random_seed", "raw",
        "reasoning", "reasoning_effort", "repeat_penalty", "repetition_penalty", "requestMetadata",
        "response_logprobs", "response_mime_type", "retries", "safe_prompt", "safety_identifier", "safety_settings",
        "seed", "server_url", "should_return_http_response", "starting_after", "steps", "stop", "stop_sequences",
        "store", "stream", "stream_options", "temperature", "think", "thinking", "thinking_config", "timeout",
        "timeout_ms", "tool_choice", "top_a", "top_k", "top_logprobs", "top_p", "top_prompt_logprobs", "truncate",
        "truncation", "user", "user_profile_id", "verbosity", "width", "workspace_id",
        # Ollama's options: how its server, which bills nothing, runs the model
        "embedding_only", "f16_kv", "logits_all", "low_vram", "main_gpu", "mirostat", "mirostat_eta", "mirostat_tau",
        "num_batch", "num_ctx", "num_gpu", "num_keep", "num_thread", "numa", "penalize_newline", "repeat_last_n",
        "tfs_z", "typical_p", "use_mlock", "use_mmap", "vocab_only",
    }
)  # fmt: skip
"""What changes neither the prompt nor the price beyond what the limit of the answer holds."""
