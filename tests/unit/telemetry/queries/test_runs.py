"""Runs are listed, found and summed up as their records say."""

import logging
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

from llm_service.errors import QueryError, RecordError, UnknownRunError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries import run_calls
from llm_service.telemetry.queries.run_calls import read_calls
from llm_service.telemetry.queries.run_list import find_run, read_runs
from llm_service.telemetry.queries.run_names import back_from, name_of_run, new_run_id
from llm_service.telemetry.queries.run_summary import quantile, read_summary
from llm_service.telemetry.record.checks import MAX_NAME_CHARS
from llm_service.telemetry.stores.sqlite.reader import read

_T = TypeVar("_T")
NOW = datetime(2026, 11, 30, 3, 0, tzinfo=UTC)
IDS = [f"nightly@2026112{day}T030000-000{day}" for day in (7, 8, 9)]


@pytest.fixture
def db(tmp_path: Path) -> Path:
    """Three nights, a run that was named by hand, one of spans alone, and calls of no run among them."""
    path = tmp_path / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:

        def log(days: float, **fields: Any) -> None:
            telemetry.log_invocation_nowait(InvocationRecord(timestamp=NOW + timedelta(days=days), **fields))

        for day, run in enumerate(IDS):
            log(day, agent_name="nobody")
            for number in range(10):
                failed = number == 9
                log(
                    day + number / 86_400,
                    run=run,
                    model_name="m" if number % 2 else "n",
                    agent_name="a",
                    prompt_tokens=100,
                    completion_tokens=10 + number,
                    cache_read_tokens=40,
                    reasoning_tokens=3,
                    latency_ms=100.0 * (number + 1),
                    ttft_ms=10.0,
                    cost_usd=None if failed else 0.25,
                    status="error" if failed else "success",
                )
            log(day + 1e-5, run=run, operation="agent", latency_ms=10**6, cost_usd=99.0)
        log(0.5, run="exp-7", status="timeout")
        log(5, run="spans", operation="workflow")
    return path


def ask(db: Path, question: Callable[..., _T], *arguments: Any) -> _T:
    """Answer it from the file."""
    return read(db, lambda fetch: question(fetch, *arguments))


def test_runs_come_newest_first_with_their_sums(db: Path) -> None:
    """Spans are no calls of theirs."""
    runs = ask(db, read_runs)
    assert [run["run"] for run in runs] == ["spans", IDS[2], IDS[1], "exp-7", IDS[0]]
    night = runs[1]
    assert night["name"] == "nightly"
    assert night["first_timestamp"].startswith("2026-12-02 03:00:00.000000Z")
    assert night["last_timestamp"].startswith("2026-12-02 03:00:09.000000Z")
    assert night["seconds"] == pytest.approx(10.0, abs=0.01)
    assert (night["invocations"], night["errors"], night["timeouts"]) == (10, 1, 0)
    assert (night["total_tokens"], night["uncounted"]) == (1145, 0)
    assert (night["total_cost_usd"], night["cost_nanos"], night["unpriced"]) == (2.25, 2_250_000_000, 1)
    assert (runs[3]["timeouts"], runs[3]["uncounted"], runs[3]["unpriced"]) == (1, 1, 1)
    assert (runs[0]["invocations"], runs[0]["seconds"]) == (0, 0.0)
    assert runs[0]["last_timestamp"] == runs[0]["first_timestamp"]


def test_runs_are_narrowed_by_name_and_number(db: Path) -> None:
    """A name is that of the runs, not of one."""
    assert [run["run"] for run in ask(db, read_runs, 2, "nightly")] == [IDS[2], IDS[1]]
    assert ask(db, read_runs, 20, IDS[0]) == []
    assert [run["run"] for run in ask(db, read_runs, 20, "exp-7")] == ["exp-7"]
    for limit in (0, True, 1.5, 10**9):
        with pytest.raises(QueryError, match="limit"):
            ask(db, read_runs, limit)


def test_distinct_runs_are_found_by_jumping_through_the_index(db: Path) -> None:
    """Never by a scan of the table."""
    with closing(sqlite3.connect(db)) as connection:
        from llm_service.telemetry.queries import run_list

        plan = " | ".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {run_list.RUNS}"))
    assert plan.count("USING COVERING INDEX idx_invocations_run") == 3
    assert "SCAN invocations |" not in plan
    assert not plan.endswith("SCAN invocations")


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("nightly", IDS[2]), ("nightly~0", IDS[2]), ("nightly~1", IDS[1]), ("nightly~2", IDS[0]), (IDS[1], IDS[1]),
        ("exp-7", "exp-7"), ("spans", "spans"),
    ],
)  # fmt: skip
def test_a_run_is_named_by_its_id_its_name_or_how_far_back(db: Path, given: str, meant: str) -> None:
    """The newest of a name is the one that began last."""
    assert ask(db, find_run, given) == meant


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("nigthly", "did you mean nightly?"),
        ("nightly~3", "there are 3 of nightly, so give nightly~2"),
        ("nightly@20261129T030000-0008", "did you mean nightly@20261129T030000-0009?"),
        ("quite another", "get_runs, or `llm-telemetry runs`, shows them"),
    ],
)
def test_an_unknown_run_is_a_lookup_error_that_says_what_was_perhaps_meant(db: Path, given: str, hint: str) -> None:
    """And pickles."""
    with pytest.raises(LookupError) as caught:
        ask(db, find_run, given)
    assert isinstance(caught.value, UnknownRunError)
    assert str(caught.value) == f"there is no run {given!r}; {hint}"
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301 - our own


