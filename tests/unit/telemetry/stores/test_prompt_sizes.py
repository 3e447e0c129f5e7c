"""What prompts teach: sums in the transaction of their records, no text of them, and a table that older files get."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from llm_service.pricing.book import PriceBook
from llm_service.telemetry.maintenance.repricing import reprice
from llm_service.telemetry.maintenance.salvage import salvage
from llm_service.telemetry.queries.cost_coverage import read_coverage
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.questions import invocations, to_invocations
from llm_service.telemetry.record.record import EXTENSION_FIELDS, InvocationRecord, _restore
from llm_service.telemetry.stores.prompt_sizes import PromptSizes
from llm_service.telemetry.stores.sqlite import migrations
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import APPLICATION_ID, open_for_writing
from llm_service.telemetry.stores.sqlite.reader import read

NOW = 1_795_479_377_991_276
PROMPT = len(EXTENSION_FIELDS)
OLD_SCHEMA = Path(__file__).parents[3] / "data" / "schema_version_1.sql"


def make(prompt: str | None = "eight by", **fields: Any) -> InvocationRecord:
    """A call of one model with a prompt of eight bytes and four tokens."""
    known: dict[str, Any] = {"agent_name": "a", "model_name": "m", "prompt_tokens": 4, "prompt": prompt}
    return InvocationRecord(**known | fields)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new file, open for writing."""
    opened = open_for_writing(tmp_path / "telemetry.db", NOW)
    yield opened
    opened.close()


def write(connection: sqlite3.Connection, batch: list[InvocationRecord], number: int = 1) -> None:
    """As the committer does, at level metadata."""
    writer = SqliteBatchWriter(f"writer-{number}", "metadata", lambda: NOW * 1000)
    writer.write(connection, batch, batch_no=number, durable=False, slice_rows=25)


