"""However a process ends, what was accepted is on disk, the process ends in time, and it says at most one thing."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LOG_100 = """
async def log_100(telemetry):
    for _ in range(50):
        await telemetry.log_invocation(record())
        telemetry.log_invocation_nowait(record())
"""
NOISE = ("Exception ignored", "Task was destroyed", "never retrieved", "never awaited", "Traceback", "telemetry:")

# Each ends without close, after 100 records: (script, exit code)
ENDS = {
    "async return": (
        "async def main():\n telemetry = AsyncTelemetryLogger(PATH)\n await log_100(telemetry)\nasyncio.run(main())",
        0,
    ),
    "async return, face in a global": (
        "T = AsyncTelemetryLogger(PATH)\nasyncio.run(log_100(T))",
        0,
    ),
    "async sys.exit in main": (
        (
            "async def main():\n telemetry = AsyncTelemetryLogger(PATH)\n await log_100(telemetry)\n sys.exit(3)\n"
            "asyncio.run(main())"
        ),
        3,
    ),
    "async sys.exit after the loop": (
        "T = AsyncTelemetryLogger(PATH)\nasyncio.run(log_100(T))\nsys.exit(3)",
        3,
    ),
    "async sys.exit in a task": (
        (
            "T = AsyncTelemetryLogger(PATH)\n"
            "async def leave():\n sys.exit(4)\n"
            "async def main():\n await log_100(T)\n task = asyncio.ensure_future(leave())\n"
            " task.add_done_callback(lambda done: done.exception())\n await asyncio.sleep(30)\n"
            "asyncio.run(main())"
        ),
        4,
    ),
    "async collected while the loop runs": (
        (
            "import gc\n"
            "async def main():\n telemetry = AsyncTelemetryLogger(PATH)\n await log_100(telemetry)\n del telemetry\n"
            " gc.collect()\n await asyncio.sleep(0.05)\n"
            "asyncio.run(main())"
        ),
        0,
    ),
    "async, loop closed without cancelling its tasks": (
        (
            "T = AsyncTelemetryLogger(PATH)\nloop = asyncio.new_event_loop()\nloop.run_until_complete(log_100(T))\n"
            "loop.close()"
        ),
        0,
    ),
    "async, loop closed with a commit under way": (
        (
            "T = AsyncTelemetryLogger(PATH, batch_size=1)\nloop = asyncio.new_event_loop()\n"
            "async def main():\n await T.start()\n await log_100(T)\n await asyncio.sleep(0)\n"
            "loop.run_until_complete(main())\nloop.close()\nimport gc; gc.collect()"
        ),
        0,
    ),
    "async, loop stopped and never closed": (
        "T = AsyncTelemetryLogger(PATH)\nloop = asyncio.new_event_loop()\nloop.run_until_complete(log_100(T))\n",
        0,
    ),
    "async, never in a loop": (
        "T = AsyncTelemetryLogger(PATH)\nfor _ in range(100): assert T.log_invocation_nowait(record())",
        0,
    ),
    "async, never in a loop and collected": (
        "T = AsyncTelemetryLogger(PATH)\nfor _ in range(100): assert T.log_invocation_nowait(record())\ndel T",
        0,
    ),
    "sync nowait, return": (
        "T = TelemetryLogger(PATH)\nfor _ in range(100): T.log_invocation_nowait(record())",
        0,
    ),
    "sync nowait, collected": (
        "T = TelemetryLogger(PATH)\nfor _ in range(100): T.log_invocation_nowait(record())\ndel T",
        0,
    ),
    "sync nowait, sys.exit": (
        "T = TelemetryLogger(PATH)\nfor _ in range(100): T.log_invocation_nowait(record())\nsys.exit(5)",
        5,
    ),
    "a non-daemon thread logs on after main": (
        (
            "T = TelemetryLogger(PATH)\n"
            "def late():\n threading.main_thread().join()\n for _ in range(100): T.log_invocation_nowait(record())\n"
            "threading.Thread(target=late).start()"
        ),
        0,
    ),
    "a non-daemon thread logs on after the loop": (
        (
            "T = AsyncTelemetryLogger(PATH)\n"
            "def late():\n threading.main_thread().join()\n for _ in range(50): T.log_invocation_nowait(record())\n"
            "async def main():\n for _ in range(50): await T.log_invocation(record())\n"
            "threading.Thread(target=late).start()\nasyncio.run(main())"
        ),
        0,
    ),
    "an atexit handler registered later than ours logs": (
        (
            "import atexit\nT = TelemetryLogger(PATH)\n"
            "atexit.register(lambda: [T.log_invocation_nowait(record()) for _ in range(100)])"
        ),
        0,
    ),
}


@pytest.mark.costly
@pytest.mark.parametrize("name", ENDS)
def test_a_forgotten_close_loses_nothing_and_is_said_once(
    name: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """100 accepted records are on disk, the exit code is the program's, one `ResourceWarning` is all that is said."""
    script, code = ENDS[name]
    ended = run_script(LOG_100 + script, db)
    assert (ended.code, truth(db).rows) == (code, 100), ended.err
    assert ended.seconds < 30
    # A loop that the program never closed is Python's own to warn of, with or without telemetry.
    assert ended.err.count("ResourceWarning: ") - ended.err.count("ResourceWarning: unclosed event loop") == 1, (
        ended.err
    )
    assert ended.err.count("was not closed; use it in a with block") == 1
    assert not [noise for noise in NOISE if noise in ended.err.replace("a telemetry logger", "")], ended.err


