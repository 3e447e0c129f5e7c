"""Hooks use names of SDKs that any release may change: each is missed with one warning, and the client works on.

The names are derived: classes and methods from what the hooks ask for, attributes of objects from their source.
"""

import ast
import importlib
import inspect
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any

import pytest
import tests.framework_parts  # noqa: F401 - LiteLLM is not to ask the network
from tests.hidden_names import AskedModule, hidden_attribute, hidden_method
from tests.integration.telemetry.test_sdk_faces import HERE, OF, first, hooked_modules
from tests.integration.telemetry.test_sdks import client_of
from tests.provider_server import ProviderServer
from tests.sdk_cases.case import use, use_async
from tests.slices import quick

from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation import sdk as hooks_room
from llm_service.telemetry.instrumentation.frameworks import litellm_retries
from llm_service.telemetry.instrumentation.sdk import client_hooks, gemini_hooks, instruments

pytestmark = [
    pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession"),
    pytest.mark.filterwarnings("ignore:unclosed (transport )?<:ResourceWarning"),
]
Hiding = Callable[[pytest.MonkeyPatch], AbstractContextManager[None] | None]


@pytest.fixture(scope="module")
def server() -> Iterator[ProviderServer]:
    """The server of this module."""
    with ProviderServer() as started:
        yield started


def names_in_modules(sdk: str) -> Iterator[tuple[str, str]]:
    """Modules of an SDK, and what its hooks ask them for."""
    for module in hooked_modules(sdk):
        asked = AskedModule(module)
        instruments.SDKS[sdk](sdk, lambda: None).hooks(asked)
        for name in dict.fromkeys(asked.asked):
            yield module.__name__, name


def methods(sdk: str) -> Iterator[tuple[type, str]]:
    """Classes of an SDK, and the methods that are hooked of them; how an object is made is nobody's private name."""
    for module in hooked_modules(sdk):
        for kind, name, _ in instruments.SDKS[sdk](sdk, lambda: None).hooks(module):
            if not name.startswith("__"):
                yield kind, name


def hiding_in_module(sdk: str, module: str, name: str) -> Hiding:
    """Has the hooks not find a name in a module."""

    def hide(monkeypatch: pytest.MonkeyPatch) -> None:
        hooks = instruments.INSTRUMENTED[sdk].hooks
        original = hooks.hooks
        monkeypatch.setattr(
            hooks, "hooks", lambda given: original(AskedModule(given, name) if given.__name__ == module else given)
        )

    return hide


def hiding_method(kind: type, name: str) -> Hiding:
    """Has the hooks not find a method of a class."""
    return lambda _: hidden_method(kind, name)


