"""Budgets between transactions: counters are registered, thresholds told, and what nobody needs is forgotten."""

import sqlite3
from contextlib import suppress
from time import monotonic, time_ns
from typing import Final

from llm_service.telemetry.stores.sqlite.budget_counters import forget
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.stores.sqlite.error_kinds import STORE_ERRORS
from llm_service.telemetry.stores.sqlite.purge_steps import look

__all__ = ["BudgetUpkeep", "UpkeepSchedule"]

_AT_ONCE: Final = 1.0
_SOON: Final = 60.0
_LATER: Final = 3600.0
"""Seconds between two looks for what budgets do not need any more: while there is more, at first, and then."""


class UpkeepSchedule:
    """When the connections of one logger look next for what is old, whichever comes first.

    Attributes:
        at: seconds, monotonic.
    """

    def __init__(self) -> None:
        self.at = monotonic() + _SOON


class BudgetUpkeep:
    """What one connection's book needs.

    Args:
        book: the counters of the file.
        schedule: shared by the connections of a logger.
    """

    def __init__(self, book: BudgetBook, schedule: UpkeepSchedule) -> None:
        self.keeper = HoldKeeper(book)
        self.look_back = book.look_back
        self._book = book
        self._schedule = schedule

    def opened(self, connection: sqlite3.Connection) -> None:
        """Have the file count what the policies need, limits that only tell included.

        Raises:
            Exception: not now.
        """
        if self._register(connection):
            self._schedule.at = 0.0

    def _register(self, connection: sqlite3.Connection) -> bool:
        policies = self._book.terms.policies
        return self.keeper.register(connection, () if policies is None else policies.counters, time_ns() // 1000)

    @property
    def is_due(self) -> bool:
        """Whether `keep_up` has something to do: now and then."""
        return monotonic() >= self._schedule.at

    @property
    def is_wanted(self) -> bool:
        """The same for a connection of records: nothing is done for a file without counters."""
        return (self._book.counts or self._book.terms.policies is not None) and self.is_due

    @property
    def looks_back(self) -> bool:
        """Whether there is something to do when nobody waits."""
        return self._book.looks_back or self.is_due

    def keep_up(self, connection: sqlite3.Connection) -> None:
        """Say that the counters of these policies are needed, and forget a little of what nobody needs.

        Where the clock is suddenly far ahead, all is kept until it has stood for a day: see `stores.retention`.
        """
        self._schedule.at = monotonic() + _SOON  # where it fails
        with suppress(*STORE_ERRORS):
            self._register(connection)
            believed = look(connection, time_ns() // 1000).until
            more = believed is not None and forget(connection, self._book, believed)
            self._schedule.at = monotonic() + (_AT_ONCE if more else _LATER)
