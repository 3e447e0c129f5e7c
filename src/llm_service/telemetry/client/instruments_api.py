"""Recording the calls of SDKs: methods of both clients."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from llm_service.telemetry.client.client_core import ClientCore

__all__ = ["instrument", "instrumenting", "uninstrument"]


class _Client(Protocol):
    _core: ClientCore
    _instruments: bool


_C = TypeVar("_C", bound=_Client)


def instrument(self: _C, *sdks: str) -> _C:
    """Record each call of SDKs from now on: of those that are named (`openai`, `anthropic`), or of all.

    Of those that the program has imported, and of the others when it imports them; none is imported here. One row a
    logical call: its retries are `attempts` of it. Of several loggers the last that was instrumented records, for the
    whole process. Closing the logger ends it. A block around exactly one call is one row with it: what the block says
    wins. Around several calls, or with an `operation` such as `agent`, `workflow` or `tool`, each call is a row of its
    own with the block as its parent.

    Returns:
        This logger; `instrumenting` is the same as a context manager.

    Raises:
        SettingsError: (a `ValueError`) for a name that is none.
    """
    from llm_service.telemetry.instrumentation.sdk.instruments import instrument_sdks  # noqa: PLC0415 - as needed

    instrument_sdks(self._core, sdks)
    self._instruments = True
    return self


def uninstrument(self: _Client, *sdks: str) -> None:
    """Record them no longer; calls that have begun are still recorded."""
    from llm_service.telemetry.instrumentation.sdk.instruments import uninstrument_sdks  # noqa: PLC0415 - as above

    uninstrument_sdks(self._core, sdks)


@contextmanager
def instrumenting(self: _C, *sdks: str) -> Generator[_C, None, None]:
    """As `instrument`, within a `with` block, for the whole process; the block leaves the logger open."""
    instrument(self, *sdks)
    try:
        yield self
    finally:
        uninstrument(self, *sdks)
