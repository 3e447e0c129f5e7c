"""What is learned from a file: whole answers, each once, by any process, within bounds and without holding anybody up."""

import logging
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from llm_service.errors import StoreError
from llm_service.telemetry.client import estimate_history
from llm_service.telemetry.client.estimate_history import REFRESH_AFTER, EstimateHistory
from llm_service.telemetry.queries import estimate_samples as queries
from llm_service.telemetry.record.record import InvocationRecord
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing
from llm_service.telemetry.stores.sqlite.reader import reading

NOW = 1_795_479_377_991_276
OLD_SCHEMA = Path(__file__).parents[3] / "data" / "schema_version_1.sql"
WHO = ("a", "t", "m")


class Clock:
    """Seconds that pass when told."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database is, or will be."""
    return tmp_path / "telemetry.db"


@pytest.fixture
def add(path: Path) -> Iterator[Callable[..., None]]:
    """Commit a call of the agent above, as many times as told."""
    batches = iter(range(1, 10_000))
    writer = SqliteBatchWriter("writer", "metadata", lambda: NOW * 1000)
    connection: list[sqlite3.Connection] = []

    def commit(tokens: int | None = 100, times: int = 1, **fields: Any) -> None:
        if not connection:
            connection.append(open_for_writing(path, NOW))
        known: dict[str, Any] = {"agent_name": "a", "tool_name": "t", "model_name": "m", "completion_tokens": tokens}
        batch = [InvocationRecord(**known | fields) for _ in range(times)]
        writer.write(connection[0], batch, batch_no=next(batches), durable=False, slice_rows=25)

    yield commit
    for opened in connection:
        opened.close()


def samples(learner: EstimateHistory) -> int:
    """How many answers are known."""
    return learner.history.past(None, None, None).samples


def test_a_file_that_does_not_exist_is_empty_and_stays_absent(path: Path) -> None:
    """Asking makes no file."""
    learner = EstimateHistory(partial(reading, path))
    assert not learner.loaded
    learner.load()
    assert learner.loaded
    assert samples(learner) == 0
    assert not path.exists()


def test_each_answer_is_learned_once_whoever_wrote_it(path: Path, add: Callable[..., None]) -> None:
    """At first all, then what is new."""
    add(100, 40, cost_usd=0.002)
    learner = EstimateHistory(partial(reading, path))
    learner.load()
    learner.load()
    past = learner.history.past(*WHO)
    assert (past.level, past.samples, past.completion_tokens) == ("agent+tool+model", 40, (100, 100, 100))
    assert past.cost_nanos == (2_000_000, 2_000_000, 2_000_000)
    learner.refresh()
    add(300, 1)
    learner.refresh()
    learner.refresh()
    assert samples(learner) == 41


@pytest.mark.parametrize(
    "fields",
    [{"status": "error"}, {"status": "timeout"}, {"usage_source": "partial"}, {"usage_source": "missing"},
     {"finish_reason": "length"}, {"finish_reason": "max_tokens"}, {"finish_reason": "content_filter"},
     {"finish_reason": "cancelled"}, {"tokens": None}],
)  # fmt: skip
def test_what_was_cut_short_or_not_counted_is_left_out(
    path: Path, add: Callable[..., None], fields: dict[str, Any]
) -> None:
    """It would teach that answers are shorter than they are."""
    add(**{"tokens": 7, **fields})
    add(100, finish_reason="stop", usage_source="reported")
    learner = EstimateHistory(partial(reading, path))
    learner.load()
    assert samples(learner) == 1
    assert learner.history.past(*WHO).completion_tokens == (100, 100, 100)


