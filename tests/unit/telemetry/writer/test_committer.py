"""One step of work: settled when committed, kept when not, and given up only for good reasons."""

import errno
import logging
import sqlite3
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from llm_service.errors import DatabaseUnusableError, ForeignDatabaseError, NewerSchemaError
from llm_service.telemetry.journal.replay import Replayed
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.base import Fault, WriteResult
from llm_service.telemetry.stores.sqlite import error_kinds
from llm_service.telemetry.writer.committer import Committer, Step
from llm_service.telemetry.writer.events import EventKind
from llm_service.telemetry.writer.ledger import DropReason, FlushResult, Ledger, Outcome
from llm_service.telemetry.writer.queue import RecordQueue
from llm_service.telemetry.writer.stats import stats_of
from llm_service.telemetry.writer.waiters import ThreadWaiter

PATH = Path("/nowhere/telemetry.db")


class FakeStore:
    """A store and its session. A commit does what the next script entry says: raise it, or return it."""

    def __init__(self, *script: Exception | WriteResult, make_way: Callable[[], Path | None] = lambda: None) -> None:
        self.script = list(script)
        self.calls: list[dict[str, Any]] = []
        self.make_way = make_way

    def commit(self, batch: Sequence[InvocationRecord], **how: Any) -> WriteResult:
        """Note the call and follow the script."""
        self.calls.append({"batch": list(batch), **how})
        outcome = self.script.pop(0) if self.script else WriteResult()
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def classify(self, error: Exception) -> Fault:
        """As the real store does."""
        return error_kinds.classify(error)

    def describe(self, error: Exception) -> str:
        """As the real store does."""
        return error_kinds.describe(error)


