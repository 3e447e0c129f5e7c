"""An index of contents that are damaged: to make it ends, and says why."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from llm_service.errors import StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import word_index

PAGE = 4096


def swap_pages_of_contents(path: Path) -> None:
    """A misdirected write: ids do not ascend any more."""
    with closing(sqlite3.connect(path)) as connection:
        tables = "SELECT pageno FROM dbstat WHERE name = 'invocation_contents' AND pagetype = 'leaf' ORDER BY path"
        try:
            pages = [row[0] for row in connection.execute(tables)]
        except sqlite3.OperationalError:
            pages = []
    read = bytearray(path.read_bytes())
    if not pages:  # an SQLite without dbstat: leaves of tables with many compressed texts
        pages = [
            at + 1
            for at in range(1, len(read) // PAGE)
            if read[at * PAGE] == 13 and read[at * PAGE : (at + 1) * PAGE].count(b"x\x9c") > 10
        ]
    one, other = (slice((page - 1) * PAGE, page * PAGE) for page in pages[1:3])
    read[one], read[other] = read[other], read[one]
    path.write_bytes(read)


def test_an_index_that_cannot_be_made_is_given_up(tmp_path: Path) -> None:
    """A step that faults empties it: begun anew for ever, it would write all the time."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, privacy_level="full") as logger:
        for number in range(300):
            logger.log_invocation_nowait(InvocationRecord(prompt=f"hello {number} " + "word " * (number % 50)))
    swap_pages_of_contents(path)
    with pytest.raises(StoreError, match="the contents are damaged"):
        word_index.build(path)
