"""The writer prices what has no cost: by model, provider and the record's own time, before it takes the lock."""

import asyncio
import copy
import logging
import pickle
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.inside import engine_of

from llm_service.config.models_schema import ModelsConfig, load_models
from llm_service.config.schemas import TelemetryConfig
from llm_service.errors import ConfigError, SettingsError
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import AsyncTelemetryLogger, InvocationRecord, TelemetryLogger
from llm_service.telemetry.record.record import _restore
from llm_service.telemetry.stores.costing import COMPUTED, UNKNOWN, Costing, cost_of, with_cost
from llm_service.telemetry.stores.sqlite.batch_writer import SqliteBatchWriter
from llm_service.telemetry.stores.sqlite.opening import open_for_writing

NOW = 1_795_479_377_991_276
MODELS = {
    "models": {
        "claude-lark": {"cost_per_1m_tokens": {"input": 3, "output": 15, "cached_input": 0.3, "cache_write": 3.75}},
        "lark": {
            "cost_per_1m_tokens": {"input": 3, "output": 15, "cached_input": 0.3, "cache_write": 3.75},
            "service_tiers": {"batch": 0.5},
        },
        "finch": {
            "cost_per_1k_tokens": {"input": 0.01, "output": 0.04},
            "prices": [{"from": "2025-06-10", "input": 0.002, "output": 0.008}],
        },
        "dear": {"cost_per_1k_tokens": {"input": 10_000, "output": 10_000}},
    },
    "bundled_prices": False,
}


def call(**fields: Any) -> InvocationRecord:
    """A call of 1,000 and 200 tokens without a cost."""
    return InvocationRecord(**{"model_name": "lark", "prompt_tokens": 1000, "completion_tokens": 200, **fields})


