"""How an answer is asked for and shown: columns for its keys and measures, and what is to be said beside its rows."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import click

from llm_service.cli.kinds import Kind, kinds_of
from llm_service.cli.output import say_deleted
from llm_service.cli.span_notes import say_failed_spans, say_spans_named
from llm_service.cli.tables import UNKNOWN, Column, Row, bar, count, named, percent, plural, usd
from llm_service.cli.target import Names, Target, existing, read, say_unknown

if TYPE_CHECKING:
    from llm_service.telemetry.queries.ask import Answer
    from llm_service.telemetry.queries.time_range import TimeRange

__all__ = [
    "answer_kinds", "answered", "bar_column", "document", "heading", "key_columns", "key_kinds", "measure_columns",
    "named_keys", "say_beside",
]  # fmt: skip

_HEADINGS: Final = {"invocations": "calls", "total_cost_usd": "cost USD", "total_tokens": "tokens"}
_COVERAGE: Final = ("priced", "unpriced", "uncounted", "timed")
"""What comes with other measures, and is shown where it was named, or where something is unknown."""
_MISSING: Final = ("unpriced", "uncounted")
_COUNTED: Final = ("calls", "tokens", "nano-USD")
"""Units of whole numbers."""


def answered(
    target: Target,
    names: Names,
    since: str | None,
    until: str | None,
    *,
    measures: str,
    by: str = "",
    order: str | None = None,
    limit: int | None = None,
) -> "tuple[Answer, TimeRange]":
    """The answer to a question that a command line asks, and the range that it is of."""
    from llm_service.telemetry.queries.ask import ask
    from llm_service.telemetry.queries.filters import InvocationFilter
    from llm_service.telemetry.queries.plans import Question

    now = datetime.now(UTC)
    conditions = InvocationFilter(**names).conditions()
    question = Question(measures, by, conditions, since, until, target.zone(), order, limit)
    path = existing(target.report_path())
    answer = read(path, lambda fetch: ask(fetch, question, now))
    if answer.unknown_names:
        say_unknown(path, names)
    return answer, question.range(now)


def document(answer: "Answer") -> dict[str, Any]:
    """The answer as JSON: the attributes of `Answer`."""
    found = {field.name: getattr(answer, field.name) for field in fields(answer)}
    return found | {"unknown_names": [name._asdict() for name in answer.unknown_names]}


def answer_kinds(answer: "Answer") -> dict[str, Kind]:
    """What the columns of its rows hold: keys as in rows of calls, else text; measures by their units."""
    from llm_service.telemetry.queries.measures import MEASURES

    found = key_kinds(answer.group_by)
    for name in answer.measures:
        found[name] = "integer" if MEASURES[name].unit in _COUNTED else "number"
    return found


def key_kinds(keys: Iterable[str]) -> dict[str, Kind]:
    """What the columns of keys hold: as in rows of calls, else text."""
    from llm_service.telemetry.queries.rows import InvocationRow

    of_calls = kinds_of(InvocationRow)
    return {key: of_calls.get(key, "text") for key in keys}


def heading(name: str) -> str:
    """What a column of an answer is called in tables."""
    return _HEADINGS.get(name, name.removesuffix("_name").removesuffix("_id"))


def key_columns(answer: "Answer") -> list[Column]:
    """A column for each key."""
    return named_keys(answer.group_by, {})


def named_keys(keys: Iterable[str], own: Mapping[str, Column]) -> list[Column]:
    """A column for each of these keys: the command's own, or as all keys are shown."""
    return [own.get(key) or Column(heading(key), both_ends=True, of=_key_cell(key)) for key in keys]


def measure_columns(answer: "Answer", given: Collection[str] = ()) -> list[Column]:
    """A column for each measure; what only says how much is known stays away where all is, unless it was given."""
    shown = [
        name
        for name in answer.measures
        if name not in _COVERAGE or name in given or (name in _MISSING and answer.totals[name])
    ]
    return [
        Column(heading(name).replace("_", " "), "right", rank=place, of=_measure_cell(name))
        for place, name in enumerate(shown)
    ]


def bar_column(answer: "Answer", measure: str) -> Column:
    """A bar for a measure, for those who would rather look than read."""
    most = max((row[measure] or 0 for row in answer.rows), default=0)
    return Column("", rank=99, of=lambda row: bar(row[measure], most))


def say_beside(target: Target, names: Names, answer: "Answer", asked: "TimeRange") -> None:
    """Say below a table, and beside other formats on stderr, what was asked for and is not in the rows, and the range.

    Rows beyond the limit are said on stderr in any case.
    """
    if answer.more:
        are = "is" if answer.more == 1 else "are"
        click.echo(f"{plural(answer.more, 'more row')} {are} not shown; give a larger --limit", err=True)
    say_deleted(document(answer), err=target.as_json)
    _say_spans(target, names, answer, asked)
    target.say_range(asked)


def _say_spans(target: Target, names: Names, answer: "Answer", asked: "TimeRange") -> None:
    """Say which spans are not counted, where failures were asked for, or tools or agents, and no call has one."""
    from llm_service.telemetry.queries.conditions import columns_of
    from llm_service.telemetry.queries.filters import InvocationFilter, asks_for_spans
    from llm_service.telemetry.queries.measures import MEASURES

    narrowed = InvocationFilter(**names, since=asked.start, until=asked.end)
    if asks_for_spans({*answer.group_by} | columns_of(narrowed.conditions())):
        return
    for column in ("tool_name", "agent_name"):
        if column in answer.group_by and all(row[column] is None for row in answer.rows):
            say_spans_named(target, target.path(), column)
    if any({"errors", "timeouts"} & {*MEASURES[name].parts} for name in answer.measures):
        say_failed_spans(target, target.path(), narrowed)


def _key_cell(key: str) -> Callable[[Row], str]:
    return lambda row: named(None if row[key] is None else str(row[key]))


def _measure_cell(name: str) -> Callable[[Row], str]:
    from llm_service.telemetry.queries.measures import MEASURES

    unit = MEASURES[name].unit

    def cell(row: Row) -> str:
        value = row[name]
        if value is None:
            return UNKNOWN if name in {"total_cost_usd", "cost_nanos"} or unit == "tokens" else "-"
        if unit == "share":
            return percent(value)
        if unit == "USD":
            return usd(value, 6 if name.startswith("usd_per_") else 4)
        return f"{value:,.1f}" if unit in {"ms", "tokens/s"} else count(value)

    return cell
