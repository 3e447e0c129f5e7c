"""Text as SQLite holds it, which need not be UTF-8: a hand or a flipped byte may have written it."""

from functools import partial
from typing import Final

__all__ = ["readable"]

readable: Final = partial(str, encoding="utf-8", errors="replace")
"""What can be read of a stored text; U+FFFD stands for what is no UTF-8. A `text_factory`."""
