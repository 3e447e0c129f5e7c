"""Records that sum several requests. Each request is billed by the length of its own prompt, which the sum hides.

So the reader of such a run stores the number of requests and a bound of their prompts in `unpriced_usage`, by
`run_text`. If the model has one price for prompts up to that length, the sum is priced by it; else the cost is unknown.
"""

import re
from typing import Final

__all__ = ["SHORT", "longest_of", "run_text"]

SHORT: Final = 32_000
"""Prompt tokens up to which every published list has one price: a run of fewer in all is priced as one request."""
_TEXT: Final = re.compile(r"requests: ([0-9]{1,13}), of up to ([0-9]{1,13}) prompt tokens")


def run_text(requests: int, longest: int) -> tuple[str, str]:
    """Name and value of the text for a run: `requests: 2, of up to 150000 prompt tokens`."""
    return "requests", f"{requests}, of up to {longest} prompt tokens"


def longest_of(unpriced: str) -> int | None:
    """The bound of prompt tokens in a run's text; None for any other text."""
    match = _TEXT.fullmatch(unpriced)
    return None if match is None else int(match[2])
