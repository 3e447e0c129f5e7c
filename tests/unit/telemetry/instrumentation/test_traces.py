"""Traces: a tree of blocks has one id, by itself; ids of OpenTelemetry, and of other processes, are taken and given."""

import subprocess
import sys
import textwrap
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from tests.model.ledger import check_books, policies

from llm_service.budgets.scopes import FIELDS as SCOPES
from llm_service.budgets.scopes import Field
from llm_service.config.schemas import PoliciesConfig
from llm_service.errors import BudgetExceeded
from llm_service.telemetry import TelemetryLogger
from llm_service.telemetry.instrumentation.open_blocks import current
from llm_service.telemetry.instrumentation.trace_context import TraceParent, parse_traceparent

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
HEADER = f"00-{TRACE}-{SPAN}-01"
BY_FIELD: dict[Field, str] = {
    "agent": "agent_name",
    "tool": "tool_name",
    "model": "model_name",
    "user": "user_id",
    "session": "session_id",
    "run": "run",
}


@pytest.fixture
def logger(tmp_path: Path) -> Iterator[TelemetryLogger]:
    """A logger, closed afterwards."""
    with TelemetryLogger(tmp_path / "t.db") as made:
        yield made


@pytest.fixture(autouse=True)
def own_context() -> Iterator[None]:
    """What other tests left open is nothing to this one."""
    token = current.set(None)
    yield
    current.reset(token)


def stored(logger: TelemetryLogger) -> dict[str, Any]:
    """The rows, by their agent."""
    return {str(row["agent_name"]): row for row in logger.get_invocations()}


def test_a_tree_of_blocks_has_one_trace(logger: TelemetryLogger) -> None:
    """The root's own; a block alone has none, and costs no bytes for it."""
    with logger.invocation("alone"):
        pass
    with logger.invocation("root"), logger.invocation("child"), logger.invocation("grandchild"):
        pass
    with logger.invocation("other root"), logger.scope(run="r"), logger.invocation("other child"):
        pass
    rows = stored(logger)
    assert rows["alone"]["trace_id"] is None
    tree = {rows[name]["trace_id"] for name in ("root", "child", "grandchild")}
    other = {rows[name]["trace_id"] for name in ("other root", "other child")}
    assert tree == {rows["root"]["invocation_id"].replace("-", "")}
    assert other == {rows["other root"]["invocation_id"].replace("-", "")}


def test_a_trace_that_is_told_is_that_of_the_tree(logger: TelemetryLogger) -> None:
    """By a scope, by the root, or by None, which says nothing."""
    with logger.scope(trace_id="t1"), logger.invocation("root"), logger.invocation("child", trace_id=None):
        pass
    with logger.invocation("told", trace_id="t2"), logger.invocation("in told"):
        pass
    with logger.invocation("unsaid", trace_id=None), logger.invocation("in unsaid"):
        pass
    rows = stored(logger)
    assert {rows[name]["trace_id"] for name in ("root", "child")} == {"t1"}
    assert {rows[name]["trace_id"] for name in ("told", "in told")} == {"t2"}
    assert rows["unsaid"]["trace_id"] == rows["in unsaid"]["trace_id"] is not None


def test_the_ids_of_an_opentelemetry_span_are_taken(logger: TelemetryLogger) -> None:
    """Of the current one; a trace that is told is another, and takes no span of it."""
    context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)):
        with logger.invocation("root") as root, logger.invocation("child"):
            assert root.traceparent == HEADER
        with logger.scope(trace_id="t"), logger.invocation("other"):
            pass
        with logger.invocation("told later") as told:
            told.set(trace_id="t2")
        assert logger.traceparent() == HEADER
    with trace.use_span(trace.INVALID_SPAN), logger.invocation("invalid"):
        assert logger.traceparent() != HEADER
    rows = {agent: (row["trace_id"], row["span_id"]) for agent, row in stored(logger).items()}
    assert rows.pop("invalid")[0] is not None
    assert rows == {"root": (TRACE, SPAN), "child": (TRACE, SPAN), "other": ("t", None), "told later": ("t2", None)}
    assert logger.traceparent() is None


def test_without_opentelemetry_there_is_no_span(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that has not imported its API pays for one look."""
    monkeypatch.delitem(sys.modules, "opentelemetry.trace")
    context = trace.SpanContext(int(TRACE, 16), int(SPAN, 16), is_remote=False)
    with trace.use_span(trace.NonRecordingSpan(context)), logger.invocation("a"):
        pass
    assert logger.traceparent() is None
    assert stored(logger)["a"]["trace_id"] is None


def test_an_api_that_fails_costs_nothing(logger: TelemetryLogger, monkeypatch: pytest.MonkeyPatch) -> None:
    """The call goes on without its ids."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace", object())  # type: ignore[arg-type]
    with logger.invocation("a"):
        pass
    assert stored(logger)["a"]["trace_id"] is None


def test_a_header_comes_in(logger: TelemetryLogger) -> None:
    """Calls are in its trace, and the outermost have its span as their parent."""
    with logger.invocation("around"), logger.scope(traceparent=f" {HEADER}\n"):
        assert logger.traceparent() == HEADER
        with logger.invocation("root") as root:
            header = logger.traceparent()
            with logger.invocation("child"):
                pass
        with logger.invocation("elsewhere", trace_id="t"):
            pass
    rows = stored(logger)
    assert [rows[name]["trace_id"] for name in ("root", "child", "elsewhere")] == [TRACE, TRACE, "t"]
    assert rows["root"]["parent_invocation_id"] == SPAN
    assert rows["child"]["parent_invocation_id"] == root.invocation_id
    assert rows["elsewhere"]["parent_invocation_id"] is None
    assert header == f"00-{TRACE}-{rows['root']['span_id']}-01"


