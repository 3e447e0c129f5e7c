"""The record: what it takes, what it refuses and how it says so, and what it never shows."""

import copy
import gc
import json
import pickle
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from inspect import getattr_static, signature
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.errors import RecordError, TelemetryError
from llm_service.redaction import shown
from llm_service.telemetry.record import checks
from llm_service.telemetry.record.fields import CHECKS, KINDS
from llm_service.telemetry.record.record import CARD_FIELDS, EXTENSION_FIELDS, FIELDS, InvocationRecord

MOMENT = datetime(2026, 11, 23, 18, 30, 15, 123456, tzinfo=UTC)

FULL: dict[str, Any] = {
    "invocation_id": "call-1",
    "timestamp": MOMENT,
    "agent_name": "backend-dev",
    "tool_name": "claude-code",
    "model_name": "claude-3.5-sonnet",
    "prompt_tokens": 100,
    "completion_tokens": 200,
    "total_tokens": 310,
    "cost_usd": 0.015,
    "latency_ms": 1500,
    "status": "error",
    "error_message": "overloaded",
    "privacy_level": "full",
    "provider": "anthropic",
    "operation": "chat",
    "request_model": "claude-3.5",
    "response_id": "resp-1",
    "request_id": "req-1",
    "session_id": "session-1",
    "user_id": "user-1",
    "trace_id": "trace-1",
    "span_id": "span-1",
    "parent_invocation_id": "call-0",
    "cache_read_tokens": 10,
    "cache_write_tokens": 20,
    "reasoning_tokens": 30,
    "usage_source": "reported",
    "cost_source": "computed",
    "ttft_ms": 12.5,
    "stream": True,
    "finish_reason": "stop",
    "attempts": 2,
    "http_status": 529,
    "error_type": "overloaded_error",
    "source": "sdk:anthropic",
    "tags": ["nightly", "größe"],
    "metadata": {"branch": "main", "depth": [1, 2.5, None, True]},
    "cache_write_1h_tokens": 15,
    "service_tier": "batch",
    "unpriced_usage": "server_tool_use.web_search_requests: 2",
    "run": "nightly-1",
    "region": "eu-west-3",
    "prompt": "Say hello.",
    "response": "Hello.",
}

NAMES = ("agent_name", "tool_name", "model_name")
LABELS = (
    "provider", "operation", "request_model", "response_id", "request_id", "session_id", "user_id", "trace_id",
    "span_id", "parent_invocation_id", "finish_reason", "error_type", "source", "service_tier", "unpriced_usage", "run",
)  # fmt: skip
TEXTS = ("invocation_id", *NAMES, *LABELS)
TOKENS = (
    "prompt_tokens", "completion_tokens", "total_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens",
    "cache_write_1h_tokens",
)  # fmt: skip
AMOUNTS = ("cost_usd", "latency_ms", "ttft_ms")


class Indexed:
    """A whole number as numpy has them: not an `int`, but with `__index__`."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


class Incomparable:
    """Like an array: comparing it has no single truth, and it has no hash."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise ValueError("the truth value of an array is ambiguous")


class Unprintable:
    """Its repr fails, as that of a broken proxy does."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")


class NoOffset(tzinfo):
    """A time zone that does not know its offset."""

    def utcoffset(self, _moment: datetime | None) -> None:
        """Not known."""
        return


class Agent(StrEnum):
    """A name as an enumeration, which is a str."""

    REVIEWER = "reviewer"


def refused(field: str, value: object, remedy: str, **others: Any) -> RecordError:
    """The error that naming this value must give; its message names field, value and remedy, and stays short."""
    with pytest.raises(ValueError, match=r".") as caught:
        InvocationRecord(**{field: value, **others})
    error = caught.value
    assert isinstance(error, RecordError)
    assert isinstance(error, TelemetryError)
    assert error.field.startswith(field)
    assert str(error).startswith(f"{error.field}: ")
    assert remedy in error.remedy
    assert error.remedy in str(error)
    assert len(str(error)) < 400
    assert str(error).isprintable()
    return error


# What it takes


def test_every_field_is_kept_as_given() -> None:
    """What goes in comes out, for each of the 41 fields."""
    record = InvocationRecord(**FULL)
    assert record.to_dict() == FULL
    assert set(FULL) == set(FIELDS)


def test_the_arguments_are_the_fields() -> None:
    """No argument without a field, no field without an argument; the quick reference's order comes first."""
    arguments = list(signature(InvocationRecord).parameters)
    assert sorted(arguments) == sorted(FIELDS)
    assert arguments[:11] == [field for field in CARD_FIELDS if field not in {"timestamp", "privacy_level"}]


