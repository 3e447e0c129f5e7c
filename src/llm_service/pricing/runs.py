"""A record that stands for several requests: each is billed by the length of its own prompt, which a sum does not tell.

So the reader of a run says how many there were and how long the longest may have been, in the words of `run_text`, as
`unpriced_usage`. Where the model takes one price for prompts of up to that length, the sum is priced by it; else the
cost is unknown.
"""

import re
from typing import Final

__all__ = ["SHORT", "longest_of", "run_text"]

SHORT: Final = 32_000
"""Prompt tokens up to which no published list has another price: a run of fewer in all is priced as one request."""
_TEXT: Final = re.compile(r"requests: ([0-9]{1,13}), of up to ([0-9]{1,13}) prompt tokens")


def run_text(requests: int, longest: int) -> tuple[str, str]:
    """Name and value of what is said of a run: `requests: 2, of up to 150000 prompt tokens`."""
    return "requests", f"{requests}, of up to {longest} prompt tokens"


def longest_of(unpriced: str) -> int | None:
    """Prompt tokens that no request of a run exceeds; None where a text says anything else."""
    match = _TEXT.fullmatch(unpriced)
    return None if match is None else int(match[2])
