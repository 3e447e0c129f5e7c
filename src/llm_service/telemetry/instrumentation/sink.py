"""What a call hands its record to."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from llm_service.telemetry.record.record import InvocationRecord

__all__ = ["Sink"]


class Sink(Protocol):
    """What an invocation needs of a logger.

    Attributes:
        inherited: what its calls have in any thread, unless a scope, a block, or the call itself says otherwise.
        admit: called before a hooked SDK sends a request, which it refuses by raising; None lets all through.
    """

    @property
    def inherited(self) -> Mapping[str, Any]:
        """See above."""
        ...

    @property
    def admit(self) -> Callable[[], None] | None:
        """See above."""
        ...

    @property
    def is_closed(self) -> bool:
        """Whether the logger is closed, or closes: it takes nothing more."""
        ...

    @property
    def answered(self) -> dict[str, None]:
        """Response ids of the newest calls that hooks and frameworks made rows of; see `seen_calls`."""
        ...

    def offer(self, record: InvocationRecord, /) -> bool:
        """Accept the record or count its loss; never blocks, never raises for a full queue."""
        ...

    def lose_invalid(self) -> None:
        """Count a record that could not be made at all."""
        ...

    def count_bad_value(self, field: str) -> bool:
        """Count a value that was stored as NULL; True the first time for this field."""
        ...

    def knows_cost(self, record: InvocationRecord, /) -> bool:
        """Whether the cost of a record is known, or will be: it has a price."""
        ...

    def is_first(self, what: str) -> bool:
        """Whether this has not happened before: it is to be warned about."""
        ...
