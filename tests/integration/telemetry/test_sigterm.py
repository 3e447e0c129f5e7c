"""SIGTERM, opted into: what was accepted is on disk, and then the signal does what it would have done without us."""

import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.errors import SignalError
from llm_service.telemetry import InvocationRecord, TelemetryLogger

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="signals are sent to threads: POSIX only"),
]

LOG_100 = """
import sqlite3
def fill(logger, count=100):
    for _ in range(count): assert logger.log_invocation_nowait(record())
def stored(path=PATH):
    return sqlite3.connect(path).execute("SELECT count(*) FROM invocations").fetchone()[0]
def make(path=PATH, **options):
    return TelemetryLogger(path, flush_interval=3600, batch_size=100_000, **options)
"""


@pytest.fixture
def present() -> Iterator[Any]:
    """The handler of this process, put back afterwards."""
    before = signal.getsignal(signal.SIGTERM)
    yield before
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def terminate(
    start_script: Callable[..., Any], finish: Callable[..., Any], expect_line: Callable[..., None]
) -> Callable[..., Any]:
    """Run a script until it says `ready`, send SIGTERM, and wait for its end."""

    def run(script: str, *arguments: object) -> Any:
        process = start_script(LOG_100 + script, *arguments)
        expect_line(process, "ready")
        process.send_signal(signal.SIGTERM)
        return finish(process)

    return run


DEFAULT = {
    "sync": "T = make(); fill(T); T.flush_on_sigterm(); print('ready'); time.sleep(60)",
    "sync, in a lock": (
        "T = make(); fill(T); T.flush_on_sigterm(); print('ready')\nlock = threading.Lock(); lock.acquire()\n"
        "lock.acquire()"
    ),
    "sync, the main thread has ended": (
        "T = make(); fill(T); T.flush_on_sigterm()\n"
        # Until the interpreter waits for this thread: a signal in the moment before that wait would not end the wait.
        "def late():\n threading.main_thread().join()\n time.sleep(0.2)\n print('ready')\n time.sleep(60)\n"
        "threading.Thread(target=late).start()"
    ),
    "async": (
        "T = AsyncTelemetryLogger(PATH, flush_interval=3600, batch_size=100_000)\n"
        "async def main():\n await T.start()\n fill(T)\n T.flush_on_sigterm()\n print('ready')\n"
        " await asyncio.sleep(60)\nasyncio.run(main())"
    ),
    "async, before the loop": (
        "T = AsyncTelemetryLogger(PATH, flush_interval=3600); T.flush_on_sigterm(); fill(T)\n"
        "print('ready')\ntime.sleep(60)"
    ),
    "async, the loop is blocked": (
        "T = AsyncTelemetryLogger(PATH, flush_interval=3600, batch_size=100_000)\n"
        "async def main():\n await T.start()\n fill(T)\n T.flush_on_sigterm()\n print('ready')\n time.sleep(60)\n"
        "asyncio.run(main())"
    ),
}


