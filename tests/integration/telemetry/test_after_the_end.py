"""What is logged while the interpreter ends is on disk, no thread is waited for, and a forked child's end loses nothing."""

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

FORKS = ("-W", "ignore::DeprecationWarning")  # from 3.12 on Python warns of a fork with threads
FACES = {"sync": "T = TelemetryLogger(PATH)\n", "async": "T = AsyncTelemetryLogger(PATH)\n"}

# Each leaves something behind that logs one record "late" after the last statement of the program.
LATE = {
    "a half-read generator": """
@T.instrumented("late")
def answer():
    yield 1
    yield 2
stream = answer(); next(stream)
""",
    "a half-read stream": "stream = T.wrap_stream(iter([1, 2, 3]), 'late'); next(stream)",
    "a suspended generator": """
def work():
    with T.invocation("late"):
        yield 1
suspended = work(); next(suspended)
""",
    "a suspended generator in a reference cycle": """
def work():
    with T.invocation("late"):
        yield 1
class Holder: pass
holder = Holder(); holder.me = holder; holder.work = work(); next(holder.work)
""",
    "a finalizer": """
class Client:
    def __del__(self): T.log_invocation_nowait(record("late"))
client = Client()
""",
    "a finalizer in a module": """
class Client:
    def __del__(self): T.log_invocation_nowait(record("late"))
sys.modules["client"] = Client()
""",
    "an atexit handler that runs after ours": None,
    "a weakref finalizer": "import weakref\nclass C: pass\nkept = C()\nweakref.finalize(kept, lambda: T.log_invocation_nowait(record('late')))",
    "a non-daemon thread": """
def late():
    threading.main_thread().join()
    T.log_invocation_nowait(record("late"))
threading.Thread(target=late).start()
""",
}


@pytest.mark.costly
@pytest.mark.parametrize("use", ["never used", "used"])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("left", LATE)
def test_what_is_logged_while_the_interpreter_ends_is_on_disk(
    left: str, face: str, use: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Its exit code is the program's, nothing is said but that the logger was not closed, and no journal is left."""
    script = FACES[face] if use == "never used" else FACES[face] + "T.log_invocation_nowait(record('early'))\n"
    made = LATE[left]
    if made is None:  # registered before the logger's own
        script = "import atexit\natexit.register(lambda: T.log_invocation_nowait(record('late')))\n" + script
    else:
        script += made
    ended = run_script(script, db)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"late": 1} | ({"early": 1} if use == "used" else {}), ended.err
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
    assert [path.name for path in db.parent.iterdir()] == [db.name]


