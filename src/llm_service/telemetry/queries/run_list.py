"""The runs of a file, newest first, and which one is meant by an id, a name, or NAME~1.

The distinct runs are read by jumping through the index of runs, one step a run, however many calls there are.
"""

from difflib import get_close_matches
from typing import Any, Final, NamedTuple, TypedDict

from llm_service.errors import QueryError, UnknownRunError
from llm_service.redaction import stored_name
from llm_service.telemetry.queries.cells import IS_CALL, added_up, known, text, whole
from llm_service.telemetry.queries.filters import checked_id
from llm_service.telemetry.queries.run_names import back_from, name_of_run
from llm_service.telemetry.stores.base import Fetch

__all__ = ["RUNS", "RunRow", "find_run", "read_runs"]

_MOST: Final = 100_000
RUNS: Final = """
WITH RECURSIVE runs (run) AS (
    SELECT min(run) FROM invocations WHERE run IS NOT NULL
    UNION ALL
    SELECT (SELECT min(run) FROM invocations WHERE run > runs.run) FROM runs WHERE runs.run IS NOT NULL
)
SELECT run, (SELECT min(timestamp) FROM invocations WHERE run = runs.run) AS first_timestamp
FROM runs WHERE run IS NOT NULL ORDER BY first_timestamp DESC, run DESC
"""
_ADDED: Final = ("invocations", "errors", "timeouts", "total_tokens", "uncounted", "cost_nanos", "unpriced")
_SECONDS: Final = "julianday(timestamp) * 86400.0"
_SUMS: Final = f"""
SELECT max(timestamp), max({_SECONDS} + coalesce({known("latency_ms")}, 0) / 1000.0) - min({_SECONDS}),
    {added_up(*_ADDED)}
FROM invocations WHERE run = ? AND {IS_CALL}
"""  # noqa: S608 - built from constants


class RunRow(TypedDict):
    """One run. Sums are over its calls with known values; spans (`operation` agent, tool, ...) are no calls.

    Attributes:
        first_timestamp, last_timestamp: UTC text; of its first record, and of its last call (else the same).
        seconds: from its first call to the end of its last.
        invocations, errors, timeouts, total_tokens, uncounted, total_cost_usd, cost_nanos, unpriced: as in
            `daily_costs`.
    """

    run: str
    name: str
    first_timestamp: str
    last_timestamp: str
    seconds: float
    invocations: int
    errors: int
    timeouts: int
    total_tokens: int
    uncounted: int
    total_cost_usd: float
    cost_nanos: int
    unpriced: int


class _Begun(NamedTuple):
    run: str
    first_timestamp: str


def read_runs(fetch: Fetch, limit: int = 20, name: str | None = None) -> list[RunRow]:
    """The runs, the one that began last first; at most 1 to 100,000."""
    if type(limit) is not int or not 1 <= limit <= _MOST:
        raise QueryError("limit", limit, f"give a whole number from 1 to {_MOST:,}")
    wanted = None if name is None else stored_name(checked_id("name", name))
    found = [begun for begun in _begun(fetch) if wanted in {None, name_of_run(begun.run)}]
    return [_run(fetch, begun) for begun in found[:limit]]


def find_run(fetch: Fetch, given: str, argument: str = "run") -> str:
    """The id of the run that is meant: by its id, by its name (the newest), or by NAME~1 (the one before).

    Raises:
        UnknownRunError: (a `LookupError`) there is none, with the nearest name.
        QueryError: no record can have it.
    """
    asked = checked_id(argument, given)
    wanted = stored_name(asked)
    if fetch(("SELECT 1 FROM invocations WHERE run = ? LIMIT 1", [wanted])):
        return wanted
    runs = [begun.run for begun in _begun(fetch)]
    name, back = back_from(asked)
    for named, before in ((asked, 0), (name, back)):
        of_name = [run for run in runs if name_of_run(run) == stored_name(named)]
        if before < len(of_name):
            return of_name[before]
        if of_name:
            raise UnknownRunError(asked, f"there are {len(of_name):,} of {named}, so give {named}~{len(of_name) - 1}")
    near = get_close_matches(asked, [*{name_of_run(run) for run in runs}, *runs], n=1)
    raise UnknownRunError(asked, f"did you mean {near[0]}?" if near else None)


def _begun(fetch: Fetch) -> list[_Begun]:
    return [_Begun(text(run), text(first)) for run, first in fetch((RUNS, []))]


def _run(fetch: Fetch, begun: _Begun) -> RunRow:
    last, seconds, *sums = fetch((_SUMS, [begun.run]))[0]
    calls, errors, timeouts, tokens, uncounted, nanos, unpriced = (whole(value) for value in sums)
    return RunRow(
        run=begun.run,
        name=name_of_run(begun.run),
        first_timestamp=begun.first_timestamp,
        last_timestamp=begun.first_timestamp if last is None else text(last),
        seconds=_seconds(seconds),
        invocations=calls,
        errors=errors,
        timeouts=timeouts,
        total_tokens=tokens,
        uncounted=uncounted,
        total_cost_usd=nanos / 1e9,
        cost_nanos=nanos,
        unpriced=unpriced,
    )


def _seconds(value: Any) -> float:
    return round(max(0.0, value), 3) if isinstance(value, int | float) else 0.0
