"""Holds: reserved in all windows or none, ended once, whatever fails in between; and the books balance throughout."""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.inside import core_of, engine_of
from tests.model.ledger import check_books, holds, policies, totals

from llm_service.budgets.limits import Amounts
from llm_service.budgets.policies import Policies, compiled
from llm_service.budgets.scopes import Call
from llm_service.config.models_schema import ModelsConfig
from llm_service.errors import (
    BudgetExceeded,
    CommitTimeoutError,
    DuplicateInvocationError,
    ForeignDatabaseError,
    JustificationNeededError,
    QueryError,
    RecordError,
    RecordQuarantinedError,
    SettingsError,
    StoreError,
    UnknownPriceError,
)
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.client.steps import run
from llm_service.telemetry.record.record import CARD_FIELDS, _restore
from llm_service.telemetry.stores.budget_requests import EndHold, ReservationPlan
from llm_service.telemetry.stores.sqlite import store as stores
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.budget_counting import BudgetBook
from llm_service.telemetry.stores.sqlite.budget_reservations import HoldKeeper
from llm_service.telemetry.writer.budget_executor import Request

USD = 1_000_000_000


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


@pytest.fixture
def logger(db: Path) -> Iterator[TelemetryLogger]:
    """A dollar a day, ten in all for each agent, a thousand tokens and four calls in 24 hours."""
    limited = policies(
        default=1,
        agents={"scope": {"agent": "*"}, "per": "agent", "total_budget_usd": 10},
        many={"scope": {"tool": "t"}, "limits": [{"window": "24h", "tokens": 1000, "calls": 4}]},
    )
    with TelemetryLogger(db, policies=limited, commit_timeout=0.5, close_timeout=2, retention_days=None) as opened:
        yield opened
        assert opened.stats().ledger.balanced


def record(cost: float | None = 0.25, **fields: Any) -> InvocationRecord:
    """One of 300 tokens."""
    values: dict[str, Any] = {"total_tokens": 300, "cost_usd": cost}
    return InvocationRecord(**(values | fields))


def spent_reserved_unknown(db: Path, window: str = "day") -> tuple[float, float, float]:
    """USD of a window; the books are checked."""
    spent, reserved, unknown = totals(db).get(window, (0, 0, 0))
    return spent / USD, reserved / USD, unknown / USD


# The life of a hold


def test_a_hold_counts_until_its_record_settles_it(logger: TelemetryLogger, db: Path) -> None:
    """Then what was spent is what the record cost."""
    hold = logger.budgets.reserve(usd=0.4)
    assert spent_reserved_unknown(db) == (0, 0.4, 0)
    assert (hold.usd, hold.tokens, hold.ended) == (Decimal("0.4"), 0, False)
    assert hold.settle(record(0.25)) is True
    assert hold.ended
    assert spent_reserved_unknown(db) == (0.25, 0, 0)
    assert holds(db) == []


def test_a_call_that_does_not_fit_is_refused_with_all_amounts(logger: TelemetryLogger, db: Path) -> None:
    """Nothing is reserved for it, in no window."""
    logger.log_invocation(record(0.3))
    logger.budgets.reserve(usd=0.2)
    logger.budgets.reserve(usd=0.1).give_up()
    before = check_books(db)
    with pytest.raises(BudgetExceeded) as caught:
        logger.budgets.reserve(usd=0.41)
    error = caught.value
    assert (error.budget, error.window, error.metric) == ("default", "day", "usd")
    amounts = (error.limit, error.spent, error.reserved, error.unknown, error.asked)
    assert amounts == tuple(map(Decimal, ("1", "0.3", "0.2", "0.1", "0.41")))
    assert error.resets_at is not None
    assert error.resets_at > datetime.now(UTC)
    assert check_books(db) == before
    logger.budgets.reserve(usd=Decimal("0.4"))  # to the last nano-dollar
    with pytest.raises(BudgetExceeded):
        logger.budgets.reserve(usd=Decimal("0.000000001"))


def test_all_windows_or_none(logger: TelemetryLogger, db: Path) -> None:
    """The day has room, the agent's total does not."""
    with TelemetryLogger(db, retention_days=None) as other:
        other.log_invocation(record(9.9, agent_name="a", timestamp=datetime(2026, 1, 1, tzinfo=UTC)))
    with pytest.raises(BudgetExceeded, match=r"budget agents of a: .* a total") as caught:
        logger.budgets.reserve(usd=0.2, agent_name="a")
    assert (caught.value.subject, caught.value.resets_at) == (("a",), None)
    assert spent_reserved_unknown(db)[1:] == (0, 0)
    logger.budgets.reserve(usd=0.2, agent_name="b")
    assert spent_reserved_unknown(db)[1:] == (0.2, 0)


@pytest.mark.parametrize(
    ("asked", "metric"),
    [({"tokens": 701}, "tokens"), ({"tokens": 1001}, "tokens"), ({"tokens": 0}, None), ({"tokens": 700}, None)],
)
def test_tokens_are_limited_as_well(logger: TelemetryLogger, asked: dict[str, int], metric: str | None) -> None:
    """In a rolling window, which never resets."""
    logger.log_invocation(record(0, tool_name="t"))
    if metric is None:
        logger.budgets.reserve(usd=0, tool_name="t", **asked)
        return
    with pytest.raises(BudgetExceeded, match="tokens more do not fit into 1,000 a 24h") as caught:
        logger.budgets.reserve(usd=0, tool_name="t", **asked)
    assert (caught.value.metric, caught.value.resets_at, caught.value.spent) == (metric, None, 300)


def test_calls_are_limited_as_well(logger: TelemetryLogger) -> None:
    """Those that are under way count."""
    logger.log_invocation(record(0, tool_name="t"))
    for _ in range(3):
        logger.budgets.reserve(usd=0, tokens=0, tool_name="t")
    with pytest.raises(BudgetExceeded, match="1 calls more do not fit into 4 a 24h: 1 spent, 3 reserved"):
        logger.budgets.reserve(usd=0, tokens=0, tool_name="t")


def test_a_call_that_cost_more_than_its_hold_is_spent_in_full(logger: TelemetryLogger, db: Path) -> None:
    """What was spent is the truth, also beyond the limit; the next call is refused."""
    logger.budgets.reserve(usd=0.4).settle(record(1.5))
    assert spent_reserved_unknown(db) == (1.5, 0, 0)
    with pytest.raises(BudgetExceeded):
        logger.budgets.reserve(usd=0)


