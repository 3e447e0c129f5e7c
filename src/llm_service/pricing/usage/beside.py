"""Reads what was billed out of objects that stand beside the usage of an answer: a provider's other counts.

OpenAI tells what its hosted tools took in `tool_usage` (https://platform.openai.com/docs/api-reference/responses),
Bedrock the units of a guardrail in `trace`
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_GuardrailUsage.html). Others will follow, so the
rule goes by names. What only repeats the usage is none.
"""

import re
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, Final, cast

from llm_service.pricing.usage.leaves import Leaf, child, is_list, leaves, snake
from llm_service.pricing.usage.leaves import is_container as holds
from llm_service.pricing.usage.numbers import as_number
from llm_service.pricing.usage.plain import everything
from llm_service.pricing.usage.provider_tools import AMOUNT, Found

__all__ = ["add_bills", "is_bill", "refused_before_output"]

_BILL: Final = re.compile(r"(^|_)(usage|credits?|units|fees?|iterations)$")
_USAGES: Final = frozenset({"usage", "token_usage", "billed_units", "raw_usage"})
"""What is read as the usage itself, where it stands."""
_FREE: Final = re.compile(r"(^|_)free_|_latency$")
_DEEPEST: Final = 8
_MOST: Final = 512
_NO_NAMES: Final = frozenset[str]()


@lru_cache(maxsize=1024)
def is_bill(name: str) -> bool:
    """Whether an object of this name beside the usage says what was billed."""
    plain = snake(name)
    return plain not in _USAGES and _BILL.search(plain) is not None


def add_bills(name: str, value: Any, usage: Any, found: Found) -> None:
    """Add the numbers of a bill that the usage does not tell, too; of a trace those of the bills in it."""
    told: set[tuple[str, Any]] | None = None
    bills = [(name, value)] if is_bill(name) else _bills_in(value, name, _DEEPEST)
    for path, bill in islice(bills, _MOST):
        for leaf in _numbers(bill):
            if told is None:
                told = {(one.name, one.value) for one in _numbers(usage)}
            if (leaf.name, leaf.value) not in told:
                found.add((f"{path}.{leaf.shown}", f"{AMOUNT}{leaf.value}"))


def _numbers(source: Any) -> Iterator[Leaf]:
    for leaf in leaves(source, _NO_NAMES, _NO_NAMES) if holds(source) else ():
        if not isinstance(leaf.value, bool) and as_number(leaf.value) and _FREE.search(leaf.name) is None:
            yield leaf


def _bills_in(source: Any, name: str, depth: int) -> Iterator[tuple[str, Any]]:
    """The bills in what may hold them at any place, by its name and their own."""
    if not depth or not holds(source):
        return
    if is_list(source):
        for one in islice(cast("Any", source), _MOST):
            yield from _bills_in(one, name, depth - 1)
        return
    for inner, value in islice((everything(source) or {}).items(), _MOST):
        if holds(value):
            if _BILL.search(snake(str(inner))):
                yield f"{name}.{inner}", value
            else:
                yield from _bills_in(value, name, depth - 1)


def refused_before_output(reason: Any, answer: Any) -> bool:
    """Whether an answer of Anthropic's is a refusal before any output.

    That is not billed, though its usage tells the prompt
    (https://platform.claude.com/docs/en/build-with-claude/refusals-and-fallback).
    """
    content = child(answer, "content")
    return reason == "refusal" and type(content) is list and not content
