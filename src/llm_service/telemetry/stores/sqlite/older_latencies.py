"""Latencies that writers before version 6 counted: rows of `daily_latency`, to be packed into `daily_costs`.

A migration leaves all of them there. They are packed in steps (see `backfill`), and readers add them up until then.
"""

import sqlite3
from typing import Final

from llm_service.telemetry.stores.latency_buckets import pack_listed
from llm_service.telemetry.stores.sqlite.sql_callbacks import add_function

__all__ = ["pack_some", "show", "wait_to_be_packed"]

# Only integers: text that is no UTF-8 could not be given to a function.
_PACKED: Final = """coalesce((
    SELECT telemetry_packed(hex({buckets}) || ':' || group_concat(bucket || ' ' || invocations))
    FROM main.daily_latency
    WHERE daily_cost_id = {cost} AND typeof(bucket) = 'integer' AND typeof(invocations) = 'integer'
    GROUP BY daily_cost_id
), {buckets})"""
_ANY: Final = "SELECT EXISTS (SELECT 1 FROM main.daily_latency)"
_IS_TABLE: Final = "SELECT 1 FROM main.sqlite_master WHERE type = 'table' AND name = 'daily_latency'"
_COLUMNS: Final = "SELECT name FROM pragma_table_info('daily_costs', 'main')"
_SOME: Final = "SELECT daily_cost_id FROM daily_latency ORDER BY daily_cost_id LIMIT ?"
_PACK: Final = f"""
UPDATE daily_costs SET latency_buckets = {_PACKED.format(buckets="latency_buckets", cost="daily_costs.id")}
WHERE id IN (SELECT daily_cost_id FROM daily_latency WHERE daily_cost_id <= ?)
"""  # noqa: S608 - constants of our own
_DROP: Final = "DELETE FROM daily_latency WHERE daily_cost_id <= ?"


def wait_to_be_packed(connection: sqlite3.Connection) -> bool:
    """Whether any are there."""
    return bool(connection.execute(_ANY).fetchone()[0])


def pack_some(connection: sqlite3.Connection, rows: int) -> None:
    """Pack about so many rows of `daily_latency`, in the caller's transaction."""
    add_function(connection, "telemetry_packed", pack_listed)
    (up_to,) = connection.execute(f"SELECT max(daily_cost_id) FROM ({_SOME})", (rows,)).fetchone()  # noqa: S608
    connection.execute(_PACK, (up_to,))
    connection.execute(_DROP, (up_to,))


def show(connection: sqlite3.Connection) -> None:
    """Let a reading connection find them in `latency_buckets`, also in a file before version 6."""
    columns = [name for (name,) in connection.execute(_COLUMNS)]
    if not columns:
        return
    is_newest = "latency_buckets" in columns
    buckets = "d.latency_buckets" if is_newest else "x''"
    is_table = connection.execute(_IS_TABLE).fetchone() is not None  # a view in its place could run for ever
    if is_table and wait_to_be_packed(connection):
        add_function(connection, "telemetry_packed", pack_listed)
        buckets = _PACKED.format(buckets=buckets, cost="d.id")
    elif is_newest:
        return
    others = ", ".join(name for name in columns if name != "latency_buckets")
    connection.execute(
        f"CREATE TEMP VIEW daily_costs AS SELECT {others}, {buckets} AS latency_buckets"  # noqa: S608
        " FROM main.daily_costs AS d"
    )
