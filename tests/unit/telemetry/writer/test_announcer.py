"""What a logger tells of itself: heard once, then at a bounded rate, in a thread of its own, and never in the way."""

import dataclasses
import logging
import re
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from tests.inside import engine_of

from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.stores.base import StoreEvent
from llm_service.telemetry.writer.announcer import Announcer
from llm_service.telemetry.writer.events import LEVELS, Event, EventKind
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.waiters import ThreadWaiter

LOGGER = "llm_service.telemetry"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SOURCE = Path(__file__).parents[4] / "src" / "llm_service" / "telemetry"


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """The time in seconds."""
        return self.now


def make(clock: Callable[[], float] | None = None, **callbacks: Any) -> Announcer:
    """An announcer that tells at once, in the calling thread."""
    return Announcer(clock=clock or Clock(), now=lambda: MOMENT, start=lambda tell: tell(), **callbacks)


def losses(heard: list[tuple[DropReason, int]]) -> Callable[[DropReason, int], None]:
    """A callback that keeps what it is told."""
    return lambda reason, count: heard.append((reason, count))


def test_a_loss_is_told_at_once_and_then_once_a_second() -> None:
    """What was lost in between is in the next number, so that the numbers add up."""
    clock, heard = Clock(), list[tuple[DropReason, int]]()
    announcer = make(clock, on_drop=losses(heard))
    for _ in range(100):
        announcer.dropped(DropReason.QUEUE_FULL, 2)
    assert heard == [(DropReason.QUEUE_FULL, 2)]
    clock.now += 0.999
    announcer.dropped(DropReason.QUEUE_FULL, 1)
    assert len(heard) == 1
    clock.now += 0.001
    announcer.dropped(DropReason.QUEUE_FULL, 1)
    assert heard[1:] == [(DropReason.QUEUE_FULL, 200)]


def test_each_reason_and_each_kind_has_its_own_rate() -> None:
    """A flood of one does not hide another."""
    heard: list[Event] = []
    announcer = make(on_event=heard.append)
    for reason in (DropReason.QUEUE_FULL, DropReason.QUEUE_FULL, DropReason.STORE_FAILED, DropReason.BYTES_FULL):
        announcer.dropped(reason, 1)
    for kind in (EventKind.STORE_FAILING, EventKind.STORE_FAILING, EventKind.QUARANTINED):
        announcer.tell(kind, 1, "something")
    assert [event.reason or event.kind for event in heard] == [
        DropReason.QUEUE_FULL, DropReason.STORE_FAILED, DropReason.BYTES_FULL,
        EventKind.STORE_FAILING, EventKind.QUARANTINED,
    ]  # fmt: skip


def test_an_event_is_frozen_and_says_what_how_much_when_and_why() -> None:
    """Kind, sentence, number, moment, reason and error, for both callbacks from one note."""
    events: list[Event] = []
    drops: list[tuple[DropReason, int]] = []
    announcer = make(on_event=events.append, on_drop=losses(drops))
    announcer.dropped(DropReason.BYTES_FULL, 3)
    error = OSError("no room")
    announcer.tell(EventKind.STORE_FAILING, 64, "try {n}", error)
    said = "3 records dropped (bytes_full); stats() has the exact counts"
    assert events == [
        Event(EventKind.DROPPED, said, 3, MOMENT, DropReason.BYTES_FULL),
        Event(EventKind.STORE_FAILING, "try 64", 64, MOMENT),
    ]
    assert events[1].error is error
    assert drops == [(DropReason.BYTES_FULL, 3)]
    with pytest.raises(dataclasses.FrozenInstanceError):
        events[0].count = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "told"),
    [(EventKind.QUARANTINED, [1, 5]), (EventKind.STORE_FAILING, [1, 3]), (EventKind.WAL_GROWING, [1, 3])],
)
def test_numbers_of_records_add_up_and_others_are_the_latest(kind: EventKind, told: list[int]) -> None:
    """Quarantined records are counted together; of tries and of bytes the latest number is the truth."""
    clock, heard = Clock(), list[Event]()
    announcer = make(clock, on_event=heard.append)
    announcer.tell(kind, 1, "{n}")
    announcer.tell(kind, 2, "{n}")
    clock.now += 1
    announcer.tell(kind, 3, "{n}")
    assert [event.count for event in heard] == told
    assert [event.message for event in heard] == [str(count) for count in told]