NAMES = [
    *(
        pytest.param(sdk, hiding_in_module(sdk, module, name), id=f"{sdk}-{module}-{name}")
        for sdk in HERE
        for module, name in names_in_modules(sdk)
    ),
    *(
        pytest.param(sdk, hiding_method(kind, name), id=f"{sdk}-{kind.__name__}-{name}")
        for sdk in HERE
        for kind, name in methods(sdk)
        if name not in {client_hooks.MEDIATED, *gemini_hooks._PUBLIC}  # only Anthropic's newest; another stands in
    ),
]


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What was warned of; that it was said is forgotten before and after."""

    def forget() -> None:
        for sdk in instruments.INSTRUMENTED.values():
            sdk.hooks._failed = sdk.watched = False

    forget()
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        yield lambda: [record.message for record in caplog.records if "not as it was known" in record.message]
    forget()


@pytest.mark.parametrize(("sdk", "hide"), quick(NAMES, every=12))
async def test_without_a_name_of_its_classes_an_sdk_works_on_and_that_is_said_once(
    sdk: str, hide: Hiding, server: ProviderServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: Any
) -> None:
    """Its calls are recorded as far as they are seen, or not at all; nobody but the log tells."""
    plain, streamed = first(sdk, "keep"), first(sdk, "all")
    with hide(monkeypatch) or nullcontext():
        async with AsyncTelemetryLogger(tmp_path / "a.db").instrument(sdk) as telemetry:
            with client_of(sdk, server, **plain.client) as client:
                plain.ask(client)
                use("all", streamed.ask(client))
            async with client_of(sdk, server, asynchronous=True, **plain.client) as client:
                given = [plain.ask(client), streamed.ask(client)]
                given = [await one if inspect.iscoroutine(one) else one for one in given]
                await use_async("all", given[1])
            rows = await telemetry.get_invocations()
    assert len(said()) == 1
    assert len(rows) <= 4
    for row in rows:
        assert (row["status"], row["prompt_tokens"]) == ("success", plain.row["prompt_tokens"])


ATTRIBUTES: dict[str, tuple[str, str, list[str]]] = {
    "_api_client": ("google-genai", "google.genai.models", ["Models", "AsyncModels"]),
    "_event_generator": ("bedrock", "botocore.eventstream", ["EventStream"]),
    "_get_content_decoder": ("openai", "httpx2", ["Response"]),
    "_iterator": ("openai", "openai", ["Stream", "AsyncStream"]),
    "_parse_event": ("bedrock", "botocore.eventstream", ["EventStream"]),
    "_raw_stream": ("bedrock", "botocore.response", ["StreamingBody"]),
    "generator": ("mistral", "mistralai.client.utils.eventstreaming", ["EventStream", "EventStreamAsync"]),
}
"""By the attribute: the SDK, and the classes whose objects have it."""
READ = ("all", "read", "enter read", "enter parse")
"""How what is not read yet is used."""


def attributes_in_source() -> set[str]:
    """The private attributes of objects that hooks read, by their comments, and those that hold an iterator."""
    found = set[str]()
    hooked = {name for sdk in HERE for _, name in methods(sdk)}
    for path in Path(hooks_room.__path__[0]).glob("*.py"):
        text = path.read_text()
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Attribute) and "of the SDK" in lines[node.lineno - 1] and node.attr[0] == "_":
                found.add(node.attr)
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "record_stream":
                found |= {one.value for one in node.args if isinstance(one, ast.Constant) and type(one.value) is str}
    return found - hooked


def test_every_private_attribute_is_tried() -> None:
    """A new one needs a line in the table."""
    assert attributes_in_source() == set(ATTRIBUTES)


@pytest.mark.parametrize("name", [name for name, (sdk, _, _) in ATTRIBUTES.items() if sdk in HERE])
def test_without_an_attribute_of_its_objects_an_sdk_works_on_and_that_is_said_once(
    name: str, server: ProviderServer, tmp_path: Path, said: Any
) -> None:
    """Each call is a row at most, which claims no tokens that it has not seen; the caller has what it would have."""
    sdk, module, kinds = ATTRIBUTES[name]
    scenario = "gzip" if name == "_get_content_decoder" else "ok"
    cases = [case for case in OF[sdk].CASES.values() if case.use in READ and case.scenario == "ok" and case.row]
    with TelemetryLogger(tmp_path / "a.db") as logger:
        for case in cases:
            with client_of(sdk, server, scenario, **case.client) as client:
                expected = _used(case, client)
                with logger.instrumenting(sdk), _all_hidden(module, kinds, name):
                    assert _used(case, client) == expected
        rows = logger.get_invocations()
    assert cases
    assert len(said()) == 1
    assert len(rows) <= len(cases)
    assert {row["status"] for row in rows} <= {"success"}


def _used(case: Any, client: Any) -> int:
    """How many items it gave."""
    given = case.ask(client)
    if case.use == "all":
        return sum(1 for _ in given)
    use(case.use, given)
    return 0


def _all_hidden(module: str, kinds: list[str], name: str) -> ExitStack:
    stack = ExitStack()
    for kind in kinds:
        stack.enter_context(hidden_attribute(getattr(importlib.import_module(module), kind), name))
    return stack


@pytest.mark.parametrize("name", litellm_retries._NEEDED)
def test_without_what_litellm_tries_again_with_its_calls_are_rows_and_that_is_said(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Once for each callback."""
    litellm = pytest.importorskip("litellm")
    from llm_service.telemetry.litellm import TelemetryCallback

    monkeypatch.delattr(litellm, name)
    with TelemetryLogger(tmp_path / "a.db") as logger, caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        TelemetryCallback(logger)
    said = [record.message for record in caplog.records if "not as it was known" in record.message]
    assert [name in one for one in said] == [True]
