"""When the counts of a call contradict each other: then there is no cost, and these are the words that say why."""

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
    """What does not fit, as `total_tokens beyond prompt and completion: 405`; None where all of it does.

    A total above its parts holds what no part says: hidden reasoning, or a prompt of tools. It is billed, at a price
    that nobody can tell. What is unknown contradicts nothing, and nothing is said of a call without a prompt.
    """
    if prompt_tokens is None:
        return None
    prompt, completion, reasoning = prompt_tokens, completion_tokens or 0, reasoning_tokens or 0
    read, written, hour = cache_read_tokens or 0, cache_write_tokens or 0, cache_write_1h_tokens or 0
    # (what it says, by how much it is too many)
    found = (
        ("total_tokens beyond prompt and completion", (total_tokens or 0) - prompt - completion),
        ("cached tokens beyond prompt_tokens", read + written - prompt),
        ("reasoning_tokens beyond completion_tokens", 0 if completion_tokens is None else reasoning - completion),
        ("cache_write_1h_tokens beyond cache_write_tokens", hour - written),
    )
    return "; ".join(f"{name}: {excess}" for name, excess in found if excess > 0) or None