@pytest.fixture
def prices() -> PriceBook:
    """The models above."""
    return PriceBook(ModelsConfig.model_validate(MODELS))


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A new file, open for writing."""
    with closing(open_for_writing(tmp_path / "telemetry.db", NOW)) as opened:
        yield opened


def write(connection: sqlite3.Connection, prices: PriceBook, batch: list[InvocationRecord], number: int = 1) -> None:
    """Commit a batch as the committer does."""
    writer = SqliteBatchWriter("w", "metadata", lambda: NOW * 1000, costing=Costing(prices))
    writer.write(connection, batch, batch_no=number, durable=False, slice_rows=25)


def costs(connection: sqlite3.Connection) -> list[tuple[float | None, str | None]]:
    """Cost and its source, in the order of arrival."""
    return connection.execute("SELECT cost_usd, cost_source FROM invocations ORDER BY id").fetchall()


KNOWN = [
    (call(), 0.006),
    (call(provider="anybody"), 0.006),
    (call(model_name=None, request_model="lark"), 0.006),
    (call(model_name="LARK"), 0.006),
    (call(cache_read_tokens=500, cache_write_tokens=400), 0.00495),  # 100 x 3 + 500 x 0.3 + 400 x 3.75 + 200 x 15
    # 100 x 3 + 500 x 0.3 + 300 x 3.75 + 100 x 6 + 200 x 15
    (
        call(model_name="claude-lark", cache_read_tokens=500, cache_write_tokens=400, cache_write_1h_tokens=100),
        0.005175,
    ),
    (call(service_tier="batch"), 0.003),
    (call(service_tier="standard"), 0.006),
    (call(service_tier="standard", cache_write_1h_tokens=0), 0.006),
    (call(reasoning_tokens=150), 0.006),
    (call(prompt_tokens=0, completion_tokens=0), 0.0),
    (call(cost_source="unknown"), 0.006),
    (call(model_name="finch", timestamp=datetime(2025, 6, 9, 23, 59, tzinfo=UTC)), 0.018),
    (call(model_name="finch", timestamp=datetime(2025, 6, 10, tzinfo=UTC)), 0.0036),
]


@pytest.mark.parametrize(("record", "usd"), KNOWN)
def test_a_record_without_a_cost_gets_that_of_its_model_at_its_time(
    connection: sqlite3.Connection, prices: PriceBook, record: InvocationRecord, usd: float
) -> None:
    """And says that it was computed."""
    write(connection, prices, [record])
    assert costs(connection) == [(usd, COMPUTED)]


@pytest.mark.parametrize(
    "record",
    [
        call(model_name="nobody-knows"),
        call(model_name=None),
        call(prompt_tokens=None),
        call(completion_tokens=None),
        call(cache_read_tokens=1001),
        call(reasoning_tokens=201),
        call(service_tier="flex"),
        call(cache_write_tokens=10, cache_write_1h_tokens=11),
        call(cache_write_1h_tokens=1),
        call(unpriced_usage="searches: 2"),
        call(total_tokens=1605),
        call(total_tokens=1605, provider="p"),
        call(model_name="dear", prompt_tokens=10**6),
        InvocationRecord(),
    ],
    ids=[
        "model",
        "no model",
        "no prompt",
        "no completion",
        "too much cached",
        "too much reasoned",
        "service tier",
        "too much for an hour",
        "for an hour only",
        "unpriced",
        "total",
        "total of a record with extensions",
        "too dear",
        "none",
    ],
)
def test_a_record_that_cannot_be_priced_has_no_cost_and_says_so(
    connection: sqlite3.Connection, prices: PriceBook, record: InvocationRecord
) -> None:
    """Never 0, and counted as unpriced."""
    write(connection, prices, [record])
    assert costs(connection) == [(None, UNKNOWN)]
    assert connection.execute("SELECT unpriced, cost_nanos FROM daily_costs").fetchall() == [(1, 0)]


REASONS = [
    (call(total_tokens=1605), "total_tokens beyond prompt and completion: 405"),
    (call(cache_read_tokens=900, cache_write_tokens=300), "cached tokens beyond prompt_tokens: 200"),
    (call(reasoning_tokens=201), "reasoning_tokens beyond completion_tokens: 1"),
    (call(cache_write_tokens=10, cache_write_1h_tokens=11), "cache_write_1h_tokens beyond cache_write_tokens: 1"),
    (call(total_tokens=1605, unpriced_usage="searches: 2"), "searches: 2"),
    (call(model_name="nobody-knows"), None),
    (call(prompt_tokens=None, total_tokens=500), None),
    (call(total_tokens=1605, cost_usd=1), None),
]


@pytest.mark.parametrize(("record", "reason"), REASONS)
def test_counts_that_contradict_each_other_say_why_there_is_no_cost(
    connection: sqlite3.Connection, prices: PriceBook, record: InvocationRecord, reason: str | None
) -> None:
    """The total stays as it was reported; a cost that the caller gave stands."""
    write(connection, prices, [record, call()])
    first, second = connection.execute(
        "SELECT unpriced_usage, total_tokens, cost_usd FROM invocations ORDER BY id"
    ).fetchall()
    assert first == (reason, record.total_tokens, record.cost_usd)
    assert second == (None, 1200, 0.006)


def test_a_record_that_has_a_cost_keeps_it_and_its_source(connection: sqlite3.Connection, prices: PriceBook) -> None:
    """Nothing is added to it, not a byte."""
    write(
        connection,
        prices,
        [
            call(cost_usd=0.5),
            call(cost_usd=0),
            call(cost_usd=1, cost_source="reported"),
            call(cost_usd=2, provider="p"),
        ],
    )
    assert costs(connection) == [(0.5, None), (0.0, None), (1.0, "reported"), (2.0, None)]
    (sql,) = connection.execute("SELECT count(*) FROM invocations WHERE cost_source IS NULL").fetchone()
    assert sql == 3


def test_embeddings_of_a_file_need_no_completion_tokens() -> None:
    """Whose output is free; any other model's missing count is a gap."""
    cost = {"input": 3, "output": 0}
    models = {"mine": {"cost_per_1m_tokens": cost}, "chat": {"cost_per_1m_tokens": cost | {"output": 1}}}
    prices = PriceBook(ModelsConfig.model_validate({"models": models, "bundled_prices": False}))
    batch = [InvocationRecord(model_name=name, prompt_tokens=1_000_000) for name in models]
    assert Costing(prices).costs(batch) == [(3.0, "computed"), (None, "unknown")]
    assert cost_of(prices.rates("mine"), 1_000_000, None, None, None, None) == 3.0
    assert cost_of(prices.rates("chat"), 1_000_000, None, None, None, None) is None


