"""THE table of tools that a provider runs, of which an answer or an event tells, and its usage does not.

Searches and other tools that a provider runs have fees of their own, and some tell of them in the answer alone: OpenAI
in the items of `output` (https://platform.openai.com/docs/pricing#built-in-tools), Gemini in `groundingMetadata`
(https://ai.google.dev/gemini-api/docs/pricing), Anthropic in blocks of `content`
(https://platform.claude.com/docs/en/agents-and-tools/tool-use/code-execution-tool#usage-and-pricing), Mistral in
`outputs` (https://docs.mistral.ai/agents/connectors/connectors), Groq in `executed_tools`
(https://console.groq.com/docs/compound), Nova in `toolUse`
(https://docs.aws.amazon.com/nova/latest/userguide/grounding.html). What is known to cost nothing beside tokens is
listed; any other tool that the provider ran makes the cost unknown.

Each finding is a name and what tells it from others of that name: its id, else its position. So what several events of
a stream tell of one tool is one.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, cast

from llm_service.pricing.usage.leaves import child, is_list
from llm_service.pricing.usage.leaves import is_container as holds

__all__ = [
    "FREE_CHUNKS",
    "KINDS_OF_CHUNKS",
    "MOST",
    "PLACES",
    "QUERIES",
    "Billed",
    "Found",
    "billed_by_event",
    "billed_text",
    "is_items",
    "is_plain_item",
    "items_of",
]

Billed = frozenset[tuple[str, str]]
"""What was billed in addition to tokens: the name of each, and which one of that name it is."""
Found = set[tuple[str, str]]

MOST: Final = 4096
"""Items of an answer that are read at most; with more the cost is unknown."""
_UNREAD: Final = "items that were not read"
_FREE_CALLS: Final = frozenset(
    {
        "function_call", "custom_tool_call", "computer_call", "local_shell_call", "apply_patch_call", "mcp_call",
        "tool_search_call", "mcp_server_tool_call", "url_context_call", "tool_call", "invalid_tool_call",
    }
)  # fmt: skip
"""Items that cost nothing beside tokens: the caller, or a server of his, runs them."""
_PLAIN_ITEMS: Final = frozenset({"message", "reasoning", "function_call", "text", "thinking", "tool_use"})
"""Those of most answers, of which no more need be known."""
_FREE_TOOLS: Final = ("web_search", "web_fetch", "advisor", "tool_search")
"""What Anthropic's own tools begin with that are counted in the usage, or cost nothing beside tokens."""
_FREE_PARTS: Final = ("web_fetch", "advisor", "tool_search", "memory", "mcp_server")
"""What Pydantic AI's native tools begin with that cost nothing beside tokens, or are counted in its details."""
FREE_CHUNKS: Final = frozenset({"web", "retrieved_context", "retrievedContext"})
"""Sources of Gemini's answers whose fee is told by the queries beside them, if there is one."""
KINDS_OF_CHUNKS: Final = ("web", "maps", "image", "retrieved_context")
QUERIES: Final = (
    "webSearchQueries",
    "web_search_queries",
    "imageSearchQueries",
    "image_search_queries",
    "retrievalQueries",
    "retrieval_queries",
)
_GROUNDED: Final = ("groundingMetadata", "grounding_metadata")


def billed_text(billed: Billed) -> dict[str, str]:
    """What was billed, by name: how often, in the order of the names."""
    counts = Counter(name for name, _ in sorted(billed))
    return {name: "too many" if name == _UNREAD else str(count) for name, count in counts.items()}


def billed_by_event(kind: str, event: Any, found: Found) -> None:
    """What the name of an event tells: `response.web_search_call.completed`, `tool.execution.started`."""
    first, _, rest = kind.partition(".")
    called = rest.partition(".")[0]
    if first == "response" and called.endswith("_call") and called not in _FREE_CALLS and called != "shell_call":
        found.add((f"output.{called}", _identity(event, "item_id", "output_index")))
    elif kind.startswith("tool.execution."):
        _add(found, "outputs", child(event, "name"), _identity(event, "id", "output_index"))