def test_a_bare_record_knows_only_its_id_time_and_status() -> None:
    """Unknown is None, never 0 and never empty."""
    record = InvocationRecord()
    known = {field for field, value in record.to_dict().items() if value is not None}
    assert known == {"invocation_id", "timestamp", "status"}
    assert record.status == "success"
    assert abs(record.timestamp - datetime.now(UTC)) < timedelta(minutes=1)
    assert record.extensions is None


def test_a_field_read_from_the_class_is_its_descriptor() -> None:
    """Tools that inspect the class do not fail."""
    assert InvocationRecord.agent_name is getattr_static(InvocationRecord, "agent_name")
    assert repr(InvocationRecord.agent_name) == "<field agent_name: name>"


@pytest.mark.parametrize("value", ["x", None])
def test_an_argument_that_is_no_field_is_refused(value: str | None) -> None:
    """As Python does, with the name that was probably meant; also where its value is None."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'finish_reson'; did you mean finish_reason"):
        InvocationRecord(finish_reson=value)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'zzz'$"):
        InvocationRecord(zzz=value)


@pytest.mark.parametrize("field", FIELDS)
def test_the_check_in_the_table_takes_what_the_constructor_takes(field: str) -> None:
    """Filters check by the table; the constructor tests some values in place, which must come to the same."""
    record = InvocationRecord(**FULL)
    kept = dict(zip(FIELDS, (*record.card, *(record.extensions or ())), strict=True))[field]
    assert CHECKS[field](field, FULL[field]) == kept
    if KINDS[field] == "word":
        with pytest.raises(RecordError, match=f"^{field}: .*use one of"):
            CHECKS[field](field, "nonsense")


@pytest.mark.parametrize("field", [*TEXTS, "error_message", "prompt", "response"])
@pytest.mark.parametrize("value", ["x", "größe", "模型", "🙂", "a'b\"c;--", Agent.REVIEWER])
def test_any_clean_text_is_taken(field: str, value: str) -> None:
    """Unicode, quotes, and subclasses of str such as a StrEnum."""
    assert getattr(InvocationRecord(**{field: value}), field) == value


@pytest.mark.parametrize("field", ["error_message", "prompt", "response"])
def test_free_text_may_be_empty(field: str) -> None:
    """An empty answer is an answer."""
    assert getattr(InvocationRecord(**{field: ""}), field) == ""


@pytest.mark.parametrize("field", TEXTS)
def test_a_name_may_have_200_characters(field: str) -> None:
    """The bound itself is taken."""
    assert getattr(InvocationRecord(**{field: "n" * 200}), field) == "n" * 200


@pytest.mark.parametrize("field", TOKENS)
@pytest.mark.parametrize("value", [0, 1, 10**12, Indexed(7)])
def test_any_count_in_range_is_taken(field: str, value: Any) -> None:
    """From 0 to 10**12; numpy's integers become int."""
    stored = getattr(InvocationRecord(**{field: value}), field)
    assert stored == int(value)
    assert type(stored) is int


@pytest.mark.parametrize("field", AMOUNTS)
@pytest.mark.parametrize("value", [0, 0.0, 1, 1.5, 10**6, Decimal("0.015"), Fraction(1, 8)])
def test_any_amount_in_range_is_taken(field: str, value: Any) -> None:
    """Int, float, Decimal and other real numbers; the stored value binds as a number."""
    stored = getattr(InvocationRecord(**{field: value}), field)
    assert stored == pytest.approx(float(value))
    assert type(stored) in {int, float}


def test_a_moment_of_any_zone_is_kept_in_utc() -> None:
    """The same instant, to the microsecond."""
    moment = datetime(2026, 11, 23, 23, 59, 59, 999999, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))
    stored = InvocationRecord(timestamp=moment).timestamp
    assert stored == moment
    assert stored.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "moment", [datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)]
)
def test_the_first_and_the_last_moment_are_taken(moment: datetime) -> None:
    """From 1970 to 9999."""
    assert InvocationRecord(timestamp=moment).timestamp == moment