def test_embeddings_need_no_completion_tokens(connection: sqlite3.Connection) -> None:
    """They give none; a model that gives some must say how many."""
    unsaid = {"completion_tokens": None, "prompt_tokens": 1024}
    write(
        connection,
        PriceBook(),
        [
            call(model_name="text-embedding-3-large", **unsaid),
            call(model_name="text-embedding-3-large", provider="openai", **unsaid),
            call(model_name="gpt-4o", **unsaid),
            call(model_name="text-embedding-3-large", prompt_tokens=1024, completion_tokens=1),
            call(model_name="text-embedding-3-large", **unsaid, total_tokens=1024),
            call(model_name="text-embedding-3-large", **unsaid, total_tokens=1025),
        ],
    )
    known, unknown = (0.00013312, COMPUTED), (None, UNKNOWN)
    assert costs(connection) == [known, known, unknown, unknown, known, unknown]


def test_the_totals_of_a_day_hold_what_was_computed(connection: sqlite3.Connection, prices: PriceBook) -> None:
    """In the same transaction: to the nano-dollar."""
    moment = datetime(2026, 3, 1, tzinfo=UTC)
    batch = [call(timestamp=moment) for _ in range(30)] + [
        call(timestamp=moment, model_name="lark", prompt_tokens=None)
    ]
    write(connection, prices, batch)
    assert connection.execute(
        "SELECT invocations, unpriced, cost_nanos, total_cost_usd FROM daily_costs"
    ).fetchall() == [(31, 1, 30 * 6_000_000, 0.18)]


def test_records_of_one_batch_are_priced_each_by_itself(connection: sqlite3.Connection, prices: PriceBook) -> None:
    """Priced, unknown and reported ones in one statement, in any slices."""
    batch = [call(), call(model_name="x"), call(cost_usd=0.25), *(call(agent_name=f"a{n}") for n in range(60)), call()]
    write(connection, prices, batch)
    assert costs(connection) == [(0.006, COMPUTED), (None, UNKNOWN), (0.25, None), *[(0.006, COMPUTED)] * 61]


def test_duplicates_and_poison_leave_the_others_priced(connection: sqlite3.Connection, prices: PriceBook) -> None:
    """Costs stay with their records, wherever those stand in the batch."""
    write(connection, prices, [call(invocation_id="twice")])
    poison = call(invocation_id="bad")
    poison = _restore((*poison.card[:7], "much", *poison.card[8:]), poison.extensions, poison.size)
    write(connection, prices, [call(), call(invocation_id="twice"), poison, call(model_name="x"), call()], 2)
    assert costs(connection) == [(0.006, COMPUTED)] * 2 + [(None, UNKNOWN), (0.006, COMPUTED)]
    assert connection.execute("SELECT invocation_id FROM dead_letters").fetchall() == [("bad",)]


class _Raising(PriceBook):
    """Prices with a bug."""

    asked = 0

    def span(self, *_: Any) -> Any:
        self.asked += 1
        raise RuntimeError("no price today, key sk-ant-api03-" + "x" * 90)


