"""A user's own file at the name of a side file is told from all that SQLite may have left there, also half-way."""

import shutil
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.slices import quick

from llm_service.errors import ForeignDatabaseError
from llm_service.telemetry.stores.sqlite.file_security import refuse_planted
from llm_service.telemetry.stores.sqlite.side_files import SIDE_FILES, foreign_side_file, is_of_sqlite

FOREIGN = {
    "text": b"these are notes\n" * 4000,
    "short text": b"mine\n",
    "JSON": b'{"mine": 1}' + b" " * 100,
    "UTF-16": "notes".encode("utf-16"),
    "PNG": bytes.fromhex("89504e470d0a1a0a0000000d49484452"),
    "MP4": b"\0\0\0\x1cftypmp42" + bytes(200),
    "ZIP": b"PK\x03\x04\x14\0\0\0\x08\0" + bytes(range(200)),
    "ELF": b"\x7fELF\x02\x01\x01" + bytes(200),
    "database": b"SQLite format 3\0" + bytes.fromhex("100002020040202000000001") + bytes(4000),
}


def left(folder: Path) -> dict[str, list[bytes]]:
    """What SQLite itself leaves at each name, in the states that its modes know."""
    found: dict[str, list[bytes]] = {suffix: [] for suffix in SIDE_FILES}

    def keep(path: Path) -> None:
        for suffix in SIDE_FILES:
            file = path.with_name(path.name + suffix)
            if file.exists():
                shutil.copy(file, folder / "copy")
                found[suffix].append((folder / "copy").read_bytes())

    for mode in ("WAL", "DELETE", "PERSIST", "TRUNCATE"):
        path = folder / f"{mode}.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute(f"PRAGMA journal_mode = {mode}")
            connection.execute("PRAGMA cache_size = 1")
            keep(path)
            connection.execute("CREATE TABLE t (a)")
            keep(path)
            connection.execute("BEGIN")
            connection.execute("INSERT INTO t VALUES (1)")
            keep(path)
            connection.execute("INSERT INTO t VALUES (zeroblob(1000000))")
            keep(path)
            connection.execute("COMMIT")
            keep(path)
    return found


def torn(whole: bytes) -> list[bytes]:
    """The header as a power cut may leave it: cut off, or with only one part of it written, whichever was first."""
    head = whole[:100]
    cuts = [head[:length] for length in range(len(head))]
    return [
        *cuts,
        *(cut + bytes(len(head) - len(cut)) for cut in cuts),
        *(bytes(len(cut)) + head[len(cut) :] for cut in cuts),
    ]


@pytest.mark.parametrize("suffix", SIDE_FILES)
def test_what_sqlite_leaves_is_sqlite_s_however_much_of_it_was_written(suffix: str, tmp_path: Path) -> None:
    """Nobody is locked out of the own database by half of a header."""
    states = [state for state in left(tmp_path)[suffix] if state]
    assert len(states) >= 4
    for state in states:
        for head in torn(state):
            assert is_of_sqlite(suffix, head), head


def test_a_wal_index_of_the_other_byte_order_is_one(tmp_path: Path) -> None:
    """The file may come from another machine."""
    state = next(state for state in left(tmp_path)["-shm"] if any(state[:4]))
    assert is_of_sqlite("-shm", state[3::-1] + state[4:100])
    assert is_of_sqlite("-shm", b"torn" + state[4:48] + state[51:47:-1])


@pytest.mark.parametrize("suffix", quick(SIDE_FILES, every=3))
@pytest.mark.parametrize("content", FOREIGN.values(), ids=FOREIGN.keys())
def test_another_file_is_refused_and_named(content: bytes, suffix: str, tmp_path: Path) -> None:
    """By whoever opens the database, for reading or for writing, whether that stands there or not."""
    path = tmp_path / "telemetry.db"
    mine = path.with_name(path.name + suffix)
    mine.write_bytes(content)
    for _ in ("without the database", "with it"):
        for reading in (True, False):
            with pytest.raises(ForeignDatabaseError, match=f"{mine.name} .*not SQLite's.*move it away") as caught:
                refuse_planted(path, reading=reading)
            assert caught.value.path == path
        path.touch()
    assert mine.read_bytes() == content


def test_the_foreign_one_of_several_is_named(tmp_path: Path) -> None:
    """Whatever stands at the other names."""
    path = tmp_path / "telemetry.db"
    for suffix in SIDE_FILES:
        path.with_name(path.name + suffix).write_bytes(bytes(4096))
    assert foreign_side_file(path) is None
    for suffix in SIDE_FILES:
        file = path.with_name(path.name + suffix)
        file.write_bytes(b"mine " * 1000)
        assert foreign_side_file(path) == file
        file.write_bytes(bytes(4096))


def test_a_file_in_use_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor one that nobody has open, nor what is empty: no process is started for them."""
    monkeypatch.delattr(subprocess, "run")
    path = tmp_path / "telemetry.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        assert foreign_side_file(path) is None
        connection.execute("CREATE TABLE t (a)")
        assert foreign_side_file(path) is None
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        assert foreign_side_file(path) is None
    assert foreign_side_file(path) is None
    for suffix in SIDE_FILES:
        path.with_name(path.name + suffix).touch()
    assert foreign_side_file(path) is None


def no_process(*_arguments: Any, **_options: Any) -> None:
    """As in a sandbox."""
    raise OSError("no more processes")


def another_program(*_arguments: Any, **_options: Any) -> "subprocess.CompletedProcess[bytes]":
    """The interpreter is built into a program that says what it likes."""
    return subprocess.CompletedProcess([], 0, b"usage: program\n=zz\n")


@pytest.mark.parametrize("answer", [no_process, another_program])
def test_what_cannot_be_looked_at_is_sqlite_s(
    answer: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In doubt, the database can be used."""
    path = tmp_path / "telemetry.db"
    path.with_name("telemetry.db-journal").write_text("mine")
    monkeypatch.setattr(subprocess, "run", answer)
    assert foreign_side_file(path) is None


def test_what_is_gone_by_then_is_no_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that ends removes its files."""
    path = tmp_path / "telemetry.db"
    file = path.with_name("telemetry.db-wal")
    file.write_text("mine")
    run: Callable[..., Any] = subprocess.run

    def first_remove(*arguments: Any, **options: Any) -> Any:
        file.unlink()
        return run(*arguments, **options)

    monkeypatch.setattr(subprocess, "run", first_remove)
    assert foreign_side_file(path) is None
