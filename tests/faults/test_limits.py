"""Limits of the process: a file may not grow, no descriptor is left. It goes on when the limit is gone."""

from collections.abc import Callable
from typing import Any


def test_a_file_size_limit_is_waited_out(run_script: Callable[..., Any], lawful: Callable[..., Any]) -> None:
    """RLIMIT_FSIZE fails the write (Python ignores SIGXFSZ): retried, and all is written once it is lifted."""
    script = """
import resource
async def main():
    async with AsyncTelemetryLogger(PATH) as T:
        await promised(T)
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, hard))
        for _ in range(800): put(T)
        await asyncio.to_thread(wait_until, lambda: T.stats().retries > 6)  # more than a bug would be granted
        assert T.stats().failing
        assert T.stats().ledger.balanced
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert (await T.flush(timeout=20)).complete
    sum_up(T)
asyncio.run(main())
"""
    ended = run_script(script)
    assert ended.code == 0, ended.err
    found, noted = lawful()
    assert found == {"agent": 801}
    assert "IOERR" in noted.ledgers[0]["last_error"] or "FULL" in noted.ledgers[0]["last_error"]


def test_an_open_without_descriptors_is_tried_again(run_script: Callable[..., Any], lawful: Callable[..., Any]) -> None:
    """EMFILE when the file is to be opened: `start` does not raise, records wait, and are written later."""
    script = """
import resource
async def main():
    T = AsyncTelemetryLogger(PATH)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = os.open("/dev/null", os.O_RDONLY); os.close(taken)  # the lowest free number
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken, hard))
    await T.start()
    for _ in range(100): put(T)
    while T.stats().retries < 3: await asyncio.sleep(0.005)
    assert T.stats().failing and T.stats().ledger.pending == 100
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    await promised(T)
    await T.aclose(); sum_up(T)
asyncio.run(main())
"""
    ended = run_script(script)
    assert ended.code == 0, ended.err
    found, _ = lawful()
    assert found == {"agent": 101}
