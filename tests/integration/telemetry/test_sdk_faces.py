"""Hooks of every SDK: nothing that a caller can observe changes, blocks are calls, and another release is left alone."""

import importlib
import importlib.util
import inspect
import logging
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.provider_server import ProviderServer
from tests.sdk_cases.case import Case

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.sdk import instruments
from llm_service.telemetry.instrumentation.sdk.instruments import SDKS

OF = {name: importlib.import_module(f"tests.sdk_cases.{name.replace('-', '_')}") for name in SDKS}


def is_installed(module: str) -> bool:
    """Whether an SDK can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


HERE = [name for name, of in OF.items() if is_installed(of.MODULE)]
pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


def first(sdk: str, use: str) -> Case:
    """The first case of an SDK that is used this way, and is a success."""
    return next(case for case in OF[sdk].CASES.values() if case.use == use and case.row.get("status") == "success")


def hooked_modules(sdk: str) -> list[Any]:
    """The modules of an SDK that its hooks are for, those that this release has."""
    importlib.import_module(OF[sdk].MODULE)
    names = instruments.INSTRUMENTED[sdk].hooks.modules
    if sdk == "mistral":
        names = tuple(name for name in names if name.startswith("mistralai.client."))
    return [importlib.import_module(name) for name in names if is_installed(name)]


@pytest.mark.parametrize("sdk", HERE)
def test_methods_keep_their_signatures_and_come_back_as_they_were(sdk: str, tmp_path: Path) -> None:
    """However often it is turned on and off."""
    modules = hooked_modules(sdk)
    hooks = [hook for module in modules for hook in instruments.INSTRUMENTED[sdk].hooks.hooks(module)]
    before = {(kind, name): vars(kind)[name] for kind, name, _ in hooks}
    assert len(before) >= 2
    with TelemetryLogger(tmp_path / "a.db") as logger:
        for _ in range(2):
            logger.instrument(sdk)
            for (kind, name), original in before.items():
                ours = vars(kind)[name]
                assert ours is not original
                assert inspect.signature(ours) == inspect.signature(original)
                assert inspect.iscoroutinefunction(ours) is inspect.iscoroutinefunction(original)
                assert (ours.__qualname__, ours.__module__) == (original.__qualname__, original.__module__)
            logger.uninstrument(sdk)
            assert {key: vars(key[0])[key[1]] for key in before} == before


@pytest.mark.parametrize("sdk", HERE)
def test_what_a_client_gives_is_what_it_would_have_given(sdk: str, server: ProviderServer, tmp_path: Path) -> None:
    """Answers and streams: types, names, items, and what is on them afterwards."""
    with TelemetryLogger(tmp_path / "a.db") as logger, OF[sdk].client_of(server.url("ok")) as client:
        seen = []
        for switch in (logger.instrument, logger.uninstrument):
            switch(sdk)
            answer, stream = first(sdk, "keep").ask(client), first(sdk, "all").ask(client)
            items = list(stream)
            seen.append((answer, stream, items))
        (answer, stream, items), (plain, plain_stream, plain_items) = seen
        assert (type(answer), type(stream)) == (type(plain), type(plain_stream))
        assert without_dates(answer) == without_dates(plain)
        assert [*map(without_dates, items)] == [*map(without_dates, plain_items)]
        assert getattr(stream, "__qualname__", None) == getattr(plain_stream, "__qualname__", None)
        assert getattr(stream, "__dict__", {}).keys() == getattr(plain_stream, "__dict__", {}).keys()
        assert len(logger.get_invocations()) == 2


def without_dates(answer: Any) -> str:
    """What is seen of an answer, but for the time of day in its headers."""
    told = dict(answer) if isinstance(answer, dict) else answer.model_dump(exclude={"sdk_http_response"})
    told.pop("ResponseMetadata", None)
    return repr(told)


@pytest.mark.parametrize("sdk", HERE)
def test_a_stream_is_as_lazy_as_it_was(sdk: str, server: ProviderServer, tmp_path: Path) -> None:
    """No item is taken that its caller did not ask for: the server would wait before the third."""
    with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger:
        with OF[sdk].client_of(server.url("slow-stream")) as client:
            stream = first(sdk, "all").ask(client)
            items = iter(stream)
            for _ in range(2):
                next(items)
            (items if sdk in {"google-genai", "ollama"} else stream).close()
        (row,) = logger.get_invocations()
    assert (row["status"], row["finish_reason"]) == ("success", "cancelled")
    assert 0 < (row["latency_ms"] or 0) < 8_000


@pytest.mark.parametrize("sdk", HERE)
def test_blocks_and_wrapped_streams_around_one_call_are_that_call(
    sdk: str, server: ProviderServer, tmp_path: Path
) -> None:
    """And around several they hold them."""
    with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger, OF[sdk].client_of(server.url("ok")) as client:
        ask, stream = first(sdk, "keep").ask, first(sdk, "all").ask
        with logger.invocation("one", session_id="s") as one:
            ask(client)
        with logger.invocation("stream"):
            assert len(list(stream(client))) > 1
        assert len(list(logger.wrap_stream(lambda: stream(client), "wrapped"))) > 1
        with logger.invocation("several") as several:
            ask(client)
            ask(client)
        rows = logger.get_invocations()
    by_name = {name: [row for row in rows if row["agent_name"] == name] for name in {row["agent_name"] for row in rows}}
    assert {name: len(found) for name, found in by_name.items()} == {"one": 1, "stream": 1, "wrapped": 1, "several": 3}
    (row,) = by_name["one"]
    assert (row["invocation_id"], row["session_id"], row["source"]) == (one.invocation_id, "s", f"sdk:{sdk}")
    assert sum(row["parent_invocation_id"] == several.invocation_id for row in rows) == 2
    assert {row["total_tokens"] for row in rows if row["source"]} == {row["total_tokens"]}


@pytest.mark.parametrize("sdk", HERE)
async def test_an_async_block_around_one_call_is_that_call(sdk: str, server: ProviderServer, tmp_path: Path) -> None:
    """Of a whole answer and of a stream."""
    async with AsyncTelemetryLogger(tmp_path / "a.db").instrument(sdk) as telemetry:
        async with OF[sdk].client_of(server.url("ok"), asynchronous=True) as client:
            async with telemetry.invocation("one"):
                await first(sdk, "keep").ask(client)
            async with telemetry.invocation("stream"):
                given = first(sdk, "all").ask(client)
                given = await given if inspect.iscoroutine(given) else given
                assert len([item async for item in given]) > 1
        rows = await telemetry.get_invocations()
    assert sorted((row["agent_name"], row["stream"]) for row in rows) == [("one", None), ("stream", True)]
    assert {row["source"] for row in rows} == {f"sdk:{sdk}"}


@pytest.mark.parametrize("sdk", HERE)
def test_an_sdk_without_its_class_is_left_alone_and_that_is_said(
    sdk: str, server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once, and its client works."""
    with OF[sdk].client_of(server.url("ok")) as client, caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        first(sdk, "keep").ask(client)
        for module in hooked_modules(sdk):
            for kind in {kind for kind, _, _ in instruments.INSTRUMENTED[sdk].hooks.hooks(module)}:
                monkeypatch.delattr(module, kind.__name__)
        with TelemetryLogger(tmp_path / "a.db").instrument(sdk) as logger:
            first(sdk, "keep").ask(client)
            assert logger.get_invocations() == []
    assert sum("its calls are not recorded" in record.message for record in caplog.records) == 1
    instruments.INSTRUMENTED[sdk].watched = False


@pytest.mark.slow
def test_no_sdk_is_imported_and_each_that_is_imported_later_is_hooked(tmp_path: Path) -> None:
    """In a process of its own; nothing is left where modules are looked for."""
    names = {sdk: OF[sdk].MODULE for sdk in HERE}
    code = f"""
        import importlib, sys, warnings
        from llm_service.telemetry import TelemetryLogger
        from llm_service.telemetry.instrumentation.sdk.instruments import _sdks
        names = {names!r}
        with TelemetryLogger("telemetry.db").instrument() as logger:
            tops = [name.partition(".")[0] for name in names.values()] + ["botocore", "aiobotocore", "httpx", "httpx2"]
            assert [name for name in tops if name in sys.modules] == []
            for sdk, name in names.items():
                importlib.import_module(name)
                assert sdk == "mistral" or _sdks[sdk]._hooked, sdk
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], cwd=tmp_path, capture_output=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
