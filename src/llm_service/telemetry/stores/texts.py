"""Text as SQLite holds it, which need not be UTF-8: a hand or a flipped byte may have written it."""

__all__ = ["readable"]


def readable(text: bytes) -> str:
    """What can be read of a stored text; U+FFFD stands for each byte that is no UTF-8. A `text_factory`."""
    return text.decode(errors="replace")
