"""Responses that their callers read themselves: one right row, however the bytes pass, and the same bytes."""

import asyncio
import gc
import importlib
import inspect
import json
from collections.abc import Iterator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import Any

import pytest
from tests.provider_server import BITS, ProviderServer
from tests.sdk_cases.case import NO_USAGE, STREAMED

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.sdk import raw_body
from llm_service.telemetry.instrumentation.sdk.client_hooks import ClientHooks
from llm_service.telemetry.instrumentation.sdk.instruments import INSTRUMENTED, SDKS

RAW = [name for name in SDKS if isinstance(INSTRUMENTED[name].hooks, ClientHooks)]
"""SDKs whose clients give raw responses."""
OF = {name: importlib.import_module(f"tests.sdk_cases.{name}") for name in RAW}
RESPONSES = {name: importlib.import_module(f"{name}._response") for name in RAW}
HTTP = {name: (getattr(of, "httpx2", None) or of.httpx).Response for name, of in RESPONSES.items()}
NOT_READ = {"close", "parse", "retries_taken", "stream_to_file"}


def ways() -> Iterator[tuple[str, str, bool]]:
    """SDK, a way to read, and whether it is of the HTTP response below: all that their classes have, of sync clients."""
    for sdk in RAW:
        wrapper = RESPONSES[sdk].APIResponse
        names = {name for kind in wrapper.__mro__[:-1] for name, held in vars(kind).items() if inspect.isfunction(held)}
        for name in sorted(name for name in names if not name.startswith("_") and name not in NOT_READ):
            yield sdk, name, False
        for name in sorted(name for name in dir(HTTP[sdk]) if name.startswith("iter_") or name == "read"):
            yield sdk, name, True


WAYS = list(ways())


def test_the_ways_are_those_of_the_clients() -> None:
    """So that a new one is tried."""
    for sdk in RAW:
        assert {name for of, name, below in WAYS if of == sdk and not below} >= {"read", "text", "json", "iter_lines"}
        assert {name for of, name, below in WAYS if of == sdk and below} >= {"iter_raw", "iter_bytes", "read"}


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


def asked(sdk: str, client: Any, *, stream: bool) -> Any:
    """A call whose response is read by its caller."""
    if sdk == "openai":
        given = OF[sdk].STREAM if stream else OF[sdk].CHAT
        return client.chat.completions.with_streaming_response.create(**given)
    return client.messages.with_streaming_response.create(**OF[sdk].MESSAGE, **({"stream": True} if stream else {}))


def row_of(sdk: str, *, stream: bool) -> dict[str, Any]:
    """What the row of such a call holds."""
    return OF[sdk].ROW | (STREAMED if stream else {})


def read(response: Any, name: str, *, below: bool) -> Any:
    """What a way of reading gives, put together."""
    given = getattr(response.http_response if below else response, name)()
    if not name.startswith("iter_"):
        return given
    parts = list(given)
    return parts[0][:0].join(parts) if parts else parts


async def read_async(response: Any, name: str, *, below: bool) -> Any:
    """The same of an async client."""
    if not below:
        found = getattr(response, name)()
        if not name.startswith("iter_"):
            return await found
    else:
        found = getattr(response.http_response, f"a{name}")()
        if name == "read":
            return await found
    parts = [part async for part in found]
    return parts[0][:0].join(parts) if parts else parts


def holds(row: Any, expected: dict[str, Any]) -> None:
    """A row holds this, where `...` stands for anything."""
    expected = {name: value for name, value in expected.items() if value is not ...}
    assert {name: row[name] for name in expected} == expected
    if row["stream"] and (row["completion_tokens"] or 0) > 1:
        assert 0 < row["ttft_ms"] <= row["latency_ms"]


CASES = [
    pytest.param(*way, stream, scenario, id=f"{way[0]}-{'http-' if way[2] else ''}{way[1]}-{kind}-{scenario}")
    for way in WAYS
    for stream, kind in ((False, "whole"), (True, "stream"))
    for scenario in ("ok", *BITS)
    if not (stream and way[1] == "json") and (scenario == "ok" or way[2])
]


