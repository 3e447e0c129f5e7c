"""A process that is told to end, or is ended: what was promised is on disk, and the next one opens the file at once."""

import signal
from collections.abc import Callable
from typing import Any

import pytest
from tests.slices import quick

BUSY = """
T = AsyncTelemetryLogger(PATH, batch_size=16)
async def agent(n):
    while True:
        for _ in range(5): put(T, "window")
        await promised(T, f"agent-{n}")
async def main():
    HANDLER
    working = asyncio.gather(*(agent(n) for n in range(4)))
    await promised(T)
    print("busy")
    await working
"""
HANDLERS = {
    "none": "pass",
    "a handler that leaves": "signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))",
    "a handler of the loop": (
        "task = asyncio.current_task()\n    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)"
    ),
}


@pytest.mark.costly
@pytest.mark.parametrize("handler", HANDLERS)
def test_sigterm_ends_as_without_telemetry_and_keeps_what_was_promised(
    handler: str,
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    lawful: Callable[..., Any],
) -> None:
    """Without a handler only the window is lost; with one, whatever it does, all that was accepted is on disk."""
    script = BUSY.replace("HANDLER", HANDLERS[handler])
    end = "try: asyncio.run(main())\nexcept asyncio.CancelledError: sys.exit(4)\nfinally: sum_up(T)\n"
    process = start_script(script + end)
    expect_line(process, "busy")
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    expected = {"none": -signal.SIGTERM, "a handler that leaves": 3, "a handler of the loop": 4}[handler]
    assert ended.code == expected, ended.err
    found, noted = lawful(killed=True)
    assert noted.acked
    if handler != "none":
        assert noted.accepted <= set(found.ids)
        assert noted.ledgers[0]["dropped"] == {}


@pytest.mark.slow
def test_twenty_kills_at_random_moments_lose_nothing_that_was_promised(
    run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """Two processes at a time write one file and are killed; the file stays sound, and each pair opens it at once."""
    # The children are forked from one process that has imported everything: twenty kills then take two seconds.
    script = """
import random
moments = random.Random(20)
async def main():
    T = AsyncTelemetryLogger(PATH, batch_size=8)
    async def agent(n):
        while True:
            for _ in range(3): put(T, "window")
            await promised(T, f"agent-{n}")
            os.write(told, b"x")
    await asyncio.gather(*(agent(n) for n in range(3)))
for _ in range(10):
    heard, told = os.pipe()
    children = []
    for _ in range(2):
        pid = os.fork()
        if pid == 0:
            try: asyncio.run(main())
            finally: os._exit(1)
        children.append(pid)
    os.read(heard, 1)
    time.sleep(moments.uniform(0, 0.1))  # the moment of the kill is the fault
    for pid in children: os.kill(pid, signal.SIGKILL)
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
    assert codes == [-signal.SIGKILL] * 2, codes
    os.close(heard); os.close(told)
"""
    ended = run_script(script)
    assert (ended.code, ended.err) == (0, "")
    found, noted = lawful(killed=True)
    assert len(noted.acked) >= 10
    assert found["window"] > 0


@pytest.mark.parametrize("journal", quick([False, True], 0), ids=["", "journal"])
def test_ctrl_c_in_the_middle_of_anything_keeps_the_count(
    journal: bool, run_script: Callable[..., Any], lawful: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thirty programs that do nothing but log are interrupted wherever they are, and close: nothing accepted is lost."""
    for name in ("COVERAGE_PROCESS_CONFIG", "COVERAGE_PROCESS_START"):
        monkeypatch.delenv(name, raising=False)  # an interrupt within coverage's own lock would leave it locked
    # Before this was mended, one in thirty lost count of a record, and one in fifty could never commit again.
    script = """
moments = random.Random(6)
def main():
    T = TelemetryLogger(PATH, batch_size=64, close_timeout=30, journal=JOURNAL)
    offered, accepted, acked = [], [], []
    try:
        os.write(told, b"x")
        while True:
            for _ in range(20):
                one = record(); offered.append(one.invocation_id)
                if T.log_invocation_nowait(one): accepted.append(one.invocation_id)
            one = record(); offered.append(one.invocation_id)
            T.log_invocation(one); acked.append(one.invocation_id)
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    T.close()
    for kind, ids in (("offered", offered), ("accepted", accepted), ("acked", acked)):
        for one in ids: note(kind, one)
    sum_up(T)
for _ in range(30):
    heard, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try: main(); os._exit(0)
        finally: os._exit(1)
    os.read(heard, 1)
    time.sleep(moments.uniform(0, 0.02))  # the moment of the signal is the fault
    os.kill(pid, signal.SIGINT)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    os.close(heard); os.close(told)
"""
    ended = run_script("import random\n" + script.replace("JOURNAL", str(journal)))
    assert (ended.code, ended.err) == (0, "")
    found, noted = lawful(killed=True)
    assert len(noted.ledgers) == 30
    assert noted.accepted <= set(found.ids)
    for ledger in noted.ledgers:
        assert (ledger["dropped"], ledger["pending"], ledger["duplicates"], ledger["retries"]) == ({}, 0, 0, 0)


def test_the_last_drain_starts_no_thread(run_script: Callable[..., Any], lawful: Callable[..., Any]) -> None:
    """From 3.12 on no thread may start while the interpreter ends: none is asked for, on any version."""
    script = """
import atexit
def check(): sum_up(T)
atexit.register(check)  # runs last
T = AsyncTelemetryLogger(PATH)
async def main():
    for _ in range(50): put(T)
    await T.log_invocation(one := record()); note("offered", one.invocation_id); note("accepted", one.invocation_id)
asyncio.run(main())
for _ in range(50): put(T)
def refuse(thread): raise RuntimeError("can't create new thread at interpreter shutdown")
threading.Thread.start = refuse
"""
    ended = run_script(script)
    assert ended.code == 0, ended.err
    assert "Traceback" not in ended.err
    found, _ = lawful()
    assert found == {"agent": 101}
