"""Both faces on a real file: poison, privacy, questions while closed, and records made by many at once."""

import asyncio
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, RecordQuarantinedError, TelemetryLogger

Record = Callable[..., InvocationRecord]


def refuse(path: Path, agent: str) -> None:
    """Have SQLite refuse the records of one agent, as a constraint of the user's own may."""
    connection = sqlite3.connect(path)
    connection.execute(
        f"CREATE TRIGGER refuse BEFORE INSERT ON invocations WHEN NEW.agent_name = '{agent}' "
        "BEGIN SELECT RAISE(ABORT, 'poison'); END"
    )
    connection.commit()
    connection.close()


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_a_poison_record_is_set_aside_and_its_neighbours_commit(
    face: str, db: Path, record: Record, truth: Callable[..., Any]
) -> None:
    """It is found in `dead_letters`, counted as quarantined, and told to whoever was promised a commit."""
    with TelemetryLogger(db):
        refuse(db, "poison")
    if face == "async":
        async with AsyncTelemetryLogger(db) as telemetry:
            for number in range(300):
                telemetry.log_invocation_nowait(record("poison" if number % 100 == 50 else "good"))
            assert (await telemetry.flush()).quarantined == 3
            with pytest.raises(RecordQuarantinedError, match="dead_letters"):
                await telemetry.log_invocation(record("poison"), durable=True)
            ledger = telemetry.stats().ledger
    else:
        with TelemetryLogger(db) as logger:
            for number in range(300):
                logger.log_invocation_nowait(record("poison" if number % 100 == 50 else "good"))
            assert logger.flush().complete
            with pytest.raises(ValueError, match="dead_letters"):
                logger.log_invocation(record("poison"))
            ledger = logger.stats().ledger
    assert (ledger.submitted, ledger.written, ledger.quarantined) == (301, 297, 4)
    assert ledger.balanced
    found = truth(db)
    assert (found.agents, found.dead) == ({"good": 297}, 4)


async def test_a_hundred_durable_callers_share_transactions(db: Path, record: Record) -> None:
    """Group commit: far fewer transactions than callers."""
    async with AsyncTelemetryLogger(db) as telemetry:
        await telemetry.start()
        assert all(await asyncio.gather(*(telemetry.log_invocation(record(), durable=True) for _ in range(100))))
        assert telemetry.stats().transactions < 20


async def test_durable_and_everyday_records_keep_their_order(db: Path, truth: Callable[..., Any]) -> None:
    """The file's `id` is the order of arrival."""
    ids = [f"{number:03}" for number in range(100)]
    async with AsyncTelemetryLogger(db) as telemetry:
        for number, invocation_id in enumerate(ids):
            await telemetry.log_invocation(InvocationRecord(invocation_id), durable=number % 7 == 0)
    assert truth(db).ids == ids