@pytest.mark.parametrize("kind", EventKind)
def test_every_kind_is_logged_at_its_level(kind: EventKind, caplog: pytest.LogCaptureFixture) -> None:
    """On `llm_service.telemetry`, with its sentence; a traceback stands only where a bug of ours is told."""
    announcer = make()
    with caplog.at_level(logging.DEBUG, LOGGER):
        if kind is EventKind.DROPPED:
            announcer.dropped(DropReason.QUEUE_FULL, 1)
        else:
            announcer.tell(kind, 1, "1 thing happened", KeyError("the cause"))
    # Another logger's announcer may still be telling what it kept back.
    record = next(record for record in reversed(caplog.records) if record.getMessage().startswith("telemetry: 1 "))
    assert (record.name, record.levelno) == (LOGGER, LEVELS[kind])
    assert ("KeyError: 'the cause'" in record.getMessage()) == (kind is EventKind.WRITER_FAILED)


def test_every_kind_is_told_somewhere_and_is_in_the_manual() -> None:
    """The list of kinds is neither longer nor shorter than what the engine does."""
    engine = "".join(path.read_text("utf-8") for path in (SOURCE / "writer").glob("*.py") if path.name != "events.py")
    store = "".join(path.read_text("utf-8") for path in (SOURCE / "stores" / "sqlite").glob("*.py"))
    manual = (SOURCE / "README.md").read_text("utf-8").split("## Events\n", 1)[1].split("\n## ", 1)[0]
    rows = re.findall(r"^\| `(\w+)` \|", manual, re.MULTILINE)
    assert rows == [kind.value for kind in EventKind]
    for kind in EventKind:
        assert (f'"{kind.value}"' in store) if kind in get_args(StoreEvent) else (f"EventKind.{kind.name}" in engine)
    assert set(get_args(StoreEvent)) < set(EventKind)
    assert set(LEVELS) == set(EventKind)


def test_use_after_close_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    """It stems from a decision; the ledger goes on counting."""
    clock, heard = Clock(), list[tuple[DropReason, int]]()
    announcer = make(clock, on_drop=losses(heard))
    with caplog.at_level(logging.WARNING, LOGGER):
        for _ in range(5):
            announcer.dropped(DropReason.CLOSED, 1)
            clock.now += 100
        announcer.last_words()
    assert heard == [(DropReason.CLOSED, 1)]
    said = [record.getMessage() for record in caplog.records]
    assert [text for text in said if "(closed)" in text] == [  # a logger of an earlier test may still tell of its own
        "telemetry: 1 records dropped (closed); stats() has the exact counts"
    ]


