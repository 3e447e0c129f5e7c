"""Real clients of each SDK against a server on this machine: one right record a call, whatever is done."""

import asyncio
import gc
import importlib
import importlib.util
import inspect
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from tests.provider_server import ProviderServer
from tests.sdk_cases.case import check, use, use_async
from tests.slices import quick

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.sdk.instruments import SDKS

OF = {name: importlib.import_module(f"tests.sdk_cases.{name.replace('-', '_')}") for name in SDKS}


def is_installed(module: str) -> bool:
    """Whether an SDK can be imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),  # of Google's client
    pytest.mark.filterwarnings("ignore:The generate_images method"),
    # botocore leaves the connection of a stream that is left to be collected, hooked or not.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:unclosed (transport )?<:ResourceWarning"),
]
MARKS = {name: [] if is_installed(of.MODULE) else [pytest.mark.skip(f"no {of.MODULE}")] for name, of in OF.items()}
TABLE = [pytest.param(sdk, name, id=f"{sdk}-{name}", marks=MARKS[sdk]) for sdk in SDKS for name in OF[sdk].CASES]


@pytest.fixture(scope="module", autouse=True)
def collected() -> Iterator[None]:
    """What the clients leave is collected here, not in a test to come."""
    yield
    gc.unfreeze()
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def frozen() -> None:
    """What was there before is no garbage: a collection looks at a test's own objects alone, which is quick."""
    gc.freeze()


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


def client_of(sdk: str, server: ProviderServer, scenario: str = "ok", **more: Any) -> Any:
    """A real client that calls the server."""
    return OF[sdk].client_of("http://127.0.0.1:9" if scenario == "nowhere" else server.url(scenario), **more)


@pytest.mark.parametrize("sdk", SDKS)
def test_each_sdk_has_its_cases(sdk: str) -> None:
    """Streams, refusals, retries, timeouts, secrets, and what is left early."""
    cases = OF[sdk].CASES
    assert len(cases) >= 25
    assert {"ok", "breaks-off", "slow", "secret", "rate-limited", "nowhere"} <= {
        case.scenario for case in cases.values()
    } | ({"nowhere", "breaks-off"} if sdk in {"openai", "anthropic"} else set())
    assert {"all", "forget"} <= {case.use for case in cases.values()}


@pytest.mark.parametrize(("sdk", "name"), quick(TABLE, every=6))
def test_a_call_of_a_sync_client_is_one_right_row(sdk: str, name: str, server: ProviderServer, tmp_path: Path) -> None:
    """Each case of the table; nothing is left on what the client gave."""
    case = OF[sdk].CASES[name]
    raised: BaseException | None = None
    with TelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as logger:
        with client_of(sdk, server, case.scenario, **case.client) as client:
            try:
                given = case.ask(client)
                use(case.use, given)
                if case.use != "keep":
                    del given
            except Exception as error:  # noqa: BLE001 - the case says which
                raised = error.with_traceback(None)
        gc.collect()
        check(logger.get_invocations(), raised, case)
        assert logger.stats().bad_values == 0


@pytest.mark.parametrize(("sdk", "name"), quick(TABLE, every=6, first=3))
async def test_a_call_of_an_async_client_is_one_right_row(
    sdk: str, name: str, server: ProviderServer, tmp_path: Path
) -> None:
    """The same table."""
    case = OF[sdk].CASES[name]
    raised: BaseException | None = None
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as telemetry:
        async with client_of(sdk, server, case.scenario, asynchronous=True, **case.client) as client:
            try:
                given = case.ask(client)
                given = await given if inspect.iscoroutine(given) else given
                await use_async(case.use, given)
                if case.use != "keep":
                    del given
            except Exception as error:  # noqa: BLE001 - the case says which
                raised = error.with_traceback(None)
            for _ in range(20):  # what is collected may be closed by a task of its own
                gc.collect()
                await asyncio.sleep(0.001)
                if telemetry.stats().ledger.submitted:
                    break
        check(await telemetry.get_invocations(), raised, case)
        assert telemetry.stats().bad_values == 0


RETRYING = [pytest.param(sdk, marks=MARKS[sdk]) for sdk in SDKS if "a retry" in OF[sdk].CASES]