@pytest.mark.parametrize(("sdk", "name", "below", "stream", "scenario"), CASES)
def test_a_body_that_is_read_by_its_caller_is_one_right_row(
    sdk: str, name: str, below: bool, stream: bool, scenario: str, server: ProviderServer, tmp_path: Path
) -> None:
    """And it is the body that it would have been; nothing is left on the response."""
    with TelemetryLogger(tmp_path / "a.db") as logger, OF[sdk].client_of(server.url(scenario)) as client:
        seen = []
        for switch in (logger.instrument, logger.uninstrument):
            switch(sdk)
            with asked(sdk, client, stream=stream) as response:
                body = read(response, name, below=below)
                below_it = response.http_response
            seen.append(
                (body, vars(below_it).keys(), type(below_it.stream), below_it.is_closed, below_it.num_bytes_downloaded)
            )
        assert seen[0] == seen[1]
        (row,) = logger.get_invocations()
    holds(row, row_of(sdk, stream=stream))


@pytest.mark.parametrize(
    ("sdk", "name", "below", "stream", "scenario"), [case for case in CASES if case.values[4] == "ok"]
)
async def test_a_body_that_is_read_by_an_async_caller_is_one_right_row(
    sdk: str, name: str, below: bool, stream: bool, scenario: str, server: ProviderServer, tmp_path: Path
) -> None:
    """The same."""
    async with AsyncTelemetryLogger(tmp_path / "a.db") as telemetry:
        async with OF[sdk].client_of(server.url(scenario), asynchronous=True) as client:
            seen = []
            for switch in (telemetry.instrument, telemetry.uninstrument):
                switch(sdk)
                async with asked(sdk, client, stream=stream) as response:
                    body = await read_async(response, name, below=below)
                    below_it = response.http_response
                seen.append((body, vars(below_it).keys(), type(below_it.stream), below_it.is_closed))
            assert seen[0] == seen[1]
        (row,) = await telemetry.get_invocations()
    holds(row, row_of(sdk, stream=stream))


@pytest.mark.parametrize("sdk", RAW)
@pytest.mark.parametrize("leaves", ["at once", "after one"])
def test_events_that_are_not_read_on_are_cancelled(
    sdk: str, leaves: str, server: ProviderServer, tmp_path: Path
) -> None:
    """By the rule of all streams."""
    with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger:
        with OF[sdk].client_of(server.url("slow-stream")) as client:
            with asked(sdk, client, stream=True) as response:
                if leaves == "after one":
                    next(response.iter_lines())
            del response
            gc.collect()
        (row,) = logger.get_invocations()
    holds(row, {"status": "success", "finish_reason": "cancelled", "stream": True, "error_type": None})


@pytest.mark.parametrize("sdk", RAW)
def test_events_that_were_all_told_are_whole_though_their_end_is_not_read(
    sdk: str, server: ProviderServer, tmp_path: Path
) -> None:
    """As where a proxy stops at the last event."""
    end = {"openai": "data: [DONE]", "anthropic": 'data: {"type": "message_stop"}'}[sdk]
    with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger:
        with OF[sdk].client_of(server.url("ok")) as client, asked(sdk, client, stream=True) as response:
            for line in response.iter_lines():
                if line == end:
                    break
        (row,) = logger.get_invocations()
    holds(row, row_of(sdk, stream=True))


@pytest.mark.parametrize("sdk", RAW)
@pytest.mark.parametrize("scenario", ["breaks-off", "error-in-stream"])
def test_events_that_fail_are_a_failure(sdk: str, scenario: str, server: ProviderServer, tmp_path: Path) -> None:
    """Of the connection, which its caller sees, or told in the stream, which its caller must read."""
    with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger:
        with (
            OF[sdk].client_of(server.url(scenario)) as client,
            suppress(Exception),
            asked(sdk, client, stream=True) as response,
        ):
            list(response.iter_bytes())
        (row,) = logger.get_invocations()
    assert row["status"] == "error"
    assert row["error_type"] == ("RemoteProtocolError" if scenario == "breaks-off" else row["error_type"])
    assert row["error_type"] is not None


