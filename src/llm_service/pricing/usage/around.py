"""Finds the usage in an answer or a stream's event, and what stands beside it that has a price: tiers, and tools.

It is looked for in one way, whoever asks. What is an answer or an event, and holds no usage, is no report: its settings
and positions (`temperature`, `index`) are no counts. Of a stream each event is looked at, so that a search that one
event tells of is not forgotten by the next; see `joined`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from itertools import islice
from types import MappingProxyType
from typing import Any, Final, NamedTuple, cast

from llm_service.pricing.usage.beside import add_bills, is_bill, refused_before_output
from llm_service.pricing.usage.leaves import child, is_unset, snake
from llm_service.pricing.usage.leaves import is_container as holds
from llm_service.pricing.usage.plain import everything, is_model
from llm_service.pricing.usage.provider_tools import PLACES, Billed, Found, billed_by_event, is_items, items_of
from llm_service.pricing.usage.shapes import COUNTS, Role

__all__ = ["EXCEPTIONS", "INSIDE", "Around", "declared", "unwrapped"]

EXCEPTIONS: Final = (
    "internalServerException", "modelStreamErrorException", "serviceUnavailableException", "throttlingException",
    "validationException",
)  # fmt: skip
"""Keys of failures in a stream of Bedrock
(https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStreamOutput.html)."""

INSIDE: Final = ("usage", "usage_metadata", "usageMetadata", "token_usage", "amazon-bedrock-invocationMetrics")
"""Keys of the usage in an answer."""
_EVENTS: Final = ("message", "response", "delta", "data", "interaction", "chunk")
"""Keys of an answer, or of a part of one, in a stream's event."""
_AROUND: Final = (*_EVENTS, "metadata", "meta", "x_groq")
"""Keys of what may hold the usage; Kimi tells it in the first choice
(https://platform.moonshot.ai/docs/api/chat#example-of-a-streaming-response)."""
_OVERWRITTEN: Final = "upstream_usage_cost"
"""Where LiteLLM keeps the cost that the seller told, once it has written its own in its place, as it does in streams
(https://github.com/BerriAI/litellm, `stamp_litellm_bill_on_usage`)."""
_DEEPEST: Final = 3
_PENDING: Final = frozenset({"in_progress", "queued"})
"""Status of an answer whose tier is only the one that was asked for."""
_TOPS: Final = frozenset(path.partition(".")[0] for path in COUNTS) - {"details"}
_LONGEST: Final = 64
"""Names of a mapping up to which each is looked at; in a longer one the known names are looked for."""
_MOST: Final = 512
_SEPARATED: Final = frozenset("._-")


_NOTHING: Final[Billed] = frozenset()
_NO_CHARGE: Final[Mapping[str, Any]] = MappingProxyType({})


class Around(NamedTuple):
    """What was found.

    Attributes:
        usage: the usage; None in an answer or an event without one.
        words: tier and speed, from the answer around it.
        billed: what was billed in addition to tokens.
        inside: whether the usage, if any, is a part of the source.
        answer: whether the source is an answer or an event by more than its usage.
        charged: what the seller charged, where it stands beside the usage: by the paths of `cost` in one.
        estimated: whether a cost in the usage is what a client thinks, by a price list.
        others: more usages that the answer holds beside that one.
        made: what LangChain made of the provider's usage.
    """

    usage: Any
    words: Mapping[Role, str]
    billed: Billed
    inside: bool
    answer: bool
    charged: Mapping[str, Any] = _NO_CHARGE
    estimated: bool = False
    others: tuple[Any, ...] = ()
    made: Any = None


class _Seen:
    """What a search has seen until now.

    Attributes:
        words: tier and speed.
        billed: what was billed in addition to tokens.
        answer: whether an answer or an event was seen.
        charged: what the seller charged.
        pending: whether it has not ended: its tier is only the one that was asked for.
        bills: what stands beside the usage and tells what was billed, by name.
        others: more usages than the one that is taken.
        raw: what a message of LangChain's keeps of the provider's own answer.
        made: what LangChain made of the usage in it.
    """

    __slots__ = ("answer", "billed", "bills", "charged", "made", "others", "pending", "raw", "words")

    def __init__(self) -> None:
        self.words: dict[Role, str] = {}
        self.billed: set[tuple[str, str]] = set()
        self.answer = False
        self.charged: Mapping[str, Any] = _NO_CHARGE
        self.pending = False
        self.bills: list[tuple[str, Any]] | None = None
        self.others: tuple[Any, ...] = ()
        self.raw: Any = None
        self.made: Any = None


