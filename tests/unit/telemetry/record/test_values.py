"""Odd values over the table of fields: each is taken, repaired or left out, and costs no other field."""

# ruff: noqa: PT017 - an error is one of two good outcomes of an odd value

import asyncio
import enum
import json
import logging
import sqlite3
import time
from array import array
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from http import HTTPStatus
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from tests.slices import quick
from tests.unit.telemetry.record.test_record import FULL, MOMENT

from llm_service.errors import QueryError, RecordError
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.instrumentation.field_aliases import ALIASES
from llm_service.telemetry.queries.call_content import content, to_content
from llm_service.telemetry.record.checks import STATUSES
from llm_service.telemetry.record.fields import CHECKS, CONTENT_FIELDS, FIELDS, KINDS, PRICED_BY, fields_of_kind
from llm_service.telemetry.record.json_values import MAX_JSON_CHARS, MAX_LEVELS
from llm_service.telemetry.record.statuses import OUTCOMES, outcome_of
from llm_service.telemetry.stores.sqlite.reader import reading

TEXTS = fields_of_kind("key", "name", "id", "error", "content")
IDS = fields_of_kind("key", "id")
COUNTS = tuple(name for name in FIELDS if name.endswith("_tokens"))


class Liar(str):
    """A text that equals every other, and prints as another."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return hash("known")

    def __str__(self) -> str:
        return "another"

    __repr__ = __str__


class Thrower:
    """An object that raises wherever it is touched, its class included."""

    def __getattribute__(self, name: str) -> Any:
        raise RuntimeError("hands off")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("hands off")

    def __hash__(self) -> int:
        raise RuntimeError("hands off")

    def __str__(self) -> str:
        raise RuntimeError("hands off")

    __repr__ = __str__


class Shouter:
    """An object of a very long text."""

    def __str__(self) -> str:
        return "x" * 3_000_000

    __repr__ = __str__


class BrokenZone(tzinfo):
    """A time zone that raises."""

    def utcoffset(self, _moment: datetime | None) -> timedelta:
        """Not to be had."""
        raise RuntimeError("no offset")


class Named(enum.Enum):
    """A name as an enumeration that is no str."""

    ONE = "one"


class Numbered(enum.IntEnum):
    """A reason as an enumeration of numbers."""

    STOP = 1


def endless() -> Iterator[int]:
    """A generator without end."""
    while True:
        yield 1


ODD: dict[str, Callable[[], Any]] = {
    "thrower": Thrower, "shouter": Shouter, "liar": lambda: Liar("\0"), "surrogate": lambda: "half \ud83d", "nul": lambda: "a\0b",
    "object": object, "nan": lambda: float("nan"), "inf": lambda: float("inf"), "decimal nan": lambda: Decimal("NaN"),
    "signalling": lambda: Decimal("sNaN"), "huge decimal": lambda: Decimal("1e999999999"), "huge int": lambda: 10**5000,
    "bool": lambda: True, "fraction": lambda: Fraction(1, 3), "complex": lambda: 1j, "bytes": lambda: b"\xff", "empty": lambda: "",
    "long": lambda: "n" * 3_000_000, "list": lambda: ["\ud800", 5], "set": lambda: {"a"}, "dict": lambda: {1: "\0"},
    "generator": endless, "naive": lambda: MOMENT.replace(tzinfo=None), "broken zone": lambda: datetime(2026, 1, 1, tzinfo=BrokenZone()),
    "ancient": lambda: datetime.min.replace(tzinfo=UTC), "date": lambda: datetime(2026, 1, 1, tzinfo=UTC).date(), "delta": lambda: timedelta(seconds=1),
    "uuid": lambda: UUID(int=5), "enum": lambda: Named.ONE, "number enum": lambda: Numbered.STOP, "none": lambda: None,
    "numeral": lambda: " 12 ", "float": lambda: 12.0, "type": lambda: int, "exception": lambda: ValueError("x"),
}  # fmt: skip


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """On a file of its own, content included."""
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as made:
        yield made


def stored(logger: TelemetryLogger) -> dict[str, Any]:
    """The latest record, as `all_stored` has it."""
    return all_stored(logger, last=1)[0]


def all_stored(logger: TelemetryLogger, last: int = 1_000) -> list[dict[str, Any]]:
    """The last records as they are on disk, read as SQLite has them: every byte is UTF-8, and their JSON is JSON."""
    rows = sorted(logger.get_invocations(limit=1_000), key=lambda one: one["id"])[-last:]
    with reading(logger.db_path) as fetch:
        contents = [to_content(fetch(content(row["invocation_id"]))) or {} for row in rows]
    with closing(sqlite3.connect(logger.db_path)) as connection:
        raw = connection.execute("SELECT * FROM invocations").fetchall()
        valid = "json_valid(coalesce(tags, '1')) AND json_valid(coalesce(metadata, '1'))"
        assert connection.execute(f"SELECT count(*) FROM invocations WHERE {valid}").fetchone() == (len(raw),)
    return [{**row, **more} for row, more in zip(rows, contents, strict=True)]


# One bad value costs that value


Records = list[dict[str, Any]]


def _in_block(logger: TelemetryLogger, records: Records) -> None:
    for fields in records:
        with logger.invocation(**fields):
            pass


def _by_set(logger: TelemetryLogger, records: Records) -> None:
    for fields in records:
        with logger.invocation() as call:
            call.set(**fields)


def _by_usage(logger: TelemetryLogger, records: Records) -> None:
    for fields in records:
        with logger.invocation() as call:
            call.record_usage(**fields)


def _by_decorator(logger: TelemetryLogger, records: Records) -> None:
    for fields in records:
        logger.instrumented(usage=lambda _, given=fields: given)(lambda: 1)()


def _by_stream(logger: TelemetryLogger, records: Records) -> None:
    for fields in records:
        list(logger.wrap_stream(iter([1]), usage=lambda _, given=fields: given))


def _on_the_async_face(logger: TelemetryLogger, records: Records) -> None:
    async def run() -> None:
        async with AsyncTelemetryLogger(logger.db_path, privacy_level="full") as telemetry:
            for fields in records:
                async with telemetry.invocation(**fields):
                    pass

    asyncio.run(run())


WAYS = (_in_block, _by_set, _by_usage, _by_decorator, _by_stream, _on_the_async_face)


_FOLLOWING = {"cost_usd": ("cost_source",), "privacy_level": CONTENT_FIELDS}
"""What says how a field came about, or whether another is kept at all."""


@pytest.mark.costly
@pytest.mark.parametrize("field", quick(FIELDS, every=5))
@pytest.mark.parametrize("way", quick(WAYS, 0, 4))
def test_a_bad_value_in_one_field_leaves_every_other_field_as_it_was(
    logger: TelemetryLogger,
    field: str,
    way: Callable[[TelemetryLogger, Records], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """In whatever way it is said, the record is written; none of the other fields is touched, and nothing is raised."""
    caplog.set_level(logging.CRITICAL, "llm_service.telemetry")
    with_total = field in {"prompt_tokens", "completion_tokens", "total_tokens"}
    others = {name: FULL[name] for name in FIELDS if name not in {field, "invocation_id", "privacy_level", "timestamp"}}
    if with_total:  # which a part may contradict
        others.pop("total_tokens", None)
    records: Records = [
        others | {"invocation_id": f"{field}-{number}"} | {field: make()} for number, make in enumerate(ODD.values())
    ]
    way(logger, records)
    logger.flush()
    assert logger.stats().ledger.dropped == {}
    rows = all_stored(logger)
    assert len(rows) == len(ODD)
    if field != "invocation_id":
        assert {row["invocation_id"] for row in rows} == {record["invocation_id"] for record in records}
    expected = {name: value for name, value in others.items() if name not in _FOLLOWING.get(field, ())}
    for row in rows:
        assert {name: row[name] for name in expected} == expected, row["invocation_id"]


@pytest.mark.parametrize("field", sorted(PRICED_BY))
def test_no_cost_is_computed_where_a_value_it_depends_on_was_not_usable(
    field: str, logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The standard price of a maker is no price of a call at an unknown seller, tier or moment."""
    caplog.set_level(logging.CRITICAL, "llm_service.telemetry")
    sound: dict[str, Any] = {"model_name": "gpt-4o", "prompt_tokens": 1000, "completion_tokens": 10}
    with logger.invocation(**sound):
        pass
    assert stored(logger)["cost_source"] == "computed"
    for odd in (["azure"], {"x": 1}, b"x"):
        with logger.invocation(**sound | {field: odd}):
            pass
        row = stored(logger)
        assert (row["cost_usd"], row["cost_source"]) == (None, "unknown")
        assert row["unpriced_usage"] == f"{field}: a value that is not usable"


