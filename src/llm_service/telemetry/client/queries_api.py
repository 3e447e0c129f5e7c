"""The questions one may ask of a logger, on both loggers: same arguments, same keys, each read from one snapshot.

What SQL a question is and what its rows mean stands in `queries`; here it is only driven, after a flush, so that you
read your own writes.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import partial
from typing import TypeVar

from llm_service.telemetry.client.argument_names import with_hints
from llm_service.telemetry.client.shared import BaseClient
from llm_service.telemetry.queries import call_content, questions
from llm_service.telemetry.queries.call_content import Content
from llm_service.telemetry.queries.filters import InvocationFilter, checked_id
from llm_service.telemetry.queries.questions import DailyCost, InvocationRow, Statistics
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.reader import read
from llm_service.telemetry.writer.ledger import FlushResult
from llm_service.telemetry.writer.threads import off_the_loop

__all__ = ["AsyncQueries", "Queries"]

_T = TypeVar("_T")


class AsyncQueries(BaseClient):
    """`await telemetry.get_...`: the file is read in a thread, never on the loop."""

    async def flush(self, timeout: float | None = None) -> FlushResult:
        """Wait until what was accepted before is settled; the logger knows how."""
        raise NotImplementedError

    @with_hints
    async def get_daily_costs(
        self,
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        fresh: bool = True,
    ) -> list[DailyCost]:
        """See `TelemetryLogger.get_daily_costs`."""
        query = questions.daily_costs(start_date, end_date, agent_name, tool_name, model_name)
        return await self._ask(lambda fetch: questions.to_daily_costs(fetch(query)), fresh=fresh)

    @with_hints
    async def get_invocations(
        self,
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        status: str | None = None,
        limit: int = 100,
        *,
        model_name: str | None = None,
        session_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        before: InvocationRow | None = None,
        fresh: bool = True,
    ) -> list[InvocationRow]:
        """See `TelemetryLogger.get_invocations`."""
        narrowed = InvocationFilter(
            start_date=start_date, end_date=end_date, agent_name=agent_name, tool_name=tool_name, status=status,
            model_name=model_name, session_id=session_id, since=since, until=until,
        )  # fmt: skip
        query = questions.invocations(narrowed, limit, before=before)
        return await self._ask(lambda fetch: questions.to_invocations(fetch(query)), fresh=fresh)

    async def get_content(self, invocation_id: str, *, fresh: bool = True) -> Content | None:
        """See `TelemetryLogger.get_content`."""
        query = call_content.content(self._engine.redactor.invocation_id(checked_id("invocation_id", invocation_id)))
        return await self._ask(lambda fetch: call_content.to_content(fetch(query)), fresh=fresh)

    @with_hints
    async def get_statistics(
        self,
        agent_name: str | None = None,
        days: float = 7,
        *,
        tool_name: str | None = None,
        model_name: str | None = None,
        fresh: bool = True,
    ) -> Statistics:
        """See `TelemetryLogger.get_statistics`."""
        questions.check_days(days)
        return await self._ask(
            lambda fetch: questions.read_statistics(fetch, datetime.now(UTC), days, agent_name, tool_name, model_name),
            fresh=fresh,
        )

    async def _ask(self, question: Callable[[Fetch], _T], *, fresh: bool) -> _T:
        if fresh and not (await self.flush()).complete:
            raise self._late("what was accepted could not be flushed; pass fresh=False to read without it",
                             self._settings.commit_timeout)  # fmt: skip
        return await off_the_loop(partial(read, self.db_path, question))


class Queries(BaseClient):
    """`logger.get_...`, in the calling thread."""

    def flush(self, timeout: float | None = None) -> FlushResult:
        """Commit what was accepted before; the logger knows how."""
        raise NotImplementedError

    @with_hints
    def get_daily_costs(
        self,
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        fresh: bool = True,
    ) -> list[DailyCost]:
        """Daily totals by agent, tool and model, newest day first.

        Args:
            start_date, end_date: UTC days, both inclusive; dates or ISO texts. None leaves that end open.
            agent_name, tool_name, model_name: equal to; None does not filter.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError: what was accepted before could not be flushed; `fresh=False` reads without it.
            StoreError: the file cannot be read.
        """
        query = questions.daily_costs(start_date, end_date, agent_name, tool_name, model_name)
        return self._ask(lambda fetch: questions.to_daily_costs(fetch(query)), fresh=fresh)

    @with_hints
    def get_invocations(
        self,
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        status: str | None = None,
        limit: int = 100,
        *,
        model_name: str | None = None,
        session_id: str | None = None,
        since: datetime | str | None = None,
        until: datetime | str | None = None,
        before: InvocationRow | None = None,
        fresh: bool = True,
    ) -> list[InvocationRow]:
        """Stored calls, newest first, one dict with every column for each.

        Args:
            start_date, end_date: UTC days, both inclusive; dates or ISO texts.
            agent_name, tool_name, model_name, session_id, status: equal to; None does not filter.
            limit: at most so many, 1 to 1,000,000.
            since, until: moments, from `since` on and before `until`; aware datetimes or ISO texts with an offset.
            before: the last row of a page, to get the next page.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        narrowed = InvocationFilter(
            start_date=start_date, end_date=end_date, agent_name=agent_name, tool_name=tool_name, status=status,
            model_name=model_name, session_id=session_id, since=since, until=until,
        )  # fmt: skip
        query = questions.invocations(narrowed, limit, before=before)
        return self._ask(lambda fetch: questions.to_invocations(fetch(query)), fresh=fresh)

    def get_content(self, invocation_id: str, *, fresh: bool = True) -> Content | None:
        """Prompt and response of one call; None where none is stored, as below level `full`.

        Args:
            invocation_id: as the record had it, or as `get_invocations` returned it.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) for an id that no record can have.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        query = call_content.content(self._engine.redactor.invocation_id(checked_id("invocation_id", invocation_id)))
        return self._ask(lambda fetch: call_content.to_content(fetch(query)), fresh=fresh)

    @with_hints
    def get_statistics(
        self,
        agent_name: str | None = None,
        days: float = 7,
        *,
        tool_name: str | None = None,
        model_name: str | None = None,
        fresh: bool = True,
    ) -> Statistics:
        """Counts, sums and latency percentiles of the last `days` days, a rolling window up to the newest record.

        Sums are exact; percentiles are within 2.2 %. Every value is a number, 0 or 0.0 on an empty file.

        Args:
            agent_name, tool_name, model_name: equal to; None does not filter.
            days: above 0, up to 36,500; fractions are taken.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        questions.check_days(days)
        return self._ask(
            lambda fetch: questions.read_statistics(fetch, datetime.now(UTC), days, agent_name, tool_name, model_name),
            fresh=fresh,
        )

    def _ask(self, question: Callable[[Fetch], _T], *, fresh: bool) -> _T:
        if fresh and not self.flush().complete:
            raise self._late("what was accepted could not be flushed; pass fresh=False to read without it",
                             self._settings.commit_timeout)  # fmt: skip
        return read(self.db_path, question)
