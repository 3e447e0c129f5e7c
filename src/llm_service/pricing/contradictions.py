"""Contradictory counts of a call: then no cost is computed, and this is the reason."""

__all__ = ["contradiction"]


def contradiction(
    prompt_tokens: int | None,
    completion_tokens: int | None,
    total_tokens: int | None,
    cache_read_tokens: int | None = None,
    cache_write_tokens: int | None = None,
    reasoning_tokens: int | None = None,
    cache_write_1h_tokens: int | None = None,
) -> str | None:
    """The contradiction, as `total_tokens beyond prompt and completion: 405`; None if the counts are consistent.

    A total above its parts includes tokens that no part counts: hidden reasoning, or a prompt of tools. They are billed
    at an unknown price. Unknown counts contradict nothing, and a call without a known prompt is not checked.
    """
    if prompt_tokens is None:
        return None
    prompt, completion, reasoning = prompt_tokens, completion_tokens or 0, reasoning_tokens or 0
    read, written, hour = cache_read_tokens or 0, cache_write_tokens or 0, cache_write_1h_tokens or 0
    # Reason, and excess of tokens.
    found = (
        ("total_tokens beyond prompt and completion", (total_tokens or 0) - prompt - completion),
        ("cached tokens beyond prompt_tokens", read + written - prompt),
        ("reasoning_tokens beyond completion_tokens", 0 if completion_tokens is None else reasoning - completion),
        ("cache_write_1h_tokens beyond cache_write_tokens", hour - written),
    )
    return "; ".join(f"{name}: {excess}" for name, excess in found if excess > 0) or None