def test_only_the_newest_calls_of_a_long_file_are_read_page_by_page(
    path: Path, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bounded in rows, in the length of a snapshot, and in how long other threads wait."""
    monkeypatch.setattr(queries, "MOST_CALLS", 50)
    monkeypatch.setattr(estimate_history, "_PAGE", 8)
    pauses: list[float] = []
    monkeypatch.setattr(estimate_history, "sleep", pauses.append)
    monkeypatch.setattr(estimate_history, "_AT_ONCE", 4)
    for number in range(70):
        add(number)
    learner = EstimateHistory(partial(reading, path))
    learner.load()
    assert samples(learner) == 50
    assert len(pauses) >= 12
    seen = list(learner.history._groups[()].tokens.quantiles.recent)
    assert seen == list(range(20, 70))


def test_another_file_in_its_place_is_learned_from_the_beginning(
    path: Path, add: Callable[..., None], tmp_path: Path
) -> None:
    """Ids begin anew, and what the old one taught is forgotten."""
    add(100, 40)
    learner = EstimateHistory(partial(reading, path))
    learner.load()
    other = tmp_path / "other.db"
    with closing(open_for_writing(other, NOW)) as connection:
        batch = [InvocationRecord(model_name="m", completion_tokens=5)]
        writer = SqliteBatchWriter("w", "metadata", lambda: NOW * 1000)
        writer.write(connection, batch, batch_no=1, durable=False, slice_rows=25)
    learner._open = partial(reading, other)
    learner.refresh()
    assert samples(learner) == 1


def test_prompts_teach_tokens_a_byte(path: Path, add: Callable[..., None]) -> None:
    """Read with the answers; the newest table counts."""
    add(1, 10, prompt="x" * 100, prompt_tokens=25)
    learner = EstimateHistory(partial(reading, path))
    learner.load()
    assert learner.ratios.tokens("a", "m", 1000) == 250


def test_a_file_of_the_first_version_teaches_answers(path: Path) -> None:
    """It has no table of prompts until a logger opens it; a reader changes nothing."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(OLD_SCHEMA.read_text("utf-8"))
        connection.execute(
            "INSERT INTO invocations (invocation_id, timestamp, status, completion_tokens) VALUES ('i', '', 'success', 9)"
        )
    learner = EstimateHistory(partial(reading, path))
    learner.load()
    assert samples(learner) == 1
    assert learner.ratios.tokens(None, "m", 5) is None


def test_the_walk_goes_by_row_id_and_nothing_is_sorted(path: Path, add: Callable[..., None]) -> None:
    """A look at what is new costs what is new."""
    add()
    with closing(sqlite3.connect(path)) as connection:
        for query in (queries.answers_after(0, 10, 5), queries.NEWEST_ID):
            plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {query[0]}", query[1])]
            assert len(plan) == 1
            assert "INTEGER PRIMARY KEY" in plan[0] or plan[0].startswith("SEARCH"), plan


# In the background


def wait_for_reader() -> None:
    """The thread that reads has ended."""
    for thread in threading.enumerate():
        if thread.name == "llm-telemetry-estimates":
            thread.join(10)


def test_what_is_old_is_brought_up_to_date_in_the_background(path: Path, add: Callable[..., None]) -> None:
    """Not before its time; and then without the asker waiting."""
    clock = Clock()
    learner = EstimateHistory(partial(reading, path), clock)
    learner.load()
    add(100)
    clock.now += REFRESH_AFTER - 0.1
    learner.refresh_soon()
    wait_for_reader()
    assert samples(learner) == 0
    clock.now += 0.2
    learner.refresh_soon()
    wait_for_reader()
    assert samples(learner) == 1


def test_one_thread_at_a_time_reads(path: Path, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks meanwhile gets what is known."""
    clock = Clock()
    learner = EstimateHistory(partial(reading, path), clock)
    learner.load()
    add(100)
    clock.now += 10
    entered, go_on = threading.Event(), threading.Event()
    reads: list[int] = []
    read = learner._read

    def slowly() -> None:
        reads.append(1)
        entered.set()
        assert go_on.wait(10)
        read()

    monkeypatch.setattr(learner, "_read", slowly)
    learner.refresh_soon()
    assert entered.wait(10)
    clock.now += 10
    learner.refresh_soon()
    assert samples(learner) == 0
    go_on.set()
    wait_for_reader()
    assert reads == [1]
    assert samples(learner) == 1


def test_a_file_that_cannot_be_read_is_logged_and_memory_goes_on(
    path: Path, add: Callable[..., None], caplog: pytest.LogCaptureFixture
) -> None:
    """In the background nobody is told by an exception; who asks for fresh knowledge is."""
    add(100, 3)
    clock = Clock()
    learner = EstimateHistory(partial(reading, path), clock)
    learner.load()
    broken = path.with_name("broken.db")
    broken.write_bytes(b"no database at all, and longer than its header" * 100)
    learner._open = partial(reading, broken)
    clock.now += 10
    with caplog.at_level(logging.WARNING):
        learner.refresh_soon()
        wait_for_reader()
    assert "estimates go on with what they know" in caplog.text
    assert samples(learner) == 3
    with pytest.raises(StoreError, match="cannot be read"):
        learner.refresh()
    learner._open = partial(reading, path)
    learner.refresh()  # the lock was let go of
    assert samples(learner) == 3


def test_where_no_thread_can_start_memory_is_enough(
    path: Path, add: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As while the interpreter shuts down."""
    clock = Clock()
    learner = EstimateHistory(partial(reading, path), clock)
    learner.load()
    add(100)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread at interpreter shutdown")

    clock.now += 10
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        learner.refresh_soon()
    assert samples(learner) == 0
    learner.refresh()
    assert samples(learner) == 1
