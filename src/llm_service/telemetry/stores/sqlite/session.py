"""The writer's sessions of one file: a connection that is opened when needed, and what is done with it."""

import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic, time_ns
from typing import Any, Final, cast

from llm_service.config.settings import PrivacyLevel
from llm_service.errors import TelemetryError
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import Fault, Purge, WriteResult
from llm_service.telemetry.stores.budget_requests import BudgetRequest, ExpireHolds
from llm_service.telemetry.stores.retention import Belief, Cutoffs
from llm_service.telemetry.stores.sqlite import error_kinds, purge_steps, statements
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_counters import forget
from llm_service.telemetry.stores.sqlite.budget_counting import SOON, BudgetBook
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.stores.sqlite.database_files import OwnConnection
from llm_service.telemetry.stores.sqlite.lazy_connection import LazyConnection
from llm_service.telemetry.stores.sqlite.upkeep import FileUpkeep

__all__ = ["NO_WAITING", "SqliteBudgetSession", "SqliteSession"]

_RESTORED_SLICE: Final = 25
_MOST_TOGETHER: Final = 64
_EXPIRE_SECONDS: Final = 0.1
_AT_ONCE: Final = 1.0
_LATER: Final = 3600.0
"""Seconds between two looks for what budgets do not need any more: while there is more, and then."""
NO_WAITING: Final = "PRAGMA busy_timeout = 0"
"""The budget executor tries again by itself: SQLite's own waits grow to a tenth of a second."""


