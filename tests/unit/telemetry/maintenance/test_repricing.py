"""Repricing changes what was computed or unknown, records and totals together, and nothing else."""

import random
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llm_service.config.models_schema import ModelsConfig
from llm_service.errors import StoreError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance import repricing
from llm_service.telemetry.maintenance.repricing import Change, reprice

from .conftest import FIRST

Ask = Callable[..., list[Any]]
Names = Callable[..., dict[str, str]]


def models(bundled_prices: bool = False, **prices: tuple[float, float]) -> ModelsConfig:
    """USD per million tokens, in and out, by model."""
    listed = {name: {"cost_per_1m_tokens": {"input": one, "output": other}} for name, (one, other) in prices.items()}
    return ModelsConfig.model_validate({"models": listed, "bundled_prices": bundled_prices})


OLD = models(m0=(1, 2), m1=(3, 4))
NEW = PriceBook(models(m0=(10, 20), m1=(3, 4), late=(0.25, 0.5)))


def record(number: int, **fields: Any) -> InvocationRecord:
    """One of many calls over three days."""
    known: dict[str, Any] = {
        "invocation_id": f"p-{number:05}",
        "timestamp": FIRST + timedelta(hours=number),
        "agent_name": f"a{number % 3}" if number % 4 else None,
        "tool_name": "t" if number % 5 else None,
        "model_name": ("m0", "m1", "late", "never", None)[number % 5],
        "prompt_tokens": 1000 + number if number % 11 else None,
        "completion_tokens": number,
        "user_id": "u",
        "session_id": "s" if number % 2 else None,
        "trace_id": f"r{number % 7}",
    }
    return InvocationRecord(**{**known, **fields})


@pytest.fixture
def priced(tmp_path: Path) -> Path:
    """60 calls that were priced by `OLD`, and some whose cost was told."""
    path = tmp_path / "priced.db"
    with TelemetryLogger(path, models=OLD, retention_days=None) as logger:
        for number in range(60):
            logger.log_invocation_nowait(record(number))
        logger.log_invocation_nowait(record(60, model_name="m0", cost_usd=7, cost_source="reported"))
        logger.log_invocation_nowait(record(61, model_name="m0", cost_usd=8))
        logger.log_invocation_nowait(record(62, model_name="m0", cost_usd=9))
    with closing(sqlite3.connect(path)) as db:  # as an earlier version took it
        db.execute("UPDATE invocations SET cost_source = 'unknown' WHERE cost_usd = 9")
        db.commit()
    return path