@pytest.mark.parametrize("field", FIELDS)
def test_the_constructor_stores_an_odd_value_or_refuses_it_by_name(field: str, logger: TelemetryLogger) -> None:
    """A `RecordError` of this field, in a short message, or a record that every reader can read."""
    for make in ODD.values():
        try:
            record = InvocationRecord(**{field: make()})
        except RecordError as error:
            assert error.field == field
            assert len(str(error)) < 400
            continue
        if record.privacy_level != "none":
            logger.log_invocation(record.replace(invocation_id=None) if field != "invocation_id" else record)
        assert {type(value) for value in (*record.card, *(record.extensions or ()))} <= {str, int, float, type(None)}
    all_stored(logger)


# Texts


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize(
    ("text", "kept"),
    [("a\0b", "a\ufffdb"), ("half \ud83d", "half \ufffd"), ("\ude00 x", "\ufffd x"), ("\ud83d\ude00", "😀"), ("\ud83d\0", "\ufffd\ufffd")],
)  # fmt: skip
def test_a_text_is_repaired_wherever_it_stands_and_counted(
    field: str, text: str, kept: str, logger: TelemetryLogger
) -> None:
    """By constructor and block, and in the file."""
    before = logger.stats().repaired
    assert getattr(InvocationRecord(**{field: text}), field) == kept
    with logger.invocation(**{field: text}):
        pass
    assert stored(logger)[field] == kept
    assert logger.stats().repaired == before + 2
    assert logger.stats().bad_values == 0


