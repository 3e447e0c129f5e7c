"""The process: exit codes, missing extras, settings in force."""

import io
import sys
from importlib import import_module
from pathlib import Path

import pytest

from llm_service.cli import main as entry
from llm_service.cli.target import Target
from llm_service.config import load
from llm_service.config.settings import Settings
from llm_service.errors import ConfigError, ConfigErrors
from llm_service.extras import install


class _Config:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def to_settings(self) -> Settings:
        return self._settings


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path | None]:
    """What `load_config` was called with; it answers with `configured.db`."""
    paths: list[Path | None] = []

    def load_config(path: Path | None = None) -> _Config:
        paths.append(path)
        return _Config(Settings(db_path=tmp_path / "configured.db", batch_size=7))

    monkeypatch.setattr(load, "load_config", load_config)
    return paths


def test_help_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    """And lists every command."""
    assert entry.main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in ("demo", "stats", "costs", "invocations"))


def test_a_wrong_option_ends_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    """And says which."""
    assert entry.main(["stats", "--wrong"]) == 2
    assert "--wrong" in capsys.readouterr().err


def test_a_command_that_has_another_name_now_is_an_error_with_that_name(capsys: pytest.CaptureFixture[str]) -> None:
    """`replay` became an option of `demo`."""
    assert entry.main(["replay", "trace.csv", "--agents", "3"]) == 2
    assert capsys.readouterr().err == (
        "Error: there is no command 'replay'; give: llm-telemetry demo --replay FILE.csv; see llm-telemetry --help\n"
    )


def test_a_missing_database_ends_with_1(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In one line."""
    assert entry.main(["stats", "--db", str(tmp_path / "none.db")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_several_errors_of_a_file_are_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first of them, how many more, and what shows them all."""
    from llm_service.cli.commands import cli

    def fail(*_: object, **__: object) -> None:
        file = Path("models.yaml")
        raise ConfigErrors([ConfigError("is bad; mend it", file=file, line=line, key="a") for line in (3, 4, 5)])

    monkeypatch.setattr(cli.commands["info"], "callback", fail)
    assert entry.main(["info"]) == 1
    assert capsys.readouterr().err == (
        "Error: models.yaml:3: a: is bad; mend it (and 2 more: llm-telemetry config check shows all)\n"
    )


def test_an_interruption_before_a_command_runs_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Quietly, as within a command."""
    from llm_service.cli.commands import cli

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    assert entry.main([]) == 130
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(("code", "expected"), [(None, 0), (3, 3)])
def test_an_exit_code_is_passed_on(monkeypatch: pytest.MonkeyPatch, code: int | None, expected: int) -> None:
    """Whatever click ends with; none is success."""
    from llm_service.cli.commands import cli

    def end(*_: object, **__: object) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(cli, "main", end)
    assert entry.main([]) == expected


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Instead of a traceback."""
    monkeypatch.setattr(entry, "find_spec", lambda _: None)
    assert entry.main([]) == 2
    assert capsys.readouterr().err == f"llm-telemetry needs click and rich: {install('cli')}\n"


def test_streams_of_any_kind_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host may have put something else in place of stdout."""
    text = io.StringIO()
    monkeypatch.setattr(sys, "stdout", text)
    assert entry.main(["--version"]) == 0
    assert text.getvalue().startswith("llm-telemetry")


def test_db_alone_reads_no_configuration(tmp_path: Path, asked: list[Path | None]) -> None:
    """A broken configuration is no obstacle for somebody who names the file."""
    assert Target(tmp_path / "a.db").settings() == Settings(db_path=tmp_path / "a.db")
    assert asked == []


def test_without_db_the_configuration_is_searched_for(tmp_path: Path, asked: list[Path | None]) -> None:
    """Where the loggers look."""
    assert Target().settings().db_path == tmp_path / "configured.db"
    assert asked == [None]


def test_db_counts_over_the_configuration_that_was_named(tmp_path: Path, asked: list[Path | None]) -> None:
    """Its other settings stay in force."""
    found = Target(tmp_path / "a.db", tmp_path / "telemetry.yaml").settings()
    assert (found.db_path, found.batch_size) == (tmp_path / "a.db", 7)
    assert asked == [tmp_path / "telemetry.yaml"]


def test_importing_the_module_entry_runs_nothing() -> None:
    """Tools that walk a package import `__main__`, too."""
    assert import_module("llm_service.__main__").main is entry.main