@pytest.mark.parametrize("sdk", RAW)
async def test_the_cancelled_reader_of_events_is_one_row(sdk: str, server: ProviderServer, tmp_path: Path) -> None:
    """Whose connection is let go."""
    async with AsyncTelemetryLogger(tmp_path / "a.db").instrument(sdk) as telemetry:
        async with OF[sdk].client_of(server.url("slow-stream"), asynchronous=True) as client:
            begun = asyncio.Event()

            async def reads() -> None:
                async with asked(sdk, client, stream=True) as response, aclosing(response.iter_lines()) as lines:
                    async for _ in lines:
                        begun.set()

            task = asyncio.create_task(reads())
            await begun.wait()
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        rows = await telemetry.get_invocations()
    assert len(rows) == 1


@pytest.mark.parametrize("sdk", RAW)
@pytest.mark.parametrize("streams", [False, True])
def test_a_response_that_the_client_was_asked_for_as_it_is_is_read_too(
    sdk: str, streams: bool, server: ProviderServer, tmp_path: Path
) -> None:
    """`cast_to` the HTTP response, whose body is there or not."""
    body = OF[sdk].MESSAGE if sdk == "anthropic" else OF[sdk].STREAM if streams else OF[sdk].CHAT
    path = "/v1/messages" if sdk == "anthropic" else "/chat/completions"
    with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger:
        with OF[sdk].client_of(server.url("ok")) as client:
            response = client.post(path, body=body | {"stream": streams}, cast_to=HTTP[sdk], stream=streams)
            assert type(response) is HTTP[sdk]
            assert response.is_closed is not streams
            assert b"".join(response.iter_bytes())
        (row,) = logger.get_invocations()
    holds(row, row_of(sdk, stream=streams))


def test_a_body_beyond_the_bound_is_not_kept(
    server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is read at once is there in any case; of the rest no usage is known."""
    monkeypatch.setattr(raw_body, "_MOST", 64)
    with (
        TelemetryLogger(tmp_path / "a.db").instrument("openai") as logger,
        OF["openai"].client_of(server.url("ok")) as client,
    ):
        for name, expected in (("iter_bytes", NO_USAGE), ("read", {"prompt_tokens": 1200, "completion_tokens": 7})):
            with asked("openai", client, stream=False) as response:
                read(response, name, below=False)
            del response
            gc.collect()
            holds(logger.get_invocations()[0], {"status": "success", **expected})
        with asked("openai", client, stream=True) as response:
            read(response, "iter_bytes", below=False)
        holds(logger.get_invocations()[0], {"usage_source": "missing"})


@pytest.mark.parametrize("size", [1, 2, 3, 7, 10_000])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_events_are_read_however_their_bytes_are_cut(size: int, end: str) -> None:
    """Comments, names, several lines of data and other ends of lines."""
    events = [{"n": 1, "text": "a\u00e9\u2028b"}, {"n": 2}, {"n": 3}]
    lines = [": hello", "", "event: one", f"data: {json.dumps(events[0])}", "", 'data:{"n":', "data: 2}", "id: 7", ""]
    lines += ["data: [DONE]", "", "data", "retry: 5", "", f"data: {json.dumps(events[2], ensure_ascii=False)}", "", ""]
    text = end.join(lines).encode()
    reader = raw_body.ServerSent()
    found = [event for at in range(0, len(text), size) for event in reader.read(text[at : at + size])]
    assert found + reader.read(b"\n\n") == events


def test_an_event_beyond_the_bound_is_skipped_and_the_next_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one line, or in several."""
    monkeypatch.setattr(raw_body, "_MOST", 32)
    long = json.dumps({"text": "x" * 50})
    for before in (f"data: {long}\n\n", f"data: {long[:25]}\ndata: {long[25:]}\n\n"):
        for size in (5, 1000):
            text = (before + 'data: {"n": 1}\n\n').encode()
            reader = raw_body.ServerSent()
            parts = [text[at : at + size] for at in range(0, len(text), size)]
            assert [event for part in parts for event in reader.read(part)] == [{"n": 1}]
            assert len(reader._rest) <= 32
