"""Dead letters: tried again through a real logger, exactly once, or dropped; never lost by the way."""

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import RecordError, StoreError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import dead_letters
from llm_service.telemetry.maintenance.dead_letters import DeadLetter, Outcome, drop, letters, retry, to_record
from llm_service.telemetry.maintenance.repair import repair
from llm_service.telemetry.record.record import CARD_FIELDS, FIELDS, _restore

Ask = Callable[..., list[Any]]


@pytest.fixture
def open_logger(db: Path) -> Callable[[], TelemetryLogger]:
    """Makes a logger of the file."""
    return partial(TelemetryLogger, db, retention_days=None)


@pytest.fixture
def refuse(db: Path) -> Callable[..., None]:
    """Have the writer set aside a record that got past all checks, as by a bug."""

    def log(**changes: Any) -> None:
        good = InvocationRecord(
            agent_name="a", cost_usd=0.5, latency_ms=7, tags=["x"], metadata={"k": 1}, stream=True, http_status=500
        )
        card = tuple(changes.get(field, value) for field, value in zip(CARD_FIELDS, good.card, strict=True))
        with TelemetryLogger(db, retention_days=None) as logger:
            logger.log_invocation_nowait(_restore(card, good.extensions, good.size))

    return log


def _stored(path: Path) -> tuple[int, int, int]:
    """Records, what the totals count, and letters."""
    with closing(sqlite3.connect(path)) as connection:
        counts = ("count(*) FROM invocations", "sum(invocations) FROM daily_costs", "count(*) FROM dead_letters")
        return tuple(connection.execute(f"SELECT {what}").fetchone()[0] for what in counts)  # type: ignore[return-value]


def test_letters_that_cannot_be_read_are_an_error_of_the_store(db: Path, change: Callable[..., None]) -> None:
    """It names the file, and what to run."""
    change("DROP TABLE dead_letters")
    with pytest.raises(
        StoreError, match="cannot be read: no such table: dead_letters; run: llm-telemetry doctor"
    ) as caught:
        letters(db)
    assert caught.value.path == db


def test_a_letter_that_was_corrected_is_stored_and_counted_once(
    db: Path, refuse: Callable[..., None], open_logger: Callable[[], TelemetryLogger], ask: Ask, names: Any
) -> None:
    """With every field it had, and the totals of its day."""
    refuse(invocation_id="bad", cost_usd=float("inf"))
    (letter,) = letters(db)
    assert (letter.invocation_id, _stored(db)) == ("bad", (60, 60, 1))
    (refused,) = retry([letter], open_logger, {})
    assert refused.outcome is Outcome.REFUSED
    assert "--set cost_usd=VALUE" in refused.why
    assert _stored(db) == (60, 60, 1)
    (stored,) = retry([letter], open_logger, {"cost_usd": 0.25})
    assert (stored.outcome, stored.why) == (Outcome.STORED, "")
    assert _stored(db) == (61, 61, 0)
    row = ask("SELECT agent_name, cost_usd, tags, metadata, stream, http_status FROM invocations WHERE id = 61")
    assert row == [("a", 0.25, '["x"]', '{"k":1}', 1, 500)]
    assert names() == {}


def test_a_letter_whose_process_ended_before_its_deletion_counts_once(
    db: Path, refuse: Callable[..., None], open_logger: Callable[[], TelemetryLogger]
) -> None:
    """The next retry finds it stored, and deletes it."""
    refuse(invocation_id="bad", cost_usd=float("inf"))
    with open_logger() as logger:
        logger.log_invocation(to_record(letters(db)[0], {"cost_usd": 1}))
    assert _stored(db) == (61, 61, 1)
    (again,) = retry(letters(db), open_logger, {"cost_usd": 1})
    assert again.outcome is Outcome.DUPLICATE
    assert _stored(db) == (61, 61, 0)


