"""No room, no descriptors: records wait within the bound, and are written when there is room again."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture
def small_disk(tmp_path: Path, command: Callable[..., str]) -> Iterator[Path]:
    """A file system of 2 MiB, where this machine lets one be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    command("mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder)
    try:
        yield folder
    finally:
        command("umount", "-l", folder)


@pytest.fixture
def db(small_disk: Path) -> Path:
    """The database stands on the small disk."""
    return small_disk / "telemetry.db"


FILL = """
T = FACE(PATH)
for _ in range(9000): put(T)
wait_until(lambda: "FULL" in (T.stats().last_error or "") or "IOERR" in (T.stats().last_error or ""))
assert T.stats().failing and T.stats().ledger.balanced and T.stats().ledger.pending > 0
"""
SYNC = """
FILL
print("full"); sys.stdin.readline()
assert T.flush(timeout=20).complete
T.close(); sum_up(T)
"""
ASYNC = """
async def main():
    T = AsyncTelemetryLogger(PATH)
    await T.start()
    for _ in range(9000): put(T)
    def full(): return "FULL" in (T.stats().last_error or "") or "IOERR" in (T.stats().last_error or "")
    await asyncio.to_thread(wait_until, full)
    assert T.stats().failing and T.stats().ledger.balanced and T.stats().ledger.pending > 0
    print("full"); await asyncio.to_thread(sys.stdin.readline)
    assert (await T.flush(timeout=20)).complete
    await T.aclose(); sum_up(T)
asyncio.run(main())
"""


@pytest.mark.parametrize("face", ["async", "sync"])
def test_a_full_disk_is_waited_out_and_everything_is_written(
    face: str,
    small_disk: Path,
    command: Callable[..., str],
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    tell: Callable[..., None],
    lawful: Callable[..., Any],
) -> None:
    """A real file system of 2 MiB runs full and is made bigger: the same process goes on, no record is missing."""
    script = ASYNC if face == "async" else SYNC.replace("FILL", FILL.replace("FACE", "TelemetryLogger"))
    process = start_script(script)
    expect_line(process, "full")
    command("mount", "-o", "remount,size=64m", small_disk)
    tell(process)
    ended = finish(process, 40)
    assert ended.code == 0, ended.err
    found, noted = lawful()
    assert found == {"agent": 9000}
    assert noted.ledgers[0]["retries"] > 0


def test_a_close_on_a_full_disk_counts_what_it_drops(
    run_script: Callable[..., Any], lawful: Callable[..., Any]
) -> None:
    """Nobody makes room: the close ends in time, and every record is on disk or counted as lost to the shutdown."""
    script = FILL.replace("FACE", "TelemetryLogger") + "T.close(timeout=0.5); sum_up(T)"
    ended = run_script(script)
    assert ended.code == 0, ended.err
    found, noted = lawful()
    assert 0 < found["agent"] < 9000
    assert noted.ledgers[0]["dropped"] == {"shutdown": 9000 - found["agent"]}
