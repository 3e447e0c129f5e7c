"""The alarm about lost records: heard once, then at a bounded rate, and harmless to its caller."""

import logging
import signal
import threading
from typing import Any

import pytest

from llm_service.telemetry.pipeline.alarm import DropAlarm
from llm_service.telemetry.pipeline.ledger import DropReason

LOGGER = "llm_service.telemetry"


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


def test_a_loss_is_told_at_once_and_then_once_a_second() -> None:
    """What was lost in between is in the next number, so that the numbers add up."""
    clock, heard = Clock(), []
    alarm = DropAlarm(lambda reason, count: heard.append((reason, count)), clock)
    for _ in range(100):
        alarm(DropReason.QUEUE_FULL, 2)
    assert heard == [(DropReason.QUEUE_FULL, 2)]
    clock.now += 0.999
    alarm(DropReason.QUEUE_FULL, 1)
    assert len(heard) == 1
    clock.now += 0.001
    alarm(DropReason.QUEUE_FULL, 1)
    assert heard[1:] == [(DropReason.QUEUE_FULL, 200)]


def test_each_reason_has_its_own_rate() -> None:
    """A flood of one does not hide another."""
    heard: list[Any] = []
    alarm = DropAlarm(lambda *told: heard.append(told), Clock())
    for reason in (DropReason.QUEUE_FULL, DropReason.QUEUE_FULL, DropReason.STORE_FAILED, DropReason.BYTES_FULL):
        alarm(reason, 1)
    assert [reason for reason, _ in heard] == [DropReason.QUEUE_FULL, DropReason.STORE_FAILED, DropReason.BYTES_FULL]


def test_use_after_close_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """It stems from a decision; the ledger goes on counting."""
    clock, heard = Clock(), []
    alarm = DropAlarm(lambda *told: heard.append(told), clock)
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(5):
            alarm(DropReason.CLOSED, 1)
            clock.now += 100
    assert heard == [(DropReason.CLOSED, 1)]
    assert [record.getMessage() for record in caplog.records] == [
        "telemetry: 1 records dropped (closed); stats() has the exact counts"
    ]


@pytest.mark.parametrize("reason", [DropReason.DISABLED, DropReason.PRIVACY])
def test_a_logger_that_was_switched_off_says_nothing(reason: DropReason, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged for what was asked for."""
    with caplog.at_level(logging.DEBUG, LOGGER):
        DropAlarm(None)(reason, 1)
    assert not caplog.records


def test_a_callback_that_raises_is_logged_and_breaks_nobody(caplog: pytest.LogCaptureFixture) -> None:
    """With its traceback."""

    def callback(_reason: DropReason, _count: int) -> None:
        raise RuntimeError("the user's bug")

    with caplog.at_level(logging.ERROR, LOGGER):
        DropAlarm(callback, Clock())(DropReason.QUEUE_FULL, 1)
    assert "callback raised" in caplog.text
    assert "the user's bug" in caplog.text


def test_losses_of_many_threads_add_up() -> None:
    """Every number told and the rest that is still unsaid are together what was lost."""
    heard: list[int] = []
    alarm = DropAlarm(lambda _reason, count: heard.append(count))
    threads = [
        threading.Thread(target=lambda: [alarm(DropReason.QUEUE_FULL, 1) for _ in range(1000)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(heard) + alarm._unsaid[DropReason.QUEUE_FULL] == 8000


def test_a_signal_handler_that_loses_a_record_within_the_alarm_does_not_hang() -> None:
    """The handler re-enters the alarm on the thread that is in it."""
    interrupted = False

    def clock() -> float:
        return 0.0

    class Unsaid(dict[DropReason, int]):
        def __getitem__(self, reason: DropReason) -> int:
            nonlocal interrupted
            if not interrupted:
                interrupted = True
                signal.raise_signal(signal.SIGUSR1)
            return super().__getitem__(reason)

    alarm = DropAlarm(None, clock)
    alarm._unsaid = Unsaid(alarm._unsaid)
    before = signal.signal(signal.SIGUSR1, lambda *_: alarm(DropReason.BYTES_FULL, 1))
    try:
        alarm(DropReason.QUEUE_FULL, 1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert interrupted
    assert set(alarm._said_at) == {DropReason.QUEUE_FULL, DropReason.BYTES_FULL}