def test_a_letter_that_is_refused_once_more_stays_one_letter(
    db: Path,
    refuse: Callable[..., None],
    open_logger: Callable[[], TelemetryLogger],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its neighbours with the same id are left alone."""
    refuse(invocation_id="bad", cost_usd=float("inf"))
    refuse(invocation_id="bad", latency_ms=float("inf"))
    good = InvocationRecord(invocation_id="bad")
    worse = _restore((*good.card[:8], float("inf"), *good.card[9:]), None, good.size)
    monkeypatch.setattr(dead_letters, "to_record", lambda *_: worse)
    (first, second) = letters(db)
    (outcome,) = retry([first], open_logger, {})
    assert outcome.outcome is Outcome.REFUSED
    assert letters(db) == [first, second]


def test_nothing_is_deleted_where_the_privacy_level_stores_nothing(
    db: Path, refuse: Callable[..., None], open_logger: Callable[[], TelemetryLogger]
) -> None:
    """Not stored is not settled."""
    refuse(cost_usd=float("inf"))
    (outcome,) = retry(letters(db), open_logger, {"cost_usd": 1, "privacy_level": "none"})
    assert outcome.outcome is Outcome.REFUSED
    assert "privacy level" in outcome.why
    assert _stored(db)[2] == 1


def test_letters_are_chosen_by_id_and_an_unknown_id_is_an_error(db: Path, refuse: Callable[..., None]) -> None:
    """Nothing is done for the others."""
    for _ in range(3):
        refuse(cost_usd=float("inf"))
    assert [letter.id for letter in letters(db, [3, 1, 3])] == [3, 1]
    with pytest.raises(StoreError, match="no dead letter 7"):
        letters(db, [1, 7])
    with pytest.raises(StoreError, match="no dead letter 7"):
        drop(db, [7])
    assert drop(db, [1, 3]) == 2
    assert [letter.id for letter in letters(db)] == [2]


def test_a_missing_and_an_unreadable_file_are_errors_that_say_what_to_do(tmp_path: Path) -> None:
    """And no file is made."""
    with pytest.raises(StoreError, match="does not exist; give"):
        letters(tmp_path / "missing.db")
    with pytest.raises(StoreError, match="does not exist; give"):
        drop(tmp_path / "missing.db", [1])
    (tmp_path / "text").write_text("no database " * 1000)
    with pytest.raises(StoreError, match="cannot be read"):
        letters(tmp_path / "text")
    assert [file.name for file in tmp_path.iterdir()] == ["text"]


def _letter(record: Any, error: str = "why") -> DeadLetter:
    return DeadLetter(1, "2026-03-01 00:00:00.000000Z", "x", error, record)


def test_a_letter_gives_back_the_record_it_was_made_of(db: Path) -> None:
    """Every field but prompt and response, which no letter holds."""
    whole = InvocationRecord(
        agent_name="a", tool_name="t", model_name="m", prompt_tokens=1, completion_tokens=2, cost_usd=0.5,
        latency_ms=3.5, status="error", error_message="e", provider="p", tags=["x"], metadata={"k": [1]}, stream=False,
        attempts=2, http_status=429, ttft_ms=1.5, finish_reason="stop", source="manual",
    )  # fmt: skip
    from llm_service.telemetry.stores.sqlite.statements import dead_letter_row

    row = dead_letter_row(whole, ValueError("v"), "metadata", "now")
    assert to_record(_letter(json.loads(row[3]))) == whole
    assert db.exists()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ("not JSON", "no record|is not JSON"),
        ({"timestamp": 10**40}, "timestamp"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": True}, "timestamp"),
        ({"tags": "[not json"}, "tags"),
        ({"stream": 7}, "stream"),
        ({"status": "unknown"}, "status"),
    ],
)
def test_a_letter_that_holds_no_record_says_what_is_wrong(record: Any, message: str) -> None:
    """As a `ValueError`, never anything else."""
    with pytest.raises(ValueError, match=message):
        to_record(_letter(record))


def test_what_is_no_field_is_left_out_and_changes_count_over_the_letter() -> None:
    """A letter of a newer release may hold more."""
    record = to_record(_letter({"agent_name": "a", "future": 1, "timestamp": 5, "stream": 1}), {"agent_name": None})
    assert record.agent_name is None
    assert record.stream is True
    assert "future" not in FIELDS
    with pytest.raises(RecordError):
        to_record(_letter({}), {"status": "odd"})


def test_what_the_column_holds_is_shown_whatever_it_is(db: Path, change: Callable[..., None]) -> None:
    """An owner may have written there."""
    for text in ("no json", "[1]", '{"a": 1}'):
        change(f"INSERT INTO dead_letters (quarantined_at, error, record) VALUES ('t', 'e', '{text}')")
    assert [letter.record for letter in letters(db)] == ["no json", "[1]", {"a": 1}]


def test_a_salvaged_call_that_the_totals_count_is_not_counted_twice(
    db: Path, change: Callable[..., None], open_logger: Callable[[], TelemetryLogger], ask: Ask, names: Any
) -> None:
    """It is stored when a repair has made the totals count what is stored."""
    change("DELETE FROM invocations WHERE id = 4")
    record = json.dumps({"invocation_id": "call-00003", "timestamp": "2026-03-01 12:00:03.000000Z", "agent_name": "a"})
    change(
        "INSERT INTO dead_letters (quarantined_at, invocation_id, error, record)"
        f" VALUES ('t', 'call-00003', 'salvage: the row was lost', '{record}')"
    )
    (outcome,) = retry(letters(db), open_logger, {})
    assert outcome.outcome is Outcome.REFUSED
    assert "doctor --repair" in outcome.why
    repair(db)
    (outcome,) = retry(letters(db), open_logger, {})
    assert outcome.outcome is Outcome.STORED
    assert ask("SELECT sum(invocations) FROM daily_costs") == [(60,)]
    assert names() == {}
