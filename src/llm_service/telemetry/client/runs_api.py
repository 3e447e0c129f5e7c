"""Runs of a benchmark, a job or a test session on both clients: begun, listed, summed up, compared.

A run is a scope: what is recorded within has its id in the column `run`.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from llm_service.telemetry.client.client_core import ClientCore
from llm_service.telemetry.client.steps import Steps, Work, awaited, blocking
from llm_service.telemetry.instrumentation.scope import Scope
from llm_service.telemetry.queries.run_names import name_of_run, new_run_id

if TYPE_CHECKING:
    from llm_service.telemetry.queries.grouping import RecordKey
    from llm_service.telemetry.queries.run_comparison import RunComparison
    from llm_service.telemetry.queries.run_list import RunRow
    from llm_service.telemetry.queries.run_summary import RunSummary
    from llm_service.telemetry.stores.base import Fetch

__all__ = ["AsyncTelemetryRun", "RunScope", "TelemetryRun", "compare_runs", "get_run_summary", "get_runs", "run"]


class RunScope:
    """A run that was given an id."""

    def __init__(self, core: ClientCore, run_id: str, scope: Scope) -> None:
        self._core = core
        self.run_id = run_id
        self.scope = scope

    def summary(self, *, fresh: bool = True) -> Steps["RunSummary"]:
        """Calls, tokens, cost, failures, latency and throughput of the run so far, by model and in total.

        Args:
            fresh: False reads without flushing first.

        Raises:
            CommitTimeoutError, StoreError: as for `get_daily_costs`.
        """

        def question(fetch: "Fetch") -> "RunSummary":
            from llm_service.telemetry.queries.run_summary import read_summary  # noqa: PLC0415 - as in queries_api

            return read_summary(fetch, self.run_id)

        return self._core.ask(question, fresh=fresh)


class _BaseRun:
    """A run in a caller's hands: `with`, or `async with`."""

    def __init__(self, core: RunScope) -> None:
        self._core = core

    @property
    def run_id(self) -> str:
        """What its records have in the column `run`: `NAME@YYYYMMDDTHHMMSS-xxxx`, UTC.

        Another process joins the run with `scope(run=run_id)`.
        """
        return self._core.run_id

    @property
    def name(self) -> str:
        """Its name, under which `get_run_summary` and `llm-telemetry compare` find the newest run."""
        return name_of_run(self._core.run_id)

    def __enter__(self) -> Self:
        self._core.scope.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._core.scope.__exit__(kind, error, traceback)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(run_id={self.run_id!r})"


class TelemetryRun(_BaseRun):
    """A run; made by `telemetry.run(...)`."""

    summary = blocking(RunScope.summary)


class AsyncTelemetryRun(_BaseRun):
    """A run; made by `telemetry.run(...)`, and its summary is awaited."""

    summary = awaited(RunScope.summary)


def run(
    core: ClientCore,
    name: str,
    *,
    tags: Iterable[str] | Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> RunScope:
    """Mark what is recorded within a block as one run: of a benchmark, a job, an experiment.

    `with` or `async with`, as a scope: see `scope` for what is recorded within, and for tasks and threads. A record
    that you make yourself takes `run=run.run_id`. Each run has an id of its own, so that the same name may run every
    night.

    Args:
        name: of the run, up to 179 characters.
        tags, metadata: of every record within, such as `{"commit": "1a2b3c"}`; added to what the calls have themselves.

    Raises:
        RecordError: (a `ValueError`) for a name that no record can have, or that reads as an id.
    """
    run_id = new_run_id(name, datetime.now(UTC))
    fields = {"run": run_id, "tags": tags, "metadata": metadata}
    return RunScope(core, run_id, Scope(core, fields, strict=core.settings.strict))


def get_runs(
    core: ClientCore, limit: int = 20, name: str | None = None, *, fresh: bool = True
) -> Steps[list["RunRow"]]:
    """The runs that the file has records of, the one that began last first, with sums of their calls.

    Args:
        limit: at most so many, 1 to 100,000.
        name: only runs of this name; None does not filter.
        fresh: False reads without flushing first.

    Raises:
        QueryError: (a `ValueError`) naming the argument, the value and the remedy.
        CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """

    def question(fetch: "Fetch") -> "list[RunRow]":
        from llm_service.telemetry.queries.run_list import read_runs  # noqa: PLC0415 - as above

        return read_runs(fetch, limit, name)

    return core.ask(question, fresh=fresh)


def get_run_summary(core: ClientCore, run: str, *, fresh: bool = True) -> Steps["RunSummary"]:
    """Calls, tokens, cost, failures, latency and throughput of a run, by model and in total, exactly.

    Args:
        run: its id, its name (the newest), or NAME~1 (the one before), NAME~2, ...
        fresh: False reads without flushing first.

    Raises:
        UnknownRunError: (a `LookupError`) there is none, with the nearest name.
        QueryError: (a `ValueError`) for what no record can have.
        CommitTimeoutError, StoreError: as for `get_daily_costs`.
    """

    def question(fetch: "Fetch") -> "RunSummary":
        from llm_service.telemetry.queries.run_list import find_run  # noqa: PLC0415 - as above
        from llm_service.telemetry.queries.run_summary import read_summary  # noqa: PLC0415

        return read_summary(fetch, find_run(fetch, run))

    return core.ask(question, fresh=fresh)


def compare_runs(
    core: ClientCore, a: str, b: str, by: "RecordKey | None" = None, *, fresh: bool = True
) -> Steps["RunComparison"]:
    """Two runs beside each other: success, cost, tokens, latency, ttft and speed, and whether b differs from a.

    Each difference has a bootstrap confidence interval; all of them hold together with 95 %. Of very many calls a
    random sample is drawn from, and each row says so. It needs the extra `compare` (scipy), and takes seconds.

    Args:
        a, b: runs, as for `get_run_summary`.
        by: `model`, `agent` or `tool`; `request_model` is the same as `model`, the one asked for; None compares all
            calls together.
        fresh: False reads without flushing first.

    Raises:
        MissingPackageError: (an `ImportError`) scipy is not installed.
        UnknownRunError, QueryError, CommitTimeoutError, StoreError: as for `get_run_summary`.
    """
    from llm_service.telemetry.queries.run_comparison import compared, read_both  # noqa: PLC0415 - as above

    runs = yield from core.ask(lambda fetch: read_both(fetch, a, b, by), fresh=fresh)
    return (yield from Work(partial(compared, runs)))
