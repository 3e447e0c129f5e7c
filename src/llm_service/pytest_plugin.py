"""pytest records the LLM calls of a test session as one run: `pytest --llm-telemetry`. See the manual.

pytest loads this module in every project that it is installed in: nothing else is imported until an option or the
fixture asks for it.
"""

import argparse
import math
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from llm_service.telemetry.client.sync_client import TelemetryLogger

__all__ = ["llm_telemetry", "pytest_addoption", "pytest_configure"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("llm-telemetry", "LLM calls of the tests")
    group.addoption(
        "--llm-telemetry",
        nargs="?",
        const="",
        type=_path,
        metavar="PATH",
        help="record the LLM calls of the session as a run, into PATH (default: the database of the configuration)",
    )
    group.addoption(
        "--llm-budget",
        type=_usd,
        metavar="USD",
        help="record them, refuse further calls once they have cost so much, and fail the session if they cost more",
    )
    group.addoption("--llm-run", default="pytest", metavar="NAME", help="the name of the run (default: pytest)")


def pytest_configure(config: pytest.Config) -> None:
    """Record, where that is asked for."""
    options = config.option
    if (options.llm_telemetry is None and options.llm_budget is None) or options.help or options.collectonly:
        return
    from llm_service.pytest_recording import recording_of  # noqa: PLC0415 - only here, see above

    config.pluginmanager.register(recording_of(config), "llm-telemetry-recording")


@pytest.fixture(scope="session")
def llm_telemetry(pytestconfig: pytest.Config) -> "Iterator[TelemetryLogger]":
    """The logger that records this session; without `--llm-telemetry` one that stores nothing."""
    recording: Any = pytestconfig.pluginmanager.getplugin("llm-telemetry-recording")
    if recording is not None:
        yield recording.logger
        return
    from llm_service.telemetry import TelemetryLogger  # noqa: PLC0415 - as above

    with TelemetryLogger(enabled=False) as logger:
        yield logger


def _path(given: str) -> str:
    """The database; not a test that the option has swallowed: `pytest --llm-telemetry tests`."""
    if "::" in given or given.endswith(".py") or Path(given or "-").is_dir():
        raise argparse.ArgumentTypeError(
            f"{given} is no database; write --llm-telemetry=PATH, or the option after the tests"
        )
    return given


def _usd(given: str) -> Decimal:
    try:
        amount = Decimal(given)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not (amount.is_finite() and 0 <= amount <= 10**9 and math.isfinite(float(amount))):
        raise argparse.ArgumentTypeError(f"{given!r} is no amount; give USD such as 0.50")
    return amount
