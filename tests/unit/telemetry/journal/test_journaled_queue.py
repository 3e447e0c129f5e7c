"""The queue with a journal: written before accepted, assigned before committed, freed when settled, never twice."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.record.record import CARD_FIELDS, InvocationRecord, rebuilt
from llm_service.telemetry.stores.base import WriteResult
from llm_service.telemetry.writer.journaled_queue import JournaledQueue, Preparation
from llm_service.telemetry.writer.ledger import DropReason
from llm_service.telemetry.writer.queue_entries import SLOT
from llm_service.telemetry.writer.waiters import ThreadWaiter


class Paper:
    """A journal of so many places, which notes what it is told."""

    def __init__(self, places: int = 3) -> None:
        self.places = places
        self.held: list[Any] = []
        self.told: list[tuple[str, Any]] = []
        self.error: OSError | None = None
        self.used = self.size = 0

    def begin(self, writer_id: str) -> None:
        self.told.append(("begin", writer_id))

    def ensure(self) -> bool:
        return self.error is None

    def leak(self) -> None:
        self.held = []

    def encode(self, record: InvocationRecord, /) -> bytes:
        return str(record.agent_name).encode()

    def append(self, payload: bytes, slot: Any, /) -> bool:
        if len(self.held) >= self.places:
            return False
        slot.append(payload.decode())
        self.held.append(slot)
        return True

    def assign(self, slots: Iterable[Any], batch: int) -> None:
        self.told.append(("assign", ([slot[0] for slot in slots], batch)))

    def drop(self, slots: Iterable[Any]) -> None:
        self._remove("drop", [slot for slot in slots if slot in self.held])

    def free(self, slots: Iterable[Any]) -> None:
        self._remove("free", list(slots))

    def _remove(self, what: str, slots: list[Any]) -> None:
        if slots:
            self.told.append((what, [slot[0] for slot in slots]))
        for slot in slots:
            self.held.remove(slot)

    def has_room(self, size: int) -> bool:
        return size > 0 and len(self.held) < self.places

    def could_hold(self, record: InvocationRecord) -> bool:
        return record.agent_name != "huge"

    def close(self) -> None:
        self.told.append(("close", None))


def make(paper: Paper, **options: Any) -> JournaledQueue:
    """A queue on paper."""
    settings: dict[str, Any] = {"max_records": 100, "max_bytes": 1 << 20}
    settings |= {"is_clean": lambda _record: True, "prepare": lambda record: (record, None)}
    return JournaledQueue(journal=paper, make_slot=list, **settings | options)


def record(name: str, **fields: Any) -> InvocationRecord:
    """A record of an agent."""
    return InvocationRecord(agent_name=name, **fields)


def test_a_batch_is_assigned_once_and_freed_when_it_is_committed() -> None:
    """The journal learns the number before the database does; a retry changes nothing."""
    paper = Paper()
    queue = make(paper)
    assert queue.offer(record("a"))
    assert queue.offer(record("b"))
    batch = queue.take(10)
    assert batch is queue.take(10)
    assert paper.told == [("assign", (["a", "b"], batch.number))]
    queue.settle(batch, WriteResult(duplicates=frozenset({1})))
    assert paper.told[-1] == ("free", ["a", "b"])
    assert queue.take(10) is None


def test_a_full_journal_is_a_reason_of_its_own() -> None:
    """And it passes once a batch is committed."""
    paper = Paper(places=2)
    queue = make(paper)
    assert [queue.offer(record(name)) for name in "abc"] == [True, True, False]
    assert queue.ledger().dropped == {DropReason.JOURNAL_FULL: 1}
    assert not queue.has_room(700)
    batch = queue.take(10)
    assert batch is not None
    queue.settle(batch, WriteResult())
    assert queue.offer(record("d"))
    assert queue.ledger().balanced


def test_a_full_queue_writes_nothing_to_the_journal() -> None:
    """The bound is looked at first."""
    paper = Paper()
    queue = make(paper, max_records=1)
    assert queue.offer(record("a"))
    assert not queue.offer(record("b"))
    assert [slot[0] for slot in paper.held] == ["a"]
    assert queue.ledger().dropped == {DropReason.QUEUE_FULL: 1}


@pytest.mark.parametrize(("refusal", "reason"), [(DropReason.CLOSED, DropReason.CLOSED)])
def test_a_closed_queue_writes_nothing_to_the_journal(refusal: DropReason, reason: DropReason) -> None:
    """Its reason comes first."""
    paper = Paper()
    queue = make(paper)
    queue.refuse(refusal)
    assert not queue.offer(record("a"))
    assert queue.ledger().dropped == {reason: 1}
    assert paper.held == []


def test_a_queue_that_closes_while_a_record_is_written_takes_it_back() -> None:
    """It is counted as dropped, so it must not come back."""
    paper = Paper()
    queue = make(paper)
    real = paper.append

    def append(payload: bytes, slot: Any, /) -> bool:
        queue.refuse(DropReason.CLOSED)
        return real(payload, slot)

    queue.append = append
    assert not queue.offer(record("a"))
    assert paper.told == [("drop", ["a"])]


def test_an_interrupted_call_takes_its_place_back() -> None:
    """KeyboardInterrupt between journal and queue."""
    paper = Paper()
    queue = make(paper)

    def interrupted(payload: bytes, slot: Any, /) -> bool:
        paper.append(payload, slot)
        raise KeyboardInterrupt

    queue.append = interrupted
    with pytest.raises(KeyboardInterrupt):
        queue.offer(record("a"))
    assert paper.told == [("drop", ["a"])]
    assert queue.ledger().submitted == 0


def test_a_call_interrupted_once_its_record_is_in_stays_accepted() -> None:
    """KeyboardInterrupt while the writer is woken: the record is committed, and not taken out of the journal."""
    paper = Paper()

    def interrupted() -> None:
        raise KeyboardInterrupt

    queue = make(paper, on_wake=interrupted)
    with pytest.raises(KeyboardInterrupt):
        queue.offer(record("a"))
    assert paper.told == []
    assert queue.qsize() == 1


def test_the_oldest_give_way_while_that_makes_room() -> None:
    """Not those in flight, not those that somebody waits for, and none for a record that never fits."""
    paper = Paper(places=2)
    lost: list[tuple[DropReason, int]] = []
    queue = make(paper, overflow="drop_oldest", on_drop=lambda *drop: lost.append(drop))
    assert all(queue.offer(record(name)) for name in "abc")
    assert lost == [(DropReason.JOURNAL_FULL, 1)]
    assert paper.told == [("drop", ["a"])]
    assert not queue.offer(record("huge"))
    assert [slot[0] for slot in paper.held] == ["b", "c"]
    batch = queue.take(1)
    assert batch is not None
    assert not queue.offer(record("d"))
    queue.settle(batch, WriteResult())
    waiter = ThreadWaiter()
    assert queue.offer(record("e"))
    queue.abandon(DropReason.CLOSED, in_flight=False)
    assert queue.accept(record("f"), waiter) is None
    assert queue.accept(record("g"), None) is None
    assert not queue.offer(record("h"))
    assert queue.ledger().balanced


def test_a_record_of_level_none_is_refused() -> None:
    """It is to be nowhere."""
    paper = Paper()
    queue = make(paper)
    assert not queue.offer(record("a", privacy_level="none"))
    assert queue.ledger().dropped == {DropReason.PRIVACY: 1}
    assert paper.held == []


def test_a_record_that_cannot_be_cleaned_is_not_written(caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, and the caller is not disturbed."""
    paper = Paper()
    queue = make(paper, is_clean=lambda _record: False)

    def broken(_record: InvocationRecord) -> Any:
        raise ValueError("no")

    queue.prepare = broken
    assert not queue.offer(record("a"))
    assert queue.ledger().dropped == {DropReason.INVALID: 1}
    assert paper.held == []
    (said,) = [entry.getMessage() for entry in caplog.records]
    assert said.startswith("telemetry: a record could not be prepared for the crash journal: Traceback")
    assert "ValueError: no" in said