@pytest.mark.parametrize("face", ["async", "sync"])
def test_an_exception_ends_the_process_as_it_would_without_telemetry(
    face: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The traceback is printed once, the exit code is 1, and all records are on disk."""
    script = {
        "async": "async def main():\n telemetry = AsyncTelemetryLogger(PATH)\n await log_100(telemetry)\n"
        " raise LookupError('the agent failed')\nasyncio.run(main())",
        "sync": "T = TelemetryLogger(PATH)\nfor _ in range(100): T.log_invocation_nowait(record())\n"
        "raise LookupError('the agent failed')",
    }[face]
    ended = run_script(LOG_100 + script, db)
    assert (ended.code, truth(db).rows) == (1, 100), ended.err
    assert ended.err.count("LookupError: the agent failed") == 1
    assert ended.err.count("Traceback") == 1, ended.err
    assert ended.err.count("ResourceWarning: ") == 1
    assert "Exception ignored" not in ended.err


@pytest.mark.parametrize("face", ["async", "sync"])
def test_a_closed_logger_ends_in_silence(
    face: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """After a close nothing is left to say, under `-X dev -W error` as well."""
    script = {
        "async": "async def main():\n async with AsyncTelemetryLogger(PATH) as telemetry: await log_100(telemetry)\n"
        "asyncio.run(main())",
        "sync": "with TelemetryLogger(PATH) as t:\n for _ in range(100): t.log_invocation_nowait(record())",
    }[face]
    ended = run_script(LOG_100 + script, db, flags=("-X", "dev", "-W", "error"))
    assert (ended.code, ended.err, truth(db).rows) == (0, "", 100)


def test_a_logger_that_was_never_used_ends_in_silence(db: Path, run_script: Callable[..., Any]) -> None:
    """A face that logged nothing has nothing to lose: no warning, and the async one made no file."""
    ended = run_script("T = AsyncTelemetryLogger(PATH)", db)
    assert (ended.code, ended.err) == (0, "")
    assert not db.exists()


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("face", ["async", "sync"])
def test_ctrl_c_loses_nothing(
    face: str,
    times: int,
    db: Path,
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    truth: Callable[[Path], Any],
) -> None:
    """KeyboardInterrupt, also a second one while the program cleans up, ends in time with all records on disk."""
    script = {
        "async": """
T = AsyncTelemetryLogger(PATH)
async def main():
    await log_100(T)
    try:
        print("ready")
        await asyncio.sleep(60)
    finally:
        print("cleaning")
        if sys.argv[2] == "2":
            await asyncio.sleep(60)
asyncio.run(main())
""",
        "sync": """
T = TelemetryLogger(PATH)
for _ in range(100): T.log_invocation_nowait(record())
try:
    print("ready")
    time.sleep(60)
finally:
    print("cleaning")
    if sys.argv[2] == "2":
        time.sleep(60)
""",
    }[face]
    process = start_script(LOG_100 + script, db, times)
    expect_line(process, "ready")
    process.send_signal(signal.SIGINT)
    expect_line(process, "cleaning")
    if times == 2:
        process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert (ended.code, truth(db).rows) == (-signal.SIGINT, 100), ended.err
    assert ended.seconds < 30
    assert ended.err.count("ResourceWarning: ") == 1, ended.err
    assert "Exception ignored" not in ended.err, ended.err


def test_ctrl_c_during_aclose_ends_with_the_records_on_disk(
    db: Path,
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    truth: Callable[[Path], Any],
) -> None:
    """A close that is interrupted goes on to its end."""
    script = """
async def main():
    async with AsyncTelemetryLogger(PATH) as telemetry:
        for _ in range(20_000): telemetry.log_invocation_nowait(record())
        print("ready")
asyncio.run(main())
"""
    process = start_script(script, db)
    expect_line(process, "ready")
    process.send_signal(signal.SIGINT)
    ended = finish(process)
    assert truth(db).rows == 20_000, ended.err
    assert ended.code in {0, -signal.SIGINT}
    assert "Exception ignored" not in ended.err, ended.err


@pytest.mark.parametrize("end", ["os._exit(7)", "os.kill(os.getpid(), signal.SIGKILL)"])
def test_what_was_committed_survives_a_process_that_vanishes(
    end: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """After `os._exit` and SIGKILL every durable or flushed record is there, and the next open works at once."""
    script = f"""
async def main():
    telemetry = AsyncTelemetryLogger(PATH, flush_interval=3600)
    for _ in range(60): await telemetry.log_invocation(record("flushed"))
    assert (await telemetry.flush()).written == 60
    for _ in range(40): await telemetry.log_invocation(record("durable"), durable=True)
    for _ in range(100): telemetry.log_invocation_nowait(record("in the window"))
    {end}
asyncio.run(main())
"""
    ended = run_script(script, db)
    assert ended.code in {7, -signal.SIGKILL}
    after = run_script("with TelemetryLogger(PATH) as t: assert t.log_invocation(record('after'))", db)
    assert (after.code, after.err) == (0, "")
    agents = truth(db).agents
    assert (agents["flushed"], agents["durable"], agents["after"]) == (60, 40, 1)
    assert agents.get("in the window", 0) <= 100


def test_a_sync_record_survives_a_process_that_vanishes_right_after(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """`TelemetryLogger.log_invocation` has committed when it returns."""
    ended = run_script("T = TelemetryLogger(PATH)\nfor _ in range(20): T.log_invocation(record())\nos._exit(7)", db)
    assert (ended.code, truth(db).rows) == (7, 20)


@pytest.mark.parametrize("face", ["async", "sync"])
def test_a_locked_file_at_exit_delays_it_only_for_close_timeout(
    face: str,
    db: Path,
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    tell: Callable[..., None],
    truth: Callable[[Path], Any],
) -> None:
    """What can't be written by then is lost, which is said with its number; the process does not hang."""
    script = {
        "async": """
T = AsyncTelemetryLogger(PATH, close_timeout=0.5)
async def main():
    await T.start()
    print("ready"); sys.stdin.readline()
    await log_100(T)
asyncio.run(main())
""",
        "sync": """
T = TelemetryLogger(PATH, close_timeout=0.5)
print("ready"); sys.stdin.readline()
for _ in range(100): T.log_invocation_nowait(record())
""",
    }[face]
    holder = "import sqlite3\nc = sqlite3.connect(PATH, isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\n"
    process = start_script(LOG_100 + script, db)
    expect_line(process, "ready")
    lock = start_script(holder + "print('held'); sys.stdin.readline()", db)
    expect_line(lock, "held")
    tell(process)
    ended = finish(process)
    assert ended.code == 0
    assert ended.seconds < 30
    assert f"100 records could not be written to {db} before the end" in ended.err
    assert not [noise for noise in (*NOISE[:-1],) if noise in ended.err], ended.err
    tell(lock)
    assert finish(lock).code == 0
    assert truth(db).rows == 0
