"""A test session as a run: each process of it has a logger, and the one that the user sees sums up at the end.

Under pytest-xdist the workers write the same file under the same run; their controller runs no tests and prints once.
"""

from collections.abc import Generator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any, Final

import pytest

from llm_service.config.load import load_config
from llm_service.config.settings import resolve_db_path
from llm_service.errors import StoreError, TelemetryError
from llm_service.pytest_budget import SessionBudget, policies_with
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.queries.run_names import new_run_id
from llm_service.telemetry.queries.run_summary import read_summary
from llm_service.telemetry.stores.sqlite.reader import read

if TYPE_CHECKING:
    from llm_service.telemetry.queries.run_summary import RunFigures

__all__ = ["SessionRecording", "recording_of"]

_RUN: Final = "llm_telemetry_run"
_DB: Final = "llm_telemetry_db"
"""What the controller tells its workers."""


def recording_of(config: pytest.Config) -> "SessionRecording":
    """The recording that the options of a session ask for.

    Raises:
        pytest.UsageError: a configuration or the name of the run cannot be used.
    """
    told: dict[str, Any] | None = getattr(config, "workerinput", None)
    try:
        run_id = new_run_id(config.option.llm_run, datetime.now(UTC)) if told is None else str(told[_RUN])
        given = config.option.llm_telemetry if told is None else str(told[_DB])
        path = resolve_db_path(given or load_config().db_path)
    except (TelemetryError, ValueError) as error:
        raise pytest.UsageError(f"--llm-telemetry: {error}") from error
    return SessionRecording(run_id, path, config.option.llm_budget, is_worker=told is not None)


class SessionRecording:
    """A plugin that records one process of a session.

    Args:
        run_id: of the session, in all its processes.
        path: of the database.
        budget: USD that the session may cost; None for any.
        is_worker: whether another process sums up.
    """

    def __init__(self, run_id: str, path: Path, budget: Decimal | None, *, is_worker: bool) -> None:
        self._run_id = run_id
        self._path = path
        self._budget = budget
        self._is_worker = is_worker
        self._said: list[str] = []
        self._failure: str | None = None
        self.logger = TelemetryLogger(enabled=False)

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker of pytest-xdist where to record."""
        node.workerinput.update({_RUN: self._run_id, _DB: str(self._path)})

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        """Record the calls of this process from now on, unless others run the tests."""
        if session.config.pluginmanager.hasplugin("dsession"):
            return
        try:
            self.logger = self._opened()
        except (TelemetryError, ValueError) as error:
            raise pytest.UsageError(f"--llm-telemetry: {error}") from error
        self._inherit(None)
        self.logger.instrument()
        if self._budget is not None:
            gate = SessionBudget(self.logger, self._run_id, self._budget)
            self.logger._core.admit = gate.admit  # noqa: SLF001 - of one package

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Tell the calls of a test by its node id, with its fixtures, in whatever thread or loop they are made."""
        self._inherit(item.nodeid)
        try:
            return (yield)
        finally:
            self._inherit(None)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write all that was recorded, and sum it up; a session beyond its budget has failed."""
        self.logger.close()
        lost = sum(self.logger.stats().ledger.dropped.values())
        if lost:
            self._said.append(f"{_counted(lost, 'call')} could not be stored")
        if self._is_worker:
            return
        self._sum_up()
        if self._failure is not None and session.exitstatus in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Say what the calls were, and what they cost."""
        terminalreporter.section("LLM calls")
        for line in self._said:
            terminalreporter.write_line(line)
        if self._failure is not None:
            terminalreporter.write_line(f"FAILED: {self._failure}", red=True, bold=True)

    def _opened(self) -> TelemetryLogger:
        config = load_config().model_copy(update={"db_path": str(self._path), "enabled": True})
        if self._budget is None:
            return TelemetryLogger.from_config(config)
        return TelemetryLogger.from_config(config, policies=policies_with(self._budget))

    def _inherit(self, test: str | None) -> None:
        names: dict[str, Any] = {"run": self._run_id}
        if test is not None:
            names["metadata"] = {"test": test}
        self.logger._core.inherited = names  # noqa: SLF001 - of one package

    def _sum_up(self) -> None:
        try:
            figures = read(self._path, lambda fetch: read_summary(fetch, self._run_id))["totals"]
        except StoreError as error:
            self._failure = f"what was recorded cannot be read: {error}"
            return
        if not figures["invocations"]:
            stores_none = self.logger.settings.privacy_level == "none"
            self._said.append("none was recorded" + (": privacy_level is none" if stores_none else ""))
            return
        failed, unpriced = figures["errors"] + figures["timeouts"], figures["unpriced"]
        what = f"{_counted(figures['invocations'], 'call')}, {failed:,} failed"
        self._said += [
            f"run {self._run_id}: {what}, {_counted(figures['total_tokens'], 'token')}, {_cost(figures)}",
            f"llm-telemetry invocations --run {quote(self._run_id)} --db {quote(str(self._path))}",
        ]
        if self._budget is None:
            return
        if unpriced:
            self._said.append(f"--llm-budget does not count {_counted(unpriced, 'call')} of unknown cost")
        if figures["cost_nanos"] > self._budget * 10**9:
            spent = Decimal(figures["cost_nanos"]) / 10**9
            self._failure = f"the calls cost {spent:f} USD, more than --llm-budget {self._budget:f}"


def _cost(figures: "RunFigures") -> str:
    if figures["unpriced"] == figures["invocations"]:
        return "cost unknown"
    unpriced = f" and {figures['unpriced']:,} of unknown cost" if figures["unpriced"] else ""
    return f"{figures['total_cost_usd']:,.6f} USD{unpriced}"


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