@pytest.mark.parametrize("reason", [DropReason.DISABLED, DropReason.PRIVACY])
def test_a_logger_that_was_switched_off_says_nothing(reason: DropReason, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing is logged for what was asked for."""
    with caplog.at_level(logging.DEBUG, LOGGER):
        make().dropped(reason, 1)
    assert not caplog.records


@pytest.mark.parametrize("name", ["on_event", "on_drop"])
@pytest.mark.parametrize("error", [RuntimeError("the user's bug"), SystemExit("the user's bug")])
def test_a_callback_that_raises_is_logged_and_breaks_nobody(
    name: str, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """With its traceback; the next event is told all the same."""
    heard: list[object] = []

    def callback(*what: object) -> None:
        heard.append(what)
        raise error

    announcer = make(**{name: callback})
    with caplog.at_level(logging.ERROR, LOGGER):
        announcer.dropped(DropReason.QUEUE_FULL, 1)
        announcer.dropped(DropReason.BYTES_FULL, 1)
    assert len(heard) == 2
    assert f"{name} callback raised" in caplog.text
    assert "the user's bug" in caplog.text


def test_a_logging_handler_that_raises_keeps_nothing_from_the_callback() -> None:
    """`logging` lets an exception of a careless handler through; here it ends."""

    class Careless(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise LookupError(record)

    heard: list[Event] = []
    logger, careless = logging.getLogger(LOGGER), Careless()
    logger.addHandler(careless)
    try:
        make(on_event=heard.append).dropped(DropReason.QUEUE_FULL, 1)
    finally:
        logger.removeHandler(careless)
    assert [event.count for event in heard] == [1]


def test_what_a_callback_causes_is_told_at_the_next_occasion() -> None:
    """Telling never feeds itself, whatever the clock says; the numbers add up all the same."""
    clock, heard = Clock(), list[tuple[DropReason, int]]()

    def careless(reason: DropReason, count: int) -> None:
        heard.append((reason, count))
        clock.now += 100
        announcer.dropped(reason, 1)
        announcer.last_words()
        waiter = ThreadWaiter()
        announcer.when_told(waiter)  # it would wait for itself
        announcer.finish(10.0)

    announcer = make(clock, on_drop=careless)
    announcer.dropped(DropReason.QUEUE_FULL, 5)
    assert heard[0] == (DropReason.QUEUE_FULL, 5)
    announcer.dropped(DropReason.QUEUE_FULL, 5)
    assert sum(count for _, count in heard) + sum(count for count, *_ in announcer._unsaid.values()) == 10 + len(heard)


def test_last_words_tell_what_the_rate_has_kept_back() -> None:
    """At a close the numbers told are the numbers lost."""
    heard: list[tuple[DropReason, int]] = []
    announcer = make(on_drop=losses(heard))
    for _ in range(10):
        announcer.dropped(DropReason.QUEUE_FULL, 1)
    announcer.last_words()
    announcer.last_words()
    assert heard == [(DropReason.QUEUE_FULL, 1), (DropReason.QUEUE_FULL, 9)]


def test_a_callback_that_hangs_delays_nobody_and_makes_nothing_grow() -> None:
    """It has a thread of its own; at most one note of each kind waits for it."""
    clock, entered, release, heard = Clock(), threading.Event(), threading.Event(), list[int]()

    def hang(event: Event) -> None:
        heard.append(event.count)
        entered.set()
        release.wait(30)

    announcer = Announcer(hang, clock=clock)
    announcer.dropped(DropReason.QUEUE_FULL, 1)
    assert entered.wait(30)
    for _ in range(1000):
        clock.now += 10
        announcer.dropped(DropReason.QUEUE_FULL, 1)
        announcer.tell(EventKind.STORE_FAILING, 3, "still")
    assert len(announcer._outbox) == 2
    announcer.finish(0.0)
    release.set()
    announcer.finish(30)
    assert (
        sum(count for count in heard if count != 3) + announcer._unsaid[EventKind.DROPPED, DropReason.QUEUE_FULL][0]
        == 1001
    )


def test_a_waiter_is_told_when_all_is_told() -> None:
    """At once where nothing is under way."""
    entered, release = threading.Event(), threading.Event()

    def hang(_event: Event) -> None:
        entered.set()
        release.wait(30)

    announcer = Announcer(hang)
    idle = _Waiter()
    announcer.when_told(idle)
    assert idle.told.is_set()
    announcer.dropped(DropReason.QUEUE_FULL, 1)
    assert entered.wait(30)
    waiter = _Waiter()
    announcer.when_told(waiter)
    assert not waiter.told.is_set()
    release.set()
    assert waiter.told.wait(30)


class _Waiter:
    durable = False

    def __init__(self) -> None:
        self.told = threading.Event()

    def resolve(self, _outcome: object) -> None:
        """See `Waiter`."""
        self.told.set()


def test_where_no_thread_can_be_started_the_end_of_the_process_tells() -> None:
    """An interpreter that is ending starts no threads."""
    heard: list[Event] = []

    def refuse(_tell: Callable[[], None]) -> None:
        raise RuntimeError("can't create new thread at interpreter shutdown")

    announcer = Announcer(heard.append, start=refuse)
    announcer.dropped(DropReason.SHUTDOWN, 7)
    assert heard == []
    announcer.finish()
    assert [event.count for event in heard] == [7]


def test_losses_of_many_threads_add_up() -> None:
    """Every number told and the last words are together what was lost."""
    heard: list[int] = []
    announcer = Announcer(on_drop=lambda _reason, count: heard.append(count))
    threads = [
        threading.Thread(target=lambda: [announcer.dropped(DropReason.QUEUE_FULL, 1) for _ in range(1000)])
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    announcer.finish(30)
    announcer.last_words()
    announcer.finish(30)
    assert sum(heard) == 8000


def test_a_signal_handler_that_loses_a_record_within_the_announcer_does_not_hang() -> None:
    """The handler re-enters it on the thread that is in it."""
    interrupted = False

    class Unsaid(dict[Any, Any]):
        def get(self, key: Any, default: Any = None) -> Any:
            nonlocal interrupted
            if not interrupted:
                interrupted = True
                signal.raise_signal(signal.SIGUSR1)
            return super().get(key, default)

    announcer = make()
    announcer._unsaid = Unsaid()
    before = signal.signal(signal.SIGUSR1, lambda *_: announcer.dropped(DropReason.BYTES_FULL, 1))
    try:
        announcer.dropped(DropReason.QUEUE_FULL, 1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert interrupted
    assert {reason for _, reason in announcer._said_at} == {DropReason.QUEUE_FULL, DropReason.BYTES_FULL}


def test_a_callback_may_log_flush_and_close_the_logger_that_calls_it(tmp_path: Path) -> None:
    """It runs in a thread of its own and holds no lock: no deadlock, and what it logs is stored."""
    seen: list[tuple[str, bool]] = []

    def careless(_event: Event) -> None:
        logger.flush()
        seen.append((threading.current_thread().name, logger.log_invocation(InvocationRecord(agent_name="callback"))))
        logger.flush()
        logger.close()

    logger = TelemetryLogger(tmp_path / "t.db", queue_max_records=1, overflow="drop_newest", on_event=careless)
    while logger.log_invocation_nowait(InvocationRecord()):
        pass
    engine_of(logger).announcer.finish(30)
    assert seen == [("llm-telemetry-events", True)]
    assert logger.stats().closed
    assert logger.get_statistics(agent_name="callback")["total_invocations"] == 1


def test_a_logging_handler_that_logs_an_invocation_does_not_loop(tmp_path: Path) -> None:
    """Each of its records is refused, and that is told no second time."""

    class Careless(logging.Handler):
        calls = 0

        def emit(self, record: logging.LogRecord) -> None:
            self.calls += 1
            telemetry.log_invocation_nowait(InvocationRecord(error_message=record.getMessage()))

    telemetry = AsyncTelemetryLogger(tmp_path / "t.db", queue_max_records=1, overflow="drop_newest")
    logger, careless = logging.getLogger(LOGGER), Careless()
    logger.addHandler(careless)
    try:
        for _ in range(3):
            telemetry.log_invocation_nowait(InvocationRecord())
        engine_of(telemetry).announcer.finish(30)
    finally:
        logger.removeHandler(careless)
    assert careless.calls == 1
    assert telemetry.stats().ledger.dropped == {DropReason.QUEUE_FULL: 3}
    engine_of(telemetry).inline.drive(engine_of(telemetry).queue.empty, float("inf"))
    engine_of(telemetry).shutdown.finish()


def test_no_event_and_no_log_line_holds_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever an exception says: the message, the traceback of a bug and that of a callback are redacted."""
    secret = "sk-ant-api03-" + "Zk3" * 20
    heard: list[Event] = []

    def on_event(event: Event) -> None:
        heard.append(event)
        raise RuntimeError(secret)

    announcer = make(on_event=on_event)
    with caplog.at_level(logging.DEBUG, LOGGER):
        announcer.tell(EventKind.STORE_UNUSABLE, 1, f"cannot be used: {secret}", None)
        announcer.tell(EventKind.WRITER_FAILED, 1, "lost to an error of the writer", KeyError(secret))
    assert [event.message for event in heard] == [
        "cannot be used: [REDACTED:anthropic-key]",
        "lost to an error of the writer",
    ]
    assert len(caplog.records) == 4
    assert caplog.text.count("[REDACTED:anthropic-key]") == 4
    assert secret not in caplog.text