@pytest.mark.parametrize("journal", [False, True])
def test_many_late_records_are_each_written_once(
    journal: bool, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Also by a committing call, and where the crash journal keeps them meanwhile; it is gone afterwards."""
    script = f"""
T = TelemetryLogger(PATH, journal={journal})
class Client:
    def __init__(self, n): self.n = n
    def __del__(self):
        T.log_invocation_nowait(record("nowait"))
        T.log_invocation(record("committed"))
        with T.invocation("block"): pass
clients = [Client(n) for n in range(20)]
"""
    ended = run_script(script, db)
    assert (ended.code, truth(db).agents) == (0, {"nowait": 20, "committed": 20, "block": 20}), ended.err
    assert [path.name for path in db.parent.iterdir()] == [db.name]


def test_a_logger_that_was_closed_stays_closed(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """What comes after a close is counted, not written, also at the very end."""
    script = """
T = TelemetryLogger(PATH)
class Client:
    def __del__(self): assert not T.log_invocation_nowait(record("late"))
client = Client()
T.close()
"""
    ended = run_script(script, db)
    assert (ended.code, ended.err, truth(db).rows) == (0, "", 0)


def test_a_file_that_takes_no_late_record_delays_the_end_once(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """It is given a second, and after that no more are taken."""
    script = """
import sqlite3
from llm_service.telemetry.writer import shutdown
shutdown._LATE_WAITS = 0.1
T = TelemetryLogger(PATH)
class Client:
    def __del__(self): T.log_invocation_nowait(record("late"))
clients = [Client() for _ in range(50)]
import atexit
def lock():
    global other
    other = sqlite3.connect(PATH, isolation_level=None); other.execute("BEGIN IMMEDIATE")
atexit.register(lock); atexit.unregister(T._engine.shutdown._at_exit); atexit.register(T._engine.shutdown._at_exit)
"""
    ended = run_script(script, db)
    assert (ended.code, truth(db).rows) == (0, 0), ended.err
    assert ended.seconds < 40


def test_locks_of_threads_that_have_stopped_are_not_waited_for(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """A daemon thread that the interpreter stops keeps what it holds: queue, announcer and commit lock among them."""
    script = """
T = TelemetryLogger(PATH)
T.log_invocation(record("early"))
class Client:
    def __del__(self): T.log_invocation_nowait(record("late"))
client = Client()
import atexit
def hold():
    held = threading.Event()
    def work():
        T._engine.queue._lock.__enter__(); T._engine.announcer._lock.__enter__(); T._engine.commit_lock.acquire()
        held.set(); threading.Event().wait()
    threading.Thread(target=work, daemon=True).start() if sys.version_info < (3, 12) else None
    if sys.version_info < (3, 12): held.wait()
atexit.register(hold); atexit.unregister(T._engine.shutdown._at_exit); atexit.register(T._engine.shutdown._at_exit)
"""
    ended = run_script(script, db)
    assert ended.code == 0, ended.err
    assert truth(db).agents["early"] == 1


def test_an_async_generator_that_nobody_closes_does_not_hold_the_end_up(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Its loop is stopped and never closed."""
    script = """
T = AsyncTelemetryLogger(PATH)
async def work():
    async with T.invocation("late"):
        yield 1
async def main():
    global suspended
    await T.log_invocation(record("early"))
    suspended = work()
    await anext(suspended)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""
    ended = run_script(script, db)
    assert ended.code == 0, ended.err
    assert truth(db).agents["early"] == 1


# How children of servers end: right after their work, by `os._exit`.
CHILDREN = {
    "os.fork": "for _ in range(4):\n pid = os.fork()\n if pid == 0:\n  work(); os._exit(0)\n os.waitpid(pid, 0)\n",
    "multiprocessing": (
        "import multiprocessing\ncontext = multiprocessing.get_context('fork')\n"
        "children = [context.Process(target=work) for _ in range(4)]\n"
        "for child in children: child.start()\nfor child in children: child.join()\n"
    ),
    "multiprocessing.Pool with maxtasksperchild": (
        "import multiprocessing\nwith multiprocessing.get_context('fork').Pool(1, maxtasksperchild=1) as pool:\n"
        " for _ in range(4): pool.apply(work)\n pool.close(); pool.join()\n"
    ),
    "concurrent.futures": (
        "import multiprocessing\nfrom concurrent.futures import ProcessPoolExecutor\n"
        "with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context('fork')) as pool:\n"
        " for _ in range(4): pool.submit(work).result()\n"
    ),
    "billiard with maxtasksperchild": (
        "import billiard\npool = billiard.Pool(1, maxtasksperchild=1)\n"
        "for _ in range(4): pool.apply(work)\npool.close(); pool.join()\n"
    ),
}


@pytest.mark.costly
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("kind", CHILDREN)
def test_children_that_end_by_os_exit_have_their_records_on_disk(
    kind: str, face: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Logged by a block, with no flush: Celery's recycled children end so."""
    if "billiard" in kind:
        pytest.importorskip("billiard")
    work = "def work():\n with T.invocation('child'): pass\nif __name__ == '__main__':\n"
    body = "".join(f" {line}\n" for line in CHILDREN[kind].splitlines())
    ended = run_script(FACES[face] + "T.log_invocation_nowait(record('parent'))\n" + work + body, db, flags=FORKS)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"parent": 1, "child": 4}, ended.err


