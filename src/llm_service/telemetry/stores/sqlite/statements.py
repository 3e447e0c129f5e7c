"""The SQL that writes records: pure functions, without a connection.

A multi-row INSERT binds only the columns that its records use: the number of columns affects the speed most.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from operator import attrgetter, itemgetter
from typing import Any, Final, cast

from llm_service.config.settings import PrivacyLevel
from llm_service.redaction import clean, shown
from llm_service.telemetry.privacy import effective_level, stored_error
from llm_service.telemetry.record.checks import LEVELS, MAX_NAME_CHARS
from llm_service.telemetry.record.record import CARD_FIELDS, EXTENSION_FIELDS, InvocationRecord
from llm_service.telemetry.record.timestamps import TextClock
from llm_service.telemetry.stores.prompt_sizes import PromptSizesRow
from llm_service.telemetry.stores.rollups import SUMS, DailyKey, DailyTotals
from llm_service.telemetry.stores.sqlite.big_sums import brought_back, storable

__all__ = [
    "BRING_BACK_DAILY_COST",
    "BRING_BACK_QUARTER",
    "DROP_CONTENT",
    "DROP_EMPTY_DAILY_COST",
    "DROP_EMPTY_QUARTER",
    "FIND_DAILY_BUCKETS",
    "FIND_QUARTER_BUCKETS",
    "FIND_TRIGGER",
    "KEEP_CONTENT",
    "KEEP_RECEIPT",
    "MAX_VARIABLES",
    "QUARANTINE",
    "READ_RECEIPT",
    "TAKE_BACK",
    "RowBinder",
    "daily_cost_row",
    "dead_letter_row",
    "find_ids",
    "quarter_row",
    "upsert_daily_costs",
    "upsert_prompt_sizes",
    "upsert_quarters",
]

MAX_VARIABLES: Final = 999
"""Bound variables per statement that every supported SQLite allows (SQLITE_MAX_VARIABLE_NUMBER before 3.32)."""

_TIMESTAMP: Final = CARD_FIELDS.index("timestamp")
_ERROR: Final = CARD_FIELDS.index("error_message")
_LEVEL: Final = CARD_FIELDS.index("privacy_level")
_CARD_WITHOUT_ERROR: Final = tuple(field for field in CARD_FIELDS if field != "error_message")

_ADDED: Final = ",\n    ".join(f"{name} = {name} + excluded.{name}" for name in SUMS)
_BROUGHT_BACK: Final = ", ".join(f"{name} = {brought_back(name)}" for name in SUMS)
_sums_of: Final = attrgetter(*SUMS)
_UPSERT_DAILY_COST: Final = f"""
INSERT INTO daily_costs (date, agent_name, tool_name, model_name, total_cost_usd, {", ".join(SUMS)}, latency_buckets)
VALUES {{rows}}
ON CONFLICT (date, coalesce(agent_name, ''), coalesce(tool_name, ''), coalesce(model_name, '')) DO UPDATE SET
    total_cost_usd = (cost_nanos + excluded.cost_nanos) / 1e9,
    latency_buckets = excluded.latency_buckets,
    {_ADDED}
"""  # noqa: S608 - names of our own

_OF_KEY: Final = (
    "date = ? AND coalesce(agent_name, '') = ? AND coalesce(tool_name, '') = ? AND coalesce(model_name, '') = ?"
)
_UPSERT_QUARTER: Final = f"""
INSERT INTO quarter_hours (quarter, {", ".join(SUMS)}, latency_buckets) VALUES {{rows}}
ON CONFLICT (quarter) DO UPDATE SET
    latency_buckets = excluded.latency_buckets,
    {_ADDED}
