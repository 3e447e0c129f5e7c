"""What several recorders of one framework are told: two callbacks of LangChain hear of one run, each of it.

Whoever hears of a call first makes its row; the other follows, and makes none. Where the framework's ids are unique,
the same id is the same call. Where they may be counters, it is where it begins in the same context, and with the same
names, as what is current there.
"""

from collections.abc import Hashable, Mapping
from typing import Any, Final
from weakref import WeakKeyDictionary, WeakValueDictionary

from llm_service.telemetry.instrumentation.fork_locks import fork_lock
from llm_service.telemetry.instrumentation.frameworks.framework_call import FrameworkCall, FrameworkSpan
from llm_service.telemetry.instrumentation.open_blocks import current, still_open
from llm_service.telemetry.instrumentation.sink import Sink

__all__ = ["Begun", "Told", "begun_here", "told_of"]

Begun = FrameworkCall | FrameworkSpan
_SAME: Final = ("operation", "request_model", "agent_name", "tool_name")


class Told:
    """What recorders have been told.

    Attributes:
        lock: held while any of it is changed; what is collected meanwhile may end in the same thread.
        running: calls and spans that have begun, by their ids.
        ended: ids of calls that ended with their requests.
    """

    __slots__ = ("ended", "lock", "running")

    def __init__(self) -> None:
        self.lock = fork_lock()
        self.running: WeakValueDictionary[Hashable, Begun] = WeakValueDictionary()
        self.ended: dict[Hashable, None] = {}


_LOCK: Final = fork_lock()
_told: Final[WeakKeyDictionary[Sink, dict[str, Told]]] = WeakKeyDictionary()


def told_of(sink: Sink, source: str) -> Told:
    """What all recorders of a framework have been told that write to one logger."""
    with _LOCK:
        return _told.setdefault(sink, {}).setdefault(source, Told())


def begun_here(key: Hashable, sink: Sink, fields: Mapping[str, Any]) -> Begun | None:
    """What is current here, where another recorder of the same source has begun it by the same id and names."""
    here = still_open(current.get())
    if not isinstance(here, FrameworkCall | FrameworkSpan) or here._sink is not sink or here.key != key:
        return None
    said = here._fields
    return here if all(said.get(name) == fields.get(name) for name in ("source", *_SAME)) else None
