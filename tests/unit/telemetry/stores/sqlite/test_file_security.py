"""Links and files that others put in the database's place are refused, unopened; the owner's own link is followed."""

import os
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from llm_service.config.settings import Settings
from llm_service.errors import PlantedFileError, RecordDroppedError
from llm_service.telemetry import (
    AsyncTelemetryLogger,
    DropReason,
    Event,
    EventKind,
    InvocationRecord,
    TelemetryLogger,
)
from llm_service.telemetry.stores.sqlite import file_security
from llm_service.telemetry.stores.sqlite.opening import Opener, open_for_writing

if TYPE_CHECKING:
    from collections.abc import Callable

NOBODY = 65534
SUFFIXES = ["", "-wal", "-shm"]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


def as_nobody(code: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run a script as the user nobody, who can read the sources but owns nothing."""
    drop = f"import os, sys; os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})\n"
    # Imported before the rights go: the sources may lie in a folder that nobody may enter.
    imports = "import llm_service.telemetry, aiosqlite, sqlite3, uuid, tempfile\n"
    imports += "from llm_service.telemetry import *; from llm_service.telemetry.stores.sqlite import opening; from llm_service.telemetry.stores.sqlite import migrations\n"
    imports += "list(migrations.schema_statements())\n"
    imports += "import importlib.resources, functools\n"
    imports += "migrations.schema_statements = functools.partial(list, list(migrations.schema_statements()))\n"
    return subprocess.run(
        [sys.executable, "-c", imports + drop + code, *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=60, cwd="/",
        # A folder that nobody may enter might hold policies, and is refused.
        env=os.environ | {"PYTHONPATH": str(Path(file_security.__file__).parents[4]), "XDG_CONFIG_HOME": "/none"},
    )  # fmt: skip


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody may write to. Not in `tmp_path`: pytest shuts that to other users, now and then anew."""
    with tempfile.TemporaryDirectory(prefix="llm-telemetry-shared-") as name:
        folder = Path(name)
        folder.chmod(0o777)
        yield folder


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "folder"])
def test_what_is_no_plain_file_of_its_own_is_refused_unopened(kind: str, suffix: str, tmp_path: Path) -> None:
    """A FIFO would hang an open; a link would lead the records, or SQLite's own writes, to another file."""
    path, precious = tmp_path / "telemetry.db", tmp_path / "precious"
    open_for_writing(path, 0).close()
    precious.write_bytes(b"do not touch")
    victim = path.with_name(path.name + suffix)
    victim.unlink(missing_ok=True)
    if kind == "symlink":
        victim.symlink_to(precious)
    elif kind == "hard link":
        victim.hardlink_to(precious)
    elif kind == "fifo":
        os.mkfifo(victim)
    else:
        victim.mkdir()
    with pytest.raises(PlantedFileError, match=f"{victim.name} .*not opened; ") as caught:
        open_for_writing(path, 0)
    assert caught.value.path == path
    assert precious.read_bytes() == b"do not touch"


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_what_is_planted_under_an_open_database_is_refused_and_nothing_is_moved(suffix: str, tmp_path: Path) -> None:
    """A database that was lost is set aside for a new one; a planted file is not, nor is anything beside it."""
    path, precious = tmp_path / "telemetry.db", tmp_path / "precious"
    precious.write_bytes(b"do not touch")
    told: list[Event] = []
    with TelemetryLogger(path, on_event=told.append) as telemetry:
        telemetry.log_invocation(InvocationRecord())
        victim = path.with_name(path.name + suffix)
        victim.unlink()
        victim.symlink_to(precious)
        before = sorted(tmp_path.iterdir())
        with pytest.raises(RecordDroppedError) as caught:
            telemetry.log_invocation(InvocationRecord())
        assert isinstance(caught.value.__cause__, PlantedFileError)
        assert sorted(tmp_path.iterdir()) == before
        stats = telemetry.stats()
    assert victim.is_symlink()
    assert precious.read_bytes() == b"do not touch"
    assert (stats.files_set_aside, stats.ledger.dropped) == (0, {DropReason.STORE_FAILED: 1})
    assert [event.kind for event in told if event.kind is not EventKind.DROPPED] == [EventKind.STORE_UNUSABLE]


def test_no_file_is_set_aside_where_a_planted_one_stands(tmp_path: Path) -> None:
    """`make_way` looks again: between the failure and the move somebody may have been there."""
    path, precious = tmp_path / "telemetry.db", tmp_path / "precious"
    opener = Opener(path)
    opener.open().close()
    precious.write_bytes(b"do not touch")
    path.unlink()
    path.symlink_to(precious)
    with pytest.raises(PlantedFileError, match="is a symlink"):
        opener.make_way()
    assert precious.read_bytes() == b"do not touch"
    assert path.is_symlink()


@pytest.mark.costly
@needs_root
@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("kind", ["symlink", "file"])
def test_what_another_user_planted_is_refused(kind: str, suffix: str, shared: Path, tmp_path: Path) -> None:
    """In a folder that others may write to: neither followed nor written, and both faces say whose it is."""
    path, precious = shared / "telemetry.db", tmp_path / "precious"
    precious.write_bytes(b"")
    precious.chmod(0o666)
    victim = path.with_name(path.name + suffix)
    plant = {"symlink": f"os.symlink({str(precious)!r}, sys.argv[1])", "file": "open(sys.argv[1], 'w').close()"}[kind]
    planting = as_nobody(plant, victim)
    assert planting.returncode == 0, planting.stderr
    with pytest.raises(PlantedFileError, match=f"user {NOBODY}"):
        TelemetryLogger(path)
    assert precious.read_bytes() == b""
    assert victim.lstat().st_size == (len(str(precious)) if kind == "symlink" else 0)