async def test_a_block_waits_for_room_within_block_timeout_and_then_counts(db: Path, record: Record) -> None:
    """The everyday await gives up after `block_timeout` and returns False."""
    async with AsyncTelemetryLogger(db, queue_max_records=1, block_timeout=0.05) as telemetry:
        await telemetry.log_invocation(record(), durable=True)
        holder = sqlite3.connect(db, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert await telemetry.log_invocation(record())
        assert not await telemetry.log_invocation(record())
        async with telemetry.invocation("agent"):
            pass
        holder.execute("ROLLBACK")
        holder.close()
    ledger = telemetry.stats().ledger
    assert ledger.dropped == {"block_timeout": 2}
    assert (ledger.submitted, ledger.written) == (4, 2)


def test_content_is_stored_nowhere_at_level_metadata(db: Path, record: Record) -> None:
    """No prompt, no response, and at most 500 characters of an error message."""
    with TelemetryLogger(db) as logger:
        logger.log_invocation(
            record(prompt="PROMPT-TEXT", response="RESPONSE-TEXT", status="error", error_message="E" * 5000)
        )
        (row,) = logger.get_invocations()
        assert len(str(row["error_message"])) == 500
        assert json.dumps(row).find("-TEXT") == -1
    assert b"-TEXT" not in db.read_bytes()


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_questions_are_answered_before_any_record_and_after_the_close(
    face: str, db: Path, record: Record
) -> None:
    """An empty file answers with zeros; a closed logger still reads."""
    if face == "async":
        telemetry = AsyncTelemetryLogger(db)
        assert (await telemetry.get_statistics())["total_cost_usd"] == 0.0
        await telemetry.log_invocation(record())
        await telemetry.aclose()
        assert len(await telemetry.get_invocations()) == 1
    else:
        logger = TelemetryLogger(db)
        assert f"{logger.get_statistics()['total_cost_usd']:.2f}" == "0.00"
        logger.log_invocation_nowait(record())
        logger.close()
        assert len(logger.get_invocations()) == 1


async def test_you_read_your_own_writes(db: Path, record: Record) -> None:
    """Every question flushes first what was accepted before it; `fresh=False` does not."""
    async with AsyncTelemetryLogger(db, flush_interval=3600, batch_size=100_000) as telemetry:
        for count in range(1, 6):
            telemetry.log_invocation_nowait(record())
            assert (await telemetry.get_statistics())["total_invocations"] == 2 * count - 1
            telemetry.log_invocation_nowait(record("later"))
            assert len(await telemetry.get_invocations(agent_name="later", fresh=False)) == count - 1
            assert len(await telemetry.get_invocations(agent_name="later")) == count
    with TelemetryLogger(db, flush_interval=3600) as logger:
        logger.log_invocation_nowait(record("sync"))
        assert logger.get_daily_costs(agent_name="sync")[0]["invocations"] == 1


async def test_two_faces_write_one_file(db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """In one process and at the same time; both see all, and the aggregates equal the records."""
    with TelemetryLogger(db) as logger:
        async with AsyncTelemetryLogger(db) as telemetry:
            for _ in range(50):
                await telemetry.log_invocation(record("async"))
                await asyncio.to_thread(logger.log_invocation, record("sync"))
                await telemetry.log_invocation(record("async"), durable=True)
            assert (await telemetry.get_statistics())["total_invocations"] == 150
        assert logger.get_statistics()["total_invocations"] == 150
    assert truth(db).agents == {"async": 100, "sync": 50}


@pytest.mark.parametrize("face", ["async", "sync"])
async def test_an_id_is_stored_once(face: str, db: Path, record: Record, truth: Callable[..., Any]) -> None:
    """A repeated id is an `sqlite3.IntegrityError` where a commit was promised, and counted where none was."""
    one = record(invocation_id="the-same")
    if face == "async":
        async with AsyncTelemetryLogger(db) as telemetry:
            await telemetry.log_invocation(one, durable=True)
            with pytest.raises(sqlite3.IntegrityError, match="the-same"):
                await telemetry.log_invocation(one, durable=True)
            await telemetry.log_invocation(one)
            assert (await telemetry.flush()).duplicates == 1
        ledger = telemetry.stats().ledger
    else:
        with TelemetryLogger(db) as logger:
            logger.log_invocation(one)
            with pytest.raises(sqlite3.IntegrityError, match="the-same"):
                logger.log_invocation(one)
            logger.log_invocation_nowait(one)
        ledger = logger.stats().ledger
    assert (ledger.submitted, ledger.written, ledger.duplicates) == (3, 1, 2)
    assert ledger.balanced
    assert truth(db).rows == 1


async def test_nested_invocations_name_their_parents(db: Path) -> None:
    """Across awaits, tasks and plain `with`; siblings share a parent, and a task keeps the one it was made in."""
    async with AsyncTelemetryLogger(db) as telemetry:

        async def child(name: str) -> None:
            async with telemetry.invocation(name):
                await asyncio.sleep(0)

        async with telemetry.invocation("root"):
            await asyncio.gather(child("left"), child("right"))
            with telemetry.invocation("middle"):
                await child("leaf")
        await child("alone")
        rows = {row["agent_name"]: row for row in await telemetry.get_invocations()}
    parents = {name: row["parent_invocation_id"] for name, row in rows.items()}
    root, middle = rows["root"]["invocation_id"], rows["middle"]["invocation_id"]
    assert parents == {"root": None, "left": root, "right": root, "middle": root, "leaf": middle, "alone": None}