class Clock:
    """Each look at it takes 3 ms."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        self.now += 0.003
        return self.now


class Told(list[tuple[EventKind, int, str]]):
    """What the committer told, with the number put into the message."""

    def __call__(self, kind: EventKind, count: int, message: str, _error: BaseException | None) -> None:
        """See `events.Tell`."""
        self.append((kind, count, message.replace("{n}", str(count))))


def make(
    *script: Exception | WriteResult, make_way: Callable[[], Path | None] = lambda: None, **options: Any
) -> tuple[RecordQueue, FakeStore, Committer]:
    """A queue, a store with a script, and the committer between them."""
    queue, store = RecordQueue(max_records=10_000, max_bytes=10**9), FakeStore(*script, make_way=make_way)
    return queue, store, Committer(queue, cast("Any", store), PATH, clock=Clock(), **options)


def fill(queue: RecordQueue, count: int) -> list[InvocationRecord]:
    """Put so many records in."""
    made = [InvocationRecord(invocation_id=f"r{number}") for number in range(count)]
    for record in made:
        assert queue.offer(record)
    return made


def locked() -> sqlite3.OperationalError:
    """What SQLite says while another process has the write lock."""
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY  # type: ignore[misc]
    error.sqlite_errorname = "SQLITE_BUSY"  # type: ignore[misc]
    return error


def corrupt() -> sqlite3.DatabaseError:
    """What SQLite says of a damaged file."""
    error = sqlite3.DatabaseError("file is not a database")
    error.sqlite_errorcode = sqlite3.SQLITE_NOTADB  # type: ignore[misc]
    return error


def test_a_step_on_an_empty_queue_does_nothing() -> None:
    """No batch, no write."""
    _, store, committer = make()
    assert committer.step(store) == Step()
    assert not store.calls


def test_a_committed_batch_leaves_the_queue() -> None:
    """In order, numbered from 1, in small slices, without a promise of durability that nobody asked for."""
    queue, store, committer = make()
    made = fill(queue, 300)
    assert committer.step(store) == Step(committed=256)
    assert committer.step(store) == Step(committed=44)
    assert [call.pop("batch") for call in store.calls] == [made[:256], made[256:]]
    assert store.calls == [{"batch_no": number, "durable": False, "slice_rows": 25} for number in (1, 2)]
    assert queue.ledger() == Ledger(submitted=300, written=300)
    assert committer.commits.transactions == 2


def test_a_backlog_is_written_in_longer_transactions_and_slices() -> None:
    """Then the rate matters more."""
    queue, store, committer = make()
    fill(queue, 5000)
    assert committer.step(store) == Step(committed=2048)
    assert store.calls[0]["slice_rows"] == 76


def test_a_durable_waiter_makes_its_batch_durable_and_is_told() -> None:
    """And only its batch."""
    queue, store, committer = make()
    queue.offer(InvocationRecord(), waiter := ThreadWaiter(durable=True))
    committer.step(store)
    fill(queue, 1)
    committer.step(store)
    assert [call["durable"] for call in store.calls] == [True, False]
    assert waiter.outcome is Outcome.WRITTEN


def test_duplicates_and_quarantined_records_are_counted_as_such() -> None:
    """Each by its position in the batch."""
    queue, store, committer = make(WriteResult(duplicates=frozenset({0}), quarantined=frozenset({2})))
    waiters = [ThreadWaiter() for _ in range(4)]
    for waiter in waiters:
        queue.offer(InvocationRecord(), waiter)
    queue.barrier(barrier := ThreadWaiter())
    assert committer.step(store) == Step(committed=4)
    assert [waiter.outcome for waiter in waiters] == [
        Outcome.DUPLICATE, Outcome.WRITTEN, Outcome.QUARANTINED, Outcome.WRITTEN,
    ]  # fmt: skip
    assert barrier.outcome == FlushResult(written=2, duplicates=1, quarantined=1)
    assert queue.ledger() == Ledger(submitted=4, written=2, duplicates=1, quarantined=1)


def test_a_locked_file_keeps_the_batch_and_is_tried_again() -> None:
    """The same batch with the same number, after pauses that double; said once, and once when it is over."""
    told = Told()
    queue, store, committer = make(*[locked() for _ in range(20)], tell=told)
    made = fill(queue, 3)
    steps = [committer.step(store) for _ in range(20)]
    assert [step.retry_in for step in steps[:4]] == pytest.approx([0.01, 0.02, 0.04, 0.08])
    assert [at for at, step in enumerate(steps, 1) if step.reopen] == [8, 16]
    assert not any(step.committed for step in steps)
    assert queue.ledger() == Ledger(submitted=3, pending=3)
    assert committer.commits.failures_in_a_row == committer.commits.retries == 20
    assert committer.commits.last_error == "OperationalError SQLITE_BUSY: database is locked"
    fill(queue, 2)
    assert committer.step(store) == Step(committed=3)
    assert {call["batch_no"] for call in store.calls} == {1}
    assert all(call["batch"] == made for call in store.calls)
    assert committer.commits.failures_in_a_row == 0
    assert told == [
        (EventKind.STORE_FAILING, 3, f"{PATH} does not accept records (try 3, goes on): database is locked"),
        (EventKind.STORE_RECOVERED, 20, f"{PATH} accepts records again after 20 failures"),
    ]
    assert committer.commits.last_error_at is not None


def test_two_failures_in_a_row_are_not_worth_a_word_and_each_64th_is() -> None:
    """A lock is everyday life where several processes write; a file that stays locked is told of again."""
    told = Told()
    queue, store, committer = make(locked(), locked(), WriteResult(), *[locked() for _ in range(130)], tell=told)
    fill(queue, 1)
    for _ in range(3):
        committer.step(store)
    assert told == []
    fill(queue, 1)
    for _ in range(130):
        committer.step(store)
    assert [(kind, count) for kind, count, _ in told] == [
        (EventKind.STORE_FAILING, 3), (EventKind.STORE_FAILING, 64), (EventKind.STORE_FAILING, 128),
    ]  # fmt: skip


def test_records_that_the_store_refused_are_told() -> None:
    """With their number; they are in the table of dead letters by then."""
    told = Told()
    queue, store, committer = make(WriteResult(quarantined=frozenset({0, 2})), tell=told)
    fill(queue, 3)
    committer.step(store)
    assert told == [(EventKind.QUARANTINED, 2, "2 records were refused by the store and put into dead_letters")]


def test_a_file_that_cannot_be_used_ends_the_trying() -> None:
    """What waits is counted as lost, what comes is refused, waiters are told, and the reason is kept."""
    for error in (ForeignDatabaseError("somebody else's", PATH), NewerSchemaError("a newer release wrote it", PATH)):
        told = Told()
        queue, store, committer = make(error, tell=told)
        queue.offer(InvocationRecord(), waiter := ThreadWaiter())
        fill(queue, 300)
        assert committer.step(store) == Step()
        assert isinstance(committer.fatal, DatabaseUnusableError)
        assert error in {committer.fatal, committer.fatal.__cause__}
        assert waiter.outcome is DropReason.STORE_FAILED
        assert not queue.offer(InvocationRecord())
        assert queue.ledger() == Ledger(submitted=302, dropped={DropReason.STORE_FAILED: 302})
        assert told == [
            (EventKind.STORE_UNUSABLE, 301, f"{PATH} cannot be used, 301 records are lost: {error}"),
        ]


def test_whatever_a_store_calls_unusable_becomes_a_store_error() -> None:
    """With the store's own error as its cause."""
    queue, store, committer = make(OSError("gone for good"))
    store.classify = lambda _error: Fault.UNUSABLE  # type: ignore[method-assign]
    fill(queue, 1)
    assert committer.step(store) == Step()
    assert isinstance(committer.fatal, DatabaseUnusableError)
    assert str(committer.fatal.__cause__) == "gone for good"


