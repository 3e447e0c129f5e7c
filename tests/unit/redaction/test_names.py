"""Names that held a secret stay apart, are found by what they were, and say nothing that can be tried out."""

import re
import subprocess
import sys
from collections import Counter as Counts
from pathlib import Path
from typing import Any, Final

import pytest

from llm_service.budgets.scopes import Call, Counter, counter_key
from llm_service.estimates.estimate import Question
from llm_service.redaction import stored_name
from llm_service.redaction.name_digests import LONGEST_NAME
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.privacy import Redactor
from llm_service.telemetry.queries.pages import find_invocation
from llm_service.telemetry.record.checks import MAX_NAME_CHARS
from llm_service.telemetry.stores.sqlite.reader import read

FIRST: Final = "bot sk-ant-api03-" + "a1B2c3D4e5F6g7H8i9J0"
SECOND: Final = "bot sk-ant-api03-" + "a1B2c3D4e5F6g7H8i9J1"
WORDS: Final = "bot password=" + "swordfish"


def elsewhere(*names: str) -> list[str]:
    """The names as another process stores them."""
    code = (
        "import sys; from llm_service.redaction import stored_name; print(*map(stored_name, sys.argv[1:]), sep='\\n')"
    )
    return subprocess.run(
        [sys.executable, "-c", code, *names], check=True, capture_output=True, text=True
    ).stdout.splitlines()


def test_a_name_keeps_a_short_digest_that_lasts() -> None:
    """Two keys are two names, today and in every process; the name around them stays readable."""
    first, second = stored_name(FIRST), stored_name(SECOND)
    assert re.fullmatch(r"bot \[REDACTED:anthropic-key\]~[0-9a-f]{12}", first)
    assert first != second
    assert elsewhere(FIRST, SECOND) == [first, second]
    assert stored_name("backend-dev") == "backend-dev"
    assert stored_name(first) == first


@pytest.mark.costly
@pytest.mark.parametrize(
    "name", [WORDS, "bot https://u:hunter2@h/", "token=abc12345", "x password='correct horse battery staple'"]
)
def test_a_password_in_a_name_cannot_be_tried_out(name: str) -> None:
    """Its digest is made under a key of this process, so nobody who has the file finds the word by trying."""
    assert stored_name(name) == stored_name(name) != stored_name(name + "x")
    assert "~" in stored_name(name)
    assert elsewhere(name) != [stored_name(name)]


def test_a_stored_name_is_no_longer_than_a_name_may_be() -> None:
    """Whatever the pattern's name adds."""
    assert LONGEST_NAME == MAX_NAME_CHARS
    long = "x" * 170 + " " + "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2"
    assert len(stored_name(long)) == MAX_NAME_CHARS
    assert stored_name(long) == Redactor().records([InvocationRecord(agent_name=long)], Counts())[0].agent_name


def test_a_question_finds_the_rows_of_the_name_that_was_given(tmp_path: Path) -> None:
    """Every filter by name takes the name as the record had it, or as it is stored; so does a look at one call."""
    fields = {"agent_name": FIRST, "tool_name": FIRST, "model_name": FIRST, "session_id": FIRST}
    with TelemetryLogger(tmp_path / "t.db", privacy_level="full") as telemetry:
        telemetry.log_invocation(InvocationRecord(invocation_id=FIRST, cost_usd=0.25, prompt="p", **fields))
        telemetry.log_invocation(InvocationRecord(agent_name=SECOND, cost_usd=1.0))
        telemetry.log_invocation(InvocationRecord(agent_name=WORDS, cost_usd=2.0))
        for field in fields:
            for name in (FIRST, stored_name(FIRST)):
                rows = telemetry.get_invocations(**{field: name})  # type: ignore[arg-type]
                assert [row["cost_usd"] for row in rows] == [0.25], field
        assert telemetry.get_statistics(agent_name=SECOND)["total_cost_usd"] == 1.0
        assert telemetry.get_statistics(agent_name=WORDS)["total_cost_usd"] == 2.0
        assert [row["total_cost_usd"] for row in telemetry.get_daily_costs(agent_name=FIRST)] == [0.25]
    with TelemetryLogger(tmp_path / "t.db") as later:  # another logger, as after a restart
        assert (later.get_content(FIRST) or {})["prompt"] == "p"
        found: Any = read(later.db_path, lambda fetch: find_invocation(fetch, FIRST))
        assert found["agent_name"] == stored_name(FIRST)


def test_a_budget_of_a_named_agent_covers_its_calls() -> None:
    """The policy names the agent as the program does; the call bears the name that is stored; the file has no secret."""
    key = counter_key({"agent": [FIRST, "other-*"]}, ["agent"], "total", "UTC")
    counter = Counter(1, key)
    assert "a1B2" not in key.scope
    assert counter.subject(Call(agent=stored_name(FIRST))) is not None
    assert counter.subject(Call(agent=stored_name(SECOND))) is None
    assert counter.subject(Call(agent="other-1")) is not None


def test_an_estimate_asks_for_the_calls_of_the_stored_name() -> None:
    """Past calls stand under it."""
    assert Question(FIRST, None, None).agent_name == stored_name(FIRST)
    assert Question("backend-dev", None, None).agent_name == "backend-dev"


def test_what_a_callable_makes_of_a_name_is_its_own_affair(tmp_path: Path) -> None:
    """No digest is added to it: it may be a person's name, which can be tried out."""
    with TelemetryLogger(tmp_path / "t.db", redact=lambda text: text.replace("Alice", "someone")) as telemetry:
        telemetry.log_invocation(InvocationRecord(agent_name="Alice", user_id="Alice"))
        (row,) = telemetry.get_invocations()
    assert (row["agent_name"], row["user_id"]) == ("someone", "someone")
