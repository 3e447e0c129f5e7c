"""Several processes write one file, are killed, and fork: no record is lost, none repeated, no aggregate wrong."""

import csv
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

# From 3.12 on Python warns of any fork in a process with threads; what matters here is what comes of it.
FORKS = ("-W", "ignore:This process:DeprecationWarning")
TRACE = "shared/data/azure_llm_inference_2023_code.csv"

REPLAY = """
import csv, json
async def agent(telemetry, name, calls):
    for prompt, completion in calls:
        assert await telemetry.log_invocation(
            record(name, prompt_tokens=prompt, completion_tokens=completion, cost_usd=prompt / 1e6))
async def main():
    with open(sys.argv[2]) as file:
        calls = [(int(row["ContextTokens"]), int(row["GeneratedTokens"])) for row in csv.DictReader(file)]
    async with AsyncTelemetryLogger(PATH) as telemetry:
        await asyncio.gather(*(agent(telemetry, f"agent-{n}", calls[n::50]) for n in range(50)))
    ledger = telemetry.stats().ledger
    assert ledger.balanced
    print(json.dumps([ledger.submitted, ledger.written, sum(ledger.dropped.values())]))
asyncio.run(main())
"""


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """The real trace where it is at hand, else one of the same shape and size."""
    for folder in Path(__file__).resolve().parents:
        if (folder / TRACE).exists():
            return folder / TRACE
    made = tmp_path / "trace.csv"
    with made.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("TIMESTAMP", "ContextTokens", "GeneratedTokens"))
        writer.writerows(("2023-11-16 18:15:46", 100 + n % 4000, n % 500) for n in range(8819))
    return made