def test_what_raises_in_pricing_costs_no_record_and_is_logged_once(
    connection: sqlite3.Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The records are stored without a cost; secrets stay out of the log."""
    prices = _Raising()
    with caplog.at_level(logging.WARNING, "llm_service.telemetry"):
        write(connection, prices, [call(), call(cost_usd=1), call()])
    assert costs(connection) == [(None, UNKNOWN), (1.0, None), (None, UNKNOWN)]
    assert [record.message for record in caplog.records if "priced" in record.message] == [caplog.records[0].message]
    assert "no price today" in caplog.text
    assert "sk-ant" not in caplog.text


def test_a_damaged_record_is_left_to_whoever_refuses_it(prices: PriceBook) -> None:
    """A card that is none raises nothing here."""
    damaged = _restore((), None, 0)
    assert Costing(prices).costs([damaged, call()]) == [(None, UNKNOWN), (0.006, COMPUTED)]
    assert with_cost(damaged, None) is damaged


@pytest.mark.parametrize(
    ("card", "extensions"),
    [((), None), (None, None), (call().card, ("x",)), (call().card, "text"), ((*call().card, 1), None)],
    ids=["empty", "none", "short", "text", "long"],
)
def test_a_damaged_record_costs_its_neighbours_nothing(
    connection: sqlite3.Connection, prices: PriceBook, card: Any, extensions: Any
) -> None:
    """It is set aside, and they are stored with their cost."""
    write(connection, prices, [call(), _restore(card, extensions, 0), call()])
    assert costs(connection) == [(0.006, COMPUTED)] * 2
    assert connection.execute("SELECT count(*) FROM dead_letters").fetchone() == (1,)


def test_a_batch_whose_records_all_have_a_cost_is_left_alone() -> None:
    """Nobody is asked for a price."""
    prices = _Raising()
    assert Costing(prices).costs([call(cost_usd=1)] * 3) is None
    assert prices.asked == 0


def test_a_name_is_looked_up_once_a_batch(prices: PriceBook) -> None:
    """Whatever the number of its calls; at another time again."""
    asked: list[tuple[str | None, ...]] = []

    class Counting(PriceBook):
        def span(self, *question: Any) -> Any:
            model_name, provider, _at_us, service_tier, *_ = question
            asked.append((model_name, provider, service_tier))
            return prices.span(*question)

    old = call(model_name="finch", timestamp=datetime(2025, 1, 1, tzinfo=UTC))
    batch = [call()] * 50 + [call(provider="p")] * 50 + [call(service_tier="batch")] * 9
    Costing(Counting()).costs([*batch, old, call(model_name="finch")])
    names = [("lark", None, None), ("lark", "p", None), ("lark", None, "batch"), *[("finch", None, None)] * 2]
    assert asked == names


# Faces


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A models.yaml."""
    path = tmp_path / "models.yaml"
    path.write_text(
        "models:\n  lark:\n    cost_per_1m_tokens: {input: 3, output: 15}\nbundled_prices: false\n", encoding="utf-8"
    )
    return path


def logged(logger: TelemetryLogger) -> list[tuple[float | None, str | None]]:
    """What one call costs."""
    logger.log_invocation(call())
    return [(row["cost_usd"], row["cost_source"]) for row in logger.get_invocations()]


def test_a_logger_takes_the_path_of_a_file_or_its_schema(tmp_path: Path, file: Path) -> None:
    """As str, Path or `ModelsConfig`; without it the bundled prices alone are asked."""
    for number, models in enumerate((file, str(file), load_models(file))):
        with TelemetryLogger(tmp_path / f"{number}.db", models=models) as logger:
            assert logged(logger) == [(0.006, COMPUTED)]
            assert list(logger.prices.models()) == ["lark"]
    with TelemetryLogger(tmp_path / "none.db") as logger:
        assert logged(logger) == [(None, UNKNOWN)]
        logger.log_invocation(call(model_name="gpt-4o"))
        assert logger.get_invocations()[0]["cost_usd"] == 0.0045


async def test_the_async_face_prices_off_the_loop(tmp_path: Path, file: Path) -> None:
    """In the thread that commits."""
    async with AsyncTelemetryLogger(tmp_path / "t.db", models=file) as telemetry:
        await telemetry.log_invocation(call(), durable=True)
        assert [row["cost_usd"] for row in await telemetry.get_invocations()] == [0.006]
        rates = telemetry.prices.rates("lark")
        assert rates is not None
        assert rates.source == str(file)


@pytest.mark.usefixtures("file")
def test_a_path_holds_wherever_the_program_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative one is resolved once; a copy has the same prices."""
    monkeypatch.chdir(tmp_path)
    logger = TelemetryLogger("t.db", models="models.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    for other in (copy.copy(logger), pickle.loads(pickle.dumps(logger))):  # noqa: S301 - our own
        assert list(other.prices.models()) == ["lark"]
        other.close()
    logger.close()


def test_a_copy_of_a_logger_with_a_schema_has_that_schema(tmp_path: Path) -> None:
    """Through a pickle, too."""
    models = ModelsConfig.model_validate(MODELS)
    with (
        TelemetryLogger(tmp_path / "t.db", models=models) as logger,
        pickle.loads(pickle.dumps(logger)) as other,  # noqa: S301 - our own
    ):
        assert list(other.prices.models()) == ["claude-lark", "lark", "finch", "dear"]


def test_models_that_cannot_be_used_are_refused_where_the_logger_is_made(tmp_path: Path, file: Path) -> None:
    """Before a file is made; file, line and key are named."""
    with pytest.raises(SettingsError, match="models"):
        TelemetryLogger(tmp_path / "t.db", models=3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"nowhere\.yaml"):
        TelemetryLogger(tmp_path / "t.db", models=tmp_path / "nowhere.yaml")
    file.write_text("models:\n  lark:\n    cost_per_1m_tokens: {input: -3, output: 15}\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"models\.yaml"):
        AsyncTelemetryLogger(tmp_path / "t.db", models=file)
    assert not (tmp_path / "t.db").exists()


def test_from_config_finds_the_models_beside_the_settings(tmp_path: Path, file: Path) -> None:
    """Unless others are given."""
    config = tmp_path / "telemetry.yaml"
    config.write_text("db_path: ./t.db\n", encoding="utf-8")
    with TelemetryLogger.from_config(config) as logger:
        assert logged(logger) == [(0.006, COMPUTED)]
        assert logger.prices.rates("lark").source == str(file)  # type: ignore[union-attr]
    other = ModelsConfig.model_validate(MODELS)
    with TelemetryLogger.from_config(config, models=other) as logger:
        assert list(logger.prices.models()) == ["claude-lark", "lark", "finch", "dear"]


def test_from_config_finds_the_models_that_a_variable_names(
    tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also for settings that were made in Python."""
    monkeypatch.setenv("LLM_TELEMETRY_MODELS", str(file))
    with TelemetryLogger.from_config(TelemetryConfig(db_path=str(tmp_path / "t.db"))) as logger:
        assert list(logger.prices.models()) == ["lark"]


def test_prices_are_looked_up_in_the_committing_thread(tmp_path: Path) -> None:
    """The hot path and the loop never import genai-prices."""
    import threading

    seen: list[str] = []

    class Watching(PriceBook):
        def span(self, *asked: Any) -> Any:
            seen.append(threading.current_thread().name)
            return super().span(*asked)

    async def run() -> None:
        telemetry = AsyncTelemetryLogger(tmp_path / "t.db")
        engine_of(telemetry).store.writer._contents._costing = Costing(Watching())  # type: ignore[attr-defined]
        async with telemetry:
            for _ in range(10):
                await telemetry.log_invocation(call())

    asyncio.run(run())
    assert seen
    assert threading.main_thread().name not in seen