def test_a_damaged_file_is_set_aside_when_a_second_connection_finds_the_same() -> None:
    """No record is given up; the way is made once for each file, and told and counted as often."""
    told = Told()
    made: list[int] = []

    def set_aside() -> Path:
        made.append(len(store.calls))
        return PATH.with_name(f"telemetry.db.corrupt-{len(made)}")

    queue, store, committer = make(*[corrupt() for _ in range(9)], make_way=set_aside, tell=told)
    fill(queue, 3)
    steps = [committer.step(store) for _ in range(9)]
    assert all(step.reopen and step.retry_in is not None for step in steps)
    assert made == [2, 4, 8]
    assert committer.commits.files_set_aside == 3
    message = f"{PATH} cannot be used any more (file is not a database); it is kept as %s, and a new file takes over"
    assert [event for event in told if event[0] is EventKind.FILE_SET_ASIDE] == [
        (EventKind.FILE_SET_ASIDE, 1, message % f"telemetry.db.corrupt-{number}") for number in (1, 2, 3)
    ]
    assert committer.step(store) == Step(committed=3)
    assert queue.ledger() == Ledger(submitted=3, written=3)


def test_a_folder_that_does_not_let_a_file_be_moved_costs_no_record(caplog: pytest.LogCaptureFixture) -> None:
    """It is tried again; what waits, waits."""

    def set_aside() -> Path:
        raise PermissionError("read-only folder")

    queue, store, committer = make(*[corrupt() for _ in range(4)], make_way=set_aside)
    fill(queue, 3)
    for _ in range(4):
        assert committer.step(store).retry_in is not None
    assert caplog.text.count("cannot be set aside (goes on): read-only folder") == 2
    assert committer.commits.files_set_aside == 0
    assert committer.step(store) == Step(committed=3)


def test_a_file_that_has_gone_is_told_of_though_nothing_was_moved() -> None:
    """Its records are lost with it, so the user must hear of it; the count of files moved stays true."""
    told = Told()
    queue, store, committer = make(OSError(errno.ESTALE, "deleted"), tell=told)
    fill(queue, 1)
    assert committer.step(store).reopen
    ((kind, count, message),) = told
    assert (kind, count) == (EventKind.FILE_SET_ASIDE, 0)
    assert "nothing of it is left there, and a new file takes over" in message
    assert committer.commits.files_set_aside == 0


def test_a_bug_of_the_writer_costs_one_batch_and_not_the_writer() -> None:
    """After five tries with the same bug the batch is counted as lost, and the next one is written."""
    told = Told()
    queue, store, committer = make(*[KeyError("a bug") for _ in range(5)], tell=told)
    fill(queue, 257)
    steps = [committer.step(store) for _ in range(5)]
    assert [step.retry_in is None for step in steps] == [False] * 4 + [True]
    assert told[-1] == (EventKind.WRITER_FAILED, 256, "256 records are lost to an error of the writer")
    assert committer.step(store) == Step(committed=1)
    assert queue.ledger() == Ledger(submitted=257, written=1, dropped={DropReason.STORE_FAILED: 256})


@pytest.mark.parametrize("make_error", [locked, lambda: OSError(28, "No space left on device")])
def test_a_fault_of_the_file_never_costs_a_batch(make_error: Callable[[], Exception]) -> None:
    """However often it fails: the bound of the queue decides, not the number of tries."""
    queue, store, committer = make(*[make_error() for _ in range(200)])
    fill(queue, 2)
    for _ in range(200):
        assert committer.step(store).retry_in is not None
    assert committer.step(store) == Step(committed=2)


def test_a_file_that_does_not_open_is_paced_like_a_failed_commit() -> None:
    """Without a batch, whatever the error is, nothing is lost."""
    queue, _, committer = make()
    fill(queue, 1)
    steps = [committer.failed(RuntimeError("cannot open")) for _ in range(10)]
    assert all(step.retry_in is not None for step in steps)
    assert queue.ledger().pending == 1
    assert committer.commits.last_error == "RuntimeError: cannot open"


