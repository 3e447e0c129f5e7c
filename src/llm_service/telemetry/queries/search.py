"""Search in prompts, responses and error messages: by the index as far as it goes, and by reading beyond it.

Either way a call is found only by the text that is read of it, so that both find the same. It goes from the call that
arrived last to the first, in short snapshots: a search of minutes does not keep the WAL from being truncated.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from heapq import merge
from itertools import islice
from typing import Any, Final, Literal, NamedTuple, cast

from llm_service.errors import QueryError
from llm_service.telemetry.privacy import unpack
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.questions import MAX_LIMIT
from llm_service.telemetry.queries.rows import ROW_COLUMNS, InvocationRow, to_invocations
from llm_service.telemetry.queries.search_terms import Term, Wanted
from llm_service.telemetry.queries.snippets import snippet
from llm_service.telemetry.record.words import spaced
from llm_service.telemetry.stores.base import Fetch
from llm_service.telemetry.stores.sqlite.search_index import first_indexed, matching

__all__ = ["FoundRow", "Search", "Where", "check_limit"]

Where = Literal["prompt", "response", "error_message"]
_TEXTS: Final[tuple[Where, ...]] = ("prompt", "response", "error_message")
_TIMES: Final = ("start_date", "end_date", "since", "until")
_PAGE: Final = 256
"""Calls that are looked at in one snapshot."""
_MANY: Final = 50_000
"""Numbers of failed calls that are held at once."""
_MOST_BYTES: Final = 4 * 1024 * 1024
"""Compressed bytes of texts that are held at once, unless a single call has more."""

_CONTENTS: Final = "SELECT id FROM invocation_contents WHERE id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?"
# `+id`: the partial index of failures is read, instead of all calls in the order of their numbers.
_FAILED: Final = """
SELECT id FROM invocations WHERE status <> 'success' AND +id BETWEEN ? AND ?
    AND NOT EXISTS (SELECT 1 FROM invocation_contents AS c WHERE c.id = invocations.id)
