"""What is read is what was written, on this interpreter; and no bytes whatever do worse than be refused."""

import enum
import marshal
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.errors import RecordError
from llm_service.telemetry.journal.encoding import UnreadableRecordError, decode, encode
from llm_service.telemetry.record.record import CARD_FIELDS, CONTENT_FIELDS, EXTENSION_FIELDS, InvocationRecord

EXTENSIONS = len(EXTENSION_FIELDS) + len(CONTENT_FIELDS)
EVERYTHING: dict[str, Any] = {
    "invocation_id": "id-ü",
    "agent_name": "Agent 🦊",
    "tool_name": "tool",
    "model_name": "model",
    "prompt_tokens": 2**31,
    "completion_tokens": 10**12 - 2**31,
    "cost_usd": 0.1 + 0.2,
    "latency_ms": 12,
    "status": "error",
    "error_message": "it said: “no”\n",
    "privacy_level": "metadata",
    "timestamp": datetime(2026, 11, 24, 1, 2, 3, 456789, UTC),
    "cache_read_tokens": 0,
    "usage_source": "reported",
    "ttft_ms": 0.5,
    "stream": True,
    "attempts": 3,
    "http_status": 529,
    "tags": ["a", "ü"],
    "metadata": {"deep": [{"n": 1.5, "none": None}]},
    "prompt": "p" * 70_000,
    "response": "",
}
names = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=50)
counts = st.none() | st.integers(0, 10**11)


class Name(enum.StrEnum):
    """A caller's own kind of text."""

    AGENT = "planner"


class Number(int):
    """A caller's own kind of number."""


class Amount(float):
    """A caller's own kind of amount."""


def test_every_field_survives() -> None:
    """A record with all kinds of values is equal after the round trip, its size in memory included."""
    record = InvocationRecord(**EVERYTHING)
    again = decode(encode(record))
    assert again == record
    assert again.size == record.size


@given(names, names, counts, counts, st.floats(0, 1e6), st.booleans() | st.none(), names)
def test_any_record_survives(
    agent: str | None,
    model: str | None,
    prompt: int | None,
    completion: int | None,
    cost: float,
    stream: bool | None,
    session: str | None,
) -> None:
    """What the constructor takes, the journal keeps."""
    record = InvocationRecord(
        agent_name=agent,
        model_name=model,
        prompt_tokens=prompt,
        completion_tokens=completion,
        cost_usd=cost,
        stream=stream,
        session_id=session,
    )
    assert decode(encode(record)) == record


def test_values_of_subclasses_are_kept_as_what_they_are() -> None:
    """An enum of str, or an int of another class, is stored as text or number, as SQLite would."""
    record = InvocationRecord(
        agent_name=Name.AGENT, model_name="m", latency_ms=Number(7), cost_usd=Amount(0.5), session_id=Name.AGENT
    )
    again = decode(encode(record))
    assert (again.agent_name, again.latency_ms, again.cost_usd, again.session_id) == ("planner", 7, 0.5, "planner")
    assert {type(value) for value in again.card} <= {str, int, float, type(None)}
    plain = InvocationRecord(agent_name=Name.AGENT, model_name="m")
    assert plain.extensions is None
    assert decode(encode(plain)) == InvocationRecord(
        invocation_id=plain.invocation_id, timestamp=plain.timestamp, agent_name="planner", model_name="m"
    )


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    """Whatever stands there, it is no record, and no other error."""
    with pytest.raises(UnreadableRecordError):
        decode(data)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_changed_bytes_give_a_record_or_a_refusal(at: int, change: bytes) -> None:
    """A record that comes out has passed the constructor's checks: it can be made again from its own fields."""
    data = bytearray(encode(InvocationRecord(**EVERYTHING | {"prompt": "p", "invocation_id": "id"})))
    at %= len(data)
    data[at : at + len(change)] = change
    try:
        record = decode(bytes(data))
    except UnreadableRecordError:
        return
    assert InvocationRecord(**record.to_dict()) == record


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
        lambda inner: st.lists(inner, max_size=5).map(tuple) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
        max_leaves=20,
    )
)
def test_other_values_in_the_same_format_are_refused(value: object) -> None:
    """`marshal` writes much more than records."""
    with pytest.raises(UnreadableRecordError):
        decode(marshal.dumps(value, 2))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("invocation_id", None),
        ("invocation_id", ""),
        ("invocation_id", 5),
        ("timestamp", None),
        ("timestamp", -1),
        ("timestamp", 2**62),
        ("timestamp", 1.5),
        ("agent_name", "n" * 201),
        ("prompt_tokens", -1),
        ("prompt_tokens", 2**70),
        ("total_tokens", 1),
        ("cost_usd", float("nan")),
        ("cost_usd", float("inf")),
        ("status", "fine"),
        ("status", None),
    ],
)
def test_a_card_that_no_record_has_is_refused(field: str, value: object) -> None:
    """The checks of the constructor stand between the file and the database."""
    card = list(InvocationRecord(prompt_tokens=5, completion_tokens=5, agent_name="a").card)
    card[CARD_FIELDS.index(field)] = value
    with pytest.raises(UnreadableRecordError):
        decode(marshal.dumps((tuple(card), None), 2))


@pytest.mark.parametrize(
    ("field", "value"),
    [("tags", "{"), ("tags", "[" * 100_000), ("metadata", "5"), ("metadata", 5), ("http_status", 99), ("stream", ())],
)
def test_extensions_that_no_record_has_are_refused(field: str, value: object) -> None:
    """JSON that is none, or too deep, included."""
    extensions: list[object] = [None] * EXTENSIONS
    extensions[EXTENSION_FIELDS.index(field)] = value
    with pytest.raises(UnreadableRecordError):
        decode(marshal.dumps((InvocationRecord().card, tuple(extensions)), 2))


@pytest.mark.parametrize(
    "value",
    [(), ((), None), ((1,), None), (InvocationRecord().card, ()), (InvocationRecord().card, None, 1), None, ("x",)],
)
def test_other_shapes_are_refused(value: object) -> None:
    """Neither too few nor too many parts."""
    with pytest.raises(UnreadableRecordError):
        decode(marshal.dumps(value, 2))


@pytest.mark.parametrize(
    "data",
    [b"l\x00\x00\x00\x00", b"l\x00\x00\x00\x80", b"(\xff\xff\xff\x7f", b"u\xff\xff\xff\xff", b"(\x01\x00\x00\x00" * 9],
)
def test_lengths_that_lie_are_refused(data: bytes) -> None:
    """No number of digits, no length beyond the end, no depth is believed."""
    with pytest.raises(UnreadableRecordError):
        decode(data)


def test_a_refusal_names_no_content() -> None:
    """An error may be logged: it is a `ValueError` of its own, and not the constructor's."""
    with pytest.raises(UnreadableRecordError) as caught:
        decode(marshal.dumps(((*InvocationRecord().card[:-1], "everything"), None), 2))
    assert not isinstance(caught.value, RecordError)
    assert caught.value.__cause__ is None


def test_negative_long_numbers_keep_their_sign() -> None:
    """They are read as what they are, and then refused by the field."""
    card = list(InvocationRecord().card)
    card[CARD_FIELDS.index("prompt_tokens")] = 2**35
    assert decode(marshal.dumps((tuple(card), None), 2)).prompt_tokens == 2**35
    card[CARD_FIELDS.index("prompt_tokens")] = -(2**35)  # of the other sign it would be a count like any
    with pytest.raises(UnreadableRecordError, match="RecordError"):
        decode(marshal.dumps((tuple(card), None), 2))
