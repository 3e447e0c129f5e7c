"""Fields of a decorated function that its arguments tell: functions, called with what each call is called with.

One that raises, or gives what cannot be used, costs its field alone; `strict` raises it.
"""

from collections.abc import Callable, Mapping
from inspect import isasyncgenfunction, iscoroutinefunction
from typing import Any, Final, Protocol, cast

from llm_service.errors import RecordError
from llm_service.redaction import clean
from llm_service.telemetry.instrumentation.call_fields import settled, without_content
from llm_service.telemetry.instrumentation.decorator import Begin
from llm_service.telemetry.instrumentation.field_aliases import field_named
from llm_service.telemetry.instrumentation.given_fields import note
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.instrumentation.record_building import INSTEAD
from llm_service.telemetry.instrumentation.request_parameters import LIMITS, take_limit
from llm_service.telemetry.instrumentation.sink import Sink
from llm_service.telemetry.instrumentation.stream_source import discard
from llm_service.telemetry.record import checks
from llm_service.telemetry.record.fields import CHECKS, fields_of_kind
from llm_service.telemetry.record.texts import forget_repairs, repairs_here

__all__ = ["Limit", "Name", "beginning", "function_and_fields"]

_NAMES: Final = ("agent_name", "tool_name", "model_name")
_CHECKED_FIRST: Final = frozenset({*fields_of_kind("key", "name", "id"), "prompt_tokens"})
"""What a reservation is asked with, or what is within inherits: a value that no record can have must not get there."""
_PRICED_BY: Final = frozenset({"provider", "region", "service_tier", "unpriced_usage"})
"""Where one of these was to be told and is not known, no price is right. Counts and models are told by the answer."""

_NOT_KNOWN: Final = object()
"""The value of a parameter of a request whose function has failed: nothing is reserved as if it had not been given."""

Name = str | Callable[..., str | None] | None
"""A name of each call, or the function of its arguments that says it."""
Limit = int | Callable[..., int | None] | None
"""The same, for the limit of the answer."""
_Reader = Callable[..., Any]


class _Make(Protocol):
    def __call__(self, fields: dict[str, Any], limit: int | None, *, told: bool) -> Invocation: ...


def function_and_fields(names: tuple[Any, ...], fields: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The function to decorate, where it was given at once, and all fields by their names.

    Args:
        names: what was given by position: the function or an agent's name, and the other names.
        fields: what was given by name.

    Raises:
        TypeError: for more names, or one that is given twice.
    """
    function: Any = None
    if names and (callable(names[0]) or isinstance(names[0], staticmethod | classmethod)):
        function, names = cast("Any", names[0]), (None, *names[1:])
    if len(names) > len(_NAMES):
        raise TypeError(f"instrumented takes {', '.join(_NAMES)} by position; give other fields by their names")
    by_position: dict[str, Any] = dict(zip(_NAMES, names, strict=False))
    twice = [name for name in by_position if name in fields]
    if twice:
        raise TypeError(f"instrumented was given {twice[0]} twice, by position and by name")
    return function, {**by_position, **fields}


def beginning(make: _Make, fields: Mapping[str, Any], sink: Sink, *, strict: bool, is_checked: bool) -> Begin:
    """What makes the invocation of each call.

    Args:
        make: makes it of its fields, the limit of its answer, and whether arguments tell any of them.
        fields: with the limit of the answer among them, and functions where arguments are to tell.
        sink: counts what is left out.
        strict: whether that is raised instead, by the call.
        is_checked: whether one is made now, and thrown away, which raises what each call would raise.

    Raises:
        TypeError: for an async function, which nobody here can wait for.
    """
    readers, said = _split(settled(fields))
    fixed = dict(said)
    limit = take_limit(fixed)
    if is_checked:
        make(fixed, limit, told=False)
    if not readers:
        return lambda _args, _kwargs: make(fixed, limit, told=False)
    arguments = _ArgumentFields(readers, said, sink, strict=strict)

    def begin(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Invocation:
        fields = arguments.of(args, kwargs)
        return make(fields, take_limit(fields), told=True)

    return begin


def _split(fields: Mapping[str, Any]) -> tuple[dict[str, _Reader], dict[str, Any]]:
    """The functions among the fields, and the fields with None in their places.

    Raises:
        TypeError: for an async function.
    """
    readers = {name: value for name, value in fields.items() if callable(value) and not isinstance(value, str)}
    for name, read in readers.items():
        if iscoroutinefunction(read) or isasyncgenfunction(read):
            raise TypeError(f"{clean(name)}: an async function cannot be waited for; give one that returns the value")
    return readers, {name: None if name in readers else value for name, value in fields.items()}


class _ArgumentFields:
    """The fields of each call of a decorated function.

    Args:
        readers: by field, the functions that are called with the arguments of a call.
        said: the other fields.
        sink: counts what is left out.
        strict: whether that is raised instead.
    """

    def __init__(self, readers: Mapping[str, _Reader], said: Mapping[str, Any], sink: Sink, *, strict: bool) -> None:
        self._readers = readers
        self._said = said
        self._sink = sink
        self._strict = strict

    def of(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of the call with these arguments.

        Raises:
            Exception: with `strict`, what a function raises, or the `RecordError` of a value that cannot be used.
        """
        fields = dict(self._said)
        unpriced: list[str] = []
        for name, read in self._readers.items():
            try:
                fields[name] = _usable(name, read(*args, **kwargs))
            except Exception as error:
                if self._strict:
                    raise
                field = field_named(name) or name
                if field in INSTEAD:
                    fields[field] = INSTEAD[field]
                if field in _PRICED_BY:
                    unpriced.append(f"{field}: a value that is not usable")
                elif field not in CHECKS:
                    fields[name] = _NOT_KNOWN
                self._note(field, error)
        if any(fields.get(name) is _NOT_KNOWN for name in LIMITS):
            fields |= dict.fromkeys(LIMITS)  # whatever the others say
        if unpriced and fields.get("unpriced_usage") is None:
            fields["unpriced_usage"] = "; ".join(unpriced)
        return fields

    def _note(self, field: str, error: Exception) -> None:
        if isinstance(error, RecordError):
            what = without_content(error)
        else:  # its text may quote an argument, which no log line may hold
            what = f"{field}: its function failed with {type(error).__name__}; with strict=True it is raised"
        instead = f"; it is taken for {INSTEAD[field]}" if field in INSTEAD else ""
        note(self._sink, field, f"{clean(what)}{instead}")


def _usable(name: str, value: Any) -> Any:
    """The value, where it can be used.

    Raises:
        RecordError: else.
    """
    if hasattr(cast("Any", type(value)), "__await__"):
        discard(value)
        raise RecordError(name, type(value).__name__, "give the value itself: nothing is awaited here")
    if name in LIMITS:
        return checks.whole(name, value, 1, checks.MAX_TOKENS)
    field = field_named(name) or name
    if field in _CHECKED_FIRST and value is not None:
        repairs = repairs_here()
        try:
            CHECKS[field](field, value)
        finally:
            forget_repairs(repairs)  # counted with the record
    return value