def unwrapped(source: Any) -> Around:
    """The usage in an answer or event, or the usage that the source is, and what stands beside it."""
    seen = _Seen()
    usage = _searched(source, seen, _DEEPEST)
    if seen.raw is not None:  # it says more than what LangChain makes of it
        made, usage = usage, _searched_apart(seen.raw, seen, 0, always=True) or usage
        seen.made = None if made is usage else made
    billed = frozenset(seen.billed) if seen.billed else _NOTHING
    if usage is not None:
        estimated = _is_estimated(source, usage)
        return Around(usage, seen.words, billed, True, seen.answer, seen.charged, estimated, seen.others, seen.made)
    if not seen.answer:
        return Around(source, {}, billed, inside=False, answer=False, estimated=_is_estimated(None, source))
    if any(child(source, name) is not None for name in _names_of_counts(source)):
        return Around(source, {}, billed, inside=False, answer=True)  # both in one, as Ollama's
    return Around(None, {} if seen.pending else seen.words, billed, inside=True, answer=True)


def _is_estimated(answer: Any, usage: Any) -> bool:
    """Whether a client made the cost: Pydantic AI by the price list that is used here, too; LiteLLM by its own."""
    home = type(usage).__module__.partition(".")[0]
    if home == "litellm":
        told = getattr(answer, "_hidden_params", None)
        return type(told) is not dict or told.get(_OVERWRITTEN, 0) is None
    return home == "pydantic_ai" or child(usage, "cache_audio_read_tokens") is not None


def _searched(source: Any, seen: _Seen, depth: int) -> Any:
    """The usage that a source holds; None without one."""
    usage: Any = None
    rank = len(INSIDE)
    around: dict[str, Any] | None = None
    for name, value in _named(source):
        place = None if value is None else _PLACES.get(name)
        if place is None:
            if value is not None and _may_bill(name) and holds(value):
                seen.bills = [*(seen.bills or ()), (name, value)]
            continue
        if is_unset(value):
            continue
        if isinstance(place, int):
            usage, rank = _first_of((usage, rank), (value, place), seen)
        elif isinstance(place, str):
            if holds(value):
                around = around or {}
                around[name] = value
                seen.answer |= name in _EVENTS
        else:
            place(seen, value, source)
    if usage is not None:
        seen.others += tuple(_just_below(source, around or {}))
    elif depth:
        usage = _below(source, around or {}, seen, depth - 1)
    _add_bills(usage, seen)
    return usage


def _first_of(one: tuple[Any, int], other: tuple[Any, int], seen: _Seen) -> tuple[Any, int]:
    """The usage with the name that goes before, and its rank."""
    if not holds(other[0]):
        return one
    if other[1] < one[1]:
        one, other = other, one
    if other[0] is not None:
        seen.others += (other[0],)
    return one


def _add_bills(usage: Any, seen: _Seen) -> None:
    if seen.bills is not None and (usage is not None or seen.answer):
        for name, bill in seen.bills:
            add_bills(name, bill, usage, seen.billed)
        seen.bills = None


def _below(source: Any, around: Mapping[str, Any], seen: _Seen, depth: int) -> Any:
    """The usage in what a source holds."""
    for name in _AROUND:
        inner = around.get(name)
        if inner is None:
            continue
        if name in _EVENTS and not is_items(inner):
            usage = _searched(inner, seen, depth)
        else:
            usage = _searched_apart(inner, seen, depth)
        if usage is None and child(inner, "billed_units") is not None:
            usage = inner
        if usage is not None:
            return usage
    choices = items_of(child(source, "choices"))
    if not choices:
        return None
    if len(choices) > 1:
        seen.others += tuple(_just_below({"choices": choices[1:]}, {}))
    return _searched_apart(choices[0], seen, depth)


def _just_below(source: Any, around: Mapping[str, Any]) -> Iterator[Any]:
    """The usages directly in what an answer holds, and in its choices."""
    for inner in (*around.values(), *items_of(child(source, "choices"))[:_LONGEST]):
        for name in INSIDE:
            usage = child(inner, name)
            if holds(usage) and not is_unset(usage):
                yield usage


def _searched_apart(inner: Any, seen: _Seen, depth: int, *, always: bool = False) -> Any:
    """As `_searched`, in what may be anything: what stands beside the usage counts where there is one, or always."""
    apart = _Seen()
    usage = _searched(inner, apart, depth)
    if usage is not None or always:
        seen.words |= apart.words
        seen.billed |= apart.billed
    return usage


def _named(source: Any) -> Iterable[tuple[str, Any]]:
    """Names and values of a source, of a small dict all; of others those with a meaning here."""
    kind = cast("Any", type(source))
    if kind is dict:
        if len(source) <= _LONGEST:
            return cast("Iterable[tuple[str, Any]]", source.items())
    elif is_model(kind):
        names = declared(kind)
        if names is not None:
            held: dict[str, Any] = source.__dict__
            more: dict[str, Any] | None = source.__pydantic_extra__
            named = [(name, held.get(name)) for name in names]
            return [*named, *islice(more.items(), _LONGEST)] if more else named
    elif not holds(source):
        return ()
    return [(name, child(source, name)) for name in (*_PLACES, *_BESIDE)]


