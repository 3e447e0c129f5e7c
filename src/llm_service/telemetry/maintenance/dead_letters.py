"""Records that SQLite refused: listed, tried again through a real logger, or dropped.

A letter goes into the file as any record does, and is deleted after its commit was promised. Where the process ends in
between, the next retry finds its id stored already and deletes the letter: it counts once. A letter that salvage wrote
may be counted in a daily total that was kept: it is tried again when no total of its day counts more than there is.
"""

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final

from llm_service.errors import DuplicateInvocationError, RecordError, RecordQuarantinedError, StoreError
from llm_service.telemetry.client.sync_client import TelemetryLogger
from llm_service.telemetry.maintenance.check_session import look, open_to_change
from llm_service.telemetry.maintenance.daily_totals import add_bucket_function, differences
from llm_service.telemetry.queries.cells import decoded, text
from llm_service.telemetry.record.operations import is_span
from llm_service.telemetry.record.record import FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import from_microseconds
from llm_service.telemetry.stores.sqlite.file_identity import require_telemetry
from llm_service.telemetry.stores.sqlite.odd_values import rows_of
from llm_service.telemetry.stores.sqlite.transactions import snapshot

__all__ = ["SALVAGED", "DeadLetter", "Outcome", "Retried", "drop", "letters", "retry", "to_record"]

