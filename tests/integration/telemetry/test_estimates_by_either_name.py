"""A model is asked by one name and answers by another: both teach estimates, each call once."""

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.slices import quick

from llm_service.config.schemas import ModelsConfig
from llm_service.estimates.past_calls import MIN_SAMPLES, History, Level
from llm_service.estimates.tokens import MIN_PROMPTS
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.client.estimate_history import EstimateHistory
from llm_service.telemetry.stores.sqlite.reader import reading

ASKED, ANSWERED = "gpt-4o", "gpt-4o-2024-08-06"
PRICED = ModelsConfig.model_validate({"models": {ASKED: {"cost_per_1m_tokens": {"input": 1, "output": 10}}}})
NAMES: list[dict[str, str]] = [
    {"model_name": ASKED},
    {"model_name": ANSWERED},
    {"request_model": ASKED},
    {"model_name": ANSWERED, "request_model": ASKED},
    {"model_name": "gpt-4o-2099-01-01", "request_model": ASKED},
]
"""By what a call may ask for its estimate."""
WHO: dict[Level, dict[str, str]] = {
    "agent+tool+model": {"agent_name": "a", "tool_name": "t"},
    "agent+model": {"agent_name": "a", "tool_name": "other"},
    "model": {"agent_name": "other"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the database goes."""
    return tmp_path / "telemetry.db"


def answer(number: int, **fields: Any) -> InvocationRecord:
    """What `gpt-4o` answered, under its dated name."""
    return InvocationRecord(
        agent_name="a", tool_name="t", model_name=ANSWERED, request_model=ASKED, prompt="x" * 300, prompt_tokens=200,
        completion_tokens=100 + number % 10, cost_usd=0.01, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("level", WHO)
@pytest.mark.parametrize("names", quick(NAMES, 0, 1))
def test_both_names_are_taught_live_and_from_the_file(path: Path, names: dict[str, str], level: Level) -> None:
    """Each call once, and at every level."""
    with TelemetryLogger(path, models=PRICED, policies=False) as logger:
        assert logger.estimate(**names).samples == 0
        for number in range(MIN_SAMPLES):
            logger.log_invocation(answer(number))
        live = logger.estimate(**WHO[level], **names, prompt="x" * 30, max_tokens=500, fresh=True)
    with TelemetryLogger(path, models=PRICED, policies=False) as logger:
        read = logger.estimate(**WHO[level], **names, prompt="x" * 30, max_tokens=500)
    assert live == read
    assert (live.level, live.samples) == (level, MIN_SAMPLES)
    assert live.completion_tokens is not None
    assert live.completion_tokens.p99 == 109


@pytest.mark.parametrize("names", NAMES)
def test_prompts_teach_both_names(path: Path, names: dict[str, str]) -> None:
    """Where no tokenizer knows the model."""
    learner = EstimateHistory(partial(reading, path))
    with TelemetryLogger(path, models=False, policies=False) as logger:
        for number in range(MIN_PROMPTS):
            logger.log_invocation(answer(number))
        learner.load()
    models = [name for name in names.values() if learner.ratios.tokens("a", name, 30) is not None]
    assert models
    assert {learner.ratios.tokens("a", name, 30) for name in models} == {20}  # 200 tokens of 300 bytes
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT model_name, prompts FROM prompt_sizes ORDER BY model_name").fetchall()
    assert rows == [(ASKED, MIN_PROMPTS), (ANSWERED, MIN_PROMPTS)]


def test_a_name_that_is_asked_and_answered_learns_each_call_once() -> None:
    """Calls of a name, and calls that another version answered under it, are one group."""
    history = History()
    for _ in range(20):
        history.observe("a", "t", "m", 100, None, "m")
        history.observe("a", "t", "m-1", 100, None, "m")
    history.observe("a", "t", "m", 100, None, None)
    assert [history.past("a", "t", name).samples for name in ("m", "m-1", "other")] == [41, 41, 41]
    assert [history.past("a", "t", name).level for name in ("m", "m-1")] == ["agent+tool+model", "default"]
    assert len(history) == 7


def test_the_narrower_group_of_either_name_answers_first() -> None:
    """The name that answers is no nearer than the one that is asked, where the agent's own calls have only that."""
    history = History()
    for _ in range(MIN_SAMPLES):
        history.observe("other", None, "m-1", 5)
        history.observe("a", None, "m-0", 50, None, "m")
    assert history.past("a", None, "m-1", "m").completion_tokens == history.past("a", None, "m").completion_tokens
    assert history.past("a", None, "m-1", "m").level == "agent+model"
    assert history.past("a", None, "m-1").level == "model"


def test_learning_of_two_names_stays_bounded() -> None:
    """Groups are dropped as before, however many names there are."""
    history = History(max_groups=10)
    for number in range(100):
        history.observe("a", "t", f"m-{number}", 1, None, f"asked-{number}")
    assert len(history) == 10