"""  # noqa: S608 - names of our own

FIND_QUARTER_BUCKETS: Final = "SELECT latency_buckets FROM quarter_hours WHERE quarter = ?"
BRING_BACK_QUARTER: Final = f"UPDATE quarter_hours SET {_BROUGHT_BACK} WHERE quarter = ?"  # noqa: S608 - as above
DROP_EMPTY_QUARTER: Final = "DELETE FROM quarter_hours WHERE quarter = ? AND invocations = 0"

FIND_DAILY_BUCKETS: Final = f"SELECT latency_buckets FROM daily_costs WHERE {_OF_KEY}"  # noqa: S608 - as above
BRING_BACK_DAILY_COST: Final = f"UPDATE daily_costs SET {_BROUGHT_BACK} WHERE {_OF_KEY}"  # noqa: S608 - as above
"""After something negative was added."""
DROP_EMPTY_DAILY_COST: Final = f"DELETE FROM daily_costs WHERE {_OF_KEY} AND invocations = 0"  # noqa: S608 - as above

_UPSERT_PROMPT_SIZE: Final = """
INSERT INTO prompt_sizes (agent_name, model_name, prompts, bytes, tokens) VALUES {rows}
ON CONFLICT (coalesce(agent_name, ''), model_name) DO UPDATE SET
    prompts = prompts + excluded.prompts, bytes = bytes + excluded.bytes, tokens = tokens + excluded.tokens
"""

_UPSERT_SIZES: Final = (58, 12, 3, 1)
"""Rows per upsert: few sizes, so that statements stay prepared; 17 x 58 is within `MAX_VARIABLES`."""

KEEP_RECEIPT: Final = """
INSERT INTO receipts (writer_id, batch_no, committed_at, schema_version) VALUES (?, ?, ?, 6)
ON CONFLICT (writer_id) DO UPDATE SET
    batch_no = excluded.batch_no, committed_at = excluded.committed_at, schema_version = excluded.schema_version
"""

FIND_TRIGGER: Final = "SELECT 1 FROM sqlite_master WHERE type = 'trigger' AND lower(tbl_name) = 'invocations' LIMIT 1"
"""Whether the file's owner has added a trigger on records."""

READ_RECEIPT: Final = "SELECT batch_no FROM receipts WHERE writer_id = ?"

QUARANTINE: Final = """
INSERT INTO dead_letters (quarantined_at, invocation_id, error, record)
VALUES (?, ?, ?, ?)
"""

KEEP_CONTENT: Final = """
INSERT INTO invocation_contents (id, prompt, response) SELECT id, ?, ? FROM invocations WHERE invocation_id = ?
"""

DROP_CONTENT: Final = "DELETE FROM invocation_contents WHERE id = (SELECT id FROM invocations WHERE invocation_id = ?)"

TAKE_BACK: Final = "DELETE FROM invocations WHERE invocation_id = ?"
"""To be run after `DROP_CONTENT`, which finds the content through this row."""


