"""The public behaviour of both faces: what they return, raise, count and leave alone."""

import asyncio
import contextvars
import logging
import sqlite3
import threading
import traceback
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import UUID

import pytest
from tests.inside import engine_of

from llm_service.errors import QueryError, RecordError, SettingsError
from llm_service.telemetry import (
    AsyncTelemetryLogger,
    DropReason,
    DuplicateInvocationError,
    InvocationRecord,
    RecordDroppedError,
    StoreError,
    TelemetryLogger,
    UnsupportedLoopError,
)

FACES = [TelemetryLogger, AsyncTelemetryLogger]
Face = Callable[..., Any]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """A path in a folder that does not exist yet."""
    return tmp_path / "new" / "telemetry.db"


def rows(path: Path, columns: str = "*") -> list[tuple[Any, ...]]:
    """What is stored, oldest first."""
    connection = sqlite3.connect(path)
    try:
        return connection.execute(f"SELECT {columns} FROM invocations ORDER BY id").fetchall()
    finally:
        connection.close()


async def result_of(value: Any) -> Any:
    """Await what the async face gives, take what the sync face gives."""
    return await value if asyncio.iscoroutine(value) else value


async def close(logger: Any) -> Any:
    """Close either face."""
    return await logger.aclose() if isinstance(logger, AsyncTelemetryLogger) else logger.close()


# Construction