@pytest.mark.parametrize("field", [field for field in TEXTS if KINDS[field] != "error"])
def test_a_subclass_of_str_is_stored_as_its_plain_text(field: str) -> None:
    """It may lie about its text, its equality and its hash; an enumeration is its value."""
    InvocationRecord(**{field: "known"})
    for value, kept in ((Liar("mine"), "mine"), (Named.ONE, "one")):
        found = getattr(InvocationRecord(**{field: value}), field)
        assert type(found) is str
        assert "".join(found) == kept


@pytest.mark.parametrize("field", IDS)
@pytest.mark.parametrize(
    ("value", "kept"), [(42, "42"), (UUID(int=1), str(UUID(int=1))), (2**128 - 1, str(2**128 - 1))]
)
def test_an_id_may_be_a_number_or_a_uuid(field: str, value: object, kept: str, logger: TelemetryLogger) -> None:
    """Stored as text, and found by the same value."""
    assert getattr(InvocationRecord(**{field: value}), field) == kept
    if field == "session_id":
        logger.log_invocation(InvocationRecord(session_id=value))  # type: ignore[arg-type]
        assert len(logger.get_invocations(session_id=value)) == 1  # type: ignore[arg-type]


def test_children_name_the_id_under_which_their_parent_is_stored(logger: TelemetryLogger) -> None:
    """Also one that was no text, one that was repaired, and one that was refused."""
    for given_id in (UUID(int=7), "half \ud83d", ""):
        with logger.invocation("parent", invocation_id=given_id) as parent, logger.invocation("child"):
            pass
        rows = {row["agent_name"]: row for row in logger.get_invocations(limit=2)}
        assert rows["child"]["parent_invocation_id"] == rows["parent"]["invocation_id"] == parent.invocation_id


# Numbers


@pytest.mark.parametrize("field", COUNTS)
@pytest.mark.parametrize("value", [12.0, Decimal(12), Decimal("12.0"), "12", " 12 ", "12.0", "1.2e1", Fraction(12)])
def test_a_whole_number_is_one_in_any_type(field: str, value: object) -> None:
    """As SDKs, data frames and document stores give them."""
    found = getattr(InvocationRecord(**{field: value}), field)
    assert found == 12
    assert type(found) is int


def test_numbers_of_other_fields_are_taken_too() -> None:
    """Money as text, spans of time with their unit, HTTP's own enumeration."""
    record = InvocationRecord(
        cost_usd="0.0042",  # type: ignore[arg-type]
        latency_ms=timedelta(seconds=1.5),  # type: ignore[arg-type]
        ttft_ms=timedelta(microseconds=250),  # type: ignore[arg-type]
        http_status=HTTPStatus.TOO_MANY_REQUESTS,
        stream=1,  # type: ignore[arg-type]
        attempts="2",  # type: ignore[arg-type]
    )
    assert (record.cost_usd, record.latency_ms, record.ttft_ms) == (0.0042, 1500.0, 0.25)
    assert (record.http_status, record.stream, record.attempts) == (429, True, 2)


