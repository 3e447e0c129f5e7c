"""Writes one batch in one transaction: rows slice by slice, roll-ups, receipt, commit.

Duplicates are counted, records that SQLite refuses become dead letters. Every record passes the redactor first.
"""

import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from operator import length_hint
from time import time_ns
from typing import Any, Final, TypeVar

from llm_service.config.settings import PrivacyLevel
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.record.timestamps import TextClock
from llm_service.telemetry.stores.base import WriteResult
from llm_service.telemetry.stores.costing import Costing, with_cost
from llm_service.telemetry.stores.prepared import BatchContents, PreparedContents
from llm_service.telemetry.stores.prompt_sizes import PromptSizes
from llm_service.telemetry.stores.rollups import Fold
from llm_service.telemetry.stores.sqlite import error_kinds, statements
from llm_service.telemetry.stores.sqlite.block_writer import BlockWriter
from llm_service.telemetry.stores.sqlite.bucket_cache import BucketCache
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook
from llm_service.telemetry.stores.sqlite.rollup_progress import keep_apart
from llm_service.telemetry.stores.sqlite.search_index import IndexWriter, go_without
from llm_service.telemetry.stores.sqlite.transactions import roll_back

__all__ = ["SqliteBatchWriter"]

_UNCOUNTABLE: Final = (ArithmeticError, TypeError, ValueError)
_UNREADABLE: Final = InvocationRecord(invocation_id="unreadable")
"""Replaces a record that could not be cleaned in `dead_letters`: nothing of it may be written."""

_Done = TypeVar("_Done")


