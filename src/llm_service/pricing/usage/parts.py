"""Reports that sum several calls, and list or count them.

Anthropic's `usage.iterations` are the calls of one answer; their sum is billed, and the top-level counts are the sum
of those that are no compaction (https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage),
or the counts of one of them, as in the first event of a stream. The Agents SDK's
`request_usage_entries` are those of a run, and `requests` is how many there were
(https://openai.github.io/openai-agents-python/usage/), as in Pydantic AI and LangChain's callbacks.
"""

from typing import Final

from llm_service.pricing.runs import SHORT, run_text
from llm_service.pricing.usage.leaves import Leaf
from llm_service.pricing.usage.said import Said, said_in
from llm_service.pricing.usage.shapes import Role, Shape

__all__ = ["ENTRIES", "ITERATIONS", "add_iterations", "add_requests", "split"]

ITERATIONS: Final = "iterations"
ENTRIES: Final = "request_usage_entries"
_MESSAGE: Final = "message"
_OF_THE_MODEL: Final = frozenset({_MESSAGE, "compaction"})
"""Kinds of iterations by the answering model itself; an advisor has its own price."""
_SUMMED: Final[tuple[Role, ...]] = ("fresh", "completion", "read", "written", "written_5m", "written_1h")


def split(leaves: list[Leaf], under: str) -> tuple[list[Leaf], list[list[Leaf]]]:
    """The values of a report without those of its calls, and those of each call, by their paths in the call."""
    rest: list[Leaf] = []
    groups: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf.path.startswith(f"{under}."):
            position, _, path = leaf.path.removeprefix(f"{under}.").partition(".")
            groups.setdefault(position, []).append(leaf._replace(path=path))
        else:
            rest.append(leaf)
    return rest, [groups[position] for position in sorted(groups)]


def add_iterations(said: Said, iterations: list[list[Leaf]], shape: Shape) -> None:
    """Set the counts of a report to the sums of its iterations, if any."""
    sums: dict[Role, int] = {}
    of_messages: dict[Role, int] = {}
    singles: set[tuple[Role, int]] = set()
    prompts: list[int] = []
    for number, leaves in enumerate(iterations):
        kind = next((leaf.value for leaf in leaves if leaf.path == "type"), None)
        if kind not in _OF_THE_MODEL:
            said.doubt(f"{ITERATIONS}.{number}.type", kind)
            continue
        one = said_in(leaves, shape)
        said.unpriced |= one.unpriced
        for role in _SUMMED:
            if role in one.counts:
                sums[role] = sums.get(role, 0) + one.counts[role]
                of_messages[role] = of_messages.get(role, 0) + (one.counts[role] if kind == _MESSAGE else 0)
                singles.add((role, one.counts[role]))
        prompts.append(_prompt(one))
    for role, count in sums.items():
        above = said.count(role)
        if above not in {0, count, of_messages[role]} and (role, above) not in singles:
            said.doubt(f"{ITERATIONS}, {role} tokens", f"{count}, above them {above}")
        said.counts[role] = max(count, above)
    _say_run(said, len(prompts), sum(prompts), max(prompts, default=0))


def add_requests(said: Said, entries: list[list[Leaf]], shape: Shape) -> None:
    """Note the number of requests of a report, and a bound of their prompts: the longest listed one, else the sum."""
    ones = [said_in(leaves, shape) for leaves in entries]
    for one in ones:
        said.unpriced |= one.unpriced
    whole, requests = _prompt(said), max(said.requests or 0, len(ones))
    prompts = [_prompt(one) for one in ones]
    complete = len(ones) == requests and sum(prompts) == whole
    _say_run(said, requests, whole, max(prompts, default=0) if complete else whole)


def _prompt(said: Said) -> int:
    parts = said.count("written_5m") + said.count("written_1h")
    beside = said.count("fresh") + said.count("read") + max(said.count("written"), parts)
    return said.counts.get("prompt", beside)


def _say_run(said: Said, requests: int, prompt: int, longest: int) -> None:
    if requests > 1 and prompt > SHORT:
        said.doubt(*run_text(requests, longest))