def sizes(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
    """The table, without ids."""
    found = connection.execute("SELECT agent_name, model_name, prompts, bytes, tokens FROM prompt_sizes ORDER BY 1, 2")
    return found.fetchall()


def test_prompts_are_added_up_by_agent_and_model() -> None:
    """An umlaut is two bytes."""
    summing = PromptSizes()
    summing.add([make(), make("äö", prompt_tokens=2), make(agent_name=None), make(model_name="n")])
    assert summing.rows() == [("a", "m", 2, 12, 6), (None, "m", 1, 8, 4), ("a", "n", 1, 8, 4)]


@pytest.mark.parametrize(
    "fields",
    [{"prompt": None}, {"prompt": ""}, {"model_name": None}, {"prompt_tokens": None}, {"prompt_tokens": 0},
     {"usage_source": "partial"}, {"usage_source": "estimated"}, {"usage_source": "missing"}],
)  # fmt: skip
def test_what_teaches_nothing_is_passed_over(fields: dict[str, Any]) -> None:
    """A prompt without a count, a count without a prompt, and counts that nobody counted."""
    summing = PromptSizes()
    summing.add([make(**fields), InvocationRecord(model_name="m", prompt_tokens=5)])
    assert summing.rows() == []


@pytest.mark.parametrize(
    ("card", "extensions"),
    [({4: b"m"}, {}), ({5: 4.0}, {}), ({5: True}, {}), ({5: 10**13}, {}), ({}, {PROMPT: 7}), ({}, None)],
)
def test_a_damaged_record_is_passed_over(card: dict[int, Any], extensions: dict[int, Any] | None) -> None:
    """As only a bug or a foreign pickle makes it; the batch goes on."""
    whole = make()
    assert whole.extensions is not None
    values = list(whole.card)
    others = list(whole.extensions)
    for at, value in card.items():
        values[at] = value
    for at, value in (extensions or {}).items():
        others[at] = value
    damaged = _restore(tuple(values), tuple(others) if extensions is not None else tuple(others[:PROMPT]), whole.size)
    summing = PromptSizes()
    summing.add([damaged, make()])
    assert summing.rows() == [("a", "m", 1, 8, 4)]


def test_the_writer_keeps_the_sums_at_level_metadata_and_no_text(connection: sqlite3.Connection) -> None:
    """In the transaction of the records, batch after batch; a duplicate counts once."""
    first = [make(), make(agent_name=None, prompt_tokens=8), make(prompt=None)]
    write(connection, first)
    write(connection, [make(prompt_tokens=6), first[0]], number=2)
    assert sizes(connection) == [(None, "m", 1, 8, 8), ("a", "m", 2, 16, 10)]
    assert connection.execute("SELECT count(*) FROM invocation_contents").fetchone() == (0,)
    assert all("eight by" not in str(row) for row in connection.iterdump())


def old_file(path: Path) -> None:
    """A file as the first release made it, with one record."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
    connection.execute("PRAGMA journal_mode = WAL")
    connection.executescript(OLD_SCHEMA.read_text("utf-8"))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID:d}")
    connection.execute("PRAGMA user_version = 1")
    connection.execute("INSERT INTO schema_version VALUES (1, 'then')")
    connection.execute("INSERT INTO retention (id) VALUES (1)")
    connection.execute(
        "INSERT INTO invocations (invocation_id, timestamp, status) VALUES ('old', '2026-11-24 00:16:17.991276Z', 'error')"
    )
    connection.close()


def schema(connection: sqlite3.Connection) -> set[tuple[str, str]]:
    """Name and text of each table and index, spaces and comments aside."""
    rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    bare = ("\n".join(line.partition("--")[0] for line in sql.splitlines()) for _, sql in rows)
    return {
        (name, " ".join(text.split()).replace(" )", ")").replace(" ,", ","))
        for (name, _), text in zip(rows, bare, strict=True)
    }


def test_a_file_of_the_first_version_is_read_and_repriced_dry_as_it_is(tmp_path: Path) -> None:
    """By what does not migrate: columns that came later are unknown there, and not a byte changes."""
    path = tmp_path / "old.db"
    old_file(path)
    before = path.read_bytes()
    found = read(path, lambda fetch: to_invocations(fetch(invocations(InvocationFilter()))))
    assert [(row["invocation_id"], row["cache_write_1h_tokens"], row["service_tier"]) for row in found] == [
        ("old", None, None)
    ]
    assert (
        read(path, lambda fetch: read_coverage(fetch, InvocationFilter()))["unknown_models"][0]["service_tier"] is None
    )
    assert reprice(path, PriceBook(), dry_run=True).examined == 1
    assert path.read_bytes() == before


def test_a_file_of_the_first_version_becomes_what_a_new_one_is(tmp_path: Path, connection: sqlite3.Connection) -> None:
    """Its records stay, the versions are noted, and it takes prompts from now on."""
    path = tmp_path / "old.db"
    old_file(path)
    migrated = open_for_writing(path, NOW)
    try:
        assert schema(migrated) == schema(connection)
        versions = [row[0] for row in migrated.execute("SELECT version FROM schema_version")]
        assert versions == list(range(1, migrations.VERSION + 1))
        assert migrated.execute("PRAGMA user_version").fetchone() == (migrations.VERSION,)
        write(migrated, [make()])
        assert sizes(migrated) == [("a", "m", 1, 8, 4)]
        assert migrated.execute("SELECT count(*) FROM invocations").fetchone() == (2,)
    finally:
        migrated.close()


def test_a_salvaged_file_keeps_the_sums(tmp_path: Path) -> None:
    """Row by row, as other tables; a file of the first version has none to keep."""
    path, old = tmp_path / "telemetry.db", tmp_path / "old.db"
    with closing(open_for_writing(path, NOW)) as opened:
        write(opened, [make(), make(agent_name=None)])
    old_file(old)
    assert salvage(path, tmp_path / "new.db").tables["prompt_sizes"].recovered == 2
    assert salvage(old, tmp_path / "other.db").tables["prompt_sizes"].recovered == 0
    with closing(sqlite3.connect(tmp_path / "new.db")) as saved:
        assert sizes(saved) == [(None, "m", 1, 8, 4), ("a", "m", 1, 8, 4)]
