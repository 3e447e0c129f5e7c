"""Limits hold among processes, tasks, loops and forks, however they end; and waiting for them never blocks a loop."""

import asyncio
import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of
from tests.model.ledger import check_books, holds, policies, totals
from tests.slices import quick

from llm_service.config.schemas import ModelsConfig
from llm_service.errors import BudgetExceeded, CommitTimeoutError, RecordQuarantinedError, StoreError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.client.budgeted_call import AsyncBudgetedInvocation, BudgetedInvocation
from llm_service.telemetry.instrumentation.invocation import Invocation
from llm_service.telemetry.record.record import CARD_FIELDS, _restore

USD = 1_000_000_000
LIMITED = policies(
    default={"total_budget_usd": 10, "lease": 1},
    agents={"scope": {"agent": "a*"}, "per": "agent", "total_budget_usd": 4, "lease": 1},
)
FOUR = {"scope": {"agent": "a*"}, "total_budget_usd": 0.6, "lease": 1}


def spent(path: Path) -> tuple[float, float, float]:
    """USD spent, reserved and unknown of the first counter; the books are checked."""
    check_books(path)
    with closing(sqlite3.connect(path)) as connection:
        sums = "sum(spent_nanos), sum(reserved_nanos), sum(unknown_nanos)"
        row = connection.execute(f"SELECT {sums} FROM budget_windows WHERE counter_id = 1").fetchone()
    return tuple((number or 0) / USD for number in row)  # type: ignore[return-value]


def record(cost: float | None = 0.25, **fields: Any) -> InvocationRecord:
    """A record of an agent."""
    return InvocationRecord(cost_usd=cost, **fields)


@contextmanager
def busy(logger: Any) -> Iterator[None]:
    """Hold the lock under which the teller works, as a long commit of the writer does."""
    taken, done = threading.Event(), threading.Event()

    def hold() -> None:
        with engine_of(logger).commit_lock:
            taken.set()
            assert done.wait(30)

    thread = threading.Thread(target=hold)
    thread.start()
    assert taken.wait(10)
    try:
        yield
    finally:
        done.set()
        thread.join()


# A runaway loop, and a fleet


def test_a_runaway_loop_is_stopped(db: Path) -> None:
    """After exactly as many calls as the limit has room for."""
    calls = 0

    def run_away(logger: TelemetryLogger) -> None:
        nonlocal calls
        while True:
            with logger.budgets.reserve(usd=0.5, agent_name="b") as hold:
                calls += 1
                hold.settle(record(0.5))

    with TelemetryLogger(db, policies=LIMITED) as logger, pytest.raises(BudgetExceeded):
        run_away(logger)
    assert calls == 20
    assert spent(db) == (10, 0, 0)


FLEET = """
import os, random
from llm_service.errors import BudgetExceeded
from llm_service.telemetry import AsyncTelemetryLogger
draw, said, dies = random.Random(int(sys.argv[3])), [], int(sys.argv[3]) < 3
async def spend(logger):
    refused = 0
    while refused < 3:
        names = {"agent_name": draw.choice(["a1", "a2", "b"]), "tool_name": draw.choice(["t", None])}
        most = draw.choice([0.001, 0.005, 0.01])
        try:
            async with logger.budgets.reserve(usd=most, **names) as hold:
                if not said:
                    said.append(print("spends", flush=True))
                if dies:
                    await asyncio.sleep(60)
                await asyncio.sleep(draw.choice([0, 0, 0.001]))
                way = draw.random()
                if way < 0.8:
                    await hold.settle(InvocationRecord(**names, cost_usd=most * draw.random()))
                elif way < 0.9:
                    await hold.release()
                elif way < 0.95:
                    await hold.settle(InvocationRecord(**names))
        except BudgetExceeded:
            refused += 1
async def main():
    async with AsyncTelemetryLogger(PATH, policies=sys.argv[2], flush_interval=0.02) as logger:
        while not (dies or os.path.exists(PATH + ".go")):
            await asyncio.sleep(0.005)
        await asyncio.gather(*(spend(logger) for _ in range(6)))
asyncio.run(main())
"""


