"""Every key of the metadata that a record can have is asked for: in filters, as a key to group by, on the command line."""

import csv
import json
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import Result
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.cli.formats import Form
from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.filter_language import conditions_of
from llm_service.telemetry.queries.group_keys import group_keys

SECRET = "sk-ant-api03-" + "Ab3dEf6hIj9kLm2nOp5q" * 4
KEYS = [
    "", " ", "a b", "ключ", "\U0001f600", "\ud800", "a\udcffb", "\x85", "\u2028", "$", "#", "a.b", ".", "a.", "..", "a[0]", "[0]",
    '"', '""', '"a"', 'a"b', 'a":1,"b', '\\"', "\\", "\\\\", "a\\", "\\n", "\\u0041", "x" * 1_000, "x" * 5_000, f"k {SECRET}",
    *map(chr, range(128)), *(f"a{chr(code)}.b" for code in range(128)),
]  # fmt: skip
"""What JSON, SQLite's paths, the filter language and a command line have signs for, and every ASCII character."""


def written(key: str) -> str:
    """The name that says exactly this key."""
    return f"metadata.{json.dumps(key)}"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For each key, calls of which it alone has a value, named by its place."""
    path = tmp_path_factory.mktemp("keys") / "t.db"
    with TelemetryLogger(path, models=False, policies=False) as logger:
        for place, key in enumerate(KEYS):
            logger.log_invocation_nowait(InvocationRecord(invocation_id=str(place), metadata={key: place + 0.5}))
        logger.log_invocation_nowait(InvocationRecord(invocation_id="none"))
    return path


@pytest.fixture(scope="module")
def alike(db: Path) -> dict[str, set[str]]:
    """By key, as it was given, the calls that have the key which it is stored as."""
    with TelemetryLogger(db, models=False, policies=False) as logger:
        rows = logger.get_invocations(limit=len(KEYS) + 1)
    stored = {row["invocation_id"]: set(row["metadata"] or ()) for row in rows}
    return {key: {one for one, keys in stored.items() if keys & stored[str(place)]} for place, key in enumerate(KEYS)}


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one way", "every way"])
def test_each_key_is_asked_for(db: Path, alike: dict[str, set[str]], *, whole: bool) -> None:
    """In quotes by any reader; without them where it has none of its own. In every way, or each in one of them."""
    with TelemetryLogger(db, models=False, policies=False) as logger:
        for place, key in enumerate(KEYS):
            name, expected = written(key), alike[key]
            values = {str(int(one) + 0.5) for one in expected}
            plain = f"metadata.{key}"
            asked: list[Any] = [f"{name}!=", {name: "!="}, [f"{name}>0"], {name: [*values]}, {name: "*.5"}]
            if key and '"' not in key:
                asked.append({plain: "!="})
            keys: list[Any] = [name, [name], f"{name},status", *([[plain]] if key and '"' not in key else ())]
            for filters in asked if whole else [asked[place % len(asked)]]:
                found = logger.get_invocations(filters=filters, limit=len(KEYS))
                assert {row["invocation_id"] for row in found} == expected, filters
            for by in keys if whole else [keys[place % len(keys)]]:
                answer = logger.query("calls", by=by, order=f"-{name}")
                assert {row[answer.group_by[0]] for row in answer} == {*values, None}, by


@pytest.mark.parametrize("form", get_args(Form))
def test_each_key_is_asked_for_on_the_command_line(
    db: Path, alike: dict[str, set[str]], run: Callable[..., Result], form: Form, tmp_path: Path
) -> None:
    """By `--where` and `--by`, and its name stands as it is in every format that programs read."""
    for place, key in enumerate(KEYS):
        if place > 40 and place % 8:
            continue
        name, file = written(key), tmp_path / f"{place}.out"
        (stored,) = group_keys([name])
        said = ("query", "--db", db, "--by", name, "--where", f"{name}!=", "--format", form)
        result = run(*said, *(() if form == "table" else ("-o", file)))
        assert result.exit_code == 0, (key, result.output)
        values = {str(int(one) + 0.5) for one in alike[key]}
        assert found_values(form, file, stored.column, result.stdout) == values


def found_values(form: Form, file: Path, column: str, shown: str) -> set[str]:
    """The values of a column that was written; of what people read, the numbers with a fraction of a half."""
    if form == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet`")
        return {str(value) for value in parquet.read_table(file).column(column).to_pylist()}
    if form in ("table", "md"):
        text = shown if form == "table" else file.read_text("utf-8")
        return {*re.findall(r"\b\d+\.5\b", text)}
    with file.open(encoding="utf-8", newline="") as lines:
        rows = (
            json.load(lines)["rows"]
            if form == "json"
            else [*csv.DictReader(lines)]
            if form == "csv"
            else [*map(json.loads, lines)]
        )
    return {row[column] for row in rows}


@pytest.mark.parametrize("key", [key for key in KEYS[:26] if key.strip() == key != "" and not {*key} & {*'",'}])
def test_a_key_stands_without_quotes_where_it_has_none(
    db: Path, alike: dict[str, set[str]], run: Callable[..., Result], key: str
) -> None:
    """Bytes of a command line that are no UTF-8 come as lone surrogates."""
    found = json.loads(run("query", "--db", db, "--by", f"metadata.{key}", "--measure", "calls", "--json").stdout)
    assert len(found["rows"]) == len(alike[key]) + 1


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("metadata.", 'metadata.""'),
        ('metadata.a"b', r'metadata."a\"b"'),
        ('metadata."a"b', r'metadata."\"a\"b"'),
        ('metadata."a', r'metadata."\"a"'),
        ('metadata."a\\x"', r'metadata."a\\x"'),
        ('metadata.a."b"."', r'metadata."a.\"b\".\""'),
    ],
)
def test_a_name_that_says_no_key_is_told_how_it_is_written(
    db: Path, run: Callable[..., Result], name: str, meant: str
) -> None:
    """The same in both places; what is said is understood, and says the key."""
    for ask, field in ((lambda: group_keys([name]), "by"), (lambda: conditions_of({name: "x"}), "filters")):
        with pytest.raises(QueryError) as caught:
            ask()
        assert (caught.value.field, caught.value.value) == (field, name)
        assert meant in caught.value.remedy
    group_keys([meant])
    result = run("query", "--db", db, "--by", name)
    assert result.exit_code != 0
    assert "--by" in result.stderr
    assert meant in result.stderr


def test_a_key_within_objects_is_asked_for_part_by_part(tmp_path: Path) -> None:
    """A part in quotes is one key, dots and all; without any quotes the whole name counts first."""
    with TelemetryLogger(tmp_path / "t.db", models=False, policies=False) as logger:
        for metadata in ({"a": {"b.c": {'"': 1}}}, {"a": {"b": {"c": 2}}}, {"a.b": {"c": 3}}, {"a.b.c": 4}, {"a": 5}):
            logger.log_invocation(InvocationRecord(metadata=metadata))

        def values(name: str) -> set[Any]:
            return {row["metadata." + name.replace('\\"', "'").replace('"', "").replace("'", '"')] for row in
                    logger.query("calls", by=f"metadata.{name}", filters=f"metadata.{name}!=")}  # fmt: skip

        assert values("a.b.c") == {"2", "4"}
        assert values('"a.b.c"') == {"4"}
        assert values('a.b."c"') == {"2"}
        assert values('"a.b".c') == {"3"}
        assert values(r'a."b.c"."\""') == {"1"}
        assert values('a."b.c"') == {'{"\\"":1}'}


@pytest.mark.parametrize(
    "cell",
    ["'{'", "'[1]'", "'{\"\\\"\": 1e999}'", "CAST(x'7b225c22223a22ff227d' AS TEXT)", "x'ff00'", "7", "''",
     "'{\"\\\"\":' || printf('%.*c', 900, '[') || printf('%.*c', 900, ']') || '}'",
     "'{\"\\\"\": \"\\ud800\"}'", "'{\"\\\"\": ' || printf('%.*c', 5000, '9') || '}'"],
)  # fmt: skip
def test_damage_costs_the_damaged_value_alone(tmp_path: Path, cell: str) -> None:
    """The neighbour is found; nothing raises."""
    path, name = tmp_path / "t.db", written('"')
    with TelemetryLogger(path, models=False, policies=False) as logger:
        logger.log_invocation(InvocationRecord(invocation_id="well", metadata={'"': 2}))
        logger.log_invocation(InvocationRecord(invocation_id="odd", metadata={'"': 2}))
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"UPDATE invocations SET metadata = {cell} WHERE invocation_id = 'odd'")
        for filters in (f"{name}=2", f"{name}>=2 {name}<=2"):
            assert [row["invocation_id"] for row in logger.get_invocations(filters=filters)] == ["well"]
        assert sum(row["invocations"] for row in logger.query("calls", by=name)) == 2


@settings(max_examples=200, deadline=None)
@given(parts=st.lists(st.text(max_size=6), min_size=1, max_size=3))
def test_any_key_in_quotes_is_read_as_it_was_written(parts: list[str]) -> None:
    """By the name of a key to group by, and within a filter."""
    name = ".".join(["metadata", *map(json.dumps, parts)])
    (key,) = group_keys([name])
    (condition,) = conditions_of(f"{name}=x")
    repaired = tuple(part.replace("\0", "\ufffd") for part in parts)
    assert condition.key is not None
    assert condition.key.paths == (repaired,)
    assert key.column == condition.key.name == "metadata." + ".".join(repaired)
