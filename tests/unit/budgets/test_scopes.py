"""Which calls a counter counts, and whose share each is."""

import json
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.budgets.scopes import FIELDS, Call, Counter, Field, counter_key

CALL = Call(agent="backend-dev", tool="claude-code", model="claude-sonnet-4-5", user="ada", session="s-1", run="t-1")


def counter(scope: dict[Field, tuple[str, ...]] | None = None, *per: Field) -> Counter:
    """One that counts all days."""
    return Counter(1, counter_key(scope or {}, per, "total", "UTC"))


@pytest.mark.parametrize(
    ("scope", "counts"),
    [
        ({}, True),
        ({"agent": ("backend-dev",)}, True),
        ({"agent": ("backend-*",)}, True),
        ({"agent": ("frontend-*", "backend-*")}, True),
        ({"agent": ("Backend-*",)}, False),  # case matters
        ({"agent": ("backend",)}, False),  # whole names
        ({"agent": ("backend-*",), "tool": ("aider",)}, False),  # all fields must match
        ({"agent": ("backend-*",), "tool": ("claude-[a-d]*",)}, True),
        ({"model": ("claude-*",)}, True),
        ({"user": ("?da",)}, True),
        ({"session": ("s-[!2]",)}, True),
        ({"run": ("t-1",)}, True),
        ({"run": ("t-2",)}, False),
        ({"agent": ("back.*",)}, False),  # no regular expressions
    ],
)
def test_a_scope_is_patterns_of_names_all_fields_of_which_must_match(
    scope: dict[Field, tuple[str, ...]], counts: bool
) -> None:
    """As in a shell."""
    assert counter(scope).subject(CALL) == ("[]" if counts else None)


@pytest.mark.parametrize("field", FIELDS)
def test_a_call_that_lacks_a_name_matches_only_what_matches_everything(field: Field) -> None:
    """An unknown agent is no agent of any name; `*` covers it, so that a limit for all is one."""
    assert counter({field: ("*",)}).subject(Call()) == "[]"
    assert counter({field: ("?*",)}).subject(Call()) is None
    assert counter({field: ("a", "")}).subject(Call()) == "[]"


def test_a_model_is_matched_by_the_name_that_was_asked_for_or_the_one_that_answered() -> None:
    """An alias does not slip out of its limit."""
    call = Call(model="gpt-4o-2024-08-06", request_model="router")
    for pattern in ("router", "gpt-4o-*"):
        assert counter({"model": (pattern,)}).subject(call) == "[]"
    assert counter({"model": ("claude-*",)}).subject(call) is None
    assert counter({"model": ("router",)}).subject(Call(request_model="router")) == "[]"


def test_each_value_of_per_is_a_subject_of_its_own() -> None:
    """In the order of the fields; the model by the name that was asked for; unknown is a subject, too."""
    assert counter({}, "agent").subject(CALL) == '["backend-dev"]'
    assert counter({}, "user", "agent").subject(CALL) == '["backend-dev","ada"]'
    assert counter({}, "model").subject(CALL._replace(request_model="router")) == '["router"]'
    assert counter({}, "agent", "run").subject(Call()) == '["",""]'
    assert counter({"agent": ("x",)}, "agent").subject(CALL) is None


@given(st.text(min_size=1, max_size=20), st.text(max_size=20))
def test_any_names_make_a_subject_that_reads_back(agent: str, user: str) -> None:
    """Quotes, commas and emoji do not confuse two subjects."""
    subject = counter({}, "agent", "user").subject(Call(agent=agent, user=user))
    assert subject is not None
    assert subject.isascii()
    assert json.loads(subject) == [agent, user]


def test_the_order_of_fields_and_patterns_makes_no_other_counter() -> None:
    """Two policies files that mean the same share their counters."""
    fields: list[tuple[Field, tuple[str, ...]]] = [("agent", ("b", "a", "a")), ("tool", ("t",)), ("user", ("u",))]
    keys = {counter_key(dict(order), per, "day", "UTC") for order in permutations(fields) for per in
            permutations(("agent", "user"))}  # fmt: skip
    assert len(keys) == 1
    (key,) = keys
    assert key.scope == '{"agent":["a","b"],"tool":["t"],"user":["u"]}'
    assert key.per == '["agent","user"]'
    assert counter_key({}, (), "day", "UTC") != counter_key({}, (), "day", "Europe/Berlin")


@pytest.mark.parametrize("window", ["total", "24h", "90m"])
def test_a_time_zone_makes_no_other_counter_where_none_counts(window: str) -> None:
    """Who corrects the zone of a policy does not make its `total` forget."""
    assert counter_key({}, (), window, "UTC") == counter_key({}, (), window, "Europe/Berlin")


def test_a_counter_remembers_a_span_and_still_knows_the_others() -> None:
    """In any order of moments."""
    days = Counter(1, counter_key({}, (), "day", "UTC"))
    day = 86_400_000_000
    for moment in (0, 1, day, day - 1, 5 * day, 0):
        assert days.span(moment).start == moment - moment % day


@pytest.mark.parametrize(
    ("pattern", "asked", "covers"),
    [
        ("gpt-5-mini-2025-08-07", "gpt-5-mini", True), ("claude-sonnet-4-5-20250929", "claude-sonnet-4-5", True),
        ("gpt-5-mini-2025-08-07", "gpt-5", False), ("gpt-5-mini", "gpt-5-mini-2025-08-07", False),
        ("gpt-5-mini-2025-08-07", "gpt-5-mini-2025-08-07", True), ("o3-2025", "o3", False), ("-20250101", "", False),
    ],
)  # fmt: skip
def test_a_version_of_a_model_is_covered_by_the_name_that_asks_for_any(pattern: str, asked: str, covers: bool) -> None:
    """A name copied from a report holds calls that are made by the name without a date."""
    assert (counter({"model": (pattern,)}).subject(Call(model=asked)) is not None) is covers
    assert (counter({"agent": (pattern,)}).subject(Call(agent=asked)) is not None) is (pattern == asked)
