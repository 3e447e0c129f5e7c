"""A budget holds wherever it can be written: on a block, a decorated function of any kind, and a stream, on both faces.

Where it cannot hold, it is refused where it is written. The kinds are those that the decorator knows.
"""

import asyncio
import gc
import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterator
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin, get_overloads, get_type_hints

import pytest
from tests.model.ledger import check_books, policies, windows

from llm_service.budgets.scopes import FIELDS as SCOPES
from llm_service.budgets.scopes import Field
from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.errors import BudgetExceeded, RecordError, SettingsError, UnknownPriceError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.client.budgeted_call import AsyncBudgetedInvocation, BudgetedInvocation
from llm_service.telemetry.instrumentation.decorator import KINDS, PLAIN
from llm_service.telemetry.record.fields import KINDS as KINDS_OF_FIELDS
from llm_service.telemetry.stores.budget_requests import call_of

LIMITED = policies(default=10)
DECORATED = {kind.wrap.__name__: kind for kind in (*KINDS, PLAIN)}
FACES: dict[str, type[TelemetryLogger | AsyncTelemetryLogger]] = {
    "sync": TelemetryLogger,
    "async": AsyncTelemetryLogger,
}
PLACES = [*DECORATED, "sync stream", "async stream", "block"]
STEPS = {"_generator", "_async_generator", "sync stream", "async stream"}
"""What runs in steps, and so may be left early."""


def usage(_: object) -> dict[str, Any]:
    """What each item, or result, says."""
    return {"cost_usd": 0.25}


def body(kind: str, end: str, ran: list[str]) -> Any:
    """A function of a kind, which ends in a way."""

    def work() -> int:
        ran.append(kind)
        if end == "error":
            raise KeyError("x")
        return 1

    def plain() -> int:
        return work()

    async def coroutine() -> int:
        return work()

    def generator() -> Iterator[int]:
        yield 0
        yield work()

    async def async_generator() -> AsyncIterator[int]:
        yield 0
        yield work()

    made = {"_function": plain, "_coroutine": coroutine, "_generator": generator, "_async_generator": async_generator}
    return made[kind]


async def drain(stream: Any, end: str) -> None:
    """Consume a stream of either way, to its end or only its first item."""
    if hasattr(stream, "__anext__"):
        async for _ in stream:
            if end == "early":
                break
    else:
        for _ in stream:
            if end == "early":
                break


async def call(logger: Any, place: str, end: str, ran: list[str], budget: Any = 0.5) -> None:
    """Make one call with a budget, written in a place."""
    if place == "block":
        manager = logger.invocation("a", budget=budget)
        if isinstance(logger, AsyncTelemetryLogger):
            async with manager as block:
                ran.append(place)
                block.record_usage(cost_usd=0.25)
                if end == "error":
                    raise KeyError("x")
        else:
            with manager as block:
                ran.append(place)
                block.record_usage(cost_usd=0.25)
                if end == "error":
                    raise KeyError("x")
        return
    if place.endswith("stream"):
        made = body("_async_generator" if place.startswith("async") else "_generator", end, ran)()
        stream = logger.wrap_stream(made, "a", usage=usage, budget=budget)
    else:
        stream = logger.instrumented("a", usage=usage, budget=budget)(body(place, end, ran))()
    if inspect.isawaitable(stream):
        await stream
    elif place in STEPS:
        await drain(stream, end)


async def finished(logger: Any) -> None:
    """All that ended is on disk."""
    gc.collect()
    await asyncio.sleep(0)  # the loop closes an async generator that was left
    if isinstance(logger, AsyncTelemetryLogger):
        await logger.aclose()
    else:
        logger.close()


def holds_one(face: str, place: str) -> bool:
    """Whether a face can wait for a reservation there."""
    if place == "block":
        return True
    awaits = DECORATED[place].awaits if place in DECORATED else place.startswith("async")
    return awaits is (face == "async")