class _BaseSession:
    """What both sessions have: a connection that is opened when needed, and what budgets need between transactions."""

    def __init__(
        self, connection: LazyConnection, writer: SqliteBatchWriter, book: BudgetBook, upkeep: FileUpkeep
    ) -> None:
        self.connection = connection
        self._writer = writer
        self._book = book
        self._terms = book.terms
        self._keeper = HoldKeeper(book)
        self._upkeep = upkeep

    @property
    def is_open(self) -> bool:
        """See `Session`."""
        return self.connection.is_open

    def open(self) -> None:
        """See `Session`."""
        if self.is_open:
            return
        try:
            if self._register(self._opened()):
                self._terms.keep_up_at = 0.0
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """See `Session`."""
        self.connection.let_go()

    def _opened(self) -> OwnConnection:
        return cast("OwnConnection", self.connection.opened())

    def _register(self, connection: sqlite3.Connection) -> bool:
        """Have the file count what the policies need, limits that only tell included; whether `_keep_up` is wanted."""
        policies = self._terms.policies
        return self._keeper.register(connection, () if policies is None else policies.counters, time_ns() // 1000)

    @property
    def _is_due(self) -> bool:
        return monotonic() >= self._terms.keep_up_at

    def _keep_up(self, connection: sqlite3.Connection) -> None:
        """Say that the counters of these policies are needed, and forget a little of what nobody needs.

        Where the clock is suddenly far ahead, all is kept until it has stood for a day: see `stores.retention`.
        """
        self._terms.keep_up_at = monotonic() + SOON  # where it fails
        with suppress(*error_kinds.STORE_ERRORS):
            self._register(connection)
            believed = purge_steps.look(connection, time_ns() // 1000).until
            more = believed is not None and forget(connection, self._book, believed)
            self._terms.keep_up_at = monotonic() + (_AT_ONCE if more else _LATER)


class SqliteSession(_BaseSession):
    """A `Session`; a batch counts as written only if the database's files are in place before and after the write."""

    def __init__(
        self,
        connection: LazyConnection,
        writer: SqliteBatchWriter,
        book: BudgetBook,
        upkeep: FileUpkeep,
        restorer: Callable[[str, PrivacyLevel], SqliteBatchWriter],
    ) -> None:
        super().__init__(connection, writer, book, upkeep)
        self._restorer = restorer

    def commit(
        self, batch: Sequence[InvocationRecord], *, batch_no: int, durable: bool, slice_rows: int
    ) -> WriteResult:
        """See `Session`.

        Raises:
            OSError: (ESTALE) the file was deleted or replaced, or its -wal is gone: the batch is not in the database,
                whether or not it was committed.
        """
        return self._write(self._writer, batch, batch_no=batch_no, durable=durable, slice_rows=slice_rows)

    def restore(
        self, batch: Sequence[InvocationRecord], *, writer_id: str, batch_no: int, ceiling: PrivacyLevel
    ) -> WriteResult:
        """See `Session`."""
        writer = self._restorer(writer_id, ceiling)
        return self._write(writer, batch, batch_no=batch_no, durable=False, slice_rows=_RESTORED_SLICE)

    def _write(self, writer: SqliteBatchWriter, batch: Sequence[InvocationRecord], **how: Any) -> WriteResult:
        connection = self._opened()
        connection.check()
        try:
            result = writer.write(connection, batch, **how)
        except sqlite3.Error as error:
            if error_kinds.classify(error) is Fault.DAMAGED:
                connection.leave()  # a close would copy the -wal into a damaged file, and delete it
            raise
        connection.check()
        return result

    def receipt(self, writer_id: str) -> int:
        """See `Session`."""
        row = self._opened().execute(statements.READ_RECEIPT, (writer_id,)).fetchone()
        return int(row[0]) if row is not None else 0

    def maintain(self) -> None:
        """Copy a long WAL back, extend the index, tell of thresholds, and forget counters that nobody needs."""
        connection = self._opened()
        self._upkeep.after_commit(connection)
        if (self._book.counts or self._terms.policies is not None) and self._is_due:
            self._keep_up(connection)
        self._book.look_back()

    def tidy(self) -> None:
        """Extend the index, or truncate the WAL; where a reader is in the way, it is tried again later."""
        self._upkeep.tidy(self._opened())

    def believe(self, now_us: int) -> Belief:
        """See `Session`."""
        return purge_steps.look(self._opened(), now_us)

    def has_old(self, cutoffs: Cutoffs, *, thorough: bool) -> bool:
        """See `Session`."""
        return purge_steps.has_old(self._opened(), cutoffs, thorough=thorough)

    def purge(self, purge: Purge) -> None:
        """See `Session`."""
        self._upkeep.want()
        cast("purge_steps.Purge", purge).step(self._opened())


class SqliteBudgetSession(_BaseSession):
    """A `BudgetSession`."""

    def __init__(
        self,
        connection: LazyConnection,
        writer: SqliteBatchWriter,
        book: BudgetBook,
        upkeep: FileUpkeep,
        clock_ns: Callable[[], int] = time_ns,
    ) -> None:
        super().__init__(connection, writer, book, upkeep)
        self._clock_ns = clock_ns
        self._together: list[BudgetRequest] = []
        self._batches = 0
        self._expire_at = 0.0

    def serve(self, requests: Sequence[BudgetRequest]) -> WriteResult:
        """See `BudgetSession`."""
        connection = self._opened()
        recording = [request for request in requests if request.record is not None]
        if recording != self._together:  # of other records than at the last try: another batch
            self._together, self._batches = recording, self._batches + 1

        def work() -> None:
            self._expire(connection, requests)
            for request in requests:
                if request.work is not None:
                    request.error = None
                    try:
                        request.outcome = self._keeper.do(connection, request)
                    except TelemetryError as refusal:
                        request.error = refusal

        result = WriteResult()
        if recording:
            result = self._writer.write(
                connection,
                [request.record for request in recording if request.record is not None],
                batch_no=self._batches,
                durable=any(request.durable for request in recording),
                slice_rows=_MOST_TOGETHER,
                within=work,
            )
        else:
            self._writer.transact(connection, work)
        connection.check()  # what went into a file that was replaced is done again in the new one
        return result

    def _expire(self, connection: OwnConnection, requests: Sequence[BudgetRequest]) -> None:
        """End holds whose lease is over, now and then."""
        now = monotonic()
        if now >= self._expire_at or any(isinstance(request.work, ExpireHolds) for request in requests):
            self._keeper.expire(connection, self._clock_ns() // 1000)
            self._expire_at = now + _EXPIRE_SECONDS

    def maintain(self) -> None:
        """Look after the WAL, at each sixteenth commit."""
        self._upkeep.after_another(self._opened())

    @property
    def looks_back(self) -> bool:
        """See `BudgetSession`."""
        return self._book.looks_back or self._is_due

    def look_back(self) -> None:
        """See `BudgetSession`."""
        connection = self._opened()
        if self._is_due:
            self._keep_up(connection)
            connection.execute(NO_WAITING)
        self._book.look_back()
