"""A file or folder that may not be written: one warning, records wait, and are written when they may be."""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from llm_service.telemetry import InvocationRecord, TelemetryLogger

pytestmark = pytest.mark.slow

WRITE = """
import logging
logging.basicConfig(format="%(levelname)s %(message)s")
T = AsyncTelemetryLogger(PATH)
async def main():
    await T.start()
    for _ in range(100): put(T)
    await asyncio.to_thread(wait_until, lambda: T.stats().retries >= 6)
    assert T.stats().failing and T.stats().ledger.pending == 100
    print("waits"); await asyncio.to_thread(sys.stdin.readline)
    assert (await T.flush(timeout=20)).complete
    await T.aclose()
    sum_up(T)
asyncio.run(main())
"""


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A database on a disk: what is immutable in memory may still be written by who has it open."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        yield Path(folder) / "telemetry.db"


@pytest.fixture
def obeying_modes(command: Callable[..., str]) -> tuple[str, ...]:
    """What makes root obey the permission bits of its own files, as everyone else does."""
    if os.getuid() != 0:
        return ()
    under = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    command(*under, "true")
    return under


@pytest.mark.parametrize("what", ["file", "folder", "folder of a file"])
def test_what_may_not_be_written_is_said_once_and_waited_out(
    what: str,
    db: Path,
    obeying_modes: tuple[str, ...],
    start_script: Callable[..., Any],
    finish: Callable[..., Any],
    expect_line: Callable[..., None],
    tell: Callable[..., None],
    lawful: Callable[..., Any],
    tmp_path: Path,
    notes: Path,
) -> None:
    """Mode 0400 on the file or 0500 on its folder, lifted later: nothing is lost, the alarm does not repeat."""
    notes.touch()
    if what != "folder":
        TelemetryLogger(db).close()
    locked = db if what == "file" else tmp_path
    mode = locked.stat().st_mode & 0o777
    locked.chmod(mode & 0o555)
    process = start_script(WRITE, under=obeying_modes)
    try:
        expect_line(process, "waits")
    finally:
        locked.chmod(mode)
    tell(process)
    ended = finish(process, 40)
    assert ended.code == 0, ended.err
    assert ended.err.count("WARNING telemetry: ") == 1, ended.err
    found, _ = lawful()
    assert found == {"agent": 100}


@pytest.fixture
def immutable(command: Callable[..., str]) -> Iterator[Callable[[Path, bool], None]]:
    """Make a file immutable and back, where the file system knows that and we may."""
    made: set[Path] = set()

    def set_flag(path: Path, on: bool) -> None:
        command("chattr", "+i" if on else "-i", path)
        (made.add if on else made.discard)(path)

    yield set_flag
    for path in list(made):
        set_flag(path, False)


@pytest.mark.parametrize("suffix", ["", "-wal"])
def test_a_file_made_immutable_while_open_loses_nothing(
    suffix: str,
    on_disk: Path,
    immutable: Callable[[Path, bool], None],
    record: Callable[..., InvocationRecord],
    sound: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    eventually: Callable[..., None],
) -> None:
    """`chattr +i` on the database fails checkpoints, on the -wal commits: both are said in `stats` and go on after."""
    monkeypatch.setattr("llm_service.telemetry.stores.sqlite.wal.TIDY_AFTER", 0.02)
    with TelemetryLogger(on_disk) as logger:
        logger.log_invocation(record("before"))
        immutable(on_disk.with_name(on_disk.name + suffix), True)
        for _ in range(100):
            assert logger.log_invocation_nowait(record("during"))
        eventually(lambda: "IOERR_WRITE" in (logger.stats().last_error or ""))
        assert logger.stats().ledger.balanced
        immutable(on_disk.with_name(on_disk.name + suffix), False)
        assert logger.flush().complete
        ledger = logger.stats().ledger
    assert (ledger.submitted, ledger.written) == (101, 101)
    assert sound(on_disk) == {"before": 1, "during": 100}