def test_tags_and_metadata_take_any_sequence_and_mapping() -> None:
    """A tuple and a read-only mapping are as good as a list and a dict."""
    record = InvocationRecord(tags=("a", "b"), metadata=MappingProxyType({"k": {"deep": [1]}}))
    assert record.tags == ["a", "b"]
    assert record.metadata == {"k": {"deep": [1]}}


def test_changing_what_was_passed_in_changes_no_record() -> None:
    """Lists and dicts are taken by value."""
    tags, metadata = ["a"], {"k": [1]}
    record = InvocationRecord(tags=tags, metadata=metadata)
    tags.append("b")
    metadata["k"].append(2)
    assert (record.tags, record.metadata) == (["a"], {"k": [1]})


def test_metadata_may_show_an_escaped_nul() -> None:
    """The six characters of an escape are not the NUL they stand for."""
    metadata = {"code": r"print('\u0000')", "path": "C:\\\\u0000"}
    assert InvocationRecord(metadata=metadata).metadata == metadata


@given(
    st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=5),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
@settings(max_examples=60, deadline=None)
def test_any_json_object_comes_back_as_it_was(metadata: dict[str, Any]) -> None:
    """Metadata survives storage as JSON."""
    assert InvocationRecord(metadata=metadata).metadata == metadata


@pytest.mark.parametrize(
    "check", [checks.name, checks.label, checks.content, checks.message, checks.tokens, checks.flag, checks.tags,
              checks.metadata],
)  # fmt: skip
def test_unknown_passes_every_optional_check(check: Any) -> None:
    """None is an answer, whoever asks."""
    assert check("field", None) is None


# Totals


@pytest.mark.parametrize(
    ("given", "total"),
    [
        ({"prompt_tokens": 1, "completion_tokens": 2}, 3),
        ({"prompt_tokens": 1}, None),
        ({"completion_tokens": 2}, None),
        ({}, None),
        ({"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 9}, 9),
        ({"total_tokens": 9}, 9),
        ({"prompt_tokens": 9, "total_tokens": 9}, 9),
        ({"prompt_tokens": 0, "completion_tokens": 0}, 0),
    ],
)
def test_a_total_is_derived_only_from_two_known_parts(given: dict[str, int], total: int | None) -> None:
    """A reported total is kept, also above the sum; an unknown part leaves it unknown."""
    assert InvocationRecord(**given).total_tokens == total


@pytest.mark.parametrize(
    "parts", [{"prompt_tokens": 5, "completion_tokens": 5}, {"prompt_tokens": 10}, {"completion_tokens": 10}]
)
def test_a_total_below_its_parts_is_refused(parts: dict[str, int]) -> None:
    """Whichever parts are known."""
    refused("total_tokens", 9, "below prompt_tokens + completion_tokens", **parts)


def test_a_cost_of_unknown_source_is_refused() -> None:
    """An unknown cost has none; whoever knows the cost says who said it, or nothing."""
    refused("cost_source", "unknown", "cost_usd is given", cost_usd=0)
    assert InvocationRecord(cost_source="unknown").cost_usd is None
    for source in checks.COST_SOURCES - {"unknown"} | {None}:
        assert InvocationRecord(cost_usd=5, cost_source=source).cost_source == source


def test_a_derived_total_keeps_the_bound() -> None:
    """Two parts that are each in range may have a sum that is not."""
    with pytest.raises(RecordError, match=r"^total_tokens: 2000000000000 "):
        InvocationRecord(prompt_tokens=10**12, completion_tokens=10**12)


# Promise 13: what it refuses


@pytest.mark.parametrize("field", TEXTS)
@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("", "non-empty"),
        ("n" * 201, "at most 200"),
        ("n" * 10_000_000, "10,000,000 characters"),
        (b"bytes", "give a str"),
        (1.5, "give a str"),
        (True, "give a str"),
        (["unhashable"], "give a str"),
        ({"a": 1}, "give a str"),
        (Incomparable(), "give a str"),
        (Unprintable(), "give a str"),
    ],
    ids=range(10),
)
def test_a_name_that_cannot_be_stored_is_refused(field: str, value: object, remedy: str) -> None:
    """Each error names the field, the value and what to do, in a line."""
    refused(field, value, remedy)


