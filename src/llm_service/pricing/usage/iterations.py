"""Anthropic's `usage.iterations`: the calls that one answer took, of which the counts above them leave some out.

Their sum is billed (https://platform.claude.com/docs/en/build-with-claude/compaction#understanding-usage).
"""

from typing import Final

from llm_service.pricing.usage.leaves import Leaf
from llm_service.pricing.usage.said import Said, said_in
from llm_service.pricing.usage.shapes import Role, Shape

__all__ = ["add_iterations", "split_iterations"]

_UNDER: Final = "iterations."
_OF_THE_MODEL: Final = frozenset({"message", "compaction"})
"""Kinds of iterations that the answering model itself made; an advisor has a price of its own."""
_SUMMED: Final[tuple[Role, ...]] = ("fresh", "completion", "read", "written", "written_5m", "written_1h")
_STEPS: Final = (100_000, 200_000)
"""Prompt lengths above which some Claude models cost more (https://platform.claude.com/docs/en/about-claude/pricing)."""


def split_iterations(leaves: list[Leaf]) -> tuple[list[Leaf], list[list[Leaf]]]:
    """The values of a report without those of its iterations, and those of each iteration, by their paths within it."""
    rest: list[Leaf] = []
    groups: dict[str, list[Leaf]] = {}
    for leaf in leaves:
        if leaf.path.startswith(_UNDER):
            position, _, path = leaf.path.removeprefix(_UNDER).partition(".")
            groups.setdefault(position, []).append(leaf._replace(path=path))
        else:
            rest.append(leaf)
    return rest, [groups[position] for position in sorted(groups)]


def add_iterations(said: Said, iterations: list[list[Leaf]], shape: Shape) -> None:
    """Let the counts of a report be the sums of its iterations', where it has any."""
    sums: dict[Role, int] = {}
    prompts: list[int] = []
    for number, leaves in enumerate(iterations):
        kind = next((leaf.value for leaf in leaves if leaf.path == "type"), None)
        if kind not in _OF_THE_MODEL:
            said.doubt(f"iterations.{number}.type", kind)
            continue
        one = said_in(leaves, shape)
        said.unpriced |= one.unpriced
        for role in _SUMMED:
            if role in one.counts:
                sums[role] = sums.get(role, 0) + one.counts[role]
        parts = one.count("written_5m") + one.count("written_1h")
        prompts.append(one.count("fresh") + one.count("read") + max(one.count("written"), parts))
    for role, count in sums.items():
        if said.count(role) > count:
            said.doubt(f"iterations, {role} tokens", f"{count}, above them {said.counts[role]}")
        said.counts[role] = max(count, said.count(role))
    # Each is billed by the length of its own prompt, which a sum does not tell.
    if any(sum(prompts) > step and min(prompts) <= step for step in _STEPS) and len(prompts) > 1:
        said.doubt("iterations, prompt tokens", " + ".join(map(str, prompts)))
