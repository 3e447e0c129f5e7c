"""The commit lock: who goes first, as a fork does, has it next, however often the others ask for it."""

import threading

from llm_service.telemetry.writer.commit_lock import CommitLock
from llm_service.telemetry.writer.threads import ShortLocks


def test_who_goes_first_has_it_next() -> None:
    """A thread that commits again and again would have it back before any other that waits."""
    lock, order = CommitLock(ShortLocks(lambda: ())), list[str]()
    committing, go_on = threading.Event(), threading.Event()

    def work() -> None:
        committing.set()
        go_on.wait(10)
        order.append("a commit")

    def commit() -> None:
        lock.run(work)
        lock.run(lambda: order.append("the next commit"))

    def fork() -> None:
        assert lock.acquire_first(10)
        order.append("a fork")
        lock.release()

    writer, forking = threading.Thread(target=commit), threading.Thread(target=fork)
    writer.start()
    assert committing.wait(10)
    forking.start()
    while lock.first is None:
        forking.join(0.001)
    assert not lock.acquire(0.0)
    assert not lock.acquire(0.01)
    go_on.set()
    for thread in (writer, forking):
        thread.join(10)
    assert order == ["a commit", "a fork", "the next commit"]
    assert (lock.owner, lock.first) == (None, None)


def test_who_goes_first_waits_no_longer_than_it_says() -> None:
    """And the others go on then."""
    lock = CommitLock(ShortLocks(lambda: ()))
    with lock:
        first = threading.Thread(target=lock.acquire_first, args=(0.01,))
        first.start()
        first.join(10)
        assert lock.first is None
    assert lock.run(lambda: "done") == "done"