@pytest.mark.parametrize("field", NAMES)
def test_an_unhashable_name_is_named_beside_good_ones(field: str) -> None:
    """The other names of the record are not blamed."""
    others = {name: "fine" for name in NAMES if name != field}
    refused(field, [], "give a str", **others)


@pytest.mark.parametrize("field", TOKENS)
@pytest.mark.parametrize(
    "value",
    [-1, 10**12 + 1, 10**5000, True, False, 1.5, float("nan"), "1.5", "seven", Decimal("7.5"), Decimal("sNaN"),
     Decimal("1e999999999"), Fraction(1, 2), Indexed(-1), b"7", 1j, [], Incomparable()],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_a_count_that_is_none_is_refused(field: str, value: object) -> None:
    """Negative, huge, bool, a fraction, a word: none is a number of tokens."""
    refused(field, value, "give a whole number from 0 to 1,000,000,000,000")


@pytest.mark.parametrize("field", AMOUNTS)
@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), float("-inf"), -1, -0.001, 1e300, 10**400, Decimal("NaN"), Decimal("sNaN"),
        Decimal("Infinity"), Decimal("1e400"), Fraction(10**400), True, False, "1,5", "$1.5", 1j, [], Incomparable(),
    ],
    ids=lambda value: f"{type(value).__name__}-{shown(value)[:12]}",
)  # fmt: skip
def test_an_amount_that_is_none_is_refused(field: str, value: object) -> None:
    """NaN, infinity, negative, beyond any float, bool, text."""
    refused(field, value, "give a finite number of")


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        (datetime(2026, 11, 23, tzinfo=NoOffset()), "no time zone"),
        (datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC), "from 1970 to 9999"),
        (datetime.min.replace(tzinfo=timezone(timedelta(hours=5))), "from 1970 to 9999"),
        (datetime.max.replace(tzinfo=timezone(timedelta(hours=-5))), "from 1970 to 9999"),
        (MOMENT.date(), "aware datetime.datetime"),
        ("2026-11-23T18:00:00Z", "aware datetime.datetime"),
        (1795479377, "aware datetime.datetime"),
    ],
    ids=str,
)
def test_a_moment_that_is_none_is_refused(value: object, remedy: str) -> None:
    """In a zone of no offset, before 1970, in the year 10000 of UTC, or no datetime at all."""
    refused("timestamp", value, remedy)


@pytest.mark.parametrize("field", ["status", "privacy_level", "usage_source", "cost_source"])
@pytest.mark.parametrize("value", ["", "splendid", 1, True, [], "x" * 10_000_000], ids=lambda v: shown(v)[:12])
def test_a_word_outside_its_set_is_refused(field: str, value: object) -> None:
    """The error lists the words."""
    refused(field, value, "use one of: ")


def test_a_status_is_not_optional() -> None:
    """Whether a call went well is always known."""
    refused("status", None, "use one of: error, success, timeout")


@pytest.mark.parametrize("value", [2, 1.0, "true", []])
def test_stream_is_a_bool(value: object) -> None:
    """Text is no answer to a question of yes or no, nor is a number but 0 and 1."""
    refused("stream", value, "give True, False or None")


@pytest.mark.parametrize(
    ("field", "values"), [("attempts", (0, 1_000_001)), ("http_status", (99, 600, "splendid", "200 after 503"))]
)
def test_small_counts_have_bounds_of_their_own(field: str, values: tuple[object, ...]) -> None:
    """Attempts from 1, HTTP status from 100 to 599."""
    for value in values:
        refused(field, value, "give a whole number from")


@pytest.mark.parametrize(
    ("value", "remedy"),
    [
        ("a,b", "give a list of str"),
        (5, "give a list of str"),
        (Incomparable(), "give a list of str"),
        (b"ab", "give a list of str"),
    ],
    ids=lambda value: shown(value)[:12],
)
def test_tags_that_cannot_be_stored_are_refused(value: object, remedy: str) -> None:
    """What is no collection of texts, or a text that looks like several."""
    refused("tags", value, remedy)