@lru_cache(maxsize=256)
def declared(kind: Any) -> tuple[str, ...] | None:
    """The fields of a pydantic model that have a meaning here; None where it computes one of them."""
    if any(isinstance(getattr(kind, name, None), property | cached_property) for name in _PLACES):
        return None
    return tuple(name for name in kind.model_fields if name in _PLACES or _may_bill(name))


def _may_bill(name: Any) -> bool:
    """Whether what has this name, and no meaning of its own here, may tell what was billed."""
    return type(name) is str and (name in _BESIDE or is_bill(name))


def _names_of_counts(source: Any) -> Iterable[str]:
    """The names of a source that are those of counts."""
    told = everything(source)
    if told is None:
        return _TOPS
    return [name for name in islice(told, _MOST) if snake(str(name)) in _TOPS]


# What is read of each name


def _tier(seen: _Seen, tier: Any, answer: Any) -> None:  # noqa: ARG001 - as all that read a name
    if not isinstance(tier, str):
        tier = child(tier, "type")
    if isinstance(tier, str) and tier:
        seen.words["tier"] = tier


def _speed(seen: _Seen, config: Any, answer: Any) -> None:  # noqa: ARG001
    speed = child(config, "latency")
    if isinstance(speed, str):
        seen.words["speed"] = speed


def _stop(seen: _Seen, reason: Any, answer: Any) -> None:
    if refused_before_output(reason, answer):
        seen.billed.add(("refusal before output, which may be free", ""))


def _kind(seen: _Seen, kind: Any, event: Any) -> None:
    if isinstance(kind, str) and not _SEPARATED.isdisjoint(kind):
        billed_by_event(kind, event, seen.billed)
        seen.answer = True


def _message(seen: _Seen, metadata: Any, message: Any) -> None:
    if holds(metadata):
        seen.raw = metadata
    seen.answer |= PLACES["response_metadata"](metadata, seen.billed, message)


def _details(seen: _Seen, details: Any, response: Any) -> None:  # noqa: ARG001
    """What Pydantic AI keeps of a provider's answer (https://ai.pydantic.dev/api/messages/)."""
    for name, role in _WORDS_OF_DETAILS.items():
        word = child(details, name)
        if isinstance(word, str) and word:
            seen.words[role] = word
    charged = {path: child(details, name) for name, path in _CHARGED.items()}
    seen.charged = {path: value for path, value in charged.items() if value is not None}


def _failure(seen: _Seen, failure: Any, event: Any) -> None:  # noqa: ARG001
    seen.answer |= holds(failure)


def _text(seen: _Seen, value: Any, answer: Any) -> None:  # noqa: ARG001
    seen.answer |= isinstance(value, str)


def _bool(seen: _Seen, value: Any, answer: Any) -> None:  # noqa: ARG001
    seen.answer |= isinstance(value, bool)


def _status(seen: _Seen, status: Any, answer: Any) -> None:  # noqa: ARG001
    seen.pending |= isinstance(status, str) and status in _PENDING


def _tools(read: Callable[[Any, Found, Any], bool]) -> "_Read":
    def place(seen: _Seen, value: Any, answer: Any) -> None:
        seen.answer |= read(value, seen.billed, answer)

    return place


_Read = Callable[[_Seen, Any, Any], None]
_INNER: Final = "inner"
_BESIDE: Final = ("tool_usage", "trace")
"""What is known to hold bills beside the usage."""
_WORDS_OF_DETAILS: Final[Mapping[str, Role]] = {"service_tier": "tier", "traffic_type": "traffic", "speed": "speed"}
_CHARGED: Final = {
    "cost": "cost", "is_byok": "is_byok", "upstream_inference_cost": "cost_details.upstream_inference_cost",
}  # fmt: skip
"""OpenRouter's charge, by the path that it has in its usage."""
_PLACES: Final[Mapping[str, int | str | _Read]] = {
    **{name: rank for rank, name in enumerate(INSIDE)},
    **dict.fromkeys(_AROUND, _INNER),
    "service_tier": _tier, "serviceTier": _tier, "performanceConfig": _speed, "performance_config": _speed,
    "type": _kind, "event": _kind, "event_type": _kind, "object": _text, "done": _bool, "status": _status,
    "stop_reason": _stop,
    **dict.fromkeys(("error", *EXCEPTIONS), _failure),
    **{name: _tools(read) for name, read in PLACES.items()},
    "response_metadata": _message, "provider_details": _details,
}  # fmt: skip
"""Each name with a meaning here: the rank of a usage, what may hold it, or what reads it."""
