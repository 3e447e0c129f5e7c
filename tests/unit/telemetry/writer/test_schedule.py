"""What a driver does next, for every kind of moment."""

from pathlib import Path

import pytest

from llm_service.config.settings import Settings
from llm_service.telemetry.writer.schedule import Action, Backlog, Do, next_action

SETTINGS = Settings(db_path=Path("/t.db"), flush_interval=0.5, batch_size=10, queue_max_records=100)
NOTHING = Backlog(0, 0, 0.0, urgent=False)


@pytest.mark.parametrize(
    ("backlog", "closing", "tidy_in", "action"),
    [
        (NOTHING, False, None, Action(Do.SLEEP)),
        (NOTHING, False, 1.5, Action(Do.SLEEP, 1.5)),
        (NOTHING, False, 0.0, Action(Do.TIDY)),
        (NOTHING, False, -1.0, Action(Do.TIDY)),
        (NOTHING, True, None, Action(Do.FINISH)),
        (NOTHING, True, -1.0, Action(Do.FINISH)),
        (Backlog(3, 99, 0.2, urgent=False), False, None, Action(Do.SLEEP, 0.3, 10)),
        (Backlog(3, 99, 0.5, urgent=False), False, None, Action(Do.COMMIT)),
        (Backlog(3, 99, 0.2, urgent=True), False, None, Action(Do.COMMIT)),
        (Backlog(3, 99, 0.2, urgent=False), True, None, Action(Do.COMMIT)),
        (Backlog(10, 99, 0.0, urgent=False), False, None, Action(Do.COMMIT)),
        (Backlog(1, SETTINGS.queue_max_bytes // 2, 0.0, urgent=False), False, None, Action(Do.COMMIT)),
    ],
)
def test_the_next_action_follows_from_backlog_and_moment(
    backlog: Backlog, closing: bool, tidy_in: float | None, action: Action
) -> None:
    """Commit what is due, sleep until it is, tidy when idle, finish when closing and empty."""
    found = next_action(backlog, SETTINGS, closing=closing, tidy_in=tidy_in)
    assert (found.do, found.wake_at) == (action.do, action.wake_at)
    assert found.seconds == (None if action.seconds is None else pytest.approx(action.seconds))


def test_a_small_queue_is_committed_when_it_is_full() -> None:
    """A batch larger than the queue would leave callers blocked for the whole interval."""
    settings = Settings(db_path=Path("/t.db"), flush_interval=3600, batch_size=10, queue_max_records=4)
    assert next_action(Backlog(4, 9, 0.0, urgent=False), settings, closing=False, tidy_in=None) == Action(Do.COMMIT)
    assert next_action(Backlog(3, 9, 0.0, urgent=False), settings, closing=False, tidy_in=None).wake_at == 4