@needs_root
def test_a_folder_that_another_user_s_symlink_leads_to_is_not_entered(shared: Path, tmp_path: Path) -> None:
    """Whoever owns the link decides where the database goes, today and tomorrow."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = shared / "link"
    link.symlink_to(elsewhere)
    os.lchown(link, NOBODY, NOBODY)
    with pytest.raises(PlantedFileError, match=f"link is a symlink of user {NOBODY}"):
        TelemetryLogger(link / "telemetry.db")
    assert not list(elsewhere.iterdir())


@needs_root
def test_a_user_refuses_a_file_of_another_and_takes_one_of_root(shared: Path) -> None:
    """The same the other way round: `nobody` does not write into a file of user 1."""
    path = shared / "telemetry.db"
    path.touch()
    path.chmod(0o666)
    script = "try: opening.open_for_writing(__import__('pathlib').Path(sys.argv[1]), 0).close(); print('opened')\n"
    script += "except PlantedFileError as error: print(error)\n"
    script = "from llm_service.errors import PlantedFileError\n" + script
    assert as_nobody(script, path).stdout == "opened\n"
    os.chown(path, 1, 1)
    assert (
        f"belongs to user 1, this process is user {NOBODY}: it is not opened; change its owner"
        in as_nobody(script, path).stdout
    )


async def test_the_async_face_says_it_at_start_and_counts_the_loss(tmp_path: Path) -> None:
    """The agent goes on."""
    path = tmp_path / "telemetry.db"
    os.mkfifo(path)
    telemetry = AsyncTelemetryLogger(path)
    with pytest.raises(PlantedFileError):
        await telemetry.start()
    assert not telemetry.log_invocation_nowait(InvocationRecord())
    assert telemetry.stats().ledger.dropped == {DropReason.STORE_FAILED: 1}
    await telemetry.aclose()


def test_the_owners_own_link_is_followed_once_at_construction(tmp_path: Path) -> None:
    """Through several hops, relative and absolute; -wal and -shm stand beside the file, and a later change is no matter."""
    real, link, hop = tmp_path / "disk" / "real.db", tmp_path / "link.db", tmp_path / "hop.db"
    real.parent.mkdir()
    link.symlink_to("hop.db")
    hop.symlink_to(real)
    with TelemetryLogger(link) as logger:
        assert logger.db_path == real
        hop.unlink()
        hop.symlink_to(tmp_path / "elsewhere.db")
        logger.log_invocation(InvocationRecord())
        assert (tmp_path / "disk" / "real.db-wal").exists()
    connection = sqlite3.connect(real)
    assert connection.execute("SELECT count(*) FROM invocations").fetchone() == (1,)
    connection.close()
    assert not (tmp_path / "elsewhere.db").exists()


@needs_root
def test_a_link_of_another_user_is_not_followed_at_construction(shared: Path) -> None:
    """It stays the path, and the open refuses it."""
    link = shared / "link.db"
    assert as_nobody("os.symlink('/etc/passwd', sys.argv[1])", link).returncode == 0
    assert Settings(db_path=link).db_path == link


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    """As for the kernel: too many levels; the open refuses what is left."""
    one, two = tmp_path / "one.db", tmp_path / "two.db"
    one.symlink_to(two)
    two.symlink_to(one)
    path = Settings(db_path=one).db_path
    with pytest.raises(PlantedFileError, match="symlink"):
        open_for_writing(path, 0)


def test_the_temporary_name_of_a_creator_that_was_killed_is_cleared_away(tmp_path: Path) -> None:
    """Killed between link and unlink, a file has two names for ever: ours, which is no attack."""
    path, left, other = tmp_path / "telemetry.db", tmp_path / ".telemetry.db.abc123", tmp_path / ".telemetry.db.xyz"
    path.touch(mode=0o600)
    left.hardlink_to(path)
    other.write_text("another file")
    open_for_writing(path, 0).close()
    assert not left.exists()
    assert other.read_text() == "another file"
    with TelemetryLogger(path) as logger:
        assert logger.log_invocation(InvocationRecord())


@pytest.mark.parametrize("gone", ["the temporary name", "the file"])
def test_a_creator_that_is_quicker_is_no_error(gone: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is looked at may vanish between two looks."""
    path, left = tmp_path / "telemetry.db", tmp_path / ".telemetry.db.abc"
    path.touch(mode=0o600)
    left.hardlink_to(path)
    unlink: Callable[[Path], None] = Path.unlink

    def quicker(name: Path, **_options: Any) -> None:
        unlink(name)
        if gone == "the file":
            unlink(path)
        else:
            raise FileNotFoundError(name)

    monkeypatch.setattr(Path, "unlink", quicker)
    file_security.refuse_planted(path)


_MODES = """
with TelemetryLogger(sys.argv[1]) as logger:
    logger.log_invocation(InvocationRecord())
    logger.log_invocation(InvocationRecord())
    for suffix in ("", "-wal", "-shm"): print(oct(os.stat(sys.argv[1] + suffix).st_mode & 0o777))
folder = os.path.dirname(sys.argv[1])
for made in (folder, os.path.dirname(folder)): print(oct(os.stat(made).st_mode & 0o777))
"""


@pytest.mark.costly
@needs_root
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o777])
def test_whatever_the_umask_files_are_0600_and_folders_0700(umask: int, shared: Path) -> None:
    """For an ordinary user, whom a mode of 000 would lock out of his own file."""
    path = shared / "a" / "b" / "telemetry.db"
    script = f"os.umask({umask})\n{_MODES}"
    ran = as_nobody(script, path)
    assert ran.stdout.split() == ["0o600"] * 3 + ["0o700"] * 2, ran.stderr
