"""What the tools of a request come to: those that its caller runs are read by the model, others cost more than that.

A tool that the provider runs puts pages into the prompt, lets the model run again, and may have a fee; of some that the
caller runs the provider writes the description. None of that is in the request.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from llm_service.pricing.usage.leaves import snake
from llm_service.pricing.usage.plain import everything

__all__ = ["Tools", "tools_in"]

_CALLERS: Final = frozenset({"function", "custom", "namespace"})
"""Types of tools that the caller runs, and describes whole; `namespace` holds such tools."""
_DESCRIBED: Final = frozenset({"name", "function", "tool_spec", "cache_point", "function_declarations"})
"""Names of a tool without a type, which its caller runs: Anthropic's, Ollama's, Bedrock's and Gemini's."""
_ALONE: Final = frozenset({"tool_spec", "cache_point", "function_declarations"})
"""Names beside which any other is another tool."""
_CLAUDE: Final = "claude"
_TOOL_PROMPT: Final = 1_000
"""Tokens of the system prompt that Anthropic adds to a request with tools, at most: some 160 to 700, by model and
`tool_choice` (https://platform.claude.com/docs/en/agents-and-tools/tool-use/overview#pricing)."""
_ANTHROPICS: Final = {"bash_": 500, "text_editor_": 1_000, "computer_20": 1_500}
"""Anthropic's tools that the caller runs, by the beginnings of their types, and the tokens of their descriptions at
most: 245 of bash, 700 of the text editor, 735 and up to 499 in the system prompt of the computer
(https://platform.claude.com/docs/en/about-claude/pricing#tool-use-pricing)."""


class Tools(NamedTuple):
    """What tools come to beside their own text.

    Attributes:
        hidden_tokens: that the provider adds to the prompt, at most.
        beyond: the tools whose costs nobody here can know.
    """

    hidden_tokens: int = 0
    beyond: tuple[str, ...] = ()


def tools_in(tools: Any, model: object) -> Tools:
    """What these tools come to, of a request to this model."""
    hidden, beyond = 0, list[str]()
    given = False
    for place, tool in _entries(tools):
        given = True
        kind, told = tool.get("type"), {name for name, value in tool.items() if value is not None}
        size = next((size for start, size in _ANTHROPICS.items() if str(kind).startswith(start)), None)
        if size is not None:
            hidden += size
        elif not _is_callers(kind, told):
            beyond.append(f"{place} ({_named(kind, told)})")
        if kind == "namespace":
            beyond += [f"{place}.{one}" for one in tools_in(tool.get("tools"), None).beyond]
    is_claude = hidden > 0 or (isinstance(model, str) and _CLAUDE in model.lower())
    return Tools(hidden + (_TOOL_PROMPT if given and is_claude else 0), tuple(beyond))


def _entries(tools: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The tools that can be looked at, by their names in snake case; what cannot is measured as text, or refused."""
    if isinstance(tools, Mapping):  # Bedrock's toolConfig, or one tool without a list
        one = cast("Mapping[str, Any]", tools)
        tools = [one] if "type" in one else one.get("tools")
    if not isinstance(tools, list | tuple):
        return
    for position, tool in enumerate(cast("list[Any]", tools)):
        named = {"type": tool} if isinstance(tool, str) else tool
        told = cast("Mapping[Any, Any] | None", named if isinstance(named, Mapping) else everything(named))
        if told:
            yield f"tools[{position}]", {snake(str(name)): value for name, value in told.items()}


def _is_callers(kind: object, told: set[str]) -> bool:
    if kind is not None:
        return kind in _CALLERS
    return not told.isdisjoint(_DESCRIBED) and (told.isdisjoint(_ALONE) or told <= _ALONE)


def _named(kind: object, told: set[str]) -> str:
    return str(kind)[:80] if kind is not None else ", ".join(sorted(told - _ALONE))[:80]