def test_settling_twice_stores_once(logger: TelemetryLogger, db: Path) -> None:
    """By either way, and a release after it frees nothing."""
    hold = logger.budgets.reserve(usd=0.4)
    assert hold.settle(record()) is True
    assert hold.settle(record()) is False
    hold.release()
    hold.give_up()
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_released_hold_is_free_and_a_record_counts_all_the_same(logger: TelemetryLogger, db: Path) -> None:
    """Nothing was sent, it was said; who has a record knows better, and what was spent is never lost."""
    hold = logger.budgets.reserve(usd=0.4)
    hold.release()
    hold.release()
    hold.give_up()
    assert spent_reserved_unknown(db) == (0, 0, 0)
    assert hold.settle(record()) is True
    hold.release()
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_hold_that_was_given_up_can_still_be_settled_or_released(logger: TelemetryLogger, db: Path) -> None:
    """The block ended before the call did: a late record makes the unknown known."""
    with logger.budgets.reserve(usd=0.4) as late, logger.budgets.reserve(usd=0.2) as free:
        pass
    assert late.ended
    assert late.settle(record(0.3)) is True
    assert late.settle(record(0.3)) is False
    free.release()
    assert spent_reserved_unknown(db) == (0.3, 0, 0)
    assert holds(db) == []


def test_a_release_that_failed_can_be_tried_again(logger: TelemetryLogger, db: Path) -> None:
    """The file was locked: without a second try the lease would have to end it."""
    free, left = logger.budgets.reserve(usd=0.4), logger.budgets.reserve(usd=0.1)
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for end in (free.release, left.give_up):
            with pytest.raises(CommitTimeoutError):
                end()
        other.execute("COMMIT")
    assert not free.ended
    free.release()
    left.give_up()
    assert spent_reserved_unknown(db) == (0, 0, 0.1)


