"""The promises of `Settings`: one frozen value, checked when it is made, with errors that name field and remedy."""

import pickle
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llm_service.config.load import load_config
from llm_service.config.schemas import TelemetryConfig
from llm_service.config.settings import DEFAULT_DB_PATH, Settings, SettingsError, resolve_db_path
from llm_service.redaction import shown
from llm_service.telemetry import InvocationRecord, TelemetryLogger

BOUNDS = [
    ("retention_days", 0, 36_500, 1),
    ("batch_size", 1, 100_000, 1),
    ("queue_max_records", 1, 100_000_000, 1),
    ("queue_max_bytes", 65_536, 2**40, 1),
    ("flush_interval", 0.001, 3600.0, 0.0001),
    ("block_timeout", 0.0, 86_400.0, 0.001),
    ("commit_timeout", 0.0, 86_400.0, 0.001),
    ("close_timeout", 0.0, 86_400.0, 0.001),
]


def ascii_type(value: object) -> str:
    """A test id for values that are too long to print."""
    return type(value).__name__


def make(**options: object) -> Settings:
    """Settings with a path that needs neither home folder nor current directory."""
    return Settings.of("/data/telemetry.db", options)


def refused(**options: object) -> SettingsError:
    """The error that these options are refused with."""
    with pytest.raises(SettingsError) as caught:
        make(**options)
    return caught.value


def test_defaults_are_private_and_in_the_home_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without arguments: metadata only, 30 days, a file under the home folder."""
    monkeypatch.setenv("HOME", str(tmp_path))
    settings = Settings()
    assert settings.db_path == tmp_path / ".llm-service" / "telemetry.db"
    assert (settings.enabled, settings.privacy_level, settings.retention_days) == (True, "metadata", 30)
    assert Settings.of(None, {}) == settings
    assert resolve_db_path(DEFAULT_DB_PATH) == settings.db_path


def test_settings_never_change_and_travel_between_processes() -> None:
    """They are frozen, hashable and picklable."""
    settings = make(batch_size=7)
    with pytest.raises(FrozenInstanceError):
        settings.batch_size = 8  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(settings)) == settings  # noqa: S301 - our own bytes
    assert len({settings, make(batch_size=7)}) == 1


@pytest.mark.parametrize(("name", "low", "high", "step"), BOUNDS)
def test_bounds_are_usable_and_one_step_beyond_is_not(name: str, low: float, high: float, step: float) -> None:
    """Both ends of a range belong to it."""
    for value in (low, high):
        kept = None if name == "retention_days" and not value else value
        assert getattr(make(**{name: value}), name) == kept
    for value in (low - step, high + step):
        assert refused(**{name: value}).field == name


@pytest.mark.parametrize("name", [row[0] for row in BOUNDS])
@pytest.mark.parametrize("value", [True, "30", [], float("nan"), float("inf"), float("-inf"), 10**5000], ids=ascii_type)
def test_what_is_no_number_in_range_is_refused(name: str, value: object) -> None:
    """Booleans, text, NaN, infinities and numbers beyond floating point are no sizes and no times."""
    error = refused(**{name: value})
    assert error.field == name
    assert str(error).startswith(f"{name}: ")
    assert "; use a " in str(error)


@pytest.mark.parametrize("value", [None, 1.5])
def test_sizes_are_whole_numbers_and_only_retention_may_be_without_bound(value: object) -> None:
    """None means "keep all" for retention_days and nothing for a size."""
    assert refused(batch_size=value).field == "batch_size"
    assert make(retention_days=None).retention_days is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("enabled", 1), ("enabled", "true"), ("strict", None), ("privacy_level", "FULL"), ("overflow", True)],
)
def test_choices_are_exact(name: str, value: object) -> None:
    """1 is not true, and names of choices are lower case."""
    assert refused(**{name: value}).field == name


def test_a_time_zone_is_checked_when_it_is_set() -> None:
    """Not when the first query asks for a day of it."""
    assert [make(time_zone=name).time_zone for name in (None, "UTC", "local", "Asia/Kathmandu")][3] == "Asia/Kathmandu"
    assert str(refused(time_zone="Europe/Berln")) == (
        "time_zone: 'Europe/Berln' is not usable; did you mean Europe/Berlin?"
    )


def test_the_error_names_field_value_and_remedy() -> None:
    """One sentence is enough to correct the setting."""
    error = refused(retention_days=-1)
    assert str(error) == "retention_days: -1 is not usable; use a whole number from 0 to 36,500"
    assert (error.field, error.value) == ("retention_days", -1)
    assert isinstance(error, ValueError)


def test_the_error_survives_pickling() -> None:
    """A worker process can report it to its parent."""
    error = refused(overflow="spill")
    assert str(pickle.loads(pickle.dumps(error))) == str(error)  # noqa: S301 - our own bytes


def test_an_unknown_option_lists_the_known_ones() -> None:
    """A misspelt keyword argument is a TypeError, as for any function."""
    with pytest.raises(TypeError, match=r"unknown option 'retention'; the options are: db_path, enabled, .*strict"):
        make(retention=1)


def test_a_relative_path_is_resolved_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A later change of directory does not move the database."""
    monkeypatch.chdir(tmp_path)
    settings = Settings.of("telemetry.db", {})
    monkeypatch.chdir("/")
    assert settings.db_path == tmp_path / "telemetry.db"
    assert resolve_db_path(Path("a.db"), Path("/base")) == Path("/base/a.db")


