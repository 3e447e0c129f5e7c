"""What is done with a client of an SDK, and what is seen of it: the tables of each SDK are made of these."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from pydantic import BaseModel
from tests.provider_answers.routes import SECRET

__all__ = ["FAILED", "LEFT", "NO_USAGE", "STREAMED", "UNKNOWN", "Answer", "Case", "check", "use", "use_async"]

UNKNOWN: dict[str, Any] = {
    "prompt_tokens": None, "completion_tokens": None, "total_tokens": None, "cache_read_tokens": None,
}  # fmt: skip
NO_USAGE = UNKNOWN | {"usage_source": "missing"}
FAILED = UNKNOWN | {
    "status": "error", "usage_source": None, "response_id": None, "finish_reason": None, "http_status": None,
    "request_id": None,
}  # fmt: skip
STREAMED = {"stream": True}
READ = frozenset({"close body", "read", "read in parts", "read into a buffer"})
LEFT = UNKNOWN | {"stream": True, "finish_reason": "cancelled", "usage_source": None}


class Answer(BaseModel):
    """What the model is asked to fill."""

    answer: int


@dataclass(frozen=True)
class Case:
    """What is done with a client, and the one row that it makes.

    Attributes:
        ask: the call.
        row: what the row holds, where `...` stands for anything; empty where none is made.
        use: what is done with what the call gave; see `use` and `use_async`.
        scenario: of the server; "nowhere" for none.
        raises: the name of the exception that the caller sees.
        client: further arguments of the client.
    """

    ask: Callable[[Any], Any]
    row: dict[str, Any]
    use: str = "keep"
    scenario: str = "ok"
    raises: str | None = None
    client: dict[str, Any] = field(default_factory=dict)


def use(how: str, given: Any) -> None:
    """Do with what a sync call gave what a case says."""
    if how in {"keep", "drop"}:
        return
    if how == "all":
        for _ in given:
            pass
    elif how in {"close", "forget"}:
        next(iter(given))
        if how == "close":
            given.close()
    elif how in READ:
        _read(how, given)
    elif how == "parse":
        given.parse()
    elif how == "parse all":
        list(given.parse())
    else:
        with given as entered:
            _use_entered(how, entered)


def _read(how: str, given: Any) -> None:
    if how == "close body":
        given.close()
    elif how == "read":
        given.read()
    elif how == "read into a buffer":
        while given.readinto(bytearray(64)):
            pass
    else:
        assert b"".join(given.iter_chunks(16))


def _use_entered(how: str, entered: Any) -> None:
    if how == "enter":
        list(entered)
    elif how == "enter and leave":
        next(iter(entered))
    elif how == "enter parse":
        entered.parse()
    elif how == "enter read":
        entered.read()
    elif how == "enter parse all":
        list(entered.parse())
    elif how == "text_stream":
        list(entered.text_stream)
    elif how.startswith("get"):
        getattr(entered, how)()
    else:
        assert how == "enter only"


async def use_async(how: str, given: Any) -> None:
    """The same with what an async call gave."""
    if how in {"keep", "drop"}:
        return
    if how == "all":
        async for _ in given:
            pass
    elif how in {"close", "forget"}:
        await _take_one(given, closes=how == "close")
    elif how in READ:
        await _read_async(how, given)
    elif how.startswith("parse"):
        parsed = given.parse()
        parsed = await parsed if inspect.isawaitable(parsed) else parsed
        if how == "parse all":
            assert len([item async for item in parsed]) > 1
    else:
        async with given as entered:
            await _use_entered_async(how, entered)


async def _take_one(given: Any, *, closes: bool) -> None:
    items = aiter(given)
    await anext(items)
    if closes:
        closing = (given.aclose if hasattr(given, "aclose") else given.close)()
        if inspect.isawaitable(closing):
            await closing
    if items is not given:
        await items.aclose()


async def _read_async(how: str, given: Any) -> None:
    if how == "close body":
        given.close()
    elif how == "read":
        await given.read()
    elif how == "read into a buffer":
        while await given.readinto(bytearray(64)):
            pass
    else:
        assert b"".join([part async for part in given.iter_chunks(16)])


async def _use_entered_async(how: str, entered: Any) -> None:
    if how == "enter":
        assert len([item async for item in entered]) > 1
    elif how == "enter and leave":
        items = aiter(entered)
        await anext(items)
        if items is not entered:
            await items.aclose()
    elif how.startswith("enter parse"):
        parsed = await entered.parse()
        if how == "enter parse all":
            assert len([item async for item in parsed]) > 1
    elif how == "enter read":
        await entered.read()
    elif how == "text_stream":
        assert "".join([text async for text in entered.text_stream])
    elif how.startswith("get"):
        await getattr(entered, how)()
    else:
        assert how == "enter only"


def check(rows: list[Any], raised: BaseException | None, case: Case) -> None:
    """One row, all of it right, and the exception that the caller would have seen anyway."""
    assert type(raised).__name__ in (case.raises or "NoneType").split(" or "), raised
    assert len(rows) == bool(case.row)
    if not rows:
        return
    (row,) = rows
    expected = {name: value for name, value in case.row.items() if value is not ...}
    cost = expected.pop("cost_usd", ...)
    if cost is None and row["http_status"] in {401, 429}:
        cost = 0 if (row["attempts"] or 1) == 1 else ...  # it was refused before a model ran
    elif cost is None and case.scenario == "nowhere":
        assert not row["cost_usd"]  # nothing, where the client says that it could not connect
        cost = ...
    assert {name: row[name] for name in expected} == expected
    assert cost is ... or row["cost_usd"] == (cost if cost is None else pytest.approx(cost))
    assert row["latency_ms"] > 0
    assert SECRET not in str(row)
    output = row["stream"] and (row["completion_tokens"] or 0) > 1
    assert not output or 0 < row["ttft_ms"] <= row["latency_ms"]
    if raised is not None:
        assert row["error_type"] == type(raised).__qualname__
