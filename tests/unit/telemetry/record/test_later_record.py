"""Records that are made when they are looked at, and those that are made without each check."""

import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.telemetry.record.later_record import LaterRecord
from llm_service.telemetry.record.record import InvocationRecord, plain_record
from llm_service.telemetry.record.timestamps import Moment

PLAIN: dict[str, Any] = {
    "invocation_id": "call-1",
    "timestamp": Moment(1_780_000_000_000_000),
    "model_name": "gpt-5-mini",
    "prompt_tokens": 1200,
    "completion_tokens": 7,
    "latency_ms": 1.5,
    "source": "sdk:openai",
}


def test_a_later_record_is_made_once_and_is_the_record_that_was_made() -> None:
    """By equality, hash, fields, pickling; its size is what it was taken to need."""
    made: list[InvocationRecord] = []

    def make() -> InvocationRecord:
        made.append(InvocationRecord(**PLAIN, provider="openai"))
        return made[-1]

    later = LaterRecord(make, 2000)
    assert (later.size, made) == (2000, [])
    assert later.prompt_tokens == 1200
    assert later == made[0]
    assert hash(later) == hash(made[0])
    assert (later.provider, later.extensions, len(made)) == ("openai", made[0].extensions, 1)
    copied = pickle.loads(pickle.dumps(LaterRecord(make, 2000)))  # noqa: S301 - made here
    assert (type(copied), copied, copied.size) == (InvocationRecord, later, 2000)


def test_a_later_record_has_what_a_record_has_and_is_immutable() -> None:
    """As any other."""
    later = LaterRecord(lambda: InvocationRecord(**PLAIN), 2000)
    assert not hasattr(later, "no_such_thing")
    with pytest.raises(AttributeError):
        later.size = 1


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "model_name": st.sampled_from(["gpt-5-mini", "", "m\0", "a name nobody has said"]),
            "total_tokens": st.sampled_from([None, 1207, 1300]),
            "response_id": st.sampled_from([None, "", "chatcmpl-1", "\0", "é", "x" * 200, "x" * 201]),
            "provider": st.sampled_from([None, "openai"]),
            "usage_source": st.just("reported"),
            "attempts": st.just(1),
        },
    )
)
def test_a_plain_record_is_the_one_that_the_constructor_makes(more: dict[str, Any]) -> None:
    """With the same size; what the constructor would refuse, repair or look at first is left to it."""
    InvocationRecord(model_name="gpt-5-mini")
    made = plain_record(PLAIN | more)
    odd = more.get("response_id") in {"", "\0", "é", "x" * 201} or more.get("model_name", "gpt-5-mini") != "gpt-5-mini"
    assert (made is None) is odd
    if made is not None:
        expected = InvocationRecord(**PLAIN | more)
        assert (made, made.size, type(made.card[1])) == (expected, expected.size, int)