def _output(output: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001 - as all that read a place
    """OpenAI's items; Bedrock's message."""
    if is_items(output):
        for position, item in enumerate(items_of(output, found)):
            if not is_plain_item(child(item, "type")):
                _fee(item, position, found)
        return True
    message = child(output, "message")
    for position, block in enumerate(items_of(child(message, "content"), found)):
        _nova(child(block, "toolUse"), position, found)
    return message is not None


def _item(item: Any, found: Found, event: Any) -> bool:
    """An item of `output` or `outputs` that an event tells of."""
    _fee(item, child(event, "output_index"), found)
    _connector(item, child(event, "output_index"), found)
    return holds(item)


def _content(content: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001
    """Anthropic's blocks; what LangChain makes of OpenAI's items."""
    if not is_items(content):
        _block(content, 0, found)
        return False
    for position, block in enumerate(items_of(content, found)):
        if not is_plain_item(child(block, "type")):
            _block(block, position, found)
    return True


def _content_block(block: Any, found: Found, event: Any) -> bool:
    """A block of `content` that an event tells of."""
    _block(block, child(event, "index"), found)
    return holds(block)


def _outputs(outputs: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001
    """Mistral's connectors; the items of Gemini's Interactions."""
    for position, item in enumerate(items_of(outputs, found)):
        _connector(item, position, found)
        _fee(item, position, found, "outputs")
    return is_items(outputs)


def _choices(choices: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001
    """Groq's tools."""
    for choice in items_of(choices, found):
        for name in ("message", "delta"):
            message = child(choice, name)
            if message is None:
                continue
            for position, tool in enumerate(items_of(child(message, "executed_tools"), found)):
                found.add(("message.executed_tools", _identity(tool, "index", instead=position)))
    return is_items(choices)


def _candidates(candidates: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001
    """Gemini's searches."""
    for candidate in items_of(candidates, found):
        _grounding(candidate, found)
    return is_items(candidates)


def _grounding(source: Any, found: Found) -> None:
    for name in _GROUNDED:
        _grounded(child(source, name), found)


def _grounded(grounded: Any, found: Found) -> None:
    if grounded is None:
        return
    for name in QUERIES:
        queries = Counter(str(query)[:MOST] for query in items_of(child(grounded, name), found))
        found |= {(f"groundingMetadata.{name}", f"{query} {n}") for query, most in queries.items() for n in range(most)}
    chunks = items_of(child(grounded, "groundingChunks") or child(grounded, "grounding_chunks"), found)
    for position, chunk in enumerate(chunks):
        for kind in _names(chunk) - FREE_CHUNKS:
            found.add((f"groundingMetadata.{kind}", _identity(child(chunk, kind), "uri", instead=position)))


def _server_content(content: Any, found: Found, event: Any) -> bool:  # noqa: ARG001
    """Gemini's Live API."""
    _grounding(content, found)
    return holds(content)


def _groundings(groundings: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001
    """What LiteLLM makes of Gemini's."""
    for grounded in items_of(groundings, found):
        _grounded(grounded, found)
    return False


def _langchain(metadata: Any, found: Found, answer: Any) -> bool:  # noqa: ARG001
    """What LangChain keeps of an answer."""
    _grounding(metadata, found)
    _output(child(metadata, "tool_outputs"), found, metadata)
    _choices([{"message": metadata}], found, metadata)
    used = child(child(child(metadata, "usage"), "server_tool_use"), "web_search_requests")
    if isinstance(used, int):
        found |= {("server_tool_use.web_search_requests", str(n)) for n in range(min(used, MOST))}
    return holds(metadata)


def _parts(parts: Any, found: Found, answer: Any) -> bool:
    """Pydantic AI's parts of an answer, and what it keeps of OpenRouter's tools."""
    vendor = child(answer, "provider_name")
    told = [part for part in items_of(parts, found) if child(part, "part_kind") is not None]
    for position, part in enumerate(told):
        name = child(part, "tool_name")
        if child(part, "part_kind") != "builtin-tool-call" or not isinstance(name, str):
            continue
        runs_free = name == "code_execution" and isinstance(vendor, str) and vendor.startswith("google")
        if not runs_free and not name.startswith(_FREE_PARTS):
            _add(found, "parts", name, _identity(part, "tool_call_id", instead=position))
    tools = child(child(answer, "provider_details"), "server_tool_use")
    for name in ("tool_calls_executed", "web_search_requests"):
        used = child(tools, name)
        if isinstance(used, int):
            found |= {(f"server_tool_use.{name}", str(n)) for n in range(min(used, MOST))}
    return bool(told)


def _converse(block: Any, found: Found, event: Any) -> bool:  # noqa: ARG001
    """The start of a block in a stream of Bedrock."""
    _nova(child(child(block, "start"), "toolUse"), child(block, "contentBlockIndex"), found)
    return holds(block)


def _fee(item: Any, position: Any, found: Found, place: str = "output") -> None:
    """An item of OpenAI's that has a fee; a shell has one where it runs in a container of theirs."""
    kind = child(item, "type")
    if not isinstance(kind, str) or not kind.endswith("_call") or kind in _FREE_CALLS:
        return
    if kind != "shell_call" or child(child(item, "environment"), "type") != "local":
        _add(found, place, kind, _identity(item, "id", instead=position))


def _block(block: Any, position: Any, found: Found) -> None:
    """A tool that Anthropic ran, where it may have a fee that the usage does not tell."""
    kind, name = child(block, "type"), child(block, "name")
    if kind == "server_tool_use" and isinstance(name, str) and not name.startswith(_FREE_TOOLS):
        _add(found, "content", name, _identity(block, "id", instead=position))
    _fee(block, position, found)


def _connector(item: Any, position: Any, found: Found) -> None:
    """A connector that Mistral ran."""
    if child(item, "type") == "tool.execution":
        _add(found, "outputs", child(item, "name"), _identity(item, "id", instead=position))


def _nova(tool: Any, position: Any, found: Found) -> None:
    """A tool that Nova ran."""
    if child(tool, "type") == "server_tool_use":
        _add(found, "content", child(tool, "name"), _identity(tool, "toolUseId", instead=position))


def is_plain_item(kind: Any) -> bool:
    """Whether an item of this type is of those that cost nothing beside tokens, as most are."""
    return type(kind) is str and kind in _PLAIN_ITEMS


def _add(found: Found, place: str, name: Any, identity: str) -> None:
    if isinstance(name, str) and name:
        found.add((f"{place}.{name}", identity))


def _identity(item: Any, *names: str, instead: Any = None) -> str:
    """The first value that an item has under these names, else its position."""
    told = (child(item, name) for name in names)
    return str(next((value for value in told if isinstance(value, str | int)), instead))[:MOST]


def _names(chunk: Any) -> set[str]:
    """What a source of an answer is: its names that hold something."""
    names = list(KINDS_OF_CHUNKS)
    if type(chunk) is dict:
        held = cast("dict[Any, Any]", chunk)  # type: ignore[redundant-cast]  # for pyright
        names = [str(name) for name in islice(held, MOST)]
    return {name for name in names if child(chunk, name) is not None}


def is_items(value: Any) -> bool:
    """Whether it is a list of items."""
    return type(value) is list or (is_list(value) and not isinstance(value, str | bytes | bytearray))


def items_of(value: Any, found: Found | None = None) -> list[Any]:
    """The items of a list; where there are more than `MOST`, that is found, too."""
    kind = cast("Any", type(value))
    items: list[Any]
    if value is None or not is_items(value):
        return []
    if kind is list and len(value) <= MOST:
        items = value
        return items
    try:
        items = [*islice(value, MOST + 1)]
    except Exception:  # noqa: BLE001 - a foreign list may raise anything
        return []
    if len(items) > MOST and found is not None:
        found.add((_UNREAD, ""))
    return items[:MOST]


_Place = Callable[[Any, Found, Any], bool]
PLACES: Final[Mapping[str, _Place]] = {
    "output": _output, "item": _item, "content": _content, "content_block": _content_block, "outputs": _outputs,
    "choices": _choices, "candidates": _candidates, "serverContent": _server_content,
    "server_content": _server_content, "vertex_ai_grounding_metadata": _groundings, "response_metadata": _langchain,
    "additional_kwargs": _langchain, "contentBlockStart": _converse, "parts": _parts,
}  # fmt: skip
"""The names under which an answer or an event tells of tools, and what reads it there.

Each takes the value, what was found, to which it adds, and the answer or event; and says whether only an answer or an
event has such a value.
"""