@pytest.mark.parametrize("name", DEFAULT)
def test_by_default_the_process_dies_of_the_signal_with_the_records_on_disk(
    name: str, db: Path, terminate: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """100 records and exit code -15, as without us, wherever the main thread is."""
    ended = terminate(DEFAULT[name], db)
    assert (ended.code, truth(db).rows) == (-signal.SIGTERM, 100), ended.err
    assert "Traceback" not in ended.err


def test_without_opting_in_nothing_is_changed(db: Path, terminate: Callable[..., Any]) -> None:
    """The same script without `flush_on_sigterm`: the handler is Python's default, and it dies the same death."""
    script = "T = make(); fill(T); assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL; print('ready')\n"
    assert terminate(script + "time.sleep(60)", db).code == -signal.SIGTERM


def test_a_python_handler_runs_when_the_records_are_on_disk(
    db: Path, terminate: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """It counts 100 rows, logs on, and its exit code is the process's; what it logged is written by the exit."""
    script = """
def handler(number, frame):
    print(number == signal.SIGTERM, stored())
    fill(T, 7)
    sys.exit(9)
signal.signal(signal.SIGTERM, handler)
T = make(); fill(T); T.flush_on_sigterm(); print("ready"); time.sleep(60)
"""
    ended = terminate(script, db)
    assert (ended.code, ended.out, truth(db).rows) == (9, "True 100\n", 107), ended.err


def test_an_ignored_signal_stays_ignored(
    db: Path, start_script: Callable[..., Any], finish: Callable[..., Any], expect_line: Callable[..., None],
    tell: Callable[..., None], truth: Callable[[Path], Any],
) -> None:  # fmt: skip
    """Nothing is installed, so that children of the process ignore it as well; the process goes on."""
    script = """
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with make() as T:
    T.flush_on_sigterm()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    fill(T); print("ready"); sys.stdin.readline(); fill(T)
"""
    process = start_script(LOG_100 + script, db)
    expect_line(process, "ready")
    process.send_signal(signal.SIGTERM)
    tell(process)
    ended = finish(process)
    assert (ended.code, ended.err, truth(db).rows) == (0, "", 200)


@pytest.mark.parametrize("order", ["before", "after"])
def test_a_callback_of_asyncio_runs_once(
    order: str, db: Path, terminate: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Whether `add_signal_handler` came before us or after: once, and the program ends as it wants to."""
    script = """
async def main():
    loop, stop, calls = asyncio.get_running_loop(), asyncio.Event(), []
    def callback():
        calls.append(1); stop.set()
    async with AsyncTelemetryLogger(PATH, flush_interval=3600, batch_size=100_000) as T:
        fill(T)
        if sys.argv[2] == "before": loop.add_signal_handler(signal.SIGTERM, callback)
        T.flush_on_sigterm()
        if sys.argv[2] == "after": loop.add_signal_handler(signal.SIGTERM, callback)
        print("ready")
        await stop.wait()
        if sys.argv[2] == "before":
            while stored() < 100: await asyncio.sleep(0.005)
        fill(T, 5)
    print(len(calls))
asyncio.run(main())
"""
    ended = terminate(script, db, order)
    assert (ended.code, ended.out, truth(db).rows) == (0, "1\n", 105), ended.err


def test_a_server_that_restores_the_handler_and_raises_the_signal_again_dies_as_without_us(
    db: Path, terminate: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """What uvicorn does: its own handler while it serves, ours afterwards."""
    script = """
T = make(); fill(T); T.flush_on_sigterm()
caught = []
before = signal.signal(signal.SIGTERM, lambda *got: caught.append(got[0]))
print("ready")
while not caught: time.sleep(0.005)
fill(T, 11)
signal.signal(signal.SIGTERM, before)
signal.raise_signal(caught[0])
time.sleep(60)
"""
    ended = terminate(script, db)
    assert (ended.code, truth(db).rows) == (-signal.SIGTERM, 111), ended.err


def test_a_program_that_ends_while_the_records_are_written_still_dies_of_the_signal(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The interpreter's exit finishes the writing, and then the signal has its turn: -15, not 0."""
    script = """
T = make(); fill(T); T.flush_on_sigterm()
held = threading.Event()
def commits():
    with T._engine.commit_lock: held.set(); time.sleep(0.2)  # what a commit to a slow disk does
threading.Thread(target=commits).start(); held.wait()
signal.raise_signal(signal.SIGTERM)
"""
    ended = run_script(LOG_100 + script, db)
    assert (ended.code, truth(db).rows) == (-signal.SIGTERM, 100), ended.err


@pytest.mark.parametrize("commits", ["sync", "async"])
def test_a_signal_in_the_middle_of_a_commit_does_not_deadlock(
    commits: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """It is raised within the transaction, in the thread that commits and holds the lock, and by the loop's thread."""
    script = """
def interrupt(logger):
    write = logger._engine.store.writer.write
    def interrupted(connection, batch, **how):
        if threading.current_thread() is threading.main_thread(): signal.raise_signal(signal.SIGTERM)
        else: os.kill(os.getpid(), signal.SIGTERM)
        return write(connection, batch, **how)
    logger._engine.store.writer.write = interrupted
if sys.argv[2] == "sync":
    T = make(); fill(T, 99); T.flush_on_sigterm(); interrupt(T)
    T.log_invocation(record()); time.sleep(60)
else:
    async def main():
        T = AsyncTelemetryLogger(PATH, flush_interval=3600, batch_size=100_000)
        await T.start(); fill(T); T.flush_on_sigterm(); interrupt(T)
        await T.flush(); await asyncio.sleep(60)
    asyncio.run(main())
"""
    ended = run_script(LOG_100 + script, db, commits)
    assert (ended.code, truth(db).rows) == (-signal.SIGTERM, 100), ended.err


def test_every_logger_writes_before_the_process_dies(
    tmp_path: Path, terminate: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Three of them, one closed in between, one that never opted in."""
    script = """
from pathlib import Path
folder = Path(PATH)
loggers = [make(folder / f"{n}.db") for n in range(4)]
for logger in loggers[:3]: logger.flush_on_sigterm(); logger.flush_on_sigterm()
for logger in loggers: fill(logger)
loggers[1].close()
print("ready"); time.sleep(60)
"""
    ended = terminate(script, tmp_path)
    assert ended.code == -signal.SIGTERM, ended.err
    assert [truth(tmp_path / f"{number}.db").rows for number in range(4)] == [100, 100, 100, 0]


def test_a_forked_child_writes_its_own_records_and_dies_of_the_signal(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The child's 30 and, when the parent ends by itself, the parent's 100: none twice."""
    script = """
T = make(); fill(T); T.flush_on_sigterm()
read, write = os.pipe()
child = os.fork()
if child == 0:
    fill(T, 30); os.write(write, b"."); time.sleep(60); os._exit(1)
os.read(read, 1)
os.kill(child, signal.SIGTERM)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM, status
T.close()
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
"""
    ended = run_script(LOG_100 + script, db)
    assert (ended.code, truth(db).rows) == (0, 130), ended.err


def test_a_locked_file_delays_the_end_only_for_close_timeout_and_the_loss_is_said(
    db: Path, start_script: Callable[..., Any], finish: Callable[..., Any], expect_line: Callable[..., None],
    truth: Callable[[Path], Any], tell: Callable[..., None],
) -> None:  # fmt: skip
    """Exit code -15, and the number of lost records in the log."""
    script = """
T = make(close_timeout=0.3); fill(T); T.flush_on_sigterm(); print("ready"); time.sleep(60)
"""
    process = start_script(LOG_100 + script, db)
    expect_line(process, "ready")
    holder = "import sqlite3\nc = sqlite3.connect(PATH, isolation_level=None)\nc.execute('BEGIN EXCLUSIVE')\n"
    lock = start_script(holder + "print('held'); sys.stdin.readline()", db)
    expect_line(lock, "held")
    process.send_signal(signal.SIGTERM)
    ended = finish(process)
    assert ended.code == -signal.SIGTERM
    assert f"100 records could not be written to {db} before the end" in ended.err
    tell(lock)
    assert finish(lock).code == 0
    assert truth(db).rows == 0


def test_each_of_two_signals_is_passed_on_after_the_writing(
    db: Path, present: Any, record: Callable[..., InvocationRecord], eventually: Callable[..., None]
) -> None:
    """A second one while the records are written starts no second helper, and is not swallowed."""
    calls: list[int] = []

    def handler(_number: int, _frame: object) -> None:
        calls.append(logger.stats().ledger.written)

    signal.signal(signal.SIGTERM, handler)
    with TelemetryLogger(db, flush_interval=3600) as logger:
        logger.flush_on_sigterm()
        logger.log_invocation_nowait(record())
        with engine_of(logger).commit_lock:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            assert calls == []
        eventually(lambda: len(calls) == 2)
        assert calls == [1, 1]
        signal.raise_signal(signal.SIGTERM)  # and it works again
        eventually(lambda: len(calls) == 3)
    assert signal.getsignal(signal.SIGTERM) is handler
    assert present is not handler


def test_a_close_puts_back_what_was_there_only_where_the_handler_is_still_ours(db: Path, present: Any) -> None:
    """In any order of closing; who replaced us is left alone."""
    first, second = TelemetryLogger(db), TelemetryLogger(db)
    first.flush_on_sigterm()
    second.flush_on_sigterm()
    first.close()
    second.close()
    assert signal.getsignal(signal.SIGTERM) is present
    first.flush_on_sigterm()  # closed: nothing to write
    assert signal.getsignal(signal.SIGTERM) is present

    third = TelemetryLogger(db)
    third.flush_on_sigterm()

    def newer(_number: int, _frame: object) -> None: ...

    signal.signal(signal.SIGTERM, newer)
    third.close()
    assert signal.getsignal(signal.SIGTERM) is newer


def test_a_handler_left_in_a_chain_only_passes_on(db: Path, present: Any) -> None:
    """A close in another thread cannot put anything back: from then on the handler is a mere link."""
    calls: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: calls.append(number))
    logger = TelemetryLogger(db)
    logger.flush_on_sigterm()
    thread = threading.Thread(target=logger.close)
    thread.start()
    thread.join()
    signal.raise_signal(signal.SIGTERM)
    assert calls == [signal.SIGTERM]
    assert present is not None


def test_another_thread_and_a_foreign_handler_are_refused(
    db: Path, present: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With an error that says what to do."""
    with TelemetryLogger(db) as logger:
        said: list[str] = []

        def install() -> None:
            with pytest.raises(SignalError, match="main thread only") as caught:
                logger.flush_on_sigterm()
            said.append(str(caught.value))

        thread = threading.Thread(target=install)
        thread.start()
        thread.join()
        assert len(said) == 1
        with monkeypatch.context() as patch:
            patch.setattr(signal, "getsignal", lambda _number: None)
            with pytest.raises(SignalError, match="not installed from Python"):
                logger.flush_on_sigterm()
        assert signal.getsignal(signal.SIGTERM) is present


def test_without_a_thread_to_spare_the_signal_is_passed_on_at_once(
    db: Path, present: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that does not die of SIGTERM would be worse than a loss that is counted."""
    calls: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: calls.append(number))

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with TelemetryLogger(db) as logger:
        logger.flush_on_sigterm()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
        assert calls == [signal.SIGTERM] * 2
    assert present is not None


def test_a_signal_that_interrupts_nothing_is_sent_again(
    db: Path, present: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may come just before the main thread blocks: the handler runs all the same, and the user's once."""
    heard, sent, over = list[int](), list[int](), threading.Event()
    signal.signal(signal.SIGTERM, lambda number, _frame: heard.append(number))
    really_send = signal.pthread_kill

    def send(thread: int, number: int) -> None:
        sent.append(number)
        if len(sent) == 3:
            really_send(thread, number)
            over.set()

    monkeypatch.setattr(signal, "pthread_kill", send)
    with TelemetryLogger(db) as logger:
        logger.flush_on_sigterm()
        signal.raise_signal(signal.SIGTERM)
        assert over.wait(10)
        assert heard == [signal.SIGTERM]
    assert sent == [signal.SIGTERM] * 3
    assert present is not None


def test_asyncios_handler_has_the_name_that_is_looked_for(present: Any) -> None:
    """A Python that renames it fails here, and not by running somebody's callback twice."""
    import asyncio

    from llm_service.telemetry.writer.sigterm import _is_asyncios

    async def main() -> bool:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, print)
        try:
            return _is_asyncios(signal.getsignal(signal.SIGTERM))
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    assert asyncio.run(main())
    signal.signal(signal.SIGTERM, present)


def test_under_asyncio_the_signal_is_not_sent_a_second_time(
    db: Path, present: Any, record: Callable[..., InvocationRecord]
) -> None:
    """The loop has run its callback by itself; the handler is ready for the next signal."""
    import asyncio

    async def main() -> None:
        loop, calls, called = asyncio.get_running_loop(), list[int](), asyncio.Event()

        def callback() -> None:
            calls.append(1)
            called.set()

        loop.add_signal_handler(signal.SIGTERM, callback)
        try:
            with TelemetryLogger(db, flush_interval=3600) as logger:
                logger.flush_on_sigterm()
                for number in (1, 2):
                    called.clear()
                    logger.log_invocation_nowait(record())
                    signal.raise_signal(signal.SIGTERM)
                    await called.wait()
                    handler: Any = engine_of(logger).shutdown.sigterm
                    while logger.stats().ledger.written < number or handler._busy.locked():  # noqa: ASYNC110 - a thread tells nobody
                        await asyncio.sleep(0.005)
                assert calls == [1, 1]
        finally:
            loop.remove_signal_handler(signal.SIGTERM)

    asyncio.run(main())
    signal.signal(signal.SIGTERM, present)


def test_a_signal_during_the_last_drain_has_its_turn_after_it(db: Path, present: Any) -> None:
    """The exit writes already: no helper is started, and the handler is called when it is done."""
    calls: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: calls.append(number))
    with TelemetryLogger(db) as logger:
        logger.flush_on_sigterm()
        ending = engine_of(logger).shutdown
        ending._exiting = True
        signal.raise_signal(signal.SIGTERM)
        assert calls == []
        ending.sigterm.passed_on()
        ending.sigterm.passed_on()
        assert calls == [signal.SIGTERM]
        ending._exiting = False
    assert present is not None
