"""A forked child hangs on no lock that another thread of its parent held, and loses none that it holds itself."""

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

HOLDS_ALL = """
import importlib, os, pkgutil, sys, threading
import llm_service

KINDS = (type(threading.Lock()), type(threading.RLock()), threading.Condition, threading.Semaphore)
owners = {}
for found in pkgutil.walk_packages(llm_service.__path__, "llm_service."):
    if not found.name.endswith("__main__"):
        module = importlib.import_module(found.name)
        owners[found.name] = module
        owners.update({f"{found.name}.{name}": held for name, held in vars(module).items()
                       if isinstance(held, type) and held.__module__ == found.name})
locks = {f"{owner}.{name}": held for owner, owned in owners.items()
         for name, held in list(vars(owned).items()) if isinstance(held, KINDS)}

from llm_service.telemetry.instrumentation.frameworks.told_twice import Told
told = Told()
locks["what recorders were told"] = told.lock

held, leave = threading.Event(), threading.Event()

def hold():
    for lock in locks.values():
        lock.acquire()
    held.set()
    leave.wait(60)

threading.Thread(target=hold, daemon=True).start()
assert held.wait(60)
reading, writing = os.pipe()
if os.fork() == 0:
    hangs = [name for name, lock in locks.items() if not lock.acquire(timeout=1)]
    os.write(writing, repr((sorted(locks), hangs)).encode())
    os._exit(0)
os.close(writing)
with open(reading, "rb") as told:
    print(told.read().decode())
leave.set()
os.wait()
"""

HOLDS_ITS_OWN = """
import os
from llm_service.telemetry.instrumentation.fork_locks import fork_lock

lock = fork_lock()
with lock:
    child = os.fork()
if child == 0:
    os._exit(0 if lock.acquire(blocking=False) else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def _said(program: str) -> object:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", textwrap.dedent(program)],
        capture_output=True, text=True, timeout=100, check=False, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return eval(done.stdout)  # noqa: S307 - what the program above has printed


@pytest.mark.volume
def test_every_lock_of_a_module_is_free_in_a_child() -> None:
    """Whatever module or class of the package has one: the list is taken from what they hold."""
    locks, hangs = _said(HOLDS_ALL)  # type: ignore[misc]
    assert "llm_service.telemetry.instrumentation.nested_calls._LOCK" in locks
    assert hangs == []


def test_who_forks_keeps_its_own_lock() -> None:
    """A signal handler may fork in the middle of anything: what it interrupted goes on in both processes."""
    assert _said(HOLDS_ITS_OWN) == 0