def test_housekeeping_that_fails_loses_nothing() -> None:
    """The records are committed and settled; the error is kept for stats()."""

    def housekeeping(session: Any) -> None:
        assert session is store
        raise OSError("no checkpoint today")

    queue, store, committer = make(after_commit=housekeeping)
    fill(queue, 1)
    assert committer.step(store) == Step(committed=1)
    assert queue.ledger().written == 1
    assert committer.commits.last_error == "OSError: no checkpoint today"
    assert committer.commits.failures_in_a_row == 0


def test_housekeeping_that_fails_again_and_again_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """As long as the reason stays the same."""
    _, _, committer = make()
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        for _ in range(3):
            committer.housekeeping_failed(OSError("no checkpoint today"))
    assert caplog.text.count("cannot be copied back (goes on): no checkpoint today") == 1


def test_an_error_message_is_cut() -> None:
    """Whatever was raised, `last_error` stays a line."""
    _, _, committer = make()
    committer.failed(RuntimeError("x" * 10_000))
    assert committer.commits.last_error is not None
    assert len(committer.commits.last_error) == 500


def test_stats_say_what_the_committer_saw() -> None:
    """Counts, the failure, and how long commits take within 2.2 %."""
    queue, store, committer = make(WriteResult(), locked())
    fill(queue, 1)
    committer.step(store)
    fill(queue, 2)
    committer.step(store)
    stats = stats_of(
        queue,
        committer.commits,
        Replayed(5, lost=2, left=1),
        wal_bytes=4096,
        bad_values=3,
        purged=4,
        purge_error="full",
        closed=False,
        writer_alive=True,
    )
    assert stats.ledger == Ledger(submitted=3, written=1, pending=2)
    assert (stats.queue_records, stats.queue_bytes) == (2, queue.backlog().bytes)
    assert (stats.transactions, stats.retries, stats.failing) == (1, 1, True)
    assert stats.last_error is not None
    assert "SQLITE_BUSY" in stats.last_error
    assert stats.commit_ms_p50 == pytest.approx(3.0, rel=0.022)
    assert stats.commit_ms_p99 == stats.commit_ms_p50
    assert stats.commit_ms_histogram == {4.0: 1}
    assert stats.wal_bytes == 4096
    assert (stats.bad_values, stats.closed, stats.writer_alive) == (3, False, True)
    assert (stats.purged, stats.purge_error) == (4, "full")
    assert stats.oldest_age > 0
    assert (stats.replayed, stats.journal_lost, stats.journals_left) == (5, 2, 1)
    assert (stats.journal_bytes, stats.journal_size) == (0, 0)


def test_every_commit_is_counted_in_its_bucket() -> None:
    """Three commits of 3 ms each are three in the histogram, not one."""
    queue, store, committer = make()
    for _ in range(3):
        fill(queue, 1)
        committer.step(store)
    stats = stats_of(
        queue,
        committer.commits,
        Replayed(),
        wal_bytes=0,
        bad_values=0,
        purged=0,
        purge_error=None,
        closed=False,
        writer_alive=True,
    )
    assert stats.commit_ms_histogram == {4.0: 3}


def test_the_error_behind_an_event_is_told_with_it() -> None:
    """A callback sees the exception itself."""
    unusable = NewerSchemaError("a newer release wrote it", PATH)
    for error, tries in ((unusable, 1), (corrupt(), 2), (KeyError("a bug"), 5), (locked(), 3)):
        errors: list[BaseException | None] = []
        queue, store, committer = make(
            *[error] * tries, tell=lambda _kind, _count, _message, error, errors=errors: errors.append(error)
        )
        fill(queue, 1)
        for _ in range(tries):
            committer.step(store)
        assert errors[-1] is error


def test_tries_of_a_bug_are_counted_for_each_batch() -> None:
    """Four failures of one batch and four of the next drop neither."""
    bugs = [KeyError("a bug")] * 4
    queue, store, committer = make(*bugs, WriteResult(), *bugs, WriteResult())
    for _ in range(2):
        fill(queue, 1)
        for _ in range(5):
            committer.step(store)
    ledger = queue.ledger()
    assert (ledger.submitted, ledger.written, ledger.dropped) == (2, 2, {})


def test_the_moment_of_the_latest_error_is_aware() -> None:
    """UTC, so that it compares with other moments."""
    _, _, committer = make()
    committer.failed(RuntimeError("once"))
    assert committer.commits.last_error_at is not None
    assert committer.commits.last_error_at.utcoffset() == timedelta(0)