def test_a_hold_that_two_threads_settle_at_once_is_settled_once(logger: TelemetryLogger, db: Path) -> None:
    """By the first; each has a record of its own, and all are logged."""
    hold, start = logger.budgets.reserve(usd=0.4), threading.Barrier(4)
    settled: list[bool] = []

    def settle() -> None:
        start.wait()
        settled.append(hold.settle(record()))

    threads = [threading.Thread(target=settle) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(settled) == [False, False, False, True]
    logger.flush()
    assert spent_reserved_unknown(db) == (1.0, 0, 0)


def test_a_hold_that_is_given_up_or_left_is_unknown_spend(logger: TelemetryLogger, db: Path) -> None:
    """It still counts, and can be released by its name."""
    with logger.budgets.reserve(usd=0.4) as hold:
        pass
    with pytest.raises(KeyError), logger.budgets.reserve(usd=0.2):
        raise KeyError
    assert spent_reserved_unknown(db)[2] == pytest.approx(0.6)
    assert [row[1] for row in holds(db)] == ["unknown", "unknown"]
    assert logger.budgets.release(hold.hold_id) is True
    assert logger.budgets.release(hold.hold_id) is False
    assert spent_reserved_unknown(db) == (0, 0, 0.2)


def test_a_further_record_that_a_hold_is_given_is_logged(logger: TelemetryLogger, db: Path) -> None:
    """It is of another call: stored, and spent; the same one again changes nothing."""
    hold = logger.budgets.reserve(usd=0.4, agent_name="a")
    records = [record(0.1) for _ in range(3)]
    for one in (*records, records[0]):
        hold.settle(one)
    logger.flush()
    assert spent_reserved_unknown(db) == (0.3, 0, 0)
    ledger = logger.stats().ledger
    assert (ledger.written, ledger.pending, sum(ledger.dropped.values())) == (3, 0, 0)


def test_a_settled_hold_is_left_alone_by_its_block(logger: TelemetryLogger, db: Path) -> None:
    """The end of the block does nothing more."""
    with logger.budgets.reserve(usd=0.4) as hold:
        hold.settle(record())
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_record_of_unknown_cost_leaves_its_hold_as_unknown_spend(logger: TelemetryLogger, db: Path) -> None:
    """Never $0. The call is counted once, by its record, whose id the hold has now."""
    hold = logger.budgets.reserve(usd=0.4, tokens=500, tool_name="t")
    hold.settle(record(None, invocation_id="r", tool_name="t"))
    assert spent_reserved_unknown(db) == (0, 0, 0.4)
    assert holds(db) == [("r", "unknown", 4 * USD // 10, 0, 0)]
    (row,) = [row for row in logger.budgets.status() if row["metric"] == "calls"]
    assert (row["spent"], row["unknown"], row["unpriced_calls"]) == (1, 0, 1)


def test_a_record_of_unknown_tokens_leaves_those_of_its_hold_as_unknown(logger: TelemetryLogger, db: Path) -> None:
    """A stream without usage does not make room for another."""
    hold = logger.budgets.reserve(usd=0.1, tokens=800, tool_name="t")
    hold.settle(record(0.05, total_tokens=None, tool_name="t"))
    (row,) = [row for row in logger.budgets.status() if row["metric"] == "tokens"]
    assert (row["spent"], row["unknown"], row["reserved"]) == (0, 800, 0)
    with pytest.raises(BudgetExceeded):
        logger.budgets.reserve(usd=0, tokens=300, tool_name="t")
    check_books(db)


def test_a_hold_of_nothing_leaves_nothing(logger: TelemetryLogger, db: Path) -> None:
    """There is no spend to be unknown."""
    logger.budgets.reserve(usd=0).settle(record(None))
    assert holds(db) == []
    assert spent_reserved_unknown(db) == (0, 0, 0)


def test_the_record_is_dated_to_the_reservation_and_takes_its_names(logger: TelemetryLogger, db: Path) -> None:
    """So it counts in the windows that the call was admitted to."""
    hold = logger.budgets.reserve(
        usd=0.4, agent_name="a", model_name="gpt-4o", user_id="u", session_id="s", trace_id="r", provider="p"
    )
    hold.settle(record(model_name="gpt-4o-2024-08-06"))
    (row,) = logger.get_invocations()
    assert (row["agent_name"], row["model_name"], row["request_model"]) == ("a", "gpt-4o-2024-08-06", "gpt-4o")
    assert (row["user_id"], row["session_id"], row["trace_id"], row["provider"]) == ("u", "s", "r", "p")
    earlier = datetime(2026, 1, 1, tzinfo=UTC)
    logger.budgets.reserve(usd=0.4, agent_name="a").settle(record(timestamp=earlier, agent_name="b"))
    (row,) = logger.get_invocations(end_date="2026-01-01")
    assert row["agent_name"] == "b"
    check_books(db)


def test_settling_something_else_than_a_record_leaves_the_hold(logger: TelemetryLogger) -> None:
    """The mistake can be corrected."""
    hold = logger.budgets.reserve(usd=0.4)
    with pytest.raises(TypeError, match="give an InvocationRecord, not dict"):
        hold.settle({"cost_usd": 1})  # type: ignore[arg-type]
    assert hold.settle(record()) is True


def test_a_record_that_is_logged_under_the_id_of_the_hold_ends_it(logger: TelemetryLogger, db: Path) -> None:
    """By whichever way, in whichever process: the hold is found by that id."""
    hold = logger.budgets.reserve(usd=0.4)
    with TelemetryLogger(db) as other:
        other.log_invocation(record(invocation_id=hold.hold_id))
    assert spent_reserved_unknown(db) == (0.25, 0, 0)
    assert hold.settle(record(invocation_id=hold.hold_id)) is False  # it is stored already
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_private_record_leaves_its_cost_as_unknown_spend(logger: TelemetryLogger, db: Path) -> None:
    """No record can say what was spent, and yet it was."""
    assert logger.budgets.reserve(usd=0.4).settle(record(0.25, privacy_level="none")) is False
    assert spent_reserved_unknown(db) == (0, 0, 0.25)
    logger.budgets.reserve(usd=0.3).settle(record(None, privacy_level="none"))
    assert spent_reserved_unknown(db) == (0, 0, pytest.approx(0.55))


def test_a_record_that_is_refused_leaves_its_hold_reserved(logger: TelemetryLogger, db: Path) -> None:
    """The error says what became of it; the hold's lease ends it."""
    hold = logger.budgets.reserve(usd=0.4, lease=1e-6)
    good = record()
    card = tuple(1e300 if name == "cost_usd" else value for name, value in zip(CARD_FIELDS, good.card, strict=True))
    with pytest.raises(RecordQuarantinedError):
        hold.settle(_restore(card, good.extensions, good.size))
    logger.budgets.expire()
    assert spent_reserved_unknown(db) == (0, 0, 0.4)
    assert logger.stats().ledger.quarantined == 1


# Durable


class Watch:
    """A connection of the teller's that notes how each commit is synchronised: 1 is NORMAL, 2 is FULL."""

    def __init__(self, real: Any, seen: list[int]) -> None:
        self._real, self._seen = real, seen

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Look, then run."""
        if sql == "COMMIT":
            self._seen.append(self._real.execute("PRAGMA synchronous").fetchone()[0])
        return self._real.execute(sql, *parameters)


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How the commits of stores are synchronised, in their order."""
    seen: list[int] = []
    real = stores.open_for_writing
    monkeypatch.setattr(stores, "open_for_writing", lambda *arguments: Watch(real(*arguments), seen))
    return seen


def test_a_durable_settlement_is_committed_with_full_synchronisation(
    logger: TelemetryLogger, db: Path, synced: list[int]
) -> None:
    """And only that one pays for it; records of the same transaction are carried along."""
    holds_ = [logger.budgets.reserve(usd=0.1) for _ in range(5)]
    assert holds_[0].settle(record(0.05), durable=True) is True
    logger.budgets.reserve(usd=0.1).release()
    assert holds_[1].settle(record(0.05)) is True
    assert holds_[1].settle(record(0.05), durable=True) is False  # it was settled before, as it was asked to be then
    assert synced == [1] * 5 + [2] + [1] * 3
    requests = [core_of(hold).settling(record(0.05), durable=hold is holds_[3]) for hold in holds_[2:]]
    serve(logger, *[request for request in requests if request is not None])
    assert synced[9:] == [2]
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


async def test_the_async_face_settles_durably_as_well(db: Path, synced: list[int]) -> None:
    """Through its teller's thread."""
    async with AsyncTelemetryLogger(db, policies=policies(default=1), retention_days=None) as logger:
        async with logger.budgets.reserve(usd=0.4) as hold:
            assert await hold.settle(record(0.25), durable=True) is True
        async with logger.budgets.reserve(usd=0.4) as hold:
            await hold.settle(record(0.25))
    assert synced == [1, 2, 1, 1]
    assert spent_reserved_unknown(db) == (0.5, 0, 0)


def test_a_durable_settlement_that_cannot_be_made_says_so(logger: TelemetryLogger, db: Path) -> None:
    """No promise is given; the record is queued all the same."""
    hold = logger.budgets.reserve(usd=0.4)
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CommitTimeoutError):
            hold.settle(record(0.25), durable=True)
        other.execute("COMMIT")
    logger.flush()
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_record_that_is_refused_ends_its_hold_when_it_is_stored_after_all(logger: TelemetryLogger, db: Path) -> None:
    """From `dead_letters`, say, in another process: the hold is found by the record's id, and nothing counts twice."""
    hold = logger.budgets.reserve(usd=0.4)
    good = record(invocation_id="mine")
    card = tuple(1e300 if name == "cost_usd" else value for name, value in zip(CARD_FIELDS, good.card, strict=True))
    with pytest.raises(RecordQuarantinedError):
        hold.settle(_restore(card, good.extensions, good.size))
    assert spent_reserved_unknown(db) == (0, 0.4, 0)
    with TelemetryLogger(db) as other:
        other.log_invocation(record(invocation_id="mine"))
    assert spent_reserved_unknown(db) == (0.25, 0, 0)
    assert engine_of(logger).store.hold_ids == {}


# Within a signal handler, without a thread, interrupted


def test_a_signal_handler_within_a_commit_is_refused_and_takes_nothing_of_its_lock(
    logger: TelemetryLogger, db: Path
) -> None:
    """It would wait for itself; a record of it is queued. What interrupted it still holds the lock after it."""
    hold, lock = logger.budgets.reserve(usd=0.4), engine_of(logger).commit_lock
    with lock:
        with pytest.raises(StoreError, match="signal handler"):
            logger.budgets.reserve(usd=0.1)
        assert lock.owner == threading.get_ident()
        with pytest.raises(StoreError, match="signal handler"):
            hold.settle(record())
        engine_of(logger).executor._let_go_in_time()
        assert lock.owner == threading.get_ident()
    assert lock.owner is None
    logger.flush()
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


async def test_where_no_thread_can_be_started_nobody_waits_for_ever_and_the_record_is_queued(
    db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process has too many, or ends."""
    async with AsyncTelemetryLogger(db, policies=policies(default=1), retention_days=None) as logger:
        hold = await logger.budgets.reserve(usd=0.4)
        await engine_of(logger).shutdown.close_budgets(5)
        real = threading.Thread.start

        def start(self: threading.Thread) -> None:
            if self.name == "llm-telemetry-budgets":
                raise RuntimeError("can't start new thread")
            real(self)

        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(StoreError, match="can't start new thread"):
            await hold.settle(record())
        with pytest.raises(StoreError, match="can't start new thread"):
            await logger.budgets.reserve(usd=0.1)
        monkeypatch.undo()
        await logger.budgets.reserve(usd=0.1)
    assert spent_reserved_unknown(db)[0] == 0.25
    assert logger.stats().ledger.written == 1


@pytest.mark.parametrize("after", [True, False])
def test_a_settlement_that_is_interrupted_loses_no_record(
    logger: TelemetryLogger, db: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Ctrl-C before or after the commit: the record is stored once, and the hold ended."""
    hold = logger.budgets.reserve(usd=0.4)
    real = SqliteBatchWriter.write

    def write(self: SqliteBatchWriter, *arguments: Any, **options: Any) -> Any:
        monkeypatch.undo()
        if after:
            real(self, *arguments, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(SqliteBatchWriter, "write", write)
    with pytest.raises(KeyboardInterrupt):
        hold.settle(record(invocation_id="mine"))
    logger.flush()
    assert spent_reserved_unknown(db) == (0.25, 0, 0)
    ledger = logger.stats().ledger
    assert (ledger.written, ledger.duplicates) == ((0, 1) if after else (1, 0))
    assert engine_of(logger).store.hold_ids == {}


def test_a_settlement_that_neither_file_nor_queue_takes_is_counted_and_forgotten(db: Path) -> None:
    """What is remembered of it goes with it."""
    limited = policies(default=1)
    with TelemetryLogger(db, policies=limited, commit_timeout=0.2, close_timeout=1, queue_max_records=1) as logger:
        kept, lost = logger.budgets.reserve(usd=0.1), logger.budgets.reserve(usd=0.1)
        with closing(sqlite3.connect(db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for hold in (kept, lost):
                with pytest.raises(CommitTimeoutError):
                    hold.settle(record())
            assert list(engine_of(logger).store.hold_ids.values()) == [kept.hold_id]
            other.execute("COMMIT")
        logger.flush()
        ledger = logger.stats().ledger
        assert (ledger.written, sum(ledger.dropped.values())) == (1, 1)
        assert spent_reserved_unknown(db) == (0.25, 0.1, 0)


def test_a_failing_look_at_thresholds_does_not_end_the_teller(logger: TelemetryLogger) -> None:
    """A log handler that raises, say: those who wait are served."""

    def tell(_: Any) -> None:
        raise ZeroDivisionError

    engine_of(logger).store.terms.tell = tell
    logger.budgets.reserve(usd=0.9).settle(record(0.9))
    assert isinstance(engine_of(logger).executor.last_error, ZeroDivisionError)
    logger.budgets.reserve(usd=0.1).release()


def test_a_look_at_thresholds_does_not_wait_for_a_long_commit(logger: TelemetryLogger) -> None:
    """It is due again with the next pause."""
    executor, terms = engine_of(logger).executor, engine_of(logger).store.terms
    logger.budgets.reserve(usd=0.1).release()
    terms.keep_up_at = 0.0
    held, enough = threading.Event(), threading.Event()

    def hold() -> None:
        with engine_of(logger).commit_lock:
            held.set()
            enough.wait(30)

    other = threading.Thread(target=hold)
    other.start()
    held.wait(30)
    executor._look_back()
    assert terms.keep_up_at == 0.0
    enough.set()
    other.join()
    executor._look_back()
    assert terms.keep_up_at > time.monotonic()
    assert executor.last_error is None


def test_an_interrupted_look_at_thresholds_leaves_no_transaction_open(
    logger: TelemetryLogger, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection goes, and the next hold opens another."""
    executor = engine_of(logger).executor
    logger.budgets.reserve(usd=0.1).release()
    engine_of(logger).store.terms.keep_up_at = 0.0

    def interrupted(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN IMMEDIATE")
        raise KeyboardInterrupt

    monkeypatch.setattr(executor.session, "_keep_up", interrupted)
    with pytest.raises(KeyboardInterrupt):
        executor._look_back()
    executor._look_back()  # there is nothing to look with
    monkeypatch.undo()
    with closing(sqlite3.connect(db, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("ROLLBACK")
    logger.budgets.reserve(usd=0.1).release()
    assert spent_reserved_unknown(db) == (0, 0, 0)


def test_a_hold_that_ends_without_a_record_and_without_waiting_is_of_unknown_outcome(
    logger: TelemetryLogger, db: Path
) -> None:
    """Once, however often it is said."""
    hold = logger.budgets.reserve(usd=0.4)
    for _ in range(2):
        core_of(hold).end_later(None)
    engine_of(logger).executor.close(5)
    assert hold.ended
    assert spent_reserved_unknown(db) == (0, 0, 0.4)


def test_a_call_that_is_stored_nowhere_and_known_in_part_keeps_at_least_what_was_reserved(
    logger: TelemetryLogger, db: Path
) -> None:
    """More, where it says that it cost more."""
    for cost, kept in ((0.05, 0.1), (0.25, 0.35)):
        logger.budgets.reserve(usd=0.1).settle(record(cost, privacy_level="none", usage_source="partial"))
        assert spent_reserved_unknown(db) == (0, 0, pytest.approx(kept))


def test_an_interrupted_reservation_of_a_logger_that_stores_nothing_makes_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is nothing to take back."""
    path = tmp_path / "none" / "t.db"
    with TelemetryLogger(path, policies=policies(default=1), enabled=False) as logger:

        def interrupted(*_: object) -> Any:
            raise KeyboardInterrupt

        monkeypatch.setattr(type(core_of(logger.budgets)), "serve", interrupted)
        with pytest.raises(KeyboardInterrupt):
            logger.budgets.reserve(usd=0.1)
        engine_of(logger).executor.close(5)
    assert not path.parent.exists()


# Ids


def test_two_holds_of_one_id_cannot_be(logger: TelemetryLogger, db: Path) -> None:
    """The second would reserve what nobody could free."""
    with logger.invocation("a", budget=0.1, invocation_id="same"):
        with pytest.raises(DuplicateInvocationError), logger.invocation("a", budget=0.1, invocation_id="same"):
            raise AssertionError
        assert spent_reserved_unknown(db) == (0, 0.1, 0)
    assert spent_reserved_unknown(db)[1] == 0


@pytest.mark.parametrize("is_async", [True, False])
async def test_who_is_refused_an_id_takes_nothing_back_from_who_has_it(
    db: Path, monkeypatch: pytest.MonkeyPatch, is_async: bool
) -> None:
    """Also where a coarse clock gives both the same moment."""
    moment = time.time_ns()
    monkeypatch.setattr("llm_service.telemetry.client.reservation_plans.time_ns", lambda: moment)
    given: Any = {"policies": policies(default=1), "retention_days": None}
    if is_async:
        telemetry = AsyncTelemetryLogger(db, **given)
        async with telemetry, telemetry.invocation("a", budget=0.1, invocation_id="same"):
            with pytest.raises(DuplicateInvocationError):
                await telemetry.invocation("a", budget=0.1, invocation_id="same").__aenter__()
            await telemetry.budgets.expire()
            assert spent_reserved_unknown(db) == (0, 0.1, 0)
        return
    with TelemetryLogger(db, **given) as logger, logger.invocation("a", budget=0.1, invocation_id="same"):
        with pytest.raises(DuplicateInvocationError):
            logger.invocation("a", budget=0.1, invocation_id="same").__enter__()
        engine_of(logger).executor.close(5)
        assert spent_reserved_unknown(db) == (0, 0.1, 0)


def test_a_hold_that_is_settled_with_the_record_of_another_hold_harms_neither_books_nor_neighbours(
    logger: TelemetryLogger, db: Path
) -> None:
    """Mixed up: the first ends by the record, the second stays what it was."""
    one, other = logger.budgets.reserve(usd=0.1), logger.budgets.reserve(usd=0.2)
    assert one.settle(record(None, invocation_id=other.hold_id)) is True
    assert {row[0]: row[1] for row in holds(db)} == {one.hold_id: "unknown", other.hold_id: "held"}
    assert spent_reserved_unknown(db) == (0, 0.2, 0.1)


def test_the_other_id_of_a_record_is_remembered_only_until_it_is_settled(logger: TelemetryLogger) -> None:
    """A million calls leave nothing behind, duplicates and expired holds included."""
    logger.budgets.reserve(usd=0.1).settle(record(invocation_id="x"))
    logger.budgets.reserve(usd=0.1).settle(record(invocation_id="x"))  # a duplicate
    hold = logger.budgets.reserve(usd=0.1)
    logger.budgets.release(hold.hold_id)
    hold.settle(record(invocation_id="y"))
    assert engine_of(logger).store.hold_ids == {}


@pytest.mark.parametrize("redact", [None, lambda text: text.replace("0", "O")])
def test_a_record_whose_id_holds_a_secret_ends_its_hold(db: Path, redact: Any) -> None:
    """It is stored under another id than was given, and so is what is unknown of it."""
    key = "sk-ant-api03-" + "A1b2" * 20
    with TelemetryLogger(db, policies=policies(default=10), redact=redact, commit_timeout=0.3) as logger:
        logger.budgets.reserve(usd=1).settle(record(0.25, invocation_id=key))
        assert spent_reserved_unknown(db) == (0.25, 0, 0)
        logger.budgets.reserve(usd=1).settle(record(None, invocation_id=key + "1"))
        assert spent_reserved_unknown(db) == (0.25, 0, 1)
        (hold,) = logger.budgets.holds()
        assert key not in hold["hold_id"]
        assert logger.budgets.reconcile(hold["hold_id"], 0.5) is True
        late = logger.budgets.reserve(usd=1)
        with closing(sqlite3.connect(db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CommitTimeoutError):
                late.settle(record(0.25, invocation_id=key + "2"))
            other.execute("COMMIT")
        logger.flush()
        with logger.invocation("a", budget=1, invocation_id=key + "3") as call:
            call.record_usage(cost_usd=0.25)
        assert spent_reserved_unknown(db) == (1.25, 0, 0)
        assert engine_of(logger).store.hold_ids == {}


# Leases


def test_a_hold_whose_lease_is_over_becomes_unknown_spend(logger: TelemetryLogger, db: Path) -> None:
    """With whatever is done next; never silently free, never reserved for ever."""
    logger.budgets.reserve(usd=0.4, lease=1e-6)
    assert [row["expired"] for row in logger.budgets.holds()] == [True]
    row = next(row for row in logger.budgets.status() if row["window"] == "day")
    assert (row["reserved"], row["unknown"]) == (0, 0.4)  # before anybody has moved it
    logger.budgets.expire()
    assert spent_reserved_unknown(db) == (0, 0, 0.4)


def test_a_hold_can_be_settled_after_its_lease(logger: TelemetryLogger, db: Path) -> None:
    """A slow call: its record makes the unknown known."""
    hold = logger.budgets.reserve(usd=0.4, lease=1e-6)
    logger.budgets.expire()
    assert hold.settle(record()) is True
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_hold_can_be_released_after_its_lease_and_given_up_again(logger: TelemetryLogger, db: Path) -> None:
    """Giving up what is unknown already changes nothing."""
    one, other = (logger.budgets.reserve(usd=0.4, lease=1e-6) for _ in range(2))
    logger.budgets.expire()
    other.give_up()
    assert spent_reserved_unknown(db) == (0, 0, 0.8)
    one.release()
    assert spent_reserved_unknown(db) == (0, 0, 0.4)


def test_a_lease_that_ended_in_an_older_window_is_no_business_of_this_one(logger: TelemetryLogger, db: Path) -> None:
    """What was reserved yesterday and never ended is unknown spend of yesterday."""
    hold = logger.budgets.reserve(usd=0.4, lease=1e-6)
    with closing(sqlite3.connect(db)) as connection:
        day = "SELECT id FROM budget_counters WHERE window = 'day'"
        connection.execute(
            f"UPDATE budget_windows SET window_start = '2026-01-01 00:00:00.000000Z' WHERE counter_id = ({day})"
        )
        connection.execute(
            "UPDATE budget_holds SET windows = json_array(json_array((SELECT id FROM budget_counters WHERE window = 'day'),"
            " '[]', '2026-01-01 00:00:00.000000Z')) WHERE hold_id = ?", (hold.hold_id,)
        )  # fmt: skip
        connection.execute("DELETE FROM budget_windows WHERE window_start NOT LIKE '2026-01-01%'")
        connection.commit()
    row = next(row for row in logger.budgets.status() if row["window"] == "day")
    assert (row["reserved"], row["unknown"]) == (0, 0)


def test_the_shortest_lease_of_the_policies_is_the_holds(db: Path) -> None:
    """Unless the call says another."""
    limited = policies(default={"daily_budget_usd": 1, "lease": 30}, x={"scope": {"agent": "*"}, "lease": 20, "daily_budget_usd": 1})  # fmt: skip
    with TelemetryLogger(db, policies=limited) as logger:
        logger.budgets.reserve(usd=0.1)
        logger.budgets.reserve(usd=0.1, lease=100)
        spans = [
            datetime.fromisoformat(row["expires_at"]) - datetime.fromisoformat(row["reserved_at"])
            for row in logger.budgets.holds()
        ]
    assert [span.total_seconds() for span in spans] == [20, 100]


# What cannot be reserved


@pytest.mark.parametrize(
    ("field", "value"),
    [("usd", -1), ("usd", float("nan")), ("usd", "1"), ("usd", True), ("usd", 1e9), ("usd", Decimal("Infinity")),
     ("tokens", -1), ("tokens", 1.5), ("tokens", True), ("tokens", 10**13),
     ("lease", 0), ("lease", -1), ("lease", float("nan")), ("lease", 10**9), ("lease", "1"), ("lease", True)],
)  # fmt: skip
def test_an_amount_that_cannot_be_is_refused(logger: TelemetryLogger, db: Path, field: str, value: Any) -> None:
    """By name, with what can be; nothing is reserved."""
    with pytest.raises(QueryError, match=field):
        logger.budgets.reserve(**({"usd": 0.1} | {field: value}))
    assert holds(db) == []


def test_a_name_that_no_record_can_have_is_refused(logger: TelemetryLogger) -> None:
    """As the record itself would refuse it."""
    with pytest.raises(RecordError, match="agent_name"):
        logger.budgets.reserve(usd=0.1, agent_name="")
    with pytest.raises(TypeError, match=r"agent\b"):
        logger.budgets.reserve(usd=0.1, agent="a")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("policy", "reserved"),
    [({"unknown_price_usd": 0.125}, 0.125), ({"unknown_price": "allow"}, 0), ({"unknown_price": "block"}, None), ({}, None)],
)  # fmt: skip
def test_a_call_of_unknown_price_costs_what_the_policy_says(
    db: Path, policy: dict[str, Any], reserved: float | None
) -> None:
    """It is blocked where that says nothing; never $0 by silence."""
    with TelemetryLogger(db, policies=policies(default={"daily_budget_usd": 1} | policy)) as logger:
        if reserved is None:
            with pytest.raises(UnknownPriceError, match=r"budget default: .*zoo-1.* is unknown"):
                logger.budgets.reserve(model_name="zoo-1")
        else:
            assert float(logger.budgets.reserve(model_name="zoo-1").usd) == reserved


def test_a_block_of_another_service_tier_holds_what_that_tier_costs(db: Path) -> None:
    """Twice as much as a standard call, so that its record does not overshoot."""
    models = ModelsConfig.model_validate(
        {
            "models": {"m": {"cost_per_1m_tokens": {"input": 1, "output": 1}, "service_tiers": {"priority": 2}}},
            "bundled_prices": False,
        }
    )
    call = {"agent_name": "a", "model_name": "m", "prompt_tokens": 1000}
    with TelemetryLogger(db, policies=policies(default=1), models=models) as logger:
        for tier, held in ((None, 0.002), ("priority", 0.004)):
            with logger.invocation(**call, service_tier=tier, budget=True, max_tokens=1000) as block:
                assert spent_reserved_unknown(db)[1] == held
                block.record_usage(completion_tokens=1000)
        own = logger.budgets.reserve(**call, service_tier="priority", max_tokens=1000)
        assert own.usd == Decimal("0.004")
        own.release()
    assert spent_reserved_unknown(db) == (0.006, 0, 0)


def test_a_dear_call_needs_a_justification_which_is_kept(db: Path) -> None:
    """With the hold, for whoever looks at it."""
    limited = policies(default={"daily_budget_usd": 100, "require_justification_over_usd": 5})
    with TelemetryLogger(db, policies=limited) as logger:
        logger.budgets.reserve(usd=5)
        with pytest.raises(JustificationNeededError, match=r"\$5\.01 is above \$5"):
            logger.budgets.reserve(usd=5.01)
        logger.budgets.reserve(usd=5.01, justification="the yearly report")
        assert [row["justification"] for row in logger.budgets.holds()] == [None, "the yearly report"]


def test_a_justification_is_kept_without_secrets_and_not_at_any_length(db: Path) -> None:
    """It is text of a user's, as an error message is; what is no text is refused by name."""
    key = "sk-ant-api03-" + "A1b2" * 20
    with TelemetryLogger(db, policies=policies(default=100)) as logger:
        logger.budgets.reserve(usd=1, justification=f"with {key}")
        logger.budgets.reserve(usd=1, justification="x" * 10_000_000)
        for wrong in (7, b"because"):
            with pytest.raises(QueryError, match="justification"):
                logger.budgets.reserve(usd=1, justification=wrong)  # type: ignore[arg-type]
        said = [row["justification"] or "" for row in logger.budgets.holds()]
    assert len(said) == 2
    assert key not in said[0]
    assert said[0].startswith("with ")
    assert len(said[1]) <= 500
    assert key.encode() not in b"".join(file.read_bytes() for file in db.parent.iterdir())


def test_nothing_is_reserved_in_a_closed_logger_and_a_hold_can_still_be_settled(db: Path) -> None:
    """The call was made: its record is stored, and no connection or thread stays."""
    logger = TelemetryLogger(db, policies=policies(default=1))
    hold, other = logger.budgets.reserve(usd=0.4), logger.budgets.reserve(usd=0.1)
    logger.close()
    with pytest.raises(StoreError, match="the logger is closed"):
        logger.budgets.reserve(usd=0.1)
    assert hold.settle(record()) is True
    other.release()
    assert engine_of(logger).executor.session.is_open is False
    assert spent_reserved_unknown(db) == (0.25, 0, 0)
    assert logger.stats().ledger.balanced


@pytest.mark.parametrize("options", [{"enabled": False}, {"privacy_level": "none"}])
def test_a_logger_that_stores_nothing_reserves_nothing(db: Path, options: dict[str, Any]) -> None:
    """Every call works; a private one is told that it cannot keep limits."""
    limited = policies(default=1)
    if "privacy_level" in options:
        with pytest.raises(SettingsError, match="budgets are kept in the file"):
            TelemetryLogger(db, policies=limited, **options)
        with TelemetryLogger(db, **options) as logger, pytest.raises(SettingsError, match="no limit in force"):
            logger.budgets.reserve(usd=1)
        return
    with TelemetryLogger(db, policies=limited, **options) as logger:
        hold = logger.budgets.reserve(usd=1000)
        assert hold.settle(record()) is False
        logger.budgets.reserve(usd=1).release()
        logger.budgets.reserve(usd=1).give_up()
        logger.budgets.expire()
        assert logger.budgets.release("x") is False
        assert logger.budgets.holds() == []
    assert not db.exists()


def test_a_logger_without_policies_reserves_nothing(db: Path) -> None:
    """It would keep no limit; what others hold it can see."""
    given = policies(all={"scope": {"agent": "*"}, "daily_budget_usd": 1})
    with TelemetryLogger(db) as free, TelemetryLogger(db, policies=given) as strict:
        with pytest.raises(SettingsError, match="there is no limit in force"):
            free.budgets.reserve(usd=5)
        strict.budgets.reserve(usd=1)
        assert [row["usd"] for row in free.budgets.holds()] == [1]


def test_names_of_more_calls_than_are_remembered_are_still_right(
    logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is remembered of them is bounded."""
    monkeypatch.setattr("llm_service.telemetry.client.reservation_plans._MOST_CALLS", 2)
    for number in range(5):
        logger.budgets.reserve(usd=0.1, agent_name=f"a{number}", user_id="u").settle(record(0.1, user_id="v"))
    assert sorted(row["subject"] for row in logger.budgets.status() if row["budget"] == "agents") == [
        [f"a{number}"] for number in range(5)
    ]
    assert {row["user_id"] for row in logger.get_invocations()} == {"v"}


def test_a_record_and_further_work_share_a_request(logger: TelemetryLogger, db: Path) -> None:
    """What became of the work is the outcome."""
    hold = logger.budgets.reserve(usd=0.1)
    request = Request(EndHold(hold.hold_id, Amounts()), record(), deadline=time.monotonic() + 10)
    assert run(core_of(logger.budgets).serve(request)) is True
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_connection_that_is_leaked_is_not_closed(logger: TelemetryLogger, db: Path) -> None:
    """As in a forked child, which must not touch its parent's."""
    teller = engine_of(logger).executor
    teller.leak()  # there is none yet
    logger.budgets.reserve(usd=0.1)
    connection = teller.session.connection.opened()
    teller.leak()
    assert connection.execute("SELECT 1").fetchone() == (1,)
    assert spent_reserved_unknown(db) == (0, 0.1, 0)


def test_reconciling_a_call_whose_record_is_gone_counts_its_cost_and_no_call(logger: TelemetryLogger, db: Path) -> None:
    """Retention has deleted it, which had counted the call."""
    logger.budgets.reserve(usd=0.4).settle(record(None, invocation_id="gone"))
    with closing(sqlite3.connect(db)) as connection:
        connection.execute("DELETE FROM invocations")
        connection.commit()
    (before,) = [row for row in logger.budgets.status() if (row["metric"], row["window"]) == ("usd", "day")]
    assert logger.budgets.reconcile("gone", 0.2) is True
    (after,) = [row for row in logger.budgets.status() if (row["metric"], row["window"]) == ("usd", "day")]
    assert (before["calls"], before["spent"], before["unknown"]) == (1, 0, 0.4)
    assert (after["calls"], after["spent"], after["unknown"]) == (1, 0.2, 0)
    assert logger.budgets.release("gone") is False


# Together in a transaction


def serve(logger: TelemetryLogger, *requests: Request) -> None:
    """Have requests share a transaction, as those do that come at the same time."""
    engine_of(logger).executor._serve(list(requests))


def ask(logger: TelemetryLogger, usd: float, **names: Any) -> ReservationPlan:
    """What a reservation asks for."""
    from llm_service.telemetry.client.reservation_requests import ReservationRequest

    return core_of(logger.budgets).plan(ReservationRequest(usd=usd, **names))


def test_of_requests_that_share_a_transaction_one_that_is_refused_harms_no_other(
    logger: TelemetryLogger, db: Path
) -> None:
    """Those that settle go first, and make room for the others."""
    hold = logger.budgets.reserve(usd=0.9)
    asks = [ask(logger, usd) for usd in (0.5, 0.6, 0.3)]
    reserving = [core_of(logger.budgets).request(one) for one in asks]
    settling = core_of(hold).settling(record(0.1))
    assert settling is not None
    requests = [*[one for one in reserving if one is not None], settling]
    serve(logger, *requests)
    assert [type(one.error) for one in requests] == [type(None), BudgetExceeded, type(None), type(None)]
    assert all(one.done for one in requests)
    assert spent_reserved_unknown(db) == (pytest.approx(0.1), pytest.approx(0.8), 0)


class Ghost:
    """A connection of the teller's that fails at a statement so often, before or after it has run."""

    def __init__(self, real: Any, statement: str, *, after: bool, times: int = 1) -> None:
        self._real, self._statement, self._after, self.left = real, statement, after, times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def execute(self, sql: str, *parameters: Any) -> Any:
        """Run, or fail where told to."""
        fails = self.left > 0 and sql.lstrip().startswith(self._statement)
        if fails and not self._after:
            self.left -= 1
            raise sqlite3.OperationalError("disk I/O error")
        result = self._real.execute(sql, *parameters)
        if fails:
            self.left -= 1
            raise sqlite3.OperationalError("disk I/O error")
        return result


@pytest.fixture
def flaky(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Ghost]]:
    """Make the teller's connections fail from now on; all of them share the count."""

    def start(logger: TelemetryLogger, statement: str, *, after: bool, times: int = 1) -> list[Ghost]:
        made: list[Ghost] = []
        real = stores.open_for_writing

        def opened(*arguments: Any) -> Any:
            ghost = Ghost(real(*arguments), statement, after=after, times=times - sum(times - g.left for g in made))
            made.append(ghost)
            return ghost

        monkeypatch.setattr(stores, "open_for_writing", opened)
        with engine_of(logger).commit_lock:
            engine_of(logger).executor.let_go()
        return made

    return start


@pytest.mark.parametrize("after", [True, False])
def test_a_commit_that_failed_is_done_again_exactly_once(
    logger: TelemetryLogger, db: Path, flaky: Callable[..., list[Ghost]], after: bool
) -> None:
    """Also where it failed and is on disk: reserve, settle, release and give up."""
    for work in ("reserve", "settle", "release", "give_up"):
        hold = logger.budgets.reserve(usd=0.1) if work != "reserve" else None
        made = flaky(logger, "COMMIT", after=after)
        if hold is None:
            logger.budgets.reserve(usd=0.2)
        elif work == "settle":
            assert hold.settle(record(0.05)) is True
        else:
            getattr(hold, work)()
        assert sum(ghost.left for ghost in made[:1]) == 0  # it did fail
        check_books(db)
    assert spent_reserved_unknown(db) == (0.05, 0.2, 0.1)


@pytest.mark.parametrize(
    "statement",
    ["BEGIN", "INSERT INTO budget_windows", "\nINSERT INTO budget_holds", "INSERT INTO budget_holds", "SELECT hold_id"],
)
def test_a_statement_that_failed_leaves_nothing_of_its_transaction(
    logger: TelemetryLogger, db: Path, flaky: Callable[..., list[Ghost]], statement: str
) -> None:
    """The next try does it all."""
    flaky(logger, statement.strip(), after=False, times=2)
    hold = logger.budgets.reserve(usd=0.4)
    assert hold.settle(record()) is True
    assert spent_reserved_unknown(db) == (0.25, 0, 0)


def test_a_file_that_stays_locked_refuses_a_reservation_in_time_and_nothing_is_reserved(
    logger: TelemetryLogger, db: Path
) -> None:
    """The caller learns of it; nobody waits for ever."""
    logger.budgets.reserve(usd=0.1)
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for refused in (
            lambda: logger.budgets.reserve(usd=0.2),
            lambda: logger.budgets.release("x"),
            logger.budgets.expire,
        ):
            with pytest.raises(CommitTimeoutError, match="did not answer about budgets in time"):
                refused()
        other.execute("COMMIT")
    logger.budgets.expire()
    assert spent_reserved_unknown(db) == (0, 0.1, 0)


def test_a_settlement_that_is_late_is_queued_and_ends_its_hold_when_it_is_written(
    logger: TelemetryLogger, db: Path
) -> None:
    """Under the record's own id, too."""
    hold = logger.budgets.reserve(usd=0.4)
    other_hold = logger.budgets.reserve(usd=0.4)
    with closing(sqlite3.connect(db, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(CommitTimeoutError):
            hold.settle(record(0.25, invocation_id="mine"))
        with pytest.raises(CommitTimeoutError):
            other_hold.release()
        assert logger.stats().ledger.pending == 1
        other.execute("COMMIT")
    assert logger.flush().written == 1
    assert spent_reserved_unknown(db) == (0.25, 0.4, 0)  # what was not released in time expires
    assert engine_of(logger).store.hold_ids == {}


def test_a_full_disk_is_an_error_in_time_as_well(logger: TelemetryLogger, db: Path) -> None:
    """And the file is not thrown away for it."""
    logger.budgets.reserve(usd=0.1)
    assert engine_of(logger).executor.session.is_open
    real = stores.open_for_writing

    def small(*arguments: Any) -> Any:
        opened = real(*arguments)
        opened.execute("PRAGMA max_page_count = 1")
        return opened

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stores, "open_for_writing", small)
        with engine_of(logger).commit_lock:
            engine_of(logger).executor.let_go()
        names = ("x" * 150 + str(number) for number in range(10_000))
        with pytest.raises(CommitTimeoutError, match="full"):
            list(map(lambda name: logger.budgets.reserve(usd=0, agent_name=name), names))  # noqa: C417 - until it raises
    with engine_of(logger).commit_lock:
        engine_of(logger).executor.let_go()
    logger.budgets.release("x")
    check_books(db)


def test_a_file_that_is_another_programs_refuses_at_once(db: Path) -> None:
    """No retry would help: the error says why, and the record is counted as lost."""
    logger = TelemetryLogger(db, policies=policies(default=1), commit_timeout=60)
    hold = logger.budgets.reserve(usd=0.1)
    with engine_of(logger).commit_lock:
        engine_of(logger).executor.let_go()
    with pytest.MonkeyPatch.context() as patch:

        def refuse(*_: Any) -> Any:
            raise ForeignDatabaseError("belongs to another program", db)

        patch.setattr(stores, "open_for_writing", refuse)
        with pytest.raises(ForeignDatabaseError):
            logger.budgets.reserve(usd=0.1)
        with pytest.raises(ForeignDatabaseError):
            hold.settle(record())
        assert isinstance(engine_of(logger).executor.last_error, ForeignDatabaseError)
    logger.close()
    assert logger.stats().ledger.balanced
    assert spent_reserved_unknown(db) == (0.25, 0, 0)  # the queue wrote it, through a connection of its own


def test_a_bug_is_told_and_not_tried_for_ever(logger: TelemetryLogger) -> None:
    """As a `StoreError` that names its cause."""

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("oops")

    request = Request(EndHold("x"), deadline=time.monotonic() + 60)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(HoldKeeper, "end", broken)
        with pytest.raises(StoreError, match="cannot be used: oops") as caught:
            run(core_of(logger.budgets).serve(request))
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    logger.budgets.reserve(usd=0.1)


def test_a_failure_on_opening_closes_what_was_opened(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request opens it again."""
    with engine_of(logger).commit_lock:
        engine_of(logger).executor.let_go()
    real, failures = HoldKeeper.register, [sqlite3.OperationalError("database is locked")]

    def register(self: HoldKeeper, *arguments: Any) -> None:
        if failures:
            raise failures.pop()
        real(self, *arguments)

    monkeypatch.setattr(HoldKeeper, "register", register)
    logger.budgets.reserve(usd=0.1)
    assert not failures


def test_a_file_that_is_replaced_is_reserved_in_anew(logger: TelemetryLogger, db: Path) -> None:
    """What went into the old one does not count in the new one: limits forget."""
    logger.budgets.reserve(usd=0.9)
    for suffix in ("", "-wal", "-shm"):
        db.with_name(db.name + suffix).rename(db.with_name(f"old.db{suffix}"))
    hold = logger.budgets.reserve(usd=0.8)
    assert hold.settle(record()) is True
    logger.log_invocation(record(0.5))
    assert spent_reserved_unknown(db) == (0.75, 0, 0)


# A keeper by itself


def test_a_reservation_that_is_on_disk_is_not_made_again(db: Path) -> None:
    """Its places are found."""
    limited = Policies(compiled(policies(default=1)))
    with TelemetryLogger(db, policies=policies(default=1)):
        pass
    from llm_service.telemetry.stores.sqlite.opening import open_for_writing

    with closing(open_for_writing(db, 0)) as connection:
        book = BudgetBook()
        keeper, writer = HoldKeeper(book), SqliteBatchWriter("w", "metadata", book=book)
        now = record().card[1]
        asked = ReservationPlan("h", Call(), Amounts(USD // 2, 0, 1), limited.applying(Call()), now, 10)
        seen: list[Any] = []
        for again in (False, True, True):
            writer.transact(connection, lambda again=again: seen.append(keeper.reserve(connection, asked, again=again)))  # type: ignore[misc]
        assert seen[0] == seen[1] == seen[2] != ()
        asked_again = ReservationPlan("i", Call(), Amounts(USD // 2, 0, 1), limited.applying(Call()), now, 10)
        writer.transact(connection, lambda: seen.append(keeper.reserve(connection, asked_again, again=True)))
        assert [one.fits for one in keeper.standings(asked)] == [False]
    assert spent_reserved_unknown(db) == (0, 1, 0)