@pytest.mark.parametrize("end", ["success", "error", "early", "refused"])
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("face", FACES)
async def test_a_budget_is_kept_or_refused_where_it_is_written(db: Path, face: str, place: str, end: str) -> None:
    """Reserved before anything runs, settled by the record, whichever end comes first."""
    with TelemetryLogger(db) as other:
        other.log_invocation(InvocationRecord(cost_usd=9.75 if end == "refused" else 0))
    logger, ran = FACES[face](db, policies=LIMITED), list[str]()
    if not holds_one(face, place):
        with pytest.raises(TypeError, match="budget="):
            await call(logger, place, end, ran)
        assert ran == []
        await finished(logger)
        return
    raised = {"error": KeyError, "refused": BudgetExceeded}.get(end)
    if raised is None:
        await call(logger, place, end, ran)
    else:
        with pytest.raises(raised):
            await call(logger, place, end, ran)
    await finished(logger)
    rows = TelemetryLogger(db).get_invocations(agent_name="a")
    if end == "refused":
        assert (ran, rows) == ([], [])
    else:
        (row,) = rows
        assert row["status"] == ("error" if end == "error" else "success")
        spent = 0.0 if end == "error" and place in {"_function", "_coroutine"} else 0.25
        assert row["cost_usd"] == (spent or None)
        held = 0 if spent else 0.5
        assert sum(row[0] for row in windows(db).values()) == int(spent * 1e9)
        assert sum(row[6] for row in windows(db).values()) == int(held * 1e9)
    check_books(db)


async def test_a_stream_that_is_only_collected_ends_its_hold(db: Path) -> None:
    """The record is queued: nothing is waited for in a finalizer."""

    async def items() -> AsyncIterator[int]:
        yield 1
        yield 2

    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:
        stream = logger.wrap_stream(items(), "a", usage=usage, budget=0.5)
        with pytest.raises(TypeError, match="not reserved yet"):
            _ = stream.ag_frame
        await anext(stream)
        assert [hold["usd"] for hold in await logger.budgets.holds()] == [0.5]
        del stream
        gc.collect()
        (row,) = await logger.get_invocations()
        assert (row["finish_reason"], await logger.budgets.holds()) == ("cancelled", [])
        logger.wrap_stream(items(), "never begun", budget=0.5)
        assert {row["agent_name"] for row in await logger.get_invocations()} == {"a", "never begun"}
    check_books(db)


async def test_a_cancelled_stream_settles(db: Path) -> None:
    """What it has told counts."""
    begun, never = asyncio.Event(), asyncio.Event()

    async with AsyncTelemetryLogger(db, policies=LIMITED) as logger:

        @logger.instrumented("a", usage=usage, budget=0.5)
        async def items() -> AsyncIterator[int]:
            yield 1
            begun.set()
            await never.wait()

        async def consume() -> None:
            async for _ in items():
                pass

        task = asyncio.create_task(consume())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        (row,) = await logger.get_invocations()
        assert (row["status"], row["finish_reason"], row["cost_usd"]) == ("success", "cancelled", 0.25)
        assert await logger.budgets.holds() == []
    check_books(db)


WRITTEN: dict[str, Callable[[Any], Any]] = {
    "invocation": lambda logger: logger.invocation(budget=True),
    "instrumented": lambda logger: logger.instrumented(budget=0.5),
    "instrumented directly": lambda logger: logger.instrumented(body("_coroutine", "", []), budget=True),
    "wrap_stream": lambda logger: logger.wrap_stream(_both_ways(), budget=0.5),
    "reserve": lambda logger: logger.budgets.reserve(usd=0.5),
}


def _both_ways() -> Any:
    class Both:
        def __iter__(self) -> Iterator[int]:
            return iter([1])

        async def __aiter__(self) -> AsyncIterator[int]:
            yield 1

    return Both()


@pytest.mark.parametrize("given", [False, policies(), None])
@pytest.mark.parametrize("where", WRITTEN)
@pytest.mark.parametrize("face", FACES)
async def test_a_budget_without_limits_is_refused_with_the_remedy(db: Path, face: str, where: str, given: Any) -> None:
    """It would keep nothing. A logger that is disabled lets everything through, as it was told."""
    logger = FACES[face](db, policies=given)
    with pytest.raises(SettingsError, match="give policies=, or put a policies"):
        WRITTEN[where](logger)
    await finished(logger)
    FACES[face](db, enabled=False).invocation("a", budget=True)


@pytest.mark.parametrize("name", ["budget", "budgets", "budget_usd", "Budget"])
@pytest.mark.parametrize("face", FACES)
async def test_a_budget_in_the_wrong_place_is_refused(db: Path, face: str, name: str) -> None:
    """Taken for an unknown field, it would limit nothing."""
    logger: Any = FACES[face](db, policies=LIMITED)
    block = logger.invocation("a")
    entries: list[Callable[..., Any]] = [block.set, block.record_usage]
    if name != "budget":
        entries += [logger.invocation, logger.instrumented, lambda **field: logger.wrap_stream(_both_ways(), **field)]
    for entry in entries:
        with pytest.raises(TypeError, match=f"{name}= reserves nothing here"):
            entry(**{name: 1})
    await finished(logger)