def test_a_header_goes_out(logger: TelemetryLogger) -> None:
    """Whoever asks for it has its ids in the row; where the trace is no W3C one there is none."""
    with logger.invocation("root") as root:
        header = root.traceparent
        assert header == root.traceparent == logger.traceparent()
        with logger.scope(run="r"):
            assert logger.traceparent() == header
    assert root.traceparent is None
    row = stored(logger)["root"]
    assert header == f"00-{row['trace_id']}-{row['span_id']}-01"
    assert logger.invocation("not entered").traceparent is None
    with logger.invocation("odd", trace_id="not hexadecimal") as odd:
        assert odd.traceparent is None
    with logger.scope(run="r"):
        assert logger.traceparent() is None
    with logger.scope(trace_id=TRACE):
        found = parse_traceparent(logger.traceparent() or "")
        assert found is not None
        assert found.trace_id == TRACE
    assert parse_traceparent(f"01-{TRACE}-{SPAN}-01-more") == TraceParent(TRACE, SPAN)


def test_a_call_goes_on_in_another_process(tmp_path: Path) -> None:
    """One trace in one file: the child's root has the parent's span as its parent."""
    script = """
        import sys
        from llm_service.telemetry import TelemetryLogger
        with TelemetryLogger(sys.argv[1]) as logger, logger.scope(traceparent=sys.argv[2], agent_name="child"):
            with logger.invocation(), logger.invocation("grandchild"):
                pass
    """
    with TelemetryLogger(tmp_path / "t.db") as logger, logger.invocation("parent") as parent:
        arguments = [str(tmp_path / "t.db"), str(parent.traceparent)]
        subprocess.run([sys.executable, "-c", textwrap.dedent(script), *arguments], check=True, timeout=60)
    with TelemetryLogger(tmp_path / "t.db") as logger:
        rows = stored(logger)
    assert len({row["trace_id"] for row in rows.values()}) == 1
    assert rows["child"]["parent_invocation_id"] == rows["parent"]["span_id"]
    assert rows["grandchild"]["parent_invocation_id"] == rows["child"]["invocation_id"]


@pytest.mark.parametrize("inner", [False, True])
@pytest.mark.parametrize("field", SCOPES)
def test_a_budget_counts_by_the_names_that_are_inherited(tmp_path: Path, field: Field, inner: bool) -> None:
    """Before the call and after it: by the scope's, or by the block's around it."""
    limit = PoliciesConfig.model_validate(
        {"policies": {"one": {"daily_budget_usd": 1, "scope": {field: ["mine"]}, "per": [field]}}}
    )
    with TelemetryLogger(tmp_path / "t.db", policies=limit) as logger:
        scope = logger.scope(**{BY_FIELD[field]: "mine"})
        if inner and field in {"user", "session", "run"}:
            scope = logger.invocation(**{BY_FIELD[field]: "mine"})  # type: ignore[assignment]
        with scope:
            with logger.invocation(budget=Decimal("0.75")) as call:
                (window,) = [status for status in logger.budgets.status() if status["reserved"]]
                assert (window["subject"], window["reserved"]) == (["mine"], 0.75)
                call.set(cost_usd=0.5)
            with pytest.raises(BudgetExceeded), logger.invocation(budget=Decimal("0.75")):
                pass
            check_books(tmp_path / "t.db")
        with logger.invocation(budget=Decimal(5)):
            pass
        (window,) = [status for status in logger.budgets.status() if status["spent"]]
        assert (window["subject"], window["spent"], window["reserved"]) == (["mine"], 0.5, 0)
        check_books(tmp_path / "t.db")


def test_what_was_reserved_without_a_run_is_counted_without_one(tmp_path: Path) -> None:
    """A block with a budget begins no trace, nor does what is in it: a budget of each run would be passed by."""
    limit = PoliciesConfig.model_validate({"policies": {"one": {"daily_budget_usd": 1, "per": ["run"]}}})
    with TelemetryLogger(tmp_path / "t.db", policies=limit) as logger:
        with logger.invocation("root", budget=Decimal("0.5"), cost_usd=0.25) as root:
            assert root.traceparent is not None
            with logger.invocation("child", budget=Decimal("0.25"), cost_usd=0.25), logger.invocation("grandchild"):
                pass
        with logger.invocation("told", budget=Decimal("0.5"), run="r", cost_usd=0.5), logger.invocation("in told"):
            pass
        with logger.scope(run="r"), pytest.raises(BudgetExceeded), logger.invocation(budget=Decimal("0.75")):
            pass
        with logger.invocation("agent"), logger.invocation("call", budget=Decimal("0.5"), cost_usd=0.5):
            pass
        check_books(tmp_path / "t.db")
        rows = stored(logger)
        spent = {status["subject"][0]: status["spent"] for status in logger.budgets.status() if status["spent"]}
    assert [rows[name]["trace_id"] for name in ("root", "child", "grandchild")] == [None] * 3
    assert rows["told"]["trace_id"] == rows["in told"]["trace_id"] is not None
    assert spent == {"": 0.5, "r": 0.5, rows["agent"]["trace_id"]: 0.5}


def test_a_block_that_was_refused_inherits_where_it_is_entered_again(tmp_path: Path) -> None:
    """Not where it was refused."""
    with TelemetryLogger(tmp_path / "t.db", policies=policies(default=1)) as logger:
        call = logger.invocation("a", budget=Decimal("0.75"), cost_usd=0)
        hold = logger.budgets.reserve(usd=1)
        with logger.scope(run="refused"), pytest.raises(BudgetExceeded), call:
            pass
        hold.release()
        with logger.scope(run="entered"), call:
            pass
        assert stored(logger)["a"]["run"] == "entered"