@pytest.mark.parametrize("value", [[("a", 1)], "{}", 5, b"{}", Incomparable()], ids=range(5))
def test_metadata_that_names_nothing_is_refused(value: object) -> None:
    """Pairs, text and numbers are no mapping."""
    refused("metadata", value, "give a dict of JSON values")


@pytest.mark.parametrize("field", ["prompt", "response"])
@pytest.mark.parametrize(
    ("value", "remedy"),
    [(5, "give a str"), (b"x", "give a str"), ("x" * (16 * 2**20 + 1), "at most 16,777,216")],
    ids=["int", "bytes", "huge"],
)
def test_content_that_cannot_be_stored_is_refused(field: str, value: object, remedy: str) -> None:
    """Prompt and response are checked like any text, with a bound of 16 Mi characters."""
    refused(field, value, remedy)


def test_an_error_message_is_text_or_an_exception() -> None:
    """A number says nothing."""
    refused("error_message", 5, "give a str")
    assert InvocationRecord(error_message=KeyError("mine")).error_message == "'mine'"  # type: ignore[arg-type]


@pytest.mark.parametrize("length", [65_536, 65_537, 10_000_000])
def test_an_over_long_error_message_is_cut_and_never_refused(length: int) -> None:
    """The record of a failure must not fail because the failure was long."""
    message = InvocationRecord(status="error", error_message="é" * length).error_message
    assert message == "é" * 65_536


def test_a_shown_value_is_short_whatever_it_is() -> None:
    """Messages stay readable: long values are cut, and a failing repr is reported as such."""
    assert shown("x" * 10_000_000) == "'" + "x" * 76 + "..."
    assert shown(list(range(10_000))).endswith("...")
    assert shown(Unprintable()) == "<Unprintable whose repr raises RuntimeError>"
    assert shown("short") == "'short'"


# Identity


def test_a_record_cannot_be_changed() -> None:
    """Not its fields, not its slots, not by deletion; the error says what to do instead."""
    record = InvocationRecord(**FULL)
    for name in ("agent_name", "card", "size", "anything"):
        with pytest.raises(AttributeError, match=r"immutable.*record\.replace"):
            setattr(record, name, 1)
        with pytest.raises(AttributeError, match="immutable"):
            delattr(record, name)
    assert record.to_dict() == FULL


def test_equal_records_have_equal_hashes() -> None:
    """So that records can stand in sets; anything else is unequal."""
    one, same, other = InvocationRecord(**FULL), InvocationRecord(**FULL), InvocationRecord(**{**FULL, "source": "x"})
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert len({one, same, other}) == 2
    assert one != "call-1"
    assert one.__eq__("call-1") is NotImplemented


@pytest.mark.parametrize("values", [{}, FULL], ids=["bare", "full"])
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_record_survives_pickling(values: dict[str, Any], protocol: int) -> None:
    """It may travel to another process."""
    record = InvocationRecord(**values)
    again = pickle.loads(pickle.dumps(record, protocol))  # noqa: S301 - our own bytes
    assert again == record
    assert again.size == record.size
    assert again.to_dict() == record.to_dict()


def test_a_copy_of_an_immutable_record_is_itself() -> None:
    """Shallow or deep."""
    record = InvocationRecord(**FULL)
    assert copy.copy(record) is record
    assert copy.deepcopy([record])[0] is record


def test_replace_changes_what_it_is_told_and_checks_it() -> None:
    """Everything else stays, the id too."""
    record = InvocationRecord(**FULL)
    changed = record.replace(agent_name="other", cost_usd=None)
    assert changed.to_dict() == {**FULL, "agent_name": "other", "cost_usd": None}
    assert record.to_dict() == FULL
    with pytest.raises(RecordError, match="cost_usd"):
        record.replace(cost_usd=-1)
    with pytest.raises(TypeError, match="colour"):
        record.replace(colour="red")


def test_replace_lets_a_summed_total_follow_its_parts() -> None:
    """A total that was reported apart from the sum stays."""
    summed = InvocationRecord(prompt_tokens=1, completion_tokens=1)
    assert summed.replace(prompt_tokens=5).total_tokens == 6
    assert summed.replace(completion_tokens=0).total_tokens == 1
    assert summed.replace(agent_name="a").total_tokens == 2
    assert summed.replace(prompt_tokens=5, total_tokens=9).total_tokens == 9
    reported = InvocationRecord(prompt_tokens=1, completion_tokens=1, total_tokens=10)
    assert reported.replace(prompt_tokens=5).total_tokens == 10
    assert InvocationRecord(prompt_tokens=1, total_tokens=10).replace(prompt_tokens=5).total_tokens == 10