def test_what_no_record_can_have_is_refused(db: Path) -> None:
    """As any id."""
    with pytest.raises(QueryError, match="run"):
        ask(db, find_run, 1.5)


def test_a_summary_is_exact_by_model_and_in_total(db: Path) -> None:
    """From the rows, with known values counted."""
    found = ask(db, read_summary, IDS[0])
    totals = found["totals"]
    assert (found["run"], found["name"]) == (IDS[0], "nightly")
    assert found["first_timestamp"] == "2026-11-30 03:00:00.000000Z"
    assert found["seconds"] == pytest.approx(10.0, abs=0.01)
    assert found["calls_per_second"] == pytest.approx(1.0, abs=0.01)
    assert (totals["invocations"], totals["successes"], totals["errors"], totals["timeouts"]) == (10, 9, 1, 0)
    assert totals["success_rate"] == 0.9
    assert (totals["prompt_tokens"], totals["completion_tokens"], totals["total_tokens"]) == (1000, 145, 1145)
    assert (totals["cache_read_tokens"], totals["reasoning_tokens"], totals["uncounted"]) == (400, 30, 0)
    assert (totals["total_cost_usd"], totals["cost_nanos"], totals["unpriced"]) == (2.25, 2_250_000_000, 1)
    latency = totals["latency_ms"]
    assert (latency["calls"], latency["mean"], latency["max"]) == (10, 550.0, 1000.0)
    assert (latency["p50"], latency["p95"], latency["p99"]) == pytest.approx((550.0, 955.0, 991.0))
    assert totals["ttft_ms"]["p50"] == 10.0
    assert totals["output_tokens_per_second"] == pytest.approx(145 / 5.5)
    assert [row["model_name"] for row in found["by_model"]] == ["m", "n"]
    for key in ("invocations", "cost_nanos", "total_tokens", "errors", "unpriced"):
        assert sum(row[key] for row in found["by_model"]) == totals[key]  # type: ignore[literal-required]


def test_a_summary_of_nothing_knows_nothing(db: Path) -> None:
    """No zero stands for unknown, and none divides."""
    found = ask(db, read_summary, "no-such-run")
    totals = found["totals"]
    assert (found["first_timestamp"], found["seconds"], found["calls_per_second"]) == (None, 0.0, None)
    assert (totals["invocations"], totals["success_rate"], totals["output_tokens_per_second"]) == (0, None, None)
    assert set(totals["latency_ms"].values()) == {0, None}
    assert found["by_model"] == []


def test_calls_that_others_wrote_in_between_are_jumped_over(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a batch, each call is read once."""
    whole = ask(db, read_calls, "exp-7", "agent_name"), ask(db, read_summary, IDS[1])
    with TelemetryLogger(db, retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord(run="exp-7", agent_name="late"))
    for size in (1, 3, 7):
        monkeypatch.setattr(run_calls, "_BATCH_IDS", size)
        assert ask(db, read_summary, IDS[1]) == whole[1]
        assert list(ask(db, read_calls, "exp-7", "agent_name")) == [None, "late"]


def test_odd_cells_count_as_unknown(db: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A row of a damaged file stops no report."""
    with closing(sqlite3.connect(db)) as connection:
        connection.execute(
            "UPDATE invocations SET model_name = 7, latency_ms = 'slow', cost_usd = -1, total_tokens = 1.5,"
            " timestamp = x'ff', status = 'odd' WHERE run = 'exp-7'"
        )
        connection.commit()
    found = ask(db, read_summary, "exp-7")
    assert [row["model_name"] for row in found["by_model"]] == ["7"]
    assert found["seconds"] == 0.0
    totals = found["totals"]
    assert (totals["errors"], totals["uncounted"], totals["unpriced"], totals["latency_ms"]["calls"]) == (1, 1, 1, 0)
    assert "exp-7" in [run["run"] for run in ask(db, read_runs)]
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


def test_an_id_says_name_and_time_and_is_another_each_time() -> None:
    """In UTC."""
    ids = {new_run_id("nightly-eval", NOW) for _ in range(50)}
    assert len(ids) > 40
    for run in ids:
        assert run.startswith("nightly-eval@20261130T030000-")
        assert name_of_run(run) == "nightly-eval"
    assert name_of_run(new_run_id("a@b~c", NOW)) == "a@b~c"
    assert (name_of_run("by-hand"), back_from("by-hand")) == ("by-hand", ("by-hand", 0))
    assert back_from("x~12") == ("x", 12)


@pytest.mark.parametrize("name", [None, "", "a~1", "a@20261130T030000-1f2e", "a" * (MAX_NAME_CHARS - 20), 1.5])
def test_a_name_that_would_be_ambiguous_is_refused(name: Any) -> None:
    """Where the run begins."""
    with pytest.raises(RecordError, match="run"):
        new_run_id(name, NOW)


def test_a_quantile_lies_between_the_nearest_two_values() -> None:
    """As numpy's default."""
    assert quantile([], 0.5) is None
    assert quantile([7.0], 0.99) == 7.0
    assert quantile([0.0, 10.0], 0.25) == 2.5
