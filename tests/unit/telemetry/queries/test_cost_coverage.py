"""How much is priced: by who said so, and the models that nobody knows the price of."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_service.errors import QueryError
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.queries.cost_coverage import CoverageReport, read_coverage
from llm_service.telemetry.queries.filters import InvocationFilter
from llm_service.telemetry.stores.sqlite.reader import read

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


def written(folder: Path, *records: InvocationRecord) -> Path:
    """A file with these records."""
    path = folder / "telemetry.db"
    with TelemetryLogger(path, retention_days=None) as telemetry:
        for record in records:
            telemetry.log_invocation_nowait(record)
    return path


def report(path: Path, **narrowed: Any) -> CoverageReport:
    """Coverage of this file."""
    return read(path, lambda fetch: read_coverage(fetch, InvocationFilter(**narrowed)))


def test_each_source_has_its_calls_tokens_and_cost(tmp_path: Path) -> None:
    """One said nothing, and is neither reported nor computed."""
    path = written(
        tmp_path,
        InvocationRecord(cost_usd=1.5, cost_source="reported", total_tokens=10),
        InvocationRecord(cost_usd=0.5, cost_source="reported", total_tokens=None),
        InvocationRecord(cost_usd=2, total_tokens=20),
        InvocationRecord(cost_source="unknown", total_tokens=70),
        InvocationRecord(cost_source="unknown"),
        InvocationRecord(cost_source="unknown", total_tokens=0),
    )
    found = report(path)
    sources = {row["cost_source"]: row for row in found["by_source"]}
    assert list(sources) == ["unknown", "reported", None]
    assert sources["reported"] == {
        "cost_source": "reported",
        "invocations": 2,
        "priced": 2,
        "total_tokens": 10,
        "priced_tokens": 10,
        "uncounted": 1,
        "cost_nanos": 2_000_000_000,
        "total_cost_usd": 2.0,
    }
    assert (sources["unknown"]["priced"], sources["unknown"]["cost_nanos"]) == (0, 0)
    assert (found["invocations"], found["priced"]) == (6, 3)
    assert (found["total_tokens"], found["priced_tokens"], found["uncounted"]) == (100, 30, 2)


def test_unknown_models_are_listed_with_provider_calls_tokens_and_when_they_were_seen(tmp_path: Path) -> None:
    """Those with most calls first; calls that name no model are among them."""
    path = written(
        tmp_path,
        *(
            InvocationRecord(
                model_name="new-model", provider="acme", total_tokens=5, timestamp=NOON + timedelta(hours=hour)
            )
            for hour in range(3)
        ),
        InvocationRecord(model_name="new-model", provider="other", timestamp=NOON),
        InvocationRecord(model_name="new-model", provider="acme", service_tier="batch", timestamp=NOON),
        InvocationRecord(timestamp=NOON),
        InvocationRecord(model_name="known", cost_usd=1, timestamp=NOON),
        InvocationRecord(model_name="free", cost_usd=0, timestamp=NOON),
    )
    assert report(path)["unknown_models"] == [
        {
            "model_name": "new-model",
            "provider": "acme",
            "service_tier": None,
            "invocations": 3,
            "total_tokens": 15,
            "uncounted": 0,
            "first_timestamp": "2026-11-20 12:00:00.000000Z",
            "last_timestamp": "2026-11-20 14:00:00.000000Z",
        },
        *(
            {
                "model_name": model,
                "provider": provider,
                "service_tier": tier,
                "invocations": 1,
                "total_tokens": 0,
                "uncounted": 1,
                "first_timestamp": "2026-11-20 12:00:00.000000Z",
                "last_timestamp": "2026-11-20 12:00:00.000000Z",
            }
            for model, provider, tier in (
                (None, None, None),
                ("new-model", "acme", "batch"),
                ("new-model", "other", None),
            )
        ),
    ]


def test_a_call_that_only_tells_the_model_it_asked_for_is_listed_by_that(tmp_path: Path) -> None:
    """It is what a price is looked up by."""
    found = report(written(tmp_path, InvocationRecord(request_model="asked"), InvocationRecord(model_name="asked")))
    assert [(model["model_name"], model["invocations"]) for model in found["unknown_models"]] == [("asked", 2)]


def test_an_empty_file_covers_nothing(tmp_path: Path) -> None:
    """Zeros and empty lists."""
    found = report(tmp_path / "absent.db")
    assert (found["invocations"], found["by_source"], found["unknown_models"], found["first_day"]) == (0, [], [], None)


def test_deleted_calls_are_said_not_to_be_counted(tmp_path: Path) -> None:
    """They may have been priced or not: the daily totals know no source."""
    with TelemetryLogger(tmp_path / "telemetry.db", retention_days=None) as telemetry:
        telemetry.log_invocation(InvocationRecord(timestamp=NOON - timedelta(days=900)))
        since = telemetry.purge(1).records_kept_since
    found = report(tmp_path / "telemetry.db")
    assert (found["deleted_invocations"], found["invocations"], found["records_since"]) == (1, 0, since)


def test_a_date_that_is_none_is_refused(tmp_path: Path) -> None:
    """Naming it."""
    with pytest.raises(QueryError, match="end_date: 'never'"):
        report(tmp_path / "absent.db", end_date="never")


COSTS = st.tuples(st.just("unknown"), st.none()) | st.tuples(
    st.sampled_from(["reported", "computed", None]),
    st.none() | st.integers(0, 10**10).map(lambda nanos: nanos / 1e9),
)
RECORDS = st.lists(
    st.builds(
        lambda cost, **fields: InvocationRecord(cost_source=cost[0], cost_usd=cost[1], **fields),
        cost=COSTS,
        agent_name=st.sampled_from(["a", "b"]),
        model_name=st.sampled_from(["m", "n", None]),
        provider=st.sampled_from(["p", None]),
        total_tokens=st.none() | st.integers(0, 1_000),
        timestamp=st.integers(0, 172_800).map(lambda seconds: NOON + timedelta(seconds=seconds)),
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(records=RECORDS, narrowed=st.sampled_from([{}, {"start_date": "2026-11-21"}, {"agent_name": "a"}]))
def test_it_agrees_with_a_recount_of_the_records(records: list[InvocationRecord], narrowed: dict[str, Any]) -> None:
    """Sources add up to the whole, and unknown models to what is not priced."""
    with TemporaryDirectory() as folder:
        path = written(Path(folder), *records)
        with TelemetryLogger(path, retention_days=None) as telemetry:
            rows = telemetry.get_invocations(limit=1_000, **narrowed)
        found = report(path, **narrowed)
    unpriced = [row for row in rows if row["cost_usd"] is None]
    assert found["invocations"] == len(rows)
    assert found["priced"] == len(rows) - len(unpriced)
    assert {s["cost_source"]: s["invocations"] for s in found["by_source"]} == Counter(r["cost_source"] for r in rows)
    for source in found["by_source"]:
        same = [row for row in rows if row["cost_source"] == source["cost_source"]]
        assert source["priced"] == sum(row["cost_usd"] is not None for row in same)
        assert source["priced_tokens"] == sum(row["total_tokens"] or 0 for row in same if row["cost_usd"] is not None)
        assert source["cost_nanos"] == sum(int((row["cost_usd"] or 0) * 1e9 + 0.5) for row in same)
    assert {(m["model_name"], m["provider"]): m["invocations"] for m in found["unknown_models"]} == Counter(
        (row["model_name"], row["provider"]) for row in unpriced
    )
    for model in found["unknown_models"]:
        moments = [
            row["timestamp"] for row in unpriced
            if (row["model_name"], row["provider"]) == (model["model_name"], model["provider"])
        ]  # fmt: skip
        assert (model["first_timestamp"], model["last_timestamp"]) == (min(moments), max(moments))
