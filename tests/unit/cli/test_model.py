"""What is modelled: deterministic, within the record's bounds, and by the documented formula."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_service.cli import model
from llm_service.cli.trace import MAX_TOKENS, TraceRow

MOMENT = datetime(2023, 11, 16, 18, 17, 3, 979960, tzinfo=UTC)
numbers = st.integers(0, 10**7)


def row(number: int = 0, context: int = 4808, generated: int = 10) -> TraceRow:
    """A row of a trace."""
    return TraceRow(number, MOMENT, context, generated)


def test_what_the_trace_says_is_kept() -> None:
    """Tokens and time are real, and stand in the record as they are."""
    record = model.to_record(row(), agents=8)
    assert (record.prompt_tokens, record.completion_tokens, record.total_tokens) == (4808, 10, 4818)
    assert record.timestamp == MOMENT
    assert record.source == "replay"


def test_a_second_replay_models_the_same_calls_under_new_ids() -> None:
    """So that replaying twice gives twice the records."""
    one, other = (model.to_record(row(17), agents=8, seed=5) for _ in range(2))
    assert one.invocation_id != other.invocation_id
    assert one.replace(invocation_id="same") == other.replace(invocation_id="same")


def test_another_seed_gives_other_latencies() -> None:
    """The seed is part of every draw."""
    assert model.to_record(row(), agents=8, seed=1).latency_ms != model.to_record(row(), agents=8).latency_ms


def test_the_price_is_the_list_price_to_the_nano_dollar() -> None:
    """The first agent uses claude-3.5-sonnet: 3 USD a million tokens in, 15 out."""
    record = model.to_record(row(), agents=8)
    assert record.model_name == "claude-3.5-sonnet"
    assert record.cost_usd == pytest.approx(4808 * 3e-6 + 10 * 15e-6, abs=1e-12)
    assert record.cost_source == "computed"


def test_latency_follows_the_documented_formula() -> None:
    """(150 + 0.05 * context + 20 * generated) * u with u from 0.8 to 1.2."""
    jitter = 0.8 + 0.4 * model.draw(0, 0, 0)
    record = model.to_record(row(), agents=8)
    assert record.status == "success"
    assert record.latency_ms == round((150 + 0.05 * 4808 + 20 * 10) * jitter, 1)
    assert record.ttft_ms == round((150 + 0.05 * 4808) * jitter, 1)


def test_about_one_call_in_forty_fails_and_says_that_it_is_modelled() -> None:
    """Errors in 2 %, timeouts in 0.5 %, each with a type and a message; tokens are paid for all the same."""
    records = [model.to_record(row(number), agents=8) for number in range(10_000)]
    failed = [record for record in records if record.status != "success"]
    assert sum(record.status == "error" for record in records) == pytest.approx(200, abs=50)
    assert sum(record.status == "timeout" for record in records) == pytest.approx(50, abs=25)
    assert all((record.error_message or "").startswith("modelled: ") and record.error_type for record in failed)
    assert all(record.cost_usd for record in failed)
    assert all(record.latency_ms == 60_000 for record in failed if record.status == "timeout")
    assert all(record.error_type is None for record in records if record.status == "success")


def test_agents_take_the_roles_in_turn_and_have_names_of_their_own() -> None:
    """Fifty agents are fifty names, and each keeps its tool and model."""
    names = [model.agent_name(agent) for agent in range(50)]
    assert len(set(names)) == 50
    assert names[0] == "backend-dev"
    assert names[8] == "backend-dev-2"
    first, ninth = (model.to_record(row(number), agents=50) for number in (0, 8))
    assert (first.tool_name, first.model_name) == (ninth.tool_name, ninth.model_name)
    assert model.to_record(row(50), agents=50).agent_name == first.agent_name


def test_a_shift_moves_the_time_and_nothing_else() -> None:
    """Microseconds, in either direction."""
    moved = model.to_record(row(), agents=8, shift_us=1_000_001)
    assert (moved.timestamp - MOMENT).total_seconds() == 1.000001
    assert moved.latency_ms == model.to_record(row(), agents=8).latency_ms


@given(st.integers(0, 2**70), numbers, st.integers(0, 1))
def test_a_draw_is_a_fraction_and_depends_on_its_arguments_alone(seed: int, index: int, purpose: int) -> None:
    """At least 0, below 1, the same again."""
    assert 0 <= model.draw(seed, index, purpose) < 1
    assert model.draw(seed, index, purpose) == model.draw(seed, index, purpose)


def test_draws_are_spread_evenly() -> None:
    """Each tenth of the range gets about a tenth of the draws, for both purposes."""
    for purpose in (0, 1):
        tenths = [int(10 * model.draw(0, index, purpose)) for index in range(10_000)]
        assert all(tenths.count(tenth) == pytest.approx(1000, abs=150) for tenth in range(10))


@given(numbers, st.integers(0, MAX_TOKENS), st.integers(0, MAX_TOKENS), st.integers(1, 10_000))
def test_every_row_that_can_be_read_gives_a_record(number: int, context: int, generated: int, agents: int) -> None:
    """No trace, however odd, ends in a value that no record can hold."""
    record = model.to_record(row(number, context, generated), agents=agents)
    assert record.cost_usd is not None
    assert record.latency_ms is not None
    assert record.latency_ms >= (record.ttft_ms or 0)


def test_the_note_tells_real_from_modelled() -> None:
    """Also where the times were moved."""
    assert model.note() == (
        "token counts and times are from the trace; agents, models, prices, latency and failures are modelled"
    )
    assert "moved to end now" in model.note(shifted=True)
