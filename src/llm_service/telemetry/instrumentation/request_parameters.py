"""Parameters of a provider's request that a block is given as the client is: `invocation(budget=True, **request)`.

A record has no fields for most of them. What the model reads of them counts with the prompt, and so does what it reads
besides, which nobody here can measure; several answers cost as much as several calls. What is not known to change
neither prompt nor price is named, and refused where an amount would have to be estimated: see `request_names`.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple, cast

from llm_service.config.service_tiers import tier_of
from llm_service.pricing.usage.leaves import snake
from llm_service.pricing.usage.numbers import as_number
from llm_service.pricing.usage.plain import everything
from llm_service.pricing.usage.telling import is_telling
from llm_service.telemetry.instrumentation.field_aliases import known_fields
from llm_service.telemetry.instrumentation.later_reports import with_reasons
from llm_service.telemetry.instrumentation.request_names import (
    BEYOND,
    HOLDERS,
    LIMITS,
    LIMITS_WITHIN,
    ORDINARY,
    PROMPTS,
    READ,
    SERVED,
    TIMES,
    UNREAD,
)
from llm_service.telemetry.instrumentation.request_tools import tools_in

__all__ = ["LIMITS", "PARAMETERS", "Asked", "answers_to", "asked_in", "take_limit"]

_ALL: Final = (*READ, *TIMES, *UNREAD, *BEYOND, *HOLDERS, *ORDINARY)
_SPELT: Final = {snake(name): name for name in _ALL}
_AS_FIELDS: Final = frozenset({"metadata", "stream", "user", "service_tier", "speed"})
"""What the block takes as fields, or as usage."""
_SERVED_AS: Final = frozenset({"modelId", "serviceTier", "performanceConfig", "background_options", "inference_geo"})
PARAMETERS: Final = frozenset({*PROMPTS[2:], *_ALL, *_SERVED_AS}) - _AS_FIELDS
_WITHIN: Final = frozenset({*_SPELT, *LIMITS_WITHIN, *SERVED}) - {snake(holder) for holder in HOLDERS}
_TOOLS: Final = ("tools", "functions", "toolConfig")
_MOST_NAMES: Final = 20


class Asked(NamedTuple):
    """What a block was given, taken apart.

    Attributes:
        fields: without the parameters that are no fields; the prompt is all that the model reads.
        answers: that are asked for.
        hidden_tokens: that the provider adds to the prompt, at most.
        unread: parameters with which the model reads what is not in the request.
        beyond: parameters with which more is billed than the prompt and one answer.
    """

    fields: dict[str, Any]
    answers: int = 1
    hidden_tokens: int = 0
    unread: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()


def take_limit(fields: dict[str, Any], limit: int | None = None) -> int | None:
    """Take the limit of the answer out of what a block is given, by any of its names; `limit` was given apart."""
    found: list[Any] = [limit, *(fields.pop(name, None) for name in LIMITS)]
    told = [one for one in found if one is not None]
    limits = [_whole(one) for one in told]
    if None in limits:
        return cast("int", told[limits.index(None)])  # whoever takes it says what is wrong with it
    if not fields.keys().isdisjoint(HOLDERS):
        limits += [number for holder in HOLDERS for number in _limits_in(fields, holder)]
    return max(cast("list[int]", limits), default=None)  # of several, which one is sent is not known


def asked_in(fields: dict[str, Any], *, estimates: bool) -> Asked:
    """Take apart what a block is given.

    Args:
        fields: unchanged.
        estimates: whether an amount is to be estimated: then names that nobody here knows are looked at, too.
    """
    try:
        return _asked_in(fields, estimates=estimates)
    except Exception:  # noqa: BLE001 - an object of a client's, which may raise anything
        beyond = tuple(sorted(name for name in PARAMETERS & fields.keys() if not _can_be_read(name, fields[name])))
        if not beyond:
            return Asked(dict(fields), beyond=("a value that cannot be read",))
        left = {name: value for name, value in fields.items() if name not in beyond}
        return asked_in(left, estimates=estimates)._replace(beyond=beyond)


def _can_be_read(name: str, value: Any) -> bool:
    try:
        _asked_in({name: value, "prompt": ""}, estimates=False)
    except Exception:  # noqa: BLE001 - as above
        return False
    return True


def _asked_in(fields: dict[str, Any], *, estimates: bool) -> Asked:
    answers = answers_to(fields.get("prompt"))
    unknown = tuple(_unknown(fields)) if estimates else ()
    if PARAMETERS.isdisjoint(fields) and not (estimates and fields.keys() >= {*PROMPTS[:2]}):
        return Asked(fields, answers, beyond=unknown)
    fields = dict(fields)
    beyond = [*unknown, *_opened(fields)]
    given = {name: fields.pop(name) for name in PARAMETERS & fields.keys() if not _is_usage(name, fields[name])}
    _take_served(fields, given)
    hidden, model = 0, next(filter(None, map(fields.get, ("model_name", "model", "request_model"))), None)
    for name in _TOOLS:
        tools = tools_in(given.get(name), model)
        hidden, beyond = max(hidden, tools.hidden_tokens), [*beyond, *tools.beyond]
    beyond += [name for name in BEYOND if _is_asked(given.get(name)) and not _is_harmless(name, given[name])]
    unread = tuple(name for name in UNREAD if given.get(name))
    _with_all_that_is_read(fields, given, every=estimates)
    times = {name: _whole(given[name]) for name in TIMES if given.get(name) is not None}
    beyond += [name for name, number in times.items() if number is None]
    answers *= max([1, *(number or 1 for number in times.values())])
    return Asked(fields, answers, hidden, unread, tuple(beyond[:_MOST_NAMES]))


def _is_usage(name: str, value: Any) -> bool:
    """Whether it is none of a request: the AI SDK's usage holds the provider's own as `raw`, Ollama's is a flag."""
    return name == "raw" and _mapping(value) is not None