def test_calls_for_which_no_model_ran_are_counted_as_that(tmp_path: Path) -> None:
    """Refused or never sent: they cost nothing by whatever prices, and lack none."""
    path = tmp_path / "refused.db"
    nothing: dict[str, Any] = {"cost_usd": 0, "cost_source": "computed", "status": "error"}
    with TelemetryLogger(path, models=OLD, retention_days=None) as logger:
        logger.log_invocation_nowait(InvocationRecord(model_name="no-such-model", http_status=404, **nothing))
        logger.log_invocation_nowait(InvocationRecord(model_name="m0", error_type="ConnectError", **nothing))
        logger.log_invocation_nowait(
            InvocationRecord(model_name="gone", prompt_tokens=5, completion_tokens=5, **nothing)
        )
    report = reprice(path, NEW)
    assert (report.examined, report.not_run, report.kept, report.unknown) == (3, 2, 1, 0)
    assert [model for model, _, _ in report.unpriced_models] == ["gone"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_cannot_be_repriced_is_an_error_of_the_store(dry_run: bool, db: Path, change: Callable[..., None]) -> None:
    """It names the file, and what to run."""
    change("ALTER TABLE invocations RENAME COLUMN cost_source TO gone")
    with pytest.raises(
        StoreError, match=r"could not be repriced: .*cost_source( is missing)?; run: llm-telemetry doctor"
    ) as caught:
        reprice(db, NEW, dry_run=dry_run)
    assert caught.value.path == db


def costs(path: Path) -> dict[str, tuple[float | None, str | None]]:
    """By id."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT invocation_id, cost_usd, cost_source FROM invocations").fetchall()
    return {row[0]: row[1:] for row in rows}


def expected(number: int) -> tuple[float | None, str | None]:
    """What `NEW` makes of a call, computed in Decimal."""
    usd = {"m0": ("10", "20"), "m1": ("3", "4"), "late": ("0.25", "0.5")}.get(record(number).model_name or "")
    prompt = record(number).prompt_tokens
    if usd is None or prompt is None:
        return None, "unknown"
    return float((prompt * Decimal(usd[0]) + number * Decimal(usd[1])) / 10**6), "computed"


def test_calls_that_were_unknown_or_computed_get_the_cost_of_today(priced: Path, names: Names) -> None:
    """Told costs stay, whatever stands beside them; totals agree to the nano-dollar; a second run changes nothing."""
    report = reprice(priced, NEW)
    after = costs(priced)
    assert {f"p-{number:05}": expected(number) for number in range(60)}.items() <= after.items()
    assert [after[f"p-{number:05}"] for number in (60, 61, 62)] == [(7.0, "reported"), (8.0, None), (9.0, "unknown")]
    assert names(priced) == {}
    assert (report.examined, report.priced, report.changed, report.kept) == (60, 11, 10, 0)
    assert report.unknown == 60 - 21 - 11
    assert report.unpriced_models == {("never", None, None): 12, (None, None, None): 12}
    again = reprice(priced, NEW)
    assert (again.examined, again.priced, again.changed, again.new_nanos) == (60, 0, 0, 0)


def test_sums_before_and_after_are_those_of_the_file(priced: Path, ask: Ask) -> None:
    """In nano-dollars, and as daily totals hold them."""
    (before,) = ask("SELECT sum(cost_nanos) FROM daily_costs", priced)[0]
    report = reprice(priced, NEW)
    rows = ask("SELECT date, sum(cost_nanos), sum(total_cost_usd), sum(unpriced) FROM daily_costs GROUP BY 1", priced)
    assert sum(row[1] for row in rows) - before == report.new_nanos - report.old_nanos
    exact = sum(Decimal(repr(usd)) for usd, _ in costs(priced).values() if usd is not None)
    assert Decimal(sum(row[1] for row in rows)) / 10**9 == exact
    assert sum(row[3] for row in rows) == report.unknown


def test_what_the_writer_computes_needs_no_repricing(tmp_path: Path) -> None:
    """Both compute the same, for any counts, with the bundled prices too."""
    rng = random.Random(7)
    path = tmp_path / "t.db"
    tiers = (*(None,) * 9, "batch", "flex", "default")
    names = ("gpt-4o", "claude-sonnet-4-5-20250929", "gemini-2.5-pro", "o3", "text-embedding-3-small", "nobody", None)
    with TelemetryLogger(path, retention_days=None) as logger:
        for number in range(600):
            parts = [rng.choice((None, 0, rng.randrange(400_000))) for _ in range(5)]
            logger.log_invocation_nowait(
                record(
                    number,
                    timestamp=FIRST - timedelta(days=number % 240),
                    model_name=rng.choice(names),
                    request_model=rng.choice(names),
                    provider=rng.choice((None, "openai", "mine")),
                    prompt_tokens=parts[0],
                    completion_tokens=parts[1],
                    cache_read_tokens=parts[2],
                    cache_write_tokens=parts[3],
                    reasoning_tokens=parts[4],
                    cache_write_1h_tokens=rng.choice((None, 0, (parts[3] or 0) // 2, parts[3])),
                    service_tier=rng.choice(tiers),
                )
            )
    report = reprice(path, PriceBook())
    assert report.examined == 600
    assert (report.priced, report.changed, report.kept) == (0, 0, 0)
    assert report.unknown < 560


@pytest.mark.parametrize(("only", "priced_now", "changed"), [("unknown", 11, 0), ("computed", 0, 10)])
def test_only_some_may_be_repriced(priced: Path, names: Names, only: Any, priced_now: int, changed: int) -> None:
    """Those without a cost, or those with a computed one."""
    report = reprice(priced, NEW, only=only)
    assert (report.priced, report.changed) == (priced_now, changed)
    assert report.examined == {"unknown": 39, "computed": 21}[only]
    assert names(priced) == {}


def test_calls_before_a_time_are_left_alone(priced: Path, names: Names) -> None:
    """By the text of their timestamps."""
    before = costs(priced)
    since = "2026-03-03 00:00:00.000000Z"
    report = reprice(priced, NEW, since=since)
    after = costs(priced)
    changed = {name for name in after if after[name] != before[name]}
    assert min(changed) == "p-00037"
    assert len(changed) == report.priced + report.changed
    assert names(priced) == {}
    assert reprice(priced, NEW, since="2030-01-01").examined == 0


def test_a_computed_cost_stays_where_no_price_is_known_any_more(priced: Path, names: Names) -> None:
    """A models.yaml that lost a model, or a machine without the extra, makes nothing unknown."""
    before = costs(priced)
    report = reprice(priced, PriceBook(models()))
    assert costs(priced) == before
    assert (report.kept, report.changed, report.priced) == (21, 0, 0)
    assert names(priced) == {}


def test_a_dry_run_on_what_holds_no_calls_says_so(tmp_path: Path) -> None:
    """A file that is about to get its tables is empty; another application's is named as such."""
    path = tmp_path / "t.db"
    path.touch()
    assert reprice(path, NEW, dry_run=True) == repricing.RepriceReport()
    assert path.stat().st_size == 0
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE theirs (a)")
    for dry in (True, False):
        with pytest.raises(StoreError, match="but not of telemetry: give another db_path"):
            reprice(path, NEW, dry_run=dry)


def test_what_prices_depend_on_is_read_from_the_row(priced: Path, names: Names) -> None:
    """What was written for an hour, and the service tier; a tier without a price is listed as such."""
    parts = {"prompt_tokens": 1000, "completion_tokens": 0, "model_name": "m0"}
    with TelemetryLogger(priced, models=OLD, retention_days=None) as logger:
        for number, more in enumerate(
            [
                {"cache_write_tokens": 500, "cache_write_1h_tokens": 100},
                {"service_tier": "batch"},
                {"service_tier": "flex"},
            ]
        ):
            logger.log_invocation_nowait(record(70 + number, **parts, **more))
    price = {"input": 10, "output": 20, "cache_write": 12, "cache_write_1h": 20}
    listed = {"m0": {"cost_per_1m_tokens": price, "service_tiers": {"batch": 0.5}}}
    book = PriceBook(ModelsConfig.model_validate({"models": listed, "bundled_prices": False}))
    report = reprice(priced, book)
    after = costs(priced)
    assert [after[f"p-{number:05}"] for number in (70, 71, 72)] == [
        (0.0118, "computed"),  # 500 x 10 + 400 x 12 + 100 x 20
        (0.005, "computed"),
        (None, "unknown"),
    ]
    assert report.unpriced_models["m0", None, "flex"] == 1
    assert names(priced) == {}


def test_a_dry_run_counts_and_changes_nothing(priced: Path) -> None:
    """Not even a -wal appears."""
    content = priced.read_bytes()
    told: list[tuple[int, int]] = []
    report = reprice(priced, NEW, dry_run=True, on_progress=lambda done, total: told.append((done, total)))
    assert priced.read_bytes() == content
    assert [file.name for file in priced.parent.glob("priced.db*")] == ["priced.db"]
    assert told == [(60, 60)]
    done = reprice(priced, NEW)
    assert (report.priced, report.changed, report.old_nanos, report.new_nanos) == (
        done.priced,
        done.changed,
        done.old_nanos,
        done.new_nanos,
    )


def test_each_step_tells_what_it_changed_within_its_transaction(priced: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For whoever keeps sums of his own: rows and totals are changed already, and not yet committed."""
    monkeypatch.setattr(repricing, "_ROWS", 10)
    told: list[Change] = []

    def on_step(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
        assert connection.in_transaction
        (calls,) = connection.execute("SELECT sum(cost_usd) FROM invocations").fetchone()
        (totals,) = connection.execute("SELECT sum(cost_nanos) / 1e9 FROM daily_costs").fetchone()
        assert calls == pytest.approx(totals)
        told.extend(changes)

    report = reprice(priced, NEW, on_step=on_step)
    assert len(told) == report.priced + report.changed
    assert sum(change.new_nanos or 0 for change in told) == report.new_nanos
    assert {change.old_nanos is None for change in told} == {True, False}
    last = next(change for change in told if change.timestamp.startswith("2026-03-01 17:00"))
    names = (last.invocation_id, None, "a2", None, "m0", "u", "s", "r5", None, last.timestamp)
    assert last == Change(*names, 1_005_000 + 10_000, 10_050_000 + 100_000)


def test_what_a_step_raises_undoes_it_and_no_other(priced: Path, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """And the next run goes on."""
    monkeypatch.setattr(repricing, "_ROWS", 10)
    seen: list[int] = []

    def on_step(_: sqlite3.Connection, changes: Sequence[Change]) -> None:
        seen.append(len(changes))
        if len(seen) == 3:
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        reprice(priced, NEW, on_step=on_step)
    assert names(priced) == {}
    report = reprice(priced, NEW)
    assert report.priced + report.changed == 21 - sum(seen[:2])
    assert names(priced) == {}


def test_two_runs_at_once_do_the_work_once(priced: Path, names: Names, monkeypatch: pytest.MonkeyPatch) -> None:
    """Together they change each call once, and count it once."""
    monkeypatch.setattr(repricing, "_ROWS", 3)
    with ThreadPoolExecutor(4) as threads:
        reports = list(threads.map(lambda _: reprice(priced, NEW), range(4)))
    assert sum(report.priced + report.changed for report in reports) == 21
    assert names(priced) == {}


def test_a_row_that_changed_since_it_was_read_is_left_alone(
    priced: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Deleted, or given a cost by somebody else."""
    monkeypatch.setattr(repricing, "_ROWS", 100)
    commit = repricing._commit

    def late(connection: sqlite3.Connection, rows: Any, **options: Any) -> Any:
        with closing(sqlite3.connect(priced, isolation_level=None)) as other:
            other.execute("UPDATE invocations SET cost_source = 'reported' WHERE invocation_id = 'p-00005'")
        return commit(connection, rows, **options)

    monkeypatch.setattr(repricing, "_commit", late)
    before = costs(priced)["p-00005"]
    report = reprice(priced, NEW)
    assert costs(priced)["p-00005"] == (before[0], "reported")
    assert report.priced + report.changed == 20
    assert names(priced) == {}


def test_days_whose_records_are_being_deleted_stay(priced: Path, ask: Ask) -> None:
    """Their totals are all that is left of them."""
    with closing(sqlite3.connect(priced, isolation_level=None)) as connection:
        connection.execute("INSERT OR REPLACE INTO retention (id, records_kept_since) VALUES (1, '2026-03-03')")
    before = ask("SELECT * FROM daily_costs WHERE date < '2026-03-03'", priced)
    report = reprice(priced, NEW)
    assert ask("SELECT * FROM daily_costs WHERE date < '2026-03-03'", priced) == before
    assert 0 < report.priced + report.changed < 21
    with closing(sqlite3.connect(priced, isolation_level=None)) as connection:
        connection.execute("UPDATE retention SET records_kept_since = '2027-01-01'")
    told: list[Any] = []
    report = reprice(priced, PriceBook(models(m0=(1, 1))), on_step=lambda _, changes: told.append(changes))
    assert (report.priced, report.changed, told) == (0, 0, [])


def test_a_time_that_no_writer_wrote_has_no_price(priced: Path) -> None:
    """It is counted as unknown, and left."""
    with closing(sqlite3.connect(priced, isolation_level=None)) as connection:
        connection.execute("UPDATE invocations SET timestamp = 'yesterday' WHERE invocation_id = 'p-00002'")
    assert reprice(priced, NEW).priced == 10
    assert costs(priced)["p-00002"] == (None, "unknown")


def test_a_file_that_is_none_is_an_error(tmp_path: Path) -> None:
    """Nothing is made."""
    with pytest.raises(StoreError, match="does not exist"):
        reprice(tmp_path / "nowhere.db", NEW)
    (tmp_path / "text.db").write_text("no database" * 1000, encoding="utf-8")
    with pytest.raises(StoreError):
        reprice(tmp_path / "text.db", NEW, dry_run=True)
    assert not (tmp_path / "nowhere.db").exists()


def test_an_empty_file_has_nothing_to_reprice(tmp_path: Path) -> None:
    """No step, no progress."""
    TelemetryLogger(tmp_path / "t.db").close()
    assert reprice(tmp_path / "t.db", NEW).examined == 0


prices = st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)).map(lambda pair: (pair[0] / 1e5, pair[1] / 1e5))


@given(st.lists(st.tuples(prices, prices), min_size=1, max_size=3))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_totals_agree_after_any_number_of_price_changes(
    priced: Path, names: Names, changes: list[tuple[tuple[float, float], tuple[float, float]]]
) -> None:
    """Up and down and to nothing."""
    for one, other in changes:
        reprice(priced, PriceBook(models(m0=one, late=other)))
    assert names(priced) == {}


def test_a_transaction_that_is_gone_already_hides_no_cause(priced: Path, names: Names) -> None:
    """A full disk rolls back by itself."""

    def on_step(connection: sqlite3.Connection, _: Sequence[Change]) -> None:
        connection.execute("ROLLBACK")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        reprice(priced, NEW, on_step=on_step)
    assert names(priced) == {}