@pytest.mark.parametrize("kind", CHILDREN)
def test_a_logger_that_a_child_makes_ends_with_its_records_on_disk(
    kind: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Though its parent had none."""
    if "billiard" in kind:
        pytest.importorskip("billiard")
    work = "def work():\n T = TelemetryLogger(PATH)\n T.log_invocation_nowait(record('child'))\nif __name__ == '__main__':\n"
    body = "".join(f" {line}\n" for line in CHILDREN[kind].splitlines())
    ended = run_script(work + body, db, flags=FORKS)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"child": 4}, ended.err


def test_where_nothing_was_forked_os_exit_is_what_it_was(db: Path, run_script: Callable[..., Any]) -> None:
    """And a child that has nothing to write is gone at once."""
    script = """
before = os._exit
T = TelemetryLogger(PATH)
assert os._exit is before
if os.fork() == 0:
    assert os._exit is not before
    T._engine.shutdown._drain = lambda: os.kill(os.getpid(), 9)
    os._exit(3)
assert os.waitstatus_to_exitcode(os.wait()[1]) == 3
assert os._exit is before
T.close()
"""
    ended = run_script(script, db, flags=FORKS)
    assert (ended.code, ended.err) == (0, "")


@pytest.mark.costly
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize(
    "use",
    [
        "T.get_invocations(limit=200, fresh=False)",
        "T.get_statistics(fresh=False)",
        "T.estimate('hi', model_name='m', fresh=True)",
        "TelemetryLogger(PATH).close()",
    ],
)
def test_a_fork_waits_for_threads_that_are_within_sqlite(
    use: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """A child would inherit SQLite's mutexes, which nobody gives back: each one commits."""
    script = f"""
import faulthandler
T = TelemetryLogger(PATH)
for _ in range(1000): T.log_invocation_nowait(record("early", error_message="x" * 300, status="error"))
T.flush()
stop, begun = threading.Event(), threading.Semaphore(0)
def read():
    while not stop.is_set():
        {use}
        begun.release()
threads = [threading.Thread(target=read, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
codes = []
for n in range(12):
    begun.acquire()
    pid = os.fork()
    if pid == 0:
        faulthandler.dump_traceback_later(10, exit=True)
        T.log_invocation(record("child"))
        os._exit(0)
    codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
stop.set()
for thread in threads: thread.join()
assert codes == [0] * 12, codes
T.close()
"""
    ended = run_script(script, db, flags=FORKS)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"early": 1000, "child": 12}


@pytest.mark.costly
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_a_fork_while_other_threads_make_loggers_prepares_and_frees_all(
    db: Path, run_script: Callable[..., Any]
) -> None:
    """What is known of them is listed in one step: threads are switched after each few instructions here."""
    script = """
from llm_service.telemetry.stores import forks
stop = threading.Event()
class Forkable:
    def before_fork(self): pass
    def after_fork_in_parent(self): pass
    def after_fork_in_child(self, *, alone): pass
    def before_os_exit(self): pass
def make():
    while not stop.is_set():
        made = [Forkable() for _ in range(20)]
        for one in made: forks.watch(one)
threads = [threading.Thread(target=make) for _ in range(3)]
kept = [Forkable() for _ in range(100)]
for one in kept: forks.watch(one)
sys.setswitchinterval(1e-6)
for thread in threads: thread.start()
for _ in range(40):
    pid = os.fork()
    if pid == 0: os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
stop.set()
for thread in threads: thread.join()
TelemetryLogger(PATH).close()
"""
    ended = run_script(script, db, flags=FORKS)
    assert (ended.code, ended.err) == (0, "")


ENDS = {"returns": "return", "exits": "sys.exit(0)", "raises": "raise SystemExit(3)", "ends the process": "os._exit(0)"}