class SqliteBatchWriter:
    """Writes the batches of one writer. Not thread-safe.

    Args:
        writer_id: names this writer in `receipts`; unique for each logger and process.
        costing: prices records without a cost; None does not.
        book: counts inserted records for the budgets of the file; default: one without policies.
    """

    def __init__(
        self,
        writer_id: str,
        ceiling: PrivacyLevel,
        clock_ns: Callable[[], int] = time_ns,
        redactor: Redactor | None = None,
        costing: Costing | None = None,
        book: BudgetBook | None = None,
    ) -> None:
        self._writer_id = writer_id
        self._ceiling: PrivacyLevel = ceiling
        self._clock_ns = clock_ns
        self._text = TextClock()
        self._binder = statements.RowBinder(ceiling)
        self._cache = BucketCache()
        self._blocks = BlockWriter()
        self._redactor = Redactor(ceiling) if redactor is None else redactor
        self._tried: tuple[int, WriteResult] | None = None
        self._contents = PreparedContents(self._redactor, costing)
        self._book = BudgetBook() if book is None else book
        self._index = IndexWriter()
        self._looked_at: Any = None  # the connection that was searched for triggers
        self._has_triggers = False
        self._full: Any = None  # the connection that was set to synchronous=FULL
        self._is_backfilled = False  # whether roll-ups lacked no record of the file when others had changed it last

    def write(
        self,
        connection: sqlite3.Connection,
        batch: Sequence[InvocationRecord],
        *,
        batch_no: int,
        durable: bool,
        slice_rows: int,
        within: Callable[[], None] | None = None,
    ) -> WriteResult:
        """See `Session.commit`. BEGIN IMMEDIATE makes writers wait for each other instead of failing half-way.

        Before it, without a lock, contents are redacted and compressed and prices looked up, which may take a second.
        `within` is called in the same transaction after the inserts; not if an earlier try has committed them.
        """
        contents = self._contents.of(batch, batch_no, with_words=self._index.known)
        self._synchronise(connection, durable=durable)

        def work() -> WriteResult:
            done = self._committed_before(connection, batch_no)
            if done is None:
                done = self._insert(connection, batch, contents, slice_rows)
                if within is not None:
                    within()
                self._tried = (batch_no, done)
            elif not durable:
                return done
            # Also if the batch is committed but its sync failed: this commit syncs the -wal up to here.
            connection.execute(statements.KEEP_RECEIPT, (self._writer_id, batch_no, self._now()))
            return done

        result = go_without(connection, lambda: self._in_transaction(connection, work))
        self._cache.committed(connection)
        self._contents.forget()
        if self._book.terms.hold_ids:
            self._book.settled(self._redactor.invocation_id(record.card[0]) for record in batch)
        return result

    def transact(self, connection: sqlite3.Connection, within: Callable[[], None]) -> None:
        """Change budgets without records; where it raises, nothing was written, unless the commit failed on disk."""
        self._synchronise(connection, durable=False)

        def work() -> None:
            self._book.begin(connection)
            within()

        before = connection.total_changes
        self._in_transaction(connection, work)
        self._cache.passed_over(connection, connection.total_changes - before)

    def _synchronise(self, connection: sqlite3.Connection, *, durable: bool) -> None:
        """Set how the next commit is synced. Connections start with NORMAL, and a purge may reset it."""
        if durable or self._full is connection:
            connection.execute("PRAGMA synchronous = FULL" if durable else "PRAGMA synchronous = NORMAL")
            self._full = connection if durable else None

    def _in_transaction(self, connection: sqlite3.Connection, work: Callable[[], _Done]) -> _Done:
        """Run the work in a transaction; on failure, roll back the file and the caches."""
        begun = False  # Not `transaction()`: an interrupt on entry would leave its generator suspended.
        try:
            connection.execute("BEGIN IMMEDIATE")
            begun = True
            done = work()
            connection.execute("COMMIT")
        except BaseException:
            if begun:
                self._cache.forget()
                self._blocks.forget()
                self._book.rolled_back()
            roll_back(connection)
            raise
        self._book.committed()
        return done

    def _insert(
        self,
        connection: sqlite3.Connection,
        batch: Sequence[InvocationRecord],
        contents: BatchContents,
        slice_rows: int,
    ) -> WriteResult:
        is_changed = self._cache.begin(connection)
        self._blocks.begin(is_changed=is_changed)
        if is_changed or not self._is_backfilled:
            self._is_backfilled = keep_apart(connection)
        counted = self._book.begin(connection)
        writing = _Transaction(
            connection, self._binder, self._redactor, contents, self._cache, self._blocks, self._ceiling, self._now()
        )
        if self._looked_at is not connection:
            self._has_triggers = connection.execute(statements.FIND_TRIGGER).fetchone() is not None
            self._looked_at = connection
        writing.looks = self._has_triggers
        writing.insert_all(batch, slice_rows)
        writing.add_rollups()
        self._blocks.write(connection)
        if writing.kept:
            self._index.add(connection, writing.kept, contents)
        if counted:
            self._book.charge(writing.inserted)
            self._book.set_aside(self._redactor.invocation_id(batch[at].card[0]) for at in writing.quarantined)
        redactions = writing.redactions + contents.redactions
        return WriteResult(frozenset(writing.duplicates), frozenset(writing.quarantined), dict(redactions))

    def _committed_before(self, connection: sqlite3.Connection, batch_no: int) -> WriteResult | None:
        """The result of an earlier try whose COMMIT reported failure but is on disk."""
        if self._tried is None or self._tried[0] != batch_no:
            return None
        row = connection.execute(statements.READ_RECEIPT, (self._writer_id,)).fetchone()
        return self._tried[1] if row is not None and row[0] == batch_no else None

    def _now(self) -> str:
        return self._text(self._clock_ns() // 1000)


class _Transaction:
    """The inserts of one open transaction, and the result for each position."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        binder: statements.RowBinder,
        redactor: Redactor,
        contents: BatchContents,
        cache: BucketCache,
        blocks: BlockWriter,
        ceiling: PrivacyLevel,
        now: str,
    ) -> None:
        self._execute = connection.execute
        self._binder = binder
        self._redactor = redactor
        self._contents = contents
        self._cache = cache
        self._blocks = blocks
        self._ceiling: PrivacyLevel = ceiling
        self._now = now
        self._fold = Fold()
        self._prompts = PromptSizes()
        self.looks = False
        """Whether a trigger of the file's owner may undo an insert that succeeded."""
        self.redactions: Counter[str] = Counter()
        self.inserted: list[InvocationRecord] = []
        self.kept: dict[int, str] = {}
        """The ids of the calls whose contents were stored, by position."""
        self.duplicates: set[int] = set()
        self.quarantined: set[int] = set()

    def insert_all(self, batch: Sequence[InvocationRecord], slice_rows: int) -> None:
        """Insert slice by slice: rows are built between statements, so that the event loop can run."""
        for start in range(0, len(batch), slice_rows):
            given = batch[start : start + slice_rows]
            records, positions = self._cleaned(given, range(start, start + len(given)))
            costs = self._contents.costs
            if costs is not None:
                records = [with_cost(record, costs[at]) for record, at in zip(records, positions, strict=True)]
            while records:
                fitting = self._binder.rows_per_statement(records, slice_rows)
                self._insert(records[:fitting], positions[:fitting])
                records, positions = records[fitting:], positions[fitting:]

    def _cleaned(
        self, records: Sequence[InvocationRecord], positions: Sequence[int]
    ) -> tuple[Sequence[InvocationRecord], Sequence[int]]:
        """The records after redaction; one that cannot be cleaned is quarantined, and nothing of it is written."""
        if not self._contents.failed:
            with suppress(Exception):
                return self._redactor.records(records, self.redactions), positions
        kept: list[InvocationRecord] = []
        places: list[int] = []
        for record, position in zip(records, positions, strict=True):
            error = self._contents.failed.get(position)
            if error is None:
                try:
                    kept += self._redactor.records([record], self.redactions)
                except Exception as found:  # noqa: BLE001 - damaged beyond what a pickle or a bug should do
                    error = found
                else:
                    places.append(position)
                    continue
            self._quarantine(_UNREADABLE, position, TypeError(f"not readable ({type(error).__name__})"))
        return kept, places

    def _insert(self, records: Sequence[InvocationRecord], positions: Sequence[int]) -> None:
        """Insert these records in one statement; it is atomic, so a failure leaves the transaction unchanged."""
        if not records:
            return
        try:
            sql, parameters = self._binder.insert(records)
            inserted = self._execute(sql, parameters)
        except Exception as error:
            if error_kinds.is_duplicate(error):
                fresh = self._without_duplicates(records, positions)
                if len(fresh) < len(records):
                    self._insert([records[at] for at in fresh], [positions[at] for at in fresh])
                    return
            elif not error_kinds.is_poison(error):
                raise
            if len(records) == 1:
                self._quarantine(records[0], positions[0], error)
                return
            middle = len(records) // 2
            self._insert(records[:middle], positions[:middle])
            self._insert(records[middle:], positions[middle:])
        else:
            if self.looks or inserted.rowcount != len(records):  # a trigger of the file's owner intervened
                records, positions = self._kept(records, positions)
                if records:
                    self._blocks.partly_inserted(inserted.lastrowid or 0, len(records))
            else:
                self._blocks.inserted(inserted.lastrowid or 0, len(records), sql, parameters)
            if not records:
                return
            self._keep_contents(records, positions)
            self._count(records, positions)
            self._prompts.add(records)

    def _kept(
        self, records: Sequence[InvocationRecord], positions: Sequence[int]
    ) -> tuple[Sequence[InvocationRecord], Sequence[int]]:
        """The records that are in the table; one that a trigger kept out becomes a dead letter."""
        ids = [record.card[0] for record in records]
        there = {row[0] for row in self._execute(statements.find_ids(len(ids)), ids)}
        for record, position in zip(records, positions, strict=True):
            if record.card[0] not in there:
                self._quarantine(record, position, sqlite3.IntegrityError("a trigger of the file keeps it out"))
        kept = [at for at, record_id in enumerate(ids) if record_id in there]
        return [records[at] for at in kept], [positions[at] for at in kept]

    def _keep_contents(self, records: Sequence[InvocationRecord], positions: Sequence[int]) -> None:
        packed = self._contents.packed
        if packed:
            for record, position in zip(records, positions, strict=True):
                if position in packed:
                    self._execute(statements.KEEP_CONTENT, (*packed[position], record.card[0]))
                    self.kept[position] = record.card[0]

    def _without_duplicates(self, records: Sequence[InvocationRecord], positions: Sequence[int]) -> list[int]:
        ids = [record.card[0] for record in records]
        seen = {row[0] for row in self._execute(statements.find_ids(len(ids)), ids)}
        fresh: list[int] = []
        for at, invocation_id in enumerate(ids):
            if invocation_id in seen:
                self.duplicates.add(positions[at])
            else:
                seen.add(invocation_id)
                fresh.append(at)
        return fresh

    def _quarantine(self, record: InvocationRecord, position: int, error: Exception) -> None:
        self._execute(statements.QUARANTINE, statements.dead_letter_row(record, error, self._ceiling, self._now))
        self.quarantined.add(position)

    def _count(self, records: Sequence[InvocationRecord], positions: Sequence[int]) -> None:
        """Count inserted records; one that cannot be summed (such as an infinite cost) is deleted again."""
        uncounted, refused = iter(records), set[int]()
        while True:
            try:
                self._fold.add(uncounted)
            except _UNCOUNTABLE as error:
                at = len(records) - length_hint(uncounted) - 1
                refused.add(at)
                self._execute(statements.DROP_CONTENT, (records[at].card[0],))
                self._execute(statements.TAKE_BACK, (records[at].card[0],))
                self.kept.pop(positions[at], None)
                self._quarantine(records[at], positions[at], error)
            else:
                self.inserted += [r for at, r in enumerate(records) if at not in refused] if refused else records
                return

    def add_rollups(self) -> None:
        """Add the inserted records to the aggregates."""
        rows: list[Sequence[Any]] = []
        for key, totals in self._fold.totals().items():
            buckets = self._cache.daily(key)
            buckets.add(totals.buckets)
            rows.append(statements.daily_cost_row(key, totals, buckets.packed()))
        for sql, parameters in statements.upsert_daily_costs(rows):
            self._execute(sql, parameters)
        rows = []
        for quarter, totals in self._fold.quarters().items():
            buckets = self._cache.quarter(quarter)
            buckets.add(totals.buckets)
            rows.append(statements.quarter_row(quarter, totals, buckets.packed()))
        for sql, parameters in statements.upsert_quarters(rows):
            self._execute(sql, parameters)
        for sql, parameters in statements.upsert_prompt_sizes(self._prompts.rows()):
            self._execute(sql, parameters)
