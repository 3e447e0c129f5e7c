"""Small parts of what sees calls, each given what seldom comes: other processes, other releases, values that raise."""

import importlib.abc
import importlib.machinery
import logging
import sys
import threading
from collections import Counter
from types import ModuleType, SimpleNamespace
from typing import Any
from weakref import WeakKeyDictionary

import pytest

from llm_service.errors import QueryError
from llm_service.estimates import tokens
from llm_service.pricing.called_names import priced_as
from llm_service.telemetry.client import budgeted_call
from llm_service.telemetry.instrumentation import fork_locks, nested_calls, request_parameters, seen_calls
from llm_service.telemetry.instrumentation.responses import plain_answers
from llm_service.telemetry.instrumentation.sdk import import_watch
from llm_service.telemetry.privacy.nested import clean_json
from llm_service.telemetry.stores.base import Fault
from llm_service.telemetry.writer.backfill_schedule import BackfillSchedule

HIDDEN = "[REDACTED:named-secret]"


@pytest.mark.parametrize(
    ("given", "cleaned", "count"),
    [
        ('["run", "--api-key", "s3cr3t-of-mine"]', '["run","--api-key","[REDACTED:command-option]"]', 1),
        ('["run", "--api-key=s3cr3t-of-mine", "x"]', f'["run","--api-key={HIDDEN}","x"]', 1),
        ('["x", ["api_key", "s3cr3t-0f-mine"]]', f'["x",["api_key","{HIDDEN}"]]', 1),
        ('["-v", "x", {"password": "hunter2!"}]', f'["-v","x",{{"password":"{HIDDEN}"}}]', 1),
        ('["run", "--api-key", "--verbose"]', '["run", "--api-key", "--verbose"]', 0),
        ('["run", "-x", "plain"]', '["run", "-x", "plain"]', 0),
    ],
)
def test_secrets_in_arguments(given: str, cleaned: str, count: int) -> None:
    """Behind an option, within it, in a pair or an object among them; where none is, the text stays as it is."""
    counts: Counter[str] = Counter()
    found = clean_json(given, lambda text, _: text, counts)
    assert "s3cr3t" not in found
    assert "hunter2" not in found
    assert (found, sum(counts.values())) == (cleaned, count)


def test_a_block_of_the_parent_process_counts_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What begins in a child is no call within it."""
    block: Any = SimpleNamespace(_waits=True)
    monkeypatch.setattr(nested_calls, "is_of_parent", lambda _: True)
    assert nested_calls.begin_block_in(block) is None
    assert nested_calls.begin_in(block, block) is None
    nested_calls.hold_span_in(block)
    assert vars(block) == {"_waits": True}


def test_a_call_whose_row_could_not_be_made_is_not_counted() -> None:
    """Its unknown cost is; once the block is settled, nothing is."""
    calls = nested_calls.NestedCalls(reserved=True)
    calls.row_made(None, was_told=False, unpriced=True)
    assert (calls.counted, calls.unpriced) == (0, 1)


def test_a_lock_that_another_thread_held_is_free_in_a_child(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody held is as it was."""
    held, free = threading.Lock(), threading.Lock()
    thread = threading.Thread(target=held.acquire)
    thread.start()
    thread.join()
    monkeypatch.setattr(fork_locks, "_made", WeakKeyDictionary({held: None, free: None}))
    fork_locks._free_in_child()
    assert not held.locked()
    assert not free.locked()


class Unreadable:
    """A value of a caller's that raises wherever it is touched."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("hands off")


class Schema:
    """A model whose schema cannot be made."""

    def model_json_schema(self) -> Any:
        """Raises."""
        raise TypeError("a field of no type")


def test_parameters_of_a_request() -> None:
    """How it is served within what holds parameters; names that raise; schemas that cannot be made."""
    assert [request_parameters._text(value) for value in ("text", {"a": 1})] == ["text", '{"a": 1}']
    schema = Schema()
    assert request_parameters._text(schema) == [schema]
    fields: dict[str, Any] = {"service_tier": {"type": "flex"}}
    request_parameters._take_served(fields, {})
    assert fields == {"service_tier": "flex"}
    beside: dict[str, Any] = {
        "extra_body": {"service_tier": "flex", "holograms": 3, "robots": False},
        "service_tier": None,
    }
    assert request_parameters._opened(beside) == ["extra_body.holograms"]
    assert beside["service_tier"] == "flex"
    assert request_parameters._opened({"extra_body": {"service_tier": None}}) == []


def test_a_plain_answer_is_one_of_a_known_class() -> None:
    """What is none, or holds more than it declares, is read the long way."""
    assert plain_answers.kept_of({"usage": {}}) is None
    assert plain_answers._are_plain(None)
    assert not plain_answers._are_plain("text")
    assert not plain_answers._are_plain([{}] * 1000)
    usage = {"input_tokens": 12, "output_tokens": 3}
    plain = ("claude-opus-4-6", "msg_1", "req_1", "standard", "end_turn", usage, "message")
    found = plain_answers.plain_fields_of(plain)
    assert found is not None
    assert (found["service_tier"], found["request_id"], found["prompt_tokens"]) == ("standard", "req_1", 12)
    for place, odd in ((0, ""), (1, "x" * 1000), (3, "of my own")):
        assert plain_answers.plain_fields_of((*plain[:place], odd, *plain[place + 1 :])) is None  # type: ignore[arg-type]


class Finder(importlib.abc.MetaPathFinder):
    """Knows one module that has a loader, and one that has none."""

    loader: Any = SimpleNamespace(exec_module=lambda _: None, path="here")

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:  # noqa: ARG002 - of the protocol
        """Its spec."""
        known = {"watched_module": self.loader, "watched_folder": None}
        return importlib.machinery.ModuleSpec(fullname, known[fullname]) if fullname in known else None


def test_a_module_is_told_of_whatever_finds_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a loader without `create_module`; a folder that is a package has none."""
    told: list[ModuleType] = []
    monkeypatch.setattr(sys, "meta_path", [Finder()])
    monkeypatch.setattr(import_watch, "_waiting", {})
    for name in ("watched_module", "watched_folder", "watched_nowhere"):
        import_watch.when_imported(name, told.append)
    finder = import_watch._FINDER
    assert sys.meta_path[0] is finder
    assert finder.find_spec("another", None) is None
    assert finder.find_spec("watched_nowhere", None) is None
    folder = finder.find_spec("watched_folder", None)
    assert folder is not None
    assert folder.loader is None
    spec = finder.find_spec("watched_module", None)
    assert spec is not None
    loader: Any = spec.loader
    assert (loader.create_module(spec), loader.path) == (None, "here")
    module = ModuleType("watched_module")
    module.__spec__ = None
    loader.exec_module(module)
    loader.exec_module(module)
    assert told == [module]
    assert module.__loader__ is Finder.loader


