"""`runs` and `compare`: what they show, and what they say of it."""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from llm_service.extras import install
from llm_service.telemetry import InvocationRecord, TelemetryLogger

Run = Callable[..., Result]
A, B = "nightly@20261129T030000-00aa", "nightly@20261130T030000-00bb"


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two nights: the second is slower and dearer, for one model; and a run of three calls of unknown price."""
    path = tmp_path_factory.mktemp("runs") / "telemetry.db"
    drawn = random.Random(1)
    with TelemetryLogger(path) as telemetry:
        for number, run in enumerate((A, B)):
            for call in range(160):
                changed = 1.4 if number and call % 2 else 1.0
                telemetry.log_invocation_nowait(
                    InvocationRecord(
                        run=run,
                        model_name="m" if call % 2 else "n",
                        agent_name="old" if number == 0 else "new",
                        total_tokens=100,
                        completion_tokens=20,
                        latency_ms=changed * drawn.lognormvariate(6, 0.2),
                        cost_usd=changed * drawn.lognormvariate(-6, 0.2),
                    )
                )
        for _ in range(3):
            telemetry.log_invocation_nowait(InvocationRecord(run="smoke", status="error"))
    return path


def test_runs_are_a_table_newest_first(run: Run, db: Path) -> None:
    """With a column for what has no price, where there is such."""
    lines = run("runs", "--db", db).stdout.splitlines()
    assert lines[0].split()[:2] == ["run", "began"]
    assert lines[0].endswith("unpriced")
    assert [line.split()[0] for line in lines[1:]] == ["smoke", B, A]
    assert "unknown" in lines[1]
    narrowed = run("runs", "--db", db, "--name", "nightly", "--limit", 1).stdout
    assert B in narrowed
    assert A not in narrowed
    assert "unpriced" not in narrowed


def test_a_name_that_no_run_has_is_said(run: Run, db: Path) -> None:
    """With the nearest; on stderr, so that JSON stays JSON."""
    result = run("runs", "--db", db, "--name", "nigthly", "--json")
    assert (result.exit_code, json.loads(result.stdout)) == (0, [])
    assert result.stderr == "there is no run named 'nigthly'; did you mean nightly?\n"
    assert run("runs", "--db", db, "--name", "zzz", "--json").stderr == "there is no run named 'zzz'\n"


def test_without_runs_it_says_how_they_are_made(run: Run, database: Path) -> None:
    """An empty table would tell nothing."""
    assert "telemetry.run(NAME)" in run("runs", "--db", database).stdout


@pytest.mark.slow
def test_a_difference_is_shown_with_its_interval_and_its_confidence(run: Run, db: Path) -> None:
    """And what does not differ, too."""
    pytest.importorskip("scipy")
    shown = run("compare", "nightly~1", "nightly", "--db", db, "--by", "model")
    assert shown.exit_code == 0
    lines = shown.stdout.splitlines()
    assert lines[:2] == [f"A: {A}, 160 calls", f"B: {B}, 160 calls"]
    of_m = [line for line in lines if line.startswith("m ")]
    of_n = [line for line in lines if line.startswith("n ")]
    assert [line.endswith("higher") for line in of_m if "latency p50" in line or "cost" in line] == [True, True]
    assert sum(line.endswith("no difference shown") for line in of_n) == 6
    assert sum(line.endswith("unknown") for line in of_n) == 1  # ttft
    assert lines[-1].startswith(
        "all 12 intervals hold together with 95% confidence, each alone with 99.58% (Bonferroni)"
    )
    by_agent = run("compare", A, B, "--db", db, "--by", "agent").stdout
    assert "no agent is in both runs\nonly in A: old\nonly in B: new\n" in by_agent


def test_json_has_the_keys_of_compare_runs(run: Run, db: Path) -> None:
    """And too few calls are no error."""
    pytest.importorskip("scipy")
    found = json.loads(run("compare", "smoke", "nightly", "--db", db, "--json").stdout)
    with TelemetryLogger(db) as telemetry:
        assert found == telemetry.compare_runs("smoke", "nightly")
    assert (found["a"]["run"], found["b"]["run"], found["intervals"]) == ("smoke", B, 0)
    shown = run("compare", "smoke", "nightly", "--db", db).stdout
    assert "too few calls" in shown
    assert "confidence" not in shown


def test_one_interval_needs_no_correction_and_a_sample_is_said(
    run: Run, db: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there are very many calls."""
    pytest.importorskip("scipy")
    from llm_service.telemetry.queries import bootstrap, run_comparison

    monkeypatch.setattr(run_comparison, "_ALL", run_comparison._ALL[1:2])
    monkeypatch.setattr(bootstrap, "_MOST_DRAWN", 100 * 2_000)
    lines = run("compare", A, B, "--db", db).stdout.splitlines()
    assert lines[-2] == "1 interval holds with 95% confidence; bootstrap, 2,000 resamples"
    assert lines[-1] == "intervals are of 100 calls a side, drawn at random; A and B are of all calls"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("nigthly", "did you mean nightly?"),
        ("nightly~9", "so give nightly~1"),
        ("zzz", "`llm-telemetry runs`, shows them"),
    ],
)
def test_an_unknown_run_is_one_line_and_exit_code_1(run: Run, db: Path, given: str, says: str) -> None:
    """With what was perhaps meant."""
    pytest.importorskip("scipy")
    result = run("compare", "nightly", given, "--db", db)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"Error: there is no run '{given}'")
    assert result.stderr.rstrip().endswith(says)


def test_without_scipy_it_says_what_to_install(run: Run, db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is read."""
    monkeypatch.setitem(sys.modules, "scipy.stats", None)
    result = run("compare", A, B, "--db", db)
    assert result.exit_code == 1
    assert install("compare") in result.stderr
