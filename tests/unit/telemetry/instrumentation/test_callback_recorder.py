"""A framework's callbacks, told by hand: what becomes one row, what several, and what none."""

import asyncio
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.inside import core_of

from llm_service.pricing import sellers
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.callbacks import CallbackRecorder
from llm_service.telemetry.instrumentation.frameworks import places
from llm_service.telemetry.instrumentation.frameworks import recorder as recorder_module
from llm_service.telemetry.instrumentation.frameworks.framework_call import FrameworkCall
from llm_service.telemetry.instrumentation.frameworks.richest import richest
from llm_service.telemetry.instrumentation.open_blocks import current
from llm_service.telemetry.instrumentation.sdk.sdk_call import SdkCall

ANSWER = {"id": "a-1", "model": "gpt-5-mini", "usage": {"prompt_tokens": 12, "completion_tokens": 5}}
USED = {"usage_source": "reported", "prompt_tokens": 12, "completion_tokens": 5, "response_id": "a-1"}


@pytest.fixture
def telemetry(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger."""
    with TelemetryLogger(tmp_path / "t.db") as made:
        yield made
    current.set(None)


@pytest.fixture
def recorder(telemetry: TelemetryLogger) -> CallbackRecorder:
    """A recorder of it."""
    return CallbackRecorder(telemetry, "harness")


def rows(telemetry: TelemetryLogger) -> list[Any]:
    """Oldest first."""
    return [*reversed(telemetry.get_invocations())]


def request(telemetry: TelemetryLogger, **fields: Any) -> SdkCall:
    """A call that a hook sees begin."""
    call = SdkCall(core_of(telemetry), {"source": "sdk:test", **fields}, 1)
    call.start()
    return call


def test_a_call_and_its_span_are_a_row_each(telemetry: TelemetryLogger, recorder: CallbackRecorder) -> None:
    """And what nobody knows is passed over."""
    recorder.begin("task", operation="workflow", session_id="s-1", own={"tool_name": "the task"})
    recorder.begin("call", "task", request_model="gpt-5-mini")
    recorder.first_token("call")
    assert recorder.is_running("call")
    assert recorder.end("call", ANSWER)
    assert not recorder.end("call", ANSWER)
    recorder.end("task")
    for key in ("nobody", "task"):
        recorder.first_token(key)
        recorder.retried(key)
        recorder.sent(key)
        recorder.withdraw(key)
    call, span = sorted(rows(telemetry), key=lambda row: row["operation"])
    assert (call["source"], call["session_id"], call["total_tokens"], call["stream"]) == ("harness", "s-1", 17, 1)
    assert (call["tool_name"], span["tool_name"]) == (None, "the task")
    assert call["parent_invocation_id"] == span["invocation_id"]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), GeneratorExit(), OSError("gone")], ids=repr)
@pytest.mark.parametrize("begins", ["first_token", "arrived", None])
def test_who_goes_away_from_a_stream_that_has_begun_ends_it_as_a_success(
    telemetry: TelemetryLogger, recorder: CallbackRecorder, begins: str | None, error: BaseException
) -> None:
    """Before that the request is cancelled; any other error is one."""
    recorder.begin("call", request_model="gpt-5-mini", stream=True)
    if begins is not None:
        getattr(recorder, begins)("call")
    recorder.end("call", error=error)
    (row,) = rows(telemetry)
    left = isinstance(error, GeneratorExit) or (begins is not None and not isinstance(error, OSError))
    assert (row["status"], row["finish_reason"]) == (("success", "cancelled") if left else ("error", None))
    assert (row["error_type"] is None) is left


def test_failed_requests_are_attempts_of_the_one_that_was_answered(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """Whose row it is, with what the framework adds."""
    recorder.begin("call", request_model="gpt-5-mini", agent_name="helper", metadata={"a": 1})
    request(telemetry).end({}, ConnectionError("no"))
    request(telemetry).end(USED)
    request(telemetry).end({}, ConnectionError("no"))
    recorder.end("call", ANSWER, finish_reason="stop")
    (row,) = rows(telemetry)
    assert (row["attempts"], row["prompt_tokens"], row["status"]) == (3, 12, "success")
    assert (row["source"], row["agent_name"], row["finish_reason"]) == ("sdk:test", "helper", "stop")


def test_several_answered_requests_are_rows_of_their_own(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """The framework's call around them is a chain, and so is a block that repeats one of them."""
    with telemetry.invocation("someone") as block:
        recorder.begin("call")
        for number in range(2):
            request(telemetry).end(USED | {"response_id": f"a-{number}"})
        recorder.end("call", ANSWER)
        block.set(response_id="a-1", prompt_tokens=12, completion_tokens=5)
    found = rows(telemetry)
    assert sorted(str(row["operation"]) for row in found) == ["None", "None", "chain", "chain"]
    assert sum(row["total_tokens"] or 0 for row in found) == 34


@pytest.mark.parametrize("is_span", [True, False])
def test_what_is_called_within_a_call_makes_it_a_chain(
    telemetry: TelemetryLogger, recorder: CallbackRecorder, is_span: bool
) -> None:
    """A model that is made of others is no call itself."""
    recorder.begin("outer")
    if is_span:
        recorder.begin("span", operation="chain")
        request(telemetry).end(USED)
        recorder.end("span")
    else:
        with telemetry.invocation("inner"):
            request(telemetry).end(USED)
    recorder.end("outer", ANSWER)
    assert sum(row["total_tokens"] or 0 for row in rows(telemetry)) == 17


def test_the_outcome_of_the_framework_counts_where_the_request_succeeded(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """And the request's own error says more where it failed."""
    for error in (None, ConnectionError("refused")):
        recorder.begin("call")
        request(telemetry).end(USED if error is None else {}, error)
        recorder.end("call", error=ValueError("cannot be read"))
    recorder.begin("alone")
    recorder.end("alone", error=ConnectionRefusedError("nobody there"))
    assert [(row["status"], row["error_type"]) for row in rows(telemetry)] == [
        ("error", "ValueError"), ("error", "ConnectionError"), ("error", "ConnectionRefusedError"),
    ]  # fmt: skip
    assert rows(telemetry)[-1]["cost_usd"] == 0


def test_a_request_that_still_runs_is_cut_short(telemetry: TelemetryLogger, recorder: CallbackRecorder) -> None:
    """The framework has read it all: its counts stand."""
    recorder.begin("call")
    open_request = request(telemetry, stream=True)
    open_request.on_cut = lambda: open_request.end({"finish_reason": "cancelled", "usage_source": "partial"})
    recorder.end("call", ANSWER)
    open_request.end(USED)
    (row,) = rows(telemetry)
    assert (row["prompt_tokens"], row["finish_reason"], row["usage_source"]) == (12, None, "reported")


@pytest.mark.parametrize("first", ["hook", "framework"])
@pytest.mark.parametrize("has_id", [True, False])
def test_what_is_seen_in_two_contexts_is_one_call(
    telemetry: TelemetryLogger, recorder: CallbackRecorder, first: str, has_id: bool
) -> None:
    """Whoever ends last makes no row; and each is found once."""
    used = USED if has_id else {field: value for field, value in USED.items() if field != "response_id"}
    for _ in range(3):
        elsewhere = threading.Thread(target=recorder.begin, args=("call",), kwargs={"request_model": "gpt-5-mini"})
        elsewhere.start()
        elsewhere.join()
        seen = request(telemetry, request_model="gpt-5-mini")
        ends = [lambda seen=seen: seen.end(used), lambda: recorder.end("call", ANSWER)]
        for end in ends if first == "hook" else reversed(ends):
            end()
    assert [row["total_tokens"] for row in rows(telemetry)] == [17] * 3


def test_calls_of_other_ids_counts_or_times_are_two(telemetry: TelemetryLogger, recorder: CallbackRecorder) -> None:
    """One is not taken for the other."""
    request(telemetry, request_model="m").end(USED)  # before
    current.set(None)
    for fields in (USED | {"response_id": "another"}, {"prompt_tokens": 1}, {"prompt_tokens": 12, "model_name": "x"}):
        elsewhere = threading.Thread(target=recorder.begin, args=("call",), kwargs={"request_model": "m"})
        elsewhere.start()
        elsewhere.join()
        request(telemetry).end(fields)
        current.set(None)
        recorder.end("call", ANSWER)
    assert len(rows(telemetry)) == 7


def test_a_call_that_turns_out_to_be_none_leaves_its_block_as_it_was(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """A cache answered; also within a call, and within a span."""
    with telemetry.invocation("someone") as block:
        recorder.begin("cached")
        recorder.withdraw("cached")
        block.record_usage(prompt_tokens=1)
    recorder.begin("outer")
    recorder.begin("inner", "outer")
    recorder.withdraw("inner")
    recorder.end("outer", ANSWER)
    assert [row["prompt_tokens"] for row in rows(telemetry)] == [1, 12]


def test_what_ends_with_its_request_ends_there(telemetry: TelemetryLogger, recorder: CallbackRecorder) -> None:
    """And takes no other call for its request."""
    telemetry.instrument()
    recorder.begin("late", ends_with_request=True, request_model="m")
    request(telemetry, request_model="another").end({"prompt_tokens": 1})
    request(telemetry, request_model="m").end(USED)
    assert recorder.has_ended("late")
    assert not recorder.end("late", ANSWER)
    recorder.begin("sent", ends_with_request=True)
    recorder.retried("sent")
    recorder.sent("sent")
    request(telemetry).end({"prompt_tokens": 2})
    recorder.end("sent", ANSWER | {"id": "a-2"})
    found = rows(telemetry)
    assert sorted(row["prompt_tokens"] for row in found) == [1, 2, 12, 12]
    assert [row["attempts"] for row in found if row["response_id"] == "a-2"] == [2]


def test_a_block_with_a_budget_does_not_wait_for_a_late_call(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """A block without one does: the late call is its row."""
    with telemetry.invocation("someone"):
        recorder.begin("late", request_model="m")
    recorder.end("late", ANSWER)
    call = FrameworkCall(core_of(telemetry), {})
    call.start_within(None)
    assert call.cut_short()["latency_ms"] >= 0
    (row,) = rows(telemetry)
    assert (row["agent_name"], row["total_tokens"]) == ("someone", 17)


def test_a_skipped_span_gives_its_place_to_what_is_around_it(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """Also where that is not known."""
    recorder.begin("outer", operation="chain", current=False)
    recorder.skip("hidden", "outer")
    recorder.skip("lost", "nobody")
    recorder.begin("call", "hidden")
    recorder.end("call", ANSWER)
    recorder.end("hidden")
    recorder.end("outer")
    call, span = sorted(rows(telemetry), key=lambda row: row["total_tokens"] is None)
    assert call["parent_invocation_id"] == span["invocation_id"]


def test_what_nobody_ends_is_given_up(
    telemetry: TelemetryLogger, recorder: CallbackRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The oldest first."""
    monkeypatch.setattr(recorder_module, "_MOST", 2)
    for number in range(7):
        recorder.begin(number, operation="chain", current=False, ends_with_request=True)
        recorder.begin(f"call {number}", ends_with_request=True)
    found = rows(telemetry)
    assert len(found) == 12
    assert {row["error_type"] for row in found} == {"never_ended"}


def test_nothing_that_a_framework_tells_raises(recorder: CallbackRecorder, caplog: pytest.LogCaptureFixture) -> None:
    """It is said once."""
    recorder.begin("key")
    recorder._running["key"] = object()  # type: ignore[assignment]
    recorder.end("key")
    recorder.begin("odd")
    recorder.end("odd", 42)
    recorder.begin("x", operation=["not", "hashable"])  # type: ignore[arg-type]
    assert [record.message.split(" is not")[0] for record in caplog.records] == ["telemetry: harness"]


def test_what_a_block_says_stands_above_what_may_be_said_otherwise(
    telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """Of the nearest that says it."""
    with telemetry.invocation("a", session_id="said", operation="agent"):
        recorder.begin("span", operation="chain", otherwise={"session_id": "made", "user_id": "u"})
        recorder.begin("call", otherwise={"session_id": "made"})
        recorder.end("call", ANSWER)
        recorder.end("span")
    assert {row["session_id"] for row in rows(telemetry)} == {"said"}


def test_a_forgotten_call_hands_over_what_it_kept(telemetry: TelemetryLogger, recorder: CallbackRecorder) -> None:
    """By its collection, or by the close of the logger."""
    recorder.begin("call")
    request(telemetry).end(USED)
    recorder._running.clear()
    recorder._known.clear()
    current.set(None)
    recorder.begin("kept")
    request(telemetry).end(USED | {"response_id": "a-2"})
    telemetry.close()
    with TelemetryLogger(telemetry.db_path) as again:
        assert sorted(row["response_id"] for row in again.get_invocations()) == ["a-1", "a-2"]


def test_a_program_that_ends_within_a_call_has_its_request(tmp_path: Path) -> None:
    """As with a block."""
    program = """
        from llm_service.telemetry import TelemetryLogger
        from llm_service.telemetry.callbacks import CallbackRecorder
        from llm_service.telemetry.instrumentation.sdk.sdk_call import SdkCall

        telemetry = TelemetryLogger("t.db")
        recorder = CallbackRecorder(telemetry, "harness")
        recorder.begin("call", agent_name="helper")
        call = SdkCall(telemetry._core, {}, None)
        call.start()
        call.end({"prompt_tokens": 3})
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(program)], cwd=tmp_path, check=True)
    with TelemetryLogger(tmp_path / "t.db") as telemetry:
        assert [(row["agent_name"], row["prompt_tokens"]) for row in telemetry.get_invocations()] == [("helper", 3)]


def test_usage_is_of_one_of_them_and_the_seller_of_the_nearer() -> None:
    """Counts of two are never mixed."""
    nearer = {"usage_source": "partial", "prompt_tokens": 1, "finish_reason": "length", "response_id": None}
    farther = {"prompt_tokens": 12, "completion_tokens": 5, "provider": "openai", "latency_ms": 2, "tags": None}
    assert richest(nearer, farther, {}) == {
        "prompt_tokens": 12, "completion_tokens": 5, "finish_reason": "length", "latency_ms": 2,
    }  # fmt: skip
    assert richest({"usage_source": "reported", "prompt_tokens": 1}, farther, {}) == {
        "usage_source": "reported", "prompt_tokens": 1, "latency_ms": 2,
    }  # fmt: skip


@pytest.mark.parametrize("parents", [(None, None, None), ("flow", "flow", "flow")])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_calls_that_run_side_by_side_are_rows_of_their_own(
    parents: tuple[str | None, ...], order: tuple[int, ...], telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """They begin in one context, and none is within another."""
    recorder.begin("flow", operation="workflow")
    for number, parent in enumerate(parents):
        recorder.begin(number, parent, request_model=f"m{number}")
    for number in order:
        recorder.end(number, {"usage": {"prompt_tokens": number, "completion_tokens": 1}})
    recorder.end("flow")
    calls = [row for row in rows(telemetry) if row["operation"] == "chat"]
    assert sorted((row["model_name"], row["prompt_tokens"]) for row in calls) == [("m0", 0), ("m1", 1), ("m2", 2)]


@pytest.mark.parametrize("again", ["other", "lost"])
def test_a_call_whose_end_is_not_told_keeps_no_other_back(
    again: str, telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """Not even one that begins with its id. It has a row when its logger closes, which says so."""
    recorder.begin("lost", request_model="m")
    recorder.begin(again, request_model="m")
    recorder.end(again, ANSWER)
    for number in range(3):
        request(telemetry).end(USED | {"response_id": f"b-{number}"})
    assert len(rows(telemetry)) == 4 + (again == "lost")
    telemetry.close()
    with TelemetryLogger(telemetry.db_path) as after:
        ended = after.get_invocations()
    assert sorted(str(row["error_type"]) for row in ended) == ["None"] * 4 + ["never_ended"]


async def test_a_cancelled_task_ends_the_calls_that_began_in_it(tmp_path: Path) -> None:
    """Where the framework does not tell; what a task begins and leaves behind may still end."""
    async with AsyncTelemetryLogger(tmp_path / "telemetry.db") as telemetry:
        recorder = CallbackRecorder(telemetry, "harness")

        begun = asyncio.Event()

        async def call(key: str, seconds: float) -> None:
            recorder.begin(key, request_model=key)
            begun.set()
            await asyncio.sleep(seconds)

        task = asyncio.create_task(call("cancelled", 60))
        await begun.wait()
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await asyncio.create_task(call("left", 0))
        await asyncio.sleep(0)
        recorder.end("left", ANSWER)
        found = {row["request_model"]: row for row in await telemetry.get_invocations()}
    assert (found["cancelled"]["status"], found["cancelled"]["error_type"]) == ("error", "cancelled")
    assert (found["left"]["status"], found["left"]["prompt_tokens"]) == ("success", 12)
    assert not recorder._others_in


SAID: dict[str, tuple[dict[str, Any], str, int | None]] = {
    "a text": ({"error": "boom"}, "error", None),
    "an exception": ({"error": TimeoutError("boom")}, "timeout", None),
    "an error of a provider": ({"error": {"message": "boom", "code": 500}}, "error", None),
    "an error and usage": ({"answer": ANSWER, "error": "boom"}, "error", 17),
    "an error and no status": ({"error": "boom", "status": None}, "error", None),
    "a status": ({"answer": ANSWER, "status": "failed"}, "error", 17),
    "a status that nobody knows": ({"answer": ANSWER, "status": "whatever"}, "error", 17),
    "others' names": ({"input_tokens": 12, "output_tokens": 5}, "success", 17),
    "a name of no field": ({"answer": ANSWER, "temperature": 0.5}, "success", 17),
    "a value that cannot be": ({"answer": ANSWER, "attempts": "many"}, "success", 17),
}


@pytest.mark.parametrize(("said", "status", "tokens"), SAID.values(), ids=SAID)
def test_one_odd_argument_costs_no_call(
    said: dict[str, Any], status: str, tokens: int | None, telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """At its end, and as it begins."""
    fields = {name: value for name, value in said.items() if name not in {"answer", "error"}}
    recorder.begin("call", request_model="m", **fields)
    recorder.end("call", **said)
    (row,) = rows(telemetry)
    assert (row["status"], row["total_tokens"]) == (status, tokens)
    recorder.begin([], request_model="m")  # type: ignore[arg-type]
    recorder.end([])  # type: ignore[arg-type]


LABELS = sorted(sellers.PROVIDERS | places.NAMES | dict.fromkeys(("snowflakecortex", "litellm_proxy", "New"), ""))
HOSTS = {
    "https://api.openai.com/v1": "openai",
    "https://openrouter.ai/api/v1": "openrouter",
    "http://localhost:11434/v1": "ollama",
}


@pytest.mark.parametrize("label", LABELS)
def test_no_label_of_a_seller_is_lost(label: str) -> None:
    """It may be said in other words; one that nobody knows is passed on, so that it has no other seller's price."""
    place = places.place_of(label)
    told = sellers.provider_of(places.NAMES.get(label, label))
    assert sellers.provider_of(place["provider"]) == told
    if label in sellers.PROVIDERS:
        assert told == sellers.provider_of(label)
        assert sellers.api_of(place["provider"]) == (sellers.api_of(label) or ("gemini" if label == "google" else None))
    if places.is_protocol(label) or told is None:
        assert places.place_of(label, "https://example.com/v1") == {}
    else:
        assert places.place_of(label, "https://example.com/v1") == places.place_of(label, "http://[") == place
    for url, seller in HOSTS.items():
        assert places.place_of(label, url)["provider"] == seller


def test_a_seller_that_the_nearer_does_not_know_is_the_farthers_unless_it_may_be_a_protocol() -> None:
    """As that of an SDK at a host that nobody knows."""
    for label in LABELS:
        said = places.place_of(label)
        told = said if places.names_seller(label) else {}
        assert richest({"prompt_tokens": 1}, said, {}) == {"prompt_tokens": 1} | told
        assert richest({"provider": "groq"}, said, {}) == {"provider": "groq"}


@pytest.mark.parametrize("error", [None, "", "boom", {}, ValueError("boom"), ValueError, 0])
def test_what_has_failed_is_no_success_whatever_is_told_of_how(
    error: object, telemetry: TelemetryLogger, recorder: CallbackRecorder
) -> None:
    """A call, and a span."""
    for operation in ("chat", "chain"):
        recorder.begin(operation, operation=operation, current=False)
        assert recorder.fail(operation, error, finish_reason="broken")
        assert not recorder.fail(operation, error)
    assert [(row["status"], row["finish_reason"]) for row in rows(telemetry)] == [("error", "broken")] * 2


def two(telemetry: TelemetryLogger, *, unique: bool = False) -> list[CallbackRecorder]:
    """Two recorders of one framework, as two callbacks of it have."""
    return [CallbackRecorder(telemetry, "harness", ids_are_unique=unique) for _ in range(2)]


@pytest.mark.parametrize("unique", [False, True])
@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
@pytest.mark.parametrize("hook", [False, True])
def test_what_two_recorders_of_one_framework_are_told_is_one_row_each(
    unique: bool, order: tuple[int, int], hook: bool, telemetry: TelemetryLogger
) -> None:
    """In the order in which it begins, or the other; what the second is told beside that changes nothing."""
    recorders = two(telemetry, unique=unique)
    for recorder in recorders:
        recorder.begin("task", operation="workflow", otherwise={"session_id": "s-1"}, tool_name="t")
    for recorder in recorders:
        recorder.begin("call", "task", request_model="gpt-5-mini")
        assert recorder.is_running("call")
    if hook:
        request(telemetry).end(USED)
    for recorder in recorders:
        recorder.first_token("call")
    for number in order:
        assert recorders[number].end("call", ANSWER)
        assert not recorders[number].is_running("call")
        assert not recorders[number].end("call", ANSWER)
    for number in order:
        assert recorders[number].end("task")
    call, span = sorted(rows(telemetry), key=lambda row: row["operation"] == "workflow")
    assert (call["total_tokens"], call["attempts"], call["session_id"]) == (17, 1 if hook else None, "s-1")
    assert call["parent_invocation_id"] == span["invocation_id"]
    assert not [recorder.followed for recorder in recorders if recorder.followed]
    for recorder in recorders:  # and once more, under the same id
        recorder.begin("call", request_model="gpt-5-mini")
    for recorder in recorders:
        recorder.end("call", ANSWER)
    assert len(rows(telemetry)) == 3


def test_a_call_that_is_none_is_none_for_both_recorders(telemetry: TelemetryLogger) -> None:
    """Whichever is told first."""
    for first, second in (two(telemetry), two(telemetry)[::-1]):
        for recorder in (first, second):
            recorder.begin("call")
        for recorder in (second, first):
            recorder.retried("call")
            recorder.sent("call")
            recorder.withdraw("call")
        assert not second.is_running("call")
    assert rows(telemetry) == []


@pytest.mark.parametrize("unique", [False, True])
def test_ids_that_may_be_counters_are_the_same_call_only_where_it_begins_in_the_same_context(
    unique: bool, telemetry: TelemetryLogger
) -> None:
    """Those that are unique are so in any thread; and once each, however often one recorder is told."""
    recorders = two(telemetry, unique=unique)
    for recorder in recorders:
        thread = threading.Thread(target=recorder.begin, args=(1,), kwargs={"request_model": "m"})
        thread.start()
        thread.join()
    for recorder in recorders:
        assert recorder.end(1, ANSWER)
    assert len(rows(telemetry)) == (1 if unique else 2)
    if unique:
        recorders[0].begin(2, operation="chain")
        recorders[0].begin(2, operation="chain")
        assert [recorders[0].end(2), recorders[0].end(2)] == [True, False]
        assert len(rows(telemetry)) == 2


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"operation": "workflow"}, {"operation": "invoke_agent"}),
        ({"operation": "invoke_agent", "agent_name": "a"}, {"operation": "invoke_agent", "agent_name": "b"}),
        ({"operation": "workflow"}, {"operation": "chat"}),
        ({"request_model": "m"}, {"request_model": "n"}),
    ],
)
def test_a_counter_of_a_harness_within_a_harness_is_another(
    first: dict[str, Any], second: dict[str, Any], telemetry: TelemetryLogger
) -> None:
    """By its names; of another source or another logger it is another, too."""
    outer, inner = two(telemetry)
    outer.begin(0, **first)
    inner.begin(0, **second)
    inner.end(0)
    outer.end(0)
    assert len(rows(telemetry)) == 2
    outer.begin(1, request_model="m")
    other = CallbackRecorder(telemetry, "another")
    other.begin(1, request_model="m")
    assert other.is_current(1)
    assert not outer.is_current(1)
    other.end(1, ANSWER)
    outer.end(1, ANSWER)
    assert len(rows(telemetry)) == 3  # one within the other is its request


def test_each_logger_has_its_own_row(telemetry: TelemetryLogger, tmp_path: Path) -> None:
    """Two recorders, two loggers."""
    with TelemetryLogger(tmp_path / "other.db") as other:
        recorders = [CallbackRecorder(logger, "harness", ids_are_unique=True) for logger in (telemetry, other)]
        for recorder in recorders:
            recorder.begin("call", request_model="m")
        for recorder in recorders:
            recorder.end("call", ANSWER)
        assert [len(rows(logger)) for logger in (telemetry, other)] == [1, 1]


def test_a_recorder_that_is_never_told_of_ends_does_not_grow(
    telemetry: TelemetryLogger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it follows is forgotten, the oldest first."""
    monkeypatch.setattr(recorder_module, "_MOST", 2)
    first, second = two(telemetry, unique=True)
    for number in range(7):
        for recorder in (first, second):
            recorder.begin(number, operation="chain", current=False)
        first.end(number)
    assert len(second.followed) == 2
    assert len(second._told.running) == 0
    assert len(rows(telemetry)) == 7