@pytest.mark.parametrize("budget", [None, "0.5", float("nan"), -1, [1]])
@pytest.mark.parametrize("face", FACES)
async def test_what_is_no_amount_is_refused_where_it_is_written(db: Path, face: str, budget: Any) -> None:
    """Not at the first call, nor taken for none."""
    logger = FACES[face](db, policies=LIMITED)
    for entry in (logger.invocation, logger.instrumented):
        with pytest.raises(ValueError, match="budget: "):
            entry(budget=budget)
    await finished(logger)


@pytest.mark.parametrize(
    ("face", "made"), [(TelemetryLogger, BudgetedInvocation), (AsyncTelemetryLogger, AsyncBudgetedInvocation)]
)
def test_a_hold_is_typed(face: Any, made: type) -> None:
    """A type checker knows `call.hold` of a call with a budget."""
    (base,) = face.__orig_bases__
    returned = {get_type_hints(one)["return"] for one in get_overloads(face.invocation)}
    assert get_origin(base).__parameters__[0] in returned
    assert get_args(base) == (made,)
    assert "hold" in get_type_hints(made)


GPT = {"models": {"gpt-4o": {"cost_per_1m_tokens": {"input": 2.5, "output": 10}}}}
GPT_ALL = ModelsConfig.model_validate({"models": {"x": GPT["models"]["gpt-4o"]}, "bundled_prices": False})
PRICE = "a price of its model (in models.yaml, or by the extra `prices`)"
PROMPT = "the prompt (prompt= or prompt_tokens=)"
ANSWER = "a limit of the answer (max_tokens=)"


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({}, (PRICE, PROMPT, ANSWER)),
        ({"model_name": "gpt-4o"}, (PROMPT, ANSWER)),
        ({"model_name": "gpt-4o", "max_tokens": 100}, (PROMPT,)),
        ({"model_name": "gpt-4o", "prompt": "Why?"}, (ANSWER,)),
        ({"model_name": "mine", "prompt_tokens": 9, "max_tokens": 100}, (PRICE,)),
    ],
)
@pytest.mark.parametrize("face", FACES)
async def test_a_budget_that_cannot_be_estimated_says_what_it_lacks(
    db: Path, face: str, given: dict[str, Any], missing: tuple[str, ...]
) -> None:
    """By the names that it is given by."""
    models = ModelsConfig.model_validate(GPT | {"bundled_prices": False})
    logger: Any = FACES[face](db, models=models, policies=LIMITED)
    block = logger.invocation("a", budget=True, **given)
    enter: Callable[[], Any] = block.__aenter__ if face == "async" else partial(asyncio.to_thread, block.__enter__)
    with pytest.raises(UnknownPriceError, match="; give that, or an amount: budget=") as caught:
        await enter()
    assert caught.value.missing == missing
    assert f"it lacks {', and '.join(missing)};" in str(caught.value)
    await finished(logger)


FREE = ModelsConfig.model_validate({
    "models": {
        "free-answers": {"cost_per_1m_tokens": {"input": 0.02, "output": 0}},
        "both": {"cost_per_1m_tokens": {"input": 0.02, "output": 10}},
    }
})  # fmt: skip


@pytest.mark.parametrize(
    ("given", "counts"),
    [
        ({"model_name": "text-embedding-3-small"}, ["usd", "tokens"]),
        ({"model_name": "text-embedding-3-small", "operation": "embeddings"}, ["usd", "tokens"]),
        ({"model_name": "both", "operation": "embeddings", "completion_tokens": 0}, ["usd", "tokens"]),
        ({"model_name": "both", "completion_tokens": 0}, ["usd", "tokens"]),
        ({"model_name": "free-answers", "completion_tokens": 3}, ["usd"]),
    ],
)
@pytest.mark.parametrize("face", FACES)
async def test_what_has_no_answer_needs_no_limit_of_one(
    db: Path, face: str, given: dict[str, Any], counts: list[str]
) -> None:
    """Estimate, hold and record agree, with and without a past of answers."""
    pytest.importorskip("genai_prices", reason="the extra `prices`")
    limits = [{"window": "day", "usd": 1}, {"window": "day", "tokens": 5000}][: len(counts)]
    policies = PoliciesConfig.model_validate({"policies": {"one": {"unknown_price": "block", "limits": limits}}})
    logger: Any = FACES[face](db, models=FREE, policies=policies)
    for _ in range(2):
        block = logger.invocation("a", budget=True, prompt_tokens=1000, **given)
        if face == "async":
            async with block as call:
                hold = call.hold
        else:
            with block as call:
                hold = call.hold
        assert hold.usd == Decimal("0.00002")
        assert hold.tokens == (1000 if "tokens" in counts else hold.tokens)
        for _ in range(40):
            logger.log_invocation_nowait(InvocationRecord(agent_name="b", model_name="m", completion_tokens=9))
    rows = logger.get_invocations(agent_name="a")
    rows = await rows if face == "async" else rows
    assert [row["cost_usd"] for row in rows] == [0.00002, 0.00002]
    if given["model_name"] != "both":
        found = logger.estimate("a", None, given["model_name"], prompt_tokens=1000, fresh=True)
        found = await found if face == "async" else found
        assert found.hold_usd() == Decimal("0.00002")
    await finished(logger)


