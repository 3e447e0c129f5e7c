"""The short way for chunks of Chat Completions: nearly all are one more piece of output, known by their class."""

from functools import lru_cache
from typing import Any, get_args

from llm_service.pricing.usage.plain import is_model

__all__ = ["declares_pieces", "is_one_piece"]


@lru_cache(maxsize=64)
def declares_pieces(kind: Any) -> bool:
    """Whether chunks of a class tell usage, errors and tools where OpenAI's do, and nowhere else."""
    choice: Any = get_args(kind.model_fields["choices"].annotation)[0] if "choices" in kind.model_fields else None
    delta: Any = (
        choice.model_fields["delta"].annotation if is_model(choice) and "delta" in choice.model_fields else None
    )
    if not is_model(delta):
        return False
    chunk, choices = {*kind.model_fields}, {*choice.model_fields}
    return (
        {"choices", "usage", "service_tier"} <= chunk
        and chunk.isdisjoint({"x_groq", "vertex_ai_grounding_metadata", "error", "base_resp"})
        and {"delta", "finish_reason"} <= choices
        and choices.isdisjoint({"usage", "error", "text"})
        and "executed_tools" not in delta.model_fields
    )


def is_one_piece(chunk: Any, tier: Any) -> bool:
    """Whether a chunk of such a class is one piece of output, and tells nothing else that is new."""
    try:
        told = chunk.__dict__
        (choice,) = told["choices"]
        said = choice.__dict__
        return (
            told["usage"] is said["finish_reason"] is None
            and told["service_tier"] == tier
            and not (chunk.__pydantic_extra__ or choice.__pydantic_extra__ or said["delta"].__pydantic_extra__)
        )
    except (AttributeError, KeyError, TypeError, ValueError):  # several choices, none, or other than declared
        return False