def test_a_batch_that_a_close_gives_up_stays_in_the_journal() -> None:
    """It counts as journaled, not as lost."""
    paper = Paper()
    queue = make(paper)
    assert queue.offer(record("a"))
    assert queue.take(1) is not None
    assert queue.abandon_in_flight(DropReason.SHUTDOWN) == 1
    assert queue.ledger().dropped == {DropReason.JOURNALED: 1}
    assert [slot[0] for slot in paper.held] == ["a"]


def test_after_an_interrupt_only_a_place_of_no_record_is_taken_back() -> None:
    """One that waits or is in flight keeps it."""
    paper = Paper(places=9)
    queue = make(paper)
    assert queue.offer(record("a"))
    assert queue.offer(record("b"))
    batch = queue.take(1)
    assert batch is not None
    for entry in (*batch.entries, *queue.entries):
        queue._forget_unless_in(entry[SLOT])
    assert len(paper.held) == 2
    lost = ["c"]
    paper.held.append(lost)
    queue._forget_unless_in(lost)
    assert [slot[0] for slot in paper.held] == ["a", "b"]


def test_a_journal_that_is_closed_is_no_error() -> None:
    """It is not there, and nothing is wrong with it."""
    paper = Paper()
    paper.ensure = lambda: False  # type: ignore[method-assign]
    make(paper).ensure_journal()