@pytest.mark.parametrize("face", FACES)
def test_db_path_is_absolute_and_resolved_once(face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~` is expanded; a relative path is taken against the folder of that moment."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    made = [face("~/a.db", enabled=False), face("b.db", enabled=False), face(Path("c/d.db"), enabled=False)]
    monkeypatch.chdir("/")
    assert [logger.db_path for logger in made] == [
        tmp_path / "home" / "a.db",
        tmp_path / "b.db",
        tmp_path / "c" / "d.db",
    ]
    assert all(isinstance(logger.db_path, Path) for logger in made)


@pytest.mark.parametrize("face", FACES)
def test_the_default_path_is_in_the_home_folder(face: Face, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`~/.llm-service/telemetry.db`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert face(enabled=False).db_path == tmp_path / ".llm-service" / "telemetry.db"


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("path", [":memory:", "file:x.db?mode=ro", "", "a\0b", 7])
def test_a_path_that_is_no_file_is_refused_with_a_reason(face: Face, path: Any) -> None:
    """A `ValueError` that names the option."""
    with pytest.raises(SettingsError, match="db_path"):
        face(path)


@pytest.mark.parametrize("face", FACES)
def test_an_unknown_option_is_refused_with_the_known_ones(face: Face, db: Path) -> None:
    """A typo does not pass in silence."""
    with pytest.raises(TypeError, match=r"'flush_intervall'.*flush_interval"):
        face(db, flush_intervall=1)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    "option", [{"privacy_level": "some"}, {"overflow": "explode"}, {"batch_size": 0}, {"flush_interval": float("nan")}]
)
def test_a_bad_option_is_refused_by_name(face: Face, db: Path, option: dict[str, Any]) -> None:
    """A `ValueError` at construction, before anything is created."""
    with pytest.raises(ValueError, match=next(iter(option))):
        face(db, **option)
    assert not db.parent.exists()


def test_the_sync_face_makes_a_private_file_with_its_tables(db: Path) -> None:
    """Parents are created (0700), the file is 0600, and the tables are there at once."""
    with TelemetryLogger(db):
        assert rows(db) == []
    assert db.stat().st_mode & 0o777 == 0o600
    assert db.parent.stat().st_mode & 0o777 == 0o700


async def test_the_async_face_makes_the_file_on_start(db: Path) -> None:
    """Not before: constructing one touches nothing."""
    telemetry = AsyncTelemetryLogger(db)
    assert not await asyncio.to_thread(db.parent.exists)
    await telemetry.start()
    await telemetry.start()
    assert rows(db) == []
    await telemetry.aclose()


@pytest.mark.parametrize("face", FACES)
def test_repr_names_face_path_and_level(face: Face, db: Path) -> None:
    """And nothing of the records."""
    logger = face(db, enabled=False, privacy_level="full")
    assert repr(logger) == f"{face.__name__}(db_path={str(db)!r}, privacy_level='full')"  # type: ignore[attr-defined]
    assert logger.settings.privacy_level == "full"


# Logging


async def test_an_awaited_record_is_accepted_and_then_written(db: Path) -> None:
    """True at once; on disk after a flush, which counts it."""
    async with AsyncTelemetryLogger(db, flush_interval=3600) as telemetry:
        assert await telemetry.log_invocation(InvocationRecord()) is True
        assert telemetry.stats().ledger.pending == 1
        assert (await telemetry.flush()).written == 1
        assert len(rows(db)) == 1


async def test_a_durable_record_is_on_disk_when_the_await_returns(db: Path) -> None:
    """It does not wait for `flush_interval`, nor for a full batch."""
    async with AsyncTelemetryLogger(db, flush_interval=3600) as telemetry:
        assert await telemetry.log_invocation(InvocationRecord(), durable=True) is True
        assert len(rows(db)) == 1


@pytest.mark.parametrize("durable", [False, True])
def test_a_sync_record_is_on_disk_when_the_call_returns(durable: bool, db: Path) -> None:
    """Committed either way."""
    with TelemetryLogger(db, flush_interval=3600) as logger:
        assert logger.log_invocation(InvocationRecord(), durable=durable) is True
        assert len(rows(db)) == 1


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("wrong", [None, {}, "record", InvocationRecord])
async def test_anything_but_a_record_is_a_type_error(face: Face, wrong: Any, db: Path) -> None:
    """Raised to the caller, and not counted."""
    logger = face(db)
    with pytest.raises(TypeError, match="give an InvocationRecord"):
        logger.log_invocation_nowait(wrong)
    with pytest.raises(TypeError, match="give an InvocationRecord"):
        await result_of(logger.log_invocation(wrong))
    assert logger.stats().ledger.submitted == 0
    await close(logger)


@pytest.mark.parametrize("face", FACES)
async def test_a_duplicate_id_is_an_integrity_error(face: Face, db: Path) -> None:
    """Where a commit was promised; the error carries id and path."""
    logger = face(db)
    await result_of(logger.log_invocation(InvocationRecord("twice"), durable=True))
    with pytest.raises(sqlite3.IntegrityError) as caught:
        await result_of(logger.log_invocation(InvocationRecord("twice"), durable=True))
    assert isinstance(caught.value, DuplicateInvocationError)
    assert (caught.value.invocation_id, caught.value.path) == ("twice", db)
    assert logger.stats().ledger.duplicates == 1
    await close(logger)


@pytest.mark.parametrize("face", FACES)
async def test_a_record_may_ask_for_less_privacy_not_more(face: Face, db: Path) -> None:
    """`none` is not stored and gives False; `full` under `metadata` is stored as `metadata`."""
    logger = face(db)
    assert await result_of(logger.log_invocation(InvocationRecord(privacy_level="none"), durable=True)) is False
    assert await result_of(logger.log_invocation(InvocationRecord(privacy_level="full", prompt="secret"), durable=True))
    await close(logger)
    assert rows(db, "privacy_level") == [("metadata",)]
    assert b"secret" not in await asyncio.to_thread(db.read_bytes)
    assert logger.stats().ledger.dropped == {DropReason.PRIVACY: 1}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize(
    ("options", "reason"), [({"enabled": False}, "disabled"), ({"privacy_level": "none"}, "privacy")]
)
async def test_a_logger_that_stores_nothing_works_and_creates_nothing(
    face: Face, options: dict[str, Any], reason: str, db: Path
) -> None:
    """Every call returns, the ledger counts, the questions answer with zeros, and no folder is made."""
    logger = face(db, **options)
    assert logger.log_invocation_nowait(InvocationRecord()) is False
    assert await result_of(logger.log_invocation(InvocationRecord())) is False
    assert await result_of(logger.log_invocation(InvocationRecord(), durable=True)) is False
    with logger.invocation("agent") as call:
        call.record_usage(prompt_tokens=1)
    assert (await result_of(logger.flush())).complete
    assert await result_of(logger.get_daily_costs()) == []
    assert await result_of(logger.get_invocations()) == []
    assert (await result_of(logger.get_statistics()))["total_invocations"] == 0
    assert (await close(logger)).complete
    stats = logger.stats()
    assert stats.closed
    assert stats.ledger.dropped == {DropReason(reason): 4}
    assert stats.ledger.balanced
    assert not await asyncio.to_thread(db.parent.exists)


@pytest.mark.parametrize("face", FACES)
async def test_use_after_close_is_counted_and_warned_about_once(
    face: Face, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`nowait`, an everyday await and an invocation go on; only a promised commit raises."""
    logger = face(db)
    await result_of(logger.log_invocation(InvocationRecord(), durable=True))
    assert (await close(logger)).complete
    assert (await close(logger)).complete
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        assert logger.log_invocation_nowait(InvocationRecord()) is False
        with logger.invocation("agent"):
            pass
        with pytest.raises(RecordDroppedError, match="closed") as caught:
            await result_of(logger.log_invocation(InvocationRecord(), durable=True))
        engine_of(logger).announcer.finish(10.0)
    assert caught.value.reason == "closed"
    assert len(caplog.records) == 1
    assert logger.stats().ledger.dropped == {DropReason.CLOSED: 3}
    assert len(await result_of(logger.get_invocations())) == 1
    assert len(rows(db)) == 1


async def test_an_everyday_await_after_close_returns_false(db: Path) -> None:
    """Nothing was promised, so nothing is raised."""
    telemetry = AsyncTelemetryLogger(db)
    await telemetry.aclose()
    assert await telemetry.log_invocation(InvocationRecord()) is False


def test_a_full_queue_is_told_by_nowait_and_by_on_drop(db: Path) -> None:
    """Before a loop runs, so that nobody takes: False, counted by reason; the callback hears of the first, at the close of the rest; what it raises is logged."""
    heard: list[tuple[DropReason, int]] = []

    def on_drop(reason: DropReason, count: int) -> None:
        heard.append((reason, count))
        raise LookupError("a bug of the user's")

    telemetry = AsyncTelemetryLogger(db, queue_max_records=2, on_drop=on_drop)
    accepted = [telemetry.log_invocation_nowait(InvocationRecord()) for _ in range(5)]
    assert accepted == [True, True, False, False, False]
    engine_of(telemetry).announcer.finish(10.0)
    assert heard == [(DropReason.QUEUE_FULL, 1)]
    assert telemetry.stats().ledger.dropped == {DropReason.QUEUE_FULL: 3}
    asyncio.run(telemetry.aclose())
    assert heard == [(DropReason.QUEUE_FULL, 1), (DropReason.QUEUE_FULL, 2)]
    assert len(rows(db)) == 2


def test_drop_oldest_keeps_the_newest(db: Path) -> None:
    """The oldest records give way, and are counted; before a loop runs, so that nobody takes."""
    telemetry = AsyncTelemetryLogger(db, queue_max_records=2, overflow="drop_oldest", flush_interval=3600)
    for number in range(5):
        assert telemetry.log_invocation_nowait(InvocationRecord(str(number)))
    asyncio.run(telemetry.aclose())
    assert rows(db, "invocation_id") == [("3",), ("4",)]
    assert telemetry.stats().ledger.dropped == {DropReason.QUEUE_FULL: 3}


def test_an_await_outside_asyncio_is_a_clear_error(db: Path) -> None:
    """Not a bare RuntimeError about loops."""
    telemetry = AsyncTelemetryLogger(db)
    for call in (telemetry.start(), telemetry.flush(), telemetry.aclose()):
        with pytest.raises(UnsupportedLoopError, match="asyncio"):
            call.send(None)
        call.close()


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("timeout", [-1, float("nan")])
async def test_a_timeout_that_is_none_is_refused(face: Face, timeout: float, db: Path) -> None:
    """By `flush` and by the close."""
    logger = face(db)
    with pytest.raises(ValueError, match="timeout"):
        await result_of(logger.flush(timeout))
    with pytest.raises(ValueError, match="timeout"):
        await result_of((logger.aclose if face is AsyncTelemetryLogger else logger.close)(timeout))
    await close(logger)


@pytest.mark.parametrize("face", FACES)
async def test_a_question_with_bad_arguments_is_a_query_error(face: Face, db: Path) -> None:
    """Naming the argument."""
    logger = face(db)
    with pytest.raises(QueryError, match="limit"):
        await result_of(logger.get_invocations(limit=0))
    with pytest.raises(QueryError, match="days"):
        await result_of(logger.get_statistics(days=-1))
    with pytest.raises(QueryError, match="start_date"):
        await result_of(logger.get_daily_costs("yesterday"))
    await close(logger)


@pytest.mark.parametrize("face", FACES)
async def test_stats_are_of_this_logger_and_of_this_moment(face: Face, db: Path) -> None:
    """Counts, commits and whether it is closed."""
    logger = face(db)
    for _ in range(3):
        await result_of(logger.log_invocation(InvocationRecord(), durable=True))
    stats = logger.stats()
    assert (stats.ledger.submitted, stats.ledger.written, stats.transactions) == (3, 3, 3)
    assert (stats.queue_records, stats.queue_bytes, stats.oldest_age, stats.retries) == (0, 0, 0.0, 0)
    assert (stats.failing, stats.last_error, stats.closed) == (False, None, False)
    assert 0 < stats.commit_ms_p50 <= stats.commit_ms_p99
    await close(logger)
    assert logger.stats().closed
    assert not logger.stats().writer_alive


def test_from_config_takes_a_model_and_a_file(tmp_path: Path, db: Path) -> None:
    """Both faces, the same settings."""
    from llm_service.config.schemas import TelemetryConfig

    config = TelemetryConfig(db_path=str(db), retention_days=7, enabled=False)
    written = tmp_path / "telemetry.yaml"
    written.write_text(f"enabled: false\ndb_path: {db}\nretention_days: 7\n")
    for face in FACES:
        for given in (config, written):
            logger = face.from_config(given)  # type: ignore[attr-defined]
            assert isinstance(logger, face)  # type: ignore[arg-type]
            assert (logger.db_path, logger.settings.retention_days, logger.settings.enabled) == (db, 7, False)


# Instrumentation


class BoomError(Exception):
    """What a block raises."""


async def run_block(logger: Any, how: str, block: Callable[[Any], Any], **fields: Any) -> None:
    """Run a block in `with` or `async with`."""
    if how == "with":
        with logger.invocation("agent", "tool", "model", **fields) as call:
            block(call)
    else:
        async with logger.invocation("agent", "tool", "model", **fields) as call:
            block(call)


WAYS = pytest.mark.parametrize(("face", "how"), [(face, how) for face in FACES for how in ("with", "async with")])


async def stored(logger: Any) -> dict[str, Any]:
    """The one record, after closing the logger."""
    await close(logger)
    (row,) = await result_of(logger.get_invocations())
    return dict(row)


@WAYS
async def test_a_block_is_timed_and_recorded(face: Face, how: str, db: Path) -> None:
    """Status, names, time, usage and any other field."""
    logger = face(db)

    def block(call: Any) -> None:
        call.first_token()
        call.record_usage(prompt_tokens=10, completion_tokens=5, cost_usd=0.25, finish_reason="stop")
        call.set(http_status=200, tags=["a"])

    await run_block(logger, how, block, session_id="s")
    row = await stored(logger)
    assert (row["status"], row["agent_name"], row["tool_name"], row["model_name"]) == (
        "success", "agent", "tool", "model",
    )  # fmt: skip
    assert (row["prompt_tokens"], row["completion_tokens"], row["total_tokens"], row["cost_usd"]) == (10, 5, 15, 0.25)
    assert (row["finish_reason"], row["http_status"], row["tags"], row["session_id"]) == ("stop", 200, ["a"], "s")
    assert 0 <= row["ttft_ms"] <= row["latency_ms"] < 5000
    assert row["error_type"] is None


@WAYS
@pytest.mark.parametrize(
    ("error", "status", "kind", "message"),
    [
        (BoomError("it broke"), "error", "BoomError", "it broke"),
        (TimeoutError("too slow"), "timeout", "TimeoutError", "too slow"),
        (asyncio.CancelledError(), "error", "cancelled", None),
        (GeneratorExit(), "success", None, None),
        (KeyboardInterrupt(), "error", "KeyboardInterrupt", None),
        (SystemExit(3), "error", "SystemExit", "3"),
        (BoomError("\0 and \ud800"), "error", "BoomError", "\\0 and \\ud800"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
async def test_the_blocks_exception_passes_unaltered_and_is_recorded(
    face: Face, how: str, error: BaseException, status: str, kind: str, message: str | None, db: Path
) -> None:
    """The very same object, without a new cause or context, and its traceback ends where it was raised."""
    logger = face(db)

    def block(_call: Any) -> None:
        raise error

    with pytest.raises(type(error)) as caught:
        await run_block(logger, how, block)
    assert caught.value is error
    assert error.__cause__ is None
    assert error.__context__ is None
    assert [frame.name for frame in traceback.extract_tb(error.__traceback__)][-2:] == ["run_block", "block"]
    row = await stored(logger)
    assert (row["status"], row["error_type"], row["error_message"]) == (status, kind, message)


@WAYS
async def test_a_bad_value_is_left_out_counted_and_warned_about_once(
    face: Face, how: str, db: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """NULL in the record, a number in `stats`, one line in the log for each field."""
    logger = face(db)
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        for _ in range(3):
            await run_block(
                logger, how, lambda call: call.record_usage(prompt_tokens=-1, cost_usd=float("nan"), colour="red")
            )
    assert logger.stats().bad_values == 9
    assert sorted(record.getMessage().split(": ")[2] for record in caplog.records) == [
        "colour", "cost_usd", "prompt_tokens",
    ]  # fmt: skip
    await close(logger)
    assert rows(db, "prompt_tokens, cost_usd, status") == [(None, None, "success")] * 3


@WAYS
async def test_strict_raises_on_a_bad_value(face: Face, how: str, db: Path) -> None:
    """At the end of the block for a value, at once for an unknown field."""
    logger = face(db, strict=True)
    with pytest.raises(RecordError, match="prompt_tokens"):
        await run_block(logger, how, lambda call: call.record_usage(prompt_tokens=-1))
    with pytest.raises(RecordError, match="colour"):
        await run_block(logger, how, lambda call: call.set(colour="red"))
    await close(logger)


@WAYS
async def test_strict_never_masks_the_blocks_exception(face: Face, how: str, db: Path) -> None:
    """The bad value is left out then, and the record is kept."""
    logger = face(db, strict=True)

    def block(call: Any) -> None:
        call.record_usage(prompt_tokens=-1)
        raise BoomError

    with pytest.raises(BoomError) as caught:
        await run_block(logger, how, block)
    assert caught.value.__context__ is None
    row = await stored(logger)
    assert (row["status"], row["error_type"], row["prompt_tokens"]) == ("error", "BoomError", None)


@WAYS
async def test_what_the_block_sets_wins_over_what_is_measured(face: Face, how: str, db: Path) -> None:
    """Status, latency, id and parent."""
    logger = face(db)
    said = {"status": "timeout", "latency_ms": 7, "ttft_ms": 3, "invocation_id": "mine", "parent_invocation_id": "p"}
    await run_block(logger, how, lambda call: call.set(**said))
    row = await stored(logger)
    assert {field: row[field] for field in said} == said


async def test_a_block_whose_bad_values_contradict_each_other_is_still_recorded(db: Path) -> None:
    """Giving up one field after the other ends with a record."""
    with TelemetryLogger(db) as logger, logger.invocation("", "x" * 500, 7) as call:  # type: ignore[arg-type]
        call.record_usage(prompt_tokens=10, total_tokens=5)
        call.set(invocation_id="", status="odd", timestamp="noon", metadata={"a": object()}, tags="t")
    ((agent, tool, model, total, prompt, status),) = rows(
        db, "agent_name, tool_name, model_name, total_tokens, prompt_tokens, status"
    )
    assert (agent, tool, model, total, prompt, status) == (None, None, None, None, 10, "error")


async def test_an_exception_that_cannot_be_printed_is_recorded(db: Path) -> None:
    """A foreign `__str__` may raise: the block's exception is what the caller sees."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise LookupError

    with TelemetryLogger(db) as logger, pytest.raises(MuteError), logger.invocation("agent"):
        raise MuteError
    assert rows(db, "error_message") == [("<str of MuteError raises LookupError>",)]


async def test_first_token_counts_the_first_time_only(db: Path) -> None:
    """Called before the block it does nothing."""
    with TelemetryLogger(db) as logger:
        call = logger.invocation("agent")
        call.first_token()
        assert call._ttft_ms is None
        with call:
            call.first_token()
            first = call._ttft_ms
            call.first_token()
            assert call._ttft_ms == first
    assert rows(db, "ttft_ms") == [(first,)]


async def test_a_task_inherits_the_parent_and_a_thread_does_not(db: Path) -> None:
    """As context variables go; a context that is carried over carries the parent."""
    with TelemetryLogger(db) as logger:

        def child(name: str) -> None:
            with logger.invocation(name):
                pass

        async def in_task() -> None:
            child("task")

        with logger.invocation("root") as root:
            await asyncio.create_task(in_task())
            context = contextvars.copy_context()
            for target in (lambda: child("thread"), lambda: context.run(child, "carried")):
                thread = threading.Thread(target=target)
                thread.start()
                thread.join()
        child("after")
    parents = dict(rows(db, "agent_name, parent_invocation_id"))
    assert parents == {
        "task": root.invocation_id, "thread": None, "carried": root.invocation_id, "root": None, "after": None,
    }  # fmt: skip


async def test_a_block_may_end_in_another_task_than_it_began_in(db: Path) -> None:
    """A generator that a framework closes elsewhere: it is recorded, and nothing is raised."""
    async with AsyncTelemetryLogger(db) as telemetry:
        call = telemetry.invocation("agent")
        await asyncio.create_task(call.__aenter__())
        await asyncio.create_task(call.__aexit__(None, None, None))
        async with telemetry.invocation("next"):
            pass
    assert rows(db, "agent_name, parent_invocation_id") == [("agent", None), ("next", None)]


async def test_a_generator_that_is_closed_in_its_block_is_recorded_as_ended_by_its_consumer(db: Path) -> None:
    """`GeneratorExit` is no fault of the call; an `async with` that may not await hands over without waiting."""
    async with AsyncTelemetryLogger(db) as telemetry:

        def numbers() -> Any:
            with telemetry.invocation("sync"):
                yield 1

        async def async_numbers() -> Any:
            async with telemetry.invocation("async", prompt_tokens=5):
                yield 1

        generator, async_generator = numbers(), async_numbers()
        next(generator)
        await anext(async_generator)
        generator.close()
        await async_generator.aclose()
    assert sorted(rows(db, "agent_name, status, error_type, finish_reason, usage_source")) == [
        ("async", "success", None, "cancelled", "partial"),
        ("sync", "success", None, "cancelled", None),
    ]


async def test_a_cancelled_task_is_recorded_and_stays_cancelled(db: Path) -> None:
    """The cancellation is re-raised."""
    async with AsyncTelemetryLogger(db) as telemetry:
        entered = asyncio.Event()

        async def work() -> None:
            async with telemetry.invocation("agent"):
                entered.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
    assert rows(db, "status, error_type") == [("error", "cancelled")]


async def test_a_timeout_around_a_block_is_recorded_as_cancelled_and_one_within_as_timeout(db: Path) -> None:
    """What the block saw is what is recorded."""
    async with AsyncTelemetryLogger(db) as telemetry:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0), telemetry.invocation("around"):
                await asyncio.sleep(60)
        with pytest.raises(TimeoutError):
            async with telemetry.invocation("within"), asyncio.timeout(0):
                await asyncio.sleep(60)
    assert rows(db, "agent_name, status, error_type") == [
        ("around", "error", "cancelled"),
        ("within", "timeout", "TimeoutError"),
    ]


@pytest.mark.parametrize("face", FACES)
async def test_a_block_never_raises_for_a_store_that_cannot_be_used(face: Face, db: Path) -> None:
    """A full queue, a closed logger or a failing disk cost the record, not the block."""
    logger = face(db)
    await close(logger)
    for how in ("with", "async with"):
        await run_block(logger, how, lambda call: call.record_usage(prompt_tokens=1))
    assert logger.stats().ledger.dropped == {DropReason.CLOSED: 2}


async def test_a_store_error_is_one_error_for_all_of_them(db: Path) -> None:
    """`except StoreError` catches whatever becomes of a promised commit."""
    assert issubclass(DuplicateInvocationError, StoreError)
    assert issubclass(RecordDroppedError, StoreError)
    telemetry = AsyncTelemetryLogger(db)
    await telemetry.aclose()
    with pytest.raises(StoreError):
        await telemetry.log_invocation(InvocationRecord(), durable=True)


@pytest.mark.parametrize("strict", [False, True])
def test_an_error_of_our_own_costs_the_record_and_not_the_block(
    strict: bool, db: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever goes wrong in making the record is logged and counted as invalid; only `strict` raises it."""

    def fail(**_fields: object) -> None:
        raise LookupError("a bug")

    with TelemetryLogger(db, strict=strict) as logger:
        monkeypatch.setattr("llm_service.telemetry.instrumentation.block_end.InvocationRecord", fail)
        if strict:
            with pytest.raises(LookupError, match="a bug"), logger.invocation("agent"):
                pass
            with pytest.raises(BoomError), logger.invocation("agent"):
                raise BoomError
        else:
            with logger.invocation("agent"):
                pass
        assert "could not be recorded" in caplog.text
        assert logger.stats().ledger.dropped == {DropReason.INVALID: 1}
        assert logger.stats().ledger.balanced


async def test_durable_calls_beyond_the_bound_wait_for_room_by_committing(db: Path) -> None:
    """The sync face makes room itself; a record that can never fit is dropped at once."""
    with TelemetryLogger(db, queue_max_records=1, flush_interval=3600, queue_max_bytes=65_536) as logger:
        assert logger.log_invocation_nowait(InvocationRecord())
        assert logger.log_invocation(InvocationRecord())
        with pytest.raises(RecordDroppedError, match="bytes_full"):
            logger.log_invocation(InvocationRecord(prompt="x" * 100_000))
    assert len(rows(db)) == 2
    assert logger.stats().ledger.dropped == {DropReason.BYTES_FULL: 1}


@pytest.mark.parametrize("face", FACES)
async def test_a_question_that_cannot_be_fresh_says_so(face: Face, db: Path) -> None:
    """`CommitTimeoutError` names the way out, which works."""
    logger = face(db, commit_timeout=0.05, block_timeout=0.05)
    logger.log_invocation_nowait(InvocationRecord())
    assert (await result_of(logger.flush(timeout=30))).complete  # opening the file may take longer than a commit
    holder = sqlite3.connect(db, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    logger.log_invocation_nowait(InvocationRecord())
    with pytest.raises(StoreError, match="fresh=False"):
        await result_of(logger.get_statistics())
    assert (await result_of(logger.get_statistics(fresh=False)))["total_invocations"] == 1
    holder.close()
    await close(logger)
    assert len(rows(db)) == 2


async def test_the_sync_face_drops_after_block_timeout(db: Path) -> None:
    """The queue is full, the file is locked: the caller waits `block_timeout` and is told."""
    with TelemetryLogger(db, queue_max_records=1, block_timeout=0.05, flush_interval=3600) as logger:
        holder = sqlite3.connect(db, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        logger.log_invocation_nowait(InvocationRecord())
        with pytest.raises(RecordDroppedError, match="block_timeout"):
            logger.log_invocation(InvocationRecord())
        holder.close()
    assert len(rows(db)) == 1
    assert logger.stats().ledger.dropped == {DropReason.BLOCK_TIMEOUT: 1}


async def test_an_idle_logger_truncates_its_wal(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Soon after the last commit; the copy of the data is in the file itself."""
    from llm_service.telemetry.stores.sqlite import wal

    monkeypatch.setattr(wal, "TIDY_AFTER", 0.01)
    wal = db.with_name(f"{db.name}-wal")

    def wait_for_truncation(logger: Any) -> None:
        deadline = monotonic() + 10
        while not logger.stats().ledger.written or wal.stat().st_size:
            assert monotonic() < deadline
            sleep(0.005)

    async with AsyncTelemetryLogger(db) as telemetry:
        await telemetry.log_invocation(InvocationRecord(), durable=True)
        await asyncio.to_thread(wait_for_truncation, telemetry)
    with TelemetryLogger(db, flush_interval=0.01) as logger:
        logger.log_invocation_nowait(InvocationRecord())
        await asyncio.to_thread(wait_for_truncation, logger)
    assert len(rows(db)) == 2


class _Ids(Enum):
    ONE = "an enum"


@pytest.mark.parametrize(
    "given", [UUID("2fd24a63-c069-4093-ad26-45906d240c34"), 12345, _Ids.ONE, "nul\0", "half\ud800", "plain"], ids=ascii
)
def test_a_call_is_found_by_the_id_it_was_given(given: Any, tmp_path: Path) -> None:
    """Whoever looks for an id has the same one in hand, in the same type."""
    with TelemetryLogger(tmp_path / "telemetry.db", privacy_level="full") as logger:
        logger.log_invocation(InvocationRecord(invocation_id=given, session_id=given, prompt="asked"))
        content = logger.get_content(given)
        assert content is not None
        assert content["prompt"] == "asked"
        assert len(logger.get_invocations(session_id=given)) == 1
        assert logger.budgets.release(given) is False
        with pytest.raises(QueryError, match="hold_id"):
            logger.budgets.reconcile(given, 1)


@pytest.mark.parametrize("given", [None, 1.5, b"bytes", True])
def test_what_is_no_id_is_refused_where_it_is_asked_for(given: Any, tmp_path: Path) -> None:
    """As the constructor of a record refuses it."""
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        with pytest.raises(QueryError, match="invocation_id"):
            logger.get_content(given)
        with pytest.raises(QueryError, match="hold_id"):
            logger.budgets.release(given)


@pytest.mark.parametrize(
    ("method", "given", "said"),
    [
        ("get_invocations", {"agent": "a"}, "get_invocations() has no argument 'agent'; did you mean agent_name?"),
        ("get_statistics", {"model": "a"}, "get_statistics() has no argument 'model'; did you mean model_name?"),
        ("get_daily_costs", {"start": None}, "get_daily_costs() has no argument 'start'; did you mean since?"),
        (
            "get_daily_costs",
            {"startdate": None},
            "get_daily_costs() has no argument 'startdate'; did you mean start_date?",
        ),
        (
            "get_statistics",
            {"zzz": 1},
            "it has agent_name, days, tool_name, model_name, since, until, time_zone, filters, fresh",
        ),
    ],
)
@pytest.mark.parametrize("face", FACES)
async def test_an_argument_by_another_name_is_told_the_right_one(
    face: Face, db: Path, method: str, given: dict[str, Any], said: str
) -> None:
    """Without the names of classes that nobody has seen."""
    logger = face(db)
    with pytest.raises(TypeError) as caught:
        await result_of(getattr(logger, method)(**given))
    assert said in str(caught.value)
    assert "Queries" not in str(caught.value)
    assert await result_of(getattr(logger, method)()) is not None
    await close(logger)