@pytest.mark.parametrize(
    ("statuses", "free"),
    [("429-429-429", True), ("500-429-429", False), ("429-500-429", False), ("429-429-500", False)],
)
@pytest.mark.parametrize("sdk", quick(RETRYING, 0, 3))
def test_a_refusal_is_free_where_each_request_before_it_was_refused(
    sdk: str, statuses: str, free: bool, server: ProviderServer, tmp_path: Path
) -> None:
    """One that failed otherwise may have been billed."""
    case = OF[sdk].CASES["a retry"]
    with (
        TelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as logger,
        client_of(sdk, server, statuses) as client,
    ):
        server.asked[statuses] = 0
        with suppress(Exception):
            case.ask(client)
        (row,) = logger.get_invocations()
    assert row["status"] == "error"
    assert row["attempts"] >= 2
    assert (row["cost_usd"], row["cost_source"]) == ((0, "computed") if free else (None, "unknown"))


@pytest.mark.parametrize(("status", "told"), [(429, "reported"), (500, "partial"), (503, "partial")])
@pytest.mark.parametrize("sdk", quick(RETRYING, 0, 3))
def test_an_answer_is_not_all_where_a_model_may_have_run_before_it(
    sdk: str, status: int, told: str, server: ProviderServer, tmp_path: Path
) -> None:
    """A request was sent again after a failure that is not known to be free."""
    case, scenario = OF[sdk].CASES["a retry"], f"{status}-then-ok"
    with (
        TelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as logger,
        client_of(sdk, server, scenario) as client,
    ):
        server.asked[scenario] = 0
        case.ask(client)
        (row,) = logger.get_invocations()
    assert (row["status"], row["usage_source"], row["attempts"]) == ("success", told, 3)


STREAMED = [
    pytest.param(sdk, name, id=f"{sdk}-{name}", marks=MARKS[sdk])
    for sdk in SDKS
    for name, case in OF[sdk].CASES.items()
    if case.use == "all" and case.scenario == "ok" and case.row
]
"""Streams that are read to their end."""


@pytest.mark.parametrize("way", ["wrap_stream", "watch"])
@pytest.mark.parametrize(("sdk", "name"), quick(STREAMED, every=3))
def test_a_stream_that_is_wrapped_after_it_was_opened_is_one_row(
    sdk: str, name: str, way: str, server: ProviderServer, tmp_path: Path
) -> None:
    """What wraps it is the call that the hook has begun, also where the request was sent before."""
    case = OF[sdk].CASES[name]
    with (
        TelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as logger,
        client_of(sdk, server, **case.client) as client,
    ):
        given = case.ask(client)
        if way == "wrap_stream":
            use("all", logger.wrap_stream(given, "agent"))
        else:
            with logger.invocation("agent") as call:
                use("all", call.watch(given))
        rows = logger.get_invocations()
        check(rows, None, case)
        assert [row["agent_name"] for row in rows] == ["agent"]


@pytest.mark.parametrize("way", ["wrap_stream", "watch"])
@pytest.mark.parametrize(("sdk", "name"), quick(STREAMED, every=3))
async def test_an_async_stream_that_is_wrapped_after_it_was_opened_is_one_row(
    sdk: str, name: str, way: str, server: ProviderServer, tmp_path: Path
) -> None:
    """The same."""
    if (sdk, name) == ("google-genai", "stream with tools") and version(sdk).startswith("1."):
        pytest.skip("it has sent this request, and gives another stream around the one that the hook knows")
    case = OF[sdk].CASES[name]
    async with (
        AsyncTelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as telemetry,
        client_of(sdk, server, asynchronous=True, **case.client) as client,
    ):
        given = case.ask(client)
        given = await given if inspect.iscoroutine(given) else given
        if way == "wrap_stream":
            await use_async("all", telemetry.wrap_stream(given, "agent"))
        else:
            async with telemetry.invocation("agent") as call:
                await use_async("all", call.watch(given))
        rows = await telemetry.get_invocations()
        check(rows, None, case)
        assert [row["agent_name"] for row in rows] == ["agent"]


@pytest.mark.parametrize("sdk", [pytest.param(sdk, marks=MARKS[sdk]) for sdk in SDKS])
async def test_a_cancelled_call_is_one_row(sdk: str, server: ProviderServer, tmp_path: Path) -> None:
    """Whose caller sees the cancellation."""
    first = next(iter(OF[sdk].CASES.values()))
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db").instrument(sdk) as telemetry:
        async with client_of(sdk, server, "slow", asynchronous=True) as client:
            before = server.asked["slow"]
            task = asyncio.ensure_future(first.ask(client))
            while server.asked["slow"] == before:  # noqa: ASYNC110 - the server runs in a thread
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        (row,) = await telemetry.get_invocations()
    assert (row["status"], row["error_type"], row["source"]) == ("error", "cancelled", f"sdk:{sdk}")