def test_all_that_gave_way_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A record of twice the size needs two places."""
    paper = Paper(places=2)
    lost: list[tuple[DropReason, int]] = []
    queue = make(paper, overflow="drop_oldest", on_drop=lambda *drop: lost.append(drop))
    assert queue.offer(record("a"))
    assert queue.offer(record("b"))
    real = paper.append

    def append(payload: bytes, slot: Any, /) -> bool:
        return not paper.held and real(payload, slot)

    monkeypatch.setattr(queue, "append", append)
    assert queue.offer(record("big"))
    assert lost == [(DropReason.JOURNAL_FULL, 2)]
    assert queue.ledger().dropped == {DropReason.JOURNAL_FULL: 2}


def test_only_records_are_taken() -> None:
    """As without a journal."""
    queue = make(Paper())
    with pytest.raises(TypeError, match="InvocationRecord"):
        queue.offer("record")  # type: ignore[arg-type]


def test_what_an_end_leaves_stays_in_the_journal() -> None:
    """A close, and a file that cannot be used; a bug of the writer's is no reason to try again for ever."""
    paper = Paper(places=9)
    queue = make(paper)
    for name in "abc":
        queue.offer(record(name))
    batch = queue.take(1)
    assert batch is not None
    assert queue.abandon_in_flight(DropReason.STORE_FAILED) == 1
    assert paper.told[-1] == ("drop", ["a"])
    queue.take(1)
    assert queue.abandon(DropReason.STORE_FAILED, in_flight=True) == 2
    assert [slot[0] for slot in paper.held] == ["b", "c"]
    assert queue.ledger().dropped == {DropReason.STORE_FAILED: 1, DropReason.JOURNALED: 2}
    queue.offer(record("d"))
    assert queue.abandon(DropReason.SHUTDOWN, in_flight=False) == 1
    assert queue.ledger().dropped[DropReason.JOURNALED] == 3
    assert queue.ledger().balanced


def test_a_journal_that_cannot_be_made_is_an_error_where_it_is_asked_for() -> None:
    """And none where it can."""
    paper = Paper()
    queue = make(paper)
    queue.ensure_journal()
    paper.error = OSError("no")
    with pytest.raises(OSError, match="no"):
        queue.ensure_journal()
    queue.begin_journal("w")
    queue.close_journal()
    assert paper.told == [("begin", "w"), ("close", None)]


async def test_who_waits_for_room_in_the_journal_lets_the_loop_go_on() -> None:
    """And comes in with the next commit."""
    paper = Paper(places=1)
    queue = make(paper)
    await queue.put(record("a"))
    waiting = asyncio.ensure_future(queue.admit(record("b"), timeout=30.0))
    await asyncio.sleep(0)
    batch = queue.take(1)
    assert batch is not None
    assert not waiting.done()
    queue.settle(batch, WriteResult())
    assert await waiting is None
    assert await queue.admit(record("huge"), timeout=30.0) is DropReason.JOURNAL_FULL


