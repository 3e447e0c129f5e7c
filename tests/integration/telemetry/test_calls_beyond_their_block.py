"""Blocks that end before the calls within them: what they are is decided after the last of these, and once.

Each case is a number of calls, how and when their ends are told, and what the block is and says; what is to be counted,
and what of its budget stays unknown, follows from these three.
"""

import gc
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from tests.slices import quick

from llm_service.config.schemas import PoliciesConfig
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.callbacks import CallbackRecorder
from llm_service.telemetry.instrumentation import kept_calls

LIMIT = PoliciesConfig.model_validate({"policies": {"default": {"daily_budget_usd": 10}}})
HELD = 0.5
"""USD that a block with a budget holds."""
SAID: dict[str, dict[str, Any]] = {
    "plain": {}, "budget": {"budget": HELD}, "agent": {"operation": "agent", "budget": HELD},
    "last": {"budget": HELD}, "sum": {"budget": HELD, "model_name": "gpt-5-mini"},
}  # fmt: skip
"""Kinds of blocks, and what they are begun with."""


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has not ended here never does: no close waits a second for it."""
    monkeypatch.setattr(kept_calls, "LATE_SECONDS", 0.0)


def used_by(number: int) -> dict[str, int]:
    """What a call used: no two are alike, nor is one the sum of others."""
    return {"prompt_tokens": 1000 + 2**number, "completion_tokens": 10}


def answer_of(number: int) -> dict[str, Any]:
    """What a call was answered."""
    used = used_by(number)
    return {
        "id": f"chatcmpl-{number}", "object": "chat.completion", "model": "gpt-5-mini",
        "usage": used | {"total_tokens": sum(used.values())},
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "42"}}],
    }  # fmt: skip


def begin(recorder: CallbackRecorder, number: int) -> None:
    """A framework makes a call."""
    recorder.begin(number, request_model="gpt-5-mini", provider="openai", ends_with_request=True)
    recorder.sent(number)  # what comes next is another


def run(logger: TelemetryLogger, calls: int, kind: str, *, within: bool) -> Callable[[int], None]:
    """A block around calls, which end within it or not; gives what ends one of them."""
    recorder = CallbackRecorder(logger, "framework", ids_are_unique=True)

    def end(number: int) -> None:
        recorder.end(number, answer_of(number))

    with logger.invocation("boss", **SAID[kind]) as block:
        for number in range(calls):
            begin(recorder, number)
            if within:
                end(number)
        if kind == "last" and calls:
            block.record(answer_of(calls - 1))
        if kind == "sum" and calls:
            used = [used_by(number) for number in range(calls)]
            block.record_usage(**{name: sum(one[name] for one in used) for name in used[0]})
    return end


def counted(path: Path) -> tuple[int, int, int]:
    """Calls, tokens, and rows of a file."""
    with TelemetryLogger(path, policies=LIMIT) as logger:
        statistics, rows = logger.get_statistics(), logger.get_invocations()
    return statistics["total_invocations"], statistics["total_tokens"] or 0, len(rows)


def expected(calls: int, kind: str) -> tuple[int, int, int]:
    """The same, as it has to be: each call once, and the block a row beside them unless it is the only one."""
    is_call = kind != "agent" and calls <= 1
    tokens = sum(sum(used_by(number).values()) for number in range(calls))
    return calls or int(is_call), tokens, 1 if is_call else calls + 1


CASES = product(range(6), ["in the block", "after it", "in a thread"], SAID)


@pytest.mark.parametrize(("calls", "how", "kind"), quick(CASES, every=4))
def test_each_call_counts_once_and_its_block_holds_what_is_not_known(
    calls: int, how: str, kind: str, tmp_path: Path
) -> None:
    """Whoever tells their ends, and wherever."""
    path, reserves = tmp_path / "telemetry.db", "budget" in SAID[kind]
    with TelemetryLogger(path, policies=LIMIT) as logger:
        end = run(logger, calls, kind, within=how == "in the block")
        for number in range(calls if how != "in the block" else 0):
            if reserves:  # nothing is free before the last of them
                assert (logger.budgets.status()[0]["reserved"], logger.budgets.status()[0]["unknown"]) == (HELD, 0)
            if how == "in a thread":
                thread = threading.Thread(target=end, args=(number,))
                thread.start()
                thread.join()
            else:
                end(number)
        (status,) = logger.budgets.status()
        unknown = HELD if reserves and not calls else 0
        assert (status["reserved"], status["unknown"]) == (0, unknown)
    assert counted(path) == expected(calls, kind)


@pytest.mark.parametrize(("calls", "how", "kind"), quick(product(range(1, 6), ["close", "collect"], SAID), every=3))
def test_a_block_whose_calls_never_end_is_handed_over_with_what_is_known(
    calls: int, how: str, kind: str, tmp_path: Path
) -> None:
    """Once, and what it held stays unknown spend unless it said itself what it used."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, policies=LIMIT) as logger:
        end = run(logger, calls, kind, within=False)
        if how == "collect":
            del end
            gc.collect()
            rows = logger.get_invocations()
            assert [row["agent_name"] for row in rows if row["agent_name"]] == ["boss"]
    with TelemetryLogger(path, policies=LIMIT) as logger:
        (status,) = logger.budgets.status()
        rows = logger.get_invocations()
    assert len([row for row in rows if row["agent_name"] and row["parent_invocation_id"] is None]) == 1
    assert status["reserved"] == 0
    if kind in {"budget", "agent"}:
        assert status["unknown"] == HELD
    if how == "close":
        assert len(rows) == expected(calls, kind)[2]
        assert "never_ended" in {row["error_type"] for row in rows}