def _opened(fields: dict[str, Any]) -> list[str]:
    """Put what holders hold beside them; what nobody here can read, or knows, is named."""
    beyond: list[str] = []
    for holder in HOLDERS:
        told = _within(fields, holder)
        if told is None:
            beyond.append(holder)
            continue
        for name, value in told.items():
            if name not in _WITHIN:
                if value is not None and value is not False:
                    beyond.append(f"{holder}.{name}"[:80])
            elif name in LIMITS_WITHIN:
                if _is_no_limit(value, holder):
                    beyond.append(f"{holder}.{name}")
            elif value is not None:
                beside = SERVED.get(name) or _SPELT[name]
                if name in SERVED:
                    value = _served(name, value)  # noqa: PLW2901 - the field's own value
                if fields.get(beside) is None:
                    fields[beside] = value
                elif name not in ORDINARY and value is not None:  # which of both is sent is not known
                    beyond.append(f"{holder}.{name}")
    return beyond


def _limits_in(fields: Mapping[str, Any], holder: str) -> list[int]:
    told = _within(fields, holder) or {}
    numbers = (_whole(told.get(name)) for name in LIMITS_WITHIN)
    return [number for number in numbers if number is not None and number > 0]


def _is_no_limit(value: object, holder: str) -> bool:
    """Whether it lifts the limit beside it (-1, or null), or nobody here knows what a server makes of it."""
    number = _whole(value)
    return holder == "extra_body" if value is None else number is None or number <= 0


def _within(fields: Mapping[str, Any], holder: str) -> Mapping[str, Any] | None:
    """The parameters in a holder, by their names in snake case; None where it holds what nobody here can read."""
    held = fields.get(holder)
    try:
        told: Mapping[Any, Any] | None = _mapping(held) if held else {}
        return None if told is None else {snake(name): value for name, value in told.items() if isinstance(name, str)}
    except Exception:  # noqa: BLE001 - an object of a client's, which may raise anything
        return None


def _mapping(held: Any) -> Mapping[Any, Any] | None:
    return cast("Mapping[Any, Any] | None", held if isinstance(held, Mapping) else everything(held))


