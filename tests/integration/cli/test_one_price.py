"""Whoever asks for the price of a call gets the one that its record will have, whatever that depends on."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from llm_service.estimates.estimate import Question
from llm_service.pricing.book import PriceBook
from llm_service.telemetry import InvocationRecord, TelemetryLogger
from llm_service.telemetry.maintenance.repricing import reprice

MODELS = {
    "gpt-4.1": (1, "openai", {}),
    "azure/gpt-4.1": (2, "azure", {"service_tiers": {"priority": 2}}),
    "azure/eu/gpt-4.1": (3, "azure", {}),
    "azure/us/gpt-4.1": (5, "azure", {}),
}
"""USD per million input tokens, seller, and more."""
BY: dict[str, tuple[dict[str, Any], int]] = {
    "provider": ({"provider": "azure"}, 2),
    "service_tier": ({"provider": "azure", "service_tier": "priority"}, 4),
    "request_model": ({"provider": "azure", "request_model": "azure/us/gpt-4.1"}, 5),
    "region": ({"provider": "azure", "region": "eu"}, 3),
}
"""What the price depends on beside model and time: fields of a call, and the price."""
TOKENS = 1_000_000


def test_these_are_all() -> None:
    """Of the price book, and of the question of an estimate."""
    asked = set(inspect.signature(PriceBook.rates).parameters) - {"self", "model_name", "at_us"}
    assert asked == set(BY)
    assert set(inspect.signature(PriceBook.explain).parameters) - {"self", "model_name", "at_us"} == asked
    assert set(Question().price_key) == {None}
    assert len(Question().price_key) == len(BY) + 1


@pytest.mark.parametrize("by", BY)
def test_all_ask_for_the_same_price(by: str, tmp_path: Path, run: Callable[..., Result]) -> None:
    """Records, reprice, estimates, reservations, blocks, `explain`, and the commands."""
    fields, price = BY[by]
    listed = {
        name: {"provider": seller, "cost_per_1m_tokens": {"input": usd, "output": 0}, **more}
        for name, (usd, seller, more) in MODELS.items()
    }
    models, policies, db = tmp_path / "models.yaml", tmp_path / "policies.yaml", tmp_path / "telemetry.db"
    models.write_text(yaml.safe_dump({"models": listed}), "utf-8")
    policies.write_text("policies: {default: {daily_budget_usd: 1000, unknown_price: block}}", "utf-8")
    call: dict[str, Any] = {"model_name": "gpt-4.1", "prompt_tokens": TOKENS, **fields}
    with TelemetryLogger(db, models=models, policies=policies) as logger:
        logger.log_invocation(InvocationRecord(**call, completion_tokens=0))
        assert logger.estimate(**call, max_tokens=1).max_cost_usd == price
        with logger.budgets.reserve(**call, max_tokens=1) as hold:
            assert hold.usd == price
            hold.release()
        with logger.invocation(**call, budget=True, max_tokens=1) as block:
            block.record_usage(completion_tokens=0)
            assert block.hold is not None
            assert block.hold.usd == price
        assert [row["cost_usd"] for row in logger.get_invocations()] == [price, price]
        names = {name: value for name, value in call.items() if name != "prompt_tokens"}
        explained = logger.prices.explain(**names)
        assert explained.rates == logger.prices.rates(**names)
        assert explained.rates is not None
        assert explained.rates.prices[0].input == price
        reprice(db, logger.prices)
        assert [row["cost_usd"] for row in logger.get_invocations()] == [price, price]
    _ask_commands(run, call, price, models, db)


def _ask_commands(run: Callable[..., Result], call: dict[str, Any], price: int, models: Path, db: Path) -> None:
    """By the name that is asked for, where there are two."""
    model = call.get("request_model", call["model_name"])
    options = [
        part
        for name in ("provider", "service_tier", "region")
        if name in call
        for part in (f"--{name.replace('_', '-')}", call[name])
    ]
    told = json.loads(run("prices", model, *options, "--models", models, "--json").stdout)
    assert told["tiers"][0]["usd_per_1m_tokens"]["input"] == price
    asked = ("estimate", "--model", model, *options, "--prompt-tokens", TOKENS, "--max-tokens", 1)
    assert json.loads(run(*asked, "--models", models, "--db", db, "--json").stdout)["hold_usd"] == price