def test_repr_never_shows_free_text() -> None:
    """Messages, content, tags and metadata may hold secrets and stay out of logs."""
    secret = "s3cr3t"  # noqa: S105 - the point of the test
    record = InvocationRecord(
        agent_name="agent",
        status="error",
        error_message=secret,
        prompt=secret,
        response=secret,
        tags=[secret],
        metadata={"key": secret},
        user_id=secret,
    )
    assert secret not in repr(record)
    assert secret not in str(record)
    assert "agent_name='agent'" in repr(record)
    assert "status='error'" in repr(record)


# Names that are known


def test_the_memo_of_clean_names_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller who invents names for ever does not fill the memory, and is served all the same."""
    monkeypatch.setattr(checks, "_KNOWN_NAMES_BOUND", 10)
    for number in range(50):
        assert InvocationRecord(agent_name=f"invented-{number}").agent_name == f"invented-{number}"
        assert len(checks.KNOWN_NAMES) <= 4096
    assert InvocationRecord().agent_name is None
    assert "invented-0" not in checks.KNOWN_NAMES


def test_a_refused_name_is_not_remembered() -> None:
    """Or it would pass the second time."""
    for _ in range(2):
        refused("agent_name", "n" * 201, "at most 200")


# Size


def _measured(values: dict[str, Any], count: int = 200) -> float:
    """Bytes that each of many such records really takes, texts not shared."""
    texts = {field: value for field, value in values.items() if isinstance(value, str) and field not in NAMES}
    fixed = {field: value for field, value in values.items() if field not in texts}
    words = {field: texts.pop(field) for field in ("status", "privacy_level", "usage_source") if field in texts}
    gc.collect()
    tracemalloc.start()
    try:
        made = [
            InvocationRecord(**fixed, **words, **{field: "".join([*value[:-1], "x"]) for field, value in texts.items()})
            for _ in range(count)
        ]
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return taken / len(made)


@pytest.mark.costly
@pytest.mark.parametrize(
    "values",
    [
        {"prompt_tokens": 100_000, "completion_tokens": 20_000, "total_tokens": 130_000, "cost_usd": 0.5},
        {"status": "error", "error_message": "x" * 5000},
        {"prompt": "y" * 20_000, "response": "é" * 20_000},
        {"metadata": {"k": "v" * 3000}, "tags": ["a", "b"]},
        {"session_id": "s" * 36, "trace_id": "t" * 32, "span_id": "u" * 16},
        {"prompt": "🙂" * 10_000},
    ],
    ids=["plain", "message", "content", "metadata", "labels", "emoji"],
)
def test_size_bounds_the_memory_a_record_takes(values: dict[str, Any]) -> None:
    """The queue's byte bound means bytes: `size` is never below what is taken, and not far above."""
    size = InvocationRecord(**values).size
    taken = _measured(values)
    assert taken <= size
    assert size <= 5 * taken + 700


def test_size_grows_with_every_text() -> None:
    """No field can smuggle megabytes past the bound."""
    plain = InvocationRecord().size
    for field in ("error_message", "prompt", "response", "provider"):
        text = "x" * (200 if field == "provider" else 50_000)
        assert InvocationRecord(**{field: text}).size >= plain + len(text)
    assert InvocationRecord(metadata={"a": "x" * 50_000}).size >= plain + 50_000


def test_what_is_stored_is_what_sqlite_can_bind() -> None:
    """Both tuples hold nothing but None, text and numbers."""
    record = InvocationRecord(**FULL)
    assert record.extensions is not None
    assert len(record.card) == len(CARD_FIELDS)
    assert len(record.extensions) == len(EXTENSION_FIELDS) + 2
    assert {type(value) for value in (*record.card, *record.extensions)} <= {str, int, float}
    assert json.loads(record.extensions[EXTENSION_FIELDS.index("tags")]) == FULL["tags"]
