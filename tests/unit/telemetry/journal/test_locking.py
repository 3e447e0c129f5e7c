"""Whose file it is: a lock tells the living from the dead, and nothing is opened that should not be."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_service.telemetry.journal import locking
from llm_service.telemetry.journal.locking import RefusedFileError, create, hold, is_held

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")  # of a fork beside threads


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file's place."""
    return tmp_path / "segment"


def in_child(act: Callable[[], object]) -> bool:
    """Whether `act` returns something true in a forked child, which ends at once."""
    pid = os.fork()
    if pid == 0:  # pragma: no cover - in the child, which coverage does not outlive
        code = 2
        try:
            code = 0 if act() else 1
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in {0, 1}
    return code == 0


def test_a_living_process_s_file_is_not_taken(path: Path) -> None:
    """By nobody, as long as it lives; a forked child holds nothing of it."""
    held = create(path)
    assert not in_child(lambda: hold(path))
    held.let_go()
    assert in_child(lambda: hold(path))


def test_looking_at_our_own_file_does_not_drop_its_lock(path: Path) -> None:
    """A POSIX lock goes with any close of any descriptor: the file is not opened again."""
    held = create(path)
    assert hold(path) is None
    assert not in_child(lambda: hold(path))
    held.let_go()


def test_a_dead_process_s_file_is_taken_once(path: Path) -> None:
    """Until it is let go of."""
    path.touch(0o600)
    first = hold(path)
    assert first is not None
    assert hold(path) is None
    first.let_go()
    second = hold(path)
    assert second is not None
    second.let_go()


def test_a_file_that_is_gone_is_nobody_s(path: Path) -> None:
    """Another process has replayed it."""
    assert hold(path) is None


def test_a_file_that_goes_while_it_is_opened_is_nobody_s(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its holder removed it between our look and our lock."""
    path.touch(0o600)
    real = locking._lock

    def late(fd: int) -> bool:
        path.unlink(missing_ok=True)
        return real(fd)

    monkeypatch.setattr(locking, "_lock", late)
    assert hold(path) is None
    path.touch(0o600)
    monkeypatch.setattr(locking, "_lock", real)
    again = hold(path)
    assert again is not None
    again.let_go()


def test_links_are_refused_unopened(path: Path, tmp_path: Path) -> None:
    """Symbolic ones, hard ones, and what is no file."""
    target = tmp_path / "target"
    target.write_text("mine")
    path.symlink_to(target)
    with pytest.raises(RefusedFileError, match="link"):
        hold(path)
    path.unlink()
    path.hardlink_to(target)
    with pytest.raises(RefusedFileError, match="link"):
        hold(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(RefusedFileError, match="not a plain file"):
        hold(path)


def test_another_user_s_file_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It could hold anything."""
    path.touch(0o600)
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(RefusedFileError, match="another user"):
        hold(path)


def test_a_file_that_cannot_be_opened_is_not_kept_as_held(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next try may succeed."""
    path.touch(0o600)
    real = os.open

    def refused(*_arguments: object) -> int:
        raise PermissionError("no")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError):
        hold(path)
    monkeypatch.setattr(os, "open", real)
    held = hold(path)
    assert held is not None
    held.let_go()


def test_a_file_just_made_that_another_process_took_is_given_up(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cleaner found it before it was locked, and removes it."""
    monkeypatch.setattr(locking, "_lock", lambda _fd: False)
    with pytest.raises(RefusedFileError, match="taken"):
        create(path)
    assert path.exists()


def test_a_file_that_another_thread_is_making_is_not_taken(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Locks do not keep out the process itself: between its making and its lock the file would pass for a dead one."""
    real, seen = locking._lock, list[object]()

    def look_first(fd: int) -> bool:
        seen.extend((hold(path), is_held(path)))
        return real(fd)

    monkeypatch.setattr(locking, "_lock", look_first)
    held = create(path)
    monkeypatch.setattr(locking, "_lock", real)
    assert seen == [None, True]
    assert not in_child(lambda: hold(path))
    held.let_go()
    assert not locking.MAKING


def test_asking_who_holds_a_file_takes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even from this process itself; and None is no answer."""
    assert is_held(path) is None
    path.touch(0o600)
    assert is_held(path) is False
    held = hold(path)
    assert held is not None
    assert is_held(path) is True
    assert in_child(lambda: is_held(path) is True)
    assert in_child(lambda: hold(path) is None)
    held.let_go()
    assert in_child(lambda: is_held(path) is False)
    real = os.open

    def refused(*arguments: object) -> int:
        if path in arguments:
            raise PermissionError("no")
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", refused)
    assert is_held(path) is None
    assert not locking.HELD
    monkeypatch.setattr(os, "open", real)  # the folder is removed before the fixture is undone


def test_another_file_at_the_name_by_now_is_no_answer(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was replaced between the look and the question."""
    path.touch(0o600)
    real = os.open

    path.with_name("other").touch()

    def replaced(*arguments: object) -> int:
        path.with_name("other").replace(path)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "open", replaced)
    answer = is_held(path)
    monkeypatch.setattr(os, "open", real)  # as above
    assert answer is None
