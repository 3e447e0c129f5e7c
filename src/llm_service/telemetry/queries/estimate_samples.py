"""Queries for the calls that estimates learn from: complete answers in the order of arrival."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from llm_service.estimates.past_calls import is_cut_short
from llm_service.telemetry.queries.cells import IS_CALL, cost_of, is_in_range, text
from llm_service.telemetry.stores.base import Query
from llm_service.telemetry.stores.rollups import nanos

__all__ = [
    "HAS_PROMPT_SIZES",
    "MOST_CALLS",
    "NEWEST_ID",
    "PROMPT_SIZES",
    "Answer",
    "answers_after",
    "to_answers",
    "to_prompt_sizes",
]

MOST_CALLS: Final = 20_000
"""The newest calls of the file that are used. They fill the windows of a hundred groups."""
_MOST_RATIOS: Final = 10_000
_MOST_COUNT: Final = 1 << 62
"""Upper bound of any valid count of prompts, bytes or tokens."""

NEWEST_ID: Final[Query] = ("SELECT max(id) FROM invocations", [])

HAS_PROMPT_SIZES: Final[Query] = ("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'prompt_sizes'", [])
"""An older file that is not migrated yet has no such table."""

PROMPT_SIZES: Final[Query] = (
    "SELECT agent_name, model_name, prompts, bytes, tokens FROM prompt_sizes ORDER BY prompts DESC LIMIT ?",
    [_MOST_RATIOS],
)

_ANSWERS: Final = f"""
SELECT id, agent_name, tool_name, model_name, completion_tokens, cost_usd, finish_reason, request_model FROM invocations
WHERE id > ? AND id <= ? AND status = 'success' AND completion_tokens IS NOT NULL
    AND coalesce(usage_source, '') NOT IN ('partial', 'missing') AND {IS_CALL}
ORDER BY id LIMIT ?
"""  # noqa: S608 - constants of our own


def to_prompt_sizes(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows of `PROMPT_SIZES` with valid counts."""
    return [row for row in rows if all(type(count) is int and 0 < count < _MOST_COUNT for count in row[2:])]


class Answer(NamedTuple):
    """A complete answer: names of the call, its tokens, its cost in nano-dollars, if known, and what was asked for."""

    agent_name: str | None
    tool_name: str | None
    model_name: str | None
    completion_tokens: int
    cost_nanos: int | None
    request_model: str | None = None


def answers_after(row_id: int, up_to: int, most: int) -> Query:
    """Successful calls with known tokens and an id above `row_id` and up to `up_to`, by id."""
    return _ANSWERS, [row_id, up_to, most]


def to_answers(rows: Iterable[tuple[Any, ...]]) -> list[Answer]:
    """The rows with complete answers; invalid rows are skipped."""
    return [
        Answer(agent, tool, model, tokens, None if (usd := cost_of(cost)) is None else nanos(usd), asked)
        for _, agent, tool, model, tokens, cost, finish_reason, asked in rows
        if type(tokens) is int
        and is_in_range("completion_tokens", tokens)
        and (finish_reason is None or not is_cut_short(text(finish_reason)))
    ]
