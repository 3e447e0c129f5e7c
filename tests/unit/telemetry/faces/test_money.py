"""What a logger is told about money: what cannot be used is named, and paths hold wherever the program goes."""

import pickle
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.schemas import ModelsConfig, PoliciesConfig
from llm_service.errors import BudgetExceeded, ConfigError, SettingsError
from llm_service.telemetry import TelemetryLogger


@pytest.mark.parametrize(
    ("given", "remedy"),
    [
        ({"on_budget": "call me"}, "on_budget: 'call me' is not usable; give a callable that takes a BudgetEvent"),
        ({"models": 7}, "models: 7 is not usable; give the path of a models.yaml, a ModelsConfig, or None"),
        ({"policies": 7}, "policies: 7 is not usable; give the path of a policies.yaml, a PoliciesConfig, or None"),
        ({"policy": "production"}, "policy: 'production' is not usable; give policies= as well"),
        (
            {"policies": PoliciesConfig(), "policy": "production"},
            "policy: 'production' is not usable; give the name of a policy of policies.yaml; there are: none",
        ),
        ({"policies": PoliciesConfig(), "privacy_level": "none"}, "budgets are kept in the file: use privacy_level"),
    ],
)
def test_what_cannot_be_used_is_named_with_its_remedy(tmp_path: Path, given: dict[str, Any], remedy: str) -> None:
    """Before a file is made."""
    with pytest.raises(SettingsError) as caught:
        TelemetryLogger(tmp_path / "telemetry.db", **given)
    assert remedy in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """By either argument."""
    for name in ("models", "policies"):
        given: dict[str, Any] = {name: tmp_path / f"{name}.yaml"}
        with pytest.raises(ConfigError, match=f"{name}.yaml: there is no such file"):
            TelemetryLogger(tmp_path / "telemetry.db", **given)


def test_relative_paths_are_of_the_folder_where_they_were_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A logger that travels finds its files again."""
    monkeypatch.chdir(tmp_path)
    Path("models.yaml").write_text("models:\n  m: {cost_per_1k_tokens: {input: 1, output: 2}}\n")
    Path("policies.yaml").write_text("policies:\n  default: {daily_budget_usd: 5}\n")
    with TelemetryLogger("telemetry.db", models="models.yaml", policies="policies.yaml") as logger:
        sent = pickle.dumps(logger)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    with pickle.loads(sent) as arrived:  # noqa: S301 - our own
        assert arrived.prices.rates("m").source == str(tmp_path / "models.yaml")
        assert [row["limit"] for row in arrived.budgets.status()] == [5.0]


def test_models_without_a_file_are_named_by_what_they_stand_for(tmp_path: Path) -> None:
    """In the place of a path."""
    models = ModelsConfig.model_validate({"models": {"m": {"cost_per_1k_tokens": {"input": 1, "output": 2}}}})
    with TelemetryLogger(tmp_path / "telemetry.db", models=models) as logger:
        rates = logger.prices.rates("m")
        assert rates is not None
        assert rates.source == "models.yaml"


def test_a_refusal_travels_between_processes_with_all_it_says() -> None:
    """As an exception of a worker does."""
    error = BudgetExceeded(
        "default", window="day", metric="usd", limit=Decimal(5), spent=Decimal("4.9"), reserved=Decimal(0),
        unknown=Decimal(0), asked=Decimal("0.2"), subject=("a",),
    )  # fmt: skip
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert type(again) is BudgetExceeded
    assert str(again) == str(error)
    assert vars(again) == vars(error)