@pytest.mark.costly
@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.parametrize("made_by", ["parent", "child"])
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("way", ENDS)
def test_a_child_that_a_thread_forked_ends_with_that_thread_and_its_records_are_on_disk(
    way: str, face: str, made_by: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """No `atexit` handler is called there, and it goes on as long as any thread does: the writer's ends, too."""
    make = FACES[face].strip()
    script = f"""
def fork():
    global T
    pid = os.fork()
    if pid == 0:
        {make if made_by == "child" else "pass"}
        for _ in range(3): T.log_invocation_nowait(record("child"))
        {ENDS[way]}
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    print("done")
{make}
T.log_invocation_nowait(record("parent"))
thread = threading.Thread(target=fork)
thread.start()
thread.join()
"""
    ended = run_script(script, db, flags=FORKS)
    assert (ended.code, ended.out) == (0, "done\n"), ended.err
    assert truth(db).agents == {"parent": 1, "child": 3}, ended.err


def test_a_child_finds_no_lock_of_ours_held_by_a_thread_of_the_parent(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """All locks that the logger's objects lead to are held by another thread as it forks; the child uses them all."""
    script = """
import faulthandler, gc, types
T = TelemetryLogger(PATH)
T.log_invocation(record("parent")); T.estimate("hi", model_name="m")
KINDS = (type(threading.Lock()), type(threading.RLock()))
commit, seen, found, waiting = T._engine.commit_lock, set(), [], [T]
while waiting:
    one = waiting.pop()
    if id(one) in seen or isinstance(one, (type, types.ModuleType, types.FrameType, threading.Thread, threading.Event)): continue
    if not isinstance(one, (dict, list, tuple, set, types.MethodType, types.FunctionType, types.CellType)) and not (
        type(one).__module__.startswith("llm_service") or isinstance(one, KINDS)): continue
    seen.add(id(one))
    if isinstance(one, KINDS) and one is not commit.lock: found.append(one)
    if isinstance(one, types.FunctionType): waiting.extend(one.__closure__ or ())
    elif one is not commit: waiting.extend(gc.get_referents(one))
assert len(found) >= 5, found
held, leave = threading.Event(), threading.Event()
def hold():
    for lock in found: lock.acquire()
    held.set(); leave.wait()
    for lock in found: lock.release()
thread = threading.Thread(target=hold); thread.start(); held.wait()
pid = os.fork()
if pid == 0:
    faulthandler.dump_traceback_later(10, exit=True)
    T.log_invocation(record("child")); T.log_invocation_nowait(record("child")); T.flush()
    T.estimate("hi", model_name="m", fresh=True); T.get_invocations(); T.purge(10_000); T.stats()
    T.close()
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
leave.set(); thread.join(); T.close()
sys.exit(code)
"""
    ended = run_script(script, db, flags=FORKS)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"parent": 1, "child": 2}


WORKERS = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from llm_service.telemetry import InvocationRecord, TelemetryLogger
T = TelemetryLogger({path!r})
def by_global(*_): return T.log_invocation_nowait(InvocationRecord(agent_name="global"))
def by_argument(logger): logger.log_invocation_nowait(InvocationRecord(agent_name="argument"))
def by_own(): TelemetryLogger({path!r}).log_invocation_nowait(InvocationRecord(agent_name="own"))
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    for target, arguments in ((by_global, ()), (by_argument, (T,)), (by_own, ())):
        child = context.Process(target=target, args=arguments)
        child.start()
        child.join()
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        assert all(pool.map(by_global, range(8)))
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_workers_of_every_start_method_end_with_their_records_on_disk(
    method: str, db: Path, tmp_path: Path, truth: Callable[[Path], Any]
) -> None:
    """A forkserver's children import the main module, and with it this package, after their fork."""
    script = tmp_path / "workers.py"
    script.write_text(WORKERS.format(path=str(db), method=method), "utf-8")
    flags = ["-W", "ignore::DeprecationWarning"]
    done = subprocess.run([sys.executable, *flags, script], check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert truth(db).agents == {"global": 9, "argument": 1, "own": 1}, done.stderr
