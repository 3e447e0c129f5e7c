"""Filters: every operator on every field beside plain Python, what they mean, and what they refuse."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from operator import eq, ge, gt, le, lt
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.question_records import some_records, values_of

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, InvocationRow, TelemetryLogger
from llm_service.telemetry.queries.conditions import ALIASES, OPERATORS, columns_of
from llm_service.telemetry.queries.field_names import COLUMNS, SHORT_NAMES
from llm_service.telemetry.queries.filter_language import (
    LONGEST_PATTERN,
    MOST_COMPARISONS,
    MOST_VALUES,
    WORDS,
    conditions_of,
)
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.queries.questions import invocations
from llm_service.telemetry.record.fields import KINDS
from llm_service.telemetry.stores.sqlite.reader import read

COMPARED: dict[str, Callable[[Any, Any], bool]] = {"=": eq, "<": lt, "<=": le, ">": gt, ">=": ge}
ORDERED = [column for column in COLUMNS if KINDS[column] in ("number", "moment")]
TEXTS = [column for column in COLUMNS if KINDS[column] not in ("number", "moment", "json")]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TelemetryLogger, list[InvocationRow]]]:
    """A file with random records, and its rows."""
    with TelemetryLogger(tmp_path_factory.mktemp("many") / "t.db", models=False) as logger:
        for record in some_records(7, 150):
            logger.log_invocation_nowait(record)
        assert logger.flush().complete
        yield logger, logger.get_invocations(limit=1000)


def ids(rows: list[InvocationRow]) -> list[str]:
    """Which rows these are."""
    return [row["invocation_id"] for row in rows]


def quoted(value: Any) -> str:
    """A value as it is written in a filter."""
    return f'"{value}"' if isinstance(value, str) else str(value)


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("column", ORDERED)
def test_numbers_and_moments_compare_as_in_python(
    many: tuple[TelemetryLogger, list[InvocationRow]], column: str, operator: str
) -> None:
    """Unknown values match no comparison; `!=` is the opposite of `=`."""
    logger, rows = many
    values = [dict(row)[column] for row in rows]
    for value in sorted({value for value in values if value is not None})[::7]:
        found = logger.get_invocations(filters=f"{column}{operator}{quoted(value)}", limit=1000)
        if operator == "!=":
            expected = [row for row, cell in zip(rows, values, strict=True) if cell != value]
        else:
            same = COMPARED[operator]
            expected = [row for row, cell in zip(rows, values, strict=True) if cell is not None and same(cell, value)]
        assert ids(found) == ids(expected), value


@pytest.mark.parametrize("column", TEXTS)
def test_texts_are_equal_to_any_of_several_or_look_like_a_pattern(
    many: tuple[TelemetryLogger, list[InvocationRow]], column: str
) -> None:
    """And the opposite; names may hold brackets and commas."""
    logger, rows = many
    values = [values_of(row, column, "UTC")[0] for row in rows]
    known = sorted({value for value in values if value is not None})[:3]

    def found(filters: Any) -> list[str]:
        return ids(logger.get_invocations(filters=filters, limit=1000))

    def where(matches: Callable[[Any], bool]) -> list[str]:
        return ids([row for row, cell in zip(rows, values, strict=True) if matches(cell)])

    several = ",".join(map(quoted, known))
    assert found(f"{column}={several}") == where(lambda cell: cell in known)
    assert found(f"{column}!={several}") == where(lambda cell: cell not in known)
    assert found({column: known}) == where(lambda cell: cell in known)
    assert found({column: known[0]}) == where(lambda cell: cell == known[0])
    pattern = f"{known[0][:2]}*{known[0][-1].replace('[', '').replace(']', '')}*"
    assert found(f"{column}={pattern}".replace(" ", "?")) == where(
        lambda cell: cell is not None and fnmatchcase(cell, pattern)
    )


@settings(max_examples=200)
@given(
    values=st.lists(st.text("ab \"',*?=\\", min_size=1, max_size=8).filter(str.strip), min_size=1, max_size=3),
    quote=st.sampled_from("\"'"),
)
def test_any_text_can_be_written_between_either_quotes(values: list[str], quote: str) -> None:
    """Its own quote is written twice."""
    written = ",".join(f"{quote}{value.replace(quote, quote * 2)}{quote}" for value in values)
    first, second = conditions_of(f"agent={written} cost>0.1")
    assert first.values == tuple(value for value in values)
    assert second.operator == ">"


@pytest.mark.parametrize("column", COLUMNS)
def test_no_value_stands_for_an_unknown_one(many: tuple[TelemetryLogger, list[InvocationRow]], column: str) -> None:
    """Of every field: `user=` has none, `user!=` has one; None in a mapping."""
    logger, rows = many
    short = next((short for short, long in SHORT_NAMES.items() if long == column), column)
    cell = "tag" if column == "tags" else column
    unknown = ids([row for row in rows if column in dict(row) and values_of(row, cell, "UTC") == (None,)])
    for filters in (f"{column}=", f"{short}=", {column: None}, {column: [None]}):
        assert ids(logger.get_invocations(filters=filters, limit=1000)) == unknown
    assert set(ids(logger.get_invocations(filters=f"{short}!=", limit=1000))) == set(ids(rows)) - set(unknown)


@pytest.mark.parametrize(
    ("filters", "matches"),
    [
        ("tag=prod", lambda row: "prod" in (row["tags"] or ())),
        ("tag=pr*,ü", lambda row: {"prod", "ü"} & set(row["tags"] or ())),
        ('tags!="a b"', lambda row: "a b" not in (row["tags"] or ())),
        ("tag=prod,", lambda row: "prod" in (row["tags"] or ()) or not row["tags"]),
        ("metadata.team=core", lambda row: (row["metadata"] or {}).get("team") == "core"),
        ("metadata.a.b=c*", lambda row: (row["metadata"] or {}).get("a.b") == "core"),
        ("metadata.team=true", lambda row: (row["metadata"] or {}).get("team") is True),
        ({"metadata.team": True}, lambda row: (row["metadata"] or {}).get("team") is True),
        ("metadata.team!=core,2.5", lambda row: (row["metadata"] or {}).get("team") not in ("core", 2.5)),
        ("metadata.team>=1.5", lambda row: (row["metadata"] or {}).get("team") == 2.5),
        ("metadata.team=", lambda row: (row["metadata"] or {}).get("team") is None),
        ("agent=,agent_name-a", lambda row: row["agent_name"] in (None, "agent_name-a")),
        ("status!=success", lambda row: row["status"] != "success"),
        ("status=error,timeout latency>20s", lambda row: row["status"] != "success" and (row["latency_ms"] or 0) > 20_000),
        ("latency<0.5m ttft>=900ms", lambda row: (row["latency_ms"] or 1e9) < 30_000 and (row["ttft_ms"] or 0) >= 900),
        ("cost=$1.5,0", lambda row: row["cost_usd"] in (1.5, 0.0)),
        ("stream=no", lambda row: row["stream"] is False),
        ("model=gpt-4[1m]", lambda row: row["model_name"] == "gpt-4[1m]"),
        ("model=*[1m]", lambda row: row["model_name"] == "gpt-4[1m]"),
        ('model="gpt-*"', lambda _: False),
        ("model=GPT-4*", lambda _: False),
        ('agent=""', lambda _: False),
        (["agent!=agent_name-a", "cost>1"], lambda row: row["agent_name"] != "agent_name-a" and (row["cost_usd"] or 0) > 1),
        ({"cost": ">0.01", "agent": "!=agent_name-a,agent_name-b"},
         lambda row: (row["cost_usd"] or 0) > 0.01 and row["agent_name"] not in ("agent_name-a", "agent_name-b")),
        ({"agent": "a b,c"}, lambda row: row["agent_name"] == "a b,c"),
        ("  ", lambda _: True),
        ({}, lambda _: True),
    ],
)  # fmt: skip
def test_what_filters_mean(
    many: tuple[TelemetryLogger, list[InvocationRow]], filters: Any, matches: Callable[[Any], object]
) -> None:
    """Beside plain Python."""
    logger, rows = many
    assert ids(logger.get_invocations(filters=filters, limit=1000)) == ids([row for row in rows if matches(row)])


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("agnt=x", r"filters: 'agnt' .* did you mean agent\?"),
        ("prompt=x", "there is no field 'prompt'"),
        ("agent = x", r"filters: 'agent = x' .* did you mean agent=x\?"),
        ("agent", "write terms"),
        ("agent>x", "agent is text, which has only = and !="),
        ("tag>x", "which has only"),
        ("cost>", "compare with one value"),
        ("cost>1,2", "compare with one value"),
        ("cost=1*", "has no patterns"),
        ("cost>x", "filters: 'x' .* this cost: .* finite number of USD"),
        ("latency>5x", "filters: '5x' .* milliseconds"),
        ("tokens>1.5", "filters: '1.5' .* whole number"),
        ("stream=maybe", "filters: 'maybe' .* True, False"),
        ("status=broken", "filters: 'broken' .* error, success, timeout"),
        ("timestamp>soon", "filters: 'soon'"),
        ("metadata=x", r"name a key, as in metadata.team=core"),
        ("metadata.team>x", "compare metadata.team with a number"),
        ({'metadata.a"b': "x"}, r'metadata\."a\\"b"'),
        ('agent="x', "close the quote"),
        ({"agent": []}, "at least one value"),
        ({5: "x"}, "give names of fields"),
        ({"agent": "=a b"}, "put quotes around"),
        (5, "write terms"),
        ([5], "write terms"),
        (f"agent={'x' * 201}", "filters: .* this agent: .* 201 characters"),
    ],
)
def test_what_cannot_be_a_filter_is_refused_with_the_remedy(wrong: Any, message: str) -> None:
    """Naming the argument, or the field of a bad value."""
    with pytest.raises(QueryError, match=message):
        conditions_of(wrong)


def test_a_secret_is_found_as_it_is_stored(tmp_path: Path) -> None:
    """Redaction is idempotent: the name as it was given, or as a report shows it."""
    key = "sk-ant-api03-" + "Ab3dEf6hIj9kLm2nOp5q" * 4
    with TelemetryLogger(tmp_path / "t.db") as logger:
        logger.log_invocation(InvocationRecord(agent_name=f"agent {key}", tags=[f"t {key}"], invocation_id=f"i {key}"))
        (row,) = logger.get_invocations()
        shown = row["agent_name"] or ""
        assert key not in shown
        for filters in ({"agent": f"agent {key}"}, {"agent": shown}, {"tag": f"t {key}"}, {"invocation": f"i {key}"}):
            assert len(logger.get_invocations(filters=filters)) == 1, filters


def test_a_moment_without_an_offset_is_utc(tmp_path: Path) -> None:
    """As every `timestamp` is; a day is its beginning."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for hour in (0, 12):
            logger.log_invocation(InvocationRecord(timestamp=datetime(2026, 11, 23, hour, tzinfo=UTC)))
        for filters, calls in (
            ("timestamp>=2026-11-23", 2),
            ("timestamp>2026-11-23", 1),
            ("timestamp<2026-11-23T12:00", 1),
            ("timestamp=2026-11-23T13:00+01:00", 1),
        ):
            assert len(logger.get_invocations(filters=filters)) == calls, filters