@pytest.mark.parametrize("ceiling", ["metadata", "full"])
def test_preparation_takes_out_what_the_level_does_not_store(ceiling: Any) -> None:
    """Content and the tails of long messages; a record that asks for less gets less."""
    prepare = Preparation(ceiling, Redactor(ceiling))
    plain = record("a")
    assert prepare(plain)[0] is plain
    assert prepare(plain) == (plain, Counter())
    short = record("a", session_id="s", error_message="short")
    assert prepare(short)[0] is short
    full = record("a", prompt="p", response="r", error_message="m" * 600)
    assert (prepare(full)[0] == full) is (ceiling == "full")
    less, counts = prepare(full.replace(privacy_level="metadata"))
    assert (less.prompt, less.response, counts) == (None, None, Counter())
    assert len(less.error_message or "") == 500
    again, _ = prepare(record("a", error_message="m" * 600, privacy_level="metadata"))
    assert again.error_message == less.error_message


def test_a_secret_is_taken_out_before_a_message_is_cut() -> None:
    """No half of one is left at the end of what is stored."""
    cut, counts = Preparation("metadata", Redactor())(
        record("a", error_message="m" * 480 + " sk-ant-api03-" + "Ab1" * 20)
    )
    assert "sk-ant" not in (cut.error_message or "")
    assert len(cut.error_message or "") <= 500
    assert counts == Counter({"anthropic-key": 1})


@pytest.mark.parametrize(
    ("card", "plain"),
    [
        ({}, True),
        ({"agent_name": "never seen"}, False),
        ({"agent_name": []}, False),
        ({"invocation_id": 7}, False),
        ({"invocation_id": "job-7"}, False),
        ({"error_message": "e"}, False),
    ],
)
def test_only_a_record_of_known_names_and_a_plain_id_needs_no_look(card: dict[str, Any], plain: bool) -> None:
    """Whatever a damaged one holds, nothing is raised."""
    redactor = Redactor()
    known = record("a")
    assert not redactor.is_plain(known)
    assert redactor.record(known, Counter()) is known
    redactor._with_clean_fields(known, Counter())
    values = dict(zip(CARD_FIELDS, known.card, strict=True)) | card
    assert redactor.is_plain(rebuilt(known, tuple(values.values()), None)) is plain


def test_what_was_taken_out_is_counted_once_the_record_is_accepted() -> None:
    """Not where the record was dropped; and a forked child begins at nothing."""
    queue = make(Paper(places=2), is_clean=lambda _record: False)
    queue.prepare = lambda record: (record, {"jwt": 2, record.agent_name or "": 1})
    assert queue.offer(record("a"))
    assert queue.offer(record("b"))
    assert not queue.offer(record("c"))
    assert queue.redactions == {"jwt": 4, "a": 1, "b": 1}
    queue.reset()
    assert queue.redactions == {}


def test_a_journal_is_renewed_only_while_nothing_is_held() -> None:
    """What is held stands in the old one."""
    paper = Paper()
    queue = make(paper)
    queue.begin_journal("writer")
    paper.told.clear()
    queue.offer(InvocationRecord(agent_name="a"))
    queue.renew_journal()
    assert paper.told == []
    assert queue.abandon(DropReason.SHUTDOWN, in_flight=False) == 1
    paper.told.clear()
    queue.renew_journal()
    assert paper.told == [("close", None), ("begin", "writer")]


def test_while_the_interpreter_ends_records_are_held_without_a_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are committed at once, and what encodes them does not work to the end."""
    paper = Paper()
    queue = make(paper)
    monkeypatch.setattr("llm_service.telemetry.writer.journaled_queue.is_finalizing", lambda: True)
    assert queue.offer(InvocationRecord(agent_name="a"))
    assert (queue.qsize(), paper.held) == (1, [])
