"""The benchmarks run and check their own results; no test asserts a time."""

import json
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk", reason="the peer of the hot path")

from benchmarks import __main__ as command_line
from benchmarks import _harness, crash, disk, hot_path, journal, migration, pricing
from benchmarks._data import records
from benchmarks._harness import Bar, Options, Report, Row

pytestmark = pytest.mark.slow

QUICK = Options(quick=True)


@pytest.fixture
def report() -> Report:
    """One row of each verdict."""
    bar = Bar("ratio", ">=", 2.0)
    rows = [
        Row("cheap enough", 1.0, "us", 4.0, "a peer", inverse=True, bar=bar),
        Row("too dear", 3.0, "us", 4.0, "a peer", inverse=True, bar=bar),
        Row("for information", 0.0, "us"),
    ]
    return Report("example", "is it cheap?", rows, ["measured on paper"])


@pytest.mark.volume
@pytest.mark.parametrize(
    "run", [hot_path.run, disk.run, journal.run, migration.run], ids=["hot_path", "disk", "journal", "migration"]
)
def test_a_quick_run_finds_right_results_and_positive_numbers(run: object) -> None:
    """The checks of rows on disk, ledger and spans pass, and something was measured."""
    assert callable(run)
    found = run(QUICK)
    assert isinstance(found, Report)
    assert len(found.rows) >= 4
    assert all(row.ours > 0 for row in found.rows)


def test_a_quick_run_of_prices_agrees_with_its_peer_and_adds_up_exactly() -> None:
    """It refuses to report a time where a cost is not that of genai-prices."""
    pytest.importorskip("genai_prices")
    rows = {row.what: row for row in pricing.run(QUICK).rows}
    assert rows.pop("50,000 additions are off by").verdict == "met"
    assert all(row.ours > 0 for row in rows.values())


@pytest.mark.volume
@pytest.mark.parametrize("kept", [True, False], ids=["journal", "no journal"])
def test_killed_writers_lose_nothing_that_was_promised(tmp_path: Path, kept: bool) -> None:
    """The short run of the long loop: two processes, SIGKILL at random moments, every record looked for."""
    tally = crash.kill_many(6, tmp_path, journal=kept)
    assert tally.kills == 6
    assert tally.looks == 1
    assert tally.accepted > 0
    assert (tally.durable_lost, tally.duplicated, tally.unknown, tally.broken, tally.wrong_aggregates) == (0,) * 5
    assert tally.left == 0
    if kept:
        assert tally.lost == 0


def test_the_crash_report_misses_its_bar_when_something_is_lost() -> None:
    """A lost record is a miss with a journal, and information without."""
    for wanted, kept in (("missed", True), ("", False)):
        rows = {row.what: row for row in crash.report_of(crash.Tally(kills=1, lost=2), journal=kept).rows}
        assert rows["lost"].verdict == wanted
        assert rows["durable lost"].verdict == "met"


def test_a_verdict_follows_from_ratio_and_bar(report: Report) -> None:
    """An inverse ratio says how many times cheaper we are."""
    assert [row.verdict for row in report.rows] == ["met", "missed", ""]
    assert [row.ratio for row in report.rows] == [4.0, 4.0 / 3.0, None]


@pytest.mark.parametrize(
    ("relation", "value", "met"),
    [(">=", 2.0, True), (">=", 1.9, False), ("<=", 2.0, True), ("<=", 2.1, False), ("<", 2.0, False), ("<", 1.9, True)],
)
def test_a_bar_on_our_own_number(relation: str, value: float, met: bool) -> None:
    """A promise in a unit is held against our number, with the relation it names."""
    bar = Bar("ours", relation, 2.0)  # type: ignore[arg-type]
    assert Row("it", value, "ms", bar=bar).verdict == ("met" if met else "missed")


def test_json_holds_environment_rows_ratio_and_verdict(report: Report) -> None:
    """Machines read what people see."""
    decoded = json.loads(_harness.as_json([report]))
    assert {"date", "python", "sqlite", "aiosqlite", "pydantic", "opentelemetry-sdk", "cpus"} <= set(
        decoded["environment"]
    )
    (only,) = decoded["reports"]
    assert only["name"] == "example"
    assert only["rows"][0] | {"bar": None} == {
        "what": "cheap enough", "ours": 1.0, "unit": "us", "peer": 4.0, "peer_name": "a peer", "inverse": True,
        "bar": None, "ratio": 4.0, "verdict": "met",
    }  # fmt: skip


def test_every_format_shows_every_column_and_note(report: Report) -> None:
    """With rich, without it, and in Markdown."""
    for text in (_harness.as_text(report), _harness._plain(report), _harness.as_markdown(report)):
        assert all(column in text for column in _harness.COLUMNS)
        assert "cheap enough" in text
        assert "met" in text
        assert "measured on paper" in text


def test_a_wrong_result_is_refused() -> None:
    """Nothing wrong is timed."""
    with pytest.raises(_harness.WrongResultError, match="rows are lost"):
        _harness.check(False, "rows are lost")


async def test_contenders_take_turns_and_the_first_round_does_not_count() -> None:
    """A B A B, after a round that warms up."""
    turns: list[str] = []

    def contender(name: str) -> object:
        async def once() -> float:
            turns.append(name)
            return float(len(turns))

        return once

    results = await _harness.interleave(2, {name: contender(name) for name in "AB"})  # type: ignore[misc]
    assert turns == ["A", "B"] * 3
    assert results == {"A": [3.0, 5.0], "B": [4.0, 6.0]}


def test_percentile_is_the_nearest_rank() -> None:
    """Of 1 to 100, each percentile is itself."""
    values = [float(value) for value in range(1, 101)]
    assert [_harness.percentile(values, share) for share in (0.5, 0.99, 1.0)] == [50.0, 99.0, 100.0]


def test_the_same_seed_makes_the_same_calls() -> None:
    """All but ids and moments repeats."""
    one, other = ([record.card[2:12] for record in records(50, seed=7, every_column=True)] for _ in range(2))
    assert one == other


def test_results_name_the_command_the_versions_and_every_report(report: Report) -> None:
    """RESULTS.md can be refreshed by who reads it."""
    text = command_line.results([report], "python -m benchmarks --record")
    assert "python -m benchmarks --record" in text
    assert "sqlite" in text
    assert "## example" in text


def test_results_of_one_benchmark_leave_the_others_as_they_were(report: Report) -> None:
    """Word for word, in the order of the command; long runs that are no part of it come last."""
    first = command_line.results([report, Report("soak", "half an hour"), Report("disk", "old")], "the first line")
    text = command_line.results([Report("disk", "bytes a record")], "another line", first)
    sections = text.split("\n## ")
    assert [section.partition("\n")[0] for section in sections[1:]] == ["How to read this", "disk", "example", "soak"]
    assert "another line" in sections[2]
    assert "bytes a record" in sections[2]
    assert sections[3:] == [section for section in first.split("\n## ") if section.startswith(("example", "soak"))]


def test_the_command_runs_one_benchmark_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    """`python -m benchmarks --only disk --quick --json`."""
    assert command_line.main(["--only", "disk", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["reports"][0]["name"] == "disk"


def test_every_module_of_a_question_is_listed() -> None:
    """`python -m benchmarks` runs them all, but for those that take minutes and have commands of their own."""
    modules = {path.stem for path in Path(command_line.__file__).parent.glob("[a-z]*.py")}
    assert set(command_line.ALL) == modules - {"overload", "soak"}