def _take_served(fields: dict[str, Any], given: Mapping[str, Any]) -> None:
    """Take how the call is served: its fields have a price, or none is known."""
    for name in _SERVED_AS & given.keys():
        field, value = SERVED[snake(name)], _served(snake(name), given[name])
        if value is not None and fields.get(field) is None:
            fields[field] = value
    place = fields.pop("inference_geo", None)
    if place is not None and not issubclass(type(place), str):
        place = "a value that is not usable"
    if is_telling("inference_geo", place, None):
        fields["unpriced_usage"] = with_reasons(fields.get("unpriced_usage"), [f"inference_geo: {place}"])
    tier = _mapping(fields.get("service_tier"))
    if tier is not None:  # Bedrock's, within what holds parameters
        fields["service_tier"] = tier.get("type")


def _served(name: str, value: Any) -> Any:
    """The value of the field that a parameter of `SERVED` says."""
    told = _mapping(value)
    if told is None:
        return value
    if name == "performance_config":
        speed = told.get("latency")
        return None if tier_of(speed if isinstance(speed, str) else None) is None else speed
    if name == "background_options":
        window = told.get("completion_window")
        return None if window in {None, "soonest"} else f"background_{window}"
    return told.get("type") if name == "service_tier" else value


def _unknown(fields: Mapping[str, Any]) -> Iterator[str]:
    """Names that are no field, no other name of one and no parameter: each may be what a client is billed for."""
    others = {name: value for name, value in fields.items() if name not in PARAMETERS or _is_usage(name, value)}
    try:
        _, unknown = known_fields(others)
    except Exception:  # noqa: BLE001 - a value of the caller's raises: the block names it
        return
    for name in unknown:
        if others[name] is not None and others[name] is not False:
            yield name[:80]


def _is_harmless(name: str, value: Any) -> bool:
    """Whether a parameter that may cost more does not, by its value."""
    told = _mapping(value)
    if name in {"modalities", "response_modalities"}:
        return isinstance(value, list | tuple) and all(str(one).lower() == "text" for one in cast("list[Any]", value))
    if name == "context_management":  # what clears the prompt makes no further request, as compaction does
        edits = None if told is None else told.get("edits")
        kinds = [(_mapping(edit) or {}).get("type") for edit in cast("list[Any]", edits or ())]
        return told is not None and all(str(kind).startswith("clear_") for kind in kinds)
    return name == "http_options" and told is not None and not told.get("extra_body")


def _is_asked(value: object) -> bool:
    """Whether a parameter is given: an empty object may be what switches it on (`web_search_options={}`)."""
    return bool(value) or isinstance(value, Mapping)


def _whole(value: object) -> int | None:
    """A whole number, of whatever type; None for anything else."""
    try:
        number = as_number(value)
    except Exception:  # noqa: BLE001 - a foreign object may raise anything
        return None
    return number if isinstance(number, int) else None


def answers_to(prompt: object) -> int:
    """How many prompts there are, each with an answer of its own: legacy completions take a list of texts."""
    if not issubclass(type(prompt), list | tuple):  # a foreign object may raise when it is asked for its class
        return 1
    texts = cast("list[Any]", prompt)
    return len(texts) if texts and all(issubclass(type(one), str) for one in texts) else 1


def _with_all_that_is_read(fields: dict[str, Any], given: Mapping[str, Any], *, every: bool) -> None:
    """Put what the model reads in the place of the prompt, where there is one; of several the first, or every one."""
    told = {name: fields.get(name, given.get(name)) for name in PROMPTS}
    prompts = [prompt for prompt in told.values() if prompt is not None][: None if every else 1]
    if not prompts:
        return
    for name in PROMPTS[:2]:
        fields.pop(name, None)
    more: list[Any] = [{"role": "system", "content": _text(given[one])} for one in READ if given.get(one)]
    if not more and len(prompts) == 1:
        fields["prompt"] = prompts[0]
        return
    for prompt in prompts:
        more += cast("list[Any]", prompt) if issubclass(type(prompt), list | tuple) else [prompt]
    fields["prompt"] = more


def _text(value: Any) -> Any:
    """A system prompt, a tool or a schema as the text that a model reads is no longer than; else as it is."""
    if isinstance(value, str):
        return value
    schema = getattr(value, "model_json_schema", None)
    try:
        return json.dumps(schema() if callable(schema) else value, ensure_ascii=False)
    except Exception:  # noqa: BLE001 - an object of a client, which may raise anything
        return [value]
