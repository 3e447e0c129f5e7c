"""Calls that were seen apart: by the hook into an SDK in one context, by a framework's callback in another.

They are one call where they tell the same response id, or, where one of them knows none, where they began within the
same block and tell the same model and the same counts, or were both cut short; and one happened while the other did.
Whoever ends first makes the row; the other finds it here, once, and makes none.
"""

from collections import deque
from collections.abc import Mapping
from typing import Any, Final, NamedTuple, cast
from weakref import WeakKeyDictionary

from llm_service.telemetry.instrumentation.fork_locks import fork_lock
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["Seen", "has_row", "remember_row", "see_twice", "sees_twice", "was_seen"]

_MOST: Final = 4096
_COUNTS: Final = ("prompt_tokens", "completion_tokens")
_TOLD: Final = ("response_id", "model_name", "request_model", "status", "finish_reason", *_COUNTS)
_LOCK: Final = fork_lock()
"""Streams that are collected meanwhile may end in the same thread."""
_seen: Final[WeakKeyDictionary[Sink, "deque[Seen]"]] = WeakKeyDictionary()


class Seen(NamedTuple):
    """A call that has ended.

    Attributes:
        by_framework: who saw it: a framework, or the hook into an SDK.
        began, ended: by `perf_counter_ns`.
        within: the id of the block in which it began.
        fields: what was told of it.
    """

    by_framework: bool
    began: int
    ended: int
    within: str | None
    fields: Mapping[str, Any]

    def is_of(self, other: "Seen") -> bool:
        """Whether both are of one call."""
        if self.by_framework is other.by_framework:
            return False
        whole, part = (self, other) if self.by_framework else (other, self)
        if not whole.began <= part.began <= whole.ended:
            return False
        said, told = whole.fields, part.fields
        mine, theirs = said.get("response_id"), told.get("response_id")
        if mine is not None and theirs is not None:
            return bool(mine == theirs)
        if self.within != other.within or not (_models(said) & _models(told)):
            return False
        if all((said.get(field) or 0) == (told.get(field) or 0) for field in _COUNTS):
            return True
        # Of what is cut short a framework knows no counts, and a hook those until then.
        return _is_cut(said) and _is_cut(told) and all(said.get(field) is None for field in _COUNTS)


def _is_cut(fields: Mapping[str, Any]) -> bool:
    return fields.get("status") not in {None, "success"} or fields.get("finish_reason") == "cancelled"


def _models(fields: Mapping[str, Any]) -> set[Any]:
    return {fields.get("model_name"), fields.get("request_model")} - {None}


def see_twice(sink: Sink) -> None:
    """A framework tells of its calls from now on, beside the hooks."""
    with _LOCK:
        _seen.setdefault(sink, deque(maxlen=_MOST))


def sees_twice() -> bool:
    """Whether a framework tells of any logger's calls."""
    return bool(_seen)


def was_seen(sink: Sink, call: Seen) -> bool:
    """Whether another has seen it, and made its row; else it is noted, and another will find it."""
    with _LOCK:
        table = _seen.get(sink)
        if table is None:
            return False
        for place in range(len(table) - 1, -1, -1):
            other = table[place]
            if other.ended < call.began:  # all before it ended before it, too
                break
            if call.is_of(other):
                del table[place]
                return True
        table.append(call._replace(fields={name: call.fields.get(name) for name in _TOLD}))
        return False


def remember_row(sink: Sink, response_id: object) -> None:
    """A hook, or a framework's callback, has made the row of the call with this answer."""
    if type(response_id) is not str:
        return
    ids = sink.answered
    with _LOCK:
        ids[response_id] = None
        if len(ids) > _MOST:
            del ids[next(iter(ids))]


def has_row(sink: Sink, response_id: object) -> bool:
    """Whether the call with this answer has a row by a hook or a framework's callback, as far as is remembered."""
    if not issubclass(type(response_id), str):  # an object of a caller, whose methods may raise
        return False
    return str.__str__(cast("str", response_id)) in sink.answered