@pytest.mark.parametrize("calls", [1, 2])
@pytest.mark.parametrize("inner", [1, 2])
@pytest.mark.parametrize("repeats", [False, True])
def test_a_block_waits_for_the_blocks_within_that_wait(repeats: bool, inner: int, calls: int, tmp_path: Path) -> None:
    """However deep they are, and it may repeat what they have used."""
    with TelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT) as logger:
        recorder = CallbackRecorder(logger, "framework", ids_are_unique=True)
        numbers = range(calls * inner)
        said = {"model_name": "gpt-5-mini"} if repeats else {}
        with logger.invocation("outermost", budget=HELD), logger.invocation("outer", **said) as outer:
            for one in range(inner):
                with logger.invocation("inner"):
                    for number in range(one * calls, (one + 1) * calls):
                        begin(recorder, number)
            if repeats:
                used = [used_by(number) for number in numbers]
                outer.record_usage(**{name: sum(one[name] for one in used) for name in used[0]})
        for number in numbers:
            assert logger.budgets.status()[0]["reserved"] == HELD
            recorder.end(number, answer_of(number))
        (status,) = logger.budgets.status()
        assert (status["reserved"], status["unknown"]) == (0, 0)
        assert logger.get_statistics()["total_tokens"] == sum(sum(used_by(number).values()) for number in numbers)
        assert logger.get_statistics()["total_invocations"] == len(numbers)


@pytest.mark.parametrize("calls", [1, 2])
def test_a_block_that_is_entered_again_meanwhile_is_two(calls: int, tmp_path: Path) -> None:
    """Each with its calls: a loop that tries again does not wait for what its framework tells late."""
    with TelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT) as logger:
        recorder = CallbackRecorder(logger, "framework", ids_are_unique=True)
        block, numbers = logger.invocation("boss", budget=HELD), range(2 * calls)
        for turn in range(2):
            with block:
                for number in range(turn * calls, (turn + 1) * calls):
                    begin(recorder, number)
        assert logger.budgets.status()[0]["reserved"] == 2 * HELD
        for number in numbers:
            recorder.end(number, answer_of(number))
        (status,) = logger.budgets.status()
        assert (status["reserved"], status["unknown"]) == (0, 0)
        rows = logger.get_invocations()
    blocks = {row["invocation_id"] for row in rows if row["parent_invocation_id"] is None}
    parents = [row["parent_invocation_id"] for row in rows if row["parent_invocation_id"] is not None]
    assert len(blocks) == 2
    assert sorted(parents) == sorted([*blocks] * calls if calls > 1 else [])


@pytest.mark.parametrize("kind", SAID)
def test_calls_that_end_in_several_threads_as_their_block_ends_settle_it_once(kind: str, tmp_path: Path) -> None:
    """Whoever is the last."""
    turns, calls = 20, 4
    with TelemetryLogger(tmp_path / "telemetry.db", policies=LIMIT) as logger:
        recorder = CallbackRecorder(logger, "framework", ids_are_unique=True)
        start = threading.Barrier(calls + 1)

        def end(number: int) -> None:
            for turn in range(turns):
                start.wait(30)
                recorder.end((turn, number), answer_of(number))
                start.wait(30)

        threads = [threading.Thread(target=end, args=(number,)) for number in range(calls)]
        for thread in threads:
            thread.start()
        for turn in range(turns):
            with logger.invocation("boss", **SAID[kind]) as block:
                for number in range(calls):
                    recorder.begin((turn, number), request_model="gpt-5-mini", ends_with_request=True)
                    recorder.sent((turn, number))
                if kind == "last":
                    block.record(answer_of(calls - 1))
                if kind == "sum":
                    used = [used_by(number) for number in range(calls)]
                    block.record_usage(**{name: sum(one[name] for one in used) for name in used[0]})
                start.wait(30)
            start.wait(30)
        for thread in threads:
            thread.join()
        statistics, rows = logger.get_statistics(), logger.get_invocations()
        (status,) = logger.budgets.status()
    assert statistics["total_invocations"] == turns * calls
    assert statistics["total_tokens"] == turns * expected(calls, kind)[1]
    assert len(rows) == turns * (calls + 1)
    assert (status["reserved"], status["unknown"]) == (0, 0)


PROGRAM = """
import os, sys
from tests.integration.telemetry.test_calls_beyond_their_block import LIMIT, run
from llm_service.telemetry import TelemetryLogger

path, how, calls, kind = sys.argv[1:]
logger = TelemetryLogger(path, policies=LIMIT, flush_interval=60)
end = run(logger, int(calls), kind, within=False)
if how == "fork":
    child = os.fork()
    if not child:
        for number in range(int(calls)):
            end(number)
        sys.exit(0)
    os.waitpid(child, 0)
    for number in range(int(calls)):
        end(number)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.costly
@pytest.mark.parametrize(("how", "calls", "kind"), list(product(["fork", "exit"], [2, 1], SAID)))
def test_a_block_that_waits_as_its_process_ends_or_forks_is_one_row(
    how: str, calls: int, kind: str, tmp_path: Path
) -> None:
    """The child ends nothing of its parent's."""
    path = tmp_path / "telemetry.db"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(PROGRAM), str(path), how, str(calls), kind],
        capture_output=True, text=True, timeout=60, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    if how == "fork":
        assert counted(path) == expected(calls, kind)
    with TelemetryLogger(path, policies=LIMIT) as logger:
        (status,) = logger.budgets.status()
        assert len(logger.get_invocations()) == expected(calls, kind)[2]
    assert status["reserved"] == 0
    if kind in {"budget", "agent"}:
        assert status["unknown"] == (HELD if how == "exit" else 0)
