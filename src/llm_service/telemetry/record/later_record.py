"""A record that is made when it is first looked at, by the writer's thread: its call need not wait for that.

Many are made in a row there, in a third of the time that one takes in the middle of a program. A queue with a crash
journal looks at it at once.
"""

from collections.abc import Callable
from typing import Any

from llm_service.telemetry.record.record import InvocationRecord, set_size, set_values

__all__ = ["LaterRecord"]


class LaterRecord(InvocationRecord):
    """See the module; in all else a record.

    Args:
        make: makes the record, from what does not change any more: the same one, however often it is called. It must
            not raise. Called once, but for threads that look at the same time.
        size: bytes that it is taken to need, before and after it is made.
    """

    __slots__ = ("_make",)

    _make: Callable[[], InvocationRecord]

    def __init__(self, make: Callable[[], InvocationRecord], size: int) -> None:
        set_size(self, size)
        _set_make(self, make)

    def __getattr__(self, name: str) -> Any:
        """Asked for what is not there yet."""
        if name not in InvocationRecord.__slots__:
            raise AttributeError(name)
        made = self._make()
        set_values(self, made.card, made.extensions)
        _set_make(self, lambda: made)
        return getattr(made, name)


_set_make: Callable[[LaterRecord, Callable[[], InvocationRecord]], None] = LaterRecord.__dict__["_make"].__set__