def test_two_processes_of_fifty_agents_replay_a_trace_into_one_file(
    trace: Path, db: Path, start_script: Callable[..., Any], finish: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """8,819 rows in each of two processes are 17,638 records, and the daily aggregates say the same."""
    for ended in map(finish, [start_script(REPLAY, db, trace, flags=()) for _ in range(2)]):
        assert (ended.code, ended.err) == (0, "")
        assert json.loads(ended.out) == [8819, 8819, 0]
    found = truth(db)
    assert found.rows == len(set(found.ids)) == 17_638


def test_every_acknowledged_record_survives_sigkill_while_another_process_writes(
    trace: Path,
    db: Path,
    start_script: Callable[..., Any],
    run_script: Callable[..., Any],
    finish: Callable[..., Any],
    truth: Callable[[Path], Any],
) -> None:
    """A durable await that returned, and was told to someone else, is kept; the other process does not notice."""
    killed_script = """
async def agent(telemetry, name):
    while True:
        for _ in range(20): telemetry.log_invocation_nowait(record("noise"))
        one = record(name)
        await telemetry.log_invocation(one, durable=True)
        print(one.invocation_id)
async def main():
    telemetry = AsyncTelemetryLogger(PATH)
    await asyncio.gather(*(agent(telemetry, f"durable-{n}") for n in range(8)))
asyncio.run(main())
"""
    other = start_script(REPLAY, db, trace, flags=())
    killed = start_script(killed_script, db, flags=())
    acknowledged = [killed.stdout.readline().strip() for _ in range(200)]
    killed.send_signal(signal.SIGKILL)
    rest, _ = killed.communicate(timeout=20)
    acknowledged += [line for line in rest.split("\n") if len(line) == 36]
    assert killed.returncode == -signal.SIGKILL
    # The next open works at once, while the other process goes on.
    after = run_script("with TelemetryLogger(PATH) as t: assert t.log_invocation(record('after'))", db)
    assert (after.code, after.err) == (0, "")
    ended = finish(other)
    assert (ended.code, json.loads(ended.out)) == (0, [8819, 8819, 0]), ended.err
    found = truth(db)
    assert set(acknowledged) <= set(found.ids)
    assert found.agents["after"] == 1
    assert sum(count for agent, count in found.agents.items() if str(agent).startswith("agent-")) == 8819


@pytest.mark.volume
@pytest.mark.parametrize("face", ["async", "sync"])
def test_six_processes_create_the_file_at_once(
    face: str,
    db: Path,
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    tell: Callable[..., None],
    truth: Callable[[Path], Any],
) -> None:
    """All open it, none loses a record, and none leaves a file behind."""
    script = {
        "async": """
async def main():
    print("ready"); sys.stdin.readline()
    async with AsyncTelemetryLogger(PATH) as telemetry:
        for _ in range(50): await telemetry.log_invocation(record(), durable=True)
asyncio.run(main())
""",
        "sync": """
print("ready"); sys.stdin.readline()
with TelemetryLogger(PATH) as telemetry:
    for _ in range(50): telemetry.log_invocation(record())
""",
    }[face]
    processes = [start_script(script, db, flags=()) for _ in range(6)]
    for process in processes:
        expect_line(process, "ready")
    for process in processes:
        tell(process)
    for ended in map(finish, processes):
        # Six at once on a busy machine may try more than twice for the lock, which is said and does no harm.
        said = [line for line in ended.err.splitlines() if "database is locked" not in line]
        assert (ended.code, said) == (0, [])
    assert truth(db).rows == 300
    assert [path.name for path in db.parent.iterdir()] == [db.name]


FORK_SYNC = """
logger = TelemetryLogger(PATH)
for _ in range(10): logger.log_invocation(record("parent"))
for _ in range(10): logger.log_invocation_nowait(record("parent"))
to_child, to_parent = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    assert logger.stats().ledger.submitted == 0
    for _ in range(10): logger.log_invocation(record("child"))
    os.write(to_parent[1], b"x"); os.read(to_child[0], 1)
    for _ in range(10): logger.log_invocation(record("child"))
    logger.log_invocation_nowait(record("child"))
    assert len(logger.get_invocations(agent_name="child")) == 21
    assert logger.close().complete
    assert logger.stats().ledger.balanced and logger.stats().ledger.written == 21
    sys.exit(9)
os.read(to_parent[0], 1)
for _ in range(10): logger.log_invocation(record("parent"))
if sys.argv[2] == "parent closes first":
    logger.close()
    import sqlite3
    with sqlite3.connect(PATH) as other:  # would set up the -wal and -shm anew if the child's were not known
        assert other.execute("SELECT count(*) FROM invocations").fetchone() == (40,)
    other.close()
os.write(to_child[1], b"x")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
logger.close()
assert logger.stats().ledger.balanced and logger.stats().ledger.written == 30
"""


@pytest.mark.parametrize("order", ["parent closes first", "parent closes last"])
def test_parent_and_child_of_a_fork_both_log_on(
    order: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The child repeats nothing of the parent's, and the parent's close takes no file away under the child."""
    ended = run_script(FORK_SYNC, db, order, flags=FORKS)
    assert (ended.code, ended.err) == (0, "")
    assert truth(db).agents == {"parent": 30, "child": 21}


def test_a_child_forked_in_a_running_loop_logs_by_a_loop_of_its_own(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The async face in the child starts anew: own queue, own writer, own connection; the parent's goes on."""
    script = """
async def child(telemetry):
    for _ in range(20): await telemetry.log_invocation(record("child"))
    await telemetry.log_invocation(record("child"), durable=True)
    assert (await telemetry.get_statistics(agent_name="child"))["total_invocations"] == 21
    await telemetry.aclose()
async def main():
    telemetry = AsyncTelemetryLogger(PATH)
    await telemetry.log_invocation(record("parent"), durable=True)
    for _ in range(300): await telemetry.log_invocation(record("parent"))
    pid = os.fork()
    if pid == 0:
        def run():
            asyncio.run(child(telemetry))
        thread = threading.Thread(target=run); thread.start(); thread.join()
        assert telemetry.stats().ledger.balanced and telemetry.stats().ledger.written == 21
        os._exit(9)
    for _ in range(300): await telemetry.log_invocation(record("parent"))
    await telemetry.aclose()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    assert telemetry.stats().ledger.written == 601
asyncio.run(main())
"""
    ended = run_script(script, db, flags=FORKS)
    assert (ended.code, ended.err) == (0, "")
    assert truth(db).agents == {"parent": 601, "child": 21}


@pytest.mark.parametrize("face", ["async", "sync"])
def test_forks_under_load_lose_and_repeat_nothing(
    face: str, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """Ten forks while another thread's transactions run: every child commits, and so does the parent."""
    busy = {
        "async": """
T = AsyncTelemetryLogger(PATH, batch_size=8)
async def load():
    async with T:
        while not stop.is_set():
            for _ in range(10): await T.log_invocation(record("parent")); counted.append(1)
            await T.log_invocation(record("parent"), durable=True); counted.append(1)
def work(): asyncio.run(load())
""",
        "sync": """
T = TelemetryLogger(PATH)
def work():
    while not stop.is_set(): T.log_invocation(record("parent")); counted.append(1)
    T.close()
""",
    }[face]
    script = """
stop, counted = threading.Event(), []
thread = threading.Thread(target=work); thread.start()
while len(counted) < 50: time.sleep(0.001)
children = []
for n in range(10):
    pid = os.fork()
    if pid == 0:
        logger = TelemetryLogger(PATH) if n % 2 else T
        if isinstance(logger, TelemetryLogger):
            for _ in range(20): logger.log_invocation(record("child"))
            logger.close()
        else:
            async def log():
                async with T:
                    for _ in range(20): await T.log_invocation(record("child"))
            asyncio.run(log())
        os._exit(0 if logger.stats().ledger.written == 20 else 1)
    children.append(pid)
codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children]
stop.set(); thread.join()
assert codes == [0] * 10, codes
assert T.stats().ledger.balanced and T.stats().ledger.written == len(counted)
print(len(counted))
"""
    ended = run_script(busy + script, db, flags=FORKS)
    assert (ended.code, ended.err) == (0, "")
    assert truth(db).agents == {"parent": int(ended.out), "child": 200}


def test_a_child_that_forks_in_the_middle_of_a_transaction_gets_the_write_lock(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The fork waits for the transaction's end, so that the child inherits no lock that nobody will release."""
    script = """
from llm_service.telemetry.stores.sqlite.batch_writer import _Transaction
T = TelemetryLogger(PATH, commit_timeout=5)
inside, original = threading.Event(), _Transaction.add_rollups
def slow(self):
    inside.set()
    time.sleep(0.3)  # the transaction stays open while the main thread forks
    original(self)
_Transaction.add_rollups = slow
thread = threading.Thread(target=lambda: T.log_invocation(record("parent"))); thread.start()
inside.wait()
pid = os.fork()
_Transaction.add_rollups = original
if pid == 0:
    T.log_invocation(record("child"))
    T.close()
    os._exit(0)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
thread.join()
T.log_invocation(record("parent"))
T.close()
sys.exit(code)
"""
    ended = run_script(script, db, flags=FORKS)
    assert (ended.code, ended.err) == (0, "")
    assert truth(db).agents == {"parent": 2, "child": 1}


def test_a_child_forked_while_a_commit_hangs_counts_its_records_as_lost(
    db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """It inherits a connection in use, beside which SQLite would take no locks: it says so, and touches nothing."""
    script = """
from llm_service.telemetry import DropReason, StoreError
from llm_service.telemetry.writer import engine
from llm_service.telemetry.stores.sqlite.batch_writer import _Transaction
engine._FORK_WAITS = 0.05
T = TelemetryLogger(PATH)
inside, leave, original = threading.Event(), threading.Event(), _Transaction.add_rollups
def slow(self):
    inside.set()
    leave.wait()
    original(self)
_Transaction.add_rollups = slow
thread = threading.Thread(target=lambda: T.log_invocation(record("parent"))); thread.start()
inside.wait()
pid = os.fork()
if pid == 0:
    assert not T.log_invocation_nowait(record("child"))
    try:
        T.log_invocation(record("child"))
    except StoreError as error:
        assert "forked while a commit hung" in str(error.__cause__)
    ledger = T.stats().ledger
    os._exit(0 if ledger.balanced and ledger.dropped == {DropReason.STORE_FAILED: 2} else 1)
code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
leave.set(); thread.join()
T.close()
sys.exit(code)
"""
    ended = run_script(script, db, flags=FORKS)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"parent": 1}


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8])
def test_a_child_forked_while_the_loop_opens_the_file_writes_its_own_records(
    turns: int, db: Path, run_script: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """The loop's thread forks: it cannot wait for what only the loop goes on with, so it lets go of it."""
    script = f"""
import multiprocessing
T = AsyncTelemetryLogger(PATH)
def child():
    for _ in range(10): assert T.log_invocation_nowait(record("child"))
async def main():
    for _ in range(100): await T.log_invocation(record("parent"))
    for _ in range({turns}): await asyncio.sleep(0)
    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    await T.aclose()
    return process.exitcode
sys.exit(asyncio.run(main()))
"""
    ended = run_script(script, db, flags=FORKS)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"parent": 100, "child": 10}


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_children_of_multiprocessing_end_with_their_records_on_disk(
    method: str, tmp_path: Path, db: Path, run_file: Callable[..., Any], truth: Callable[[Path], Any]
) -> None:
    """A forked worker ends without atexit, a spawned one with it: both drain, also with a logger they inherited."""
    module = tmp_path / "workers.py"
    module.write_text(
        "import multiprocessing, sys\n"
        "from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger\n"
        "PATH, METHOD = sys.argv[1:3]\n"
        "def own(face):\n"
        "    logger = {'sync': TelemetryLogger, 'async': AsyncTelemetryLogger}[face](PATH)\n"
        "    for _ in range(25): assert logger.log_invocation_nowait(InvocationRecord(agent_name='own'))\n"
        "def inherited():\n"
        "    for _ in range(25): assert T.log_invocation_nowait(InvocationRecord(agent_name='inherited'))\n"
        "if __name__ == '__main__':\n"
        "    T = TelemetryLogger(PATH)\n"
        "    T.log_invocation(InvocationRecord(agent_name='parent'))\n"
        "    context = multiprocessing.get_context(METHOD)\n"
        "    children = [context.Process(target=own, args=(face,)) for face in ('sync', 'async')]\n"
        "    if METHOD == 'fork': children.append(context.Process(target=inherited))\n"
        "    for child in children: child.start()\n"
        "    for child in children: child.join()\n"
        "    T.close()\n"
        "    sys.exit(sum(child.exitcode for child in children))\n"
    )
    ended = run_file(module, db, method)
    assert ended.code == 0, ended.err
    assert truth(db).agents == {"parent": 1, "own": 50} | ({"inherited": 25} if method == "fork" else {})