def test_a_call_that_cannot_be_settled_is_said(caplog: pytest.LogCaptureFixture) -> None:
    """From a finalizer nothing is raised."""

    def fails(_record: Any) -> None:
        raise RuntimeError("closed")

    caplog.set_level(logging.ERROR, "llm_service.telemetry")
    budgeted_call._end_soon(SimpleNamespace(offer=fails), None, SimpleNamespace())  # type: ignore[arg-type]
    budgeted_call._end_soon(SimpleNamespace(), SimpleNamespace(end=None, end_later=fails), None)  # type: ignore[arg-type]
    assert caplog.text.count("could not be settled with its budgets: closed") == 2


def test_what_a_migration_left_is_gone_on_with(caplog: pytest.LogCaptureFixture) -> None:
    """Soon after a step, or as soon as another process may be done; after a lock at once, after a fault in a minute."""
    now, kind = [0.0], [Fault.LOCKED]
    waits: list[Any] = [0.0, 5.0, None, ValueError("refused"), ValueError("refused"), ValueError("refused")]

    def backfill(_holder: str) -> float | None:
        answer = waits.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    store: Any = SimpleNamespace(classify=lambda _: kind[0])
    session: Any = SimpleNamespace(backfill=backfill)
    schedule = BackfillSchedule(store, "me", clock=lambda: now[0])
    assert schedule.due_in() == 0
    for expected, busy in ((0.001, True), (5.0, True), (3600.0, False)):
        schedule.turn(session)
        assert (schedule.due_in(), schedule.busy) == (expected, busy)
    schedule.turn(session)
    assert 0 < (schedule.due_in() or 0) < 10
    kind[0] = Fault.TRANSIENT
    schedule.turn(session)
    assert schedule.due_in() == 60.0
    assert caplog.text.count("roll-ups of older records do not get on: refused") == 1
    schedule.failed(ValueError("refused"), warn=False)
    assert caplog.text.count("do not get on") == 1
    never = BackfillSchedule(store, "me", looks=False)
    never.turn(session)
    never.failed(ValueError("refused"))
    assert never.due_in() is None
    assert len(waits) == 1


@pytest.mark.parametrize(
    ("name", "provider", "looked_up"),
    [
        ("azure/gpt-no-such", "azure", "azure/eu/gpt-no-such"),
        ("google/gemini-no-such", "google-vertex", "google/eu/gemini-no-such"),
        ("no-such", "anthropic", "eu/no-such"),
    ],
)
def test_a_region_stands_behind_the_path_of_its_seller(name: str, provider: str, looked_up: str) -> None:
    """As in price lists."""
    assert priced_as(name, None, provider, "EU")[0] == looked_up


def test_what_is_remembered_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """The latest ids; an object in the place of one is none, and what another saw at another time is another call."""
    monkeypatch.setattr(seen_calls, "_MOST", 2)
    sink: Any = SimpleNamespace(answered={})
    for response_id in ("a", "b", None, "c"):
        seen_calls.remember_row(sink, response_id)
    assert [seen_calls.has_row(sink, response_id) for response_id in ("a", "b", "c", None, 5)] == [
        False,
        True,
        True,
        False,
        False,
    ]
    one, other = (
        SimpleNamespace(by_framework=by_framework, began=began, ended=began + 5, fields={"response_id": "r"})
        for by_framework, began in ((True, 10), (False, 20))
    )
    assert not seen_calls.Seen.is_of(one, other)  # type: ignore[arg-type]
    assert not seen_calls.Seen.is_of(one, one)  # type: ignore[arg-type]


def test_a_prompt_of_too_many_parts_is_refused() -> None:
    """An iterator may be endless."""
    assert tokens._bounded("prompt", ["a", "b"]) == ["a", "b"]
    with pytest.raises(QueryError, match="give at most"):
        tokens._bounded("prompt", range(tokens._MOST_PARTS + 1))