@pytest.mark.parametrize(
    "value",
    ["", " ", ".", ":memory:", ":memory:x", "file:a.db?mode=ro", "a\0b", "a\ud800", "/", "~no-such-user/a.db", 3, b"a"],
)
def test_what_is_no_path_of_a_file_is_refused(value: object) -> None:
    """Memory databases, URLs, impossible characters, unknown homes and other types are refused with a reason."""
    with pytest.raises(SettingsError) as caught:
        Settings.of(value, {})  # type: ignore[arg-type]
    assert caught.value.field == "db_path"


def test_a_deleted_current_directory_is_a_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Absolute paths still work there; relative ones are refused as settings, not as an operating system's error."""
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    assert make().db_path == Path("/data/telemetry.db")
    with pytest.raises(SettingsError, match="give an absolute path"):
        Settings.of("telemetry.db", {})


@pytest.mark.parametrize("value", ["x" * 10_000_000, list(range(1000)), 10**5000], ids=ascii_type)
def test_a_refused_value_is_shown_in_at_most_80_characters(value: object) -> None:
    """Messages stay readable whatever was given."""
    assert len(shown(value)) <= 80


@pytest.mark.parametrize("name", [name for name in Settings.names() if name.endswith("retention_days")])
def test_a_retention_of_0_keeps_for_ever_by_every_entry(name: str, tmp_path: Path) -> None:
    """Python, a model, YAML and the environment: as null says it."""
    file = tmp_path / "telemetry.yaml"
    for value in ("0", "null"):
        file.write_text(f"db_path: t.db\n{name}: {value}\n")
        given = load_config(file, environ={}).to_settings()
        by_variable = load_config(None, environ={f"LLM_TELEMETRY_{name.upper()}": value}).to_settings()
        assert getattr(given, name) is getattr(by_variable, name) is None
    assert getattr(make(**{name: 0}), name) is None
    assert getattr(TelemetryConfig(**{name: 0}).to_settings(), name) is None
    with TelemetryLogger(tmp_path / "t.db", **{name: 0, "privacy_level": "full"}) as logger:  # type: ignore[arg-type]
        old = datetime(2001, 1, 1, tzinfo=UTC)
        logger.log_invocation(InvocationRecord(timestamp=old, prompt="kept"), durable=True)
        assert getattr(logger.settings, name) is None


@pytest.mark.parametrize("kind", [str, Path])
@pytest.mark.parametrize(
    "url", ["postgresql://me:hush@db.example/llm", "postgres://h/d", "mysql+aiomysql://me:hush@h/d", "sqlite:///x.db"]
)
def test_a_url_is_refused_without_its_password(
    url: str, kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a folder would bear it."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="give the path of a file") as caught:
        Settings(db_path=kind(url))
    assert "hush" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_path_may_hold_colons(tmp_path: Path) -> None:
    """They are ordinary characters of a name."""
    assert Settings(db_path=tmp_path / "a:b" / "c:d.db").db_path.name == "c:d.db"