@pytest.mark.volume
def test_a_fleet_whose_processes_are_killed_overshoots_by_nothing_and_leaves_nothing_held(
    db: Path, tmp_path: Path, start_script: Callable[..., Any], expect_line: Callable[..., None],
    eventually: Callable[..., None],
) -> None:  # fmt: skip
    """Eight processes of six tasks; three are killed with holds in their hands, and others take their place."""
    limits = {
        "policies": {
            "all": {"scope": {"agent": "*"}, "total_budget_usd": 1.0, "lease": 1},
            "as": FOUR,
            "each": {"scope": {"agent": "*"}, "per": "agent", "daily_budget_usd": 0.4, "lease": 1},
            "tool": {"scope": {"tool": "t"}, "limits": [{"window": "24h", "usd": 0.5}], "lease": 1},
        }
    }
    (tmp_path / "policies.yaml").write_text(json.dumps(limits))  # JSON is YAML
    TelemetryLogger(db, policies=tmp_path / "policies.yaml").close()
    flags = ("-W", "error")
    fleet = [start_script(FLEET, db, tmp_path / "policies.yaml", seed, flags=flags) for seed in range(8)]
    for victim in range(3):
        expect_line(fleet[victim], "spends")
    db.with_name(f"{db.name}.go").touch()
    for victim in range(3):
        fleet[victim].kill()
        fleet.append(start_script(FLEET, db, tmp_path / "policies.yaml", 8 + victim, flags=flags))
    for process in fleet:
        process.wait(timeout=90)
    assert [process.returncode for process in fleet[3:]] == [0] * 8
    with TelemetryLogger(db, policies=tmp_path / "policies.yaml") as logger:

        def nothing_is_held() -> bool:
            logger.budgets.expire()
            return not any(hold["state"] == "held" for hold in logger.budgets.holds())

        eventually(nothing_is_held, 20)
        status = logger.budgets.status()
    check_books(db)
    assert {row["budget"] for row in status} == {"all", "as", "each", "tool"}
    for row in status:
        assert row["reserved"] == 0
        assert row["spent"] + row["unknown"] <= row["limit"] + 1e-12, row
    everything = next(row for row in status if row["budget"] == "all")
    assert everything["used_percent"] > 50  # it was worth limiting


# The loop


@pytest.mark.slow
async def test_a_loop_goes_on_while_another_process_holds_the_file(
    db: Path, start_script: Callable[..., Any], expect_line: Callable[..., None], tell: Callable[..., None]
) -> None:
    """Counted in its turns: were it blocked, nobody could let go of the file."""
    code = """
import sqlite3
connection = sqlite3.connect(PATH, isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.readline()
connection.execute("COMMIT")
print("done", flush=True)
"""
    async with AsyncTelemetryLogger(db, policies=LIMITED, commit_timeout=60) as logger:
        settled = await logger.budgets.reserve(usd=0.5)
        locker = start_script(code, db)
        expect_line(locker, "locked")
        waiting = [
            asyncio.ensure_future(logger.budgets.reserve(usd=0.5)._reserve()),
            asyncio.ensure_future(settled.settle(record())),
            asyncio.ensure_future(logger.budgets.release("x")),
            asyncio.ensure_future(logger.budgets.expire()),
        ]
        for _ in range(5000):
            await asyncio.sleep(0)
        assert not any(task.done() for task in waiting)
        tell(locker)
        hold, stored, *_ = await asyncio.gather(*waiting)
        assert stored is True
        await hold.release()
        expect_line(locker, "done")
    assert spent(db) == (0.25, 0, 0)