class RowBinder:
    """Turns slices of records into `(sql, parameters)`. It caches the text of the last second: use one per writer."""

    __slots__ = ("_ceiling", "_clock")

    def __init__(self, ceiling: PrivacyLevel) -> None:
        self._ceiling: PrivacyLevel = ceiling
        self._clock = TextClock()

    def insert(self, records: Sequence[InvocationRecord]) -> tuple[str, list[Any]]:
        """One multi-row INSERT of these records, whose columns are those that any of them uses."""
        used = _used_extensions(records)
        pick = _picker(used)
        width = len(CARD_FIELDS) + len(used)
        parameters: list[Any] = []
        for record in records:
            parameters += record.card
            if pick is not None:
                parameters += pick(record.extensions or _NOTHING)
        # By column: three times faster than a tuple for each row.
        parameters[_TIMESTAMP::width] = self._clock.texts(parameters[_TIMESTAMP::width])
        ceiling = self._ceiling
        levels: list[PrivacyLevel] = [
            effective_level(ceiling, asked) if asked else ceiling for asked in parameters[_LEVEL::width]
        ]
        parameters[_LEVEL::width] = levels
        errors = parameters[_ERROR::width]
        with_error = any(error is not None for error in errors)
        if with_error:
            parameters[_ERROR::width] = [stored_error(*pair) for pair in zip(errors, levels, strict=True)]
        else:
            del parameters[_ERROR::width]
        return _insert_sql(used, len(records), with_error=with_error), parameters

    @staticmethod
    def rows_per_statement(records: Sequence[InvocationRecord], wanted: int) -> int:
        """How many of these records one statement may take within `MAX_VARIABLES`."""
        columns = len(CARD_FIELDS) + len(_used_extensions(records))
        return max(1, min(wanted, MAX_VARIABLES // columns))


_JSON_NUMBERS: Final = 2**256
_NOTHING: Final = (None,) * len(EXTENSION_FIELDS)


def _used_extensions(records: Sequence[InvocationRecord]) -> tuple[int, ...]:
    rows = [record.extensions for record in records if record.extensions is not None]
    if not rows:
        return ()
    return tuple(index for index in range(len(EXTENSION_FIELDS)) if any(row[index] is not None for row in rows))


@lru_cache(maxsize=1024)
def _insert_sql(used: tuple[int, ...], rows: int, *, with_error: bool) -> str:
    columns = (CARD_FIELDS if with_error else _CARD_WITHOUT_ERROR) + tuple(EXTENSION_FIELDS[index] for index in used)
    one = f"({', '.join('?' * len(columns))})"
    # Only names from this module's constants are in the text; every value is bound.
    return f"INSERT INTO invocations ({', '.join(columns)}) VALUES {', '.join([one] * rows)}"  # noqa: S608


@lru_cache(maxsize=256)
def _picker(used: tuple[int, ...]) -> Callable[[tuple[Any, ...]], tuple[Any, ...]] | None:
    if not used:
        return None
    if len(used) == 1:
        return itemgetter(slice(used[0], used[0] + 1))  # a tuple; a plain index would give the value itself
    return cast("Callable[[tuple[Any, ...]], tuple[Any, ...]]", itemgetter(*used))


@lru_cache(maxsize=256)
def find_ids(count: int) -> str:
    """The query for which of `count` ids are stored already."""
    return f"SELECT invocation_id FROM invocations WHERE invocation_id IN ({', '.join('?' * count)})"  # noqa: S608


def upsert_daily_costs(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Statements that add these `daily_cost_row`s: many rows in one step, which holds no GIL."""
    return _in_steps(_UPSERT_DAILY_COST, 17, rows)


def upsert_quarters(rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    """Statements that add these `quarter_row`s."""
    return _in_steps(_UPSERT_QUARTER, 13, rows)


def upsert_prompt_sizes(rows: Sequence[PromptSizesRow]) -> Iterator[tuple[str, list[Any]]]:
    """Statements that add these `PromptSizes.rows()`."""
    return _in_steps(_UPSERT_PROMPT_SIZE, 5, rows)


def _in_steps(sql: str, columns: int, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
    start = 0
    for size in _UPSERT_SIZES:
        while len(rows) - start >= size:
            yield _many_rows(sql, columns, size), list(chain.from_iterable(rows[start : start + size]))
            start += size


@lru_cache(maxsize=3 * len(_UPSERT_SIZES))
def _many_rows(sql: str, columns: int, rows: int) -> str:
    one = f"({', '.join('?' * columns)})"
    return sql.format(rows=", ".join([one] * rows))


def daily_cost_row(key: DailyKey, totals: DailyTotals, buckets: bytes) -> tuple[Any, ...]:
    """The parameters of one row of `upsert_daily_costs`: what is added, but for the buckets, which replace the old."""
    return (*key, totals.cost_nanos / 1e9, *map(storable, _sums_of(totals)), buckets)


def quarter_row(quarter: str, totals: DailyTotals, buckets: bytes) -> tuple[Any, ...]:
    """The parameters of one row of `upsert_quarters`, as `daily_cost_row`."""
    return (quarter, *map(storable, _sums_of(totals)), buckets)


def dead_letter_row(record: InvocationRecord, error: BaseException, ceiling: PrivacyLevel, now: str) -> tuple[Any, ...]:
    """The parameters of `QUARANTINE`, made storable, of a record that passed the redactor, however damaged it is."""
    named = {field: _plain(value) for field, value in zip(CARD_FIELDS, record.card, strict=False)}
    asked, message = named.get("privacy_level"), named.get("error_message")
    level = effective_level(ceiling, asked) if asked in LEVELS else ceiling
    named["error_message"] = stored_error(None if message is None else str(message), level)
    for field, value in zip(EXTENSION_FIELDS, record.extensions or (), strict=False):
        if value is not None:
            named[field] = _plain(value)
    # ASCII escapes can represent lone surrogates and NUL.
    encoded = json.dumps(named, ensure_ascii=True)
    invocation_id = str(named.get("invocation_id")).encode("ascii", "backslashreplace").decode().replace("\0", "\\0")
    return (now, invocation_id, clean(f"{type(error).__name__}: {error}")[:500], encoded)


def _plain(value: Any) -> Any:
    """The value if JSON has its type, else a short text of it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, int | float) and abs(value) < _JSON_NUMBERS:  # neither NaN nor infinite
        return value
    return shown(value, MAX_NAME_CHARS)
