"""`search` on both clients: long work, of which no snapshot is held, and which ends with its caller."""

import threading
from collections.abc import Callable
from datetime import date, tzinfo
from typing import TYPE_CHECKING, TypeVar

from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.steps import Step, Steps
from llm_service.telemetry.queries.filter_language import Filters
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.writer.threads import off_the_loop

if TYPE_CHECKING:
    from llm_service.telemetry.queries.search import FoundRow

__all__ = ["search"]

_T = TypeVar("_T")


def search(
    core: ClientCore,
    words: str,
    start_date: date | str | None = None,
    end_date: date | str | None = None,
    agent_name: str | None = None,
    tool_name: str | None = None,
    status: str | None = None,
    limit: int = 50,
    *,
    model_name: str | None = None,
    session_id: str | None = None,
    trace_id: str | None = None,
    run: str | None = None,
    user_id: str | None = None,
    since: date | str | None = None,
    until: date | str | None = None,
    time_zone: str | tzinfo | None = None,
    filters: Filters = None,
    fresh: bool = True,
) -> Steps[list["FoundRow"]]:
    """Stored calls whose prompt, response or error message has these words; the call that arrived last first.

    With `search: true` an index is asked; without it, and for calls that it does not have yet, texts are read one after
    another, some ten thousand short ones a second. Both find the same. No snapshot is held meanwhile.

    Args:
        words: all of which a call must have, in any of its texts, whatever their case and diacritics; `"a phrase"`,
            `begin*` for the beginning of a word, `-without` for what it must not have. Characters of scripts without
            spaces, such as Chinese, are found wherever they stand. Error messages are those of calls that failed.
        limit: at most so many, 1 to 1,000,000.
        start_date, end_date, agent_name, tool_name, status, model_name, session_id, trace_id, run, user_id, since,
            until, time_zone, filters, fresh: as for `get_invocations`.

    Returns:
        Rows as of `get_invocations`, and `where` (`prompt`, `response` or `error_message`), `snippet` (the part of it
        around the first word, at most 160 characters), `marks` (beginning and end of each word in the snippet) and
        `rank` (how often the words stand in the call).

    Raises:
        QueryError: nothing to look for in `words`, or as for `get_daily_costs`.
        CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """
    from llm_service.telemetry.queries.search import Search, check_limit  # noqa: PLC0415 - who only logs does not pay for it
    from llm_service.telemetry.queries.search_terms import Wanted  # noqa: PLC0415

    wanted, most = Wanted.of(words), check_limit(limit)
    asked = core.range(since, until, time_zone)
    narrowed = InvocationFilter(
        start_date, end_date, agent_name, tool_name, model_name, status=status,
        session_id=session_id, trace_id=trace_id, run=run, user_id=user_id, since=asked.start, until=asked.end,
        filters=filters,
    )  # fmt: skip
    narrowed.where()
    if fresh:
        yield from core.flushed("; pass fresh=False to search without it")

    def found(stopped: Callable[[], bool]) -> "list[FoundRow]":
        with core.engine.store.reading() as fetch:
            return list(Search(fetch, wanted, narrowed, most).rows(stopped=stopped))

    return (yield from _Stoppable(found))


class _Stoppable(Step[_T]):
    """Long work that ends soon after its caller on an event loop was cancelled."""

    def __init__(self, work: Callable[[Callable[[], bool]], _T]) -> None:
        self._work = work

    def block(self) -> _T:
        """Do it here."""
        return self._work(lambda: False)

    async def wait(self) -> _T:
        """Have it done in a thread."""
        stopped = threading.Event()
        try:
            return await off_the_loop(lambda: self._work(stopped.is_set))
        finally:
            stopped.set()