def test_a_naive_moment_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Python's own `timestamp()` takes it, to the microsecond."""
    naive = MOMENT.replace(tzinfo=None)
    try:
        for zone in ("America/New_York", "Asia/Kolkata"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert InvocationRecord(timestamp=naive).timestamp == naive.astimezone(UTC)
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_naive_moment_that_the_clock_does_not_know_is_refused() -> None:
    """It is the year that is told of, not a time zone that nobody gave."""
    with pytest.raises(RecordError, match=r"^timestamp: .* is not usable; give a moment from 1970 to 9999"):
        InvocationRecord(timestamp=datetime.min)  # noqa: DTZ901 - that is what is tested


# Statuses


@pytest.mark.parametrize("word", OUTCOMES)
def test_each_known_word_is_a_status_in_any_case(word: str) -> None:
    """With its own meaning kept as `error_type`, unless one is given."""
    outcome = OUTCOMES[word]
    for spelling in (word, word.upper(), f" {word.title()} ", f"STATUS_{word}"):
        record = InvocationRecord(status=spelling)  # type: ignore[arg-type]
        assert (record.status, record.error_type) == (outcome.status, outcome.error_type)
    assert InvocationRecord(status=word, error_type="mine").error_type == "mine"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given_status", "status"),
    [(200, "success"), (204, "success"), ("200", "success"), (408, "timeout"), (504, "timeout"), (429, "error"), (500, "error"),
     (HTTPStatus.OK, "success"), (HTTPStatus.GATEWAY_TIMEOUT, "timeout"), ("timed-out", "timeout"), ("JOB_STATE_FAILED", "error")],
)  # fmt: skip
def test_an_http_status_is_one(given_status: Any, status: str) -> None:
    """And words with other separators."""
    assert InvocationRecord(status=given_status).status == status


UNKNOWN_WORDS = ("splendid", "", "in_progress", "succes", 0, 1, True, None, b"ok", [], 3.5, "success!?" * 100)


