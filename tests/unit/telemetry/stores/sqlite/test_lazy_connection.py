"""A connection that is opened when it is needed, and opened again whatever ended the last one."""

from pathlib import Path

import pytest

from llm_service.telemetry.stores.sqlite.connections import TrackedConnection, connect
from llm_service.telemetry.stores.sqlite.lazy_connection import LazyConnection


class Interrupted(TrackedConnection):
    """A signal handler raises as it is closed."""

    def close(self) -> None:
        """Close it first."""
        super().close()
        raise KeyboardInterrupt


def test_a_connection_whose_close_is_interrupted_is_not_used_again(tmp_path: Path) -> None:
    """The interrupt passes on, and the next use opens another."""
    kinds = [Interrupted, TrackedConnection]
    lazy = LazyConnection(lambda: connect(tmp_path / "a.db", kinds.pop(0)))
    first = lazy.opened()
    with pytest.raises(KeyboardInterrupt):
        lazy.let_go()
    assert not lazy.is_open
    assert lazy.opened() is not first
    assert lazy.opened().execute("SELECT 1").fetchone() == (1,)
    lazy.let_go()
    lazy.let_go()
    assert not lazy.is_open


def test_what_close_raises_is_nobodys_business(tmp_path: Path) -> None:
    """The file is let go of anyway."""

    class Failing(TrackedConnection):
        def close(self) -> None:
            super().close()
            raise OSError

    lazy = LazyConnection(lambda: connect(tmp_path / "a.db", Failing))
    lazy.opened()
    lazy.let_go()
    assert not lazy.is_open
