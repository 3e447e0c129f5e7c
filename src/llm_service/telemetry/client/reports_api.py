"""Reports about money on both loggers: a month and its forecast, unit costs, and how much of all of it is known.

What SQL a report is stands in `months`, `unit_costs` and `coverage`; here it is only asked, after a flush. They are
imported where the file is read, in a thread: who only logs does not pay for them, and no event loop does.
"""

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

from llm_service.telemetry.client.queries_api import AsyncQueries, Queries
from llm_service.telemetry.stores.base import Fetch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llm_service.telemetry.queries.cache_savings import RatesOf
    from llm_service.telemetry.queries.cost_coverage import CoverageReport
    from llm_service.telemetry.queries.grouping import NameKey
    from llm_service.telemetry.queries.months import MonthReport
    from llm_service.telemetry.queries.unit_costs import UnitReport

__all__ = ["AsyncReports", "Reports"]


def _month(fetch: Fetch, *arguments: Any, with_forecast: bool) -> "MonthReport":
    from llm_service.telemetry.queries.months import read_month  # noqa: PLC0415

    return read_month(fetch, datetime.now(UTC), *arguments, with_forecast=with_forecast)


def _units(fetch: Fetch, *arguments: Any, prices: "RatesOf") -> "UnitReport":
    from llm_service.telemetry.queries.unit_costs import read_unit_costs  # noqa: PLC0415

    return read_unit_costs(fetch, *arguments, prices=prices)


def _coverage(fetch: Fetch, *arguments: Any) -> "CoverageReport":
    from llm_service.telemetry.queries.cost_coverage import read_coverage  # noqa: PLC0415

    return read_coverage(fetch, *arguments)


class AsyncReports(AsyncQueries):
    """`await telemetry.get_month_report(...)` and its neighbours."""

    async def get_month_report(
        self,
        by: "Sequence[NameKey]" = (),
        month: str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        as_of: date | str | None = None,
        forecast: bool = True,
        fresh: bool = True,
    ) -> "MonthReport":
        """See `TelemetryLogger.get_month_report`."""
        return await self._ask(
            lambda fetch: _month(fetch, by, month, as_of, agent_name, tool_name, model_name, with_forecast=forecast),
            fresh=fresh,
        )

    async def get_unit_costs(
        self,
        by: "Sequence[NameKey]" = (),
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        prices: "RatesOf | None" = None,
        fresh: bool = True,
    ) -> "UnitReport":
        """See `TelemetryLogger.get_unit_costs`."""
        return await self._ask(
            lambda fetch: _units(
                fetch, by, start_date, end_date, agent_name, tool_name, model_name, prices=prices or self.prices
            ),
            fresh=fresh,
        )

    async def get_coverage(
        self,
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        fresh: bool = True,
    ) -> "CoverageReport":
        """See `TelemetryLogger.get_coverage`."""
        return await self._ask(
            lambda fetch: _coverage(fetch, start_date, end_date, agent_name, tool_name, model_name), fresh=fresh
        )


class Reports(Queries):
    """`logger.get_month_report(...)` and its neighbours."""

    def get_month_report(
        self,
        by: "Sequence[NameKey]" = (),
        month: str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        as_of: date | str | None = None,
        forecast: bool = True,
        fresh: bool = True,
    ) -> "MonthReport":
        """A month to date against the month before, with a forecast to its end.

        From the daily totals, which stay for ever. Calls without a known cost are counted in `unpriced` beside each
        sum, and a forecast says of which share of the calls it is.

        Args:
            by: any of `agent`, `tool`, `model`, each once; none for totals alone.
            month: `YYYY-MM`; default the present one. One that is over counts whole and has no forecast.
            agent_name, tool_name, model_name: equal to; None does not filter.
            as_of: a UTC day, in place of `month`: its month as it stood at the end of that day.
            forecast: False leaves it out.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        return self._ask(
            lambda fetch: _month(fetch, by, month, as_of, agent_name, tool_name, model_name, with_forecast=forecast),
            fresh=fresh,
        )

    def get_unit_costs(
        self,
        by: "Sequence[NameKey]" = (),
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        prices: "RatesOf | None" = None,
        fresh: bool = True,
    ) -> "UnitReport":
        """Costs per call, per 1,000 tokens and per success; what failures wasted, what caches saved, what was retried.

        From records, which are kept for `retention_days`: `deleted_invocations` counts the calls of the window that
        are gone.

        Args:
            by: any of `agent`, `tool`, `model`, each once; none for totals alone.
            start_date, end_date: UTC days, both inclusive; dates or ISO texts. None leaves that end open.
            agent_name, tool_name, model_name: equal to; None does not filter.
            prices: what cache savings are counted by; None takes those of this logger.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        return self._ask(
            lambda fetch: _units(
                fetch, by, start_date, end_date, agent_name, tool_name, model_name, prices=prices or self.prices
            ),
            fresh=fresh,
        )

    def get_coverage(
        self,
        start_date: date | str | None = None,
        end_date: date | str | None = None,
        agent_name: str | None = None,
        tool_name: str | None = None,
        model_name: str | None = None,
        *,
        fresh: bool = True,
    ) -> "CoverageReport":
        """How much of the calls and tokens has a known cost, by its source, and the models that have none.

        From records, as `get_unit_costs`.

        Args:
            start_date, end_date: UTC days, both inclusive; dates or ISO texts. None leaves that end open.
            agent_name, tool_name, model_name: equal to; None does not filter.
            fresh: False reads without flushing first.

        Raises:
            QueryError: (a `ValueError`) naming the argument, the value and the remedy.
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """
        return self._ask(
            lambda fetch: _coverage(fetch, start_date, end_date, agent_name, tool_name, model_name), fresh=fresh
        )