SALVAGED: Final = "salvage:"
"""How the error of a letter begins that salvage wrote."""
_COUNTED: Final = (
    "the daily totals count it already, as they were salvaged; to store it all the same, first run doctor --repair, "
    "which makes them count what is stored"
)
_PAGE: Final = 500
_READ: Final = "SELECT id, quarantined_at, invocation_id, error, record FROM dead_letters"


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that was refused.

    Attributes:
        quarantined_at: UTC text.
        invocation_id: of the record, made printable.
        record: the fields as stored, JSON decoded; a text in place of what cannot be read.
    """

    id: int
    quarantined_at: str
    invocation_id: str | None
    error: str
    record: dict[str, Any] | str


class Outcome(Enum):
    """What became of a letter that was tried again."""

    STORED = "stored"
    DUPLICATE = "duplicate"
    """Its id is stored already; the letter is gone."""
    REFUSED = "refused"
    """It is still a letter; `why` says what to correct."""


@dataclass(frozen=True, slots=True)
class Retried:
    """One letter and its outcome; `why` is empty where it was stored."""

    id: int
    outcome: Outcome
    why: str


def letters(path: Path, ids: Sequence[int] | None = None) -> list[DeadLetter]:
    """The letters of a file, oldest first; `ids` None reads all. StoreError where there is no such file or letter."""
    require_telemetry(path)
    try:
        rows = look(path, lambda connection: rows_of(connection, f"{_READ} ORDER BY id"))
    except sqlite3.Error as error:
        raise StoreError(f"{path} cannot be read: {error}; run: llm-telemetry doctor", path) from error
    found = {row[0]: DeadLetter(row[0], text(row[1]), row[2], text(row[3]), _decoded(row[4])) for row in rows}
    if ids is None:
        return list(found.values())
    unknown = [str(one) for one in ids if one not in found]
    if unknown:
        raise StoreError(f"there is no dead letter {', '.join(unknown)}; see: llm-telemetry dead-letters list", path)
    return [found[one] for one in dict.fromkeys(ids)]


def _decoded(stored: object) -> dict[str, Any] | str:
    found: dict[str, Any] | None = decoded(stored, dict)
    return text(stored) if found is None else found


def retry(
    letters_to_try: Sequence[DeadLetter], open_logger: Callable[[], TelemetryLogger], changes: Mapping[str, Any]
) -> list[Retried]:
    """Log these records again, through every check, the privacy settings and the ledger of a logger.

    Args:
        open_logger: makes the logger; it is closed here.
        changes: fields to replace in each record, as the constructor takes them.

    Returns:
        One outcome for each. What is stored, or was before, is a letter no longer.

    Raises:
        StoreError: the file cannot be written now; letters not yet tried stay.
    """
    with open_logger() as logger, closing(open_to_change(logger.db_path)) as connection:
        return [_retry(letter, logger, connection, changes) for letter in letters_to_try]


def _retry(
    letter: DeadLetter, logger: TelemetryLogger, connection: sqlite3.Connection, changes: Mapping[str, Any]
) -> Retried:
    (newest,) = connection.execute("SELECT max(id) FROM dead_letters").fetchone()
    try:
        record = to_record(letter, changes)
        if _is_counted(letter, record, connection):
            return Retried(letter.id, Outcome.REFUSED, _COUNTED)
        if not logger.log_invocation(record, durable=True):
            return Retried(letter.id, Outcome.REFUSED, "the privacy level of the logger or the record stores nothing")
    except DuplicateInvocationError as error:
        _delete(connection, [letter.id])
        return Retried(letter.id, Outcome.DUPLICATE, str(error))
    except RecordQuarantinedError as error:
        # The logger set the record aside once more: one letter is enough, and the first has the name that was given.
        second = "DELETE FROM dead_letters WHERE id > ? AND invocation_id IS ?"
        connection.execute(second, (newest or 0, letter.invocation_id))
        return Retried(letter.id, Outcome.REFUSED, str(error))
    except (TypeError, ValueError) as error:
        hint = f"; give --set {error.field}=VALUE" if isinstance(error, RecordError) else ""
        return Retried(letter.id, Outcome.REFUSED, f"{error}{hint}")
    _delete(connection, [letter.id])
    return Retried(letter.id, Outcome.STORED, "")


def _is_counted(letter: DeadLetter, record: InvocationRecord, connection: sqlite3.Connection) -> bool:
    """Whether the daily totals may count a salvaged call already: some of its day count more calls than are stored."""
    if not letter.error.startswith(SALVAGED) or is_span(record.operation):
        return False
    add_bucket_function(connection)
    day = record.timestamp.date().isoformat()
    with snapshot(connection):
        return any(difference.lacking.invocations < 0 for difference in differences(connection, day))


def to_record(letter: DeadLetter, changes: Mapping[str, Any] | None = None) -> InvocationRecord:
    """The record of a letter, with every check of the constructor; a ValueError where it holds none."""
    if isinstance(letter.record, str):
        raise ValueError("the letter's record is not JSON; look at it and drop it")  # noqa: TRY004 - a bad value
    named = {field: value for field, value in letter.record.items() if field in FIELDS and value is not None}
    named |= dict(changes or {})
    if "timestamp" in named:
        named["timestamp"] = _moment(named["timestamp"])
    for field in ("tags", "metadata"):
        if isinstance(named.get(field), str):
            with suppress(ValueError, RecursionError):  # the constructor says what is wrong with it
                named[field] = json.loads(named[field])
    if named.get("stream") in {0, 1}:
        named["stream"] = bool(named["stream"])
    return InvocationRecord(**named)


def _moment(value: Any) -> Any:
    """A timestamp as records take it: letters hold microseconds, salvaged ones and people write text."""
    try:
        if isinstance(value, str):
            return datetime.fromisoformat(value)
        return value if isinstance(value, bool) or not isinstance(value, int) else from_microseconds(value)
    except (ValueError, OverflowError):
        raise RecordError("timestamp", value, "write it as 2026-11-23T18:00:00Z") from None


def drop(path: Path, ids: Sequence[int]) -> int:
    """Delete letters for good; how many there were."""
    known = [letter.id for letter in letters(path, ids)]
    with closing(open_to_change(path)) as connection:
        return _delete(connection, known)


def _delete(connection: sqlite3.Connection, ids: Sequence[int]) -> int:
    count = 0
    for start in range(0, len(ids), _PAGE):
        some = ids[start : start + _PAGE]
        marks = ", ".join("?" * len(some))
        count += connection.execute(f"DELETE FROM dead_letters WHERE id IN ({marks})", some).rowcount  # noqa: S608
    return count
