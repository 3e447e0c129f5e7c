"""The store in one SQLite file: a `Store`, put together from all that this folder has."""

import sqlite3
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from pathlib import Path
from time import time_ns
from typing import TypeVar
from uuid import uuid4

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.stores.base import Fault, Fetch, StoreParts
from llm_service.telemetry.stores.costing import Costing
from llm_service.telemetry.stores.retention import Cutoffs
from llm_service.telemetry.stores.sqlite import error_kinds, migrations, reader
from llm_service.telemetry.stores.sqlite.async_connection import WriterConnection
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook, BudgetTerms
from llm_service.telemetry.stores.sqlite.budget_rows import UnknownCounter
from llm_service.telemetry.stores.sqlite.lazy_connection import LazyConnection
from llm_service.telemetry.stores.sqlite.opening import Opener, open_for_writing
from llm_service.telemetry.stores.sqlite.purge_steps import Purge
from llm_service.telemetry.stores.sqlite.session import NO_WAITING, SqliteBudgetSession, SqliteSession
from llm_service.telemetry.stores.sqlite.upkeep import FileUpkeep, IndexUpkeep
from llm_service.telemetry.stores.sqlite.wal import WalWatch

__all__ = ["SqliteStore"]

_T = TypeVar("_T")


class SqliteStore:
    """One file, for one logger in one process."""

    errors = error_kinds.STORE_ERRORS

    def __init__(self, parts: StoreParts) -> None:
        self._parts = parts
        self._path = parts.settings.db_path
        self._opener = Opener(self._path)
        wants_index = parts.settings.search and parts.settings.privacy_level == "full"
        self._index = IndexUpkeep(parts.tell, wanted=wants_index)
        self.upkeep = FileUpkeep(WalWatch(self._path, parts.tell), self._index)
        self.terms = BudgetTerms(parts.policies, tell=parts.on_threshold, tell_unknown=self._tell_unknown)
        self.hold_ids = self.terms.hold_ids
        self._unknown: set[int] = set()
        self._book = BudgetBook(self.terms)
        settings, redactor = parts.settings, parts.redactor
        if settings.journal:  # redacted on their way in: the patterns change nothing twice, a user's callable might
            redactor = Redactor(settings.privacy_level, redact_content=settings.redact_content)
        self.writer = self._batch_writer(parts.writer_id, settings.privacy_level, redactor, self._book)
        if not sys.is_finalizing():
            migrations.schema_statements()  # once the interpreter is finalizing, no file can be read by its name

    def session(self) -> SqliteSession:
        """See `Store`."""
        return self._session(LazyConnection(self._open))

    def session_and_worker(
        self, launch: Callable[[threading.Thread], object]
    ) -> tuple[SqliteSession, WriterConnection]:
        """See `Store`. The thread is that of an aiosqlite connection."""
        worker = WriterConnection(self._open, launch)
        return self._session(worker), worker

    def _open(self) -> sqlite3.Connection:
        connection = self._opener.open()
        self._index.opened(connection)
        return connection

    def _session(self, connection: LazyConnection) -> SqliteSession:
        return SqliteSession(connection, self.writer, self._book, self.upkeep, self._restorer)

    def budget_session(self) -> SqliteBudgetSession:
        """See `Store`. It has a book and receipts of its own."""
        parts, book = self._parts, BudgetBook(self.terms)
        writer = self._batch_writer(str(uuid4()), parts.settings.privacy_level, parts.redactor, book)

        def opened() -> sqlite3.Connection:
            connection = open_for_writing(self._path, time_ns() // 1000)
            connection.execute(NO_WAITING)
            return connection

        return SqliteBudgetSession(LazyConnection(opened), writer, book, self.upkeep)

    def _restorer(self, writer_id: str, ceiling: PrivacyLevel) -> SqliteBatchWriter:
        redactor = Redactor(ceiling, redact_content=self._parts.settings.redact_content)
        return self._batch_writer(writer_id, ceiling, redactor, self._book)

    def _batch_writer(
        self, writer_id: str, ceiling: PrivacyLevel, redactor: Redactor, book: BudgetBook
    ) -> SqliteBatchWriter:
        """A writer that prices records, and counts them in a book."""
        costing = None if self._parts.prices is None else Costing(self._parts.prices)
        return SqliteBatchWriter(writer_id, ceiling, redactor=redactor, costing=costing, book=book)

    def _tell_unknown(self, counter: UnknownCounter) -> None:
        """Once for each: every connection comes upon it."""
        if counter.id not in self._unknown:
            self._unknown.add(counter.id)
            message = (
                f"{{n}} counter of budgets in {self._path} cannot be evaluated here ({counter.why}): what is written "
                "counts in all of its windows until llm-telemetry doctor --repair recounts it"
            )
            self._parts.tell("budget_counter_unknown", 1, message)

    def classify(self, error: BaseException) -> Fault:
        """See `Store`."""
        return error_kinds.classify(error)

    def describe(self, error: BaseException) -> str:
        """See `Store`."""
        return error_kinds.describe(error)

    def make_way(self) -> Path | None:
        """See `Store`."""
        return self._opener.make_way()

    def begin_purge(
        self,
        cutoffs: Cutoffs,
        holder: str,
        *,
        takes_over: bool,
        awaited: Callable[[], Collection[str]],
        clock_ns: Callable[[], int],
    ) -> Purge:
        """See `Store`."""
        return Purge(cutoffs, holder, takes_over=takes_over, awaited=awaited, clock_ns=clock_ns)

    def read(self, question: Callable[[Fetch], _T]) -> _T:
        """See `Store`."""
        return reader.read(self._path, question)

    def reading(self) -> AbstractContextManager[Fetch]:
        """See `Store`."""
        return reader.reading(self._path)
