"""What a logger is told about money: what cannot be used is named, and paths hold wherever the program goes."""

import pickle
from collections.abc import Callable
from copy import copy
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from llm_service.config.files import locate
from llm_service.config.schemas import ModelsConfig, PoliciesConfig, TelemetryConfig
from llm_service.errors import BudgetExceeded, ConfigError, SettingsError, UnknownPriceError
from llm_service.telemetry import AsyncTelemetryLogger, TelemetryLogger
from llm_service.telemetry.instrumentation.field_aliases import no_such_field


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


MODELS = "models:\n  m: {cost_per_1k_tokens: {input: 1, output: 2}}\n"
LIMITS = "policies:\n  default: {daily_budget_usd: 5}\n"
WAYS: dict[str, Callable[..., Any]] = {
    "TelemetryLogger": TelemetryLogger,
    "AsyncTelemetryLogger": AsyncTelemetryLogger,
    "TelemetryLogger.from_config": lambda db, **given: TelemetryLogger.from_config(
        TelemetryConfig(db_path=db), **given
    ),
    "AsyncTelemetryLogger.from_config": lambda db, **given: AsyncTelemetryLogger.from_config(
        TelemetryConfig(db_path=db), **given
    ),
}


def put(folder: Path, limits: str = LIMITS) -> None:
    """Both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "models.yaml").write_text(MODELS)
    (folder / "policies.yaml").write_text(limits)


@pytest.mark.parametrize("place", ["project", "user", "variables", "beside"])
@pytest.mark.parametrize("way", WAYS)
def test_every_logger_finds_its_files_by_the_rule_of_the_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str, place: str
) -> None:
    """However it is made; a copy has the same, wherever it goes; False takes none."""
    monkeypatch.chdir(tmp_path)
    folders = {"project": "config", "user": "user/llm-service", "variables": "named", "beside": "other"}
    folder = tmp_path / folders[place]
    put(folder)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    if place == "variables":
        put(tmp_path / "config", LIMITS.replace("5", "6"))
        for kind in ("models", "policies"):
            monkeypatch.setenv(f"LLM_TELEMETRY_{kind.upper()}", str(folder / f"{kind}.yaml"))
    if place == "beside":
        put(tmp_path / "config", LIMITS.replace("5", "6"))
        monkeypatch.setenv("LLM_TELEMETRY_CONFIG", str(folder / "telemetry.yaml"))
    logger = WAYS[way](tmp_path / "telemetry.db")
    given = pickle.dumps(logger)
    monkeypatch.chdir("/")
    for one in (logger, pickle.loads(given)):  # noqa: S301 - our own
        assert one.prices.rates("m").source == str(locate_from(tmp_path, monkeypatch, "models"))
        assert [limit.amount for limit in one.budgets.policies.limits()] == [5 * 10**9]
    monkeypatch.chdir(tmp_path)
    bare = WAYS[way](tmp_path / "telemetry.db", models=False, policies=False)
    assert not bare.budgets.policies
    assert bare.prices.rates("m") is None
    for one in (logger, bare):
        if isinstance(one, TelemetryLogger):
            one.close()


def locate_from(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: Any) -> Path:
    """What the commands find there."""
    with monkeypatch.context() as there:
        there.chdir(folder)
        found = locate(kind)
        assert found is not None
        return found.absolute()


def test_a_copy_of_a_logger_without_files_looks_for_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the same logger, whatever lies about where it arrives."""
    monkeypatch.chdir(tmp_path)
    with TelemetryLogger(tmp_path / "telemetry.db") as logger:
        put(tmp_path / "config")
        with copy(logger) as other:
            assert not other.budgets.policies


@pytest.mark.parametrize("way", WAYS)
def test_a_file_that_is_found_and_wrong_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """Passed over, its limits would limit nothing."""
    monkeypatch.chdir(tmp_path)
    put(tmp_path / "config", "policies: [oops]\n")
    with pytest.raises(ConfigError, match=r"config/policies\.yaml:1"):
        WAYS[way](tmp_path / "telemetry.db")
    if way.endswith("Logger"):
        WAYS[way](tmp_path / "telemetry.db", privacy_level="none")  # it could keep no budget, and is asked for none


def test_what_a_block_can_give_is_what_the_error_names(tmp_path: Path) -> None:
    """A model without a price: the amount is `budget`, and `usd` is no field of a block."""
    policies = tmp_path / "policies.yaml"
    policies.write_text("policies: {default: {daily_budget_usd: 10}}\n", "utf-8")
    with TelemetryLogger(tmp_path / "telemetry.db", policies=policies) as logger:
        with pytest.raises(UnknownPriceError, match=r"budget=0\.10"), logger.invocation(model_name="mine", budget=True):
            pass
        with logger.invocation(model_name="mine", budget=0.10):
            pass
    assert no_such_field("usd").endswith("did you mean cost_usd?")