def test_conditions_are_filters_too() -> None:
    """What was understood once is not read again."""
    understood = conditions_of("agent=a,b* cost>1 metadata.x=1")
    assert conditions_of(understood) == understood
    assert columns_of(understood) == {"agent_name", "cost_usd", "metadata"}


def test_failures_are_searched_by_their_index(many: tuple[TelemetryLogger, list[InvocationRow]]) -> None:
    """A bound parameter would not match the condition of a partial index."""
    logger, _ = many
    for filters in ("status=error", "status=error,timeout"):
        sql, bound = invocations(InvocationFilter(filters=filters))
        plan = read(logger.db_path, lambda fetch: fetch((f"EXPLAIN QUERY PLAN {sql}", bound)))  # noqa: B023
        assert any("idx_invocations_status" in row[3] for row in plan), (filters, plan)


@pytest.mark.parametrize(
    "field",
    [
        *(
            name
            for name, column in SHORT_NAMES.items()
            if KINDS[column] not in ("number", "moment") and column != "status"
        ),
        "metadata.a.b",
    ],
)
def test_the_limits_of_sqlite_are_refused_by_their_names(tmp_path: Path, field: str) -> None:
    """As many as the limits say are read; one more is refused before SQLite sees it."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        logger.log_invocation(InvocationRecord())
        most = [f"x{number}*" for number in range(MOST_COMPARISONS - 1)]
        assert logger.query("calls", filters={field: most}).totals["invocations"] == 0
        assert logger.query("calls", filters={field: "x" * (LONGEST_PATTERN - 1) + "*"}).totals["invocations"] == 0
        values = [f"x{number}" for number in range(MOST_VALUES)]
        assert logger.query("calls", filters={field: values}).totals["invocations"] == 0
        for given, limit in (
            ([*most, "y*"], MOST_COMPARISONS),
            ([*values, "y"], MOST_VALUES),
            ("x" * LONGEST_PATTERN + "*", LONGEST_PATTERN),
        ):
            with pytest.raises(QueryError, match=f"at most {limit:,}"):
                logger.query("calls", filters={field: given})


def test_numbers_of_the_metadata_are_their_digits(tmp_path: Path) -> None:
    """All of them, not the first 15."""
    values = [12345678901234567890, 12345678901234567891, 0.1 + 0.2, 0.3, 0.3464440761870532, 1e20]
    with TelemetryLogger(tmp_path / "t.db") as logger:
        for at, value in enumerate(values):
            logger.log_invocation(InvocationRecord(invocation_id=str(at), metadata={"k": value, "in": {"k": value}}))
        for key in ("metadata.k", "metadata.in.k"):
            assert len(logger.query("calls", by=key).rows) == len(values)
            for at, value in enumerate(values):
                for asked in (value, str(value)):
                    assert ids(logger.get_invocations(filters={key: asked})) == [str(at)]


@pytest.mark.parametrize("calls", [0, 1])
def test_the_ends_of_time_are_answered_or_refused(tmp_path: Path, calls: int) -> None:
    """A call of today is after the first and before the last moment there is."""
    with TelemetryLogger(tmp_path / "t.db") as logger:
        logger.log_invocation(InvocationRecord())
        since = datetime(1, 1, 1, tzinfo=UTC) if calls else datetime(9999, 12, 31, 23, 59, 59, 999999, UTC)
        assert logger.query("calls", since=since).totals["invocations"] == calls
        assert logger.get_statistics(since=since)["total_invocations"] == calls
        assert len(logger.get_invocations(since=since)) == calls


@pytest.mark.parametrize("alias", ALIASES)
def test_an_operator_of_other_languages_is_the_one_it_means(alias: str) -> None:
    """In a text and in a mapping; in quotes it is text."""
    operator = ALIASES[alias]
    assert conditions_of(f"cost{alias}1") == conditions_of(f"cost{operator}1") == conditions_of({"cost": f"{alias}1"})
    (quoted,) = conditions_of(f'agent="{alias}x"')
    assert (quoted.operator, quoted.values) == ("=", (f"{alias}x",))


def test_a_word_that_no_record_can_have_is_refused_with_all_there_are() -> None:
    """As a pattern, too: it would leave nothing, as if there were no such calls."""
    assert {column for column, kind in KINDS.items() if kind == "word"} == set(WORDS)
    for column, words in WORDS.items():
        for word in ("ok", "zz*", "?"):
            with pytest.raises(QueryError, match=f"use one of: {', '.join(sorted(words))}"):
                conditions_of(f"{column}={word}")
        for word in words:
            assert conditions_of(f"{column}={word},{word[0]}*")


@pytest.mark.parametrize("sign", [":", *OPERATORS, *ALIASES])
def test_a_term_with_spaces_or_a_colon_is_told_how_it_is_written(sign: str) -> None:
    """What is said is a term."""
    for text in (f"cost {sign} 5", f"cost {sign}5", *(["cost:5"] if sign == ":" else [])):
        with pytest.raises(QueryError, match="did you mean cost") as caught:
            conditions_of(text)
        assert conditions_of(caught.value.remedy.removeprefix("did you mean ").removesuffix("?"))