@pytest.mark.parametrize(
    "make", [*[lambda word=word: word for word in UNKNOWN_WORDS], Thrower], ids=range(len(UNKNOWN_WORDS) + 1)
)
def test_an_unknown_status_is_never_a_success(
    make: Callable[[], Any], logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """The constructor refuses it; a block says `error`, and warns once."""
    word = make()
    with pytest.raises(
        RecordError, match=r"^status: .* is not usable; (use one of: error, success, timeout|it raises)"
    ):
        InvocationRecord(status=word)
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"), logger.invocation("agent") as call:
        call.set(status=word, model_name="kept")
    assert (stored(logger)["status"], stored(logger)["model_name"]) == ("error", "kept")
    assert [("taken for error" in line.getMessage()) for line in caplog.records] == [True]
    with pytest.raises(TimeoutError), logger.invocation("agent", **({} if word is None else {"status": word})):
        raise TimeoutError
    assert stored(logger)["status"] == "timeout"


def test_a_status_that_was_not_said_is_what_the_block_measures(logger: TelemetryLogger) -> None:
    """A wrapper passes its own default on."""
    with logger.invocation("agent", status=None):
        pass
    assert stored(logger)["status"] == "success"
    assert set(STATUSES) == {outcome.status for outcome in OUTCOMES.values()}


def test_a_bad_privacy_level_never_keeps_more_than_was_asked_for(logger: TelemetryLogger) -> None:
    """A misspelt wish for less is not the logger's `full`; one in capitals is understood."""
    for level in ("nothing", 5, Thrower()):
        with logger.invocation("agent", prompt="private", privacy_level=level):
            pass
        assert stored(logger).get("prompt") is None
    assert InvocationRecord(privacy_level="NONE").privacy_level == "none"  # type: ignore[arg-type]


# Tags and metadata


@dataclass
class Place:
    """A dataclass."""

    name: str
    at: complex


class Model(BaseModel):
    """A model of pydantic."""

    name: str = "m"


class Pair(NamedTuple):
    """A named tuple."""

    left: int
    right: str


class Attrs:
    """An object as attrs makes them: its class lists its fields."""

    __attrs_attrs__ = (SimpleNamespace(name="one"),)
    one = 1


class Cell:
    """A scalar as numpy and its like have them."""

    def __init__(self, value: Any, kind: str) -> None:
        self.value = value
        self.shape = ()
        self.dtype = type("Dtype", (), {"kind": kind})()

    def item(self) -> Any:
        return self.value


@pytest.mark.parametrize("name", ODD)
def test_one_odd_value_within_metadata_costs_that_value(name: str) -> None:
    """As a value, deep within, and as a key: the good ones stay."""
    good = {"customer": "acme", "feature": {"search": [1, None, True]}}
    found = InvocationRecord(metadata={**good, "odd": ODD[name](), "deep": [{"odd": ODD[name]()}], "end": 1}).metadata
    assert found is not None
    assert {key: found[key] for key in good} == good
    assert found["end"] == 1
    assert {"odd", "deep"} <= set(found)


def test_what_json_does_not_know_becomes_its_text() -> None:
    """Numbers beyond JSON, bytes, times, sets, and objects of named values."""
    moment = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    given_metadata = {
        "nan": float("nan"), "inf": float("-inf"), "decimal": Decimal("1.50"), "uuid": UUID(int=1), "time": moment, "bytes": b"x\xff",
        "set": {"b", "a"}, "tuple": (1, 2), "place": Place("p", 1j), "model": Model(), "path": Path("a/b"), "enum": Named.ONE, 5: "five", None: 0,
    }  # fmt: skip
    assert InvocationRecord(metadata=given_metadata).metadata == {  # type: ignore[arg-type]
        "nan": "NaN", "inf": "-Infinity", "decimal": "1.50", "uuid": str(UUID(int=1)), "time": "2026-01-02T03:04:05+00:00",
        "bytes": "x\\xff", "set": ["a", "b"], "tuple": [1, 2], "place": {"name": "p", "at": "1j"}, "model": {"name": "m"},
        "path": "a/b", "enum": "one", "5": "five", "null": 0,
    }  # fmt: skip
    assert InvocationRecord(metadata=Place("p", 1j)).metadata == {"name": "p", "at": "1j"}  # type: ignore[arg-type]
    assert InvocationRecord(metadata=Model()).metadata == {"name": "m"}  # type: ignore[arg-type]


def test_numbers_and_texts_of_other_classes_are_kept_as_json_has_them() -> None:
    """Of subclasses, of named tuples, and of arrays; an enumeration as a key is its value."""
    given_metadata = {
        "number": type("Whole", (int,), {})(7), "real": type("Real", (float,), {})(0.5), "pair": Pair(1, "r"),
        "attrs": Attrs(), "array": array("d", [1.5, 2.0]), Named.ONE: "key", type("Text", (str,), {})("t"): 1,
    }  # fmt: skip
    assert InvocationRecord(metadata=given_metadata).metadata == {
        "number": 7, "real": 0.5, "pair": {"left": 1, "right": "r"}, "attrs": {"one": 1}, "array": [1.5, 2.0], "one": "key", "t": 1,
    }  # fmt: skip


def test_an_array_that_cannot_be_stored_whole_is_cut_or_becomes_its_text() -> None:
    """What has a `tolist` and a shape: of one dimension its beginning, of more what it says of itself."""
    flat = memoryview(bytes(100_000))
    found = InvocationRecord(
        metadata={"flat": flat, "square": flat.cast("B", (500, 200)), "small": memoryview(b"ab")}
    ).metadata
    assert found is not None
    assert found["flat"][:3] == [0, 0, 0]
    assert found["square"].startswith("<memory at ")
    assert found["small"] == [97, 98]
    assert len(json.dumps(found, separators=(",", ":"))) <= MAX_JSON_CHARS


@pytest.mark.parametrize(
    ("cell", "kept"), [(Cell(12, "i"), 12), (Cell(12.0, "f"), 12), (Cell(True, "b"), None), (Cell([1], "i"), None)]
)
def test_a_scalar_of_an_array_is_its_number(cell: Cell, kept: int | None) -> None:
    """A truth value is none, and neither is what holds something else."""
    if kept is None:
        with pytest.raises(RecordError, match=r"^prompt_tokens: "):
            InvocationRecord(prompt_tokens=cell)  # type: ignore[arg-type]
    else:
        assert InvocationRecord(prompt_tokens=cell).prompt_tokens == kept  # type: ignore[arg-type]


def test_keys_of_the_same_text_keep_both_values() -> None:
    """Also thousands of them."""
    taken = {"1": "a", "1#2": "b", 1: "c"}
    assert InvocationRecord(metadata=taken).metadata == {"1": "a", "1#2": "b", "1#3": "c"}  # type: ignore[arg-type]
    assert InvocationRecord(metadata={1: "a", "1": "b"}).metadata == {"1": "a", "1#2": "b"}  # type: ignore[dict-item]
    assert InvocationRecord(metadata={"1": "a", 1: "b"}).metadata == {"1": "a", "1#2": "b"}  # type: ignore[dict-item]
    assert InvocationRecord(metadata={"x\0": "a", "x\ud801": "b"}).metadata == {"x\ufffd": "a", "x\ufffd#2": "b"}


def depth_of(value: Any) -> int:
    """Levels of containers."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(depth_of, inner), default=0)


@pytest.mark.parametrize("depth", [MAX_LEVELS - 1, MAX_LEVELS, 1_000, 100_000])
@pytest.mark.parametrize(
    "wrap", [lambda inner: [inner], lambda inner: {"k": inner}, lambda inner: (inner,)], ids=range(3)
)
def test_nesting_is_cut_at_64_levels_with_a_mark(
    depth: int, wrap: Callable[[Any], Any], logger: TelemetryLogger
) -> None:
    """Whatever was stored can be read, searched by SQLite's own functions, redacted and stored again."""
    leaf: Any = "a token of it"
    for _ in range(depth):
        leaf = wrap(leaf)
    record = InvocationRecord(metadata={"x": leaf, "y": 1})
    assert record.metadata is not None
    assert depth_of(record.metadata) == min(depth + 1, MAX_LEVELS)
    assert ("deeper than 64 levels" in json.dumps(record.metadata)) is (depth >= MAX_LEVELS)
    assert record.replace(agent_name="again").metadata == record.metadata
    logger.log_invocation(record)
    assert stored(logger)["metadata"] == record.metadata
    with closing(sqlite3.connect(logger.db_path)) as connection:
        assert connection.execute("SELECT json_extract(metadata, '$.y') FROM invocations").fetchone() == (1,)


def test_what_holds_itself_is_cut_where_it_does() -> None:
    """A cycle of dicts, of lists; what merely stands twice is kept twice."""
    cycle: dict[str, Any] = {"n": 1}
    cycle["self"] = [cycle]
    shared = [1]
    found = InvocationRecord(metadata={"a": cycle, "b": shared, "c": shared}).metadata
    assert found == {"a": {"n": 1, "self": ["[cut: within itself]"]}, "b": [1], "c": [1]}


@pytest.mark.parametrize(
    "big",
    ["x " * 5_000_000, ["y"] * 1_000_000, {str(n): n for n in range(200_000)}, [["z " * 60_000] * 50] * 50, "\x01" * 70_000, list(range(30_000)),
     b"b" * 5_000_000, {"k" * 100_000: 1}],
    ids=range(8),
)  # fmt: skip
def test_one_large_value_is_cut_and_its_neighbours_stay(big: Any) -> None:
    """First, in the middle and last; the whole stays in its bound, and a mark says so."""
    for order in (("big", "a", "b"), ("a", "big", "b"), ("a", "b", "big")):
        record = InvocationRecord(metadata={name: big if name == "big" else name * 2_000 for name in order})
        assert record.metadata is not None
        assert (record.metadata["a"], record.metadata["b"]) == ("a" * 2_000, "b" * 2_000)
        assert "big" in record.metadata
        encoded = json.dumps(record.metadata, ensure_ascii=False, separators=(",", ":"))
        assert len(encoded) <= MAX_JSON_CHARS
        assert "[cut" in encoded
        assert record.replace(agent_name="again").metadata == record.metadata


@pytest.mark.slow
@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9_000) | st.binary(max_size=50) | st.decimals() | st.uuids()
    | st.sets(st.integers() | st.text(max_size=5), max_size=5),
    lambda inner: st.lists(inner, max_size=9)
    | st.dictionaries(st.text(max_size=300) | st.integers() | st.none(), inner, max_size=9),
    max_leaves=60,
))  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_any_value_within_metadata_leaves_json_that_is_stable(value: Any) -> None:
    """In its bounds, valid for strict readers, and the same when it is stored again."""
    record = InvocationRecord(metadata={"value": value})
    found = record.metadata
    assert found is not None
    assert (
        len(json.dumps(found, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode().decode())
        <= MAX_JSON_CHARS
    )
    assert InvocationRecord(metadata=found).metadata == found


def test_tags_are_taken_from_any_collection_of_texts() -> None:
    """What is empty is left out, what is no text becomes one, what is too long is cut."""
    for value, kept in (
        ({"b", "a"}, ["a", "b"]), (("a", 5, UUID(int=1)), ["a", "5", str(UUID(int=1))]), ({"env": "prod", 1: 2}, ["env:prod", "1:2"]),
        ((tag for tag in "ab"), ["a", "b"]), ("prod", ["prod"]), (["", None, "a\0", "\udfff"], ["a\ufffd", "\ufffd"]), ([], []), ([Named.ONE], ["one"]),
    ):  # fmt: skip
        assert InvocationRecord(tags=value).tags == kept  # type: ignore[arg-type]
    cut = InvocationRecord(tags=["fine", "t " * 200, "end"]).tags
    assert cut is not None
    assert (cut[0], cut[2]) == ("fine", "end")
    assert len(cut[1]) <= 200
    assert cut[1].endswith("[cut: 400 characters]")
    many = InvocationRecord(tags=["t" * 200] * 4_000).tags
    assert many is not None
    assert many[:300] == ["t" * 200] * 300
    assert len(json.dumps(many)) <= MAX_JSON_CHARS + 2 * len(many)
    assert many[-1].startswith("[cut: ")


def test_tags_that_can_be_read_once_are_there_for_each_call(logger: TelemetryLogger) -> None:
    """Of a decorated function, and where another value of the block is bad."""
    ask = logger.instrumented("agent", tags=(tag for tag in ("a", "b")))(lambda: 1)
    for _ in range(2):
        ask()
        assert stored(logger)["tags"] == ["a", "b"]
    with logger.invocation("agent", tags=iter(["a"]), cost_usd=-1):
        pass
    assert stored(logger)["tags"] == ["a"]


# Names


@pytest.mark.parametrize("alias", ALIASES)
def test_a_name_that_others_use_is_taken_for_its_field(
    alias: str, logger: TelemetryLogger, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, by `set` and by `record_usage`; the field's own name wins."""
    field = ALIASES[alias]
    value, other = FULL[field], {"parent_invocation_id": "p"} | dict.fromkeys(("http_status",), 500)
    with logger.invocation(**{alias: value}):
        pass
    assert stored(logger)[field] == value
    for say in ("set", "record_usage"):
        with logger.invocation() as call:
            getattr(call, say)(**{alias: value})
        assert stored(logger)[field] == value
    own = other.get(field, "success" if field == "status" else FULL[field])
    with logger.invocation(**{alias: object(), field: own}):
        pass
    assert stored(logger)[field] == own
    assert field in CHECKS
    assert alias not in FIELDS
    assert not caplog.records


def test_the_usage_of_a_provider_is_read_as_a_whole(logger: TelemetryLogger) -> None:
    """Anthropic's input leaves out what was cached; OpenAI's holds it."""
    with logger.invocation("agent") as call:
        call.record_usage(input_tokens=10, output_tokens=5, cache_read_input_tokens=100, cache_creation_input_tokens=20)
    row = stored(logger)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cache_read_tokens"], row["cache_write_tokens"]) == (
        130,
        5,
        100,
        20,
    )
    with logger.invocation("agent") as call:
        call.record_usage(
            prompt_tokens=110, completion_tokens=5, total_tokens=115, prompt_tokens_details={"cached_tokens": 100}
        )
    row = stored(logger)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cache_read_tokens"]) == (110, 5, 100)
    with logger.invocation("agent", latency=timedelta(seconds=2)) as call:
        call.set(**{"gen_ai.response.finish_reasons": ["stop"]})
    assert (stored(logger)["latency_ms"], stored(logger)["finish_reason"]) == (2000, "stop")
    with logger.invocation("agent", request_model="gpt-5") as call:
        call.set(response_model="gpt-5-2025-08-07")
    assert (stored(logger)["request_model"], stored(logger)["model_name"]) == ("gpt-5", "gpt-5-2025-08-07")


@pytest.mark.parametrize(
    ("name", "meant"),
    [("promt_tokens", "prompt_tokens"), ("latency", "latency_ms"), ("id", "invocation_id"), ("Model-Name", "model_name"), ("session_ids", "session_id"), ("output", "response")],
)  # fmt: skip
def test_a_name_that_is_no_field_is_warned_about_with_the_nearest_and_without_its_value(
    name: str, meant: str, logger: TelemetryLogger, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """`strict` raises the same."""
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"), logger.invocation("agent", **{name: "hush-hush"}):
        pass
    (line,) = caplog.records
    assert f"did you mean {meant}" in line.getMessage()
    assert "hush" not in caplog.text
    assert logger.stats().bad_values == 1
    with TelemetryLogger(tmp_path / "strict.db", strict=True) as strict:
        with pytest.raises(RecordError, match=f"did you mean {meant}") as caught:
            strict.invocation(**{name: "hush-hush"})
        assert "hush" not in str(caught.value)


def test_names_without_end_fill_no_memory_and_no_log(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture) -> None:
    """After a thousand of them one name stands for the rest; a long one is cut."""
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"), logger.invocation("agent") as call:
        for number in range(1_200):
            call.set(**{f"zz{number}": 1})
        call.set(**{"line\nbreak " + "x" * 1_000_000: 1})
    assert logger.stats().bad_values == 1_201
    assert len(caplog.records) == 1_001
    assert all(len(line.getMessage()) < 600 and "\n" not in line.getMessage() for line in caplog.records)


def test_no_warning_quotes_content(logger: TelemetryLogger, caplog: pytest.LogCaptureFixture) -> None:
    """Of prompts, messages, tags and metadata that cannot be stored."""
    with (
        caplog.at_level(logging.WARNING, "llm_service.telemetry"),
        logger.invocation(
            "agent",
            **{field: 5 if field == "tags" else b"hush" for field in fields_of_kind("content", "json", "error")},
        ),
    ):
        pass
    assert "hush" not in caplog.text
    assert len(caplog.records) == len(fields_of_kind("content", "json", "error"))


def test_only_the_id_may_be_given_by_position() -> None:
    """A second one is refused, whatever it is."""
    assert InvocationRecord("mine").invocation_id == "mine"
    with pytest.raises(TypeError, match="by name"):
        InvocationRecord("mine", "agent")  # type: ignore[arg-type]


def test_a_filter_that_no_record_can_match_is_refused(logger: TelemetryLogger) -> None:
    """A repaired name is found by what was given."""
    logger.log_invocation(InvocationRecord(agent_name="half \ud83d"))
    assert len(logger.get_invocations(agent_name="half \ud83d")) == 1
    for filters in ({"status": "failed"}, {"model_name": "n" * 201}, {"session_id": b"x"}):
        with pytest.raises(QueryError, match=f"^{next(iter(filters))}: "):
            logger.get_invocations(**filters)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "name",
    [
        "latency",
        "model",
        "input_tokens",
        "error",
        "cache_creation",
        "prompt_tokens_details",
        "gen_ai.response.finish_reasons",
    ],
)
def test_no_value_reaches_the_caller_whatever_it_does_under_whatever_name(name: str, logger: TelemetryLogger) -> None:
    """Others' names, and the parts of a provider's usage."""
    with logger.invocation("agent", **{"input_tokens": 5, name: Thrower()}) as call:
        call.record_usage(**{"completion_tokens": 3, name: Thrower()})
    row = stored(logger)
    assert (row["agent_name"], row["completion_tokens"], row["status"]) == ("agent", 3, "success")
    logger.instrumented(usage=lambda _: {"agent_name": "read", name: Thrower()})(lambda: 1)()
    logger.flush()
    assert stored(logger)["agent_name"] == "read"
    list(logger.wrap_stream(iter([1, 2]), usage=lambda _: {"agent_name": "streamed", name: Thrower()}))
    logger.flush()
    assert stored(logger)["agent_name"] == "streamed"


def test_a_generator_of_tags_that_fails_costs_the_tags(logger: TelemetryLogger) -> None:
    """And nothing else."""

    def failing() -> Iterator[str]:
        yield "a"
        raise RuntimeError("no more")

    with logger.invocation("agent", session_id="s", tags=failing()):
        pass
    assert stored(logger)["session_id"] == "s"


@pytest.mark.parametrize("as_given", [float, Decimal, str])
def test_the_parts_of_a_usage_are_added_in_whatever_type_they_come(
    as_given: Callable[[int], Any], logger: TelemetryLogger
) -> None:
    """A sum of text is not the text of one part."""
    with logger.invocation("agent") as call:
        call.record_usage(input_tokens=as_given(10), output_tokens=as_given(5), cache_read_input_tokens=as_given(100))
    row = stored(logger)
    assert (row["prompt_tokens"], row["completion_tokens"], row["cache_read_tokens"]) == (110, 5, 100)


@pytest.mark.parametrize("code", [200, 404, 408, 429, 504])
@pytest.mark.parametrize(
    "form",
    [int, float, str, "{}.0".format, "{} Some Words".format, "HTTP {}".format, "HTTP/1.1 {} OK".format, "[{}]".format],
)
def test_an_http_status_says_the_same_in_every_form(code: int, form: Callable[[int], object]) -> None:
    """As a number, as digits, as a status line, as a number that a table has made a float."""
    expected = "success" if code < 300 else "timeout" if code in {408, 504} else "error"
    assert InvocationRecord(status=form(code)).status == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("status", [200.5, float("nan"), "2000", "999 Words", "099", "12 200", 1.0])
def test_what_is_no_http_status_is_none(status: object) -> None:
    """It is not rounded, and not found in the middle of a text."""
    with pytest.raises(RecordError):
        InvocationRecord(status=status)  # type: ignore[arg-type]


_SIGNS = (
    "!{}",
    "\u00ac{}",
    "\u2260{}",
    "~{}",
    "\u274c {}",
    "{}\u274c",
    "{}?",
    "-{}",
    "not {}",
    "{} error",
    "200 not {}",
)


@pytest.mark.parametrize("sign", _SIGNS)
@pytest.mark.parametrize("word", sorted(word for word, found in OUTCOMES.items() if found.status == "success"))
def test_a_sign_that_may_negate_a_word_is_never_success(word: str, sign: str) -> None:
    """Whoever writes `!ok` does not mean `ok`."""
    found = outcome_of(sign.format(word))
    assert found is None or found.status != "success"


@pytest.mark.parametrize(
    ("said", "status"), [("404 Not Found", "error"), ("500 success", "error"), ("200 error", None)]
)
def test_an_http_status_and_its_words_may_not_contradict_each_other(said: str, status: str | None) -> None:
    """A failure counts whatever the words say; a success does not."""
    found = outcome_of(said)
    assert (found and found.status) == status