ORDER BY +id DESC LIMIT ?
"""


class FoundRow(InvocationRow):
    """A call that was found, every column, and where.

    Attributes:
        where: the text that has most of the words.
        snippet: the part of it around the first of them, at most 160 characters.
        marks: beginning and end of what was found, in characters of the snippet.
        rank: how often the words stand in the call.
    """

    where: Where
    snippet: str
    marks: list[tuple[int, int]]
    rank: int


class _Text(NamedTuple):
    where: Where
    text: str
    words: str


class Search:
    """A search that goes on as its rows are taken.

    Args:
        fetch: each question of it is answered from a snapshot of its own.
        limit: at most so many rows.

    Attributes:
        scans: calls that must be read, because the index does not have them; about as many as their numbers span.

    Raises:
        QueryError: of a filter.
    """

    def __init__(self, fetch: Fetch, wanted: Wanted, narrowed: InvocationFilter, limit: int) -> None:
        self._fetch = fetch
        self._wanted = wanted
        self._narrowed = narrowed
        narrowed.where()  # raises here, not in the middle
        self._limit = limit
        times = InvocationFilter(**{name: getattr(narrowed, name) for name in _TIMES}).where()
        # One at a time: both at once would go through all calls; `+id` has the index of times asked instead of the ids.
        number = "+id" if str(times) else "id"
        ends = [f"SELECT {end}({number}) FROM invocations{times}" for end in ("min", "max")]  # noqa: S608 - constants
        low, high = (fetch((sql, times.parameters))[0][0] for sql in ends)
        bounds: tuple[int, int] = (low, high) if isinstance(low, int) else (1, 0)
        self._low, self._high = bounds
        first = first_indexed(fetch)
        self._indexed_from = self._high + 1 if first is None else max(self._low, first)
        self.scans = max(0, min(self._high + 1, self._indexed_from) - self._low)

    def rows(
        self, on_progress: Callable[[int], object] = lambda _: None, stopped: Callable[[], bool] = lambda: False
    ) -> Iterator[FoundRow]:
        """What is found, the call that arrived last first.

        Args:
            on_progress: told how many of `scans` are done.
            stopped: asked now and then; True ends the search.
        """
        return islice(self._rows(on_progress, stopped), self._limit)

    def _rows(self, on_progress: Callable[[int], object], stopped: Callable[[], bool]) -> Iterator[FoundRow]:
        candidates = self._candidates()
        while not stopped() and (page := list(islice(candidates, _PAGE))):
            for part in self._parts(page):
                found = [row for row in self._read(part) if self._has_all(row[1])]
                yield from self._made(found)
            on_progress(min(self.scans, max(0, self._indexed_from - page[-1])))

    def _candidates(self) -> Iterator[int]:
        """Calls that may be it, from the last to the first: of the index, contents beyond it, failures without any."""
        failed = self._ids(_FAILED, _MANY, self._low, self._high)
        return merge(failed, self._with_contents(), reverse=True)

    def _with_contents(self) -> Iterator[int]:
        high, match = self._high, self._wanted.match()
        while high >= self._indexed_from:
            page = matching(self._fetch, match, self._indexed_from, high, _PAGE)
            if page is None:  # it was dropped meanwhile, or is damaged
                break
            yield from page
            high = page[-1] - 1 if len(page) == _PAGE else self._indexed_from - 1
        yield from self._ids(_CONTENTS, _PAGE, self._low, high)

    def _ids(self, sql: str, size: int, low: int, high: int) -> Iterator[int]:
        while low <= high:
            page = self._fetch((sql, [low, high, size]))
            yield from (row[0] for row in page)
            if len(page) < size:
                return
            high = page[-1][0] - 1

    def _parts(self, page: Sequence[int]) -> Iterator[list[int]]:
        """Those of a page that the filters let through, a few megabytes at once."""
        where = self._narrowed.where()
        where.add(f"i.id IN ({_marks(page)})", *page)
        sql = f"""
            SELECT i.id, coalesce(length(c.prompt), 0) + coalesce(length(c.response), 0)
            FROM invocations AS i LEFT JOIN invocation_contents AS c USING (id){where} ORDER BY i.id DESC
        """  # noqa: S608 - constants of our own
        part: list[int] = []
        size = 0
        for number, length in self._fetch((sql, where.parameters)):
            if part and size + length > _MOST_BYTES:
                yield part
                part, size = [], 0
            part.append(number)
            size += length
        if part:
            yield part

    def _read(self, part: Sequence[int]) -> Iterator[tuple[int, list[_Text]]]:
        """The texts of calls; hex, because the reader decodes bytes as text."""
        sql = f"""
            SELECT i.id, hex(c.prompt), hex(c.response), CASE WHEN i.status <> 'success' THEN i.error_message END
            FROM invocations AS i LEFT JOIN invocation_contents AS c USING (id)
            WHERE i.id IN ({_marks(part)}) ORDER BY i.id DESC
        """  # noqa: S608 - as above
        for number, prompt, response, error in self._fetch((sql, part)):
            texts = zip(_TEXTS, (_unpacked(prompt), _unpacked(response), error), strict=True)
            yield number, [_Text(where, text, spaced(text)) for where, text in texts if isinstance(text, str)]

    def _has_all(self, texts: Sequence[_Text]) -> bool:
        def has(term: Term) -> bool:
            return any(term.needle in text.words for text in texts)

        return all(map(has, self._wanted.terms)) and not any(map(has, self._wanted.without))

    def _made(self, found: Sequence[tuple[int, list[_Text]]]) -> Iterator[FoundRow]:
        if not found:
            return
        numbers = [number for number, _ in found]
        sql = f"SELECT {ROW_COLUMNS} FROM invocations WHERE id IN ({_marks(numbers)}) ORDER BY id DESC"  # noqa: S608
        texts = dict(found)
        for row in to_invocations(self._fetch((sql, numbers))):
            yield self._shown(row, texts[row["id"]])

    def _shown(self, row: InvocationRow, texts: Sequence[_Text]) -> FoundRow:
        counts = {text: [term.count(text.words) for term in self._wanted.terms] for text in texts}
        best = max(texts, key=lambda text: sum(count > 0 for count in counts[text]))  # the first of equals
        part = snippet(best.text, self._wanted.terms)
        rank = sum(map(sum, counts.values()))
        found: Any = {**row, "where": best.where, "snippet": part.text, "marks": part.marks, "rank": rank}
        return cast("FoundRow", found)


def check_limit(limit: object) -> int:
    """The limit. Raises QueryError: unless it is a whole number from 1 to 1,000,000."""
    if type(limit) is not int or not 1 <= limit <= MAX_LIMIT:
        raise QueryError("limit", limit, f"give a whole number from 1 to {MAX_LIMIT:,}")
    return limit


def _marks(values: Sequence[object]) -> str:
    return ", ".join("?" * len(values))


def _unpacked(digits: object) -> str | None:
    """A stored text; None if nothing is stored, or if it is damaged, which doctor tells."""
    try:
        return unpack(bytes.fromhex(digits)) if isinstance(digits, str) and digits else None
    except (zlib.error, ValueError):
        return None