def fields_that_budgets_use() -> dict[str, Field]:
    """Fields of a record, each with the field of a policy's scope that it stands for; as records are counted."""
    nobody = call_of(InvocationRecord())
    names = [name for name, kind in KINDS_OF_FIELDS.items() if kind in {"name", "id"}]
    found: dict[str, Field] = {}
    for name in names:
        one = call_of(InvocationRecord(**{name: "x"}))  # type: ignore[arg-type]
        scope = next((field for field in SCOPES if one.values(field) != nobody.values(field)), None)
        if scope is not None:
            found[name] = scope
    return found


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", fields_that_budgets_use())
async def test_a_limit_that_counts_a_record_by_a_name_stops_a_block_that_bears_it(
    db: Path, face: str, name: str
) -> None:
    """Whichever field it is: what is counted later is looked at before."""
    scope = fields_that_budgets_use()[name]
    limited = PoliciesConfig.model_validate({"policies": {"one": {"scope": {scope: ["x"]}, "daily_budget_usd": 1}}})
    for estimated in (0.5, True):
        given: dict[str, Any] = ({} if scope == "model" else {"model_name": "x"}) | {name: "x"}
        logger: Any = FACES[face](db, models=GPT_ALL, policies=limited)
        record = InvocationRecord(cost_usd=1, **given)
        await finished_call(logger.log_invocation(record, **({"durable": True} if face == "async" else {})))
        block = logger.invocation(budget=estimated, prompt_tokens=10, max_tokens=10, **given)
        with pytest.raises(BudgetExceeded):
            await finished_call(block.__aenter__() if face == "async" else block.__enter__())
        await finished_call(logger.aclose() if face == "async" else logger.close())


async def finished_call(done: Any) -> Any:
    """What an operation of either logger gives."""
    return await done if inspect.isawaitable(done) else done


@pytest.mark.parametrize("budget", [0.01, True])
@pytest.mark.parametrize("value", [12, 12.0, Decimal(12), "12"])
@pytest.mark.parametrize("model", ["x", Enum("Model", {"X": "x"}).X])
def test_a_block_with_a_budget_takes_values_as_a_record_does(db: Path, budget: Any, value: Any, model: Any) -> None:
    """And a name that none can have is refused with its field."""
    with TelemetryLogger(db, models=GPT_ALL, policies=LIMITED) as logger:
        with logger.invocation(model_name=model, prompt_tokens=value, max_tokens=10, budget=budget):
            pass
        (row,) = logger.get_invocations()
        assert (row["model_name"], row["prompt_tokens"]) == ("x", 12)
        with pytest.raises(RecordError, match="tool_name"), logger.invocation(tool_name=["x"], budget=budget):
            pass


@pytest.mark.parametrize("budget", [0.5, True])
async def test_a_failed_call_is_there_when_its_block_has_ended(db: Path, budget: Any) -> None:
    """Written, settled, and read by whoever asks next: nothing of it is under way behind the program's back."""
    async with AsyncTelemetryLogger(db, models=GPT_ALL, policies=LIMITED) as logger:
        for turn in range(1, 6):
            block = logger.invocation(model_name="x", prompt_tokens=9, max_tokens=9, budget=budget)
            with pytest.raises(ValueError, match="reset"):
                await failing(block, turn)
            assert logger.stats().ledger.written == turn
            (row,) = await logger.get_invocations(limit=1, fresh=False)
            assert (row["completion_tokens"], row["error_type"]) == (turn, "ValueError")
            assert await logger.budgets.holds() == []


