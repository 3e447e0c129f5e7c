"""Messages of the command line, and values that were converted before."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner

from llm_service import pytest_plugin, pytest_recording
from llm_service.cli import group
from llm_service.cli.commands import cli
from llm_service.cli.options import _Value
from llm_service.config.time_zones import machine_zone, zone_name


def test_a_reason_names_the_file_and_not_the_number_of_the_error() -> None:
    """Of the system's own errors; any other says it itself."""
    assert group._reason(FileNotFoundError(2, "No such file", "t.db")) == "t.db: No such file"
    assert group._reason(OSError("closed")) == "closed"


def test_a_command_that_shows_its_help_is_no_misuse() -> None:
    """What is one names the help."""
    context = click.Context(click.Command("costs"))
    helps = click.exceptions.NoArgsIsHelpError(context)
    assert group._in_one_line(helps) is helps
    assert group._in_one_line(click.UsageError("No such option.")).message.endswith("; see llm-telemetry --help")


def test_a_value_that_was_converted_stays() -> None:
    """Click may convert one twice."""
    kind = _Value("number", int)
    assert [kind.convert(value, None, None) for value in ("5", 5)] == [5, 5]


@pytest.mark.parametrize("arguments", [("--days", "3", "--since", "1d"), ("--days", "3", "--until", "now")])
def test_two_ranges_are_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """`--days` is one by itself."""
    result = CliRunner().invoke(cli, ["stats", *arguments, "--db", str(tmp_path / "t.db")])
    assert result.exit_code == 2
    assert "--days" in result.stderr


def test_the_options_of_pytest() -> None:
    """A test in the place of the database, and what is no amount, are refused."""
    assert pytest_plugin._path("calls.db") == "calls.db"
    assert str(pytest_plugin._usd("0.50")) == "0.50"
    for odd in ("tests/test_calls.py", "tests/test_calls.py::test_one", "."):
        with pytest.raises(argparse.ArgumentTypeError, match="is no database"):
            pytest_plugin._path(odd)
    for odd in ("much", "-1", "NaN", "1e12"):
        with pytest.raises(argparse.ArgumentTypeError, match="is no amount"):
            pytest_plugin._usd(odd)


def test_a_recording_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither where it is asked for, nor where it begins."""

    def fails(*_given: Any) -> Any:
        raise ValueError("not here")

    config: Any = SimpleNamespace(
        option=SimpleNamespace(llm_run="nightly", llm_telemetry=str(tmp_path / "t.db"), llm_budget=None),
        pluginmanager=SimpleNamespace(hasplugin=lambda _: False),
    )
    recording = pytest_recording.recording_of(config)
    with monkeypatch.context() as patched:
        patched.setattr(pytest_recording, "resolve_db_path", fails)
        with pytest.raises(pytest.UsageError, match="--llm-telemetry: not here"):
            pytest_recording.recording_of(config)
    monkeypatch.setattr(pytest_recording.SessionRecording, "_opened", fails)
    session: Any = SimpleNamespace(config=config)
    with pytest.raises(pytest.UsageError, match="--llm-telemetry: not here"):
        recording.pytest_sessionstart(session)


def test_a_clock_whose_zone_has_no_name(tmp_path: Path) -> None:
    """A link to a zone that is not in the database, and the path of a file."""
    target = tmp_path / "zoneinfo" / "Nowhere" / "City"
    target.parent.mkdir(parents=True)
    (tmp_path / "localtime").symlink_to(target)
    assert zone_name(machine_zone({}, tmp_path)) == "UTC"
    import zoneinfo

    found = next(
        (Path(folder) / "Asia" / "Tokyo" for folder in zoneinfo.TZPATH if (Path(folder) / "Asia/Tokyo").is_file()), None
    )
    if found is None:
        pytest.skip("this machine has no files of zones")
    target.write_bytes(found.read_bytes())
    assert zone_name(machine_zone({}, tmp_path)) == "local"
    copy = tmp_path / "mine"
    copy.write_bytes(found.read_bytes())
    assert zone_name(machine_zone({"TZ": f":{copy}"}, tmp_path)) == str(copy)
