"""The promises of `TelemetryConfig`: strict types, the ranges of `Settings`, and no drift between the two."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from llm_service.config.schemas import TelemetryConfig
from llm_service.config.settings import Settings, SettingsError, SettingsOptions

CONFIG = Path(__file__).parents[3] / "config"
EXAMPLE = CONFIG / "telemetry.yaml.example"


def located(**values: object) -> list[tuple[str | int, ...]]:
    """Where these values are refused."""
    with pytest.raises(ValidationError) as caught:
        TelemetryConfig.model_validate(values)
    return [error["loc"] for error in caught.value.errors()]


def test_the_quick_reference_runs_unchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The line that users copy gives an absolute path below their home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = TelemetryConfig(
        enabled=True, db_path="~/.llm-service/telemetry.db", privacy_level="metadata", retention_days=30
    )
    assert config.get_db_path() == tmp_path / ".llm-service" / "telemetry.db"


def test_settings_model_options_and_example_have_the_same_keys() -> None:
    """A setting cannot be added in one place and forgotten in another."""
    names = Settings.names()
    assert tuple(TelemetryConfig.model_fields) == names
    assert {"db_path", *SettingsOptions.__annotations__} == set(names)
    assert set(yaml.safe_load(EXAMPLE.read_text())) == set(names)


def test_defaults_are_those_of_settings_and_of_the_example() -> None:
    """One default per setting, wherever it is read; the model's is also of the same type."""
    config = TelemetryConfig()
    assert config.to_settings() == Settings()
    assert yaml.safe_load(EXAMPLE.read_text()) == config.model_dump()
    for item in fields(Settings):
        if item.name != "db_path":
            assert type(getattr(config, item.name)) is type(item.default)


def test_the_bounds_in_the_example_are_the_real_ones() -> None:
    """`Values: LOW to HIGH` in a comment means that exactly these ends are accepted."""
    documented = re.findall(r"^# Values: ([\d.]+) to ([\d.]+) .*\n([a-z_]+):", EXAMPLE.read_text(), re.MULTILINE)
    assert len(documented) == 9
    for low, high, name in documented:
        whole = name.endswith("retention_days") or name in {"batch_size", "queue_max_records", "queue_max_bytes"}
        number: Any = int if whole else float
        step = 1 if whole else 0.0001
        for value in (number(low), number(high)):
            assert getattr(TelemetryConfig(**{name: value}), name) == value
        for value in (number(low) - step, number(high) + step):
            assert located(**{name: value}) == [(name,)]


def test_the_defaults_in_the_comments_of_the_example_are_the_real_ones() -> None:
    """`Default: X` in a comment says what the line below it says."""
    stated = re.findall(r"Default: (\S+?)(?: \(.*\))?\.\n([a-z_]+): (\S+)$", EXAMPLE.read_text(), re.MULTILINE)
    assert {name for _, name, _ in stated} == set(Settings.names())
    assert [default for default, _, _ in stated] == [value for _, _, value in stated]


def test_each_field_is_described() -> None:
    """`TelemetryConfig.model_json_schema()` documents itself."""
    assert all(info.description for info in TelemetryConfig.model_fields.values())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", 1),
        ("enabled", "yes"),
        ("db_path", 5),
        ("db_path", None),
        ("privacy_level", "all"),
        ("retention_days", 1.5),
        ("retention_days", "30"),
        ("retention_days", True),
        ("batch_size", "yes"),
        ("flush_interval", True),
        ("flush_interval", "0.2"),
        ("overflow", "spill"),
    ],
)
def test_types_are_strict(name: str, value: object) -> None:
    """No text becomes a number, no number a bool, no bool a number, no fraction a day."""
    assert located(**{name: value}) == [(name,)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("retention_days", -1),
        ("flush_interval", float("nan")),
        ("close_timeout", float("inf")),
        ("db_path", ":memory:"),
    ],
)
def test_what_settings_refuse_is_located_at_its_field(name: str, value: object) -> None:
    """The validation error has place, value and the remedy of the settings' error."""
    with pytest.raises(ValidationError) as caught:
        TelemetryConfig(**{name: value})  # type: ignore[arg-type]
    with pytest.raises(SettingsError) as refused:
        Settings(**{name: value})  # type: ignore[arg-type]
    (error,) = caught.value.errors()
    assert (error["loc"], error["type"], error["msg"]) == ((name,), "unusable_setting", refused.value.remedy)


def test_an_unknown_field_is_refused() -> None:
    """A misspelt field is an error, never ignored."""
    assert located(retention=30) == [("retention",)]


def test_a_config_never_changes() -> None:
    """It is frozen and hashable."""
    config = TelemetryConfig()
    with pytest.raises(ValidationError):
        config.enabled = False  # type: ignore[misc]
    assert hash(config) == hash(TelemetryConfig())


def test_a_path_object_and_whole_seconds_are_welcome(tmp_path: Path) -> None:
    """What means the same is taken: a `Path` for a str, 2 for 2.0 seconds."""
    config = TelemetryConfig(db_path=tmp_path / "a.db", flush_interval=2)  # type: ignore[arg-type]
    assert (config.db_path, config.flush_interval) == (str(tmp_path / "a.db"), 2.0)


def test_a_relative_path_is_taken_against_the_current_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Made in Python, a relative path means what it means everywhere in Python."""
    monkeypatch.chdir(tmp_path)
    config = TelemetryConfig(db_path="a.db")
    assert config.get_db_path() == config.to_settings().db_path == tmp_path / "a.db"


@given(
    retention_days=st.none() | st.integers(-5, 40_000),
    flush_interval=st.floats(),
    batch_size=st.integers(),
    db_path=st.text(max_size=20),
)
def test_a_config_that_exists_makes_usable_settings(**values: object) -> None:
    """Either it is refused at once, or a logger can be made of it."""
    try:
        config = TelemetryConfig.model_validate(values)
    except ValidationError:
        return
    assert config.to_settings().db_path.is_absolute()