async def failing(block: Any, tokens: int) -> None:
    """A call that fails after its usage was told."""
    async with block as call:
        call.record_usage(prompt_tokens=9, completion_tokens=tokens)
        raise ValueError("reset")


async def test_a_cancelled_call_is_accepted_when_its_block_has_ended(db: Path) -> None:
    """Nothing is awaited any more, so its record waits in the queue, where it is counted and flushed."""
    async with AsyncTelemetryLogger(db, models=GPT_ALL, policies=LIMITED, flush_interval=60) as logger:
        is_within = asyncio.Event()

        async def work() -> None:
            async with logger.invocation(model_name="x", budget=0.5):
                is_within.set()
                await asyncio.sleep(60)

        task = asyncio.create_task(work())
        await is_within.wait()  # a hold stands in the file before its block begins
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert logger.stats().ledger.submitted == 1
        assert (await logger.flush()).written == 1


async def test_what_no_record_can_hold_leaves_no_open_hold(db: Path) -> None:
    """With `strict` the block raises; what became of the call is unknown, as after any end without a record."""
    async with AsyncTelemetryLogger(db, models=GPT_ALL, policies=LIMITED, strict=True) as logger:
        with pytest.raises(RecordError, match="tags"):
            async with logger.invocation(model_name="x", budget=0.5) as call:
                call.set(tags=object())
        while (await logger.budgets.holds())[0]["state"] == "held":  # noqa: ASYNC110 - of the file
            await asyncio.sleep(0.001)


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_messages_and_the_limits_of_clients_make_an_estimate(db: Path, name: str) -> None:
    """As they are given to OpenAI; at level `full` the messages are stored as JSON."""
    messages = [{"role": "user", "content": "Why?"}]
    with TelemetryLogger(db, models=GPT_ALL, policies=LIMITED, privacy_level="full", strict=True) as logger:
        with logger.invocation(model_name="x", prompt=messages, budget=True, **{name: 100}) as call:
            assert float(call.hold.usd) == pytest.approx(0.001, rel=0.1)
        assert json.loads((logger.get_content(call.invocation_id) or {})["prompt"]) == messages  # type: ignore[typeddict-item]


@pytest.mark.parametrize("budget", [False, 0.5])
@pytest.mark.parametrize("face", FACES)
async def test_a_block_that_is_entered_again_is_another_call(db: Path, face: str, budget: Any) -> None:
    """As a loop that tries again does: each attempt is a record, with an id, a hold and usage of its own."""
    logger: Any = FACES[face](db, models=GPT_ALL, policies=LIMITED)
    block = logger.invocation("a", model_name="x", budget=budget)
    ids = set()
    for attempt in (1, 2):
        error = ValueError("reset") if attempt == 1 else None
        call = await finished_call(block.__aenter__() if face == "async" else block.__enter__())
        ids.add(call.invocation_id)
        if attempt == 1:
            call.record_usage(prompt_tokens=100, completion_tokens=1)
        leave = block.__aexit__ if face == "async" else block.__exit__
        await finished_call(leave(type(error) if error else None, error, None))
    second, first = await finished_call(logger.get_invocations())
    assert {first["invocation_id"], second["invocation_id"]} == ids
    assert (first["error_type"], first["prompt_tokens"]) == ("ValueError", 100)
    assert (second["status"], second["prompt_tokens"], second["agent_name"]) == ("success", None, "a")
    assert len(await finished_call(logger.budgets.holds())) == (1 if budget else 0)  # the second told no usage
    await finished_call(logger.aclose() if face == "async" else logger.close())


@pytest.mark.parametrize("strict", [False, True])
def test_what_is_told_after_the_end_is_said(db: Path, strict: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Its record is made: nothing can be added, so the program hears of it."""
    with TelemetryLogger(db, strict=strict) as logger:
        with logger.invocation("a") as call:
            pass
        for tell in (
            lambda: call.record_usage(prompt_tokens=1),
            lambda: call.record_usage({"prompt_tokens": 1, "completion_tokens": 2}),
            lambda: call.set(status="error"),
        ):
            if strict:
                with pytest.raises(TypeError, match="has ended"):
                    tell()
            else:
                tell()
        assert logger.stats().bad_values == (0 if strict else 3)
        (row,) = logger.get_invocations()
        assert (row["prompt_tokens"], row["status"]) == (None, "success")
    assert len([one for one in caplog.records if "has ended" in one.getMessage()]) == (0 if strict else 1)
