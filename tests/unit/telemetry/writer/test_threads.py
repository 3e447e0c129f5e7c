"""One place starts threads, one connects to SQLite, one gives the commit lock back: found in the sources, not listed."""

import ast
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import llm_service
from llm_service.telemetry.writer import threads
from llm_service.telemetry.writer.task_writer import _Ring

pytestmark = pytest.mark.slow

SOURCES = Path(llm_service.__file__).parent


def calls() -> Iterator[tuple[str, str]]:
    """Each module's name, and the text of what is called in it; but for the examples, which are programs."""
    for path in set(SOURCES.rglob("*.py")) - set(SOURCES.glob("examples/*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield str(path.relative_to(SOURCES)), ast.unparse(node.func)


def modules_that(*names: str) -> set[str]:
    """Modules that call one of these, however it is qualified."""
    return {
        module for module, called in calls() if any(called == name or called.endswith(f".{name}") for name in names)
    }


def test_threads_are_started_in_one_place() -> None:
    """Also those of executors; a new place would forget that the interpreter may be ending."""
    starters = ("Thread", "Timer", "start_new_thread", "ThreadPoolExecutor", "to_thread", "run_in_executor", "run_sync")
    assert modules_that(*starters, "thread.start", "_thread.start") == {"telemetry/writer/threads.py"}


def test_sqlite_is_connected_to_in_one_place() -> None:
    """A fork waits for every connection that it knows of."""
    assert modules_that("sqlite3.connect", "aiosqlite.connect") == {"telemetry/stores/sqlite/connections.py"}


def test_the_commit_lock_is_given_back_in_one_place() -> None:
    """Elsewhere an interrupt at the start of the call would leave it held; a fork's two hooks are the exception."""
    taken = {
        module
        for module, called in calls()
        if "commit_lock.acquire" in called or called.endswith("commit_lock.release")
    }
    assert taken == {"telemetry/writer/engine.py"}
    writer = {module for module in modules_that("lock.acquire", "lock.release") if "writer" in module}
    assert writer <= {
        "telemetry/writer/commit_lock.py",
        "telemetry/writer/engine.py",
        "telemetry/writer/threads.py",
    }


ONE_STEP = {"keyrefs", "valuerefs", "setdefault", "get", "pop", "clear"}
"""Methods of weak collections that another thread does not come between."""


def weak_collections(module: ast.Module) -> set[str]:
    """Names of weak collections that a module makes."""
    made = {"WeakSet", "WeakKeyDictionary", "WeakValueDictionary"}
    return {
        ast.unparse(target)
        for node in ast.walk(module)
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Call)
        if ast.unparse(node.value.func).rpartition(".")[2] in made
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
    }


def test_weak_collections_are_listed_in_one_step() -> None:
    """Python iterates over them in many: one that another thread adds to meanwhile raises, as in a hook of a fork."""
    seen = 0
    for path in SOURCES.rglob("*.py"):
        module = ast.parse(path.read_text("utf-8"))
        names = weak_collections(module)
        seen += len(names)
        for node in ast.walk(module):
            if isinstance(node, ast.For | ast.comprehension):
                assert ast.unparse(node.iter) not in names, (path, ast.unparse(node.iter))
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) in names:
                assert node.attr in ONE_STEP, (path, ast.unparse(node))
            if isinstance(node, ast.Call):
                given = {ast.unparse(each) for each in node.args} & names
                assert not given or ast.unparse(node.func) == "bool", (path, ast.unparse(node))
    assert seen >= 9


def test_os_exit_is_replaced_in_one_place_and_only_in_a_forked_child() -> None:
    """An assignment to it anywhere else would change programs that never fork."""
    found = [
        (path.name, ast.unparse(node))
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "os._exit"
    ]
    assert found == [("forks.py", "os._exit = _end_of_child")]


def test_no_thread_is_started_while_the_interpreter_is_finalizing(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Thread.start` would wait for ever for a thread that never runs (CPython 3.11)."""
    monkeypatch.setattr(threads, "is_finalizing", lambda: True)
    with pytest.raises(RuntimeError, match="the interpreter ends"):
        threads.start(lambda: None, "never")
    assert threads.is_ending()


async def test_what_blocks_runs_here_where_the_interpreter_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """And in another thread before."""
    assert await threads.off_the_loop(threading.get_ident) != threading.get_ident()
    monkeypatch.setattr(threads, "is_finalizing", lambda: True)
    assert await threads.off_the_loop(threading.get_ident) == threading.get_ident()


def test_the_main_thread_ends_the_interpreter_once_it_counts_as_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    """In `atexit` handlers it does; other threads go on as ever."""
    assert not threads.is_ending()
    monkeypatch.setattr(type(threading.main_thread()), "is_alive", lambda _: False)
    assert threads.is_ending() == (threading.current_thread() is threading.main_thread())


def test_a_last_lock_keeps_others_out_until_the_interpreter_is_finalizing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is taken where it is free, and passed by where a thread that has stopped holds it."""
    real = threading.RLock()
    last = threads.LastLock(real)
    holding, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with real:
            holding.set()
            leave.wait()

    def tried() -> bool:
        found: list[bool] = []
        other = threading.Thread(target=lambda: found.append(real.acquire(blocking=False)))
        other.start()
        other.join()
        return found[0]

    with last, last:
        assert not tried()
    thread = threading.Thread(target=hold)
    thread.start()
    holding.wait()
    monkeypatch.setattr(threads, "is_finalizing", lambda: True)
    entered: list[Any] = []
    with last:
        entered.append(sys.version_info)
    assert entered
    leave.set()
    thread.join()
    with last:
        assert not tried()


def test_a_callback_that_has_rung_ends_without_python() -> None:
    """What a signal handler raises in a `__del__` is lost, `SystemExit` too; one that never had its turn still rings."""
    rung: list[int] = []
    ring = _Ring(lambda: rung.append(1))
    ring()
    assert not hasattr(type(ring), "__del__")
    del ring
    assert rung == [1]
    ring = _Ring(lambda: rung.append(2))
    del ring
    assert rung == [1, 2]