async def test_a_file_that_stays_locked_ends_the_wait_in_time(db: Path) -> None:
    """On the async face, too; a record that was to be settled is written later, and ends its hold."""
    async with AsyncTelemetryLogger(db, policies=LIMITED, commit_timeout=0.3) as logger:
        hold = await logger.budgets.reserve(usd=0.5)
        with closing(sqlite3.connect(db, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CommitTimeoutError):
                await logger.budgets.reserve(usd=0.5)
            with pytest.raises(CommitTimeoutError):
                await hold.settle(record())
            other.execute("COMMIT")
        assert (await logger.flush(10)).complete
        assert logger.stats().ledger.balanced
    assert spent(db) == (0.25, 0, 0)


# Cancellation


WAYS = ("reserve", "settle", "release", "give_up", "block", "invocation")


async def use(logger: AsyncTelemetryLogger, way: str, hold: Any) -> None:
    """One of the ways to wait for a budget."""
    if way == "reserve":
        (await logger.budgets.reserve(usd=0.5)).settle_soon(record())
    elif way == "settle":
        await hold.settle(record())
    elif way in {"release", "give_up"}:
        await getattr(hold, way)()
    elif way == "block":
        async with logger.budgets.reserve(usd=0.5) as own:
            await own.settle(record())
    else:
        async with logger.invocation("x", budget=0.5) as call:
            call.record_usage(cost_usd=0.25)


@pytest.mark.parametrize("way", WAYS)
async def test_a_wait_that_is_cancelled_leaves_nothing_reserved_and_loses_no_record(db: Path, way: str) -> None:
    """While the file is busy: what was asked for is done or undone, nobody else waits for it."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        hold = await logger.budgets.reserve(usd=0.5)
        with busy(logger):
            task = asyncio.create_task(use(logger, way, hold))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not task.done()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await logger.budgets.expire()  # after everything that was given before
    found = spent(db)
    expected = {"settle": (0.25, 0, 0), "release": (0, 0, 0), "give_up": (0, 0, 0.5)}
    assert found == expected.get(way, (0, 0.5, 0))  # else only the hold of before is open
    assert logger.stats().ledger.balanced


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("turns", [*range(12), 20, 50, 100])
async def test_a_cancellation_at_any_turn_of_the_loop_keeps_the_books(db: Path, way: str, turns: int) -> None:
    """Whether it came before, within or after each wait."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        hold = await logger.budgets.reserve(usd=0.5)
        tasks = [asyncio.create_task(use(logger, way, hold)) for _ in range(2)]
        for _ in range(turns):
            await asyncio.sleep(0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not hold.ended:
            await hold.release()
        await logger.budgets.expire()
        await logger.flush()
    _, reserved, unknown = spent(db)
    assert reserved == 0
    assert unknown in ({0, 0.5, 1} if way in {"block", "invocation", "give_up"} else {0})


async def test_a_block_that_is_cancelled_within_is_settled_or_unknown(db: Path) -> None:
    """`invocation` has a record of what is known; a bare hold is of unknown outcome."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        entered = asyncio.Event()

        async def bare() -> None:
            async with logger.budgets.reserve(usd=0.5):
                entered.set()
                await asyncio.Event().wait()

        async def timed() -> None:
            async with logger.invocation("x", budget=0.25):
                entered.set()
                await asyncio.Event().wait()

        for call in (bare, timed):
            entered.clear()
            task = asyncio.create_task(call())
            await entered.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        await logger.budgets.expire()
        (row,) = await logger.get_invocations()
    assert (row["error_type"], row["cost_usd"]) == ("cancelled", None)
    assert spent(db) == (0, 0, 0.75)
    assert sorted(hold[2:] for hold in holds(db)) == [(USD // 4, 0, 0), (USD // 2, 0, 1)]


# Closing


async def test_a_settlement_that_waits_while_the_logger_closes_is_stored(db: Path) -> None:
    """Its waiter is told, and the close ends."""
    logger = AsyncTelemetryLogger(db, policies=LIMITED)
    hold = await logger.budgets.reserve(usd=0.5)
    thread = engine_of(logger).executor.thread
    assert thread is not None
    with busy(logger):
        settling = asyncio.create_task(hold.settle(record()))
        await asyncio.sleep(0)
        closing_task = asyncio.create_task(logger.aclose())
        for _ in range(20):
            await asyncio.sleep(0)
    assert await settling is True
    await closing_task
    thread.join(10)
    assert spent(db) == (0.25, 0, 0)
    assert engine_of(logger).executor.session.is_open is False


async def test_settlements_that_come_during_and_after_a_close_are_stored(db: Path) -> None:
    """Nobody waits for ever, and no connection stays."""
    logger = AsyncTelemetryLogger(db, policies=LIMITED)
    kept = [await logger.budgets.reserve(usd=0.01) for _ in range(60)]
    tasks = [asyncio.create_task(hold.settle(record(0.01))) for hold in kept[:40]]
    await asyncio.gather(logger.aclose(), *tasks)
    for hold in kept[40:]:
        assert await hold.settle(record(0.01)) is True
    with pytest.raises(StoreError, match="the logger is closed"):
        await logger.budgets.reserve(usd=0.01)
    thread = engine_of(logger).executor.thread
    if thread is not None:
        thread.join(10)
    assert engine_of(logger).executor.session.is_open is False
    assert spent(db) == (pytest.approx(0.6), 0, 0)
    assert logger.stats().ledger.balanced


async def test_what_is_asked_for_while_the_thread_ends_is_served(db: Path) -> None:
    """And more at once than one transaction takes."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        held = [await logger.budgets.reserve(usd=0.01) for _ in range(70)]
        teller = engine_of(logger).executor
        with busy(logger):
            tasks = [asyncio.create_task(held[0].settle(record(0.01)))]
            await asyncio.sleep(0)
            teller._queue.put(None)  # as a close does
            tasks += [asyncio.create_task(hold.settle(record(0.01))) for hold in held[1:]]
            await asyncio.sleep(0)
        assert all(await asyncio.gather(*tasks))
        first = teller.thread
        teller._queue.put(None)
        if first is not None:
            first.join(10)
        await logger.budgets.reserve(usd=0.01)
        assert teller.thread is not first
    assert spent(db)[0] == pytest.approx(0.7)


async def test_thresholds_that_must_wait_do_not_hold_up_those_who_reserve(db: Path) -> None:
    """The writer is busy, or the file has been let go of: they are told after the next transaction."""
    told: list[Any] = []
    async with AsyncTelemetryLogger(db, policies=policies(default=1), on_budget=told.append) as logger:
        teller = engine_of(logger).executor
        hold = await logger.budgets.reserve(usd=1)
        with busy(logger):
            await asyncio.to_thread(teller._look_back)
        with engine_of(logger).commit_lock:
            teller.let_go()
        teller._look_back()
        assert told == []
        await hold.settle(record(1))
    assert [event.threshold_percent for event in told] == [80, 100]


async def test_a_reservation_without_an_amount_takes_what_is_estimated(db: Path) -> None:
    """The upper bound where price, prompt and limit of the answer are known; tokens, where a limit counts them."""
    models = ModelsConfig.model_validate(
        {
            "models": {
                "m-1": {"cost_per_1m_tokens": {"input": 1000, "output": 2000}, "service_tiers": {"batch": 0.5}},
            },
            "bundled_prices": False,
        }
    )
    limited = policies(default={"daily_budget_usd": 100, "limits": [{"window": "day", "tokens": 10_000}]})
    asked: dict[str, Any] = {"model_name": "m-1", "prompt_tokens": 1000, "max_tokens": 500}
    async with AsyncTelemetryLogger(db, models=models, policies=limited) as logger:
        hold = await logger.budgets.reserve(**asked)
        assert (float(hold.usd), hold.tokens) == (2.0, 1500)
        batch = await logger.budgets.reserve(**asked, service_tier="batch")
        assert float(batch.usd) == 1.0
        await batch.release()
        assert all(row["fits"] for row in await logger.budgets.check(1, model_name="m-1"))
    with TelemetryLogger(db, models=models, policies=limited) as sync:
        own = sync.budgets.reserve(**asked)
        assert (own.usd, own.tokens) == (hold.usd, hold.tokens)
        assert {row["metric"]: row["reserved"] for row in sync.budgets.status()} == {"usd": 4.0, "tokens": 3000}


# Loops, threads, forks


def test_two_loops_share_a_logger(db: Path) -> None:
    """Each waits on its own loop; one may end before the other."""
    logger = AsyncTelemetryLogger(db, policies=LIMITED)

    async def spend(count: int) -> None:
        for _ in range(count):
            async with logger.budgets.reserve(usd=0.01) as hold:
                await hold.settle(record(0.01))

    threads = [threading.Thread(target=asyncio.run, args=(spend(count),)) for count in (5, 40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    asyncio.run(spend(5))
    asyncio.run(_close(logger))
    assert spent(db) == (pytest.approx(0.5), 0, 0)


async def _close(logger: AsyncTelemetryLogger) -> None:
    await logger.aclose()


def test_a_loop_that_is_closed_while_a_request_waits_harms_nobody(db: Path) -> None:
    """The request is served all the same; its waiter is gone."""
    logger = AsyncTelemetryLogger(db, policies=LIMITED)

    async def begin() -> Any:
        return await logger.budgets.reserve(usd=0.5)

    hold = asyncio.run(begin())
    with busy(logger):

        async def walk_away() -> None:
            task = asyncio.ensure_future(hold.settle(record()))
            await asyncio.sleep(0)
            task.cancel()

        asyncio.run(walk_away())
    asyncio.run(_close(logger))
    assert spent(db) == (0.25, 0, 0)


def test_threads_of_the_sync_face_share_a_limit(db: Path) -> None:
    """Exactly as many calls as there is room for."""
    made: list[int] = []
    with TelemetryLogger(db, policies=LIMITED) as logger:

        def spend() -> None:
            try:
                while True:
                    logger.budgets.reserve(usd=0.25, agent_name="b").settle(record(0.25))
                    made.append(1)
            except BudgetExceeded:
                return

        threads = [threading.Thread(target=spend) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert len(made) == 40
    assert spent(db) == (10, 0, 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.parametrize("who", quick(["parent", "child", "both", "nobody"], 0))
def test_a_fork_between_reservation_and_settlement_ends_the_hold_once(
    db: Path, run_script: Callable[..., Any], who: str
) -> None:
    """Whoever settles; each can go on reserving, with a connection of its own."""
    code = """
from llm_service.config.schemas import PoliciesConfig
limited = PoliciesConfig.model_validate({"policies": {"default": {"total_budget_usd": 10, "lease": 100}}})
logger = TelemetryLogger(PATH, policies=limited)
hold = logger.budgets.reserve(usd=0.5)
child = os.fork()
me = "parent" if child else "child"
if sys.argv[2] in (me, "both"):
    assert hold.settle(record(cost_usd=0.25)) is True
own = logger.budgets.reserve(usd=0.5)
assert own.settle(record(cost_usd=0.125)) is True
if child:
    assert os.waitpid(child, 0)[1] == 0
logger.close()
if not child:
    os._exit(0)
"""
    done = run_script(code, db, who, flags=())
    assert (done.code, done.err) == (0, "")
    times = {"nobody": 0, "both": 2}.get(who, 1)
    assert spent(db) == (0.25 + 0.25 * times, 0 if times else 0.5, 0)


# The async face's other questions


async def test_the_async_face_answers_as_the_sync_one_does(db: Path) -> None:
    """Status, check, holds, release, reconcile, expire."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        one, other = [await logger.budgets.reserve(usd=2, agent_name="a1") for _ in range(2)]
        assert "usd=2" in repr(one)
        assert [hold["usd"] for hold in await logger.budgets.holds()] == [2, 2]
        checked = await logger.budgets.check(1, agent_name="a1")
        assert [(row["budget"], row["fits"]) for row in checked] == [("default", True), ("agents", False)]
        assert await logger.budgets.release(one.hold_id) is True
        assert await logger.budgets.release(one.hold_id) is False
        await other.give_up()
        assert await logger.budgets.reconcile(other.hold_id, 1.5) is True
        await logger.budgets.expire()
        status = await logger.budgets.status()
        assert [(row["budget"], row["subject"], row["spent"], row["unknown"]) for row in status] == [
            ("default", [], 1.5, 0), ("agents", ["a1"], 1.5, 0)
        ]  # fmt: skip
        assert {policy.name for policy in logger.budgets.policies} == {"default", "agents"}
    assert spent(db) == (1.5, 0, 0)


@pytest.mark.parametrize("face", [AsyncTelemetryLogger, TelemetryLogger])
async def test_the_wal_that_budgets_alone_have_made_grow_is_truncated(db: Path, face: type[Any]) -> None:
    """A foreign reader was in the way; once it is gone, an idle moment is enough."""
    wal = db.with_name(f"{db.name}-wal")
    logger = face(db, policies=LIMITED, retention_days=None)
    if isinstance(logger, AsyncTelemetryLogger):
        await logger.start()
    with closing(sqlite3.connect(db, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM budget_holds").fetchone()
        while wal.stat().st_size < 9 * 2**20:
            hold = logger.budgets.reserve(usd=0.25)
            hold = await hold if isinstance(logger, AsyncTelemetryLogger) else hold
            released = hold.release()
            if released is not None:
                await released
        reader.execute("ROLLBACK")
    for _ in range(400):
        if wal.stat().st_size == 0:
            break
        await asyncio.sleep(0.05)
    assert wal.stat().st_size == 0
    closed = logger.aclose() if isinstance(logger, AsyncTelemetryLogger) else logger.close()
    if isinstance(logger, AsyncTelemetryLogger):
        await closed


async def test_a_hold_of_the_async_face_ends_once(db: Path) -> None:
    """By whichever way came first; what was said to be free or unknown is settled by a record all the same.

    A further record is logged as any other.
    """
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        for end in ("settle", "settle_soon", "release", "give_up"):
            hold = await logger.budgets.reserve(usd=0.5)
            first = getattr(hold, end)(*([record()] if "settle" in end else []))
            if end != "settle_soon":
                await first
            assert await hold.settle(record(0.125)) is ("settle" not in end)
            hold.settle_soon(record())
            await hold.release()
            await hold.give_up()
        await logger.budgets.expire()
    assert spent(db) == (0.75 + 2 * (0.125 + 0.25) + 2 * 0.25, 0, 0)


async def test_a_logger_that_stores_nothing_waits_for_nothing(db: Path) -> None:
    """Every call works."""
    async with AsyncTelemetryLogger(db, enabled=False) as logger, logger.budgets.reserve(usd=5) as hold:
        (await logger.budgets.reserve(usd=5)).settle_soon(record())
        assert await hold.settle(record()) is False
        hold.settle_soon(record())
        await logger.budgets.expire()
        assert await logger.budgets.release("x") is False
    assert not db.exists()


# A block with a budget


def within(call: Any, end: str) -> None:
    """What happens in a block, but for the end of its hold."""
    if end in {"success", "error"}:
        call.record_usage(cost_usd=0.25)
    if end == "error":
        raise KeyError("x")


async def async_block(db: Path, end: str, **options: Any) -> None:
    """A block of the async face."""
    async with (
        AsyncTelemetryLogger(db, policies=LIMITED, **options) as logger,
        logger.invocation("b", budget=0.5) as call,
    ):
        assert isinstance(call, AsyncBudgetedInvocation)
        if end in {"release", "give_up"}:
            await getattr(call.hold, end)()
        within(call, end)


def sync_block(db: Path, end: str, **options: Any) -> None:
    """A block of the sync face."""
    with TelemetryLogger(db, policies=LIMITED, **options) as logger, logger.invocation("b", budget=0.5) as call:
        assert isinstance(call, BudgetedInvocation)
        if end in {"release", "give_up"}:
            getattr(call.hold, end)()
        within(call, end)


def run_block(face: str, db: Path, end: str, **options: Any) -> None:
    """A block of either face."""
    if face == "async":
        asyncio.run(async_block(db, end, **options))
    else:
        sync_block(db, end, **options)


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize(
    ("end", "books", "status"),
    [
        ("success", (0.25, 0, 0), "success"), ("error", (0.25, 0, 0), "error"), ("nothing", (0, 0, 0.5), "success"),
        ("release", (0, 0, 0), "success"), ("give_up", (0, 0, 0.5), "success"),
    ],
)  # fmt: skip
def test_a_block_with_a_budget_is_settled_by_its_record(
    db: Path, face: str, end: str, books: tuple[float, ...], status: str
) -> None:
    """Whatever happens in it; a hold that ended in the block stays as it was ended."""
    with pytest.raises(KeyError) if end == "error" else nullcontext():
        run_block(face, db, end)
    assert spent(db) == books
    with TelemetryLogger(db) as logger:
        assert [row["status"] for row in logger.get_invocations()] == [status]


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_block_that_does_not_fit_is_not_entered(db: Path, face: str) -> None:
    """And nothing is recorded of it."""
    with TelemetryLogger(db, policies=LIMITED) as logger:
        logger.log_invocation(record(9.75))
    with pytest.raises(BudgetExceeded):
        run_block(face, db, "success")
    assert spent(db) == (9.75, 0, 0)


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_block_whose_record_cannot_be_settled_says_so_in_the_log_or_raises(
    db: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, face: str, strict: bool
) -> None:
    """The block's own outcome counts, unless `strict`."""
    good = record()
    card = tuple(1e300 if name == "cost_usd" else value for name, value in zip(CARD_FIELDS, good.card, strict=True))
    monkeypatch.setattr(Invocation, "_build", lambda *_, **__: _restore(card, good.extensions, good.size))
    with pytest.raises(RecordQuarantinedError) if strict else nullcontext():
        run_block(face, db, "success", strict=strict)
    assert ("a call could not be settled with its budgets" in caplog.text) is not strict


@pytest.mark.parametrize("face", ["sync", "async"])
@pytest.mark.parametrize(("end", "unknown"), [("success", 0.5), ("release", 0)])
def test_a_block_whose_record_could_not_be_made_is_of_unknown_outcome(
    db: Path, monkeypatch: pytest.MonkeyPatch, face: str, end: str, unknown: float
) -> None:
    """Nothing says what the call has cost, unless its hold was ended in the block."""
    monkeypatch.setattr(Invocation, "_build", lambda *_, **__: None)
    run_block(face, db, end)
    assert spent(db) == (0, 0, unknown)


async def test_a_block_with_a_budget_is_entered_as_its_face_waits(db: Path) -> None:
    """The other way would block the loop, or wait for nothing."""
    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        with pytest.raises(TypeError, match="async with"), logger.invocation("b", budget=0.5):
            pass
    with TelemetryLogger(db, policies=LIMITED) as sync, pytest.raises(TypeError, match="AsyncTelemetryLogger"):
        async with sync.invocation("b", budget=0.5):
            pass
    assert totals(db) == {}
